"""The formats of a corpus, one module each, and functions to choose or detect one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, NoReturn, cast

from ...errors import CorpusError
from .base import CorpusTurn, Format, Message, RowError, format_column_names, is_blank
from .contents import ROLE_KEYS, TEXT_KEYS
from .context_response import PROMPT_COLUMNS, ContextResponseFormat, find_text_columns
from .hh import HHFormat
from .mapped import MappedFormat
from .messages import MessagesFormat, find_answer_column, sharegpt_format
from .paths import PAIR_COLUMNS, ChatExportFormat, PairsFormat, TreeFormat
from .preferences import (
    NUMBERED,
    PreferenceFormat,
    RankedFormat,
    TwoAnswersFormat,
    find_preferences,
    find_ranked,
)
from .prompt_columns import HISTORY_COLUMNS, PAIR_KEYS, find_columns
from .prompt_completion import PromptCompletionFormat
from .proposals import propose_columns
from .roles import fold_name
from .task_oriented import TASK_ORIENTED_FORMATS, TaskOrientedFormat
from .transcripts import MARKUPS, TranscriptFormat
from .turn_lists import load_turns

__all__ = [
    "FORMATS",
    "TASK_ORIENTED_FORMATS",
    "CorpusTurn",
    "Format",
    "MappedFormat",
    "Message",
    "RowError",
    "TaskOrientedFormat",
    "choose_format",
    "deserialize_format",
    "detect_format",
    "find_format",
    "serialize_format",
    "with_roles",
]

JsonRecord = Mapping[str, Any]
"""A record of the input: values by column name."""

FORMATS: dict[str, Format] = {
    "preference": PreferenceFormat(),
    "two_answers": TwoAnswersFormat(*NUMBERED[0]),
    "messages": MessagesFormat(),
    "sharegpt": sharegpt_format(),
    "prompt_completion": PromptCompletionFormat(),
    "alpaca": ContextResponseFormat("alpaca", "instruction", "output"),
    "prompt_response": ContextResponseFormat("prompt_response", "prompt", "response"),
    "context_response": ContextResponseFormat(),
    "question_answer": ContextResponseFormat("question_answer", "question", "answer"),
    "ranked": RankedFormat(),
    "pairs": PairsFormat(),
    "tree": TreeFormat(),
    "chat_export": ChatExportFormat(),
    "hh": HHFormat(),
    "transcript": TranscriptFormat(),
    **TASK_ORIENTED_FORMATS,
}
"""Every format by name.

