# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: python3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Tables and figures
#
# > Text, tables and figures in Markdown, of the runs of any kind of model
#
# The report is put together from **fragments**: Markdown with a table, or with figures and their captions. The functions of this notebook need to know nothing of a model but what all kinds leave: losses, samples, scores and times. All take the rows of `collect_runs` ([07a_sweep](07a_sweep.ipynb)). What belongs to one kind of model stands at the end of its notebook.

# %%
#| default_exp tables

# %% tags=["parameters"]
n_samples = 500  # of the made-up distances whose extrapolation is drawn

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import contextlib
import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullLocator
from scipy import stats

from genlab.data import load_dataset, show_grid
from genlab.fid import in_features_of, main_distance
from genlab.plug import MEASURES
from genlab.runs import atomic, plot_history

# %%
#| hide
import os
import tempfile

import pypandoc
import pytest
import seaborn as sns

from genlab.sweep import made_up_runs

home = tempfile.TemporaryDirectory()
os.environ["GENLAB_RUNS"] = home.name
runs = made_up_runs()  # of the first epoch count nothing is there


# %% [markdown]
# ## Names that others chose
#
# A folder of images can be called anything, and what people call a run goes into Markdown, into figures and into file names. Each of these has characters that it does not take as they are.

# %%
#| export
def escape(text: str) -> str:
    "Somebody's text, such as the name of a data set, as Markdown that shows it as it was typed."
    special = r"`|[\\*{}\[\]<>#$%^~|@&'\"]|(?<!\w)_|_(?!\w)|--+|\.\.\."
    return re.sub(special, _escape_match, " ".join(text.split()))


def _escape_match(match: re.Match) -> str:
    return "`` ` ``" if match[0] == "`" else "".join("\\" + sign for sign in match[0])


def plain(markdown: str) -> str:
    "What `escape` was given."
    return re.sub(r"\\(.)", r"\1", markdown.replace("`` ` ``", "`"))


def plot_label(markdown: str) -> str:
    "The same for a figure, where a dollar begins mathematics and a leading underscore hides a line."
    return re.sub("^_", " _", plain(markdown).replace("$", r"\$"))


# %% [markdown]
# Two texts never become the same name of a file: where characters are lost, some digits of a hash are added.

# %%
#| export
def slug(markdown: str) -> str:
    "For a file's name and a figure's label: small letters, digits and dashes."
    text = plain(markdown)
    short = re.sub(r"[^\w]+", "-", text, flags=re.ASCII).strip("-").lower()
    if short == re.sub(", | ", "-", text):
        return short
    return f"{short}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def verbatim(text: str) -> str:
    "Somebody's text, such as an error, as code."
    ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if "`" in text else ""
    return ticks + space + " ".join(text.split()) + space + ticks


# %%
#| hide
odd = "# $a$ 100% a&b ~x x^2 _x_ {y} @lena <b> ` a|b * -- a_b ... \\ 'q'".split()
assert [plain(escape(name)) for name in odd] == odd and len({slug(name) for name in odd}) == len(odd)
assert escape("tinted_digits, seed 0") == "tinted_digits, seed 0"
assert slug("gan-dcgan, seed 0") == "gan-dcgan-seed-0"
shown = pypandoc.convert_text("\n\n".join(map(escape, odd)), "plain", "markdown", extra_args=["--wrap=none"])
assert shown.split("\n\n") == [*odd[:-1], odd[-1] + "\n"]

# %% [markdown]
# ## Numbers
#
# Metrics are nested, and a run may lack any of them. Numbers are rounded where they are shown, never where they are kept. A missing number is a dash; a negative one gets a true minus sign.

# %%
#| export
NONE = "This profile has no such runs, or none of them is done."


def value_at(metrics: dict | None, *path: str):
    "A value deep in a run's metrics, or None if anything on the way is missing."
    for key in path:
        metrics = metrics.get(key) if isinstance(metrics, dict) else None
    return metrics


def number(value: float | None, digits: int = 2) -> str:
    "A number for a table: rounded, with thousands separated, a dash if there is none."
    return "—" if value is None or value != value else f"{value:,.{digits}f}".replace("-", "−")


def plural(n: int, what: str) -> str:
    "`1 epoch`, `2 epochs`."
    return f"1 {what}" if n == 1 else f"{n} {what}s"


# %% [markdown]
# Distances have an uncertainty, and one glance should tell which digits to believe.

# %%
#| export
def uncertain(value: float | None, sd: float | None) -> str:
    "A number with its standard deviation in units of the last digit: 0.81(2) is 0.81 ± 0.02."
    if value is None or value != value:
        return "—"
    if not sd or sd != sd:
        return number(value)
    digits = min(3, max(0, -math.floor(math.log10(sd))))
    units = round(sd * 10**digits)
    return number(value, digits) + (f"({units})" if units else "")


