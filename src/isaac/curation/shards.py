"""The neighborhoods of a whole corpus in shards: computed once, stored, and read when needed.

A shard is the unit of work, of storage, and of what is sent to another machine. Which neighborhoods
are in a shard depends on the corpus and the recipe alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..errors import IsaacError
from ..recipe import ResolvedRecipe
from ..runtime.arrays import Flags, Ints
from .canonical_order import CanonicalCorpus
from .clusters import Clusters, Pairs, joined_pairs, take_neighborhoods
from .neighborhoods import (
    ContextIndex,
    KeyedNeighborhoods,
    SearchedNeighborhoods,
    build_context_index,
)
from .resources import Tools
from .search.exact import group_rows
from .search.ivf import measure_recall
from .storage import RECALL_KEY, Storage, shard_key
from .vectors import Embeddings
from .views import ComparedResponses

SHARD_NEIGHBORHOODS = (512, 8192)
"""Bounds for the largest number of neighborhoods in a shard; does not affect results."""

MIN_SHARDS = 16
"""Fewest shards to aim for, unless they would become too small; does not affect results."""

SHARD_MEMBERS = 2**21
"""Total members of the neighborhoods at which a shard is full; does not affect results."""


class Shard(NamedTuple):
    """Some neighborhoods: their ``numbers``, and their clusters."""

    numbers: Ints
    clusters: Clusters


class Neighborhoods:
    """All neighborhoods with their members in clusters, one shard in memory at a time.

    There is one for each distinct exchange, or for each group. ``order`` (m,) are their numbers in
    the order of the shards, which begin at ``starts``; ``search`` describes how they were found.
    """

    def __init__(self, order: Ints, starts: Ints, store: Storage, search: dict[str, Any]) -> None:
        self.order, self.starts, self.store, self.search = order, starts, store, search
        self.place = np.empty_like(order)
        self.place[order] = np.arange(len(order))

    def __len__(self) -> int:
        """Number of neighborhoods."""
        return len(self.order)

    @property
    def shards(self) -> int:
        """Number of shards."""
        return len(self.starts) - 1

    def numbers(self, shard: int) -> Ints:
        """Numbers of the neighborhoods in a shard."""
        return np.asarray(self.order[self.starts[shard] : self.starts[shard + 1]])

    def shard(self, number: int) -> Shard:
        """Read one shard."""
        clusters = self.store.clusters(shard_key(number), _raise_missing)
        return Shard(self.numbers(number), clusters)

    def __iter__(self) -> Iterator[Shard]:
        """Yield the shards in order."""
        return map(self.shard, range(self.shards))

    def __getitem__(self, neighborhood: int) -> Clusters:
        """Read one neighborhood, by number."""
        place = self.place[neighborhood]
        number = int(np.searchsorted(self.starts, place, side="right")) - 1
        return take_neighborhoods(
            self.shard(number).clusters, np.array([place - self.starts[number]])
        )


def _raise_missing() -> Clusters:
    raise IsaacError("a stored shard has disappeared; run the same command again to rebuild it")


def find_clusters(
    layout: CanonicalCorpus,
    contexts: Embeddings | None,
    compared: ComparedResponses,
    drawable: Flags,
    recipe: ResolvedRecipe,
    tools: Tools,
) -> Neighborhoods:
    """Find all neighborhoods and cluster their members; finished shards come from the store.

    The neighborhood of an exchange consists of the nearest ``drawable`` rows (n,) and its own row;
    that of a group, of all its rows, or of a part of them if they are too many to compare.
    """
    work: SearchedNeighborhoods | KeyedNeighborhoods
    if contexts is None or recipe.reading.group_by is not None:
        rows = group_rows(layout.row_neighborhoods(recipe))
        work = KeyedNeighborhoods(compared, rows, recipe)
        search: dict[str, Any] = {"by": "key"}
        sizes = work.rows.lengths
    else:
        candidates = build_context_index(layout, contexts, drawable, recipe, tools)
        work = SearchedNeighborhoods.of(layout, contexts, compared, candidates, recipe)
        search = describe_search(candidates, recipe, tools)
        sizes = np.full(len(layout.first), min(recipe.neighbors, candidates.total))
    order = work.order(tools)
    neighborhoods = Neighborhoods(order, _shard_starts(sizes[order]), tools.store, search)
    shards, total = range(neighborhoods.shards), len(neighborhoods)
    missing = [number for number in shards if not tools.store.has(shard_key(number))]
    if missing and isinstance(work, SearchedNeighborhoods):
        work = replace(work, compared=with_joined_pairs(compared, total, recipe, tools))
    done = total - sum(len(neighborhoods.numbers(number)) for number in missing)
    with tools.progress.stage("neighborhoods", total) as tick:
        tick(done)
        results = tools.engine.map(_cluster_shard, map(neighborhoods.numbers, missing), work)
        for number, clusters in zip(missing, results, strict=True):
            tools.store.clusters(shard_key(number), partial(_identity, clusters))
            tick(len(neighborhoods.numbers(number)))
    return neighborhoods


def with_joined_pairs(
    compared: ComparedResponses, count: int, recipe: ResolvedRecipe, tools: Tools
) -> ComparedResponses:
    """Add all pairs of vectors within the radius, if ``count`` neighborhoods use them enough.

    All pairs of v vectors take v^2 products once; without them, every neighborhood takes k^2.
    Looking pairs up takes a tenth of that time, and less for larger neighborhoods.
    """
    vectors = compared.vectors
    if vectors is None or 2 * len(vectors) ** 2 > count * recipe.neighbors**2:
        return compared
    with tools.progress.stage("compare responses", len(vectors)) as tick:

        def map_on_threads(work: Callable[[int], Pairs], rows: range) -> Iterator[Pairs]:
            for row, strip in zip(rows, tools.threads.map(_call, rows, work), strict=True):
                yield strip
                tick(min(rows.step, len(vectors) - row))

        pairs = joined_pairs(vectors, np.arange(len(vectors)), recipe.radius, map_on_threads)
    return compared._replace(joined_pairs=pairs)


def _call(work: Callable[[int], Pairs], row: int) -> Pairs:
    return work(row)


def describe_search(
    candidates: ContextIndex, recipe: ResolvedRecipe, tools: Tools
) -> dict[str, Any]:
    """Describe how contexts are searched; for an inverted file, with its recall."""
    ivf, vectors = candidates.ivf, candidates.vectors
    if ivf is None:
        return {"by": recipe.search}
    k = min(recipe.neighbors, len(vectors))

    def measure() -> dict[str, Any]:
        with tools.progress.stage("recall"):
            share = measure_recall(ivf, vectors, vectors, k)
        return {
            "lists": len(ivf.centroids),
            "probes": ivf.probes,
            "recall": round(share, 4),
        }

    return {"by": recipe.search, **tools.store.facts(RECALL_KEY, measure)}


def _identity(clusters: Clusters) -> Clusters:
    return clusters


def _cluster_shard(work: SearchedNeighborhoods | KeyedNeighborhoods, numbers: Ints) -> Clusters:
    return work.clusters(numbers)


def _shard_starts(sizes: Ints) -> Ints:
    """Find where each shard begins, and where the last one ends.

    ``sizes`` (m,) are the members of each neighborhood, in the order of the shards. A shard ends
    when it is full or has the maximum number of neighborhoods.
    """
    before = np.cumsum(sizes) - sizes
    smallest, largest = SHARD_NEIGHBORHOODS
    capacity = min(max(smallest, -(-len(sizes) // MIN_SHARDS)), largest)
    starts = [0]
    while starts[-1] < len(sizes):
        start = starts[-1]
        end = int(np.searchsorted(before, before[start] + SHARD_MEMBERS))
        starts.append(min(max(end, start + 1), start + capacity, len(sizes)))
    return np.array(starts)
