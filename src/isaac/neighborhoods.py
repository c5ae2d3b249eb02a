"""Neighbourhoods with their responses in clusters, shard by shard.

Paper, steps 1 and 2: the neighbourhood of a row is its k nearest contexts, or the rows that share
its key, and its responses fall into clusters. Only the rows that may be drawn are looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .clusters import Clusters, by_size, components, cover
from .embeddings import Embedded, Grid, as_floats
from .engines import Local
from .layout import Layout, distinct_texts
from .neighbors import Ints, Ragged, find_neighbors, group_by, members_of
from .recipe import Recipe, Settled
from .tools import Tools
from .views import Ridge, fit, opening
from .wording import Reals

SHARD = 2048
"""Neighbourhoods that are worked on, and stored by a run, at a time; changes no result."""

BLOCK = 64
"""Neighbourhoods that are clustered at a time, fewer if they are large; changes no result."""

PAIRS = 2**22
"""Pairs of responses that a block of more than one neighbourhood has; changes no result."""


class Consensus(NamedTuple):
    """What the corpus says of its distinct responses, before any context is looked at.

    ``typicality`` (t,) is the share of responses that are no more typical, ``kind`` (t,) numbers
    near-duplicates alike. ``vetoed`` says of each distinct exchange whether a judge forbade its
    response to be drawn, 1 or 0, or NaN where the judge failed; None without a judge.
    """

    typicality: Reals
    kind: Ints
    vetoed: Reals | None = None


def to_embed(layout: Layout, recipe: Recipe) -> Iterator[tuple[str, str, list[str]]]:
    """Yield (name, encoder, distinct texts) of what a recipe needs as vectors."""
    if recipe.group_by is None or recipe.clusters != "text":
        yield "contexts", recipe.context_encoder, layout.contexts
    if recipe.clusters != "text":
        yield "responses", recipe.response_encoder, seen(layout, recipe)[0]


def seen(layout: Layout, recipe: Recipe) -> tuple[list[str], Ints]:
    """Return the distinct texts that are embedded for responses, and which of them each row has."""
    if recipe.view != "opening":
        return layout.responses, layout.response
    openings, place = distinct_texts([opening(text) for text in layout.responses])
    return openings, place[layout.response]


def drawable(layout: Layout, consensus: Consensus, recipe: Recipe) -> npt.NDArray[np.bool_]:
    """Return which rows (n,) may be drawn: those typical enough that no judge forbade."""
    least = min(1 - recipe.candidates, np.nextafter(consensus.typicality.max(initial=1), 0))
    chosen = (consensus.typicality > least)[layout.response]
    if consensus.vetoed is not None:
        chosen &= (consensus.vetoed != 1)[layout.exchange]
    return np.asarray(chosen)


class Compared(NamedTuple):
    """What the responses of rows are compared by: row r by ``vectors[item[r]]``.

    There are no vectors where responses are compared as text, and then ``item`` numbers the texts.
    ``ridge`` is there for the residual view, to see a new exchange in the same way. ``kind`` (n,)
    numbers near-duplicate responses alike, where they count once.
    """

    vectors: Grid | None
    item: Ints
    ridge: Ridge | None = None
    kind: Ints | None = None


def compare(
    layout: Layout,
    contexts: Embedded | None,
    responses: Embedded | None,
    consensus: Consensus,
    recipe: Settled,
) -> Compared:
    """Return the responses as the recipe's view of them."""
    if responses is None:
        return Compared(None, layout.response)
    kind = consensus.kind[layout.response] if recipe.duplicates == "once" else None
    if recipe.view != "residual" or contexts is None:
        return Compared(responses.vectors, seen(layout, recipe)[1], None, kind)
    ridge = fit_rows(layout, contexts, responses, recipe)
    _, first = np.unique(layout.exchange, return_index=True)
    said, answered = layout.context[first], seen(layout, recipe)[1][first]
    vectors = ridge.residual(contexts.vectors[said], responses.vectors[answered])
    return Compared(vectors, layout.exchange, ridge, kind)


def fit_rows(layout: Layout, contexts: Embedded, responses: Embedded, recipe: Settled) -> Ridge:
    """Return what the contexts of the corpus predict of its responses."""
    rows = np.stack([layout.context, seen(layout, recipe)[1]], axis=1)
    return fit(contexts.vectors, responses.vectors, rows)


