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
# > How far is a pile of generated images from a pile of real ones? The Frechet distance, its bias, its floor and its error bars, and the measures that see what it does not
#
# A generative model is good if its images could have come from the data. That is a statement about two *distributions*. Of each we hold a set of images; one generated image is called a *sample*. The Frechet Inception Distance (FID, [Heusel et al. 2017](https://arxiv.org/abs/1706.08500)) compares them in three steps: map each image to a *feature vector* (what a late layer of a classifier, Inception, says about it), describe each pile by the mean and covariance of its features, and measure the distance between the two Gaussians that have these moments.
#
# Report 000, one of the student reports that [this course](index.ipynb) grew out of, computed FIDs of 1.186e80, 1.297e109 and -3.752e92, found that "it is impossible to carry out an analysis", and went on with the FID of one image against one image. A squared distance cannot be negative, let alone that large. At the end of this notebook you know what most likely happened, how sure one can be of a distance, and what other measures see that it does not.

# %%
#| default_exp fid

# %% tags=["parameters"]
dataset = "digits"  # for the floor and the classifier below
train_classifiers = False  # True: train the LeNets for digits and mnist again and replace those in genlab/weights

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import argparse
import contextlib
import copy
import functools
import hashlib
import json
import math
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytorch_fid.inception
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.hub import load_state_dict_from_url

import genlab.plug
from genlab.data import (
    BROKEN,
    CONVERTERS,
    ENDINGS,
    LOADERS,
    ImageSet,
    cache_dir,
    cache_lock,
    check_dataset,
    derive_seed,
    epoch_batches,
    find_modes,
    image_files,
    load_dataset,
    progress,
    show_grid,
    to_image,
    to_model,
    to_square,
)
from genlab.runs import atomic, make_accelerator, seed_everything

# %%
#| hide
import io
import tempfile
from typing import get_args

import pytest
from pytorch_fid.fid_score import calculate_frechet_distance
from scipy import linalg

from genlab.runs import Metric


# %% [markdown]
# ## The distance between two Gaussians
#
# Think of moving a heap of sand with the shape of one Gaussian so that it gets the shape of another. The smallest possible mean of the squared distances that the grains travel is the squared 2-Wasserstein or Frechet distance, and for Gaussians it has a closed form ([Dowson and Landau 1982](https://doi.org/10.1016/0047-259X(82)90077-X)):
#
# $$ d^2 = \lVert\mu_1-\mu_2\rVert^2 + \operatorname{tr}\!\big(\Sigma_1+\Sigma_2-2(\Sigma_1\Sigma_2)^{1/2}\big). $$
#
# As is usual, $d^2$ itself is what gets reported and called the distance. The rest of this section and the next are about computing it; on a first reading go on at [Features](#Features).
#
# Everything but the trace of $(\Sigma_1\Sigma_2)^{1/2}$ is arithmetic. That trace is the sum of the square roots of the eigenvalues of $\Sigma_1\Sigma_2$. This product is *not* symmetric, and a general matrix square root of it is slow and, for singular covariances, unstable. But apart from zeros it has the same eigenvalues as a symmetric matrix. With any factor $\Sigma_1=LL^\top$,
#
# $$ \operatorname{eig}(\Sigma_1\Sigma_2)=\operatorname{eig}(LL^\top\Sigma_2)=\operatorname{eig}(L^\top\Sigma_2L), $$
#
# so a Cholesky factor and `eigvalsh` do it. Two cases need more care. A singular covariance has no Cholesky factor. And if the covariances are nearly equal, the distance is a tiny difference of large numbers, to which a rounding error of $10^{-16}$ in an eigenvalue contributes $10^{-8}$ after the root. In both cases we take factors $L_1,L_2$ from the eigenvectors. The eigenvalues of $L_1^\top L_2L_2^\top L_1$ are the squared singular values of $L_1^\top L_2$, so the trace is the sum of these singular values (the *nuclear norm*), and no root of a rounding error is ever taken.

# %%
#| export
def _trace_root(factor1: torch.Tensor, factor2: torch.Tensor) -> torch.Tensor:
    "tr((S1 S2)^1/2) for S = factor @ factor.T: the nuclear norm of factor1.T @ factor2."
    return torch.linalg.svdvals(factor1.T @ factor2).sum()


def _eigen_factor(sigma: torch.Tensor) -> torch.Tensor:
    "A factor of a positive semi-definite matrix that may be singular; rounding errors below zero are dropped."
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
    "Frechet distance of two Gaussians (Dowson and Landau 1982), in float64. Singular covariances are welcome."
    mu1, sigma1, mu2, sigma2 = (torch.as_tensor(a, dtype=torch.float64) for a in (mu1, sigma1, mu2, sigma2))
    if not (mu1.shape == mu2.shape and sigma1.shape == sigma2.shape == 2 * mu1.shape):
        raise ValueError(f"frechet_distance: features of {len(mu1)} and {len(mu2)} dimensions cannot be compared.")
    if not all(a.isfinite().all() for a in (mu1, sigma1, mu2, sigma2)):
        raise ValueError("frechet_distance: a mean or covariance holds NaN or infinity (are there two samples at least?).")
    traces, trace_root = sigma1.trace() + sigma2.trace(), None
    (cholesky, failed1), (_, failed2) = torch.linalg.cholesky_ex(sigma1), torch.linalg.cholesky_ex(sigma2)
    if not failed1 and not failed2:
        trace_root = torch.linalg.eigvalsh(cholesky.T @ sigma2 @ cholesky).clamp(min=0).sqrt().sum()
    if trace_root is None or traces - 2 * trace_root < 1e-6 * traces:  # singular, or so close that rounding would show
        trace_root = _trace_root(_eigen_factor(sigma1), _eigen_factor(sigma2))
    return max(0.0, ((mu1 - mu2).square().sum() + traces - 2 * trace_root).item())


# %% [markdown]
# Analytic cases first. Equal covariances leave the squared distance of the means. Diagonal covariances give the sum of squared differences of standard deviations. And scipy's general square root has to agree where it works:

# %%
rng = np.random.default_rng(0)
a = rng.normal(size=(40, 8))
sigma = a.T @ a / 40
assert np.isclose(frechet_distance(np.zeros(8), sigma, np.full(8, 0.5), sigma), 8 * 0.25, rtol=1e-12)
s1, s2 = rng.uniform(0.1, 2, (2, 8))
assert np.isclose(frechet_distance(a[0], np.diag(s1**2), a[0], np.diag(s2**2)), ((s1 - s2) ** 2).sum(), rtol=1e-12)
b = rng.normal(size=(40, 8)) @ rng.normal(size=(8, 8))
ours = frechet_distance(a.mean(0), np.cov(a.T), b.mean(0), np.cov(b.T))
direct = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real)
assert np.isclose(ours, direct, rtol=1e-10)
assert np.isclose(ours, frechet_distance(b.mean(0), np.cov(b.T), a.mean(0), np.cov(a.T)), rtol=1e-10), "symmetric"
flat = np.diag([4.0, 0, 0]), np.diag([0, 9.0, 0])  # singular: moving a stick of length 2 onto one of length 3 at right angles
assert np.isclose(frechet_distance(np.zeros(3), flat[0], np.zeros(3), flat[1]), 4 + 9)
assert frechet_distance(np.zeros(3), flat[0], np.zeros(3), flat[0]) < 1e-12
with pytest.raises(ValueError, match="8 and 3 dimensions"):
    frechet_distance(np.zeros(8), sigma, np.zeros(3), flat[0])


# %% [markdown]
# ## Means and covariances, batch by batch
#
# Features of 50,000 images need not be in memory at once. Mean and scatter of two groups combine exactly ([Chan, Golub and LeVeque 1983](https://doi.org/10.1080/00031305.1983.10483115)), always in float64, because a covariance in float32 loses the small eigenvalues on which the square root depends most.

# %%
#| export
class FeatureStats:
    "Number, mean and covariance of feature vectors that come in batches."

    def __init__(self, features: torch.Tensor | None = None):
        self.n, self.mean, self.scatter = 0, 0.0, 0.0
        if features is not None:
            self.update(features)

    def update(self, features: torch.Tensor) -> None:
        "Take in a batch (N, D). ValueError if it holds NaN or infinity."
        x = torch.as_tensor(features, dtype=torch.float64).cpu()
        if not len(x):
            return
        if not x.isfinite().all():
            raise ValueError("FeatureStats: the features hold NaN or infinity; look at the images they came from.")
        n, mean = len(x), x.mean(0)
        delta, total = mean - self.mean, self.n + n
        self.scatter = self.scatter + (x - mean).T @ (x - mean) + torch.outer(delta, delta) * (self.n * n / total)
        self.mean, self.n = self.mean + delta * (n / total), total

    @property
    def cov(self) -> torch.Tensor:
        "The unbiased covariance (D, D). ValueError below two samples."
        if self.n < 2:
            raise ValueError(f"A covariance needs two samples at least and has {self.n}.")
        return self.scatter / (self.n - 1)


# %% [markdown]
# With at most as many samples as dimensions the covariance $\Sigma=\frac{1}{N-1}X^\top X$ is singular, and its natural factor is the centred data itself: $X^\top/\sqrt{N-1}$, with only $N$ columns. The trace is then the nuclear norm of the small matrix $X_1X_2^\top/\sqrt{(N_1-1)(N_2-1)}$ (the *Gram form*), exactly. If one of the sets is larger than $D$, a QR decomposition shrinks its factor to $D$ columns.

# %%
#| export
def _data_factor(x: torch.Tensor, stats: FeatureStats) -> torch.Tensor:
    "Factor (D, min(N, D)) of the covariance of the rows of x."
    centred = (x - stats.mean) / (stats.n - 1) ** 0.5
    return centred.T if len(x) <= x.shape[1] else torch.linalg.qr(centred, mode="r").R.T


# %% [markdown]
# From features to the distance, by whichever of the two ways is possible:

# %%
#| export
def frechet_distance_of_features(
    x: torch.Tensor,  # features of one set, (N, D)
    y: torch.Tensor,  # of the other, (M, D)
) -> float:
    "Frechet distance of two sets of features; exact, and fastest, also with fewer samples than dimensions."
    x, y = (torch.as_tensor(a, dtype=torch.float64).cpu() for a in (x, y))
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"frechet_distance_of_features: features of {x.shape[1]} and {y.shape[1]} dimensions cannot be compared.")
    if min(len(x), len(y)) < 2:
        raise ValueError(f"frechet_distance_of_features: a covariance needs two samples at least; there are {len(x)} and {len(y)}.")
    s1, s2 = FeatureStats(x), FeatureStats(y)
    if min(s1.n, s2.n) > x.shape[1]:
        return frechet_distance(s1.mean, s1.cov, s2.mean, s2.cov)
    factors = [_data_factor(a, s) for a, s in ((x, s1), (y, s2))]
    traces = sum(factor.square().sum() for factor in factors)
    return max(0.0, ((s1.mean - s2.mean).square().sum() + traces - 2 * _trace_root(*factors)).item())


# %%
x = torch.from_numpy(rng.normal(size=(3000, 20)) @ rng.normal(size=(20, 20)))
stats = FeatureStats()
for batch in x.split(700):
    stats.update(batch)
np.testing.assert_allclose(stats.mean, x.mean(0), rtol=1e-12)
np.testing.assert_allclose(stats.cov, np.cov(x.T), rtol=1e-12)
y = x[:1500] + 0.3
two_ways = frechet_distance_of_features(x, y), frechet_distance(*(f(s) for s in (x, y) for f in (lambda s: s.mean(0), lambda s: s.T.cov())))
assert np.isclose(*two_ways, rtol=1e-10)
few, many = x[:12], x[500:2000]  # 12 samples in 20 dimensions
gram = frechet_distance_of_features(few, many)
assert np.isclose(gram, frechet_distance(few.mean(0), few.T.cov(), many.mean(0), many.T.cov()), rtol=1e-9)
assert frechet_distance_of_features(few, few) < 1e-9
with pytest.raises(ValueError, match="20 and 3 dimensions"):
    frechet_distance_of_features(few, few[:, :3])
with pytest.raises(ValueError, match="two samples at least; there are 12 and 1"):
    frechet_distance_of_features(few, few[:1])
with pytest.raises(ValueError, match="NaN"):
    stats.update(torch.full((2, 20), torch.nan))
with pytest.raises(ValueError, match="needs two samples"):
    FeatureStats(x[:1]).cov


# %% [markdown]
# ### Why the reports' FIDs exploded
#
# Inception gives 2,048 features. Report 000 generated 128 images. If these are what its FID was computed from, their covariance had a rank of 127 at most: at least 1,921 of the 2,048 eigenvalues of $\Sigma_1\Sigma_2$ are zero, or would be without rounding. The usual code takes a general matrix square root of that product. It writes $\Sigma_1\Sigma_2=QTQ^*$ with $T$ triangular and $Q$ unitary, finds the root $R$ of $T$ entry by entry, and returns $QRQ^*$ ([Björck and Hammarling 1983](https://doi.org/10.1016/0024-3795(83)80010-X)):
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
assert np.allclose(sqrtm_triangular(good) @ sqrtm_triangular(good), good), "nothing is wrong with the recurrence as such"

# %% [markdown]
# Entries of such sizes are where numbers like 1.186e80, 1.297e109 and -3.752e92 can come from. We cannot repeat the report's computation, so this is the likely cause and not a proof. The trace of $R$ should not care, since it is the sum of the $R_{ii}$; but $Q$ is unitary only to $10^{-16}$, and so $QRQ^*$ leaves a share of those entries in the result, of either sign.
#
# How much noise there is in the null space depends on the versions of scipy and LAPACK. What does the general root do today, on pixels of the digits as features (256 dimensions)?

# %%
pixels = [load_dataset("digits", split).images.flatten(1).double() / 255 for split in ("train", "test")]
print(f"{'images':>6} {'scipy.linalg.sqrtm':>20} {'exact':>14} {'relative error':>16}")
for n in (8, 32, 128, 500):
    x, y = (p[:n].numpy() for p in pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that the matrix is singular
        root = linalg.sqrtm(np.cov(x.T) @ np.cov(y.T)).real
    general = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root)
    exact = frechet_distance_of_features(x, y)
    print(f"{n:>6} {general:>20.10f} {exact:>14.10f} {abs(general / exact - 1):>16.1e}")

# %% [markdown]
# Here it is right to the digits that anyone would print: a matter of luck and of versions, not of mathematics. The exact form needs no luck.
#
# The exact values fall as the number of images grows, although nothing about the two distributions changes. That is no numerical error but *bias*: with few samples the estimated means and covariances of the two sets differ by chance. It never quite goes away, which is why a Frechet distance without its number of samples is not a number, and why we always show a floor next to it (below).
#
# pytorch-fid takes the general root, too. Only where that root holds NaN or infinity does it print a message, add 1e-6 to the diagonals and try again. On random features, with fewer samples than dimensions:

# %%
n, wide = 64, rng.normal(size=(2, 64, 512))
moments = [f(s) for s in wide for f in (lambda s: s.mean(0), lambda s: np.cov(s.T))]
with warnings.catch_warnings(record=True):
    warnings.simplefilter("always")
    theirs = calculate_frechet_distance(*moments)
print(f"64 samples in 512 dimensions: pytorch-fid {theirs:.4f}, exact {frechet_distance_of_features(*wide):.4f}")
assert np.isclose(frechet_distance(*moments), frechet_distance_of_features(*wide), rtol=1e-9), "our two ways agree"


# %% [markdown]
# ## Features
#
# Which features? An *extractor* maps uint8 images to vectors and has a name and a hash, because a distance in the features of one network says nothing about a distance in those of another.

# %%
#| export
class Extractor(NamedTuple):
    "A map from images to features, and its identity."

    name: str  # for people: "LeNet-5 (mnist, 28x28)"
    hash: str  # of the weights, 12 hex digits
    network: nn.Module  # float32 in [-1, 1] (B, C, H, W) -> features (B, D)
    head: nn.Module  # features -> logits of its classifier (B, K)
    batch_size: int

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        "Features, float64 (N, D) on the CPU, of uint8 images (N, C, H, W)."
        device = make_accelerator().device
        net, features = self.network.to(device).eval(), []
        for batch in progress(images.split(self.batch_size), self.name, "batch"):
            features.append(net(to_model(batch.to(device))).cpu().double())
        features = torch.cat(features)
        if not features.isfinite().all():
            raise ValueError(f"The features of {self.name} hold NaN or infinity; look at the images they came from.")
        return features


# %% [markdown]
# Two hashes: which images, and which network?

# %%
#| export
def pixel_hash(images: torch.Tensor, also: str = "") -> str:
    "16 hex digits of the SHA-256 of uint8 images and a text; a memory map is read piece by piece."
    digest = hashlib.sha256(f"{tuple(images.shape)}{also}".encode())
    for batch in images.split(10_000):
        digest.update(batch.contiguous().numpy())
    return digest.hexdigest()[:16]


def weights_hash(network: nn.Module) -> str:
    "12 hex digits of the SHA-256 of all parameters and buffers, in the order of their names."
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


# %% [markdown]
# ### LeNet: features for digits
#
# Inception was trained on photographs of 1,000 kinds of things, 299 pixels wide. A digit of 28x28 pixels (MNIST's; those of `digits` have 16x16), blown up and copied into three equal channels, is nothing it has ever seen, and its weights are a download of 90 MB. For digits we use a network that knows digits: after LeNet-5 ([LeCun et al. 1998](https://doi.org/10.1109/5.726791)), with ReLU and max-pooling. Its features are the 84 numbers before the last activation; the distance in them is called **`fd_lenet`** and never FID. The weights for `digits` and `mnist` ship with the package, so that everyone gets the same number.

