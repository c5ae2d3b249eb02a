"""Chat ``messages``: a list of ``{"role", "content"}``, with system messages and tool calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .base import (
    CorpusTurn,
    Message,
    RowError,
    find_assistant_turns,
    is_blank,
    is_turn_list,
    require_turn_list,
    validate_text,
)
from .training_marks import find_untrained, without_training_details

MESSAGE_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
"""The role that isaac uses for each role in a corpus."""


def read_content(message: Mapping[str, Any], name: str) -> str:
    """Read the text of a message, whether it is plain or a list of one text part."""
    content = message.get("content")
    if isinstance(content, list):
        if len(content) != 1:
            raise RowError(f"{name} has {len(content)} parts; expected one text part")
        if not isinstance(content[0], Mapping):
            raise RowError(f"{name} has a part that is not an object; expected one text part")
        content = content[0].get("text")
    return validate_text(content, name)


def replace_content(message: Mapping[str, Any], response: str) -> dict[str, Any]:
    """Copy the message with new text, plain or in one part like the original."""
    content, message = message["content"], without_training_details(message)
    if isinstance(content, list):
        return {**message, "content": [{**content[0], "text": response}]}
    return {**message, "content": response}


def read_messages(messages: list[Any], column: str) -> tuple[list[tuple[int, Message]], set[int]]:
    """Read the (index, message) pairs in order, and the indices of those with editable text.

    Raises `RowError` for a message that cannot be used; the error names the ``column``.
    """
    turns, editable = [], set()
    for index, raw in enumerate(messages):
        message, is_editable = _read_message(raw, f"'{column}' turn {index}")
        turns.append((index, message))
        if is_editable:
            editable.add(index)
    return turns, editable


def _read_message(message: Any, name: str) -> tuple[Message, bool]:
    """Read a message and whether its text may be replaced.

    A new text could contradict the tool calls of its message, so a message with tool calls serves
    only as context for later turns, and may be empty. A system message may be empty too.
    """
    role = message.get("role") if isinstance(message, Mapping) else None
    if not isinstance(role, str) or role not in MESSAGE_ROLES:
        raise RowError(f"{name} has no known role; expected one of: {', '.join(MESSAGE_ROLES)}")
    has_calls = bool(message.get("tool_calls") or message.get("function_call"))
    if is_blank(message.get("content")) and (has_calls or MESSAGE_ROLES[role] == "system"):
        return Message(MESSAGE_ROLES[role], ""), False
    return Message(MESSAGE_ROLES[role], read_content(message, name)), not has_calls


@dataclass(frozen=True)
class MessagesFormat:
    """A conversation in one column: a list of messages with ``role`` and ``content``."""

    column: str = "messages"
    name: str = "messages"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the column is a list of messages with roles."""
        return is_turn_list(record.get(self.column), "role")

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Find every assistant message without tool calls after a user or tool message."""
        messages = require_turn_list(record, self.column, "messages")
        turns, editable = read_messages(messages, self.column)
        return find_assistant_turns(turns, editable, find_untrained(messages))

    def replace(self, record: Mapping[str, Any], index: int, response: str) -> dict[str, Any]:
        """Copy the record with the text of one assistant message replaced."""
        messages = list(record[self.column])
        messages[index] = replace_content(messages[index], response)
        return {**record, self.column: messages}

    def cut(self, record: Mapping[str, Any], index: int) -> dict[str, Any]:
        """Copy the record with its list of messages ending at ``index``."""
        return {**record, self.column: list(record[self.column])[: index + 1]}
