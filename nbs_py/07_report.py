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
# # The report
#
# > From a list of runs to a PDF: plan a sweep, collect what the runs left on disk, write tables and figures, typeset
#
# A *profile* is a short YAML file: a row for each run, with a notebook, values for its parameters, and the epoch counts to look at. Snakemake, which makes only what is missing, has papermill execute the notebooks with these values (`report/Snakefile`). Then this module reads what they left on disk and writes **fragments**: files with tables and figures, which `report/report.qmd` includes. Every result of ours in the PDF comes from a file that a run or a lab has left (`metrics.json`, `history.csv`, `samplers.json`, `interpolation.json`, the ring's); typed is only what other people's reports printed.
#
# A run that failed or was never made is a dash in the tables, with a note that says why. It does not stop the report.

# %%
#| default_exp report

# %% tags=["parameters"]
profile = "quick"  # a file in report/profiles

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import argparse
import ast
import contextlib
import datetime
import functools
import hashlib
import io
import json
import math
import os
import re
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Iterable
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pypandoc
import seaborn as sns
import torch
import typst
import yaml
from papermill import inspect_notebook

from genlab.augment import plot_distance_bands, plot_gap
from genlab.collapse import classes_seen, load_ring, plot_classes, plot_strips, ring, ring_file
from genlab.data import load_dataset, show_grid
from genlab.ddpm import DDPMConfig, plot_denoising, plot_guidance, plot_level_losses, plot_noise, plot_samplers, read_likelihood, scored_samplers
from genlab.fid import finds_copies, plot_copies, plot_nearest
from genlab.gan import GANConfig
from genlab.interpolation import MODELS, load_paths, plot_walks
from genlab.plug import did_you_mean
from genlab.runs import Run, RunConfig, atomic, git_commit, plot_history, project_root, read_config, runs_root
from genlab.vae import VAEConfig, plot_codes, plot_plane, plot_reconstructions, plot_sources, plot_units

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
LABS = {"01b_mode_collapse": ring_file}  # notebooks that find out something by themselves, and the file where they keep it
CONFIGS: dict[str, type[RunConfig]] = {"01_gan": GANConfig, "02_ddpm": DDPMConfig, "04_vae": VAEConfig}  # the notebooks that train, and what configures them
KINDS = {"gan": "GAN", "ddpm": "diffusion model", "vae": "VAE"}  # what people call them


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
    scale, rows = _read_scale(scale), _read_profile(profile).get("runs")
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
    return _check_dict(f"profile {profile.stem}", content)


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
    if notebook not in CONFIGS:
        raise ValueError(f"notebook: {notebook!r} trains nothing; choose one of {', '.join(CONFIGS)}")
    if not isinstance(counts, list) or not counts:
        raise ValueError(f"epochs: {counts!r} is not a list of epoch counts such as [1, 5, 20]")
    if "snapshots" in row:
        raise ValueError("snapshots: the list `epochs` has all counts to look at; leave this out")
    published = {what: _check_dict(f"published: {what}", values) for what, values in published.items()}
    _check_parameters(notebook, row, CONFIGS[notebook].model_fields)
    planned = sorted(_configure(notebook, row, count).epochs for count in counts)
    instead_of, counts = None, planned
    if scale < 1:
        row, instead_of = _shrink(row, scale)
        counts = [max(rank, round(count * scale)) for rank, count in enumerate(planned, 1)]
    *early, last = [_configure(notebook, row, count) for count in counts]
    if "compare" in row:  # samplers are compared at the last epoch count only
        early = [config.model_copy(update={"compare": []}) for config in early]
    parameters = row | {"epochs": last.epochs, "snapshots": [config.epochs for config in early]}
    found = lambda count: {what: values[count] for what, values in published.items() if count in values}
    return [Job(notebook, parameters, Run(config), count, found(count), instead_of) for config, count in zip((*early, last), planned, strict=True)]


def _configure(notebook: str, row: dict, epochs) -> RunConfig:
    "The configuration of a row; what it would read as a number has to be one, since the notebook gets the row as it is."
    kind = CONFIGS[notebook]
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


def _slug(markdown: str) -> str:
    "For a file's name and a figure's number; with some digits of a hash if another text could be shortened to the same."
    text = plain(markdown)
    slug = re.sub(r"[^\w]+", "-", text, flags=re.ASCII).strip("-").lower()
    return slug if slug == re.sub(", | ", "-", text) else f"{slug}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


# %%
odd = ["#", "$a$", "100%", "a & b", "~x", "x^2", "_x_", "{y}", "@lena", "<b>", "`", "a|b", "*", "--", "a_b", "...", "\\", "'q'"]
assert [plain(escape(name)) for name in odd] == odd and len({_slug(name) for name in odd}) == len(odd)
assert escape("tinted_digits, seed 0") == "tinted_digits, seed 0" and _slug("gan-dcgan, seed 0") == "gan-dcgan-seed-0"
shown = pypandoc.convert_text("\n\n".join(map(escape, odd)), "plain", "markdown", extra_args=["--wrap=none"])
assert shown.split("\n\n") == [*odd[:-1], odd[-1] + "\n"]


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
# Metrics are nested, and a run may lack any of them.

# %%
#| export
def dig(metrics: dict | None, *path: str):
    "A value deep in a run's metrics, or None if anything on the way is missing."
    for key in path:
        metrics = metrics.get(key) if isinstance(metrics, dict) else None
    return metrics


# %% [markdown]
# A result counts only if all its files are there.

# %%
#| export
def _read(job: Job) -> tuple[dict | None, str | None]:
    "The metrics of a job whose results are complete and can be read, or None and why."
    parts = {"metrics.json": _read_metrics, "samples.npz": _read_samples, "pictures.npz": _read_arrays, "samplers.json": json.loads}
    files = {job.folder / name: read for name, read in parts.items()} | {job.run.folder / "history.csv": _read_history}
    if not (job.folder / "metrics.json").exists():
        return None, _last_error(job.log)
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
    if missing := [key for key in needed if dig(metrics, key) is None]:
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


def _last_error(log: Path) -> str:
    if not log.exists():
        return "it was not run."
    lines = re.findall(r"^(?:\w+\.)*(\w*(?:Error|Exception|Interrupt)\b.*)$", log.read_text(errors="replace"), flags=re.M)
    return lines[-1] if lines else f"it ended without a result; see {log.name}."


# %%
runs = collect_runs(jobs)
assert list(runs.why) == ["it was not run."] * 2 and list(runs.label) == ["dcgan"] * 2
jobs[0].run.folder.mkdir(parents=True)
jobs[0].log.write_text("Traceback\nRuntimeError: dataset: nothing there\nmore\n")
assert collect_runs(jobs).why[0] == "RuntimeError: dataset: nothing there"
pd.DataFrame([{"step": 0, "epoch": 1, "i": 0, "loss_d": 1.0}]).to_csv(jobs[1].run.folder / "history.csv")
jobs[1].run.training = {"updates": 55, "losses": {"loss_d": 1.0, "loss_g": 2.0, "d_x": 0.5, "d_g_z1": 0.25, "d_g_z2": 0.2},
                        "train_seconds": 4.0, "images_per_second": 1621.25, "device": "abacus"}  # fmt: skip
score = {"value": 31.4159, "sd": 0.77, "n": 64, "n_reference": 500, "floor": 14.2, "floor_sd": 1.5, "n_floor": 64, "extractor": "LeNet-5", "hash": "abc"}
others = {
    "kd_lenet": {"value": 1.2, "sd": 0.1, "floor": 0.5, "floor_sd": None, "n_floor": 64},
    "precision": {"value": 0.8123, "sd": 0.0174, "floor": 0.98, "floor_sd": 0.01, "n_floor": 64},
    "recall": {"value": 0.6, "sd": 0.02, "floor": 0.97, "floor_sd": 0.01, "n_floor": 64},
    "fd_lenet_by_class": {"value": 8.0, "classes": [{"value": 8.0, "n": 60}, {"value": None, "n": 1}], "floor_classes": [2.0, 3.0], "n_floor": 64},
    "fd_lenet_infinity": {"value": None, "why": "too few samples"},
}
some = load_dataset("digits").images[:64]
jobs[1].run.finish(5, some, scores={"fd_lenet": score, "fid": {"value": None, "why": "no weights"}} | others, sample_seconds=0.5)
runs = collect_runs(jobs)
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
    rows = [[r.label, r.epochs, *(number(dig(r.metrics, "losses", c), 3) for c in columns)] for r in runs.itertuples()]
    caption = "Losses, each the mean over the epoch that ends there."
    return markdown_table(rows, ["run", "epochs", *columns.values()], caption, label)


# %% [markdown]
# How likely does a diffusion model find test images ([02_ddpm](02_ddpm.ipynb))?

# %%
#| export
def likelihood_table(runs: pd.DataFrame, label: str) -> str:
    "The variational bounds of diffusion models on test images: the lowest with its variance and its three parts, and those of the fixed variances."
    rows, symbols = [], {"posterior": r"$\tilde\beta_t$", "beta": r"$\beta_t$"}
    for r in runs.itertuples():
        known = read_likelihood(r.metrics)
        parts = [number(known.get(k), 3) for k in ("first", "middle", "last")]
        fixed = [number(dig(known, "bounds", name, "bits_per_dim"), 3) for name in symbols]
        variance = symbols.get(known.get("variance"), known.get("variance") or "—")
        rows.append([r.label, r.epochs, plus_minus(known.get("bits_per_dim"), known.get("se"), 3), variance, *parts, *fixed, number(known.get("n"), 0)])
    caption = (
        "Variational bounds on the negative log-likelihood of test images, in bits per pixel and channel of these images: the lowest one that was computed, "
        "with its standard error over the images, the variance of the steps back that it holds for, and its parts $L_0$, the terms between, and $L_T$; "
        r"then the bounds with two variances that know nothing of the network, $\tilde\beta_t$ and $\beta_t$."
    )
    header = ["run", "epochs", "bits/dim", "variance", "$L_0$", "$L_1$ to $L_{T-1}$", "$L_T$", *symbols.values(), "images"]
    return markdown_table(rows, header, caption, label, "lrrlrrrrrr")


# %%
old = {"bits_per_dim": 1.71, "se": 0.05, "first": 0.7, "middle": 1.01, "last": 0.0, "n": 2000}
new = old | {"bits_per_dim": 1.3, "variance": "fitted", "bounds": {"posterior": {"bits_per_dim": 1.71}, "beta": {"bits_per_dim": 1.9}}}
rows = [{"label": "a", "epochs": i, "metrics": metrics} for i, metrics in enumerate([{"likelihood": old}, {"likelihood": new}, {}, None])]
lines = likelihood_table(pd.DataFrame(rows), "bits").split("\n")[2:6]
assert [lines[0].count(word) for word in (r"| $\tilde\beta_t$ |", "1.710", "—")] == [1, 2, 1], "older files have the posterior's bound only"
assert [lines[1].count(word) for word in ("fitted", "1.300", "1.710", "1.900")] == [1, 1, 1, 1]
assert all(line.count("—") == 8 for line in lines[2:])


# %% [markdown]
# How do the samplers of one diffusion model compare?

# %%
#| export
def sampler_table(runs: pd.DataFrame, label: str) -> str:
    "Frechet distances of all samplers that were compared."
    rows, marks = [], device_marks(runs)
    for r in runs.itertuples():
        for row in scored_samplers(r.job.run):
            fd = dig(row, "scores", "fd_lenet") or {}
            rows.append([r.label, r.epochs, row["sampler"], row["steps"], row["evaluations"], number(row["n"], 0), uncertain(fd.get("value"), fd.get("sd")),
                         uncertain(fd.get("floor"), fd.get("floor_sd")), timed(number(1000 * row["seconds"] / row["n"]), [r], marks)])  # fmt: skip
    caption = f"Samplers of the same networks, from the same latents. Evaluations: how often the network is asked for an image. Standard deviations over samples in units of the last digit. Times on {devices(runs)}."
    header = ["run", "epochs", "sampler", "steps", "evaluations", "$N$", "`fd_lenet`", "floor", "1,000 samples (s)"]
    return markdown_table(rows, header, caption, label, "lrlrrrrrr")


# %% [markdown]
# How likely does a VAE find them ([04_vae](04_vae.ipynb))?

