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
# # The U-Net
#
# > The network that sees the noise, opened up: a plain one, step by step, and a modern one, with what each of its parts is good for
#
# A denoiser gets an image and returns an image of the same size. To tell noise from digit it must see the whole digit, hence low resolution, where a few convolutions reach from edge to edge. To say what the noise is *at each pixel* it needs full resolution. A **U-Net** ([Ronneberger et al. 2015](https://arxiv.org/abs/1505.04597)) has both: it goes down, works on a small version, comes up again, and on the way up every stage gets a copy of what the stage of its size saw on the way down (a **skip connection**).
#
# There are two of them here. `Report003UNet` is about the simplest that works; it has its name from one of the [student reports](07b_reports.ipynb) that this course grew out of. `UNet` is what a few years of practice have made of it. [02_ddpm](02_ddpm.ipynb) trains either.

# %%
#| default_exp unet

# %% tags=["parameters"]
ablation_epochs = 4  # passes over the digits for each variant with a part left out, and each of three seeds
attention_epochs = 15  # passes for the network whose attention is drawn
seed = 0  # all randomness follows from it

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from fastcore.basics import patch
from torch import nn

# %%
#| hide
import time

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from genlab.data import epoch_batches, load_dataset, to_model
from genlab.diffusion import Diffusion, cosine_betas
from genlab.gan import layer_table
from genlab.runs import EMA, device_name, make_accelerator, seed_everything


# %% [markdown]
# ## Telling the network the time
#
# How much noise there is decides what to do: at the start of sampling, invent a digit; at the end, clean up the last specks. So the network is told the noise level $t$. As a single number it would be a weak signal for a network of ReLUs; like the position of a word in a sentence ([Vaswani et al. 2017](https://arxiv.org/abs/1706.03762)), it is spread over many: sines and cosines of $t$ at frequencies from 1 to 1/10,000.

# %%
#| export
def sinusoids(
    t: torch.Tensor,  # times (B,), whole or not
    dim: int,  # how many numbers, even
) -> torch.Tensor:  # float32 (B, dim)
    """Sines, then cosines of t at frequencies from 1 down to nearly 1/10,000.

    Vaswani et al. 2017, section 3.5."""
    frequencies = torch.exp(-math.log(10_000) * torch.arange(dim // 2, device=t.device) / (dim // 2))
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)


# %%
codes = sinusoids(torch.arange(1001), 64)
assert codes.shape == (1001, 64)
assert torch.allclose(codes[:, :32] ** 2 + codes[:, 32:] ** 2, torch.ones(1001, 32), atol=1e-4)
assert codes[0, :32].eq(0).all() and torch.allclose(codes[3, 0], torch.tensor(3.0).sin())
distance = torch.cdist(codes, codes)
assert distance[500, 501] < distance[500, 510] < distance[500, 900], "close times have close codes"
fig, ax = plt.subplots(figsize=(6, 2.2), layout="constrained")
ax.imshow(codes.T, aspect="auto", cmap="RdBu", interpolation="nearest")
ax.set(xlabel="$t$", ylabel="number", title="the 64 numbers that stand for a time");


# %% [markdown]
# ## A plain U-Net
#
# *"Three down blocks, one bottleneck block, three up blocks"*, says the report. A block is twice convolution, group normalisation, ReLU. The time is added in between: a linear layer turns the 256 numbers that stand for it (the *embedding*, `emb`) into one a channel. (Group normalisation subtracts the mean and divides by the spread within one image, in groups of channels; here there are eight. Unlike batch normalisation it does not care what else is in the batch. That matters when images of all noise levels are mixed.)

# %%
#| export
class PlainBlock(nn.Module):
    """Convolution, group norm, ReLU, twice, with the time added in between.

    (B, c_in, H, W) and the embedding (B, emb) to (B, c_out, H, W)."""

    def __init__(self, c_in: int, c_out: int, emb: int):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(c_in, c_out, 3, padding=1), nn.GroupNorm(8, c_out)
        self.conv2, self.norm2 = nn.Conv2d(c_out, c_out, 3, padding=1), nn.GroupNorm(8, c_out)
        self.time = nn.Linear(emb, c_out)

    def forward(self, x: torch.Tensor, emb: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.norm1(self.conv1(x))) + self.time(emb)[:, :, None, None]
        return F.relu(self.norm2(self.conv2(h)))


# %% [markdown]
# Max-pooling halves 28 to 14 to 7 to 3, rounding down; transposed convolutions double. Twice 3 is 6, not 7, so one of them has to add a row and a column, which `output_size` does here. The number of channels, the *width*, is 64 throughout.

# %%
#| export
class Report003UNet(nn.Module):
    """The plain U-Net of report 003: (B, channels, H, W) and times (B,) to (B, channels, H, W).

    ValueError for images below 8 pixels."""

    def __init__(self, channels: int = 3, width: int = 64, emb: int = 256, size: int = 28):
        super().__init__()
        if size < 8:
            raise ValueError(
                f"size: report 003's U-Net halves images three times, and {size} pixels cannot be; "
                "choose 8 at least."
            )
        self.time = nn.Sequential(nn.Linear(emb, emb), nn.ReLU())
        self.down = nn.ModuleList(PlainBlock(c, width, emb) for c in (channels, width, width))
        self.bottleneck = PlainBlock(width, width, emb)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(width, width, 2, 2) for _ in range(3))
        self.up = nn.ModuleList(PlainBlock(2 * width, width, emb) for _ in range(3))
        self.out = nn.Conv2d(width, channels, 1)

    def forward(self, x: torch.Tensor, t: torch.Tensor, y: None = None) -> torch.Tensor:
        emb, skips = self.time(sinusoids(t, self.time[0].in_features)), []
        for block in self.down:
            x = block(x, emb)  # 28, 14, 7
            skips.append(x)
            x = F.max_pool2d(x, 2)  # 14, 7, 3
        x = self.bottleneck(x, emb)
        for grow, block in zip(self.grow, self.up, strict=True):
            skip = skips.pop()
            x = grow(x, output_size=skip.shape[2:])  # 7, 14, 28
            x = block(torch.cat([x, skip], 1), emb)
        return self.out(x)


