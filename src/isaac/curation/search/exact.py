"""Neighbourhoods: the rows whose contexts are most alike, or that share a key.

Paper, step 1 (context clustering): the neighbourhood of a row is its k nearest contexts, itself
included; in task-oriented dialogue, all rows with the same key.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ...models.encoders import Floats
from ..arrays import Ints, Ragged
from ..vectors import Grid

TILE = 2048
"""Vectors that queries are compared with at a time; bounds memory, changes no result."""

BLOCK = 512
"""Queries that are searched for at a time; bounds memory, changes no result."""

MET = BLOCK * TILE
"""Products of queries with vectors at a time; bounds memory, changes no result."""

KEYS = 5 * 2**20
"""Candidates that a block of queries has room for; bounds memory, changes no result."""


def find_neighbors(queries: Grid, vectors: Grid, k: int, selves: Ints | None = None) -> Ints:
    """Return the k nearest vectors of each query by inner product, nearest first.

    ``queries`` (m, d) and ``vectors`` (n, d) lie on the grid, so that the search is exact to the
    last bit. Equal similarities are ordered by index. ``selves`` (m,) names the vector that each
    query is, which always comes first. The result has shape (m, min(k, n)).

    Beside the result it needs at most 64 MB for d = 256, whatever m, n and k, and 12 KB for each
    further dimension: a block of queries, a tile of vectors, their products, and the keys of
    `Nearest`. The vectors may be mapped from a file.
    """
    k = min(k, len(vectors))
    found = np.empty((len(queries), k), np.int64)
    for block in blocks(len(found) if k else 0, k):
        asked = queries[block].astype(np.float32)
        nearest = Nearest(len(asked), k, None if selves is None else selves[block])
        every = np.arange(len(asked))
        for met in parts(len(vectors), MET // len(asked)):
            steps = products(asked, vectors[met])
            nearest.meet(every, steps, np.arange(met.start, met.stop))
        found[block] = nearest.best()
    return found


def products(asked: Floats, vectors: Grid, some: Ints | None = None) -> Floats:
    """Return how similar queries (m, d) are to vectors (n, d), shape (m, n), in steps of 2^-22.

    ``some`` names those of the vectors that are meant. They become floats a tile at a time, which
    costs less than to read so many floats from memory.
    """
    steps = np.empty((len(asked), len(vectors if some is None else some)), np.float32)
    for tile in parts(steps.shape[1], TILE):
        part = vectors[tile] if some is None else vectors.take(some[tile], axis=0)
        np.matmul(asked, part.astype(np.float32).T, out=steps[:, tile])
    return steps


def blocks(count: int, k: int, most: int | None = None) -> Iterator[slice]:
    """Yield the parts of so many queries that are searched at a time for k vectors each."""
    return parts(count, max(1, min(most or BLOCK, KEYS // (3 * k + 2 * SPARE))))


def parts(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most a size that make up so many."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


SPARE = 64
"""Vectors that wait beside twice k before they are sorted in; changes no result."""

BITS = 32
LAST = (1 << BITS) - 1
NONE = -(1 << 63)
"""The key of no vector, less than any other."""

STEPS = np.float32(1 << 23)
"""More steps of 2^-22 than a similarity of grid vectors has, and all exact in float32."""


class Nearest:
    """The k nearest of the vectors that queries have met, in whatever order and however often.

    A vector is known by its key, a whole number that sorts by similarity, then by smaller index.
    Vectors wait in no order beside the k best of their query, and are sorted in when there are
    more than about k of them. The least similarity that can still count is known of each query;
    few vectors reach it after the first few hundred, and only those cost more than a comparison.
    """

    def __init__(self, count: int, k: int, selves: Ints | None = None) -> None:
        self.k = k
        self.keys = np.empty((count, 3 * k + 2 * SPARE), np.int64)
        self.keys[:, :k] = NONE
        self.used = np.full(count, k)
        self.least = np.full(count, -STEPS)
        self.floor = np.full(count, NONE)
        self.selves = np.full(count, -1) if selves is None else selves
        own = np.flatnonzero(self.selves >= 0)
        self.keys[own, 0] = _keys(np.full(len(own), STEPS), self.selves[own])

    def meet(self, rows: Ints, steps: Floats, names: Ints) -> None:
        """Let some queries meet some vectors.

        ``rows`` (b,) are queries, each once, ``names`` (t,) are vectors, each once; ``steps``
        (b, t) is how similar they are, in steps of 2^-22.
        """
        width = len(names)
        self._expect(rows, steps)
        flat = np.flatnonzero(steps >= self.least[rows][:, None])
        row = flat // width
        name = names[flat - row * width]
        keys = _keys(steps.reshape(-1)[flat], name)
        query = rows[row]
        counts = (keys > self.floor[query]) & (name != self.selves[query])
        row, query, keys = row[counts], query[counts], keys[counts]
        many = np.bincount(row, minlength=len(rows))
        if many.max() > self.k + SPARE:  # where many are equal, or the nearest come last
            for half in parts(width, -(-width // 2)):
                self.meet(rows, np.ascontiguousarray(steps[:, half]), names[half])
            return
        place = np.arange(len(row)) + (self.used[rows] - np.cumsum(many) + many)[row]
        self.keys[query, place] = keys
        self.used[rows] += many
        self._sort_in(rows[self.used[rows] > 2 * self.k + SPARE])

    def _expect(self, rows: Ints, steps: Floats) -> None:
        """Let queries that meet their first vectors wait for the k best of them only."""
        width = steps.shape[1]
        first = np.flatnonzero(self.least[rows] == -STEPS)
        if width > self.k and len(first):
            some = steps if len(first) == len(steps) else steps[first]
            least = np.partition(some, width - self.k, axis=1)[:, width - self.k]
            self.least[rows[first]] = least

    def _sort_in(self, rows: Ints) -> None:
        if not len(rows) or not self.k:
            return
        used = self.used[rows]
        keys = self.keys[rows, : used.max()]
        keys[np.arange(keys.shape[1]) >= used[:, None]] = NONE
        keys.sort(axis=1)
        again = (keys[:, 1:] == keys[:, :-1]) & (keys[:, 1:] > NONE)
        if again.any():
            keys[:, 1:][again] = NONE
            keys.sort(axis=1)
        kept = keys[:, -self.k :]
        self.keys[rows, : self.k], self.used[rows] = kept, self.k
        self.floor[rows] = kept[:, 0]
        self.least[rows] = np.maximum(self.least[rows], (kept[:, 0] >> BITS).astype(np.float32))

    def lacking(self) -> npt.NDArray[np.bool_]:
        """Return, after the best were asked for, which queries have met fewer than k vectors."""
        lacking: npt.NDArray[np.bool_] = self.floor == NONE
        return lacking

    def best(self) -> Ints:
        """Return the k nearest of each query, nearest first, shape (m, k)."""
        self._sort_in(np.arange(len(self.keys)))
        return LAST - (self.keys[:, self.k - 1 :: -1][:, : self.k] & LAST)


def _keys(steps: Floats, names: Ints) -> Ints:
    keys: Ints = steps.astype(np.int64)
    keys <<= BITS
    keys += LAST - names
    return keys


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
