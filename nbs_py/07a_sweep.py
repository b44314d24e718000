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
# # Sweeps
#
# > From a list of runs to what they left on disk: plan, execute, collect
#
# A *profile* is a short YAML file: a row for each run, with a notebook, values for its parameters, and the epoch counts to look at. Snakemake, which makes only what is missing, has papermill execute the notebooks with these values (`report/Snakefile`). This module plans what is to be executed, and reads what runs have left on disk.
#
# A run that failed or was never made is not an error here: it is a row without numbers that says why.

# %%
#| default_exp sweep

# %% tags=["parameters"]
profile = "quick"  # a file in report/profiles, whose plan is drawn

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import ast
import functools
import heapq
import io
import json
import math
import os
import re
import time
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import yaml

from genlab.data import load_dataset
from genlab.plug import KINDS, LABS, did_you_mean, import_plugins
from genlab.runs import Run, RunConfig, project_root, read_json, runs_root
from genlab.tables import escape, plural, value_at

# %%
#| hide
import sys
import tempfile

import matplotlib.pyplot as plt
import pytest


# %% [markdown]
# ## From a profile to jobs
#
# A **job** is a run at one of its epoch counts. A row's jobs are done by a single execution of its notebook, up to the last count. A profile can also name **labs**: notebooks such as [01b_mode_collapse](01b_mode_collapse.ipynb) that find out something by themselves and keep it in a file.

# %%
#| export
class Job(NamedTuple):
    "A run at one epoch count, and the notebook that gets it there."

    notebook: str  # "01_gan"
    parameters: dict  # for papermill; they cover all epoch counts of the row
    run: Run  # configured for this epoch count
    planned: int  # the epoch count of the profile, before it was scaled
    published: dict = {}  # what somebody's report says of it, such as {"fid": 175.0}
    instead_of: str | None = None  # the data set whose place a stand-in takes

    @property
    def epochs(self) -> int:
        return self.run.config.epochs

    @property
    def folder(self) -> Path:
        return self.run.epoch_folder(self.epochs)

    @property
    def result(self) -> Path:
        "What the execution leaves last: the metrics at the row's last epoch count."
        return self.run.epoch_folder(self.parameters["epochs"]) / "metrics.json"

    @property
    def log(self) -> Path:
        "What the execution printed."
        return self.result.parent.with_suffix(".log")


# %% [markdown]
# Everything that can be wrong with a profile is found when it is planned, before anything is trained: an unknown notebook, an unknown parameter (papermill itself would only warn, and run the defaults), a value out of range.

# %%
#| export
def plan(profile: Path, scale: float | str = 1.0) -> list[Job]:
    "The jobs of a profile, in its order, shrunk by `scale`. ValueError, which names the row, if it is wrong."
    scale, content = _read_scale(scale), _read_profile(profile)
    rows, stand_ins = content.get("runs"), content.get("stand_ins", False)
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"profile {profile.stem}: it has no list `runs`")
    if not isinstance(stand_ins, bool):
        raise ValueError(f"profile {profile.stem}: stand_ins: {stand_ins!r} is neither true nor false")
    jobs: dict[Path, Job] = {}
    for number, row in enumerate(rows, 1):
        try:
            singles = _by_seed(_check_dict("row", row))
            planned = {job.folder: job for single in singles for job in _plan_row(single, scale, stand_ins)}
            if twice := planned.keys() & jobs.keys():
                advice = "give one of the runs another name or seed"
                raise ValueError(f"{min(twice)} is planned in an earlier row, too; {advice}")
        except (ValueError, TypeError) as problem:
            raise ValueError(f"profile {profile.stem}, row {number}: {problem}") from None
        jobs |= planned
    return list(jobs.values())


# %% [markdown]
# One run is one roll of the dice. A row with `seeds: [0, 1, 2]` stands for three, which differ in the seed only; tables, figures and sentences then show their mean and how sure it is.

# %%
#| export
def _by_seed(row: dict) -> list[dict]:
    "A row with a list `seeds` as a row for each of them."
    if "seeds" not in row:
        return [row]
    seeds = row.pop("seeds")
    if not isinstance(seeds, list) or not seeds or len({*map(str, seeds)}) < len(seeds):
        raise ValueError(f"seeds: {seeds!r} is not a list of different seeds such as [0, 1, 2]")
    if "seed" in row:
        raise ValueError("seeds: there is a `seed`, too; leave one of the two out")
    return [row | {"seed": seed} for seed in seeds]


# %% [markdown]
# The labs of a profile are checked in the same way.

# %%
#| export
def plan_labs(profile: Path, scale: float | str = 1.0) -> dict[str, dict]:
    "The labs of a profile: notebooks, and their parameters. ValueError as `plan`."
    scale, content, planned = _read_scale(scale), _read_profile(profile), {}
    try:
        for notebook, values in _check_dict("labs", content.get("labs", {})).items():
            if notebook not in LABS:
                choice = f"choose from {', '.join(LABS)}"
                raise ValueError(f"labs: {notebook!r} leaves nothing for a report; {choice}")
            planned[notebook] = _check_dict(f"labs: {notebook}", values)
            _check_parameters(notebook, planned[notebook])
            if "updates" in values:
                planned[notebook]["updates"] = _share(values["updates"], scale, 50)
    except ValueError as problem:
        raise ValueError(f"profile {profile.stem}: {problem}") from None
    return planned


