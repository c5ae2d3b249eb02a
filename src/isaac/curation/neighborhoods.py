"""Neighbourhoods with their responses in clusters, shard by shard.

Paper, steps 1 and 2: the neighbourhood of a row is its k nearest contexts, or the rows that share
its key, and its responses fall into clusters. Only the rows that may be drawn are looked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..recipe import Settled
from ..runtime.storage import kept
from .arrays import Ints, Ragged
from .canonical_order import Layout
from .clusters import Clusters, by_size, chosen, components, cover, joined
from .resources import Tools
from .search.exact import find_neighbors, group_by, members_of
from .search.ivf import Inverted, invert, nearest_list, search
from .vectors import CHUNK, Embedded, Grid
from .views import Compared

BLOCK = 256
"""Neighbourhoods that are clustered at a time, fewer if they are large; changes no result."""

PAIRS = 2**23
"""Pairs of responses that a block of more than one neighbourhood has; changes no result."""


class Candidates(NamedTuple):
    """What is searched: the contexts that have a response which may be drawn.

    Of the c contexts, ``contexts`` (c,) are their numbers, ``vectors`` (c, d) where they lie,
    ``rows`` lists for each the rows that may be drawn, ``total`` of them in all; ``lists`` is their
    inverted file, if they are searched by one.
    """

    contexts: Ints
    vectors: Grid
    rows: Ragged
    total: int
    lists: Inverted | None = None


def to_search(
    layout: Layout,
    contexts: Embedded,
    allowed: npt.NDArray[np.bool_],
    recipe: Settled,
    tools: Tools,
) -> Candidates:
    """Return what is searched, by rows (n,) that may be drawn; what is made of it is kept."""
    chosen = np.flatnonzero(allowed)
    there, number = np.unique(layout.context[chosen], return_inverse=True)
    by_context = group_by(number.reshape(-1).astype(np.int64))
    rows = Ragged(chosen[by_context.values], by_context.offsets)
    vectors = contexts.vectors
    if len(there) < len(vectors):
        parts = (there[start : start + CHUNK] for start in range(0, len(there), CHUNK))
        every = contexts.vectors
        vectors = tools.store.stacked(
            "vectors/candidates", len(there), lambda: (every[part] for part in parts)
        )
    found = Candidates(there.astype(np.int64), vectors, rows, len(chosen))
    if recipe.search == "exact":
        return found
    return found._replace(lists=kept_lists(vectors, recipe.neighbors, tools))


def kept_lists(vectors: Grid, k: int, tools: Tools) -> Inverted:
    """Return the inverted file of vectors, kept in a store."""

    def make() -> dict[str, npt.NDArray[Any]]:
        made = invert(vectors, k=k, engine=tools.threads, progress=tools.progress)
        return {name: np.asarray(part) for name, part in vars(made).items()}

    parts = kept(tools.store, "vectors/lists", Inverted.__dataclass_fields__, make)
    centroids, order, offsets, homes, probes = parts.values()
    return Inverted(centroids, order, offsets, homes, int(probes))


@dataclass(frozen=True, eq=False)
class Searches:
    """Neighbourhoods that are found by a search: one for each distinct exchange.

    ``own`` (e,) is the first row of each exchange, ``context`` and ``response`` (n,) are those of
    the rows.
    """

    candidates: Candidates
    contexts: Grid
    compared: Compared
    own: Ints
    context: Ints
    response: Ints
    recipe: Settled

    @classmethod
    def of(
        cls,
        layout: Layout,
        contexts: Embedded,
        compared: Compared,
        candidates: Candidates,
        recipe: Settled,
    ) -> Searches:
        """Return the neighbourhoods of a corpus."""
        own, rows = layout.first, (layout.context, layout.response)
        return cls(candidates, contexts.vectors, compared, own, *rows, recipe)

    def order(self, tools: Tools) -> Ints:
        """Return the exchanges in an order in which those searched in the same lists are near."""
        count, lists = len(self.own), self.candidates.lists
        if lists is None:
            return np.arange(count)

        def make() -> Ints:
            nearest = np.empty(len(self.contexts), np.int64)
            nearest[self.candidates.contexts] = lists.homes
            others = np.setdiff1d(np.arange(len(nearest)), self.candidates.contexts)
            with tools.progress.stage("order contexts", len(others)) as tick:
                for start in range(0, len(others), CHUNK):
                    part = others[start : start + CHUNK]
                    nearest[part] = nearest_list(lists, self.contexts[part])
                    tick(len(part))
            return np.argsort(nearest[self.context[self.own]], kind="stable").astype(np.int64)

        return tools.store.array("vectors/order", make)

    def near(self, queries: Grid, selves: Ints) -> Ints:
        """Return the k nearest rows that may be drawn of each query, fewer if there are fewer.

        ``selves`` (m,) names the context that each query is, -1 for none.
        """
        there, vectors, rows, total, lists = self.candidates
        k = min(self.recipe.neighbors, total)
        place = np.searchsorted(there, selves)
        inside = there[np.minimum(place, len(there) - 1)] == selves
        places = np.where(inside, place, -1)
        if lists is None:
            near = find_neighbors(queries, vectors, k, places)
        else:
            near = search(lists, vectors, queries, k, places)
        return members_of(near, rows, k).values.reshape(len(queries), k)

    def members(self, exchanges: Ints) -> Ints:
        """Return the rows (b, k) of the neighbourhoods of distinct exchanges (b,)."""
        own = self.own[exchanges]
        asked, place = np.unique(self.context[own], return_inverse=True)
        members = self.near(self.contexts[asked], asked)[place.reshape(-1)]
        present = self.response[members] == self.response[own][:, None]
        present &= self.context[members] == self.context[own][:, None]
        members[:, -1] = np.where(present.any(axis=1), members[:, -1], own)
        return members

    def clusters(self, exchanges: Ints) -> Clusters:
        """Return the neighbourhoods of distinct exchanges, equal ones clustered once."""
        members = self.members(exchanges)
        same = np.stack([self.context[self.own[exchanges]], members[:, -1]], axis=1)
        _, first, place = np.unique(same, axis=0, return_index=True, return_inverse=True)
        found = joined(list(self._clustered(members[first])))
        return chosen(found, place.reshape(-1))

    def _clustered(self, members: Ints) -> Iterator[Clusters]:
        block = max(1, min(BLOCK, PAIRS // members.shape[1] ** 2))
        for start in range(0, len(members), block):
            yield cluster(members[start : start + block], self.compared, self.recipe)


@dataclass(frozen=True, eq=False)
class Groups:
    """Neighbourhoods that share a key: one for each group, with its ``rows``."""

    compared: Compared
    rows: Ragged
    recipe: Settled

    def order(self, _tools: Tools) -> Ints:
        """Return the groups as they are numbered."""
        return np.arange(len(self.rows.lengths))

    def clusters(self, groups: Ints) -> Clusters:
        """Return the neighbourhoods of some of the groups in their clusters."""
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
    if len(members) > 1 or compared.known is not None:
        return by_size(members, _names(compared, same, None, recipe), kinds)
    distinct, place, many = _in_order(same[0])
    return by_size(members, _names(compared, distinct[None], many, recipe)[:, place], kinds)


def _names(compared: Compared, items: Ints, many: Ints | None, recipe: Settled) -> Ints:
    """Return the cluster of each item, each of which stands for one response or many."""
    assert compared.vectors is not None
    if recipe.clusters == "cover":
        return cover(compared.vectors, items, recipe.radius, many, compared.known)
    return components(compared.vectors, items, recipe.radius, compared.known)


def _in_order(items: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the distinct items as they first come, where each item is, and (1, d) their counts."""
    distinct, first, place, many = np.unique(
        items, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return distinct[order], rank[place.reshape(-1)], many[order][None]
