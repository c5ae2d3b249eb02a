"""The lineage: what happens to each row, and why."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..recipe import ResolvedRecipe
from ..runtime.arrays import Flags, Ints, Ragged, Reals
from ..runtime.progress import Tick
from .candidates import (
    MAX_CANDIDATES,
    CandidateTable,
    DrawsWithOdds,
    capacity_prices,
    draw_weighted,
)
from .canonical_order import CanonicalCorpus
from .dialogue.trimming import IRRELEVANT, TRIMMED
from .fit import FitModel
from .languages import detect_corpus_languages
from .matching import MatchInputs, match_rows
from .relevance import Relevance
from .resources import Tools
from .response_scores import ResponseScores, drawable_rows
from .sampling import RowDraws
from .search.exact import group_rows
from .shard_decisions import LineageInputs, NeighborhoodStats, decide_shard
from .shards import Neighborhoods
from .unique_texts import UniqueTexts
from .vectors import Embeddings

ACTIONS = ("kept", "replaced", "dropped", "abstained")
"""What happens to a row.

Its response is kept, because it is trusted or was itself drawn; or replaced by another one, or by
what trimming leaves of it; or the row is dropped; or it abstains: its response stays because there
is nothing to draw.
"""

LINEAGE_SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "target": pa.int32(),
        "action": pa.dictionary(pa.int8(), pa.string()),
        "source_id": pa.int64(),
        "neighborhood": pa.int32(),
        "clusters": pa.int32(),
        "rank": pa.int32(),
        "cluster_size": pa.int32(),
        "own_rank": pa.int32(),
        "head_share": pa.float64(),
        "sharpness": pa.float64(),
        "probability": pa.float64(),
        "typicality": pa.float64(),
        "trust": pa.float64(),
        "fit": pa.float64(),
        "rejected_id": pa.int64(),
    }
)
"""One row for each exchange and target, in order of id.

