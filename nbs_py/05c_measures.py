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
# # Other measures
#
# > What the Frechet distance does not see: kernel distance, classifier scores, precision and recall, classes, and copies
#
# The table at the head of [05_fid](05_fid.ipynb#What-does-each-measure-see?) shows that no measure sees all faults. Here are the others, one after the other: what each computes, how sure it is, and where it is entered in the dictionary `MEASURES`, from which the command line, configurations and the report know it.

# %%
#| default_exp measures

# %% tags=["parameters"]
dataset = "digits"  # whose test images are taken as samples

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import math
from collections.abc import Callable, Iterator
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch

from genlab.data import load_dataset, show_grid
from genlab.features import Extractor, cached_features, lenet_extractor
from genlab.fid import (
    Measure,
    Views,
    frechet_distance_of_features,
    from_halves,
    half_sample_sd,
    measures_in,
)
from genlab.plug import EXTRACTORS, MEASURES

# %%
#| hide
import pandas as pd
import pytest

from genlab.fid import evaluate, score_table


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
        raise ValueError(f"kernel_distance: it needs four samples at least; there are {len(x)} and {len(y)}.")
    rng, values = np.random.RandomState(seed), []
    for _ in range(subsets):
        a, b = (part[torch.from_numpy(rng.choice(len(part), n, replace=False))].double() for part in (x, y))
        same = sum(k.sum() - k.trace() for k in (_kernel(a, a), _kernel(b, b)))
        values.append(same / (n * (n - 1)) - 2 * _kernel(a, b).mean())
    values = torch.stack(values)
    return values.mean().item(), values.std(correction=0).item()


# %%
#| export
def _kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    "The cubic kernel of all pairs, (N, M)."
    return (x @ y.T / x.shape[1] + 1) ** 3


# %% [markdown]
# Papers print the standard deviation over these subsets, which says how different *parts* of the set are. How different would the mean be with other samples? A sample $x_i$ contributes $2h_i$, where $h_i$ is its average kernel with the other samples minus that with the real images; a pair contributes what is left of $k(x_i,x_j)$ without the averages of its row and its column, $r_{ij}$. So the variance is $\frac4N\operatorname{var}h+\frac2{N^2}\operatorname{mean}r^2$ ([Hoeffding 1948](https://doi.org/10.1214/aoms/1177730196)). As $h_i$ is itself estimated from $N-1$ pairs, the variance that is found for it is too large by $\operatorname{mean}r^2/N$.

# %%
#| export
def kernel_distance_sd(x: torch.Tensor, y: torch.Tensor, most: int = 2000) -> float:
    "Standard deviation of the kernel distance over other samples x, (N, D), from `most` of them, at random."
    order, total = torch.randperm(len(x), generator=torch.Generator().manual_seed(0)), len(x)
    part = x[order[:most]]
    n, k = len(part), _kernel(part, part).fill_diagonal_(0)
    row = k.sum(1) / (n - 1)
    left = (k - row - row[:, None] + row.mean()).fill_diagonal_(0)
    pairs = left.square().sum().item() / (n * (n - 1))
    single = (row - _kernel(part, y).mean(1)).var().item() - pairs / n
    return (4 * max(single, 0) / total + 2 * pairs / total**2) ** 0.5


def _kernel_distance(views: Views) -> dict:
    x, y = views.samples, views.reference
    return {"value": kernel_distance(x, y)[0], "sd": kernel_distance_sd(x, y)}


# %%
#| export
MEASURES["kd_lenet"] = Measure(
    _kernel_distance, "KD", "kernel distance", "smaller", "from single samples and pairs", minimum=4
)
MEASURES["kid"] = MEASURES["kd_lenet"]._replace(extractor="inception", heading="KID", table=None)

# %%
generator = torch.Generator().manual_seed(0)
mix = torch.randn(84, 84, generator=generator, dtype=torch.float64) / 84**0.5


def bell(n, shift=0.0):
    "Features with a Gaussian distribution."
    return torch.randn(n, 84, generator=generator, dtype=torch.float64) @ mix.T + shift


x, y, z = bell(2000), bell(2000, 0.2), bell(2000)
different, same = kernel_distance(x, y, 500), kernel_distance(x, z, 500)
for name, (mean, sd) in {"different Gaussians": different, "equal ones": same}.items():
    print(f"{name}: {mean:.4f} ± {sd:.4f}")
assert different[0] > 3 * different[1] and abs(same[0]) < 3 * same[1]

# %%
#| hide
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
#| export
def _classifier_score(views: Views) -> dict:
    value, spread = inception_score(views.logits(views.samples))
    return {"value": value, "sd": spread / 9**0.5}  # of a mean of ten; the spread is one over ten parts


MEASURES["lenet_score"] = Measure(
    _classifier_score, "score", "like the Inception Score, ten at most for digits",
    "as real images", "from the ten parts", minimum=100, reference=False, classes=True,
)  # fmt: skip
MEASURES["inception_score"] = MEASURES["lenet_score"]._replace(
    extractor="inception", heading="IS", caption="Inception Score", table=None
)

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


