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
# # Mode collapse
#
# > Eight points on a ring, and a generator that finds only some of them: collapse made to happen, its cures on the same seeds, and how to see it in images
#
# A generator that always draws the same perfect seven fools a discriminator for a while. Data with several *modes*, regions where images are frequent, invite that: the generator may keep to a few of them. That is **mode collapse**. Two cures are known: the Wasserstein GAN ([01_gan](01_gan.ipynb)) and the unrolled GAN, which this notebook explains. We try both, first where one can see everything: in two dimensions.

# %%
#| default_exp collapse

# %% tags=["parameters"]
seeds = 5  # trainings of each kind
updates = 1000  # of the generator
dataset = "digits"  # images for the last part: digits, mnist, fashion_mnist, cifar10, hf:REPO or folder:PATH
epochs = 30  # for the images

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import json
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.colors import PowerNorm
from torch import nn
from torch.func import functional_call

from genlab.data import load_dataset
from genlab.gan import GANConfig, make_optimizers, update_gan
from genlab.plug import LABS, SECTIONS, Section
from genlab.runs import EMA, atomic, runs_root, seed_everything
from genlab.sources import progress
from genlab.tables import (
    escape,
    figure,
    last_of_each,
    markdown_table,
    plot_label,
    plus_minus,
    save_figure,
    slug,
    value_at,
    verbatim,
)

# %%
#| hide
from genlab.data import show_grid
from genlab.gan import bce_d_loss, minmax_g_loss, nonsaturating_g_loss, run_gan

# %% [markdown]
# ## Eight modes, twenty-five modes
#
# The ring of 8 is from [Metz et al. (2017)](https://arxiv.org/abs/1611.02163), the grid of 25 from [Dumoulin et al. (2017)](https://arxiv.org/abs/1606.00704). Each mode is a narrow Gaussian. A sample is *good* if it lies within three standard deviations of a centre (98.9 % of a two-dimensional Gaussian do). A mode is *found* if the good samples around it are at least a tenth of its fair share of all samples; a few stray ones do not count.

# %%
#| export
SPREAD = 0.05  # standard deviation of each mode, in both directions


def ring(n: int = 8, radius: float = 2.0) -> torch.Tensor:  # (n, 2)
    "Centres of n modes on a circle (after Metz et al. 2017, whose modes are narrower)."
    angle = 2 * torch.pi * torch.arange(n) / n
    return radius * torch.stack([angle.cos(), angle.sin()], 1)


def square_grid(side: int = 5, distance: float = 1.0) -> torch.Tensor:  # (side^2, 2)
    "Centres of side x side modes around the origin (Dumoulin et al. 2017)."
    along = distance * (torch.arange(side) - (side - 1) / 2)
    return torch.cartesian_prod(along, along)


def draw_points(centres: torch.Tensor, n: int) -> torch.Tensor:  # (n, 2)
    "Points of the mixture, all modes equally likely; uses torch's current seed."
    return centres[torch.randint(len(centres), (n,))] + SPREAD * torch.randn(n, 2)


# %% [markdown]
# How many of these modes has a generator found?

# %%
#| export
def count_modes(points: torch.Tensor, centres: torch.Tensor) -> tuple[int, float]:
    "How many modes have a tenth of their share of good points at least, and the share of good points."
    distance, mode = torch.cdist(points, centres).min(1)
    good = distance < 3 * SPREAD
    counts = torch.bincount(mode[good], minlength=len(centres))
    return int((counts >= 0.1 * len(points) / len(centres)).sum()), good.float().mean().item()


# %%
torch.manual_seed(0)
for centres in (ring(), square_grid()):
    real = draw_points(centres, 5000)
    modes, good = count_modes(real, centres)
    assert modes == len(centres) and abs(good - (1 - np.exp(-4.5))) < 0.006  # standard error 0.0015
    assert count_modes(real[torch.cdist(real, centres).argmin(1) < 3], centres)[0] == 3
assert torch.allclose(ring().norm(dim=1), torch.tensor(2.0)) and square_grid().mean(0).abs().max() < 1e-6


# %% [markdown]
# ## Looking ahead
#
# The generator's loss treats the discriminator as fixed. So the generator may run to where *this* discriminator is weakest, all images to the same place, and a step later the discriminator has learned about that place. An **unrolled GAN** ([Metz et al. 2017](https://arxiv.org/abs/1611.02163)) asks what the discriminator will have become after $k$ more updates, and differentiates *through* these updates: the generator then sees that a crowded place will be punished.
#
# The updates are those that Adam would make, written as formulas instead of in-place changes. First one of them: Adam keeps running means $m$ of the gradient and $v$ of its square, and steps along $m/\sqrt v$, both corrected for their start at zero.

