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
# # What else a denoiser can do
#
# > A network trained to draw images cleans noisy ones and fills in missing parts, without a word of training for it: how well, and how far from exact
#
# A diffusion model is trained to see the image behind noise. So it should be able to take noise out of a given image. It also knows what images look like, so it should be able to continue one of which a half is missing. One of the [student reports](07b_reports.ipynb) behind this course, report 002, wished for losses made for such tasks. No new loss is needed: the network of [02_ddpm](02_ddpm.ipynb) is used as it is.
#
# Here are both tasks, each tried first on a density whose answer is known, and then on digits, against rivals that know nothing of deep learning.

# %%
#| default_exp restoration

# %% tags=["parameters"]
dataset = "digits"  # images to train on, with labels
epochs = 40  # passes over the training set
steps = 20  # of the samplers
seed = 0  # all randomness follows from it

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import torch

from genlab.samplers import Noise, even_times, karras_times, sde_dpmpp

# %%
#| hide
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from scipy import ndimage, signal

from genlab.data import load_dataset, show_grid, to_image, to_model
from genlab.ddpm import DDPMConfig, ancestral, denoiser, make_denoiser, make_network, run_ddpm
from genlab.diffusion import Diffusion, GaussianMixture, cosine_betas
from genlab.features import accuracy, load_lenet
from genlab.fid import evaluate


# %% [markdown]
# ## Cleaning an image
#
# A noisy image is $y=x_0+\sigma n$ with standard normal $n$. Divide it by $\sqrt{1+\sigma^2}$, and it is the $x_t$ of a diffusion where $\bar\alpha_t=1/(1+\sigma^2)$. That is a log-SNR of $-2\log\sigma$, so we know $t$. The network's answer there is (nearly, for that is what it has learned) the mean $\mathbb E[x_0\mid y]$ of all images that could be behind $y$. **No function of $y$ has a smaller mean squared error.** One evaluation is enough.

# %%
#| export
def as_xt(model, y: torch.Tensor, sigma: float) -> tuple[torch.Tensor, float]:
    "Images with noise of standard deviation sigma, as xt and t. ValueError if there is no such noise level."
    lowest, highest = (1 / model.diffusion.abar[[1, -1]] - 1).sqrt().tolist()
    if not lowest <= sigma <= highest:
        raise ValueError(f"sigma: {sigma} is not between {lowest:.2g} and {highest:.2g}, the noise it knows.")
    return y / math.sqrt(1 + sigma**2), model.diffusion.t_at(-2 * math.log(sigma)).item()


def denoise(
    model,  # (xt, t) -> x0, with .diffusion and .device; such as a Denoiser
    y: torch.Tensor,  # float (B, ...): images in [-1, 1] plus noise
    sigma: float,  # its standard deviation; ValueError if the model has no such level
) -> torch.Tensor:  # like y
    "E[x0 | y], as the model believes."
    xt, t = as_xt(model, y, sigma)
    return model(xt.to(model.device), t)


# %% [markdown]
# The mean of many possible images is none of them. Where one cannot tell a 4 from a 9 it is half of each, and blurred. An image that *could* be behind $y$ is a sample of $p(x_0\mid y)$. The way to it is known, too: sampling, but starting at $x_t$ in place of pure noise. The sampler must be a random one, as `sde_dpmpp` of [02b_samplers](02b_samplers.ipynb). (DDIM makes one image of each $x_t$, and does not choose.)

# %%
#| export
def _first_then(first: torch.Tensor, noise: Callable) -> Iterator[torch.Tensor]:
    yield first
    while True:
        yield noise()


def redraw(
    model,
    y: torch.Tensor,
    sigma: float,
    steps: int = 20,  # of the sampler, at Karras's levels from sigma down
    seed: int = 0,  # another one than that of the noise in y: equal seeds draw equal noise
    sampler: Callable = sde_dpmpp,  # one that draws noise at each step
) -> torch.Tensor:  # like y
    "A sample of p(x0 | y) for each image; arguments as for `denoise`."
    xt, _ = as_xt(model, y, sigma)
    noise = partial(next, _first_then(xt, Noise(y.shape, seed)))
    times = karras_times(model.diffusion, steps, largest=sigma)
    return sampler(model, y.shape, steps, seed, times=times, noise=noise)


