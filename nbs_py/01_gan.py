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
# # Generative adversarial networks
#
# > Two networks, one of which learns to make what the other cannot tell from real: a GAN in thirty lines, four losses, the DCGAN, one training loop, and what to watch for
#
# A painter of forgeries and an expert sit in a room. The painter has never seen an original. She shows the expert a picture. The expert, who also sees originals, says how likely it is to be one. Both learn from this verdict. If all goes well, the forgeries become as good as the originals, and the expert can only guess.
#
# In a **generative adversarial network** ([Goodfellow et al. 2014](https://arxiv.org/abs/1406.2661)) the painter is the **generator** $G$, a network that turns random numbers $z\sim\mathcal N(0,I)$, the *latent*, into an image $G(z)$. The expert is the **discriminator** $D$, which turns an image $x$ into a probability $D(x)$ that it is real. This notebook begins with a small GAN. Then it explains the game, builds the deep convolutional version, DCGAN ([Radford et al. 2016](https://arxiv.org/abs/1511.06434)), trains it, and measures it.
#
# Change the parameters below (`dataset` and `epochs` to begin with; the others are explained on the way) and run the notebook, or run it from a shell: `papermill nbs/01_gan.ipynb out.ipynb -p dataset mnist -p epochs 20`. Three notebooks go on from here: [01b_mode_collapse](01b_mode_collapse.ipynb), on generators that draw only part of what there is, [01c_few_images](01c_few_images.ipynb), on training with few images, and [01d_modern_gan](01d_modern_gan.ipynb), on a GAN of 2024.

# %%
#| default_exp gan

# %% tags=["parameters"]
dataset = "digits"  # digits, tinted_digits, mnist, fashion_mnist, cifar10, celeba, hf:REPO or folder:PATH
epochs = 60  # passes over the training set
snapshots = [1, 5, 20]  # look at the model after these epoch counts, too
name = "dcgan"  # a word for the run's folder
size = None  # pixels a side, a multiple of 4; None: the data set's own
subset = None  # train on so many images, or on this share of them; None: all
batch_size = 64  # images in an update
network = "dcgan"  # dcgan; report004: see 07b_reports; residual: see 01d_modern_gan
latent = 100  # numbers in z
width = 32  # channels at half the image's resolution, doubled at each further halving
extra_layers = 0  # so many more convolutions in each network; report004 only
dropout = 0.0  # share of D's features that is dropped before its last layer
norm = "batch"  # D's normalisation: batch, layer or spectral
conditional = False  # tell both networks the class
loss = "nonsaturating"  # nonsaturating, minmax, hinge or wgan-gp; relativistic: see 01d_modern_gan
penalty = 10.0  # wgan-gp, relativistic: weight of the gradient penalty
d_steps = 1  # updates of D for each of G
unroll = 0  # let G see D's answer so many updates ahead (see 01b_mode_collapse)
entropy = None  # weight of G's entropy; with one, G adds noise to its images (see 01e_presgan)
lr = 1e-3  # Adam's learning rate
lr_d = None  # the same for D; None: as for G
beta1 = 0.5  # Adam's decay of the gradient's mean
augment = []  # change images before D sees them: translate, tilt and more (see 01c_few_images)
augment_fakes = True  # change generated ones, too
ema = 0.0  # sample from a moving average of G's weights with this decay; 0: from the last weights
seed = 0  # all randomness follows from it
precision = "no"  # bf16: bfloat16 autocast
n_samples = None  # images to draw and score; None: as many as there are test images
metrics = ["fd_lenet"]  # what to measure: see 05_fid

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm

from genlab.augment import Augmentation, augment_images
from genlab.data import ImageSet, load_dataset, spread_classes, to_image, to_model
from genlab.fid import check_metrics, evaluate
from genlab.interpolation import LatentSpace, describe_run, load_or_explain
from genlab.plug import KINDS, LOSSES, NETWORKS, Kind, Section, key_of, look_up
from genlab.runs import (
    EMA,
    Run,
    RunConfig,
    count_costs,
    fits_memory,
    latents,
    make_accelerator,
    make_adam,
    seed_everything,
)
from genlab.tables import loss_curves, loss_table, sample_sheets

# %%
#| hide
import json
import math
import tempfile

import matplotlib.pyplot as plt
import pytest

from genlab.data import show_grid
from genlab.runs import plot_history, project_root


# %%
#| echo: false
def box(x, y, text, colour="white"):
    style = dict(boxstyle="round,pad=0.5", facecolor=colour, edgecolor="0.4")
    ax.text(x, y, text, ha="center", va="center", fontsize=9, bbox=style)


def arrow(start, end, style="-", colour="0.3", bend=0.0):
    line = dict(arrowstyle="-|>", linestyle=style, color=colour, connectionstyle=f"arc3,rad={bend}")
    ax.annotate("", end, start, arrowprops=line)


fig, ax = plt.subplots(figsize=(8, 2.9), layout="constrained")
ax.set(xlim=(-0.5, 9.9), ylim=(-0.55, 2.6))
ax.axis("off")
box(0, 1.5, "latent $z$")
box(2.2, 1.5, "generator\n$G$", "#cfe2f3")
box(4.4, 1.5, "fake\n$G(z)$")
box(4.4, 0.2, "real\n$x$")
box(6.6, 0.85, "discriminator\n$D$", "#f9d8c0")
box(9.1, 1.5, "$D(G(z))$")
box(9.1, 0.2, "$D(x)$")
for start, end in [((0.55, 1.5), (1.45, 1.5)), ((2.95, 1.5), (3.9, 1.5)), ((4.9, 1.5), (5.65, 1.05))]:
    arrow(start, end)
for start, end in [((4.85, 0.2), (5.65, 0.65)), ((7.55, 1.05), (8.45, 1.45)), ((7.55, 0.65), (8.6, 0.25))]:
    arrow(start, end)
arrow((9.0, 1.8), (2.3, 1.95), "--", "C0", 0.17)
ax.text(5.6, 2.45, "$G$ learns from this alone, through $D$", ha="center", fontsize=8, color="C0")
arrow((8.7, -0.1), (6.7, 0.4), "--", "C1", -0.35)
ax.text(7.0, -0.42, "$D$ learns from both", ha="center", fontsize=8, color="C1");

# %% [markdown]
# Solid arrows show what is computed from what, dashed ones who learns from which verdict. The generator never sees a real image. It learns about them only through the discriminator's verdicts on fakes.
#
# ## A GAN in thirty lines
#
# Two small networks of dense layers, handwritten digits of 8x8 pixels (the DCGAN will get them at 16x16, see [00_data](00_data.ipynb)), and a loop in plain PyTorch. In each step $D$ learns to call real images real (a target of 1) and fakes fake (a target of 0). Then $G$ learns to make fakes that $D$ calls real.
#
# The network `D` does not return the probability itself. It returns its *logit* $a$, a number from $-\infty$ to $\infty$, and the probability is $\sigma(a)=1/(1+e^{-a})$. That is what `F.binary_cross_entropy_with_logits` expects. Everything else in this notebook improves some line below.

# %%
pixels = to_model(load_dataset("digits", "train", 8).images).flatten(1)  # (1297, 64), in [-1, 1]
torch.manual_seed(0)
G = nn.Sequential(
    nn.Linear(16, 128), nn.ReLU(),
    nn.Linear(128, 128), nn.ReLU(),
    nn.Linear(128, 64), nn.Tanh(),
)  # fmt: skip
D = nn.Sequential(
    nn.Linear(64, 128), nn.LeakyReLU(0.2), nn.Dropout(0.2),
    nn.Linear(128, 128), nn.LeakyReLU(0.2), nn.Dropout(0.2),
    nn.Linear(128, 1),
)  # fmt: skip
opt_G = torch.optim.Adam(G.parameters(), lr=1e-3, betas=(0.5, 0.999))
opt_D = torch.optim.Adam(D.parameters(), lr=2e-3, betas=(0.5, 0.999))
ones, zeros, bce = torch.ones(64, 1), torch.zeros(64, 1), F.binary_cross_entropy_with_logits
z_shown, pictures = torch.randn(16, 16), {}  # 16 latents, always the same, to watch the progress

for step in range(3001):
    if step in (0, 300, 1000, 3000):
        pictures[f"{step} steps"] = G(z_shown).detach()

    real = pixels[torch.randint(len(pixels), (64,))]
    fake = G(torch.randn(64, 16))
    loss_D = bce(D(real), ones) + bce(D(fake.detach()), zeros)  # detach: this loss is not for G
    opt_D.zero_grad()
    loss_D.backward()
    opt_D.step()

    loss_G = bce(D(fake), ones)  # through D to G; opt_G changes only G
    opt_G.zero_grad()
    loss_G.backward()
    opt_G.step()

# %%
pictures["real"] = pixels[:16]
show_grid(torch.cat([*pictures.values()]).view(-1, 1, 8, 8), ncol=16, rows=[*pictures]);

# %%
#| hide
assert len(torch.unique(pictures["3000 steps"].gt(0), dim=0)) >= 8, "more than a few images"
before, after = (torch.cdist(pictures[f"{n} steps"], pixels).amin(1).mean() for n in (0, 3000))
assert after < 0.6 * before, "nearer to digits than noise is"

# %% [markdown]
# Noise, then blots, then digits. Some are good, and some are not digits at all. Why does this work, what can go wrong, and what makes it better?

