"""The run contract, for every model: killed and resumed, or continued, the result is the same to the bit."""

import json
import os
import random
import shutil
import signal
import tempfile
import threading
import warnings
from itertools import count
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest
import torch
from conftest import ROOT
from PIL import Image
from safetensors.torch import load_file

import genlab.ddpm
from genlab.data import load_dataset
from genlab.ddpm import DDPMConfig, look_inside, run_ddpm, sample_ddpm, train_ddpm
from genlab.dit import make_dit  # noqa: F401  adds itself
from genlab.gan import GANConfig, run_gan, sample_gan, train_gan
from genlab.interpolation import find_run, open_run
from genlab.latent import LatentConfig, run_latent
from genlab.likelihood import read_likelihood
from genlab.modern_gan import residual  # noqa: F401  adds itself and its loss
from genlab.plug import KINDS, LOADERS, import_plugins
from genlab.runs import EMA, Run, RunConfig, read_config
from genlab.samplers import scored_samplers
from genlab.vae import VAEConfig, measure_elbo, run_vae, train_vae, vae_pictures

# model: (small configuration, function that does it all)
TINY = dict(size=8, widths=[8, 16], T=40, steps=5, batch_size=64, ema=0.9, n_samples=50, metrics=[])
GAN = dict(width=8, latent=16, batch_size=64, n_samples=50, metrics=[])
MODELS = {
    "gan": (GANConfig(**GAN | {"metrics": ["fd_lenet"]}, ema=0.9), run_gan),
    "gan, hinge": (
        GANConfig(
            **GAN,
            loss="hinge",
            norm="spectral",
            lr_d=4e-4,
            conditional=True,
            augment=["colour", "tilt", "cutout"],
            ema=0.9,
        ),
        run_gan,
    ),
    "gan, wgan-gp": (GANConfig(**GAN, loss="wgan-gp", norm="layer", d_steps=3, dropout=0.2), run_gan),
    "gan, relativistic": (
        GANConfig(**GAN, loss="relativistic", network="residual", conditional=True, ema=0.9, d_steps=2),
        run_gan,
    ),
    "gan, min-max, unrolled": (GANConfig(**GAN, loss="minmax", unroll=2, subset=200), run_gan),
    "gan, report 004": (
        GANConfig(**GAN | {"width": 4}, network="report004", size=8, dropout=0.4, extra_layers=1, subset=200),
        run_gan,
    ),
    "gan, entropy": (GANConfig(**GAN | {"width": 4}, entropy=1e-3, ema=0.9, subset=200), run_gan),
    "ddpm": (DDPMConfig(**TINY), run_ddpm),
    "ddpm, report 003": (
        DDPMConfig(
            **TINY | {"widths": [8]}, network="report003", channels=3, target="eps", schedule="linear"
        ),
        run_ddpm,
    ),
    "vae": (
        VAEConfig(
            size=8,
            width=8,
            latent=4,
            likelihood="logistic",
            scale=None,
            batch_size=64,
            ema=0.9,
            n_samples=50,
            metrics=[],
        ),
        run_vae,
    ),
    "vae-gan": (
        VAEConfig(size=8, width=8, latent=4, adversarial=1, batch_size=64, n_samples=50, metrics=[]),
        run_vae,
    ),
    "ddpm, dit": (
        DDPMConfig(
            **TINY | {"size": 10, "widths": [16]}, network="dit", conditional=True, levels="logit-normal"
        ),
        run_ddpm,
    ),
    "ddpm, by class": (
        DDPMConfig(**TINY, conditional=True, min_snr=5, sampler="ancestral", channels_last=True),
        run_ddpm,
    ),
    "ddpm, muon": (
        DDPMConfig(**TINY | {"widths": [16]}, optimizer="muon", levels="logit-normal", beta2=0.99, patch=2),
        run_ddpm,
    ),
    "ddpm, flow": (
        DDPMConfig(**TINY, schedule="straight", target="flow", sampler="flow_heun"),
        run_ddpm,
    ),
    "latent": (
        LatentConfig(
            size=8,
            width=8,
            latent=8,
            first_epochs=2,
            denoiser="mlp",
            widths=[16],
            conditional=True,
            steps=2,
            n_samples=50,
            metrics=[],
        ),
        run_latent,
    ),
    "ddpm, tuned for few steps": (
        DDPMConfig(**TINY | {"steps": 2}, tuned_from=2, sampler="consistency", conditional=True),
        run_ddpm,
    ),
}