# %% [markdown]
# **A check** on the line. For the mixture of [02_ddpm_theory](02_ddpm_theory.ipynb) the mean is known. Differentiate $\mathbb E[x_0\mid y]$ with respect to $y$, and multiply by $\sigma^2$: that is the variance of $x_0$ given $y$ (a sum over the exponential $e^{x_0y/\sigma^2}$ differentiates to it). So mean and variance of the samples have something to agree with.

# %%
class OnTheLine:
    "The exact denoiser of a mixture, in place of a network."

    diffusion, device = Diffusion(cosine_betas()), torch.device("cpu")
    mixture = GaussianMixture([0.4, 0.6], [-1.0, 1.0], [0.15, 0.3])

    def __call__(self, xt, t):
        return self.mixture.x0(xt.double(), self.diffusion.abar_at(t))


exact, sigma, n = OnTheLine(), 1.0, 20_000
y = torch.tensor([-0.5, 0.0, 1.0], dtype=torch.float64, requires_grad=True)
mean = denoise(exact, y, sigma)
variance = sigma**2 * torch.autograd.grad(mean.sum(), y)[0]
rows = {"exact": [*mean.tolist(), *variance.tolist()]}
for sampler, count in ((ancestral, 20), (ancestral, 100), (sde_dpmpp, 20), (sde_dpmpp, 50)):
    drawn = redraw(exact, y.detach().repeat(n, 1), sigma, count, seed, sampler)
    rows[f"{sampler.__name__}, {count} steps"] = [*drawn.mean(0).tolist(), *drawn.var(0).tolist()]
columns = pd.MultiIndex.from_product([["mean", "variance"], [f"y = {value}" for value in y.tolist()]])
table = pd.DataFrame(rows, columns).T
assert (table.iloc[-1] - table.iloc[0]).abs().max() < 0.02
table.round(3)

# %% [markdown]
# With few steps `ancestral` makes the variance too small: each of its steps takes $\hat x_0$ for the truth, and forgets that it is a guess. The error falls as one over the number of steps. `sde_dpmpp` is of second order: 20 steps of it have the variance of more than 100 of the other's.

# %%
#| hide
x0 = torch.linspace(-4, 4, 8001, dtype=torch.float64)  # mean and variance by their definitions
for level in (0.5, 1.0, 2.0):
    behind = exact.mixture.density(x0) * torch.exp(-((y.detach()[:, None] - x0) ** 2) / (2 * level**2))
    behind = behind / behind.sum(1, keepdim=True)
    by_sum = (behind * x0).sum(1)
    assert torch.allclose(by_sum, denoise(exact, y, level), atol=1e-5)
spread = (behind * (x0 - by_sum[:, None]) ** 2).sum(1)
assert torch.allclose(spread, 4 * torch.autograd.grad(denoise(exact, y, 2.0).sum(), y)[0], atol=1e-4)
for wrong in (0.001, 1e9):
    with pytest.raises(ValueError, match=f"sigma: {wrong} is not between 0.006"):
        denoise(exact, y, wrong)

# %% [markdown]
# One more thing follows. The truth is itself a sample of $p(x_0\mid y)$. So another sample differs from it by twice the variance, on average, where the mean differs by it once: **a sample has twice the squared error of the mean**, and 3 decibels less of PSNR. That is the price of a sharp image, for any method that draws from the right distribution ([Blau and Michaeli 2018](https://arxiv.org/abs/1711.06077) call it the trade-off of perception and distortion).

# %%
truth = exact.mixture.sample(n, seed)
noisy = truth + sigma * Noise((n,), seed + 1)().double()
of_mean, of_sample = (
    (guess - truth).square().mean().item()
    for guess in (denoise(exact, noisy, sigma), redraw(exact, noisy, sigma, 50))
)
ratio = of_sample / of_mean
print(f"squared error of the mean {of_mean:.3f}, of a sample {of_sample:.3f}: {ratio:.2f} times")
assert abs(ratio - 2) < 0.06


