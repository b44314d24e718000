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
# > How far is a pile of generated images from a pile of real ones? Feature statistics, the Frechet distance, and the floor that tells what a number means
#
# A generative model is good if its images could have come from the data. That is a statement about two *distributions*, of which we hold samples. The Frechet Inception Distance (FID, [Heusel et al. 2017](https://arxiv.org/abs/1706.08500)) compares them in three steps: map each image to a feature vector, describe each pile by the mean and covariance of its features, and measure the distance between the two Gaussians that have these moments.
#
# Report 000 computed FIDs of 1.186e80, 1.297e109 and -3.752e92, found that "it is impossible to carry out an analysis", and went on with the FID of one image against one image. At the end of this notebook you know what happened.

# %%
#| default_exp fid

# %% tags=["parameters"]
dataset = "digits"  # for the floor and the classifier below
train_classifiers = False  # True: train the LeNets for digits and mnist again and replace those in genlab/weights

# %%
#| export
import contextlib
import copy
import functools
import hashlib
import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError

import pytorch_fid.inception
import torch
import torch.nn.functional as F
from filelock import FileLock
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.hub import load_state_dict_from_url

from genlab.data import ImageSet, cache_dir, derive_seed, epoch_batches, load_dataset, progress, to_model
from genlab.runs import atomic, make_accelerator, seed_everything

# %%
#| hide
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
from pytorch_fid.fid_score import calculate_frechet_distance
from scipy import linalg

from genlab.data import show_grid, to_image


# %% [markdown]
# ## The distance between two Gaussians
#
# Think of moving a heap of sand with the shape of one Gaussian so that it gets the shape of another. The smallest possible mean of the squared distances that the grains travel is the squared 2-Wasserstein or Frechet distance, and for Gaussians it has a closed form ([Dowson and Landau 1982](https://doi.org/10.1016/0047-259X(82)90077-X)):
#
# $$ d^2 = \lVert\mu_1-\mu_2\rVert^2 + \operatorname{tr}\!\big(\Sigma_1+\Sigma_2-2(\Sigma_1\Sigma_2)^{1/2}\big). $$
#
# As is usual, $d^2$ itself is what gets reported and called the distance. Everything but the trace of $(\Sigma_1\Sigma_2)^{1/2}$ is arithmetic. That trace is the sum of the square roots of the eigenvalues of $\Sigma_1\Sigma_2$. This product is *not* symmetric, and a general matrix square root of it is slow and, for singular covariances, unstable. But apart from zeros it has the same eigenvalues as a symmetric matrix. With any factor $\Sigma_1=LL^\top$,
#
# $$ \operatorname{eig}(\Sigma_1\Sigma_2)=\operatorname{eig}(LL^\top\Sigma_2)=\operatorname{eig}(L^\top\Sigma_2L), $$
#
# so a Cholesky factor and `eigvalsh` do it. If one of the covariances is singular, the Cholesky algorithm breaks down, and if the two covariances are nearly equal the rounding errors of small eigenvalues, enlarged by the square root, would be all that is left. Then both are factored through their eigenvectors, and since $\operatorname{eig}(L_1^\top L_2L_2^\top L_1)$ are the squared singular values of $L_1^\top L_2$, the trace is the sum of those singular values (the *nuclear norm*), without ever squaring and rooting a rounding error.

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
# Inception gives 2,048 features. Report 000 generated 128 images. If these are what its FID was computed from, their covariance had a rank of 127 at most: at least 1,921 of the 2,048 eigenvalues of $\Sigma_1\Sigma_2$ are zero, or would be without rounding. The usual code takes a general matrix square root of that product. It brings the matrix to triangular form $T$ and finds the root $R$ entry by entry ([Björck and Hammarling 1983](https://doi.org/10.1016/0024-3795(83)80010-X)):
#
# $$ R_{ii}=\sqrt{T_{ii}},\qquad R_{ij}=\frac{T_{ij}-\sum_{i<k<j}R_{ik}R_{kj}}{R_{ii}+R_{jj}}. $$
#
# In the null space $T$ is nothing but rounding noise, of size $10^{-17}$ say, and each entry divides by noise and feeds the next ones. A random triangular matrix is exponentially ill-conditioned in its size ([Viswanath and Trefethen 1998](https://doi.org/10.1137/S0895479896312869)), and its root grows in the same way, as we now see. Here is the recurrence, without any guard, on triangular noise alone:

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
# Entries of such sizes are where numbers like 1.186e80, 1.297e109 and -3.752e92 can come from. We cannot repeat the report's computation, so this is the likely cause and not a proof. The trace of $R$ should not care, since it is the sum of the $R_{ii}$; but turning $R$ back with rotations that are unitary only to $10^{-16}$ leaves a share of those entries in the result, of either sign.
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
# The exact values fall with the number of images although nothing about the two distributions changes. That is no numerical error but *bias*: with few samples the estimated means and covariances of the two sets differ by chance. It never quite goes away, which is why a Frechet distance without its number of samples is not a number, and why we always show a floor next to it (below).
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
# Which features? An *extractor* maps bytes to vectors and has a name and a hash, because a distance in the features of one network says nothing about a distance in those of another.

