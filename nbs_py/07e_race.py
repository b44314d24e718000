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
# # The race
#
# > How long does a model take until its samples are as near to real images as they should be? Entries, their results, and a table that anyone can check
#
# "State of the art on MNIST" can mean anything: after which time, on which machine, by which measure, with how many tries? A race settles it. An **entry** is a file with the settings of a run, and nothing else. It is trained until `fd_lenet` is at most twice the **floor**, the distance that as many real training images have from the test images ([05_fid](05_fid.ipynb)). What counts is the time until it has passed two lines: 5 times the floor, then 2 times.
#
# Only training counts as time. Samples are drawn and scored at a growing list of epoch counts, with as many samples as there are test images. The settings of the sampler belong to the entry: guidance, for example, costs nothing in training, and changes the distance. Each entry is trained with several seeds, because one run can be lucky.
#
# Images without labels train no LeNet. Where a data set has none, as folders of photographs, the distance is `fd_photo`, in the features of a network that knows photographs ([05b_features](05b_features.ipynb)), and entries that want to be told classes cannot race.
#
# What a race cannot see: a model that copies training images is at the floor, too, so look at `copies` of [05c_measures](05c_measures.ipynb) before you praise a winner. And whoever chooses settings by this distance chooses them by the test images. Choose with other seeds than those that race, and believe only differences that are much larger than the interval.
#
#     make race TASK=mnist                       # all entries, seeds 0 to 2
#     genlab_race mnist muon --seeds 0 1 2       # one of them
#     genlab_race folder:/my/photographs small   # on images of one's own, at 64x64 pixels
#
# The entries are `report/race/*.yaml`, and their results lie beside them, a file for each data set. Random numbers follow from the seed alone, so that whoever repeats an entry on the same kind of CPU, with the same number of threads, gets the same distances to the last digit.

# %%
#| default_exp race

# %% tags=["parameters"]
task = "mnist"  # the data set whose race is shown

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import yaml
from filelock import FileLock

from genlab.data import check_dataset, load_dataset
from genlab.fid import COMPARED_BY, check_metrics, evaluate, floor
from genlab.plug import KINDS, look_up
from genlab.runs import Run, RunConfig, atomic, folder_name, project_root, read_json
from genlab.tables import log_ticks, number, over_seeds

# %%
#| hide
import os
import re
import tempfile

import pytest
from IPython.display import Markdown

# %% [markdown]
# ## An entry
#
# An entry has the parameters of a notebook, with the kind of its model in front. What the race decides, it leaves out: data set, seed, epochs, number of samples. The file's name becomes the run's.

# %%
#| export
BY_THE_RACE = ("name", "dataset", "size", "subset", "seed", "epochs", "snapshots", "n_samples", "metrics")
LINES = (5, 2)  # times the floor


def read_entry(path: Path) -> dict:
    "The settings of an entry. ValueError, one sentence, if they are none."
    if not path.exists():
        known = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml")))
        raise ValueError(f"entry: there is no {path.stem!r}; choose from {known}.")
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise ValueError(f"entry {path.stem}: it is no YAML: {' '.join(str(problem).split())}.") from None
    if not isinstance(settings, dict) or "model" not in settings:
        raise ValueError(f"entry {path.stem}: it has to be a list of settings, `model: ddpm` among them.")
    if decided := [key for key in BY_THE_RACE if key in settings]:
        raise ValueError(f"entry {path.stem}: {', '.join(decided)}: the race decides this; leave it out.")
    return settings


def race_config(settings: dict, name: str, task: str, seed: int) -> RunConfig:
    "The run of an entry; ValueError if its settings are none of this kind of model, or it cannot race."
    kind = look_up("model", settings["model"], KINDS)
    if kind.draw is None:
        raise ValueError(f"entry {name}: {settings['model']} has no `draw`, see 00c_plug; it cannot race.")
    return kind.config(**settings, name=name, dataset=task, seed=seed)


# %% [markdown]
# Entries are looked at after 1, 2, 3, 4, 5, 7, 9, ... epochs. The time found is that of the first look below a line. It may have passed a little earlier, by half of this time after two epochs and by a third later on:

# %%
#| export
def looks() -> Iterator[int]:
    "Epoch counts at which an entry is measured."
    epochs = 1
    while True:
        yield epochs
        epochs = max(epochs + 1, round(1.35 * epochs))


# %%
first = [epochs for epochs, _ in zip(looks(), range(10), strict=False)]
assert first == [1, 2, 3, 4, 5, 7, 9, 12, 16, 22]

# %% [markdown]
# ## Racing
#
# `draw` of a kind of model continues the training, exactly, and draws the samples ([00_runs](00_runs.ipynb)). The race of an entry ends at 2 times the floor, or when the training has taken too long. `race` is a generator: it hands out what is known after each look, so that whoever calls it can keep that, and loses nothing if it is interrupted.