# %%
#| export
def elbo_table(runs: pd.DataFrame, label: str) -> str:
    "Losses and bounds of VAEs with what they were trained and evaluated on, and the Frechet distance of their samples."
    rows = []
    for r in runs.itertuples():
        known, fd = dig(r.metrics, "likelihood") or {}, dig(r.metrics, "scores", "fd_lenet") or {}
        tested = f"test, {known['n']:,}" if known else "—"
        rows.append([r.label, r.epochs, escape(r.dataset), tested, number(dig(r.metrics, "losses", "loss"), 1),
                     plus_minus(known.get("elbo"), known.get("se"), 1), number(known.get("gap"), 1), number(known.get("kl"), 1),
                     number(known.get("bits_per_dim"), 3), uncertain(fd.get("value"), fd.get("sd"))])  # fmt: skip
    caption = (
        "Loss (each model's own, mean over the last epoch); on test images, in nats per image, summed over pixels: the evidence lower bound with its standard error, "
        "what the importance-weighted bound with 50 codes adds to it (on 200 images), and the KL term; the ELBO in bits per dimension; `fd_lenet` of samples from the prior."
    )
    return markdown_table(rows, ["run", "epochs", "trained on", "evaluated on", "loss", "ELBO", "gap", "KL", "bits/dim", "`fd_lenet`"], caption, label, "lrllrrrrrr")


# %% [markdown]
# And how much does it matter where its codes come from?

# %%
#| export
def source_table(runs: pd.DataFrame, label: str) -> str:
    "Frechet distances of a VAE's samples, by where their codes come from."
    rows = []
    for r in runs.itertuples():
        scores = [dig(r.metrics, "scores", "fd_lenet") or {}, *(dig(r.metrics, "sources", source) or {} for source in ("mixture", "posterior"))]
        rows.append([r.label, r.epochs, number(dig(r.metrics, "n_samples"), 0), *(uncertain(s.get("value"), s.get("sd")) for s in scores),
                     uncertain(scores[0].get("floor"), scores[0].get("floor_sd"))])  # fmt: skip
    caption = (
        "`fd_lenet` of a VAE's samples by the source of their codes: the prior; a mixture of ten Gaussians fitted to the codes of training images; "
        "the codes of training images themselves, with the encoder's noise (which gives reconstructions, not new images)."
    )
    return markdown_table(rows, ["run", "epochs", "$N$", "prior", "mixture", "posterior", "floor"], caption, label)


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
        row = [r.label, r.epochs, number(dig(r.metrics, "n_samples"), 0)]
        for metric in ("fd_lenet", "fid"):
            score = dig(r.metrics, "scores", metric) or {}
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
    columns = {head: metric for head, metric in columns.items() if any(dig(m, "scores", metric) for m in runs.metrics)}
    for r in runs.itertuples():
        scores = [dig(r.metrics, "scores", metric) or {} for metric in columns.values()]
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
    reference = [dig(m, "scores", "fd_lenet_by_class", "reference") or "" for m in last.metrics]
    for (dataset, of), group in last.groupby(["dataset", pd.Series(reference, last.index, dtype=object)], sort=False):
        rows, floors = [], {}
        for r in group.itertuples():
            if "classes" in (score := dig(r.metrics, "scores", "fd_lenet_by_class") or {}):
                rows.append([r.label, r.epochs, *(number(c["value"], 1) for c in score["classes"])])
                if score.get("floor_classes"):
                    floors[f"real, $N$ = {score['n_floor']:,}"] = [number(value, 1) for value in score["floor_classes"]]
        if rows:
            rows += [[name, "", *values] for name, values in floors.items()]
            caption = f"`fd_lenet` within each class of {verbatim(of or dataset)}, for as many samples of the class as there are. Both samples and test images are sorted by the classifier."
            parts.append(markdown_table(rows, ["run", "epochs", *map(str, range(len(rows[0]) - 2))], caption, f"classes-{_slug(escape(of or dataset))}", "l" + "r" * 30))
    return "\n".join(parts) or NONE


# %% [markdown]
# A time says something only with the device that it was measured on.

# %%
#| export
def device_marks(runs: pd.DataFrame) -> dict[str, str]:
    "What the runs were trained on, and the letter that marks its times; an empty one if it is the only device."
    names = sorted({device for m in runs.metrics if (device := dig(m, "device"))})
    return {name: chr(ord("a") + i) * (len(names) > 1) for i, name in enumerate(names)}


def devices(runs: pd.DataFrame) -> str:
    "The devices, with their letters."
    return "; ".join(escape(name) + f" (^{mark}^)" * bool(mark) for name, mark in device_marks(runs).items()) or "—"


def timed(seconds: str, rows: list, marks: dict[str, str]) -> str:
    "A time of these rows with the letters of their devices."
    letters = "".join(sorted({marks.get(dig(r.metrics, "device"), "") for r in rows}))
    return seconds + f"^{letters}^" * bool(letters)


def time_table(runs: pd.DataFrame, label: str) -> str:
    "Training and sampling times, with the device."
    rows, marks = [], device_marks(runs)
    for r in runs.itertuples():
        trained, scored, drawn = (dig(r.metrics, key) for key in ("train_seconds", "score_seconds", "sample_seconds"))
        row = [r.label, r.epochs, timed(number(trained, 1), [r], marks), number(dig(r.metrics, "images_per_second"), 0)]
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
        commits = sorted({dig(m, "commit") or "none" for m in done.metrics})
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
# ## Comparing
#
# Two numbers differ almost always; the question is whether they would differ again. So a number that is compared comes with its standard deviation. For one trained network that is the deviation over other samples, which says nothing about other seeds. Where the same configuration was trained from several seeds, the number is the mean over them, and its deviation is the standard error of that mean; it is never taken to be less than what the samples alone make it.

# %%
#| export
class Estimate(NamedTuple):
    "A number, the standard deviation that comparisons count with (NaN: not known), and over how many seeds it is a mean."

    value: float
    sd: float = math.nan
    seeds: int = 1

    def __str__(self):
        return uncertain(self.value, self.sd) + (f", mean of {self.seeds} seeds" if self.seeds > 1 else "")

    @classmethod
    def pooled(cls, values: list[float], sds: list[float | None]) -> "Estimate":
        "From a number of each seed with its own deviation."
        n, spread = len(values), math.sqrt(np.mean(np.array(sds, float) ** 2))  # None becomes NaN
        if n > 1:
            spread = np.fmax(spread, np.std(values, ddof=1))
        return cls(float(np.mean(values)), float(spread) / math.sqrt(n), n)

    def over(self, other: "Estimate") -> "Estimate":
        "The ratio of two independent estimates; relative variances add up, to first order."
        ratio = self.value / other.value
        return Estimate(ratio, abs(ratio) * math.hypot(self.sd / self.value, other.sd / other.value), self.seeds)


# %% [markdown]
# What differs in nothing but the seed is one evaluation.

# %%
#| export
class Evaluation(NamedTuple):
    "A configuration after so many epochs: a row of `collect_runs` for each of its seeds."

    rows: list

    @property
    def name(self) -> str:
        "In Markdown, without the seed if there are several."
        return self.rows[0].setting if len(self.rows) > 1 else self.rows[0].label

    @property
    def model(self) -> str:
        return self.rows[0].model

    @property
    def epochs(self) -> int:
        return self.rows[0].epochs

    @property
    def after(self) -> str:
        return f"{self.epochs} epoch{'s' * (self.epochs > 1)}"

    def estimate(self, *path: str, value: str = "value", sd: str = "sd") -> Estimate | None:
        "A number of the metrics, such as `estimate('scores', 'fd_lenet')`; None if no seed has it."
        scores = [score for r in self.rows if dig(score := dig(r.metrics, *path), value) is not None]
        return Estimate.pooled([score[value] for score in scores], [score.get(sd) for score in scores]) if scores else None

    @property
    def distance(self) -> Estimate | None:
        return self.estimate("scores", "fd_lenet")

    @property
    def times_floor(self) -> Estimate | None:
        "The distance over that of as many real images; the floor's deviation is that of one draw of real images."
        floor = self.estimate("scores", "fd_lenet", value="floor", sd="floor_sd")
        return self.distance.over(floor._replace(sd=self.rows[0].metrics["scores"]["fd_lenet"].get("floor_sd") or math.nan)) if floor else None


# %% [markdown]
# All sentences that compare go through one function. Its first list has more than one name where two standard deviations of the difference cannot tell who is first.

# %%
#| export
def compare(known: dict[str, Estimate], largest: bool = False) -> tuple[list[str], list[str]]:
    "Names in order: those that two standard deviations cannot tell from the smallest (or largest) number, and the others."
    ranked = sorted(known, key=lambda name: known[name].value, reverse=largest)
    best = known[ranked[0]]
    differs = lambda e: abs(e.value - best.value) > 2 * math.hypot(e.sd, best.sd)  # False if a deviation is not known
    return [name for name in ranked if not differs(known[name])], [name for name in ranked if differs(known[name])]


def best_of(n: int) -> str:
    "What is to be said of the smallest of several distances: it was chosen for being small."
    return f" (the smallest of {n})" if n > 1 else ""


def listed(names: list[str]) -> str:
    "`a`, `a and b`, `a, b and c`."
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


# %% [markdown]
# And only distances of one kind are compared at all: to the same test images, in the same features, of the same number of samples.

# %%
#| export
def comparable(runs: pd.DataFrame, score: str = "fd_lenet") -> dict[tuple, list[Evaluation]]:
    "Evaluations that have this score, by what makes its values comparable: data set, reference, weights of the extractor, number of samples."
    groups: dict[tuple, dict[tuple, list]] = {}
    for r in runs[runs.metrics.notna()].itertuples():
        found = dig(r.metrics, "scores", score) or {}
        if found.get("value") is not None:
            kind = (r.dataset, found.get("reference"), found.get("hash"), r.metrics["n_samples"])
            groups.setdefault(kind, {}).setdefault((r.setting, r.epochs), []).append(r)
    return {kind: [Evaluation(rows) for rows in seeds.values()] for kind, seeds in groups.items()}


# %% [markdown]
# Made-up results: differences within the noise and beyond, turned round, and seeds that differ by more than their samples.

# %%
def evaluation(*values, sd=1.0, setting="a"):
    rows = [{"setting": setting, "label": f"{setting}, seed {i}", "epochs": 5, "metrics": {"scores": {"fd_lenet": {"value": v, "sd": sd}}}} for i, v in enumerate(values)]
    return Evaluation(list(pd.DataFrame(rows).itertuples()))


distance = lambda *values, sd=1.0: evaluation(*values, sd=sd).distance
assert compare({"a": distance(20.0), "b": distance(22.0)}) == (["a", "b"], []), "2 is less than twice the root of 2"
assert compare({"a": distance(20.0), "b": distance(24.0)}) == (["a"], ["b"])
assert compare({"a": distance(24.0), "b": distance(20.0)}) == (["b"], ["a"])
assert compare({"a": distance(20.0), "b": distance(24.0)}, largest=True) == (["b"], ["a"])
seeds = {"a": distance(10.0, 20.0, 30.0), "b": distance(14.0, 24.0, 34.0)}
assert compare(seeds) == (["a", "b"], []) and str(seeds["a"]) == "20(6), mean of 3 seeds"
assert compare({"a": distance(10.0, 20.0, 30.0), "b": distance(44.0, 54.0, 64.0)}) == (["a"], ["b"])
assert distance(20.0, 20.0, 20.0, sd=3.0).sd == pytest.approx(3 / 3**0.5), "equal seeds by luck are no better than their samples"
assert compare({"a": distance(20.0, sd=None), "b": distance(90.0)}) == (["a", "b"], []), "who does not know the spread cannot tell"
times_floor = distance(30.0).over(Estimate(2.0, 0.1))
assert times_floor.value == 15 and times_floor.sd == pytest.approx(15 * ((1 / 30) ** 2 + 0.05**2) ** 0.5)
assert listed(["a"]) == "a" and listed(["a", "b", "c"]) == "a, b and c"

# %%
# The ratio's deviation, against 200,000 draws of both numbers:
draws = np.random.default_rng(0)
drawn = draws.normal(30, 1, 200_000) / draws.normal(2, 0.1, 200_000)
assert times_floor.sd == pytest.approx(drawn.std(), rel=0.02)


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
# Two figures are about one run: its samples, and the curves of a GAN.

