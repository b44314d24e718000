"""Batches of large sets of 64x64 colour images, from a memory map and from memory, in one run.

Makes sets of 200,000 and 3,000,000 images (2.5 and 36.9 GB, in a temporary folder: TMPDIR says where) by
repeating a real one with changes: mirrored, shifted, darker. They lie in the cache as a converted folder
would, and are loaded in the same way. Prints start-up times, images/s (median of the rounds), how many times
as fast memory is (median and range), and by how much the process grew: its own memory (RssAnon), and the
pages of the map that it has touched (RssFile), which the system takes back when it needs the room. Linux.
"""

import argparse
import gc
import os
import tempfile
import time
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from genlab.data import derive_seed, epoch_batches, fingerprint, load_dataset, to_model
from genlab.plug import LOADERS
from genlab.runs import device_name
from genlab.sources import Source, cache_dir, converted

SIZE, BATCH, CHUNK = 64, 128, 5000


def changed(images, n, seed):
    "n images: random ones, some of them mirrored, all moved by the same few pixels, and darker or not."
    generator = torch.Generator().manual_seed(derive_seed(seed))
    draw = lambda high, shape: torch.randint(high, shape, generator=generator)
    x = images.index_select(0, draw(len(images), (n,)))
    x[: n // 2] = x[: n // 2].flip(3)
    x = x.roll(draw(9, (2,)).tolist(), (2, 3)).to(torch.int16)
    return x.mul_((128 + draw(129, (n, 1, 1, 1))).to(torch.int16)).bitwise_right_shift_(8).to(torch.uint8)


def write_ahead(images, n):
    "As a conversion that was interrupted at its very end: all images are there, and no facts about them."
    (lock,) = cache_dir("converted").glob("*.lock")  # that of the set which is being converted
    folder = lock.with_suffix(".tmp")
    folder.mkdir()
    with open(folder / "images.bin", "wb") as file:
        for start in range(0, n, CHUNK):
            file.write(changed(images, min(CHUNK, n - start), start).numpy())
        os.fsync(file.fileno())
    (folder / "good.bin").write_bytes(b"\1" * n)
    return Source(n, None, {"RGB": 255})


def add_set(images, n):
    "Make a data set of so many images known. Returns its name."

    def load(split):
        return partial(converted, f"{n:,} images", [n], partial(write_ahead, images, n))

    LOADERS[f"repeated-{n}"] = load
    return f"repeated-{n}"


def memory():
    "Megabytes of the process: its own, and pages of files."
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = dict(line.split(":") for line in lines)
    return np.array([int(sizes[key].split()[0]) / 1024 for key in ("RssAnon", "RssFile")])


def forget():
    "Take the file of the set out of the system's memory. Nothing may have mapped it."
    gc.collect()
    for path in cache_dir("converted").glob("*/images.bin"):
        with open(path) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def random_order(data, epoch):
    return epoch_batches(data, BATCH, seed=0, epoch=epoch)


def not_announced(data, epoch):
    "The same order, but the map is not told which images come next."
    del data.images.will_read
    return epoch_batches(data, BATCH, seed=0, epoch=epoch)


def blocks(data, epoch):
    "What an order would give that reads 128 neighbours at a time."
    generator = torch.Generator().manual_seed(derive_seed(0, epoch))
    for i in torch.randperm(len(data.images) // BATCH, generator=generator).tolist():
        yield to_model(data.images[i * BATCH : (i + 1) * BATCH]), None


def images_per_second(batches, n):
    "Of the batches after the first, which waits for the order of the epoch; and the largest growth in MB."
    before, most, count = memory(), np.zeros(2), 0
    next(batches)
    start = time.perf_counter()
    for x, _ in islice(batches, n):
        count += len(x)
        if count % (20 * BATCH) == 0:
            most = np.maximum(most, memory() - before)
    return count / (time.perf_counter() - start), np.maximum(most, memory() - before)


def timed(function, *arguments):
    start = time.perf_counter()
    value = function(*arguments)
    return value, time.perf_counter() - start


def line(what, rate, growth, ratio=None):
    faster = "" if ratio is None else f"{np.median(ratio):>8.2f} ({min(ratio):.2f} to {max(ratio):.2f})"
    print(f"  {what:<42} {rate:>9,.0f} {growth[0]:>9,.0f} {growth[1]:>9,.0f} {faster}", flush=True)


def start_up(name):
    "Seconds of the first start, and of what a later one and an epoch begin with."
    first = timed(load_dataset, name, "train", SIZE)[1]
    gc.collect()
    before = memory()
    data, again = timed(load_dataset, name, "train", SIZE)
    known, order = timed(fingerprint, data)[1], timed(torch.randperm, len(data.images))[1]
    print(f"\n{name}: {first:.1f} s to write, sum and load; later {again * 1e3:.1f} ms to load,", end=" ")
    print(f"{known * 1e3:.1f} ms for the fingerprint, {order * 1e3:.0f} ms for the order of an epoch")
    print(f"  {'':<42} {'images/s':>9} {'own MB':>9} {'file MB':>9} memory is faster by")
    print("  {:<42} {:>9} {:>9,.0f} {:>9,.0f}".format("loading", "", *memory() - before), flush=True)


def cold(name, batches):
    "The first batches where the system has read nothing of the file yet, or has forgotten it."
    for order, share in [(random_order, 1), (blocks, 1), (not_announced, 30)]:
        forget()
        data = load_dataset(name, "train", SIZE)
        rate, growth = images_per_second(order(data, 0), max(3, batches // share))
        line(f"map, nothing read before, {order.__name__}", rate, growth)
        del data


def warm(name, part, rounds, batches):
    "Memory and map take turns: the same images first, then all of the map."
    every = load_dataset(name, "train", SIZE)
    some = every.pick(slice(part))
    copy = some._replace(images=some.images.clone())
    some.images.will_read = every.images.will_read  # a part does not know that it lies in a file
    loaders = {f"memory, {part:,} images": copy, f"map, the same {part:,}": some}
    if part < len(every.images):
        loaders[f"map, all {len(every.images):,}"] = every
    found = [
        [images_per_second(random_order(data, epoch), batches) for data in loaders.values()]
        for epoch in range(rounds)
    ]
    rates = np.array([[rate for rate, _ in row] for row in found])
    growth = np.max([[grown for _, grown in row] for row in found], axis=0)
    for what, rate, grown, ratio in zip(loaders, rates.T, growth, (rates[:, :1] / rates).T, strict=True):
        line(what, np.median(rate), grown, ratio)


def main(options):
    torch.set_num_threads(options.threads)
    real = load_dataset(options.dataset, "train", SIZE).images
    print(f"{device_name('cpu')}; {len(real):,} images of {options.dataset}, repeated", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for n in options.n:
            os.environ["GENLAB_CACHE"] = f"{folder}/{n}"
            name = add_set(real.expand(-1, 3, -1, -1), n)
            start_up(name)
            cold(name, options.batches)
            warm(name, min(n, options.fits), options.rounds, options.batches)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="tinted_digits", help="what is repeated: folder:PATH, ...")
    parser.add_argument("--n", type=int, nargs="+", default=[200_000, 3_000_000], help="images of each set")
    parser.add_argument("--fits", type=int, default=200_000, help="as many are copied to memory at most")
    parser.add_argument("--batches", type=int, default=300, help="in a measurement, of 128 images")
    parser.add_argument("--rounds", type=int, default=5, help="each measures every kind once")
    parser.add_argument("--threads", type=int, default=1)
    main(parser.parse_args())
