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
# # Generative adversarial networks
#
# > Two networks, one of which learns to make what the other cannot tell from real: the DCGAN, its losses, its training loop and what to watch for
#
# A painter of forgeries and an expert sit in a room. The painter has never seen an original. She shows the expert a picture; the expert, who also sees originals, says how likely it is to be one. Both learn from the verdict. If all goes well the forgeries end up as good as the originals, and the expert can only guess.
#
# In a **generative adversarial network** ([Goodfellow et al. 2014](https://arxiv.org/abs/1406.2661)) the painter is the **generator** $G$, a network that turns random numbers $z\sim\mathcal N(0,I)$ into an image $G(z)$; the expert is the **discriminator** $D$, which turns an image $x$ into a probability $D(x)$ that it is real. This notebook builds the deep convolutional version, DCGAN ([Radford et al. 2016](https://arxiv.org/abs/1511.06434)), trains it, and measures it.
#
# Change the parameters below and run the notebook, or run it from a shell: `papermill nbs/01_gan.ipynb out.ipynb -p dataset mnist -p epochs 20`.

# %%
#| default_exp gan

# %% tags=["parameters"]
dataset = "digits"  # digits, mnist, fashion_mnist, cifar10 or folder:PATH
epochs = 60  # passes over the training set
snapshots = [1, 5, 20]  # look at the model after these epoch counts, too
name = "dcgan"  # a word for the run's folder
size = None  # pixels a side, a multiple of 4; None: the data set's own
batch_size = 128  # images in an update
lr = 2e-4  # Adam's learning rate, for both networks
beta1 = 0.5  # Adam's decay of the gradient's mean
latent = 100  # numbers in z
width = 64  # channels at half the image's resolution; doubled at each further halving
ema = 0.0  # sample from a moving average of G's weights with this decay; 0: from the last weights
seed = 0  # all randomness follows from it
precision = "no"  # bf16: bfloat16 autocast
n_samples = None  # images to draw and score; None: as many as there are test images
metrics = ["fd_lenet"]  # fd_lenet, precision, recall, memorisation and more: see 05_fid

# %%
#| export
import time
from typing import ClassVar, Literal

import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, PositiveInt
from torch import nn

from genlab.data import ImageSet, load_dataset, to_image
from genlab.fid import check_metrics, evaluate
from genlab.runs import EMA, Run, RunConfig, latents, make_accelerator, seed_everything

# %%
#| hide
import matplotlib.pyplot as plt
import pytest

from genlab.data import show_grid
from genlab.runs import plot_history


# %% [markdown]
# ## What defines a GAN run
#
# On top of what every run has (data set, batch size, seed, ...: see [00_runs](00_runs.ipynb)), a GAN has the settings below. Learning rate, $\beta_1$, batch size and the 100 latent numbers are the DCGAN paper's, the width is that of its authors' code. The paper draws $z$ uniformly; we draw it from a normal distribution, as has become usual.

# %%
#| export
class GANConfig(RunConfig):
    "A DCGAN run."

    log_line: ClassVar[str] = (
        "Loss_D: {loss_d:.4f}  Loss_G: {loss_g:.4f}  D(x): {d_x:.4f}  D(G(z)): {d_g_z1:.4f} / {d_g_z2:.4f}"
    )

    model: Literal["gan"] = "gan"
    name: str = Field("dcgan", pattern=r"^[\w.-]+$")
    latent: PositiveInt = 100  # dimension of z
    width: PositiveInt = 64  # channels at half the image's resolution; doubled at each further halving
    lr: PositiveFloat = 2e-4  # Adam's learning rate, for both networks
    beta1: float = Field(0.5, ge=0, lt=1)  # Adam's decay of the gradient's mean


# %%
config = GANConfig(
    dataset=dataset, epochs=epochs, snapshots=snapshots, name=name, size=size, batch_size=batch_size, lr=lr, beta1=beta1,
    latent=latent, width=width, ema=ema, seed=seed, precision=precision, n_samples=n_samples, metrics=metrics,
)  # fmt: skip
data = load_dataset(config.dataset, "train", config.size)
show_grid(data.images[:32], ncol=16, title=f"{dataset}: real images");

