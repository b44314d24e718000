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
# > Two networks, one of which learns to make what the other cannot tell from real: the DCGAN and report 004's networks, four losses, one training loop, and what to watch for
#
# A painter of forgeries and an expert sit in a room. The painter has never seen an original. She shows the expert a picture; the expert, who also sees originals, says how likely it is to be one. Both learn from the verdict. If all goes well the forgeries end up as good as the originals, and the expert can only guess.
#
# In a **generative adversarial network** ([Goodfellow et al. 2014](https://arxiv.org/abs/1406.2661)) the painter is the **generator** $G$, a network that turns random numbers $z\sim\mathcal N(0,I)$, the *latent*, into an image $G(z)$; the expert is the **discriminator** $D$, which turns an image $x$ into a probability $D(x)$ that it is real. This notebook builds the deep convolutional version, DCGAN ([Radford et al. 2016](https://arxiv.org/abs/1511.06434)), trains it, and measures it.
#
# Change the parameters below (`dataset` and `epochs` to begin with; the others are explained on the way) and run the notebook, or run it from a shell: `papermill nbs/01_gan.ipynb out.ipynb -p dataset mnist -p epochs 20`. Two notebooks go on from here: [01b_mode_collapse](01b_mode_collapse.ipynb), on generators that draw only part of what there is, and [01c_few_images](01c_few_images.ipynb), on training with few images.

# %%
#| default_exp gan

# %% tags=["parameters"]
dataset = "digits"  # digits, tinted_digits, mnist, fashion_mnist, cifar10, celeba, hf:REPO or folder:PATH
epochs = 60  # passes over the training set
snapshots = [1, 5, 20]  # look at the model after these epoch counts, too
name = "dcgan"  # a word for the run's folder
size = None  # pixels a side, a multiple of 4; None: the data set's own
subset = None  # train on so many images, or on this share of them; None: all
batch_size = 128  # images in an update
network = "dcgan"  # dcgan, or report004: that report's networks
latent = 100  # numbers in z
width = 64  # channels at half the image's resolution, doubled at each further halving; report004: of D's first layer
extra_layers = 0  # report004: so many more convolutions in each network
dropout = 0.0  # share of D's features that is dropped before its last layer
norm = "batch"  # D's normalisation: batch, layer or spectral
conditional = False  # tell both networks the class
loss = "nonsaturating"  # nonsaturating, minmax, hinge or wgan-gp
penalty = 10.0  # wgan-gp: weight of the gradient penalty
d_steps = 1  # updates of D for each of G
unroll = 0  # let G see D's answer so many updates ahead
lr = 2e-4  # Adam's learning rate
lr_d = None  # the same for D; None: as for G
beta1 = 0.5  # Adam's decay of the gradient's mean
augment = []  # change images before D sees them: flip, colour, hue, tilt, translate, cutout (see 01c_few_images)
augment_fakes = True  # change generated ones, too
ema = 0.0  # sample from a moving average of G's weights with this decay; 0: from the last weights
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
import time
from typing import ClassVar, Literal

import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm

from genlab.augment import Augmentation, augment_images
from genlab.data import ImageSet, load_dataset, to_image, to_model
from genlab.fid import check_metrics, evaluate
from genlab.interpolation import LatentSpace, describe_run, load_or_explain
from genlab.plug import KINDS, Kind
from genlab.runs import EMA, Run, RunConfig, fits_memory, latents, make_accelerator, seed_everything

# %%
#| hide
import matplotlib.pyplot as plt
import pytest

from genlab.data import show_grid
from genlab.runs import plot_history


# %% [markdown]
# ## What defines a GAN run
#
# On top of what every run has (data set, batch size, seed, ...: see [00_runs](00_runs.ipynb)), a GAN has the settings below. Learning rate, $\beta_1$, batch size and the 100 numbers in $z$ are the DCGAN paper's, the width is that of its authors' code. The paper draws $z$ uniformly; we draw it from a normal distribution, as has become usual.

# %%
#| export
class GANConfig(RunConfig):
    "A GAN run."

    log_line: ClassVar[str] = (
        "Loss_D: {loss_d:.4f}  Loss_G: {loss_g:.4f}  D(x): {d_x:.4f}  D(G(z)): {d_g_z1:.4f} / {d_g_z2:.4f}"
    )

    model: Literal["gan"] = "gan"
    name: str = Field("dcgan", pattern=r"^[\w.-]+$")
    network: Literal["dcgan", "report004"] = "dcgan"
    latent: PositiveInt = 100  # dimension of z
    width: PositiveInt = 64  # channels at half the image's resolution, doubled at each further halving; report004: of D's first layer
    extra_layers: int = Field(0, ge=0, le=100)  # report004: more convolutions in each network
    dropout: float = Field(0.0, ge=0, lt=1)  # share of D's features that is dropped before its last layer
    norm: Literal["batch", "layer", "spectral"] = "batch"  # D's normalisation
    conditional: bool = False  # both networks are told the class
    loss: Literal["nonsaturating", "minmax", "hinge", "wgan-gp"] = "nonsaturating"
    penalty: PositiveFloat = 10.0  # wgan-gp: weight of the gradient penalty
    d_steps: PositiveInt = 1  # updates of D for each of G
    unroll: NonNegativeInt = 0  # G sees D's answer so many updates ahead
    lr: PositiveFloat = 2e-4  # Adam's learning rate
    lr_d: PositiveFloat | None = None  # the same for D; None: as for G
    beta1: float = Field(0.5, ge=0, lt=1)  # Adam's decay of the gradient's mean
    augment: list[Augmentation] = []  # what is done to images before D sees them, in this order
    augment_fakes: bool = True  # do it to generated ones, too

    @model_validator(mode="after")
    def _fits_together(self):
        if self.loss == "wgan-gp" and self.unroll:
            raise ValueError("unroll: looking ahead does not know the gradient penalty; use another loss than wgan-gp.")
        if self.loss == "wgan-gp" and self.norm == "batch" and self.network != "report004":
            raise ValueError("norm: a gradient penalty is about single images, which batch normalisation mixes; use norm='layer' or 'spectral'.")
        if self.network == "report004" and (self.norm != "batch" or self.conditional):
            raise ValueError("network: report004 knows no classes and no other normalisation than none; leave norm and conditional as they are.")
        if self.network != "report004" and self.extra_layers:
            raise ValueError("extra_layers: only the networks of report004 take more layers; a DCGAN's follow from the image size.")
        return self


# %%
config = GANConfig(
    dataset=dataset, epochs=epochs, snapshots=snapshots, name=name, size=size, subset=subset, batch_size=batch_size, network=network,
    latent=latent, width=width, extra_layers=extra_layers, dropout=dropout, norm=norm, conditional=conditional, loss=loss, penalty=penalty,
    d_steps=d_steps, unroll=unroll, lr=lr, lr_d=lr_d, beta1=beta1, augment=augment, augment_fakes=augment_fakes, ema=ema, seed=seed,
    precision=precision, n_samples=n_samples, metrics=metrics,
)  # fmt: skip
data = config.training_set()
show_grid(data.images[:32], ncol=16, title=f"{dataset}: real images");

