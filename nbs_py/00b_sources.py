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
# > Downloads that are checked; folders, archives and the Hub converted once into a memory map; what is in a set; and how to add one of your own
#
# `load_dataset` of [00_data](00_data.ipynb) turns a name into images. This notebook is behind it: it fetches MNIST and its like, and it makes one tensor of any folder or archive of images. Read it when you bring images of your own, or when a download fails.
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
import io
import itertools
import json
import lzma
import math
import mmap
import os
import posixpath
import re
import shutil
import socket
import stat
import sys
import tarfile
import warnings
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import pandas as pd
import platformdirs
import torch
from filelock import AcquireReturnProxy, FileLock
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION
from torch.hub import download_url_to_file
from torchvision.datasets import MNIST, CelebA, FashionMNIST
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.datasets.utils import check_integrity
from tqdm import tqdm

from genlab.plug import LOADERS

# %%
#| hide
import tempfile
from contextlib import chdir

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
# Files are kept in a cache folder: `GENLAB_CACHE`, or the place that the operating system has for caches. `GENLAB_MIRROR`, if set, is tried before the public servers; it is a URL prefix under which stand `mnist/train-images-idx3-ubyte.gz` and so on, and `file:///some/folder` will do. The MD5 sum is compared on every start: a damaged or half-downloaded file is fetched again, never trained on. Somebody's mirror may have compressed the files anew. Then their sums are others, so that the sums of what is *in* them decide.

# %%
#| export
class Download(NamedTuple):
    "The files of a data set, and what they are known by."

    mirrors: Sequence[str]  # URL prefixes of public servers
    md5: Mapping[str, str]  # file: its MD5 sum
    content: Mapping[str, str] = {}  # file: the MD5 sum of its content, if it is compressed with gzip


# %%
#| export
MNIST_CONTENT = {
    "train-images-idx3-ubyte.gz": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte.gz": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte.gz": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte.gz": "27ae3e4e09519cfbb04c329615203637",
}
FASHION_CONTENT = {
    "train-images-idx3-ubyte.gz": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte.gz": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte.gz": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte.gz": "15d484375f8d13e6eb1aabb0c3f46965",
}

