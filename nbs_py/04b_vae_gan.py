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
# # Scale, beta, collapse, and the VAE-GAN
#
# > What the scale of the likelihood and the weight of the KL term trade against each other, how a decoder comes to ignore its codes and what helps, and a VAE that learns from a discriminator
#
# A VAE ([04_vae](04_vae.ipynb)) has two terms in its loss: codes that say much make reconstructions good, and codes that say little fill the prior. Three questions are left. How much does one term cost in units of the other? What if the decoder does without codes altogether? And can a VAE be made to look less blurry?
#
# Numbers in the text are of one run with seed 0 on `digits`, unless several seeds are named.

# %%
#| default_exp vae_gan

# %% tags=["parameters"]
dataset = "digits"  # digits, tinted_digits, mnist, fashion_mnist, cifar10, celeba, hf:REPO or folder:PATH
size = None  # pixels a side, a multiple of 4; None: the data set's own
epochs = 60  # of each model that is trained here
seed = 0  # all randomness follows from it

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import torch
from torch import nn

from genlab.data import ImageSet
from genlab.gan import Discriminator, bce_d_loss, init_weights, nonsaturating_g_loss
from genlab.runs import EMA, Run, count_costs, make_accelerator, make_adam
from genlab.vae import VAE, VAEConfig, channels_of, kl_normal, reparameterise, start_vae, vae_optimizers

# %%
#| hide
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.neighbors import KNeighborsClassifier

from genlab.data import load_dataset, show_grid, to_model
from genlab.runs import seed_everything
from genlab.tables import over_seeds, plus_minus
from genlab.vae import make_vae, plot_reconstructions, run_vae

# %% [markdown]
# The plain VAE to compare with, as in 04_vae:

# %%
early = [n for n in (1, 5, 20) if n < epochs]
config = VAEConfig(dataset=dataset, size=size, epochs=epochs, snapshots=early, seed=seed)
run = run_vae(config)
data, test = config.training_set(), load_dataset(dataset, "test", size)


def train_variant(name, **change):
    "A run like that of `config` but for some fields, and what was measured after its last epoch."
    other = run_vae(config.model_copy(update={"name": name, "snapshots": [], **change}))
    return other, other.metrics(epochs)


# %% [markdown]
# ## The scale of the likelihood
#
# Four small VAEs with dense layers that differ in how much an error matters: the Laplace scale fixed at 1 and at 0.3, learned, and the logistic in bins with its scale learned. With a Laplace likelihood the loss is, up to a constant, $\frac1b\big(\sum|x-m|+b\,\mathrm{KL}\big)$: $b$ plays the part of $\beta$.

# %%
variants = {
    "laplace, b = 1": {"likelihood": "laplace", "scale": 1.0},
    "laplace, b = 0.3": {"likelihood": "laplace", "scale": 0.3},
    "laplace, b learned": {"likelihood": "laplace", "scale": None},
    "logistic, s learned": {"likelihood": "logistic", "scale": None},
}
trade = {label: train_variant("small", network="mlp", **change) for label, change in variants.items()}


# %%
def distances(m):
    "fd_lenet by the source of codes."
    fd = m["scores"].get("fd_lenet", {}).get("value")
    return {"fd_lenet, prior": fd} | {source: score["value"] for source, score in m["sources"].items()}


def summary(m):
    return {"bits/dim": m["likelihood"]["bits_per_dim"], "KL (nats)": m["likelihood"]["kl"]} | distances(m)


pd.DataFrame({label: summary(m) for label, (_, m) in trade.items()}).T.round(2)

# %%
#| hide
if (dataset, size, epochs, seed) == ("digits", None, 60, 0):
    bits = [m["likelihood"]["bits_per_dim"] for _, m in trade.values()]
    kls = [m["likelihood"]["kl"] for _, m in trade.values()]
    assert bits[0] > bits[1] > bits[2], "learning the scale is what maximises the likelihood"
    assert kls[0] < kls[1] < kls[2], "and codes then carry more nats"

# %% [markdown]
# A learned Laplace scale should become the mean absolute error that is left. On test images, which the networks do not know, that error is larger:

# %%
learned, m = trade["laplace, b learned"]
net = make_vae(learned.config, data)
learned.load_weights(epochs, net)
b = net.log_scale.exp().item()
error = b * (-m["likelihood"]["reconstruction"] / data.images[0].numel() - math.log(2 * b))
print(f"learned b = {b:.3f}, mean absolute error on test images {error:.3f}")
assert 0.6 < b / error < 1.1

# %% [markdown]
# Of the Laplace rows, the one with a learned scale has the best *likelihood*, by far, and the largest KL term: details that matter are worth encoding. Its samples from the prior are the worse for it, because the codes, each now nearly a point, no longer fill the prior; a mixture fitted to the codes repairs most of that. With $b=1$ the model encodes less, its codes come nearer to the prior, and its bits per dimension are above 8, more than it takes to store the bytes as they are. This is why there is no single best scale: the likelihood, and samples from the mixture, want a small one, samples from the prior a larger one. (1 is the largest of these. With $b=64$, which is what the averaged loss of the toy in 04_vae amounts to, the codes collapsed.) We take 1 as the default, since samples from the prior are what this course looks at. The logistic needs fewer bits than a density because its lowest bin has the whole tail below it: where the decoder says $m=-1$, a black pixel has a probability of about one half and costs about one bit (hardly less, since tanh stops $m$ at $-1$).
#
# Nor is the gap between prior and mixture a matter of the few images of `digits`. On MNIST, after 20 epochs with `latent = 16`, a Laplace scale of 1, Adam for all weights, batches of 128 and N = 10,000 samples (floor 0.86 ± 0.09), `fd_lenet` was:
#
# | | prior | mixture | posterior | training on one CPU core |
# |---|---|---|---|---|
# | dense layers (`network = "mlp"`) | 96.6 | 28.7 | 9.9 | 4 minutes |
# | residual (`width = 16`) | 54.1 | 4.0 | 3.6 | 22 minutes |
#
# The better network is almost as good as its own reconstructions once its codes are drawn from where they are, and loses a factor of ten or more to the prior.

# %% [markdown]
# ## Rate against distortion
#
# Read the two terms as a coding problem ([Alemi et al. 2018](https://arxiv.org/abs/1711.00464)). The KL term is the **rate** $R$: so many nats a code sends about its image. Minus the reconstruction term is the **distortion** $D$: so many nats are lost on the way. A VAE with weight $\beta$ minimises $D+\beta R$. So it settles at that point of the curve of possible pairs $(R,D)$ whose slope is $-\beta$: one nat more of rate is bought if it takes away at least $\beta$ nats of distortion. Along the diagonal lines, $D+R$, minus the ELBO, is the same.

# %%
betas = [0.1, 0.3, 1.0, 3.0, 10.0]
found = [train_variant("small", network="mlp", beta=beta, metrics=[])[1]["likelihood"] for beta in betas]
curve = pd.DataFrame(found, index=betas)
rate, distortion = curve.kl, -curve.reconstruction
assert (rate.diff()[1:] < 0).all() and (distortion.diff()[1:] > 0).all(), "a larger weight buys fewer nats"

# %%
fig, ax = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
ax.plot(rate, distortion, marker="o", color="C0")
for beta in betas:
    place = (rate[beta], distortion[beta])
    ax.annotate(rf"$\beta={beta:g}$", place, (6, 4), textcoords="offset points", fontsize=9)
along = np.array([0, rate.max() * 1.1])
for total in np.linspace((rate + distortion).min(), (rate + distortion).max(), 4):
    ax.plot(along, total - along, color="0.85", linewidth=0.8, zorder=0)
ax.set(xlabel="rate: KL term (nats per image)", ylabel="distortion (nats per image)")
ax.set_xlim(-0.5, rate.max() * 1.2)
ax.set_ylim(distortion.min() - 5, distortion.max() + 5);

# %%
slope = distortion.diff() / rate.diff()  # from the point with the next smaller weight
used = [sum(u > 0.1 for u in units) for units in curve.kl_units]
columns = {"rate": rate, "distortion": distortion, "slope": slope, "ELBO": curve.elbo, "numbers in use": used}
pd.DataFrame(columns).round(1).rename_axis("beta")

# %%
#| hide
if (dataset, size, epochs, seed) == ("digits", None, 60, 0):
    pairs = list(zip(betas[:-1], betas[1:], slope[1:], strict=True))
    assert all(-larger < s < -smaller for smaller, larger, s in pairs), "the slope is minus the weight"
    assert curve.elbo.idxmax() == 1, "what was trained for"

