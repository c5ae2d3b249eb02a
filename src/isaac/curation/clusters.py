"""Clusters of the responses in a neighbourhood.

Paper, step 2 (content clustering): DBSCAN with ``min_samples=1``, which is exactly the connected
components of the graph that joins two responses at a distance of at most the radius. Beside it a
cover by balls, densest first, which does not chain.

The responses of all neighbourhoods given are nodes of one graph. Matrix products find the pairs
that it joins, for few neighbourhoods at a time so that all they need stays in a core's cache. Only
few pairs are joined; what follows is done to those alone, and to all neighbourhoods at once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..runtime.arrays import Flags, Floats, Ints, Ragged
from .vectors import GRID_STEPS, GridVectors

TILE = 1024
"""Responses of a neighbourhood that are compared with as many at a time; changes no result."""

SCRATCH_NUMBERS = 2**18
"""Numbers of a core's cache that neighbourhoods compared at a time share; changes no result."""

BATCH_PAIRS = 2**21
"""Joined pairs that are held at a time; changes no result."""

MAX_STORED_PAIRS = 2**24
"""Joined pairs of a corpus that are remembered at most; changes no result."""

LOOKUP_NEIGHBORHOODS, LOOKUP_ITEMS = 16, 2**20
"""Neighbourhoods looked up together, and the table of their items; they change no result."""

Pairs = tuple[Ints, Ints]


class Clusters(NamedTuple):
    """Neighbourhoods with their members sorted by cluster, the largest cluster first.

    ``members`` are rows; ``sizes`` says how many of them each cluster has, and ``counts`` how many
    of those are not near-duplicates of one another, which is its size to all that follows:
    clusters come by descending count, then by the smallest row in them, members within one by row.
    """

    members: Ragged
    sizes: Ragged
    counts: Ragged


def connected_components(
    vectors: GridVectors, items: Ints, radius: float, known: Ragged | None = None
) -> Ints:
    """Return the connected component of each response, named by its first member.

    ``items`` (b, m) says which of the ``vectors`` (n, d) the responses of b neighbourhoods have,
    ``radius`` is the Euclidean distance up to which two are joined; equal vectors are, even at 0.
    ``known`` are the pairs joined if `joined_pairs` found them. The result is (b, m).
    """
    count, size = items.shape
    names = np.arange(count * size)
    if known is not None:
        first, one, other = _restrict_pairs(known, items)
        _merge_components(names, one, other)
        names = names[first]
    else:
        for one, other in _iter_joined_pairs(vectors, items, radius):
            _merge_components(names, one, other)
    return np.asarray(names % max(size, 1)).reshape(count, size)


