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
# A generative model learns a distribution from examples, so everything starts with a pile of examples. Here a data set is the simplest thing that can hold one: **a single tensor of bytes** of shape (N, channels, height, width), with a label for each image where somebody wrote one down. There are no file handles, no per-image Python objects and no worker processes; a batch is a slice. That is enough for everything up to a few million small images, and it is fast: the comparison with the usual loader stands at the end of this notebook.

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
import gzip
import hashlib
import json
import math
import os
import re
import shutil
import socket
import stat
import sys
import tarfile
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import platformdirs
import torch
import torch.nn.functional as F
from filelock import AcquireReturnProxy, FileLock
from PIL import Image, ImageOps
from sklearn.datasets import load_digits
from torch.hub import download_url_to_file
from torchvision.datasets import MNIST, CelebA, FashionMNIST
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.datasets.utils import check_integrity
from torchvision.transforms.v2.functional import resize
from torchvision.utils import make_grid
from tqdm import tqdm

from genlab.plug import LOADERS, look_up

# %%
#| hide
import tempfile
import time

import pytest
from torch.utils.data import BatchSampler, DataLoader
from torchvision import transforms


# %% [markdown]
# ## Two representations, two converters
#
# An image *at rest* is made of bytes, 0 to 255. A network wants small numbers centred at zero, so an image *at work* is float32 in **[-1, 1]**; -1 is black, 1 is white. A frequent bug in projects on generative models is a mix-up of [0, 1], [-1, 1] and [0, 255]. We therefore convert in exactly two places, and the converter refuses what it cannot be sure of.

# %%
#| export
def to_model(
    images: torch.Tensor,  # uint8, any shape
) -> torch.Tensor:  # float32 in [-1, 1], same shape
    "Bytes to what networks see: v / 255 * 2 - 1, the same bits as torchvision's ToTensor and Normalize(0.5, 0.5)."
    if images.dtype != torch.uint8:
        raise TypeError(f"to_model wants uint8 images and got {images.dtype}: were they converted already?")
    x = images.div(255)
    return torch.add(torch.tensor(-1.0, device=x.device), x, alpha=2, out=x)  # in one pass over the memory


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
usual = transforms.Normalize(0.5, 0.5)(transforms.functional.to_tensor(every_byte.view(16, 16, 1).numpy()))
assert torch.equal(to_model(every_byte), usual.flatten())
assert to_model(every_byte)[0] == -1 and to_model(every_byte)[-1] == 1
assert to_image(torch.tensor([-3.0, 7.0])).tolist() == [0, 255]
with pytest.raises(TypeError, match="converted already"):
    to_model(to_model(every_byte))
outputs = torch.linspace(-1, 1, 100_001)
levels = outputs.add(1).mul(127.5)
print(f"mean error of truncation {(levels.byte() - levels).mean():.2f} grey levels, of rounding {(to_image(outputs) - levels).mean():.2f}")


# %% [markdown]
# ## Progress
#
# Whatever takes long says how far it is: a bar in a terminal, and a line every ten seconds where the output is a notebook or a log, which a bar would flood. There, what takes less than ten seconds prints nothing.

# %%
#| export
def progress(items: Iterable, description: str, unit: str) -> Iterable:
    "The items, with a progress bar in a terminal and a line every ten seconds elsewhere."
    seconds = 0.1 if sys.stderr.isatty() else 10
    return tqdm(items, desc=description, unit=f" {unit}s", mininterval=seconds, maxinterval=seconds, delay=seconds, leave=False)


# %%
assert list(progress(range(3), "counting", "number")) == [0, 1, 2]


# %% [markdown]
# ## A data set by name
#
# `load_dataset(name, split, size)`, at the end of this section, returns an `ImageSet`: images, labels, class names. The functions before it load one kind of data set each.

# %%
#| export
class ImageSet(NamedTuple):
    "Images at rest, with what is known about them."

    images: torch.Tensor  # uint8 (N, C, H, W)
    labels: torch.Tensor | None  # int64 (N,), or None where nobody labelled them
    classes: list[str]  # classes[label] is a label's name; empty without labels

    def pick(self, index: torch.Tensor | slice) -> "ImageSet":
        "The images at these places, with their labels."
        return self._replace(images=self.images[index], labels=None if self.labels is None else self.labels[index])


# %% [markdown]
# ### `digits`: no download
#
# scikit-learn ships 1,797 real handwritten digits of 8x8 pixels, scanned from forms that 13 people filled in (the test part of the UCI "Optical Recognition of Handwritten Digits" set). We enlarge them to 12x12 and centre them in 16x16, so that they have the margin that MNIST's digits have, and a network for MNIST works on them without a change. A GAN learns them in a few minutes on two CPU cores: they are this course's default.
#
# The file runs from writer to writer. We take five of every eighteen consecutive images for testing, so that train (1,297) and test (500) hold the same writers: two samples of *one* distribution. Otherwise a model's distance to the test images ([05_fid](05_fid.ipynb)) would also measure how the writers differ.

# %%
#| export
def _load_digits(split: str) -> ImageSet:
    raw = load_digits()
    test = np.arange(len(raw.images)) % 18 < 5
    keep = test if split == "test" else ~test
    x = torch.tensor(raw.images[keep], dtype=torch.float32)[:, None] / 16
    x = F.pad(F.interpolate(x, size=12, mode="bicubic", align_corners=False), (2, 2, 2, 2))
    return ImageSet(to_image(x * 2 - 1), torch.tensor(raw.target[keep]), [str(d) for d in range(10)])


# %% [markdown]
# `tinted_digits` are the same, each in a colour of its own: what a model for colour images can be tried on where no photographs are at hand.

# %%
#| export
def _load_tinted_digits(split: str) -> ImageSet:
    data = _load_digits(split)
    colours = torch.rand(len(data.images), 3, 1, 1, generator=torch.Generator().manual_seed(0 if split == "train" else 1))
    return data._replace(images=(data.images * (colours / colours.amax(1, keepdim=True))).round().to(torch.uint8))


