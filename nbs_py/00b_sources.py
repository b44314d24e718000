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
# # Where images come from
#
# > Downloads that are checked, folders and the Hub converted once into a memory map, and how to add a data set of your own
#
# `load_dataset` of [00_data](00_data.ipynb) turns a name into images. This notebook is behind it: it fetches MNIST and its like, and it makes one tensor of any folder of images. Read it when you bring images of your own, or when a download fails.
#
# A **loader** is a function of the split, `"train"` or `"test"`. It returns bytes of shape (N, channels, height, width), a label for each or None, and the names of the classes. The dictionary `LOADERS` has one for each name ([00c_plug](00c_plug.ipynb)). So a data set of your own is one function and one line:
#
#     def noise(split):
#         generator = torch.Generator().manual_seed(0 if split == "train" else 1)
#         images = torch.randint(0, 256, (1000, 1, 16, 16), dtype=torch.uint8, generator=generator)
#         return images, None, []
#
#
#     LOADERS["noise"] = noise
#
# In a module that `GENLAB_PLUGINS` names, `-p dataset noise` then works in every notebook. The images must be the same whenever the loader is called: a run notices if it is shown others ([00_runs](00_runs.ipynb)). A name with a place behind it, such as `LOADERS["mine:PATH"]`, gets what stands behind the colon as its second argument.

# %%
#| default_exp sources

# %% tags=["parameters"]
side = 24  # pixels a side of the images that are converted at the end

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
import mmap
import os
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

import numpy as np
import platformdirs
import torch
from filelock import AcquireReturnProxy, FileLock
from PIL import Image, ImageOps
from torch.hub import download_url_to_file
from torchvision.datasets import MNIST, CelebA, FashionMNIST
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.datasets.utils import check_integrity
from tqdm import tqdm

from genlab.plug import LOADERS

# %%
#| hide
import tempfile

import pytest

from genlab.data import load_dataset, show_grid


# %% [markdown]
# ## Progress
#
# Whatever takes long says how far it is: a bar in a terminal, and a line every ten seconds where the output is a notebook or a log, which a bar would flood. There, what takes less than ten seconds prints nothing.

# %%
#| export
def progress(items: Iterable, description: str, unit: str) -> Iterable:
    "The items, with a progress bar in a terminal and a line every ten seconds elsewhere."
    seconds = 0.1 if sys.stderr.isatty() else 10
    often = dict(mininterval=seconds, maxinterval=seconds, delay=seconds)
    return tqdm(items, description, leave=False, unit=f" {unit}s", **often)


# %%
assert list(progress(range(3), "counting", "number")) == [0, 1, 2]

# %% [markdown]
# ## MNIST, Fashion-MNIST, CIFAR-10: downloaded once, checked always
#
# Files are kept in a cache folder: `GENLAB_CACHE`, or the place that the operating system has for caches. `GENLAB_MIRROR`, if set, is tried before the public servers; it is a URL prefix under which stand `mnist/train-images-idx3-ubyte.gz` and so on, and `file:///some/folder` will do. The MD5 sum is compared on every start: a damaged or half-downloaded file is fetched again, never trained on.

