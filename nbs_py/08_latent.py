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
# # Latent diffusion
#
# > Compress images first, then generate codes: an autoencoder for the detail, a flow for the rest, what that saves, and codes that are whole numbers

# %%
#| default_exp latent

# %% tags=["parameters"]
dataset = "digits"  # digits, tinted_digits, mnist, fashion_mnist, cifar10, celeba, hf:REPO or folder:PATH
epochs = 30  # passes over the codes of the training set, by the flow
snapshots = []  # look at the model after these epoch counts, too
name = "latent"  # a word for the run's folder
size = None  # pixels a side, a multiple of 4; None: the data set's own
subset = None  # train on so many images, or on this share of them; None: all
batch_size = 64  # codes in an update
network = "spatial"  # of the autoencoder: spatial, fsq, or those of 04_vae: residual, conv, mlp
width = 16  # its channels at half the resolution, a multiple of 8; None: 32 from 24 pixels on, else 16
latent = 32  # numbers in a code; of spatial codes a multiple of their places
beta = 0.1  # weight of the autoencoder's KL term
adversarial = 0.0  # weight of a discriminator's verdict; above 0: VAE-GAN, see 04b_vae_gan
first_epochs = 12  # passes over the images, by the autoencoder
denoiser = "mlp"  # network of the flow: mlp for codes of few places or none, unet for larger maps
widths = [256]  # of mlp the width of its layers; of unet the channels at each resolution
blocks = 3  # residual blocks; of unet at each resolution
schedule = "straight"  # straight, cosine or linear: the spacing of noise levels
target = "flow"  # what the denoiser predicts: flow, v, eps or x0
conditional = False  # tell the denoiser the class, in nine of ten updates
optimizer = "adam"  # of the denoiser; muon: for matrices and kernels, with Adam for the rest
lr = 1e-3  # Adam's learning rate; Muon's is 20 times as large
ema = 0.99  # sample from a moving average of the denoiser's weights with this decay; 0: from the last ones
sampler = "flow_heun"  # flow_heun, dpmpp, sde_dpmpp, heun, ddim or ancestral
steps = 10  # of the sampler
seed = 0  # all randomness follows from it
precision = "no"  # bf16: bfloat16 autocast
n_samples = None  # images to draw and score; None: as many as there are test images
metrics = ["fd_lenet"]  # fd_lenet, precision, recall, memorisation and more: see 05_fid

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import nn

from genlab.data import ImageSet, load_dataset, show_grid, spread_classes, take
from genlab.ddpm import DDPMConfig, Denoiser, denoising_loss, fresh_network, make_diffusion
from genlab.diffusion import Diffusion
from genlab.fid import check_metrics, evaluate, main_distance
from genlab.flow import flow_heun  # noqa: F401  adds its schedule and sampler
from genlab.interpolation import LatentSpace, describe_run, load_or_explain
from genlab.plug import KINDS, NETWORKS, SAMPLERS, SCHEDULES, Kind, Section, key_of, look_up
from genlab.runs import (
    EMA,
    Run,
    RunConfig,
    count_costs,
    fits_memory,
    make_accelerator,
    make_optimizers,
)
from genlab.samplers import flow, karras_times
from genlab.tables import (
    NONE,
    distance_heading,
    distance_score,
    figure,
    last_of_each,
    loss_curves,
    loss_table,
    markdown_table,
    number,
    plural,
    sample_sheets,
    save_figure,
    slug,
    uncertain,
    value_at,
    with_pictures,
)
from genlab.unet import embed, zero
from genlab.vae import (
    VAE,
    Residual,
    VAEConfig,
    decode_codes,
    draw_codes,
    encode_images,
    halved_twice,
    make_vae,
    normalise,
    plot_reconstructions,
    reparameterise,
    train_vae,
)

# %%
#| hide
import tempfile

import pytest

import genlab.latent

# wrong values are said now and not half way down
planned = genlab.latent.LatentConfig.of(globals())
genlab.latent.make_latent(planned, planned.training_set())

data = planned.training_set()


# %% [markdown]
# ## Why compress first
#
# What does a diffusion model spend its work on? It makes every pixel again at every step, and most of what it makes is detail that nobody would miss or could predict. [Rombach et al. (2022, fig. 2)](https://arxiv.org/abs/2112.10752) put it in numbers: of the bits of a photograph most say how exactly its pixels look, and few what can be seen in it. So they divide the work. An **autoencoder** learns the first, once, with a plain loss; a diffusion model learns the second, on its codes. [Vahdat et al. (2021)](https://arxiv.org/abs/2106.05931) came to the same from the other side: they had a VAE, and wanted a better prior than a normal distribution.
#
# How much is there to save? A U-Net's work grows with its places. Here are multiplications and additions for a training image (forward and backward), of the U-Net of [02_ddpm](02_ddpm.ipynb) with its default widths on colour images, and of one twice as wide on codes a quarter as high and wide, with 4 numbers at each place:

# %%
def mflops(channels, size, widths):
    "Millions of operations for an image of a training update of a U-Net."
    config = DDPMConfig(widths=widths, batch_size=2, optimizer="adam")
    images = ImageSet(torch.zeros(1, channels, size, size, dtype=torch.uint8), None, [])
    noise = make_diffusion(config).to("meta")
    update = lambda net, x, y: denoising_loss(net, config, noise, x, y).backward()
    return count_costs(update, config, images, fresh_network(config, images))["flops_per_image"] / 1e6


