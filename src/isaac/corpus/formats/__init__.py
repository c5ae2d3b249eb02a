"""The formats that exchanges come in, one file each, and how one is recognised."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

from ...errors import CorpusError
from .alpaca import Alpaca
from .base import Format, Message, RowError, Turn, names
from .context_response import ContextResponse
from .hh import HH
from .messages import Messages
from .prompt_completion import PromptCompletion
from .sharegpt import ShareGPT
from .task_oriented import DIALOGUES, Dialogues

__all__ = [
    "DIALOGUES",
    "FORMATS",
    "Dialogues",
    "Format",
    "Message",
    "RowError",
    "Turn",
    "choose",
    "detect",
    "restore",
    "spec",
]

Record = Mapping[str, Any]

FORMATS: dict[str, Format] = {
    "messages": Messages(),
    "sharegpt": ShareGPT(),
    "prompt_completion": PromptCompletion(),
    "alpaca": Alpaca(),
    "prompt_response": ContextResponse("prompt_response", "prompt", "response"),
    "context_response": ContextResponse(),
    "question_answer": ContextResponse("question_answer", "question", "answer"),
    "hh": HH(),
    **DIALOGUES,
}
"""Every format by name; they are tried in this order, but `DIALOGUES` first: they fit less."""

ALIASES: tuple[Format, ...] = (
    Messages("conversations"),
    Messages("conversation"),
    ShareGPT("conversation"),
    HH("text"),
)
"""Formats under other column names, tried after the rest."""

IN_ONE_COLUMN: dict[str, Callable[[str], Format]] = {
    "messages": Messages,
    "sharegpt": ShareGPT,
    "hh": HH,
}


def spec(form: Format) -> str:
    """Return a format with its columns as JSON, for `restore`; of dialogues, the layout alone."""
    given = {"name": form.name} if isinstance(form, Dialogues) else asdict(cast(Any, form))
    return json.dumps(given)


def restore(text: str) -> Format:
    """Return the format that `spec` wrote."""
    fields = json.loads(text)
    return type(FORMATS.get(fields["name"], FORMATS["context_response"]))(**fields)


def choose(
    records: Sequence[Record],
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
        return detect(records) if name is None else _named(records, name)
    _need_columns(records, [column for column in (context, response) if column is not None])
    if context is None:
        return _in_one_column(records, name, response)
    return _in_two_columns(name, context, response)


def detect(records: Sequence[Record]) -> Format:
    """Return the format that fits most of the records, the earlier one of equals."""
    forms: list[Format] = [*DIALOGUES.values(), *FORMATS.values(), *ALIASES]
    return _most(records, forms) or _give_up(records, "")


def _named(records: Sequence[Record], name: str) -> Format:
    """Return the format of that name, under the column name that most records have."""
    forms = [form for form in (*FORMATS.values(), *ALIASES) if form.name == name]
    return _most(records, forms) or FORMATS[name]


def _in_two_columns(name: str | None, context: str, response: str) -> Format:
    if name in IN_ONE_COLUMN:
        raise CorpusError(f"format '{name}' is one column; give --response only")
    if name is not None and not isinstance(FORMATS[name], ContextResponse):
        raise CorpusError(
            f"format '{name}' has columns of its own; drop --format, or --context and --response"
        )
    return ContextResponse(name or "context_response", context, response)


def _in_one_column(records: Sequence[Record], name: str | None, response: str) -> Format:
    if name is None:
        why = f"column '{response}' holds no conversation; give --context as well. "
        forms = [form(response) for form in IN_ONE_COLUMN.values()]
        return _most(records, forms) or _give_up(records, why)
    if name not in IN_ONE_COLUMN:
        raise CorpusError(f"format '{name}' needs --context beside --response")
    return IN_ONE_COLUMN[name](response)


def _most(records: Sequence[Record], forms: Sequence[Format]) -> Format | None:
    counts = [sum(form.fits(record) for record in records) for form in forms]
    best = max(counts, default=0)
    return forms[counts.index(best)] if best else None


def _columns(records: Sequence[Record]) -> str:
    return names(dict.fromkeys(column for record in records for column in record))


def _need_columns(records: Sequence[Record], columns: list[str]) -> None:
    for column in columns:
        if records and not any(column in record for record in records):
            raise CorpusError(f"no column '{column}'; there: {_columns(records)}")


def _give_up(records: Sequence[Record], why: str) -> Format:
    raise CorpusError(
        f"{why}cannot tell the format: the columns are {_columns(records)}. "
        f"Name them with --context and --response, or force one of: {', '.join(FORMATS)}"
    )