# %% [markdown]
# ## Filling in
#
# Now a part of $x_0$ is known exactly, and the rest not at all. **Replacement**, the first idea ([Song et al. 2021](https://arxiv.org/abs/2011.13456)): sample as usual, but after each step put the known part in its place, with as much noise as belongs to the level. The network then sees the known part, and makes the rest fit.
#
# It does not fit well, since the rest is made before the known part can be seen: early on it is as noisy as everything, and when it becomes clear the rest is settled. **RePaint** ([Lugmayr et al. 2022](https://arxiv.org/abs/2201.09865)) goes back, again and again: noise is added to the result of a step, the step is repeated, and the two parts have another chance to agree.

# %%
#| export
def inpaint(
    model,  # (xt, t) -> x0, with .diffusion and .device; such as a Denoiser
    image: torch.Tensor,  # float (B, ...) in [-1, 1]; unknown parts may hold any finite number
    known: torch.Tensor,  # bool, broadcasts to `image`; TypeError otherwise
    steps: int = 50,  # 1 to T
    seed: int = 0,
    repeats: int = 1,  # of each step but the last; 1: replacement. ValueError below 1
) -> torch.Tensor:  # like image, and equal to it where it is known
    "The image, completed from its known part (Lugmayr et al. 2022, algorithm 1); how exactly, see 02g."
    if known.dtype != torch.bool:
        raise TypeError(f"known: a mask is bool, and this is {known.dtype}.")
    if repeats < 1:
        raise ValueError(f"repeats: each step is made once at least, not {repeats} times.")
    diffusion, noise = model.diffusion, Noise(image.shape, seed, device=model.device)
    image, known, x = image.to(model.device), known.to(model.device), noise()
    for t, s in pairwise(even_times(diffusion, steps)):
        kept = (diffusion.abar_at(t) / diffusion.abar_at(s)).item()  # alpha of the way from s to t
        for again in range(repeats if s else 1):
            if again:
                x = math.sqrt(kept) * x + math.sqrt(1 - kept) * noise()
            x, variance = diffusion.posterior(x, model(x, t), t, s)
            x = x + variance.sqrt() * noise()
            x = torch.where(known, diffusion.q_sample(image, s, noise()), x)
    return x


# %% [markdown]
# **How far is that from exact?** Take points of the plane, of which the first coordinate is known and the second missing. For a mixture of Gaussians everything is known: the denoiser, and the density of the missing number given the known one, which is a mixture again.

# %%
class InThePlane:
    "A mixture of Gaussians in the plane: means (K, 2), covariances (K, 2, 2). float64."

    diffusion, device = Diffusion(cosine_betas()), torch.device("cpu")

    def __init__(self, w, m, cov):
        self.w, self.m, self.cov = (torch.as_tensor(a, dtype=torch.float64) for a in (w, m, cov))

    def __call__(self, xt, t):
        "E[x0 | xt]: in each component a linear guess, and their mean by how likely each is."
        abar = self.diffusion.abar_at(t)
        S = abar * self.cov + (1 - abar) * torch.eye(2)
        off = xt.double()[:, None] - abar.sqrt() * self.m
        solved = torch.linalg.solve(S, off[..., None])[..., 0]
        r = (self.w.log() - torch.logdet(S) / 2 - (off * solved).sum(-1) / 2).softmax(1)
        guesses = self.m + abar.sqrt() * (self.cov @ solved[..., None])[..., 0]
        return (r[..., None] * guesses).sum(1)

    def missing(self, known):
        "The density of the second coordinate, given the first."
        (a, b), (_, d) = self.cov.permute(1, 2, 0)
        r = self.w * torch.exp(-((known - self.m[:, 0]) ** 2) / (2 * a)) / a.sqrt()
        return GaussianMixture(r, self.m[:, 1] + b / a * (known - self.m[:, 0]), (d - b**2 / a).sqrt())


gaussian = InThePlane([1.0], [[0.0, 0.0]], [[[1.0, 0.9], [0.9, 1.0]]])
modes = InThePlane([0.5, 0.5], [[-0.5, -1], [0.5, 1]], [[[0.1, 0.0], [0.0, 0.05]]] * 2)

