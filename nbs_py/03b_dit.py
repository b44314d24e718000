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
# # A transformer that sees the noise
#
# > The same task without convolutions: an image as a row of patches, attention among them, and the noise level as a dial on every layer
#
# The [U-Net](03_unet.ipynb) knows something about images before it has seen one: neighbours belong together, and what is true at one place is true at another. A transformer knows neither. It sees a set of vectors, *tokens*, and in each layer every token looks at all others. [Dosovitskiy et al. (2021)](https://arxiv.org/abs/2010.11929) cut images into squares, called each a token, and found that with enough images such a network recognises them as well as a convolutional one. [Peebles and Xie (2023)](https://arxiv.org/abs/2212.09748) put it in the U-Net's place: the **diffusion transformer**, DiT. Many large image generators since then are built like this.
#
# Here is a small one. Anything that trains a U-Net, such as [02_ddpm](02_ddpm.ipynb) or [02e_flow](02e_flow.ipynb), trains it with `-p network dit`. At the end the two compete, with equal numbers of operations.

# %%
#| default_exp dit

# %% tags=["parameters"]
dataset = "digits"  # images to train on
epochs = 20  # passes over the training set
seed = 0  # all randomness follows from it

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import torch
import torch.nn.functional as F
from torch import nn

from genlab.data import ImageSet
from genlab.ddpm import DDPMConfig
from genlab.plug import NETWORKS
from genlab.unet import embed, sinusoids, zero

# %%
#| hide
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from torch.utils.flop_counter import FlopCounterMode

from genlab.data import load_dataset, show_grid, to_model
from genlab.ddpm import make_diffusion, make_network, run_ddpm
from genlab.runs import LARGE, make_optimizers, seed_everything
from genlab.samplers import Noise
from genlab.unet import Attention


# %% [markdown]
# ## An image as a row of patches
#
# A patch of $p\times p$ pixels with $C$ channels is a list of $Cp^2$ numbers. An image of $H\times W$ pixels is $N=HW/p^2$ such lists, row by row. Nothing is lost, and there is a way back.

# %%
#| export
def to_patches(
    x: torch.Tensor,  # (B, C, H, W)
    patch: int,  # pixels a side; divides H and W
) -> torch.Tensor:  # (B, N, C * patch^2), N = H * W / patch^2, row by row
    "An image cut into squares (Dosovitskiy et al. 2021, section 3.1)."
    return F.pixel_unshuffle(x, patch).flatten(2).transpose(1, 2)


