"""What becomes of each row: the lineage."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..recipe import ResolvedRecipe
from ..runtime.arrays import Flags, Ints, Ragged, Reals
from ..runtime.progress import Tick
from .candidates import (
    MAX_CANDIDATES,
    CandidateTable,
    DrawsWithOdds,
    ExchangeQuery,
    capacity_prices,
    draw_weighted,
    find_candidates,
)
from .canonical_order import CanonicalCorpus
from .clusters import Clusters
from .dialogue.trimming import IRRELEVANT, TRIMMED
from .relevance import Relevance
from .resources import Tools
from .response_scores import ResponseScores, drawable_rows
from .sampling import ResponsePool, RowDraws, draw
from .search.exact import group_rows
from .shards import Neighborhoods, Shard
from .sharpening import ClusterOdds, cluster_odds, largest_sizes, preserves_rank_order
from .unique_texts import UniqueTexts

ACTIONS = ("kept", "replaced", "dropped", "abstained")
"""What becomes of a row: its response stays, as typical or as drawn; gives way to another; is
dropped with its row; or stays because its neighbourhood offers nothing. A response of which parts
were left out is replaced, by itself."""

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
    }
)
"""A row for each exchange and target, in order of id.

``source_id`` is the exchange that the response came from; ``rank`` (from 1) and ``cluster_size``
are those of the cluster that it was drawn from, or that it is in where nothing was drawn;
``probability`` is the odds of that cluster, 1 where nothing was drawn. ``own_rank`` is the rank of
the row's own response, ``typicality`` the share of the corpus's responses that are worded no more
typically than it. Sizes count near-duplicates as the recipe says.
"""


class NeighborhoodStats(NamedTuple):
    """What is told of each neighbourhood (m,), by its number.

    ``members`` is its size, ``total`` that without near-duplicates where these count once, and
    ``clusters`` the number of its clusters; ``largest_counts`` (m, r) are the counts of the largest of them,
    ``singletons`` says how many have one response; ``sharpness`` is that of the kept ones, ``rank_order_preserved``
    whether their odds over their share never rise with rank.
    """

    members: Ints
    total: Ints
    clusters: Ints
    largest_counts: Ints
    singletons: Ints
    sharpness: Reals
    rank_order_preserved: Flags

    @classmethod
    def allocate(cls, count: int) -> NeighborhoodStats:
        """Return room for what is told of so many neighbourhoods."""
        members, total, clusters, alone = np.zeros((4, count), np.int64)
        top = np.zeros((count, MAX_RANKS), np.int64)
        return cls(members, total, clusters, top, alone, np.zeros(count), np.zeros(count, bool))

    @property
    def head(self) -> Ints:
        """Return the count of the largest cluster (m,)."""
        return self.largest_counts[:, 0]


MAX_RANKS = 10
"""Largest clusters of which counts are told."""


class LineageInputs(NamedTuple):
    """What every shard is decided by."""

    layout: CanonicalCorpus
    grouped: bool
    rows: Ragged
    exchanges: Ragged
    typicality_weights: Reals
    relevance: Relevance | None
    recipe: ResolvedRecipe


class ShardDecisions(NamedTuple):
    """What was decided of a shard.

    Of its neighbourhoods, ``nests``; of the rows (r,) in them, rank and count of the cluster that
    their own response is in; and what they draw, or of the distinct exchanges (e,), what they may.
    """

    nests: NeighborhoodStats
    rows: Ints
    own_rank: Ints
    own_size: Ints
    draws: list[DrawsWithOdds]
    exchanges: Ints
    choices: CandidateTable | None


class CorpusDecisions(NamedTuple):
    """The lineage of a corpus, and what is told of its neighbourhoods."""

    lineage: pa.Table
    nests: NeighborhoodStats


def decide_corpus(
    layout: CanonicalCorpus,
    neighborhoods: Neighborhoods,
    consensus: ResponseScores,
    relevance: Relevance | None,
    recipe: ResolvedRecipe,
    tools: Tools,
) -> CorpusDecisions:
    """Return for each row what becomes of it, and what is drawn for it."""
    count, found = len(layout.ids), len(neighborhoods)
    nests = NeighborhoodStats.allocate(found)
    own_rank, own_size = np.zeros((2, count), np.int64)
    draws = [
        DrawsWithOdds(RowDraws(np.zeros(count, np.int64), np.full(count, -1)), np.zeros(count))
        for _ in range(0 if recipe.weighted else recipe.targets)
    ]
    room = _allocate_candidates(layout, recipe, tools) if recipe.weighted else None
    with tools.progress.stage("draw", found) as tick:
        line = _collect_inputs(layout, consensus, relevance, recipe)
        every = tools.engine.map(decide_shard, neighborhoods, line)
        for number, part in enumerate(every):
            shard = neighborhoods.nests(number)
            for mine, given in zip(nests, part.nests, strict=True):
                mine[shard] = given
            own_rank[part.rows], own_size[part.rows] = part.own_rank, part.own_size
            for (all_drawn, odds), (drawn, certain) in zip(draws, part.draws, strict=True):
                all_drawn.rank[part.rows], all_drawn.source[part.rows] = drawn
                odds[part.rows] = certain
            if room is not None and part.choices is not None:
                room.put(part.exchanges, part.choices)
            tick(len(shard))
    fates = _decide_rows(layout, nests, own_rank, consensus, recipe)
    if room is not None:
        kinds = consensus.kind[layout.response]
        asking = np.bincount(layout.exchange[fates.needs_draw], minlength=len(layout.first))
        price = capacity_prices(room, kinds, asking * recipe.targets, recipe.repeats, tools)
        draws = draw_weighted(room, price, layout, kinds, fates.needs_draw, recipe, tools)
    trimmed = np.zeros(count, bool)
    if consensus.trims is not None:
        trimmed = (consensus.trims.action == TRIMMED)[layout.response]
    own = OwnCluster(own_rank, own_size, consensus.typicality[layout.response], trimmed)
    with tools.progress.stage("lineage", found) as tick:
        sizes = _find_cluster_sizes(
            neighborhoods, line.rows, [drawn.rank for drawn, _ in draws], tick
        )
        lineage = _build_lineage(
            layout, nests, own, fates, list(zip(draws, sizes, strict=True)), recipe
        )
    return CorpusDecisions(lineage, nests)


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
    consensus: ResponseScores,
    relevance: Relevance | None,
    recipe: ResolvedRecipe,
) -> LineageInputs:
    """Return what shards are decided by, without the texts."""
    grouped = recipe.reading.group_by is not None
    nothing = UniqueTexts.of([])
    typical = recipe.typicality * consensus.typicality[layout.response]
    return LineageInputs(
        layout._replace(contexts=nothing, responses=nothing, views=nothing),
        grouped,
        group_rows(layout.group if grouped else layout.exchange),
        group_rows(layout.group[layout.first])
        if grouped
        else group_rows(np.arange(len(layout.first))),
        np.where(drawable_rows(layout, consensus, recipe), typical, -np.inf),
        relevance,
        recipe,
    )


def decide_shard(line: LineageInputs, shard: Shard) -> ShardDecisions:
    """Return what is decided of a shard's neighbourhoods and rows."""
    numbers, clusters = shard
    layout, recipe = line.layout, line.recipe
    facts = cluster_odds(clusters, recipe)
    rows = line.rows.take(numbers)
    place = np.repeat(np.arange(len(numbers)), rows.lengths)
    own_rank, own_size = find_own_clusters(layout, clusters, rows.values, place, line.grouped)
    exchanges = line.exchanges.take(numbers)
    choices, draws = None, []
    if recipe.weighted:
        asked = ExchangeQuery(
            np.repeat(np.arange(len(numbers)), exchanges.lengths),
            layout.context[layout.first[exchanges.values]],
        )
        choices = find_candidates(
            asked, clusters, facts, line.typicality_weights, line.relevance, recipe
        )
    else:
        pool = ResponsePool(
            facts.odds[place],
            facts.rows[place],
            clusters.members.offsets[place],
            clusters.members.values,
            layout.response,
        )
        drawn = draw(pool, layout.keys[rows.values], recipe.targets, recipe.seed)
        draws = [DrawsWithOdds(one, facts.odds[place, one.rank]) for one in drawn]
    told = _compute_stats(clusters, facts)
    return ShardDecisions(told, rows.values, own_rank, own_size, draws, exchanges.values, choices)


