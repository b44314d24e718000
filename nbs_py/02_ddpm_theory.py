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
# # Diffusion: the theory
#
# > Noise an image step by step, and work out what one would have to know to go back: every equation of a diffusion model, derived and checked on a density whose answers are known
#
# Let a drop of ink fall into water. It spreads until the glass is evenly grey, and nothing in the grey tells where the drop fell. Watch any hundredth of a second of it, though, and you could run the film backwards: over so short a time the ink moves only a little, in a direction that depends on where the ink is dense.
#
# A **diffusion model** ([Sohl-Dickstein et al. 2015](https://arxiv.org/abs/1503.03585), [Ho et al. 2020](https://arxiv.org/abs/2006.11239)) does this with images. It mixes them with noise in a thousand small steps, learns to undo one small step, and makes new images by starting from noise and undoing a thousand. The network comes in [02_ddpm](02_ddpm.ipynb). Here is everything around it: what is known before anything is learnt.
#
# The equations that matter are numbered. Each is derived, written as a few lines of code in float64, and tested against something that does not use it: a simulation, or adding up over a fine grid. One of them, found in a report, does not pass.

# %%
#| default_exp diffusion

# %% tags=["parameters"]
dataset = "digits"  # whose images drown in noise below
T = 1000  # steps from the data to the noise
seed = 0  # all randomness follows from it

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import copy
import math

import torch
from fastcore.basics import patch
from torch.distributions import Categorical, MixtureSameFamily, Normal
from torch.special import log_ndtr

from genlab.plug import SCHEDULES, look_up

# %%
#| hide
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from scipy.integrate import solve_ivp
from scipy.stats import kstest
from torch.distributions import kl_divergence

from genlab.data import load_dataset, show_grid, to_model


# %% [markdown]
# A word on time. $t=0$ is the data, $t=1,\dots,T$ are the noise levels, and every table below has $T+1$ entries, so that `beta[t]` is $\beta_t$ and formulas can be copied literally. Most bugs in diffusion code are an index that is off by one.
#
# For the tests, a comparison that says what differs, and normal densities to integrate:

# %%
def close(a, b, tol=1e-9):
    "a and b agree to an absolute error of `tol`."
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=0, atol=tol)


def normal(x, mean, var):
    norm = (2 * math.pi * torch.as_tensor(var, dtype=torch.float64)).sqrt()
    return torch.exp(-0.5 * (x - mean) ** 2 / var) / norm


def grid(low, high, n):
    return torch.linspace(low, high, n, dtype=torch.float64)


def draw(*shape, key=0):
    generator = torch.Generator().manual_seed(1000 * seed + key)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


# %% [markdown]
# ## Adding noise
#
# An image $x_0$ becomes a sequence of ever noisier ones, $x_1,\dots,x_T$. Write $q$ for the probability densities of this process. Each image depends only on the one before it,
#
# $$ q(x_1,\dots,x_T\mid x_0)=\prod_{t=1}^T q(x_t\mid x_{t-1}), \tag{1} $$
#
# and a step shrinks the image a little and adds independent normal noise of variance $\beta_t\in(0,1)$ to each pixel:
#
# $$ q(x_t\mid x_{t-1})=\mathcal N\big(\sqrt{1-\beta_t}\,x_{t-1},\;\beta_t I\big). \tag{2} $$
#
# Why shrink? If $x_{t-1}$ has variance 1, then $x_t$ has variance $(1-\beta_t)\cdot1+\beta_t=1$. The numbers stay of one size however many steps follow, which is what a network likes to be fed. Without it the variance would grow for ever.
#
# Ho et al. let $\beta_t$ grow on a line from $10^{-4}$ to $0.02$: small steps first, where there is detail to lose.

# %%
#| export
def linear_betas(
    T: int = 1000,  # steps, 0 or more
    first: float = 1e-4,  # beta_1
    last: float = 0.02,  # beta_T
) -> torch.Tensor:  # float64 (T,)
    """beta_1 ... beta_T on a line (Ho et al. 2020, section 4).

    The ends are meant for T = 1000; with fewer steps they leave some of the data in x_T."""
    return torch.linspace(first, last, T, dtype=torch.float64)


# %% [markdown]
# ### All steps at once
#
# Nobody wants to take 500 steps to see $x_{500}$. Write (2) as $x_t=\sqrt{\alpha_t}\,x_{t-1}+\sqrt{\beta_t}\,\varepsilon_t$ with $\alpha_t=1-\beta_t$, and suppose that $x_{t-1}=\sqrt{\bar\alpha_{t-1}}\,x_0+\sqrt{1-\bar\alpha_{t-1}}\,\varepsilon$ for some number $\bar\alpha_{t-1}$ and a standard normal $\varepsilon$. For $t=1$ this holds with $\bar\alpha_0=1$. Then
#
# $$ x_t=\sqrt{\alpha_t\bar\alpha_{t-1}}\,x_0+\sqrt{\alpha_t(1-\bar\alpha_{t-1})}\,\varepsilon+\sqrt{\beta_t}\,\varepsilon_t . $$
#
# The sum of two independent normal variables is normal and their variances add: $\alpha_t(1-\bar\alpha_{t-1})+1-\alpha_t=1-\alpha_t\bar\alpha_{t-1}$. So the form is the same at $t$, with $\bar\alpha_t=\alpha_t\bar\alpha_{t-1}$, and by induction
#
# $$ q(x_t\mid x_0)=\mathcal N\big(\sqrt{\bar\alpha_t}\,x_0,\;(1-\bar\alpha_t)I\big),\qquad \bar\alpha_t=\prod_{s=1}^t\alpha_s. \tag{3} $$
#
# That is all a `Diffusion` needs to hold: the betas and three tables that follow from them, $\alpha_t$, $\bar\alpha_t$ and, for later, $\log\frac{\bar\alpha_t}{1-\bar\alpha_t}$, the logarithm of a signal-to-noise ratio (`log_snr`). They stay in float64; what is looked up is cast to the image's type at the very end.

# %%
#| export
class Diffusion:
    """All that follows from beta_1 ... beta_T.

    Time t is 0 for the data and T for the noise: an int, a float or a tensor (B,).
    Tables beta, alpha, abar, log_snr are float64 (T + 1,); beta[0] = 0, abar[0] = 1.
    Images x0, xt, eps are float (B, ...). ValueError if T is 0 or a beta is not between 0 and 1."""

    def __init__(self, betas):  # array or tensor (T,)
        betas = torch.as_tensor(betas, dtype=torch.float64)
        if betas.ndim != 1 or not len(betas):
            shape = tuple(betas.shape)
            raise ValueError(f"T: a diffusion needs one step at least, and its betas have the shape {shape}.")
        if not ((betas > 0) & (betas < 1)).all():
            raise ValueError("betas: each must lie strictly between 0 and 1.")
        self.T = len(betas)
        self.beta = torch.cat([betas.new_zeros(1), betas])
        self.alpha = 1 - self.beta
        self.abar = self.alpha.cumprod(0)  # abar[0] = 1: no noise yet
        self.log_snr = self.abar.log() - (1 - self.abar).log()  # falls, from infinity


# %% [markdown]
# The tables lie in the memory of the CPU. A training on a GPU that had to fetch numbers from there would wait for them in every update, so a copy of the tables goes where the images are.

# %%
#| export
@patch
def to(
    self: Diffusion,
    device: torch.device | str,
) -> Diffusion:
    "A copy whose tables lie on `device`, as float32 where there is no float64 (on Apple's GPUs)."
    there = copy.copy(self)
    dtype = torch.float32 if torch.device(device).type == "mps" else torch.float64
    for name in ("beta", "alpha", "abar", "log_snr"):
        setattr(there, name, getattr(self, name).to(device, dtype))
    return there


# %%
linear = Diffusion(linear_betas(T))
assert linear.abar.dtype == torch.float64
assert linear.beta.shape == linear.alpha.shape == linear.abar.shape == (T + 1,)
assert linear.beta[0] == 0 and linear.abar[0] == 1
close(linear.beta[[1, -1]], torch.tensor([1e-4, 0.02], dtype=torch.float64), 0)
close(linear.beta[1:].diff(), torch.full((T - 1,), (0.02 - 1e-4) / (T - 1), dtype=torch.float64), 1e-15)

# %%
#| hide
for wrong, sentence in [
    ([], "T: a diffusion needs one step at least, and its betas have the shape"),
    (linear_betas(0), "T: a diffusion needs one step at least"),
    (0.1, "T: a diffusion needs one step at least"),
    ([0.1, 1.0], "betas: each must lie strictly between 0 and 1"),
    ([0.0, 0.1], "betas: each"),
    ([0.1, -0.1], "betas: each"),
    ([0.1, math.nan], "betas: each"),
]:
    with pytest.raises(ValueError, match=sentence):
        Diffusion(wrong)


# %% [markdown]
# `abar_at` looks a time up. It also answers for times between two steps, which some samplers ask for; why the logarithm of the signal-to-noise ratio is what gets interpolated comes [below](#Schedules). (`@patch` makes a function a method of the class that stands behind `self`, so that a class can grow from cell to cell.)

