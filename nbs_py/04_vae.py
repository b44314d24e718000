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
# # Variational autoencoders
#
# > One network turns an image into a few numbers, another turns them back, and both are trained so that the numbers can be drawn at random: from the autoencoder to a bound on the probability of an image, how tight it is, and where samples come from
#
# A GAN ([01_gan](01_gan.ipynb)) makes images but cannot say how probable a given image is. A diffusion model ([02_ddpm](02_ddpm.ipynb)) can bound that probability, at the price of many steps. The **variational autoencoder**, VAE for short ([Kingma and Welling 2014](https://arxiv.org/abs/1312.6114)), makes an image in a single step and bounds its probability, too. Its loss is an estimate of that bound, with the sign changed. To each image belong a few numbers, and to each choice of numbers an image. Its samples are the blurriest of the three: [Reconstructions](#Reconstructions) says why, and [04b_vae_gan](04b_vae_gan.ipynb) what helps.
#
# Change the parameters below and run the notebook, or run it from a shell: `papermill nbs/04_vae.ipynb out.ipynb -p dataset mnist -p epochs 20`. Numbers in the text are of one run with seed 0 on `digits`, unless it says otherwise; on another machine they differ a little, because it rounds differently.

# %%
#| default_exp vae

# %% tags=["parameters"]
dataset = "digits"  # digits, tinted_digits, mnist, fashion_mnist, cifar10, celeba, hf:REPO or folder:PATH
epochs = 60  # passes over the training set
snapshots = [1, 5, 20]  # look at the model after these epoch counts, too
name = "vae"  # a word for the run's folder
size = None  # pixels a side, a multiple of 4; None: the data set's own
subset = None  # train on so many images, or on this share of them; None: all
batch_size = 64  # images in an update
network = "residual"  # residual, conv or mlp, explained below
width = 16  # channels at half the resolution, a multiple of 8; None: 32 from 24 pixels on, else 16
latent = 16  # numbers in z
likelihood = "laplace"  # of pixels given z: laplace, gaussian, bernoulli, or logistic in 256 bins
scale = 1.0  # spread of that likelihood, in units of pixels in [-1, 1]; None: learned
beta = 1.0  # weight of the KL term; 1: the ELBO
adversarial = 0.0  # weight of a discriminator's verdict; above 0 the model is a VAE-GAN, see 04b_vae_gan
optimizer = "muon"  # muon: for matrices and kernels, with Adam for the rest; adam: for all
lr = 1e-3  # Adam's learning rate; Muon's is 20 times as large
ema = 0.0  # sample from a moving average of the weights with this decay; 0: from the last weights
seed = 0  # all randomness follows from it
precision = "no"  # bf16: bfloat16 autocast
n_samples = None  # images to draw and score; None: as many as there are test images
side_epochs = 60  # of the small model with two latent numbers; 0: leave it out
metrics = ["fd_lenet"]  # fd_lenet, precision, recall, memorisation and more: see 05_fid

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import copy
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.patheffects import withStroke
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from scipy.special import ndtr
from sklearn.mixture import GaussianMixture
from torch import nn

from genlab.data import ImageSet, load_dataset, show_grid, to_image, to_model
from genlab.fid import check_metrics, evaluate, main_distance
from genlab.interpolation import LatentSpace, describe_run, load_or_explain
from genlab.plug import KINDS, NETWORKS, Kind, Section, key_of, look_up
from genlab.runs import (
    EMA,
    Run,
    RunConfig,
    count_costs,
    fits_memory,
    latents,
    make_accelerator,
    make_optimizers,
    seed_everything,
)
from genlab.tables import (
    NONE,
    distance_heading,
    distance_score,
    escape,
    figure,
    loss_curves,
    loss_table,
    markdown_table,
    number,
    plural,
    plus_minus,
    sample_sheets,
    save_figure,
    slug,
    uncertain,
    value_at,
    with_pictures,
)

# %%
#| hide
import tempfile

import pytest
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

import genlab.vae
from genlab.gan import layer_table
from genlab.runs import plot_history

# wrong values, and networks that cannot be or do not fit into memory, are said now and not half way down
planned = genlab.vae.VAEConfig.of(globals())
genlab.vae.make_vae(planned, planned.training_set())

# %%
data = load_dataset(dataset, "train", size)
test = load_dataset(dataset, "test", size)
show_grid(data.images[:32], ncol=16, title=f"{dataset}: real images");

# %% [markdown]
# ## Step 1: an autoencoder, and why it is not enough
#
# An **autoencoder** is two networks: an **encoder** turns an image $x$ into a few numbers $z$, its *code* or *latent* numbers; a **decoder** turns $z$ back into an image. They are trained to bring $x$ back. With two numbers for a code, one can look at all codes at once. The cell below trains one on the 8x8 originals of `digits` in plain PyTorch, in a few seconds:

# %%
toy = load_dataset("digits", "train", 8)
pixels = to_model(toy.images).flatten(1)


def train_toy(loss_of, outputs, updates=1500):
    "An encoder with so many outputs and a decoder of two numbers, trained on `loss_of(encoder, decoder, x)`."
    seed_everything(0)
    encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, outputs))
    decoder = nn.Sequential(nn.Linear(2, 128), nn.ReLU(), nn.Linear(128, 64), nn.Tanh())
    opt = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 2e-3)
    for _ in range(updates):
        loss = loss_of(encoder, decoder, pixels[torch.randint(len(pixels), (128,))])
        opt.zero_grad()
        loss.backward()
        opt.step()
    return encoder, decoder


autoencoder = train_toy(lambda encoder, decoder, x: (x - decoder(encoder(x))).abs().sum(1).mean(), outputs=2)


# %% [markdown]
# Below left are the codes, with each digit written at the centre of its class; the dashed line would enclose 95 % of draws from a standard normal distribution. Right is what the decoder makes of such draws:

# %%
#| export
def name_classes(ax: plt.Axes, points: np.ndarray, labels: np.ndarray) -> None:
    "Write the number of each class over the median of its points (N, 2)."
    outline = [withStroke(linewidth=3, foreground="white")]
    for label in np.unique(labels):
        centre = np.median(points[labels == label], axis=0)
        ax.text(*centre, str(label), ha="center", va="center", weight="bold", path_effects=outline)


# %%
def look_at_toy(encoder, decoder, title):
    fig, axes = plt.subplots(1, 2, figsize=(7, 3.2), layout="constrained")
    with torch.no_grad():
        z = encoder(pixels)[:, :2].numpy()  # a VAE's encoder returns more: the first two are means
        draws = latents(64, (2,), 0)  # standard normal, seed 0
        images = to_image(decoder(draws).view(-1, 1, 8, 8))
    axes[0].scatter(*z.T, c=toy.labels, cmap="tab10", s=4, vmin=-0.5, vmax=9.5)
    name_classes(axes[0], z, toy.labels.numpy())
    radius = math.sqrt(-2 * math.log(0.05))  # 95 % of a standard normal in the plane
    axes[0].add_patch(plt.Circle((0, 0), radius, fill=False, linestyle="--", color="0.3"))
    axes[0].set(xlabel="$z_1$", ylabel="$z_2$", title="codes of the training images")
    show_grid(images, ncol=8, ax=axes[1], title="decoded: $z$ from a standard normal")
    fig.suptitle(title)


look_at_toy(*autoencoder, "an autoencoder")


# %% [markdown]
# The codes lie anywhere: some classes are far from the rest, others on top of one another. Nothing in the loss asks for more. Where should one pick a $z$ to get a *new* digit? A draw from a standard normal distribution mostly falls where no code is. Two things are missing: the decoder must be able to cope with codes *near* those of training images, and all codes together must fill a distribution that we can draw from.
#
# ## Step 2: a bound on the probability of an image
#
# Let us say how images come about. First a code is drawn, $z\sim p(z)=\mathcal N(0,I)$, the **prior**; then an image, $x\sim p_\theta(x\,|\,z)$, a distribution over pixels around what the decoder returns. The probability of an image is then
#
# $$p_\theta(x)=\int p_\theta(x\,|\,z)\,p(z)\,dz .$$
#
# Here $\theta$ stands for the decoder's weights, and $\phi$ below for the encoder's. We would like to maximise $\log p_\theta(x)$ over the training images, but the integral cannot be computed, and averaging over draws from $p(z)$ does not help: for nearly every $z$, $p_\theta(x\,|\,z)$ is practically zero. We need to know which $z$ could have made this $x$, and the encoder is trained to tell. It returns not a point but a distribution, $q_\phi(z\,|\,x)=\mathcal N\big(\mu(x),\operatorname{diag}\sigma^2(x)\big)$, a guess at the *posterior* $p_\theta(z\,|\,x)$. How far one distribution is from another is measured by $\mathrm{KL}(q\,\Vert\,p)=\mathbb E_{z\sim q}[\log q(z)-\log p(z)]\ge0$, which is zero only if they are equal; with natural logarithms its unit is the *nat*, $1/\ln2=1.44$ bits. For any $q$,
#
# $$\log p_\theta(x)=\underbrace{\mathbb E_{q}\big[\log p_\theta(x\,|\,z)\big]-\mathrm{KL}\big(q_\phi(z\,|\,x)\,\Vert\,p(z)\big)}_{\text{ELBO}}+\underbrace{\mathrm{KL}\big(q_\phi(z\,|\,x)\,\Vert\,p_\theta(z\,|\,x)\big)}_{\ge0}.$$
#
# To see it, write $p_\theta(x)=p_\theta(x\,|\,z)\,p(z)/p_\theta(z\,|\,x)$ (Bayes), take the logarithm, add and subtract $\log q$, and average over $q$. The first part, the **evidence lower bound** (ELBO), can be estimated from draws of $q$, and we train both networks to raise it. The left side does not depend on $\phi$: whatever $\phi$ adds to the ELBO is taken from the last term, the *gap*, so $q$ comes nearer to the true posterior. What $\theta$ adds raises a lower bound of $\log p_\theta(x)$. The two terms of the ELBO are what was missing in step 1: images must come back from *every* $z$ that $q$ proposes (**reconstruction**), and $q$ must stay close to the prior (**KL**).
#
# ### The KL term
#
# Between two normal distributions it is known in closed form (Kingma and Welling 2014, appendix B), a sum over the $d$ latent numbers:
#
# $$\mathrm{KL}\big(q_\phi(z\,|\,x)\,\Vert\,p(z)\big)=\frac12\sum_{j=1}^d\big(\mu_j^2+\sigma_j^2-1-\log\sigma_j^2\big).$$
#
# The encoder returns $\log\sigma^2$, which may be any number, while $\sigma$ must be positive. The second function below draws the $z$ that the reconstruction term needs. Gradients cannot pass through a random draw, so $z\sim q$ is written as $z=\mu+\sigma\varepsilon$ with $\varepsilon\sim\mathcal N(0,I)$, a function of $\mu$ and $\sigma$ that has gradients (the **reparameterisation trick**):

