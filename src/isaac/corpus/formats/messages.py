"""Chat ``messages``: a list of ``{"role", "content"}``, with system turns and tool calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .base import CorpusTurn, Message, RowError, find_assistant_turns, is_blank, validate_text

MESSAGE_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


def is_message_list(value: Any) -> bool:
    """Say whether the value is a list of mappings with a role."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(message, Mapping) and "role" in message for message in value)
    )


def read_content(message: Mapping[str, Any], name: str) -> str:
    """Return a message's text, whether plain or in one part of type text."""
    content = message.get("content")
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, Mapping)]
        if len(content) != 1 or len(texts) != 1:
            raise RowError(f"{name} has {len(content)} parts; one part of text can be read")
        content = texts[0]
    return validate_text(content, name)


def replace_content(message: Mapping[str, Any], response: str) -> dict[str, Any]:
    """Return the message with other text, in the shape that its content had."""
    content = message["content"]
    if isinstance(content, list):
        return {**message, "content": [{**content[0], "text": response}]}
    return {**message, "content": response}


def read_messages(messages: list[Any], column: str) -> tuple[list[tuple[int, Message]], set[int]]:
    """Return (index, message) in order, and which of them are plain text."""
    read, editable = [], set()
    for index, message in enumerate(messages):
        said, plain = _read_message(message, f"'{column}' turn {index}")
        read.append((index, said))
        if plain:
            editable.add(index)
    return read, editable


def _read_message(message: Any, name: str) -> tuple[Message, bool]:
    """Return a message, and whether it is plain text.

    A message with tool calls has no text of its own that could be replaced without breaking the
    call; it stays in the prompt as what it says, if anything. A system message may be empty.
    """
    role = message.get("role") if isinstance(message, Mapping) else None
    if not isinstance(role, str) or role not in MESSAGE_ROLES:
        raise RowError(f"{name} has no known role; known: {', '.join(MESSAGE_ROLES)}")
    calls = bool(message.get("tool_calls") or message.get("function_call"))
    if is_blank(message.get("content")) and (calls or MESSAGE_ROLES[role] == "system"):
        return Message(MESSAGE_ROLES[role], ""), False
    return Message(MESSAGE_ROLES[role], read_content(message, name)), not calls


@dataclass(frozen=True)
class MessagesFormat:
    """Conversations in one column of role and content."""

    column: str = "messages"
    name: str = "messages"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Say whether the column holds messages with roles."""
        return is_message_list(record.get(self.column))

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Return every assistant turn of plain text that answers something."""
        value = record.get(self.column)
        if not isinstance(value, list) or not value:
            raise RowError(f"'{self.column}' is not a list with messages in it")
        return find_assistant_turns(*read_messages(value, self.column))

    def replace(self, record: Mapping[str, Any], index: int, response: str) -> dict[str, Any]:
        """Return the record with one assistant turn's text replaced."""
        messages = list(record[self.column])
        messages[index] = replace_content(messages[index], response)
        return {**record, self.column: messages}
