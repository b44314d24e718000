"""Bad input: one sentence that names what is wrong, early, and nothing on disk is harmed."""

import errno
import gzip
import hashlib
import io
import json
import os
import shutil
import socket
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, command, needs_mnist
from jupyter_client.manager import start_new_kernel
from papermill import inspect_notebook
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from PIL import Image

import genlab.command
import genlab.sources
from genlab.command import load_images
from genlab.data import epoch_batches, fingerprint, load_dataset, take
from genlab.ddpm import DDPMConfig, make_network, run_ddpm
from genlab.dit import DiT  # adds the network `dit`
from genlab.features import Extractor, LeNet, LeNetFeatures, cached_features, lenet_extractor, load_lenet
from genlab.fid import check_metrics, evaluate
from genlab.gan import GANConfig, make_networks, run_gan
from genlab.interpolation import check_run, latent_space, open_run
from genlab.latent import LatentConfig, run_latent
from genlab.modern_gan import residual  # noqa: F401  adds itself and its loss
from genlab.plug import EXTRACTORS, KINDS, import_plugins
from genlab.runs import Run, memory_to_train
from genlab.sources import Download, to_square
from genlab.vae import (
    VAEConfig,
    make_vae,
    plot_codes,
    plot_plane,
    plot_reconstructions,
    plot_sources,
    run_vae,
)


@pytest.mark.parametrize(
    "values, sentence",
    [
        (dict(epochs=0), "epochs: 0 should be greater than 0"),
        (dict(epochs=-3), "epochs: -3 should be greater than 0"),
        (dict(epochs="ten"), "epochs: 'ten' should be a valid integer"),
        (dict(dataset="minst"), "dataset: 'minst' is unknown; did you mean mnist?"),
        (dict(latent=0), "latent: 0 should be greater than 0"),
        (dict(precision="fp8"), "precision: 'fp8' should be 'no' or 'bf16'"),
        (dict(metrics=["fidd"]), "metrics: 'fidd' is unknown; did you mean fid?"),
        (dict(widht=5), "widht: there is no such parameter; did you mean width?"),
        (
            dict(loss="wasserstein"),
            "loss: 'wasserstein' is unknown; choose from nonsaturating, minmax, hinge, wgan-gp",
        ),
        (dict(network="dcgna"), "network: 'dcgna' is unknown; did you mean dcgan?"),
        (
            dict(loss="wgan-gp"),
            "norm: a gradient penalty is about single images, which batch normalisation mixes; "
            "use norm='layer' or 'spectral'",
        ),
        (
            dict(loss="wgan-gp", norm="layer", unroll=2),
            "unroll: looking ahead does not know the gradient penalty; use another loss than wgan-gp",
        ),
        (dict(loss="relativistic"), "norm: a gradient penalty is about single images"),
        (
            dict(loss="relativistic", norm="layer", unroll=2),
            "unroll: looking ahead does not know the gradient penalty; use another loss than relativistic",
        ),
        (
            dict(entropy=0.1, unroll=2),
            "entropy: a PresGAN neither looks ahead nor augments images; leave out unroll and augment",
        ),
        (dict(entropy=-1), "entropy: -1 should be greater than or equal to 0"),
        (dict(extra_layers=10**9), "extra_layers: 1000000000 should be less than or equal to 100"),
        (dict(extra_layers=2), "extra_layers: only the networks of report004 take more layers"),
        (dict(network="report004", conditional=True), "network: report004 knows no classes"),
        (
            dict(augment=["mirror"]),
            "augment: 'mirror' is unknown; choose from flip, colour, hue, tilt, translate, cutout",
        ),
        (dict(unroll=-1), "unroll: -1 should be greater than or equal to 0"),
        (dict(subset=1.5), "subset: 1.5 is neither a count of images from 1 on nor a share between 0 and 1"),
    ],
)
def test_a_wrong_parameter_is_named(values, sentence):
    with pytest.raises(ValueError) as error:
        GANConfig(**values)
    assert sentence in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "values, sentence",
    [
        (dict(T=0), "T: 0 should be greater than 0"),
        (dict(T=10**12), "T: 1000000000000 should be less than or equal to 100000"),
        (dict(blocks=10**9), "blocks: 1000000000 should be less than or equal to 100"),
        (dict(steps=0), "steps: 0 should be greater than 0"),
        (dict(T=100, steps=101), "steps: 101 are more than the T = 100 noise levels there are"),
        (dict(compare=["heun:2000"]), "steps: 2000 are more than the T = 1000 noise levels there are"),
        (dict(compare=["heun"]), "steps: '' should be a valid integer"),
        (dict(guidance=3), "guidance: 3.0 needs a model that knows classes; train one with conditional=True"),
        (dict(guidance=float("inf"), conditional=True), "guidance: inf should be"),
        (dict(guidance=1e30, conditional=True), "guidance: 1e+30 should be less than or equal to 100"),
        (dict(guidance=float("nan"), conditional=True), "guidance: nan should be"),
        (dict(guidance=-1, conditional=True), "guidance: -1 should be greater than or equal to 0"),
        (dict(compare=["ddim:nan"]), "steps: 'nan' should be a valid integer"),
        (dict(compare=["ddim:0"]), "steps: '0' should be greater than 0"),
        (dict(compare=["ddim:-5"]), "steps: '-5' should be greater than 0"),
        (dict(compare=["ddim:10:20"]), "steps: '10:20' should be a valid integer"),
        (dict(network="report003", conditional=True), "conditional: report 003's network knows no classes"),
        (dict(widths=[]), "widths: [] list should have at least 1 item"),
        (dict(widths=[12]), "widths: [12] are not all multiples of 8"),
        (dict(target="mu"), "target: 'mu' should be 'eps', 'x0', 'v' or 'flow'"),
        (dict(lr=-1), "lr: -1 should be greater than 0"),
    ],
)
def test_a_wrong_diffusion_parameter_is_named(values, sentence):
    with pytest.raises(ValueError) as error:
        DDPMConfig(**values)
    assert sentence in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "values, sentence",
    [
        (dict(latent=0), "latent: 0 should be greater than 0"),
        (dict(beta=-1), "beta: -1 should be greater than or equal to 0"),
        (dict(scale=0), "scale: 0 should be greater than 0"),
        (dict(width=12), "width: 12 should be a multiple of 8"),
        (
            dict(likelihood="poisson"),
            "likelihood: 'poisson' is unknown; choose from laplace, gaussian, bernoulli, logistic",
        ),
        (
            dict(likelihood="bernoulli", scale=0.3),
            "scale: a Bernoulli likelihood has none, so 0.3 would change nothing",
        ),
        (dict(network="dense"), "network: 'dense' is unknown; choose from residual, conv, mlp"),
    ],
)
def test_a_wrong_vae_parameter_is_named(values, sentence):
    with pytest.raises(ValueError) as error:
        VAEConfig(**values)
    assert sentence in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "values, sentence",
    [
        (dict(latent=0), "latent: 0 should be greater than 0"),
        (dict(first_epochs=0), "first_epochs: 0 should be greater than 0"),
        (dict(network="spatail"), "network: 'spatail' is unknown; did you mean spatial?"),
        (dict(denoiser="unett"), "denoiser: 'unett' is unknown; did you mean unet?"),
        (dict(widths=[12]), "widths: [12] are not all multiples of 8"),
        (dict(steps=1001), "steps: 1001 are more than the T = 1000 noise levels there are"),
        (
            dict(network="fsq", latent=64),
            "beta: quantised codes have no KL term to weigh with 0.1; use beta=0",
        ),
    ],
)
def test_a_wrong_parameter_of_latent_diffusion_is_named(values, sentence):
    with pytest.raises(ValueError) as error:
        LatentConfig(**values)
    assert sentence in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "values, sentence",
    [
        (dict(latent=40), "latent: 40 numbers cannot be shared among 4x4 places; choose a multiple of 16."),
        (dict(latent=8), "latent: 8 numbers cannot be shared among 4x4 places; choose a multiple of 16."),
        (dict(size=18), "size: this VAE halves images twice, and 18 pixels cannot be"),
        (
            dict(size=8, latent=8, denoiser="unet", widths=[32, 64]),
            "size: this U-Net makes images 2 times smaller, and 2 pixels cannot be",
        ),
        (
            dict(network="fsq", beta=0),
            "latent: quantised codes have 4 numbers at each of 4x4 places, 64 in all, and not 32.",
        ),
    ],
)
def test_codes_that_cannot_be(values, sentence, runs_folder):
    "Said before the first stage is trained."
    with pytest.raises(ValueError) as error:
        run_latent(LatentConfig(**values, metrics=[]))
    assert sentence in str(error.value) and "\n" not in str(error.value)
    assert not list(runs_folder.rglob("*.safetensors"))


