"""Stacked MNIST: 1,000 modes whose answer is known."""

import torch
from conftest import needs_mnist

from genlab.data import load_dataset
from genlab.modern_gan import count_stacked


@needs_mnist
def test_stacked_mnist():
    "Its labels are read off its channels, it is always the same, and real images have all modes."
    for split, n in {"train": 60_000, "test": 10_000}.items():
        data, digits = load_dataset("stacked_mnist", split), load_dataset("mnist", split)
        assert data.images.shape == (n, 3, 28, 28) and data.labels.unique().tolist() == list(range(1000))
        assert torch.equal(data.images[:100], load_dataset("stacked_mnist", split).images[:100])
        for i in range(3):
            red = data.images[i, 0]
            (at,) = torch.nonzero((digits.images[:, 0] == red).flatten(1).all(1)).flatten()[:1]
            assert digits.labels[at] == data.labels[i] // 100
    modes, kl = count_stacked(load_dataset("stacked_mnist").images[:26_000])
    assert modes == 1000 and 0.015 < kl < 0.03, "999 / 52,000 by chance alone"
