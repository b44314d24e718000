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
# # Frechet distance
#
# > How far is a set of generated images from a set of real ones? The Frechet distance, its bias, its floor and its error bars
#
# A generative model is good if its images could have come from the data. That is a statement about two *distributions*. Of each we hold a set of images; one generated image is called a *sample*. The Frechet Inception Distance (FID, [Heusel et al. 2017](https://arxiv.org/abs/1706.08500)) compares them in three steps: map each image to a *feature vector* (what a late layer of a classifier, Inception, says about it), describe each set by the mean and covariance of its features, and measure the distance between the two Gaussians that have these moments.
#
# One of the student reports that [this course](index.ipynb) grew out of ([07b_reports](07b_reports.ipynb)) had FIDs of 1.186e80, 1.297e109 and -3.752e92. FID is a squared distance, which cannot be negative, and features of images are not that far apart. At the end of this notebook you know what a distance does not see, how sure one can be of it, and what most likely happened there.

# %%
#| default_exp fid

# %% tags=["parameters"]
dataset = "digits"  # whose images are measured

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from genlab.data import derive_seed, load_dataset
from genlab.features import Extractor, as_bytes, cached_features
from genlab.plug import EXTRACTORS, MEASURES, import_plugins, look_up

# %%
#| hide
import contextlib
import io
import json
import tempfile
import warnings

import matplotlib.pyplot as plt
import pytest
import torch.nn.functional as F
from IPython.display import Markdown
from matplotlib.patches import Ellipse
from pytorch_fid.fid_score import calculate_frechet_distance
from scipy import linalg
from sklearn.decomposition import PCA

import genlab.fid
from genlab.data import show_grid, to_image, to_model
from genlab.features import lenet_extractor, weights_hash
from genlab.measures import finds_copies

# %% [markdown]
# ## Models whose faults we know
#
# Here are seven "models". We know what is wrong with them, because we made them from training images:

# %%
train, test = load_dataset(dataset, "train"), load_dataset(dataset, "test")
generator = torch.Generator().manual_seed(0)
real = train.images[:500]
random_images = torch.randint(0, 256, real.shape, generator=generator).byte()
every_other = torch.arange(500)[:, None, None, None] % 2 == 0
added_noise = 0.3 * torch.randn(real.shape, generator=generator)
blur = lambda x: F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
faults = {
    "copies": real,
    "blurred": to_image(blur(to_model(real))),
    "noisy": to_image((to_model(real) + added_noise).clamp(-1, 1)),
    "five classes": train.images[train.labels < 5][:500],  # these from among all training images
    "twenty images": real[:20].repeat(25, 1, 1, 1),  # again and again
    "half of it noise": torch.where(every_other, random_images, real),  # every other image
    "shifted": real.roll(1, 3),  # by a pixel
}

# %%
fig, axes = plt.subplots(len(faults), figsize=(8, 2.8), layout="constrained")
for ax, (name, images) in zip(axes, faults.items(), strict=True):
    show_grid(images[10:34], ncol=24, ax=ax)
    ax.text(-8, 8, name, ha="right", va="center", fontsize=9)

# %% [markdown]
# ## Features
#
# An *extractor* maps each image to a vector of features, in which images of the same thing are near to one another ([05b_features](05b_features.ipynb)). Inception is a large network, trained on photographs; the Frechet distance in its features is the FID, here `fid`. For digits we use a small classifier, LeNet, with 84 features; the distance in them is called `fd_lenet`. For photographs, with or without labels, there is `fd_photo` ([05e_photo](05e_photo.ipynb)).
#
# Each dot below is an image, seen in the two directions in which real images vary most. Grey are the test images, with an ellipse for their mean and covariance (it reaches two standard deviations from the mean); coloured are four of the models. **The Frechet distance compares the ellipses**, in all 84 directions. Blurred images are more alike, so their ellipse is smaller; if classes are missing, it has another shape; images of noise crowd in the middle.

# %%
extractor = lenet_extractor(dataset)
reference, features = extractor(test.images), extractor(train.images)  # of real images
plane = PCA(2).fit(reference)


def show_set(ax, points, color):
    "Dots, and the ellipse of their mean and covariance."
    variances, axes = np.linalg.eigh(np.cov(points.T))
    width, height = 4 * np.sqrt(variances)
    angle = np.degrees(np.arctan2(axes[1, 0], axes[0, 0]))
    ax.plot(*points.T, ".", color=color, markersize=3, alpha=0.5, markeredgewidth=0)
    ax.add_patch(Ellipse(points.mean(0), width, height, angle=angle, fill=False, color=color, linewidth=1.5))


fig, axes = plt.subplots(1, 4, figsize=(9, 2.5), layout="constrained", sharex=True, sharey=True)
for ax, name in zip(axes, ("noisy", "blurred", "five classes", "half of it noise"), strict=True):
    show_set(ax, plane.transform(reference), "0.5")
    show_set(ax, plane.transform(extractor(faults[name])), "C3")
    ax.set(xticks=[], yticks=[], title=name)

# %% [markdown]
# ## What does each measure see?
#
# There are more measures ([05c_measures](05c_measures.ipynb) explains the others). All of them in words; how the last column's standard deviations come about is said [below](#How-sure-is-a-distance?):

# %%
lines = [
    f"| `{name}` | {m.extractor} | {m.caption} | {m.direction} | {m.spread} |" for name, m in MEASURES.items()
]
head = ["| metric | features | what it is | better | its standard deviation |", "|:--|:--|:--|:--|:--|"]
Markdown("\n".join([*head, *lines]))

# %% [markdown]
# One call measures samples: `evaluate(samples, dataset, metrics)`. (It comes from the library here; this notebook builds it further down.) Below, a column is a model, and the last column is the **floor**: what as many *real* training images have. After ± stands the standard deviation. Read the table row by row. Which faults does each measure see, and which not?

# %%
table_metrics = [
    *("fd_lenet", "kd_lenet", "lenet_score", "precision", "recall", "density", "coverage"),
    *("class_kl", "intra_class", "memorisation", "copies"),
]
scores = {name: genlab.fid.evaluate(images, dataset, table_metrics) for name, images in faults.items()}
genlab.fid.score_table(scores).T

# %%
#| hide
value = lambda name, metric: scores[name][metric]["value"]
assert value("copies", "fd_lenet") < 3 * scores["blurred"]["fd_lenet"]["floor"]
assert all(value(name, "fd_lenet") > value("copies", "fd_lenet") for name in faults if name != "copies")
assert value("twenty images", "recall") < 0.2 < value("copies", "recall")
assert value("half of it noise", "precision") < 0.6 < value("copies", "precision")
assert value("five classes", "class_kl") > 0.5 > 0.05 > value("copies", "class_kl")
assert value("twenty images", "intra_class") < 0.6 * value("copies", "intra_class")
assert value("copies", "memorisation") < 0.01, "these are copies"
found = [name for name in faults if finds_copies(scores[name]["copies"])]
assert found == ["copies", "five classes", "twenty images", "half of it noise"]
assert value("shifted", "memorisation") > 0.4

# %% [markdown]
# The main things to see in it ("the distances" are `fd_lenet` and `kd_lenet`, "the score" is `lenet_score`):
#
# | fault | seen by | not seen by |
# |:--|:--|:--|
# | copies | `memorisation`, `copies` | all others |
# | blurred | all others | `class_kl`, `copies` |
# | noisy | recall and coverage, a little | the distances: they differ from the floor by less than two standard deviations of the difference |
# | five classes | the distances, the score, recall, coverage, `class_kl` | precision |
# | twenty images | the distances, recall, coverage, `intra_class` | precision; the score falls little |
# | half of it noise | the distances, the score, precision, density, coverage; `copies` sees the other half | `memorisation`: it averages, and the noise is as far from the training images as the copies are near |
# | shifted | coverage, density, precision, recall | the distances; `copies`: in LeNet's features a copy that is moved by a pixel is as far from its original as a new image is from the nearest |
#
# ("Five classes" and "twenty images" are training images, so `memorisation` and `copies` see these, too.) **No measure sees all faults.**

