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
# # Guidance
#
# > Asking for a class, and asking louder: one line of Bayes' rule, checked on a density that one can compute, then on digits
#
# A diffusion model that is told the class in training can be asked for a class. It mostly draws it. **Guidance** makes it surer: the samples become more typical of their class, and less varied. It needs no further training and no classifier, only a network that now and then was *not* told the class. The networks of [02_ddpm](02_ddpm.ipynb) with `conditional` are such: one label in ten is replaced by "none".

# %%
#| default_exp guidance

# %% tags=["parameters"]
dataset = "digits"  # images with classes
epochs = 10  # passes over the training set, by a model that is told the class
seed = 0  # all randomness follows from it

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from genlab.data import show_grid

# %%
#| hide
import math

import pandas as pd

from genlab.ddpm import DDPMConfig, Denoiser, run_ddpm
from genlab.diffusion import Diffusion, GaussianMixture, cosine_betas
from genlab.samplers import dpmpp, sigma_at


# %% [markdown]
# ## One line of Bayes' rule
#
# The noise that a network sees in $x_t$ is, but for a factor, the *score*, the direction in which the density of noisy images grows fastest: $\nabla\log q(x_t)=-\hat\varepsilon/\sqrt{1-\bar\alpha_t}$ ([02_ddpm_theory](02_ddpm_theory.ipynb)). Samples walk along it. For a class $y$ Bayes' rule is $q(x_t\mid y)=q(x_t)\,q(y\mid x_t)/q(y)$. Take the logarithm and the gradient with respect to $x_t$, of which $q(y)$ has none:
#
# $$\nabla\log q(x_t\mid y)=\nabla\log q(x_t)+\nabla\log q(y\mid x_t).$$
#
# The second term is the direction in which a classifier would become surer of $y$. **Classifier guidance** ([Dhariwal and Nichol 2021](https://arxiv.org/abs/2105.05233)) multiplies it by a scale $s$. With $s>1$ the samples do not follow $q(x_t\mid y)$ any more but something like $q(x_t)\,q(y\mid x_t)^s$: images of which a classifier is surer and surer.
#
# That needs a classifier for noisy images. **Classifier-free guidance** ([Ho and Salimans 2022](https://arxiv.org/abs/2207.12598)) reads the line from right to left. The classifier's gradient is the difference of two scores, and a network that knows both has it already:
#
# $$\nabla\log q(x_t)+s\,\big(\nabla\log q(x_t\mid y)-\nabla\log q(x_t)\big),\qquad\text{so}\qquad \hat\varepsilon=\hat\varepsilon^{\,\text{none}}+s\,(\hat\varepsilon^{\,y}-\hat\varepsilon^{\,\text{none}}).$$
#
# At $s=0$ the class is ignored, at $s=1$ this is the plain conditional model, above it the difference is exaggerated. A network may output $v$ or $x_0$ instead of $\varepsilon$. For a given $x_t$ these are linear functions of each other, so the same formula holds for all of them.

# %%
#| export
def guided(
    net: nn.Module,  # (xt, t, y) -> eps, x0, v or flow; with .classes, the label that means "no class"
    xt: torch.Tensor,  # (B, C, H, W)
    t: torch.Tensor,  # (B,)
    labels: torch.Tensor | None = None,  # int64 (B,); None: no class
    scale: float = 1.0,  # 0: ignore the class, 1: as the network says, above 1: exaggerate
    guide: nn.Module | None = None,  # see Guidance today; None: the network itself, told no class
) -> torch.Tensor:  # like xt, float32
    """A network's prediction with classifier-free guidance (Ho and Salimans 2022, eq. 6 with w = scale - 1).

    With a `guide`, autoguidance (Karras et al. 2024)."""
    if scale == 1 or (labels is None and guide is None):
        return net(xt, t, labels).float()
    if guide is not None:
        weak = guide(xt, t, labels).float()
        return weak + scale * (net(xt, t, labels).float() - weak)
    none = torch.full_like(labels, net.classes)
    both = net(torch.cat([xt, xt]), torch.cat([t, t]), torch.cat([none, labels])).float()
    without, given = both.chunk(2)
    return without + scale * (given - without)