# %%
#| export
LABELLED, UNLABELLED = COMPARED_BY  # what is measured


def race_metric(task: str) -> str:
    "The measure of the race on a data set: LeNet's distance, if there are labels that a LeNet can learn."
    return UNLABELLED if load_dataset(task, "test").labels is None else LABELLED


def check_task(task: str) -> None:
    "Have the floor ready. ValueError or RuntimeError, one sentence, if there can be none."
    metric, images = race_metric(task), load_dataset(task, "test").images
    check_metrics(task, None, [metric])
    if floor(metric, task, images.shape[-1], len(images))["floor"] is None:
        raise ValueError(f"dataset: {task} has {len(images)} test images, too few for {metric}.")


def look(run: Run, epochs: int) -> dict:
    "Train until `epochs` epochs are done, draw, and measure."
    samples, metric = KINDS[run.config.model].draw(run, epochs), race_metric(run.config.dataset)
    score = evaluate(samples, run.config.dataset, [metric])[metric]
    images, first = epochs * len(run.config.training_set().images), run.training.get("first") or {}
    seconds = run.training["train_seconds"] + first.get("train_seconds", 0)  # of a latent model's VAE, too
    return {"epochs": epochs, "images": images, "seconds": seconds} | {
        key: score[key] for key in ("value", "sd", "floor", "n")
    }


def race(name: str, settings: dict, task: str, seed: int, minutes: float) -> Iterator[dict]:
    "After each look the record of an entry: what it is, what it costs, and a row for each look so far."
    run, rows = Run(race_config(settings, name, task, seed)), []
    costs = ("device", "parameters", "flops_per_image", "commit")
    with run.lock():
        for epochs in looks():
            rows.append(look(run, epochs))
            seconds, ratio = rows[-1]["seconds"], rows[-1]["value"] / rows[-1]["floor"]
            print(f"{name}, seed {seed}: {seconds:.0f} s, {ratio:.1f} times the floor", flush=True)
            record = {"task": task, "metric": race_metric(task), "seed": seed}
            record |= {"hash": run.config.hash, "settings": settings}
            record |= {key: run.training[key] for key in costs}
            over = ratio <= min(LINES) or seconds > 60 * minutes
            yield record | {"over": over, "looks": rows}
            if over:
                return