def train(runs, config, go, checkpoint_seconds=30.0, die=None):
    "What a child process does. With `die`, (updates, seconds), it is killed so long after so many updates."
    os.environ["GENLAB_RUNS"] = str(runs)
    torch.set_num_threads(1)
    Run.checkpoint_seconds = checkpoint_seconds
    if die:
        die_later(*die)
    go(config)


def die_later(updates, seconds):
    "A kill -9 that comes while the run goes on, wherever it is then."
    left, log = updates, Run.log

    def counted(run, **values):
        nonlocal left
        log(run, **values)
        left -= 1
        if left == 0:
            threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()

    Run.log = counted


def in_child(processes, *arguments):
    child = processes.Process(target=train, args=arguments)
    child.start()
    child.join()
    return child.exitcode


def result(runs, config):
    "Weights and history of a finished run, from disk."
    (folder,) = runs.glob(f"*/*/{config.name}-{config.hash}")
    weights = load_file(folder / f"epoch-{config.epochs:04}" / "weights.safetensors")
    return weights, (folder / "history.csv").read_bytes(), load_file(folder / "checkpoint.safetensors")


def assert_same(a, b):
    for x, y in ((a[0], b[0]), (a[2], b[2])):
        assert x.keys() == y.keys() and all(torch.equal(x[key], y[key]) for key in x)
    assert a[1] == b[1]


def test_every_kind_is_here():
    import_plugins()
    assert {config.model for config, _ in MODELS.values()} == KINDS.keys()


@pytest.fixture(scope="module", params=MODELS)
def straight(request, processes, tmp_path_factory):
    "A run of 8 epochs without interruption, of each model."
    return go_straight(request.param, processes, tmp_path_factory)


@pytest.fixture(scope="module")
def one_model(processes, tmp_path_factory):
    "The same, for what does not depend on the model."
    return go_straight("vae", processes, tmp_path_factory)


def go_straight(model, processes, tmp_path_factory):
    config, go = MODELS[model]
    config = config.model_copy(update={"epochs": 8})
    runs = tmp_path_factory.mktemp("straight")
    assert in_child(processes, runs, None, type) == 0  # the first child waits for the imports
    assert in_child(processes, runs, config, go) == 0
    found = result(runs, config)
    return config, go, found, len(found[1].splitlines()) - 1


