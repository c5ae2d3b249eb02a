"""Explain one row: its neighbors, the clusters of their responses, the odds, and the draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc

from ...curation.clusters import Clusters
from ...curation.curate import Curation
from ...curation.lineage import mark_least_trusted
from ...curation.response_scores import drawable_rows
from ...curation.sharpening import cluster_odds
from ...curation.vectors import GRID_STEPS
from ...errors import CorpusError
from ...text import make_printable, shorten
from .price import score_rows

MAX_NEIGHBORS = 10
"""Maximum number of nearest contexts in an explanation."""
TEXTS_PER_CLUSTER = 2
"""Responses shown for each cluster."""
MAX_FITTING = 5
"""Trusted responses shown with their fit."""
MAX_OFFERS = 4096
"""Maximum number of trusted rows that are searched for those."""
MAX_CLUSTERS = 10
"""Largest clusters shown in a terminal; the row's own and the drawn ones are shown too."""


def explain(curation: Curation, row: int) -> dict[str, Any]:
    """Explain what happened to the exchange with the id ``row``, and why, as plain values.

    Raises `CorpusError` if there is no such id.
    """
    if not 0 <= row < len(curation.corpus):
        last = len(curation.corpus) - 1
        raise CorpusError(f"no exchange {row}; expected an id from 0 to {last}")
    exchange, recipe = curation.corpus[row], curation.recipe
    targets = curation.lineage.filter(pc.equal(curation.lineage.column("id"), row)).to_pylist()
    sources = np.array([target["source_id"] for target in targets])
    responses, scores = curation.response_by_id[sources], curation.response_scores
    drawn = zip(
        targets,
        scores.typicality[responses].tolist(),
        scores.trust[responses].tolist(),
        curation.final_responses(sources),
        strict=True,
    )
    position = int(np.flatnonzero(curation.layout.ids == row)[0])
    return {
        "id": row,
        "file": exchange.file,
        "line": exchange.line,
        "context": exchange.context,
        "response": exchange.response,
        "mode": recipe.mode,
        "typicality": targets[0]["typicality"],
        "trust": targets[0]["trust"],
        "kept_share": 1 - recipe.share,
        "kept_trust": _find_least_kept(curation),
        **_explain_clusters(curation, position, targets[0]),
        "fitting": _find_fitting(curation, position),
        "min_fit": recipe.fit_bound if recipe.by_fit else None,
        "draws": [
            {
                **target,
                "response": response,
                "drawn_typicality": drawn_typicality,
                "drawn_trust": drawn_trust,
            }
            for target, drawn_typicality, drawn_trust, response in drawn
        ],
    }


def _find_least_kept(curation: Curation) -> float | None:
    """The least trust in a response that was kept, None if none was."""
    is_kept = pc.equal(curation.lineage.column("action"), "kept")
    least: float | None = pc.min(curation.lineage.filter(is_kept).column("trust")).as_py()
    return least


def _explain_clusters(curation: Curation, position: int, target: dict[str, Any]) -> dict[str, Any]:
    """The neighborhood of a row in canonical order and its clusters; {} if the recipe uses none."""
    if curation.neighborhoods is None:
        return {}
    layout, recipe = curation.layout, curation.recipe
    clusters = curation.neighborhoods[int(layout.row_neighborhoods(recipe)[position])]
    return {
        "neighbors": _find_nearest_contexts(curation, position, clusters),
        "neighborhood": target["neighborhood"],
        "clusters": _describe_clusters(curation, clusters),
        "all_clusters": target["clusters"],
        "own_rank": target["own_rank"],
        "sharpness": target["sharpness"],
        "sharpening": recipe.sharpening,
        "weighted": recipe.weighted,
    }


def _find_fitting(curation: Curation, position: int) -> list[dict[str, Any]]:
    """The trusted responses that fit a row's message best, with their fit, best first.

    Empty if the recipe does not redraw by fit. More rows may want a response than may get it, so
    the row need not have got the first one.
    """
    model, layout, recipe = curation.fit_model(), curation.layout, curation.recipe
    if model is None or not recipe.by_fit:
        return []
    scores = curation.response_scores
    trust = scores.trust[layout.response]
    stays = ~mark_least_trusted(trust, round(recipe.share * len(trust)))
    offers = np.flatnonzero(stays & drawable_rows(layout, scores, recipe))[:MAX_OFFERS]
    offers = offers[layout.response[offers] != layout.response[position]]
    messages = np.full(len(offers), position)
    fits = score_rows(curation, model, messages, offers)
    distinct: dict[int, tuple[float, int]] = {}
    for number in np.argsort(-fits, kind="stable").tolist():
        group = int(scores.duplicate_group[layout.response[offers[number]]])
        distinct.setdefault(group, (float(fits[number]), int(offers[number])))
    return [
        {
            "id": int(layout.ids[offer]),
            "fit": round(fit, 4),
            "trust": round(float(trust[offer]), 4),
            "response": layout.responses[layout.response[offer]],
        }
        for fit, offer in list(distinct.values())[:MAX_FITTING]
    ]


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
    lines = [
        f"exchange {row['id']}  ({make_printable(row['file'])} line {row['line']})",
        f"  context:  {shorten(row['context'], 300)}",
        f"  response: {shorten(row['response'], 300)}",
        "",
    ]
    if "clusters" in row:
        lines += [*_format_clusters(row), ""]
    lines += [*_format_trust(row), ""]
    for draw in row["draws"]:
        lines += [_format_draw(row, draw), f"  {shorten(draw['response'], 300)}"]
    return "\n".join(lines)


def _format_clusters(row: dict[str, Any]) -> list[str]:
    has_cosines = row["neighbors"][0]["cosine"] is not None
    lines = [
        f"neighborhood of {row['neighborhood']:,} responses; "
        f"{'the nearest' if has_cosines else 'some of its'} contexts:"
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
    return lines


def _format_trust(row: dict[str, Any]) -> list[str]:
    typicality = f"more typically than {row['typicality']:.0%} of the corpus's responses"
    lines = [f"its own response is worded {typicality}"]
    if "clusters" in row:
        if row["weighted"]:
            lines.append("the draw favors responses that fit the context and are worded typically")
        return lines
    lines.append(
        f"it is trusted more than {row['trust']:.1%} of the corpus's responses; "
        f"the most trusted {row['kept_share']:.0%} of rows are kept"
        + ("" if row["kept_trust"] is None else f", from a trust of {row['kept_trust']:.1%} on")
    )
    if row["fitting"]:
        lines += ["", f"trusted responses by fit; one is drawn from {row['min_fit']:g} on:"]
        lines += [f"  {near['fit']:5.2f}  {shorten(near['response'])}" for near in row["fitting"]]
    return lines


def _format_draw(row: dict[str, Any], draw: dict[str, Any]) -> str:
    if draw["action"] != "replaced":
        return f"{draw['action']}:"
    if draw["source_id"] == row["id"]:
        return "replaced by its own response without the irrelevant parts:"
    source = f"replaced by the response of exchange {draw['source_id']}"
    if draw["rank"] is None:
        return f"{source} (fit {draw['fit']:.2f}, trust {draw['drawn_trust']:.0%}):"
    return (
        f"{source} (rank {draw['rank']}, probability {draw['probability']:.4f}, typicality "
        f"{draw['drawn_typicality']:.0%}):"
    )