# %%
#| export
def adam_step(
    params: dict[str, torch.Tensor],
    grads: tuple[torch.Tensor, ...],
    moments: list[tuple[torch.Tensor, torch.Tensor]],  # m and v of each parameter
    i: int,  # number of this update, from 1 on
    group: dict,  # of the optimizer: lr, betas, eps
) -> tuple[dict, list]:  # parameters and moments
    "What comes after one of Adam's updates (Kingma and Ba 2015); nothing is changed in place."
    (b1, b2), later, kept = group["betas"], {}, []
    for (name, p), g, (m, v) in zip(params.items(), grads, moments, strict=True):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        root = (v / (1 - b2**i) + 1e-16).sqrt()  # 1e-16: a root has no slope at 0
        step = m / (1 - b1**i) / (root + group["eps"])
        later[name] = p - group["lr"] * step
        kept.append((m, v))
    return later, kept


# %% [markdown]
# From there to a discriminator of the future: start where its optimizer stands, take so many steps, and run the network with what comes out. (`functional_call(net, params, inputs)` runs a network with other tensors for weights, so that gradients flow on through the updates that made them.)

# %%
#| export
def unrolled(
    net: nn.Module,
    opt: torch.optim.Adam,  # its optimizer
    loss: Callable,  # of a network: what `opt` minimises
    steps: int,
) -> Callable:  # like `net`, differentiable in all that `loss` depends on
    "`net` as it will be after `steps` more updates (Metz et al. 2017, eqs. 7-8). Nothing is changed."
    (group,) = opt.param_groups
    params, zero = dict(net.named_parameters()), torch.zeros(())
    states = [opt.state.get(p, {}) for p in params.values()]
    moments = [tuple(state.get(key, zero) for key in ("exp_avg", "exp_avg_sq")) for state in states]
    done = int(states[0].get("step", 0))

    def with_weights(weights: dict) -> Callable:
        return lambda *inputs: functional_call(net, weights, inputs)

    for i in range(done + 1, done + steps + 1):
        grads = torch.autograd.grad(loss(with_weights(params)), params.values(), create_graph=True)
        params, moments = adam_step(params, grads, moments, i, group)
    return with_weights(params)


# %% [markdown]
# Two checks on a toy. Three unrolled steps give what three real steps give. And the gradient through three steps equals finite differences, where the plain gradient, which takes the discriminator as fixed, does not:

# %%
torch.manual_seed(0)
toy_D = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1), nn.Flatten(0)).double()
toy_opt = torch.optim.Adam(toy_D.parameters(), 0.05, (0.5, 0.999))
toy_real, toy_z = torch.randn(8, 2).double(), torch.randn(8, 2).double()


def toy_loss(fake):
    return lambda net: bce_d_loss(net(toy_real), net(fake))


def toy_step(fake):
    toy_opt.zero_grad()
    toy_loss(fake)(toy_D).backward()
    toy_opt.step()


def loss_ahead(theta, steps=3):
    fake = toy_z * theta[:2] + theta[2:]  # a generator of four numbers: scale and shift
    return nonsaturating_g_loss(unrolled(toy_D, toy_opt, toy_loss(fake), steps)(fake))


# %%
theta = torch.tensor([0.5, -0.3, 1.0, 0.2], dtype=torch.float64, requires_grad=True)
toy_step(toy_z)  # so that Adam has a past
assert torch.autograd.gradcheck(loss_ahead, theta)
for steps in (0, 3):
    (gradient,) = torch.autograd.grad(loss_ahead(theta, steps), theta)
    print(f"the generator's gradient, {steps} steps ahead:", gradient.numpy().round(3))
fake = (toy_z * theta[:2] + theta[2:]).detach()
later = unrolled(toy_D, toy_opt, toy_loss(fake), 3)(toy_real)
for _ in range(3):
    toy_step(fake)
assert torch.allclose(toy_D(toy_real), later, atol=1e-9)

# %% [markdown]
# ## Small networks, the same update
#
# Both networks have two hidden layers. What trains them is `update_gan` of [01_gan](01_gan.ipynb), the same function that trains on images, so a cure is just a configuration. All kinds of GAN get the same number of generator updates, from the same initial weights. Points are drawn from a moving average of the generator's weights (`ema`), for the last weights jump about at this learning rate: after 1,000 updates those of the WGAN-GP below find 3, 8, 8, 8 and 8 modes with 44 % good points, their average (with a decay of 0.98) all 8 with each seed and 62 %. The average alone is no cure: all kinds have it.

# %%
#| export
HIDDEN = 64
TOY = dict(latent=8, lr=3e-3, lr_d=3e-3, batch_size=128, ema=0.99)
CURES = {
    "non-saturating, 5 steps of D, lr 1e-3": GANConfig(d_steps=5, **TOY | dict(lr=1e-3, lr_d=1e-3)),
    "non-saturating, 5 steps of D": GANConfig(d_steps=5, **TOY),
    "non-saturating": GANConfig(**TOY),
    "min-max": GANConfig(loss="minmax", **TOY),
    "WGAN-GP, 5 steps of D": GANConfig(loss="wgan-gp", norm="layer", penalty=0.1, d_steps=5, **TOY),
    "unrolled, 5 steps ahead": GANConfig(unroll=5, **TOY),
}


# %% [markdown]
# One run proves little, so we train five, from five seeds. They live side by side in one network, whose layers have one weight matrix for each seed. Nothing couples them: a loss that is averaged over all of them has, for one seed's weights, that seed's gradient divided by five, and Adam does not mind the scale of a gradient.