# %%
#| export
DOWNLOADS = {  # name: (public mirrors, {file: md5})
    "mnist": (MNIST.mirrors, dict(MNIST.resources)),
    "fashion_mnist": (FashionMNIST.mirrors, dict(FashionMNIST.resources)),
    "cifar10": (
        ["https://www.cs.toronto.edu/~kriz/"],
        {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
    ),
}


def cache_dir(*parts: str) -> Path:
    "A folder for what can be had again: below `GENLAB_CACHE`, or the platform's user cache."
    folder = Path(os.environ.get("GENLAB_CACHE") or platformdirs.user_cache_dir("genlab"), *parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        advice = "set it to a folder that can be written"
        raise OSError(f"GENLAB_CACHE: {folder} cannot be made ({problem}); {advice}.") from problem
    return folder


# %% [markdown]
# Some figures of the course show MNIST where it need not be downloaded first:

# %%
#| export
def at_hand(name: str) -> bool:
    "Has the cache all files of this data set, or is there a `GENLAB_MIRROR` to take them from?"
    files = DOWNLOADS[name][1]
    return "GENLAB_MIRROR" in os.environ or all((cache_dir(name) / file).exists() for file in files)


# %% [markdown]
# `fetch` looks there first, then tries one server after the other. A server that says nothing for half a minute is given up. A lock makes a second process wait while the first downloads; what is there already is read without it, so that a cache may be read-only. If all fails, the error says what was tried, and what to do.

# %%
#| export
TIMEOUT = 30  # seconds without an answer after which a server is given up


@contextmanager
def _limited_patience() -> Iterator[None]:
    "Connections that are opened here are given up after `TIMEOUT`."
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


# %%
#| export
def _download(url: str, file: Path, md5: str) -> str:
    "Put what a URL has into a file. Returns an empty string, or what went wrong."
    try:
        with _limited_patience():
            download_url_to_file(url, file, progress=sys.stderr.isatty())
    # no network or file, disk full; no URL; no answer
    except (OSError, ValueError, HTTPException) as problem:
        return " ".join(str(problem).split()) or type(problem).__name__
    return "" if check_integrity(file, md5) else f"damaged: another MD5 sum than {md5}"


# %% [markdown]
# Two programs may need the same file at the same time. One of them makes it, the other one waits:

# %%
#| export
def cache_lock(path: Path) -> AcquireReturnProxy:
    """For `with`: one process at a time makes this file or folder of the cache.

    OSError of one sentence where the lock cannot be written.
    """
    try:
        return FileLock(f"{path}.lock").acquire()
    except OSError as problem:
        advice = "set it to a folder that can be"
        raise OSError(f"GENLAB_CACHE: {path.parent} cannot be written ({problem}); {advice}.") from problem


# %% [markdown]
# One mirror after the other:

# %%
#| export
def fetch(name: str, file: str) -> Path:
    "The path of a file of data set `name`, MD5 sum verified: from cache, `GENLAB_MIRROR` or public mirrors."
    mirrors, md5 = DOWNLOADS[name][0], DOWNLOADS[name][1][file]
    if own := os.environ.get("GENLAB_MIRROR"):
        mirrors = [f"{own.rstrip('/')}/{name}/", *mirrors]
    path, problems = cache_dir(name) / file, []
    if check_integrity(path, md5):
        return path
    with cache_lock(path):
        for mirror in mirrors:
            if check_integrity(path, md5):  # another process was faster
                return path
            if not (problem := _download(mirror + file, path, md5)):
                return path
            problems.append(f"{mirror} ({problem})")
    raise RuntimeError(
        f"dataset: {file} of {name} could not be had from {', '.join(problems)}; put it into {path.parent}, "
        f"or set GENLAB_MIRROR to a URL prefix that has {name}/{file}, "
        "or use dataset='digits', which needs no download."
    )


# %% [markdown]
# MNIST comes in LeCun's IDX format: two zero bytes, a type, the number of dimensions, each dimension as a big-endian 32-bit integer, then the bytes. CIFAR-10 is taken in its *binary* version, one byte of label and 3,072 of image; the Python version is a pickle, and unpickling a download means running somebody's code.

# %%
#| export
Images = tuple[torch.Tensor, torch.Tensor | None, list[str]]  # bytes (N, C, H, W), int64 (N,), classes
DIGIT_NAMES = [str(digit) for digit in range(10)]
FASHION_NAMES = "T-shirt trouser pullover dress coat sandal shirt sneaker bag boot".split()


def _read_idx(path: Path) -> torch.Tensor:
    content = gzip.decompress(path.read_bytes())
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", count=dimensions, offset=4)
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy())


def _load_idx(name: str, split: str, classes: list[str]) -> Images:
    prefix = "train" if split == "train" else "t10k"
    images = _read_idx(fetch(name, f"{prefix}-images-idx3-ubyte.gz"))
    labels = _read_idx(fetch(name, f"{prefix}-labels-idx1-ubyte.gz"))
    return images[:, None], labels.long(), classes


# %%
#| export
def load_mnist(split: str) -> Images:
    "60,000 and 10,000 digits, 28x28."
    return _load_idx("mnist", split, DIGIT_NAMES)


def load_fashion_mnist(split: str) -> Images:
    "60,000 and 10,000 pieces of clothing, 28x28."
    return _load_idx("fashion_mnist", split, FASHION_NAMES)


# %%
#| export
def load_cifar10(split: str) -> Images:
    "50,000 and 10,000 photographs of animals and vehicles, in colour, 32x32."
    files = [f"data_batch_{i}.bin" for i in range(1, 6)] if split == "train" else ["test_batch.bin"]
    with tarfile.open(fetch("cifar10", "cifar-10-binary.tar.gz")) as tar:
        content = b"".join(tar.extractfile(f"cifar-10-batches-bin/{file}").read() for file in files)
        classes = tar.extractfile("cifar-10-batches-bin/batches.meta.txt").read().decode().split()
    rows = torch.from_numpy(np.frombuffer(content, np.uint8).reshape(-1, 3073).copy())
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].long(), classes


