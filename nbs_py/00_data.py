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
# # Data
#
# > Images as one uint8 tensor: data sets by name, batches in a seeded order, grids to look at
#
# A generative model learns a distribution from examples. Here a data set is the simplest thing that can hold one: **a single tensor of bytes** of shape (N, channels, height, width), with a label for each image where somebody wrote one down. There are no file handles, no per-image Python objects and no worker processes; a batch is a slice. That is enough for everything up to a few million small images, and it is fast: a comparison with the loaders of PyTorch stands at the end of this notebook. Where the images come from, and how to use your own, is in [00b_sources](00b_sources.ipynb).

# %%
#| default_exp data

# %% tags=["parameters"]
dataset = "digits"  # digits, tinted_digits, mnist, fashion_mnist, cifar10, celeba, hf:REPO or folder:PATH
size = None  # pixels a side; None: as the data set has it

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import sklearn.datasets
import torch
import torch.nn.functional as F
from torchvision.transforms.v2.functional import resize
from torchvision.utils import make_grid

from genlab.plug import LOADERS, import_plugins, look_up
from genlab.sources import DOWNLOADS, Images

# %%
#| hide
import time

import pytest
from PIL import Image
from torch.utils.data import BatchSampler, DataLoader
from torchvision import transforms

from genlab.sources import at_hand


# %% [markdown]
# ## Two representations, two converters
#
# An image *at rest* is made of bytes, 0 to 255. A network wants small numbers centred at zero, so an image *at work* is float32 in **[-1, 1]**; -1 is black, 1 is white. A frequent bug in projects on generative models is a mix-up of [0, 1], [-1, 1] and [0, 255]. We therefore convert in exactly two places, and the converter refuses what it cannot be sure of.

# %%
#| export
def to_model(
    images: torch.Tensor,  # uint8, any shape
) -> torch.Tensor:  # float32 in [-1, 1], same shape
    "Bytes to what networks see: v / 255 * 2 - 1, the bits of torchvision's ToTensor and Normalize(0.5, 0.5)."
    if images.dtype != torch.uint8:
        raise TypeError(f"to_model wants uint8 images and got {images.dtype}: were they converted already?")
    x = images.div(255)
    return torch.add(x.new_full((), -1.0), x, alpha=2, out=x)  # in one pass over the memory


def to_image(
    x: torch.Tensor,  # float in [-1, 1], any shape; what lies outside is clipped
) -> torch.Tensor:  # uint8, same shape
    "What networks make back to bytes, rounded to the nearest."
    if not x.is_floating_point():
        raise TypeError(f"to_image wants float images in [-1, 1] and got {x.dtype}.")
    return x.detach().float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


# %% [markdown]
# Rounding matters. A network's outputs fall between the bytes; truncating them (a bare `.to(torch.uint8)`) darkens every image by half a grey level on average. With rounding, all 256 values survive the round trip:

# %%
every_byte = torch.arange(256, dtype=torch.uint8)
assert torch.equal(to_image(to_model(every_byte)), every_byte)
assert to_model(every_byte)[0] == -1 and to_model(every_byte)[-1] == 1
outputs = torch.linspace(-1, 1, 100_001)
levels = outputs.add(1).mul(127.5)
truncated, rounded = (levels.byte() - levels).mean(), (to_image(outputs) - levels).mean()
print(f"mean error of truncation {truncated:.2f} grey levels, of rounding {rounded:.2f}")

# %%
#| hide
as_torchvision = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.5, 0.5)])
assert torch.equal(to_model(every_byte), as_torchvision(every_byte.view(16, 16, 1).numpy()).flatten())
assert to_image(torch.tensor([-3.0, 7.0])).tolist() == [0, 255]
with pytest.raises(TypeError, match="converted already"):
    to_model(to_model(every_byte))


# %% [markdown]
# ## A data set by name
#
# `load_dataset(name, split, size)`, at the end of this section, returns an `ImageSet`: images, labels, class names.

