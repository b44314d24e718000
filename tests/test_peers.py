"""The same numbers as the packages that people know."""

import json
from unittest.mock import Mock

import mpmath
import numpy as np
import pytest
import torch
from conftest import command, needs_mnist
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from PIL import Image
from pytorch_fid import fid_score, inception
from torch.utils.data import DataLoader
from torch_fidelity.defaults import DEFAULTS
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from torchvision import transforms
from torchvision.datasets import MNIST

import genlab.features
from genlab.data import derive_seed, epoch_batches, load_dataset
from genlab.ddpm import ddim
from genlab.diffusion import Diffusion, cosine_betas, linear_betas
from genlab.fid import FeatureStats, evaluate, frechet_distance, frechet_distance_of_features
from genlab.measures import inception_score, kernel_distance, precision_recall
from genlab.samplers import Noise, dpmpp, karras_times, sde_dpmpp


@pytest.mark.parametrize("n", [400, 2000])
def test_frechet_distance_of_pytorch_fid(n):
    rng = np.random.default_rng(n)
    x, y = (rng.normal(size=(n, 200)) @ rng.normal(size=(200, 200)) / 14 + shift for shift in (0, 0.2))
    moments = [x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False)]
    expected = fid_score.calculate_frechet_distance(*moments)
    assert np.isclose(frechet_distance(*moments), expected, rtol=1e-6)
    assert np.isclose(frechet_distance_of_features(x, y), expected, rtol=1e-6)


def test_singular_against_extended_precision():
    "12 samples in 60 dimensions: both forms against the eigenvalues of the small matrix in 100 digits."
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 12, 60))
    a, b = ((s - s.mean(0)) / np.sqrt(11) for s in (x, y))
    mpmath.mp.dps = 100
    gram = mpmath.matrix((a @ b.T).tolist())
    roots = sum(mpmath.sqrt(abs(v)) for v in mpmath.eigsy(gram * gram.T, eigvals_only=True))
    exact = float(((x.mean(0) - y.mean(0)) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * roots)
    assert np.isclose(frechet_distance_of_features(x, y), exact, rtol=1e-10)
    stats = FeatureStats(torch.from_numpy(x)), FeatureStats(torch.from_numpy(y))
    assert np.isclose(
        frechet_distance(stats[0].mean, stats[0].cov, stats[1].mean, stats[1].cov), exact, rtol=1e-9
    )


def test_a_set_is_at_distance_zero_from_itself():
    for n in (50, 128, 5000):
        x = np.random.default_rng(0).normal(size=(n, 128)) * np.geomspace(1e-3, 10, 128)
        assert 0 <= frechet_distance_of_features(x, x) < 1e-6


@pytest.fixture(scope="module")
def features():
    "Two sets of features that differ a little."
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(84, 84)) / 9
    return [torch.from_numpy(rng.normal(size=(n, 84)) @ mix + shift) for n, shift in ((2500, 0), (2000, 0.1))]


def test_kid_of_torch_fidelity(features):
    expected = kid_features_to_metric(*features, **DEFAULTS | {"verbose": False})
    assert np.allclose(kernel_distance(*features), list(expected.values()), rtol=1e-4)


def test_precision_and_recall_of_torch_fidelity(features):
    expected = prc_features_to_metric(*features, **DEFAULTS | {"verbose": False})
    assert np.allclose(precision_recall(*features), [expected["precision"], expected["recall"]], atol=1e-4)
    assert 0.1 < expected["recall"] < 0.9 and 0.1 < expected["precision"] < 0.9, (
        "a case where neither is trivial"
    )


def test_inception_score_of_torch_fidelity(features):
    logits = features[0][:, :20] * 4
    assert np.allclose(inception_score(logits), list(isc_features_to_metric(logits).values()), rtol=1e-4)


@pytest.fixture
def inception_weights(tmp_path, monkeypatch):
    "An Inception with random weights in torch's cache, where pytorch-fid and genlab look for the real ones."
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(0)
    monkeypatch.setattr(inception, "load_state_dict_from_url", Mock())
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", Mock())
    net = inception.fid_inception_v3()
    for layer in net.modules():  # so that features neither vanish nor explode
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    monkeypatch.undo()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / inception.FID_WEIGHTS_URL.rsplit("/", 1)[1]
    file.parent.mkdir(parents=True)
    torch.save(net.state_dict(), file)
    genlab.features.inception_extractor.cache_clear()
    yield file
    genlab.features.inception_extractor.cache_clear()


