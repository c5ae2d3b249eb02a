"""The formats that exchanges come in, one file each, and how one is recognised."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

from ...errors import CorpusError
from .alpaca import AlpacaFormat
from .base import CorpusTurn, Format, Message, RowError, format_column_names
from .context_response import ContextResponseFormat
from .hh import HHFormat
from .messages import MessagesFormat
from .prompt_completion import PromptCompletionFormat
from .sharegpt import ShareGPTFormat
from .task_oriented import TASK_ORIENTED_FORMATS, TaskOrientedFormat

__all__ = [
    "FORMATS",
    "TASK_ORIENTED_FORMATS",
    "CorpusTurn",
    "Format",
    "Message",
    "RowError",
    "TaskOrientedFormat",
    "choose_format",
    "deserialize_format",
    "detect_format",
    "serialize_format",
]

JsonRecord = Mapping[str, Any]

FORMATS: dict[str, Format] = {
    "messages": MessagesFormat(),
    "sharegpt": ShareGPTFormat(),
    "prompt_completion": PromptCompletionFormat(),
    "alpaca": AlpacaFormat(),
    "prompt_response": ContextResponseFormat("prompt_response", "prompt", "response"),
    "context_response": ContextResponseFormat(),
    "question_answer": ContextResponseFormat("question_answer", "question", "answer"),
    "hh": HHFormat(),
    **TASK_ORIENTED_FORMATS,
}
"""Every format by name; they are tried in this order, but `TASK_ORIENTED_FORMATS` first: they fit less."""

ALIASES: tuple[Format, ...] = (
    MessagesFormat("conversations"),
    MessagesFormat("conversation"),
    ShareGPTFormat("conversation"),
    HHFormat("text"),
)
"""Formats under other column names, tried after the rest."""

ONE_COLUMN_FORMATS: dict[str, Callable[[str], Format]] = {
    "messages": MessagesFormat,
    "sharegpt": ShareGPTFormat,
    "hh": HHFormat,
}


def serialize_format(form: Format) -> str:
    """Return a format with its columns as JSON, for `deserialize_format`; of dialogues, the layout alone."""
    given = {"name": form.name} if isinstance(form, TaskOrientedFormat) else asdict(cast(Any, form))
    return json.dumps(given)


def deserialize_format(text: str) -> Format:
    """Return the format that `serialize_format` wrote."""
    fields = json.loads(text)
    return type(FORMATS.get(fields["name"], FORMATS["context_response"]))(**fields)


def choose_format(
    records: Sequence[JsonRecord],
    *,
    name: str | None = None,
    context: str | None = None,
    response: str | None = None,
) -> Format:
    """Return the format named by its name or columns, or the one that fits most records.

    Raises `CorpusError` if the name or a column is unknown, or nothing fits.
    """
    if name is not None and name not in FORMATS:
        raise CorpusError(f"no format '{name}'; there: {', '.join(FORMATS)}")
    if context is not None and response is None:
        raise CorpusError("--context needs --response: the column that answers it")
    if response is None:
        return detect_format(records) if name is None else _choose_by_name(records, name)
    _check_columns(records, [column for column in (context, response) if column is not None])
    if context is None:
        return _choose_one_column_format(records, name, response)
    return _build_two_column_format(name, context, response)


def detect_format(records: Sequence[JsonRecord]) -> Format:
    """Return the format that fits most of the records, the earlier one of equals."""
    forms: list[Format] = [*TASK_ORIENTED_FORMATS.values(), *FORMATS.values(), *ALIASES]
    return _find_best_fit(records, forms) or _raise_unknown_format(records, "")


def _choose_by_name(records: Sequence[JsonRecord], name: str) -> Format:
    """Return the format of that name, under the column name that most records have."""
    forms = [form for form in (*FORMATS.values(), *ALIASES) if form.name == name]
    return _find_best_fit(records, forms) or FORMATS[name]


def _build_two_column_format(name: str | None, context: str, response: str) -> Format:
    if name in ONE_COLUMN_FORMATS:
        raise CorpusError(f"format '{name}' is one column; give --response only")
    if name is not None and not isinstance(FORMATS[name], ContextResponseFormat):
        raise CorpusError(
            f"format '{name}' has columns of its own; drop --format, or --context and --response"
        )
    return ContextResponseFormat(name or "context_response", context, response)


def _choose_one_column_format(
    records: Sequence[JsonRecord], name: str | None, response: str
) -> Format:
    if name is None:
        why = f"column '{response}' holds no conversation; give --context as well. "
        forms = [form(response) for form in ONE_COLUMN_FORMATS.values()]
        return _find_best_fit(records, forms) or _raise_unknown_format(records, why)
    if name not in ONE_COLUMN_FORMATS:
        raise CorpusError(f"format '{name}' needs --context beside --response")
    return ONE_COLUMN_FORMATS[name](response)


def _find_best_fit(records: Sequence[JsonRecord], forms: Sequence[Format]) -> Format | None:
    counts = [sum(form.fits(record) for record in records) for form in forms]
    best = max(counts, default=0)
    return forms[counts.index(best)] if best else None


def _format_record_columns(records: Sequence[JsonRecord]) -> str:
    return format_column_names(dict.fromkeys(column for record in records for column in record))


def _check_columns(records: Sequence[JsonRecord], columns: list[str]) -> None:
    for column in columns:
        if records and not any(column in record for record in records):
            raise CorpusError(f"no column '{column}'; there: {_format_record_columns(records)}")


def _raise_unknown_format(records: Sequence[JsonRecord], why: str) -> Format:
    raise CorpusError(
        f"{why}cannot tell the format: the columns are {_format_record_columns(records)}. "
        f"Name them with --context and --response, or force one of: {', '.join(FORMATS)}"
    )