# %% [markdown]
# ## What is checked
#
# The file first. YAML itself would take the later of two values for one key.

# %%
#| export
class _Loader(yaml.SafeLoader):
    "A key that is there twice is an error."

    def flatten_mapping(self, node):
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        if twice := [key for i, key in enumerate(keys) if key in keys[:i]]:
            raise ValueError(f"line {node.start_mark.line + 1}: {twice[0]} is given twice")
        super().flatten_mapping(node)


def _read_profile(profile: Path) -> dict:
    "The content of the file, after its plugins were imported."
    if profile.is_dir():
        raise ValueError(f"profile: {profile} is a folder, not a file.")
    if not profile.exists():
        known = ", ".join(sorted(p.stem for p in profile.parent.glob("*.yaml")))
        raise ValueError(f"profile: there is no {profile.stem!r}; choose one of {known}.")
    try:
        content = yaml.load(profile.read_text(encoding="utf-8"), _Loader)
    except yaml.YAMLError as problem:
        raise ValueError(f"profile {profile.stem}: it is no YAML: {' '.join(str(problem).split())}") from None
    except ValueError as problem:  # a key twice, or no UTF-8
        raise ValueError(f"profile {profile.stem}: {problem}") from None
    content = _check_dict(f"profile {profile.stem}", content)
    _add_plugins(content.get("plugins", []), profile.stem)
    return content


# %% [markdown]
# Kinds of models, networks and data sets from outside ([00c_plug](00c_plug.ipynb)) are in modules that the profile names under `plugins`. The notebooks that are executed find these names in GENLAB_PLUGINS.

# %%
#| export
def _add_plugins(names: list[str], profile: str) -> None:
    "Import these modules and genlab's own; processes that are started from here will import them, too."
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"profile {profile}: plugins: {names!r} is not a list of names of modules")
    before = filter(None, os.environ.get("GENLAB_PLUGINS", "").split(","))
    if names:
        os.environ["GENLAB_PLUGINS"] = ",".join(dict.fromkeys([*before, *names]))
    import_plugins()


def _check_dict(name: str, value) -> dict:
    "A copy of `value` if it is a mapping with names for keys."
    if not isinstance(value, dict):
        advice = "if there is nothing to say, leave it out, or write {}"
        raise ValueError(f"{name}: {value!r} is not a mapping such as {{key: value}}; {advice}")
    return dict(value)


def _read_scale(scale: float | str) -> float:
    try:
        share = float(scale)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise ValueError(f"scale: {scale} is not a share between 0 and 1, such as 0.01.")
    return share


# %% [markdown]
# The names of parameters are those of the notebook's own cell. A value that no configuration checks has to be of the kind of its default.

# %%
#| export
def _check_parameters(notebook: str, values: dict, checked: Iterable[str] = ()) -> None:
    "ValueError if a name is no parameter, or if a value, but for those `checked`, is unlike its default."
    from papermill import inspect_notebook  # here: it takes a second, and only profiles need it

    known = inspect_notebook(str(project_root() / "nbs" / f"{notebook}.ipynb"))
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"{key}: {notebook} has no such parameter; {did_you_mean(key, known)}")
        default = ast.literal_eval(known[key]["default"])
        if key not in checked and not _is_like(value, default):
            raise ValueError(f"{key}: {value!r} is not of the kind of {notebook}'s own {key}, {default!r}")


def _is_like(value, default) -> bool:
    "Both are numbers, the value not negative and whole if the default is, or both are of one type."
    if type(default) not in (int, float):
        return type(value) is type(default)
    if type(value) not in (int, float) or value < 0:
        return False
    return isinstance(default, float) or value % 1 == 0


# %% [markdown]
# A row becomes a configuration for each epoch count, so each value is checked by the class that a run is made from.

# %%
#| export
def _plan_row(row: dict, scale: float, stand_ins: bool) -> list[Job]:
    notebook, counts = row.pop("notebook", None), row.pop("epochs", None)
    published = _check_dict("published", row.pop("published", {}))
    for what, values in published.items():
        _check_dict(f"published: {what}", values)
    config = _config_of(notebook)
    if not isinstance(counts, list) or not counts:
        raise ValueError(f"epochs: {counts!r} is not a list of epoch counts such as [1, 5, 20]")
    if "snapshots" in row:
        raise ValueError("snapshots: the list `epochs` has all counts to look at; leave this out")
    _check_parameters(notebook, row, config.model_fields)
    planned = sorted(_configure(config, row, count).epochs for count in counts)
    row, instead_of = _with_images(row) if scale < 1 or stand_ins else (row, None)
    row = _shrink(row, scale) if scale < 1 else row
    counts = [max(rank, round(count * scale)) for rank, count in enumerate(planned, 1)]
    early = {key: value for key, value in row.items() if key != "compare"}  # samplers: at the last count only
    configs = [_configure(config, early, count) for count in counts[:-1]]
    configs.append(_configure(config, row, counts[-1]))
    parameters = row | {"epochs": counts[-1], "snapshots": counts[:-1]}
    jobs = []
    for each, count in zip(configs, planned, strict=True):
        found = {what: values[count] for what, values in published.items() if count in values}
        jobs.append(Job(notebook, parameters, Run(each), count, found, instead_of))
    return jobs