# %%
#| hide
torch.manual_seed(seed)
line = torch.linspace(-5, 5, 401, dtype=torch.float64)
grid = torch.cartesian_prod(line, line)
for plane in (gaussian, modes):  # the denoiser and the conditional by their definitions: sums over the plane
    parts = torch.distributions.MultivariateNormal(plane.m, plane.cov)
    density = (plane.w * parts.log_prob(grid[:, None]).exp()).sum(1)
    abar = plane.diffusion.abar_at(400)
    xt = torch.tensor([[0.4, -0.3]], dtype=torch.float64)
    behind = density * torch.exp(-(xt - abar.sqrt() * grid).square().sum(1) / (2 * (1 - abar)))
    assert torch.allclose((behind[:, None] * grid).sum(0) / behind.sum(), plane(xt, 400)[0], atol=1e-4)
    given = density.view(401, 401)[212]  # where the first is 0.3
    assert torch.allclose(given / given.sum() / 0.025, plane.missing(0.3).density(line), atol=1e-4)
white = InThePlane([1.0], [[0.0, 0.0]], [[[1.0, 0.0], [0.0, 1.0]]])
free = inpaint(white, torch.zeros(4000, 2), torch.tensor(False), 50, seed, 5)
assert 0.75 < free.var() < 1, "where nothing is known repeats change nothing, but for the error of each step"


# %%
def filled(plane, known, repeats, n=4000, steps=50):
    "n samples of the missing coordinate."
    point = torch.tensor([known, 0.0], dtype=torch.float64).repeat(n, 1)
    return inpaint(plane, point, torch.tensor([True, False]), steps, seed, repeats)[:, 1]


REPEATS = (1, 2, 5, 20)
cases = {"one Gaussian": (gaussian, 1.5), "two modes": (modes, 0.2)}
results, rows = {}, []
for name, (plane, known) in cases.items():
    density = plane.missing(known)
    law = density.noised()
    rows.append({"": name, "repeats": "exact", "mean": law.mean.item(), "variance": law.variance.item()})
    for repeats in REPEATS:
        x = results[name, repeats] = filled(plane, known, repeats)
        far = (law.cdf(x.sort().values) - (torch.arange(len(x)) + 0.5) / len(x)).abs().max().item()
        found = {"mean": x.mean().item(), "variance": x.var().item(), "KS": far}
        rows.append({"": name, "repeats": repeats} | found)
table = pd.DataFrame(rows).set_index(["", "repeats"])
means, variances = table["mean"].unstack(), table["variance"].unstack()
assert (means.diff(axis=1)[[2, 5, 20]] > 0.03).all(axis=None), "each repeat brings it nearer"
assert (means[1] < means["exact"] - 0.3).all() and abs(means.loc["one Gaussian", 20] - 1.35) < 0.05
table.round(3)

# %%
fig, axes = plt.subplots(1, 2, figsize=(7, 2.6), layout="constrained")
for ax, (name, (plane, known)) in zip(axes, cases.items(), strict=True):
    x = torch.linspace(-2.5, 3.5, 301, dtype=torch.float64)
    ax.fill_between(x, plane.missing(known).density(x), color="0.85", label="exact")
    for repeats in (1, 5, 20):
        label = f"repeats={repeats}"
        ax.hist(results[name, repeats], 60, range=(-2.5, 3.5), density=True, histtype="step", label=label)
    ax.set(xlabel="missing number", title=f"{name}, known number {known}", yticks=[])
axes[0].set_ylabel("density")
axes[0].legend(frameon=False, fontsize=8, loc="upper left");

# %% [markdown]
# Replacement is far off. For one Gaussian the missing number should be 1.35 on average, and it is 0.92, with too much spread. Repeats bring the mean home, up to 2% with 20 of them. (The variance ends below the truth, as that of `ancestral` did above, whose step this is. With 200 steps in place of 50 it is 0.164.)
#
# With two modes, which are *alternatives*, repeats help little. The known number says that the upper mode is the likely one, 7.4 to 1. Replacement draws it little more often than the other, and with 20 repeats it is 2.2 times as often. Four times as many steps change that to 2.3. Which mode it will be is decided where there is so much noise that what the known part says is lost in it, and repeats later on cannot undo it. So: what `inpaint` returns are plausible completions, and not samples with the right probabilities. (What would be: to weight many samples by how well they fit the known part, [Wu et al. 2023](https://arxiv.org/abs/2306.17775), or to train a network that is shown the known part.)
#
# ## On digits
#
# A network from 02_ddpm that knows classes and can be asked without one, as here at first. Nothing is trained for what follows.

