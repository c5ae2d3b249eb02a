"""What each row may draw, and how likely: by cluster, relevance and typicality, within bounds.

The paper draws every response of a cluster with the same probability. Here a response weighs more
the better it fits the context and the more typical its wording is, and no response is drawn for
more rows than its share: without that bound the same few responses would answer everything.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .clusters import Clusters
from .draws import Drawn, Reals, Shape, choose, uniforms
from .embeddings import Embedded, Floats, Grid, as_floats, on_grid
from .layout import Layout
from .neighborhoods import Consensus, drawable, fit_rows, seen
from .neighbors import Ints, group_by
from .recipe import Settled

WIDTH = 64
"""Responses that a row chooses from, its best; more would change little and cost memory."""

LONGLIST = 512
"""Members of a large group that are weighed for each of its rows, best in typicality and odds."""

BLOCK = 256
"""Exchanges whose choices are weighed at a time; changes no result."""

CONTEXTS = 4096
"""Contexts whose best responses are predicted at a time; changes no result."""

GATHERED = 2**24
"""Numbers of vectors that are gathered at a time; changes no result."""

ROUNDS = 50
"""Rounds in which prices are adjusted to what would be drawn, fewer if that is soon in bounds."""

RETRIES = 100
"""Rounds in which rows whose response has been drawn often enough draw another one."""


class Relevance:
    """How well the responses of a corpus fit a context, by their vectors.

    Half the sum of three cosines: of the given context with the response's own context; of the
    response with the response that ridge regression predicts from the given context; and, twice,
    where both texts have the same encoder, of the response with the given context, centred.
    """

    def __init__(
        self, layout: Layout, contexts: Embedded, responses: Embedded, recipe: Settled
    ) -> None:
        self.contexts, self.responses = contexts.vectors, responses.vectors
        self.said, self.answered = layout.context, seen(layout, recipe)[1]
        self.ridge = fit_rows(layout, contexts, responses, recipe)
        self.shared = recipe.context_encoder == recipe.response_encoder
        blocks = range(0, len(self.contexts), CONTEXTS)
        self.known = np.concatenate(
            [self.wanted(self.contexts[start : start + CONTEXTS]) for start in blocks]
        )

    def wanted(self, contexts: Grid) -> Grid:
        """Return the vectors (b, e) that a response to contexts (b, d) should be near."""
        wanted = self.ridge.predicted(contexts)
        if self.shared:
            wanted = wanted + 2 * on_grid(as_floats(contexts) - self.ridge.contexts)
        return wanted

    def of(self, contexts: Grid, wanted: Grid, members: Ints) -> Floats:
        """Return the fit (b, m) of rows ``members`` (b, m) to contexts (b, d)."""
        fits = np.empty(members.shape, np.float32)
        step = max(1, GATHERED // (members.shape[1] * (contexts.shape[1] + wanted.shape[1])))
        for start in range(0, len(members), step):
            rows = slice(start, start + step)
            answers = as_floats(self.responses[self.answered[members[rows]]])
            questions = as_floats(self.contexts[self.said[members[rows]]])
            fit = np.matmul(answers, as_floats(wanted[rows])[:, :, None])
            fit += np.matmul(questions, as_floats(contexts[rows])[:, :, None])
            fits[rows] = fit[:, :, 0] / 2
        return fits


class Choices(NamedTuple):
    """What each distinct exchange may draw, the best first.

    ``rows`` (e, w) of the layout, ``ranks`` (e, w) of their clusters from 0, and ``weights``
    (e, w), logarithms, -inf where an exchange has fewer.
    """

    rows: Ints
    ranks: Ints
    weights: npt.NDArray[np.floating]


def find_choices(
    layout: Layout,
    clusters: Clusters,
    facts: Shape,
    consensus: Consensus,
    relevance: Relevance | None,
    recipe: Settled,
) -> Choices:
    """Return what each distinct exchange of a corpus may draw."""
    share = log_share(facts)
    allowed = drawable(layout, consensus, recipe)
    typical = recipe.typicality * consensus.typicality[layout.response]
    typical = np.where(allowed, typical, -np.inf)
    _, first = np.unique(layout.exchange, return_index=True)
    blocks = []
    for exchanges, members, ranks in _blocks(layout, clusters, recipe):
        width = share.shape[1]
        nest = (layout.group if recipe.group_by is not None else layout.exchange)[first[exchanges]]
        by_rank = share[nest[:, None], np.minimum(ranks, width - 1)]
        weights = np.where(ranks < width, by_rank, -np.inf) + typical[members]
        part = Choices(members, ranks, weights)
        if members.shape[1] > LONGLIST:
            part = _best(part, LONGLIST)
        if relevance is not None:
            asked = layout.context[first[exchanges]]
            fits = relevance.of(relevance.contexts[asked], relevance.known[asked], part.rows)
            part = part._replace(weights=part.weights + recipe.relevance * fits)
        blocks.append((exchanges, _best(part, WIDTH)))
    return _stacked(blocks)


def log_share(facts: Shape) -> Reals:
    """Return the logarithm of the odds of each response in a cluster (m, c), -inf in none."""
    with np.errstate(divide="ignore"):
        return np.where(
            facts.rows > 0, np.log(facts.odds) - np.log(np.maximum(facts.rows, 1)), -np.inf
        )


def _best(choices: Choices, width: int) -> Choices:
    """Return the choices of the largest weights, the largest first."""
    order = np.argsort(-choices.weights, axis=1, kind="stable")[:, :width]
    rows, ranks, weights = choices
    return Choices(
        np.take_along_axis(rows, order, axis=1),
        np.take_along_axis(ranks, order, axis=1),
        np.take_along_axis(weights, order, axis=1),
    )


def _blocks(
    layout: Layout, clusters: Clusters, recipe: Settled
) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Yield (exchanges (b,), members (b, m), ranks of their clusters (b, m)) of equal m."""
    members, sizes = clusters.members, clusters.sizes
    rank = np.arange(len(sizes.values)) - np.repeat(sizes.offsets[:-1], sizes.lengths)
    ranks = np.repeat(rank, sizes.values)
    if recipe.group_by is None:
        width = int(members.lengths[0])
        for start in range(0, len(members.lengths), BLOCK):
            block = np.arange(start, min(start + BLOCK, len(members.lengths)))
            place = members.offsets[block][:, None] + np.arange(width)
            yield block, members.values[place], ranks[place]
        return
    _, first = np.unique(layout.exchange, return_index=True)
    of_group = group_by(layout.group[first])
    for number in range(len(members.lengths)):
        span = slice(members.offsets[number], members.offsets[number + 1])
        exchanges = of_group[number]
        for start in range(0, len(exchanges), BLOCK):
            block = exchanges[start : start + BLOCK]
            shape = (len(block), span.stop - span.start)
            yield (
                block,
                np.broadcast_to(members.values[span], shape),
                np.broadcast_to(ranks[span], shape),
            )


