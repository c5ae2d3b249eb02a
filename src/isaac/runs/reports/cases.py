"""The changed rows that a report shows: the worst cases first, then random ones, then a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ...curation.curate import Curation
from ...curation.fit import center
from ...curation.search.exact import split_range
from ...curation.vectors import as_floats
from ...curation.views import mean_vector
from ...runtime.arrays import Ints, Reals
from ...text import keep_end, shorten, truncate
from ..changes import Change, describe_changes
from .written import sort_by_key

MAX_CASES = 5
"""Maximum number of rows of each kind of worst case that a report shows."""

MAX_RANDOM = 8
"""Maximum number of random changed rows that a report shows."""

MAX_TABLE_ROWS = 200
"""Maximum number of changed rows in the table of a report."""

MAX_TEXT_LENGTH = 600
"""Maximum number of characters of a text that a report shows."""

MAX_CELL_LENGTH = 240
"""Maximum number of characters of a text in the table of a report."""

BLOCK_ROWS = 4096
"""Rows whose cosines are computed at a time; does not affect results."""


class Suspicion(NamedTuple):
    """How well a response fits its message, for changed rows; low values are suspicious.

    ``name`` is the measure: "fit", which the draw used; "relevance", the cosine of the message and
    the response, both centered; "closeness", the cosine of the old response and the new one; or ""
    if nothing can be measured. ``values`` (n,) are indexed by id; NaN for rows that are unchanged.
    """

    name: str
    values: Reals


def collect_cases(curation: Curation, first: pa.Table) -> dict[str, Any]:
    """Choose changed rows, as plain values; ``first`` is the lineage of first targets.

    ``least_fitting`` are the replaced rows whose new response fits least; ``repeated`` the
    responses that were drawn most often; ``fine_dropped`` the dropped rows whose response fits its
    message best; ``random`` a fixed sample of all changed rows; and ``table`` all of them, or the
    worst if there are more than `MAX_TABLE_ROWS`.
    """
    actions = np.asarray(first.column("action").to_pylist(), object)
    replaced, dropped = (np.flatnonzero(actions == name) for name in ("replaced", "dropped"))
    changed = np.flatnonzero((actions == "replaced") | (actions == "dropped"))
    new, old = _measure_new(curation, first, replaced), _measure_dropped(curation, first, dropped)
    worst = _sort(replaced, new.values, curation)
    finest = _sort(dropped, -old.values, curation)
    random = changed[sort_by_key(curation, changed)[:MAX_RANDOM]]
    return {
        "measure": new.name,
        "dropped_measure": old.name,
        "least_fitting": _describe(curation, first, worst[:MAX_CASES] if new.name else [], new),
        "repeated": find_repeated(curation, first),
        "fine_dropped": _describe(curation, first, finest[:MAX_CASES], old),
        "random": _describe(curation, first, np.sort(random), new),
        "changed": len(changed),
        "table": _build_table(curation, first, worst, finest, (new, old)),
    }


def _measure_new(curation: Curation, first: pa.Table, replaced: Ints) -> Suspicion:
    """How well the new responses of replaced rows fit their messages, or how close they stay."""
    fit = np.asarray(first.column("fit").to_numpy(), np.float64)
    sources = np.asarray(first.column("source_id").to_numpy(), np.int64)
    values = np.full(len(fit), np.nan)
    if curation.recipe.by_fit:
        return Suspicion("fit", fit)
    cosines = _measure_relevance(curation, replaced, sources[replaced])
    if cosines is not None:
        values[replaced] = cosines
        return Suspicion("relevance", values)
    if curation.responses is None:
        return Suspicion("", values)
    vectors, texts = curation.responses.vectors, curation.response_by_id
    for block in split_range(len(replaced), BLOCK_ROWS):
        ids = replaced[block]
        pairs = as_floats(vectors[texts[ids]]) * as_floats(vectors[texts[sources[ids]]])
        values[ids] = pairs.sum(axis=1, dtype=np.float64)
    return Suspicion("closeness", values)


def _measure_dropped(curation: Curation, first: pa.Table, dropped: Ints) -> Suspicion:
    """How well the responses of dropped rows fit their messages; their trust if that is unknown."""
    values = np.full(first.num_rows, np.nan)
    cosines = _measure_relevance(curation, dropped, dropped)
    if cosines is None:
        return Suspicion("trust", np.asarray(first.column("trust").to_numpy(), np.float64))
    values[dropped] = cosines
    return Suspicion("relevance", values)


def _measure_relevance(curation: Curation, ids: Ints, sources: Ints) -> Reals | None:
    """The centered cosines (m,) of the messages of exchanges and the responses of others.

    None if the texts have different encoders, or no vectors.
    """
    contexts, responses, layout = curation.contexts, curation.responses, curation.layout
    if contexts is None or responses is None or contexts.encoder != responses.encoder:
        return None
    context, view = np.empty_like(layout.context), np.empty_like(layout.view)
    context[layout.ids], view[layout.ids] = layout.context, layout.view
    means = [
        mean_vector(each.vectors, np.arange(len(each.vectors))) for each in (contexts, responses)
    ]
    cosines = np.empty(len(ids))
    for block in split_range(len(ids), BLOCK_ROWS):
        x = as_floats(center(contexts.vectors[context[ids[block]]], means[0]))
        y = as_floats(center(responses.vectors[view[sources[block]]], means[1]))
        cosines[block] = (x * y).sum(axis=1, dtype=np.float64)
    return cosines


def _sort(ids: Ints, values: Reals, curation: Curation) -> Ints:
    """Sort ids by their values, ascending, and equal ones by the keys of their rows."""
    ordered = ids[sort_by_key(curation, ids)]
    return np.asarray(ordered[np.argsort(values[ordered], kind="stable")])


def find_repeated(curation: Curation, first: pa.Table) -> list[dict[str, Any]]:
    """Find the responses that replaced most others, with the number of rows, at least two."""
    is_replaced = np.asarray(first.column("action").to_pylist(), object) == "replaced"
    sources = np.asarray(first.column("source_id").to_numpy(), np.int64)
    # A row that is its own source was trimmed, and drew nothing.
    drawn = sources[is_replaced & (sources != first.column("id").to_numpy())]
    texts, places, counts = np.unique(
        curation.response_by_id[drawn], return_index=True, return_counts=True
    )
    order = np.lexsort([texts, -counts])[:MAX_CASES]
    order = order[counts[order] > 1]
    shown = curation.final_responses(drawn[places[order]])
    return [
        {"rows": int(rows), "text": truncate(text, MAX_TEXT_LENGTH)}
        for rows, text in zip(counts[order], shown, strict=True)
    ]


def _build_table(
    curation: Curation,
    first: pa.Table,
    worst: Ints,
    finest: Ints,
    measures: tuple[Suspicion, Suspicion],
) -> list[dict[str, Any]]:
    """The changed rows, the replaced ones that fit least and the dropped ones that fit best first.

    Each kind gets half of `MAX_TABLE_ROWS`, and what the other one leaves.
    """
    half = MAX_TABLE_ROWS // 2
    replaced = worst[: max(half, MAX_TABLE_ROWS - len(finest))]
    dropped = finest[: MAX_TABLE_ROWS - len(replaced)]
    rows = [
        *_describe(curation, first, replaced, measures[0]),
        *_describe(curation, first, dropped, measures[1]),
    ]
    for row in rows:
        row["message"] = keep_end(row["message"], MAX_CELL_LENGTH)
        for name in ("before", "after"):
            row[name] = row[name] and shorten(row[name], MAX_CELL_LENGTH)
    return rows


def _describe(
    curation: Curation, first: pa.Table, ids: Ints | Sequence[int], measure: Suspicion
) -> list[dict[str, Any]]:
    """Describe changed rows, in the order of their ids given."""
    lineage = first.take(pa.array(np.asarray(ids, np.int64)))
    return [
        _as_json(change, measure.values[change.id])
        for change in describe_changes(curation, lineage)
    ]


def _as_json(change: Change, value: float) -> dict[str, Any]:
    """A change as plain values, with its texts cut: the message to its end, which is answered."""
    return {
        **change._asdict(),
        "message": keep_end(change.message, MAX_TEXT_LENGTH),
        "before": truncate(change.before, MAX_TEXT_LENGTH),
        "after": change.after and truncate(change.after, MAX_TEXT_LENGTH),
        "trust": round(change.trust, 4),
        "fit": None if change.fit is None else round(change.fit, 4),
        "suspicion": None if np.isnan(value) else round(float(value), 4),
    }
