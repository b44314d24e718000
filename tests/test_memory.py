"""What a run has in memory does not grow with its training set, whose images stay in a memory map.

Every operation is looked at while a run trains, draws and is scored: none may give something that is as long
as the training set, but single numbers of its images (labels, their order), or a view of the map.
"""

import psutil
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

import genlab.latent
import genlab.sources
from genlab.data import ImageSet, epoch_batches, fingerprint, take
from genlab.features import Extractor
from genlab.latent import Codes, LatentConfig, code_batches, make_latent
from genlab.plug import EXTRACTORS, KINDS, LOADERS, MEASURES, import_plugins
from genlab.runs import Run

N = 10_500  # more than the 10,000 images that are taken as a sample of all where one is needed


class NothingLong(TorchDispatchMode):
    "MemoryError for a new tensor of N rows or more."

    def __init__(self, images: torch.Tensor):
        super().__init__()
        self.map = images.untyped_storage().data_ptr()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **options or {})
        for x in tree_iter(result):
            long = isinstance(x, torch.Tensor) and x.ndim and x.numel() > len(x) >= N
            if long and x.untyped_storage().data_ptr() != self.map:
                raise MemoryError(f"{function} made {tuple(x.shape)} of {N} training images")
        return result


class Mean(nn.Module):
    "The mean colour of each quarter of an image."

    def forward(self, x):
        return nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)


def noise(n):
    return torch.randint(256, (n, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))


def labelled(images):
    return ImageSet(images, torch.arange(len(images)) % 3, ["a", "b", "c"])


@pytest.fixture
def many(tmp_path, monkeypatch):
    "A data set `many`, of N images in a memory map, with a measure of its own."
    noise(N).numpy().tofile(tmp_path / "images.bin")
    images = genlab.sources._mapped(tmp_path / "images.bin", (N, 3, 16, 16))
    images.sha256 = "0" * 64
    splits = {"train": labelled(images), "test": labelled(noise(20))}
    extractor = Extractor("mean", "0" * 12, Mean())
    monkeypatch.setitem(LOADERS, "many", splits.get)
    monkeypatch.setitem(EXTRACTORS, "mean", lambda *_: extractor)
    monkeypatch.setitem(MEASURES, "fd_mean", MEASURES["fd_lenet"]._replace(extractor="mean"))
    monkeypatch.setenv("GENLAB_CACHE", str(tmp_path / "cache"))
    return splits["train"]


SMALL = {
    "gan": dict(width=8, conditional=True),
    "ddpm": dict(widths=[8, 8], T=20, steps=2, conditional=True),
    "vae": dict(width=8, latent=2),
    "latent": dict(width=8, first_epochs=1, widths=[8, 8], steps=2),
}


@pytest.mark.parametrize("kind", SMALL)
def test_a_run_takes_no_copy_of_its_training_set(kind, many, monkeypatch):
    monkeypatch.setattr(genlab.latent, "MOST_CODES", 0)
    import_plugins()
    config = KINDS[kind].config(**SMALL[kind], dataset="many", batch_size=500, metrics=["fd_mean"])
    with NothingLong(many.images):
        run = KINDS[kind].run(config)
    assert run.metrics(1)["scores"]["fd_mean"]["value"] > 0


COPIES = {
    "float": lambda data: data.images.float(),
    "subset": lambda data: take(data, N),
    "codes": lambda data: torch.cat([x.flatten(1) for x in data.images.split(500)]),
    "where": lambda data: torch.where(data.images > 0, data.images, 1),
}


@pytest.mark.parametrize("what", COPIES)
def test_a_copy_is_noticed(what, many):
    "Else these tests could not fail."
    with NothingLong(many.images), pytest.raises(MemoryError):
        COPIES[what](many)


def test_batches_and_the_fingerprint_of_a_map(many):
    "An epoch makes one batch after another; and a fingerprint does not read the file, here of no pixels."
    with NothingLong(many.images):
        assert sum(len(x) for x, _ in epoch_batches(many, 500, seed=0, epoch=0)) == N
    images = torch.empty(many.images.shape, dtype=torch.uint8, device="meta")
    images.sha256 = "0" * 64
    assert fingerprint(many) == fingerprint(many._replace(images=images))


def test_codes_are_the_same_whether_kept_or_made_for_each_batch(monkeypatch):
    "The second stage of latent diffusion sees the same, and has the same statistics, but for rounding."
    codes = []
    for name, most in [("kept", 2**30), ("made", 0)]:
        monkeypatch.setattr(genlab.latent, "MOST_CODES", most)
        config = LatentConfig(name=name, width=8, widths=[8])
        run, data, model = Run(config), config.training_set(), make_latent(config, config.training_set())
        codes.append([])
        for batch in code_batches(run, model, data, 1, "cpu"):
            run.log(loss=0.0)
            codes[-1].append(batch)
        codes[-1].append(Codes(model.mean, model.sd, batch.labels))
    for kept, made in zip(*codes, strict=True):
        assert torch.allclose(kept.mu, made.mu, atol=1e-5)
        assert torch.allclose(kept.logvar, made.logvar, atol=1e-5)
        assert torch.equal(kept.labels, made.labels)


def test_a_map_of_more_than_the_memory(tmp_path):
    "Linux does not map a file so that it could be written to in memory if it is larger than that."
    n = 2 * (psutil.virtual_memory().total + psutil.swap_memory().total) // (3 * 64 * 64)
    with open(tmp_path / "images.bin", "wb") as file:
        file.truncate(n * 3 * 64 * 64)  # zeros that take no room on the disk
    images = genlab.sources._mapped(tmp_path / "images.bin", (n, 3, 64, 64))
    assert images.shape == (n, 3, 64, 64) and not images[-1].any()