# %% [markdown]
# The network is asked about both at once, in a batch of twice the size.
#
# ## Where the answer is known
#
# Two classes on the line, each with a normal density, and the exact noise in place of a network. First the line of Bayes' rule itself: the classifier's gradient, computed from its definition by automatic differentiation, is the difference of the two scores.

# %%
diffusion = Diffusion(cosine_betas(1000))
classes = [GaussianMixture([1.0], [-0.3], [0.2]), GaussianMixture([1.0], [0.3], [0.2])]
either = GaussianMixture([0.5, 0.5], [-0.3, 0.3], [0.2, 0.2])


class TwoClasses(nn.Module):
    "The exact noise of the two classes, or of both together."

    classes = 2

    def forward(self, xt, t, y):
        abar = diffusion.abar_at(t).view(-1, 1)
        of_each = torch.stack([m.x0(xt.double(), abar) for m in (*classes, either)])
        x0 = of_each.gather(0, y.view(1, -1, 1))[0]
        return (xt - abar.sqrt() * x0) / (1 - abar).sqrt()


x, t = torch.linspace(-2, 2, 41, dtype=torch.float64, requires_grad=True), 300
abar = diffusion.abar[t]
log_p_class = (classes[1].density(x, abar) / either.density(x, abar) / 2).log()  # Bayes' rule
(gradient,) = torch.autograd.grad(log_p_class.sum(), x)
ask = lambda y: TwoClasses()(x[:, None], torch.full((41,), t), torch.full((41,), y))[:, 0]
difference = -(ask(1) - ask(2)) / (1 - abar).sqrt()
assert torch.allclose(gradient, difference, atol=1e-9)

# %% [markdown]
# Then samples of the right-hand class, at four scales. Dashed is $q(x_0)\,q(y\mid x_0)^s$, the density that one would expect.

# %%
grid = torch.linspace(-1, 1.2, 401, dtype=torch.float64)
fig, axes = plt.subplots(1, 4, figsize=(7.2, 1.9), layout="constrained", sharey=True)
rows = []
for ax, s in zip(axes, (0.0, 1.0, 2.0, 4.0), strict=True):
    model = Denoiser(TwoClasses(), diffusion, "eps", torch.ones(4000).long(), s)
    drawn = dpmpp(model, (4000, 1), 60, seed)[:, 0]
    ax.hist(drawn, 60, range=(-1, 1.2), density=True, color="0.8")
    density = either.density(grid) * (classes[1].density(grid) / either.density(grid) / 2) ** s
    density = density / torch.trapezoid(density, grid)
    ax.plot(grid, density, "k--", linewidth=0.8)
    ax.set(title=f"$s={s:g}$", xlabel="$x_0$", yticks=[])
    mean = torch.trapezoid(density * grid, grid)
    rows.append({"s": s, "mean": drawn.mean().item(), "sd": drawn.std().item(), "expected mean": mean.item()})
table = pd.DataFrame(rows)
assert table["mean"].is_monotonic_increasing and table.sd.is_monotonic_decreasing
assert (table["mean"] - table["expected mean"])[:2].abs().max() < 4 * 0.4 / math.sqrt(4000)
table.round(3)

# %% [markdown]
# At $s=0$ and $s=1$ the samples follow the dashed line. Above, they go further than it says. Multiplying densities by $q(y\mid x_t)^s$ *at each noise level* is not the same as noising the product: the classifier of a noisy image is less sure, and exaggerating it there pulls more than it would at the end. So guidance has no density that one could write down. What it does is clear, though: the mean moves away from the other class, and the spread shrinks.
#
# ## By class
#
# A class-conditional model after ten epochs. Each column has one class and one latent; from row to row the guidance scale grows. At $s=0$ the label is ignored.

# %%
#| export
SCALES = (0.0, 1.0, 2.0, 4.0)  # guidance scales to look at