sizes = [32, 64, 128, 256]
pixels = [mflops(3, n, [16, 32, 64]) for n in sizes]
codes = [mflops(4, n // 4, [32, 64, 128]) for n in sizes]
fig, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
ax.loglog(sizes, pixels, marker="o", label="pixels, widths 16, 32, 64")
ax.loglog(sizes, codes, marker="o", label="codes, widths 32, 64, 128")
ax.set(xlabel="size of the image (pixels a side)", ylabel="MFLOP a training image")
ax.set_xticks(sizes, sizes)
ax.minorticks_off()
ax.legend(frameon=False)
print("times less work:", [round(a / b, 1) for a, b in zip(pixels, codes, strict=True)])

# %% [markdown]
# One fourth of the places in each direction is one sixteenth of the work; twice the width takes a factor of four back. What it costs: an autoencoder has to be trained, too, and what it loses is lost.
#
# ## The prior is not where the codes are
#
# We have such an autoencoder, the VAE of [04_vae](04_vae.ipynb), and a way to draw its codes, the prior $\mathcal N(0,I)$. It was seen there that the codes of all images together, the **aggregate posterior** $q(z)=\frac1N\sum_iq(z\,|\,x_i)$, are not distributed like that, and that a mixture of ten Gaussians does better. With two numbers in a code one can look at it:

# %%
toy = VAEConfig(name="toy", size=8, network="mlp", latent=2, beta=0.01, epochs=25, seed=seed)
with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
    patch.setenv("GENLAB_RUNS", folder)
    vae = train_vae(Run(toy), toy.epochs)
train = toy.training_set()
mu, logvar = encode_images(vae, train.images)


limits = [(m - 3.2 * s, m + 3.2 * s) for m, s in zip(mu.mean(0).tolist(), mu.std(0).tolist(), strict=True)]


def show_density(ax, z, title):
    "How often codes (N, 2) fall into each of 70 x 70 cells."
    ax.hist2d(*z.numpy().T, bins=70, range=limits, cmap="magma", density=True)
    ax.set(title=title, aspect="equal")


def draw_posterior(mu, logvar, n):
    "n codes of randomly chosen images, with the encoder's noise."
    i = torch.randint(len(mu), (n,))
    return mu[i] + (logvar[i] / 2).exp() * torch.randn(n, mu.shape[1])


torch.manual_seed(seed)
fig, axes = plt.subplots(1, 3, figsize=(7, 2.5), layout="constrained", sharey=True)
drawn = {source: draw_codes(vae, 10_000, seed, source, train) for source in ("prior", "mixture")}
show_density(axes[0], draw_posterior(mu, logvar, 10_000), "codes, $q(z)$")
for ax, (source, z) in zip(axes[1:], drawn.items(), strict=True):
    show_density(ax, z, source)


# %% [markdown]
# The prior puts half of its draws where no code is. The mixture finds the clusters and blurs them. Why not take the best generative model that we have, and train it on the codes?
#
# ## A flow on codes
#
# Two preparations. A code of $d$ numbers is treated as an image of $d$ channels and a single pixel, so that loss, samplers and networks of [02_ddpm](02_ddpm.ipynb) and [02e_flow](02e_flow.ipynb) fit as they are. And codes are **standardised**, so that each channel has mean 0 and variance 1. A noise schedule assumes that: with $x_t=\sqrt{\bar\alpha}\,x_0+\sqrt{1-\bar\alpha}\,\varepsilon$ the signal-to-noise ratio is $\bar\alpha/(1-\bar\alpha)$ times the variance of $x_0$. With codes of another size all that has to be decided is decided near one end of the noise levels, where training seldom looks and a sampler takes few steps (exercise 1). Nothing gives the codes of an autoencoder with a small KL term the right size.
#
# Means and variances over $q(z)$ need no draws. By the law of total variance,
#
# $$ \mathbb E[z]=\frac1N\sum_i\mu_i,\qquad\operatorname{Var}[z]=\frac1N\sum_i\sigma_i^2+\frac1N\sum_i\big(\mu_i-\mathbb E[z]\big)^2. $$

# %%
#| export
class LatentModel(nn.Module):
    "A VAE that stays as it is, a denoiser of its codes, and the statistics that standardise them."

    def __init__(self, vae: VAE, net: nn.Module | None = None):
        super().__init__()
        self.vae, self.net = vae.requires_grad_(False), net
        self.shape = getattr(vae.decoder, "shape", (vae.latent, 1, 1))  # of a code as a map, (C, h, w)
        self.register_buffer("mean", torch.zeros(self.shape[0], 1, 1))
        self.register_buffer("sd", torch.ones(self.shape[0], 1, 1))

    def fit(self, mu: torch.Tensor, logvar: torch.Tensor) -> None:
        "Take mean and variance of each channel over q(z | x) of all images, (N, d) each, and all places."
        mu, variance = (part.double().view(-1, *self.shape) for part in (mu, logvar.exp()))
        mean = mu.mean((0, 2, 3), keepdim=True)
        spread = (variance + (mu - mean).square()).mean((0, 2, 3))
        self.mean.copy_(mean[0])
        self.sd.copy_(spread.sqrt().clamp(min=1e-6)[:, None, None])

    def to_map(self, z: torch.Tensor) -> torch.Tensor:
        "Codes (B, d) of the VAE as standardised maps (B, C, h, w)."
        return (z.view(-1, *self.shape) - self.mean) / self.sd

    def to_code(self, x: torch.Tensor) -> torch.Tensor:
        "The way back: (B, C, h, w) to (B, d)."
        return (x * self.sd + self.mean).flatten(1)


# %% [markdown]
# Standardised codes have mean 0 and variance 1 (by the same law, for $\mu$ and $\sigma$ after the change of units), and the way back leads to where one came from:

# %%
model = LatentModel(vae)
model.fit(mu, logvar)
centred, noise = model.to_map(mu).flatten(1).double(), logvar.double().exp() / model.sd.flatten() ** 2
print("before: mean", mu.mean(0).numpy().round(3), "sd", model.sd.flatten().numpy().round(3))
assert (centred.mean(0)).abs().max() < 1e-5
assert ((noise + centred.square()).mean(0) - 1).abs().max() < 1e-5
assert torch.allclose(model.to_code(model.to_map(mu)), mu, atol=1e-5)
z = draw_posterior(mu, logvar, 100_000)  # and so have draws, as far as so many can tell
assert model.to_map(z).mean(0).abs().max() < 0.02 and (model.to_map(z).std(0) - 1).abs().max() < 0.02


# %% [markdown]
# The denoiser of such codes has dense layers. It is built like a U-Net's residual blocks ([03_unet](03_unet.ipynb)): the noise level scales and shifts what is inside, and the last layer of each block begins as zero.

# %%
#| export
class DenseBlock(nn.Module):
    "A residual block (B, width) to the same, modulated by an embedding (B, emb); as `ResBlock` of 03_unet."

    def __init__(self, width: int, emb: int):
        super().__init__()
        self.norm1, self.dense1 = nn.LayerNorm(width), nn.Linear(width, width)
        self.modulation = nn.Linear(emb, 2 * width)
        self.norm2, self.dense2 = nn.LayerNorm(width), zero(nn.Linear(width, width))

    def forward(self, x: torch.Tensor, emb: torch.Tensor) -> torch.Tensor:
        h = self.dense1(F.silu(self.norm1(x)))
        scale, shift = self.modulation(emb).chunk(2, 1)
        return x + self.dense2(F.silu(self.norm2(h) * (1 + scale) + shift))


# %%
#| export
class DenseDenoiser(nn.Module):
    "(B, C, H, W), times (B,) and classes (B,) to (B, C, H, W), by dense layers; for codes without places."

    def __init__(self, shape: tuple[int, ...], width: int = 256, blocks: int = 3, classes: int = 0):
        super().__init__()
        d, self.classes = math.prod(shape), classes
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(classes + 1, width) if classes else None
        self.stem = nn.Linear(d, width)
        self.blocks = nn.ModuleList(DenseBlock(width, width) for _ in range(blocks))
        self.norm, self.out = nn.LayerNorm(width), zero(nn.Linear(width, d))

    def forward(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        emb, h = embed(self, t, y), self.stem(x.flatten(1))
        for block in self.blocks:
            h = block(h, emb)
        return self.out(F.silu(self.norm(h))).view(x.shape)


# %%
#| export
def make_mlp(config: DDPMConfig, data: ImageSet) -> DenseDenoiser:
    "Dense layers as wide as the first of `widths` (without these, 256), with so many `blocks`."
    classes = len(data.classes) if config.conditional else 0
    return DenseDenoiser(data.images.shape[1:], (config.widths or [256])[0], config.blocks, classes)


NETWORKS["ddpm"]["mlp"] = make_mlp

# %%
#| hide
net = DenseDenoiser((3, 2, 2), width=32, blocks=2, classes=4)
x, t, y = torch.randn(5, 3, 2, 2), torch.rand(5) * 1000, torch.arange(5) % 4
assert net(x, t, y).shape == x.shape and not net(x, t, y).any(), "it begins with zero"
assert not any(block.dense2.weight.any() for block in net.blocks), "and each block with the identity"
for parameter in net.parameters():
    nn.init.normal_(parameter, std=0.3)
assert not torch.allclose(net(x, t, y), net(x, t + 100, y)) and not torch.equal(net(x, t, y), net(x, t))
assert torch.equal(net(x, t), net(x, t, torch.full((5,), 4))), "without a class: the last one, `none`"
for block in net.blocks:
    zero(block.dense2)
skipped = net.out(F.silu(net.norm(net.stem(x.flatten(1))))).view(x.shape)
assert torch.allclose(net(x, t, y), skipped), "blocks add to what they are given"


# %% [markdown]
# `genlab.ddpm.Denoiser`, from which samplers sample, cuts the images that it believes in off at black and white. Codes have no such limits:

# %%
#| export
class CodeDenoiser(Denoiser):
    "A `Denoiser` whose x0 is not clipped."

    def __call__(self, xt: torch.Tensor, t) -> torch.Tensor:
        "The clean codes (B, C, h, w), standardised, that the network sees in xt at noise levels t."
        return self.diffusion.x0_eps(self.target, self.output(xt, t), xt, t)[0]


# %%
#| hide
class Says(nn.Module):
    "A network that says the same to all, and remembers what it was shown."

    def forward(self, xt, t, y=None):
        self.seen = xt, y
        return torch.full_like(xt, 3.0)


far = CodeDenoiser(Says(), make_diffusion(DDPMConfig()), "x0")(torch.randn(2, 4, 1, 1), 500)
assert (far == 3).all(), "a code of three standard deviations is left as it is"

# %% [markdown]
# Then training is a loop around `denoising_loss` of 02_ddpm. The encoder says for each image not *one* code, but a normal distribution. Which code is the network shown? A new one in every batch. The mixture, and what the decoder knows to decode, is $q(z)$ with its noise; and since $\mu$ and $\sigma$ are computed once, a fresh draw costs nothing.

# %%
recipe = DDPMConfig(network="mlp", widths=[64], blocks=2, schedule="straight", target="flow", batch_size=128)
torch.manual_seed(seed)
noise = make_diffusion(recipe)
model.net = make_mlp(recipe, ImageSet(torch.zeros(1, *model.shape), None, []))
optimizers, average = make_optimizers(model.net, "adam", 1e-3, 0.99), EMA(model.net, 0.99)
for _ in range(1000):
    loss = denoising_loss(model.net, recipe, noise, model.to_map(draw_posterior(mu, logvar, 128)), None)
    model.net.zero_grad()
    loss.backward()
    optimizers["opt"].step()
    average.update(model.net)
denoiser_of_codes = CodeDenoiser(average.model, noise, "flow")
drawn["flow"] = model.to_code(flow_heun(denoiser_of_codes, (10_000, *model.shape), 20, seed))


# %% [markdown]
# All four as densities. As a number: the **energy distance** $2\,\mathbb E|a-b|-\mathbb E|a-a'|-\mathbb E|b-b'|$ between draws $a$ and codes $b$ of *test* images, whose floor is that of codes of training images.

# %%
def energy_distance(a, b):
    "Of two sets of points (N, D), (M, D), Szekely and Rizzo 2013; 0 in expectation if they have one law."
    apart = lambda x: torch.cdist(x, x).sum() / (len(x) * (len(x) - 1))
    return (2 * torch.cdist(a, b).mean() - apart(a) - apart(b)).item()


torch.manual_seed(seed)
drawn["codes, $q(z)$"] = draw_posterior(mu, logvar, 10_000)
others = draw_posterior(mu, logvar, 5000)
distances = {source: energy_distance(z[:5000], others) for source, z in drawn.items()}
fig, axes = plt.subplots(1, 4, figsize=(8.5, 2.5), layout="constrained", sharey=True)
for ax, (source, z) in zip(axes, drawn.items(), strict=True):
    show_density(ax, z, f"{source}\n{distances[source]:.4f}")
assert distances["flow"] < 0.05 * distances["prior"] and distances["mixture"] < 0.05 * distances["prior"]


# %% [markdown]
# In the plane ten Gaussians are hard to beat. By this distance the mixture is the nearest; the flow, whose picture is the smoother one after a thousand updates, comes next; both are hundreds of times nearer than the prior. It takes more images, and codes that say more, for the flow to win, as it does on MNIST [below](#On-MNIST-and-on-64x64-pixels).
#
# ## Codes that are maps
#
# Sixteen numbers are enough for a digit. A photograph needs hundreds, and a dense layer from 64x64 colour pixels to a thousand numbers has millions of weights and forgets what lies next to what. So latent diffusion keeps the code a **map**: the encoder of 04_vae, without its dense layer. The class `VAE` wants codes in a row, $d=C\cdot h\cdot w$ numbers; so the encoder flattens its map, channels first, and the decoder begins by undoing that. (`genlab.vae` and everything that it does with codes stays as it is.)

# %%
#| export
def code_shape(config: RunConfig, data: ImageSet) -> tuple[int, int, int]:
    "(C, h, w) of a map of `config.latent` numbers, a quarter as high and wide as images. ValueError if none."
    places = halved_twice(config, data)[1][1:]
    channels, left = divmod(config.latent, math.prod(places))
    if left or not channels:
        what = f"{config.latent} numbers cannot be shared among {places[0]}x{places[1]} places"
        raise ValueError(f"latent: {what}; choose a multiple of {math.prod(places)}.")
    return channels, *places


def spatial(config: RunConfig, data: ImageSet) -> tuple[nn.Module, nn.Module]:
    "As `residual`, without dense layers: the code is a map, see `code_shape`."
    channels, shape = data.images.shape[1], code_shape(config, data)
    w, _ = halved_twice(config, data)
    encoder = nn.Sequential(
        nn.Conv2d(channels, w, 4, 2, 1), Residual(w), *normalise(w),
        nn.Conv2d(w, 2 * w, 4, 2, 1), Residual(2 * w), *normalise(2 * w),
        nn.Conv2d(2 * w, 2 * shape[0], 3, padding=1), nn.Flatten(),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Unflatten(1, shape), nn.Conv2d(shape[0], 2 * w, 3, padding=1),
        Residual(2 * w), *normalise(2 * w), nn.ConvTranspose2d(2 * w, w, 4, 2, 1),
        Residual(w), *normalise(w), nn.ConvTranspose2d(w, channels, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    decoder.shape = shape  # `LatentModel` looks for it
    return encoder, decoder


NETWORKS["vae"]["spatial"] = spatial

# %%
#| hide
tiny = VAEConfig(network="spatial", width=8, latent=48, dataset="tinted_digits")
pair = spatial(tiny, load_dataset("tinted_digits"))
assert pair[1].shape == (3, 4, 4)
x = torch.randn(2, 3, 16, 16)
before = pair[0][:-1](x)  # the map before it is flattened, means first
mu, _ = VAE(48, *pair).encode(x)
assert torch.equal(mu.view(2, 3, 4, 4), before[:, :3]) and torch.equal(pair[1][0](mu), before[:, :3])
with pytest.raises(ValueError, match="latent: 40 numbers .* among 4x4 places; choose a multiple of 16"):
    spatial(tiny.model_copy(update={"latent": 40}), load_dataset("tinted_digits"))


# %% [markdown]
# A small weight $\beta$ of the KL term makes reconstructions sharp: the code may say more. The prior then fits the codes even less, but who draws from the prior? That is the flow's task now. (Rombach et al. add a distance in the features of a trained network and the verdict of a discriminator, for photographs. Here `adversarial` makes the first stage a VAE-GAN, as in [04b_vae_gan](04b_vae_gan.ipynb). It shows its discriminator draws from the prior, too, which suits a small $\beta$ badly, and was not measured.)
#
# ## A configuration of two
#
# A latent diffusion model is a VAE and a diffusion model, and so is its configuration. The **first stage** is an ordinary run of 04_vae, in a folder of its own, that is trained if it is not there; so several second stages share it.

# %%
#| export
class LatentConfig(RunConfig):
    "A run of latent diffusion; its first stage is a run of its own."

    log_line: ClassVar[str] = "loss: {loss:.4f}"
    sample_fields: ClassVar[tuple[str, ...]] = ("n_samples", "sampler", "steps")

    model: Literal["latent"] = "latent"
    name: str = Field("latent", pattern=r"^[\w.-]+$")
    batch_size: PositiveInt = 64
    ema: float = Field(0.99, ge=0, lt=1)
    network: key_of(NETWORKS["vae"]) = "spatial"  # of the first stage, as the next five
    width: int | None = Field(16, ge=8, multiple_of=8)
    latent: PositiveInt = 32
    beta: float = Field(0.1, ge=0)
    adversarial: float = Field(0.0, ge=0)
    first_epochs: PositiveInt = 12
    denoiser: key_of(NETWORKS["ddpm"]) = "mlp"  # of the second stage, as all below
    widths: list[int] = Field([256], min_length=1)
    blocks: int = Field(3, gt=0, le=100)
    schedule: key_of(SCHEDULES) = "straight"
    target: Literal["eps", "x0", "v", "flow"] = "flow"
    conditional: bool = False
    optimizer: Literal["adam", "muon"] = "adam"
    lr: PositiveFloat = 1e-3
    sampler: key_of(SAMPLERS) = Field("flow_heun", exclude=True)
    steps: PositiveInt = Field(10, exclude=True)

    @model_validator(mode="after")
    def _consistent(self):
        first_config(self), flow_config(self)  # each says what is wrong with its part
        if self.network == "fsq" and self.beta:
            raise ValueError(f"beta: quantised codes have no KL term to weigh with {self.beta}; use beta=0.")
        return self


# %%
#| export
def _shared(config: LatentConfig, names: str) -> dict:
    return {name: getattr(config, name) for name in names.split()}


def first_config(config: LatentConfig) -> VAEConfig:
    "The first stage."
    same = _shared(config, "dataset size subset seed precision network width latent beta adversarial")
    return VAEConfig(**same, epochs=config.first_epochs, metrics=[])


def flow_config(config: LatentConfig) -> DDPMConfig:
    "The second stage: what a diffusion run on codes would be."
    same = _shared(config, "seed precision widths blocks schedule target conditional optimizer lr sampler")
    return DDPMConfig(**same, steps=config.steps, network=config.denoiser)


@fits_memory
def make_latent(config: LatentConfig, data: ImageSet) -> LatentModel:
    "Both stages, fresh, for images like those of `data`. ValueError if they cannot be."
    model = LatentModel(make_vae(first_config(config), data))
    codes = data._replace(images=torch.empty(1, *model.shape))
    model.net = fresh_network(flow_config(config), codes)
    return model


# %% [markdown]
# The second stage follows the pattern of all runs. Two things are special. The images are encoded once, before the first update. And a batch is asked for the *numbers* of its images, by which codes and classes are found. (Only if all codes would take more than a gigabyte, as with four numbers at each of 16x16 places those of 200,000 photographs do, is each batch encoded when its turn comes. Then memory does not grow with the set.) What is kept after training is all that samples need, both networks and the statistics.

# %%
#| export
def train_first(config: LatentConfig) -> tuple[VAE, dict]:
    "The trained first stage, from its folder if it is there, and what its run knows about itself."
    run = Run(first_config(config))
    with run.lock():
        vae = train_vae(run, config.first_epochs)
    keys = ("train_seconds", "parameters", "flops_per_image")
    return vae, {"epochs": config.first_epochs} | {key: run.training.get(key) for key in keys}


# %%
#| export
class Codes(NamedTuple):
    "What is known of the codes of a training set."

    mu: torch.Tensor  # (N, d)
    logvar: torch.Tensor  # (N, d)
    labels: torch.Tensor | None  # (N,)

    def pick(self, i: torch.Tensor) -> "Codes":
        "Those of the images with these numbers, int64 (B,)."
        return Codes(self.mu[i], self.logvar[i], None if self.labels is None else self.labels[i])


def encode_set(model: LatentModel, data: ImageSet, device: torch.device | str) -> Codes:
    "The codes of all images, on `device`; the model takes their statistics."
    mu, logvar = encode_images(model.vae, data.images)
    model.fit(mu, logvar)
    return Codes(mu.to(device), logvar.to(device), None if data.labels is None else data.labels.to(device))


def code_loss(
    model: LatentModel,
    config: DDPMConfig,  # of the second stage
    diffusion: Diffusion,
    codes: Codes,  # of a batch
    classes: int = 0,  # how many; 0: the denoiser is not told
) -> torch.Tensor:  # (), with its gradient
    "The denoiser's loss on codes of these images, drawn anew from q(z | x)."
    x0 = model.to_map(reparameterise(codes.mu, codes.logvar))
    return denoising_loss(model.net, config, diffusion, x0, codes.labels if classes else None, classes)


# %%
#| hide
spy = LatentModel(VAE(4, nn.Identity(), nn.Identity()), Says())
spy.mean.fill_(2.0)
spy.sd.fill_(0.5)
few = Codes(torch.arange(12.0).view(3, 4), torch.full((3, 4), -60.0), torch.tensor([5, 6, 7]))
least = DDPMConfig(T=1, steps=1, schedule="linear")  # one level, with a ten thousandth of noise
code_loss(spy, least, make_diffusion(least), few.pick(torch.tensor([2, 0])))
assert torch.allclose(spy.net.seen[0].flatten(1), (few.mu[[2, 0]] - 2) / 0.5, atol=0.2)
assert spy.net.seen[1] is None, "not told"
noisy = few._replace(logvar=torch.zeros(3, 4))
code_loss(spy, least, make_diffusion(least), noisy.pick(torch.arange(3).repeat(500)), 1000)
spread = (spy.net.seen[0].flatten(1) - (few.mu.repeat(500, 1) - 2) / 0.5).std()
assert abs(spread - 2) < 0.1, "the encoder's noise, of variance 1, in units of 0.5"
told = spy.net.seen[1]
assert (told[told < 1000] == few.labels.repeat(500)[told < 1000]).all() and 100 < (told == 1000).sum() < 200

# %%
#| export
MOST_CODES = 2**30  # bytes up to which the codes of all images are kept
ENOUGH = 10_000  # images whose codes have the statistics of all


def code_batches(run: Run, model: LatentModel, data: ImageSet, *arguments, **parts) -> Iterator[Codes]:
    "As `run.batches` with these arguments, but codes; first the model takes their statistics."
    n, device = len(data.images), model.mean.device
    if 8 * model.vae.latent * n <= MOST_CODES:
        codes, nothing = encode_set(model, data, device), torch.empty(n, 1, 1, 1, dtype=torch.uint8)
        for _, i in run.batches(ImageSet(nothing, torch.arange(n), []), *arguments, **parts):
            yield codes.pick(i)
        return
    encode_set(model, take(data, min(ENOUGH, n)), device)
    for x, y in run.batches(data, *arguments, **parts):
        with torch.no_grad():
            codes = Codes(*model.vae.encode(x), y)
        yield codes


# %%
#| export
def train_latent(run: Run, epochs: int) -> LatentModel:
    "Train `run` until `epochs` epochs are done, from where it stands; the first stage before, if need be."
    config, accelerator, data = run.config, make_accelerator(run.config.precision), run.config.training_set()
    device, second = accelerator.device, flow_config(config)
    model = make_latent(config, data).to(device)
    if run.load_weights(epochs, model):
        return model
    model.vae, first = train_first(config)
    diffusion, net = make_diffusion(second).to(device), model.net
    classes = len(data.classes) if config.conditional else 0
    average, optimizers = EMA(net, config.ema), make_optimizers(net, config.optimizer, config.lr, 0.99)
    run.costs = _costs(model, config, data) | {"first": first}
    for codes in code_batches(run, model, data, epochs, device, net=net, average=average, **optimizers):
        with accelerator.autocast():
            loss = code_loss(model, second, diffusion, codes, classes)
        net.zero_grad()
        accelerator.backward(loss)
        for optimizer in optimizers.values():
            optimizer.step()
        average.update(net)
        run.log(loss=loss)
    model.net = average.model
    run.keep_weights(epochs, model)
    return model


# %%
#| export
def _costs(model: LatentModel, config: LatentConfig, data: ImageSet) -> dict:
    "Of the second stage alone, see `count_costs`."
    second, noise = flow_config(config), make_diffusion(flow_config(config)).to("meta")
    classes = len(data.classes) if config.conditional else 0
    count = lambda net, x, y: denoising_loss(net, second, noise, x, y, classes).backward()
    return count_costs(count, config, data._replace(images=torch.empty(1, *model.shape)), model.net)


# %% [markdown]
# A sample is noise, led by the sampler to a code, and decoded once. Like the other sources of 04_vae, the flow gives codes in a row, number $i$ from its own seed:

# %%
#| export
def flow_codes(
    model: LatentModel,
    config: LatentConfig,
    n: int,
    seed: int = 0,  # code i depends on (seed, i), and on its class, only
    labels: torch.Tensor | None = None,  # classes to draw, int64 (n,), of a model that is told
    batch_size: int = 500,
) -> tuple[torch.Tensor, int]:  # float32 (n, d), on the CPU; evaluations of the denoiser for a code
    "Codes to decode, from the flow; a fourth source beside those of `genlab.vae.draw_codes`."
    draw, second, codes = look_up("sampler", config.sampler, SAMPLERS), flow_config(config), []
    diffusion = make_diffusion(second)
    for start in range(0, n, batch_size):
        asked = labels[start : start + batch_size] if config.conditional else None
        denoiser = CodeDenoiser(model.net, diffusion, second.target, asked, precision=config.precision)
        shape = (min(batch_size, n - start), *model.shape)
        x = draw(denoiser, shape, config.steps, seed, start=start)
        codes.append(model.to_code(x).cpu())
    return torch.cat(codes), denoiser.evaluations


def draw_latent(run: Run, epochs: int) -> torch.Tensor:  # uint8 (N, C, H, W)
    "Train a run until `epochs` epochs are done, and draw its samples."
    return _draw(train_latent(run, epochs), run.config)[0]


def _draw(model: LatentModel, config: LatentConfig) -> tuple[torch.Tensor, int]:
    "Samples of a run, and evaluations of the denoiser for each."
    n = config.n_samples or len(load_dataset(config.dataset, "test", config.size).images)
    labels = spread_classes(config.training_set(), n) if config.conditional else None
    codes, evaluations = flow_codes(model, config, n, config.seed, labels)
    return decode_codes(model.vae, codes), evaluations


# %% [markdown]
# Scored beside the samples: what the same decoder makes of codes from the other three sources. Reconstructions of training images (`posterior`) say how good the second stage could become at best. A mixture is fitted where a code has few numbers; ten covariances of a thousand numbers each are too many for ten thousand codes.

# %%
#| export
FEW = 64  # numbers in a code, for which a mixture is fitted


def other_sources(model: LatentModel, config: LatentConfig, n: int, train: ImageSet) -> dict[str, dict]:
    "The distance of n samples from prior, mixture and posterior, where the run asks for one."
    distance, sources, scores = main_distance(config.metrics), ["prior", "mixture", "posterior"], {}
    if model.vae.latent > FEW:
        sources.remove("mixture")
    for source in sources if distance else []:
        images = decode_codes(model.vae, draw_codes(model.vae, n, config.seed, source, train))
        scores[source] = evaluate(images, config.dataset, [distance])[distance]
    return scores


def latent_pictures(model: LatentModel, config: LatentConfig, test: ImageSet) -> dict[str, np.ndarray]:
    "Arrays for `plot_reconstructions` and `plot_maps`: test images, what comes back, codes, samples."
    mu, _ = encode_images(model.vae, test.images[:16])
    labels = torch.arange(8) % len(test.classes) if config.conditional else None
    z, _ = flow_codes(model, config, 8, config.seed, labels)
    to_map = lambda z: model.to_map(z.to(model.mean.device)).cpu()
    found = {"originals": test.images[:16], "reconstructions": decode_codes(model.vae, mu)}
    found |= {"maps": to_map(mu[:8]), "drawn_maps": to_map(z), "drawn": decode_codes(model.vae, z)}
    return {key: value.numpy() for key, value in found.items()}


# %%
#| export
def plot_maps(pictures: dict[str, np.ndarray], source: str = "test") -> plt.Figure:
    "Eight test images, or samples (source `drawn`), and below each the channels of its code, four at most."
    drawn = source == "drawn"
    images, maps = (pictures[key] for key in (("drawn", "drawn_maps") if drawn else ("originals", "maps")))
    maps = maps[:, :4]
    nrow = 1 + maps.shape[1]
    fig, axes = plt.subplots(nrow, 8, figsize=(5, 0.65 * nrow), layout="constrained")
    for column, image, code in zip(axes.T, images, maps, strict=False):
        show_grid(torch.from_numpy(image[None]), ncol=1, ax=column[0])
        for ax, channel in zip(column[1:], code, strict=True):
            ax.imshow(channel, cmap="coolwarm", vmin=-3, vmax=3)
            ax.set(xticks=[], yticks=[])
    axes[0, 0].set_ylabel("sample" if drawn else "image", fontsize=8)
    for number_, ax in enumerate(axes[1:, 0], 1):
        ax.set_ylabel(f"$z_{number_}$", fontsize=8)
    return fig


# %%
#| export
def run_latent(config: LatentConfig) -> Run:
    "Train both stages, sample and score at each epoch count; what is on disk already is not done again."
    run = Run(config)
    with run.lock():
        for epochs in run.pending():
            check_metrics(config.dataset, config.size, config.metrics)
            model = train_latent(run, epochs)
            train, test = config.training_set(), load_dataset(config.dataset, "test", config.size)
            start = time.perf_counter()
            samples, evaluations = _draw(model, config)
            seconds = time.perf_counter() - start
            run.finish(
                epochs, samples, latent_pictures(model, config, test),
                scores=evaluate(samples, config.dataset, config.metrics, train=train.images),
                sources=other_sources(model, config, len(samples), train),
                sample_seconds=seconds, evaluations=evaluations,
            )  # fmt: skip
    return run


# %% [markdown]
# ## A trained model

# %%
config = LatentConfig.of(globals())
run = run_latent(config)
show_grid(run.samples(epochs)[:32], ncol=16, title=f"{dataset}, {epochs} epochs of the flow");

# %% [markdown]
# What the first stage loses: test images, and what comes back.

# %%
plot_reconstructions(run.pictures(epochs));

# %% [markdown]
# And the codes: of test images, and of samples.

# %%
plot_maps(run.pictures(epochs))
plot_maps(run.pictures(epochs), "drawn");

# %%
#| hide
model = make_latent(config, data)
assert run.load_weights(epochs, model)
labels = spread_classes(data, 9) if conditional else None
alone, together = (flow_codes(model, config, n, seed, labels, 4)[0] for n in (5, 9))
assert torch.allclose(alone, together[:5], atol=1e-4), "code i depends on seed, i and class only"
difference = decode_codes(model.vae, together).int() - run.samples(epochs)[:9].int()
assert difference.abs().max() <= 1, "and these were decoded"
assert not torch.allclose(alone, flow_codes(model, config, 5, seed + 1, labels)[0], atol=0.1)
model.mean += 1
assert torch.allclose(alone + 1, flow_codes(model, config, 5, seed, labels)[0], atol=1e-4), "in its units"

# %%
found = run.metrics(epochs)
scores = {"flow": found["scores"].get("fd_lenet")} | found["sources"]
rows = [{"codes from": source, "fd_lenet": s["value"], "sd": s["sd"]} for source, s in scores.items() if s]
pd.DataFrame(rows).round(1)


# %% [markdown]
# On these digits the mixture wins. There are 1,297 codes, and ten Gaussians of 32 dimensions have 5,609 parameters to describe them with; the flow has seen 630 batches. From the prior, with this small $\beta$, nearly nothing is a digit.
#
# ## Codes that are whole numbers
#
# The codes of the first latent models of this kind were not numbers but *words*: each place of the map was replaced by the nearest vector of a learned list, the codebook (VQ-VAE, [van den Oord et al. 2017](https://arxiv.org/abs/1711.00937)). Then any model of text can generate images. The list is hard to learn: many of its vectors are never the nearest, get no gradient, and are lost. **Finite scalar quantisation** ([Mentzer et al. 2024](https://arxiv.org/abs/2309.15505), FSQ) needs no list. Each channel is squeezed into $[-1,1]$ by a tanh and rounded to one of a few levels, 8, 5, 5 and 5 below, so that a place has one of $8\cdot5\cdot5\cdot5=1000$ words.
#
# Rounding has the derivative zero. So one cheats: forward the rounded value, backward the derivative of the identity (the *straight-through* estimator, [Bengio et al. 2013](https://arxiv.org/abs/1308.3432)). Between $-1$ and $1$ with both ends, $L$ levels are $2k/(L-1)-1$ for $k=0\ldots L-1$. (The paper's grids of even $L$ are shifted by half a step, so that zero is among them; that needs two more lines, and nothing here depends on it.)

# %%
#| export
def snap(
    x: torch.Tensor,  # (B, C, h, w)
    levels: torch.Tensor,  # (C,), 2 at least
) -> torch.Tensor:  # like x
    "Each channel to the nearest of its levels, evenly spaced in [-1, 1]; straight through for the gradient."
    steps = (levels - 1).view(-1, 1, 1)
    nearest = ((x.clamp(-1, 1) + 1) / 2 * steps).round() / steps * 2 - 1
    return x + (nearest - x).detach()


def words(x: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:  # int64 (B, h, w)
    "The word at each place of snapped codes (B, C, h, w), a number below the product of `levels`."
    digits = ((x + 1) / 2 * (levels - 1).view(-1, 1, 1)).round().long()
    place_values = torch.cat([levels.new_ones(1), levels[:-1].cumprod(0)]).long()
    return (digits * place_values.view(-1, 1, 1)).sum(1)


# %% [markdown]
# Odd numbers of levels have zero among them, even ones do not; all have both ends. The gradient is that of the identity, also where rounding jumps:

# %%
levels = torch.tensor([2, 3, 4, 5])
x = torch.linspace(-1.5, 1.5, 3001).repeat(4, 1)[None, :, :, None].requires_grad_()
grid = snap(x, levels)
for channel, L in enumerate(levels.tolist()):
    expected = torch.tensor([2 * k / (L - 1) - 1 for k in range(L)])
    values = grid[0, channel].detach().round(decimals=5).unique()
    assert len(values) == L and torch.allclose(values, expected, atol=1e-5)
    inside = x[0, channel, 500:2501].detach()
    nearest = expected[(inside - expected).abs().argmin(1)]
    assert ((grid[0, channel, 500:2501, 0] - nearest).abs() > 1e-5).sum() <= L, "but for ties"
weights = torch.randn_like(x)
(gradient,) = torch.autograd.grad((snap(x, levels) * weights).sum(), x)
assert torch.equal(gradient, weights)
every = torch.cartesian_prod(*[torch.arange(L) / (L - 1) * 2 - 1 for L in levels.tolist()])
assert sorted(words(every[:, :, None, None], levels).flatten().tolist()) == list(range(120)), "a number each"


# %% [markdown]
# As a network for `NETWORKS["vae"]`: the encoder of `spatial` with tanh and rounding at its end. The class `VAE` asks for a variance, too; it gets one that is practically zero. Then there is no KL term either ($\beta$ must be 0). The decoder rounds what it is given before it looks at it.

# %%
#| export
class Snap(nn.Module):
    "`snap` as a layer, for codes in a row (B, d)."

    def __init__(self, shape: tuple[int, int, int], levels: tuple[int, ...]):
        super().__init__()
        self.shape = shape
        self.register_buffer("levels", torch.tensor(levels))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return snap(z.float().view(-1, *self.shape), self.levels).flatten(1)


class Quantised(nn.Module):
    "An encoder whose means are snapped, and whose log-variances are -30."

    def __init__(self, encoder: nn.Module, snap: Snap):
        super().__init__()
        self.encoder, self.snap = encoder, snap

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mu = self.snap(self.encoder(x).chunk(2, 1)[0].tanh())
        return torch.cat([mu, torch.full_like(mu, -30)], 1)


# %%
#| export
LEVELS = (8, 5, 5, 5)  # of the channels, for 1,000 words


def fsq(config: RunConfig, data: ImageSet) -> tuple[nn.Module, nn.Module]:
    "`spatial` with finite scalar quantisation (Mentzer et al. 2024); a channel for each of LEVELS."
    shape = code_shape(config, data)
    if shape[0] != len(LEVELS):
        numbers = f"{len(LEVELS)} numbers at each of {shape[1]}x{shape[2]} places"
        total = len(LEVELS) * shape[1] * shape[2]
        raise ValueError(f"latent: quantised codes have {numbers}, {total} in all, and not {config.latent}.")
    encoder, decoder = spatial(config, data)
    quantised = nn.Sequential(Snap(shape, LEVELS), *decoder)
    quantised.shape = shape
    return Quantised(encoder, Snap(shape, LEVELS)), quantised


NETWORKS["vae"]["fsq"] = fsq

# %% [markdown]
# An autoencoder with such codes, trained as the one above (its run is a first stage without a second):

# %%
levels = {"network": "fsq", "latent": 4 * (data.images.shape[-1] // 4) ** 2, "beta": 0.0}
vae, _ = train_first(LatentConfig(**config.model_dump() | levels))
test = load_dataset(dataset, "test", size)
back = decode_codes(vae, encode_images(vae, test.images[:16])[0])
plot_reconstructions({"originals": test.images[:16].numpy(), "reconstructions": back.numpy()});

# %%
#| hide
mu, logvar = encode_images(vae, test.images[:4])
x = mu.view(-1, *vae.decoder.shape)
assert torch.allclose(snap(x, torch.tensor(LEVELS)), x, atol=1e-6) and logvar.exp().max() < 1e-12
assert torch.allclose(vae.decode(mu + 0.05), vae.decode(mu), atol=1e-5), "the decoder rounds"

# %% [markdown]
# How many of the thousand words are in use? The **perplexity** $\exp\big(-\sum_kp_k\log p_k\big)$ is the number of words, all equally frequent, that would be as hard to guess.

# %%
codes = encode_images(vae, data.images)[0].view(-1, *vae.decoder.shape)
seen = torch.bincount(words(codes, torch.tensor(LEVELS)).flatten(), minlength=1000).double()
share = seen / seen.sum()
perplexity = torch.special.entr(share).sum().exp().item()
fig, ax = plt.subplots(figsize=(6, 2.2), layout="constrained")
ax.bar(range(1000), share.sort(descending=True).values, width=1)
ax.set(xlabel="word, most frequent first", ylabel="share of all places")
ax.set_title(f"{(seen > 0).sum()} of 1,000 words in use, perplexity {perplexity:.0f}", fontsize=10);


# %% [markdown]
# More than nine of ten words are in use, though nothing in the loss asks for it. That is what the paper reports, and what a learned codebook needs tricks for.
#
# What generates such codes? A transformer that writes them word by word is the usual answer, and another course. The simplest one is the flow from above, as if there were no grid: it learns the snapped codes like any others, and the decoder rounds what comes out of it before it looks at it. From a shell: `papermill nbs/08_latent.ipynb out.ipynb -p name fsq -p network fsq -p latent 64 -p beta 0`.
#
# ## On MNIST and on 64x64 pixels
#
# Two VAEs on MNIST, each with four sources of codes: the one of 04_vae as it is by default ($\beta=1$, 16 numbers, 20 epochs), and one whose code may say more ($\beta=0.1$, 32 numbers, 2 epochs). The flow is the `mlp` from above, with 1,500 updates of 256 codes, 40 seconds of a core. `fd_lenet` of 10,000 samples with its standard deviation, one seed; the floor is 0.86 ± 0.09:
#
# | | prior | mixture | flow | posterior |
# |---|--:|--:|--:|--:|
# | $\beta=1$, 16 numbers, 20 epochs | 47.8 ± 1.6 | 3.7 ± 0.4 | 2.2 ± 0.2 | 3.3 ± 0.4 |
# | $\beta=0.1$, 32 numbers, 2 epochs | 312.1 ± 2.3 | 23.7 ± 0.6 | 7.8 ± 0.4 | 2.0 ± 0.3 |
# | $\beta=0.1$, 32 numbers, 20 epochs; a larger flow | 250.0 ± 1.5 | 17.2 ± 0.5 | 2.1 ± 0.4 | 1.8 ± 0.3 |
#
# With a code that says much, ten Gaussians no longer describe how it is distributed. The flow has a third of their distance, and an eighth of it with more training (`widths` 256, `blocks` 3, 20 epochs of batches of 256, 111 s); then it is as near as the reconstructions, so that nothing is left for it to win. With the small code of $\beta=1$ there is less to win, and it is 0.6 of it.
#
# There the flow is even nearer than the reconstructions. It is not better than the codes that it learns from: a distance does not know what it *should* reward. With random training images and the encoder's noise times 0, 0.7, 1, 1.4 and 1.7 it is 4.6, 3.9, 3.2, 2.2 and 1.7. The decoder of this VAE makes images of too little variety, and codes that are spread too far make up for that. So `posterior` is what a perfect flow would have, and no lower bound.
#
# <details><summary>How it was measured</summary>
#
#     from genlab.latent import (
#         LatentConfig, code_loss, encode_set, flow_codes, flow_config, make_latent, train_first,
#     )
#
#     config = LatentConfig(
#         dataset="mnist", network="residual", latent=16, beta=1.0, first_epochs=20, precision="bf16",
#         batch_size=256, ema=0.999,
#     )  # and latent=32, beta=0.1, first_epochs=2
#     data, second = config.training_set(), flow_config(config)
#     model = make_latent(config, data)
#     model.vae, _ = train_first(config)
#     codes, noise = encode_set(model, data, "cpu"), make_diffusion(second)
#     torch.manual_seed(0)
#     average, optimizers = EMA(model.net, 0.999), make_optimizers(model.net, "adam", 1e-3, 0.99)
#     for _ in range(1500):
#         loss = code_loss(model, second, noise, codes.pick(torch.randint(60_000, (256,))))
#         model.net.zero_grad()
#         loss.backward()
#         optimizers["opt"].step()
#         average.update(model.net)
#     model.net = average.model
#     sources = {s: draw_codes(model.vae, 10_000, 0, s, data) for s in ("prior", "mixture", "posterior")}
#     sources["flow"] = flow_codes(model, config, 10_000)[0]
#     for source, z in sources.items():
#         print(source, evaluate(decode_codes(model.vae, z), "mnist")["fd_lenet"])
#
# (The VAE alone takes most of the time: twelve minutes of a core for 20 epochs.)
#
# </details>
#
# For colour images of 64x64 pixels, what is saved, in multiplications and additions. Codes have 4 numbers at each of 16x16 places; a sample takes 19 evaluations (`flow_heun` in 10 steps):
#
# | | parameters (10⁶) | MFLOP a training image | MFLOP a sample |
# |---|--:|--:|--:|
# | U-Net on pixels, widths 16, 32, 64 | 0.47 | 1,195 | 7,593 |
# | U-Net on codes, widths 32, 64 | 0.43 | 179 | 1,165 |
# | U-Net on codes, widths 32, 64, 128 | 1.40 | 287 | 1,845 |
# | autoencoder (each image once, 26 to encode it) | 0.07 | 152 | in the two above, 25 |
#
# From a shell, for a folder of such images without labels: `papermill nbs/08_latent.ipynb out.ipynb -p dataset folder:PATH -p size 64 -p latent 1024 -p denoiser unet -p blocks 1 -y "{widths: [32, 64], metrics: [fd_photo]}"`.
#
# In time of one core, an update of 64 images took 1.0 to 1.4 s on pixels (measured twice, on a busy machine), 0.11 s and 0.15 s on codes, and 0.13 s for the autoencoder. With the 157 updates of an epoch of 10,000 faces that makes some three minutes on pixels and 17 or 24 seconds on codes; to encode them all takes 5 seconds, once, and an epoch of the autoencoder 20. Sixty-four samples take 6.7 s on pixels, and 0.9 or 1.2 s by codes.
#
# Which of the two makes better faces in equal time? 9,000 faces of CelebA, both networks (widths 16, 32, 64 on pixels; 32, 64 on codes) in bfloat16 with batches of 64 and 19 evaluations, one seed; N = 1,000, floor 14.6 ± 0.2 ([05e_photo](05e_photo.ipynb)). Seconds of one core, beside other work:
#
# | | epochs | training (s) | drawing (s) | `fd_photo` | precision | recall |
# |---|--:|--:|--:|--:|--:|--:|
# | flow on pixels | 2 | 395 | 135 | 185.8 ± 1.3 | 0.06 | 0.00 |
# | flow on codes | 12 + 10 | 166 + 140 | 20 | 103.2 ± 1.2 | 0.36 | 0.00 |
# | | 12 + 30 | 166 + 752 | 26 | 84.9 ± 1.2 | 0.43 | 0.00 |
# | real images | | | | 14.6 ± 0.2 | 0.68 | 0.67 |
#
# On codes the distance is little more than half in less time. All are far from the floor: in these minutes a network learns what a face is, and not yet how different faces are.
#
# ## What to remember
#
# - Detail is cheap to compress and expensive to generate. An autoencoder takes care of it once, and a flow or a diffusion model works on what is left.
# - The codes of all images are not distributed like the prior. Whatever draws codes should learn their own distribution, with the encoder's noise.
# - Standardise codes: a noise schedule means something only relative to the variance of what it is applied to.
# - Reconstructions show what the first stage loses. Compare sources of codes with the *same* decoder, or you compare decoders.
# - Rounding to a fixed grid makes words of codes, and a straight-through gradient trains the encoder.
#
# ## Exercises
#
# 1. Let the flow of the toy learn codes that are ten times too large, or too small (`model.sd /= 10` or `model.sd *= 10` after `model.fit`). What happens to its samples, and why?
# 2. Show that over all training images the KL term of a VAE is, on average, $I(x;z)+\mathrm{KL}(q(z)\,\Vert\,p(z))$. What does it say about the best prior, and about what is left for a KL term to do?
# 3. How many bits does a quantised code of one digit take, if every word may come next, and if words are coded by how frequent they are?
#
# ## Solutions
#
# <details><summary>1. Codes of another size</summary>
#
# | codes | energy distance | standard deviation of the flow's codes over that of $q(z)$ |
# |---|--:|--:|
# | standardised | 0.0007 | 1.00, 0.99 |
# | ten times too large | 0.0010 | 1.02, 1.02 |
# | ten times too small | 0.0118 | 0.93, 0.94 |
#
# Small codes suffer. Noise hides them as soon as $\tau/(1-\tau)$ is above 0.1, so that all is decided below $\tau=0.09$, where 20 even steps have two. And in the loss, the squared error of $\varepsilon-x_0$, they count a hundredth of what the noise does. Large codes do not suffer here: they rule the loss, and a flow that is given a little noise too much forgives it. The size to be afraid of is the other one.
#
# </details>
#
# <details><summary>2. What the KL term is made of</summary>
#
# Insert $q(z)$ into the logarithm:
#
# $$\frac1N\sum_i\mathbb E_{q(z|x_i)}\log\frac{q(z\,|\,x_i)}{p(z)}=\frac1N\sum_i\mathbb E_{q(z|x_i)}\log\frac{q(z\,|\,x_i)}{q(z)}+\mathbb E_{q(z)}\log\frac{q(z)}{p(z)}.$$
#
# The first term is the mutual information of image number and code, what the code says about the image. The second is what the prior costs, and it is zero for $p(z)=q(z)$, the best prior for this encoder ([Hoffman and Johnson 2016](http://approximateinference.org/accepted/HoffmanJohnson2016.pdf)). A flow on codes comes near to that, whatever $q(z)$ is; so the KL term need no longer press $q(z)$ into a normal distribution. What is left for it is the first term, how much a code may say, and a small $\beta$ is a generous answer. (Trained together with the flow, as Vahdat et al. do, both terms are paid for at their price.)
#
# </details>
#
# <details><summary>3. Bits of a code</summary>
#
# A digit of 16x16 pixels has 16 places. If each word may come next, they take $16\log_2 1000=159$ bits. Coded by frequency, a word takes $\log_2$ of the perplexity on average, for a perplexity of 602 that is 9.2 bits, in all 148. There is little to gain, as words are used evenly. The pixels are 2,048 bits.
#
# </details>
#
# ## Its latent space
#
# For paths between images ([06_interpolation](06_interpolation.ipynb)): the flow's noise, from which its equation leads to a code and the decoder to an image; and back. From here on nothing new is said; the cells serve other notebooks and the report.

# %%
#| export
def latent_diffusion_space(run: Run, epochs: int, steps: int = 20) -> LatentSpace:
    "The noise of a trained run; `steps` from there to a code. An image's code is the mean of q(z | x)."
    second = flow_config(run.config).model_copy(update={"precision": "no"})
    model = make_latent(run.config, run.config.training_set())
    load_or_explain(run, epochs, model)
    model = model.to(make_accelerator().device)
    denoiser = CodeDenoiser(model.net, make_diffusion(second), second.target)
    times, device = karras_times(denoiser.diffusion, steps)[:-1], denoiser.device

    @torch.no_grad()
    def decode(z: torch.Tensor) -> torch.Tensor:
        return model.vae.decode(model.to_code(flow(denoiser, z.to(device), times))).cpu()

    @torch.no_grad()
    def encode(x: torch.Tensor) -> torch.Tensor:
        return flow(denoiser, model.to_map(model.vae.encode(x.to(device))[0]), times[::-1]).cpu()

    return LatentSpace("latent", model.shape, decode, describe_run(run, epochs), encode)


# %%
#| hide
space = latent_diffusion_space(run, epochs)
some = torch.randn(6, *space.shape)
assert space.decode(some).shape[1:] == data.images.shape[1:]
codes = space.encode(space.decode(some))
assert codes.shape == some.shape
assert torch.corrcoef(torch.stack([codes.flatten(), some.flatten()]))[0, 1] > 0.5, "nearly back again"


# %% [markdown]
# ## Its section of the report

# %%
#| export
def sources_table(runs: pd.DataFrame, label: str) -> str:
    "Frechet distances by the source of the codes; the flow's are the samples of the run."
    rows = []
    for r in runs.itertuples():
        known = (value_at(r.metrics, "sources") or {}) | {"flow": distance_score(r.metrics)}
        found = [known.get(source) or {} for source in ("prior", "mixture", "flow", "posterior")]
        distances = [uncertain(score.get("value"), score.get("sd")) for score in found]
        floor = uncertain(found[2].get("floor"), found[2].get("floor_sd"))
        rows.append([r.label, r.epochs, number(value_at(r.metrics, "n_samples"), 0), *distances, floor])
    caption = (
        f"{distance_heading(runs)} by the source of the codes, all decoded alike: the normal prior; "
        "a mixture of ten Gaussians fitted to codes of training images (for codes of few numbers); the flow; "
        "training images themselves, which gives reconstructions, not new images."
    )
    header = ["run", "epochs", "$N$", "prior", "mixture", "flow", "posterior", "floor"]
    return markdown_table(rows, header, caption, label)


def stages_table(runs: pd.DataFrame, label: str) -> str:
    "Seconds and operations of both stages."
    rows = []
    for r in last_of_each(runs).itertuples():
        row = [r.label]
        for stage in (value_at(r.metrics, "first") or {}, r.metrics):
            flops = stage.get("flops_per_image")
            row += [number(stage.get("epochs"), 0), number(stage.get("train_seconds"), 1)]
            row.append(number(flops and flops / 1e6))
        rows.append(row)
    caption = (
        "Epochs, seconds of training, and millions of operations for a training image, "
        "of the autoencoder (1) and of the flow on its codes (2)."
    )
    stages = [f"{what} ({stage})" for stage in (1, 2) for what in ("epochs", "seconds", "MFLOP/image")]
    return markdown_table(rows, ["run", *stages], caption, label)


# %%
#| hide
known = {
    "n_samples": 500, "epochs": 60, "train_seconds": 9.04, "flops_per_image": 2.5e6,
    "first": {"epochs": 20, "train_seconds": 7.5, "flops_per_image": 4e7},
    "sources": {"prior": {"value": 300.0, "sd": 9.0}, "posterior": {"value": 15.0, "sd": 2.0}},
    "scores": {"fd_lenet": {"value": 30.0, "sd": 3.0, "floor": 13.4, "floor_sd": 7.1}},
}  # fmt: skip
made_up = pd.DataFrame([{"dataset": "digits", "label": "latent", "epochs": 60, "metrics": known}])
assert "| latent | 60 | 500 | 300(9) | — | 30(3) | 15(2) | 13(7) |" in sources_table(made_up, "s")
assert "| latent | 20 | 7.5 | 40.00 | 60 | 9.0 | 2.50 |" in stages_table(made_up, "t")

# %%
#| export
METHOD = r"""# Latent diffusion {#sec-latent}

## Method {#sec-latent-method}

An autoencoder compresses images, and a diffusion model generates its codes [@rombach2022; @vahdat2021].
The first stage is a VAE [@kingma2014] with a small weight of its KL term, so that little is lost;
its codes are a map a quarter as high and wide as the image, or a row of numbers.
The second stage learns to draw from the codes of all images together, with the encoder's noise.
For this they are standardised, to mean 0 and variance 1 in each channel, and the denoiser is trained on a
straight line between code and noise [@lipman2023] unless @tbl-provenance says otherwise.
With finite scalar quantisation [@mentzer2024] each number of a code is rounded to one of a few levels.
"""

PICTURES = {  # caption and width
    "reconstructions": ("test images (above) and what comes back (below).", "80%"),
    "maps": ("test images and the channels of their codes, four at most.", "50%"),
    "drawn": ("samples and the codes that the flow drew for them.", "50%"),
}


# %%
#| export
def latent_pictures_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "Of each run after its last epoch: reconstructions, codes of test images, codes of samples."
    parts = []
    for r in with_pictures(runs).itertuples():
        pictures = r.job.run.pictures(r.epochs)
        drawn = {"reconstructions": plot_reconstructions(pictures).figure, "maps": plot_maps(pictures)}
        drawn["drawn"] = plot_maps(pictures, "drawn")
        for kind, fig in drawn.items():
            stem, (caption, width) = f"latent-{kind}-{slug(r.label)}", PICTURES[kind]
            save_figure(fig, folder / stem)
            about = f"{r.label} after {plural(r.epochs, 'epoch')}: {caption}"
            parts.append(figure(folder, stem, about, stem, width))
    return "\n".join(parts) or NONE


# %%
#| export
def latent_section(runs: pd.DataFrame, folder: Path) -> Section:
    "The chapter on latent diffusion; losses as numbers and the pictures of each run go to the appendix."
    panels = {"mean squared error": {"loss": "loss"}}
    losses = loss_curves(runs, folder, panels, "Losses of the flows on codes.", "losses-latent", "log")
    text = [
        METHOD,
        "## Losses {#sec-latent-losses}\n",
        "This is the loss of the second stage. Its codes are standardised, whatever the first one made.\n",
        losses,
        "## Samples {#sec-latent-samples}\n",
        "Noise becomes a code, and the decoder makes an image of it.\n",
        sample_sheets(runs, folder, "samples-latent"),
        "## Where codes come from {#sec-latent-sources}\n",
        "One decoder draws all images that are compared here; what differs is the source of the codes.\n",
        sources_table(runs, "latent-sources"),
        stages_table(runs, "latent-stages"),
    ]
    appendix = [
        "## Latent diffusion: losses and codes {#sec-latent-appendix}\n",
        loss_table(runs, {"loss": "mean squared error"}, "latent-losses"),
        latent_pictures_fragment(runs, folder),
    ]
    return Section("\n".join(text), "\n".join(appendix))


KINDS["latent"] = Kind(
    "latent diffusion model", "08_latent", LatentConfig, run_latent, latent_section, latent_diffusion_space,
    draw_latent,
)  # fmt: skip
