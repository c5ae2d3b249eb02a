"""Clusters of the responses in a neighbourhood.

Paper, step 2 (content clustering): DBSCAN with ``min_samples=1``, which is exactly the connected
components of the graph that joins two responses at a distance of at most the radius. Beside it a
cover by balls, densest first, which does not chain.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .embeddings import GRID, Floats
from .neighbors import Ints, Ragged

TILE = 1024
"""Responses compared with their neighbourhood at a time; bounds memory, changes no result."""

PAIRS = 2**24
"""Pairs of responses up to which their comparison is remembered; changes no result."""


class Clusters(NamedTuple):
    """Neighbourhoods with their members sorted by cluster, the largest cluster first.

    ``members`` are rows; ``sizes`` says how many of them each cluster has, and ``counts`` how many
    of those are not near-duplicates of one another, which is its size to all that follows:
    clusters come by descending count, then by the smallest row in them, members within one by row.
    """

    members: Ragged
    sizes: Ragged
    counts: Ragged


def components(vectors: Floats, radius: float) -> Ints:
    """Return the connected component of each response, named by its first member.

    ``vectors`` (b, m, d) are grid vectors of b neighbourhoods, ``radius`` the Euclidean distance
    up to which two are joined; equal vectors are, even at 0. The result is (b, m).

    In each round a response and the name that it bears take the smallest name that a neighbour of
    the response bears, and then the name which that one has taken, until no name changes. On a
    chain of n responses that takes about log n rounds.
    """
    count, size = vectors.shape[:2]
    names = np.broadcast_to(np.arange(size), (count, size)).copy()
    first = np.arange(count)[:, None] * size
    remembered = list(_apart(vectors, radius)) if count * size * size <= PAIRS else None
    while True:
        least = np.empty_like(names)
        for start, apart in _apart(vectors, radius) if remembered is None else remembered:
            reach = apart + names[:, None, :].astype(apart.dtype)
            least[:, start : start + reach.shape[1]] = reach.min(axis=2)
        lower = least.reshape(-1).copy()
        np.minimum.at(lower, (first + names).reshape(-1), least.reshape(-1))
        lower = lower[first + lower.reshape(count, size)]
        if np.array_equal(lower, names):
            return names
        names = lower


def cover(vectors: Floats, radius: float, weights: Ints | None = None) -> Ints:
    """Return the ball that covers each response, named by the response at its centre.

    The response with the most others within the radius is the first centre and its ball the first
    cluster; they are taken away, and so on, equal counts to the first of them. Unlike components,
    no cluster is wider than twice the radius: nothing chains. Shapes are those of `components`;
    ``weights`` (b, m) says how many responses each stands for, one if not given.
    """
    count, size = vectors.shape[:2]
    if count * size * size > PAIRS and count > 1:
        every = [None] * count if weights is None else [one[None] for one in weights]
        return np.concatenate(
            [cover(one[None], radius, many) for one, many in zip(vectors, every, strict=True)]
        )
    names = np.broadcast_to(np.arange(size), (count, size)).copy()
    left = np.ones((count, size), bool)
    joined = _Joined(vectors, radius, np.ones((count, size)) if weights is None else weights)
    degrees = joined.degrees()
    while (most := np.where(left, degrees, 0)).max(initial=0) > 1:
        busy = np.flatnonzero(most.max(axis=1) > 1)
        centres = most[busy].argmax(axis=1)
        balls = joined.rows(busy, centres) & left[busy]
        names[busy] = np.where(balls, centres[:, None], names[busy])
        left[busy] &= ~balls
        degrees[busy] -= joined.counts(busy, balls)
    return names


class _Joined:
    """Which responses of each neighbourhood lie within the radius, remembered if they are few."""

    def __init__(self, vectors: Floats, radius: float, weights: npt.NDArray[Any]) -> None:
        self.vectors, self.radius = vectors, radius
        self.weights = weights.astype(np.float32)
        count, size = vectors.shape[:2]
        self.known: npt.NDArray[np.float32] | None = None
        if count * size * size <= PAIRS:
            tiles = [apart == 0 for _, apart in _apart(vectors, radius)]
            self.known = np.concatenate(tiles, axis=1).astype(np.float32)

    def degrees(self) -> Ints:
        """Return how many responses each one is joined to, itself included."""
        if self.known is not None:
            return np.asarray((self.known @ self.weights[:, :, None])[:, :, 0], np.int64)
        tiles = [
            ((apart == 0) @ self.weights[:, :, None].astype(np.float64))[:, :, 0]
            for _, apart in _apart(self.vectors, self.radius)
        ]
        return np.concatenate(tiles, axis=1).astype(np.int64)

    def rows(self, which: Ints, places: Ints) -> npt.NDArray[np.bool_]:
        """Return the responses joined to one response of each neighbourhood named."""
        if self.known is not None:
            return np.asarray(self.known[which, places] > 0)
        return self._near(places)

    def counts(self, which: Ints, chosen: npt.NDArray[np.bool_]) -> Ints:
        """Return how many of the chosen responses each response is joined to."""
        if self.known is not None:
            products = self.known[which] @ (chosen * self.weights[which])[:, :, None]
            return np.asarray(products[:, :, 0], np.int64)
        places = np.flatnonzero(chosen[0])
        tiles = [places[start : start + TILE] for start in range(0, len(places), TILE)]
        near = sum(self.weights[0, tile].astype(np.float64) @ self._near(tile) for tile in tiles)
        return np.asarray(near, np.int64)[None]

    def _near(self, places: Ints) -> npt.NDArray[np.bool_]:
        """Return the responses joined to each of some responses of the only neighbourhood."""
        return np.asarray(_within(self.vectors, self.vectors[:, places], self.radius)[0])


def _apart(
    vectors: Floats, radius: float
) -> Iterator[tuple[int, npt.NDArray[np.int16] | npt.NDArray[np.int32]]]:
    """Yield (start, 0 where two responses are joined and m where not) for tiles of rows."""
    size = vectors.shape[1]
    small = np.int16 if 2 * size < 2**15 else np.int32
    for start in range(0, size, TILE):
        joined = _within(vectors, vectors[:, start : start + TILE], radius)
        yield start, np.where(joined, small(0), small(size))


def _within(vectors: Floats, some: Floats, radius: float) -> npt.NDArray[np.bool_]:
    """Return which vectors (b, m, d) lie within the radius of some of them (b, n, d), (b, n, m).

    Two do if a·b - b·b/2 >= a·a/2 - radius^2/2; squares of distances on the grid are whole numbers
    of steps, and so is the radius made.
    """
    square = np.float32(math.floor((radius * GRID) ** 2 + 1e-6) / GRID**2)
    half = np.square(vectors).sum(axis=2) / np.float32(2)
    least = np.square(some).sum(axis=2) / np.float32(2) - square / np.float32(2)
    closeness = some @ vectors.transpose(0, 2, 1)
    closeness -= half[:, None, :]
    return np.asarray(closeness >= least[:, :, None])


def by_size(members: Ints, names: Ints, kinds: Ints | None = None) -> Clusters:
    """Return neighbourhoods of one length with their members sorted by cluster.

    ``members`` (b, m) are rows, ``names`` (b, m) says in which cluster each is, ``kinds`` (b, m)
    which of them are near-duplicates; without it each counts.
    """
    count, length = members.shape
    order = np.argsort(members, axis=1, kind="stable")
    rows = np.take_along_axis(members, order, axis=1)
    names = np.take_along_axis(names, order, axis=1)
    whole = np.arange(count)[:, None] * (int(names.max(initial=0)) + 1) + names
    _, first, inverse, sizes = np.unique(
        whole, return_index=True, return_inverse=True, return_counts=True
    )
    inverse = inverse.reshape(count, length)
    counts = sizes
    if kinds is not None:
        kinds = np.take_along_axis(kinds, order, axis=1)
        pairs = np.unique(inverse * (int(kinds.max(initial=0)) + 1) + kinds)
        counts = np.bincount(pairs // (int(kinds.max(initial=0)) + 1), minlength=len(sizes))
    place = np.lexsort((rows, (first % length)[inverse], -counts[inverse]), axis=1)
    ranked = np.lexsort((first, -counts, first // length))
    lengths = np.bincount(first // length, minlength=count)
    return Clusters(
        Ragged.of(np.take_along_axis(rows, place, axis=1).reshape(-1), np.full(count, length)),
        Ragged.of(sizes[ranked], lengths),
        Ragged.of(counts[ranked].astype(np.int64), lengths),
    )