# %%
#| export
class Dense(nn.Module):
    "A dense layer for each seed: (seeds, B, inputs) to (seeds, B, outputs), initialised as nn.Linear."

    def __init__(self, seeds: int, inputs: int, outputs: int):
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(seeds, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(seeds, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


# %% [markdown]
# Both networks are made of three such layers:

# %%
#| export
def toy_network(seeds: int, inputs: int, outputs: int) -> nn.Sequential:
    "Two hidden layers for each seed: (seeds * B, inputs) to (seeds * B, outputs), a seed's rows together."
    return nn.Sequential(
        nn.Unflatten(0, (seeds, -1)),
        Dense(seeds, inputs, HIDDEN), nn.ReLU(),
        Dense(seeds, HIDDEN, HIDDEN), nn.ReLU(),
        Dense(seeds, HIDDEN, outputs),
        nn.Flatten(0, 1),
    )  # fmt: skip


# %% [markdown]
# The training loop. Points from the same latents are kept on the way, so that one sees where the generator goes.

# %%
#| export
def train_toy(
    config: GANConfig,  # loss, unrolled steps, learning rates, ...; what is about images is not used
    centres: torch.Tensor,  # of the data's modes (M, 2)
    updates: int,  # of the generator
    seeds: int = 5,  # trainings side by side
    watch: int = 6,  # looks on the way
) -> torch.Tensor:  # (watch, seeds, 2000, 2): points of the generator, the last at the end
    "Train GANs of small dense networks on a mixture in the plane; config.seed decides everything."
    seed_everything(config.seed, 0)
    G, D = toy_network(seeds, config.latent, 2), nn.Sequential(toy_network(seeds, 2, 1), nn.Flatten(0))
    opts, average = make_optimizers(G, D, config), EMA(G, config.ema)
    z, looks = torch.randn(seeds * 2000, config.latent), []
    for i in range(updates):
        for j in range(config.d_steps):
            real = draw_points(centres, seeds * config.batch_size)
            update_gan(G, D, *opts, real, None, config, update_G=j == config.d_steps - 1)
        average.update(G)
        if (i + 1) * watch // updates > i * watch // updates:
            looks.append(average.model(z).view(seeds, 2000, 2))
    return torch.stack(looks)


# %% [markdown]
# ## Collapse, and its cures
#
# A discriminator that is far ahead can make a generator collapse (or, as in the images at the end of this notebook, keep it from learning to draw a digit at all). Five steps of it for each step of the generator keep it near its best, as the theory of [01_gan](01_gan.ipynb) assumes. Then most points are good (a share of 0.92 and 0.95 on average; the data have 0.99), and there are only one to four modes of them: **mode collapse**, the first two rows of the table. The second row has higher learning rates, those of all other rows.
#
# The critic of the WGAN-GP makes five steps, too. So a plain GAN with five steps and all else equal, the second row, is its control: what is left to make a difference is the critic's loss. The unrolled generator has a discriminator of one step and looks five steps ahead; its control is the plain GAN with one step.
#
# Why is the weight of the penalty 0.1 and not the usual 10? A small weight lets the critic be steeper than 1, by more the farther the fakes are (solution 3 has the formula), and Adam does not mind the scale of the generator's gradient; the authors' own code has 0.1 for points in the plane. From 0.1 to 10 it hardly matters for the modes: with 0.1, 1 and 10 all five seeds find all eight in 1,000 updates, with 73, 76 and 62 % good points (learning rates of 6e-3, decay 0.98). Much less is too little, see exercise 3.

# %%
#| export
def compare_cures(
    centres: torch.Tensor,  # of the data's modes (M, 2)
    updates: int = 1000,  # of the generator
    seeds: int = 5,
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    "All CURES on one mixture: a row a kind, and points of the first seed (watch, 2000, 2) on the way."
    rows, strips = [], {}
    for kind, config in progress(list(CURES.items()), "training on the plane", "kind"):
        points = train_toy(config, centres, updates, seeds)
        modes, good = zip(*(count_modes(p, centres) for p in points[-1]), strict=True)
        whole = sum(m == len(centres) for m in modes)
        sd = np.std(good, ddof=1) if seeds > 1 else None
        rows.append({"kind": kind, "modes": list(modes), "of": len(centres),
                     "all found": f"{whole} of {seeds}", "good": np.mean(good), "sd": sd})  # fmt: skip
        strips[kind] = points[:, 0].numpy()
    return pd.DataFrame(rows), strips


# %% [markdown]
# And the points on the way, as pictures:

# %%
#| export
def plot_strips(strips: dict[str, np.ndarray], centres: torch.Tensor) -> plt.Figure:
    "Density of the generator's points in the course of training, a row a kind; crosses are the data's modes."
    watch = len(next(iter(strips.values())))
    size = (1.1 * watch, 1.1 * len(strips))
    fig, axes = plt.subplots(len(strips), watch, figsize=size, layout="constrained", squeeze=False)
    half = 1.4 * centres.abs().max().item()
    for row, (kind, looks) in zip(axes, strips.items(), strict=True):
        row[0].set_ylabel(kind.replace(", ", ",\n"), fontsize=7)
        for ax, points in zip(row, looks, strict=True):
            shades = PowerNorm(0.5, 0, len(points) / 20)
            ax.hist2d(*points.T, bins=50, range=[[-half, half]] * 2, cmap="Blues", norm=shades)
            ax.plot(*centres.T, "+", color="C3", markersize=6, markeredgewidth=0.6)
            ax.set(xticks=[], yticks=[], aspect="equal")
    for i, ax in enumerate(axes[0]):
        ax.set_title(f"{i + 1}/{watch}", fontsize=8)
    return fig


# %% [markdown]
# The result is kept beside the runs, in `labs/ring.npz`, for the report.

# %%
#| export
def ring_file() -> Path:
    "Where the comparison on the ring is kept."
    return runs_root() / "labs" / "ring.npz"


def keep_ring(table: pd.DataFrame, strips: dict[str, np.ndarray]) -> None:
    "Keep what `compare_cures` found on the ring."
    with atomic(ring_file()) as path, open(path, "wb") as file:
        np.savez_compressed(file, table=table.to_json(orient="records"), **strips)


def load_ring() -> tuple[pd.DataFrame, dict[str, np.ndarray]] | None:
    "What `keep_ring` kept; None if there is nothing."
    if not ring_file().exists():
        return None
    kept = dict(np.load(ring_file()))
    return pd.DataFrame(json.loads(kept.pop("table").item())), kept


# %% [markdown]
# Now all kinds on the ring. `modes` has the number of modes found with each seed, `good` the mean share of good samples, `sd` the spread of that share over the seeds.

# %%
table, strips = compare_cures(ring(), updates, seeds)
keep_ring(table, strips)
again, _ = load_ring()
assert list(again.modes) == list(table.modes)
table.round(2)

# %%
plot_strips(strips, ring()).suptitle("the first seed: points after each sixth of the training", fontsize=9);

# %% [markdown]
# The first two rows are collapse: most points are good, and they are of four modes at most, with each seed. (The seed in the picture still has, in the first row, a quarter of its points on the way between its four modes.) No single good sample shows it. The critic of the WGAN-GP, which makes as many steps, gives the generator a direction everywhere, and it finds all modes. Its points are less sharp after so few updates, and some will always lie between the modes: the generator is continuous, so the images of nearby $z$ are connected.
#
# With one step of the discriminator instead of five there is no collapse to cure: both plain GANs find all modes with each seed. The unrolled generator cannot find more; more of its points are good after as many updates. It is a cure where the discriminator is slow. With learning rates of 1e-3 and 3e-4 for $D$ all points of the plain GAN run from place to place together, the discriminator after them (Metz et al. saw the same), and of five seeds none has more than two modes after 1,000 updates, with 4 % good points; unrolled by five steps they find 8, 7, 8, 8 and 8 (exercise 2).

# %%
found, good = (dict(zip(table.kind, table[column], strict=True)) for column in ("modes", "good"))
if (seeds, updates) == (5, 1000):
    for kind in list(CURES)[:2]:
        assert max(found[kind]) <= 4 and good[kind] > 0.8, "collapse: good points of few modes"
    for kind in list(CURES)[4:]:
        assert sum(m == 8 for m in found[kind]) >= 3 and good[kind] > 0.5, "good points of all modes"
again = [train_toy(CURES["non-saturating"], ring(), 30, 2, 1) for _ in range(2)]
assert torch.equal(*again), "the seed decides everything"

# %% [markdown]
# ### Twenty-five modes
#
# The grid of 25 is harder. With learning rates of 6e-3 and 1,500 updates, five seeds each, none of these four kinds finds all of them:
#
#     quick = {kind: config.model_copy(update={"lr": 6e-3, "lr_d": 6e-3}) for kind, config in list(CURES.items())[2:]}
#     points = {kind: train_toy(config, square_grid(), 1500)[-1] for kind, config in quick.items()}
#
# | kind | modes | good |
# |---|---|--:|
# | non-saturating | 8, 11, 6, 11, 8 | 0.11 |
# | min-max | 10, 11, 12, 16, 10 | 0.12 |
# | WGAN-GP, 5 steps of D | 20, 19, 17, 20, 15 | 0.19 |
# | unrolled, 5 steps ahead | 7, 3, 12, 3, 2 | 0.56 |
#
# The WGAN-GP finds most and is far from sharp. The unrolled GAN has three to five times as many good points as the others and few modes: here it has collapsed itself. "Cured" on the ring does not mean cured.

# %% [markdown]
# ## Where the saturating loss dies
#
# What does the discriminator tell a generator that is far off? Here the fakes sit in one spot, away from the ring, and a discriminator is trained against them. It soon knows them. The pictures show its verdict and, as arrows, where each of the two generator losses of [01_gan](01_gan.ipynb) would move a point (minus the slope; all arrows to one scale). Red points are the fakes. With $D\approx0$ there, the min-max loss hardly moves them; the non-saturating loss does.

# %%
torch.manual_seed(0)
D = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1), nn.Flatten(0))
opt, spot = torch.optim.Adam(D.parameters(), 1e-3), torch.tensor([2.8, 2.8])
for _ in range(300):
    loss = bce_d_loss(D(draw_points(ring(), 256)), D(spot + 0.2 * torch.randn(256, 2)))
    opt.zero_grad()
    loss.backward()
    opt.step()
fakes = (spot + 0.2 * torch.randn(500, 2)).requires_grad_()
losses, slopes = {"min-max": minmax_g_loss, "non-saturating": nonsaturating_g_loss}, {}
for name, loss in losses.items():
    (gradient,) = torch.autograd.grad(len(fakes) * loss(D(fakes)), fakes)
    slopes[name] = gradient.norm(dim=1).mean().item()
print(f"mean D of the fakes {D(fakes).sigmoid().mean():.5f}; mean slopes:", slopes)
assert slopes["min-max"] < 0.05 * slopes["non-saturating"]

# %%
along = torch.linspace(-4, 4, 17)
places = torch.cartesian_prod(along, along).requires_grad_()
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.3), layout="constrained")
verdicts = D(places).sigmoid().detach().view(17, 17).T
for ax, (name, loss) in zip(axes, losses.items(), strict=True):
    arrows = -torch.autograd.grad(len(places) * loss(D(places)), places)[0]
    shown = ax.pcolormesh(along, along, verdicts, cmap="Greys", vmin=0, vmax=1.6, shading="gouraud")
    ax.quiver(*places.detach().T, *arrows.T, angles="xy", scale=40, width=0.004)
    ax.plot(*fakes[:100].detach().T, ".", markersize=2, color="C3")
    ax.plot(*ring().T, "+", color="C0")
    ax.set(title=name, xlabel="$x_1$", aspect="equal")