LOADERS |= {"mnist": load_mnist, "fashion_mnist": load_fashion_mnist, "cifar10": load_cifar10}

# %% [markdown]
# ## Any images: converted once
#
# The rest of this notebook is for data sets that come as single images: your own folder, faces, bedrooms, ImageNet. Each image is scaled so that its shorter side has `size` pixels (64 if none are asked for), cropped to the centre square, and appended to one file in the cache. Training then reads that file as a **memory map**: a tensor whose bytes stay on disk until a batch asks for them, so that the pixels of 3,000,000 bedrooms need no more memory than those of 3,000.
#
# A loader of such images returns a function of the size, which `load_dataset` calls. What is known about such images before they are converted:

# %%
#| export
# what PIL raises on what is no image
BROKEN = (OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError)
WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # PIL's modes of numbers that are not bytes
GREY = ("1", "L", "LA", *WIDE)  # its modes without colour


class Source(NamedTuple):
    "Images that are not converted yet."

    n: int
    open: Callable[[int], Image.Image]  # image i; raises one of BROKEN
    modes: dict[str, float]  # the modes of all images, and the number that is white in each of them
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
def _mode_and_white(open_image: Callable[[], Image.Image]) -> tuple[str, float]:
    "The mode of an image, and the number that is white in it; an empty mode if it is broken."
    try:
        with open_image() as image:
            grey_palette = (
                image.mode == "P" and not np.ptp(np.reshape(image.getpalette(), (-1, 3)), axis=1).any()
            )
            return "L" if grey_palette else image.mode, _white(image)
    except BROKEN:
        return "", 0


# %%
#| export
def find_modes(images: Iterable[Callable[[], Image.Image]]) -> dict[str, float]:
    """The modes of images, and the largest white in each. Broken images do not count.

    Only headers are read, unless numbers are not bytes.
    """
    modes = {}
    with ThreadPoolExecutor() as pool:
        for mode, white in filter(all, pool.map(_mode_and_white, images)):
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
    white: float | None = None,  # what is white in 16 bits or floats; None: decided by this image alone
) -> np.ndarray:  # uint8 (C, H, W)
    "An image as bytes, as a viewer shows it. Raises one of BROKEN on a broken file."
    image = ImageOps.exif_transpose(image)
    if image.mode in WIDE:
        levels = _numbers(image) * (255 / (white or _white(image)))
        image = Image.fromarray(levels.round().clip(0, 255).astype(np.uint8))
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
def _read(source: Source, shape: tuple[int, int, int], i: int) -> bytes | None:
    "Image i, converted; None if it is broken."
    try:
        with source.open(i) as image:
            return to_square(image, shape[1], shape[0] == 1, source.modes.get(image.mode)).tobytes()
    except BROKEN:
        return None


def _check_space(folder: Path, needed: int) -> None:
    "OSError if the disk has less than so many bytes left."
    if needed > (free := shutil.disk_usage(folder).free):
        advice = "set GENLAB_CACHE to a folder with more"
        raise OSError(f"they take {needed / 1e9:.1f} GB more, and {free / 1e9:.1f} GB are free; {advice}")


