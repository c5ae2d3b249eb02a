"""Spherical k-means on grid vectors, with the same result on any machine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...runtime.arrays import Ints
from ..vectors import GRID_STEPS, GridVectors

ITERATIONS = 6
"""Iterations of k-means."""


def evenly_spaced(count: int, size: int) -> Ints:
    """At most ``size`` integers below ``count``, evenly spaced."""
    size = min(count, size)
    return (2 * np.arange(size) + 1) * count // max(1, 2 * size)


def spherical_kmeans(
    vectors: GridVectors,
    count: int,
    samples_per_centroid: int,
    assign: Callable[[GridVectors, GridVectors], Ints],
) -> GridVectors:
    """Compute at most ``count`` centroids by spherical k-means (Dhillon and Modha 2001).

    They are learned from the distinct vectors of an even sample, ``samples_per_centroid`` for each,
    and start as some of these. ``assign(vectors, centroids)`` returns the number of each vector's
    nearest centroid. All sums are of integers and each iteration ends on the grid, so the result is
    the same on any machine.
    """
    sample = np.ascontiguousarray(
        vectors[evenly_spaced(len(vectors), samples_per_centroid * count)]
    )
    # Keep the first of equal vectors: each row (d,) is compared as one block of bytes.
    rows = sample.view(np.dtype((np.void, sample.itemsize * sample.shape[1])))[:, 0]
    sample = sample[np.sort(np.unique(rows, return_index=True)[1])]
    centroids = sample[evenly_spaced(len(sample), count)]
    for _ in range(ITERATIONS):
        centroids = update_centroids(centroids, sample, assign(sample, centroids))
    return centroids


def update_centroids(
    centroids: GridVectors, vectors: GridVectors, assignments: Ints
) -> GridVectors:
    """Move each centroid to the mean direction of its vectors; one without vectors stays.

    ``assignments`` (n,) is the centroid of each vector.
    """
    order = np.argsort(assignments, kind="stable")
    used, first = np.unique(assignments[order], return_index=True)
    # Sums (u, d) of the vectors of each centroid that has any, scaled to unit length on the grid.
    sums = np.add.reduceat(vectors[order], first, axis=0, dtype=np.int64)
    lengths = np.sqrt((sums * sums).sum(axis=1, keepdims=True).astype(np.float64))
    moved = centroids.copy()
    moved[used] = np.rint(sums * (GRID_STEPS / np.maximum(lengths, 1)))
    return moved
