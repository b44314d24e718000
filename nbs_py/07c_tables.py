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
# The report is put together from **fragments**: Markdown with a table, or with figures and their captions. The functions here make those that need to know nothing of a model but what all of them leave: losses, samples, scores and times. All take the rows of `genlab.sweep.collect_runs`.

# %%
#| default_exp tables

# %%
#| export
import contextlib
import hashlib
import math
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from genlab.data import load_dataset, show_grid
from genlab.runs import atomic, plot_history

# %%
#| hide
import os
import tempfile

import pypandoc
import seaborn as sns

from genlab.sweep import made_up_runs

home = tempfile.TemporaryDirectory()
os.environ["GENLAB_RUNS"] = home.name
runs = made_up_runs()  # of the first epoch count nothing is there
some = runs.job[1].run.samples(5)


# %% [markdown]
# ## Names that others chose
#
# A folder of images can be called anything, and what people call a run goes into Markdown, into figures and into file names. Each of these has characters that it does not take as they are.

# %%
#| export
def escape(text: str) -> str:
    "Somebody's text, such as the name of a data set, as Markdown that shows it as it was typed."
    special = r"`|[\\*{}\[\]<>#$%^~|@&'\"]|(?<!\w)_|_(?!\w)|--+|\.\.\."
    backslashes = lambda match: "`` ` ``" if match[0] == "`" else "".join("\\" + sign for sign in match[0])
    return re.sub(special, backslashes, " ".join(text.split()))


def plain(markdown: str) -> str:
    "What `escape` was given."
    return re.sub(r"\\(.)", r"\1", markdown.replace("`` ` ``", "`"))


def plot_label(markdown: str) -> str:
    "The same for a figure, where a dollar begins mathematics and a leading underscore hides a line from the legend."
    return re.sub("^_", " _", plain(markdown).replace("$", r"\$"))


def slug(markdown: str) -> str:
    "For a file's name and a figure's number; with some digits of a hash if another text could be shortened to the same."
    text = plain(markdown)
    short = re.sub(r"[^\w]+", "-", text, flags=re.ASCII).strip("-").lower()
    return short if short == re.sub(", | ", "-", text) else f"{short}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


# %%
odd = ["#", "$a$", "100%", "a & b", "~x", "x^2", "_x_", "{y}", "@lena", "<b>", "`", "a|b", "*", "--", "a_b", "...", "\\", "'q'"]
assert [plain(escape(name)) for name in odd] == odd and len({slug(name) for name in odd}) == len(odd)
assert escape("tinted_digits, seed 0") == "tinted_digits, seed 0" and slug("gan-dcgan, seed 0") == "gan-dcgan-seed-0"
shown = pypandoc.convert_text("\n\n".join(map(escape, odd)), "plain", "markdown", extra_args=["--wrap=none"])
assert shown.split("\n\n") == [*odd[:-1], odd[-1] + "\n"]


# %% [markdown]
# Metrics are nested, and a run may lack any of them.

# %%
#| export
def value_at(metrics: dict | None, *path: str):
    "A value deep in a run's metrics, or None if anything on the way is missing."
    for key in path:
        metrics = metrics.get(key) if isinstance(metrics, dict) else None
    return metrics


# %% [markdown]
# ## Tables
#
# Numbers are rounded where they are shown, never where they are kept. A missing number is a dash; a negative one gets a true minus sign. What the distances and shares mean is told in [05_fid](05_fid.ipynb).

# %%
#| export
NONE = "This profile has no such runs, or none of them is done."


def number(value: float | None, digits: int = 2) -> str:
    "A number for a table: rounded, with thousands separated, a dash if there is none."
    return "—" if value is None or value != value else f"{value:,.{digits}f}".replace("-", "−")


def plus_minus(value: float | None, spread: float | None, digits: int = 2) -> str:
    "A number with its spread."
    return "—" if value is None else f"{number(value, digits)} ± {number(spread, digits)}"