def find_clusters(
    layout: Layout,
    contexts: Embedded | None,
    compared: Compared,
    candidates: npt.NDArray[np.bool_],
    recipe: Settled,
    tools: Tools,
) -> Clusters:
    """Return every neighbourhood with its members in clusters, shard by shard.

    There is one neighbourhood for each distinct exchange, or for each group; of an exchange it is
    the nearest among the ``candidates`` (n,), and itself.
    """
    if contexts is None or recipe.group_by is not None:
        work: Callable[[range], Clusters] = Groups(layout, compared, recipe).shard
        count = int(layout.group.max()) + 1
    else:
        work = Searches(layout, contexts.vectors, compared, candidates, recipe).shard
        count = int(layout.exchange.max()) + 1
    shards = [range(start, min(start + SHARD, count)) for start in range(0, count, SHARD)]

    def stored(numbered: tuple[int, range]) -> Clusters:
        number, shard = numbered
        return tools.store.clusters(number, partial(work, shard))

    done = []
    engine = tools.engine or Local()
    with tools.progress.stage("neighbourhoods", count) as tick:
        for shard, found in zip(shards, engine.map(stored, enumerate(shards)), strict=True):
            done.append(found)
            tick(len(shard))
    return joined(done)


def joined(parts: Sequence[Clusters]) -> Clusters:
    """Return the neighbourhoods of several parts, one after the other."""
    return Clusters(*(_joined([part[i] for part in parts]) for i in range(len(Clusters._fields))))


def _joined(parts: list[Ragged]) -> Ragged:
    return Ragged.of(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.lengths for part in parts]),
    )


class Searches:
    """Neighbourhoods that are found by a search: one for each distinct exchange."""

    def __init__(
        self,
        layout: Layout,
        contexts: Grid,
        compared: Compared,
        candidates: npt.NDArray[np.bool_],
        recipe: Settled,
    ) -> None:
        self.layout, self.contexts = layout, contexts
        self.compared, self.recipe = compared, recipe
        chosen = np.flatnonzero(candidates)
        self.there, number = np.unique(layout.context[chosen], return_inverse=True)
        by_context = group_by(number.reshape(-1))
        self.rows = Ragged(chosen[by_context.values], by_context.offsets)
        self.count = len(chosen)
        _, first = np.unique(layout.exchange, return_index=True)
        self.first_row = first.astype(np.int64)

    def near(self, queries: Grid, selves: Ints) -> Ints:
        """Return the k nearest rows that may be drawn of each query, fewer if there are fewer.

        ``selves`` (m,) names the context that each query is, -1 for none.
        """
        k = min(self.recipe.neighbors, self.count)
        place = np.searchsorted(self.there, selves)
        inside = self.there[np.minimum(place, len(self.there) - 1)] == selves
        near = find_neighbors(queries, self.contexts[self.there], k, np.where(inside, place, -1))
        return members_of(near, self.rows, k).values.reshape(len(queries), k)

    def shard(self, exchanges: range) -> Clusters:
        """Return the neighbourhoods of some of the distinct exchanges."""
        numbers = np.arange(exchanges.start, exchanges.stop)
        return joined(list(self._clustered(self.members(numbers))))

    def members(self, exchanges: Ints) -> Ints:
        """Return the rows (b, k) of the neighbourhoods of distinct exchanges (b,)."""
        own = self.first_row[exchanges]
        asked, place = np.unique(self.layout.context[own], return_inverse=True)
        members = self.near(self.contexts[asked], asked)[place.reshape(-1)]
        present = self.layout.response[members] == self.layout.response[own][:, None]
        present &= self.layout.context[members] == self.layout.context[own][:, None]
        members[:, -1] = np.where(present.any(axis=1), members[:, -1], own)
        return members

    def _clustered(self, members: Ints) -> Iterator[Clusters]:
        block = max(1, min(BLOCK, PAIRS // members.shape[1] ** 2))
        for start in range(0, len(members), block):
            yield cluster(members[start : start + block], self.compared, self.recipe)


class Groups:
    """Neighbourhoods that share a key: one for each group."""

    def __init__(self, layout: Layout, compared: Compared, recipe: Settled) -> None:
        self.compared, self.recipe = compared, recipe
        self.rows = group_by(layout.group)

    def shard(self, groups: range) -> Clusters:
        """Return the neighbourhoods of some of the groups."""
        return joined(
            [cluster(self.rows[group][None], self.compared, self.recipe) for group in groups]
        )


def cluster(members: Ints, compared: Compared, recipe: Settled) -> Clusters:
    """Return neighbourhoods of equal length, members (b, m) being rows, in their clusters."""
    members = np.sort(members, axis=1)
    vectors, same = compared.vectors, compared.item[members]
    if vectors is None:
        return by_size(members, same)
    kinds = None if compared.kind is None else compared.kind[members]
    balls = recipe.clusters == "cover"
    if len(members) > 1:
        group = cover if balls else components
        return by_size(members, group(as_floats(vectors[same]), recipe.radius), kinds)
    distinct, place, many = _in_order(same[0])
    once = as_floats(vectors[distinct])[None]
    names = cover(once, recipe.radius, many) if balls else components(once, recipe.radius)
    return by_size(members, names[:, place], kinds)


def _in_order(items: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the distinct items as they first come, where each item is, and (1, d) their counts."""
    distinct, first, place, many = np.unique(
        items, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return distinct[order], rank[place.reshape(-1)], many[order][None]
