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

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import ast
import functools
import io
import json
import math
import os
import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from papermill import inspect_notebook

from genlab.data import load_dataset
from genlab.plug import KINDS, LABS, did_you_mean, import_plugins
from genlab.runs import Run, RunConfig, project_root
from genlab.tables import escape, value_at

# %%
#| hide
import tempfile

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
    published: dict = {}  # what a report says that it found there, such as {"fid": 175.0}
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
    "The jobs of a profile, in its order, shrunk by `scale`. ValueError, one sentence that names the row, if it cannot be run as written."
    scale, content = _read_scale(scale), _read_profile(profile)
    rows = content.get("runs")
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"profile {profile.stem}: it has no list `runs`")
    jobs: dict[Path, Job] = {}
    for number, row in enumerate(rows, 1):
        try:
            planned = {job.folder: job for job in _plan_row(_check_dict("row", row), scale)}
            if twice := planned.keys() & jobs.keys():
                raise ValueError(f"{min(twice)} is planned in an earlier row, too; give one of the runs another name or seed")
        except (ValueError, TypeError) as problem:
            raise ValueError(f"profile {profile.stem}, row {number}: {problem}") from None
        jobs |= planned
    return list(jobs.values())


# %% [markdown]
# The labs of a profile are checked in the same way.

# %%
#| export
def plan_labs(profile: Path, scale: float | str = 1.0) -> dict[str, dict]:
    "Notebooks that the profile executes for what they find out by themselves, and their parameters. ValueError as `plan`."
    scale, content, planned = _read_scale(scale), _read_profile(profile), {}
    try:
        for notebook, values in _check_dict("labs", content.get("labs", {})).items():
            if notebook not in LABS:
                raise ValueError(f"labs: {notebook!r} leaves nothing for a report; choose from {', '.join(LABS)}")
            planned[notebook] = _check_dict(f"labs: {notebook}", values)
            _check_parameters(notebook, planned[notebook])
            if "updates" in values:
                planned[notebook]["updates"] = _share(values["updates"], scale, 50)
    except ValueError as problem:
        raise ValueError(f"profile {profile.stem}: {problem}") from None
    return planned


# %% [markdown]
# What is checked of the file, and of the names and values in it. YAML itself would take the later of two values for one key.

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


def _add_plugins(names: list[str], profile: str) -> None:
    "Import these modules and genlab's own; processes that are started from here will import them, too."
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"profile {profile}: plugins: {names!r} is not a list of names of modules")
    before = filter(None, os.environ.get("GENLAB_PLUGINS", "").split(","))
    if names:
        os.environ["GENLAB_PLUGINS"] = ",".join(dict.fromkeys([*before, *names]))
    import_plugins()


# %% [markdown]
# Each part has to be of the right kind:

# %%
#| export
def _check_dict(name: str, value) -> dict:
    "A copy of `value` if it is a mapping with names for keys."
    if not isinstance(value, dict):
        raise ValueError(f"{name}: {value!r} is not a mapping such as {{key: value}}; if there is nothing to say, leave it out, or write {{}}")
    return dict(value)


def _read_scale(scale: float | str) -> float:
    try:
        share = float(scale)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise ValueError(f"scale: {scale} is not a share between 0 and 1, such as 0.01.")
    return share


def _check_parameters(notebook: str, values: dict, checked: Iterable[str] = ()) -> None:
    "Each name is a parameter of the notebook, and each value, but for those that a configuration has checked, of the kind of its default."
    known = inspect_notebook(str(project_root() / "nbs" / f"{notebook}.ipynb"))
    kind = lambda value: "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"{key}: {notebook} has no such parameter; {did_you_mean(key, known)}")
        default = ast.literal_eval(known[key]["default"])
        if key not in checked and (kind(value) != kind(default) or kind(value) == "number" and (value < 0 or isinstance(default, int) and value % 1)):
            raise ValueError(f"{key}: {value!r} is not of the kind of {notebook}'s own {key}, {default!r}")


# %% [markdown]
# A row becomes a configuration for each epoch count, so each value is checked by the class that a run is made from.