``source_id`` is the exchange that the response came from. ``rank`` (from 1) and ``cluster_size``
are those of the cluster that it was drawn from, or is in if nothing was drawn; ``probability`` is
the odds of that cluster, 1 if nothing was drawn. These and the other columns about clusters are
null if the recipe uses no clusters.
``own_rank`` is the rank of the row's own response, ``typicality`` the share of the corpus's
responses that are worded no more typically than it, ``trust`` the share that are no more trusted.
``fit`` is how well a response that was drawn because it fits does fit, else null. In mode pairs
nothing is replaced: ``rejected_id`` is the exchange with the untrusted response that the row's own
response is preferred to, and ``fit`` how well that one fits. Sizes count near-duplicates once if
the recipe does.
"""


class DrawModels(NamedTuple):
    """The models that draws depend on; each is None if the recipe does not need it.

    ``relevance`` weighs draws from clusters. ``fit``, with the vectors of contexts and responses,
    finds the responses that fit best.
    """

    relevance: Relevance | None = None
    fit: FitModel | None = None
    contexts: Embeddings | None = None
    responses: Embeddings | None = None


class CorpusDecisions(NamedTuple):
    """The lineage of a corpus, and a summary of its neighborhoods, None if it used none."""

    lineage: pa.Table
    neighborhood_stats: NeighborhoodStats | None


def decide_corpus(
    layout: CanonicalCorpus,
    neighborhoods: Neighborhoods | None,
    scores: ResponseScores,
    models: DrawModels,
    recipe: ResolvedRecipe,
    tools: Tools,
) -> CorpusDecisions:
    """Decide what happens to each row, draw for those that need it, and record the lineage."""
    trimmed = np.zeros(len(layout.ids), bool)
    if scores.trims is not None:
        trimmed = (scores.trims.action == TRIMMED)[layout.response]
    own = OwnResponses(scores.typicality[layout.response], scores.trust[layout.response], trimmed)
    clusters = None
    if neighborhoods is not None:
        clusters = _summarize_shards(layout, neighborhoods, scores, models, recipe, tools)
    actions = _decide_rows(layout, clusters, scores, recipe)
    if clusters is None or not recipe.by_cluster:
        targets = _match_targets(layout, scores, models, actions, recipe, tools)
    else:
        targets = _draw_targets(layout, clusters, scores, actions, recipe, tools)
    lineage = _build_lineage(layout, clusters, own, actions, targets, recipe)
    return CorpusDecisions(lineage, None if clusters is None else clusters.stats)


class RowClusters(NamedTuple):
    """The neighborhoods of the corpus, summarized, and the cluster of each row's own response.

    ``own_rank`` (n,) and ``own_size`` (n,) are those of that cluster. ``draws`` are the draws of
    each target, if they need no weights; otherwise ``candidates`` has what rows draw from.
    """

    neighborhoods: Neighborhoods
    stats: NeighborhoodStats
    own_rank: Ints
    own_size: Ints
    draws: list[DrawsWithOdds]
    candidates: CandidateTable | None
    rows: Ragged


def _summarize_shards(
    layout: CanonicalCorpus,
    neighborhoods: Neighborhoods,
    scores: ResponseScores,
    models: DrawModels,
    recipe: ResolvedRecipe,
    tools: Tools,
) -> RowClusters:
    """Summarize the neighborhoods shard by shard, and draw or find candidates in each."""
    count, total = len(layout.ids), len(neighborhoods)
    stats = NeighborhoodStats.allocate(total)
    own_rank, own_size = np.zeros((2, count), np.int64)
    is_weighted = recipe.by_cluster and recipe.weighted
    targets = recipe.targets if recipe.by_cluster and not is_weighted else 0
    draws = [DrawsWithOdds.empty(count) for _ in range(targets)]
    candidates = _allocate_candidates(layout, recipe, tools) if is_weighted else None
    with tools.progress.stage("draw", total) as tick:
        inputs = _collect_inputs(layout, scores, models.relevance, recipe)
        for number, part in enumerate(tools.engine.map(decide_shard, neighborhoods, inputs)):
            shard = neighborhoods.numbers(number)
            for whole, values in zip(stats, part.neighborhood_stats, strict=True):
                whole[shard] = values
            own_rank[part.rows], own_size[part.rows] = part.own_rank, part.own_size
            for whole_draws, shard_draws in zip(draws, part.draws, strict=True):
                whole_draws.draws.rank[part.rows] = shard_draws.draws.rank
                whole_draws.draws.source[part.rows] = shard_draws.draws.source
                whole_draws.probability[part.rows] = shard_draws.probability
            if candidates is not None and part.candidates is not None:
                candidates.update(part.exchanges, part.candidates)
            tick(len(shard))
    return RowClusters(neighborhoods, stats, own_rank, own_size, draws, candidates, inputs.rows)


def _draw_targets(
    layout: CanonicalCorpus,
    clusters: RowClusters,
    scores: ResponseScores,
    actions: RowActions,
    recipe: ResolvedRecipe,
    tools: Tools,
) -> list[Target]:
    """The targets of rows that draw from the clusters of their neighborhood."""
    draws, candidates = clusters.draws, clusters.candidates
    if candidates is not None:
        groups = scores.duplicate_group[layout.response]
        needs_draw = actions.needs_draw
        rows_per_exchange = np.bincount(layout.exchange[needs_draw], minlength=len(layout.first))
        draw_counts = rows_per_exchange * recipe.targets
        prices = capacity_prices(candidates, groups, draw_counts, recipe.repeat_limit, tools)
        draws = draw_weighted(candidates, prices, layout, groups, needs_draw, recipe, tools)
    with tools.progress.stage("lineage", len(clusters.neighborhoods)) as tick:
        ranks = [target.draws.rank for target in draws]
        sizes = _find_cluster_sizes(clusters.neighborhoods, clusters.rows, ranks, tick)
    no_fit = np.full(len(layout.ids), np.nan)
    return [Target(*draw, size, no_fit) for draw, size in zip(draws, sizes, strict=True)]


def _match_targets(
    layout: CanonicalCorpus,
    scores: ResponseScores,
    models: DrawModels,
    actions: RowActions,
    recipe: ResolvedRecipe,
    tools: Tools,
) -> list[Target]:
    """The targets of rows in a mode that draws from no clusters: what fits best, or nothing."""
    count = len(layout.ids)
    no_rank = RowDraws(np.full(count, -1), np.full(count, -1))
    probability, size = np.ones(count), np.zeros(count, np.int64)
    if models.fit is None or models.contexts is None or models.responses is None:
        return [Target(no_rank, probability, size, np.full(count, np.nan))]
    drawable = drawable_rows(layout, scores, recipe)
    free = True if scores.fixed is None else ~scores.fixed
    inputs = MatchInputs(
        layout,
        models.fit,
        models.contexts,
        models.responses,
        scores.duplicate_group,
        scores.trust,
        actions.needs_draw & (drawable | (not recipe.is_paired)),
        ~actions.stays & free if recipe.is_paired else actions.stays & drawable,
        detect_corpus_languages(layout, tools),
        recipe,
        tools,
    )
    matches = match_rows(inputs)
    return [
        Target(no_rank._replace(source=source), probability, size, fit)
        for source, fit in zip(matches.sources, matches.fits, strict=True)
    ]


def _allocate_candidates(
    layout: CanonicalCorpus, recipe: ResolvedRecipe, tools: Tools
) -> CandidateTable:
    width = (
        MAX_CANDIDATES
        if recipe.reading.group_by is not None
        else min(MAX_CANDIDATES, recipe.neighbors)
    )
    return CandidateTable.allocate(len(layout.first), width, tools.store)


def _collect_inputs(
    layout: CanonicalCorpus,
    scores: ResponseScores,
    relevance: Relevance | None,
    recipe: ResolvedRecipe,
) -> LineageInputs:
    """Collect what every shard needs; the texts stay out, as inputs may go to other machines."""
    no_texts = UniqueTexts.of([])
    neighborhood = layout.row_neighborhoods(recipe)
    weights = recipe.typicality * scores.trust[layout.response]
    return LineageInputs(
        layout._replace(contexts=no_texts, responses=no_texts, views=no_texts),
        recipe.reading.group_by is not None,
        group_rows(neighborhood),
        group_rows(neighborhood[layout.first]),
        np.where(drawable_rows(layout, scores, recipe), weights, -np.inf),
        relevance,
        recipe,
    )


def _find_cluster_sizes(
    neighborhoods: Neighborhoods, rows: Ragged, ranks: list[Ints], tick: Tick
) -> list[Ints]:
    """Look up the counts of the clusters with the given ranks (n,) in each row's neighborhood."""
    sizes = [np.zeros_like(rank) for rank in ranks]
    for numbers, clusters in neighborhoods:
        shard_rows = rows.take(numbers)
        start = np.repeat(clusters.counts.offsets[:-1], shard_rows.lengths)
        for size, rank in zip(sizes, ranks, strict=True):
            size[shard_rows.values] = clusters.counts.values[start + rank[shard_rows.values]]
        tick(len(numbers))
    return sizes


