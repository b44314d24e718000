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
# # Denoising diffusion
#
# > Train a network to see the noise in an image, then walk from pure noise to a new image: the loss, the loop, and two ways to walk
#
# Spoil an image with noise, a little, then a little more, a thousand times, until nothing is left of it. Each of these small steps can nearly be undone by somebody who knows what images look like. A **diffusion model** ([Sohl-Dickstein et al. 2015](https://arxiv.org/abs/1503.03585), [Ho et al. 2020](https://arxiv.org/abs/2006.11239)) is a network that has learned to undo them. To make a new image, start with nothing but noise and undo a thousand steps.
#
# Where a GAN plays two networks against each other, this is plain regression: one network, one squared error, and a loss that goes down. Two notebooks come before this one: [02_ddpm_theory](02_ddpm_theory.ipynb) works out the theory, [03_unet](03_unet.ipynb) explains the network. Here the network is trained and draws images. Four come after it: faster samplers ([02b_samplers](02b_samplers.ipynb)), drawing by class ([02c_guidance](02c_guidance.ipynb)), the probability of images ([02d_likelihood](02d_likelihood.ipynb)), and the same seen as straight lines from noise to images ([02e_flow](02e_flow.ipynb)).
#
# Change the parameters below and run the notebook, or run it from a shell: `papermill nbs/02_ddpm.ipynb out.ipynb -p epochs 50`.

# %%
#| default_exp ddpm

# %% tags=["parameters"]
dataset = "digits"  # digits, tinted_digits, mnist, fashion_mnist, cifar10, celeba, hf:REPO or folder:PATH
epochs = 30  # passes over the training set
snapshots = [1, 5]  # look at the model after these epoch counts, too
name = "unet"  # a word for the run's folder
size = None  # pixels a side; None: the data set's own
subset = None  # train on so many images, or on this share of them; None: all
network = "unet"  # unet; dit: see 03b_dit; report003: see below
channels = None  # 3: show gray images to the network as three equal channels; None: as they are
patch = 1  # pixels a side that are one place to the network; 2 saves time on larger images
width = 16  # the dial for the network's size: channels a pixel at the first resolution, then doubled
widths = None  # or the channels at each resolution, e.g. [32, 64, 128]
blocks = 1  # residual blocks at each resolution, down and up
heads = 4  # of the attention at the lowest resolution; 0: no attention
T = 1000  # noise levels
schedule = "cosine"  # linear (Ho et al.), cosine (Nichol and Dhariwal) or straight (see 02e_flow)
target = "v"  # what the network predicts: eps, x0, v or flow
min_snr = None  # clip the weight of easy noise levels at this signal-to-noise ratio, e.g. 5; None: plain MSE
levels = "logit-normal"  # how training draws noise levels: uniform; logit-normal, more in the middle; or edm
conditional = False  # tell the network the class
tuned_from = None  # epochs: start from this run after so many, and tune it for few steps; see 02f_few_steps
batch_size = 64  # images in an update
optimizer = "muon"  # adam, or muon for the matrices and Adam for the rest: see 00_runs
lr = 1e-3  # Adam's learning rate; Muon's is 20 times as large
beta2 = 0.99  # Adam's decay of the squared gradient's mean
ema = 0.999  # sample from a moving average of the weights with this decay; 0: from the last weights
seed = 0  # all randomness follows from it
precision = "no"  # bf16: bfloat16 autocast
channels_last = False  # keep channels innermost in memory
compile = False  # compile the network with torch.compile
sampler = "sde_dpmpp"  # ancestral, ddim, dpmpp, heun, sde_dpmpp: 02b; flow_heun: 02e; consistency: 02f
steps = 20  # of the sampler
guidance = 1.0  # scale of classifier-free guidance, see 02c_guidance; needs conditional
interval = None  # [lowest, highest] noise level sigma at which guidance acts; None: all
n_samples = None  # images to draw and score; None: as many as there are test images
metrics = ["fd_lenet"]  # fd_lenet, precision, recall, memorisation and more: see 05_fid
compare = []  # other samplers to score at the end, as sampler:steps; see 02b_samplers

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import copy
import json
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator
from torch import nn

from genlab.data import ImageSet, load_dataset, show_grid, spread_classes, to_image, to_model
from genlab.diffusion import Diffusion
from genlab.few_steps import SLOWER, few_steps_section, own_answer
from genlab.fid import check_metrics, evaluate
from genlab.guidance import SCALES, guided, plot_guidance
from genlab.interpolation import LatentSpace, describe_run, load_or_explain
from genlab.likelihood import bits_per_dim, likelihood_section, reverse_variances
from genlab.plug import KINDS, MEASURES, NETWORKS, SAMPLERS, SCHEDULES, Kind, Section, key_of, look_up
from genlab.runs import (
    EMA,
    Run,
    RunConfig,
    atomic,
    count_costs,
    fits_memory,
    make_accelerator,
    make_optimizers,
    read_json,
    seed_everything,
)
from genlab.samplers import (
    Noise,
    begin,
    even_times,
    flow,
    karras_times,
    samplers_section,
)
from genlab.sources import progress
from genlab.tables import (
    NONE,
    figure,
    log_ticks,
    loss_curves,
    loss_table,
    plural,
    sample_sheets,
    save_figure,
    slug,
    with_pictures,
)
from genlab.unet import Report003UNet, UNet

# %%
#| hide
import math

import pytest
from torch._dynamo.testing import CompileCounter

import genlab
from genlab.likelihood import read_likelihood
from genlab.runs import plot_history

# %% [markdown]
# ## The idea
#
# Adding noise needs no network. An image $x_0$ at noise level $t$, that is after $t$ small steps, is
#
# $$x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\;\varepsilon,\qquad\varepsilon\sim\mathcal N(0,I),$$
#
# where $\bar\alpha_t$ falls from 1 at $t=0$ to nearly 0 at $t=T$. The way back needs a network. **It is trained to find the noise $\varepsilon$ in $x_t$**, or something from which the noise follows. Examples cost nothing: we add the noise ourselves, so we know the answer. In the pictures, $q$ is the distribution of the next step towards noise, and $p$ that of the next step back.

# %%
#| echo: false
results = Path(genlab.__file__).parents[1] / "report" / "results" / "mnist" / "ddpm"
mnist = dict(np.load(results / "small-bf16-0d5ae5c7" / "epoch-0010" / "pictures.npz"))  # a network for MNIST
abar = Diffusion(SCHEDULES["cosine"](1000)).abar[[50, 200, 400, 600, 800, 950]].numpy()
eps, noisy, predicted = mnist["noise_true"][0], mnist["noisy"][:, 0], mnist["noise_after"][:, 0]
clean = (noisy[0] - np.sqrt(1 - abar[0]) * eps) / np.sqrt(abar[0])


# %%
#| echo: false
def place(ax, image, x, y, label, side=1.0, limit=2.5):
    "An image around (x, y), greys from -limit to limit, with a label below."
    box = (x - side / 2, x + side / 2, y - side / 2, y + side / 2)
    ax.imshow(image, cmap="gray", vmin=-limit, vmax=limit, extent=box, interpolation="nearest")
    ax.text(x, y - side / 2 - 0.08, label, ha="center", va="top", fontsize=8)


def arrow(ax, start, end, bend=0.0):
    "An arrow from one point to another."
    style = dict(arrowstyle="-|>", color="0.3", connectionstyle=f"arc3,rad={bend}")
    ax.annotate("", end, start, arrowprops=style)


def empty(width, height):
    "Axes without axes, an inch a unit."
    fig, ax = plt.subplots(figsize=(width * 0.9, height * 0.9), layout="constrained")
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    ax.axis("off")
    return ax


# %%
#| echo: false
ax = empty(8.4, 2.7)
chain = {"$x_0$": clean, "$x_{200}$": noisy[1], "$x_{400}$": noisy[2], "$x_{600}$": noisy[3], "$x_T$": eps}
for i, (label, image) in enumerate(chain.items()):
    place(ax, image, 0.8 + 1.7 * i, 1.35, label, limit=1 + 1.5 * i / 4)
for i in range(4):
    arrow(ax, (1.0 + 1.7 * i, 1.93), (2.3 + 1.7 * i, 1.93), -0.35)
    arrow(ax, (2.3 + 1.7 * i, 0.55), (1.0 + 1.7 * i, 0.55), -0.35)
ax.text(4.2, 2.45, "noising: mix with noise, $q(x_t|x_{t-1})$", ha="center", fontsize=9)
ax.text(4.2, 0.05, "denoising: ask the network, step back, $p(x_{t-1}|x_t)$", ha="center", fontsize=9)
ax.set_xlim(0.1, 8.3);