# %%
#| hide
import genlab.gan

genlab.gan.make_networks(config, data)  # networks that cannot be, or do not fit into memory, are said now and not half way down

# %% [markdown]
# ## The game and its value
#
# The discriminator wants to be right about real and generated images; the generator wants it to be wrong. Both pull at one number,
#
# $$ \min_G\max_D V(D,G)=\mathbb E_{x}\big[\log D(x)\big]+\mathbb E_{z}\big[\log\big(1-D(G(z))\big)\big]. $$
#
# Here $\mathbb E_x$ is the mean over real images, whose density is $p$, and $\mathbb E_z$ that over latents. Hold the generator fixed, and call the density of its images $p_g$. The best discriminator maximises $p\log D+p_g\log(1-D)$ at each $x$. The slope of this in $D$, $p/D-p_g/(1-D)$, is zero at $D^*(x)=p(x)/(p(x)+p_g(x))$.
#
# Against this best discriminator, what is the value? With $m=\frac12(p+p_g)$ we have $D^*=\frac p{2m}$ and $1-D^*=\frac{p_g}{2m}$, hence
#
# $$ V(D^*,G)=\int p\log\frac p{2m}+\int p_g\log\frac{p_g}{2m}=2\,\mathrm{JSD}(p,p_g)-\log4,\qquad\mathrm{JSD}(p,p_g)=\tfrac12\mathrm{KL}(p\Vert m)+\tfrac12\mathrm{KL}(p_g\Vert m). $$
#
# The *Kullback-Leibler divergence* $\mathrm{KL}(a\Vert b)=\int a\log\frac ab$ says how far a density $a$ is from $b$: it is zero if they are equal and positive otherwise. So is the *Jensen-Shannon divergence* JSD. The best a generator can do is therefore $p_g=p$; then $D^*=\frac12$ everywhere and the expert guesses. We check both statements on two one-dimensional densities, by adding up over a fine grid:

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
ax.set(xlabel="$x$", ylabel="density, or $D^*$", title=f"$V(D^*, G)$ = {value(best):.3f}; with $p_g=p$ it would be $-\\log 4$ = -1.386")
ax.legend(frameon=False);

# %% [markdown]
# On the far left $D^*$ falls again: the generator's density is the wider one, so a point far out is more likely to be its own.
#
# ### Why the generator does not minimise the value
#
# Early in training the forgeries are bad and $D(G(z))\approx0$. The discriminator outputs a *logit* $a$, with $D=\sigma(a)=1/(1+e^{-a})$. The generator's term $\log(1-\sigma(a))$ has the slope $-\sigma(a)$ in $a$: next to nothing exactly when the generator is worst. The game *saturates*. Goodfellow's remedy is to minimise $-\log D(G(z))$ instead. With $p_g=p$ there is still nothing to gain, and the slope $-(1-\sigma(a))$ is steepest where the generator is worst (logarithms are natural ones, so losses are in *nats*):

# %%
a = torch.linspace(-8, 8, 201, dtype=torch.float64, requires_grad=True)
saturating, nonsaturating = F.logsigmoid(-a), -F.logsigmoid(a)  # log(1 - D) and -log D, to be minimised
slopes = [torch.autograd.grad(loss.sum(), a)[0] for loss in (saturating, nonsaturating)]
assert torch.allclose(slopes[0], -a.sigmoid()) and torch.allclose(slopes[1], a.sigmoid() - 1)
fig, axes = plt.subplots(1, 2, figsize=(7, 2.4), layout="constrained")
for ax, curves, title in [(axes[0], (saturating, nonsaturating), "generator's loss"), (axes[1], slopes, "its slope")]:
    for curve, label in zip(curves, ("min-max: $\\log(1-D)$", "non-saturating: $-\\log D$"), strict=True):
        ax.plot(a.detach(), curve.detach(), label=label)
    ax.set(xlabel="logit $a$ of $D(G(z))$", title=title)
    ax.axvspan(-8, -3, color="0.9")
axes[0].set_ylabel("nats")
axes[1].set_ylabel("nats per unit of logit")
axes[1].text(-5.5, -0.5, "bad\nforgeries", ha="center")
axes[0].legend(frameon=False, loc="lower left");


# %% [markdown]
# The discriminator's loss, which is minus the value, and the generator's non-saturating loss are binary cross-entropies of the logits: with target 1 for what should be called real, 0 for what should be called fake. Computing them from logits rather than from probabilities avoids $\log 0$: $-\log\sigma(a)=\log(1+e^{-a})$, which is `softplus(-a)`.

# %%
#| export
def discriminator_loss(
    real_logits: torch.Tensor,  # D's logits of real images (B,)
    fake_logits: torch.Tensor,  # and of generated ones (B,)
) -> torch.Tensor:  # scalar, nats
    "-log D(x) - log(1 - D(G(z))), averaged over the batch (Goodfellow et al. 2014, eq. 1, sign turned)."
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: torch.Tensor) -> torch.Tensor:
    "The non-saturating loss -log D(G(z)), averaged over the batch (Goodfellow et al. 2014, section 3)."
    return F.softplus(-fake_logits).mean()


def minmax_loss(fake_logits: torch.Tensor) -> torch.Tensor:
    "The generator's part of the value itself, log(1 - D(G(z))), averaged over the batch (Goodfellow et al. 2014, eq. 1)."
    return -F.softplus(fake_logits).mean()


# %%
real_logits, fake_logits = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])
bce = F.binary_cross_entropy_with_logits
assert torch.isclose(discriminator_loss(real_logits, fake_logits), bce(real_logits, torch.ones(2)) + bce(fake_logits, torch.zeros(2)))
assert torch.isclose(generator_loss(fake_logits), bce(fake_logits, torch.ones(2)))
assert torch.isclose(minmax_loss(fake_logits), (1 - fake_logits.sigmoid()).log().mean())
assert torch.isclose(discriminator_loss(torch.zeros(1), torch.zeros(1)), torch.tensor(4.0).log()), "a guessing D has loss log 4"
assert generator_loss(torch.tensor([-1e4])).isfinite()


# %% [markdown]
# ### Losses without a logarithm
#
# **Hinge** ([Lim and Ye 2017](https://arxiv.org/abs/1705.02894), [Miyato et al. 2018](https://arxiv.org/abs/1802.05957)): the discriminator wants its output above 1 on real images and below -1 on fakes, and has no interest in more; the generator just raises the output. What is settled no longer pulls at the discriminator, so its outputs stay small.

# %%
#| export
def hinge_discriminator_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    "max(0, 1 - D(x)) + max(0, 1 + D(G(z))), averaged over the batch (Lim and Ye 2017; Miyato et al. 2018, eq. 16)."
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


# %% [markdown]
# **Wasserstein** ([Arjovsky et al. 2017](https://arxiv.org/abs/1701.07875)): suppose the *critic* $f$ (no longer a probability) may nowhere be steeper than 1: moving by one unit of distance in image space changes $f$ by at most one. Then $\max_f\mathbb E_x f(x)-\mathbb E_z f(G(z))$ is the *earth mover's distance* between data and fakes: how far, on average, each bit of probability has to be carried. Unlike the Jensen-Shannon divergence it does not level off when the two are far apart, so its slope is of use however bad the forgeries are.

