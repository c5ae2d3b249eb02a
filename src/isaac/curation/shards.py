"""The neighbourhoods of a whole corpus, shard by shard: found once, kept, read again when needed.

A shard is what is worked on, kept and sent to another machine at a time. Which neighbourhoods it
has follows from the corpus and the recipe alone.
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
from .storage import Storage
from .vectors import Embeddings
from .views import ComparedResponses

SHARD_NEIGHBORHOODS = (512, 8192)
"""Least and most neighbourhoods in a shard, fewer if they are large; changes no result."""

MIN_SHARDS = 16
"""Shards that a corpus is cut into at least, if they are not too small; changes no result."""

SHARD_MEMBERS = 2**21
"""Members of neighbourhoods from which on a shard has fewer of them; changes no result."""


class Shard(NamedTuple):
    """Some of the neighbourhoods, by number, and their clusters."""

    nests: Ints
    clusters: Clusters


class Neighborhoods:
    """Every neighbourhood with its members in clusters, a shard in memory at a time.

    There is one for each distinct exchange, or for each group. ``order`` (m,) are their numbers
    in the order in which they lie in the shards, which begin at ``starts``; ``search`` says how
    they were found.
    """

    def __init__(self, order: Ints, starts: Ints, store: Storage, search: dict[str, Any]) -> None:
        self.order, self.starts, self.store, self.search = order, starts, store, search
        self.place = np.empty_like(order)
        self.place[order] = np.arange(len(order))

    def __len__(self) -> int:
        """Return the number of neighbourhoods."""
        return len(self.order)

    @property
    def shards(self) -> int:
        """Return the number of shards."""
        return len(self.starts) - 1

    def nests(self, shard: int) -> Ints:
        """Return the numbers of the neighbourhoods of a shard."""
        return np.asarray(self.order[self.starts[shard] : self.starts[shard + 1]])

    def shard(self, number: int) -> Shard:
        """Return one shard."""
        return Shard(self.nests(number), self.store.clusters(shard_name(number), _raise_missing))

    def __iter__(self) -> Iterator[Shard]:
        """Yield the shards in order."""
        return map(self.shard, range(self.shards))

    def __getitem__(self, nest: int) -> Clusters:
        """Return one neighbourhood."""
        place = self.place[nest]
        number = int(np.searchsorted(self.starts, place, side="right")) - 1
        return take_neighborhoods(
            self.shard(number).clusters, np.array([place - self.starts[number]])
        )


def shard_name(shard: int) -> str:
    """Return the name under which a shard is kept."""
    return f"shards/{shard:05}"


def _raise_missing() -> Clusters:
    raise IsaacError("a shard that was finished is gone")


def find_clusters(
    layout: CanonicalCorpus,
    contexts: Embeddings | None,
    compared: ComparedResponses,
    allowed: Flags,
    recipe: ResolvedRecipe,
    tools: Tools,
) -> Neighborhoods:
    """Return every neighbourhood with its members in clusters, found now where it is not kept.

    Of an exchange it is the nearest among the rows ``allowed`` (n,) to be drawn, and itself.
    """
    work: SearchedNeighborhoods | KeyedNeighborhoods
    if contexts is None or recipe.reading.group_by is not None:
        work, searched = (
            KeyedNeighborhoods(compared, group_rows(layout.group), recipe),
            {"by": "key"},
        )
        sizes = work.rows.lengths
    else:
        candidates = build_context_index(layout, contexts, allowed, recipe, tools)
        work = SearchedNeighborhoods.of(layout, contexts, compared, candidates, recipe)
        searched = describe_search(candidates, recipe, tools)
        sizes = np.full(len(layout.first), min(recipe.neighbors, candidates.total))
    order = work.order(tools)
    found = Neighborhoods(order, _shard_starts(sizes[order]), tools.store, searched)
    missing = [number for number in range(found.shards) if not tools.store.has(shard_name(number))]
    if missing and isinstance(work, SearchedNeighborhoods):
        work = replace(work, compared=with_joined_pairs(compared, len(found), recipe, tools))
    done = len(found) - sum(len(found.nests(number)) for number in missing)
    with tools.progress.stage("neighbourhoods", len(found)) as tick:
        tick(done)
        results = tools.engine.map(_cluster_shard, map(found.nests, missing), work)
        for number, clusters in zip(missing, results, strict=True):
            tools.store.clusters(shard_name(number), partial(_identity, clusters))
            tick(len(found.nests(number)))
    return found


def with_joined_pairs(
    compared: ComparedResponses, count: int, recipe: ResolvedRecipe, tools: Tools
) -> ComparedResponses:
    """Return what is compared with its pairs within the radius, if they serve often enough.

    All pairs of v vectors take v^2 products once, those of every neighbourhood k^2 each; to look
    them up takes a tenth of that time, less the larger the neighbourhood.
    """
    vectors = compared.vectors
    if vectors is None or 2 * len(vectors) ** 2 > count * recipe.neighbors**2:
        return compared
    with tools.progress.stage("compare responses", len(vectors)) as tick:

        def on_threads(work: Callable[[int], Pairs], rows: range) -> Iterator[Pairs]:
            for row, pairs in zip(rows, tools.threads.map(_call, rows, work), strict=True):
                yield pairs
                tick(min(rows.step, len(vectors) - row))

        known = joined_pairs(vectors, np.arange(len(vectors)), recipe.radius, on_threads)
    return compared._replace(known=known)


def _call(work: Callable[[int], Pairs], row: int) -> Pairs:
    return work(row)


def describe_search(
    candidates: ContextIndex, recipe: ResolvedRecipe, tools: Tools
) -> dict[str, Any]:
    """Return how contexts are searched, and of an inverted file which share it finds."""
    lists, vectors = candidates.lists, candidates.vectors
    if lists is None:
        return {"by": recipe.search}
    k = min(recipe.neighbors, len(vectors))

    def make() -> dict[str, Any]:
        with tools.progress.stage("recall"):
            share = measure_recall(lists, vectors, vectors, k)
        return {
            "lists": len(lists.centroids),
            "probes": lists.probes,
            "recall": round(share, 4),
        }

    return {"by": recipe.search, **tools.store.facts("vectors/search", make)}


def _identity(clusters: Clusters) -> Clusters:
    return clusters


def _cluster_shard(work: SearchedNeighborhoods | KeyedNeighborhoods, nests: Ints) -> Clusters:
    return work.clusters(nests)


def _shard_starts(sizes: Ints) -> Ints:
    """Return where shards begin, and the end: of so many neighbourhoods or so many members."""
    before = np.cumsum(sizes) - sizes
    most = min(max(SHARD_NEIGHBORHOODS[0], -(-len(sizes) // MIN_SHARDS)), SHARD_NEIGHBORHOODS[1])
    starts = [0]
    while starts[-1] < len(sizes):
        start = starts[-1]
        end = int(np.searchsorted(before, before[start] + SHARD_MEMBERS))
        starts.append(min(max(end, start + 1), start + most, len(sizes)))
    return np.array(starts)