class OwnResponses(NamedTuple):
    """The original response of each row (n,): its typicality, its trust, whether it is trimmed."""

    typicality: Reals
    trust: Reals
    trimmed: Flags


class Target(NamedTuple):
    """One target of every row (n,): what was drawn, from how large a cluster, how well it fits.

    ``draws`` has rank -1 where a response was drawn from no cluster, and source -1 where none was.
    """

    draws: RowDraws
    probability: Reals
    size: Ints
    fit: Reals


class RowActions(NamedTuple):
    """Which rows (n,) keep their response, and which need a draw; the others abstain."""

    stays: Flags
    needs_draw: Flags


def _decide_rows(
    layout: CanonicalCorpus,
    clusters: RowClusters | None,
    scores: ResponseScores,
    recipe: ResolvedRecipe,
) -> RowActions:
    trust = scores.trust[layout.response]
    # All but the least trusted rows stay; with `keep`, so do those in a head cluster of several.
    stays = ~mark_least_trusted(trust, round(recipe.share * len(trust)))
    if scores.trims is not None:
        stays &= (scores.trims.action != IRRELEVANT)[layout.response]
    if recipe.by_fit and scores.vetoed is not None:
        stays &= (scores.vetoed != 1)[layout.exchange]
    free = np.ones(len(trust), bool) if scores.fixed is None else ~scores.fixed
    if clusters is None:
        # In pairs, a trusted row needs an untrusted response that it is preferred to.
        return RowActions(stays, (stays if recipe.is_paired else ~stays) & free & recipe.by_fit)
    stats, neighborhood = clusters.stats, layout.row_neighborhoods(recipe)
    head, total = stats.head[neighborhood], stats.total[neighborhood]
    in_head = (clusters.own_rank == 0) & (head > 1) & recipe.keep
    if scores.trims is not None:
        in_head &= (scores.trims.action != IRRELEVANT)[layout.response]
    stays |= in_head
    # A row abstains if its head cluster is too small, unless it is alone in its neighborhood.
    abstains = head < np.maximum(2, recipe.abstain * total)
    abstains &= (recipe.abstain > 0) & (stats.members[neighborhood] > 1)
    if recipe.by_cluster:
        stays |= ~free
    return RowActions(stays, ~stays & ~abstains & recipe.by_cluster)


