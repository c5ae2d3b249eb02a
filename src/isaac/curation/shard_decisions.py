"""What is decided within one shard of neighborhoods: their statistics, and draws or candidates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..recipe import ResolvedRecipe
from ..runtime.arrays import Flags, Ints, Ragged, Reals
from .candidates import CandidateTable, DrawsWithOdds, ExchangeQuery, find_candidates
from .canonical_order import CanonicalCorpus
from .clusters import Clusters
from .relevance import Relevance
from .sampling import ResponsePool, draw
from .shards import Shard
from .sharpening import ClusterOdds, cluster_odds, largest_sizes, preserves_rank_order


class NeighborhoodStats(NamedTuple):
    """Summary of each neighborhood (m,), by its number.

    ``members`` is its size, ``total`` the same with near-duplicates counted once if the recipe
    does, and ``clusters`` the number of its clusters. ``largest_counts`` (m, r) are the counts of
    its largest clusters, ``singletons`` is how many clusters have one response. ``sharpness`` is
    that of the clusters kept; ``rank_order_preserved`` is whether the ratio of their odds to their
    share never rises with rank.
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
        """Allocate empty statistics for ``count`` neighborhoods."""
        members, total, clusters, singletons = np.zeros((4, count), np.int64)
        largest = np.zeros((count, MAX_RANKS), np.int64)
        is_preserved = np.zeros(count, bool)
        return cls(members, total, clusters, largest, singletons, np.zeros(count), is_preserved)

    @property
    def head(self) -> Ints:
        """Count of the largest cluster (m,)."""
        return self.largest_counts[:, 0]


MAX_RANKS = 10
"""Largest clusters whose counts are in the statistics."""


class LineageInputs(NamedTuple):
    """What the decisions of every shard are based on.

    ``rows`` and ``exchanges`` list those of each neighborhood; ``typicality_weights`` (n,) is what
    the typicality of a row adds to its weight, -inf if it may not be drawn.
    """

    layout: CanonicalCorpus
    grouped: bool
    rows: Ragged
    exchanges: Ragged
    typicality_weights: Reals
    relevance: Relevance | None
    recipe: ResolvedRecipe


class ShardDecisions(NamedTuple):
    """The decisions of one shard.

    ``neighborhood_stats`` summarizes its neighborhoods; ``own_rank`` and ``own_size`` (r,) are
    those of the cluster that the response of each of its ``rows`` (r,) is in. Without weights,
    ``draws`` are those of the rows; with weights, rows draw later, and ``candidates`` are those of
    the distinct ``exchanges`` (e,) of the shard.
    """

    neighborhood_stats: NeighborhoodStats
    rows: Ints
    own_rank: Ints
    own_size: Ints
    draws: list[DrawsWithOdds]
    exchanges: Ints
    candidates: CandidateTable | None


def decide_shard(inputs: LineageInputs, shard: Shard) -> ShardDecisions:
    """Draw for the rows of a shard, or find their candidates, and summarize its neighborhoods."""
    numbers, clusters = shard
    layout, recipe = inputs.layout, inputs.recipe
    sharpened = cluster_odds(clusters, recipe)
    rows, exchanges = inputs.rows.take(numbers), inputs.exchanges.take(numbers)
    # For each row, the index of its neighborhood in the shard.
    place = np.repeat(np.arange(len(numbers)), rows.lengths)
    own_rank, own_size = find_own_clusters(layout, clusters, rows.values, place, inputs.grouped)
    candidates, draws = None, []
    if recipe.by_cluster and recipe.weighted:
        query = ExchangeQuery(
            np.repeat(np.arange(len(numbers)), exchanges.lengths),
            layout.context[layout.first[exchanges.values]],
        )
        weights, relevance = inputs.typicality_weights, inputs.relevance
        candidates = find_candidates(query, clusters, sharpened, weights, relevance, recipe)
    elif recipe.by_cluster:
        pool = ResponsePool(
            sharpened.odds[place],
            sharpened.rows[place],
            clusters.members.offsets[place],
            clusters.members.values,
            layout.response,
        )
        drawn = draw(pool, layout.keys[rows.values], recipe.targets, recipe.seed)
        draws = [DrawsWithOdds(target, sharpened.odds[place, target.rank]) for target in drawn]
    stats = _compute_stats(clusters, sharpened)
    own = (rows.values, own_rank, own_size)
    return ShardDecisions(stats, *own, draws, exchanges.values, candidates)


def _compute_stats(clusters: Clusters, sharpened: ClusterOdds) -> NeighborhoodStats:
    counts = clusters.counts
    owner = np.repeat(np.arange(len(counts.lengths)), counts.lengths)
    singletons = np.bincount(owner[counts.values == 1], minlength=len(counts.lengths))
    largest = np.zeros((len(counts.lengths), MAX_RANKS), np.int64)
    sizes = largest_sizes(counts, MAX_RANKS)
    largest[:, : sizes.shape[1]] = sizes
    is_preserved = preserves_rank_order(sharpened)
    lengths = (clusters.members.lengths, sharpened.totals, counts.lengths)
    return NeighborhoodStats(*lengths, largest, singletons, sharpened.sharpness, is_preserved)


def find_own_clusters(
    layout: CanonicalCorpus, clusters: Clusters, rows: Ints, place: Ints, grouped: bool
) -> tuple[Ints, Ints]:
    """Find the rank (from 0) and the count of the cluster with each row's own response.

    ``place`` (r,) is the index of the neighborhood of each of the ``rows`` (r,) in ``clusters``.
    """
    members, sizes, counts = clusters
    ranks = np.arange(len(sizes.values)) - np.repeat(sizes.offsets[:-1], sizes.lengths)
    # Rank and count of the cluster of each member.
    rank, size = np.repeat(ranks, sizes.values), np.repeat(counts.values, sizes.values)
    if grouped:
        # Every row is a member once: look it up.
        order = np.argsort(members.values, kind="stable")
        at = order[np.searchsorted(members.values, rows, sorter=order)]
        return rank[at], size[at]
    # All rows of a neighborhood are one exchange: find the first member with its response.
    used, first = np.unique(place, return_index=True)
    owner = np.repeat(rows[first], members.lengths[used])
    own = np.flatnonzero(layout.response[members.values] == layout.response[owner])
    _, earliest = np.unique(np.searchsorted(members.offsets, own, side="right"), return_index=True)
    at = own[earliest][place]
    return rank[at], size[at]