def _squared_distances(x: torch.Tensor, y: torch.Tensor) -> Iterator[torch.Tensor]:
    "Squared distances of blocks of rows of x to all of y, (rows, M)."
    centre = y.mean(0)  # distances do not change, rounding errors shrink
    y = y - centre
    lengths = y.square().sum(1)
    for rows in x.split(max(1, BLOCK // (8 * len(y)))):
        part = rows - centre
        products = torch.addmm(lengths, part, y.T, alpha=-2)
        yield products.add_(part.square().sum(1, keepdim=True)).clamp_(min=0)


def _radii(x: torch.Tensor, k: int) -> torch.Tensor:
    "Squared distance of each row to its k-th nearest other row."
    if len(x) <= k:
        raise ValueError(f"There is no neighbour number {k} among {len(x)} samples.")
    return torch.cat([d.kthvalue(k + 1, dim=1).values for d in _squared_distances(x, x)])


# %%
#| export
def precision_recall(
    fake: torch.Tensor,  # features of samples, float64 (N, D)
    real: torch.Tensor,  # of real images, (M, D)
    k: int = 3,
) -> tuple[float, float]:
    "Improved precision and recall (Kynkaanniemi et al. 2019). ValueError for k samples or fewer."
    return precision(fake, real, k), recall(fake, real, k)


def precision(fake: torch.Tensor, real: torch.Tensor, k: int = 3) -> float:
    "The first of the two."
    return _share_inside(fake, real, _radii(real, k))


def recall(fake: torch.Tensor, real: torch.Tensor, k: int = 3) -> float:
    "The second of the two."
    return _share_inside(real, fake, _radii(fake, k))


# %%
#| export
def _share_inside(x: torch.Tensor, centres: torch.Tensor, radii: torch.Tensor) -> float:
    "The share of the rows of x that lie in a ball around any of the centres."
    inside = [(d <= radii).any(1) for d in _squared_distances(x, centres)]
    return torch.cat(inside).double().mean().item()


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
    for d in _squared_distances(fake, real):
        inside = d <= radii
        counts.append(inside.sum(1))
        covered |= inside.any(0)
    return torch.cat(counts).double(), covered


# %% [markdown]
# In two dimensions one can look. Real points in a ring; a model that has half of it and one that has it all, blurred. The grey disks are the real manifold, the dots the samples. Left, every dot is inside (high precision) and half of the ring is missed (low recall). Right, most dots are outside.

# %%
angle = torch.rand(300, generator=generator, dtype=torch.float64) * 2 * torch.pi
jitter = torch.randn(2, 300, 2, generator=generator, dtype=torch.float64)
ring = torch.stack([angle.cos(), angle.sin()], 1)
ring_real = ring + 0.05 * jitter[0]
right = ring_real[ring_real[:, 0] > 0]
half_ring = right + 0.01 * jitter[1, : len(right)]
rings = {"half the ring": half_ring, "all of it, blurred": ring + 0.3 * jitter[1]}
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.6), layout="constrained")
for ax, (name, fake) in zip(axes, rings.items(), strict=True):
    for centre, radius in zip(ring_real, _radii(ring_real, 3).sqrt(), strict=True):
        ax.add_patch(plt.Circle(centre, radius, color="0.85"))
    ax.plot(*fake.T, ".", markersize=3)
    (p, r), (d, c) = precision_recall(fake, ring_real), density_coverage(fake, ring_real)
    label = f"precision {p:.2f}, recall {r:.2f}\ndensity {d:.2f}, coverage {c:.2f}"
    ax.set(aspect="equal", xticks=[], yticks=[], xlabel=label, title=name)
half, blurred_ring = (precision_recall(fake, ring_real) for fake in rings.values())
assert half[0] > 0.9 and half[1] < 0.7 and blurred_ring[0] < 0.7

# %% [markdown]
# The definitions, word for word, without blocks:

# %%
fake, real = bell(700), bell(700, 0.2)
d = torch.cdist(fake, real)
near = lambda x, k: torch.cdist(x, x).sort(1).values[:, k]
mean = lambda x: x.double().mean().item()
in_real, in_fake = (d <= near(real, 3)).any(1), (near(fake, 3) >= d.T).any(1)
assert precision_recall(fake, real) == (mean(in_real), mean(in_fake))
density = (d <= near(real, 5)).double().sum(1).mean().item() / 5
assert np.allclose(density_coverage(fake, real), (density, mean(d.min(0).values <= near(real, 5))))

# %%
#| hide
at_once, in_use, BLOCK = (precision_recall(fake, real), density_coverage(fake, real)), BLOCK, 8 * 700 * 13
assert np.allclose((precision_recall(fake, real), density_coverage(fake, real)), at_once), "blocks of 13 rows"
BLOCK = in_use
assert precision_recall(real, real) == (1, 1) and density_coverage(real, real)[1] == 1
with pytest.raises(ValueError, match="no neighbour number 3 among 3"):
    precision_recall(fake[:3], real)


# %% [markdown]
# How sure are these numbers? Other samples of the same model would have given others, while the real images stay as they are. Precision and density are means over samples, so their standard errors are known. Recall and coverage are shares of the *real* images, which are not drawn anew; a binomial spread over these has nothing to do with the question. A few samples more or less change the fate of many real images at once, and the fewer samples there are, the more. So again random halves. For recall they do as they are: with half as many samples the balls around them, up to the third neighbour, hold twice as much, and a real image is in as many balls as before. For coverage the balls stay, and half as many samples would cover fewer; so we let these balls grow in the same way, to twice as many neighbours.

# %%
#| export
def coverage_sd(fake: torch.Tensor, real: torch.Tensor, k: int = 5) -> float | None:
    "Standard deviation of coverage over other samples, from halves and balls with twice as many neighbours."
    radii = _radii(real, 2 * k)
    return half_sample_sd(lambda half: _inside(half, real, radii)[1].double().mean().item(), fake)


# %% [markdown]
# Four measures of these. Density and coverage come from the same counts:

# %%
#| export
def _precision(views: Views) -> dict:
    value = precision(views.samples, views.reference)
    return {"value": value, "sd": (value * (1 - value) / len(views.samples)) ** 0.5}