def _stacked(blocks: list[tuple[Ints, Choices]]) -> Choices:
    """Return the choices of blocks of exchanges, of unequal width, in the order of exchanges."""
    count = sum(len(exchanges) for exchanges, _ in blocks)
    width = max(part.rows.shape[1] for _, part in blocks)
    rows, ranks = np.zeros((count, width), np.int64), np.zeros((count, width), np.int64)
    weights = np.full((count, width), -np.inf, np.float32)
    for exchanges, part in blocks:
        inside = slice(0, part.rows.shape[1])
        rows[exchanges, inside], ranks[exchanges, inside] = part.rows, part.ranks
        weights[exchanges, inside] = part.weights
    return Choices(rows, ranks, weights)


def priced(choices: Choices, kinds: Ints, asking: Ints, bound: float) -> Choices:
    """Return the choices at prices that keep what is expected to be drawn within a bound.

    ``kinds`` (n,) numbers the near-duplicate responses of rows alike, ``asking`` (e,) says how
    many rows of each exchange draw. The price of a kind rises while more than ``bound`` rows are
    expected to draw it (Sinkhorn and Knopp, Concerning Nonnegative Matrices, 1967, one-sided).
    """
    kind = kinds[choices.rows]
    price = np.zeros(int(kinds.max(initial=0)) + 1)
    busy = np.flatnonzero((asking > 0) & np.isfinite(choices.weights[:, 0]))
    for _ in range(ROUNDS if bound else 0):
        expected = np.zeros(len(price))
        for start in range(0, len(busy), 2**14):
            block = busy[start : start + 2**14]
            odds = _softmax(choices.weights[block] - price[kind[block]])
            mass = odds * asking[block, None]
            expected += np.bincount(kind[block].ravel(), mass.ravel(), len(price))
        if expected.max(initial=0) <= 1.05 * bound:
            break
        price = np.maximum(price + np.log(np.maximum(expected, 1e-9) / bound), 0)
    return choices._replace(weights=(choices.weights - price[kind]).astype(np.float32))