# %%
#| export
def kl_normal(
    mu: torch.Tensor,  # means (B, d)
    logvar: torch.Tensor,  # logarithms of the variances (B, d)
) -> torch.Tensor:  # (B, d), nats, >= 0
    "KL(N(mu, exp(logvar)) || N(0, 1)) for each latent number (Kingma and Welling 2014, appendix B)."
    return (mu.square() + logvar.exp() - 1 - logvar) / 2


def reparameterise(mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    "z ~ N(mu, exp(logvar)) as a function of noise, so that gradients reach both arguments (ibid., 2.4)."
    return mu + (logvar / 2).exp() * torch.randn_like(mu)


# %% [markdown]
# Three checks: against PyTorch's own formula; against its definition by drawing (a *Monte Carlo* estimate); and zero exactly where $q$ is the prior.

# %%
seed_everything(0)
mu, logvar = torch.randn(2, 3, 5, dtype=torch.float64)
normal = torch.distributions.Normal
q, p = normal(mu, (logvar / 2).exp()), normal(torch.zeros_like(mu), 1.0)
assert torch.allclose(kl_normal(mu, logvar), torch.distributions.kl_divergence(q, p))
z = torch.stack([reparameterise(mu, logvar) for _ in range(20_000)])
draws = q.log_prob(z) - p.log_prob(z)
error = draws.std(0) / len(draws) ** 0.5
assert ((draws.mean(0) - kl_normal(mu, logvar)).abs() < 5 * error).all(), "within five standard errors"
assert (kl_normal(mu, logvar) > 0).all() and not kl_normal(torch.zeros(2, 3), torch.zeros(2, 3)).any()


# %% [markdown]
# ### The reconstruction term
#
# What is the probability of a pixel $x$ if the decoder says $m$? We have to choose, and each common loss is such a choice:
#
# | likelihood | $-\log p(x\,\vert\,m)$ | known as |
# |---|---|---|
# | Laplace, scale $b$ | $\lvert x-m\rvert/b+\log 2b$ | mean absolute error |
# | Gaussian, scale $s$ | $(x-m)^2/2s^2+\log s+\frac12\log2\pi$ | mean squared error |
# | Bernoulli, $v=\frac{1+x}2$, $w=\frac{1+m}2$ | $-v\log w-(1-v)\log(1-w)$ | binary cross-entropy |
# | logistic in 256 bins, scale $s$ | minus the log of the byte's share of a logistic distribution around $m$, a bell with heavier tails than the Gaussian's | see [Kingma et al. 2016](https://arxiv.org/abs/1606.04934), [Salimans et al. 2017](https://arxiv.org/abs/1701.05517) |
#
# Pixels are bytes, scaled to $[-1,1]$.
#
# - The *logistic* alone is a distribution over bytes. Its ELBO is a bound on a probability, and in bits per dimension (per pixel and channel) it can be compared with a diffusion model's.
# - *Laplace* and *Gaussian* are densities. A density times the width of a grey level, $2/255$, is roughly the probability of that grey level (it may come out above 1).
# - *Bernoulli* is meant for black and white. For grey pixels it is no log-probability (it does not integrate to 1, [Loaiza-Ganem and Cunningham 2019](https://arxiv.org/abs/1907.06845)), though the loss is least at $m=x$, as it should be.
#
# The first three are a line or two each:

# %%
#| export
def laplace(x: torch.Tensor, m: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    "log density of pixels x in [-1, 1] given the decoder's m (same shape) and log b."
    return -(x - m).abs() / log_scale.exp() - log_scale - math.log(2)


def gaussian(x: torch.Tensor, m: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    "log density of pixels x in [-1, 1] given the decoder's m (same shape) and log s."
    return -((x - m) / log_scale.exp()).square() / 2 - log_scale - math.log(2 * math.pi) / 2


def bernoulli(x: torch.Tensor, m: torch.Tensor, log_scale: torch.Tensor | None = None) -> torch.Tensor:
    "Minus the binary cross-entropy of (1 + x) / 2 with probability (1 + m) / 2, which is kept off 0 and 1."
    m, v = m.clamp(1e-6 - 1, 1 - 1e-6), (1 + x) / 2
    return v * torch.log1p(m) + (1 - v) * torch.log1p(-m) - math.log(2)


# %% [markdown]
# The distribution function of the logistic is the sigmoid $S(a)=1/(1+e^{-a})$, so a bin's area is a difference of two sigmoids. With the bin's ends $h>l$, measured from $m$ in units of the scale, we use $S(h)-S(l)=S(h)\,S(-l)\,(1-e^{l-h})$, which stays exact far out in the tails, where a difference of sigmoids is rounded to zero. The lowest and highest bin reach to infinity.

# %%
#| export
def logistic(x: torch.Tensor, m: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """log probability of the byte that x in [-1, 1] stands for, under a logistic around m (same shape).

    Kingma et al. 2016, appendix; Salimans et al. 2017, eq. 2.
    """
    half, scale = 1 / 255, log_scale.exp()
    h, l = (x - m + half) / scale, (x - m - half) / scale  # noqa: E741
    lowest, highest = x < half - 1, x > 1 - half
    inside = torch.where(lowest | highest, 0.0, torch.log(-torch.expm1(-2 * half / scale)))
    return F.logsigmoid(h).masked_fill(highest, 0.0) + F.logsigmoid(-l).masked_fill(lowest, 0.0) + inside


LIKELIHOODS: dict[str, Callable] = {  # (x, m, log_scale) -> log probabilities
    "laplace": laplace,
    "gaussian": gaussian,
    "bernoulli": bernoulli,
    "logistic": logistic,
}


# %%
def logistic_from_edges(x, m, s):
    "The same by differences of sigmoids at the ends of the bins, for all 256 bytes in order."
    edges = torch.sigmoid((x[1:] - 1 / 255 - m) / s)
    return torch.cat([edges, torch.ones(1)]).diff(prepend=torch.zeros(1).double())


x, m = torch.arange(256).double() / 127.5 - 1, torch.tensor(0.3).double()
fine = torch.linspace(-60, 60, 600_001, dtype=torch.float64)
for s in (0.01, 0.2, 3.0):
    log_scale = torch.tensor(s, dtype=torch.float64).log()
    probabilities = logistic(x, m, log_scale).exp()
    assert torch.isclose(probabilities.sum(), torch.tensor(1.0).double()), "256 probabilities"
    assert torch.allclose(probabilities, logistic_from_edges(x, m, s), atol=1e-12)
    assert torch.allclose(laplace(fine, m, log_scale), torch.distributions.Laplace(m, s).log_prob(fine))
    assert torch.allclose(gaussian(fine, m, log_scale), normal(m, s).log_prob(fine))
far_out = logistic(torch.tensor([-1.0, 0.0]), torch.ones(2), torch.tensor(-5.0))
assert far_out.isfinite().all(), "no log 0, however far"
cross_entropy = F.binary_cross_entropy((1 + m).expand(256) / 2, (1 + x) / 2, reduction="none")
assert torch.allclose(bernoulli(x, m), -cross_entropy)

# %%
fig, ax = plt.subplots(figsize=(5.5, 2.6), layout="constrained")
for kind in ("laplace", "gaussian", "logistic"):
    log_prob = LIKELIHOODS[kind](x, m, torch.tensor(0.15).log())
    ax.plot(x, log_prob if kind == "logistic" else log_prob - math.log(127.5), label=kind)
ax.set(
    xlabel="pixel $x$ (the decoder says $m=0.3$)",
    ylabel="log-probability\nof a grey level (nats)",
    ylim=(-12, 0),
)
ax.legend(frameon=False, title="scale 0.15");

# %% [markdown]
# The scale says how much an error matters: an error of one scale costs 1 nat (Laplace), half a nat (Gaussian) or about a quarter (logistic). It can be learned along with the weights ([Rybkin et al. 2021](https://arxiv.org/abs/2006.13202), sigma-VAE); then it becomes the size of the errors that are left. What that does to samples is seen in [04b_vae_gan](04b_vae_gan.ipynb).
#
# ## The model
#
# A VAE is an encoder, a decoder and the likelihood's scale. The encoder returns means and log-variances side by side. In the figure, gradients flow back along the solid arrows; the noise $\varepsilon$ comes in from the side, so that nothing random stands in their way.

# %%
#| echo: false
BOXES = {  # text: middle (x, y), width and height, colour
    "image $x$": (0.6, 1, 1.0, 0.8, "0.92"),
    "encoder": (2.2, 1, 1.2, 1.0, "#cfe3f5"),
    "$\\mu(x)$": (4.0, 1.6, 0.9, 0.6, "0.92"),
    "$\\sigma(x)$": (4.0, 0.4, 0.9, 0.6, "0.92"),
    "$z=\\mu+\\sigma\\,\\varepsilon$": (5.9, 1, 1.4, 0.8, "#fbe3c8"),
    "decoder": (7.8, 1, 1.2, 1.0, "#cfe3f5"),
    "$m$": (9.3, 1, 0.8, 0.8, "0.92"),
    "noise $\\varepsilon\\sim\\mathcal{N}(0,I)$": (5.9, -0.45, 2.1, 0.6, "white"),
    "KL to $\\mathcal{N}(0,I)$": (4.0, 2.75, 1.8, 0.6, "#dcefd8"),
    "$\\log p(x\\,|\\,z)$": (9.3, 2.75, 1.5, 0.6, "#dcefd8"),
}


def draw_box(ax, text):
    x, y, width, height, colour = BOXES[text]
    corner, style = (x - width / 2, y - height / 2), "round,pad=0,rounding_size=0.08"
    ax.add_patch(FancyBboxPatch(corner, width, height, boxstyle=style, facecolor=colour, edgecolor="0.3"))
    ax.text(x, y, text, ha="center", va="center", fontsize=10)


def draw_arrow(ax, start, end, style="-"):
    ax.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color="0.2", linestyle=style)
    )


fig, ax = plt.subplots(figsize=(9, 3.5), layout="constrained")
group = FancyBboxPatch((3.35, -0.05), 1.3, 2.1, boxstyle="round,pad=0", facecolor="none", edgecolor="0.5")
ax.add_patch(group)
ax.text(4.75, 2.0, "$q(z\\,|\\,x)$", va="top", fontsize=10)
for text in BOXES:
    draw_box(ax, text)
for start, end in [
    ((1.1, 1), (1.6, 1)), ((2.8, 1.15), (3.55, 1.6)), ((2.8, 0.85), (3.55, 0.4)),
    ((4.45, 1.6), (5.2, 1.15)), ((4.45, 0.4), (5.2, 0.85)), ((6.6, 1), (7.2, 1)), ((8.4, 1), (8.9, 1)),
    ((4.0, 2.05), (4.0, 2.45)), ((9.3, 1.4), (9.3, 2.45)),
]:  # fmt: skip
    draw_arrow(ax, start, end)
draw_arrow(ax, (5.9, -0.15), (5.9, 0.6), "--")
ax.plot([0.6, 0.6, 9.3], [1.4, 3.35, 3.35], color="0.2", linewidth=1)
draw_arrow(ax, (9.3, 3.35), (9.3, 3.05))
ax.set(xlim=(0, 10.2), ylim=(-0.9, 3.5), aspect="equal")
ax.axis("off");


# %%
#| export
class VAE(nn.Module):
    "An encoder and a decoder with a likelihood (Kingma and Welling 2014)."

    def __init__(
        self,
        latent: int,  # d, numbers in z
        encoder: nn.Module,  # images (B, C, H, W) -> (B, 2 * d)
        decoder: nn.Module,  # z (B, d) -> images (B, C, H, W) in [-1, 1]
        likelihood: str = "laplace",  # a key of LIKELIHOODS
        scale: float | None = 1.0,  # None: learned
    ):
        super().__init__()
        self.latent, self.encoder, self.decoder, self.likelihood = latent, encoder, decoder, likelihood
        # a learned scale starts at 0.3
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale or 0.3)), requires_grad=scale is None)

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        "Mean and log-variance of q(z | x), (B, d) each."
        return self.encoder(x).to(x.dtype).chunk(2, 1)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        "What the decoder makes of z: images (B, C, H, W) in [-1, 1]."
        return self.decoder(z).to(z.dtype)

    def log_prob(self, x: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        "log p(x | z) for m = decode(z), in nats, *summed* over the pixels: (B,)."
        return LIKELIHOODS[self.likelihood](x, m, self.log_scale).flatten(1).sum(1)


# %% [markdown]
# ### Sum or mean? A hidden beta
#
# Both terms of the ELBO are *sums*, over pixels and over latent numbers, for one image; then one averages over images. Much code takes the mean over pixels instead (`F.mse_loss` and `F.l1_loss` do by default) and the sum over latent numbers. For an image of $D$ pixels that divides the reconstruction term by $D$, which is, up to a factor of the whole loss, the same as multiplying the KL term by $\beta=D$: 784 for MNIST. This is a $\beta$-VAE ([Higgins et al. 2017](https://openreview.net/forum?id=Sy2fzU9gl)), though nobody chose its $\beta$. Taking the mean over the latent numbers as well gives $\beta=D/d$. Here is what it does to the toy, with the mean absolute error:

# %%
histories = {1: [], 64: []}  # beta: loss and KL term of each update


def toy_loss(beta):
    "Minus the ELBO of a Laplace likelihood with b = 1, but for a constant, and with beta times its KL term."

    def loss(encoder, decoder, x):
        mu, logvar = encoder(x).chunk(2, 1)
        reconstruction = (x - decoder(reparameterise(mu, logvar))).abs().sum(1)
        kl = kl_normal(mu, logvar).sum(1)
        histories[beta].append(((reconstruction + beta * kl).mean().item(), kl.mean().item()))
        return (reconstruction + beta * kl).mean()

    return loss


summed, averaged = (train_toy(toy_loss(beta), outputs=4) for beta in histories)
look_at_toy(*summed, "summed over pixels: the ELBO")
look_at_toy(*averaged, r"averaged over the 64 pixels: a hidden $\beta=64$")

# %% [markdown]
# With the sum, the codes spread over the prior, and draws look like digits, though blurred: two numbers are few. With the mean, the KL term wins. All codes lie at the origin (the class numbers are written on top of one another), nothing is encoded, and each "sample" is the same image. It is close to the pixelwise median of all images, which has the least absolute error. This is **posterior collapse**. The loss as a whole does not show it. Its KL term, plotted by itself, does:

# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 2.6), layout="constrained")
for weight, record in histories.items():
    for ax, values in zip(axes, zip(*record, strict=True), strict=True):
        ax.plot(pd.Series(values).rolling(20, min_periods=1).mean(), label=rf"$\beta={weight}$")
axes[0].set(xlabel="update", ylabel="loss", yscale="log", yticks=[10, 20, 40], yticklabels=[10, 20, 40])
axes[0].minorticks_off()
axes[1].set(xlabel="update", ylabel="KL term (nats)")
axes[1].legend(frameon=False)
last_kl = {weight: np.mean([kl for _, kl in record[-100:]]) for weight, record in histories.items()}
print({f"beta = {weight}": f"{kl:.4f} nats over the last 100 updates" for weight, kl in last_kl.items()})
assert last_kl[1] > 0.5 and last_kl[64] < 0.01

# %% [markdown]
# Both losses fall and settle. The KL term of the collapsed model is near zero from the first updates on. That of the other model rises, falls nearly to zero, then rises again and stays. (The curves are means over 20 updates.) At the end each latent number has a KL of its own:

# %%
with torch.no_grad():
    trained = {"sum": summed, "mean": averaged}
    units = {
        label: kl_normal(*encoder(pixels).chunk(2, 1)).mean(0) for label, (encoder, _) in trained.items()
    }
for label, nats in units.items():
    print(f"{label}: {nats[0]:.3f} and {nats[1]:.3f} nats for the two latent numbers")
assert units["sum"].min() > 0.5 and units["mean"].max() < 0.05


# %% [markdown]
# A hidden $\beta$ also makes published values incomparable. An "ELBO" of −157.4 for MNIST and another of 6,327.64 for faces, in the same text (one of [five student reports](07b_reports.ipynb)), need not be an error, since the logarithm of a *density* may be positive. But they cannot be compared unless one knows the likelihood, the unit of pixels, the sign, and whether pixels were summed or averaged. And a face has more pixels than a digit, so only values per dimension, in bits of the same likelihood, could be compared.
#
# ## How tight is the bound?
#
# The gap between the ELBO and $\log p_\theta(x)$ is the KL from $q$ to the true posterior. It can be narrowed without touching the model, by drawing $K$ codes instead of one ([Burda et al. 2016](https://arxiv.org/abs/1509.00519), eq. 8):
#
# $$\mathcal L_K=\mathbb E_{z_1\dots z_K\sim q}\Big[\log\frac1K\sum_{k=1}^K\frac{p_\theta(x\,|\,z_k)\,p(z_k)}{q_\phi(z_k\,|\,x)}\Big],\qquad \text{ELBO}=\mathcal L_1\le\mathcal L_2\le\dots\le\log p_\theta(x).$$
#
# Call the fraction $w_k$, the weight of $z_k$. Its mean over $q$ is $\int\frac{p_\theta(x|z)\,p(z)}{q_\phi(z|x)}\,q_\phi(z|x)\,dz=p_\theta(x)$: each weight is an unbiased estimate of $p_\theta(x)$, and an average of $K$ of them varies less. The logarithm of a random number lies, on average, below the logarithm of its mean (Jensen's inequality), and the less so the less the number varies.

# %%
#| export
def importance_bound(
    vae: VAE,
    x: torch.Tensor,  # images (B, C, H, W) in [-1, 1]
    K: int,  # codes drawn for each
) -> torch.Tensor:  # (B,), nats
    "The importance-weighted bound on log p(x) (Burda et al. 2016, eq. 8); K = 1: the ELBO, all of it drawn."
    mu, logvar = vae.encode(x)
    log_weights = []
    for _ in range(K):
        z = reparameterise(mu, logvar)
        # log p(z) - log q(z | x)
        log_ratio = ((z - mu).square() / logvar.exp() + logvar - z.square()).sum(1) / 2
        log_weights.append(vae.log_prob(x, vae.decode(z)) + log_ratio)
    return torch.stack(log_weights).logsumexp(0) - math.log(K)


# %% [markdown]
# Is that so? There is a model for which everything is known: a *linear* decoder $m=Wz+c$ with Gaussian pixels of variance $s^2$ (probabilistic PCA, [Tipping and Bishop 1999](https://doi.org/10.1111/1467-9868.00196)). Then $p(x)=\mathcal N(c,WW^\top+s^2I)$, and the true posterior is $\mathcal N\big(M^{-1}W^\top(x-c),\,s^2M^{-1}\big)$ with $M=W^\top W+s^2I$. We build it with $W^\top W$ diagonal, so that the posterior, too, has a diagonal covariance and is within reach of our encoder, and check:
#
# 1. with the true posterior for an encoder, the ELBO *is* $\log p(x)$, and a single draw gives it;
# 2. with a wrong encoder, the bounds rise with $K$ towards $\log p(x)$ and stay below.

# %%
seed_everything(0)
s, d, D = 0.5, 2, 6
W = torch.linalg.qr(torch.randn(D, d).double())[0] * torch.tensor([1.5, 0.7])
c = torch.randn(D).double()
decoder, encoder = nn.Linear(d, D).double(), nn.Linear(D, 2 * d).double()
M = (W.T @ W).diagonal() + s**2
with torch.no_grad():
    decoder.weight[:], decoder.bias[:] = W, c
    encoder.weight[:d], encoder.weight[d:] = W.T / M[:, None], 0
    encoder.bias[:d], encoder.bias[d:] = -(W.T @ c) / M, (s**2 / M).log()
linear = VAE(d, encoder, decoder, "gaussian", s).double().requires_grad_(False)
x = decoder(torch.randn(5, d).double()) + s * torch.randn(5, D)
truth = torch.distributions.MultivariateNormal(c, W @ W.T + s**2 * torch.eye(D)).log_prob(x)
for K in (1, 7):
    assert torch.allclose(importance_bound(linear, x, K), truth)

# %%
encoder.bias[:d] += 0.3
encoder.bias[d:] += 0.7  # now it is wrong
many = x[:1].expand(20_000, D)
bounds = {K: importance_bound(linear, many, K) for K in (1, 5, 50)}
mean = {K: b.mean().item() for K, b in bounds.items()}
se = {K: b.std().item() / len(b) ** 0.5 for K, b in bounds.items()}
mu, logvar = linear.encode(x[:1])
posterior = normal((x[:1] - c) @ W / M, (s**2 / M).sqrt())
exact = truth[0] - torch.distributions.kl_divergence(normal(mu, (logvar / 2).exp()), posterior).sum()
assert abs(mean[1] - exact) < 5 * se[1], "log p(x) minus the KL to the true posterior"
assert mean[1] + 5 * se[1] < mean[5] < mean[50] - 5 * se[50] and mean[50] < truth[0] + 5 * se[50]
print(f"log p(x) = {truth[0]:.4f}")
pd.DataFrame({"bound": mean, "standard error": se}).rename_axis("K").round(4)

# %% [markdown]
# A check of the training gradients, too: with the noise held fixed, those of the ELBO with respect to everything the encoder returns, to the decoder's weights and to the scale must equal finite differences.

# %%
greys = to_model(torch.arange(0, 256, 50, dtype=torch.uint8)).double()


def elbo_of(mu, logvar, weight, log_scale, likelihood):
    torch.manual_seed(0)
    m = (reparameterise(mu, logvar) @ weight).tanh()
    log_prob = LIKELIHOODS[likelihood](greys.expand_as(m), m, log_scale).sum(1)
    return (log_prob - kl_normal(mu, logvar).sum(1)).mean()


for kind in LIKELIHOODS:
    inputs = [torch.randn(3, 2), torch.randn(3, 2), torch.randn(2, 6), torch.tensor(-0.5)]
    inputs = [value.double().requires_grad_(kind != "bernoulli" or i < 3) for i, value in enumerate(inputs)]
    assert torch.autograd.gradcheck(lambda *v: elbo_of(*v, kind), inputs)


# %% [markdown]
# ## What defines a VAE run
#
# Now for real images and networks. All settings of a run stand in one class; the notebook's parameters above have the same names. `network` and `likelihood` are names in dictionaries, to which one can add ([00c_plug](00c_plug.ipynb)).

# %%
#| export
class VAEConfig(RunConfig):
    "A VAE run."

    log_line: ClassVar[str] = "loss: {loss:.2f}  reconstruction: {reconstruction:.2f}  KL: {kl:.2f}"
    since: ClassVar[dict] = {"optimizer": "adam"}

    model: Literal["vae"] = "vae"
    name: str = Field("vae", pattern=r"^[\w.-]+$")
    batch_size: PositiveInt = 64
    network: key_of(NETWORKS["vae"]) = "residual"
    width: int | None = Field(16, ge=8, multiple_of=8)  # channels at half the resolution; None: channels_of
    latent: PositiveInt = 16  # dimension of z
    likelihood: key_of(LIKELIHOODS) = "laplace"  # of pixels given z
    scale: PositiveFloat | None = 1.0  # of the likelihood, in units of pixels in [-1, 1]; None: learned
    beta: float = Field(1.0, ge=0)  # weight of the KL term
    adversarial: float = Field(0.0, ge=0)  # weight of a discriminator's verdict; above 0: VAE-GAN
    optimizer: Literal["adam", "muon"] = "muon"  # see make_optimizers
    lr: PositiveFloat = 1e-3  # Adam's learning rate; Muon's is 20 times as large

    @model_validator(mode="after")
    def _consistent(self):
        if self.likelihood == "bernoulli" and self.scale not in (None, 1):
            raise ValueError(
                f"scale: a Bernoulli likelihood has none, so {self.scale} would change nothing; leave it out."
            )
        return self


# %%
config = VAEConfig.of(globals())
data = config.training_set()
print(f"{len(data.images):,} training images")

# %%
#| hide
assert config.model_dump() == planned.model_dump(), "the parameters are what they were at the top"


# %% [markdown]
# ## The networks
#
# Three pairs of encoder and decoder. `mlp` has dense layers only, three in and three out. `conv` has two convolutions and a dense layer in, a dense layer and three transposed convolutions out. `residual` halves the image twice, as `conv` does, and has a residual block at each of the two resolutions. All decoders end with a tanh, because images live in [-1, 1].

# %%
#| export
def mlp(config: RunConfig, data: ImageSet) -> tuple[nn.Module, nn.Module]:
    "An encoder and a decoder of three dense layers each."
    shape = data.images.shape[1:]
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(shape), 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(),
        nn.Linear(256, 2 * config.latent),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(config.latent, 256), nn.ReLU(), nn.Linear(256, 512), nn.ReLU(),
        nn.Linear(512, math.prod(shape)), nn.Tanh(), nn.Unflatten(1, shape),
    )  # fmt: skip
    return encoder, decoder