def _recall(views: Views) -> dict:
    share = lambda samples: recall(samples, views.reference)
    return {"value": share(views.samples), "sd": from_halves(views, share, 4)}


NEIGHBOURS = 5  # of density and coverage


def _counts(views: Views) -> tuple[torch.Tensor, torch.Tensor]:
    return _inside(views.samples, views.reference, _radii(views.reference, NEIGHBOURS))


# %%
#| export
def _density(views: Views) -> dict:
    count, k = views.once(_counts)[0], NEIGHBOURS
    return {"value": count.mean().item() / k, "sd": count.std().item() / k / len(views.samples) ** 0.5}


def _coverage(views: Views) -> dict:
    covered = views.once(_counts)[1].double()
    sd = partial(coverage_sd, views.samples, views.reference, NEIGHBOURS)
    return {"value": covered.mean().item(), "sd": sd}


# %%
#| export
MEASURES["precision"] = Measure(
    _precision, "precision", "share of samples that lie where real images lie",
    "larger", "binomial", minimum=4, table="diversity",
)  # fmt: skip
MEASURES["recall"] = Measure(
    _recall, "recall", "share of real images that lie where samples lie",
    "larger", "half-samples", minimum=4, table="diversity",
)  # fmt: skip
MEASURES["density"] = Measure(
    _density, "density", "real neighbourhoods around a sample, 1 for real images",
    "as real images", "standard error", minimum=11, table="diversity",
)  # fmt: skip
MEASURES["coverage"] = Measure(
    _coverage, "coverage", "share of real images with a sample near",
    "larger", "half-samples, in larger balls", minimum=11, table="diversity",
)  # fmt: skip


# %% [markdown]
# ## By class
#
# A classifier also tells *what* was drawn. Generated images have no labels, so LeNet sorts both sets, the real images too: then its mistakes count on both sides. With classes, the Frechet distance can be taken within each of them.

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
    found = []
    for c in range(classes):
        a, b = x[x_labels == c], y[y_labels == c]
        enough = min(len(a), len(b)) > 1
        found.append({"value": frechet_distance_of_features(a, b) if enough else None, "n": len(a)})
    return found


# %%
#| export
def _by_class(views: Views) -> dict:
    x, y = views.samples, views.reference
    classes = frechet_by_class(x, views.labels(x), y, views.labels(y), views.classes())
    if missing := [i for i, c in enumerate(classes) if c["value"] is None]:
        return {"value": None, "classes": classes, "why": f"class {missing[0]} has fewer than two images"}
    return {"value": float(np.mean([c["value"] for c in classes])), "classes": classes}


MEASURES["fd_lenet_by_class"] = Measure(
    _by_class, "`fd_lenet` by class", "Frechet distance within each class, and the mean",
    "smaller", "none", classes=True, table=None,
)  # fmt: skip


# %% [markdown]
# How often does each class occur, compared with real images? The Kullback-Leibler divergence of the two histograms, $\mathrm{KL}(p_\text{samples}\Vert p_\text{real})$, stays finite when classes are missing, as they are in a collapsed model.

# %%
#| export
def class_kl(labels: torch.Tensor, reference: torch.Tensor, classes: int) -> float:
    "KL(samples || reference) of two class histograms, in nats; infinite if a class is not in the reference."
    p, q = (torch.bincount(a, minlength=classes).double() / len(a) for a in (labels, reference))
    return torch.special.xlogy(p, p / q)[p > 0].sum().item()


def class_kl_sd(labels: torch.Tensor, reference: torch.Tensor, classes: int) -> float:
    """Its standard deviation over other samples: that of the mean of log p/q,
    and for nearly equal histograms that of a chi-squared variable."""
    n = len(labels)
    p, q = (torch.bincount(a, minlength=classes).double() / len(a) for a in (labels, reference))
    ratio, p, by_chance = (p / q)[p > 0].log(), p[p > 0], (classes - 1) / (2 * n**2)
    variance = (p * (ratio - (p * ratio).sum()).square()).sum().item() / n
    return max(variance - by_chance, by_chance) ** 0.5


# %%
#| export
def _class_kl(views: Views) -> dict:
    labels, reference, classes = views.labels(views.samples), views.labels(views.reference), views.classes()
    value, sd = (f(labels, reference, classes) for f in (class_kl, class_kl_sd))
    histogram, expected = (torch.bincount(k, minlength=classes).tolist() for k in (labels, reference))
    return {"value": value, "sd": sd, "histogram": histogram, "expected": expected}


MEASURES["class_kl"] = Measure(
    _class_kl, "KL", "divergence of the class histogram from that of the test set, in nats",
    "smaller", "of the counts", minimum=4, classes=True,
)  # fmt: skip


# %% [markdown]
# With many classes and few samples some are missing by chance, and a sample of a class that the test images lack makes the divergence infinite. Then it is simpler to count: of how many classes is there any sample, and how many do as many real images have?

# %%
#| export
def _classes_seen(views: Views) -> dict:
    return {"value": float(len(views.labels(views.samples).unique()))}


MEASURES["classes_seen"] = Measure(
    _classes_seen, "classes", "number of classes that the classifier sees among the samples",
    "as real images", "none", reference=False, classes=True, table="diversity",
)  # fmt: skip

# %%
few_classes = load_dataset("digits").images[load_dataset("digits").labels < 4][:100]
assert evaluate(few_classes, "digits", ["classes_seen"])["classes_seen"]["value"] == 4


# %% [markdown]
# How different are images of the same class from one another? The **intra-class distance** is the mean distance between two samples of the same class, averaged over classes. It is small for a model that draws each digit always in the same way.

