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
# # Features
#
# > What a classifier says about an image: LeNet, Inception, an extractor of your own, and their cache
#
# How different are two images? Pixels give a poor answer: the same digit moved by one pixel is far away from itself. Networks that have learned to tell things apart give a better one. A late layer of a classifier turns an image into a vector of numbers, its *features*, in which images of the same thing are near to one another. All measures of [05_fid](05_fid.ipynb) and [05c_measures](05c_measures.ipynb) look at features and never at pixels.

# %%
#| default_exp features

# %% tags=["parameters"]
dataset = "digits"  # whose classifier is looked at
train_classifiers = False  # True: train the classifiers of digits and mnist again, for genlab/weights

# %%
#| hide
from genlab.runs import check_parameters

check_parameters()  # a name that papermill is given and that does not stand above is an error

# %%
#| export
import contextlib
import copy
import functools
import hashlib
import json
import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import pytorch_fid.inception
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.hub import load_state_dict_from_url

from genlab.data import ImageSet, epoch_batches, load_dataset, to_image, to_model
from genlab.plug import EXTRACTORS
from genlab.runs import atomic, make_accelerator, seed_everything
from genlab.sources import cache_dir, cache_lock, progress

# %%
#| hide
import dataclasses
import tempfile

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from sklearn.decomposition import PCA

from genlab.data import show_grid


# %% [markdown]
# ## What an extractor is
#
# An *extractor* maps images to vectors. It has a name and a hash, because a distance in the features of one network says nothing about a distance in those of another. It may have a *head*, too: the layers that make class scores of the features.
#
# Everybody should get the same number. By default a GPU rounds the factors of a convolution to ten bits (TF32), if the network is in float32; while features are computed it does not.

# %%
#| export
@contextmanager
def full_float32() -> Iterator[None]:
    "For `with`: convolutions and matrix products in float32 are exact to float32, on a GPU, too."
    cudnn, before = torch.backends.cudnn, torch.get_float32_matmul_precision()
    allowed, cudnn.allow_tf32 = cudnn.allow_tf32, False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        cudnn.allow_tf32 = allowed
        torch.set_float32_matmul_precision(before)


# %%
#| export
@dataclass(frozen=True)
class Extractor:
    "A map from images to features. Two are the same if they have the same name and hash."

    name: str  # for people: "LeNet-5 (mnist, 28x28)"
    hash: str  # of the weights, 12 hex digits
    network: nn.Module = field(compare=False)  # float32 in [-1, 1] (B, C, H, W) -> features (B, D)
    head: nn.Module | None = field(default=None, compare=False)  # features -> class scores (B, K), or None
    batch_size: int = field(default=100, compare=False)

    @torch.no_grad()
    @full_float32()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        "Features, float64 (N, D) on the CPU, of uint8 images (N, C, H, W)."
        device = make_accelerator().device
        net, features = self.network.to(device).eval(), []
        for batch in progress(images.split(self.batch_size), self.name, "batch"):
            features.append(net(to_model(batch.to(device))).cpu().double())
        features = torch.cat(features)
        if not features.isfinite().all():
            raise ValueError(f"The features of {self.name} hold NaN or infinity; look at the images.")
        return features


# %%
#| hide
class Settings(nn.Module):
    "Its features say how exact a GPU would be."

    def forward(self, x):
        exact = [not torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision() == "highest"]
        return torch.tensor([exact]).float().expand(len(x), 2)


before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
torch.set_float32_matmul_precision("high")
assert Extractor("", "", Settings())(torch.zeros(3, 1, 2, 2, dtype=torch.uint8)).all()
assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (before[0], "high")
torch.set_float32_matmul_precision(before[1])


# %% [markdown]
# Two hashes: which images, and which network?

# %%
#| export
def pixel_hash(images: torch.Tensor, also: str = "") -> str:
    "16 hex digits of the SHA-256 of uint8 images and a text; a memory map is read piece by piece."
    digest = hashlib.sha256(f"{tuple(images.shape)}{also}".encode())
    for batch in images.split(10_000):
        digest.update(batch.contiguous().numpy())
    return digest.hexdigest()[:16]