# %%
#| export
class LeNet(nn.Module):
    "After LeNet-5 (LeCun et al. 1998): ReLU, max-pooling, padded convolutions; for square images whose side is divisible by 4."

    def __init__(self, channels: int, size: int, classes: int):
        super().__init__()
        if size % 4:
            raise ValueError(f"size: LeNet halves images twice, and {size} pixels cannot be; choose a multiple of 4.")
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5, padding=2)
        self.fc1 = nn.Linear(16 * (size // 4) ** 2, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:  # (B, C, H, W) -> (B, 84)
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, C, H, W) -> class scores (B, classes)
        return self.fc3(F.relu(self.features(x)))


# %% [markdown]
# Training is the plainest loop there is: cross-entropy, AdamW, batches of 64. A random shift by at most a pixel, one for each batch, makes it harder to learn 1,297 digits by heart (it gets all of them right all the same, and 99.2 % of the test digits). The learning rate falls to zero along a cosine.

# %%
#| export
NO_LABELS = "fd_lenet needs a classifier, and a data set without labels cannot train one; sort the images into class folders."


@torch.enable_grad()  # also where the caller asks for a distance and for no gradients
def train_lenet(
    data: ImageSet,  # with labels
    updates: int = 4000,
    seed: int = 0,
) -> LeNet:
    "A LeNet-5 trained to tell the classes of `data` apart. ValueError without labels."
    if data.labels is None:
        raise ValueError(NO_LABELS)
    device = make_accelerator().device
    seed_everything(seed, 2)
    net = LeNet(data.images.shape[1], data.images.shape[-1], len(data.classes)).to(device)
    opt = torch.optim.AdamW(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, updates)
    per_epoch = -(-len(data.images) // 64)
    batches = (batch for epoch in range(-(-updates // per_epoch)) for batch in epoch_batches(data, 64, seed, epoch, device))
    for _, (x, y) in zip(progress(range(updates), "training LeNet", "update"), batches, strict=False):
        dy, dx = torch.randint(-1, 2, (2,)).tolist()
        loss = F.cross_entropy(net(x.roll((dy, dx), (2, 3))), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        schedule.step()
    return net.eval()


# %% [markdown]
# How good is it?

# %%
#| export
@torch.no_grad()
def accuracy(net: LeNet, data: ImageSet) -> float:
    "The share of images whose class `net` gets right."
    scores = torch.cat([net(to_model(batch).to(net.fc3.weight.device)).cpu() for batch in data.images.split(500)])
    return (scores.argmax(1) == data.labels).double().mean().item()


# %% [markdown]
# `load_lenet` finds the classifier of a data set: shipped with the package, or in the cache, or trained now and put there.

# %%
#| export
def save_lenet(net: LeNet, path: Path, **about) -> None:
    with atomic(path) as temporary:
        save_file({k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}, temporary, {"about": json.dumps(about)})


# %% [markdown]
# A data set that no classifier is shipped for gets one, once. Several processes may ask at the same time; the lock lets one of them train.

# %%
#| export
def _train_lenet_once(dataset: str, size: int) -> Path:
    "The cached classifier of a data set that none is shipped for; its name holds a hash of the images it was trained on."
    train, test = (load_dataset(dataset, split, size) for split in ("train", "test"))
    if train.labels is None:
        raise ValueError(NO_LABELS)
    digest = pixel_hash(train.images, repr((train.labels.tolist(), train.classes)))
    path = cache_dir("lenet") / f"lenet-{size}-{digest}.safetensors"
    if not path.exists():
        with cache_lock(path):
            if not path.exists():  # nobody was faster
                net = train_lenet(train)
                save_lenet(net, path, dataset=dataset, size=size, accuracy=accuracy(net, test))
    return path


# %% [markdown]
# And the function that is asked:

# %%
#| export
@functools.cache
def load_lenet(dataset: str, size: int | None = None) -> tuple[LeNet, dict]:
    "The classifier for a data set at a size, and what is known about it (data set, size, test accuracy)."
    size = size or load_dataset(dataset).images.shape[-1]
    path = Path(str(files("genlab"))) / "weights" / f"lenet-{dataset}-{size}.safetensors"
    if not path.exists():
        path = _train_lenet_once(dataset, size)
    with safe_open(path, "pt") as file:
        about, state = json.loads(file.metadata()["about"]), {k: file.get_tensor(k) for k in file.keys()}
    channels, classes = state["conv1.weight"].shape[1], len(state["fc3.bias"])
    net = LeNet(channels, size, classes)
    net.load_state_dict(state)
    return net.eval(), about


# %%
#| export
class _Features(nn.Module):
    "LeNet up to its features; grey images are shown to a LeNet of colours in three equal channels."

    def __init__(self, net: LeNet):
        super().__init__()
        self.net = net

    def forward(self, x):
        channels = self.net.conv1.in_channels
        if x.shape[1] not in (1, channels):
            raise ValueError(f"This LeNet has learned from grey images and cannot look at images in {x.shape[1]} channels.")
        return self.net.features(x.expand(-1, channels, -1, -1))


def lenet_extractor(dataset: str, size: int | None = None) -> Extractor:
    "LeNet features for a data set, 84 numbers an image."
    net, about = load_lenet(dataset, size)
    return Extractor(f"LeNet-5 ({dataset}, {about['size']}x{about['size']})", weights_hash(net), _Features(copy.deepcopy(net)), nn.Sequential(nn.ReLU(), copy.deepcopy(net.fc3)), 500)


# %%
if train_classifiers:
    for name in ("digits", "mnist"):
        train, test = load_dataset(name, "train"), load_dataset(name, "test")
        net, size = train_lenet(train), train.images.shape[-1]
        path = Path(str(files("genlab"))) / "weights" / f"lenet-{name}-{size}.safetensors"
        save_lenet(net, path, dataset=name, size=size, accuracy=accuracy(net, test))
        print(name, f"{accuracy(net, test):.2%} right, hash", weights_hash(net))

# %%
lenet, about = load_lenet("digits")
test = load_dataset("digits", "test")
assert abs(accuracy(lenet, test) - about["accuracy"]) < 0.005 and about["accuracy"] > 0.95
assert sum(p.numel() for p in lenet.parameters()) == (25 * 6 + 6) + (6 * 25 * 16 + 16) + (256 * 120 + 120) + (120 * 84 + 84) + (84 * 10 + 10)
print(f"the shipped LeNet gets {about['accuracy']:.1%} of the {len(test.images)} test digits right; hash {weights_hash(lenet)}")
with pytest.raises(ValueError, match="without labels"):
    train_lenet(test._replace(labels=None))
with torch.no_grad():  # a first use inside of a measurement
    assert train_lenet(test, updates=2, seed=0).fc3.bias.isfinite().all()

# %% [markdown]
# What does it get wrong? Above each test digit: what it is, and what LeNet says.

# %%
with torch.no_grad():
    said = lenet(to_model(test.images)).argmax(1)
wrong = (said != test.labels).nonzero().flatten()[:10]
fig, axes = plt.subplots(1, len(wrong), figsize=(0.8 * len(wrong), 1.1), layout="constrained", squeeze=False)
for ax, i in zip(axes[0], wrong.tolist(), strict=True):
    show_grid(test.images[i : i + 1], ncol=1, title=f"{test.labels[i]}, {said[i]}?", ax=ax)


# %% [markdown]
# ### Inception: features for `fid`
#
# What papers call FID is the distance in the features of one particular Inception-v3, with the weights that the original authors used. [pytorch-fid](https://github.com/mseitzer/pytorch-fid) carries the network; we use it as it is, so `fid` has the same value as its command. Where the weights can neither be found in torch's cache nor downloaded, `fid` is a dash with a reason. It is never another number under that name.

# %%
#| export
class _Inception(nn.Module):
    "pytorch-fid's Inception-v3 on images in [-1, 1], gray ones in three equal channels; 2,048 features."

    def __init__(self):
        super().__init__()
        theirs = pytorch_fid.inception
        self.head = nn.Linear(2048, 1008, bias=False)  # as the Inception Score has always been computed

        def load(*args, **kwargs):  # weights_only: a pickle that may hold arrays and nothing that runs
            state = load_state_dict_from_url(*args, **kwargs, weights_only=True)
            self.head.weight = nn.Parameter(state["fc.weight"])
            return state

        usual, theirs.load_state_dict_from_url = theirs.load_state_dict_from_url, load
        try:
            self.net = theirs.InceptionV3([theirs.InceptionV3.BLOCK_INDEX_BY_DIM[2048]])
        finally:
            theirs.load_state_dict_from_url = usual

    def forward(self, x):
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        return self.net((x + 1) / 2)[0].flatten(1)


# %% [markdown]
# Loaded once, or not at all:

# %%
#| export
@functools.cache
def inception_extractor() -> Extractor:
    "The features of FID. RuntimeError, with the place to put them, if the weights cannot be had."
    try:
        with contextlib.redirect_stdout(sys.stderr):  # a download is announced
            net = _Inception()
    except OSError as problem:
        place = Path(torch.hub.get_dir(), "checkpoints", Path(pytorch_fid.inception.FID_WEIGHTS_URL).name)
        raise RuntimeError(f"Inception's weights are not at {place} and could not be downloaded ({problem})") from None
    return Extractor("Inception-v3 (pytorch-fid)", weights_hash(net.net), net, copy.deepcopy(net.head), 50)


# %% [markdown]
# ## The bias, and a way around it
#
# Draw $N$ values from two Gaussians that are equal, and their estimated means and covariances differ by chance: the estimated distance is positive on average, though the true one is 0. To first order this *bias* falls like $1/N$, and it depends on the two distributions, so it may favour one model over another. [Chong and Forsyth (2020)](https://arxiv.org/abs/1911.07023) draw the conclusion: estimate the distance at several $N$, lay a straight line through it as a function of $1/N$, and read off where it meets $1/N=0$, at infinitely many. We take the same share $f$ of *both* sets, from 20% to all of it. Then each set's bias grows with $1/f$, and the intercept is free of both, to first order; that takes clearly more samples than features, even in the smallest part.

# %%
#| export
def frechet_at_infinity(
    x: torch.Tensor,  # features of one set, (N, D)
    y: torch.Tensor,  # of the other, (M, D)
    seed: int = 0,  # which subsets
) -> tuple[float, list[float], list[float]]:  # extrapolated distance, shares of the sets, distance at each
    "Frechet distance extrapolated to infinitely many samples (Chong and Forsyth 2020), linear in one over the share."
    generator = torch.Generator().manual_seed(derive_seed(seed, 5))
    shares, distances = np.linspace(0.2, 1, 15).tolist(), []
    for share in shares:
        parts = [a[torch.randperm(len(a), generator=generator)[: round(share * len(a))]] for a in (x, y)]
        distances.append(frechet_distance_of_features(*parts))
    intercept = np.polynomial.Polynomial.fit([1 / share for share in shares], distances, 1)(0.0)
    return float(intercept), shares, distances


# %% [markdown]
# A case whose true distance is known: two Gaussians in 84 dimensions, as many as LeNet has features. Dots are distances of parts of two sets, solid lines are fitted to them and meet the left edge at the extrapolated distance; the dashed line is the truth.

# %%
def two_gaussians(n, generator):
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    a, b = factors
    return normal(n, 84) @ a.T, normal(n, 84) @ b.T + 0.2


generator = torch.Generator().manual_seed(0)
first, second = torch.randn(2, 84, 84, generator=generator, dtype=torch.float64) / 84**0.5
factors = first, 0.9 * first + 0.3 * second
truth = frechet_distance(torch.zeros(84), factors[0] @ factors[0].T, torch.full((84,), 0.2), factors[1] @ factors[1].T)
fig, ax = plt.subplots(figsize=(5, 2.8), layout="constrained")
for n in (1000, 4000):
    value, shares, distances = frechet_at_infinity(*two_gaussians(n, generator))
    line = ax.plot([1 / (share * n) for share in shares], distances, ".", label=f"up to N = {n:,}: {distances[-1]:.2f}, extrapolated {value:.2f}")[0]
    slope = np.polyfit([1 / share for share in shares], distances, 1)[0]
    ax.plot([0, 5 / n], [value, value + 5 * slope], color=line.get_color(), linewidth=0.8)
    assert abs(value / truth - 1) < 0.05 < distances[-1] / truth - 1
ax.axhline(truth, color="0.5", linestyle="--", linewidth=0.8)
ax.set(xlabel="1 / number of samples", ylabel="Frechet distance", xlim=0, title=f"truth: {truth:.2f}")
ax.legend(frameon=False, loc="upper left", fontsize=8);

# %% [markdown]
# An intercept is a noisy thing, more so than the distance at full size, and may come out below 0 when two sets are equally distributed. It is a check on comparisons at different $N$; the plain distance with its floor stays the main measure.
#
# ## How sure is a distance?
#
# A generator starts from random numbers; others would have given other samples and another distance. How different a one can be had from the samples at hand: compute the distance for random *halves* of them and take the standard deviation. Why halves? The mean of $N$ fresh values with variance $\sigma^2$ has the variance $\sigma^2/N$; that of a random half, around the mean of the whole, has $\sigma^2/(N/2)-\sigma^2/N$, which is the same. A distance is no mean, but a smooth function of means, so it holds approximately (the delete-half jackknife, [Shao and Wu 1989](https://doi.org/10.1214/aos/1176347263)). The halves' distances are too large, because of the bias; only their spread is used. Close to the floor, where means hardly differ, it errs on the large side: by 1.4 times for 500 real images of MNIST against 2,000.

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
# Does that hold? Draw 60 fresh sets of 600: the standard deviation of their distances is the truth. Halving one set alone should give about the same:

# %%
reference = two_gaussians(2000, generator)[1]
fresh = [two_gaussians(600, generator)[0] for _ in range(60)]
actual = np.std([frechet_distance_of_features(x, reference) for x in fresh], ddof=1)
guesses = [half_sample_sd(lambda x: frechet_distance_of_features(x, reference), x) for x in fresh[:20]]
print(f"sd over fresh sets {actual:.3f}; from halves of one set {np.mean(guesses):.3f} ± {np.std(guesses, ddof=1):.3f}")
assert 0.6 < np.mean(guesses) / actual < 1.6


# %% [markdown]
# ## Kernel distance: KID
#
# The Frechet distance knows two moments only, and is biased. The **kernel distance** (KID, [Bińkowski et al. 2018](https://arxiv.org/abs/1801.01401)) measures with a kernel $k(x,y)=(x^\top y/D+1)^3$ how alike two feature vectors of $D$ numbers are. If two sets are equally distributed, a pair within one set is on average as alike as a pair across; the surplus within is the squared *maximum mean discrepancy*. With $n$ vectors $x_i$ in one set and $n$ vectors $y_j$ in the other, its estimator
#
# $$ \frac{1}{n(n-1)}\sum_{i\ne j}k(x_i,x_j)+\frac{1}{n(n-1)}\sum_{i\ne j}k(y_i,y_j)-\frac{2}{n^2}\sum_{i,j}k(x_i,y_j) $$
#
# is *unbiased*: for equal distributions it is 0 on average, hence often negative. As is usual it is averaged over 100 random subsets of 1,000 each. If a set has fewer than 2,000, such subsets would overlap too much; a subset is then half of the smaller set. The values have a scale of their own, which depends on the features: read them against those of real images.

# %%
#| export
def kernel_distance(
    x: torch.Tensor,  # features of one set, (N, D)
    y: torch.Tensor,  # of the other, (M, D)
    subset_size: int | None = None,  # None: 1,000, or half of the smaller set if that has fewer than 2,000
    subsets: int = 100,
    seed: int = 2020,  # that of torch-fidelity, whose subsets these are
) -> tuple[float, float]:  # mean and standard deviation over the subsets
    "Unbiased KID with the cubic kernel (Binkowski et al. 2018, section 4)."
    n = subset_size or min(1000, len(x) // 2, len(y) // 2)
    if n < 2:
        raise ValueError(f"kernel_distance: it needs subsets of two at least; there are {len(x)} and {len(y)} samples.")
    rng, values = np.random.RandomState(seed), []
    for _ in range(subsets):
        a, b = (features[torch.from_numpy(rng.choice(len(features), n, replace=False))].double() for features in (x, y))
        same = sum(k.sum() - k.trace() for k in (_kernel(a, a), _kernel(b, b)))
        values.append(same / (n * (n - 1)) - 2 * _kernel(a, b).mean())
    values = torch.stack(values)
    return values.mean().item(), values.std(correction=0).item()


def _kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    "The cubic kernel of all pairs, (N, M)."
    return (x @ y.T / x.shape[1] + 1) ** 3


# %% [markdown]
# Papers print the standard deviation over these subsets, which says how different *parts* of the set are. How different would the mean be with other samples? A sample $x_i$ contributes $2h_i$, where $h_i$ is its average kernel with the other samples minus that with the real images; a pair contributes what is left of $k(x_i,x_j)$ without the averages of its row and its column, $r_{ij}$. So the variance is $\frac4N\operatorname{var}h+\frac2{N^2}\operatorname{mean}r^2$ ([Hoeffding 1948](https://doi.org/10.1214/aoms/1177730196)). As $h_i$ is itself estimated from $N-1$ pairs, the variance that is found for it is too large by $\operatorname{mean}r^2/N$.

# %%
#| export
def kernel_distance_sd(x: torch.Tensor, y: torch.Tensor, most: int = 2000) -> float:
    "Standard deviation of the kernel distance over other samples x, (N, D), for the same y; estimated from `most` of them, at random."
    part, total = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:most]], len(x)
    n, k = len(part), _kernel(part, part).fill_diagonal_(0)
    row = k.sum(1) / (n - 1)
    pairs = (k - row - row[:, None] + row.mean()).fill_diagonal_(0).square().sum().item() / (n * (n - 1))
    single = (row - _kernel(part, y).mean(1)).var().item() - pairs / n
    return (4 * max(single, 0) / total + 2 * pairs / total**2) ** 0.5


# %%
x, y = two_gaussians(2000, generator)
z = two_gaussians(2000, generator)[0]
different, same = kernel_distance(x, y, 500), kernel_distance(x, z, 500)
print(f"different Gaussians: {different[0]:.4f} ± {different[1]:.4f}, equal ones: {same[0]:.4f} ± {same[1]:.4f}")
assert different[0] > 3 * different[1] and abs(same[0]) < 3 * same[1]
a, b = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [3.0]])  # by hand: k = (xy + 1)^3
assert np.isclose(kernel_distance(a, b, 2, 1)[0], 3**3 + 1**3 - 2 * (1 + 4**3 + 1 + 7**3) / 4)


# %% [markdown]
# ## Does the classifier see things? Inception Score and its twin
#
# The Inception Score ([Salimans et al. 2016](https://arxiv.org/abs/1606.03498)) asks a classifier. If its verdict $p(y\mid x)$ on each image is certain, and its verdicts together, $p(y)$, are spread over all classes, then
#
# $$ \mathrm{IS}=\exp\big(\mathbb E_x\,\mathrm{KL}\big(p(y\mid x)\,\Vert\,p(y)\big)\big) $$
#
# comes near the number of classes. (The **Kullback-Leibler divergence** of two distributions, $\mathrm{KL}(p\Vert q)=\sum_y p(y)\log\frac{p(y)}{q(y)}$, is 0 if they are equal and grows with their difference.) It never looks at a real image: the same perfect picture of each class, again and again, would have the best score there is. With Inception's 1,008 outputs it is named `inception_score`; with those of our digit classifier `lenet_score`, whose largest possible value is 10. As is usual it is the mean over ten parts of the samples, each with its own $p(y)$. The spread over the parts, which papers print, is that of a tenth of the samples; the mean of ten parts varies less by $\sqrt{10}$. A part of $n$ samples cannot score above $n$, so the number of samples matters here, too.

# %%
#| export
def inception_score(
    logits: torch.Tensor,  # class scores before the softmax, (N, K)
    splits: int = 10,
    seed: int = 2020,  # that of torch-fidelity, whose splits these are
) -> tuple[float, float]:  # mean and standard deviation over the splits; 1 to K
    "Inception Score (Salimans et al. 2016) of any classifier."
    order = torch.from_numpy(np.random.RandomState(seed).permutation(len(logits)))
    log_p = logits[order].double().log_softmax(1)
    scores = []
    for i in range(splits):
        part = log_p[i * len(log_p) // splits : (i + 1) * len(log_p) // splits]
        log_marginal = part.logsumexp(0) - math.log(len(part))
        scores.append((part.exp() * (part - log_marginal)).sum(1).mean().exp())
    scores = torch.stack(scores)
    return scores.mean().item(), scores.std(correction=0).item()


# %%
certain = 50 * torch.eye(10).repeat(30, 1)  # every class equally often, and no doubt
assert inception_score(certain, 1)[0] > 9.99, "the number of classes"
assert np.isclose(inception_score(torch.zeros(100, 10))[0], 1), "no idea: 1"
assert np.isclose(inception_score(certain[:1].repeat(100, 1))[0], 1), "always the same class: 1"

# %% [markdown]
# ## Good, or diverse? Precision and recall, density and coverage
#
# A single distance cannot tell a model that draws few things well from one that draws everything badly. [Kynkäänniemi et al. (2019)](https://arxiv.org/abs/1904.06991) estimate where the real images lie: around each of them lies a ball, in feature space, that reaches to the $k$-th nearest other real image, and all balls together are the *manifold*. **Precision** is the share of samples inside the real manifold, **recall** the share of real images inside the manifold of the samples. We take $k=3$, as in the paper; the paper's features are VGG's and ours LeNet's, so values cannot be compared with the paper's.
#
# One outlier among the real images has a huge ball, though, and everything in it counts as precise. [Naeem et al. (2020)](https://arxiv.org/abs/2002.09797) count instead of asking yes or no: **density** is the number of real balls that a sample lies in, over $k$, on average: 1 for equal distributions, and more for samples that stay where data is dense. **Coverage** is the share of real images with a sample in their ball ($k=5$); for equal distributions and numbers it is about $1-2^{-5}$, not 1.
#
# All of it needs distances between all pairs. For 100,000 samples that matrix would take 80 GB, so it comes in blocks of rows.

# %%
#| export
BLOCK = 2**27  # bytes of distances in memory at a time


def _squared_distances(x: torch.Tensor, y: torch.Tensor):
    "Blocks of rows of x: which rows, and their squared distances to all of y, (rows, M)."
    centre = y.mean(0)  # distances do not change, rounding errors shrink
    y = y - centre
    lengths = y.square().sum(1)
    for rows in torch.arange(len(x)).split(max(1, BLOCK // (8 * len(y)))):
        part = x[rows] - centre
        yield rows, torch.addmm(lengths, part, y.T, alpha=-2).add_(part.square().sum(1, keepdim=True)).clamp_(min=0)


def _radii(x: torch.Tensor, k: int) -> torch.Tensor:
    "Squared distance of each row to its k-th nearest other row."
    if len(x) <= k:
        raise ValueError(f"There is no neighbour number {k} among {len(x)} samples.")
    return torch.cat([d.kthvalue(k + 1, dim=1).values for _, d in _squared_distances(x, x)])


# %%
#| export
def precision_recall(
    fake: torch.Tensor,  # features of samples, float64 (N, D)
    real: torch.Tensor,  # of real images, (M, D)
    k: int = 3,
) -> tuple[float, float]:
    "Improved precision and recall (Kynkaanniemi et al. 2019). ValueError for k samples or fewer."
    return _share_inside(fake, real, _radii(real, k)), recall(fake, real, k)


def recall(fake: torch.Tensor, real: torch.Tensor, k: int = 3) -> float:
    "The second of the two."
    return _share_inside(real, fake, _radii(fake, k))


def _share_inside(x: torch.Tensor, centres: torch.Tensor, radii: torch.Tensor) -> float:
    "The share of the rows of x that lie in a ball around any of the centres."
    return torch.cat([(d <= radii).any(1) for _, d in _squared_distances(x, centres)]).double().mean().item()


# %% [markdown]
# Density and coverage, which count:

# %%
#| export
def density_coverage(
    fake: torch.Tensor,  # features of samples, float64 (N, D)
    real: torch.Tensor,  # of real images, (M, D)
    k: int = 5,
) -> tuple[float, float]:  # density 0 and above, coverage 0 to 1
    "Density and coverage (Naeem et al. 2020). ValueError for k samples or fewer."
    count, covered = _inside(fake, real, _radii(real, k))
    return count.mean().item() / k, covered.double().mean().item()


def _inside(fake: torch.Tensor, real: torch.Tensor, radii: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    "In how many balls around real images each sample lies, and which of these balls hold a sample."
    counts, covered = [], torch.zeros(len(real), dtype=torch.bool)
    for _, d in _squared_distances(fake, real):
        inside = d <= radii
        counts.append(inside.sum(1))
        covered |= inside.any(0)
    return torch.cat(counts).double(), covered


# %% [markdown]
# In two dimensions one can look. Real points in a ring; a model that has half of it and one that has it all, blurred. The grey disks are the real manifold, the dots the samples. Left, every dot is inside (high precision) and half of the ring is missed (low recall). Right, most dots are outside.

# %%
angle, jitter = torch.rand(300, generator=generator, dtype=torch.float64) * 2 * torch.pi, torch.randn(2, 300, 2, generator=generator, dtype=torch.float64)
ring = torch.stack([angle.cos(), angle.sin()], 1)
ring_real = ring + 0.05 * jitter[0]
right = ring_real[ring_real[:, 0] > 0]
rings = {"half the ring": right + 0.01 * jitter[1, : len(right)], "all of it, blurred": ring + 0.3 * jitter[1]}
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.6), layout="constrained")
for ax, (name, fake) in zip(axes, rings.items(), strict=True):
    for centre, radius in zip(ring_real, _radii(ring_real, 3).sqrt(), strict=True):
        ax.add_patch(plt.Circle(centre, radius, color="0.85"))
    ax.plot(*fake.T, ".", markersize=3)
    (p, r), (d, c) = precision_recall(fake, ring_real), density_coverage(fake, ring_real)
    ax.set(aspect="equal", xticks=[], yticks=[], xlabel=f"precision {p:.2f}, recall {r:.2f}\ndensity {d:.2f}, coverage {c:.2f}", title=name)
half, blurred_ring = (precision_recall(fake, ring_real) for fake in rings.values())
assert half[0] > 0.9 and half[1] < 0.7 and blurred_ring[0] < 0.7

# %%
fake, real = two_gaussians(700, generator)
d = torch.cdist(fake, real)  # the definitions, word for word
near = lambda a, k: torch.cdist(a, a).sort(1).values[:, k]
assert precision_recall(fake, real) == ((d <= near(real, 3)).any(1).double().mean().item(), (d <= near(fake, 3)[:, None]).any(0).double().mean().item())
definition = (d <= near(real, 5)).double().sum(1).mean().item() / 5, (d.min(0).values <= near(real, 5)).double().mean().item()
assert np.allclose(density_coverage(fake, real), definition)
at_once, usual, BLOCK = precision_recall(fake, real), BLOCK, 8 * 700 * 13  # blocks of 13 rows
assert precision_recall(fake, real) == at_once and np.allclose(density_coverage(fake, real), definition)
BLOCK = usual
assert precision_recall(real, real) == (1, 1) and density_coverage(real, real)[1] == 1
with pytest.raises(ValueError, match="no neighbour number 3 among 3"):
    precision_recall(fake[:3], real)


# %% [markdown]
# How sure are these numbers? Other samples of the same model would have given others, while the real images stay as they are. Precision and density are means over samples, so their standard errors are known. Recall and coverage are shares of the *real* images, which are not drawn anew; a binomial spread over these has nothing to do with the question. A few samples more or less change the fate of many real images at once, and the fewer samples there are, the more. So again random halves. For recall they do as they are: with half as many samples the balls around them, up to the third neighbour, hold twice as much, and a real image is in as many balls as before. For coverage the balls stay, and half as many samples would cover fewer; so we let these balls grow in the same way, to twice as many neighbours.

# %%
#| export
def coverage_sd(fake: torch.Tensor, real: torch.Tensor, k: int = 5) -> float | None:
    "Standard deviation of coverage over other samples, from halves of them and balls that reach twice as many neighbours."
    radii = _radii(real, 2 * k)
    return half_sample_sd(lambda half: _inside(half, real, radii)[1].double().mean().item(), fake)


# %% [markdown]
# ## By class
#
# A classifier also tells *what* was drawn. Generated images have no labels, so LeNet sorts both sets, the real images too: then its mistakes count on both sides. How often does each class occur, compared with real images? The Kullback-Leibler divergence of the two histograms, $\mathrm{KL}(p_\text{samples}\Vert p_\text{real})$, stays finite when classes are missing, as they are in a collapsed model.

# %%
#| export
def class_kl(labels: torch.Tensor, reference: torch.Tensor, classes: int) -> float:
    "KL(samples || reference) of two class histograms, in nats; infinite if a class of the samples is not in the reference."
    p, q = (torch.bincount(a, minlength=classes).double() / len(a) for a in (labels, reference))
    return torch.special.xlogy(p, p / q)[p > 0].sum().item()


def class_kl_sd(labels: torch.Tensor, reference: torch.Tensor, classes: int) -> float:
    "Its standard deviation over other samples: that of the mean of log p/q, and for nearly equal histograms that of a chi-squared variable."
    n, (p, q) = len(labels), (torch.bincount(a, minlength=classes).double() / len(a) for a in (labels, reference))
    ratio, p, by_chance = (p / q)[p > 0].log(), p[p > 0], (classes - 1) / (2 * n**2)
    return max((p * (ratio - (p * ratio).sum()).square()).sum().item() / n - by_chance, by_chance) ** 0.5


# %% [markdown]
# How different are images of the same class from one another? Report 002 wished for the **intra-class distance**: the mean distance between two samples of the same class, averaged over classes, which is small for a model that draws each digit always in the same way.

# %%
#| export
def intra_class_distance(features: torch.Tensor, labels: torch.Tensor) -> float:
    "Mean Euclidean distance of two samples of the same class, averaged over the classes that have two at least."
    means = []
    for label in labels.unique():
        if (n := len(x := features[labels == label])) > 1:
            total = sum(d.sqrt().sum() for _, d in _squared_distances(x, x))
            means.append(total.item() / (n * (n - 1)))
    return float(np.mean(means)) if means else float("nan")


# %% [markdown]
# And report 000, when it took one real and one generated image of the same digit, was after the Frechet distance *per class*.

# %%
#| export
def frechet_by_class(
    x: torch.Tensor,  # features of samples, (N, D)
    x_labels: torch.Tensor,  # int64 (N,)
    y: torch.Tensor,  # of real images, (M, D)
    y_labels: torch.Tensor,
    classes: int,
) -> list[dict]:  # value and n for each class; value None where one of the sets has fewer than two
    "Frechet distance within each class."
    sets = [(x[x_labels == c], y[y_labels == c]) for c in range(classes)]
    return [{"value": frechet_distance_of_features(a, b) if min(len(a), len(b)) > 1 else None, "n": len(a)} for a, b in sets]


# %% [markdown]
# What the report did measure, one image against one image, is the squared distance of two feature vectors. Here it is for a test image of each class, to some samples and, to see what such a number is worth, to other test images of that class:

# %%
#| export
def one_image(x: torch.Tensor, x_labels: torch.Tensor, y: torch.Tensor, y_labels: torch.Tensor, classes: int) -> list[dict]:
    "For each class: squared distances of its first row of y to its first three rows of x (samples) and to its next three rows of y (test)."
    sets = [(x[x_labels == c][:3], y[y_labels == c]) for c in range(classes)]
    distances = lambda a, b: (a - b[:1]).square().sum(1).tolist() if len(b) else []
    return [{"samples": distances(a, b), "test": distances(b[1:4], b)} for a, b in sets]


# %%
even = torch.arange(10).repeat(20)
assert class_kl(even, even, 10) == 0
assert np.isclose(class_kl(torch.full((50,), 3), even, 10), np.log(10)), "collapsed to one class of ten"
assert class_kl(even, torch.full((50,), 3), 10) == np.inf
square = torch.tensor([[0.0, 0], [3, 4], [10, 10], [10, 11], [7, 7]], dtype=torch.float64)
assert np.isclose(intra_class_distance(square, torch.tensor([0, 0, 1, 1, 2])), (5 + 1) / 2)
by_class = frechet_by_class(fake, even.repeat(4)[:700], real, even.repeat(4)[:700], 11)
assert np.isclose(by_class[4]["value"], frechet_distance_of_features(fake[4::10], real[4::10])) and by_class[10] == {"value": None, "n": 0}
pairs = one_image(square, torch.tensor([0, 0, 1, 1, 1]), square[:3], torch.tensor([0, 0, 1]), 3)
assert pairs == [{"samples": [0, 25], "test": [25]}, {"samples": [0, 1, 18], "test": []}, {"samples": [], "test": []}]


# %% [markdown]
# ## Copies
#
# None of the measures so far minds a model that returns its training images. [Meehan et al. (2020)](https://arxiv.org/abs/2004.05675) compare distances to the nearest training image: samples should not be nearer to the training set than *test* images are. Our number `memorisation` is the Mann-Whitney statistic: **the probability that a random sample is farther from the training set than a random test image is.** New images give about 0.5, copies 0, and images far from all data 1. A value well below 0.5 says that samples are nearer to the training set than test images are: copies, or merely typical images. And 0.5 does not rule copies out: half copies and half noise give that, and so do copies that are altered just enough. (The standard error is that of the Mann-Whitney statistic, over samples and test images.)

# %%
#| export
def nearest(
    x: torch.Tensor,  # features, float64 (N, D)
    y: torch.Tensor,  # (M, D)
    k: int = 1,
) -> tuple[torch.Tensor, torch.Tensor]:  # distances (N, k), and which rows of y they belong to
    "The k nearest rows of y for each row of x."
    found = [d.topk(k, largest=False) for _, d in _squared_distances(x, y)]
    return torch.cat([f.values for f in found]).sqrt(), torch.cat([f.indices for f in found])


# %% [markdown]
# From these distances to the probability, by counting pairs:

# %%
#| export
def memorisation(
    samples: torch.Tensor,  # features, float64 (N, D)
    train: torch.Tensor,  # of the images the model was trained on
    test: torch.Tensor,  # of images it has not seen
) -> tuple[float, float]:  # 0 to 1, and its standard error
    "Probability that a sample is farther from the training set than a test image is (after Meehan et al. 2020); 0.5 is ideal."
    return _farther(*(nearest(x, train)[0][:, 0] for x in (samples, test)))


def _farther(ours: torch.Tensor, usual: torch.Tensor) -> tuple[float, float]:
    "The Mann-Whitney statistic of two sets of distances, and its standard error."
    farther, nearer = _share_below(ours, usual), _share_below(usual, ours)
    return farther.mean().item(), (farther.var() / len(farther) + nearer.var() / len(nearer)).sqrt().item()


def _share_below(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    "For each of a the share of b that is smaller; equal ones count half."
    a, b = a.contiguous(), b.sort().values
    return sum(torch.searchsorted(b, a, right=right) for right in (False, True)).double() / (2 * len(b))


# %%
train_set, held_out, fresh_set, narrow = torch.randn(4, 1000, 10, generator=generator, dtype=torch.float64)
near_copies = train_set[:300] + 0.05 * torch.randn(300, 10, generator=generator, dtype=torch.float64)
narrow *= 0.8
planted = torch.cat([near_copies[:50], fresh_set[50:]])
kinds = {"new": fresh_set, "near-copies": near_copies, "half near-copies": torch.cat([near_copies, fresh_set[:300]]), "5 % near-copies": planted, "narrow": narrow}
for name, samples in kinds.items():
    value, error = memorisation(samples, train_set, held_out)
    print(f"{name:>16}: {value:.3f} ± {error:.3f}")
    low, high = {"new": (0.45, 0.55), "near-copies": (0, 0.01), "half near-copies": (0.2, 0.3), "5 % near-copies": (0.42, 0.52), "narrow": (0.2, 0.35)}[name]
    assert low <= value <= high
assert (nearest(train_set[:50], train_set)[1][:, 0] == torch.arange(50)).all()


# %% [markdown]
# Read the last two lines. Of the narrow samples, drawn from $0.8\,\mathcal N(0,I)$ where the data are from $\mathcal N(0,I)$, not one is a copy. They keep to the middle, where training points are dense, and so they are nearer to them than test points are. And one sample in twenty may be a near-copy, and the number is still 0.47.
#
# What tells copies is *how near* the nearest ones are. The smallest hundredth of the test images' distances is a yardstick: **what share of the samples is nearer to a training image than 99 % of the test images are?** With a good model it is 1 % on average, with 5 % copies 6 % (in the cells below 0.3 % and 5.3 %; where a share is near 0, its error bar is too small, since it is computed from that share). But narrow samples may exceed it, too, the more so the more dimensions there are (below). So we ask for a second sign, which does not depend on how dense the data are: a copy is much nearer to *one* training image than to any other, a typical image is near to many. The ratio of the distances to the nearest and the second nearest ([Gu et al. 2023](https://arxiv.org/abs/2310.02664) call a sample memorised where it is below 1/3) is held against the ratios of the test images in the same way: what share is below those of 99 % of them? We speak of copies only where *both* shares are clearly above 2 %. (Two equal training images hide their copies from the second sign; look at the neighbours, too.)

# %%
#| export
def copies(
    samples: torch.Tensor,  # features, float64 (N, D)
    train: torch.Tensor,  # of the images the model was trained on
    test: torch.Tensor,  # of images it has not seen
) -> dict:  # value, sd: share nearer than 99 % of test are; single, single_sd: share whose ratio is smaller; limit, histogram
    "How many samples are nearer to a training image, and to a single one, than test images are; 1 % is what chance gives."
    return _copies(*(nearest(x, train, 2)[0] for x in (samples, test)))


def _copies(ours: torch.Tensor, usual: torch.Tensor) -> dict:
    "The same of the distances to the two nearest training images, (N, 2) and (M, 2)."
    if len(usual) < 100:
        return {"value": None, "why": f"its limit is a hundredth of the test images, and there are only {len(usual)}"}
    (near, single), (usual_near, usual_single) = ((d[:, 0], d[:, 0] / d[:, 1].clamp(min=1e-12)) for d in (ours, usual))
    score = dict(zip(("value", "sd", "limit"), _share_nearer(near, usual_near), strict=True))
    score |= dict(zip(("single", "single_sd"), _share_nearer(single, usual_single), strict=False))
    edges = torch.linspace(0, usual_near.max().item(), 41, dtype=torch.float64)  # what is farther is in the last bin
    count = lambda d: torch.histogram(d.clamp(max=edges[-1]), edges).hist.long().tolist()
    return score | {"histogram": {"edges": edges.tolist(), "samples": count(near), "test": count(usual_near)}}


# %% [markdown]
# The share has the error of a share of $N$ samples. And its limit comes from $M$ test images: about $0.01M\pm\sqrt{0.01M}$ others would be below the true one. So we look at how much the share changes when the limit is moved by so many places.

# %%
#| export
RARE = 0.01  # so many of the test images are nearer than the limit


def _share_nearer(ours: torch.Tensor, usual: torch.Tensor) -> tuple[float, float, float]:
    "The share of `ours` that is at most the RARE quantile of `usual`, its standard deviation, and that quantile."
    usual, rank = usual.sort().values, round(RARE * len(usual))
    places = [rank, *(max(1, round(rank + sign * (rank * (1 - RARE)) ** 0.5)) for sign in (-1, 1))]
    share, fewer, more = ((ours <= usual[place - 1]).double().mean().item() for place in places)
    return share, (share * (1 - share) / len(ours) + (more - fewer) ** 2 / 4) ** 0.5, usual[rank - 1].item()


def finds_copies(score: dict) -> bool:
    "Whether far more samples than chance would give are near to a training image, and to a single one."
    shares = [(score.get(key), score.get(sd)) for key, sd in (("value", "sd"), ("single", "single_sd"))]
    return all(share is not None and share - 2 * sd > 2 * RARE for share, sd in shares)


# %%
for name, samples in kinds.items():
    score = copies(samples, train_set, held_out)
    print(f"{name:>16}: {score['value']:.3f} ± {score['sd']:.3f}, of single ones {score['single']:.3f} ± {score['single_sd']:.3f}; copies? {finds_copies(score)}")
    assert finds_copies(score) == ("near-copies" in name)
assert copies(planted, train_set, held_out[:99])["value"] is None and not finds_copies({"value": None})

# %% [markdown]
# In 50 dimensions 15 % of the narrow samples, and nearly all of the narrower ones, are nearer than 99 % of the test points, and only the second sign acquits them. Copies among them are found all the same.

# %%
for dims, scale in ((20, 0.8), (50, 0.8), (50, 0.5)):
    a, b, c = torch.randn(3, 1000, dims, generator=generator, dtype=torch.float64)
    score, with_copies = copies(scale * c, a, b), copies(torch.cat([a[:50] + 0.05 * b[:50], scale * c[50:]]), a, b)
    print(f"{dims} dimensions, {scale} wide: {score['value']:.3f} ± {score['sd']:.3f}, single {score['single']:.3f} ± {score['single_sd']:.3f}; "
          f"with 5 % copies {with_copies['value']:.3f}, single {with_copies['single']:.3f}")  # fmt: skip
    assert finds_copies(with_copies) and not finds_copies(score)

# %% [markdown]
# And real digits that LeNet has not seen, those nearest to the mean of their class in its features:

# %%
seen, unseen = load_dataset("digits", "train"), load_dataset("digits", "test")
x, y = lenet_extractor("digits")(seen.images), lenet_extractor("digits")(unseen.images)
centres = torch.stack([x[seen.labels == label].mean(0) for label in range(10)])
typical = y[(y - centres[unseen.labels]).norm(dim=1).argsort()[:125]]
score = copies(typical, x, y)
print(f"125 typical digits: memorisation {memorisation(typical, x, y)[0]:.2f}, copies {score['value']:.3f} ± {score['sd']:.3f}")
assert memorisation(typical, x, y)[0] < 0.4 and not finds_copies(score)


# %% [markdown]
# Both distances in one picture. (What is farther than any test image is in the last bar.)

# %%
#| export
def plot_copies(score: dict, ax: plt.Axes | None = None) -> plt.Axes:  # what `copies` gives, or metrics.json has under that name
    "Distances to the nearest training image, of samples and of test images, and the limit that 1 % of the test images are below."
    ax = ax or plt.subplots(figsize=(5, 2.4), layout="constrained")[1]
    edges, *shares = (np.array(score["histogram"][key]) for key in ("edges", "test", "samples"))
    test, samples = (share / share.sum() for share in shares)
    ax.stairs(test, edges, fill=True, color="0.8", label="test images")
    ax.stairs(samples, edges, label="samples")
    ax.axvline(score["limit"], color="0.3", linestyle="--", linewidth=0.8, label="1 % of the test images are nearer")
    ax.set(xlabel="distance to the nearest training image\n(last bar: or more)", ylabel="share", ylim=(0, 1.7 * max(test.max(), samples.max())))
    ax.legend(frameon=False, fontsize=8, loc="upper right")
    return ax


# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 2.6), layout="constrained", sharey=True)
for ax, name in zip(axes, ("5 % near-copies", "narrow"), strict=True):
    plot_copies(copies(kinds[name], train_set, held_out), ax).set_title(name)
    ax.label_outer()


# %% [markdown]
# ## Scoring samples, and the floor
#
# How small can the distance get? Not zero: even *real* training images, as many as there are samples, are some way off the test set, because both are finite. That distance is the **floor**. It depends on which training images are drawn, so we draw five times and give mean and standard deviation. A model at the floor cannot be told from the data by this measure at this number of samples; a model at ten times the floor has ten times the (squared) distance that real images have. Every table of genlab shows it. For the other measures, too, what real images have is the mark to meet, although it is not a lower bound there: their precision, say, or their Inception Score.
#
# Some cautions. A good model may fall below the floor by chance. A model that returns the training images sits *at* the floor; `copies` is there to see that. The classifier has seen the training images, so the floor holds a little of its overfitting, too. Five draws tell a standard deviation only roughly. Draws from a small training set overlap; their spread is enlarged to make up for it. And published FIDs usually compare 50,000 samples with the *training* set, ours $N$ samples with the *test* set, so the two are not comparable.
#
# | metric | features | what it is | good | spread |
# |:--|:--|:--|:--|:--|
# | `fd_lenet`, `fid` | LeNet, Inception | Frechet distance | near the floor | half-samples |
# | `fd_lenet_infinity`, `fid_infinity` | | extrapolated to infinitely many samples | near 0 | none |
# | `kd_lenet`, `kid` | | kernel distance | near 0 | from single samples and pairs |
# | `lenet_score`, `inception_score` | | classifier score | as real images have | from the ten parts |
# | `precision`, `recall` | LeNet | samples inside the real manifold; real images inside the samples' | as real images have | binomial; half-samples |
# | `density`, `coverage` | LeNet | real neighbourhoods around a sample; real images with a sample near | as real images have | standard error; half-samples, in larger balls |
# | `fd_lenet_by_class` | LeNet | Frechet distance within each class, and the mean | near the floor | none |
# | `class_kl` | LeNet | divergence of the class histogram, in nats | as real images have | of the counts |
# | `intra_class` | LeNet | mean distance within a class | as real images have; less: monotonous | half-samples |
# | `memorisation` | LeNet | probability to be farther from the training set than test images are | about 0.5; less: copies, or typical images | standard error |
# | `copies` | LeNet | share of samples nearer to a training image than 99 % of the test images are | about 0.01 | standard error |
# | `one_image` | LeNet | squared distance of single images of a class, and the mean | it says nothing about a model | none |
#
# All spreads estimate how the value would vary with other samples of the same trained model. The test images are kept as they are, but for `memorisation` and `copies`, whose spreads are over other test images, too, since these are what they compare with. (Each was held against 200 fresh sets of samples, of 100 and of 500, and was within a third of their spread; `tests/test_bars.py` does it again. Only that of the Frechet distance is too large where samples are as good as real images.)
#
# The next cells are bookkeeping: which function needs which features, what is kept, how the floor is drawn. On a first reading go on at "What does each measure see?"; all you need is `evaluate(samples, dataset, metrics)`.
#
# Each line of the table is a function of what the features say about samples and real images. What takes time and the floor has no use for, the spread, is a function without arguments that `evaluate` calls.

# %%
#| export
class Views(NamedTuple):
    "What an extractor sees."

    samples: torch.Tensor  # features, float64 (N, D)
    reference: torch.Tensor | None  # of test images, (M, D), where a measure needs them
    train: torch.Tensor | None  # of training images, where a measure needs them
    head: nn.Module  # features -> logits of the extractor's classifier

    @torch.no_grad()
    def logits(self, features: torch.Tensor) -> torch.Tensor:
        return self.head(features.float())

    def labels(self, features: torch.Tensor) -> torch.Tensor:
        return self.logits(features).argmax(1)

    def classes(self) -> int:
        return self.logits(self.reference[:1]).shape[1]


# %% [markdown]
# The distances and the score, each with what it needs to be understood:

# %%
#| export
def _from_halves(views: Views, statistic: Callable[[torch.Tensor], float], smallest: int = 2) -> Callable[[], float | None]:
    "The spread of a statistic over other samples, to be computed when it is asked for."
    return functools.partial(half_sample_sd, statistic, views.samples, smallest)


def _frechet(views: Views) -> list[dict]:
    distance = lambda samples: frechet_distance_of_features(samples, views.reference)
    return [{"value": distance(views.samples), "sd": _from_halves(views, distance)}]


def _extrapolated(views: Views) -> list[dict]:
    dims, smallest = views.samples.shape[1], min(len(views.samples), len(views.reference)) // 5
    if smallest <= dims:
        return [{"value": None, "why": f"an extrapolation needs more than {5 * dims} images on both sides, five times the number of features"}]
    value, shares, distances = frechet_at_infinity(views.samples, views.reference)
    return [{"value": value, "shares": shares, "distances": distances}]


def _kernel_distance(views: Views) -> list[dict]:
    x, y = views.samples, views.reference
    return [{"value": kernel_distance(x, y)[0], "sd": kernel_distance_sd(x, y)}]


def _score(views: Views) -> list[dict]:
    value, spread = inception_score(views.logits(views.samples))
    return [{"value": value, "sd": spread / 9**0.5}]  # of a mean of ten, if spread**2 is their variance divided by ten and not by nine


# %% [markdown]
# The shares, with the spreads of "How sure is a share?":

# %%
#| export
def _precision_recall(views: Views) -> list[dict]:
    x, y = views.samples, views.reference
    precision, recalled = precision_recall(x, y)
    return [{"value": precision, "sd": (precision * (1 - precision) / len(x)) ** 0.5},
            {"value": recalled, "sd": _from_halves(views, lambda half: recall(half, y), 4)}]  # fmt: skip


def _density_coverage(views: Views, k: int = 5) -> list[dict]:
    x, y = views.samples, views.reference
    count, covered = _inside(x, y, _radii(y, k))
    return [{"value": count.mean().item() / k, "sd": count.std().item() / k / len(x) ** 0.5},
            {"value": covered.double().mean().item(), "sd": lambda: coverage_sd(x, y, k)}]  # fmt: skip


# %% [markdown]
# What looks at classes, and at copies:

# %%
#| export
def _by_class(views: Views) -> list[dict]:
    x, y = views.samples, views.reference
    classes = frechet_by_class(x, views.labels(x), y, views.labels(y), views.classes())
    missing = [i for i, c in enumerate(classes) if c["value"] is None]
    why = {"why": f"class {missing[0]} has fewer than two images"} if missing else {}
    return [{"value": None if missing else float(np.mean([c["value"] for c in classes])), "classes": classes} | why]


def _class_kl(views: Views) -> list[dict]:
    labels, reference, classes = views.labels(views.samples), views.labels(views.reference), views.classes()
    histogram, expected = (torch.bincount(k, minlength=classes).tolist() for k in (labels, reference))
    value, sd = (f(labels, reference, classes) for f in (class_kl, class_kl_sd))
    return [{"value": value, "sd": sd, "histogram": histogram, "expected": expected}]


# %% [markdown]
# And what is a line each:

# %%
#| export
def _intra_class(views: Views) -> list[dict]:
    distance = lambda samples: intra_class_distance(samples, views.labels(samples))
    return [{"value": distance(views.samples), "sd": _from_halves(views, distance)}]


def _near_training(views: Views) -> list[dict]:
    near = [nearest(x, views.train, 2)[0] for x in (views.samples, views.reference)]
    return [dict(zip(("value", "sd"), _farther(*(x[:, 0] for x in near)), strict=True)), _copies(*near)]


def _one_image(views: Views) -> list[dict]:
    x, y = views.samples, views.reference
    pairs = one_image(x, views.labels(x), y, views.labels(y), views.classes())
    missing = [i for i, pair in enumerate(pairs) if not pair["samples"]]
    why = {"why": f"class {missing[0]} has no image"} if missing else {}
    return [{"value": None if missing else float(np.mean([np.mean(pair["samples"]) for pair in pairs])), "pairs": pairs} | why]


# %% [markdown]
# Which functions there are, what they need, and under which names their values go:

# %%
#| export
class Measure(NamedTuple):
    "A function that gives the values of some metrics."

    metrics: tuple[str, ...]
    extractor: str  # lenet or inception
    function: Callable[[Views], list[dict]]  # value, sd (or a function that computes it) and more, for each metric
    minimum: int = 2  # samples
    reference: bool = True  # it looks at real images
    copies: bool = False  # it looks for copies of training images, so real training images cannot be its floor


MEASURES = [
    Measure(("fd_lenet",), "lenet", _frechet),
    Measure(("fd_lenet_infinity",), "lenet", _extrapolated),
    Measure(("kd_lenet",), "lenet", _kernel_distance, 4),
    Measure(("lenet_score",), "lenet", _score, 100, reference=False),
    Measure(("precision", "recall"), "lenet", _precision_recall, 4),
    Measure(("density", "coverage"), "lenet", _density_coverage, 11),
    Measure(("fd_lenet_by_class",), "lenet", _by_class),
    Measure(("class_kl",), "lenet", _class_kl, 4),
    Measure(("intra_class",), "lenet", _intra_class, 100),
    Measure(("memorisation", "copies"), "lenet", _near_training, copies=True),
    Measure(("one_image",), "lenet", _one_image),
    Measure(("fid",), "inception", _frechet),
    Measure(("fid_infinity",), "inception", _extrapolated),
    Measure(("kid",), "inception", _kernel_distance, 4),
    Measure(("inception_score",), "inception", _score, 100, reference=False),
]
genlab.plug.MEASURES |= {metric: measure for measure in MEASURES for metric in measure.metrics}
EXTRACTORS: dict[str, Callable[[str, int], Extractor]] = {
    "lenet": lenet_extractor,
    "inception": lambda dataset, size: inception_extractor(),
}

# %%
known = [name for measure in MEASURES for name in measure.metrics]
assert sorted(known) == sorted(get_args(Metric)) and len(set(known)) == len(known), "those that a run's configuration accepts"


# %% [markdown]
# Features of the test set are needed again and again. They are kept on disk, in the cache, under a hash of the pixels and of the network: what is found there is right, whatever the data set is called.

# %%
#| export
def cached_features(extractor: Extractor, images: torch.Tensor) -> torch.Tensor:
    "`extractor(images)`, computed once for the same pixels and the same network and then kept on disk."
    path = cache_dir("features") / f"{extractor.hash}-{pixel_hash(images)}.safetensors"
    if not path.exists():
        with cache_lock(path), atomic(path) as temporary:
            save_file({"features": extractor(images).float()}, temporary)
    return load_file(path)["features"].double()


@functools.lru_cache(maxsize=8)
def _real_features(kind: str, classifier: str, dataset: str, split: str, size: int, n: int | None = None, seed: int = 0) -> torch.Tensor:
    "Features of the images of a data set, or of n of them drawn at random."
    images = load_dataset(dataset, split, size).images
    if n is not None and n < len(images):
        images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(derive_seed(seed, 3)))[:n]]
    return cached_features(EXTRACTORS[kind](classifier, size), images)


# %% [markdown]
# The floor asks the same function about real training images, several times:

# %%
#| export
FLOOR_DRAWS = 5
NO_FLOOR = {"floor": None, "floor_sd": None, "n_floor": None}


@functools.cache
def _floor_draws(measure: Measure, classifier: str, dataset: str, size: int, n: int, seed: int) -> tuple[list[list[dict]], int, float]:
    "What a measure gives for n real training images, drawn FLOOR_DRAWS times, once if these are all; n; and its share of the pool drawn from."
    reference = _real_features(measure.extractor, classifier, dataset, "test", size)
    pool = _real_features(measure.extractor, classifier, dataset, "train", size, FLOOR_DRAWS * n, seed)
    n, generator = min(n, len(pool)), torch.Generator().manual_seed(derive_seed(seed, 4))
    repeats = 0 if n < measure.minimum else FLOOR_DRAWS if n < len(pool) else 1
    picks = [torch.randperm(len(pool), generator=generator)[:n] for _ in range(repeats)]
    head = EXTRACTORS[measure.extractor](classifier, size).head
    scores = [measure.function(Views(pool[pick], reference, None, head)) for pick in picks]
    return [[score | {"sd": None} for score in draw] for draw in scores], n, n / len(pool)


# %% [markdown]
# One metric's floor from these draws:

# %%
#| export
def floor(metric: str, dataset: str, size: int, n: int, seed: int = 0, classifier: str | None = None) -> dict:
    "What n real training images score against the test set: floor, floor_sd (over random draws), n_floor; None where there is none."
    measure = next(m for m in MEASURES if metric in m.metrics)
    if measure.copies:
        return NO_FLOOR
    draws, n, share = _floor_draws(measure, classifier or dataset, dataset, size, n, seed)
    draws = [draw[measure.metrics.index(metric)] for draw in draws]
    values = [draw["value"] for draw in draws if draw["value"] is not None]
    if not values:
        return NO_FLOOR
    spread = float(np.std(values, ddof=1)) / (1 - share) ** 0.5 if len(values) > 1 else None  # draws from a finite pool overlap
    result = {"floor": float(np.mean(values)), "floor_sd": spread, "n_floor": n}
    if "classes" in draws[0]:
        by_class = zip(*(draw["classes"] for draw in draws if draw["value"] is not None), strict=True)
        result["floor_classes"] = [float(np.mean([c["value"] for c in same])) for same in by_class]
    return result


# %% [markdown]
# The extractors themselves are tried once, since a download that fails once will not succeed for the next measure:

# %%
#| export
def _extractors(measures: Sequence[Measure], classifier: str | None, size: int) -> dict[str, Extractor | RuntimeError]:
    "The extractors that measures need, by their kind, or why one cannot be had."
    found = {}
    for kind in dict.fromkeys(measure.extractor for measure in measures):
        try:
            found[kind] = EXTRACTORS[kind](classifier, size)
        except RuntimeError as why:
            found[kind] = why
    return found


# %% [markdown]
# A run asks before it trains whether it can be scored at all:

# %%
#| export
def check_metrics(dataset: str, size: int | None, metrics: tuple[str, ...]) -> int:  # number of test images
    "Have the extractors ready before a long training, so that what cannot be scored is said first. ValueError if so."
    images = load_dataset(dataset, "test", size).images
    _extractors([m for m in MEASURES if set(m.metrics) & set(metrics)], dataset, images.shape[-1])  # kept for `evaluate`
    if len(images) < 2:
        raise ValueError(f"dataset: {dataset} has {len(images)} test image, and a distribution needs two at least.")
    return len(images)


# %% [markdown]
# First what may come in. Images of any origin are turned into bytes. In an array of floats, what is black and what is white? Values below 0 and none above 1 mean -1 and 1, values up to 255 mean 0 and 255. All between 0 and 1 may mean either 0 and 1 or bright images from -1 to 1, so that has to be said. A thousandth too much is a rounding error and cut off.

# %%
#| export
def _black_and_white(low: float, high: float) -> tuple[float, float] | None:
    "What floats from `low` to `high` call black and white, if it cannot be mistaken."
    if -1.001 <= low < -0.001 and high <= 1.001:
        return -1.0, 1.0
    return (0.0, 255.0) if low >= -0.1 and 2 < high <= 255.1 else None


def _as_bytes(images: torch.Tensor, what: str, limits: tuple[float, float] | None = None) -> torch.Tensor:
    "Images as uint8; `limits` are the values of black and white. ValueError for another shape, or if black and white are not known."
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"{what}: images have the shape (N, 1 or 3, height, width), and these {tuple(images.shape)}.")
    if not len(images) or not images.numel():
        return images.byte()
    low, high = images.min().item(), images.max().item()
    if images.dtype != torch.uint8 and not images.is_floating_point() and low >= 0 and high <= 255:
        images = images.byte()
    if images.is_floating_point():
        black, white = limits or _black_and_white(low, high) or (0.0, 0.0)
        excess = 0.001 * (white - black)
        if black < white and low >= black - excess and high <= white + excess:
            images = to_image(2 * (images - black) / (white - black) - 1)
    if images.dtype != torch.uint8:
        known = f"floats from {limits[0]:g} (black) to {limits[1]:g}" if limits else "floats from -1 (black) to 1"
        raise ValueError(f"{what}: images are uint8, or {known}; these are {images.dtype} from {low:g} to {high:g} (on the command line, --range=0,1 tells what black and white are).")
    if images.max() - images.min() < 16:
        warnings.warn(f"{what}: the images use {len(images.unique())} of 256 values, {images.min()} to {images.max()}, and are all but one shade; is white another value?", stacklevel=3)
    return images


# %% [markdown]
# Then whether samples and reference can be compared, and what has to be computed. (Grey images may be compared with colour ones: a network for colours sees them in three equal channels.)

# %%
#| export
def _checked(samples: torch.Tensor, reference: torch.Tensor, metrics: Sequence[str]) -> list[Measure]:
    "The measures that give the metrics. ValueError, one sentence, if something about the images stands against it."
    known = [name for measure in MEASURES for name in measure.metrics]
    if unknown := [metric for metric in metrics if metric not in known]:
        raise ValueError(f"metrics: {unknown[0]!r} is unknown; choose from {', '.join(known)}.")
    if samples.shape[2:] != reference.shape[2:]:
        shapes = [f"{w}x{h} pixels" for h, w in (samples.shape[2:], reference.shape[2:])]
        raise ValueError(f"evaluate: the samples have {shapes[0]} and the reference {shapes[1]}; make them alike before they are compared.")
    if min(len(samples), len(reference)) < 2:
        raise ValueError(f"evaluate: a distribution needs two images at least; there are {len(samples)} and {len(reference)}.")
    measures = [measure for measure in MEASURES if set(measure.metrics) & set(metrics)]
    if any(measure.extractor == "lenet" for measure in measures) and samples.shape[2] != samples.shape[3]:
        raise ValueError(f"evaluate: LeNet looks at square images, and these have {samples.shape[3]}x{samples.shape[2]} pixels.")
    return measures


# %%
#| export
def _obstacle(measure: Measure, extractor: Extractor | RuntimeError, n: int, has_training_images: bool) -> str | None:
    "Why a measure cannot be had for n images, if so."
    if isinstance(extractor, RuntimeError):
        return str(extractor)
    if n < measure.minimum:
        return f"it needs {measure.minimum} images at least, and there are only {n}"
    if measure.copies and not has_training_images:
        return "the training images are not known; give a data set's name as the reference"
    return None


# %% [markdown]
# One call for all of it. The reference is a data set's name, for its test split, or images of any origin; only a data set has training images and hence a floor.

# %%
#| export
def evaluate(
    samples: torch.Tensor,  # uint8 (N, C, H, W), or float in [-1, 1]
    reference: str | torch.Tensor,  # a data set, whose test split (at the samples' size) is compared with; or images like `samples`
    metrics: Sequence[str] = ("fd_lenet",),  # see the table above
    classifier: str | None = None,  # the data set whose LeNet gives the features; None: that of the reference
    seed: int = 0,  # which training images make the floor
    train: torch.Tensor | None = None,  # uint8 images that the model learned from; None: the data set's training split
) -> dict[str, dict]:  # metric: value, sd, n, n_reference, reference, floor, floor_sd, n_floor, extractor, hash; or value None and why
    "Measures of samples against real images, each with all that is needed to know what it means. ValueError if they cannot be compared."
    samples, dataset = _as_bytes(samples, "samples"), reference if isinstance(reference, str) else None
    size, classifier = samples.shape[-1], classifier or dataset
    images = load_dataset(dataset, "test", size).images if dataset else _as_bytes(reference, "reference")
    measures, scores, fake, real = _checked(samples, images, metrics), {}, {}, {}
    if not classifier and any(measure.extractor == "lenet" for measure in measures):
        raise ValueError("evaluate: whose LeNet? Name a data set: classifier='mnist' (on the command line, --classifier mnist).")
    extractors, n = _extractors(measures, classifier, size), min(len(samples), len(images))
    for measure in measures:
        extractor = extractors[measure.extractor]
        if why := _obstacle(measure, extractor, n, bool(dataset) or train is not None):
            scores |= {metric: {"value": None, "why": why} for metric in measure.metrics}
            continue
        if extractor.hash not in fake:
            fake[extractor.hash] = extractor(samples)
        if measure.reference and extractor.hash not in real:
            real[extractor.hash] = cached_features(extractor, images)
        seen = None
        if measure.copies:
            seen = cached_features(extractor, load_dataset(dataset, "train", size).images if train is None else train)
        views = Views(fake[extractor.hash], real.get(extractor.hash), seen, extractor.head)
        about = {"n": len(samples), "n_reference": len(images), "reference": f"{dataset}, {size}x{size}" if dataset else "images"}
        about |= {"extractor": extractor.name, "hash": extractor.hash}
        for metric, score in zip(measure.metrics, measure.function(views), strict=True):
            if callable(score.get("sd")):
                score["sd"] = score["sd"]()
            usual = floor(metric, dataset, size, len(samples), seed, classifier) if dataset else NO_FLOOR
            scores[metric] = _finite({"sd": None} | score) | about | usual
    return {metric: scores[metric] for metric in metrics}


# %% [markdown]
# What may come out has to be a number, or nothing with a reason. And a number is shown with as many digits as its spread allows:

# %%
#| export
def _finite(score: dict) -> dict:
    "A value that is no number is None, with a reason; a spread that is none is None."
    known = lambda x: x if x is not None and math.isfinite(x) else None
    why = {} if score["value"] is None or math.isfinite(score["value"]) else {"why": f"it is {score['value']} for these images"}
    return score | {"value": known(score["value"]), "sd": known(score["sd"])} | why


def _show(value: float | None, sd: float | None) -> str:
    "A number with its spread, rounded to two digits of the spread."
    if value is None:
        return "—"
    digits = max(0, 1 - math.floor(math.log10(sd))) if sd else None
    return f"{value:.4g}" if digits is None else f"{value:.{digits}f} ± {sd:.{digits}f}"


# %% [markdown]
# Scores of several models in one table, if they were measured alike:

# %%
#| export
def score_table(
    results: Mapping[str, dict[str, dict]],  # what `evaluate` gave, by the name of what was scored
) -> pd.DataFrame:  # text: a row a name, a column a metric
    "Scores side by side, and what real images score. ValueError if they were measured differently and cannot be compared."
    rows, real, first = {}, {}, {}
    for name, scores in results.items():
        for metric, score in scores.items():
            rows.setdefault(name, {"N": f"{score['n']:,}" if "n" in score else "—"})[metric] = _show(score["value"], score.get("sd"))
            if score["value"] is None:
                continue
            other, kind = first.setdefault(metric, (name, score))
            for key in ("hash", "reference", "n_reference"):
                if kind[key] != score[key]:
                    raise ValueError(f"score_table: {metric} of {other} and {name} cannot be compared: {key} is {kind[key]} and {score[key]}.")
            if score["floor"] is not None:
                real.setdefault(f"real images, {score['n_floor']:,}", {"N": f"{score['n_floor']:,}"})[metric] = _show(score["floor"], score["floor_sd"])
    return pd.DataFrame.from_dict(rows | real, orient="index").fillna("—")


# %% [markdown]
# ## What does each measure see?
#
# We know what is wrong with these seven "models", because we made them from the first 500 training images: they are copies; blurred; noisy; of five classes only (these from among all training images); twenty images, again and again; every other one is noise; moved by a pixel. The last column, real images, is what `floor` gives: random training images. Read the table row by row. Which faults does each measure see, and which not?

# %%
train, test = load_dataset(dataset, "train"), load_dataset(dataset, "test")
generator = torch.Generator().manual_seed(0)
real, noise = train.images[:500], torch.randint(0, 256, train.images[:500].shape, generator=generator).byte()
every_other = torch.arange(500)[:, None, None, None] % 2 == 0
faults = {
    "copies": real,
    "blurred": to_image(F.avg_pool2d(to_model(real), 3, stride=1, padding=1, count_include_pad=False)),
    "noisy": to_image((to_model(real) + 0.3 * torch.randn(real.shape, generator=generator)).clamp(-1, 1)),
    "five classes": train.images[train.labels < 5][:500],
    "twenty images": real[:20].repeat(25, 1, 1, 1),
    "half of it noise": torch.where(every_other, noise, real),
    "shifted": real.roll(1, 3),
}
table_metrics = ["fd_lenet", "kd_lenet", "lenet_score", "precision", "recall", "density", "coverage", "class_kl", "intra_class", "memorisation", "copies"]
scores = {name: evaluate(images, dataset, table_metrics) for name, images in faults.items()}
score_table(scores).T

# %%
value = lambda name, metric: scores[name][metric]["value"]
assert value("copies", "fd_lenet") < 3 * scores["blurred"]["fd_lenet"]["floor"]
assert all(value(name, "fd_lenet") > value("copies", "fd_lenet") for name in faults if name != "copies")
assert value("twenty images", "recall") < 0.2 < value("copies", "recall")
assert value("half of it noise", "precision") < 0.6 < value("copies", "precision")
assert value("five classes", "class_kl") > 0.5 > 0.05 > value("copies", "class_kl")
assert value("twenty images", "intra_class") < 0.6 * value("copies", "intra_class")
assert value("copies", "memorisation") < 0.01, "these are copies"
assert [name for name in faults if finds_copies(scores[name]["copies"])] == ["copies", "five classes", "twenty images", "half of it noise"]
halves = [load_dataset(dataset, "test").images[i::2] for i in (0, 1)]
held_out = memorisation(*(lenet_extractor(dataset)(images) for images in (halves[0], train.images, halves[1])))
print(f"memorisation of one half of the test images, against the other half: {held_out[0]:.3f} ± {held_out[1]:.3f}")
assert abs(held_out[0] - 0.5) < 4 * held_out[1] < 0.2
assert value("shifted", "memorisation") > 0.4
assert floor("fd_lenet", dataset, real.shape[-1], 10**6)["floor_sd"] is None and floor("memorisation", dataset, real.shape[-1], 50)["floor"] is None

# %% [markdown]
# The distances see blur, missing classes, the twenty images and "half of it noise". "Noisy" and "shifted" images they cannot tell from real ones by two standard deviations of the difference (`fd_lenet` is 28 ± 7 and 24 ± 8, against 13 ± 7), and the kernel distance does not see the shift at all. Precision falls for blur, for images that are nothing but noise, and for the shift. Recall and coverage fall where variety is missing, but also for blur, noise and the shift; the shift is seen best by coverage (0.86 against 0.96). `class_kl` sees that classes are missing, `intra_class` the twenty images, and the score of a classifier falls little for those (8.4 against 9.1). `memorisation` sees copies; but not in "half of it noise", where the noise is as far away as the copies are near. `copies` sees them there, too. Neither sees "shifted", images that are copies but for a shift by a pixel, nor "noisy": in LeNet's features these are as far from the images they were made of as new images are from the nearest. No measure sees all faults.
#
# What cannot be measured is refused in one sentence:

# %%
digits = lenet_extractor(dataset)
for arguments, sentence in [
    ((real[:1], dataset), "a distribution needs two images at least; there are 1 and 500"),
    ((real[:, :, 1:], test.images[:, :, 1:], ["fd_lenet"], dataset), "LeNet looks at square images, and these have 16x15 pixels"),
    ((real, dataset, ["fidd"]), "metrics: 'fidd' is unknown; choose from fd_lenet, "),
    ((real, test.images[:, :, 2:, 2:]), "the samples have 16x16 pixels and the reference 14x14 pixels"),
    ((real.expand(-1, 3, -1, -1), dataset), "This LeNet has learned from grey images and cannot look at images in 3 channels"),
    ((real.float() * 2, dataset), r"floats from -1 \(black\) to 1; these are torch.float32 from 0 to 510"),
    ((real / 255, dataset), r"floats from -1 \(black\) to 1; these are torch.float32 from 0 to 1"),
    ((real[:, 0], dataset), r"images have the shape \(N, 1 or 3, height, width\), and these \(500, 16, 16\)"),
    ((to_model(real) * torch.nan, dataset), "from nan to nan"),
    ((real, test.images), "whose LeNet"),
]:  # fmt: skip
    with pytest.raises(ValueError, match=sentence):
        evaluate(*arguments)
broken = digits._replace(network=nn.Sequential(digits.network, nn.Threshold(1e9, torch.nan)))
with pytest.raises(ValueError, match="hold NaN or infinity"):
    broken(real[:10])
mixed = {"a": scores["noisy"], "b": {"fd_lenet": scores["noisy"]["fd_lenet"] | {"hash": "another"}}}
with pytest.raises(ValueError, match="fd_lenet of a and b cannot be compared: hash is .* and another"):
    score_table(mixed)
assert "training images are not known" in evaluate(real, test.images, ["memorisation"], classifier=dataset)["memorisation"]["why"]
few = evaluate(real[:3], dataset, ["fd_lenet", "precision", "fd_lenet_infinity", "fd_lenet_by_class"])  # one that cannot be had spoils nothing
assert few["fd_lenet"]["value"] > 0 and few["fd_lenet"]["sd"] is None and few["precision"]["why"] == "it needs 4 images at least, and there are only 3"
assert few["fd_lenet_infinity"]["why"].startswith("an extrapolation needs more than 420 images") and "has fewer than two" in few["fd_lenet_by_class"]["why"]
only_ones = evaluate(real[:50], test.images[test.labels == 1], ["class_kl"], classifier=dataset)["class_kl"]
assert only_ones["value"] is None and only_ones["why"] == "it is inf for these images" and json.dumps(only_ones, allow_nan=False)
assert not {id(p) for p in digits.network.parameters()} & {id(p) for p in digits.head.parameters()}, "they may be on different devices"
for same in (to_model(real), 1.0005 * to_model(real), real.float(), real.long()):
    assert evaluate(same, dataset)["fd_lenet"] == evaluate(real, dataset)["fd_lenet"], "other ways to say the same images"
with pytest.warns(UserWarning, match="samples: the images use 2 of 256 values, 0 to 1"):
    evaluate(real // 200, dataset)
with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
    patch.setenv("GENLAB_CACHE", home)
    first = cached_features(digits, test.images[:20])
    assert torch.equal(first, digits(test.images[:20])), "kept as they are"
    calls = digits._replace(network=None)  # would fail if it were called
    assert torch.equal(cached_features(calls, test.images[:20]), first)
    assert torch.equal(cached_features(digits, test.images[:21]), digits(test.images[:21])), "other images are other features"


# %% [markdown]
# ## Looking at neighbours
#
# Numbers apart, *look*: samples in the first row, and below each its nearest training images in LeNet's features. Here the samples are test images. For a model's samples, near-copies in the second row would be the sign of memorising.

# %%
#| export
def plot_nearest(
    samples: torch.Tensor,  # uint8 (N, C, H, W)
    dataset: str,
    k: int = 2,  # neighbours
    ax: plt.Axes | None = None,
    train: torch.Tensor | None = None,  # uint8 images that the model learned from; None: the data set's training split
) -> plt.Axes:
    "Samples, and below each its k nearest training images in LeNet's features."
    size = samples.shape[-1]
    train = load_dataset(dataset, "train", size).images if train is None else train
    extractor = lenet_extractor(dataset, size)
    neighbours = nearest(extractor(samples), cached_features(extractor, train), k)[1]
    return show_grid(torch.cat([samples, *(train[neighbours[:, i]] for i in range(k))]), ncol=len(samples), ax=ax)


# %%
plot_nearest(test.images[:20], dataset).set_title("test images, and the two nearest training images", fontsize=10);

# %% [markdown]
# ## The floor depends on N
#
# This is the bias again, on images. Twenty draws of training images at each N, against the whole test set:

# %%
reference, features = digits(test.images), digits(train.images)
sizes, generator = [50, 100, 200, 350, 500, 800], torch.Generator().manual_seed(0)
draws = [[frechet_distance_of_features(features[torch.randperm(len(features), generator=generator)[:n]], reference) for _ in range(20)] for n in sizes]
means, spread = np.mean(draws, 1), np.std(draws, 1)
assert (np.diff(means) < 0).all(), "fewer samples, larger distance"
fig, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
ax.errorbar(sizes, means, spread, marker="o", capsize=3)
ax.set(xlabel="number of training images N", ylabel="fd_lenet to the test set", ylim=0, title="bars: standard deviation of 20 draws");

# %% [markdown]
# So compare models at the same N only.
#
# ## One image against one image
#
# And report 000's second attempt, one real image against one generated one? A single image has no covariance; the most that can be left is the squared distance of two feature vectors (`one_image` above), which says how different *these two pictures* are. For two perfectly real sixes it is anything from 5 to 1,749, and on average 363: far more than the 28 by which a whole set of noisy images is off the test set.

# %%
sixes = features[train.labels == 6][:40]
pairs = torch.cdist(sixes, sixes).square()[torch.triu_indices(40, 40, 1).unbind()]
print(f"two real sixes: {pairs.min():.0f} to {pairs.max():.0f}, on average {pairs.mean():.0f}; 500 noisy images against the test set: {value('noisy', 'fd_lenet'):.0f}")


# %% [markdown]
# ## PNG or array?
#
# Report 003 had two FIDs for the same samples, 6.12 from PNG files and 5.77 from the array. A network's output is a float; a file holds bytes. What do rounding, cutting off the decimals (`astype(uint8)`, a common slip), JPEG and resizing do to the distance? As float images we take real ones moved by a tenth of a pixel, so that their values lie between the bytes; that is a slight blur, and costs something itself. Compare each line with the first. ([Parmar et al. 2022](https://arxiv.org/abs/2104.11222) did this for FID and found that resizing and JPEG matter.)

# %%
def through_jpeg(images):
    "Write as JPEG and read back."
    files = [io.BytesIO() for _ in images]
    for image, file in zip(images, files, strict=True):
        Image.fromarray(image[0].numpy()).save(file, "JPEG", quality=75)
    return torch.stack([torch.from_numpy(np.array(Image.open(file)))[None] for file in files])


floats = 0.9 * to_model(real) + 0.1 * to_model(real).roll(1, 3)
there_and_back = lambda mode, **how: F.interpolate(F.interpolate(floats, scale_factor=1.5, mode=mode, **how), size=16, mode=mode, **how)
kinds = {
    "float": floats,
    "rounded to bytes (PNG)": to_model(to_image(floats)),
    "cut off to bytes": to_model(((floats + 1) * 127.5).byte()),
    "JPEG": to_model(through_jpeg(to_image(floats))),
    "to 24x24 and back, bicubic": there_and_back("bicubic", antialias=True).clamp(-1, 1),
    "to 24x24 and back, bilinear": there_and_back("bilinear", antialias=True),
    "to 24x24 and back, nearest": there_and_back("nearest"),
}
with torch.no_grad():
    png = {name: frechet_distance_of_features(digits.network.cpu()(x).double(), reference) for name, x in kinds.items()}
for name, distance in png.items():
    print(f"{name:>30}: {distance:6.2f}")
real_floor = floor("fd_lenet", dataset, 16, 500)
print(f"{'floor':>30}: {real_floor['floor']:6.2f} ± {real_floor['floor_sd']:.2f}")
assert abs(png["rounded to bytes (PNG)"] - png["float"]) < 0.1 * real_floor["floor_sd"]
assert abs(png["to 24x24 and back, nearest"] - png["float"]) > real_floor["floor_sd"]

# %% [markdown]
# Rounding, cutting off and JPEG change little here; resizing changes the distance by much, least with bicubic (24 against 13). For report 003's two FIDs this suggests, though it does not prove (its features were Inception's), that storing bytes was not the cause. What genlab measures are always bytes, rounded, at the size they were made.
#
# ## A digit classifier, or Inception?
#
# Inception can be applied to digits, blown up to 299x299. Does its distance see the same faults? For each fault, how many standard deviations is it above the floor? (The floor itself is mostly bias, the more the more features there are.) This needs Inception's weights, which have to be downloaded once; where they are not to be had, the column stays empty.

# %%
#| eval: false
with contextlib.redirect_stderr(io.StringIO()):  # where a download is announced
    both = {name: evaluate(faults[name], dataset, ["fd_lenet", "fid"]) for name in ("copies", "blurred", "noisy", "five classes", "shifted")}
above = lambda score: f"{(score['value'] - score['floor']) / score['floor_sd']:.1f}" if score["value"] is not None else "—"
pd.DataFrame({name: {metric: above(score) for metric, score in pair.items()} for name, pair in both.items()}).T

# %% [markdown]
# ## Error bars
#
# Besides the test images, three things make a model's distance vary: which samples were drawn, which seed it was trained with, and at which update training stopped, since the weights keep jumping. A moving average of the weights (EMA) smooths the jumps, but lags behind while the model still improves. The GAN of [01_gan](01_gan.ipynb), trained for 40 epochs with three seeds, with and without EMA:

# %%
#| eval: false
with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
    patch.setenv("GENLAB_RUNS", home)
    from genlab.gan import GANConfig, run_gan

    trained = {}
    for average in (0.0, 0.95):
        with contextlib.redirect_stdout(io.StringIO()):
            runs = [run_gan(GANConfig(epochs=40, seed=seed, ema=average)).metrics(40)["scores"]["fd_lenet"] for seed in range(3)]
        trained[f"EMA {average}" if average else "no EMA"] = runs
for name, runs in trained.items():
    values = [score["value"] for score in runs]
    print(f"{name:>8}: {', '.join(f'{v:.1f}' for v in values)}; sd over seeds {np.std(values, ddof=1):.1f}, over samples of one model {np.mean([score['sd'] for score in runs]):.1f}")


# %% [markdown]
# (Three seeds give a rough idea of a standard deviation, no more.) Without and with EMA the means are 74.5 and 74.2: no difference to be seen. With EMA, three seeds agree to 0.5 by luck, for other samples alone would make them differ by 6; so take the larger of the two spreads. A difference between two *kinds* of model that is smaller than either is no result.

# %% [markdown]
# ## From the command line
#
# `genlab_metrics SAMPLES REFERENCE` measures what lies on disk. Both may be a folder of images, an `.npz` file with an array of images, or the folder of a run or of one of its epoch counts; or the name of a data set, of which the samples are the training images and the reference the test images. Files that are no images are skipped and counted; hidden ones, such as what Jupyter keeps in `.ipynb_checkpoints`, are left out.

# %%
#| export
def _read_folder(folder: Path) -> torch.Tensor:
    "The images of a folder in the order of their names, uint8 (N, C, H, W); grey if all are. ValueError for several sizes or none."
    paths = [Path(path) for path, *_ in image_files(str(folder))]
    images, skipped = {}, 0
    modes = find_modes(lambda path=path: Image.open(path) for path in paths)
    for path in progress(paths, f"reading {folder.name}", "image"):
        try:
            with Image.open(path) as image:
                images[path] = to_square(image, None, grey=False, white=modes.get(image.mode))
        except BROKEN:
            skipped += 1
            continue
        first = next(iter(images))
        if images[path].shape != images[first].shape:
            sizes = ["x".join(map(str, images[p].shape[:0:-1])) for p in (first, path)]
            raise ValueError(f"{folder}: images of several sizes, such as {first.name} ({sizes[0]}) and {path.name} ({sizes[1]}); make them alike first.")
    if skipped:
        warnings.warn(f"{folder}: {skipped} of {len(paths)} files are not readable images and were skipped.", stacklevel=3)
    if not images:
        raise ValueError(f"{folder}: there are no images ({', '.join(ENDINGS)}) in it.")
    return _grey_if_grey(torch.from_numpy(np.stack(list(images.values()))))


# %% [markdown]
# An array, a folder or a run:

# %%
#| export
def load_images(path: Path) -> torch.Tensor:  # uint8, or float in [-1, 1]; (N, C, H, W)
    "The images of an npz file, of a folder of image files, or of a run (its last epoch count). ValueError if there are none."
    if path.is_dir():
        ready = [path / "samples.npz", *sorted(path.glob("epoch-*/samples.npz"), reverse=True)]
        return load_images(found[0]) if (found := [p for p in ready if p.exists()]) else _read_folder(path)
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder (and no data set of that name).")
    try:
        with np.load(path) as arrays:
            images = torch.from_numpy(_array_of_images(arrays))
    except (ValueError, OSError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as problem:
        raise ValueError(f"{path}: it is no npz file with an array of images ({problem}).") from None
    if images.ndim == 3:
        images = images[:, None]
    channels_last = images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3)
    return _grey_if_grey(images.permute(0, 3, 1, 2).contiguous() if channels_last else images)


# %% [markdown]
# An npz file may hold labels and other things beside the images:

# %%
#| export
def _array_of_images(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    "The array named samples, or the only one with three or four dimensions. ValueError if there is none, or several."
    if "samples" in arrays:
        return arrays["samples"]
    found = {}
    for name in arrays:
        with contextlib.suppress(ValueError):  # an array of Python objects, which is never opened
            if arrays[name].ndim in (3, 4) and arrays[name].dtype.kind in "buif":
                found[name] = arrays[name]
    if len(found) != 1:
        raise ValueError(f"{' and '.join(found)} may be images; name one of them samples" if found else "no array has three or four dimensions")
    return next(iter(found.values()))


# %% [markdown]
# Grey images often come with three equal channels:

# %%
#| export
def _grey_if_grey(images: torch.Tensor) -> torch.Tensor:
    "One channel instead of three equal ones, as which many programs save grey images."
    same = images.ndim == 4 and images.shape[1] == 3 and bool((images[:, :1] == images[:, 1:]).all())
    return images[:, :1].contiguous() if same else images


# %%
#| export
def _config(path: Path) -> dict:
    "config.json of the run that a folder belongs to, or nothing; somebody else's file of that name is left alone."
    for folder in (path, *list(path.absolute().parents)[:2]):
        with contextlib.suppress(OSError, ValueError):
            config = json.loads((folder / "config.json").read_text())
            if isinstance(config, dict) and {"model", "dataset", "seed"} <= config.keys():
                return config
    return {}


# %% [markdown]
# Now the command. What it is told:

# %%
#| export
def _limits(text: str) -> tuple[float, float]:
    "Black and white from the command line."
    try:
        black, white = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"two numbers, black and white, such as 0,1; not {text!r}") from None
    return black, white


def _options() -> argparse.Namespace:
    names = [name for measure in MEASURES for name in measure.metrics]
    also = "A name that begins with - stands last, after --, as in: genlab_metrics --metrics fid -- -mine.npz mnist"
    parser = argparse.ArgumentParser(description=main.__doc__, epilog=f"Metrics: {', '.join(names)}. 05_fid explains them. {also}")
    parser.add_argument("samples", help="a folder of images, an .npz file, the folder of a run, or a data set such as mnist, whose training images are taken")
    parser.add_argument("reference", help="the same, but of a data set the test images are taken")
    parser.add_argument("--metrics", nargs="+", metavar="METRIC", choices=names, help="default: all in LeNet's features, or all in Inception's if there is no LeNet")
    parser.add_argument("--classifier", metavar="DATASET", help="whose LeNet; default: that of the reference, or of the run")
    parser.add_argument("--range", type=_limits, metavar="BLACK,WHITE", help="what arrays of floats call black and white, as --range=0,1 or --range=-1,1; by default only what cannot be mistaken is taken")
    parser.add_argument("--json", action="store_true", help="print all that is known as JSON")
    return parser.parse_args()


# %% [markdown]
# And what it does: read, call `evaluate`, print. If nothing of what was asked for can be had, the exit status says so.

# %%
#| export
def main() -> None:
    "The command `genlab_metrics`: how far are images from other images?"
    options = _options()
    is_dataset = lambda name: name.partition(":")[0] in (*LOADERS, *CONVERTERS)
    read = lambda name: _as_bytes(load_images(Path(name)), name, options.range)
    try:
        samples = load_dataset(check_dataset(options.samples)).images if is_dataset(options.samples) else read(options.samples)
        reference = check_dataset(options.reference) if is_dataset(options.reference) else read(options.reference)
        classifier = options.classifier or (reference if isinstance(reference, str) else _config(Path(options.samples)).get("dataset"))
        lenet = classifier and load_dataset(classifier).labels is not None
        usual = [name for measure in MEASURES if measure.extractor == ("lenet" if lenet else "inception") for name in measure.metrics]
        scores = evaluate(samples, reference, options.metrics or usual, classifier)
    except (ValueError, RuntimeError, OSError) as problem:
        sys.exit(f"genlab_metrics: {problem}")
    _print_scores(options.samples, scores, options.json)


def _print_scores(name: str, scores: dict[str, dict], as_json: bool) -> None:
    "A table, or all as JSON. SystemExit with the reason if there is nothing in it."
    reasons = {}
    for metric, score in scores.items():
        if score["value"] is None:
            reasons.setdefault(score["why"], []).append(metric)
    missing = [f"no {', '.join(metrics)}: {why}" for why, metrics in reasons.items()]
    nothing = all(score["value"] is None for score in scores.values())
    if as_json:
        print(json.dumps(scores, indent=2, allow_nan=False))
    elif not nothing:
        print(score_table({name: scores}).T.to_string())
        print(*sorted({f"{s['n_reference']:,} reference images; {s['extractor']}, weights {s['hash']}" for s in scores.values() if "hash" in s}), sep="\n")
        print(*(f"{sentence[0].upper()}{sentence[1:]}." for sentence in missing), sep="\n", end="")
    if nothing:
        sys.exit(f"genlab_metrics: {'; '.join(missing)}.")


# %% [markdown]
# For example, the noisy digits from above, from a folder and from a file:

# %%
def command(*words):
    "What the command prints, and its exit status."
    out, status = io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        patch.setattr("sys.argv", ["genlab_metrics", *map(str, words)])
        try:
            main()
        except SystemExit as stop:  # a sentence: Python prints it, and the status is 1
            print(stop.code)
            status = 1
    return out.getvalue() + "".join(str(w.message) for w in caught), status


home = tempfile.TemporaryDirectory()
folder, file = Path(home.name, "noisy"), Path(home.name, "noisy.npz")
folder.mkdir()
for i, image in enumerate(faults["noisy"]):
    Image.fromarray(image[0].numpy()).save(folder / f"{i:04}.png")
np.savez(file, faults["noisy"].permute(0, 2, 3, 1))
printed = command(file, dataset)[0]
print(printed.replace(str(file), "noisy.npz"))

# %%
from_json = json.loads(command(folder, dataset, "--json", "--metrics", "fd_lenet", "class_kl")[0])
assert from_json["fd_lenet"] == scores["noisy"]["fd_lenet"] and from_json["class_kl"]["value"] == scores["noisy"]["class_kl"]["value"]
assert f"{from_json['fd_lenet']['value']:.1f} ± {from_json['fd_lenet']['sd']:.1f}" in printed and all(metric in printed for metric in table_metrics)
against_images = json.loads(command(file, folder, "--json", "--classifier", dataset, "--metrics", "fd_lenet")[0])["fd_lenet"]
assert against_images["value"] < 1e-6 and against_images["floor"] is None
(folder / "broken.png").write_text("no image")
assert "1 of 501 files are not readable images and were skipped" in command(folder, dataset, "--metrics", "fd_lenet")[0]
Image.new("L", (5, 7)).save(folder / "small.png")
(Path(home.name) / "empty").mkdir()
np.savez(Path(home.name, "text.npz"), np.array(["no", "images"]))
np.savez(Path(home.name, "bright.npz"), faults["noisy"] / 255)
assert "± " in command(Path(home.name, "bright.npz"), dataset, "--range", "0,1", "--metrics", "fd_lenet")[0]
for words, sentence in [
    ((folder, dataset), "images of several sizes, such as 0000.png (16x16) and small.png (5x7)"),
    ((Path(home.name) / "empty", dataset), "there are no images (.jpg"),
    ((file, "mnits"), "mnits: there is no such file or folder (and no data set of that name)"),
    ((file, file, "--metrics", "fd_lenet"), "whose LeNet? Name a data set"),
    ((folder / "broken.png", dataset), "it is no npz file"),
    ((Path(home.name, "text.npz"), dataset), "it is no npz file with an array of images"),
    ((Path(home.name, "bright.npz"), dataset), "floats from -1 (black) to 1; these are torch.float32 from 0 to 1"),
]:
    printed, status = command(*words)
    assert status == 1 and sentence in printed and len(printed.splitlines()) == 1, printed

# %%
#| hide
home.cleanup()

# %% [markdown]
# ## What to remember
#
# - A Frechet distance is made of *extractor, N, reference set*; without them it is not a number.
# - With fewer samples than features use the Gram form, because a general matrix square root may be right to seven digits, or return noise of any size and sign.
# - Look at the floor first, and at the spread over seeds before you call one model better.
# - One number cannot tell bad from monotonous from copied; precision, recall and copies each see a part of it. And look at the pictures.
# - Nearer to the training set than test images are: copies, or merely typical images. Copies are what is nearer to *one* training image than chance would have it.
# - An error bar needs the name of what varies: other samples, other test images, or other seeds.
#
# ## Exercises
#
# 1. Compare the training images with the test set after rotating all of them by 5, 10 and 20 degrees. Which is worse for `fd_lenet`, rotation or blur?
# 2. Show that the distance of two Gaussians with the same mean and commuting covariances is the sum of squared differences of standard deviations along the common axes.
# 3. Make two sets of features with the same mean and covariance but clearly different distributions. What is their Frechet distance, and what does `kernel_distance` say?
# 4. Make 500 images out of ten different ones, with the highest `lenet_score` you can reach. What do the other measures say about it?
# 5. Precision and recall depend on $k$ and on $N$. Plot both for training images against $k=1\ldots20$, at $N=100$ and $N=500$.
# 6. A model may copy some training images and be far from data elsewhere, and its `memorisation` be 0.5. `copies` finds out that some are. How would one find out *which kinds* of image it copies? (Meehan et al. 2020 divide the space into cells.)

# %% [markdown]
# ## Solutions
#
# <details><summary>1. Rotated, or blurred?</summary>
#
#     from torchvision.transforms.functional import InterpolationMode, rotate
#     x = to_model(train.images)
#     blur = lambda x: F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
#     changed = {"as they are": x, "blurred, 3x3": blur(x), "blurred twice": blur(blur(x))}
#     changed |= {f"rotated by {angle} degrees": rotate(x, angle, InterpolationMode.BILINEAR, fill=-1.0) for angle in (2, 5, 10, 20)}
#     score_table({name: evaluate(to_image(images), dataset) for name, images in changed.items()})
#
# On `digits` (all 1,297 training images, the shipped LeNet), `fd_lenet` was 9.4 for the images as they are, 11, 33, 80 and 191 at 2, 5, 10 and 20 degrees, and 409 and 904 for one and two passes of a 3x3 mean. So one light blur is worse than any of these rotations. The spread over halves is 4 to 10, so from 5 degrees on the order is not in doubt. A digit tilted by 10 degrees is one that somebody might have written; none of the training images is so blurred. "Rotation is less bad than blur" cannot be said in general, only of so many degrees and so many pixels.
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
#     print(frechet_distance(centre, (U * a**2) @ U.T, centre, (U * b**2) @ U.T), (a - b).square().sum().item())
#
# The same pairs of standard deviations, matched otherwise, give another distance: it matters which axis is whose.
#
# </details>
#
# <details><summary>3. Equal moments, different distributions</summary>
#
# Take any samples, subtract the mean, multiply by the inverse of the covariance's Cholesky factor, and mean and covariance are 0 and 1 *exactly*:
#
#     def whitened(x):
#         x = x - x.mean(0)
#         return torch.linalg.solve_triangular(torch.linalg.cholesky(x.T.cov()), x.T, upper=False).T
#
#     generator = torch.Generator().manual_seed(0)
#     bell = torch.randn(4000, 4, generator=generator, dtype=torch.float64)
#     others = {"signs": bell.sign()[torch.randperm(4000, generator=generator)], "skewed": torch.rand(4000, 4, generator=generator, dtype=torch.float64).log()}
#     for name, other in others.items():
#         x, y = whitened(bell), whitened(other)
#         value, spread = kernel_distance(x, y)
#         print(f"{name}: Frechet {frechet_distance_of_features(x, y):.1e}, kernel {value:.3f} ± {spread:.3f}")
#
# Measured with these seeds: for the signs a Frechet distance of 0 and a kernel distance of −0.003 ± 0.005, for the skewed set 0 and 0.23 ± 0.05.
#
# The Frechet distance is zero for both, as it must be. The kernel distance sees the skewed set and not the corners of a cube, though a picture would tell these from a bell at once. Expand the kernel, $(x^\top y/D+1)^3=\sum_{p\le3}\binom3p(x^\top y)^p/D^p$: the mean of $(x^\top y)^p$ is the inner product of the two sets' tensors of moments of order $p$, so the squared distance is $\sum_{p\le3}\binom3pD^{-p}\lVert\mathbb E\,x^{\otimes p}-\mathbb E\,y^{\otimes p}\rVert^2$. It compares means, covariances and *third* moments, and nothing else. With equal means and covariances only $p=3$ is left; a bell and random signs have third moments of zero, while those of an exponential distribution are $\pm2$ in each of the $D=4$ coordinates: $4\cdot2^2/4^3=0.25$.
#
# </details>
#
# <details><summary>4. Ten images with a perfect score</summary>
#
# Of each class the training image that LeNet is surest of, 50 times. And since we know how the score is split into ten parts (a fixed permutation), we can also see to it that each part gets five of each:
#
#     with torch.no_grad():
#         sure = digits.head(digits(train.images).float()).log_softmax(1).argmax(0)
#     order = torch.from_numpy(np.random.RandomState(2020).permutation(500))
#     arranged = torch.empty_like(real)
#     arranged[order] = train.images[sure][torch.arange(500) % 10]
#     ten = {"ten images": train.images[sure].repeat(50, 1, 1, 1), "the same, arranged": arranged}
#     score_table({name: evaluate(images, dataset, table_metrics) for name, images in ten.items()}).T
#
# On `digits` the arranged ones score 10.00, the largest possible value, and the same images in plain order 9.15 ± 0.09: a random tenth of 50 images does not hold five of each. Real images have 9.09 ± 0.09. What the others say: `recall` 0 and `intra_class` 0, each of which is damning by itself; `memorisation` 0, and `copies` 1 says that it is for copies; coverage 0.10 in place of 0.96; `fd_lenet` 111 in place of 13. Precision (0.90), density (0.98) and `class_kl` (0.007) see nothing wrong, as these are real images of all classes. And a score that depends on the *order* of the images has a flaw of its own; it is harmless as long as nobody exploits it.
#
# </details>
#
# <details><summary>5. What k and N do to precision and recall</summary>
#
#     fig, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained", sharey=True)
#     for n in (100, 500):
#         curves = np.array([precision_recall(features[:n], reference[:n], k) for k in range(1, 21)])
#         for ax, curve, name in zip(axes, curves.T, ("precision", "recall"), strict=True):
#             ax.plot(range(1, 21), curve, label=f"N = {n}")
#             ax.set(xlabel="$k$", title=f"{name} of real training images")
#     axes[0].legend(frameon=False)
#     print(curves[[0, 2, 9, 19]].round(2).tolist())
#
# (`features` and `reference` are those of the section on the floor: training and test images.) On `digits`, precision rises from 0.63 at $k=1$ to 0.91, 0.99 and 1.00 at $k=3$, 10 and 20, with $N=500$; with $N=100$ it is 0.67, 0.90, 1.00 and 1.00. Recall: 0.53, 0.85, 0.97 and 1.00, and 0.58, 0.91, 1.00 and 1.00. So $k$ decides nearly all and $N$ nearly nothing. For *equal* distributions this can be understood: take a real image with its $N-1$ other real images and one sample. The sample is as likely as any of these $N$ to be among the $k$ nearest, so it lies in that image's ball with the probability $k/N$, and in $k$ of the $N$ balls on average, whatever $N$ and the data are. If the number of balls were Poisson distributed, precision would be $1-e^{-k}$: 0.63 at $k=1$ and 0.95 at $k=3$, which is near what was measured. With a large $k$, then, real images have a perfect precision, but so do many others; with a small one all values are low. $N$ matters for a model that is *not* good: balls shrink as $N$ grows, and its samples drop out of them. Compare at the same $k$ and $N$ only.
#
# </details>
#
# <details><summary>6. Copies here, far there</summary>
#
# `memorisation` is a single average over ranks, and `copies` a share of all samples. A rank is where a sample stands among test images, by its distance to the training set. Look at *all* ranks, which for a good model are uniform, and at the average in each of several cells of feature space. A model for it: copies of training images of the classes 0 to 4, and training images of the others with so much noise that they are far away.
#
#     from sklearn.cluster import KMeans
#     low = train.labels < 5
#     far = to_model(train.images[~low][:250])
#     far = to_image(far + 0.9 * torch.randn(far.shape, generator=torch.Generator().manual_seed(0)))
#     made = digits(torch.cat([train.images[low][:250], far]))
#     print("all:", memorisation(made, features, reference), copies(made, features, reference)["value"])
#     ranks = _share_below(*(nearest(x, features)[0][:, 0].contiguous() for x in (made, reference)))
#     print("ranks, ten bins:", np.histogram(ranks, 10, (0, 1))[0])
#     cells = KMeans(10, n_init=10, random_state=0).fit(features)
#     a, b = (torch.from_numpy(cells.predict(x)) for x in (made, reference))
#     for c in range(10):
#         if min((a == c).sum(), (b == c).sum()) >= 10:
#             print(c, (a == c).sum().item(), [round(v, 2) for v in memorisation(made[a == c], features, reference[b == c])])
#
# The average is 0.458 ± 0.021, two standard errors below 0.5 and hardly suspicious; `copies` is 0.500 ± 0.022, as it should be. The ranks are: 250 samples, all the copies, are in the lowest of ten bins, and 184 in the highest; for a good model each would have about 50. And by cell, five have about 0.9 and four about 0.1 or less, with standard errors of 0.02 to 0.04; in one (0.23) both kinds meet. Meehan et al. (2020) make one number of this: they turn the statistic of each cell into a z-score and average over cells. It needs enough test images in each cell, which limits how fine cells can be; and if copies and strays lie in the *same* cell, only the ranks tell. In "half of it noise" above, whose `memorisation` is 0.496, half of the ranks are in the lowest bin and half in the highest.
#
# </details>
