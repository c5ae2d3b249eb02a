"""One row's story: its neighbours, how they were answered, the odds, and what was drawn."""

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
TEXTS_PER_CLUSTER = 2
MAX_CLUSTERS = 10
"""What is told of a row: nearest contexts, responses of a cluster, and largest clusters."""


def explain(curation: Curation, row: int) -> dict[str, Any]:
    """Return the story of one exchange as plain values; raise `CorpusError` if there is none."""
    if not 0 <= row < len(curation.corpus):
        raise CorpusError(f"no exchange {row}; ids run from 0 to {len(curation.corpus) - 1}")
    layout, recipe = curation.layout, curation.recipe
    place = int(np.flatnonzero(layout.ids == row)[0])
    nest = int(layout.row_neighborhoods(recipe)[place])
    exchange = curation.corpus[row]
    lines = curation.lineage.filter(pc.equal(curation.lineage.column("id"), row)).to_pylist()
    found = curation.neighborhoods[nest]
    sources = [line["source_id"] for line in lines]
    at = [int(np.flatnonzero(layout.ids == source)[0]) for source in sources]
    typical = curation.response_scores.typicality[layout.response[at]].tolist()
    return {
        "id": row,
        "file": exchange.file,
        "line": exchange.line,
        "context": exchange.context,
        "response": exchange.response,
        "neighbors": _find_nearest_contexts(curation, place, found),
        "neighborhood": lines[0]["neighborhood"],
        "clusters": _describe_clusters(curation, found),
        "all_clusters": lines[0]["clusters"],
        "own_rank": lines[0]["own_rank"],
        "sharpness": lines[0]["sharpness"],
        "sharpening": recipe.sharpening,
        "typicality": lines[0]["typicality"],
        "weighted": recipe.weighted,
        "draws": [
            {
                **line,
                "response": drawn_text,
                "drawn_typicality": drawn,
            }
            for line, drawn, drawn_text in zip(
                lines, typical, curation.final_responses(np.array(sources)), strict=True
            )
        ],
    }


def _find_nearest_contexts(curation: Curation, place: int, found: Clusters) -> list[dict[str, Any]]:
    """Return the nearest contexts with their cosine, or the first of the group."""
    layout = curation.layout
    contexts = np.unique(layout.context[found.members.values])
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


def _describe_clusters(curation: Curation, found: Clusters) -> list[dict[str, Any]]:
    """Return the clusters that could be drawn from, with their odds and two texts each."""
    layout = curation.layout
    facts = cluster_odds(found, curation.recipe)
    members = found.members.values
    told, start = [], 0
    for rank, (size, rows) in enumerate(
        zip(facts.sizes[0].tolist(), facts.rows[0].tolist(), strict=True)
    ):
        if not size:
            break
        numbers = layout.response[members[start : start + rows]]
        distinct = [layout.responses[number] for number in dict.fromkeys(numbers.tolist())]
        told.append(
            {
                "rank": rank + 1,
                "size": size,
                "odds": round(float(facts.odds[0, rank]), 6),
                "texts": distinct[:TEXTS_PER_CLUSTER],
            }
        )
        start += rows
    return told


def format_explanation(story: dict[str, Any]) -> str:
    """Return the story as lines for a terminal."""
    lines = [
        f"exchange {story['id']}  ({make_printable(story['file'])} line {story['line']})",
        f"  context:  {shorten(story['context'], 300)}",
        f"  response: {shorten(story['response'], 300)}",
        "",
        f"neighborhood of {story['neighborhood']:,}; the nearest contexts:",
    ]
    for near in story["neighbors"]:
        cosine = "     " if near["cosine"] is None else f"{near['cosine']:5.2f}"
        lines.append(f"  {cosine}  {shorten(near['context'])}")
    lines += [
        "",
        f"its responses form {story['all_clusters']:,} clusters; these can be drawn "
        f"from ({story['sharpening']}, sharpness {story['sharpness']:.2f}):",
    ]
    ranks = {story["own_rank"], *(draw["rank"] for draw in story["draws"])}
    shown = [c for c in story["clusters"] if c["rank"] <= MAX_CLUSTERS or c["rank"] in ranks]
    for cluster in shown:
        own = "  <- its own response" if cluster["rank"] == story["own_rank"] else ""
        size = f"size {cluster['size']:<5,} odds {cluster['odds']:.4f}"
        lines.append(f"  rank {cluster['rank']:<2} {size}{own}")
        lines += [f"           {shorten(text)}" for text in cluster["texts"]]
    if len(shown) < len(story["clusters"]):
        lines.append(f"  and {len(story['clusters']) - len(shown):,} smaller ones")
    if story["own_rank"] > len(story["clusters"]):
        lines.append(f"  its own response is in the cluster of rank {story['own_rank']}")
    lines.append("")
    lines.append(f"worded more typically than {story['typicality']:.0%} of the corpus's responses")
    if story["weighted"]:
        lines.append("what fits the context and is worded typically weighs more in the draw")
    lines.append("")
    for draw in story["draws"]:
        if draw["action"] != "replaced":
            lines.append(f"{draw['action']}:")
        else:
            lines.append(
                f"replaced from exchange {draw['source_id']} (rank {draw['rank']}, probability "
                f"{draw['probability']:.4f}, typicality {draw['drawn_typicality']:.0%}):"
            )
        lines.append(f"  {shorten(draw['response'], 300)}")
    return "\n".join(lines)