import_plugins()
CONFIGS = [kind.config for kind in KINDS.values()]
FLOATS = [
    (kind, key)
    for kind in CONFIGS
    for key, field in kind.model_fields.items()
    if "float" in str(field.annotation)
]


@pytest.mark.parametrize("kind, key", FLOATS, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_no_field_takes_infinity(kind, key, value):
    with pytest.raises(ValueError, match=f"^{key}: {value} ") as error:
        kind(**{key: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", CONFIGS)
def test_values_that_would_be_taken_for_others(kind):
    "A truth value is no number, though Python says so; a name can be a folder's; seeds are not negative."
    for values, sentence in [
        (dict(epochs=True), "epochs: True is no number"),
        (dict(subset=True), "subset: True is no number"),
        (dict(batch_size=True), "batch_size: True is no number"),
        (dict(lr=True), "lr: True is no number"),
        (dict(name=""), "name: '' should be one or more of letters, digits, '.', '-' and '_'"),
        (dict(name="a/b"), "name: 'a/b' should be one or more of letters"),
        (
            dict(name="a" * 300),
            "name: aaaaaaaaaaaaaaaaaaaa... has 300 letters, which is too long for a folder",
        ),
        (dict(name="\u00e4" * 150), "has 150 letters, which is too long for a folder"),
        (dict(seed=-1), "seed: -1 should be greater than or equal to 0"),
        (dict(dataset=""), "dataset: '' is unknown"),
        (dict(snapshots=[0]), "snapshots.0: 0 should be greater than 0"),
        (dict(Epochs=3), "Epochs: there is no such parameter; did you mean epochs?"),
    ]:
        with pytest.raises(ValueError) as error:
            kind(**values)
        assert sentence in str(error.value) and "\n" not in str(error.value)


def test_a_subset_has_one_meaning():
    "A whole number from 1 on is a count, a float up to 1 is a share. The same images are the same run."
    digits = load_dataset("digits")
    for subset, same, n in [(100, 100.0, 100), (None, 1.0, 1297), (1, 1, 1), (0.5, 0.5, 648)]:
        configs = [GANConfig(subset=value) for value in (subset, same)]
        assert configs[0].hash == configs[1].hash and all(
            len(config.training_set().images) == n for config in configs
        )
        assert len(take(digits, same).images) == n
    for seed in (2**32, 10**30):
        assert len(GANConfig(seed=seed, subset=5).training_set().images) == 5


@pytest.mark.parametrize("go, config, key", [
    (run_gan, GANConfig(width=10**12), "width"),
    (run_gan, GANConfig(latent=10**12), "latent"),
    (run_gan, GANConfig(network="report004", width=10**12), "width"),
    (run_gan, GANConfig(n_samples=10**14), "n_samples"),
    (run_ddpm, DDPMConfig(widths=[8 * 10**12]), "widths"),
    (run_ddpm, DDPMConfig(n_samples=10**14), "n_samples"),
    (run_vae, VAEConfig(width=8 * 10**12), "width"),
    (run_vae, VAEConfig(latent=10**12, network="mlp"), "latent"),
    (run_latent, LatentConfig(widths=[8 * 10**12]), "widths"),
    (run_latent, LatentConfig(n_samples=10**14), "n_samples"),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_a_run_that_does_not_fit_into_memory(runs_folder, go, config, key):
    with pytest.raises(
        ValueError, match=f"^{key}: .* takes at least [0-9,]+ GB of memory .*, and there are [0-9]+ GB[.]$"
    ):
        go(config)
    assert not list(runs_folder.rglob("*.safetensors"))


@pytest.mark.parametrize("make, config", [
    (make_networks, GANConfig(width=8)),
    (make_networks, GANConfig(width=8, loss="hinge", norm="spectral", conditional=True)),
    (make_network, DDPMConfig(widths=[8])), (make_vae, VAEConfig(network="mlp")),
], ids=["gan", "gan, spectral", "ddpm", "vae"])  # fmt: skip
def test_memory_is_counted_as_adam_needs_it(make, config):
    "Against the numbers that stand in memory after an update."
    data = load_dataset("digits")
    nets = made if isinstance(made := make(config, data), tuple) else (made,)
    weights = [p for net in nets for p in net.parameters()]
    opt = torch.optim.Adam(weights)
    trained = [p for p in weights if p.requires_grad]  # a VAE's scale may be given
    sum(p.sum() for p in weights).backward()
    opt.step()
    moments = [tensor for state in opt.state.values() for key, tensor in state.items() if key != "step"]
    assert memory_to_train(make, config, data) == sum(
        t.nbytes for t in [*weights, *(p.grad for p in trained), *moments]
    )


def test_images_that_a_vae_cannot_halve(runs_folder):
    with pytest.raises(ValueError, match="size: this VAE halves images twice, and 18 pixels cannot be"):
        run_vae(VAEConfig(size=18, metrics=[]))
    assert not list(runs_folder.rglob("*.safetensors"))


@pytest.mark.parametrize(
    "values",
    [dict(latent=1), dict(latent=2), dict(latent=3), dict(subset=5), dict(subset=1), dict(seed=2**32)],
    ids=str,
)
def test_a_vae_of_few_numbers_few_images_or_a_large_seed(values, runs_folder):
    "It trains, its mixture can be fitted, and each of its figures can be drawn."
    run = run_vae(VAEConfig(network="mlp", epochs=1, n_samples=4, metrics=[], **values))
    pictures = run.pictures(1)
    assert (
        np.isfinite(pictures["codes"]).all() and len(pictures["mixture"]) == len(pictures["posterior"]) == 16
    )
    ax = plot_codes(pictures)
    assert len(ax.collections[0].get_offsets()) == len(pictures["codes"])
    if run.config.latent == 1:
        assert np.allclose(
            ax.collections[0].get_offsets(), np.column_stack([pictures["codes"], pictures["labels"]])
        ), "a line for each class"
        plot_codes({"codes": pictures["codes"]})
    assert ("plane" in pictures) == (run.config.latent <= 2)
    if "plane" in pictures:
        assert len(pictures["plane"]) == 15**run.config.latent
        plot_plane(pictures)
    plot_sources(pictures)
    few = pictures | {key: pictures[key][:3] for key in ("originals", "reconstructions")}
    image = plot_reconstructions(few).images[0].get_array()
    assert image.shape[1] > image.shape[0], "three test images in a row, and below them what comes back"


def test_interpolation_in_the_wrong_run(runs_folder):
    "Another data set, size or model, or weights that do not fit: a sentence, not an error of shapes."
    tiny = dict(width=8, latent=4, epochs=1, n_samples=10, metrics=[])
    run = run_gan(GANConfig(**tiny))
    for arguments, sentence in {
        ("gan", "mnist", None): "gan: .* was trained on digits, not on mnist",
        ("gan", "digits", 8): "gan: .* was trained on digits, not on digits at 8 pixels",
        ("vae", "digits", None): "vae: .* holds a gan, not a vae",
    }.items():
        with pytest.raises(ValueError, match=sentence):
            check_run(run, *arguments)
    other = run_gan(GANConfig(**tiny | {"width": 16}))
    shutil.copy(other.epoch_folder(1) / "weights.safetensors", run.epoch_folder(1))
    with pytest.raises(
        ValueError,
        match="its weights.safetensors is missing, damaged, or of another network than "
        "its config.json describes",
    ):
        latent_space(*open_run(run.folder))
    (run.epoch_folder(1) / "weights.safetensors").unlink()
    with pytest.raises(ValueError, match="has no evaluated epoch with weights; train it first"):
        open_run(run.folder)
    with pytest.raises(ValueError, match="is not the folder of a run"):
        open_run(runs_folder)


def test_images_that_a_u_net_cannot_halve(runs_folder):
    with pytest.raises(
        ValueError, match="size: this U-Net makes images 16 times smaller, and 16 pixels cannot be"
    ):
        run_ddpm(DDPMConfig(widths=[8, 8, 8, 8, 8]))
    with pytest.raises(
        ValueError, match="size: report 003's U-Net halves images three times, and 4 pixels cannot be"
    ):
        run_ddpm(DDPMConfig(network="report003", widths=[8], size=4, metrics=[]))
    with pytest.raises(ValueError, match="heads: 8 channels cannot be shared among 3 heads"):
        run_ddpm(DDPMConfig(widths=[8], heads=3))
    assert not list(runs_folder.rglob("*.safetensors"))


def test_a_transformer_that_cannot_be(runs_folder):
    with pytest.raises(ValueError, match="heads: tokens of width 8 cannot be shared among 3 heads"):
        run_ddpm(DDPMConfig(network="dit", widths=[8], heads=3))
    with pytest.raises(ValueError, match="heads: tokens of width 64 cannot be shared among 0 heads"):
        run_ddpm(DDPMConfig(network="dit", heads=0))
    with pytest.raises(ValueError, match="width: 6 is no multiple of 4"):
        DiT(width=6, heads=1)
    with pytest.raises(ValueError, match="of memory"):
        run_ddpm(DDPMConfig(network="dit", widths=[2**20]))
    assert not list(runs_folder.rglob("*.safetensors"))


def test_classes_of_images_without_labels(pictures):
    with pytest.raises(ValueError, match="conditional: the data set has no labels"):
        make_network(DDPMConfig(widths=[8], conditional=True), load_dataset(f"folder:{pictures}", size=16))


@pytest.mark.parametrize("Config", [GANConfig, DDPMConfig])
def test_classes_of_which_there_is_no_training_image(tmp_path, cache, Config):
    "Said before training; who does not ask for classes may train."
    few = dict(subset=3, metrics=[])
    with pytest.raises(
        ValueError,
        match="conditional: there is no training image of [0-9, ]+, so nobody could learn to draw one",
    ):
        Config(conditional=True, **few | ({"norm": "layer"} if Config is GANConfig else {})).training_set()
    assert len(Config(**few).training_set().images) == 3
    name = hub_set(tmp_path / "hub", [png(50 + i) for i in range(20)], [0] * 20)
    with pytest.raises(ValueError, match="conditional: there is no training image of dog"):
        Config(conditional=True, dataset=name, size=16).training_set()


def test_papermill_fails_early(tmp_path, runs_folder):
    done = command(
        "papermill", "nbs/01_gan.ipynb", tmp_path / "out.ipynb", "-p", "epochs", "ten", "--no-progress-bar"
    )
    assert done.returncode != 0 and done.stderr.strip().splitlines()[-1].startswith(
        "ValueError: epochs: 'ten' should be"
    )
    assert not runs_folder.exists()


def test_papermill_trains_no_defaults_for_a_misspelt_name(tmp_path, runs_folder):
    done = command(
        "papermill", "nbs/01_gan.ipynb", tmp_path / "out.ipynb", "-p", "epoch", "20", "--no-progress-bar"
    )
    assert done.returncode != 0 and done.stderr.strip().endswith(
        "ValueError: epoch: this notebook has no such parameter; did you mean epochs?"
    )
    assert not runs_folder.exists()


@pytest.fixture(scope="module")
def kernel():
    "Execute the code cells from that tagged `parameters` to that which checks names; returns the replies."
    manager, client = start_new_kernel(cwd=ROOT / "nbs")

    def execute(notebook):
        first = next(
            i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])
        )
        last = next(
            i for i, cell in enumerate(notebook.cells) if "\ncheck_parameters()" in "\n" + cell.source
        )
        sources = [
            "In[1:] = []",
            *(cell.source for cell in notebook.cells[first : last + 1] if cell.cell_type == "code"),
        ]
        return [
            client.execute_interactive(source, timeout=60, output_hook=lambda _: None)["content"]
            for source in sources
        ]

    yield execute
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_every_notebook_knows_its_parameters(kernel):
    "As papermill runs them, up to the check: only a name that a notebook has not is an error."
    for path in sorted((ROOT / "nbs").glob("0*.ipynb")):
        read = lambda: load_notebook_node(str(path))  # noqa: B023
        names = list(inspect_notebook(str(path)))
        misspelt = f"{names[0].title()}s"
        *before, last = kernel(parameterize_notebook(read(), {names[0]: 1, misspelt: 1}))
        assert all(reply["status"] == "ok" for reply in before), path
        assert (
            last["evalue"] == f"{misspelt}: this notebook has no such parameter; did you mean {names[0]}?"
        ), path
        own = parameterize_notebook(read(), dict.fromkeys(names, 1))
        assert all(reply["status"] == "ok" for notebook in (own, read()) for reply in kernel(notebook)), path


def test_a_size_that_cannot_be_halved():
    with pytest.raises(
        ValueError, match="size: LeNet .* 18 pixels cannot be; choose a multiple of 4"
    ):  # what comes first
        run_gan(GANConfig(size=18))
    with pytest.raises(ValueError, match="size: a DCGAN .* 18 pixels cannot be; choose a multiple of 4"):
        run_gan(GANConfig(size=18, metrics=[]))
    with pytest.raises(ValueError, match="choose a multiple of 4"):
        LeNet(1, 18, 10)


# -- the command genlab_metrics ------------------------------------------------------------------------------


@pytest.fixture
def measure(monkeypatch, capsys, tmp_path):
    "Run the command here, among files; what it prints, warnings included, and its exit status."

    def run(*words):
        monkeypatch.setattr("sys.argv", ["genlab_metrics", *map(str, words)])
        status = 0
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                genlab.command.main()
            except SystemExit as stop:
                status = stop.code if isinstance(stop.code, int) else 1
                print("" if isinstance(stop.code, int | None) else stop.code)
        return "".join(capsys.readouterr()) + "".join(str(w.message) for w in caught), status

    monkeypatch.chdir(tmp_path)
    return run


@pytest.fixture
def no_weights(monkeypatch):
    "Inception's weights cannot be had; how often they were asked for."
    tried = []

    def fail(*_):
        tried.append(1)
        raise RuntimeError("Inception's weights are not here")

    monkeypatch.setitem(EXTRACTORS, "inception", fail)
    return tried


DIGITS = load_dataset("digits", "test").images[:200]


def value(measure, *words):
    printed, status = measure(*words, "--json", "--metrics", "fd_lenet")
    assert status == 0, printed
    return json.loads(printed)["fd_lenet"]["value"]


BRIGHTNESS = DIGITS.float().numpy() / 255


@pytest.mark.parametrize(
    "array, options",
    [
        (2 * BRIGHTNESS - 1, []),
        (1.0004 * (2 * BRIGHTNESS - 1), []),  # a rounding error
        (255 * BRIGHTNESS, []),
        (DIGITS.long().numpy(), []),
        (BRIGHTNESS, ["--range", "0,1"]),
        (1.0001 * BRIGHTNESS, ["--range", "0,1"]),
        (0.5 + 0.5 * BRIGHTNESS, ["--range=0.5,1"]),
        (2 * BRIGHTNESS - 1, ["--range=-1,1"]),
    ],
)
def test_arrays_of_numbers(measure, array, options):
    np.savez("bytes.npz", DIGITS.numpy())
    np.savez("numbers.npz", array)
    assert value(measure, "numbers.npz", "bytes.npz", "--classifier", "digits", *options) < 0.05


@pytest.mark.parametrize(
    "array, options, sentence",
    [
        (
            BRIGHTNESS,
            [],
            "floats from -1 (black) to 1; these are torch.float32 from 0 to 1 "
            "(on the command line, --range=0,1 tells",
        ),
        (0.5 + 0.5 * BRIGHTNESS, [], "from 0.5 to 1"),
        (1.5 * BRIGHTNESS, [], "from 0 to 1.5"),
        (
            255 * BRIGHTNESS,
            ["--range", "0,1"],
            "floats from 0 (black) to 1; these are torch.float32 from 0 to 255",
        ),
        (
            BRIGHTNESS,
            ["--range", "white"],
            "argument --range: two numbers, black and white, such as 0,1; not 'white'",
        ),
    ],
)
def test_numbers_that_may_be_mistaken(measure, array, options, sentence):
    np.savez("numbers.npz", array)
    printed, status = measure("numbers.npz", "digits", "--metrics", "fd_lenet", *options)
    assert status and sentence in printed


def test_the_array_that_holds_images(measure):
    labels, names = np.arange(200), np.array(["a name", None], dtype=object)
    np.savez("labels first.npz", labels, DIGITS.numpy())
    np.savez("objects.npz", names=names, images=DIGITS.numpy())
    for file in ("labels first.npz", "objects.npz"):
        assert value(measure, file, "digits") == value(measure, "labels first.npz", "digits")
    np.savez("two.npz", a=DIGITS.numpy(), b=DIGITS.numpy())
    np.savez("none.npz", labels)
    for file, sentence in (
        ("two.npz", "a and b may be images; name one of them samples"),
        ("none.npz", "no array has three or four dimensions"),
    ):
        printed, status = measure(file, "digits")
        assert status == 1 and sentence in printed


def test_a_name_that_begins_with_a_dash(measure):
    np.savez("-mine.npz", DIGITS.numpy())
    printed, status = measure("--metrics", "fd_lenet", "--", "-mine.npz", "digits")
    assert status == 0 and "fd_lenet" in printed
    printed, status = measure("--help")
    assert status == 0 and "-- -mine.npz mnist" in " ".join(printed.split())


def test_nothing_could_be_measured(measure, no_weights):
    np.savez("a.npz", DIGITS.numpy())
    inceptions = "fid", "fid_infinity", "kid", "inception_score"
    printed, status = measure("a.npz", "a.npz", "--metrics", *inceptions)
    assert (status, len(no_weights)) == (1, 1) and "—" not in printed
    assert printed.strip() == f"genlab_metrics: no {', '.join(inceptions)}: Inception's weights are not here."
    printed, status = measure("a.npz", "digits", "--metrics", "fd_lenet", "fid")
    assert status == 0 and "No fid: Inception's weights are not here." in printed
    assert measure("a.npz", "a.npz", "--json", "--metrics", "fid")[1] == 1
    check_metrics("digits", None, ("fid", "kid", "inception_score"))
    assert len(no_weights) == 4, "one try each, also before a training"


def test_masks_are_nearly_black(measure):
    np.savez("masks.npz", DIGITS.numpy() // 200)
    printed, _ = measure("masks.npz", "masks.npz", "--classifier", "digits", "--metrics", "fd_lenet")
    assert "masks.npz: the images use 2 of 256 values, 0 to 1" in printed


def test_grey_and_colour(measure, monkeypatch):
    "A network for colours sees grey images in three equal channels; one for grey images refuses colours."
    colours = torch.randint(0, 256, (200, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    network = torch.nn.Sequential(LeNetFeatures(LeNet(3, 16, 10)))
    toy = Extractor("toy", "toy", network, torch.nn.Identity(), 100)
    monkeypatch.setitem(EXTRACTORS, "inception", lambda *_: toy)
    np.savez("colour.npz", colours.numpy())
    np.savez("black.npz", np.zeros_like(colours.numpy()))
    for name, images in (("grey", DIGITS), ("colour", colours)):
        Path(name).mkdir()
        for i, image in enumerate(images[:20]):
            Image.fromarray(image.permute(1, 2, 0).squeeze().numpy()).save(f"{name}/{i}.png")
    for words in (("black.npz", "colour.npz"), ("colour.npz", "black.npz"), ("grey", "colour")):
        printed, status = measure(*words, "--metrics", "fid", "--json")
        assert status == 0 and json.loads(printed[: printed.rindex("}") + 1])["fid"]["value"] > 0, printed
    printed, status = measure("colour.npz", "digits", "--metrics", "fd_lenet")
    assert (
        status == 1
        and "This LeNet has learned from grey images and cannot look at images in 3 channels" in printed
    )


def test_hidden_folders_hold_no_images(measure):
    for folder in ("images", "images/.ipynb_checkpoints", "images/__MACOSX", "images/sub"):
        Path(folder).mkdir()
        for i in range(5):
            Image.fromarray(DIGITS[i, 0].numpy()).save(f"{folder}/{i}.png")
    Path("images/._0.png").write_text("no image")
    printed, status = measure("images", "digits", "--metrics", "fd_lenet", "--json")
    assert status == 0 and json.loads(printed)["fd_lenet"]["n"] == 10 and "skipped" not in printed


@pytest.mark.parametrize(
    "text",
    ["[1, 2]", '{"model": {"dataset": "digits"}}', "{// a comment\n}", '{"dataset": "my images"}', "\xff"],
)
def test_somebody_elses_config(measure, no_weights, text):
    Path("images").mkdir()
    Path("images/config.json").write_text(text, encoding="latin-1")
    for i in range(5):
        Image.fromarray(DIGITS[i, 0].numpy()).save(f"images/{i}.png")
    assert value(measure, "images", "digits") > 0
    assert "EfficientNet" in measure("images", "images")[0], "no LeNet is taken from it"


def test_data_sets_and_classifiers(measure):
    assert (
        value(measure, "digits", "digits")
        == evaluate(load_dataset("digits").images, "digits")["fd_lenet"]["value"]
    )
    np.savez("a.npz", DIGITS.numpy())
    printed, status = measure("a.npz", "a.npz", "--metrics", "fd_lenet")
    assert (
        status == 1
        and "whose LeNet? Name a data set: classifier='mnist' (on the command line, --classifier mnist)"
        in printed
    )


# -- data ----------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def mirror(tmp_path, monkeypatch, cache):
    "A mirror with a made-up MNIST of 20 images, and their checksums in place of the real ones."
    sums, content = {}, {}
    for prefix in ("train", "t10k"):
        pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
        idx = {
            "images-idx3": struct.pack(">4B3I", 0, 0, 8, 3, 20, 28, 28) + pixels.tobytes(),
            "labels-idx1": struct.pack(">4BI", 0, 0, 8, 1, 20) + bytes(range(10)) * 2,
        }
        for name, raw in idx.items():
            file = tmp_path / "mirror" / "mnist" / f"{prefix}-{name}-ubyte.gz"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(gzip.compress(raw, mtime=0))
            sums[file.name] = hashlib.md5(file.read_bytes()).hexdigest()
            content[file.name] = hashlib.md5(raw).hexdigest()
    monkeypatch.setitem(genlab.sources.DOWNLOADS, "mnist", Download([], sums, content))
    monkeypatch.setenv("GENLAB_MIRROR", (tmp_path / "mirror").as_uri())
    return pixels


def test_mirror(mirror, cache):
    images, labels, _ = load_dataset("mnist")
    assert torch.equal(images[:, 0], torch.from_numpy(mirror)) and labels.tolist() == list(range(10)) * 2
    assert sorted(p.name for p in (cache / "mnist").glob("*.gz")) == [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
    ]


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: raw[:-1] + b"x"]
)
def test_a_damaged_file_in_the_cache_is_replaced(mirror, cache, damage):
    before = load_dataset("mnist").images
    file = cache / "mnist" / "train-images-idx3-ubyte.gz"
    file.write_bytes(damage(file.read_bytes()))
    assert torch.equal(load_dataset("mnist").images, before)


def test_a_damaged_mirror_is_refused(mirror, tmp_path):
    (tmp_path / "mirror" / "mnist" / "train-labels-idx1-ubyte.gz").write_bytes(b"not this")
    with pytest.raises(RuntimeError, match="damaged: another MD5 sum .*digits.*needs no download"):
        load_dataset("mnist")


@pytest.mark.parametrize("level", [0, 1, 9])
def test_a_mirror_that_was_compressed_anew(mirror, cache, tmp_path, level):
    "The sums of the files are others, those of their content decide, in the mirror and in the cache."
    for file in (tmp_path / "mirror" / "mnist").glob("*.gz"):
        file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()), level, mtime=1))
    for _ in range(2):
        assert torch.equal(load_dataset("mnist").images[:, 0], torch.from_numpy(mirror))
    file = cache / "mnist" / "train-images-idx3-ubyte.gz"
    assert hashlib.md5(file.read_bytes()).hexdigest() != genlab.sources.DOWNLOADS["mnist"].md5[file.name]


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-1] + b"x", lambda raw: raw[:-1], lambda raw: raw + b"x", lambda raw: b""]
)
def test_compressed_anew_and_damaged(mirror, tmp_path, damage):
    file = tmp_path / "mirror" / "mnist" / "train-images-idx3-ubyte.gz"
    file.write_bytes(gzip.compress(damage(gzip.decompress(file.read_bytes())), 1, mtime=1))
    with pytest.raises(RuntimeError, match="damaged: another MD5 sum"):
        load_dataset("mnist")
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(RuntimeError, match="damaged: another MD5 sum"):
        load_dataset("mnist")