# %% [markdown]
# The class is that of the kind of model to which the notebook belongs.

# %%
#| export
def _config_of(notebook: str) -> type[RunConfig]:
    configs = {kind.notebook: kind.config for kind in KINDS.values()}
    if notebook not in configs:
        raise ValueError(f"notebook: {notebook!r} trains nothing; choose one of {', '.join(configs)}")
    return configs[notebook]


def _configure(kind: type[RunConfig], row: dict, epochs) -> RunConfig:
    "The configuration of a row. What it would read as a number has to be one, for the notebook's sake."
    config = kind(**{key: value for key, value in row.items() if key in kind.model_fields}, epochs=epochs)
    for key, value in row.items():
        if isinstance(value, str) and not isinstance(getattr(config, key, value), str):
            about_yaml = "(YAML takes 1e-3 for a text, too, and 1.0e-3 for a number)"
            raise ValueError(f"{key}: {value!r} is a text; write {getattr(config, key)!r} {about_yaml}")
    return config


# %% [markdown]
# ## Shrunk
#
# A profile of many GPU hours should be known to run before it is started. `SCALE=0.01` leaves a hundredth of the epochs, training images, samples and sampling steps (but some of each), and puts images of ours in the place of a data set that cannot be had. Its numbers are worth nothing; that there are numbers is the point. A profile that says `stand_ins: true` does so at its full size, too.

# %%
#| export
STAND_INS = {"mnist": ("digits", 28), "fashion_mnist": ("digits", 28), "cifar10": ("tinted_digits", 32)}
OTHER_STAND_IN = ("tinted_digits", 64)


def _share(n: float, scale: float, least: int) -> int:
    return min(int(n), max(least, round(n * scale)))


@functools.cache
def _count_images(dataset: str, size: int | None) -> dict[str, int] | None:
    "Numbers of training and test images, or None if the data set cannot be had."
    try:
        return {split: len(load_dataset(dataset, split, size).images) for split in ("train", "test")}
    except (RuntimeError, OSError, ValueError):
        return None


# %% [markdown]
# How many are a hundredth? The images of the data set are counted; where it cannot be had, a stand-in takes its place.

# %%
#| export
def _with_images(row: dict) -> tuple[dict, str | None]:
    "A row whose images can be had; and the data set whose place a stand-in takes, if one does."
    wanted = row.get("dataset", "digits")
    if _count_images(wanted, row.get("size")):
        return row, None
    dataset, size = STAND_INS.get(wanted, OTHER_STAND_IN)
    row = row | {"dataset": dataset, "size": row.get("size") or size}
    if (row.get("subset") or 0) > _count_images(dataset, row["size"])["train"]:
        row["subset"] = None
    return row, wanted


def _shrink(row: dict, scale: float) -> dict:
    "A row with fewer images, samples and steps."
    counts = _count_images(row.get("dataset", "digits"), row.get("size"))
    subset = row.get("subset") or 1.0
    is_share = isinstance(subset, float) and subset <= 1
    n = subset * counts["train"] if is_share else min(subset, counts["train"])
    n_samples = row.get("n_samples") or counts["test"]
    row = row | {"subset": _share(n, scale, 256), "n_samples": _share(n_samples, scale, 50)}
    if "steps" in row:
        row["steps"] = _share(row["steps"], scale, 10)
    return row


# %%
def try_profile(*rows, scale=1.0, more=""):
    "Plan a profile of these rows."
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mine.yaml")
        path.write_text(more + "runs:\n" + "".join(f"  - {row}\n" for row in rows))
        return plan(path, scale)


home = tempfile.TemporaryDirectory()
os.environ["GENLAB_RUNS"] = home.name
jobs = try_profile("{notebook: 01_gan, epochs: [5, 1], width: 16}")
assert [job.epochs for job in jobs] == [1, 5] and jobs[0].run.folder == jobs[1].run.folder
assert jobs[0].parameters == jobs[1].parameters == {"width": 16, "epochs": 5, "snapshots": [1]}
faces = "{notebook: 01_gan, dataset: 'folder:/nowhere', epochs: [1, 5, 300], published: {fid: {5: 120.5}}}"
assert [job.published for job in try_profile(faces)] == [{}, {"fid": 120.5}, {}]
scaled = try_profile(faces, scale=0.01)
assert [(job.epochs, job.planned) for job in scaled] == [(1, 1), (2, 5), (3, 300)]
assert scaled[1].published == {"fid": 120.5} and scaled[0].instead_of == "folder:/nowhere"
small = scaled[0].run.config
assert (small.dataset, small.size, small.subset, small.n_samples) == ("tinted_digits", 64, 256, 50)
faces = "{notebook: 01_gan, dataset: 'folder:/nowhere', subset: 9000, epochs: [5]}"
(whole,) = try_profile(faces, more="stand_ins: true\n")
assert (whole.run.config.dataset, whole.run.config.subset) == ("tinted_digits", None)
assert (whole.epochs, whole.instead_of) == (5, "folder:/nowhere")
assert try_profile(faces)[0].instead_of is None, "only where the profile says so"