# %%
#| hide
data = load_dataset("digits")
small = DDPMConfig(widths=[8, 16], conditional=True)
net, clean = make_network(small, data), to_model(data.images[:4])
for p in net.parameters():
    p.data += 0.1 * torch.randn_like(p)  # nothing is at zero any more
model, half = make_denoiser(net, small), torch.arange(16) < 8
full = inpaint(model, clean, half, steps=3, repeats=2)
assert torch.equal(full[..., :8], clean[..., :8]) and not torch.equal(full[..., 8:], clean[..., 8:])
assert model.evaluations == 2 + 2 + 1
assert torch.equal(full, inpaint(model, torch.where(half, clean, 7.0), half, steps=3, repeats=2))
assert not torch.equal(full, inpaint(model, clean, half, steps=3, repeats=2, seed=1))
told = make_denoiser(net, small, data.labels[:4])
assert not torch.equal(inpaint(told, clean, half, steps=2), inpaint(model, clean, half, steps=2))
assert redraw(model, clean, 0.5, 3).shape == denoise(model, clean, 0.5).shape == clean.shape
seen = []
net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
inpaint(model, 0 * clean, torch.tensor(True), steps=4)
noise_there = [(1 - model.diffusion.abar[t]).sqrt().item() for t in (1000, 750, 500, 250)]
assert [x.std().item() for x in seen] == pytest.approx(noise_there, abs=0.08), "the known part is noised, too"
with pytest.raises(ValueError, match="repeats: each step is made once at least, not 0 times"):
    inpaint(model, clean, half, repeats=0)
with pytest.raises(TypeError, match="known: a mask is bool, and this is torch.float32"):
    inpaint(model, clean, half.float())

# %%
#| eval: false
config = DDPMConfig(dataset=dataset, name="restoration", epochs=epochs, conditional=True, seed=seed)
run = run_ddpm(config)
model = denoiser(run, epochs)  # asked for no class
train, test = load_dataset(dataset), load_dataset(dataset, "test")
known_images, truth = to_model(train.images), to_model(test.images)


# %% [markdown]
# **PSNR**, the usual measure, is the squared error on a scale of decibels: $10\log_{10}(2^2/\text{error})$ for pixels in $[-1,1]$. More is better; half the error is 3 dB.

# %%
#| export
def psnr(
    x: torch.Tensor,  # (B, ...) in [-1, 1]; what lies outside is clipped
    truth: torch.Tensor,  # like x
    where: torch.Tensor | None = None,  # bool, broadcasts to x: pixels that count; None: all
) -> float:
    "Peak signal-to-noise ratio in decibels, of the mean squared error over all images together."
    error = (x.clamp(-1, 1).cpu() - truth).square()
    counted = error if where is None else error[where.expand_as(error)]
    return -10 * math.log10(counted.mean().item() / 4)


# %%
image = torch.zeros(2, 1, 2, 2)
left = torch.tensor([True, False])
assert abs(psnr(image + 0.2, image) - 20) < 1e-4, "a tenth of the range is 20 dB"
assert abs(psnr(torch.where(left, image + 0.2, 5.0), image, left) - 20) < 1e-4
assert abs(psnr(torch.full_like(image, 5.0), image) - 20 * math.log10(2)) < 1e-4, "clipped: half the range"


# %% [markdown]
# ### Noise
#
# The rivals: a Gaussian blur, a median filter and Wiener's local filter, each with the width that is best *on the test images*, which flatters them. And a strong one: the best of all **linear** guesses, which is the posterior mean for a Gaussian with mean $\mu$ and covariance $C$ of the training images, $\mu+C\,(C+\sigma^2I)^{-1}(y-\mu)$.

# %%
def each(images, f):
    "A filter of arrays (H, W) applied to all channels of all images."
    planes = [torch.from_numpy(f(plane.numpy())).float() for plane in images.flatten(0, 1)]
    return torch.stack(planes).view_as(images)


