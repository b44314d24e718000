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
# # Runs
#
# > A training run on disk: its configuration, history, checkpoint and results, so that nothing is lost and nothing is trained twice
#
# The student reports behind this course were made by hand: report 000 looked at its GAN after 1, 5, 20 and 50 epochs, and pasted pictures into a document. Much of the trouble of such work is bookkeeping: which picture belongs to which setting, what was the seed, and what now, if the notebook crashes at epoch 43?
#
# Here the bookkeeping is done once. A **run** is a model, a data set, hyperparameters and a seed, but *not* a number of epochs. It has a folder. Asking for 5 epochs and then for 20 continues where the first stopped, and the result is the same, bit for bit on the CPU, as training 20 at once. That also holds after a crash at any moment.

# %%
#| default_exp runs

# %% tags=["parameters"]
epochs = 3  # how long the small example at the end trains

# %%
#| export
import ast
import copy
import functools
import hashlib
import json
import math
import os
import platform
import random
import re
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import psutil
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from fastcore.basics import patch
from fastcore.imports import ipython_shell
from filelock import FileLock, Timeout
from PIL import Image
from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

import genlab
from genlab.data import (
    BUILT_IN,
    ImageSet,
    check_dataset,
    derive_seed,
    epoch_batches,
    fingerprint,
    image_grid,
    load_dataset,
    take,
)
from genlab.plug import MEASURES, did_you_mean, key_of

# %%
#| hide
import tempfile

import pytest

from genlab.data import show_grid, to_image, to_model


# %% [markdown]
# ## Parameters
#
# The notebooks of this course have a cell of parameters at their top. `papermill nbs/01_gan.ipynb out.ipynb -p epochs 20` runs the notebook with other values: it puts a cell with `epochs = 20` below that cell. It does so with any name; `-p epoch 20` would train the 60 epochs that stand in the notebook. So each notebook compares the two cells before it does anything else. (Both stand in the kernel's history, and papermill's begins with the comment `# Parameters`.) In Jupyter and in tests there is no such cell, and nothing happens.

# %%
#| export
def _assigned(cell: str) -> list[str]:
    "The names that a cell gives values to."
    assignments = [line for line in ast.parse(cell).body if isinstance(line, ast.Assign)]
    return [target.id for line in assignments for target in line.targets]


def check_parameters() -> None:
    "ValueError, one sentence, if papermill has set a name in this notebook that its parameters lack."
    shell = ipython_shell()
    cells = shell.user_ns.get("In", []) if shell else []
    injected = [i for i, cell in enumerate(cells) if cell.startswith("# Parameters\n")]
    if not injected:
        return
    known = _assigned(cells[injected[0] - 1])
    for name in _assigned(cells[injected[-1]]):
        if name not in known:
            raise ValueError(f"{name}: this notebook has no such parameter; {did_you_mean(name, known)}")


# %%
check_parameters()


# %% [markdown]
# ## What defines a run
#
# A configuration is a class with one typed field a line. It extends pydantic's `BaseModel`, which checks the values on construction, so that `batch_size=0` fails in the first second and not after the data set was loaded. What pydantic says about a wrong value fills several lines; one sentence is enough.

# %%
#| export
def _sentence(error: dict, fields: Iterable[str]) -> str:
    "One error of pydantic, in one sentence."
    if error["type"] == "value_error":  # one of our own, complete as it is
        return str(error["ctx"]["error"])
    if error["type"] == "extra_forbidden":
        return f"{error['loc'][0]}: there is no such parameter; {did_you_mean(error['loc'][0], fields)}"
    where, what = ".".join(map(str, error["loc"])), error["msg"].removeprefix("Input ")
    if error["type"] == "string_pattern_mismatch":  # there is one pattern, that of names
        what = "should be one or more of letters, digits, '.', '-' and '_'"
    return f"{where}: {error['input']!r} {what[0].lower() + what[1:]}"


# %% [markdown]
# This is how every configuration of the course says what is wrong:

# %%
#| export
class Checked(BaseModel):
    "A configuration. A wrong value raises a ValueError of one sentence that names the field."

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def __init__(self, **values):
        try:
            super().__init__(**values)
        except ValidationError as error:
            sentences = [_sentence(e, type(self).model_fields) for e in error.errors()]
            raise ValueError("; ".join(sentences)) from None

    @field_validator("*", mode="wrap")
    @classmethod
    def _truth_is_no_number(cls, value, check: Callable, info):
        checked = check(value)
        if isinstance(value, bool) and not isinstance(checked, bool):
            raise ValueError(f"{info.field_name}: {value} is no number")
        return checked


# %% [markdown]
# Three kinds of values have rules of their own. The name of a run becomes the name of a folder. A data set must be known. And a `subset` is a count if it is a whole number from 1 on, however it is written: `100` and `100.0` are the same run. A float below 1 is a share, so `0.1` is a tenth, and `1.0` is the whole set, as if it had been left out. One image is `1`.

# %%
#| export
def _short(name: str) -> str:
    if len(name.encode()) > 200:
        what = f"has {len(name)} letters, which is too long for a folder"
        raise ValueError(f"name: {name[:20]}... {what}; use at most 200")
    return name


def _count_or_share(subset: int | float | None) -> int | float | None:
    "One value for one meaning, as the hash needs it."
    whole = isinstance(subset, int) or (subset is not None and subset.is_integer())
    if subset is not None and not (0 < subset < 1 or (whole and subset >= 1)):
        raise ValueError(
            f"subset: {subset} is neither a count of images from 1 on nor a share between 0 and 1"
        )
    if isinstance(subset, float) and whole:
        return None if subset == 1 else int(subset)
    return subset


# %%
#| export
Dataset = Annotated[str, AfterValidator(check_dataset)]
Subset = Annotated[int | Annotated[float, AllowInfNan()] | None, AfterValidator(_count_or_share)]


# %% [markdown]
# Every model of the course extends `RunConfig` with its own hyperparameters. The last four fields say how far to train and how to look at the result. They are not part of the run's identity, so they are left out of the hash that names its folder.

# %%
#| export
class RunConfig(Checked):
    "What every run has."

    log_line: ClassVar[str] = ""  # how a row of the history is printed, as a format string
    sample_fields: ClassVar[tuple[str, ...]] = ("n_samples",)  # they say which samples to draw
    since: ClassVar[dict] = {}  # fields that came later, and the value that means what runs did without them

    model: str  # which notebook's model this is: gan, ddpm, vae
    name: str = Field("default", pattern=r"^[\w.-]+$")  # a word for people; the folder starts with it
    dataset: Dataset = "digits"  # see genlab.data.load_dataset
    size: PositiveInt | None = None  # pixels a side; None: the data set's own
    subset: Subset = None  # train on so many images, or on a share, drawn with the seed; None: all
    batch_size: PositiveInt = 128  # images in an update
    seed: int = Field(0, ge=0)  # all randomness follows from it
    precision: Literal["no", "bf16"] = "no"  # "bf16": networks run under bfloat16 autocast
    ema: float = Field(0.0, ge=0, lt=1)  # decay of the weights' moving average; 0: none

    epochs: PositiveInt = Field(1, exclude=True)  # passes over the training set
    snapshots: list[PositiveInt] = Field([], exclude=True)  # evaluate after these epoch counts, too
    n_samples: int | None = Field(None, ge=2, exclude=True)  # None: as many as there are test images
    metrics: list[key_of(MEASURES)] = Field(["fd_lenet"], exclude=True)  # see genlab.fid

    _name = field_validator("name")(_short)  # also of subclasses with another default


# %% [markdown]
# What follows from a configuration: the hash that identifies the run, and the images that it learns from. A field that is added to a class one day changes no hash where it has the value that stands for how things were done before (`since`), so older runs are found again, even if the default is another one. (The decorator `@patch` makes a function a method of the class of its `self`, so that a class can grow over several cells.)

# %%
#| export
@patch(as_prop=True)
def hash(self: RunConfig) -> str:
    "8 hex digits, the same on every machine. (A folder of images counts by its path.)"
    as_before = {key for key, value in self.since.items() if getattr(self, key) == value}
    return hashlib.sha256(self.model_dump_json(exclude=as_before).encode()).hexdigest()[:8]


@patch
def check_own_name(self: RunConfig) -> None:
    "ValueError if a run with networks of one's own, which its folder does not know, is called as others are."
    if self.name == type(self).model_fields["name"].default:
        problem = f"a network of your own needs a name of its own; other runs are called {self.name!r}"
        raise ValueError(f"name: {problem}.")