# %%
#| echo: false
ax = empty(8.4, 2.9)
place(ax, clean, 0.7, 2.1, "image $x_0$", 0.9, 1.0)
place(ax, eps, 0.7, 0.7, r"noise $\varepsilon$", 0.9)
place(ax, noisy[2], 2.7, 2.1, r"$x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\varepsilon$", 0.9)
place(ax, predicted[2], 6.0, 2.1, r"prediction $\hat\varepsilon$", 0.9)
box = dict(boxstyle="round,pad=0.5", facecolor="0.92", edgecolor="0.3")
ax.text(4.4, 2.1, "network", ha="center", va="center", bbox=box)
ax.text(4.4, 0.95, "noise level $t$,\ndrawn at random", ha="center", va="center", fontsize=8)
ax.text(7.6, 1.4, "squared\nerror", ha="center", va="center", bbox=box)
arrow(ax, (1.2, 2.1), (2.2, 2.1))
arrow(ax, (1.2, 0.9), (2.2, 1.8))
arrow(ax, (3.2, 2.1), (3.85, 2.1))
arrow(ax, (4.4, 1.2), (4.4, 1.8))
arrow(ax, (4.95, 2.1), (5.5, 2.1))
arrow(ax, (6.5, 2.0), (7.15, 1.6))
arrow(ax, (1.2, 0.5), (7.15, 1.2), 0.18)
ax.set_title("one update of the training", fontsize=9);


# %% [markdown]
# The digit is from MNIST, the prediction from a small network after ten epochs. On the way back a *sampler*, the procedure that draws images, asks the network in the same way. From the answer follows a guess $\hat x_0$ of the clean image. The sampler goes a small step from $x_t$ towards it, and asks again.
#
# ## What the network learns
#
# The network is given $x_t$ and $t$. It can be trained to return one of three things:
#
# - `eps`, the noise $\varepsilon$;
# - `x0`, the clean image $x_0$;
# - `v`, the mixture $\sqrt{\bar\alpha_t}\,\varepsilon-\sqrt{1-\bar\alpha_t}\,x_0$ ([Salimans and Ho 2022](https://arxiv.org/abs/2202.00512)), the default here.
#
# Given $x_t$, each follows from each of the others. Why `v`? It always asks for what $x_t$ does not show: at $t=0$ it is the noise, at $t=T$ the image, with a minus sign. The other two are easy at one end, and just there a small error matters most: at high noise, a small error of $\varepsilon$ is a huge error of $x_0$.
#
# Training draws a noise level for each image at random and takes the mean squared error.
#
# ### An option: weights for noise levels
#
# The target decides how much an error of $x_0$ costs at each noise level. With $\mathrm{SNR}=\bar\alpha_t/(1-\bar\alpha_t)$, the ratio of signal to noise, the squared error of $\varepsilon$ is that of $x_0$ times $\mathrm{SNR}$; that of $v$ is that of $x_0$ times $\mathrm{SNR}+1$. Both factors are enormous for nearly clean images, where there is little to learn. **Min-SNR** ([Hang et al. 2023](https://arxiv.org/abs/2303.09556)) takes the factor $\min(\mathrm{SNR},\gamma)$ instead, whatever the target is. Written as a factor for the loss of each target:

# %%
#| export
def loss_weight(
    diffusion: Diffusion,
    t: torch.Tensor,  # (B,)
    target: str,  # eps, x0, v or flow
    min_snr: float | None,  # gamma; None: every weight is 1
) -> torch.Tensor:  # float32 (B,)
    "The factor of each image's squared error (Hang et al. 2023, section 3.4)."
    if min_snr is None:
        return torch.ones(len(t), device=t.device)
    abar = diffusion.abar_at(t)
    snr = abar / (1 - abar)
    of_x0 = {"eps": snr, "x0": 1, "v": snr + 1, "flow": (snr.sqrt() + 1) ** 2}[target]
    return (snr.clamp(max=min_snr) / of_x0).float()


# %% [markdown]
# With these factors the same error of $x_0$ costs the same, whatever the network predicts:

# %%
diffusion = Diffusion(look_up("schedule", schedule, SCHEDULES)(T))
x0 = to_model(load_dataset(dataset, "train", size).images[:8]).double()
t = torch.linspace(1, T, 8).long()
eps, wrong_x0 = torch.randn_like(x0), x0 + 0.1 * torch.randn_like(x0)
xt = diffusion.q_sample(x0, t, eps)
wrong_eps = diffusion.x0_eps("x0", wrong_x0, xt, t)[1]
losses = []
for kind in ("eps", "x0", "v", "flow"):
    error = diffusion.target(kind, wrong_x0, wrong_eps, t) - diffusion.target(kind, x0, eps, t)
    losses.append(loss_weight(diffusion, t, kind, 5.0) * error.square().flatten(1).mean(1))
assert all(torch.allclose(losses[0], other, rtol=1e-5) for other in losses)
assert (loss_weight(diffusion, t, "v", None) == 1).all()


# %% [markdown]
# ### Which noise levels to train on
#
# A level drawn evenly from 1 to $T$ is easy with many of them: where there is next to no noise, or nothing else, the network soon knows all that can be known. **Logit-normal** levels ([Esser et al. 2024](https://arxiv.org/abs/2403.03206)) are more often in the middle. They come from flow matching, where the share $\tau$ of noise on the way from image to noise is drawn so that $\log\frac\tau{1-\tau}$ is standard normal. The signal-to-noise ratio is then $(1-\tau)^2/\tau^2$, so its logarithm is normal with a standard deviation of 2, for any schedule. A fractional level is fine, because the network takes $t$ as a number. This is the default here. (`edm`, the levels of Karras et al., has more with little noise; [02e_flow](02e_flow.ipynb) explains them both.)
#
# It has a price: levels with hardly any noise are trained seldom, and [likelihoods](02d_likelihood.ipynb) depend on them. On `digits` (one run each, samples by `dpmpp`) samples are nearer to real images after 5 epochs, with an `fd_lenet` of 72 ± 7 against 98 ± 8 for uniform levels. After 30 epochs, 22 ± 5 and 20 ± 4 cannot be told apart, and bits per dimension are 2.97 ± 0.21 against 2.30 ± 0.14. Who wants a code rather than quick samples takes `-p levels uniform`.

# %%
#| export
def draw_levels(diffusion: Diffusion, n: int, kind: str, device: torch.device | str = "cpu") -> torch.Tensor:
    "Levels (n,) in [1, T]: uniform (Ho et al.), logit-normal (Esser et al. 2024), edm (Karras et al. 2022)."
    if kind == "uniform":
        return torch.randint(1, diffusion.T + 1, (n,), device=device)
    mean, sd = {"logit-normal": (0, 2), "edm": (2.4, 2.4)}[kind]  # of the log-SNR
    return diffusion.t_at(mean + sd * torch.randn(n, device=device)).float()


# %%
seed_everything(seed)
cosine = Diffusion(SCHEDULES["cosine"](1000))
fig, ax = plt.subplots(figsize=(5, 2.2), layout="constrained")
for kind in ("uniform", "logit-normal"):
    drawn = draw_levels(cosine, 20_000, kind).numpy()
    ax.hist(drawn, bins=50, range=(0, 1000), density=True, alpha=0.5, label=kind)
    assert drawn.min() >= 1 and drawn.max() <= 1000
ax.set(xlabel="noise level $t$, cosine schedule", yticks=[])
ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
log_snr = cosine.abar_at(torch.from_numpy(drawn)).logit()
assert abs(log_snr.mean()) < 0.05 and abs(log_snr.std() - 2) < 0.05  # standard errors 0.014 and 0.010


# %% [markdown]
# ## What defines a run
#
# Most settings describe the network ([03_unet](03_unet.ipynb)), the noise ([02_ddpm_theory](02_ddpm_theory.ipynb)) and the training. The last four say how samples are drawn. These can be changed afterwards without training again, so they are not part of what identifies a run (`exclude`). [00c_plug](00c_plug.ipynb) says how to add a network, a schedule or a sampler.

