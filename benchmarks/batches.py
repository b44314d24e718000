"""Batches of MNIST: epoch_batches against torchvision's MNIST in a DataLoader, in one run. Prints images/s and their ratio.

Needs MNIST: a download, or GENLAB_MIRROR.
"""

import statistics
import time

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from genlab.data import derive_seed, epoch_batches, load_dataset

USUAL = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])


class AsTorchvision(Dataset):
    "torchvision's MNIST.__getitem__: a PIL image, then the transforms."

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return USUAL(Image.fromarray(self.images[i, 0].numpy(), mode="L")), int(self.labels[i])


def images_per_second(batches):
    start = time.perf_counter()
    n = sum(len(x) for x, _ in batches)
    return n / (time.perf_counter() - start)


def main():
    data = load_dataset("mnist")
    usual = AsTorchvision(data.images, data.labels)
    print(f"{'':>24} {'images/s':>12} {'epoch_batches is faster by':>28}")
    ours = statistics.median(images_per_second(epoch_batches(data, 128, 0, epoch)) for epoch in range(5))
    print(f"{'epoch_batches':>24} {ours:>12,.0f}")
    for workers in (0, 2):
        loader = DataLoader(usual, batch_size=128, shuffle=True, num_workers=workers)
        theirs = statistics.median(images_per_second(loader) for _ in range(3))
        print(f"{f'DataLoader, {workers} workers':>24} {theirs:>12,.0f} {ours / theirs:>28.0f}")
    order = torch.randperm(len(usual), generator=torch.Generator().manual_seed(derive_seed(0, 0))).tolist()
    both = zip(DataLoader(usual, batch_size=128, sampler=order), epoch_batches(data, 128, 0, 0), strict=True)
    assert all(torch.equal(x, ours) and torch.equal(y, labels) for (x, y), (ours, labels) in both)
    print("the same pixels and labels, in the same order")


if __name__ == "__main__":
    main()