# %% [markdown]
# Step by step (the convolutions; `layer_table` is from [01_gan](01_gan.ipynb)):

# %%
class AtTime500(nn.Module):
    "A denoiser at t = 500: a network of images only, as layer_table wants it."

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x, torch.full((len(x),), 500))


def steps_of(net, x):
    table = layer_table(AtTime500(net), x)
    return table[table.layer.isin(["Conv2d", "ConvTranspose2d"])]


steps_of(Report003UNet(3), torch.zeros(2, 3, 28, 28))

# %%
count = lambda net: sum(p.numel() for p in net.parameters())
x, t = torch.randn(2, 3, 28, 28), torch.tensor([1, 1000])
net = Report003UNet(3)
assert net(x, t).shape == x.shape and not torch.equal(net(x, t), net(x, t.flip(0)))

# %%
#| hide
convolution = lambda c_in: c_in * 64 * 9 + 64
block = lambda c_in: convolution(c_in) + convolution(64) + 2 * 128 + 256 * 64 + 64  # two norms, the time
time_layer, grow, last = 256 * 256 + 256, 64 * 64 * 4 + 64, 64 * 3 + 3
assert count(net) == time_layer + block(3) + 3 * block(64) + 3 * grow + 3 * block(128) + last
for pixels in (8, 16, 28, 30, 32):
    for c in (1, 3):
        x = torch.randn(2, c, pixels, pixels)
        assert Report003UNet(c, 16, size=pixels)(x, t).shape == x.shape
with pytest.raises(ValueError, match="halves images three times, and 6 pixels cannot be"):
    Report003UNet(1, size=6)


# %% [markdown]
# ## A more modern one
#
# What practice has changed, in the order in which one meets it in the code:
#
# 1. **Residual blocks.** A block adds to its input instead of replacing it. Normalisation and activation (SiLU, a smooth ReLU) come *before* each convolution, so that the sum passes through the network untouched.
# 2. **Modulation.** The time does not only shift features but scales them: $h\,(1+a(t))+b(t)$, so that it can switch them off.
# 3. **Zero-initialised outputs.** The last convolution of each block starts at zero. At first every block does nothing, the whole network returns zero, and it grows from there.
# 4. **Attention** at the lowest resolution: each place looks at every other, at once.
# 5. **Few channels where there are many pixels.** A convolution of 64 channels costs 16 times as much at 28x28 as at 7x7. So the channels double from stage to stage, 32, 64, 128, and most parameters sit where they are cheap to use.
# 6. **One skip a resolution**, as in the original U-Net, instead of one a block as in Ho et al.: fewer concatenations for the same size.
#
# Points 1 to 3 are the residual block. Zeroing a layer comes first:

# %%
#| export
def zero(layer: nn.Module) -> nn.Module:
    "The layer, with weights and bias set to zero."
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


# %% [markdown]
# The block itself. Its input goes round the convolutions and is added at the end; where the number of channels changes, a 1x1 convolution (`skip`) adapts it.

# %%
#| export
class ResBlock(nn.Module):
    """A residual block (B, c_in, H, W) to (B, c_out, H, W), modulated by an embedding (B, emb).

    Dhariwal and Nichol 2021, section 3."""

    def __init__(self, c_in: int, c_out: int, emb: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.modulation = nn.Linear(emb, 2 * c_out)
        self.norm2, self.conv2 = nn.GroupNorm(8, c_out), zero(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: torch.Tensor, emb: torch.Tensor) -> torch.Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.modulation(emb)[:, :, None, None].chunk(2, 1)
        h = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))
        return self.skip(x) + h


# %% [markdown]
# **Self-attention** computes three vectors for each place, a query, a key and a value, and adds to the place the mean of all values, weighted by how well their keys match its query. This happens in several *heads*, each with its share of the channels. Its cost grows with the square of the number of places, which is why it stands at the lowest resolution: 7x7 places for MNIST.
#
# Images of 64x64 pixels leave 16x16 places there. From so many on, queries, keys and values are copied so that each lies in one piece: this is what PyTorch's fused kernel asks for, which works through the keys in blocks and never writes all 256x256 weights down. On a CPU a whole training update of the network of `report/race/muon.yaml` at 64x64 became 1.28 times as fast. (With 7x7 places and bfloat16 the copy made attention alone three times as slow.)

# %%
#| export
MANY = 256  # places from which on attention uses the fused kernel