axes[0].set_ylabel("$x_2$")
fig.colorbar(shown, ax=axes, label="$D$", boundaries=np.linspace(0, 1, 51), ticks=np.linspace(0, 1, 5));


# %% [markdown]
# ## How to see it in images
#
# In images modes cannot be counted by eye, but classes can: a classifier sorts the samples, and we compare the histogram with that of the test images. Its Kullback-Leibler divergence (`class_kl` of [05_fid](05_fid.ipynb)) is zero if all classes are as frequent as they should be, and $\log10\approx2.3$ if only one of ten equally frequent classes is drawn. A generator can also collapse *within* a class. *Recall* sees that: the share of test images that have samples near them.
#
# Small and quickly trained DCGANs on digits, with three of the losses of [01_gan](01_gan.ipynb), one run each:

# %%
#| export
def count_classes(score: dict) -> int:
    "Of a `class_kl` score: how many classes have at least a tenth of their share of the samples."
    share = sum(score["histogram"]) / sum(score["expected"])
    pairs = zip(score["histogram"], score["expected"], strict=True)
    return sum(got >= 0.1 * share * wanted for got, wanted in pairs)


# %%
#| export
def plot_classes(scores: dict[str, dict], classes: list[str]) -> plt.Figure:
    "Histograms of classes, a panel for each `class_kl` score, with what the test set has as steps."
    rotation = 90 if max(map(len, classes)) > 2 else 0
    size = (min(9, 2.6 * len(scores)), 2.2)
    fig, axes = plt.subplots(1, len(scores), figsize=size, layout="constrained", sharey=True, squeeze=False)
    for ax, (name, score) in zip(axes[0], scores.items(), strict=True):
        got, wanted = (np.array(score[key]) / sum(score[key]) for key in ("histogram", "expected"))
        ax.bar(range(len(got)), got, color="C0")
        ax.stairs(wanted, np.arange(len(got) + 1) - 0.5, baseline=None, color="0.3", linewidth=0.8)
        ax.set_title(f"{name}: KL {score['value']:.3f}", fontsize=9)
        ax.set_xticks(range(len(classes)), classes, fontsize=8, rotation=rotation)
        ax.set_xlabel("class")
    axes[0, 0].set_ylabel("share of samples")
    return fig


