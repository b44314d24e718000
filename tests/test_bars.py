"""Error bars mean what the text says: the spread over other samples of a model, the real images fixed."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

import genlab.measures
from genlab.fid import Views
from genlab.plug import MEASURES

DIMS = 12
BARS = "fd_lenet kd_lenet lenet_score precision recall density coverage class_kl intra_class".split()


def draw(count, scale=1.0, shift=0.0):
    return scale * torch.randn(count, DIMS, dtype=torch.float64) + shift


def check_bar(metric, values, bars):
    "The mean bar against the standard deviation of the values, within a third."
    spread, bar = np.std(values, ddof=1), np.mean(bars)
    print(f"BAR {metric} {spread:.4g} {bar / spread:.2f}")
    assert 2 / 3 < bar / spread < 4 / 3, metric


@pytest.mark.parametrize("n", [100, 500])
@pytest.mark.parametrize("metric", BARS)
def test_a_bar_is_the_spread_of_fresh_draws(metric, n, monkeypatch):
    "The bars of 20 sets, the values of 200."
    fewer = functools.partial(genlab.measures.kernel_distance, subsets=20)
    monkeypatch.setattr(genlab.measures, "kernel_distance", fewer)
    radii = functools.cache(genlab.measures._radii)  # of the real images, once
    monkeypatch.setattr(genlab.measures, "_radii", radii)
    torch.manual_seed(0)
    reference, head, values, bars = draw(2000), nn.Linear(DIMS, 5).requires_grad_(False), [], []
    for i in range(200):
        score = MEASURES[metric].function(Views(draw(n, 0.9, 0.2), reference, None, head))
        values.append(score["value"])
        if i < 20:
            bars.append(score["sd"]() if callable(score["sd"]) else score["sd"])
    check_bar(metric, values, bars)


@pytest.mark.parametrize("metric", ["memorisation", "copies"])
def test_the_bar_of_copies_is_over_samples_and_test_images(metric):
    torch.manual_seed(0)
    train, scores = draw(500), []
    for _ in range(200):
        copied = (torch.rand(400) < 0.05).nonzero().flatten()
        samples = draw(400)
        samples[copied] = train[copied] + 0.05 * samples[copied]
        scores.append(MEASURES[metric].function(Views(samples, draw(400), train, None)))
    check_bar(metric, [score["value"] for score in scores], [score["sd"] for score in scores])
