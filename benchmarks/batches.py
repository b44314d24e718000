"""Batches of MNIST, in one run: epoch_batches, torchvision's MNIST in a DataLoader, and DataLoaders that are handed whole batches.

Prints images/s (median of the rounds) and how many times as fast epoch_batches is (median, and the range over the rounds).
Needs MNIST: a download, or GENLAB_MIRROR.
"""

import argparse
import time

import numpy as np
import torch
from PIL import Image
from torch.utils.data import BatchSampler, DataLoader, Dataset
from torchvision import transforms

from genlab.data import derive_seed, epoch_batches, load_dataset, to_model

USUAL = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])


class Usual(Dataset):
    "torchvision's MNIST.__getitem__: a PIL image, then the transforms."

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return USUAL(Image.fromarray(self.images[i, 0].numpy())), int(self.labels[i])


class InBatches(Usual):
    "The images of many indices at a time."

    def __getitem__(self, index):
        index = torch.as_tensor(index)
        return to_model(self.images.index_select(0, index)), self.labels[index]


def images_per_second(batches):
    start = time.perf_counter()
    n = sum(len(x) for x, _ in batches())
    return n / (time.perf_counter() - start)


def loaders(images, labels):
    "Batches of 128 in a given order, drawn in four ways."
    usual, whole = Usual(images, labels), dict(dataset=InBatches(images, labels), batch_size=None)
    return {
        "DataLoader": lambda order: DataLoader(usual, batch_size=128, sampler=order.tolist()),
        "DataLoader, 2 workers": lambda order: DataLoader(usual, batch_size=128, sampler=order.tolist(), num_workers=2),
        "DataLoader, BatchSampler": lambda order: DataLoader(sampler=BatchSampler(order.tolist(), 128, drop_last=False), **whole),
        "DataLoader, index tensors": lambda order: DataLoader(sampler=order.split(128), **whole),
    }


def check(images, labels):
    "All of them give the same pixels and labels in the same order."
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(derive_seed(0, 0)))
    theirs = [loader(order) for loader in loaders(images, labels).values()]
    for ours, *others in zip(epoch_batches((images, labels, []), 128, 0, 0), *theirs, strict=True):
        assert all(torch.equal(a, b) for other in others for a, b in zip(ours, other, strict=True))
    print("the same pixels and labels, in the same order")


def main(rounds):
    images, labels, _ = data = load_dataset("mnist")
    kinds = {"epoch_batches": lambda: epoch_batches(data, 128, 0, 0)}
    kinds |= {name: lambda loader=loader: loader(torch.randperm(len(images))) for name, loader in loaders(images, labels).items()}
    rates = np.array([[images_per_second(batches) for batches in kinds.values()] for _ in range(rounds)])
    times = rates[:, :1] / rates
    print(f"{'':>32} {'images/s':>12} {'epoch_batches is faster by':>28}")
    for kind, rate, ratio in zip(kinds, rates.T, times.T, strict=True):
        print(f"{kind:>32} {np.median(rate):>12,.0f} {np.median(ratio):>13.1f} ({ratio.min():.1f} to {ratio.max():.1f})")
    check(images, labels)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="each measures every kind once (default: 5)")
    main(parser.parse_args().rounds)