def _compute_stats(clusters: Clusters, facts: ClusterOdds) -> NeighborhoodStats:
    counts = clusters.counts
    owner = np.repeat(np.arange(len(counts.lengths)), counts.lengths)
    alone = np.bincount(owner[counts.values == 1], minlength=len(counts.lengths))
    top = np.zeros((len(counts.lengths), MAX_RANKS), np.int64)
    largest = largest_sizes(counts, MAX_RANKS)
    top[:, : largest.shape[1]] = largest
    guarded = preserves_rank_order(facts)
    lengths = (clusters.members.lengths, facts.totals, counts.lengths)
    return NeighborhoodStats(*lengths, top, alone, facts.sharpness, guarded)


def _find_cluster_sizes(
    neighborhoods: Neighborhoods, rows: Ragged, ranks: list[Ints], tick: Tick
) -> list[Ints]:
    """Return the counts of the clusters of some ranks (n,) in each row's neighbourhood."""
    sizes = [np.zeros_like(rank) for rank in ranks]
    for nests, clusters in neighborhoods:
        inside = rows.take(nests)
        start = np.repeat(clusters.counts.offsets[:-1], inside.lengths)
        for size, rank in zip(sizes, ranks, strict=True):
            size[inside.values] = clusters.counts.values[start + rank[inside.values]]
        tick(len(nests))
    return sizes