@patch
def training_set(self: RunConfig) -> ImageSet:
    "The images that this run learns from. ValueError if it is to draw a class of which there are none."
    data = take(load_dataset(self.dataset, "train", self.size), self.subset, self.seed)
    if getattr(self, "conditional", False) and data.labels is not None:
        counts = torch.bincount(data.labels, minlength=len(data.classes))
        absent = ", ".join([name for name, n in zip(data.classes, counts, strict=True) if not n][:9])
        if absent:
            what = f"there is no training image of {absent}, so nobody could learn to draw one"
            raise ValueError(f"conditional: {what}.")
    return data


# %%
config = RunConfig(model="toy", epochs=5)
assert config.hash == RunConfig(model="toy", epochs=50, n_samples=7).hash, (
    "how long does not change which run"
)
assert config.hash != RunConfig(model="toy", seed=1).hash


class Grown(RunConfig):
    since: ClassVar[dict] = {"momentum": 0.0}
    momentum: float = 0.9


assert Grown(model="toy", momentum=0.0).hash == config.hash != Grown(model="toy").hash
for wrong, sentence in [
    (dict(epochs=0), "epochs: 0 should be greater than 0"),
    (dict(epochs=-3), "epochs: -3 should be greater than 0"),
    (dict(epochs="ten"), "epochs: 'ten' should be a valid integer"),
    (dict(dataset="minst"), "dataset: 'minst' is unknown"),
    (dict(subset=0), "subset: 0 is neither a count of images from 1 on nor a share"),
    (dict(subset=2.5), "subset: 2.5 is neither"),
    (dict(seed=True), "seed: True is no number"),
    (dict(ema=float("nan")), "ema: nan should be a finite number"),
    (dict(name="a" * 300), "name: aaaaaaaaaaaaaaaaaaaa... has 300 letters, which is too long for a folder"),
    (dict(epoch=5), r"epoch: there is no such parameter; did you mean epochs\?"),
]:
    with pytest.raises(ValueError, match=sentence) as error:
        RunConfig(model="toy", **wrong)
    print(error.value)


# %% [markdown]
# ### From the cell of parameters
#
# A notebook that trains has the fields of its configuration, all but `model`, as names in its cell of parameters. They are written there once, with the values that `papermill` may replace. Right below the class, one line makes the configuration of them:
#
#     config = GANConfig.of(globals())
#
# Later cells may use a name such as `epochs` or `size` for something else. So `of` is called there and nowhere else, and what follows reads `config.epochs`.

# %%
#| export
@patch(cls_method=True)
def of(cls: RunConfig, names: Mapping):
    "The configuration with the values of these names, which are those of fields; `model` is not looked up."
    return cls(**{key: names[key] for key in cls.model_fields if key in names and key != "model"})


# %%
class SmallConfig(RunConfig):
    model: Literal["small"] = "small"


seed = 3  # as if it stood in the cell of parameters, where `epochs` does
config = SmallConfig.of(globals())
assert (config.model, config.seed, config.epochs, config.batch_size) == ("small", 3, epochs, 128)

# %%
#| hide
configs = {subset: RunConfig(model="toy", subset=subset) for subset in (None, 100, 100.0, 0.1)}
assert configs[100].hash == configs[100.0].hash != configs[None].hash
assert len(configs[0.1].training_set().images) == round(0.1 * 1297)
one, whole = (RunConfig(model="toy", subset=subset) for subset in (1, 1.0))
assert whole.hash == configs[None].hash != one.hash


# %% [markdown]
# ## Randomness
#
# Training is random: initial weights, dropout, and *latents*, the random numbers that a generator makes an image of. To resume *exactly*, a program can store the state of every random generator in its checkpoint, and many do. There is a simpler way: reseed before each update with a number derived from `(seed, step)`. Then there is no state to store, and update 1,234 uses the same random numbers whether training came there in one go or in five.

# %%
#| export
def seed_everything(*key: int) -> None:
    "Seed Python, NumPy and torch (all devices) from one or several integers."
    seed = derive_seed(*key)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def latents(
    n: int,  # how many
    shape: tuple[int, ...],  # of one
    seed: int,
    start: int = 0,  # number of the first
) -> torch.Tensor:  # float32 (n, *shape), on the CPU
    "Standard normal noise for samples `start` to `start + n`, each from its own seed: the same in any batch."
    generator, z = torch.Generator(), torch.empty(n, *shape)
    for i in range(n):
        z[i].normal_(generator=generator.manual_seed(derive_seed(seed, start + i)))
    return z


# %%
seed_everything(3, 14)
a = torch.randn(5), np.random.rand(5)
seed_everything(3, 14)
b = torch.randn(5), np.random.rand(5)
assert torch.equal(a[0], b[0]) and np.array_equal(a[1], b[1])

z = latents(1000, (10,), seed=0)
assert torch.equal(z[400:500], latents(100, (10,), seed=0, start=400)), "the batch does not matter"
assert abs(z.mean()) < 0.03 and abs(z.std() - 1) < 0.03  # 10,000 numbers: standard errors 0.01 and 0.007


# %% [markdown]
# ## Device and precision
#
# Hugging Face Accelerate picks the device, moves networks there and, with `precision="bf16"`, wraps their forward pass in bfloat16 autocast (16-bit numbers where they suffice, which is faster on a GPU). The training loop stays as it is.

# %%
#| export
def make_accelerator(precision: str = "no") -> Accelerator:
    "The best device there is, in the precision of the run. May be called again with another precision."
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise RuntimeError("A run trains on one device so far; start it without `accelerate launch`.")
    AcceleratorState._reset_state()  # else a notebook could not train one run in bf16 and the next in float32
    return Accelerator(mixed_precision=precision)


def device_name(device: torch.device | str) -> str:
    "What the device is called, for tables of times, such as `Intel(R) Xeon(R) Processor, 2 threads`."
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    model, threads = models[0] if models else platform.machine(), torch.get_num_threads()
    return f"{model}, {threads} threads" if threads > 1 else f"{model}, 1 thread"


# %%
net = make_accelerator("bf16").prepare(nn.Linear(2, 1))
assert net(torch.ones(1, 2, device=net.weight.device)).dtype == torch.float32, "results come back as float32"
make_accelerator().device, device_name("cpu")


# %% [markdown]
# ## Does it fit?
#
# A network that is too wide would fill the memory, and often the computer stands still before any error is raised. On PyTorch's device `meta` a network has shapes and no numbers, so it costs nothing. We make each network there first and count. Training with Adam needs four numbers for each parameter: the weight, its gradient, and two moments. (Activations come on top; the sum is what is needed *at least*.)

# %%
#| export
def memory_to_train(make: Callable, config: RunConfig, data: ImageSet) -> int:
    "Bytes that a run needs at least, for training the networks `make(config, data)` and for its samples."
    try:
        with torch.device("meta"):
            nets = make(config, data)
    except RuntimeError as problem:
        if "overflow" not in str(problem):
            raise
        return 2**63  # torch does not count further
    nets = nets if isinstance(nets, tuple) else (nets,)
    weights = [p for net in nets for p in net.parameters()]
    samples = (config.n_samples or 0) * data.images[0].nbytes
    return sum(4 * p.nbytes if p.requires_grad else p.nbytes for p in weights) + samples


# %% [markdown]
# If it does not fit, the field is named whose default would make the run smallest.

# %%
#| export
def _largest_field(make: Callable, config: RunConfig, data: ImageSet) -> str:
    "The field whose default would make the run smallest."
    fields = type(config).model_fields.items()
    defaults = {key: field.default for key, field in fields if isinstance(getattr(config, key), int | list)}
    changed = {key: config.model_copy(update={key: value}) for key, value in defaults.items()}
    needed = {key: memory_to_train(make, other, data) for key, other in changed.items()}
    return min(needed, key=needed.get)


# %%
#| export
def fits_memory(make: Callable) -> Callable:
    """Decorator of a function (config, data) -> networks.

    Before they are made, ValueError if training them takes more memory than there is.
    """

    @functools.wraps(make)
    def checked(config: RunConfig, data: ImageSet):
        there = torch.cuda.mem_get_info()[1] if torch.cuda.is_available() else psutil.virtual_memory().total
        needed = memory_to_train(make, config, data)
        if needed > there:
            key = _largest_field(make, config, data)
            what = f"{needed / 1e9:,.0f} GB of memory (weights, gradients, Adam's two moments, samples)"
            raise ValueError(
                f"{key}: {getattr(config, key)} takes at least {what}, and there are {there / 1e9:.0f} GB."
            )
        return make(config, data)

    return checked


# %%
class WideConfig(RunConfig):
    model: Literal["wide"] = "wide"
    width: PositiveInt = 4


@fits_memory
def make_wide(config, data):
    return nn.Linear(data.images[0].numel(), config.width)