# %%
#| export
def _like(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """values, () or (B,), in the dtype of x (B, ...), shaped to multiply it.

    One number stays where it is, since any device takes it. TypeError if x is not float."""
    if not x.is_floating_point():
        raise TypeError(
            f"Diffusion wants float images in [-1, 1] and got {x.dtype}; see genlab.data.to_model."
        )
    if not values.ndim:
        return values.to(x.dtype)  # from float64, last of all
    return values.to(x).reshape(-1, *[1] * (x.ndim - 1))


# %%
#| export
@patch
def abar_at(
    self: Diffusion,
    t,  # 0 <= t <= T: int, float or tensor. ValueError if not
) -> torch.Tensor:  # float64, the shape of t
    "abar at times t; between two steps the log-SNR is interpolated (so it is 1 for t < 1)."
    t = torch.as_tensor(t)
    if t.device.type == "cpu" and ((t < 0) | (t > self.T)).any():  # elsewhere, to look would be to wait
        raise ValueError(f"t: times must lie between 0 and T = {self.T}.")
    abar, log_snr = self.abar.to(t.device), self.log_snr.to(t.device)
    if not t.is_floating_point():
        return abar[t]
    low = t.to(abar).floor().long().clamp(max=self.T - 1)
    part = t.to(abar) - low
    between = torch.sigmoid(log_snr[low] * (1 - part) + log_snr[low + 1] * part)
    return torch.where(part == 0, abar[low], torch.where(part == 1, abar[low + 1], between))


# %%
#| export
@patch
def q_sample(
    self: Diffusion,
    x0: torch.Tensor,  # float (B, ...)
    t,  # 0 <= t <= T; at 0 the result is x0
    eps: torch.Tensor | None = None,  # the noise, like x0; drawn from N(0, I) if it is not given
) -> torch.Tensor:  # xt, like x0
    "xt ~ q(xt | x0) = N(sqrt(abar_t) x0, (1 - abar_t) I), eq. (3)."
    eps = torch.randn_like(x0) if eps is None else eps
    abar = self.abar_at(t)
    return _like(abar.sqrt(), x0) * x0 + _like((1 - abar).sqrt(), x0) * eps


# %% [markdown]
# Is (3) what (1) and (2) say? First exactly. The mean of $x_t$ is a multiple of $x_0$, and (2) tells how the multiple and the variance change in a step. `q_sample` is linear in $x_0$ and $\varepsilon$, so with one of them 0 and the other 1 it returns its two coefficients:

# %%
one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
shrunk, var = one, zero
for t in range(1, T + 1):
    b = linear_betas(T)[t - 1]
    shrunk, var = (1 - b).sqrt() * shrunk, (1 - b) * var + b  # one step of (2)
    close(linear.q_sample(one, t, zero), shrunk)
    close(linear.q_sample(zero, t, one) ** 2, var)

# the product (1) of two densities, x1 integrated out
x1, x2 = grid(-8, 8, 2001), grid(-4, 4, 9)[:, None]
short = Diffusion([0.3, 0.5])
joint = normal(x1, 0.7**0.5 * 0.9, 0.3) * normal(x2, 0.5**0.5 * x1, 0.5)
close(torch.trapezoid(joint, x1), normal(x2[:, 0], short.abar[2].sqrt() * 0.9, 1 - short.abar[2]), 1e-12)

# %% [markdown]
# Then by simulation: 20,000 copies of the number 0.7 walk through a chain of 50 steps, and as many are drawn with `q_sample` in one go.

# %%
n, x0 = 20_000, 0.7
d = Diffusion(linear_betas(50, 1e-3, 0.2))
x, walked = torch.full((n,), x0, dtype=torch.float64), {}
for t in range(1, 51):
    x = walked[t] = d.alpha[t].sqrt() * x + d.beta[t].sqrt() * draw(n, key=t)
torch.manual_seed(seed)
for t in (1, 10, 50):
    mean, var = d.abar[t].sqrt() * x0, 1 - d.abar[t]
    for sample in (walked[t], d.q_sample(torch.full((n,), x0, dtype=torch.float64), t)):
        assert abs(sample.mean() - mean) < 5 * (var / n).sqrt(), "5 standard errors"
        assert abs(sample.var() - var) < 5 * var * (2 / n) ** 0.5, "5 standard errors"
    print(f"t={t:2}: mean {walked[t].mean():.3f}, by (3) {mean:.3f}; ", end="")
    print(f"variance {walked[t].var():.4f}, by (3) {var:.4f}")

# %% [markdown]
# What (3) does *not* give is a path. Two draws of it at different times share $x_0$ and nothing else, while two points of a chain share the noise of the earlier one: their covariance is $\sqrt{\bar\alpha_t/\bar\alpha_s}\,(1-\bar\alpha_s)$ for $s<t$. For training that does not matter, since each update looks at one time only.

# %%
cov = (d.abar[50] / d.abar[10]).sqrt() * (1 - d.abar[10])
error = (((1 - d.abar[10]) * (1 - d.abar[50]) + cov**2) / n).sqrt()
assert abs(torch.stack([walked[10], walked[50]]).cov()[0, 1] - cov) < 5 * error, "5 standard errors"

# %%
#| hide
x0, eps = draw(4, 3, 8, 8, key=1), draw(4, 3, 8, 8, key=2)
assert torch.equal(linear.q_sample(x0, 0, eps), x0), "at t = 0 there is no noise"
times = torch.tensor([1, T // 3, T // 2, T])
for t, image, noise, xt in zip(times, x0, eps, linear.q_sample(x0, times, eps), strict=True):
    close(xt, linear.abar[t].sqrt() * image + (1 - linear.abar[t]).sqrt() * noise)  # a time for each image
xt = linear.q_sample(x0.float(), times, eps.float())
assert xt.dtype == torch.float32
close(xt.double(), linear.q_sample(x0, times, eps), 1e-5)
torch.manual_seed(seed)
drawn = linear.q_sample(x0, T // 2)
torch.manual_seed(seed)
assert torch.equal(drawn, linear.q_sample(x0, T // 2, torch.randn_like(x0)))
for t in (-1, T + 1, T + 0.5, torch.tensor([1, -1])):
    with pytest.raises(ValueError, match="t: times must lie between 0 and T"):
        linear.abar_at(t)
with pytest.raises(TypeError, match="got torch.uint8"):
    linear.q_sample(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), 5, torch.zeros(1, 1, 8, 8))


# %% [markdown]
# ### The noising strip
#
# The same four images at growing $t$, each with one noise throughout. (Values beyond $\pm1$ would be cut off and look black or white, so each column has the grey scale that its noise needs.) Above the columns stand $\bar\alpha_t$ and the **signal-to-noise ratio** $\mathrm{SNR}(t)=\bar\alpha_t/(1-\bar\alpha_t)$, the variance of the shrunk image over that of the noise, for data of variance 1.

# %%
def to_grey(d, xt, t):
    "Noisy images x_t for show_grid: black and white are 2 standard deviations of the noise away."
    abar = d.abar[t]
    return (xt / (abar.sqrt() + 2 * (1 - abar).sqrt())).float()


def label(d, t):
    snr = d.log_snr[t].exp().item()
    number = "∞" if snr == math.inf else f"{snr:.0f}" if snr > 10 else f"{snr:.2g}"
    return f"t = {t}\n$\\bar\\alpha$ = {d.abar[t]:.2g}\nSNR {number}"


# %%
images = to_model(load_dataset(dataset).images[[5, 8, 1, 2]])
times = [round(f * T) for f in (0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1)]
torch.manual_seed(seed)
noise = torch.randn_like(images)
strip = torch.stack([to_grey(linear, linear.q_sample(images, t, noise), t) for t in times], 1).flatten(0, 1)
fig, ax = plt.subplots(figsize=(6.8, 3.5), layout="constrained")
show_grid(strip, ncol=len(times), ax=ax)
side = images.shape[-1] + 1  # pixels from one image to the next
for i, t in enumerate(times):
    ax.text(side * (i + 0.5), -2, label(linear, t), ha="center", va="bottom", fontsize=7)


# %% [markdown]
# Where does the digit disappear? Not at an SNR of 1: the eye averages over neighbouring pixels, and neighbouring pixels of a digit agree. That is also why images of more pixels need more noise ([Hoogeboom et al. 2023](https://arxiv.org/abs/2301.11093)).
#
# ## Schedules
#
# With the linear betas the last fifth of the steps is all but pure noise, and teaches a network little. [Nichol and Dhariwal 2021](https://arxiv.org/abs/2102.09672) choose $\bar\alpha_t$ first, as a squared cosine which falls more evenly, and take the betas from it:
#
# $$ \bar\alpha_t=\frac{f(t)}{f(0)},\qquad f(t)=\cos^2\!\Big(\frac{t/T+s}{1+s}\cdot\frac\pi2\Big),\qquad \beta_t=1-\frac{\bar\alpha_t}{\bar\alpha_{t-1}}. $$
#
# The small $s=0.008$ keeps the first steps from being too small to matter: without it $\beta_1$ would be $2.5\cdot10^{-6}$ for $T=1000$, with it $4.1\cdot10^{-5}$. At the other end $f(T)=0$ asks for $\beta_T=1$, which would divide by zero on the way back; so betas are cut at 0.999.

# %%
#| export
def cosine_betas(
    T: int = 1000,  # steps, 0 or more
    s: float = 0.008,  # keeps the first betas from vanishing
    largest: float = 0.999,  # betas are cut here: the last one would be 1
) -> torch.Tensor:  # float64 (T,)
    """The betas that make abar a squared cosine (Nichol and Dhariwal 2021, eq. 17).

    Good for any T: abar depends on t/T only."""
    f = torch.cos((torch.arange(T + 1, dtype=torch.float64) / T + s) / (1 + s) * math.pi / 2).square()
    return (1 - f[1:] / f[:-1]).clamp(max=largest)


# %% [markdown]
# A run names its schedule. Whoever has another one adds it here ([00c_plug](00c_plug.ipynb)):

# %%
#| export
SCHEDULES |= {"linear": linear_betas, "cosine": cosine_betas}

# %%
cosine = Diffusion(cosine_betas(T))
f = [math.cos((t / T + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(T)]
close(cosine.abar[:-1], torch.tensor(f, dtype=torch.float64) / f[0])
assert cosine.beta[-1] == 0.999
for d in (linear, cosine):
    assert (d.abar > 0).all()
    assert (d.abar.diff() < 0).all() and (d.log_snr.diff() < 0).all(), "noise only grows"
with pytest.raises(ValueError, match="T: a diffusion needs one step at least"):
    Diffusion(cosine_betas(0))
print(f"beta_1 of the cosine schedule: {cosine.beta[1]:.1e}; with s = 0: {cosine_betas(T, 0.0)[0]:.1e}")

# %%
fig, axes = plt.subplots(1, 2, figsize=(7.2, 2.3), layout="constrained")
for d, label in [(linear, "linear"), (cosine, "cosine")]:
    time = torch.arange(T + 1) / T
    axes[0].plot(time, d.abar, label=label)
    axes[1].plot(time[1:-1], d.log_snr[1:-1])
axes[0].set(xlabel="$t/T$", ylabel=r"$\bar\alpha_t$", title="share of the data in the variance")
axes[1].set(xlabel="$t/T$", ylabel="log-SNR (nats)", title=r"$\log\,\bar\alpha_t/(1-\bar\alpha_t)$")
axes[1].axhline(0, color="0.6", linewidth=0.8, linestyle="--")
axes[0].legend(frameon=False);


# %% [markdown]
# The right picture is the one to compare schedules in. A diffusion sees its data only through $x_0$ plus noise at some SNR; a schedule is the order and the pace in which the SNRs are visited. The cosine spends more of its steps where the curve is near the dashed line, where signal and noise are of one size. (The picture leaves out $t=T$, where the cosine's log-SNR is -20.)
#
# That is also why times between two steps are defined through the log-SNR: `t_at` finds the time that has a given one, so that a sampler can ask for levels of its own choice.

# %%
#| export
@patch
def t_at(
    self: Diffusion,
    log_snr,  # log(abar / (1 - abar)): number or tensor
) -> torch.Tensor:  # float64, its shape
    "The time in [1, T], fractional, that has this log-SNR; outside, the nearest. The inverse of `abar_at`."
    log_snr = torch.as_tensor(log_snr)
    table = self.log_snr.to(log_snr.device)
    x = log_snr.to(table).clamp(table[-1], table[1])
    if self.T == 1:
        return torch.ones_like(x)
    rising = -table[1:]
    i = torch.searchsorted(rising, -x).clamp(1, self.T - 1)
    a, b = rising[i - 1], rising[i]
    return i + (-x - a) / (b - a)


# %%
for d in (linear, cosine):
    every = torch.arange(T + 1)
    assert torch.equal(d.abar_at(every), d.abar) and torch.equal(d.abar_at(every.double()), d.abar)
    assert d.abar_at(3) == d.abar_at(3.0) == d.abar[3] and d.abar_at(0.4) == 1
    half = d.abar_at(every[1:-1] + 0.25)  # a quarter of the way to the next step, in log-SNR
    close(half.logit(), 0.75 * d.log_snr[1:-1] + 0.25 * d.log_snr[2:], 1e-6)
    close(d.t_at(d.log_snr[1:]), every[1:].double())
    between = grid(1, T - 0.001, 1001)
    close(d.t_at(d.abar_at(between).logit()), between, 1e-6)
    assert d.t_at(1e3) == 1 and d.t_at(-1e3) == T
assert Diffusion([0.5]).t_at(0.3) == 1 and Diffusion([0.5]).abar_at(1.0) == 0.5

# %% [markdown]
# ### How much is left at the end?
#
# Sampling will start from $\mathcal N(0,I)$ in place of $q(x_T\mid x_0)$. How wrong is that? How far a density $q$ is from another, $p$, is measured by the **Kullback-Leibler divergence** $D_{\mathrm{KL}}(q\Vert p)=\mathbb E_{x\sim q}[\log q(x)-\log p(x)]$. It is 0 if they are equal and positive otherwise; with natural logarithms its unit is the *nat*, and divided by $\log2$ it counts bits. For our two it will return as $L_T$ in equation (16), and bounds the number of bits that a pixel of $x_T$ can still tell about $x_0$. The worst case is a black or white pixel, $x_0=\pm1$:

# %%
prior = Normal(zero, one)
hundred = Diffusion(linear_betas(100))
for name, steps, d in [("linear", T, linear), ("cosine", T, cosine), ("linear", 100, hundred)]:
    left = kl_divergence(Normal(d.abar[-1].sqrt(), (1 - d.abar[-1]).sqrt()), prior).item() / math.log(2)
    print(f"{name}, T = {steps:4}: abar_T = {d.abar[-1]:.2g}, L_T = {left:.1e} bits a pixel at most")
    assert steps < 1000 or left < 1e-4

# %% [markdown]
# Nothing to worry about, with 1,000 steps. With 100 steps of the *same* linear betas $\bar\alpha_T$ is still 0.36, and sampling from pure noise starts in the wrong place. A schedule belongs to its $T$.
#
# **An index off by one.** Sometimes one reads $\bar\alpha_t=\prod_{s=0}^t\alpha_s$. But (1) knows no step 0. With $\alpha_0=1$, as in our tables, nothing happens. If the betas are stored from index 0 on, as `linear_betas` returns them, the product has one factor too many: every image is one step noisier than its $t$ says. How much is that?

# %%
shifted = (1 - linear_betas(T)).cumprod(0)  # the product from index 0 up to t, for t = 0 ... T-1
for t in (1, 10, T // 2):
    right, wrong = 1 - linear.abar[t], 1 - shifted[t]
    print(f"t={t:3}: variance of the noise {right:.3g}, off by one {wrong:.3g}, {wrong / right - 1:.1%} more")
assert shifted[0] < 1 and (shifted[1:] == linear.abar[2:]).all()


# %% [markdown]
# In the middle one does not notice. At the first step, where the finest detail is decided, the variance of the noise is more than twice what the formulas assume. Nothing crashes; only a test finds such a mistake.
#
# ## The way back
#
# If we knew $q(x_{t-1}\mid x_t)$, we could start from noise and walk back to an image. It is another distribution for each $x_t$, and it depends on all the data. A model replaces it by a normal distribution,
#
# $$ p_\theta(x_{t-1}\mid x_t)=\mathcal N\big(\mu_\theta(x_t,t),\;\Sigma_\theta(x_t,t)\big), \tag{4} $$
#
# with a mean that a network with the weights $\theta$ computes. Why should a normal distribution be enough, with data of any shape whatever? By Bayes
#
# $$ \log q(x_{t-1}\mid x_t)=-\frac{\lVert x_t-\sqrt{\alpha_t}\,x_{t-1}\rVert^2}{2\beta_t}+\log q(x_{t-1})+\text{const}. $$
#
# Here $q(x_{t-1})$ is the density of all images noised for $t-1$ steps, whatever their $x_0$. The first term is a parabola in $x_{t-1}$, so narrow for small $\beta_t$ that only values within a few $\sqrt{\beta_t}$ of $x_t$ matter. On so short a way $\log q(x_{t-1})$ is nearly a straight line, and a parabola plus a line is a parabola: a normal density of variance about $\beta_t$, its centre moved along the slope of the log-density. The larger the step, the more of the data's shape comes through.
#
# ### A density whose answers are known
#
# We want to see that, and to check everything that follows against the truth. So we need data whose noised versions are known. A mixture of normal densities has them: if $x_0\sim\sum_k w_k\,\mathcal N(m_k,s_k^2)$, then each component goes through (3) by itself, and
#
# $$ q(x_t)=\sum_k w_k\,\mathcal N\big(\sqrt{\bar\alpha_t}\,m_k,\;\bar\alpha_ts_k^2+1-\bar\alpha_t\big). $$

# %%
#| export
class GaussianMixture:
    "A density on the line whose noised versions are known: sum of w_k N(m_k, s_k^2). float64, on the CPU."

    def __init__(self, weights, means, sds):  # K numbers each; weights need not add up to 1
        self.w, self.m, self.s = (torch.as_tensor(a, dtype=torch.float64) for a in (weights, means, sds))
        self.w = self.w / self.w.sum()

    def noised(
        self,
        abar=1.0,  # abar_t: a number or a tensor; 1 stands for the data
    ) -> MixtureSameFamily:  # a distribution for each abar
        "The distribution of x_t: each component goes through eq. (3) by itself."
        abar = torch.as_tensor(abar, dtype=torch.float64)[..., None]
        sd = (abar * self.s**2 + 1 - abar).sqrt()
        return MixtureSameFamily(Categorical(self.w), Normal(abar.sqrt() * self.m, sd))

    def density(self, x: torch.Tensor, abar=1.0) -> torch.Tensor:  # like x
        "Density of x_t at x, float64; abar_t is a number, or like x."
        return self.noised(abar).log_prob(x).exp()

    def sample(self, n: int, seed: int) -> torch.Tensor:  # (n,)
        "n numbers from the mixture; the seed decides them, and PyTorch's own generator is left as it was."
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.noised().sample((n,))


# %% [markdown]
# Three bumps of different width and weight in $[-1,1]$, as the grey values of a pixel might be distributed:

# %%
toy = GaussianMixture([0.3, 0.5, 0.2], [-0.6, 0.0, 0.65], [0.08, 0.15, 0.04])
x, fine = grid(-7, 7, 2801), grid(-1.5, 1.5, 1501)
by_hand = sum(w * normal(x, m, s**2) for w, m, s in [(0.3, -0.6, 0.08), (0.5, 0.0, 0.15), (0.2, 0.65, 0.04)])
close(toy.density(x), by_hand)
for abar in (0.99, 0.5, 0.01):  # (3) applied to all data: integrate over x0
    pushed = torch.trapezoid(normal(x[::70, None], abar**0.5 * fine, 1 - abar) * toy.density(fine), fine)
    close(toy.density(x[::70], abar), pushed)
sample = toy.sample(n, seed)
mean, second, fourth = ((fine**k * toy.density(fine)).sum() * (fine[1] - fine[0]) for k in (1, 2, 4))
assert abs(sample.mean() - mean) < 5 * ((second - mean**2) / n).sqrt(), "5 standard errors"
assert abs((sample**2).mean() - second) < 5 * ((fourth - second**2) / n).sqrt(), "5 standard errors"
assert torch.equal(sample, toy.sample(n, seed)) and not torch.equal(sample, toy.sample(n, seed + 1))
abars = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)  # one for each x
one_by_one = torch.stack([toy.density(x[1300 + i], a) for i, a in enumerate(abars)])
close(toy.density(x[1300:1303], abars), one_by_one, 0)


# %% [markdown]
# Now the exact $q(x_s\mid x_t)$, by Bayes on a grid, beside the normal density of the same mean and variance. The distance between the two is half the area between the curves (the *total variation*): 0 if they agree, 1 if they do not overlap. One $x_t$, and four steps of different size to it:

# %%
def reverse_exact(density, d, xt, t, s, n=4001):
    "x, and q(x_s = x | x_t) by Bayes on a grid around its bulk; `density(x, abar_s)` is that of x_s."
    alpha = 1 - torch.as_tensor([d.beta[i] for i in range(s + 1, t + 1)])
    alpha = alpha.prod()  # of all steps from s to t
    width = 8 * ((1 - alpha) / alpha).sqrt().item()
    x = xt / alpha.sqrt().item() + grid(-width, width, n)
    weight = normal(xt, alpha.sqrt() * x, 1 - alpha) * density(x, d.abar[s])
    return x, weight / torch.trapezoid(weight, x)


def moments(x, p):
    mean = torch.trapezoid(x * p, x)
    return mean, torch.trapezoid((x - mean) ** 2 * p, x)


# %%
d = Diffusion(linear_betas())
xt, t, distances = 0.3, 100, {}
fig, axes = plt.subplots(1, 4, figsize=(7.4, 2.2), layout="constrained")
for ax, step in zip(axes, (95, 60, 30, 1), strict=True):
    x, p = reverse_exact(toy.density, d, xt, t, t - step)
    mean, var = moments(x, p)
    distances[step] = torch.trapezoid((p - normal(x, mean, var)).abs(), x).item() / 2
    ax.plot(x, p, label="exact")
    ax.plot(x, normal(x, mean, var), "--", label="normal")
    ax.set(xlabel=f"$x_{{{t - step}}}$", xlim=(mean - 4 * var.sqrt(), mean + 4 * var.sqrt()), yticks=[])
    ax.set_title(f"steps: {step}\ndistance {distances[step]:.2g}", fontsize=10)
axes[0].set_ylabel(f"density given $x_{{{t}}}$ = {xt}")
axes[2].legend(frameon=False, fontsize=7, loc="upper left", handlelength=1);

# %% [markdown]
# In one step of a thousand the two curves cannot be told apart; over 95 two of the three bumps come through clearly, the third faintly, and a normal density would put samples where there are none. This is why DDPM takes many steps. (The x axes differ: the last panel is the narrowest.)

# %%
assert distances[95] > distances[60] > distances[30] > distances[1]
assert distances[95] > 0.1 and distances[1] < 1e-3
x, p = reverse_exact(toy.density, d, xt, t, t - 1)
assert abs(moments(x, p)[1] / d.beta[t] - 1) < 0.03, "for a small step the variance is about beta"
x, p = reverse_exact(GaussianMixture([1], [0], [1]).density, d, xt, t, t - 1)
close(moments(x, p)[1], d.beta[t])  # exactly beta if the data are N(0, 1)


# %% [markdown]
# ## One step back, if the image is known
#
# $q(x_{t-1}\mid x_t)$ needs all the data, but $q(x_{t-1}\mid x_t,x_0)$ does not. It is called the **posterior**, has a closed form, and everything below is built from it. By Bayes, pixel by pixel,
#
# $$ q(x_{t-1}\mid x_t,x_0)\propto q(x_t\mid x_{t-1})\,q(x_{t-1}\mid x_0)\propto\exp\Big[-\frac{(x_t-\sqrt{\alpha_t}\,x_{t-1})^2}{2\beta_t}-\frac{(x_{t-1}-\sqrt{\bar\alpha_{t-1}}\,x_0)^2}{2(1-\bar\alpha_{t-1})}\Big]. $$
#
# The exponent is a parabola in $x_{t-1}$, so the density is normal. Write it as $-\frac12(Ax_{t-1}^2-2Bx_{t-1}+\dots)$ and complete the square: variance $1/A$, mean $B/A$. Collecting terms,
#
# $$ A=\frac{\alpha_t}{\beta_t}+\frac1{1-\bar\alpha_{t-1}}=\frac{\alpha_t-\bar\alpha_t+\beta_t}{\beta_t(1-\bar\alpha_{t-1})}=\frac{1-\bar\alpha_t}{\beta_t(1-\bar\alpha_{t-1})},\qquad B=\frac{\sqrt{\alpha_t}}{\beta_t}x_t+\frac{\sqrt{\bar\alpha_{t-1}}}{1-\bar\alpha_{t-1}}x_0, $$
#
# and hence
#
# $$ \tilde\beta_t=\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\,\beta_t, \tag{5} $$
#
# $$ \tilde\mu_t(x_t,x_0)=\frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\,x_0+\frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\,x_t, \tag{6} $$
#
# $$ q(x_{t-1}\mid x_t,x_0)=\mathcal N\big(\tilde\mu_t(x_t,x_0),\;\tilde\beta_tI\big). \tag{7} $$
#
# Nothing in this used that the step is a single one. For any $s<t$ the noise from $s$ to $t$ is a step like (2) with $\alpha=\bar\alpha_t/\bar\alpha_s$ in place of $\alpha_t$ and $1-\alpha$ in place of $\beta_t$. Samplers that skip steps need that, so we write it in this form.

# %%
#| export
@patch
def _coefficients(self: Diffusion, t, s=None):  # float64, the shape of t
    "Factors of x0 and xt in the mean of q(xs | xt, x0), and its variance: eqs. (5), (6) for the way s to t."
    abar_t, abar_s = self.abar_at(t), self.abar_at(t - 1 if s is None else s)
    alpha = abar_t / abar_s  # of all steps from s to t
    of_x0 = abar_s.sqrt() * (1 - alpha) / (1 - abar_t)
    of_xt = alpha.sqrt() * (1 - abar_s) / (1 - abar_t)
    return of_x0, of_xt, (1 - abar_s) / (1 - abar_t) * (1 - alpha)


# %%
#| export
@patch
def posterior(
    self: Diffusion,
    xt: torch.Tensor,  # float (B, ...)
    x0: torch.Tensor,  # like xt
    t,  # 0 < t <= T
    s=None,  # 0 <= s < t, as t; t - 1 if it is not given
) -> tuple[torch.Tensor, torch.Tensor]:  # mean, like xt; variance, shaped to multiply it, 0 for s = 0
    "Mean and variance of q(xs | xt, x0), eqs. (5)-(7)."
    of_x0, of_xt, variance = self._coefficients(t, s)
    return _like(of_x0, xt) * x0 + _like(of_xt, xt) * xt, _like(variance, xt)


# %% [markdown]
# The check against Bayes uses (2) and (3) on a grid and knows nothing of completed squares. Single steps, long steps, the first step and the last:

# %%
def posterior_by_bayes(d, xt, x0, t, s):
    "Mean and variance of q(x_s | x_t, x_0), by (2) and (3) on a grid."
    alpha, sd = (1 - d.beta[s + 1 : t + 1]).prod(), (1 - d.abar[s]).sqrt()
    centres = d.abar[s].sqrt() * x0, xt / alpha.sqrt()
    x = grid((min(centres) - 10 * sd).item(), (max(centres) + 10 * sd).item(), 60_001)
    log_weight = -((xt - alpha.sqrt() * x) ** 2) / (2 * (1 - alpha)) - (x - centres[0]) ** 2 / (2 * sd**2)
    weight = torch.exp(log_weight - log_weight.max())
    return moments(x, weight / torch.trapezoid(weight, x))


single = [(1, 2), (9, 10), (T // 2 - 1, T // 2), (T - 1, T)]
for s, t in [*single, (1, T // 20), (T // 5, T // 2), (T // 10, 3 * T // 4)]:
    for x0, xt in [(0.3, -0.5), (-1.0, 0.2), (1.0, 1.5)]:
        mean, var = posterior_by_bayes(linear, xt, x0, t, s)
        ours = linear.posterior(xt * one, x0 * one, t, s)
        close(ours[0][0], mean)
        close(ours[1] / var, one[0], 1e-8)

# %% [markdown]
# And term by term as (5) and (6) are printed, for every $t$ at once, with times of any shape:

# %%
x0, xt, every = draw(T, key=3), draw(T, key=4), torch.arange(1, T + 1)
beta, alpha, abar, before = linear.beta[1:], linear.alpha[1:], linear.abar[1:], linear.abar[:-1]
mean, var = linear.posterior(xt, x0, every)
close(var, (1 - before) / (1 - abar) * beta)  # (5)
close(mean, before.sqrt() * beta / (1 - abar) * x0 + alpha.sqrt() * (1 - before) / (1 - abar) * xt)  # (6)
assert mean[0] == x0[0] and var[0] == 0, "the step to t = 0 ends at x0, without noise"
assert (var[1:] < beta[1:]).all() and (var[1:] > 0).all(), "to know x0 helps"

# %%
#| hide
pictures = xt[:6].reshape(2, 1, 1, 3), x0[:6].reshape(2, 1, 1, 3)
mean, var = linear.posterior(*pictures, torch.tensor([5, T]), torch.tensor([2, T // 2]))
assert mean.shape == (2, 1, 1, 3) and var.shape == (2, 1, 1, 1)
close(mean[1], linear.posterior(pictures[0][1:], pictures[1][1:], T, T // 2)[0][0], 0)
with pytest.raises(ValueError, match="t: times"):
    linear.posterior(xt, x0, 0)

# %%
d, xt, x0, t, s = Diffusion(linear_betas()), 0.9, -0.4, 250, 120
x = grid(-1.5, 2.5, 801)
alpha = d.abar[t] / d.abar[s]
mean, var = d.posterior(xt * one, x0 * one, t, s)
from_x0 = normal(x, d.abar[s].sqrt() * x0, 1 - d.abar[s])
to_xt = alpha.sqrt() * normal(xt, alpha.sqrt() * x, 1 - alpha)
fig, ax = plt.subplots(figsize=(5.6, 2.3), layout="constrained")
ax.plot(x, from_x0, label=f"where $x_0$ = {x0} can have got to: $q(x_s|x_0)$")
ax.plot(x, to_xt, label=f"where $x_t$ = {xt} can have come from: $q(x_t|x_s)$")
ax.plot(x, normal(x, mean, var), "k", label="both: the posterior $q(x_s|x_t,x_0)$")
ax.set(xlabel=f"$x_s$, s = {s}, t = {t}", ylabel="density", ylim=(0, 1.9))
ax.set_title("the posterior is narrower than either")
ax.legend(frameon=False, fontsize=8);

# %% [markdown]
# ## What should a network predict?
#
# The image is not known on the way back. So a network guesses it from $x_t$, and $\tilde\mu_t(x_t,\text{guess})$ is the mean of its step. Instead of $x_0$ it may as well predict something from which $x_0$ follows. Solve (3), $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\varepsilon$:
#
# | the network outputs | the clean image is | good at |
# |---|---|---|
# | `x0` | the output | much noise |
# | `eps`, the noise | $x_0=\big(x_t-\sqrt{1-\bar\alpha_t}\,\varepsilon\big)/\sqrt{\bar\alpha_t}$ | little noise |
# | `v` $=\sqrt{\bar\alpha_t}\,\varepsilon-\sqrt{1-\bar\alpha_t}\,x_0$ | $x_0=\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,v$ | both ends |
# | `flow` $=\varepsilon-x_0$ | $x_0=\big(x_t-\sqrt{1-\bar\alpha_t}\,\text{flow}\big)/\big(\sqrt{\bar\alpha_t}+\sqrt{1-\bar\alpha_t}\big)$ | both ends |
# | `mu` $=\tilde\mu_t(x_t,x_0)$ | solve (6) for $x_0$ | |
#
# "Good at" says where an error of the output does not grow on the way to $x_0$ and $\varepsilon$. `eps` is Ho et al.'s choice. `v` is from [Salimans and Ho 2022](https://arxiv.org/abs/2202.00512): read $\sqrt{\bar\alpha_t}=\cos\varphi$ and $\sqrt{1-\bar\alpha_t}=\sin\varphi$, then $(x_t,v)$ is $(x_0,\varepsilon)$ turned by the angle $\varphi$, and turning back never divides by anything small. `flow` is the direction from the image straight to the noise ([Lipman et al. 2023](https://arxiv.org/abs/2210.02747)); [02e_flow](02e_flow.ipynb) begins with it.

# %%
#| export
TARGETS = {  # what a network can predict
    "eps": "the noise",
    "x0": "the clean image",
    "v": "image and noise, turned by an angle",
    "flow": "the way from the image to the noise",
    "mu": "the mean of one step back",
}


# %%
#| export
@patch
def target(
    self: Diffusion,
    kind: str,  # of TARGETS; ValueError otherwise
    x0: torch.Tensor,  # float (B, ...)
    eps: torch.Tensor,  # the noise in xt, like x0
    t,  # 0 <= t <= T; for mu 0 < t
) -> torch.Tensor:  # like x0
    "What a network that predicts `kind` should output; v as in Salimans and Ho 2022, mu by eq. (6)."
    look_up("kind", kind, TARGETS)
    if kind == "mu":
        return self.posterior(self.q_sample(x0, t, eps), x0, t)[0]
    if kind == "v":
        abar = self.abar_at(t)
        return _like(abar.sqrt(), x0) * eps - _like((1 - abar).sqrt(), x0) * x0
    return {"eps": eps, "x0": x0, "flow": eps - x0}[kind]


# %%
#| export
@patch
def x0_eps(
    self: Diffusion,
    kind: str,  # of TARGETS; ValueError otherwise
    output: torch.Tensor,  # of the network, like xt
    xt: torch.Tensor,  # its input, float (B, ...)
    t,  # 0 < t <= T
) -> tuple[torch.Tensor, torch.Tensor]:  # x0 and eps, like xt; xt = sqrt(abar) x0 + sqrt(1 - abar) eps holds
    "The clean image and the noise that the `output` of a network of this `kind` stands for."
    look_up("kind", kind, TARGETS)
    abar = self.abar_at(t)
    a, b = _like(abar.sqrt(), xt), _like((1 - abar).sqrt(), xt)
    if kind == "eps":
        return (xt - b * output) / a, output
    if kind == "v":
        return a * xt - b * output, b * xt + a * output
    if kind == "flow":
        return (xt - b * output) / (a + b), (xt + a * output) / (a + b)
    if kind == "mu":
        of_x0, of_xt, _ = self._coefficients(t)
        output = (output - _like(of_xt, xt) * xt) / _like(of_x0, xt)
    return output, (xt - a * output) / b


# %% [markdown]
# The definitions first, written out once more; then from each kind to $x_0$ and $\varepsilon$ and from these to each kind:

# %%
x0, eps, every = draw(T, key=5), draw(T, key=6), torch.arange(1, T + 1)
a, b = linear.abar[1:].sqrt(), (1 - linear.abar[1:]).sqrt()
for d in (linear, cosine):
    a, b = d.abar[1:].sqrt(), (1 - d.abar[1:]).sqrt()
    xt = a * x0 + b * eps
    truth = {"eps": eps, "x0": x0, "v": a * eps - b * x0, "flow": eps - x0}
    truth["mu"] = d.posterior(xt, x0, every)[0]
    ok = d.beta[1:] < 0.99  # to 1e-9 is too much to ask where abar is 1e-9
    for kind in TARGETS:
        close(d.target(kind, x0, eps, every), truth[kind])
        got_x0, got_eps = d.x0_eps(kind, truth[kind], xt, every)
        close(got_x0[ok], x0[ok])
        close(got_eps[ok], eps[ok])
        for other in TARGETS:
            close(d.target(other, got_x0, got_eps, every)[ok], truth[other][ok])
with pytest.raises(ValueError, match="kind: 'noise' is unknown; choose from eps, x0, v, flow, mu"):
    linear.target("noise", x0, eps, every)
with pytest.raises(ValueError, match="kind: 'X0' is unknown; did you mean x0"):
    linear.x0_eps("X0", eps, xt, every)

# %% [markdown]
# ### The equation that does not pass
#
# One of the [student reports](07b_reports.ipynb) that this course grew out of gives, for a network that predicts the noise (its equation 12),
#
# $$ x_0\overset{?}{=}\frac1{\sqrt{\alpha_t}}\Big(x_t-\frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\varepsilon\Big). \tag{8} $$
#
# We have just solved (3) for $x_0$ and got something else: $\sqrt{\bar\alpha_t}$ where this has $\sqrt{\alpha_t}$, and $\sqrt{1-\bar\alpha_t}$ as the factor of $\varepsilon$. So what *is* the right-hand side? Put the right $x_0$ into (6):
#
# $$ \tilde\mu_t=\frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\cdot\frac{x_t-\sqrt{1-\bar\alpha_t}\,\varepsilon}{\sqrt{\bar\alpha_t}}+\frac{\sqrt{\alpha_t}(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}x_t . $$
#
# Since $\sqrt{\bar\alpha_{t-1}/\bar\alpha_t}=1/\sqrt{\alpha_t}$, the factor of $x_t$ is $\frac{\beta_t+\alpha_t(1-\bar\alpha_{t-1})}{\sqrt{\alpha_t}(1-\bar\alpha_t)}=\frac{1-\bar\alpha_t}{\sqrt{\alpha_t}(1-\bar\alpha_t)}=\frac1{\sqrt{\alpha_t}}$, and that of $\varepsilon$ is $-\frac{\beta_t}{\sqrt{\alpha_t}\sqrt{1-\bar\alpha_t}}$. It is (8). The formula is right, but for $\mu_\theta$, one small step back, and not for $x_0$, the whole way.

# %%
a, b = linear.abar[1:].sqrt(), (1 - linear.abar[1:]).sqrt()
xt = linear.q_sample(x0, every, eps)
printed = (xt - linear.beta[1:] / b * eps) / linear.alpha[1:].sqrt()
right, _ = linear.x0_eps("eps", eps, xt, every)
close(printed, linear.posterior(xt, right, every)[0])  # (8) is the mean of (7)
close(right, x0)  # and x0 is something else, ...
assert (printed - x0)[1:].abs().max() > 1, "... far from it"
close(printed[0], x0[0])  # except at t = 1, where the step back leads to x0
ratio = (b / a) / (linear.beta[1:] / (linear.alpha[1:].sqrt() * b))
t = T // 2
of_xt, of_eps = 1 / linear.alpha[t].sqrt(), linear.beta[t] / (linear.alpha[t].sqrt() * b[t - 1])
print(f"t={t}: x0 = {1 / a[t - 1]:.3f} xt - {(b / a)[t - 1]:.3f} eps")
print(f"  (8) has {of_xt:.3f} xt - {of_eps:.4f} eps")
print(f"The factor of eps is {ratio[t - 1]:.0f} times too small at t={t}", end=", ")
print(f"at worst {ratio.max():.0f} times (t={ratio.argmax() + 1}).")
assert T != 1000 or 300 < ratio[499] < 350

# %%
t = round(0.3 * T)
torch.manual_seed(seed)
noise = torch.randn_like(images)
noised = linear.q_sample(images, t, noise)
of_eps = (linear.beta[t] / (1 - linear.abar[t]).sqrt()).float()
as_printed = (noised - of_eps * noise) / linear.alpha[t].sqrt().float()
solved, _ = linear.x0_eps("eps", noise, noised, t)
fig, axes = plt.subplots(1, 4, figsize=(8, 2.3), layout="constrained")
titles = "$x_0$", f"$x_t$, t = {t}", "(8) as printed", "(3) solved for $x_0$"
for ax, picture, title in zip(axes, (images, noised, as_printed, solved), titles, strict=True):
    error = (picture - images).square().mean().sqrt()
    shown = to_grey(linear, picture, t) if error > 0.1 else picture
    show_grid(shown, ncol=2, title=f"{title}\nRMS error {error:.2f}", ax=ax)
assert (solved - images).abs().max() < 1e-4 and (as_printed - noised).square().mean().sqrt() < 0.1

# %% [markdown]
# Given the *true* noise, (8) as printed hardly takes any of it away. A student who builds an "estimate of the clean image" on it sees noise, and blames the network.
#
# ### A choice of target is a choice of weights
#
# The five targets carry the same information but not the same loss. A guess $\hat x_0$ stands for a guess $\hat\varepsilon$, and by (3) their errors are proportional: $\hat\varepsilon-\varepsilon=-\sqrt{\bar\alpha_t/(1-\bar\alpha_t)}\,(\hat x_0-x_0)$. So
#
# $$ \lVert\hat\varepsilon-\varepsilon\rVert^2=\mathrm{SNR}(t)\,\lVert\hat x_0-x_0\rVert^2,\qquad \lVert\hat v-v\rVert^2=\big(\mathrm{SNR}(t)+1\big)\lVert\hat x_0-x_0\rVert^2. $$
#
# The second follows in the same way from $v=\sqrt{\bar\alpha_t}\,\varepsilon-\sqrt{1-\bar\alpha_t}\,x_0$: the two errors have opposite signs and add up to $\big(\sqrt{\bar\alpha_t\,\mathrm{SNR}}+\sqrt{1-\bar\alpha_t}\big)\lVert\hat x_0-x_0\rVert$, and the bracket squared is $\frac{1}{1-\bar\alpha_t}=\mathrm{SNR}+1$. For `flow` $=\hat\varepsilon-\hat x_0$ the factor is $\big(\sqrt{\mathrm{SNR}}+1\big)^2$ for the same reason.

# %%
guess = x0 + 0.1 * draw(T, key=7)
guess_eps = linear.x0_eps("x0", guess, xt, every)[1]
errors = {}
for kind in TARGETS:
    difference = linear.target(kind, guess, guess_eps, every) - linear.target(kind, x0, eps, every)
    errors[kind] = difference**2
snr = linear.abar[1:] / (1 - linear.abar[1:])
of_x0 = linear.abar[:-1].sqrt() * linear.beta[1:] / (1 - linear.abar[1:])
for kind, weight in [("eps", snr), ("v", snr + 1), ("flow", (snr.sqrt() + 1) ** 2), ("mu", of_x0**2)]:
    close(errors[kind] / (weight * errors["x0"]), torch.ones(T, dtype=torch.float64), 1e-6)

# %%
fig, ax = plt.subplots(figsize=(5, 2.5), layout="constrained")
ax.semilogy(every, snr, label="eps: SNR")
ax.semilogy(every, snr + 1, "--", label="v: SNR + 1")
ax.semilogy(every, torch.ones(T), label="x0: 1")
ax.set(xlabel="$t$", ylabel="weight of the $x_0$ error", title="what each loss makes of the same mistake")
ax.legend(frameon=False);


# %% [markdown]
# To the eps loss a mistake at the first noise level weighs more than $10^8$ times as much as one at the last. `v` agrees with it at the first and still listens at the last. Which is best is a question for [02_ddpm](02_ddpm.ipynb).
#
# ## The best possible denoiser
#
# Of all functions of $x_t$ the one with the least mean squared error is the mean of $x_0$ given $x_t$, $\mathbb E[x_0\mid x_t]$. No network can do better, on the data that the mean is over; a perfect one would compute this. (Which data are these? [Below](#Perfect-on-the-training-set) that makes all the difference.) It is a blurred average of all images that could be behind $x_t$, not one of them.
#
# For the mixture we can write it down. Given that $x_0$ came from component $k$, $x_0$ and $x_t$ are jointly normal, and the mean of one given the other is linear. Then average over the components, each with the probability that $x_t$ came from it:
#
# $$ \mathbb E[x_0\mid x_t]=\sum_k r_k(x_t)\Big(m_k+\frac{\sqrt{\bar\alpha_t}\,s_k^2}{\bar\alpha_ts_k^2+1-\bar\alpha_t}\big(x_t-\sqrt{\bar\alpha_t}\,m_k\big)\Big),\qquad r_k(x_t)\propto w_k\,\mathcal N\big(x_t;\sqrt{\bar\alpha_t}m_k,\bar\alpha_ts_k^2+1-\bar\alpha_t\big). $$

# %%
#| export
@patch
def x0(
    self: GaussianMixture,
    xt: torch.Tensor,  # float64
    abar,  # abar_t: a number, or like xt
) -> torch.Tensor:  # like xt
    "E[x0 | xt]: the exact denoiser."
    noised, abar = self.noised(abar), torch.as_tensor(abar, dtype=torch.float64)[..., None]
    parts = noised.component_distribution  # of x_t, one for each component
    r = (noised.mixture_distribution.logits + parts.log_prob(xt[..., None])).softmax(-1)
    return (r * (self.m + abar.sqrt() * self.s**2 / parts.variance * (xt[..., None] - parts.mean))).sum(-1)


# %%
for abar in (0.999, 0.9, 0.3, 0.01):
    xt = grid(-1.2, 1.2, 25)
    weight = normal(xt[:, None], abar**0.5 * fine, 1 - abar) * toy.density(fine)  # Bayes, on the grid of x0
    close(toy.x0(xt, abar), torch.trapezoid(fine * weight, fine) / torch.trapezoid(weight, fine))
one_by_one = torch.stack([toy.x0(xt[i], a) for i, a in enumerate(abars)])
close(toy.x0(xt[:3], abars), one_by_one, 0)  # one abar for each xt

# %% [markdown]
# How much better is it than simpler guesses? For instance than the best straight line, fitted to the very sample that it is tested on:

# %%
x0, t = toy.sample(n, seed), round(0.06 * T)
xt = linear.q_sample(x0, t, draw(n, key=8))
best = toy.x0(xt, linear.abar[t])
line = torch.stack([xt, xt.new_ones(n)], 1)
straight = line @ torch.linalg.lstsq(line, x0[:, None]).solution[:, 0]
guesses = {"exact": best, "best straight line": straight, "xt scaled up": xt / linear.abar[t].sqrt()}
for name, guess in guesses.items():
    print(f"mean squared error, {name}: {(guess - x0).square().mean():.4f}")
    more = (guess - x0).square() - (best - x0).square()
    assert guess is best or more.mean() > 5 * more.std() / n**0.5, "5 standard errors"

# %% [markdown]
# ### Perfect on the training set
#
# A network is trained on a finite set of images $x^{(1)},\dots,x^{(n)}$, and drawing one of them at random is a density, too: a mixture of $n$ components without any width. So the function with the least loss on the training set is known. Put $s_k=0$ into the formula above: the mean of all training images, each weighted with how probable it makes $x_t$, which is a softmax over squared distances,
#
# $$ \mathbb E[x_0\mid x_t]=\sum_i r_i(x_t)\,x^{(i)},\qquad r(x_t)=\operatorname{softmax}_i\Big(-\frac{\lVert x_t-\sqrt{\bar\alpha_t}\,x^{(i)}\rVert^2}{2(1-\bar\alpha_t)}\Big). $$

# %%
training = to_model(load_dataset(dataset).images[:2000]).double()
unseen = to_model(load_dataset(dataset, "test").images[:2000]).double()


def best_on_training(xt, t):
    "E[x0 | xt], x0 any of the training images; (B, C, H, W), noised with the cosine's levels."
    distances = torch.cdist(xt.flatten(1), cosine.abar[t].sqrt() * training.flatten(1)).square()
    r = (-distances / (2 * (1 - cosine.abar[t]))).softmax(1)
    return (r @ training.flatten(1)).view_as(xt)


def noisy(x0, t):
    return cosine.q_sample(x0, t, draw(*x0.shape, key=t))


# %%
some, new = training[:50], unseen[:50]
close(best_on_training(noisy(some, T // 100), T // 100), some, 1e-6)  # little noise: it knows the image
of_noise = best_on_training(noisy(new, T), T)
close(of_noise, training.mean(0).expand_as(new), 1e-2)  # the mean of all
for t in (round(f * T) for f in (0.01, 0.1, 0.3, 0.5, 0.7, 0.9)):
    known, other = ((best_on_training(noisy(x0, t), t) - x0).square().mean().item() for x0 in (some, new))
    print(f"t = {t:4}: mean squared error {known:.4f} on training images, {other:.4f} on test images")

# %% [markdown]
# With much noise the two errors are about equal (within 10%; these are two different sets of images). With little noise the one on training images vanishes, and the one on test images does not: an image that is not among the training images is taken for one that is. Above, a test image at growing noise and the image that this denoiser makes of it; below, eight samples drawn with it, step by step from pure noise as in (7), and under each the training image that is nearest to it.

# %%
levels = [round(f * T) for f in (0.01, 0.1, 0.2, 0.4, 0.5, 0.6, 0.8, 1)]
noised = [to_grey(cosine, noisy(new[:1], t), t) for t in levels]
denoised = [best_on_training(noisy(new[:1], t), t).float() for t in levels]

# %%
x, times = draw(8, *training.shape[1:], key=12), [round(T * (1 - i / 100)) for i in range(101)]
for t, s in zip(times, times[1:], strict=False):
    mean, var = cosine.posterior(x, best_on_training(x, t), t, s)
    x = mean + var.sqrt() * draw(*x.shape, key=10_000 + t)
distance, nearest = torch.cdist(x.flatten(1), training.flatten(1)).min(1)
fig, axes = plt.subplots(2, 1, figsize=(6, 3.6), layout="constrained")
title = "one test image, t = " + ", ".join(map(str, levels))
show_grid(torch.cat(noised + denoised), ncol=8, title=title, ax=axes[0])
title = "samples, and the nearest training images"
show_grid(torch.cat([x, training[nearest]]), ncol=8, title=title, ax=axes[1])
most = (x - training[nearest]).abs().max()
print(f"largest difference of a pixel from the nearest training image: {most:.1e}")
assert distance.max() < 1e-6 and len(set(nearest.tolist())) > 4, "copies, and not all of the same image"


# %% [markdown]
# Every sample *is* a training image. So with the least loss that is possible on the training set a diffusion model is a slow way to draw one of its images at random. This raises a question: why do trained networks make new ones? Not because of the loss, which asks for copies. A network of limited size, trained for a limited time, cannot compute that softmax over all images. It is made of convolutions, which look at neighbourhoods and treat all places alike, and what it computes instead is smoother and happens to be nearer to the mean over *all* digits, those never seen included. How much of it is the architecture ([Kadkhodaie et al. 2023](https://arxiv.org/abs/2310.02557), [Kamb and Ganguli 2024](https://arxiv.org/abs/2412.20292)), how much the training, is being worked on. Networks large enough for their set do copy, and that can be measured: *memorisation* in [05_fid](05_fid.ipynb).
#
# ### The same, seen as a slope
#
# A second reading of the denoiser. The **score** of $x_t$ is the slope of its log-density, $\nabla\log q(x_t)$ (derivatives are with respect to $x_t$); on [the way back](#The-way-back) it was what moved the centre of the step. From $q(x_t)=\int q(x_t\mid x_0)\,q(x_0)\,\mathrm dx_0$, with $\nabla q=q\,\nabla\log q$, Bayes and the normal density (3),
#
# $$ \nabla\log q(x_t)=\frac{\int\nabla q(x_t\mid x_0)\,q(x_0)\,\mathrm dx_0}{q(x_t)}=\mathbb E\big[\nabla\log q(x_t\mid x_0)\,\big|\,x_t\big]=\frac{\sqrt{\bar\alpha_t}\,\mathbb E[x_0\mid x_t]-x_t}{1-\bar\alpha_t}=-\frac{\mathbb E[\varepsilon\mid x_t]}{\sqrt{1-\bar\alpha_t}} . \tag{9} $$
#
# This is Tweedie's formula ([Efron 2011](https://doi.org/10.1198/jasa.2011.tm11181)). To predict the noise is to predict the direction in which images become more probable ([Song and Ermon 2019](https://arxiv.org/abs/1907.05600)).

# %%
#| export
@patch
def score(
    self: Diffusion,
    xt: torch.Tensor,  # float (B, ...)
    x0: torch.Tensor,  # the clean image, or E[x0 | xt], like xt
    t,  # 0 < t <= T
) -> torch.Tensor:  # like xt
    "Gradient of log q(xt | x0) with respect to xt; with x0 = E[x0 | xt] the score of q(xt), eq. (9)."
    abar = self.abar_at(t)
    return (_like(abar.sqrt(), xt) * x0 - xt) / _like(1 - abar, xt)


# %%
h = 1e-4
for t in (T // 100, T // 10, T // 2, T):
    abar, xt = linear.abar[t], grid(-2, 2, 41).requires_grad_()
    slope = torch.autograd.grad(toy.density(xt, abar).log().sum(), xt)[0]
    xt = xt.detach()
    x0_hat = toy.x0(xt, abar)
    score = linear.score(xt, x0_hat, t)
    close(score, slope)
    up, down = (toy.density(xt + sign * h, abar).log() for sign in (1, -1))
    close(score, (up - down) / (2 * h), 1e-3)  # finite differences, not automatic ones
    close(score, -linear.x0_eps("x0", x0_hat, xt, t)[1] / (1 - abar).sqrt())
    one_step_back = (xt + linear.beta[t] * slope) / linear.alpha[t].sqrt()
    close(linear.posterior(xt, x0_hat, t)[0], one_step_back)

# %% [markdown]
# The last line of the cell closes a circle. The posterior mean (6) is linear in $x_0$, so the mean of the exact $q(x_{t-1}\mid x_t)$ is (6) with $\mathbb E[x_0\mid x_t]$ for $x_0$; and that is $x_t$ plus $\beta_t$ times the score, all divided by $\sqrt{\alpha_t}$. The first of these holds for steps that skip levels, too:

# %%
for s, t in [(T // 2 - 1, T // 2), (T // 3, T // 2), (T // 10, T // 5)]:
    for xt in (-0.7, 0.1, 0.9):
        mean, _ = moments(*reverse_exact(toy.density, linear, xt, t, s))
        x0_hat = toy.x0(xt * one, linear.abar[t])
        close(linear.posterior(xt * one, x0_hat, t, s)[0][0], mean, 1e-7)

# %%
d = Diffusion(linear_betas())
x = grid(-2.6, 2.6, 131)
density = torch.stack([toy.density(x, a) for a in d.abar[::5]])
paths = [toy.sample(5, seed)]
for t in range(1, d.T + 1):
    paths.append(d.alpha[t].sqrt() * paths[-1] + d.beta[t].sqrt() * draw(5, key=100 + t))
fig, axes = plt.subplots(1, 2, figsize=(6.8, 2.4), width_ratios=[3, 2], layout="constrained")
axes[0].pcolormesh(range(0, d.T + 1, 5), x, density.T, cmap="Greys", vmax=1.2, rasterized=True)
axes[0].plot(range(0, d.T + 1, 20), torch.stack(paths)[::20], linewidth=0.8)
axes[0].set(xlabel="$t$", ylabel="$x_t$", title="density of $q(x_t)$ (dark: high) and five paths of (2)")
for t in (20, 60, 200, 500):
    axes[1].plot(x[38:-38], toy.x0(x, d.abar[t])[38:-38], label=f"t = {t}")
axes[1].set(xlabel="$x_t$", ylabel=r"$\mathbb{E}[x_0|x_t]$", title="the exact denoiser")
axes[1].legend(frameon=False, fontsize=8);


# %% [markdown]
# Left, three bumps flow together into one. Right, with little noise the denoiser knows which bump it is in: in the bump at 0.65, which is narrower than the noise, it stays near 0.65 ($t=60$; at $t=20$ it gives way a little); in the wide one in the middle it mostly believes $x_t$ ($t=20$); in between it changes over quickly. With much noise it can hardly tell and stays near the mean of all data.

# %% [markdown]
# ## From steps to a flow
#
# Each step back so far draws its $x_{t-1}$ at random from a normal density. [Song et al. 2020](https://arxiv.org/abs/2010.02502) found a step without chance, known as **DDIM**. Take the best guess of the image, $\hat x_0=\mathbb E[x_0\mid x_t]$, and the noise $\hat\varepsilon$ that goes with it. Then mix the two again as (3) does, with the smaller share of noise that belongs to an $s<t$:
#
# $$ x_s=\sqrt{\bar\alpha_s}\,\hat x_0+\sqrt{1-\bar\alpha_s}\,\hat\varepsilon. \tag{10} $$
#
# Only the start $x_T$ is random now. Why should points that move in this way end up distributed like the data? For small steps this can be proved, and the proof shows what a diffusion model is: a flow.
#
# ### One line in the right coordinates
#
# Undo the shrinking: let $\bar x=x/\sqrt{\bar\alpha}$ and $\sigma=\sqrt{(1-\bar\alpha)/\bar\alpha}$. Then (3) says $\bar x_t=x_0+\sigma_t\,\varepsilon$. The image keeps its size and the noise grows; its standard deviation is $\sigma$, and $\sigma^2=1/\mathrm{SNR}$. In these coordinates (10) is $\bar x_s=\hat x_0+\sigma_s\hat\varepsilon$, while $\bar x_t=\hat x_0+\sigma_t\hat\varepsilon$. The difference of the two is $\bar x_s-\bar x_t=(\sigma_s-\sigma_t)\,\hat\varepsilon$. In the limit of small steps
#
# $$ \frac{\mathrm d\bar x}{\mathrm d\sigma}=\hat\varepsilon(\bar x,\sigma)=-\sigma\,\nabla\log q_\sigma(\bar x), \tag{11} $$
#
# where $q_\sigma$ is the density of $\bar x$ at the noise level $\sigma$, and the second equality is Tweedie's formula (9). This is an ordinary differential equation, the **probability flow** ([Song et al. 2021](https://arxiv.org/abs/2011.13456)). A network that predicts the noise is its velocity. DDIM's step is the simplest way to solve it, Euler's.
#
# In papers the same equation often stands in the old coordinates. With $\beta(t)=-\frac{\mathrm d}{\mathrm dt}\log\bar\alpha(t)$ for a continuous time it is
#
# $$ \frac{\mathrm dx}{\mathrm dt}=-\frac{\beta(t)}2\Big(x+\nabla\log q(x_t)\Big). \tag{12} $$
#
# ### Why it carries the densities
#
# What does adding noise do to a density? It blurs it, as ink spreads in water: $q_\sigma$ is the data's density blurred with the variance $\sigma^2$, and so it obeys the heat equation, $\partial q_\sigma/\partial\sigma=\sigma\,\nabla^2q_\sigma$. What does a flow do to a density? Points with the velocity $u$ are neither made nor lost, so their density changes by $\partial q/\partial\sigma=-\nabla\cdot(u\,q)$, the equation of continuity. Now put in the velocity of (11):
#
# $$ -\nabla\cdot\big(-\sigma\,(\nabla\log q_\sigma)\,q_\sigma\big)=\nabla\cdot(\sigma\,\nabla q_\sigma)=\sigma\,\nabla^2q_\sigma . $$
#
# The two changes are equal. If the points have the density $q_\sigma$ at one noise level, they have it at every noise level, and at $\sigma=0$ that is the density of the data.
#
# On a line this can be checked without any sampling. Paths of a differential equation do not cross. So each point keeps its rank: the share of all points that lie to its left, the distribution function of $q_\sigma$ at $\bar x$, must stay the same all the way. We let SciPy solve (11) for nine points:

# %%
def velocity(sigma, xbar):
    "The guess of the noise in `xbar`, for the mixture: the right-hand side of (11)."
    abar = 1 / (1 + sigma**2)
    xbar = torch.as_tensor(xbar)
    return (xbar - toy.x0(abar**0.5 * xbar, abar)) / sigma


def rank(x, abar):
    "Share of the points x_t that lie to the left of x."
    return toy.noised(abar).cdf(torch.as_tensor(x))


d, start, stops = Diffusion(cosine_betas()), grid(-2, 2, 9), [1000, 800, 600, 400, 200, 1]
sigma = (-d.log_snr / 2).exp().tolist()
way, first = (sigma[1000], sigma[1]), (start / d.abar[1000].sqrt()).tolist()
path = solve_ivp(velocity, way, first, "DOP853", [sigma[t] for t in stops], rtol=1e-9, atol=1e-9)
for t, xbar in zip(stops, torch.as_tensor(path.y.T), strict=True):
    close(rank(d.abar[t].sqrt() * xbar, d.abar[t]), rank(start, d.abar[1000]), 1e-7)

# %%
#| hide
xbar = grid(-2, 2, 41).requires_grad_()
for sigma_now in (0.1, 0.5, 3.0):  # the second equality of (11); abar is 1 for q_sigma, whose bumps are wider
    log_q = GaussianMixture(toy.w, toy.m, (toy.s**2 + sigma_now**2).sqrt()).density(xbar).log()
    close(velocity(sigma_now, xbar.detach()), -sigma_now * torch.autograd.grad(log_q.sum(), xbar)[0])
x, small_steps = grid(-2, 2, 41), Diffusion(linear_betas(100_000, 1e-6, 2e-4))
for t in (3_000, 20_000, 50_000):  # (12): a small step divided by its length
    x0_hat = toy.x0(x, small_steps.abar[t])
    _, eps_hat = small_steps.x0_eps("x0", x0_hat, x, t)
    step = small_steps.q_sample(x0_hat, t - 1, eps_hat) - x
    close(step / small_steps.beta[t], 0.5 * (x + small_steps.score(x, x0_hat, t)), 1e-2)


# %% [markdown]
# ### Two ways back
#
# Here are both samplers with the exact denoiser and the noise levels of the cosine. Ancestral sampling draws from (7), with $\hat x_0$ in place of $x_0$; DDIM is `q_sample` with the guesses in place of image and noise.

# %%
def ancestral_step(d, x, t, s):
    "From x_t to x_s by (7)."
    mean, var = d.posterior(x, toy.x0(x, d.abar[t]), t, s)
    return mean + var.sqrt() * draw(len(x), key=20_000 + t)


def ddim_step(d, x, t, s):
    "From x_t to x_s by (10)."
    x0_hat, eps_hat = d.x0_eps("x0", toy.x0(x, d.abar[t]), x, t)
    return d.q_sample(x0_hat, s, eps_hat)


def way_back(step, d, x, steps):
    "All points of the way from x_T to x_0: (steps + 1, n)."
    times = [round(d.T * (1 - i / steps)) for i in range(steps + 1)]
    points = [x]
    for t, s in zip(times, times[1:], strict=False):
        points.append(step(d, points[-1], t, s))
    return torch.stack(points)


# %%
SAMPLING = {"ancestral sampling": ancestral_step, "DDIM, the flow": ddim_step}
start = Normal(0.0, 1.0).icdf(torch.linspace(0.05, 0.95, 9, dtype=torch.float64))
x = grid(-2.6, 2.6, 261)
density = torch.stack([toy.density(x, a) for a in d.abar])
fig, axes = plt.subplots(1, 2, figsize=(7.4, 2.9), sharey=True, layout="constrained")
for ax, (title, step) in zip(axes, SAMPLING.items(), strict=True):
    ax.pcolormesh(range(d.T + 1), x, density.T, cmap="Greys", vmax=1.5, rasterized=True)
    ax.plot(range(d.T, -1, -1), way_back(step, d, start, d.T), linewidth=1)
    ax.set(title=title, xlabel="$t$", xlim=(d.T, 0), ylim=(-2.6, 2.6))
axes[0].set_ylabel("$x_t$");


# %% [markdown]
# The same nine starts, the same density behind them (dark: high), and two different kinds of path. The paths of ancestral sampling are rough and cross each other. Those of the flow are smooth and never cross: the lowest start becomes the lowest point of the data. They bend slowly, and the three bumps come apart near the end, below $t=200$.
#
# Now with 10,000 starts in 1,000 steps of the flow, at four times on the way. The curves are the known densities, not fits. The test is that of Kolmogorov and Smirnov: its distance is the largest difference between the share of the points to the left of a place and the share that the density says. Its $p$ is the probability that as many points drawn from the density itself are as far from it, or farther. Only $p<0.001$ would count against the flow.

# %%
def smirnov(points, abar):
    "The test of Kolmogorov and Smirnov: are these points x_t drawn from their known density?"
    return kstest(points.numpy(), lambda x: rank(x, abar).numpy())


starts = draw(10_000, key=13)
flow = way_back(ddim_step, d, starts, d.T)
fig, axes = plt.subplots(1, 4, figsize=(7.4, 2), layout="constrained")
for ax, t in zip(axes, (1000, 200, 100, 0), strict=True):
    points, abar = flow[d.T - t], d.abar[t]
    test = smirnov(points, abar)
    assert test.pvalue > 0.001, f"t={t}: the points do not have the known density"
    ax.hist(points, bins=60, density=True, color="0.8")
    x = grid(*ax.get_xlim(), 400)
    ax.plot(x, toy.density(x, abar), linewidth=1)
    ax.set(xlabel=f"$x_{{{t}}}$", yticks=[])
    ax.set_title(f"t = {t}\ndistance {test.statistic:.4f}\np = {test.pvalue:.2f}", fontsize=9)
axes[0].set_ylabel("density")
close(flow[-1].argsort(), starts.argsort(), 0)  # nobody has overtaken anybody

# %% [markdown]
# The points pass the test at all four times. The distance hardly changes on the way, since each point keeps its rank: it is that of the 10,000 starts, which came from a normal density. How few steps are enough? Both samplers, and the distance of their $x_0$ from the density of the data. (10,000 points that are drawn from the density itself have a distance of 0.0087 on average, and one in a thousand such samples is beyond 0.0195.)

# %%
distance = pd.DataFrame(index=pd.Index([10, 30, 100, 300], name="steps"))
for name, step in SAMPLING.items():
    ends = [way_back(step, d, starts, steps)[-1] for steps in distance.index]
    distance[name] = [smirnov(x, 1.0).statistic for x in ends]
assert (distance.loc[10] > 0.0195).all(), "ten steps are too few, and the test notices"
assert distance["DDIM, the flow"].is_monotonic_decreasing and distance["DDIM, the flow"][300] < 0.0195
distance.round(4)


# %% [markdown]
# Ten of these steps are too few for either sampler, and the test has no doubt about it; with 100 both are below 0.0195. DDIM's error is that of Euler's method: a step goes straight on, and the path bends. If there were only one image, $\hat\varepsilon$ would be the same all along the path, the path straight, and a single step exact. Paths bend where the guess of the image changes. That leaves two ways to draw in few steps: better methods for the same equation ([02b_samplers](02b_samplers.ipynb)), or better places for the steps.
#
# A flow has two more uses. It can be followed from an image to its noise and back, so an image has a latent ([06_interpolation](06_interpolation.ipynb) walks between them). And it tells how much it stretches the density on the way, which gives the likelihood itself where the next section has a bound.
#
# ## How good is a model? A bound on the likelihood
#
# What is the probability $p_\theta(x_0)$ that the model gives to an image? Start from $p(x_T)=\mathcal N(0,I)$, multiply all steps (4), integrate over $x_1,\dots,x_T$: impossible for images. But a bound is easy. Write the integral as an average over $q$; the logarithm of an average is at least the average of the logarithms (Jensen's inequality), so
#
# $$ -\log p_\theta(x_0)=-\log\mathbb E_q\Big[\frac{p_\theta(x_0,\dots,x_T)}{q(x_1,\dots,x_T\mid x_0)}\Big]\le\mathbb E_q\Big[-\log\frac{p(x_T)\prod_t p_\theta(x_{t-1}\mid x_t)}{\prod_tq(x_t\mid x_{t-1})}\Big]=:L_{\text{vlb}} . $$
#
# The fraction compares steps forward with steps back. For $t\ge2$ turn the forward ones round: by Bayes, $q(x_t\mid x_{t-1})=q(x_{t-1}\mid x_t,x_0)\,q(x_t\mid x_0)/q(x_{t-1}\mid x_0)$. The last two factors telescope over $t=2,\dots,T$ to $q(x_T\mid x_0)/q(x_1\mid x_0)$, the denominator cancels against the step $t=1$, and what remains can be sorted by $t$:
#
# $$ L_{\text{vlb}}=\sum_{i=0}^TL_i, \tag{13} $$
#
# $$ L_0=-\log p_\theta(x_0\mid x_1), \tag{14} $$
#
# $$ L_{t-1}=D_{\mathrm{KL}}\big(q(x_{t-1}\mid x_t,x_0)\,\Vert\,p_\theta(x_{t-1}\mid x_t)\big)\quad(t=2,\dots,T), \tag{15} $$
#
# $$ L_T=D_{\mathrm{KL}}\big(q(x_T\mid x_0)\,\Vert\,p(x_T)\big), \tag{16} $$
#
# where (14) and (15) are to be averaged over $x_t\sim q(x_t\mid x_0)$. The negative, $-L_{\text{vlb}}$, is the **variational lower bound** (VLB) of $\log p_\theta(x_0)$: that of a VAE ([04_vae](04_vae.ipynb)) with the fixed noising (1) for an encoder. Divided by $\log2$ and by the number of pixels and channels, $L_{\text{vlb}}$ is the number of bits per pixel and channel with which one could store the image, with this model and the variance that its steps have.
#
# ### Two normal densities
#
# (15) and (16) compare normal densities. The logarithm of their ratio is a difference of two parabolas, and with $\mathbb E(x-\mu_2)^2=\sigma_1^2+(\mu_1-\mu_2)^2$ under the first density,
#
# $$ D_{\mathrm{KL}}\big(\mathcal N(\mu_1,\sigma_1^2)\Vert\mathcal N(\mu_2,\sigma_2^2)\big)=\frac12\Big(\log\frac{\sigma_2^2}{\sigma_1^2}+\frac{\sigma_1^2+(\mu_1-\mu_2)^2}{\sigma_2^2}-1\Big). $$

# %%
#| export
def gaussian_kl(
    mean1: torch.Tensor,  # of the density that the average is over; all four broadcast
    var1: torch.Tensor,  # positive
    mean2: torch.Tensor,
    var2: torch.Tensor,  # positive
) -> torch.Tensor:  # nats, elementwise, never negative
    "KL(N(mean1, var1) || N(mean2, var2)); not symmetric."
    return 0.5 * ((var2 / var1).log() + (var1 + (mean1 - mean2).square()) / var2 - 1)


# %%
x = grid(-30, 30, 60_001)
pairs = [[0, 1, 0, 1], [0.5, 0.3, -0.2, 2], [0.5, 2, -0.2, 0.3], [1, 0.01, 1, 0.02]]
for mean1, var1, mean2, var2 in torch.tensor(pairs, dtype=torch.float64):
    p1, p2 = normal(x, mean1, var1), normal(x, mean2, var2)
    integral = torch.trapezoid(torch.where(p1 > 1e-30, p1 * (p1 / p2).log(), 0.0), x)
    ours = gaussian_kl(mean1, var1, mean2, var2)
    close(ours, integral)
    close(ours, kl_divergence(Normal(mean1, var1.sqrt()), Normal(mean2, var2.sqrt())))


# %% [markdown]
# ### The last step, through 256 bins
#
# $L_0$ is not a divergence. Pixels are one of 256 values, and a density at a value is not a probability: a model could make it as large as it likes. So each value $k/127.5-1$ gets a *bin* from $1/255$ below to $1/255$ above, and $p_\theta(x_0\mid x_1)$ is the probability that the normal density gives to the bin (Ho et al. 2020, eq. 13). The outermost bins reach to infinity, so that the 256 probabilities add up to one.
#
# A bin's probability is a difference of two values $\Phi$ of the normal distribution function. Far out on the right both are 1 up to rounding, and their difference is 0, with an infinite logarithm. Two remedies. By symmetry, take such a bin over to the left tail, where the numbers are tiny but have all their digits. And compute with $\log\Phi$ (`log_ndtr`), which does not underflow: $\log(\Phi_b-\Phi_a)=\log\Phi_b+\log(1-e^{\log\Phi_a-\log\Phi_b})$.

# %%
#| export
def discretised_nll(
    x0: torch.Tensor,  # float64, each of the values k/127.5 - 1, k = 0 ... 255; all three broadcast
    mean: torch.Tensor,  # of the normal density
    var: torch.Tensor,  # positive
) -> torch.Tensor:  # nats, elementwise; finite in the tails, too
    """-log of the probability that a normal density gives to the bin of x0.

    There are 256 bins, the outermost without end (Ho et al. 2020, eq. 13)."""
    sd = var.sqrt()
    low = torch.where(x0 < -0.999, -torch.inf, (x0 - 1 / 255 - mean) / sd)
    high = torch.where(x0 > 0.999, torch.inf, (x0 + 1 / 255 - mean) / sd)
    right = low > 0  # take the bin over to the left tail, which has the digits
    low, high = torch.where(right, -high, low), torch.where(right, -low, high)
    big, small = log_ndtr(high), log_ndtr(low)
    return -(big + torch.log1p(-torch.exp(small - big)))


# %%
grey = torch.arange(256, dtype=torch.float64) / 127.5 - 1
for mean, var in [(0.1, 0.01), (-0.98, 0.003), (0.999, 1e-4), (0.5, 4.0), (3.0, 0.1)]:
    mean, var = torch.tensor(mean, dtype=torch.float64), torch.tensor(var, dtype=torch.float64)
    p = torch.exp(-discretised_nll(grey, mean, var))
    close(p.sum(), one[0], 1e-12)
    inside = grey[1:-1, None] + grid(-1, 1, 2001) / 255  # the density, added up over each bin
    close(p[1:-1], torch.trapezoid(normal(inside, mean, var), inside), 1e-8)
    tail = grid(0, 12 * var.sqrt().item() + abs(mean.item()) + 1, 200_001)
    for i, sign in [(0, -1), (255, 1)]:  # the outermost bins: from -1 + 1/255 and 1 - 1/255 outwards
        close(p[i], torch.trapezoid(normal(sign * (1 - 1 / 255 + tail), mean, var), tail), 1e-7)

# %%
#| hide
for mean in (-1.5, -0.5, 0.5, 1.5):  # 50 to 250 standard deviations away, and all in order
    nll = discretised_nll(grey, mean * one[0], 1e-4 * one[0])
    assert nll.isfinite().all() and (nll.max() > 5000 or abs(mean) < 1)
    away = (grey[1:-1] - mean).abs() > 0.05
    edge = ((grey[1:-1] - mean).abs() - 1 / 255)[away] / 0.01  # the bin's nearer edge, in standard deviations
    mills = edge**2 / 2 + (edge * (2 * math.pi) ** 0.5).log()  # -log of the tail beyond it, to 1/edge^2
    close(nll[1:-1][away], mills, 0.1)

# %%
mean, var = torch.tensor(0.97, dtype=torch.float64), torch.tensor(0.02**2, dtype=torch.float64)
fig, ax = plt.subplots(figsize=(5.6, 2.2), layout="constrained")
p = torch.exp(-discretised_nll(grey[240:], mean, var))
ax.bar(grey[240:], p, width=2 / 255 * 0.95, color="0.75", label="probability of the grey value")
x = grid(0.88, 1.06, 200)
ax.plot(x, normal(x, mean, var) * 2 / 255, label="density × width of a bin")
ax.set(xlabel="$x_0$", ylabel="probability")
ax.set_title(f"mean {mean}, standard deviation 0.02: white takes the whole tail")
ax.legend(frameon=False, fontsize=8, loc="upper left");


# %% [markdown]
# ### The terms
#
# The variance of (4) is left to choose. We take that of the posterior, $\tilde\beta_t$, which would be right if the guess of $x_0$ were. At $t=1$ it is 0, which is no density, so the last step borrows that of $t=2$.

# %%
#| export
@patch
def variance(
    self: Diffusion,
    t,  # 1 <= t <= T, int or integer tensor (B,)
) -> torch.Tensor:  # float64, the shape of t, positive
    """Variance of p(x_{t-1} | xt): the posterior's beta tilde, eq. (5).

    At t = 1, where that is 0, it is the one of t = 2 (beta_1 if T = 1)."""
    t = torch.as_tensor(t).clamp(min=min(2, self.T))
    if self.T == 1:
        return self.beta[t]
    return (1 - self.abar[t - 1]) / (1 - self.abar[t]) * self.beta[t]


# %%
#| export
@patch
def prior_kl(
    self: Diffusion,
    x0: torch.Tensor,  # float (B, ...)
) -> torch.Tensor:  # float64 (B,), nats, summed over the pixels
    "L_T, eq. (16): what x_T still tells about x0."
    x0 = x0.double().cpu()
    abar = self.abar[-1]
    return gaussian_kl(abar.sqrt() * x0, 1 - abar, torch.zeros_like(x0), torch.ones(())).flatten(1).sum(1)


# %%
#| export
@patch
def vlb_term(
    self: Diffusion,
    x0: torch.Tensor,  # float (B, ...): pixels k/127.5 - 1
    xt: torch.Tensor,  # from q(xt | x0), like x0
    t,  # 1 <= t <= T, int or integer tensor (B,)
    x0_hat: torch.Tensor,  # the network's guess of x0, like x0
    variance: torch.Tensor | None = None,  # of p(x_{t-1} | xt), (), (B,) or like x0; None: self.variance(t)
) -> torch.Tensor:  # float64 (B,), nats, summed over the pixels
    "L_{t-1} for each image: eq. (14) through 256 bins at t = 1, eq. (15) of two normal densities above."
    t = torch.as_tensor(t).expand(len(x0))
    x0, xt, x0_hat = (x.double().cpu() for x in (x0, xt, x0_hat))
    (mean, var), (mean_hat, _) = self.posterior(xt, x0, t), self.posterior(xt, x0_hat, t)
    variance = self.variance(t) if variance is None else variance
    var_hat = (variance if variance.shape == xt.shape else _like(variance, xt)).expand_as(xt)
    terms, first = gaussian_kl(mean, var, mean_hat, var_hat), t == 1
    terms[first] = discretised_nll(x0[first], mean_hat[first], var_hat[first])  # no posterior variance there
    return terms.flatten(1).sum(1)


# %% [markdown]
# Since the two variances in (15) are equal, only the distance of the means remains, and with (6) it becomes a weight on the squared error of the guess. Working it out gives a surprisingly simple weight ([Kingma et al. 2021](https://arxiv.org/abs/2107.00630)):
#
# $$ L_{t-1}=\frac{\lVert\tilde\mu_t(x_t,x_0)-\tilde\mu_t(x_t,\hat x_0)\rVert^2}{2\tilde\beta_t}=\frac12\big(\mathrm{SNR}(t-1)-\mathrm{SNR}(t)\big)\lVert x_0-\hat x_0\rVert^2 . $$
#
# Ho et al. train with the plain error of $\varepsilon$ instead, which drops the weight: no bound any more, but the samples look better.

# %%
x0 = grey[torch.randint(256, (6, 1, 2, 2), generator=torch.Generator().manual_seed(seed))]
xt, guess = draw(6, 1, 2, 2, key=9), draw(6, 1, 2, 2, key=10)
ts = torch.tensor([1, 2, 3, T // 4, T // 2, T])
terms = linear.vlb_term(x0, xt, ts, guess)
snr, squares = linear.abar / (1 - linear.abar), (x0 - guess).square().flatten(1).sum(1)
for i, t in enumerate(ts.tolist()[1:], 1):
    close(terms[i] / (0.5 * (snr[t - 1] - snr[t]) * squares[i]), one[0], 1e-6)
    (mean, var), (mean_hat, _) = linear.posterior(xt[i], x0[i], t), linear.posterior(xt[i], guess[i], t)
    q, p = Normal(mean, var.sqrt()), Normal(mean_hat, linear.variance(t).sqrt())
    close(terms[i] / kl_divergence(q, p).sum(), one[0], 1e-6)
x0_hat = x0 + 0.005  # t = 1: the mean of the last step is the guess itself
close(linear.vlb_term(x0, xt, 1, x0_hat), discretised_nll(x0, x0_hat, linear.variance(2)).sum((1, 2, 3)))

# %%
#| hide
assert terms.shape == (6,) and terms.dtype == torch.float64
for i, t in enumerate(ts.tolist()):
    alone = linear.vlb_term(x0[i : i + 1], xt[i : i + 1], t, guess[i : i + 1])
    close(alone[0], terms[i], 0)
for t in (2, 3, T):
    close(linear.variance(t), (1 - linear.abar[t - 1]) / (1 - linear.abar[t]) * linear.beta[t], 1e-16)
assert linear.variance(1) == linear.variance(2) > 0
assert Diffusion([0.3]).variance(1) == Diffusion([0.3]).beta[1]
assert torch.equal(linear.variance(ts), torch.stack([linear.variance(t) for t in ts]))
assert linear.vlb_term(x0, xt, 1, torch.full_like(x0, -50.0)).isfinite().all()
for d in (linear, Diffusion([0.3, 0.5])):
    q = Normal(d.abar[-1].sqrt() * x0, (1 - d.abar[-1]).sqrt())
    close(d.prior_kl(x0), kl_divergence(q, Normal(zero, one)).sum((1, 2, 3)))


# %% [markdown]
# ### Does it bound?
#
# In one dimension the impossible integral can be added up on a grid. So here is the whole of equations (13) to (16) at once. The data are the grey values of our three bumps, rounded to the 256 bins, each with a probability $P(x_0)$; the model is the best one possible, with the exact $\mathbb E[x_0\mid x_t]$ for a network. No model can store the values in fewer bits, on average, than their **entropy** $H=-\sum P\log_2P$. We compute for each of the 256 values:
#
# - the bound: $L_0,\dots,L_T$, averaged over $x_t\sim q(x_t\mid x_0)$, with a grid of noises;
# - the truth: the density $p(x_T)=\mathcal N(0,1)$ on a grid, pushed through all steps (4) as one matrix product each, and through the bins at the end.

# %%
def vlb_terms(d, nodes=31):
    "L_0 ... L_T (nats) of each grey value under the exact denoiser: (256, T + 1)."
    eps = grid(-6, 6, nodes)
    weight = torch.exp(-(eps**2) / 2) / torch.exp(-(eps**2) / 2).sum()
    x0, terms = grey[:, None].expand(-1, nodes), []
    for t in range(1, d.T + 1):
        xt = d.q_sample(x0, t, eps.expand_as(x0))
        hat = toy.x0(xt, d.abar[t])
        term = d.vlb_term(x0.reshape(-1, 1), xt.reshape(-1, 1), t, hat.reshape(-1, 1))
        terms.append((term.reshape(256, nodes) * weight).sum(1))
    return torch.stack([*terms, d.prior_kl(grey[:, None])], 1)


# %%
def nodes_at(d, t):
    "A grid of x_t, as wide as it spreads, as fine as the step from it needs."
    width = 1 + 6 * (1 - d.abar[t]).sqrt().item()
    return grid(-width, width, max(101, round(2.7 * width / d.variance(t).sqrt().item())))


def log_likelihood(d):
    "log p(x0) (nats) of each grey value under the same model: (256,)."
    x = nodes_at(d, d.T)
    p = normal(x, 0.0, 1.0)
    for t in range(d.T, 1, -1):
        mean, y = d.posterior(x, toy.x0(x, d.abar[t]), t)[0], nodes_at(d, t - 1)
        p = normal(y[:, None], mean, d.variance(t)) @ p * (x[1] - x[0])  # p(y | x), summed over x
        x = y
    mean = d.posterior(x, toy.x0(x, d.abar[1]), 1)[0]
    return (torch.exp(-discretised_nll(grey[:, None], mean, d.variance(1))) @ p * (x[1] - x[0])).log()


# %% [markdown]
# The variance of the steps back is worth a second look, so two models run: ours, with $\tilde\beta_t$, and one with the larger $\beta_t$, the other choice of Ho et al. The noise levels are the cosine's, which suit any $T$.

# %%
class LargeVariance(Diffusion):
    def variance(self, t):
        return self.beta[torch.as_tensor(t)]


d, t = LargeVariance(linear_betas()), 5  # of two different variances: the average in (15) is over q
p = Normal(d.posterior(xt, guess, t)[0], d.beta[t].sqrt())
mean, var = d.posterior(xt, x0, t)
exact = kl_divergence(Normal(mean, var.sqrt()), p).sum((1, 2, 3))
close(d.vlb_term(x0, xt, t, guess) / exact, torch.ones(6, dtype=torch.float64))

# %%
weights = zip(toy.w, toy.m, toy.s, strict=True)
P = sum(w * torch.exp(-discretised_nll(grey, m, s**2)) for w, m, s in weights)
entropy = -(P * P.log2()).sum().item()
print(f"entropy of the data {entropy:.3f} bits")
bits, terms = [], {}
for name, kind in {"posterior": Diffusion, "beta": LargeVariance}.items():
    for steps in (10, 30, 100, 300):
        d = kind(cosine_betas(steps))
        terms[name, steps] = vlb_terms(d)
        bound, exact = terms[name, steps].sum(1), -log_likelihood(d)
        close((-exact).exp().sum(), one[0], 1e-5)  # the model's 256 probabilities
        assert (bound > exact).all(), "the bound holds for every value"
        mean = [(P @ a).item() / math.log(2) for a in (exact, bound, bound - exact)]
        bits.append((name, steps, *mean, (bound - exact).min().item() / math.log(2)))
bits = pd.DataFrame(bits, columns=["variance", "T", "-log p", "bound", "gap", "smallest gap"])
bits = bits.set_index(["variance", "T"])
bits.round(3)

# %%
#| hide
assert (entropy < bits["-log p"]).all() and (bits["smallest gap"] > 0).all()
excess = bits["bound"] - entropy
for name in ("posterior", "beta"):
    assert excess[name].is_monotonic_decreasing, "more steps, a better bound"
assert excess["beta", 300] < 0.4 * excess["beta", 100] and excess["posterior", 300] > 0.7

# %%
fig, axes = plt.subplots(1, 2, figsize=(7, 2.5), layout="constrained")
for name, line in [("posterior", "-"), ("beta", "--")]:
    term, above = (P @ terms[name, 300])[:-1] / math.log(2), bits.loc[name] - entropy
    axes[0].loglog(range(1, 301), term, line, label=f"variance: {name}")
    axes[1].loglog(above["bound"], f"o{line}", label=f"bound, variance: {name}")
    axes[1].loglog(above["-log p"], f"s{line}", color="0.6", label=f"$-\\log_2 p$, variance: {name}")
axes[0].set(xlabel="$t$ (step to $t-1$)", ylabel="$L_{t-1}$ (bits)", title="T = 300: the terms of the bound")
axes[1].set(xlabel="steps T", ylabel="bits above the entropy", title="what is lost", ylim=(2e-4, 2))
axes[0].legend(frameon=False, fontsize=8)
axes[1].legend(frameon=False, fontsize=7);

# %% [markdown]
# It is a bound, for each of the 256 values, and more steps bring it down. With $\beta_t$ it comes close to the entropy; between 100 and 300 steps what is left falls about as $1/T$. With $\tilde\beta_t$ it gets stuck.
#
# **A surprise.** Compare the column `-log p`, the squares in the right panel. At $T=300$ the *true* likelihoods of the two models differ by 0.002 bits (on the logarithmic axis tiny excesses look far apart), and their bounds by 0.71. It is the bound that is loose with $\tilde\beta_t$, not the model that is bad. And the left panel says where: the two curves differ in the first few steps only.
#
# Why there? By the law of total variance the exact $q(x_{t-1}\mid x_t)$ has the variance of (7) plus that of its mean (6) under $q(x_0\mid x_t)$,
#
# $$ \operatorname{Var}(x_{t-1}\mid x_t)=\tilde\beta_t+\frac{\bar\alpha_{t-1}\beta_t^2}{(1-\bar\alpha_t)^2}\operatorname{Var}(x_0\mid x_t). $$
#
# If the noise is smaller than any detail of the data's density, then $\operatorname{Var}(x_0\mid x_t)\approx(1-\bar\alpha_t)/\bar\alpha_t$, and the sum is $\beta_t/\alpha_t$: the larger variance is the right one. The two differ much only where a step is large compared with the noise *already there*, $\beta_t$ against $1-\bar\alpha_{t-1}$. At $t=2$ that is so in each of these schedules, however many steps they have. "Small steps" in the argument for (4) has to be read in this way.

# %%
between = (P @ (terms["posterior", 300] - terms["beta", 300])) / math.log(2)
total, first = between.sum(), between[:5].sum()
print(f"T = 300: of the {total:.2f} bits between the two bounds {first:.2f} are in L_0 to L_4")
ratios = {}
for steps in (100, 1000):
    d = Diffusion(cosine_betas(steps))
    ratios[f"T = {steps}"] = {f"t = {t}": (d.beta[t] / (1 - d.abar[t - 1])).item() for t in (2, 3, 10, 30)}
pd.DataFrame(ratios).rename_axis("beta_t / (1 - abar_(t-1))").round(2)

# %%
exact = moments(*reverse_exact(toy.density, d, 0.0, 2, 1))[1]
print(f"variance of q(x_1 | x_2 = 0), T = 1000: {exact / d.variance(2):.2f} times beta tilde", end=", ")
print(f"{exact / d.beta[2]:.3f} times beta")

# %%
#| hide
assert abs(exact / (d.beta[2] / d.alpha[2]) - 1) < 0.01
_, between = d.posterior(zero, zero, 2)
x = grid(-0.5, 0.5, 20_001)
p = toy.density(x) * normal(0.0, d.abar[2].sqrt() * x, 1 - d.abar[2]) / toy.density(zero, d.abar[2])
_, var = moments(x, p)  # of x0 given x_2 = 0
total = between[()] + d.abar[1] * d.beta[2] ** 2 / (1 - d.abar[2]) ** 2 * var
close(exact / total, one[0], 1e-6)

# %% [markdown]
# Nichol and Dhariwal saw on images, too, that the first few steps make up most of the bound. They let the network choose a variance between the two. Do not take from this mixture that $\beta_t$ is the better choice everywhere: data without any width, a single image or pixels that are black for sure, want $\tilde\beta_t$ (exercise 3), and a small network on MNIST has the looser bound with $\beta_t$. [02_ddpm](02_ddpm.ipynb) computes both, and a third that is fitted to the network.
#
# ## What to remember
#
# - One table, $\bar\alpha_t$, says all about the noise; a schedule is a path through signal-to-noise ratios, and belongs to its $T$.
# - Everything a network learns is $\mathbb E[x_0\mid x_t]$. Noise, image, $v$, step mean and score are the same thing in other units, and the unit chooses the weights of the loss.
# - A normal distribution for one step back is good for small steps, small against the noise that is already there.
# - Equation (8) is the mean of one step back. The clean image is $\big(x_t-\sqrt{1-\bar\alpha_t}\,\varepsilon\big)/\sqrt{\bar\alpha_t}$.
# - A sampler without chance follows a flow, $\mathrm d\bar x/\mathrm d\sigma=\hat\varepsilon$. At every noise level its points have the same density as those of the noising.
# - The bound can be loose where the model is good. Before you compare bits, ask which variance was used.
#
# ## Exercises
#
# 1. Which last $\beta$ must a linear schedule of 100 steps have, so that its $L_T$ is that of 1,000 steps with the default betas? Use `prior_kl`. Then draw its log-SNR beside the others.
# 2. Show that $x_t^2+v^2=x_0^2+\varepsilon^2$, and check it in code. What does it say about the size of what a `v` network has to output?
# 3. For data from $\mathcal N(0,1)$ the variance $\beta_t$ is exactly right, for a single image $\tilde\beta_t$ is. Show both, and find the bound's gap in the first case: is it zero for every $T$?
# 4. [Bao et al. 2022](https://arxiv.org/abs/2201.06503) give the best variance that does not depend on $x_t$: the mean of $\operatorname{Var}(x_{t-1}\mid x_t)$ over $x_t$. Compute it for the mixture, put it into a class like `LargeVariance`, and add the curve to the last figure. At which $T$ does it help most?
# 5. Choose ten noise levels so that the bound of the mixture is as low as you can get it. Do they look like a known schedule? Would the same levels make the best samples, and how would you find out?

# %% [markdown]
# ## Solutions
#
# <details><summary>1. A linear schedule of 100 steps</summary>
#
# Put (3) into the divergence (16): for a pixel $L_T=\frac12\big(-\log(1-\bar\alpha_T)+\bar\alpha_T(x_0^2-1)\big)$. This grows with $\bar\alpha_T$ whatever $x_0$ is, so an equal $L_T$ means an equal $\bar\alpha_T$, and bisection finds the last $\beta$:
#
#     white, thousand = torch.ones(1, 1), Diffusion(linear_betas())
#     low, high = 0.02, 0.9
#     for _ in range(40):
#         last = (low + high) / 2
#         too_much = Diffusion(linear_betas(100, last=last)).prior_kl(white) > thousand.prior_kl(white)
#         low, high = (last, high) if too_much else (low, last)
#     fitted = Diffusion(linear_betas(100, last=last))
#     for d, label in [(linear, "linear"), (cosine, "cosine"), (fitted, f"100 steps, last beta {last:.3f}")]:
#         plt.plot(torch.arange(1, d.T) / d.T, d.log_snr[1:-1], label=label)
#     plt.legend()
#
# The last $\beta$ has to be 0.189. That is nearly ten times 0.02, since it is the sum of the $-\log(1-\beta_t)$ that counts, and there are ten times fewer of them. The log-SNR then falls like that of the 1,000 steps (at $t/T=\frac12$ it is -2.3, there -2.5). Only the beginning is different: $\beta_1=10^{-4}$ starts at 9.2 as before, but after one hundredth of the way the schedule of 1,000 steps is at 6.3. With `first=1e-3`, ten times larger as well, the first step is at 6.9.
#
# </details>
#
# <details><summary>2. The length that stays</summary>
#
# Let $c=\sqrt{\bar\alpha_t}$ and $s=\sqrt{1-\bar\alpha_t}$, so that $c^2+s^2=1$. From $x_t=c\,x_0+s\,\varepsilon$ and $v=c\,\varepsilon-s\,x_0$,
#
# $$ x_t^2+v^2=(c^2+s^2)\,x_0^2+(s^2+c^2)\,\varepsilon^2+2cs\,x_0\varepsilon-2cs\,x_0\varepsilon=x_0^2+\varepsilon^2 . $$
#
# It is Pythagoras: $(x_t,v)$ is $(x_0,\varepsilon)$ turned, and turning keeps lengths. In code, for every $t$ at once:
#
#     x0, eps, every = draw(T, key=11), draw(T, key=12), torch.arange(1, T + 1)
#     xt, v = linear.q_sample(x0, every, eps), linear.target("v", x0, eps, every)
#     close(xt**2 + v**2, x0**2 + eps**2)
#
# So $v$ has a size that hardly depends on $t$. Its mean square is $\mathbb E v^2=\bar\alpha_t+(1-\bar\alpha_t)\,\mathbb E x_0^2$, which lies between $\mathbb E x_0^2$ and 1 and is 1 at all levels if the data have mean square 1. A `v` network never has to output large numbers. What it does output is smaller still: at best $\mathbb E[v\mid x_t]$, whose mean square is that of $v$ less the error that is left.
#
# </details>
#
# <details><summary>3. Where each variance is right</summary>
#
# *Data from $\mathcal N(0,1)$.* $x_{t-1}$ and $x_t$ are then jointly normal with variance 1 each, and by (2) their covariance is $\sqrt{\alpha_t}$. So $x_{t-1}$ given $x_t$ is normal with mean $\sqrt{\alpha_t}\,x_t$ and variance $1-\alpha_t=\beta_t$. *A single image* $c$: $x_0=c$ is known without looking, so $q(x_{t-1}\mid x_t)=q(x_{t-1}\mid x_t,x_0=c)$, which is (7) with its variance $\tilde\beta_t$.
#
# *The gap in the first case.* With densities in place of bins it is zero, for every $T$ and every schedule. The short argument: $p(x_T)=q(x_T)=\mathcal N(0,1)$, and each step back of the model is the exact one, so $p_\theta(x_0,\dots,x_T)=q(x_0,\dots,x_T)$. Jensen's inequality is an equality if the fraction under the logarithm is constant, and here it is $q(x_0)$ on every path. The long one: in (15) the means differ by $\frac{\sqrt{\bar\alpha_{t-1}}\beta_t}{1-\bar\alpha_t}(x_0-\sqrt{\bar\alpha_t}\,x_t)$, where the bracket is $(1-\bar\alpha_t)x_0-\sqrt{\bar\alpha_t(1-\bar\alpha_t)}\,\varepsilon$. Average its square, use $\bar\alpha_{t-1}\beta_t=\bar\alpha_{t-1}-\bar\alpha_t$, and everything telescopes:
#
# $$ L_{t-1}=\frac12\Big(\log\frac{1-\bar\alpha_t}{1-\bar\alpha_{t-1}}+(\bar\alpha_{t-1}-\bar\alpha_t)(x_0^2-1)\Big),\qquad L_T=\frac12\Big(-\log(1-\bar\alpha_T)+\bar\alpha_T(x_0^2-1)\Big), $$
#
# $$ L_0=\frac12\Big(\log(2\pi\beta_1)+\beta_1x_0^2+\alpha_1\Big),\qquad\sum_{i=0}^TL_i=\frac12\log(2\pi)+\frac12x_0^2=-\log q(x_0). $$
#
#     x0, e = grid(-2, 2, 5)[:, None], grid(-8, 8, 101)
#     weight = normal(e, 0, 1) / normal(e, 0, 1).sum()
#     for steps in (1, 3, 100):
#         d = Diffusion(cosine_betas(steps))
#         total = d.prior_kl(x0)
#         for t in range(1, steps + 1):
#             xt = d.q_sample(x0.expand(5, 101), t, e.expand(5, 101))
#             (mean, var), (mean_hat, _) = d.posterior(xt, x0, t), d.posterior(xt, d.abar[t].sqrt() * xt, t)
#             term = gaussian_kl(mean, var, mean_hat, d.beta[t]) if t > 1 else -normal(x0, mean_hat, d.beta[1]).log()
#             total = total + (term * weight).sum(1)
#         close(total, 0.5 * math.log(2 * math.pi) + x0[:, 0] ** 2 / 2)
#
# With 256 bins it is not quite zero. The model gives a bin its whole probability, the bound starts at the bin's centre, and the gap is $D_{\mathrm{KL}}\big(q(x_1\mid x_0)\Vert q(x_1\mid x_0\text{ in the bin})\big)$. It depends on $\beta_1$ only, not on the steps after it. For an inner bin `vlb_terms` (with `toy = GaussianMixture([1], [0], [1])` and `LargeVariance`) has 0.0009 bits for linear betas, at $T=10$, 100 and 1,000 alike; for the cosine's it has nothing at $T=10$ and 0.005 bits at $T=1000$, where $\beta_1$ is smallest. For black and white the gap is 5 bits with linear betas: a third of the data are in the two outermost bins, and the bound pretends that they are all at the centre.
#
# </details>
#
# <details><summary>4. The best variance that is the same everywhere</summary>
#
# Average (15) over $x_t$ for a variance $\sigma^2$ of the model: $\frac12\big(\log\frac{\sigma^2}{\tilde\beta_t}+\frac{\tilde\beta_t+\mathbb E(\tilde\mu_t-\mu_\theta)^2}{\sigma^2}-1\big)$. The derivative vanishes at $\sigma^2=\tilde\beta_t+\mathbb E(\tilde\mu_t-\mu_\theta)^2=\tilde\beta_t+\frac{\bar\alpha_{t-1}\beta_t^2}{(1-\bar\alpha_t)^2}\,\mathbb E(x_0-\hat x_0)^2$. With the exact denoiser the last mean is that of $\operatorname{Var}(x_0\mid x_t)$, and the sum the mean of $\operatorname{Var}(x_{t-1}\mid x_t)$. Since $\hat x_0=\mathbb E[x_0\mid x_t]$, it is $\mathbb E x_0^2-\mathbb E\hat x_0^2$, one integral a level. (At $t=1$, where $\tilde\beta_1=0$, this gives $\mathbb E\operatorname{Var}(x_0\mid x_1)$, which is what the last normal density should have.)
#
#     class BestVariance(Diffusion):
#         def __init__(self, betas):
#             super().__init__(betas)
#             x, second = grid(-8, 8, 16_001), (toy.w * (toy.m**2 + toy.s**2)).sum()
#             mse = torch.stack([second - torch.trapezoid(toy.density(x, a) * toy.x0(x, a) ** 2, x) for a in self.abar[1:]])
#             of_x0, _, between = self._coefficients(torch.arange(1, self.T + 1))
#             self.table = torch.cat([zero, between + of_x0**2 * mse])
#
#         def variance(self, t):
#             return self.table[torch.as_tensor(t)]
#
#
#     lost = {}
#     for steps in (10, 30, 100, 300):
#         d = BestVariance(cosine_betas(steps))
#         lost[steps] = [(P @ a).item() / math.log(2) - entropy for a in (vlb_terms(d).sum(1), -log_likelihood(d))]
#         print(steps, "bound and -log p above the entropy: {:.3f} {:.3f}".format(*lost[steps]))
#     axes[1].loglog(list(lost), [bound for bound, _ in lost.values()], "^:", label="bound, variance: best")
#     axes[1].legend(frameon=False, fontsize=7)
#     fig
#
# The bound is 0.59, 0.25, 0.08 and 0.03 bits above the entropy at $T=10$, 30, 100 and 300. With $\beta_t$ it was 0.74, 0.36, 0.13 and 0.05. Counted in bits it helps most where steps are few, 0.14 bits at $T=10$; as a factor it helps more and more, from 1.2 to 1.7. Against $\tilde\beta_t$ it gains 0.7 to 0.8 bits at every $T$, most at $T=30$. The true $-\log_2p$ becomes smaller than with $\beta_t$, too; at $T=30$, however, it is lower still with $\tilde\beta_t$ (7.176 against 7.199): the variance is the best for the bound, which is not the same as the best for the model.
#
# </details>
#
# <details><summary>5. Ten levels of one's own</summary>
#
# Ten log-SNRs in falling order are ten free numbers: the first, and the logarithms of the nine distances. That is few enough for a search without gradients.
#
#     from scipy.optimize import minimize
#
#     def levels(p):
#         p = torch.as_tensor(p, dtype=torch.float64)
#         log_snr = p[0] - torch.cat([zero, p[1:].exp()]).cumsum(0)
#         abar = torch.cat([one, log_snr.sigmoid()])
#         return LargeVariance(1 - abar[1:] / abar[:-1])
#
#     bound = lambda p: (P @ vlb_terms(levels(p)).sum(1)).item() / math.log(2)
#     start = Diffusion(cosine_betas(10)).log_snr[1:]
#     start = [start[0].item(), *(-start.diff()).log().tolist()]
#     best = minimize(bound, start, method="Nelder-Mead", options=dict(maxfev=2000, adaptive=True))
#     print(f"bound {bound(start):.3f} -> {best.fun:.3f} bits; log-SNR", [round(v, 1) for v in levels(best.x).log_snr[1:].tolist()])
#     for d in (levels(start), levels(best.x)):
#         p = log_likelihood(d).exp()
#         print(f"-log p {-(P @ p.log2()):.3f} bits, distance of the samples {0.5 * (P - p).abs().sum():.3f}")
#
# The search takes about a minute, and it may end in a local minimum; begin it from other levels, too. From the cosine's levels, whose bound is 7.855 bits, it came to 7.492, with log-SNRs 6.4, 5.5, 4.8, 4.3, 3.7, 3.1, 2.0, 1.1, 0.3 and -0.7. No schedule above looks like this: it is nearest to even steps in log-SNR, of 0.5 to 1.1. The cosine goes from 3.6 down to -10.6, with two of its ten levels below -3. The search spends nothing there: it stops so early that $L_T$ is 0.1 bits, and that is cheaper than to take levels from where they are needed.
#
# Whether they make the best samples is another question, since $-\log_2p$, the bound and the distance of the samples have different minima. On the line it can be answered: `log_likelihood` gives the exact distribution of what ancestral sampling draws. With the new levels half the sum of $|P-p|$ falls from 0.34 to 0.09, and $-\log_2p$ from 7.65 to 7.17 bits, so for these data they do make better samples than the cosine's. To see if they are the *best*, give that distance to `minimize` in place of `bound`. For another sampler, DDIM say, draw many samples with the levels and compare histograms; it need not like the same levels.
#
# </details>