# %%
#| export
def _convert_pixels(source: Source, shape: tuple[int, int, int], folder: Path) -> np.ndarray:
    "Write images.bin and good.bin, from where an earlier attempt stopped. Returns which images are good."
    good_file, bytes_each = folder / "good.bin", math.prod(shape)
    done = good_file.read_bytes() if good_file.exists() else b""
    _check_space(folder, (source.n - sum(done)) * bytes_each)
    with (
        open(folder / "images.bin", "ab") as pixels,
        open(good_file, "ab") as good,
        ThreadPoolExecutor() as pool,
    ):
        pixels.truncate(sum(done) * bytes_each)
        for first in progress(range(len(done), source.n, 1000), "converting images", "thousand"):
            numbers = range(first, min(first + 1000, source.n))
            images = list(pool.map(partial(_read, source, shape), numbers))
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
    file = folder / "images.bin"
    shape = (1 if source.modes.keys() <= set(GREY) else 3, size, size)
    good = _convert_pixels(source, shape, folder)
    if not good.any():
        shutil.rmtree(folder)
        raise ValueError(f"none of the {source.n} images can be read")
    if source.labels is not None:
        np.save(folder / "labels.npy", np.asarray(source.labels)[good])
    facts = {
        "shape": [int(good.sum()), *shape],
        "skipped": int((~good).sum()),
        "classes": list(source.classes),
    }
    facts["brightest"] = int(np.memmap(file, np.uint8, "r").max())
    facts |= {"sha256": _sha256(file), "stamp": _stamp(file)}
    (folder / "facts.json").write_text(json.dumps(facts))


# %%
#| export
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
#
# Could the `datasets` library do all this? It converts with `Dataset.map` into an Arrow file, which is a memory map, too. We tried it (version 5.2, 5,000 images of 64x64 in colour, on one core of a busy machine). When it was killed after 3,000 images it began again with the first one. And the pixels of a row lie in the file as a list, from which each image is copied: a batch of 128 random images took 80 ms, and 8 ms from the map that is made here. So the library opens data sets (below), and the conversion is ours.

# %%
#| export
VERSION = 2  # to be raised when the same files would become other pixels, labels or splits


def converted(
    what: str,  # how messages call the data set
    key: list,  # what identifies the images: with another key they are converted anew
    source: Callable[[], Source],  # called if they are not in the cache yet
    size: int,  # pixels a side
) -> Images:  # a memory map
    "The images of a source, from the cache; converted first if they are not there."
    digits = hashlib.sha256(json.dumps([VERSION, size, *key]).encode()).hexdigest()[:16]
    cached = cache_dir("converted") / digits
    if not _intact(cached):
        with cache_lock(cached):
            _fill(cached, what, source, size)
    facts = json.loads((cached / "facts.json").read_text())
    _warn(what, facts)
    labels = torch.from_numpy(np.load(cached / "labels.npy")) if (cached / "labels.npy").exists() else None
    images = _mapped(cached / "images.bin", tuple(facts["shape"]))
    images.sha256 = facts["sha256"]  # for fingerprint, which need not read the file then
    return images, labels, facts["classes"]


# %%
#| export
def _mapped(file: Path, shape: tuple[int, ...]) -> torch.Tensor:
    "Images whose bytes stay in a file; what is written into them does not go there."
    try:
        array = np.memmap(file, np.uint8, "c", shape=shape)
    except OSError:  # Linux wants memory for all that might be written; a larger set can only be read
        array = np.memmap(file, np.uint8, "r", shape=shape)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        images = torch.from_numpy(array)
    images.will_read = partial(_will_read, array.base, math.prod(shape[1:]))
    return images


def _will_read(pages: mmap.mmap, size: int, index: torch.Tensor) -> None:
    "Tell the system which images of so many bytes are wanted soon; it reads them, and no others, meanwhile."
    if hasattr(mmap, "MADV_WILLNEED"):  # Windows has nothing like it
        for i in index.tolist():
            start = i * size // mmap.PAGESIZE * mmap.PAGESIZE
            pages.madvise(mmap.MADV_WILLNEED, start, (i + 1) * size - start)


# %%
#| export
def _warn(what: str, facts: dict) -> None:
    "Say how many files were skipped, and whether the images are black."
    if facts["skipped"]:
        n = facts["skipped"] + facts["shape"][0]
        message = f"{what}: {facts['skipped']} of {n} files are not readable images and were skipped."
        warnings.warn(message, stacklevel=4)
    if (brightest := facts["brightest"]) < 32:
        used = f"of 0 to 255 they use 0 to {brightest}"
        warnings.warn(f"{what}: the images are nearly black: {used}.", stacklevel=4)


# %% [markdown]
# Two processes may want the same images. The second waits for the first, and then finds them.