def filters(sigma):
    "The classical filters, by name: functions of an array for each width."
    widths = (0.4, 0.6, 0.8, 1, 1.3, 1.6, 2, 3)
    return {
        "Gaussian blur": [partial(ndimage.gaussian_filter, sigma=w) for w in widths],
        "median": [partial(ndimage.median_filter, size=w) for w in (1, 2, 3, 5, 7)],
        "Wiener": [partial(signal.wiener, mysize=w, noise=sigma**2) for w in (3, 5, 7, 9)],
    }


def linear(y, sigma, known=slice(None)):
    "The best linear guess of all pixels (B, D) from the noisy ones y (B, d), by the training images."
    flat = known_images.flatten(1).double()
    mean, C = flat.mean(0), flat.T.cov(correction=0) + 1e-6 * torch.eye(flat.shape[1])
    seen = C[known][:, known] + sigma**2 * torch.eye(y.shape[1])
    return (mean + (y - mean[known]) @ torch.linalg.solve(seen, C[known])).float()


# %%
#| eval: false
SIGMAS, rows, restored = (0.25, 0.5, 1.0, 2.0), [], {}
for sigma in SIGMAS:
    y = truth + sigma * Noise(truth.shape, seed + 1)()
    found = {"noisy": y}
    for name, widths in filters(sigma).items():
        found[name] = max((each(y, f) for f in widths), key=lambda x: psnr(x, truth))
    found["best linear guess"] = linear(y.flatten(1).double(), sigma).view_as(y)
    found["network, mean"] = denoise(model, y, sigma)
    found["network, a sample"] = redraw(model, y, sigma, steps, seed)
    for name, x in found.items():
        score = evaluate(to_image(x), dataset, ["fd_lenet"])["fd_lenet"]["value"]
        rows.append({"": name, "sigma": sigma, "PSNR (dB)": psnr(x, truth), "fd_lenet": score})
    restored[sigma] = found
table = pd.DataFrame(rows).pivot_table(["PSNR (dB)", "fd_lenet"], "", "sigma", sort=False)
table.round(1)

# %%
#| eval: false
shown = {"truth": truth} | restored[1.0]
first = torch.cat([x[:14] for x in shown.values()]).clamp(-1, 1)
show_grid(first, ncol=14, title="noise of $\\sigma=1$", rows=[*shown]);

# %% [markdown]
# The network's mean has the highest PSNR at each level, 0.9 to 1.4 dB above the best linear guess where $\sigma\le1$, and far above the filters, which know nothing of digits. At $\sigma=2$ hardly anything is left to see, and 0.2 dB is all that knowing the shapes of digits buys.
#
# The sample has 2.6 to 2.8 dB less than the mean, where an exact one would have 3.0. In return it looks like a digit: at $\sigma=2$ its distance `fd_lenet` is 32, the mean's 293. (These are distances to the same 500 test images that were spoiled, so that there is no floor.) In the last two rows of the picture one can see both: the mean is soft where it is in doubt, and the sample is sharp and now and then another digit. At $\sigma=0.25$ nothing is in doubt, and the mean is better by either measure.
#
# Which one should one use? If errors are to be small, the mean; if the result is to look right, a sample. Where anything is in doubt no method has both.
#
# ### A missing half
#
# Of each digit the left half is known. The rivals: the mean of those training images whose left halves are nearest (as many as is best on the test images), and the best linear guess from the known pixels. Beside PSNR of the missing part we ask the classifier of [05b_features](05b_features.ipynb) whether it sees the digit that was there.

