"""Exact nearest-neighbor search, and rows grouped by context or by key.

Paper, step 1 (context clustering): the neighborhood of a row is its k nearest contexts, including
its own; in task-oriented dialogue, all rows with the same key.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ...runtime.arrays import Flags, Floats, Ints, Ragged
from ...runtime.engines import Engine
from ..vectors import GridVectors

TILE_VECTORS = 2048
"""Vectors converted to floats at a time; bounds memory, does not affect results."""

BLOCK_QUERIES = 512
"""Queries searched at a time; bounds memory, does not affect results."""

BLOCK_PRODUCTS = BLOCK_QUERIES * TILE_VECTORS
"""Dot products computed at a time; bounds memory, does not affect results."""

BLOCK_KEYS = 5 * 2**20
"""Candidates that one block of queries can hold; bounds memory, does not affect results."""


def find_neighbors(
    queries: GridVectors, vectors: GridVectors, k: int, selves: Ints | None = None
) -> Ints:
    """Find the k nearest vectors of each query by inner product, nearest first.

    ``queries`` (m, d) and ``vectors`` (n, d) are grid vectors, so the search is exact to the last
    bit. Equal similarities are ordered by index. ``selves`` (m,) is the index of the vector that
    is the query itself, -1 for none; that vector always comes first. The result has shape
    (m, min(k, n)).

    Besides the result it needs at most 64 MB for d = 256, whatever m, n and k, and 12 KB for each
    further dimension: a block of queries, a tile of vectors, their products, and the keys of
    `TopK`. The vectors can be memory-mapped.
    """
    return find_nearest(queries, vectors, k, selves).indices


class Nearest(NamedTuple):
    """The nearest vectors of each query, nearest first.

    ``indices`` (m, k) of the vectors, and ``steps`` (m, k), their similarities in steps of 2^-22;
    a vector that is the query itself has more steps than any similarity.
    """

    indices: Ints
    steps: Ints


def find_nearest(
    queries: GridVectors, vectors: GridVectors, k: int, selves: Ints | None = None
) -> Nearest:
    """Find the k nearest vectors of each query with their similarities; see `find_neighbors`."""
    k = min(k, len(vectors))
    found = Nearest(*np.empty((2, len(queries), k), np.int64))
    for block in split_queries(len(queries) if k else 0, k):
        query_floats = queries[block].astype(np.float32)
        nearest = TopK(len(query_floats), k, None if selves is None else selves[block])
        rows = np.arange(len(query_floats))
        for tile in split_range(len(vectors), BLOCK_PRODUCTS // len(query_floats)):
            steps = compute_products(query_floats, vectors[tile])
            nearest.update(rows, steps, np.arange(tile.start, tile.stop))
        found.indices[block] = nearest.result()
        found.steps[block] = nearest.steps()
    return found


QUERIES_PER_ITEM = 2048
"""Queries that one worker searches at a time; does not affect results."""


def find_nearest_in_parallel(
    queries: GridVectors, vectors: GridVectors, k: int, engine: Engine
) -> Nearest:
    """Find the k nearest vectors of each query like `find_nearest`, on the threads of an engine."""
    parts = (queries[block] for block in split_range(len(queries), QUERIES_PER_ITEM))
    found = list(engine.map(_find_nearest_of_block, parts, (vectors, k)))
    nothing = np.empty((0, min(k, len(vectors))), np.int64)
    return Nearest(
        np.concatenate([nothing, *(part.indices for part in found)]),
        np.concatenate([nothing, *(part.steps for part in found)]),
    )


def _find_nearest_of_block(shared: tuple[GridVectors, int], queries: GridVectors) -> Nearest:
    return find_nearest(queries, *shared)


def compute_products(queries: Floats, vectors: GridVectors, indices: Ints | None = None) -> Floats:
    """Compute the similarities (m, n) of queries (m, d) and vectors (n, d), in steps of 2^-22.

    ``indices`` (n,) selects the vectors to compare with, if not all. The vectors become floats one
    tile at a time: converting them again costs less than reading stored floats from memory.
    """
    steps = np.empty((len(queries), len(vectors if indices is None else indices)), np.float32)
    for tile in split_range(steps.shape[1], TILE_VECTORS):
        part = vectors[tile] if indices is None else vectors.take(indices[tile], axis=0)
        np.matmul(queries, part.astype(np.float32).T, out=steps[:, tile])
    return steps


def split_queries(count: int, k: int, block: int | None = None) -> Iterator[slice]:
    """Split a number of queries into the blocks that are searched at a time for k vectors each."""
    return split_range(
        count, max(1, min(block or BLOCK_QUERIES, BLOCK_KEYS // (3 * k + 2 * SPARE_KEYS)))
    )


def split_range(count: int, size: int) -> Iterator[slice]:
    """Split ``range(count)`` into consecutive slices of at most ``size``."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