# %%
#| export
def grid_figure(images: torch.Tensor, path: Path, side: int = 8) -> None:
    "The first side x side images as a square without margins."
    fig, ax = plt.subplots(figsize=(3, 3), layout="constrained")
    show_grid(images[: side**2], ncol=side, ax=ax)
    save_figure(fig, path)


def gan_loss_figure(history: list[dict], path: Path) -> None:
    "Losses and verdicts of a GAN side by side."
    fig, axes = plt.subplots(1, 2, figsize=(7.2, 2.5), layout="constrained")
    plot_history(history, {"loss_d": "Loss_D", "loss_g": "Loss_G"}, "loss", axes[0])
    plot_history(history, {"d_x": "$D(x)$", "d_g_z1": "$D(G(z))$ before", "d_g_z2": "$D(G(z))$ after"}, "mean verdict", axes[1])
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
        known = [(r.epochs, *(dig(r.metrics, "scores", metric) for metric in ("recall", "precision"))) for r in group.itertuples()]
        known = [(epochs, recall, precision) for epochs, recall, precision in known if None not in (dig(recall, "value"), dig(precision, "value"))]
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
        if "shares" in (score := dig(r.metrics, "scores", "fd_lenet_infinity") or {}):
            x = [1 / (share * score["n"]) for share in score["shares"]]
            slope = sum(a * (d - score["value"]) for a, d in zip(x, score["distances"], strict=True)) / sum(a * a for a in x)
            (dots,) = ax.plot(x, score["distances"], ".", label=f"{plot_label(r.label)}, {r.epochs} epochs")
            ax.plot([0, x[0]], [score["value"], score["value"] + slope * x[0]], color=dots.get_color(), linewidth=0.8)
    if not ax.lines:
        plt.close(fig)
        why = {verbatim(found) for m in runs.metrics if (found := dig(m, "scores", "fd_lenet_infinity", "why"))} or {"not asked for in this profile"}
        return f"No run has the extrapolation to infinitely many (`fd_lenet_infinity`): {listed(sorted(why))}.\n"
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
    done = runs[[dig(metrics, "scores", "fd_lenet", "value") is not None for metrics in runs.metrics]]
    if done.empty:
        return ""
    fig, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
    for label, group in done.groupby("label", sort=False):
        scores = [dig(m, "scores", "fd_lenet") or {} for m in group.metrics]
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
# ## Fragments
#
# A fragment is a Markdown file with a table, or with figures and their captions. Sections of the report include them.

# %%
#| export
def data_fragment(runs: pd.DataFrame, folder: Path) -> str:
    parts = []
    for dataset, size in sorted({(r.dataset, r.job.run.config.size) for r in runs.itertuples()}, key=str):
        slug = _slug(f"real-{escape(dataset)}{f'-{size}' if size else ''}")
        try:
            train, test = (load_dataset(dataset, split, size).images for split in ("train", "test"))
        except (RuntimeError, OSError, ValueError) as problem:
            parts.append(f"{verbatim(dataset)} could not be loaded: {verbatim(str(problem))}\n")
            continue
        grid_figure(test, folder / slug)
        c, h, w = train.shape[1:]
        caption = f"Real images: the first 64 of the {len(test):,} test images of {verbatim(dataset)}. Training has {len(train):,}. Each has {w}×{h} pixels and {c} channel{'s' * (c > 1)}."
        parts.append(figure(folder, slug, caption, slug, "36%"))
    return "\n".join(parts)


# %% [markdown]
# Samples of all models are shown alike.

# %%
#| export
def samples_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "For each run a panel: samples at each epoch count, from the same latents."
    parts = []
    for label, group in runs[runs.metrics.notna()].groupby("label", sort=False):
        slug, panels = _slug(f"samples-{group.model.iloc[0]}-{label}"), []
        shown = np.linspace(0, len(group) - 1, min(len(group), 9)).round().astype(int)  # nine panels show a course as well as thirty
        for r in group.iloc[shown].itertuples():
            name = f"{slug}-{r.epochs}"
            grid_figure(r.job.run.samples(r.epochs), folder / name, 7)
            panels.append(f"![after {r.epochs} epoch{'s' * (r.epochs > 1)}]({folder.name}/{name})\n")
        config = group.job.iloc[0].run.config
        with contextlib.suppress(RuntimeError, OSError, ValueError):  # the section on data says what is wrong with the images
            grid_figure(load_dataset(config.dataset, "test", config.size).images, folder / f"{slug}-real", 7)
            panels.append(f"![real]({folder.name}/{slug}-real)\n")
        caption = f"{label}: samples from the same 49 latents after each epoch count, and real images."
        parts.append("\n".join([f"::: {{#fig-{slug} layout-ncol={min(5, len(panels))}}}", *panels, caption, ":::\n"]))
    return "\n".join(parts)


# %% [markdown]
# Are they copies? One can look.

# %%
#| export
def _nearest_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "For the last epoch count of each run: samples and their nearest training images."
    parts = []
    for r in runs[runs.metrics.notna()].groupby("label", sort=False).tail(1).itertuples():
        if dig(r.metrics, "scores", "memorisation", "value") is not None:
            slug = _slug(f"nearest-{r.model}-{r.label}")
            train = r.job.run.config.training_set().images
            save_figure(plot_nearest(r.job.run.samples(r.epochs)[:16], r.dataset, train=train).figure, folder / slug)
            caption = f"{r.label} after {r.epochs} epoch{'s' * (r.epochs > 1)}: samples (first row), and below each the two nearest training images in LeNet's features."
            parts.append(figure(folder, slug, caption, slug, "80%"))
            parts.append(_copies_figure(r, folder))
    return "\n".join(parts) or NONE


def _copies_figure(r, folder: Path) -> str:
    "Distances to the nearest training image of an evaluation's samples and of test images; nothing if they are not known."
    copies, slug = dig(r.metrics, "scores", "copies") or {}, _slug(f"copies-{r.model}-{r.label}")
    if "histogram" not in copies:
        return ""
    save_figure(plot_copies(copies).figure, folder / slug)
    caption = f"{r.label} after {r.epochs} epoch{'s' * (r.epochs > 1)}: distances to the nearest training image in LeNet's features. Left of the dashed line are 1 % of the test images, and a share of {uncertain(copies['value'], copies['sd'])} of the samples."
    return figure(folder, slug, caption, slug, "60%")


# %%
#| export
def gan_losses_fragment(runs: pd.DataFrame, folder: Path) -> str:
    parts = []
    for label, group in runs[runs.metrics.notna()].groupby("label", sort=False):
        slug = _slug(f"losses-gan-{label}")
        history = pd.read_csv(group.job.iloc[0].run.folder / "history.csv").to_dict("records")
        gan_loss_figure(history, folder / slug)
        caption = f"{label}: losses (left) and mean verdicts of the discriminator (right). Faint: single batches; solid: running mean."
        parts.append(figure(folder, slug, caption, slug))
    return "\n".join(parts)


# %% [markdown]
# Of GANs one also wants to know whether they collapse. In the plane ([01b_mode_collapse](01b_mode_collapse.ipynb)):

# %%
#| export
def ring_sentences(table: pd.DataFrame) -> str:
    "Which kinds of `compare_cures` found all modes, which collapsed, and which never settled (of their points fewer than half are good)."
    settled = table.good >= 0.5
    whole = pd.Series([sum(m == r.of for m in r.modes) > len(r.modes) / 2 for r in table.itertuples()], table.index)
    groups = [
        ("Most seeds miss some modes, though at least half of the points are near one, which is mode collapse", settled & ~whole),
        ("Most seeds find all modes", whole),
        ("Most seeds miss some modes, and less than half of the points are near any, so that one cannot speak of collapse", ~settled & ~whole),
    ]
    return " ".join(f"{what}: {'; '.join(table.kind[which])}." for what, which in groups if which.any())


def ring_fragment(folder: Path) -> str:
    "Mode collapse in the plane: modes found by each loss, and points on the way."
    if (kept := load_ring()) is None:
        return NONE
    table, strips = kept
    save_figure(plot_strips(strips, ring()), folder / "ring")
    rows = [[r.kind, ", ".join(map(str, r.modes)), r["all found"], plus_minus(r.good, r.sd)] for _, r in table.iterrows()]
    caption = f"Modes found, of {table.of[0]}, by GANs on a ring of narrow Gaussians, from {len(table.modes[0])} seeds; share of samples within three standard deviations of a mode, mean and spread over seeds."
    strips_figure = figure(folder, "ring", "Density of the generator's points in the course of training, first seed. Crosses: the data's modes.", "ring", "70%")
    return ring_sentences(table) + "\n\n" + strips_figure + "\n" + markdown_table(rows, ["loss", "modes found", "all found", "good samples"], caption, "ring", "llrr")


# %%
one, few, all_, none = [2, 1, 2], [8, 7, 6], [8, 8, 7], [0, 1, 8]
made_up = pd.DataFrame({"kind": [*"abcde"], "modes": [one, few, all_, none, all_], "of": 8, "good": [0.9, 0.6, 0.7, 0.2, 0.45]})
said = ring_sentences(made_up)
assert "mode collapse: a; b." in said and "find all modes: c; e." in said and "cannot speak of collapse: d." in said
assert "collapse" not in ring_sentences(made_up[2:3])


# %% [markdown]
# In images, where classes are counted:

# %%
#| export
def collapse_fragment(runs: pd.DataFrame, folder: Path, name: str = "histogram") -> str:
    "Histograms of classes of each run at its last epoch count, by data set."
    parts, last = [], runs[runs.metrics.notna()].groupby("label", sort=False).tail(1)
    for (dataset, size), group in last.groupby(["dataset", last.job.map(lambda job: job.run.config.size or 0)], sort=False):
        found = {plot_label(r.label): score for r in group.itertuples() if "expected" in (score := dig(r.metrics, "scores", "class_kl") or {})}
        for i in range(0, len(found), 4):
            some, slug = dict(list(found.items())[i : i + 4]), _slug(f"{name}-{escape(dataset)}{f'-{size}' if size else ''}-{i}")
            classes = [plot_label(escape(c)) for c in load_dataset(dataset, "test", size or None).classes]
            save_figure(plot_classes(some, classes), folder / slug)
            seen = ", ".join(f"{label} {classes_seen(score)} of {len(score['expected'])}" for label, score in some.items())
            caption = f"Classes of samples (bars) and of test images (steps) of {verbatim(dataset)}, as the classifier sees them. Classes with at least a tenth of their share: {seen}."
            parts.append(figure(folder, slug, caption, slug, f"{25 * len(some)}%"))
    return "\n".join(parts) or NONE


# %% [markdown]
# Does the discriminator know its images by heart ([01c_few_images](01c_few_images.ipynb))?

# %%
#| export
def _gap_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "How much better discriminators know training images than others."
    done = runs[runs.metrics.notna()].groupby("label", sort=False).head(1)
    histories = {plot_label(r.label): pd.read_csv(r.job.run.folder / "history.csv") for r in done.itertuples()}
    histories = {label: history for label, history in histories.items() if "d_held_out" in history}
    if not histories:
        return NONE
    fig, ax = plt.subplots(figsize=(5.5, 2.6), layout="constrained")
    plot_gap(histories, ax)
    ax.set_xscale("log")
    legend_above(ax)
    save_figure(fig, folder / "gap")
    return figure(folder, "gap", "Mean verdict of the discriminator on training images minus that on test images, running mean. Above zero, it tells its training images from others. The verdict is a probability, or a number without bounds (hinge and Wasserstein losses); only runs of one kind can be compared.", "gap", "80%")


# %% [markdown]
# And does it help to augment? Where a profile has runs on few images that differ in nothing but their augmentation, their distances are drawn against updates, and compared.

# %%
#| export
def _few_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "Distances of GANs on a part of the images, with and without augmentation."
    parts, groups = [], {}
    for kind, evaluations in comparable(runs).items():
        for e in evaluations:
            config = e.rows[0].job.run.config
            if config.subset is not None:
                others = config.model_dump(mode="json", exclude={"name", "seed", "augment", "augment_fakes"})
                groups.setdefault((kind, json.dumps(others)), {}).setdefault((bool(config.augment), e.rows[0].setting), []).append(e)
    for (kind, _), settings in groups.items():
        plain, *augmented = sorted(settings)
        if not plain[0] and augmented and augmented[0][0]:
            slug = f"few{f'-{len(parts)}' * bool(parts)}"
            parts.append(_few_figure({name: found for (_, name), found in settings.items()}, kind, folder, slug))
            parts += [_few_sentence(settings[plain], settings[other]) for other in augmented]
    return "\n".join(parts) or NONE


