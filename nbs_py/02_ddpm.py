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
# > Train a network to see the noise in an image, then walk from pure noise to a new image: the loss, the loop, five samplers, guidance, and what it all costs
#
# Spoil an image with noise, a little, then a little more, a thousand times, until nothing is left of it. Each of these small steps can nearly be undone, if one knows what images look like. A **diffusion model** ([Sohl-Dickstein et al. 2015](https://arxiv.org/abs/1503.03585), [Ho et al. 2020](https://arxiv.org/abs/2006.11239)) is a network that has learned to undo them. To make a new image, start with nothing but noise and undo a thousand steps.
#
# Where a GAN plays two networks against each other, this is plain regression: one network, one squared error, and a loss that goes down. The theory is worked out and checked in [02_ddpm_theory](02_ddpm_theory.ipynb); the network is opened up in [03_unet](03_unet.ipynb). Here it is trained and made to draw - in 20 steps instead of a thousand.
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
network = "unet"  # unet, or report003: that of report 003
channels = None  # 3: show gray images to the network as three equal channels, as report 003 did; None: as they are
widths = None  # channels at each resolution of the U-Net, e.g. [32, 64, 128]; None: these, half of them for images below 24 pixels
blocks = 1  # residual blocks at each resolution, down and up
heads = 4  # of the attention at the lowest resolution; 0: no attention
T = 1000  # noise levels
schedule = "cosine"  # linear (Ho et al.) or cosine (Nichol and Dhariwal)
target = "v"  # what the network predicts: eps, x0 or v
min_snr = None  # clip the weight of easy noise levels at this signal-to-noise ratio, e.g. 5; None: plain MSE
conditional = False  # tell the network the class
batch_size = 64  # images in an update
lr = 1e-3  # Adam's learning rate
ema = 0.999  # sample from a moving average of the weights with this decay; 0: from the last weights
seed = 0  # all randomness follows from it
precision = "no"  # bf16: bfloat16 autocast
channels_last = False  # keep channels innermost in memory
compile = False  # compile the network with torch.compile
sampler = "dpmpp"  # ancestral, ddim, dpmpp, heun or sde_dpmpp
steps = 20  # of the sampler
guidance = 1.0  # scale of classifier-free guidance; needs conditional
n_samples = None  # images to draw and score; None: as many as there are test images
metrics = ["fd_lenet"]  # fd_lenet, precision, recall, memorisation and more: see 05_fid
compare = ["ancestral:250", "ancestral:20", "ddim:10", "ddim:20", "dpmpp:10", "dpmpp:20", "heun:5", "heun:10", "sde_dpmpp:10", "sde_dpmpp:20"]  # sampler:steps to score
guided_epochs = 10  # train a class-conditional model this long to show guidance; 0: do not

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import json
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.ticker import LogLocator, NullLocator
from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator
from torch import nn

from genlab.data import ImageSet, derive_seed, load_dataset, show_grid, take, to_image, to_model
from genlab.diffusion import Diffusion, cosine_betas, discretised_nll, linear_betas
from genlab.fid import check_metrics, evaluate
from genlab.runs import EMA, Run, RunConfig, atomic, fits_memory, make_accelerator, read_json, seed_everything
from genlab.sources import progress
from genlab.unet import Report003UNet, UNet

# %%
#| hide
import itertools
import math

import pandas as pd
import pytest

from genlab.diffusion import GaussianMixture
from genlab.runs import latents, plot_history


# %% [markdown]
# ## What defines a diffusion run
#
# Half of the settings describe the network ([03_unet](03_unet.ipynb)) and the noise ([02_ddpm_theory](02_ddpm_theory.ipynb)). The last four say how samples are drawn. They can be changed afterwards without training anything again, so they are not part of the run's identity. (Reports 001 and 003 are two of the student reports that [this course](index.ipynb) grew out of.)

# %%
#| export
class DDPMConfig(RunConfig):
    "A diffusion run."

    log_line: ClassVar[str] = "loss: {loss:.4f}"
    sample_fields: ClassVar[tuple[str, ...]] = ("n_samples", "sampler", "steps", "guidance")

    model: Literal["ddpm"] = "ddpm"
    name: str = Field("unet", pattern=r"^[\w.-]+$")
    batch_size: PositiveInt = 64
    ema: float = Field(0.999, ge=0, lt=1)
    network: Literal["unet", "report003"] = "unet"  # ours, or report 003's
    channels: Literal[3] | None = None  # 3: gray images as three equal channels; None: as they are
    widths: list[int] | None = Field(None, min_length=1)  # channels at each resolution; None: see make_network
    blocks: int = Field(1, gt=0, le=100)  # residual blocks at each resolution, down and up
    heads: int = Field(4, ge=0)  # of the attention at the lowest resolution; 0: none
    T: int = Field(1000, gt=0, le=100_000)  # noise levels
    schedule: Literal["linear", "cosine"] = "cosine"
    target: Literal["eps", "x0", "v"] = "v"  # what the network predicts
    min_snr: PositiveFloat | None = None  # see loss_weight
    conditional: bool = False  # the network is told the class, in nine of ten updates
    lr: PositiveFloat = 1e-3  # Adam's learning rate
    channels_last: bool = False  # memory order of the network's tensors
    compile: bool = False  # torch.compile for training

    sampler: Literal["ancestral", "ddim", "dpmpp", "heun", "sde_dpmpp"] = Field("dpmpp", exclude=True)
    steps: PositiveInt = Field(20, exclude=True)  # of the sampler
    guidance: float = Field(1.0, ge=0, le=100, exclude=True)  # 0: ignore the class, 1: plain, above 1: exaggerate it
    compare: list[str] = Field([], exclude=True)  # other samplers to score at the end, as sampler:steps

    @field_validator("widths")
    @classmethod
    def _multiples_of_eight(cls, widths: list[int] | None) -> list[int] | None:
        if any(w < 8 or w % 8 for w in widths or []):
            raise ValueError(f"widths: {widths} are not all multiples of 8, which group normalisation needs.")
        return widths

    @model_validator(mode="after")
    def _consistent(self):
        if self.steps > self.T:
            raise ValueError(f"steps: {self.steps} are more than the T = {self.T} noise levels there are.")
        if self.guidance != 1 and not self.conditional:
            raise ValueError(f"guidance: {self.guidance} needs a model that knows classes; train one with conditional=True.")
        if self.conditional and self.network == "report003":
            raise ValueError("conditional: report 003's network knows no classes; use network='unet'.")
        for text in self.compare:
            self.with_sampler(text)
        return self

    def with_sampler(self, text: str) -> "DDPMConfig":
        "The same configuration with another sampler, given as sampler:steps, such as ddim:50. ValueError if there is none such."
        sampler, _, steps = text.partition(":")
        return type(self)(**self.model_dump() | {"sampler": sampler, "steps": steps, "guidance": self.guidance, "n_samples": self.n_samples})


# %%
config = DDPMConfig(
    dataset=dataset, epochs=epochs, snapshots=snapshots, name=name, size=size, subset=subset, network=network, channels=channels, widths=widths,
    blocks=blocks, heads=heads, T=T, schedule=schedule, target=target, min_snr=min_snr, conditional=conditional,
    batch_size=batch_size, lr=lr, ema=ema, seed=seed, precision=precision, channels_last=channels_last, compile=compile,
    sampler=sampler, steps=steps, guidance=guidance, n_samples=n_samples, metrics=metrics, compare=compare,
)  # fmt: skip
data = config.training_set()
test = load_dataset(config.dataset, "test", config.size)
show_grid(data.images[:32], ncol=16, title=f"{dataset}: real images");

# %%
for wrong, sentence in [
    (dict(T=0), "T: 0 should be greater than 0"),
    (dict(T=10), "steps: 20 are more than the T = 10 noise levels"),
    (dict(guidance=2), "guidance: 2.0 needs a model that knows classes"),
    (dict(guidance=1e30, conditional=True), "guidance: 1e.30 should be less than or equal to 100"),
    (dict(guidance=math.inf, conditional=True), "guidance: inf should be"),
    (dict(guidance=math.nan, conditional=True), "guidance: nan should be"),
    (dict(target="mean"), "target: 'mean' should be 'eps', 'x0' or 'v'"),
    (dict(compare=["ddim:5000"]), "steps: 5000 are more than the T = 1000"),
    (dict(compare=["dimm:50"]), "sampler: 'dimm' should be 'ancestral', 'ddim', 'dpmpp', 'heun' or 'sde_dpmpp'"),
    (dict(widths=[20]), "widths: .20. are not all multiples of 8"),
]:
    with pytest.raises(ValueError, match=sentence):
        DDPMConfig(**wrong)


# %% [markdown]
# ## What the network learns
#
# Recall from the theory: with $\bar\alpha_t$ falling from 1 to nearly 0, an image at noise level $t$ is
#
# $$x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\;\varepsilon,\qquad\varepsilon\sim\mathcal N(0,I).$$
#
# The network is given $x_t$ and $t$ and says what is in there. It may be asked for the noise $\varepsilon$, for the clean image $x_0$, or for $v=\sqrt{\bar\alpha_t}\,\varepsilon-\sqrt{1-\bar\alpha_t}\,x_0$, the mixture that stays a sensible question at both ends: at $t=0$ it asks for the noise, at $t=T$ for the image, with a minus sign ([Salimans and Ho 2022](https://arxiv.org/abs/2202.00512)). Each can be computed from each, given $x_t$. What differs is how much an error counts: an error of $\varepsilon$ at high noise is a huge error of $x_0$.

# %%
#| export
def make_diffusion(config: DDPMConfig) -> Diffusion:
    "The noise that a configuration asks for."
    return Diffusion({"linear": linear_betas, "cosine": cosine_betas}[config.schedule](config.T))


# %% [markdown]
# Training draws a noise level for each image at random and takes the mean squared error. That weighs noise levels in some way; with another weight, the network would spend its capacity elsewhere. **Min-SNR** ([Hang et al. 2023](https://arxiv.org/abs/2303.09556)) measures errors in $x_0$ and weighs them with $\min(\mathrm{SNR},\gamma)$, $\mathrm{SNR}=\bar\alpha_t/(1-\bar\alpha_t)$: nearly clean images, where the task is trivial and the plain losses of $\varepsilon$ and $v$ weigh an error of $x_0$ enormously, count no more than those with $\mathrm{SNR}=\gamma$. Written as a factor for the loss of each target:

# %%
#| export
def loss_weight(
    diffusion: Diffusion,
    t: torch.Tensor,  # int64 (B,)
    target: str,  # eps, x0 or v
    min_snr: float | None,  # gamma; None: every weight is 1
) -> torch.Tensor:  # float32 (B,)
    "The factor of each image's squared error (Hang et al. 2023, section 3.4)."
    if min_snr is None:
        return torch.ones(len(t))
    snr = (diffusion.abar / (1 - diffusion.abar))[t]
    return (snr.clamp(max=min_snr) / {"eps": snr, "x0": 1, "v": snr + 1}[target]).float()


# %% [markdown]
# Three targets, one loss: with these factors, the same error of $x_0$ costs the same whatever the network predicts.

# %%
diffusion = make_diffusion(config)
x0 = to_model(data.images[:8]).double()
t = torch.linspace(1, T, 8).long()
eps, wrong_x0 = torch.randn_like(x0), x0 + 0.1 * torch.randn_like(x0)
xt = diffusion.q_sample(x0, t, eps)
wrong_eps = diffusion.x0_eps("x0", wrong_x0, xt, t)[1]
losses = []
for kind in ("eps", "x0", "v"):
    error = diffusion.target(kind, wrong_x0, wrong_eps, t) - diffusion.target(kind, x0, eps, t)
    losses.append(loss_weight(diffusion, t, kind, 5.0) * error.square().flatten(1).mean(1))
assert torch.allclose(losses[0], losses[1], rtol=1e-5) and torch.allclose(losses[0], losses[2], rtol=1e-5)
assert (loss_weight(diffusion, t, "v", None) == 1).all()


# %% [markdown]
# ## The training loop
#
# The network, freshly initialised. Unless told otherwise, ours has 32, 64 and 128 channels at the three resolutions, half of that for images below 24 pixels; report 003's has 64 everywhere. (Report 003 turned gray digits into three equal channels; `channels=3` does, too, in order to repeat it.)

# %%
#| export
@fits_memory
def make_network(config: DDPMConfig, data: ImageSet) -> nn.Module:
    "A fresh network (xt, t, y) -> prediction for images like those of `data`; the seed decides the weights."
    seed_everything(config.seed, 0)
    channels, size = config.channels or data.images.shape[1], data.images.shape[-1]
    if config.conditional and not data.classes:
        raise ValueError("conditional: the data set has no labels; sort the images into class folders.")
    if config.network == "report003":
        net = Report003UNet(channels, (config.widths or [64])[0], size=size)
    else:
        widths = config.widths or ([32, 64, 128] if size >= 24 else [16, 32, 64])
        net = UNet(channels, widths, config.blocks, config.heads, len(data.classes) if config.conditional else 0, size=size)
    return net.to(memory_format=torch.channels_last if config.channels_last else torch.contiguous_format)


# %% [markdown]
# Now the loop, which is all there is to training a diffusion model. For each batch: draw noise levels and noise, mix, ask, compare. In a class-conditional run one label in ten is replaced by "none", so that the network also learns to do without; that is what guidance needs below. Samples come from a moving average of the weights (`EMA`); `run.batches` keeps the state of the training on disk ([00_runs](00_runs.ipynb)).

# %%
#| export
def train_ddpm(run: Run, epochs: int) -> nn.Module:
    "Train `run` until `epochs` epochs are done, from where it stands; returns the network to sample from."
    config, accelerator = run.config, make_accelerator(run.config.precision)
    data, diffusion = config.training_set(), make_diffusion(config)
    net = make_network(config, data).to(accelerator.device)
    if run.load_weights(epochs, net):
        return net
    average, opt = EMA(net, config.ema), torch.optim.Adam(net.parameters(), config.lr)
    model = torch.compile(net) if config.compile else net

    for x0, y in run.batches(data, epochs, accelerator.device, net=net, average=average, opt=opt):
        x0 = x0.expand(-1, config.channels or -1, -1, -1)
        t = torch.randint(1, config.T + 1, (len(x0),))
        eps = torch.randn_like(x0)
        xt = diffusion.q_sample(x0, t, eps)
        y = torch.where(torch.rand(len(y)).to(y.device) < 0.1, len(data.classes), y) if config.conditional else None

        with accelerator.autocast():
            output = model(xt, t.to(x0.device), y)
        error = (output.float() - diffusion.target(config.target, x0, eps, t)).square().flatten(1).mean(1)
        loss = (loss_weight(diffusion, t, config.target, config.min_snr).to(x0.device) * error).mean()

        opt.zero_grad()
        accelerator.backward(loss)
        opt.step()
        average.update(net)
        run.log(loss=loss)
    run.keep_weights(epochs, average.model)
    return average.model


# %% [markdown]
# ## From noise to images
#
# All samplers below ask one thing of a model: the clean image it believes in, $\hat x_0$, given $x_t$ and $t$. So we wrap network, noise schedule and target into a `Denoiser` that answers exactly that. It clips $\hat x_0$ to $[-1,1]$, as pixels are, which keeps errors of early steps from adding up.
#
# With **classifier-free guidance** ([Ho and Salimans 2022](https://arxiv.org/abs/2207.12598)) it asks twice, with the label and without, and exaggerates the difference by a scale $s$: $\hat x_0=\hat x_0^{\text{none}}+s\,(\hat x_0^{y}-\hat x_0^{\text{none}})$. (The code does it with the network's output, of which $\hat x_0$ is a linear function for a given $x_t$, so that is the same.) At $s=1$ that is the plain conditional model; above, samples become more typical of their class, and less varied.

