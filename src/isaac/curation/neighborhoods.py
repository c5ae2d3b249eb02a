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

from ..recipe import ResolvedRecipe
from ..runtime.arrays import Flags, Ints, Ragged
from ..runtime.storage import stored_arrays
from .canonical_order import CanonicalCorpus
from .clusters import (
    Clusters,
    concatenate_neighborhoods,
    connected_components,
    greedy_ball_cover,
    sort_by_size,
    take_neighborhoods,
)
from .resources import Tools
from .search.exact import find_neighbors, gather_rows, group_rows
from .search.ivf import IVFIndex, assign_lists, build_ivf, search
from .vectors import CHUNK_TEXTS, Embeddings, GridVectors
from .views import ComparedResponses

BLOCK_NEIGHBORHOODS = 256
"""Neighbourhoods that are clustered at a time, fewer if they are large; changes no result."""

BLOCK_PAIRS = 2**23
"""Pairs of responses that a block of more than one neighbourhood has; changes no result."""


class ContextIndex(NamedTuple):
    """What is searched: the contexts that have a response which may be drawn.

    Of the c contexts, ``contexts`` (c,) are their numbers, ``vectors`` (c, d) where they lie,
    ``rows`` lists for each the rows that may be drawn, ``total`` of them in all; ``lists`` is their
    inverted file, if they are searched by one.
    """

    contexts: Ints
    vectors: GridVectors
    rows: Ragged
    total: int
    lists: IVFIndex | None = None


def build_context_index(
    layout: CanonicalCorpus,
    contexts: Embeddings,
    allowed: Flags,
    recipe: ResolvedRecipe,
    tools: Tools,
) -> ContextIndex:
    """Return what is searched, by rows (n,) that may be drawn; what is made of it is kept."""
    chosen = np.flatnonzero(allowed)
    there, number = np.unique(layout.context[chosen], return_inverse=True)
    by_context = group_rows(number.reshape(-1).astype(np.int64))
    rows = Ragged(chosen[by_context.values], by_context.offsets)
    vectors = contexts.vectors
    if len(there) < len(vectors):
        parts = (there[start : start + CHUNK_TEXTS] for start in range(0, len(there), CHUNK_TEXTS))
        every = contexts.vectors
        vectors = tools.store.stacked(
            "vectors/candidates", len(there), lambda: (every[part] for part in parts)
        )
    found = ContextIndex(there.astype(np.int64), vectors, rows, len(chosen))
    if recipe.search == "exact":
        return found
    return found._replace(lists=load_or_build_ivf(vectors, recipe.neighbors, tools))


def load_or_build_ivf(vectors: GridVectors, k: int, tools: Tools) -> IVFIndex:
    """Return the inverted file of vectors, kept in a store."""

    def make() -> dict[str, npt.NDArray[Any]]:
        made = build_ivf(vectors, k=k, engine=tools.threads, progress=tools.progress)
        return {name: np.asarray(part) for name, part in vars(made).items()}

    parts = stored_arrays(tools.store, "vectors/lists", IVFIndex.__dataclass_fields__, make)
    centroids, order, offsets, homes, probes = parts.values()
    return IVFIndex(centroids, order, offsets, homes, int(probes))