# %%
#| export
def _plan_row(row: dict, scale: float) -> list[Job]:
    notebook, counts, published = row.pop("notebook", None), row.pop("epochs", None), _check_dict("published", row.pop("published", {}))
    configs = {kind.notebook: kind.config for kind in KINDS.values()}
    if notebook not in configs:
        raise ValueError(f"notebook: {notebook!r} trains nothing; choose one of {', '.join(configs)}")
    if not isinstance(counts, list) or not counts:
        raise ValueError(f"epochs: {counts!r} is not a list of epoch counts such as [1, 5, 20]")
    if "snapshots" in row:
        raise ValueError("snapshots: the list `epochs` has all counts to look at; leave this out")
    published = {what: _check_dict(f"published: {what}", values) for what, values in published.items()}
    _check_parameters(notebook, row, configs[notebook].model_fields)
    planned = sorted(_configure(configs[notebook], row, count).epochs for count in counts)
    instead_of, counts = None, planned
    if scale < 1:
        row, instead_of = _shrink(row, scale)
        counts = [max(rank, round(count * scale)) for rank, count in enumerate(planned, 1)]
    *early, last = [_configure(configs[notebook], row, count) for count in counts]
    if "compare" in row:  # samplers are compared at the last epoch count only
        early = [config.model_copy(update={"compare": []}) for config in early]
    parameters = row | {"epochs": last.epochs, "snapshots": [config.epochs for config in early]}
    found = lambda count: {what: values[count] for what, values in published.items() if count in values}
    return [Job(notebook, parameters, Run(config), count, found(count), instead_of) for config, count in zip((*early, last), planned, strict=True)]


def _configure(kind: type[RunConfig], row: dict, epochs) -> RunConfig:
    "The configuration of a row; what it would read as a number has to be one, since the notebook gets the row as it is."
    config = kind(**{k: v for k, v in row.items() if k in kind.model_fields}, epochs=epochs)
    for key, value in row.items():
        if isinstance(value, str) and not isinstance(getattr(config, key, value), str):
            raise ValueError(f"{key}: {value!r} is a text; write {getattr(config, key)!r} (YAML takes 1e-3 for a text, too, and 1.0e-3 for a number)")
    return config


# %% [markdown]
# **Shrunk.** A profile of many GPU hours should be known to run before it is started. `SCALE=0.01` leaves a hundredth of the epochs, training images, samples and sampling steps (but some of each), and puts images of ours in the place of a data set that cannot be had. Its numbers are worth nothing; that there are numbers is the point.

# %%
#| export
STAND_INS = {"mnist": ("digits", 28), "fashion_mnist": ("digits", 28), "cifar10": ("tinted_digits", 32)}  # others: tinted_digits of 64 pixels


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
def _shrink(row: dict, scale: float) -> tuple[dict, str | None]:
    "A row with fewer images, samples and steps; and the data set that could not be had, if there is a stand-in for it."
    wanted, instead_of = row.get("dataset", "digits"), None
    counts = _count_images(wanted, row.get("size"))
    if counts is None:
        stand_in, size = STAND_INS.get(wanted, ("tinted_digits", 64))
        row, instead_of = row | {"dataset": stand_in, "size": row.get("size") or size, "metrics": ["fd_lenet", "class_kl", "fid"]}, wanted
        counts = _count_images(stand_in, row["size"])
    n = row.get("subset") or 1.0
    row |= {"subset": _share(n * counts["train"] if isinstance(n, float) and n <= 1 else min(n, counts["train"]), scale, 256)}
    row |= {"n_samples": _share(row.get("n_samples") or counts["test"], scale, 50)}
    if "steps" in row:
        row |= {"steps": _share(row["steps"], scale, 10)}
    return row, instead_of


# %%
def try_profile(text, scale=1.0):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mine.yaml")
        path.write_text("runs:\n  - " + text)
        return plan(path, scale)


