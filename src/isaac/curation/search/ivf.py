"""Approximate nearest-neighbor search with an inverted file (IVF).

Vectors are sorted into lists of similar vectors, and a query is compared with a few lists only.
Jégou, Douze and Schmid, Product quantization for nearest neighbor search, 2011, section IV: each
vector is in the list of its nearest centroid, and a query probes the lists whose centroids are
nearest to it.

A text is often about several things, and so is its vector. Such a vector can be near a query for
one of these things and in a list for another. So each vector is in `LISTS_PER_VECTOR` lists: the
one nearest to it, the one nearest to its residual (the vector minus its projection on the first
centroid), and so on. This is matching pursuit (Mallat and Zhang 1993). Sun et al., SOAR: Improved
indexing for approximate nearest neighbor search, 2023, show why the lists of one vector should err
in different directions.

All similarities are integers in steps of the grid and all sums are of integers, so the index and
its results are the same on any machine, with any number of threads and any block size. No
library's k-means promises that, which is why isaac has its own.
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
"""Lists that each vector is in."""

LISTS_PER_SQRT_VECTOR = 4
"""Lists per square root of the number of vectors: 4,000 lists for a million vectors."""

SAMPLES_PER_LIST = 24
"""Sampled vectors per list, from which k-means learns the centroids."""

SAMPLE_QUERIES = 512
"""Queries whose exact neighbors are searched to choose the number of probes, or measure recall."""

TARGET_RECALL = 0.97
"""Share of those neighbors that the probed lists must contain."""

MIN_PROBES = 8
"""Minimum number of lists that a query probes."""

FIRST_PROBES = 1
"""Lists that all queries search before their other lists. This sets a high threshold, which few
vectors in the others reach; does not affect results."""

MAX_SINGLE_QUERIES = 4
"""Up to this many queries are searched one by one; does not affect results."""

BLOCK_QUERIES = 8192
"""Queries searched at a time; bounds memory, does not affect results."""

BLOCK_PRODUCTS = 2**21
"""Dot products of queries and one list at a time; bounds memory, does not affect results."""

ASSIGNMENT_PRODUCTS = 2**21
"""Dot products of vectors and centroids at a time; bounds memory, does not affect results."""


@dataclass(frozen=True, eq=False)
class IVFIndex:
    """An inverted file: the indices of vectors, list by list.

    ``centroids`` (L, d) are unit vectors on the grid. List i holds the vectors
    ``order[offsets[i]:offsets[i + 1]]``, ascending. ``homes`` (n,) is the nearest list of each
    vector, and ``probes`` the number of lists that a query is compared with. The index takes 32
    bytes per vector: 8 for its home, and 8 for each of its `LISTS_PER_VECTOR` lists.
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
    """Build an inverted file of vectors (n, d), with enough probes to find the k nearest.

    There are about ``4 sqrt(n)`` lists, so that finding the nearest lists of a query costs less
    than comparing it with their vectors. A list more than four times as long as the average is
    split into several with the same centroid, the first vectors first, so that many equal vectors
    make no query slow. Consecutive lists are similar.

    Besides the index it needs about 150 bytes per vector, and three times the k-means sample of
    `SAMPLES_PER_LIST` vectors per list: 50 MB for a million vectors of 256 dimensions.
    """
    count = len(vectors)
    lists = min(count, round(LISTS_PER_SQRT_VECTOR * count**0.5))
    total = count + ITERATIONS * min(count, SAMPLES_PER_LIST * lists)
    with (progress or Progress()).stage("index contexts", total) as tick:
        assign = partial(_assign_vectors, engine=engine or LocalEngine(), tick=tick)
        means = spherical_kmeans(
            vectors,
            lists,
            SAMPLES_PER_LIST,
            lambda sample, centroids: assign(sample, centroids, 1)[:, 0],
        )
        centroids = _order_centroids(means)
        # The lists (n, LISTS_PER_VECTOR) of each vector, the nearest first.
        assignments = assign(vectors, centroids, max(1, min(LISTS_PER_VECTOR, len(centroids))))
    # All assignments sorted by list, within a list by vector.
    order = np.argsort(assignments, axis=None, kind="stable")
    lengths = np.bincount(assignments.reshape(-1), minlength=len(centroids))
    # Split long lists: ``pieces`` (L,) parts of each, ``first`` is where each part begins.
    longest = 4 * max(1, assignments.size // max(1, len(centroids)))
    pieces = -(-lengths // longest)
    piece = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    first = np.repeat(np.cumsum(lengths) - lengths, pieces) + piece * longest
    offsets = np.append(first, assignments.size)
    centroids = np.repeat(centroids, pieces, axis=0)
    # Renumber the lists in the assignments.
    assignments.reshape(-1)[order] = np.repeat(np.arange(len(first)), np.diff(offsets))
    probes = _choose_nprobe(vectors, centroids, assignments, k)
    homes = assignments[:, 0].copy()
    return IVFIndex(centroids, order // assignments.shape[1], offsets, homes, probes)


def _order_centroids(centroids: GridVectors) -> GridVectors:
    """Order centroids as a chain: each is followed by the nearest of those not yet in it."""
    similarity = compute_products(centroids.astype(np.float32), centroids)
    chain = np.zeros(len(centroids), np.int64)
    for place in range(1, len(chain)):
        similarity[:, chain[place - 1]] = -np.inf
        chain[place] = similarity[chain[place - 1]].argmax()
    return centroids[chain]


class ListAssignment(NamedTuple):
    """The task of assigning vectors (n, d) to ``lists_per_vector`` lists each.

    ``similarity`` (L, L) are the products of the ``centroids`` (L, d).
    """

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
    """Assign each vector to ``count`` lists (n, count) by matching pursuit."""
    assignments = np.empty((len(vectors), count), np.int64)
    compared = centroids if count > 1 else centroids[:0]  # one list needs no products of centroids
    similarity = compute_products(compared.astype(np.float32), compared)
    size = max(1, ASSIGNMENT_PRODUCTS // max(1, len(centroids)))
    blocks = [slice(start, start + size) for start in range(0, len(vectors), size)]
    work = ListAssignment(vectors, centroids, similarity, count)
    for block, part in zip(blocks, engine.map(_assign_block, blocks, work), strict=True):
        assignments[block] = part
        if tick is not None:
            tick(len(part))
    return assignments


def _assign_block(work: ListAssignment, block: slice) -> Ints:
    """Assign one block of vectors (b, d) to its lists (b, lists_per_vector).

    The products of centroids and residuals follow from those of centroids and vectors and those
    among centroids, in a fixed order of rounded operations, so the result is always the same.
    """
    # Products (b, L) of each residual, at first the vector itself, with each centroid.
    products = compute_products(work.vectors[block].astype(np.float32), work.centroids)
    rows = np.arange(len(products))
    assignments = np.empty((len(products), work.lists_per_vector), np.int64)
    for turn in range(work.lists_per_vector):
        best = assignments[:, turn] = products.argmax(axis=1)
        if turn + 1 < work.lists_per_vector:
            # Take away the projection of the residual on its best centroid.
            projection = work.similarity[best]
            projection *= (products[rows, best] / work.similarity[best, best])[:, None]
            products -= projection
            products[rows[:, None], assignments[:, : turn + 1]] = -np.inf
    return assignments


def _choose_nprobe(vectors: GridVectors, centroids: GridVectors, assignments: Ints, k: int) -> int:
    """Choose how many lists to probe, to reach `TARGET_RECALL` on a sample of the vectors."""
    if not len(vectors):
        return 0
    queries = vectors[evenly_spaced(len(vectors), SAMPLE_QUERIES)]
    # Rank (q, L) of each list for each query, 0 for the nearest.
    near = find_neighbors(queries, centroids, len(centroids))
    rank = np.empty_like(near)
    np.put_along_axis(rank, near, np.arange(len(centroids))[None], axis=1)
    # A neighbor is found in the best-ranked of its lists (q, k), so it needs that many probes.
    neighbor_lists = assignments[find_neighbors(queries, vectors, k)]
    best_rank = rank[np.arange(len(queries))[:, None, None], neighbor_lists].min(axis=2)
    last = int(np.ceil(TARGET_RECALL * best_rank.size)) - 1
    needed = np.sort(best_rank, axis=None)[last] + 1
    return min(len(centroids), max(MIN_PROBES, int(needed)))


def assign_lists(index: IVFIndex, queries: GridVectors) -> Ints:
    """Find the nearest list (m,) of each query; that of an indexed vector is in ``homes``.

    Search is fastest for queries sorted by their list, in batches of `BLOCK_QUERIES` or more, since
    queries that are searched together then probe the same lists.
    """
    return _assign_vectors(queries, index.centroids, 1, engine=LocalEngine())[:, 0]


def search(
    index: IVFIndex, vectors: GridVectors, queries: GridVectors, k: int, selves: Ints | None = None
) -> Ints:
    """Find the k nearest vectors of each query in the lists that it probes, nearest first.

    As in `find_neighbors`, equal similarities are ordered by index, ``selves`` come first whatever
    list they are in, and the result has shape (m, min(k, n)). If the probed lists hold fewer
    vectors, the query probes more. The result of a query does not depend on the other queries.
    Besides the result it needs about 100 MB for d = 256 and a hundred probes, whatever m, n and k.
    """
    k = min(k, len(vectors))
    neighbors = np.empty((len(queries), k), np.int64)
    selves = np.full(len(queries), -1) if selves is None else selves
    for block in split_queries(len(neighbors) if k else 0, k, BLOCK_QUERIES):
        neighbors[block] = _search_block(
            index, np.asarray(vectors), queries[block], k, selves[block]
        )
    return neighbors


def _search_block(
    index: IVFIndex,
    vectors: GridVectors,
    queries: GridVectors,
    k: int,
    selves: Ints,
    probes: int = 0,
) -> Ints:
    """Search one block of queries; ``probes`` is 0 for the number of probes of the index."""
    probes = probes or index.probes
    query_floats, nearest = queries.astype(np.float32), TopK(len(queries), k, selves)
    near = find_neighbors(queries, index.centroids, probes)
    passes = (
        (near[:, :FIRST_PROBES], near[:, FIRST_PROBES:])
        if len(queries) > MAX_SINGLE_QUERIES
        else (near,)
    )
    for lists in passes:
        for rows, members in _iter_probed_lists(index, lists, len(vectors)):
            probing = query_floats.take(rows, axis=0)
            for tile in split_range(len(members), max(1, BLOCK_PRODUCTS // len(rows))):
                indices = members[tile]
                nearest.update(rows, compute_products(probing, vectors, indices), indices)
        neighbors = nearest.result()  # also raises the thresholds for the second pass
    # Queries whose lists held fewer than k vectors probe twice as many.
    incomplete = np.flatnonzero(nearest.incomplete())
    if len(incomplete):
        neighbors[incomplete] = _search_block(
            index, vectors, queries[incomplete], k, selves[incomplete], 2 * probes
        )
    return neighbors


def _iter_probed_lists(index: IVFIndex, lists: Ints, count: int) -> Iterator[tuple[Ints, Ints]]:
    """Yield for each probed list the queries that probe it and the vectors in it.

    ``lists`` (m, j) are the lists that each query probes. A few queries hardly share lists, so each
    of them is yielded alone, with the vectors of all its lists, each once; ``count`` is the number
    of vectors.
    """
    if len(lists) <= MAX_SINGLE_QUERIES:
        is_member = np.zeros(count, bool)
        for row, probed in enumerate(lists):
            is_member[:] = False
            for number in probed.tolist():
                is_member[index.order[index.offsets[number] : index.offsets[number + 1]]] = True
            yield np.array([row]), np.flatnonzero(is_member)
        return
    order = np.argsort(lists, axis=None, kind="stable")
    probed, first = np.unique(lists.reshape(-1)[order], return_index=True)
    for number, places in zip(probed.tolist(), np.split(order, first[1:]), strict=False):
        members = index.order[index.offsets[number] : index.offsets[number + 1]]
        yield places // lists.shape[1], members


def measure_recall(index: IVFIndex, vectors: GridVectors, queries: GridVectors, k: int) -> float:
    """Measure the share of exact neighbors that the index finds, on an even sample of queries.

    A result counts if it is as similar to the query as the last of its exact neighbors.
    """
    sample = queries[evenly_spaced(len(queries), SAMPLE_QUERIES)]
    exact = find_neighbors(sample, vectors, k)
    neighbors = search(index, vectors, sample, k)
    if not exact.size:
        return 1.0
    query_floats = sample.astype(np.float32)
    steps = [
        vectors[near].astype(np.float32) @ query
        for near, query in zip(neighbors, query_floats, strict=True)
    ]
    least = [
        vectors[near[-1]].astype(np.float32) @ query
        for near, query in zip(exact, query_floats, strict=True)
    ]
    return float(np.mean(np.stack(steps) >= np.stack(least)[:, None]))
