"""The paper's procedure written plainly, one row after another, to be compared with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.cluster import DBSCAN
from threadpoolctl import threadpool_limits

from isaac import Recipe, Tools, curate, read_corpus
from isaac.curation.clusters import Clusters
from isaac.curation.lineage import decide_corpus
from isaac.curation.response_scores import drawable_rows
from isaac.curation.shards import find_clusters
from isaac.curation.sharpening import cluster_odds
from isaac.curation.vectors import as_floats
from isaac.recipe import ResolvedRecipe
from isaac.runtime.arrays import Floats, Ints, Reals

SEED = 0
K, RADIUS = 150, 0.8
"""The paper's settings."""

PLAIN_ROWS = 300
"""Rows on which the plain procedure is timed."""


def select_nearest_unordered(likeness: Floats) -> Ints:
    """Return the K most alike, of equal ones any."""
    return np.argpartition(-likeness, K)[:K]


def select_nearest_in_order(likeness: Floats) -> Ints:
    """Return the K most alike, of equal ones the first."""
    return np.argsort(-likeness, kind="stable")[:K]


def iter_plain_neighborhoods(
    contexts: Floats,
    responses: Floats,
    rows: Iterable[int],
    nearest: Callable[[Floats], Ints] = select_nearest_unordered,
) -> Iterator[PlainNeighborhood]:
    """Yield the neighbourhood of each row by the plain procedure: members, labels and odds."""
    recipe = Recipe.paper()
    for row in rows:
        like = contexts @ contexts[row]
        like[row] = np.inf
        near = nearest(like)
        labels = DBSCAN(eps=RADIUS, min_samples=1).fit(responses[near]).labels_
        sizes = np.sort(np.bincount(labels))[::-1][: recipe.top_clusters]
        sharp = (sizes[0] - sizes[1]) / max(sizes[0] - sizes[-1], 1e-3) if len(sizes) > 1 else 1.0
        warmth = min(recipe.temperature * (1 + 1e-3 - sharp), sizes[-1])
        weights = np.exp((sizes - sizes[0]) / warmth)
        yield PlainNeighborhood(near, labels, weights / weights.sum())


class PlainNeighborhood(NamedTuple):
    """A neighbourhood as the plain procedure finds it."""

    members: Ints
    labels: Ints
    odds: Reals


def measure_plain_rate(contexts: Floats, responses: Floats) -> float:
    """Return rows a second of the plain procedure, on a sample, on one core."""
    rows = np.random.default_rng(SEED).choice(len(contexts), PLAIN_ROWS, replace=False)
    start = time.perf_counter()
    with threadpool_limits(1):
        for _ in iter_plain_neighborhoods(contexts, responses, rows.tolist()):
            pass
    return PLAIN_ROWS / (time.perf_counter() - start)


def compare_decisions(data: Path, repeats: int) -> dict[str, Any]:
    """Return rows a second from given vectors to draws, ours and the plain procedure's.

    Both make the same decisions: of a sample of rows it is told for how many the members are
    equal, where equally near contexts come in the same order, and the clusters and odds too.
    """
    corpus, recipe = read_corpus(data), Recipe.paper()
    made = curate(corpus, recipe)
    layout, settled = made.layout, made.recipe
    contexts, responses = (side.vectors for side in (made.contexts, made.responses) if side)
    allowed = drawable_rows(layout, made.response_scores, settled)
    ours, theirs = [], []
    asked, given = as_floats(contexts[layout.context]), as_floats(responses[layout.response])
    for _ in range(repeats):
        start = time.perf_counter()
        tools = Tools().ready()
        found = find_clusters(layout, made.contexts, made.compared, allowed, settled, tools)
        decide_corpus(layout, found, made.response_scores, None, settled, tools)
        ours.append(len(corpus) / (time.perf_counter() - start))
        theirs.append(measure_plain_rate(asked, given))
    order = np.lexsort((np.arange(len(corpus)), layout.context))
    asked, given, exchange = asked[order], given[order], layout.exchange[order]
    rows = np.random.default_rng(SEED).choice(len(corpus), PLAIN_ROWS, replace=False).tolist()
    same = [0, 0]
    for row, one in zip(
        rows, iter_plain_neighborhoods(asked, given, rows, select_nearest_in_order), strict=True
    ):
        nest = made.neighborhoods[int(exchange[row])]
        there = one._replace(members=order[one.members])
        same[0] += sorted(there.members) == sorted(nest.members.values)
        same[1] += _same_clusters(there, nest, settled)
    return {
        "rows": len(corpus),
        "ours": ours,
        "plain": theirs,
        "sample": PLAIN_ROWS,
        "equal_members": same[0],
        "equal_decisions": same[1],
    }


def _same_clusters(one: PlainNeighborhood, nest: Clusters, recipe: ResolvedRecipe) -> bool:
    """Say whether a neighbourhood has the same clusters and odds."""
    theirs = {frozenset(one.members[one.labels == label]) for label in set(one.labels)}
    ends = np.cumsum(nest.sizes.values)[:-1]
    mine = {frozenset(part) for part in np.split(nest.members.values, ends)}
    odds = cluster_odds(nest, recipe).odds[0]
    return mine == theirs and np.allclose(odds[odds > 0], one.odds[one.odds > 0], rtol=1e-9)