home = tempfile.TemporaryDirectory()
os.environ["GENLAB_RUNS"] = home.name
jobs = try_profile("{notebook: 01_gan, epochs: [5, 1], width: 16}")
assert [job.epochs for job in jobs] == [1, 5] and jobs[0].run.folder == jobs[1].run.folder
assert jobs[0].parameters == jobs[1].parameters == {"width": 16, "epochs": 5, "snapshots": [1]}
row = "{notebook: 01_gan, name: faces, dataset: 'folder:/nowhere', epochs: [1, 5, 300], published: {fid: {5: 120.5}}}"
assert [job.published for job in try_profile(row)] == [{}, {"fid": 120.5}, {}]
scaled = try_profile(row, 0.01)
assert [(job.epochs, job.planned) for job in scaled] == [(1, 1), (2, 5), (3, 300)] and scaled[1].published == {"fid": 120.5}
small = scaled[0].run.config
assert scaled[0].instead_of == "folder:/nowhere" and (small.dataset, small.size, small.subset, small.n_samples) == ("tinted_digits", 64, 256, 50)
for text, sentence in [
    ("{notebook: 01_gam, epochs: [1]}", "profile mine, row 1: notebook: '01_gam' trains nothing; choose one of 01_gan, 02_ddpm"),
    ("{notebook: 02_ddpm, epochs: [1], steps: 2000}", "row 1: steps: 2000 are more than the T = 1000"),
    ("{notebook: 01_gan, epochs: [1], with: 16}", "profile mine, row 1: with: 01_gan has no such parameter; did you mean width"),
    ("{notebook: 01_gan, epochs: [0]}", "row 1: epochs: 0 should be greater than 0"),
    ("{notebook: 01_gan, epochs: [1, ten]}", "row 1: epochs: 'ten' should be a valid integer"),
    ("{notebook: 01_gan, epochs: [1, 1.5]}", "row 1: epochs: 1.5 should be a valid integer"),
    ("{notebook: 01_gan, epochs: [1]}\n  - {notebook: 01_gan, epochs: [1]}", "row 2: .* planned in an earlier row"),
    ("{notebook: 01_gan", "mine: it is no YAML"),
    ("{notebook: 01_gan, epochs: 5}", "epochs: 5 is not a list"),
    ("{notebook: 01_gan, epochs: [1], dataset: minst}", "dataset: 'minst' is unknown"),
    ("01_gan", "row 1: row: '01_gan' is not a mapping"),
    ("{notebook: 01_gan, epochs: [1], published: }", "row 1: published: None is not a mapping .* leave it out"),
    ("{notebook: 01_gan, epochs: [1], published: {fid: 5.0}}", "row 1: published: fid: 5.0 is not a mapping"),
    ("{notebook: 01_gan, epochs: [1], size: '16'}", "row 1: size: '16' is a text; write 16"),
    ("{notebook: 01_gan, epochs: [1], lr: 1e-3}", "row 1: lr: '1e-3' is a text; write 0.001"),
    ("{notebook: 01_gan, epochs: [1], snapshots: [1]}", "row 1: snapshots: the list `epochs` has all counts"),
    ("{notebook: 01_gan, epochs: [1], seed: 1, width: 16, seed: 2}", "profile mine: line 2: seed is given twice"),
    ("{notebook: 04_vae, epochs: [1], side_epochs: none}", "row 1: side_epochs: 'none' is not of the kind of 04_vae's own side_epochs, 60"),
    ("{notebook: 04_vae, epochs: [1], side_epochs: -1}", "row 1: side_epochs: -1 is not of the kind"),
    ("{notebook: 02_ddpm, epochs: [1], guided_epochs: 1.5}", "row 1: guided_epochs: 1.5 is not of the kind"),
]:
    for share in (1.0, 0.5):
        with pytest.raises(ValueError, match=sentence):
            try_profile(text, share)
for scale in ("0,01", "all", 0, 1.5, "nan"):
    with pytest.raises(ValueError, match=f"scale: {scale} is not a share between 0 and 1, such as 0.01"):
        try_profile(row, scale)
assert [job.epochs for job in try_profile("&gan {notebook: 01_gan, seed: 1, epochs: [1]}\n  - {<<: *gan, seed: 2}")] == [1, 1], "a merged key may be replaced"
with pytest.raises(ValueError, match="there is no 'nonsense'; choose one of .*quick"):
    plan(project_root() / "report" / "profiles" / "nonsense.yaml")