# %%
#| export
class DDPMConfig(RunConfig):
    "A diffusion run."

    log_line: ClassVar[str] = "loss: {loss:.4f}"
    sample_fields: ClassVar[tuple[str, ...]] = ("n_samples", "sampler", "steps", "guidance", "interval")
    since: ClassVar[dict] = {
        "patch": 1, "width": None, "levels": "uniform", "optimizer": "adam", "beta2": 0.999, "interval": None,
        "tuned_from": None,
    }  # fmt: skip

    model: Literal["ddpm"] = "ddpm"
    name: str = Field("unet", pattern=r"^[\w.-]+$")
    batch_size: PositiveInt = 64
    ema: float = Field(0.999, ge=0, lt=1)
    network: key_of(NETWORKS["ddpm"], once={"report003": "seed"}) = "unet"
    channels: Literal[3] | None = None  # 3: gray images as three equal channels; None: as they are
    patch: PositiveInt = 1  # pixels a side of a place in the network
    width: PositiveInt | None = 16  # channels a pixel at the first resolution, see make_unet
    widths: list[int] | None = Field(None, min_length=1)  # or the channels at each resolution
    blocks: int = Field(1, gt=0, le=100)  # residual blocks at each resolution, down and up
    heads: int = Field(4, ge=0)  # of the attention at the lowest resolution; 0: none
    T: int = Field(1000, gt=0, le=100_000)  # noise levels
    schedule: key_of(SCHEDULES) = "cosine"
    target: Literal["eps", "x0", "v", "flow"] = "v"  # what the network predicts
    min_snr: PositiveFloat | None = None  # see loss_weight
    levels: Literal["uniform", "logit-normal", "edm"] = "logit-normal"  # see draw_levels
    conditional: bool = False  # the network is told the class, in nine of ten updates
    tuned_from: PositiveInt | None = None  # epochs of the plain run to start with, see genlab.few_steps
    optimizer: Literal["adam", "muon"] = "muon"  # see make_optimizers
    lr: PositiveFloat = 1e-3  # Adam's learning rate; Muon's is 20 times as large
    beta2: float = Field(0.99, ge=0, lt=1)  # Adam's decay of the squared gradient's mean
    channels_last: bool = False  # memory order of the network's tensors
    compile: bool = False  # torch.compile for training

    sampler: key_of(SAMPLERS) = Field("sde_dpmpp", exclude=True)
    steps: PositiveInt = Field(20, exclude=True)  # of the sampler
    guidance: float = Field(1.0, ge=0, le=100, exclude=True)  # of the class, see genlab.guidance; 1: plain
    interval: list[float] | None = Field(None, min_length=2, max_length=2, exclude=True)  # of sigma
    compare: list[str] = Field([], exclude=True)  # other samplers to score at the end, as sampler:steps

    @model_validator(mode="before")
    @classmethod
    def _widths_decide(cls, values: dict) -> dict:
        decided = values.get("widths") or values.get("network") == "report003"
        return values | {"width": None} if decided else values

    @field_validator("widths")
    @classmethod
    def _multiples_of_eight(cls, widths: list[int] | None) -> list[int] | None:
        if any(w < 8 or w % 8 for w in widths or []):
            raise ValueError(f"widths: {widths} are not all multiples of 8, which group normalisation needs.")
        return widths

    @field_validator("width")
    @classmethod
    def _multiple_of_eight(cls, width: int | None) -> int | None:
        if width is not None and width % 8:
            raise ValueError(f"width: {width} is no multiple of 8, which group normalisation needs.")
        return width

    @model_validator(mode="after")
    def _consistent(self):
        if self.steps > self.T:
            raise ValueError(f"steps: {self.steps} are more than the T = {self.T} noise levels there are.")
        if self.guidance != 1 and not self.conditional:
            needed = "a model that knows classes; train one with conditional=True"
            raise ValueError(f"guidance: {self.guidance} needs {needed}.")
        if self.interval and not 0 <= self.interval[0] < self.interval[1]:
            raise ValueError(f"interval: {self.interval} are not two rising noise levels from 0 on.")
        if self.conditional and self.network == "report003":
            raise ValueError("conditional: report 003's network knows no classes; use network='unet'.")
        if self.patch > 1 and self.network == "report003":
            raise ValueError("patch: report 003's network takes single pixels; use network='unet'.")
        if self.tuned_from and self.target not in ("v", "flow"):
            why = "with v or flow the guess at noise level 0 is the image, and errors stay bounded at level T"
            raise ValueError(f"tuned_from: {self.target} is no target to tune; {why}.")
        for text in self.compare:
            self.with_sampler(text)
        return self

    def with_sampler(self, text: str) -> "DDPMConfig":
        "The same configuration with a sampler given as sampler:steps, such as ddim:50; or a ValueError."
        sampler, _, steps = text.partition(":")
        kept = {key: getattr(self, key) for key in ("guidance", "interval", "n_samples")}
        return type(self)(**self.model_dump() | kept | {"sampler": sampler, "steps": steps})


# %%
config = DDPMConfig.of(globals())
data, test = config.training_set(), load_dataset(config.dataset, "test", config.size)
show_grid(data.images[:32], ncol=16, title=f"{dataset}: real images");

# %%
#| hide
for wrong, sentence in [
    (dict(T=0), "T: 0 should be greater than 0"),
    (dict(T=10), "steps: 20 are more than the T = 10 noise levels"),
    (dict(guidance=2), "guidance: 2.0 needs a model that knows classes"),
    (dict(guidance=1e30, conditional=True), "guidance: 1e.30 should be less than or equal to 100"),
    (dict(guidance=math.inf, conditional=True), "guidance: inf should be"),
    (dict(guidance=math.nan, conditional=True), "guidance: nan should be"),
    (dict(interval=[3, 0.3]), r"interval: \[3.0, 0.3\] are not two rising noise levels"),
    (dict(interval=[1]), "interval"),
    (dict(target="mean"), "target: 'mean' should be 'eps', 'x0', 'v' or 'flow'"),
    (dict(network="unit"), r"network: 'unit' is unknown; did you mean unet\?"),
    (dict(schedule="cosin"), r"schedule: 'cosin' is unknown; did you mean cosine\?"),
    (dict(compare=["ddim:5000"]), "steps: 5000 are more than the T = 1000"),
    (dict(compare=["dimm:50"]), r"sampler: 'dimm' is unknown; did you mean ddim\?"),
    (dict(widths=[20]), "widths: .20. are not all multiples of 8"),
    (dict(width=20), "width: 20 is no multiple of 8"),
    (dict(network="report003", patch=2), "patch: report 003's network takes single pixels"),
    (dict(tuned_from=0), "tuned_from: 0 should be greater than 0"),
    (dict(tuned_from=5, target="eps"), "tuned_from: eps is no target to tune; with v or flow"),
    (dict(levels="logit"), "levels: 'logit' should be 'uniform', 'logit-normal' or 'edm'"),
]:
    with pytest.raises(ValueError, match=sentence):
        DDPMConfig(**wrong)
asked = DDPMConfig(interval=[0.3, 3]).sample_settings()
assert asked["interval"] == [0.3, 3] and json.loads(json.dumps(asked)) == asked, "found again in metrics.json"
assert DDPMConfig(widths=[16, 32]).hash == DDPMConfig(widths=[16, 32], width=64).hash  # one of them counts


# %%
#| export
def make_diffusion(config: DDPMConfig) -> Diffusion:
    "The noise of a configuration."
    return Diffusion(look_up("schedule", config.schedule, SCHEDULES)(config.T))


# %% [markdown]
# ## Network, loss and training loop
#
# **The network.** By default it has 16, 32 and 64 channels at the three resolutions. `width`, the number of channels at the first, makes all of it smaller or larger. With `patch=2` squares of 2x2 pixels go in as one place, there are two resolutions, and the channels are twice as many. `report003` is the network of an older student report, for comparison. (That report showed gray digits to its network as three equal channels; so does `channels=3`.)

# %%
#| export
def make_unet(config: DDPMConfig, data: ImageSet) -> nn.Module:
    "The U-Net of 03_unet for images like those of `data`."
    size, classes = data.images.shape[-1], len(data.classes) if config.conditional else 0
    width = config.width or (32 if size >= 24 else 16)  # None: before there was a `width`
    widths = config.widths or [config.patch * width * 2**i for i in range(2 if config.patch > 1 else 3)]
    channels = config.channels or data.images.shape[1]
    return UNet(channels, widths, config.blocks, config.heads, classes, size=size, patch=config.patch)


def make_report003(config: DDPMConfig, data: ImageSet) -> nn.Module:
    "The network `report003`, of one width at all resolutions: the first of `widths`, or 64."
    width = (config.widths or [64])[0]
    return Report003UNet(config.channels or data.images.shape[1], width, size=data.images.shape[-1])


NETWORKS["ddpm"] |= {"unet": make_unet, "report003": make_report003}


# %%
#| export
@fits_memory
def make_network(config: DDPMConfig, data: ImageSet) -> nn.Module:
    "A fresh network (xt, t, y) -> prediction for images like those of `data`; the seed decides the weights."
    seed_everything(config.seed, 0)
    if config.conditional and not data.classes:
        raise ValueError("conditional: the data set has no labels; sort the images into class folders.")
    return look_up("network", config.network, NETWORKS["ddpm"])(config, data)


def fresh_network(config: DDPMConfig, data: ImageSet, network: nn.Module | None = None) -> nn.Module:
    "A copy of `network`; without one, a new network by the configuration."
    net = make_network(config, data) if network is None else copy.deepcopy(network)
    return net.to(memory_format=torch.channels_last if config.channels_last else torch.contiguous_format)