# %% [markdown]
# ## The game and its value
#
# The discriminator wants to be right about real and generated images. The generator wants it to be wrong. Both change one number, the *value* $V$: $D$ makes it larger, $G$ smaller.
#
# $$ \min_G\max_D V(D,G)=\mathbb E_{x}\big[\log D(x)\big]+\mathbb E_{z}\big[\log\big(1-D(G(z))\big)\big] $$
#
# Here $\mathbb E_x$ is the mean over real images, whose density is $p$, and $\mathbb E_z$ that over latents. Hold the generator fixed, and call the density of its images $p_g$. **The best discriminator** maximises $p\log D+p_g\log(1-D)$ at each $x$. The slope of this in $D$, $p/D-p_g/(1-D)$, is zero at $D^*(x)=p(x)/(p(x)+p_g(x))$.
#
# **The best generator** against it makes $V(D^*,G)$ as small as it can. To see what that means, we need a distance between densities. The *Kullback-Leibler divergence* $\mathrm{KL}(a\Vert b)=\int a\log\frac ab$ says how far a density $a$ is from $b$: it is zero if they are equal and positive otherwise. The same holds for the *Jensen-Shannon divergence* JSD, which compares both with their mean. With $m=\frac12(p+p_g)$ we have $D^*=\frac p{2m}$ and $1-D^*=\frac{p_g}{2m}$, hence
#
# $$ V(D^*,G)=\int p\log\frac p{2m}+\int p_g\log\frac{p_g}{2m}=2\,\mathrm{JSD}(p,p_g)-\log4,\qquad\mathrm{JSD}(p,p_g)=\tfrac12\mathrm{KL}(p\Vert m)+\tfrac12\mathrm{KL}(p_g\Vert m). $$
#
# So the best generator has $p_g=p$: it makes every kind of image as often as the data contain it. Then $D^*=\frac12$ everywhere and the expert guesses. This is why a GAN can work.
#
# We check the formula, and that three other $D$ do not reach the value of $D^*$, on two one-dimensional densities. Integrals are sums over a fine grid:

# %%
x = torch.linspace(-8, 8, 4001, dtype=torch.float64)
p, p_g = (torch.exp(torch.distributions.Normal(m, s).log_prob(x)) for m, s in [(-1.0, 1.0), (1.0, 1.5)])


def value(D):
    return torch.trapezoid(p * D.log() + p_g * (1 - D).log(), x)


def kl(a, b):
    return torch.trapezoid(a * (a / b).log(), x)


best = p / (p + p_g)
jsd = (kl(p, (p + p_g) / 2) + kl(p_g, (p + p_g) / 2)) / 2
assert torch.isclose(value(best), 2 * jsd - torch.tensor(4.0).log(), atol=1e-8)
for other in (best * 0.9, best * 0.9 + 0.1, torch.full_like(x, 0.5)):
    assert value(other) < value(best)

# %%
fig, ax = plt.subplots(figsize=(5, 2.4), layout="constrained")
for curve, label in [(p, "data $p$"), (p_g, "generator $p_g$"), (best, "best discriminator $D^*$")]:
    ax.plot(x, curve, label=label)
ax.set(xlabel="$x$", ylabel="density, or $D^*$")
ax.set_title(f"$V(D^*, G)$ = {value(best):.3f}; with $p_g=p$ it would be $-\\log 4$ = -1.386", fontsize=9)
ax.legend(frameon=False);

# %% [markdown]
# On the far left $D^*$ falls again: the generator's density is the wider one, so a point far out is more likely to be its own.
#
# ### Why the generator does not minimise the value
#
# Early in training the forgeries are bad, and $D(G(z))=\sigma(a)\approx0$. The generator's term $\log(1-\sigma(a))$ has the slope $-\sigma(a)$ in the logit $a$: almost zero exactly when the generator is worst. The loss *saturates*.
#
# Goodfellow's remedy is to minimise $-\log D(G(z))$ instead. Its slope $-(1-\sigma(a))$ is steepest where the generator is worst. The goal stays the same: if $p_g=p$, the best discriminator says $\frac12$ of every image, and no change of an image makes this loss smaller, either. (Logarithms are natural ones. So losses are in *nats*.)

# %%
a = torch.linspace(-8, 8, 201, dtype=torch.float64, requires_grad=True)
saturating, nonsaturating = F.logsigmoid(-a), -F.logsigmoid(a)  # log(1 - D) and -log D, to be minimised
slopes = [torch.autograd.grad(loss.sum(), a)[0] for loss in (saturating, nonsaturating)]
assert torch.allclose(slopes[0], -a.sigmoid()) and torch.allclose(slopes[1], a.sigmoid() - 1)
fig, axes = plt.subplots(1, 2, figsize=(7, 2.4), layout="constrained")
titles, labels = ("generator's loss", "its slope"), ("min-max: $\\log(1-D)$", "non-saturating: $-\\log D$")
for ax, curves, title in zip(axes, [(saturating, nonsaturating), slopes], titles, strict=True):
    for curve, label in zip(curves, labels, strict=True):
        ax.plot(a.detach(), curve.detach(), label=label)
    ax.set(xlabel="logit $a$ of $D(G(z))$", title=title)
    ax.axvspan(-8, -3, color="0.9")
axes[0].set_ylabel("nats")
axes[1].set_ylabel("nats per unit of logit")
axes[1].text(-5.5, -0.5, "bad\nforgeries", ha="center")
axes[0].legend(frameon=False, loc="lower left");


# %% [markdown]
# The discriminator's loss is minus the value. It and the generator's non-saturating loss are the binary cross-entropies of the thirty lines above, with target 1 for what should be called real and 0 for what should be called fake. Computing them from logits rather than from probabilities avoids $\log 0$: $-\log\sigma(a)=\log(1+e^{-a})$, which is `softplus(-a)`.

# %%
#| export
def bce_d_loss(
    real_logits: torch.Tensor,  # D's logits of real images (B,)
    fake_logits: torch.Tensor,  # and of generated ones (B,)
) -> torch.Tensor:  # scalar, nats
    "-log D(x) - log(1 - D(G(z))), averaged over the batch (Goodfellow et al. 2014, eq. 1, sign turned)."
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def nonsaturating_g_loss(fake_logits: torch.Tensor) -> torch.Tensor:
    "The non-saturating loss -log D(G(z)), averaged over the batch (Goodfellow et al. 2014, section 3)."
    return F.softplus(-fake_logits).mean()


def minmax_g_loss(fake_logits: torch.Tensor) -> torch.Tensor:
    "The generator's part of the value, log(1 - D(G(z))), averaged (Goodfellow et al. 2014, eq. 1)."
    return -F.softplus(fake_logits).mean()


# %%
real_logits, fake_logits = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])
bce = F.binary_cross_entropy_with_logits
expected = bce(real_logits, torch.ones(2)) + bce(fake_logits, torch.zeros(2))
assert torch.isclose(bce_d_loss(real_logits, fake_logits), expected)
assert torch.isclose(nonsaturating_g_loss(fake_logits), bce(fake_logits, torch.ones(2)))
assert torch.isclose(minmax_g_loss(fake_logits), (1 - fake_logits.sigmoid()).log().mean())
zero = torch.zeros(1)
assert torch.isclose(bce_d_loss(zero, zero), torch.tensor(4.0).log()), "a guessing D has loss log 4"
assert nonsaturating_g_loss(torch.tensor([-1e4])).isfinite()


# %% [markdown]
# ### Losses without a logarithm
#
# In the formulas of this section $D(x)$ is the bare output of the network, no longer a probability.
#
# **Hinge** ([Lim and Ye 2017](https://arxiv.org/abs/1705.02894), [Miyato et al. 2018](https://arxiv.org/abs/1802.05957)): the discriminator wants its output above 1 on real images and below -1 on fakes. An image that is beyond this margin has no gradient any more, so the outputs stay small. The generator just wants a larger output.

# %%
#| export
def hinge_d_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    "max(0, 1 - D(x)) + max(0, 1 + D(G(z))), averaged (Lim and Ye 2017; Miyato et al. 2018, eq. 16)."
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


# %% [markdown]
# **Wasserstein** ([Arjovsky et al. 2017](https://arxiv.org/abs/1701.07875)): the discriminator is now called the *critic* $f$. Suppose it may nowhere be steeper than 1: moving by one unit of distance in image space changes $f$ by at most one. Then $\max_f\mathbb E_x f(x)-\mathbb E_z f(G(z))$ is the *earth mover's distance* between data and fakes: how far, on average, each piece of probability has at least to be carried. Unlike the Jensen-Shannon divergence it does not level off when the two are far apart, so its slope is useful however bad the forgeries are.

# %%
#| export
def wasserstein_d_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    "f(G(z)) - f(x), averaged: an estimate of minus the earth mover's distance (Arjovsky et al. 2017, eq. 2)."
    return fake_logits.mean() - real_logits.mean()


def wasserstein_g_loss(fake_logits: torch.Tensor) -> torch.Tensor:
    "-f(G(z)), averaged over the batch: the generator's loss against a hinge discriminator or a critic."
    return -fake_logits.mean()


# %% [markdown]
# How is a critic kept from being steeper than 1? [Gulrajani et al. (2017)](https://arxiv.org/abs/1704.00028) show that the best such critic has the slope 1 almost everywhere on the way from fakes to data. They keep it there with a **gradient penalty** $\lambda\,\mathbb E\big[(\lVert\nabla_{\hat x}f(\hat x)\rVert-1)^2\big]$ at random points $\hat x$ between a real image and a fake (WGAN-GP; $\lambda$ is the parameter `penalty`). The penalty contains a gradient, and is itself differentiated with respect to the critic's weights, hence `create_graph`. It is about the slope at single images. Batch normalisation makes an output depend on the whole batch, so it cannot be used in such a critic.

# %%
#| export
def gradient_penalty(
    critic: Callable,  # a function of images (B, ...) that returns (B,)
    real: torch.Tensor,  # (B, ...)
    fake: torch.Tensor,  # (B, ...)
) -> torch.Tensor:  # scalar
    "(slope of the critic - 1)^2 between each real image and a fake, averaged (Gulrajani et al. 2017, eq. 3)."
    share = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device, dtype=real.dtype)
    between = torch.lerp(real, fake.detach(), share).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