def serve(answer):
    "A URL that answers every request with these bytes; None: the connection is taken, and nothing is said."
    listening = socket.create_server(("127.0.0.1", 0))

    def loop():
        taken = []
        while True:
            try:
                taken.append(listening.accept()[0])
            except OSError:  # closed
                return
            if answer is not None:
                taken[-1].recv(4096)
                taken[-1].sendall(answer)
                taken[-1].close()

    threading.Thread(target=loop, daemon=True).start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}/"


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"220 ftp.example.org ready\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nabc",
        b"HTTP/1.1 301 Moved\r\nLocation: http://two words/\r\n\r\n",
        b"HTTP/1.1 503 Later\r\n\r\n",
    ],
)
def test_a_server_that_does_not_serve(mirror, cache, monkeypatch, answer):
    "The next mirror is tried; if there is none, one sentence says what was wrong."
    monkeypatch.setattr(genlab.sources, "TIMEOUT", 0.3)
    good, sums = os.environ["GENLAB_MIRROR"] + "/mnist/", genlab.sources.DOWNLOADS["mnist"].md5
    monkeypatch.setenv("GENLAB_MIRROR", serve(answer))
    with pytest.raises(
        RuntimeError, match=r"could not be had from http://127.*/mnist/ \(.+\); put it into"
    ) as error:
        load_dataset("mnist")
    assert "\n" not in str(error.value) and not list(cache.rglob("*.partial"))
    monkeypatch.setitem(genlab.sources.DOWNLOADS, "mnist", Download([good], sums))
    assert (
        torch.equal(load_dataset("mnist").images[:, 0], torch.from_numpy(mirror))
        and socket.getdefaulttimeout() is None
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://local host/",
        "http://127.0.0.1:port/",
        "nonsense",
        "gopher://127.0.0.1/",
        "http://[::1",
        "file:///no such place",
    ],
)
def test_a_mirror_that_is_no_address(mirror, monkeypatch, url):
    good, sums = os.environ["GENLAB_MIRROR"] + "/mnist/", genlab.sources.DOWNLOADS["mnist"].md5
    monkeypatch.setitem(genlab.sources.DOWNLOADS, "mnist", Download([good], sums))
    monkeypatch.setenv("GENLAB_MIRROR", url)
    assert torch.equal(load_dataset("mnist").images[:, 0], torch.from_numpy(mirror))


