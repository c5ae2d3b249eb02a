"""Means of like vectors, the same on any machine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...runtime.arrays import Ints
from ..vectors import GRID_STEPS, GridVectors

ITERATIONS = 6
"""Rounds of k-means."""


def evenly_spaced(count: int, size: int) -> Ints:
    """Return at most so many numbers below count, evenly spaced."""
    size = min(count, size)
    return (2 * np.arange(size) + 1) * count // max(1, 2 * size)


def spherical_kmeans(
    vectors: GridVectors, count: int, each: int, nearest: Callable[[GridVectors, GridVectors], Ints]
) -> GridVectors:
    """Return at most so many means of like vectors: spherical k-means, Dhillon and Modha 2001.

    They are learnt from the distinct vectors of an even sample, ``each`` for a mean, and start with
    some of them; ``nearest`` returns for each vector the place of its nearest mean. Sums are of
    whole numbers, and each round ends on the grid.
    """
    sample = np.ascontiguousarray(vectors[evenly_spaced(len(vectors), each * count)])
    rows = sample.view(np.dtype((np.void, sample.itemsize * sample.shape[1])))[:, 0]
    sample = sample[np.sort(np.unique(rows, return_index=True)[1])]
    means = sample[evenly_spaced(len(sample), count)]
    for _ in range(ITERATIONS):
        means = update_centroids(means, sample, nearest(sample, means))
    return means


def update_centroids(means: GridVectors, vectors: GridVectors, places: Ints) -> GridVectors:
    """Return the means of the vectors at each place; where there are none, the mean stays."""
    order = np.argsort(places, kind="stable")
    named, first = np.unique(places[order], return_index=True)
    sums = np.add.reduceat(vectors[order], first, axis=0, dtype=np.int64)
    lengths = np.sqrt((sums * sums).sum(axis=1, keepdims=True).astype(np.float64))
    found = means.copy()
    found[named] = np.rint(sums * (GRID_STEPS / np.maximum(lengths, 1)))
    return found
