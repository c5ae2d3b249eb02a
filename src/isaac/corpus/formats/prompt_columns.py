"""The columns that belong to a prompt besides its main one: system, history, passages."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from .base import Message, RowError, is_blank, require_text, validate_text
from .contents import ROLE_KEYS, TEXT_KEYS, read_text
from .roles import find_role, fold_name
from .turn_lists import load_turns

SYSTEM_COLUMNS = (
    "system",
    "system_prompt",
    "system_message",
    "system_instruction",
    "systemprompt",
    "systemmessage",
    "systeminstruction",
)
HISTORY_COLUMNS = (
    "history",
    "chat_history",
    "conversation_history",
    "dialogue_history",
    "dialog_history",
    "message_history",
)

TEXT_COLUMNS = (
    "instruction",
    "context",
    "passage",
    "story",
    "document",
    "article",
    "paragraph",
    "background",
    "knowledge",
    "input",
    "question",
    "query",
    "prompt",
)
"""Columns whose text belongs to the prompt, in the order in which they are joined.

A column such as `scenario` or `situation` is not here: in many corpora it is a label.
"""

CHOICE_COLUMNS = ("choices", "options")
"""Columns with the answers that a question offers."""

PASSAGE_KEYS = ("text", "full_text", "contexts", "passages", "sentences", "content")
"""Keys of an object in a text column that have its text."""

PAIR_KEYS = (
    ("input", "output"),
    ("user", "assistant"),
    ("human", "assistant"),
    ("question", "answer"),
    ("prompt", "response"),
    ("instruction", "response"),
)
"""Keys of a message and its answer in a list of pairs."""

Roles = Mapping[str, str]
"""Further names of roles, folded as `fold_name` does."""


@functools.lru_cache(maxsize=4096)
def find_columns(columns: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Find the columns with these names, in the order of the names; case does not count."""
    folded: dict[str, str] = {}
    for column in columns:
        folded.setdefault(fold_name(column), column)
    return tuple(folded[name] for name in names if name in folded)


def read_system(record: Mapping[str, Any]) -> list[Message]:
    """Read the text of the system column, plain or in parts, if there is any."""
    for column in find_columns(tuple(record), SYSTEM_COLUMNS):
        if text := read_text(record[column], f"'{column}'"):
            return [Message("system", text)]
    return []


def read_history(record: Mapping[str, Any], roles: Roles | None = None) -> list[Message]:
    """Read earlier turns: pairs of a user's and an assistant's text, turns, or alternating texts.

    Raises `RowError` for anything else.
    """
    for column in find_columns(tuple(record), HISTORY_COLUMNS):
        if messages := read_turns(record[column], f"'{column}'", roles or {}):
            return messages
    return []


def read_turns(value: Any, name: str, roles: Roles) -> list[Message]:
    """Read a value as `read_history` does; ``name`` is its place in error messages."""
    value = load_turns(value)
    if is_blank(value):
        return []
    if not isinstance(value, list):
        return [Message("user", validate_text(value, name))]
    messages: list[Message] = []
    for number, item in enumerate(value):
        place = f"{name} turn {number}"
        if isinstance(item, Mapping):
            messages += _read_history_item(item, place, roles)
            continue
        texts = item if isinstance(item, list) else [item]
        for text in texts:
            role = ("user", "assistant")[len(messages) % 2]
            messages.append(Message(role, read_text(text, place)))
    return messages


def _read_history_item(item: Mapping[str, Any], place: str, roles: Roles) -> list[Message]:
    """Read a turn, or a pair of a message and its answer."""
    role = next((key for key in ROLE_KEYS if key in item), None)
    text = next((key for key in TEXT_KEYS if key in item), None)
    if role and text:
        found = find_role(item[role], place, roles)
        content = read_text(item[text], place)
        return [Message("assistant" if found == "call" else found, content)]
    for keys in PAIR_KEYS:
        if found_keys := find_columns(tuple(item), keys):
            texts = [read_text(item[key], place) for key in found_keys]
            return [*map(Message, ("user", "assistant"), texts)] if len(texts) == 2 else []
    raise RowError(f"{place} is not a turn; expected a role and a text, or a pair of texts")


def is_dialogue(value: Any) -> bool:
    """Whether a value is a list of two or more texts."""
    return isinstance(value, list) and len(value) > 1 and all(isinstance(t, str) for t in value)


def read_dialogue(texts: list[str], name: str) -> list[Message]:
    """Read texts that user and assistant wrote in turn, the user the last one."""
    last = len(texts) - 1
    return [
        Message(("user", "assistant")[(last - number) % 2], validate_text(text, f"{name} {number}"))
        for number, text in enumerate(texts)
    ]


def join_prompt(record: Mapping[str, Any], main: str, response: str) -> str:
    """Join the texts of the main column and of others that belong to the prompt.

    They stand in the order of `TEXT_COLUMNS`, with the main column where it is there, else last;
    the answers to choose from follow. A text that is part of another one is left out. Raises
    `RowError` if there is no text at all.
    """
    columns = find_columns(tuple(record), TEXT_COLUMNS)
    columns = columns if main in columns else (*columns, main)
    texts: list[str] = []
    for column in columns:
        if column == response or is_blank(value := record.get(column)):
            continue
        is_list = column == main and isinstance(value, list)
        texts.append((validate_text if is_list else _read_passage)(value, f"'{column}'"))
    if not texts:
        require_text(record, main)
    for column in find_columns(tuple(record), CHOICE_COLUMNS):
        texts.append(_read_choices(record[column]))
    whole = [text for text in dict.fromkeys(texts) if not any(_is_in(text, o) for o in texts)]
    return "\n\n".join(whole)


def _read_passage(value: Any, name: str) -> str:
    """Read the text of a prompt's column: text, an object with a text, or a list of these."""
    if isinstance(value, Mapping):
        key = next((key for key in PASSAGE_KEYS if key in value), None)
        value = value if key is None else value[key]
    if isinstance(value, list) and value:
        return "\n".join(_read_passage(item, name) for item in value if not is_blank(item))
    return validate_text(value, name)


def _read_choices(value: Any) -> str:
    """Write the answers that a question offers, one a line; empty for anything else."""
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        labels, texts = value.get("label", []), value["text"]
    elif isinstance(value, Mapping):
        labels, texts = list(value), list(value.values())
    else:
        labels, texts = [], value if isinstance(value, list) else []
    if not all(isinstance(text, str) for text in texts):
        return ""
    if isinstance(labels, list) and len(labels) == len(texts):
        texts = [f"{label}. {text}" for label, text in zip(labels, texts, strict=True)]
    return "\n".join(texts)


def _is_in(text: str, other: str) -> bool:
    return text != other and text in other