def test_a_cache_that_can_only_be_read(mirror, cache, tmp_path, monkeypatch):
    "What is in it is used, though no lock can be had there; what is not gives one sentence."
    draw(tmp_path / "set", *spread("cat", "dog"))
    names = ("mnist", f"folder:{tmp_path / 'set'}")
    extractor, digits = lenet_extractor("digits", 16), load_dataset("digits").images
    before = [load_dataset(name, size=16).images.clone() for name in names]
    kept = cached_features(extractor, digits[:20])
    for lock in cache.rglob("*.lock"):
        lock.unlink()
    monkeypatch.setattr(genlab.sources, "FileLock", not_allowed)
    for name, images in zip(names, before, strict=True):
        assert torch.equal(load_dataset(name, size=16).images, images)
    assert torch.equal(cached_features(extractor, digits[:20]), kept)
    with pytest.raises(OSError, match="GENLAB_CACHE: .*features cannot be written .*Permission denied"):
        cached_features(extractor, digits[20:40])
    for name in names:
        refused = "GENLAB_CACHE: .* cannot be written .*Permission denied.*set it to a folder that can be"
        with pytest.raises(OSError, match=refused):
            load_dataset(name, "test", 16)
    (tmp_path / "file").touch()
    monkeypatch.setenv("GENLAB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match="GENLAB_CACHE: .* cannot be made .*set it to a folder"):
        load_dataset("mnist")


def not_allowed(path):
    "What FileLock does in somebody else's folder (the tests may run as root, to whom all is allowed)."
    raise PermissionError(errno.EACCES, "Permission denied", str(path))


def test_no_network_and_no_mirror(cache, monkeypatch, mirror):
    monkeypatch.delenv("GENLAB_MIRROR")
    monkeypatch.setitem(
        genlab.sources.DOWNLOADS,
        "mnist",
        genlab.sources.DOWNLOADS["mnist"]._replace(mirrors=["http://nowhere.invalid/"]),
    )
    with pytest.raises(RuntimeError) as error:
        load_dataset("mnist")
    for part in (
        "http://nowhere.invalid/",
        str(cache / "mnist"),
        "GENLAB_MIRROR",
        "dataset='digits', which needs no download",
    ):
        assert part in str(error.value)


@needs_mnist
def test_the_real_mnist():
    images, labels, classes = load_dataset("mnist")
    assert images.shape == (60000, 1, 28, 28) and len(load_dataset("mnist", "test").images) == 10000
    assert torch.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    net, about = load_lenet("mnist")
    assert about["accuracy"] > 0.985


@needs_mnist
def test_the_real_fashion_mnist():
    images, labels, classes = load_dataset("fashion_mnist")
    assert images.shape == (60000, 1, 28, 28) and len(load_dataset("fashion_mnist", "test").images) == 10000
    assert torch.bincount(labels).tolist() == [6000] * 10 and classes[9] == "boot"


@needs_mnist
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_sums_of_the_content_are_those_of_the_real_files(name):
    for file, md5 in genlab.sources.DOWNLOADS[name].content.items():
        content = gzip.decompress(genlab.sources.fetch(name, file).read_bytes())
        assert hashlib.md5(content).hexdigest() == md5


@pytest.fixture
def pictures(tmp_path, cache):
    "Ten colour images of different shapes in a folder."
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(10):
        Image.new("RGB", (30 + i, 60 - i), (25 * i, 0, 255 - 25 * i)).save(folder / f"{i}.png")
    return folder


def test_a_folder_of_images(pictures):
    train, test = (load_dataset(f"folder:{pictures}", split, 16) for split in ("train", "test"))
    assert (
        train.images.shape == (9, 3, 16, 16) and test.images.shape == (1, 3, 16, 16) and train.labels is None
    )
    assert train.images[3, :, 8, 8].tolist() == [75, 0, 180], "colours are kept"
    assert next(epoch_batches(train, 4, 0, 0))[0].shape == (4, 3, 16, 16)


def test_a_folder_that_is_empty_or_not_there(tmp_path, cache):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="dataset: no images .* in .*empty"):
        load_dataset(f"folder:{tmp_path / 'empty'}")
    with pytest.raises(FileNotFoundError, match="dataset: there is no folder .*nowhere"):
        load_dataset(f"folder:{tmp_path / 'nowhere'}")


