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
# # Walking through latent spaces
#
# > What lies between two images: straight lines and arcs, the latent spaces of a GAN, a VAE and a diffusion model side by side, how to find the noise that belongs to a given image, and smoothness as a number
#
# All three models of this course turn normally distributed noise into an image: a GAN ([01_gan](01_gan.ipynb)) and a VAE ([04_vae](04_vae.ipynb)) from a short vector $z$, a diffusion model ([02_ddpm](02_ddpm.ipynb)) from noise as large as the image. Take two such noises and go from one to the other, and look at the images on the way. If a model has only memorised its training images, one expects the path to jump from one to the next; if it has learned what images are *made of*, one image turns into the other. Here all models do it, those that can encode images between the same real ones, and the smoothness gets a number.
#
# The notebook walks through finished runs. Where there is none it trains a small one, and says so. Numbers in the text are those of the small models on `digits`, one run each, 30 pairs; ± are standard errors over pairs.

# %%
#| default_exp interpolation

# %% tags=["parameters"]
dataset = "digits"  # digits, tinted_digits, mnist, fashion_mnist, cifar10, celeba, hf:REPO or folder:PATH
size = None  # pixels a side; None: the data set's own
gan = None  # folder of a finished run; None: the one with most epochs, else a small one is trained
vae = None  # the same for the VAE
ddpm = None  # and for the diffusion model
steps = 20  # noise levels of the diffusion model's path between noise and image
pairs = 30  # how many paths contrast and smoothness are averaged over
seed = 0  # all randomness follows from it

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from genlab.data import ImageSet, load_dataset, show_grid, to_image, to_model
from genlab.features import lenet_extractor, load_lenet
from genlab.plug import KINDS, SECTIONS, Section, import_plugins, look_up
from genlab.runs import Run, RunConfig, atomic, latents, read_config, runs_root
from genlab.sweep import last_error, walked
from genlab.tables import (
    NONE,
    escape,
    figure,
    markdown_table,
    number,
    plural,
    save_figure,
    uncertain,
    verbatim,
)

# %%
#| hide
import tempfile

import pytest

from genlab.ddpm import DDPMConfig, ddpm_space, denoiser, run_ddpm
from genlab.diffusion import Diffusion, cosine_betas
from genlab.gan import GANConfig, run_gan
from genlab.samplers import flow, karras_times
from genlab.vae import VAEConfig, run_vae


# %% [markdown]
# ## Straight lines and arcs
#
# The straight line between two vectors is `lerp`, for linear interpolation.

# %%
#| export
def lerp(
    a: torch.Tensor,  # any shape
    b: torch.Tensor,  # the same
    t: torch.Tensor,  # (n,), 0 at a and 1 at b
) -> torch.Tensor:  # (n, *shape)
    "Points on the straight line from a to b, which are reached exactly."
    t = t.view(-1, *[1] * a.ndim).to(a)
    return torch.where(t == 1, b, a + t * (b - a))


# %% [markdown]
# For normally distributed vectors of many dimensions it has a flaw. The squared length of $z\sim\mathcal N(0,I_d)$ is a sum of $d$ independent squares: $d$ on average, with a standard deviation of only $\sqrt{2d}$. Nearly all vectors therefore lie in a thin shell of radius $\sqrt d$. Half-way on the straight line between two of them, $\frac12(a+b)$ has the squared length $\frac14(d+d)=\frac d2$ (independent vectors are nearly perpendicular: $a\cdot b$ is small against $d$): far *inside* the shell, where the generator was hardly ever trained if $d$ is large.

# %%
d = 100
a, b = latents(2000, (d,), 0).split(1000)
along = torch.linspace(0, 1, 21)
lengths = torch.stack([(a + t * (b - a)).norm(dim=1) for t in along])
expected = ((along**2 + (1 - along) ** 2) * d).sqrt()
assert (lengths.mean(1) / expected - 1).abs().max() < 0.02
fig, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
axes[0].hist(a.norm(dim=1), bins=40, density=True, color="0.6")
axes[0].axvline(d**0.5, color="C1")
axes[0].set(xlabel=f"length of $z$, $d$ = {d}; the line: $\\sqrt{{d}}$", ylabel="density", xlim=(0, 14))
axes[1].plot(along, lengths[:, :50], color="C0", alpha=0.15)
axes[1].plot(along, expected, color="C0", label="straight line")
axes[1].axhline(d**0.5, color="C1", label="arc (on average)")
axes[1].set(xlabel="$t$", ylabel="length on the way", ylim=(0, 14))
axes[1].legend(frameon=False);


# %% [markdown]
# The remedy is to walk on the sphere, along the arc of a great circle: `slerp`, spherical linear interpolation ([Shoemake 1985](https://doi.org/10.1145/325165.325242); for latent spaces [White 2016](https://arxiv.org/abs/1609.04468)). With unit vectors $u$ and $v$ at the angle $\omega$ and $w$ the unit vector in their plane that is perpendicular to $u$,
#
# $$\mathrm{slerp}(u,v;t)=\cos(t\omega)\,u+\sin(t\omega)\,w .$$
#
# The textbook's form with $\sin((1-t)\omega)/\sin\omega$ is the same but divides by zero for parallel and for opposite vectors. Here only $w$ is undefined in these cases, and any perpendicular vector will do: for parallel vectors it gets the weight $\sin0$, for opposite ones all ways round are equally long. Lengths are interpolated linearly, so that an arc between equal lengths keeps them.

# %%
#| export
def slerp(
    a: torch.Tensor,  # any shape; its elements are the coordinates
    b: torch.Tensor,  # the same
    t: torch.Tensor,  # (n,), 0 at a and 1 at b
) -> torch.Tensor:  # (n, *shape)
    "Points on the arc from a to b, both reached exactly (Shoemake 1985). ValueError for a length of zero."
    x, y, t = a.double().flatten(), b.double().flatten(), t.to(a.device).double().view(-1, 1)
    if not x.norm() or not y.norm():
        raise ValueError("slerp: a vector of length zero has no direction to start from.")
    u, v = x / x.norm(), y / y.norm()
    across = v - (u @ v) * u
    omega = torch.atan2(across.norm(), u @ v)
    if across.norm() < 1e-12:  # parallel or opposite: any perpendicular direction
        across = torch.zeros_like(u).index_fill(0, u.abs().argmin(), 1.0)
        across = across - (u @ across) * u
    direction = (t * omega).cos() * u + (t * omega).sin() * across / across.norm().clamp(min=1e-300)
    points = ((1 - t) * x.norm() + t * y.norm()) * direction
    return torch.where(t == 1, y, torch.where(t == 0, x, points)).view(-1, *a.shape).to(a.dtype)


# %%
t = torch.linspace(0, 1, 11).double()
a, b = latents(2, (3, 4, 5), 1).double()
b = b * a.norm() / b.norm()
for end in (b, 2 * a, -a, a.clone()):  # any, parallel and longer, opposite, the same
    way = slerp(a, end, t)
    assert torch.equal(way[0], a) and torch.equal(way[-1], end), "its ends are reached exactly"
    assert torch.allclose(way.flatten(1).norm(dim=1), (1 - t) * a.norm() + t * end.norm(), rtol=1e-12)
chords = slerp(a, b, t).diff(dim=0).flatten(1).norm(dim=1)
assert torch.allclose(chords, chords[:1].expand(10)), "equal steps"
assert torch.allclose(slerp(a.float(), b.float(), t).flatten(1).norm(dim=1), a.norm().float(), rtol=1e-6)
omega = torch.acos((a * b).sum() / a.norm() ** 2)
textbook = (torch.sin(0.7 * omega) * a + torch.sin(0.3 * omega) * b) / torch.sin(omega)
assert torch.allclose(slerp(a, b, torch.tensor([0.3], dtype=torch.float64))[0], textbook, rtol=1e-12)
half = slerp(a, -a, torch.tensor([0.5]))[0]
assert abs((half * a).sum()) < 1e-9 * a.norm() ** 2, "half-way round it is perpendicular"
assert torch.allclose(half.norm(), a.norm())
with pytest.raises(ValueError, match="length zero"):
    slerp(a, 0 * a, t)