# %%
#| export
def _fill(cached: Path, what: str, source: Callable[[], Source], size: int) -> None:
    "Convert, unless another process has done so by now."
    if _intact(cached):
        return
    if cached.exists():
        message = f"{what}: the converted images in {cached} are damaged and are made again."
        warnings.warn(message, stacklevel=4)
        shutil.rmtree(cached)
    try:
        _convert(source(), size, cached.with_suffix(".tmp"))
        cached.with_suffix(".tmp").rename(cached)
    except OSError as problem:
        message = f"dataset: the images of {what} could not be converted into {cached.parent}: {problem}"
        raise OSError(message) from problem
    except ValueError as problem:
        raise ValueError(f"dataset: {what}: {problem}.") from problem


# %% [markdown]
# ## `folder:PATH`: your own images
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


def _entries(folder: str) -> Iterator[tuple[os.DirEntry, os.stat_result | None]]:
    "What lies in a folder and is not hidden, with its facts; None for a link that leads nowhere."
    for entry in os.scandir(folder):
        if not entry.name.startswith(".") and entry.name not in OF_THE_SYSTEM:
            try:
                yield entry, entry.stat()
            except OSError:
                yield entry, None


# %%
#| export
def image_files(top: str) -> list[list]:
    "All image files below `top`, by name: the path, and what changes with the content (size, times, place)."
    files, folders, visited = [], deque([top]), set()
    while folders:
        folder = folders.pop()
        place = os.stat(folder)
        if (place.st_dev, place.st_ino) in visited:
            files.append([folder])
            continue
        visited.add((place.st_dev, place.st_ino))
        for entry, facts in _entries(folder):
            if facts and stat.S_ISDIR(facts.st_mode):
                add = folders.appendleft if entry.is_symlink() else folders.append  # links come last
                add(entry.path)
            elif entry.name.lower().endswith(ENDINGS) and facts is None:
                files.append([entry.path])
            elif entry.name.lower().endswith(ENDINGS) and stat.S_ISREG(facts.st_mode):
                files.append([entry.path, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino])
    return sorted(files)


# %% [markdown]
# The two rules work on the folders that images lie in, as paths below the top. Folders that hold everything, such as the one that an archive unpacks into, are passed through first.

# %%
#| export
HELD_OUT = ("test", "testing", "eval", "evaluation", "val", "valid", "validation", "dev")


class Place(NamedTuple):
    "A folder that images lie in."

    split: str | None  # train or test; None: folders do not say
    below: list[str]  # its path below the split, or below the top, in words
    folder: str  # its whole path


def _pass_through(places: list[Place]) -> list[Place]:
    "Into the folder that holds all others, as long as there is one."
    while len({place.below[0] for place in places if place.below}) == 1:
        places = [place._replace(below=place.below[1:]) for place in places]
    return places


# %%
#| export
def _split_named(folder: str) -> str:
    "A name of a split as `HELD_OUT` has it, without capitals and numbers at its end."
    return folder.lower().rstrip("0123456789 _-").replace("training", "train")


def _find_splits(folders: Iterable[str], top: str) -> list[Place]:
    "To which split each folder belongs; those beside the splits are left out."
    places = [Place(None, list(Path(folder).relative_to(top).parts), folder) for folder in folders]
    places = _pass_through(places)
    names = {_split_named(place.below[0]) for place in places if place.below}
    held_out = next((name for name in HELD_OUT if name in names), None)
    if "train" not in names or not held_out:
        return places
    splits = {"train": "train", held_out: "test"}
    named = [(splits.get(_split_named(place.below[0])), place) for place in places if place.below]
    inside = [place._replace(split=split, below=place.below[1:]) for split, place in named if split]
    return _pass_through(inside)


# %% [markdown]
# Then the classes, and the images that belong to none:

# %%
#| export
def _used_files(top: Path) -> tuple[list[tuple[Place, list]], set[str]]:
    "The files of both splits, each with the folder it lies in, and the classes."
    files = image_files(str(top))
    places = _find_splits({os.path.dirname(file[0]) for file in files}, str(top))
    classes = {place.below[0] for place in places if place.below and place.split != "test"}
    place_of = {place.folder: place for place in places}
    used = [(os.path.dirname(file[0]), file) for file in files]
    return [(place_of[folder], file) for folder, file in used if folder in place_of], classes