# %%
#| export
def critic_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    "f(G(z)) - f(x), averaged over the batch: an estimate of minus the earth mover's distance (Arjovsky et al. 2017, eq. 2)."
    return fake_logits.mean() - real_logits.mean()


def raise_loss(fake_logits: torch.Tensor) -> torch.Tensor:
    "-f(G(z)), averaged over the batch: the generator's loss against a hinge discriminator or a critic."
    return -fake_logits.mean()


LOSSES = {  # name: the discriminator's, the generator's
    "nonsaturating": (discriminator_loss, generator_loss),
    "minmax": (discriminator_loss, minmax_loss),
    "hinge": (hinge_discriminator_loss, raise_loss),
    "wgan-gp": (critic_loss, raise_loss),
}


# %% [markdown]
# How is a critic kept from being steeper than 1? [Gulrajani et al. (2017)](https://arxiv.org/abs/1704.00028) use that the best such critic has the slope 1 almost everywhere on the way from fakes to data, and keep it there with a **gradient penalty** $\lambda\,\mathbb E\big[(\lVert\nabla_{\hat x}f(\hat x)\rVert-1)^2\big]$ at random points $\hat x$ between a real image and a fake (WGAN-GP). The penalty is a function of the critic's weights and is itself differentiated by them, hence `create_graph`. It is about the slope at single images. Batch normalisation makes an output depend on the whole batch, so it cannot be used in such a critic.

# %%
#| export
def gradient_penalty(
    critic,  # a function of images (B, ...) that returns (B,)
    real: torch.Tensor,  # (B, ...)
    fake: torch.Tensor,  # (B, ...)
) -> torch.Tensor:  # scalar
    "(slope of the critic - 1)^2 at a random point between each real image and a fake, averaged (Gulrajani et al. 2017, eq. 3)."
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
assert torch.isclose(-critic_loss(real[:1] @ straight, fake[:1] @ straight), (real[0] - fake[0]).norm())
assert hinge_discriminator_loss(torch.tensor([1.0, 5.0]), torch.tensor([-1.0, -9.0])) == 0, "sure enough"
origin, away, scale = torch.zeros(4, 7).double(), 3 * w.expand(4, 7), torch.ones((), dtype=torch.float64, requires_grad=True)
torch.manual_seed(0)
share = torch.rand(4, 1, dtype=torch.float64)
torch.manual_seed(0)
cost = gradient_penalty(lambda x: scale * x.square().sum(1) / 2, origin, away)  # its slope at x is |x|, here 3 * share
assert torch.isclose(cost, (3 * share - 1).square().mean()), "a point of its own for each pair"
assert torch.isclose(torch.autograd.grad(cost, scale)[0], (2 * (3 * share - 1) * 3 * share).mean()), "the critic learns from the penalty"
assert hinge_discriminator_loss(torch.tensor([0.5]), torch.tensor([0.0])) == 1.5

# %% [markdown]
# Seen by the generator, the losses differ in how strongly a fake with logit $a$ is pushed. (Hinge and Wasserstein push all fakes alike; what differs there is the discriminator.)

# %%
a = torch.linspace(-6, 6, 201, dtype=torch.float64, requires_grad=True)
fig, ax = plt.subplots(figsize=(5, 2.4), layout="constrained")
for (name_, (_, loss_)), style in zip(LOSSES.items(), ["-", "-", "-", "--"], strict=True):
    ax.plot(a.detach(), torch.autograd.grad(len(a) * loss_(a), a)[0], style, label=name_)
ax.set(xlabel="logit (or critic's value) of a fake", ylabel="slope of the generator's loss")
ax.legend(frameon=False, fontsize=8);


# %% [markdown]
# ### Looking ahead
#
# The generator's loss treats the discriminator as fixed. So the generator may run to where *this* discriminator is weakest, all images to the same place, and a step later the discriminator has learned about that place. An **unrolled GAN** ([Metz et al. 2017](https://arxiv.org/abs/1611.02163)) asks what the discriminator will have become after $k$ more updates, and differentiates *through* these updates: the generator then sees that a crowded place will be punished. The updates are those that Adam would make, written as formulas instead of in-place changes. (`functional_call(D, params, x)`, below, runs $D$ with other tensors for weights, so that gradients flow on through the updates that made them.)

# %%
#| export
def unrolled_parameters(
    net: nn.Module,
    opt: torch.optim.Adam,  # its optimizer; nothing of it is changed
    loss,  # of a dictionary of parameters: the scalar that `opt` minimises
    steps: int,
) -> dict[str, torch.Tensor]:  # parameters by name, differentiable in all that `loss` depends on
    "What `net`'s parameters would be after `steps` more updates by Adam (Metz et al. 2017, eqs. 7-8; Kingma and Ba 2015)."
    (group,) = opt.param_groups
    (b1, b2), params, zero = group["betas"], dict(net.named_parameters()), torch.zeros(())
    states = [opt.state.get(p, {}) for p in params.values()]
    m, v = ([state.get(key, zero.to(p.device)) for state, p in zip(states, params.values(), strict=True)] for key in ("exp_avg", "exp_avg_sq"))
    n = int(states[0].get("step", 0))
    for i in range(n + 1, n + steps + 1):
        grads = torch.autograd.grad(loss(params), params.values(), create_graph=True)
        m = [b1 * old + (1 - b1) * g for old, g in zip(m, grads, strict=True)]
        v = [b2 * old + (1 - b2) * g**2 for old, g in zip(v, grads, strict=True)]
        change = [x / (1 - b1**i) / ((y / (1 - b2**i) + 1e-16).sqrt() + group["eps"]) for x, y in zip(m, v, strict=True)]  # 1e-16: a root's slope at 0
        params = {key: p - group["lr"] * step for (key, p), step in zip(params.items(), change, strict=True)}
    return params


# %% [markdown]
# Two checks on a toy. Three unrolled steps give the weights that three real steps give. And the gradient through three steps equals finite differences, where the plain gradient, which takes the discriminator as fixed, does not:

# %%
torch.manual_seed(0)
toy_D = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1), nn.Flatten(0)).double()
toy_opt, toy_real, toy_z = torch.optim.Adam(toy_D.parameters(), 0.05, (0.5, 0.999)), torch.randn(8, 2).double(), torch.randn(8, 2).double()


def toy_loss(params, fake):
    return discriminator_loss(functional_call(toy_D, params, toy_real), functional_call(toy_D, params, fake))


def toy_step(fake):
    toy_opt.zero_grad()
    toy_loss(dict(toy_D.named_parameters()), fake).backward()
    toy_opt.step()


def ahead(theta, steps=3):
    fake = toy_z * theta[:2] + theta[2:]  # a generator of four numbers: scale and shift
    return generator_loss(functional_call(toy_D, unrolled_parameters(toy_D, toy_opt, lambda p: toy_loss(p, fake), steps), fake))


