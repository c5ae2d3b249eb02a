"""What each row may draw, and how likely: by cluster, relevance and typicality, within bounds.

The paper draws every response of a cluster with the same probability. Here a response weighs more
the better it fits the context and the more typical its wording is, and no response is drawn for
more rows than its share: without that bound the same few responses would answer everything.
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
"""Responses that a row chooses from, its best; more would change little and cost memory."""

LONGLIST_SIZE = 512
"""Members of a large group that are weighed for each of its rows, best in typicality and odds."""

BLOCK_EXCHANGES = 256
"""Exchanges whose choices are weighed at a time; changes no result."""

BLOCK_ROWS = 2**14
"""Rows whose odds are in memory at a time; changes no result but sums beyond 15 digits."""

BLOCK_MEMBERS = 2**20
"""Members that are weighed at a time; changes no result."""


MAX_PRICE_ROUNDS = 50
"""Rounds in which prices are adjusted to what would be drawn, fewer if that is soon in bounds."""

MAX_DRAW_ROUNDS = 100
"""Rounds in which rows whose response has been drawn often enough draw another one."""


class CandidateTable(NamedTuple):
    """What each distinct exchange may draw, the best first.

    ``rows`` (e, w) of the layout, ``ranks`` (e, w) of their clusters from 0, and ``weights``
    (e, w), logarithms, -inf where an exchange has fewer.
    """

    rows: npt.NDArray[Any]
    ranks: npt.NDArray[Any]
    weights: npt.NDArray[Any]

    @classmethod
    def allocate(cls, exchanges: int, width: int, store: Storage) -> CandidateTable:
        """Return room for the choices of so many exchanges, none there yet."""
        shape = (exchanges, width)
        weights = store.scratch(shape, np.float32)
        weights.fill(-np.inf)
        return cls(store.scratch(shape, np.int32), store.scratch(shape, np.int32), weights)

    def put(self, exchanges: Ints, some: CandidateTable) -> None:
        """Write down what some exchanges may draw."""
        inside = slice(0, some.rows.shape[1])
        for mine, given in zip(self, some, strict=True):
            mine[exchanges, inside] = given


class ExchangeQuery(NamedTuple):
    """Some distinct exchanges: in which neighbourhood of a shard each is, and its context."""

    place: Ints
    context: Ints


def find_candidates(
    asked: ExchangeQuery,
    clusters: Clusters,
    facts: ClusterOdds,
    typical: Reals,
    relevance: Relevance | None,
    recipe: ResolvedRecipe,
) -> CandidateTable:
    """Return what distinct exchanges may draw.

    ``typical`` (n,) is what the typicality of each row adds to its weight, -inf where the row may
    not be drawn.
    """
    share = log_response_odds(facts)
    width = share.shape[1]
    found: list[tuple[Ints, CandidateTable]] = []
    for block, members, ranks in _iter_blocks(asked.place, clusters):
        by_rank = share[asked.place[block][:, None], np.minimum(ranks, width - 1)]
        weights = np.where(ranks < width, by_rank, -np.inf) + typical[members]
        part = CandidateTable(members, ranks, weights)
        if members.shape[1] > LONGLIST_SIZE:
            part = _select_best(part, LONGLIST_SIZE)
        if relevance is not None:
            context = asked.context[block]
            fits = relevance.of(relevance.contexts[context], relevance.known[context], part.rows)
            part = part._replace(weights=part.weights + recipe.relevance * fits)
        found.append((block, _select_best(part, MAX_CANDIDATES)))
    most = max((part.rows.shape[1] for _, part in found), default=1)
    choices = CandidateTable.allocate(len(asked.place), most, MemoryStorage())
    for block, part in found:
        choices.put(block, part)
    return choices


def log_response_odds(facts: ClusterOdds) -> Reals:
    """Return the logarithm of the odds of each response in a cluster (m, c), -inf in none."""
    with np.errstate(divide="ignore"):
        return np.where(
            facts.rows > 0, np.log(facts.odds) - np.log(np.maximum(facts.rows, 1)), -np.inf
        )


def _select_best(choices: CandidateTable, width: int) -> CandidateTable:
    """Return the choices of the largest weights, the largest first."""
    order = np.argsort(-choices.weights, axis=1, kind="stable")[:, :width]
    return CandidateTable(*(np.take_along_axis(part, order, axis=1) for part in choices))


def _iter_blocks(place: Ints, clusters: Clusters) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Yield (exchanges (b,), members (b, m), ranks of their clusters (b, m)) of equal m."""
    members, sizes = clusters.members, clusters.sizes
    rank = np.arange(len(sizes.values)) - np.repeat(sizes.offsets[:-1], sizes.lengths)
    ranks = np.repeat(rank, sizes.values)
    length = members.lengths[place]
    for width in np.unique(length).tolist():
        same = np.flatnonzero(length == width)
        step = max(1, min(BLOCK_EXCHANGES, BLOCK_MEMBERS // width))
        for start in range(0, len(same), step):
            block = same[start : start + step]
            places = members.offsets[place[block]][:, None] + np.arange(width)
            yield block, members.values[places], ranks[places]


def capacity_prices(
    choices: CandidateTable, kinds: Ints, asking: Ints, bound: float, tools: Tools
) -> Reals:
    """Return a price (t,) for each kind that keeps what is expected to be drawn within a bound.

    ``kinds`` (n,) numbers the near-duplicate responses of rows alike, from 0 to t - 1, ``asking``
    (e,) says how many rows of each exchange draw. The price of a kind rises while more than
    ``bound`` rows are expected to draw it (Sinkhorn and Knopp, Concerning Nonnegative Matrices,
    1967, one-sided).
    """
    price = np.zeros(int(kinds.max(initial=0)) + 1)
    busy = np.flatnonzero((asking > 0) & np.isfinite(choices.weights[:, 0]))
    blocks = [busy[start : start + BLOCK_ROWS] for start in range(0, len(busy), BLOCK_ROWS)]

    def expect(price: Reals, block: Ints) -> Reals:
        kind = kinds[choices.rows[block]]
        mass = _softmax(choices.weights[block] - price[kind]) * asking[block, None]
        return np.bincount(kind.ravel(), mass.ravel(), len(price)).astype(np.float64)

    rounds = MAX_PRICE_ROUNDS if bound else 0
    with tools.progress.stage("prices", rounds) as tick:
        for number in range(rounds):
            expected = np.zeros(len(price))
            for mass in tools.threads.map(expect, blocks, price):
                expected += mass
            if expected.max(initial=0) <= 1.05 * bound:
                tick(rounds - number)
                break
            price = np.maximum(price + np.log(np.maximum(expected, 1e-9) / bound), 0)
            tick(1)
    return price


def _softmax(weights: npt.NDArray[np.floating]) -> Reals:
    """Return probabilities (e, w) from log-weights; a row without any choice gets zeros."""
    top = weights.max(axis=1, keepdims=True)
    shares = np.exp(weights.astype(np.float64) - np.where(np.isfinite(top), top, 0))
    return np.asarray(shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-300))


class DrawsWithOdds(NamedTuple):
    """What is drawn by weights: as `RowDraws`, and the probability (n,) of the cluster drawn."""

    drawn: RowDraws
    probability: Reals


class SamplingRound(NamedTuple):
    """What rows pick from in one round: which kinds are closed, or taken (n, t) by a row before."""

    choices: CandidateTable
    price: Reals
    kinds: Ints
    layout: CanonicalCorpus
    taken: Ints
    closed: Flags
    seed: int
    stream: tuple[int, int]


class SampledCandidates(NamedTuple):
    """What some rows would draw: row, kind, rank and odds of its cluster, and if there is any."""

    source: npt.NDArray[Any]
    kind: npt.NDArray[Any]
    rank: npt.NDArray[Any]
    probability: npt.NDArray[Any]
    some: npt.NDArray[Any]


def _sample_candidates(offer: SamplingRound, rows: Ints) -> SampledCandidates:
    """Return what rows would draw."""
    exchange = offer.layout.exchange[rows]
    sources, ranks, weights = (part[exchange] for part in offer.choices)
    kind = offer.kinds[sources]
    barred = offer.closed[kind] | (kind[:, :, None] == offer.taken[rows][:, None, :]).any(axis=2)
    weights = (weights - offer.price[kind]).astype(np.float32)
    odds = _softmax(np.where(barred, -np.inf, weights))
    place = sample_categorical(odds, uniforms(offer.seed, offer.layout.keys[rows], *offer.stream))
    each = np.arange(len(rows))
    rank = ranks[each, place]
    share = np.minimum((odds * (ranks == rank[:, None])).sum(axis=1), 1.0)
    some = odds.max(axis=1, initial=0) > 0
    return SampledCandidates(sources[each, place], kind[each, place], rank, share, some)


def draw_weighted(
    choices: CandidateTable,
    price: Reals,
    layout: CanonicalCorpus,
    kinds: Ints,
    asking: Flags,
    recipe: ResolvedRecipe,
    tools: Tools,
) -> list[DrawsWithOdds]:
    """Return the draws of the rows that ask (n,), one element a target, kinds distinct in a row.

    A response that was drawn for ``repeats`` rows is not drawn again for a row that has another
    choice; of the rows that drew it, the first in the canonical order keep it.
    """
    count = len(layout.ids)
    used = np.zeros(len(price), np.int64)
    taken = np.full((count, recipe.targets), -1, np.int64)
    results = []
    for target in range(recipe.targets):
        drawn = DrawsWithOdds(
            RowDraws(np.zeros(count, np.int64), np.full(count, -1)), np.zeros(count)
        )
        left, last = np.flatnonzero(asking), not recipe.repeats
        for attempt in itertools.count():
            closed = np.zeros(len(used), bool) if last else used >= recipe.repeats
            offer = SamplingRound(
                choices, price, kinds, layout, taken, closed, recipe.seed, (target, attempt)
            )
            picks = _sample_in_blocks(offer, left, tools.threads)
            fits = picks.some & (
                last | (used[picks.kind] + _count_earlier(picks.kind, picks.some) < recipe.repeats)
            )
            fit = SampledCandidates(*(part[fits] for part in picks))
            drawn.drawn.rank[left[fits]] = fit.rank
            drawn.drawn.source[left[fits]] = fit.source
            drawn.probability[left[fits]] = fit.probability
            taken[left[fits], target] = fit.kind
            used += np.bincount(fit.kind, minlength=len(used))
            left, able = left[~fits], picks.some[~fits]
            if last or not len(left):
                break
            last = not able.any() or attempt + 2 == MAX_DRAW_ROUNDS
        results.append(drawn)
    return results


def _sample_in_blocks(offer: SamplingRound, rows: Ints, engine: Engine) -> SampledCandidates:
    """Return what rows would draw, found in blocks."""
    blocks = [rows[start : start + BLOCK_ROWS] for start in range(0, len(rows), BLOCK_ROWS)] or [
        rows
    ]
    found = list(engine.map(_sample_candidates, blocks, offer))
    return SampledCandidates(*(np.concatenate(part) for part in zip(*found, strict=True)))


def _count_earlier(chosen: Ints, counted: Flags) -> Ints:
    """Return how many of the earlier rows that count chose the same."""
    order = np.argsort(chosen, kind="stable")
    ranked = chosen[order]
    before: Ints = np.cumsum(counted[order]) - counted[order]
    start = np.searchsorted(ranked, ranked)
    earlier = np.empty(len(chosen), np.int64)
    earlier[order] = before - before[start] if len(order) else before
    return earlier