def _merge_components(names: Ints, one: Ints, other: Ints) -> None:
    """Give nodes that pairs join, and all that bear their names, the smallest name among them.

    In each round a name gives way to the smallest that it is joined to. One that lasts for two
    rounds has had another give way to it, so a chain of n takes no more than 2 log2 n rounds.
    """
    while len(one):
        one, other = names[one], names[other]
        apart = one != other
        one, other = one[apart], other[apart]
        np.minimum.at(names, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(names, lower := names[names]):
            names[:] = lower


def greedy_ball_cover(
    vectors: GridVectors,
    items: Ints,
    radius: float,
    weights: Ints | None = None,
    known: Ragged | None = None,
) -> Ints:
    """Return the ball that covers each response, named by the response at its centre.

    The response with the most others within the radius is the first centre and its ball the first
    cluster; they are taken away, and so on, equal counts to the first of them. Unlike components,
    no cluster is wider than twice the radius: nothing chains. The rest is as for `connected_components`;
    ``weights`` (b, m) says how many responses each stands for, one if not given.
    """
    count, size = items.shape
    weights = np.ones((count, size), np.int64) if weights is None else weights
    if known is not None:
        first, one, other = _restrict_pairs(known, items)
        weights = np.bincount(first, weights.reshape(-1), first.size).astype(np.int64)
        return np.asarray(_cover_from_pairs(one, other, weights)[first] % size).reshape(count, size)
    lots = _iter_joined_pairs(vectors, items, radius)
    one, other = next(lots)
    if len(one) < BATCH_PAIRS:  # these are all
        balls = _cover_from_pairs(one, other, weights.reshape(-1))
        return np.asarray(balls % max(size, 1)).reshape(count, size)
    if count == 1:
        lots = itertools.chain([(one, other)], lots)
        return _cover_dense(vectors, items[0], radius, weights[0], lots)[None]
    parts = zip(np.array_split(items, 2), np.array_split(weights, 2), strict=True)
    return np.concatenate([greedy_ball_cover(vectors, part, radius, many) for part, many in parts])


def _cover_from_pairs(one: Ints, other: Ints, weights: Ints) -> Ints:
    """Return the ball that covers each node, given all pairs that are joined, each once.

    A node that is denser than all within two steps becomes a centre whatever is taken elsewhere:
    nobody else can take one of its neighbours before, and densities only fall. So all those nodes
    are taken at once.
    """
    names, places = np.arange(len(weights)), np.arange(len(weights))
    while len(one):
        ends, others = np.concatenate([one, other]), np.concatenate([other, one])
        density = weights + np.bincount(ends, weights[others], len(weights)).astype(np.int64)
        rank = density * len(weights) + places[::-1]
        near = rank.copy()
        np.maximum.at(near, ends, rank[others])
        far = near.copy()
        np.maximum.at(far, ends, near[others])
        taken = far == rank
        inside = taken[ends]
        names[others[inside]] = ends[inside]
        taken[others[inside]] = True
        left = ~(taken[one] | taken[other])
        one, other = one[left], other[left]
    return names


def _cover_dense(
    vectors: GridVectors, items: Ints, radius: float, weights: Ints, lots: Iterator[Pairs]
) -> Ints:
    """Return the cover (m,) of one neighbourhood whose joined pairs are too many to be held.

    They come in lots, and go by as they are counted. The neighbourhood is dense somewhere, so a
    few balls, taken one by one, leave less than half of the pairs.
    """
    left = np.arange(len(items))
    names, density = left.copy(), weights.copy()
    for one, other in lots:
        density += np.bincount(one, weights[other], len(items)).astype(np.int64)
        density += np.bincount(other, weights[one], len(items)).astype(np.int64)
    half = (density - weights).sum() // 2
    while (density - weights[left]).sum() > half:
        centre = left[[density.argmax()]]
        ball = _count_within(vectors, items[centre], items[left], weights[centre], radius) > 0
        taken, left, density = left[ball], left[~ball], density[~ball]
        names[taken] = centre
        density -= _count_within(vectors, items[taken], items[left], weights[taken], radius)
    names[left] = left[
        greedy_ball_cover(vectors, items[None, left], radius, weights[None, left])[0]
    ]
    return names


def _count_within(
    vectors: GridVectors, some: Ints, others: Ints, weights: Ints, radius: float
) -> Ints:
    """Return how many of some items, by their weights, each of the others is joined to."""
    counts = np.zeros(len(others))
    for row in range(0, len(some), TILE):
        rows = vectors[some[row : row + TILE]].astype(np.float32)[None]
        many = weights[row : row + TILE].astype(np.float64)
        for start in range(0, len(others), TILE):
            columns = vectors[others[start : start + TILE]].astype(np.float32)[None]
            products = rows @ columns.transpose(0, 2, 1)
            near = _within_radius(products, _squared_norms(rows), _squared_norms(columns), radius)
            counts[start : start + TILE] += many @ near[0]
    return counts.astype(np.int64)


def joined_pairs(
    vectors: GridVectors, items: Ints, radius: float, each: Callable[..., Iterable[Pairs]] = map
) -> Ragged | None:
    """Return for each vector those that it is joined to, each pair once; None if they are many.

    Only vectors that ``items`` names, ascending, are compared. What many neighbourhoods have in
    common is then compared once. ``each`` maps a function over parts of the work, in order.
    """
    found, held = [], 0
    for one, other in each(
        partial(_compare_strip, vectors, items, radius), range(0, len(items), TILE)
    ):
        held += len(one)
        if held > MAX_STORED_PAIRS:
            return None
        found.append((one, other))
    one, other = _concatenate_pairs(found)
    return Ragged.of(other, np.bincount(one, minlength=len(vectors)))


def _compare_strip(vectors: GridVectors, items: Ints, radius: float, row: int) -> Pairs:
    """Return the items of a row of tiles with those after them that they are joined to."""
    tiles = _iter_tiles(vectors, items[None], radius, range(row, row + 1))
    found = [(np.nonzero(near[0]), column) for _, _, column, near in tiles]
    one, other = _concatenate_pairs([(here, there + column) for (here, there), column in found])
    order = np.argsort(one, kind="stable")
    return items[row + one[order]], items[other[order]]


def _restrict_pairs(known: Ragged, items: Ints) -> tuple[Ints, Ints, Ints]:
    """Return (first, one, other): the first node with each node's item, and the pairs of those."""
    count, size = items.shape
    total = len(known.offsets) - 1
    block = max(1, min(count, LOOKUP_NEIGHBORHOODS, LOOKUP_ITEMS // total))
    place = np.full(block * total, -1, np.int64)
    firsts, lot = [], []
    for nest in range(0, count, block):
        part = items[nest : nest + block]
        base = np.repeat(np.arange(len(part)) * total, size)
        nodes, part = np.arange(part.size) + nest * size, part.reshape(-1)
        place[(base + part)[::-1]] = nodes[::-1]  # of several, the last one written stays
        first = place[base + part]
        many = np.where(first == nodes, known.offsets[part + 1] - known.offsets[part], 0)
        start = known.offsets[part] - (np.cumsum(many) - many)
        other = known.values[np.arange(many.sum()) + np.repeat(start, many)]
        other = place[other + np.repeat(base, many)]
        there = np.flatnonzero(other >= 0)
        lot.append((np.repeat(nodes, many)[there], other[there]))
        firsts.append(first)
        place[base + part] = -1
    return np.concatenate(firsts), *_concatenate_pairs(lot)


def _iter_joined_pairs(vectors: GridVectors, items: Ints, radius: float) -> Iterator[Pairs]:
    """Yield the pairs of nodes that are joined, each once, in lots of at least `BATCH_PAIRS`.

    Only the last lot is smaller, be it empty. Node i * m + j is response j of neighbourhood i.
    """
    size = items.shape[1]
    lot: list[Pairs] = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    for nest, row, column, near in _iter_tiles(vectors, items, radius):
        place, other = np.divmod(np.flatnonzero(near), near.shape[2])
        behind, one = np.divmod(place, near.shape[1])
        first = (nest + behind) * size
        lot.append((first + (row + one), first + (column + other)))
        if sum(len(one) for one, _ in lot) >= BATCH_PAIRS:
            yield _concatenate_pairs(lot)
            lot = lot[:1]
    yield _concatenate_pairs(lot)


def _concatenate_pairs(lot: list[Pairs]) -> Pairs:
    one, other = zip(*lot, strict=True)
    return np.concatenate(one), np.concatenate(other)


def _iter_tiles(
    vectors: GridVectors, items: Ints, radius: float, rows: range | None = None
) -> Iterator[tuple[int, int, int, Flags]]:
    """Yield (first neighbourhood, row, column, which pairs are joined), each pair in one tile.

    ``rows`` are those that tiles start at, all if not given. A tile on the diagonal lies in
    memory that the next one takes: fresh memory costs a tenth more.
    """
    (count, size), width = items.shape, vectors.shape[1]
    tile = min(size, TILE)
    block = max(1, min(count, SCRATCH_NUMBERS // (tile * (tile + width) + 1)))
    steps = np.empty((block, tile, width), np.int16)
    floats = np.empty((block, tile, width), np.float32)
    products = np.empty((block, tile, tile), np.float32)
    near, after = np.empty((block, tile, tile), bool), ~np.tri(tile, dtype=bool)
    rows = range(0, size, TILE) if rows is None else rows
    for nest, row in itertools.product(range(0, count, block), rows):
        part = items[nest : nest + block, row : row + TILE]
        (many, long), some = part.shape, floats[: part.shape[0], : part.shape[1]]
        # Only with a mode that cannot fail does NumPy write straight into `out`.
        some[:] = np.take(vectors, part, axis=0, out=steps[:many, :long], mode="clip")
        here = (slice(many), slice(long), slice(long))
        inner = np.matmul(some, some.transpose(0, 2, 1), out=products[here])
        squares = np.einsum("bii->bi", inner).copy()
        yield (
            nest,
            row,
            row,
            _within_radius(inner, squares, squares, radius, near[here]) & after[here[1:]],
        )
        for column in range(row + TILE, size, TILE):
            others = vectors[items[nest : nest + block, column : column + TILE]].astype(np.float32)
            inner = some @ others.transpose(0, 2, 1)
            yield nest, row, column, _within_radius(inner, squares, _squared_norms(others), radius)


def _within_radius(
    products: Floats, some: Floats, others: Floats, radius: float, out: Any = None
) -> Flags:
    """Return which vectors lie within the radius of which others, by their ``products`` (b, n, m).

    ``some`` (b, n) and ``others`` (b, m) are their squares. Two do if
    a·b - b·b/2 >= a·a/2 - radius^2/2. In steps of the grid all these are halves of whole numbers
    below 2^23, which float32 holds exactly, and so is the radius made. The products are used up.
    """
    square = math.floor((radius * GRID_STEPS) ** 2 + 1e-6)
    products -= (others / np.float32(2))[:, None, :]
    least = some / np.float32(2) - np.float32(square / 2)
    return np.asarray(np.greater_equal(products, least[:, :, None], out=out))


def _squared_norms(vectors: Floats) -> Floats:
    return np.asarray(np.einsum("bij,bij->bi", vectors, vectors))


def sort_by_size(members: Ints, names: Ints, kinds: Ints | None = None) -> Clusters:
    """Return neighbourhoods of one length with their members sorted by cluster.

    ``members`` (b, m) are rows, ``names`` (b, m) says in which cluster each is, ``kinds`` (b, m)
    which of them are near-duplicates; without it each counts.
    """
    count, length = members.shape
    if not (members[:, 1:] > members[:, :-1]).all():
        order = np.argsort(members, axis=1, kind="stable")
        members, names = (np.take_along_axis(each, order, axis=1) for each in (members, names))
        kinds = None if kinds is None else np.take_along_axis(kinds, order, axis=1)
    first = _first_nodes(names)
    sizes = np.bincount(first.reshape(-1), minlength=count * length)
    counts = sizes if kinds is None else _count_distinct(first, kinds)
    # One number that sorts by descending count, then by the cluster's first place, then by place.
    place, start = np.arange(length), np.arange(count)[:, None] * length
    ranked = np.sort(((length - counts[first]) * length + first - start) * length + place, axis=1)
    ranked %= max(length, 1)
    heads = np.take_along_axis(first, ranked, axis=1) == start + ranked
    clusters, lengths = (start + ranked)[heads], heads.sum(axis=1)
    return Clusters(
        Ragged.of(np.take_along_axis(members, ranked, axis=1).reshape(-1), np.full(count, length)),
        Ragged.of(sizes[clusters], lengths),
        Ragged.of(counts[clusters], lengths),
    )


def _first_nodes(names: Ints) -> Ints:
    """Return for each of the names (b, m) the node i * m + j that is the first to bear it in i."""
    count, length = names.shape
    whole = (names + np.arange(count)[:, None] * (names.max(initial=0) + 1)).reshape(-1)
    if names.max(initial=0) >= length:
        whole = np.unique(whole, return_inverse=True)[1]
    first = np.empty(whole.max(initial=0) + 1, np.int64)
    first[whole[::-1]] = np.arange(len(whole))[::-1]  # of several, the last one written stays
    return np.asarray(first[whole]).reshape(count, length)


def _count_distinct(first: Ints, kinds: Ints) -> Ints:
    """Return how many kinds there are in the cluster that each node is the first of."""
    many = int(kinds.max(initial=0)) + 1
    pairs = np.sort(first * many + kinds, axis=1)
    new = np.ones(pairs.shape, bool)
    new[:, 1:] = pairs[:, 1:] != pairs[:, :-1]
    return np.bincount(pairs[new] // many, minlength=pairs.size)


def concatenate_neighborhoods(parts: Sequence[Clusters]) -> Clusters:
    """Return the neighbourhoods of several parts, one after the other."""
    return Clusters(
        *(_concatenate_ragged([part[i] for part in parts]) for i in range(len(Clusters._fields)))
    )


def _concatenate_ragged(parts: list[Ragged]) -> Ragged:
    return Ragged.of(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.lengths for part in parts]),
    )


def take_neighborhoods(clusters: Clusters, places: Ints) -> Clusters:
    """Return some of the neighbourhoods, each as often as it is named."""
    return Clusters(*(part.take(places) for part in clusters))