class OwnCluster(NamedTuple):
    """Of each row (n,), its own response: rank and count of its cluster, typicality, if trimmed."""

    rank: Ints
    size: Ints
    typicality: Reals
    trimmed: Flags


class RowActions(NamedTuple):
    """Which rows (n,) stay as they are, and which ask for a draw."""

    stays: Flags
    needs_draw: Flags


def _decide_rows(
    layout: CanonicalCorpus,
    nests: NeighborhoodStats,
    own_rank: Ints,
    consensus: ResponseScores,
    recipe: ResolvedRecipe,
) -> RowActions:
    nest = layout.group if recipe.reading.group_by is not None else layout.exchange
    typical = consensus.typicality[layout.response]
    first, total = nests.head[nest], nests.total[nest]
    stays = ~mark_least_typical(typical, round(recipe.share * len(typical)))
    stays |= (own_rank == 0) & (first > 1) & recipe.keep
    if consensus.trims is not None:
        stays &= (consensus.trims.action != IRRELEVANT)[layout.response]
    headless = first < np.maximum(2, recipe.abstain * total)
    headless &= (recipe.abstain > 0) & (nests.members[nest] > 1)
    return RowActions(stays, ~stays & ~headless & (recipe.mode != "filter"))


def _build_lineage(
    layout: CanonicalCorpus,
    nests: NeighborhoodStats,
    own: OwnCluster,
    fates: RowActions,
    draws: list[tuple[DrawsWithOdds, Ints]],
    recipe: ResolvedRecipe,
) -> pa.Table:
    nest = layout.group if recipe.reading.group_by is not None else layout.exchange
    tables = []
    for target, ((drawn, certain), size) in enumerate(draws):
        found = fates.needs_draw & (drawn.source >= 0)
        rows = np.flatnonzero(found) if target else np.arange(len(layout.ids))
        source = np.where(found, drawn.source, np.arange(len(found)))
        same = layout.response[source] == layout.response
        action = np.where(same, 0, 1)
        action = np.where(~fates.stays & ~found, ACTIONS.index("abstained"), action)
        action = np.where(same & own.trimmed, ACTIONS.index("replaced"), action)
        if recipe.mode == "filter":
            action = np.where(fates.stays, 0, ACTIONS.index("dropped"))
        columns = {
            "id": layout.ids,
            "target": np.full(len(found), target),
            "action": np.array(ACTIONS)[action],
            "source_id": np.where(same, layout.ids, layout.ids[source]),
            "neighborhood": nests.total[nest],
            "clusters": nests.clusters[nest],
            "rank": np.where(found, drawn.rank, own.rank) + 1,
            "cluster_size": np.where(found, size, own.size),
            "own_rank": own.rank + 1,
            "head_share": nests.head[nest] / nests.total[nest],
            "sharpness": nests.sharpness[nest],
            "probability": np.where(found, certain, 1.0),
            "typicality": own.typicality,
        }
        tables.append(pa.table({name: values[rows] for name, values in columns.items()}))
    lineage = pa.concat_tables(tables).sort_by([("id", "ascending"), ("target", "ascending")])
    return lineage.combine_chunks().cast(LINEAGE_SCHEMA)


def mark_least_typical(typicality: Reals, count: int) -> Flags:
    """Return which rows (n,) are the least typical ones, equal ones in the canonical order."""
    chosen = np.zeros(len(typicality), bool)
    chosen[np.argsort(typicality, kind="stable")[:count]] = True
    return chosen


def find_own_clusters(
    layout: CanonicalCorpus, clusters: Clusters, rows: Ints, place: Ints, grouped: bool
) -> tuple[Ints, Ints]:
    """Return rank (from 0) and count of the cluster that holds each row's own response.

    ``place`` (r,) says in which of the neighbourhoods each of the ``rows`` (r,) is.
    """
    members, sizes, counts = clusters
    ranks = np.arange(len(sizes.values)) - np.repeat(sizes.offsets[:-1], sizes.lengths)
    rank, size = np.repeat(ranks, sizes.values), np.repeat(counts.values, sizes.values)
    if grouped:
        found = np.argsort(members.values, kind="stable")
        at = found[np.searchsorted(members.values, rows, sorter=found)]
        return rank[at], size[at]
    nests, first = np.unique(place, return_index=True)
    owner = np.repeat(rows[first], members.lengths[nests])
    own = np.flatnonzero(layout.response[members.values] == layout.response[owner])
    _, earliest = np.unique(np.searchsorted(members.offsets, own, side="right"), return_index=True)
    at = own[earliest][place]
    return rank[at], size[at]