def plus_minus(value: float | None, spread: float | None, digits: int = 2) -> str:
    "A number with its spread, where a table has room for both."
    return "—" if value is None else f"{number(value, digits)} ± {number(spread, digits)}"


# %%
assert [number(x, 1) for x in (1234.56, -0.25, None, float("nan"))] == ["1,234.6", "−0.2", "—", "—"]
assert (plural(1, "epoch"), plural(2, "epoch")) == ("1 epoch", "2 epochs")
for value, sd, shown in [
    (0.8123, 0.0174, "0.81(2)"), (31.4159, 2.5, "31(2)"), (1234.5, 32.1, "1,234(32)"),
    (0.99999, 1e-5, "1.000"), (-0.5, None, "−0.50"), (-0.5, math.nan, "−0.50"), (None, None, "—"),
]:  # fmt: skip
    assert uncertain(value, sd) == shown


# %% [markdown]
# ## Tables
#
# Tables are written in pandoc's Markdown.

# %%
#| export
def markdown_table(
    rows: list[list],  # a cell for each column
    header: list[str],
    caption: str,
    label: str,  # without the tbl- in front
    align: str = "l",  # l (left) or r (right) for each column; those beyond are right
) -> str:
    "A pipe table with caption and label."
    rule = []
    for i in range(len(header)):  # pandoc takes the numbers of dashes as relative widths
        dashes = "-" * min(30, max(len(str(line[i])) for line in [header, *rows]))
        rule.append(f":{dashes}" if align[i : i + 1] == "l" else f"{dashes}:")
    body = "\n".join("| " + " | ".join(map(str, line)) + " |" for line in [header, rule, *rows])
    return f"{body}\n\n: {caption} {{#tbl-{label}}}\n"


# %% [markdown]
# Much is said of the last epoch count of each run only:

# %%
#| export
def last_of_each(runs: pd.DataFrame) -> pd.DataFrame:
    "Of each run that has any results, the row of its last epoch count."
    return runs[runs.metrics.notna()].groupby("label", sort=False).tail(1)


# %% [markdown]
# Figures are drawn from what a run has kept. A published copy may have kept none, where real images would be among them:

# %%
#| export
def with_pictures(runs: pd.DataFrame) -> pd.DataFrame:
    "Of each run the row of its last epoch count, if its pictures are kept."
    last = last_of_each(runs)
    return last[[bool(r.job.run.pictures(r.epochs)) for r in last.itertuples()]]


# %% [markdown]
# And much of one distance: that which models of its kind are compared by ([05_fid](05_fid.ipynb)).

# %%
#| export
def distance_name(metrics: dict | None) -> str | None:
    "The distance that a run is compared by, such as fd_lenet; None if it has none."
    scores = value_at(metrics, "scores") or {}
    return main_distance(name for name in scores if value_at(scores, name, "value") is not None)


def distance_score(metrics: dict | None) -> dict:
    "The score of that distance: value, sd, floor and more; empty if there is none."
    return value_at(metrics, "scores", distance_name(metrics) or "") or {}


def measure_score(metrics: dict | None, measure: str) -> dict:
    "The score of one of LeNet's measures, such as recall, in the features of that distance; empty if none."
    name = in_features_of(distance_name(metrics) or "fd_lenet", measure)
    return value_at(metrics, "scores", name) or {}


def distance_heading(runs: pd.DataFrame) -> str:
    "The names of the distances that these runs are compared by, for a heading or a caption."
    names = {name for metrics in runs.metrics if (name := distance_name(metrics))}
    return " or ".join(f"`{name}`" for name in sorted(names)) or "`fd_lenet`"


def with_distance(runs: pd.DataFrame) -> pd.DataFrame:
    "The rows that have a distance."
    return runs[[distance_name(metrics) is not None for metrics in runs.metrics]]


# %% [markdown]
# A function for each table. The losses come first.

# %%
#| export
def loss_table(runs: pd.DataFrame, columns: dict[str, str], label: str) -> str:
    "Losses at each epoch count: `columns` maps a column of the history to its heading."
    rows = []
    for r in runs.itertuples():
        losses = [number(value_at(r.metrics, "losses", column), 3) for column in columns]
        rows.append([r.label, r.epochs, *losses])
    caption = "Losses, each the mean over the epoch that ends there."
    return markdown_table(rows, ["run", "epochs", *columns.values()], caption, label)


# %% [markdown]
# What is measured of samples is declared once, in `MEASURES` ([05_fid](05_fid.ipynb)), and each measure says in which table it stands. Distances have a column more for their floor, and a caption with all that it takes to judge them.

# %%
#| export
def measures_of(table: str) -> dict:
    "The measures that stand in this table: distance, diversity or other."
    return {name: measure for name, measure in MEASURES.items() if measure.table == table}


