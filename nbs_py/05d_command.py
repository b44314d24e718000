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
# # The command genlab_metrics
#
# > Measures of what lies on disk: folders of images, arrays, runs
#
# `genlab_metrics SAMPLES REFERENCE` measures images without a line of Python. Both may be a folder of images, an `.npz` file with an array of images, or the folder of a run or of one of its epoch counts; or the name of a data set, of which the samples are the training images and the reference the test images. This notebook has what reads them, the command, and an experiment: does it matter how an image was stored?

# %%
#| default_exp command

# %% tags=["parameters"]
dataset = "digits"  # whose images are written to disk and measured

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import argparse
import contextlib
import json
import sys
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import genlab.measures  # noqa: F401  all measures are known
from genlab.data import check_dataset, is_dataset, load_dataset
from genlab.features import as_bytes
from genlab.fid import evaluate, score_table
from genlab.plug import MEASURES, import_plugins
from genlab.sources import (
    BROKEN,
    ENDINGS,
    find_modes,
    image_files,
    is_archive,
    openers,
    progress,
    to_square,
)

# %%
#| hide
import io
import tempfile

import pandas as pd
import pytest
import torch.nn.functional as F

from genlab.data import show_grid, to_image, to_model
from genlab.features import lenet_extractor
from genlab.fid import floor, frechet_distance_of_features


# %% [markdown]
# ## Reading images
#
# Files that are no images are skipped and counted; hidden ones, such as what Jupyter keeps in `.ipynb_checkpoints`, are left out.

# %%
#| export
def _read_folder(folder: Path) -> torch.Tensor:
    "The images of a folder or an archive, by name, uint8 (N, C, H, W). ValueError for several sizes or none."
    files, images, skipped = image_files(str(folder)), {}, 0
    modes = find_modes(openers(str(folder), files))
    reading = progress(openers(str(folder), files), f"reading {folder.name}", "image")
    for path, opener in zip([Path(file[0]) for file in files], reading, strict=True):
        try:
            with opener() as image:
                images[path] = to_square(image, None, grey=False, white=modes.get(image.mode))
        except BROKEN:
            skipped += 1
            continue
        _check_same_size(folder, next(iter(images.items())), (path, images[path]))
    if skipped:
        counts = f"{skipped} of {len(files)} files"
        warnings.warn(f"{folder}: {counts} are not readable images and were skipped.", stacklevel=3)
    if not images:
        raise ValueError(f"{folder}: there are no images ({', '.join(ENDINGS)}) in it.")
    return _grey_if_grey(torch.from_numpy(np.stack(list(images.values()))))


# %%
#| export
def _check_same_size(folder: Path, first: tuple[Path, np.ndarray], other: tuple[Path, np.ndarray]) -> None:
    "ValueError if two images of a folder, each with its path, have different shapes."
    if first[1].shape != other[1].shape:
        sizes = [f"{path.name} ({'x'.join(map(str, image.shape[:0:-1]))})" for path, image in (first, other)]
        raise ValueError(
            f"{folder}: images of several sizes, such as {' and '.join(sizes)}; make them alike first."
        )


# %% [markdown]
# An array, a folder or a run:

# %%
#| export
def load_images(path: Path) -> torch.Tensor:  # uint8, or floats; (N, C, H, W)
    "The images of an npz file, a folder, an archive, or a run (its last epoch count). ValueError if none."
    if path.is_dir():
        places = [path / "samples.npz", *sorted(path.glob("epoch-*/samples.npz"), reverse=True)]
        samples = next((place for place in places if place.exists()), None)
        return load_images(samples) if samples else _read_folder(path)
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder (and no data set of that name).")
    if path.suffix != ".npz" and is_archive(str(path)):
        return _read_folder(path)
    try:
        with np.load(path) as arrays:
            images = torch.from_numpy(_array_of_images(arrays))
    except (ValueError, OSError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as problem:
        raise ValueError(f"{path}: it is no npz file with an array of images ({problem}).") from None
    if images.ndim == 3:
        images = images[:, None]
    channels_last = images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3)
    return _grey_if_grey(images.permute(0, 3, 1, 2).contiguous() if channels_last else images)


