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
import datetime
import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pypandoc
import seaborn as sns
import typst
import yaml

from genlab.augment import plot_distance_bands, plot_gap
from genlab.collapse import count_classes, load_ring, plot_classes, plot_strips, ring
from genlab.data import load_dataset, show_grid
from genlab.ddpm import plot_denoising, plot_level_losses, plot_noise
from genlab.guidance import plot_guidance
from genlab.likelihood import read_likelihood
from genlab.samplers import plot_samplers, scored_samplers
from genlab.interpolation import load_paths, plot_walks
from genlab.measures import plot_copies, plot_nearest
from genlab.plug import KINDS, MEASURES
from genlab.runs import Run, atomic, git_commit, plot_history, project_root, read_config, runs_root
from genlab.sentences import Estimate, Evaluation, best_of, claim_fragment, comparable, compare, discussion_fragment, glance_fragment, largest_groups, listed
from genlab.sweep import Job, collect_runs, last_error, plan, walked
from genlab.tables import (
    DIVERSITY,
    MEASURES_CAPTION,
    NONE,
    bias_figure,
    class_table,
    device_marks,
    devices,
    distance_figure,
    distance_table,
    escape,
    figure,
    grid_figure,
    legend_above,
    loss_table,
    markdown_table,
    measure_table,
    number,
    plot_label,
    plus_minus,
    precision_recall_figure,
    provenance_table,
    sample_sheets,
    save_figure,
    slug,
    time_table,
    timed,
    uncertain,
    value_at,
    verbatim,
)
from genlab.vae import plot_codes, plot_plane, plot_reconstructions, plot_sources, plot_units

# %%
#| hide
import tempfile

import pytest

from genlab.gan import GANConfig
from genlab.sweep import made_up_runs

home = tempfile.TemporaryDirectory()
os.environ["GENLAB_RUNS"] = home.name
runs = made_up_runs()  # of the first epoch count nothing is there
jobs = list(runs.job)
score = runs.metrics[1]["scores"]["fd_lenet"]


# %% [markdown]
# ## Fragments
#
# A fragment is a Markdown file with a table, or with figures and their captions. Sections of the report include them.