# %% [markdown]
# A linear critic $f(x)=w\cdot x$ has the slope $\lVert w\rVert$ everywhere. With $\lVert w\rVert=1$ the penalty is zero, with 3 it is $(3-1)^2=4$. And for one real point and one fake, the best critic of slope 1 estimates exactly their distance:

# %%
real, fake, w = torch.randn(5, 7).double(), torch.randn(5, 7).double(), torch.randn(7).double()
w /= w.norm()
assert gradient_penalty(lambda x: x @ w, real, fake) < 1e-24
assert torch.isclose(gradient_penalty(lambda x: 3 * x @ w, real, fake), torch.tensor(4.0).double())
straight = (real[0] - fake[0]) / (real[0] - fake[0]).norm()
distance = (real[0] - fake[0]).norm()
assert torch.isclose(-wasserstein_d_loss(real[:1] @ straight, fake[:1] @ straight), distance)

# %%
#| hide
origin, away = torch.zeros(4, 7).double(), 3 * w.expand(4, 7)
scale = torch.ones((), dtype=torch.float64, requires_grad=True)
torch.manual_seed(0)
share = torch.rand(4, 1, dtype=torch.float64)
torch.manual_seed(0)
bowl = lambda x: scale * x.square().sum(1) / 2  # its slope at x is |x|, here 3 * share
cost = gradient_penalty(bowl, origin, away)
assert torch.isclose(cost, (3 * share - 1).square().mean()), "a point of its own for each pair"
slope = (2 * (3 * share - 1) * 3 * share).mean()
assert torch.isclose(torch.autograd.grad(cost, scale)[0], slope), "the critic learns from the penalty"
assert hinge_d_loss(torch.tensor([0.5]), torch.tensor([0.0])) == 1.5
assert hinge_d_loss(torch.tensor([1.0, 5.0]), torch.tensor([-1.0, -9.0])) == 0, "sure enough"


# %% [markdown]
# So a loss of a GAN is two functions, and some have more: a penalty, which is added to the discriminator's loss with the weight `penalty`; and in [01d_modern_gan](01d_modern_gan.ipynb) there is a generator that is told $D$'s verdicts on real images, too. The ones of this notebook by name:

# %%
#| export
class GANLoss(NamedTuple):
    "What the networks minimise; `LOSSES` takes a pair of functions as well."

    d_loss: Callable  # of D's verdicts on real (B,) and generated images (B,)
    g_loss: Callable  # of those on generated images; with `pairs`, of both, as d_loss
    penalty: Callable | None = None  # of D, real and generated images; config.penalty weighs it in D's loss
    pairs: bool = False
    probability: bool = False  # the sigmoid of a verdict is the probability that an image is real


def find_loss(name: str) -> GANLoss:
    "The loss of that name, with all its parts."
    return GANLoss(*LOSSES[name])


LOSSES |= {
    "nonsaturating": GANLoss(bce_d_loss, nonsaturating_g_loss, probability=True),
    "minmax": GANLoss(bce_d_loss, minmax_g_loss, probability=True),
    "hinge": GANLoss(hinge_d_loss, wasserstein_g_loss),
    "wgan-gp": GANLoss(wasserstein_d_loss, wasserstein_g_loss, gradient_penalty),
}

# %% [markdown]
# For the generator, the losses differ in how strongly a fake with logit $a$ is pushed. Hinge and Wasserstein push all fakes alike: these two differ only in the discriminator.

# %%
a = torch.linspace(-6, 6, 201, dtype=torch.float64, requires_grad=True)
fig, ax = plt.subplots(figsize=(5, 2.4), layout="constrained")
for key, style in [("nonsaturating", "-"), ("minmax", "-"), ("hinge", "-"), ("wgan-gp", "--")]:
    g_loss = find_loss(key).g_loss
    ax.plot(a.detach(), torch.autograd.grad(len(a) * g_loss(a), a)[0], style, label=key)
ax.set(xlabel="logit (or critic's value) of a fake", ylabel="slope of $G$'s loss")
ax.legend(frameon=False, fontsize=8);


# %% [markdown]
# ### Does the game come to rest?
#
# Two players each go down their own loss, and it is not clear that they ever stop. The smallest example is the *Dirac-GAN* ([Mescheder et al. 2018](https://arxiv.org/abs/1801.04406)): all real "images" are the number 0, all fakes the number $\theta$, and the discriminator's logit is $\psi x$. The game should end at $\theta=\psi=0$, the cross in the pictures.
#
# For each $(\theta,\psi)$ the grey arrows show where the players want to go, that is minus the slope of each one's loss. The players take turns. The line shows 400 updates of each, from the dot to the square.
#
# The third panel adds a penalty to the discriminator's loss: half the squared slope of the logit at real images, here $\psi^2/2$ (Mescheder et al. call it $R_1$).

# %%
def wishes(theta, psi, loss, gamma):
    "Minus the slopes of both losses: where generator and discriminator want to go; gamma weighs the penalty."
    # one game for each entry of theta and psi; times len, because the losses are means over all of them
    theta, psi = (x.clone().requires_grad_() for x in (theta, psi))
    d_loss, g_loss = LOSSES[loss][:2]
    loss_D = len(psi) * d_loss(0 * psi, psi * theta) + gamma / 2 * psi.square().sum()
    loss_G = len(psi) * g_loss(psi * theta)
    return -torch.autograd.grad(loss_G, theta)[0], -torch.autograd.grad(loss_D, psi)[0]


# %%
def play(loss, gamma, rate=0.1, updates=400):
    "The discriminator moves, then the generator: (updates + 1, 2)."
    theta, psi = torch.tensor([1.5]), torch.tensor([0.0])
    path = [torch.cat([theta, psi])]
    for _ in range(updates):
        psi = psi + rate * wishes(theta, psi, loss, gamma)[1]
        theta = theta + rate * wishes(theta, psi, loss, gamma)[0]
        path.append(torch.cat([theta, psi]))
    return torch.stack(path)


games = {  # title: loss, gamma
    "min-max": ("minmax", 0),
    "non-saturating": ("nonsaturating", 0),
    "non-saturating, penalty": ("nonsaturating", 1),
}
paths = {title: play(*game) for title, game in games.items()}

# %%
along = torch.linspace(-2, 2, 20)
psi, theta = torch.meshgrid(along, along, indexing="ij")
fig, axes = plt.subplots(1, 3, figsize=(8, 3), layout="constrained", sharey=True)
for ax, (title, game) in zip(axes, games.items(), strict=True):
    arrows = [wish.view(20, 20).numpy() for wish in wishes(theta.flatten(), psi.flatten(), *game)]
    ax.streamplot(*along.numpy()[None].repeat(2, 0), *arrows, color="0.8", density=0.8, linewidth=0.7)
    ax.plot(*paths[title].T, linewidth=0.9)
    ax.plot(*paths[title][0], "o", color="C0")
    ax.plot(*paths[title][-1], "s", color="C3", markersize=4)
    ax.plot(0, 0, "+", color="0", markersize=9)
    ax.set(title=title, xlabel="generator $\\theta$", xlim=(-2, 2), ylim=(-2, 2), aspect="equal")
    ax.set(xticks=range(-2, 3), yticks=range(-2, 3))
axes[0].set_ylabel("discriminator $\\psi$");

# %%
ends = {title: path[-1].norm().item() for title, path in paths.items()}
assert ends["min-max"] > 1 and 0.2 < ends["non-saturating"] < 1 and ends["non-saturating, penalty"] < 0.01


# %% [markdown]
# Without a penalty the players run after one another: in the min-max game in circles, in the non-saturating one in circles that shrink more and more slowly. With the penalty they come to rest where they should, because the discriminator is pulled back to $\psi=0$, "I cannot tell". The penalty of WGAN-GP does not do that: it pulls the critic's slope to 1, also where it should be 0. Averaged weights (`ema`) help in another way: the average of a circle is near its centre.
#
# Another cure lets the generator *look ahead*: it sees what the discriminator will answer after a few more updates (`unroll`). [01b_mode_collapse](01b_mode_collapse.ipynb) explains it.

# %% [markdown]
# ## The networks
#
# DCGAN's recipe:
#
# - No pooling and no hidden dense layers. Convolutions with a stride of 2 halve the resolution, transposed ones double it.
# - Batch normalisation, except at the generator's output and the discriminator's input and output.
# - ReLU in the generator, leaky ReLU in the discriminator.
# - Tanh at the generator's output, because images are in [-1, 1].
#
# A side is halved until it is odd or less than 8: 16 → 8 → 4, 28 → 14 → 7, 32 → 16 → 8 → 4, 64 → 32 → 16 → 8 → 4. The discriminator goes down these steps and the generator up, with the number of channels doubled at each step down.
#
# Three options can wait for a second reading:
#
# - `norm="layer"` normalises each image by itself, as the gradient penalty needs it.
# - `norm="spectral"` limits how far a layer can stretch its input (Miyato et al. 2018). It takes the weights of each convolution in the discriminator as a matrix, with a row for each output channel, and divides them by its largest singular value.
# - `conditional` tells both networks the class $y$. The generator gets it as a one-hot vector beside $z$. The discriminator sums its features over positions, takes the scalar product with a learned vector of the class, and adds this to its logit (*projection*, [Miyato and Koyama 2018](https://arxiv.org/abs/1802.05637)).