# %% [markdown]
# To be halved twice, an image must have sides that are multiples of four:

# %%
#| export
def channels_of(config: RunConfig, size: int) -> int:
    "The width that a configuration asks for, for images of `size` pixels."
    return config.width or (32 if size >= 24 else 16)


def halved_twice(config: RunConfig, data: ImageSet) -> tuple[int, tuple[int, int, int]]:
    "The width at half the resolution, and the shape (C, H, W) at a quarter. ValueError if there is none."
    size = data.images.shape[-1]
    if size % 4:
        raise ValueError(
            f"size: this VAE halves images twice, and {size} pixels cannot be; "
            "choose a multiple of 4, or network='mlp'."
        )
    width = channels_of(config, size)
    return width, (2 * width, size // 4, size // 4)


# %%
#| export
def conv(config: RunConfig, data: ImageSet) -> tuple[nn.Module, nn.Module]:
    "Two convolutions and a dense layer; a dense layer and three transposed convolutions."
    channels, latent = data.images.shape[1], config.latent
    w, deep = halved_twice(config, data)
    encoder = nn.Sequential(
        nn.Conv2d(channels, w, 4, 2, 1), nn.ReLU(), nn.Conv2d(w, 2 * w, 4, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(math.prod(deep), 2 * latent),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(latent, math.prod(deep)), nn.ReLU(), nn.Unflatten(1, deep),
        nn.ConvTranspose2d(2 * w, w, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(w, w, 4, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(w, channels, 3, 1, 1), nn.Tanh(),
    )  # fmt: skip
    return encoder, decoder


# %%
#| export
def normalise(width: int) -> list[nn.Module]:
    "Group normalisation in 8 groups and SiLU."
    return [nn.GroupNorm(8, width), nn.SiLU()]


class Residual(nn.Module):
    "x + two 3x3 convolutions of x, each after `normalise`: (B, width, H, W) to the same (He et al. 2016)."

    def __init__(self, width: int):
        super().__init__()
        first, second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.net = nn.Sequential(*normalise(width), first, *normalise(width), second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.net(x)


# %%
#| export
def residual(config: RunConfig, data: ImageSet) -> tuple[nn.Module, nn.Module]:
    "As `conv`, with residual blocks."
    channels, latent = data.images.shape[1], config.latent
    w, deep = halved_twice(config, data)
    encoder = nn.Sequential(
        nn.Conv2d(channels, w, 4, 2, 1), Residual(w), *normalise(w),
        nn.Conv2d(w, 2 * w, 4, 2, 1), Residual(2 * w), *normalise(2 * w),
        nn.Flatten(), nn.Linear(math.prod(deep), 2 * latent),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(latent, math.prod(deep)), nn.Unflatten(1, deep),
        Residual(2 * w), *normalise(2 * w), nn.ConvTranspose2d(2 * w, w, 4, 2, 1),
        Residual(w), *normalise(w), nn.ConvTranspose2d(w, channels, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    return encoder, decoder


# %% [markdown]
# One entry each in the dictionary of networks. A VAE with a network of one's own can also be had without a name, by giving an encoder and a decoder to `run_vae`, below; they are copied, so that each training begins with the weights that were given.

# %%
#| export
NETWORKS["vae"] |= {"residual": residual, "conv": conv, "mlp": mlp}


@fits_memory
def make_vae(config: VAEConfig, data: ImageSet) -> VAE:
    "A fresh VAE for images like those of `data`; the seed decides its weights. ValueError if it cannot be."
    seed_everything(config.seed, 0)
    encoder, decoder = look_up("network", config.network, NETWORKS["vae"])(config, data)
    return VAE(config.latent, encoder, decoder, config.likelihood, config.scale)


def start_vae(config: VAEConfig, data: ImageSet, network: tuple[nn.Module, nn.Module] | None = None) -> VAE:
    "The VAE that training starts from: `make_vae`'s, or one with a copy of the two in `network`."
    if network is None:
        return make_vae(config, data)
    return VAE(config.latent, *copy.deepcopy(network), config.likelihood, config.scale)


# %%
def both_tables(encoder, decoder):
    image, code = torch.zeros(2, *data.images.shape[1:]), torch.zeros(2, latent)
    return pd.concat({"encoder": layer_table(encoder, image), "decoder": layer_table(decoder, code)})


both_tables(*mlp(config, data))

# %%
both_tables(*conv(config, data))


# %%
def blank(*shape):
    return ImageSet(torch.zeros(2, *shape, dtype=torch.uint8), None, [])


for kind in ("mlp", "conv", "residual"):
    for shape in ((1, 28, 28), (3, 32, 32)):
        vae = make_vae(VAEConfig(network=kind, latent=5, width=8), blank(*shape))
        mu, logvar = vae.encode(to_model(blank(*shape).images))
        assert mu.shape == logvar.shape == (2, 5)
        assert vae.decode(mu).shape == (2, *shape) and vae.decode(9 * mu).abs().max() <= 1
with pytest.raises(ValueError, match="size: this VAE halves images twice, and 30 pixels cannot be"):
    make_vae(VAEConfig(), blank(1, 30, 30))
for kind in ("mlp", "conv", "residual"):
    weights = make_vae(VAEConfig(network=kind), blank(1, 28, 28)).parameters()
    print(f"{kind}: {sum(p.numel() for p in weights):,} parameters for MNIST")


# %% [markdown]
# ## Training
#
# There is one loss: minus the ELBO, if $\beta=1$. Unlike a GAN's it should fall. As in [02_ddpm](02_ddpm.ipynb) Muon moves the matrices and kernels, and Adam the rest ([00_runs](00_runs.ipynb)); `optimizer` can be `adam` alone. `update_vae` is the whole method; batches, logging and files are the work of [00_runs](00_runs.ipynb).
#
# A learned scale gets 20 times Adam's learning rate. At 0.001 Adam moves its logarithm by about 0.001 an update at most, as a rule, and training would end before the scale has arrived.
#
# With `adversarial` above 0 a discriminator joins in, and the loop is another one: [04b_vae_gan](04b_vae_gan.ipynb) has it. It is imported only then, because its module builds on this one.

# %%
#| export
def vae_optimizers(vae: VAE, config: VAEConfig, beta1: float = 0.9) -> dict[str, torch.optim.Optimizer]:
    "`make_optimizers` for encoder and decoder, and Adam with 20 times its learning rate for the scale."
    networks = nn.ModuleList([vae.encoder, vae.decoder])
    optimizers = make_optimizers(networks, config.optimizer, config.lr, 0.999, beta1)
    optimizers["opt"].add_param_group({"params": [vae.log_scale], "lr": 20 * config.lr})
    return optimizers


# %%
#| export
def update_vae(
    vae: VAE, optimizers: dict, x: torch.Tensor, config: VAEConfig, accelerator
) -> dict[str, torch.Tensor]:
    "One update on images x (B, C, H, W) in [-1, 1]; returns its losses by their names in the history."
    with accelerator.autocast():
        mu, logvar = vae.encode(x)
        m = vae.decode(reparameterise(mu, logvar))
    reconstruction, kl = -vae.log_prob(x, m).mean(), kl_normal(mu, logvar).sum(1).mean()
    loss = reconstruction + config.beta * kl
    vae.zero_grad()
    accelerator.backward(loss)
    for optimizer in optimizers.values():
        optimizer.step()
    return {"loss": loss, "reconstruction": reconstruction, "kl": kl}


# %%
#| export
def train_vae(run: Run, epochs: int, network: tuple[nn.Module, nn.Module] | None = None) -> VAE:
    "Train `run` until `epochs` epochs are done, from where it stands; returns the VAE to sample from."
    config, accelerator = run.config, make_accelerator(run.config.precision)
    if config.adversarial:
        from genlab.vae_gan import train_vae_gan

        return train_vae_gan(run, epochs, network)
    data = config.training_set()
    vae = start_vae(config, data, network).to(accelerator.device)
    if run.load_weights(epochs, vae):
        return vae
    average, optimizers = EMA(vae, config.ema), vae_optimizers(vae, config)
    count = lambda vae, x, _: update_vae(vae, vae_optimizers(vae, config), x, config, accelerator)
    run.costs = count_costs(count, config, data, vae)
    for x, _ in run.batches(data, epochs, accelerator.device, vae=vae, average=average, **optimizers):
        losses = update_vae(vae, optimizers, x, config, accelerator)
        average.update(vae)
        run.log(**losses)
    run.keep_weights(epochs, average.model)
    return average.model


# %% [markdown]
# ## Where samples come from
#
# To draw an image, draw $z$ and decode it. Shown is the decoder's $m$, not a draw from the pixels' distribution around it, which would only add noise. But where does $z$ come from? Three answers:
#
# - **prior**: $z\sim\mathcal N(0,I)$, as the model says.
# - **mixture**: the codes of all training images together make up the **aggregate posterior** $q(z)=\frac1N\sum_iq(z\,|\,x_i)$. The KL term pulls each $q(z\,|\,x_i)$ towards the prior, but $q(z)$ does not become equal to it: the prior has regions where the decoder was hardly trained. So fit a mixture of ten Gaussians to $q(z)$ and draw from that: *ex-post density estimation* ([Ghosh et al. 2020](https://arxiv.org/abs/1903.12436)).
# - **posterior**: encode a training image, add the encoder's noise, decode. These are draws from $q(z)$ itself; $q(z)$ as a prior would give the largest average ELBO on the training set ([Tomczak and Welling 2018](https://arxiv.org/abs/1705.07120)). But each "new" image is a reconstruction of a training image. A distance between distributions does not see that; the memorisation measure of [05c_measures](05c_measures.ipynb) is meant to.

# %%
#| export
@torch.no_grad()
def encode_images(vae: VAE, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    "Mean and log-variance of q(z | x) for uint8 images (N, C, H, W), on the CPU."
    device = next(vae.parameters()).device
    parts = [vae.encode(to_model(batch.to(device))) for batch in images.split(500)]
    return tuple(torch.cat(part).cpu() for part in zip(*parts, strict=True))


@torch.no_grad()
def decode_codes(vae: VAE, z: torch.Tensor) -> torch.Tensor:
    "uint8 images (N, C, H, W) on the CPU for codes (N, d)."
    device = next(vae.parameters()).device
    return torch.cat([to_image(vae.decode(batch.to(device))).cpu() for batch in z.split(500)])


# %% [markdown]
# The mixture is fitted to draws from $q(z\,|\,x)$: one for each training image (of a large set, for the first ones only), or several where there are fewer than a thousand.

# %%
#| export
def training_codes(vae: VAE, train: ImageSet, seed: int) -> torch.Tensor:
    "Codes (N, d) of the first 10,000 training images in turn, with the encoder's noise; N is 1,000 at least."
    mu, logvar = encode_images(vae, train.images[:10_000])
    i = torch.arange(max(1000, len(mu))) % len(mu)
    return mu[i] + (logvar[i] / 2).exp() * latents(len(i), (vae.latent,), seed)


# %% [markdown]
# Code number $i$ of a draw must not depend on how many are drawn with it. `GaussianMixture.sample` of scikit-learn cannot promise that, since it draws all its codes from one random stream and sorts them by component. So scikit-learn fits the mixture, and each code is drawn from its own noise: one number chooses the component, the others are multiplied by the Cholesky factor of its covariance.

# %%
#| export
def draw_codes(
    vae: VAE,
    n: int,
    seed: int = 0,  # code i depends on (seed, i) only
    source: str = "prior",  # prior, mixture or posterior
    train: ImageSet | None = None,  # the training set, for all but the prior
    components: int = 10,  # of the mixture
) -> torch.Tensor:  # float32 (n, d), on the CPU
    "Codes to decode; a mixture is fitted to `training_codes`, the posterior takes training images in order."
    if source == "prior":
        return latents(n, (vae.latent,), seed)
    noise = latents(n, (vae.latent + 1,), seed)
    if source == "posterior":
        mu, logvar = encode_images(vae, train.images[:n])
        i = torch.arange(n) % len(mu)
        return mu[i] + (logvar[i] / 2).exp() * noise[:, 1:]
    codes = training_codes(vae, train, seed + 1)
    fitted = GaussianMixture(components, random_state=seed % 2**32).fit(codes.double())  # takes 32 bits
    return _draw_from_mixture(fitted, noise.numpy())


def _draw_from_mixture(fitted: GaussianMixture, noise: np.ndarray) -> torch.Tensor:
    "A code for each row of standard normal noise (n, d + 1): its first number chooses the component."
    uniform = ndtr(noise[:, 0])
    k = np.searchsorted(fitted.weights_.cumsum()[:-1], uniform)
    factors = np.linalg.cholesky(fitted.covariances_)
    z = fitted.means_[k] + np.einsum("nij,nj->ni", factors[k], noise[:, 1:])
    return torch.from_numpy(z).float()


# %% [markdown]
# ## What is measured
#
# From here to [A trained VAE](#A-trained-VAE) is bookkeeping, which a first reading may skip: what is measured, what is drawn, what is kept.
#
# On test images, which the model has not seen, we measure
#
# - the ELBO and its two terms, in nats per image. After training with another $\beta$ the ELBO is still a bound, only not what was optimised;
# - the *gap to* $K$: what the bound with $K$ codes adds to the ELBO, on 200 of these images. The whole gap is at least as large;
# - bits per dimension, $-\text{ELBO}/(D\ln2)$. For `laplace` and `gaussian` the density is multiplied by the width of a grey level, $2/255$, which adds $\log_2127.5$ (an approximation: only the logistic's bits are a bound). For Bernoulli they would mean nothing.

# %%
#| export
def bits_per_dim(elbo: float, dimensions: int, likelihood: str) -> float | None:
    "An ELBO, nats per image, in bits per dimension; None for Bernoulli, where they mean nothing."
    if likelihood == "bernoulli":
        return None
    level = 0.0 if likelihood == "logistic" else math.log2(127.5)  # a density times the width of a grey level
    return -elbo / (dimensions * math.log(2)) + level


# %%
#| export
@torch.no_grad()
def measure_elbo(
    vae: VAE,
    data: ImageSet,  # images to encode; their first 2,000 are used
    K: int = 50,  # codes for the importance-weighted bound, on the first 200
) -> (
    dict
):  # nats per image: elbo, its standard error se, reconstruction, kl, kl_units, gap; also bits_per_dim, n, K
    "The ELBO on unseen images, with the KL in closed form, and its gap to the bound with K codes."
    seed_everything(0, 7)
    device = next(vae.parameters()).device
    log_probs, kls, tighter = [], [], None
    for images in data.images[:2000].split(200):
        x = to_model(images.to(device))
        mu, logvar = vae.encode(x)
        kls.append(kl_normal(mu, logvar))
        log_probs.append(vae.log_prob(x, vae.decode(reparameterise(mu, logvar))))
        if tighter is None:  # for the first 200 images only
            tighter = importance_bound(vae, x, K).mean().item()
    return _summary(vae, torch.cat(log_probs).cpu(), torch.cat(kls).cpu(), tighter, data) | {"K": K}


# %%
#| export
def _summary(vae: VAE, log_probs: torch.Tensor, kls: torch.Tensor, tighter: float, data: ImageSet) -> dict:
    "Means over images of log p(x|z) (N,) and of the KL of each latent number (N, d), and what follows."
    elbo = log_probs - kls.sum(1)
    return {
        "elbo": elbo.mean().item(),
        "se": (elbo.std() / len(elbo) ** 0.5).item(),
        "reconstruction": log_probs.mean().item(),
        "kl": kls.sum(1).mean().item(),
        "kl_units": kls.mean(0).tolist(),
        "gap": tighter - elbo[:200].mean().item(),
        "bits_per_dim": bits_per_dim(elbo.mean().item(), data.images[0].numel(), vae.likelihood),
        "n": len(elbo),
    }


# %% [markdown]
# What figures are drawn from: reconstructions of test images, samples from each source, codes of test images, and, where $z$ has one or two numbers, the whole latent line or plane. There $z$ runs over the prior's quantiles from 2.5 to 97.5 %, so that each picture stands for an equal share of the prior.

# %%
#| export
def vae_pictures(vae: VAE, seed: int, train: ImageSet, test: ImageSet) -> dict[str, np.ndarray]:
    "Arrays for `plot_reconstructions`, `plot_sources`, `plot_codes` and `plot_plane`."
    mu, _ = encode_images(vae, test.images[:2000])
    pictures = {"originals": test.images[:16], "reconstructions": decode_codes(vae, mu[:16]), "codes": mu}
    if test.labels is not None:
        pictures["labels"] = test.labels[:2000]
    for source in ("prior", "mixture", "posterior"):
        pictures[source] = decode_codes(vae, draw_codes(vae, 16, seed, source, train))
    if vae.latent <= 2:
        steps = torch.special.ndtri(torch.linspace(0.025, 0.975, 15))
        plane = torch.cartesian_prod(-steps, steps).flip(1)  # z_2 falls from row to row, z_1 rises along it
        pictures["plane"] = decode_codes(vae, plane if vae.latent == 2 else steps[:, None])
    return {key: value.numpy() for key, value in pictures.items()}


# %% [markdown]
# How they are drawn: first reconstructions and samples, in rows.

# %%
#| export
def plot_reconstructions(pictures: dict[str, np.ndarray], ax: plt.Axes | None = None) -> plt.Axes:
    "Test images, and below each what comes back (decoded from the mean of q)."
    images = torch.from_numpy(np.concatenate([pictures["originals"], pictures["reconstructions"]]))
    return show_grid(images, ncol=len(pictures["originals"]), ax=ax, rows=["test image", "decoded"])


def plot_sources(pictures: dict[str, np.ndarray], ax: plt.Axes | None = None) -> plt.Axes:
    "A row of samples from each source: prior, mixture, posterior."
    sources = ["prior", "mixture", "posterior"]
    images = torch.from_numpy(np.concatenate([pictures[source] for source in sources]))
    return show_grid(images, ncol=16, ax=ax, rows=sources)


# %% [markdown]
# The codes as a map. Where $z$ has more than two numbers, they are projected onto the plane in which they vary most; where it has one, each class gets a line of its own.

# %%
#| export
def map_of_codes(codes: np.ndarray, labels: np.ndarray | None) -> tuple[np.ndarray, str, str]:
    "Points (N, 2) that show codes (N, d), and what their two axes are."
    if codes.shape[1] == 1:
        height = np.zeros(len(codes)) if labels is None else labels
        return np.column_stack([codes, height]), "$z_1$", "" if labels is None else "class"
    if codes.shape[1] == 2:
        return codes, "$z_1$", "$z_2$"
    centred = codes - codes.mean(0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1]  # the last two, largest first
    return centred @ axes, "first principal axis of $z$", "second principal axis"


# %%
#| export
def plot_codes(pictures: dict[str, np.ndarray], ax: plt.Axes | None = None) -> plt.Axes:
    "Means of q for test images, in colours by class, as `map_of_codes` places them."
    ax = ax or plt.subplots(figsize=(4.2, 3.2), layout="constrained")[1]
    codes, labels = pictures["codes"], pictures.get("labels")
    points, xlabel, ylabel = map_of_codes(codes, labels)
    dots = ax.scatter(*points.T, c=labels, cmap=None if labels is None else "tab10", s=4)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if labels is not None:
        dots.set_clim(-0.5, max(9, labels.max()) + 0.5)
    if codes.shape[1] > 1:
        ax.set_aspect("equal", "datalim")
        if labels is not None:
            name_classes(ax, points, labels)
    return ax


# %% [markdown]
# Where $z$ has one number or two, the images that belong to each place on the map:

# %%
#| export
def plot_plane(pictures: dict[str, np.ndarray], ax: plt.Axes | None = None) -> plt.Axes:
    "The images of one latent number (a row of 15) or two (15 rows), evenly spaced in the prior's quantiles."
    ax = show_grid(torch.from_numpy(pictures["plane"]), ncol=15, ax=ax)
    ax.set(
        xlabel="$z_1$, from $-1.96$ to $1.96$",
        ylabel="$z_2$, the same" if len(pictures["plane"]) > 15 else "",
    )
    return ax


# %% [markdown]
# And how much each latent number says, its share of the KL term:

# %%
#| export
def plot_units(likelihood: dict, ax: plt.Axes | None = None) -> plt.Axes:
    "KL of each latent number, largest first; those near zero are not used (dead units)."
    ax = ax or plt.subplots(figsize=(4.2, 2.4), layout="constrained")[1]
    units = sorted(likelihood["kl_units"], reverse=True)
    ax.bar(range(1, len(units) + 1), units)
    ax.set(xlabel="latent number, sorted", ylabel="KL (nats)")
    ax.xaxis.get_major_locator().set_params(integer=True)
    return ax


# %% [markdown]
# The samples that are kept and scored come from the prior; the other two sources are scored beside them, by the distance of the run.

# %%
#| export
def compare_sources(vae: VAE, config: VAEConfig, n: int, train: ImageSet) -> dict[str, dict]:
    "The distance of n samples from the mixture and from the posterior, where the run asks for one."
    if (distance := main_distance(config.metrics)) is None:
        return {}
    scores = {}
    for source in ("mixture", "posterior"):
        images = decode_codes(vae, draw_codes(vae, n, config.seed, source, train))
        scores[source] = evaluate(images, config.dataset, [distance])[distance]
    return scores


def measure_likelihood(vae: VAE, config: VAEConfig, test: ImageSet) -> dict:
    "What `measure_elbo` finds; of a VAE-GAN, which is not trained for an ELBO, without what depends on one."
    without = ("elbo", "se", "reconstruction", "gap", "bits_per_dim") if config.adversarial else ()
    return measure_elbo(vae, test) | dict.fromkeys(without)


# %% [markdown]
# All of it together, for each epoch count that the configuration names and that is not on disk yet:

# %%
#| export
def run_vae(config: VAEConfig, network: tuple[nn.Module, nn.Module] | None = None) -> Run:
    """Train, sample and score at each epoch count of `config`; what is on disk already is not done again.

    `network`: an encoder and a decoder to train instead of those that `config.network` names.
    Give such a run a name of its own.
    """
    if network is not None:
        config.check_own_name()
    run = Run(config)
    with run.lock():
        for epochs in run.pending():
            n_test = check_metrics(config.dataset, config.size, config.metrics)
            vae = train_vae(run, epochs, network)
            _finish(run, epochs, vae, config.n_samples or n_test)
    return run


# %%
#| export
def draw_vae(run: Run, epochs: int) -> torch.Tensor:  # uint8 (N, C, H, W)
    "Train a run until `epochs` epochs are done, and draw its samples."
    n = run.config.n_samples or len(load_dataset(run.config.dataset, "test", run.config.size).images)
    vae = train_vae(run, epochs)
    return decode_codes(vae, draw_codes(vae, n, run.config.seed))


# %%
#| export
def _finish(run: Run, epochs: int, vae: VAE, n: int) -> None:
    "Samples, pictures and results of a trained VAE."
    config = run.config
    train, test = config.training_set(), load_dataset(config.dataset, "test", config.size)
    start = time.perf_counter()
    samples = decode_codes(vae, draw_codes(vae, n, config.seed))
    seconds = time.perf_counter() - start
    run.finish(
        epochs, samples, vae_pictures(vae, config.seed, train, test),
        scores=evaluate(samples, config.dataset, config.metrics, train=train.images),
        sources=compare_sources(vae, config, n, train), sample_seconds=seconds,
        likelihood=measure_likelihood(vae, config, test),
    )  # fmt: skip


# %% [markdown]
# ## A trained VAE
#
# A line is printed now and then: [epoch/epochs until the next snapshot], [update/updates in an epoch], the loss and its two parts. If this run is on disk already, nothing is trained.

# %%
run = run_vae(config)
print("results in the runs folder, under", "/".join(run.folder.parts[-3:]))

# %%
history = run.history or pd.read_csv(run.folder / "history.csv").to_dict("records")
fig, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
plot_history(history, {"reconstruction": "reconstruction"}, "nats per image", axes[0])
plot_history(history, {"kl": "KL"}, "nats per image", axes[1])
fig.suptitle("the two terms of the loss");

# %% [markdown]
# Left is minus the log-likelihood, as in the loss. It falls, though with a Laplace scale of 1 never below $D\ln2$ (177 nats for `digits`), which is what a perfect reconstruction costs; with a smaller or learned scale it may become negative. The KL term *rises*, after a first peak and a dip: the codes come to say more about the images.
#
# ### Reconstructions
#
# Why are they blurred? The code does not say exactly where a stroke ends. For a pixel there the decoder must return one value for all images that this code could belong to. The best value is their median with a Laplace likelihood and their mean with a Gaussian. Chosen pixel by pixel, such values need not make up an image like any real one.

# %%
plot_reconstructions(run.pictures(epochs));

# %% [markdown]
# ### Samples
#
# The same 32 codes, drawn from the prior, after each epoch count, and real images below. Then 16 samples from each source of codes:

# %%
for e in run.evaluated():
    show_grid(run.samples(e)[:32], ncol=16, title=f"from the prior, after {plural(e, 'epoch')}")
show_grid(test.images[:32], ncol=16, title="real (test set)");

# %%
plot_sources(run.pictures(epochs));


# %% [markdown]
# ### The numbers
#
# `fd_lenet` is the Frechet distance of the samples to the test set in the features of a small classifier ([05_fid](05_fid.ipynb)); the floor is what as many real training images have. ELBO, gap and KL are in nats per test image. Columns "fd" are `fd_lenet` of samples from the other sources of codes. After the last epoch, samples from the mixture are nearer to the test set than those from the prior: the codes do not fill the prior.

# %%
def row(e):
    m = run.metrics(e)
    fd, bound = m["scores"].get("fd_lenet", {}), m["likelihood"]
    return {
        "epochs": e, "loss": m["losses"]["loss"], "ELBO": bound["elbo"], "gap to K=50": bound["gap"],
        "KL": bound["kl"], "bits/dim": bound["bits_per_dim"], "fd_lenet": fd.get("value"),
        **{f"fd, {source}": score["value"] for source, score in m["sources"].items()},
        "floor": fd.get("floor"), "N": m["n_samples"], "training (s)": m["train_seconds"],
    }  # fmt: skip


pd.DataFrame(map(row, run.evaluated())).round(2)

# %%
#| hide
last = run.metrics(epochs)
assert adversarial or last["likelihood"]["gap"] > -5 * last["likelihood"]["se"], "more codes, a tighter bound"
kept, train = run.samples(epochs), data
vae = make_vae(config, data)
assert run.load_weights(epochs, vae)
alone = decode_codes(vae, draw_codes(vae, min(10, len(kept)), config.seed))
assert (alone.int() - kept[:10].int()).abs().max() <= 1, "drawn alone, an image differs by rounding at most"
for source in ("mixture", "posterior"):
    few, more = (draw_codes(vae, n, 1, source, data) for n in (5, 9))
    assert torch.allclose(few, more[:5], atol=1e-3), "a code does not depend on how many are drawn"
if config == VAEConfig(epochs=60, snapshots=[1, 5, 20]):  # the parameters as they stand above
    fd = last["scores"]["fd_lenet"]["value"]
    assert fd < 0.5 * run.metrics(1)["scores"]["fd_lenet"]["value"]
    assert last["sources"]["mixture"]["value"] < fd, "the aggregate posterior is not the prior"

# %%
#| hide
pair = mlp(config, data)
before = [p.clone() for net in pair for p in net.parameters()]
brief = {"name": "own", "subset": 100, "epochs": 1, "snapshots": [], "n_samples": 20, "metrics": []}
again = VAE(latent, *pair, likelihood, scale)
with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
    patch.setenv("GENLAB_RUNS", folder)  # it is none of the runs of whoever reads this
    own = run_vae(config.model_copy(update=brief), network=pair)
    after = [p for net in pair for p in net.parameters()]
    assert all(map(torch.equal, before, after)), "the given pair stays as it was"
    assert own.load_weights(1, again), "the run's weights are those of such a pair"

# %% [markdown]
# A check of the mixture: its draws must have the mean and covariance of the codes it was fitted to, which a fit by maximum likelihood reproduces exactly.

# %%
z = draw_codes(vae, 20_000, 3, "mixture", data)
codes = training_codes(vae, data, 4)  # those that were fitted
spread = codes.std(0)
assert ((z.mean(0) - codes.mean(0)) / spread).abs().max() < 0.06
assert ((torch.cov(z.T) - torch.cov(codes.T)) / spread.outer(spread)).abs().max() < 0.1

# %% [markdown]
# ### Which latent numbers are used?
#
# A latent number whose $q$ equals the prior for every image carries nothing, and the decoder has learned to ignore it: a *dead unit*. A number is given up if it improves the reconstruction by less than its KL costs. (Right: the codes of test images, by class.)

# %%
fig, axes = plt.subplots(1, 2, figsize=(8.5, 3.2), layout="constrained")
plot_units(last["likelihood"], axes[0])
plot_codes(run.pictures(epochs), axes[1])
dead = sum(u < 0.01 for u in last["likelihood"]["kl_units"])
axes[0].set_title(f"dead (below 0.01 nats): {dead} of {latent}")
if latent <= 2:
    plot_plane(run.pictures(epochs))

# %% [markdown]
# ## A latent space one can see
#
# A VAE with two latent numbers (and dense layers). Neighbours in the plane look alike, and between two classes there are images of neither.

# %%
if side_epochs:
    change = {"name": "plane", "latent": 2, "network": "mlp", "epochs": side_epochs, "snapshots": []}
    plane = run_vae(config.model_copy(update=change))
    fig, axes = plt.subplots(1, 2, figsize=(8.5, 4), layout="constrained")
    plot_plane(plane.pictures(side_epochs), axes[0])
    plot_codes(plane.pictures(side_epochs), axes[1])


# %% [markdown]
# ## What to watch for
#
# - **Sum, then mean.** Sum over pixels and over latent numbers, average over images, and write $\beta$ where one can see it. Compare values in bits per dimension, of the same likelihood.
# - **Posterior collapse.** Samples that all look alike, and a KL term that falls to zero and stays there. Plot the KL term by itself, and the share of each latent number.
# - **Blur.** A pixelwise likelihood averages over what $z$ leaves undecided. Deep hierarchical VAEs leave little undecided, and are sharp ([Child 2021](https://arxiv.org/abs/2011.10650)). Another remedy is a discriminator, in [04b_vae_gan](04b_vae_gan.ipynb).
# - **The prior is not the aggregate posterior.** Score samples from the prior *and* from a fitted mixture: if they differ much, the codes do not fill the prior.
#
# ## Exercises
#
# Runs are found by their *parameters*, not by the code. Whenever you change code, give the run another `name`, too, or you will see the old result.
#
# 1. Train with `-p latent 64`. How many latent numbers are dead? What does that say about how many one should have?
# 2. Set `beta = 0`. Which of the three sources still makes digits, and why?
# 3. It has been claimed that a VAE after 5 epochs looks like a GAN after 50. Compare samples and `fd_lenet` of both on the same data. (The report of the sweep has a table for it.)
# 4. Derive the mean absolute error's hidden scale: for which $b$ is the mean over 784 pixels of $|x-m|$ plus the KL term an ELBO, up to constants?
# 5. Learn a scale for each pixel instead of one for all: in the class `VAE`, give `log_scale` the shape of an image. What happens to the bits per dimension on MNIST, whose corners are always black? Why is this not a success?

# %% [markdown]
# ## Solutions
#
# <details><summary>1. 64 latent numbers</summary>
#
# From a shell: `papermill nbs/04_vae.ipynb out.ipynb -p latent 64`. Or here, beside the run above:
#
#     wide = run_vae(config.model_copy(update={"name": "wide", "latent": 64, "snapshots": []}))
#     for label, m in (("wide", wide.metrics(epochs)), ("as above", last)):
#         units, elbo = m["likelihood"]["kl_units"], m["likelihood"]["elbo"]
#         dead, awake = sum(u < 0.01 for u in units), sum(u > 0.1 for u in units)
#         print(f"{label}: {dead} of {len(units)} are below 0.01 nats, {awake} above 0.1")
#         print(f"KL {sum(units):.1f} nats, ELBO {elbo:.1f}")
#
# After 60 epochs of `digits`:
#
# | `latent` | below 0.01 nats | above 0.1 nats | KL (nats) | ELBO (nats) |
# |---|---|---|---|---|
# | 16 | 5 | 11 | 9 | −205.9 ± 0.2 |
# | 64 | 49 | 10 | 9 | −207.0 ± 0.3 |
#
# The line at 0.01 nats is arbitrary, so read the plot of all of them and not a count. With four times as many numbers no more are used, and the ELBO is a little *worse*.
#
# What it says: a latent number that saves fewer nats in the reconstruction than it costs in the KL term is not worth using, and the KL term pushes it towards zero, where it costs nothing. So how many carry something is decided by the data, the network and the likelihood's scale and not by `latent`, as long as that is large enough, as 16 is here. Whether the ELBO would catch up, a longer training would show: these are 1,260 updates. In the linear model above this can be worked out: with a fixed variance $s^2$ of the pixels, the best decoder uses those principal axes along which the data have a variance above $s^2$, and no others (Tipping and Bishop 1999; with another $\beta$, above $\beta s^2$). For the same reason more numbers are used with a smaller scale.
#
# </details>
#
# <details><summary>2. Without the KL term</summary>
#
#     free = run_vae(config.model_copy(update={"name": "free", "beta": 0.0, "snapshots": []}))
#     m = free.metrics(epochs)
#     print("prior:", m["scores"]["fd_lenet"]["value"])
#     print({source: score["value"] for source, score in m["sources"].items()})
#     print("KL:", m["likelihood"]["kl"])
#     print("standard deviation of the codes:", free.pictures(epochs)["codes"].std())
#     plot_sources(free.pictures(epochs));
#
# After 60 epochs of `digits`, where `fd_lenet` has a floor of 13 ± 7:
#
# | `beta` | prior | mixture | posterior | KL (nats) | ELBO (nats) |
# |---|---|---|---|---|---|
# | 1 | 47 | 30 | 20 | 9 | −206 |
# | 0 | 474 | 20 | 13 | 340 | −526 |
#
# So *two* of the three make digits, better ones than before, and the prior makes none. This is an autoencoder. Nothing asks the encoder for noise, so $\sigma$ shrinks and each code is nearly a point. Nothing asks codes to lie where the prior is; their standard deviation is 5.8. The posterior hits codes that the decoder knows, by construction. The mixture hits places between them, but it has been fitted to where codes *are*, and with 16 numbers and ten Gaussians that is good enough. A draw from the prior, of zero mean and with no correlations, falls into the holes. As a *likelihood* this model is poor, since the KL term is part of the bound whether it was trained or not.
#
# </details>
#
# <details><summary>3. A VAE after 5 epochs and a GAN after 50</summary>
#
# Samples of the VAE after 5 epochs are on disk already (`snapshots`). A GAN on the same images, scored on as many samples:
#
#     from genlab.gan import GANConfig, run_gan
#     rival = run_gan(GANConfig(dataset=dataset, size=size, epochs=50, snapshots=[5, 20]))
#     for e in rival.evaluated():
#         print(f"GAN after {e}: {rival.metrics(e)['scores']['fd_lenet']['value']:.0f}")
#     for e in run.evaluated():
#         print(f"VAE after {e}: {run.metrics(e)['scores']['fd_lenet']['value']:.0f}")
#     show_grid(torch.cat([run.samples(5)[:16], rival.samples(50)[:16]]), ncol=16, rows=["VAE, 5", "GAN, 50"]);
#
# `fd_lenet` of 500 samples on `digits`:
#
# | epochs | 5 | 20 | 50 | 60 |
# |---|---|---|---|---|
# | GAN | 231 | 66 | 46 | |
# | VAE | 259 | 72 | | 47 |
#
# The claim does not hold here: after 5 epochs the VAE is about as far as the GAN at 5, and nowhere near the GAN at 50. But five epochs are few updates on `digits` and many on MNIST. For MNIST there are results in `report/results` (10,000 samples from the prior; the GAN after 20 epochs was trained with `precision = "bf16"`):
#
# | | after 5 epochs | after 20 |
# |---|---|---|
# | VAE, residual, `width = 16` | 91.5 ± 1.5 | |
# | VAE, dense layers | 160 ± 2 | |
# | GAN | 109 ± 1 | 54.0 ± 0.9 |
#
# These were trained as was usual here before: Adam for all weights, 128 images a batch, and for the GAN 64 channels and a learning rate of 2e-4. With the settings at the top of the two notebooks, the VAE has 69.5 ± 1.4 after 5 epochs, and the GAN 71.0 ± 1.5. So a VAE after 5 epochs is where a GAN is after 5, not after 50. But with codes from the mixture the VAE has 4.9, the first one of the table 8.3.
#
# For MNIST and a GAN after 50 epochs, run `make report PROFILE=course`, which has both, and look for the claim's table. Two things to keep in mind. An epoch is not a unit of work: the two models need different times for one. And a difference between single runs counts only if it is clearly larger than that between seeds.
#
# </details>
#
# <details><summary>4. The mean absolute error's hidden scale</summary>
#
# Let $D=784$. For one image, minus the ELBO with a Laplace likelihood of scale $b$ is
#
# $$-\text{ELBO}=\mathbb E_q\Big[\frac1b\sum_{i=1}^D|x_i-m_i|\Big]+D\log 2b+\mathrm{KL}(q\,\Vert\,p).$$
#
# The loss in question is $\frac1D\sum_i|x_i-m_i|+\mathrm{KL}$, averaged over $q$. For a fixed $b$ the term $D\log 2b$ is a constant, and the two are the same but for this constant if $1/b=1/D$: $b=784$, in units in which pixels run from $-1$ to $1$. So this model believes that a typical error is 392 times as large as the distance from black to white. Seen from $b=1$ it is $\beta=784$, since the loss is $\frac1D\big(\sum_i|x_i-m_i|+D\,\mathrm{KL}\big)$. If the KL term is a mean over $d$ latent numbers as well, multiply the loss by $d$, which gives $b=D/d$.
#
# So the reconstruction term, a mean of errors of at most 2, lies between 0 and 2 nats per image. A model that encodes nothing has $\mathrm{KL}=0$, and if its decoder returns black everywhere, it has an error equal to the mean of $1+x$, which is 0.26 on MNIST (whose pixels have a mean of 0.13 on a scale from 0 to 1). At its best, the model is no worse than that one. So on average its codes carry 0.26 nats at most, less than 0.4 of a bit, about an image of which one would like to know one of ten classes (2.3 nats) and much more. That is why it collapses.
#
# </details>
#
# <details><summary>5. A scale for each pixel</summary>
#
# `log_scale` is made in `VAE`, which does not know the size of an image; it is easier to replace it where a VAE is made. (Formulas need no change, since scales of shape (C, H, W) are broadcast over the batch.)
#
#     one_scale = make_vae
#
#     def make_vae(config, data):
#         vae = one_scale(config, data)
#         vae.log_scale = nn.Parameter(vae.log_scale.detach().expand(data.images.shape[1:]).clone())
#         return vae
#
#     change = {"name": "per-pixel", "network": "mlp", "scale": None, "snapshots": []}
#     for kind in ("laplace", "logistic"):
#         found = run_vae(config.model_copy(update=change | {"likelihood": kind}))
#         print(kind, found.metrics(epochs)["likelihood"]["bits_per_dim"])
#     make_vae = one_scale
#
# Bits per dimension, on MNIST after 2 epochs and on `digits` after 60:
#
# | | one scale | one for each pixel |
# |---|---|---|
# | MNIST, Laplace | 5.94 | 0.00 |
# | `digits`, Laplace | 5.29 | −7.97 |
# | `digits`, logistic | 3.08 | 3.03 |
#
# On MNIST 67 pixels are the same in all training images. In the corners the logarithm of the Laplace scale has gone from −1.2 to between −29 and −38 on MNIST (1,876 updates), and to about −25 on `digits` (1,260), by up to 0.02 an update, the learning rate that Adam has for it: it was still on its way when training ended.
#
# Why is it not a success? Take a pixel that is always black, $x=-1$, and a decoder that says $m=-1+\delta$. The best scale is $b=\delta$, and the log density is then $-\log2\delta-1$, which grows without bound as $\delta\to0$. A single such pixel can make the bits per dimension of the whole image as low as one likes, below zero and on to minus infinity, while nothing has been learned about any other pixel: the value now says how long one has trained, and how small a number float32 and Adam can reach. The cause is that a *density* is asked about bytes ([Theis et al. 2016](https://arxiv.org/abs/1511.01844)). Known with certainty, a byte costs 0 bits and not less. The logistic in bins is a probability of bytes, its bits are never negative, and there a scale for each pixel is an honest gain.
#
# </details>

# %% [markdown]
# ## Its latent space
#
# For paths between images ([06_interpolation](06_interpolation.ipynb)): an image's code is the mean of $q(z\,|\,x)$. From here on nothing new is said about VAEs; the cells serve other notebooks and the report.

# %%
#| export
def vae_space(run: Run, epochs: int) -> LatentSpace:
    "The latent space of a trained VAE; an image's code is the mean of q(z | x)."
    vae = make_vae(run.config, run.config.training_set())
    load_or_explain(run, epochs, vae)
    device = make_accelerator().device
    vae = vae.to(device).eval()

    @torch.no_grad()
    def decode(z: torch.Tensor) -> torch.Tensor:
        return vae.decode(z.to(device)).cpu()

    @torch.no_grad()
    def encode(x: torch.Tensor) -> torch.Tensor:
        return vae.encode(x.to(device))[0].cpu()

    return LatentSpace("vae", (run.config.latent,), decode, describe_run(run, epochs), encode)


# %% [markdown]
# ## Its section of the report
#
# What the report ([07_report](07_report.ipynb)) says of VAEs. Two tables first: the bounds, and the distances by the source of the codes.

# %%
#| export
def elbo_table(runs: pd.DataFrame, label: str) -> str:
    "Losses, bounds and Frechet distances of VAEs, and what they were trained and evaluated on."
    rows = []
    for r in runs.itertuples():
        known, fd = value_at(r.metrics, "likelihood") or {}, distance_score(r.metrics)
        tested = f"test, {known['n']:,}" if known else number(None)
        rows.append([
            r.label, r.epochs, escape(r.dataset), tested, number(value_at(r.metrics, "losses", "loss"), 1),
            plus_minus(known.get("elbo"), known.get("se"), 1), number(known.get("gap"), 1),
            number(known.get("kl"), 1), number(known.get("bits_per_dim"), 3),
            uncertain(fd.get("value"), fd.get("sd")),
        ])  # fmt: skip
    caption = (
        "Loss (each model's own, mean over the last epoch); "
        "on test images, in nats per image, summed over pixels: "
        "the evidence lower bound with its standard error, "
        "what the importance-weighted bound with 50 codes adds to it (on 200 images), and the KL term; "
        f"the ELBO in bits per dimension; {distance_heading(runs)} of samples from the prior."
    )
    measured = ["loss", "ELBO", "gap", "KL", "bits/dim", distance_heading(runs)]
    header = ["run", "epochs", "trained on", "evaluated on", *measured]
    return markdown_table(rows, header, caption, label, "lrllrrrrrr")


# %%
#| export
def source_table(runs: pd.DataFrame, label: str) -> str:
    "Frechet distances of a VAE's samples, by where their codes come from."
    rows = []
    for r in runs.itertuples():
        prior = distance_score(r.metrics)
        others = [value_at(r.metrics, "sources", source) or {} for source in ("mixture", "posterior")]
        distances = [uncertain(s.get("value"), s.get("sd")) for s in (prior, *others)]
        floor = uncertain(prior.get("floor"), prior.get("floor_sd"))
        rows.append([r.label, r.epochs, number(value_at(r.metrics, "n_samples"), 0), *distances, floor])
    caption = (
        f"{distance_heading(runs)} of a VAE's samples by the source of their codes: the prior; "
        "a mixture of ten Gaussians fitted to the codes of training images; "
        "the codes of training images themselves, with the encoder's noise "
        "(which gives reconstructions, not new images)."
    )
    header = ["run", "epochs", "$N$", "prior", "mixture", "posterior", "floor"]
    return markdown_table(rows, header, caption, label)


# %%
#| hide
known = {
    "n_samples": 500, "losses": {"loss": 210.0}, "sources": {"mixture": {"value": 40.0, "sd": 3.0}},
    "likelihood": {"elbo": -207.6, "se": 0.8, "gap": 1.8, "kl": 8.43, "bits_per_dim": 8.16, "n": 500},
    "scores": {"fd_lenet": {"value": 30.0, "sd": 3.0, "floor": 13.4, "floor_sd": 7.1}},
}  # fmt: skip
made_up = pd.DataFrame([{"dataset": "digits", "label": "vae", "epochs": 5, "metrics": known}])
bound = "| vae | 5 | digits | test, 500 | 210.0 | −207.6 ± 0.8 | 1.8 | 8.4 | 8.160 | 30(3) |"
assert bound in elbo_table(made_up, "e")
assert "| vae | 5 | 500 | 30(3) | 40(3) | — | 13(7) |" in source_table(made_up, "s")


# %% [markdown]
# The course of training, and pictures of each run after its last epoch. Some pictures need what only some VAEs have, such as a latent space of two numbers.

# %%
#| export
def vae_losses_fragment(runs: pd.DataFrame, folder: Path, label: str = "losses-vae") -> str:
    "The two terms of each VAE's loss, one figure for all runs."
    panels = {"reconstruction": {"reconstruction": "reconstruction"}, "KL (nats)": {"kl": "KL"}}
    caption = "The two terms of the loss of each VAE, per image: reconstruction (left) and KL (right)."
    return loss_curves(runs, folder, panels, caption, label)


def vae_pictures_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "Of each run after its last epoch: reconstructions, samples by source, codes and their use, the plane."
    rows = with_pictures(runs).itertuples()
    return "\n".join(part for r in rows for part in _picture_figures(r, folder)) or NONE


# %%
#| export
PICTURES = {  # caption and width
    "reconstructions": ("test images (above) and what comes back (below).", "80%"),
    "sources": ("samples by the source of their codes.", "80%"),
    "codes": ("KL of each latent number (left); codes of test images by class (right).", "80%"),
    "plane": ("the whole latent space, evenly spaced in the prior's quantiles.", "60%"),
}


# %%
#| export
def _picture_figures(r, folder: Path) -> list[str]:
    "The figures of one row of `runs`."
    pictures, parts = r.job.run.pictures(r.epochs), []
    drawn = {
        "reconstructions": plot_reconstructions(pictures),
        "sources": plot_sources(pictures),
        "codes": _plot_use(pictures, r.metrics),
    }
    if "plane" in pictures:
        drawn["plane"] = plot_plane(pictures)
    for kind, ax in drawn.items():
        name, (caption, width) = f"{kind}-{slug(r.label)}", PICTURES[kind]
        save_figure(ax.figure, folder / name)
        about = f"{r.label} after {plural(r.epochs, 'epoch')}: {caption}"
        parts.append(figure(folder, name, about, name, width))
    return parts


def _plot_use(pictures: dict[str, np.ndarray], metrics: dict) -> plt.Axes:
    "How much each latent number is used, and the map of codes."
    _, axes = plt.subplots(1, 2, figsize=(7.2, 2.6), layout="constrained")
    plot_units(metrics["likelihood"], axes[0])
    return plot_codes(pictures, axes[1])


# %% [markdown]
# The text of the section, and all of it together:

# %%
#| export
METHOD = r"""# Variational autoencoder {#sec-vae}

## Method {#sec-vae-method}

An encoder turns an image $x$ into a normal distribution $q(z \mid x)$ over codes, a decoder turns a code into
a distribution $p(x \mid z)$ over images [@kingma2014]. Both are trained to raise the evidence lower bound

$$
\log p(x) \ge \mathbb{E}_{q}\left[\log p(x \mid z)\right]
- \mathrm{KL}\left(q(z \mid x) \,\Vert\, \mathcal{N}(0, I)\right).
$$ {#eq-elbo}

A factor $\beta \ne 1$ at the KL term gives a $\beta$-VAE [@higgins2017]. Both terms of @eq-elbo are summed
over pixels and latent numbers and averaged over images; taking the mean over pixels instead would be a hidden
$\beta$ of the number of pixels. The likelihood of a pixel is a Laplace distribution of scale 1 unless
@tbl-provenance says otherwise. A VAE-GAN [@larsen2016] replaces pixels by the features of a discriminator and
adds its verdict. The bound with more codes [@burda2016] shows how tight the ELBO is.
"""

# %%
#| export
BOUND = """## The bound {#sec-elbo}

@tbl-elbo has bounds on images that the models have not seen. Laplace and Gaussian likelihoods, of any scale,
can be compared with each other; a logistic one gives probabilities of bytes and stands apart; a Bernoulli one
compares with none.
"""

SOURCES = """## Where codes come from {#sec-sources}

The codes of all training images together need not fill the prior. @tbl-sources shows whether that costs
anything: samples from the prior, against samples from a mixture fitted to the codes, against reconstructions
of training images.
"""


# %%
#| export
def vae_section(runs: pd.DataFrame, folder: Path) -> Section:
    "What the report says of VAEs; losses as numbers and the pictures of each run go to the appendix."
    text = [
        METHOD,
        "## Losses {#sec-vae-losses}\n",
        vae_losses_fragment(runs, folder),
        BOUND,
        elbo_table(runs, "elbo"),
        "## Samples {#sec-vae-samples}\n",
        sample_sheets(runs, folder, "samples-vae"),
        SOURCES,
        source_table(runs, "sources"),
    ]
    columns = {"loss": "loss", "reconstruction": "reconstruction", "kl": "KL (nats)"}
    losses = loss_table(runs, columns, "vae-losses")
    return Section("\n".join(text), "\n".join([losses, vae_pictures_fragment(runs, folder)]))


KINDS["vae"] = Kind("VAE", "04_vae", VAEConfig, run_vae, vae_section, vae_space, draw_vae)