# %%
#| export
def data_fragment(runs: pd.DataFrame, folder: Path) -> str:
    parts = []
    for dataset, size in sorted({(r.dataset, r.job.run.config.size) for r in runs.itertuples()}, key=str):
        stem = slug(f"real-{escape(dataset)}{f'-{size}' if size else ''}")
        try:
            train, test = (load_dataset(dataset, split, size).images for split in ("train", "test"))
        except (RuntimeError, OSError, ValueError) as problem:
            parts.append(f"{verbatim(dataset)} could not be loaded: {verbatim(str(problem))}\n")
            continue
        grid_figure(test, folder / stem)
        c, h, w = train.shape[1:]
        caption = f"Real images: the first 64 of the {len(test):,} test images of {verbatim(dataset)}. Training has {len(train):,}. Each has {w}×{h} pixels and {c} channel{'s' * (c > 1)}."
        parts.append(figure(folder, stem, caption, stem, "36%"))
    return "\n".join(parts)


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
        fixed = [number(value_at(known, "bounds", name, "bits_per_dim"), 3) for name in symbols]
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
            fd = value_at(row, "scores", "fd_lenet") or {}
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
        known, fd = value_at(r.metrics, "likelihood") or {}, value_at(r.metrics, "scores", "fd_lenet") or {}
        tested = f"test, {known['n']:,}" if known else "—"
        rows.append([r.label, r.epochs, escape(r.dataset), tested, number(value_at(r.metrics, "losses", "loss"), 1),
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
        scores = [value_at(r.metrics, "scores", "fd_lenet") or {}, *(value_at(r.metrics, "sources", source) or {} for source in ("mixture", "posterior"))]
        rows.append([r.label, r.epochs, number(value_at(r.metrics, "n_samples"), 0), *(uncertain(s.get("value"), s.get("sd")) for s in scores),
                     uncertain(scores[0].get("floor"), scores[0].get("floor_sd"))])  # fmt: skip
    caption = (
        "`fd_lenet` of a VAE's samples by the source of their codes: the prior; a mixture of ten Gaussians fitted to the codes of training images; "
        "the codes of training images themselves, with the encoder's noise (which gives reconstructions, not new images)."
    )
    return markdown_table(rows, ["run", "epochs", "$N$", "prior", "mixture", "posterior", "floor"], caption, label)


# %%
#| export
def gan_loss_figure(history: list[dict], path: Path) -> None:
    "Losses and verdicts of a GAN side by side."
    fig, axes = plt.subplots(1, 2, figsize=(7.2, 2.5), layout="constrained")
    plot_history(history, {"loss_d": "Loss_D", "loss_g": "Loss_G"}, "loss", axes[0])
    plot_history(history, {"d_x": "$D(x)$", "d_g_z1": "$D(G(z))$ before", "d_g_z2": "$D(G(z))$ after"}, "mean verdict", axes[1])
    save_figure(fig, path)


# %% [markdown]
# Are they copies? One can look.

# %%
#| export
def _nearest_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "For the last epoch count of each run: samples and their nearest training images."
    parts = []
    for r in runs[runs.metrics.notna()].groupby("label", sort=False).tail(1).itertuples():
        if value_at(r.metrics, "scores", "memorisation", "value") is not None:
            stem = slug(f"nearest-{r.model}-{r.label}")
            train = r.job.run.config.training_set().images
            save_figure(plot_nearest(r.job.run.samples(r.epochs)[:16], r.dataset, train=train).figure, folder / stem)
            caption = f"{r.label} after {r.epochs} epoch{'s' * (r.epochs > 1)}: samples (first row), and below each the two nearest training images in LeNet's features."
            parts.append(figure(folder, stem, caption, stem, "80%"))
            parts.append(_copies_figure(r, folder))
    return "\n".join(parts) or NONE


def _copies_figure(r, folder: Path) -> str:
    "Distances to the nearest training image of an evaluation's samples and of test images; nothing if they are not known."
    copies, stem = value_at(r.metrics, "scores", "copies") or {}, slug(f"copies-{r.model}-{r.label}")
    if "histogram" not in copies:
        return ""
    save_figure(plot_copies(copies).figure, folder / stem)
    caption = f"{r.label} after {r.epochs} epoch{'s' * (r.epochs > 1)}: distances to the nearest training image in LeNet's features. Left of the dashed line are 1 % of the test images, and a share of {uncertain(copies['value'], copies['sd'])} of the samples."
    return figure(folder, stem, caption, stem, "60%")


# %%
#| export
def gan_losses_fragment(runs: pd.DataFrame, folder: Path) -> str:
    parts = []
    for label, group in runs[runs.metrics.notna()].groupby("label", sort=False):
        stem = slug(f"losses-gan-{label}")
        history = pd.read_csv(group.job.iloc[0].run.folder / "history.csv").to_dict("records")
        gan_loss_figure(history, folder / stem)
        caption = f"{label}: losses (left) and mean verdicts of the discriminator (right). Faint: single batches; solid: running mean."
        parts.append(figure(folder, stem, caption, stem))
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
        found = {plot_label(r.label): score for r in group.itertuples() if "expected" in (score := value_at(r.metrics, "scores", "class_kl") or {})}
        for i in range(0, len(found), 4):
            some, stem = dict(list(found.items())[i : i + 4]), slug(f"{name}-{escape(dataset)}{f'-{size}' if size else ''}-{i}")
            classes = [plot_label(escape(c)) for c in load_dataset(dataset, "test", size or None).classes]
            save_figure(plot_classes(some, classes), folder / stem)
            seen = ", ".join(f"{label} {count_classes(score)} of {len(score['expected'])}" for label, score in some.items())
            caption = f"Classes of samples (bars) and of test images (steps) of {verbatim(dataset)}, as the classifier sees them. Classes with at least a tenth of their share: {seen}."
            parts.append(figure(folder, stem, caption, stem, f"{25 * len(some)}%"))
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
            stem = f"few{f'-{len(parts)}' * bool(parts)}"
            parts.append(_few_figure({name: found for (_, name), found in settings.items()}, kind, folder, stem))
            parts += [_few_sentence(settings[plain], settings[other]) for other in augmented]
    return "\n".join(parts) or NONE


def _few_figure(settings: dict[str, list[Evaluation]], kind: tuple, folder: Path, stem: str) -> str:
    curves = {}
    for name, evaluations in settings.items():
        rows = pd.DataFrame([(r.seed, r.metrics["updates"], r.metrics["scores"]["fd_lenet"]["value"]) for e in evaluations for r in e.rows])
        curves[plot_label(name)] = [(run[1].tolist(), run[2].tolist()) for _, run in rows.groupby(0)]
    fig, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
    plot_distance_bands(curves, ax)
    ax.set(xlabel="updates", ylabel="fd_lenet to the test set")
    save_figure(fig, folder / stem)
    seeds = listed(sorted({str(len(runs)) for runs in curves.values()}))
    caption = f"`fd_lenet` of $N$ = {kind[-1]:,} samples against updates, without and with augmentation: mean over seeds ({seeds} of each) and, where there are several, a band of one standard deviation to either side."
    return figure(folder, stem, caption, stem, "65%")


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
def evaluation(*values, sd=1.0, setting="a"):
    rows = [{"setting": setting, "label": f"{setting}, seed {i}", "epochs": 5, "metrics": {"scores": {"fd_lenet": {"value": v, "sd": sd}}}} for i, v in enumerate(values)]
    return Evaluation(list(pd.DataFrame(rows).itertuples()))


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
        stem = slug(f"losses-vae-{label}")
        history = pd.read_csv(group.job.iloc[0].run.folder / "history.csv").to_dict("records")
        fig, axes = plt.subplots(1, 2, figsize=(7.2, 2.2), layout="constrained")
        plot_history(history, {"reconstruction": "reconstruction"}, "per image", axes[0])
        plot_history(history, {"kl": "KL"}, "nats per image", axes[1])
        save_figure(fig, folder / stem)
        parts.append(figure(folder, stem, f"{label}: the two terms of the loss, reconstruction (left) and KL (right). Faint: single batches; solid: running mean.", stem))
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
        pictures, stem = r.job.run.pictures(r.epochs), slug(label)
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
            save_figure(make(), folder / f"{kind}-{stem}")
            parts.append(figure(folder, f"{kind}-{stem}", caption, f"{kind}-{stem}", width))
    return "\n".join(parts) or NONE


# %% [markdown]
# Walks and grids for the eye:

# %%
#| export
def _interpolation_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "Paths through the latent spaces, a grid between four corners, and how smooth paths are."
    kept = {job.run.config.model: load_paths(job.folder) for job in walked(job for job in runs.job if load_paths(job.folder))}
    parts = [f"There are no paths of {r.label}: {verbatim(last_error(log))}\n" for r in runs[runs.metrics.notna()].itertuples()
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
    shown = lambda measures: [uncertain(value_at(measures, key, "value"), value_at(measures, key, "se")) for key in columns]
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
        pictures, T, stem = r.job.run.pictures(r.epochs), r.job.run.config.T, slug(label)
        after = f"{label} after {r.epochs} epoch{'s' * (r.epochs > 1)}"
        draw = {
            "denoising": (lambda: plot_denoising(pictures).figure, f"{after}: how images emerge. A column a sample, a row a stage of ancestral sampling, pure noise at the top.", "45%"),
            "noise": (lambda: plot_noise(pictures, T), f"{after}: a test image at several noise levels, the noise in it, and the noise that is predicted before and after training.", "70%"),
            "levels": (lambda: plot_level_losses(pictures, T).figure, f"{after}: error of the prediction on {min(256, r.metrics['n_samples'])} test images, by noise level.", "60%"),
        }
        if "guidance" in pictures:
            draw["guidance"] = (lambda: plot_guidance(pictures).figure, f"{after}: a column a class and a latent, a row a guidance scale $s$.", "70%")
        for kind, (make, caption, width) in draw.items():
            save_figure(make(), folder / f"{kind}-{stem}")
            parts.append(figure(folder, f"{kind}-{stem}", caption, f"{kind}-{stem}", width))
    return "\n".join(parts) or NONE


# %%
def made_up(vae_fd, gan_fd):
    known = {"n_samples": 500, "train_seconds": 9.0, "losses": {"loss": 210.0}, "sources": {"mixture": {"value": 40.0, "sd": 3.0}}}
    known["likelihood"] = {"elbo": -207.6, "se": 0.8, "gap": 1.8, "kl": 8.43, "bits_per_dim": 8.16, "n": 500}
    results = [("vae", 5, vae_fd), ("vae", 20, 1.0), ("gan", 5, 2.0), ("gan", 50, gan_fd)]
    return pd.DataFrame([
        {"model": model, "dataset": "digits", "subset": None, "setting": model, "label": model, "epochs": e, "metrics": known | {"scores": {"fd_lenet": {"value": fd, "sd": 3.0, "floor": 13.4, "floor_sd": 7.1}}}}
        for model, e, fd in results
    ])  # fmt: skip


assert "| vae | 5 | digits | test, 500 | 210.0 | −207.6 ± 0.8 | 1.8 | 8.4 | 8.160 | 30(3) |" in elbo_table(made_up(30.0, 24.0)[:1], "e")
assert "| vae | 5 | 500 | 30(3) | 40(3) | — | 13(7) |" in source_table(made_up(30.0, 24.0)[:1], "s")


# %% [markdown]
# A comparison of samplers comes with a sentence.

# %%
#| export
def _samplers_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "For each network whose samplers were compared: distance against evaluations, and what that says in words."
    parts = []
    for r in runs.itertuples():
        if compared := [row for row in scored_samplers(r.job.run) if value_at(row, "scores", "fd_lenet", "value") is not None]:
            stem = f"samplers-{slug(r.label)}-{r.epochs}"
            save_figure(plot_samplers(compared).figure, folder / stem)
            after = f"{r.label} after {r.epochs} epoch{'s' * (r.epochs > 1)}"
            caption = f"{after}: `fd_lenet` against evaluations of the network for an image. Bars: standard deviation over samples; dotted: the longest ancestral run; dashed: the floor."
            parts += [figure(folder, stem, caption, stem, "65%"), _sampler_sentence(after, compared)]
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
    versions = sorted({", ".join(f"{k} {v}" for k, v in (value_at(m, "versions") or {}).items()) for m in done.metrics})
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
    text = f"On {escape(value_at(r.metrics, 'scores', 'fd_lenet', 'reference') or r.dataset)} the smallest Frechet distance in classifier features ($N$ = {r.metrics['n_samples']:,})"
    text += f" is that of the {KINDS[best.model].title} {first}{best_of(len(named))}: {best.distance}."
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
        "gan-samples": sample_sheets(gan, folder, "samples-gan"),
        "gan-table": loss_table(gan, gan_columns, "gan-losses"),
        "ring": ring_fragment(folder),
        "collapse": collapse_fragment(gan, folder),
        "few": _few_fragment(gan, folder),
        "gap": _gap_fragment(gan, folder),
        "ddpm-losses": ddpm_losses_fragment(ddpm, folder),
        "ddpm-table": loss_table(ddpm, {"loss": "mean squared error"}, "ddpm-losses"),
        "ddpm-samples": sample_sheets(ddpm, folder, "samples-ddpm"),
        "ddpm-pictures": ddpm_pictures_fragment(ddpm, folder),
        "samplers": _samplers_fragment(ddpm, folder),
        "sampler-table": sampler_table(ddpm, "samplers"),
        "likelihoods": likelihood_table(ddpm, "likelihoods"),
        "vae-losses": vae_losses_fragment(vae, folder),
        "vae-table": loss_table(vae, {"loss": "loss", "reconstruction": "reconstruction", "kl": "KL (nats)"}, "vae-losses"),
        "vae-samples": sample_sheets(vae, folder, "samples-vae"),
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
write_fragments("mine", runs, Path(home.name, "report", "_generated"))
generated = Path(home.name, "report", "_generated")
assert "{#fig-samples-gan" in (generated / "gan-samples.md").read_text()
assert "**dcgan, 1 epoch** is missing: `it was not run.`" in (generated / "missing.md").read_text()
variables = yaml.safe_load((generated.parent / "_variables.yml").read_text())
assert variables["best"].startswith("On digits the smallest Frechet distance in classifier features ($N$ = 64) is that of the GAN *dcgan* after 5 epochs: 31.4(8).")
assert home.name in variables.pop("runs")
assert variables["best"].endswith("As many real images have 14(2), the floor; the model is at 2.2(2) times the floor (of a squared distance).")
variables

# %% [markdown]
# Runs at two sizes, one of them also with a part of the images: nothing is compared across sizes, and each has a sheet of its own.

# %%
configs = [GANConfig(epochs=1), GANConfig(epochs=1, subset=300), GANConfig(epochs=1, name="small", size=8)]
sizes = [Job("01_gan", {"epochs": 1}, Run(config), 1) for config in configs]
for job, side in zip(sizes, (16, 16, 8), strict=True):
    job.run.folder.mkdir(parents=True)
    job.run.training = {**jobs[1].run.training, "updates": 11}
    values = {"reference": f"digits, {side}x{side}", "hash": f"{side}"}
    job.run.finish(1, load_dataset("digits", "test", side).images[:40], scores={"fd_lenet": score | values | {"value": 30.0 + side}}, sample_seconds=0.5)
    (job.run.folder / "history.csv").write_text("step,epoch,i,loss_d,loss_g,d_x,d_g_z1,d_g_z2\n0,1,0,1,1,1,1,1\n")
sizes = collect_runs(sizes)
fragments = general_fragments(sizes, generated)
assert fragments["glance"].count("{#tbl-glance") == fragments["glance"].count("{#fig-glance") == 2 and "_generated/glance-1)" in fragments["glance"]
assert list(comparable(sizes)) == [("digits", "digits, 16x16", "16", 40), ("digits", "digits, 8x8", "8", 40)]
assert "{#fig-samples-gan" in fragments["gan-samples"]
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
        value = value_at(variables, *match[1].split("."))
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
    config = read_config(run_folder, {model: kind.config for model, kind in KINDS.items()})
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
copy = publish_run(jobs[1].run.folder, Path(home.name, "results"), keep=20)
os.environ["GENLAB_RUNS"] = str(Path(home.name, "results"))
again = collect_runs([Job(job.notebook, job.parameters, Run(job.run.config), job.planned) for job in jobs])
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
# In `time_table`, put `number(value_at(r.metrics, "parameters"), 0)` at the end of each row and `"parameters"` at the end of the headings, and hand `"l" + "r" * 8` to `markdown_table` as its last argument, which by default aligns eight columns and not nine.
#
# Then `make sync`, which exports the notebooks. Old runs and other models have no such number, and since `value_at` returns None for what is not there, they get a dash and not an error. An old run counts as done and is not trained again, so its dash stays until its folder is removed or the run gets another name. What one should not do is build the network again from `config.json` while the table is written: then the table would say what today's code makes of the configuration, not what was trained.
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