# %%
#| export
class ImageSet(NamedTuple):
    "Images at rest, with what is known about them."

    images: torch.Tensor  # uint8 (N, C, H, W)
    labels: torch.Tensor | None  # int64 (N,), or None where there are none
    classes: list[str]  # classes[label] is a label's name; empty without labels

    def pick(self, index: torch.Tensor | slice) -> "ImageSet":
        "The images at these places, with their labels."
        labels = None if self.labels is None else self.labels[index]
        return self._replace(images=self.images[index], labels=labels)

    def to(self, device: torch.device | str) -> "ImageSet":
        "The same, in the memory of a device."
        labels = None if self.labels is None else self.labels.to(device)
        return self._replace(images=self.images.to(device), labels=labels)


# %% [markdown]
# ### `digits`: no download
#
# scikit-learn ships 1,797 real handwritten digits of 8x8 pixels, scanned from forms that 13 people filled in (the test part of the UCI "Optical Recognition of Handwritten Digits" set). We enlarge them to 12x12 and centre them in 16x16, so that they have the margin that MNIST's digits have, and a network for MNIST works on them without a change. A GAN learns them in a few minutes on two CPU cores: they are this course's default.
#
# The file runs from writer to writer. We take five of every eighteen consecutive images for testing, so that train (1,297) and test (500) hold the same writers: two samples of *one* distribution. Otherwise a model's distance to the test images ([05_fid](05_fid.ipynb)) would also measure how the writers differ.

# %%
#| export
def load_digits(split: str) -> ImageSet:
    "1,297 or 500 digits, 16x16."
    found = sklearn.datasets.load_digits()
    test = np.arange(len(found.images)) % 18 < 5
    keep = test if split == "test" else ~test
    x = torch.tensor(found.images[keep], dtype=torch.float32)[:, None] / 16
    x = F.pad(F.interpolate(x, size=12, mode="bicubic", align_corners=False), (2, 2, 2, 2))
    return ImageSet(
        to_image(x * 2 - 1), torch.tensor(found.target[keep]), [str(digit) for digit in range(10)]
    )


# %% [markdown]
# `tinted_digits` are the same, each in a colour of its own: what a model for colour images can be tried on where no photographs are at hand.

# %%
#| export
def load_tinted_digits(split: str) -> ImageSet:
    "The digits, each in a random colour whose brightest channel is full."
    data = load_digits(split)
    generator = torch.Generator().manual_seed(0 if split == "train" else 1)
    colours = torch.rand(len(data.images), 3, 1, 1, generator=generator)
    tinted = data.images * (colours / colours.amax(1, keepdim=True))
    return data._replace(images=tinted.round().to(torch.uint8))


LOADERS |= {"digits": load_digits, "tinted_digits": load_tinted_digits}

# %%
for split, n in [("train", 1297), ("test", 500)]:
    images, labels, classes = load_digits(split)
    assert images.shape == (n, 1, 16, 16) and images.dtype == torch.uint8
    assert labels.shape == (n,) and len(classes) == 10
    assert images[:, :, :2].max() == 0, "the margin is black"
    print(split, n, "images; of each digit", torch.bincount(labels).tolist())
tinted = load_tinted_digits("test").images
assert tinted.shape == (500, 3, 16, 16) and torch.equal(tinted.amax(1, keepdim=True), images)

# %% [markdown]
# ### One function for all of them
#
# Other data sets have to be fetched or converted first. [00b_sources](00b_sources.ipynb) does that. These names are known:
#
# | data set | name | terms |
# |---|---|---|
# | the small digits of above, in grey and in colour | `digits`, `tinted_digits` | CC BY 4.0 |
# | [MNIST](http://yann.lecun.com/exdb/mnist/) | `mnist` | CC BY-SA 3.0 |
# | [Fashion-MNIST](https://github.com/zalandoresearch/fashion-mnist) | `fashion_mnist` | MIT |
# | [CIFAR-10](https://www.cs.toronto.edu/~kriz/cifar.html) | `cifar10` | none stated; cite Krizhevsky 2009 |
# | [CelebA](https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html) | `celeba` | non-commercial research only |
# | [LSUN bedrooms](https://www.yf.io/p/lsun) | `hf:pcuenq/lsun-bedrooms`, a fifth of them | those of LSUN: research; the images belong to others |
# | [ImageNet](https://www.image-net.org/download.php), 64x64 | `hf:benjamin-paine/imagenet-1k-64x64` | non-commercial research and education; accept the terms on the Hub first |
# | any images of your own | `folder:PATH` (a folder, a tar or a zip), an archive of your mirror as `mirror:FILE`, a data set of the Hub as `hf:REPO` | yours |
#
# Each name is a key of the dictionary `LOADERS`, with a function that returns the images of a split, and so you can add one ([00c_plug](00c_plug.ipynb)). A name is looked up before anything is loaded, so that a typing error costs no time:

# %%
#| export
BUILT_IN = {"digits", "tinted_digits", "celeba", *DOWNLOADS}  # their images have known checksums


def _loader(name: str) -> tuple[str, list[str]]:
    "The key of a data set in `LOADERS`, and its place, if any: `folder:/a/b` is `folder:PATH` at `/a/b`."
    kind, _, place = name.partition(":")
    keys = [key for key in LOADERS if place and key.startswith(f"{kind}:")]
    return (keys[0], [place]) if keys else (name, [])


# %%
#| export
def _check_place(kind: str, place: str) -> str:
    "The name of a data set that lies at a place, the path of a folder made absolute."
    name = f"{kind}:{place}"
    if kind == "folder" or (kind == "hf" and place[0] in "/.~"):
        try:
            return f"{kind}:{Path(place).expanduser().resolve()}"
        except (RuntimeError, ValueError, OSError) as problem:  # ~nobody, a zero byte, a link to itself
            raise ValueError(f"dataset: {name!r} is no path of a folder: {problem}.") from None
    if kind == "hf" and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", place):
        raise ValueError(f"dataset: {name!r} is no data set of the Hub; these are called hf:owner/name.")
    return name


# %% [markdown]
# A configuration checks the name of its data set with this function:

# %%
#| export
def is_dataset(name: str) -> bool:
    "Does `load_dataset` know the name? (It may be something else, such as the path of a file.)"
    if _loader(name)[0] not in LOADERS:
        import_plugins()
    return _loader(name)[0] in LOADERS


def check_dataset(name: str) -> str:
    "`name`, the path of a folder made absolute. ValueError of one sentence if nobody knows it."
    key, place = _loader(name) if is_dataset(name) else (name, [])
    look_up("dataset", key, LOADERS)
    return _check_place(name.partition(":")[0], *place) if place else name


# %% [markdown]
# Then the loader of that name does its work. Those that convert images are told the size; what the others return is resized here, if another size is asked for.

# %%
#| export
def _as_images(name: str, found: Images) -> ImageSet:
    "What a loader returned. ValueError if its images are not bytes, or if it has another number of labels."
    images, labels, classes = found
    if images.dtype != torch.uint8 or images.ndim != 4:
        what = f"{images.dtype} of shape {tuple(images.shape)}"
        raise ValueError(
            f"dataset: the loader of {name} returned {what}, and should uint8 of shape (N, C, H, W)."
        )
    if labels is not None and len(labels) != len(images):
        what = f"{len(labels)} labels for {len(images)} images"
        raise ValueError(f"dataset: the loader of {name} returned {what}.")
    return ImageSet(images, None if labels is None else labels.long(), list(classes))


# %% [markdown]
# And the function that everybody calls:

# %%
#| export
def load_dataset(
    name: str,  # a key of LOADERS; with a place for its second half, as folder:/my/images or hf:owner/name
    split: str = "train",  # train or test
    size: int | None = None,  # pixels a side; None: the data set's own (64 for celeba, hf and folder)
) -> ImageSet:  # images uint8 (N, C, size, size), labels int64 (N,) or None, class names
    "A data set by name. ValueError if it is unknown, RuntimeError if it cannot be had."
    name = check_dataset(name)
    if split not in ("train", "test"):
        raise ValueError(f"split: {split!r} is neither 'train' nor 'test'.")
    if size is not None and not 4 <= size <= 1024:
        raise ValueError(f"size: {size} is not between 4 and 1024 pixels.")
    key, place = _loader(name)
    found = LOADERS[key](split, *place)
    data = _as_images(name, found(size or 64) if callable(found) else found)
    if size in (None, data.images.shape[-1]):
        return data
    return data._replace(images=resize(data.images, [size, size], antialias=True))


# %%
data = load_dataset(dataset, "train", size)
print(f"{dataset}: {len(data.images):,} training images, each {tuple(data.images.shape[1:])}")
assert load_dataset("digits", size=32).images.shape == (1297, 1, 32, 32)