class Attention(nn.Module):
    """Self-attention over the places of (B, C, H, W), added to it. ValueError if `heads` does not divide C.

    Vaswani et al. 2017; in a U-Net, Ho et al. 2020."""

    def __init__(self, channels: int, heads: int = 4):
        super().__init__()
        if channels % heads:
            raise ValueError(
                f"heads: {channels} channels cannot be shared among {heads} heads of the attention."
            )
        self.heads, self.norm = heads, nn.GroupNorm(8, channels)
        self.qkv, self.out = nn.Conv2d(channels, 3 * channels, 1), zero(nn.Conv2d(channels, channels, 1))

    def queries_keys_values(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        "Three tensors (B, heads, H * W, C / heads)."
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, 3, self.heads, c // self.heads, h * w)
        qkv = qkv.transpose(3, 4)
        return (qkv.contiguous() if h * w >= MANY else qkv).unbind(1)

    def forward(self, x: torch.Tensor, emb: torch.Tensor | None = None) -> torch.Tensor:
        y = F.scaled_dot_product_attention(*self.queries_keys_values(x))
        return x + self.out(y.transpose(2, 3).reshape(x.shape))


# %%
seed_everything(seed)
attention = Attention(16, heads=1)
x = torch.randn(2, 16, 3, 3)
assert torch.equal(attention(x), x), "zero-initialised: nothing at first"
nn.init.eye_(attention.out.weight.data.view(16, 16))
for side in (3, 16):  # few places, and many
    x = torch.randn(2, 16, side, side)
    q, k, v = attention.qkv(attention.norm(x)).flatten(2).chunk(3, 1)  # (2, 16, 9 or 256) each
    by_hand = x + (v @ (q.transpose(1, 2) @ k / 4).softmax(-1).transpose(1, 2)).view_as(x)
    assert torch.allclose(attention(x), by_hand, atol=1e-5)
with pytest.raises(ValueError, match="heads: 16 channels cannot be shared among 3"):
    Attention(16, heads=3)

# %%
#| hide
fused = lambda side: F.scaled_dot_product_attention(
    *attention.queries_keys_values(torch.zeros(1, 16, side, side))
).grad_fn.name()
assert "Flash" in fused(16) and "Flash" not in fused(15)


# %% [markdown]
# The whole network. The `stem` turns pixels into the first features. A stage of the way down is some residual blocks and a convolution of stride 2. A stage of the way up doubles the sides, and then come residual blocks, the first of which also gets the skip. In between are blocks with attention among them. Classes, where there are any, are embedded like the time and added to it; one more embedding stands for "no class".
#
# Most of the work of a U-Net is done at its full resolution, where a convolution meets most places, and neighbouring pixels are much alike. With `patch=2` a square of 2x2 pixels is one place with four times the channels (`pixel_unshuffle` of [Shi et al. 2016](https://arxiv.org/abs/1609.05158), and its inverse at the end). No number is lost, and there are four times fewer places. With 28x28 pixels the two stages of such a network work on 14x14 and 7x7 places.

# %%
#| export
class UNet(nn.Module):
    """(B, channels, H, W), times (B,) and classes (B,) to (B, channels, H, W).

    ValueError for images that cannot be halved often enough."""

    def __init__(
        self,
        channels: int = 1,
        widths: Sequence[int] = (32, 64, 128),  # channels at each resolution, multiples of 8
        blocks: int = 1,  # residual blocks at each resolution, down and up
        heads: int = 4,  # of the attention; 0: none
        classes: int = 0,  # 0: without classes
        emb: int = 256,  # numbers that stand for time and class
        size: int = 28,  # the images' side, only to see that it is large enough
        patch: int = 1,  # pixels a side of a patch, which is one place for the network
    ):
        super().__init__()
        self.patch, self.factor, self.classes = patch, patch * 2 ** (len(widths) - 1), classes
        channels *= patch**2
        if size < 2 * self.factor:
            smaller = f"this U-Net makes images {self.factor} times smaller, and {size} pixels cannot be"
            raise ValueError(f"size: {smaller}; take fewer widths, or smaller patches.")
        self.time = nn.Sequential(nn.Linear(64, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.label = nn.Embedding(classes + 1, emb) if classes else None
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1)
        stages = list(zip(widths[:-1], widths[1:], strict=True))
        self.down = nn.ModuleList(self._stage_down(wide, deep, blocks, emb) for wide, deep in stages)
        self.middle = self._middle(widths[-1], blocks, heads, emb)
        self.up = nn.ModuleList(self._stage_up(deep, wide, blocks, emb) for wide, deep in reversed(stages))
        self.norm, self.out = nn.GroupNorm(8, widths[0]), zero(nn.Conv2d(widths[0], channels, 3, padding=1))

    def _stage_down(self, wide: int, deep: int, blocks: int, emb: int) -> nn.ModuleList:
        layers = nn.ModuleList(ResBlock(wide, wide, emb) for _ in range(blocks))
        return layers.append(nn.Conv2d(wide, deep, 3, stride=2, padding=1))

    def _middle(self, width: int, blocks: int, heads: int, emb: int) -> nn.ModuleList:
        layers = nn.ModuleList(ResBlock(width, width, emb) for _ in range(blocks))
        if heads:
            layers.append(Attention(width, heads))
        return layers.extend(ResBlock(width, width, emb) for _ in range(blocks))

    def _stage_up(self, deep: int, wide: int, blocks: int, emb: int) -> nn.ModuleList:
        grow = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(deep, wide, 3, padding=1))
        layers = nn.ModuleList([grow, ResBlock(2 * wide, wide, emb)])
        return layers.extend(ResBlock(wide, wide, emb) for _ in range(blocks - 1))


# %% [markdown]
# What any such network is told beside the image, as one row of numbers: its `time` layers make some of the noise level, and its `label` adds those of the class, or of "none".

# %%
#| export
def embed(net: nn.Module, t: torch.Tensor, y: torch.Tensor | None) -> torch.Tensor:  # (B, emb)
    "The embedding of times (B,) and classes (B,) by `net.time` and `net.label`; y None: no class is told."
    emb = net.time(sinusoids(t, 64))
    if net.label is not None:
        emb = emb + net.label(torch.full_like(t, net.classes, dtype=torch.long) if y is None else y)
    return F.silu(emb)


# %% [markdown]
# What happens to an image on its way through. (`@patch` makes the function a method of the class that stands behind `self`.) `factor` is how many times smaller the image gets; a side that is no multiple of it is padded by repeating its last row and column, and what was added is cut off at the end.

# %%
#| export
@patch
def forward(self: UNet, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
    height, width = x.shape[2:]
    x = F.pad(x, (0, -width % self.factor, 0, -height % self.factor), mode="replicate")
    emb, h, skips = embed(self, t, y), self.stem(F.pixel_unshuffle(x, self.patch)), []
    for *blocks, shrink in self.down:
        for block in blocks:
            h = block(h, emb)
        skips.append(h)
        h = shrink(h)
    for block in self.middle:
        h = block(h, emb)
    for grow, *blocks in self.up:
        h = torch.cat([grow(h), skips.pop()], 1)
        for block in blocks:
            h = block(h, emb)
    pixels = F.pixel_shuffle(self.out(F.silu(self.norm(h))), self.patch)
    return pixels[:, :, :height, :width]


# %%
steps_of(UNet(1), torch.zeros(2, 1, 28, 28))

# %% [markdown]
# The same as a picture. Hooks on the parts of the network write down what each of them returns for an image of 28x28 pixels; nothing in the picture is drawn from memory.

# %%
#| echo: false
COLOURS = {"convolution": "0.85", "residual block": "C0", "stride 2": "C1", "attention": "C2", "double": "C3"}


def parts_of(net):
    "Kind and module of each part of a UNet, in the order in which they run, and the pairs that a skip joins."
    parts, ends = [("convolution", net.stem)], []
    for *blocks, shrink in net.down:
        parts += [("residual block", block) for block in blocks]
        ends.append(len(parts) - 1)
        parts.append(("stride 2", shrink))
    kinds = {ResBlock: "residual block", Attention: "attention"}
    parts += [(kinds[type(layer)], layer) for layer in net.middle]
    skips = []
    for grow, *blocks in net.up:
        parts.append(("double", grow))
        skips.append((ends.pop(), len(parts)))
        parts += [("residual block", block) for block in blocks]
    return [*parts, ("convolution", net.out)], skips


# %%
#| echo: false
def shapes_of(net, parts, x):
    "(channels, side) of what each part returns."
    shapes = []
    hook = lambda module, inputs, output: shapes.append((output.shape[1], output.shape[-1]))
    hooks = [module.register_forward_hook(hook) for _, module in parts]
    net(x, torch.full((len(x),), 500))
    for handle in hooks:
        handle.remove()
    return shapes


def draw_skip(ax, start, end, top, channels):
    ax.plot([start, start, end], [top, top + 0.25, top + 0.25], "k--", linewidth=0.8)
    ax.annotate("", (end, top), (end, top + 0.3), arrowprops=dict(arrowstyle="->", linewidth=0.8))
    ax.text((start + end) / 2, top + 0.3, f"skip: {channels} channels", ha="center", va="bottom", fontsize=7)


# %%
#| echo: false
def draw_unet(net, x, ax):
    "Each part as a box, its row the resolution, its height for the sides and its width for the channels."
    parts, skips = parts_of(net)
    shapes = shapes_of(net, parts, x)
    sides = sorted({side for _, side in shapes})
    row = {side: 1.5 * i for i, side in enumerate(sides)}
    height = {side: 0.25 + 0.75 * side / sides[-1] for side in sides}
    ax.plot(range(len(parts)), [row[side] for _, side in shapes], color="0.7", zorder=0)
    for i, ((kind, _), (channels, side)) in enumerate(zip(parts, shapes, strict=True)):
        y = row[side] - height[side] / 2
        ax.bar(i, height[side], 0.3 + 0.5 * channels / 128, y, color=COLOURS[kind])
        ax.text(i, y - 0.05, f"{channels}\n{side}×{side}", ha="center", va="top", fontsize=7)
    for start, end in skips:
        channels, side = shapes[start]
        draw_skip(ax, start, end, row[side] + height[side] / 2, channels)
    ax.legend(
        [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS.values()],
        COLOURS,
        ncols=len(COLOURS),
        loc="lower center",
        bbox_to_anchor=(0.5, -0.15),
        frameon=False,
        fontsize=7,
    )
    ax.axis("off")


# %%
#| echo: false
_, ax = plt.subplots(figsize=(7.4, 3.4), layout="constrained")
draw_unet(UNet(), torch.zeros(1, 1, 28, 28), ax)


# %% [markdown]
# Below each part are its channels and its sides. Height stands for sides, width for channels: where there are few places there are many channels.

# %%
def randomised(net):
    "The network with nothing at zero any more."
    for p in net.parameters():
        p.data += 0.05 * torch.randn_like(p)
    return net.eval()


seed_everything(seed)
x, t, y = torch.randn(2, 1, 28, 28), torch.tensor([1, 1000]), torch.tensor([3, 4])
assert UNet()(x, t).eq(0).all(), "zero at first"
net = randomised(UNet(classes=10))
assert not torch.allclose(net(x, t), net(x, t.flip(0))), "the time matters"
assert not torch.allclose(net(x, t, y), net(x, t)), "the class matters"
assert torch.equal(net(x, t), net(x, t, torch.tensor([10, 10]))), "no class is class 10"
corner = torch.zeros_like(x).requires_grad_()
net(corner, t)[:, 0, 0, 0].sum().backward()
assert (corner.grad[0, 0, 20:, 20:] != 0).all(), "every pixel out sees every pixel in"
print(f"parameters: Report003UNet {count(Report003UNet(3)):,}, UNet {count(UNet()):,}")

# %%
#| hide
alone = net(x[1:], t[1:], y[1:])
assert torch.allclose(net(x, t, y)[1:], alone, atol=1e-4), "an image does not see its batch"
assert torch.allclose(net(x, t), net(x, t.double() + 1e-9), atol=1e-3), "t may be a fraction"
for size, widths in [(16, (8, 16)), (28, (8, 16, 24)), (30, (8, 16, 24)), (64, (8, 16, 24, 32)), (15, (8,))]:
    for c in (1, 3):
        x = torch.randn(2, c, size, size)
        assert randomised(UNet(c, widths, size=size))(x, t).shape == x.shape
with pytest.raises(ValueError, match="size: this U-Net makes images 16 times smaller, and 16 pixels"):
    UNet(1, (8, 8, 8, 8, 8), size=16)


# %% [markdown]
# What that is worth on MNIST, after 5 epochs, with 2,000 samples drawn in 50 DDIM steps (one run each, seed 0, on a CPU). `fd_lenet` is a distance from real images ([05_fid](05_fid.ipynb)); its floor is what real images have.
#
# | network and recipe | `fd_lenet` |
# |---|---|
# | `Report003UNet`: three channels, linear schedule, the noise as target, no moving average | 285.6 ± 4.7 |
# | `UNet` of widths 32, 64, 128: one channel, cosine schedule, $v$ as target, moving average | 21.3 ± 1.7 |
# | real images | 1.6 ± 0.3 |
#
# The difference is that of the whole recipe, not of the network alone. How much of it the network makes is the next question.

# %% [markdown]
# ## What each part buys
#
# The honest way to praise a part is to leave it out. Each variant below is trained in the same way for a few epochs, then scored by its error on test images: the mean squared error of the target $v$ ([02_ddpm_theory](02_ddpm_theory.ipynb)) over noise levels, always the same levels and noises. Each is trained three times, with three seeds; with the same seed all variants see the same batches and noises. Some are changed from outside, so that the network needs no options for that.

# %%
class Zeros(nn.Module):
    def forward(self, x, *_):
        return torch.zeros_like(x)


def without_skip(block, inputs):
    x, emb = inputs
    from_below, skip = x.chunk(2, 1)
    return torch.cat([from_below, torch.zeros_like(skip)], 1), emb


def without_skips(net):
    "The stages of the way up get zeros in place of what the way down saw."
    for stage in net.up:
        stage[1].register_forward_pre_hook(without_skip)
    return net


# %%
def without_time(net):
    net.time.append(Zeros())
    return net


def without_zero_init(net):
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.weight.eq(0).all():
            module.reset_parameters()
    return net


def without_residuals(net):
    for module in net.modules():
        if isinstance(module, ResBlock) and isinstance(module.skip, nn.Identity):
            module.skip = Zeros()
    return without_zero_init(net)  # else nothing would ever pass


# %%
small = dict(widths=(16, 32, 64), size=16)
VARIANTS = {
    "all of it": lambda: UNet(**small),
    "no attention": lambda: UNet(heads=0, **small),
    "no time": lambda: without_time(UNet(**small)),
    "no zero initialisation": lambda: without_zero_init(UNet(**small)),
    "no residuals, no zeros": lambda: without_residuals(UNet(**small)),
    "no skips": lambda: without_skips(UNet(**small)),
    "Report003UNet, width 32": lambda: Report003UNet(1, 32, size=16),
}
device, diffusion = make_accelerator().device, Diffusion(cosine_betas())
train, test = load_dataset("digits"), load_dataset("digits", "test")


# %%
def v_error(net, x0, t, eps):
    "Mean squared error of v."
    output = net(diffusion.q_sample(x0, t, eps), t.to(x0.device)).float()
    return (output - diffusion.target("v", x0, eps, t)).square().mean()


def trained(net, seed, epochs=ablation_epochs, data=train, error=v_error):
    "The network with its averaged weights after some epochs; `seed` decides batches, times and noises."
    seed_everything(seed, 1)
    average, opt = EMA(net, 0.99), torch.optim.Adam(net.parameters(), 1e-3)
    for epoch in range(epochs):
        for x0, _ in epoch_batches(data, 64, seed, epoch, device):
            loss = error(net, x0, torch.randint(1, 1001, (len(x0),)), torch.randn_like(x0))
            opt.zero_grad()
            loss.backward()
            opt.step()
            average.update(net)
    return average.model.eval()


# %%
@torch.no_grad()
def test_error(net, data=test, error=v_error):
    x0 = to_model(data.images).to(device)
    t = torch.linspace(1, 1000, len(x0)).long()
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0)).to(device)
    return error(net, x0, t, eps).item()


