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
# A *profile* is a short YAML file: a row for each run, with a notebook, values for its parameters, and the epoch counts to look at. Snakemake, which makes only what is missing, has papermill execute the notebooks with these values (`report/Snakefile`). Then this module reads what they left on disk and writes **fragments**: files with tables and figures, which `report/report.qmd` includes. Every result in the PDF comes from a run's `metrics.json` or `history.csv`; none is typed.
#
# A run that failed or was never made is a dash in the tables, with a note that says why. It does not stop the report.

# %%
#| default_exp report

# %% tags=["parameters"]
profile = "quick"  # a file in report/profiles

# %%
#| export
import argparse
import contextlib
import datetime
import functools
import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
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

from genlab.augment import plot_gap
from genlab.collapse import classes_seen, load_ring, plot_classes, plot_strips, ring, ring_file
from genlab.data import load_dataset, show_grid, to_image
from genlab.ddpm import DDPMConfig, plot_denoising, plot_guidance, plot_level_losses, plot_noise, plot_samplers, scored_samplers
from genlab.fid import finds_copies, plot_copies, plot_nearest
from genlab.gan import GANConfig
from genlab.interpolation import MODELS, LatentSpace, corner_grid, cross_fade, latent_space, plot_walks, smoothness
from genlab.runs import Run, RunConfig, atomic, git_commit, latents, plot_history, project_root, runs_root
from genlab.vae import VAEConfig, plot_codes, plot_plane, plot_reconstructions, plot_sources, plot_units

# %%
#| hide
import os
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
def plan(profile: Path, scale: float = 1.0) -> list[Job]:
    "The jobs of a profile, in its order, shrunk by `scale`. ValueError, one sentence that names the row, if it cannot be run as written."
    if not 0 < scale <= 1:
        raise ValueError(f"scale: {scale} is not a share between 0 and 1.")
    rows = _read_profile(profile).get("runs")
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"profile {profile.stem}: it has no list `runs`")
    jobs: dict[Path, Job] = {}
    for number, row in enumerate(rows, 1):
        try:
            planned = {job.folder: job for job in _plan_row(dict(row), scale)}
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
def plan_labs(profile: Path, scale: float = 1.0) -> dict[str, dict]:
    "Notebooks that the profile executes for what they find out by themselves, and their parameters. ValueError as `plan`."
    labs = _read_profile(profile).get("labs") or {}
    for notebook, parameters in labs.items():
        if notebook not in LABS:
            raise ValueError(f"profile {profile.stem}: labs: {notebook!r} leaves nothing for a report; choose from {', '.join(LABS)}")
        _check_names(notebook, parameters)
        if "updates" in parameters:
            parameters["updates"] = _share(parameters["updates"], scale, 50)
    return labs


# %% [markdown]
# What is checked of the file, and of the names in it:

# %%
#| export
def _read_profile(profile: Path) -> dict:
    if not profile.exists():
        known = ", ".join(sorted(p.stem for p in profile.parent.glob("*.yaml")))
        raise ValueError(f"profile: there is no {profile.stem!r}; choose one of {known}.")
    try:
        return dict(yaml.safe_load(profile.read_text()) or {})
    except (yaml.YAMLError, ValueError, TypeError) as problem:
        raise ValueError(f"profile {profile.stem}: it is no YAML: {' '.join(str(problem).split())}") from None


def _check_names(notebook: str, parameters: Iterable[str]) -> None:
    known = inspect_notebook(str(project_root() / "nbs" / f"{notebook}.ipynb"))
    for key in parameters:
        if key not in known:
            raise ValueError(f"{key}: {notebook} has no such parameter; it has {', '.join(known)}")


# %% [markdown]
# A row becomes a configuration for each epoch count, so each value is checked by the class that a run is made from.

# %%
#| export
def _plan_row(row: dict, scale: float) -> list[Job]:
    notebook, counts, published = row.pop("notebook", None), row.pop("epochs", None), row.pop("published", {})
    if notebook not in CONFIGS:
        raise ValueError(f"notebook: {notebook!r} trains nothing; choose one of {', '.join(CONFIGS)}")
    if not isinstance(counts, list) or not counts:
        raise ValueError(f"epochs: {counts!r} is not a list of epoch counts such as [1, 5, 20]")
    _check_names(notebook, row)
    configure = lambda row, count: CONFIGS[notebook](**{k: v for k, v in row.items() if k in CONFIGS[notebook].model_fields}, epochs=count)
    planned = sorted(configure(row, count).epochs for count in counts)
    instead_of, counts = None, planned
    if scale < 1:
        row, instead_of = _shrink(row, scale)
        counts = [max(rank, round(count * scale)) for rank, count in enumerate(planned, 1)]
    *early, last = [configure(row, count) for count in counts]
    if "compare" in row:  # samplers are compared at the last epoch count only
        early = [config.model_copy(update={"compare": []}) for config in early]
    parameters = row | {"epochs": last.epochs, "snapshots": [config.epochs for config in early]}
    found = lambda count: {what: values[count] for what, values in published.items() if count in values}
    return [Job(notebook, parameters, Run(config), count, found(count), instead_of) for config, count in zip((*early, last), planned, strict=True)]


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
    row |= {"subset": _share(n * counts["train"] if n <= 1 else min(n, counts["train"]), scale, 256)}
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
    ("{notebook: 01_gan, epochs: [1], with: 16}", "profile mine, row 1: with: 01_gan has no such parameter; it has dataset"),
    ("{notebook: 01_gan, epochs: [0]}", "row 1: epochs: 0 should be greater than 0"),
    ("{notebook: 01_gan, epochs: [1, ten]}", "row 1: epochs: 'ten' should be a valid integer"),
    ("{notebook: 01_gan, epochs: [1, 1.5]}", "row 1: epochs: 1.5 should be a valid integer"),
    ("{notebook: 01_gan, epochs: [1]}\n  - {notebook: 01_gan, epochs: [1]}", "row 2: .* planned in an earlier row"),
    ("{notebook: 01_gan", "mine: it is no YAML"),
    ("{notebook: 01_gan, epochs: 5}", "epochs: 5 is not a list"),
    ("{notebook: 01_gan, epochs: [1], dataset: minst}", "dataset: 'minst' is unknown"),
]:
    with pytest.raises(ValueError, match=sentence):
        try_profile(text)