@dataclass(frozen=True, eq=False)
class SearchedNeighborhoods:
    """Neighbourhoods that are found by a search: one for each distinct exchange.

    ``own`` (e,) is the first row of each exchange, ``context`` and ``response`` (n,) are those of
    the rows.
    """

    candidates: ContextIndex
    contexts: GridVectors
    compared: ComparedResponses
    own: Ints
    context: Ints
    response: Ints
    recipe: ResolvedRecipe

    @classmethod
    def of(
        cls,
        layout: CanonicalCorpus,
        contexts: Embeddings,
        compared: ComparedResponses,
        candidates: ContextIndex,
        recipe: ResolvedRecipe,
    ) -> SearchedNeighborhoods:
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
                for start in range(0, len(others), CHUNK_TEXTS):
                    part = others[start : start + CHUNK_TEXTS]
                    nearest[part] = assign_lists(lists, self.contexts[part])
                    tick(len(part))
            return np.argsort(nearest[self.context[self.own]], kind="stable").astype(np.int64)

        return tools.store.array("vectors/order", make)

    def find_nearest(self, queries: GridVectors, selves: Ints) -> Ints:
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
        return gather_rows(near, rows, k).values.reshape(len(queries), k)

    def members(self, exchanges: Ints) -> Ints:
        """Return the rows (b, k) of the neighbourhoods of distinct exchanges (b,)."""
        own = self.own[exchanges]
        asked, place = np.unique(self.context[own], return_inverse=True)
        members = self.find_nearest(self.contexts[asked], asked)[place.reshape(-1)]
        present = self.response[members] == self.response[own][:, None]
        present &= self.context[members] == self.context[own][:, None]
        members[:, -1] = np.where(present.any(axis=1), members[:, -1], own)
        return members

    def clusters(self, exchanges: Ints) -> Clusters:
        """Return the neighbourhoods of distinct exchanges, equal ones clustered once."""
        members = self.members(exchanges)
        same = np.stack([self.context[self.own[exchanges]], members[:, -1]], axis=1)
        _, first, place = np.unique(same, axis=0, return_index=True, return_inverse=True)
        found = concatenate_neighborhoods(list(self._cluster_blocks(members[first])))
        return take_neighborhoods(found, place.reshape(-1))

    def _cluster_blocks(self, members: Ints) -> Iterator[Clusters]:
        block = max(1, min(BLOCK_NEIGHBORHOODS, BLOCK_PAIRS // members.shape[1] ** 2))
        for start in range(0, len(members), block):
            yield cluster_neighborhoods(members[start : start + block], self.compared, self.recipe)


@dataclass(frozen=True, eq=False)
class KeyedNeighborhoods:
    """Neighbourhoods that share a key: one for each group, with its ``rows``."""

    compared: ComparedResponses
    rows: Ragged
    recipe: ResolvedRecipe

    def order(self, _tools: Tools) -> Ints:
        """Return the groups as they are numbered."""
        return np.arange(len(self.rows.lengths))

    def clusters(self, groups: Ints) -> Clusters:
        """Return the neighbourhoods of some of the groups in their clusters."""
        return concatenate_neighborhoods(
            [
                cluster_neighborhoods(self.rows[group][None], self.compared, self.recipe)
                for group in groups
            ]
        )


def cluster_neighborhoods(
    members: Ints, compared: ComparedResponses, recipe: ResolvedRecipe
) -> Clusters:
    """Return neighbourhoods of equal length, members (b, m) being rows, in their clusters."""
    members = np.sort(members, axis=1)
    vectors, same = compared.vectors, compared.item[members]
    if vectors is None:
        return sort_by_size(members, same)
    kinds = None if compared.kind is None else compared.kind[members]
    if len(members) > 1 or compared.known is not None:
        return sort_by_size(members, _label_clusters(compared, same, None, recipe), kinds)
    distinct, place, many = _unique_in_order(same[0])
    return sort_by_size(
        members, _label_clusters(compared, distinct[None], many, recipe)[:, place], kinds
    )


def _label_clusters(
    compared: ComparedResponses, items: Ints, many: Ints | None, recipe: ResolvedRecipe
) -> Ints:
    """Return the cluster of each item, each of which stands for one response or many."""
    assert compared.vectors is not None
    if recipe.clusters == "cover":
        return greedy_ball_cover(compared.vectors, items, recipe.radius, many, compared.known)
    return connected_components(compared.vectors, items, recipe.radius, compared.known)


def _unique_in_order(items: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the distinct items as they first come, where each item is, and (1, d) their counts."""
    distinct, first, place, many = np.unique(
        items, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return distinct[order], rank[place.reshape(-1)], many[order][None]
