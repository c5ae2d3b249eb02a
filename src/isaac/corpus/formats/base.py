"""What every format is made of: messages, turns, and the protocol of a format."""

from __future__ import annotations

import itertools
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ...text import shorten

MAX_CHARACTERS = 1_000_000
"""A text longer than this is no turn of a conversation; its row is rejected."""

MAX_TURNS = 1000
"""A conversation of more turns is rejected: what is read of it grows with their square."""

SURROGATE = re.compile("[\ud800-\udfff]")

JSON_TYPE_DESCRIPTIONS = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}


class Message(NamedTuple):
    """One turn of a conversation; roles are system, user, assistant or tool."""

    role: str
    content: str


@dataclass(frozen=True)
class CorpusTurn:
    """A response that can be curated, with all that was said before it.

    ``index`` says where in its record the response stands; only its format reads it. ``group`` is
    what the response does, of a format that knows it: only turns of one group can stand for
    one another. ``values`` has what stands for the placeholders in the response, by their names
    in the order in which they appear; None where a response is as it stands in its record.
    """

    index: int
    prompt: tuple[Message, ...]
    response: str
    group: str = ""
    values: Mapping[str, Sequence[str]] | None = None


class RowError(ValueError):
    """A row cannot be used; the message is the reason that its user will read."""


class Format(Protocol):
    """A way to write exchanges in a record (a mapping of column names to JSON values)."""

    @property
    def name(self) -> str:
        """The name for ``--format``."""
        ...

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Say whether the record has this format's columns, whatever is in them."""
        ...

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Return every response that can be curated; raise `RowError` if there is none."""
        ...

    def replace(self, record: Mapping[str, Any], index: int, response: str, /) -> dict[str, Any]:
        """Return the record with one response replaced and nothing else changed."""
        ...


def require_text(record: Mapping[str, Any], column: str) -> str:
    """Return the text in a column; raise `RowError` if there is none that can be used."""
    if column not in record:
        raise RowError(f"no column '{column}'; there: {format_column_names(record)}")
    return validate_text(record[column], f"'{column}'")


def format_column_names(columns: Iterable[Any]) -> str:
    """Return the first names of columns, fit to be shown."""
    first = itertools.islice(columns, 20)
    return ", ".join(shorten(str(column), 40) for column in first) or "no column at all"


def is_blank(value: Any) -> bool:
    """Say whether there is nothing in a value: null, nothing, or only spaces."""
    return not value or (isinstance(value, str) and not value.strip())


def validate_text(value: Any, name: str) -> str:
    """Return the value if it is text with something in it; raise `RowError` otherwise."""
    if value is None:
        raise RowError(f"{name} is missing")
    if not isinstance(value, str):
        kind = JSON_TYPE_DESCRIPTIONS.get(type(value), f"of type {type(value).__name__}")
        raise RowError(f"{name} is {kind} ({shorten(reprlib.repr(value), 40)}), not text")
    if not value.strip():
        raise RowError(f"{name} is empty")
    if len(value) > MAX_CHARACTERS:
        raise RowError(f"{name} has {len(value):,} characters; at most {MAX_CHARACTERS:,} are read")
    if not value.isascii() and SURROGATE.search(value):
        raise RowError(f"{name} is not valid Unicode: it holds half of a surrogate pair")
    return value


def join_roles(messages: list[Message]) -> str:
    """Return the order of roles, for a reason that names what came."""
    return ", ".join(message.role for message in messages[:6]) or "none"


def find_assistant_turns(turns: list[tuple[int, Message]], editable: set[int]) -> list[CorpusTurn]:
    """Return each editable assistant message that has a user's or tool's message before it.

    ``turns`` holds (index in the record, message) in order.
    """
    if len(turns) > MAX_TURNS:
        raise RowError(f"the conversation has {len(turns):,} turns; at most {MAX_TURNS:,} are read")
    found = []
    said: list[Message] = []
    for index, message in turns:
        answers = any(m.role in ("user", "tool") and not is_blank(m.content) for m in said)
        if message.role == "assistant" and index in editable and answers:
            found.append(CorpusTurn(index, tuple(said), message.content))
        said.append(message)
    if not found:
        raise RowError(
            "no assistant turn with text that answers a user or a tool; "
            f"roles: {join_roles([message for _, message in turns])}"
        )
    return found
