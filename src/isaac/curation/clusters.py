"""Clusters of the responses in a neighborhood.

Paper, step 2 (content clustering): DBSCAN with ``min_samples=1``, which gives exactly the connected
components of the graph that joins two responses at a distance of at most the radius. The other
method is a cover by balls, densest first, which does not chain.

The responses of all given neighborhoods are nodes of one graph. Matrix products find the pairs to
join, for a few neighborhoods at a time so that everything stays in a core's cache. Only few pairs
are joined; all later steps touch those alone, for all neighborhoods at once.
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
"""Responses of a neighborhood to compare with each other at a time; does not affect results."""

SCRATCH_NUMBERS = 2**18
"""Numbers in memory at a time, few enough for a core's cache; does not affect results."""

BATCH_PAIRS = 2**21
"""Joined pairs in memory at a time; does not affect results."""

MAX_STORED_PAIRS = 2**24
"""Maximum number of joined pairs of a corpus to hold in memory; does not affect results."""

LOOKUP_NEIGHBORHOODS, LOOKUP_ITEMS = 16, 2**20
"""Neighborhoods to look up together, and entries of the look-up table; do not affect results."""

Pairs = tuple[Ints, Ints]
"""Pairs of nodes: the first and the second node of each, (p,) and (p,)."""


class Clusters(NamedTuple):
    """Neighborhoods with their members sorted by cluster, largest cluster first.

    ``members`` are rows, ``sizes`` the number of members of each cluster, and ``counts`` their
    number with near-duplicates counted once, which is the size that all later steps use. Clusters
    are in order of descending count, then of their smallest row; the members of a cluster are in
    order of row.
    """

    members: Ragged
    sizes: Ragged
    counts: Ragged


def connected_components(
    vectors: GridVectors, items: Ints, radius: float, pairs: Ragged | None = None
) -> Ints:
    """Label each response (b, m) with the first member of its connected component.

    ``items`` (b, m) are the indices in ``vectors`` (n, d) of the responses of b neighborhoods.
    Responses are joined up to the Euclidean distance ``radius``; equal vectors are joined even at
    0. ``pairs`` are all joined pairs of the vectors, if `joined_pairs` found them beforehand.
    """
    count, size = items.shape
    labels = np.arange(count * size)
    if pairs is not None:
        first, left, right = _restrict_pairs(pairs, items)
        _merge_components(labels, left, right)
        labels = labels[first]
    else:
        for left, right in _iter_joined_pairs(vectors, items, radius):
            _merge_components(labels, left, right)
    return np.asarray(labels % max(size, 1)).reshape(count, size)


def _merge_components(labels: Ints, left: Ints, right: Ints) -> None:
    """Merge the components of joined nodes: all their nodes get the smallest label among them.

    In each round a label gives way to the smallest one that it is joined to. A label that survives
    two rounds has taken over another one, so a chain of n nodes takes at most 2 log2 n rounds.
    """
    while len(left):
        left, right = labels[left], labels[right]
        apart = left != right
        left, right = left[apart], right[apart]
        np.minimum.at(labels, np.maximum(left, right), np.minimum(left, right))
        while not np.array_equal(labels, lower := labels[labels]):
            labels[:] = lower


def greedy_ball_cover(
    vectors: GridVectors,
    items: Ints,
    radius: float,
    weights: Ints | None = None,
    pairs: Ragged | None = None,
) -> Ints:
    """Label each response (b, m) with the response at the center of its ball.

    The response with the most others within the radius is the first center, and its ball the first
    cluster; this ball is removed, and so on. Among equally dense responses, the first one is taken.
    Unlike a component, no cluster is wider than twice the radius: nothing chains. ``weights`` (b,
    m) is the number of responses that each one represents, by default 1; the other parameters are
    those of `connected_components`.
    """
    count, size = items.shape
    weights = np.ones((count, size), np.int64) if weights is None else weights
    if pairs is not None:
        first, left, right = _restrict_pairs(pairs, items)
        weights = np.bincount(first, weights.reshape(-1), first.size).astype(np.int64)
        centers = _cover_from_pairs(left, right, weights)[first]
        return np.asarray(centers % size).reshape(count, size)
    batches = _iter_joined_pairs(vectors, items, radius)
    left, right = next(batches)
    if len(left) < BATCH_PAIRS:  # there is no other batch
        centers = _cover_from_pairs(left, right, weights.reshape(-1))
        return np.asarray(centers % max(size, 1)).reshape(count, size)
    if count == 1:
        batches = itertools.chain([(left, right)], batches)
        return _cover_dense(vectors, items[0], radius, weights[0], batches)[None]
    halves = zip(np.array_split(items, 2), np.array_split(weights, 2), strict=True)
    return np.concatenate(
        [greedy_ball_cover(vectors, half, radius, half_weights) for half, half_weights in halves]
    )