def from_patches(patches: torch.Tensor, patch: int, height: int) -> torch.Tensor:  # (B, C, H, W)
    "The image, `height` pixels high, that these patches (B, N, C * patch^2) are of: `to_patches` undone."
    return F.pixel_shuffle(patches.transpose(1, 2).unflatten(2, (height // patch, -1)), patch)


# %%
seed_everything(seed)
x = torch.randn(2, 3, 8, 12)
patches = to_patches(x, 4)
assert patches.shape == (2, 6, 48) and torch.equal(from_patches(patches, 4, 8), x)
assert torch.equal(patches[0, 4], x[0, :, 4:, 4:8].flatten()), "the fifth is in the second row, in its middle"

# %%
train = load_dataset("digits")
fig, axes = plt.subplots(1, 2, figsize=(7, 1.6), layout="constrained", width_ratios=(1, 4))
image = to_model(train.images[3:4])
axes[0].imshow(image[0, 0], cmap="gray")
axes[0].set(xticks=[], yticks=[], title="16x16 pixels")
show_grid(to_patches(image, 4)[0].view(16, 1, 4, 4), ncol=16, title="16 tokens of 4x4 pixels", ax=axes[1]);

# %% [markdown]
# A linear layer makes of each patch a token, a vector as wide as the network works with. The same layer for each square, without overlap: that is a convolution whose stride is its side.

# %%
layer, convolution = nn.Linear(48, 16), nn.Conv2d(3, 16, 4, stride=4)
convolution.weight.data = layer.weight.data.view(16, 3, 4, 4)
convolution.bias = layer.bias
assert torch.allclose(layer(patches), convolution(x).flatten(2).transpose(1, 2), atol=1e-6)


# %% [markdown]
# ## Attention does not know where
#
# **Self-attention** is that of [03_unet](03_unet.ipynb): each token makes a query, a key and a value, and gets the mean of all values, weighted by how well their keys match its query. Here it is for rows of tokens. What the U-Net's has around it, normalisation and addition, the block further down does itself.

# %%
#| export
class SelfAttention(nn.Module):
    """Tokens (B, N, width) look at each other (Vaswani et al. 2017).

    ValueError if the width cannot be shared among the heads."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"heads: tokens of width {width} cannot be shared among {heads} heads.")
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def queries_keys_values(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        "Three tensors (B, heads, N, width / heads)."
        return self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.scaled_dot_product_attention(*self.queries_keys_values(x))
        return self.out(y.transpose(1, 2).flatten(2))


# %% [markdown]
# With the same weights it says the same as the U-Net's:

# %%
attention, of_unet = SelfAttention(16, 4), Attention(16, 4)
for ours, theirs in ((attention.qkv, of_unet.qkv), (attention.out, of_unet.out)):
    theirs.weight.data, theirs.bias.data = ours.weight.data[:, :, None, None], ours.bias.data
x = torch.randn(2, 16, 3, 5)
tokens = of_unet.norm(x).flatten(2).transpose(1, 2)
as_image = attention(tokens).transpose(1, 2).view_as(x)
assert torch.allclose(x + as_image, of_unet(x), atol=1e-6)

# %% [markdown]
# There is no place in these formulas. Tokens in another order give the same results, in that order: attention is **equivariant** under permutations, like every layer that treats tokens one by one.

# %%
order = torch.randperm(15)
assert (attention(tokens[:, order]) - attention(tokens)[:, order]).abs().max() < 1e-6


# %% [markdown]
# For images that is too much symmetry: a digit and the same patches shuffled would be one and the same. So each token is told its place. The code of a place is that of a time ([03_unet](03_unet.ipynb#Telling-the-network-the-time)), twice: half of the numbers for the row, half for the column. It is added to the token, and it is not learned.

# %%
#| export
def position_codes(
    rows: int,
    columns: int,
    width: int,  # numbers that stand for a place, a multiple of 4; ValueError otherwise
    device: torch.device | str | None = None,
) -> torch.Tensor:  # float32 (rows * columns, width), row by row
    "Sines and cosines of the row, then those of the column (Peebles and Xie 2023, as He et al. 2022)."
    if width % 4:
        raise ValueError(f"width: {width} is no multiple of 4, which sines and cosines of two numbers need.")
    of_row, of_column = (sinusoids(torch.arange(n, device=device), width // 2) for n in (rows, columns))
    grid = of_row[:, None].expand(-1, columns, -1), of_column.expand(rows, -1, -1)
    return torch.cat(grid, 2).flatten(0, 1)


# %%
codes = position_codes(3, 5, 16)
assert codes.shape == (15, 16) and torch.equal(codes[11, :8], sinusoids(torch.tensor([2]), 8)[0])
assert torch.equal(codes[11, 8:], sinusoids(torch.tensor([1]), 8)[0]), "row 2, column 1"
difference = attention(tokens[:, order] + codes) - attention(tokens + codes)[:, order]
assert difference.abs().max() > 0.01, "now the order matters"
with pytest.raises(ValueError, match="width: 6 is no multiple of 4"):
    position_codes(3, 5, 6)

# %% [markdown]
# How alike are the codes of two places? Their scalar product is a sum of cosines of the difference of the rows, and of the columns. It depends on the difference only, whatever the places, and is largest where that is 0. So a query can ask for "what is left of me" with one matrix for all places.

# %%
codes = position_codes(8, 8, 64)
alike = (codes @ codes.T / 32).view(8, 8, 8, 8)
assert torch.allclose(alike[1, 1, 2, 4], alike[5, 3, 6, 6], atol=1e-5), "one down, three to the right"
assert torch.allclose(alike.flatten(0, 1).flatten(1).diagonal(), torch.ones(64))
fig, axes = plt.subplots(1, 4, figsize=(7, 1.9), layout="constrained")
for ax, (row, column) in zip(axes, [(0, 0), (1, 4), (3, 3), (7, 5)], strict=True):
    image = ax.imshow(alike[row, column], vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[], title=f"row {row}, column {column}")
fig.colorbar(image, ax=axes, label="cosine of their codes");


# %% [markdown]
# ## A block that does nothing at first
#
# A block of a transformer has two parts. In the first, tokens look at each other. In the second, each goes through a small network of its own, with a hidden layer four times as wide. Before each part the tokens are normalised, and what comes out is added to what went in.
#
# How do noise level and class get in? Peebles and Xie tried four ways. The best was to let them turn the dials: a linear layer makes of the embedding $c$ a scale $a$, a shift $b$ and a gate $g$ for each part,
#
# $$ x\leftarrow x+g_1\cdot\operatorname{attention}\big((1+a_1)\operatorname{norm}(x)+b_1\big),\qquad x\leftarrow x+g_2\cdot\operatorname{MLP}\big((1+a_2)\operatorname{norm}(x)+b_2\big). $$
#
# That linear layer starts at zero, hence **adaLN-zero**. All gates are closed at first, and each block returns what it got. Scales and shifts we know from the residual blocks of the U-Net, whose last convolution starts at zero for the same reason.

# %%
#| export
def modulated(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    "Each token of x (B, N, width) with mean 0 and variance 1, then scaled and shifted, (B, 1, width)."
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


class DiTBlock(nn.Module):
    """Attention, then a network for each token, both dialled by an embedding (B, width); like (B, N, width).

    adaLN-zero: Peebles and Xie 2023, section 3.2."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention = SelfAttention(width, heads)
        wide, narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(wide, nn.GELU(approximate="tanh"), narrow)
        self.modulation = zero(nn.Linear(width, 6 * width))

    def forward(self, x: torch.Tensor, emb: torch.Tensor) -> torch.Tensor:
        a1, b1, g1, a2, b2, g2 = self.modulation(emb)[:, None].chunk(6, 2)
        x = x + g1 * self.attention(modulated(x, a1, b1))
        return x + g2 * self.mlp(modulated(x, a2, b2))


# %%
block, tokens, emb = DiTBlock(16, 4), torch.randn(2, 15, 16), torch.randn(2, 16)
assert torch.equal(block(tokens, emb), tokens)
nn.init.normal_(block.modulation.weight)
a1, b1, g1, a2, b2, g2 = block.modulation(emb)[:, None].split(16, 2)
norm = lambda x: (x - x.mean(2, keepdim=True)) / x.std(2, correction=0, keepdim=True)
half = tokens + g1 * block.attention((1 + a1) * norm(tokens) + b1)
assert torch.allclose(block(tokens, emb), half + g2 * block.mlp((1 + a2) * norm(half) + b2), atol=1e-4)


# %% [markdown]
# ## The network
#
# Patches, a linear layer, codes of their places; blocks; a last normalisation with dials of its own, and a linear layer back to pixels, which starts at zero, too. Time and class are embedded as in the U-Net, with one more embedding for "no class". If the sides are no multiples of the patch, the image is padded by repeating its last row and column, and the result is cut.

# %%
#| export
class DiT(nn.Module):
    """(B, channels, H, W), times (B,) and classes (B,) to (B, channels, H, W), as `genlab.unet.UNet`.

    ValueError if the width is no multiple of 4, or cannot be shared among the heads."""

    def __init__(
        self,
        channels: int = 1,
        width: int = 64,  # of the tokens
        depth: int = 4,  # blocks
        heads: int = 4,  # of the attention
        classes: int = 0,  # 0: without classes
        patch: int = 2,  # pixels a side of a token
    ):
        super().__init__()
        self.width, self.patch, self.classes = width, patch, classes
        position_codes(1, 1, width)  # complains of the width, if need be
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(classes + 1, width) if classes else None
        self.stem = nn.Linear(channels * patch**2, width)
        self.blocks = nn.ModuleList(DiTBlock(width, heads) for _ in range(depth))
        self.modulation = zero(nn.Linear(width, 2 * width))
        self.out = zero(nn.Linear(width, channels * patch**2))

    def forward(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % self.patch, 0, -height % self.patch), mode="replicate")
        emb, (rows, columns) = embed(self, t, y), (side // self.patch for side in x.shape[2:])
        h = self.stem(to_patches(x, self.patch)) + position_codes(rows, columns, self.width, x.device)
        for block in self.blocks:
            h = block(h, emb)
        h = self.out(modulated(h, *self.modulation(emb)[:, None].chunk(2, 2)))
        return from_patches(h, self.patch, x.shape[2])[:, :, :height, :width]


# %%
#| export
def make_dit(config: DDPMConfig, data: ImageSet) -> nn.Module:
    """The network `dit`, for images like those of `data`.

    A token is a square of 2 * `patch` pixels a side, and 4 * `patch` * `width` numbers wide, or the first of
    `widths`; there are 4 * `blocks` blocks. ValueError if that width cannot be shared among the `heads`."""
    width = (config.widths or [4 * config.patch * (config.width or 16)])[0]
    classes = len(data.classes) if config.conditional else 0
    channels = config.channels or data.images.shape[1]
    return DiT(channels, width, 4 * config.blocks, config.heads, classes, 2 * config.patch)


NETWORKS["ddpm"]["dit"] = make_dit

# %% [markdown]
# The fields of the configuration are those that a U-Net has, read in another way. By default a token is a square of 2x2 pixels and 64 numbers wide, and there are 4 blocks. With `-p patch 2` it is one of 4x4 pixels, 128 numbers wide: a quarter of the tokens, four times the work for each. `-p blocks` makes it deeper, `-p width` wider.

# %%
count = lambda net: sum(p.numel() for p in net.parameters())
for patch in (1, 2):
    net = make_network(DDPMConfig(network="dit", patch=patch), train)
    print(f"patch={patch}: {net.patch}x{net.patch} pixels, width {net.width}, {count(net):,} parameters")
assert net.patch == 4 and net.width == 128 and len(net.blocks) == 4


# %%
#| hide
def randomised(net):
    "The network with nothing at zero any more."
    for p in net.parameters():
        p.data += 0.05 * torch.randn_like(p)
    return net.eval()


t, y = torch.tensor([1, 1000]), torch.tensor([3, 4])
for c, rows, columns, patch in ((1, 28, 28, 4), (3, 30, 17, 4), (2, 5, 5, 4), (1, 3, 9, 2), (1, 7, 7, 8)):
    x = torch.randn(2, c, rows, columns)
    assert DiT(c, 16, 2, 4, patch=patch)(x, t).shape == x.shape
net, x = randomised(DiT(1, 16, 2, 4, classes=10)), torch.randn(2, 1, 15, 15)
assert not torch.allclose(net(x, t), net(x, t.flip(0))), "the time matters"
assert not torch.allclose(net(x, t, y), net(x, t)), "the class matters"
assert torch.equal(net(x, t), net(x, t, torch.tensor([10, 10]))), "no class is class 10"
alone = net(x[1:], t[1:], y[1:])
assert torch.allclose(net(x, t, y)[1:], alone, atol=1e-5), "an image does not see its batch"
assert torch.equal(net(x, t)[:, :, :, :14], net(torch.cat([x, x[:, :, :, -1:]], 3), t)[:, :, :, :14])
assert torch.allclose(net(x, t), net(x, t + 1e-9), atol=1e-3), "t may be a fraction"
corner = torch.zeros_like(x).requires_grad_()
net(corner, t)[:, 0, 0, 0].sum().backward()
assert (corner.grad[0] != 0).all(), "every pixel out sees every pixel in"

# %%
#| hide
as_tokens = net.stem(to_patches(torch.zeros(1, 1, 4, 4), 2)) + position_codes(2, 2, 16)
seen = []
net.blocks[0].register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0]))
net(torch.zeros(1, 1, 4, 4), t[:1])
assert torch.equal(seen[0], as_tokens), "the blocks get patches with the codes of their places"
last = []
net.blocks[-1].register_forward_hook(lambda block, inputs, output: last.append(output))
x = torch.randn(2, 1, 6, 6)
said, emb = net(x, t, y), F.silu(net.time(sinusoids(t, 64)) + net.label(y))
scale, shift = net.modulation(emb)[:, None].split(16, 2)
assert torch.allclose(said, from_patches(net.out((1 + scale) * norm(last[0]) + shift), 2, 6), atol=1e-4)
for wrong in (0, 3):
    with pytest.raises(ValueError, match=f"heads: tokens of width 16 cannot be shared among {wrong} heads"):
        DiT(1, 16, 1, wrong)