# %%
#| export
class Denoiser:
    "What samplers sample from: (xt, t) -> the x0 that the network believes in. Counts its evaluations."

    def __init__(
        self,
        net: nn.Module,  # (xt, t, y) -> eps, x0 or v, as the configuration says
        config: DDPMConfig,
        labels: torch.Tensor | None = None,  # int64 (B,): classes to draw; None: any
    ):
        self.net, self.config, self.diffusion = net.eval(), config, make_diffusion(config)
        self.device, self.evaluations = next(net.parameters()).device, 0
        self.labels = None if labels is None else labels.to(self.device)

    @torch.no_grad()
    def output(self, xt: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        "What the network says about xt (B, C, H, W) at times t (B,), float32; guided if the configuration says so."
        self.evaluations += 1
        scale, t = self.config.guidance, t.to(self.device).float()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            if self.labels is None or scale == 1:
                return self.net(xt, t, self.labels).float()
            none = torch.full_like(self.labels, self.net.classes)
            both = self.net(torch.cat([xt, xt]), torch.cat([t, t]), torch.cat([none, self.labels]))
        without, given = both.float().chunk(2)
        return without + scale * (given - without)

    def __call__(
        self,
        xt: torch.Tensor,  # (B, C, H, W)
        t,  # noise level in (0, T], for all or for each; a fraction is fine
    ) -> torch.Tensor:  # (B, C, H, W) in [-1, 1]
        "The clean images that the network sees in xt."
        t = torch.as_tensor(t).expand(len(xt))
        return self.diffusion.x0_eps(self.config.target, self.output(xt, t), xt, t)[0].clamp(-1, 1)


# %% [markdown]
# Random numbers come from one stream per sample, so that sample 7 is the same in a batch of ten and in a batch of a thousand. The first draw of a stream is the sample's *latent*, the noise it starts from. It is what `latents` of [00_runs](00_runs.ipynb) gives, the same for all samplers (and for the GAN); what stochastic samplers need later follows.

# %%
#| export
class Noise:
    "Standard normal noise (n, ...), drawn for each sample from its own generator; call it for the next."

    def __init__(self, shape: tuple[int, ...], seed: int, start: int = 0):
        self.shape = shape
        self.generators = [torch.Generator().manual_seed(derive_seed(seed, start + i)) for i in range(shape[0])]

    def __call__(self) -> torch.Tensor:
        z = torch.empty(self.shape)
        for row, generator in zip(z, self.generators, strict=True):
            row.normal_(generator=generator)
        return z


# %%
noise = Noise((5, 1, 8, 8), seed=3)
first, second = noise(), noise()
assert torch.equal(first, latents(5, (1, 8, 8), seed=3)) and not torch.equal(first, second)
rest = Noise((2, 1, 8, 8), seed=3, start=3)
assert torch.equal(rest(), first[3:]) and torch.equal(rest(), second[3:])


# %% [markdown]
# ### Which noise levels to visit
#
# A sampler visits some of the levels, from $T$ down, and ends at 0. Evenly spaced ones are the obvious choice. The other that is in use packs them densely in $\sigma=\sqrt{(1-\bar\alpha)/\bar\alpha}$, the noise relative to the signal, where there is little of it and details are made: evenly in $\sigma^{1/7}$ ([Karras et al. 2022](https://arxiv.org/abs/2206.00364), eq. 5). (On the axis $t$ below they crowd at both ends, because the cosine runs through the large $\sigma$ in its last few steps.) These levels lie between the trained ones, which is no problem for a network that takes $t$ as a number. They begin at $\sigma=80$ at most, where the noise has 6,400 times the variance of the image; the cosine schedule goes on to $\sigma=20{,}000$, and steps spent there are lost.

# %%
#| export
def even_times(diffusion: Diffusion, steps: int) -> list[int]:
    "`steps` + 1 noise levels from T to 0, evenly spaced. ValueError if there are not as many."
    if not 1 <= steps <= diffusion.T:
        raise ValueError(f"steps: {steps} is not between 1 and the T = {diffusion.T} noise levels there are.")
    return torch.linspace(diffusion.T, 0, steps + 1, dtype=torch.float64).round().long().tolist()


def karras_times(diffusion: Diffusion, steps: int, rho: float = 7.0, largest: float = 80.0) -> list[float]:
    "`steps` + 1 noise levels, evenly spaced in sigma^(1/rho) from sigma = `largest` (or that of T, if less) to that of 1; then 0 (Karras et al. 2022, eq. 5)."
    even_times(diffusion, steps)  # the same limits
    low, high = ((1 / diffusion.abar[[1, -1]] - 1).sqrt().clamp(max=largest) ** (1 / rho)).tolist()
    sigma = torch.linspace(high, low, steps, dtype=torch.float64) ** rho
    return [*diffusion.t_at(-2 * sigma.log()).tolist(), 0]


# %% [markdown]
# A sampler can also be given levels of your own. What it may be given is checked in one place:

# %%
#| export
def check_times(
    diffusion: Diffusion,
    steps: int,
    times: Sequence[float],  # numbers or a tensor
) -> list[float]:
    "The levels as a list. ValueError unless they are `steps` + 1, fall from T at most to 1 at least, and end at 0."
    times = torch.as_tensor(times, dtype=torch.float64).tolist()
    if len(times) != steps + 1:
        raise ValueError(f"times: {steps} steps visit {steps + 1} noise levels, the last one 0, and these are {len(times)}.")
    if not (times[0] <= diffusion.T and all(a > b for a, b in pairwise(times)) and times[-2] >= 1 and times[-1] == 0):
        raise ValueError(f"times: noise levels must fall from T = {diffusion.T} at most to 1 at least, then 0, and these are {times}.")
    return times


# %%
assert even_times(diffusion, T) == list(range(T, -1, -1))
assert even_times(make_diffusion(DDPMConfig()), 4) == [1000, 750, 500, 250, 0]
few = min(20, T)
times = karras_times(diffusion, few)
assert len(times) == few + 1 and times[0] > 0.9 * T and abs(times[-2] - 1) < 1e-6 and all(a > b for a, b in pairwise(times))
with pytest.raises(ValueError, match="steps: 1001 is not between 1 and the T = 1000"):
    even_times(Diffusion(linear_betas()), 1001)
assert check_times(Diffusion(linear_betas()), 2, torch.tensor([1000, 1.5, 0])) == [1000, 1.5, 0]
for wrong in ([1000, 0], [1001, 5, 0], [5, 5, 0], [5, 6, 0], [5, 1, 1], [5, 0.5, 0], [math.nan, 5, 0], [5, math.nan, 0]):
    with pytest.raises(ValueError, match="times: "):
        check_times(Diffusion(linear_betas()), 2, wrong)
fig, ax = plt.subplots(figsize=(6, 1.7), layout="constrained")
for i, levels in enumerate((even_times(diffusion, few), times)):
    ax.plot(levels, [i] * len(levels), "|", markersize=14)
ax.set(xlabel="noise level $t$", yticks=[0, 1], yticklabels=["even", "Karras"], ylim=(-0.7, 1.7), title=f"the levels that {few} steps visit");


# %% [markdown]
# ### Five samplers
#
# Each is one function with the same signature. `callback(s, x, x0)` is called after every step with the level reached, the image there and the clean image believed in; pictures of the way are made with it. `times` are the levels to visit: even ones for the first two samplers, unless you give others, Karras's for the rest.
#
# **Ancestral sampling** is the model's definition, step by step: draw $x_s$ from the posterior $q(x_s\mid x_t,\hat x_0)$, eqs. (9)-(11) of the theory notebook. With $T$ steps it is the DDPM of Ho et al.; with fewer, the same on a subset of the levels ([Nichol and Dhariwal 2021](https://arxiv.org/abs/2102.09672), section 4). The last step has variance zero, so no noise is added at the end.

# %%
#| export
def ancestral(
    model: Denoiser,  # (xt, t) -> x0, with .diffusion and .device
    shape: tuple[int, ...],  # (n, C, H, W)
    steps: int,  # 1 to T
    seed: int,  # sample i depends on (seed, start + i) only
    callback: Callable = lambda s, x, x0: None,
    start: int = 0,  # number of the first sample
    times: Sequence[float] | None = None,  # steps + 1 falling noise levels, the last one 0; None: even_times
) -> torch.Tensor:  # float32 (n, C, H, W)
    "Ancestral sampling (Ho et al. 2020, algorithm 2; with fewer steps, Nichol and Dhariwal 2021)."
    times = even_times(model.diffusion, steps) if times is None else check_times(model.diffusion, steps, times)
    noise = Noise(shape, seed, start)
    x = noise().to(model.device)
    for t, s in pairwise(times):
        x0 = model(x, t)
        x, variance = model.diffusion.posterior(x, x0, t, s)
        if s > 0:
            x = x + variance.sqrt() * noise().to(model.device)
        callback(s, x, x0)
    return x


# %% [markdown]
# **DDIM** ([Song et al. 2021](https://arxiv.org/abs/2010.02502)) keeps the noise it sees instead of drawing new noise: $x_s=\sqrt{\bar\alpha_s}\,\hat x_0+\sqrt{1-\bar\alpha_s}\,\hat\varepsilon$. Nothing is random but the start; the steps follow the *probability flow*, an ordinary differential equation that carries noise to images. $\eta$ puts a part of the randomness back: $\eta=1$ is ancestral sampling.

# %%
#| export
def ddim(model, shape, steps, seed, callback=lambda s, x, x0: None, start=0, times=None, eta: float = 0.0) -> torch.Tensor:
    "DDIM (Song et al. 2021, eq. 12), arguments as for `ancestral`; eta from 0, deterministic, to 1, ancestral sampling. ValueError for others."
    if not 0 <= eta <= 1:
        raise ValueError(f"eta: {eta} is not between 0 and 1.")
    diffusion, noise = model.diffusion, Noise(shape, seed, start)
    times = even_times(diffusion, steps) if times is None else check_times(diffusion, steps, times)
    x = noise().to(model.device)
    for t, s in pairwise(times):
        x0 = model(x, t)
        eps = diffusion.x0_eps("x0", x0, x, t)[1]
        abar, variance = diffusion.abar_at(s), eta**2 * diffusion.posterior(x, x0, t, s)[1].cpu().double()
        x = abar.sqrt().item() * x0 + (1 - abar - variance).clamp(min=0).sqrt().item() * eps
        if variance > 0:
            x = x + variance.sqrt().item() * noise().to(model.device)
        callback(s, x, x0)
    return x


# %% [markdown]
# **DPM-Solver++(2M)** ([Lu et al. 2022](https://arxiv.org/abs/2211.01095)) follows the same equation with a better integrator. In the variable $\lambda=\log(\sqrt{\bar\alpha}/\sqrt{1-\bar\alpha})$ the exact solution over a step $h=\lambda_s-\lambda_t$ is $x_s=\frac{\sigma_s}{\sigma_t}x_t+\sigma_s\int_{\lambda_t}^{\lambda_s}e^{\lambda}\,\hat x_0\,d\lambda$, now with $\sigma=\sqrt{1-\bar\alpha}$. DDIM takes $\hat x_0$ as constant over the step and is of *first order*: half the step, half the error. This one takes it as a line through the last two values, which costs nothing: one evaluation a step, and *second order*: half the step, a quarter of the error. The last step is first order, since $\lambda$ is infinite at its end.

# %%
#| export
def x0_on_the_way(model: Denoiser, x: torch.Tensor, t: float, s: float, last: tuple) -> tuple[torch.Tensor, tuple]:
    "The x0 to use for a step from t to s, a line through this one and the last; and (x0, h), to be the next step's `last`."
    x0 = model(x, t)
    h = (model.diffusion.abar_at(s).logit() - model.diffusion.abar_at(t).logit()).item() / 2  # lambda is half the log-SNR
    if not last or s == 0:
        return x0, (x0, h)
    ratio = h / last[1] / 2
    return (1 + ratio) * x0 - ratio * last[0], (x0, h)


def dpmpp(model, shape, steps, seed, callback=lambda s, x, x0: None, start=0, times=None) -> torch.Tensor:
    "DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), arguments as for `ancestral`; without times, on Karras's."
    diffusion, x, last = model.diffusion, Noise(shape, seed, start)().to(model.device), ()
    times = karras_times(diffusion, steps) if times is None else check_times(diffusion, steps, times)
    for t, s in pairwise(times):
        line, last = x0_on_the_way(model, x, t, s, last)
        a, b = diffusion.abar_at(t), diffusion.abar_at(s)
        x = ((1 - b) / (1 - a)).sqrt().item() * x - (b.sqrt() * torch.expm1(torch.tensor(-last[1]))).item() * line
        callback(s, x, last[0])
    return x


# %% [markdown]
# **Heun** ([Karras et al. 2022](https://arxiv.org/abs/2206.00364), algorithm 1) takes a step, looks at the slope where it has arrived, goes back, and takes the step with the mean of both slopes. Second order, too, at two evaluations a step (one at the last): 10 steps are 19 evaluations. Rescaled to $\tilde x=x/\sqrt{\bar\alpha}$, so that $\tilde x=x_0+\sigma\varepsilon$, the equation has the simple slope $d\tilde x/d\sigma=(\tilde x-\hat x_0)/\sigma$.
#
# Put the slopes in: the first step ends at $\hat x_0+\frac{\sigma_s}{\sigma_t}(\tilde x-\hat x_0)$, and the mean of both slopes adds $w\,(\hat x_0'-\hat x_0)$ to that, with $\hat x_0'$ the image seen from there and $w=\frac12\big(\frac{\sigma_t}{\sigma_s}-1\big)$. A step that divides $\sigma$ by 3 has $w=1$ and ends where the second look points. A step from $\sigma=80$ to 0.0064, one of the two in `heun:2`, would go 6,000 times as far, which is nonsense. So where a step divides $\sigma$ by more than 7, $w$ is set to 1. With 1,000 noise levels and 10 of Karras's steps or more that never happens.

# %%
#| export
def heun(model, shape, steps, seed, callback=lambda s, x, x0: None, start=0, times=None) -> torch.Tensor:
    """Heun's method (Karras et al. 2022, algorithm 1 without its optional noise); 2 * steps - 1 evaluations.

    Arguments as for `ancestral`; without times, on Karras's. The correction is bounded where a step divides sigma by more than 7."""
    scale = lambda t: model.diffusion.abar_at(t).sqrt().item()
    sigma = lambda t: (1 / model.diffusion.abar_at(t) - 1).sqrt().item()
    times = karras_times(model.diffusion, steps) if times is None else check_times(model.diffusion, steps, times)
    x = Noise(shape, seed, start)().to(model.device) / scale(times[0])
    for t, s in pairwise(times):
        x0 = model(x * scale(t), t)
        x = x0 + sigma(s) / sigma(t) * (x - x0)  # Euler's step
        if s > 0:
            ratio = sigma(t) / sigma(s)
            x = x + ((ratio - 1) / 2 if ratio <= 7 else 1) * (model(x * scale(s), s) - x0)
        callback(s, x * scale(s), x0)
    return x


# %% [markdown]
# **SDE-DPM-Solver++(2M)** (Lu et al. 2022 as well; an SDE is a differential equation with fresh noise in it) is to ancestral sampling what DPM-Solver++ is to DDIM. Ancestral sampling takes $\hat x_0$ as constant over a step; this one puts the same line through the last two values into the same posterior. So it draws fresh noise at every step, and needs few of them. A network's errors leave an image at a place where its noise level does not belong. A deterministic solver carries such an error on, and fresh noise can wash it out. That is an argument, not a result: [below](#How-many-steps?) it shows on two small networks for MNIST; on the digits the bars are too wide to tell.

# %%
#| export
def sde_dpmpp(model, shape, steps, seed, callback=lambda s, x, x0: None, start=0, times=None) -> torch.Tensor:
    "SDE-DPM-Solver++(2M) (Lu et al. 2022), arguments as for `ancestral`; without times, on Karras's."
    times = karras_times(model.diffusion, steps) if times is None else check_times(model.diffusion, steps, times)
    noise, last = Noise(shape, seed, start), ()
    x = noise().to(model.device)
    for t, s in pairwise(times):
        line, last = x0_on_the_way(model, x, t, s, last)
        x, variance = model.diffusion.posterior(x, line, t, s)
        if s > 0:
            x = x + variance.sqrt() * noise().to(model.device)
        callback(s, x, last[0])
    return x


SAMPLERS: dict[str, Callable] = {"ancestral": ancestral, "ddim": ddim, "dpmpp": dpmpp, "heun": heun, "sde_dpmpp": sde_dpmpp}


# %% [markdown]
# ### Do they solve the equation?
#
# On a real network one can only look at pictures. So we first let them sample from something whose exact denoiser is known: a Gaussian mixture on the line. The deterministic ones must converge to the flow's solution, and at the promised rate: first order for DDIM, second for the other two. All three visit the same levels, Karras's; else one would compare levels and call it samplers.

# %%
class Exact:
    "The exact denoiser of a mixture, in place of a network."

    def __init__(self, mixture, diffusion):
        self.mixture, self.diffusion, self.device, self.evaluations = mixture, diffusion, torch.device("cpu"), 0

    def __call__(self, xt, t):
        self.evaluations += 1
        return self.mixture.x0(xt.double(), self.diffusion.abar_at(t))


smooth = Exact(GaussianMixture([0.4, 0.6], [-1.0, 1.0], [0.5, 0.3]), Diffusion(cosine_betas(1000)))
truth = heun(smooth, (200, 1), 500, 0)
assert (dpmpp(smooth, (200, 1), 1000, 0) - truth).abs().max() < 1e-3, "the reference has converged"
rows = []
for kind in ("ddim", "dpmpp", "heun"):
    for k in (5, 10, 20, 40, 80):
        smooth.evaluations = 0
        x = SAMPLERS[kind](smooth, (200, 1), k, 0, times=karras_times(smooth.diffusion, k))
        rows.append({"sampler": kind, "steps": k, "evaluations": smooth.evaluations, "error": (x - truth).abs().mean().item()})
errors = pd.DataFrame(rows)

# %%
fig, ax = plt.subplots(figsize=(5.5, 2.8), layout="constrained")
for kind, group in errors.groupby("sampler", sort=False):
    ax.loglog(group.evaluations, group.error, marker="o", markersize=4, label=kind)
ax.set(xlabel="evaluations of the denoiser", ylabel="mean error of the sample", title="distance to the flow's solution, exact denoiser")
ax.legend(frameon=False);


# %%
def order(kind, coarse=20, fine=80):
    e = errors[errors.sampler == kind].set_index("steps").error
    return np.log(e[coarse] / e[fine]) / np.log(fine / coarse)


print({kind: round(order(kind), 2) for kind in ("ddim", "dpmpp", "heun")})
assert 0.8 < order("ddim") < 1.3 and order("dpmpp") > 1.6 and order("heun") > 1.6
by_steps = errors.pivot(index="steps", columns="sampler", values="error")
assert (by_steps.heun < by_steps.ddim).all() and (by_steps.dpmpp < by_steps.ddim).loc[10:].all()
by_steps.round(3)

# %% [markdown]
# With 20 steps DDIM is off by 0.09 on average, DPM-Solver++ by 0.03, Heun by 0.02, and four times as many steps make the first error four times smaller, the others more than sixteen times. But Heun pays twice for a step: with 10 steps, 19 evaluations, its error of 0.13 is larger than that of DDIM with 20 (0.09) and of DPM-Solver++ with 20 (0.03). Order is a promise for small steps only. (On even levels, which DDIM visits unless told otherwise, its errors are less than half of these: for this mixture half of Karras's levels are in the wrong places. Exercise 4 asks why.)
#
# And with very few steps? None may do worse than a single step of Euler's method, which jumps straight to the image that the denoiser sees in pure noise, and none may draw numbers that spread twice as wide as the data.

# %%
narrow = Exact(GaussianMixture([1.0], [0.0], [0.2]), smooth.diffusion)
for exact, sd in [(smooth, 1.05), (narrow, 0.2)]:
    solution, times = heun(exact, (200, 1), 200, 0), karras_times(exact.diffusion, 1)
    euler = (ddim(exact, (200, 1), 1, 0, times=times) - solution).abs().mean()
    for kind, k in itertools.product(SAMPLERS, range(1, 10)):
        assert SAMPLERS[kind](exact, (200, 1), k, 0).std() < 2 * sd, (kind, k)
        x = SAMPLERS[kind](exact, (200, 1), k, 0, times=karras_times(exact.diffusion, k))
        assert kind in ("ancestral", "sde_dpmpp") or (x - solution).abs().mean() <= euler + 1e-6, (kind, k)
with pytest.raises(ValueError, match="eta: nan is not between 0 and 1"):
    ddim(smooth, (2, 1), 5, 0, eta=math.nan)

# %% [markdown]
# All of them must produce the mixture, stochastic or not. 2,000 samples know its mean to 0.024 and the share of its left mode to 0.011:

# %%
mixture = smooth.mixture
for kind, k in [("ancestral", 100), ("ddim", 100), ("dpmpp", 30), ("heun", 20), ("sde_dpmpp", 30)]:
    x = SAMPLERS[kind](smooth, (2000, 1), k, 1)
    left = (x < 0).double().mean().item()
    grid = torch.linspace(-6, 0, 4001, dtype=torch.float64)
    expected = torch.trapezoid(mixture.density(grid), grid).item()
    print(f"{kind:10} {k:3} steps: mean {x.mean():.3f} (0.2), share left {left:.3f} ({expected:.3f})")
    assert abs(x.mean() - 0.2) < 0.1 and abs(left - expected) < 0.045  # four standard errors

# DDIM with eta = 1 is ancestral sampling, to the last random number
assert torch.allclose(ddim(smooth, (50, 1), 25, 0, eta=1.0).float(), ancestral(smooth, (50, 1), 25, 0).float(), atol=1e-5)
# with x0 taken as constant, 40 of Karras's steps leave a density of spread 0.3 too narrow (0.26); the line through two values does not
one = Exact(GaussianMixture([1.0], [0.5], [0.3]), smooth.diffusion)
assert abs(sde_dpmpp(one, (4000, 1), 40, 1).std() - 0.3) < 0.02  # known to 0.0034
# all start from the same latent, and a sample does not depend on its batch
for sampler_function in SAMPLERS.values():
    together = sampler_function(smooth, (6, 1), 10, 5)
    assert torch.equal(together[4:], sampler_function(smooth, (2, 1), 10, 5, start=4))


# %% [markdown]
# ## Samples as images

# %%
#| export
def sample_ddpm(
    net: nn.Module,
    config: DDPMConfig,  # its sampler, steps and guidance are used
    data: ImageSet,  # images of this shape are drawn; a conditional model draws its classes in turn
    n: int,  # number of images
    seed: int = 0,  # image i depends on (seed, i) only
    batch_size: int | None = None,  # images at a time; None: 500 on a GPU, 50 on a CPU, whose caches hold no more
) -> tuple[torch.Tensor, int]:  # uint8 (n, C, H, W) on the CPU, and how often the network was evaluated for an image
    "Images from a network. Three channels for gray data are averaged."
    c, h, w = data.images.shape[1:]
    draw, images = SAMPLERS[config.sampler], []
    batch_size = batch_size or (50 if next(net.parameters()).device.type == "cpu" else 500)
    ticks = iter(progress(range(-(-n // batch_size) * config.steps), f"{config.sampler}, {n} images", "step"))
    for start in range(0, n, batch_size):
        shape = (min(batch_size, n - start), config.channels or c, h, w)
        labels = torch.arange(start, start + shape[0]) % len(data.classes) if config.conditional else None
        model = Denoiser(net, config, labels)
        x = draw(model, shape, config.steps, seed, lambda *_: next(ticks, None), start)
        images.append(to_image(x.mean(1, keepdim=True) if shape[1] > c else x).cpu())
    return torch.cat(images), model.evaluations


# %% [markdown]
# ## Bits per dimension
#
# A diffusion model also bounds the likelihood of images it has never seen: the variational bound $L_0+L_1+\dots+L_T$ of the theory notebook, divided by $\ln2$ and by the number of pixels and channels of the *data* (gray images that the network is shown as three equal channels have no more dimensions for that). These are *bits per dimension*. They depend on the network and on one thing that the samplers above never asked for, the variance of the steps back. Three are compared:
#
# - `posterior`: $\tilde\beta_t$, right if the network's guess of $x_0$ were perfect. In the theory notebook its bound was 0.7 bits looser than need be.
# - `beta`: the larger $\beta_t$, the other choice of Ho et al.
# - `fitted`: the best one for this network ([Bao et al. 2022](https://arxiv.org/abs/2201.06503)). Given $x_0$, the posterior's mean and the model's differ by $c_t(x_0-\hat x_0)$, $c_t=\frac{\sqrt{\bar\alpha_{t-1}}\beta_t}{1-\bar\alpha_t}$, by (10). With one variance $\sigma_t^2$ for all pixels and images the mean of $L_{t-1}$ per pixel is
#
# $$ \frac12\Big(\log\frac{\sigma_t^2}{\tilde\beta_t}+\frac{\tilde\beta_t+c_t^2\,\mathbb E(x_0-\hat x_0)^2}{\sigma_t^2}-1\Big),\qquad\text{least at}\quad\sigma_t^2=\tilde\beta_t+c_t^2\,\mathbb E(x_0-\hat x_0)^2. $$
#
# So all that is needed is the network's squared error at each level. It is measured on *training* images, at some levels, and interpolated in between. A bound with these variances is as good a bound for test images as any other, since nothing in it was chosen by looking at them.
#
# The last step, $L_0$, goes through 256 bins, and is worth a decoder of its own: a variance for each grey value that the network may say, the one out of 24 with which the training images cost least. (A grey value that is hardly ever said gets the variance that suits all pixels: each of the 256 starts with ten pixels' worth of the overall mean.)

# %%
#| export
def _grey(x0_hat: torch.Tensor) -> torch.Tensor:
    "The grey values 0 to 255 nearest to x0_hat, int64."
    return ((x0_hat + 1) * 127.5).round().clamp(0, 255).long()


def fit_decoder(
    x0: torch.Tensor,  # training images in [-1, 1]
    x0_hat: torch.Tensor,  # what the network sees in them at t = 1, like x0
) -> torch.Tensor:  # float64 (256,)
    "Variances of p(x0 | x1) for each grey value that the network may say: of 24 candidates those with the shortest code."
    x0, x0_hat, said = x0.double().flatten(), x0_hat.double().flatten(), _grey(x0_hat).flatten()
    candidates = torch.logspace(-7, 0, 24, dtype=torch.float64)
    nll = torch.stack([discretised_nll(x0, x0_hat, variance) for variance in candidates])
    costs = torch.zeros(24, 256, dtype=torch.float64).index_add_(1, said, nll)
    return candidates[(costs + 10 * nll.mean(1, keepdim=True)).argmin(0)]


# %% [markdown]
# The table of all three, for each level; and the network's errors that the last one needs.

# %%
#| export
def reverse_variances(
    net: nn.Module,
    config: DDPMConfig,
    train: ImageSet,  # of which 256 images are used, fewer if they have more than 3,000 pixels
    levels: int = 32,  # noise levels at which the error is measured
    seed: int = 0,
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:  # name: (256,) by grey value for t = 1, and (T + 1,) by level for the others; float64
    "Variances of the steps back: posterior, beta, and fitted to the network's errors on training images (Bao et al. 2022)."
    some = take(train, min(len(train.images), max(16, min(256, 800_000 // train.images[0].numel()))), seed)
    diffusion, generator = make_diffusion(config), torch.Generator().manual_seed(derive_seed(seed, 6))
    x0 = to_model(some.images).expand(-1, config.channels or -1, -1, -1)
    model = Denoiser(net, config.model_copy(update={"guidance": 1.0}), some.labels if config.conditional else None)
    measured, errors = torch.logspace(0, np.log10(config.T), levels).round().unique().long(), []
    for t in progress(measured.tolist(), "errors on training images", "level"):
        xt = diffusion.q_sample(x0, t, torch.randn(x0.shape, generator=generator))
        x0_hat = model(xt.to(model.device), t).cpu()
        if t == 1:
            decoder = fit_decoder(x0, x0_hat)
        errors.append((x0_hat - x0).square().mean().item())
    every = torch.arange(1, config.T + 1)
    error = np.exp(np.interp(every, measured, np.log(np.maximum(errors, 1e-12))))
    of_x0, _, between = diffusion._coefficients(every)
    fitted = torch.cat([torch.ones(1), between + of_x0**2 * torch.from_numpy(error)])
    posterior = torch.cat([torch.ones(1), diffusion.variance(every)])
    constant = {"posterior": posterior, "beta": diffusion.beta}
    return {name: (table[1].expand(256), table) for name, table in constant.items()} | {"fitted": (decoder, fitted)}


# %% [markdown]
# Now the bounds, all from the same noises. A network evaluation for each of $T$ terms and each image is a lot, so we draw for each image $L_0$ and a few of the other terms, evenly spread from a random start: an unbiased estimate, with a standard error over the images. The lowest of the three bounds is what is called the run's bits per dimension, with the name of its variance; all three are kept.

# %%
#| export
def _terms(model: Denoiser, x0: torch.Tensor, t: torch.Tensor, variances: dict, generator: torch.Generator) -> dict[str, torch.Tensor]:
    "The terms L_{t-1} of images (B, C, H, W) at times t (B,), of which all or none are 1, for each variance: (B,), nats."
    xt = model.diffusion.q_sample(x0, t, torch.randn(x0.shape, generator=generator))
    x0_hat = model(xt.to(model.device), t).cpu()
    chosen = {name: first[_grey(x0_hat)] if t[0] == 1 else table[t] for name, (first, table) in variances.items()}
    return {name: model.diffusion.vlb_term(x0, xt, t, x0_hat, variance) for name, variance in chosen.items()}


def bits_per_dim(
    net: nn.Module,
    config: DDPMConfig,
    data: ImageSet,  # images to encode, e.g. the test set's first 2,000
    train: ImageSet,  # the images that the network has learned from: the variance is fitted to some of them
    draws: int = 10,  # of the T - 1 middle terms, for each image
    seed: int = 0,
) -> dict:  # bits_per_dim, its standard error se, its three parts, its variance; n, dimensions; bounds: the first five for each variance
    "Variational bounds on the negative log-likelihood (Ho et al. 2020, eq. 5), in bits per dimension of the data."
    config = config.model_copy(update={"guidance": 1.0})
    variances = reverse_variances(net, config, train, seed=seed)
    draws, generator = min(draws, config.T - 1), torch.Generator().manual_seed(derive_seed(seed, 5))
    labels = data.labels if config.conditional else torch.zeros(len(data.images))
    rows = {name: [] for name in variances}
    for images, y in progress(list(zip(data.images.split(500), labels.split(500), strict=True)), "bits/dim", "batch"):
        x0 = to_model(images).expand(-1, config.channels or -1, -1, -1)
        model = Denoiser(net, config, y if config.conditional else None)
        offset = torch.rand(len(x0), generator=generator)
        times = [torch.ones(len(x0)).long()] + [2 + ((offset + k) / draws * (config.T - 1)).long() for k in range(draws)]
        terms = [_terms(model, x0, t, variances, generator) for t in times]
        for name in variances:
            first, *others = (term[name] for term in terms)
            middle = sum(others, torch.zeros_like(first)) * (config.T - 1) / max(1, draws)
            rows[name].append(torch.stack([first, middle, model.diffusion.prior_kl(x0)], 1))
    dimensions = data.images[0].numel()
    bounds = {name: _summary(torch.cat(parts) / (dimensions * np.log(2))) for name, parts in rows.items()}
    best = min(bounds, key=lambda name: bounds[name]["bits_per_dim"])
    return bounds[best] | {"variance": best, "n": len(data.images), "dimensions": dimensions, "bounds": bounds}


def _summary(parts: torch.Tensor) -> dict[str, float]:
    "Mean and standard error of the sums of (n, 3) parts, and the means of the parts."
    total, means = parts.sum(1), parts.mean(0).tolist()
    return {"bits_per_dim": total.mean().item(), "se": (total.std() / len(total) ** 0.5).item()} | dict(zip(("first", "middle", "last"), means, strict=True))


# %% [markdown]
# A check against the theory, with a "network" that is exact: for images whose pixels are coins, $+1$ or $-1$ with equal odds, $E[x_0\mid x_t]=\tanh(\sqrt{\bar\alpha}\,x_t/(1-\bar\alpha))$. No code can be shorter than one bit per pixel, and the middle terms come to just that: by $t=1$ every coin is known. What $L_0$ adds on top is the price of a decoder that is a normal density: its mean is the coin exactly, but some of the density falls outside the bin. The fitted decoder has found out that it may be narrow. (For coins $\beta_t$ is far too large, where for the bumps of the theory notebook it was the right choice: which fixed variance is better depends on the data.)

# %%
class Coin(nn.Module):
    "The exact x0 of fair coins."

    def __init__(self, diffusion):
        super().__init__()
        self.diffusion, self.unused = diffusion, nn.Parameter(torch.zeros(1))

    def forward(self, xt, t, y):
        abar = self.diffusion.abar[t.long()].view(-1, 1, 1, 1).float()
        return torch.tanh(abar.sqrt() * xt / (1 - abar))


coin_config = DDPMConfig(target="x0", T=1000, schedule="cosine")
coins = ImageSet(255 * torch.randint(0, 2, (100, 1, 16, 16), generator=torch.Generator().manual_seed(0)).byte(), None, [])
coin = bits_per_dim(Coin(make_diffusion(coin_config)), coin_config, coins, coins, draws=20)
bounds = pd.DataFrame(coin["bounds"]).T
one = torch.ones((), dtype=torch.float64)
for kind in ("posterior", "beta"):
    variance = make_diffusion(coin_config).variance(1) if kind == "posterior" else make_diffusion(coin_config).beta[1]
    assert abs(bounds["first"][kind] - discretised_nll(one, one, variance).item() / np.log(2)) < 1e-6
assert (bounds["last"] < 1e-6).all() and (bounds.bits_per_dim > 1 - 4 * bounds.se).all()
assert ((bounds.middle - 1).abs() < 4 * bounds.se + 0.01)[["posterior", "fitted"]].all()  # 0.01: what 1,000 steps lose
assert coin["variance"] == "fitted" and bounds["first"]["fitted"] < 1e-3, "the coin is known, and so is the bin"
bounds.round(4)


# %% [markdown]
# The same coins as three equal channels, with noise of their own each. They are still one bit a pixel. The exact denoiser looks at all three together; what it says of the three is the same, and their three noises together are one noise of a third of the variance.

# %%
class ThreeCoins(Coin):
    def forward(self, xt, t, y):
        abar = self.diffusion.abar[t.long()].view(-1, 1, 1, 1).float()
        return torch.tanh(abar.sqrt() * xt.sum(1, keepdim=True) / (1 - abar)).expand_as(xt)


three_config = coin_config.model_copy(update={"channels": 3})
three = bits_per_dim(ThreeCoins(make_diffusion(coin_config)), three_config, coins, coins, draws=20)
for label, known in [("gray", coin), ("as three channels", three)]:
    print(f"{label}: {known['bits_per_dim']:.3f} +- {known['se']:.3f} bits per dimension, of which there are {known['dimensions']}")
assert three["dimensions"] == coin["dimensions"] == 256
assert abs(three["middle"] - 1) < 4 * three["se"] + 0.01 and three["bits_per_dim"] > 1 - 4 * three["se"]

# %% [markdown]
# ## Looking inside
#
# What is worth seeing of a trained model, as arrays, so that this notebook and the report can draw the same pictures: how digits emerge (report 003's 8x8 grid), the noise it predicts beside the true noise (report 001's figure), and its error at each noise level. For the last two a fresh network of the same kind serves as "before training".

# %%
#| export
LEVELS = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)  # noise levels to look at, as shares of T
SCALES = (0.0, 1.0, 2.0, 4.0)  # guidance scales to look at


@torch.no_grad()
def look_inside(
    net: nn.Module,
    config: DDPMConfig,
    data: ImageSet,  # test images, of which 256 at most are used
) -> dict[str, np.ndarray]:  # see the comments in the function
    "Arrays for the figures of a trained network; see `plot_denoising`, `plot_noise`, `plot_level_losses` and `plot_guidance`."
    labels = data.labels[:256] if config.conditional else None
    x0 = to_model(data.images[:256]).expand(-1, config.channels or -1, -1, -1)
    eps = Noise(x0.shape, config.seed)()
    before = make_network(config, data).to(next(net.parameters()).device)
    pictures = {"denoising": _denoising(net, config, data)}  # uint8 (8 levels, 8 samples, C, H, W)
    for name, network in (("before", before), ("after", net)):
        model, noisy, predicted, losses = Denoiser(network, config, labels), [], [], []
        for share in LEVELS:
            t = torch.full((len(x0),), max(1, round(share * config.T)))
            xt = model.diffusion.q_sample(x0, t, eps)
            noisy.append(xt[0])
            output = model.output(xt.to(model.device), t).cpu()
            predicted.append(model.diffusion.x0_eps(config.target, output, xt, t)[1][0])
            losses.append((output - model.diffusion.target(config.target, x0, eps, t)).square().mean())
        pictures[f"noise_{name}"] = torch.stack(predicted).numpy()  # float32 (levels, C, H, W): eps predicted for the first image
        pictures[f"loss_{name}"] = torch.stack(losses).numpy()  # float32 (levels,): MSE of the target
    pictures["noisy"] = torch.stack(noisy).numpy()  # float32 (levels, C, H, W): what the first image looks like there
    pictures["noise_true"] = eps[0].numpy()
    if config.conditional:  # uint8 (scales, classes, C, H, W)
        guided = [sample_ddpm(net, config.model_copy(update={"guidance": s}), data, len(data.classes), config.seed)[0] for s in SCALES]
        pictures["guidance"] = torch.stack(guided).numpy()
    return pictures


# %% [markdown]
# The first of these pictures, digits on their way out of the noise, by ancestral sampling:

# %%
#| export
def _denoising(net: nn.Module, config: DDPMConfig, data: ImageSet) -> np.ndarray:
    "Eight samples at eight stages of ancestral sampling, noise first: uint8 (8, 8, C, H, W)."
    labels = torch.arange(8) % len(data.classes) if config.conditional else None
    model, steps = Denoiser(net, config, labels), min(config.T, 250)
    shape = (8, config.channels or data.images.shape[1], *data.images.shape[2:])
    way = [Noise(shape, config.seed)()]
    ancestral(model, shape, steps, config.seed, lambda s, x, x0: way.append(x.cpu()))
    return torch.stack([to_image(way[round(k * steps / 7)]) for k in range(8)]).numpy()


# %% [markdown]
# And how they are drawn. The way from noise to digits:

# %%
#| export
def plot_denoising(pictures: dict[str, np.ndarray], ax: plt.Axes | None = None) -> plt.Axes:
    "Columns are samples, rows noise levels, from pure noise at the top."
    return show_grid(torch.from_numpy(pictures["denoising"]).flatten(0, 1), ncol=8, ax=ax)


# %% [markdown]
# Noise is drawn in greys from -2.5 to 2.5, the same for all rows, so that what is predicted can be compared with what is true:

# %%
#| export
def plot_noise(pictures: dict[str, np.ndarray], T: int) -> plt.Figure:
    "One image at several noise levels: noisy, true noise, noise predicted before and after training."
    rows = {"$x_t$": "noisy", "true noise": "noise_true", "before training": "noise_before", "after training": "noise_after"}
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
# The error at each level, on a logarithmic axis (with numbers to read off, as the axes of `fd_lenet` below):

# %%
#| export
def log_ticks(axis, subs: Sequence[float] = (1, 2, 5)) -> None:
    "Plain numbers at these multiples of the powers of ten on a logarithmic axis, such as `ax.yaxis`."
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def plot_level_losses(pictures: dict[str, np.ndarray], T: int, ax: plt.Axes | None = None) -> plt.Axes:
    "Mean squared error on test images at each noise level, before and after training."
    ax = ax or plt.subplots(figsize=(5, 2.6), layout="constrained")[1]
    for name in ("before", "after"):
        ax.plot([round(s * T) for s in LEVELS], pictures[f"loss_{name}"], marker="o", label=f"{name} training")
    ax.set(xlabel="noise level $t$", ylabel="mean squared error", yscale="log")
    log_ticks(ax.yaxis)
    ax.legend(frameon=False)
    return ax


# %% [markdown]
# And the effect of guidance:

# %%
#| export
def plot_guidance(pictures: dict[str, np.ndarray], ax: plt.Axes | None = None) -> plt.Axes:
    "A column a class, a row a guidance scale."
    images = torch.from_numpy(pictures["guidance"])
    return show_grid(images.flatten(0, 1), ncol=images.shape[1], ax=ax, rows=[f"$s={s:g}$" for s in SCALES])


# %%
#| export
def plot_samplers(
    compared: list[dict],  # rows of `compare_samplers`
    ax: plt.Axes | None = None,
) -> plt.Axes:
    "fd_lenet (with its standard deviation) against evaluations, a line a sampler; dotted the longest ancestral run, dashed the floor."
    ax = ax or plt.subplots(figsize=(5.5, 3), layout="constrained")[1]
    fd = lambda row: row["scores"]["fd_lenet"]["value"]
    for kind in dict.fromkeys(row["sampler"] for row in compared):
        rows = sorted((row for row in compared if row["sampler"] == kind), key=lambda row: row["evaluations"])
        spread = [row["scores"]["fd_lenet"].get("sd") or 0 for row in rows]
        ax.errorbar([row["evaluations"] for row in rows], list(map(fd, rows)), spread, marker="o", capsize=2, elinewidth=0.8, label=kind)
        if kind == "ancestral":
            ax.axhline(fd(rows[-1]), color="0.5", linewidth=0.8, linestyle=":")
    ax.axhline(compared[0]["scores"]["fd_lenet"]["floor"], color="0.5", linewidth=0.8, linestyle="--")
    ax.set(xlabel="evaluations of the network", ylabel="fd_lenet", xscale="log", yscale="log")
    log_ticks(ax.xaxis)
    log_ticks(ax.yaxis, (1, 1.5, 2, 3, 5))
    ax.legend(frameon=False)
    return ax


# %% [markdown]
# ## All of it together
#
# Train, sample, score, look, for each epoch count that was asked for and is not on disk yet. Then score the other samplers, at the last epoch count, each from the same latents.

# %%
#| export
def _draw(net: nn.Module, config: DDPMConfig, test: ImageSet) -> tuple[torch.Tensor, int, float, dict]:
    "Samples, evaluations of the network for each, seconds, and scores."
    start = time.perf_counter()
    samples, evaluations = sample_ddpm(net, config, test, config.n_samples or len(test.images), config.seed)
    return samples, evaluations, time.perf_counter() - start, evaluate(samples, config.dataset, config.metrics, train=config.training_set().images)


def measure_likelihood(net: nn.Module, config: DDPMConfig, n: int) -> dict:
    "`bits_per_dim` of the first `n` test images, 2,000 at most."
    test = load_dataset(config.dataset, "test", config.size).pick(slice(min(2000, n)))
    return bits_per_dim(net, config, test, config.training_set())


def run_ddpm(config: DDPMConfig) -> Run:
    "Train, sample and score at each epoch count that `config` asks for; what is on disk already is not done again."
    run = Run(config)
    with run.lock():
        for epochs in run.pending():
            check_metrics(config.dataset, config.size, config.metrics)
            net, test = train_ddpm(run, epochs), load_dataset(config.dataset, "test", config.size)
            samples, evaluations, seconds, scores = _draw(net, config, test)
            likelihood, pictures = measure_likelihood(net, config, len(samples)), look_inside(net, config, test)
            run.finish(epochs, samples, pictures, scores=scores, sample_seconds=seconds, evaluations=evaluations, likelihood=likelihood)
        compare_samplers(run)
    return run


# %% [markdown]
# A `metrics.json` from before the three variances had names has one bound, the posterior's, and none that could be shown if gray images had been three channels, since it was divided by three times too many dimensions. As long as the weights are there the bounds can be computed anew, without training: `renew_likelihood(run, epochs)`.

# %%
#| export
def read_likelihood(metrics: dict | None) -> dict:
    "The likelihood in a metrics.json, as `bits_per_dim` returns it (without dimensions in older files); {} if there is none that can be compared."
    metrics = metrics or {}
    known = metrics.get("likelihood") or {}
    if not known or "variance" in known:
        return known
    if (metrics.get("config") or {}).get("channels"):
        return {}
    return known | {"variance": "posterior", "bounds": {"posterior": {key: known[key] for key in known if key != "n"}}}


def renew_likelihood(run: Run, epochs: int) -> dict:
    "Compute the likelihood of an evaluated epoch count from its weights and put it into metrics.json. FileNotFoundError without these."
    metrics, config = run.metrics(epochs), run.config
    net = make_network(config, config.training_set()).to(make_accelerator(config.precision).device)
    if metrics is None or not run.load_weights(epochs, net):
        raise FileNotFoundError(f"{run.epoch_folder(epochs)} lacks metrics.json or weights.safetensors.")
    metrics["likelihood"] = measure_likelihood(net, config, metrics["n_samples"])
    with atomic(run.epoch_folder(epochs) / "metrics.json") as path:
        path.write_text(json.dumps(metrics, indent=2))
    return metrics["likelihood"]


# %%
old = {"likelihood": {"bits_per_dim": 1.7, "se": 0.05, "first": 0.7, "middle": 1.0, "last": 0.0, "n": 2000}}
assert read_likelihood(old)["variance"] == "posterior" and read_likelihood(old)["bounds"]["posterior"]["first"] == 0.7
assert read_likelihood(None) == read_likelihood({}) == read_likelihood(old | {"config": {"channels": 3}}) == {}
assert read_likelihood({"likelihood": coin}) == coin


# %% [markdown]
# What has been scored stays in `samplers.json`.

# %%
#| export
def scored_samplers(run: Run) -> list[dict]:  # sampler, steps, guidance, n_samples, evaluations, seconds, n, scores
    "The samplers that `compare_samplers` has scored at the run's epoch count."
    return read_json(run.epoch_folder(run.config.epochs) / "samplers.json", list) or []


# %% [markdown]
# Only what is not there yet is drawn and scored:

# %%
#| export
def compare_samplers(run: Run) -> list[dict]:  # see scored_samplers
    "Score the samplers that the configuration compares, with the weights of its epoch count; each is scored once."
    config, table, net = run.config, scored_samplers(run), None
    for other in map(config.with_sampler, config.compare):
        key = {name: getattr(other, name) for name in config.sample_fields}
        if any(key.items() <= row.items() for row in table):
            continue
        if net is None:
            net, test = train_ddpm(run, config.epochs), load_dataset(config.dataset, "test", config.size)
        distances = [metric for metric in ("fd_lenet", "fid") if metric in config.metrics]
        samples, evaluations, seconds, scores = _draw(net, other.model_copy(update={"metrics": distances}), test)
        table.append(key | {"evaluations": evaluations, "seconds": seconds, "n": len(samples), "scores": scores})
        with atomic(run.epoch_folder(config.epochs) / "samplers.json") as temporary:
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
# It goes down, at last a loss one can read. But most of its fall comes in the first epochs, while samples go on getting better for long: from epoch 5 to epoch 30 the loss falls by a third and `fd_lenet`, a distance from real images, to a seventh (the table is [below](#The-numbers)).

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
    show_grid(run.samples(e)[:32], ncol=16, title=f"generated after {e} epoch{'s' * (e > 1)}, {sampler}, {steps} steps")
show_grid(test.images[:32], ncol=16, title="real (test set)");

# %% [markdown]
# ### How images emerge
#
# Columns are samples, rows noise levels from $T$ down to 0. Large shapes are decided first, details last.

# %%
pictures = run.pictures(epochs)
plot_denoising(pictures);

# %% [markdown]
# ### What the network sees
#
# The same digit at six noise levels. Before training the network outputs zero (that is how it is initialised), and what is shown is the noise which that amounts to. After training the prediction is the true noise but for where the digit may be: at low levels the noise is hard to see in the image, at high levels it nearly *is* the image.

# %%
plot_noise(pictures, T);

# %% [markdown]
# The error of the target at these levels, on 256 test images:

# %%
plot_level_losses(pictures, T);


# %% [markdown]
# ### The numbers
#
# `fd_lenet` is the Frechet distance of the samples to the test set in the features of a small classifier ([05_fid](05_fid.ipynb)), the floor what as many real training images have. Bits/dim is the lowest of three bounds on test images, with its standard error and the name of its variance.

# %%
def row(e):
    m = run.metrics(e)
    fd, bits = m["scores"].get("fd_lenet", {}), dict.fromkeys(("bits_per_dim", "se", "variance")) | read_likelihood(m)
    return {
        "epochs": e, "loss": round(m["losses"]["loss"], 4), "fd_lenet": fd.get("value"), "floor": fd.get("floor"), "N": m["n_samples"],
        "bits/dim": bits["bits_per_dim"], "+-": bits["se"], "variance": bits["variance"], "training (s)": m["train_seconds"],
    }  # fmt: skip


pd.DataFrame(map(row, run.evaluated())).round(3)

# %% [markdown]
# All bounds of the last epoch count:

# %%
known = read_likelihood(run.metrics(epochs))
pd.DataFrame(known.get("bounds", {})).T.round(3)

# %% [markdown]
# Why is $L_0$ so large a part with the fixed variances? It is one step of a thousand, and the network errs by less than a grey level. Take it apart: how many of its bits go to black pixels, and how many to the others? (The bits of both add up to $L_0$.)

# %%
net, some = train_ddpm(run, epochs), test.pick(slice(200))
model = Denoiser(net, config.model_copy(update={"guidance": 1.0}), some.labels if conditional else None)
x0 = to_model(some.images).expand(-1, config.channels or -1, -1, -1)
xt = model.diffusion.q_sample(x0, 1, Noise(x0.shape, seed)())
x0_hat = model(xt.to(model.device), 1).cpu()
print(f"error of the guess {(x0_hat - x0).square().mean().sqrt():.4f}, noise {(1 - diffusion.abar[1]).sqrt():.4f}, half a bin {1 / 255:.4f}")
rows = {}
for kind, (by_grey, _) in reverse_variances(net, config, data, seed=seed).items():
    bits = discretised_nll(x0.double(), x0_hat.double(), by_grey[_grey(x0_hat)]) / np.log(2) / some.images.numel()
    black = bits[x0 == -1].sum().item()
    rows[kind] = {"sd at black": by_grey[0].item() ** 0.5, "sd at mid-grey": by_grey[128].item() ** 0.5, "black pixels": black, "others": bits.sum().item() - black}
print(f"{(x0 == -1).double().mean():.0%} of the pixels are black")
pd.DataFrame(rows).T.round(4)

# %% [markdown]
# About two fifths of it are spent on black pixels, which hold little information. Their guess is nearly right, but the decoder may not say so. Black is the lowest bin, which ends half a bin, 0.0039, above -1; the mean cannot lie below -1; and the standard deviation of $\tilde\beta_2$ is 0.0047 (cosine, 1,000 levels). So even for a perfect guess only 80% of the probability fall into the bin, and the pixel costs 0.32 bits, that is 0.21 of the 0.44 bits/dim in the table. The rest is the network's own small error, which is about the size of half a bin.
#
# A small network on MNIST (`widths` 16, 32, 64, bfloat16, 5 epochs, one run; here 500 test images) has 0.72 bits/dim in $L_0$ with $\tilde\beta_t$: 0.41 of them for the 82% of the pixels that are black, 0.31 for the others. The fitted decoder has a standard deviation of 0.0006 where the network says black and 0.0037 where it says mid-grey. Now black costs 0.07, the others 0.31 as before. These 0.31 are no fault of the decoder: at $t=1$ a pixel has noise of standard deviation 0.0064, nearly a whole grey level, and what that hides is about 1.7 bits a pixel.
#
# On 2,000 test images the bound of this network is 2.13 ± 0.07 bits/dim with $\beta_t$, 1.77 ± 0.05 with $\tilde\beta_t$ and 1.40 ± 0.04 with the fitted variance, and nearly all of the gain is in $L_0$: 0.72 to 0.38, where the middle terms go from 1.05 to 1.02.
#
# ### How many steps?
#
# Ancestral sampling with many steps is the line to meet. How near do the others come, and how soon? Bars are the standard deviation of a distance over samples; differences within them mean nothing.

# %%
compared = compare_samplers(run)
if any(row["scores"].get("fd_lenet") for row in compared):
    plot_samplers(compared).set_title("dotted: the longest ancestral run; dashed: the floor", fontsize=10)

# %%
columns = ["sampler", "steps", "evaluations", "n", "seconds"]
pd.DataFrame([{k: row[k] for k in columns} | {"fd_lenet": row["scores"].get("fd_lenet", {}).get("value")} for row in compared]).round(2)

# %% [markdown]
# A small network on MNIST (`widths` 16, 32, 64, two epochs; in `report/results`), asked for 2,000 samples from the same latents by each sampler: ancestral sampling with 250 evaluations comes to an `fd_lenet` of 38.0 ± 1.8, SDE-DPM-Solver++ with 20 to 36.7 ± 1.9 and with 10 to 36.7 ± 2.0. The deterministic samplers stay behind on this one network, which is far from done, trained once with one seed: 48.7 ± 2.2 for Heun with 19 evaluations, 54.8 ± 2.3 for DPM-Solver++ with 20, 59.8 ± 2.8 for DDIM with 50. (The floor at 2,000 samples is 1.65.) A second network, of the same size in bfloat16, agrees after 5 epochs: 16.2 ± 1.2 for SDE-DPM-Solver++ with 20 evaluations, 26.1 ± 1.8 for DPM-Solver++. The digits of this notebook cannot tell: SDE-DPM-Solver++ and DPM-Solver++ with 10 or 20 evaluations, Heun with 19 and ancestral sampling with 250 all lie between 21.7 and 29.5 in the table above, and their bars overlap. When fresh noise helps, two networks and one seed each cannot tell. Longer training helps more than any sampler: the same network in bfloat16, asked for 10,000 samples by SDE-DPM-Solver++ with 20 evaluations, has 68.5 ± 0.9 after 1 epoch, 14.6 ± 0.6 after 5 and 7.8 ± 0.4 after 10 (one run; the floor is 0.86).
#
# ### By class
#
# A class-conditional model is asked for a class and, after ten epochs, mostly draws it; at $s=2$ that is easier to see than at $s=1$. Below, each column has one class and one latent; from row to row the guidance scale grows. At $s=0$ the label is ignored.

# %%
guided = None
if conditional:
    guided = run
elif guided_epochs and data.classes and network != "report003":
    changes = {"conditional": True, "name": "by-class", "epochs": guided_epochs, "snapshots": [], "compare": []}
    guided = run_ddpm(config.model_copy(update=changes))
if guided:
    plot_guidance(guided.pictures(guided.config.epochs)).set_title("a column a class, a row a guidance scale", fontsize=10)

# %% [markdown]
# ## What to remember
#
# - Training is regression: pick a noise level, add noise, predict it. No opponent, no balance, a loss that falls.
# - What is trained and how it is sampled are separate choices. The network does not know which sampler will ask it.
# - On the digits a better integrator gets by with 10 to 20 evaluations, with fresh noise or without. On two small networks for MNIST, neither trained to the end, the deterministic ones with 20 stayed behind SDE-DPM-Solver++ with 20, which on one of them was as near as ancestral sampling with 250.
# - More noise levels visited is not the same as better images: compare distances, with their floor.
#
# ## Exercises
#
# 1. Train with `-p target eps -p schedule linear`, the choice of Ho et al. How do samples and distances compare at equal epochs?
# 2. Set `ema` to 0. What do the samples look like after 1, 5 and 30 epochs? Does the loss curve tell?
# 3. Draw the ways of eight samples with DDIM and with ancestral sampling from the same latents (use `callback`). Which remember their latent?
# 4. `times=even_times(...)` for `dpmpp` instead of `karras_times`: at which number of steps does the choice matter?
# 5. Guidance makes samples more typical. Score a conditional model at $s=1,2,4$ with `fd_lenet`. Which scale is best, and why is the largest not?
# 6. The fitted variance is one number a noise level, for all pixels. Fit one for each pixel instead: a pixel in a corner is easier to guess than one in the middle. What does it do to bits/dim?

# %% [markdown]
# ## Solutions
#
# <details><summary>1. The choice of Ho et al.</summary>
#
# Both parameters belong to the run's identity, so it gets a folder of its own and nothing is overwritten. From within the notebook:
#
#     ho = run_ddpm(config.model_copy(update={"target": "eps", "schedule": "linear", "name": "ho", "compare": []}))
#     for r in (run, ho):
#         for e in r.evaluated():
#             fd, bits = r.metrics(e)["scores"]["fd_lenet"], r.metrics(e)["likelihood"]
#             print(f"{r.config.target} {r.config.schedule} {e}: fd_lenet {fd['value']:.1f} +- {fd['sd']:.1f}, bits/dim {bits['bits_per_dim']:.2f} +- {bits['se']:.2f}")
#     show_grid(ho.samples(epochs)[:32], ncol=16);
#
# Do not compare the losses. The same mistake is $\lVert\hat\varepsilon-\varepsilon\rVert^2=\bar\alpha_t\lVert\hat v-v\rVert^2$ in the two units, and the linear schedule has more levels with much noise, where $\bar\alpha_t$ is tiny and the noise is easy to tell: the eps loss is small there whatever the network knows about digits. Compare `fd_lenet` at equal epochs and differences with the standard deviations, and before you believe a small one, take more seeds. On `digits` after 10 epochs (one run each, seed 0, 500 samples, 20 steps of `dpmpp`) it was 86.4 ± 9.9 for `v` with cosine and 122.9 ± 9.4 for `eps` with linear, although the printed losses were 0.11 to 0.18 for the first and 0.02 to 0.09 for the second in the last four epochs. Bits/dim (with the fitted variance) could not tell them apart: 2.83 ± 0.16 and 2.74 ± 0.15.
#
# To tell target from schedule, run the other two combinations as well.
#
# </details>
#
# <details><summary>2. Without the average</summary>
#
#     plain = run_ddpm(config.model_copy(update={"ema": 0.0, "name": "no-average", "compare": []}))
#     for e in plain.evaluated():
#         show_grid(plain.samples(e)[:32], ncol=16, title=f"{e} epochs, last weights")
#         print(e, [round(r.metrics(e)["scores"]["fd_lenet"]["value"], 1) for r in (run, plain)])
#     losses = [pd.read_csv(r.folder / "history.csv").loss for r in (run, plain)]
#     print("largest difference of the losses:", (losses[0] - losses[1]).abs().max())
#
# The loss curve cannot tell: it is that of the weights being trained, and the average only watches them and never feeds back. Both runs have the same seed, hence the same curve (the largest difference printed was 0). The difference is in the samples. Adam's last update fits the last batch; the average cancels that jitter, and a sampler, which applies the network many times over, is sensitive to it. How much it does depends on when you look. The average starts with a short memory: after $n$ updates its decay is at most $n/(9+n)$, so it reaches back over about the last tenth of the training, three updates after the first epoch of `digits`; samples of both can hardly differ then. Later, but while training is still quick, the network may improve faster than its weights jitter, and the average lags behind. After 10 epochs on `digits` (one run each) `fd_lenet` was 69.5 ± 5.0 without the average and 86.4 ± 9.9 with it, so no gain yet. Look at 30 epochs and more, and at several seeds, before you decide.
#
# </details>
#
# <details><summary>3. Which remember their latent?</summary>
#
# Change everything but the latent and see what is left. For DDIM, take twice as many steps. For ancestral sampling, draw other noise on the way; in the notebook the samplers look `Noise` up when they are called, so it can be exchanged.
#
#     net, usual, ends = train_ddpm(run, epochs), Noise, {"ddim": [], "ancestral": []}
#
#     def other(shape, seed, start=0):
#         "The latents of this seed, and then the noise of the next."
#         noises = [usual(shape, seed, start)] + [usual(shape, seed + 1, start)] * T
#         return lambda: noises.pop(0)()
#
#     for kind, k, Noise in [("ddim", 50, usual), ("ddim", 100, usual), ("ancestral", 50, usual), ("ancestral", 50, other)]:
#         way = []
#         SAMPLERS[kind](Denoiser(net, config), (8, *data.images.shape[1:]), k, seed, lambda s, x, x0: way.append(x.cpu()))
#         show_grid(to_image(torch.cat(way[k // 10 - 1 :: k // 10])), ncol=8, title=f"{kind}, {k} steps")
#         ends[kind].append(way[-1])
#     Noise = usual
#     for kind, (a, b) in ends.items():
#         print(kind, "same latent {:.3f}, another one {:.3f}".format(*((a - x).square().mean().sqrt() for x in (b, b.roll(1, 0)))))
#
# DDIM remembers. Its image is a function of the latent, and more steps only follow the same path more exactly. In ancestral sampling the latent's own share of $x_s$ is $\sqrt{\bar\alpha_T/\bar\alpha_s}\,\frac{1-\bar\alpha_s}{1-\bar\alpha_T}$ (multiply the factors of $x_t$ in (10), it telescopes), which is next to nothing as soon as $\bar\alpha_s$ is much larger than $\bar\alpha_T$. What is left of it is only what the first $\hat x_0$ have made of it. In DDIM that share is $\sqrt{(1-\bar\alpha_s)/(1-\bar\alpha_T)}$, nearly 1 for most of the way. On `digits` after 10 epochs (eight images) the root mean square difference of DDIM's images in 50 and in 100 steps was 0.005, that of images from different latents 0.45. With ancestral sampling it was 0.46 for the same latents and 0.47 for different ones: nothing is remembered that one could see.
#
# </details>
#
# <details><summary>4. Even levels for dpmpp</summary>
#
# First where the answer is known, each against its own limit of 1,000 steps; then on the network. `sample_ddpm` finds its sampler in `SAMPLERS`, so put the changed one there for a while:
#
#     net = train_ddpm(run, epochs)
#     for levels in (karras_times, even_times):
#         def on_levels(model, shape, steps, *rest):
#             return dpmpp(model, shape, steps, *rest, times=levels(model.diffusion, steps))
#
#         limit = on_levels(smooth, (200, 1), 1000, 0)
#         print([round((on_levels(smooth, (200, 1), k, 0) - limit).abs().mean().item(), 4) for k in (5, 10, 20, 40, 80)])
#         SAMPLERS["dpmpp"] = on_levels
#         for k in (5, 10, 20):
#             samples, _ = sample_ddpm(net, config.with_sampler(f"dpmpp:{k}"), test, len(test.images), seed)
#             print(k, round(evaluate(samples, dataset, ["fd_lenet"], train=data.images)["fd_lenet"]["value"], 1))
#     SAMPLERS["dpmpp"] = dpmpp
#
# On the mixture the even levels are better at every number of steps: at 10, 20 and 40 their mean errors were 0.037, 0.010 and 0.001, those of Karras's levels 0.148, 0.030 and 0.006. On `digits` after 10 epochs (one run, 500 samples) it was the other way round where steps are few: 122 at 5 steps and 98 at 10 with even levels, 97 and 65 with Karras's. At 20 steps, 95 and 86, they could no longer be told apart: such distances have standard deviations of 5 to 10 here. The levels explain the first half. Of Karras's about a third are above $\sigma=10$, where the mixture is one blur, a sixth below 0.1, where its bumps (of spread 0.3 and 0.5) are already smooth, and half in between; of the even ones with the cosine 88% are in between, where everything is decided. Digits have sharp edges, and so presumably details at small $\sigma$ that the mixture lacks. Karras's levels were made for images; no choice of levels is best for all data.
#
# </details>
#
# <details><summary>5. Which scale is best?</summary>
#
# `fd_lenet` sees one distance in which lost variety and lost quality are added up; precision and recall ([05_fid](05_fid.ipynb)) tell them apart.
#
#     net = train_ddpm(guided, guided.config.epochs)
#     for s in (1.0, 2.0, 4.0):
#         samples, _ = sample_ddpm(net, guided.config.model_copy(update={"guidance": s}), test, len(test.images), seed)
#         scores = evaluate(samples, dataset, ["fd_lenet", "precision", "recall"], train=data.images)
#         print(s, {metric: round(score["value"], 3) for metric, score in scores.items()})
#
# On `digits` after 10 epochs (one run, 500 samples a scale) `fd_lenet` was 38.8 ± 7.7 at $s=1$, 42.9 at 2 and 167.8 at 4: the first two are too close to call, the last is far off. Precision was 0.67, 0.78 and 0.69, recall 0.89, 0.73 and 0.28. So at $s=2$ more samples lie where real images are (precision), and fewer of the real images have a sample near them (recall); in the distance the two about cancel. At $s=4$ most of the variety is gone.
#
# The largest scale is not the best because it draws from another distribution. $\hat x_0^{\text{none}}+s(\hat x_0^y-\hat x_0^{\text{none}})$ stands, level by level, for a density like $q(x_t)\,q(y\mid x_t)^s$: images of which a classifier is surer and surer. Their mean moves away from the class's boundaries, their spread shrinks, and both are what a Frechet distance measures. (And the steps leave the range where the network was trained; clipping to $[-1,1]$ then makes flat black and white.) A little guidance may still lower the distance, where it takes away samples between the classes that an imperfect network draws and the data do not have.
#
# </details>
#
# <details><summary>6. A variance for each pixel</summary>
#
# The derivation holds for each pixel by itself, with the mean over images and noise only. `bits_per_dim` takes a table that has a variance for each level *and* pixel as it is; in the notebook it looks `reverse_variances` up when it is called, so that can be exchanged. A pixel that is black in all training images has no error at all, and a variance fitted to that would make the first test image that is not black there infinitely expensive. So each pixel starts with ten images' worth of the mean error of all.
#
#     usual = reverse_variances
#
#     def reverse_variances(net, config, train, levels=32, seed=0):
#         tables = usual(net, config, train, levels, seed)
#         model, x0 = Denoiser(net, config), to_model(train.images[:500])
#         measured, errors = torch.logspace(0, np.log10(config.T), levels).round().unique().long(), []
#         for t in measured:
#             error = (model(model.diffusion.q_sample(x0, t, torch.randn_like(x0)), t) - x0).square()
#             errors.append((error.sum(0) + 10 * error.mean()) / (len(x0) + 10))
#         every, logs = torch.arange(1, config.T + 1), torch.stack(errors).log().flatten(1).T.double().numpy()
#         error = np.exp([np.interp(every, measured, pixel) for pixel in logs]).T.reshape(config.T, *x0.shape[1:])
#         of_x0, _, between = (a.view(-1, 1, 1, 1) for a in model.diffusion._coefficients(every))
#         table = between + of_x0**2 * torch.from_numpy(error)
#         return tables | {"by pixel": (tables["fitted"][0], torch.cat([torch.ones_like(table[:1]), table]))}
#
#     bounds = bits_per_dim(train_ddpm(run, epochs), config, test, data)["bounds"]
#     reverse_variances = usual
#     pd.DataFrame(bounds).T.round(3)
#
# On `digits` after 10 epochs (one run, the 500 test images, the same draws in all) the bound is 3.29 bits/dim with $\tilde\beta_t$, 3.24 with $\beta_t$, 2.83 with the fitted variance and 2.78 with one for each pixel. From $\tilde\beta_t$ to the fitted one the middle terms fall from 2.08 to 1.96 and $L_0$, thanks to its decoder, from 1.20 to 0.87; a variance for each pixel takes the middle terms to 1.92. The network is the same and so are its samples: the samplers of this notebook do not ask for this variance. One could go further with a variance that the network predicts.
#
# </details>