SPARE_KEYS = 64
"""Candidates beyond twice k that may wait before they are sorted; does not affect results."""

INDEX_BITS = 32
MAX_INDEX = (1 << INDEX_BITS) - 1
NO_KEY = -(1 << 63)
"""The key of an empty slot, less than the key of any vector."""

MAX_STEPS = np.float32(1 << 24)
"""More steps of 2^-22 than a similarity can have, and exact in float32.

The similarity of two grid vectors is below 1.01, that of two exchanges or of a query and a key of
`FitModel`, which are several grid vectors side by side, below 2.2.
"""


class TopK:
    """The k nearest of the vectors compared so far, for each query, in any order and with repeats.

    The key of a vector is one integer that sorts by similarity, then by smaller index: the
    similarity in steps in the high bits, the index from the end in the low `INDEX_BITS`. New
    candidates wait unsorted behind the k best of their query, and are merged when there are more
    than about k. Each query has a threshold, the least similarity that can still enter its k best.
    After the first few hundred vectors, few reach it, and all others cost only a comparison.
    """

    def __init__(self, count: int, k: int, selves: Ints | None = None) -> None:
        self.k = k
        self.keys = np.empty((count, 3 * k + 2 * SPARE_KEYS), np.int64)
        self.keys[:, :k] = NO_KEY
        self.used = np.full(count, k)
        self.threshold = np.full(count, -MAX_STEPS)
        self.min_keys = np.full(count, NO_KEY)
        self.selves = np.full(count, -1) if selves is None else selves
        # A query that is one of the vectors has that vector as its first key, above all others.
        queries = np.flatnonzero(self.selves >= 0)
        self.keys[queries, 0] = _encode_keys(np.full(len(queries), MAX_STEPS), self.selves[queries])

    def update(self, rows: Ints, steps: Floats, indices: Ints) -> None:
        """Compare some queries with some vectors.

        ``rows`` (b,) are distinct queries, ``indices`` (t,) distinct vectors, and ``steps`` (b, t)
        their similarities in steps of 2^-22.
        """
        width = len(indices)
        self._set_first_threshold(rows, steps)
        # The pairs (p,) that reach the threshold: place in ``rows``, index of the vector, its key.
        flat = np.flatnonzero(steps >= self.threshold[rows][:, None])
        row = flat // width
        index = indices[flat - row * width]
        keys = _encode_keys(steps.reshape(-1)[flat], index)
        query = rows[row]
        # A vector as similar as the k-th best, but with a larger index, does not enter.
        enters = (keys > self.min_keys[query]) & (index != self.selves[query])
        row, query, keys = row[enters], query[enters], keys[enters]
        counts = np.bincount(row, minlength=len(rows))
        if counts.max() > self.k + SPARE_KEYS:  # where many are equal, or the nearest come last
            for half in split_range(width, -(-width // 2)):
                self.update(rows, np.ascontiguousarray(steps[:, half]), indices[half])
            return
        # Append the new keys of each query behind those that it already has.
        place = np.arange(len(row)) + (self.used[rows] - np.cumsum(counts) + counts)[row]
        self.keys[query, place] = keys
        self.used[rows] += counts
        self._merge(rows[self.used[rows] > 2 * self.k + SPARE_KEYS])

    def _set_first_threshold(self, rows: Ints, steps: Floats) -> None:
        """Set the threshold of queries without one: the k-th best of their first vectors."""
        width = steps.shape[1]
        first = np.flatnonzero(self.threshold[rows] == -MAX_STEPS)
        if width > self.k and len(first):
            first_steps = steps if len(first) == len(steps) else steps[first]
            kth_best = np.partition(first_steps, width - self.k, axis=1)[:, width - self.k]
            self.threshold[rows[first]] = kth_best

    def _merge(self, rows: Ints) -> None:
        """Sort the waiting keys of some queries into their k best, and raise the thresholds."""
        if not len(rows) or not self.k:
            return
        used = self.used[rows]
        keys = self.keys[rows, : used.max()]
        keys[np.arange(keys.shape[1]) >= used[:, None]] = NO_KEY
        keys.sort(axis=1)
        # A vector that was compared twice has two equal keys; one of them becomes empty.
        repeated = (keys[:, 1:] == keys[:, :-1]) & (keys[:, 1:] > NO_KEY)
        if repeated.any():
            keys[:, 1:][repeated] = NO_KEY
            keys.sort(axis=1)
        top = keys[:, -self.k :]
        self.keys[rows, : self.k], self.used[rows] = top, self.k
        self.min_keys[rows] = top[:, 0]
        self.threshold[rows] = np.maximum(
            self.threshold[rows], (top[:, 0] >> INDEX_BITS).astype(np.float32)
        )

    def incomplete(self) -> Flags:
        """Which queries (m,) were compared with fewer than k vectors; call `result` first."""
        incomplete: Flags = self.min_keys == NO_KEY
        return incomplete

    def result(self) -> Ints:
        """The indices (m, k) of the k nearest vectors of each query, nearest first."""
        self._merge(np.arange(len(self.keys)))
        return MAX_INDEX - (self.keys[:, self.k - 1 :: -1][:, : self.k] & MAX_INDEX)

    def steps(self) -> Ints:
        """The similarities (m, k) of the vectors of `result`, which you call first, in steps."""
        return np.asarray(self.keys[:, self.k - 1 :: -1][:, : self.k] >> INDEX_BITS)


def _encode_keys(steps: Floats, indices: Ints) -> Ints:
    keys: Ints = steps.astype(np.int64)
    keys <<= INDEX_BITS
    keys += MAX_INDEX - indices
    return keys


def gather_rows(near: Ints, rows: Ragged, k: int) -> Ragged:
    """Collect for each query the first k rows of its nearest contexts.

    ``near`` (m, j) holds contexts, nearest first; ``rows`` lists the rows of each context.
    """
    counts = np.minimum(rows.lengths, k)[near]
    # How many rows each context contributes (m, j), once those before it are counted.
    before = np.cumsum(counts, axis=1) - counts
    taken = np.clip(k - before, 0, counts)
    # Those are the first rows of each context's list, here as places in ``rows.values``.
    flat = taken.reshape(-1)
    first = rows.offsets[near].reshape(-1)
    step = np.arange(flat.sum()) - np.repeat(np.cumsum(flat) - flat, flat)
    return Ragged.of(rows.values[np.repeat(first, flat) + step], taken.sum(axis=1))


def group_rows(keys: Ints) -> Ragged:
    """List the rows of each key, keys and rows in ascending order.

    ``keys`` (n,) are integers from 0 without gaps.
    """
    order = np.argsort(keys, kind="stable").astype(np.int64)
    return Ragged.of(order, np.bincount(keys, minlength=0).astype(np.int64))