def plot_guidance(pictures: dict[str, np.ndarray], ax: plt.Axes | None = None) -> plt.Axes:
    "A column a class, a row a guidance scale; `pictures` are those of `look_inside` in genlab.ddpm."
    images = torch.from_numpy(pictures["guidance"])
    return show_grid(images.flatten(0, 1), ncol=images.shape[1], ax=ax, rows=[f"$s={s:g}$" for s in SCALES])


# %%
config = DDPMConfig(dataset=dataset, name="by-class", conditional=True, epochs=epochs, seed=seed)
run = run_ddpm(config)
plot_guidance(run.pictures(epochs));

# %% [markdown]
# The samplers of [02b_samplers](02b_samplers.ipynb) know nothing of this: `Denoiser` asks the network through `guided`, and what they get is a clean image, as always. From a shell, `papermill nbs/02_ddpm.ipynb out.ipynb -p conditional true -p name by-class -p guidance 2` draws with $s=2$.
#
# ## Guidance today
#
# Guidance costs variety. Two remedies, each of a few lines:
#
# - **An interval** ([Kynkäänniemi et al. 2024](https://arxiv.org/abs/2404.07724)). Where there is nearly nothing but noise, guidance drives all samples of a class to the same place; where there is hardly any, nothing is left to decide. So let it act in between only: `-p guidance 2 -p interval "[0.3, 3]"` or `Denoiser(..., interval=(0.3, 3))`, in units of $\sigma=\sqrt{1/\bar\alpha-1}$. Outside, one evaluation of the network is enough.
# - **Autoguidance** ([Karras et al. 2024](https://arxiv.org/abs/2406.02507)). The network that is told no class differs from the one that is in two ways: it solves another task, and it solves it less well. Guidance leads away from both. To lead away from the errors alone, take for a guide a *weaker version of the same network*, told the same class, say an earlier one: $\hat\varepsilon^{\,\text{weak}}+s\,(\hat\varepsilon-\hat\varepsilon^{\,\text{weak}})$. It needs no classes at all. `Denoiser(..., guide=weak)`.
#
# First that they do what they say:

# %%
torch.manual_seed(seed)
xt, labels = torch.randn(6, 1, dtype=torch.float64), torch.tensor([0, 1, 0, 1, 0, 1])
at_300, asked = (xt, 300), (TwoClasses(), diffusion, "eps", labels)
sigma = sigma_at(diffusion, 300)
plain, strong = (Denoiser(*asked, s).output(*at_300) for s in (1.0, 3.0))
outside, inside = ((0, sigma / 2), (2 * sigma, 99)), (sigma / 2, 2 * sigma)
for interval in outside:
    assert torch.equal(Denoiser(*asked, 3.0, interval=interval).output(*at_300), plain)
assert torch.equal(Denoiser(*asked, 3.0, interval=inside).output(*at_300), strong)
assert not torch.allclose(plain, strong)
assert torch.allclose(Denoiser(*asked, 3.0, guide=TwoClasses()).output(*at_300), plain), "as good as itself"


class Worse(TwoClasses):
    "The exact noise, and half as much again."

    def forward(self, xt, t, y):
        return 1.5 * super().forward(xt, t, y)


led = Denoiser(*asked, 3.0, guide=Worse()).output(*at_300)
assert led.abs().max() < 1e-5, "1.5 + 3 (1 - 1.5) = 0"

# %% [markdown]
# Then on the digits: 2,000 samples for each way and scale, compared with the 500 test images. *Precision* is the share of samples that lie near real images, *recall* the share of real images with a sample near them ([05c_measures](05c_measures.ipynb)). The interval is about that which Kynkäänniemi et al. use, and was not tuned here. The weaker network is the same run after two epochs.

# %%
#| eval: false
from genlab.data import spread_classes, to_image
from genlab.ddpm import make_diffusion, train_ddpm
from genlab.fid import evaluate
from genlab.plug import SAMPLERS
from genlab.runs import Run

train, (strong, weak) = config.training_set(), (train_ddpm(Run(config), e).eval() for e in (epochs, 2))