# %%
common = dict(
    dataset=dataset, epochs=epochs, width=16, batch_size=128, metrics=["fd_lenet", "class_kl", "recall"]
)
kinds = {
    "min-max": GANConfig(name="minmax", loss="minmax", **common),
    "non-saturating": GANConfig(name="nonsaturating", **common),
    "WGAN-GP": GANConfig(name="wgan-gp", loss="wgan-gp", norm="layer", d_steps=2, **common),
}
runs = {kind: run_gan(config) for kind, config in kinds.items()}
for kind, run in runs.items():
    show_grid(run.samples(epochs)[:32], ncol=16, title=f"{kind}, after {epochs} epochs")

# %%
scores = {kind: run.metrics(epochs)["scores"] for kind, run in runs.items()}
fig = plot_classes({kind: s["class_kl"] for kind, s in scores.items()}, load_dataset(dataset).classes)
fig.suptitle("bars: samples, steps: test images", fontsize=9);

# %%
values = {kind: {name: score["value"] for name, score in s.items()} for kind, s in scores.items()}
pd.DataFrame(values).T.assign(classes=[count_classes(s["class_kl"]) for s in scores.values()]).round(3)

# %%
rare = {"histogram": [100, 0, 4], "expected": [50, 50, 50]}
assert count_classes(rare) == 2, "4 are more than a tenth of 35, 0 are not"