digits = load_dataset("digits")
assert make_wide(WideConfig(), digits).weight.device.type == "cpu"
in_weights, in_samples = 4 * (256 * 4 + 4), 10 * 256  # bytes: float32 has 4, a pixel 1
assert memory_to_train(make_wide, WideConfig(n_samples=10), digits) == 4 * in_weights + in_samples
for wrong in (dict(width=10**12), dict(width=10**18), dict(n_samples=10**12)):
    key = next(iter(wrong))
    with pytest.raises(ValueError, match=f"{key}: 10+ takes at least [0-9,]+ GB of memory") as error:
        make_wide(WideConfig(**wrong), digits)
    print(error.value)


# %% [markdown]
# ## What does an image cost?
#
# Seconds belong to a machine; parameters and floating-point operations do not. PyTorch counts the operations of whatever runs under its `FlopCounterMode` (those of convolutions, matrix products and attention, a multiplication and an addition as two). One update on the device `meta` is enough, and it computes nothing.

# %%
#| export
def count_costs(
    update: Callable, config: RunConfig, data: ImageSet, *nets: nn.Module, updates: int = 1
) -> dict:  # parameters, flops_per_image
    """Parameters of the networks, and operations for each training image.

    `update(*nets, images, labels)` makes so many `updates` of copies of the networks on the device `meta`."""
    n, copies = config.batch_size, [copy.deepcopy(net).to("meta") for net in nets]
    x, y = (torch.empty(n, *shape, device="meta") for shape in (data.images.shape[1:], ()))
    try:
        with FlopCounterMode(display=False) as counter:
            update(*copies, x, y.long())
        flops = counter.get_total_flops() / n / updates
    except (RuntimeError, NotImplementedError):  # a network of somebody's own that looks at numbers
        flops = None
    return {"parameters": sum(p.numel() for net in nets for p in net.parameters()), "flops_per_image": flops}


def peak_memory(device: torch.device | str) -> int:
    "Bytes at most so far: on a GPU of tensors, else of the whole process."
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource  # here: Windows has none

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def make_adam(weights: list, lr: float, betas: tuple[float, float] = (0.9, 0.999)) -> torch.optim.Adam:
    "Adam for parameters, or for groups of them; on a GPU in one kernel for all."
    first = weights[0]["params"][0] if isinstance(weights[0], dict) else weights[0]
    return torch.optim.Adam(weights, lr, betas, fused=first.device.type == "cuda" or None)


# %% [markdown]
# A linear layer from 144 numbers to 10 multiplies $144\cdot10$ times for an image, and as often backward for the gradient of its weights (there is none for the image).

# %%
config = RunConfig(model="toy", size=12)
layer, images = nn.Sequential(nn.Flatten(), nn.Linear(144, 10)), config.training_set()
costs = count_costs(lambda net, x, y: net(x).sum().backward(), config, images, layer)
assert costs == {"parameters": 1450, "flops_per_image": 2 * 2 * 1440}
assert count_costs(lambda net, x, y: x.sum().item(), config, images, layer)["flops_per_image"] is None
assert peak_memory("cpu") > 2**27  # importing PyTorch takes more


# %% [markdown]
# ## Muon
#
# Adam looks at each weight by itself. But most weights stand in matrices (the kernel of a convolution is one, too: a row for each output channel), and the gradient of a matrix is lopsided: few directions in it are large, so that a step of gradient descent, or of Adam, changes little in all the others. **Muon** ([Jordan et al. 2024](https://kellerjordan.github.io/posts/muon/)) makes all directions equally long. With the singular value decomposition $M=USV^\top$ of the gradient's moving average $M$, the step is $UV^\top$.
#
# No decomposition is needed. A polynomial $ax+bx^3+cx^5$, applied again and again, drives singular values towards 1. To apply it to all of them at once, note that $XX^\top X=US^3V^\top$: the map is $X\mapsto aX+b\,XX^\top X+c\,(XX^\top)^2X$ (a *Newton-Schulz iteration*). It needs values of at most 1 to begin with, hence the division by the matrix's norm. Coefficients and the five steps are those of Jordan et al., chosen for speed, at the price of values between about 0.7 and 1.2. Small values grow by a factor of 3.4 a step, 485 in all; those below 0.0015 of the norm stay small.

# %%
#| export
def orthogonal(matrices: torch.Tensor) -> torch.Tensor:  # (..., m, n), both
    "Matrices with the same singular vectors and singular values near 1 (Jordan et al. 2024)."
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        squared = x @ x.mT
        x = 3.4445 * x + (2.0315 * squared @ squared - 4.7750 * squared) @ x
    return x.mT if tall else x


# %%
torch.manual_seed(0)
lopsided = torch.randn(64, 8) @ torch.randn(8, 144) + 0.2 * torch.randn(64, 144)
values = [torch.linalg.svdvals(matrix) for matrix in (lopsided, orthogonal(lopsided))]
assert values[1].min() > 0.65 and values[1].max() < 1.25
assert torch.allclose(orthogonal(lopsided.mT), orthogonal(lopsided).mT, atol=1e-5)
fig, ax = plt.subplots(figsize=(5, 2.2), layout="constrained")
for label, found in zip(("a lopsided matrix", "made orthogonal"), values, strict=True):
    ax.plot(found / found.max(), marker=".", label=label)
ax.set(xlabel="direction", ylabel="singular value\n(largest: 1)", ylim=(0, None))
ax.legend(frameon=False);


# %% [markdown]
# $M$ is the moving average, with the newest gradient counted once more (Nesterov's momentum). A step has the length of the learning rate in every direction, times $\sqrt{m/n}$ where a matrix has more rows than columns. The scale of $M$ cancels, so the average needs no correction for its start at zero. Matrices of one shape are made orthogonal together. Biases, embeddings and everything with a side below 16, such as a layer that ends in gray pixels, stay with Adam. So do large dense layers: a kernel is used at every place of an image, a dense layer once, and at 64 images an update making its matrix orthogonal would take longer than the update itself.
#
# Why does Muon get 20 times Adam's learning rate? Adam moves each weight by about its rate. An orthogonal matrix of 32 rows and 288 columns has weights of $1/\sqrt{288}\approx0.06$ in size, and 0.06 of 20 is about 1.

# %%
#| export
class Muon(torch.optim.Optimizer):
    "Momentum, and steps that are made orthogonal; for matrices and kernels (Jordan et al. 2024)."

    def __init__(self, weights: Iterable[nn.Parameter], lr: float = 0.02, momentum: float = 0.95):
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            shapes = {weight.shape for weight in group["params"]}
            for shape in sorted(shapes):
                moved = [w for w in group["params"] if w.shape == shape and w.grad is not None]
                if moved:
                    self._step(moved, **group)

    def _step(self, weights: list[nn.Parameter], lr: float, momentum: float, **others) -> None:
        for weight in weights:
            average = self.state[weight].setdefault("average", torch.zeros_like(weight))
            average.lerp_(weight.grad, 1 - momentum)
        ahead = [weight.grad.lerp(self.state[weight]["average"], momentum) for weight in weights]  # Nesterov
        steps = orthogonal(torch.stack(ahead).flatten(2))
        length = lr * max(1, steps.shape[1] / steps.shape[2]) ** 0.5
        for weight, step in zip(weights, steps, strict=True):
            weight.sub_(step.view_as(weight), alpha=length)


LARGE = 2**16  # dense layers with more weights stay with Adam


def make_optimizers(
    net: nn.Module,
    kind: str,  # adam for all weights; or muon for matrices and kernels, and Adam for the rest
    lr: float,  # Adam's; Muon's is 20 times as large
    beta2: float,  # Adam's decay of the squared gradient's mean
    beta1: float = 0.9,  # Adam's decay of the gradient's mean
) -> dict[str, torch.optim.Optimizer]:
    "The optimizers that together move all weights of `net`, by names: opt, and perhaps muon."
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    layers = [layer for layer in layers if isinstance(layer, nn.Conv2d) or layer.weight.numel() <= LARGE]
    weights = [dict(layer.named_parameters(recurse=False)).get("weight") for layer in layers]
    weights = [weight for weight in weights if weight is not None and weight.requires_grad]
    matrices = {id(weight): weight for weight in weights if min(weight.flatten(1).shape) >= 16}
    if kind == "adam" or not matrices:
        return {"opt": make_adam([*net.parameters()], lr, (beta1, beta2))}
    others = [weight for weight in net.parameters() if id(weight) not in matrices]
    return {"opt": make_adam(others, lr, (beta1, beta2)), "muon": Muon(matrices.values(), 20 * lr)}


# %% [markdown]
# PyTorch, from 2.9 on, has a Muon of its own, for matrices only, which computes in bfloat16. With this precision the steps are the same:

# %%
#| hide
if hasattr(torch.optim, "Muon"):
    ours, theirs = (nn.Parameter(torch.ones(48, 32)) for _ in range(2))
    pair = Muon([ours]), torch.optim.Muon([theirs], lr=0.02, weight_decay=0)
    for _ in range(5):
        ours.grad = torch.randn(48, 32)
        theirs.grad = ours.grad.clone()
        for optimizer in pair:
            optimizer.step()
    moved = (theirs - 1).norm()
    assert (ours - theirs).norm() < 0.02 * moved and moved > 0.1  # bfloat16 has three digits

# %%
kernels = [nn.Parameter(torch.zeros(16, 8, 3, 3)) for _ in range(2)]
for kernel in kernels:
    kernel.grad = torch.randn_like(kernel)
Muon(kernels, lr=0.1).step()
for kernel in kernels:
    singular = torch.linalg.svdvals(kernel.detach().flatten(1)) / 0.1
    assert singular.min() > 0.65 and singular.max() < 1.25
net = nn.Sequential(nn.Conv2d(1, 64, 3), nn.Conv2d(64, 16, 3), nn.Conv2d(16, 1, 3), nn.Embedding(99, 99))
optimizers = make_optimizers(net, "muon", 1e-3, 0.99)
assert optimizers["muon"].param_groups[0]["params"] == [net[1].weight]
counted = sum(len(group["params"]) for opt in optimizers.values() for group in opt.param_groups)
assert counted == len([*net.parameters()]) and [*make_optimizers(net, "adam", 1e-3, 0.99)] == ["opt"]
dense = nn.Sequential(nn.Linear(256, 256), nn.Linear(256, 512))
assert make_optimizers(dense, "muon", 1e-3, 0.99)["muon"].param_groups[0]["params"] == [dense[0].weight]

# %%
#| hide
tied, frozen, unused = nn.Linear(16, 16), nn.Linear(16, 16).requires_grad_(False), nn.Linear(16, 16)
divided = torch.nn.utils.parametrizations.spectral_norm(nn.Linear(16, 16))
net = nn.Sequential(tied, frozen, divided, tied)
optimizers = make_optimizers(nn.ModuleList([net, unused]), "muon", 1e-3, 0.99)
assert [*map(id, optimizers["muon"].param_groups[0]["params"])] == [id(tied.weight), id(unused.weight)]
before, kept = tied.weight.clone(), unused.weight.clone()
net(torch.ones(3, 16)).sum().backward()
for optimizer in optimizers.values():
    optimizer.step()
assert not torch.equal(tied.weight, before) and torch.equal(unused.weight, kept)


# %% [markdown]
# ## A moving average of the weights
#
# The weights at the end of training are one noisy snapshot. An exponential moving average of the weights $\theta$, updated by $\bar\theta \leftarrow d\,\bar\theta + (1-d)\,\theta$ with a decay $d$ just below one, is often a much better model. With $d=0.999$ the average would remember the random start for thousands of updates, so the decay warms up: in update $n=1,2,\dots$ it is $\min(d, \frac{n}{9+n})$.
#
# Batch normalisation's running means belong to the weights and are averaged with them; its counters of batches, whole numbers, are copied. PyTorch averages all tensors in one go (`get_ema_multi_avg_fn`). Its `AveragedModel`, which would keep the copy, has no warm-up, averages the counters, too, and takes a number to the device in every update.

# %%
#| export
class EMA:
    "Exponential moving average of a network's weights and buffers, in `.model`; with `decay=0` a plain copy."

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay, self.updates = copy.deepcopy(model).requires_grad_(False).eval(), decay, 0

    def update(self, model: nn.Module) -> None:
        "Take in the weights after one more update of `model`."
        self.updates += 1
        averages, weights = ([*net.parameters(), *net.buffers()] for net in (self.model, model))
        numbers = [i for i, weight in enumerate(weights) if weight.is_floating_point()]
        average = get_ema_multi_avg_fn(min(self.decay, self.updates / (9 + self.updates)))
        average([averages[i] for i in numbers], [weights[i].detach() for i in numbers], None)
        for i in set(range(len(weights))).difference(numbers):
            averages[i].copy_(weights[i])


# %% [markdown]
# What it must remember from one session to the next:

# %%
#| export
@patch
def state_dict(self: EMA) -> dict:
    return {"model": self.model.state_dict(), "updates": self.updates}


@patch
def load_state_dict(self: EMA, state: dict) -> None:
    self.model.load_state_dict(state["model"])
    self.updates = state["updates"]


# %%
net = nn.Linear(1, 1, bias=False)
net.weight.data.zero_()
ema, track = EMA(net, 0.9), []
for step in range(100):
    net.weight.data.fill_(step >= 20)
    ema.update(net)
    track.append(ema.model.weight.item())
still_to_go = math.prod(min(0.9, n / (9 + n)) for n in range(21, 41))  # updates 21 to 40
assert track[19] == 0 and math.isclose(1 - track[39], still_to_go, rel_tol=1e-4)
ax = pd.Series(track).plot(figsize=(5, 2), xlabel="update", ylabel="averaged weight")
ax.set_title("the average follows a step of the weight");

# %% [markdown]
# Bit for bit it is the formula, one tensor at a time, counters are copied, and a state is taken up where it was left:

# %%
norm = nn.BatchNorm1d(3)
ema, again = EMA(norm, 0.5), EMA(norm, 0.5)
expected = {key: tensor.clone() for key, tensor in norm.state_dict().items()}
for n in range(1, 30):
    norm(torch.randn(8, 3))
    norm.weight.data.normal_()
    again.load_state_dict(ema.state_dict())
    for average in (ema, again):
        average.update(norm)
    for key, weight in norm.state_dict().items():
        counter = key == "num_batches_tracked"
        expected[key] = weight.clone() if counter else expected[key].lerp(weight, 1 - min(0.5, n / (9 + n)))
        assert torch.equal(ema.model.state_dict()[key], expected[key])
        assert torch.equal(again.model.state_dict()[key], expected[key])


# %% [markdown]
# ## Writing files that are whole or not there
#
# A program can be killed in the middle of writing a file. So we never write to the final name: we write beside it, force the bytes to disk, and rename, which the operating system does in one piece. If the disk is full, the error says so and what stood there before is untouched.

# %%
#| export
@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    "A temporary path to write to; renamed to `path` if all went well, removed if not."
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as problem:
        raise OSError(f"{path} could not be written and is as it was before: {problem}") from problem
    finally:
        temporary.unlink(missing_ok=True)


# %%
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder, "a.txt")
    with atomic(file) as temporary:
        temporary.write_text("first")
    with pytest.raises(OSError, match="a.txt could not be written and is as it was before: .* space"):
        with atomic(file) as temporary:
            temporary.write_text("sec")
            raise OSError(28, "No space left on device")
    assert file.read_text() == "first" and len(os.listdir(folder)) == 1


# %% [markdown]
# Checkpoints are **safetensors** files: a JSON header that one can read, and behind it plain arrays. `torch.save` would do as well, and since PyTorch 2.6 `torch.load` no longer runs code that somebody hid in such a file, unless told to (`weights_only=False`) or older. There are other reasons. Any program can open a safetensors file, without PyTorch and without the classes that wrote it: the format is specified in a paragraph, and a `torch.save` file is a pickle in a zip. It is mapped into memory, so that one array, or the header alone, is read without the rest. And it has nothing that could run, whoever opens it.
#
# A state - nested dictionaries of tensors and numbers - is split into the tensors, by path, and a JSON skeleton, which goes into the header: one file, hence one rename.

# %%
#| export
def save_state(path: Path, state: dict) -> None:
    "Write nested dictionaries of tensors and plain values as one file. FloatingPointError for NaN, infinity."
    tensors = {}

    def skeleton(value, key):
        if isinstance(value, torch.Tensor):
            if value.is_floating_point() and not value.isfinite().all():
                what = f"{key} holds NaN or infinity. Try a lower learning rate; {path} is as it was before."
                raise FloatingPointError(f"Training has diverged: {what}")
            tensors[key] = value.detach().cpu().contiguous().clone()
            return {"tensor": key}
        if isinstance(value, dict):
            return {"items": [[k, skeleton(v, f"{key}/{k}")] for k, v in value.items()]}
        if isinstance(value, list | tuple):
            return [skeleton(v, f"{key}/{i}") for i, v in enumerate(value)]
        return value

    header = {"state": json.dumps(skeleton(state, ""))}
    with atomic(path) as temporary:
        save_file(tensors, temporary, header)


# %% [markdown]
# Reading goes the other way: wherever the skeleton names a tensor, it is put back.

