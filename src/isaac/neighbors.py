"""Neighbourhoods: the rows whose contexts are most alike, or that share a key.

Paper, step 1 (context clustering): the neighbourhood of a row is its k nearest contexts, itself
included; in task-oriented dialogue, all rows with the same key.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .embeddings import GRID, Floats, Grid, as_floats

Ints = npt.NDArray[np.int64]

TILE = 1024
"""Vectors that queries are compared with at a time; bounds memory, changes no result."""


@dataclass(frozen=True, eq=False)
class Ragged:
    """Lists of unequal length end to end: list i is ``values[offsets[i]:offsets[i + 1]]``."""

    values: Ints
    offsets: Ints

    def __getitem__(self, index: int) -> Ints:
        """Return one list."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> Ints:
        """Return the length of each list."""
        return np.diff(self.offsets)

    def take(self, places: Ints) -> Ragged:
        """Return some of the lists, each as often as it is named."""
        lengths = self.lengths[places]
        shift = np.repeat(self.offsets[places] - np.cumsum(lengths) + lengths, lengths)
        return Ragged.of(self.values[shift + np.arange(len(shift))], lengths)

    @classmethod
    def of(cls, values: Ints, lengths: Ints) -> Ragged:
        """Return lists of the given lengths, cut from the values in order."""
        return cls(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def find_neighbors(queries: Grid, vectors: Grid, k: int, selves: Ints | None = None) -> Ints:
    """Return the k nearest vectors of each query by inner product, nearest first.

    ``queries`` (m, d) and ``vectors`` (n, d) lie on the grid, so that the search is exact to the
    last bit. Equal similarities are ordered by index. ``selves`` (m,) names the vector that each
    query is, which always comes first. The result has shape (m, min(k, n)).
    """
    k = min(k, len(vectors))
    asked = as_floats(queries)
    best = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(vectors), TILE):
        tile = _sortable(asked, as_floats(vectors[start : start + TILE]), start)
        if selves is not None:
            _put_first(tile, selves - start)
        best = _largest(np.concatenate([best, tile], axis=1), k)
    best.sort(axis=1)
    return _index(best[:, ::-1])


BITS = 32


def _sortable(queries: Floats, vectors: Floats, start: int) -> Ints:
    """Return whole numbers that sort by similarity, then by smaller index."""
    steps: Ints = ((queries @ vectors.T) * np.float32(GRID * GRID)).astype(np.int64)
    steps <<= BITS
    steps += (1 << BITS) - 1 - (start + np.arange(len(vectors)))
    return steps


def _put_first(tile: Ints, selves: Ints) -> None:
    rows = np.flatnonzero((selves >= 0) & (selves < tile.shape[1]))
    tile[rows, selves[rows]] |= 1 << 62


def _largest(values: Ints, k: int) -> Ints:
    if values.shape[1] <= k:
        return values
    return np.partition(values, values.shape[1] - k, axis=1)[:, -k:]


def _index(sortable: Ints) -> Ints:
    return (1 << BITS) - 1 - (sortable & ((1 << BITS) - 1))


def members_of(near: Ints, rows: Ragged, k: int) -> Ragged:
    """Return for each query the first k rows that its nearest contexts have.

    ``near`` (m, j) holds contexts, nearest first; ``rows`` holds the rows of each context.
    """
    counts = np.minimum(rows.lengths, k)[near]
    before = np.cumsum(counts, axis=1) - counts
    taken = np.clip(k - before, 0, counts)
    flat = taken.reshape(-1)
    first = rows.offsets[near].reshape(-1)
    step = np.arange(flat.sum()) - np.repeat(np.cumsum(flat) - flat, flat)
    return Ragged.of(rows.values[np.repeat(first, flat) + step], taken.sum(axis=1))


def group_by(keys: Ints) -> Ragged:
    """Return the rows that have each key, keys and rows in ascending order.

    ``keys`` (n,) are whole numbers from 0 without gaps.
    """
    order = np.argsort(keys, kind="stable").astype(np.int64)
    return Ragged.of(order, np.bincount(keys, minlength=0).astype(np.int64))