for text, sentence in [
    ("{02_ddpm: {}}", "profile labs: labs: '02_ddpm' leaves nothing for a report"),
    ("{01b_mode_collapse: {seed: 1}}", "seed: 01b_mode_collapse has no such parameter"),
    ("{01b_mode_collapse: {seeds: none}}", "profile labs: seeds: 'none' is not of the kind of 01b_mode_collapse's own seeds, 5"),
    ("{01b_mode_collapse: }", "profile labs: labs: 01b_mode_collapse: None is not a mapping"),
    ("[01b_mode_collapse]", r"profile labs: labs: \['01b_mode_collapse'\] is not a mapping"),
]:
    path = Path(home.name, "labs.yaml")
    path.write_text(f"labs: {text}")
    with pytest.raises(ValueError, match=sentence):
        plan_labs(path)
path.write_text("- {notebook: 01_gan, epochs: [1]}")
for bad, sentence in [(path, "profile labs: .* is not a mapping"), (path.parent, "profile: .* is a folder, not a file")]:
    with pytest.raises(ValueError, match=sentence):
        plan(bad)


# %% [markdown]
# ## Collecting
#
# One row a job, whether it succeeded or not. A job that has no `metrics.json` says why: the last error in its log, or that it was not run.

# %%
#| export
def collect_runs(jobs: Iterable[Job]) -> pd.DataFrame:
    "A row a job: model, dataset, name, seed, subset, epochs, setting and label (Markdown), job, metrics (None if it is missing), and then why."
    rows = []
    for job in jobs:
        config, (metrics, why) = job.run.config, _read(job)
        rows.append({"model": config.model, "dataset": config.dataset, "name": config.name, "seed": config.seed, "subset": config.subset, "epochs": job.epochs,
                     "job": job, "metrics": metrics, "why": why, "instead_of": job.instead_of or ""})  # fmt: skip
    runs = pd.DataFrame(rows)
    runs["setting"] = _settings(runs)
    several = runs.groupby("setting").seed.transform("nunique") > 1
    runs["label"] = runs.setting + [f", seed {seed}" * more for seed, more in zip(runs.seed, several, strict=True)]
    return runs


# %% [markdown]
# A **setting** is what people call a configuration without its seed: its name, and what tells it apart from its namesakes. A **label** is one run's, with the seed where there are several.

# %%
#| export
def _settings(runs: pd.DataFrame) -> pd.Series:
    "In Markdown, what tells the configuration of each row from the others, but for the seed."
    settings = runs["name"].map(escape)
    fields = pd.DataFrame([{k: "none" if v is None else str(v) for k, v in job.run.config.model_dump().items()} for job in runs.job])
    if fields.groupby("model").dataset.nunique().max() > 1 or (runs.instead_of != "").any():
        names = {*runs.dataset, *runs.instead_of}
        last = pd.Series([name.rpartition("/")[2] for name in names])
        short = lambda name: escape(name.rpartition("/")[2] if name.startswith("hf:") and last.is_unique else name)
        settings += [f", {short(r.dataset)}" + f" for {short(r.instead_of)}" * bool(r.instead_of) for r in runs.itertuples()]
    for column in fields.columns.difference(["model", "name", "dataset", "seed"], sort=False):  # what else tells namesakes apart
        varies = fields.groupby(["model", "name", "dataset"])[column].transform("nunique") > 1
        settings[varies] += f", {column} " + fields.loc[varies, column].map(escape)
    shared = runs.groupby(settings).model.transform("nunique") > 1
    return settings + [f", {model}" * more for model, more in zip(runs.model, shared, strict=True)]


# %% [markdown]
# A result counts only if all its files are there.