# %%
#| hide
for name, sentence in {
    "minst": r"'minst' is unknown; did you mean mnist\?",
    "photographs": r"'photographs' is unknown; choose from .*celeba, folder:PATH, hf:REPO",
    "hf:": r"'hf:' is unknown; did you mean hf:REPO\?",
    "hf:a/b/c": "'hf:a/b/c' is no data set of the Hub; these are called hf:owner/name",
}.items():
    with pytest.raises(ValueError, match=f"dataset: {sentence}"):
        load_dataset(name)
with pytest.raises(ValueError, match="split: 'validation' is neither"):
    load_dataset("digits", "validation")
with pytest.raises(FileNotFoundError, match="there is no folder"):
    load_dataset("folder:/no/such/place")


# %% [markdown]
# ## Looking at images
#
# `image_grid` lays images out as one picture; `show_grid` draws it. Both take bytes or [-1, 1] floats.

# %%
#| export
def image_grid(
    images: torch.Tensor,  # uint8, or float in [-1, 1]; (N, C, H, W)
    ncol: int = 8,  # images in a row
    pad: int = 1,  # pixels of white between them
) -> np.ndarray:  # uint8 (height, width, 3)
    "Images side by side, row by row, as one picture."
    images = images if images.dtype == torch.uint8 else to_image(images)
    return make_grid(images.cpu(), nrow=ncol, padding=pad, pad_value=255).permute(1, 2, 0).numpy()


# %% [markdown]
# Names beside the rows say what is compared with what.