def test_a_text_file_among_the_images_is_skipped_with_a_count(pictures):
    (pictures / "4.png").write_text("no picture")
    for _ in range(2):  # when it is converted and when it is read again
        with pytest.warns(UserWarning, match="1 of 9 files are not readable images and were skipped"):
            data = load_dataset(f"folder:{pictures}", size=16)
    assert data.images.shape == (8, 3, 16, 16)
    for file in pictures.iterdir():
        file.write_text("nor is this")
    with pytest.raises(ValueError, match="none of the 9 images can be read"):
        load_dataset(f"folder:{pictures}", size=16)


def test_colours_and_classes_are_those_of_both_splits(tmp_path, cache):
    for split, kind, mode in [("train", "a", "L"), ("train", "b", "L"), ("test", "a", "RGB")]:
        for i in range(3):
            file = tmp_path / "set" / split / kind / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new(mode, (20, 20), 40 * i if mode == "L" else (9, 8, 7)).save(file)
    train, test = (load_dataset(f"folder:{tmp_path / 'set'}", split, 16) for split in ("train", "test"))
    assert train.images.shape == (6, 3, 16, 16) and test.images.shape == (3, 3, 16, 16)
    assert train.classes == test.classes == ["a", "b"] and test.labels.tolist() == [0, 0, 0]