# %% [markdown]
# ## The game and its value
#
# The discriminator wants to be right about real and generated images; the generator wants it to be wrong. Both pull at one number,
#
# $$ \min_G\max_D V(D,G)=\mathbb E_{x}\big[\log D(x)\big]+\mathbb E_{z}\big[\log\big(1-D(G(z))\big)\big]. $$
#
# For a fixed generator, whose images have the density $p_g$, the best discriminator is $D^*(x)=p(x)/(p(x)+p_g(x))$: at each $x$, maximise $p\log D+p_g\log(1-D)$. Putting it back gives $V(D^*,G)=2\,\mathrm{JSD}(p,p_g)-\log 4$. Here $\mathrm{KL}(a\Vert b)=\int a\log\frac ab$ measures how far a density $a$ is from $b$, and the *Jensen-Shannon divergence* $\mathrm{JSD}(p,p_g)=\frac12\mathrm{KL}(p\Vert m)+\frac12\mathrm{KL}(p_g\Vert m)$ with $m=\frac12(p+p_g)$ is zero if $p_g=p$ and positive otherwise. So the best a generator can do is $p_g=p$; then $D^*=\frac12$ everywhere and the expert guesses. We check both statements on two one-dimensional densities, by adding up over a fine grid:

# %%
x = torch.linspace(-8, 8, 4001, dtype=torch.float64)
p, p_g = (torch.exp(torch.distributions.Normal(m, s).log_prob(x)) for m, s in [(-1.0, 1.0), (1.0, 1.5)])


def value(D):
    return torch.trapezoid(p * D.log() + p_g * (1 - D).log(), x)


def kl(a, b):
    return torch.trapezoid(a * (a / b).log(), x)


best = p / (p + p_g)
jsd = (kl(p, (p + p_g) / 2) + kl(p_g, (p + p_g) / 2)) / 2
assert torch.isclose(value(best), 2 * jsd - torch.tensor(4.0).log(), atol=1e-8)
for other in (best * 0.9, best * 0.9 + 0.1, torch.full_like(x, 0.5)):
    assert value(other) < value(best)

# %%
fig, ax = plt.subplots(figsize=(5, 2.4), layout="constrained")
for curve, label in [(p, "data $p$"), (p_g, "generator $p_g$"), (best, "best discriminator $D^*$")]:
    ax.plot(x, curve, label=label)
ax.set(xlabel="$x$", ylabel="density, or $D^*$", title=f"$V(D^*, G)$ = {value(best):.3f}; with $p_g=p$ it would be $-\\log 4$ = -1.386")
ax.legend(frameon=False);

# %% [markdown]
# On the far left $D^*$ falls again: the generator's density is the wider one, so a point far out is more likely to be its own.
#
# ### Why the generator does not minimise the value
#
# Early in training the forgeries are bad and $D(G(z))\approx0$. The discriminator outputs a *logit* $a$, with $D=\sigma(a)=1/(1+e^{-a})$. The generator's term $\log(1-\sigma(a))$ has the slope $-\sigma(a)$ in $a$: next to nothing exactly when the generator is worst. The game *saturates*. Goodfellow's remedy is to minimise $-\log D(G(z))$ instead. The fixed point of the game stays, and the slope $-(1-\sigma(a))$ is steepest where the generator is worst:

# %%
a = torch.linspace(-8, 8, 201, dtype=torch.float64, requires_grad=True)
saturating, nonsaturating = F.logsigmoid(-a), -F.logsigmoid(a)  # log(1 - D) and -log D, to be minimised
slopes = [torch.autograd.grad(loss.sum(), a)[0] for loss in (saturating, nonsaturating)]
assert torch.allclose(slopes[0], -a.sigmoid()) and torch.allclose(slopes[1], a.sigmoid() - 1)
fig, axes = plt.subplots(1, 2, figsize=(7, 2.4), layout="constrained")
for ax, curves, title in [(axes[0], (saturating, nonsaturating), "generator's loss"), (axes[1], slopes, "its slope")]:
    for curve, label in zip(curves, ("min-max: $\\log(1-D)$", "non-saturating: $-\\log D$"), strict=True):
        ax.plot(a.detach(), curve.detach(), label=label)
    ax.set(xlabel="logit $a$ of $D(G(z))$", title=title)
    ax.axvspan(-8, -3, color="0.9")
