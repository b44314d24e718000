"""Bad input: one sentence that names what is wrong, early, and nothing on disk is harmed."""

import gzip
import hashlib
import shutil
import struct
import warnings

import numpy as np
import pytest
import torch
from conftest import command, needs_mnist
from PIL import Image

import genlab.data
from genlab.data import epoch_batches, load_dataset
from genlab.ddpm import DDPMConfig, make_network, run_ddpm
from genlab.fid import LeNet, load_lenet
from genlab.gan import GANConfig, run_gan
from genlab.interpolation import check_run, latent_space, open_run
from genlab.vae import VAEConfig, run_vae


@pytest.mark.parametrize(
    "values, sentence",
    [
        (dict(epochs=0), "epochs: 0 should be greater than 0"),
        (dict(epochs=-3), "epochs: -3 should be greater than 0"),
        (dict(epochs="ten"), "epochs: 'ten' should be a valid integer"),
        (dict(dataset="minst"), "dataset: 'minst' is unknown; choose digits, mnist"),
        (dict(latent=0), "latent: 0 should be greater than 0"),
        (dict(precision="fp8"), "precision: 'fp8' should be 'no' or 'bf16'"),
        (dict(metrics=["fidd"]), "metrics.0: 'fidd' should be 'fd_lenet', 'fd_lenet_infinity'"),
        (dict(widht=5), "widht: there is no such parameter"),
        (dict(loss="wasserstein"), "loss: 'wasserstein' should be 'nonsaturating', 'minmax', 'hinge' or 'wgan-gp'"),
        (dict(loss="wgan-gp"), "norm: a gradient penalty is about single images, which batch normalisation mixes; use norm='layer' or 'spectral'"),
        (dict(loss="wgan-gp", norm="layer", unroll=2), "unroll: looking ahead does not know the gradient penalty"),
        (dict(extra_layers=2), "extra_layers: only the networks of report-004 take more layers"),
        (dict(network="report-004", conditional=True), "network: report-004 knows no classes"),
        (dict(augment=["mirror"]), "augment.0: 'mirror' should be 'flip', 'colour'"),
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
        (dict(network="seed", conditional=True), "conditional: report 003's network knows no classes"),
        (dict(widths=[]), "widths: [] list should have at least 1 item"),
        (dict(widths=[12]), "widths: [12] are not all multiples of 8"),
        (dict(target="mu"), "target: 'mu' should be 'eps', 'x0' or 'v'"),
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
        (dict(likelihood="poisson"), "likelihood: 'poisson' should be 'laplace', 'gaussian', 'bernoulli' or 'logistic'"),
        (dict(likelihood="bernoulli", scale=0.3), "scale: a Bernoulli likelihood has none, so 0.3 would change nothing"),
        (dict(network="dense"), "network: 'dense' should be 'residual', 'conv' or 'mlp'"),
    ],
)
def test_a_wrong_vae_parameter_is_named(values, sentence):
    with pytest.raises(ValueError) as error:
        VAEConfig(**values)
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_images_that_a_vae_cannot_halve(runs_folder):
    with pytest.raises(ValueError, match="size: this VAE halves images twice, and 18 pixels cannot be"):
        run_vae(VAEConfig(size=18, metrics=[]))
    assert not list(runs_folder.rglob("*.safetensors"))


def test_interpolation_in_the_wrong_run(runs_folder):
    "Another data set, another size, another model, weights that do not fit: a sentence, not an error of shapes."
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
    with pytest.raises(ValueError, match="its weights are those of another network than its config.json describes"):
        latent_space(*open_run(run.folder))
    (run.epoch_folder(1) / "weights.safetensors").unlink()
    with pytest.raises(ValueError, match="has no evaluated epoch with weights; train it first"):
        open_run(run.folder)
    with pytest.raises(ValueError, match="is not the folder of a run"):
        open_run(runs_folder)


def test_images_that_a_u_net_cannot_halve(runs_folder):
    with pytest.raises(ValueError, match="size: this U-Net makes images 16 times smaller, and 16 pixels cannot be"):
        run_ddpm(DDPMConfig(widths=[8, 8, 8, 8, 8]))
    with pytest.raises(ValueError, match="size: report 003's U-Net halves images three times, and 4 pixels cannot be"):
        run_ddpm(DDPMConfig(network="seed", widths=[8], size=4, metrics=[]))
    with pytest.raises(ValueError, match="heads: 8 channels cannot be shared among 3 heads"):
        run_ddpm(DDPMConfig(widths=[8], heads=3))
    assert not list(runs_folder.rglob("*.safetensors"))