# %%
#| export
def show_grid(
    images: torch.Tensor,  # uint8, or float in [-1, 1]; (N, C, H, W)
    ncol: int = 8,  # images in a row
    title: str = "",
    ax: plt.Axes | None = None,  # None: a new figure, half an inch an image
    rows: Sequence[str] = (),  # names of the rows, or of equal groups of rows
) -> plt.Axes:
    "Draw `image_grid` without axes, or with names at its rows."
    if ax is None:
        nrow = -(-len(images) // ncol)
        _, ax = plt.subplots(figsize=(0.5 * ncol, 0.5 * nrow + 0.3 * bool(title)), layout="constrained")
    ax.imshow(image_grid(images, ncol), interpolation="nearest")
    ax.set_title(title, fontsize=10)
    height = ax.get_ylim()[0] / max(1, len(rows))
    ax.set(xticks=[], yticks=[(i + 0.5) * height for i in range(len(rows))], yticklabels=rows, frame_on=False)
    ax.tick_params(length=0)
    return ax


# %%
show_grid(data.images[:64], ncol=16, title=f"{dataset}: the first 64 training images");

# %%
#| hide
grid = image_grid(data.images[:11], ncol=4, pad=1)
c, h, w = data.images.shape[1:]
assert grid.shape == (3 * (h + 1) + 1, 4 * (w + 1) + 1, 3) and grid.dtype == np.uint8
assert np.array_equal(grid[1 : h + 1, 1 : w + 1, 0], data.images[0, 0].numpy())
assert np.array_equal(image_grid(data.images[:3]), image_grid(to_model(data.images[:3])))

# %% [markdown]
# How small is that? Below are the same kind of digits in three data sets: with 16 pixels a side, in colour, and MNIST with 28 pixels a side, if it is at hand. In MNIST one sees where a stroke begins and how wide it is. In 16 pixels a digit is just readable. But a network for them has a third of the pixels to learn, and no download is needed.

# %%
names = ["digits", "tinted_digits", *filter(at_hand, ["mnist"])]
if "mnist" not in names:
    print("MNIST is not here: it is neither in the cache, nor is there a GENLAB_MIRROR.")
fig, axes = plt.subplots(len(names), figsize=(8, 1.5 * len(names)), layout="constrained")
for name, ax in zip(names, axes, strict=True):
    some = load_dataset(name).images[:32]
    show_grid(some, ncol=16, title=f"{name}, {some.shape[-1]}x{some.shape[-1]} pixels", ax=ax)

# %% [markdown]
# What does the *average* image of each class look like? A model that has learned no more than these would draw ten soft digits, always the same. A generator must do better than that.

# %%
groups = (
    [data.images]
    if data.labels is None
    else [data.images[data.labels == k] for k in range(len(data.classes))]
)
means = torch.stack([images.float().mean(0) for images in groups])
show_grid(means.round().to(torch.uint8), ncol=10, title="mean image of each class");


# %% [markdown]
# ## Batches
#
# An *epoch* visits every training image once, in a random order. The order is drawn from a generator seeded with `(seed, epoch)` and nothing else, so that batch 7 of epoch 3 is the same images on every machine, and training can be resumed in the middle of an epoch (`start`) without remembering a shuffled list.
#
# `derive_seed` mixes several integers into one good seed; adding them would give seed 1 in epoch 2 and seed 2 in epoch 1 the same order.

# %%
#| export
def derive_seed(*key: int) -> int:
    "One 63-bit seed from several non-negative integers, well mixed (NumPy's SeedSequence)."
    key = (len(key), *key)  # else (5,) and (5, 0) would give the same
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


# %% [markdown]
# With that, the batches of an epoch. Bytes become floats here, a batch at a time. Where images and network are on the same device, that is all. A set that does not fit into the memory of a GPU stays outside; then each batch is fetched while the network is busy with the one before it.
#
# And a set that does not fit into memory at all stays on disk, as a memory map ([00b_sources](00b_sources.ipynb)). If one touches a byte of such a map that was not read yet, the system reads much more than was asked for, because most programs go on where they are. A random order does not. So the map is told one batch ahead which images come next, and the system reads just these while the network is busy. `benchmarks/memory_map.py` measures what that is worth.

# %%
#| export
def _batch(data: ImageSet, index: torch.Tensor, device: torch.device) -> tuple:
    "Images in [-1, 1] at these places, and their labels or None, on `device`."
    parts = [data.images.index_select(0, index)]  # faster than images[index]
    if data.labels is not None:
        parts.append(data.labels.index_select(0, index))
    if device.type != index.device.type:  # from pinned memory a GPU copies by itself
        parts = [part.pin_memory().to(device, non_blocking=True) for part in parts]
    return to_model(parts[0]), parts[1] if data.labels is not None else None


def _announced(images: torch.Tensor, indices: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
    "The same indices; images that lie on disk are told of each a batch ahead, see `genlab.sources`."
    will_read = getattr(images, "will_read", lambda index: None)
    for i, index in enumerate(indices):
        if i == 0:
            will_read(index)
        if i + 1 < len(indices):
            will_read(indices[i + 1])
        yield index


def _one_ahead(batches: Iterator) -> Iterator:
    "The same, each made by a thread while the one before it is used."
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, batches, None)
            yield batch


# %%
#| export
def epoch_batches(
    data: ImageSet,
    batch_size: int,  # images in a batch; the last one may hold fewer
    seed: int,
    epoch: int,  # counted from 0; each epoch has an order of its own
    device: torch.device | str = "cpu",
    start: int = 0,  # leave out this many batches
):  # yields images float32 (B, C, H, W) in [-1, 1] and labels int64 (B,) or None
    "The batches of one epoch, on `device`, in an order that depends on `(seed, epoch)` only."
    device, there = torch.device(device), data.images.device
    generator = torch.Generator().manual_seed(derive_seed(seed, epoch))
    order = torch.randperm(len(data.images), generator=generator).to(there)
    indices = _announced(data.images, order.split(batch_size)[start:])
    batches = (_batch(data, index, device) for index in indices)
    yield from batches if there.type == device.type else _one_ahead(batches)


# %%
first = [x for x, _ in epoch_batches(data, 100, seed=0, epoch=3)]
again = [x for x, _ in epoch_batches(data, 100, seed=0, epoch=3, start=2)]
assert all(torch.equal(a, b) for a, b in zip(first[2:], again, strict=True)), "resuming changes nothing"
assert sum(map(len, first)) == len(data.images), "every image, once"
assert torch.equal(torch.cat(first).sort(0).values, to_model(data.images).sort(0).values)
other = next(epoch_batches(data, 100, seed=0, epoch=4))[0]
assert not torch.equal(first[0], other), "another epoch, another order"
assert len({derive_seed(1, 2), derive_seed(2, 1), derive_seed(1), derive_seed(1, 0)}) == 4
assert list(_one_ahead(iter(range(1, 9)))) == list(range(1, 9))

# %%
#| hide
on_disk, told = data._replace(images=data.images.clone()), []
on_disk.images.will_read = lambda index: told.append(index)
for i, (x, _) in enumerate(epoch_batches(on_disk, 100, seed=0, epoch=3, start=2)):
    assert torch.equal(x, again[i]) and len(told) == min(i + 2, len(again)), "one batch ahead"
assert sum(map(len, told)) == sum(map(len, again)), "every image, once"
assert not list(epoch_batches(on_disk, 100, seed=0, epoch=3, start=len(first)))


# %% [markdown]
# ### Fewer images
#
# How does a model fare with a thousand images instead of sixty thousand? `take` draws a part of a data set, as a count or as a share, and the seed says which part.

# %%
#| export
def take(
    data: ImageSet,
    subset: int | float | None,  # a count from 1 on, or, as a float, a share up to 1.0; None: all images
    seed: int = 0,
) -> ImageSet:
    "A random part of a data set, in a random order. ValueError if there are not so many images."
    if subset is None:
        return data
    there = len(data.images)
    n = round(subset * there) if isinstance(subset, float) and subset <= 1 else int(subset)
    if not 1 <= n <= there:
        raise ValueError(f"subset: {subset} is {n} images, and the training set has {there}.")
    generator = torch.Generator().manual_seed(derive_seed(seed, 2))
    return data.pick(torch.randperm(there, generator=generator)[:n])


# %%
few = take(data, 100, seed=1)
assert len(few.images) == 100 and torch.equal(few.images, take(data, 100, seed=1).images)
assert not torch.equal(few.images, take(data, 100, seed=2).images) and take(data, None) is data
n = len(data.images)
assert [len(take(data, share).images) for share in (0.1, 1.0, 1)] == [round(0.1 * n), n, 1]
with pytest.raises(ValueError, match="subset: 1000000 is 1000000 images, and the training set has"):
    take(data, 1_000_000)


# %% [markdown]
# ### Classes in proportion
#
# A model that is told the class does not find out how often each class comes. So whoever draws from it has to ask for the classes as often as the training images have them: MNIST has a quarter more ones than fives. `spread_classes` does it without chance, and each time asks for the class that is furthest behind. With equal shares that is one class after the other. Asking for all classes equally often has its price: 10,000 real training images of MNIST with equal shares are at a distance of 1.23 (`fd_lenet`, [05_fid](05_fid.ipynb)) from the test images, with the data's shares at 0.77 (mean of three draws).

# %%
#| export
def spread_classes(data: ImageSet, n: int) -> torch.Tensor:  # int64 (n,)
    "n classes, as often as `data` has them; any beginning of the list has nearly the right shares, too."
    counts = np.bincount(data.labels.numpy(), minlength=len(data.classes))
    drawn, found = np.zeros_like(counts), []
    for i in range(1, n + 1):
        found.append(int((i * counts - len(data.labels) * drawn).argmax()))
        drawn[found[-1]] += 1
    return torch.tensor(found)


# %%
blank = lambda labels, k: ImageSet(torch.zeros(len(labels), 1, 1, 1), torch.tensor(labels), ["class"] * k)
assert spread_classes(blank([2, 0, 1], 3), 7).tolist() == [0, 1, 2, 0, 1, 2, 0]
uneven = spread_classes(blank([1] * 70 + [0] * 29 + [2], 4), 1000)
assert torch.bincount(uneven, minlength=4).tolist() == [290, 700, 10, 0]
wanted = torch.arange(1, 1001)[:, None] * torch.tensor([0.29, 0.7, 0.01, 0])
assert (torch.nn.functional.one_hot(uneven, 4).cumsum(0) - wanted).abs().max() < 1

# %% [markdown]
# ### Why not a `DataLoader`?
#
# The usual recipe opens, converts and normalises one image at a time through PIL. For images that fit in memory all of that work can be done on a whole batch at once. It is the batch that matters, and not who draws it: a `DataLoader` can be handed whole batches, too, with `batch_size=None` and a sampler that yields many indices at a time. Here are both ways to write a data set:

# %%
digits = load_dataset("digits")


# %%
class OneByOne(torch.utils.data.Dataset):
    "What torchvision's data sets do: a PIL image each, then ToTensor and Normalize."

    convert = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])

    def __len__(self):
        return len(digits.images)

    def __getitem__(self, i):
        return self.convert(Image.fromarray(digits.images[i, 0].numpy())), digits.labels[i]