# %%
#| export
def load_state(path: Path) -> dict:
    "What `save_state` wrote. SafetensorError if the file is damaged, FileNotFoundError if there is none."

    def restore(value):
        if isinstance(value, list):
            return [restore(v) for v in value]
        if not isinstance(value, dict):
            return value
        return (
            file.get_tensor(value["tensor"])
            if "tensor" in value
            else {k: restore(v) for k, v in value["items"]}
        )

    with safe_open(path, "pt") as file:
        return restore(json.loads(file.metadata()["state"]))


# %%
with tempfile.TemporaryDirectory() as folder:
    net = nn.Linear(3, 2)
    opt = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    opt.step()
    path = Path(folder, "state.safetensors")
    save_state(path, {"net": net.state_dict(), "opt": opt.state_dict(), "seconds": 1.5})
    state = load_state(path)
    assert torch.equal(state["net"]["weight"], net.weight) and state["seconds"] == 1.5
    assert torch.equal(state["opt"]["state"][0]["exp_avg"], opt.state_dict()["state"][0]["exp_avg"])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(SafetensorError):
        load_state(path)
    with pytest.raises(FloatingPointError, match="/net/weight holds NaN or infinity"):
        save_state(path, {"net": {"weight": torch.tensor([1.0, torch.nan])}})


# %% [markdown]
# Smaller things are JSON files. One that was cut off, by a full disk or a copy that was broken off, should cost no more than what it held:

# %%
#| export
def read_json(path: Path, kind: type = dict):
    "What a JSON file holds; None if there is no such file, or, with a warning, if it is damaged."
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:  # no JSON, or no text at all
        found = None
    if not isinstance(found, kind) or not found:
        warnings.warn(f"{path} is damaged, and is left out.", stacklevel=2)
        return None
    return found


# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "metrics.json")
    assert read_json(path) is None, "no file is no damage"
    path.write_text('{"a": 1}')
    assert read_json(path) == {"a": 1}
    path.write_text("[1]")
    assert read_json(path, list) == [1]
    for text in ("[1]", '{"a": ', "", "{}"):
        path.write_text(text)
        with pytest.warns(UserWarning, match="metrics.json is damaged, and is left out"):
            assert read_json(path) is None


# %% [markdown]
# ## A run and its folder
#
#     runs/digits/gan/dcgan-1a2b3c4d/
#         config.json                       the configuration
#         checkpoint.safetensors            networks, averages, optimizers, history: everything needed to go on
#         checkpoint-previous.safetensors   the one before, should that one be damaged
#         history.csv                       the history for people and plots: a row for each update, or 50 to 99 an epoch
#         images.json                       which images, of a folder or from the Hub: a fingerprint of each split
#         epoch-0005/                       the model after 5 epochs
#             weights.safetensors           what samples
#             samples.npz  samples.png      what it sampled
#             pictures.npz                  what else its figures are drawn from, where a model has more to show
#             metrics.json                  what they are worth; written last: if it is there, the epoch is done
#
# `Run.batches`, below, is the one piece of machinery. It stands where the data loader stands in an ordinary loop: it restores the newest checkpoint, yields the batches that are still missing, seeds each update, saves every 30 seconds and at the end, and shows progress: a bar in a terminal, at most ten lines a run in a notebook or a log. What is done with a batch is written in plain sight in the notebook of each model.

# %%
#| export
def project_root() -> Path:
    "The nearest folder from here upwards with genlab's settings.ini; without one, the working directory."
    here = Path.cwd()
    return next(
        (p for p in [here, *here.parents] if (p / "settings.ini").exists() and (p / "genlab").is_dir()), here
    )


def runs_root() -> Path:
    "Where runs are kept: `GENLAB_RUNS`, or `runs/` in the project."
    return Path(os.environ.get("GENLAB_RUNS") or project_root() / "runs").absolute()


# %% [markdown]
# A `Run` is little more than a configuration, the folder that follows from it, and how far training has come. What is on disk is read when it is needed.

# %%
#| export
def folder_name(dataset: str) -> str:
    "What the folder of a data set's runs is called, and that of its race."
    name = dataset.rstrip("/").translate(str.maketrans(":/{}", "--()"))  # braces are Snakemake's
    if len(name.encode()) > 200:  # a file system knows names of 255 bytes
        return f"{name[:16]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}-{name[-32:]}"
    return name


# %%
#| export
class Run:
    "A training run on disk, found again by its configuration. Everything it writes is whole or not there."

    checkpoint_seconds: ClassVar[float] = 30.0  # time between checkpoints; what a crash can cost

    def __init__(self, config: RunConfig):
        self.config = config
        self.folder = (
            runs_root() / folder_name(config.dataset) / config.model / f"{config.name}-{config.hash}"
        )
        self.history: list[dict] = []  # one row per logged update
        self.step = 0  # updates made
        self.seconds = 0.0  # of training, over all sessions
        self.costs: dict = {}  # see count_costs


# %%
#| export
@patch
def epoch_folder(self: Run, epochs: int) -> Path:
    return self.folder / f"epoch-{epochs:04}"


@patch
def metrics(self: Run, epochs: int) -> dict | None:
    "metrics.json of an evaluated epoch count, or None."
    return read_json(self.epoch_folder(epochs) / "metrics.json")


@patch
def evaluated(self: Run) -> list[int]:
    "The epoch counts that are done."
    numbers = [path.parent.name[6:] for path in self.folder.glob("epoch-*/metrics.json")]
    counts = {int(number) for number in numbers if number.isdecimal()}
    return [epochs for epochs in sorted(counts) if self.metrics(epochs)]


# %% [markdown]
# Two processes may want the same run, say two cells of a notebook and a report.

# %%
#| export
@patch
def _acquire(self: Run, lock: FileLock) -> None:
    "Take the lock, after its owner if need be. OSError if the folder cannot be written, but needs to be."
    try:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{self.folder} is being trained by another process; waiting for it.", flush=True)
        lock.acquire()
    except OSError as problem:
        if missing := self.pending():
            what = f"cannot be written ({problem.strerror or problem})"
            raise OSError(
                f"{self.folder} {what}, and after {missing} epochs there is no result yet."
            ) from None


# %%
#| export
@patch
@contextmanager
def lock(self: Run):
    """Only one process at a time may train a run. The lock goes with its owner, however that ends.

    Without anything to do, none is needed.
    """
    lock = FileLock(self.folder / ".lock")
    self._acquire(lock)
    try:
        self._check_images()
        yield self
    finally:
        lock.release()


# %% [markdown]
# **The same images?** A run is known by the name of its data set, and behind the name of a folder there may be other images tomorrow. So a run on a folder, on a data set from the Hub, or on one of your own keeps a fingerprint of the images it learns from and of those it is compared with, and wants to see the same ones whenever it is opened again. (The built-in data sets have known checksums.) A run without `images.json`, from before there was one, is taken as it is until it is trained further.

# %%
#| export
ANOTHER_NAME = "remove that folder or name the run otherwise"  # what to do about a run on other images


@patch
def fingerprints(self: Run) -> dict[str, str]:  # split: fingerprint
    "What there is now under the name of the run's data set; empty for the built-in ones."
    name, size = self.config.dataset, self.config.size
    splits = () if name in BUILT_IN else ("train", "test")
    return {split: fingerprint(load_dataset(name, split, size)) for split in splits}


# %%
#| export
@patch
def _check_images(self: Run) -> None:
    "ValueError if the data set holds other images than the run knows."
    known = read_json(self.folder / "images.json")
    try:
        found = self.fingerprints() if known else {}
    except (OSError, RuntimeError):  # the images cannot be had: whoever needs them will say so
        return
    for split, digits in found.items():
        if known.get(split) != digits:
            used = {"train": "trained on", "test": "scored with"}[split]
            what = f"{self.config.dataset} holds other {split} images than {self.folder} was {used}"
            raise ValueError(f"dataset: {what}; {ANOTHER_NAME}.")


# %% [markdown]
# **From its folder** a run is opened by what its `config.json` says. That must give the hash that the folder is named after, else somebody has edited the file since, and it no longer says how the weights came about.

# %%
#| export
def read_config(
    folder: Path,
    kinds: Mapping[str, type[RunConfig]],  # model: class
) -> RunConfig:
    "What a run's folder says it is. ValueError if its config.json is not that of a run, or was changed."
    path = folder / "config.json"
    if not path.exists():
        raise ValueError(f"{folder} is not the folder of a run: there is no config.json in it.")
    try:
        values = json.loads(path.read_text())
        kind = kinds[values["model"]]
        config = kind(**kind.since | values)
    except (KeyError, TypeError, JSONDecodeError, UnicodeDecodeError):
        raise ValueError(f"{path} is damaged, or not that of a run ({', '.join(kinds)}).") from None
    except ValueError as problem:
        raise ValueError(f"{path} is not that of a run: {problem}.") from None
    if re.search("-[0-9a-f]{8}$", folder.name) and not folder.name.endswith(config.hash):
        what = "was changed after training, or written by another version of genlab"
        raise ValueError(f"{path} {what}: its folder would be {config.name}-{config.hash}.")
    return config