assert torch.equal(lerp(a, b, t)[[0, -1]], torch.stack([a, b]))


# %% [markdown]
# ## The noise of a diffusion model as a latent space
#
# From [02_ddpm](02_ddpm.ipynb), where $t$ is not the place on a path but the noise level: $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\;\varepsilon$ is an image $x_0$ with noise, $\bar\alpha_t$ falls from 1 at $t=0$ to nearly 0 at $t=T$, and $\varepsilon_\theta(x_t,t)$ is the network's guess of the noise. Ancestral sampling draws fresh noise at each step, so one start can end in many images. Deterministic samplers draw none, and each start has its one image: they solve an ordinary differential equation. Divide by $\sqrt{\bar\alpha_t}$: $\bar x=x_t/\sqrt{\bar\alpha_t}=x_0+\sigma\varepsilon$ with the noise level $\sigma=\sqrt{1/\bar\alpha_t-1}$. For $\bar x$ the equation reads ([Song et al. 2021](https://arxiv.org/abs/2010.02502), eq. 14)
#
# $$\frac{\mathrm d\bar x}{\mathrm d\sigma}=\varepsilon_\theta(x_t,t).$$
#
# DDIM is Euler's method for it. An equation can be solved in *both* directions: from an image up to $\sigma_{\max}$, which **encodes** the image as noise, and down again. That the way back ends where it began is exact for the equation; its solver makes an error. Euler's error per path falls in proportion to the step (a method of *order* 1); that of [Heun's method](https://en.wikipedia.org/wiki/Heun%27s_method), which averages the slopes at both ends of a step, with its square (order 2).
#
# `flow`, of [02b_samplers](02b_samplers.ipynb), goes along any list of noise levels with either. The noise that a network predicts is used as it comes: samplers clip the predicted image to [-1, 1] at each step, which is fine for making images, but puts kinks into the equation. We start at $t=1$ rather than at 0, where $\varepsilon$ is not defined, and take the image for $x_1$: the noise at that level has a standard deviation of about one grey level.
#
# First on an equation whose solution is known. If the data are normally distributed, $x_0\sim\mathcal N(0,c^2)$, the best noise prediction is $\varepsilon(x_t,t)=\sqrt{1-\bar\alpha_t}\,x_t/(\bar\alpha_tc^2+1-\bar\alpha_t)$, and along the flow $\bar x/\sqrt{c^2+\sigma^2}$ is constant: everything shrinks with the standard deviation of the noised data. (For $x_t$ that is $\sqrt{\bar\alpha_tc^2+1-\bar\alpha_t}$, `spread` in the cell.) The measured orders are the slopes in the plot.

# %%
class Exact:
    "The best possible network for data from N(0, c^2)."

    def __init__(self, c=0.5):
        self.diffusion, self.c = Diffusion(cosine_betas(1000)), c

    def eps(self, xt, t):
        abar = self.diffusion.abar_at(t)
        return (1 - abar).sqrt() * xt / (abar * self.c**2 + 1 - abar)


# %%
exact, x = Exact(), latents(4, (1, 2, 2), 0).double()
counts, errors = [5, 10, 20, 40, 80, 160], {1: [], 2: []}


def spread(t):
    "Standard deviation of xt."
    return (exact.c**2 * exact.diffusion.abar_at(t) + 1 - exact.diffusion.abar_at(t)).sqrt()


for n in counts:
    times = karras_times(exact.diffusion, n)[:-1]
    truth = x * spread(times[0]) / spread(times[-1])
    for order in errors:
        error = (flow(exact, x, times[::-1], order) - truth).abs().max() / truth.abs().max()
        errors[order].append(error.item())
slopes = {order: np.polyfit(np.log(counts[2:]), np.log(e[2:]), 1)[0] for order, e in errors.items()}
print("measured orders:", {order: round(float(-s), 2) for order, s in slopes.items()})
assert abs(slopes[1] + 1) < 0.2 and abs(slopes[2] + 2) < 0.3

# %%
fig, ax = plt.subplots(figsize=(4.5, 2.8), layout="constrained")
for order, label in ((1, "Euler (DDIM)"), (2, "Heun")):
    ax.loglog(counts, errors[order], marker="o", label=f"{label}: order {-slopes[order]:.2f}")
ax.set(xlabel="number of noise levels", ylabel="relative error of the encoding")
ax.set_xticks(counts, counts)
ax.minorticks_off()
ax.legend(frameon=False);

# %% [markdown]
# There *and back* the orders are another matter. An order-$p$ method makes an error of $Ch^{p+1}$ in a step of size $h$, and one of $C(-h)^{p+1}$ in the step back. For Euler ($p=1$) these have the same sign and add up; for Heun ($p=2$) they cancel, and the round trip has order 3.

# %%
back = {order: [] for order in errors}
for n in counts:
    times = karras_times(exact.diffusion, n)[:-1]
    for order in back:
        returned = flow(exact, flow(exact, x, times[::-1], order), times, order)
        back[order].append((returned - x).abs().max().item())
orders = {order: -np.polyfit(np.log(counts[2:]), np.log(e[2:]), 1)[0] for order, e in back.items()}
print("orders of the round trip:", {order: round(float(s), 2) for order, s in orders.items()})
assert abs(orders[1] - 1) < 0.25 and abs(orders[2] - 3) < 0.4


# %% [markdown]
# ## Opening a latent space
#
# A latent space is a shape and a way to decode; with it everything below works for any model. Some models have a way back, too, from an image to its latent.

# %%
#| export
class LatentSpace(NamedTuple):
    "Latents of some shape, standard normal, and what a model makes of them."

    name: str  # the kind of model, as in KINDS
    shape: tuple[int, ...]  # of one latent
    decode: Callable  # latents (B, *shape) -> images (B, C, H, W), float in [-1, 1]
    about: str  # which run, after how many epochs
    encode: Callable | None = None  # images -> latents; None: there is no way back


# %% [markdown]
# Finished runs lie on disk ([00_runs](00_runs.ipynb)). To open one, read its parameters and look for the last weights; to find one, look through the folders: Which kinds of models there are is written in `KINDS` ([00c_plug](00c_plug.ipynb)), not here.

# %%
#| export
def _read_run(folder: Path, kinds: list[str]) -> tuple[Run, list[int]]:
    "A run of one of `kinds` from its folder, and the evaluated epoch counts whose weights are there."
    run = Run(read_config(folder, {kind: KINDS[kind].config for kind in kinds}))
    run.folder = folder
    weights = {epochs: run.epoch_folder(epochs) / "weights.safetensors" for epochs in run.evaluated()}
    return run, [epochs for epochs, path in weights.items() if path.exists()]


def open_run(folder: Path) -> tuple[Run, int]:
    "A run from its folder, and its last evaluated epoch count with weights. ValueError if there is none."
    import_plugins()
    run, done = _read_run(folder, list(KINDS))
    if not done:
        raise ValueError(f"{folder} has no evaluated epoch with weights; train it first.")
    return run, done[-1]


