"""The columns that belong to a prompt besides its main one: system, history, passages."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from .base import Message, RowError, is_blank, require_text, validate_text
from .roles import find_role, fold_name

SYSTEM_COLUMNS = ("system", "system_prompt", "system_message")
HISTORY_COLUMNS = ("history", "chat_history", "conversation_history")

TEXT_COLUMNS = (
    "instruction",
    "context",
    "passage",
    "story",
    "document",
    "article",
    "input",
    "question",
    "query",
    "prompt",
)
"""Columns whose text belongs to the prompt, in the order in which they are joined."""


@functools.lru_cache(maxsize=4096)
def find_columns(columns: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Find the columns with these names, in the order of the names; case does not count."""
    folded: dict[str, str] = {}
    for column in columns:
        folded.setdefault(fold_name(column), column)
    return tuple(folded[name] for name in names if name in folded)


def read_system(record: Mapping[str, Any]) -> list[Message]:
    """Read the text of the system column, if there is any."""
    for column in find_columns(tuple(record), SYSTEM_COLUMNS):
        if isinstance(record[column], str) and record[column].strip():
            return [Message("system", validate_text(record[column], f"'{column}'"))]
    return []


def read_history(record: Mapping[str, Any]) -> list[Message]:
    """Read earlier turns: pairs of a user's and an assistant's text, turns, or alternating texts.

    Raises `RowError` for a list of anything else.
    """
    for column in find_columns(tuple(record), HISTORY_COLUMNS):
        value = record[column]
        if is_blank(value):
            continue
        if isinstance(value, str):
            return [Message("user", validate_text(value, f"'{column}'"))]
        if isinstance(value, list):
            return _read_history(value, f"'{column}'")
    return []


def _read_history(value: list[Any], name: str) -> list[Message]:
    messages: list[Message] = []
    for number, item in enumerate(value):
        place = f"{name} turn {number}"
        if isinstance(item, Mapping):
            messages.append(_read_history_turn(item, place))
            continue
        texts = item if isinstance(item, list) else [item]
        for text in texts:
            role = ("user", "assistant")[len(messages) % 2]
            messages.append(Message(role, "" if is_blank(text) else validate_text(text, place)))
    return messages


def _read_history_turn(turn: Mapping[str, Any], place: str) -> Message:
    for role, text in (("role", "content"), ("from", "value"), ("speaker", "text")):
        if role in turn and text in turn:
            found = find_role(turn[role], place, {})
            content = "" if is_blank(turn[text]) else validate_text(turn[text], place)
            return Message("assistant" if found == "call" else found, content)
    raise RowError(f"{place} is not a turn; expected a role and a text, or a pair of texts")


def join_prompt(record: Mapping[str, Any], main: str, response: str) -> str:
    """Join the texts of the main column and of others that belong to the prompt.

    They stand in the order of `TEXT_COLUMNS`, with the main column where it is there, else last. A
    text that is part of another one is left out. Raises `RowError` if there is no text at all.
    """
    columns = find_columns(tuple(record), TEXT_COLUMNS)
    columns = columns if main in columns else (*columns, main)
    texts: list[str] = []
    for column in columns:
        value = record.get(column)
        if column == response or is_blank(value):
            continue
        if column != main and isinstance(value, list) and all(isinstance(t, str) for t in value):
            value = "\n".join(value)
        texts.append(validate_text(value, f"'{column}'"))
    if not texts:
        require_text(record, main)
    whole = [text for text in dict.fromkeys(texts) if not any(_is_in(text, o) for o in texts)]
    return "\n\n".join(whole)


def _is_in(text: str, other: str) -> bool:
    return text != other and text in other