def _build_lineage(
    layout: CanonicalCorpus,
    clusters: RowClusters | None,
    own: OwnResponses,
    actions: RowActions,
    targets: list[Target],
    recipe: ResolvedRecipe,
) -> pa.Table:
    tables = []
    for number, target in enumerate(targets):
        drawn = target.draws.source
        is_drawn = actions.needs_draw & (drawn >= 0)
        # A row has its first target in any case, and a further one only if it was drawn.
        rows = np.flatnonzero(is_drawn) if number else np.arange(len(layout.ids))
        source = np.where(is_drawn & ~recipe.is_paired, drawn, np.arange(len(is_drawn)))
        # A row that drew a response equal to its own keeps it.
        same = layout.response[source] == layout.response
        action = np.where(same, ACTIONS.index("kept"), ACTIONS.index("replaced"))
        action = np.where(~actions.stays & ~is_drawn, ACTIONS.index("abstained"), action)
        action = np.where(same & own.trimmed, ACTIONS.index("replaced"), action)
        if recipe.mode in ("filter", "selective"):
            action = np.where(~actions.stays & ~is_drawn, ACTIONS.index("dropped"), action)
        columns = {
            "id": layout.ids,
            "target": np.full(len(is_drawn), number),
            "action": np.array(ACTIONS)[action],
            "source_id": np.where(same, layout.ids, layout.ids[source]),
            **_cluster_columns(layout, clusters, target, is_drawn, recipe),
            "typicality": own.typicality,
            "trust": own.trust,
            "fit": pa.array(np.where(is_drawn, target.fit, np.nan), from_pandas=True),
            "rejected_id": pa.array(layout.ids[drawn], mask=~(is_drawn & recipe.is_paired)),
        }
        tables.append(pa.table(columns).take(rows))
    lineage = pa.concat_tables(tables).sort_by([("id", "ascending"), ("target", "ascending")])
    return lineage.combine_chunks().cast(LINEAGE_SCHEMA)


CLUSTER_COLUMNS = (
    "neighborhood",
    "clusters",
    "rank",
    "cluster_size",
    "own_rank",
    "head_share",
    "sharpness",
    "probability",
)
"""Columns of the lineage that say which clusters a row drew from."""


def _cluster_columns(
    layout: CanonicalCorpus,
    clusters: RowClusters | None,
    target: Target,
    is_drawn: Flags,
    recipe: ResolvedRecipe,
) -> dict[str, Any]:
    if clusters is None:
        return {
            name: pa.nulls(len(is_drawn), LINEAGE_SCHEMA.field(name).type)
            for name in CLUSTER_COLUMNS
        }
    stats, neighborhood = clusters.stats, layout.row_neighborhoods(recipe)
    return {
        "neighborhood": stats.total[neighborhood],
        "clusters": stats.clusters[neighborhood],
        "rank": np.where(is_drawn, target.draws.rank, clusters.own_rank) + 1,
        "cluster_size": np.where(is_drawn, target.size, clusters.own_size),
        "own_rank": clusters.own_rank + 1,
        "head_share": stats.head[neighborhood] / stats.total[neighborhood],
        "sharpness": stats.sharpness[neighborhood],
        "probability": np.where(is_drawn, target.probability, 1.0),
    }


def first_targets(lineage: pa.Table) -> pa.Table:
    """Select the first target of each exchange, so that there is one row per exchange."""
    return lineage.filter(pc.equal(lineage.column("target"), 0))


def mark_least_trusted(trust: Reals, count: int) -> Flags:
    """Which rows (n,) are the ``count`` least trusted ones; ties go by canonical order."""
    is_chosen = np.zeros(len(trust), bool)
    is_chosen[np.argsort(trust, kind="stable")[:count]] = True
    return is_chosen
