"""Batches of MNIST: epoch_batches, torchvision's MNIST in a DataLoader, DataLoaders of whole batches.

Prints images/s (median of the rounds) and how many times as fast epoch_batches is (median and range).
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

CONVERT = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])


class OneByOne(Dataset):
    "torchvision's MNIST.__getitem__: a PIL image, then the transforms."

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return CONVERT(Image.fromarray(self.images[i, 0].numpy())), int(self.labels[i])


class InBatches(OneByOne):
    "The images of many indices at a time."

    def __getitem__(self, index):
        index = torch.as_tensor(index)
        return to_model(self.images.index_select(0, index)), self.labels[index]


class Loaders:
    "Batches of 128 of an epoch, drawn in five ways, all in the order of epoch_batches."

    def __init__(self, data):
        self.data = data
        self.one_by_one, self.in_batches = OneByOne(*data[:2]), InBatches(*data[:2])

    def order(self, epoch):
        generator = torch.Generator().manual_seed(derive_seed(0, epoch))
        return torch.randperm(len(self.data.images), generator=generator)

    def epoch_batches(self, epoch):
        return epoch_batches(self.data, 128, seed=0, epoch=epoch)

    def dataloader(self, epoch, workers=0):
        return DataLoader(
            self.one_by_one, batch_size=128, sampler=self.order(epoch).tolist(), num_workers=workers
        )

    def dataloader_with_2_workers(self, epoch):
        return self.dataloader(epoch, workers=2)

    def batch_sampler(self, epoch):
        sampler = BatchSampler(self.order(epoch).tolist(), 128, drop_last=False)
        return DataLoader(self.in_batches, batch_size=None, sampler=sampler)

    def index_tensors(self, epoch):
        return DataLoader(self.in_batches, batch_size=None, sampler=self.order(epoch).split(128))

    def all(self):
        return [
            self.epoch_batches,
            self.dataloader,
            self.dataloader_with_2_workers,
            self.batch_sampler,
            self.index_tensors,
        ]


def images_per_second(loader, epoch):
    start = time.perf_counter()
    n = sum(len(x) for x, _ in loader(epoch))
    return n / (time.perf_counter() - start)


def check(loaders):
    "All of them give the same pixels and labels in the same order."
    for batch, *others in zip(*(loader(0) for loader in loaders), strict=True):
        assert all(torch.equal(a, b) for other in others for a, b in zip(batch, other, strict=True))
    print("the same pixels and labels, in the same order")


def main(rounds):
    loaders = Loaders(load_dataset("mnist")).all()
    rates = np.array([[images_per_second(loader, epoch) for loader in loaders] for epoch in range(rounds)])
    print(f"{'':>26} {'images/s':>12} {'epoch_batches is faster by':>28}")
    for loader, rate, ratio in zip(loaders, rates.T, (rates[:, :1] / rates).T, strict=True):
        faster = f"{np.median(ratio):>13.1f} ({ratio.min():.1f} to {ratio.max():.1f})"
        print(f"{loader.__name__:>26} {np.median(rate):>12,.0f} {faster}")
    check(loaders)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="each measures every kind once (default: 5)")
    main(parser.parse_args().rounds)
