"""What all formats share: messages, turns, the `Format` protocol and text checks."""

from __future__ import annotations

import itertools
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

from ...text import shorten
from .tool_texts import is_tool_call

MAX_CHARACTERS = 1_000_000
"""Maximum length of a text in characters; a row with a longer one is rejected."""

MAX_TURNS = 1000
"""Maximum number of turns in a conversation; the size of its prompts grows quadratically."""

SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair, which is not valid Unicode on its own."""

JSON_TYPE_DESCRIPTIONS = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}
"""How error messages describe a JSON value that is not text."""


class Message(NamedTuple):
    """One turn of a conversation; the role is system, user, assistant or tool."""

    role: str
    content: str


@dataclass(frozen=True)
class CorpusTurn:
    """A response that can be curated, with the messages before it.

    ``index`` is the position of the response in its record, and only the format interprets it.
    ``group`` is set by task-oriented formats: a turn draws responses only from its own group.
    ``values`` maps each placeholder of the response to its values in order of appearance; None if
    the response is the original text. ``trained`` is false if the record says that trainers do not
    train on the response, as with ``weight: 0``. ``fixed`` says why the response is neither
    replaced nor drawn for another row: it is a "call" of a tool, or it reports a tool's "result".
    """

    index: int
    prompt: tuple[Message, ...]
    response: str
    group: str = ""
    values: Mapping[str, Sequence[str]] | None = None
    trained: bool = True
    fixed: Literal["", "call", "result"] = ""


class RowError(ValueError):
    """A row that cannot be used; the message is the reason shown to the user."""


class Format(Protocol):
    """How exchanges are written in a record, a mapping of column names to JSON values."""

    @property
    def name(self) -> str:
        """The name to give to ``--format``."""
        ...

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the record has this format's columns, valid or not."""
        ...

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Find every response, also those that are not trained on.

        Raises `RowError` if there is none.
        """
        ...

    def replace(self, record: Mapping[str, Any], index: int, response: str, /) -> dict[str, Any]:
        """Copy the record with one response replaced and nothing else changed."""
        ...

    def cut(self, record: Mapping[str, Any], index: int, /) -> dict[str, Any]:
        """Copy the record with a conversation that ends after the response at ``index``."""
        ...


def require_text(record: Mapping[str, Any], column: str) -> str:
    """Read the text in a column; raise `RowError` if it is missing or unusable."""
    if column not in record:
        raise RowError(f"no column '{column}'; available columns: {format_column_names(record)}")
    return validate_text(record[column], f"'{column}'")


def format_column_names(columns: Iterable[Any]) -> str:
    """List the first 20 column names, shortened and printable, for a message."""
    first = itertools.islice(columns, 20)
    return ", ".join(shorten(str(column), 40) for column in first) or "none"


def is_blank(value: Any) -> bool:
    """Whether a value is empty: null, an empty list or text, or only whitespace."""
    return not value or (isinstance(value, str) and not value.strip())


def validate_text(value: Any, name: str) -> str:
    """Check that a value is usable text and return it.

    Raises `RowError` for a value that is missing, not text, empty, longer than `MAX_CHARACTERS`
    or not valid Unicode; the message calls the value ``name``.
    """
    if value is None:
        raise RowError(f"{name} is missing")
    if not isinstance(value, str):
        description = JSON_TYPE_DESCRIPTIONS.get(type(value), f"of type {type(value).__name__}")
        raise RowError(f"{name} is {description} ({shorten(reprlib.repr(value), 40)}), not text")
    if not value.strip():
        raise RowError(f"{name} is empty")
    if len(value) > MAX_CHARACTERS:
        raise RowError(f"{name} has {len(value):,} characters; the limit is {MAX_CHARACTERS:,}")
    if not value.isascii() and SURROGATE.search(value):
        raise RowError(f"{name} is not valid Unicode: it contains half of a surrogate pair")
    return value


def require_turn_list(value: Any, column: str, noun: str) -> list[Any]:
    """Check that the value of a column is a list of turns; raise `RowError` if it is not."""
    if not isinstance(value, list) or not value:
        raise RowError(f"'{column}' is not a list of {noun}, or is empty")
    return value


def is_turn_list(value: Any, key: str) -> bool:
    """Whether a value is a non-empty list of turns: mappings that each have ``key``."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, Mapping) and key in turn for turn in value)
    )


def _list_roles(messages: list[Message]) -> str:
    """List the first roles in order, for a message."""
    return ", ".join(message.role for message in messages[:6]) or "none"


def find_fixed(response: str, *, after_result: bool) -> Literal["", "call", "result"]:
    """Why a response may not be replaced by another one, or given to another row, if so."""
    if is_tool_call(response):
        return "call"
    return "result" if after_result else ""


def find_assistant_turns(
    turns: list[tuple[int, Message]],
    editable: set[int],
    untrained: frozenset[int] = frozenset(),
) -> list[CorpusTurn]:
    """Find the editable assistant messages that have a user or tool message before them.

    ``turns`` has (index in the record, message) in order; ``editable`` has the indices whose text
    may be replaced, ``untrained`` those that are not trained on. Raises `RowError` for more than
    `MAX_TURNS` turns, or if there is no such message.
    """
    if len(turns) > MAX_TURNS:
        raise RowError(f"the conversation has {len(turns):,} turns; the limit is {MAX_TURNS:,}")
    responses = []
    before: list[Message] = []
    has_context = has_result = False  # a user or tool turn so far; a tool turn since the last user
    for index, message in turns:
        if message.role == "assistant" and index in editable and has_context:
            fixed = find_fixed(message.content, after_result=has_result)
            is_trained = index not in untrained
            turn = CorpusTurn(index, tuple(before), message.content, trained=is_trained)
            responses.append(replace(turn, fixed=fixed) if fixed else turn)
        elif message.role in ("user", "tool") and not is_blank(message.content):
            has_context, has_result = True, message.role == "tool"
        before.append(message)
    if not responses:
        raise RowError(
            "no assistant turn with text after a user or tool turn; "
            f"roles: {_list_roles([message for _, message in turns])}"
        )
    return responses