def weights_hash(network: nn.Module) -> str:
    "12 hex digits of the SHA-256 of all parameters and buffers, in the order of their names."
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


# %% [markdown]
# The features of a test set are needed again and again. They are kept on disk, in the cache, under a hash of the pixels and of the network: what is found there is right, whatever the data set is called.

# %%
#| export
def cached_features(extractor: Extractor, images: torch.Tensor) -> torch.Tensor:
    "`extractor(images)`, computed once for the same pixels and the same network and then kept on disk."
    path = cache_dir("features") / f"{extractor.hash}-{pixel_hash(images)}.safetensors"
    if not path.exists():
        with cache_lock(path):
            if not path.exists():  # nobody was faster
                with atomic(path) as temporary:
                    save_file({"features": extractor(images).float()}, temporary)
    return load_file(path)["features"].double()


# %% [markdown]
# ## LeNet: features for digits
#
# Inception, the network behind FID, was trained on photographs of 1,000 kinds of things, 299 pixels wide. A digit of 28x28 pixels (MNIST's; those of `digits` have 16x16), blown up and copied into three equal channels, is nothing it has ever seen, and its weights are a download of 90 MB. For digits we use a network that knows digits: after LeNet-5 ([LeCun et al. 1998](https://doi.org/10.1109/5.726791)), with ReLU and max-pooling. Its features are the 84 numbers before the last activation. The Frechet distance in them is called **`fd_lenet`** and never FID. The weights for `digits` and `mnist` come with the package, so everyone gets the same number.