# %%
#| export
def _read(job: Job) -> tuple[dict | None, str | None]:
    "The metrics of a job whose results are complete and can be read, or None and why."
    parts = {"metrics.json": _read_metrics, "samples.npz": _read_samples, "pictures.npz": _read_arrays, "samplers.json": json.loads}
    files = {job.folder / name: read for name, read in parts.items()} | {job.run.folder / "history.csv": _read_history}
    if not (job.folder / "metrics.json").exists():
        return None, last_error(job.log)
    found = {}
    for path, read in files.items():
        try:
            found[path.name] = read(path.read_bytes())
        except FileNotFoundError:
            if path.name in ("samples.npz", "history.csv"):  # the others need not be there
                return None, f"its {path.name} is not there."
        except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as problem:
            return None, f"its {path.name} is damaged: {' '.join(str(problem).split())}"
    return found["metrics.json"], None


# %% [markdown]
# Each of the files has to be read, or else a table or a figure would find the damage later.

# %%
#| export
def _read_metrics(content: bytes) -> dict:
    metrics, needed = json.loads(content), ("n_samples", "scores", "losses", "train_seconds", "sample_seconds")
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
    lines = re.findall(r"^(?:\w+\.)*(\w*(?:Error|Exception|Interrupt)\b.*)$", log.read_text(errors="replace"), flags=re.M)
    return lines[-1] if lines else f"it ended without a result; see {log.name}."


# %% [markdown]
# Tables and figures can be tried without training, on a run of which everything is made up.