# %%
#| export
class Extractor(NamedTuple):
    "A map from images to features, and its identity."

    name: str  # for people: "LeNet-5 (mnist, 28x28)"
    hash: str  # of the weights, 12 hex digits
    network: nn.Module  # float32 in [-1, 1] (B, C, H, W) -> features (B, D)
    batch_size: int

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        "Features, float64 (N, D) on the CPU, of uint8 images (N, C, H, W)."
        device = make_accelerator().device
        net, features = self.network.to(device).eval(), []
        for batch in progress(images.split(self.batch_size), self.name, "batch"):
            features.append(net(to_model(batch.to(device))).cpu().double())
        return torch.cat(features)


def weights_hash(network: nn.Module) -> str:
    "12 hex digits of the SHA-256 of all parameters and buffers, in the order of their names."
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


# %% [markdown]
# ### LeNet: features for digits
#
# Inception was trained on photographs of 1,000 kinds of things, 299 pixels wide. A digit of 28x28 pixels, blown up and copied into three equal channels, is nothing it has ever seen, and its weights are a download of 90 MB. For digits we use a network that knows digits: after LeNet-5 ([LeCun et al. 1998](https://doi.org/10.1109/5.726791)), with ReLU and max-pooling. Its features are the 84 numbers before the last activation; the distance in them is called **`fd_lenet`** and never FID. The weights for `digits` and `mnist` ship with the package, so that everyone gets the same number.

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
# Training is the plainest loop there is: cross-entropy, AdamW, batches of 64. A random shift by at most a pixel, one for each batch, keeps it from learning 1,297 digits by heart. The learning rate falls to zero along a cosine.

# %%
#| export
def train_lenet(
    data: ImageSet,  # with labels
    updates: int = 4000,
    seed: int = 0,
) -> LeNet:
    "A LeNet-5 trained to tell the classes of `data` apart. ValueError without labels."
    if data.labels is None:
        raise ValueError("fd_lenet needs a classifier, and a data set without labels cannot train one; sort the images into class folders.")
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


def _train_lenet_once(dataset: str, size: int) -> Path:
    "The cached classifier of a data set that none is shipped for; its name holds a hash of the images it was trained on."
    train, test = (load_dataset(dataset, split, size) for split in ("train", "test"))
    digest = hashlib.sha256(train.images.numpy()).hexdigest()[:12]
    path = cache_dir("lenet") / f"lenet-{size}-{digest}.safetensors"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            net = train_lenet(train)
            save_lenet(net, path, dataset=dataset, size=size, accuracy=accuracy(net, test))
    return path


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
    def __init__(self, net: LeNet):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net.features(x)


def lenet_extractor(dataset: str, size: int | None = None) -> Extractor:
    "LeNet features for a data set, 84 numbers an image."
    net, about = load_lenet(dataset, size)
    return Extractor(f"LeNet-5 ({dataset}, {about['size']}x{about['size']})", weights_hash(net), _Features(copy.deepcopy(net)), 500)


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
        usual, theirs.load_state_dict_from_url = theirs.load_state_dict_from_url, functools.partial(load_state_dict_from_url, weights_only=True)
        try:  # weights_only: a pickle that may hold arrays and nothing that runs
            self.net = theirs.InceptionV3([theirs.InceptionV3.BLOCK_INDEX_BY_DIM[2048]])
        finally:
            theirs.load_state_dict_from_url = usual

    def forward(self, x):
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        return self.net((x + 1) / 2)[0].flatten(1)