theta = torch.tensor([0.5, -0.3, 1.0, 0.2], dtype=torch.float64, requires_grad=True)
toy_step(toy_z)  # so that Adam has a past
assert torch.autograd.gradcheck(ahead, theta)
plain, through = (torch.autograd.grad(ahead(theta, steps), theta)[0] for steps in (0, 3))
print("gradient with D fixed", plain.numpy().round(3), "through three updates", through.numpy().round(3))
fake = (toy_z * theta[:2] + theta[2:]).detach()
expected = unrolled_parameters(toy_D, toy_opt, lambda p: toy_loss(p, fake), 3)
for _ in range(3):
    toy_step(fake)
assert all(torch.allclose(p, expected[key], atol=1e-9) for key, p in toy_D.named_parameters())


# %% [markdown]
# ## The networks
#
# DCGAN's recipe: no pooling and no hidden dense layers, only (transposed) convolutions, which halve or double the resolution by their stride of 2; batch normalisation except at the ends; ReLU in the generator, leaky ReLU in the discriminator; tanh at the generator's output, because images live in [-1, 1].
#
# A side is halved until it is odd or less than 8: 16 → 8 → 4, 28 → 14 → 7, 32 → 16 → 8 → 4, 64 → 32 → 16 → 8 → 4. The discriminator goes down these stairs and the generator up, with the number of channels doubled at each step down.
#
# Three options, for later. `norm="layer"` normalises each image by itself, as the gradient penalty wants. `norm="spectral"` divides each of the discriminator's convolutions by the largest singular value of its weights, taken as a matrix with a row for each output channel, which limits how far a layer can stretch its input (Miyato et al. 2018). A **conditional** GAN is told the class $y$: the generator gets it as a one-hot vector beside $z$, the discriminator adds to its logit the product of the features, summed over positions, with a learned vector of the class (*projection*, [Miyato and Koyama 2018](https://arxiv.org/abs/1802.05637)).

