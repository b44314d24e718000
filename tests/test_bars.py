"""Error bars mean what the text says: the spread over other samples of the same model, the real images fixed."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

import genlab.fid
from genlab.fid import MEASURES, Views

DIMS = 12
BARS = ["fd_lenet", "kd_lenet", "lenet_score", "precision", "recall", "density", "coverage", "class_kl", "intra_class"]


def draw(count, scale=1.0, shift=0.0):
    return scale * torch.randn(count, DIMS, dtype=torch.float64) + shift


@pytest.mark.parametrize("n", [100, 500])
@pytest.mark.parametrize("measure", [m for m in MEASURES if m.extractor == "lenet" and set(m.metrics) & set(BARS)], ids=lambda m: m.metrics[0])
def test_a_bar_is_the_spread_of_fresh_draws(measure, n, monkeypatch):
    "The mean bar of 20 sets against the standard deviation of the values of 200, within a third."
    monkeypatch.setattr(genlab.fid, "kernel_distance", functools.partial(genlab.fid.kernel_distance, subsets=20))
    monkeypatch.setattr(genlab.fid, "_radii", functools.cache(genlab.fid._radii))  # of the real images, once
    torch.manual_seed(0)
    reference, head, values, bars = draw(2000), nn.Linear(DIMS, 5).requires_grad_(False), [], []
    for i in range(200):
        scores = measure.function(Views(draw(n, 0.9, 0.2), reference, None, head))
        values.append([score["value"] for score in scores])
        if i < 20:
            bars.append([score["sd"]() if callable(score["sd"]) else score["sd"] for score in scores])
    for metric, spread, bar in zip(measure.metrics, np.std(values, axis=0, ddof=1), np.mean(bars, axis=0), strict=True):
        print(f"BAR {metric} {n} {spread:.4g} {bar / spread:.2f}")
        assert 2 / 3 < bar / spread < 4 / 3, metric


@pytest.mark.parametrize("metric", ["memorisation", "copies"])
def test_the_bar_of_copies_is_over_samples_and_test_images(metric):
    torch.manual_seed(0)
    train, scores = draw(500), []
    for _ in range(200):
        copied = (torch.rand(400) < 0.05).nonzero().flatten()
        samples = draw(400)
        samples[copied] = train[copied] + 0.05 * samples[copied]
        scores.append(next(m for m in MEASURES if metric in m.metrics).function(Views(samples, draw(400), train, None)))
    which = next(m for m in MEASURES if metric in m.metrics).metrics.index(metric)
    spread, bar = np.std([s[which]["value"] for s in scores], ddof=1), np.mean([s[which]["sd"] for s in scores])
    print(f"BAR {metric} {spread:.4g} {bar / spread:.2f}")
    assert 2 / 3 < bar / spread < 4 / 3