# %%
#| export
def keep_record(path: Path, record: dict) -> None:
    """Put a record into the results file of an entry, in the place of that of the same seed and device.

    One that is not over takes the place of none that has come further."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / ".lock"):
        who = lambda other: (other["device"], other["seed"])
        records = {who(other): other for other in read_json(path, list) or []}
        old = records.get(who(record))
        if old and not record["over"] and len(record["looks"]) < len(old["looks"]):
            return
        records[who(record)] = record
        with atomic(path) as temporary:
            temporary.write_text(json.dumps([records[key] for key in sorted(records)], indent=1) + "\n")


# %% [markdown]
# A race on `digits`, of a small GAN that is not serious about it: after a look the time is over. It races twice, each time from the beginning, and the second record is the same as the first, but for the seconds.

# %%
home, before = tempfile.TemporaryDirectory(), os.environ.get("GENLAB_RUNS")
records, small = {}, {"model": "gan", "width": 8}
for time in ("first", "second"):
    os.environ["GENLAB_RUNS"] = f"{home.name}/{time}"
    (records[time],) = race("small", small, "digits", 0, minutes=1e-3)
without = lambda record: [{k: v for k, v in row.items() if k != "seconds"} for row in record["looks"]]
assert without(records["first"]) == without(records["second"]) and records["first"]["over"]
os.environ.pop("GENLAB_RUNS") if before is None else os.environ.update(GENLAB_RUNS=before)

# %%
#| hide
place, first = Path(home.name), records["first"]
for record in (first, first | {"seed": 1}, first | {"commit": "later"}):
    keep_record(place / "small.json", record)
assert [(r["seed"], r["commit"]) for r in json.loads((place / "small.json").read_text())] == [
    (0, "later"), (1, first["commit"])
]  # fmt: skip
for text, sentence in [
    ("model: gan\nepochs: 3", "epochs: the race decides this"),
    ("- gan", "entry wrong: it has to be a list of settings"),
]:
    (place / "wrong.yaml").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_entry(place / "wrong.yaml")
with pytest.raises(ValueError, match="there is no 'nobody'; choose from wrong"):
    read_entry(place / "nobody.yaml")
with pytest.raises(ValueError, match="widht: there is no such parameter; did you mean width"):
    race_config({"model": "gan", "widht": 8}, "x", "digits", 0)


# %% [markdown]
# ## The table
#
# An entry stands in the table with the mean over its seeds, and half the width of its 95 % confidence interval by Student's $t$. Where not all seeds have reached a line, the table says how many have; where none has, how near it came.

# %%
#| export
def reached(record: dict, times: float) -> dict | None:
    "The first look at which the distance was at most so many times the floor."
    return next((row for row in record["looks"] if row["value"] <= times * row["floor"]), None)


def _at_line(records: list[dict], times: float) -> list[str]:
    "Seconds and images until a line."
    rows = [row for record in records if (row := reached(record, times))]
    if not rows:
        nearest = min(row["value"] / row["floor"] for record in records for row in record["looks"])
        return [f"not reached ({number(nearest, 1)})", "—"]
    if len(rows) < len(records):  # a mean of those that arrived would be too small
        return [f"{len(rows)} of {len(records)} seeds", "—"]
    mean, half = over_seeds([row["seconds"] for row in rows])
    seconds = number(mean, 0) + ("" if half is None else f" ± {number(half, 0)}")
    return [seconds, number(sum(row["images"] for row in rows) / len(rows), 0)]


def _rank(records: list[dict]) -> tuple:
    "For sorting: who is at the last line first, then at the one before, then who came nearest."
    times = []
    for line in sorted(LINES):
        rows = [reached(record, line) for record in records]
        times.append(sum(row["seconds"] for row in rows) / len(rows) if all(rows) else float("inf"))
    return *times, min(row["value"] / row["floor"] for record in records for row in record["looks"])


# %%
#| export
def read_results(folder: Path, task: str) -> dict[tuple[str, str], list[dict]]:
    "The records of a data set by device and entry, best first."
    found = {}
    for path in sorted((folder / folder_name(task)).glob("*.json")):
        for record in read_json(path, list) or []:
            found.setdefault((record["device"], path.stem), []).append(record)
    return dict(sorted(found.items(), key=lambda item: (item[0][0], *_rank(item[1]))))


def race_table(folder: Path, task: str) -> str:
    "A table in Markdown of what `read_results` finds, with a line below on what was measured."
    head = ["entry", "seeds", "parameters", "MFLOP/image"]
    head += [f"{line} × floor: {what}" for line in LINES for what in ("seconds", "images")]
    lines, one = [head, [":--", *["--:"] * (len(head) - 1)]], None
    for (device, name), records in read_results(folder, task).items():
        one = records[0]
        flops = one["flops_per_image"]
        cells = [f"{name} ({device})", len(records), number(one["parameters"], 0)]
        cells.append("—" if flops is None else number(flops / 1e6, 0))
        lines.append([*cells, *(cell for line in LINES for cell in _at_line(records, line))])
    if one is None:
        return f"No entry has raced on {task} yet."
    look, metric = one["looks"][0], one.get("metric", LABELLED)
    about = f"Training time until `{metric}` on {task} is so many times the floor "
    about += f"({look['floor']:.2f}, $N$ = {look['n']:,})"
    about += "; mean over seeds ± half the 95 % interval. *Not reached*: how near it came."
    about += " FLOPs are those of the network, forward and backward, without the optimizer's."
    rows = "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
    return f"{rows}\n\n{about}"


# %%
results = project_root() / "report" / "race"
Markdown(race_table(results, task))

# %%
#| hide
made_up = lambda seed, *ratios: {
    "device": "abacus", "seed": seed, "parameters": 1234, "flops_per_image": 2e6,
    "looks": [
        {"epochs": i, "images": 100 * i, "seconds": 10.0 * i + seed, "value": ratio, "floor": 1.0, "n": 50}
        for i, ratio in enumerate(ratios, 1)
    ],
}  # fmt: skip
(place / "toys").mkdir()
for name, entry in {"slow": [made_up(0, 9, 8, 4)], "fast": [made_up(0, 4, 1), made_up(1, 6, 2)]}.items():
    for record in entry:
        keep_record(place / "toys" / f"{name}.json", record)
table = race_table(place, "toys")
rows = re.findall(r"^\| (?:fast|slow).*$", table, flags=re.M)
assert rows[0] == "| fast (abacus) | 2 | 1,234 | 2 | 16 ± 70 | 150 | 20 ± 6 | 200 |", rows[0]
assert rows[1] == "| slow (abacus) | 1 | 1,234 | 2 | 30 | 300 | not reached (4.0) | — |", rows[1]
keep_record(place / "toys" / "slow.json", made_up(1, 9, 8, 7))
assert "| 1 of 2 seeds | — | not reached (4.0) | — |" in race_table(place, "toys")
assert "No entry has raced on nothing yet" in race_table(place, "nothing")


# %% [markdown]
# The whole way of each entry, on two logarithmic axes. The dashed lines are 5 and 2 times the floor, the dotted one is the floor.

# %%
#| export
def race_figure(folder: Path, task: str, ax: plt.Axes | None = None) -> plt.Axes:
    "Distance against training time, a line a seed."
    ax = ax or plt.subplots(figsize=(6, 3.4), layout="constrained")[1]
    colours, floor, metric = {}, None, LABELLED
    for (device, name), records in read_results(folder, task).items():
        for record in records:
            rows, floor = record["looks"], record["looks"][0]["floor"]
            metric = record.get("metric", LABELLED)
            label = None if (device, name) in colours else f"{name} ({device})"
            (line,) = ax.plot(
                [row["seconds"] for row in rows], [row["value"] for row in rows],
                marker=".", color=colours.get((device, name)), label=label,
            )  # fmt: skip
            colours[device, name] = line.get_color()
    for times, style in [(times, "--") for times in LINES] + [(1, ":")]:
        if floor:
            ax.axhline(times * floor, color="0.5", linestyle=style, linewidth=0.8)
    ax.set(xscale="log", yscale="log", xlabel="training (s)", ylabel=metric, title=task)
    log_ticks(ax.xaxis)
    log_ticks(ax.yaxis)
    ax.legend(frameon=False, fontsize=8)
    return ax


# %%
race_figure(results, task);


# %% [markdown]
# ## The command

# %%
#| export
def main() -> None:
    "The command `genlab_race`: race entries, keep their results beside them, and print the table."
    parser, folder = _parser(), project_root() / "report" / "race"
    options = parser.parse_args()
    try:
        task = check_dataset(options.task)
        check_task(task)  # errors before any training
        entries = _entries(folder, options.entries, task)
        pairs = list(itertools.product(options.seeds, entries))
        for seed, name in pairs:
            race_config(entries[name], name, task, seed)
        failed = [
            problem for seed, name in pairs
            if (problem := _race(name, entries[name], task, seed, options.minutes, folder))
        ]  # fmt: skip
        print(race_table(folder, task))
        if failed:
            parser.exit(1, "".join(f"genlab_race: {problem}\n" for problem in failed))
    except (ValueError, RuntimeError, OSError) as problem:
        parser.exit(1, f"genlab_race: {problem}\n")


def _entries(folder: Path, asked: list[str], task: str) -> dict[str, dict]:
    "The entries asked for, or all that can race. ValueError if one that was asked for cannot."
    names = asked or sorted(path.stem for path in folder.glob("*.yaml"))
    entries = {name: read_entry(folder / f"{name}.yaml") for name in names}
    if race_metric(task) == LABELLED:
        return entries
    told = [name for name, settings in entries.items() if settings.get("conditional")]
    sentence = f"{', '.join(told)}: conditional: {task} has no labels"
    if told and asked:
        raise ValueError(f"entry {sentence}.")
    if told:
        print(f"{sentence}; left out.")
    return {name: settings for name, settings in entries.items() if name not in told}


def _race(name: str, settings: dict, task: str, seed: int, minutes: float, folder: Path) -> str | None:
    "Race, and keep the records; returns what to say if the training has diverged."
    try:
        for record in race(name, settings, task, seed, minutes):
            keep_record(folder / folder_name(task) / f"{name}.json", record)
    except FloatingPointError as problem:
        return f"{name}, seed {seed}: {problem}"


def _positive(text: str) -> float:
    "A finite number above 0."
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number of minutes above 0")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("task", help="a data set: mnist, fashion_mnist, folder:PATH, ...")
    parser.add_argument("entries", nargs="*", help="files in report/race, without .yaml (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="(default: 0 1 2)")
    about = "give up after so many minutes of training (default: 45)"
    parser.add_argument("--minutes", type=_positive, default=45.0, help=about)
    return parser


# %%
#| hide
home.cleanup()

# %% [markdown]
# ## What to remember
#
# - A result is a time, a machine, a distance, its floor, and several seeds. Any of them alone says little.
# - What may be tuned belongs to the entry, in a file, so that others can repeat it.
#
# ## Exercises
#
# 1. Enter the race: copy an entry, change one setting, and find out what it is worth. Is the difference larger than the interval over seeds?
# 2. The list of looks makes small differences invisible. How would you measure the time more finely without training anything twice?
#
# ## Solutions
#
# <details><summary>1. One setting</summary>
#
# `report/race/adam.yaml` is such a copy, of `muon.yaml` with `optimizer: adam`. `genlab_race mnist muon adam --seeds 0 1 2` trains both (what is on disk is not trained again, only drawn and measured). Compare the intervals in the table, and the curves in the figure: with the same seed both see the same images and the same noise.
#
# </details>
#
# <details><summary>2. Finer looks</summary>
#
# Checkpoints within an epoch would do it. Without them, interpolate: between two looks the logarithm of the distance is nearly a straight line in the logarithm of the time, as the figure shows. The noise of the measure (`sd` in the results file) limits what is gained.
#
# </details>
