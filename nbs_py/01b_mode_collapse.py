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

# %%

# %% [markdown]
# # Mode collapse
#
# > Eight points on a ring, and a generator that finds only some of them: collapse made to happen, its cures on the same seeds, and how to see it in images
#
# A generator that always draws the same perfect seven fools a discriminator for a while. Data with several *modes*, regions where images are frequent, invite that: the generator may keep to a few of them. That is **mode collapse**, and report 001 names two cures, the Wasserstein GAN and the Unrolled GAN. It did not try them. We do, first where one can see everything: in two dimensions.

# %%
#| default_exp collapse

# %% tags=["parameters"]
seeds = 5  # trainings of each kind
updates = 1000  # of the generator
dataset = "digits"  # images for the last part: digits, mnist, fashion_mnist, cifar10, hf:REPO or folder:PATH
epochs = 30  # for the images

# %%
#| export
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import nn

from genlab.data import progress
from genlab.gan import GANConfig, update_gan
from genlab.runs import atomic, runs_root, seed_everything

# %%
#| hide
from genlab.data import load_dataset, show_grid
from genlab.gan import discriminator_loss, generator_loss, minmax_loss, run_gan

# %% [markdown]
# ## Eight modes, twenty-five modes
#
# The ring of 8 is from [Metz et al. (2017)](https://arxiv.org/abs/1611.02163), the grid of 25 from [Dumoulin et al. (2017)](https://arxiv.org/abs/1606.00704). Each mode is a narrow Gaussian. A sample is *good* if it lies within three standard deviations of a centre (98.9 % of a two-dimensional Gaussian do). A mode is *found* if it has at least a tenth of its fair share of good samples; a stray sample that passes by does not count.

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
# ## Small networks, the same update
#
# Both networks have two hidden layers. What trains them is `update_gan` of [01_gan](01_gan.ipynb), the same function that trains on images, so a cure is just a configuration. All kinds get the same number of generator updates, from the same initial weights.
#
# One run proves little, so we train five, from five seeds. They live side by side in one network, whose layers have one weight matrix for each seed. Nothing couples them: a loss that is averaged over all of them has, for one seed's weights, that seed's gradient divided by five, and Adam does not mind the scale of a gradient.

# %%
#| export
HIDDEN = 64
TOY = dict(latent=8, lr=1e-3, lr_d=3e-4, batch_size=128)
CURES = {
    "min-max": GANConfig(loss="minmax", **TOY),
    "non-saturating": GANConfig(**TOY),
    "non-saturating, faster D": GANConfig(**TOY | {"lr_d": 1e-3}),
    "hinge": GANConfig(loss="hinge", **TOY),
    "WGAN-GP": GANConfig(loss="wgan-gp", norm="layer", penalty=0.1, d_steps=5, **TOY | {"lr_d": 1e-3}),
    "unrolled": GANConfig(unroll=5, **TOY),
}


