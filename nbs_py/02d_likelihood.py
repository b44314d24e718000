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
# # Likelihood
#
# > How probable is an image that the model has never seen? The variational bound in bits per dimension, with three variances, checked on coins
#
# A good model of images finds new images of the same kind probable. A diffusion model bounds that probability from below, and the bound is a number of bits: with a code made from the model, an image could be compressed to so many. This notebook computes it, for the networks of [02_ddpm](02_ddpm.ipynb), and takes the bits apart.

# %%
#| default_exp likelihood

# %% tags=["parameters"]
dataset = "digits"  # images to train on, and test images to encode
epochs = 10  # passes over the training set
seed = 0  # all randomness follows from it

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from genlab.data import ImageSet, derive_seed, take, to_model
from genlab.diffusion import Diffusion, discretised_nll
from genlab.plug import Section
from genlab.sources import progress
from genlab.tables import markdown_table, number, plus_minus, value_at

# %%
#| hide
from torch import nn

from genlab.data import load_dataset
from genlab.ddpm import DDPMConfig, Denoiser, make_denoiser, run_ddpm, train_ddpm
from genlab.diffusion import cosine_betas
from genlab.samplers import Noise


# %% [markdown]
# ## Three variances
#
# The variational bound is $L_0+L_1+\dots+L_T$ of [02_ddpm_theory](02_ddpm_theory.ipynb), in nats. Divided by $\ln2$ and by the number of pixels and channels of an image it is in *bits per dimension*. (Gray images that the network is shown as three equal channels have no more dimensions for that.) It depends on the network and on one thing that samplers never ask for, the variance of the steps back. Three are compared:
#
# - `posterior`: $\tilde\beta_t$, right if the network's guess of $x_0$ were perfect.
# - `beta`: the larger $\beta_t$, the other choice of Ho et al.
# - `fitted`: the best one for this network ([Bao et al. 2022](https://arxiv.org/abs/2201.06503)). Given $x_0$, the posterior's mean and the model's differ by $c_t(x_0-\hat x_0)$, $c_t=\frac{\sqrt{\bar\alpha_{t-1}}\beta_t}{1-\bar\alpha_t}$. With one variance $\sigma_t^2$ for all pixels and images the mean of $L_{t-1}$ per pixel is
#
# $$ \frac12\Big(\log\frac{\sigma_t^2}{\tilde\beta_t}+\frac{\tilde\beta_t+c_t^2\,\mathbb E(x_0-\hat x_0)^2}{\sigma_t^2}-1\Big),\qquad\text{least at}\quad\sigma_t^2=\tilde\beta_t+c_t^2\,\mathbb E(x_0-\hat x_0)^2. $$
#
# So all that is needed is the network's squared error at each level. It is measured on *training* images, at some levels, and interpolated in between. A bound with these variances is as good a bound for test images as any other, since nothing in it was chosen by looking at them.
#
# The last step, $L_0$, goes through 256 bins, and is worth a decoder of its own: a variance for each grey value that the network may say, the one out of 24 with which the training images cost least. (A grey value that is hardly ever said gets the variance that suits all pixels: each of the 256 starts with ten pixels' worth of the overall mean.)

# %%
#| export
def grey_value(x0_hat: torch.Tensor) -> torch.Tensor:
    "The grey values 0 to 255 nearest to x0_hat, int64."
    return ((x0_hat + 1) * 127.5).round().clamp(0, 255).long()


def fit_decoder(
    x0: torch.Tensor,  # training images in [-1, 1]
    x0_hat: torch.Tensor,  # what the network sees in them at t = 1, like x0
) -> torch.Tensor:  # float64 (256,)
    "Variances of p(x0 | x1) for each grey value of x0_hat: of 24 candidates those with the shortest code."
    grey, x0, x0_hat = grey_value(x0_hat).flatten(), x0.double().flatten(), x0_hat.double().flatten()
    candidates = torch.logspace(-7, 0, 24, dtype=torch.float64)
    nll = torch.stack([discretised_nll(x0, x0_hat, variance) for variance in candidates])
    costs = torch.zeros(24, 256, dtype=torch.float64).index_add_(1, grey, nll)
    return candidates[(costs + 10 * nll.mean(1, keepdim=True)).argmin(0)]


