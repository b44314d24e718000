"""One more of everything that has a name in genlab, from outside of it; see tests/test_plug.py."""

import os
import time
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd
import torch
from pydantic import Field, PositiveFloat
from torch import nn

from genlab.data import ImageSet, load_dataset, to_image
from genlab.features import Extractor
from genlab.fid import Measure, Views, check_metrics, evaluate
from genlab.plug import (
    EXTRACTORS,
    KINDS,
    LOADERS,
    LOSSES,
    MEASURES,
    NETWORKS,
    SAMPLERS,
    SCHEDULES,
    SECTIONS,
    Kind,
    Section,
)
from genlab.runs import Run, RunConfig, fits_memory, latents, project_root
from genlab.tables import loss_table

# -- a data set -----------------


def negatives(split: str) -> ImageSet:
    "A few digits, black on white."
    data = load_dataset("digits", split).pick(slice(0, 150))
    return data._replace(images=255 - data.images)


LOADERS["negatives"] = negatives

# -- a network, a schedule and a sampler of diffusion models -----------------


class OneLayer(nn.Module):
    "(xt, t, y) -> prediction: a convolution, which sees the time as a second image."

    def __init__(self, channels: int):
        super().__init__()
        self.only = nn.Conv2d(channels + 1, channels, 5, padding=2)

    def forward(self, xt: torch.Tensor, t: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        time = t.view(-1, 1, 1, 1).to(xt.dtype).expand(-1, 1, *xt.shape[2:])
        return self.only(torch.cat([xt, time / 1000], 1))


def one_layer(config: RunConfig, data: ImageSet) -> OneLayer:
    return OneLayer(data.images.shape[1])


def constant_betas(T: int) -> torch.Tensor:
    "The same share of noise in each step; abar falls to 1e-4."
    return torch.full((T,), 1 - 1e-4 ** (1 / T), dtype=torch.float64)


def one_jump(model, shape, steps, seed, callback=None, start=0, times=None, noise=None) -> torch.Tensor:
    "What the model believes in when it sees nothing but noise: one evaluation, whatever `steps` is."
    x = noise() if noise else latents(shape[0], shape[1:], seed, start)
    return model(x.to(model.device), model.diffusion.T)


NETWORKS["ddpm"]["one-layer"] = one_layer
SCHEDULES["constant"] = constant_betas
SAMPLERS["jump"] = one_jump

# -- a GAN's loss -----------------


def squared_d_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    "Real images are to have the verdict 1, others 0 (Mao et al. 2017, eq. 9)."
    return (real_logits - 1).square().mean() + fake_logits.square().mean()


def squared_g_loss(fake_logits: torch.Tensor) -> torch.Tensor:
    return (fake_logits - 1).square().mean()


LOSSES["squared"] = (squared_d_loss, squared_g_loss)

# -- features, and a measure that uses them -----------------


def blocks(dataset: str | None, size: int) -> Extractor:
    "Means over blocks of 4x4 pixels as features."
    network = nn.Sequential(nn.AvgPool2d(4), nn.Flatten())
    return Extractor("means of 4x4 pixels", "means-of-4x4", network)


def mean_shift(views: Views) -> dict:
    return {"value": (views.samples.mean(0) - views.reference.mean(0)).norm().item()}


EXTRACTORS["blocks"] = blocks
MEASURES["mean_shift"] = Measure(
    mean_shift, "shift", "distance of the mean features", "smaller", "none", extractor="blocks"
)

# -- a section of the report -----------------


def brightness_section(runs: pd.DataFrame, folder: Path) -> Section:
    done = runs[runs.metrics.notna()]
    means = [f"{r.label} {r.job.run.samples(r.epochs).float().mean():.0f}" for r in done.itertuples()]
    return Section(f"# How bright? {{#sec-brightness}}\n\nMean of all pixels: {', '.join(means)}.\n")


SECTIONS["brightness"] = brightness_section

# -- a kind of model: the mean image, with noise -----------------


class MeanConfig(RunConfig):
    log_line: ClassVar[str] = "loss: {loss:.4f}"

    model: Literal["mean"] = "mean"
    name: str = Field("mean", pattern=r"^[\w.-]+$")
    lr: PositiveFloat = 0.1  # Adam's learning rate
    noise: PositiveFloat = 0.1  # standard deviation around the mean


class MeanImage(nn.Module):
    "z (B, C, H, W) to images like it."

    def __init__(self, shape: torch.Size, noise: float):
        super().__init__()
        self.mean, self.noise = nn.Parameter(torch.zeros(shape)), noise

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.mean + self.noise * z


@fits_memory
def make_mean(config: MeanConfig, data: ImageSet) -> MeanImage:
    return MeanImage(data.images.shape[1:], config.noise)


def train_mean(run: Run, epochs: int) -> MeanImage:
    data = run.config.training_set()
    net = make_mean(run.config, data)
    opt = torch.optim.Adam(net.parameters(), run.config.lr)
    if run.load_weights(epochs, net):
        return net
    for x, _ in run.batches(data, epochs, "cpu", net=net, opt=opt):
        loss = (net.mean - x).square().mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        run.log(loss=loss)
    run.keep_weights(epochs, net)
    return net


def run_mean(config: MeanConfig) -> Run:
    run = Run(config)
    with run.lock():
        for epochs in run.pending():
            n = config.n_samples or check_metrics(config.dataset, config.size, config.metrics)
            net = train_mean(run, epochs)
            start = time.perf_counter()
            samples = to_image(net(latents(n, tuple(net.mean.shape), config.seed)))
            seconds = time.perf_counter() - start
            scores = evaluate(samples, config.dataset, config.metrics)
            run.finish(epochs, samples, scores=scores, sample_seconds=seconds)
    return run


def mean_section(runs: pd.DataFrame, folder: Path) -> Section:
    text = "# The mean image {#sec-mean}\n\nIt knows one image, and adds noise to it.\n\n"
    return Section(text + loss_table(runs, {"loss": "squared error"}, "mean-losses"))


NOTEBOOK = os.path.relpath(Path(__file__).with_name("mean"), project_root() / "nbs")
KINDS["mean"] = Kind("mean image", NOTEBOOK, MeanConfig, run_mean, mean_section)