# %% [markdown]
# ### A digit classifier, or Inception?
#
# Inception can be applied to digits, enlarged to 299x299. Does its distance see the same faults? The table has the distance of each fault from the floor, in standard deviations of the floor. Inception's weights are downloaded once; without them the column stays empty.

# %%
#| eval: false
faulty = ("copies", "blurred", "noisy", "five classes", "shifted")
with contextlib.redirect_stderr(io.StringIO()):  # where a download is announced
    both = {name: genlab.fid.evaluate(faults[name], dataset, ["fd_lenet", "fid"]) for name in faulty}


def above_floor(score):
    "In standard deviations of the floor."
    if score["value"] is None:
        return "—"
    return f"{(score['value'] - score['floor']) / score['floor_sd']:.1f}"


rows = {name: {metric: above_floor(score) for metric, score in pair.items()} for name, pair in both.items()}
pd.DataFrame(rows).T


# %% [markdown]
# ## The distance between two Gaussians
#
# Think of moving a heap of sand with the shape of one Gaussian so that it gets the shape of another. The smallest possible mean of the squared distances that the grains travel is the squared 2-Wasserstein or Frechet distance, and for Gaussians it has a closed form ([Dowson and Landau 1982](https://doi.org/10.1016/0047-259X(82)90077-X)):
#
# $$ d^2 = \lVert\mu_1-\mu_2\rVert^2 + \operatorname{tr}\!\big(\Sigma_1+\Sigma_2-2(\Sigma_1\Sigma_2)^{1/2}\big). $$
#
# As is usual, we report $d^2$ itself and call it the distance. If the covariances are equal, only the squared distance of the means is left. If they are diagonal, the trace is a sum of squared differences of standard deviations.
#
# Only the trace of $(\Sigma_1\Sigma_2)^{1/2}$ is hard to compute; it is the sum of the square roots of the eigenvalues of $\Sigma_1\Sigma_2$. The code has two ways, for invertible covariances and for singular ones. [Numerics](#Numerics), at the end, derives them; a first reading may take them for granted.

# %%
#| export
def _trace_root(factor1: torch.Tensor, factor2: torch.Tensor) -> torch.Tensor:
    "tr((S1 S2)^1/2) for S = factor @ factor.T: the nuclear norm of factor1.T @ factor2."
    return torch.linalg.svdvals(factor1.T @ factor2).sum()


def _eigen_factor(sigma: torch.Tensor) -> torch.Tensor:
    "A factor of a covariance that may be singular; rounding errors below zero are dropped."
    values, vectors = torch.linalg.eigh(sigma)
    keep = values > values[-1].clamp(min=0) * len(values) * torch.finfo(torch.float64).eps
    return vectors[:, keep] * values[keep].sqrt()


# %%
#| export
def frechet_distance(
    mu1,  # mean, (D,); an array or a tensor
    sigma1,  # covariance, (D, D)
    mu2,
    sigma2,
) -> float:  # the squared distance, as FID is always given; never negative
    "Frechet distance of two Gaussians (Dowson and Landau 1982), in float64; covariances may be singular."
    mu1, sigma1, mu2, sigma2 = (torch.as_tensor(a, dtype=torch.float64) for a in (mu1, sigma1, mu2, sigma2))
    if not (mu1.shape == mu2.shape and sigma1.shape == sigma2.shape == 2 * mu1.shape):
        raise ValueError(f"frechet_distance: {len(mu1)} and {len(mu2)} dimensions cannot be compared.")
    if not all(a.isfinite().all() for a in (mu1, sigma1, mu2, sigma2)):
        raise ValueError("frechet_distance: NaN or infinity in a mean or covariance; are there two samples?")
    traces, trace_root = sigma1.trace() + sigma2.trace(), None
    (cholesky, failed1), (_, failed2) = torch.linalg.cholesky_ex(sigma1), torch.linalg.cholesky_ex(sigma2)
    if not failed1 and not failed2:
        trace_root = torch.linalg.eigvalsh(cholesky.T @ sigma2 @ cholesky).clamp(min=0).sqrt().sum()
    if trace_root is None or traces - 2 * trace_root < 1e-6 * traces:  # singular, or rounding would show
        trace_root = _trace_root(_eigen_factor(sigma1), _eigen_factor(sigma2))
    return max(0.0, ((mu1 - mu2).square().sum() + traces - 2 * trace_root).item())


# %% [markdown]
# Checks: the two cases above, and scipy's general matrix square root, for covariances with which it works:

# %%
rng = np.random.default_rng(0)
a = rng.normal(size=(40, 8))
sigma, (s1, s2) = a.T @ a / 40, rng.uniform(0.1, 2, (2, 8))
equal_covariances = frechet_distance(np.zeros(8), sigma, np.full(8, 0.5), sigma)
assert np.isclose(equal_covariances, 8 * 0.25, rtol=1e-12)
diagonal = frechet_distance(a[0], np.diag(s1**2), a[0], np.diag(s2**2))
assert np.isclose(diagonal, ((s1 - s2) ** 2).sum(), rtol=1e-12)
b = rng.normal(size=(40, 8)) @ rng.normal(size=(8, 8))
moments = a.mean(0), np.cov(a.T), b.mean(0), np.cov(b.T)
root = linalg.sqrtm(moments[1] @ moments[3]).real
direct = ((moments[0] - moments[2]) ** 2).sum() + np.trace(moments[1] + moments[3] - 2 * root)
assert np.isclose(frechet_distance(*moments), direct, rtol=1e-10)


# %% [markdown]
# Mean and covariance of features that come in batches, so that not all images need be in memory at once:

# %%
#| export
class FeatureStats:
    "Number, mean and covariance of feature vectors that come in batches."

    def __init__(self, features: torch.Tensor | None = None):
        self.n, self.mean, self.scatter = 0, 0.0, 0.0
        if features is not None:
            self.update(features)

    def update(self, features: torch.Tensor) -> None:
        "Take in a batch (N, D) (Chan, Golub and LeVeque 1983). ValueError if it holds NaN or infinity."
        x = torch.as_tensor(features, dtype=torch.float64).cpu()
        if not len(x):
            return
        if not x.isfinite().all():
            raise ValueError("FeatureStats: the features hold NaN or infinity; look at the images.")
        n, mean = len(x), x.mean(0)
        delta, total = mean - self.mean, self.n + n
        between = torch.outer(delta, delta) * (self.n * n / total)
        self.scatter = self.scatter + (x - mean).T @ (x - mean) + between
        self.mean, self.n = self.mean + delta * (n / total), total

    @property
    def cov(self) -> torch.Tensor:
        "The unbiased covariance (D, D). ValueError below two samples."
        if self.n < 2:
            raise ValueError(f"A covariance needs two samples at least and has {self.n}.")
        return self.scatter / (self.n - 1)


# %% [markdown]
# And from features to the distance. With at most as many samples as dimensions a covariance is singular, and the code works on the centred features instead:

# %%
#| export
def frechet_distance_of_features(
    x: torch.Tensor,  # features of one set, (N, D)
    y: torch.Tensor,  # of the other, (M, D)
) -> float:
    "Frechet distance of two sets of features; exact, and fastest, also with fewer samples than dimensions."
    name = "frechet_distance_of_features"
    x, y = (torch.as_tensor(a, dtype=torch.float64).cpu() for a in (x, y))
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"{name}: features of {x.shape[1]} and {y.shape[1]} dimensions cannot be compared.")
    if min(len(x), len(y)) < 2:
        raise ValueError(f"{name}: it needs two samples at least; there are {len(x)} and {len(y)}.")
    s1, s2 = FeatureStats(x), FeatureStats(y)
    if min(s1.n, s2.n) > x.shape[1]:
        return frechet_distance(s1.mean, s1.cov, s2.mean, s2.cov)
    factors = [_data_factor(a, s) for a, s in ((x, s1), (y, s2))]
    traces = sum(factor.square().sum() for factor in factors)
    return max(0.0, ((s1.mean - s2.mean).square().sum() + traces - 2 * _trace_root(*factors)).item())