def compare(variants, seeds=range(seed, seed + 3), epochs=ablation_epochs):
    "Test errors: a row for each variant, a column for each seed, with the same batches and noises in it."
    table = pd.DataFrame(index=list(variants), columns=list(seeds), dtype=float)
    for variant, make in variants.items():
        for s in seeds:
            seed_everything(s)
            table.loc[variant, s] = test_error(trained(make().to(device), s, epochs))
    return table


# %%
#| hide
x, t = torch.randn(2, 1, 16, 16), torch.tensor([5, 500])
for make in VARIANTS.values():
    assert make()(x, t).shape == x.shape
net = without_time(without_zero_init(UNet(**small)))
assert torch.equal(net(x, t), net(x, t.flip(0))), "it does not see the time"
short = compare({name: VARIANTS[name] for name in ("all of it", "no skips")}, [seed], 1)[seed]
untrained = test_error(UNet(**small))
assert 1.1 * short["all of it"] < short["no skips"] < untrained, "both learn, one of them more"

# %%
#| eval: false
ablation = compare(VARIANTS)
worse = 100 * (ablation / ablation.loc["all of it"] - 1)  # percent
table = ablation.copy()
table.columns = [f"seed {s}" for s in ablation]
table["worse (%)"], table["± (%)"] = worse.mean(axis=1), worse.std(axis=1)
table["parameters"] = [count(make()) for make in VARIANTS.values()]
table.round({"worse (%)": 1, "± (%)": 1}).round(3)