# %%
#| export
def _folder_splits(top: Path) -> dict[str, list[tuple[str | None, list]]]:
    "Class (None: there are none) and file of the images of both splits. ValueError where one is empty."
    used, classes = _used_files(top)
    kept = [row for row in used if not classes or row[0].below and row[0].below[0] in classes]
    splits = {"train": [], "test": []}
    for i, (place, file) in enumerate(kept):
        split = place.split or ("test" if i % 10 == 9 else "train")
        splits[split].append((place.below[0] if classes else None, file))
    left_out = [file[0] for place, file in used if classes.isdisjoint(place.below[:1])] if classes else []
    _check_splits(top, splits, left_out, len(used))
    return splits


# %% [markdown]
# Images that were left out are counted. If a split has none at all, the error says what lies there instead.

# %%
#| export
def _check_splits(top: Path, splits: dict[str, list], left_out: list[str], n: int) -> None:
    "ValueError for a split without images; a warning if some of the `n` images were left out."
    example = left_out[0] if left_out else None
    sentence = f"{len(left_out)} of {n} images, such as {example}, lie in no class of the training images"
    for split, part in splits.items():
        if not part:
            what = f"no images ({', '.join(ENDINGS)}) for the {split} split in {top}"
            raise ValueError(f"dataset: {what}: {sentence if left_out else _instead(top)}.")
    if left_out:
        warnings.warn(f"{top}: {sentence} and were left out.", stacklevel=5)


def _instead(top: Path) -> str:
    "How many images it takes, and what lies there that is no image."
    names = [name for *_, files in os.walk(top) for name in files if not name.lower().endswith(ENDINGS)]
    endings = sorted({Path(name).suffix or "nothing" for name in names})
    others = f"; the other files end in {', '.join(endings[:9])} (unpack archives first)" if endings else ""
    return f"it takes one at least, or without train/ and test/ ten{others}"


# %% [markdown]
# What identifies the files makes the key of the cache, so that a changed folder is converted anew. A file counts as changed if its size, one of its times or its place on the disk is another. The time of the last change of *status* cannot be set by programs, so that even a file that an archive unpacks with the old size and date is seen. What cannot be seen is a change that the file system does not note, on some network drives for example.

# %%
#| export
def _folder_source(files: list[tuple[str | None, list]], every: list[tuple[str | None, list]]) -> Source:
    "The images of one split; the modes and classes are those of `every` image of the folder."
    classes = sorted({label for label, _ in every if label is not None})
    modes = find_modes(partial(Image.open, file[0]) for _, file in every)
    labels = [classes.index(label) for label, _ in files] if classes else None
    return Source(len(files), lambda i: Image.open(files[i][1][0]), modes, labels, classes)


# %%
#| export
def load_folder(split: str, place: str) -> Callable[[int], Images]:
    "The images of a folder, as a function of the size."
    top = Path(place)
    if not os.path.isdir(top):
        archive = f"{top} is a file; unpack an archive first"
        raise FileNotFoundError(
            f"dataset: {archive if os.path.isfile(top) else f'there is no folder {top}'}."
        )
    splits = _folder_splits(top)
    source = partial(_folder_source, splits[split], splits["train"] + splits["test"])
    return partial(converted, str(top), [split, splits], source)


# %% [markdown]
# ## `hf:REPO`: the Hugging Face Hub
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


# %%
#| export
def _open_hub(repo: str):
    "The data set `repo` of the Hub, or of a folder, as the library opens it: one split, or several by name."
    if not os.path.isabs(repo) and not os.environ.get("HTTPS_PROXY") and not _reachable("huggingface.co"):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # then its cache is searched at once, without retries
    import datasets as hub  # here because it takes a second, and reads the line above

    made_by_save_to_disk = ("dataset_dict.json", "state.json")
    saved = any(Path(repo, file).exists() for file in made_by_save_to_disk)
    try:
        return hub.load_from_disk(repo) if saved else hub.load_dataset(repo)
    except (OSError, ValueError, RuntimeError, NotImplementedError, hub.exceptions.DatasetsError) as problem:
        why = " ".join(str(problem).split())
        raise RuntimeError(f"dataset: hf:{repo} could not be had: {why}") from problem


# %% [markdown]
# Which of its splits are ours:

# %%
#| export
def _hub_splits(repo: str) -> dict:
    "Two of the library's data sets: train and test."
    opened = _open_hub(repo)
    splits = opened if isinstance(opened, dict) else {"train": opened}
    held_out = next((name for name in HELD_OUT if name in splits), None)
    if "train" in splits and held_out:
        return {"train": splits["train"], "test": splits[held_out]}
    data = splits["train"] if "train" in splits else next(iter(splits.values()))
    tenths = [i for i in range(len(data)) if i % 10 == 9]
    others = [i for i in range(len(data)) if i % 10 != 9]
    return {"train": data.select(others), "test": data.select(tenths)}


# %% [markdown]
# What the library has loaded becomes a `Source`, as a folder did:

# %%
#| export
def _column(data, kind: str) -> str | None:
    "The first column of this kind."
    return next((name for name, feature in data.features.items() if type(feature).__name__ == kind), None)


def _picture(data, i: int) -> Image.Image:
    "Image i. ValueError if it is missing."
    if (found := data[i][_column(data, "Image")]) is None:
        raise ValueError("it has no image")
    return found


# %%
#| export
def _hub_source(splits: dict, split: str) -> Source:
    "The images of one split; their modes are those of the first hundred of each."
    data, label = splits[split], _column(splits[split], "ClassLabel")
    labels = [-1 if value is None else value for value in data[label][:]] if label else [-1]
    known = max(labels) >= 0  # -1: somebody keeps them secret

    def read(i: int) -> Image.Image:
        if known and labels[i] < 0:
            raise ValueError("it has no label")
        return _picture(data, i)

    some = [partial(_picture, part, i) for part in splits.values() for i in range(min(100, len(part)))]
    names = data.features[label].names if known else ()
    return Source(len(data), read, find_modes(some), labels if known else None, names)


# %%
#| export
def load_hf(split: str, repo: str) -> Callable[[int], Images]:
    "The images of a data set of the Hub, as a function of the size."
    splits = _hub_splits(repo)
    if not _column(splits[split], "Image"):
        columns = ", ".join(splits[split].features)
        raise ValueError(f"dataset: hf:{repo} has no column of images; it has {columns}.")
    key = [split, *(part._fingerprint for part in splits.values())]
    return partial(converted, f"hf:{repo}", key, partial(_hub_source, splits, split))


# %% [markdown]
# ## `celeba`: 200,000 faces
#
# Torchvision downloads CelebA from its authors' Google Drive, which takes only so many visitors a day. The 178x218 pixels are cropped to the central square. We use the splits `train` (162,770 images) and `test` (19,962). There are no classes: the 40 attributes, such as *smiling*, do not exclude each other.

# %%
#| export
def _celeba_source(split: str) -> Source:
    try:
        data = CelebA(cache_dir(), split, download=True)
    except (OSError, RuntimeError, ModuleNotFoundError) as problem:
        raise ValueError(
            f"it could not be downloaded ({problem}); put img_align_celeba.zip and the lists of its "
            "Anno and Eval folders, from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, "
            f"into {cache_dir('celeba')}"
        ) from problem
    folder = cache_dir("celeba", "img_align_celeba")
    return Source(len(data), lambda i: Image.open(folder / data.filename[i]), {"RGB": 255})


def load_celeba(split: str) -> Callable[[int], Images]:
    "CelebA's faces, as a function of the size."
    return partial(converted, "celeba", ["celeba", split], partial(_celeba_source, split))


LOADERS |= {"celeba": load_celeba, "folder:PATH": load_folder, "hf:REPO": load_hf}

# %% [markdown]
# ## Trying it out
#
# A folder of images in two classes, where one file holds text instead of an image. It is converted; then the conversion is made to look interrupted; then the result is damaged. Each time we get the same images:

# %%
place = tempfile.TemporaryDirectory()
os.environ["GENLAB_CACHE"], cache = place.name + "/cache", os.environ.get("GENLAB_CACHE", "")
digits = load_dataset("digits", "test")
for i, (image, label) in enumerate(zip(digits.images, digits.labels, strict=True)):
    folder = Path(place.name, "images", "odd" if label % 2 else "even")
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[0].numpy()).save(folder / f"{i:03}.png")
Path(place.name, "images", "even", "000.png").write_text("I am not a picture")
with pytest.warns(UserWarning, match="1 of 450 files are not readable images"):
    own = load_dataset(f"folder:{place.name}/images", size=side)
