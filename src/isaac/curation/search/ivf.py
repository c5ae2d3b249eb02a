"""An inverted file: lists of like vectors, of which a query is compared with a few only.

Jégou, Douze and Schmid, Product quantization for nearest neighbor search, 2011, section IV: each
vector stands in the list of its nearest centroid, and a query probes the lists whose centroids are
nearest to it. Texts are about several things at once, and so are their vectors; a query shares one
of them with a vector that stands in a list for another. So a vector stands in `LISTS_PER_VECTOR` lists: the
nearest to it, the nearest to what the first centroid leaves of it, and so on, which is matching
pursuit (Mallat and Zhang 1993); Sun et al., SOAR: Improved indexing for approximate nearest
neighbor search, 2023, show why the lists of a vector should err in different directions.

All similarities are whole numbers of steps of the grid and all sums are of whole numbers, so the
lists and what is found in them are the same on any machine, with any number of threads and in
blocks of any size. A library's k-means is not; that is why this is one of our own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from ...runtime.arrays import Floats, Ints
from ...runtime.engines import Engine, LocalEngine
from ...runtime.progress import Progress, Tick
from ..vectors import GridVectors
from .exact import TopK, compute_products, find_neighbors, split_queries, split_range
from .kmeans import ITERATIONS, evenly_spaced, spherical_kmeans

LISTS_PER_VECTOR = 3
"""Lists that a vector stands in."""

LISTS_PER_SQRT_VECTOR = 4
"""Lists for the square root of the number of vectors; 4,000 for a million."""

SAMPLES_PER_LIST = 24
"""Vectors a list from which the centroids are learnt."""

SAMPLE_QUERIES = 512
"""Vectors whose exact neighbours say how many lists are to be probed."""

TARGET_RECALL = 0.97
"""Share of their neighbours that the lists probed must hold."""

MIN_PROBES = 8
"""Lists that are probed at least."""

FIRST_PROBES = 1
"""Lists of each query that are searched before any other, so that few vectors in the others are as
near as those already found; changes no result."""

MAX_SINGLE_QUERIES = 4
"""Queries that are searched for one by one, no more than these at a time; changes no result."""

BLOCK_QUERIES = 8192
"""Queries that are searched for at a time; bounds memory, changes no result."""

BLOCK_PRODUCTS = 2**21
"""Products of queries with a list at a time; bounds memory, changes no result."""

ASSIGNMENT_PRODUCTS = 2**21
"""Products of vectors with centroids at a time; bounds memory, changes no result."""


@dataclass(frozen=True, eq=False)
class IVFIndex:
    """Vectors list by list.

    ``centroids`` (L, d) are unit vectors on the grid; list i holds the vectors
    ``order[offsets[i]:offsets[i + 1]]`` in ascending order. ``homes`` (n,) is the nearest list of
    each vector; ``probes`` is how many lists a query is compared with. It takes 32 bytes a vector:
    8 for its home and for each of its `LISTS_PER_VECTOR`.
    """

    centroids: GridVectors
    order: Ints
    offsets: Ints
    homes: Ints
    probes: int


def build_ivf(
    vectors: GridVectors,
    *,
    k: int = 150,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> IVFIndex:
    """Return the lists of vectors (n, d), and how many to probe for their k nearest.

    There are about ``4 sqrt(n)`` lists, so that finding the nearest lists of a query costs less
    than comparing it with what they hold. A list that is more than four times as long as the
    average is cut into several with the same centroid, the first vectors first, so that many equal
    vectors make no query slow. Lists that follow one another are alike.

    Beside the index it needs about 150 bytes a vector, and thrice a sample of `SAMPLES_PER_LIST` vectors a
    list, of which there are 50 MB for a million vectors of 256 dimensions.
    """
    count = len(vectors)
    lists = min(count, round(LISTS_PER_SQRT_VECTOR * count**0.5))
    total = count + ITERATIONS * min(count, SAMPLES_PER_LIST * lists)
    with (progress or Progress()).stage("index contexts", total) as tick:
        place = partial(_assign_vectors, engine=engine or LocalEngine(), tick=tick)
        means = spherical_kmeans(
            vectors, lists, SAMPLES_PER_LIST, lambda some, all_: place(some, all_, 1)[:, 0]
        )
        centroids = _order_centroids(means)
        places = place(vectors, centroids, max(1, min(LISTS_PER_VECTOR, len(centroids))))
    order = np.argsort(places, axis=None, kind="stable")
    lengths = np.bincount(places.reshape(-1), minlength=len(centroids))
    longest = 4 * max(1, places.size // max(1, len(centroids)))
    pieces = -(-lengths // longest)
    piece = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    first = np.repeat(np.cumsum(lengths) - lengths, pieces) + piece * longest
    offsets = np.append(first, places.size)
    centroids = np.repeat(centroids, pieces, axis=0)
    places.reshape(-1)[order] = np.repeat(np.arange(len(first)), np.diff(offsets))
    probes = _choose_nprobe(vectors, centroids, places, k)
    homes = places[:, 0].copy()
    return IVFIndex(centroids, order // places.shape[1], offsets, homes, probes)


def _order_centroids(centroids: GridVectors) -> GridVectors:
    """Return the centroids such that each is followed by the nearest of those not yet named."""
    like = compute_products(centroids.astype(np.float32), centroids)
    row = np.zeros(len(centroids), np.int64)
    for place in range(1, len(row)):
        like[:, row[place - 1]] = -np.inf
        row[place] = like[row[place - 1]].argmax()
    return centroids[row]


class ListAssignment(NamedTuple):
    """Vectors (n, d) that are to be placed in ``lists_per_vector`` lists each, and how alike these are."""

    vectors: GridVectors
    centroids: GridVectors
    similarity: Floats
    lists_per_vector: int


def _assign_vectors(
    vectors: GridVectors,
    centroids: GridVectors,
    count: int,
    *,
    engine: Engine,
    tick: Tick | None = None,
) -> Ints:
    """Return the lists (n, count) in which each vector stands, by matching pursuit."""
    places = np.empty((len(vectors), count), np.int64)
    some = centroids if count > 1 else centroids[:0]
    likeness = compute_products(some.astype(np.float32), some)
    size = max(1, ASSIGNMENT_PRODUCTS // max(1, len(centroids)))
    blocks = [slice(start, start + size) for start in range(0, len(vectors), size)]
    work = ListAssignment(vectors, centroids, likeness, count)
    for block, part in zip(blocks, engine.map(_assign_block, blocks, work), strict=True):
        places[block] = part
        if tick is not None:
            tick(len(part))
    return places


def _assign_block(work: ListAssignment, block: slice) -> Ints:
    """Return the lists in which some of the vectors stand.

    The products with what a centroid leaves of a vector follow from those with the vector and
    those among centroids, one rounded operation after another, so in one way only.
    """
    left = compute_products(work.vectors[block].astype(np.float32), work.centroids)
    places, every = np.empty((len(left), work.lists_per_vector), np.int64), np.arange(len(left))
    for turn in range(work.lists_per_vector):
        place = places[:, turn] = left.argmax(axis=1)
        if turn + 1 < work.lists_per_vector:
            taken = work.similarity[place]
            taken *= (left[every, place] / work.similarity[place, place])[:, None]
            left -= taken
            left[every[:, None], places[:, : turn + 1]] = -np.inf
    return places


def _choose_nprobe(vectors: GridVectors, centroids: GridVectors, places: Ints, k: int) -> int:
    """Return how many lists to probe so that they hold enough of the neighbours of a sample."""
    if not len(vectors):
        return 0
    asked = vectors[evenly_spaced(len(vectors), SAMPLE_QUERIES)]
    near = find_neighbors(asked, centroids, len(centroids))
    rank = np.empty_like(near)
    np.put_along_axis(rank, near, np.arange(len(centroids))[None], axis=1)
    standing = places[find_neighbors(asked, vectors, k)]
    first = rank[np.arange(len(asked))[:, None, None], standing].min(axis=2)
    needed = np.sort(first, axis=None)[int(np.ceil(TARGET_RECALL * first.size)) - 1] + 1
    return min(len(centroids), max(MIN_PROBES, int(needed)))


def assign_lists(index: IVFIndex, queries: GridVectors) -> Ints:
    """Return the nearest list of each query, shape (m,); of the vectors themselves see ``homes``.

    Queries sorted by it are searched fastest, `BLOCK_QUERIES` or more of them at once, since those that
    are searched together then share their lists.
    """
    return _assign_vectors(queries, index.centroids, 1, engine=LocalEngine())[:, 0]


def search(
    index: IVFIndex, vectors: GridVectors, queries: GridVectors, k: int, selves: Ints | None = None
) -> Ints:
    """Return the k nearest vectors of each query in the lists that it probes, nearest first.

    As `find_neighbors`: equal similarities are ordered by index, ``selves`` come first whatever
    list they are in, and the result has shape (m, min(k, n)). Where the lists hold fewer vectors,
    more are probed. What is found for a query does not depend on the other queries. Beside the
    result it needs about 100 MB for d = 256 and a hundred probes, whatever m, n and k.
    """
    k = min(k, len(vectors))
    found = np.empty((len(queries), k), np.int64)
    own = np.full(len(queries), -1) if selves is None else selves
    for block in split_queries(len(found) if k else 0, k, BLOCK_QUERIES):
        found[block] = _search_block(index, np.asarray(vectors), queries[block], k, own[block])
    return found


def _search_block(
    index: IVFIndex,
    vectors: GridVectors,
    queries: GridVectors,
    k: int,
    selves: Ints,
    probes: int = 0,
) -> Ints:
    probes = probes or index.probes
    asked, nearest = queries.astype(np.float32), TopK(len(queries), k, selves)
    near = find_neighbors(queries, index.centroids, probes)
    for lists in (
        (near[:, :FIRST_PROBES], near[:, FIRST_PROBES:])
        if len(queries) > MAX_SINGLE_QUERIES
        else (near,)
    ):
        for rows, members in _iter_probed_lists(index, lists, len(vectors)):
            some = asked.take(rows, axis=0)
            for tile in split_range(len(members), max(1, BLOCK_PRODUCTS // len(rows))):
                names = members[tile]
                nearest.update(rows, compute_products(some, vectors, names), names)
        found = nearest.best()
    lacking = np.flatnonzero(nearest.lacking())
    if len(lacking):
        found[lacking] = _search_block(
            index, vectors, queries[lacking], k, selves[lacking], 2 * probes
        )
    return found


def _iter_probed_lists(index: IVFIndex, lists: Ints, count: int) -> Iterator[tuple[Ints, Ints]]:
    """Yield the queries that probe a list, lists (m, j) being those of each, and its vectors.

    Few queries share no lists: each is yielded with the vectors of all its lists, of ``count``.
    """
    if len(lists) <= MAX_SINGLE_QUERIES:
        there = np.zeros(count, bool)
        for row, probed in enumerate(lists):
            there[:] = False
            for name in probed.tolist():
                there[index.order[index.offsets[name] : index.offsets[name + 1]]] = True
            yield np.array([row]), np.flatnonzero(there)
        return
    order = np.argsort(lists, axis=None, kind="stable")
    named, first = np.unique(lists.reshape(-1)[order], return_index=True)
    for name, asking in zip(named.tolist(), np.split(order, first[1:]), strict=False):
        members = index.order[index.offsets[name] : index.offsets[name + 1]]
        yield asking // lists.shape[1], members


def measure_recall(index: IVFIndex, vectors: GridVectors, queries: GridVectors, k: int) -> float:
    """Return the share of exact neighbours that the index finds, for an even sample of queries.

    A vector found counts if it is as similar to the query as the last of its exact neighbours.
    """
    asked = queries[evenly_spaced(len(queries), SAMPLE_QUERIES)]
    exact = find_neighbors(asked, vectors, k)
    found = search(index, vectors, asked, k)
    if not exact.size:
        return 1.0
    steps = [
        vectors[near].astype(np.float32) @ one
        for near, one in zip(found, asked.astype(np.float32), strict=True)
    ]
    least = [
        vectors[near[-1]].astype(np.float32) @ one
        for near, one in zip(exact, asked.astype(np.float32), strict=True)
    ]
    return float(np.mean(np.stack(steps) >= np.stack(least)[:, None]))