axes[0].set_ylabel("nats")
axes[1].set_ylabel("nats per unit of logit")
axes[1].text(-5.5, -0.5, "bad\nforgeries", ha="center")
axes[0].legend(frameon=False, loc="lower left");


# %% [markdown]
# Both losses are binary cross-entropies of the logits: with target 1 for what should be called real, 0 for what should be called fake. Computing them from logits rather than from probabilities avoids $\log 0$.

# %%
#| export
def discriminator_loss(
    real_logits: torch.Tensor,  # D's logits of real images (B,)
    fake_logits: torch.Tensor,  # and of generated ones (B,)
) -> torch.Tensor:  # scalar, nats
    "-log D(x) - log(1 - D(G(z))), averaged over the batch (Goodfellow et al. 2014, eq. 1, sign turned)."
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: torch.Tensor) -> torch.Tensor:
    "The non-saturating loss -log D(G(z)), averaged over the batch (Goodfellow et al. 2014, section 3)."
    return F.softplus(-fake_logits).mean()


# %%
real_logits, fake_logits = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])
bce = F.binary_cross_entropy_with_logits
assert torch.isclose(discriminator_loss(real_logits, fake_logits), bce(real_logits, torch.ones(2)) + bce(fake_logits, torch.zeros(2)))
assert torch.isclose(generator_loss(fake_logits), bce(fake_logits, torch.ones(2)))
assert torch.isclose(discriminator_loss(torch.zeros(1), torch.zeros(1)), torch.tensor(4.0).log()), "a guessing D has loss log 4"
assert generator_loss(torch.tensor([-1e4])).isfinite()


# %% [markdown]
# ## The networks
#
# DCGAN's recipe: no pooling and no hidden dense layers, only (transposed) convolutions, which halve or double the resolution by their stride of 2; batch normalisation except at the ends; ReLU in the generator, leaky ReLU in the discriminator; tanh at the generator's output, because images live in [-1, 1].
#
# A side is halved until it is odd or less than 8: 16 → 8 → 4, 28 → 14 → 7, 32 → 16 → 8 → 4, 64 → 32 → 16 → 8 → 4. The discriminator goes down these stairs and the generator up, with the number of channels doubled at each step down.