# %% [markdown]
# The slope between two neighbours lies between minus the one weight and minus the other, as it should. At $\beta=1$ the ELBO is best, since nothing else was asked for there, on training images. A smaller weight is not a mistake: it buys more nats of code than the bound finds worth their price, and reconstructions are better for it, as in the table of scales above. At $\beta=10$ no number is in use (none has more than 0.1 nats), and that is where the rate ends.

# %% [markdown]
# ## Posterior collapse
#
# In 04_vae a hidden $\beta$ of 64 made codes not worth their price, and the model gave them up. That was the best it could do with its loss. Collapse also happens where codes would be worth it, if the decoder is good at doing without them ([Bowman et al. 2016](https://arxiv.org/abs/1511.06349)). Such a decoder is one that sees a part of the image it is to reconstruct. Ours makes an image row by row and is shown the row above, the true one. That is a proper likelihood, $p(x\,|\,z)=\prod_ip(\text{row}_i\,|\,\text{row}_{i-1},z)$. Text models, which see all words so far, are the well-known case.
#
# At first the codes are noise. The decoder learns to use the row above, which says much, and the KL term presses the codes to nothing before it has learned to read them. Two remedies:
#
# - **KL warm-up** (Bowman et al. 2016): the weight of the KL term rises from 0 to 1, here over the first half of the training. Codes cost nothing while the decoder learns to read them.
# - **Free bits** ([Kingma et al. 2016](https://arxiv.org/abs/1606.04934), appendix C.8): each latent number has a quarter of a nat free. Below that its KL is not pressed any further: the loss has $\max(\lambda,\mathrm{KL}_j)$ in the place of $\mathrm{KL}_j$.

# %%
small = {split: to_model(load_dataset("digits", split, 8).images).flatten(1) for split in ("train", "test")}
classes = {split: load_dataset("digits", split, 8).labels for split in ("train", "test")}


class RowByRow(nn.Module):
    "A decoder of 8x8 images that sees the code, the number of the row, and, if `sees`, the row above."

    def __init__(self, sees, latent=4, width=64):
        super().__init__()
        self.sees = sees
        self.net = nn.Sequential(
            nn.Linear(latent + 8 + 8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, 8), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z, x):
        rows, numbers = x.view(-1, 8, 8), torch.eye(8).expand(len(x), 8, 8)
        above = torch.cat([torch.zeros(len(x), 1, 8), rows[:, :-1]], 1)
        above = above if self.sees else torch.zeros_like(rows)
        return self.net(torch.cat([z[:, None].expand(-1, 8, -1), above, numbers], 2)).flatten(1)


# %%
def distortion_of(x, m, b=0.5):
    "Minus the log-likelihood of each image, Laplace with scale b."
    return ((x - m).abs() / b + math.log(2 * b)).sum(1)


def train_rows(seed, sees=True, warm_up=0, free=0.0, updates=600):
    "Encoder and decoder; the KL's weight rises over `warm_up` updates; each latent number has `free` nats."
    seed_everything(seed)
    encoder, decoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 8)), RowByRow(sees)
    opt = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 2e-3)
    for update in range(updates):
        x = small["train"][torch.randint(len(small["train"]), (128,))]
        mu, logvar = encoder(x).chunk(2, 1)
        m = decoder(reparameterise(mu, logvar), x)
        kl = kl_normal(mu, logvar).mean(0).clamp(min=free).sum()
        weight = min(1.0, update / warm_up) if warm_up else 1.0
        loss = distortion_of(x, m).mean() + weight * kl
        opt.zero_grad()
        loss.backward()
        opt.step()
    return encoder, decoder


# %% [markdown]
# What is measured, on test images: the KL term, the ELBO (with its full KL term, whatever was trained), and how often the ten nearest codes of training images tell the class of a code (all of them draws, as the decoder gets them); one in ten is chance.

