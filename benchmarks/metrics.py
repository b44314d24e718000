"""
All measures: genlab against pytorch-fid, torch-fidelity and prdc's definition in plain NumPy, in one run.

Whole calls on the same images and the same Inception with random weights (the real ones need a download, the time is the same),
then each measure on the same features. Prints values, seconds and their ratio. Some minutes on a CPU.
"""

import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pytorch_fid import fid_score, inception

N_IMAGES, N_FEATURES = 100, 4000


def random_inception(folder: Path) -> Path:
    "Weights of an untrained Inception, where pytorch-fid and genlab look for the trained ones."
    torch.manual_seed(0)
    load, load_url = torch.nn.Module.load_state_dict, inception.load_state_dict_from_url
    inception.load_state_dict_from_url, torch.nn.Module.load_state_dict = lambda *a, **k: None, lambda *a, **k: None
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


def line(what, theirs, ours):
    (a, slow), (b, fast) = timed(theirs), timed(ours)
    print(f"{what:<44} {a:>14.6f} {b:>14.6f} {slow:>8.2f} {fast:>8.2f} {slow / fast:>7.1f}", flush=True)


def whole_calls(home: Path) -> None:
    from torch_fidelity import calculate_metrics

    from genlab.data import load_dataset
    from genlab.fid import evaluate, load_images

    weights = random_inception(home)
    for name in ("train", "test"):
        (home / name).mkdir()
        for i, image in enumerate(load_dataset("digits", name, 32).images[:N_IMAGES]):
            Image.fromarray(image.expand(3, -1, -1).permute(1, 2, 0).numpy()).save(home / name / f"{i:04}.png")
    a, b = str(home / "train"), str(home / "test")

    def ours(metric, cached=False):
        def call():
            if not cached:
                shutil.rmtree(home / "features", ignore_errors=True)
            return evaluate(load_images(Path(a)), load_images(Path(b)), [metric])[metric]["value"]

        return call

    fidelity = dict(input1=a, input2=b, cuda=False, feature_extractor_weights_path=str(weights), cache=False, verbose=False, batch_size=50, save_cpu_ram=True)
    theirs = lambda **metric: lambda: next(iter(calculate_metrics(**fidelity, **metric).values()))
    evaluate(load_images(Path(b))[:4], load_images(Path(b))[:4], ["fid"])  # load the libraries and the network
    line("fid, pytorch-fid", lambda: fid_score.calculate_fid_given_paths([a, b], 50, "cpu", 2048, 0), ours("fid"))
    line("fid again, with the reference in the cache", lambda: fid_score.calculate_fid_given_paths([a, b], 50, "cpu", 2048, 0), ours("fid", cached=True))
    line("fid, torch-fidelity", theirs(fid=True), ours("fid"))
    line("kid, torch-fidelity", theirs(kid=True, kid_subset_size=N_IMAGES // 2), ours("kid"))
    line("inception_score, torch-fidelity", theirs(isc=True), ours("inception_score"))


def prdc(real, fake, k=5):
    "Density and coverage as their authors write them, in NumPy."
    far = lambda a, b: np.sqrt(np.maximum((a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1), 0))
    radii = np.partition(far(real, real), k, axis=1)[:, k]
    d = far(real, fake)
    return (d < radii[:, None]).sum(0).mean() / k, (d.min(1) < radii).mean()


def features(dims: int) -> None:
    from torch_fidelity.defaults import DEFAULTS
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    from genlab.fid import density_coverage, frechet_distance_of_features, inception_score, kernel_distance, precision_recall

    rng = np.random.default_rng(0)
    options = DEFAULTS | {"verbose": False}
    mix = rng.normal(size=(dims, dims)) / dims**0.5
    x, y = (torch.from_numpy(rng.normal(size=(N_FEATURES, dims)) @ mix + shift) for shift in (0, 0.1))
    arrays, moments = (x.numpy(), y.numpy()), lambda a: (a.numpy().mean(0), np.cov(a.numpy(), rowvar=False))
    frechet_distance_of_features(x[: 2 * dims], y[: 2 * dims])  # the first call loads the libraries
    print(f"{N_FEATURES:,} features of {dims} dimensions")
    line("Frechet, pytorch-fid", lambda: fid_score.calculate_frechet_distance(*moments(x), *moments(y)), lambda: frechet_distance_of_features(x, y))
    line("KID, torch-fidelity", lambda: kid_features_to_metric(x, y, **options)["kernel_inception_distance_mean"], lambda: kernel_distance(x, y)[0])
    line("precision (and recall), torch-fidelity", lambda: prc_features_to_metric(x, y, **options)["precision"], lambda: precision_recall(x, y)[0])
    line("density (and coverage), NumPy", lambda: prdc(*arrays[::-1])[0], lambda: density_coverage(x, y)[0])
    line("Inception Score, torch-fidelity", lambda: isc_features_to_metric(x)["inception_score_mean"], lambda: inception_score(x)[0])


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else torch.get_num_threads())
    print(f"{'':<44} {'theirs':>14} {'genlab':>14} {'seconds':>8} {'seconds':>8} {'faster':>7}")
    for dims in (84, 2048):
        features(dims)
    with tempfile.TemporaryDirectory() as home:
        os.environ["GENLAB_CACHE"] = home
        whole_calls(Path(home))