class InBatches(OneByOne):
    "The images of many indices at a time."

    def __getitem__(self, index):
        index = torch.as_tensor(index)
        return to_model(digits.images.index_select(0, index)), digits.labels[index]


# %% [markdown]
# Three loaders, each a function of the epoch. All draw the order that `epoch_batches` draws, so they give the same pixels, to the bit:

# %%
def order(epoch):
    return torch.randperm(len(digits.images), generator=torch.Generator().manual_seed(derive_seed(0, epoch)))


def one_by_one(epoch):
    return DataLoader(OneByOne(), batch_size=128, sampler=order(epoch).tolist())


def batch_sampler(epoch):
    sampler = BatchSampler(order(epoch).tolist(), 128, drop_last=False)
    return DataLoader(InBatches(), batch_size=None, sampler=sampler)


def index_tensors(epoch):
    return DataLoader(InBatches(), batch_size=None, sampler=order(epoch).split(128))


# %%
loaders = {
    "epoch_batches": lambda epoch: epoch_batches(digits, 128, seed=0, epoch=epoch),
    "DataLoader": one_by_one,
    "DataLoader, BatchSampler": batch_sampler,
    "DataLoader, index tensors": index_tensors,
}
for batch, *others in zip(*(loader(5) for loader in loaders.values()), strict=True):
    assert all(torch.equal(a, b) for other in others for a, b in zip(batch, other, strict=True))