# %% [markdown]
# An npz file may hold labels and other things beside the images:

# %%
#| export
def _array_of_images(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    "The array named samples, or the only one with three or four dimensions. ValueError if none, or several."
    if "samples" in arrays:
        return arrays["samples"]
    found = {}
    for name in arrays:
        with contextlib.suppress(ValueError):  # an array of Python objects, which is never opened
            if arrays[name].ndim in (3, 4) and arrays[name].dtype.kind in "buif":
                found[name] = arrays[name]
    if len(found) > 1:
        raise ValueError(f"{' and '.join(found)} may be images; name one of them samples")
    if not found:
        raise ValueError("no array has three or four dimensions")
    return next(iter(found.values()))


# %% [markdown]
# Grey images often come with three equal channels:

# %%
#| export
def _grey_if_grey(images: torch.Tensor) -> torch.Tensor:
    "One channel instead of three equal ones, as which many programs save grey images."
    same = images.ndim == 4 and images.shape[1] == 3 and bool((images[:, :1] == images[:, 1:]).all())
    return images[:, :1].contiguous() if same else images


# %% [markdown]
# A run's own configuration says which data set it learned from:

# %%
#| export
def _config(path: Path) -> dict:
    "config.json of the run that a folder belongs to, or nothing; somebody else's file is left alone."
    for folder in (path, *list(path.absolute().parents)[:2]):
        with contextlib.suppress(OSError, ValueError):
            config = json.loads((folder / "config.json").read_text())
            if isinstance(config, dict) and {"model", "dataset", "seed"} <= config.keys():
                return config
    return {}


# %% [markdown]
# ## The command
#
# Its words. The metrics are the keys of `MEASURES`, those of `GENLAB_PLUGINS` among them.

# %%
#| export
def _limits(text: str) -> tuple[float, float]:
    "Black and white from the command line."
    try:
        black, white = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"two numbers, black and white, such as 0,1; not {text!r}") from None
    return black, white


SAMPLES = (
    "a folder or an archive of images, an .npz file, the folder of a run, or a data set (its training images)"
)
RANGE = "what arrays of floats call black and white, as --range=0,1; by default what cannot be mistaken"
DASH = "A name that begins with - stands last, after --, as in: genlab_metrics --json -- -mine.npz mnist"


# %%
#| export
def _options() -> argparse.Namespace:
    "What the command line says."
    about = f"Metrics: {', '.join(MEASURES)}. 05_fid explains them. {DASH}"
    parser = argparse.ArgumentParser(description=main.__doc__, epilog=about)
    add = parser.add_argument
    add("samples", help=SAMPLES)
    add("reference", help="the same; of a data set the test images")
    lenet_or_photo = "default: all in LeNet's features, or all of photo if there is no LeNet"
    add("--metrics", nargs="+", metavar="METRIC", choices=MEASURES, help=lenet_or_photo)
    add("--classifier", metavar="DATASET", help="whose LeNet; default: that of the reference, or of the run")
    add("--range", type=_limits, metavar="BLACK,WHITE", help=RANGE)
    add("--json", action="store_true", help="print all that is known as JSON")
    return parser.parse_args()


# %% [markdown]
# And what it does: read, call `evaluate`, print.

# %%
#| export
def main() -> None:
    "The command `genlab_metrics`: how far are images from other images?"
    try:
        import_plugins()
        options = _options()
        scores = _scores(options)
    except (ValueError, RuntimeError, OSError) as problem:
        sys.exit(f"genlab_metrics: {problem}")
    _print_scores(options.samples, scores, options.json)