If two formats fit equally many records, `detect_format` prefers the earlier one, except that
`TASK_ORIENTED_FORMATS` come first, because they are more specific.
"""

TRANSCRIPT_COLUMNS = ("text", "conversation", "conversations", "chat", "formatted", "content")
"""Columns with a conversation as one text."""

ALIASES: tuple[Format, ...] = (
    MessagesFormat("conversations"),
    MessagesFormat("conversation"),
    sharegpt_format("conversation"),
    sharegpt_format("messages"),
    HHFormat("text"),
    *(TranscriptFormat(column, markup) for column in TRANSCRIPT_COLUMNS for markup in MARKUPS),
    *(PairsFormat(column, *keys) for column in PAIR_COLUMNS for keys in PAIR_KEYS),
)
"""Formats with alternative column names, tried last."""

TURN_COLUMNS = (
    "messages",
    "conversations",
    "conversation",
    "dialogue",
    "dialog",
    "turns",
    "chat",
    "contents",
)
"""Columns with the turns of a conversation, under whatever keys."""

ONE_COLUMN_FORMATS: dict[str, Callable[[str], Format]] = {
    "messages": MessagesFormat,
    "sharegpt": sharegpt_format,
    "hh": HHFormat,
}
"""Formats with a whole conversation in one column, by name; the class takes the column."""


def serialize_format(fmt: Format) -> str:
    """Write a format as JSON for `deserialize_format`.

    The JSON has the name, the columns and the roles, if any; for a `TaskOrientedFormat`, only the
    name.
    """
    fields = {"name": fmt.name} if isinstance(fmt, TaskOrientedFormat) else asdict(cast(Any, fmt))
    if not fields.get("roles", True):
        del fields["roles"]
    return json.dumps(fields)


def deserialize_format(text: str) -> Format:
    """Build the format that `serialize_format` wrote."""
    fields = json.loads(text)
    if "roles" in fields:
        fields["roles"] = tuple(map(tuple, fields["roles"]))
    if fields["name"] == "sharegpt":
        fields = {"role": "from", "text": "value", **fields}
    if fields["name"] == "alpaca":
        fields = {"context": "instruction", "response": "output", **fields}
    if fields["name"] == MappedFormat.name:
        return MappedFormat(**fields)
    return type(FORMATS.get(fields["name"], FORMATS["context_response"]))(**fields)


def with_roles(fmt: Format, roles: Mapping[str, str]) -> Format:
    """Copy a format that knows further names of roles, if it has roles."""
    if not roles or not hasattr(fmt, "roles"):
        return fmt
    folded = {fold_name(name): role for name, role in roles.items()}
    return cast(Format, replace(cast(Any, fmt), roles=tuple(sorted(folded.items()))))


def choose_format(
    records: Sequence[JsonRecord],
    *,
    name: str | None = None,
    context: str | None = None,
    response: str | None = None,
) -> Format:
    """Choose the format by its name or its columns, or detect it if neither is given.

    Raises `CorpusError` if the name or a column is unknown, the two do not go together, or no
    format fits.
    """
    if name is not None and name not in FORMATS:
        raise CorpusError(f"no format '{name}'; available: {', '.join(FORMATS)}")
    if context is not None and response is None:
        raise CorpusError("--context needs --response, the column with the response")
    if response is None:
        return detect_format(records) if name is None else _choose_by_name(records, name)
    _check_columns(records, [column for column in (context, response) if column is not None])
    if context is None:
        return _choose_one_column_format(records, name, response)
    return _build_two_column_format(name, context, response)


def detect_format(records: Sequence[JsonRecord]) -> Format:
    """Detect the format that fits the most records; the earlier one wins a tie.

    Raises `CorpusError` if none fits any record.
    """
    return find_format(records) or _raise_unknown_format(records, "")


def find_format(records: Sequence[JsonRecord]) -> Format | None:
    """The format that fits the most records; None if none fits any."""
    return _find_best_fit(records, [*TASK_ORIENTED_FORMATS.values(), *_list_formats(records)])


def _list_formats(records: Sequence[JsonRecord]) -> Iterator[Format]:
    """Yield every format, and those with other names of columns that these records have."""
    yield from find_preferences(records)
    yield from dict.fromkeys(fmt for record in records for fmt in _find_answered_columns(record))
    yield from FORMATS.values()
    yield from ALIASES
    yield from find_text_columns(records)
    yield from _find_turn_columns(records)
    yield from find_ranked(records)


def _find_answered_columns(record: JsonRecord) -> Iterator[Format]:
    """Yield a format for each column with turns that another column answers."""
    texts = find_columns(tuple(record), PROMPT_COLUMNS)
    texts = tuple(column for column in texts if not is_blank(record[column]))
    for column in find_columns(tuple(record), (*TURN_COLUMNS, *PROMPT_COLUMNS, *HISTORY_COLUMNS)):
        is_earlier = fold_name(column) in ("context", *HISTORY_COLUMNS)
        if is_earlier and any(other != column for other in texts):
            continue
        if (answer := find_answer_column(record, column)) is not None:
            yield PromptCompletionFormat("prompt_completion", column, answer)


def _find_turn_columns(records: Sequence[JsonRecord]) -> Iterator[Format]:
    """Yield a format for each column with turns whose keys have usual names."""
    for column in TURN_COLUMNS:
        values = (load_turns(record.get(column)) for record in records)
        turns = next((value for value in values if isinstance(value, list) and value), None)
        turn = turns[0] if turns else None
        if isinstance(turn, Mapping):
            role = next((key for key in ROLE_KEYS if key in turn), None)
            text = next((key for key in TEXT_KEYS if key in turn), None)
            if role and text:
                yield MessagesFormat(column, role=role, text=text)


def _choose_by_name(records: Sequence[JsonRecord], name: str) -> Format:
    """Choose the format with this name, under the column name that most records have."""
    candidates = [fmt for fmt in _list_formats(records) if fmt.name == name]
    return _find_best_fit(records, candidates) or FORMATS[name]


def _build_two_column_format(name: str | None, context: str, response: str) -> Format:
    if name in ONE_COLUMN_FORMATS:
        raise CorpusError(f"format '{name}' has only one column; drop --context")
    if name == "alpaca" or (
        name is not None and not isinstance(FORMATS[name], ContextResponseFormat)
    ):
        raise CorpusError(
            f"format '{name}' has fixed columns; drop --format, or drop --context and --response"
        )
    return ContextResponseFormat(name or "context_response", context, response, whole=False)


def _choose_one_column_format(
    records: Sequence[JsonRecord], name: str | None, response: str
) -> Format:
    if name is None:
        problem = f"column '{response}' contains no conversation; "
        candidates = [build(response) for build in ONE_COLUMN_FORMATS.values()]
        return _find_best_fit(records, candidates) or _raise_unknown_format(records, problem)
    if name not in ONE_COLUMN_FORMATS:
        raise CorpusError(f"format '{name}' needs --context as well as --response")
    return ONE_COLUMN_FORMATS[name](response)


def _find_best_fit(records: Sequence[JsonRecord], candidates: Sequence[Format]) -> Format | None:
    """Find the first format that fits the most records, None if none fits any."""
    counts = [sum(fmt.fits(record) for record in records) for fmt in candidates]
    best = max(counts, default=0)
    return candidates[counts.index(best)] if best else None


def _format_record_columns(records: Sequence[JsonRecord]) -> str:
    return format_column_names(dict.fromkeys(column for record in records for column in record))


def _check_columns(records: Sequence[JsonRecord], columns: list[str]) -> None:
    for column in columns:
        if records and not any(column in record for record in records):
            raise CorpusError(
                f"no column '{column}'; available columns: {_format_record_columns(records)}"
            )


def _raise_unknown_format(records: Sequence[JsonRecord], problem: str) -> NoReturn:
    raise CorpusError(
        f"{problem}cannot detect the format from the columns: {_format_record_columns(records)}. "
        f"{propose_columns(records)}"
    )
