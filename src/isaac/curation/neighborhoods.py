"""Neighborhoods, with their responses in clusters.

Paper, steps 1 and 2: the neighborhood of a row is its k nearest contexts, or the rows that share
its key; its responses are then clustered. Only rows that may be drawn are searched.
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
from .storage import CANDIDATES_KEY, IVF_KEY, SEARCH_ORDER_KEY
from .vectors import CHUNK_TEXTS, Embeddings, GridVectors
from .views import ComparedResponses

BLOCK_NEIGHBORHOODS = 256
"""Neighborhoods to cluster at a time, fewer if they are large; does not affect results."""

BLOCK_PAIRS = 2**23
"""Pairs of responses in a block, unless one neighborhood has more; does not affect results."""


class ContextIndex(NamedTuple):
    """The contexts to search: those with a response that may be drawn.

    ``contexts`` (c,) are their numbers, ascending, and ``vectors`` (c, d) their vectors. ``rows``
    lists the drawable rows of each context, ``total`` in all. ``ivf`` is their inverted file, None
    if search is exact.
    """

    contexts: Ints
    vectors: GridVectors
    rows: Ragged
    total: int
    ivf: IVFIndex | None = None


def build_context_index(
    layout: CanonicalCorpus,
    contexts: Embeddings,
    drawable: Flags,
    recipe: ResolvedRecipe,
    tools: Tools,
) -> ContextIndex:
    """Index the contexts of the ``drawable`` rows (n,); vectors and inverted file are stored."""
    candidate_rows = np.flatnonzero(drawable)
    numbers, inverse = np.unique(layout.context[candidate_rows], return_inverse=True)
    by_context = group_rows(inverse.reshape(-1).astype(np.int64))
    rows = Ragged(candidate_rows[by_context.values], by_context.offsets)
    vectors = contexts.vectors
    if len(numbers) < len(vectors):
        chunks = (
            numbers[start : start + CHUNK_TEXTS] for start in range(0, len(numbers), CHUNK_TEXTS)
        )
        all_vectors = contexts.vectors
        vectors = tools.store.stacked(
            CANDIDATES_KEY, len(numbers), lambda: (all_vectors[chunk] for chunk in chunks)
        )
    index = ContextIndex(numbers.astype(np.int64), vectors, rows, len(candidate_rows))
    if recipe.search == "exact":
        return index
    return index._replace(ivf=load_or_build_ivf(vectors, recipe.neighbors, tools))


def load_or_build_ivf(vectors: GridVectors, k: int, tools: Tools) -> IVFIndex:
    """Load the inverted file of the vectors, or build and store it."""

    def build() -> dict[str, npt.NDArray[Any]]:
        index = build_ivf(vectors, k=k, engine=tools.threads, progress=tools.progress)
        return {name: np.asarray(part) for name, part in vars(index).items()}

    parts = stored_arrays(tools.store, IVF_KEY, IVFIndex.__dataclass_fields__, build)
    centroids, order, offsets, homes, probes = parts.values()
    return IVFIndex(centroids, order, offsets, homes, int(probes))


@dataclass(frozen=True, eq=False)
class SearchedNeighborhoods:
    """Neighborhoods found by search: one for each of the e distinct exchanges.

    ``first_row`` (e,) is the first row of each exchange; ``context`` and ``response`` (n,) are
    those of the rows.
    """

    candidates: ContextIndex
    contexts: GridVectors
    compared: ComparedResponses
    first_row: Ints
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
        """The neighborhoods of a corpus."""
        rows = (layout.first, layout.context, layout.response)
        return cls(candidates, contexts.vectors, compared, *rows, recipe)

    def order(self, tools: Tools) -> Ints:
        """Order the exchanges so that those that search the same lists are close together."""
        count, ivf = len(self.first_row), self.candidates.ivf
        if ivf is None:
            return np.arange(count)

        def compute() -> Ints:
            nearest_list = np.empty(len(self.contexts), np.int64)
            nearest_list[self.candidates.contexts] = ivf.homes
            others = np.setdiff1d(np.arange(len(nearest_list)), self.candidates.contexts)
            with tools.progress.stage("order contexts", len(others)) as tick:
                for start in range(0, len(others), CHUNK_TEXTS):
                    chunk = others[start : start + CHUNK_TEXTS]
                    nearest_list[chunk] = assign_lists(ivf, self.contexts[chunk])
                    tick(len(chunk))
            lists = nearest_list[self.context[self.first_row]]
            return np.argsort(lists, kind="stable").astype(np.int64)

        return tools.store.array(SEARCH_ORDER_KEY, compute)

    def find_nearest(self, queries: GridVectors, own_contexts: Ints) -> Ints:
        """Find the k nearest drawable rows (m, k) of each query; k is smaller if there are fewer.

        ``own_contexts`` (m,) is the number of the context whose vector a query is, -1 for none.
        """
        contexts, vectors, rows, total, ivf = self.candidates
        k = min(self.recipe.neighbors, total)
        place = np.searchsorted(contexts, own_contexts)
        is_candidate = contexts[np.minimum(place, len(contexts) - 1)] == own_contexts
        selves = np.where(is_candidate, place, -1)
        if ivf is None:
            nearest = find_neighbors(queries, vectors, k, selves)
        else:
            nearest = search(ivf, vectors, queries, k, selves)
        return gather_rows(nearest, rows, k).values.reshape(len(queries), k)

    def members(self, exchanges: Ints) -> Ints:
        """Find the rows (b, k) in the neighborhoods of distinct exchanges (b,).

        The first row of the exchange replaces the farthest row, unless the exchange has a row
        among the nearest.
        """
        own_row = self.first_row[exchanges]
        contexts, inverse = np.unique(self.context[own_row], return_inverse=True)
        members = self.find_nearest(self.contexts[contexts], contexts)[inverse.reshape(-1)]
        is_own = self.response[members] == self.response[own_row][:, None]
        is_own &= self.context[members] == self.context[own_row][:, None]
        members[:, -1] = np.where(is_own.any(axis=1), members[:, -1], own_row)
        return members

    def clusters(self, exchanges: Ints) -> Clusters:
        """Cluster the neighborhoods of distinct exchanges, each distinct neighborhood once."""
        members = self.members(exchanges)
        # Neighborhoods of one context differ in their last member only, if at all.
        identity = np.stack([self.context[self.first_row[exchanges]], members[:, -1]], axis=1)
        _, first, inverse = np.unique(identity, axis=0, return_index=True, return_inverse=True)
        clusters = concatenate_neighborhoods(list(self._cluster_blocks(members[first])))
        return take_neighborhoods(clusters, inverse.reshape(-1))

    def _cluster_blocks(self, members: Ints) -> Iterator[Clusters]:
        block = max(1, min(BLOCK_NEIGHBORHOODS, BLOCK_PAIRS // members.shape[1] ** 2))
        for start in range(0, len(members), block):
            yield cluster_neighborhoods(members[start : start + block], self.compared, self.recipe)


@dataclass(frozen=True, eq=False)
class KeyedNeighborhoods:
    """Neighborhoods that share a key: one for each group, or part of one, with its ``rows``."""

    compared: ComparedResponses
    rows: Ragged
    recipe: ResolvedRecipe

    def order(self, _tools: Tools) -> Ints:
        """The groups in the order of their numbers."""
        return np.arange(len(self.rows.lengths))

    def clusters(self, groups: Ints) -> Clusters:
        """Cluster the neighborhoods of these groups."""
        return concatenate_neighborhoods(
            [
                cluster_neighborhoods(self.rows[group][None], self.compared, self.recipe)
                for group in groups
            ]
        )


def cluster_neighborhoods(
    members: Ints, compared: ComparedResponses, recipe: ResolvedRecipe
) -> Clusters:
    """Cluster neighborhoods of equal size; ``members`` (b, m) are their rows."""
    members = np.sort(members, axis=1)
    items = compared.item[members]
    if compared.vectors is None:
        return sort_by_size(members, items)
    duplicates = None if compared.duplicate_group is None else compared.duplicate_group[members]
    if len(members) > 1 or compared.joined_pairs is not None:
        return sort_by_size(members, _label_clusters(compared, items, None, recipe), duplicates)
    # A single neighborhood may be a large group: compare each distinct item once.
    distinct, inverse, counts = _unique_in_order(items[0])
    labels = _label_clusters(compared, distinct[None], counts, recipe)
    return sort_by_size(members, labels[:, inverse], duplicates)


def _label_clusters(
    compared: ComparedResponses, items: Ints, weights: Ints | None, recipe: ResolvedRecipe
) -> Ints:
    """Label each item (b, m) with its cluster; ``weights`` (b, m) counts its responses."""
    assert compared.vectors is not None
    vectors, pairs = compared.vectors, compared.joined_pairs
    if recipe.clusters == "cover":
        return greedy_ball_cover(vectors, items, recipe.radius, weights, pairs)
    return connected_components(vectors, items, recipe.radius, pairs)


def _unique_in_order(items: Ints) -> tuple[Ints, Ints, Ints]:
    """The distinct items (d,) in order of appearance, the index of each item, and counts (1, d)."""
    distinct, first, inverse, counts = np.unique(
        items, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return distinct[order], rank[inverse.reshape(-1)], counts[order][None]