with pytest.raises(ValueError, match="width: 18 is no multiple of 4"):
    DiT(1, 18, 1, 3)
wide = make_network(DDPMConfig(network="dit", widths=[24], blocks=2, channels=3, conditional=True), train)
assert (wide.width, len(wide.blocks), wide.classes, wide.out.out_features) == (24, 8, 10, 12)
plain = make_network(DDPMConfig(network="dit"), train)
assert plain.label is None and not plain.modulation.weight.any() and not plain.modulation.bias.any()

# %% [markdown]
# Does a network of so many zeros ever begin to learn? The first update can move the last layer only: all others have a zero between them and the loss. The second moves whatever is behind *one* zero, the gates among it. From the third on everything moves.

# %%
net = DiT(1, 16, 2, 4, classes=10, patch=4)
x, goal, adam = *torch.randn(2, 2, 1, 16, 16), torch.optim.Adam(net.parameters(), 1e-2)
assert net(x, t, y).eq(0).all(), "zero at first"
for update in (1, 2, 3):
    adam.zero_grad()
    (net(x, t, y) - goal).square().mean().backward()
    reached = {name.split(".")[0] for name, p in net.named_parameters() if p.grad.any()}
    n = sum(p.grad.any().item() for p in net.parameters())
    print(f"update {update}: a gradient for {n} of {len([*net.parameters()])} tensors, in {sorted(reached)}")
    assert update > 1 or reached == {"out"}
    adam.step()