# %% [markdown]
# Each mistake is one sentence that names the row and the key:

# %%
for row, sentence in [
    ("{notebook: 01_gam, epochs: [1]}", "mine, row 1: notebook: '01_gam' trains nothing; choose one of"),
    ("{notebook: 02_ddpm, epochs: [1], steps: 2000}", "row 1: steps: 2000 are more than the T = 1000"),
    ("{notebook: 01_gan, epochs: [1], with: 16}", "with: 01_gan has no such parameter; did you mean width"),
    ("{notebook: 01_gan, epochs: [0]}", "row 1: epochs: 0 should be greater than 0"),
    ("{notebook: 01_gan, epochs: [1, 1.5]}", "row 1: epochs: 1.5 should be a valid integer"),
    ("{notebook: 01_gan, epochs: 5}", "epochs: 5 is not a list"),
    ("{notebook: 01_gan, epochs: [1], dataset: minst}", "dataset: 'minst' is unknown"),
    ("{notebook: 01_gan, epochs: [1], size: '16'}", "row 1: size: '16' is a text; write 16"),
    ("{notebook: 01_gan, epochs: [1], lr: 1e-3}", "row 1: lr: '1e-3' is a text; write 0.001"),
    ("{notebook: 01_gan, epochs: [1], snapshots: [1]}", "row 1: snapshots: the list `epochs` has all counts"),
]:
    for share in (1.0, 0.5):
        with pytest.raises(ValueError, match=sentence):
            try_profile(row, scale=share)

# %%
#| hide
for row, sentence in [
    ("{notebook: 01_gan, epochs: [1, ten]}", "row 1: epochs: 'ten' should be a valid integer"),
    ("{notebook: 01_gan", "mine: it is no YAML"),
    ("01_gan", "row 1: row: '01_gan' is not a mapping"),
    ("{notebook: 01_gan, epochs: [1], published: }", "published: None is not a mapping .* leave it out"),
    ("{notebook: 01_gan, epochs: [1], published: {fid: 5.0}}", "row 1: published: fid: 5.0 is not a mapping"),
    ("{notebook: 01_gan, epochs: [1], seed: 1, width: 16, seed: 2}", "mine: line 2: seed is given twice"),
]:
    with pytest.raises(ValueError, match=sentence):
        try_profile(row)
by_seed = try_profile("{notebook: 01_gan, epochs: [1, 2], seeds: [0, 3]}")
assert [(job.run.config.seed, job.epochs) for job in by_seed] == [(0, 1), (0, 2), (3, 1), (3, 2)]
for seeds, sentence in [
    ("3", "seeds: 3 is not a list of different seeds"),
    ("[]", "seeds: .. is not a list"),
    ("[1, 1]", "seeds: .1, 1. is not a list of different seeds"),
    ("[-1]", "seed: -1 should be greater than or equal to 0"),
    ("[1], seed: 0", "seeds: there is a `seed`, too"),
]:
    with pytest.raises(ValueError, match=f"row 1: {sentence}"):
        try_profile(f"{{notebook: 01_gan, epochs: [1], seeds: {seeds}}}")
one = "{notebook: 01_gan, epochs: [1]}"
with pytest.raises(ValueError, match="row 2: .* planned in an earlier row"):
    try_profile(one, one)
for scale in ("0,01", "all", 0, 1.5, "nan"):
    with pytest.raises(ValueError, match=f"scale: {scale} is not a share between 0 and 1, such as 0.01"):
        try_profile(one, scale=scale)
merged = try_profile("&gan {notebook: 01_gan, seed: 1, epochs: [1]}", "{<<: *gan, seed: 2}")
assert [job.run.config.seed for job in merged] == [1, 2], "a merged key may be replaced"
with pytest.raises(ValueError, match="there is no 'nonsense'; choose one of .*quick"):
    plan(project_root() / "report" / "profiles" / "nonsense.yaml")
assert _is_like(2, 5) and _is_like(2, 1.5) and _is_like("a", "b") and _is_like(True, False)
assert not any(map(_is_like, (1.5, -1, "none", True, None), (5, 5, 5, 5, "a")))

# %%
#| hide
path = Path(home.name, "labs.yaml")
for text, sentence in [
    ("{02_ddpm: {}}", "profile labs: labs: '02_ddpm' leaves nothing for a report"),
    ("{01b_mode_collapse: {seed: 1}}", "seed: 01b_mode_collapse has no such parameter"),
    ("{01b_mode_collapse: {seeds: none}}", "seeds: 'none' is not of the kind of 01b_mode_collapse's own"),
    ("{01b_mode_collapse: {seeds: 1.5}}", "seeds: 1.5 is not of the kind"),
    ("{01b_mode_collapse: }", "profile labs: labs: 01b_mode_collapse: None is not a mapping"),
    ("[01b_mode_collapse]", r"profile labs: labs: \['01b_mode_collapse'\] is not a mapping"),
]:
    path.write_text(f"labs: {text}")
    with pytest.raises(ValueError, match=sentence):
        plan_labs(path)