# %%
#| export
def stairs(size: int) -> list[int]:
    "The resolutions of a DCGAN from the image down: stairs(28) = [28, 14, 7]. ValueError if `size` is no multiple of 4."
    if size % 4 or size < 8:
        raise ValueError(f"size: a DCGAN halves images twice at least, and {size} pixels cannot be; choose a multiple of 4 from 8 on.")
    steps = [size]
    while steps[-1] % 2 == 0 and steps[-1] >= 8:
        steps.append(steps[-1] // 2)
    return steps


# %%
#| export
class Generator(nn.Module):
    "z (B, latent) to images (B, channels, size, size) in [-1, 1] (Radford et al. 2016)."

    def __init__(self, latent: int, channels: int, size: int, width: int = 64):
        super().__init__()
        *ups, base = stairs(size)
        self.latent, w = latent, width * 2 ** (len(ups) - 1)
        layers = [nn.Unflatten(1, (latent, 1, 1)), nn.ConvTranspose2d(latent, w, base, bias=False), nn.BatchNorm2d(w), nn.ReLU()]
        for _ in ups[1:]:
            layers += [nn.ConvTranspose2d(w, w // 2, 4, 2, 1, bias=False), nn.BatchNorm2d(w // 2), nn.ReLU()]
            w //= 2
        self.net = nn.Sequential(*layers, nn.ConvTranspose2d(w, channels, 4, 2, 1), nn.Tanh())

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.net(z)


# %%
#| export
class Discriminator(nn.Module):
    "Images (B, channels, size, size) in [-1, 1] to logits (B,): positive means real (Radford et al. 2016)."

    def __init__(self, channels: int, size: int, width: int = 64):
        super().__init__()
        *downs, base = stairs(size)
        w, layers = width, [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for _ in downs[1:]:
            layers += [nn.Conv2d(w, w * 2, 4, 2, 1, bias=False), nn.BatchNorm2d(w * 2), nn.LeakyReLU(0.2)]
            w *= 2
        self.net = nn.Sequential(*layers, nn.Conv2d(w, 1, base), nn.Flatten(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


# %% [markdown]
# A convolution without bias stands before each batch normalisation, which would take the bias out again. Weights start small, from $\mathcal N(0, 0.02^2)$; batch-norm gains from $\mathcal N(1, 0.02^2)$. To see what the layers do, `layer_table` hangs a hook on each of them that notes what it returns:

# %%
#| export
def init_weights(module: nn.Module) -> None:
    "DCGAN's initialisation of one layer; use as `net.apply(init_weights)` (Radford et al. 2016, section 4; gains as in its authors' code)."
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


# %%
#| export
def layer_table(
    net: nn.Module,
    x: torch.Tensor,  # an input of the network
) -> pd.DataFrame:  # layer, output shape without the batch, parameters
    "What each layer makes of `x`, and how many parameters it has."
    rows, hooks = [], []
    for layer in (m for m in net.modules() if not list(m.children())):
        row = lambda m, _, y: rows.append((type(m).__name__, tuple(y.shape[1:]), sum(p.numel() for p in m.parameters())))
        hooks.append(layer.register_forward_hook(row))
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    return pd.DataFrame(rows, columns=["layer", "output shape", "parameters"])


# %%
channels, pixels = data.images.shape[1], data.images.shape[-1]
G = Generator(latent, channels, pixels, width).apply(init_weights)
layer_table(G, torch.randn(2, latent))

# %%
D = Discriminator(channels, pixels, width).apply(init_weights)
layer_table(D, torch.zeros(2, channels, pixels, pixels))

# %%
assert [stairs(s) for s in (16, 28, 32, 64)] == [[16, 8, 4], [28, 14, 7], [32, 16, 8, 4], [64, 32, 16, 8, 4]]
for s in (16, 28, 32, 64):
    for c in (1, 3):
        fake = Generator(10, c, s, 8)(torch.randn(3, 10))
        assert fake.shape == (3, c, s, s) and fake.abs().max() <= 1
        assert Discriminator(c, s, 8)(fake).shape == (3,)
with pytest.raises(ValueError, match="30 pixels cannot be"):
    Generator(10, 1, 30)
seed_everything(0)
big = nn.Conv2d(64, 64, 4).apply(init_weights).weight  # 65,536 weights: the spread is known to 0.3 %
assert abs(big.std() - 0.02) < 3e-4 and abs(big.mean()) < 3e-4


# %% [markdown]
# ## The training loop
#
# One update has two halves. First the discriminator sees a batch of real images and a batch of fakes and takes a step; then the generator takes a step against the discriminator *as it has just become*. The same fakes serve for both; `detach` keeps the discriminator's loss from reaching into the generator. Three numbers are logged besides the losses: $D(x)$, the mean verdict on real images, and the mean $D(G(z))$ on the fakes before and after the discriminator's step.
#
# `run.batches` is where a data loader usually stands; it also restores, saves and seeds ([00_runs](00_runs.ipynb)). Calling `train_gan` with 5 epochs and then with 20 trains 20 in all.

# %%
#| export
def make_networks(config: GANConfig, data: ImageSet) -> tuple[Generator, Discriminator]:
    "Freshly initialised networks for images like those of `data`; the seed decides the weights."
    _, channels, size, _ = data.images.shape
    seed_everything(config.seed, 0)
    G = Generator(config.latent, channels, size, config.width).apply(init_weights)
    return G, Discriminator(channels, size, config.width).apply(init_weights)


# %%
#| export
def train_gan(run: Run, epochs: int) -> Generator:
    "Train `run` until `epochs` epochs are done, from where it stands; returns the generator to sample from."
    config, accelerator = run.config, make_accelerator(run.config.precision)
    data = load_dataset(config.dataset, "train", config.size)
    G, D = (net.to(accelerator.device) for net in make_networks(config, data))
    if run.load_weights(epochs, G):
        return G
    average = EMA(G, config.ema)
    opt_G, opt_D = (torch.optim.Adam(net.parameters(), config.lr, betas=(config.beta1, 0.999)) for net in (G, D))
    G, D, opt_G, opt_D = accelerator.prepare(G, D, opt_G, opt_D)

    for real, _ in run.batches(data, epochs, accelerator.device, G=G, D=D, average=average, opt_G=opt_G, opt_D=opt_D):
        fake = G(torch.randn(len(real), config.latent, device=real.device))

        # The discriminator's step: call real images real, and fakes fake.
        real_logits, fake_logits = D(real), D(fake.detach())
        loss_D = discriminator_loss(real_logits, fake_logits)
        opt_D.zero_grad()
        accelerator.backward(loss_D)
        opt_D.step()

        # The generator's step: have the fakes called real.
        new_logits = D(fake)
        loss_G = generator_loss(new_logits)
        opt_G.zero_grad()
        accelerator.backward(loss_G)
        opt_G.step()

        average.update(G)
        d_x, d_g_z1, d_g_z2 = (logits.sigmoid().mean() for logits in (real_logits, fake_logits, new_logits))
        run.log(loss_d=loss_D, loss_g=loss_G, d_x=d_x, d_g_z1=d_g_z1, d_g_z2=d_g_z2)
    run.keep_weights(epochs, average.model)
    return average.model


# %% [markdown]
# Sampling is one forward pass. In `eval` mode batch normalisation uses its running means and variances, so that an image depends on its own latent and not on its neighbours in the batch. They trail behind: each update takes a tenth of the new value, so after the 11 updates of one epoch on `digits` $0.9^{11}=31\,\%$ of their initial values is still in them, and the first samples are greyer and more alike than what the discriminator saw. Latent $i$ comes from seed $(seed, i)$: the same latents after every epoch count, so that one sees the *same* digit improve.

# %%
#| export
@torch.no_grad()
def sample_gan(
    G: Generator,
    n: int,  # number of images
    seed: int = 0,  # image i depends on (seed, i) only
) -> torch.Tensor:  # uint8 (n, C, H, W), on the CPU
    "Images from a generator."
    device = next(G.parameters()).device
    z = latents(n, (G.latent,), seed)
    return torch.cat([to_image(G.eval()(batch.to(device))).cpu() for batch in z.split(500)])


# %% [markdown]
# And all of it together, for each epoch count that was asked for and is not on disk yet:

# %%
#| export
def run_gan(config: GANConfig) -> Run:
    "Train, sample and score at each epoch count that `config` asks for; what is on disk already is not done again."
    run = Run(config)
    with run.lock():
        for epochs in run.pending():
            n_test = check_metrics(config.dataset, config.size, config.metrics)
            G = train_gan(run, epochs)
            start = time.perf_counter()
            samples = sample_gan(G, config.n_samples or n_test, config.seed)
            seconds = time.perf_counter() - start
            scores = evaluate(samples, config.dataset, config.metrics)
            run.finish(epochs, samples, scores=scores, sample_seconds=seconds)
    return run


# %% [markdown]
# ## Training
#
# A line is printed now and then: [epoch/epoch count on the way to], [update/updates in an epoch], the two losses, and the verdicts before and after the discriminator's step. If this run is on disk already, nothing is trained.

# %%
run = run_gan(config)
print("results in the runs folder, under", "/".join(run.folder.parts[-3:]))

# %% [markdown]
# ### Does sampling depend on the batch?
#
# A check of what was promised: the kept weights, asked for the first ten samples alone, draw what stands on disk, up to one grey level (another batch size may round a float the other way).

# %%
G = make_networks(config, data)[0]
assert run.load_weights(epochs, G)
kept = run.samples(epochs)
alone = sample_gan(G, min(10, len(kept)), config.seed)
assert (alone.int() - kept[:10].int()).abs().max() <= 1, "drawn alone, an image differs by rounding at most"

# %% [markdown]
# ### The losses
#
# In most of machine learning a falling loss means progress. Not here: each network's loss is measured against an opponent that improves, too. What one hopes to see is a *balance*. If `Loss_D` goes to zero, the discriminator has won: the slope in the logit is still large, but it no longer says in which direction an image would become more real ([Arjovsky and Bottou 2017](https://arxiv.org/abs/1701.04862)); if $D(x)$ and $D(G(z))$ both settle around one half, the discriminator can hardly tell (its loss is then $\log 4\approx1.39$). The two losses swing in opposite directions, often abruptly: the generator finds a weakness, the discriminator learns to see it. Report 000 saw the same oscillations.

# %%
history = run.history or pd.read_csv(run.folder / "history.csv").to_dict("records")
fig, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
plot_history(history, {"loss_d": "Loss_D", "loss_g": "Loss_G"}, "loss (nats)", axes[0])
plot_history(history, {"d_x": "$D(x)$", "d_g_z1": "$D(G(z))$ before", "d_g_z2": "$D(G(z))$ after"}, "mean verdict", axes[1])
axes[0].axhline(1.386, color="0.6", linewidth=0.8, linestyle="--")
axes[1].axhline(0.5, color="0.6", linewidth=0.8, linestyle="--")
fig.suptitle("losses and verdicts; dashed: a discriminator that guesses");

# %% [markdown]
# The same as a log, in the format of report 000:

# %%
for row in history[:: max(1, len(history) // 8)][-8:]:
    print(f"[{row['epoch']}/{epochs}][{row['i']}/{-(-len(data.images) // batch_size)}] " + config.log_line.format(**row))

# %% [markdown]
# ### The samples
#
# The same 32 latents after each epoch count, and real images below.

# %%
for e in run.evaluated():
    show_grid(run.samples(e)[:32], ncol=16, title=f"generated after {e} epoch{'s' * (e > 1)}")
show_grid(load_dataset(dataset, "test", size).images[:32], ncol=16, title="real (test set)");


# %% [markdown]
# ### The numbers
#
# `fd_lenet` is the Frechet distance of the samples to the test set in the features of a small classifier ([05_fid](05_fid.ipynb)); the floor is what as many real training images have.

# %%
def row(e):
    m = run.metrics(e)
    fd = m["scores"].get("fd_lenet", {})
    return {
        "epochs": e, **{k: round(m["losses"][k], 2) for k in ("loss_d", "loss_g", "d_x")},
        "fd_lenet": fd.get("value"), "floor": fd.get("floor"), "N": m["n_samples"], "training (s)": m["train_seconds"],
    }  # fmt: skip


pd.DataFrame(map(row, run.evaluated())).round(2)

# %%
first, last = (run.metrics(e) for e in (run.evaluated()[0], run.evaluated()[-1]))
if config == GANConfig(epochs=60, snapshots=[1, 5, 20]):  # the parameters as they stand above
    assert last["scores"]["fd_lenet"]["value"] < 0.3 * first["scores"]["fd_lenet"]["value"]
    assert last["scores"]["fd_lenet"]["value"] > 0.25 * last["scores"]["fd_lenet"]["floor"], "far better than real would be a bug"

# %% [markdown]
# ## What to watch for
#
# - **The discriminator wins.** `Loss_D` near 0, $D(x)$ near 1, $D(G(z))$ near 0, samples that no longer change. Slow the discriminator down, or use fewer of its updates.
# - **Mode collapse.** Many samples look alike, and the losses need not show it. Look at the grid: are all ten digits there?
# - **More epochs need not be better.** Compare distances, not losses, and look at more epoch counts than four before you say that a model has stopped improving. Does a moving average of the weights (`-p ema 0.99`) help? See exercise 1.
# - **Seeds.** A GAN's result varies from seed to seed ([Lucic et al. 2018](https://arxiv.org/abs/1711.10337)). Two runs are not a comparison.
#
# ## Exercises
#
# 1. Train with `-p ema 0.99`. What changes in the table, and what in the loss curves? Why not in the curves?
# 2. Leave out `detach()`. Why does PyTorch now refuse the generator's step? Make it run with `retain_graph=True` in the discriminator's `backward`: what has that step left in the generator's `.grad`, and why does it do no harm? (Look where `zero_grad` stands.)
# 3. Let the generator minimise $\log(1-D(G(z)))$. How many epochs until the samples look like anything?
# 4. Count how often each digit is generated, with the classifier of [05_fid](05_fid.ipynb) (`load_lenet("digits")`). Is any class missing?
# 5. Where should the ends of the loss curves lie if $p_g=p$? Estimate from the table how far this model is from that, and discuss why the losses alone cannot tell.
