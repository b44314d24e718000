"""
All measures: genlab against pytorch-fid, torch-fidelity and prdc's definition in plain NumPy, in one run.

Whole calls on the same images and the same Inception with random weights (the real ones need a download, the
time is the same), then each measure on the same features.
Prints values, seconds and their ratio. Some minutes on a CPU.
"""

import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pytorch_fid import fid_score, inception
from torch_fidelity import calculate_metrics
from torch_fidelity.defaults import DEFAULTS
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from genlab.command import load_images
from genlab.data import load_dataset
from genlab.fid import evaluate, frechet_distance_of_features
from genlab.measures import density_coverage, inception_score, kernel_distance, precision_recall

N_IMAGES, N_FEATURES = 100, 4000


def random_inception(folder: Path) -> Path:
    "Weights of an untrained Inception, where pytorch-fid and genlab look for the trained ones."
    torch.manual_seed(0)
    load, load_url = torch.nn.Module.load_state_dict, inception.load_state_dict_from_url
    nothing = lambda *args, **kwargs: None
    inception.load_state_dict_from_url, torch.nn.Module.load_state_dict = nothing, nothing
    net = inception.fid_inception_v3()
    for layer in net.modules():  # so that features neither vanish nor explode
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    state = net.state_dict()
    inception.load_state_dict_from_url, torch.nn.Module.load_state_dict = load_url, load
    file = folder / "hub" / "checkpoints" / inception.FID_WEIGHTS_URL.rsplit("/", 1)[1]
    file.parent.mkdir(parents=True)
    torch.save(state, file)
    torch.hub.set_dir(folder / "hub")
    return file


def timed(function):
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        value = function()
    return value, time.perf_counter() - start


def first(value) -> float:
    "The first of several values, in a tuple or a dictionary."
    if isinstance(value, dict):
        value = tuple(value.values())
    return value[0] if isinstance(value, tuple) else value


def line(what, peer, genlab):
    "Time both, and print it beside the first of the values that each gives."
    (a, slow), (b, fast) = timed(peer), timed(genlab)
    a, b = first(a), first(b)
    print(f"{what:<44} {a:>14.6f} {b:>14.6f} {slow:>8.2f} {fast:>8.2f} {slow / fast:>7.1f}", flush=True)


def write_images(folder: Path, split: str) -> None:
    "Some digits as PNG files, in colour."
    folder.mkdir()
    for i, image in enumerate(load_dataset("digits", split, 32).images[:N_IMAGES]):
        Image.fromarray(image.expand(3, -1, -1).permute(1, 2, 0).numpy()).save(folder / f"{i:04}.png")


def of_genlab(home: Path, metric: str, cached: bool = False) -> float:
    "The value that genlab has for the two folders in `home`."
    if not cached:
        shutil.rmtree(home / "features", ignore_errors=True)
    images = [load_images(home / split) for split in ("train", "test")]
    return evaluate(*images, [metric])[metric]["value"]


def of_fidelity(home: Path, weights: Path, **metric) -> float:
    "That of torch-fidelity."
    options = dict(
        input1=str(home / "train"), input2=str(home / "test"), cuda=False, cache=False, verbose=False
    )
    options |= dict(feature_extractor_weights_path=str(weights), batch_size=50, save_cpu_ram=True)
    return next(iter(calculate_metrics(**options, **metric).values()))


def whole_calls(home: Path) -> None:
    weights = random_inception(home)
    for split in ("train", "test"):
        write_images(home / split, split)
    folders = [str(home / split) for split in ("train", "test")]
    genlab, fidelity = partial(partial, of_genlab, home), partial(partial, of_fidelity, home, weights)
    pytorch_fid = partial(fid_score.calculate_fid_given_paths, folders, 50, "cpu", 2048, 0)
    few = load_images(home / "test")[:4]
    evaluate(few, few, ["fid", "fd_photo"])  # load the libraries and the networks
    line("fid, pytorch-fid", pytorch_fid, genlab("fid"))
    line("fid again, with the reference in the cache", pytorch_fid, genlab("fid", cached=True))
    line("fid, genlab; fd_photo, another distance", genlab("fid"), genlab("fd_photo"))
    line("fid, torch-fidelity", fidelity(fid=True), genlab("fid"))
    line("kid, torch-fidelity", fidelity(kid=True, kid_subset_size=N_IMAGES // 2), genlab("kid"))
    line("inception_score, torch-fidelity", fidelity(isc=True), genlab("inception_score"))


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum((a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1), 0))


def prdc(real: np.ndarray, fake: np.ndarray, k: int = 5) -> tuple[float, float]:
    "Density and coverage as their authors write them, in NumPy."
    radii = np.partition(distances(real, real), k, axis=1)[:, k]
    d = distances(real, fake)
    return (d < radii[:, None]).sum(0).mean() / k, (d.min(1) < radii).mean()


def features(dims: int) -> None:
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(dims, dims)) / dims**0.5
    x, y = (torch.from_numpy(rng.normal(size=(N_FEATURES, dims)) @ mix + shift) for shift in (0, 0.1))
    frechet_distance_of_features(x[: 2 * dims], y[: 2 * dims])  # the first call loads the libraries
    print(f"{N_FEATURES:,} features of {dims} dimensions")
    compare_with_fidelity(x, y)
    arrays = x.numpy(), y.numpy()
    moments = [moment for a in arrays for moment in (a.mean(0), np.cov(a, rowvar=False))]
    frechet = partial(fid_score.calculate_frechet_distance, *moments)
    line("Frechet, pytorch-fid", frechet, partial(frechet_distance_of_features, x, y))
    line("density (and coverage), NumPy", partial(prdc, *arrays[::-1]), partial(density_coverage, x, y))


def compare_with_fidelity(x: torch.Tensor, y: torch.Tensor) -> None:
    options = DEFAULTS | {"verbose": False}
    kid, precision = (partial(f, x, y, **options) for f in (kid_features_to_metric, prc_features_to_metric))
    line("KID, torch-fidelity", kid, partial(kernel_distance, x, y))
    line("precision (and recall), torch-fidelity", precision, partial(precision_recall, x, y))
    score = partial(isc_features_to_metric, x)
    line("Inception Score, torch-fidelity", score, partial(inception_score, x))


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else torch.get_num_threads())
    print(f"{'':<44} {'peer':>14} {'genlab':>14} {'seconds':>8} {'seconds':>8} {'faster':>7}")
    for dims in (84, 2048):
        features(dims)
    with tempfile.TemporaryDirectory() as home:
        os.environ["GENLAB_CACHE"] = home
        whole_calls(Path(home))