def _few_figure(settings: dict[str, list[Evaluation]], kind: tuple, folder: Path, slug: str) -> str:
    curves = {}
    for name, evaluations in settings.items():
        rows = pd.DataFrame([(r.seed, r.metrics["updates"], r.metrics["scores"]["fd_lenet"]["value"]) for e in evaluations for r in e.rows])
        curves[plot_label(name)] = [(run[1].tolist(), run[2].tolist()) for _, run in rows.groupby(0)]
    fig, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
    plot_distance_bands(curves, ax)
    ax.set(xlabel="updates", ylabel="fd_lenet to the test set")
    save_figure(fig, folder / slug)
    seeds = listed(sorted({str(len(runs)) for runs in curves.values()}))
    caption = f"`fd_lenet` of $N$ = {kind[-1]:,} samples against updates, without and with augmentation: mean over seeds ({seeds} of each) and, where there are several, a band of one standard deviation to either side."
    return figure(folder, slug, caption, slug, "65%")


# %% [markdown]
# Its sentence goes through the epoch counts that both have.

# %%
#| export
def _few_sentence(plain: list[Evaluation], augmented: list[Evaluation]) -> str:
    "Whether augmentation brings images nearer to the data."
    verdicts: dict[str, list[str]] = {"nearer to the test images": [], "farther from them": [], "not to be told apart by two standard deviations": []}
    before = {e.epochs: e for e in plain}
    for e in (e for e in augmented if e.epochs in before):
        first, others = compare({"plain": before[e.epochs].distance, "augmented": e.distance})
        verdict = list(verdicts)[2 if not others else first == ["plain"]]
        verdicts[verdict].append(f"{e.after} ({uncertain(*e.distance[:2])}, against {uncertain(*before[e.epochs].distance[:2])})")
    said = "; ".join(f"{verdict} after {listed(counts)}" for verdict, counts in verdicts.items() if counts)
    names = [f"*{es[0].name}*" + f" (means of {len(es[0].rows)} seeds)" * (len(es[0].rows) > 1) for es in (augmented, plain)]
    return f"{names[0]}, compared with {names[1]}, is {said}.\n" if said else ""


# %%
without, augmented = ([evaluation(*values, setting=name)] for name, values in (("few", (30.0, 32.0, 34.0)), ("more", (20.0, 22.0, 24.0))))
assert _few_sentence(without, augmented) == "*more* (means of 3 seeds), compared with *few* (means of 3 seeds), is nearer to the test images after 5 epochs (22(1), against 32(1)).\n"
assert "compared with *more* (means of 3 seeds), is farther from them after 5 epochs" in _few_sentence(augmented, without)
assert "not to be told apart by two standard deviations after 5 epochs" in _few_sentence(without, [evaluation(10.0, 22.0, 46.0, setting="more")])


# %% [markdown]
# Of VAEs and diffusion models there is more to see. What figures are drawn from lies in `pictures.npz` and `samplers.json` beside the samples, and the notebook that trains has the functions that draw them. VAEs first:

# %%
#| export
def vae_losses_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "The two terms of each VAE's loss."
    parts = []
    for label, group in runs[runs.metrics.notna()].groupby("label", sort=False):
        slug = _slug(f"losses-vae-{label}")
        history = pd.read_csv(group.job.iloc[0].run.folder / "history.csv").to_dict("records")
        fig, axes = plt.subplots(1, 2, figsize=(7.2, 2.2), layout="constrained")
        plot_history(history, {"reconstruction": "reconstruction"}, "per image", axes[0])
        plot_history(history, {"kl": "KL"}, "nats per image", axes[1])
        save_figure(fig, folder / slug)
        parts.append(figure(folder, slug, f"{label}: the two terms of the loss, reconstruction (left) and KL (right). Faint: single batches; solid: running mean.", slug))
    return "\n".join(parts) or NONE


# %% [markdown]
# Some of these figures need what only some VAEs have, such as a latent space of two numbers.

# %%
#| export
def vae_pictures_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "For the last epoch count of each run: reconstructions, samples by source, codes and their use, the plane of two numbers."
    parts = []
    for label, group in runs[runs.metrics.notna()].groupby("label", sort=False):
        r = list(group.itertuples())[-1]
        pictures, slug = r.job.run.pictures(r.epochs), _slug(label)
        after = f"{label} after {r.epochs} epoch{'s' * (r.epochs > 1)}"

        def codes(r=r, pictures=pictures):
            fig, axes = plt.subplots(1, 2, figsize=(7.2, 2.6), layout="constrained")
            plot_units(r.metrics["likelihood"], axes[0])
            plot_codes(pictures, axes[1])
            return fig

        draw = {
            "reconstructions": (lambda p=pictures: plot_reconstructions(p).figure, f"{after}: test images (above) and what comes back (below).", "80%"),
            "sources": (lambda p=pictures: plot_sources(p).figure, f"{after}: samples by the source of their codes.", "80%"),
            "codes": (codes, f"{after}: KL of each latent number (left); codes of test images by class (right).", "80%"),
        }
        if "plane" in pictures:
            draw["plane"] = (lambda p=pictures: plot_plane(p).figure, f"{after}: the whole latent space, evenly spaced in the prior's quantiles.", "60%")
        for kind, (make, caption, width) in draw.items():
            save_figure(make(), folder / f"{kind}-{slug}")
            parts.append(figure(folder, f"{kind}-{slug}", caption, f"{kind}-{slug}", width))
    return "\n".join(parts) or NONE


# %% [markdown]
# Report 002 says that a VAE after 5 epochs looks like a GAN after 50. The next fragment looks at all runs that can tell.

# %%
#| export
def claim_fragment(runs: pd.DataFrame) -> str:
    "Report 002's claim that a VAE after 5 epochs looks like a GAN after 50: those trained on the same images, at epoch counts that differ from these by a factor of two at most."
    rows, lines, marks, images = [], [], device_marks(runs), lambda e: str(e.rows[0].subset)  # a model of a thousand images is not compared with one of all
    fair = [(kind, list(group)) for kind, found in comparable(runs).items() for _, group in groupby(sorted(found, key=images), images)]
    for (dataset, *_, n), evaluations in fair:
        near = {}
        for model, wanted in (("vae", 5), ("gan", 50)):
            off = lambda e, wanted=wanted: abs(math.log2(e.epochs / wanted))
            settings = {e.rows[0].setting: e for e in sorted(evaluations, key=off, reverse=True) if e.model == model and off(e) <= 1}
            near[model] = sorted(settings.values(), key=lambda e: e.distance.value)
            rows += [[escape(dataset), KINDS[model], e.name, e.epochs, number(n, 0), str(e.distance), timed(number(np.mean([r.metrics["train_seconds"] for r in e.rows]), 1), e.rows, marks)]
                     for e in near[model]]  # fmt: skip
        if all(near.values()):
            lines.append(f"On {verbatim(dataset)} ($N$ = {n:,}), {_claim_sentence(near['vae'], near['gan'])}\n")
    if not lines:
        return "No VAE and GAN of this profile that were trained on the same images were looked at after about 5 and about 50 epochs."
    caption = f"Report 002's claim, in `fd_lenet`: VAEs after about 5 epochs and GANs after about 50. Times on {devices(runs)}."
    table = markdown_table(rows, ["data", "model", "run", "epochs", "$N$", "`fd_lenet`", "training (s)"], caption, "claim", "lllrrrr")
    return "\n".join([*lines, table])


def _claim_sentence(vaes: list[Evaluation], gans: list[Evaluation]) -> str:
    "Of the nearest of each; the lists are sorted."
    vae, gan = (f"the {f'best of {len(e)} {kind}s' if len(e) > 1 else kind} ({e[0].name}, {e[0].after}, {e[0].distance})" for kind, e in (("VAE", vaes), ("GAN", gans)))
    first, _ = compare({"vae": vaes[0].distance, "gan": gans[0].distance})
    if len(first) == 2:
        return f"{vae} cannot, by two standard deviations, be told from {gan}."
    return f"{vae} {'is nearer to the data than' if first == ['vae'] else 'is not as near to the data as'} {gan}."


# %% [markdown]
# Its sentence depends on the numbers. Made-up results, and others that turn it round:

# %%
def made_up(vae_fd, gan_fd):
    known = {"n_samples": 500, "train_seconds": 9.0, "losses": {"loss": 210.0}, "sources": {"mixture": {"value": 40.0, "sd": 3.0}}}
    known["likelihood"] = {"elbo": -207.6, "se": 0.8, "gap": 1.8, "kl": 8.43, "bits_per_dim": 8.16, "n": 500}
    results = [("vae", 5, vae_fd), ("vae", 20, 1.0), ("gan", 5, 2.0), ("gan", 50, gan_fd)]
    return pd.DataFrame([
        {"model": model, "dataset": "digits", "subset": None, "setting": model, "label": model, "epochs": e, "metrics": known | {"scores": {"fd_lenet": {"value": fd, "sd": 3.0, "floor": 13.4, "floor_sd": 7.1}}}}
        for model, e, fd in results
    ])  # fmt: skip


assert "On `digits` ($N$ = 500), the VAE (vae, 5 epochs, 30(3)) is nearer to the data than the GAN (gan, 50 epochs, 60(3))." in claim_fragment(made_up(30.0, 60.0))
assert "the VAE (vae, 5 epochs, 30(3)) is not as near to the data as the GAN (gan, 50 epochs, 20(3))." in claim_fragment(made_up(30.0, 20.0))
assert "cannot, by two standard deviations, be told from the GAN (gan, 50 epochs, 34(3))." in claim_fragment(made_up(30.0, 34.0))
more = pd.concat([made_up(30.0, 60.0), made_up(20.0, 60.0)[:1].assign(setting="other", label="other")])
assert "the best of 2 VAEs (other, 5 epochs, 20(3)) is nearer to the data than the GAN (gan" in claim_fragment(more)
assert claim_fragment(made_up(30.0, 24.0)[:3]).startswith("No VAE and GAN"), "no GAN after about 50 epochs"
few = made_up(30.0, 24.0)
few.loc[few.model == "gan", "subset"] = 1000.0
assert claim_fragment(few).startswith("No VAE and GAN"), "a GAN that saw fewer images"
assert "| vae | 5 | digits | test, 500 | 210.0 | −207.6 ± 0.8 | 1.8 | 8.4 | 8.160 | 30(3) |" in elbo_table(made_up(30.0, 24.0)[:1], "e")
assert "| vae | 5 | 500 | 30(3) | 40(3) | — | 13(7) |" in source_table(made_up(30.0, 24.0)[:1], "s")


# %% [markdown]
# ## At a glance, and what to make of it
#
# The first page shows the best evaluation of each model; the discussion compares them. Its sentences are chosen by the numbers. What two standard deviations cannot tell apart is said to be just that, and not to be equal.

# %%
#| export
def best_of_each(evaluations: list[Evaluation]) -> dict[str, tuple[Evaluation, int]]:
    "By model: of its comparable evaluations that with the smallest fd_lenet, and how many there are."
    own = {model: [e for e in evaluations if e.model == model] for model in KINDS}
    return {model: (min(es, key=lambda e: e.distance.value), len(es)) for model, es in own.items() if es}


def largest_groups(runs: pd.DataFrame) -> dict[tuple, list[Evaluation]]:
    "Of each data set, size and extractor, the comparable evaluations with the most common number of samples."
    largest: dict[tuple, tuple] = {}
    groups = comparable(runs)
    for kind, evaluations in groups.items():
        if kind[:-1] not in largest or len(evaluations) > len(groups[largest[kind[:-1]]]):
            largest[kind[:-1]] = kind
    return {kind: groups[kind] for kind in largest.values()}


# %% [markdown]
# The first page has a table and a figure for each data set and size:

# %%
#| export
def glance_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "The best evaluation of each model, by data set and size."
    parts = []
    for i, (kind, evaluations) in enumerate(largest_groups(runs).items()):
        best, name = best_of_each(evaluations), f"glance{f'-{i}' * (i > 0)}"
        rows, grids = [_glance_row(e, n, device_marks(runs)) for e, n in best.values()], {KINDS[model]: e.rows[0].job.run.samples(e.epochs)[:32] for model, (e, _) in best.items()}
        config = evaluations[0].rows[0].job.run.config
        with contextlib.suppress(RuntimeError, OSError, ValueError):  # the section on data says what is wrong with the images
            grids["real"] = load_dataset(config.dataset, "test", config.size).images[:32]
        save_figure(show_grid(torch.cat(list(grids.values())), ncol=16, rows=list(grids)).figure, folder / name)
        parts += [_glance_table(rows, kind, runs, name), figure(folder, name, "Samples of these models, not selected, and real images.", name)]
    return "\n".join(parts) or NONE


def _glance_row(e: Evaluation, chosen_from: int, marks: dict[str, str]) -> list[str]:
    seconds = np.mean([1000 * r.metrics["sample_seconds"] / r.metrics["n_samples"] for r in e.rows])
    return [KINDS[e.model], e.name, e.epochs, chosen_from, *(uncertain(*x[:2]) if x else "—" for x in (e.distance, e.times_floor)),
            *(uncertain(*x[:2]) if (x := e.estimate("scores", metric)) else "—" for metric in ("precision", "recall")),
            timed(number(np.mean([r.metrics["train_seconds"] for r in e.rows]) / 60, 1), e.rows, marks), timed(number(seconds), e.rows, marks)]  # fmt: skip


# %% [markdown]
# Its caption says what was chosen, and what is left out.

# %%
#| export
def _glance_table(rows: list[list[str]], kind: tuple, runs: pd.DataFrame, label: str) -> str:
    dataset, reference, _, n = kind
    caption = f"The evaluation of each model with the smallest `fd_lenet` on {escape(reference or dataset)}, $N$ = {n:,}, on {devices(runs)}. *Of*: from so many evaluations it was chosen, and the smallest of several is smaller than it would be when measured again. "
    caption += "Standard deviations in units of the last digit: over samples, or the standard error over seeds where the run names none; that of the ratio by propagation, with the spread of one draw of real images for the floor."
    done = runs[runs.metrics.notna() & (runs.dataset == dataset)]
    if left_out := [KINDS[model] for model in KINDS if (done.model == model).any() and KINDS[model] not in [row[0] for row in rows]]:
        caption += f" The {' and the '.join(left_out)} drew another number of samples, or has no such distance, and is left out."
    header = ["model", "run", "epochs", "of", "`fd_lenet`", "times floor", "precision", "recall", "training (min)", "1,000 samples (s)"]
    return markdown_table(rows, header, caption, label, "llrrrrrrrr")


# %% [markdown]
# And the discussion:

# %%
#| export
def discussion_fragment(runs: pd.DataFrame) -> str:
    "Sentences that compare the models, for each data set and size; the numbers decide what they say."
    groups, parts = largest_groups(runs), []
    for (dataset, reference, _, n), evaluations in groups.items():
        where = f"On {escape(reference or dataset)}, with $N$ = {n:,}"
        best = best_of_each(evaluations)
        names = [f"the {KINDS[model]} by *{e.name}* after {e.after}{best_of(count)}" for model, (e, count) in best.items()]
        parts.append(f"{where}, each model stands for itself with the evaluation that has the smallest distance: {listed(names)}.")
        parts += [_distance_sentence(a, b) for a, b in pairwise(sorted((e for e, _ in best.values()), key=lambda e: e.distance.value))]
        parts += [_training_sentence(evaluations, e) for e, _ in best.values()]
        parts += _cost_sentences(evaluations, best) + _measure_sentences(best)
        for e, _ in best.values():
            parts += _copies_sentence(e.rows[0])
    return "\n\n".join(parts) + "\n" if parts else NONE


# %% [markdown]
# Of copies it speaks only where far more samples than chance would give are near to a training image, and to a single one. Nothing is said where that is not known.

# %%
#| export
def _copies_sentence(r) -> list[str]:
    "Whether an evaluation's samples are nearer to the training images than test images are, and whether some are copies."
    farther, copies = (dig(r.metrics, "scores", metric) or {} for metric in ("memorisation", "copies"))
    if copies.get("value") is None or farther.get("value") is None:
        return []
    shares = f"a share of {uncertain(copies['value'], copies['sd'])} of its samples is nearer to a training image than 99 % of the test images are; by the ratio of the distances to the two nearest it is {uncertain(copies['single'], copies['single_sd'])}; chance gives 0.01"
    if finds_copies(copies):
        return [f"The {KINDS[r.model]} copies: {shares}."]
    if farther["value"] + 2 * farther["sd"] < 0.5:
        of_half = f"({uncertain(farther['value'], farther['sd'])} instead of a half)"
        return [f"The {KINDS[r.model]} is nearer to its training images than test images are {of_half}: merely typical images, or copies too few to be told ({shares})."]
    return []


# %%
far, near = {"value": 0.49, "sd": 0.02}, {"value": 0.28, "sd": 0.01}
few, many = ({"value": v, "sd": 0.01, "single": v, "single_sd": 0.01} for v in (0.02, 0.06))
said = lambda **scores: "".join(_copies_sentence(argparse.Namespace(model="gan", metrics={"scores": scores})))
assert said(memorisation=near) == said(memorisation=far, copies=few) == said(copies={"value": None, "why": "few test images"}) == ""
assert said(memorisation=far, copies=many).startswith("The GAN copies: a share of 0.06(1) of its samples is nearer")
assert "(0.28(1) instead of a half): merely typical images, or copies too few to be told" in said(memorisation=near, copies=few)
assert "copies" not in said(memorisation=near, copies=many | {"single": 0.02}).partition(":")[0]


# %% [markdown]
# Two of its sentences, of which one compares two models and one the epoch counts of a run:

# %%
#| export
def _distance_sentence(near: Evaluation, far: Evaluation) -> str:
    "Which of two evaluations is nearer to the data."
    names = [f"the {KINDS[e.model]} ({e.distance})" for e in (near, far)]
    first, _ = compare({"near": near.distance, "far": far.distance})
    if len(first) == 2:
        return f"By two standard deviations of their distances, {names[0]} and {names[1]} cannot be told apart."
    factor, single = far.distance.over(near.distance), len(near.rows) == len(far.rows) == 1
    return f"T{names[0][1:]} comes nearer to the test images than {names[1]}: by a factor of {uncertain(factor.value, factor.sd)}{' (one run each)' * single}."


def _training_sentence(evaluations: list[Evaluation], best: Evaluation) -> str:
    "What more epochs did to the run of an evaluation."
    own = sorted((e for e in evaluations if e.rows[0].setting == best.rows[0].setting), key=lambda e: e.epochs)
    first, last, kind = own[0], own[-1], KINDS[best.model]
    if len(own) == 1:
        return f"The {kind} was looked at after {last.after} only."
    cannot_tell = lambda a, b: not compare({"a": a.distance, "b": b.distance})[1]
    course = f"From {first.epochs} to {last.epochs} epochs, the distance of the {kind} goes from {first.distance} to {last.distance}"
    if cannot_tell(first, last):
        course = f"The distances of the {kind} after {first.epochs} and after {last.epochs} epochs, {first.distance} and {last.distance}, cannot be told apart"
    smallest = f"the smallest, at {best.epochs} ({best.distance}), "
    if best is last:
        return f"{course}; {'from its last but one it cannot be told apart' if cannot_tell(own[-2], last) else 'it has not been seen to stop falling'}."
    no_help = f"was not reached again: {'in this run ' * (len(best.rows) == 1)}more training did not help"
    return f"{course}; {smallest}{'cannot be told from the last' if cannot_tell(best, last) else no_help}."


# %% [markdown]
# Of a cost there is one measurement for each look at a run. How much these differ is its deviation; with fewer than two to compare there is none.

# %%
#| export
def _ranking(known: dict[str, Estimate], what: str, largest: bool = False) -> str:
    "Which model has the smallest (or largest) of something."
    shown = lambda models: listed([f"the {KINDS[model]} ({known[model]})" for model in models])
    if any(math.isnan(e.sd) for e in known.values()):
        plain_numbers = [f"the {KINDS[model]} ({number(e.value)})" for model, e in known.items()]
        return f"{what.rstrip(',')}: {listed(plain_numbers)}. Not all of these have a known spread, so they are not compared."
    first, others = compare(known, largest)
    if not others:
        return f"{what.rstrip(',')}: by two standard deviations, {shown(first)} cannot be told apart."
    as_good = f" By two standard deviations, {shown(first[1:])} cannot be told from the first." if first[1:] else ""
    return f"{what} is {'largest' if largest else 'smallest'} for {shown(first[:1])}; then {'comes' if len(others) == 1 else 'come'} {shown(others)}.{as_good}"


def _cost_sentences(evaluations: list[Evaluation], best: dict[str, tuple[Evaluation, int]]) -> list[str]:
    "Training and sampling times, if they were taken on one device."
    if len(best) < 2:
        return []
    if len({dig(r.metrics, "device") for e, _ in best.values() for r in e.rows}) > 1:
        return ["Times were taken on different devices and are not compared."]
    training, drawing = {}, {}
    for model, (e, _) in best.items():
        looks = [[r for other in evaluations for r in other.rows if r.label == row.label] for row in e.rows]
        training[model], drawing[model] = _training_minutes(e, looks), _drawing_seconds(looks)
    return [_ranking(training, "Training up to there, in minutes,"), _ranking(drawing, "The time to draw 1,000 images, in seconds,")]


# %% [markdown]
# Training time is compared for an evaluation, drawing time for a network.

# %%
#| export
def _training_minutes(e: Evaluation, looks: list[list]) -> Estimate:
    "Of each seed's run; its deviation: that of the time of an epoch between looks, relative to its mean."
    relative = []
    for rows in looks:
        course = pd.DataFrame([(0, 0.0), *((r.epochs, r.metrics["train_seconds"]) for r in rows)]).sort_values(0).diff().dropna()
        pace = course[1] / course[0]
        relative.append(pace.std() / pace.mean())
    minutes = [r.metrics["train_seconds"] / 60 for r in e.rows]
    return Estimate.pooled(minutes, [m * share for m, share in zip(minutes, relative, strict=True)])


def _drawing_seconds(looks: list[list]) -> Estimate:
    "For 1,000 images, mean over the looks at each seed's run, and how much a look differs from that."
    seconds = [pd.Series([1000 * r.metrics["sample_seconds"] / r.metrics["n_samples"] for r in rows]) for rows in looks]
    return Estimate.pooled([s.mean() for s in seconds], [s.std() for s in seconds])


def _measure_sentences(best: dict[str, tuple[Evaluation, int]]) -> list[str]:
    "Precision, recall and the histogram of classes."
    parts = []
    for metric, what, largest in [
        ("precision", "The share of images that lie where real ones lie (precision)", True),
        ("recall", "The share of real images that lie where generated ones lie (recall)", True),
        ("class_kl", "The divergence of the classes from those of the test set (KL)", False),
    ]:
        known = {model: found for model, (e, _) in best.items() if (found := e.estimate("scores", metric))}
        if len(known) > 1:
            parts.append(_ranking(known, what, largest))
    return parts


# %% [markdown]
# Made-up sets of results, and others that turn them round:

# %%
def results_of(sd=1.0, **distances):
    rows = []
    for model, by_seed in distances.items():
        for seed, values in enumerate(by_seed):
            for epochs, fd in zip((1, 5, 20), values, strict=True):
                metrics = {"n_samples": 500, "train_seconds": epochs * (60.0 if model == "gan" else 30.0) + seed, "sample_seconds": fd / 100}
                metrics["scores"] = {"fd_lenet": {"value": fd, "sd": sd, "floor": 5.0, "floor_sd": 0.5}, "recall": {"value": 1 / fd, "sd": 0.001, "floor": 0.98}}
                rows.append({"model": model, "dataset": "digits", "setting": f"our-{model}", "label": f"our-{model}, seed {seed}", "epochs": epochs, "metrics": metrics})
    return pd.DataFrame(rows)