# %%
#| export
def _data_factor(x: torch.Tensor, stats: FeatureStats) -> torch.Tensor:
    "Factor (D, min(N, D)) of the covariance of the rows of x."
    centred = (x - stats.mean) / (stats.n - 1) ** 0.5
    return centred.T if len(x) <= x.shape[1] else torch.linalg.qr(centred, mode="r").R.T


# %% [markdown]
# ### One image against one image
#
# Could one take the FID of one real image and one generated one? A single image has no covariance. All that is left is the squared distance of two feature vectors, which says how different *these two images* are. How different are two real sixes?

# %%
sixes = features[train.labels == 6][:40]
pairs = torch.cdist(sixes, sixes).square()[torch.triu_indices(40, 40, 1).unbind()]
noisy_distance = frechet_distance_of_features(extractor(faults["noisy"]), reference)
compared = {"nearest": pairs.min(), "on average": pairs.mean(), "farthest": pairs.max()}
distances = {f"two real sixes, {name}": value.item() for name, value in compared.items()}
distances["500 noisy images and the test set"] = noisy_distance
pd.Series(distances, name="squared distance").round(0).to_frame()


# %% [markdown]
# Two real sixes are, on average, farther apart than 500 noisy images are from the test set. So a single pair says nothing about a model.
#
# ## The bias, and the floor
#
# How small can the distance of a model get? Not zero. Draw $N$ values from each of two equal Gaussians: by chance, the estimated means and covariances differ. So the estimated distance is positive, though the true one is 0. To first order this *bias* falls like $1/N$.
#
# Below are *real* training images against the test set, twenty draws at each $N$. This distance is the floor. Against $1/N$ the means lie nearly on a straight line. The left edge stands for infinitely many training images. The line does not meet it at 0: the number of test images is finite, too, and the classifier has seen the training images.

# %%
def plot_floor(dataset, sizes, ax):
    "fd_lenet of training images to the test set against 1/N."
    extractor, (train, test) = lenet_extractor(dataset), (load_dataset(dataset, s) for s in ("train", "test"))
    reference, pool = extractor(test.images), extractor(train.images[: 5 * max(sizes)])
    generator = torch.Generator().manual_seed(0)
    draw = lambda n: pool[torch.randperm(len(pool), generator=generator)[:n]]
    draws = [[frechet_distance_of_features(draw(n), reference) for _ in range(20)] for n in sizes]
    means, inverse = np.mean(draws, 1), 1 / np.array(sizes)
    line = np.polynomial.Polynomial.fit(inverse, means, 1)
    ax.plot([0, inverse[0]], line(np.array([0, inverse[0]])), color="0.6", linewidth=0.8)
    ax.errorbar(inverse, means, np.std(draws, 1), fmt="o", markersize=4, capsize=3)
    for n, x, y in zip(sizes, inverse, means, strict=True):
        ax.annotate(f"{n:,}", (x, y), (6, -9), textcoords="offset points", fontsize=8)
    ax.set(
        xlabel="1 / N", ylabel="fd_lenet", xlim=(0, 1.15 * inverse[0]), ylim=0, title=f"{dataset}: the floor"
    )
    ax.locator_params(axis="x", nbins=5)
    return means


fig, ax = plt.subplots(figsize=(5.2, 2.8), layout="constrained")
means = plot_floor(dataset, [100, 140, 200, 350, 800], ax)
assert (np.diff(means) < 0).all(), "fewer samples, larger distance"

# %% [markdown]
# And MNIST, where there are images enough for larger $N$ (the first run downloads it):

# %%
#| eval: false
fig, ax = plt.subplots(figsize=(5.2, 2.8), layout="constrained")
plot_floor("mnist", [500, 700, 1000, 2000, 10000], ax);


# %% [markdown]
# **So compare models at the same $N$ only, and look at the floor first.** A model at the floor cannot be told from the data by this measure at this number of samples. Every table of genlab shows the floor. For the other measures, too, what real images have is the value to aim at.
#
# Some cautions:
#
# - A good model may fall below the floor by chance.
# - A model that returns the training images is *at* the floor; `copies` is there to see that.
# - `evaluate` makes five draws, which tell a standard deviation only roughly. Draws from a small training set overlap; their spread is enlarged to make up for it.
# - Published FIDs usually compare 50,000 samples with the *training* set, ours $N$ samples with the *test* set. The two cannot be compared.

# %% [markdown]
# ### Extrapolating to infinitely many
#
# The bias depends on the two distributions, so it may favour one model over another. [Chong and Forsyth (2020)](https://arxiv.org/abs/1911.07023) therefore estimate the distance at several $N$, fit a straight line in $1/N$, and read off where it meets $1/N=0$. We take the same share $f$ of *both* sets, from 20 % to all of it. Then the bias of each set is proportional to $1/f$, and the intercept is free of both, to first order. Even the smallest part must have more samples than there are features.

# %%
#| export
def frechet_at_infinity(
    x: torch.Tensor,  # features of one set, (N, D)
    y: torch.Tensor,  # of the other, (M, D)
    seed: int = 0,  # which subsets
) -> tuple[float, list[float], list[float]]:  # extrapolated distance, shares of the sets, distance at each
    "Frechet distance extrapolated to infinitely many samples (Chong and Forsyth 2020)."
    generator = torch.Generator().manual_seed(derive_seed(seed, 5))
    shares, distances = np.linspace(0.2, 1, 15).tolist(), []
    for share in shares:
        parts = [a[torch.randperm(len(a), generator=generator)[: round(share * len(a))]] for a in (x, y)]
        distances.append(frechet_distance_of_features(*parts))
    intercept = np.polynomial.Polynomial.fit([1 / share for share in shares], distances, 1)(0.0)
    return float(intercept), shares, distances


# %% [markdown]
# A case whose true distance is known: two Gaussians in 84 dimensions, as many as LeNet has features. Dots are distances of parts of two sets. Solid lines are fitted to them and meet the left edge at the extrapolated distance. The dashed line is the truth.

# %%
generator = torch.Generator().manual_seed(0)
first, second = torch.randn(2, 84, 84, generator=generator, dtype=torch.float64) / 84**0.5
factors = first, 0.9 * first + 0.3 * second
covariances = [factor @ factor.T for factor in factors]
truth = frechet_distance(torch.zeros(84), covariances[0], torch.full((84,), 0.2), covariances[1])


def two_gaussians(n, generator):
    "n vectors of each."
    normal = torch.randn(2, n, 84, generator=generator, dtype=torch.float64)
    return normal[0] @ factors[0].T, normal[1] @ factors[1].T + 0.2


# %%
fig, ax = plt.subplots(figsize=(5, 2.8), layout="constrained")
for n in (1000, 4000):
    value, shares, distances = frechet_at_infinity(*two_gaussians(n, generator))
    label = f"up to N = {n:,}: {distances[-1]:.2f}, extrapolated {value:.2f}"
    line = ax.plot([1 / (share * n) for share in shares], distances, ".", label=label)[0]
    slope = np.polyfit([1 / share for share in shares], distances, 1)[0]
    ax.plot([0, 5 / n], [value, value + 5 * slope], color=line.get_color(), linewidth=0.8)
    assert abs(value / truth - 1) < 0.05 < distances[-1] / truth - 1
