"""Candidates of each row, their weights, and draws within bounds.

The paper draws every response of a cluster with the same probability. Here a response weighs more
if it fits the context better and if its wording is more typical, and no response is drawn for more
rows than its share: without that bound, the same few responses would answer everything.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..recipe import ResolvedRecipe
from ..runtime.arrays import Flags, Ints, Reals
from ..runtime.engines import Engine
from .canonical_order import CanonicalCorpus
from .clusters import Clusters
from .relevance import Relevance
from .resources import Tools
from .sampling import RowDraws, sample_categorical, uniforms
from .sharpening import ClusterOdds
from .storage import MemoryStorage, Storage

MAX_CANDIDATES = 64
"""Maximum number of candidates of a row; more would change little and take memory."""

LONGLIST_SIZE = 512
"""Maximum number of members to score by relevance: the best by typicality and cluster odds."""

BLOCK_EXCHANGES = 256
"""Exchanges to find candidates for at a time; does not affect results."""

BLOCK_ROWS = 2**14
"""Rows whose odds are in memory at a time; affects no result but sums, in the 15th digit."""

BLOCK_MEMBERS = 2**20
"""Members to weigh at a time; does not affect results."""

MAX_PRICE_ROUNDS = 50
"""Maximum number of rounds that adjust prices until the expected draws are within bounds."""

MAX_DRAW_ROUNDS = 100
"""Maximum number of rounds in which rows draw again if their response is used up."""


class CandidateTable(NamedTuple):
    """The candidates of each of e distinct exchanges, best first.

    ``rows`` (e, w) index the corpus in canonical order, ``ranks`` (e, w) are those of their
    clusters, from 0, and ``weights`` (e, w) are logarithms, -inf where an exchange has fewer.
    """

    rows: npt.NDArray[Any]
    ranks: npt.NDArray[Any]
    weights: npt.NDArray[Any]

    @classmethod
    def allocate(cls, exchanges: int, width: int, store: Storage) -> CandidateTable:
        """Allocate an empty table."""
        shape = (exchanges, width)
        weights = store.scratch(shape, np.float32)
        weights.fill(-np.inf)
        return cls(store.scratch(shape, np.int32), store.scratch(shape, np.int32), weights)

    def update(self, exchanges: Ints, candidates: CandidateTable) -> None:
        """Write the candidates of some exchanges into the table."""
        columns = slice(0, candidates.rows.shape[1])
        for whole, part in zip(self, candidates, strict=True):
            whole[exchanges, columns] = part


class ExchangeQuery(NamedTuple):
    """Some distinct exchanges: the place of their neighborhood in a shard, and their context."""

    neighborhood: Ints
    context: Ints


def find_candidates(
    query: ExchangeQuery,
    clusters: Clusters,
    sharpened: ClusterOdds,
    typicality_weights: Reals,
    relevance: Relevance | None,
    recipe: ResolvedRecipe,
) -> CandidateTable:
    """Find the candidates of distinct exchanges, and weigh them.

    ``typicality_weights`` (n,) is what the typicality of each row adds to its weight, -inf where
    the row may not be drawn.
    """
    log_odds = log_response_odds(sharpened)
    width = log_odds.shape[1]
    parts: list[tuple[Ints, CandidateTable]] = []
    for block, members, ranks in _iter_blocks(query.neighborhood, clusters):
        neighborhood = query.neighborhood[block][:, None]
        # Log-weight (b, m) of each member: the odds of its cluster and its typicality.
        by_cluster = log_odds[neighborhood, np.minimum(ranks, width - 1)]
        weights = np.where(ranks < width, by_cluster, -np.inf) + typicality_weights[members]
        part = CandidateTable(members, ranks, weights)
        if members.shape[1] > LONGLIST_SIZE:
            part = _select_best(part, LONGLIST_SIZE)
        # Add the relevance to the context, then keep the best.
        if relevance is not None:
            context = query.context[block]
            vectors, targets = relevance.contexts[context], relevance.targets[context]
            fit = relevance.score(vectors, targets, part.rows)
            part = part._replace(weights=part.weights + recipe.relevance * fit)
        parts.append((block, _select_best(part, MAX_CANDIDATES)))
    most = max((part.rows.shape[1] for _, part in parts), default=1)
    candidates = CandidateTable.allocate(len(query.neighborhood), most, MemoryStorage())
    for block, part in parts:
        candidates.update(block, part)
    return candidates


def log_response_odds(sharpened: ClusterOdds) -> Reals:
    """Log-probability of one response of each cluster (m, c), -inf where there is no cluster."""
    rows = sharpened.rows
    with np.errstate(divide="ignore"):
        log_odds = np.log(sharpened.odds) - np.log(np.maximum(rows, 1))
    return np.where(rows > 0, log_odds, -np.inf)


def _select_best(candidates: CandidateTable, width: int) -> CandidateTable:
    """Keep the candidates with the largest weights, largest first."""
    order = np.argsort(-candidates.weights, axis=1, kind="stable")[:, :width]
    return CandidateTable(*(np.take_along_axis(part, order, axis=1) for part in candidates))


def _iter_blocks(neighborhood: Ints, clusters: Clusters) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Yield blocks of exchanges whose neighborhoods have the same size.

    A block is (exchanges (b,), members (b, m), ranks of their clusters (b, m)).
    """
    members, sizes = clusters.members, clusters.sizes
    rank = np.arange(len(sizes.values)) - np.repeat(sizes.offsets[:-1], sizes.lengths)
    ranks = np.repeat(rank, sizes.values)
    length = members.lengths[neighborhood]
    for width in np.unique(length).tolist():
        exchanges = np.flatnonzero(length == width)
        step = max(1, min(BLOCK_EXCHANGES, BLOCK_MEMBERS // width))
        for start in range(0, len(exchanges), step):
            block = exchanges[start : start + step]
            indices = members.offsets[neighborhood[block]][:, None] + np.arange(width)
            yield block, members.values[indices], ranks[indices]


def capacity_prices(
    candidates: CandidateTable,
    duplicate_groups: Ints,
    draw_counts: Ints,
    bound: float,
    tools: Tools,
) -> Reals:
    """Find a price (t,) for each group of near-duplicates that keeps its draws within ``bound``.

    ``duplicate_groups`` (n,) are those of the rows, 0 to t - 1; ``draw_counts`` (e,) is the number
    of draws for each exchange. The price of a group rises while more than ``bound`` draws of it are
    expected (Sinkhorn and Knopp, Concerning Nonnegative Matrices, 1967, one-sided).
    """
    prices = np.zeros(int(duplicate_groups.max(initial=0)) + 1)
    drawing = np.flatnonzero((draw_counts > 0) & np.isfinite(candidates.weights[:, 0]))
    blocks = [drawing[start : start + BLOCK_ROWS] for start in range(0, len(drawing), BLOCK_ROWS)]

    def expected_draws(prices: Reals, block: Ints) -> Reals:
        groups = duplicate_groups[candidates.rows[block]]
        odds = _softmax(candidates.weights[block] - prices[groups])
        draws = odds * draw_counts[block, None]
        return np.bincount(groups.ravel(), draws.ravel(), len(prices)).astype(np.float64)

    rounds = MAX_PRICE_ROUNDS if bound else 0
    with tools.progress.stage("prices", rounds) as tick:
        for number in range(rounds):
            expected = np.zeros(len(prices))
            for draws in tools.threads.map(expected_draws, blocks, prices):
                expected += draws
            if expected.max(initial=0) <= 1.05 * bound:
                tick(rounds - number)
                break
            prices = np.maximum(prices + np.log(np.maximum(expected, 1e-9) / bound), 0)
            tick(1)
    return prices


def _softmax(weights: npt.NDArray[np.floating]) -> Reals:
    """Probabilities (e, w) from log-weights; all zero in a row without candidates."""
    top = weights.max(axis=1, keepdims=True)
    odds = np.exp(weights.astype(np.float64) - np.where(np.isfinite(top), top, 0))
    return np.asarray(odds / np.maximum(odds.sum(axis=1, keepdims=True), 1e-300))


class DrawsWithOdds(NamedTuple):
    """Draws of n rows, and the probability (n,) of the cluster that each was drawn from."""

    draws: RowDraws
    probability: Reals

    @classmethod
    def empty(cls, count: int) -> DrawsWithOdds:
        """No draw for any row."""
        return cls(RowDraws(np.zeros(count, np.int64), np.full(count, -1)), np.zeros(count))


class SamplingRound(NamedTuple):
    """What rows draw from in one round.

    Groups of near-duplicates that are ``closed`` (t,) are barred for all rows, and those that a row
    has ``taken`` (n, targets) for earlier targets are barred for this row.
    """

    candidates: CandidateTable
    prices: Reals
    duplicate_groups: Ints
    layout: CanonicalCorpus
    taken: Ints
    closed: Flags
    seed: int
    stream: tuple[int, int]


class SampledCandidates(NamedTuple):
    """The draws of some rows, before it is checked whether they are within the bound.

    For each row: the row drawn, its group of near-duplicates, the rank and the probability of its
    cluster, and whether the row had any candidate at all.
    """

    source: npt.NDArray[Any]
    duplicate_group: npt.NDArray[Any]
    rank: npt.NDArray[Any]
    probability: npt.NDArray[Any]
    has_candidate: npt.NDArray[Any]


def _sample_candidates(sampling_round: SamplingRound, rows: Ints) -> SampledCandidates:
    exchange = sampling_round.layout.exchange[rows]
    sources, ranks, weights = (part[exchange] for part in sampling_round.candidates)
    groups = sampling_round.duplicate_groups[sources]
    # Candidates that are barred: their group is closed, or this row has drawn it before.
    taken = (groups[:, :, None] == sampling_round.taken[rows][:, None, :]).any(axis=2)
    barred = sampling_round.closed[groups] | taken
    weights = (weights - sampling_round.prices[groups]).astype(np.float32)
    odds = _softmax(np.where(barred, -np.inf, weights))
    chance = uniforms(sampling_round.seed, sampling_round.layout.keys[rows], *sampling_round.stream)
    choice = sample_categorical(odds, chance)
    each = np.arange(len(rows))
    rank = ranks[each, choice]
    # The probability of the cluster: the sum over its candidates.
    probability = np.minimum((odds * (ranks == rank[:, None])).sum(axis=1), 1.0)
    has_candidate = odds.max(axis=1, initial=0) > 0
    return SampledCandidates(
        sources[each, choice], groups[each, choice], rank, probability, has_candidate
    )


def draw_weighted(
    candidates: CandidateTable,
    prices: Reals,
    layout: CanonicalCorpus,
    duplicate_groups: Ints,
    needs_draw: Flags,
    recipe: ResolvedRecipe,
    tools: Tools,
) -> list[DrawsWithOdds]:
    """Draw targets for the rows that need them (n,): one element per target.

    The targets of a row are of distinct groups of near-duplicates. A response that was drawn for
    ``repeats`` rows is not drawn again for a row that has another candidate; of the rows that drew
    it, the first ones in canonical order keep it.
    """
    count = len(layout.ids)
    used = np.zeros(len(prices), np.int64)
    taken = np.full((count, recipe.targets), -1, np.int64)
    results = []
    for target in range(recipe.targets):
        result = DrawsWithOdds.empty(count)
        left, is_last = np.flatnonzero(needs_draw), not recipe.repeat_limit
        for attempt in itertools.count():
            # In the last round nothing is closed: the remaining rows may exceed the bound.
            closed = np.zeros(len(used), bool) if is_last else used >= recipe.repeat_limit
            sampling_round = SamplingRound(
                candidates,
                prices,
                duplicate_groups,
                layout,
                taken,
                closed,
                recipe.seed,
                (target, attempt),
            )
            sampled = _sample_in_blocks(sampling_round, left, tools.threads)
            groups, has_candidate = sampled.duplicate_group, sampled.has_candidate
            # Keep the draws within the bound, counting the earlier rows of this round.
            within = used[groups] + _count_earlier(groups, has_candidate) < recipe.repeat_limit
            keep = has_candidate & (is_last | within)
            kept = SampledCandidates(*(part[keep] for part in sampled))
            result.draws.rank[left[keep]] = kept.rank
            result.draws.source[left[keep]] = kept.source
            result.probability[left[keep]] = kept.probability
            taken[left[keep], target] = kept.duplicate_group
            used += np.bincount(kept.duplicate_group, minlength=len(used))
            left, has_other = left[~keep], has_candidate[~keep]
            if is_last or not len(left):
                break
            is_last = not has_other.any() or attempt + 2 == MAX_DRAW_ROUNDS
        results.append(result)
    return results


def _sample_in_blocks(
    sampling_round: SamplingRound, rows: Ints, engine: Engine
) -> SampledCandidates:
    starts = range(0, max(len(rows), 1), BLOCK_ROWS)
    blocks = [rows[start : start + BLOCK_ROWS] for start in starts]
    parts = list(engine.map(_sample_candidates, blocks, sampling_round))
    return SampledCandidates(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _count_earlier(groups: Ints, counted: Flags) -> Ints:
    """Count for each row the earlier rows with a true flag and the same group."""
    order = np.argsort(groups, kind="stable")
    ranked = groups[order]
    before: Ints = np.cumsum(counted[order]) - counted[order]
    start = np.searchsorted(ranked, ranked)
    earlier = np.empty(len(groups), np.int64)
    earlier[order] = before - before[start] if len(order) else before
    return earlier
