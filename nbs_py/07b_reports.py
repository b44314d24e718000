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
# # The five reports
#
# > What five student reports found, and what the same models find here: tables with both numbers side by side, and the figures that the reports had
#
# The profile `reports` has a row for each run of the five reports that this course began with; a row's `published` holds what the report says it found. `make report PROFILE=reports` executes them and makes a PDF with a section a report (`report/reports.qmd`). Most of its tables and figures are those of every report of ours ([07_report](07_report.ipynb)), made from the runs of one report only. This notebook adds the few that are special.

# %%
#| default_exp reports

# %% tags=["parameters"]
epochs = 20  # of the tiny GANs that show what is made of the reports' runs

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from genlab.augment import AUGMENTATIONS, augment_images
from genlab.collapse import collapse_fragment, ring_fragment
from genlab.data import ImageSet, show_grid, take, to_model
from genlab.ddpm import ddpm_losses_fragment, ddpm_pictures_fragment, make_diffusion
from genlab.gan import PANELS, GANConfig, layer_table, resolutions
from genlab.interpolation import keep_paths, load_paths
from genlab.plug import NETWORKS
from genlab.report import data_fragment, missing_fragment
from genlab.sentences import claim_fragment
from genlab.tables import (
    NONE,
    device_marks,
    devices,
    distance_figure,
    distance_heading,
    distance_score,
    distance_table,
    figure,
    loss_curves,
    loss_table,
    markdown_table,
    measure_table,
    number,
    plural,
    provenance_table,
    sample_sheets,
    save_figure,
    time_table,
    timed,
    uncertain,
    value_at,
    verbatim,
)
from genlab.vae import elbo_table, vae_losses_fragment, vae_pictures_fragment

# %%
#| hide
import os
import tempfile

import matplotlib.pyplot as plt
import pytest

from genlab.data import load_dataset
from genlab.gan import make_networks, run_gan
from genlab.runs import Run
from genlab.sweep import Job, collect_runs


# %% [markdown]
# ## Published and ours
#
# A table for each report: what it printed, and what we measure. Where it printed a FID, ours stands beside it if the weights that it needs could be had. `fd_lenet` follows with its floor. The two are different distances ([05_fid](05_fid.ipynb)) and not to be compared with each other.

# %%
#| export
def _as_printed(value: float | None) -> str:
    return "—" if value is None else f"{value:g}".replace("-", "−")


def _fid(metrics: dict | None) -> str:
    return uncertain(*(value_at(metrics, "scores", "fid", key) for key in ("value", "sd")))


def _elbo(metrics: dict | None) -> str:
    return number(value_at(metrics, "likelihood", "elbo"), 1)


def _loss(metrics: dict | None) -> str:
    return number(value_at(metrics, "losses", "loss"), 4)


def _minutes(metrics: dict | None) -> str:
    seconds = value_at(metrics, "train_seconds")
    return "—" if seconds is None else number(seconds / 60, 1)


OURS = {  # what a report printed: its heading, and the same of ours
    "fid": ("FID", _fid),
    "elbo": ("ELBO", _elbo),
    "loss": ("loss", _loss),
    "minutes": ("minutes", _minutes),
}


# %% [markdown]
# A report that printed another number than a FID gets two columns more.

# %%
#| export
def published_table(runs: pd.DataFrame, label: str) -> str:
    "What a report printed beside what is measured here, a row for each run and epoch count."
    kinds = [kind for kind in OURS if kind == "fid" or any(kind in job.published for job in runs.job)]
    header, marks = ["run", "epochs"], device_marks(runs)
    for kind in kinds:
        header += [f"{OURS[kind][0]}, report", "here"]
    rows = [_published_row(r, kinds, marks) for r in runs.itertuples()]
    small, distances = any(r.epochs != r.job.planned for r in runs.itertuples()), distance_heading(runs)
    fraction = ", at a fraction of these epochs, images and samples" if small else ""
    caption = (
        f"What the report printed, and what is measured here{fraction}. A dash: not printed, or not to be "
        f"had. {distances} has no counterpart in the report. Times on {devices(runs)}."
    )
    return markdown_table(rows, [*header, distances, "floor", "$N$"], caption, label)


