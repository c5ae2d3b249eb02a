"""ShareGPT: a list of ``{"from", "value"}`` with ``human`` and ``gpt``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .base import CorpusTurn, Message, RowError, find_assistant_turns, is_blank, validate_text

SENDER_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "tool": "tool",
    "observation": "tool",
    "function_call": "assistant",
}


@dataclass(frozen=True)
class ShareGPTFormat:
    """Conversations in one column of from and value."""

    column: str = "conversations"
    name: str = "sharegpt"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Say whether the column holds turns with a sender."""
        value = record.get(self.column)
        return (
            isinstance(value, list)
            and bool(value)
            and all(isinstance(turn, Mapping) and "from" in turn for turn in value)
        )

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Return every turn of the model that answers something and is no function call."""
        value = record.get(self.column)
        if not isinstance(value, list) or not value:
            raise RowError(f"'{self.column}' is not a list with turns in it")
        read, editable = [], set()
        for index, turn in enumerate(value):
            name = f"'{self.column}' turn {index}"
            sender = turn.get("from") if isinstance(turn, Mapping) else None
            if not isinstance(sender, str) or sender not in SENDER_ROLES:
                raise RowError(f"{name} has no known sender; known: {', '.join(SENDER_ROLES)}")
            empty = sender == "system" and is_blank(turn.get("value"))
            text = "" if empty else validate_text(turn.get("value"), name)
            read.append((index, Message(SENDER_ROLES[sender], text)))
            if sender != "function_call":
                editable.add(index)
        return find_assistant_turns(self._prepend_system(record, read), editable)

    def replace(self, record: Mapping[str, Any], index: int, response: str) -> dict[str, Any]:
        """Return the record with one turn's value replaced."""
        turns = list(record[self.column])
        turns[index] = {**turns[index], "value": response}
        return {**record, self.column: turns}

    @staticmethod
    def _prepend_system(
        record: Mapping[str, Any], read: list[tuple[int, Message]]
    ) -> list[tuple[int, Message]]:
        system = record.get("system")
        if isinstance(system, str) and system.strip():
            return [(-1, Message("system", validate_text(system, "'system'"))), *read]
        return read