# %%
#| eval: false
shown, most = worse.drop("all of it")[::-1], 30
fig, ax = plt.subplots(figsize=(6.4, 2.6), layout="constrained")
ax.barh(shown.index, shown.mean(axis=1), xerr=shown.std(axis=1), color="0.8", capsize=3)
for s in shown:
    ax.plot(shown[s], shown.index, "o", markersize=4, label=f"seed {s}")
for name, mean in shown.mean(axis=1)[lambda means: means > most].items():
    ax.annotate(f"{mean:.0f}% →", (most, name), ha="right", va="center")
ax.axvline(0, color="0.3", linewidth=0.8)
ax.set(xlabel="test error, % more than that of the whole network", xlim=(-20, most))
ax.legend(frameon=False, fontsize=8, loc="upper right");


# %% [markdown]
# The bars are means over three seeds, with their standard deviations; the points are the seeds. (The bar of "no skips" goes far beyond the picture.)
#
# **Skips** matter by far the most: without them the error is about three times as large. The network then has to push every pixel through the lowest resolution. The **time** is worth about 12% in this short training, with each seed. The rest is a lesson in seeds. Seed 0 alone would have said that attention buys 12%, zero initialisation 6% and the residuals another 2%. With seed 2 the network is *better* without attention, and better without zero initialisation, too. Three seeds cannot tell these parts from nothing here. The plain network, last, has a smaller error than the modern one with each of the three seeds.
#
# Are these parts useless, then? Not shown either. They are made for deep networks, large images and long training. This network is small, trained for four epochs on 1,297 images, and with its 4x4 places at the lowest resolution convolutions see the whole image without any attention.
#
# ## What attention looks at
#
# One map can be drawn: which places does a place look at? The weights are the softmax of the products of its query with all keys. For a finer map the network here has two resolutions only, so its attention works on 8x8 places, and it is trained somewhat longer.