def _published_row(r, kinds: list[str], marks: dict[str, str]) -> list:
    row = [r.label, r.job.planned]
    for kind in kinds:
        ours = OURS[kind][1](r.metrics)
        ours = timed(ours, [r], marks) if kind == "minutes" else ours
        row += [_as_printed(r.job.published.get(kind)), ours]
    fd = distance_score(r.metrics)
    distances = [uncertain(fd.get("value"), fd.get("sd")), uncertain(fd.get("floor"), fd.get("floor_sd"))]
    return [*row, *distances, number(value_at(r.metrics, "n_samples"), 0)]


# %% [markdown]
# A run with thirty epoch counts would fill a page, so some are left out.

# %%
#| export
def thinned(runs: pd.DataFrame, most: int = 6) -> pd.DataFrame:
    "Of each run about so many epoch counts: the first, the last, some between, and those in print."
    keep = []
    for _, group in runs.groupby("label", sort=False):
        step = max(1, -(-len(group) // most))
        shown = {*range(0, len(group), step), len(group) - 1}
        keep += [i for n, (i, r) in enumerate(group.iterrows()) if n in shown or r.job.published]
    return runs.loc[keep]


# %% [markdown]
# And if other images took the place of a report's, that is said.

# %%
#| export
def stand_ins(runs: pd.DataFrame) -> str:
    "A sentence on each data set that could not be had."
    missing = {(verbatim(r.instead_of), verbatim(r.dataset)) for r in runs.itertuples() if r.instead_of}
    sentences = [
        f"**Stand-in images.** {wanted} could not be had; {used} took its place, "
        f"and numbers of such runs say nothing about {wanted}.\n\n"
        for wanted, used in sorted(missing)
    ]
    return "".join(sentences)


# %%
scores = {"fd_lenet": {"value": 31.4, "sd": 0.8, "floor": 14.2, "floor_sd": 1.5}, "fid": {"value": None}}
made_up = {"scores": scores, "n_samples": 64, "train_seconds": 90.0}
rows = []
for planned, fid in ((5, 1.186e80), (50, -3.752e92)):
    job = Job("01_gan", {}, None, planned, {"fid": fid, "minutes": 5.0}, "celeba")
    rows.append({"label": "dcgan", "dataset": "tinted_digits", "epochs": 5, "metrics": made_up, "job": job})
table = pd.DataFrame(rows).assign(instead_of="celeba")
print(published_table(table, "a"))
assert "| dcgan | 5 | 1.186e+80 | — | 5 | 1.5 | 31.4(8) | 14(2) | 64 |" in published_table(table, "a")
assert "| dcgan | 50 | −3.752e+92 |" in published_table(table, "a")
assert "at a fraction of these epochs" in published_table(table, "a")
jobs = [Job("01_gan", {}, None, n, {"fid": 74.0} if n == 7 else {}) for n in range(1, 31)]
long = pd.DataFrame([{"label": "dcgan", "job": job} for job in jobs])
assert [job.planned for job in thinned(long).job] == [1, 6, 7, 11, 16, 21, 26, 30]
assert stand_ins(table).startswith("**Stand-in images.** `celeba` could not be had; `tinted_digits` took")


# %% [markdown]
# ## One image against one image
#
# Report 000 gave up on sets of images and took the FID of one real image and one generated image of the same digit. A single image has no covariance, so what is left is the squared distance of two feature vectors. Two *real* images of one digit have such a distance, too. The metric `one_image` measures it when a run is evaluated:

# %%
#| export
def one_image_table(runs: pd.DataFrame, digit: int, label: str) -> str:
    "Squared distances of one test image of a digit to three samples and to three other test images of it."
    last = runs[runs.metrics.notna()].tail(1)
    if last.empty:
        return NONE
    (r,) = last.itertuples()
    pairs = value_at(r.metrics, "scores", "one_image", "pairs") or []
    of_digit, rows = pairs[digit] if digit < len(pairs) else {}, []
    for what, key in (("generated image", "samples"), ("other test image", "test")):
        found = [*of_digit.get(key, []), None, None, None][:3]
        rows += [[f"a test image and {what} {i}", number(value, 1)] for i, value in enumerate(found, 1)]
    caption = (
        f"Squared distance of single images of a {digit} in LeNet's features, which also sort the images "
        f"({r.label}, {plural(r.epochs, 'epoch')}). It says how different two pictures are, not how good a "
        "model is."
    )
    return markdown_table(rows, ["pair", "distance"], caption, label)


# %% [markdown]
# ## The noising strip, the augmentations, the grid between corners
#
# Report 001's figures 1, 7 and 10, from our runs. Images under more and more noise:

# %%
#| export
def strip_fragment(runs: pd.DataFrame, folder: Path, label: str) -> str:
    "Images of a diffusion run's data set under more and more noise."
    config = runs.job.iloc[0].run.config
    x0, diffusion = to_model(take(config.training_set(), 4).images), make_diffusion(config)
    times = [round(share * config.T) for share in (0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1)]
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(config.seed))
    strip = torch.stack([diffusion.q_sample(x0, t, noise) for t in times], 1).flatten(0, 1)
    save_figure(show_grid(strip, ncol=len(times)).figure, folder / label)
    caption = f"The noising of {verbatim(config.dataset)}, at $t$ = {', '.join(map(str, times))}."
    return figure(folder, label, caption, label, "80%")


# %% [markdown]
# What augmentation makes of images:

# %%
#| export
def augment_fragment(runs: pd.DataFrame, folder: Path, label: str) -> str:
    "What each augmentation of a GAN's policy does to eight of its images."
    config = runs.job.iloc[0].run.config
    torch.manual_seed(config.seed)
    x = to_model(config.training_set().images[:8])
    kinds = config.augment or list(AUGMENTATIONS)
    rows = torch.cat([x, *(augment_images(x, [kind]) for kind in kinds), augment_images(x, kinds)])
    save_figure(show_grid(rows, ncol=8, rows=["real", *kinds, "all"]).figure, folder / label)
    caption = f"Eight images of {verbatim(config.dataset)}, and what augmentation makes of them."
    return figure(folder, label, caption, label, "60%")


# %% [markdown]
# A grid between four latents, and the distance in the course of training:

# %%
#| export
def corners_fragment(runs: pd.DataFrame, folder: Path, label: str) -> str:
    "A grid of images between four latents of a GAN, kept with the run; made if there is none yet."
    last = runs[runs.metrics.notna()].tail(1)
    if last.empty:
        return NONE
    (r,) = last.itertuples()
    if load_paths(r.job.folder) is None:
        if not (r.job.folder / "weights.safetensors").exists():
            return NONE
        keep_paths(r.job.run.folder, r.epochs)
    _, images = load_paths(r.job.folder)
    save_figure(show_grid(images["corners"], ncol=7).figure, folder / label)
    caption = f"{r.label} after {plural(r.epochs, 'epoch')}: between four corners, along arcs."
    return figure(folder, label, caption, label, "50%")


def curve_fragment(runs: pd.DataFrame, folder: Path, label: str) -> str:
    "Distance against epochs."
    caption = f"Distance to the test set ({distance_heading(runs)}) against epochs; dashed, the floor."
    return distance_figure(runs, folder, label, caption) or NONE


# %% [markdown]
# ## Report 004's networks
#
# Report 004 built its GANs in Keras and printed their layers. The generator has one dense layer, which holds most of its parameters, a transposed convolution that doubles the resolution, and a convolution; the discriminator has three convolutions of 3x3 pixels and a dense layer. There is no batch normalisation.
#
# It also says that the network *collapsed* when layers were added. `extra_layers` adds them: so many 3x3 convolutions more before the last layer of each network. Tried on `digits` (`width` 56, batches of 128, a learning rate of 2e-4, bfloat16, 500 samples, one seed; `class_kl` is the divergence of the class histogram in nats, where one class only would have $\log10\approx2.3$, and *recall* the share of test images that lie where samples are):
#
# | more layers | dropout | `fd_lenet`, 5 epochs | `class_kl` | recall | `fd_lenet`, 25 epochs | `class_kl` | recall |
# |--:|--:|--:|--:|--:|--:|--:|--:|
# | 0 | 0 | 1288 | 1.38 | 0.00 | 195 | 0.17 | 0.42 |
# | 0 | 0.4 | 1319 | 1.45 | 0.00 | 186 | 0.20 | 0.56 |
# | 3 | 0 | 1601 | 2.16 | 0.00 | 87 | 0.17 | 0.71 |
# | 3 | 0.4 | 2467 | 2.23 | 0.00 | 134 | 0.17 | 0.62 |
#
# After 5 epochs none of them draws digits yet (recall is 0 in all rows), and the deeper ones are further off: nearly all samples are of one class, and with dropout the discriminator has won ($D(x)=1.00$, `Loss_D` 0.00). After 25 this is over, and the deeper ones are *better* than the shallow ones. So with this seed it is a matter of when one looks; exercise 5 of [01b_mode_collapse](01b_mode_collapse.ipynb) asks for more seeds.

# %%
#| export
def more_convolutions(width: int, n: int) -> list[nn.Module]:
    "So many 3x3 convolutions that keep width and size, each with its leaky ReLU."
    return [layer for _ in range(n) for layer in (nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(0.2))]


def report004_generator(latent: int, channels: int, size: int, extra_layers: int = 0) -> nn.Module:
    "z (B, latent) to images (B, channels, size, size) in [-1, 1]. ValueError if `size` is no multiple of 4."
    half = resolutions(size)[1]
    return nn.Sequential(
        nn.Linear(latent, 256 * half**2), nn.LeakyReLU(0.2), nn.Unflatten(1, (256, half, half)),
        nn.ConvTranspose2d(256, 128, 4, 2, 1), nn.LeakyReLU(0.2),
        *more_convolutions(128, extra_layers), nn.Conv2d(128, channels, 3, padding=1), nn.Tanh(),
    )  # fmt: skip


# %% [markdown]
# The report does not give the rate of its dropout. We take 0.4, as the tutorial does that it cites (`-p network report004 -p dropout 0.4`).

# %%
#| export
def report004_discriminator(channels: int, size: int, width=64, dropout=0.4, extra_layers=0) -> nn.Module:
    "Images (B, channels, size, size) to logits (B,); `width` is 56 for MNIST and 64 for CIFAR-10."
    w, quarter = width, size // 4
    return nn.Sequential(
        nn.Conv2d(channels, w, 3, 1, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(w, 2 * w, 3, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(2 * w, 4 * w, 3, 2, 1), nn.LeakyReLU(0.2), *more_convolutions(4 * w, extra_layers),
        nn.Flatten(), nn.Dropout(dropout), nn.Linear(4 * w * quarter**2, 1), nn.Flatten(0),
    )  # fmt: skip


# %% [markdown]
# Nor does it give the initialisation. We take Keras's default, Glorot's.

# %%
#| export
def init_glorot(module: nn.Module) -> None:
    "Keras's initialisation of one layer (Glorot and Bengio 2010, eq. 16); use as `net.apply(init_glorot)`."
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


# %% [markdown]
# With its name it can be asked for in a configuration. It has no classes and no normalisation:

# %%
#| export
def report004(config: GANConfig, data: ImageSet) -> tuple[nn.Module, nn.Module]:
    "Report 004's generator and discriminator for images like those of `data`, initialised."
    channels, size = data.images.shape[1:3]
    G = report004_generator(config.latent, channels, size, config.extra_layers).apply(init_glorot)
    D = report004_discriminator(channels, size, config.width, config.dropout, config.extra_layers)
    return G, D.apply(init_glorot)


NETWORKS["gan"]["report004"] = report004


# %% [markdown]
# The shapes and numbers of parameters that the report printed for CIFAR-10, layer by layer:

# %%
def layers_with_weights(net, x):
    table = layer_table(net, x)
    return table[table.parameters > 0].drop(columns="layer").values.tolist()


assert layers_with_weights(report004_discriminator(3, 32, 64), torch.zeros(2, 3, 32, 32)) == [
    [(64, 32, 32), 1792], [(128, 16, 16), 73_856], [(256, 8, 8), 295_168], [(1,), 16_385],
]  # fmt: skip
assert layers_with_weights(report004_generator(100, 3, 32), torch.zeros(2, 100)) == [
    [(65_536,), 6_619_136], [(128, 32, 32), 524_416], [(3, 32, 32), 3_459],
]  # fmt: skip
assert report004_generator(10, 1, 16, 2)(torch.zeros(3, 10)).shape == (3, 1, 16, 16)

# %%
#| hide
digits = load_dataset("digits")
for wrong in (dict(conditional=True), dict(norm="layer")):
    with pytest.raises(ValueError, match="network: report004 knows no classes and no other normalisation"):
        make_networks(GANConfig(network="report004", **wrong), digits)


# %% [markdown]
# ## Report 004's layers
#
# Its tables 1 to 4, from our networks.

# %%
#| export
def layers_fragment() -> str:
    "Layer tables of report 004's four networks, with the totals that it printed."
    parts = []
    for dataset, channels, size, width in (("mnist", 1, 28, 56), ("cifar10", 3, 32, 64)):
        discriminator = report004_discriminator(channels, size, width)
        images = torch.zeros(2, channels, size, size)
        generator, latents = report004_generator(100, channels, size), torch.zeros(2, 100)
        parts.append(_layers_of("discriminator", dataset, discriminator, images))
        parts.append(_layers_of("generator", dataset, generator, latents))
    return "\n".join(parts)


def _layers_of(kind: str, dataset: str, net: nn.Module, x: torch.Tensor) -> str:
    rows = []
    for _, r in layer_table(net, x).iterrows():
        rows.append([r.layer, "×".join(map(str, r["output shape"])), number(r.parameters, 0)])
    total = number(sum(p.numel() for p in net.parameters()), 0)
    caption = f"Report 004's {kind} for `{dataset}`: {total} parameters."
    return markdown_table(rows, ["layer", "output", "parameters"], caption, f"layers-{kind}-{dataset}", "lrr")


# %%
text = layers_fragment()
assert all(total in text for total in ("387,201", "7,147,011", "294,113", "5,593,345"))

# %% [markdown]
# ## All of it
#
# What is made for each report: the general fragments of its GANs, diffusion models and VAEs, and the special ones. A fragment that cannot be made does not stop the others.

# %%
#| export
COLUMNS = {column: name for panel in PANELS.values() for column, name in panel.items()}  # of the table
GAN_CAPTION = "Losses of GANs, and mean verdicts of their discriminators."


def report_fragments(runs: pd.DataFrame, folder: Path, report: str) -> dict[str, str]:
    "The fragments of one report, by name; `runs` are its runs."
    gan, ddpm, vae, latent = (runs[runs.model == model] for model in ("gan", "ddpm", "vae", "latent"))
    few = thinned(runs)
    return {
        "stand-ins": stand_ins(runs),
        "published": published_table(few, f"{report}-published"),
        "gan-losses": loss_curves(gan, folder, PANELS, GAN_CAPTION, f"{report}-losses-gan"),
        "gan-table": loss_table(few[few.model == "gan"], COLUMNS, f"{report}-gan-table"),
        "gan-samples": sample_sheets(gan, folder, f"{report}-samples-gan"),
        "ddpm-losses": ddpm_losses_fragment(ddpm, folder, f"{report}-losses-ddpm"),
        "ddpm-samples": sample_sheets(ddpm, folder, f"{report}-samples-ddpm"),
        "ddpm-pictures": ddpm_pictures_fragment(ddpm, folder),
        "vae-losses": vae_losses_fragment(vae, folder, f"{report}-losses-vae"),
        "vae-samples": sample_sheets(vae, folder, f"{report}-samples-vae"),
        "vae-pictures": vae_pictures_fragment(vae, folder),
        "latent-samples": sample_sheets(latent, folder, f"{report}-samples-latent"),
        "elbo": elbo_table(vae, f"{report}-elbo"),
        "diversity": measure_table(few, "diversity", "Good, or diverse?", f"{report}-diversity"),
        "distances": distance_table(few, f"{report}-distances"),
        "classes": collapse_fragment(runs, folder, f"{report}-histogram"),
        "times": time_table(few, f"{report}-times"),
    }


# %% [markdown]
# The special ones of a report are made last, each by itself, so that each can fail alone: there may be no such run, or no such images.

# %%
#| export
def reports_fragments(runs: pd.DataFrame, folder: Path) -> dict[str, str]:
    "The fragments of report/reports.qmd, by name: those of each report, and the special ones."
    fragments = {"data": data_fragment(runs, folder), "missing": missing_fragment(runs)}
    fragments["provenance"] = provenance_table(runs, "provenance")
    for report, group in runs.groupby(runs.name.str[:10], sort=False):  # report-000 and so on
        for name, text in report_fragments(group, folder, report).items():
            fragments[f"{report}-{name}"] = text
    return fragments | special_fragments(runs, folder)


def special_fragments(runs: pd.DataFrame, folder: Path) -> dict[str, str]:
    "What only one of the reports has."
    gan_000, ddpm_000 = (_runs_of(runs, "report-000", model) for model in ("gan", "ddpm"))
    gan_001, ddpm_001 = (_runs_of(runs, "report-001", model) for model in ("gan", "ddpm"))
    return {
        "report-000-one-image-gan": _made(one_image_table, gan_000, 6, "one-image-gan"),
        "report-000-one-image-ddpm": _made(one_image_table, ddpm_000, 5, "one-image-ddpm"),
        "report-001-ring": _made(ring_fragment, folder),
        "report-001-strip": _made(strip_fragment, ddpm_001, folder, "strip"),
        "report-001-augment": _made(augment_fragment, gan_001, folder, "augment"),
        "report-001-curve": _made(curve_fragment, gan_001, folder, "curve"),
        "report-001-corners": _made(corners_fragment, gan_001, folder, "report-001-corners"),
        "report-002-claim": _made(claim_fragment, runs[runs.name.str.startswith("report-002")]),
        "report-004-layers": _made(layers_fragment),
    }


def _runs_of(runs: pd.DataFrame, report: str, model: str) -> pd.DataFrame:
    return runs[runs.name.str.startswith(report) & (runs.model == model)]


def _made(make: Callable[..., str], *arguments) -> str:
    "What `make` returns, or why it cannot be made."
    try:
        return make(*arguments)
    except (KeyError, IndexError, RuntimeError, OSError, ValueError) as problem:
        return f"Not made: {' '.join(str(problem).split())}.\n"


# %% [markdown]
# To see it work, a tiny GAN in the place of report 000's and one in the place of report 001's. The table of single images is that of a digit that LeNet finds among the samples:

# %%
home = tempfile.TemporaryDirectory()
os.environ["GENLAB_RUNS"] = home.name
small = {"width": 8, "epochs": epochs, "n_samples": 100, "metrics": ["fd_lenet", "one_image"]}
configs = [GANConfig(name=name, **small) for name in ("report-000", "report-001")]
tiny = collect_runs([Job("01_gan", {}, run_gan(config), 50, {"fid": 175.0}) for config in configs])
folder = Path(home.name, "_generated")
folder.mkdir()
fragments = reports_fragments(tiny, folder)
assert "| report-000 | 50 | 175 | — |" in fragments["report-000-published"]
assert fragments["report-000-one-image-ddpm"].startswith("This profile has no such runs")
for name in ("report-001-augment", "report-001-corners", "report-001-curve"):
    assert "_generated/" in fragments[name], fragments[name]
pairs = tiny.metrics[0]["scores"]["one_image"]["pairs"]
expected = f"| a test image and other test image 3 | {pairs[6]['test'][2]:,.1f} |"
assert expected in fragments["report-000-one-image-gan"]
digit = max(range(10), key=lambda i: len(pairs[i]["samples"]))
shown = one_image_table(tiny[:1], digit, "one-image")
assert f"| a test image and generated image 1 | {pairs[digit]['samples'][0]:,.1f} |" in shown
without = tiny.assign(metrics=[{"scores": {}}] * 2)
assert one_image_table(without, 6, "a").count("| — |") == 6, "runs that were not asked for it"
print(shown)

# %%
augmented = GANConfig(augment=["translate", "tilt", "cutout"])
plt.close("all")
augment_fragment(pd.DataFrame([{"job": Job("01_gan", {}, Run(augmented), 1)}]), folder, "shown")
plt.figure(figsize=(5, 3), layout="constrained")
plt.imshow(plt.imread(folder / "shown.png"))
plt.axis("off");

# %%
#| hide
home.cleanup()
del os.environ["GENLAB_RUNS"]

# %% [markdown]
# ## What to remember
#
# - Beside a number from elsewhere stands ours of the same name; whether both measure the same thing has to be asked each time, and of report 002's ELBOs nobody can tell.
# - A run on stand-in images proves that a row of a profile runs, and nothing else.
#
# ## Exercises
#
# 1. Add a row for a report of your own, `report-005`, to `report/profiles/reports.yaml`, with what it printed under `published`, and a section to `report/reports.qmd`. Make the PDF with `make report PROFILE=reports SCALE=0.01`. (A profile of another name gets the general report, which has no column for what was published.)
# 2. Which of the five reports' numbers could one check without training anything? Which could not be checked at all, because something is not said?

# %% [markdown]
# ## Solutions
#
# <details><summary>1. A report of your own</summary>
#
# The row, at the end of `report/profiles/reports.yaml` (here for a made-up report):
#
#     - {notebook: 01_gan, name: report-005, dataset: fashion_mnist, epochs: [5, 20], metrics: *metrics, published: {fid: {20: 48.2}, minutes: {20: 9}}}
#
# Runs are sorted by the first ten characters of their names, so all names of one report begin with the same `report-NNN`. What can be published is in `OURS` above: `fid`, `elbo`, `loss` and `minutes`, each with the epoch count at which the report has it; a count that is not among the row's `epochs` is left out of the table. Then a section of `report/reports.qmd`: copy the heading and a few `include` lines of another section and put 005 in their names. `report-005-stand-ins.md`, `report-005-published.md` and `report-005-gan-samples.md` are a good start; all the names there are stand in `report_fragments`. (An `include` of a file that is not there is an error that names it.)
#
# `make report PROFILE=reports SCALE=0.01` shows that the row runs and where its table will stand. The column of the report is in it already; ours is worth nothing before the run has its full size, and the caption says so. Read the printed numbers once more while you type them: what is N, which reference set, which features? If the report does not say, write so beside the table.
#
# </details>
#
# <details><summary>2. What can be checked</summary>
#
# *With pencil and paper, or with networks that were never trained.* The parameters of report 004's layers: a dense layer from $n$ to $m$ numbers has $(n+1)m$, a convolution of $k\times k$ from $c$ to $c'$ channels $(k^2c+1)c'$, and all four totals are right (the cell below "Report 004's layers"). Report 003's 7, 14, 28: doubling 3 gives 6, 12, 24. Report 000's FIDs: a squared distance is not negative, and $10^{80}$ is too large as well. The Frechet distance is the least mean squared distance over all ways to pair two heaps, so it is at most $\mathbb E\lVert x-y\rVert^2$ for independent $x$ and $y$; with 2,048 features it could reach $10^{80}$ only if features were of the order of $10^{38}$, the end of what float32 can hold. Its 5,000 "epochs" took 43 minutes, half a second each: little time for 60,000 images, and enough for a single batch, so they must be updates. Report 002's ELBO of 6327.64: if the loss was a binary cross-entropy, minus that loss cannot be positive, so it would be the loss and not the bound.
#
# *With real images and no model.* Report 000's FID of one image against one image: the same number for two real images of a digit shows what it is worth. Report 003's 6.12 and 5.77: the effect of PNG files can be measured on real images ([05_fid](05_fid.ipynb)).
#
# *By training only, and then only roughly.* The FIDs of 175, 120.23, 74 and 5.77, the losses and the times. They depend on the seed, and the times on the machine. That a second training gives another number refutes nothing, unless one knows the spread over seeds.
#
# *Not at all, as long as something is not said.* Report 000 names no batch size for its diffusion model, so its 1,000 updates may be two passes over the images or ten. Report 004 gives neither the learning rate nor the dropout of its GAN, and neither report 002 nor report 004 the widths of their VAEs. For its ELBOs report 002 does not say which likelihood, which unit of pixels, and whether pixels were summed or averaged. What we have in these places is our choice (the comments in `report/profiles/reports.yaml` say which), and a difference from the printed number may be due to that.
#
# </details>