# %%
#| export
class LeNet(nn.Module):
    "After LeNet-5 (LeCun et al. 1998), with ReLU and max-pooling; for square images of 4 n pixels a side."

    def __init__(self, channels: int, size: int, classes: int):
        super().__init__()
        if size % 4:
            twice = "LeNet halves images twice"
            raise ValueError(f"size: {twice}, and {size} pixels cannot be; choose a multiple of 4.")
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5, padding=2)
        self.fc1 = nn.Linear(16 * (size // 4) ** 2, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:  # (B, C, H, W) -> (B, 84)
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, C, H, W) -> class scores (B, classes)
        return self.fc3(F.relu(self.features(x)))


# %% [markdown]
# Training is a plain loop: cross-entropy, AdamW, batches of 64, a learning rate that falls to zero along a cosine. Each batch is shifted at random by a pixel at most, which makes it harder to learn 1,297 digits by heart. (It gets all of them right all the same.)

# %%
#| export
NO_LABELS = (
    "fd_lenet needs a classifier, and a data set without labels cannot train one; "
    "sort the images into class folders, or measure fd_photo (metrics), which needs no labels."
)


# %%
#| export
@torch.enable_grad()  # also where the caller asks for a distance and for no gradients
def train_lenet(
    data: ImageSet,  # with labels
    updates: int = 4000,
    seed: int = 0,
) -> LeNet:
    "A LeNet-5 trained to tell the classes of `data` apart. ValueError without labels."
    if data.labels is None:
        raise ValueError(NO_LABELS)
    device = make_accelerator().device
    seed_everything(seed, 2)
    net = LeNet(data.images.shape[1], data.images.shape[-1], len(data.classes)).to(device)
    opt = torch.optim.AdamW(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, updates)
    batches = _shifted_batches(data, updates, seed, device)
    for _, (x, y) in zip(progress(range(updates), "training LeNet", "update"), batches, strict=False):
        loss = F.cross_entropy(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        schedule.step()
    return net.eval()


# %%
#| export
def _shifted_batches(
    data: ImageSet, updates: int, seed: int, device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    "Batches of 64 images and labels, `updates` or a few more, each moved by a pixel at most."
    for epoch in range(math.ceil(updates / math.ceil(len(data.images) / 64))):
        for x, y in epoch_batches(data, 64, seed, epoch, device):
            dy, dx = torch.randint(-1, 2, (2,)).tolist()
            yield x.roll((dy, dx), (2, 3)), y


# %% [markdown]
# How good is it?

# %%
#| export
@torch.no_grad()
def accuracy(net: LeNet, data: ImageSet) -> float:
    "The share of images whose class `net` gets right."
    device = net.fc3.weight.device
    scores = torch.cat([net(to_model(batch).to(device)).cpu() for batch in data.images.split(500)])
    return (scores.argmax(1) == data.labels).double().mean().item()


# %% [markdown]
# `load_lenet` finds the classifier of a data set: in the package, or in the cache, or it trains one now and puts it there. Several processes may ask at the same time; a lock lets one of them train.

# %%
#| export
def save_lenet(net: LeNet, path: Path, **about) -> None:
    "Write its weights as safetensors, with what is known about it."
    with atomic(path) as temporary:
        state = {k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}
        save_file(state, temporary, {"about": json.dumps(about)})


# %%
#| export
def _train_lenet_once(dataset: str, size: int) -> Path:
    "The cached classifier of a data set that none is shipped for; a hash of its images is in the name."
    train, test = (load_dataset(dataset, split, size) for split in ("train", "test"))
    if train.labels is None:
        raise ValueError(NO_LABELS)
    digest = pixel_hash(train.images, repr((train.labels.tolist(), train.classes)))
    path = cache_dir("lenet") / f"lenet-{size}-{digest}.safetensors"
    if not path.exists():
        with cache_lock(path):
            if not path.exists():  # nobody was faster
                net = train_lenet(train)
                save_lenet(net, path, dataset=dataset, size=size, accuracy=accuracy(net, test))
    return path


# %%
#| export
@functools.cache
def load_lenet(dataset: str, size: int | None = None) -> tuple[LeNet, dict]:
    "The classifier for a data set at a size, and what is known about it (data set, size, test accuracy)."
    size = size or load_dataset(dataset).images.shape[-1]
    path = _shipped(dataset, size)
    if not path.exists():
        path = _train_lenet_once(dataset, size)
    with safe_open(path, "pt") as file:
        about, state = json.loads(file.metadata()["about"]), {k: file.get_tensor(k) for k in file.keys()}
    channels, classes = state["conv1.weight"].shape[1], len(state["fc3.bias"])
    net = LeNet(channels, size, classes)
    net.load_state_dict(state)
    return net.eval(), about


def _shipped(dataset: str, size: int) -> Path:
    "Where the package keeps the weights for a data set, if it does."
    return Path(str(files("genlab"))) / "weights" / f"lenet-{dataset}-{size}.safetensors"


# %% [markdown]
# The extractor is LeNet up to its features; the head is its last layer. (They are copies, because the two may be on different devices.)

# %%
#| export
class LeNetFeatures(nn.Module):
    "LeNet up to its features; grey images are shown to a LeNet of colours in three equal channels."

    def __init__(self, net: LeNet):
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, C, H, W) -> (B, 84)
        channels = self.net.conv1.in_channels
        if x.shape[1] not in (1, channels):
            raise ValueError(
                f"This LeNet has learned from grey images and cannot look at images in {x.shape[1]} channels."
            )
        return self.net.features(x.expand(-1, channels, -1, -1))


# %%
#| export
def lenet_extractor(dataset: str, size: int | None = None) -> Extractor:
    "LeNet features for a data set, 84 numbers an image."
    net, about = load_lenet(dataset, size)
    name = f"LeNet-5 ({dataset}, {about['size']}x{about['size']})"
    head = nn.Sequential(nn.ReLU(), copy.deepcopy(net.fc3))
    return Extractor(name, weights_hash(net), LeNetFeatures(copy.deepcopy(net)), head, 500)


EXTRACTORS["lenet"] = lenet_extractor

# %%
#| hide
if train_classifiers:
    for name in ("digits", "mnist"):
        train, test = load_dataset(name, "train"), load_dataset(name, "test")
        net, size = train_lenet(train), train.images.shape[-1]
        save_lenet(net, _shipped(name, size), dataset=name, size=size, accuracy=accuracy(net, test))
        print(name, f"{accuracy(net, test):.2%} right, hash", weights_hash(net))

# %% [markdown]
# How good is the classifier of this notebook's data set?

# %%
lenet, about = load_lenet(dataset)
test = load_dataset(dataset, "test")
print(f"{about['accuracy']:.1%} of the {len(test.images):,} test images right; hash {weights_hash(lenet)}")
assert abs(accuracy(lenet, test) - about["accuracy"]) < 0.005 and about["accuracy"] > 0.95

# %%
#| hide
layers = [25 * 6 + 6, 6 * 25 * 16 + 16, 256 * 120 + 120, 120 * 84 + 84, 84 * 10 + 10]
assert sum(p.numel() for p in load_lenet("digits")[0].parameters()) == sum(layers)
with pytest.raises(ValueError, match="without labels"):
    train_lenet(test._replace(labels=None))
with torch.no_grad():  # a first use inside of a measurement
    assert train_lenet(test, updates=2, seed=0).fc3.bias.isfinite().all()


# %% [markdown]
# What does it get wrong? Above each test image: what it is, and what LeNet says.

# %%
def plot_mistakes(dataset, most=10):
    "Test images that LeNet gets wrong."
    test, net = load_dataset(dataset, "test"), load_lenet(dataset)[0]
    with torch.no_grad():
        verdict = torch.cat([net(to_model(batch)).argmax(1) for batch in test.images.split(1000)])
    wrong = (verdict != test.labels).nonzero().flatten()[:most]
    fig = plt.figure(figsize=(0.8 * len(wrong), 1.1), layout="constrained")
    for ax, i in zip(fig.subplots(1, len(wrong), squeeze=False)[0], wrong.tolist(), strict=True):
        show_grid(test.images[i : i + 1], ncol=1, title=f"{test.labels[i]}, {verdict[i]}?", ax=ax)


plot_mistakes(dataset)

# %% [markdown]
# The same for MNIST, in 28x28 pixels (the first run downloads it):

# %%
#| eval: false
plot_mistakes("mnist")

# %% [markdown]
# ### Are features better than pixels?
#
# How far is a test image from itself, moved by a pixel, and from another one of its class? In units of the mean distance to images of other classes:

# %%
pixels = lambda images: images.flatten(1).double()
extractor = lenet_extractor(dataset)
same_class = test.labels[:, None] == test.labels


def typical_distances(view):
    "Mean distances in some features, those to other classes taken as 1."
    x, moved = view(test.images), view(test.images.roll(1, 3))
    all_pairs = torch.cdist(x, x)
    near = all_pairs[same_class & ~torch.eye(len(x), dtype=torch.bool)].mean()
    to_others = all_pairs[~same_class].mean()
    itself = (x - moved).norm(dim=1).mean()
    return {
        "itself, moved by a pixel": itself / to_others,
        "its class": near / to_others,
        "other classes": 1.0,
    }


table = pd.DataFrame({"pixels": typical_distances(pixels), "features of LeNet": typical_distances(extractor)})
assert table.loc["itself, moved by a pixel", "features of LeNet"] < 0.3
table.T.astype(float).round(2)

# %% [markdown]
# In pixels, the same digit one pixel further is as far away as another digit of its class; in LeNet's features it is near. Here are the two directions in which the features of the test images vary most (their principal components), a colour a class:

# %%
plane = PCA(2).fit_transform(extractor(test.images))
fig, ax = plt.subplots(figsize=(4.2, 3.4), layout="constrained")
for label, title in enumerate(test.classes):
    shown = plane[test.labels == label]
    ax.scatter(*shown.T, s=6, color=f"C{label}")
    ax.text(
        *shown.mean(0), title, ha="center", va="center", bbox={"fc": "white", "ec": f"C{label}", "pad": 1.5}
    )
ax.set(xticks=[], yticks=[]);


# %% [markdown]
# ## Inception: features for `fid`
#
# What papers call FID is the distance in the features of one particular Inception-v3, with the weights that the original authors used. [pytorch-fid](https://github.com/mseitzer/pytorch-fid) carries the network; we use it as it is, so `fid` has the same value as its command. Where the weights can neither be found in torch's cache nor downloaded, `fid` is a dash with a reason. It is never another number under that name.

# %%
#| export
class _Inception(nn.Module):
    "pytorch-fid's Inception-v3 on images in [-1, 1], grey ones in three equal channels; 2,048 features."

    def __init__(self):
        super().__init__()
        peer = pytorch_fid.inception
        self.head = nn.Linear(2048, 1008, bias=False)  # as the Inception Score has always been computed

        def load(*args, **kwargs):  # weights_only: a pickle that may hold arrays and nothing that runs
            state = load_state_dict_from_url(*args, **kwargs, weights_only=True)
            self.head.weight = nn.Parameter(state["fc.weight"])
            return state

        original, peer.load_state_dict_from_url = peer.load_state_dict_from_url, load
        try:
            self.net = peer.InceptionV3([peer.InceptionV3.BLOCK_INDEX_BY_DIM[2048]])
        finally:
            peer.load_state_dict_from_url = original

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, 1 or 3, H, W) -> (B, 2048)
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        return self.net((x + 1) / 2)[0].flatten(1)


# %% [markdown]
# Loaded once, or not at all:

# %%
#| export
@functools.cache
def inception_extractor() -> Extractor:
    "The features of FID. RuntimeError, with the place to put them, if the weights cannot be had."
    try:
        with contextlib.redirect_stdout(sys.stderr):  # a download is announced
            net = _Inception()
    except OSError as problem:
        place = Path(torch.hub.get_dir(), "checkpoints", Path(pytorch_fid.inception.FID_WEIGHTS_URL).name)
        raise RuntimeError(
            f"Inception's weights are not at {place} and could not be downloaded ({problem})"
        ) from None
    return Extractor("Inception-v3 (pytorch-fid)", weights_hash(net.net), net, copy.deepcopy(net.head), 50)


EXTRACTORS["inception"] = lambda dataset, size: inception_extractor()

# %% [markdown]
# ## An extractor of your own
#
# Any network will do that maps images in [-1, 1] to vectors. This one has random weights, and yet its features are not useless: random convolutions keep neighbours near. `genlab.fid.evaluate` takes it as `extractor=`; with `genlab.measures.add_extractor` it gets a name for configurations and for the command line ([05c_measures](05c_measures.ipynb#An-extractor-with-a-name)).

# %%
torch.manual_seed(0)
first, second = nn.Conv2d(test.images.shape[1], 32, 5, stride=2), nn.Conv2d(32, 64, 5, stride=2)
network = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
untrained = Extractor("untrained", weights_hash(network), network)
features = untrained(test.images)
assert features.shape == (len(test.images), 256)

# %%
#| hide
assert untrained == Extractor("untrained", weights_hash(network), nn.Identity()), "the same name and hash"
digits, images = lenet_extractor("digits"), load_dataset("digits", "test").images
assert not {id(p) for p in digits.network.parameters()} & {id(p) for p in digits.head.parameters()}
broken = dataclasses.replace(digits, network=nn.Sequential(digits.network, nn.Threshold(1e9, torch.nan)))
with pytest.raises(ValueError, match="hold NaN or infinity"):
    broken(images[:10])
with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
    patch.setenv("GENLAB_CACHE", home)
    first = cached_features(digits, images[:20])
    assert torch.equal(first, digits(images[:20])), "kept as they are"
    never_called = dataclasses.replace(digits, network=None)  # would fail if it were called
    assert torch.equal(cached_features(never_called, images[:20]), first)
    assert torch.equal(cached_features(digits, images[:21]), digits(images[:21])), "other images"
    with pytest.MonkeyPatch.context() as inner:  # made by another while this one waits
        while_waiting = lambda path: save_file({"features": first.float()}, path) or contextlib.nullcontext()
        inner.setitem(globals(), "cache_lock", while_waiting)
        assert torch.equal(cached_features(never_called, images[:22]), first), "not computed twice"


# %% [markdown]
# ## What may come in
#
# Extractors look at bytes, and samples come from anywhere. In an array of floats, what is black and what is white? Values below 0 and none above 1 mean -1 and 1, values up to 255 mean 0 and 255. All between 0 and 1 may mean either 0 and 1 or bright images from -1 to 1, so that has to be said. A thousandth too much is a rounding error and cut off.

# %%
#| export
def _black_and_white(low: float, high: float) -> tuple[float, float] | None:
    "What floats from `low` to `high` call black and white, if it cannot be mistaken."
    if -1.001 <= low < -0.001 and high <= 1.001:
        return -1.0, 1.0
    return (0.0, 255.0) if low >= -0.1 and 2 < high <= 255.1 else None


# %%
#| export
def as_bytes(
    images: torch.Tensor,  # (N, 1 or 3, height, width)
    what: str,  # their name, for errors
    limits: tuple[float, float] | None = None,  # the values of black and white; None: what cannot be mistaken
) -> torch.Tensor:
    "Images as uint8. ValueError for another shape, or if black and white are not known."
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"{what}: images have the shape (N, 1 or 3, height, width), and these {tuple(images.shape)}."
        )
    if not images.numel():
        return images.byte()
    low, high = images.min().item(), images.max().item()
    if images.is_floating_point():
        images = _scaled(images, *(limits or _black_and_white(low, high) or (0.0, 0.0)))
    elif low >= 0 and high <= 255:
        images = images.byte()
    if images.dtype != torch.uint8:
        these = f"these are {images.dtype} from {low:g} to {high:g}"
        raise ValueError(f"{what}: {_known_numbers(limits)}; {these} {ADVICE}.")
    if images.max() - images.min() < 16:
        _warn_of_one_shade(images, what)
    return images


