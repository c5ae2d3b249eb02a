"""How much the contexts of something depend on it.

For features f of contexts with shares b_f over all rows, standardised to mean 0 and variance 1,
the statistic of some rows is the mean product of two of them, which is 0 for rows taken by chance,
over its standard deviation then (a U-statistic). Something that occurs less than `POOL_OCCURRENCES` times is
judged with the occurrences of what is nearest to it in meaning.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...models.encoders import Encoder
from ...runtime.arrays import Ints, Ragged, Reals
from ..search.exact import find_neighbors
from ..vectors import GridVectors, as_floats, embed

POOL_OCCURRENCES = 30
"""Occurrences that a name is judged by, where there are as many near it."""

MIN_OCCURRENCES = 20
"""Occurrences from which on a name is judged by its own alone."""

NEIGHBOR_TERMS = 64
"""Nearest names among which other occurrences are looked for."""

SMOOTHING_WIDTH = 0.07
"""Cosine over which the dependence of a rare name is smoothed with that of the nearest ones."""

MIN_FEATURE_ROWS, MAX_FEATURE_SHARE = 30, 0.6
"""Rows that a feature must have, and the share of rows from which on it tells nothing."""

BLOCK_PAIRS = 2**22
"""Pairs of features in a row that are counted at a time; bounds memory, changes no result."""

MAX_FEATURES = 2000
"""Features of a kind at most, the most frequent ones; bounds memory."""

BLOCK_ROWS = 1000
"""Rows or names that are counted at a time; bounds memory, changes no result."""


class ContextFeatures(NamedTuple):
    """What is known of the contexts of rows (n,): the features each has, and their scales (f,).

    ``shares`` are their base rates, ``own`` (n,) the product of each row with itself, ``deviation``
    that of the products of two rows taken by chance.
    """

    rows: Ragged
    shares: Reals
    scales: Reals
    own: Reals
    deviation: float


def build_features(*kinds: Sequence[frozenset[str]]) -> ContextFeatures:
    """Return the features of rows, of one or more kinds of equal weight: a bag of each, a row."""
    rows: list[list[int]] = [[] for _ in kinds[0]]
    shares: list[float] = []
    weights: list[float] = []
    for bags in kinds:
        counts = Counter(name for bag in bags for name in bag)
        known = [
            name
            for name, n in counts.items()
            if MIN_FEATURE_ROWS <= n < MAX_FEATURE_SHARE * len(bags)
        ]
        names = sorted(sorted(known, key=lambda name: (-counts[name], name))[:MAX_FEATURES])
        number = {name: place for place, name in enumerate(names, len(shares))}
        shares += [counts[name] / len(bags) for name in names]
        weights += [1 / max(1, len(names))] * len(names)
        for row, bag in zip(rows, bags, strict=True):
            row.extend(sorted(number[name] for name in bag if name in number))
    lengths = np.array([len(row) for row in rows], np.int64)
    found = Ragged.of(np.array([one for row in rows for one in row], np.int64), lengths)
    return _standardize(found, np.array(shares), np.array(weights))


def _standardize(rows: Ragged, shares: Reals, weights: Reals) -> ContextFeatures:
    """Return features whose products of two rows have mean 0, each kind of equal weight."""
    count, width = len(rows.lengths), len(shares)
    scales = weights / (shares * (1 - shares))
    owner = np.repeat(np.arange(count), rows.lengths)
    extra = np.bincount(owner, (scales * (1 - 2 * shares))[rows.values], minlength=count)
    both = _count_cooccurrences(rows, width)
    covariance = both / max(1, count) - np.outer(shares, shares)
    deviation = float(np.sqrt((covariance**2 * np.outer(scales, scales)).sum()))
    return ContextFeatures(rows, shares, scales, (scales * shares**2).sum() + extra, deviation)


def _count_cooccurrences(rows: Ragged, width: int) -> Reals:
    """Return in how many rows each two features stand together (f, f).

    The features of a row ascend.
    """
    both = np.zeros(width * width)
    ends = np.cumsum(rows.lengths * (rows.lengths + 1) // 2)
    start = 0
    while start < len(ends):
        most = BLOCK_PAIRS + (ends[start - 1] if start else 0)
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


class TermIndex(NamedTuple):
    """Names (m,) of parts or words in order, their unit vectors, and the rows that have each."""

    names: list[str]
    vectors: GridVectors
    rows: Ragged


def index_terms(bags: Sequence[Sequence[str]], encoder: Encoder) -> TermIndex:
    """Return the names in bags (n,), one bag a row."""
    places: dict[str, list[int]] = defaultdict(list)
    for row, bag in enumerate(bags):
        for name in set(bag):
            places[name].append(row)
    names = sorted(places)
    lengths = np.array([len(places[name]) for name in names], np.int64)
    every = itertools.chain.from_iterable(places[name] for name in names)
    rows = Ragged.of(np.fromiter(every, np.int64, int(lengths.sum())), lengths)
    return TermIndex(names, embed(encoder, names).vectors, rows)


class AssociationScores(NamedTuple):
    """Names (m,) with their vectors, the rows that have each, and how much each depends on them."""

    names: list[str]
    vectors: GridVectors
    counts: Ints
    roots: Reals


def score_association(found: TermIndex, features: ContextFeatures) -> AssociationScores:
    """Return names with how much their contexts depend on each, from 0 for not at all.

    It is the square root of the statistic of a name's pool; that of a rare name is the mean over
    the names nearest to it, itself included.
    """
    count = len(found.names)
    near = find_neighbors(found.vectors, found.vectors, min(NEIGHBOR_TERMS, count))
    pools = [_pool_rows(name, near[name], found.rows) for name in range(count)]
    roots = np.sqrt(np.maximum(_compute_statistics(pools, features), 0))
    raw = AssociationScores(found.names, found.vectors, found.rows.lengths, roots)
    rare = np.flatnonzero(raw.counts < MIN_OCCURRENCES)
    smooth = roots.copy()
    smooth[rare] = _smooth_scores(raw, found.vectors[rare], near[rare])
    return raw._replace(roots=smooth)


def _pool_rows(name: int, near: Ints, rows: Ragged) -> Ints:
    """Return the rows that a name is judged by: its own, or also those of near names."""
    own = rows[name]
    if len(own) >= MIN_OCCURRENCES:
        return own
    pool = dict.fromkeys(own.tolist())
    for other in near.tolist():
        for row in rows[other].tolist():
            if len(pool) >= POOL_OCCURRENCES:
                break
            pool[row] = None
    return np.fromiter(pool, np.int64, len(pool))


def _compute_statistics(pools: list[Ints], features: ContextFeatures) -> Reals:
    width, found = len(features.shares), [np.zeros(0)]
    for start in range(0, len(pools), BLOCK_ROWS):
        some = pools[start : start + BLOCK_ROWS]
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


def _smooth_scores(found: AssociationScores, asked: GridVectors, near: Ints) -> Reals:
    """Return the mean of roots over near names (q, k) of asked vectors (q, d)."""
    smooth = np.empty(len(asked))
    for start in range(0, len(asked), BLOCK_ROWS):
        some = near[start : start + BLOCK_ROWS]
        weight = np.exp(
            (compute_cosines(asked[start : start + BLOCK_ROWS], found.vectors, some) - 1)
            / SMOOTHING_WIDTH
        )
        weight *= found.counts[some]
        smooth[start : start + BLOCK_ROWS] = (weight * found.roots[some]).sum(1) / weight.sum(1)
    return smooth


def compute_cosines(asked: GridVectors, vectors: GridVectors, near: Ints) -> Reals:
    """Return the products of vectors (q, d) with k of others each (q, k), exact on the grid."""
    found = [
        as_floats(vectors[near[:, place]]) * as_floats(asked) for place in range(near.shape[1])
    ]
    return np.array([one.sum(1, dtype=np.float64) for one in found]).T


def infer_association(
    names: list[str], to: AssociationScores, encoder: Encoder
) -> AssociationScores:
    """Return other names with the dependence of the known ones nearest to each."""
    vectors = embed(encoder, names).vectors
    near = find_neighbors(vectors, to.vectors, min(NEIGHBOR_TERMS, len(to.names)))
    counts = np.ones(len(names), np.int64)
    return AssociationScores(names, vectors, counts, _smooth_scores(to, vectors, near))
