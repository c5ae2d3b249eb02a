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
import numpy.typing as npt

from ..errors import IsaacError
from ..recipe import Settled
from .arrays import Ints
from .canonical_order import Layout
from .clusters import Clusters, Pairs, chosen, remember
from .neighborhoods import Candidates, Groups, Searches, to_search
from .resources import Tools
from .search.exact import group_by
from .search.ivf import recall
from .storage import Store
from .vectors import Embedded
from .views import Compared

SHARD = (512, 8192)
"""Least and most neighbourhoods in a shard, fewer if they are large; changes no result."""

SHARDS = 16
"""Shards that a corpus is cut into at least, if they are not too small; changes no result."""

MEMBERS = 2**21
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

    def __init__(self, order: Ints, starts: Ints, store: Store, search: dict[str, Any]) -> None:
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
        return Shard(self.nests(number), self.store.clusters(named(number), _missing))

    def __iter__(self) -> Iterator[Shard]:
        """Yield the shards in order."""
        return map(self.shard, range(self.shards))

    def __getitem__(self, nest: int) -> Clusters:
        """Return one neighbourhood."""
        place = self.place[nest]
        number = int(np.searchsorted(self.starts, place, side="right")) - 1
        return chosen(self.shard(number).clusters, np.array([place - self.starts[number]]))


def named(shard: int) -> str:
    """Return the name under which a shard is kept."""
    return f"shards/{shard:05}"


def _missing() -> Clusters:
    raise IsaacError("a shard that was finished is gone")


def find_clusters(
    layout: Layout,
    contexts: Embedded | None,
    compared: Compared,
    allowed: npt.NDArray[np.bool_],
    recipe: Settled,
    tools: Tools,
) -> Neighborhoods:
    """Return every neighbourhood with its members in clusters, found now where it is not kept.

    Of an exchange it is the nearest among the rows ``allowed`` (n,) to be drawn, and itself.
    """
    work: Searches | Groups
    if contexts is None or recipe.group_by is not None:
        work, searched = Groups(compared, group_by(layout.group), recipe), {"by": "key"}
        sizes = work.rows.lengths
    else:
        candidates = to_search(layout, contexts, allowed, recipe, tools)
        work = Searches.of(layout, contexts, compared, candidates, recipe)
        searched = how(candidates, recipe, tools)
        sizes = np.full(len(layout.first), min(recipe.neighbors, candidates.total))
    order = work.order(tools)
    found = Neighborhoods(order, _starts(sizes[order]), tools.store, searched)
    missing = [number for number in range(found.shards) if not tools.store.has(named(number))]
    if missing and isinstance(work, Searches):
        work = replace(work, compared=remembered(compared, len(found), recipe, tools))
    done = len(found) - sum(len(found.nests(number)) for number in missing)
    with tools.progress.stage("neighbourhoods", len(found)) as tick:
        tick(done)
        results = tools.engine.map(_clusters, map(found.nests, missing), work)
        for number, clusters in zip(missing, results, strict=True):
            tools.store.clusters(named(number), partial(_same, clusters))
            tick(len(found.nests(number)))
    return found


def remembered(compared: Compared, count: int, recipe: Settled, tools: Tools) -> Compared:
    """Return what is compared with its pairs within the radius, if they serve often enough.

    All pairs of v vectors take v^2 products once, those of every neighbourhood k^2 each; to look
    them up takes a tenth of that time, less the larger the neighbourhood.
    """
    vectors = compared.vectors
    if vectors is None or 2 * len(vectors) ** 2 > count * recipe.neighbors**2:
        return compared
    with tools.progress.stage("compare responses", len(vectors)) as tick:

        def on_threads(work: Callable[[int], Pairs], rows: range) -> Iterator[Pairs]:
            for row, pairs in zip(rows, tools.threads.map(_called, rows, work), strict=True):
                yield pairs
                tick(min(rows.step, len(vectors) - row))

        known = remember(vectors, np.arange(len(vectors)), recipe.radius, on_threads)
    return compared._replace(known=known)


def _called(work: Callable[[int], Pairs], row: int) -> Pairs:
    return work(row)


def how(candidates: Candidates, recipe: Settled, tools: Tools) -> dict[str, Any]:
    """Return how contexts are searched, and of an inverted file which share it finds."""
    lists, vectors = candidates.lists, candidates.vectors
    if lists is None:
        return {"by": recipe.search}
    k = min(recipe.neighbors, len(vectors))

    def make() -> dict[str, Any]:
        with tools.progress.stage("recall"):
            share = recall(lists, vectors, vectors, k)
        return {
            "lists": len(lists.centroids),
            "probes": lists.probes,
            "recall": round(share, 4),
        }

    return {"by": recipe.search, **tools.store.facts("vectors/search", make)}


def _same(clusters: Clusters) -> Clusters:
    return clusters


def _clusters(work: Searches | Groups, nests: Ints) -> Clusters:
    return work.clusters(nests)


def _starts(sizes: Ints) -> Ints:
    """Return where shards begin, and the end: of so many neighbourhoods or so many members."""
    before = np.cumsum(sizes) - sizes
    most = min(max(SHARD[0], -(-len(sizes) // SHARDS)), SHARD[1])
    starts = [0]
    while starts[-1] < len(sizes):
        start = starts[-1]
        end = int(np.searchsorted(before, before[start] + MEMBERS))
        starts.append(min(max(end, start + 1), start + most, len(sizes)))
    return np.array(starts)