# %%
#| export
def intra_class_distance(features: torch.Tensor, labels: torch.Tensor) -> float:
    "Mean Euclidean distance of two samples of the same class, averaged over the classes that have two."
    means = []
    for label in labels.unique():
        x = features[labels == label]
        if len(x) > 1:
            total = sum(d.sqrt().sum() for d in _squared_distances(x, x))
            means.append(total.item() / (len(x) * (len(x) - 1)))
    return float(np.mean(means)) if means else math.nan


def _intra_class(views: Views) -> dict:
    distance = lambda samples: intra_class_distance(samples, views.labels(samples))
    return {"value": distance(views.samples), "sd": from_halves(views, distance)}


# %%
#| export
MEASURES["intra_class"] = Measure(
    _intra_class, "intra-class", "mean distance within a class (less than real images have: monotonous)",
    "as real images", "half-samples", minimum=100, classes=True,
)  # fmt: skip


# %% [markdown]
# And one image against one image, as one of the five reports had it? That is the squared distance of two feature vectors. Here it is for a test image of each class, to some samples and, to see what such a number is worth, to other test images of that class:

# %%
#| export
def one_image(
    x: torch.Tensor, x_labels: torch.Tensor, y: torch.Tensor, y_labels: torch.Tensor, classes: int
) -> list[dict]:  # for each class, from its first row of y: to three rows of x (samples) and of y (test)
    "Squared distances of single test images to samples and to other test images of their class."
    distances = lambda a, b: (a - b[:1]).square().sum(1).tolist() if len(b) else []
    sets = [(x[x_labels == c][:3], y[y_labels == c]) for c in range(classes)]
    return [{"samples": distances(a, b), "test": distances(b[1:4], b)} for a, b in sets]


def _one_image(views: Views) -> dict:
    x, y = views.samples, views.reference
    pairs = one_image(x, views.labels(x), y, views.labels(y), views.classes())
    if missing := [i for i, pair in enumerate(pairs) if not pair["samples"]]:
        return {"value": None, "pairs": pairs, "why": f"class {missing[0]} has no image"}
    return {"value": float(np.mean([np.mean(pair["samples"]) for pair in pairs])), "pairs": pairs}


# %%
#| export
MEASURES["one_image"] = Measure(
    _one_image, "one image", "mean squared distance of single images of a class, which says nothing",
    "as real images", "none", classes=True, table=None,
)  # fmt: skip

# %% [markdown]
# Five cases that can be worked out by hand:

# %%
even = torch.arange(10).repeat(20)
assert class_kl(even, even, 10) == 0
assert np.isclose(class_kl(torch.full((50,), 3), even, 10), np.log(10)), "collapsed to one class of ten"
assert class_kl(even, torch.full((50,), 3), 10) == np.inf
square = torch.tensor([[0.0, 0], [3, 4], [10, 10], [10, 11], [7, 7]], dtype=torch.float64)
assert np.isclose(intra_class_distance(square, torch.tensor([0, 0, 1, 1, 2])), (5 + 1) / 2)

# %%
#| hide
labels = even.repeat(4)[:700]
by_class = frechet_by_class(fake, labels, real, labels, 11)
assert np.isclose(by_class[4]["value"], frechet_distance_of_features(fake[4::10], real[4::10]))
assert by_class[10] == {"value": None, "n": 0}
pairs = one_image(square, torch.tensor([0, 0, 1, 1, 1]), square[:3], torch.tensor([0, 0, 1]), 3)
assert pairs[:2] == [{"samples": [0, 25], "test": [25]}, {"samples": [0, 1, 18], "test": []}]
assert pairs[2] == {"samples": [], "test": []}


# %% [markdown]
# ## Copies
#
# None of the measures so far minds a model that returns its training images. First, *look*: samples in the first row, and below each its nearest training images in LeNet's features. Here the samples are test images. For a model's samples, near-copies in the second row would be the sign of memorising.

# %%
#| export
def nearest(
    x: torch.Tensor,  # features, float64 (N, D)
    y: torch.Tensor,  # (M, D)
    k: int = 1,
) -> tuple[torch.Tensor, torch.Tensor]:  # distances (N, k), and which rows of y they belong to
    "The k nearest rows of y for each row of x."
    found = [d.topk(k, largest=False) for d in _squared_distances(x, y)]
    return torch.cat([f.values for f in found]).sqrt(), torch.cat([f.indices for f in found])


# %%
#| export
def plot_nearest(
    samples: torch.Tensor,  # uint8 (N, C, H, W)
    dataset: str,
    k: int = 2,  # neighbours
    ax: plt.Axes | None = None,
    train: torch.Tensor | None = None,  # uint8 images that the model learned from; None: the training split
) -> plt.Axes:
    "Samples, and below each its k nearest training images in LeNet's features."
    size = samples.shape[-1]
    train = load_dataset(dataset, "train", size).images if train is None else train
    extractor = lenet_extractor(dataset, size)
    neighbours = nearest(extractor(samples), cached_features(extractor, train), k)[1]
    rows = [train[neighbours[:, i]] for i in range(k)]
    return show_grid(torch.cat([samples, *rows]), ncol=len(samples), ax=ax)


# %%
test = load_dataset(dataset, "test")
plot_nearest(test.images[:20], dataset).set_title(
    "test images, and the nearest training images", fontsize=10
);

# %% [markdown]
# In 28x28 pixels one sees better how far "near" is (the first run downloads MNIST):

# %%
#| eval: false
plot_nearest(load_dataset("mnist", "test").images[:14], "mnist");