with pytest.raises(ValueError, match="there is no 'nonsense'; choose one of .*quick"):
    plan(project_root() / "report" / "profiles" / "nonsense.yaml")
for text, sentence in [("02_ddpm: {}", "labs: '02_ddpm' leaves nothing for a report"), ("01b_mode_collapse: {seed: 1}", "seed: 01b_mode_collapse has no such parameter")]:
    path = Path(home.name, "labs.yaml")
    path.write_text(f"labs:\n  {text}")
    with pytest.raises(ValueError, match=sentence):
        plan_labs(path)


# %% [markdown]
# ## Collecting
#
# One row a job, whether it succeeded or not. A job that has no `metrics.json` says why: the last error in its log, or that it was not run.

# %%
#| export
def collect_runs(jobs: Iterable[Job]) -> pd.DataFrame:
    "A row a job: model, dataset, name, seed, epochs, label, job, metrics (None if it is missing), and then why."
    rows = []
    for job in jobs:
        config, (metrics, why) = job.run.config, _read(job)
        rows.append({"model": config.model, "dataset": config.dataset, "name": config.name, "seed": config.seed, "epochs": job.epochs,
                     "label": config.name, "job": job, "metrics": metrics, "why": why, "instead_of": job.instead_of or ""})  # fmt: skip
    runs = pd.DataFrame(rows)
    fields = pd.DataFrame([{k: str(v) if isinstance(v, list) else v for k, v in job.run.config.model_dump().items()} for job in runs.job])
    if fields.groupby("model").dataset.nunique().max() > 1 or (runs.instead_of != "").any():
        short = lambda name: name.rpartition("/")[2] if name.startswith("hf:") else name
        runs["label"] += [f", {short(r.dataset)}" + f" for {short(r.instead_of)}" * bool(r.instead_of) for r in runs.itertuples()]
    for column in fields.columns.difference(["model", "name", "dataset"], sort=False):  # what else tells namesakes apart
        varies = fields.groupby(["model", "name", "dataset"])[column].transform("nunique", dropna=False) > 1
        runs.loc[varies, "label"] += f", {column} " + fields[column].astype(str)
    runs.loc[runs.groupby("label").model.transform("nunique") > 1, "label"] += ", " + runs.model  # a label is one run's
    return runs


# %% [markdown]
# A result counts only if all its files are there.

# %%
#| export
def _read(job: Job) -> tuple[dict | None, str | None]:
    "The metrics of a job whose results are complete, or None and why."
    try:
        metrics = job.run.metrics(job.epochs)
    except ValueError:
        return None, "its metrics.json is damaged."
    needed = [job.folder / "samples.npz", job.run.folder / "history.csv"]
    if metrics and (missing := [path.name for path in needed if not path.exists()]):
        return None, f"its {' and '.join(missing)} is not there."
    return metrics, None if metrics else _last_error(job.log)


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
pd.DataFrame([{"step": 0, "loss_d": 1.0}]).to_csv(jobs[1].run.folder / "history.csv")
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
namesakes = try_profile("{notebook: 01_gan, name: a, epochs: [1]}\n  - {notebook: 02_ddpm, name: a, epochs: [1]}")
assert list(collect_runs(namesakes).label) == ["a, gan", "a, ddpm"]

# %% [markdown]
# ## Tables
#
# Numbers are rounded where they are shown, never where they are kept. A missing number is a dash; a negative one gets a true minus sign. What the distances and shares mean is told in [05_fid](05_fid.ipynb).

# %%
#| export
NONE = "This profile has no such runs, or none of them is done."


def _slug(text: str) -> str:
    return re.sub(r"\W+", "-", text).strip("-").lower()


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
    "Somebody's text, such as an error, as Markdown that shows it and obeys none of it."
    return "`" + " ".join(text.replace("`", "'").replace("|", "/").split()) + "`"


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
    "The variational bound of diffusion models on test images, and its three parts."
    rows = []
    for r in runs.itertuples():
        known = dig(r.metrics, "likelihood") or {}
        rows.append([r.label, r.epochs, plus_minus(known.get("bits_per_dim"), known.get("se"), 3), *(number(known.get(k), 3) for k in ("first", "middle", "last")), number(known.get("n"), 0)])
    caption = "Variational bound on the negative log-likelihood of test images, in bits per dimension, with its standard error over the images, and its parts: $L_0$, the terms between, $L_T$."
    return markdown_table(rows, ["run", "epochs", "bits/dim", "$L_0$", "$L_1$ to $L_{T-1}$", "$L_T$", "images"], caption, label)


# %% [markdown]
# How do the samplers of one diffusion model compare?