def test_killed_ten_times(straight, processes, tmp_path):
    config, go, expected, updates = straight
    chance, exits = random.Random(0), []
    for _ in range(10):
        die = chance.randint(1, updates // 10), chance.uniform(0, 0.01)
        exits.append(in_child(processes, tmp_path, config, go, 0.0, die))
    assert exits.count(-signal.SIGKILL) >= 5, "killed too seldom to mean anything"
    assert in_child(processes, tmp_path, config, go) == 0
    assert_same(result(tmp_path, config), expected)


def test_continued(straight, processes, tmp_path):
    config, go, expected, _ = straight
    for epochs in (1, 4, 8):
        assert in_child(processes, tmp_path, config.model_copy(update={"epochs": epochs}), go) == 0
    assert_same(result(tmp_path, config), expected)
    (folder,) = tmp_path.glob(f"*/*/{config.name}-{config.hash}")
    assert sorted(p.parent.name for p in folder.glob("*/metrics.json")) == [
        "epoch-0001",
        "epoch-0004",
        "epoch-0008",
    ]


def test_a_run_is_tuned_from_the_plain_run_that_is_there(tmp_path, monkeypatch):
    "It is not trained again, nor changed; without its weights it is, and the same comes out."
    monkeypatch.setenv("GENLAB_RUNS", str(tmp_path))
    config = MODELS["ddpm, tuned for few steps"][0].model_copy(update={"subset": 100})
    plain = Run(config.model_copy(update={"tuned_from": None, "epochs": 2}))
    train_ddpm(plain, 2)
    weights = plain.epoch_folder(2) / "weights.safetensors"
    before, first = weights.read_bytes(), train_ddpm(Run(config), 1).state_dict()
    assert weights.read_bytes() == before and Run(config).folder != plain.folder
    shutil.rmtree(plain.folder)
    shutil.rmtree(Run(config).folder)
    again = train_ddpm(Run(config), 1).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    shutil.rmtree(plain.folder)
    train_ddpm(Run(config), 1)
    assert not plain.folder.exists(), "what is tuned needs it no more"


def test_snapshots_are_the_run_at_that_time(one_model, processes, tmp_path):
    config, go, expected, _ = one_model
    assert in_child(processes, tmp_path / "a", config.model_copy(update={"snapshots": [3]}), go) == 0
    assert in_child(processes, tmp_path / "b", config.model_copy(update={"epochs": 3}), go) == 0
    assert_same(result(tmp_path / "a", config), expected)
    early = [load_file(next((tmp_path / x).glob("*/*/*/epoch-0003/weights.safetensors"))) for x in "ab"]
    assert all(torch.equal(early[0][key], early[1][key]) for key in early[0])


SEEING = {  # configurations in which a network that is used changes, or draws random numbers
    "batch": dict(),
    "spectral": dict(norm="spectral", loss="hinge"),
    "layer": dict(norm="layer", loss="wgan-gp", d_steps=2),
    "dropout": dict(dropout=0.3, conditional=True),
    "relativistic": dict(loss="relativistic", network="residual", dropout=0.2),
    "augmented": dict(augment=["translate", "colour"], norm="spectral", ema=0.9),
    "unrolled": dict(unroll=1),
    "report 004": dict(network="report004", size=8, width=4, dropout=0.4),
}


def trained_here(config, go):
    "All that training leaves: weights, buffers, optimizers, averages; the history without `d_held_out`."
    run = Run(config)
    go(run, config.epochs)
    return load_file(run.folder / "checkpoint.safetensors"), [
        {k: v for k, v in row.items() if k != "d_held_out"} for row in run.history
    ]


@pytest.mark.parametrize("kind", SEEING)
def test_judging_held_out_images_changes_nothing(kind, tmp_path, monkeypatch):
    config, found = GANConfig(**GAN | dict(subset=130, epochs=2) | SEEING[kind]), []
    for name in ("looked", "unseen"):
        monkeypatch.setenv("GENLAB_RUNS", str(tmp_path / name))
        found.append(trained_here(config, train_gan))
        monkeypatch.setattr("genlab.gan.judge_held_out", lambda *_: torch.zeros(()))
    (looked, history), (unseen, same) = found
    assert [
        key for key in looked.keys() | unseen.keys() if not torch.equal(looked[key], unseen[key])
    ] == [] and history == same


def look_around(model, config, data):
    "Whatever one may want to see of a model in the middle of its training."
    if config.model == "gan":
        sample_gan(model, config, data, 3)
    elif config.model == "ddpm":
        sample_ddpm(model, config, data, 3)
        look_inside(model, config, data)
    else:
        measure_elbo(model, data, K=2)
        vae_pictures(model, 0, data, data)


@pytest.mark.parametrize(
    "kind", ["gan", "gan, hinge", "gan, wgan-gp", "gan, relativistic", "ddpm, by class", "vae", "vae-gan"]
)
def test_looking_in_the_middle_changes_nothing(kind, tmp_path, monkeypatch):
    config = MODELS[kind][0].model_copy(update={"subset": 100, "epochs": 1})
    data, go, update, found = (
        config.training_set(),
        {"gan": train_gan, "ddpm": train_ddpm, "vae": train_vae}[config.model],
        EMA.update,
        [],
    )

    def update_and_look(self, model):
        update(self, model)
        look_around(model, config, data)

    for name in ("unseen", "looked"):
        monkeypatch.setenv("GENLAB_RUNS", str(tmp_path / name))
        found.append(trained_here(config, go))
        monkeypatch.setattr(EMA, "update", update_and_look)
    (unseen, history), (looked, same) = found
    assert [
        key for key in looked.keys() | unseen.keys() if not torch.equal(looked[key], unseen[key])
    ] == [] and history == same


def test_truncated_checkpoint(one_model, processes, tmp_path, monkeypatch):
    config, go, expected, _ = one_model
    for epochs in (3, 6):
        assert in_child(processes, tmp_path, config.model_copy(update={"epochs": epochs}), go) == 0
    (file,) = tmp_path.glob("*/*/*/checkpoint.safetensors")
    os.truncate(file, file.stat().st_size // 2)
    monkeypatch.setenv("GENLAB_RUNS", str(tmp_path))
    run, data = Run(config), load_dataset(config.dataset, size=config.size)
    run._n_images = len(data.images)
    with pytest.warns(UserWarning, match="is damaged .* and was removed"):
        run._restore(10**9, {})
    assert run.step == 3 * -(-len(data.images) // config.batch_size), "the one before, after three epochs"
    assert in_child(processes, tmp_path, config, go) == 0
    assert_same(result(tmp_path, config), expected)


def test_two_processes_at_once(one_model, processes, tmp_path):
    config, go, expected, _ = one_model
    both = [processes.Process(target=train, args=(tmp_path, config, go)) for _ in range(2)]
    for child in both:
        child.start()
    for child in both:
        child.join()
        assert child.exitcode == 0
    assert_same(result(tmp_path, config), expected)


def full_disk(runs, config, go):
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # no file may grow beyond 20 kB
    try:
        train(runs, config, go)
    except OSError as error:
        message = str(error)
        os._exit(0 if "could not be written and is as it was before" in message else 2)
    os._exit(3)


def test_full_disk(one_model, processes, tmp_path):
    config, go, expected, _ = one_model
    assert in_child(processes, tmp_path, config.model_copy(update={"epochs": 4}), go) == 0
    child = processes.Process(target=full_disk, args=(tmp_path, config, go))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert not list(tmp_path.glob("*/*/*/.checkpoint*")), "no half file is left"
    assert in_child(processes, tmp_path, config, go) == 0
    assert_same(result(tmp_path, config), expected)


def test_more_samples_need_no_training(tmp_path, runs_folder):
    config = GANConfig(width=8, latent=16, n_samples=20)
    run = run_gan(config)
    weights = run.epoch_folder(1) / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    twenty = run.samples(1)
    again = run_gan(config.model_copy(update={"n_samples": 30}))
    assert again.metrics(1)["n_samples"] == 30 and len(again.samples(1)) == 30
    assert weights.stat().st_mtime_ns == before and again.history == []
    assert torch.equal(again.samples(1)[:20], twenty), "the first samples stay as they were"


def test_guidance_in_an_interval_is_found_again(runs_folder):
    config = DDPMConfig(**TINY, conditional=True, guidance=2.0, interval=[0.3, 3])
    run = run_ddpm(config)
    assert run.metrics(1)["asked"]["interval"] == [0.3, 3] and run.pending() == []
    everywhere = run_ddpm(config.model_copy(update={"interval": None}))
    assert "interval" not in everywhere.metrics(1)["asked"] and run.pending() == [1], "other samples"


# -- what may lie in a run's folder --------------------------------------------------------------------------


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


@pytest.mark.parametrize("file", ["metrics.json", "samples.npz", "pictures.npz"])
@pytest.mark.parametrize("share", [0, 0.5])
def test_results_that_were_cut_off_are_made_again_without_training(runs_folder, file, share):
    config = VAEConfig(size=8, network="mlp", latent=4, n_samples=20, metrics=[])
    run = run_vae(config)
    weights, samples = stamps(run.folder), run.samples(1)
    path = run.epoch_folder(1) / file
    os.truncate(path, int(share * path.stat().st_size))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        again = run_vae(config)
    assert any("metrics.json is damaged" in str(w.message) for w in caught) == (file == "metrics.json")
    assert again.pending() == [] and again.evaluated() == [1] and again.metrics(1)["n_samples"] == 20
    assert torch.equal(again.samples(1), samples) and again.pictures(1) and stamps(run.folder) == weights


def test_files_of_another_network(runs_folder):
    "Weights are trained again; a checkpoint, maybe a good one of another run, is named and left alone."
    config = GANConfig(width=8, latent=16, n_samples=20, metrics=[])
    run, other = run_gan(config), run_gan(config.model_copy(update={"width": 16}))
    file = run.epoch_folder(1) / "weights.safetensors"
    weights = {
        key: tensor.clone() for key, tensor in load_file(file).items()
    }  # of a file that is mapped into memory
    for foreign in (other.epoch_folder(1) / "weights.safetensors", other.folder / "checkpoint.safetensors"):
        shutil.copy(foreign, file)
        with pytest.warns(UserWarning, match="weights.safetensors holds no weights of this run"):
            train_gan(Run(config), 1)
        assert all(torch.equal(weights[key], tensor) for key, tensor in load_file(file).items())
    shutil.copy(other.folder / "checkpoint.safetensors", run.folder)
    before = (run.folder / "checkpoint.safetensors").read_bytes()
    with pytest.raises(
        ValueError, match="checkpoint.safetensors belongs to another network than this run's; move it away"
    ) as error:
        run_gan(config.model_copy(update={"epochs": 2}))
    assert "\n" not in str(error.value) and (run.folder / "checkpoint.safetensors").read_bytes() == before


def test_folders_and_configurations_that_are_no_results(runs_folder):
    "Copies, and what other programs or people wrote beside good runs, do not stop the search for a run."
    run = run_gan(GANConfig(width=8, latent=16, n_samples=20, metrics=[]))
    shutil.copytree(run.epoch_folder(1), run.folder / "epoch-0001-old")
    assert run.evaluated() == [1] and open_run(run.folder)[1] == 1
    texts = {"list": "[1]", "cut": '{"model": "gan", ', "empty": "", "foreign": '{"lr": 1}'}
    texts |= {"field": '{"model": "gan", "colour": 1}'}
    for name, text in texts.items():
        file = run.folder.parent / name / "config.json"
        file.parent.mkdir()
        file.write_text(text)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert find_run("gan", "digits") == run.folder
    named = [str(warning.message).split("/config.json")[0].split("/")[-1] for warning in caught]
    assert sorted(named) == sorted(texts)
    edited = run.folder / "config.json"
    edited.write_text(edited.read_text().replace('"lr": 0.001', '"lr": 0.002'))
    with pytest.raises(ValueError, match="config.json was changed after training"):
        open_run(run.folder)
    with pytest.warns(UserWarning, match="was changed after training"):
        assert find_run("gan", "digits") is None


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLAB_CACHE", str(tmp_path / "cache"))
    save_photos(tmp_path / "photos", range(40))
    return tmp_path / "photos"


def save_photos(folder, numbers):
    folder.mkdir(exist_ok=True)
    for i in numbers:
        Image.fromarray(load_dataset("digits").images[i, 0].numpy()).save(folder / f"{i:04}.png")


def test_other_images_under_the_name_of_the_data_set(photos, runs_folder):
    "Asked for again, for more samples or epochs, a run does not go on with images that it does not know."
    config = GANConfig(dataset=f"folder:{photos}", size=16, width=8, latent=16, n_samples=4, metrics=[])
    run = run_gan(config)
    requests = [config, config.model_copy(update={"n_samples": 6}), config.model_copy(update={"epochs": 2})]
    files = sorted(photos.iterdir())
    changes = [
        ("train", shutil.copy, files[5], files[3]),  # as many as before, one of them replaced
        ("test", shutil.copy, files[5], files[9]),  # every tenth is a test image
        ("train", save_photos, photos, range(40, 45)),  # more than before
    ]
    for split, change, *arguments in changes:
        change(*arguments)
        refused = f"dataset: folder:.*photos holds other {split} images than .* was .*; "
        refused += "remove that folder or name"
        before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*.*")}
        for request in requests:
            with pytest.raises(ValueError, match=refused):
                run_gan(request)
        assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*.*")} == before
        shutil.rmtree(photos)
        save_photos(photos, range(40))
        run_gan(config)
    shutil.rmtree(photos)
    assert run_gan(config).evaluated() == [1], "a finished run may lose its images"


def test_a_run_from_before_fingerprints(photos, runs_folder):
    config = GANConfig(dataset=f"folder:{photos}", size=16, width=8, latent=16, n_samples=4, metrics=[])
    run = run_gan(config)
    known = (run.folder / "images.json").read_text()
    (run.folder / "images.json").unlink()
    assert run_gan(config).evaluated() == [1] and not (run.folder / "images.json").exists(), "taken as it is"
    run_gan(config.model_copy(update={"epochs": 2}))
    assert (run.folder / "images.json").read_text() == known, "noted when it is trained further"


def test_images_of_ones_own_loader_are_known_again(runs_folder, monkeypatch):
    "What LOADERS has under a name may change; the built-in data sets may not."
    monkeypatch.setitem(LOADERS, "mine", LOADERS["digits"])
    run = Run(GANConfig(dataset="mine"))
    before = run.fingerprints()
    monkeypatch.setitem(LOADERS, "mine", LOADERS["tinted_digits"])
    assert before.keys() == {"train", "test"} and run.fingerprints() != before
    assert Run(GANConfig()).fingerprints() == {}


def read_without_rights(runs, config):
    "What a child process does that may write nothing: open a finished run, and see what a longer one says."
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    train(runs, config, run_gan)
    with pytest.raises(
        OSError,
        match=r"dcgan-.* cannot be written \(Permission denied\), and after \[2\] epochs "
        "there is no result yet",
    ):
        train(runs, config.model_copy(update={"epochs": 2}), run_gan)


def test_a_read_only_run_is_read(processes):
    config = GANConfig(width=8, latent=16, n_samples=20, metrics=[])
    with tempfile.TemporaryDirectory(
        dir="/var/tmp"
    ) as place:  # not below the tests' own folder, which is closed to others
        os.chmod(place, 0o755)
        assert in_child(processes, Path(place), config, run_gan) == 0
        (folder,) = Path(place).glob("*/*/*")
        for lock in (True, False):  # a lock of somebody else, and none
            (folder / ".lock").touch() if lock else (folder / ".lock").unlink()
            for path in [folder, *folder.rglob("*")]:
                path.chmod(0o555 if path.is_dir() else 0o444)
            before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
            child = processes.Process(target=read_without_rights, args=(place, config))
            child.start()
            child.join()
            assert child.exitcode == 0
            assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
            for path in [folder, *folder.rglob("*")]:
                path.chmod(0o755)


def test_published_results_are_found_by_their_configuration(monkeypatch):
    "The hash of a run is the same in every version, or its results are lost."
    monkeypatch.setenv("GENLAB_RUNS", str(ROOT / "report" / "results"))
    import_plugins()
    kinds = {model: kind.config for model, kind in KINDS.items()}
    folders = [path.parent for path in (ROOT / "report" / "results").rglob("config.json")]
    assert len(folders) >= 15
    for folder in folders:
        config = read_config(folder, kinds)
        assert Run(config).folder == folder and Run(config).evaluated()


def test_a_seed_decides_everything(tmp_path, monkeypatch):
    def weights(seed, place):
        monkeypatch.setenv("GENLAB_RUNS", str(tmp_path / place))
        return torch.cat(
            [p.flatten() for p in train_gan(Run(GANConfig(width=8, latent=16, seed=seed)), 1).parameters()]
        )

    assert torch.equal(weights(1, "a"), weights(1, "b"))
    assert not torch.equal(weights(1, "a"), weights(2, "b"))


def spoiled(weight, good):
    "The function `weight`, which returns NaN after `good` calls."
    calls = count()
    return lambda *args: weight(*args) * (1 if next(calls) < good else float("nan"))


def test_a_nan_stops_training_and_spares_the_checkpoint(monkeypatch):
    config = DDPMConfig(**TINY)
    run = run_ddpm(config)
    before = {p.name: p.read_bytes() for p in run.folder.glob("*.*") if p.is_file()}
    weight = genlab.ddpm.loss_weight
    stopped = "Training has diverged.*Try a lower learning rate; .*checkpoint.* is (kept|as it was before)"
    for at in (25, 33):  # between two logged updates, and in the last one
        monkeypatch.setattr(genlab.ddpm, "loss_weight", spoiled(weight, at - run.step))
        with pytest.raises(FloatingPointError, match=stopped):
            run_ddpm(config.model_copy(update={"epochs": 3}))
        assert {p.name: p.read_bytes() for p in run.folder.glob("*.*") if p.is_file()} == before
    monkeypatch.undo()


def test_other_samples_need_no_training(runs_folder):
    run = run_ddpm(DDPMConfig(**TINY))
    weights = run.epoch_folder(1) / "weights.safetensors"
    before, first = weights.stat().st_mtime_ns, run.samples(1)
    again = run_ddpm(
        DDPMConfig(**TINY | {"sampler": "ddim", "steps": 10}, compare=["ancestral:40", "heun:3"])
    )
    assert again.folder == run.folder and weights.stat().st_mtime_ns == before and again.history == []
    assert again.metrics(1)["evaluations"] == 10 and not torch.equal(again.samples(1), first)
    table = json.loads((run.epoch_folder(1) / "samplers.json").read_text())
    assert [(row["sampler"], row["evaluations"]) for row in table] == [("ancestral", 40), ("heun", 5)]
    assert genlab.ddpm.compare_samplers(again) == table, "what has been scored is not scored again"
    shown = [(row["sampler"], row["evaluations"]) for row in scored_samplers(again)]
    assert shown == [("ddim", 10), ("ancestral", 40), ("heun", 5)], "and its own is among them"
    own = again.config.model_copy(update={"compare": ["ddim:10"]})
    assert genlab.ddpm.compare_samplers(Run(own)) == table, "nor is its own"


def test_the_likelihood_of_an_old_run_can_be_computed_anew(runs_folder):
    run = run_ddpm(DDPMConfig(**TINY))
    path, before = run.epoch_folder(1) / "metrics.json", run.metrics(1)
    bounds = before["likelihood"]["bounds"]
    assert set(bounds) == {"posterior", "beta", "fitted"} and before["likelihood"]["dimensions"] == 64
    assert bounds[before["likelihood"]["variance"]]["bits_per_dim"] == min(
        bound["bits_per_dim"] for bound in bounds.values()
    )
    old = {key: bounds["posterior"][key] for key in ("bits_per_dim", "se", "first", "middle", "last")} | {
        "n": 50
    }
    path.write_text(json.dumps(before | {"likelihood": old}))
    assert read_likelihood(run.metrics(1)) == old | {
        "variance": "posterior",
        "bounds": {"posterior": bounds["posterior"]},
    }
    assert genlab.ddpm.renew_likelihood(run, 1) == before["likelihood"] and run.metrics(1) == before
    (run.epoch_folder(1) / "weights.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="lacks metrics.json or weights.safetensors"):
        genlab.ddpm.renew_likelihood(run, 1)


def test_samples_do_not_depend_on_the_batch_size(runs_folder):
    config = DDPMConfig(**TINY, conditional=True, guidance=2.0, sampler="ancestral")
    run = run_ddpm(config)
    net, data = genlab.ddpm.train_ddpm(run, 1), load_dataset("digits", size=8)
    together, alone = (genlab.ddpm.sample_ddpm(net, config, data, 50, batch_size=n)[0].int() for n in (50, 7))
    assert (together - alone).abs().max() <= 1, "another batch size may round a float the other way, no more"


def test_history_has_about_fifty_rows_an_epoch():
    run = Run(GANConfig(width=8, latent=16, batch_size=4))
    train_gan(run, 1)
    rows = pd.read_csv(run.folder / "history.csv")
    assert list(rows.columns) == [
        "step",
        "epoch",
        "i",
        "loss_d",
        "loss_g",
        "d_x",
        "d_g_z1",
        "d_g_z2",
        "d_held_out",
    ]
    assert 45 <= len(rows) <= 60


class PlainConfig(RunConfig):
    model: Literal["plain"] = "plain"


def test_a_log_has_ten_lines_at_most(runs_folder, monkeypatch, capsys):
    "A slow run prints a line after each tenth of it, with snapshots or without, also when it is resumed."
    run, data = Run(PlainConfig(epochs=5, batch_size=100)), load_dataset("digits")
    clock = count(step=100)
    monkeypatch.setattr("genlab.runs.time.perf_counter", lambda: next(clock))
    for epochs in (2, 5):
        for _ in run.batches(data, epochs, "cpu"):
            run.log(loss=0)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [int(line[1]) for line in lines] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5] and lines[-1] == "[5/5][12/13]"
    shown = [line.partition(" , ")[2].removesuffix(" left").split(":") for line in lines[:-1]]
    left = [sum(60**i * int(part) for i, part in enumerate(reversed(parts))) for parts in shown]
    assert left[4:] == sorted(left[4:], reverse=True) and left[-1] > 0, "it falls"
    assert left[-1] * 26 / 6 == pytest.approx(left[5], rel=0.02), "6 updates, and 26"