# %%
def attention_weights(net, x, t):
    "Weights of the first attention in `net`: (B, heads, places that look, places looked at)."
    layer, inputs = next(m for m in net.modules() if isinstance(m, Attention)), []
    hook = layer.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    with torch.no_grad():
        net(x, t)
        query, key, _ = layer.queries_keys_values(inputs[0])
    hook.remove()
    return (query @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(-1)


net = randomised(UNet(1, (16, 32), size=16))
weights = attention_weights(net, x, t)
assert weights.shape == (2, 4, 64, 64) and torch.allclose(weights.sum(-1), torch.ones(2, 4, 64), atol=1e-5)

# %%
#| eval: false
seed_everything(seed)
net = trained(UNet(1, (32, 64), size=16).to(device), seed, attention_epochs)
clean, t = to_model(test.images[[0, 3, 5]]).to(device), torch.full((3,), 300)
noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed)).to(device)
noisy = diffusion.q_sample(clean, t, noise)
weights = attention_weights(net, noisy, t.to(device)).cpu().unflatten(3, (8, 8))
row, column = 3, 4  # the place that looks, of 8x8

# %%
#| eval: false
fig, axes = plt.subplots(3, 5, figsize=(6.4, 4), layout="constrained")
pixels = (torch.arange(16) + 0.5) / 2  # the middles of the image's pixels, in places
maps_of_place = weights[:, :, 8 * row + column]
for axis, image, digit, maps in zip(axes, noisy.cpu(), clean.cpu(), maps_of_place, strict=True):
    axis[0].imshow(image[0], cmap="gray", vmin=-2, vmax=2, extent=(0, 8, 8, 0))
    for ax, places in zip(axis[1:], maps, strict=True):
        ax.imshow(places, cmap="Greys", extent=(0, 8, 8, 0))
        ax.contour(pixels, pixels, digit[0], [0], colors="C0", linewidths=0.8)
    for ax in axis:
        ax.plot(column + 0.5, row + 0.5, "+", color="C3", markersize=9, markeredgewidth=2)
        ax.set(xticks=[], yticks=[])
for ax, title in zip(axes[0], ["what it sees", *(f"head {i}" for i in range(1, 5))], strict=True):
    ax.set_title(title, fontsize=9)