one = discussion_fragment(results_of(gan=[(90.0, 50.0, 20.0)], vae=[(80.0, 60.0, 70.0)]))
other = discussion_fragment(results_of(gan=[(90.0, 62.0, 70.0)], vae=[(80.0, 40.0, 12.0)]))
same = discussion_fragment(results_of(gan=[(90.0, 21.5, 21.0)], vae=[(80.5, 81.0, 20.0)]))
print(one, other, same, sep="\n")
assert "the GAN by *our-gan, seed 0* after 20 epochs (the smallest of 3) and the VAE by *our-vae, seed 0* after 5 epochs (the smallest of 3)." in one
assert "The GAN (20(1)) comes nearer to the test images than the VAE (60(1)): by a factor of 3.0(2) (one run each)." in one
assert "The VAE (12(1)) comes nearer to the test images than the GAN (62(1)): by a factor of 5.2(4) (one run each)." in other
assert "the VAE (20(1)) and the GAN (21(1)) cannot be told apart." in same
assert "the distance of the GAN goes from 90(1) to 20(1); it has not been seen to stop falling" in one
assert "at 5 (62(1)), was not reached again: in this run more training did not help" in other and "from its last but one it cannot be told apart" in same
assert "(recall) is largest for the GAN (0.050(1)); then comes the VAE" in one and "(recall) is largest for the VAE (0.083(1)); then comes the GAN" in other
assert "in minutes, is smallest for the VAE (2.50); then comes the GAN (20.00)" in one and "in minutes, is smallest for the GAN (5.00)" in other
nearly = _ranking({"gan": Estimate(1.0, 0.1), "vae": Estimate(1.1, 0.1)}, "Time, in seconds,")
assert nearly == "Time, in seconds: by two standard deviations, the GAN (1.0(1)) and the VAE (1.1(1)) cannot be told apart."
unsure = _ranking({"gan": Estimate(1.0, 0.1), "vae": Estimate(3.0, 0.1), "ddpm": Estimate(9.0, 5.0)}, "Time, in seconds,")
assert unsure.endswith("for the GAN (1.0(1)); then comes the VAE (3.0(1)). By two standard deviations, the diffusion model (9(5)) cannot be told from the first.")

# %%
# Three seeds each. With other seeds the GAN might be better, or worse; the samples alone would promise a difference of five deviations:
gans, vaes = [(90.0, 50.0, fd) for fd in (10.0, 20.0, 30.0)], [(90.0, 50.0, fd) for fd in (17.0, 27.0, 37.0)]
assert "the GAN (20(6), mean of 3 seeds) and the VAE (27(6), mean of 3 seeds) cannot be told apart" in discussion_fragment(results_of(gan=gans, vae=vaes))
rising = discussion_fragment(results_of(gan=[(90.0, 50.0, fd) for fd in (70.0, 72.0, 74.0)], vae=vaes))
assert "was not reached again: more training did not help" in rising and rising.count("one run") == 0
assert "The GAN (20(1)) comes nearer to the test images than the VAE (27(1))" in discussion_fragment(results_of(gan=gans[1:2], vae=vaes[1:2]))
assert "cannot be told apart" not in discussion_fragment(results_of(gan=gans, vae=[(90.0, 70.0, fd) for fd in (60.0, 70.0, 80.0)])).split("\n\n")[1]

# %%
# What is not comparable is not compared: another data set, size, extractor or number of samples.
for path, value in [(("dataset",), "mnist"), (("metrics", "scores", "fd_lenet", "reference"), "digits, 8x8"), (("metrics", "scores", "fd_lenet", "hash"), "b"), (("metrics", "n_samples"), 60)]:
    apart = results_of(gan=[(90.0, 50.0, 20.0)], vae=[(80.0, 60.0, 70.0)]).to_dict("records")
    for row in (r for r in apart if r["model"] == "vae"):
        functools.reduce(dict.get, path[:-1], row)[path[-1]] = value
    apart = pd.DataFrame(apart)
    assert "nearer" not in discussion_fragment(apart) and "GAN" in discussion_fragment(apart)
    assert ("VAE" in discussion_fragment(apart)) == (value != 60), "the most common number of samples of each data set, size and extractor"


# %% [markdown]
# The section on latent spaces shows what of [06_interpolation](06_interpolation.ipynb) a page has room for. Walking needs weights and time, so it is part of the sweep: of one run of each model, `keep_paths` leaves images and numbers beside the run's other results, and they are only read here.

# %%
#| export
def walked(jobs: Iterable[Job]) -> list[Job]:
    "The jobs whose latent spaces are shown: on the data of the first job the first run of each model, at its last epoch count."
    jobs, first = [job for job in jobs if job.run.config.model in MODELS], {}
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


# %% [markdown]
# Walks and grids for the eye:

# %%
#| export
def _interpolation_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "Paths through the latent spaces, a grid between four corners, and how smooth paths are."
    kept = {job.run.config.model: load_paths(job.folder) for job in walked(job for job in runs.job if load_paths(job.folder))}
    parts = [f"There are no paths of {r.label}: {verbatim(_last_error(log))}\n" for r in runs[runs.metrics.notna()].itertuples()
             if r.model not in kept and (log := r.job.folder / "interpolation.log").exists()]  # fmt: skip
    if not kept:
        return "\n".join(parts) or NONE
    walks = _rows([{name: images[name] for name in found["spaces"]} for found, images in kept.values()], [found for found, _ in kept.values()])
    save_figure(plot_walks(walks).figure, folder / "walks")
    about = "; ".join(f"{name}: {verbatim(found['run'])}" for name, (found, _) in kept.items())
    caption = f"Two paths (arcs) through each latent space: between the same test images where a model can encode them, else between draws of its own. Cross-fade: these test images, pixel by pixel. {about}."
    parts.append(figure(folder, "walks", caption, "walks", "85%"))
    fig, axes = plt.subplots(1, len(kept), figsize=(2.5 * len(kept), 2.7), layout="constrained", squeeze=False)
    for ax, (name, (_, images)) in zip(axes[0], kept.items(), strict=True):
        show_grid(images["corners"], ncol=7, ax=ax, title=name)
    save_figure(fig, folder / "corners")
    parts.append(figure(folder, "corners", "Between four draws in the corners: left and right column are arcs, and each row is an arc between these.", "corners", f"{33 * len(kept)}%"))
    return "\n".join([*parts, smoothness_table([found for found, _ in kept.values()])])


# %% [markdown]
# The rows of figure and table: models that walk between test images, the cross-fade between the same, models that walk between draws.

# %%
#| export
def _rows(spaces: list[dict], kept: list[dict]) -> dict:
    named = {name + " (draws)" * (found["ends"] == "draws"): value for own, found in zip(spaces, kept, strict=True) for name, value in own.items()}
    return {name: named[name] for name in sorted(named, key=lambda name: (name.endswith("(draws)"), name == "cross-fade"))}


# %% [markdown]
# And numbers for the same paths:

# %%
#| export
def smoothness_table(kept: list[dict]) -> str:
    "What `genlab.interpolation.keep_paths` found in each space."
    columns = {"ppl": "path length", "detour": "detour", "largest_step": "largest step", "class_changes": "class changes", "to_data": "to data", "ends_to_data": "ends to data",
               "contrast": "contrast", "contrast_line": "on a line"}  # fmt: skip
    shown = lambda measures: [uncertain(dig(measures, key, "value"), dig(measures, key, "se")) for key in columns]
    rows = [[name, *shown(measures)] for name, measures in _rows([found["spaces"] for found in kept], kept).items()]
    extractors = {f"{escape(found['extractor'])}, weights `{found['hash']}`" for found in kept if "hash" in found}
    caption = (
        f"Paths in the features of {'; '.join(sorted(extractors)) or '—'}: means over {kept[0]['pairs']} paths of 20 steps with standard errors in units of the last digit, between the same test images in all rows but those of draws. "
        "Path length: mean squared speed. Detour: length over distance of the ends. Largest step: over the mean step. Class changes: along a path, as the classifier sees it. "
        "To data: distance of the middle half to the nearest training images, over that of test images; the same of the ends. Contrast: standard deviation of the pixels half-way over that at the ends, "
        "on the arc (for the cross-fade the line) and on the straight line."
    )
    return markdown_table(rows, ["space", *columns.values()], caption, "smoothness", "l" + 8 * "r")


# %% [markdown]
# Diffusion models: the losses of all runs side by side.

# %%
#| export
def ddpm_losses_fragment(runs: pd.DataFrame, folder: Path, name: str = "losses-ddpm") -> str:
    "Loss curves, one figure for all runs."
    done = [group.job.iloc[0].run for _, group in runs[runs.metrics.notna()].groupby("label", sort=False)]
    if not done:
        return NONE
    fig, axes = plt.subplots(1, len(done), figsize=(min(7.2, 3.6 * len(done)), 2.4), layout="constrained", squeeze=False)
    for ax, run in zip(axes[0], done, strict=True):
        plot_history(pd.read_csv(run.folder / "history.csv").to_dict("records"), {"loss": plot_label(run.config.name)}, f"MSE of {run.config.target}", ax)
        ax.set_yscale("log")
    save_figure(fig, folder / name)
    return figure(folder, name, "Losses of the diffusion models. Faint: single batches; solid: running mean.", name)


# %% [markdown]
# A figure for each kind of picture that a run has kept:

# %%
#| export
def ddpm_pictures_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "For the last epoch count of each run: how images emerge, what noise is predicted, errors by level, guidance."
    parts = []
    for label, group in runs[runs.metrics.notna()].groupby("label", sort=False):
        r = list(group.itertuples())[-1]
        pictures, T, slug = r.job.run.pictures(r.epochs), r.job.run.config.T, _slug(label)
        after = f"{label} after {r.epochs} epoch{'s' * (r.epochs > 1)}"
        draw = {
            "denoising": (lambda: plot_denoising(pictures).figure, f"{after}: how images emerge. A column a sample, a row a stage of ancestral sampling, pure noise at the top.", "45%"),
            "noise": (lambda: plot_noise(pictures, T), f"{after}: a test image at several noise levels, the noise in it, and the noise that is predicted before and after training.", "70%"),
            "levels": (lambda: plot_level_losses(pictures, T).figure, f"{after}: error of the prediction on {min(256, r.metrics['n_samples'])} test images, by noise level.", "60%"),
        }
        if "guidance" in pictures:
            draw["guidance"] = (lambda: plot_guidance(pictures).figure, f"{after}: a column a class and a latent, a row a guidance scale $s$.", "70%")
        for kind, (make, caption, width) in draw.items():
            save_figure(make(), folder / f"{kind}-{slug}")
            parts.append(figure(folder, f"{kind}-{slug}", caption, f"{kind}-{slug}", width))
    return "\n".join(parts) or NONE


# %% [markdown]
# A comparison of samplers comes with a sentence.

# %%
#| export
def _samplers_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "For each network whose samplers were compared: distance against evaluations, and what that says in words."
    parts = []
    for r in runs.itertuples():
        if compared := [row for row in scored_samplers(r.job.run) if dig(row, "scores", "fd_lenet", "value") is not None]:
            slug = f"samplers-{_slug(r.label)}-{r.epochs}"
            save_figure(plot_samplers(compared).figure, folder / slug)
            after = f"{r.label} after {r.epochs} epoch{'s' * (r.epochs > 1)}"
            caption = f"{after}: `fd_lenet` against evaluations of the network for an image. Bars: standard deviation over samples; dotted: the longest ancestral run; dashed: the floor."
            parts += [figure(folder, slug, caption, slug, "65%"), _sampler_sentence(after, compared)]
    return "\n".join(parts) or NONE


# %% [markdown]
# The sentence names the best short sampler and what it costs in distance.