# %% [markdown]
# So many images come out in a second. The ways take turns, nine times, since the machine may be busy with something else meanwhile; the last column is the median over the turns, with the lowest and the highest (measured when this notebook was last executed; `benchmarks/batches.py` does the same with MNIST):

# %%
def images_per_second(loader: Callable[[int], Iterable], seconds: float = 0.1) -> float:
    "Whole epochs, until the time is over."
    start, epoch, n = time.perf_counter(), 0, 0
    while (passed := time.perf_counter() - start) < seconds:
        n += sum(len(x) for x, _ in loader(epoch))
        epoch += 1
    return n / passed


rates = np.array([[images_per_second(loader) for loader in loaders.values()] for _ in range(9)])
for name, rate, ratio in zip(loaders, rates.T, (rates[:, :1] / rates).T, strict=True):
    faster = f"{np.median(ratio):.1f} times ({ratio.min():.1f} to {ratio.max():.1f})"
    print(f"{name:>26}: {np.median(rate):>10,.0f} images/s; epoch_batches is {faster} as fast")


# %% [markdown]
# One image at a time is slower by a factor of more than a hundred. Each image becomes a Python object or two, and small operations are done a hundred times where one large one would do. A `DataLoader` that is handed whole batches comes within a factor of three. With a `BatchSampler` it still takes every index through Python, with index tensors it does not. On MNIST, on one core of a busy machine, in four rounds of `benchmarks/batches.py`:
#
# | loader | `epoch_batches` is so many times as fast |
# |---|---|
# | `DataLoader`, an image at a time | 169 (156 to 195) |
# | `DataLoader` with a `BatchSampler` | 1.6 (1.3 to 2.1) |
# | `DataLoader` with index tensors | 1.3 (1.1 to 1.5) |
#
# So the speed is that of batches, and any loader can have most of it. `epoch_batches` is here because it is ten lines long, and because its order depends on `(seed, epoch)` only.

# %% [markdown]
# ## Are these the images that they were?
#
# A folder has the same name after its images were replaced. A `fingerprint` tells: it depends on every pixel, on the labels and on the names of the classes, and on nothing else. For converted images the checksum of the file is known already, so three million of them cost no more than ten.

# %%
#| export
def fingerprint(data: ImageSet) -> str:
    "16 hex digits: the same for the same images, in this order, with the same labels and classes."
    images, labels, classes = data
    pixels = getattr(images, "sha256", None) or hashlib.sha256(images.cpu().contiguous().numpy()).hexdigest()
    digest = hashlib.sha256(json.dumps([pixels, list(images.shape), classes]).encode())
    if labels is not None:
        digest.update(labels.cpu().numpy())
    return digest.hexdigest()[:16]


