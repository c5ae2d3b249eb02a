"""Values in a record of any shape, checked: the error says where in the record what was found."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from ...text import shorten

MAX_CHARACTERS = 1_000_000
"""A text longer than this is no turn of a dialogue; its record is rejected."""

MAX_TURNS = 1000
"""A dialogue of more turns is rejected: what is read of it grows with their square."""


KEY_TYPES = frozenset({str})


class ReadingError(ValueError):
    """A record cannot be read as a dialogue; the message is the reason that its user will read."""


def as_mapping(value: Any, name: str) -> Mapping[str, Any]:
    """Return the value if it is an object with texts as keys; raise `ReadingError` otherwise."""
    if type(value) is not dict and not isinstance(value, Mapping):
        raise ReadingError(f"{name} is {_describe_value(value)}, not an object")
    if not KEY_TYPES.issuperset(map(type, value)):
        raise ReadingError(f"{name} has a key that is not text")
    return value


def as_list(value: Any, name: str) -> list[Any]:
    """Return the value if it is a list; raise `ReadingError` otherwise."""
    if not isinstance(value, list):
        raise ReadingError(f"{name} is {_describe_value(value)}, not a list")
    return value


def as_text(value: Any, name: str) -> str:
    """Return the value if it is text, empty or not; raise `ReadingError` otherwise."""
    if type(value) is str and len(value) <= MAX_CHARACTERS and value.isascii():
        return value  # nearly all are
    if not isinstance(value, str):
        raise ReadingError(f"{name} is {_describe_value(value)}, not text")
    if len(value) > MAX_CHARACTERS:
        wanted = f"at most {MAX_CHARACTERS:,} are read"
        raise ReadingError(f"{name} has {len(value):,} characters; {wanted}")
    try:
        value.encode()
    except UnicodeEncodeError:
        wrong = "is not valid Unicode: it holds half of a surrogate pair"
        raise ReadingError(f"{name} {wrong}") from None
    return value


def as_turns(value: Any, name: str) -> list[Any]:
    """Return the value if it is a list of as many turns as can be read."""
    turns = as_list(value, name)
    if not turns:
        raise ReadingError(f"{name} is an empty list; a dialogue has at least one turn")
    if len(turns) > MAX_TURNS:
        raise ReadingError(f"{name} has {len(turns):,} turns; at most {MAX_TURNS:,} are read")
    return turns


def as_texts(value: Any, name: str) -> list[str]:
    """Return the texts in a text, a number or a list of them; null is no text."""
    if type(value) is str:
        return [as_text(value, name)]
    values = value if isinstance(value, list) else [value]
    texts = []
    for each in values:
        if isinstance(each, bool) or not isinstance(each, str | int | float | None):
            raise ReadingError(f"{name} is {_describe_value(value)}, not text nor a list of texts")
        if each is not None:
            texts.append(as_text(str(each), name))
    return texts


def as_joined_text(value: Any, name: str) -> str:
    """Return the texts in a text, a number or a list of them, with spaces between them."""
    return as_text(value, name) if type(value) is str else " ".join(as_texts(value, name))


def read_dialogue_id(record: Mapping[str, Any], *columns: str) -> str:
    """Return the dialogue's id from the first of the columns that is there."""
    for column in columns:
        if record.get(column) is not None:
            return "".join(as_texts(record[column], f"'{column}'"))
    wanted = " or ".join(f"'{column}'" for column in columns)
    raise ReadingError(f"no {wanted} with the dialogue's id; there: {format_column_names(record)}")


def format_column_names(record: Mapping[str, Any]) -> str:
    """Return the first names of columns, fit to be shown."""
    return ", ".join(shorten(str(name), 40) for name in list(record)[:20]) or "no column at all"


def _describe_value(value: Any) -> str:
    """Return a value of the wrong kind, fit to be shown."""
    return "missing" if value is None else shorten(reprlib.repr(value), 40)