def _softmax(weights: npt.NDArray[np.floating]) -> Reals:
    """Return probabilities (e, w) from log-weights; a row without any choice gets zeros."""
    top = weights.max(axis=1, keepdims=True)
    shares = np.exp(weights.astype(np.float64) - np.where(np.isfinite(top), top, 0))
    return np.asarray(shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-300))


class Weighted(NamedTuple):
    """What is drawn by weights: as `Drawn`, and the probability (n,) of the cluster drawn."""

    drawn: Drawn
    probability: Reals


def draw_weighted(
    choices: Choices, layout: Layout, kinds: Ints, asking: npt.NDArray[np.bool_], recipe: Settled
) -> list[Weighted]:
    """Return the draws of the rows that ask (n,), one element a target, kinds distinct in a row.

    A response that was drawn for ``repeats`` rows is not drawn again for a row that has another
    choice; of the rows that drew it, the first in the canonical order keep it.
    """
    count = len(layout.ids)
    used = np.zeros(int(kinds.max(initial=0)) + 1, np.int64)
    taken = np.full((count, recipe.targets), -1, np.int64)
    results = []
    for target in range(recipe.targets):
        drawn = Weighted(Drawn(np.zeros(count, np.int64), np.full(count, -1)), np.zeros(count))
        left, last = np.flatnonzero(asking), not recipe.repeats
        for attempt in itertools.count():
            closed = np.zeros(len(used), bool) if last else used >= recipe.repeats
            chance = uniforms(recipe.seed, layout.keys[left], target, attempt)
            exchange = layout.exchange[left]
            kind = kinds[choices.rows[exchange]]
            barred = closed[kind] | (kind[:, :, None] == taken[left][:, None, :]).any(axis=2)
            odds = _softmax(np.where(barred, -np.inf, choices.weights[exchange]))
            place = choose(odds, chance)
            chosen = kind[np.arange(len(left)), place]
            some = odds.max(axis=1, initial=0) > 0
            fits = some & (last | (used[chosen] + _earlier(chosen, some) < recipe.repeats))
            _note(drawn, choices, left[fits], exchange[fits], place[fits], odds[fits])
            taken[left[fits], target] = chosen[fits]
            used += np.bincount(chosen[fits], minlength=len(used))
            left, able = left[~fits], some[~fits]
            if last or not len(left):
                break
            last = not able.any() or attempt + 2 == RETRIES
        results.append(drawn)
    return results


def _earlier(chosen: Ints, counted: npt.NDArray[np.bool_]) -> Ints:
    """Return how many of the earlier rows that count chose the same."""
    order = np.argsort(chosen, kind="stable")
    ranked = chosen[order]
    before: Ints = np.cumsum(counted[order]) - counted[order]
    start = np.searchsorted(ranked, ranked)
    earlier = np.empty(len(chosen), np.int64)
    earlier[order] = before - before[start] if len(order) else before
    return earlier


def _note(
    drawn: Weighted, choices: Choices, rows: Ints, exchange: Ints, place: Ints, odds: Reals
) -> None:
    """Write down what some rows drew."""
    rank = choices.ranks[exchange, place]
    drawn.drawn.rank[rows] = rank
    drawn.drawn.source[rows] = choices.rows[exchange, place]
    same = choices.ranks[exchange] == rank[:, None]
    drawn.probability[rows] = np.minimum((odds * same).sum(axis=1), 1.0)