def test_classes_of_images_without_labels(pictures):
    with pytest.raises(ValueError, match="conditional: the data set has no labels"):
        make_network(DDPMConfig(widths=[8], conditional=True), load_dataset(f"folder:{pictures}", size=16))


def test_papermill_fails_early(tmp_path, runs_folder):
    done = command("papermill", "nbs/01_gan.ipynb", tmp_path / "out.ipynb", "-p", "epochs", "ten", "--no-progress-bar")
    assert done.returncode != 0 and done.stderr.strip().splitlines()[-1].startswith("ValueError: epochs: 'ten' should be")
    assert not runs_folder.exists()


def test_a_size_that_cannot_be_halved():
    with pytest.raises(ValueError, match="size: LeNet .* 18 pixels cannot be; choose a multiple of 4"):  # what comes first
        run_gan(GANConfig(size=18))
    with pytest.raises(ValueError, match="size: a DCGAN .* 18 pixels cannot be; choose a multiple of 4"):
        run_gan(GANConfig(size=18, metrics=[]))
    with pytest.raises(ValueError, match="choose a multiple of 4"):
        LeNet(1, 18, 10)


# -- data ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def mirror(tmp_path, monkeypatch, cache):
    "A mirror with a made-up MNIST of 20 images, and their checksums in place of the real ones."
    sums = {}
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
    monkeypatch.setitem(genlab.data.DOWNLOADS, "mnist", ([], sums))
    monkeypatch.setenv("GENLAB_MIRROR", (tmp_path / "mirror").as_uri())
    return pixels


def test_mirror(mirror, cache):
    images, labels, _ = load_dataset("mnist")
    assert torch.equal(images[:, 0], torch.from_numpy(mirror)) and labels.tolist() == list(range(10)) * 2
    assert sorted(p.name for p in (cache / "mnist").glob("*.gz")) == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: raw[:-1] + b"x"])
def test_a_damaged_file_in_the_cache_is_replaced(mirror, cache, damage):
    before = load_dataset("mnist").images
    file = cache / "mnist" / "train-images-idx3-ubyte.gz"
    file.write_bytes(damage(file.read_bytes()))
    assert torch.equal(load_dataset("mnist").images, before)


def test_a_damaged_mirror_is_refused(mirror, tmp_path):
    (tmp_path / "mirror" / "mnist" / "train-labels-idx1-ubyte.gz").write_bytes(b"not this")
    with pytest.raises(RuntimeError, match="damaged: another MD5 sum .*digits.*needs no download"):
        load_dataset("mnist")


def test_no_network_and_no_mirror(cache, monkeypatch, mirror):
    monkeypatch.delenv("GENLAB_MIRROR")
    monkeypatch.setitem(genlab.data.DOWNLOADS, "mnist", (["http://nowhere.invalid/"], genlab.data.DOWNLOADS["mnist"][1]))
    with pytest.raises(RuntimeError) as error:
        load_dataset("mnist")
    for part in ("http://nowhere.invalid/", str(cache / "mnist"), "GENLAB_MIRROR", "dataset='digits', which needs no download"):
        assert part in str(error.value)


@needs_mnist
def test_the_real_mnist():
    images, labels, classes = load_dataset("mnist")
    assert images.shape == (60000, 1, 28, 28) and len(load_dataset("mnist", "test").images) == 10000
    assert torch.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    net, about = load_lenet("mnist")
    assert about["accuracy"] > 0.985


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
    assert train.images.shape == (9, 3, 16, 16) and test.images.shape == (1, 3, 16, 16) and train.labels is None
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


def test_sixteen_bit_grey(tmp_path, cache):
    for i in range(10):
        Image.fromarray(np.full((20, 20), 6000 * i, np.uint16)).save(tmp_path / f"{i}.png")
    images = load_dataset(f"folder:{tmp_path}", size=16).images
    assert images.shape == (9, 1, 16, 16) and images[:, 0, 0, 0].tolist() == [6000 * i // 256 for i in range(9)]


def test_a_changed_folder_is_converted_again(pictures):
    load_dataset(f"folder:{pictures}", size=16)
    Image.new("RGB", (20, 20), (1, 2, 3)).save(pictures / "0.png")
    assert load_dataset(f"folder:{pictures}", size=16).images[0, :, 0, 0].tolist() == [1, 2, 3]


def test_a_gan_on_a_folder_without_labels(pictures, runs_folder):
    "fd_lenet cannot be had without labels; that is said before any training."
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="fd_lenet needs a classifier, .* without labels"):
            run_gan(GANConfig(dataset=f"folder:{pictures}", size=16, width=8, n_samples=4))
    assert not list(runs_folder.rglob("weights.safetensors"))