# %%
#| eval: false
half = (torch.arange(truth.shape[-1]) < truth.shape[-1] // 2).expand(truth.shape[1:])  # what is known
test_half = test.pick(slice(250))
clean = truth[:250]
distances = torch.cdist(clean[:, half], known_images[:, half])
nearest = distances.topk(50, largest=False).indices
neighbours = [known_images[nearest[:, :k]].mean(1) for k in (1, 2, 3, 5, 10, 20, 50)]
found = {"nearest images": max(neighbours, key=lambda x: psnr(x, clean, ~half))}
found["best linear guess"] = linear(clean[:, half].double(), 0, half.flatten()).view_as(clean)
for repeats in (1, 5, 10):
    found[f"repeats={repeats}"] = inpaint(model, clean, half, steps, seed, repeats)
several = [inpaint(model, clean, half, steps, seed + i, 5) for i in range(1, 4)]
found["repeats=5, mean of 4"] = torch.stack([found["repeats=5"], *several]).mean(0)
told = make_denoiser(model.net, config, test_half.labels)
found["repeats=5, told the class"] = inpaint(told, clean, half, steps, seed, 5)

# %%
#| eval: false
classifier, rows = load_lenet(dataset)[0], []
for name, x in {"the truth": clean, **found}.items():
    x = torch.where(half, clean, x.clamp(-1, 1))
    right = 100 * accuracy(classifier, test_half._replace(images=to_image(x)))
    decibels = None if name == "the truth" else psnr(x, clean, ~half)
    rows.append({"": name, "PSNR of the missing half (dB)": decibels, "right class (%)": right})
pd.DataFrame(rows).set_index("").round(1)

# %%
#| eval: false
hidden = torch.where(half, clean, 0)
shown = {"truth": clean, "known": hidden} | found
first = torch.cat([x[:14] for x in shown.values()]).clamp(-1, 1)
show_grid(first, ncol=14, title="the right half is missing", rows=[*shown]);

# %% [markdown]
# Here the diffusion model loses. Its samples mostly look like digits, but only 53% of them, with 10 repeats 66%, are the digit that was there; the mean of the nearest training images is right in 91%, and the best linear guess in 92%, with 4 dB more. A sample has to lose 3 dB against a mean. The rest looks like what the two modes in the plane have shown: what the right half is to be is settled before the left half can be seen. More repeats help, 13.8 dB after 12.8, and cost as many evaluations. Told the class, which settles the mode, it draws the right digit always, at 16.6 dB: a *sample* with 1.5 dB less than the best mean, which did not know the class.
#
# Lugmayr et al. (2022) repeat over longer stretches of noise levels and with 250 steps of a large network. Better ways to let the known part be seen early: follow the gradient of how well $\hat x_0$ fits it ([Chung et al. 2023](https://arxiv.org/abs/2209.14687)), or train the network with it as an input.
#
# ## What to remember
#
# - A denoiser is a denoiser: one evaluation gives the mean of all images behind a noisy one, and no guess has a smaller squared error.
# - A sample of what could be behind it looks better and has twice the squared error.
# - Putting the known part in its place is not conditioning on it. Repeats reduce the bias of a number, and hardly that of a choice between alternatives.
# - Compare with simple rivals, tuned. A Gaussian fitted to the training images is a strong one.
#
# ## Exercises
#
# 1. Show that for a Gaussian with correlation $\rho$ and variances 1, the mean of the missing number is $\rho$ times the known one, and its variance $1-\rho^2$. What does the table say?
# 2. Why does a sampler that draws no noise, such as `ddim`, not give samples of $p(x_0\mid y)$? Try it on the line.
# 3. The mean of $k$ samples of $p(x_0\mid y)$: what is its squared error, relative to that of the mean? Check on the line.
#
# ## Solutions
#
# <details><summary>1. One Gaussian</summary>
#
# The density of the missing number $m$ given the known one $k$ is proportional to $e^{-(m^2-2\rho mk+k^2)/2(1-\rho^2)}$. Complete the square: $(m-\rho k)^2$ and a rest without $m$. With $\rho=0.9$ and $k=1.5$ the mean is 1.35 and the variance 0.19, as in the first row.
#
# </details>
#
# <details><summary>2. Without noise</summary>
#
#     from genlab.ddpm import ddim
#
#     same = redraw(exact, torch.zeros(1000, 1, dtype=torch.float64), 1.0, 50, seed, ddim)
#     print(same.mean(), same.var())
#
# SOLUTION2
#
# </details>
#
# <details><summary>3. The mean of several samples</summary>
#
#     for k in (1, 2, 4, 8):
#         mean_of_k = torch.stack([redraw(exact, noisy, sigma, 50, seed + 2 + i) for i in range(k)]).mean(0)
#         print(k, (mean_of_k - truth).square().mean().item() / of_mean)
#
# SOLUTION3
#
# </details>
