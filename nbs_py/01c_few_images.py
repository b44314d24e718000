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
# # Few images
#
# > A GAN with few training images: how the discriminator learns them by heart, how augmentation keeps it from that, and two cases, in one of which it seems to help
#
# A GAN wants many images. With few, the discriminator has an easier way to win than to learn what digits look like: it remembers the training images. From then on everything else looks less real to it, and what it tells the generator is worth less. The usual remedy for few images is *augmentation*: flip, shift and tint them, so that none looks the same twice. This notebook, which goes on from [01_gan](01_gan.ipynb), shows a case where the augmented runs are ahead and one where they are behind, what to augment, and what goes wrong if one augments the wrong thing.

# %%
#| default_exp augment

# %% tags=["parameters"]
dataset = "digits"  # digits, tinted_digits, mnist, fashion_mnist, cifar10, celeba, hf:REPO or folder:PATH
subset = 100  # training images
updates = 1000  # of each network
evaluations = 5  # times to stop and score
batch_size = 50  # images in an update
width = 32  # channels, see 01_gan
policy = ["translate", "tilt"]  # augmentations to compare with and without
seed = 0  # all randomness follows from it

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F

from genlab.plug import SECTIONS, Section, key_of
from genlab.sentences import Evaluation, comparable, compare, listed
from genlab.tables import (
    distance_score,
    figure,
    last_of_each,
    legend_above,
    plot_label,
    read_history,
    save_figure,
    uncertain,
)

# %%
#| hide
from types import SimpleNamespace

import numpy as np

from genlab.data import load_dataset, show_grid, take, to_model
from genlab.measures import plot_nearest
from genlab.runs import project_root
from genlab.tables import over_seeds


# %% [markdown]
# ## A thousand images of MNIST
#
# First a case where the augmented runs are ahead. In `report/results` are six GANs that learned from 1,000 images of MNIST, three seeds without and three with augmentation (`translate` and `tilt`, of real *and* generated images), with equally many updates (hinge loss, layer normalisation, `width` 16, batches of 64, a learning rate of 1e-3, averaged weights with `ema` 0.995). A single run proves little about GANs, so we draw the mean over the seeds, with a band of one standard deviation to either side:

# %%
#| export
def plot_distance_bands(
    curves: dict[str, list[tuple[list[int], list[float]]]],  # by label: updates and distances of each run
    ax: plt.Axes | None = None,
) -> plt.Axes:
    "Distances against updates: for each label the mean over its runs, in a band of one standard deviation."
    rows = [
        (label, n, distance)
        for label, runs in curves.items()
        for updates, distances in runs
        for n, distance in zip(updates, distances, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["label", "updates", "distance"])
    ax = ax or plt.subplots(figsize=(5, 2.8), layout="constrained")[1]
    sns.lineplot(frame, x="updates", y="distance", hue="label", errorbar="sd", marker="o", ax=ax)
    ax.legend(frameon=False)
    return ax


# %%
def published(name):
    "Seed, updates and distance of each epoch count of the runs of this name in report/results."
    files = (project_root() / "report/results/mnist/gan").glob(f"{name}-????????/epoch-*/metrics.json")
    found = [json.loads(file.read_text()) for file in sorted(files)]
    rows = [{"seed": m["config"]["seed"], "updates": m["updates"], **m["scores"]["fd_lenet"]} for m in found]
    return pd.DataFrame(rows)


kept = {"plain": published("few"), "augmented, both": published("few-augmented")}
ax = plot_distance_bands({
    label: [(list(run.updates), list(run.value)) for _, run in runs.groupby("seed")]
    for label, runs in kept.items()
})  # fmt: skip
ax.set(ylabel="fd_lenet of 10,000 samples", ylim=0)
ax.set_title("MNIST, 1,000 training images: mean and sd of three seeds", fontsize=9);

# %% [markdown]
# The seed draws the initial weights *and* the thousand images, so a plain and an augmented run of the same seed belong together. By how much is the plain one's distance larger, and what is a 95 % interval of the mean difference (Student's $t$, two degrees of freedom)?

# %%
by_seed = [runs.set_index(["seed", "updates"]).value.unstack() for runs in kept.values()]
excess = by_seed[0] - by_seed[1]  # plain minus augmented: a row a seed, a column a count of updates
half = excess.apply(over_seeds).iloc[1]
assert len(excess) == 3 and (excess > 0).all(axis=None), "augmented, it is smaller in all twelve pairs"
mean = excess.mean()
pd.concat([excess, pd.DataFrame({"mean": mean, "from": mean - half, "to": mean + half}).T]).round(1)

# %% [markdown]
# In eleven of the twelve pairs the augmented run is clearly ahead, in one (seed 2, 1,600 updates) by less than a score's own spread. The lead is largest at the start. From 1,600 updates on the interval of the mean reaches below zero, though, and the bands overlap: three seeds are few, and how much augmentation is worth in the end they cannot say. Nothing is near the floor of 0.86 yet.

# %%
#| hide
drawn = plot_distance_bands({"two": [([1, 2], [1.0, 5.0]), ([1, 2], [3.0, 5.0])], "one": [([2], [4.0])]})
assert drawn.lines[0].get_xydata().tolist() == [[1, 2], [2, 5]], "the mean"
band = drawn.collections[0].get_paths()[0].vertices
ends = [band[:, 1].min(), band[:, 1].max()]
assert np.allclose(ends, [2 - 2**0.5, 5]), "2 -+ the deviation of 1 and 3, 5 -+ 0"
plt.close(drawn.figure)


# %% [markdown]
# ## Six augmentations
#
# Each takes a batch of images in [-1, 1] and draws its random numbers for every image anew. And each is *differentiable*: if $x$ is a generated image, the discriminator's verdict on the augmented $T(x)$ has a gradient that reaches back through $T$ to the generator. We will need that. So images are turned and shifted by `grid_sample`, which PyTorch can differentiate, and not by an image library.
#
# - `flip`: mirror half of the images. (Not for digits: a mirrored 2 is no 2.)
# - `colour`: brightness, contrast and, in colour images, saturation.
# - `hue`: turn all colours around the grey axis, by up to 30 degrees. Grey images stay as they are.
# - `tilt`: rotate by up to 15 degrees.
# - `translate`: shift by up to an eighth of the side, in whole pixels; black moves in.
# - `cutout`: paint a square of half the side grey. Its middle may lie anywhere, so that part of it may be outside.
#
# `colour`, `translate` and `cutout` are those of [Zhao et al. (2020)](https://arxiv.org/abs/2006.10738).

# %%
#| export
def _uniform(x: torch.Tensor, low: float, high: float) -> torch.Tensor:
    "A random number for each image, to be broadcast over its pixels."
    return torch.empty(len(x), 1, 1, 1, device=x.device, dtype=x.dtype).uniform_(low, high)


def _resample(x: torch.Tensor, angle: torch.Tensor, shift_x, shift_y) -> torch.Tensor:
    "Rotate images about their centres (radians), shift them by shares of half their side; black comes in."
    first, second = [angle.cos(), -angle.sin(), -shift_x], [angle.sin(), angle.cos(), -shift_y]
    turn = torch.cat([torch.cat(first, -1), torch.cat(second, -1)], 2)[:, 0]
    grid = F.affine_grid(turn, x.shape, align_corners=False)
    return F.grid_sample(x + 1, grid, align_corners=False) - 1  # outside is 0, so black is moved there


# %% [markdown]
# Flips, brightness, saturation and contrast are arithmetic. Saturation multiplies a colour's distance from the grey of its pixel by a random factor, contrast a pixel's distance from the mean of its image.

# %%
#| export
def _flip(x: torch.Tensor) -> torch.Tensor:
    return torch.where(_uniform(x, 0, 1) < 0.5, x.flip(3), x)


def _colour(x: torch.Tensor) -> torch.Tensor:
    x = x + _uniform(x, -0.5, 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * _uniform(x, 0, 2)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * _uniform(x, 0.5, 1.5)


# %% [markdown]
# A colour is a vector of three numbers, and grey colours lie on the axis $(1,1,1)$. To turn a colour around that axis, keep its grey part and turn the rest (Rodrigues' formula).

# %%
#| export
def _hue(x: torch.Tensor) -> torch.Tensor:
    if x.shape[1] != 3:
        return x
    angle = _uniform(x, -math.pi / 6, math.pi / 6)
    grey = x.mean(1, keepdim=True)
    across = (x.roll(-1, 1) - x.roll(1, 1)) / math.sqrt(3)  # (1, 1, 1)/sqrt(3) x colour, up to sign
    return grey + (x - grey) * angle.cos() + across * angle.sin()  # Rodrigues' rotation


# %% [markdown]
# Turning and shifting are `_resample` with another angle or shift for each image.

# %%
#| export
def _tilt(x: torch.Tensor) -> torch.Tensor:
    zero = torch.zeros(len(x), 1, 1, 1, device=x.device, dtype=x.dtype)
    return _resample(x, _uniform(x, -math.pi / 12, math.pi / 12), zero, zero)


def _translate(x: torch.Tensor) -> torch.Tensor:
    far, half = x.shape[-1] // 8, x.shape[-1] / 2
    dx, dy = ((_uniform(x, -0.5, 0.5) * (2 * far + 1)).round() / half for _ in range(2))
    return _resample(x, torch.zeros_like(dx), dx, dy)


# %% [markdown]
# The hole is made with `where`: pixels in it get no gradient, the others keep theirs.

# %%
#| export
def _cutout(x: torch.Tensor) -> torch.Tensor:
    side = x.shape[-1]
    along = torch.arange(side, device=x.device)
    left, top = ((_uniform(x, 0, side + 1) - side // 4).floor() for _ in range(2))
    inside = lambda start: (along >= start) & (along < start + side // 2)
    return torch.where(inside(left) & inside(top).transpose(2, 3), 0.0, x)


# %% [markdown]
# A *policy* is a list of their names.

# %%
#| export
AUGMENTATIONS = {
    "flip": _flip, "colour": _colour, "hue": _hue, "tilt": _tilt, "translate": _translate, "cutout": _cutout,
}  # fmt: skip
Augmentation = key_of(AUGMENTATIONS)  # a name, as a configuration has it


def augment_images(
    x: torch.Tensor,  # float images (B, C, H, W) in [-1, 1]
    policy: Sequence[Augmentation],  # what to do, in this order
) -> torch.Tensor:  # the same shape; `colour` and `hue` may leave [-1, 1]
    "Each image changed at random, differentiably (after Zhao et al. 2020)."
    for name in policy:
        x = AUGMENTATIONS[name](x)
    return x


# %% [markdown]
# Are they what they say? With the random numbers held fixed, gradients equal finite differences. A shift moves whole pixels; a tilt keeps what is round; a flip is its own inverse; hue keeps the mean and the length of a colour:

# %%
torch.manual_seed(0)
x = (torch.rand(4, 3, 8, 8).double() * 2 - 1).requires_grad_()
for name, change in AUGMENTATIONS.items():

    def fixed(x, change=change):
        torch.manual_seed(1)
        return change(x)

    assert torch.autograd.gradcheck(fixed, x), name
    assert fixed(x).shape == x.shape and not torch.equal(fixed(x), x)
assert augment_images(x, []) is x

# %%
#| hide
with torch.no_grad():
    many = x[:1].expand(500, -1, -1, -1)
    shifted = AUGMENTATIONS["translate"](many)
    unmoved = sum(torch.allclose(y, x[0], atol=1e-9) for y in shifted)
    assert unmoved in range(30, 85), "1 of 9, 56 +- 7 of 500"
    to_the_right = torch.cat([-torch.ones(3, 8, 1), x[0, :, :, :-1]], 2)
    assert any(torch.allclose(y, to_the_right, atol=1e-9) for y in shifted), "one pixel; black moves in"
    flipped = AUGMENTATIONS["flip"](many)
    assert sum(torch.equal(y, x[0].flip(2)) for y in flipped) in range(200, 300)
    turned = AUGMENTATIONS["hue"](many)
    assert torch.allclose(turned.mean(1), many.mean(1))
    assert torch.allclose(turned.norm(dim=1), many.norm(dim=1))
    along = torch.linspace(-1, 1, 33)
    blob = 2 * torch.exp(-4 * along[:, None] ** 2 - 4 * along**2)[None, None] - 1
    assert (AUGMENTATIONS["tilt"](blob) - blob).abs().max() < 0.03, "round things stay, up to interpolation"

# %%
#| hide
with torch.no_grad():
    dot = torch.full((1000, 1, 33, 33), -1.0)
    dot[:, 0, 16, 29] = 1  # 13 pixels to the right of the middle
    weight = AUGMENTATIONS["tilt"](dot)[:, 0] + 1
    up = (weight * (16 - torch.arange(33.0))[:, None]).sum((1, 2)) / weight.sum((1, 2))
    farthest = 13 * math.sin(math.pi / 12)  # 3.36 pixels
    assert 2.8 < up.max() < farthest + 0.3 and -2.8 > up.min() > -farthest - 0.3, "15 degrees, both ways"
    holes = AUGMENTATIONS["cutout"](torch.ones(2000, 1, 8, 8))
    assert set(holes.unique().tolist()) == {0.0, 1.0}
    assert holes.mean((1, 2, 3)).min() == 0.75, "a quarter of the image at most"

# %%
data = take(load_dataset(dataset), subset, seed)
torch.manual_seed(0)
some = to_model(data.images[:16])
changed = [augment_images(some, [name]) for name in AUGMENTATIONS]
show_grid(torch.cat([some, *changed]), ncol=16, rows=["real", *AUGMENTATIONS]);

# %% [markdown]
# ## What to augment
#
# **The real images only.** Then the discriminator's "real" means $T(x)$, and the best generator makes images with the distribution of $T(x)$: tilted, with holes in them. It learns the augmentation. That is no failure of training; it is what the game asks for.
#
# **Both, and through.** Let the discriminator see $T(x)$ and $T(G(z))$. Now the game is between the distributions of $T(x)$ and $T(G(z))$. Suppose that $T$ never makes two different distributions of images the same. Then these two agree only if those of $x$ and $G(z)$ do, and the generator learns to make plain images. For that it needs the gradient through $T$.
#
# Three runs of a plain DCGAN on a hundred digits, with the same images and the same number of updates, one seed each:

# %%
from genlab.gan import GANConfig, run_gan  # here because genlab.gan itself imports this notebook's functions

# %%
per_epoch = -(-len(data.images) // batch_size)
every = max(1, updates // (per_epoch * evaluations))
common = dict(
    dataset=dataset, subset=subset, width=width, batch_size=batch_size, lr=2e-4, seed=seed,
    epochs=evaluations * every,
    snapshots=[every * i for i in range(1, evaluations)], metrics=["fd_lenet", "memorisation"],
)  # fmt: skip
kinds = {
    "plain": GANConfig(name="plain", **common),
    "reals only": GANConfig(name="reals-only", augment=policy, augment_fakes=False, **common),
    "both": GANConfig(name="both", augment=policy, **common),
}
runs = {kind: run_gan(config) for kind, config in kinds.items()}

# %%
for kind, run in runs.items():
    done = run.config.epochs
    show_grid(run.samples(done)[:32], ncol=16, title=f"{kind}, after {done} epochs of {per_epoch} updates")
show_grid(data.images[:32], ncol=16, title=f"32 of the {subset} real images");


# %% [markdown]
# Look at the second grid, where only real images were augmented: the augmentation is in the samples, digits lean and sit off centre. Now the distances on the way, and the discriminator's mean verdict on real images that it learns from, minus that on images of the test set. Where this difference grows, it learns by heart. (Where real images are augmented, both kinds are shown to it augmented.)

# %%
#| export
def plot_gap(histories: dict[str, pd.DataFrame], ax: plt.Axes) -> None:
    "The discriminator's mean verdict on training images minus that on test images, as running means."
    for label, history in histories.items():
        window = max(1, len(history) // 20)
        gap = (history.d_x - history.d_held_out).rolling(window, min_periods=1, center=True).mean()
        ax.plot(history.epoch, gap, label=label)
    ax.axhline(0, color="0.6", linestyle="--", linewidth=0.8)
    ax.set(xlabel="epoch", ylabel="$D$(training) - $D$(test)")


# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
for kind, run in runs.items():
    fd = [run.metrics(e)["scores"]["fd_lenet"]["value"] for e in run.evaluated()]
    axes[0].plot(run.evaluated(), fd, ".-", label=kind)
floor = run.metrics(run.config.epochs)["scores"]["fd_lenet"]["floor"]
axes[0].axhline(floor, color="0.6", linestyle="--", linewidth=0.8)
axes[0].set(xlabel="epoch", ylabel="fd_lenet", yscale="log", title="distance to the test set; dashed: floor")
axes[0].set_yticks([10, 30, 100, 300, 1000, 3000], [10, 30, 100, 300, 1000, 3000])
axes[0].minorticks_off()
plot_gap({kind: pd.read_csv(run.folder / "history.csv") for kind, run in runs.items()}, axes[1])
axes[1].set_title("what $D$ knows by heart")
axes[0].legend(frameon=False);


# %%
def row(kind, run):
    m = run.metrics(run.config.epochs)
    fd, farther = m["scores"]["fd_lenet"], m["scores"]["memorisation"]
    epoch = m["train_seconds"] / run.config.epochs
    return {
        "augmented": kind, "fd_lenet": fd["value"], "sd": fd["sd"], "floor": fd["floor"],
        "farther": farther["value"], "N": fd["n"], "plain epoch (s)": epoch,
        "epoch with evaluation (s)": epoch + m["sample_seconds"] + m["score_seconds"],
    }  # fmt: skip


pd.DataFrame([row(*item) for item in runs.items()]).round(2)

# %% [markdown]
# *Farther* is the probability that a sample is farther from the training images than a test image is: 0.5 for new images as good as the test images, less for copies or merely typical images (0 for nothing but copies), and more for images unlike any real ones. An epoch that ends with an evaluation takes longer, by the samples and their score.

# %%
scores = {kind: run.metrics(run.config.epochs)["scores"] for kind, run in runs.items()}
final = {kind: score["fd_lenet"]["value"] for kind, score in scores.items()}
if dataset == "digits" and (subset, updates, seed) == (100, 1000, 0):  # the parameters as they stand above
    assert final["both"] < 0.8 * final["reals only"], "what only real images had has leaked"
    assert final["plain"] < final["both"], "here augmentation does not help"
    halves = {kind: pd.read_csv(run.folder / "history.csv") for kind, run in runs.items()}
    gaps = {kind: (h.d_x - h.d_held_out)[len(h) // 2 :].mean() for kind, h in halves.items()}
    assert gaps["both"] < 0.5 * gaps["plain"], "what is augmented is harder to know by heart"

# %% [markdown]
# So augmentation keeps the discriminator honest: in the last fifth of the training its verdict on training images is 0.02 higher than on test images, the plain one's 0.30 to 0.33 (three seeds each). And here that is *not* what the samples need. At each look after the first the plain GAN is ahead of the augmented one. It is no accident of this seed. After 1,000 updates `fd_lenet` was 66, 85 and 47 without augmentation and 106, 117 and 76 with it, for the seeds 0, 1 and 2: larger by 34 on average, with a 95 % interval from 20 to 48.
#
# Why is it the other way round than on MNIST above? These runs are shorter, have a tenth of the images and another data set, and width, batch size, loss, normalisation, learning rate and averaging differ, too. Which of these decides was not tried. (A plain DCGAN on a thousand images of MNIST, with a learning rate of 2e-4, was no better with augmentation either: after 3,200 updates 183 with it, one seed, and 137 and 162 without, two seeds.) So measure, with your network and as long as you mean to train, before you believe in a remedy. `-p updates 5000` goes on.
#
# On MNIST the discriminators of the six runs above differ as they should. In the last 50 of 300 epochs the plain one's output is 1.1 to 1.3 higher on its training images than on test images, the augmented one's 0.04 to 0.06.

# %%
samples = runs["both"].samples(runs["both"].config.epochs)[:16]
ax = plot_nearest(samples, dataset, train=data.images)
ax.set_title("augmented both: samples, and the two nearest of the training images", fontsize=10);


# %% [markdown]
# ## Its section of the report
#
# Does the discriminator know its images by heart? And does it help to augment? Where a profile has runs on few images that differ in nothing but their augmentation, their distances are drawn against updates, and compared. The sentence goes through the epoch counts that both have.

# %%
#| export
def compare_augmented(plain: list[Evaluation], augmented: list[Evaluation]) -> str:
    "Whether augmentation brings images nearer to the data."
    nearer, farther, equal = verdicts = ("nearer to the test images", "farther from them",
                                         "not to be told apart by two standard deviations")  # fmt: skip
    counts, before = defaultdict(list), {e.epochs: e for e in plain}
    for e in (e for e in augmented if e.epochs in before):
        distances = {"plain": before[e.epochs].distance, "augmented": e.distance}
        first, others = compare(distances)
        verdict = equal if not others else farther if first == ["plain"] else nearer
        shown = {name: uncertain(*distance[:2]) for name, distance in distances.items()}
        counts[verdict].append(f"{e.after} ({shown['augmented']}, against {shown['plain']})")
    found = "; ".join(f"{verdict} after {listed(counts[verdict])}" for verdict in verdicts if counts[verdict])
    names = [f"*{es[0].name}*" + seeds_of(es[0]) for es in (augmented, plain)]
    return f"{names[0]}, compared with {names[1]}, is {found}.\n" if found else ""


def seeds_of(e: Evaluation) -> str:
    "How many seeds its values are means of, if there are several."
    return f" (means of {len(e.rows)} seeds)" if len(e.rows) > 1 else ""


# %%
#| hide
def made_up(setting, *values):
    scores = [{"scores": {"fd_lenet": {"value": value, "sd": 1.0}}} for value in values]
    return [Evaluation([SimpleNamespace(setting=setting, model="gan", epochs=5, metrics=m) for m in scores])]


without, augmented = made_up("few", 30.0, 32.0, 34.0), made_up("more", 20.0, 22.0, 24.0)
start = "*more* (means of 3 seeds), compared with *few* (means of 3 seeds), is "
nearer = start + "nearer to the test images after 5 epochs (22(1), against 32(1)).\n"
assert compare_augmented(without, augmented) == nearer
assert "compared with *more* (means of 3 seeds), is farther" in compare_augmented(augmented, without)
equal = start + "not to be told apart by two standard deviations after 5 epochs"
assert compare_augmented(without, made_up("more", 10.0, 22.0, 46.0)).startswith(equal)


# %% [markdown]
# Which runs belong together: those on a part of the images whose configurations differ in nothing but name, seed and augmentation.

# %%
#| export
def few_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "Distances of GANs on a part of the images, with and without augmentation; nothing without such runs."
    parts, groups = [], defaultdict(lambda: defaultdict(list))
    for kind, evaluations in comparable(runs).items():
        for e in evaluations:
            config = e.rows[0].job.run.config
            if config.subset is not None:
                same = config.model_dump_json(exclude={"name", "seed", "augment", "augment_fakes"})
                groups[kind, same][bool(config.augment), e.rows[0].setting].append(e)
    for (kind, _), settings in groups.items():
        plain, *others = sorted(settings)
        augmented = [setting for setting in others if setting[0]]
        if not plain[0] and augmented:
            curves = {name: found for (_, name), found in settings.items()}
            parts.append(few_figure(curves, kind[-1], folder, f"few-{len(parts)}" if parts else "few"))
            parts += [compare_augmented(settings[plain], settings[other]) for other in augmented]
    return "\n".join(parts)


# %%
#| export
def few_figure(settings: dict[str, list[Evaluation]], n: int, folder: Path, name: str) -> str:
    "Distances of `n` samples against updates, a band a setting."
    curves, metric = {}, next(iter(settings.values()))[0].metric
    for setting, evaluations in settings.items():
        rows = pd.DataFrame([(r.seed, r.metrics["updates"], distance_score(r.metrics)["value"])
                             for e in evaluations for r in e.rows])  # fmt: skip
        curves[plot_label(setting)] = [(run[1].tolist(), run[2].tolist()) for _, run in rows.groupby(0)]
    fig, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
    plot_distance_bands(curves, ax)
    ax.set(xlabel="updates", ylabel=f"{metric} to the test set")
    save_figure(fig, folder / name)
    seeds = listed(sorted({str(len(runs)) for runs in curves.values()}))
    caption = (f"`{metric}` of $N$ = {n:,} samples against updates, without and with augmentation: mean over "
               f"seeds ({seeds} of each) and, where there are several, a band of one standard deviation to "
               "either side.")  # fmt: skip
    return figure(folder, name, caption, name, "65%")


# %% [markdown]
# What the discriminators know by heart:

# %%
#| export
def gap_fragment(runs: pd.DataFrame, folder: Path) -> str:
    "How much better discriminators know training images than others; nothing if no run has logged it."
    histories = [(r.label, read_history(r)) for r in last_of_each(runs).itertuples()]
    histories = {plot_label(label): history for label, history in histories if "d_held_out" in history}
    if not histories:
        return ""
    fig, ax = plt.subplots(figsize=(5.5, 2.6), layout="constrained")
    plot_gap(histories, ax)
    ax.set_xscale("log")
    legend_above(ax)
    save_figure(fig, folder / "gap")
    caption = ("Mean verdict of the discriminator on training images minus that on test images, running "
               "mean. Above zero, it tells its training images from others. The verdict is a probability, or "
               "a number without bounds (hinge and Wasserstein losses); only runs of one kind can be "
               "compared.")  # fmt: skip
    return figure(folder, "gap", caption, "gap", "80%")


# %% [markdown]
# Both together:

# %%
#| export
ABOUT_GAP = """
# What the discriminator knows by heart {#sec-gap}

A discriminator that remembers its training images calls them real and other real images fake, and what it
then tells the generator is worth less. Changing real and generated images at random before it sees them,
differentiably, is meant to keep it from that [@zhao2020].
"""


def few_section(runs: pd.DataFrame, folder: Path) -> Section:
    "What the report says of GANs on few images: distances with and without augmentation, and the gap."
    gans = runs[runs.model == "gan"]
    parts = [part for part in (few_fragment(gans, folder), gap_fragment(gans, folder)) if part]
    return Section("\n".join([ABOUT_GAP, *parts]) if parts else "")


SECTIONS["few"] = few_section

# %% [markdown]
# ## What to remember
#
# - With few images, watch $D$ on images that it has not seen, *and* the samples: a discriminator that knows its images by heart need not make them worse, nor one that does not make them better.
# - If you augment, augment real *and* generated images, and let the gradient through. Real ones only: the generator learns the augmentation.
# - What cannot be undone can leak all the same: if half of all images are mirrored, images and mirrored images look alike to the discriminator, and the generator may make either. Use what the data would not mind.
#
# ## Exercises
#
# 1. Add `flip` to the policy. Do mirrored digits appear? Why may they, though both are augmented? (Which images could a discriminator that only ever sees flipped or unflipped images at random tell apart?)
# 2. Run with `-p subset 1000`. Does augmentation help now, and is it worth its time?
# 3. Detach the augmented fakes' gradient (augment outside the graph). What does the generator learn now?
# 4. Replace the three runs by three seeds each. Is the difference larger than the spread?

# %% [markdown]
# ## Solutions
#
# <details><summary>1. Mirrored digits</summary>
#
#     flipped = run_gan(GANConfig(name="flipped", augment=[*policy, "flip"], **common))
#     show_grid(flipped.samples(flipped.config.epochs)[:32], ncol=16)
#
#
#     def mirrored(images):  # share that is nearer to a mirrored training image than to one as it is
#         near = lambda real: torch.cdist(images.flatten(1).float(), real.flatten(1).float()).amin(1)
#         return (near(data.images.flip(3)) < near(data.images)).float().mean().item()
#
#
#     test = load_dataset(dataset, "test").images
#     print([mirrored(images) for images in (test, *(run.samples(run.config.epochs) for run in (runs["both"], flipped)))])
#
# Yes. With the notebook's parameters (one run), 29 % of the samples are nearer to a mirrored training image, against 17 % of those of the run without `flip` and 11 % of the test images (a 0 or an 8 can fall on either side). In the grid stand mirrored 3s and 7s, and shapes that are neither a digit nor one in a mirror. `fd_lenet` is 270 instead of 113.
#
# Why they may: write $\tilde x$ for the mirrored $x$. Leave the other augmentations aside. If half of all images are mirrored, the discriminator sees real ones with the density $\frac12(p(x)+p(\tilde x))$ and fakes with $\frac12(p_g(x)+p_g(\tilde x))$. It cannot tell $x$ from $\tilde x$, so it only can demand $p_g(x)+p_g(\tilde x)=p(x)+p(\tilde x)$. That holds for $p_g(x)=p(x)$, for $p_g(x)=p(\tilde x)$, where all is mirrored, and for everything between. The distribution of $T(x)$ does not determine that of $x$. It would if any other share than one half were mirrored: with a quarter, $q(x)=\frac34p(x)+\frac14p(\tilde x)$ can be solved for $p(x)=\frac12(3q(x)-q(\tilde x))$. That is why [Karras et al. (2020)](https://arxiv.org/abs/2006.06676) apply each augmentation with a probability below one: then it need not leak.
#
# </details>
#
# <details><summary>2. A thousand images</summary>
#
# With equal updates, an epoch is ten times as long, so take a tenth of the epochs; the notebook does that by itself. What decides: `fd_lenet` of `plain` and `both` at equal updates *and* at equal seconds (the table has the time of an epoch), and the gap $D(\text{training})-D(\text{test})$. If the plain run's gap stays near zero, it does not know its images by heart, and augmentation has nothing to cure and only makes the game harder.
#
# For a thousand images of MNIST, another GAN and longer trainings, see the first figure: at the end the augmented runs were ahead with each seed, but by how much three seeds cannot say.
#
# </details>
#
# <details><summary>3. Without the gradient through T</summary>
#
#     from genlab.augment import AUGMENTATIONS as known  # the library's, which a configuration looks names up in
#
#     known["detach"] = torch.Tensor.detach  # no gradient at all
#     known["straight"] = lambda x: x + (augment_images(x, policy) - x).detach()  # T(x), but the gradient of x
#     for augment in ([*policy, "detach"], ["straight"]):
#         run = run_gan(GANConfig(name="gradient", augment=augment, **common))
#         print(augment, [run.metrics(e)["scores"]["fd_lenet"]["value"] for e in run.evaluated()])
#
# Detached, it learns nothing. The generator's only gradient comes through the augmented fakes. `loss_G.backward()` raises no error, since the loss still depends on the discriminator's weights; but `G`'s gradients are `None`, Adam passes over them, and $G$ keeps its initial weights. (Its samples change a little all the same, because batch normalisation's running means move.)
#
# One can also keep a gradient and lie about it (`straight`): the discriminator's slope at $T(x)$ is handed to $x$ as it is. It is then in the wrong place. Where $T$ has shifted an image by a pixel, the generator is told to change the pixel beside the one that is meant. With the notebook's parameters (one run) `fd_lenet` was 923 after 100 epochs and 1415 after 500, where the true gradient came to 113; all samples were one and the same pattern of dots.
#
# A third variant is the discriminator's step with augmented and the generator's with plain fakes. Then $D$ is asked about images such as it has never seen, and need not know anything about them; Zhao et al. (2020) report that this fails, too.
#
# </details>
#
# <details><summary>4. Three seeds</summary>
#
#     table = pd.DataFrame([
#         {kind: run_gan(config.model_copy(update={"seed": s})).metrics(config.epochs)["scores"]["fd_lenet"]["value"] for kind, config in kinds.items()}
#         for s in (0, 1, 2)
#     ])
#     difference = table["both"] - table["plain"]
#     print(table.round(0), table.std(), difference.mean(), difference.std() / 3**0.5)
#
# The seed also draws the hundred images and the initial weights, so runs of the same seed belong together: look at their differences, whose spread is smaller than that of the values if a lucky set of images is lucky for all. With three pairs a difference is significant at 5 % if its mean is more than 4.3 standard errors away from zero (Student's $t$ with two degrees of freedom), and not 2.
#
# </details>