class Dense(nn.Module):
    "A dense layer for each seed: (seeds, B, inputs) to (seeds, B, outputs), initialised as nn.Linear."

    def __init__(self, seeds: int, inputs: int, outputs: int):
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(seeds, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(seeds, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


def toy_network(seeds: int, inputs: int, outputs: int) -> nn.Sequential:
    "Two hidden layers for each seed: (seeds * B, inputs) to (seeds * B, outputs), a seed's rows together."
    layers = [Dense(seeds, inputs, HIDDEN), nn.ReLU(), Dense(seeds, HIDDEN, HIDDEN), nn.ReLU(), Dense(seeds, HIDDEN, outputs)]
    return nn.Sequential(nn.Unflatten(0, (seeds, -1)), *layers, nn.Flatten(0, 1))


def train_toy(
    config: GANConfig,  # loss, unrolled steps, learning rates, ...; what is about images does not matter
    centres: torch.Tensor,  # of the data's modes (M, 2)
    updates: int,  # of the generator
    seeds: int = 5,  # trainings side by side
    watch: int = 6,  # looks on the way
) -> torch.Tensor:  # (watch, seeds, 2000, 2): points of the generator, evenly spaced over training, the last at its end
    "Train GANs of small dense networks on a mixture in the plane; config.seed decides everything."
    seed_everything(config.seed, 0)
    G, D = toy_network(seeds, config.latent, 2), nn.Sequential(toy_network(seeds, 2, 1), nn.Flatten(0))
    opt_G, opt_D = (torch.optim.Adam(net.parameters(), lr, betas=(config.beta1, 0.999)) for net, lr in ((G, config.lr), (D, config.lr_d)))
    z, seen = torch.randn(seeds * 2000, config.latent), []
    for i in range(updates):
        for j in range(config.d_steps):
            update_gan(G, D, opt_G, opt_D, draw_points(centres, seeds * config.batch_size), None, config, follow=j == config.d_steps - 1)
        if (i + 1) * watch // updates > i * watch // updates:
            seen.append(G(z).detach().view(seeds, 2000, 2))
    return torch.stack(seen)


# %% [markdown]
# ## Collapse, and its cures
#
# The plain GANs' discriminator learns at 0.3 times the generator's rate: too slow to keep up with where the generator goes. The critic of the WGAN-GP learns as fast as the generator, and five times as often, which its penalty makes safe. To be fair, the table has the plain GAN with a discriminator of that rate, too.

# %%
#| export
def compare_cures(
    centres: torch.Tensor,  # of the data's modes (M, 2)
    updates: int = 1000,  # of the generator
    seeds: int = 5,
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    "All CURES on one mixture: a row a kind (modes found by each seed, share of good samples), and points of the first seed (watch, 2000, 2) on the way."
    rows, strips = [], {}
    for kind, config in progress(list(CURES.items()), "training on the plane", "kind"):
        points = train_toy(config, centres, updates, seeds)
        modes, good = zip(*(count_modes(p, centres) for p in points[-1]), strict=True)
        rows.append({"kind": kind, "modes": list(modes), "of": len(centres), "all found": f"{sum(m == len(centres) for m in modes)} of {seeds}",
                     "good": np.mean(good), "sd": np.std(good, ddof=1) if seeds > 1 else None})  # fmt: skip
        strips[kind] = points[:, 0].numpy()
    return pd.DataFrame(rows), strips


def plot_strips(strips: dict[str, np.ndarray], centres: torch.Tensor) -> plt.Figure:
    "Points of the generator over the course of training, a row a kind, with the data's modes as crosses."
    watch = len(next(iter(strips.values())))
    fig, axes = plt.subplots(len(strips), watch, figsize=(1.1 * watch, 1.1 * len(strips)), layout="constrained", squeeze=False)
    half = 1.4 * centres.abs().max().item()
    for row, (kind, looks) in zip(axes, strips.items(), strict=True):
        row[0].set_ylabel(kind.replace(", ", ",\n"), fontsize=7)
        for ax, points in zip(row, looks, strict=True):
            ax.plot(*centres.T, "+", color="0.6", markersize=4)
            ax.plot(*points[:500].T, ".", markersize=1, color="C0")
            ax.set(xlim=(-half, half), ylim=(-half, half), xticks=[], yticks=[], aspect="equal")
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


# %%
table, strips = compare_cures(ring(), updates, seeds)
keep_ring(table, strips)
again, _ = load_ring()
assert list(again.modes) == list(table.modes)
table.round(2)

# %%
plot_strips(strips, ring()).suptitle("the first seed: points after each sixth of the training", fontsize=9);

# %% [markdown]
# The plain generators run from mode to mode, all points together, and the discriminator runs after them; Metz et al. saw the same. The unrolled generator knows what would come of crowding, and spreads from the start. So does the Wasserstein generator, whose critic gives it a direction everywhere. A faster discriminator helps the plain GAN on some seeds and not on others, which is what makes such numbers treacherous: look at more than one.

# %%
found = dict(zip(table.kind, table.modes, strict=True))
if (seeds, updates) == (5, 1000):
    assert sum(m < 8 for m in found["non-saturating"]) >= 3, "plain: fewer than all on most seeds"
    assert all(sum(m == 8 for m in found[cure]) >= 4 for cure in ("WGAN-GP", "unrolled"))
again = [train_toy(CURES["non-saturating"], ring(), 30, 2, 1) for _ in range(2)]
assert torch.equal(*again), "the seed decides everything"

# %% [markdown]
# ## Where the saturating loss dies
#
# What does the discriminator tell a generator that is far off? Here the fakes sit in one spot, away from the ring, and a discriminator is trained against them. It soon knows them. The pictures show its verdict and, as arrows, where each of the two generator losses would move a point (minus the slope; all arrows to one scale). With $D\approx0$ at the fakes, min-max has nothing to say there; the non-saturating loss still does.

# %%
torch.manual_seed(0)
D = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1), nn.Flatten(0))
opt, spot = torch.optim.Adam(D.parameters(), 1e-3), torch.tensor([2.8, 2.8])
for _ in range(300):
    loss = discriminator_loss(D(draw_points(ring(), 256)), D(spot + 0.2 * torch.randn(256, 2)))
    opt.zero_grad()
    loss.backward()
    opt.step()
fakes = (spot + 0.2 * torch.randn(500, 2)).requires_grad_()
slopes = {name: torch.autograd.grad(len(fakes) * loss(D(fakes)), fakes)[0].norm(dim=1).mean().item() for name, loss in [("min-max", minmax_loss), ("non-saturating", generator_loss)]}
print(f"mean D of the fakes {D(fakes).sigmoid().mean():.5f}; mean slope:", {k: f"{v:.5f}" for k, v in slopes.items()})
assert slopes["min-max"] < 0.05 * slopes["non-saturating"]

# %%
along = torch.linspace(-4, 4, 17)
places = torch.cartesian_prod(along, along).requires_grad_()
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.3), layout="constrained")
for ax, (name, loss) in zip(axes, [("min-max", minmax_loss), ("non-saturating", generator_loss)], strict=True):
    arrows = -torch.autograd.grad(len(places) * loss(D(places)), places)[0]
    shown = ax.pcolormesh(along, along, D(places).sigmoid().detach().view(17, 17).T, cmap="Greys", vmin=0, vmax=1.6, shading="gouraud")
    ax.quiver(*places.detach().T, *arrows.T, angles="xy", scale=40, width=0.004)
    ax.plot(*fakes[:100].detach().T, ".", markersize=2, color="C3")
    ax.plot(*ring().T, "+", color="C0")
    ax.set(title=name, xlabel="$x_1$", aspect="equal")