# %%
#| export
def stairs(size: int) -> list[int]:
    "The resolutions of a DCGAN from the image down: stairs(28) = [28, 14, 7]. ValueError if `size` is no multiple of 4."
    if size % 4 or size < 8:
        raise ValueError(f"size: a DCGAN halves and doubles images, and {size} pixels cannot be; choose a multiple of 4 from 8 on.")
    steps = [size]
    while steps[-1] % 2 == 0 and steps[-1] >= 8:
        steps.append(steps[-1] // 2)
    return steps


# %% [markdown]
# The generator makes a few pixels with many channels of $z$, then doubles the side and halves the channels until the image is there.

# %%
#| export
class Generator(nn.Module):
    "z (B, latent), and labels (B,) if it has classes, to images (B, channels, size, size) in [-1, 1] (Radford et al. 2016)."

    def __init__(self, latent: int, channels: int, size: int, width: int = 64, classes: int = 0):
        super().__init__()
        *ups, base = stairs(size)
        self.latent, self.classes, w = latent, classes, width * 2 ** (len(ups) - 1)
        layers = [nn.Unflatten(1, (latent + classes, 1, 1)), nn.ConvTranspose2d(latent + classes, w, base, bias=False), nn.BatchNorm2d(w), nn.ReLU()]
        for _ in ups[1:]:
            layers += [nn.ConvTranspose2d(w, w // 2, 4, 2, 1, bias=False), nn.BatchNorm2d(w // 2), nn.ReLU()]
            w //= 2
        self.net = nn.Sequential(*layers, nn.ConvTranspose2d(w, channels, 4, 2, 1), nn.Tanh())

    def forward(self, z: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        return self.net(torch.cat([z, F.one_hot(y, self.classes)], 1) if self.classes else z)


# %% [markdown]
# The discriminator goes the other way, and makes a single number of the last few pixels.

# %%
#| export
class Discriminator(nn.Module):
    "Images (B, channels, size, size) in [-1, 1], and labels (B,) if it has classes, to logits (B,): positive means real (Radford et al. 2016)."

    def __init__(self, channels: int, size: int, width: int = 64, classes: int = 0, norm: str = "batch", dropout: float = 0.0):
        super().__init__()
        *downs, base = stairs(size)
        make = {"batch": nn.BatchNorm2d, "layer": lambda w: nn.GroupNorm(1, w), "spectral": lambda w: nn.Identity()}[norm]
        w, layers = width, [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for _ in downs[1:]:
            layers += [nn.Conv2d(w, w * 2, 4, 2, 1, bias=norm == "spectral"), make(w * 2), nn.LeakyReLU(0.2)]
            w *= 2
        self.features = nn.Sequential(*layers, *[nn.Dropout(dropout)] * (dropout > 0))
        self.logit = nn.Sequential(nn.Conv2d(w, 1, base), nn.Flatten(0))
        self.embed = nn.Embedding(classes, w) if classes else None

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        h = self.features(x)
        return self.logit(h) if self.embed is None else self.logit(h) + (self.embed(y) * h.sum((2, 3))).sum(1)


# %% [markdown]
# A convolution without bias stands before each batch normalisation, which would take the bias out again. Weights start small, from $\mathcal N(0, 0.02^2)$; the factors of batch normalisation from $\mathcal N(1, 0.02^2)$.

# %%
#| export
def init_weights(module: nn.Module) -> None:
    "DCGAN's initialisation of one layer; use as `net.apply(init_weights)` (Radford et al. 2016, section 4; gains as in its authors' code)."
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
# ### Looking without touching
#
# Some layers change whenever they are used: batch normalisation takes each batch into its running means, the spectral norm improves its estimate. Training wants that; somebody who only wants to *see* what a network returns does not. `look` lends the network copies of these numbers, so that its own stay what they are.

# %%
#| export
@torch.no_grad()
def look(net: nn.Module, *inputs: torch.Tensor) -> torch.Tensor:
    "What `net` returns, in the mode in which it is; nothing of it is changed."
    return functional_call(net, {name: buffer.clone() for name, buffer in net.named_buffers()}, inputs)


# %%
for layer in (nn.BatchNorm2d(1), spectral_norm(nn.Conv2d(1, 2, 3)), nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))):
    before, x = {k: v.clone() for k, v in layer.state_dict().items()}, torch.randn(5, 1, 4, 4)
    seen = look(layer, x)
    assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items()), "nothing is changed"
    assert torch.equal(seen, layer(x)) and any(not torch.equal(v, before[k]) for k, v in layer.state_dict().items()), "using it does change it"


# %% [markdown]
# To see what the layers do, `layer_table` hangs a hook on each of them that notes what it returns:

# %%
#| export
def layer_table(
    net: nn.Module,
    x: torch.Tensor,  # an input of the network
) -> pd.DataFrame:  # layer, output shape without the batch, parameters
    "What each layer makes of `x`, and how many parameters it has."
    rows, hooks = [], []
    for layer in (m for m in net.modules() if not list(m.children())):
        row = lambda m, _, y: rows.append((type(m).__name__, tuple(y.shape[1:]), sum(p.numel() for p in m.parameters())))
        hooks.append(layer.register_forward_hook(row))
    look(net, x)
    for hook in hooks:
        hook.remove()
    return pd.DataFrame(rows, columns=["layer", "output shape", "parameters"])


# %%
channels, pixels = data.images.shape[1], data.images.shape[-1]
sketch = Generator(latent, channels, pixels, width).apply(init_weights)
layer_table(sketch, torch.randn(2, latent))

# %%
layer_table(Discriminator(channels, pixels, width), torch.zeros(2, channels, pixels, pixels))

# %%
assert [stairs(s) for s in (16, 28, 32, 64)] == [[16, 8, 4], [28, 14, 7], [32, 16, 8, 4], [64, 32, 16, 8, 4]]
for s in (16, 28, 32, 64):
    for c in (1, 3):
        fake = Generator(10, c, s, 8)(torch.randn(3, 10))
        assert fake.shape == (3, c, s, s) and fake.abs().max() <= 1
        assert Discriminator(c, s, 8)(fake).shape == (3,)
y = torch.tensor([0, 1, 1])
told, judge = Generator(10, 1, 16, 8, classes=2), Discriminator(1, 16, 8, classes=2, norm="layer")
fake = told(torch.ones(3, 10), y).detach()
assert not torch.allclose(fake[0], fake[1]) and torch.allclose(fake[1], fake[2]), "the class decides"
h = judge.features(fake)
assert torch.allclose(judge(fake, y), judge.logit(h) + torch.einsum("bc,bchw->b", judge.embed.weight[y], h), atol=1e-5)
with pytest.raises(ValueError, match="30 pixels cannot be"):
    Generator(10, 1, 30)
seed_everything(0)
big = nn.Conv2d(64, 64, 4).apply(init_weights).weight  # 65,536 weights: the spread is known to 0.3 %
assert abs(big.std() - 0.02) < 3e-4 and abs(big.mean()) < 3e-4


# %% [markdown]
# ### Report 004's networks
#
# Report 004, one of the five student reports behind this course, built its GANs in Keras and printed their layers. The generator has one dense layer, which holds most of its parameters, a transposed convolution that doubles the resolution, and a convolution; the discriminator has three convolutions of 3x3 pixels and a dense layer. There is no batch normalisation.
#
# It also says that the network *collapsed* when layers were added. `extra_layers` adds them: so many 3x3 convolutions more before the last layer of each network. Tried on `digits` (`width` 56, bfloat16, 500 samples, one seed; `class_kl` is the divergence of the class histogram in nats, where one class only would have $\log10\approx2.3$, and *recall* the share of test images that lie where samples are):
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
def _more_layers(w: int, n: int) -> list[nn.Module]:
    return [layer for _ in range(n) for layer in (nn.Conv2d(w, w, 3, padding=1), nn.LeakyReLU(0.2))]


def report004_generator(latent: int, channels: int, size: int, extra_layers: int = 0) -> nn.Module:
    "z (B, latent) to images (B, channels, size, size) in [-1, 1], as in report 004. ValueError if `size` is no multiple of 4."
    half = stairs(size)[1]
    net = nn.Sequential(
        nn.Linear(latent, 256 * half**2), nn.LeakyReLU(0.2), nn.Unflatten(1, (256, half, half)),
        nn.ConvTranspose2d(256, 128, 4, 2, 1), nn.LeakyReLU(0.2), *_more_layers(128, extra_layers), nn.Conv2d(128, channels, 3, padding=1), nn.Tanh(),
    )  # fmt: skip
    net.latent, net.classes = latent, 0
    return net


# %% [markdown]
# The report does not give the rate of its dropout. We take 0.4, as the tutorial does that it cites (`-p network report004 -p dropout 0.4`).

# %%
#| export
def report004_discriminator(channels: int, size: int, width: int = 64, dropout: float = 0.4, extra_layers: int = 0) -> nn.Module:
    "Images (B, channels, size, size) to logits (B,), as in report 004, where `width` is 56 for MNIST and 64 for CIFAR-10."
    w, quarter = width, size // 4
    return nn.Sequential(
        nn.Conv2d(channels, w, 3, 1, 1), nn.LeakyReLU(0.2), nn.Conv2d(w, 2 * w, 3, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(2 * w, 4 * w, 3, 2, 1), nn.LeakyReLU(0.2),
        *_more_layers(4 * w, extra_layers), nn.Flatten(), nn.Dropout(dropout), nn.Linear(4 * w * quarter**2, 1), nn.Flatten(0),
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


# %%
table = layer_table(report004_generator(100, 1, 28), torch.zeros(2, 100))
print(f"{table.parameters.sum():,} parameters")
table

# %%
table = layer_table(report004_discriminator(1, 28, 56), torch.zeros(2, 1, 28, 28))
print(f"{table.parameters.sum():,} parameters")
table

# %% [markdown]
# The report's four totals, to the parameter:

# %%
total = lambda net: sum(p.numel() for p in net.parameters())
assert total(report004_discriminator(3, 32, 64)) == 387_201 and total(report004_generator(100, 3, 32)) == 7_147_011
assert total(report004_discriminator(1, 28, 56)) == 294_113 and total(report004_generator(100, 1, 28)) == 5_593_345
table = layer_table(report004_discriminator(3, 32, 64), torch.zeros(2, 3, 32, 32))
assert list(table["output shape"])[:6:2] == [(64, 32, 32), (128, 16, 16), (256, 8, 8)] and list(table.parameters[table.parameters > 0]) == [1792, 73856, 295168, 16385]
table = layer_table(report004_generator(100, 3, 32), torch.zeros(2, 100))
assert list(table["output shape"])[3::2] == [(128, 32, 32), (3, 32, 32)] and list(table.parameters[table.parameters > 0]) == [6_619_136, 524_416, 3_459]
assert report004_generator(10, 1, 16, 2)(torch.zeros(3, 10)).shape == (3, 1, 16, 16)


# %% [markdown]
# ## One update
#
# One update has two halves. First the discriminator sees a batch of real images and a batch of fakes and takes a step; then the generator takes a step against the discriminator *as it has just become*.
#
# Three numbers are logged besides the losses: $D(x)$, the mean verdict on real images, and the mean $D(G(z))$ on the fakes before and after the discriminator's step (after the unrolled steps, if there are any). A verdict is the probability $\sigma(a)$ where the loss knows probabilities, and the bare output $a$ for hinge and Wasserstein.

# %%
#| export
def verdict(logits: torch.Tensor, loss: str) -> torch.Tensor:
    "Mean of D(x), as a probability where the loss takes logits for that, else as it is."
    return (logits.sigmoid() if loss in ("nonsaturating", "minmax") else logits).mean().detach()


# %% [markdown]
# The same fakes serve for both halves; `detach` keeps the discriminator's loss from reaching into the generator. Everything above finds its place: the loss by its name, the penalty, the unrolled discriminator, and augmentations, which change images before the discriminator sees them.

# %%
#| export
def update_gan(
    G: nn.Module,
    D: nn.Module,
    opt_G: torch.optim.Adam,
    opt_D: torch.optim.Adam,
    real: torch.Tensor,  # images, or points of any shape (B, ...)
    y: torch.Tensor | None,  # their classes (B,), for networks that are told
    config: GANConfig,
    follow: bool = True,  # G takes a step, too
) -> dict[str, torch.Tensor]:  # what is logged
    "One update of the discriminator and, if asked, one of the generator."
    loss_of_D, loss_of_G = LOSSES[config.loss]
    seen = lambda x, fake: augment_images(x, config.augment) if config.augment_fakes or not fake else x
    told = [] if y is None else [y]
    fake = G(torch.randn(len(real), config.latent, device=real.device), *told)

    # The discriminator's step: call real images real, and fakes fake.
    real_seen, fake_seen = seen(real, False), seen(fake, True)
    real_logits, fake_logits = D(real_seen, *told), D(fake_seen.detach(), *told)
    loss_D = loss_of_D(real_logits, fake_logits)
    if config.loss == "wgan-gp":
        loss_D = loss_D + config.penalty * gradient_penalty(lambda x: D(x, *told), real_seen, fake_seen)
    opt_D.zero_grad()
    loss_D.backward()
    opt_D.step()

    # The generator's step: have the fakes called real.
    judge = lambda params, x: functional_call(D, params, (x, *told))
    params = dict(D.named_parameters())
    if config.unroll and follow:
        params = unrolled_parameters(D, opt_D, lambda p: loss_of_D(judge(p, real_seen), judge(p, fake_seen)), config.unroll)
    new_logits = judge(params, fake_seen)
    loss_G = loss_of_G(new_logits)
    if follow:
        opt_G.zero_grad()
        loss_G.backward()
        opt_G.step()

    d_x, d_g_z1, d_g_z2 = (verdict(logits, config.loss) for logits in (real_logits, fake_logits, new_logits))
    return {"loss_d": loss_D.detach(), "loss_g": loss_G.detach(), "d_x": d_x, "d_g_z1": d_g_z1, "d_g_z2": d_g_z2}


# %% [markdown]
# ## The training loop
#
# First the two networks that a configuration asks for, with their initial weights:

# %%
#| export
@fits_memory
def make_networks(config: GANConfig, data: ImageSet) -> tuple[nn.Module, nn.Module]:
    "Freshly initialised generator and discriminator for images like those of `data`; the seed decides the weights. ValueError if they cannot be."
    _, channels, size, _ = data.images.shape
    if config.conditional and not data.classes:
        raise ValueError("conditional: the data set has no labels; sort the images into class folders.")
    seed_everything(config.seed, 0)
    if config.network == "report004":
        G = report004_generator(config.latent, channels, size, config.extra_layers)
        return G.apply(init_glorot), report004_discriminator(channels, size, config.width, config.dropout, config.extra_layers).apply(init_glorot)
    classes = len(data.classes) if config.conditional else 0
    G = Generator(config.latent, channels, size, config.width, classes).apply(init_weights)
    D = Discriminator(channels, size, config.width, classes, config.norm, config.dropout).apply(init_weights)
    if config.norm == "spectral":
        for layer in [m for m in D.modules() if isinstance(m, nn.Conv2d)]:
            spectral_norm(layer)
    return G, D


# %% [markdown]
# In the loop, `run.batches` is where a data loader usually stands; it also restores, saves and seeds ([00_runs](00_runs.ipynb)). Calling `train_gan` with 5 epochs and then with 20 trains 20 in all.

# %%
#| export
def train_gan(run: Run, epochs: int) -> nn.Module:
    "Train `run` until `epochs` epochs are done, from where it stands; returns the generator to sample from."
    config, accelerator = run.config, make_accelerator(run.config.precision)
    data = config.training_set()
    G, D = (net.to(accelerator.device) for net in make_networks(config, data))
    if run.load_weights(epochs, G):
        return G
    average = EMA(G, config.ema)
    opt_G, opt_D = (torch.optim.Adam(net.parameters(), lr, betas=(config.beta1, 0.999)) for net, lr in ((G, config.lr), (D, config.lr_d or config.lr)))
    G, D, opt_G, opt_D = accelerator.prepare(G, D, opt_G, opt_D)
    held_out = load_dataset(config.dataset, "test", config.size)

    for real, y in run.batches(data, epochs, accelerator.device, G=G, D=D, average=average, opt_G=opt_G, opt_D=opt_D):
        held = judge_held_out(D, held_out, real, config) if run.step % run.log_every == 0 else None
        losses = update_gan(G, D, opt_G, opt_D, real, y if config.conditional else None, config, follow=run.step % config.d_steps == 0)
        average.update(G)
        if held is not None:
            run.log(**losses, d_held_out=held)
    run.keep_weights(epochs, average.model)
    return average.model


# %% [markdown]
# One number more is logged, `d_held_out`: $D$'s verdict on images of the test set, from which it does *not* learn. It is taken as $D(x)$ is, before the discriminator's step. If it falls behind $D(x)$, the discriminator has begun to know the training images by heart ([01c_few_images](01c_few_images.ipynb)).

# %%
#| export
@torch.random.fork_rng()  # with this and `look`, looking changes nothing
def judge_held_out(D: nn.Module, held_out: ImageSet, like: torch.Tensor, config: GANConfig) -> torch.Tensor:
    "The verdict on as many images as `like` has, drawn from those that D does not learn from."
    index = torch.randint(len(held_out.images), (len(like),))
    x = augment_images(to_model(held_out.images[index].to(like.device)), config.augment)
    told = [held_out.labels[index].to(like.device)] if config.conditional else []
    return verdict(look(D, x, *told), config.loss)


# %% [markdown]
# Sampling is one forward pass. In `eval` mode batch normalisation uses its running means and variances, so that an image depends on its own latent and not on its neighbours in the batch. They trail behind: each update takes a tenth of the new value, so after the 11 updates of one epoch on `digits` $0.9^{11}=31\,\%$ of their initial values is still in them, and the first samples are greyer and more alike than what the discriminator saw. Latent $i$ comes from seed $(seed, i)$: the same latents after every epoch count, so that one sees the *same* digit improve.

# %%
#| export
@torch.no_grad()
def sample_gan(
    G: nn.Module,
    n: int,  # number of images
    seed: int = 0,  # image i depends on (seed, i) only
) -> torch.Tensor:  # uint8 (n, C, H, W), on the CPU
    "Images from a generator; a conditional one draws its classes in turn."
    device = next(G.parameters()).device
    z, y = latents(n, (G.latent,), seed).split(500), (torch.arange(n) % max(1, G.classes)).split(500)
    told = lambda classes: [classes.to(device)] * (G.classes > 0)
    training = G.training
    G.eval()
    images = [to_image(G(batch.to(device), *told(classes))).cpu() for batch, classes in zip(z, y, strict=True)]
    G.train(training)  # as it was found: one may look in the middle of a training
    return torch.cat(images)


# %% [markdown]
# And all of it together, for each epoch count that was asked for and is not on disk yet:

# %%
#| export
def run_gan(config: GANConfig) -> Run:
    "Train, sample and score at each epoch count that `config` asks for; what is on disk already is not done again."
    run = Run(config)
    with run.lock():
        for epochs in run.pending():
            n_test = check_metrics(config.dataset, config.size, config.metrics)
            G = train_gan(run, epochs)
            start = time.perf_counter()
            samples = sample_gan(G, config.n_samples or n_test, config.seed)
            drawn = time.perf_counter()
            scores = evaluate(samples, config.dataset, config.metrics, train=config.training_set().images)
            run.finish(epochs, samples, scores=scores, sample_seconds=drawn - start, score_seconds=time.perf_counter() - drawn)
    return run


# %% [markdown]
# ## Training
#
# A line is printed now and then: [epoch/epoch count on the way to], [update/updates in an epoch], the two losses, and the verdicts before and after the discriminator's step. If this run is on disk already, nothing is trained.

# %%
run = run_gan(config)
print("results in the runs folder, under", "/".join(run.folder.parts[-3:]))

# %% [markdown]
# ### Is the spectral norm one?
#
# PyTorch approaches the largest singular value a little each time the network is used in training. After fifty times, that of the divided weights should be one:

# %%
lipschitz = make_networks(GANConfig(loss="hinge", norm="spectral", width=8), load_dataset("digits"))[1]
for _ in range(50):
    lipschitz(torch.randn(4, 1, 16, 16))
largest = [torch.linalg.matrix_norm(m.weight.flatten(1), 2).item() for m in lipschitz.modules() if isinstance(m, nn.Conv2d)]
assert all(abs(value - 1) < 0.02 for value in largest), largest

# %% [markdown]
# ### Does sampling depend on the batch?
#
# A check of what was promised: drawn alone, the first ten samples are those on disk, up to one grey level (another batch size may round a float the other way).

# %%
G = make_networks(config, data)[0]
assert run.load_weights(epochs, G)
kept = run.samples(epochs)
alone = sample_gan(G, min(10, len(kept)), config.seed)
assert (alone.int() - kept[:10].int()).abs().max() <= 1, "drawn alone, an image differs by rounding at most"

# %% [markdown]
# ### The losses
#
# In most of machine learning a falling loss means progress. Not here: each network's loss is measured against an opponent that improves, too. What one hopes to see is a *balance*. If `Loss_D` goes to zero, the discriminator has won: the slope in the logit is still large, but it no longer says in which direction an image would become more real ([Arjovsky and Bottou 2017](https://arxiv.org/abs/1701.04862)); if $D(x)$ and $D(G(z))$ both settle around one half, the discriminator can hardly tell (its loss is then $\log 4\approx1.39$, the dashed line on the left). The two losses swing in opposite directions, often abruptly: the generator finds a weakness, the discriminator learns to see it. Report 000 saw the same oscillations.

# %%
history = run.history or pd.read_csv(run.folder / "history.csv").to_dict("records")
fig, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
plot_history(history, {"loss_d": "Loss_D", "loss_g": "Loss_G"}, "loss (nats)" if loss in ("nonsaturating", "minmax") else "loss", axes[0])
plot_history(history, {"d_x": "$D(x)$", "d_g_z1": "$D(G(z))$ before", "d_g_z2": "$D(G(z))$ after"}, "mean verdict", axes[1])
if loss in ("nonsaturating", "minmax"):
    axes[0].axhline(1.386, color="0.6", linewidth=0.8, linestyle="--")
    axes[1].axhline(0.5, color="0.6", linewidth=0.8, linestyle="--")
    fig.suptitle("losses and verdicts; dashed: a discriminator that guesses")

# %% [markdown]
# The same as a log, in the format of report 000:

# %%
for row in history[:: max(1, len(history) // 8)][-8:]:
    print(f"[{row['epoch']}/{epochs}][{row['i']}/{-(-len(data.images) // batch_size)}] " + config.log_line.format(**row))

# %% [markdown]
# ### The samples
#
# The same 32 latents after each epoch count, and real images below.

# %%
some = run.evaluated()
for e in some[:: -(-len(some) // 6)]:  # six at most
    show_grid(run.samples(e)[:32], ncol=16, title=f"generated after {e} epoch{'s' * (e > 1)}")
show_grid(load_dataset(dataset, "test", size).images[:32], ncol=16, title="real (test set)");


# %% [markdown]
# ### The numbers
#
# `fd_lenet` is the Frechet distance of the samples to the test set: how far the mean and the covariance of a small classifier's features are apart ([05_fid](05_fid.ipynb)). The floor is what as many real training images have.

# %%
def row(e):
    m = run.metrics(e)
    fd = m["scores"].get("fd_lenet", {})
    return {
        "epochs": e, **{k: round(m["losses"][k], 2) for k in ("loss_d", "loss_g", "d_x")},
        "fd_lenet": fd.get("value"), "floor": fd.get("floor"), "N": m["n_samples"], "training (s)": m["train_seconds"],
    }  # fmt: skip


pd.DataFrame(map(row, run.evaluated())).round(2)

# %%
first, last = (run.metrics(e) for e in (run.evaluated()[0], run.evaluated()[-1]))
if config == GANConfig(epochs=60, snapshots=[1, 5, 20]):  # the parameters as they stand above
    assert last["scores"]["fd_lenet"]["value"] < 0.3 * first["scores"]["fd_lenet"]["value"]
    assert last["scores"]["fd_lenet"]["value"] > 0.25 * last["scores"]["fd_lenet"]["floor"], "far better than real would be a bug"


# %% [markdown]
# ### A better GAN
#
# What do the options buy? On MNIST, after 5 epochs with 10,000 samples and one seed, the plain DCGAN has an `fd_lenet` of 109.0 ± 1.1 (the spread is over samples, not seeds; the floor is 0.86). Told the class, with a hinge loss, layer normalisation in $D$, a learning rate of 4e-4 and averaged weights (`-p conditional true -p loss hinge -p norm layer -p lr 4e-4 -p ema 0.99`), it has 16.0 ± 0.8 (all five at once; which of them helps this does not tell), in the same time: 1,370 and 1,305 seconds on one core of an AMD EPYC. Patience helps less: a plain one whose networks compute in bfloat16 (`-p precision bf16`) has 108.5 ± 1.3 after 5 epochs, which is the same, and 54.0 ± 0.9 after 20. All three runs are among the results in `report/results`. The plain one also draws some classes too rarely: the Kullback-Leibler divergence of its class histogram from the data's is 0.14 nats, that of the other, which is told what to draw, 0.004.

# %% [markdown]
# ## What to watch for
#
# - **The discriminator wins.** `Loss_D` near 0, $D(x)$ near 1, $D(G(z))$ near 0, samples that no longer change. Slow the discriminator down, or use fewer of its updates.
# - **Mode collapse.** Many samples look alike, and the losses need not show it. Look at the grid: are all ten digits there? [01b_mode_collapse](01b_mode_collapse.ipynb) makes it happen, and cures it on a toy.
# - **Few images.** The discriminator learns them by heart: compare $D(x)$ with `d_held_out` in the history. [01c_few_images](01c_few_images.ipynb) shows one setting in which augmentation seems to help and one in which it does not.
# - **More epochs need not be better.** Compare distances, not losses, and look at more epoch counts than four before you say that a model has stopped improving. Does a moving average of the weights (`-p ema 0.99`) help? See exercise 1.
# - **Seeds.** A GAN's result varies from seed to seed ([Lucic et al. 2018](https://arxiv.org/abs/1711.10337)). Two runs are not a comparison.
#
# ## Exercises
#
# 1. Train with `-p ema 0.99`. What changes in the table, and what in the loss curves? Why not in the curves?
# 2. Leave out `detach()`. Why does PyTorch now refuse the generator's step? Make it run with `retain_graph=True` in the discriminator's `backward`: what has that step left in the generator's `.grad`, and why does it do no harm? (Look where `zero_grad` stands.)
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
#     small = dict(epochs=30, snapshots=[1, 5, 20], width=16, lr=1e-3)
#     for seed in (0, 1, 2):
#         plain, averaged = (run_gan(GANConfig(name="average", ema=ema, seed=seed, **small)) for ema in (0, 0.99))
#         print(seed, *[[round(r.metrics(e)["scores"]["fd_lenet"]["value"]) for e in r.evaluated()] for r in (plain, averaged)])
#         assert plain.history == averaged.history
#
# In the table only `fd_lenet` changes (and, a little, the time). The losses and the curves are the same to the bit, as the last line checks: the average watches the training and has no part in it. $D$ judges the fakes of the *current* weights, and the average is not even evaluated before the samples are drawn. On `digits` we found
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
# Both losses share a piece of graph, from $z$ through $G$ to the fakes. `loss_D.backward()` now goes through it as well, and frees what was stored there; `loss_G.backward()` wants to go through it again, hence *Trying to backward through the graph a second time*. With `retain_graph=True` it is kept. Then the discriminator's step leaves in `G`'s `.grad` the gradient of the *discriminator's* loss, of $-\log(1-D(G(z)))$. A step along it would make the fakes easier to tell. It is exactly minus the gradient of `minmax_loss`:
#
#     G, D = make_networks(GANConfig(width=8), data)
#     fake = G(torch.randn(64, latent))
#     F.softplus(D(fake)).mean().backward(retain_graph=True)  # the fakes' part of discriminator_loss
#     left = [p.grad.clone() for p in G.parameters()]
#     G.zero_grad()
#     minmax_loss(D(fake)).backward()
#     assert all(torch.allclose(a, -p.grad, atol=1e-6) for a, p in zip(left, G.parameters()))
#
# It does no harm because `opt_G.zero_grad()` stands directly before `loss_G.backward()`: what was left is thrown away. It only costs a backward pass through $G$ and memory. If `zero_grad` stood after `opt_G.step()` instead, the two would add up. The slope in the logit would be $-(1-\sigma(a))+\sigma(a)=2\sigma(a)-1=\tanh(a/2)$ for the non-saturating loss, which pulls the fakes' logits to 0 and no further, and $-\sigma(a)+\sigma(a)=0$ for min-max (up to the step that $D$ makes in between): nothing to learn at all.
#
# </details>
#
# <details><summary>3. The min-max loss</summary>
#
# With the small networks of exercise 1:
#
#     for seed in (0, 1, 2):
#         run = run_gan(GANConfig(name="minmax", loss="minmax", seed=seed, **small))
#         print(seed, [round(run.metrics(e)["scores"]["fd_lenet"]["value"]) for e in run.evaluated()], run.metrics(30)["losses"])
#         show_grid(run.samples(30)[:32], ncol=16)
#
# In 30 epochs it never came to that. With two of the three seeds the samples are grey noise to the end (`fd_lenet` 2186 and 2111, from 2625 and 2649 after the first epoch), with the third they are pale blobs (1169); the non-saturating loss has 63 to 92 by then, from the same initial weights. In the last epoch $D(x)$ is between 0.990 and 1.000, and the mean $D(G(z))$ between 0.0003 and 0.006. The slope of the generator's loss in the logit, $-\sigma(a)$, is no larger than that: for the non-saturating loss it would be nearly 1. Does Adam not make up for it, since it divides by the gradient's size? Only slowly: its measure of size, $\hat v$, remembers some 1,000 updates, the large first ones included, and this training has 330. And within a batch the scale is not the same for all: fakes that are surely recognised have next to no say.
#
# </details>
#
# <details><summary>4. A conditional GAN</summary>
#
#     for seed in (0, 1, 2):
#         for conditional in (False, True):
#             config = GANConfig(name="told", conditional=conditional, seed=seed, metrics=["fd_lenet", "fd_lenet_by_class", "class_kl"], **small)
#             print(seed, conditional, {k: round(s["value"], 2) for k, s in run_gan(config).metrics(30)["scores"].items()})
#
# On `digits` after 30 epochs hardly: `fd_lenet` was 92 without and 91 with classes for seed 0, 78 and 76 for seed 1. Within the classes it was even a little larger with them (`fd_lenet_by_class` 232 and 241, 214 and 225), and `class_kl` went from 0.11 to 0.13 and from 0.09 to 0.07. Two seeds decide nothing when seeds differ by more than the models. A longer training or a harder data set may show more; the MNIST runs under *A better GAN* above changed five things at once and cannot say which of them helped.
#
# Is it fair? Not quite. The conditional model has the labels, which the other one never sees. And its classes are drawn in turn, all equally often, so a part of what a GAN has to learn, how often each class comes, is given to it: `class_kl` measures how well it obeys, and not what it has found out. On `digits`, whose classes are equally frequent, that is a gift; on a data set with rare classes it would even be wrong, and the labels should be drawn with the data's frequencies. It also has a few more parameters. Fairer is `fd_lenet_by_class`, which compares within classes, so that the proportions do not matter; or an unconditional model whose samples are sorted by a classifier and drawn with equal numbers. And compare at equal updates, with several seeds.
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
# In our last row `Loss_D` is 0.54 (a mean over the 60th epoch): at least 0.42 nats, where two distributions that do not overlap at all have $\log2=0.69$. Far from equal, says the loss. But it cannot really tell:
#
# - The bound is about expectations. $D$ has learned from these very images, so its loss on them is too low and the bound too high; compare $D(x)$ with `d_held_out`.
# - $D$ is not $D^*$. A discriminator that has learned nothing says one half everywhere, too, and has the loss $\log4$ against any generator.
# - $\mathrm{JSD}$ is $\log2$ as soon as *some* detail tells fakes from real images for sure, however small it is. It says whether they can be told apart, not how far apart they are.
# - In training, batch normalisation shows $D$ a whole batch of fakes at once, so it does not even judge single images.
#
# The table itself shows it. From epoch 20 to epoch 60 `fd_lenet` fell from 162 to 53, and `Loss_D` went from 0.68 to 0.54, *away* from $\log4$: the samples became much better, and the discriminator became better still.
#
# </details>

# %% [markdown]
# ## Its latent space

# %%
#| export
def gan_space(run: Run, epochs: int) -> LatentSpace:
    "The latent space of a trained GAN; of a conditional one, for its first class. There is no way back."
    net = make_networks(run.config, run.config.training_set())[0]
    load_or_explain(run, epochs, net)
    device = make_accelerator().device
    net = net.to(device).eval()

    @torch.no_grad()
    def decode(z: torch.Tensor) -> torch.Tensor:
        y = [torch.zeros(len(z), dtype=torch.long, device=device)] if net.classes else []
        return net(z.to(device), *y).cpu()

    return LatentSpace("gan", (run.config.latent,), decode, describe_run(run, epochs))


KINDS["gan"] = Kind("GAN", "01_gan", GANConfig, run_gan, space=gan_space)