# %% [markdown]
# ### Farther than test images?
#
# [Meehan et al. (2020)](https://arxiv.org/abs/2004.05675) compare distances to the nearest training image: samples should not be nearer to the training set than *test* images are. Our number `memorisation` is the Mann-Whitney statistic: **the probability that a random sample is farther from the training set than a random test image is.** New images give about 0.5, copies 0, and images far from all data 1. A value well below 0.5 says that samples are nearer to the training set than test images are: copies, or merely typical images. And 0.5 does not rule copies out: half copies and half noise give that, and so do copies that are altered just enough. (The standard error is that of the Mann-Whitney statistic, over samples and test images.)

# %%
#| export
def memorisation(
    samples: torch.Tensor,  # features, float64 (N, D)
    train: torch.Tensor,  # of the images the model was trained on
    test: torch.Tensor,  # of images it has not seen
) -> tuple[float, float]:  # 0 to 1, and its standard error
    "Probability that a sample is farther from the training set than a test image (Meehan et al. 2020)."
    return _mann_whitney(*(nearest(x, train)[0][:, 0] for x in (samples, test)))


def _mann_whitney(samples: torch.Tensor, test: torch.Tensor) -> tuple[float, float]:
    "The probability that a random one of `samples` is larger than one of `test`, and its standard error."
    farther, nearer = share_below(samples, test), share_below(test, samples)
    return farther.mean().item(), (farther.var() / len(farther) + nearer.var() / len(nearer)).sqrt().item()