def _cover_from_pairs(left: Ints, right: Ints, weights: Ints) -> Ints:
    """Find the center of the ball that covers each node (n,), given all joined pairs, each once.

    A node that is denser than all nodes within two steps becomes a center whatever happens
    elsewhere: no other ball can take one of its neighbors first, and densities only fall. So all
    such nodes become centers in the same round.
    """
    centers, nodes = np.arange(len(weights)), np.arange(len(weights))
    while len(left):
        ends, others = np.concatenate([left, right]), np.concatenate([right, left])
        density = weights + np.bincount(ends, weights[others], len(weights)).astype(np.int64)
        # Rank by density, then by smaller node; compare with the best within one and two steps.
        rank = density * len(weights) + nodes[::-1]
        near = rank.copy()
        np.maximum.at(near, ends, rank[others])
        far = near.copy()
        np.maximum.at(far, ends, near[others])
        taken = far == rank
        inside = taken[ends]
        centers[others[inside]] = ends[inside]
        taken[others[inside]] = True
        remain = ~(taken[left] | taken[right])
        left, right = left[remain], right[remain]
    return centers


def _cover_dense(
    vectors: GridVectors, items: Ints, radius: float, weights: Ints, batches: Iterator[Pairs]
) -> Ints:
    """Cover one neighborhood (m,) that has too many joined pairs to hold in memory.

    Its pairs come in batches, which are counted and dropped. As the neighborhood is dense
    somewhere, a few balls, taken one by one, leave less than half of the pairs.
    """
    remaining = np.arange(len(items))
    centers, density = remaining.copy(), weights.copy()
    for left, right in batches:
        density += np.bincount(left, weights[right], len(items)).astype(np.int64)
        density += np.bincount(right, weights[left], len(items)).astype(np.int64)
    half = (density - weights).sum() // 2
    while (density - weights[remaining]).sum() > half:
        center = remaining[[density.argmax()]]
        ball = _count_within(vectors, items[center], items[remaining], weights[center], radius) > 0
        taken, remaining, density = remaining[ball], remaining[~ball], density[~ball]
        centers[taken] = center
        density -= _count_within(vectors, items[taken], items[remaining], weights[taken], radius)
    # The remaining pairs are few enough to hold in memory.
    covered = greedy_ball_cover(vectors, items[None, remaining], radius, weights[None, remaining])
    centers[remaining] = remaining[covered[0]]
    return centers


def _count_within(
    vectors: GridVectors, items: Ints, others: Ints, weights: Ints, radius: float
) -> Ints:
    """Sum for each of the others (n,) the weights of the items that it is joined to."""
    counts = np.zeros(len(others))
    for row in range(0, len(items), TILE):
        rows = vectors[items[row : row + TILE]].astype(np.float32)[None]
        row_weights = weights[row : row + TILE].astype(np.float64)
        for start in range(0, len(others), TILE):
            columns = vectors[others[start : start + TILE]].astype(np.float32)[None]
            products = rows @ columns.transpose(0, 2, 1)
            near = _within_radius(products, _squared_norms(rows), _squared_norms(columns), radius)
            counts[start : start + TILE] += row_weights @ near[0]
    return counts.astype(np.int64)


def joined_pairs(
    vectors: GridVectors, items: Ints, radius: float, mapper: Callable[..., Iterable[Pairs]] = map
) -> Ragged | None:
    """Find for each vector the later ones that it is joined to; None if they are too many to hold.

    ``items`` (ascending indices) selects the vectors to compare. Pairs that many neighborhoods have
    in common are thus compared only once. ``mapper`` maps a function over strips, in order.
    """
    strips, total = [], 0
    for left, right in mapper(
        partial(_compare_strip, vectors, items, radius), range(0, len(items), TILE)
    ):
        total += len(left)
        if total > MAX_STORED_PAIRS:
            return None
        strips.append((left, right))
    left, right = _concatenate_pairs(strips)
    return Ragged.of(right, np.bincount(left, minlength=len(vectors)))


def _compare_strip(vectors: GridVectors, items: Ints, radius: float, row: int) -> Pairs:
    """Find the joined pairs of a strip: `TILE` items from ``row``, each with the items after it."""
    tiles = _iter_tiles(vectors, items[None], radius, range(row, row + 1))
    nonzero = [(np.nonzero(near[0]), column) for _, _, column, near in tiles]
    left, right = _concatenate_pairs([(rows, columns + at) for (rows, columns), at in nonzero])
    order = np.argsort(left, kind="stable")
    return items[row + left[order]], items[right[order]]