# %% [markdown]
# Dark places get much weight. The line is the outline of the clean digit, which the network does not see. In the first row the place that looks (+) lies in the hole of a 0, on background, and it looks at background: in the hole and all around the digit. In the other two rows it lies on a stroke. There heads 1, 2 and 4 look at strokes, too, up to the far end of the digit, and leave the background out. That is what a convolution of 3x3 places cannot do: to choose its places by what is there, not by where they are. Each head has a choice of its own; head 3 mostly looks at the background. (What the network makes of these places is not in the map.)
#
# ## Faster
#
# Three options of a run leave the mathematics alone (bf16 rounds more) and may change the time. In the table below only bf16 clearly does.
#
# - `precision="bf16"`: convolutions and matrix products in bfloat16, which has float32's range at half the bits. Losses, weights and the sampler's arithmetic stay in float32.
# - `channels_last=True`: the channels of a pixel side by side in memory, which some convolution kernels prefer.
# - `compile=True`: `torch.compile` fuses what stands between the convolutions (norms, activations, modulation) into few passes over the memory. It takes its time at the start and needs a C++ compiler on a CPU.
#
# Which of them help depends on the machine, so here they are measured on the one that ran this notebook: images per second in training, in five updates with batches of 64 images of 28x28 pixels. Five updates are few, and differences of some 20% are noise. (`benchmarks/unet.py` compares with another library.)

# %%
def images_per_second(precision="no", channels_last=False, compiled=False, updates=5):
    seed_everything(seed)
    accelerator = make_accelerator(precision)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    net = UNet().to(accelerator.device, memory_format=memory_format)
    model, opt = torch.compile(net) if compiled else net, torch.optim.Adam(net.parameters(), 1e-3, fused=True)
    x0 = torch.rand(64, 1, 28, 28, device=accelerator.device) * 2 - 1
    for update in range(updates + 2):
        if update == 2:  # the first two warm up
            start = time.perf_counter()
        t, eps = torch.randint(1, 1001, (64,)), torch.randn_like(x0)
        with accelerator.autocast():
            output = model(diffusion.q_sample(x0, t, eps), t.to(x0.device))
        loss = (output.float() - diffusion.target("v", x0, eps, t)).square().mean()
        opt.zero_grad()
        accelerator.backward(loss)
        opt.step()
        loss.item()  # wait for the device
    return 64 * updates / (time.perf_counter() - start)


# %%
#| eval: false
yes, no = True, False
options = [("no", no, no), ("no", yes, no), ("no", no, yes)]
options += [("bf16", no, no), ("bf16", yes, no), ("bf16", no, yes), ("bf16", yes, yes)]
speeds = pd.DataFrame(options, columns=["precision", "channels_last", "compile"])
speeds["images/s"] = [images_per_second(*option) for option in options]
speeds["times plain float32"] = speeds["images/s"] / speeds["images/s"][0]
print(device_name(device))
speeds.round(2)

# %% [markdown]
# ## What to remember
#
# - Down for the whole, up for the pixel, and skips to bring both together.
# - The time is an input like any other; without it the network must guess how much noise there is.
# - With zero-initialised outputs each residual block adds nothing at first, and the network grows from there.
# - A parameter costs most at full resolution, where it is used at every pixel: 16 times as often as at a quarter of the side. Keep that thin, and spend the parameters further down.
# - One seed says little about a part. Leave it out, train several seeds, and look at the spread before the mean.
#
# ## Exercises
#
# 1. Compute by hand how many multiplications the first and the last convolution of `UNet()` need for one image of 28x28. Where in the network do most of them happen?
# 2. Put attention at the second lowest resolution, too (14x14 for MNIST). What does it cost, what does it buy?
# 3. Replace the modulation by an addition, as in `PlainBlock`. Compare as above.
# 4. Train `Report003UNet` on gray images and on three equal channels, for 4 epochs and for 16. Why can the loss become lower in the second case, though the images are the same?
# 5. Max-pooling, as in `Report003UNet`, or a strided convolution? Design the comparison before you run it.