# %%
#| export
def _scores(options: argparse.Namespace) -> dict[str, dict]:
    "What `evaluate` says of the images that the command line names."
    samples, reference = options.samples, options.reference
    if is_dataset(samples):
        images = load_dataset(check_dataset(samples)).images
    else:
        images = as_bytes(load_images(Path(samples)), samples, options.range)
    if is_dataset(reference):
        against = check_dataset(reference)
    else:
        against = as_bytes(load_images(Path(reference)), reference, options.range)
    known = against if isinstance(against, str) else _config(Path(samples)).get("dataset")
    classifier = options.classifier or known
    has_lenet = classifier and load_dataset(classifier).labels is not None
    extractor = "lenet" if has_lenet else "photo"
    of_extractor = [metric for metric, measure in MEASURES.items() if measure.extractor == extractor]
    return evaluate(images, against, options.metrics or of_extractor, classifier)


# %% [markdown]
# If nothing of what was asked for can be had, the exit status says so.

# %%
#| export
def _print_scores(name: str, scores: dict[str, dict], as_json: bool) -> None:
    "A table, or all as JSON. SystemExit with the reason if there is nothing in it."
    reasons = {}
    for metric, score in scores.items():
        if score["value"] is None:
            reasons.setdefault(score["why"], []).append(metric)
    missing = [f"no {', '.join(metrics)}: {why}" for why, metrics in reasons.items()]
    nothing = all(score["value"] is None for score in scores.values())
    if as_json:
        print(json.dumps(scores, indent=2, allow_nan=False))
    elif not nothing:
        print(score_table({name: scores}).T.to_string())
        known = [score for score in scores.values() if "hash" in score]
        about = {
            f"{s['n_reference']:,} reference images; {s['extractor']}, weights {s['hash']}" for s in known
        }
        print(*sorted(about), sep="\n")
        print(*(f"{sentence[0].upper()}{sentence[1:]}." for sentence in missing), sep="\n", end="")
    if nothing:
        sys.exit(f"genlab_metrics: {'; '.join(missing)}.")


# %% [markdown]
# For example, noisy training images, from a file. (`command` is `genlab_metrics`, called from here.)

# %%
def command(*words):
    "What the command prints, and its exit status."
    out, status = io.StringIO(), 0
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr("sys.argv", ["genlab_metrics", *map(str, words)])
        caught = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(out))
        try:
            main()
        except SystemExit as stop:  # a sentence: Python prints it, and the status is 1
            print(stop.code)
            status = 1
    return out.getvalue() + "".join(str(w.message) for w in caught), status


# %%
train, test = load_dataset(dataset, "train"), load_dataset(dataset, "test")
real = train.images[:500]
grain = 0.3 * torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
noisy = to_image((to_model(real) + grain).clamp(-1, 1))
show_grid(noisy[:32], ncol=16, title="what is measured")

home = tempfile.TemporaryDirectory()
folder, file = Path(home.name, "noisy"), Path(home.name, "noisy.npz")
np.savez(file, noisy.permute(0, 2, 3, 1))
printed = command(file, dataset)[0]
print(printed.replace(str(file), "noisy.npz"))

# %%
#| hide
folder.mkdir()
for i, image in enumerate(noisy):
    Image.fromarray(image[0].numpy()).save(folder / f"{i:04}.png")
scores = evaluate(noisy, dataset, ["fd_lenet", "class_kl"])
from_json = json.loads(command(folder, dataset, "--json", "--metrics", "fd_lenet", "class_kl")[0])
assert from_json == scores
shown = f"{scores['fd_lenet']['value']:.1f} ± {scores['fd_lenet']['sd']:.1f}"
assert shown in printed and all(
    m in printed for m, measure in MEASURES.items() if measure.extractor == "lenet"
)
against_images = json.loads(
    command(file, folder, "--json", "--classifier", dataset, "--metrics", "fd_lenet")[0]
)
assert against_images["fd_lenet"]["value"] < 1e-6 and against_images["fd_lenet"]["floor"] is None

# %%
#| hide
(folder / "broken.png").write_text("no image")
skipped = command(folder, dataset, "--metrics", "fd_lenet")[0]
assert "1 of 501 files are not readable images and were skipped" in skipped
Image.new("L", (5, 7)).save(folder / "small.png")
(Path(home.name) / "empty").mkdir()
np.savez(Path(home.name, "text.npz"), np.array(["no", "images"]))
np.savez(Path(home.name, "bright.npz"), noisy / 255)
assert "± " in command(Path(home.name, "bright.npz"), dataset, "--range", "0,1", "--metrics", "fd_lenet")[0]