path.write_text("- {notebook: 01_gan, epochs: [1]}")
for bad, sentence in [(path, "profile labs: .* is not a mapping"), (path.parent, "is a folder, not a file")]:
    with pytest.raises(ValueError, match=sentence):
        plan(bad)

# %% [markdown]
# A kind of model from elsewhere, in a module that the profile names:

# %%
module = """
from genlab.plug import KINDS
KINDS["mine"] = KINDS["gan"]._replace(title="model of mine", notebook="../mine/model")
"""
Path(home.name, "mine_plugin.py").write_text(module)
sys.path.append(home.name)
with pytest.raises(ValueError, match="notebook: 'nowhere' trains nothing; choose one of .*, ../mine/model"):
    try_profile("{notebook: nowhere, epochs: [1]}", more="plugins: [mine_plugin]\n")
assert os.environ.pop("GENLAB_PLUGINS") == "mine_plugin", "for the processes that execute notebooks"
for names, sentence in [("mine_plugin", "is not a list of names"), ("[nowhere]", "nowhere: No module named")]:
    with pytest.raises(ValueError, match=sentence):
        try_profile(one, more=f"plugins: {names}\n")
os.environ.pop("GENLAB_PLUGINS")
del KINDS["mine"]

# %% [markdown]
# The plan of a profile, drawn: a row an execution, a point an evaluation.

# %%
planned = plan(project_root() / "report" / "profiles" / f"{profile}.yaml")
courses: dict[str, list[int]] = {}
for job in planned:
    title = f"{job.notebook}, {job.run.config.name}, {job.run.config.hash}"
    courses.setdefault(title, []).append(job.epochs)
fig, ax = plt.subplots(figsize=(6, 0.6 + 0.22 * len(courses)), layout="constrained")
for title, counts in courses.items():
    ax.plot(counts, [title] * len(counts), marker="o")
ax.set(xlabel="epochs", xscale="log", title=f"{profile}: {len(planned)} evaluations")
ax.tick_params(axis="y", labelsize=7)
ax.invert_yaxis()


# %% [markdown]
# ## Collecting
#
# One row a job, whether it succeeded or not. A job that has no `metrics.json` says why: the last error in its log, or that it was not run.

# %%
#| export
def collect_runs(jobs: Iterable[Job]) -> pd.DataFrame:
    """A row a job.

    Columns: model, dataset, name, seed, subset, epochs; setting and label (Markdown); the job; its metrics,
    or None and `why`; the data set whose place a stand-in takes (`instead_of`), or an empty text."""
    rows = []
    for job in jobs:
        fields = job.run.config.model_dump(include={"model", "dataset", "name", "seed", "subset"})
        metrics, why = _read(job)
        found = {"epochs": job.epochs, "job": job, "metrics": metrics, "why": why}
        rows.append(fields | found | {"instead_of": job.instead_of or ""})
    runs = pd.DataFrame(rows)
    runs["setting"] = _settings(runs)
    several = runs.groupby("setting").seed.transform("nunique") > 1
    with_seed = runs.setting + ", seed " + runs.seed.astype(str)
    runs["label"] = runs.setting.where(~several, with_seed)
    return runs


# %% [markdown]
# A **setting** is what people call a configuration without its seed: its name, and what tells it apart from its namesakes. A **label** is one run's, with the seed where there are several.

# %%
#| export
def _settings(runs: pd.DataFrame) -> pd.Series:
    "In Markdown, what tells the configuration of each row from the others, but for the seed."
    configs = [job.run.config.model_dump() for job in runs.job]
    fields = pd.DataFrame([{k: "none" if v is None else str(v) for k, v in each.items()} for each in configs])
    settings = runs["name"].map(escape)
    if fields.groupby("model").dataset.nunique().max() > 1 or (runs.instead_of != "").any():
        settings += _dataset_names(runs)
    namesakes = ["model", "name", "dataset"]
    for column in fields.columns.difference([*namesakes, "seed"], sort=False):  # what else tells them apart
        varies = fields.groupby(namesakes)[column].transform("nunique") > 1
        settings[varies] += f", {column} " + fields.loc[varies, column].map(escape)
    shared = runs.groupby(settings).model.transform("nunique") > 1
    return settings.where(~shared, settings + ", " + runs.model)


def _dataset_names(runs: pd.DataFrame) -> list[str]:
    "What is said of the data set of each row; of those of the Hub only the last part, if that is enough."
    names = sorted({*runs.dataset, *runs.instead_of})
    last = [name.rpartition("/")[2] for name in names]
    short = {name: escape(name) for name in names}
    if len(set(last)) == len(last):
        short |= {name: escape(end) for name, end in zip(names, last, strict=True) if name.startswith("hf:")}
    named = []
    for used, wanted in zip(runs.dataset, runs.instead_of, strict=True):
        named.append(f", {short[used]}" + (f" for {short[wanted]}" if wanted else ""))
    return named


# %% [markdown]
# A result counts only if all its files are there.