def test_inception_features_are_those_of_pytorch_fid(inception_weights, tmp_path):
    images = load_dataset("digits", size=32).images[:12]
    files = [tmp_path / f"{i:02}.png" for i in range(12)]
    for image, file in zip(images, files, strict=True):
        Image.fromarray(image[0].numpy()).save(file)
    expected = fid_score.get_activations(
        files, inception.InceptionV3([3]), batch_size=4, dims=2048, num_workers=0
    )
    extractor = genlab.features.inception_extractor()
    assert np.allclose(extractor(images).numpy(), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert extractor.name == "Inception-v3 (pytorch-fid)" and len(extractor.hash) == 12


def test_the_command_has_the_value_of_pytorch_fids(inception_weights, tmp_path):
    folders = [tmp_path / name for name in ("a", "b")]
    for folder, split in zip(folders, ("train", "test"), strict=True):
        folder.mkdir()
        for i, image in enumerate(load_dataset("digits", split, 32).images[:12]):
            Image.fromarray(image[0].numpy()).save(folder / f"{i:02}.png")
    expected = command(
        "python", "-m", "pytorch_fid", *folders, "--num-workers", "0", TORCH_HOME=str(tmp_path)
    )
    ours = command("genlab_metrics", *folders, "--json", "--metrics", "fid", TORCH_HOME=str(tmp_path))
    assert expected.returncode == ours.returncode == 0, expected.stderr + ours.stderr
    scores = json.loads(ours.stdout)
    assert scores["fid"]["value"] > 1e-3 and np.isclose(
        scores["fid"]["value"], float(expected.stdout.split()[-1]), rtol=1e-3
    )


def test_fid_without_weights_is_a_reason_and_no_number(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(inception, "FID_WEIGHTS_URL", "http://nowhere.invalid/weights.pth")
    genlab.features.inception_extractor.cache_clear()
    scores = evaluate(load_dataset("digits", "test").images, "digits", ["fd_lenet", "fid"])
    assert scores["fid"]["value"] is None and str(tmp_path) in scores["fid"]["why"]
    assert scores["fd_lenet"]["value"] < 1e-6, "the test set against itself"


@needs_mnist
def test_batches_hold_the_pixels_of_torchvision(tmp_path, monkeypatch):
    data = load_dataset("mnist", "test")
    normalise = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    monkeypatch.setattr(MNIST, "_check_exists", Mock(return_value=True))
    monkeypatch.setattr(MNIST, "_load_data", Mock(return_value=(data.images[:, 0], data.labels)))
    order = torch.randperm(10000, generator=torch.Generator().manual_seed(derive_seed(0, 0)))
    loader = DataLoader(
        MNIST(tmp_path, train=False, transform=normalise), batch_size=128, sampler=order.tolist()
    )
    for (x, y), (ours, labels) in zip(loader, epoch_batches(data, 128, seed=0, epoch=0), strict=True):
        assert torch.equal(x, ours) and torch.equal(y, labels)


# -- samplers of the package diffusers -----------------------------------------------------------------------


class Bent:
    "A denoiser that needs no time: the clean image is a bent copy of the noisy one."

    def __init__(self, betas):
        self.diffusion, self.device = Diffusion(betas), torch.device("cpu")

    def __call__(self, xt, t):
        return torch.tanh(0.7 * xt + 0.1)


def walk(scheduler, model, shape, seed, stochastic=False):
    noise = Noise(shape, seed)
    x = noise()
    for t in scheduler.timesteps:
        x = scheduler.step(
            model(x, t), t, x, **({"variance_noise": noise()} if stochastic else {})
        ).prev_sample
    return x


@pytest.mark.parametrize("betas", [linear_betas(1000), cosine_betas(1000)], ids=["linear", "cosine"])
@pytest.mark.parametrize("steps", [5, 20, 50])
def test_ddim_of_diffusers(betas, steps):
    model, shape = Bent(betas), (4, 1, 6, 6)
    expected = DDIMScheduler(
        1000,
        trained_betas=betas.tolist(),
        prediction_type="sample",
        timestep_spacing="trailing",
        clip_sample=False,
    )
    expected.set_timesteps(steps)
    assert torch.allclose(ddim(model, shape, steps, 0), walk(expected, model, shape, 0), atol=2e-5)


@pytest.mark.parametrize("steps", [2, 5, 20, 50])
@pytest.mark.parametrize("ours", [dpmpp, sde_dpmpp])
def test_dpm_solvers_of_diffusers(ours, steps):
    betas = linear_betas(1000, last=0.017)  # ends at sigma = 74; ours begin at 80 at most
    model, shape = Bent(betas), (4, 1, 6, 6)
    kind = {
        "algorithm_type": "sde-dpmsolver++" if ours is sde_dpmpp else "dpmsolver++",
        "use_karras_sigmas": True,
        "final_sigmas_type": "zero",
    }
    expected = DPMSolverMultistepScheduler(
        1000, trained_betas=betas.tolist(), prediction_type="sample", **kind
    )
    expected.set_timesteps(steps)
    times = karras_times(model.diffusion, steps)[:-1]
    sigmas = ((1 / model.diffusion.abar_at(torch.tensor(times)) - 1).sqrt()).tolist()
    assert np.allclose(sigmas, expected.sigmas[:-1], rtol=1e-4)
    assert torch.allclose(
        ours(model, shape, steps, 0).float(), walk(expected, model, shape, 0, ours is sde_dpmpp), atol=1e-4
    )