# %% [markdown]
# Nothing collapses here. The non-saturating GAN and the WGAN-GP draw all ten classes, if some of them too rarely (the histograms show which), and samples lie near more than half of the test images. The min-max one has failed in another way: its discriminator has won (`Loss_D` is below 0.1 in nine of ten logged updates). The samples are no digits and recall is 0, and yet six classes are "seen": a classifier that knows nothing but digits sorts noise into them, too, most of it into one. So look at recall, at the distance and at the samples before you count classes. And one run each says nothing about how often.

# %% [markdown]
# ## Its section of the report
#
# The report has what was found on the ring, if that was run, and the classes that its GANs draw. First the ring:

# %%
#| export
def ring_sentences(table: pd.DataFrame) -> str:
    "Which kinds of `compare_cures` found all modes, which collapsed, and which have few good points."
    settled = table.good >= 0.5
    shares = [sum(m == r.of for m in r.modes) / len(r.modes) for r in table.itertuples()]
    whole = pd.Series(shares, table.index) > 0.5
    missing = "Most seeds miss some modes, "
    groups = {
        missing + "though at least half of the points are near one, which is mode collapse": settled & ~whole,
        "Most seeds find all modes": whole,
        missing + "and less than half of the points are near any, so that one cannot speak of collapse":
            ~settled & ~whole,
    }  # fmt: skip
    kinds = {what: "; ".join(table.kind[which]) for what, which in groups.items()}
    return " ".join(f"{what}: {names}." for what, names in kinds.items() if names)


# %%
#| export
def ring_fragment(folder: Path) -> str:
    "Mode collapse in the plane: modes found by each loss, and points on the way; nothing if it was not run."
    if (kept := load_ring()) is None:
        return ""
    table, strips = kept
    save_figure(plot_strips(strips, ring()), folder / "ring")
    about = "Density of the generator's points in the course of training, first seed. Crosses: modes."
    caption = (f"Modes found, of {table.of[0]}, by GANs on a ring of narrow Gaussians, from "
               f"{len(table.modes[0])} seeds; share of samples within three standard deviations of a mode, "
               "mean and spread over seeds.")  # fmt: skip
    heads = ["loss", "modes found", "all found", "good samples"]
    rows = [[r.kind, ", ".join(map(str, r.modes)), found, plus_minus(r.good, r.sd)]
            for r, found in zip(table.itertuples(), table["all found"], strict=True)]  # fmt: skip
    tabled = markdown_table(rows, heads, caption, "ring", "llrr")
    return "\n\n".join([ring_sentences(table), figure(folder, "ring", about, "ring", "50%"), tabled])


# %%
#| hide
one, few, all_, none = [2, 1, 2], [8, 7, 6], [8, 8, 7], [0, 1, 8]
modes, good = [one, few, all_, none, all_], [0.9, 0.6, 0.7, 0.2, 0.45]
made_up = pd.DataFrame({"kind": [*"abcde"], "modes": modes, "of": 8, "good": good})
text = ring_sentences(made_up)
for end in ("mode collapse: a; b.", "find all modes: c; e.", "cannot speak of collapse: d."):
    assert end in text
assert "collapse" not in ring_sentences(made_up[2:3])


# %% [markdown]
# In images, a panel for each run at its last epoch count, four to a figure:

# %%
#| export
def collapse_fragment(runs: pd.DataFrame, folder: Path, name: str = "histogram") -> str:
    "Histograms of classes of each run at its last epoch count, by data set; nothing if nobody counted them."
    parts, last = [], last_of_each(runs)
    sizes = last.job.map(lambda job: job.run.config.size or 0)
    for (dataset, size), group in last.groupby(["dataset", sizes], sort=False):
        scores = [(r.label, value_at(r.metrics, "scores", "class_kl") or {}) for r in group.itertuples()]
        found = [(plot_label(label), score) for label, score in scores if "expected" in score]
        place = escape(dataset) + (f"-{size}" if size else "")
        for i in range(0, len(found), 4):
            file = folder / slug(f"{name}-{place}-{i}")
            parts.append(_histograms(dict(found[i : i + 4]), dataset, size, file))
    return "\n".join(parts)


# %%
#| export
def _histograms(scores: dict[str, dict], dataset: str, size: int, file: Path) -> str:
    "One figure of `plot_classes`, with a caption that counts classes."
    classes = [plot_label(escape(c)) for c in load_dataset(dataset, "test", size or None).classes]
    save_figure(plot_classes(scores, classes), file)
    counts = [f"{label} {count_classes(score)} of {len(classes)}" for label, score in scores.items()]
    caption = (f"Classes of samples (bars) and of test images (steps) of {verbatim(dataset)}, as the "
               "classifier sees them. Classes with at least a tenth of their share: "
               f"{', '.join(counts)}.")  # fmt: skip
    return figure(file.parent, file.name, caption, file.name, f"{25 * len(scores)}%")


# %% [markdown]
# Both together:

# %%
#| export
ABOUT_COLLAPSE = """
# Mode collapse {#sec-collapse}

A generator can fool a discriminator with few kinds of images.
"""
ABOUT_RING = """
Two cures were proposed: a Wasserstein critic with a gradient penalty [@arjovsky2017; @gulrajani2017], and a
generator that looks ahead by differentiating through the discriminator's updates [@metz2017]. In the plane
one can count what each game finds, and how good its points are.
"""
ABOUT_CLASSES = """
In images, a classifier counts what is drawn. It knows nothing but its classes, and sorts noise into them,
too.
"""


# %%
#| export
def collapse_section(runs: pd.DataFrame, folder: Path) -> Section:
    "What the report says of mode collapse: the ring, and the classes that GANs draw."
    gans = runs[runs.model == "gan"]
    found = {ABOUT_RING: ring_fragment(folder), ABOUT_CLASSES: collapse_fragment(gans, folder)}
    parts = [f"{about}\n{fragment}" for about, fragment in found.items() if fragment]
    return Section("\n".join([ABOUT_COLLAPSE, *parts]) if parts else "")


SECTIONS["collapse"] = collapse_section
LABS["01b_mode_collapse"] = ring_file

# %% [markdown]
# ## What to remember
#
# - Collapse is a failure of the *game*: the generator's best answer to today's discriminator is one place. Samples can be good all the same.
# - Cures change the game: a discriminator whose slope cannot die (Wasserstein), or one that is seen to answer (unrolled). Compare them with a plain GAN whose discriminator makes as many steps.
# - Count modes, classes or neighbourhoods (recall), and ask whether the samples are good, too: noise has classes, and points that run about have none.
#
# ## Exercises
#
# 1. Run `compare_cures(square_grid(), 1500)` and look at the strips. Which kinds gather on few modes, which spread out without being sharp? What changes with 5,000 updates?
# 2. How many unrolled steps are needed? Try 1, 2, 5, 10, and plot modes found against the time a training takes.
# 3. Set `penalty` of the WGAN-GP to 0.001. What happens to the losses, and why?
# 4. Start the plain GAN, with one step of $D$, from the unrolled GAN's final weights. Do the modes stay?
# 5. Report 004 says that its GAN collapsed when layers were added. Try `papermill nbs/01_gan.ipynb out.ipynb -p network report004 -p extra_layers 3`, with `-p dropout 0.4` and without, from three seeds each.