@functools.cache
def inception_extractor() -> Extractor:
    "The features of FID. RuntimeError, with the place to put them, if the weights cannot be had."
    try:
        net = _Inception()
    except (URLError, OSError) as problem:
        place = Path(torch.hub.get_dir(), "checkpoints", Path(pytorch_fid.inception.FID_WEIGHTS_URL).name)
        raise RuntimeError(f"Inception's weights are not at {place} and could not be downloaded ({problem})") from None
    return Extractor("Inception-v3 (pytorch-fid)", weights_hash(net), net, 50)


# %% [markdown]
# ## Scoring samples, and the floor
#
# How small can the distance get? Not zero: even *real* training images, as many as there are samples, are some way off the test set, because both are finite. That distance is the **floor**. It depends on which training images are drawn, so we draw five times and give mean and standard deviation. A model at the floor cannot be told from the data by this measure at this number of samples; a model at ten times the floor has ten times the (squared) distance that real images have. Every table of genlab shows it.
#
# Three cautions. A good model may fall below the floor by chance. A model that returns the training images sits *at* the floor: this distance does not see memorising. And the classifier has seen the training images, so the floor holds a little of its overfitting, too. (Published FIDs usually compare 50,000 samples with the *training* set; ours compare $N$ samples with the *test* set, so the two are not comparable.)

# %%
#| export
EXTRACTORS: dict[str, Callable[[str, int], Extractor]] = {
    "fd_lenet": lenet_extractor,
    "fid": lambda dataset, size: inception_extractor(),
}


@functools.lru_cache(maxsize=8)
def _features(metric: str, dataset: str, split: str, size: int, n: int | None, seed: int) -> torch.Tensor:
    images = load_dataset(dataset, split, size).images
    if n is not None and n < len(images):
        images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(derive_seed(seed, 3)))[:n]]
    return EXTRACTORS[metric](dataset, size)(images)


FLOOR_DRAWS = 5


def check_metrics(dataset: str, size: int | None, metrics: tuple[str, ...]) -> int:  # number of test images
    "Have the extractors ready before a long training, so that what cannot be scored is said first. ValueError if so."
    images = load_dataset(dataset, "test", size).images
    for metric in metrics:
        with contextlib.suppress(RuntimeError):  # weights that cannot be downloaded: `evaluate` gives the reason
            EXTRACTORS[metric](dataset, images.shape[-1])  # kept for `evaluate`, which asks with the same size
    if len(images) < 2:
        raise ValueError(f"dataset: {dataset} has {len(images)} test image, and a distribution needs two at least.")
    return len(images)


@functools.cache
def floor(metric: str, dataset: str, size: int, n: int, seed: int = 0) -> dict[str, float | None]:
    "Distance of n real training images to the test set: mean and standard deviation over FLOOR_DRAWS random draws."
    reference = _features(metric, dataset, "test", size, None, seed)
    pool = _features(metric, dataset, "train", size, FLOOR_DRAWS * n, seed)
    if n >= len(pool):  # there is only one way to draw them all
        return {"floor": frechet_distance_of_features(pool, reference), "floor_sd": None, "n_floor": len(pool)}
    generator = torch.Generator().manual_seed(derive_seed(seed, 4))
    picks = [torch.randperm(len(pool), generator=generator)[:n] for _ in range(FLOOR_DRAWS)]
    draws = torch.tensor([frechet_distance_of_features(pool[pick], reference) for pick in picks])
    return {"floor": draws.mean().item(), "floor_sd": draws.std().item(), "n_floor": n}