def share_below(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    "For each of a the share of b that is smaller; equal ones count half."
    a, b = a.contiguous(), b.sort().values
    return sum(torch.searchsorted(b, a, right=right) for right in (False, True)).double() / (2 * len(b))


# %% [markdown]
# Five "models" in ten dimensions, some of which copy. And one half of the test images, against the other half.

# %%
made = torch.randn(4, 1000, 10, generator=generator, dtype=torch.float64)
train_set, held_out, fresh_set, narrow = *made[:3], 0.8 * made[3]
near_copies = train_set[:300] + 0.05 * torch.randn(300, 10, generator=generator, dtype=torch.float64)
models = {
    "new": fresh_set,
    "near-copies": near_copies,
    "half near-copies": torch.cat([near_copies, fresh_set[:300]]),
    "5 % near-copies": torch.cat([near_copies[:50], fresh_set[50:]]),
    "narrow": narrow,
}
rows = {name: memorisation(samples, train_set, held_out) for name, samples in models.items()}
extractor = lenet_extractor(dataset)
features, reference = extractor(load_dataset(dataset, "train").images), extractor(test.images)
rows["half of the test images"] = memorisation(reference[::2], features, reference[1::2])
pd.DataFrame(rows, ["memorisation", "standard error"]).T.round(3)

# %%
#| hide
expected = {
    "new": (0.45, 0.55),
    "near-copies": (0, 0.01),
    "half near-copies": (0.2, 0.3),
    "5 % near-copies": (0.42, 0.52),
    "narrow": (0.2, 0.35),
}
assert all(low <= rows[name][0] <= high for name, (low, high) in expected.items())
assert abs(rows["half of the test images"][0] - 0.5) < 4 * rows["half of the test images"][1] < 0.2
assert (nearest(train_set[:50], train_set)[1][:, 0] == torch.arange(50)).all()


# %% [markdown]
# Look at two of the lines. Of the narrow samples, drawn from $0.8\,\mathcal N(0,I)$ where the data are from $\mathcal N(0,I)$, not one is a copy. They keep to the middle, where training points are dense, and so they are nearer to them than test points are. And one sample in twenty may be a near-copy, and the number hardly differs from 0.5.
#
# ### How near is a copy?
#
# What tells copies is *how near* the nearest ones are. The smallest hundredth of the test images' distances is a yardstick: **what share of the samples is nearer to a training image than 99 % of the test images are?** With a good model it is 1 % on average, with 5 % copies 6 %. (Where a share is near 0, its error bar is too small, since it is computed from that share.)
#
# But narrow samples may exceed it, too, the more so the more dimensions there are. So we ask for a second sign, which does not depend on how dense the data are: a copy is much nearer to *one* training image than to any other, a typical image is near to many. The ratio of the distances to the nearest and the second nearest ([Gu et al. 2023](https://arxiv.org/abs/2310.02664) call a sample memorised where it is below 1/3) is held against the ratios of the test images in the same way: what share is below those of 99 % of them? We speak of copies only where *both* shares are clearly above 2 %. (Two equal training images hide their copies from the second sign; look at the neighbours, too.)

# %%
#| export
def copies(
    samples: torch.Tensor,  # features, float64 (N, D)
    train: torch.Tensor,  # of the images the model was trained on
    test: torch.Tensor,  # of images it has not seen
) -> dict:  # value, sd: the share that is nearer; single, single_sd: to a single one; limit, histogram
    "How many samples are nearer to a training image, and to a single one, than 99 % of test images are."
    return _copies(*(nearest(x, train, 2)[0] for x in (samples, test)))


# %%
#| export
def _copies(samples: torch.Tensor, test: torch.Tensor) -> dict:
    "The same of the distances to the two nearest training images, (N, 2) and (M, 2)."
    if len(test) < 100:
        few = f"its limit is a hundredth of the test images, and there are only {len(test)}"
        return {"value": None, "why": few}
    near, near_test = samples[:, 0], test[:, 0]
    value, sd, limit = _share_nearer(near, near_test)
    ratio, ratio_test = (d[:, 0] / d[:, 1].clamp(min=1e-12) for d in (samples, test))
    single, single_sd, _ = _share_nearer(ratio, ratio_test)
    edges = torch.linspace(
        0, near_test.max().item(), 41, dtype=torch.float64
    )  # farther ones: in the last bin
    count = lambda d: torch.histogram(d.clamp(max=edges[-1]), edges).hist.long().tolist()
    histogram = {"edges": edges.tolist(), "samples": count(near), "test": count(near_test)}
    score = {"value": value, "sd": sd, "limit": limit, "single": single, "single_sd": single_sd}
    return score | {"histogram": histogram}


# %% [markdown]
# The share has the error of a share of $N$ samples. And its limit comes from $M$ test images: about $0.01M\pm\sqrt{0.01M}$ others would be below the true one. So we look at how much the share changes when the limit is moved by so many places.

# %%
#| export
RARE = 0.01  # so many of the test images are nearer than the limit


def _share_nearer(samples: torch.Tensor, test: torch.Tensor) -> tuple[float, float, float]:
    "The share of `samples` up to the RARE quantile of `test`, its standard deviation, and that quantile."
    test, rank = test.sort().values, round(RARE * len(test))
    step = (rank * (1 - RARE)) ** 0.5
    places = rank, max(1, round(rank - step)), max(1, round(rank + step))
    share, fewer, more = ((samples <= test[place - 1]).double().mean().item() for place in places)
    return share, (share * (1 - share) / len(samples) + (more - fewer) ** 2 / 4) ** 0.5, test[rank - 1].item()


def finds_copies(score: dict) -> bool:  # what `copies` gives, or metrics.json has under that name
    "Whether far more samples than chance would give are near to a training image, and to a single one."
    shares = [(score.get(key), score.get(sd)) for key, sd in (("value", "sd"), ("single", "single_sd"))]
    return all(share is not None and share - 2 * sd > 2 * RARE for share, sd in shares)


# %% [markdown]
# The same five models:

# %%
def describe_copies(samples, train, test):
    "A row of a table."
    score = copies(samples, train, test)
    near, single = (
        f"{score['value']:.3f} ± {score['sd']:.3f}",
        f"{score['single']:.3f} ± {score['single_sd']:.3f}",
    )
    return {"near": near, "near a single one": single, "copies?": finds_copies(score)}


rows = {name: describe_copies(samples, train_set, held_out) for name, samples in models.items()}
pd.DataFrame(rows).T

# %%
#| hide
assert all(row["copies?"] == ("near-copies" in name) for name, row in rows.items())
assert copies(fresh_set, train_set, held_out[:99])["value"] is None and not finds_copies({"value": None})

# %% [markdown]
# With more dimensions, more of the narrow samples are nearer than 99 % of the test points, and only the second sign says that they are none. Real copies among them (5 %) are found all the same. Last, real digits that LeNet has not seen, those nearest to the mean of their class in its features: `memorisation` is small for them, too.

# %%
rows = {}
for dims, scale in ((20, 0.8), (50, 0.8), (50, 0.5)):
    a, b, c = torch.randn(3, 1000, dims, generator=generator, dtype=torch.float64)
    with_copies = torch.cat([a[:50] + 0.05 * b[:50], scale * c[50:]])
    rows[f"{dims} dimensions, {scale} wide"] = describe_copies(scale * c, a, b)
    rows[f"{dims} dimensions, {scale} wide, with copies"] = describe_copies(with_copies, a, b)
labels = load_dataset(dataset, "train").labels
centres = torch.stack([features[labels == label].mean(0) for label in range(10)])
typical = reference[(reference - centres[test.labels]).norm(dim=1).argsort()[:125]]
rows["typical digits"] = describe_copies(typical, features, reference)
assert all(row["copies?"] == ("with copies" in name) for name, row in rows.items())
assert memorisation(typical, features, reference)[0] < 0.4
pd.DataFrame(rows).T


# %% [markdown]
# Both kinds of distance in one picture. (What is farther than any test image is in the last bar.)

# %%
#| export
def plot_copies(
    score: dict,  # what `copies` gives, or metrics.json has under that name
    ax: plt.Axes | None = None,
) -> plt.Axes:
    "Distances to the nearest training image, of samples and test images, and the limit that 1 % are below."
    ax = ax or plt.subplots(figsize=(5, 2.4), layout="constrained")[1]
    edges, *counts = (np.array(score["histogram"][key]) for key in ("edges", "test", "samples"))
    test, samples = (count / count.sum() for count in counts)
    ax.stairs(test, edges, fill=True, color="0.8", label="test images")
    ax.stairs(samples, edges, label="samples")
    limit = "1 % of the test images are nearer"
    ax.axvline(score["limit"], color="0.3", linestyle="--", linewidth=0.8, label=limit)
    ax.set(xlabel="distance to the nearest training image\n(last bar: or more)", ylabel="share")
    ax.set_ylim(0, 1.7 * max(test.max(), samples.max()))
    ax.legend(frameon=False, fontsize=8, loc="upper right")
    return ax


# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 2.6), layout="constrained", sharey=True)
for ax, name in zip(axes, ("5 % near-copies", "narrow"), strict=True):
    plot_copies(copies(models[name], train_set, held_out), ax).set_title(name)
    ax.label_outer()


# %% [markdown]
# Both measures need the same distances:

# %%
#| export
def _to_training(views: Views) -> list[torch.Tensor]:
    "Distances of samples and of test images to their two nearest training images."
    return [nearest(x, views.train, 2)[0] for x in (views.samples, views.reference)]


def _memorisation(views: Views) -> dict:
    value, sd = _mann_whitney(*(distances[:, 0] for distances in views.once(_to_training)))
    return {"value": value, "sd": sd}


def _copied(views: Views) -> dict:
    return _copies(*views.once(_to_training))


# %%
#| export
MEASURES["memorisation"] = Measure(
    _memorisation, "farther",
    "probability that a sample is farther from the training set than a test image is "
    "(about 0.5 for new images, less for copies, or merely typical images)",
    "as real images", "standard error", copies=True,
)  # fmt: skip
MEASURES["copies"] = Measure(
    _copied, "copies",
    "share of samples nearer to a training image than 99 % of the test images are (chance gives 0.01)",
    "smaller", "standard error", copies=True,
)  # fmt: skip


# %% [markdown]
# ## A measure of your own
#
# Any function of what an extractor sees will do: one more entry, in a notebook or in a module that `GENLAB_PLUGINS` names, and configurations, `genlab_metrics` and the report know it. For example, how far is the mean of the features off?

# %%
def mean_shift(views):
    shift = lambda samples: (samples.mean(0) - views.reference.mean(0)).norm().item()
    return {"value": shift(views.samples), "sd": from_halves(views, shift)}


MEASURES["mean_shift"] = Measure(
    mean_shift, "shift", "distance of the mean features", "smaller", "half-samples"
)
moved = load_dataset(dataset, "train").images[:500].roll(2, 3)
score_table({"moved by two pixels": evaluate(moved, dataset, ["fd_lenet", "mean_shift"])}).T


# %% [markdown]
# ## An extractor with a name
#
# An extractor of one's own ([05b_features](05b_features.ipynb#An-extractor-of-your-own)) gets a name and with it all measures of LeNet's features, under names that tell whose features they are.

# %%
#| export
def add_extractor(
    name: str,  # such as clip
    make: Callable[[str | None, int], Extractor],  # of a data set and a size
) -> None:
    "Make its measures known: fd_NAME, kd_NAME, NAME_score, precision_NAME and so on."
    EXTRACTORS[name] = make
    for metric, measure in measures_in(name).items():
        MEASURES[metric] = measure


# %%
def mean_pixels(dataset, size):
    "Means over blocks of 4x4 pixels as features."
    network = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten())
    return Extractor("means of 4x4 pixels", "means-of-4x4", network)