# %% [markdown]
# Its parts: bytes if the numbers fit, and what is said if not.

# %%
#| export
ADVICE = "(on the command line, --range=0,1 tells what black and white are)"


def _scaled(images: torch.Tensor, black: float, white: float) -> torch.Tensor:
    "Floats as bytes, or as they are if black is not below white or some are outside."
    excess = 0.001 * (white - black)
    if black < white and images.min() >= black - excess and images.max() <= white + excess:
        return to_image(2 * (images - black) / (white - black) - 1)
    return images


def _known_numbers(limits: tuple[float, float] | None) -> str:
    "Which numbers can be images, for an error."
    black, white = limits or (-1, 1)
    return f"images are uint8, or floats from {black:g} (black) to {white:g}"


# %%
#| export
def _warn_of_one_shade(images: torch.Tensor, what: str) -> None:
    "Say that nearly nothing can be seen on these images."
    used = f"{len(images.unique())} of 256 values, {images.min()} to {images.max()}"
    warnings.warn(
        f"{what}: the images use {used}, and are all but one shade; is white another value?", stacklevel=4
    )


# %%
#| hide
grey = load_dataset("digits", "test").images[:50]
for same in (to_model(grey), 1.0005 * to_model(grey), grey.float(), grey.long()):
    assert torch.equal(as_bytes(same, "same"), grey), "other ways to say the same images"
assert torch.equal(as_bytes(grey / 255, "0 to 1", (0.0, 1.0)), grey)
floats = r"floats from -1 \(black\) to 1; these are torch.float32 from "
for images, sentence in [
    (grey.float() * 2, floats + "0 to 510"),
    (grey / 255, floats + "0 to 1"),
    (grey[:, 0], r"images have the shape \(N, 1 or 3, height, width\), and these \(50, 16, 16\)"),
    (to_model(grey) * torch.nan, "from nan to nan"),
]:
    with pytest.raises(ValueError, match=sentence):
        as_bytes(images, "these")
with pytest.warns(UserWarning, match="these: the images use 2 of 256 values, 0 to 1"):
    as_bytes(grey // 200, "these")

# %% [markdown]
# ## What to remember
#
# - Features are numbers in which alike things are near. Which network gives them is part of every number computed from them.
# - A name and a hash of the weights say which network it was.
# - Images are bytes before anything is measured, and what is black and what is white has to be known.