# %%
#| export
def _read(job: Job) -> tuple[dict | None, str | None]:
    "The metrics of a job whose results are complete and can be read, or None and why."
    if not (job.folder / "metrics.json").exists():
        return None, last_error(job.log)
    readers = {"metrics.json": _read_metrics, "samples.npz": _read_samples, "pictures.npz": _read_arrays}
    files = {job.folder / name: read for name, read in readers.items()}
    files |= {job.folder / "samplers.json": json.loads, job.run.folder / "history.csv": _read_history}
    found, damage = {}, (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile, zlib.error)
    for path, read in files.items():
        try:
            found[path.name] = read(path.read_bytes())
        except FileNotFoundError:
            if path.name in ("samples.npz", "history.csv"):  # the others need not be there
                return None, f"its {path.name} is not there."
        except damage as problem:
            return None, f"its {path.name} is damaged: {' '.join(str(problem).split())}"
    return found["metrics.json"], None


# %% [markdown]
# Each of the files has to be read, or else a table or a figure would find the damage later.

# %%
#| export
def _read_metrics(content: bytes) -> dict:
    metrics = json.loads(content)
    needed = ("n_samples", "scores", "losses", "train_seconds", "sample_seconds")
    if missing := [key for key in needed if value_at(metrics, key) is None]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    return metrics


def _read_arrays(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content)) as file:
        return dict(file)


def _read_samples(content: bytes) -> np.ndarray:
    return _read_arrays(content)["samples"]


def _read_history(content: bytes) -> pd.DataFrame:
    history = pd.read_csv(io.BytesIO(content))
    if history.empty or not {"epoch", "i"} <= {*history}:
        raise ValueError("it has no rows, or no columns epoch and i")
    return history


def last_error(log: Path) -> str:
    "The last error in what an execution printed."
    if not log.exists():
        return "it was not run."
    pattern = r"^(?:\w+\.)*(\w*(?:Error|Exception|Interrupt)\b.*)$"
    lines = re.findall(pattern, log.read_text(errors="replace"), flags=re.M)
    return lines[-1] if lines else f"it ended without a result; see {log.name}."


# %% [markdown]
# Tables and figures can be tried without training, on a run of which everything is made up.