def grey_levels(folder):
    "The first pixel of each of the first nine of ten images."
    images = load_dataset(f"folder:{folder}", size=16).images
    assert images.shape == (9, 1, 16, 16)
    return images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize(
    "values, kind, white",
    [
        (range(0, 60000, 6000), "uint16.png", 65535),
        (range(0, 60000, 6000), "uint16.tiff", 65535),
        (range(0, 60000, 6000), ">u2.tiff", 65535),
        (range(0, 60000, 6000), "uint16.pgm", 65535),
        (range(0, 4000, 400), "uint16.png", 4095),
        (range(20, 220, 20), "int32.tiff", 255),
        (range(0, 2_000_000, 200_000), "int32.tiff", 2**21 - 1),
        ([i / 16 for i in range(10)], "float32.tiff", 1),
        ([25.5 * i for i in range(10)], ">f4.tiff", 255),
    ],
)
def test_numbers_that_are_not_bytes(tmp_path, cache, values, kind, white):
    "12 and 16 bits, 32-bit integers, floats, both byte orders: the set's largest number says what is white."
    dtype, ending = kind.split(".")
    for i, value in enumerate(values):
        Image.fromarray(np.full((20, 20), value, dtype)).save(tmp_path / f"{i}.{ending}")
    assert grey_levels(tmp_path) == [round(255 * float(np.float32(v)) / white) for v in values][:9]


def test_numbers_without_a_meaning_are_skipped(tmp_path, cache):
    for i, value in enumerate([0.1, -0.5, np.nan, np.inf, *[0.2] * 6]):
        Image.fromarray(np.full((20, 20), value, np.float32)).save(tmp_path / f"{i}.tiff")
    with pytest.warns(UserWarning, match="3 of 9 files are not readable"):
        assert load_dataset(f"folder:{tmp_path}", size=16).images[:, 0, 0, 0].tolist() == [26] + [51] * 5


def test_nearly_black_images_are_warned_of(tmp_path, cache):
    for i in range(10):
        Image.new("L", (20, 20), i % 2).save(tmp_path / f"{i}.png")
    with pytest.warns(UserWarning, match="nearly black: of 0 to 255 they use 0 to 1"):
        load_dataset(f"folder:{tmp_path}", size=16)


AS_SHOWN = {  # EXIF 2.32, table 6: what a viewer does to the stored pixels
    1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
    5: np.transpose, 6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).T, 8: np.rot90,
}  # fmt: skip


@pytest.mark.parametrize("ending", ["jpg", "png", "tiff", "webp"])
def test_images_are_turned_as_a_viewer_turns_them(tmp_path, cache, ending):
    stored = np.kron([[0, 80], [160, 240]], np.ones((8, 8))).astype(np.uint8)
    exif = Image.Exif()
    for i in range(10):
        exif[0x0112] = i % 8 + 1
        Image.fromarray(stored).convert("RGB").save(tmp_path / f"{i}.{ending}", exif=exif, quality=100)
    images = load_dataset(f"folder:{tmp_path}", size=16).images
    for i in range(8):
        assert np.abs(images[i, 0].numpy() - AS_SHOWN[i + 1](stored).astype(float)).max() < 4, i + 1


TRANSPARENT = {
    "rgba.png": lambda: Image.new("RGBA", (20, 20), (255, 0, 0, 0)),
    "rgba.webp": lambda: Image.new("RGBA", (20, 20), (255, 0, 0, 0)),
    "la.png": lambda: Image.new("LA", (20, 20), (9, 0)),
    "palette.png": lambda: Image.new("RGB", (20, 20), "red").quantize(2),
    "palette.gif": lambda: Image.new("RGB", (20, 20), "red").quantize(2),
    "rgb.png": lambda: Image.new("RGB", (20, 20), (255, 0, 0)),
    "l.png": lambda: Image.new("L", (20, 20), 9),
    "rgba.tiff": lambda: Image.new("RGBA", (20, 20), (255, 0, 0, 0)),
}
COLOUR_KEY = {"palette.png": 0, "palette.gif": 0, "rgb.png": (255, 0, 0), "l.png": 9}


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_what_is_transparent_is_white(tmp_path, cache, kind):
    for i in range(10):
        key = {"transparency": COLOUR_KEY[kind]} if kind in COLOUR_KEY else {}
        TRANSPARENT[kind]().save(tmp_path / f"{i}.{kind}", **key)
    assert (load_dataset(f"folder:{tmp_path}", size=16).images == 255).all()


