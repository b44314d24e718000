"""Batches of MNIST, in one run: epoch_batches, torchvision's MNIST in a DataLoader, and a DataLoader that is handed whole batches.

Prints images/s (median of the rounds) and how many times as fast epoch_batches is (median, and the range over the rounds).
Needs MNIST: a download, or GENLAB_MIRROR.
"""

import argparse
import time

import numpy as np
import torch
from PIL import Image
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler
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


class Best(Usual):
    "A batch at a time: what a DataLoader can do with a BatchSampler and batch_size=None."

    def __getitem__(self, index):
        index = torch.tensor(index)
        return to_model(self.images.index_select(0, index)), self.labels[index]


def images_per_second(batches):
    start = time.perf_counter()
    n = sum(len(x) for x, _ in batches)
    return n / (time.perf_counter() - start)


def whole_batches(dataset, sampler, **options):
    return DataLoader(dataset, sampler=BatchSampler(sampler, 128, drop_last=False), batch_size=None, **options)


def check(images, labels):
    "All three give the same pixels and labels in the same order."
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(derive_seed(0, 0))).tolist()
    loaders = DataLoader(Usual(images, labels), batch_size=128, sampler=order), whole_batches(Best(images, labels), order)
    for ours, *theirs in zip(epoch_batches((images, labels, []), 128, 0, 0), *loaders, strict=True):
        assert all(torch.equal(a, b) for batch in theirs for a, b in zip(ours, batch, strict=True))
    print("the same pixels and labels, in the same order")


def main(rounds):
    images, labels, _ = data = load_dataset("mnist")
    usual, best = Usual(images, labels), Best(images, labels)
    kinds = {"epoch_batches": lambda: epoch_batches(data, 128, 0, 0)}
    for workers in (0, 2):
        kinds[f"DataLoader, {workers} workers"] = lambda n=workers: DataLoader(usual, 128, shuffle=True, num_workers=n)
        kinds[f"with a BatchSampler, {workers} workers"] = lambda n=workers: whole_batches(best, RandomSampler(best), num_workers=n)
    rates = np.array([[images_per_second(kind()) for kind in kinds.values()] for _ in range(rounds)])
    times = rates[:, :1] / rates
    print(f"{'':>32} {'images/s':>12} {'epoch_batches is faster by':>28}")
    for kind, rate, ratio in zip(kinds, rates.T, times.T, strict=True):
        print(f"{kind:>32} {np.median(rate):>12,.0f} {np.median(ratio):>13.1f} ({ratio.min():.1f} to {ratio.max():.1f})")
    check(images, labels)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="each measures every kind once (default: 5)")
    main(parser.parse_args().rounds)