# %%
tinted = _load_tinted_digits("test")
assert tinted.images.shape == (500, 3, 16, 16) and torch.equal(tinted.images.amax(1, keepdim=True), _load_digits("test").images)
for split, n in [("train", 1297), ("test", 500)]:
    images, labels, classes = _load_digits(split)
    assert images.shape == (n, 1, 16, 16) and images.dtype == torch.uint8
    assert labels.shape == (n,) and len(classes) == 10
    assert images[:, :, :2].max() == 0, "the margin is black"
    print(split, n, "images; of each digit", torch.bincount(labels).tolist())

# %% [markdown]
# ### MNIST, Fashion-MNIST, CIFAR-10: downloaded once, checked always
#
# Files are kept in a cache folder: `GENLAB_CACHE`, or the place that the operating system has for caches. `GENLAB_MIRROR`, if set, is tried before the public servers; it is a URL prefix under which stand `mnist/train-images-idx3-ubyte.gz` and so on, and `file:///some/folder` will do. The MD5 sum is compared on every start: a damaged or half-downloaded file is fetched again, never trained on.

# %%
#| export
# name: (public mirrors, {file: md5})
DOWNLOADS = {
    "mnist": (MNIST.mirrors, dict(MNIST.resources)),
    "fashion_mnist": (FashionMNIST.mirrors, dict(FashionMNIST.resources)),
    "cifar10": (["https://www.cs.toronto.edu/~kriz/"], {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"}),
}


def cache_dir(*parts: str) -> Path:
    "A folder for what can be had again: below `GENLAB_CACHE`, or the platform's user cache."
    folder = Path(os.environ.get("GENLAB_CACHE") or platformdirs.user_cache_dir("genlab"), *parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OSError(f"GENLAB_CACHE: {folder} cannot be made ({problem}); set it to a folder that can be written.") from problem
    return folder


# %% [markdown]
# `fetch` looks there first, then tries one server after the other. A server that says nothing for half a minute is given up. A lock makes a second process wait while the first downloads; what is there already is read without it, so that a cache may be read-only. If all fails, the error says what was tried, and what to do.

# %%
#| export
SILENCE = 30  # seconds without a word after which a server is given up


@contextmanager
def _patience() -> Iterator[None]:
    "Connections that are opened here are given up after `SILENCE`."
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def cache_lock(path: Path) -> AcquireReturnProxy:
    "For `with`: one process at a time makes this file or folder of the cache. OSError of one sentence where the lock cannot be written."
    try:
        return FileLock(f"{path}.lock").acquire()
    except OSError as problem:
        raise OSError(f"GENLAB_CACHE: {path.parent} cannot be written ({problem}); set it to a folder that can be.") from problem


def _download(url: str, file: Path, md5: str) -> str:
    "Put what a URL has into a file. Returns an empty string, or what went wrong."
    try:
        with _patience():
            download_url_to_file(url, file, progress=sys.stderr.isatty())
    except (OSError, ValueError, HTTPException) as problem:  # no network, no such file, disk full; no URL; no sensible answer
        return " ".join(str(problem).split()) or type(problem).__name__
    return "" if check_integrity(file, md5) else f"damaged: another MD5 sum than {md5}"


# %% [markdown]
# One mirror after the other:

# %%
#| export
def fetch(name: str, file: str) -> Path:
    "The path of a file of data set `name`, with its MD5 sum verified: cache, then `GENLAB_MIRROR`, then public mirrors."
    mirrors, md5 = DOWNLOADS[name][0], DOWNLOADS[name][1][file]
    if own := os.environ.get("GENLAB_MIRROR"):
        mirrors = [f"{own.rstrip('/')}/{name}/", *mirrors]
    path, tried = cache_dir(name) / file, []
    if check_integrity(path, md5):
        return path
    with cache_lock(path):
        for mirror in mirrors:
            if check_integrity(path, md5):  # another process was faster
                return path
            if not (problem := _download(mirror + file, path, md5)):
                return path
            tried.append(f"{mirror} ({problem})")
    raise RuntimeError(
        f"dataset: {file} of {name} could not be had from {', '.join(tried)}; put it into {path.parent}, or set GENLAB_MIRROR "
        f"to a URL prefix that has {name}/{file}, or use dataset='digits', which needs no download."
    )


# %% [markdown]
# MNIST comes in LeCun's IDX format: two zero bytes, a type, the number of dimensions, each dimension as a big-endian 32-bit integer, then the bytes. CIFAR-10 is taken in its *binary* version, one byte of label and 3,072 of image; the Python version is a pickle, and unpickling a download means running somebody's code.

# %%
#| export
def _read_idx(path: Path) -> torch.Tensor:
    raw = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(raw, ">u4", count=raw[3], offset=4)
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape).copy())


def _load_idx(name: str, split: str, classes: list[str]) -> ImageSet:
    prefix = "train" if split == "train" else "t10k"
    images = _read_idx(fetch(name, f"{prefix}-images-idx3-ubyte.gz"))
    labels = _read_idx(fetch(name, f"{prefix}-labels-idx1-ubyte.gz"))
    return ImageSet(images[:, None], labels.long(), classes)


def _load_cifar10(split: str) -> ImageSet:
    files = [f"data_batch_{i}.bin" for i in range(1, 6)] if split == "train" else ["test_batch.bin"]
    with tarfile.open(fetch("cifar10", "cifar-10-binary.tar.gz")) as tar:
        raw = b"".join(tar.extractfile(f"cifar-10-batches-bin/{file}").read() for file in files)
        classes = tar.extractfile("cifar-10-batches-bin/batches.meta.txt").read().decode().split()
    rows = torch.from_numpy(np.frombuffer(raw, np.uint8).reshape(-1, 3073).copy())
    return ImageSet(rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].long(), classes)


# %% [markdown]
# ### Any images: converted once
#
# The rest of this section is for data sets that come as single images: your own folder, faces, bedrooms, ImageNet. Each image is scaled so that its shorter side has `size` pixels (64 unless told), cropped to the centre square, and appended to one file in the cache. Training then reads that file as a **memory map**: a tensor whose bytes stay on disk until a batch asks for them, so that the pixels of 3,000,000 bedrooms need no more memory than those of 3,000.
#
# What is known about such images before they are converted:

# %%
#| export
BROKEN = (OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError)  # what PIL raises on files that are no images
WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # PIL's modes of numbers that are not bytes
GREY = ("1", "L", "LA", *WIDE)  # its modes without colour


class Source(NamedTuple):
    "Images that are not converted yet."

    n: int
    open: Callable[[int], Image.Image]  # image i; raises one of BROKEN
    modes: Callable[[], dict[str, float]]  # the modes of all images, and the number that is white in each of them
    labels: list[int] | None = None  # one an image
    classes: Sequence[str] = ()


# %% [markdown]
# Most images hold bytes, and 255 is white. Cameras and microscopes also write 12 or 16 bits, scientific programs floats, and the file does not say which number is white. So the largest number in the whole set decides: white is 1 if floats do not exceed 1, else the largest number of as many bits (255, 511, ..., 4095, ..., 65535).

# %%
#| export
def _numbers(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise ValueError("it holds negative or infinite numbers")
    return values


def _white(image: Image.Image) -> float:
    if image.mode not in WIDE:
        return 255
    largest = _numbers(image).max()
    return 1 if image.mode == "F" and largest <= 1 else 2 ** max(8, int(largest).bit_length()) - 1


# %% [markdown]
# And are they all grey? The headers of the files tell; a palette counts as grey if it has no other colours.

# %%
#| export
def find_modes(images: Iterable[Callable[[], Image.Image]]) -> dict[str, float]:
    "The modes of images, and the largest white in each. Only headers are read, unless numbers are not bytes. Broken images have no say."

    def look(open_image) -> tuple[str, float]:
        try:
            with open_image() as image:
                grey_palette = image.mode == "P" and not np.ptp(np.reshape(image.getpalette(), (-1, 3)), axis=1).any()
                return "L" if grey_palette else image.mode, _white(image)
        except BROKEN:
            return "", 0

    modes = {}
    with ThreadPoolExecutor() as pool:
        for mode, white in filter(all, pool.map(look, images)):
            modes[mode] = max(white, modes.get(mode, 0))
    return modes


# %% [markdown]
# Each of them becomes a square of bytes. It is turned as its EXIF tag says, as every viewer does. What is transparent becomes white: under it may lie any colour, which nobody was meant to see.

# %%
#| export
def to_square(
    image: Image.Image,
    size: int | None,  # pixels a side, centre-cropped; None: at its own size
    grey: bool,  # one channel, else three
    white: float | None = None,  # what is white in an image of 16 bits or floats; None: see above, from this image alone
) -> np.ndarray:  # uint8 (C, H, W)
    "An image as bytes, as a viewer shows it. Raises one of BROKEN on a broken file."
    image = ImageOps.exif_transpose(image)
    if image.mode in WIDE:
        image = Image.fromarray((_numbers(image) * (255 / (white or _white(image)))).round().clip(0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("L" if grey else "RGB")
    if size:
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)


# %% [markdown]
# The conversion writes two files: the pixels, and one byte for each image that says whether it could be read. Pixels go first, a thousand images at a time. So if the program is killed, it finds out from the second file how far it had come, cuts off what is half written, and goes on.

# %%
#| export
def _convert_pixels(source: Source, shape: tuple[int, int, int], modes: dict[str, float], folder: Path) -> np.ndarray:
    "Write images.bin and good.bin, from where an earlier attempt stopped. Returns for each image whether it could be read."

    def read(i: int) -> bytes | None:
        try:
            with source.open(i) as image:
                return to_square(image, shape[1], shape[0] == 1, modes.get(image.mode)).tobytes()
        except BROKEN:
            return None

    good_file, bytes_each = folder / "good.bin", math.prod(shape)
    done = good_file.read_bytes() if good_file.exists() else b""
    missing = (source.n - sum(done)) * bytes_each
    if missing > (free := shutil.disk_usage(folder).free):
        raise OSError(f"they take {missing / 1e9:.1f} GB more, and {free / 1e9:.1f} GB are free; set GENLAB_CACHE to a folder with more")
    with open(folder / "images.bin", "ab") as pixels, open(good_file, "ab") as good, ThreadPoolExecutor() as pool:
        pixels.truncate(sum(done) * bytes_each)
        thousands = range(len(done), source.n, 1000)
        for first in progress(thousands, "converting images", "thousand"):
            images = list(pool.map(read, range(first, min(first + 1000, source.n))))
            pixels.write(b"".join(filter(None, images)))
            pixels.flush()
            good.write(bytes(image is not None for image in images))
            good.flush()
    return np.frombuffer(good_file.read_bytes(), np.bool_)


# %% [markdown]
# What else is known about them goes beside: labels, shape, how many were left out, how bright the brightest pixel is, a checksum, and the file's size and the time of its last change, which are faster to compare.

# %%
#| export
def _convert(source: Source, size: int, folder: Path) -> None:
    "Write images.bin, labels.npy and facts.json into `folder`. ValueError if no image can be read."
    folder.mkdir(exist_ok=True)
    modes, file = source.modes(), folder / "images.bin"
    shape = (1 if modes.keys() <= set(GREY) else 3, size, size)
    good = _convert_pixels(source, shape, modes, folder)
    if not good.any():
        shutil.rmtree(folder)
        raise ValueError(f"none of the {source.n} images can be read")
    if source.labels is not None:
        np.save(folder / "labels.npy", np.asarray(source.labels)[good])
    facts = {"shape": [int(good.sum()), *shape], "skipped": int((~good).sum()), "classes": list(source.classes)}
    facts |= {"brightest": int(np.memmap(file, np.uint8, "r").max()), "sha256": _sha256(file), "stamp": _stamp(file)}
    (folder / "facts.json").write_text(json.dumps(facts))


def _sha256(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _stamp(file: Path) -> list[int]:
    "Size and time of the last change: as long as they stay, the checksum need not be computed again."
    return [file.stat().st_size, file.stat().st_mtime_ns]


# %% [markdown]
# As long as size and time of change are the same, the pixels are taken for whole; if not, the checksum decides.

# %%
#| export
def _intact(cached: Path) -> bool:
    file = cached / "images.bin"
    try:
        facts = json.loads((cached / "facts.json").read_text())
        return _stamp(file) == facts["stamp"] or _sha256(file) == facts["sha256"]
    except (OSError, ValueError, KeyError):
        return False


# %% [markdown]
# The result lies in a folder of the cache, built aside and renamed: it is there whole or not at all.

# %%
#| export
VERSION = 2  # to be raised when the same files would become other pixels, labels or splits


def _converted(what: str, key: Iterable, size: int, source: Callable[[], Source]) -> ImageSet:
    "The images of a source, from the cache; converted first if they are not there. `key` identifies them."
    cached = cache_dir("converted") / hashlib.sha256(json.dumps([VERSION, size, *key]).encode()).hexdigest()[:16]
    if not _intact(cached):
        with cache_lock(cached):
            _fill(cached, what, size, source)
    facts = json.loads((cached / "facts.json").read_text())
    if facts["skipped"]:
        n = facts["skipped"] + facts["shape"][0]
        warnings.warn(f"{what}: {facts['skipped']} of {n} files are not readable images and were skipped.", stacklevel=4)
    if facts["brightest"] < 32:
        warnings.warn(f"{what}: the images are nearly black: of 0 to 255 they use 0 to {facts['brightest']}.", stacklevel=4)
    labels = torch.from_numpy(np.load(cached / "labels.npy")) if (cached / "labels.npy").exists() else None
    images = torch.from_numpy(np.memmap(cached / "images.bin", np.uint8, "c", shape=tuple(facts["shape"])))
    images.sha256 = facts["sha256"]  # for fingerprint, which need not read the file then
    return ImageSet(images, labels, facts["classes"])


def _fill(cached: Path, what: str, size: int, source: Callable[[], Source]) -> None:
    "Convert, unless another process has done so by now."
    if _intact(cached):
        return
    if cached.exists():
        warnings.warn(f"{what}: the converted images in {cached} are damaged and are made again.", stacklevel=5)
        shutil.rmtree(cached)
    try:
        _convert(source(), size, cached.with_suffix(".tmp"))
        cached.with_suffix(".tmp").rename(cached)
    except OSError as problem:
        raise OSError(f"dataset: the images of {what} could not be converted into {cached.parent}: {problem}") from problem
    except ValueError as problem:
        raise ValueError(f"dataset: {what}: {problem}.") from problem


# %% [markdown]
# ### `folder:PATH`: your own images
#
# Any folder of images, in any sizes; of an animation the first picture is taken. Two rules say what the folders in it mean:
#
# - **Splits.** If there are `train` (or `training`) and one of `test`, `testing`, `eval`, `evaluation`, `val`, `valid`, `validation`, `dev` side by side, they are the two splits; of several the first in this list is for testing, and nothing else beside them is used. Capitals, and numbers at the end, make no difference. Otherwise every tenth image in name order is held out for testing.
# - **Classes.** The topmost level that has several folders names the classes, however deep the images lie in them. Images that lie in no class of the training split are left out, and a warning counts them. Without such a level there are no classes.
#
# Hidden files, such as `.ipynb_checkpoints`, and the folders that some systems add are left out without a word. So is what does not have the ending of an image. Other files that are no images are skipped, with a warning that counts them.
#
# The search follows links, but visits no folder twice: a folder that comes up again counts as one unreadable file, and so does a link that leads nowhere.

# %%
#| export
ENDINGS = (*IMG_EXTENSIONS, ".gif", ".jfif", ".jpe", ".pbm", ".pnm", ".avif")
OF_THE_SYSTEM = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")


def image_files(top: str) -> list[list]:
    "Of all image files below `top`, in name order: the path, and what changes with the content (size, times, place on disk)."
    files, folders, seen = [], deque([top]), set()
    while folders:
        folder = folders.pop()
        about = os.stat(folder)
        if (about.st_dev, about.st_ino) in seen:
            files.append([folder])
            continue
        seen.add((about.st_dev, about.st_ino))
        for entry in os.scandir(folder):
            if entry.name.startswith(".") or entry.name in OF_THE_SYSTEM:
                continue
            try:
                about = entry.stat()
            except OSError:  # a link that leads nowhere
                about = None
            if about and stat.S_ISDIR(about.st_mode):
                (folders.appendleft if entry.is_symlink() else folders.append)(entry.path)  # links come last
            elif entry.name.lower().endswith(ENDINGS) and (about is None or stat.S_ISREG(about.st_mode)):
                files.append([entry.path, *(about and (about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino) or ())])
    return sorted(files)


# %% [markdown]
# The two rules work on the folders that images lie in, as paths below the top. Folders that hold everything, such as the one that an archive unpacks into, are passed through first.

# %%
#| export
HELD_OUT = ("test", "testing", "eval", "evaluation", "val", "valid", "validation", "dev")
Place = tuple[str | None, list[str], str]  # a folder: its split, if folders tell; its path below the split, in words; its path


def _pass_through(places: list[Place]) -> list[Place]:
    "Into the folder that holds all others, as long as there is one."
    while len({below[0] for _, below, _ in places if below}) == 1:
        places = [(split, below[1:], folder) for split, below, folder in places]
    return places


def _find_splits(folders: Iterable[str], root: str) -> list[Place]:
    "To which split each folder belongs; those beside the splits are left out."
    places = _pass_through([(None, folder[len(root) :].strip(os.sep).split(os.sep) if folder != root else [], folder) for folder in folders])
    meaning = lambda name: name.lower().rstrip("0123456789 _-").replace("training", "train")
    named = [(meaning(below[0]), below[1:], folder) for _, below, folder in places if below]
    names = {name for name, *_ in named}
    held_out = next((name for name in HELD_OUT if name in names), None)
    if "train" not in names or not held_out:
        return places
    splits = {"train": "train", held_out: "test"}
    return _pass_through([(splits[name], below, folder) for name, below, folder in named if name in splits])


# %% [markdown]
# Then the classes, and the images that belong to none:

# %%
#| export
def _folder_splits(root: Path) -> dict[str, list[tuple[str | None, list]]]:
    "Class (None: there are none) and file of the images of both splits. An error of one sentence where a split is empty."
    files = image_files(str(root))
    places = _find_splits({os.path.dirname(file[0]) for file in files}, str(root))
    classes = {below[0] for split, below, _ in places if below and split != "test"} or {None}
    place = {folder: (split, None if None in classes else below[0] if below else "") for split, below, folder in places}
    used = [(*place[folder], file) for file in files if (folder := os.path.dirname(file[0])) in place]
    out = [file[0] for _, label, file in used if label not in classes]
    told = f"{len(out)} of {len(used)} images, such as {out and out[0]}, lie in no class of the training images"
    splits = {"train": [], "test": []}
    for i, (split, label, file) in enumerate(row for row in used if row[1] in classes):
        splits[split or ("test" if i % 10 == 9 else "train")].append((label, file))
    for split, part in splits.items():
        if not part:
            why = told if out else f"it takes one at least, or without train/ and test/ ten{_instead(root)}"
            raise ValueError(f"dataset: no images ({', '.join(ENDINGS)}) for the {split} split in {root}: {why}.")
    if out:
        warnings.warn(f"{root}: {told} and were left out.", stacklevel=5)
    return splits


def _instead(root: Path) -> str:
    "What lies there that is no image."
    endings = {Path(file).suffix or "nothing" for *_, files in os.walk(root) for file in files if not file.lower().endswith(ENDINGS)}
    return f"; the other files end in {', '.join(sorted(endings)[:9])} (unpack archives first)" if endings else ""


# %% [markdown]
# What identifies the files makes the key of the cache, so that a changed folder is converted anew. A file counts as changed if its size, one of its times or its place on the disk is another. The time of the last change of *status* cannot be set by programs, so that even a file that an archive unpacks with the old size and date is seen. What cannot be seen is a change that the file system does not note, on some network drives for example.

# %%
#| export
def _load_folder(root: Path, split: str, size: int) -> ImageSet:
    if not os.path.isdir(root):
        what = f"{root} is a file; unpack an archive first" if os.path.isfile(root) else f"there is no folder {root}"
        raise FileNotFoundError(f"dataset: {what}.")
    splits = _folder_splits(root)
    labels, files = zip(*splits[split], strict=True)
    every = splits["train"] + splits["test"]

    def source() -> Source:
        classes = sorted({label for label, _ in every if label is not None})
        numbers = [classes.index(label) for label in labels] if classes else None
        modes = lambda: find_modes(partial(Image.open, path) for _, (path, *_) in every)
        return Source(len(files), lambda i: Image.open(files[i][0]), modes, numbers, classes)

    return _converted(str(root), [split, splits], size, source)


# %% [markdown]
# ### `hf:REPO`: the Hugging Face Hub
#
# The `datasets` library fetches a data set of the [Hub](https://huggingface.co/datasets) by its name, `owner/name`, or opens one that lies in a folder (`hf:/some/folder`). It runs no code from there. The first column of images is taken, and the first column of class names, if there is one. The splits are `train` and the first that there is of those that are for testing in a folder, too; else every tenth image is held out. Images without a label are skipped, unless none has one. Whether the images are grey is seen from the first hundred of each split.
#
# Without a network the library would retry for a minute, so we ask first whether the Hub can be reached.

# %%
#| export
def _reachable(host: str) -> bool:
    try:
        socket.create_connection((host, 443), timeout=3).close()
    except OSError:
        return False
    return True


def _hub_splits(repo: str) -> dict:
    "The data set `repo` of the Hub, or in a folder, as two of the library's data sets: train and test."
    if not os.path.isabs(repo) and not os.environ.get("HTTPS_PROXY") and not _reachable("huggingface.co"):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # then what is in its cache is found at once, without a minute of retries
    import datasets as hub  # here because it takes a second, and reads the line above

    saved = any(Path(repo, file).exists() for file in ("dataset_dict.json", "state.json"))  # made by save_to_disk
    try:
        loaded = hub.load_from_disk(repo) if saved else hub.load_dataset(repo)
    except (OSError, ValueError, RuntimeError, NotImplementedError, hub.exceptions.DatasetsError) as problem:
        raise RuntimeError(f"dataset: hf:{repo} could not be had: {' '.join(str(problem).split())}") from problem
    splits = {"train": loaded} if isinstance(loaded, hub.Dataset) else loaded
    held_out = next((name for name in HELD_OUT if name in splits), None)
    if "train" in splits and held_out:
        return {"train": splits["train"], "test": splits[held_out]}
    data = splits["train"] if "train" in splits else next(iter(splits.values()))
    pick = lambda test: data.select([i for i in range(len(data)) if (i % 10 == 9) == test])
    return {"train": pick(False), "test": pick(True)}


# %% [markdown]
# What the library has loaded becomes a `Source`, as a folder did:

# %%
#| export
def _load_hf(repo: str, split: str, size: int) -> ImageSet:
    splits = _hub_splits(repo)
    data, features = splits[split], splits[split].features
    column = lambda kind: next((name for name, feature in features.items() if type(feature).__name__ == kind), None)
    image, label = column("Image"), column("ClassLabel")
    if not image:
        raise ValueError(f"dataset: hf:{repo} has no column of images; it has {', '.join(features)}.")

    def picture(part, i: int) -> Image.Image:
        if (found := part[i][image]) is None:
            raise ValueError("it has no image")
        return found

    def source() -> Source:
        labels = [-1 if value is None else value for value in data[label][:]] if label else [-1]
        known = max(labels) >= 0  # -1: somebody keeps them secret

        def read(i: int) -> Image.Image:
            if known and labels[i] < 0:
                raise ValueError("it has no label")
            return picture(data, i)

        modes = lambda: find_modes(partial(picture, part, i) for part in splits.values() for i in range(min(100, len(part))))
        return Source(len(data), read, modes, labels if known else None, features[label].names if known else ())

    return _converted(f"hf:{repo}", [split, *(part._fingerprint for part in splits.values())], size, source)


# %% [markdown]
# ### `celeba`: 200,000 faces
#
# Torchvision downloads CelebA from its authors' Google Drive, which takes only so many visitors a day. The 178x218 pixels are cropped to the central square. We use the splits `train` (162,770 images) and `test` (19,962). There are no classes: the 40 attributes, such as *smiling*, do not exclude each other.

# %%
#| export
def _load_celeba(split: str, size: int) -> ImageSet:
    def source() -> Source:
        try:
            data = CelebA(cache_dir(), split, download=True)
        except (OSError, RuntimeError, ModuleNotFoundError) as problem:
            raise ValueError(
                f"it could not be downloaded ({problem}); put img_align_celeba.zip and the lists of its Anno and Eval folders, "
                f"from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, into {cache_dir('celeba')}"
            ) from problem
        folder = cache_dir("celeba", "img_align_celeba")
        return Source(len(data), lambda i: Image.open(folder / data.filename[i]), lambda: {"RGB": 255})

    return _converted("celeba", ["celeba", split], size, source)


# %% [markdown]
# ### One function for all of them
#
# What the five student reports behind this course trained on, by which name it is loaded here, and on which terms it is to be had:
#
# | data set | name | terms |
# |---|---|---|
# | [MNIST](http://yann.lecun.com/exdb/mnist/) (reports 000, 002, 003, 004) | `mnist` | CC BY-SA 3.0 |
# | [CIFAR-10](https://www.cs.toronto.edu/~kriz/cifar.html) (report 004) | `cifar10` | none stated; cite Krizhevsky 2009 |
# | [CelebA](https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html) (report 002) | `celeba` | non-commercial research only |
# | [LSUN bedrooms](https://www.yf.io/p/lsun) (report 001) | `hf:pcuenq/lsun-bedrooms`, a fifth of them | those of LSUN: research; the images belong to others |
# | [ImageNet](https://www.image-net.org/download.php), 64x64 (report 002) | `hf:benjamin-paine/imagenet-1k-64x64` | non-commercial research and education; accept the terms on the Hub first |
#
# A name is looked up before anything is loaded, so that a typing error costs no time:

# %%
#| export
DIGIT_NAMES = [str(d) for d in range(10)]
FASHION_NAMES = "T-shirt trouser pullover dress coat sandal shirt sneaker bag boot".split()
LOADERS |= {  # a split to images at their own size
    "digits": _load_digits,
    "mnist": lambda split: _load_idx("mnist", split, DIGIT_NAMES),
    "fashion_mnist": lambda split: _load_idx("fashion_mnist", split, FASHION_NAMES),
    "cifar10": _load_cifar10,
    "tinted_digits": _load_tinted_digits,
}
CONVERTERS = {  # what follows the colon, a split and a size to images of that size
    "folder": lambda place, split, size: _load_folder(Path(place), split, size),
    "hf": _load_hf,
    "celeba": lambda place, split, size: _load_celeba(split, size),
}


def check_dataset(name: str) -> str:
    "`name` if `load_dataset` knows it, the path of a folder made absolute; else a ValueError that lists what it knows."
    kind, _, place = name.partition(":")
    if (kind == "folder" and place) or (kind == "hf" and place[:1] in ("/", ".", "~")):
        try:
            return f"{kind}:{Path(place).expanduser().resolve()}"
        except (RuntimeError, ValueError, OSError) as problem:  # ~nobody, a zero byte, a link to itself
            raise ValueError(f"dataset: {name!r} is no path of a folder: {problem}.") from None
    if name != "celeba" and not (kind == "hf" and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", place)):
        look_up("dataset", name, LOADERS)
    return name


# %% [markdown]
# Then the loader of that name does its work. Data sets that are not converted are resized here, if another size is asked for.

# %%
#| export
def load_dataset(
    name: str,  # digits, mnist, fashion_mnist, cifar10, celeba, hf:REPO or folder:PATH
    split: str = "train",  # train or test
    size: int | None = None,  # pixels a side; None: the data set's own (64 for celeba, hf and folder)
) -> ImageSet:  # images uint8 (N, C, size, size), labels int64 (N,) or None, class names
    """A data set by name. ValueError for an unknown one; RuntimeError that says what was tried if it cannot be downloaded.

    In a folder, `train` and `test` (or `val`, `dev`, ...) side by side are the splits; without them every tenth image is held out.
    The topmost level of several folders names the classes; images in no class of the training split are left out, with a warning.
    """
    name = check_dataset(name)
    if split not in ("train", "test"):
        raise ValueError(f"split: {split!r} is neither 'train' nor 'test'.")
    if size is not None and not 4 <= size <= 1024:
        raise ValueError(f"size: {size} is not between 4 and 1024 pixels.")
    kind, _, place = name.partition(":")
    if kind in CONVERTERS:
        return CONVERTERS[kind](place, split, size or 64)
    data = LOADERS[name](split)
    if size in (None, data.images.shape[-1]):
        return data
    return data._replace(images=resize(data.images, [size, size], antialias=True))


# %%
with pytest.raises(ValueError, match="dataset: 'minst' is unknown; did you mean mnist"):
    load_dataset("minst")
with pytest.raises(ValueError, match="dataset: 'hf:a/b/c' is unknown"):
    load_dataset("hf:a/b/c")
with pytest.raises(ValueError, match="split"):
    load_dataset("digits", "validation")
with pytest.raises(FileNotFoundError, match="there is no folder"):
    load_dataset("folder:/no/such/place")
assert load_dataset("digits", size=32).images.shape == (1297, 1, 32, 32)
data = load_dataset(dataset, "train", size)
print(f"{dataset}: {len(data.images):,} training images, each {tuple(data.images.shape[1:])}")

# %% [markdown]
# A test: a folder of images in two classes, where one file holds text instead of an image. It is converted; then the conversion is made to look interrupted; then the result is damaged. Each time we get the same images:

# %%
place = tempfile.TemporaryDirectory()
os.environ["GENLAB_CACHE"], cache = place.name + "/cache", os.environ.get("GENLAB_CACHE", "")
for i, (image, label) in enumerate(zip(*_load_digits("test")[:2], strict=True)):
    folder = Path(place.name, "images", "odd" if label % 2 else "even")
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[0].numpy()).save(folder / f"{i:03}.png")
Path(place.name, "images", "even", "000.png").write_text("I am not a picture")
with pytest.warns(UserWarning, match="1 of 450 files are not readable images"):
    own = load_dataset(f"folder:{place.name}/images", size=24)
assert own.images.shape == (449, 1, 24, 24) and own.classes == ["even", "odd"] and torch.bincount(own.labels).sum() == 449
(converted,) = Path(place.name, "cache", "converted").glob("*[!k]")
before, half = own.images.clone(), converted.with_suffix(".tmp")
converted.rename(half)  # as if killed: less is noted as done than is written
(half / "good.bin").write_bytes((half / "good.bin").read_bytes()[:200])
with pytest.warns(UserWarning, match="1 of 450"):
    assert torch.equal(load_dataset(f"folder:{place.name}/images", size=24).images, before)
with open(converted / "images.bin", "r+b") as file:
    file.write(b"damaged")
with pytest.warns(UserWarning, match="1 of 450"), pytest.warns(UserWarning, match="are damaged and are made again"):
    assert torch.equal(load_dataset(f"folder:{place.name}/images", size=24).images, before)

# %% [markdown]
# The same folder as the Hub's library sees it. It refuses the broken file, so that has to go first:

# %%
#| hide
import datasets as hub

hub.disable_progress_bars()

# %%
Path(place.name, "images", "even", "000.png").unlink()
for split in ("train", "test"):
    as_folder, as_hub = (load_dataset(f"{kind}:{place.name}/images", split, 24) for kind in ("folder", "hf"))
    assert torch.equal(as_hub.images, as_folder.images) and torch.equal(as_hub.labels, as_folder.labels) and as_hub.classes == ["even", "odd"]
with pytest.raises(RuntimeError, match="dataset: hf:.*nothing could not be had"):
    load_dataset(f"hf:{place.name}/nothing")
os.environ["GENLAB_CACHE"] = cache
place.cleanup()


# %% [markdown]
# ### Are these the images that they were?
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
some = _load_digits("test")
changed = some.images.clone()
changed[7, 0, 3, 3] += 1
variants = [some, some._replace(images=changed), some._replace(labels=some.labels.flip(0)), some.pick(slice(499)), some._replace(labels=None)]
assert fingerprint(some) == fingerprint(some.pick(torch.arange(500))) and len(set(map(fingerprint, variants))) == 5


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
grid = image_grid(data.images[:11], ncol=4, pad=1)
c, h, w = data.images.shape[1:]
assert grid.shape == (3 * (h + 1) + 1, 4 * (w + 1) + 1, 3) and grid.dtype == np.uint8
assert np.array_equal(grid[1 : h + 1, 1 : w + 1, 0], data.images[0, 0].numpy())
assert np.array_equal(image_grid(data.images[:3]), image_grid(to_model(data.images[:3])))
show_grid(data.images[:64], ncol=16, title=f"{dataset}: the first 64 training images")

# %% [markdown]
# What does the *average* image of each class look like? A model that has learned no more than these would draw ten soft digits, always the same. A generator must do better than that.

# %%
groups = [data.images] if data.labels is None else [data.images[data.labels == k] for k in range(len(data.classes))]
means = torch.stack([images.float().mean(0) for images in groups])
show_grid(means.round().to(torch.uint8), ncol=10, title="mean image of each class")


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
# With that, the batches of an epoch. Bytes become floats here, a batch at a time.

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
    images, labels, _ = data
    generator = torch.Generator().manual_seed(derive_seed(seed, epoch))
    for index in torch.randperm(len(images), generator=generator).split(batch_size)[start:]:
        index = index.to(images.device)
        x = images.index_select(0, index).to(device, non_blocking=True)  # index_select is faster than images[index]
        yield to_model(x), None if labels is None else labels[index.to(labels.device)].to(device)


# %%
first = [x for x, _ in epoch_batches(data, 100, seed=0, epoch=3)]
again = [x for x, _ in epoch_batches(data, 100, seed=0, epoch=3, start=2)]
assert all(torch.equal(a, b) for a, b in zip(first[2:], again, strict=True)), "resuming changes nothing"
assert sum(map(len, first)) == len(data.images), "every image, once"
assert torch.equal(torch.cat(first).sort(0).values, to_model(data.images).sort(0).values)
other = next(epoch_batches(data, 100, seed=0, epoch=4))[0]
assert not torch.equal(first[0], other), "another epoch, another order"
assert len({derive_seed(1, 2), derive_seed(2, 1), derive_seed(1), derive_seed(1, 0)}) == 4


# %% [markdown]
# ### Fewer images
#
# How does a model fare with a thousand images instead of sixty thousand? `take` draws a part of a data set, as a count or as a share, and the seed says which part.

# %%
#| export
def take(
    data: ImageSet,
    subset: int | float | None,  # a count of images from 1 on, or, as a float, a share up to 1.0; None: all of them
    seed: int = 0,
) -> ImageSet:
    "A random part of a data set, in a random order. ValueError if there are not so many images."
    if subset is None:
        return data
    n = round(subset * len(data.images)) if isinstance(subset, float) and subset <= 1 else int(subset)
    if not 1 <= n <= len(data.images):
        raise ValueError(f"subset: {subset} is {n} images, and the training set has {len(data.images)}.")
    index = torch.randperm(len(data.images), generator=torch.Generator().manual_seed(derive_seed(seed, 2)))[:n]
    return data.pick(index)


# %%
few = take(data, 100, seed=1)
assert len(few.images) == 100 and (few.labels is None or len(few.labels) == 100) and torch.equal(few.images, take(data, 100, seed=1).images)
assert not torch.equal(few.images, take(data, 100, seed=2).images) and take(data, None) is data
assert [len(take(data, share).images) for share in (0.1, 1.0, 1)] == [round(0.1 * len(data.images)), len(data.images), 1]
with pytest.raises(ValueError, match="subset: 1000000 is 1000000 images, and the training set has"):
    take(data, 1_000_000)


# %% [markdown]
# ### Why not a `DataLoader`?
#
# The usual recipe opens, converts and normalises one image at a time through PIL. For images that fit in memory all of that work can be done on a whole batch at once. It is the batch that matters, and not who draws it: a `DataLoader` can be handed whole batches, too, with `batch_size=None` and a sampler that yields many indices at a time. Here are both ways to write a data set:

# %%
class OneByOne(torch.utils.data.Dataset):
    "What torchvision's data sets do: a PIL image each, then ToTensor and Normalize."

    usual = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])

    def __len__(self):
        return len(data.images)

    def __getitem__(self, i):
        return self.usual(Image.fromarray(data.images[i, 0].numpy())), data.labels[i]


class InBatches(OneByOne):
    "The images of many indices at a time."

    def __getitem__(self, index):
        index = torch.as_tensor(index)
        return to_model(data.images.index_select(0, index)), data.labels[index]


# %% [markdown]
# Three loaders, each a function of the order in which the images come. All give the same pixels as `epoch_batches`, to the bit:

# %%
whole = dict(dataset=InBatches(), batch_size=None)
loaders = {
    "DataLoader": lambda order: DataLoader(OneByOne(), batch_size=128, sampler=order.tolist()),
    "DataLoader, BatchSampler": lambda order: DataLoader(sampler=BatchSampler(order.tolist(), 128, drop_last=False), **whole),
    "DataLoader, index tensors": lambda order: DataLoader(sampler=order.split(128), **whole),
}
comparable = data.images.shape[1] == 1 and data.labels is not None
if comparable:
    order = torch.randperm(len(data.images), generator=torch.Generator().manual_seed(derive_seed(0, 0)))
    theirs = [loader(order) for loader in loaders.values()]
    for ours, *others in zip(epoch_batches(data, 128, seed=0, epoch=0), *theirs, strict=True):
        assert all(torch.equal(a, b) for other in others for a, b in zip(ours, other, strict=True))


# %% [markdown]
# So many images come out in a second. The ways take turns, nine times, since the machine may be busy with something else meanwhile; the last column is the median over the turns, with the lowest and the highest (measured when this notebook was last executed; `benchmarks/batches.py` does the same with MNIST):

# %%
def images_per_second(batches: Callable[[], Iterable], seconds: float = 0.1) -> float:
    "Whole epochs, until the time is over."
    start, n = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds:
        n += sum(len(x) for x, _ in batches())
    return n / passed


if comparable:
    kinds = {"epoch_batches": lambda: epoch_batches(data, 128, seed=0, epoch=0)}
    kinds |= {name: lambda loader=loader: loader(torch.randperm(len(data.images))) for name, loader in loaders.items()}
    rates = np.array([[images_per_second(batches) for batches in kinds.values()] for _ in range(9)])
    times = rates[:, :1] / rates
    for name, rate, ratio in zip(kinds, rates.T, times.T, strict=True):
        told = f"epoch_batches is {np.median(ratio):.1f} times as fast ({ratio.min():.1f} to {ratio.max():.1f})"
        print(f"{name:>26}: {np.median(rate):>10,.0f} images/s; {told}")

# %% [markdown]
# One image at a time is slower by a factor of more than a hundred: each becomes a Python object or two, and small operations are done a hundred times where one large one would do. A `DataLoader` that is handed whole batches comes within a factor of about two. With a `BatchSampler` it still takes every index through Python, with index tensors it does not. On MNIST, on one core of a busy machine, `epoch_batches` was 169 times as fast as the usual way (156 to 195 in four rounds), 1.6 times as fast as with a `BatchSampler` (1.3 to 2.1) and 1.3 times as with index tensors (1.1 to 1.5). So the speed is that of batches, and any loader can have most of it. `epoch_batches` is here because it is ten lines long, and because its order depends on `(seed, epoch)` only.

# %% [markdown]
# ## What to remember
#
# - Bytes at rest, [-1, 1] at work, one converter each way.
# - A data set is a tensor; a batch is a slice; the order is a function of (seed, epoch).
# - `digits` needs no download. Downloads are checked against their MD5 sums, converted images against a checksum of their own.
#
# ## Exercises
#
# 1. Show the 32 brightest and the 32 darkest images of the training set. What do they have in common?
# 2. `fashion_mnist` has the same format as MNIST. Run this notebook with `-p dataset fashion_mnist` and compare the class means.
# 3. Two images of the same class differ by how many grey levels on average, two of different classes by how many? What does that say about pixel distance as a measure of likeness?
# 4. The crop of `folder:` throws away the margins of a wide picture. Write a version that pads instead. Which would you train a generative model on, and why?

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
#
# <details><summary>4. Padding instead of cropping</summary>
#
# One line of `to_square` changes, `ImageOps.pad` for `ImageOps.fit`:
#
#     image = ImageOps.pad(image, (size, size), Image.Resampling.BICUBIC, color=0)
#
# What it does to a wide picture:
#
#     wide = Image.fromarray(image_grid(data.images[:3], ncol=3)).convert("L")
#     padded = ImageOps.pad(wide, (48, 48), Image.Resampling.BICUBIC, color=0)
#     show_grid(torch.tensor(np.asarray(padded))[None, None], ncol=1)
#
# The cache does not see that you changed the function: raise `VERSION`, or set `GENLAB_CACHE` to a new folder, before you load yours. For photographs, crop. To a model the bars are part of the image: it spends capacity on drawing them, its samples have bars, too, and a distance between data and samples measures them; what is left of a wide picture has fewer pixels. Cropping loses what lies at the margins, but what it keeps looks like any photograph. Pad where the thing must be whole and its background has one colour anyway, as letters and drawings do; then take that colour, and nobody sees a bar. `digits` is made like this.
#
# </details>