def score(scale, **how):
    "Measures of 2,000 samples."
    labels = spread_classes(train, 2000)
    model = Denoiser(strong, make_diffusion(config), config.target, labels, scale, **how)
    x = SAMPLERS[config.sampler](model, (2000, *train.images.shape[1:]), config.steps, seed)
    scores = evaluate(to_image(x), dataset, ["fd_lenet", "precision", "recall"], train=train.images)
    return {name: f"{s['value']:.2f} ± {s['sd']:.2f}" for name, s in scores.items()}


ways = {"everywhere": {}, "sigma from 0.3 to 3": {"interval": (0.3, 3.0)}, "weaker network": {"guide": weak}}
rows = [{"guidance": "none", "s": 1.0} | score(1.0)]
rows += [{"guidance": way, "s": s} | score(s, **how) for way, how in ways.items() for s in (1.5, 2.0, 3.0)]
pd.DataFrame(rows)

# %% [markdown]
# Guidance raises precision and lowers recall, whichever way it is done. At $s=1.5$ distance and recall cannot be told apart; precision is 0.86 and 0.85 with guidance by the class, 0.82 with the weaker network. The larger the scale, the more both remedies keep of the variety: at $s=3$ recall is 0.58 with the interval and 0.70 with the weaker network, instead of 0.49. Of the distances at $s=3$ only the weaker network's is smaller by more than two standard deviations than with guidance everywhere; its precision has fallen below that of no guidance. None of the nine distances is clearly smaller than 14.1 ± 1.4, without any guidance, and at $s=3$ all are larger: the remedies limit the damage. (One run, seed 0.)
#
# ## What to remember
#
# - $\nabla\log q(x_t\mid y)=\nabla\log q(x_t)+\nabla\log q(y\mid x_t)$. Guidance multiplies the last term.
# - A network that was told the class nine times in ten has that term as a difference of its own two answers.
# - Guided samples are more typical and less varied, and follow no density that one could write down.
#
# ## Exercises
#
# 1. Guidance makes samples more typical. Score a conditional model at $s=1,2,4$ with `fd_lenet`. Which scale is best, and why is the largest not?
#
# ## Solutions
#
# <details><summary>1. Which scale is best?</summary>
#
# `fd_lenet` sees one distance in which lost variety and lost quality are added up; precision and recall ([05_fid](05_fid.ipynb)) tell them apart.
#
#     from genlab.ddpm import sample_ddpm, train_ddpm
#     from genlab.fid import evaluate
#
#     net, train = train_ddpm(run, epochs), config.training_set()
#     for s in (1.0, 1.5, 2.0, 4.0):
#         samples, _ = sample_ddpm(net, config.model_copy(update={"guidance": s}), train, 500, seed)
#         scores = evaluate(samples, dataset, ["fd_lenet", "precision", "recall"], train=train.images)
#         print(s, {metric: (round(score["value"], 3), round(score["sd"], 3)) for metric, score in scores.items()})
#
# One run on `digits`, seed 0, 500 samples a scale:
#
# | $s$ | `fd_lenet` | precision | recall |
# |---|---|---|---|
# | 1 | 15 ± 3 | 0.76 ± 0.02 | 0.89 ± 0.02 |
# | 1.5 | 12 ± 5 | 0.84 ± 0.02 | 0.82 ± 0.02 |
# | 2 | 19 ± 6 | 0.88 ± 0.01 | 0.68 ± 0.02 |
# | 4 | 58 ± 7 | 0.85 ± 0.02 | 0.40 ± 0.05 |
#
# The first three distances are too close to call, the last is far off. From $s=1$ to 2 more samples lie where real images are (precision), and fewer of the real images have a sample near them (recall); in the distance the two about cancel. At $s=4$ precision is no better, and most of the variety is gone.
#
# The largest scale is not the best because it draws from another distribution. Its mean moves away from the class's boundaries, its spread shrinks, and both are what a Frechet distance measures. (And the steps leave the range where the network was trained; clipping to $[-1,1]$ then makes flat black and white.) A little guidance may still lower the distance, where it takes away samples between the classes that an imperfect network draws and the data do not have.
#
# </details>