def test_half_transparent_images(tmp_path):
    half = Image.new("RGBA", (20, 20), (255, 0, 0, 128))
    assert to_square(half, 16, grey=False)[:, 0, 0].tolist() == [255, 127, 127]
    alpha = Image.new("L", (20, 20), 128)
    with_palette = Image.new("RGB", (20, 20), "red").quantize(2).convert("PA")
    with_palette.putalpha(alpha)
    assert to_square(with_palette, 16, grey=False)[:, 0, 0].tolist() == [255, 127, 127]
    assert to_square(Image.merge("LA", [Image.new("L", (20, 20), 0), alpha]), 16, grey=True)[0, 0, 0] == 127


def sixteen_bit_colour(value):
    "A PNG of 16-bit RGB, which PIL can read and not write."
    chunk = lambda kind, body: (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    )
    rows = zlib.compress((b"\0" + struct.pack(">3H", *value) * 20) * 20)
    header = chunk(b"IHDR", struct.pack(">2I5B", 20, 20, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_other_colour_modes(tmp_path, cache):
    red = Image.new("RGB", (20, 20), (200, 30, 40))
    red.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    red.convert("CMYK").save(tmp_path / "cmyk.tiff")
    red.convert("YCbCr").save(tmp_path / "ycbcr.tiff")
    red.quantize(4).save(tmp_path / "palette.bmp")
    red.save(tmp_path / "rgb.GIF")
    red.save(tmp_path / "Rgb.JPeG", quality=100)
    red.save(tmp_path / "frames.gif", save_all=True, append_images=[Image.new("RGB", (20, 20), "blue")])
    red.save(tmp_path / "pages.tif", save_all=True, append_images=[Image.new("RGB", (20, 20), "blue")])
    (tmp_path / "sixteen.png").write_bytes(sixteen_bit_colour((200 * 257, 30 * 257, 40 * 257)))
    Image.new("1", (20, 20), 1).save(tmp_path / "z.png")
    train, test = (load_dataset(f"folder:{tmp_path}", split, 16).images for split in ("train", "test"))
    assert train.shape == (9, 3, 16, 16) and (test == 255).all()
    assert (train[:, :, 0, 0].float() - torch.tensor([200.0, 30, 40])).abs().max() <= 4


def test_a_measured_folder_has_one_white(tmp_path):
    "Bright and dark images of 12 bits keep their brightness when a folder of them is measured."
    for i, value in enumerate([4095, 1000, 100]):
        Image.fromarray(np.full((20, 20), value, np.uint16)).save(tmp_path / f"{i}.png")
    assert load_images(tmp_path)[:, 0, 0, 0].tolist() == [255, 62, 6]


def test_a_palette_of_greys_is_grey(tmp_path, cache):
    for i in range(10):
        Image.fromarray(np.full((20, 20), 10 * i, np.uint8)).convert("P").save(tmp_path / f"{i}.gif")
    assert grey_levels(tmp_path) == list(range(0, 90, 10))


# -- folders: splits and classes


def draw(top, *names):
    "Small images, each of another grey."
    for i, name in enumerate(names):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (16, 16), 40 + i).save(top / name)


def spread(*folders, n=10):
    return [f"{folder}/{i}.png" for folder in folders for i in range(n)]


@pytest.mark.parametrize(
    "names, classes, n_train, n_test",
    [
        (spread("."), [], 9, 1),
        (spread("cat", "dog"), ["cat", "dog"], 18, 2),
        (spread("cat/2020", "cat/2021", "dog/2020"), ["cat", "dog"], 27, 3),
        (spread("n01/images", "n02/images"), ["n01", "n02"], 18, 2),
        (spread("data/set/cat", "data/set/dog"), ["cat", "dog"], 18, 2),
        (spread("faces"), [], 9, 1),
        (spread("train", "val"), [], 10, 10),
        (spread("train", "valid"), [], 10, 10),
        (spread("Train", "Validation"), [], 10, 10),
        (spread("training", "testing"), [], 10, 10),
        (spread("train", "dev"), [], 10, 10),
        (spread("train2017", "val2017"), [], 10, 10),
        (spread("train", "test", n=12) + spread("val"), [], 12, 12),
        (spread("train/cat", "train/dog", "val/cat", "val/dog"), ["cat", "dog"], 20, 20),
        (spread("images/TRAIN/cat", "images/TRAIN/dog", "images/TEST/dog"), ["cat", "dog"], 20, 10),
        (spread("train/n01/images", "train/n02/images", "test/n01/images"), ["n01", "n02"], 20, 10),
        (spread("train/images", "val/images"), [], 10, 10),
        (spread("train/cat", "train/dog"), ["cat", "dog"], 18, 2),
        (spread("train", "car", "bus"), ["bus", "car", "train"], 27, 3),
        (spread("test", "control"), ["control", "test"], 18, 2),
        (
            spread("cat", "dog")
            + spread(".ipynb_checkpoints", "__MACOSX/cat", "@eaDir", "cat/.cache")
            + ["cat/._x.png", ".hidden.png"],
            ["cat", "dog"],
            18,
            2,
        ),
    ],
)
def test_folders_become_splits_and_classes(tmp_path, cache, names, classes, n_train, n_test):
    draw(tmp_path / "set", *names)
    (tmp_path / "set" / "Thumbs.db").write_bytes(b"of the system")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train, test = (load_dataset(f"folder:{tmp_path / 'set'}", split, 16) for split in ("train", "test"))
    assert (len(train.images), len(test.images)) == (
        n_train,
        n_test,
    ) and train.classes == test.classes == classes
    for data in (train, test):
        assert (data.labels is None) == (not classes)
    if classes:
        folders = [
            next(part for part in name.split("/") if part in classes)
            for name in sorted(names)
            if "/." not in name and name[0] not in "._@"
        ]
        count = torch.bincount(torch.cat([train.labels, test.labels]), minlength=len(classes)).tolist()
        assert count == [folders.count(name) for name in classes]


@pytest.mark.parametrize(
    "names, left_out, n_train, n_test",
    [
        (["stray.png", *spread("cat", "dog")], "1 of 21 images, such as .*stray.png", 18, 2),
        (["logo.png", *spread("images/cat", "images/dog")], "1 of 21 images, such as .*logo.png", 18, 2),
        (
            spread("train/cat", "train/dog", "test/cat") + ["test/bird/0.png", "test/1.png", "train/2.png"],
            "3 of 33 images",
            20,
            10,
        ),
    ],
)
def test_images_of_no_class_are_left_out_and_counted(tmp_path, cache, names, left_out, n_train, n_test):
    draw(tmp_path, *names)
    for split, n in ("train", n_train), ("test", n_test):
        with pytest.warns(
            UserWarning, match=f"{left_out}.* lie in no class of the training images and were left out"
        ):
            data = load_dataset(f"folder:{tmp_path}", split, 16)
        assert data.classes == ["cat", "dog"] and len(data.images) == n


def test_a_test_folder_of_other_classes(tmp_path, cache):
    "The layout of Tiny ImageNet's archive: its test images are not in the folders of their classes."
    draw(tmp_path, *spread("train/n01/images", "train/n02/images", "val/images"))
    with pytest.raises(
        ValueError,
        match="no images .* for the test split in .*: 10 of 30 images, such as .*val.images.0.png, "
        "lie in no class of the training",
    ):
        load_dataset(f"folder:{tmp_path}")


def test_links(tmp_path, cache):
    "Into a circle, to nowhere, and a class that lies elsewhere."
    draw(tmp_path, *spread("set", "elsewhere"))
    (tmp_path / "set" / "again").symlink_to(tmp_path / "set", target_is_directory=True)
    (tmp_path / "set" / "zz.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "set" / "self.png").symlink_to(tmp_path / "set" / "self.png")
    with pytest.warns(UserWarning, match="3 of 12 files are not readable images"):
        assert len(load_dataset(f"folder:{tmp_path / 'set'}", "train", 16).images) == 9
    (tmp_path / "linked").mkdir()
    for name in ("set", "elsewhere"):
        (tmp_path / "linked" / name).symlink_to(tmp_path / name)
    draw(tmp_path / "linked", *spread("third"))
    with pytest.warns(UserWarning):
        assert load_dataset(f"folder:{tmp_path / 'linked'}", size=16).classes == ["elsewhere", "set", "third"]


@pytest.mark.parametrize("name", ["archive.zip", "images.tar.gz", "without_ending"])
def test_what_lies_there_instead_of_images(tmp_path, cache, name):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / name).write_bytes(b"something")
    with pytest.raises(
        ValueError,
        match=r"the other files end in (\.zip|\.gz|nothing) \(an archive is named itself, as folder:ARCHIVE",
    ):
        load_dataset(f"folder:{tmp_path / 'set'}")
    with pytest.raises(ValueError, match="is a file, and no archive that can be read"):
        load_dataset(f"folder:{tmp_path / 'set' / name}")


@pytest.mark.parametrize("path", ["~nobody-of-this-name/x", "a\0b", ""])
def test_a_path_that_is_none(path):
    with pytest.raises(ValueError, match="^dataset: 'folder:.*' is ") as error:
        GANConfig(dataset=f"folder:{path}")
    assert "\n" not in str(error.value)


def test_a_very_long_path(tmp_path, cache, runs_folder):
    long = tmp_path.joinpath(*["a" * 140] * 2)
    draw(long, *spread("cat", "dog"))
    assert load_dataset(f"folder:{long}", size=16).classes == ["cat", "dog"]
    with Run(GANConfig(dataset=f"folder:{long}", size=16, metrics=[])).lock():
        assert next(runs_folder.glob("*/gan/*/.lock")).exists()
    with pytest.raises(FileNotFoundError, match="dataset: there is no folder .*bbb"):
        load_dataset(f"folder:{tmp_path / ('b' * 280)}")


def test_a_changed_folder_is_converted_again(pictures):
    load_dataset(f"folder:{pictures}", size=16)
    Image.new("RGB", (20, 20), (1, 2, 3)).save(pictures / "0.png")
    assert load_dataset(f"folder:{pictures}", size=16).images[0, :, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("replace", [os.replace, shutil.copyfile])
def test_content_counts_and_not_the_date(tmp_path, cache, replace):
    "A file is replaced by another of the same size and time, as by an archive that keeps no times."
    for i in range(10):
        Image.new("L", (16, 16), 50 + i).save(tmp_path / f"{i}.bmp")
    os.utime(tmp_path / "0.bmp", (0, 0))
    assert grey_levels(tmp_path)[0] == 50
    Image.new("L", (16, 16), 99).save(tmp_path / "new", "bmp")
    replace(tmp_path / "new", tmp_path / "0.bmp")
    os.utime(tmp_path / "0.bmp", (0, 0))
    assert grey_levels(tmp_path)[0] == 99


def test_classes_that_change_places(tmp_path, cache):
    "Their files keep size, times and names."
    draw(tmp_path / "set", *spread("cat", "dog"))
    for file in (tmp_path / "set").glob("*/*"):
        os.utime(file, (0, 0))
    load = lambda: load_dataset(f"folder:{tmp_path / 'set'}", size=16).images[:, 0, 0, 0].tolist()
    before = load()
    for old, new in ("cat", "free"), ("dog", "cat"), ("free", "dog"):
        (tmp_path / "set" / old).rename(tmp_path / "set" / new)
    assert load() == before[9:] + before[:9]


def test_a_fingerprint_is_that_of_the_content(pictures):
    "The same for images on disk and in memory; another one when an image is replaced by one of its size."
    before = load_dataset(f"folder:{pictures}", size=16)
    assert (
        fingerprint(before)
        == fingerprint(before.pick(slice(None)))
        == fingerprint(before._replace(images=before.images.clone()))
    )
    Image.new("RGB", (30, 60), (1, 2, 3)).save(pictures / "0.png")
    after = load_dataset(f"folder:{pictures}", size=16)
    assert after.images.shape == before.images.shape and fingerprint(after) != fingerprint(before)


def hub_set(folder, images, labels):
    "A data set of the Hub's library, saved in a folder: images as files or None, labels as numbers or None."
    hub = pytest.importorskip("datasets")
    hub.disable_progress_bars()
    features = hub.Features({"picture": hub.Image(), "kind": hub.ClassLabel(names=["cat", "dog"])})
    rows = {"picture": [image and {"bytes": image, "path": None} for image in images], "kind": labels}
    hub.Dataset.from_dict(rows, features=features).save_to_disk(folder)
    return f"hf:{folder}"


def png(level, mode="L"):
    file = io.BytesIO()
    Image.new(mode, (16, 16), level).save(file, "png")
    return file.getvalue()


def test_the_hub_with_images_and_labels_that_are_missing(tmp_path, cache):
    "They are skipped and counted, and the other labels are kept."
    images, labels = [png(50 + i) for i in range(20)], [i % 2 for i in range(20)]
    images[0], images[2], labels[4], labels[5] = None, b"broken", None, -1
    name = hub_set(tmp_path / "hub", images, labels)
    with pytest.warns(UserWarning, match="4 of 18 files are not readable images"):
        train = load_dataset(name, size=16)
    assert train.images.shape == (14, 1, 16, 16) and train.classes == ["cat", "dog"]
    for level, label in zip((train.images[:, 0, 0, 0] - 50).tolist(), train.labels.tolist(), strict=True):
        assert label == level % 2


def test_the_hub_with_secret_labels(tmp_path, cache):
    name = hub_set(tmp_path / "hub", [png(50 + i) for i in range(20)], [-1] * 20)
    assert load_dataset(name, size=16).labels is None and len(load_dataset(name, size=16).images) == 18


def test_the_hub_colours_are_those_of_both_splits(tmp_path, cache):
    name = hub_set(
        tmp_path / "hub",
        [png(50) if i % 10 != 9 else png((50, 90, 90), "RGB") for i in range(20)],
        [0, 1] * 10,
    )
    assert [load_dataset(name, split, 16).images.shape[1] for split in ("train", "test")] == [3, 3]


@pytest.mark.parametrize("held_out", ["test", "validation", "valid", "val", "dev"])
def test_the_hub_s_splits(tmp_path, cache, held_out):
    hub = pytest.importorskip("datasets")
    for i, split in enumerate(("train", held_out)):
        hub_set(tmp_path / split, [png(50 + i)] * 3, [0, 1, 0])
    parts = {split: hub.load_from_disk(str(tmp_path / split)) for split in ("train", held_out)}
    hub.DatasetDict(parts).save_to_disk(tmp_path / "both")
    assert load_dataset(f"hf:{tmp_path / 'both'}", "test", 16).images[:, 0, 0, 0].tolist() == [51] * 3


@pytest.mark.parametrize(
    "go, config",
    [(run_gan, GANConfig(width=8)), (run_ddpm, DDPMConfig(widths=[8])), (run_vae, VAEConfig(network="mlp"))],
)
@pytest.mark.parametrize("n_samples", [None, 4])
def test_a_folder_without_labels(pictures, runs_folder, go, config, n_samples):
    "fd_lenet cannot be had without labels; that is said before any training, whatever else is asked for."
    for i in range(10, 20):  # so that there are two test images
        Image.new("RGB", (30, 30), (10 * i, 0, 0)).save(pictures / f"{i}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="fd_lenet needs a classifier, .* without labels"):
            go(
                config.model_copy(
                    update={"dataset": f"folder:{pictures}", "size": 16, "n_samples": n_samples}
                )
            )
    assert not list(runs_folder.rglob("*.safetensors"))