# %% [markdown]
# **The loss** is the heart of this notebook: the second picture above, line by line. In a class-conditional run one label in ten is replaced by "none", so that the network also learns to work without a class, as guidance needs it ([02c_guidance](02c_guidance.ipynb)).

# %%
#| export
def denoising_loss(
    model: nn.Module,  # (xt, t, y) -> prediction, like xt
    config: DDPMConfig,  # its levels, target and min_snr
    diffusion: Diffusion,
    x0: torch.Tensor,  # float (B, C, H, W) in [-1, 1]
    y: torch.Tensor,  # int64 (B,), on the device of x0
    classes: int = 0,  # how many; 0: the network is not told
    average: nn.Module | None = None,  # tuning: whose own answer is the goal, see genlab.few_steps
) -> torch.Tensor:  # (), with its gradient
    "The loss at random noise levels and with random noise (Ho et al. 2020, algorithm 1, for any target)."
    x0 = x0.expand(-1, config.channels or -1, -1, -1)
    t, eps = draw_levels(diffusion, len(x0), config.levels, x0.device), torch.randn_like(x0)
    xt = diffusion.q_sample(x0, t, eps)
    if classes:
        none = torch.rand(len(y), device=y.device) < 0.1
        y = torch.where(none, classes, y)
    y = y if classes else None
    output = model(xt, t, y).float()
    if average is not None:
        x0, eps = own_answer(average, config.target, diffusion, x0, eps, t, y)
    error = (output - diffusion.target(config.target, x0, eps, t)).square().flatten(1).mean(1)
    return (loss_weight(diffusion, t, config.target, config.min_snr) * error).mean()


# %% [markdown]
# (With `average` given, the goal is not the image but what that network sees in it at a lower noise level: [02f_few_steps](02f_few_steps.ipynb).)

# %% [markdown]
# `torch.compile` makes code for the shapes it sees. The last batch of an epoch is short, and would be compiled anew; so the number of images is marked as one that varies.

# %%
#| export
def compiled(net: nn.Module, backend: str | Callable = "inductor") -> Callable:
    "The network (xt, t, y), compiled once for batches of any size."
    model = torch.compile(net, backend=backend)

    def call(*inputs: torch.Tensor | None) -> torch.Tensor:
        for x in inputs:
            if x is not None:
                torch._dynamo.maybe_mark_dynamic(x, 0)
        return model(*inputs)

    return call


# %%
counter = CompileCounter()
once = compiled(UNet(1, [8, 16], classes=3, size=8), counter)
for n in (8, 3, 8, 5):
    once(torch.ones(n, 1, 8, 8), torch.ones(n), torch.arange(n) % 3)
assert counter.frame_count == 1


# %% [markdown]
# Three helpers of the loop. `-p tuned_from 20` continues with the weights of the run that is otherwise the same after 20 epochs, with smaller steps and the goal of [02f_few_steps](02f_few_steps.ipynb). All other runs start with fresh weights, and the first two do nothing special.

# %%
#| export
def start_weights(net: nn.Module, config: DDPMConfig, network: nn.Module | None = None) -> None:
    "If its run is tuned from a plain one, give `net` the weights of that, which is trained first if need be."
    if config.tuned_from:
        plain = {"tuned_from": None, "epochs": config.tuned_from, "snapshots": []}
        run = Run(config.model_copy(update=plain))
        with run.lock():
            net.load_state_dict(train_ddpm(run, config.tuned_from, network).state_dict())


def ddpm_optimizers(net: nn.Module, config: DDPMConfig) -> dict[str, torch.optim.Optimizer]:
    "Those of the configuration; tuning takes smaller steps."
    lr = config.lr / SLOWER if config.tuned_from else config.lr
    return make_optimizers(net, config.optimizer, lr, config.beta2)


def ddpm_costs(net: nn.Module, config: DDPMConfig, data: ImageSet) -> dict:
    "See `count_costs`."
    diffusion, classes = make_diffusion(config).to("meta"), len(data.classes) if config.conditional else 0

    def count(net: nn.Module, x0: torch.Tensor, y: torch.Tensor) -> None:
        denoising_loss(net, config, diffusion, x0, y, classes, net if config.tuned_from else None).backward()

    return count_costs(count, config, data, net)


# %% [markdown]
# **The loop** is an ordinary one, but for its optimizer: Muon moves the matrices and kernels, and Adam the rest ([00_runs](00_runs.ipynb)). Samples come from a moving average of the weights (`EMA`). `run.batches` takes the place of a data loader, and keeps the state of the training on disk ([00_runs](00_runs.ipynb)). `network` is for a module of your own: it takes $x_t$, $t$ and the labels, and returns a tensor of the shape of $x_t$.

# %%
#| export
def train_ddpm(run: Run, epochs: int, network: nn.Module | None = None) -> nn.Module:
    "Train `run` until `epochs` epochs are done, from where it stands; returns the network to sample from."
    config, accelerator = run.config, make_accelerator(run.config.precision)
    data, diffusion = config.training_set(), make_diffusion(config).to(accelerator.device)
    classes = len(data.classes) if config.conditional else 0
    net = fresh_network(config, data, network).to(accelerator.device)
    if run.load_weights(epochs, net):
        return net
    start_weights(net, config, network)
    average, optimizers = EMA(net, config.ema), ddpm_optimizers(net, config)
    model = compiled(net) if config.compile else net
    run.costs, asked = ddpm_costs(net, config, data), average.model if config.tuned_from else None

    for x0, y in run.batches(data, epochs, accelerator.device, net=net, average=average, **optimizers):
        with accelerator.autocast():
            loss = denoising_loss(model, config, diffusion, x0, y, classes, asked)
        net.zero_grad()
        accelerator.backward(loss)
        for optimizer in optimizers.values():
            optimizer.step()
        average.update(net)
        run.log(loss=loss)
    run.keep_weights(epochs, average.model)
    return average.model


# %% [markdown]
# ## From noise to images
#
# A sampler needs one thing of a model: given $x_t$ and $t$, the clean image that it expects, $\hat x_0$. A `Denoiser` gives exactly that. It holds the network, the noise schedule and the target, and clips $\hat x_0$ to $[-1,1]$, the range of pixels, so that errors of early steps do not add up. (`guided` asks for a class; without labels it just calls the network.)

# %%
#| export
class Denoiser:
    "What samplers sample from: (xt, t) -> the x0 that a network believes in. Counts its evaluations."

    def __init__(
        self,
        net: nn.Module,  # (xt, t, y) -> prediction
        diffusion: Diffusion,
        target: str,  # what it predicts: eps, x0, v or flow
        labels: torch.Tensor | None = None,  # int64 (B,): classes to draw; None: any
        guidance: float = 1.0,  # see genlab.guidance
        precision: str = "no",  # bf16: bfloat16 autocast
        interval: tuple[float, float] | None = None,  # of sigma: guidance acts where all images are in it
        guide: nn.Module | None = None,  # a weaker network to lead away from; None: the same, told no class
    ):
        self.interval, self.guide = interval, guide if guide is None else guide.eval()
        self.net, self.diffusion, self.target, self.guidance = net.eval(), diffusion, target, guidance
        self.device, self.evaluations = next(net.parameters(), torch.empty(0)).device, 0
        self.labels = None if labels is None else labels.to(self.device)
        half = precision == "bf16"
        self.autocast = torch.autocast(self.device.type, torch.bfloat16) if half else nullcontext()

    @torch.no_grad()
    def output(self, xt: torch.Tensor, t) -> torch.Tensor:
        "What the network says about xt (B, C, H, W) at times t, a number or (B,); float32."
        self.evaluations += 1
        scale = self.guidance
        if scale != 1 and self.interval:
            low, high = self.interval
            sigma = (1 / self.diffusion.abar_at(t) - 1).sqrt()
            scale = scale if ((low <= sigma) & (sigma <= high)).all() else 1.0
        if isinstance(t, torch.Tensor):
            t = t.expand(len(xt)).to(self.device).float()
        else:
            t = torch.full((len(xt),), t, dtype=torch.float32, device=self.device)
        with self.autocast:
            return guided(self.net, xt, t, self.labels, scale, self.guide)

    def eps(self, xt: torch.Tensor, t) -> torch.Tensor:
        "The noise that the network sees in xt, as it comes."
        return self.diffusion.x0_eps(self.target, self.output(xt, t), xt, t)[1]

    def __call__(
        self,
        xt: torch.Tensor,  # (B, C, H, W)
        t,  # noise level in (0, T], for all or for each; a fraction is fine
    ) -> torch.Tensor:  # (B, C, H, W) in [-1, 1]
        "The clean images that the network sees in xt."
        return self.diffusion.x0_eps(self.target, self.output(xt, t), xt, t)[0].clamp(-1, 1)


