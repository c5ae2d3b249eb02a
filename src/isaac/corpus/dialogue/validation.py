"""Checks of JSON values in a record; errors say where in the record the value is."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from ...text import shorten

MAX_CHARACTERS = 1_000_000
"""Maximum length of a turn's text; a record with a longer one is rejected."""

MAX_TURNS = 1000
"""Maximum number of turns; a record with more is rejected, because time grows quadratically."""

KEY_TYPES = frozenset({str})
"""The only type that keys of a JSON object may have; a set makes the check fast."""


class ReadingError(ValueError):
    """A record cannot be read as a dialogue; the message is the reason shown to the user."""


def as_mapping(value: Any, name: str) -> Mapping[str, Any]:
    """Check that a value is an object with text keys; raises `ReadingError` otherwise."""
    if type(value) is not dict and not isinstance(value, Mapping):
        raise ReadingError(f"{name} is {_describe_value(value)}, not an object")
    if not KEY_TYPES.issuperset(map(type, value)):
        raise ReadingError(f"{name} has a key that is not text")
    return value


def as_list(value: Any, name: str) -> list[Any]:
    """Check that a value is a list; raises `ReadingError` otherwise."""
    if not isinstance(value, list):
        raise ReadingError(f"{name} is {_describe_value(value)}, not a list")
    return value


def as_text(value: Any, name: str) -> str:
    """Check that a value is valid text, possibly empty; raises `ReadingError` otherwise."""
    if type(value) is str and len(value) <= MAX_CHARACTERS and value.isascii():
        return value  # a fast path for nearly all values
    if not isinstance(value, str):
        raise ReadingError(f"{name} is {_describe_value(value)}, not text")
    if len(value) > MAX_CHARACTERS:
        raise ReadingError(f"{name} has {len(value):,} characters; the limit is {MAX_CHARACTERS:,}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ReadingError(
            f"{name} is not valid Unicode: it contains half of a surrogate pair"
        ) from None
    return value


def as_turns(value: Any, name: str) -> list[Any]:
    """Check that a value is a list of 1 to `MAX_TURNS` turns; raises `ReadingError` otherwise."""
    turns = as_list(value, name)
    if not turns:
        raise ReadingError(f"{name} is an empty list; a dialogue has at least one turn")
    if len(turns) > MAX_TURNS:
        raise ReadingError(f"{name} has {len(turns):,} turns; the limit is {MAX_TURNS:,}")
    return turns


def as_texts(value: Any, name: str) -> list[str]:
    """Convert a text, a number, true or false, or a list of these to texts; null gives none."""
    if type(value) is str:
        return [as_text(value, name)]
    values = value if isinstance(value, list) else [value]
    texts = []
    for each in values:
        if not isinstance(each, str | int | float | None):
            raise ReadingError(
                f"{name} is {_describe_value(value)}, neither text nor a list of texts"
            )
        if each is not None:
            texts.append(as_text(str(each), name))
    return texts


def as_joined_text(value: Any, name: str) -> str:
    """Convert a text, a number, or a list of these to one text, joined by spaces."""
    return as_text(value, name) if type(value) is str else " ".join(as_texts(value, name))


def read_dialogue_id(record: Mapping[str, Any], *columns: str) -> str:
    """Read the dialogue's id from the first of the columns that the record has."""
    for column in columns:
        if record.get(column) is not None:
            return "".join(as_texts(record[column], f"'{column}'"))
    expected = " or ".join(f"'{column}'" for column in columns)
    available = format_column_names(record)
    raise ReadingError(f"no {expected} with the dialogue's id; available columns: {available}")


def format_column_names(record: Mapping[str, Any]) -> str:
    """The first column names of a record, shortened for a message."""
    return ", ".join(shorten(str(name), 40) for name in list(record)[:20]) or "none"


def _describe_value(value: Any) -> str:
    """Describe a value of the wrong type in a message."""
    return "missing or null" if value is None else shorten(reprlib.repr(value), 40)