# %% [markdown]
# ## Solutions
#
# <details><summary>1. Where the multiplications are</summary>
#
# A 3x3 convolution needs $9\,c_{\text{in}}c_{\text{out}}$ multiplications for each place of its output. The first goes from 1 channel to 32 at 28x28, $784\cdot9\cdot1\cdot32=225{,}792$; the last from 32 to 1, and that is the same number. All of them, by resolution:
#
#     work, net = [], UNet()
#     for name, layer in net.named_modules():
#         if isinstance(layer, nn.Conv2d):
#             count_it = lambda layer, _, y, name=name: work.append((name.split(".")[0], y.shape[-1], layer.weight.numel() * y[0, 0].numel() / 1e6))
#             layer.register_forward_hook(count_it)
#     net(torch.zeros(1, 1, 28, 28), torch.tensor([1]))
#     work = pd.DataFrame(work, columns=["part", "side", "millions"])
#     work.pivot_table("millions", "part", "side", "sum", margins=True).round(1)
#
# In millions: 52.6 at 28x28, 55.8 at 14x14, 35.7 at 7x7, 144.2 in all (the attention's two matrix products, $2\cdot49^2\cdot128$, are 0.6 more). So they are spread rather evenly over the resolutions: half the side divides the places by 4, twice the channels multiplies the work at a place by 4. But more than half, 75.5, are on the way up, where the skips double the channels that go in. Multiplications are not time, though: a layer of 32 channels at 28x28 has four times as many numbers to read and write as one of 128 at 7x7, and norms and activations pay for each of them.
#
# </details>
#
# <details><summary>2. More attention</summary>
#
# The stages are lists, so it can be put in after the fact: on the way down before the strided convolution, on the way up at the end.
#
#     def more_attention(net):
#         width = net.down[-1][-1].in_channels
#         net.down[-1].insert(1, Attention(width))
#         net.up[0].append(Attention(width))
#         return net
#
#     compare({"all of it": lambda: UNet(**small), "more attention": lambda: more_attention(UNet(**small))})
#
# Cost, by arithmetic: for $n$ places and $C$ channels an attention takes $4C^2n$ multiplications in its 1x1 convolutions and $2n^2C$ in its two matrix products. In `UNet()` two of them at 14x14 ($n=196$, $C=64$) are 16.3 million more, 11%; at 28x28 the part with $n^2$ would be 39 million for each. (Measure the seconds on your own machine.) Gain: none that one could see. After 4 epochs on `digits` the test errors for seeds 0, 1 and 2 were 0.173, 0.181, 0.196 without and 0.174, 0.183, 0.198 with more attention at 8x8, about 1% worse each time. Images of 16x16 pixels have little that is far apart; ask again with larger ones and longer training.
#
# </details>
#
# <details><summary>3. Addition instead of modulation</summary>
#
# Only the shift stays, $h+b(t)$, at the place where the modulation was. (An addition *before* the normalisation would be another experiment: what a group's channels have in common is then subtracted again.) 
#
#     class Added(ResBlock):
#         def forward(self, x, emb):
#             h = self.conv1(F.silu(self.norm1(x)))
#             shift = self.modulation(emb)[:, :, None, None].chunk(2, 1)[1]
#             return self.skip(x) + self.conv2(F.silu(self.norm2(h) + shift))
#
#     def with_addition(net):
#         for module in net.modules():
#             if isinstance(module, ResBlock):
#                 module.__class__ = Added
#         return net
#
#     compare({"all of it": lambda: UNet(**small), "addition": lambda: with_addition(UNet(**small))})
#
# After 4 epochs on `digits` the test errors for seeds 0, 1 and 2 were 0.173, 0.181, 0.196 with modulation and 0.180, 0.186, 0.206 with addition: 4% more on average, and more each time. The spread between seeds is larger than that, but the comparison is paired, and the three differences (0.007, 0.005, 0.010) agree in sign and size. `Added` keeps the parameters that it no longer uses, so this is about how the time enters, with nothing else changed. Whether the gap stays after long training is another question.
#
# </details>
#
# <details><summary>4. Three equal channels</summary>
#
# The images are the same, the task is not: each channel gets noise of its own. The mean of the three is $\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\bar\varepsilon$, and $\bar\varepsilon$ has variance $\frac13$; the differences between channels are pure noise and say nothing about $x_0$. So a network that sees three channels works at three times the SNR. Let $m(\mathrm{SNR})$ be the least mean squared error of $x_0$ that one channel allows. Then the loss of $v$ falls from $(\mathrm{SNR}+1)\,m(\mathrm{SNR})$ to $(\mathrm{SNR}+1)\,m(3\,\mathrm{SNR})$. Where there is little noise and neighbours do not help, $m(\mathrm{SNR})\approx1/\mathrm{SNR}$, and three channels have a third of the loss: two of the three dimensions of the noise, its differences, are there to be read off.
#
#     def one_noise(net, x0, t, eps):
#         return v_error(net, x0, t, eps[:, :1].expand_as(eps))
#
#     def with_channels(channels, error=v_error):
#         repeat = lambda data: data._replace(images=data.images.expand(-1, channels, -1, -1))
#         seed_everything(seed)
#         net = trained(Report003UNet(channels, 32, size=16).to(device), seed, data=repeat(train), error=error)
#         return test_error(net, repeat(test), error)
#
#     print(with_channels(1), with_channels(3), with_channels(3, one_noise))
#
# The network must first learn to do so. On `digits` at width 32 the test errors with seed 0 after 4 epochs were 0.164 for gray, 0.168 for three channels and 0.173 for three channels with one common noise, so no gain yet. After 16 epochs (`ablation_epochs = 16`) they were 0.129 for gray and 0.099 for three channels. Compare losses only between equal tasks; and note that a schedule made for gray images is too gentle for three equal channels, by $\log3$ in the log-SNR.
#
# </details>
#
# <details><summary>5. Pooling or stride?</summary>
#
# Decide these before the first run. *What differs:* only the step down. A strided convolution has weights and max-pooling has none, so give the pooled variant the same convolution behind the pooling: equal parameters, equal multiplications, and even the same initial weights. A third variant with mean pooling tells "a maximum" from "pooling". *What is measured:* the test MSE of $v$, as above, and seconds an epoch. *How often:* several seeds, paired, since a column of `compare` has common batches and noises. *What decides:* the mean of the paired differences against its standard error; write down beforehand which difference you would care about, for example 2%.
#
#     def pooled(net, pooling=nn.MaxPool2d):
#         for stage in net.down:
#             stage[-1].stride = 1, 1
#             stage[-1] = nn.Sequential(pooling(2), stage[-1])
#         return net
#
#     table = compare({"strided": lambda: UNet(**small), "max": lambda: pooled(UNet(**small)), "mean": lambda: pooled(UNet(**small), nn.AvgPool2d)})
#     difference = table - table.loc["strided"]
#     pd.DataFrame({"difference": difference.mean(axis=1), "standard error": difference.std(axis=1) / table.shape[1] ** 0.5})
#
# If the difference is smaller than that and its standard error, too, the answer is "no difference that matters", which is an answer. If the standard error is larger, take more seeds, not more looks at the same ones.
#
# </details>
