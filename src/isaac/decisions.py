"""What becomes of each row: the lineage."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .choices import Relevance, Weighted, draw_weighted, find_choices, priced
from .clusters import Clusters
from .draws import Pool, Reals, Shape, draw, shape
from .layout import Layout
from .neighborhoods import Consensus
from .neighbors import Ints
from .recipe import Settled

ACTIONS = ("kept", "replaced", "dropped", "abstained")
"""What becomes of a row: its response stays, as typical or as drawn; gives way to another; is
dropped with its row; or stays because its neighbourhood offers nothing."""

LINEAGE = pa.schema(
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


def decide(
    layout: Layout,
    clusters: Clusters,
    consensus: Consensus,
    relevance: Relevance | None,
    recipe: Settled,
) -> pa.Table:
    """Return the lineage: for each row what becomes of it, and what is drawn for it."""
    facts = shape(clusters, recipe)
    grouped = recipe.group_by is not None
    nest = layout.group if grouped else layout.exchange
    own_rank, own_size = own_clusters(layout, clusters, grouped)
    typical = consensus.typicality[layout.response]
    stays = ~least(typical, round(recipe.share * len(typical)))
    stays |= (own_rank == 0) & (facts.sizes[nest, 0] > 1) & recipe.keep
    headless = facts.sizes[nest, 0] < np.maximum(2, recipe.abstain * facts.totals[nest])
    headless &= (recipe.abstain > 0) & (clusters.members.lengths[nest] > 1)
    asking = ~stays & ~headless & (recipe.mode != "filter")
    draws = _draws(layout, clusters, facts, consensus, relevance, asking, recipe)
    tables = []
    for target, (drawn, certain) in enumerate(draws):
        found = asking & (drawn.source >= 0)
        rows = np.flatnonzero(found) if target else np.arange(len(layout.ids))
        own = np.where(found, drawn.source, np.arange(len(found)))
        rank = np.where(found, drawn.rank, own_rank)
        odds = np.where(found, certain, 1.0)
        shown = np.minimum(rank, facts.sizes.shape[1] - 1)
        same = layout.response[own] == layout.response
        action = np.where(same, 0, 1)
        action = np.where(~stays & ~found, ACTIONS.index("abstained"), action)
        if recipe.mode == "filter":
            action = np.where(stays, 0, ACTIONS.index("dropped"))
        columns = {
            "id": layout.ids,
            "target": np.full(len(found), target),
            "action": np.array(ACTIONS)[action],
            "source_id": np.where(same, layout.ids, layout.ids[own]),
            "neighborhood": facts.totals[nest],
            "clusters": clusters.sizes.lengths[nest],
            "rank": rank + 1,
            "cluster_size": np.where(found, facts.sizes[nest, shown], own_size),
            "own_rank": own_rank + 1,
            "head_share": facts.sizes[nest, 0] / facts.totals[nest],
            "sharpness": facts.sharpness[nest],
            "probability": odds,
            "typicality": typical,
        }
        tables.append(pa.table({name: values[rows] for name, values in columns.items()}))
    lineage = pa.concat_tables(tables).sort_by([("id", "ascending"), ("target", "ascending")])
    return lineage.combine_chunks().cast(LINEAGE)


def least(typicality: Reals, count: int) -> npt.NDArray[np.bool_]:
    """Return which rows (n,) are the least typical ones, equal ones in the canonical order."""
    chosen = np.zeros(len(typicality), bool)
    chosen[np.argsort(typicality, kind="stable")[:count]] = True
    return chosen


def _draws(
    layout: Layout,
    clusters: Clusters,
    facts: Shape,
    consensus: Consensus,
    relevance: Relevance | None,
    asking: npt.NDArray[np.bool_],
    recipe: Settled,
) -> list[Weighted]:
    """Return the draws of the rows that ask, by weights or uniformly within a cluster."""
    nest = layout.group if recipe.group_by is not None else layout.exchange
    if recipe.weighted:
        found = find_choices(layout, clusters, facts, consensus, relevance, recipe)
        kinds = consensus.kind[layout.response]
        wanted = np.bincount(layout.exchange[asking], minlength=len(found.rows)) * recipe.targets
        choices = priced(found, kinds, wanted, recipe.repeats)
        return draw_weighted(choices, layout, kinds, asking, recipe)
    pool = Pool(
        facts.odds[nest],
        facts.rows[nest],
        clusters.members.offsets[nest],
        clusters.members.values,
        layout.response,
    )
    drawn = draw(pool, layout.keys, recipe.targets, recipe.seed)
    return [Weighted(one, facts.odds[nest, one.rank]) for one in drawn]


def own_clusters(layout: Layout, clusters: Clusters, grouped: bool) -> tuple[Ints, Ints]:
    """Return rank (from 0) and size of the cluster that holds each row's own response."""
    members, sizes, counts = clusters
    ranks = np.arange(len(sizes.values)) - np.repeat(sizes.offsets[:-1], sizes.lengths)
    rank, size = np.repeat(ranks, sizes.values), np.repeat(counts.values, sizes.values)
    if grouped:
        place = np.empty(len(layout.ids), np.int64)
        place[members.values] = np.arange(len(members.values))
        return rank[place], size[place]
    _, first = np.unique(layout.exchange, return_index=True)
    owner = np.repeat(first, members.lengths)
    own = np.flatnonzero(layout.response[members.values] == layout.response[owner])
    _, earliest = np.unique(np.searchsorted(members.offsets, own, side="right"), return_index=True)
    place = own[earliest][layout.exchange]
    return rank[place], size[place]