# %%
#| export
def made_up_runs() -> pd.DataFrame:
    "Two evaluations of a GAN under GENLAB_RUNS: one that was not made, and one with made-up numbers."
    import_plugins()
    configs = [KINDS["gan"].config(width=16, epochs=epochs) for epochs in (1, 5)]
    jobs = [Job("01_gan", {"width": 16, "epochs": 5}, Run(config), config.epochs) for config in configs]
    run = jobs[1].run
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "config.json").write_text(run.config.model_dump_json())
    losses = {"loss_d": 1.0, "loss_g": 2.0, "d_x": 0.5, "d_g_z1": 0.25, "d_g_z2": 0.2}
    history = [{"step": i, "epoch": 1 + i // 11, "i": i % 11, **losses} for i in range(55)]
    pd.DataFrame(history).to_csv(run.folder / "history.csv", index=False)
    run.training = {"updates": 55, "losses": losses, "train_seconds": 4.0, "images_per_second": 1621.25}
    run.training["device"] = "abacus"
    run.finish(5, load_dataset("digits").images[:64], scores=_made_up_scores(), sample_seconds=0.5)
    return collect_runs(jobs)


def _made_up_scores() -> dict[str, dict]:
    extractor = {"n_reference": 500, "extractor": "LeNet-5", "hash": "abc"}
    classes = {"classes": [{"value": 8.0}, {"value": None}], "floor_classes": [2.0, 3.0]}
    scores = {
        "fd_lenet": {"value": 31.4159, "sd": 0.77, "floor": 14.2, "floor_sd": 1.5} | extractor,
        "kd_lenet": {"value": 1.2, "sd": 0.1, "floor": 0.5, "floor_sd": None},
        "precision": {"value": 0.8123, "sd": 0.0174, "floor": 0.98, "floor_sd": 0.01},
        "recall": {"value": 0.6, "sd": 0.02, "floor": 0.97, "floor_sd": 0.01},
        "fd_lenet_by_class": {"value": 8.0} | classes,
    }
    missing = {"fid": {"value": None, "why": "no weights"}}
    missing["fd_lenet_infinity"] = {"value": None, "why": "too few samples"}
    return {metric: score | {"n": 64, "n_floor": 64} for metric, score in scores.items()} | missing


# %%
runs = collect_runs(jobs)
assert list(runs.why) == ["it was not run."] * 2 and list(runs.label) == ["dcgan"] * 2
jobs[0].run.folder.mkdir(parents=True)
jobs[0].log.write_text("Traceback\nRuntimeError: dataset: nothing there\nmore\n")
runs = made_up_runs()
assert runs.why[0] == "RuntimeError: dataset: nothing there" and runs.why.isna()[1]
assert runs.metrics[0] is None and runs.metrics[1]["losses"]["loss_g"] == 2
runs[["label", "epochs", "why"]]

# %% [markdown]
# What tells namesakes apart is said, and nothing else:

# %%
gan = "notebook: 01_gan, epochs: [1]"
for rows, labels in [
    ((f"{{{gan}}}", f"{{{gan}, subset: 300}}"), ["dcgan, subset none", "dcgan, subset 300"]),
    ((f"{{{gan}, lr_d: 0.001}}", f"{{{gan}, seed: 1}}"), ["dcgan, lr_d 0.001", "dcgan, lr_d none"]),
    ((f"{{{gan}, seed: 2}}", f"{{{gan}, seed: 1}}"), ["dcgan, seed 2", "dcgan, seed 1"]),
    ((f"{{{gan}, size: 8}}", f"{{{gan}, dataset: mnist}}"), ["dcgan, digits", "dcgan, mnist"]),
    ((f"{{{gan}, dataset: 'hf:a/b'}}", f"{{{gan}, dataset: 'hf:c/b'}}"), ["dcgan, hf:a/b", "dcgan, hf:c/b"]),
    ((f"{{{gan}, dataset: 'hf:a/b'}}", f"{{{gan}, dataset: mnist}}"), ["dcgan, b", "dcgan, mnist"]),
    ((f"{{{gan}, name: a}}", "{notebook: 02_ddpm, name: a, epochs: [1]}"), ["a, gan", "a, ddpm"]),
]:
    assert list(collect_runs(try_profile(*rows)).label) == labels
two_seeds = collect_runs(try_profile(f"{{{gan}, seed: 2}}", f"{{{gan}, seed: 1}}"))
assert list(two_seeds.setting) == ["dcgan", "dcgan"]

# %% [markdown]
# A file of a run that is damaged in any way makes it a missing run that says so:

# %%
#| hide
folder = jobs[1].folder
samples, history, found = folder / "samples.npz", jobs[1].run.folder / "history.csv", folder / "metrics.json"
half = samples.read_bytes()[:-40]
for path, broken in [
    (history, b""), (history, b"step,epoch,i,loss_d\n"), (history, b"step,loss_d\n0,1.0\n"),
    (samples, half), (samples, b""), (folder / "pictures.npz", half),
    (folder / "samplers.json", b'[{"sampler": "dd'),
    (found, b"{}"), (found, b"[]"), (found, found.read_bytes()[:99]), (found, b'{"n_samples": 64}'),
]:  # fmt: skip
    good = path.read_bytes() if path.exists() else None
    path.write_bytes(broken)
    damaged = collect_runs(jobs)
    assert damaged.metrics[1] is None and f"its {path.name} is damaged: " in damaged.why[1], damaged.why[1]
    path.unlink() if good is None else path.write_bytes(good)
assert collect_runs(jobs).metrics[1] == runs.metrics[1]

# %%
damaged.why[1]


# %% [markdown]
# ## Walks through latent spaces
#
# The report shows walks through latent spaces ([06_interpolation](06_interpolation.ipynb)) of one run of each model. Walking needs weights and time, so it is part of the sweep: `keep_paths` leaves images and numbers beside the run's other results, and the report reads them.

# %%
#| export
def walked(jobs: Iterable[Job]) -> list[Job]:
    "On the data of the first job with a latent space: the first run of each model, at its last epoch count."
    jobs = [job for job in jobs if KINDS[job.run.config.model].space]
    jobs = [job for job in jobs if _data(job) == _data(jobs[0])]
    first: dict[str, Path] = {}
    for job in jobs:
        first.setdefault(job.run.config.model, job.run.folder)
    last = {job.run.folder: job for job in jobs}
    return [last[folder] for folder in first.values()]


def _data(job: Job) -> tuple[str, int | None]:
    return job.run.config.dataset, job.run.config.size


# %%
#| hide
vae = "notebook: 04_vae, epochs"
four = try_profile(
    "{notebook: 01_gan, epochs: [1, 5]}", "{notebook: 01_gan, seed: 1, epochs: [9]}",
    f"{{{vae}: [1], size: 8}}", f"{{{vae}: [2, 3]}}",
)  # fmt: skip
assert [(job.notebook, job.epochs) for job in walked(four)] == [("01_gan", 5), ("04_vae", 3)]
assert walked([]) == []


# %% [markdown]
# ## How long will it take?
#
# An execution leaves its notebook beside the results, and papermill notes in it how many seconds that took. `report/seconds.json` has these of a sweep, one execution a core, with the seconds that a small **probe**, some updates of a convolution, took there. The probe here says how much slower this machine is. A run that the file does not know is a run that nobody has timed, and is counted as such. On a GPU nothing is said: the probe knows nothing of it.

# %%
#| export
def probe(updates: int = 60) -> float:
    "Seconds that one core takes for the updates of a small convolution: a yardstick of this machine."
    threads, layer = torch.get_num_threads(), torch.nn.Conv2d(32, 32, 3, padding=1)
    torch.set_num_threads(1)
    x, start = torch.ones(64, 32, 16, 16), time.perf_counter()
    for _ in range(updates):
        layer(x).square().mean().backward()
    torch.set_num_threads(threads)
    return time.perf_counter() - start


def executed_seconds(result: Path) -> float | None:
    "What papermill noted in the notebook that was executed for this result, of a run or of a lab."
    stem = result.parent if result.name == "metrics.json" else result
    return value_at(read_json(stem.with_suffix(".ipynb")), "metadata", "papermill", "duration")


def keep_seconds(results: Iterable[Path], path: Path) -> None:
    "Write how long the executions of a finished sweep took, and this machine's probe."
    found = {_key(result): executed_seconds(result) for result in results}
    seconds = {key: round(s, 1) for key, s in found.items() if s}
    path.write_text(json.dumps({"probe": round(probe(), 2), "seconds": seconds}, indent=1) + "\n")


def _key(result: Path) -> str:
    "The name of a result, wherever the runs are."
    return result.relative_to(runs_root()).as_posix()


# %% [markdown]
# Executions are handed to the cores as Snakemake does it, the next one to whichever is free first.

# %%
#| export
def estimate(results: Iterable[Path], cores: int, path: Path) -> str:
    "A sentence on how long the executions take whose results are missing; empty if none is, or on a GPU."
    missing = {_key(result) for result in results if not result.exists()}
    if not missing or torch.cuda.is_available():
        return ""
    kept = read_json(path) or {"probe": 1, "seconds": {}}
    known = sorted((kept["seconds"][key] for key in missing & kept["seconds"].keys()), reverse=True)
    text, untimed = f"{plural(len(missing), 'execution')} to do", len(missing) - len(known)
    if not known:
        return f"{text}; nobody has measured how long they take."
    free = [0.0] * cores
    for seconds in known:
        heapq.heapreplace(free, free[0] + seconds)
    minutes = max(1, round(max(free) * probe() / kept["probe"] / 60))
    text += f": about {plural(minutes, 'minute')} on this machine"
    return text + (f", and {untimed} that nobody has timed." if untimed else ".")


# %%
#| hide
timed, results = Path(home.name, "seconds.json"), [Path(home.name, f"{name}.npz") for name in "abc"]
assert estimate(results, 2, timed) == "3 executions to do; nobody has measured how long they take."
for result, seconds in zip(results[:2], (6000, 60), strict=True):
    executed = {"metadata": {"papermill": {"duration": seconds}}}
    result.with_suffix(".ipynb").write_text(json.dumps(executed))
keep_seconds(results, timed)
assert json.loads(timed.read_text())["seconds"] == {"a.npz": 6000, "b.npz": 60}
sentence = r"3 executions to do: about (\d+) minutes on this machine, and 1 that nobody has timed\."
found = re.fullmatch(sentence, estimate(results, 2, timed))
assert 20 < int(found[1]) < 500, "the first takes 100 minutes, the second fits beside it"
for result in results:
    result.touch()
assert estimate(results, 2, timed) == ""

# %%
#| hide
home.cleanup()
del os.environ["GENLAB_RUNS"]

# %% [markdown]
# ## What to remember
#
# - A profile is checked as a whole before anything is trained.
# - What is missing is a row that says why.
#
# ## Exercises
#
# 1. Write a profile of your own with three seeds of the DCGAN on `digits` and build its report.
# 2. Break a run on purpose (`dataset: folder:/nowhere` in a profile) and find the note in the PDF.

# %% [markdown]
# ## Solutions
#
# <details><summary>1. Three seeds</summary>
#
# `report/profiles/seeds3.yaml`, a row for each seed:
#
#     runs:
#       - {notebook: 01_gan, dataset: digits, width: 32, seed: 0, epochs: [1, 5, 20, 50]}
#       - {notebook: 01_gan, dataset: digits, width: 32, seed: 1, epochs: [1, 5, 20, 50]}
#       - {notebook: 01_gan, dataset: digits, width: 32, seed: 2, epochs: [1, 5, 20, 50]}
#
# Then `make report PROFILE=seeds3`. The runs need no names: what tells namesakes apart, here the seed, goes into their labels. Whether a profile is right can be seen without training:
#
#     rows = [f"{{notebook: 01_gan, dataset: digits, width: 32, seed: {s}, epochs: [1, 5, 20, 50]}}" for s in range(3)]
#     print(collect_runs(try_profile(*rows))[["label", "epochs", "why"]])
#
# In the PDF, put two numbers side by side: the spread of `fd_lenet` over the three seeds after the same number of epochs, and the spread that the table gives for each of them, which is over samples of one model. If the first is clearly larger, a comparison of two models with one seed each says less than its error bars promise. (With a list of `metrics` as in `quick.yaml` there is more to look at; for a distribution over seeds three are few.)
#
# </details>
#
# <details><summary>2. A run that breaks</summary>
#
# A profile with a good row and a bad one, `report/profiles/broken.yaml`:
#
#     runs:
#       - {notebook: 01_gan, dataset: digits, width: 16, epochs: [1, 5]}
#       - {notebook: 01_gan, name: broken, dataset: "folder:/nowhere", size: 64, epochs: [1, 5]}
#
# `make report PROFILE=broken` trains the first, says that some runs failed, makes the PDF all the same, and ends with an error status. In the PDF the note stands in the introduction, a line for the run that is missing: `FileNotFoundError: dataset: there is no folder /nowhere.` This is the last error in the log that the execution left beside the run's results (`epoch-0005.log`); a run without a log "was not run". In tables the run has dashes. Leave `SCALE` at 1 for this: a shrunk sweep takes images of ours in the place of those that cannot be had, and nothing breaks. A mistake in the profile itself, such as an unknown data set, is another matter: it stops everything before the first run, with a sentence that names the row.
#
# </details>