axes[0].set_ylabel("$x_2$")
fig.colorbar(shown, ax=axes, label="$D$", boundaries=np.linspace(0, 1, 50));


# %% [markdown]
# ## Collapse in images
#
# In images modes cannot be counted by eye, but classes can: a classifier sorts the samples, and we compare the histogram with that of the test images. Its Kullback-Leibler divergence (`class_kl` of [05_fid](05_fid.ipynb)) is zero if all classes are as frequent as they should be. A generator can also collapse *within* a class; recall sees that.
#
# Small and quickly trained DCGANs on digits, with the losses of [01_gan](01_gan.ipynb):

# %%
#| export
def classes_seen(score: dict) -> int:
    "Of a `class_kl` score: how many classes have at least a tenth of their share of the samples."
    share = sum(score["histogram"]) / sum(score["expected"])
    return sum(got >= 0.1 * share * wanted for got, wanted in zip(score["histogram"], score["expected"], strict=True))


def plot_classes(scores: dict[str, dict], classes: list[str]) -> plt.Figure:
    "Histograms of classes, a panel for each `class_kl` score, with what the test set has as steps."
    fig, axes = plt.subplots(1, len(scores), figsize=(min(9, 2.2 * len(scores)), 2), layout="constrained", sharey=True, squeeze=False)
    for ax, (name, score) in zip(axes[0], scores.items(), strict=True):
        got, wanted = (np.array(score[key]) / sum(score[key]) for key in ("histogram", "expected"))
        ax.bar(range(len(got)), got, color="C0")
        ax.step([*np.arange(len(got)) - 0.5, len(got) - 0.5], [*wanted, wanted[-1]], where="post", color="0.3", linewidth=0.8)
        ax.set_title(f"{name}: KL {score['value']:.3f}", fontsize=8)
        ax.set_xticks(range(len(classes)), classes, fontsize=6, rotation=90 * (max(map(len, classes)) > 2))
        ax.set_xlabel("class")
    axes[0, 0].set_ylabel("share of samples")
    return fig


# %%
common = dict(dataset=dataset, epochs=epochs, width=16, lr=1e-3, metrics=["fd_lenet", "class_kl", "recall"])
kinds = {
    "min-max": GANConfig(name="minmax", loss="minmax", **common),
    "non-saturating": GANConfig(name="nonsaturating", **common),
    "hinge": GANConfig(name="hinge", loss="hinge", norm="layer", **common),
    "WGAN-GP": GANConfig(name="wgan-gp", loss="wgan-gp", norm="layer", d_steps=2, **common),
}
runs = {kind: run_gan(config) for kind, config in kinds.items()}
for kind, run in runs.items():
    show_grid(run.samples(epochs)[:32], ncol=16, title=f"{kind}, after {epochs} epochs")

# %%
scores = {kind: run.metrics(epochs)["scores"] for kind, run in runs.items()}
plot_classes({kind: s["class_kl"] for kind, s in scores.items()}, load_dataset(dataset).classes).suptitle("bars: samples, steps: test images", fontsize=9);

# %%
pd.DataFrame([
    {"loss": kind, **{m: s[m]["value"] for m in ("fd_lenet", "class_kl", "recall")}, "classes seen": classes_seen(s["class_kl"]), "training (s)": runs[kind].metrics(epochs)["train_seconds"]}
    for kind, s in scores.items()
]).round(3)  # fmt: skip

# %%
assert classes_seen({"histogram": [100, 0, 4], "expected": [50, 50, 50]}) == 2, "4 are more than a tenth of 35, 0 are not"

# %% [markdown]
# Under the min-max loss the discriminator has won within a few epochs: its loss in the log is next to zero, and so is the generator's slope. What it draws falls mostly into two classes, to the classifier; to the eye it is nothing at all.

# %% [markdown]
# ## What to remember
#
# - Collapse is a failure of the *game*: the generator's best answer to today's discriminator is one place.
# - Cures change the game: a discriminator whose slope cannot die (Wasserstein), or one that is seen to answer (unrolled).
# - Count modes, classes or neighbourhoods (recall). Losses do not show collapse, and the distance to the data need not.
#
# ## Exercises
#
# 1. Run `compare_cures(square_grid(), 1500)`. Which kinds find all 25 modes?
# 2. How many unrolled steps are needed? Try 1, 2, 5, 10, and plot modes found against the time a training takes.
# 3. Set `penalty` of the WGAN-GP to 0.001. What happens to the losses, and why?
# 4. Start the plain GAN from the unrolled GAN's final weights. Do the modes stay?
# 5. Report 004 says that its GAN collapsed when layers were added. Try `papermill nbs/01_gan.ipynb out.ipynb -p network report-004 -p extra_layers 3`, with `-p dropout 0.4` and without, from three seeds each.
