"""Where a corpus has no neighbors: rows whose message is like no other, so nothing can agree."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from ...curation.curate import Curation
from ...curation.fit import center
from ...curation.lineage import ACTIONS
from ...curation.search.exact import split_range
from ...curation.vectors import GridVectors, as_floats
from ...curation.views import mean_vector
from ...runtime.arrays import Ints, Reals
from ...text import keep_end
from .written import sort_by_key

MAX_SAMPLE = 400
"""Maximum number of rows whose nearest message is searched for."""

BLOCK_CONTEXTS = 4096
"""Messages to compare the sample with at a time; does not affect results."""

SIMILARITY_EDGES = (0.0, 0.3, 0.5, 0.7, 0.9)
"""Where the bands of similarity begin; the first one has no neighbors."""

SIZE_EDGES = (1, 2, 5, 20, 100)
"""Where the bands of a group's size begin; rows in the first one are alone."""

MAX_ALONE = 5
"""Maximum number of messages without neighbors that a report shows."""


def summarize_isolation(curation: Curation, first: pa.Table) -> dict[str, Any] | None:
    """Count rows by how near their nearest message is, as plain values.

    ``by`` is "similarity", the highest cosine with another message, both centered, of a fixed
    sample of rows; or "group", the number of rows with the same key, of all rows. ``bands`` have
    ``low``, ``high`` (None for the last) and the rows of each action. ``alone`` are the messages
    of the rows with the fewest neighbors. None if there are neither vectors nor groups.
    """
    layout = curation.layout
    if curation.recipe.reading.group_by is not None:
        ids = layout.ids
        values = np.bincount(layout.group)[layout.group].astype(np.float64)
        return _build(curation, first, ids, values, ("group", SIZE_EDGES))
    if curation.contexts is None or len(curation.contexts.vectors) < 2:
        return None
    rows = sort_by_key(curation, np.arange(len(layout.ids)))[:MAX_SAMPLE]
    place = np.empty(len(layout.ids), np.int64)
    place[layout.ids] = layout.context
    values = _find_nearest(curation.contexts.vectors, place[rows])
    # A message that several exchanges have is its own neighbor.
    values[np.bincount(layout.context)[place[rows]] > 1] = 1.0
    return _build(curation, first, rows, values, ("similarity", SIMILARITY_EDGES))


def _find_nearest(vectors: GridVectors, queries: Ints) -> Reals:
    """The highest cosine (q,) of each query, a row of the vectors, with any other row."""
    mean = mean_vector(vectors, np.arange(len(vectors)))
    asked = as_floats(center(vectors[queries], mean))
    nearest = np.full(len(queries), -1.0)
    for block in split_range(len(vectors), BLOCK_CONTEXTS):
        cosines = asked @ as_floats(center(vectors[block], mean)).T
        own = (queries >= block.start) & (queries < block.stop)
        cosines[own, queries[own] - block.start] = -1.0
        nearest = np.maximum(nearest, cosines.max(axis=1))
    return nearest


def _build(
    curation: Curation,
    first: pa.Table,
    ids: Ints,
    values: Reals,
    bands: tuple[str, tuple[float, ...]],
) -> dict[str, Any]:
    """Count the rows of each action in each band, and list the most isolated messages."""
    by, edges = bands
    actions = np.asarray(first.column("action").to_pylist(), object)[ids]
    band = np.searchsorted(np.array(edges[1:]), values, side="right")
    ordered = sort_by_key(curation, ids)
    lonely = ordered[np.argsort(values[ordered], kind="stable")]
    lonely = lonely[band[lonely] == 0][:MAX_ALONE]
    contexts = curation.corpus.take(ids[lonely], ["context"]).column("context").to_pylist()
    return {
        "by": by,
        "rows": len(ids),
        "bands": [
            {
                "low": low,
                "high": high,
                **{name: int(((band == at) & (actions == name)).sum()) for name in ACTIONS},
            }
            for at, (low, high) in enumerate(pairwise((*edges, None)))
        ],
        "alone": [
            {
                "id": int(row),
                "value": round(float(value), 4),
                "action": str(action),
                "message": keep_end(text, 160),
            }
            for row, value, action, text in zip(
                ids[lonely], values[lonely], actions[lonely], contexts, strict=True
            )
        ],
    }