ax.axhline(truth, color="0.5", linestyle="--", linewidth=0.8)
ax.set(xlabel="1 / number of samples", ylabel="Frechet distance", xlim=0, title=f"truth: {truth:.2f}")
ax.legend(frameon=False, loc="upper left", fontsize=8);

# %% [markdown]
# An intercept varies more than the distance at full size, and may come out below 0 when the two distributions are equal. It is a check on comparisons at different $N$; the plain distance with its floor stays the main measure.
#
# ## How sure is a distance?
#
# A generator starts from random numbers. Other random numbers would have given other samples and another distance. How much would it differ? The samples at hand can tell: compute the distance for random *halves* of them and take the standard deviation. Why halves? The mean of $N$ fresh values with variance $\sigma^2$ has the variance $\sigma^2/N$; that of a random half, around the mean of the whole, has $\sigma^2/(N/2)-\sigma^2/N$, which is the same. A distance is no mean, but a smooth function of means, so it holds approximately (the delete-half jackknife, [Shao and Wu 1989](https://doi.org/10.1214/aos/1176347263)). The halves' distances are too large, because of the bias; only their spread is used. Close to the floor, where the means of the features hardly differ, that spread is too large.

# %%
#| export
HALVES = 10


def half_sample_sd(
    statistic: Callable[[torch.Tensor], float],
    x: torch.Tensor,  # (N, ...)
    smallest: int = 2,  # samples that `statistic` needs
    seed: int = 0,  # which halves
) -> float | None:  # None if a half has fewer
    "Standard deviation of `statistic(x)` over fresh sets like `x`, from random halves (Shao and Wu 1989)."
    if len(x) // 2 < smallest:
        return None
    generator = torch.Generator().manual_seed(derive_seed(seed, 6))
    halves = (x[torch.randperm(len(x), generator=generator)[: len(x) // 2]] for _ in range(HALVES))
    with np.errstate(invalid="ignore"):  # an infinite value has no spread
        values = np.array([statistic(half) for half in halves])
        return float(np.std(values - values[0], ddof=1))  # exactly 0 if all are equal


# %% [markdown]
# Does that hold? Draw many fresh sets: the standard deviation of their distances is the truth. Halving one set alone should give about the same:

# %%
several = two_gaussians(2000, generator)[1]
fresh = [two_gaussians(600, generator)[0] for _ in range(60)]
distance = lambda x: frechet_distance_of_features(x, several)
actual = np.std([distance(x) for x in fresh], ddof=1)
guesses = [half_sample_sd(distance, x) for x in fresh[:20]]
mean, spread = np.mean(guesses), np.std(guesses, ddof=1)
print(f"sd over fresh sets {actual:.3f}; from halves of one set {mean:.3f} ± {spread:.3f}")
assert 0.6 < mean / actual < 1.6

# %% [markdown]
# All standard deviations of genlab say how a value would vary with other samples of the same trained model. The test images are kept as they are (but for `memorisation` and `copies`, which compare with test images). Each was compared with the spread over 200 fresh sets of random vectors, and away from the floor was within a third of it (`tests/test_bars.py`).
#
# ### Other seeds
#
# Samples are not all that varies. A model could have been trained with another seed, or for an update more or less, since its weights change with every update. A moving average of the weights (EMA) varies less, but lags behind while the model still improves. The GAN of [01_gan](01_gan.ipynb), trained for 40 epochs with three seeds, with and without EMA:

# %%
#| eval: false
from genlab.gan import GANConfig, run_gan


def distances_by_seed(ema):
    "fd_lenet of the GAN after 40 epochs, for three seeds, and what is said of its spread."
    with contextlib.redirect_stdout(io.StringIO()):
        trained = [run_gan(GANConfig(epochs=40, seed=seed, ema=ema)) for seed in range(3)]
    scores = [run.metrics(40)["scores"]["fd_lenet"] for run in trained]
    values = {f"seed {seed}": score["value"] for seed, score in enumerate(scores)}
    sd = np.std(list(values.values()), ddof=1), np.mean([score["sd"] for score in scores])
    return values | {"sd over seeds": sd[0], "sd over samples of one model": sd[1]}


with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
    patch.setenv("GENLAB_RUNS", home)
    rows = {"no EMA": distances_by_seed(0.0), "EMA 0.95": distances_by_seed(0.95)}
pd.DataFrame(rows).T.round(1)


# %% [markdown]
# (Three seeds give a rough idea of a standard deviation, no more.) With EMA and without, the distances are about as large, and seeds differ a little more than other samples of one model would. It may be the other way round, by luck. So take the larger of the two standard deviations. A difference between two *kinds* of model that is smaller is no result.
#
# ## Scoring samples
#
# From here to [Numerics](#Numerics) is bookkeeping: what a measure is, what is kept, how the floor is drawn, what is refused. All you need is `evaluate(samples, dataset, metrics)`.
#
# A measure is a function of what an extractor says about samples and real images. Several measures may share a step, such as the distances to all training images; `views.once` takes it for all of them.

# %%
#| export
@dataclass(eq=False)
class Views:
    "What an extractor sees of samples and of real images."

    samples: torch.Tensor  # features, float64 (N, D)
    reference: torch.Tensor | None  # of test images, (M, D), where a measure needs them
    train: torch.Tensor | None  # of training images, where a measure needs them
    head: nn.Module | None  # features -> class scores of the extractor's classifier
    _known: dict[Callable, Any] = field(default_factory=dict, repr=False)

    def once(self, step: Callable[["Views"], Any]) -> Any:
        "`step(self)`, computed at the first use and then kept."
        if step not in self._known:
            self._known[step] = step(self)
        return self._known[step]

    @torch.no_grad()
    def logits(self, features: torch.Tensor) -> torch.Tensor:
        "Class scores before the softmax, (N, K)."
        return self.head(features.float())

    def labels(self, features: torch.Tensor) -> torch.Tensor:
        "The class of each, int64 (N,)."
        return self.logits(features).argmax(1)

    def classes(self) -> int:
        "How many classes the classifier knows."
        return self.logits(self.reference[:1]).shape[1]


# %% [markdown]
# A measure is declared once. From this entry follow the names that configurations allow, the help of the command line, the table at the top and the columns of the report.

# %%
#| export
class Measure(NamedTuple):
    "How a metric is computed, and all that is written about it."

    function: Callable[[Views], dict]  # value, sd (a number, None, or a function that computes it) and more
    heading: str  # of its column in the report
    caption: str  # what it is, a phrase
    direction: Literal["smaller", "larger", "as real images"]  # what is better
    spread: str  # how its standard deviation is estimated, a phrase
    extractor: str = "lenet"  # a key of EXTRACTORS
    minimum: int = 2  # samples it needs
    reference: bool = True  # it looks at real images
    classes: bool = False  # it needs the extractor's classifier
    copies: bool = False  # it compares with training images, so these cannot be its floor
    table: str | None = "other"  # where it stands in the report: distance, diversity, other; None: nowhere


# %% [markdown]
# Here are those that are Frechet distances. Their spread takes time, and the floor does not need it. So it is returned as a function without arguments, which `evaluate` calls.

# %%
#| export
def from_halves(views: Views, statistic: Callable[[torch.Tensor], float], smallest: int = 2) -> Callable:
    "The standard deviation of a statistic of the samples, to be computed where it is needed."
    return functools.partial(half_sample_sd, statistic, views.samples, smallest)


def _frechet(views: Views) -> dict:
    distance = lambda samples: frechet_distance_of_features(samples, views.reference)
    return {"value": distance(views.samples), "sd": from_halves(views, distance)}


def _extrapolated(views: Views) -> dict:
    dims, smallest = views.samples.shape[1], min(len(views.samples), len(views.reference)) // 5
    if smallest <= dims:
        needed = f"more than {5 * dims} images on both sides, five times the number of features"
        return {"value": None, "why": f"an extrapolation needs {needed}"}
    value, shares, distances = frechet_at_infinity(views.samples, views.reference)
    return {"value": value, "shares": shares, "distances": distances}


# %%
#| export
MEASURES["fd_lenet"] = Measure(
    _frechet, "`fd_lenet`", "Frechet distance", "smaller", "half-samples", table="distance"
)
MEASURES["fd_lenet_infinity"] = Measure(
    _extrapolated, "`fd_lenet`, extrapolated", "Frechet distance, extrapolated to infinitely many samples",
    "smaller", "none", table=None,
)  # fmt: skip
MEASURES["fid"] = MEASURES["fd_lenet"]._replace(extractor="inception", heading="`fid`")
MEASURES["fid_infinity"] = MEASURES["fd_lenet_infinity"]._replace(
    extractor="inception", heading="`fid`, extrapolated"
)


# %% [markdown]
# In the features of another extractor, LeNet's measures have other names, so that nobody takes one number for the other:

# %%
#| export
def metric_in(name: str, metric: str) -> str:
    "What LeNet's `metric` is called in the features of extractor `name`."
    if "lenet" in metric:
        return metric.replace("lenet", name)
    return metric if name == "lenet" else f"{metric}_{name}"


def measures_in(name: str) -> dict[str, Measure]:
    "LeNet's measures for another extractor, by their names there: fd_NAME, NAME_score, recall_NAME, ..."
    found = {}
    for metric, measure in MEASURES.items():
        if measure.extractor == "lenet":
            own = metric_in(name, metric)
            caption = f"{measure.caption}, in the features of {name}"
            found[own] = measure._replace(extractor=name, heading=f"`{own}`", caption=caption)
    return found


# %% [markdown]
# A model may have several distances. It is compared with others by one of them: by `fd_lenet` if it has that, else, without labels, by `fd_photo` ([05e_photo](05e_photo.ipynb)), else by whatever it has.

# %%
#| export
COMPARED_BY = ("fd_lenet", "fd_photo")


def main_distance(metrics: Iterable[str]) -> str | None:
    "Of these metrics the distance that models are compared by; None if there is none."
    found = [name for name in metrics if name in MEASURES and MEASURES[name].table == "distance"]
    return next((name for name in [*COMPARED_BY, *found] if name in found), None)


def in_features_of(distance: str, metric: str) -> str:
    "What LeNet's `metric` is called in the features of another distance: precision_photo, for fd_photo."
    return metric_in(distance.removeprefix("fd_"), metric)


# %%
assert main_distance(["recall", "fid", "fd_lenet"]) == "fd_lenet" and main_distance(["fid"]) == "fid"
assert main_distance(["recall"]) is None and in_features_of("fd_lenet", "recall") == "recall"
assert in_features_of("fd_photo", "recall") == "recall_photo"
assert in_features_of("fd_photo", "kd_lenet") == "kd_photo"


# %% [markdown]
# ### The floor
#
# The same functions are applied to real training images, several times:

# %%
#| export
@functools.lru_cache(maxsize=8)
def _real_features(
    extractor: Extractor, dataset: str, split: str, size: int, n: int | None = None, seed: int = 0
) -> torch.Tensor:
    "Features of the images of a data set, or of n of them drawn at random."
    images = load_dataset(dataset, split, size).images
    if n is not None and n < len(images):
        generator = torch.Generator().manual_seed(derive_seed(seed, 3))
        images = images[torch.randperm(len(images), generator=generator)[:n]]
    return cached_features(extractor, images)


FLOOR_DRAWS = 5
NO_FLOOR = {"floor": None, "floor_sd": None, "n_floor": None}


# %%
#| export
@functools.cache
def _floors(
    measures: tuple[tuple[str, Measure], ...],
    extractor: Extractor,
    dataset: str,
    size: int,
    n: int,
    seed: int,
) -> dict[str, dict]:
    "The floors of metrics: n training images, drawn FLOOR_DRAWS times, or once if these are all."
    reference = _real_features(extractor, dataset, "test", size)
    pool = _real_features(extractor, dataset, "train", size, FLOOR_DRAWS * n, seed)
    n, generator = min(n, len(pool)), torch.Generator().manual_seed(derive_seed(seed, 4))
    draws = {metric: [] for metric, measure in measures if n >= measure.minimum}
    for _ in range(FLOOR_DRAWS if n < len(pool) else 1):
        some = pool[torch.randperm(len(pool), generator=generator)[:n]]
        views = Views(some, reference, None, extractor.head)
        for metric in draws:
            draws[metric].append(dict(measures)[metric].function(views))
    return {metric: _floor_of(found, n, n / len(pool)) for metric, found in draws.items()}


# %%
#| export
def _floor_of(draws: list[dict], n: int, share: float) -> dict:
    "Mean and standard deviation over draws of n images, this share of those drawn from."
    draws = [draw for draw in draws if draw["value"] is not None]
    if not draws:
        return NO_FLOOR
    values = [draw["value"] for draw in draws]
    # draws from a finite pool overlap
    spread = float(np.std(values, ddof=1)) / (1 - share) ** 0.5 if len(values) > 1 else None
    result = {"floor": float(np.mean(values)), "floor_sd": spread, "n_floor": n}
    if "classes" in draws[0]:
        by_class = zip(*(draw["classes"] for draw in draws), strict=True)
        result["floor_classes"] = [float(np.mean([c["value"] for c in same])) for same in by_class]
    return result


# %% [markdown]
# One metric's floor:

# %%
#| export
def floor(metric: str, dataset: str, size: int, n: int, seed: int = 0, classifier: str | None = None) -> dict:
    "What n training images score against the test set: floor, floor_sd (over draws), n_floor; or None."
    measure = look_up("metric", metric, MEASURES)
    if measure.copies:
        return NO_FLOOR
    extractor = EXTRACTORS[measure.extractor](classifier or dataset, size)
    return _floors(((metric, measure),), extractor, dataset, size, n, seed).get(metric, NO_FLOOR)


# %% [markdown]
# ### What can be measured, and what not
#
# An extractor is tried once, since a download that fails once will not succeed for the next measure. A run asks before it trains whether it can be scored at all:

# %%
#| export
def _extractors(
    names: Iterable[str], classifier: str | None, size: int
) -> dict[str, Extractor | RuntimeError]:
    "The extractors of these names, or why one cannot be had."
    found = {}
    for name in dict.fromkeys(names):
        try:
            found[name] = EXTRACTORS[name](classifier, size)
        except RuntimeError as why:
            found[name] = why
    return found


# %%
#| export
def check_metrics(dataset: str, size: int | None, metrics: Sequence[str]) -> int:  # number of test images
    "Have the extractors ready before a long training. ValueError, said first, if samples cannot be scored."
    images = load_dataset(dataset, "test", size).images
    measures = [look_up("metrics", metric, MEASURES) for metric in metrics]
    _extractors([measure.extractor for measure in measures], dataset, images.shape[-1])  # kept for `evaluate`
    if len(images) < 2:
        raise ValueError(
            f"dataset: {dataset} has {len(images)} test image, and a distribution needs two at least."
        )
    return len(images)


# %% [markdown]
# Can samples and reference be compared? (Grey images may be compared with colour ones: a network for colours sees them in three equal channels.) And can a measure be had for them?

# %%
#| export
def _check_images(
    samples: torch.Tensor, reference: torch.Tensor, measures: Iterable[Measure], classifier: str | None
) -> None:
    "ValueError, one sentence, if something about the images stands against comparing them."
    (height, width), (h, w) = samples.shape[2:], reference.shape[2:]
    if (height, width) != (h, w):
        shapes = f"the samples have {width}x{height} pixels and the reference {w}x{h} pixels"
        raise ValueError(f"evaluate: {shapes}; make them alike before they are compared.")
    if min(len(samples), len(reference)) < 2:
        counts = f"{len(samples)} and {len(reference)}"
        raise ValueError(f"evaluate: a distribution needs two images at least; there are {counts}.")
    if not any(measure.extractor == "lenet" for measure in measures):
        return
    if width != height:
        raise ValueError(f"evaluate: LeNet looks at square images, and these have {width}x{height} pixels.")
    if not classifier:
        how = "classifier='mnist' (on the command line, --classifier mnist)"
        raise ValueError(f"evaluate: whose LeNet? Name a data set: {how}; or measure fd_photo instead.")


# %%
#| export
def _obstacle(measure: Measure, extractor: Extractor | RuntimeError, n: int, has_train: bool) -> str | None:
    "Why a measure cannot be had for n images, if so."
    if isinstance(extractor, RuntimeError):
        return str(extractor)
    if n < measure.minimum:
        return f"it needs {measure.minimum} images at least, and there are only {n}"
    if measure.copies and not has_train:
        return "the training images are not known; give a data set's name as the reference"
    if measure.classes and extractor.head is None:
        return f"{extractor.name} has no classifier"
    return None


# %% [markdown]
# ### One call for all of it
#
# The reference is a data set's name, for its test split, or images of any origin; only a data set has training images and hence a floor.

# %%
#| export
class _Real(NamedTuple):
    "The real images that samples are compared with."

    dataset: str | None  # its name, if it is one
    images: torch.Tensor  # of its test split, or others
    train: torch.Tensor | None  # that the model learned from, if they are not the data set's

    def training_images(self) -> torch.Tensor:
        "Those that samples may be copies of."
        size = self.images.shape[-1]
        return load_dataset(self.dataset, "train", size).images if self.train is None else self.train


# %%
#| export
def evaluate(
    samples: torch.Tensor,  # uint8 (N, C, H, W), or float in [-1, 1]
    reference: str | torch.Tensor,  # a data set, whose test split is compared with; or images like `samples`
    metrics: Sequence[str] | None = None,  # keys of MEASURES; None: fd_lenet
    classifier: str | None = None,  # the data set whose LeNet gives the features; None: that of the reference
    seed: int = 0,  # which training images make the floor
    train: torch.Tensor | None = None,  # uint8 images that the model learned from; None: the training split
    extractor: Extractor | None = None,  # one's own, named NAME: for fd_NAME, recall_NAME, ...
) -> dict[str, dict]:  # metric: value (None: see why), sd, n, n_reference, reference, floor, ..., hash
    "Measures of samples against real images. ValueError if they cannot be compared."
    samples, dataset = as_bytes(samples, "samples"), reference if isinstance(reference, str) else None
    size, classifier = samples.shape[-1], classifier or dataset
    images = load_dataset(dataset, "test", size).images if dataset else as_bytes(reference, "reference")
    measures = _find_measures(metrics, extractor)
    _check_images(samples, images, measures.values(), classifier)
    scores, own = {}, {extractor.name: extractor} if extractor else {}
    names = {measure.extractor for measure in measures.values()}
    for name, found in (_extractors(names - own.keys(), classifier, size) | own).items():
        group = {metric: measure for metric, measure in measures.items() if measure.extractor == name}
        scores |= _scores_in(found, group, samples, _Real(dataset, images, train), seed)
    return {metric: scores[metric] for metric in measures}


# %%
#| export
def _find_measures(metrics: Sequence[str] | None, extractor: Extractor | None) -> dict[str, Measure]:
    "The measures of these names. ValueError for one that is unknown."
    if extractor is None:
        metrics = ["fd_lenet"] if metrics is None else metrics  # an empty list is none
        return {metric: look_up("metrics", metric, MEASURES) for metric in metrics}
    import_plugins()  # all of LeNet's measures
    known = MEASURES | measures_in(extractor.name)
    return {metric: look_up("metrics", metric, known) for metric in metrics or [f"fd_{extractor.name}"]}


# %% [markdown]
# Measures in the same features share what is seen:

# %%
#| export
def _scores_in(
    extractor: Extractor | RuntimeError,
    measures: dict[str, Measure],
    samples: torch.Tensor,
    real: _Real,
    seed: int,
) -> dict[str, dict]:
    "The scores of measures that look through the same extractor."
    n, has_train = min(len(samples), len(real.images)), bool(real.dataset) or real.train is not None
    why = {metric: _obstacle(measure, extractor, n, has_train) for metric, measure in measures.items()}
    scores = {metric: {"value": None, "why": reason} for metric, reason in why.items() if reason}
    measures = {metric: measure for metric, measure in measures.items() if not why[metric]}
    if not measures:
        return scores
    views = _views(extractor, measures.values(), samples, real)
    size, floors = samples.shape[-1], {}
    with_floor = tuple((metric, measure) for metric, measure in measures.items() if not measure.copies)
    if real.dataset and with_floor:
        floors = _floors(with_floor, extractor, real.dataset, size, len(samples), seed)
    about = {"n": len(samples), "n_reference": len(real.images)}
    about["reference"] = f"{real.dataset}, {size}x{size}" if real.dataset else "images"
    about |= {"extractor": extractor.name, "hash": extractor.hash}
    for metric, measure in measures.items():
        scores[metric] = _score(measure, views) | about | floors.get(metric, NO_FLOOR)
    return scores


# %%
#| export
def _views(extractor: Extractor, measures: Iterable[Measure], samples: torch.Tensor, real: _Real) -> Views:
    "Features of the samples, and of those real images that the measures look at."
    reference = train = None
    if any(measure.reference for measure in measures):
        reference = cached_features(extractor, real.images)
    if any(measure.copies for measure in measures):
        train = cached_features(extractor, real.training_images())
    return Views(extractor(samples), reference, train, extractor.head)


# %% [markdown]
# What comes out has to be a number, or nothing with a reason:

# %%
#| export
def _score(measure: Measure, views: Views) -> dict:
    "Value, sd and more; what is no number is None, and the value then has a reason."
    score = {"sd": None} | measure.function(views)
    value, sd = score["value"], score["sd"]() if callable(score["sd"]) else score["sd"]
    is_number = lambda x: x is not None and math.isfinite(x)
    why = {} if value is None or is_number(value) else {"why": f"it is {value} for these images"}
    return score | {"value": value if is_number(value) else None, "sd": sd if is_number(sd) else None} | why


# %% [markdown]
# Scores of several models in one table, if they were measured alike. A number is shown with as many digits as its spread allows.

# %%
#| export
def _show(value: float | None, sd: float | None) -> str:
    "A number with its spread, rounded to two digits of the spread."
    if value is None:
        return "—"
    if not sd:
        return f"{value:.4g}"
    digits = max(0, 1 - math.floor(math.log10(sd)))
    return f"{value:.{digits}f} ± {sd:.{digits}f}"


# %%
#| export
def score_table(
    results: Mapping[str, dict[str, dict]],  # what `evaluate` gave, by the name of what was scored
) -> pd.DataFrame:  # text: a row a name, a column a metric
    "Scores side by side, and those of real images. ValueError if they were measured differently."
    rows, real, first = {}, {}, {}
    for name, scores in results.items():
        for metric, score in scores.items():
            row = rows.setdefault(name, {"N": f"{score['n']:,}" if "n" in score else "—"})
            row[metric] = _show(score["value"], score.get("sd"))
            if score["value"] is None:
                continue
            _check_alike(metric, first.setdefault(metric, (name, score)), (name, score))
            if score["floor"] is not None:
                n = f"{score['n_floor']:,}"
                row = real.setdefault(f"real images, {n}", {"N": n})
                row[metric] = _show(score["floor"], score["floor_sd"])
    return pd.DataFrame.from_dict(rows | real, orient="index").fillna("—")


# %%
#| export
def _check_alike(metric: str, one: tuple[str, dict], other: tuple[str, dict]) -> None:
    "ValueError if two scores, each with the name of what was scored, cannot be compared."
    for key in ("hash", "reference", "n_reference"):
        if one[1][key] != other[1][key]:
            names, values = f"{one[0]} and {other[0]}", f"{one[1][key]} and {other[1][key]}"
            raise ValueError(f"score_table: {metric} of {names} cannot be compared: {key} is {values}.")


# %% [markdown]
# This `evaluate` gives the scores of the table above. With an extractor of one's own, the metrics are named after it:

# %%
assert evaluate(faults["shifted"], dataset, table_metrics) == scores["shifted"], (
    "this notebook is the library"
)
torch.manual_seed(0)
network = nn.Sequential(nn.Flatten(), nn.Linear(test.images[0].numel(), 20))
mine = Extractor("untrained", weights_hash(network), network)
own = evaluate(faults["noisy"], dataset, ["fd_untrained", "precision_untrained"], extractor=mine)
score_table({"noisy": own})

# %% [markdown]
# What cannot be measured is refused in one sentence, and one metric that cannot be had spoils none of the others:

# %%
few = evaluate(real[:3], dataset, ["fd_lenet", "precision", "fd_lenet_infinity", "fd_lenet_by_class"])
for metric, score in few.items():
    print(f"{metric}:", score.get("why") or round(score["value"]))

# %%
#| hide
for arguments, sentence in [
    ((real[:1], dataset), "a distribution needs two images at least; there are 1 and 500"),
    ((real[:, :, 1:], test.images[:, :, 1:], ["fd_lenet"], dataset), "square images, and these have 16x15"),
    ((real, dataset, ["fidd"]), r"metrics: 'fidd' is unknown; did you mean fid\?"),
    ((real, test.images[:, :, 2:, 2:]), "the samples have 16x16 pixels and the reference 14x14 pixels"),
    ((real.expand(-1, 3, -1, -1), dataset), "from grey images and cannot look at images in 3 channels"),
    ((real / 255, dataset), r"floats from -1 \(black\) to 1; these are torch.float32 from 0 to 1"),
    ((real, test.images), "whose LeNet"),
]:
    with pytest.raises(ValueError, match=sentence):
        evaluate(*arguments)

# %%
#| hide
mixed = {"a": scores["noisy"], "b": {"fd_lenet": scores["noisy"]["fd_lenet"] | {"hash": "another"}}}
with pytest.raises(ValueError, match="fd_lenet of a and b cannot be compared: hash is .* and another"):
    score_table(mixed)
unknown = evaluate(real, test.images, ["memorisation"], classifier=dataset)["memorisation"]
assert "training images are not known" in unknown["why"]
assert few["fd_lenet"]["value"] > 0 and few["fd_lenet"]["sd"] is None
assert few["precision"]["why"] == "it needs 4 images at least, and there are only 3"
assert few["fd_lenet_infinity"]["why"].startswith("an extrapolation needs more than 420 images")
assert "has fewer than two" in few["fd_lenet_by_class"]["why"]
only_ones = evaluate(real[:50], test.images[test.labels == 1], ["class_kl"], classifier=dataset)["class_kl"]
assert only_ones["why"] == "it is inf for these images" and json.dumps(only_ones, allow_nan=False)
no_classes = evaluate(real, dataset, ["untrained_score"], extractor=mine)["untrained_score"]
assert no_classes["why"] == "untrained has no classifier"
assert evaluate(to_model(real), dataset)["fd_lenet"] == evaluate(real, dataset)["fd_lenet"]
assert floor("fd_lenet", dataset, real.shape[-1], 10**6)["floor_sd"] is None
assert floor("memorisation", dataset, real.shape[-1], 50)["floor"] is None

# %% [markdown]
# ## Numerics
#
# ### Two ways to the trace
#
# The product $\Sigma_1\Sigma_2$ is *not* symmetric, and a general matrix square root of it is slow and, for singular covariances, unstable. But apart from zeros it has the same eigenvalues as a symmetric matrix. With any factor $\Sigma_1=LL^\top$,
#
# $$ \operatorname{eig}(\Sigma_1\Sigma_2)=\operatorname{eig}(LL^\top\Sigma_2)=\operatorname{eig}(L^\top\Sigma_2L), $$
#
# so a Cholesky factor and `eigvalsh` do it. Two cases need more care. A singular covariance has no Cholesky factor. And if the covariances are nearly equal, the distance is a tiny difference of large numbers, to which a rounding error of $10^{-16}$ in an eigenvalue near zero contributes $10^{-8}$ after the root. In both cases we take factors $L_1,L_2$ from the eigenvectors. The eigenvalues of $L_1^\top L_2L_2^\top L_1$ are the squared singular values of $L_1^\top L_2$, so the trace is the sum of these singular values (the *nuclear norm*), and no root of a rounding error is ever taken.
#
# With at most as many samples as dimensions the covariance $\Sigma=\frac{1}{N-1}X^\top X$ of centred features $X$ is singular, and its natural factor is $X^\top/\sqrt{N-1}$, with only $N$ columns. The trace is then the nuclear norm of the small matrix $X_1X_2^\top/\sqrt{(N_1-1)(N_2-1)}$ (the *Gram form*), exactly. If one of the sets is larger than $D$, a QR decomposition shrinks its factor to $D$ columns.
#
# Means and covariances of two groups combine exactly ([Chan, Golub and LeVeque 1983](https://doi.org/10.1080/00031305.1983.10483115)), here always in float64, because a covariance in float32 loses the small eigenvalues on which the square root depends most.
#
# Checks: two singular Gaussians, with standard deviations 2 along one axis and 3 along another and 0 elsewhere, whose squared distance is $2^2+3^2$; and 12 samples in 20 dimensions, both ways:

# %%
flat = np.diag([4.0, 0, 0]), np.diag([0, 9.0, 0])
assert np.isclose(frechet_distance(np.zeros(3), flat[0], np.zeros(3), flat[1]), 4 + 9)
assert frechet_distance(np.zeros(3), flat[0], np.zeros(3), flat[0]) < 1e-12
x = torch.from_numpy(rng.normal(size=(3000, 20)) @ rng.normal(size=(20, 20)))
few, many = x[:12], x[500:2000]
from_covariances = frechet_distance(few.mean(0), few.T.cov(), many.mean(0), many.T.cov())
assert np.isclose(frechet_distance_of_features(few, many), from_covariances, rtol=1e-9)
assert frechet_distance_of_features(few, few) < 1e-9

# %%
#| hide
stats = FeatureStats()
for batch in x.split(700):
    stats.update(batch)
np.testing.assert_allclose(stats.mean, x.mean(0), rtol=1e-12)
np.testing.assert_allclose(stats.cov, np.cov(x.T), rtol=1e-12)
y = x[:1500] + 0.3
from_covariances = frechet_distance(x.mean(0), x.T.cov(), y.mean(0), y.T.cov())
assert np.isclose(frechet_distance_of_features(x, y), from_covariances, rtol=1e-10)
assert np.isclose(frechet_distance(*moments), frechet_distance(*moments[2:], *moments[:2]), rtol=1e-10)
with pytest.raises(ValueError, match="8 and 3 dimensions"):
    frechet_distance(np.zeros(8), sigma, np.zeros(3), flat[0])
with pytest.raises(ValueError, match="20 and 3 dimensions"):
    frechet_distance_of_features(few, few[:, :3])
with pytest.raises(ValueError, match="two samples at least; there are 12 and 1"):
    frechet_distance_of_features(few, few[:1])
with pytest.raises(ValueError, match="NaN"):
    stats.update(torch.full((2, 20), torch.nan))
with pytest.raises(ValueError, match="needs two samples"):
    FeatureStats(x[:1]).cov


# %% [markdown]
# ### How a FID can explode
#
# Inception gives 2,048 features. Where the FIDs at the head of this notebook come from, 128 images were generated. If the FIDs were computed from these, their covariance had a rank of 127 at most: at least 1,921 of the 2,048 eigenvalues of $\Sigma_1\Sigma_2$ are zero, or would be without rounding. The usual code takes a general matrix square root of that product. It writes $\Sigma_1\Sigma_2=QTQ^*$ with $T$ triangular and $Q$ unitary, finds the root $R$ of $T$ entry by entry, and returns $QRQ^*$ ([Björck and Hammarling 1983](https://doi.org/10.1016/0024-3795(83)80010-X)):
#
# $$ R_{ii}=\sqrt{T_{ii}},\qquad R_{ij}=\frac{T_{ij}-\sum_{i<k<j}R_{ik}R_{kj}}{R_{ii}+R_{jj}}. $$
#
# The part of $T$ that belongs to the zero eigenvalues is nothing but rounding noise, of size $10^{-17}$ say, and each entry of $R$ there divides by noise and feeds the next ones. A random triangular matrix is exponentially ill-conditioned in its size ([Viswanath and Trefethen 1998](https://doi.org/10.1137/S0895479896312869)), and its root grows in the same way, as we now see. Here is the recurrence, without any guard, on triangular noise alone:

# %%
def sqrtm_triangular(t):
    "Square root of an upper triangular matrix; divides by whatever it finds."
    root = np.diag(np.sqrt(np.diag(t).astype(complex)))
    for j in range(len(t)):
        for i in reversed(range(j)):
            root[i, j] = (t[i, j] - root[i, i + 1 : j] @ root[i + 1 : j, j]) / (root[i, i] + root[j, j])
    return root


noise_sizes = [25, 50, 100, 200, 400]
largest = [abs(sqrtm_triangular(1e-17 * np.triu(rng.normal(size=(n, n))))).max() for n in noise_sizes]
for n, entry in zip(noise_sizes, largest, strict=True):
    print(f"null space of {n:3} dimensions: largest entry of the root {entry:.1e}")
assert largest[-1] > 1e60 and np.all(np.diff(np.log(largest)) > 0)
good = np.triu(rng.normal(size=(20, 20))) + 10 * np.eye(20)
assert np.allclose(sqrtm_triangular(good) @ sqrtm_triangular(good), good)  # nothing is wrong with it as such

# %% [markdown]
# So the root can have entries as large as those FIDs. We cannot repeat their computation, so this is the likely cause and not a proof. The trace of $R$ should not care, since it is the sum of the $R_{ii}$; but $Q$ is unitary only to $10^{-16}$, and so $QRQ^*$ leaves a share of those entries in its trace, of either sign.
#
# How much noise there is in the null space depends on the versions of scipy and LAPACK. What does the general root do today, on pixels of the digits as features (256 dimensions)?

# %%
pixels = [load_dataset("digits", split).images.flatten(1).double() / 255 for split in ("train", "test")]


def general_root(x, y):
    "The Frechet distance of arrays by scipy's general square root."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that the matrix is singular
        root = linalg.sqrtm(np.cov(x.T) @ np.cov(y.T)).real
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root)


rows = {}
for n in (8, 32, 128, 500):
    x, y = (p[:n].numpy() for p in pixels)
    general, exact = general_root(x, y), frechet_distance_of_features(x, y)
    error = f"{abs(general / exact - 1):.1e}"
    rows[n] = {"scipy.linalg.sqrtm": general, "exact": exact, "relative error": error}
pd.DataFrame(rows).T.rename_axis("images")

# %% [markdown]
# Here it is right to the digits that anyone would print, but nothing guarantees that. The exact form needs no such luck. (The exact values fall as the number of images grows. That is the bias again, and no numerical error.)
#
# pytorch-fid takes the general root, too. Only where that root holds NaN or infinity does it print a message, add 1e-6 to the diagonals and try again. On random features, with fewer samples than dimensions:

# %%
wide = rng.normal(size=(2, 64, 512))
moments = [moment for x in wide for moment in (x.mean(0), np.cov(x.T))]
with warnings.catch_warnings(record=True):
    warnings.simplefilter("always")
    peer = calculate_frechet_distance(*moments)
exact = frechet_distance_of_features(*wide)
print(f"64 samples in 512 dimensions: pytorch-fid {peer:.4f}, exact {exact:.4f}")
assert np.isclose(frechet_distance(*moments), exact, rtol=1e-9), "our two ways agree"

# %% [markdown]
# ## What to remember
#
# - A Frechet distance means nothing without its extractor, its $N$ and its reference set.
# - Look at the floor first, and at the spread over seeds before you call one model better.
# - An error bar needs the name of what varies: other samples, other test images, or other seeds.
# - One number cannot tell whether images are poor, all alike, or copied. Look at the other measures, too, and at the pictures.
# - With fewer samples than features use the Gram form: a general matrix square root may be right, or return noise of any size and sign.
#
# ## Exercises
#
# 1. Compare the training images with the test set after rotating all of them by 5, 10 and 20 degrees. Which is worse for `fd_lenet`, rotation or blur?
# 2. Show that the distance of two Gaussians with the same mean and commuting covariances is the sum of squared differences of standard deviations along the common axes.

# %% [markdown]
# ## Solutions
#
# <details><summary>1. Rotated, or blurred?</summary>
#
#     from torchvision.transforms.functional import InterpolationMode, rotate
#     x = to_model(train.images)
#     changed = {"as they are": x, "blurred, 3x3": blur(x), "blurred twice": blur(blur(x))}
#     for angle in (2, 5, 10, 20):
#         changed[f"rotated by {angle} degrees"] = rotate(x, angle, InterpolationMode.BILINEAR, fill=-1.0)
#     score_table({name: evaluate(to_image(images), dataset) for name, images in changed.items()})
#
# On `digits`, all 1,297 training images and the LeNet that comes with the package:
#
# | images | `fd_lenet` |
# |:--|--:|
# | as they are | 9.4 |
# | rotated by 2, 5, 10 and 20 degrees | 11, 33, 80 and 191 |
# | one and two passes of a 3x3 mean | 409 and 904 |
#
# So one light blur is worse than any of these rotations. The spread over halves is 4 to 10, so from 5 degrees on the order is not in doubt. A digit tilted by 10 degrees is one that somebody might have written; none of the training images is so blurred. "Rotation is less bad than blur" cannot be said in general, only of so many degrees and so many pixels.
#
# </details>
#
# <details><summary>2. Covariances that commute</summary>
#
# Symmetric matrices that commute have a common orthonormal basis of eigenvectors $U$, the common axes: $\Sigma_1=U\operatorname{diag}(a_i^2)\,U^\top$ and $\Sigma_2=U\operatorname{diag}(b_i^2)\,U^\top$, where $a_i,b_i\ge0$ are the standard deviations along them. Since $U^\top U=I$,
#
# $$\Sigma_1\Sigma_2=U\operatorname{diag}(a_i^2b_i^2)\,U^\top,\qquad(\Sigma_1\Sigma_2)^{1/2}=U\operatorname{diag}(a_ib_i)\,U^\top.$$
#
# A trace does not depend on the basis, and the means are equal, so
#
# $$d^2=\operatorname{tr}\!\big(\Sigma_1+\Sigma_2-2(\Sigma_1\Sigma_2)^{1/2}\big)=\sum_i\big(a_i^2+b_i^2-2a_ib_i\big)=\sum_i(a_i-b_i)^2 .$$
#
#     U = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0]
#     (a, b), centre = torch.rand(2, 5, dtype=torch.float64), torch.zeros(5)
#     print(frechet_distance(centre, (U * a**2) @ U.T, centre, (U * b**2) @ U.T))
#     print((a - b).square().sum().item())
#
# The same standard deviations, paired otherwise, give another distance: it matters which belongs to which axis.
#
# </details>