def distance_table(runs: pd.DataFrame, label: str) -> str:
    "Frechet distances with their floors and all that says what they mean."
    rows, header = [], ["run", "epochs", "$N$"]
    distances = _distances_in(runs)
    for r in runs.itertuples():
        row = [r.label, r.epochs, number(value_at(r.metrics, "n_samples"), 0)]
        for metric in distances:
            score = value_at(r.metrics, "scores", metric) or {}
            row.append(uncertain(score.get("value"), score.get("sd")))
            row.append(uncertain(score.get("floor"), score.get("floor_sd")))
        rows.append(row)
    for metric in distances:
        header += [MEASURES[metric].heading, "floor"]
    caption = (
        "Frechet distance (squared) of $N$ samples to the test set, with its standard deviation from random "
        "halves of the samples in units of the last digit. Floor: that of $N$ real training images, mean and "
        "standard deviation of five draws. "
    )
    return markdown_table(rows, header, caption + _about_distances(runs), label)


# %% [markdown]
# That caption ends with the extractors, and with why a distance is missing.

# %%
#| export
def _distances_in(runs: pd.DataFrame) -> list[str]:
    "The distances that any of these runs was asked for; and two of which it is told why they are missing."
    known = {name for metrics in runs.metrics for name in value_at(metrics, "scores") or {}}
    return [metric for metric in measures_of("distance") if metric in known | {"fd_lenet", "fid"}]


def _about_distances(runs: pd.DataFrame) -> str:
    extractors, reasons = set(), set()
    for metrics in runs.metrics[runs.metrics.notna()]:
        for metric in _distances_in(runs):
            score = value_at(metrics, "scores", metric) or {}
            if score.get("value") is not None:
                name = escape(str(score.get("extractor")))
                extractors.add(f"`{metric}`: {name}, weights `{score.get('hash')}`")
            else:
                why = verbatim(score["why"]) if "why" in score else "not asked for in this profile"
                reasons.add(f" No `{metric}`: {why}.")
    return f"Extractor of {'; '.join(sorted(extractors)) or '—'}.{''.join(sorted(reasons))}"


# %% [markdown]
# The other measures have a column each, and real images a row at the end; a table for each network whose features they look at.

# %%
#| export
def measure_table(runs: pd.DataFrame, table: str, caption: str, label: str) -> str:
    "The measures of this table, of the runs and epoch counts that have any of them, and of real images."
    by_extractor = {}
    for name, measure in measures_of(table).items():
        if any(value_at(metrics, "scores", name) for metrics in runs.metrics):
            by_extractor.setdefault(measure.extractor, {})[name] = measure
    tables = [
        _measures_in(runs, found, caption, f"{label}-{extractor}" if i else label)
        for i, (extractor, found) in enumerate(by_extractor.items())
    ]
    return "\n".join(tables) or _measures_in(runs, {}, caption, label)


def _measures_in(runs: pd.DataFrame, found: dict, caption: str, label: str) -> str:
    "The measures in the features of one network."
    rows, real = [], {}
    for r in runs.itertuples():
        scores = [value_at(r.metrics, "scores", name) or {} for name in found]
        if any(scores):
            cells = [uncertain(score.get("value"), score.get("sd")) for score in scores]
            rows.append([r.label, r.epochs, *cells])
        if n := max((score.get("n_floor") or 0 for score in scores), default=0):
            floors = [uncertain(score.get("floor"), score.get("floor_sd")) for score in scores]
            real[f"real, {escape(_reference(scores, r.dataset))}, $N$ = {n:,}"] = floors
    rows += [[name, "", *cells] for name, cells in real.items()]
    headings = [measure.heading for measure in found.values()]
    meanings = "; ".join(f"*{measure.heading}*: {measure.caption}" for measure in found.values())
    caption += f" {meanings}. With standard deviations in units of the last digit. Last: real images."
    return markdown_table(rows, ["run", "epochs", *headings], caption, label)


def _reference(scores: list[dict], dataset: str) -> str:
    "What images the first of these scores was computed against."
    return next((score["reference"] for score in scores if score.get("reference")), dataset)


# %% [markdown]
# With classes, the distance can be taken within each of them.

# %%
#| export
def class_table(runs: pd.DataFrame) -> str:
    "Frechet distance within each class, for the last epoch count of each run; a table a data set."
    groups: dict[str, list] = {}
    for r in last_of_each(runs).itertuples():
        score = value_at(r.metrics, "scores", "fd_lenet_by_class") or {}
        if "classes" in score:
            groups.setdefault(score.get("reference") or r.dataset, []).append((r, score))
    return "\n".join(_classes_of(reference, found) for reference, found in groups.items()) or NONE