# %% [markdown]
# ## Solutions
#
# <details><summary>1. Twenty-five modes</summary>
#
#     wide, looks = compare_cures(square_grid(), 1500)
#     plot_strips(looks, square_grid())
#     wide.round(2)
#
# Read `modes` and `good` together. A generator that just smears its points over the whole square of side 5 has $\pi\cdot0.15^2=7\,\%$ good ones, the share of the area that lies within three standard deviations of a centre. With a tenth of its fair share asked for, such a one finds no mode; with a little more density at the centres it finds all. So 25 modes with a small share of good samples means "spread out, not yet sharp", and the pictures show whether points still gather. Few modes with a large share is collapse proper. And if a kind lacks one or two modes, look at how the number changes over the last pictures before you say that it cannot: 1,500 updates may be few for 25 modes. Compare the kinds by the modes and the good points of all five seeds, and do not let the best seed decide.
#
# </details>
#
# <details><summary>2. How far to look ahead</summary>
#
#     import time
#
#     rows, slow = [], dict(latent=8, lr=1e-3, lr_d=3e-4, batch_size=128)
#     for k in (1, 2, 5, 10):
#         start = time.perf_counter()
#         points = train_toy(GANConfig(unroll=k, **slow), ring(), 1000, 5)[-1]
#         rows.append({"steps": k, "seconds": time.perf_counter() - start, "modes": [count_modes(p, ring())[0] for p in points]})
#     found = pd.DataFrame(rows)
#     plt.plot(found.seconds, found.modes.map(np.mean), "o-")
#     found
#
# Here the learning rates are lower than above, that of $D$ three times as low as that of $G$, and nothing is averaged. With 1,000 updates and five seeds on the ring, one step found 1, 0, 0, 0 and 1 modes, no better than the plain GAN (0, 1, 0, 1, 2), two steps 1, 6, 0, 1 and 0, and five steps 8, 7, 8, 8 and 8. Time grows in proportion: on one thread, 1,000 updates took 4.9 seconds of CPU time without unrolling and 10, 16, 34 and 61 seconds with 1, 2, 5 and 10 steps (measured over 60 updates; we did not train to the end with 10). Each step looked ahead costs a little more than a whole plain update, for the gradient goes through it twice, forward to make the step and back to differentiate it.
#
# </details>
#
# <details><summary>3. A weak penalty</summary>
#
# What the critic believes the distance to be, $f(x)-f(G(z))$, is the difference of the two logged verdicts. We listen in on `update_gan` (with learning rates of 1e-3, and without an average):
#
#     update_once, critic = update_gan, dict(loss="wgan-gp", norm="layer", d_steps=5, latent=8, lr=1e-3, lr_d=1e-3, batch_size=128)
#
#
#     def update_gan(*args, **more):
#         losses = update_once(*args, **more)
#         gaps.append((losses["d_x"] - losses["d_g_z1"]).item())
#         return losses
#
#
#     for penalty in (0.1, 0.001):
#         gaps = []
#         points = train_toy(GANConfig(penalty=penalty, **critic), ring(), 1000, 5)[-1]
#         print(penalty, np.mean(gaps[:500]), np.mean(gaps[-500:]), [count_modes(p, ring())[0] for p in points])
#     update_gan = update_once
#
# Let $W$ be the earth mover's distance, and let the critic be $s$ times the best one of slope 1. Its loss is $-sW+\lambda(s-1)^2$. Setting the derivative $-W+2\lambda(s-1)$ to zero gives
#
# $$s=1+\frac{W}{2\lambda},\qquad f(x)-f(G(z))=sW=W+\frac{W^2}{2\lambda},\qquad \text{loss}=-W-\frac{W^2}{4\lambda}.$$
#
# So the penalty does not hold the slope at 1; it lets the critic overshoot by $W/2\lambda$. With $\lambda=0.1$ and $W=1$ that is a slope of 6, with $\lambda=0.001$ one of 501, and the losses grow by nearly the same factor: they are no longer a distance. Measured on the ring, means over five seeds: with 0.1 the gap falls from 4.8 (first 100 updates of the generator) to 0.8 (last 100), and all seeds find all 8 modes. With 0.001 it *rises*, from 20 to 180, and the modes found are 1, 0, 0, 0 and 0. The scale of the slope alone would do no harm, since Adam takes it out of the generator's gradient. But the critic, whose weights grow by no more than its learning rate in an update, is never done growing: it is far from its best, and its direction is not that in which probability should be carried.
#
# </details>
#
# <details><summary>4. From good weights</summary>
#
#     def go_on(config, opts, updates):
#         for _ in range(updates):
#             update_gan(G, D, *opts, draw_points(ring(), 5 * config.batch_size), None, config)
#         points = G(torch.randn(5 * 2000, config.latent)).detach().view(5, 2000, 2)
#         return [count_modes(p, ring())[0] for p in points]
#
#
#     seed_everything(0, 0)
#     G, D = toy_network(5, 8, 2), nn.Sequential(toy_network(5, 2, 1), nn.Flatten(0))
#     plain = GANConfig(latent=8, lr=1e-3, lr_d=3e-4, batch_size=128)
#     ahead = plain.model_copy(update={"unroll": 5})
#     print(go_on(ahead, make_optimizers(G, D, ahead), 1000))
#     opts = make_optimizers(G, D, plain)  # fresh ones
#     print([go_on(plain, opts, 200) for _ in range(10)])
#
# They stay. The unrolled GAN left us with 8, 6, 8, 8 and 8 modes, and the plain one, which by itself finds next to none, had all eight with all five seeds after 800 updates and kept them through 2,000. The samples even became sharper: the share of good ones rose from 0.22 to 0.44 to 0.75 to 0.89. With `lr_d=1e-3` it was the same. Here, then, running from place to place is not where the plain game *ends*, it is where it gets to from a bad start. (We have not tried it with five steps of $D$, which collapse.) A plausible reason: near the data the points are spread out, the discriminator's slope is small, and there is no one place for all of them to run to. What to try next: how early may the unrolled training be stopped? And does it hold for 20,000 updates, or with a higher learning rate of the generator?
#
# </details>
#
# <details><summary>5. Report 004's collapse</summary>
#
# Six trainings, and three with `extra_layers` 0 to compare with. Ask for metrics that can tell what happens, and look at the grids.
#
#     for seed in 0 1 2; do for rate in 0.0 0.4; do
#         papermill nbs/01_gan.ipynb deep-$seed-$rate.ipynb -p network report004 -p extra_layers 3 -p dropout $rate -p seed $seed \
#             -y "metrics: [fd_lenet, class_kl, recall, intra_class]"
#     done; done
#
# That takes long on a CPU; use a GPU or fewer epochs ([07b_reports](07b_reports.ipynb) has a table for one seed and 25 epochs). "Collapse" can mean two things. In *mode collapse* the samples are digits, but few kinds: `class_kl` is large, `intra_class` small (samples of a class alike), recall small, and the losses look as always. If the *discriminator has won*, `Loss_D` is near 0, the samples are no digits, and `fd_lenet` stays where it was after the first epoch. The report's claim holds if the deep networks fail in one of these ways with all or most seeds where the shallow ones do not; one seed of three is no evidence.
#
# A hint at a cause: these networks have no normalisation. Glorot's initialisation keeps the variance through a *linear* layer with as many inputs as outputs; a leaky ReLU of slope 0.2 multiplies the mean square by $\frac12(1+0.2^2)=0.52$. Three more layers leave $0.52^3=0.14$ of it, that is $0.37$ of the standard deviation, forward and, by the same argument, of the gradient on its way back. (At the start, for images of 16x16, the generator's features before its last layer have a standard deviation of 0.028 without more layers and of 0.012 with three.) If that is the reason, a gain helps: `nn.init.xavier_uniform_(module.weight, nn.init.calculate_gain("leaky_relu", 0.2))` in `init_glorot`.
#
# </details>
