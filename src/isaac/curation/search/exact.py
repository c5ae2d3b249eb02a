"""Neighbourhoods: the rows whose contexts are most alike, or that share a key.

Paper, step 1 (context clustering): the neighbourhood of a row is its k nearest contexts, itself
included; in task-oriented dialogue, all rows with the same key.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...runtime.arrays import Flags, Floats, Ints, Ragged
from ..vectors import GridVectors

TILE_VECTORS = 2048
"""Vectors that queries are compared with at a time; bounds memory, changes no result."""

BLOCK_QUERIES = 512
"""Queries that are searched for at a time; bounds memory, changes no result."""

BLOCK_PRODUCTS = BLOCK_QUERIES * TILE_VECTORS
"""Products of queries with vectors at a time; bounds memory, changes no result."""

BLOCK_KEYS = 5 * 2**20
"""Candidates that a block of queries has room for; bounds memory, changes no result."""


def find_neighbors(
    queries: GridVectors, vectors: GridVectors, k: int, selves: Ints | None = None
) -> Ints:
    """Return the k nearest vectors of each query by inner product, nearest first.

    ``queries`` (m, d) and ``vectors`` (n, d) lie on the grid, so that the search is exact to the
    last bit. Equal similarities are ordered by index. ``selves`` (m,) names the vector that each
    query is, which always comes first. The result has shape (m, min(k, n)).

    Beside the result it needs at most 64 MB for d = 256, whatever m, n and k, and 12 KB for each
    further dimension: a block of queries, a tile of vectors, their products, and the keys of
    `TopK`. The vectors may be mapped from a file.
    """
    k = min(k, len(vectors))
    found = np.empty((len(queries), k), np.int64)
    for block in split_queries(len(found) if k else 0, k):
        asked = queries[block].astype(np.float32)
        nearest = TopK(len(asked), k, None if selves is None else selves[block])
        every = np.arange(len(asked))
        for met in split_range(len(vectors), BLOCK_PRODUCTS // len(asked)):
            steps = compute_products(asked, vectors[met])
            nearest.update(every, steps, np.arange(met.start, met.stop))
        found[block] = nearest.best()
    return found


def compute_products(asked: Floats, vectors: GridVectors, some: Ints | None = None) -> Floats:
    """Return how similar queries (m, d) are to vectors (n, d), shape (m, n), in steps of 2^-22.

    ``some`` names those of the vectors that are meant. They become floats a tile at a time, which
    costs less than to read so many floats from memory.
    """
    steps = np.empty((len(asked), len(vectors if some is None else some)), np.float32)
    for tile in split_range(steps.shape[1], TILE_VECTORS):
        part = vectors[tile] if some is None else vectors.take(some[tile], axis=0)
        np.matmul(asked, part.astype(np.float32).T, out=steps[:, tile])
    return steps


def split_queries(count: int, k: int, most: int | None = None) -> Iterator[slice]:
    """Yield the parts of so many queries that are searched at a time for k vectors each."""
    return split_range(
        count, max(1, min(most or BLOCK_QUERIES, BLOCK_KEYS // (3 * k + 2 * SPARE_KEYS)))
    )


def split_range(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most a size that make up so many."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


SPARE_KEYS = 64
"""Vectors that wait beside twice k before they are sorted in; changes no result."""

INDEX_BITS = 32
MAX_INDEX = (1 << INDEX_BITS) - 1
NO_KEY = -(1 << 63)
"""The key of no vector, less than any other."""

MAX_STEPS = np.float32(1 << 23)
"""More steps of 2^-22 than a similarity of grid vectors has, and all exact in float32."""


class TopK:
    """The k nearest of the vectors that queries have met, in whatever order and however often.

    A vector is known by its key, a whole number that sorts by similarity, then by smaller index.
    Vectors wait in no order beside the k best of their query, and are sorted in when there are
    more than about k of them. The least similarity that can still count is known of each query;
    few vectors reach it after the first few hundred, and only those cost more than a comparison.
    """

    def __init__(self, count: int, k: int, selves: Ints | None = None) -> None:
        self.k = k
        self.keys = np.empty((count, 3 * k + 2 * SPARE_KEYS), np.int64)
        self.keys[:, :k] = NO_KEY
        self.used = np.full(count, k)
        self.least = np.full(count, -MAX_STEPS)
        self.floor = np.full(count, NO_KEY)
        self.selves = np.full(count, -1) if selves is None else selves
        own = np.flatnonzero(self.selves >= 0)
        self.keys[own, 0] = _encode_keys(np.full(len(own), MAX_STEPS), self.selves[own])

    def update(self, rows: Ints, steps: Floats, names: Ints) -> None:
        """Let some queries meet some vectors.

        ``rows`` (b,) are queries, each once, ``names`` (t,) are vectors, each once; ``steps``
        (b, t) is how similar they are, in steps of 2^-22.
        """
        width = len(names)
        self._set_first_threshold(rows, steps)
        flat = np.flatnonzero(steps >= self.least[rows][:, None])
        row = flat // width
        name = names[flat - row * width]
        keys = _encode_keys(steps.reshape(-1)[flat], name)
        query = rows[row]
        counts = (keys > self.floor[query]) & (name != self.selves[query])
        row, query, keys = row[counts], query[counts], keys[counts]
        many = np.bincount(row, minlength=len(rows))
        if many.max() > self.k + SPARE_KEYS:  # where many are equal, or the nearest come last
            for half in split_range(width, -(-width // 2)):
                self.update(rows, np.ascontiguousarray(steps[:, half]), names[half])
            return
        place = np.arange(len(row)) + (self.used[rows] - np.cumsum(many) + many)[row]
        self.keys[query, place] = keys
        self.used[rows] += many
        self._merge(rows[self.used[rows] > 2 * self.k + SPARE_KEYS])

    def _set_first_threshold(self, rows: Ints, steps: Floats) -> None:
        """Let queries that meet their first vectors wait for the k best of them only."""
        width = steps.shape[1]
        first = np.flatnonzero(self.least[rows] == -MAX_STEPS)
        if width > self.k and len(first):
            some = steps if len(first) == len(steps) else steps[first]
            least = np.partition(some, width - self.k, axis=1)[:, width - self.k]
            self.least[rows[first]] = least

    def _merge(self, rows: Ints) -> None:
        if not len(rows) or not self.k:
            return
        used = self.used[rows]
        keys = self.keys[rows, : used.max()]
        keys[np.arange(keys.shape[1]) >= used[:, None]] = NO_KEY
        keys.sort(axis=1)
        again = (keys[:, 1:] == keys[:, :-1]) & (keys[:, 1:] > NO_KEY)
        if again.any():
            keys[:, 1:][again] = NO_KEY
            keys.sort(axis=1)
        kept = keys[:, -self.k :]
        self.keys[rows, : self.k], self.used[rows] = kept, self.k
        self.floor[rows] = kept[:, 0]
        self.least[rows] = np.maximum(
            self.least[rows], (kept[:, 0] >> INDEX_BITS).astype(np.float32)
        )

    def lacking(self) -> Flags:
        """Return, after the best were asked for, which queries have met fewer than k vectors."""
        lacking: Flags = self.floor == NO_KEY
        return lacking

    def best(self) -> Ints:
        """Return the k nearest of each query, nearest first, shape (m, k)."""
        self._merge(np.arange(len(self.keys)))
        return MAX_INDEX - (self.keys[:, self.k - 1 :: -1][:, : self.k] & MAX_INDEX)


def _encode_keys(steps: Floats, names: Ints) -> Ints:
    keys: Ints = steps.astype(np.int64)
    keys <<= INDEX_BITS
    keys += MAX_INDEX - names
    return keys


def gather_rows(near: Ints, rows: Ragged, k: int) -> Ragged:
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


def group_rows(keys: Ints) -> Ragged:
    """Return the rows that have each key, keys and rows in ascending order.

    ``keys`` (n,) are whole numbers from 0 without gaps.
    """
    order = np.argsort(keys, kind="stable").astype(np.int64)
    return Ragged.of(order, np.bincount(keys, minlength=0).astype(np.int64))