# %%
#| export
DOWNLOADS = {
    "mnist": Download(MNIST.mirrors, dict(MNIST.resources), MNIST_CONTENT),
    "fashion_mnist": Download(FashionMNIST.mirrors, dict(FashionMNIST.resources), FASHION_CONTENT),
    "cifar10": Download(
        ["https://www.cs.toronto.edu/~kriz/"],
        {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
    ),
}


def _is_sound(path: Path, name: str, file: str) -> bool:
    "Has the file its MD5 sum? If it was compressed by somebody else: has its content?"
    _, md5, content = DOWNLOADS[name]
    if check_integrity(path, md5[file]):
        return True
    try:
        with gzip.open(path) as opened:
            return hashlib.file_digest(opened, "md5").hexdigest() == content.get(file)
    except (OSError, EOFError, zlib.error):  # not there, no gzip, cut short, damaged
        return False

# %%
#| export


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
    files = DOWNLOADS[name].md5
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
def _download(url: str, file: Path) -> str:
    "Put what a URL has into a file. Returns an empty string, or what went wrong."
    try:
        with _limited_patience():
            download_url_to_file(url, file, progress=sys.stderr.isatty())
    # no network or file, disk full; no URL; no answer
    except (OSError, ValueError, HTTPException) as problem:
        return " ".join(str(problem).split()) or type(problem).__name__
    return ""


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
    mirrors = DOWNLOADS[name].mirrors
    if own := os.environ.get("GENLAB_MIRROR"):
        mirrors = [f"{own.rstrip('/')}/{name}/", *mirrors]
    path, problems = cache_dir(name) / file, []
    if _is_sound(path, name, file):
        return path
    with cache_lock(path):
        for mirror in mirrors:
            if _is_sound(path, name, file):  # another process was faster
                return path
            problem = _download(mirror + file, path)
            if not problem and _is_sound(path, name, file):
                return path
            damaged = f"damaged: another MD5 sum than {DOWNLOADS[name].md5[file]}"
            problems.append(f"{mirror} ({problem or damaged})")
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
Opener = Callable[[], Image.Image]  # opens an image, or raises one of BROKEN


class Source(NamedTuple):
    "Images that are not converted yet."

    n: int
    openers: Callable[[int], Iterator[Opener]]  # of the images from number i on, in the order of reading
    modes: dict[str, float]  # the modes of all images, and the number that is white in each of them
    name: Callable[[int], str]  # what image i is called
    labels: list[int] | None = None  # one an image
    classes: Sequence[str] = ()
    places: list[int] | None = None  # where each belongs among all, if they are read in another order


# %% [markdown]
# Most images hold bytes, and 255 is white. Cameras and microscopes also write 12 or 16 bits, scientific programs floats, and the file does not say which number is white. So the largest number in the whole set decides: white is 1 if floats do not exceed 1, else the largest number of as many bits (255, 511, ..., 4095, ..., 65535).

# %%
#| export
def _numbers(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise ValueError("negative or infinite numbers")
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
def _mode_and_white(open_image: Opener) -> tuple[str, float]:
    "The mode of an image, and the number that is white in it; an empty mode if it is broken."
    try:
        with open_image() as image:
            grey_palette = (
                image.mode == "P" and not np.ptp(np.reshape(image.getpalette(), (-1, 3)), axis=1).any()
            )
            return "L" if grey_palette else image.mode, _white(image)
    except BROKEN:
        return "", 0


# %% [markdown]
# Threads open the images, a hundred at a time: those of an archive are in memory until then.

# %%
#| export
def _in_threads(do: Callable, items: Iterable) -> Iterator[list]:
    "What a function makes of each item, a hundred at a time."
    items = iter(items)
    with ThreadPoolExecutor() as pool:
        while part := list(itertools.islice(items, 100)):
            yield list(pool.map(do, part))


def find_modes(images: Iterable[Opener]) -> dict[str, float]:
    """The modes of images, and the largest white in each. Broken images do not count.

    Only headers are read, unless numbers are not bytes.
    """
    modes = {}
    for found in _in_threads(_mode_and_white, images):
        for mode, white in filter(all, found):
            modes[mode] = max(white, modes.get(mode, 0))
    return modes


# %% [markdown]
# Each of them becomes a square of bytes, and shows what a viewer shows. Numbers become bytes first. (In some TIFFs the smallest number is white, and in a PNG one of them may stand for what is transparent.)

# %%
#| export
def _to_bytes(image: Image.Image, white: float, negative: bool) -> Image.Image:
    "An image of 16 bits or floats as one of bytes."
    numbers = _numbers(image)
    levels = (numbers * (255 / white)).round().clip(0, 255).astype(np.uint8)
    result = Image.fromarray(255 - levels if negative else levels)
    if "transparency" in image.info:
        result.putalpha(Image.fromarray(numbers != image.info["transparency"]).convert("L"))
    return result


# %% [markdown]
# What a colour looks like depends on its **profile**. Phones write Display P3, cameras Adobe RGB, printing presses CMYK; the same bytes mean a stronger red there than on the screen. The profile lies in the file, and a viewer translates to sRGB, which bytes without a profile are taken for. Most profiles are sRGB's own, whatever they are called, so some thousand colours are tried first.

# %%
#| export
def _changes(translate: ImageCms.ImageCmsTransform, mode: str) -> bool:
    "Does it change any of 4,096 colours by more than two levels?"
    steps = np.arange(0, 256, 17, dtype=np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(64, 64, 3)
    before = Image.fromarray(colours).convert(mode)
    change = np.subtract(translate.apply(before), before.convert("RGB"), dtype=np.int16)
    return np.abs(change).max() > 2


# %%
#| export
@lru_cache(100)
def _to_srgb(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    "Translates the colours of a profile. None if it is sRGB, damaged, or not for this mode."
    if not profile:
        return None
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        found = ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None
    return found if mode not in ("L", "RGB") or _changes(found, mode) else None


# %% [markdown]
# What is transparent becomes white: under it may lie any colour, which nobody was meant to see.

# %%
#| export
def _flatten(image: Image.Image, profile: bytes | None) -> Image.Image:
    "An image of bytes with the colours of sRGB, opaque."
    alpha = None
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        alpha = rgba.getchannel("A")
        image = rgba.getchannel("R") if image.mode in GREY else rgba.convert("RGB")
    elif image.mode == "P":
        image = image.convert("RGB")
    if translate := _to_srgb(profile, image.mode):
        image = translate.apply(image)
    if alpha is None:
        return image
    return Image.composite(image.convert("RGB"), Image.new("RGB", image.size, "white"), alpha)


# %% [markdown]
# And it is turned as its EXIF tag says, as every viewer does:

# %%
#| export
def to_square(
    image: Image.Image,
    size: int | None,  # pixels a side, centre-cropped; None: at its own size
    grey: bool,  # one channel, else three
    white: float | None = None,  # what is white in 16 bits or floats; None: decided by this image alone
) -> np.ndarray:  # uint8 (C, H, W)
    "An image as bytes, as a viewer shows it. Raises one of BROKEN on a broken file."
    profile, tags = image.info.get("icc_profile"), getattr(image, "tag_v2", {})
    image = ImageOps.exif_transpose(image)
    if image.mode in WIDE:
        image = _to_bytes(image, white or _white(image), negative=tags.get(PHOTOMETRIC_INTERPRETATION) == 0)
    image = _flatten(image, profile).convert("L" if grey else "RGB")
    if size:
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)


# %% [markdown]
# A file that cannot be read is left out, and the reason is kept in a few words, the same words for all files with the same fault:

# %%
#| export
def _why(problem: Exception) -> str:
    "What is wrong with a file that raised one of BROKEN."
    if isinstance(problem, UnidentifiedImageError):
        return "no image of a known kind"
    if isinstance(problem, Image.DecompressionBombError):
        return f"more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels"
    if isinstance(problem, OSError) and problem.strerror:  # by the system
        return problem.strerror.lower()
    if "truncated" in str(problem) or "Truncated" in str(problem):
        return "cut short"
    return re.sub(r"\d+", "N", " ".join(str(problem).split())) or type(problem).__name__


# %%
#| export
BAD = "skipped: "  # how the log begins a line about a broken file


def _read(modes: dict[str, float], shape: tuple[int, int, int], opener: Opener) -> tuple[bytes | None, str]:
    "An image, converted, with its mode and size; of a broken one None, and why."
    try:
        with opener() as image:
            about = f"{image.mode} {image.width}x{image.height}"
            return to_square(image, shape[1], shape[0] == 1, modes.get(image.mode)).tobytes(), about
    except BROKEN as problem:
        return None, BAD + _why(problem)


def _check_space(folder: Path, needed: int) -> None:
    "OSError if the disk has less than so many bytes left."
    if needed > (free := shutil.disk_usage(folder).free):
        advice = "set GENLAB_CACHE to a folder with more"
        raise OSError(f"they take {needed / 1e9:.1f} GB more, and {free / 1e9:.1f} GB are free; {advice}")


# %% [markdown]
# The conversion writes two files: the pixels, and a log with a line for each image. Pixels go first, a hundred images at a time. So if the program is killed, it finds out from the log how far it had come, cuts off what is half written, and goes on. If the power failed, pixels of which the log knows may be missing; then it begins again.

# %%
#| export
def _is_good(line: str) -> bool:
    return not line.startswith(BAD)


def _resume(pixels: Path, log: Path, bytes_each: int) -> list[str]:
    "The whole lines of the log; both files are cut to what these are about."
    pixels.touch()
    log.touch()
    content = log.read_bytes()
    content = content[: content.rfind(b"\n") + 1]
    lines = content.decode().split("\n")[:-1]
    needed = bytes_each * sum(map(_is_good, lines))
    if pixels.stat().st_size < needed:
        content, lines, needed = b"", [], 0
    os.truncate(log, len(content))
    os.truncate(pixels, needed)
    return lines


# %%
#| export
def _convert_pixels(source: Source, shape: tuple[int, int, int], file: Path) -> list[str]:
    "Write pixels into a file and read.txt beside it, from where an earlier attempt stopped; returns the log."
    log_file, bytes_each = file.with_name("read.txt"), math.prod(shape)
    done = _resume(file, log_file, bytes_each)
    copies = 1 if source.places is None else 2  # one is sorted afterwards
    _check_space(file.parent, (copies * source.n - sum(map(_is_good, done))) * bytes_each)
    images = _in_threads(partial(_read, source.modes, shape), source.openers(len(done)))
    with open(file, "ab") as pixels, open(log_file, "a", encoding="ascii", errors="backslashreplace") as log:
        for _ in progress(range(len(done), source.n, 100), "converting images", "hundred"):
            part = next(images)
            pixels.write(b"".join(content for content, _ in part if content))
            pixels.flush()
            log.writelines(f"{about}\n" for _, about in part)
            log.flush()
    return log_file.read_text().split("\n")[:-1]


# %% [markdown]
# Images that were read in another order than that of their names are sorted now. (That is so in compressed archives, see below.)

# %%
#| export
def _sort_pixels(unsorted: Path, shape: tuple[int, int, int], order: np.ndarray) -> None:
    "Write images.bin beside a file with the same images in another order."
    rows = np.memmap(unsorted, np.uint8, "r", shape=(len(order), *shape))
    with open(unsorted.with_name("images.bin"), "wb") as file:
        for part in np.split(order, range(1000, len(order), 1000)):
            file.write(rows[part].tobytes())


# %% [markdown]
# What else is known about them goes beside: labels, shape, how many were left out and why, what the files were like, how bright the brightest pixel is, a checksum, and the file's size and the time of its last change, which are faster to compare.

# %%
#| export
def _originals(log: list[str], name: Callable[[int], str]) -> dict:
    "Modes and sizes of the files, and by reason how many were skipped, with the first of them by name."
    bad = [(name(i), line.removeprefix(BAD)) for i, line in enumerate(log) if not _is_good(line)]
    skipped = {}
    for example, why in sorted(bad):
        count, first = skipped.get(why, (0, example))
        skipped[why] = (count + 1, first)
    modes, sizes = Counter(), Counter()
    for line, count in Counter(filter(_is_good, log)).items():
        mode, size = line.split()
        modes[mode] += count
        sizes[tuple(map(int, size.split("x")))] += count
    by_area = [size for size in sorted(sizes, key=math.prod) for _ in range(sizes[size])]
    some = [by_area[0], by_area[len(by_area) // 2], by_area[-1]] if by_area else []
    return {"skipped": skipped, "modes": dict(modes.most_common()), "sizes": some}


def _reasons(skipped: dict[str, tuple[int, str]]) -> str:
    return "; ".join(f"{why} ({n}, such as {name!r})" for why, (n, name) in skipped.items())


# %%
#| export
def _convert(source: Source, size: int, folder: Path) -> None:
    "Write images.bin, labels.npy and facts.json into `folder`. ValueError if no image can be read."
    folder.mkdir(exist_ok=True)
    file = folder / ("images.bin" if source.places is None else "unsorted.bin")
    shape = (1 if source.modes.keys() <= set(GREY) else 3, size, size)
    log = _convert_pixels(source, shape, file)
    facts = _originals(log, source.name)
    good = np.array([_is_good(line) for line in log])
    if not good.any():
        shutil.rmtree(folder)
        raise ValueError(f"none of the {source.n} images can be read: {_reasons(facts['skipped'])}")
    order = np.arange(good.sum())
    if source.places is not None:
        order = np.argsort(np.asarray(source.places)[good])
        _sort_pixels(file, shape, order)
    if source.labels is not None:
        np.save(folder / "labels.npy", np.asarray(source.labels)[good][order])
    file = folder / "images.bin"
    facts |= {"shape": [len(order), *shape], "classes": list(source.classes)}
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
VERSION = 3  # to be raised when the same files would become other pixels, labels or splits


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
    images.originals = facts  # for describe
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
        skipped = sum(count for count, _ in facts["skipped"].values())
        counts = f"{skipped} of {skipped + facts['shape'][0]} files"
        message = f"{counts} are not readable images and were skipped: {_reasons(facts['skipped'])}"
        warnings.warn(f"{what}: {message}.", stacklevel=4)
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
        (cached / "unsorted.bin").unlink(missing_ok=True)
    except OSError as problem:
        message = f"dataset: the images of {what} could not be converted into {cached.parent}: {problem}"
        raise OSError(message) from problem
    except ValueError as problem:
        raise ValueError(f"dataset: {what}: {problem}.") from problem


# %% [markdown]
# ## `folder:PATH`: your own images
#
# Any folder of images, or an archive of one (`folder:faces.tar`, see below), in any sizes; of an animation the first picture is taken. Two rules say what the folders in it mean:
#
# - **Splits.** If there are `train` (or `training`) and one of `test`, `testing`, `eval`, `evaluation`, `val`, `valid`, `validation`, `dev` side by side, they are the two splits; of several the first in this list is for testing, and nothing else beside them is used. Capitals, and numbers at the end, make no difference. Otherwise every tenth image in name order is held out for testing.
# - **Classes.** The topmost level that has several folders names the classes, however deep the images lie in them. Images that lie in no class of the training split are left out, and a warning counts them. Without such a level there are no classes.
#
# Hidden files, such as `.ipynb_checkpoints`, and the folders that some systems add are left out without a word. So is what does not have the ending of an image. Other files that are no images are skipped, with a warning that counts them.
#
# The search follows links, but visits no folder twice: a folder that comes up again counts as one unreadable file, and so does a link that leads nowhere.

# %%
#| export
SELDOM = ".apng .avif .dib .gif .heic .heif .ico .j2k .jfif .jp2 .jpe .jpx .mpo .pbm .pfm .pnm .qoi .tga"
ENDINGS = (*IMG_EXTENSIONS, *SELDOM.split())  # what Pillow cannot read, such as HEIC, is counted as skipped
OF_THE_SYSTEM = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in OF_THE_SYSTEM


def _entries(folder: str) -> Iterator[tuple[os.DirEntry, os.stat_result | None]]:
    "What lies in a folder and is not hidden, with its facts; None for a link that leads nowhere."
    for entry in os.scandir(folder):
        if not _is_hidden(entry.name):
            try:
                yield entry, entry.stat()
            except OSError:
                yield entry, None


# %%
#| export
NOWHERE = "a link that leads nowhere"


def _files_below(top: str) -> list[list]:
    files, folders, visited = [], deque([top]), set()
    while folders:
        folder = folders.pop()
        place = os.stat(folder)
        if (place.st_dev, place.st_ino) in visited:
            files.append([folder, "a folder that was visited before"])
            continue
        visited.add((place.st_dev, place.st_ino))
        for entry, facts in _entries(folder):
            if facts and stat.S_ISDIR(facts.st_mode):
                add = folders.appendleft if entry.is_symlink() else folders.append  # links come last
                add(entry.path)
            elif entry.name.lower().endswith(ENDINGS) and facts is None:
                files.append([entry.path, NOWHERE])
            elif entry.name.lower().endswith(ENDINGS) and stat.S_ISREG(facts.st_mode):
                files.append([entry.path, *_identity(facts)])
    return files


# %% [markdown]
# ### An archive is a folder, too
#
# A tar, also one compressed with gzip, bzip2 or xz, or a zip is read where it is; nothing is unpacked. What is in it counts as files of a folder that has the archive's name, so that both rules, and the order of names, are those of the unpacked folder. A link in a tar stands for the file it leads to, if that is in the archive, too.

# %%
#| export
DAMAGED = (OSError, EOFError, RuntimeError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile)
Members = dict[str, list]  # name: size and place in the archive, or the reason why it cannot be read


def _inside(name: str) -> str:
    "The name of a member as a path below the archive: neither absolute nor with `..`."
    return posixpath.normpath("/" + name).lstrip("/")


# %%
#| export
def _tar_members(archive: str) -> Members:
    members, links = {}, {}
    with tarfile.open(archive) as tar:
        for member in progress(tar, f"listing {Path(archive).name}", "member"):
            name = _inside(member.name)
            if member.issym() or member.islnk():
                folder = posixpath.dirname(member.name) if member.issym() else ""
                links[name] = _inside(posixpath.join(folder, member.linkname))
            elif not member.isdir():
                plain = member.isreg() and not member.issparse()
                members[name] = [member.size, member.offset_data] if plain else ["no plain file"]
    for name, target in links.items():
        for _ in range(40):  # links to links, but not in a circle
            target = links.get(target, target)
        members[name] = members.get(target, [NOWHERE])
    return members


# %%
#| export
ENCRYPTED, ON_WINDOWS = 0x1, 0  # a flag of a member; where an archive was made


def _zip_members(archive: str) -> Members:
    members = {}
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            name = info.filename
            if info.create_system == ON_WINDOWS:
                name = name.replace("\\", "/")  # some programs there do not
            if not name.endswith("/"):
                locked = info.flag_bits & ENCRYPTED
                members[_inside(name)] = ["encrypted"] if locked else [info.file_size, info.header_offset]
    return members


# %% [markdown]
# To list a compressed tar is to decompress it, so the list is kept in the cache. It is made again if the archive's size, times or place on the disk are others.

# %%
#| export
def _identity(facts: os.stat_result) -> list[int]:
    "What changes with the content of a file: size, times, place on the disk."
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]


# %%
#| export
def is_archive(file: str) -> bool:
    "Is this file a tar or a zip that can be read?"
    try:
        return tarfile.is_tarfile(file) or zipfile.is_zipfile(file)
    except DAMAGED:
        return False


# %%
#| export
def _list_members(archive: str) -> Members:
    "What is in an archive. ValueError if it is damaged."
    try:
        return _tar_members(archive) if tarfile.is_tarfile(archive) else _zip_members(archive)
    except DAMAGED as problem:
        raise ValueError(f"dataset: {archive} is damaged or cut short: {problem}.") from problem


def _members(archive: str) -> Members:
    "The same, listed once and then kept in the cache."
    key = json.dumps([VERSION, archive, *_identity(os.stat(archive))])
    kept = cache_dir("archives") / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    if not kept.exists():
        with cache_lock(kept):
            if not kept.exists():  # nobody was faster
                kept.with_suffix(".tmp").write_text(json.dumps(_list_members(archive)))
                kept.with_suffix(".tmp").rename(kept)
    return json.loads(kept.read_text())


# %% [markdown]
# From here on there are only files:

# %%
#| export
def image_files(top: str) -> list[list]:
    """All image files in a folder or an archive, by name.

    Of each the path, and what changes with its content: of a file size, times and place, of a member of an
    archive size and place. A text in their stead is the reason why it cannot be read.
    """
    if os.path.isdir(top):
        return sorted(_files_below(top))
    names = {
        name: facts for name, facts in _members(top).items() if not any(map(_is_hidden, name.split("/")))
    }
    return sorted(
        [f"{top}/{name}", *facts] for name, facts in names.items() if name.lower().endswith(ENDINGS)
    )


# %% [markdown]
# Members are read one after the other by one thread, and decoded by many. A compressed tar can only be read from its beginning on, so its images are converted in the order in which they lie there.

# %%
#| export
def _read_at(stream: io.BufferedIOBase, size: int, place: int) -> bytes:
    stream.seek(place)
    return stream.read(size)


@contextmanager
def _opened(archive: str) -> Iterator[Callable[[int, int], bytes]]:
    "A function that reads a member, given its size and place."
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            yield partial(_read_at, tar.fileobj)
    else:
        with zipfile.ZipFile(archive) as opened:
            infos = {info.header_offset: info for info in opened.infolist()}
            yield lambda size, place: opened.read(infos[place])


# %%
#| export
def _one_way(top: str) -> bool:
    "Is it a compressed tar?"
    if os.path.isdir(top) or not tarfile.is_tarfile(top):
        return False
    with tarfile.open(top) as tar:
        return not isinstance(tar.fileobj, io.BufferedReader)


# %%
#| export
LARGEST = 2**30  # bytes of a member, which is read into memory


def _refuse(why: str) -> None:
    raise ValueError(why)


def _member_opener(read: Callable[[int, int], bytes], size: int, place: int) -> Opener:
    if size > LARGEST:
        return partial(_refuse, f"more than {LARGEST:,} bytes")
    try:
        return partial(Image.open, io.BytesIO(read(size, place)))
    except DAMAGED:
        return partial(_refuse, "damaged in the archive")


def openers(top: str, files: list[list], start: int = 0) -> Iterator[Opener]:
    "For these `image_files` of a folder or an archive, from number `start` on: what opens them."
    with nullcontext() if os.path.isdir(top) else _opened(top) as read:
        for path, *facts in files[start:]:
            if isinstance(facts[0], str):
                yield partial(_refuse, facts[0])
            elif facts[0] == 0:
                yield partial(_refuse, "empty")
            else:
                yield _member_opener(read, *facts) if read else partial(Image.open, path)


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
            what = f"no images ({', '.join(IMG_EXTENSIONS)} and others) for the {split} split in {top}"
            raise ValueError(f"dataset: {what}: {sentence if left_out else _instead(top)}.")
    if left_out:
        warnings.warn(f"{top}: {sentence} and were left out.", stacklevel=5)


def _instead(top: Path) -> str:
    "How many images it takes, and what lies there that is no image."
    files = (
        [name for *_, files in os.walk(top) for name in files] if os.path.isdir(top) else _members(str(top))
    )
    names = [name for name in files if not name.lower().endswith(ENDINGS)]
    endings = sorted({Path(name).suffix or "nothing" for name in names})
    advice = "an archive is named itself, as folder:ARCHIVE; those inside are not read"
    others = f"; the other files end in {', '.join(endings[:9])} ({advice})" if endings else ""
    return f"it takes one at least, or without train/ and test/ ten{others}"


# %% [markdown]
# What identifies the files makes the key of the cache, so that a changed folder is converted anew. A file counts as changed if its size, one of its times or its place on the disk is another. The time of the last change of *status* cannot be set by programs, so that even a file that an archive unpacks with the old size and date is seen. What cannot be seen is a change that the file system does not note, on some network drives for example.

# %%
#| export
Row = tuple[str | None, list]  # the class of an image, if there are any, and what `image_files` says


def _reading_order(top: str, rows: list[Row]) -> list[int]:
    "By name; in a compressed archive as the images lie there."
    numbers = range(len(rows))
    return sorted(numbers, key=lambda i: rows[i][1][2:]) if _one_way(top) else list(numbers)


def _folder_source(top: str, rows: list[Row], every: list[Row]) -> Source:
    "The images of one split; the modes and classes are those of `every` image of the folder."
    classes = sorted({label for label, _ in every if label is not None})
    number = {label: i for i, label in enumerate(classes)}
    modes = find_modes(openers(top, [every[i][1] for i in _reading_order(top, every)]))
    order = _reading_order(top, rows)
    files = [rows[i][1] for i in order]
    return Source(
        len(rows),
        partial(openers, top, files),
        modes,
        lambda i: os.path.relpath(files[i][0], top),
        [number[rows[i][0]] for i in order] if classes else None,
        classes,
        None if order == sorted(order) else order,
    )


# %%
#| export
def load_folder(split: str, place: str) -> Callable[[int], Images]:
    "The images of a folder or an archive, as a function of the size."
    if not os.path.exists(place):
        raise FileNotFoundError(f"dataset: there is no folder {place}.")
    key = []
    if not os.path.isdir(place):
        if not is_archive(place):
            what = "is a file, and no archive that can be read (tar, tar.gz, tar.bz2, tar.xz, zip)"
            raise ValueError(f"dataset: {place} {what}.")
        key = _identity(os.stat(place))
    splits = _folder_splits(Path(place))
    source = partial(_folder_source, place, splits[split], splits["train"] + splits["test"])
    return partial(converted, place, [split, splits, *key], source)


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
        raise ValueError("without an image")
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
            raise ValueError("without a label")
        return _picture(data, i)

    def openers_from(start: int) -> Iterator[Opener]:
        return (partial(read, i) for i in range(start, len(data)))

    some = [partial(_picture, part, i) for part in splits.values() for i in range(min(100, len(part)))]
    names = data.features[label].names if known else ()
    labels = labels if known else None
    return Source(len(data), openers_from, find_modes(some), "row {}".format, labels, names)


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
    top = str(cache_dir("celeba", "img_align_celeba"))
    files = [[f"{top}/{name}", None] for name in data.filename]
    return Source(len(files), partial(openers, top, files), {"RGB": 255}, data.filename.__getitem__)


def load_celeba(split: str) -> Callable[[int], Images]:
    "CelebA's faces, as a function of the size."
    return partial(converted, "celeba", ["celeba", split], partial(_celeba_source, split))


# %% [markdown]
# ## `mirror:FILE`: archives of a course
#
# A course that has a folder or a server of its own, `GENLAB_MIRROR`, can keep archives of images there. `mirror:faces/celeba-10k-64.tar` is such an archive, read as `folder:` would read it. It has the same name on every machine, so that results can be passed on. What a server has is downloaded once; from a `file://` mirror it is read where it lies.

# %%
#| export
def _from_mirror(file: str) -> Path:
    "Where a file of the mirror lies, downloaded first if need be. RuntimeError if it cannot be had."
    url = f"{os.environ.get('GENLAB_MIRROR', '').rstrip('/')}/{file}"
    if url.startswith("file://"):
        path, problem = Path(url2pathname(urlsplit(url).path)), "it is not there"
    else:
        path, problem = cache_dir("mirror", posixpath.dirname(file)) / posixpath.basename(file), ""
        if not path.exists():
            with cache_lock(path):
                problem = "" if path.exists() else _download(url, path)
    if not path.exists():
        advice = "set GENLAB_MIRROR to a URL prefix that has it, such as file:///some/folder"
        raise RuntimeError(f"dataset: {file} could not be had from {url} ({problem}); {advice}.")
    return path


def load_from_mirror(split: str, file: str) -> Callable[[int], Images]:
    "The images of an archive below GENLAB_MIRROR, as a function of the size."
    return load_folder(split, str(_from_mirror(file)))


LOADERS |= {
    "celeba": load_celeba, "folder:PATH": load_folder, "hf:REPO": load_hf, "mirror:FILE": load_from_mirror,
}  # fmt: skip


# %% [markdown]
# ## What is in a set
#
# Look before you train. `describe` takes the name of any data set and counts: images of each split and class, *copies*, whose pixels are those of an earlier image of the split, and test images that are training images, too, which make every measure of memory and of likelihood too good. Of converted sets it knows more: what the files were like, which were skipped, and why. It is shown as text, and its `show` draws some of the images.

# %%
#| export
@dataclass(frozen=True, repr=False)
class Description:
    "What is in a data set."

    name: str
    counts: pd.DataFrame  # columns train and test; rows images, classes, copies, test images seen in training
    remarks: list[str]  # about sizes and files
    some: torch.Tensor  # training images, uint8 (N, C, H, W)

    def __repr__(self) -> str:
        text = "\n".join([self.name, self.counts.to_string(), *self.remarks])
        return text.encode(errors="backslashreplace").decode()  # the name of a file may be no text

    def show(self, ncol: int = 16):
        "A sheet of images; returns the axes."
        from genlab.data import show_grid  # here because genlab.data imports this module

        return show_grid(self.some, ncol)


# %%
#| export
def _class_counts(parts: list) -> dict[str, list[int]]:
    "Images of each class in each split; of more than 20 classes the smallest and the largest."
    if parts[0].labels is None:
        return {}
    counts = np.stack([np.bincount(part.labels, minlength=len(part.classes)) for part in parts])
    if len(counts.T) <= 20:
        return {f"of {name}": list(row) for name, row in zip(parts[0].classes, counts.T, strict=True)}
    return {
        "classes": list((counts > 0).sum(1)),
        "in the smallest": list(counts.min(1)),
        "in the largest": list(counts.max(1)),
    }


# %%
#| export
def _count(parts: list) -> pd.DataFrame:
    "The table of a `Description`."
    train, test = (
        [hashlib.sha256(image.contiguous().numpy()).digest() for image in part.images] for part in parts
    )
    seen = set(train)
    rows = {"images": [len(train), len(test)]} | _class_counts(parts)
    rows["copies"] = [len(hashes) - len(set(hashes)) for hashes in (train, test)]
    rows["in training, too"] = ["", sum(pixels in seen for pixels in test)]
    return pd.DataFrame.from_dict(rows, "index", columns=["train", "test"])


# %%
#| export
def _remark(split: str, part) -> str:
    "What the images of a split are like, and, if they were converted, their files."
    _, channels, height, width = part.images.shape
    now = f"{split}: {width}x{height} pixels, {'grey' if channels == 1 else 'in colour'}"
    if not (found := getattr(part.images, "originals", None)):
        return now
    smallest, median, largest = ("x".join(map(str, size)) for size in found["sizes"])
    modes = ", ".join(f"{mode} ({n})" for mode, n in found["modes"].items())
    sizes = f"{smallest} to {largest}, median {median}" if smallest != largest else smallest
    return f"{now}; the files have {sizes}, modes {modes}"


# %%
#| export
def describe(name: str, size: int | None = None) -> Description:
    "What is in the data set of this name, at so many pixels a side."
    from genlab.data import check_dataset, load_dataset

    place = check_dataset(name).removeprefix("folder:")  # as warnings call it
    parts, remarks = [], []
    for split in ("train", "test"):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            parts.append(load_dataset(name, split, size))
        said = [str(warning.message).removeprefix(f"{place}: ") for warning in found]
        remarks += [_remark(split, parts[-1]), *(f"{split}: {sentence}" for sentence in said)]
    every = max(1, len(parts[0].images) // 64)
    return Description(name, _count(parts), remarks, parts[0].images[::every][:64])


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
(half / "read.txt").write_text((half / "read.txt").read_text()[:2000])  # ends within a line
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
# Its archive is the same data set, in either kind of archive:

# %%
for kind in ("xztar", "zip"):
    archive = shutil.make_archive(place.name + "/digits", kind, place.name, "images")
    with pytest.warns(UserWarning, match="1 of 450 files are not readable images and were skipped"):
        packed = load_dataset(f"folder:{archive}", size=side)
    assert torch.equal(packed.images, before) and torch.equal(packed.labels, own.labels)
    assert packed.classes == own.classes
# and the same from a mirror, under a name that is the same everywhere
with pytest.MonkeyPatch.context() as patch, pytest.warns(UserWarning, match="1 of 450 files"):
    patch.setenv("GENLAB_MIRROR", f"file://{place.name}/")
    assert torch.equal(load_dataset("mirror:digits.zip", size=side).images, before)
    with pytest.raises(RuntimeError, match="dataset: faces.tar could not be had from file:.*is not there"):
        load_dataset("mirror:faces.tar")
    patch.delenv("GENLAB_MIRROR")
    with pytest.raises(RuntimeError, match="set GENLAB_MIRROR to a URL prefix that has it"):
        load_dataset("mirror:faces.tar")

# %% [markdown]
# Faults as they come, some beside the two classes' digits: a copy of a training image among those for testing, an image that was cut short, one that is empty, one that is stored lying on its side. `describe` tells:

# %%
faulty = Path(place.name, "faulty")
for split, numbers in ("train", range(40)), ("test", range(38, 60)):
    (faulty / split).mkdir(parents=True)
    for i in numbers:  # two images are in both
        Image.fromarray(digits.images[i, 0].numpy()).save(faulty / split / f"{i:02}.png")
whole = (faulty / "train" / "05.png").read_bytes()
(faulty / "train" / "06.png").write_bytes(whole[:100])
(faulty / "train" / "07.png").write_bytes(b"")
(faulty / "train" / "08.png").write_text("<html>404 not found</html>")
exif = Image.Exif()
exif[0x0112] = 6  # turn it by 90 degrees to the right
Image.fromarray(np.rot90(digits.images[9, 0].numpy())).resize((64, 64)).save(
    faulty / "train" / "09.png", exif=exif
)
with chdir(place.name):
    found = describe("folder:faulty", 16)
found

# %%
found.show(ncol=20);

# %%
#| hide
assert found.counts["train"]["images"] == 37 and found.counts["test"]["in training, too"] == 2
assert "3 of 40 files are not readable images and were skipped" in str(found)
assert all(
    f"{why} (1, such as 'train/0{i}.png')" in str(found)
    for i, why in [(6, "cut short"), (7, "empty"), (8, "no image of a known kind")]
)

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
# - Images become what a viewer shows: turned, on white, in the colours of sRGB. Look at a set with `describe` before you train on it.
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