# %%
#| hide
for words, sentence in [
    ((folder, dataset), "images of several sizes, such as 0000.png (16x16) and small.png (5x7)"),
    ((Path(home.name) / "empty", dataset), "there are no images (.jpg"),
    ((file, "mnits"), "mnits: there is no such file or folder (and no data set of that name)"),
    ((file, file, "--metrics", "fd_lenet"), "whose LeNet? Name a data set"),
    ((folder / "broken.png", dataset), "it is no npz file"),
    ((Path(home.name, "text.npz"), dataset), "it is no npz file with an array of images"),
    (
        (Path(home.name, "bright.npz"), dataset),
        "floats from -1 (black) to 1; these are torch.float32 from 0 to 1",
    ),
]:
    printed, status = command(*words)
    assert status == 1 and sentence in printed and len(printed.splitlines()) == 1, printed
home.cleanup()


# %% [markdown]
# ## PNG or array?
#
# Does it matter whether samples are measured from PNG files or from the array? (One of the five reports had two FIDs for the same samples.) A network's output is a float; a file holds bytes. What do rounding, cutting off the decimals (`astype(uint8)`, a common slip), JPEG and resizing do to the distance? As float images we take real ones moved by a tenth of a pixel, so that their values lie between the bytes; that is a slight blur, and costs something itself. Compare each line with the first. ([Parmar et al. 2022](https://arxiv.org/abs/2104.11222) did this for FID and found that resizing and JPEG matter.)

# %%
def through_jpeg(images):
    "Write as JPEG and read back."
    files = [io.BytesIO() for _ in images]
    for image, file in zip(images, files, strict=True):
        Image.fromarray(image[0].numpy()).save(file, "JPEG", quality=75)
    return torch.stack([torch.from_numpy(np.array(Image.open(file)))[None] for file in files])


def there_and_back(images, **how):
    "To half as many pixels more and back again."
    larger = F.interpolate(images, scale_factor=1.5, **how)
    return F.interpolate(larger, size=images.shape[-1], **how).clamp(-1, 1)


# %%
floats = 0.9 * to_model(real) + 0.1 * to_model(real).roll(1, 3)
stored = {
    "float": floats,
    "rounded to bytes (PNG)": to_model(to_image(floats)),
    "cut off to bytes": to_model(((floats + 1) * 127.5).byte()),
    "JPEG": to_model(through_jpeg(to_image(floats))),
    "to 24x24 and back, bicubic": there_and_back(floats, mode="bicubic", antialias=True),
    "to 24x24 and back, bilinear": there_and_back(floats, mode="bilinear", antialias=True),
    "to 24x24 and back, nearest": there_and_back(floats, mode="nearest"),
}

# %%
extractor = lenet_extractor(dataset)
network, reference = extractor.network.cpu().eval(), extractor(test.images)
with torch.no_grad():
    distances = {k: frechet_distance_of_features(network(x).double(), reference) for k, x in stored.items()}
real_floor = floor("fd_lenet", dataset, real.shape[-1], len(real))
pd.Series(distances | {"floor": real_floor["floor"]}, name="fd_lenet").round(2).to_frame()

# %%
#| hide
assert abs(distances["rounded to bytes (PNG)"] - distances["float"]) < 0.1 * real_floor["floor_sd"]
assert abs(distances["to 24x24 and back, nearest"] - distances["float"]) > real_floor["floor_sd"]

# %% [markdown]
# Rounding, cutting off and JPEG change little here; resizing changes the distance by much, least with bicubic. What genlab measures are always bytes, rounded, at the size they were made.
#
# ## What to remember
#
# - What black and white are, how large an image is and how it was resized belong to a measured number. Storing bytes costs nothing.
# - `genlab_metrics --json` prints all that a number depends on: how many samples, which reference, whose features.