assert n == len([*net.parameters()])

# %% [markdown]
# **The optimizer.** Muon ([00_runs](00_runs.ipynb)) is for matrices in the middle of a network, and a transformer has little else. Which of them does it get?

# %%
rows = {}
for width in (64, 128, 192):
    net = DiT(1, width, 1, 4, classes=10, patch=2 if width == 64 else 4)
    chosen = {id(p) for p in make_optimizers(net, "muon", 1e-3, 0.99)["muon"].param_groups[0]["params"]}
    layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, nn.Linear)}
    rows[width] = {name: "Muon" if id(layer.weight) in chosen else "Adam" for name, layer in layers.items()}
    for name, who in rows[width].items():
        weight = layers[name].weight
        assert (who == "Adam") == (min(weight.shape) < 16 or weight.numel() > LARGE)
inside = ("attention.qkv", "attention.out", "mlp.0", "mlp.2")
assert {rows[width][f"blocks.0.{name}"] for name in inside for width in (64, 128)} == {"Muon"}
pd.DataFrame(rows).rename_axis("width of the tokens", axis=1)


# %% [markdown]
# Up to a width of 128 the matrices of attention and MLP go to Muon, as they should. Above it, dense layers of more than $2^{16}$ weights stay with Adam, a rule that was made for the GAN's and the VAE's first and last layers; in a wide DiT it takes the MLP along. (The modulations of the blocks are among them from 128 on.)
#
# ## What it costs
#
# Count the multiplications for a token, in a block of width $D$: $3D^2$ for query, key and value, $D^2$ for the layer behind the attention, $8D^2$ for the MLP. The attention itself has two products more with each of the $N$ tokens, $2ND$. Hence for an image
#
# $$ N\,(12D^2+2ND) $$
#
# a block. The second term grows with the square of the number of tokens. It overtakes the first where $N=6D$.

