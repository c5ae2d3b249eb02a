"""Explain one row: its neighbors, the clusters of their responses, the odds, and the draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc

from ...curation.clusters import Clusters
from ...curation.curate import Curation
from ...curation.sharpening import cluster_odds
from ...curation.vectors import GRID_STEPS
from ...errors import CorpusError
from ...text import make_printable, shorten

MAX_NEIGHBORS = 10
"""Maximum number of nearest contexts in an explanation."""
TEXTS_PER_CLUSTER = 2
"""Responses shown for each cluster."""
MAX_CLUSTERS = 10
"""Largest clusters shown in a terminal; the row's own and the drawn ones are shown too."""


def explain(curation: Curation, row: int) -> dict[str, Any]:
    """Explain what happened to the exchange with the id ``row``, and why, as plain values.

    Raises `CorpusError` if there is no such id.
    """
    if not 0 <= row < len(curation.corpus):
        last = len(curation.corpus) - 1
        raise CorpusError(f"no exchange {row}; expected an id from 0 to {last}")
    layout, recipe = curation.layout, curation.recipe
    place = int(np.flatnonzero(layout.ids == row)[0])
    clusters = curation.neighborhoods[int(layout.row_neighborhoods(recipe)[place])]
    exchange = curation.corpus[row]
    targets = curation.lineage.filter(pc.equal(curation.lineage.column("id"), row)).to_pylist()
    sources = np.array([target["source_id"] for target in targets])
    typicality = curation.response_scores.typicality[curation.response_by_id[sources]].tolist()
    return {
        "id": row,
        "file": exchange.file,
        "line": exchange.line,
        "context": exchange.context,
        "response": exchange.response,
        "neighbors": _find_nearest_contexts(curation, place, clusters),
        "neighborhood": targets[0]["neighborhood"],
        "clusters": _describe_clusters(curation, clusters),
        "all_clusters": targets[0]["clusters"],
        "own_rank": targets[0]["own_rank"],
        "sharpness": targets[0]["sharpness"],
        "sharpening": recipe.sharpening,
        "typicality": targets[0]["typicality"],
        "weighted": recipe.weighted,
        "draws": [
            {**target, "response": response, "drawn_typicality": drawn_typicality}
            for target, drawn_typicality, response in zip(
                targets, typicality, curation.final_responses(sources), strict=True
            )
        ],
    }


def _find_nearest_contexts(
    curation: Curation, place: int, clusters: Clusters
) -> list[dict[str, Any]]:
    """The nearest contexts with their cosines; without vectors, the first contexts of the group."""
    layout = curation.layout
    contexts = np.unique(layout.context[clusters.members.values])
    if curation.contexts is None:
        return [{"cosine": None, "context": layout.contexts[c]} for c in contexts[:MAX_NEIGHBORS]]
    vectors = curation.contexts.vectors
    own = vectors[layout.context[place]].astype(np.float64)
    cosines = vectors[contexts].astype(np.float64) @ own / GRID_STEPS**2
    order = np.argsort(-cosines, kind="stable")[:MAX_NEIGHBORS]
    return [
        {"cosine": round(float(cosines[i]), 4), "context": layout.contexts[contexts[i]]}
        for i in order
    ]


def _describe_clusters(curation: Curation, clusters: Clusters) -> list[dict[str, Any]]:
    """The clusters of a neighborhood that can be drawn from, with their odds and first texts."""
    layout = curation.layout
    odds = cluster_odds(clusters, curation.recipe)
    members = clusters.members.values
    descriptions, start = [], 0
    for rank, (size, rows) in enumerate(
        zip(odds.sizes[0].tolist(), odds.rows[0].tolist(), strict=True)
    ):
        if not size:
            break
        responses = layout.response[members[start : start + rows]]
        distinct = [layout.responses[response] for response in dict.fromkeys(responses.tolist())]
        descriptions.append(
            {
                "rank": rank + 1,
                "size": size,
                "odds": round(float(odds.odds[0, rank]), 6),
                "texts": distinct[:TEXTS_PER_CLUSTER],
            }
        )
        start += rows
    return descriptions


def format_explanation(row: dict[str, Any]) -> str:
    """Format the explanation of a row as lines for a terminal."""
    has_cosines = row["neighbors"][0]["cosine"] is not None
    lines = [
        f"exchange {row['id']}  ({make_printable(row['file'])} line {row['line']})",
        f"  context:  {shorten(row['context'], 300)}",
        f"  response: {shorten(row['response'], 300)}",
        "",
        f"neighborhood of {row['neighborhood']:,} responses; "
        f"{'the nearest' if has_cosines else 'some of its'} contexts:",
    ]
    for near in row["neighbors"]:
        cosine = "     " if near["cosine"] is None else f"{near['cosine']:5.2f}"
        lines.append(f"  {cosine}  {shorten(near['context'])}")
    lines += [
        "",
        f"the responses form {row['all_clusters']:,} clusters; these can be drawn from "
        f"({row['sharpening']}, sharpness {row['sharpness']:.2f}):",
    ]
    ranks = {row["own_rank"], *(draw["rank"] for draw in row["draws"])}
    shown = [c for c in row["clusters"] if c["rank"] <= MAX_CLUSTERS or c["rank"] in ranks]
    for cluster in shown:
        marker = "  <- its own response" if cluster["rank"] == row["own_rank"] else ""
        size = f"size {cluster['size']:<5,} odds {cluster['odds']:.4f}"
        lines.append(f"  rank {cluster['rank']:<2} {size}{marker}")
        lines += [f"           {shorten(text)}" for text in cluster["texts"]]
    if len(shown) < len(row["clusters"]):
        lines.append(f"  and {len(row['clusters']) - len(shown):,} smaller clusters")
    if row["own_rank"] > len(row["clusters"]):
        lines.append(
            f"  its own response is in the cluster of rank {row['own_rank']}, "
            "which cannot be drawn from"
        )
    lines.append("")
    typicality = f"more typically than {row['typicality']:.0%} of the corpus's responses"
    lines.append(f"its own response is worded {typicality}")
    if row["weighted"]:
        lines.append("the draw favors responses that fit the context and are worded typically")
    lines.append("")
    for draw in row["draws"]:
        if draw["action"] != "replaced":
            lines.append(f"{draw['action']}:")
        elif draw["source_id"] == row["id"]:
            lines.append("replaced by its own response without the irrelevant parts:")
        else:
            lines.append(
                f"replaced by the response of exchange {draw['source_id']} (rank {draw['rank']}, "
                f"probability {draw['probability']:.4f}, typicality "
                f"{draw['drawn_typicality']:.0%}):"
            )
        lines.append(f"  {shorten(draw['response'], 300)}")
    return "\n".join(lines)