# %% [markdown]
# **Going on.** The newest readable checkpoint is used, unless it is *beyond* what is asked for (5 epochs of a run that has reached 20, with nothing kept at 5): then training starts from the beginning, in memory, and leaves the checkpoint alone.

# %%
#| export
def _read_checkpoint(path: Path) -> dict | None:
    "A checkpoint, or None; a damaged one is removed, with a warning."
    try:
        return load_state(path)
    except FileNotFoundError:
        return None
    except (SafetensorError, ValueError, KeyError, TypeError) as problem:
        message = f"{path} is damaged ({problem}) and was removed; going on from the one before."
        warnings.warn(message, stacklevel=5)
        path.unlink()  # else the next save would put it in the place of the good one
        return None


# %%
#| export
@patch
def _restore(self: Run, last: int, parts: dict) -> None:
    "Load the newest good checkpoint of at most `last` updates into `parts`; without one, start at step 0."
    self.step, self.seconds, self.history, self._saved = 0, 0.0, [], 0
    for name in ("checkpoint.safetensors", "checkpoint-previous.safetensors"):
        state = _read_checkpoint(self.folder / name)
        if state is None:
            continue
        self._check_checkpoint(state)
        self._saved = max(self._saved, state["step"])
        if state["step"] <= last:
            self._take_up(state, parts, self.folder / name)
            return


# %% [markdown]
# A checkpoint may be that of other images, or of another network:

# %%
#| export
@patch
def _check_checkpoint(self: Run, state: dict) -> None:
    if state["n_images"] != self._n_images:
        what = f"it has {self._n_images} images, and {self.folder} was trained on {state['n_images']}"
        raise ValueError(f"dataset: {what}; {ANOTHER_NAME}.")


@patch
def _take_up(self: Run, state: dict, parts: dict, path: Path) -> None:
    "Load a checkpoint into the parts."
    try:
        for key, part in parts.items():
            part.load_state_dict(state["parts"][key])
    except (RuntimeError, ValueError, KeyError):  # shapes, groups and names that are not theirs
        what = f"{path} belongs to another network than this run's"
        raise ValueError(f"{what}; move it away, and the run is trained without it.") from None
    self.step, self.seconds, self.history = state["step"], state["seconds"], state["history"]


# %% [markdown]
# A new checkpoint is written beside the old one, then the old one is renamed to be the one before, then the new one takes its place. Whenever the program is killed, there is a whole one.

# %%
#| export
@patch
def _save(self: Run, parts: dict) -> None:
    "Write a checkpoint and history.csv, unless the disk has one that is as far."
    if self.step <= self._saved:
        return
    path = self.folder / "checkpoint.safetensors"
    new = path.with_name("checkpoint-new.safetensors")
    state = {"step": self.step, "seconds": self.seconds, "history": self.history, "n_images": self._n_images}
    save_state(new, state | {"parts": {key: part.state_dict() for key, part in parts.items()}})
    # before the renaming: a checkpoint never lacks its history
    with atomic(self.folder / "history.csv") as file:
        pd.DataFrame(self.history).to_csv(file, index=False)
    if path.exists():
        os.replace(path, path.with_name("checkpoint-previous.safetensors"))
    os.replace(new, path)
    self._saved = self.step


# %% [markdown]
# **What an update leaves.** Its losses go into the history. Whoever watches sees a bar in a terminal. In a notebook or a log, a line is printed after each tenth of the run, but not within two seconds of the one before: a short run prints one line, a long one ten, and a run of a day still says every two hours how far it is.

# %%
#| export
@patch
def log(self: Run, **values: torch.Tensor | float) -> None:
    """Keep this update's losses; call it in every update.

    Each makes a row of the history, or, of 100 updates an epoch and more, 50 to 99 do.
    """
    if self.step % self.log_every:
        return
    epoch, i = divmod(self.step, self._per_epoch)
    row = {"step": self.step, "epoch": epoch + 1, "i": i} | {
        k: torch.as_tensor(v).item() for k, v in values.items()
    }
    if not all(map(math.isfinite, row.values())):
        advice = "Try a lower learning rate; the last checkpoint is kept."
        raise FloatingPointError(f"Training has diverged at update {self.step}: {row}. {advice}")
    self.history.append(row)


@patch
def progress_line(self: Run, epochs: int) -> str:
    "`[epoch/epochs][update/updates]` and the last logged losses."
    row = self.history[-1]
    return f"[{row['epoch']}/{epochs}][{row['i']}/{self._per_epoch}] " + self.config.log_line.format(**row)


# %%
#| export
@patch
def _ten_lines(self: Run, epochs: int) -> Callable[[], None]:
    "A function to be called after each update. It prints at most ten lines a run, with the time to go."
    epochs = max(epochs, self.config.epochs)
    total, printed = epochs * self._per_epoch, time.perf_counter()

    begun, first = printed, self.step

    def show() -> None:
        nonlocal printed
        now, new_tenth = time.perf_counter(), 10 * self.step // total > 10 * (self.step - 1) // total
        if new_tenth and (self.step == total or now - printed > 2):
            left = (now - begun) * (total - self.step) / (self.step - first)
            until = f", {tqdm.format_interval(left)} left" if self.step < total else ""
            print(self.progress_line(epochs) + until, flush=True)
            printed = now

    return show


# %%
#| export
@patch
@contextmanager
def _progress(self: Run, epochs: int) -> Iterator[Callable[[], None]]:
    "For `with`: a function that is to be called after each update, and shows how far it is."
    if not sys.stderr.isatty():
        yield self._ten_lines(epochs)
        return
    with tqdm(total=epochs * self._per_epoch, initial=self.step, unit="update") as bar:

        def show() -> None:
            bar.update()
            if self.step % self._per_epoch == 0:
                bar.set_postfix_str(self.progress_line(epochs))

        yield show


# %% [markdown]
# **The loop.** Everything random in an update happens after `seed_everything(seed, 1, step)`, so an update is a function of the state before it and its number. That is all there is to exact resumption. (The 1 sets updates apart from the initial weights, which are drawn after `seed_everything(seed, 0)`.)

# %%
#| export
@patch
def _begin(self: Run, data: ImageSet, epochs: int, device: torch.device | str, parts: dict) -> int:
    "Note what is trained on which images, and restore. Returns the number of updates after `epochs`."
    with atomic(self.folder / "config.json") as path:
        path.write_text(self.config.model_dump_json(indent=2))
    self._device, self._n_images = device, len(data.images)
    self._per_epoch = math.ceil(self._n_images / self.config.batch_size)
    self.log_every = max(1, self._per_epoch // 50)
    self._restore(epochs * self._per_epoch, parts)
    if not (self.folder / "images.json").exists() and (found := self.fingerprints()):
        with atomic(self.folder / "images.json") as path:
            path.write_text(json.dumps(found))
    return epochs * self._per_epoch


# %% [markdown]
# And the loop itself:

# %%
#| export
@patch
def batches(
    self: Run,
    data: ImageSet,
    epochs: int,  # train until this many epochs are done, counted from the beginning of the run
    device: torch.device | str,
    **parts,  # all that changes in training: networks, averages, optimizers (`state_dict`, `load_state_dict`)
):  # yields images (B, C, H, W) in [-1, 1] and labels (B,) or None
    "The batches that are still to be trained on; restores, seeds, saves and shows progress on the way."
    last = self._begin(data, epochs, device, parts)
    if data.images.nbytes < 2**31:
        data = data.to(device)
    mark = saved = time.perf_counter()
    with self._progress(epochs) as show:
        while self.step < last:
            epoch, start = divmod(self.step, self._per_epoch)
            for batch in epoch_batches(data, self.config.batch_size, self.config.seed, epoch, device, start):
                seed_everything(self.config.seed, 1, self.step)
                yield batch
                self.step += 1
                self.seconds, mark = self.seconds + time.perf_counter() - mark, time.perf_counter()
                show()
                if mark - saved > self.checkpoint_seconds:
                    self._save(parts)
                    mark = saved = time.perf_counter()
    self._save(parts)


# %% [markdown]
# **Results.** When an evaluated epoch count is reached, its weights are kept, with the facts of training in the file's header; then samples are drawn and scored; `metrics.json` comes last. The loss reported for an epoch count is the mean over that epoch's rows of the history; the last batch alone would be a lottery.

# %%
#| export
@patch
def keep_weights(self: Run, epochs: int, model: nn.Module) -> None:
    "Write what the model is after `epochs`, and how it came there."
    rows = pd.DataFrame(self.history)
    self.training = {
        "updates": self.step,
        "losses": rows[rows.epoch == epochs].drop(columns=["step", "epoch", "i"]).mean().to_dict(),
        "train_seconds": self.seconds,
        "images_per_second": epochs * self._n_images / self.seconds,
        "device": device_name(self._device),
        "commit": git_commit(),
        "peak_bytes": peak_memory(self._device),
    } | self.costs
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    with atomic(self.epoch_folder(epochs) / "weights.safetensors") as path:
        save_file(tensors, path, {"training": json.dumps(self.training)})


# %% [markdown]
# A training function asks for them first: an epoch count that was reached before needs no training.

# %%
#| export
def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in tensors.items()}