def _classes_of(reference: str, found: list[tuple]) -> str:
    "The table of one data set: rows of runs, and one of real images for each number of them."
    rows, floors = [], {}
    for r, score in found:
        rows.append([r.label, r.epochs, *(number(c["value"], 1) for c in score["classes"])])
        if score.get("floor_classes"):
            cells = [number(value, 1) for value in score["floor_classes"]]
            floors[f"real, $N$ = {score['n_floor']:,}"] = cells
    rows += [[name, "", *cells] for name, cells in floors.items()]
    caption = (
        f"`fd_lenet` within each class of {verbatim(reference)}, for as many samples of the class as there "
        "are. Both samples and test images are sorted by the classifier."
    )
    header = ["run", "epochs", *map(str, range(len(rows[0]) - 2))]
    return markdown_table(rows, header, caption, f"classes-{slug(escape(reference))}")


# %% [markdown]
# A time says something only with the device that it was measured on.

# %%
#| export
def device_marks(runs: pd.DataFrame) -> dict[str, str]:
    "What the runs were trained on, and the letter that marks its times; no letter if it is the only device."
    names = sorted({device for m in runs.metrics if (device := value_at(m, "device"))})
    if len(names) == 1:
        return {names[0]: ""}
    return {name: chr(ord("a") + i) for i, name in enumerate(names)}


def devices(runs: pd.DataFrame) -> str:
    "The devices, with their letters."
    marks = device_marks(runs).items()
    return "; ".join(f"{escape(name)} (^{mark}^)" if mark else escape(name) for name, mark in marks) or "—"


def timed(seconds: str, rows: list, marks: dict[str, str]) -> str:
    "A time of these rows with the letters of their devices."
    letters = "".join(sorted({marks.get(value_at(r.metrics, "device"), "") for r in rows}))
    return f"{seconds}^{letters}^" if letters else seconds


# %% [markdown]
# All times in one table:

# %%
#| export
def time_table(runs: pd.DataFrame, label: str) -> str:
    "Training and sampling times, with the device."
    header = "epochs|training (s)|images/s|epoch (s)|evaluating (s)|1,000 samples (s)|evaluations".split("|")
    marks = device_marks(runs)
    rows = [[r.label, r.epochs, *_times(r, marks)] for r in runs.itertuples()]
    caption = (
        "Training time in all, training speed, time of a plain epoch and of one that ends with samples and "
        "their scores, and time to draw 1,000 samples with so many evaluations of the network for each, "
        f"on {devices(runs)}."
    )
    return markdown_table(rows, ["run", *header], caption, label)


def _times(r, marks: dict[str, str]) -> list:
    "The cells of a row after run and epochs."
    if not r.metrics:
        return ["—"] * 6
    keys = ("train_seconds", "score_seconds", "sample_seconds", "images_per_second")
    trained, scored, drawn, speed = (value_at(r.metrics, key) for key in keys)
    return [
        timed(number(trained, 1), [r], marks),
        number(speed, 0),
        number(trained / r.epochs) if trained else "—",
        number(scored + trained / r.epochs + drawn) if scored else "—",
        number(1000 * drawn / r.metrics["n_samples"]) if drawn else "—",
        r.metrics.get("evaluations", 1),
    ]


# %% [markdown]
# Where a setting was trained with several seeds, what counts is their mean and its confidence interval. With three seeds the interval is wide, $4.3$ standard errors to each side, since three numbers know little about their own spread.

# %%
#| export
def over_seeds(values: Sequence[float]) -> tuple[float, float | None]:
    "Mean, and half the width of its 95 % confidence interval (Student's t); None with one seed."
    if len(values) < 2:
        return float(np.mean(values)), None
    return float(np.mean(values)), float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))


def seed_table(runs: pd.DataFrame, label: str) -> str:
    "Distances of the settings that were trained with several seeds; empty if there is none."
    rows = []
    for (setting, epochs), group in with_distance(runs).groupby(["setting", "epochs"], sort=False):
        values = [distance_score(metrics)["value"] for metrics in group.metrics]
        if len(values) > 1:
            seeds = ", ".join(map(str, group.seed))
            shown = ", ".join(map(number, values))
            rows.append([setting, epochs, seeds, shown, plus_minus(*over_seeds(values))])
    header = ["run", "epochs", "seeds", distance_heading(runs), "mean ± half the 95 % interval"]
    caption = "Settings that were trained with several seeds (intervals by Student's $t$)."
    return markdown_table(rows, header, caption, label, "lrlrr") if rows else ""


# %%
mean, half = over_seeds([10.0, 12.0, 14.0])
assert mean == 12 and math.isclose(half, 4.3027 * 2 / 3**0.5, rel_tol=1e-4)
assert over_seeds([10.0]) == (10.0, None) and seed_table(runs, "seeds") == ""
assert with_pictures(runs).empty, "these runs have kept none"
last = last_of_each(runs).job.iloc[0].run
np.savez(last.epoch_folder(last_of_each(runs).epochs.iloc[0]) / "pictures.npz", codes=np.zeros(2))
assert list(with_pictures(runs).label) == [last_of_each(runs).label.iloc[0]]


# %% [markdown]
# What training costs, whatever the machine:

# %%
#| export
def cost_table(runs: pd.DataFrame, label: str) -> str:
    "Parameters, operations and memory of training, for the runs that know them; empty if none does."
    rows = []
    for r in last_of_each(runs).itertuples():
        keys = ("parameters", "flops_per_image", "updates", "peak_bytes")
        parameters, flops, updates, peak = (value_at(r.metrics, key) for key in keys)
        if parameters is None:
            continue
        total = flops and flops * updates * value_at(r.metrics, "config", "batch_size")
        shown = [parameters / 1e6, flops and flops / 1e6, total and total / 1e12, peak and peak / 2**30]
        rows.append([r.label, r.epochs, *map(number, shown)])
    caption = (
        "What training costs: parameters of all networks, floating-point operations for a training image "
        "(forward, backward; a multiplication and an addition are two) and for all, and the most memory "
        "that the process, or on a GPU the tensors, took at any time until then."
    )
    header = ["run", "epochs", "parameters (10^6^)", "MFLOP/image", "TFLOP", "memory (GiB)"]
    return markdown_table(rows, header, caption, label) if rows else ""


# %% [markdown]
# Last, the way back from a number to the run that it comes from.

# %%
#| export
def provenance_table(runs: pd.DataFrame, label: str) -> str:
    "Which folder, seed and commit each run is."
    rows = []
    for name, group in runs.groupby("label", sort=False):
        run, done = group.job.iloc[0].run, group[group.metrics.notna()]
        commits = sorted({value_at(m, "commit") or "none" for m in done.metrics})
        rows.append([
            name,
            verbatim("/".join(run.folder.parts[-3:])),
            run.config.seed,
            ", ".join(_not_by_default(run.config)) or "—",
            ", ".join(map(str, done.epochs)) or "—",
            ", ".join(f"`{commit}`" for commit in commits) or "—",
        ])  # fmt: skip
    header = ["run", "folder", "seed", "not by default", "epochs done", "commit"]
    return markdown_table(rows, header, "Where each number comes from.", label, "llrlll")


def _not_by_default(config) -> Iterator[str]:
    "The fields of a configuration that have another value than their default, but for those with a column."
    for key, value in config.model_dump().items():
        shown = key in ("model", "name", "dataset", "seed")
        if not shown and value != type(config).model_fields[key].default:
            yield f"`{key}` {escape(str(value))}"


# %%
distances, classes = distance_table(runs, "b"), class_table(runs)
print(distances, classes, time_table(runs, "c"), sep="\n")
assert "| dcgan | 1 | — | — | — | — | — |" in distances
assert "| dcgan | 5 | 64 | 31.4(8) | 14(2) | — | — |" in distances and "No `fid`: `no weights`." in distances
others, diversity = (measure_table(runs, table, "", "e") for table in ("other", "diversity"))
assert "| run | epochs | KD |\n" in others and "| dcgan | 5 | 1.2(1) |" in others, "no other one is there"
assert "| dcgan | 5 | 0.81(2) | 0.60(2) |" in diversity
assert "| real, digits, $N$ = 64 |  | 0.98(1) | 0.97(1) |" in diversity
assert "| dcgan | 5 | 8.0 | — |" in classes and "| real, $N$ = 64 |  | 2.0 | 3.0 |" in classes
assert "{#tbl-classes-digits}" in classes
assert "| dcgan | 5 | 1.000 |" in loss_table(runs, {"loss_d": "Loss_D"}, "a")
assert "`width` 16" in provenance_table(runs, "d")


# %% [markdown]
# ## Figures
#
# Each figure is saved twice, as PDF for print and as PNG for the screen. Pandoc and Quarto choose.

# %%
#| export
def save_figure(fig: plt.Figure, path: Path) -> None:
    "Save as path.pdf and path.png, and close."
    for suffix, metadata in ((".pdf", {"CreationDate": None}), (".png", None)):
        with atomic(path.with_suffix(suffix)) as temporary:
            fig.savefig(temporary, format=suffix[1:], dpi=200, bbox_inches="tight", metadata=metadata)
    plt.close(fig)


def figure(folder: Path, name: str, caption: str, label: str, width: str = "100%") -> str:
    "Markdown that shows the figure `name` of `folder`."
    return f"![{caption}]({folder.name}/{name}){{#fig-{label} width={width}}}\n"