# %%
#| export
def evaluate(
    samples: torch.Tensor,  # uint8 (N, C, H, W)
    dataset: str,  # compared with the test split of this
    metrics: tuple[str, ...] = ("fd_lenet",),  # of fd_lenet, fid
    seed: int = 0,  # which training images make the floor
) -> dict[str, dict]:  # metric: value, n, n_reference, floor, floor_sd, n_floor, extractor, hash; or value None and why
    "Distances of samples from the test set, each with all that is needed to know what it means. ValueError below two samples."
    if len(samples) < 2:
        raise ValueError(f"evaluate: a distribution needs two samples at least, and there is {len(samples)}.")
    size, scores = samples.shape[-1], {}
    for metric in metrics:
        try:
            extractor = EXTRACTORS[metric](dataset, size)
        except RuntimeError as why:
            scores[metric] = {"value": None, "why": str(why)}
            continue
        reference = _features(metric, dataset, "test", size, None, seed)
        scores[metric] = {
            "value": frechet_distance_of_features(extractor(samples), reference),
            "n": len(samples),
            "n_reference": len(reference),
            **floor(metric, dataset, size, len(samples), seed),
            "extractor": extractor.name,
            "hash": extractor.hash,
        }
    return scores


# %%
train = load_dataset(dataset, "train")
real, noise = train.images[:500], torch.randint(0, 256, train.images[:500].shape, generator=torch.Generator().manual_seed(0)).byte()
blurred = to_image(F.avg_pool2d(to_model(real), 3, stride=1, padding=1))
scores = {name: evaluate(images, dataset)["fd_lenet"] for name, images in [("training images", real), ("blurred", blurred), ("noise", noise)]}
for name, score in scores.items():
    print(f"{name:>16}: fd_lenet {score['value']:9.2f}, floor {score['floor']:.2f} ± {score['floor_sd']:.2f}, N={score['n']} against {score['n_reference']}, {score['extractor']}")
values = [score["value"] for score in scores.values()]
assert floor("fd_lenet", dataset, real.shape[-1], 10**6)["floor_sd"] is None
assert values[0] < 3 * scores["blurred"]["floor"] and values[0] < values[1] < values[2]
with pytest.raises(ValueError, match="two samples"):
    evaluate(real[:1], dataset)

# %% [markdown]
# The floor itself falls with the number of samples. Twenty draws of training images at each N, against the whole test set:

# %%
extract = lenet_extractor(dataset, train.images.shape[-1])
reference, features = extract(load_dataset(dataset, "test").images), extract(train.images)
sizes, generator = [50, 100, 200, 350, 500, 800], torch.Generator().manual_seed(0)
draws = [[frechet_distance_of_features(features[torch.randperm(len(features), generator=generator)[:n]], reference) for _ in range(20)] for n in sizes]
means, spread = np.mean(draws, 1), np.std(draws, 1)
assert (np.diff(means) < 0).all(), "fewer samples, larger distance"
fig, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
ax.errorbar(sizes, means, spread, marker="o", capsize=3)
ax.set(xlabel="number of training images N", ylabel="fd_lenet to the test set", ylim=0, title="the floor depends on N (bars: standard deviation of 20 draws)");

# %% [markdown]
# And report 000's second attempt, one real image against one generated one? A single image has no covariance; the most that can be left is the squared distance of two feature vectors, which says how different *these two pictures* are. It is large for two perfectly real digits of the same kind, and says nothing about a model:

# %%
sixes = features[train.labels == 6][:40]
pairs = torch.cdist(sixes, sixes).square()[torch.triu_indices(40, 40, 1).unbind()]
print(f"two real sixes: {pairs.min():.0f} to {pairs.max():.0f}, on average {pairs.mean():.0f}; noise against the test set: {values[2]:.0f}")

# %% [markdown]
# ## What to remember
#
# - A Frechet distance is made of *extractor, N, reference set*; without them it is not a number.
# - With fewer samples than features use the Gram form, because a general matrix square root may be right to seven digits, or return noise of any size and sign.
# - Look at the floor first.
#
# ## Exercises
#
# 1. Compare the training images with the test set after rotating all of them by 5, 10 and 20 degrees. Which is worse for `fd_lenet`, rotation or blur?
# 2. Show that the distance of two Gaussians with the same mean and commuting covariances is the sum of squared differences of standard deviations along the common axes.
# 3. Make two sets of features with the same mean and covariance but clearly different distributions. What is their Frechet distance, and what does that say about the measure?
# 4. Extend the curve of the floor towards infinite N. Against which power of N is it a straight line?