# %%
#| export
def find_run(model: str, dataset: str, size: int | None = None) -> Path | None:
    "The folder of a model's finished run with the most epochs, or None; runs with another name come last."
    default_name = look_up("model", model, KINDS).config.model_fields["name"].default
    found = []
    for path in runs_root().glob(f"*/{model}/*/config.json"):
        try:
            run, done = _read_run(path.parent, [model])
        except ValueError as problem:
            warnings.warn(f"{problem} It is left out.", stacklevel=2)
            continue
        if done and (run.config.dataset, run.config.size) == (dataset, size):
            found.append((run.config.name == default_name, done[-1], run.folder))
    return max(found, default=(True, 0, None))[-1]


# %% [markdown]
# A run that somebody names must be of the right model and of the same images as the others:

# %%
#| export
def check_run(run: Run, model: str, dataset: str, size: int | None) -> None:
    "ValueError, one sentence, if a run is of another model, another data set or another image size."
    config = run.config
    if config.model != model:
        raise ValueError(f"{model}: {run.folder} holds a {config.model}, not a {model}.")
    if (config.dataset, config.size) != (dataset, size):
        trained_on, wanted = _images_of(config.dataset, config.size), _images_of(dataset, size)
        raise ValueError(f"{model}: {run.folder} was trained on {trained_on}, not on {wanted}.")


def _images_of(dataset: str, size: int | None) -> str:
    "A data set and its image size in words."
    return f"{dataset} at {size} pixels" if size else dataset


# %% [markdown]
# Each kind of model brings its latent space along, defined at the end of its notebook: a GAN's generator (`gan_space`), a VAE's decoder (`vae_space`), and the flow of a diffusion model from $t=T$ or $\sigma=80$ down to $t=1$ (`ddpm_space`). (Of a diffusion model with three equal channels for grey images we take the mean.) There are two ways to encode: a VAE's encoder, of which we take the mean of $q$, and the flow in the other direction. A GAN has none; one would have to search for the latent, which is exercise 4.

# %%
#| export
def latent_space(run: Run, epochs: int) -> LatentSpace:
    "The latent space of a trained run, as its kind of model defines it. ValueError if that has none."
    space = look_up("model", run.config.model, KINDS).space
    if space is None:
        raise ValueError(f"{run.config.model}: this kind of model has no latent space to walk through.")
    return space(run, epochs)


# %% [markdown]
# What they have in common: they say which run it is, and refuse weights that do not fit in one sentence.

# %%
#| export
def describe_run(run: Run, epochs: int) -> str:
    "Which run, after how many epochs."
    return f"{'/'.join(run.folder.parts[-3:])}, {plural(epochs, 'epoch')}"


def load_or_explain(run: Run, epochs: int, net: torch.nn.Module) -> None:
    "Load weights into a network. ValueError if they are not there or belong to another."
    if not run.load_weights(epochs, net):
        raise ValueError(
            f"{run.epoch_folder(epochs)}: its weights.safetensors is missing, damaged, "
            "or of another network than its config.json describes."
        )


# %% [markdown]
# Now find the runs, or train small ones:

# %%
def train_small(model):
    "A small run of its own for a model without one."
    common = {"dataset": dataset, "size": size, "metrics": []}
    if model == "gan":
        return run_gan(GANConfig(epochs=40, batch_size=128, lr=2e-4, **common))
    if model == "vae":
        return run_vae(VAEConfig(epochs=60, network="mlp", optimizer="adam", batch_size=128, **common))
    return run_ddpm(DDPMConfig(epochs=10, n_samples=64, **common))


runs = {}
for model, given in {"gan": gan, "vae": vae, "ddpm": ddpm}.items():
    folder = Path(given) if given else find_run(model, dataset, size)
    if folder is None:
        print(f"{model}: no finished run on {dataset}; training a small one.")
        folder = train_small(model).folder
    runs[model] = open_run(folder)
    check_run(runs[model][0], model, dataset, size)

# %%
spaces = {model: latent_space(*run) for model, run in runs.items()}
spaces["ddpm"] = ddpm_space(*runs["ddpm"], steps)
print("\n".join(space.about for space in spaces.values()))

# %%
train, test = (load_dataset(dataset, split, size) for split in ("train", "test"))
for space in spaces.values():
    images = space.decode(latents(3, space.shape, 0))
    assert images.shape == (3, *test.images.shape[1:]) and images.abs().max() <= 1
    alone = space.decode(latents(1, space.shape, 0, start=2))[0]
    assert torch.allclose(alone, images[2], atol=2e-3), "an image depends on its own latent only"
other = "mnist" if dataset == "digits" else "digits"
with pytest.raises(ValueError, match=f"gan: .* was trained on {dataset}.*, not on {other}"):
    check_run(runs["gan"][0], "gan", other, None)
with pytest.raises(ValueError, match=f"gan: .* was trained on {dataset}.*, not on {dataset} at 64 pixels"):
    check_run(runs["gan"][0], "gan", dataset, 64)
with pytest.raises(ValueError, match="vae: .* holds a gan, not a vae"):
    check_run(runs["gan"][0], "vae", dataset, size)
with tempfile.TemporaryDirectory() as empty, pytest.raises(ValueError, match="there is no config.json in it"):
    open_run(Path(empty))

# %% [markdown]
# ## Real images as noise, and back
#
# How good is the way back of the diffusion model? We encode test images by solving the flow towards the noise, and decode them again.

# %%
model = denoiser(*runs["ddpm"])  # on a GPU, if there is one
torch.backends.cudnn.allow_tf32 = False  # on a GPU: full precision, since errors are to be measured
shown_channels = runs["ddpm"][0].config.channels or -1  # to its network
x0 = to_model(test.images[:16]).expand(-1, shown_channels, -1, -1)


def round_trip(n, order):
    times = karras_times(model.diffusion, n)[:-1]
    z = flow(model, x0.to(model.device), times[::-1], order)
    return z.cpu(), flow(model, z, times, order).cpu()


counts = [5, 10, 20, 40, 80]
errors = {order: [(round_trip(n, order)[1] - x0).abs().mean().item() for n in counts] for order in (1, 2)}
slopes = {order: -np.polyfit(np.log(counts[-3:]), np.log(e[-3:]), 1)[0] for order, e in errors.items()}
print("measured orders over the last three:", {order: round(float(s), 2) for order, s in slopes.items()})

# %%
fig, ax = plt.subplots(figsize=(4.8, 2.8), layout="constrained")
for method, label in ((1, "Euler (DDIM)"), (2, "Heun")):
    ax.loglog(counts, errors[method], marker="o", label=label)
for method, order, style in ((1, 1, "k--"), (2, 3, "k:")):
    guide = [errors[method][2] * (counts[2] / n) ** order for n in counts]
    ax.loglog(counts, guide, style, linewidth=0.8, label=f"order {order}")
ax.axhline(1 / 255, color="0.6", linewidth=0.8)
ax.set(xlabel="number of noise levels", ylabel="mean absolute error, in [-1, 1]")
ax.set_title("there and back (grey line: half a grey level)")
ax.set_xticks(counts, counts)
ax.minorticks_off()
ax.legend(frameon=False);

# %%
z, back = round_trip(40, 2)
fig, axes = plt.subplots(3, 1, figsize=(9, 2.6), layout="constrained")
rows = {"test images": x0, "the noise they come from (a third of it)": z / 3, "decoded again": back}
for ax, (title, images) in zip(axes, rows.items(), strict=True):
    shown = images.mean(1, keepdim=True) if images.shape[1] > test.images.shape[1] else images
    show_grid(to_image(shown), ncol=16, ax=ax)
    ax.set_title(title, fontsize=9)
print(f"the noise has the mean {z.mean():.3f} and the standard deviation {z.std():.3f}")


# %% [markdown]
# ## A walk in each space
#
# The VAE and the diffusion model walk between the same test images, encoded, and beside them is what *no* model does: a **cross-fade** of the two images, pixel by pixel. In the middle of a cross-fade both images show through; in the middle of a good path there is one image. (The VAE's ends are its reconstructions; that of the 2 in the second path looks like a 1.) The GAN cannot encode. It walks between draws of its own, so its rows cannot be compared with the others one by one.

