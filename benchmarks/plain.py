"""A plain implementation of the paper's procedure, one row at a time, to compare isaac with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.cluster import DBSCAN
from threadpoolctl import threadpool_limits

from isaac import Curation, Recipe, Tools, curate, read_corpus
from isaac.curation.clusters import Clusters
from isaac.curation.lineage import DrawModels, decide_corpus
from isaac.curation.response_scores import drawable_rows
from isaac.curation.shards import find_clusters
from isaac.curation.sharpening import cluster_odds
from isaac.curation.vectors import as_floats
from isaac.recipe import ResolvedRecipe
from isaac.runtime.arrays import Floats, Ints, Reals

SEED = 0
K, RADIUS = 150, 0.8
"""The paper's settings: neighbors of a row, and the radius of its clusters."""

PLAIN_ROWS = 300
"""Number of sampled rows to time the plain procedure on."""


class PlainNeighborhood(NamedTuple):
    """A neighborhood: its members (k,), their cluster labels (k,), and the odds of the clusters."""

    members: Ints
    labels: Ints
    odds: Reals


def select_nearest_unordered(similarities: Floats) -> Ints:
    """Select the K most similar rows, in no order; ties are broken arbitrarily."""
    return np.argpartition(-similarities, K)[:K]


def select_nearest_in_order(similarities: Floats) -> Ints:
    """Select the K most similar rows in descending order; of equal ones the first."""
    return np.argsort(-similarities, kind="stable")[:K]


def iter_plain_neighborhoods(
    contexts: Floats,
    responses: Floats,
    rows: Iterable[int],
    select_nearest: Callable[[Floats], Ints] = select_nearest_unordered,
) -> Iterator[PlainNeighborhood]:
    """Yield the neighborhood of each row, given vectors (n, d) of all contexts and responses."""
    recipe = Recipe.paper()
    for row in rows:
        # Step 1: the K nearest contexts (k,); a row is always in its own neighborhood.
        similarities = contexts @ contexts[row]
        similarities[row] = np.inf
        members = select_nearest(similarities)
        # Step 2: the cluster of each of their responses (k,).
        labels = DBSCAN(eps=RADIUS, min_samples=1).fit(responses[members]).labels_
        # Step 3: the sizes of the largest clusters, descending.
        sizes = np.sort(np.bincount(labels))[::-1][: recipe.top_clusters]
        # Step 4: sharpness, the temperature from it, and the odds of these clusters.
        sharp = (sizes[0] - sizes[1]) / max(sizes[0] - sizes[-1], 1e-3) if len(sizes) > 1 else 1.0
        temperature = min(recipe.temperature * (1 + 1e-3 - sharp), sizes[-1])
        weights = np.exp((sizes - sizes[0]) / temperature)
        yield PlainNeighborhood(members, labels, weights / weights.sum())


def measure_plain_rate(contexts: Floats, responses: Floats) -> float:
    """Rows per second of the plain procedure, on a sample of rows, on one core."""
    rows = np.random.default_rng(SEED).choice(len(contexts), PLAIN_ROWS, replace=False)
    start = time.perf_counter()
    with threadpool_limits(1):
        for _ in iter_plain_neighborhoods(contexts, responses, rows.tolist()):
            pass
    return PLAIN_ROWS / (time.perf_counter() - start)


def compare_decisions(data: Path, repeats: int) -> dict[str, Any]:
    """Compare isaac with the plain procedure, from embeddings to draws: rates and decisions.

    ``ours`` and ``plain`` are rows per second, one number per repeat. ``equal_members`` and
    ``equal_decisions`` count, in a sample of rows, the neighborhoods with equal members, and those
    with equal clusters and odds. For that comparison, both take equally near contexts in the same
    order.
    """
    corpus = read_corpus(data)
    curation = curate(corpus, Recipe.paper())
    layout, recipe = curation.layout, curation.recipe
    drawable = drawable_rows(layout, curation.response_scores, recipe)
    # the vectors (n, d) of each row's context and response
    contexts, responses = (
        as_floats(side.vectors[rows])
        for side, rows in (
            (curation.contexts, layout.context),
            (curation.responses, layout.response),
        )
        if side
    )
    rates, plain_rates = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        tools = Tools().ready()
        clusters = find_clusters(
            layout, curation.contexts, curation.require_compared(), drawable, recipe, tools
        )
        decide_corpus(layout, clusters, curation.response_scores, DrawModels(), recipe, tools)
        rates.append(len(corpus) / (time.perf_counter() - start))
        plain_rates.append(measure_plain_rate(contexts, responses))
    equal_members, equal_decisions = _count_equal(curation, contexts, responses)
    return {
        "rows": len(corpus),
        "ours": rates,
        "plain": plain_rates,
        "sample": PLAIN_ROWS,
        "equal_members": equal_members,
        "equal_decisions": equal_decisions,
    }


def _count_equal(curation: Curation, contexts: Floats, responses: Floats) -> tuple[int, int]:
    """Count the sampled neighborhoods with equal members, and those with equal clusters and odds.

    ``contexts`` and ``responses`` are the vectors (n, d) of the rows.
    """
    layout, count = curation.layout, len(contexts)
    assert curation.neighborhoods is not None
    # isaac's order of the rows: by context, rows of equal contexts in canonical order
    order = np.lexsort((np.arange(count), layout.context))
    rows = np.random.default_rng(SEED).choice(count, PLAIN_ROWS, replace=False).tolist()
    plain_neighborhoods = iter_plain_neighborhoods(
        contexts[order], responses[order], rows, select_nearest_in_order
    )
    members = decisions = 0
    for row, ordered in zip(rows, plain_neighborhoods, strict=True):
        ours = curation.neighborhoods[int(layout.exchange[order[row]])]
        plain = ordered._replace(members=order[ordered.members])
        members += sorted(plain.members) == sorted(ours.members.values)
        decisions += _equal_decisions(plain, ours, curation.recipe)
    return members, decisions


def _equal_decisions(plain: PlainNeighborhood, ours: Clusters, recipe: ResolvedRecipe) -> bool:
    """Whether a neighborhood has the same clusters and odds in both."""
    plain_clusters = {
        frozenset(plain.members[plain.labels == label]) for label in set(plain.labels)
    }
    ends = np.cumsum(ours.sizes.values)[:-1]
    our_clusters = {frozenset(part) for part in np.split(ours.members.values, ends)}
    odds = cluster_odds(ours, recipe).odds[0]
    return our_clusters == plain_clusters and np.allclose(
        odds[odds > 0], plain.odds[plain.odds > 0], rtol=1e-9
    )