# %%
def multiplications(net, tokens):
    "Multiplications for an image of so many tokens: (in all, in the attention's two products)."
    D, depth, pixels = net.width, len(net.blocks), net.out.out_features
    quadratic = depth * 2 * tokens**2 * D
    once = 64 * D + D**2 + (6 * depth + 2) * D**2  # time, modulations
    return tokens * (2 * pixels * D + depth * 12 * D**2) + quadratic + once, quadratic


def counted(net, side, device="meta"):
    "The same, by PyTorch; it counts an addition with each multiplication."
    with FlopCounterMode(display=False) as counter:
        net.to(device)(torch.zeros(1, 1, side, side, device=device), torch.ones(1, device=device))
    return counter.get_total_flops() / 2


for side, patch, width in ((28, 2, 64), (28, 4, 128), (16, 2, 64), (32, 8, 24)):
    net = DiT(1, width, 4, 4, patch=patch)
    assert multiplications(net, (side // patch) ** 2)[0] == counted(net, side)

# %% [markdown]
# They agree to the last one, on the device `meta`, which computes nothing. (On a CPU the same counter misses the attention: there PyTorch has a fused kernel for it that the counter does not know. `flops_per_image` of a run is counted on `meta`.)

# %%
sides = torch.arange(8, 129, 8)
fig, (left, right) = plt.subplots(1, 2, figsize=(7, 2.6), layout="constrained")
for patch, width in ((2, 64), (4, 128), (8, 256)):
    net, tokens = DiT(1, width, 4, 4, patch=patch), (sides // patch) ** 2
    work = [multiplications(net, n) for n in tokens.tolist()]
    label = f"patch {patch}, width {width}"
    left.loglog(tokens, [total / 1e6 for total, _ in work], marker=".", label=label)
    right.plot(sides, [100 * quadratic / total for total, quadratic in work], marker=".", label=label)
left.set(xlabel="tokens", ylabel="million multiplications an image")
right.set(xlabel="side of the image, pixels", ylabel="share of the attention (%)", ylim=(0, 100))
right.legend(frameon=False, fontsize=8);

# %% [markdown]
# Smaller patches cost twice over: halve their side, and there are four times as many tokens, and sixteen times as many pairs of them. Networks for large images therefore have large patches, or work on the small codes of an autoencoder, as the DiT of Peebles and Xie does.
#
# ## On digits

# %%
#| hide
short = DDPMConfig(network="dit", name="short", patch=2, epochs=2, n_samples=8, metrics=[], conditional=True)
pictures = run_ddpm(short).pictures(2)
assert pictures["loss_after"].mean() < 0.7 * pictures["loss_before"].mean(), "it learns"

# %%
#| eval: false
config = DDPMConfig(
    dataset=dataset, name="dit", network="dit", epochs=epochs, sampler="dpmpp", steps=12, seed=seed
)
run = run_ddpm(config)
show_grid(run.samples(epochs)[:32], ncol=16, title=f"{dataset}, a DiT after {epochs} epochs")
score = run.metrics(epochs)["scores"]["fd_lenet"]
print(f"fd_lenet {score['value']:.1f} ± {score['sd']:.1f}, floor {score['floor']:.1f}, N = {score['n']}")


# %% [markdown]
# What does a token look at? Below are the weights of the attention in each block, for one token and the mean of the heads, and which code it has.

# %%
def attention_weights(net, x, t):
    "Weights of each block's attention: (blocks, B, heads, tokens that look, tokens looked at)."
    weights = []

    def look(layer, inputs):
        query, key, _ = layer.queries_keys_values(inputs[0])
        weights.append((query @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(-1))

    hooks = [block.attention.register_forward_pre_hook(look) for block in net.blocks]
    with torch.no_grad():
        net(x, t)
    for hook in hooks:
        hook.remove()
    return torch.stack(weights)


# %%
#| hide
net = randomised(DiT(1, 16, 2, 4))
weights = attention_weights(net, torch.randn(2, 1, 16, 16), t)
assert weights.shape == (2, 2, 4, 64, 64) and torch.allclose(weights.sum(-1), torch.ones(2, 2, 4, 64))

# %%
#| eval: false
net = make_network(config, train)
assert run.load_weights(epochs, net)
clean, t = to_model(load_dataset(dataset, "test").images[[0, 3, 5]]), torch.full((3,), 300)
noisy = make_diffusion(config).q_sample(clean, t, Noise(clean.shape, seed)())
weights = attention_weights(net.eval(), noisy, t).mean(2)  # of the heads
side, row, column = round(weights.shape[-1] ** 0.5), 3, 4  # the token that looks

# %%
#| eval: false
fig, axes = plt.subplots(3, 5, figsize=(6.4, 4), layout="constrained")
pixels = (torch.arange(clean.shape[-1]) + 0.5) * side / clean.shape[-1]  # their middles, in tokens
box = (0, side, side, 0)
for line, image, digit, maps in zip(axes, noisy, clean, weights.transpose(0, 1), strict=True):
    line[0].imshow(image[0], cmap="gray", vmin=-2, vmax=2, extent=box)
    for ax, places in zip(line[1:], maps[:, side * row + column].unflatten(1, (side, side)), strict=True):
        ax.imshow(places, cmap="Greys", extent=box)
        ax.contour(pixels, pixels, digit[0], [0], colors="C0", linewidths=0.8)
    for ax in line:
        ax.plot(column + 0.5, row + 0.5, "+", color="C3", markersize=9, markeredgewidth=2)
        ax.set(xticks=[], yticks=[])
for ax, title in zip(axes[0], ["what it sees", *(f"block {i}" for i in range(1, 5))], strict=True):
    ax.set_title(title, fontsize=9)

# %% [markdown]
# Dark tokens get much weight; the line is the outline of the clean digit. In the first block the token that looks (+) looks at a broad neighbourhood. Later blocks look at one or two of the nearest tokens, and mostly at the same ones in all three digits: left and below in block 2, right in block 3, above in block 4. The network has found out who its neighbours are, and has taught itself something like a convolution. The U-Net was built with it. (That is the mean of four heads, each of which may do otherwise.)
#
# ## Against the U-Net
#
# Same data, recipe and number of updates; only the network differs. On `digits`, three seeds, the DiT with 4x4 patches (`-p patch 2`): 40.0 million multiplications for a training image, forwards and backwards, the U-Net 36.0 million. Means with 95% confidence intervals (Student's $t$). The error is that of $v$ on the 500 test images at even levels. `fd_lenet` is of 500 samples by `dpmpp` in 12 evaluations, its floor 13.4.
#
# | | epochs | test error | `fd_lenet` | seconds of training |
# |---|--:|--:|--:|--:|
# | U-Net | 10 | 0.121 ± 0.005 | 39 ± 6 | 15 |
# | DiT | 10 | 0.148 ± 0.003 | 141 ± 16 | 23 |
# | U-Net | 20 | 0.113 ± 0.004 | 20 ± 4 | 30 |
# | DiT | 20 | 0.127 ± 0.003 | 54 ± 17 | 53 |
#
# And on MNIST, one epoch in bf16, two seeds, classes told, the error on 5,000 test images, 10,000 samples, floor 0.86. A training image costs the DiT 125 million multiplications, the U-Net 110 million.
#
# | | test error, seeds 0 and 1 | `fd_lenet`, seeds 0 and 1 | seconds of training |
# |---|--:|--:|--:|
# | U-Net | 0.109, 0.109 | 9.5, 6.8 | 128, 148 |
# | DiT | 0.121, 0.121 | 38.9, 39.5 | 256, 235 |
#
# <details><summary>How it was measured</summary>
#
#     from genlab.ddpm import sample_ddpm, train_ddpm
#     from genlab.fid import evaluate
#     from genlab.runs import Run
#
#     settings = dict(dataset="mnist", conditional=True, precision="bf16", epochs=1, sampler="dpmpp", steps=12)
#     train = load_dataset("mnist")
#     for seed in (0, 1):
#         for fields in (dict(network="unet"), dict(network="dit", patch=2)):
#             config = DDPMConfig(name=fields["network"], seed=seed, **settings, **fields)
#             run = Run(config)
#             with run.lock():
#                 net = train_ddpm(run, 1)
#             samples, _ = sample_ddpm(net, config, train, 10_000, seed)
#             print(fields, seed, run.costs, evaluate(samples, "mnist", ["fd_lenet"], train=train.images))
#
# On digits the same with `dataset="digits"`, no classes, `precision="no"`, `epochs=20` (and `train_ddpm(run, 10)` on the way), and 500 samples. One core of a CPU that did other work on its second core.
#
# </details>
#
# The U-Net wins, with every seed, by error and by samples, at equal updates and with somewhat fewer operations. In equal time it wins by more: what a DiT's epoch takes is 1.5 to 2 times as long for nearly as many operations; on MNIST three quarters of the difference are on the way backwards. (The optimizers take 15% of an update with either network.) Smaller patches did not help: with 2x2 pixels, 44.5 million multiplications and 20 epochs, `fd_lenet` on digits is 67 with seed 0, above.
#
# Why? A convolution knows from the start that neighbours matter and that all places are alike. The DiT has to learn it, and it does, as the maps show, but that costs updates. From 10 to 20 epochs its error falls by 14%, that of the U-Net by 6%. The gap closes from 23% to 13%, and whether it would close altogether these few updates do not say. Dosovitskiy et al. (2021) found their transformer behind convolutional networks after training on a million images, and ahead after 300 million. The DiT of Peebles and Xie, the best of its time on ImageNet, was trained for 7 million updates of 256 images. On 1,297 digits, or one epoch of MNIST, one should take the U-Net.
#
# ## What to remember
#
# - An image is a row of patches; a patch is a token. Patches to tokens is a convolution whose stride is its side.
# - Attention does not know where a token is. Codes of places, added once at the start, tell it.
# - adaLN-zero: noise level and class set scale, shift and gate of each layer, and all gates are closed at first. Every block begins as the identity, and after two updates all weights move.
# - The cost is $N(12D^2+2ND)$ a block: linear in the number of tokens until it is $6D$, then quadratic.
# - What a convolution is built with, a transformer learns, if it is given enough updates. At the size of this course it is not.
#
# ## Exercises
#
# 1. From which side on is more than half of a block's work in the attention's two products, for 2x2 patches and a width of 64? Check in the figure.
# 2. Show that without codes of places a DiT cannot tell an image from its shuffled patches.
# 3. Which share of the parameters of the DiT with `-p patch 2` is in the modulations? How could one save most of it?
#
# ## Solutions
#
# <details><summary>1. Half of the work</summary>
#
# $2N^2D>12ND^2$ where $N>6D=384$, and $N=(s/2)^2$ for a side of $s$ pixels. So $s>2\sqrt{384}\approx39$: the blue curve crosses 50% just before 40 pixels.
#
# </details>
#
# <details><summary>2. Shuffled patches</summary>
#
#     net, x, order = randomised(DiT(1, 64, 4, 4, patch=4)), torch.randn(2, 1, 16, 16), torch.randperm(16)
#     shuffled = lambda x: from_patches(to_patches(x, 4)[:, order], 4, 16)
#     print((net(shuffled(x), t) - shuffled(net(x, t))).abs().max())
#     with_codes, position_codes = position_codes, lambda *_: 0
#     print((net(shuffled(x), t) - shuffled(net(x, t))).abs().max())
#     position_codes = with_codes
#
# With codes the two differ by 0.4, without by less than $10^{-6}$: what the network says of shuffled patches are the shuffled answers. It would denoise them just the same.
#
# </details>
#
# <details><summary>3. The modulations</summary>
#
#     modulations = sum(p.numel() for name, p in net.named_parameters() if "modulation" in name)
#     print(modulations / count(net))
#
# 429,312 of 1,249,424, or 34%: six rows of $D$ for the embedding in each block, beside $12D^2$ for everything else. But they are used once an image and not once a token, so they are nearly free of work. All blocks can share one such layer, with small corrections of their own that are learned: adaLN-single of [Chen et al. (2024)](https://arxiv.org/abs/2310.00426).
#
# </details>