def legend_above(ax: plt.Axes) -> None:
    "A legend over the axes, where long labels take no width from them."
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        ncols = max(1, 80 // (6 + max(map(len, labels))))
        ax.figure.set_figheight(ax.figure.get_figheight() + 0.13 * -(-len(labels) // ncols))
        ax.figure.legend(handles, labels, frameon=False, fontsize=7, loc="outside upper center", ncols=ncols)


# %% [markdown]
# Losses are shown for all runs of a kind in one figure of small multiples. Where the runs are too many for a page, there is a second figure.

# %%
#| export
def loss_curves(
    runs: pd.DataFrame,  # of one kind
    folder: Path,  # where the figure is saved
    panels: dict[str, dict[str, str]],  # of a run: y label -> column of the history -> its name
    caption: str,
    label: str,  # of the figure, such as losses-gan
    yscale: str = "linear",
) -> str:
    "Loss curves, so many panels a run; `NONE` if no run is done."
    curves = []
    for r in last_of_each(runs).itertuples():
        history = read_history(r)
        curves += [(plot_label(r.label), history, *panel) for panel in panels.items()]
    parts, most = [], 24 - 24 % len(panels)
    for i in range(0, len(curves), most):
        name = f"{label}-{i // most}" if i else label
        save_figure(_plot_curves(curves[i : i + most], yscale), folder / name)
        about = f"{caption} Faint: single batches; solid: running mean."
        parts.append(figure(folder, name, about, name, f"{25 * max(2, min(4, len(curves)))}%"))
    return "\n".join(parts) or NONE


def read_history(r) -> pd.DataFrame:
    "The history of the run of a row: its losses by epoch and batch."
    return pd.read_csv(r.job.run.folder / "history.csv")


# %% [markdown]
# The panels are small, so legends stand only in those of the first run. Logarithmic axes have plain numbers; Matplotlib's own ticks overlap where an axis has less than a decade.

# %%
#| export
def log_ticks(axis, subs: Sequence[float] = (1, 2, 5)) -> None:
    "Plain numbers at these multiples of the powers of ten on a logarithmic axis, such as `ax.yaxis`."
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def _plot_curves(curves: list[tuple], yscale: str) -> plt.Figure:
    "Four panels a row, each (label of the run, its history, y label, columns of the history)."
    ncols, nrows = max(2, min(4, len(curves))), -(-len(curves) // 4)
    size = (1.8 * ncols, 0.2 + 1.1 * nrows)
    fig, axes = plt.subplots(nrows, ncols, figsize=size, layout="constrained", squeeze=False)
    for i, (ax, (label, history, ylabel, columns)) in enumerate(zip(axes.flat, curves, strict=False)):
        plot_history(history, columns, ylabel, ax)
        ax.legend(frameon=False, fontsize=5.5, handlelength=1)
        if len(columns) == 1 or label != curves[0][0]:
            ax.get_legend().remove()
        ax.set_title(label, fontsize=7, pad=3)
        ax.set_yscale(yscale)
        if yscale == "log":
            log_ticks(ax.yaxis)
        ax.tick_params(labelsize=6)
        ax.set_xlabel("epoch" if i + ncols >= len(curves) else "", fontsize=7)
        ax.set_ylabel(ylabel, fontsize=7)
    for ax in axes.flat[len(curves) :]:
        ax.set_axis_off()
    return fig


# %% [markdown]
# Samples of all models are shown alike.

# %%
#| export
def sample_sheets(runs: pd.DataFrame, folder: Path, label: str) -> str:
    "A row a run: samples at its epoch counts, and real images; `NONE` if no run is done."
    by_run = runs[runs.metrics.notna()].groupby("label", sort=False)
    groups = [list(group.itertuples()) for _, group in by_run]
    caption = (
        "Samples from the same 14 latents after so many epochs, not selected, and real images; a row a run."
    )
    parts, most = [], 12
    for i in range(0, len(groups), most):
        name = f"{label}-{i // most}" if i else label
        save_figure(_plot_sheets(groups[i : i + most]), folder / name)
        ncols = _columns_of_sheets(groups[i : i + most])
        parts.append(figure(folder, name, caption, name, f"{100 * ncols // 6}%"))
    return "\n".join(parts) or NONE


def _columns_of_sheets(groups: list[list]) -> int:
    "Up to five epoch counts, and real images."
    return 1 + min(5, max(2, *map(len, groups)))


def _plot_sheets(groups: list[list]) -> plt.Figure:
    "Epoch counts of each run from the first to the last, and real images after them."
    ncols = _columns_of_sheets(groups)
    size = (1.3 * ncols, 0.52 * len(groups))
    fig, axes = plt.subplots(len(groups), ncols, figsize=size, layout="constrained", squeeze=False)
    for row, group in zip(axes, groups, strict=True):
        shown = np.linspace(0, len(group) - 1, min(len(group), ncols - 1)).round().astype(int)
        for ax, r in zip(row, [group[i] for i in shown], strict=False):
            _show_few(r.job.run.samples(r.epochs), ax, r.epochs)
        row[0].set_title(f"{plot_label(group[0].label)}, {group[0].epochs}", fontsize=7, pad=2)
        config = group[0].job.run.config
        with contextlib.suppress(RuntimeError, OSError, ValueError):  # the section on data says what is wrong
            _show_few(load_dataset(config.dataset, "test", config.size).images, row[len(shown)], "real")
        for ax in row:
            ax.set_axis_off()
    return fig


def _show_few(images, ax: plt.Axes, title) -> None:
    "Two rows of seven images."
    show_grid(images[:14], ncol=7, ax=ax)
    ax.set_title(title, fontsize=7, pad=2)


# %%
#| hide
folder = Path(home.name, "figures")
sns.set_theme(style="ticks", context="paper")
panels = {"loss": {"loss_d": "Loss_D", "loss_g": "Loss_G"}, "mean verdict": {"d_x": "$D(x)$"}}
text = loss_curves(runs, folder, panels, "Losses.", "losses-gan") + sample_sheets(runs, folder, "samples-gan")
assert "(figures/losses-gan){#fig-losses-gan" in text and "(figures/samples-gan){#fig-samples-gan" in text
assert loss_curves(runs[:1], folder, panels, "", "a") == NONE, "its only evaluation is missing"
assert sample_sheets(runs[:1], folder, "b") == NONE
many = pd.concat([runs.assign(label=f"run {i}") for i in range(13)])
assert "{#fig-losses-gan-1 " in loss_curves(many, folder, panels, "", "losses-gan")
assert "{#fig-samples-gan-1 " in sample_sheets(many, folder, "samples-gan")


# %% [markdown]
# The course of the distance over training:

# %%
#| export
def distance_figure(runs: pd.DataFrame, folder: Path, name: str, caption: str) -> str:
    "Distance against epochs, a line a run, the floor dashed; a panel a kind of distance. Empty without any."
    done = with_distance(runs)
    if done.empty:
        return ""
    panels = dict(list(done.groupby([distance_name(metrics) for metrics in done.metrics])))
    size = dict(figsize=(5 * len(panels), 2.4), layout="constrained", squeeze=False)
    fig, axes = plt.subplots(1, len(panels), **size)
    for ax, (distance, some) in zip(axes[0], panels.items(), strict=True):
        _plot_distances(some, ax)
        ax.set(ylabel=f"{distance} to the test set")
    save_figure(fig, folder / name)
    return figure(folder, name, caption, name, "65%" if len(panels) == 1 else "100%")


def _plot_distances(runs: pd.DataFrame, ax: plt.Axes) -> None:
    "The panel of one kind of distance."
    for setting, group in runs.groupby("setting", sort=False):
        table = group.groupby("epochs").metrics.apply(_over_its_seeds).unstack()
        seeds = group.seed.nunique()
        label = plot_label(f"{setting}, mean of {seeds} seeds" if seeds > 1 else group.label.iloc[0])
        bars = ax.errorbar(table.index, table["mean"], table.half, marker="o", capsize=2, label=label)
        color = bars.lines[0].get_color()
        ax.plot(table.index, table.floor, color=color, linestyle="--", linewidth=0.8)
    ax.set(xlabel="epochs", xscale="log", yscale="log")
    ticks = _ticks_with_room(sorted(set(runs.epochs)))
    ax.set_xticks(ticks, map(str, ticks))
    ax.minorticks_off()
    legend_above(ax)


def _over_its_seeds(metrics: pd.Series) -> pd.Series:
    "Mean distance of the seeds of a setting, half its interval (0: one seed), and their mean floor."
    scores = [distance_score(each) for each in metrics]
    mean, half = over_seeds([score["value"] for score in scores])
    floors = [score["floor"] for score in scores if score.get("floor") is not None]
    return pd.Series({"mean": mean, "half": half or 0.0, "floor": np.mean(floors) if floors else math.nan})


def _ticks_with_room(counts: list[int]) -> list[int]:
    "Of these numbers, in order, those between which there is room on a logarithmic axis."
    ticks = counts[:1]
    for n in counts[1:]:
        if n >= 1.4 * ticks[-1]:
            ticks.append(n)
    return ticks


# %% [markdown]
# Are samples good, or diverse? One point for each epoch count. A figure without anything to show is left out.

# %%
#| export
def precision_recall_figure(runs: pd.DataFrame, folder: Path) -> str:
    "Precision against recall, a line a run; a star for real images. Empty if no run has them."
    fig, ax = plt.subplots(figsize=(4.2, 2.6), layout="constrained")
    for label, group in runs[runs.metrics.notna()].groupby("label", sort=False):
        points = [_precision_recall(r) for r in group.itertuples()]
        _plot_course([point for point in points if not math.isnan(point[1] + point[2])], label, ax)
    if not ax.lines:
        plt.close(fig)
        return ""
    ax.set(xlabel="recall", ylabel="precision")
    legend_above(ax)
    save_figure(fig, folder / "precision-recall")
    caption = (
        "Precision against recall, a point an epoch count; stars are real training images, as many as there "
        "are samples."
    )
    return figure(folder, "precision-recall", caption, "precision-recall", "60%")


def _precision_recall(r) -> tuple:
    "Epochs, recall and precision, and both of real images; NaN for what is missing."
    scores = [measure_score(r.metrics, measure) for measure in ("recall", "precision")]
    values = [score.get(key) for key in ("value", "floor") for score in scores]
    return r.epochs, *(math.nan if value is None else value for value in values)


def _plot_course(points: list[tuple], label: str, ax: plt.Axes) -> None:
    "The line of a run."
    if not points:
        return
    epochs, recall, precision, real_recall, real_precision = zip(*points, strict=True)
    (line,) = ax.plot(recall, precision, marker="o", markersize=3, label=plot_label(label))
    for n, *xy in zip(epochs, recall, precision, strict=True):
        ax.annotate(str(n), xy, (3, 3), textcoords="offset points", fontsize=7, color=line.get_color())
    ax.plot(real_recall[-1], real_precision[-1], "*", color="0.3", markersize=9)


# %% [markdown]
# How much of a distance is there only because the samples are few?

# %%
#| export
def bias_figure(runs: pd.DataFrame, folder: Path) -> str:
    "fd_lenet of parts of the samples against one over their number, and the line to infinitely many."
    fig, ax = plt.subplots(figsize=(5, 2.4), layout="constrained")
    for r in last_of_each(runs).itertuples():
        score = value_at(r.metrics, "scores", "fd_lenet_infinity") or {}
        if "shares" in score:
            _plot_extrapolation(score, f"{plot_label(r.label)}, {plural(r.epochs, 'epoch')}", ax)
    if not ax.lines:
        plt.close(fig)
        return _why_no_extrapolation(runs)
    ax.set(xlabel="1 / number of samples", ylabel="fd_lenet", xlim=0)
    legend_above(ax)
    save_figure(fig, folder / "bias")
    caption = (
        "`fd_lenet` of parts of the samples and of the test set, for the last epoch count of each run, "
        "against one over the number of samples; lines extrapolate to infinitely many."
    )
    text = (
        "@fig-bias shows it for parts of each model's samples and of the test set, and where the line meets "
        "infinitely many [@chong2020].\n\n"
    )
    return text + figure(folder, "bias", caption, "bias", "65%")


# %% [markdown]
# The line is the one through the extrapolated value that fits the points best.

# %%
#| export
def _plot_extrapolation(score: dict, label: str, ax: plt.Axes) -> None:
    x, y = 1 / (np.array(score["shares"]) * score["n"]), np.array(score["distances"])
    slope = x @ (y - score["value"]) / (x @ x)
    (dots,) = ax.plot(x, y, ".", label=label)
    ends = [0, x[0]], [score["value"], score["value"] + slope * x[0]]
    ax.plot(*ends, color=dots.get_color(), linewidth=0.8)


def _why_no_extrapolation(runs: pd.DataFrame) -> str:
    found = {value_at(metrics, "scores", "fd_lenet_infinity", "why") for metrics in runs.metrics} - {None}
    reasons = "; ".join(sorted(map(verbatim, found))) or "not asked for in this profile"
    return f"No run has the extrapolation to infinitely many (`fd_lenet_infinity`): {reasons}.\n"


# %%
distance_figure(runs, folder, "distance", "")
precision_recall_figure(runs, folder)
assert {"distance.pdf", "distance.png", "precision-recall.pdf"} < {path.name for path in folder.iterdir()}
assert "(`fd_lenet_infinity`): `too few samples`.\n" in bias_figure(runs, folder)
fig, ax = plt.subplots(figsize=(4, 2.4), layout="constrained")
score = {"shares": [0.2, 0.5, 1.0], "n": n_samples, "distances": [35.0, 17.0, 11.0], "value": 5.0}
_plot_extrapolation(score, "made up", ax)
ax.set(xlabel="1 / N", ylabel="distance")
assert ax.lines[1].get_ydata()[1] == pytest.approx(35.0), "these points lie on a line"

# %%
#| hide
home.cleanup()
del os.environ["GENLAB_RUNS"]

# %% [markdown]
# ## What to remember
#
# - Rounded is what is shown, never what is kept; a missing number is a dash.
# - A distance stands beside its floor, and a time beside its device.
# - What belongs to all runs of a kind is one figure.
#
# ## Exercises
#
# 1. Add a column with the version of PyTorch to the table of times. Where is it known?

# %% [markdown]
# ## Solutions
#
# <details><summary>1. The version of PyTorch</summary>
#
# In the run's `metrics.json`, where `run.finish` writes it; numbers and names flow from there. In `time_table`, put `"PyTorch"` at the end of the headings, and in `_times` `value_at(r.metrics, "versions", "torch") or "—"` at the end of the cells (and 7 dashes for a run that is missing).
#
# Then `make sync`, which exports the notebooks. A run of before versions were written has none, and since `value_at` returns None for what is not there, it gets a dash and not an error. What one should not do is ask `torch.__version__` while the table is written: then the table would say what sets the report, not what trained the model.
#
# </details>
