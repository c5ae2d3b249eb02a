"""Lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ..corpus.corpus import format_context
from ..corpus.formats import FORMATS, Format, RowError, choose_format
from ..corpus.records import dumps, parse_json
from ..corpus.rejected import encode_raw_bytes
from ..errors import CorpusError, IsaacError
from ..recipe import Recipe
from ..text import free_name
from .documents import BYTE_ORDER_MARK
from .pipeline import ExchangePipeline
from .retrieval import Healed


def override_input_format(
    recipe: Recipe, form: str | None, context: str | None, response: str | None
) -> Recipe:
    """Return how records are read: by the flags, else as the run's; refuse an unknown format."""
    if form is None and context is None and response is None:
        return recipe
    if form is not None and form not in FORMATS:
        raise CorpusError(f"no format '{form}'; there: {', '.join(FORMATS)}")
    return recipe.model_copy(update={"format": form, "context": context, "response": response})


def detect_record_format(record: dict[str, Any], recipe: Recipe) -> Format:
    """Return the format of a record, found anew where it has not the columns of the run."""
    try:
        return choose_format(
            [record], name=recipe.reading.format, context=recipe.reading.context, response=recipe.reading.response
        )
    except CorpusError:
        if recipe.reading.response is not None:
            with suppress(CorpusError):
                return choose_format([record], name=recipe.reading.format)
        raise


def heal_lines(mender: ExchangePipeline, recipe: Recipe) -> Iterator[str]:
    """Yield the lines of standard input healed, each before the next is read."""
    for number, line in enumerate(sys.stdin.buffer, start=1):
        raw = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
        if raw.strip():
            yield dumps(heal_line(mender, recipe, raw.rstrip(b"\r\n")))


def heal_line(mender: ExchangePipeline, recipe: Recipe, line: bytes) -> dict[str, Any]:
    try:
        record = parse_json(line.decode("utf-8"))
        if not isinstance(record, dict):
            raise RowError("not a JSON object")
        form = detect_record_format(record, recipe)
        turn = form.turns(record)[-1]
        healed = mender.heal_exchange(format_context(turn.prompt), turn.response)
    except (ValueError, RecursionError, IsaacError) as error:
        return {"isaac_action": "rejected", "isaac_reason": str(error), **encode_raw_bytes(line)}
    if healed.response != turn.response:
        record = form.replace(record, turn.index, healed.response)
    added = build_columns(healed, judged=mender.judge is not None)
    return {**record, **{free_name(name, record): value for name, value in added.items()}}


def build_columns(healed: Healed, *, judged: bool) -> dict[str, Any]:
    confidence = healed.confidence
    columns = {
        "isaac_action": healed.action,
        "isaac_reason": healed.reason,
        "isaac_source_id": healed.source_id,
        "isaac_confidence": None if confidence is None else round(confidence, 4),
        "isaac_typicality": round(healed.typicality or 0.0, 4),
        "isaac_probability": round(healed.probability, 4),
    }
    return {**columns, "isaac_verdict": healed.verdict} if judged else columns