# %%
#| export
def _sampler_sentence(after: str, compared: list[dict]) -> str:
    longest = max((row for row in compared if row["sampler"] == "ancestral"), key=lambda row: row["steps"], default=None)
    short = [row for row in compared if row["evaluations"] <= 20 and longest and row["n"] == longest["n"] and row is not longest]
    if not short:
        return ""
    known = {i: Estimate(fd["value"], fd.get("sd") or math.nan) for i, row in enumerate([longest, *short]) for fd in [row["scores"]["fd_lenet"]]}
    shown = lambda i: f"{short[i - 1]['sampler']} ({short[i - 1]['evaluations']} evaluations)"
    (best, *ties), _ = compare({i: known[i] for i in known if i})
    change, row = known[best].over(known[0]), short[best - 1]
    percent = f"{number(100 * abs(change.value - 1), 0)} ± {number(100 * change.sd, 0)} percent {'more' if change.value > 1 else 'less'}"
    verdict = percent if compare({0: known[0], best: known[best]})[1] else "which cannot be told apart by two standard deviations"
    return (
        f"For {after}, the {f'best of {len(short)} samplers' if short[1:] else 'only sampler'} with at most 20 evaluations is {shown(best)}{f', which cannot be told from {listed([shown(i) for i in ties])}' if ties else ''}: "
        f"{known[best]}, against {known[0]} of ancestral sampling with {longest['steps']}, {verdict}, in {number(100 * row['seconds'] / longest['seconds'], 0)} percent of the time, each measured once.\n"
    )


# %%
def compared_samplers(short, sd=1.0):
    fd = lambda value: {"fd_lenet": {"value": value, "sd": sd}}
    rows = [{"sampler": "ancestral", "steps": 250, "evaluations": 250, "seconds": 50.0, "n": 500, "scores": fd(20.0)}]
    return rows + [{"sampler": name, "steps": 10, "evaluations": 10, "seconds": 2.0, "n": 500, "scores": fd(value)} for name, value in short.items()]


sentence = _sampler_sentence("a", compared_samplers({"ddim": 40.0, "heun": 30.0}))
assert "the best of 2 samplers with at most 20 evaluations is heun (10 evaluations): 30(1), against 20(1) of ancestral sampling with 250, 50 ± 9 percent more, in 4 percent of the time" in sentence
assert "the only sampler with at most 20 evaluations is ddim" in _sampler_sentence("a", compared_samplers({"ddim": 10.0}))
assert "50 ± 6 percent less" in _sampler_sentence("a", compared_samplers({"ddim": 10.0}))
assert "which cannot be told apart by two standard deviations" in _sampler_sentence("a", compared_samplers({"ddim": 22.0}))
assert "is heun (10 evaluations), which cannot be told from ddim (10 evaluations): 30(1)" in _sampler_sentence("a", compared_samplers({"ddim": 31.0, "heun": 30.0}))
assert _sampler_sentence("a", [row | {"n": row["steps"]} for row in compared_samplers({"ddim": 10.0})]) == "", "another number of samples"


# %% [markdown]
# What is missing is said once, with the reason.

# %%
#| export
def missing_fragment(runs: pd.DataFrame) -> str:
    missing = runs[runs.metrics.isna()]
    lines = []
    for (label, why), group in missing.groupby(["label", "why"], sort=False):
        counts = ", ".join(map(str, group.epochs))
        lines.append(f"- **{label}, {counts} epoch{'s' * (counts != '1')}** is missing: {verbatim(why)}")
    return "\n".join(lines) or "All runs of this profile are there."


# %% [markdown]
# The report's own sentences use a few values, too. They go to `_variables.yml`.

# %%
#| export
def _variables(profile: str, runs: pd.DataFrame) -> dict:
    "What the report's sentences use, as text. A number that is not there is a dash."
    done = runs[runs.metrics.notna()]
    versions = sorted({", ".join(f"{k} {v}" for k, v in (dig(m, "versions") or {}).items()) for m in done.metrics})
    return {
        "profile": escape(profile),
        "runs": verbatim(os.path.relpath(runs_root(), project_root()) if runs_root().is_relative_to(project_root()) else str(runs_root())),
        "date": datetime.date.today().isoformat(),
        "commit": git_commit() or "no git commit",
        "versions": "; ".join(versions) or "—",
        "devices": devices(runs),
        "datasets": " and ".join(map(escape, sorted(set(runs.dataset)))),
        "jobs": {"planned": str(len(runs)), "done": str(len(done))},
        "best": " ".join(map(_best_sentences, largest_groups(runs).values())) or "No evaluation has a distance yet.",
    }


def _best_sentences(evaluations: list[Evaluation]) -> str:
    "Of comparable evaluations that with the smallest distance, or those; for the abstract."
    named = {f"*{e.name}* after {e.after}": e for e in evaluations}
    (first, *ties), _ = compare({name: e.distance for name, e in named.items()})
    r, best = named[first].rows[0], named[first]
    text = f"On {escape(dig(r.metrics, 'scores', 'fd_lenet', 'reference') or r.dataset)} the smallest Frechet distance in classifier features ($N$ = {r.metrics['n_samples']:,})"
    text += f" is that of the {KINDS[best.model]} {first}{best_of(len(named))}: {best.distance}."
    if ties:
        text += f" By two standard deviations, {listed([f'{name} ({named[name].distance})' for name in ties])} cannot be told from it."
    if floor := best.estimate("scores", "fd_lenet", value="floor", sd="floor_sd"):
        text += f" As many real images have {uncertain(*floor[:2])}, the floor; the model is at {uncertain(*best.times_floor[:2])} times the floor (of a squared distance)."
    return text


# %% [markdown]
# All together: every fragment that `report/report.qmd` includes has a line here.

# %%
#| export
def general_fragments(runs: pd.DataFrame, folder: Path) -> dict[str, str]:
    "The fragments of report/report.qmd, by name; figures are saved in `folder`."
    gan_columns = {"loss_d": "Loss_D", "loss_g": "Loss_G", "d_x": "$D(x)$", "d_held_out": "held out", "d_g_z1": "$D(G(z))$ before", "d_g_z2": "after"}
    gan, ddpm, vae = (runs[runs.model == model] for model in ("gan", "ddpm", "vae"))
    return {
        "glance": glance_fragment(runs, folder),
        "discussion": discussion_fragment(runs),
        "data": data_fragment(runs, folder),
        "gan-losses": gan_losses_fragment(gan, folder),
        "gan-samples": samples_fragment(gan, folder),
        "gan-table": loss_table(gan, gan_columns, "gan-losses"),
        "ring": ring_fragment(folder),
        "collapse": collapse_fragment(gan, folder),
        "few": _few_fragment(gan, folder),
        "gap": _gap_fragment(gan, folder),
        "ddpm-losses": ddpm_losses_fragment(ddpm, folder),
        "ddpm-table": loss_table(ddpm, {"loss": "mean squared error"}, "ddpm-losses"),
        "ddpm-samples": samples_fragment(ddpm, folder),
        "ddpm-pictures": ddpm_pictures_fragment(ddpm, folder),
        "samplers": _samplers_fragment(ddpm, folder),
        "sampler-table": sampler_table(ddpm, "samplers"),
        "likelihoods": likelihood_table(ddpm, "likelihoods"),
        "vae-losses": vae_losses_fragment(vae, folder),
        "vae-table": loss_table(vae, {"loss": "loss", "reconstruction": "reconstruction", "kl": "KL (nats)"}, "vae-losses"),
        "vae-samples": samples_fragment(vae, folder),
        "vae-pictures": vae_pictures_fragment(vae, folder),
        "elbo": elbo_table(vae, "elbo"),
        "sources": source_table(vae, "sources"),
        "claim": claim_fragment(runs),
        "interpolation": _interpolation_fragment(runs, folder),
        "distances-figure": distance_figure(runs, folder, "distances", "`fd_lenet` of samples against the number of epochs; dashed, the floor of real training images. Both axes are logarithmic."),
        "distances": distance_table(runs, "distances"),
        "bias": bias_figure(runs, folder),
        "precision-recall": precision_recall_figure(runs, folder),
        "measures": measure_table(runs, MEASURES, MEASURES_CAPTION, "measures"),
        "diversity": measure_table(runs, DIVERSITY, "Precision and recall, density and coverage.", "diversity"),
        "classes": class_table(runs),
        "nearest": _nearest_fragment(runs, folder),
        "times": time_table(runs, "times"),
        "provenance": provenance_table(runs, "provenance"),
        "missing": missing_fragment(runs),
    }


# %% [markdown]
# They are written anew each time, after the old ones are removed.

