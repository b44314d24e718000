"""Frechet distance: genlab against pytorch-fid, the same moments, in one run. Values, seconds, ratio."""

import statistics
import time
import warnings

import numpy as np
from pytorch_fid.fid_score import calculate_frechet_distance

from genlab.fid import frechet_distance, frechet_distance_of_features


def timed(function, *arguments):
    "The value, and the median time of three calls after one that loads the libraries."
    value, seconds = function(*arguments), []
    for _ in range(3):
        start = time.perf_counter()
        function(*arguments)
        seconds.append(time.perf_counter() - start)
    return value, statistics.median(seconds)


def main():
    warnings.simplefilter("ignore")  # pytorch-fid says when the product is singular
    rng = np.random.default_rng(0)
    dims = 2048
    mix = rng.normal(size=(dims, dims)) / dims**0.5
    head = f"{'pytorch-fid':>16} {'genlab':>16} {'rel. difference':>16} {'seconds':>16} {'times faster':>13}"
    print(f"{'N':>6} {head}")
    for n in (10_000, 128):
        x, y = rng.normal(size=(n, dims)) @ mix, rng.normal(size=(n, dims)) @ mix + 0.05
        moments = [moment for a in (x, y) for moment in (a.mean(0), np.cov(a, rowvar=False))]
        peer, slow = timed(calculate_frechet_distance, *moments)
        if n > dims:
            value, fast = timed(frechet_distance, *moments)
        else:
            value, fast = timed(frechet_distance_of_features, x, y)
        numbers = f"{peer:>16.9f} {value:>16.9f} {abs(peer / value - 1):>16.1e}"
        print(f"{n:>6} {numbers} {slow:>8.2f} {fast:>7.2f} {slow / fast:>13.1f}")
    of_features, of_moments = frechet_distance_of_features(x, x), frechet_distance(*moments[:2], *moments[:2])
    print(f"a set with itself: {of_features:.1e} (N=128), {of_moments:.1e} (its moments)")


if __name__ == "__main__":
    main()