# %%
#| export
def walk(
    space: LatentSpace,
    a: torch.Tensor,  # a latent
    b: torch.Tensor,  # another
    n: int = 11,  # images
    how: Callable | None = None,  # None: slerp, and for a cross-fade lerp
) -> torch.Tensor:  # (n, C, H, W) in [-1, 1]
    "Images on the way from latent a to latent b."
    how = how or (lerp if space.name == "cross-fade" else slerp)
    return space.decode(how(a, b, torch.linspace(0, 1, n)))


def paths(space: LatentSpace, a: torch.Tensor, b: torch.Tensor, n: int = 21, how: Callable | None = None):
    "Images (P, n, C, H, W) in [-1, 1] of a walk between each of P pairs of latents."
    return torch.stack([walk(space, *pair, n, how) for pair in zip(a, b, strict=True)])


# %% [markdown]
# The cross-fade as a latent space, so that everything below treats it like a model, and the ends of the paths:

# %%
#| export
def cross_fade(images: torch.Tensor) -> LatentSpace:
    "The space whose latents are images like the given ones, themselves. To compare with."

    def same(x: torch.Tensor) -> torch.Tensor:
        return x

    return LatentSpace("cross-fade", tuple(images.shape[1:]), same, "pixels of real images", same)


def ends(space: LatentSpace, test: ImageSet, pairs: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Both ends of paths, (pairs, *shape) each.

    Codes of the test images 0 and 1, 2 and 3, and so on; where a model cannot encode, draws.
    """
    if space.encode is None:
        z = latents(2 * pairs, space.shape, seed)
    else:
        chosen = test.images[torch.arange(2 * pairs) % len(test.images)]
        z = torch.cat([space.encode(to_model(batch)) for batch in chosen.split(64)])
    return z[::2], z[1::2]


# %% [markdown]
# All of them in one picture:

# %%
#| export
def plot_walks(walks: dict[str, torch.Tensor], ax: plt.Axes | None = None) -> plt.Axes:
    "Paths of several spaces (name: images (P, n, C, H, W)), a row each."
    n = next(iter(walks.values())).shape[1]
    images = torch.cat([images.flatten(0, 1) for images in walks.values()])
    return show_grid(images, ncol=n, ax=ax, rows=list(walks))


# %%
everything = [spaces["vae"], spaces["ddpm"], cross_fade(test.images), spaces["gan"]]
ends_of = {space.name: ends(space, test, pairs, seed) for space in everything}
arcs = {space.name: paths(space, *ends_of[space.name]) for space in everything}
rows = {"gan (draws)" if name == "gan" else name: way[:2, ::2] for name, way in arcs.items()}
plot_walks(rows);

# %%
first = to_model(test.images[:2])
assert torch.equal(arcs["cross-fade"][0, [0, -1]], first)
assert (arcs["ddpm"][0, [0, -1]] - first).abs().mean() < 0.2, "the same ends"
draw = latents(1, spaces["gan"].shape, seed, start=1)[0]
assert torch.equal(ends_of["gan"][1][0], draw), "draws 0 and 1 are the ends of path 0"


# %% [markdown]
# ### Corner to corner
#
# A grid between the images in its corners. The left and right columns are arcs between the corners, and each row an arc between these. Here the corners are draws, for all three.

# %%
#| export
def corner_grid(space: LatentSpace, corners: torch.Tensor, n: int = 7, how: Callable = slerp) -> torch.Tensor:
    "n x n images, row by row, between four latents (4, *shape), in the order of reading."
    t = torch.linspace(0, 1, n)
    left, right = how(corners[0], corners[2], t), how(corners[1], corners[3], t)
    return space.decode(torch.cat([how(a, b, t) for a, b in zip(left, right, strict=True)]))


# %%
fig, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for ax, space in zip(axes, spaces.values(), strict=True):
    corners = latents(4, space.shape, seed + 3)
    grid = corner_grid(space, corners)
    assert torch.allclose(grid[[0, 6, 42, 48]], space.decode(corners), atol=2e-3)
    show_grid(to_image(grid), ncol=7, ax=ax, title=space.name)


# %% [markdown]
# ### Line or arc?
#
# The same ends with both. Half-way on the straight line between two draws a latent is too short by a factor of $\sqrt2$. For a VAE of 16 numbers that is 1.4 standard deviations of $|z|^2$ below its mean, and such latents occur in training; for a GAN of 100 it is 3.5. A diffusion model is given the noise level $\sigma$, and here the noise is weaker than that. What would one see? The picture gets pale: its **contrast**, the standard deviation of its pixels, falls.

# %%
#| export
def contrast(images: torch.Tensor) -> torch.Tensor:  # (...)
    "Standard deviation of the pixels of images (..., C, H, W)."
    return images.flatten(-3).std(-1)


def faded(images: torch.Tensor) -> torch.Tensor:  # (P, n), 1 on average at the ends
    "Contrast along paths (P, n, C, H, W), over the mean contrast of both ends."
    along = contrast(images)
    return along / along[:, [0, -1]].mean(1, keepdim=True)


# %% [markdown]
# On a space made for it, whose images have the latent for pixels, the contrast is the latent's length: half-way $1/\sqrt2$ on the line, 1 on the arc.

# %%
plain = LatentSpace("plain", (1, 40, 40), lambda z: z, "images that are noise")
z = latents(20, plain.shape, 0)
assert (faded(paths(plain, z[::2], z[1::2], 3, lerp))[:, 1] - 0.5**0.5).abs().max() < 0.05
assert (faded(paths(plain, z[::2], z[1::2], 3))[:, 1] - 1).abs().max() < 0.01

# %%
lines = {name: paths(space, *ends_of[name], 11, lerp) for name, space in spaces.items()}


def plot_band(ax, values, **style):
    "Mean over paths (P, n) with two standard errors on either side."
    t, mean, se = torch.linspace(0, 1, values.shape[1]), values.mean(0), values.std(0) / len(values) ** 0.5
    (line,) = ax.plot(t, mean, **style)
    ax.fill_between(t, mean - 2 * se, mean + 2 * se, color=line.get_color(), alpha=0.2, linewidth=0)


def lengths_along(a, b, how, n):
    "Lengths of the latents on the way, over the root of their dimension."
    t = torch.linspace(0, 1, n)
    ways = torch.stack([how(*pair, t) for pair in zip(a, b, strict=True)])
    return ways.flatten(2).norm(dim=2) / a[0].numel() ** 0.5


# %%
fig, axes = plt.subplots(2, len(spaces), figsize=(9, 4.4), layout="constrained", sharex=True, sharey="row")
for (top, bottom), name in zip(axes.T, spaces, strict=True):
    for how, way, label in ((lerp, lines[name], "straight line"), (slerp, arcs[name], "arc")):
        plot_band(top, lengths_along(*ends_of[name], how, way.shape[1]), label=label)
        plot_band(bottom, faded(way), label=label)
    if name != "gan":
        fading = faded(arcs["cross-fade"]).mean(0)
        bottom.plot(torch.linspace(0, 1, 21), fading, "--", color="0.5", label="cross-fade")
    between = "draws" if name == "gan" else "test images"
    top.set_title(f"{name}: between {between}", fontsize=9)
    bottom.set_xlabel("$t$")
axes[1, 1].legend(frameon=False, fontsize=7, loc="lower center")
axes[0, 0].set_ylabel(r"length of the latent / $\sqrt{d}$")
axes[1, 0].set_ylabel("contrast / that of the ends");


# %%
def with_error(values):
    return f"{values.mean():.3f} ± {values.std() / len(values) ** 0.5:.3f}"


def halfway(way):
    return faded(way)[:, way.shape[1] // 2]


table = {"arc": {name: with_error(halfway(way)) for name, way in arcs.items()}}
table["line"] = {name: with_error(halfway(way)) for name, way in lines.items()}
difference = {name: halfway(arcs[name]) - halfway(lines[name]) for name in spaces}  # of the same pairs
table["arc - line"] = {name: with_error(values) for name, values in difference.items()}
pd.DataFrame(table).fillna("—").rename_axis("contrast half-way")

# %% [markdown]
# So that is why one takes the arc. Half-way on the line the GAN's images lose a sixth of their contrast, and on the arc nothing. The VAE and the diffusion model lose less: they walk between codes of test images, which are shorter than draws (the mean of $q$ is shorter than a draw from it; for the flow, see exercise 3). On average line and arc differ by 4 % for the one and 8 % for the other, which is many standard errors; on single paths one sees it. In the first path of the VAE, below, the middle of the line is a grey double exposure, and that of the arc is not. Between the same images the cross-fade loses more: that is the grey of its double exposures. None comes near $1/\sqrt2$, not even the cross-fade, which is linear: half the sum of two images of equal contrast would lose so much if they were uncorrelated, and two images of digits have much in common.
#
# And the pictures themselves, the first path of each:

# %%
fig, axes = plt.subplots(len(spaces), 2, figsize=(9, 0.55 * len(spaces) + 0.6), layout="constrained")
for line, name in zip(axes, spaces, strict=True):
    shown = {"straight line": lines[name][0], "arc": arcs[name][0, ::2]}
    for ax, (kind, way) in zip(line, shown.items(), strict=True):
        show_grid(to_image(way), ncol=11, ax=ax)
        ax.set_title(f"{name}, {kind}", fontsize=9)


# %% [markdown]
# ## Smoothness as a number
#
# Take the features $f$ of the classifier of [05_fid](05_fid.ipynb), in which a distance means more than in pixels, and follow them along a path:
#
# - **Perceptual path length** (Karras et al. 2019, [StyleGAN](https://arxiv.org/abs/1812.04948), eq. 2): $\mathbb E\,\lVert f(x_{t+\delta})-f(x_t)\rVert^2/\delta^2$, the mean squared speed, where $t\in[0,1]$ is the place on the path. Here $\delta=1/20$, and the features are LeNet's; StyleGAN has $\delta=10^{-4}$ and another classifier, so values can be compared within this table only. Small is smooth; but a model whose images are all alike has zero, so read it beside the next.
# - **Distance of the ends**: how far apart the two ends are, in features.
# - **Detour**: the length of the path over the distance between its ends, in features; 1 is straight.
# - **Largest step**: the largest of the steps over their mean; 1 is even, much more is a jump.
# - **Class changes** along the path, as the classifier sees it. At least one is needed if the ends differ in class.
# - **Distance to data**: of the path's middle half to the nearest training images, over the distance from test images to the nearest training images. At 1, the images on the way are as close to known real ones as unseen real ones are. The same is taken of the two **ends**, which are not the path's merit.

# %%
#| export
def to_features(net: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    "The features (N, d) that a LeNet's distances are taken in, of images (N, C, H, W) in [-1, 1]."
    return net.features(images).relu()


def nearest_distance(features: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    "Distance of each of features (..., d) to the nearest of `known` (N, d)."
    return torch.cdist(features, known, compute_mode="donot_use_mm_for_euclid_dist").amin(-1)


# %%
#| export
@torch.no_grad()
def smoothness(
    images: torch.Tensor,  # paths (P, n, C, H, W) in [-1, 1]
    dataset: str,
    size: int | None = None,
) -> pd.DataFrame:  # a row a path: ppl, distance, detour, largest_step, class_changes, to_data, ends_to_data
    "How smooth paths are in the features of LeNet, and how far from the first 2,000 training images."
    net, (P, n) = load_lenet(dataset, size)[0], images.shape[:2]
    real = {split: to_model(load_dataset(dataset, split, size).images[:2000]) for split in ("train", "test")}
    train, test = (to_features(net, real[split]) for split in ("train", "test"))
    features = to_features(net, images.flatten(0, 1)).view(P, n, -1)
    labels = net(images.flatten(0, 1)).argmax(1).view(P, n)
    far = nearest_distance(features, train) / nearest_distance(test, train).mean()
    measures = step_measures(features) | {
        "class_changes": (labels.diff(dim=1) != 0).sum(1),
        "to_data": far[:, n // 4 : n - n // 4].mean(1),
        "ends_to_data": far[:, [0, -1]].mean(1),
    }
    return pd.DataFrame({key: values.double().numpy() for key, values in measures.items()})


# %%
#| export
def step_measures(features: torch.Tensor) -> dict[str, torch.Tensor]:
    "Of paths in features (P, n, d): path length, distance of the ends, detour, and largest step, (P,) each."
    n, steps = features.shape[1], features.diff(dim=1).norm(dim=2)
    apart = (features[:, -1] - features[:, 0]).norm(dim=1)
    return {
        "ppl": steps.square().mean(1) * (n - 1) ** 2,
        "distance": apart,
        "detour": steps.sum(1) / apart.clamp(min=1e-12),
        "largest_step": steps.amax(1) / steps.mean(1).clamp(min=1e-12),
    }


def mean_se(frame: pd.DataFrame) -> dict[str, dict]:
    "Of each column its mean over paths and the standard error of that: {ppl: {value, se}, ...}."
    return {key: {"value": float(frame[key].mean()), "se": float(frame[key].sem())} for key in frame}


# %% [markdown]
# On a space made for it: a straight line in pixels, with a jump put into it.

# %%
assert test.labels is not None, "LeNet needs a data set with labels"
fade = arcs["cross-fade"]
jumping = torch.where(torch.arange(21).view(1, -1, 1, 1, 1) < 10, fade[:, :1], fade[:, -1:])
standing = fade[:, :1].expand_as(fade)
smooth, jump, still = (smoothness(way, dataset, size).mean() for way in (fade, jumping, standing))
assert abs(jump.detour - 1) < 1e-5 and abs(jump.largest_step - 20) < 1e-3, "one step of twenty does it all"
assert smooth.largest_step < 10 and smooth.detour > 1 and smooth.ppl < jump.ppl
assert still.ppl == still.class_changes == 0 and abs(still.to_data / still.ends_to_data - 1) < 1e-5
copies = smoothness(to_model(train.images[:40]).view(2, 20, *fade.shape[2:]), dataset, size)
assert (copies.to_data < 1e-3).all(), "training images are at no distance from themselves"

# %%
numbers = {name: smoothness(way, dataset, size) for name, way in arcs.items()}


def in_words(frame):
    return {key: f"{m['value']:.2f} ± {m['se']:.2f}" for key, m in mean_se(frame).items()}


pd.DataFrame({name: in_words(frame) for name, frame in numbers.items()}).T

# %% [markdown]
# The means have the spread of the pairs in them, and the pairs are the same for three of the rows. So take the difference on each pair first:

# %%
difference = {name: in_words(numbers[name] - numbers["cross-fade"]) for name in ("vae", "ddpm")}
pd.DataFrame(difference).T.rename_axis("minus cross-fade")


# %% [markdown]
# Between the same ends, the smoothest paths by path length, detour and largest step are those of the cross-fade, which nobody would call good: a classifier's features of a double exposure lie between those of the two images. Smoothness says that steps are small and even, not that they lead through images. The distance to data asks for that. There the VAE wins clearly, by several standard errors, though the ends of its paths are reconstructions and hardly nearer to the data than the test images. The diffusion model wins by three standard errors. Neither is as near as real images are, which would be 1.
#
# The GAN's row is not to be compared with the others. Its paths are farther from the data, but so are their ends, which are draws of its own.

# %% [markdown]
# ## Kept with the run
#
# A report shows all this of its runs. What it needs is computed once and kept in the folder of the epoch count: `interpolation.npz` with small images of two paths and of a grid between corners, `interpolation.json` with the numbers, the model's and the cross-fade's between the same images. The JSON file is written last: if it is there, all is.

# %%
#| export
def keep_paths(folder: Path, epochs: int, pairs: int = 30) -> None:
    "Walk through the latent space of the run in `folder` after `epochs`, once, and keep what is found."
    run, _ = open_run(Path(folder))
    if load_paths(run.epoch_folder(epochs)):
        return
    config, space = run.config, latent_space(run, epochs)
    test = load_dataset(config.dataset, "test", config.size)
    walked_in = [space]
    if space.encode is not None:  # else a cross-fade would have no ends to share
        walked_in.append(cross_fade(test.images))
    pictures, found = {"corners": corner_grid(space, latents(4, space.shape, 3))}, {}
    for each in walked_in:
        a, b = ends(each, test, pairs)
        images = paths(each, a, b)
        pictures[each.name] = images[:2, ::2]
        found[each.name] = _path_numbers(each, a, b, images, config if test.labels is not None else None)
    about = {"run": space.about, "pairs": pairs, "ends": "draws" if space.encode is None else "test images"}
    if test.labels is not None:
        extractor = lenet_extractor(config.dataset, config.size)
        about |= {"extractor": extractor.name, "hash": extractor.hash}
    _save_paths(run.epoch_folder(epochs), about | {"spaces": found}, pictures)


# %%
#| export
def _path_numbers(
    space: LatentSpace,
    a: torch.Tensor,  # latents (P, *shape) where paths begin
    b: torch.Tensor,  # and where they end
    images: torch.Tensor,  # the paths (P, n, C, H, W)
    config: RunConfig | None,  # names the classifier; None: there is none
) -> dict:
    "Smoothness of paths, where there is a classifier, and contrast half-way on them and on straight lines."
    frame = pd.DataFrame() if config is None else smoothness(images, config.dataset, config.size)
    frame["contrast"] = faded(images)[:, images.shape[1] // 2].numpy()
    if space.name != "cross-fade":
        on_line = contrast(space.decode((a + b) / 2))
        frame["contrast_line"] = (on_line / contrast(images[:, [0, -1]]).mean(1)).numpy()
    return mean_se(frame)


def _save_paths(folder: Path, about: dict, pictures: dict[str, torch.Tensor]) -> None:
    "Write both files, the JSON last."
    with atomic(folder / "interpolation.npz") as path, open(path, "wb") as file:
        np.savez_compressed(file, **{name: to_image(images).numpy() for name, images in pictures.items()})
    with atomic(folder / "interpolation.json") as path:
        path.write_text(json.dumps(about, indent=2))


# %% [markdown]
# Reading back. Files that are cut or not there are no reason to stop:

# %%
#| export
def load_paths(epoch_folder: Path) -> tuple[dict, dict[str, torch.Tensor]] | None:
    "What `keep_paths` kept, numbers and uint8 images, or None if it is not there or damaged."
    try:
        about = json.loads((epoch_folder / "interpolation.json").read_text())
        with np.load(epoch_folder / "interpolation.npz") as file:
            images = {name: torch.from_numpy(file[name]) for name in file.files}
        return (about, images) if about["spaces"].keys() <= images.keys() else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
        return None


# %%
(run, done), space = runs["vae"], spaces["vae"]
keep_paths(run.folder, done)
kept, pictures = load_paths(run.epoch_folder(done))
shapes = {name: images.shape[:-3] for name, images in pictures.items()}
assert shapes == {"corners": (49,), "vae": (2, 11), "cross-fade": (2, 11)}
above = to_image(arcs["vae"][0, ::2]).int()
assert (pictures["vae"][0].int() - above).abs().max() <= 1, "the same path as above"
again = mean_se(smoothness(paths(space, *ends(space, test, kept["pairs"])), dataset, size))
assert all(abs(kept["spaces"]["vae"][key]["value"] / m["value"] - 1) < 0.01 for key, m in again.items())
files = {path: path.stat().st_mtime_ns for path in run.epoch_folder(done).glob("interpolation.*")}
keep_paths(run.folder, done)
assert len(files) == 2
assert all(path.stat().st_mtime_ns == then for path, then in files.items()), "nothing is done again"
with tempfile.TemporaryDirectory() as copy:
    for path in files:
        Path(copy, path.name).write_bytes(path.read_bytes()[:-20])
        assert load_paths(Path(copy)) is None


# %% [markdown]
# ## Directions that mean something
#
# If latents of one class lie on one side, the difference of two class means is a direction that turns one class into the other. For models without an encoder: draw latents, decode, ask the classifier, and take the mean latent of each class. Below, the walk starts from the one of 500 latents that lies farthest in the direction of its class's mean; that is no guarantee that its image is one of this class.

# %%
#| export
@torch.no_grad()
def class_means(
    space: LatentSpace,
    dataset: str,
    size: int | None = None,
    n: int = 2000,  # latents that are drawn
    seed: int = 0,
) -> torch.Tensor:  # (classes, *shape); NaN for a class that does not occur
    "The mean latent of each class, as LeNet sees the images of n latents."
    net, z = load_lenet(dataset, size)[0], latents(n, space.shape, seed)
    labels = torch.cat([net(space.decode(batch).cpu()).argmax(1) for batch in z.split(500)])
    return torch.stack([z[labels == k].mean(0) for k in range(net.fc3.out_features)])


# %%
fig, axes = plt.subplots(2, 1, figsize=(8, 2.4), layout="constrained")
for ax, name in zip(axes, ("gan", "vae"), strict=True):
    space = spaces[name]
    means = class_means(space, dataset, size, seed=seed)
    start, end = [k for k in range(len(means)) if not means[k].isnan().any()][:2]
    z = latents(500, space.shape, seed + 5)
    z = z[(z @ means[start]).argmax()]
    direction = (means[end] - means[start]) / (means[end] - means[start]).norm()
    steps_along = torch.linspace(0, 1.5 * z.norm().item(), 13).view(-1, 1)
    show_grid(to_image(space.decode(z + steps_along * direction)), ncol=13, ax=ax)
    title = (
        f"{name}: a latent that resembles class {train.classes[start]}, moved towards {train.classes[end]}"
    )
    ax.set_title(title, fontsize=9)


# %% [markdown]
# ## What to take away
#
# - Between two latents one hopes for images and not double exposures. Here the middle of the VAE's paths was clearly nearer to real images than that of a cross-fade, the diffusion model's by half as much, and neither as near as real images are (small models, one run each). Images all the way are weak evidence against memorisation, as abrupt jumps would be evidence for it; the nearest neighbours of [05_fid](05_fid.ipynb) test it directly. (A blurry model is smooth, too.)
# - Walk on arcs where the latents are normally distributed noise of many dimensions: half-way on the line the GAN's images are paler by a sixth. For codes of test images, in the VAE and in the diffusion model, it was 4 and 8 percent on average.
# - Smoothness alone is no virtue: a cross-fade is smooth, and a collapsed model has a perfect path length. Ask what lies on the way, and compare paths between the same ends.
#
# ## Exercises
#
# 1. Replace the arcs by straight lines in the smoothness table. For which model does it matter, and does the table show what the contrast showed?
# 2. Encode a test image with the flow, add a little noise to its latent, and decode. How much noise may it be until the class changes?
# 3. The flow starts at $t=1$. Start it at $t=20$: in `round_trip`, `times = [t for t in karras_times(model.diffusion, n)[:-1] if t > 20] + [20.0]`. What happens to the error of the round trip, and what to the noise's standard deviation?
# 4. Find the latent of a real image for the GAN, by gradient descent on $\lVert G(z)-x\rVert^2$ from ten starting points: `G = make_networks(runs["gan"][0].config, train)[0]`, `load_or_explain(*runs["gan"], G.eval())`, `z = latents(10, (G.latent,), 0).requires_grad_()`, and Adam on `z`. How does its best reconstruction compare with the VAE's?
# 5. The class-mean direction of the diffusion model (`ddpm_space(*runs["ddpm"], steps=8)`, and 500 latents): what do you expect, and what do you find?

# %% [markdown]
# ## Solutions
#
# <details><summary>1. Lines instead of arcs</summary>
#
# The same ends, and the difference pair by pair:
#
#     straight = {name: smoothness(paths(space, *ends_of[name], 21, lerp), dataset, size) for name, space in spaces.items()}
#     pd.DataFrame({f"{name}: line minus arc": in_words(straight[name] - numbers[name]) for name in spaces}).T
#
# | line minus arc | mean squared speed | detour | largest step | distance to data |
# |---|---|---|---|---|
# | VAE | −721 ± 152 | −0.12 ± 0.03 | | |
# | diffusion model | 1,353 ± 378 | 0.04 ± 0.02 | 0.40 ± 0.14 | −0.14 ± 0.04 |
#
# (Differences of less than two standard errors are left out; for the GAN that is all of them.) The line is smoother for the VAE and less smooth for the diffusion model; yet the middle of the latter's line is *nearer* to the data than that of the arc, which we had not expected. And the GAN is the one whose digits lose a sixth of their contrast on the line. So this table cannot see what the contrast shows; a path that gets paler is not less smooth. Read no table of smoothness without the pictures.
#
# </details>
#
# <details><summary>2. How much noise a latent bears</summary>
#
# Adding noise makes a latent longer, and would mix two effects. So turn it: $\cos\varphi\,z+\sin\varphi\,\varepsilon$ has the same variance for any angle, and at 90 degrees nothing of $z$ is left.
#
#     x0 = to_model(test.images[:50]).expand(-1, shown_channels, -1, -1)
#     net = load_lenet(dataset, size)[0]
#     z = flow(model, x0.to(model.device), karras_times(model.diffusion, steps)[:-1][::-1]).cpu()
#     noise = latents(len(z), z.shape[1:], seed + 7)
#     import math
#     for degrees in (0, 5, 10, 20, 30, 45, 60, 90):
#         phi = math.radians(degrees)
#         with torch.no_grad():
#             classes_now = net(spaces["ddpm"].decode(math.cos(phi) * z + math.sin(phi) * noise)).argmax(1)
#         print(degrees, (classes_now == test.labels[:50]).float().mean().item())
#
# For 50 test images of `digits`:
#
# | angle (degrees) | 0 to 5 | 10 | 20 | 30 | 45 | 60 | 90 |
# |---|---|---|---|---|---|---|---|
# | right class | 100% | 94% | 84% | 70% | 58% | 34% | 14% |
#
# At 90 degrees one in ten is right by chance. In terms of added noise of standard deviation $\tan\varphi$ (before the length is put right): a third of the latent's own may be added, and five of six digits keep their class. So neighbours in the noise are neighbours in meaning, over quite some distance.
#
# </details>
#
# <details><summary>3. The flow from t = 20</summary>
#
#     def later(n, order, start=20.0):
#         times = [t for t in karras_times(model.diffusion, n)[:-1] if t > start] + [start]
#         z = flow(model, x0.to(model.device), times[::-1], order)
#         return z.cpu(), flow(model, z, times, order).cpu()
#
#     for label, trip in (("from t = 1", round_trip), ("from t = 20", later)):
#         z, back = trip(40, 2)
#         print(f"{label}: error of the round trip {(back - x0).abs().mean():.5f}, standard deviation of the noise {z.std():.3f}")
#
# Heun's method on `digits`:
#
# | | from $t=1$ | from $t=20$ |
# |---|---|---|
# | standard deviation of the noise | 0.96 | 0.89 |
# | error of the round trip, 40 levels | 0.00023 | 0.00040 |
# | error of the round trip, 20 levels | 0.0022 | 0.0042 |
#
# With Euler's method (`order = 1`) and 40 levels the error is hardly smaller, 0.021 instead of 0.022. So nothing is gained: whatever makes the round trip hard is not in the part that was left out.
#
# Why does the noise get smaller? The flow takes what it is given for an image *with noise of the level* $\sigma(t)$, and ours is clean. For normally distributed data it was said above what happens: along an axis on which the data have the standard deviation $c$, everything grows with $\sqrt{c^2+\sigma^2}$. A clean image starts with $c$ instead, and so it arrives as noise with the standard deviation $c/\sqrt{c^2+\sigma^2}$ (for a start from $\sigma$ and an end at pure noise). That is nearly 1 where $c\gg\sigma$, but nearly 0 along the many axes on which images hardly vary, such as pixels in the corners. The smaller the starting level, the fewer axes are left out. With the covariance of the digits the formula gives a standard deviation of 0.69 over all axes from $t=1$ and of 0.54 from $t=20$; the network, whose data are not normally distributed, loses less. Either way, latents from a late start are even less like the draws from $\mathcal N(0,I)$ that the model decodes when it makes images.
#
# </details>
#
# <details><summary>4. The latent of a real image, for the GAN</summary>
#
#     from genlab.gan import make_networks
#
#     G = make_networks(runs["gan"][0].config, train)[0]
#     load_or_explain(*runs["gan"], G.eval())
#     best, kept = [], []
#     for x in to_model(test.images[:6]):
#         z = latents(10, (G.latent,), 0).requires_grad_()
#         opt = torch.optim.Adam([z], 0.05)
#         for _ in range(400):
#             errors = (G(z) - x).square().flatten(1).mean(1)
#             opt.zero_grad()
#             errors.sum().backward()
#             opt.step()
#         best.append(errors.min().item())
#         kept.append(z[errors.argmin()].norm().item() / G.latent**0.5)
#     x = to_model(test.images[:6])
#     with torch.no_grad():
#         vae_errors = (spaces["vae"].decode(spaces["vae"].encode(x)) - x).square().flatten(1).mean(1)
#     print("GAN:", np.round(best, 3), "VAE:", vae_errors.numpy().round(3), "length of z / sqrt(d):", np.round(kept, 2))
#
# (The errors are summed, so each start has its own gradient.) For six test images of `digits` the GAN's best mean squared error was 0.002 to 0.004 and the VAE's 0.016 to 0.073, in pixels from −1 to 1. So the GAN can make these digits nearly exactly, though it was never asked to reconstruct anything, and about ten times better than the VAE. Before one concludes much: it has 100 numbers for 256 pixels and the VAE 16; it got 4,000 evaluations and the VAE a single one of its encoder, which is trained for a *distribution* of codes and the absolute error; and a search can find latents that no draw would ever come near. Those found here are about as long as draws are (1.0 to 1.2 times $\sqrt d$), but that alone does not make them typical. To compare fairly, search for the VAE's code, too, give both the same `latent`, and add $\lVert z\rVert^2/2$ with a suitable weight to the error.
#
# </details>
#
# <details><summary>5. A class direction in a diffusion model's noise</summary>
#
#     def turned(space, means, start, end, length=1.0):
#         "Of latents that give class start, moved towards class end and brought back to their length: how many now give class end?"
#         net, z = load_lenet(dataset, size)[0], latents(200, space.shape, seed + 5)
#         with torch.no_grad():
#             z = z[net(space.decode(z)).argmax(1) == start].flatten(1)
#             direction = (means[end] - means[start]).flatten()
#             moved = z + length * z.norm(dim=1, keepdim=True) * direction / direction.norm()
#             moved = moved * z.norm(dim=1, keepdim=True) / moved.norm(dim=1, keepdim=True)
#             return (net(space.decode(moved.view(-1, *space.shape))).argmax(1) == end).float().mean().item()
#
#     for space in (spaces["gan"], spaces["vae"], ddpm_space(*runs["ddpm"], steps=8)):
#         means = class_means(space, dataset, size, 500, seed)
#         print(space.name, [round(turned(space, means, start, end), 2) for start, end in ((0, 1), (1, 7), (3, 8), (4, 9))])
#     pixels = torch.stack([to_model(train.images[train.labels == k]).mean(0) for k in range(len(means))])
#     a, b = (m.flatten(1) - m.flatten(1).mean(0) for m in (means, pixels))
#     print("cosine of the class means in noise and in pixels:", torch.cosine_similarity(a, b).numpy().round(2))
#
# What to expect? Not much, one may think: the noise has a number for each pixel and no encoder has sorted it, and the mean of some 50 standard normal vectors of 256 numbers has a length of 2.3 by chance alone (those found have 2.3 to 3.4). On the other hand the flow starts out from pure noise towards those images that the noise happens to resemble. For normally distributed data it is even linear, $z=\Sigma^{-1/2}(x-\mu)$ between images and pure noise, and then class means in the noise are those in pixels, whitened.
#
# What we found on `digits` (13 to 27 latents of the diffusion model for each pair, moved by their own length), as the share that became the other class:
#
# | | 0 to 1 | 1 to 7 | 3 to 8 | 4 to 9 |
# |---|---|---|---|---|
# | diffusion model | 1.00 | 0.93 | 0.52 | 1.00 |
# | the same, one random direction each | 0.15 | 0 | 0.04 | 0 |
# | GAN | 0.95 | 0.82 | 0.16 | 0.72 |
# | VAE | 0.93 | 0.96 | 0.06 | 0.81 |
#
# So the direction exists, and is as good as those of the other two. Class means in noise and in pixels have cosines of 0.38 to 0.62: the direction is, for a good part, a faint picture of one class minus the other, and less of an abstraction than one in a code.
#
# </details>

# %% [markdown]
# ## Its section of the report
#
# The report ([07_report](07_report.ipynb)) shows of this what a page has room for: of one run of each kind, the paths and numbers that `keep_paths` has left. The rows of figure and table are the models that walk between test images, the cross-fade between the same, and models that walk between draws.

# %%
#| export
def _rows(kept: list[dict], spaces: list[dict]) -> dict:
    "What each space holds by its name, in the order of rows; `kept` and `spaces` belong together one by one."
    named = {}
    for found, own in zip(kept, spaces, strict=True):
        suffix = " (draws)" if found["ends"] == "draws" else ""
        named |= {name + suffix: value for name, value in own.items()}
    order = sorted(named, key=lambda name: (name.endswith("(draws)"), name == "cross-fade"))
    return {name: named[name] for name in order}


# %% [markdown]
# Numbers for the paths:

# %%
#| export
SMOOTHNESS_COLUMNS = {
    "ppl": "path length",
    "detour": "detour",
    "largest_step": "largest step",
    "class_changes": "class changes",
    "to_data": "to data",
    "ends_to_data": "ends to data",
    "contrast": "contrast",
    "contrast_line": "on a line",
}

# %%
#| export
SMOOTHNESS_CAPTION = (
    "means over {pairs} paths of 20 steps with standard errors in units of the last digit, "
    "between the same test images in all rows but those of draws. "
    "Path length: mean squared speed. Detour: length over distance of the ends. "
    "Largest step: over the mean step. "
    "Class changes: along a path, as the classifier sees it. "
    "To data: distance of the middle half to the nearest training images, over that of test images; "
    "the same of the ends. Contrast: standard deviation of the pixels half-way over that at the ends, "
    "on the arc (for the cross-fade the line) and on the straight line."
)


# %%
#| export
def smoothness_table(kept: list[dict]) -> str:
    "What `keep_paths` found in each space."
    rows = []
    for name, measures in _rows(kept, [found["spaces"] for found in kept]).items():
        numbers = [measures.get(key, {}) for key in SMOOTHNESS_COLUMNS]
        rows.append([name, *(uncertain(m.get("value"), m.get("se")) for m in numbers)])
    known = [found for found in kept if "hash" in found]
    extractors = {f"{escape(found['extractor'])}, weights `{found['hash']}`" for found in known}
    named = "; ".join(sorted(extractors)) or number(None)
    caption = f"Paths in the features of {named}: {SMOOTHNESS_CAPTION.format(pairs=kept[0]['pairs'])}"
    header = ["space", *SMOOTHNESS_COLUMNS.values()]
    return markdown_table(rows, header, caption, "smoothness", "l" + 8 * "r")


# %% [markdown]
# Walks and grids for the eye:

# %%
#| export
def _walks_figure(kept: dict[str, tuple[dict, dict]], folder: Path) -> str:
    "Two paths of each space."
    founds = [found for found, _ in kept.values()]
    spaces = [{name: images[name] for name in found["spaces"]} for found, images in kept.values()]
    save_figure(plot_walks(_rows(founds, spaces)).figure, folder / "walks")
    about = "; ".join(f"{name}: {verbatim(found['run'])}" for name, (found, _) in kept.items())
    caption = (
        "Two paths (arcs) through each latent space: "
        "between the same test images where a model can encode them, "
        f"else between draws of its own. Cross-fade: these test images, pixel by pixel. {about}."
    )
    return figure(folder, "walks", caption, "walks", "65%")


# %%
#| export
def _corners_figure(kept: dict[str, tuple[dict, dict]], folder: Path) -> str:
    "A grid between four draws for each model."
    size = (2.5 * len(kept), 2.7)
    fig, axes = plt.subplots(1, len(kept), figsize=size, layout="constrained", squeeze=False)
    for ax, (name, (_, images)) in zip(axes[0], kept.items(), strict=True):
        show_grid(images["corners"], ncol=7, ax=ax, title=name)
    save_figure(fig, folder / "corners")
    caption = (
        "Between four draws in the corners: left and right column are arcs, "
        "and each row is an arc between these."
    )
    return figure(folder, "corners", caption, "corners", f"{min(100, 33 * len(kept))}%")


# %% [markdown]
# The section. A walk that failed has left a log, whose last error is shown.

# %%
#| export
INTRODUCTION = """# Interpolation {#sec-interpolation}

Two latents and the arc between them [@shoemake1985; @white2016]: half-way on a straight line, normally
distributed noise would be too short. For the diffusion model the latent is the noise that its deterministic
flow starts from. The perceptual path length [@karras2019] is taken in the features of the classifier.
"""


# %%
#| export
def interpolation_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "Paths through the latent spaces, a grid between four corners, and how smooth paths are."
    jobs = walked(job for job in runs.job if load_paths(job.folder))
    kept = {job.run.config.model: load_paths(job.folder) for job in jobs}
    parts = []
    for r in runs[runs.metrics.notna()].itertuples():
        log = r.job.folder / "interpolation.log"
        if r.model not in kept and log.exists():
            parts.append(f"There are no paths of {r.label}: {verbatim(last_error(log))}\n")
    if kept:
        parts += [_walks_figure(kept, folder), _corners_figure(kept, folder)]
        parts.append(smoothness_table([found for found, _ in kept.values()]))
    return "\n".join(parts) or NONE


def interpolation_section(runs: pd.DataFrame, folder: Path) -> Section:
    "What the report says of walks through latent spaces."
    return Section(INTRODUCTION + "\n" + interpolation_fragment(runs, folder))


SECTIONS["interpolation"] = interpolation_section