# %% [markdown]
# Tables are written in pandoc's Markdown. What comes from elsewhere, such as an error, must not be taken for Markdown.

# %%
#| export
def markdown_table(rows: list[list[str]], header: list[str], caption: str, label: str, align: str = "lrrrrrrr") -> str:
    "A pipe table with caption and label; `align` has an l (left) or r (right) for each column."
    widths = [min(30, max(len(str(line[i])) for line in [header, *rows])) for i in range(len(header))]  # pandoc takes dashes as relative widths
    rule = [{"l": ":" + "-" * width, "r": "-" * width + ":"}[a] for a, width in zip(align, widths, strict=False)]
    body = "\n".join("| " + " | ".join(map(str, line)) + " |" for line in [header, rule, *rows])
    return f"{body}\n\n: {caption} {{#tbl-{label}}}\n"


def verbatim(text: str) -> str:
    "Somebody's text, such as an error, as code."
    ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " * ("`" in text)
    return ticks + space + " ".join(text.split()) + space + ticks


# %% [markdown]
# A function for each table; all take the rows of `collect_runs`. The losses come first.

# %%
#| export
def loss_table(runs: pd.DataFrame, columns: dict[str, str], label: str) -> str:
    "Losses at each epoch count: `columns` maps a column of the history to its heading."
    rows = [[r.label, r.epochs, *(number(value_at(r.metrics, "losses", c), 3) for c in columns)] for r in runs.itertuples()]
    caption = "Losses, each the mean over the epoch that ends there."
    return markdown_table(rows, ["run", "epochs", *columns.values()], caption, label)


# %% [markdown]
# Distances have an uncertainty, and one glance should tell which digits to believe.

# %%
#| export
def uncertain(value: float | None, sd: float | None) -> str:
    "A number with its standard deviation in units of the last digit: 0.81(2) is 0.81 ± 0.02."
    if value is None or value != value:
        return "—"
    sd = None if sd != sd else sd
    digits = min(3, max(0, -math.floor(math.log10(sd)))) if sd else 2
    units = round(sd * 10**digits) if sd else 0
    return number(value, digits) + (f"({units})" if units else "")


# %% [markdown]
# The distances, with all that it takes to judge them:

# %%
#| export
def distance_table(runs: pd.DataFrame, label: str) -> str:
    "Frechet distances with their floors and all that says what they mean."
    rows, extractors, why = [], set(), set()
    for r in runs.itertuples():
        row = [r.label, r.epochs, number(value_at(r.metrics, "n_samples"), 0)]
        for metric in ("fd_lenet", "fid"):
            score = value_at(r.metrics, "scores", metric) or {}
            row += [uncertain(score.get("value"), score.get("sd")), uncertain(score.get("floor"), score.get("floor_sd"))]
            if score.get("value") is not None:
                extractors.add(f"`{metric}`: {escape(str(score.get('extractor')))}, weights `{score.get('hash')}`")
            elif r.metrics:
                why.add(f"`{metric}`: {verbatim(score['why']) if 'why' in score else 'not asked for in this profile'}")
        rows.append(row)
    caption = "Frechet distance (squared) of $N$ samples to the test set, with its standard deviation from random halves of the samples in units of the last digit. "
    caption += "Floor: that of $N$ real training images, mean and standard deviation of five draws. "
    caption += f"Extractor of {'; '.join(sorted(extractors)) or '—'}." + "".join(f" No {w}." for w in sorted(why))
    return markdown_table(rows, ["run", "epochs", "$N$", "`fd_lenet`", "floor", "`fid`", "floor"], caption, label)


# %% [markdown]
# The other measures have a column each, and real images a row at the end.

# %%
#| export
MEASURES = {"KD": "kd_lenet", "score": "lenet_score", "KL": "class_kl", "intra-class": "intra_class", "farther": "memorisation", "copies": "copies"}
DIVERSITY = {name: name for name in ("precision", "recall", "density", "coverage")}


def measure_table(runs: pd.DataFrame, columns: dict[str, str], caption: str, label: str) -> str:
    "Other measures (heading: metric) of the models and epoch counts that have any of them, and of real images."
    rows, real = [], {}
    columns = {head: metric for head, metric in columns.items() if any(value_at(m, "scores", metric) for m in runs.metrics)}
    for r in runs.itertuples():
        scores = [value_at(r.metrics, "scores", metric) or {} for metric in columns.values()]
        if any(scores):
            rows.append([r.label, r.epochs, *(uncertain(score.get("value"), score.get("sd")) for score in scores)])
        if n := max((score.get("n_floor") or 0 for score in scores), default=0):
            real[f"real, {escape(next((s['reference'] for s in scores if s.get('reference')), r.dataset))}, $N$ = {n:,}"] = [uncertain(score.get("floor"), score.get("floor_sd")) for score in scores]
    rows += [[name, "", *cells] for name, cells in real.items()]
    caption += " In the features of LeNet, with standard deviations in units of the last digit. Last: real training images."
    return markdown_table(rows, ["run", "epochs", *columns], caption, label, "lrrrrrrr")


MEASURES_CAPTION = (
    "Other measures. KD: kernel distance. Score: like the Inception Score, ten at most for digits. KL: divergence of the class histogram from that of the test set, in nats. "
    "Intra-class: mean distance within a class. Farther: probability that a sample is farther from the training set than a test image is; about 0.5 for new images, less for copies, or merely typical images. "
    "Copies: share of samples nearer to a training image than 99 % of the test images are; chance gives 0.01."
)


# %% [markdown]
# With classes, the distance can be taken within each of them.

# %%
#| export
def class_table(runs: pd.DataFrame) -> str:
    "Frechet distance within each class, for the last epoch count of each run; a table a data set."
    parts, last = [], runs[runs.metrics.notna()].groupby("label", sort=False).tail(1)
    reference = [value_at(m, "scores", "fd_lenet_by_class", "reference") or "" for m in last.metrics]
    for (dataset, of), group in last.groupby(["dataset", pd.Series(reference, last.index, dtype=object)], sort=False):
        rows, floors = [], {}
        for r in group.itertuples():
            if "classes" in (score := value_at(r.metrics, "scores", "fd_lenet_by_class") or {}):
                rows.append([r.label, r.epochs, *(number(c["value"], 1) for c in score["classes"])])
                if score.get("floor_classes"):
                    floors[f"real, $N$ = {score['n_floor']:,}"] = [number(value, 1) for value in score["floor_classes"]]
        if rows:
            rows += [[name, "", *values] for name, values in floors.items()]
            caption = f"`fd_lenet` within each class of {verbatim(of or dataset)}, for as many samples of the class as there are. Both samples and test images are sorted by the classifier."
            parts.append(markdown_table(rows, ["run", "epochs", *map(str, range(len(rows[0]) - 2))], caption, f"classes-{slug(escape(of or dataset))}", "l" + "r" * 30))
    return "\n".join(parts) or NONE


# %% [markdown]
# A time says something only with the device that it was measured on.

# %%
#| export
def device_marks(runs: pd.DataFrame) -> dict[str, str]:
    "What the runs were trained on, and the letter that marks its times; an empty one if it is the only device."
    names = sorted({device for m in runs.metrics if (device := value_at(m, "device"))})
    return {name: chr(ord("a") + i) * (len(names) > 1) for i, name in enumerate(names)}


def devices(runs: pd.DataFrame) -> str:
    "The devices, with their letters."
    return "; ".join(escape(name) + f" (^{mark}^)" * bool(mark) for name, mark in device_marks(runs).items()) or "—"


def timed(seconds: str, rows: list, marks: dict[str, str]) -> str:
    "A time of these rows with the letters of their devices."
    letters = "".join(sorted({marks.get(value_at(r.metrics, "device"), "") for r in rows}))
    return seconds + f"^{letters}^" * bool(letters)


def time_table(runs: pd.DataFrame, label: str) -> str:
    "Training and sampling times, with the device."
    rows, marks = [], device_marks(runs)
    for r in runs.itertuples():
        trained, scored, drawn = (value_at(r.metrics, key) for key in ("train_seconds", "score_seconds", "sample_seconds"))
        row = [r.label, r.epochs, timed(number(trained, 1), [r], marks), number(value_at(r.metrics, "images_per_second"), 0)]
        row += [number(trained / r.epochs) if trained else "—", number(scored + trained / r.epochs + drawn) if scored else "—"]
        row += [number(1000 * drawn / r.metrics["n_samples"]) if drawn else "—", r.metrics.get("evaluations", 1) if r.metrics else "—"]
        rows.append(row)
    caption = f"Training time in all, training speed, time of a plain epoch and of one that ends with samples and their scores, and time to draw 1,000 samples with so many evaluations of the network for each, on {devices(runs)}."
    return markdown_table(rows, ["run", "epochs", "training (s)", "images/s", "epoch (s)", "evaluating (s)", "1,000 samples (s)", "evaluations"], caption, label)


# %% [markdown]
# Last, the way back from a number to the run that it comes from.

# %%
#| export
def provenance_table(runs: pd.DataFrame, label: str) -> str:
    "Which folder, seed and commit each run is."
    rows = []
    for _, group in runs.groupby("label", sort=False):
        done = group[group.metrics.notna()]
        commits = sorted({value_at(m, "commit") or "none" for m in done.metrics})
        run = group.job.iloc[0].run
        fields, told = type(run.config).model_fields, ("model", "name", "dataset", "seed")
        changed = [f"`{k}` {escape(str(v))}" for k, v in run.config.model_dump().items() if k not in told and v != fields[k].default]
        rows.append([group.label.iloc[0], verbatim("/".join(run.folder.parts[-3:])), run.config.seed, ", ".join(changed) or "—",
                     ", ".join(map(str, done.epochs)) or "—", ", ".join(f"`{c}`" for c in commits) or "—"])  # fmt: skip
    header = ["run", "folder", "seed", "not by default", "epochs done", "commit"]
    return markdown_table(rows, header, "Where each number comes from.", label, "llrlll")


# %%
assert [number(x, 1) for x in (1234.56, -0.25, None, float("nan"))] == ["1,234.6", "−0.2", "—", "—"]
for table in (loss_table(runs, {"loss_d": "Loss_D"}, "a"), distance_table(runs, "b"), time_table(runs, "c"), provenance_table(runs, "d")):
    print(table)
assert "| dcgan | 1 | — | — | — | — | — |" in distance_table(runs, "b")
assert [uncertain(*x) for x in ((0.8123, 0.0174), (31.4159, 2.5), (1234.5, 32.1), (-0.5, None), (-0.5, math.nan), (None, None), (0.99999, 1e-5))] == ["0.81(2)", "31(2)", "1,234(32)", "−0.50", "−0.50", "—", "1.000"]
measures = measure_table(runs, {"KD": "kd_lenet", "score": "lenet_score", "P": "precision"}, "", "e")
assert "| dcgan | 5 | 1.2(1) | 0.81(2) |" in measures and "| real, digits, $N$ = 64 |  | 0.50 | 0.98(1) |" in measures and "score" not in measures
assert "| dcgan | 5 | 8.0 | — |" in class_table(runs) and "| real, $N$ = 64 |  | 2.0 | 3.0 |" in class_table(runs) and "{#tbl-classes-digits}" in class_table(runs)
assert "| dcgan | 5 | 64 | 31.4(8) | 14(2) | — | — |" in distance_table(runs, "b") and "No `fid`: `no weights`." in distance_table(runs, "b")
assert "`width` 16" in provenance_table(runs, "d")


# %% [markdown]
# ## Figures
#
# Each figure is saved twice, as PDF for print and as PNG for the screen. Pandoc and Quarto choose.

# %%
#| export
def save_figure(fig: plt.Figure, path: Path) -> None:
    "Save as path.pdf and path.png, and close."
    for suffix in (".pdf", ".png"):
        with atomic(path.with_suffix(suffix)) as temporary:
            fig.savefig(temporary, format=suffix[1:], dpi=200, bbox_inches="tight", metadata={"CreationDate": None} if suffix == ".pdf" else None)
    plt.close(fig)


def figure(folder: Path, name: str, caption: str, label: str, width: str = "100%") -> str:
    "Markdown that shows the figure `name` of `folder`."
    return f"![{caption}]({folder.name}/{name}){{#fig-{label} width={width}}}\n"


# %% [markdown]
# One is about a single run, its samples:

# %%
#| export
def grid_figure(images: torch.Tensor, path: Path, side: int = 8) -> None:
    "The first side x side images as a square without margins."
    fig, ax = plt.subplots(figsize=(3, 3), layout="constrained")
    show_grid(images[: side**2], ncol=side, ax=ax)
    save_figure(fig, path)


# %% [markdown]
# The others compare runs. Their labels can be long, so the legend has a place of its own.

# %%
#| export
def legend_above(ax: plt.Axes) -> None:
    "A legend over the axes, where long labels take no width from them."
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        ncols = max(1, 80 // (6 + max(map(len, labels))))
        ax.figure.set_figheight(ax.figure.get_figheight() + 0.13 * -(-len(labels) // ncols))
        ax.figure.legend(handles, labels, frameon=False, fontsize=7, loc="outside upper center", ncols=ncols)


# %% [markdown]
# Are samples good, or diverse? One point for each epoch count. A figure without anything to show is left out.

# %%
#| export
def precision_recall_figure(runs: pd.DataFrame, folder: Path) -> str:
    "Precision against recall, a line a run with its epoch counts; a star for real images. Nothing where no run has them."
    fig, ax = plt.subplots(figsize=(4.2, 2.8), layout="constrained")
    for label, group in runs[runs.metrics.notna()].groupby("label", sort=False):
        known = [(r.epochs, *(value_at(r.metrics, "scores", metric) for metric in ("recall", "precision"))) for r in group.itertuples()]
        known = [(epochs, recall, precision) for epochs, recall, precision in known if None not in (value_at(recall, "value"), value_at(precision, "value"))]
        if known:
            (line,) = ax.plot([r["value"] for _, r, _ in known], [p["value"] for _, _, p in known], marker="o", markersize=3, label=plot_label(label))
            for epochs, recall, precision in known:
                ax.annotate(str(epochs), (recall["value"], precision["value"]), (3, 3), textcoords="offset points", fontsize=7, color=line.get_color())
            ax.plot(known[-1][1].get("floor"), known[-1][2].get("floor"), "*", color="0.3", markersize=9)
    if not ax.lines:
        plt.close(fig)
        return ""
    ax.set(xlabel="recall", ylabel="precision")
    legend_above(ax)
    save_figure(fig, folder / "precision-recall")
    caption = "Precision against recall, a point an epoch count; stars are real training images, as many as there are samples."
    return figure(folder, "precision-recall", caption, "precision-recall", "60%")


# %% [markdown]
# How much of a distance is there only because the samples are few?

# %%
#| export
def bias_figure(runs: pd.DataFrame, folder: Path) -> str:
    "fd_lenet of parts of the samples against one over their number, and the line to infinitely many."
    fig, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
    for r in runs[runs.metrics.notna()].groupby("label", sort=False).tail(1).itertuples():
        if "shares" in (score := value_at(r.metrics, "scores", "fd_lenet_infinity") or {}):
            x = [1 / (share * score["n"]) for share in score["shares"]]
            slope = sum(a * (d - score["value"]) for a, d in zip(x, score["distances"], strict=True)) / sum(a * a for a in x)
            (dots,) = ax.plot(x, score["distances"], ".", label=f"{plot_label(r.label)}, {r.epochs} epochs")
            ax.plot([0, x[0]], [score["value"], score["value"] + slope * x[0]], color=dots.get_color(), linewidth=0.8)
    if not ax.lines:
        plt.close(fig)
        why = {verbatim(found) for m in runs.metrics if (found := value_at(m, "scores", "fd_lenet_infinity", "why"))}
        return f"No run has the extrapolation to infinitely many (`fd_lenet_infinity`): {'; '.join(sorted(why)) or 'not asked for in this profile'}.\n"
    ax.set(xlabel="1 / number of samples", ylabel="fd_lenet", xlim=0)
    legend_above(ax)
    save_figure(fig, folder / "bias")
    caption = "`fd_lenet` of parts of the samples and of the test set, for the last epoch count of each run, against one over the number of samples; lines extrapolate to infinitely many."
    text = "@fig-bias shows it for parts of each model's samples and of the test set, and where the line meets infinitely many [@chong2020].\n"
    return text + "\n" + figure(folder, "bias", caption, "bias", "65%")


# %% [markdown]
# And the course of the distance over training.

# %%
#| export
def distance_figure(runs: pd.DataFrame, folder: Path, name: str, caption: str) -> str:
    "fd_lenet against epochs, a line a run, with the floor dashed; nothing where no run has it."
    done = runs[[value_at(metrics, "scores", "fd_lenet", "value") is not None for metrics in runs.metrics]]
    if done.empty:
        return ""
    fig, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
    for label, group in done.groupby("label", sort=False):
        scores = [value_at(m, "scores", "fd_lenet") or {} for m in group.metrics]
        (line,) = ax.plot(group.epochs, [s.get("value") for s in scores], marker="o", label=plot_label(label))
        ax.plot(group.epochs, [s.get("floor") for s in scores], color=line.get_color(), linestyle="--", linewidth=0.8)
    ax.set(xlabel="epochs", ylabel="fd_lenet to the test set", xscale="log", yscale="log")
    counts = sorted(set(done.epochs))
    ticks = counts[:1]
    for n in counts[1:]:
        if n >= 1.4 * ticks[-1]:  # there is room for a number
            ticks.append(n)
    ax.set_xticks(ticks, map(str, ticks))
    ax.minorticks_off()
    legend_above(ax)
    save_figure(fig, folder / name)
    return figure(folder, name, caption, name, "65%")


# %%
folder = Path(home.name, "figures")
sns.set_theme(style="ticks", context="paper")
distance_figure(runs, folder, "distance", "")
grid_figure(some, folder / "grid")
assert bias_figure(runs, folder) == "No run has the extrapolation to infinitely many (`fd_lenet_infinity`): `too few samples`.\n"
assert sorted(p.name for p in folder.iterdir()) == ["distance.pdf", "distance.png", "grid.pdf", "grid.png"]
show_grid(some, ncol=16, title="what grid_figure draws, in a wider shape");


# %% [markdown]
# ## All runs of a kind
#
# Losses and samples are shown for all runs of a kind in one figure of small multiples, with equal axes or equal latents. Where the runs are too many for a page, there is a second figure.

# %%
#| export
def loss_curves(
    runs: pd.DataFrame,  # of one kind, as `collect_runs` gives them
    folder: Path,  # where the figure is saved
    panels: dict[str, dict[str, str]],  # y label of each panel of a run -> column of the history -> its name in the legend
    caption: str,
    label: str,  # of the figure, such as losses-gan
    yscale: str = "linear",
) -> str:
    "Loss curves, so many panels a run; `NONE` if no run is done. Faint: single batches; solid: running mean."
    done = runs[runs.metrics.notna()].groupby("label", sort=False).head(1)
    histories = [(r.label, _read_history(r)) for r in done.itertuples()]
    parts, most = [], 20 // len(panels)
    for i in range(0, len(histories), most):
        name = f"{label}-{i // most}" if i else label
        save_figure(_plot_curves(histories[i : i + most], panels, yscale), folder / name)
        parts.append(figure(folder, name, f"{caption} Faint: single batches; solid: running mean.", name))
    return "\n".join(parts) or NONE


def _read_history(r) -> list[dict]:
    "The history of the run of a row."
    return pd.read_csv(r.job.run.folder / "history.csv").to_dict("records")


def _plot_curves(histories: list[tuple[str, list[dict]]], panels: dict[str, dict[str, str]], yscale: str) -> plt.Figure:
    "Four panels a row; those of one run stand side by side."
    ncols = min(len(histories), 4 // len(panels)) * len(panels)
    nrows = -(-len(histories) * len(panels) // ncols)
    fig, axes = plt.subplots(nrows, ncols, figsize=(1.8 * max(ncols, 2), 0.3 + 1.4 * nrows), layout="constrained", squeeze=False)
    slots = iter(axes.flat)
    for label, history in histories:
        for ylabel, columns in panels.items():
            ax = next(slots)
            plot_history(history, columns, ylabel, ax)
            ax.set_title(plot_label(label), fontsize=7)
            ax.set_yscale(yscale)
            ax.tick_params(labelsize=6)
            ax.xaxis.label.set_size(7)
            ax.yaxis.label.set_size(7)
            if legend := ax.get_legend():
                legend.remove()
    for ax in slots:
        ax.set_axis_off()
    return fig


# %% [markdown]
# Samples of all models are shown alike.

# %%
#| export
def sample_sheets(runs: pd.DataFrame, folder: Path, label: str) -> str:
    "A row a run: samples at each epoch count, from the same latents, and real images. `NONE` if no run is done."
    groups = [list(group.itertuples()) for _, group in runs[runs.metrics.notna()].groupby("label", sort=False)]
    parts, most = [], 9
    for i in range(0, len(groups), most):
        name = f"{label}-{i // most}" if i else label
        save_figure(_plot_sheets(groups[i : i + most]), folder / name)
        caption = "Samples from the same 21 latents after so many epochs, not selected, and real images; a row a run."
        parts.append(figure(folder, name, caption, name))
    return "\n".join(parts) or NONE


def _plot_sheets(groups: list[list]) -> plt.Figure:
    ncols = min(6, 1 + max(map(len, groups)))
    fig, axes = plt.subplots(len(groups), ncols, figsize=(1.25 * ncols, 0.72 * len(groups)), layout="constrained", squeeze=False)
    for row, group in zip(axes, groups, strict=True):
        shown = np.linspace(0, len(group) - 1, min(len(group), ncols - 1)).round().astype(int)
        for ax, r in zip(row, [group[i] for i in shown], strict=False):
            show_grid(r.job.run.samples(r.epochs)[:21], ncol=7, ax=ax)
            ax.set_title(f"{plot_label(r.label)}, {r.epochs}" if ax is row[0] else str(r.epochs), fontsize=6)
        config = group[0].job.run.config
        with contextlib.suppress(RuntimeError, OSError, ValueError):  # the section on data says what is wrong with the images
            show_grid(load_dataset(config.dataset, "test", config.size).images[:21], ncol=7, ax=row[-1])
            row[-1].set_title("real", fontsize=6)
        for ax in row:
            ax.set_axis_off()
    return fig


# %%
panels = {"loss": {"loss_d": "Loss_D", "loss_g": "Loss_G"}, "mean verdict": {"d_x": "$D(x)$"}}
text = loss_curves(runs, folder, panels, "Losses.", "losses-gan") + sample_sheets(runs, folder, "samples-gan")
assert "(figures/losses-gan){#fig-losses-gan" in text and "(figures/samples-gan){#fig-samples-gan" in text
assert loss_curves(runs[:1], folder, panels, "", "a") == sample_sheets(runs[:1], folder, "b") == NONE, "its only evaluation is missing"
many = pd.concat([runs.assign(label=f"run {i}") for i in range(12)])
assert "{#fig-losses-gan-1" in loss_curves(many, folder, panels, "", "losses-gan")

# %%
#| hide
home.cleanup()
del os.environ["GENLAB_RUNS"]