# %%
some = load_dataset("digits", "test")
changed = some.images.clone()
changed[7, 0, 3, 3] += 1
others = [some._replace(images=changed), some._replace(labels=some.labels.flip(0)), some.pick(slice(499))]
assert fingerprint(some) == fingerprint(some.pick(torch.arange(500)))
assert len(set(map(fingerprint, [some, some._replace(labels=None), *others]))) == 5

# %% [markdown]
# ## What to remember
#
# - Bytes at rest, [-1, 1] at work, one converter each way.
# - A data set is a tensor; a batch is a slice; the order is a function of (seed, epoch).
# - `digits` needs no download. A data set of your own is one function in `LOADERS`.
#
# ## Exercises
#
# 1. Show the 32 brightest and the 32 darkest images of the training set. What do they have in common?
# 2. `fashion_mnist` has the same format as MNIST. Run this notebook with `-p dataset fashion_mnist` and compare the class means.
# 3. Two images of the same class differ by how many grey levels on average, two of different classes by how many? What does that say about pixel distance as a measure of likeness?

# %% [markdown]
# ## Solutions
#
# <details><summary>1. The brightest and the darkest images</summary>
#
# Brightness is the mean over the pixels.
#
#     brightness = data.images.float().mean((1, 2, 3))
#     order = brightness.argsort(descending=True)
#     extremes = torch.cat([order[:32], order[-32:]])
#     show_grid(data.images[extremes], ncol=16, rows=["bright", "dark"])
#     print([torch.bincount(data.labels[i], minlength=len(data.classes)).tolist() for i in extremes.split(32)])
#
# On `digits` it is the pen more than the digit: the bright ones are drawn with thick strokes, the dark ones with thin strokes. Classes matter less. Among the bright ones are 7 zeros, 10 ones, 10 eights and 4 nines, but there are 10 ones among the dark ones, too. The brightest image has a mean of 61 grey levels, the darkest 28, all of them 45. A generator has to get such things right as well, the share of thick and of thin digits, and not only the shapes.
#
# </details>
#
# <details><summary>2. The class means of Fashion-MNIST</summary>
#
# Look at how much you still recognise. A mean is sharp where all images of a class agree and blurred where they do not: clothes are photographed in one pose and fill the frame, digits are written by hand. Put a number on it, the share of the pixels' variance that the class means explain; it is one minus what is left around them:
#
#     x = data.images.flatten(1).float()
#     around = (x - means.flatten(1)[data.labels]).square().sum()
#     print(f"{1 - around / (x - x.mean(0)).square().sum():.2f}")
#
# On `digits` it is 0.44. If it is larger on Fashion-MNIST, the class alone tells more about an image there. Then look for what a mean cannot show: bags with and without handles, sandals of any kind, prints on shirts.
#
# </details>
#
# <details><summary>3. Distances in pixels</summary>
#
# A thousand images have half a million pairs, which is enough. What is averaged is the absolute difference, over pixels and pairs.
#
#     few = take(data, 1000)
#     x = few.images.flatten(1).float()
#     distance = torch.cdist(x, x, p=1) / x.shape[1]
#     same, pairs = few.labels[:, None] == few.labels, ~torch.eye(len(x), dtype=torch.bool)
#     a, b = distance[same & pairs], distance[~same]
#     shifted = [(few.images.roll(n, 3).flatten(1) - x).abs().mean() for n in (1, 2)]
#     farther = a[torch.randint(len(a), (100_000,))] > b[torch.randint(len(b), (100_000,))]
#     nearest = distance.masked_fill(~pairs, torch.inf).argmin(1)
#     print(a.mean(), b.mean(), shifted, farther.float().mean(), (few.labels[nearest] == few.labels).float().mean())
#
# On `digits`: 23 grey levels within a class, 34 between classes. So there is a difference, but the two overlap: of a random pair of each kind, the one of the same class is the farther one in 13 % of cases. And an image that is shifted by *one* pixel, the same digit to any eye, is 25 away from itself, as far as another one of its class; shifted by two pixels it is 45 away, farther than a digit of another class. The nearest neighbour is nevertheless of the same class in 98 % of cases. Small distances can be trusted, then, and large ones say little. For that reason [05_fid](05_fid.ipynb) compares images in the features of a classifier.
#
# </details>