# %%
#| export
def sampler_table(runs: pd.DataFrame, label: str) -> str:
    "Frechet distances of all samplers that were compared."
    rows = []
    for r in runs.itertuples():
        for row in scored_samplers(r.job.run):
            fd = dig(row, "scores", "fd_lenet") or {}
            rows.append([r.label, r.epochs, row["sampler"], row["steps"], row["evaluations"], number(row["n"], 0), number(fd.get("value")),
                         plus_minus(fd.get("floor"), fd.get("floor_sd")), number(1000 * row["seconds"] / row["n"])])  # fmt: skip
    caption = f"Samplers of the same networks, from the same latents. Evaluations: how often the network is asked for an image. Times on {devices(runs)}."
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
        rows.append([r.label, r.epochs, r.dataset, tested, number(dig(r.metrics, "losses", "loss"), 1),
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
                extractors.add(f"`{metric}`: {score['extractor']}, weights `{score['hash']}`")
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
            real[f"real, {r.dataset}, $N$ = {n:,}"] = [uncertain(score.get("floor"), score.get("floor_sd")) for score in scores]
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
    for dataset, group in last.groupby("dataset", sort=False):
        rows, floors = [], {}
        for r in group.itertuples():
            if "classes" in (score := dig(r.metrics, "scores", "fd_lenet_by_class") or {}):
                rows.append([r.label, r.epochs, *(number(c["value"], 1) for c in score["classes"])])
                if score.get("floor_classes"):
                    floors[f"real, $N$ = {score['n_floor']:,}"] = [number(value, 1) for value in score["floor_classes"]]
        if rows:
            rows += [[name, "", *values] for name, values in floors.items()]
            caption = f"`fd_lenet` within each class of `{dataset}`, for as many samples of the class as there are. Both samples and test images are sorted by the classifier."
            parts.append(markdown_table(rows, ["run", "epochs", *map(str, range(len(rows[0]) - 2))], caption, f"classes-{_slug(dataset)}", "l" + "r" * 30))
    return "\n".join(parts) or NONE


# %% [markdown]
# A time says something only with the device that it was measured on.

# %%
#| export
def devices(runs: pd.DataFrame) -> str:
    "What the runs were trained on."
    return "; ".join(sorted({device for m in runs.metrics if (device := dig(m, "device"))})) or "—"


def time_table(runs: pd.DataFrame, label: str) -> str:
    "Training and sampling times, with the device."
    rows = [
        [r.label, r.epochs, number(dig(r.metrics, "train_seconds"), 1), number(dig(r.metrics, "images_per_second"), 0),
         number(s / r.epochs) if (s := dig(r.metrics, "train_seconds")) else "—",
         number(s + dig(r.metrics, "train_seconds") / r.epochs + dig(r.metrics, "sample_seconds")) if (s := dig(r.metrics, "score_seconds")) else "—",
         number(1000 * s / r.metrics["n_samples"]) if (s := dig(r.metrics, "sample_seconds")) else "—",
         r.metrics.get("evaluations", 1) if r.metrics else "—"]
        for r in runs.itertuples()
    ]  # fmt: skip
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
        changed = [f"`{k}` {v}" for k, v in run.config.model_dump().items() if k not in told and v != fields[k].default]
        rows.append([group.label.iloc[0], f"`{'/'.join(run.folder.parts[-3:])}`", run.config.seed, ", ".join(changed) or "—",
                     ", ".join(map(str, done.epochs)) or "—", ", ".join(f"`{c}`" for c in commits) or "—"])  # fmt: skip
    header = ["run", "folder in `runs/`", "seed", "not by default", "epochs done", "commit"]
    return markdown_table(rows, header, "Where each number comes from.", label, "llrlll")


# %%
assert [number(x, 1) for x in (1234.56, -0.25, None, float("nan"))] == ["1,234.6", "−0.2", "—", "—"]
for table in (loss_table(runs, {"loss_d": "Loss_D"}, "a"), distance_table(runs, "b"), time_table(runs, "c"), provenance_table(runs, "d")):
    print(table)
assert "| dcgan | 1 | — | — | — | — | — |" in distance_table(runs, "b")
assert [uncertain(*x) for x in ((0.8123, 0.0174), (31.4159, 2.5), (1234.5, 32.1), (-0.5, None), (None, None), (0.99999, 1e-5))] == ["0.81(2)", "31(2)", "1,234(32)", "−0.50", "—", "1.000"]
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
# Are samples good, or diverse? One point for each epoch count:

# %%
#| export
def precision_recall_figure(runs: pd.DataFrame, path: Path) -> None:
    "Precision against recall, a line a run with its epoch counts; a star for real images."
    fig, ax = plt.subplots(figsize=(4.2, 2.8), layout="constrained")
    for label, group in runs[runs.metrics.notna()].groupby("label", sort=False):
        known = [(r.epochs, *(dig(r.metrics, "scores", metric) for metric in ("recall", "precision"))) for r in group.itertuples()]
        known = [(epochs, recall, precision) for epochs, recall, precision in known if dig(recall, "value") is not None]
        if known:
            (line,) = ax.plot([r["value"] for _, r, _ in known], [p["value"] for _, _, p in known], marker="o", markersize=3, label=label)
            for epochs, recall, precision in known:
                ax.annotate(str(epochs), (recall["value"], precision["value"]), (3, 3), textcoords="offset points", fontsize=7, color=line.get_color())
            ax.plot(known[-1][1]["floor"], known[-1][2]["floor"], "*", color="0.3", markersize=9)
    ax.set(xlabel="recall", ylabel="precision")
    legend_above(ax)
    save_figure(fig, path)


# %% [markdown]
# How much of a distance is there only because the samples are few?

# %%
#| export
def bias_figure(runs: pd.DataFrame, path: Path) -> None:
    "fd_lenet of parts of the samples against one over their number, and the line to infinitely many."
    fig, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
    for r in runs[runs.metrics.notna()].groupby("label", sort=False).tail(1).itertuples():
        if "shares" in (score := dig(r.metrics, "scores", "fd_lenet_infinity") or {}):
            x = [1 / (share * score["n"]) for share in score["shares"]]
            slope = sum(a * (d - score["value"]) for a, d in zip(x, score["distances"], strict=True)) / sum(a * a for a in x)
            (dots,) = ax.plot(x, score["distances"], ".", label=f"{r.label}, {r.epochs} epochs")
            ax.plot([0, x[0]], [score["value"], score["value"] + slope * x[0]], color=dots.get_color(), linewidth=0.8)
    ax.set(xlabel="1 / number of samples", ylabel="fd_lenet", xlim=0)
    if not ax.lines:
        ax.text(0.5, 0.5, "no run was asked for fd_lenet_infinity", ha="center", va="center", transform=ax.transAxes)
    legend_above(ax)
    save_figure(fig, path)


# %% [markdown]
# And the course of the distance over training.

# %%
#| export
def distance_figure(runs: pd.DataFrame, path: Path) -> None:
    "fd_lenet against epochs, a line a run, with the floor dashed."
    fig, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
    for label, group in runs[runs.metrics.notna()].groupby("label", sort=False):
        scores = [dig(m, "scores", "fd_lenet") or {} for m in group.metrics]
        (line,) = ax.plot(group.epochs, [s.get("value") for s in scores], marker="o", label=label)
        ax.plot(group.epochs, [s.get("floor") for s in scores], color=line.get_color(), linestyle="--", linewidth=0.8)
    ax.set(xlabel="epochs", ylabel="fd_lenet to the test set", xscale="log", yscale="log")
    counts = sorted(set(runs.epochs))
    ticks = counts[:1]
    for n in counts[1:]:
        if n >= 1.4 * ticks[-1]:  # there is room for a number
            ticks.append(n)
    ax.set_xticks(ticks, map(str, ticks))
    ax.minorticks_off()
    legend_above(ax)
    save_figure(fig, path)


# %%
folder = Path(home.name, "figures")
sns.set_theme(style="ticks", context="paper")
distance_figure(runs, folder / "distance")
grid_figure(some, folder / "grid")
assert sorted(p.name for p in folder.iterdir()) == ["distance.pdf", "distance.png", "grid.pdf", "grid.png"]
show_grid(some, ncol=16, title="what grid_figure draws, in a wider shape");


# %% [markdown]
# ## Fragments
#
# A fragment is a Markdown file with a table, or with figures and their captions. Sections of the report include them.

# %%
#| export
def figure(folder: Path, name: str, caption: str, label: str, width: str = "100%") -> str:
    "Markdown that shows the figure `name` of `folder`."
    return f"![{caption}]({folder.name}/{name}){{#fig-{label} width={width}}}\n"


def data_fragment(runs: pd.DataFrame, folder: Path) -> str:
    parts = []
    for dataset, size in sorted({(r.dataset, r.job.run.config.size) for r in runs.itertuples()}, key=str):
        slug = _slug(f"real-{dataset}-{size or ''}")
        try:
            train, test = (load_dataset(dataset, split, size).images for split in ("train", "test"))
        except (RuntimeError, OSError, ValueError) as problem:
            parts.append(f"{verbatim(dataset)} could not be loaded: {verbatim(str(problem))}\n")
            continue
        grid_figure(test, folder / slug)
        c, h, w = train.shape[1:]
        caption = f"Real images: the first 64 of the {len(test):,} test images of `{dataset}`. Training has {len(train):,}. Each has {w}×{h} pixels and {c} channel{'s' * (c > 1)}."
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
def ring_fragment(folder: Path) -> str:
    "Mode collapse in the plane: modes found by each loss, and points on the way."
    if (kept := load_ring()) is None:
        return NONE
    table, strips = kept
    save_figure(plot_strips(strips, ring()), folder / "ring")
    rows = [[r.kind, ", ".join(map(str, r.modes)), r["all found"], plus_minus(r.good, r.sd)] for _, r in table.iterrows()]
    caption = f"Modes found, of {table.of[0]}, by GANs on a ring of narrow Gaussians, from {len(table.modes[0])} seeds; share of samples within three standard deviations of a mode, mean and spread over seeds."
    strips_figure = figure(folder, "ring", "Points of the generator in the course of training, first seed. Crosses: the data's modes.", "ring", "70%")
    return strips_figure + "\n" + markdown_table(rows, ["loss", "modes found", "all found", "good samples"], caption, "ring", "llrr")


# %% [markdown]
# In images, where classes are counted:

# %%
#| export
def collapse_fragment(runs: pd.DataFrame, folder: Path, name: str = "histogram") -> str:
    "Histograms of classes of each run at its last epoch count, by data set."
    parts, last = [], runs[runs.metrics.notna()].groupby("label", sort=False).tail(1)
    for (dataset, size), group in last.groupby(["dataset", last.job.map(lambda job: job.run.config.size or 0)], sort=False):
        found = {r.label: score for r in group.itertuples() if "expected" in (score := dig(r.metrics, "scores", "class_kl") or {})}
        for i in range(0, len(found), 4):
            some, slug = dict(list(found.items())[i : i + 4]), _slug(f"{name}-{dataset}-{size or ''}-{i}")
            save_figure(plot_classes(some, load_dataset(dataset, "test", size or None).classes), folder / slug)
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
    histories = {r.label: pd.read_csv(r.job.run.folder / "history.csv") for r in done.itertuples()}
    histories = {label: history for label, history in histories.items() if "d_held_out" in history}
    if not histories:
        return NONE
    fig, ax = plt.subplots(figsize=(5.5, 2.6), layout="constrained")
    plot_gap(histories, ax)
    ax.set_xscale("log")
    legend_above(ax)
    save_figure(fig, folder / "gap")
    return figure(folder, "gap", "Mean verdict of the discriminator on training images minus that on test images, running mean. Above zero: it knows training images by heart.", "gap", "80%")


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
            draw["plane"] = (lambda p=pictures: plot_plane(p).figure, f"{after}: the whole latent plane, evenly spaced in the prior's quantiles.", "60%")
        for kind, (make, caption, width) in draw.items():
            save_figure(make(), folder / f"{kind}-{slug}")
            parts.append(figure(folder, f"{kind}-{slug}", caption, f"{kind}-{slug}", width))
    return "\n".join(parts) or NONE


# %% [markdown]
# Report 002 says that a VAE after 5 epochs looks like a GAN after 50. The next fragment looks at all runs that can tell.

# %%
#| export
def claim_fragment(runs: pd.DataFrame) -> str:
    "Report 002's claim that a VAE after 5 epochs looks like a GAN after 50: each data set's VAEs and GANs, at epoch counts that differ from these by a factor of two at most."
    rows, lines = [], []
    done = runs[runs.metrics.notna()]
    for (dataset, n), group in done.groupby(["dataset", done.metrics.map(lambda m: m["n_samples"])], sort=False):  # a distance depends on N
        best = {}
        for model, wanted in (("vae", 5), ("gan", 50)):
            for label, own in group[group.model == model].groupby("label", sort=False):
                off = (own.epochs / wanted).map(math.log2).abs()
                r = own.loc[off.idxmin()]
                fd = dig(r.metrics, "scores", "fd_lenet") or {}
                if off.min() <= 1 and fd.get("value") is not None:
                    rows.append([dataset, model, label, r.epochs, number(n, 0), uncertain(fd["value"], fd.get("sd")), number(dig(r.metrics, "train_seconds"), 1)])
                    best[model] = min(best.get(model, (float("inf"),)), (fd["value"], fd.get("sd") or 0.0, label, r.epochs))
        if len(best) == 2:
            (v, sd_v, vae, e), (g, sd_g, gan, f) = best["vae"], best["gan"]
            verdict = "is nearer to the data than" if v < g else "is not as near to the data as"
            if abs(v - g) <= 2 * math.hypot(sd_v, sd_g):
                verdict = "cannot, by two standard deviations, be told from"
            lines.append(f"On {verbatim(dataset)}, the best VAE ({vae}, {e} epochs, {number(v)}) {verdict} the best GAN ({gan}, {f} epochs, {number(g)}).\n")
    if not lines:
        return NONE
    caption = "Report 002's claim, in `fd_lenet`: VAEs after about 5 epochs and GANs after about 50."
    table = markdown_table(rows, ["data", "model", "run", "epochs", "$N$", "`fd_lenet`", "training (s)"], caption, "claim", "lllrrrr")
    return "\n".join([*lines, table])


# %% [markdown]
# Its sentence depends on the numbers. Made-up results, and others that turn it round:

# %%
def made_up(vae_fd, gan_fd):
    known = {"n_samples": 500, "train_seconds": 9.0, "losses": {"loss": 210.0}, "sources": {"mixture": {"value": 40.0, "sd": 3.0}}}
    known["likelihood"] = {"elbo": -207.6, "se": 0.8, "gap": 1.8, "kl": 8.43, "bits_per_dim": 8.16, "n": 500}
    results = [("vae", 5, vae_fd), ("vae", 20, 1.0), ("gan", 5, 2.0), ("gan", 50, gan_fd)]
    return pd.DataFrame([
        {"model": model, "dataset": "digits", "label": model, "epochs": e, "metrics": known | {"scores": {"fd_lenet": {"value": fd, "sd": 3.0, "floor": 13.4, "floor_sd": 7.1}}}}
        for model, e, fd in results
    ])  # fmt: skip


assert "the best VAE (vae, 5 epochs, 30.00) is nearer to the data than the best GAN (gan, 50 epochs, 60.00)" in claim_fragment(made_up(30.0, 60.0))
assert "the best VAE (vae, 5 epochs, 30.00) is not as near to the data as the best GAN (gan, 50 epochs, 20.00)" in claim_fragment(made_up(30.0, 20.0))
assert "cannot, by two standard deviations, be told from the best GAN (gan, 50 epochs, 34.00)" in claim_fragment(made_up(30.0, 34.0))
assert claim_fragment(made_up(30.0, 24.0)[:3]) == NONE, "no GAN after about 50 epochs"
assert "| vae | 5 | digits | test, 500 | 210.0 | −207.6 ± 0.8 | 1.8 | 8.4 | 8.160 | 30(3) |" in elbo_table(made_up(30.0, 24.0)[:1], "e")
assert "| vae | 5 | 500 | 30(3) | 40(3) | — | 13(7) |" in source_table(made_up(30.0, 24.0)[:1], "s")

# %% [markdown]
# ## At a glance, and what to make of it
#
# The first page shows the best evaluation of each model; the discussion compares them. Its sentences are chosen by the numbers. What two standard deviations cannot tell apart is said to be the same.

# %%
#| export
KINDS = {"gan": "GAN", "ddpm": "diffusion model", "vae": "VAE"}


def best_of_each(runs: pd.DataFrame) -> dict[str, tuple]:
    "By model, its evaluation with the smallest fd_lenet on the first data set, among those with the most common number of samples."
    score = lambda r: dig(r.metrics, "scores", "fd_lenet", "value")
    rows = [r for r in runs[runs.dataset == runs.dataset.iloc[0]].itertuples() if score(r) is not None]
    counts = pd.Series([r.metrics["n_samples"] for r in rows], dtype=object).mode()  # a distance depends on N
    rows = [r for r in rows if r.metrics["n_samples"] == counts[0]]
    return {model: min((r for r in rows if r.model == model), key=score) for model in KINDS if any(r.model == model for r in rows)}


# %% [markdown]
# The first page:

# %%
#| export
def glance_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "One table and one figure: the best evaluation of each model."
    best, rows, grids = best_of_each(runs), [], {}
    for model, r in best.items():
        fd = r.metrics["scores"]["fd_lenet"]
        others = [uncertain(*(dig(r.metrics, "scores", metric, key) for key in ("value", "sd"))) for metric in ("precision", "recall")]
        rows.append([KINDS[model], r.label, r.epochs, uncertain(fd["value"], fd.get("sd")), number(fd["value"] / fd["floor"], 1), *others,
                     number(r.metrics["train_seconds"] / 60, 1), number(1000 * r.metrics["sample_seconds"] / r.metrics["n_samples"])])  # fmt: skip
        grids[KINDS[model]] = r.job.run.samples(r.epochs)[:32]
    if not rows:
        return NONE
    r = next(iter(best.values()))
    with contextlib.suppress(RuntimeError, OSError, ValueError):  # the section on data says what is wrong with the images
        grids["real"] = load_dataset(r.dataset, "test", r.job.run.config.size).images[:32]
    save_figure(show_grid(torch.cat(list(grids.values())), ncol=16, rows=list(grids)).figure, folder / "glance")
    header = ["model", "run", "epochs", "`fd_lenet`", "times floor", "precision", "recall", "training (min)", "1,000 samples (s)"]
    caption = f"The best evaluation of each model on {verbatim(r.dataset)}, $N$ = {r.metrics['n_samples']:,}, on {devices(runs)}."
    if left_out := [KINDS[model] for model in KINDS if model not in best and (runs[runs.metrics.notna()].model == model).any()]:
        caption += f" The {' and the '.join(left_out)} drew another number of samples, or has no such distance, and is left out."
    return markdown_table(rows, header, caption, "glance", "llrrrrrrr") + "\n" + figure(folder, "glance", "Samples of these models, not selected, and real images.", "glance")


# %% [markdown]
# And the discussion:

# %%
#| export
def discussion_fragment(runs: pd.DataFrame) -> str:
    "Sentences that compare the models; the numbers decide what they say."
    best = best_of_each(runs)
    value = lambda r, *path: dig(r.metrics, *path)
    ranked = sorted(best, key=lambda model: value(best[model], "scores", "fd_lenet", "value"))
    parts = [_distance_sentence(best[a], best[b]) for a, b in zip(ranked, ranked[1:], strict=False)]
    parts += [_training_sentence(runs, best[model]) for model in ranked]
    for what, path, unit, unit_of in [
        ("trains", ("train_seconds",), "minutes of training", lambda r, seconds: seconds / 60),
        ("draws images", ("sample_seconds",), "seconds for 1,000 images", lambda r, seconds: 1000 * seconds / r.metrics["n_samples"]),
    ]:
        costs = sorted((unit_of(r, value(r, *path)), model) for model, r in best.items())
        if len(costs) > 1:
            (low, fast), (high, slow) = costs[0], costs[-1]
            parts.append(f"The {KINDS[fast]} {what} fastest ({number(low)} {unit}), the {KINDS[slow]} slowest ({number(high)}).")
    for metric, meaning in (("precision", "the largest share of its images lies where real ones lie"), ("recall", "it draws the largest share of what real images show")):
        known = {model: v for model, r in best.items() if (v := value(r, "scores", metric, "value")) is not None}
        if len(known) > 1:
            winner = max(known, key=known.get)
            real = number(value(best[winner], "scores", metric, "floor"))
            parts.append(f"{metric.capitalize()} is highest for the {KINDS[winner]} ({number(known[winner])}; real images {real}): {meaning}.")
    for r in best.values():
        parts += _copies_sentence(r)
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
# Two of its sentences, of which one compares two models and one two epoch counts:

# %%
#| export
def _distance_sentence(near, far) -> str:
    "Which of two evaluations is nearer to the data."
    (a, sd_a), (b, sd_b) = ((fd["value"], fd.get("sd") or 0.0) for r in (near, far) for fd in [r.metrics["scores"]["fd_lenet"]])
    names = [f"the {KINDS[r.model]} ({r.label}, {r.epochs} epoch{'s' * (r.epochs > 1)}, {number(v)})" for r, v in ((near, a), (far, b))]
    if b - a <= 2 * math.hypot(sd_a, sd_b):
        return f"By two standard deviations of their distances, {names[0]} and {names[1]} cannot be told apart."
    return f"{names[0][0].upper()}{names[0][1:]} comes nearer to the test images than {names[1]}: by a factor of {number(b / a, 1)}."


def _training_sentence(runs: pd.DataFrame, best) -> str:
    "What more epochs did to the run of an evaluation."
    own = [r for r in runs[(runs.label == best.label) & runs.metrics.notna()].itertuples() if dig(r.metrics, "scores", "fd_lenet", "value") is not None]
    first, last, fd = own[0], own[-1], lambda r: r.metrics["scores"]["fd_lenet"]["value"]
    if first.epochs == last.epochs:
        return f"The {KINDS[best.model]} was looked at after {last.epochs} epoch{'s' * (last.epochs > 1)} only."
    course = f"From {first.epochs} to {last.epochs} epochs, the distance of the {KINDS[best.model]} goes from {number(fd(first))} to {number(fd(last))}"
    if best.epochs == last.epochs:
        return f"{course}; it has not been seen to stop falling."
    return f"{course}, and is smallest at {best.epochs} ({number(fd(best))}): more training did not help."


# %% [markdown]
# Two made-up sets of results lead to opposite sentences:

# %%
def results_of(gan, vae):
    rows = []
    for model, values in (("gan", gan), ("vae", vae)):
        for epochs, fd in zip((1, 5, 20), values, strict=True):
            metrics = {"n_samples": 500, "train_seconds": epochs * (60.0 if model == "gan" else 30.0), "sample_seconds": fd / 100}
            metrics["scores"] = {"fd_lenet": {"value": fd, "sd": 1.0, "floor": 5.0}, "recall": {"value": 1 / fd, "floor": 0.98}}
            rows.append({"model": model, "dataset": "digits", "label": f"our-{model}", "epochs": epochs, "metrics": metrics})
    return pd.DataFrame(rows)


one, other = discussion_fragment(results_of((90.0, 50.0, 20.0), (80.0, 60.0, 70.0))), discussion_fragment(results_of((90.0, 62.0, 70.0), (80.0, 40.0, 12.0)))
print(one, other, sep="\n")
assert "The GAN (our-gan, 20 epochs, 20.00) comes nearer to the test images than the VAE (our-vae, 5 epochs, 60.00): by a factor of 3.0" in one
assert "The VAE (our-vae, 20 epochs, 12.00) comes nearer to the test images than the GAN (our-gan, 5 epochs, 62.00): by a factor of 5.2" in other
assert "the distance of the GAN goes from 90.00 to 20.00; it has not been seen to stop falling" in one and "smallest at 5 (62.00): more training did not help" in other
assert "Recall is highest for the GAN (0.05;" in one and "Recall is highest for the VAE (0.08;" in other
assert "cannot be told apart" in discussion_fragment(results_of((90.0, 50.0, 21.0), (80.0, 60.0, 20.0)))
assert "The VAE trains fastest (2.50 minutes" in one and "draws images fastest (0.12 seconds for" not in one


# %% [markdown]
# The section on latent spaces needs weights, not only samples, and shows what of [06_interpolation](06_interpolation.ipynb) a page has room for.

# %%
#| export
def _spaces(runs: pd.DataFrame) -> list[LatentSpace]:
    "The latent spaces of the first data set: of each model the first run whose weights are on disk, at its last epoch count."
    spaces, first = [], runs[(runs.dataset == runs.dataset.iloc[0]) & runs.metrics.notna() & runs.model.isin(MODELS)]
    for _, group in first.groupby("model", sort=False):
        there = [r for r in group.itertuples() if (r.job.folder / "weights.safetensors").exists()]
        there = [r for r in there if r.label == there[0].label]
        if there:
            spaces.append(latent_space(there[-1].job.run, there[-1].epochs))
    return spaces


# %% [markdown]
# Walks and grids for the eye:

# %%
#| export
def _interpolation_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "Paths through the latent spaces, a grid between four corners, and how smooth paths are."
    spaces, config = _spaces(runs), runs.job.iloc[0].run.config
    try:
        test = load_dataset(config.dataset, "test", config.size)
    except (RuntimeError, OSError, ValueError):  # the section on data says what is wrong with the images
        return NONE
    if not spaces:
        return NONE
    all_spaces = [*spaces, cross_fade(test.images)]
    save_figure(plot_walks(all_spaces, test).figure, folder / "walks")
    caption = f"Two paths through each latent space (arcs), and two cross-fades of real images. {'; '.join(f'{s.name}: `{s.about}`' for s in spaces)}."
    parts = [figure(folder, "walks", caption, "walks", "85%")]
    fig, axes = plt.subplots(1, len(spaces), figsize=(2.5 * len(spaces), 2.7), layout="constrained", squeeze=False)
    for ax, space in zip(axes[0], spaces, strict=True):
        show_grid(to_image(corner_grid(space, latents(4, space.shape, 3))), ncol=7, ax=ax, title=space.name)
    save_figure(fig, folder / "corners")
    parts.append(figure(folder, "corners", "Between four corners: left and right column are arcs, and each row is an arc between these.", "corners"))
    if test.labels is not None:
        parts.append(smoothness_table({s.name: smoothness(s, test, config.dataset, config.size) for s in all_spaces}, config.dataset))
    return "\n".join(parts)


# %% [markdown]
# And numbers for the same paths:

# %%
#| export
def smoothness_table(numbers: dict[str, dict], dataset: str) -> str:
    "What `genlab.interpolation.smoothness` found for each space."
    shown = lambda measures: [plus_minus(m["value"], m["se"], 0 if key == "ppl" else 2) for key, m in measures.items()]
    rows = [[name, *shown(measures), measures["ppl"]["paths"]] for name, measures in numbers.items()]
    caption = (
        f"Smoothness of paths in the features of LeNet on `{dataset}`, means and standard errors over paths of 20 steps. Path length: mean squared speed. Distance: between the ends. Detour: length over distance of the ends. "
        "Largest step: over the mean step. Class changes: along a path, as the classifier sees it. To data: distance of the middle half to the nearest test images, over that from one test image to the nearest other."
    )
    return markdown_table(rows, ["space", "path length", "distance", "detour", "largest step", "class changes", "to data", "paths"], caption, "smoothness", "l" + 7 * "r")


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
        plot_history(pd.read_csv(run.folder / "history.csv").to_dict("records"), {"loss": run.config.name}, f"MSE of {run.config.target}", ax)
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
    fd = lambda row: row["scores"]["fd_lenet"]["value"]
    longest = max((row for row in compared if row["sampler"] == "ancestral"), key=lambda row: row["steps"], default=None)
    short = min((row for row in compared if row["evaluations"] <= 20), key=fd, default=None)
    if not longest or not short or longest is short:
        return ""
    change = fd(short) / fd(longest) - 1
    return (
        f"For {after}, the best sampler with at most 20 evaluations is {short['sampler']} ({short['evaluations']} evaluations): {number(fd(short))}, "
        f"against {number(fd(longest))} of ancestral sampling with {longest['steps']}, {number(100 * abs(change), 0)} percent {'more' if change > 0 else 'less'} "
        f"in {number(100 * short['seconds'] / longest['seconds'], 0)} percent of the time.\n"
    )


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
    first = done[done.dataset == runs.dataset.iloc[0]]  # distances of different data sets cannot be compared
    scored = [(value, r) for r in first.itertuples() if (value := dig(r.metrics, "scores", "fd_lenet", "value")) is not None]
    value, best = min(scored, key=lambda pair: pair[0], default=(None, None))
    versions = sorted({", ".join(f"{k} {v}" for k, v in (dig(m, "versions") or {}).items()) for m in done.metrics})
    return {
        "profile": profile,
        "date": datetime.date.today().isoformat(),
        "commit": git_commit() or "no git commit",
        "versions": "; ".join(versions) or "—",
        "devices": devices(runs),
        "datasets": " and ".join(sorted(set(runs.dataset))),
        "jobs": {"planned": str(len(runs)), "done": str(len(done))},
        "best": {
            "dataset": runs.dataset.iloc[0],
            "run": best.label if best else "—",
            "epochs": str(best.epochs) if best else "—",
            "fd_lenet": number(value),
            "floor": number(dig(best.metrics, "scores", "fd_lenet", "floor")) if best else "—",
            "times_floor": number(value / dig(best.metrics, "scores", "fd_lenet", "floor"), 1) if best else "—",
            "n": number(best.metrics["n_samples"], 0) if best else "—",
        },
    }


# %% [markdown]
# All together: every fragment that `report/report.qmd` includes has a line here.

# %%
#| export
def general_fragments(runs: pd.DataFrame, folder: Path) -> dict[str, str]:
    "The fragments of report/report.qmd, by name; figures are saved in `folder`."
    gan_columns = {"loss_d": "Loss_D", "loss_g": "Loss_G", "d_x": "$D(x)$", "d_held_out": "held out", "d_g_z1": "$D(G(z))$ before", "d_g_z2": "after"}
    gan, ddpm, vae = (runs[runs.model == model] for model in ("gan", "ddpm", "vae"))
    distance_figure(runs, folder / "distances")
    precision_recall_figure(runs, folder / "precision-recall")
    bias_figure(runs, folder / "bias")
    return {
        "glance": glance_fragment(runs, folder),
        "discussion": discussion_fragment(runs),
        "data": data_fragment(runs, folder),
        "gan-losses": gan_losses_fragment(gan, folder),
        "gan-samples": samples_fragment(gan, folder),
        "gan-table": loss_table(gan, gan_columns, "gan-losses"),
        "ring": ring_fragment(folder),
        "collapse": collapse_fragment(gan, folder),
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
        "distances": distance_table(runs, "distances"),
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
assert variables["best"] | {"n": ""} == {"dataset": "digits", "run": "dcgan", "epochs": "5", "fd_lenet": "31.42", "floor": "14.20", "times_floor": "2.2", "n": ""}
variables


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
        return preprocess(path.read_text(encoding="utf-8"), folder, variables).strip("\n")

    def variable(match: re.Match) -> str:
        value = dig(variables, *match[1].split("."))
        if value is None:
            raise ValueError(f"The report uses the variable {match[1]}, but there is no such variable.")
        return str(value)

    text = re.sub(r"^\{\{< *include +(\S+) *>\}\} *$", include, text, flags=re.M)
    return re.sub(r"\{\{< *var +(\S+) *>\}\}", variable, text)


# %%
place = generated.parent
assert preprocess("a {{< var best.epochs >}} b", place, variables) == "a 5 b"
assert "| dcgan | 5 |" in preprocess("x\n\n{{< include _generated/times.md >}}\n\ny", place, variables)
with pytest.raises(ValueError, match="includes _generated/nothing.md, but"):
    preprocess("{{< include _generated/nothing.md >}}", place, variables)
with pytest.raises(ValueError, match="variable best.age, but"):
    preprocess("{{< var best.age >}}", place, variables)

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
    config = json.loads((run_folder / "config.json").read_text())
    known = {kind.model_fields["model"].default: kind for kind in CONFIGS.values()}
    folder = results / Run(known[config["model"]](**config)).folder.relative_to(runs_root())
    evaluated = sorted(path.parent for path in run_folder.glob("epoch-*/metrics.json"))
    if not evaluated:
        raise ValueError(f"{run_folder}: no epoch count of this run has been evaluated.")
    for epoch in evaluated:
        (folder / epoch.name).mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / epoch.name / "samples.npz", samples=np.load(epoch / "samples.npz")["samples"][:keep])
        for name in ("metrics.json", "samplers.json", "pictures.npz"):
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
    parser.add_argument("--scale", type=float, default=1.0, help="the share of epochs, images and samples that the runs had (default: 1)")
    parser.add_argument("--publish", nargs="+", type=Path, metavar="RUN", help="copy what a report needs of these runs' folders into report/results, and stop")
    parser.add_argument("--engine", choices=["latex", "typst"], help="default: LaTeX where it is installed, else Typst")
    options = parser.parse_args()
    folder, source, make = project_root() / "report", "report.qmd", general_fragments
    if options.profile == "seeds":  # has a text of its own
        from genlab.seeds import seed_fragments as make  # here because genlab.seeds itself imports this module

        source = "seeds.qmd"
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
assert "{{<" not in text and "31.42" in text
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
# - Numbers flow one way: run, `metrics.json`, fragment, PDF.
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
# Then `make report PROFILE=seeds3`. The runs need no names: what tells namesakes apart, here the seed, goes into their labels. Whether a profile is right can be seen without training:
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