def _restrict_pairs(pairs: Ragged, items: Ints) -> tuple[Ints, Ints, Ints]:
    """Restrict joined pairs of all vectors to each neighborhood.

    Returns the first node that has each node's item (b * m,), and the joined pairs of these first
    nodes, left (p,) and right (p,). Node i * m + j is response j of neighborhood i.
    """
    count, size = items.shape
    total = len(pairs.offsets) - 1
    block = max(1, min(count, LOOKUP_NEIGHBORHOODS, LOOKUP_ITEMS // total))
    # For each neighborhood of a block and each item: its first node, -1 if it has none.
    table = np.full(block * total, -1, np.int64)
    firsts, batch = [], []
    for start in range(0, count, block):
        part = items[start : start + block]
        base = np.repeat(np.arange(len(part)) * total, size)
        nodes, part = np.arange(part.size) + start * size, part.reshape(-1)
        table[(base + part)[::-1]] = nodes[::-1]  # where items repeat, NumPy keeps the last write
        first = table[base + part]
        # Pair each first node with all that its item is joined to; keep those in the neighborhood.
        lengths = np.where(first == nodes, pairs.offsets[part + 1] - pairs.offsets[part], 0)
        shift = np.repeat(pairs.offsets[part] - (np.cumsum(lengths) - lengths), lengths)
        right = pairs.values[np.arange(lengths.sum()) + shift]
        right = table[right + np.repeat(base, lengths)]
        inside = np.flatnonzero(right >= 0)
        batch.append((np.repeat(nodes, lengths)[inside], right[inside]))
        firsts.append(first)
        table[base + part] = -1
    return np.concatenate(firsts), *_concatenate_pairs(batch)


def _iter_joined_pairs(vectors: GridVectors, items: Ints, radius: float) -> Iterator[Pairs]:
    """Yield joined pairs of nodes, each once, in batches of at least `BATCH_PAIRS`.

    Only the last batch is smaller, or empty. Node i * m + j is response j of neighborhood i.
    """
    size = items.shape[1]
    batch: list[Pairs] = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    for start, row, column, near in _iter_tiles(vectors, items, radius):
        place, right = np.divmod(np.flatnonzero(near), near.shape[2])
        neighborhood, left = np.divmod(place, near.shape[1])
        base = (start + neighborhood) * size
        batch.append((base + (row + left), base + (column + right)))
        if sum(len(left) for left, _ in batch) >= BATCH_PAIRS:
            yield _concatenate_pairs(batch)
            batch = batch[:1]
    yield _concatenate_pairs(batch)


def _concatenate_pairs(parts: list[Pairs]) -> Pairs:
    left, right = zip(*parts, strict=True)
    return np.concatenate(left), np.concatenate(right)


def _iter_tiles(
    vectors: GridVectors, items: Ints, radius: float, rows: range | None = None
) -> Iterator[tuple[int, int, int, Flags]]:
    """Yield (first neighborhood, row, column, which pairs are joined); each pair is in one tile.

    ``rows`` are the rows at which tiles start, by default all. The next tile overwrites the memory
    of a tile on the diagonal: allocating new memory costs a tenth more time.
    """
    (count, size), width = items.shape, vectors.shape[1]
    tile = min(size, TILE)
    block = max(1, min(count, SCRATCH_NUMBERS // (tile * (tile + width) + 1)))
    grid_scratch = np.empty((block, tile, width), np.int16)
    float_scratch = np.empty((block, tile, width), np.float32)
    products = np.empty((block, tile, tile), np.float32)
    near, is_later = np.empty((block, tile, tile), bool), ~np.tri(tile, dtype=bool)
    rows = range(0, size, TILE) if rows is None else rows
    for start, row in itertools.product(range(0, count, block), rows):
        part = items[start : start + block, row : row + TILE]
        (depth, height), floats = part.shape, float_scratch[: part.shape[0], : part.shape[1]]
        # Only with a mode that cannot fail does NumPy write straight into `out`.
        floats[:] = np.take(vectors, part, axis=0, out=grid_scratch[:depth, :height], mode="clip")
        # The tile on the diagonal: all pairs of these rows, each once.
        used = (slice(depth), slice(height), slice(height))
        inner = np.matmul(floats, floats.transpose(0, 2, 1), out=products[used])
        squares = np.einsum("bii->bi", inner).copy()
        joined = _within_radius(inner, squares, squares, radius, near[used])
        yield start, row, row, joined & is_later[used[1:]]
        # The tiles to its right: these rows with later ones.
        for column in range(row + TILE, size, TILE):
            part = items[start : start + block, column : column + TILE]
            others = vectors[part].astype(np.float32)
            inner = floats @ others.transpose(0, 2, 1)
            joined = _within_radius(inner, squares, _squared_norms(others), radius)
            yield start, row, column, joined


def _within_radius(
    products: Floats, squares: Floats, other_squares: Floats, radius: float, out: Any = None
) -> Flags:
    """Which vectors are within the radius of which others (b, n, m), by their dot products.

    ``squares`` (b, n) and ``other_squares`` (b, m) are their squared norms. Vectors a and b are
    within the radius if a·b - b·b/2 >= a·a/2 - radius^2/2. In steps of the grid, these are all
    halves of whole numbers below 2^23, which float32 represents exactly; so is the squared radius,
    rounded down. ``products`` (b, n, m) is overwritten.
    """
    square = math.floor((radius * GRID_STEPS) ** 2 + 1e-6)
    products -= (other_squares / np.float32(2))[:, None, :]
    bound = squares / np.float32(2) - np.float32(square / 2)
    return np.asarray(np.greater_equal(products, bound[:, :, None], out=out))


def _squared_norms(vectors: Floats) -> Floats:
    return np.asarray(np.einsum("bij,bij->bi", vectors, vectors))


def sort_by_size(members: Ints, labels: Ints, duplicate_groups: Ints | None = None) -> Clusters:
    """Sort the members of neighborhoods of equal length by cluster.

    ``members`` (b, m) are rows, ``labels`` (b, m) their clusters, and ``duplicate_groups`` (b, m)
    their groups of near-duplicates, which count once; without it each member counts.
    """
    count, length = members.shape
    if not (members[:, 1:] > members[:, :-1]).all():
        order = np.argsort(members, axis=1, kind="stable")
        members, labels = (np.take_along_axis(each, order, axis=1) for each in (members, labels))
        if duplicate_groups is not None:
            duplicate_groups = np.take_along_axis(duplicate_groups, order, axis=1)
    # Sizes and counts, at the node (i * m + j) of the first member of each cluster.
    first = _first_nodes(labels)
    sizes = np.bincount(first.reshape(-1), minlength=count * length)
    counts = sizes if duplicate_groups is None else _count_distinct(first, duplicate_groups)
    # One number to sort by: descending count, then the cluster's first member, then the member.
    place, start = np.arange(length), np.arange(count)[:, None] * length
    ranked = np.sort(((length - counts[first]) * length + first - start) * length + place, axis=1)
    ranked %= max(length, 1)
    # Clusters are listed at the nodes of their first members.
    is_first = np.take_along_axis(first, ranked, axis=1) == start + ranked
    clusters, lengths = (start + ranked)[is_first], is_first.sum(axis=1)
    return Clusters(
        Ragged.of(np.take_along_axis(members, ranked, axis=1).reshape(-1), np.full(count, length)),
        Ragged.of(sizes[clusters], lengths),
        Ragged.of(counts[clusters], lengths),
    )


def _first_nodes(labels: Ints) -> Ints:
    """Find for each label (b, m) the first node i * m + j of its neighborhood i that has it."""
    count, length = labels.shape
    # Number the labels of different neighborhoods differently.
    distinct = (labels + np.arange(count)[:, None] * (labels.max(initial=0) + 1)).reshape(-1)
    if labels.max(initial=0) >= length:
        distinct = np.unique(distinct, return_inverse=True)[1]
    first = np.empty(distinct.max(initial=0) + 1, np.int64)
    first[distinct[::-1]] = np.arange(len(distinct))[::-1]  # of repeats, NumPy keeps the last
    return np.asarray(first[distinct]).reshape(count, length)


def _count_distinct(first: Ints, duplicate_groups: Ints) -> Ints:
    """Count the groups of near-duplicates in each cluster, at the node of its first member."""
    group_count = int(duplicate_groups.max(initial=0)) + 1
    pairs = np.sort(first * group_count + duplicate_groups, axis=1)
    is_new = np.ones(pairs.shape, bool)
    is_new[:, 1:] = pairs[:, 1:] != pairs[:, :-1]
    return np.bincount(pairs[is_new] // group_count, minlength=pairs.size)


def concatenate_neighborhoods(parts: Sequence[Clusters]) -> Clusters:
    """Concatenate the neighborhoods of several parts."""
    return Clusters(
        *(_concatenate_ragged([part[i] for part in parts]) for i in range(len(Clusters._fields)))
    )


def _concatenate_ragged(parts: list[Ragged]) -> Ragged:
    return Ragged.of(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.lengths for part in parts]),
    )


def take_neighborhoods(clusters: Clusters, indices: Ints) -> Clusters:
    """Select neighborhoods by index, in this order; an index may repeat."""
    return Clusters(*(part.take(indices) for part in clusters))