assert own.images.shape == (449, 1, side, side) and own.classes == ["even", "odd"] and len(own.labels) == 449
show_grid(own.images[:32], ncol=16, title="even digits come first: the folders are read by name");

# %%
(finished,) = Path(place.name, "cache", "converted").glob("*[!k]")
before, half = own.images.clone(), finished.with_suffix(".tmp")
finished.rename(half)  # as if killed: less is noted as done than is written
(half / "good.bin").write_bytes((half / "good.bin").read_bytes()[:200])
with pytest.warns(UserWarning, match="1 of 450"):
    assert torch.equal(load_dataset(f"folder:{place.name}/images", size=side).images, before)
with open(finished / "images.bin", "r+b") as file:
    file.write(b"damaged")
with (
    pytest.warns(UserWarning, match="1 of 450"),
    pytest.warns(UserWarning, match="are damaged and are made again"),
):
    assert torch.equal(load_dataset(f"folder:{place.name}/images", size=side).images, before)

# %% [markdown]
# The same folder as the Hub's library sees it. It refuses the broken file, so that has to go first:

# %%
#| hide
import datasets as hub

hub.disable_progress_bars()

# %%
Path(place.name, "images", "even", "000.png").unlink()
for split in ("train", "test"):
    names = [f"{kind}:{place.name}/images" for kind in ("folder", "hf")]
    as_folder, as_hub = (load_dataset(name, split, side) for name in names)
    assert torch.equal(as_hub.images, as_folder.images) and torch.equal(as_hub.labels, as_folder.labels)
    assert as_hub.classes == as_folder.classes == ["even", "odd"]
with pytest.raises(RuntimeError, match="dataset: hf:.*nothing could not be had"):
    load_dataset(f"hf:{place.name}/nothing")
os.environ["GENLAB_CACHE"] = cache
place.cleanup()


# %% [markdown]
# And a loader from outside. It is used as any other, and what it returns is looked at:

# %%
def stripes(split):
    rows = torch.arange(32, dtype=torch.uint8).view(1, 1, 32, 1) % 2 * 255
    return rows.expand(100, 1, 32, 32).clone(), None, []


LOADERS["stripes"] = stripes
assert load_dataset("stripes", "test", size=16).images.shape == (100, 1, 16, 16)
LOADERS["floats"] = lambda split: (torch.rand(100, 1, 32, 32), None, [])
with pytest.raises(ValueError, match="dataset: the loader of floats returned torch.float32 of shape"):
    load_dataset("floats")

# %% [markdown]
# ## What to remember
#
# - A data set is a loader in `LOADERS`, a function of the split. Those that are converted return a function of the size.
# - Downloads are checked against their MD5 sums, converted images against a checksum of their own.
# - A conversion that was killed goes on where it stopped; a folder that has changed is converted again.
#
# ## Exercise
#
# The crop of `folder:` throws away the margins of a wide picture. Write a version that pads instead. Which would you train a generative model on, and why?

# %% [markdown]
# ## Solution
#
# <details><summary>Padding instead of cropping</summary>
#
# One line of `to_square` changes, `ImageOps.pad` for `ImageOps.fit`:
#
#     image = ImageOps.pad(image, (size, size), Image.Resampling.BICUBIC, color=0)
#
# What it does to a wide picture:
#
#     from genlab.data import image_grid
#
#     wide = Image.fromarray(image_grid(digits.images[:3], ncol=3)).convert("L")
#     padded = ImageOps.pad(wide, (48, 48), Image.Resampling.BICUBIC, color=0)
#     show_grid(torch.tensor(np.asarray(padded))[None, None], ncol=1)
#
# The cache does not see that you changed the function: raise `VERSION`, or set `GENLAB_CACHE` to a new folder, before you load yours. For photographs, crop. To a model the bars are part of the image: it spends capacity on drawing them, its samples have bars, too, and a distance between data and samples measures them; what is left of a wide picture has fewer pixels. Cropping loses what lies at the margins, but what it keeps looks like any photograph. Pad where the thing must be whole and its background has one colour anyway, as letters and drawings do; then take that colour, and nobody sees a bar. `digits` is made like this.
#
# </details>