# %%
#| export
def make_denoiser(net: nn.Module, config: DDPMConfig, labels: torch.Tensor | None = None) -> Denoiser:
    "A network of this configuration, as samplers want it; `labels` are for those that know classes."
    return Denoiser(
        net, make_diffusion(config), config.target, labels if config.conditional else None, config.guidance,
        config.precision, config.interval,
    )  # fmt: skip


# %% [markdown]
# Three helpers come from [02b_samplers](02b_samplers.ipynb). `Noise(shape, seed)` is a function that returns new noise at each call, for each sample the same in any batch; the first is the *latent*, from which the sample starts. `even_times(diffusion, steps)` are the noise levels to visit, from $T$ to 0. `begin` returns both for a sampler, or what you give it instead.

# %%
print(even_times(diffusion, 5))
latents = Noise((8, 1, 16, 16), seed)()
show_grid(latents / 2.5, ncol=8, title="the latents of eight samples, greys from -2.5 to 2.5");


# %% [markdown]
# **Ancestral sampling** goes from level $t$ to the next lower level $s$ as the theory says. If we knew $x_0$, the less noisy image $x_s$ would be distributed as $q(x_s\mid x_t,x_0)$, a normal distribution that [02_ddpm_theory](02_ddpm_theory.ipynb) works out. The sampler puts in $\hat x_0$ and draws from it. With $T$ steps it is the DDPM of Ho et al.; with fewer, the same on a subset of the levels ([Nichol and Dhariwal 2021](https://arxiv.org/abs/2102.09672), section 4). The last step has variance zero, so no noise is added at the end.

# %%
#| export
def ancestral(
    model,  # (xt, t) -> x0, with .diffusion and .device; such as a Denoiser
    shape: tuple[int, ...],  # (n, C, H, W)
    steps: int,  # 1 to T
    seed: int,  # sample i depends on (seed, start + i) only
    callback: Callable | None = None,  # called after each step: (level reached, x there, x0 believed in)
    start: int = 0,  # number of the first sample
    times: Sequence[float] | None = None,  # steps + 1 falling noise levels, the last one 0; None: even_times
    noise: Callable | None = None,  # gives the next noise, the start first; None: Noise(shape, seed, start)
) -> torch.Tensor:  # float32 (n, C, H, W)
    "Ancestral sampling (Ho et al. 2020, algorithm 2; with fewer steps, Nichol and Dhariwal 2021)."
    times, noise = begin(model, shape, steps, seed, start, times, noise, even_times)
    x = noise().to(model.device)
    for t, s in pairwise(times):
        x0 = model(x, t)
        x, variance = model.diffusion.posterior(x, x0, t, s)
        if s > 0:
            x = x + variance.sqrt() * noise().to(model.device)
        if callback:
            callback(s, x, x0)
    return x


# %% [markdown]
# **DDIM** ([Song et al. 2021](https://arxiv.org/abs/2010.02502)) keeps the noise $\hat\varepsilon$ that follows from $x_t$ and $\hat x_0$, instead of drawing new noise:
#
# $$x_s=\sqrt{\bar\alpha_s}\,\hat x_0+\sqrt{1-\bar\alpha_s}\,\hat\varepsilon.$$
#
# Only the start is random. The steps follow the *probability flow*, an ordinary differential equation that carries noise to images. The argument `eta` puts a part of the randomness back: 0 is the formula above, 1 is ancestral sampling. `dpmpp` follows the same equation with fewer steps, and `sde_dpmpp`, the default of this notebook, does the same for ancestral sampling ([02b_samplers](02b_samplers.ipynb)).

# %%
#| export
def ddim(
    model, shape, steps, seed, callback=None, start=0, times=None, noise=None, eta: float = 0.0
) -> torch.Tensor:
    """DDIM (Song et al. 2021, eq. 12), arguments as for `ancestral`.

    eta goes from 0, deterministic, to 1, ancestral sampling. ValueError for others."""
    if not 0 <= eta <= 1:
        raise ValueError(f"eta: {eta} is not between 0 and 1.")
    diffusion = model.diffusion
    times, noise = begin(model, shape, steps, seed, start, times, noise, even_times)
    x = noise().to(model.device)
    for t, s in pairwise(times):
        x0 = model(x, t)
        eps = diffusion.x0_eps("x0", x0, x, t)[1]
        abar, variance = diffusion.abar_at(s), eta**2 * diffusion.posterior(x, x0, t, s)[1].double()
        x = abar.sqrt().item() * x0 + (1 - abar - variance).clamp(min=0).sqrt().item() * eps
        if variance > 0:
            x = x + variance.sqrt().item() * noise().to(model.device)
        if callback:
            callback(s, x, x0)
    return x


SAMPLERS |= {"ancestral": ancestral, "ddim": ddim}


# %% [markdown]
# A check: with `eta=1` and the same random numbers, DDIM goes the same way as ancestral sampling. The model here always expects the same image, so both must end at it.

# %%
class SameImage:
    "A model that expects the same image, whatever it is shown."

    def __init__(self, image):
        self.image, self.diffusion, self.device = image, diffusion, torch.device("cpu")

    def __call__(self, xt, t):
        return self.image.expand_as(xt)


model, visited = SameImage(to_model(data.images[:1])), {"ancestral": [], "ddim": []}
shape, n_steps = (4, *data.images.shape[1:]), min(25, T)
by_ancestral = ancestral(model, shape, n_steps, seed, lambda s, x, x0: visited["ancestral"].append(x))
by_ddim = ddim(model, shape, n_steps, seed, lambda s, x, x0: visited["ddim"].append(x), eta=1.0)
for a, b in zip(*visited.values(), strict=True):
    assert torch.allclose(a, b, atol=1e-4)
assert torch.equal(by_ancestral, model.image.expand(shape))
with pytest.raises(ValueError, match="eta: nan is not between 0 and 1"):
    ddim(model, shape, n_steps, seed, eta=math.nan)


# %% [markdown]
# `sample_ddpm` draws with any sampler, in batches, and returns images:

# %%
#| export
def sample_ddpm(
    net: nn.Module,
    config: DDPMConfig,  # its sampler, steps and guidance are used
    data: ImageSet,  # images of this shape are drawn
    n: int,  # number of images
    seed: int = 0,  # image i depends on (seed, i), and on its class, only
    labels: torch.Tensor | None = None,  # classes to draw, int64 (n,); None: as often as `data` has them
    batch_size: int | None = None,  # images at a time; None: 500 on a GPU, 50 on a CPU with its caches
) -> tuple[torch.Tensor, int]:  # uint8 (n, C, H, W) on the CPU; evaluations of the network for an image
    "Images from a network. Three channels for gray data are averaged."
    c, h, w = data.images.shape[1:]
    draw, images = look_up("sampler", config.sampler, SAMPLERS), []
    batch_size = batch_size or (50 if next(net.parameters()).device.type == "cpu" else 500)
    if config.conditional and labels is None:
        labels = spread_classes(data, n)
    ticks = iter(progress(range(-(-n // batch_size) * config.steps), f"{config.sampler}, {n} images", "step"))
    for start in range(0, n, batch_size):
        shape = (min(batch_size, n - start), config.channels or c, h, w)
        asked = labels[start : start + shape[0]] if config.conditional else None
        model = make_denoiser(net, config, asked)
        x = draw(model, shape, config.steps, seed, lambda *_: next(ticks, None), start)
        images.append(to_image(x.mean(1, keepdim=True) if shape[1] > c else x).cpu())
    return torch.cat(images), model.evaluations


# %%
#| hide
class Says(nn.Module):
    "A network that sees in every image the number of the class it was told, from black to white."

    def __init__(self):
        super().__init__()
        self.classes, self.weight = 10, nn.Parameter(torch.zeros(1))

    def forward(self, xt, t, y):
        return (2 * y / 9 - 1)[:, None, None, None].expand_as(xt)


told = DDPMConfig(conditional=True, target="x0", steps=2)
digits = load_dataset("digits")
for asked, expected in [(None, spread_classes(digits, 70)), (torch.arange(70) % 7, torch.arange(70) % 7)]:
    drawn, evaluations = sample_ddpm(Says(), told, digits, 70, labels=asked)
    assert torch.equal((drawn[:, 0, 0, 0] * (9 / 255)).round().long(), expected) and evaluations == 2

# %% [markdown]
# ## Looking inside
#
# The rest of the code measures and draws; on a first reading, go on to [Training](#Training). `look_inside` returns arrays, from which this notebook and the report draw the same pictures: how images emerge, the noise that the network predicts beside the true noise, and its error at each noise level. For the last two a fresh network of the same kind serves as "before training".

# %%
#| export
LEVELS = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)  # noise levels to look at, as shares of T


@torch.no_grad()
def look_inside(
    net: nn.Module,
    config: DDPMConfig,
    data: ImageSet,  # test images, of which 256 at most are used
    before: nn.Module | None = None,  # the network before training; None: a fresh one by the configuration
) -> dict[str, np.ndarray]:  # see the comments in the function
    "Arrays for `plot_denoising`, `plot_noise`, `plot_level_losses` and `plot_guidance`."
    labels = data.labels[:256] if config.conditional else None
    x0 = to_model(data.images[:256]).expand(-1, config.channels or -1, -1, -1)
    eps = Noise(x0.shape, config.seed)()
    pictures = {"denoising": _denoising(net, config, data)}  # uint8 (8 levels, 8 samples, C, H, W)
    fresh = fresh_network(config, data, before).to(next(net.parameters()).device)
    for name, network in (("before", fresh), ("after", net)):
        noisy, predicted, losses = _at_levels(make_denoiser(network, config, labels), x0, eps)
        pictures[f"noise_{name}"] = predicted  # float32 (levels, C, H, W): eps predicted for the first image
        pictures[f"loss_{name}"] = losses  # float32 (levels,): MSE of the target
    pictures["noisy"] = noisy  # float32 (levels, C, H, W): what the first image looks like there
    pictures["noise_true"] = eps[0].numpy()
    if config.conditional:
        pictures["guidance"] = _by_scale(net, config, data)  # uint8 (scales, classes, C, H, W)
    return pictures


# %% [markdown]
# At each level, and with each guidance scale:

# %%
#| export
def _at_levels(model: Denoiser, x0: torch.Tensor, eps: torch.Tensor) -> list[np.ndarray]:
    "At each of LEVELS the first image, the noise predicted in it, and the squared error over all images."
    noisy, predicted, losses = [], [], []
    for share in LEVELS:
        t = torch.full((len(x0),), max(1, round(share * model.diffusion.T)))
        xt = model.diffusion.q_sample(x0, t, eps)
        output = model.output(xt.to(model.device), t).cpu()
        noisy.append(xt[0])
        predicted.append(model.diffusion.x0_eps(model.target, output, xt, t)[1][0])
        losses.append((output - model.diffusion.target(model.target, x0, eps, t)).square().mean())
    return [torch.stack(found).numpy() for found in (noisy, predicted, losses)]


def _by_scale(net: nn.Module, config: DDPMConfig, data: ImageSet) -> np.ndarray:
    "The same latents, one for each class, at each guidance scale."
    n, images = len(data.classes), []
    for scale in SCALES:
        guided_config = config.model_copy(update={"guidance": scale})
        images.append(sample_ddpm(net, guided_config, data, n, config.seed, torch.arange(n))[0])
    return torch.stack(images).numpy()


# %% [markdown]
# How images emerge, by ancestral sampling. The values of noise reach beyond black and white. So that few are cut off, each stage is divided by $\sqrt{\bar\alpha_t}+2\sqrt{1-\bar\alpha_t}$: a white pixel, and two standard deviations of the noise.

# %%
#| export
def _denoising(net: nn.Module, config: DDPMConfig, data: ImageSet) -> np.ndarray:
    "Eight samples at eight stages of ancestral sampling, noise first: uint8 (8, 8, C, H, W)."
    labels = torch.arange(8) % max(1, len(data.classes))
    model, steps = make_denoiser(net, config, labels), min(config.T, 250)
    shape = (8, config.channels or data.images.shape[1], *data.images.shape[2:])
    way = [(config.T, Noise(shape, config.seed)())]
    ancestral(model, shape, steps, config.seed, lambda s, x, x0: way.append((s, x.cpu())))
    stages = []
    for s, x in (way[round(k * steps / 7)] for k in range(8)):
        abar = model.diffusion.abar[s]
        stages.append(to_image(x / (abar.sqrt() + 2 * (1 - abar).sqrt()).item()))
    return torch.stack(stages).numpy()


def plot_denoising(pictures: dict[str, np.ndarray], ax: plt.Axes | None = None) -> plt.Axes:
    "Columns are samples, rows noise levels, from pure noise at the top."
    return show_grid(torch.from_numpy(pictures["denoising"]).flatten(0, 1), ncol=8, ax=ax)


# %% [markdown]
# Noise is drawn in greys from -2.5 to 2.5, the same for all rows, so that what is predicted can be compared with what is true:

# %%
#| export
def plot_noise(pictures: dict[str, np.ndarray], T: int) -> plt.Figure:
    "One image at several noise levels: noisy, true noise, noise predicted before and after training."
    rows = {"$x_t$": "noisy", "true noise": "noise_true"}
    rows |= {"before training": "noise_before", "after training": "noise_after"}
    fig, axes = plt.subplots(4, len(LEVELS), figsize=(1.1 * len(LEVELS) + 1, 4.6), layout="constrained")
    for line, (label, key) in zip(axes, rows.items(), strict=True):
        for ax, image in zip(line, np.broadcast_to(pictures[key], pictures["noisy"].shape), strict=True):
            ax.imshow(image.mean(0), cmap="gray", vmin=-2.5, vmax=2.5)
            ax.set(xticks=[], yticks=[])
        line[0].set_ylabel(label, fontsize=8)
    for ax, share in zip(axes[0], LEVELS, strict=True):
        ax.set_title(f"$t={round(share * T)}$", fontsize=9)
    return fig


# %% [markdown]
# The error at each level, on a logarithmic axis:

# %%
#| export
def plot_level_losses(pictures: dict[str, np.ndarray], T: int, ax: plt.Axes | None = None) -> plt.Axes:
    "Mean squared error on test images at each noise level, before and after training."
    ax = ax or plt.subplots(figsize=(5, 2.6), layout="constrained")[1]
    for name in ("before", "after"):
        levels = [round(share * T) for share in LEVELS]
        ax.plot(levels, pictures[f"loss_{name}"], marker="o", label=f"{name} training")
    ax.set(xlabel="noise level $t$", ylabel="mean squared error", yscale="log")
    log_ticks(ax.yaxis)
    ax.legend(frameon=False)
    return ax


# %% [markdown]
# ## All of it together
#
# `run_ddpm` trains, samples, scores and looks inside, for each epoch count that is not on disk yet. Then it scores the other samplers, at the last epoch count, each from the same latents.

# %%
#| export
def run_ddpm(config: DDPMConfig, network: nn.Module | None = None) -> Run:
    """Train, sample and score at each epoch count of `config`; what is on disk already is not done again.

    `network`, a module (xt, t, y) -> prediction, is trained in place of the one that `config.network` names.
    The folder does not know it: give such a run a `name` that no other has."""
    if network is not None:
        config.check_own_name()
    run = Run(config)
    with run.lock():
        for epochs in run.pending():
            check_metrics(config.dataset, config.size, config.metrics)
            net, test = train_ddpm(run, epochs, network), load_dataset(config.dataset, "test", config.size)
            samples, results = _draw(net, config, test)
            results["sample_seconds"] = results.pop("seconds")
            results["likelihood"] = measure_likelihood(net, config, len(samples))
            run.finish(epochs, samples, look_inside(net, config, test, network), **results)
        compare_samplers(run, network)
    return run


# %%
#| export
def draw_ddpm(run: Run, epochs: int) -> torch.Tensor:  # uint8 (N, C, H, W)
    "Train a run until `epochs` epochs are done, and draw its samples."
    config, test = run.config, load_dataset(run.config.dataset, "test", run.config.size)
    net, n = train_ddpm(run, epochs), config.n_samples or len(test.images)
    return sample_ddpm(net, config, config.training_set(), n, config.seed)[0]


# %%
#| export
def _draw(net: nn.Module, config: DDPMConfig, test: ImageSet) -> tuple[torch.Tensor, dict]:
    "Samples; and evaluations of the network for each, seconds for all, and scores."
    start, train = time.perf_counter(), config.training_set()
    samples, evaluations = sample_ddpm(net, config, train, config.n_samples or len(test.images), config.seed)
    seconds = time.perf_counter() - start
    scores = evaluate(samples, config.dataset, config.metrics, train=train.images)
    return samples, {"evaluations": evaluations, "seconds": seconds, "scores": scores}


# %% [markdown]
# The likelihood of [02d_likelihood](02d_likelihood.ipynb), without guidance. For a run whose `metrics.json` is older than that notebook it can be computed anew, without training, as long as the weights are there.

# %%
#| export
def measure_likelihood(net: nn.Module, config: DDPMConfig, n: int) -> dict:
    "`bits_per_dim` of the first `n` test images, 2,000 at most."
    plain = config.model_copy(update={"guidance": 1.0})
    make_model = lambda labels: make_denoiser(net, plain, labels)
    variances = reverse_variances(make_model, config.training_set(), config.channels)
    test = load_dataset(config.dataset, "test", config.size).pick(slice(min(2000, n)))
    return bits_per_dim(make_model, test, variances, config.channels)


def renew_likelihood(run: Run, epochs: int, network: nn.Module | None = None) -> dict:
    "Put the likelihood of an evaluated epoch count into its metrics.json. FileNotFoundError without weights."
    metrics, config = run.metrics(epochs), run.config
    net = fresh_network(config, config.training_set(), network).to(make_accelerator(config.precision).device)
    if metrics is None or not run.load_weights(epochs, net):
        raise FileNotFoundError(f"{run.epoch_folder(epochs)} lacks metrics.json or weights.safetensors.")
    metrics["likelihood"] = measure_likelihood(net, config, metrics["n_samples"])
    with atomic(run.epoch_folder(epochs) / "metrics.json") as path:
        path.write_text(json.dumps(metrics, indent=2))
    return metrics["likelihood"]


# %% [markdown]
# Samplers to compare are drawn and scored once; the results stay in `samplers.json`. [02b_samplers](02b_samplers.ipynb) makes a figure of them.

# %%
#| export
def compare_samplers(run: Run, network: nn.Module | None = None) -> list[dict]:  # see scored_samplers
    "Score the samplers that the configuration compares with its own, at its epoch count; each once."
    config, path, net = run.config, run.epoch_folder(run.config.epochs) / "samplers.json", None
    table, own = read_json(path, list) or [], (run.metrics(config.epochs) or {}).get("asked", {})
    test = load_dataset(config.dataset, "test", config.size)
    distances = [metric for metric in config.metrics if MEASURES[metric].table == "distance"]
    for other in map(config.with_sampler, config.compare):
        key = other.sample_settings()
        if any(key.items() <= row.items() for row in (own, *table)):
            continue
        if net is None:
            net = train_ddpm(run, config.epochs, network)
        samples, results = _draw(net, other.model_copy(update={"metrics": distances}), test)
        table.append(key | {"n": len(samples)} | results)
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(table, indent=2))
    return table


# %% [markdown]
# ## Training
#
# One line now and then: [epoch/epoch count on the way to], [update/updates in an epoch], the loss. If this run is on disk already, nothing is trained.

# %%
run = run_ddpm(config)
print("results in the runs folder, under", "/".join(run.folder.parts[-3:]))

# %% [markdown]
# ### The loss
#
# It goes down, as a loss should. But it falls most in the first epochs, and samples become better long after that: see [the numbers](#The-numbers).

# %%
history = run.history or pd.read_csv(run.folder / "history.csv").to_dict("records")
ax = plot_history(history, {"loss": f"MSE of {target}"}, "loss")
ax.set_yscale("log")
log_ticks(ax.yaxis, (1, 1.5, 2, 3, 5, 7))

# %% [markdown]
# ### The samples
#
# The same 32 latents after each epoch count, and real images below.

# %%
for e in run.evaluated():
    title = f"generated after {plural(e, 'epoch')}, {sampler}, {steps} steps"
    show_grid(run.samples(e)[:32], ncol=16, title=title)
show_grid(test.images[:32], ncol=16, title="real (test set)");

# %% [markdown]
# ### How images emerge
#
# By ancestral sampling. Columns are samples, rows noise levels from $T$ down to 0. Large shapes are decided first, details last.

# %%
pictures = run.pictures(epochs)
plot_denoising(pictures);

# %% [markdown]
# ### What the network sees
#
# The same digit at six noise levels. Before training the network returns zero (that is how it is initialised); the picture shows the noise that follows from this. After training the prediction looks like the true noise, except where the digit is. At high levels this is easy, because $x_t$ is nearly all noise. At low levels there is little noise to see.

# %%
plot_noise(pictures, T);

# %% [markdown]
# With 28 pixels one sees more. The same figure for MNIST, from the network of the pictures at the beginning:

# %%
plot_noise(mnist, 1000);

# %% [markdown]
# The mean squared error of what the network returns, at these levels, on 256 test images. For `v` both ends are hard: there $x_t$ hardly shows what is asked for.

# %%
plot_level_losses(pictures, T);


# %% [markdown]
# ### The numbers
#
# `fd_lenet` is the Frechet distance of the samples to the test set in the features of a small classifier ([05_fid](05_fid.ipynb)), `sd` its standard deviation (with other samples of the same network), and `floor` the distance of as many real training images. `bits_per_dim` says how many bits each number in a test image would need in a code made from the model: less is better. It is the lowest of three bounds, which differ in the variance of the steps back ([02d_likelihood](02d_likelihood.ipynb)); `variance` names the one, and `se` is the standard error.

# %%
def row_of(e):
    "What is known after e epochs."
    m = run.metrics(e)
    fd, bits = m["scores"].get("fd_lenet", {}), read_likelihood(m)
    row = {"epochs": e, "loss": m["losses"]["loss"], "training (s)": m["train_seconds"], "N": m["n_samples"]}
    row |= {key: fd.get(key) for key in ("value", "sd", "floor")}
    return row | {key: bits.get(key) for key in ("bits_per_dim", "se", "variance")}


pd.DataFrame(map(row_of, run.evaluated())).rename(columns={"value": "fd_lenet"}).round(3)


# %% [markdown]
# How near to real images can so small a network come, and how soon? [07e_race](07e_race.ipynb) measures it. On MNIST, told the class, with a little guidance and in bfloat16, it is at 5 times the floor after 164 ± 160 seconds of one CPU core, and at twice the floor after 415 ± 166 (three seeds, 95 % intervals). Trained with uniform levels, with Adam alone and without classes, it was at 12.5 times the floor after 772 seconds (one seed).
#
# ## Its latent space
#
# DDIM's equation can be followed both ways, so a diffusion model has a latent space: the noise. [06_interpolation](06_interpolation.ipynb) walks through it with `flow` of [02b_samplers](02b_samplers.ipynb). Its noise levels begin at $\sigma=80$ at most ($\sigma$ is the noise relative to the signal) and end at $t=1$ rather than 0, where $\varepsilon$ is not defined.

# %%
#| export
def denoiser(run: Run, epochs: int) -> Denoiser:
    "The network of a trained run, ready to be asked for noise; a conditional one is asked for no class."
    config = run.config.model_copy(update={"guidance": 1.0, "precision": "no"})
    net = fresh_network(config, config.training_set())
    load_or_explain(run, epochs, net)
    return make_denoiser(net.to(make_accelerator().device), config)


# %%
#| export
def ddpm_space(run: Run, epochs: int, steps: int = 20) -> LatentSpace:
    "The noise of a trained diffusion run; `steps` from there to an image, and back."
    channels, *sides = run.config.training_set().images.shape[1:]
    shown = run.config.channels or channels  # what the network is shown
    model = denoiser(run, epochs)
    times = karras_times(model.diffusion, steps)[:-1]

    def decode(z: torch.Tensor) -> torch.Tensor:
        x = flow(model, z.to(model.device), times)
        return x.view(len(z), -1, channels, *sides).mean(1).clamp(-1, 1).cpu()  # of equal channels the mean

    def encode(x: torch.Tensor) -> torch.Tensor:
        return flow(model, x.expand(-1, shown, -1, -1).to(model.device), times[::-1]).cpu()

    return LatentSpace("ddpm", (shown, *sides), decode, describe_run(run, epochs), encode)


# %% [markdown]
# ## Its section of the report
#
# The chapter has the figures of all runs together. The appendix has the pictures of each run, and the table of losses.

# %%
#| export
def ddpm_losses_fragment(runs: pd.DataFrame, folder: Path, name: str = "losses-ddpm") -> str:
    "Loss curves, one figure for all runs."
    panels = {"mean squared error": {"loss": "loss"}}
    return loss_curves(runs, folder, panels, "Losses of the diffusion models.", name, "log")


# %%
#| export
CAPTIONS = {  # of `picture_figures`, with the width of the figure
    "denoising": (
        "how images emerge. A column a sample, a row a stage of ancestral sampling, pure noise at the top.",
        "45%",
    ),
    "noise": (
        "a test image at several noise levels, the noise in it, "
        "and the noise that is predicted before and after training.",
        "70%",
    ),
    "levels": ("error of the prediction on {n} test images, by noise level.", "60%"),
    "guidance": ("a column a class and a latent, a row a guidance scale $s$.", "70%"),
}


# %%
#| export
def picture_figures(r, folder: Path) -> dict[str, str]:  # kind: Markdown
    "Figures of a row of `collect_runs`: how images emerge, the noise predicted, errors by level, guidance."
    pictures, T, stem = r.job.run.pictures(r.epochs), r.job.run.config.T, slug(r.label)
    after = f"{r.label} after {plural(r.epochs, 'epoch')}"
    drawn = {"denoising": plot_denoising(pictures).figure, "noise": plot_noise(pictures, T)}
    drawn["levels"] = plot_level_losses(pictures, T).figure
    if "guidance" in pictures:
        drawn["guidance"] = plot_guidance(pictures).figure
    parts = {}
    for kind, fig in drawn.items():
        caption, width = CAPTIONS[kind]
        save_figure(fig, folder / f"{kind}-{stem}")
        caption = caption.format(n=min(256, r.metrics["n_samples"]))
        parts[kind] = figure(folder, f"{kind}-{stem}", f"{after}: {caption}", f"{kind}-{stem}", width)
    return parts


# %%
#| export
def ddpm_pictures_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "The figures of each run at its last epoch count."
    return "\n".join(_all_pictures(runs, folder)) or NONE


def _all_pictures(runs: pd.DataFrame, folder: Path) -> list[str]:
    "For each run how images emerge, the noise predicted, errors by level, and guidance if there is any."
    rows = with_pictures(runs).itertuples()
    return [part for r in rows for part in picture_figures(r, folder).values()]


# %%
#| export
METHOD = r"""# Denoising diffusion {#sec-ddpm}

## Method {#sec-ddpm-method}

An image $x_0$ is spoiled with noise in $T$ steps.
With $\bar\alpha_t$ falling from 1 to nearly 0, noise level $t$ can be reached in one go,

$$
x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\; \varepsilon,
\qquad \varepsilon \sim \mathcal{N}(0, I).
$$ {#eq-noising}

A U-Net [@ronneberger2015] is shown $x_t$ and $t$
and learns, by least squares over random $t$ and $\varepsilon$, what is in @eq-noising:
the noise $\varepsilon$ [@ho2020],
$v = \sqrt{\bar\alpha_t}\, \varepsilon - \sqrt{1 - \bar\alpha_t}\, x_0$ [@salimans2022],
or the velocity $\varepsilon - x_0$ of flow matching [@lipman2023],
from which $x_0$ and $\varepsilon$ follow.
The levels are spaced by the linear schedule of @ho2020, the cosine schedule of @nichol2021,
or so that image and noise are mixed along a straight line [@liu2023].
By default levels are logit-normal in training [@esser2024], so that those in the middle are more frequent,
and matrices are trained with Muon [@jordan2024], all other weights with Adam.
Samples are drawn from a moving average of the weights.
@tbl-provenance says where a run departs from the defaults (*ema 0*: the weights as they are).

To generate, one starts with noise and asks the network again and again for the image in it.
Ancestral sampling draws each step from the posterior $q(x_{t-1} \mid x_t, x_0)$ [@ho2020].
DDIM [@song2021] draws nothing and follows a differential equation,
for which DPM-Solver++ [@lu2022] and Heun's method [@karras2022] are integrators of second order.

## Losses {#sec-ddpm-losses}

Unlike a GAN's, this loss should fall.
Losses of different targets or channel numbers cannot be compared: each has its own scale (@tbl-ddpm-losses).
"""


# %% [markdown]
# The chapter, and the entry in `KINDS` by which all other notebooks find this kind of model:

# %%
#| export
def ddpm_section(runs: pd.DataFrame, folder: Path) -> Section:
    "The chapter on diffusion; the pictures of each run go to the appendix."
    if runs.metrics.isna().all():
        return Section(f"{METHOD}\n{NONE}\n")
    samplers, likelihood = samplers_section(runs, folder), likelihood_section(runs)
    first, noise_predicted, *rest = _all_pictures(runs, folder)
    text = [
        METHOD,
        ddpm_losses_fragment(runs, folder),
        "## Samples {#sec-ddpm-samples}\n",
        sample_sheets(runs, folder, "samples-ddpm"),
        "## What the network does {#sec-ddpm-inside}\n",
        noise_predicted,
        "The appendix has more such pictures, of all runs.\n",
        samplers.text,
        few_steps_section(runs).text,
        likelihood.text,
    ]
    appendix = [
        "## Diffusion: losses, samplers, and what the networks do {#sec-ddpm-appendix}\n",
        loss_table(runs, {"loss": "mean squared error"}, "ddpm-losses"),
        samplers.appendix,
        "\n".join([first, *rest]),
    ]
    return Section("\n".join(text), "\n".join(appendix))


KINDS["ddpm"] = Kind("diffusion model", "02_ddpm", DDPMConfig, run_ddpm, ddpm_section, ddpm_space, draw_ddpm)

# %% [markdown]
# ## What to remember
#
# - Training is regression: pick a noise level, add noise, predict it. No opponent, no balance, a loss that falls.
# - What is trained and how it is sampled are separate choices. The network does not know which sampler will ask it.
# - Ancestral sampling draws fresh noise at each step. DDIM draws none: one start, one image.
#
# ## Exercises
#
# 1. Train with `-p target eps -p schedule linear`, the choice of Ho et al., and with their levels and optimizer (`-p levels uniform -p optimizer adam -p beta2 0.999`). How do samples and distances compare at equal epochs?
# 2. Set `ema` to 0. What do the samples look like after 1, 5 and 30 epochs? Does the loss curve tell?
#
# Exercises on samplers are in [02b_samplers](02b_samplers.ipynb), on guidance in [02c_guidance](02c_guidance.ipynb), on likelihood in [02d_likelihood](02d_likelihood.ipynb), on flow matching in [02e_flow](02e_flow.ipynb).

# %% [markdown]
# ## Solutions
#
# <details><summary>1. The choice of Ho et al.</summary>
#
# All of these belong to the run's identity, so it gets a folder of its own and nothing is overwritten. From within the notebook, with the levels and the optimizer of Ho et al. as well:
#
#     then = {"levels": "uniform", "optimizer": "adam", "beta2": 0.999}
#     ho = run_ddpm(config.model_copy(update=then | {"target": "eps", "schedule": "linear", "name": "ho"}))
#     for r in (run, ho):
#         for e in r.evaluated():
#             fd, bits = r.metrics(e)["scores"]["fd_lenet"], r.metrics(e)["likelihood"]
#             print(r.config.target, r.config.schedule, e, end=" ")
#             print(f"fd_lenet {fd['value']:.1f} +- {fd['sd']:.1f}", end=", ")
#             print(f"bits/dim {bits['bits_per_dim']:.2f} +- {bits['se']:.2f}")
#     show_grid(ho.samples(epochs)[:32], ncol=16);
#
# Do not compare the losses: they have different units. The same error counts $\lVert\hat\varepsilon-\varepsilon\rVert^2=\bar\alpha_t\lVert\hat v-v\rVert^2$. And the linear schedule has more levels with much noise, which are drawn evenly here. There $\bar\alpha_t$ is tiny and the noise is easy to find, so the eps loss is small whatever the network knows about digits.
#
# Compare `fd_lenet` at equal epochs, and differences with the standard deviations. Before you believe a small difference, take more seeds. On `digits` (one run each, seed 0, 500 samples, 20 steps of `sde_dpmpp`):
#
# | | `fd_lenet` after 5 epochs | after 30 | bits/dim after 30 |
# |---|---|---|---|
# | the defaults | 68 ± 8 | 12 ± 2 | 2.97 ± 0.21 |
# | Ho et al. | 212 ± 8 | 27 ± 4 | 2.45 ± 0.14 |
#
# The distances differ, and bits/dim (with the fitted variance) the other way round: good samples and a good code are not the same goal. What the levels have to do with it is said [above](#Which-noise-levels-to-train-on). To tell target, schedule, levels and optimizer apart, change one at a time.
#
# </details>
#
# <details><summary>2. Without the average</summary>
#
#     plain = run_ddpm(config.model_copy(update={"ema": 0.0, "name": "no-average"}))
#     for e in plain.evaluated():
#         show_grid(plain.samples(e)[:32], ncol=16, title=f"{e} epochs, last weights")
#         print(e, [round(r.metrics(e)["scores"]["fd_lenet"]["value"], 1) for r in (run, plain)])
#     losses = [pd.read_csv(r.folder / "history.csv").loss for r in (run, plain)]
#     print("largest difference of the losses:", (losses[0] - losses[1]).abs().max())
#
# The loss curve cannot tell. It is that of the weights being trained, and the average only watches them. Both runs have the same seed, hence the same curve (the largest difference printed was 0).
#
# The difference is in the samples. The last update fits the last batch. The average smooths such jumps, and a sampler, which uses the network many times, is sensitive to them. How much this helps depends on when you look:
#
# - At first the average has a short memory: after $n$ updates its decay is at most $n/(9+n)$, so it reaches back over about the last tenth of the training. After the first epoch of `digits` that is three updates, and samples of both should hardly differ.
# - Later, while the network still improves quickly, the average may lag behind.
# - In the end the network only moves about, and the average is nearer to where it wants to be than any of the places that it passes.
#
# `fd_lenet` on `digits`, measured as in solution 1:
#
# | epochs | 1 | 5 | 30 |
# |---|---|---|---|
# | without the average | 531 | 70 | 44 |
# | with it | 523 | 68 | 12 |
#
# The standard deviations with it are 12, 8 and 2. So there is no gain until 5 epochs, and a large one after 30. One run each: look at several seeds before you decide.
#
# </details>
