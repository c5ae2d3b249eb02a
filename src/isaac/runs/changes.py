"""What a curation changed, row by row: the response before and after, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..corpus.corpus import CHUNK_EXCHANGES
from ..corpus.source_records import fill_from_json
from ..curation.curate import Curation
from ..curation.vectors import GRID_STEPS
from ..recipe import ResolvedRecipe
from ..runtime.arrays import Ints

CHANGED_ACTIONS = ("replaced", "dropped")
"""The actions that change what a corpus says."""


class Change(NamedTuple):
    """An exchange whose response was replaced or dropped.

    ``after`` is None if it was dropped. ``source`` is the id of the exchange that the new response
    is from. ``trust`` is the share of the corpus's responses that are trusted no more than the
    old one. ``fit`` says how well the new one fits, if it was drawn for its fit. ``distance`` is 1
    minus the cosine of both, None if there are no vectors.
    """

    id: int
    action: str
    message: str
    before: str
    after: str | None
    why: str
    source: int | None
    trust: float
    fit: float | None
    distance: float | None
    file: str
    line: int


def iter_changes(curation: Curation) -> Iterator[Change]:
    """Yield the changes of a curation in order of id, once for each target of an exchange."""
    lineage = curation.lineage
    is_changed = pc.is_in(lineage.column("action").cast(pa.string()), pa.array(CHANGED_ACTIONS))
    for part in lineage.filter(is_changed).to_batches(max_chunksize=CHUNK_EXCHANGES):
        yield from describe_changes(curation, part)


def describe_changes(curation: Curation, lineage: pa.RecordBatch | pa.Table) -> Iterator[Change]:
    """Yield the changes of some rows of the lineage, all of them replaced or dropped, in order."""
    ids, sources = (lineage.column(name).to_numpy() for name in ("id", "source_id"))
    columns = curation.corpus.take(ids, ["context", "values", "file", "line"]).to_pylist()
    originals = curation.original_responses(ids)
    finals = curation.final_responses(sources)
    distances = _measure_distances(curation, ids, sources)
    for target, row, before, after, distance in zip(
        lineage.to_pylist(), columns, originals, finals, distances, strict=True
    ):
        is_dropped = target["action"] == "dropped"
        yield Change(
            target["id"],
            target["action"],
            row["context"],
            fill_from_json(before, row["values"]),
            None if is_dropped else fill_from_json(after, row["values"]),
            _explain_change(target, curation.recipe),
            None if is_dropped else target["source_id"],
            target["trust"],
            target["fit"],
            None if is_dropped else distance,
            row["file"],
            row["line"],
        )


def _measure_distances(curation: Curation, ids: Ints, sources: Ints) -> list[float | None]:
    """1 minus the cosine of the responses of two exchanges, for each pair of them."""
    if curation.responses is None:
        return [None] * len(ids)
    vectors = curation.responses.vectors
    pairs = (vectors[curation.response_by_id[each]].astype(np.float64) for each in (ids, sources))
    cosines = np.einsum("ij,ij->i", *pairs) / GRID_STEPS**2
    return [round(1 - value, 4) for value in cosines.tolist()]


def _explain_change(target: dict[str, Any], recipe: ResolvedRecipe) -> str:
    """Say in one line why a response was replaced or dropped."""
    if target["source_id"] == target["id"] and target["action"] == "replaced":
        return "parts that have nothing to do with the message were left out"
    if target["action"] == "replaced" and target["rank"] is not None:
        own = f"; its own response is in cluster {target['own_rank']}" * bool(target["own_rank"])
        return f"drawn from cluster {target['rank']} of {target['clusters']} by size{own}"
    trust = f"trusted more than only {target['trust']:.0%} of the corpus's responses"
    if target["action"] == "replaced":
        return f"{trust}; the new response fits the message ({target['fit']:.2f})"
    return trust + "; no trusted response fits the message" * recipe.by_fit