# %%
#| export
def write_fragments(profile: str, runs: pd.DataFrame, folder: Path, make: Callable[[pd.DataFrame, Path], dict[str, str]] = general_fragments) -> None:
    "Write all tables and figures into `folder`, and _variables.yml beside it."
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("*.md"), *folder.glob("*.png"), *folder.glob("*.pdf")]:
        old.unlink()
    with sns.axes_style("ticks"), sns.plotting_context("paper"):
        fragments = make(runs, folder)
    for name, text in fragments.items():
        (folder / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    (folder.parent / "_variables.yml").write_text(yaml.safe_dump(_variables(profile, runs), allow_unicode=True), encoding="utf-8")


# %%
jobs[1].run.history = [{"step": i, "epoch": 1 + i // 11, "i": i % 11, **jobs[1].run.training["losses"]} for i in range(55)]
pd.DataFrame(jobs[1].run.history).to_csv(jobs[1].run.folder / "history.csv")
write_fragments("mine", runs, Path(home.name, "report", "_generated"))
generated = Path(home.name, "report", "_generated")
assert "after 5 epochs" in (generated / "gan-samples.md").read_text()
assert "**dcgan, 1 epoch** is missing: `RuntimeError: dataset: nothing there`" in (generated / "missing.md").read_text()
variables = yaml.safe_load((generated.parent / "_variables.yml").read_text())
assert variables["best"].startswith("On digits the smallest Frechet distance in classifier features ($N$ = 64) is that of the GAN *dcgan* after 5 epochs: 31.4(8).")
assert home.name in variables.pop("runs")
assert variables["best"].endswith("As many real images have 14(2), the floor; the model is at 2.2(2) times the floor (of a squared distance).")
variables

# %% [markdown]
# Runs at two sizes, one of them also with a part of the images: nothing is compared across sizes, and each has a sheet of its own.

# %%
sizes = try_profile("{notebook: 01_gan, epochs: [1]}\n  - {notebook: 01_gan, subset: 300, epochs: [1]}\n  - {notebook: 01_gan, name: small, size: 8, epochs: [1]}")
for job, side in zip(sizes, (16, 16, 8), strict=True):
    job.run.training = {**jobs[1].run.training, "updates": 11}
    values = {"reference": f"digits, {side}x{side}", "hash": f"{side}"}
    job.run.finish(1, load_dataset("digits", "test", side).images[:40], scores={"fd_lenet": score | values | {"value": 30.0 + side}}, sample_seconds=0.5)
    (job.run.folder / "history.csv").write_text("step,epoch,i,loss_d,loss_g,d_x,d_g_z1,d_g_z2\n0,1,0,1,1,1,1,1\n")
sizes = collect_runs(sizes)
fragments = general_fragments(sizes, generated)
assert fragments["glance"].count("{#tbl-glance") == fragments["glance"].count("{#fig-glance") == 2 and "_generated/glance-1)" in fragments["glance"]
assert list(comparable(sizes)) == [("digits", "digits, 16x16", "16", 40), ("digits", "digits, 8x8", "8", 40)]
assert all(f"{label}: samples from" in fragments["gan-samples"] and f"{label}: losses" in fragments["gan-losses"] for label in ("dcgan, subset none", "dcgan, subset 300", "small"))
print(fragments["discussion"])
without = sizes.assign(metrics=[metrics | {"scores": {}} for metrics in sizes.metrics])  # as with `metrics: []`
assert general_fragments(without, generated)["distances-figure"] == "" and _variables("mine", without)["best"] == "No evaluation has a distance yet."


# %% [markdown]
# ## Typesetting
#
# The source is Quarto Markdown without executable code. Where Quarto is installed, `quarto render report/report.qmd` makes a PDF or a web page of it. It is not needed, though: the few things that Quarto adds to pandoc's Markdown are resolved here (includes and variables) and in `report/filter.lua` (numbers and references of figures, tables and equations). Pandoc is inside a Python package. It writes LaTeX, which `latexmk` typesets; where there is no LaTeX it writes Typst, whose compiler is inside another Python package.

# %%
#| export
def preprocess(text: str, folder: Path, variables: dict) -> str:
    "`text` with every `{{< include file >}}` line and `{{< var a.b >}}` resolved; ValueError names what is missing."

    def include(match: re.Match) -> str:
        path = folder / match[1]
        if not path.is_file():
            raise ValueError(f"The report includes {match[1]}, but there is no such file.")
        return path.read_text(encoding="utf-8").strip("\n")  # a fragment shows what it holds, be it like a command

    def variable(match: re.Match) -> str:
        value = dig(variables, *match[1].split("."))
        if value is None:
            raise ValueError(f"The report uses the variable {match[1]}, but there is no such variable.")
        return str(value)

    text = re.sub(r"\{\{< *var +(\S+) *>\}\}", variable, text)
    return re.sub(r"^\{\{< *include +(\S+) *>\}\} *$", include, text, flags=re.M)


# %%
place = generated.parent
assert preprocess("a {{< var jobs.done >}} b", place, variables) == "a 1 b"
assert "| dcgan | 5 |" in preprocess("x\n\n{{< include _generated/times.md >}}\n\ny", place, variables)
with pytest.raises(ValueError, match="includes _generated/nothing.md, but"):
    preprocess("{{< include _generated/nothing.md >}}", place, variables)
with pytest.raises(ValueError, match="variable jobs.age, but"):
    preprocess("{{< var jobs.age >}}", place, variables)

# %% [markdown]
# The two engines need different settings for the same look. Pandoc's warnings (an unknown citation, mathematics that Typst cannot take) are made errors: a report with a question mark in place of a number is worse than none.

# %%
#| export
LOOKS = {
    "latex": "-V documentclass=scrartcl -V classoption=abstract,numbers=noenddot -V fontsize=11pt -V papersize=a4 -H preamble.tex",
    "typst": "-V papersize=a4 -V margin.x=26mm -V margin.y=26mm -V page-numbering=1 -V section-numbering=1.1 "
    "-M abstract-title=Abstract -H preamble.typ",
}
PANDOC = (
    "-s -N --wrap=none --default-image-extension=pdf -L filter.lua --citeproc -M link-citations "
    "-M reference-section-title=References --fail-if-warnings"
)


# %% [markdown]
# Typesetting takes two programs. The first is pandoc.

# %%
#| export
def run_pandoc(folder: Path, source: Path, output: Path, engine: str) -> None:
    "Convert the Markdown file `source` to `output`, both relative to `folder`; ValueError tells what is wrong with it."
    command = [pypandoc.get_pandoc_path(), str(source), "-o", str(output), "-t", engine, *PANDOC.split(), *LOOKS[engine].split()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise ValueError(re.sub(r"\[WARNING\] |Failing because.*", "", done.stderr).strip())


# %% [markdown]
# The second is LaTeX. Of its log only the first errors are of interest.

# %%
#| export
def run_latex(folder: Path, build: Path) -> None:
    "Typeset report.tex in `build` (relative to `folder`). RuntimeError with LaTeX's first errors if it fails."
    command = ["latexmk", "-norc", "-g", "-lualatex", "-interaction=nonstopmode", f"-outdir={build}", str(build / "report.tex")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode:
        file = folder / build / "report.log"
        log = file.read_text(encoding="utf-8", errors="replace") if file.exists() else done.stdout
        errors = re.findall(r"^! .*(?:\n.*){2}", log, flags=re.M)[:3]
        raise RuntimeError("\n".join(["LaTeX could not typeset the report:", *errors, f"See {folder / build / 'report.log'}."]))


# %% [markdown]
# Where there is no LaTeX, it is Typst.

# %%
#| export
def run_typst(folder: Path, build: Path) -> None:
    "Typeset report.typ in `build` (relative to `folder`). RuntimeError if it fails."
    try:
        typst.compile(folder / build / "report.typ", output=folder / build / "report.pdf", root=folder, ignore_system_fonts=True)
    except typst.TypstError as error:
        raise RuntimeError(f"Typst could not typeset the report: {error}") from None


# %% [markdown]
# `build_pdf` takes them in turn. If LaTeX is there and fails, Typst is tried.

# %%
#| export
def build_pdf(
    qmd: Path,  # the report's source; _variables.yml, filter.lua and the preambles stand beside it
    out: Path,  # the PDF
    engine: str | None = None,  # latex or typst; None: LaTeX where it is installed and works
) -> str:  # the engine that made it
    "Typeset the report. ValueError: its text is wrong. RuntimeError: the typesetting program failed."
    folder, build = qmd.parent.resolve(), Path("_generated/build")
    (folder / build).mkdir(parents=True, exist_ok=True)
    variables = yaml.safe_load((folder / "_variables.yml").read_text(encoding="utf-8"))
    text = preprocess(qmd.read_text(encoding="utf-8"), folder, variables)
    (folder / build / "report.md").write_text(text, encoding="utf-8")
    have_latex = shutil.which("lualatex") and shutil.which("latexmk")
    chosen = engine or ("latex" if have_latex else "typst")
    try:
        suffix, typeset = {"latex": ("tex", run_latex), "typst": ("typ", run_typst)}[chosen]
        run_pandoc(folder, build / "report.md", build / f"report.{suffix}", chosen)
        typeset(folder, build)
    except RuntimeError as problem:
        if engine or chosen == "typst":
            raise
        print(f"{problem}\nMaking the PDF with Typst instead; `make tex` installs the LaTeX packages that are needed.")
        return build_pdf(qmd, out, "typst")
    with atomic(out) as temporary:
        shutil.copyfile(folder / build / "report.pdf", temporary)
    return chosen


# %% [markdown]
# ## Results for others
#
# Runs are large: checkpoints, weights, ten thousand samples. What a report needs of them is small, if 64 samples will do for its figures. `publish_run` copies that much of a run, `report/results` holds such copies, and `make report PROFILE=published` builds a PDF from them without training. Scores are those of all samples; they were computed before.

# %%
#| export
def publish_run(run_folder: Path, results: Path, keep: int = 64) -> Path:
    "Copy a run's configuration, history and results into `results`, with so many of its samples; returns the new folder. ValueError if it has no results."
    config = read_config(run_folder, {kind.model_fields["model"].default: kind for kind in CONFIGS.values()})
    folder = results / Run(config).folder.relative_to(runs_root())
    evaluated = sorted(path.parent for path in run_folder.glob("epoch-*/metrics.json"))
    if not evaluated:
        raise ValueError(f"{run_folder}: no epoch count of this run has been evaluated.")
    for epoch in evaluated:
        (folder / epoch.name).mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / epoch.name / "samples.npz", samples=np.load(epoch / "samples.npz")["samples"][:keep])
        for name in ("metrics.json", "samplers.json", "pictures.npz", "interpolation.json", "interpolation.npz"):
            if (epoch / name).exists():
                shutil.copyfile(epoch / name, folder / epoch.name / name)
    for name in ("config.json", "history.csv"):
        shutil.copyfile(run_folder / name, folder / name)
    return folder


# %% [markdown]
# All of this notebook as one command:

# %%
#| export
def main() -> None:
    "The command `genlab_report`: the report of a profile, from what its runs have left on disk."
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("profile", nargs="?", default="quick", help="a file in report/profiles, without .yaml (default: quick)")
    parser.add_argument("--scale", default="1", help="the share of epochs, images and samples that the runs had (default: 1)")
    parser.add_argument("--publish", nargs="+", type=Path, metavar="RUN", help="copy what a report needs of these runs' folders into report/results, and stop")
    parser.add_argument("--engine", choices=["latex", "typst"], help="default: LaTeX where it is installed, else Typst")
    options = parser.parse_args()
    folder, source, make = project_root() / "report", "report.qmd", general_fragments
    if options.profile == "reports":  # has a text of its own
        from genlab.reports import reports_fragments as make  # here because genlab.reports itself imports this module

        source = "reports.qmd"
    try:
        if options.publish:
            print(*(publish_run(run, folder / "results") for run in options.publish), sep="\n")
            return
        runs = collect_runs(plan(folder / "profiles" / f"{options.profile}.yaml", options.scale))
        write_fragments(options.profile, runs, folder / "_generated", make)
        engine = build_pdf(folder / source, folder / "report.pdf", options.engine)
    except (ValueError, RuntimeError, OSError) as problem:
        parser.exit(1, f"genlab_report: {problem}\n")
    done = runs.metrics.notna().sum()
    print(f"{folder / 'report.pdf'} (by {engine}): {done} of {len(runs)} evaluations of profile {options.profile}")


# %% [markdown]
# To see it end to end, the report of the made-up run above, whose first epoch count is missing, typeset with Typst because everyone has it:

# %%
for file in ("report.qmd", "references.bib", "filter.lua", "preamble.typ"):
    shutil.copy(project_root() / "report" / file, place / file)
assert build_pdf(place / "report.qmd", place / "report.pdf", "typst") == "typst"
assert (place / "report.pdf").read_bytes()[:5] == b"%PDF-"
text = (place / "_generated" / "build" / "report.md").read_text()
assert "{{<" not in text and "2.2(2) times the floor" in text
(place / "wrong.qmd").write_text("See @fig-nowhere.")
with pytest.raises(ValueError, match="fig-nowhere"):
    build_pdf(place / "wrong.qmd", place / "wrong.pdf", "typst")

# %% [markdown]
# The same report from a published copy, which has fewer samples and the same numbers:

# %%
before = distance_table(runs, "d")
(jobs[1].run.folder / "config.json").write_text(jobs[1].run.config.model_dump_json())
copy = publish_run(jobs[1].run.folder, Path(home.name, "results"), keep=20)
os.environ["GENLAB_RUNS"] = str(Path(home.name, "results"))
again = collect_runs(try_profile("{notebook: 01_gan, epochs: [5, 1], width: 16}"))
assert again.job[1].run.folder == copy and distance_table(again, "d") == before and len(again.job[1].run.samples(5)) == 20
with pytest.raises(ValueError, match="no epoch count of this run has been evaluated"):
    shutil.rmtree(jobs[1].folder)
    publish_run(jobs[1].run.folder, Path(home.name, "results"))

# %%
#| hide
home.cleanup()
del os.environ["GENLAB_RUNS"]

# %% [markdown]
# ## What to remember
#
# - A profile is checked as a whole before anything is trained.
# - Numbers flow one way: from a run or a lab to a file, to a fragment, to the PDF. Typed is only what other people's reports printed.
# - What is missing is shown as missing.
#
# ## Exercises
#
# 1. Write a profile of your own with three seeds of the DCGAN on `digits` and build its report.
# 2. Add a column with the number of parameters of each generator to the table of times. Where should the number be written first?
# 3. Break a run on purpose (`dataset: folder:/nowhere` in a profile) and find the note in the PDF.

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
# Then `make report PROFILE=reports3`. The runs need no names: what tells namesakes apart, here the seed, goes into their labels. Whether a profile is right can be seen without training:
#
#     text = "\n  - ".join(f"{{notebook: 01_gan, dataset: digits, width: 32, seed: {s}, epochs: [1, 5, 20, 50]}}" for s in range(3))
#     print(collect_runs(try_profile(text))[["label", "epochs", "why"]])
#
# In the PDF, put two numbers side by side: the spread of `fd_lenet` over the three seeds after the same number of epochs, and the spread that the table gives for each of them, which is over samples of one model. If the first is clearly larger, a comparison of two models with one seed each says less than its error bars promise. (With a list of `metrics` as in `quick.yaml` there is more to look at; for a distribution over seeds three are few.)
#
# </details>
#
# <details><summary>2. The number of parameters</summary>
#
# First in the run's `metrics.json`, by the code that has the network in its hands; numbers flow from there. In `run_gan` of [01_gan](01_gan.ipynb), one more argument of `run.finish`:
#
#     run.finish(epochs, samples, scores=scores, sample_seconds=drawn - start, score_seconds=time.perf_counter() - drawn,
#                parameters=sum(p.numel() for p in G.parameters()))
#
# In `time_table`, put `number(dig(r.metrics, "parameters"), 0)` at the end of each row and `"parameters"` at the end of the headings, and hand `"l" + "r" * 8` to `markdown_table` as its last argument, which by default aligns eight columns and not nine.
#
# Then `make sync`, which exports the notebooks. Old runs and other models have no such number, and since `dig` returns None for what is not there, they get a dash and not an error. An old run counts as done and is not trained again, so its dash stays until its folder is removed or the run gets another name. What one should not do is build the network again from `config.json` while the table is written: then the table would say what today's code makes of the configuration, not what was trained.
#
# </details>
#
# <details><summary>3. A run that breaks</summary>
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