# %%
@torch.no_grad()
def measure_rows(encoder, decoder):
    x, (mu, logvar) = small["test"], encoder(small["test"]).chunk(2, 1)
    kl = kl_normal(mu, logvar).sum(1)
    lost = [distortion_of(x, decoder(reparameterise(mu, logvar), x)) for _ in range(5)]
    elbo = -torch.stack(lost).mean(0) - kl
    z = {split: reparameterise(*encoder(images).chunk(2, 1)) for split, images in small.items()}
    neighbours = KNeighborsClassifier(10).fit(z["train"], classes["train"])
    accuracy = neighbours.score(z["test"], classes["test"])
    means = {"KL (nats)": kl.mean().item(), "ELBO (nats)": elbo.mean().item()}
    return means | {"class read from codes": accuracy}


# %%
def repeat(seeds=4, **how):
    "Measured for several seeds, a row each."
    return pd.DataFrame([measure_rows(*train_rows(i, **how)) for i in range(seeds)])


ways = {
    "does not see the row above": dict(sees=False),
    "sees it": dict(),
    "sees it, KL warm-up": dict(warm_up=300),
    "sees it, free bits": dict(free=0.25),
}
found = {way: repeat(**how) for way, how in ways.items()}


# %%
def interval(values):
    "Mean and 95% confidence interval over seeds (Student's t)."
    return plus_minus(*over_seeds(values))


pd.DataFrame({way: frame.apply(interval) for way, frame in found.items()}).T.rename_axis("decoder, 4 seeds")

# %%
#| hide
kl = {way: frame["KL (nats)"] for way, frame in found.items()}
assert kl["does not see the row above"].min() > kl["sees it"].max(), "the row above tells it already"
assert kl["sees it, KL warm-up"].mean() > kl["sees it"].mean()
assert kl["sees it, free bits"].min() > kl["sees it"].max()

# %% [markdown]
# Without the row above, the codes carry two nats, and they know something of the class. With it, the *bound is much better*, and the codes are nearly empty: what little they carry differs from seed to seed. So a good ELBO does not tell that a model has learned to encode anything. With KL warm-up the codes carry something for every seed, at no cost in the bound. Free bits give about as many nats as are free, four times a quarter, and the ELBO does not gain by it. Neither brings back what a decoder without the row above had to put into its codes: what the row above tells need not be told twice.

# %% [markdown]
# ## Learning from a discriminator
#
# A VAE is blurry because its likelihood judges pixel by pixel. If a stroke might run here or one pixel to the right, the image of least expected squared error is the mean of the two, a grey smear; that of least absolute error is the pixelwise median, in which strokes vanish that are nowhere likelier than not. Neither looks like the data. [Larsen et al. 2016](https://arxiv.org/abs/1512.09300) let a discriminator judge instead, a network that learns to tell real images from generated ones ([01_gan](01_gan.ipynb)), in two ways. Its *features* (what its last convolution sees) replace pixels in the reconstruction term: being right about "a stroke here, this thick" counts more than being right about each pixel. And its *verdict* is the decoder's second teacher, on decoded codes of real images and on decoded draws from the prior, as in a GAN.
#
# Who learns from what? The encoder from the KL term and the reconstruction; the decoder from the reconstruction and the verdict; the discriminator from its own loss. So the verdict's gradient stops at $z$ (`detach`). The mean squared difference of features is multiplied by `FEATURES`, which plays the part that the likelihood's scale plays for pixels and decides how many nats a code may have. The loss of this model is no ELBO, and none is reported.

# %%
#| export
FEATURES = 30.0  # weight of the mean squared difference of features against one nat of KL


