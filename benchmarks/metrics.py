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


def line(what, peer, genlab):
    (a, slow), (b, fast) = timed(peer), timed(genlab)
    print(f"{what:<44} {a:>14.6f} {b:>14.6f} {slow:>8.2f} {fast:>8.2f} {slow / fast:>7.1f}", flush=True)


def whole_calls(home: Path) -> None:
    from torch_fidelity import calculate_metrics

    from genlab.command import load_images
    from genlab.data import load_dataset
    from genlab.fid import evaluate

    weights = random_inception(home)
    for name in ("train", "test"):
        (home / name).mkdir()
        for i, image in enumerate(load_dataset("digits", name, 32).images[:N_IMAGES]):
            Image.fromarray(image.expand(3, -1, -1).permute(1, 2, 0).numpy()).save(
                home / name / f"{i:04}.png"
            )
    a, b = str(home / "train"), str(home / "test")

    def of_genlab(metric, cached=False):
        def call():
            if not cached:
                shutil.rmtree(home / "features", ignore_errors=True)
            images = [load_images(Path(folder)) for folder in (a, b)]
            return evaluate(*images, [metric])[metric]["value"]

        return call

    fidelity = dict(input1=a, input2=b, cuda=False, feature_extractor_weights_path=str(weights))
    fidelity |= dict(cache=False, verbose=False, batch_size=50, save_cpu_ram=True)
    of_fidelity = lambda **metric: lambda: next(iter(calculate_metrics(**fidelity, **metric).values()))
    of_pytorch_fid = lambda: fid_score.calculate_fid_given_paths([a, b], 50, "cpu", 2048, 0)
    evaluate(
        load_images(Path(b))[:4], load_images(Path(b))[:4], ["fid"]
    )  # load the libraries and the network
    line("fid, pytorch-fid", of_pytorch_fid, of_genlab("fid"))
    line("fid again, with the reference in the cache", of_pytorch_fid, of_genlab("fid", cached=True))
    line("fid, torch-fidelity", of_fidelity(fid=True), of_genlab("fid"))
    line("kid, torch-fidelity", of_fidelity(kid=True, kid_subset_size=N_IMAGES // 2), of_genlab("kid"))
    line("inception_score, torch-fidelity", of_fidelity(isc=True), of_genlab("inception_score"))


def prdc(real, fake, k=5):
    "Density and coverage as their authors write them, in NumPy."
    distances = lambda a, b: np.sqrt(np.maximum((a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1), 0))
    radii = np.partition(distances(real, real), k, axis=1)[:, k]
    d = distances(real, fake)
    return (d < radii[:, None]).sum(0).mean() / k, (d.min(1) < radii).mean()


def features(dims: int) -> None:
    from torch_fidelity.defaults import DEFAULTS
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    from genlab.fid import frechet_distance_of_features
    from genlab.measures import density_coverage, inception_score, kernel_distance, precision_recall

    rng = np.random.default_rng(0)
    options = DEFAULTS | {"verbose": False}
    mix = rng.normal(size=(dims, dims)) / dims**0.5
    x, y = (torch.from_numpy(rng.normal(size=(N_FEATURES, dims)) @ mix + shift) for shift in (0, 0.1))
    arrays = x.numpy(), y.numpy()
    moments = [moment for a in arrays for moment in (a.mean(0), np.cov(a, rowvar=False))]
    fidelity = {
        "KID": lambda: kid_features_to_metric(x, y, **options)["kernel_inception_distance_mean"],
        "precision (and recall)": lambda: prc_features_to_metric(x, y, **options)["precision"],
        "Inception Score": lambda: isc_features_to_metric(x)["inception_score_mean"],
    }
    genlab = {
        "KID": lambda: kernel_distance(x, y)[0],
        "precision (and recall)": lambda: precision_recall(x, y)[0],
        "Inception Score": lambda: inception_score(x)[0],
    }
    frechet_distance_of_features(x[: 2 * dims], y[: 2 * dims])  # the first call loads the libraries
    print(f"{N_FEATURES:,} features of {dims} dimensions")
    of_pytorch_fid = lambda: fid_score.calculate_frechet_distance(*moments)
    line("Frechet, pytorch-fid", of_pytorch_fid, lambda: frechet_distance_of_features(x, y))
    line("density (and coverage), NumPy", lambda: prdc(*arrays[::-1])[0], lambda: density_coverage(x, y)[0])
    for name, peer in fidelity.items():
        line(f"{name}, torch-fidelity", peer, genlab[name])


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else torch.get_num_threads())
    print(f"{'':<44} {'peer':>14} {'genlab':>14} {'seconds':>8} {'seconds':>8} {'faster':>7}")
    for dims in (84, 2048):
        features(dims)
    with tempfile.TemporaryDirectory() as home:
        os.environ["GENLAB_CACHE"] = home
        whole_calls(Path(home))
