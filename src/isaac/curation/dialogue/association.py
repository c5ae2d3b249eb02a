"""How strongly a term is associated with its contexts: whether the rows that have it are alike.

A context has binary features, such as its words; feature f has share b_f over all rows and is
standardized to mean 0 and variance 1. The statistic of a set of rows is the mean product of two of
its rows, divided by the standard deviation that it would have for random rows, where its mean is 0
(a U-statistic). A term with fewer than `MIN_OCCURRENCES` rows is scored with the rows of the terms
nearest to it in meaning, up to `POOL_OCCURRENCES` in all.
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
"""Rows that the score of a rare term is based on, if the terms near it have enough."""

MIN_OCCURRENCES = 20
"""A term with at least this many rows is scored by its own rows alone."""

NEIGHBOR_TERMS = 64
"""Nearest terms whose rows are pooled, and whose scores are averaged."""

SMOOTHING_WIDTH = 0.07
"""Width, as a cosine, of the kernel that smooths the score of a rare term over those near it."""

MIN_FEATURE_ROWS, MAX_FEATURE_SHARE = 30, 0.6
"""A feature is used if at least this many rows have it, and less than this share of them."""

BLOCK_PAIRS = 2**22
"""Pairs of features counted at a time; bounds memory, does not affect results."""

MAX_FEATURES = 2000
"""Maximum number of features of each source, the most frequent ones; bounds memory."""

BLOCK_ROWS = 1000
"""Rows or terms processed at a time; bounds memory, does not affect results."""


class ContextFeatures(NamedTuple):
    """The features of each row's context (n lists), and what the statistic needs of them.

    For the features: their ``shares`` (f,) of all rows, and ``scales`` (f,), the factors that
    standardize and weigh them. For the rows: ``self_products`` (n,) of each row with itself, and
    ``deviation``, the standard deviation of the product of two random rows.
    """

    rows: Ragged
    shares: Reals
    scales: Reals
    self_products: Reals
    deviation: float


def build_features(*sources: Sequence[frozenset[str]]) -> ContextFeatures:
    """Build the features of rows from one or more sources of equal weight.

    Each source has one bag of features per row, such as the words of the last user message.
    """
    rows: list[list[int]] = [[] for _ in sources[0]]
    shares: list[float] = []
    weights: list[float] = []
    for bags in sources:
        counts = Counter(feature for bag in bags for feature in bag)
        frequent = [
            feature
            for feature, n in counts.items()
            if MIN_FEATURE_ROWS <= n < MAX_FEATURE_SHARE * len(bags)
        ]
        features = sorted(
            sorted(frequent, key=lambda feature: (-counts[feature], feature))[:MAX_FEATURES]
        )
        number = {feature: place for place, feature in enumerate(features, len(shares))}
        shares += [counts[feature] / len(bags) for feature in features]
        weights += [1 / max(1, len(features))] * len(features)
        for row, bag in zip(rows, bags, strict=True):
            row.extend(sorted(number[feature] for feature in bag if feature in number))
    lengths = np.array([len(row) for row in rows], np.int64)
    numbers = np.array([feature for row in rows for feature in row], np.int64)
    return _standardize(Ragged.of(numbers, lengths), np.array(shares), np.array(weights))


def _standardize(rows: Ragged, shares: Reals, weights: Reals) -> ContextFeatures:
    """Scale features so that the product of two random rows has mean 0 and sources weigh equally.

    ``weights`` (f,) are the weights of the features, which sum to 1 in each source.
    """
    count, width = len(rows.lengths), len(shares)
    scales = weights / (shares * (1 - shares))
    # The product of a row with itself: sum of scale * (x - share)^2, where x is 0 or 1.
    owner = np.repeat(np.arange(count), rows.lengths)
    extra = np.bincount(owner, (scales * (1 - 2 * shares))[rows.values], minlength=count)
    self_products = (scales * shares**2).sum() + extra
    # The variance of the product of two random rows is the sum of the squared covariances (f, f).
    cooccurrences = _count_cooccurrences(rows, width)
    covariance = cooccurrences / max(1, count) - np.outer(shares, shares)
    deviation = float(np.sqrt((covariance**2 * np.outer(scales, scales)).sum()))
    return ContextFeatures(rows, shares, scales, self_products, deviation)


def _count_cooccurrences(rows: Ragged, width: int) -> Reals:
    """Count the rows in which two features occur together (f, f); the features of a row ascend."""
    both = np.zeros(width * width)
    ends = np.cumsum(rows.lengths * (rows.lengths + 1) // 2)
    start = 0
    while start < len(ends):
        # As many rows as have BLOCK_PAIRS pairs together, at least one.
        limit = BLOCK_PAIRS + (ends[start - 1] if start else 0)
        end = max(start + 1, int(np.searchsorted(ends, limit, side="right")))
        block = rows.take(np.arange(start, end))
        # Pair each feature with itself and those after it in its row: ``run`` features in all.
        place = np.arange(len(block.values))
        run = np.repeat(np.cumsum(block.lengths), block.lengths) - place
        first = np.repeat(block.values, run)
        shift = np.repeat(place - (np.cumsum(run) - run), run)
        second = block.values[shift + np.arange(len(first))]
        both += np.bincount(first * width + second, minlength=width * width)
        start = end
    upper = both.reshape(width, width)
    return upper + np.triu(upper, 1).T


class TermIndex(NamedTuple):
    """Distinct terms (m,), spans or words, in order, with unit vectors and the rows of each."""

    terms: list[str]
    vectors: GridVectors
    rows: Ragged


def index_terms(bags: Sequence[Sequence[str]], encoder: Encoder) -> TermIndex:
    """Index the terms of rows, given one bag of terms per row."""
    rows_of_term: dict[str, list[int]] = defaultdict(list)
    for row, bag in enumerate(bags):
        for term in set(bag):
            rows_of_term[term].append(row)
    terms = sorted(rows_of_term)
    lengths = np.array([len(rows_of_term[term]) for term in terms], np.int64)
    flat = itertools.chain.from_iterable(rows_of_term[term] for term in terms)
    rows = Ragged.of(np.fromiter(flat, np.int64, int(lengths.sum())), lengths)
    return TermIndex(terms, embed(encoder, terms).vectors, rows)


class AssociationScores(NamedTuple):
    """Terms (m,) with their unit vectors, how many rows have each, and its association score.

    The score is the square root of a statistic that has mean 0 and variance 1 for random rows; it
    is 0 if the statistic is negative.
    """

    terms: list[str]
    vectors: GridVectors
    counts: Ints
    scores: Reals


def score_association(index: TermIndex, features: ContextFeatures) -> AssociationScores:
    """Score how strongly each term is associated with its contexts, from 0 for not at all.

    The score is the square root of the statistic of the term's pooled rows. The score of a rare
    term is then averaged over the terms nearest to it, itself included.
    """
    count = len(index.terms)
    near = find_neighbors(index.vectors, index.vectors, min(NEIGHBOR_TERMS, count))
    pools = [_pool_rows(term, near[term], index.rows) for term in range(count)]
    scores = np.sqrt(np.maximum(_compute_statistics(pools, features), 0))
    raw = AssociationScores(index.terms, index.vectors, index.rows.lengths, scores)
    rare = np.flatnonzero(raw.counts < MIN_OCCURRENCES)
    smooth = scores.copy()
    smooth[rare] = _smooth_scores(raw, index.vectors[rare], near[rare])
    return raw._replace(scores=smooth)


def _pool_rows(term: int, near: Ints, rows: Ragged) -> Ints:
    """Collect the rows that a term is scored by: its own, and if it is rare also those near it."""
    own_rows = rows[term]
    if len(own_rows) >= MIN_OCCURRENCES:
        return own_rows
    pool = dict.fromkeys(own_rows.tolist())
    for other in near.tolist():
        for row in rows[other].tolist():
            if len(pool) >= POOL_OCCURRENCES:
                break
            pool[row] = None
    return np.fromiter(pool, np.int64, len(pool))


def _compute_statistics(pools: list[Ints], features: ContextFeatures) -> Reals:
    """Compute the U-statistic (p,) of each pool of rows."""
    width, statistics = len(features.shares), [np.zeros(0)]
    for start in range(0, len(pools), BLOCK_ROWS):
        block = pools[start : start + BLOCK_ROWS]
        sizes = np.array([len(pool) for pool in block], np.float64)
        members = np.concatenate(block)
        owner = np.repeat(np.arange(len(block)), sizes.astype(np.int64))
        # How many rows of each pool have each feature (b, f), and how far that is from chance.
        taken = features.rows.take(members)
        place = np.repeat(owner, taken.lengths) * width + taken.values
        counts = np.bincount(place, minlength=len(block) * width).reshape(len(block), width)
        excess = counts - sizes[:, None] * features.shares
        # The products of all pairs of rows, less those of each row with self_sums.
        self_sums = np.bincount(owner, features.self_products[members], minlength=len(block))
        products = (excess * excess * features.scales).sum(1) - self_sums
        chance = features.deviation * np.sqrt(2 * sizes * (sizes - 1))
        statistics.append(products / np.maximum(chance, 1e-12))
    return np.concatenate(statistics)


def _smooth_scores(known: AssociationScores, vectors: GridVectors, near: Ints) -> Reals:
    """Average, for each of ``vectors`` (q, d), the scores of the known terms near it.

    ``near`` (q, k) are the indices of these terms. A term weighs more the nearer it is, and the
    more rows it has.
    """
    smooth = np.empty(len(vectors))
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        cosines = compute_cosines(vectors[block], known.vectors, near[block])
        weight = np.exp((cosines - 1) / SMOOTHING_WIDTH)
        weight *= known.counts[near[block]]
        smooth[block] = (weight * known.scores[near[block]]).sum(1) / weight.sum(1)
    return smooth


def compute_cosines(queries: GridVectors, vectors: GridVectors, near: Ints) -> Reals:
    """Compute the cosines (q, k) of each query (q, d) with the vectors at the indices ``near``."""
    products = [
        as_floats(vectors[near[:, place]]) * as_floats(queries) for place in range(near.shape[1])
    ]
    return np.array([product.sum(1, dtype=np.float64) for product in products]).T


def infer_association(
    terms: list[str], known: AssociationScores, encoder: Encoder
) -> AssociationScores:
    """Score new terms by the known terms nearest to each; each counts as one row."""
    vectors = embed(encoder, terms).vectors
    near = find_neighbors(vectors, known.vectors, min(NEIGHBOR_TERMS, len(known.terms)))
    counts = np.ones(len(terms), np.int64)
    return AssociationScores(terms, vectors, counts, _smooth_scores(known, vectors, near))