def larsen_losses(
    vae: VAE,
    D: Discriminator,
    x: torch.Tensor,  # real images (B, C, H, W)
    z: torch.Tensor,  # their codes (B, d)
    m: torch.Tensor,  # what the decoder made of these
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # feature distance, verdict on the decoder, loss of D
    """The parts of a VAE-GAN's loss, after Larsen et al. 2016, algorithm 1.

    The verdict is the non-saturating one, and fakes of both kinds are in one average.
    """
    features = D.features  # all but the last convolution
    distance = FEATURES * (features(x).detach().float() - features(m).float()).square().mean()
    fakes = vae.decode(torch.cat([z.detach(), torch.randn_like(z)]))
    loss_D = bce_d_loss(D(x).float(), D(fakes.detach()).float())
    return distance, nonsaturating_g_loss(D(fakes).float()), loss_D


# %% [markdown]
# An update has one step for the VAE and one for the discriminator. The loop around it is that of a VAE.

# %%
#| export
def make_discriminator(config: VAEConfig, data: ImageSet) -> Discriminator:
    "DCGAN's, as wide as the VAE is at half the resolution."
    _, channels, size, _ = data.images.shape
    return Discriminator(channels, size, channels_of(config, size)).apply(init_weights)


# %%
#| export
def update_vae_gan(
    vae: VAE, D: Discriminator, optimizers: dict, opt_D, x: torch.Tensor, config: VAEConfig, accelerator
) -> dict[str, torch.Tensor]:
    "An update of a VAE-GAN on real images x (B, C, H, W); returns its losses by their names in the history."
    with accelerator.autocast():
        mu, logvar = vae.encode(x)
        z = reparameterise(mu, logvar)
        m = vae.decode(z)
        distance, verdict, loss_D = larsen_losses(vae, D, x, z, m)
    kl = kl_normal(mu, logvar).sum(1).mean()
    loss = distance + config.beta * kl + config.adversarial * verdict

    vae.zero_grad()
    accelerator.backward(loss)
    for optimizer in optimizers.values():
        optimizer.step()
    opt_D.zero_grad()  # of what the VAE's step left there
    accelerator.backward(loss_D)
    opt_D.step()
    return {"loss": loss, "reconstruction": distance, "kl": kl, "loss_d": loss_D}


# %%
#| export
def both_optimizers(vae: VAE, D: Discriminator, config: VAEConfig) -> tuple[dict, torch.optim.Adam]:
    "The VAE's optimizers, and Adam for the discriminator; both with DCGAN's first moment."
    return vae_optimizers(vae, config, 0.5), make_adam([*D.parameters()], 2e-4, (0.5, 0.999))


# %%
#| export
def train_vae_gan(run: Run, epochs: int, network: tuple[nn.Module, nn.Module] | None = None) -> VAE:
    "Train a VAE-GAN until `epochs` epochs are done, from where it stands; returns the VAE to sample from."
    config, accelerator = run.config, make_accelerator(run.config.precision)
    data = config.training_set()
    vae = start_vae(config, data, network).to(accelerator.device)
    if run.load_weights(epochs, vae):
        return vae
    D, average = make_discriminator(config, data).to(accelerator.device), EMA(vae, config.ema)
    optimizers, opt_D = both_optimizers(vae, D, config)

    def count(vae: VAE, D: Discriminator, x: torch.Tensor, _) -> None:
        update_vae_gan(vae, D, *both_optimizers(vae, D, config), x, config, accelerator)

    run.costs = count_costs(count, config, data, vae, D)
    parts = {"vae": vae, "average": average, "D": D, "opt_D": opt_D} | optimizers
    for x, _ in run.batches(data, epochs, accelerator.device, **parts):
        losses = update_vae_gan(vae, D, optimizers, opt_D, x, config, accelerator)
        average.update(vae)
        run.log(**losses)
    run.keep_weights(epochs, average.model)
    return average.model


# %% [markdown]
# `train_vae` of 04_vae passes on to this function where `adversarial` is above 0. Sampling and scoring are the same.

# %%
hybrid, m = train_variant("vae-gan", adversarial=1.0)
show_grid(run.samples(epochs)[:32], ncol=16, title="VAE: samples from the prior")
show_grid(hybrid.samples(epochs)[:32], ncol=16, title="VAE-GAN: samples from the prior")
ax = plot_reconstructions(hybrid.pictures(epochs))
ax.set_title("VAE-GAN: test images and their reconstructions", fontsize=9);


# %%
def sharpness(images):
    "Mean squared difference of neighbouring pixels, in grey levels squared."
    x = images.double()
    return (x.diff(dim=2).square().mean() + x.diff(dim=3).square().mean()).item() / 2


table = {"real (test set)": {"sharpness": sharpness(test.images)}}
for label, r in (("VAE", run), ("VAE-GAN", hybrid)):
    m = r.metrics(epochs)
    measured = {"KL (nats)": m["likelihood"]["kl"], "sharpness": sharpness(r.samples(epochs))}
    table[label] = distances(m) | measured
pd.DataFrame(table).T.round(2)

# %%
#| hide
if (dataset, size, epochs, seed) == ("digits", None, 60, 0):
    assert table["VAE-GAN"]["fd_lenet, prior"] < table["VAE"]["fd_lenet, prior"]
    assert table["VAE"]["sharpness"] < table["VAE-GAN"]["sharpness"], "a VAE is blurry"

# %% [markdown]
# Sharper, and from the *prior* nearer to the data. So it is on MNIST (Adam for all weights, batches of 128, N = 10,000, 20 epochs), where from the mixture and the posterior the plain VAE is nearer:
#
# | `fd_lenet` | prior | mixture | posterior | recall |
# |---|---|---|---|---|
# | VAE | 54.1 | 4.0 | 3.6 | 0.90 |
# | VAE-GAN | 29.7 | 23.5 | 18.2 | 0.54 |
#
# The VAE-GAN's samples are less varied, as its recall says. On both data sets its samples from the mixture are better than those from the prior, though the verdict was given on draws from the prior, too. The price: training is a game again, with its swings and its luck. There is no likelihood any more. And reconstructions keep what the discriminator cares about rather than the pixels. `FEATURES` is the knob between the two: a larger one asks for closer reconstructions and leaves less weight to the verdict.

# %% [markdown]
# ## What to remember
#
# - Scale and $\beta$ say how many nats of reconstruction a nat of code is worth. There is no single best value: the likelihood wants a small scale, samples from the prior a larger one.
# - A decoder that can do without codes will. Watch the KL term by itself. KL warm-up lets codes become useful before they cost; free bits force them.
# - A discriminator makes samples sharper, and brings back the swings of a game and the loss of a likelihood.
#
# ## Exercises
#
# Runs are found by their *parameters*, not by the code. Whenever you change code, give the run another `name`, too, or you will see the old result.
#
# 1. Add a draw from the likelihood to the decoder's $m$ (with a Laplace scale of 1, then with a learned one) before turning it into an image. What does `fd_lenet` say, and is it right?
# 2. Make one whole nat free for each latent number (`free=1.0` in `train_rows`). How many nats do the codes carry then, and what does the ELBO say?

# %% [markdown]
# ## Solutions
#
# <details><summary>1. With a draw from the likelihood</summary>
#
#     from genlab.data import to_image
#     from genlab.fid import evaluate
#     from genlab.vae import draw_codes
#
#     @torch.no_grad()
#     def with_noise(net, n):
#         m = net.decode(draw_codes(net, n, seed))
#         return to_image(torch.distributions.Laplace(m, net.log_scale.exp()).sample())
#
#     learned = run_vae(config.model_copy(update={"name": "learned", "scale": None, "snapshots": []}))
#     vae, other = make_vae(config, data), make_vae(learned.config, data)
#     run.load_weights(epochs, vae)
#     learned.load_weights(epochs, other)
#     for r, net in ((run, vae), (learned, other)):
#         noisy = evaluate(with_noise(net, r.metrics(epochs)["n_samples"]), dataset)["fd_lenet"]["value"]
#         b, fd = net.log_scale.exp().item(), r.metrics(epochs)["scores"]["fd_lenet"]["value"]
#         print(f"b = {b:.2f}: fd_lenet {fd:.0f}, with the draw {noisy:.0f}")
#
# (`to_image` clips what leaves the range, which a draw often does.) The samples' `fd_lenet` goes from 47 to 279 with $b=1$, and from 112 to 114 with the learned scale, which is $b=0.03$.
#
# Is it right? Yes: these, and not the decoder's $m$, are draws from $p_\theta(x)$, the distribution whose likelihood we maximise and report. The distance says that this distribution is far from the data, and it is: its pixels have independent noise around $m$, with $b=1$ as wide as the whole range of greys (a standard deviation of $\sqrt2\,b$), and no image of the data has that. What one usually shows, $m$, comes from another model that has no likelihood. But do not read much into how large the number is, since LeNet has never seen such noise.
#
# </details>
#
# <details><summary>2. A whole nat free</summary>
#
#     print(repeat(free=1.0).apply(interval))
#
# The codes carry 3.8 ± 0.2 nats then, nearly the four that are free, and their class can be read in three cases of five. The ELBO is −13.6 ± 0.1 instead of −12.5 ± 0.1: nats that do not pay for themselves. Free bits answer the question how much a code should carry by decree.
#
# </details>