# %%
#| export
@patch
def load_weights(self: Run, epochs: int, model: nn.Module) -> bool:
    "Load what `keep_weights` wrote; False if there is nothing, or, with a warning, if it does not fit."
    path = self.epoch_folder(epochs) / "weights.safetensors"
    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            if _shapes(tensors) != _shapes(model.state_dict()):  # before any of them is loaded
                raise ValueError("those of another network")
            training = json.loads(file.metadata()["training"])
    except FileNotFoundError:
        return False
    except (SafetensorError, ValueError, KeyError, TypeError) as problem:
        warnings.warn(f"{path} holds no weights of this run ({problem}), and is left out.", stacklevel=2)
        return False
    model.load_state_dict(tensors)
    self.training = training
    return True


# %% [markdown]
# By which version of the code was it made?

# %%
#| export
def git_commit() -> str | None:
    "The commit that the project has checked out, with -dirty if files differ from it; None without git."
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return (
            subprocess.run(command, cwd=project_root(), capture_output=True, text=True).stdout.strip() or None
        )
    except OSError:
        return None


# %% [markdown]
# And what came out: all samples for later measurements, a picture of the first 64 for a quick look, and one file with everything that is known.

# %%
#| export
def _save_arrays(file: Path, **arrays: np.ndarray) -> None:
    with atomic(file) as path, open(path, "wb") as opened:
        np.savez_compressed(opened, **arrays)


@patch
def sample_settings(self: RunConfig) -> dict:
    "The fields that say which samples are drawn, as `asked` in metrics.json (later ones as in `hash`)."
    values = {key: getattr(self, key) for key in self.sample_fields}
    return {key: value for key, value in values.items() if key not in self.since or value != self.since[key]}


# %%
#| export
@patch
def finish(
    self: Run,
    epochs: int,
    samples: torch.Tensor,  # uint8 (N, C, H, W)
    pictures: dict[str, np.ndarray] | None = None,  # what figures are drawn from
    **results,  # what else is known: scores, times
) -> dict:  # what metrics.json holds
    "Keep samples and results of an epoch count. From now on it counts as evaluated."
    folder = self.epoch_folder(epochs)
    _save_arrays(folder / "samples.npz", samples=samples.numpy())
    with atomic(folder / "samples.png") as path:
        grid = Image.fromarray(image_grid(samples[:64]))
        grid.resize((3 * grid.width, 3 * grid.height), Image.Resampling.NEAREST).save(path, "PNG")
    if pictures:
        _save_arrays(folder / "pictures.npz", **pictures)
    metrics = {"run": str(self.folder.relative_to(runs_root())), "epochs": epochs}
    metrics |= {"n_samples": len(samples), "asked": self.config.sample_settings()}
    metrics |= self.training | results | {"config": self.config.model_dump()}
    versions = {"python": platform.python_version(), "genlab": genlab.__version__, "torch": torch.__version__}
    with atomic(folder / "metrics.json") as path:
        path.write_text(json.dumps(metrics | {"versions": versions}, indent=2))
    return metrics | {"versions": versions}


# %% [markdown]
# What is there, and what is still to do:

# %%
#| export
@patch
def _is_done(self: Run, epochs: int) -> bool:
    "Has it been evaluated with these samples and all of these metrics, and are the files whole?"
    metrics, folder = self.metrics(epochs), self.epoch_folder(epochs)
    if metrics is None or metrics.get("asked") != self.config.sample_settings():
        return False
    whole = all(map(zipfile.is_zipfile, [folder / "samples.npz", *folder.glob("pictures.npz")]))
    return whole and set(self.config.metrics) <= set(metrics.get("scores", {}))


@patch
def pending(self: Run) -> list[int]:
    "The epoch counts of the configuration that are not evaluated with its samples and metrics yet."
    counts = {
        self.config.epochs,
        *(epochs for epochs in self.config.snapshots if epochs < self.config.epochs),
    }
    return [epochs for epochs in sorted(counts) if not self._is_done(epochs)]


# %% [markdown]
# Reading back what `finish` kept:

# %%
#| export
@patch
def samples(self: Run, epochs: int) -> torch.Tensor:  # uint8 (N, C, H, W)
    "The samples of an evaluated epoch count."
    return torch.from_numpy(np.load(self.epoch_folder(epochs) / "samples.npz")["samples"])


@patch
def pictures(self: Run, epochs: int) -> dict[str, np.ndarray]:
    "What the figures of an evaluated epoch count are drawn from; empty for models that leave nothing."
    path = self.epoch_folder(epochs) / "pictures.npz"
    return dict(np.load(path)) if path.exists() else {}


# %% [markdown]
# **Curves.** Losses of single batches jump about; a running mean, here over a fortieth of the training, shows where they go. We draw both, the raw values faintly (in the figure below there are so few updates that they coincide).

# %%
#| export
def plot_history(
    history: list[dict] | pd.DataFrame,  # Run.history, or its file
    labels: dict[str, str],  # column: how to call it
    ylabel: str = "loss",
    ax: plt.Axes | None = None,
) -> plt.Axes:
    "Columns of a history against epochs: raw values faint, their running mean on top."
    frame = pd.DataFrame(history)
    epochs = frame.epoch - 1 + frame.i / (frame.i.max() + 1)
    window = max(1, len(frame) // 40)
    ax = ax or plt.subplots(figsize=(5, 2.6), layout="constrained")[1]
    for column, label in labels.items():
        (line,) = ax.plot(
            epochs, frame[column].rolling(window, min_periods=1, center=True).mean(), label=label
        )
        ax.plot(epochs, frame[column], color=line.get_color(), alpha=0.25, linewidth=0.7)
    ax.set(xlabel="epoch", ylabel=ylabel, xlim=(0, frame.epoch.max()))
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(labels), fontsize=8)
    return ax


# %% [markdown]
# ## A small run
#
# To see all of this work without a large model, we train a linear *autoencoder*: one layer makes eight numbers of a digit, a second one makes the digit again, as well as it can. (Noise is added to the input, so that updates are random, too.) Note the shape of the training function, for it is the same in every notebook: make the parts, loop over `run.batches`, keep the weights.

# %%
class ToyConfig(RunConfig):
    log_line: ClassVar[str] = "loss: {loss:.4f}"
    model: Literal["toy"] = "toy"
    units: PositiveInt = 8  # numbers that an image is squeezed into


# %%
def train_toy(config, stop_at=None):
    run, data = Run(config), load_dataset(config.dataset)
    seed_everything(config.seed, 0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(256, config.units), nn.Linear(config.units, 256))
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    for x, _ in run.batches(data, config.epochs, "cpu", net=net, opt=opt):
        loss = (net(x + 0.1 * torch.randn_like(x)) - x.flatten(1)).square().mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        run.log(loss=loss)
        if run.step == stop_at:
            raise KeyboardInterrupt
    run.keep_weights(config.epochs, net)
    return run, net


# %%
home = tempfile.TemporaryDirectory()
os.environ["GENLAB_RUNS"] = home.name + "/straight"
run, net = train_toy(ToyConfig(epochs=epochs))
data = load_dataset("digits")
rebuilt = net(to_model(data.images[:16])).view(-1, 1, 16, 16)
show_grid(
    torch.cat([data.images[:16], to_image(rebuilt)]),
    ncol=16,
    title=f"digits, and what eight numbers keep of them after {epochs} epochs",
);

# %% [markdown]
# Now the promise: stop at an unlucky moment, go on, ask for more epochs later - and get the same weights and history, bit for bit. (`tests/test_runs.py` does the same with `kill -9` at random moments and with each of the course's models.)

# %%
os.environ["GENLAB_RUNS"] = home.name + "/interrupted"
train_toy(ToyConfig(epochs=1))  # first a single epoch ...
Run.checkpoint_seconds = 0  # (a checkpoint after every update, for this test)
with pytest.raises(KeyboardInterrupt):
    train_toy(ToyConfig(epochs=epochs), stop_at=13)  # ... then all of them, interrupted in the second ...