# %% [markdown]
# Both need what the network says about training images. A model here is, as in [02b_samplers](02b_samplers.ipynb), a function of $x_t$ and $t$ that returns the clean image, with a `.diffusion` and a `.device`. Some models are told the class, so the functions below are given `make_model`, which makes a model for the images with these labels.

# %%
#| export
def images_and_model(data: ImageSet, make_model: Callable, channels: int | None) -> tuple:
    "The images as the network is shown them, float (B, C, H, W), and the model for their labels."
    return to_model(data.images).expand(-1, channels or -1, -1, -1), make_model(data.labels)


# %%
#| export
def guesses(
    make_model: Callable,  # labels (B,) or None -> (xt, t) -> x0, with .diffusion and .device
    train: ImageSet,  # of which 256 images are used, fewer if they have more than 3,000 pixels
    channels: int | None,  # 3: gray images are shown as three equal channels
    levels: int,  # noise levels at which to ask
    seed: int,
) -> tuple[torch.Tensor, list[float], torch.Tensor]:  # levels; squared error at each; the decoder
    "The errors of a network on training images, from t = 1 to T, and the decoder that suits it."
    some = take(train, min(len(train.images), max(16, min(256, 800_000 // train.images[0].numel()))), seed)
    x0, model = images_and_model(some, make_model, channels)
    generator = torch.Generator().manual_seed(derive_seed(seed, 6))
    measured = torch.logspace(0, np.log10(model.diffusion.T), levels).round().unique().long()
    errors = []
    for t in progress(measured.tolist(), "errors on training images", "level"):
        xt = model.diffusion.q_sample(x0, t, torch.randn(x0.shape, generator=generator))
        x0_hat = model(xt.to(model.device), t).cpu()
        if t == 1:
            decoder = fit_decoder(x0, x0_hat)
        errors.append((x0_hat - x0).square().mean().item())
    return measured, errors, decoder


# %% [markdown]
# The table of all three, for each level:

# %%
#| export
def reverse_variances(
    make_model: Callable, train: ImageSet, channels: int | None = None, levels: int = 32, seed: int = 0
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:  # for t = 1 (256,), by grey value; (T + 1,) by level
    "Variances of the steps back: posterior, beta, and fitted (Bao et al. 2022). Arguments as for `guesses`."
    diffusion = make_model(None).diffusion
    measured, errors, decoder = guesses(make_model, train, channels, levels, seed)
    every = torch.arange(1, diffusion.T + 1)
    error = np.exp(np.interp(every, measured, np.log(np.maximum(errors, 1e-12))))
    of_x0, _, between = diffusion._coefficients(every)
    fitted = between + of_x0**2 * torch.from_numpy(error)
    tables = {"posterior": diffusion.variance(every), "beta": diffusion.beta[1:], "fitted": fitted}
    variances = {}
    for name, table in tables.items():
        table = torch.cat([torch.ones(1), table])  # there is no step from t = 0
        variances[name] = decoder if name == "fitted" else table[1].expand(256), table
    return variances


# %% [markdown]
# ## The bound
#
# All bounds are computed from the same noises. A network evaluation for each of $T$ terms and each image is a lot, so we draw for each image $L_0$ and a few of the other terms, evenly spread from a random start: an unbiased estimate, with a standard error over the images. The lowest of the three bounds is what is called the run's bits per dimension, with the name of its variance; all three are kept.

# %%
#| export
def bits_per_dim(
    make_model: Callable,  # labels (B,) or None -> (xt, t) -> x0, with .diffusion and .device
    data: ImageSet,  # images to encode, e.g. the test set's first 2,000
    variances: dict,  # of `reverse_variances`, or others of this form, also (T + 1, C, H, W)
    channels: int | None = None,  # 3: gray images are shown as three equal channels
    draws: int = 10,  # of the T - 1 middle terms, for each image
    seed: int = 0,
) -> dict:  # bits_per_dim, se, its parts first, middle, last; variance, n, dimensions; bounds of all three
    "Bounds on the negative log-likelihood (Ho et al. 2020, eq. 5), in bits per dimension of the data."
    generator, rows = torch.Generator().manual_seed(derive_seed(seed, 5)), {name: [] for name in variances}
    batches = [data.pick(slice(i, i + 500)) for i in range(0, len(data.images), 500)]
    for batch in progress(batches, "bits/dim", "batch"):
        x0, model = images_and_model(batch, make_model, channels)
        for name, parts in bound_parts(model, x0, variances, draws, generator).items():
            rows[name].append(parts)
    dimensions = data.images[0].numel()
    bounds = {name: summary(torch.cat(parts) / (dimensions * np.log(2))) for name, parts in rows.items()}
    best = min(bounds, key=lambda name: bounds[name]["bits_per_dim"])
    about = {"variance": best, "n": len(data.images), "dimensions": dimensions}
    return bounds[best] | about | {"bounds": bounds}


# %%
#| export
def summary(parts: torch.Tensor) -> dict[str, float]:
    "Mean and standard error of the sums of (n, 3) parts, and the means of the parts."
    total, means = parts.sum(1), parts.mean(0).tolist()
    known = {"bits_per_dim": total.mean().item(), "se": (total.std() / len(total) ** 0.5).item()}
    return known | dict(zip(("first", "middle", "last"), means, strict=True))


# %% [markdown]
# Of one batch:

# %%
#| export
def bound_parts(model, x0: torch.Tensor, variances: dict, draws: int, generator) -> dict[str, torch.Tensor]:
    "For each variance L_0, an estimate of L_1 + ... + L_{T-1}, and L_T of images: (B, 3), nats."
    T = model.diffusion.T
    draws, offset = min(draws, T - 1), torch.rand(len(x0), generator=generator)
    times = [torch.ones(len(x0)).long()] + [2 + ((offset + k) / draws * (T - 1)).long() for k in range(draws)]
    terms = [bound_terms(model, x0, t, variances, generator) for t in times]
    last, parts = model.diffusion.prior_kl(x0), {}
    for name in variances:
        first, *others = (term[name] for term in terms)
        middle = sum(others, torch.zeros_like(first)) * (T - 1) / max(1, draws)
        parts[name] = torch.stack([first, middle, last], 1)
    return parts


# %%
#| export
def bound_terms(model, x0: torch.Tensor, t: torch.Tensor, variances: dict, generator) -> dict:
    "For each variance the terms L_{t-1} of images at times t (B,), of which all or none are 1: (B,), nats."
    xt = model.diffusion.q_sample(x0, t, torch.randn(x0.shape, generator=generator))
    x0_hat, terms = model(xt.to(model.device), t).cpu(), {}
    for name, (first, table) in variances.items():
        variance = first[grey_value(x0_hat)] if t[0] == 1 else table[t]
        terms[name] = model.diffusion.vlb_term(x0, xt, t, x0_hat, variance)
    return terms


# %% [markdown]
# ## Coins
#
# A check against the theory, with a "network" that is exact: for images whose pixels are coins, $+1$ or $-1$ with equal odds, $E[x_0\mid x_t]=\tanh(\sqrt{\bar\alpha}\,x_t/(1-\bar\alpha))$. No code can be shorter than one bit per pixel, and the middle terms come to just that: by $t=1$ every coin is known. What $L_0$ adds on top is the price of a decoder that is a normal density: its mean is the coin exactly, but some of the density falls outside the bin. The fitted decoder has found out that it may be narrow. (For coins $\beta_t$ is far too large, where for the bumps of the theory notebook it was the right choice: which fixed variance is better depends on the data.)

# %%
diffusion = Diffusion(cosine_betas(1000))


class Coin(nn.Module):
    "The exact x0 of fair coins."

    def forward(self, xt, t, y):
        abar = diffusion.abar[t.long()].view(-1, 1, 1, 1).float()
        return torch.tanh(abar.sqrt() * xt / (1 - abar))


coins = torch.randint(0, 2, (100, 1, 16, 16), generator=torch.Generator().manual_seed(0))
coins = ImageSet(255 * coins.byte(), None, [])


def bits_of_coins(net, channels=None):
    "The bounds of 100 images of coins."
    make_model = lambda labels: Denoiser(net, diffusion, "x0")
    return bits_per_dim(make_model, coins, reverse_variances(make_model, coins, channels), channels, draws=20)


coin = bits_of_coins(Coin())
bounds = pd.DataFrame(coin["bounds"]).T
bounds.round(4)

# %%
#| hide
one = torch.ones((), dtype=torch.float64)
for kind, variance in {"posterior": diffusion.variance(1), "beta": diffusion.beta[1]}.items():
    assert abs(bounds["first"][kind] - discretised_nll(one, one, variance).item() / np.log(2)) < 1e-6
assert (bounds["last"] < 1e-6).all() and (bounds.bits_per_dim > 1 - 4 * bounds.se).all()
lost = 0.01  # by taking 1,000 steps
assert ((bounds.middle - 1).abs() < 4 * bounds.se + lost)[["posterior", "fitted"]].all()
assert coin["variance"] == "fitted"
assert bounds["first"]["fitted"] < 1e-3, "the coin is known, and so is the bin"


# %% [markdown]
# The same coins as three equal channels, with noise of their own each. They are still one bit a pixel. The exact denoiser looks at all three together; what it says of the three is the same, and their three noises together are one noise of a third of the variance.

# %%
class ThreeCoins(nn.Module):
    "The exact x0 of fair coins that are seen three times."

    def forward(self, xt, t, y):
        return Coin().forward(xt.sum(1, keepdim=True), t, y).expand_as(xt)


three = bits_of_coins(ThreeCoins(), channels=3)
for label, known in [("gray", coin), ("as three channels", three)]:
    print(f"{label}: {known['bits_per_dim']:.3f} +- {known['se']:.3f} bits, {known['dimensions']} dimensions")
assert three["dimensions"] == coin["dimensions"] == 256
assert abs(three["middle"] - 1) < 4 * three["se"] + 0.01 and three["bits_per_dim"] > 1 - 4 * three["se"]


# %% [markdown]
# ## A trained network
#
# All bounds of a network on the test images:

# %%
#| export
def read_likelihood(metrics: dict | None) -> dict:
    """The likelihood in a metrics.json, as `bits_per_dim` returns it; {} if none can be compared.

    Older files have the posterior's bound only, and no dimensions: with gray images as three equal channels
    it was divided by three times too many."""
    known = value_at(metrics, "likelihood") or {}
    if not known or "variance" in known:
        return known
    if value_at(metrics, "config", "channels"):
        return {}
    bound = {key: known[key] for key in known if key != "n"}
    return known | {"variance": "posterior", "bounds": {"posterior": bound}}


# %%
#| hide
old = {"likelihood": {"bits_per_dim": 1.7, "se": 0.05, "first": 0.7, "middle": 1.0, "last": 0.0, "n": 2000}}
assert read_likelihood(old)["variance"] == "posterior"
assert read_likelihood(old)["bounds"]["posterior"]["first"] == 0.7
assert read_likelihood(None) == {} == read_likelihood(old | {"config": {"channels": 3}}) == {}
assert read_likelihood({"likelihood": coin}) == coin

# %%
config = DDPMConfig(dataset=dataset, epochs=epochs, seed=seed)
run = run_ddpm(config)
pd.DataFrame(read_likelihood(run.metrics(epochs))["bounds"]).T.round(3)

# %%
parts = pd.DataFrame(read_likelihood(run.metrics(epochs))["bounds"]).T[["first", "middle", "last"]]
ax = parts.astype(float).plot.barh(stacked=True, figsize=(5, 1.8), xlabel="bits per dimension")
ax.legend(["$L_0$", "$L_1$ to $L_{T-1}$", "$L_T$"], frameon=False, ncols=3, bbox_to_anchor=(1, 1.3));

# %% [markdown]
# (These bounds would be lower with `levels="uniform"`: see [02_ddpm](02_ddpm.ipynb#Which-noise-levels-to-train-on).)
#
# Why is $L_0$ so large a part with the fixed variances? It is one step of a thousand, and the network errs by less than a grey level. Take it apart: how many of its bits go to black pixels, and how many to the others? (The bits of both add up to $L_0$.)

# %%
net, train = train_ddpm(run, epochs), config.training_set()
test = load_dataset(dataset, "test").pick(slice(200))
make_model = lambda labels: make_denoiser(net, config, labels)
x0, model = images_and_model(test, make_model, config.channels)
xt = model.diffusion.q_sample(x0, 1, Noise(x0.shape, seed)())
x0_hat = model(xt.to(model.device), 1).cpu()
error, noise = (x0_hat - x0).square().mean().sqrt(), (1 - model.diffusion.abar[1]).sqrt()
print(f"error of the guess {error:.4f}, noise {noise:.4f}, half a bin {1 / 255:.4f}")

rows, black = {}, x0 == -1
for kind, (by_grey, _) in reverse_variances(make_model, train, config.channels, seed=seed).items():
    bits = discretised_nll(x0.double(), x0_hat.double(), by_grey[grey_value(x0_hat)]) / np.log(2) / x0.numel()
    sd_black, sd_grey = by_grey[[0, 128]].sqrt().tolist()
    shares = {"black pixels": bits[black].sum().item(), "others": bits[~black].sum().item()}
    rows[kind] = {"sd at black": sd_black, "sd at mid-grey": sd_grey} | shares
print(f"{black.double().mean():.0%} of the pixels are black")
pd.DataFrame(rows).T.round(4)

# %% [markdown]
# The table of the digits and the next one show the same thing twice: with $\tilde\beta_t$ many of the bits go to black pixels, which hold little information. Their guess is nearly right, but the decoder may not say so. Black is the lowest bin, which ends half a bin, 0.0039, above -1; the mean cannot lie below -1; and the standard deviation of $\tilde\beta_2$ is 0.0047 (cosine, 1,000 levels). So even for a perfect guess only 80% of the probability fall into the bin, and the pixel costs 0.32 bits. The rest is the network's own small error, which is somewhat larger than half a bin. The fitted decoder may be narrower where the network says black.
#
# A small network on MNIST (`widths` 16, 32, 64, uniform levels, Adam alone, bfloat16, 5 epochs, one run; 500 test images, of whose pixels 82% are black):
#
# | bits/dim in $L_0$ | sd at black | sd at mid-grey | black pixels | others |
# |---|---|---|---|---|
# | $\tilde\beta_t$ | 0.0047 | 0.0047 | 0.41 | 0.31 |
# | fitted | 0.0006 | 0.0037 | 0.07 | 0.31 |
#
# The 0.31 of the others are no fault of the decoder: at $t=1$ a pixel has noise of standard deviation 0.0064, nearly a whole grey level, and what that hides is about 1.7 bits a pixel. The whole bound, on 2,000 test images:
#
# | variance | bits/dim | $L_0$ | middle terms |
# |---|---|---|---|
# | $\beta_t$ | 2.13 ± 0.07 | | |
# | $\tilde\beta_t$ | 1.77 ± 0.05 | 0.72 | 1.05 |
# | fitted | 1.40 ± 0.04 | 0.38 | 1.02 |
#
# Nearly all of the gain is in $L_0$.

# %% [markdown]
# ## Its section of the report
#
# The table of the report names the variance and shows the parts. It is called by the chapter on diffusion, in [02_ddpm](02_ddpm.ipynb).

# %%
#| export
SYMBOLS = {"posterior": r"$\tilde\beta_t$", "beta": r"$\beta_t$"}  # of variances that know no network


def likelihood_table(runs: pd.DataFrame, label: str) -> str:
    "Bounds on test images: the lowest with its variance and parts, and those of the fixed variances."
    rows = []
    for r in runs.itertuples():
        known = read_likelihood(r.metrics)
        variance = known.get("variance") or "—"
        bound = plus_minus(known.get("bits_per_dim"), known.get("se"), 3)
        parts = [number(known.get(k), 3) for k in ("first", "middle", "last")]
        fixed = [number(value_at(known, "bounds", name, "bits_per_dim"), 3) for name in SYMBOLS]
        images = number(known.get("n"), 0)
        rows.append([r.label, r.epochs, bound, SYMBOLS.get(variance, variance), *parts, *fixed, images])
    caption = (
        "Variational bounds on the negative log-likelihood of test images, "
        "in bits per pixel and channel of these images: the lowest one that was computed, "
        "with its standard error over the images, the variance of the steps back that it holds for, "
        "and its parts $L_0$, the terms between, and $L_T$; "
        r"then the bounds with two variances that know nothing of the network, $\tilde\beta_t$ and $\beta_t$."
    )
    header = ["run", "epochs", "bits/dim", "variance", "$L_0$", "$L_1$ to $L_{T-1}$", "$L_T$"]
    header += [*SYMBOLS.values(), "images"]
    return markdown_table(rows, header, caption, label, "lrrlrrrrrr")


# %%
#| hide
old = {"bits_per_dim": 1.71, "se": 0.05, "first": 0.7, "middle": 1.01, "last": 0.0, "n": 2000}
fixed = {"posterior": {"bits_per_dim": 1.71}, "beta": {"bits_per_dim": 1.9}}
new = old | {"bits_per_dim": 1.3, "variance": "fitted", "bounds": fixed}
metrics = [{"likelihood": old}, {"likelihood": new}, {}, None]
runs = pd.DataFrame({"label": "a", "epochs": 1, "metrics": metrics})
lines = likelihood_table(runs, "bits").split("\n")[2:6]
words = (r"| $\tilde\beta_t$ |", "1.710", "—")
assert [lines[0].count(word) for word in words] == [1, 2, 1], "older files have the posterior's bound only"
assert [lines[1].count(word) for word in ("fitted", "1.300", "1.710", "1.900")] == [1, 1, 1, 1]
assert all(line.count("—") == 8 for line in lines[2:])


# %%
#| export
def likelihood_section(runs: pd.DataFrame) -> Section:
    "What a bound in bits per dimension is, and those of all runs."
    text = r"""## Likelihood {#sec-likelihood}

A diffusion model bounds the probability of images that it has never seen.
@tbl-likelihoods gives the bound in bits per pixel and channel.
It belongs to a network *and* a variance of the steps from $x_t$ back to $x_{t-1}$, which the table names:
the posterior's $\tilde\beta_t$, or $\beta_t$ [@ho2020],
or *fitted*, the best one for the network at each noise level
by its errors on training images [@bao2022], with one for each predicted grey value in the last step.
A compressor that uses this network and this variance needs about so many bits;
with another variance it needs others.
So runs can be compared only in columns of the same variance.
"""
    return Section(f"{text}\n{likelihood_table(runs, 'likelihoods')}")

# %% [markdown]
# ## What to remember
#
# - A bound in bits per dimension belongs to a network, a variance of the steps back, and a decoder. Compare like with like.
# - The variance costs nothing to fit, and most of what it gains is in $L_0$, the last step.
# - Few bits do not mean good samples, nor the other way round: most bits go into details that nobody sees.
#
# ## Exercises
#
# 1. The fitted variance is one number a noise level, for all pixels. Fit one for each pixel instead: a pixel in a corner is easier to guess than one in the middle. What does it do to bits/dim?
#
# ## Solutions
#
# <details><summary>1. A variance for each pixel</summary>
#
# The derivation holds for each pixel by itself, with the mean over images and noise only. `bits_per_dim` takes a table that has a variance for each level *and* pixel as it is. A pixel that is black in all training images has no error at all, and a variance fitted to that would make the first test image that is not black there infinitely expensive. So each pixel starts with ten images' worth of the mean error of all.
#
#     def by_pixel(make_model, train, levels=32):
#         x0, model = images_and_model(train.pick(slice(500)), make_model, config.channels)
#         measured, errors = torch.logspace(0, np.log10(config.T), levels).round().unique().long(), []
#         for t in measured:
#             error = (model(model.diffusion.q_sample(x0, t, torch.randn_like(x0)), t) - x0).square()
#             errors.append((error.sum(0) + 10 * error.mean()) / (len(x0) + 10))
#         every, logs = torch.arange(1, config.T + 1), torch.stack(errors).log().flatten(1).T.double().numpy()
#         error = np.exp([np.interp(every, measured, pixel) for pixel in logs]).T.reshape(config.T, *x0.shape[1:])
#         of_x0, _, between = (a.view(-1, 1, 1, 1) for a in model.diffusion._coefficients(every))
#         table = between + of_x0**2 * torch.from_numpy(error)
#         return torch.cat([torch.ones_like(table[:1]), table])
#
#     variances = reverse_variances(make_model, train)
#     variances["by pixel"] = variances["fitted"][0], by_pixel(make_model, train)
#     bounds = bits_per_dim(make_model, load_dataset(dataset, "test"), variances)["bounds"]
#     pd.DataFrame(bounds).T.round(3)
#
# On `digits` after 10 epochs (one run, the 500 test images, the same draws in all):
#
# | variance | bits/dim | $L_0$ | middle terms |
# |---|---|---|---|
# | $\beta_t$ | 3.31 | 1.23 | 2.08 |
# | $\tilde\beta_t$ | 3.46 | 1.32 | 2.14 |
# | fitted | 2.90 | 0.92 | 1.98 |
# | by pixel | 2.86 | 0.92 | 1.94 |
#
# The network is the same and so are its samples: samplers do not ask for this variance. One could go further with a variance that the network predicts.
#
# </details>