# %%
#| export
def resolutions(size: int) -> list[int]:
    "The resolutions of a DCGAN from the image down, as 28, 14, 7. ValueError if `size` is no multiple of 4."
    if size % 4 or size < 8:
        raise ValueError(f"size: a DCGAN halves and doubles images, and {size} pixels cannot be; "
                         "choose a multiple of 4 from 8 on.")  # fmt: skip
    steps = [size]
    while steps[-1] % 2 == 0 and steps[-1] >= 8:
        steps.append(steps[-1] // 2)
    return steps


# %% [markdown]
# The generator turns $z$ into a few pixels with many channels. Then it doubles the side and halves the channels until the image is there.

# %%
#| export
class Generator(nn.Module):
    "z (B, latent), and labels (B,) if it has classes, to images (B, channels, size, size) in [-1, 1]."

    def __init__(self, latent: int, channels: int, size: int, width: int = 64, classes: int = 0):
        super().__init__()
        *ups, base = resolutions(size)
        self.latent, self.classes, w = latent, classes, width * 2 ** (len(ups) - 1)
        layers = [
            nn.Unflatten(1, (latent + classes, 1, 1)),
            nn.ConvTranspose2d(latent + classes, w, base, bias=False), nn.BatchNorm2d(w), nn.ReLU(),
        ]  # fmt: skip
        for _ in ups[1:]:
            layers += [nn.ConvTranspose2d(w, w // 2, 4, 2, 1, bias=False), nn.BatchNorm2d(w // 2), nn.ReLU()]
            w //= 2
        self.net = nn.Sequential(*layers, nn.ConvTranspose2d(w, channels, 4, 2, 1), nn.Tanh())

    def forward(self, z: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        if self.classes:
            z = torch.cat([z, F.one_hot(y, self.classes)], 1)
        return self.net(z)


# %% [markdown]
# The discriminator may normalise in three ways. Two are layers. The spectral norm is put on the weights, in `dcgan` below:

# %%
#| export
def normalise(norm: str, channels: int) -> nn.Module:
    "A layer that normalises so many channels; for `spectral`, which is about weights, one that does nothing."
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(1, channels) if norm == "layer" else nn.Identity()


# %% [markdown]
# The discriminator goes the other way. At the end it turns a few pixels into a single number.

# %%
#| export
class Discriminator(nn.Module):
    "Images (B, channels, size, size), and labels (B,) if it has classes, to logits (B,): positive is real."

    def __init__(self, channels: int, size: int, width=64, classes=0, norm="batch", dropout=0.0):
        super().__init__()
        *downs, base = resolutions(size)
        w, layers = width, [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for _ in downs[1:]:
            convolution = nn.Conv2d(w, w * 2, 4, 2, 1, bias=norm == "spectral")
            layers += [convolution, normalise(norm, w * 2), nn.LeakyReLU(0.2)]
            w *= 2
        if dropout:
            layers.append(nn.Dropout(dropout))
        self.features = nn.Sequential(*layers)
        self.logit = nn.Sequential(nn.Conv2d(w, 1, base), nn.Flatten(0))
        self.embed = nn.Embedding(classes, w) if classes else None

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        h = self.features(x)
        logits = self.logit(h)
        return logits if self.embed is None else logits + (self.embed(y) * h.sum((2, 3))).sum(1)


# %% [markdown]
# A convolution before a normalising layer has no bias, because that layer adds one of its own. Weights start small, from $\mathcal N(0, 0.02^2)$; the factors of batch normalisation from $\mathcal N(1, 0.02^2)$.

# %%
#| export
def init_weights(module: nn.Module) -> None:
    "DCGAN's initialisation of a layer, for `net.apply` (Radford et al. 2016, section 4; gains: their code)."
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):  # a discriminator starts without an opinion on classes
        nn.init.zeros_(module.weight)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


# %% [markdown]
# ### To look at a network without changing it
#
# Some layers change whenever they are used: batch normalisation takes each batch into its running means, the spectral norm improves its estimate. This is right in training, and wrong if we only want to *see* what a network returns. `output_only` lets the network work with copies of these numbers.

# %%
#| export
@torch.no_grad()
def output_only(net: nn.Module, *inputs: torch.Tensor) -> torch.Tensor:
    "What `net` returns, in the mode in which it is; nothing of it is changed."
    return functional_call(net, {name: buffer.clone() for name, buffer in net.named_buffers()}, inputs)


# %%
#| hide
stack = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
for layer in (nn.BatchNorm2d(1), spectral_norm(nn.Conv2d(1, 2, 3)), stack):
    before, x = {k: v.clone() for k, v in layer.state_dict().items()}, torch.randn(5, 1, 4, 4)
    same = lambda: all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())
    y = output_only(layer, x)
    assert same(), "nothing is changed"
    assert torch.equal(y, layer(x)) and not same(), "using it does change it"


# %% [markdown]
# To see what the layers do, `layer_table` notes the shape of what each of them returns, with a forward hook:

# %%
#| export
def layer_table(
    net: nn.Module,
    *inputs: torch.Tensor,  # of the network
) -> pd.DataFrame:  # layer, output shape without the batch, parameters
    "What each layer makes of the inputs, and how many parameters it has."
    rows = []

    def note(layer, _, y):
        rows.append((type(layer).__name__, tuple(y.shape[1:]), sum(p.numel() for p in layer.parameters())))

    hooks = [layer.register_forward_hook(note) for layer in net.modules() if not list(layer.children())]
    output_only(net, *inputs)
    for hook in hooks:
        hook.remove()
    return pd.DataFrame(rows, columns=["layer", "output shape", "parameters"])


# %%
layer_table(Generator(100, 1, 16), torch.randn(2, 100))

# %%
layer_table(Discriminator(1, 16), torch.zeros(2, 1, 16, 16))

# %%
#| hide
assert [resolutions(s) for s in (16, 28, 32)] == [[16, 8, 4], [28, 14, 7], [32, 16, 8, 4]]
for s in (16, 28, 32, 64):
    for c in (1, 3):
        fake = Generator(10, c, s, 8)(torch.randn(3, 10))
        assert fake.shape == (3, c, s, s) and fake.abs().max() <= 1
        assert Discriminator(c, s, 8)(fake).shape == (3,)

# %%
#| hide
y = torch.tensor([0, 1, 1])
G, D = Generator(10, 1, 16, 8, classes=2), Discriminator(1, 16, 8, classes=2, norm="layer")
fake = G(torch.ones(3, 10), y).detach()
assert not torch.allclose(fake[0], fake[1]) and torch.allclose(fake[1], fake[2]), "the class decides"
h = D.features(fake)
expected = D.logit(h) + torch.einsum("bc,bchw->b", D.embed.weight[y], h)
assert torch.allclose(D(fake, y), expected, atol=1e-5)
with pytest.raises(ValueError, match="30 pixels cannot be"):
    Generator(10, 1, 30)
seed_everything(0)
big = nn.Conv2d(64, 64, 4).apply(init_weights).weight  # 65,536 weights: the spread is known to 0.3 %
assert abs(big.std() - 0.02) < 3e-4 and abs(big.mean()) < 3e-4


# %% [markdown]
# ## What defines a GAN run
#
# A GAN has the settings below, and those that every run has (data set, batch size, seed, ...: see [00_runs](00_runs.ipynb)). $\beta_1$ and the 100 numbers in $z$ are the DCGAN paper's. Its networks are twice as wide (64 channels), its batches twice as large and its learning rate is 2e-4. For MNIST that is slower *and* worse: after 5 epochs it has an `fd_lenet` of 109 ± 1, with the settings below 71 ± 2, in a sixth of the time. The paper draws $z$ uniformly; we draw it from a normal distribution, as has become usual.

# %%
#| export
class GANConfig(RunConfig):
    "A GAN run."

    log_line: ClassVar[str] = (
        "Loss_D: {loss_d:.4f}  Loss_G: {loss_g:.4f}  D(x): {d_x:.4f}  D(G(z)): {d_g_z1:.4f} / {d_g_z2:.4f}"
    )

    since: ClassVar[dict] = {"entropy": None}

    model: Literal["gan"] = "gan"
    name: str = Field("dcgan", pattern=r"^[\w.-]+$")
    batch_size: PositiveInt = 64
    network: key_of(NETWORKS["gan"], once={"report004": "report-004"}) = "dcgan"
    latent: PositiveInt = 100  # dimension of z
    width: PositiveInt = 32  # channels at half the image's resolution, doubled at each further halving
    extra_layers: int = Field(0, ge=0, le=100)  # report004: more convolutions in each network
    dropout: float = Field(0.0, ge=0, lt=1)  # share of D's features that is dropped before its last layer
    norm: Literal["batch", "layer", "spectral"] = "batch"  # D's normalisation
    conditional: bool = False  # both networks are told the class
    loss: key_of(LOSSES) = "nonsaturating"
    penalty: PositiveFloat = 10.0  # of a loss that has one, such as wgan-gp: weight of the gradient penalty
    d_steps: PositiveInt = 1  # updates of D for each of G
    unroll: NonNegativeInt = 0  # G sees D's answer so many updates ahead
    entropy: float | None = Field(None, ge=0)  # weight of G's entropy, see 01e_presgan; None: G has no noise
    lr: PositiveFloat = 1e-3  # Adam's learning rate
    lr_d: PositiveFloat | None = None  # the same for D; None: as for G
    beta1: float = Field(0.5, ge=0, lt=1)  # Adam's decay of the gradient's mean
    augment: list[Augmentation] = []  # what is done to images before D sees them, in this order
    augment_fakes: bool = True  # do it to generated ones, too

    @model_validator(mode="after")
    def _fits_together(self):
        dcgan, penalised = self.network == "dcgan", find_loss(self.loss).penalty is not None
        if penalised and self.unroll:
            raise ValueError("unroll: looking ahead does not know the gradient penalty; "
                             f"use another loss than {self.loss}.")  # fmt: skip
        if self.entropy is not None and (self.unroll or self.augment):
            raise ValueError("entropy: a PresGAN neither looks ahead nor augments images; "
                             "leave out unroll and augment.")  # fmt: skip
        if penalised and dcgan and self.norm == "batch":
            raise ValueError("norm: a gradient penalty is about single images, which batch normalisation "
                             "mixes; use norm='layer' or 'spectral'.")  # fmt: skip
        if self.network == "report004" and (self.norm != "batch" or self.conditional):
            raise ValueError("network: report004 knows no classes and no other normalisation than none; "
                             "leave norm and conditional as they are.")  # fmt: skip
        if dcgan and self.extra_layers:
            raise ValueError("extra_layers: only the networks of report004 take more layers; "
                             "a DCGAN's follow from the image size.")  # fmt: skip
        return self


# %% [markdown]
# The configuration of this notebook's run is made from the parameters at the top:

# %%
config = GANConfig.of(globals())
data = config.training_set()
show_grid(data.images[:32], ncol=16, title=f"{dataset}: real images");


# %% [markdown]
# `network` is the name of a function that makes both networks for a configuration and its images. The default is `dcgan`. How to add another is in [00c_plug](00c_plug.ipynb); `report004`, the networks of an older student report, are in [07b_reports](07b_reports.ipynb).

# %%
#| export
def dcgan(config: GANConfig, data: ImageSet) -> tuple[Generator, Discriminator]:
    "Generator and discriminator of a DCGAN for images like those of `data`, initialised."
    channels, size = data.images.shape[1:3]
    classes = len(data.classes) if config.conditional else 0
    G = Generator(config.latent, channels, size, config.width, classes).apply(init_weights)
    D = Discriminator(channels, size, config.width, classes, config.norm, config.dropout).apply(init_weights)
    if config.norm == "spectral":
        for layer in [m for m in D.modules() if isinstance(m, nn.Conv2d)]:
            spectral_norm(layer)
    return G, D


NETWORKS["gan"]["dcgan"] = dcgan


# %%
#| export
@fits_memory
def make_networks(config: GANConfig, data: ImageSet) -> tuple[nn.Module, nn.Module]:
    "The generator and discriminator that `config` names, initialised. ValueError if they cannot be made."
    if config.conditional and not data.classes:
        raise ValueError("conditional: the data set has no labels; sort the images into class folders.")
    seed_everything(config.seed, 0)
    G, D = look_up("network", config.network, NETWORKS["gan"])(config, data)
    if config.entropy is not None:
        from genlab.presgan import Prescribed

        G = Prescribed(G, data.images.shape[1:], config.latent)
    return G, D


# %%
G, D = make_networks(config, data)
size_of = lambda net: f"{sum(p.numel() for p in net.parameters()):,}"
print(f"parameters: {size_of(G)} of the generator, {size_of(D)} of the discriminator")

# %% [markdown]
# A check of `norm="spectral"`: PyTorch comes nearer to the largest singular value each time the network is used in training. After fifty uses, the largest singular value of the divided weights should be close to 1:

# %%
spectral = dcgan(GANConfig(norm="spectral", width=8), load_dataset("digits"))[1]
for _ in range(50):
    spectral(torch.randn(4, 1, 16, 16))
layers = [m for m in spectral.modules() if isinstance(m, nn.Conv2d)]
largest = [torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() for layer in layers]
assert all(abs(value - 1) < 0.02 for value in largest), largest


# %% [markdown]
# ## One update
#
# One update has two halves, as in the thirty lines above. First the discriminator sees a batch of real images and a batch of fakes and takes a step; then the generator takes a step against the discriminator *as it has just become*.
#
# Three numbers are logged besides the losses: $D(x)$, the mean verdict on real images, and $D(G(z))$, the mean verdict on the fakes, once before and once after the discriminator's step. (With `unroll`, after the steps of looking ahead.) A verdict is the probability $\sigma(a)$ for the two losses with a logarithm, and the bare output $a$ for all others.

# %%
#| export
def verdict(logits: torch.Tensor, loss: str) -> torch.Tensor:
    "The mean verdict: of probabilities for the losses with a logarithm, of bare outputs for all others."
    return (logits.sigmoid() if find_loss(loss).probability else logits).mean().detach()


def logged(losses: tuple, logits: tuple, loss: str) -> dict[str, torch.Tensor]:
    "By their names in the history: losses of D and G, verdicts on real images and twice on generated ones."
    values = {name: value.detach() for name, value in zip(("loss_d", "loss_g"), losses, strict=True)}
    verdicts = zip(("d_x", "d_g_z1", "d_g_z2"), logits, strict=True)
    return values | {name: verdict(each, loss) for name, each in verdicts}


# %% [markdown]
# Both networks take their steps in the same way:

# %%
#| export
def take_step(opt: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    "One step of the optimizer down the slope of the loss."
    opt.zero_grad()
    loss.backward()
    opt.step()


# %% [markdown]
# **The discriminator's half**: call real images real, and fakes fake. `detach` keeps this loss from reaching into the generator.

# %%
#| export
def update_discriminator(
    D: nn.Module,
    opt_D: torch.optim.Adam,
    real: torch.Tensor,  # images as D sees them (B, ...)
    fake: torch.Tensor,  # and generated ones (B, ...)
    labels: tuple[torch.Tensor, ...],  # the classes (B,), or nothing
    config: GANConfig,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # its loss, and its logits of both before the step
    "One step of the discriminator."
    real_logits, fake_logits = D(real, *labels), D(fake.detach(), *labels)
    named = find_loss(config.loss)
    loss = named.d_loss(real_logits, fake_logits)
    if named.penalty:
        loss = loss + config.penalty * named.penalty(lambda x: D(x, *labels), real, fake)
    take_step(opt_D, loss)
    return loss, real_logits, fake_logits


# %% [markdown]
# **The generator's half**: have the fakes called real. Most losses need no more than the verdicts on them.

# %%
#| export
def generator_loss(
    judge: Callable,  # the discriminator, as it is or as it will be
    real: torch.Tensor,  # images (B, ...)
    fake: torch.Tensor,  # (B, ...)
    labels: tuple[torch.Tensor, ...],  # the classes (B,), or nothing
    loss: str,
) -> tuple[torch.Tensor, torch.Tensor]:  # the loss, and the logits of the fakes (B,)
    "What the generator minimises."
    fake_logits, named = judge(fake, *labels), find_loss(loss)
    if named.pairs:
        return named.g_loss(judge(real, *labels), fake_logits), fake_logits
    return named.g_loss(fake_logits), fake_logits


# %% [markdown]
# **The whole update.** The same fakes serve for both halves. Augmentations change images before the discriminator sees them. If the generator is to look ahead, its fakes are judged by what the discriminator will be after `unroll` more updates.

# %%
#| export
def update_gan(
    G: nn.Module,
    D: nn.Module,
    opt_G: torch.optim.Adam,
    opt_D: torch.optim.Adam,
    real: torch.Tensor,  # images, or points of any shape (B, ...)
    y: torch.Tensor | None,  # their classes (B,), for conditional networks
    config: GANConfig,
    update_G: bool = True,  # G takes a step, too
) -> dict[str, torch.Tensor]:  # what is logged
    "One update of the discriminator and, with `update_G`, one of the generator."
    if config.entropy is not None:
        from genlab.presgan import update_presgan as update

        return update(G, D, opt_G, opt_D, real, y, config, update_G)
    labels = () if y is None else (y,)
    fake = G(torch.randn(len(real), config.latent, device=real.device), *labels)
    real, on_fakes = augment_images(real, config.augment), config.augment if config.augment_fakes else []
    fake = augment_images(fake, on_fakes)
    loss_D, real_logits, fake_logits = update_discriminator(D, opt_D, real, fake, labels, config)
    judge = discriminator_ahead(D, opt_D, real, fake, labels, config) if config.unroll and update_G else D
    loss_G, new_logits = generator_loss(judge, real, fake, labels, config.loss)
    if update_G:
        take_step(opt_G, loss_G)
    return logged((loss_D, loss_G), (real_logits, fake_logits, new_logits), config.loss)


# %% [markdown]
# What looking ahead needs is in [01b_mode_collapse](01b_mode_collapse.ipynb), which itself needs this notebook's functions. So it is imported where it is used:

# %%
#| export
def discriminator_ahead(D: nn.Module, opt_D: torch.optim.Adam, real, fake, labels, config) -> Callable:
    "The discriminator as it will be after `config.unroll` more updates on the same images."
    from genlab.collapse import unrolled

    d_loss = find_loss(config.loss).d_loss
    return unrolled(D, opt_D, lambda later: d_loss(later(real, *labels), later(fake, *labels)), config.unroll)


# %% [markdown]
# ## The training loop
#
# Each network has its own optimizer:

# %%
#| export
def make_optimizers(G: nn.Module, D: nn.Module, config: GANConfig) -> list[torch.optim.Adam]:
    "Adam for the generator and for the discriminator."
    rates, betas = {G: config.lr, D: config.lr_d or config.lr}, (config.beta1, 0.999)
    return [make_adam([*net.parameters()], lr, betas) for net, lr in rates.items()]


# %% [markdown]
# `run.batches` takes the place of a data loader. It also restores and saves the state of the training, and sets the seeds ([00_runs](00_runs.ipynb)). Calling `train_gan` with 5 epochs and then with 20 trains 20 in all.

# %%
#| export
def gan_costs(G: nn.Module, D: nn.Module, config: GANConfig, data: ImageSet) -> dict:
    "What training costs, see `count_costs`: so many updates of D, and one of G."

    def updates(G: nn.Module, D: nn.Module, real: torch.Tensor, y: torch.Tensor) -> None:
        optimizers, y = make_optimizers(G, D, config), y if config.conditional else None
        for i in range(config.d_steps):
            update_gan(G, D, *optimizers, real, y, config, update_G=i == 0)

    return count_costs(updates, config, data, G, D, updates=config.d_steps)


# %%
#| export
def train_gan(run: Run, epochs: int, networks: tuple[nn.Module, nn.Module] | None = None) -> nn.Module:
    "Train `run` until `epochs` epochs are done, from where it stands; returns the generator to sample from."
    config, accelerator = run.config, make_accelerator(run.config.precision)
    data = config.training_set()
    G, D = (net.to(accelerator.device) for net in copy.deepcopy(networks) or make_networks(config, data))
    if run.load_weights(epochs, G):
        return G
    average, run.costs = EMA(G, config.ema), gan_costs(G, D, config, data)
    G, D, opt_G, opt_D = accelerator.prepare(G, D, *make_optimizers(G, D, config))
    held_out = load_dataset(config.dataset, "test", config.size)

    kept = dict(G=G, D=D, average=average, opt_G=opt_G, opt_D=opt_D)
    for real, y in run.batches(data, epochs, accelerator.device, **kept):
        held = judge_held_out(D, held_out, real, config) if run.step % run.log_every == 0 else None
        y = y if config.conditional else None
        losses = update_gan(G, D, opt_G, opt_D, real, y, config, update_G=run.step % config.d_steps == 0)
        average.update(G)
        if held is not None:
            run.log(**losses, d_held_out=held)
    run.keep_weights(epochs, average.model)
    return average.model


# %% [markdown]
# One number more is logged, `d_held_out`: $D$'s verdict on images of the test set, from which it does *not* learn. Like $D(x)$ it is taken before the discriminator's step. If it falls below $D(x)$, the discriminator has begun to know the training images by heart ([01c_few_images](01c_few_images.ipynb)).

# %%
#| export
@torch.random.fork_rng()  # with this and `output_only`, looking changes nothing
def judge_held_out(D: nn.Module, held_out: ImageSet, like: torch.Tensor, config: GANConfig) -> torch.Tensor:
    "The verdict on as many images as `like` has, drawn from those that D does not learn from."
    index = torch.randint(len(held_out.images), (len(like),))
    x = augment_images(to_model(held_out.images[index].to(like.device)), config.augment)
    labels = [held_out.labels[index].to(like.device)] if config.conditional else []
    return verdict(output_only(D, x, *labels), config.loss)


# %% [markdown]
# Sampling is one forward pass. In `eval` mode batch normalisation uses its running means and variances, so that an image depends on its own latent and not on its neighbours in the batch. Latent $i$ follows from the seed and $i$ alone. So the latents are the same after every epoch count, and one sees the *same* digit improve.
#
# The running means need some updates. Each update replaces a tenth of them. After the 11 updates of the first epoch on `digits`, $0.9^{11}=31\,\%$ of them is still their initial value, and the first samples are greyer and more alike than what the discriminator saw.

# %%
#| export
@torch.no_grad()
def sample_gan(
    G: nn.Module,
    config: GANConfig,  # latent, seed, conditional
    data: ImageSet,  # a conditional model draws the classes as often as these images have them
    n: int,  # number of images
) -> torch.Tensor:  # uint8 (n, C, H, W), on the CPU
    "Images from a generator; without classes image i depends on (seed, i) only."
    device, training = next(G.parameters()).device, G.training
    y = spread_classes(data, n) if config.conditional else torch.zeros(n)
    G.eval()
    images = []
    for z, labels in zip(latents(n, (config.latent,), config.seed).split(500), y.split(500), strict=True):
        inputs = (z, labels) if config.conditional else (z,)
        images.append(to_image(G(*(x.to(device) for x in inputs))).cpu())
    G.train(training)  # as it was found: one may look in the middle of a training
    return torch.cat(images)


# %% [markdown]
# `run_gan` does all of it, for each epoch count that was asked for and is not on disk yet. To train two networks of your own, call `run_gan(config, networks=(G, D))`. A run is found again by its configuration, so give it a `name` that no other run has.

# %%
#| export
def run_gan(
    config: GANConfig,
    networks: tuple[nn.Module, nn.Module] | None = None,  # G and D instead of the named ones; not changed
) -> Run:
    "Train, sample and score at each epoch count that `config` asks for; what is on disk is not done again."
    if networks is not None:
        config.check_own_name()
    run = Run(config)
    with run.lock():
        for epochs in run.pending():
            n_test = check_metrics(config.dataset, config.size, config.metrics)
            G, data = train_gan(run, epochs, networks), config.training_set()
            start = time.perf_counter()
            samples = sample_gan(G, config, data, config.n_samples or n_test)
            drawn = time.perf_counter()
            scores = evaluate(samples, config.dataset, config.metrics, train=data.images)
            seconds = dict(sample_seconds=drawn - start, score_seconds=time.perf_counter() - drawn)
            run.finish(epochs, samples, scores=scores, **seconds)
    return run


# %%
#| export
def draw_gan(run: Run, epochs: int) -> torch.Tensor:  # uint8 (N, C, H, W)
    "Train a run until `epochs` epochs are done, and draw its samples."
    config, test = run.config, load_dataset(run.config.dataset, "test", run.config.size)
    n = config.n_samples or len(test.images)
    return sample_gan(train_gan(run, epochs), config, config.training_set(), n)


# %%
#| hide
class Says(nn.Module):
    "A generator that draws the number of the class it was told, from black to white."

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, z, y):
        return (2 * y / 9 - 1)[:, None, None, None]


digits = load_dataset("digits")
said = sample_gan(Says(), GANConfig(conditional=True), digits, 600)
assert torch.equal((said.flatten() * (9 / 255)).round().long(), spread_classes(digits, 600))

# %%
#| hide
pair = (
    nn.Sequential(nn.Linear(4, 256), nn.Tanh(), nn.Unflatten(1, (1, 16, 16))),
    nn.Sequential(nn.Flatten(), nn.Linear(256, 1), nn.Flatten(0)),
)  # fmt: skip
before = pair[0][0].weight.clone()
with pytest.raises(ValueError, match="name: a network of your own needs a name of its own"):
    run_gan(GANConfig(), pair)
small = GANConfig(name="pair", latent=4, epochs=2, snapshots=[1], subset=66, n_samples=20, metrics=[])
with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
    patch.setenv("GENLAB_RUNS", folder)
    twice = run_gan(small, pair)
    assert twice.samples(2).shape == (20, 1, 16, 16) and len(twice.history) == 4, "it is trained"
    assert not torch.equal(twice.samples(1), twice.samples(2)) and torch.equal(pair[0][0].weight, before)

# %% [markdown]
# ## Training
#
# A line is printed now and then: [epoch/epoch count on the way to], [update/updates in an epoch], the two losses, and the verdicts before and after the discriminator's step. If this run is on disk already, nothing is trained.

# %%
run = run_gan(config)
print("results in the runs folder, under", "/".join(run.folder.parts[-3:]))

# %% [markdown]
# ### The losses
#
# In most of machine learning a falling loss means progress. Not here: each network's loss is measured against an opponent that improves, too. What one hopes to see is a *balance*.
#
# - If `Loss_D` goes to zero, the discriminator has won. The slope of the non-saturating loss in the logit is still large, but it no longer says in which direction an image would become more real ([Arjovsky and Bottou 2017](https://arxiv.org/abs/1701.04862)).
# - If $D(x)$ and $D(G(z))$ both stay around one half, the discriminator can hardly tell. Its loss is then $\log 4\approx1.39$, the dashed line on the left.
# - Often the two losses jump in opposite directions: the generator finds a weakness, then the discriminator learns to see it.

# %%
history = run.history or pd.read_csv(run.folder / "history.csv").to_dict("records")
guess = {"nonsaturating": 1.386, "minmax": 1.386, "hinge": 2.0}.get(loss)  # Loss_D of one that guesses
verdicts = {"d_x": "$D(x)$", "d_g_z1": "$D(G(z))$ before", "d_g_z2": "$D(G(z))$ after"}
fig, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
plot_history(history, {"loss_d": "Loss_D", "loss_g": "Loss_G"}, "loss", axes[0])
plot_history(history, verdicts, "mean verdict", axes[1])
if guess:
    axes[0].axhline(guess, color="0.6", linewidth=0.8, linestyle="--")
    axes[1].axhline(0 if loss == "hinge" else 0.5, color="0.6", linewidth=0.8, linestyle="--")
    fig.suptitle("losses and verdicts; dashed: a discriminator that guesses")

# %% [markdown]
# The same as a log:

# %%
per_epoch = math.ceil(len(data.images) / batch_size)
for line in history[:: max(1, len(history) // 8)][-8:]:
    print(f"[{line['epoch']}/{epochs}][{line['i']}/{per_epoch}] " + config.log_line.format(**line))

# %% [markdown]
# ### The samples
#
# The same 32 latents after each epoch count, and real images below.

# %%
looks = run.evaluated()
for e in looks[:: math.ceil(len(looks) / 6)]:  # six at most
    show_grid(run.samples(e)[:32], ncol=16, title=f"generated; epochs: {e}")
show_grid(load_dataset(dataset, "test", size).images[:32], ncol=16, title="real (test set)");


# %% [markdown]
# ### The numbers
#
# `fd_lenet` is the Frechet distance of the `N` samples to the test set: how far the mean and the covariance of a small classifier's features are apart ([05_fid](05_fid.ipynb)). The floor is the distance of as many real training images to the test set.

# %%
def row(e):
    m = run.metrics(e)
    fd = m["scores"].get("fd_lenet", {})
    return {
        "epochs": e, **{k: round(m["losses"][k], 2) for k in ("loss_d", "loss_g", "d_x")},
        "fd_lenet": fd.get("value"), "floor": fd.get("floor"), "N": m["n_samples"],
        "training (s)": m["train_seconds"],
    }  # fmt: skip


pd.DataFrame(map(row, run.evaluated())).round(2)

# %%
#| hide
if config == GANConfig(epochs=60, snapshots=[1, 5, 20]):  # the parameters as they stand above
    first, last = (run.metrics(e)["scores"]["fd_lenet"] for e in (run.evaluated()[0], run.evaluated()[-1]))
    assert last["value"] < 0.3 * first["value"]
    assert last["value"] > 0.25 * last["floor"], "far better than real would be a bug"

# %% [markdown]
# ### Does sampling depend on the batch?
#
# It should not. Drawn alone, the first ten samples are those on disk, up to one grey level: another batch size may round a number the other way.

# %%
G = make_networks(config, data)[0]
assert run.load_weights(epochs, G)
kept = run.samples(epochs)
alone = sample_gan(G, config, data, min(10, len(kept)))
assert (alone.int() - kept[:10].int()).abs().max() <= 1, "drawn alone, an image differs by rounding at most"

# %% [markdown]
# ### A better GAN
#
# Which options help? To find out, we change one at a time. Here are small DCGANs on `digits` (`width` 16, batches of 128, 30 epochs, 500 samples), five seeds of each. Each row changes one thing of the first row; one row changes four at once. The difference to the plain GAN is taken seed by seed; the 95 % confidence interval is that of its mean (Student's $t$, four degrees of freedom). *Recall* is the share of real images that look like some sample ([05c_measures](05c_measures.ipynb)).
#
# | changed | `fd_lenet`: mean | sd | difference to the plain one | 95 % interval | recall |
# |---|--:|--:|--:|--:|--:|
# | nothing: the plain DCGAN | 84.6 | 18.5 | | | 0.82 |
# | `conditional`: both are told the class | 79.8 | 12.4 | -4.8 | -27.2 to 17.6 | 0.84 |
# | `loss` hinge | 83.1 | 34.7 | -1.5 | -54.3 to 51.4 | 0.80 |
# | `norm` layer | 94.8 | 10.6 | 10.2 | -10.5 to 30.9 | 0.78 |
# | `norm` spectral | 179.7 | 39.3 | 95.1 | 65.2 to 125.0 | 0.51 |
# | `lr` 2e-3 | 90.2 | 19.3 | 5.6 | -32.0 to 43.2 | 0.80 |
# | `ema` 0.99 | 81.5 | 18.3 | -3.1 | -11.1 to 4.9 | 0.83 |
# | classes, hinge, layer and average | 87.1 | 21.2 | 2.5 | -34.8 to 39.8 | 0.84 |
# | the floor: real training images | 13.4 | | | | |
#
# <details><summary>How it was measured</summary>
#
#     import scipy.stats
#
#     small = dict(width=16, batch_size=128, epochs=30, metrics=["fd_lenet", "recall"])
#     changes = {
#         "plain": {}, "conditional": dict(conditional=True), "hinge": dict(loss="hinge"),
#         "layer": dict(norm="layer"), "spectral": dict(norm="spectral"),
#         "rate": dict(lr=2e-3), "average": dict(ema=0.99),
#         "four": dict(conditional=True, loss="hinge", norm="layer", ema=0.99),
#     }
#     runs = [(change, seed, run_gan(GANConfig(name="ablation", seed=seed, **small | more)))
#             for change, more in changes.items() for seed in range(5)]
#     rows = [(change, seed, run.metrics(30)["scores"]["fd_lenet"]["value"]) for change, seed, run in runs]
#     table = pd.DataFrame(rows, columns=["change", "seed", "fd"])
#     scores = table.pivot(index="seed", columns="change", values="fd")
#     difference = scores.sub(scores["plain"], axis=0)
#     half = scipy.stats.t.ppf(0.975, 4) * difference.std() / 5**0.5
#     summary = {"mean": scores.mean(), "sd": scores.std()}
#     pd.DataFrame(summary | {"from": difference.mean() - half, "to": difference.mean() + half})
#
# That is about ten minutes on one core.
#
# </details>
#
# One change stands out: spectral normalisation makes it worse, with this learning rate and this short training. All other intervals contain zero. Seeds differ by more than these remedies do, and five seeds of a small network cannot tell more.
#
# On MNIST, with a wider network, three runs are kept in `report/results`: the plain DCGAN with the paper's settings, the same in bfloat16 and for longer, and one with five changes at once (classes, hinge loss, layer normalisation, a learning rate of 4e-4, averaged weights). Each was trained once, so the number under ± is the spread over other samples of the same network, not over seeds.

# %%
rows, folder = [], project_root() / "report/results/mnist/gan"
for file in sorted(folder.glob("[cd]*/epoch-*/metrics.json")):  # the runs named cond, dcgan and dcgan-bf16
    m = json.loads(file.read_text())
    fd, class_kl = m["scores"]["fd_lenet"], m["scores"]["class_kl"]["value"]
    rows.append({"run": m["config"]["name"], "epochs": m["epochs"], "fd_lenet": fd["value"], "±": fd["sd"],
                 "floor": fd["floor"], "class_kl": class_kl, "minutes": m["train_seconds"] / 60})  # fmt: skip
pd.DataFrame(rows).sort_values(["epochs", "run"]).round(2)


# %% [markdown]
# `class_kl` says how far the frequencies of the classes are from those of real images; 0 is best. After 5 epochs the run with five changes is far ahead of the plain one, in the same time. Which of the five helped, this does not tell, and on small `digits` no single change did for sure. What helps may depend on the data set, the network and the length of training. Measure before you believe.
#
# With today's width, batches and learning rate, and an average of 0.995, classes, hinge loss and layer normalisation go much farther: an `fd_lenet` of 4.7 to 7.3 after 5 epochs instead of 16, in about two minutes of one core (three seeds, in bfloat16, in the race of [07e_race](07e_race.ipynb)).

# %% [markdown]
# ## What to watch for
#
# - **The discriminator wins.** `Loss_D` near 0, $D(x)$ near 1, $D(G(z))$ near 0, samples that no longer change. Give it a smaller learning rate (`lr_d`).
# - **Mode collapse.** Many samples look alike, and the losses need not show it. Look at the grid: are all ten digits there? [01b_mode_collapse](01b_mode_collapse.ipynb) makes it happen, and cures it on a toy.
# - **Few images.** The discriminator learns them by heart: compare $D(x)$ with `d_held_out` in the history. [01c_few_images](01c_few_images.ipynb) shows one setting in which augmentation seems to help and one in which it does not.
# - **More epochs need not be better.** Compare distances, not losses, and look at more epoch counts than four before you say that a model has stopped improving. Does a moving average of the weights (`-p ema 0.99`) help? See exercise 1.
# - **Seeds.** A GAN's result varies from seed to seed ([Lucic et al. 2018](https://arxiv.org/abs/1711.10337)). Two runs are not a comparison.

# %% [markdown]
# ## Its latent space
#
# Which images lie between two samples? [06_interpolation](06_interpolation.ipynb) asks that of all kinds of models. A GAN has a way from latents to images, and none back.

# %%
#| export
def gan_space(run: Run, epochs: int) -> LatentSpace:
    "The latent space of a trained GAN; of a conditional one, that of its first class."
    G = make_networks(run.config, run.config.training_set())[0]
    load_or_explain(run, epochs, G)
    device = make_accelerator().device
    G = G.to(device).eval()

    @torch.no_grad()
    def decode(z: torch.Tensor) -> torch.Tensor:
        labels = [torch.zeros(len(z), dtype=torch.long, device=device)] if run.config.conditional else []
        return G(z.to(device), *labels).cpu()

    return LatentSpace("gan", (run.config.latent,), decode, describe_run(run, epochs))


# %%
space = gan_space(run, epochs)
images = to_image(space.decode(latents(10, space.shape, config.seed)))
difference = (images.int() - run.samples(epochs)[:10].int()).abs().max()
assert conditional or difference <= 1, "the same latents, the same images"

# %% [markdown]
# ## Its section of the report
#
# This is what the report ([07_report](07_report.ipynb)) says of GANs. First the method:

# %%
#| export
METHOD = r"""
# Generative adversarial network {#sec-gan}

## Method {#sec-gan-method}

A generator $G$ turns normally distributed numbers $z$ into an image; a discriminator $D$ gives the
probability that an image is real [@goodfellow2014]. They play for the value

$$
\min_G \max_D\;
\mathbb{E}_{x}\left[\log D(x)\right] + \mathbb{E}_{z}\left[\log\left(1 - D(G(z))\right)\right].
$$ {#eq-value}

The generator's part of @eq-value has next to no gradient while its images are bad, so the generator
minimises $-\log D(G(z))$ instead. Both networks are convolutional, with batch normalisation, and are
initialised and trained as in DCGAN [@radford2016]: Adam with a learning rate of $2\cdot10^{-4}$ and
$\beta_1 = 0.5$. @tbl-provenance says where a run departs from that: in its networks, its loss (hinge
[@lim2017; @miyato2018], Wasserstein [@arjovsky2017; @gulrajani2017], or relativistic, which compares real
and generated images in pairs and penalises the slope of $D$ at both [@jolicoeur2019; @mescheder2018;
@huang2024]), or its normalisation. With these losses $D$ is no probability, but a number without bounds.
In each update the discriminator learns from a batch of real and a batch of generated images, then the
generator learns from the discriminator's verdict.
"""

# %% [markdown]
# The section has one figure with the losses of all runs and one with their samples. The long table goes to the appendix.

# %%
#| export
ABOUT_LOSSES = r"""
## Losses {#sec-gan-losses}

A GAN's losses are not expected to fall: each network is measured against an opponent that improves, too.
A discriminator that can only guess has the verdict $D(x) = D(G(z)) = 0.5$ and the loss
$\log 4 \approx 1.39$; with a hinge loss, a verdict of 0 and a loss of 2. The two losses can swing against
each other: where the generator finds a weakness, the discriminator's loss rises until it has learned to
see it. @tbl-gan-losses has the losses in numbers, with $D(G(z))$ before and after the discriminator's step.
"""
PANELS = {
    "loss": {"loss_d": "Loss_D", "loss_g": "Loss_G"},
    "mean verdict": {"d_x": "$D(x)$", "d_g_z1": "$D(G(z))$ before", "d_g_z2": "after"},
}
COLUMNS = {
    "loss_d": "Loss_D", "loss_g": "Loss_G",
    "d_x": "$D(x)$", "d_held_out": "held out", "d_g_z1": "$D(G(z))$ before", "d_g_z2": "after",
}  # fmt: skip


# %%
#| export
def gan_section(runs: pd.DataFrame, folder: Path) -> Section:
    "What the report says of GANs: method, losses and samples; nothing if none of the runs is done."
    if runs.metrics.isna().all():
        return Section("")
    caption = "Losses of GANs, and mean verdicts of their discriminators."
    curves = loss_curves(runs, folder, PANELS, caption, "losses-gan")
    samples = "## Samples {#sec-gan-samples}\n\n" + sample_sheets(runs, folder, "samples-gan")
    text = "\n".join([METHOD, ABOUT_LOSSES, curves, samples])
    return Section(text, loss_table(runs, COLUMNS, "gan-losses"))


KINDS["gan"] = Kind("GAN", "01_gan", GANConfig, run_gan, gan_section, gan_space, draw_gan)

# %% [markdown]
# ## Exercises
#
# 1. Train with `-p ema 0.99`. What changes in the table? Why do the loss curves stay the same?
# 2. Leave out `detach()` in the thirty lines. Why does PyTorch now refuse the generator's step? Make it run with `retain_graph=True` in the discriminator's `backward`: what does that step add to the generator's `.grad`, and why does it do no harm? (Look where `zero_grad` stands.)
# 3. Train with `-p loss minmax`. How many epochs until the samples look like anything?
# 4. `-p conditional true` tells both networks the class. Is the distance smaller? Is it a fair comparison?
# 5. Where should the ends of the loss curves lie if $p_g=p$? Estimate from the table how far this model is from that, and discuss why the losses alone cannot tell.

# %% [markdown]
# ## Solutions
#
# <details><summary>1. A moving average of the weights</summary>
#
# A small network will do, three seeds of it:
#
#     small = dict(epochs=30, snapshots=[1, 5, 20], width=16, batch_size=128)
#     for seed in (0, 1, 2):
#         configs = [GANConfig(name="average", ema=ema, seed=seed, **small) for ema in (0, 0.99)]
#         plain, averaged = map(run_gan, configs)
#         for r in (plain, averaged):
#             print(seed, [round(r.metrics(e)["scores"]["fd_lenet"]["value"]) for e in r.evaluated()])
#         assert plain.history == averaged.history
#
# In the table only `fd_lenet` changes (and, a little, the time). The losses and the curves are the same to the bit, as the last line checks: the average only watches the training. $D$ judges the fakes of the *current* weights; the average is used for the first time when samples are drawn. On `digits` we found
#
# | epochs | 1 | 5 | 20 | 30 |
# |---|---|---|---|---|
# | last weights, seeds 0, 1, 2 | 2637, 2624, 2649 | 1193, 1310, 1384 | 101, 140, 134 | 92, 78, 63 |
# | average | 2646, 2635, 2652 | 1418, 1637, 1611 | 110, 182, 126 | 75, 89, 66 |
#
# Early on the average is worse with every seed: it is a mixture of older generators, and these were worse. In the end it is ahead with one seed of three, which decides nothing. So short a training is no good test of it. The decay warms up as $n/(9+n)$, and after the 330 updates of 30 epochs it is 0.973, a memory of some 40 updates; it reaches 0.99 at update 891, in the 81st epoch.
#
# </details>
#
# <details><summary>2. Without detach</summary>
#
# Both losses share a piece of graph, from $z$ through $G$ to the fakes. `loss_D.backward()` now goes through it as well, and frees what was stored there; `loss_G.backward()` wants to go through it again, hence *Trying to backward through the graph a second time*. With `retain_graph=True` it is kept. Then the discriminator's step adds to `G`'s `.grad`, which still holds the gradient of the update before, that of the *discriminator's* loss, of $-\log(1-D(G(z)))$. A step down this loss would make the fakes easier to tell. Its gradient is exactly minus that of `minmax_g_loss`:
#
#     G, D = make_networks(GANConfig(width=8), data)
#     fake = G(torch.randn(64, latent))
#     F.softplus(D(fake)).mean().backward(retain_graph=True)  # the fakes' part of bce_d_loss
#     left = [p.grad.clone() for p in G.parameters()]
#     G.zero_grad()
#     minmax_g_loss(D(fake)).backward()
#     assert all(torch.allclose(a, -p.grad, atol=1e-6) for a, p in zip(left, G.parameters()))
#
# It does no harm because `zero_grad` stands directly before `backward` (in `take_step`, too): what was left is thrown away. It only costs a backward pass through $G$ and memory. If `zero_grad` stood after `step` instead, the two would add up. The slope in the logit would be $-(1-\sigma(a))+\sigma(a)=2\sigma(a)-1=\tanh(a/2)$ for the non-saturating loss, which pulls the fakes' logits to 0 and no further, and $-\sigma(a)+\sigma(a)=0$ for min-max (up to the step that $D$ makes in between): nothing to learn at all.
#
# </details>
#
# <details><summary>3. The min-max loss</summary>
#
# With the small networks of exercise 1:
#
#     for seed in (0, 1, 2):
#         run = run_gan(GANConfig(name="minmax", loss="minmax", seed=seed, **small))
#         print(seed, [round(run.metrics(e)["scores"]["fd_lenet"]["value"]) for e in run.evaluated()])
#         print(run.metrics(30)["losses"])
#         show_grid(run.samples(30)[:32], ncol=16)
#
# In 30 epochs it never came to that:
#
# | 30 epochs | `fd_lenet` | samples |
# |---|---|---|
# | min-max, two of the seeds | 2186, 2111 | grey noise |
# | min-max, the third | 1169 | pale blobs |
# | non-saturating, same initial weights | 63 to 92 | |
#
# In the last epoch of the min-max runs $D(x)$ is between 0.990 and 1.000, and the mean $D(G(z))$ between 0.0003 and 0.006. The slope of the generator's loss in the logit, $-\sigma(a)$, is no larger than that: for the non-saturating loss it would be nearly 1. Does Adam not make up for it, since it divides by the gradient's size? Only slowly: its measure of size, $\hat v$, remembers some 1,000 updates, the large first ones included, and this training has 330. And within a batch the scale is not the same for all: fakes that are recognised with certainty count for almost nothing.
#
# </details>
#
# <details><summary>4. A conditional GAN</summary>
#
#     small["metrics"] = ["fd_lenet", "fd_lenet_by_class", "class_kl"]
#     for seed in (0, 1):
#         for conditional in (False, True):
#             config = GANConfig(name="classes", conditional=conditional, seed=seed, **small)
#             scores = run_gan(config).metrics(30)["scores"]
#             print(seed, conditional, {key: round(score["value"], 2) for key, score in scores.items()})
#
# On `digits` after 30 epochs the distance is hardly smaller:
#
# | without → with classes | seed 0 | seed 1 |
# |---|---|---|
# | `fd_lenet` | 92 → 91 | 78 → 76 |
# | `fd_lenet_by_class` | 232 → 241 | 214 → 225 |
# | `class_kl` | 0.11 → 0.13 | 0.09 → 0.07 |
#
# Seeds differ by more than the models, so two of them decide nothing; nor do the five under *A better GAN*. A longer training or a harder data set may show more.
#
# Is it fair? Not quite. The conditional model has the labels, which the other one never sees. And its classes are drawn as often as the training images have them, so a part of what a GAN has to learn, how often each class comes, is given to it: `class_kl` measures how well it obeys, and not what it has found out. It also has a few more parameters. Fairer is `fd_lenet_by_class`, which compares within classes, so that the proportions do not matter; or an unconditional model whose samples are sorted by a classifier and drawn with equal numbers. And compare at equal updates, with several seeds.
#
# </details>
#
# <details><summary>5. Where the curves should end</summary>
#
# If $p_g=p$ and $D=D^*=\frac12$, `Loss_D` is $-2\log\frac12=\log4\approx1.386$, `Loss_G` (non-saturating) is $-\log\frac12=\log2\approx0.693$, and both verdicts are one half.
#
# `Loss_D` is $-V(D,G)$, and no discriminator has a larger $V$ than $D^*$. So $-\text{Loss\_D}\le V(D^*,G)=2\,\mathrm{JSD}-\log4$, that is
#
# $$\mathrm{JSD}(p,p_g)\ge\tfrac12(\log4-\text{Loss\_D}).$$
#
# Compare this with $\log2\approx0.69$, the JSD of two distributions that do not overlap at all. For the last row of the table (a mean over the last epoch) the bound is
#
#     (math.log(4) - run.metrics(epochs)["losses"]["loss_d"]) / 2
#
# Far from equal, says the loss. But it cannot really tell:
#
# - The bound is about expectations. $D$ has learned from these very images, so its loss on them is too low and the bound too high; compare $D(x)$ with `d_held_out`.
# - $D$ is not $D^*$. A discriminator that has learned nothing says one half everywhere, too, and has the loss $\log4$ against any generator.
# - $\mathrm{JSD}$ is $\log2$ as soon as *some* detail tells fakes from real images for sure, however small it is. It says whether they can be told apart, not how far apart they are.
# - In training, batch normalisation shows $D$ a whole batch of fakes at once, so it does not even judge single images.
#
# The table itself shows it. From epoch 20 to epoch 60 `fd_lenet` falls, and `Loss_D` falls as well, *away* from $\log4$: the samples become much better, and the discriminator becomes better still.
#
# </details>