again, net2 = train_toy(ToyConfig(epochs=epochs))  # ... and resumed
Run.checkpoint_seconds = 30
assert all(torch.equal(a, b) for a, b in zip(net.parameters(), net2.parameters(), strict=True))
assert again.history == run.history
assert (run.folder / "history.csv").read_bytes() == (again.folder / "history.csv").read_bytes()

# %% [markdown]
# A damaged checkpoint costs what was trained since the one before, and nothing else. An epoch count that was passed long ago is trained again without harm to what is on disk:

# %%
file = again.folder / "checkpoint.safetensors"
file.write_bytes(file.read_bytes()[:1000])
with pytest.warns(UserWarning, match="checkpoint.safetensors is damaged"):
    repaired, net3 = train_toy(ToyConfig(epochs=epochs))
assert torch.equal(net[1].weight, net3[1].weight) and repaired.history == run.history

before = file.read_bytes()
early, net1 = train_toy(ToyConfig(epochs=2))
assert early.history == run.history[: 2 * run._per_epoch] and file.read_bytes() == before

# %% [markdown]
# Losses that are not numbers stop the training with a sentence. Evaluated epochs are found again from disk:

# %%
with pytest.raises(FloatingPointError, match="diverged at update"):
    again.log(loss=float("nan"))
again = Run(ToyConfig(epochs=epochs, snapshots=[1, 2]))
assert again.pending() == [1, 2, 3] if epochs == 3 else True
assert again.load_weights(epochs, net1) and torch.equal(net1[1].weight, net[1].weight)
metrics = again.finish(epochs, to_image(rebuilt), scores={"fd_lenet": {"value": None, "why": "a toy"}})
assert again.evaluated() == [epochs] and epochs not in again.pending()
assert torch.equal(again.samples(epochs), to_image(rebuilt))
assert metrics == again.metrics(epochs) and metrics["losses"].keys() == {"loss"}
sorted(str(p.relative_to(again.folder)) for p in again.folder.rglob("*") if p.is_file())

# %%
plot_history(run.history, {"loss": "squared error"}, "squared error");

# %%
#| hide
home.cleanup()
del os.environ["GENLAB_RUNS"]

# %% [markdown]
# ## What to remember
#
# - A run is identified by its name and everything that its weights depend on, but the number of epochs; 1, 5, 20 and 50 epochs cost 50.
# - Randomness is a function of (seed, step), so a checkpoint needs no generator states and resuming is exact.
# - Files are written aside and renamed; `metrics.json` comes last and means *done*.
#
# ## Exercises
#
# 1. Change the seed of the toy run. Which files appear, and which are left as they were?
# 2. Remove the line `seed_everything(...)` from a copy of `batches` and repeat the interruption test. Which assertion fails, and from which update on do the histories differ?
# 3. Why would saving the optimizer's learning rate but not its moment estimates give a resumed run that *looks* fine? Plot the loss around the interruption.
# 4. On a GPU the resumed weights of a convolutional network (`train_gan` of [01_gan](01_gan.ipynb), say; the toy trains on the CPU) are close but not always equal to the bit. Find out which operations are responsible (`torch.use_deterministic_algorithms`).

# %% [markdown]
# ## Solutions
#
# <details><summary>1. Another seed</summary>
#
#     home = tempfile.TemporaryDirectory()
#     os.environ["GENLAB_RUNS"] = home.name
#     for seed in (0, 1):
#         train_toy(ToyConfig(epochs=1, seed=seed))
#         for file in sorted(Path(home.name).rglob("*.*")):
#             print(file.relative_to(home.name), file.stat().st_mtime_ns)
#
# The seed is part of what defines a run, so it changes the hash and with it the folder. A second folder `digits/toy/default-...` appears, with files of the same names: `config.json`, `checkpoint.safetensors`, `history.csv` and `epoch-0001/weights.safetensors`. All files of the first run are left as they were, to the nanosecond of their last change. (There is no `metrics.json`, for `train_toy` does not call `finish`.)
#
# </details>
#
# <details><summary>2. Without a seed for each update</summary>
#
# A copy of `batches` without the line, in the place of the original for as long as the test takes:
#
#     import inspect
#
#     source = inspect.getsource(Run.batches).replace("@patch", "").replace("seed_everything(self.config.seed, 1, self.step)", "pass")
#     exec(source)
#     home, original, Run.batches = tempfile.TemporaryDirectory(), Run.batches, batches
#     os.environ["GENLAB_RUNS"] = home.name + "/straight"
#     run, net = train_toy(ToyConfig(epochs=3))
#     os.environ["GENLAB_RUNS"], Run.checkpoint_seconds = home.name + "/interrupted", 0
#     train_toy(ToyConfig(epochs=1))
#     with pytest.raises(KeyboardInterrupt):
#         train_toy(ToyConfig(epochs=3), stop_at=13)
#     again, net2 = train_toy(ToyConfig(epochs=3))
#     Run.checkpoint_seconds, Run.batches = 30, original
#     print([torch.equal(a, b) for a, b in zip(net.parameters(), net2.parameters())])
#     print([a["step"] for a, b in zip(run.history, again.history) if a != b])
#
# The first assertion fails, that on the weights, and the two on the history would, too. The histories differ from update 11 on, the first one of the second session (updates count from 0, an epoch has 11). The order of the images is not to blame, for it has its own generator. The noise is: after a restart it begins where it began at the start of the run, so update 11 gets the noise of update 0. The losses differ by less than 0.001 here. Nobody would see that in a plot, and that is why the test compares bits.
#
# </details>
#
# <details><summary>3. Half of an optimizer</summary>
#
#     class Forgetful(torch.optim.Adam):
#         def state_dict(self):
#             return super().state_dict() | {"state": {}}  # the learning rate, but no moments
#
#
#     home, histories, adam = tempfile.TemporaryDirectory(), {}, torch.optim.Adam
#     for kind in (adam, Forgetful):
#         os.environ["GENLAB_RUNS"], torch.optim.Adam = f"{home.name}/{kind.__name__}", kind
#         train_toy(ToyConfig(epochs=50))
#         histories[kind.__name__] = train_toy(ToyConfig(epochs=55))[0].history
#     torch.optim.Adam = adam
#     for name, history in histories.items():
#         plt.plot([row["step"] for row in history[530:]], [row["loss"] for row in history[530:]], ".-", label=name)
#     plt.legend();
#
# No error, no warning, a loss near the old one: it looks fine. But Adam starts anew. With empty moments its bias correction gives $\hat m=g$ and $\hat v=g^2$ in the first update, so that *every* weight moves by the whole learning rate, $\eta\,g/(|g|+\epsilon)\approx\eta\,\mathrm{sign}(g)$. Late in training the gradients of different batches mostly cancel in $m$, so that $|\hat m|\ll\sqrt{\hat v}$ and the steps had become much smaller than $\eta$. Here the loss goes from about 0.057 to 0.168 in the second update after the interruption and needs some 20 updates to come back, two epochs of 11. Four epochs later, nothing is left to be seen: the last epoch's mean is 0.055 with and without. In a history with one point an epoch the jump is a small bump. The weights are others all the same.
#
# </details>
#
# <details><summary>4. To the bit on a GPU</summary>
#
# To resume exactly, the same update must give the same bits when it is made again. So train twice from the same seed and compare:
#
#     os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # before the GPU is first used
#     from genlab.gan import GANConfig, train_gan
#
#
#     def train_once():
#         with tempfile.TemporaryDirectory() as os.environ["GENLAB_RUNS"]:
#             return train_gan(Run(GANConfig(epochs=2, width=8, augment=["tilt"])), 2).state_dict()
#
#
#     torch.use_deterministic_algorithms(True, warn_only=True)
#     first, second = train_once(), train_once()
#     print([key for key in first if not torch.equal(first[key], second[key])])
#
# On the CPU the list is empty. On a GPU run it with and without the two lines that ask for determinism, and with and without `augment`. The cause is always the same: a sum whose parts arrive in an order that nobody fixed (atomic additions), and $(a+b)+c\ne a+(b+c)$ in floating point. PyTorch's documentation of `use_deterministic_algorithms` lists where that can happen. In this course these are the convolutions and transposed convolutions, for which cuDNN may choose such an algorithm (with the flag it chooses another one; `torch.backends.cudnn.deterministic = True` does that for cuDNN alone, so you can tell them apart), and the gradient of `grid_sample`, in the augmentations `tilt` and `translate`. The latter has no deterministic version: the flag warns, or without `warn_only=True` stops. Matrix products by cuBLAS need the environment variable.
#
# </details>