# %%
#| export
def made_up_runs() -> pd.DataFrame:
    "Two evaluations of a GAN on `digits`, kept under GENLAB_RUNS: one that was not made, and one with made-up numbers."
    jobs = [Job("01_gan", {"width": 16, "epochs": 5}, Run(KINDS["gan"].config(width=16, epochs=n)), n) for n in (1, 5)]
    run = jobs[1].run
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "config.json").write_text(run.config.model_dump_json())
    losses = {"loss_d": 1.0, "loss_g": 2.0, "d_x": 0.5, "d_g_z1": 0.25, "d_g_z2": 0.2}
    history = [{"step": i, "epoch": 1 + i // 11, "i": i % 11, **losses} for i in range(55)]
    pd.DataFrame(history).to_csv(run.folder / "history.csv", index=False)
    run.training = {"updates": 55, "losses": losses, "train_seconds": 4.0, "images_per_second": 1621.25, "device": "abacus"}
    run.finish(5, load_dataset("digits").images[:64], scores=_made_up_scores(), sample_seconds=0.5)
    return collect_runs(jobs)


def _made_up_scores() -> dict[str, dict]:
    classes = {"classes": [{"value": 8.0, "n": 60}, {"value": None, "n": 1}], "floor_classes": [2.0, 3.0]}
    return {
        "fd_lenet": {"value": 31.4159, "sd": 0.77, "n": 64, "n_reference": 500, "floor": 14.2, "floor_sd": 1.5,
                     "n_floor": 64, "extractor": "LeNet-5", "hash": "abc"},
        "fid": {"value": None, "why": "no weights"},
        "kd_lenet": {"value": 1.2, "sd": 0.1, "floor": 0.5, "floor_sd": None, "n_floor": 64},
        "precision": {"value": 0.8123, "sd": 0.0174, "floor": 0.98, "floor_sd": 0.01, "n_floor": 64},
        "recall": {"value": 0.6, "sd": 0.02, "floor": 0.97, "floor_sd": 0.01, "n_floor": 64},
        "fd_lenet_by_class": {"value": 8.0, "n_floor": 64, **classes},
        "fd_lenet_infinity": {"value": None, "why": "too few samples"},
    }  # fmt: skip


# %%
runs = collect_runs(jobs)
assert list(runs.why) == ["it was not run."] * 2 and list(runs.label) == ["dcgan"] * 2
jobs[0].run.folder.mkdir(parents=True)
jobs[0].log.write_text("Traceback\nRuntimeError: dataset: nothing there\nmore\n")
assert collect_runs(jobs).why[0] == "RuntimeError: dataset: nothing there"
runs = made_up_runs()
assert runs.why[0] == "RuntimeError: dataset: nothing there" and runs.why.isna()[1]
assert runs.metrics[0] is None and runs.metrics[1]["losses"]["loss_g"] == 2
for row, labels in [
    ("{notebook: 01_gan, epochs: [1]}\n  - {notebook: 01_gan, subset: 300, epochs: [1]}", ["dcgan, subset none", "dcgan, subset 300"]),
    ("{notebook: 01_gan, epochs: [1], lr_d: 0.001}\n  - {notebook: 01_gan, epochs: [1], seed: 1}", ["dcgan, lr_d 0.001", "dcgan, lr_d none"]),
    ("{notebook: 01_gan, epochs: [1], seed: 2}\n  - {notebook: 01_gan, epochs: [1], seed: 1}", ["dcgan, seed 2", "dcgan, seed 1"]),
    ("{notebook: 01_gan, epochs: [1], size: 8}\n  - {notebook: 01_gan, epochs: [1], dataset: mnist}", ["dcgan, digits", "dcgan, mnist"]),
    ("{notebook: 01_gan, epochs: [1], dataset: 'hf:a/b'}\n  - {notebook: 01_gan, epochs: [1], dataset: 'hf:c/b'}", ["dcgan, hf:a/b", "dcgan, hf:c/b"]),
]:
    assert list(collect_runs(try_profile(row)).label) == labels
assert list(collect_runs(try_profile("{notebook: 01_gan, epochs: [1], seed: 2}\n  - {notebook: 01_gan, epochs: [1], seed: 1}")).setting) == ["dcgan", "dcgan"]
namesakes = try_profile("{notebook: 01_gan, name: a, epochs: [1]}\n  - {notebook: 02_ddpm, name: a, epochs: [1]}")
assert list(collect_runs(namesakes).label) == ["a, gan", "a, ddpm"]

# %% [markdown]
# A file of a run that is damaged in any way makes it a missing run that says so:

# %%
samples, history, found = jobs[1].folder / "samples.npz", jobs[1].run.folder / "history.csv", jobs[1].folder / "metrics.json"
for path, broken in [
    (history, b""), (history, b"step,epoch,i,loss_d\n"), (history, b"step,loss_d\n0,1.0\n"), (samples, samples.read_bytes()[:-40]), (samples, b""),
    (jobs[1].folder / "pictures.npz", samples.read_bytes()[:200]), (jobs[1].folder / "samplers.json", b'[{"sampler": "dd'),
    (found, b"{}"), (found, b"[]"), (found, found.read_bytes()[:99]), (found, b'{"n_samples": 64, "epochs": 5}'),
]:  # fmt: skip
    good = path.read_bytes() if path.exists() else None
    path.write_bytes(broken)
    damaged = collect_runs(jobs)
    assert damaged.metrics[1] is None and f"its {path.name} is damaged: " in damaged.why[1], damaged.why[1]
    path.unlink() if good is None else path.write_bytes(good)
assert collect_runs(jobs).metrics[1] == runs.metrics[1]
damaged.why[1]


# %% [markdown]
# The section on latent spaces shows what of [06_interpolation](06_interpolation.ipynb) a page has room for. Walking needs weights and time, so it is part of the sweep: of one run of each model, `keep_paths` leaves images and numbers beside the run's other results, and they are only read here.

# %%
#| export
def walked(jobs: Iterable[Job]) -> list[Job]:
    "The jobs whose latent spaces are shown: on the data of the first job the first run of each model, at its last epoch count."
    jobs, first = [job for job in jobs if KINDS[job.run.config.model].space], {}
    data = lambda job: (job.run.config.dataset, job.run.config.size)
    jobs = [job for job in jobs if data(job) == data(jobs[0])]
    for job in jobs:
        first.setdefault(job.run.config.model, job.run.folder)
    last = {job.run.folder: job for job in jobs}
    return [last[folder] for folder in first.values()]


# %%
four = "{notebook: 01_gan, epochs: [1, 5]}\n  - {notebook: 01_gan, seed: 1, epochs: [9]}\n  - {notebook: 04_vae, size: 8, epochs: [1]}\n  - {notebook: 04_vae, epochs: [2, 3]}"
assert [(job.notebook, job.epochs) for job in walked(try_profile(four))] == [("01_gan", 5), ("04_vae", 3)], "one of each model, on the same images"
assert walked([]) == []

# %%
#| hide
home.cleanup()
del os.environ["GENLAB_RUNS"]