add_extractor("blocks", mean_pixels)
scores = evaluate(moved, dataset, ["fd_lenet", "fd_blocks", "recall", "recall_blocks"])
score_table({"moved by two pixels": scores}).T

# %% [markdown]
# ## What to remember
#
# - A kernel distance is unbiased; a classifier's score never looks at a real image.
# - Precision falls for bad images, recall and coverage for missing ones.
# - Nearer to the training set than test images are: copies, or merely typical images. Copies are what is nearer to *one* training image than chance would have it.
# - Every number stands beside what real images have.
#
# ## Exercises
#
# 1. Make two sets of features with the same mean and covariance but clearly different distributions. What is their Frechet distance, and what does `kernel_distance` say?
# 2. Make 500 images out of ten different ones, with the highest `lenet_score` you can reach. What do the other measures say about it?
# 3. Precision and recall depend on $k$ and on $N$. Plot both for training images against $k=1\ldots20$, at $N=100$ and $N=500$.
# 4. A model may copy some training images and be far from data elsewhere, and its `memorisation` be 0.5. `copies` finds out that some are. How would one find out *which kinds* of image it copies? (Meehan et al. 2020 divide the space into cells.)

# %% [markdown]
# ## Solutions
#
# <details><summary>1. Equal moments, different distributions</summary>
#
# Take any samples, subtract the mean, multiply by the inverse of the covariance's Cholesky factor, and mean and covariance are 0 and 1 *exactly*:
#
#     def whitened(x):
#         x = x - x.mean(0)
#         return torch.linalg.solve_triangular(torch.linalg.cholesky(x.T.cov()), x.T, upper=False).T
#
#     generator = torch.Generator().manual_seed(0)
#     bell = torch.randn(4000, 4, generator=generator, dtype=torch.float64)
#     signs = bell.sign()[torch.randperm(4000, generator=generator)]
#     others = {"signs": signs, "skewed": torch.rand(4000, 4, generator=generator, dtype=torch.float64).log()}
#     for name, other in others.items():
#         x, y = whitened(bell), whitened(other)
#         value, spread = kernel_distance(x, y)
#         distance = frechet_distance_of_features(x, y)
#         print(f"{name}: Frechet {distance:.1e}, kernel {value:.3f} ± {spread:.3f}")
#
# Measured with these seeds:
#
# | set | Frechet distance | kernel distance |
# |:--|--:|--:|
# | signs | 0 | −0.003 ± 0.005 |
# | skewed | 0 | 0.23 ± 0.05 |
#
# The Frechet distance is zero for both, as it must be. The kernel distance sees the skewed set and not the corners of a cube, though a picture would tell these from a bell at once. Expand the kernel, $(x^\top y/D+1)^3=\sum_{p\le3}\binom3p(x^\top y)^p/D^p$: the mean of $(x^\top y)^p$ is the inner product of the two sets' tensors of moments of order $p$, so the squared distance is $\sum_{p\le3}\binom3pD^{-p}\lVert\mathbb E\,x^{\otimes p}-\mathbb E\,y^{\otimes p}\rVert^2$. It compares means, covariances and *third* moments, and nothing else. With equal means and covariances only $p=3$ is left; a bell and random signs have third moments of zero, while those of an exponential distribution are $\pm2$ in each of the $D=4$ coordinates: $4\cdot2^2/4^3=0.25$.
#
# </details>
#
# <details><summary>2. Ten images with a perfect score</summary>
#
# Of each class the training image that LeNet is surest of, 50 times. And since we know how the score is split into ten parts (a fixed permutation), we can also see to it that each part gets five of each:
#
#     train = load_dataset(dataset).images
#     with torch.no_grad():
#         sure = extractor.head(extractor(train).float()).log_softmax(1).argmax(0)
#     order = torch.from_numpy(np.random.RandomState(2020).permutation(500))
#     arranged = torch.empty_like(train[:500])
#     arranged[order] = train[sure][torch.arange(500) % 10]
#     ten = {"ten images": train[sure].repeat(50, 1, 1, 1), "the same, arranged": arranged}
#     metrics = ["lenet_score", "fd_lenet", "precision", "recall", "density", "coverage"]
#     metrics += ["class_kl", "intra_class", "memorisation", "copies"]
#     score_table({name: evaluate(images, dataset, metrics) for name, images in ten.items()}).T
#
# On `digits`:
#
# | metric | ten images, arranged | real images |
# |:--|--:|--:|
# | `lenet_score` | 10.00 | 9.09 ± 0.09 |
# | `fd_lenet` | 111 | 13 |
# | `precision`, `density` | 0.90, 0.98 | |
# | `recall`, `coverage` | 0, 0.10 | coverage 0.96 |
# | `class_kl` | 0.007 | |
# | `intra_class` | 0 | |
# | `memorisation`, `copies` | 0, 1 | |
#
# 10.00 is the largest possible score. The same images in plain order have 9.15 ± 0.09, because a random tenth of them does not hold five of each. `recall` and `intra_class` each show by themselves that something is wrong, and `copies` says what. Precision, density and `class_kl` see nothing wrong, as these are real images of all classes. And a score that depends on the *order* of the images has a flaw of its own; it is harmless as long as nobody exploits it.
#
# </details>
#
# <details><summary>3. What k and N do to precision and recall</summary>
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
# (`features` and `reference` are those of the section on copies: training and test images.) On `digits`:
#
# | | N | $k=1$ | 3 | 10 | 20 |
# |:--|--:|--:|--:|--:|--:|
# | precision | 500 | 0.63 | 0.91 | 0.99 | 1.00 |
# | precision | 100 | 0.67 | 0.90 | 1.00 | 1.00 |
# | recall | 500 | 0.53 | 0.85 | 0.97 | 1.00 |
# | recall | 100 | 0.58 | 0.91 | 1.00 | 1.00 |
#
# So $k$ decides nearly all and $N$ nearly nothing. For *equal* distributions this can be understood: take a real image with its $N-1$ other real images and one sample. The sample is as likely as any of these $N$ to be among the $k$ nearest, so it lies in that image's ball with the probability $k/N$, and in $k$ of the $N$ balls on average, whatever $N$ and the data are. If the number of balls were Poisson distributed, precision would be $1-e^{-k}$: 0.63 at $k=1$ and 0.95 at $k=3$, which is near what was measured. With a large $k$, then, real images have a perfect precision, but so do many others; with a small one all values are low. $N$ matters for a model that is *not* good: balls shrink as $N$ grows, and its samples drop out of them. Compare at the same $k$ and $N$ only.
#
# </details>
#
# <details><summary>4. Copies here, far there</summary>
#
# `memorisation` is a single average over ranks, and `copies` a share of all samples. A rank is where a sample stands among test images, by its distance to the training set. Look at *all* ranks, which for a good model are uniform, and at the average in each of several cells of feature space. A model for it: copies of training images of the classes 0 to 4, and training images of the others with so much noise that they are far away.
#
#     from sklearn.cluster import KMeans
#     from genlab.data import to_image, to_model
#     train = load_dataset(dataset)
#     low = train.labels < 5
#     far = to_model(train.images[~low][:250])
#     far = to_image(far + 0.9 * torch.randn(far.shape, generator=torch.Generator().manual_seed(0)))
#     made = extractor(torch.cat([train.images[low][:250], far]))
#     print("all:", memorisation(made, features, reference), copies(made, features, reference)["value"])
#     ranks = share_below(*(nearest(x, features)[0][:, 0].contiguous() for x in (made, reference)))
#     print("ranks, ten bins:", np.histogram(ranks, 10, (0, 1))[0])
#     cells = KMeans(10, n_init=10, random_state=0).fit(features)
#     a, b = (torch.from_numpy(cells.predict(x)) for x in (made, reference))
#     for c in range(10):
#         if min((a == c).sum(), (b == c).sum()) >= 10:
#             found = memorisation(made[a == c], features, reference[b == c])
#             print(c, (a == c).sum().item(), [round(v, 2) for v in found])
#
# On `digits`:
#
# | | all | five cells | four cells | one cell |
# |:--|--:|--:|--:|--:|
# | `memorisation` | 0.458 ± 0.021 | about 0.9 | about 0.1 or less | 0.23 |
# | `copies` | 0.500 ± 0.022 | | | |
#
# The average is two standard errors below 0.5 and hardly suspicious; `copies` is as it should be. Of the ranks, 250, all the copies, are in the lowest of ten bins, and 184 in the highest; for a good model each would have about 50. In the last cell both kinds meet. Meehan et al. (2020) make one number of this: they turn the statistic of each cell into a z-score and average over cells. It needs enough test images in each cell, which limits how fine cells can be; and if copies and strays lie in the *same* cell, only the ranks tell. In "half of it noise" of [05_fid](05_fid.ipynb), whose `memorisation` is near 0.5, half of the ranks are in the lowest bin and half in the highest.
#
# </details>
