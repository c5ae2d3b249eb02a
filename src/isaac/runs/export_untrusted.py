"""The rows that a curation dropped, for trainers that can use them with a weight or as rejected."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Literal

from ..corpus.source_records import fill_from_json
from ..curation.curate import Curation
from ..curation.lineage import first_targets
from ..errors import RecipeError
from .export_items import ExportItem, has_tool_calls

Json = dict[str, Any]
Untrusted = Literal["omit", "tag", "weight", "reject"]
"""What an export does with dropped rows.

It leaves them out, adds them with ``"trusted": false``, adds them with their trust as ``weight``,
or adds them as undesirable responses (KTO).
"""

TAGGED_TYPES = ("sft", "alpaca")
"""Export types whose rows can have a tag or a weight."""


def check_untrusted(kind: str, how: Untrusted) -> None:
    """Raise `RecipeError` if an export type cannot use dropped rows in this way."""
    if how in ("tag", "weight") and kind not in TAGGED_TYPES:
        raise RecipeError(
            f"'{kind}' has no place for a {how}; export as {' or '.join(TAGGED_TYPES)}, or use "
            "untrusted.jsonl of the run"
        )
    if how == "reject" and kind != "kto":
        raise RecipeError(
            f"'{kind}' has no undesirable responses; export as kto, or draw pairs: isaac redraw "
            "RUN --mode pairs"
        )


def mark_trusted(row: Json, how: Untrusted) -> Json:
    """Add to a row of the curated corpus what tells it from dropped rows."""
    added: dict[str, Json] = {"tag": {"trusted": True}, "weight": {"weight": 1.0}}
    return row | added.get(how, {})


def iter_dropped_rows(
    curation: Curation, how: Untrusted, convert: Callable[[ExportItem], Iterator[Json]]
) -> Iterator[Json]:
    """Yield the dropped rows, converted to an export type and marked.

    Conversations with tool calls are left out. Prompts have the original responses of earlier
    turns, because the dropped response was written for these.
    """
    if how == "omit":
        return
    first = first_targets(curation.lineage)
    columns = zip(
        first.column("action").to_pylist(),
        first.column("trust").to_pylist(),
        *(curation.corpus.column(name) for name in ("prompt", "response", "values")),
        strict=True,
    )
    for action, trust, prompt_json, response, values in columns:
        prompt = json.loads(prompt_json)
        if action != "dropped" or has_tool_calls(prompt):
            continue
        text = fill_from_json(response, values)
        for row in convert(ExportItem(prompt, text, text, "kept", 0, better=False)):
            added = {"tag": {"trusted": False}, "weight": {"weight": round(trust, 4)}}
            yield row | added.get(how, {"label": False})
