"""How much the contexts of something depend on it.

For features f of contexts with shares b_f over all rows, standardised to mean 0 and variance 1,
the statistic of some rows is the mean product of two of them, which is 0 for rows taken by chance,
over its standard deviation then (a U-statistic). Something that occurs less than `POOL` times is
judged with the occurrences of what is nearest to it in meaning.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...models.encoders import Encoder
from ..arrays import Ints, Ragged, Reals
from ..search.exact import find_neighbors
from ..vectors import Grid, as_floats, embed

POOL = 30
"""Occurrences that a name is judged by, where there are as many near it."""

ENOUGH = 20
"""Occurrences from which on a name is judged by its own alone."""

NEAR = 64
"""Nearest names among which other occurrences are looked for."""

WIDTH = 0.07
"""Cosine over which the dependence of a rare name is smoothed with that of the nearest ones."""

RARE, COMMON = 30, 0.6
"""Rows that a feature must have, and the share of rows from which on it tells nothing."""

PAIRS = 2**22
"""Pairs of features in a row that are counted at a time; bounds memory, changes no result."""

MOST = 2000
"""Features of a kind at most, the most frequent ones; bounds memory."""

BLOCK = 1000
"""Rows or names that are counted at a time; bounds memory, changes no result."""


class Features(NamedTuple):
    """What is known of the contexts of rows (n,): the features each has, and their scales (f,).

    ``shares`` are their base rates, ``own`` (n,) the product of each row with itself, ``deviation``
    that of the products of two rows taken by chance.
    """

    rows: Ragged
    shares: Reals
    scales: Reals
    own: Reals
    deviation: float


def features_of(*kinds: Sequence[frozenset[str]]) -> Features:
    """Return the features of rows, of one or more kinds of equal weight: a bag of each, a row."""
    rows: list[list[int]] = [[] for _ in kinds[0]]
    shares: list[float] = []
    weights: list[float] = []
    for bags in kinds:
        counts = Counter(name for bag in bags for name in bag)
        known = [name for name, n in counts.items() if RARE <= n < COMMON * len(bags)]
        names = sorted(sorted(known, key=lambda name: (-counts[name], name))[:MOST])
        number = {name: place for place, name in enumerate(names, len(shares))}
        shares += [counts[name] / len(bags) for name in names]
        weights += [1 / max(1, len(names))] * len(names)
        for row, bag in zip(rows, bags, strict=True):
            row.extend(sorted(number[name] for name in bag if name in number))
    lengths = np.array([len(row) for row in rows], np.int64)
    found = Ragged.of(np.array([one for row in rows for one in row], np.int64), lengths)
    return _standardized(found, np.array(shares), np.array(weights))


def _standardized(rows: Ragged, shares: Reals, weights: Reals) -> Features:
    """Return features whose products of two rows have mean 0, each kind of equal weight."""
    count, width = len(rows.lengths), len(shares)
    scales = weights / (shares * (1 - shares))
    owner = np.repeat(np.arange(count), rows.lengths)
    extra = np.bincount(owner, (scales * (1 - 2 * shares))[rows.values], minlength=count)
    both = _together(rows, width)
    covariance = both / max(1, count) - np.outer(shares, shares)
    deviation = float(np.sqrt((covariance**2 * np.outer(scales, scales)).sum()))
    return Features(rows, shares, scales, (scales * shares**2).sum() + extra, deviation)


def _together(rows: Ragged, width: int) -> Reals:
    """Return in how many rows each two features stand together (f, f).

    The features of a row ascend.
    """
    both = np.zeros(width * width)
    ends = np.cumsum(rows.lengths * (rows.lengths + 1) // 2)
    start = 0
    while start < len(ends):
        most = PAIRS + (ends[start - 1] if start else 0)
        end = max(start + 1, int(np.searchsorted(ends, most, side="right")))
        some = rows.take(np.arange(start, end))
        place = np.arange(len(some.values))
        run = np.repeat(np.cumsum(some.lengths), some.lengths) - place
        first = np.repeat(some.values, run)
        second = some.values[np.repeat(place - (np.cumsum(run) - run), run) + np.arange(len(first))]
        both += np.bincount(first * width + second, minlength=width * width)
        start = end
    once = both.reshape(width, width)
    return once + np.triu(once, 1).T


class Names(NamedTuple):
    """Names (m,) of parts or words in order, their unit vectors, and the rows that have each."""

    names: list[str]
    vectors: Grid
    rows: Ragged


def named(bags: Sequence[Sequence[str]], encoder: Encoder) -> Names:
    """Return the names in bags (n,), one bag a row."""
    places: dict[str, list[int]] = defaultdict(list)
    for row, bag in enumerate(bags):
        for name in set(bag):
            places[name].append(row)
    names = sorted(places)
    lengths = np.array([len(places[name]) for name in names], np.int64)
    every = itertools.chain.from_iterable(places[name] for name in names)
    rows = Ragged.of(np.fromiter(every, np.int64, int(lengths.sum())), lengths)
    return Names(names, embed(encoder, names).vectors, rows)


class Known(NamedTuple):
    """Names (m,) with their vectors, the rows that have each, and how much each depends on them."""

    names: list[str]
    vectors: Grid
    counts: Ints
    roots: Reals


def dependence(found: Names, features: Features) -> Known:
    """Return names with how much their contexts depend on each, from 0 for not at all.

    It is the square root of the statistic of a name's pool; that of a rare name is the mean over
    the names nearest to it, itself included.
    """
    count = len(found.names)
    near = find_neighbors(found.vectors, found.vectors, min(NEAR, count))
    pools = [_pool(name, near[name], found.rows) for name in range(count)]
    roots = np.sqrt(np.maximum(_statistics(pools, features), 0))
    raw = Known(found.names, found.vectors, found.rows.lengths, roots)
    rare = np.flatnonzero(raw.counts < ENOUGH)
    smooth = roots.copy()
    smooth[rare] = _smoothed(raw, found.vectors[rare], near[rare])
    return raw._replace(roots=smooth)


def _pool(name: int, near: Ints, rows: Ragged) -> Ints:
    """Return the rows that a name is judged by: its own, or also those of near names."""
    own = rows[name]
    if len(own) >= ENOUGH:
        return own
    pool = dict.fromkeys(own.tolist())
    for other in near.tolist():
        for row in rows[other].tolist():
            if len(pool) >= POOL:
                break
            pool[row] = None
    return np.fromiter(pool, np.int64, len(pool))


def _statistics(pools: list[Ints], features: Features) -> Reals:
    width, found = len(features.shares), [np.zeros(0)]
    for start in range(0, len(pools), BLOCK):
        some = pools[start : start + BLOCK]
        sizes = np.array([len(pool) for pool in some], np.float64)
        members = np.concatenate(some)
        owner = np.repeat(np.arange(len(some)), sizes.astype(np.int64))
        taken = features.rows.take(members)
        place = np.repeat(owner, taken.lengths) * width + taken.values
        counts = np.bincount(place, minlength=len(some) * width).reshape(len(some), width)
        off = counts - sizes[:, None] * features.shares
        own = np.bincount(owner, features.own[members], minlength=len(some))
        chance = features.deviation * np.sqrt(2 * sizes * (sizes - 1))
        found.append(((off * off * features.scales).sum(1) - own) / np.maximum(chance, 1e-12))
    return np.concatenate(found)


def _smoothed(found: Known, asked: Grid, near: Ints) -> Reals:
    """Return the mean of roots over near names (q, k) of asked vectors (q, d)."""
    smooth = np.empty(len(asked))
    for start in range(0, len(asked), BLOCK):
        some = near[start : start + BLOCK]
        weight = np.exp((cosines(asked[start : start + BLOCK], found.vectors, some) - 1) / WIDTH)
        weight *= found.counts[some]
        smooth[start : start + BLOCK] = (weight * found.roots[some]).sum(1) / weight.sum(1)
    return smooth


def cosines(asked: Grid, vectors: Grid, near: Ints) -> Reals:
    """Return the products of vectors (q, d) with k of others each (q, k), exact on the grid."""
    found = [
        as_floats(vectors[near[:, place]]) * as_floats(asked) for place in range(near.shape[1])
    ]
    return np.array([one.sum(1, dtype=np.float64) for one in found]).T


def likened(names: list[str], to: Known, encoder: Encoder) -> Known:
    """Return other names with the dependence of the known ones nearest to each."""
    vectors = embed(encoder, names).vectors
    near = find_neighbors(vectors, to.vectors, min(NEAR, len(to.names)))
    counts = np.ones(len(names), np.int64)
    return Known(names, vectors, counts, _smoothed(to, vectors, near))
