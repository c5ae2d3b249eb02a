"""ShareGPT: a list of ``{"from", "value"}`` whose senders are mostly ``human`` and ``gpt``."""

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
"""The role that isaac uses for each sender in a corpus."""


@dataclass(frozen=True)
class ShareGPTFormat:
    """A conversation in one column: a list of turns with ``from`` and ``value``."""

    column: str = "conversations"
    name: str = "sharegpt"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the column is a list of turns with senders."""
        return is_turn_list(record.get(self.column), "from")

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Find every assistant turn after a user or tool turn, except function calls."""
        messages: list[tuple[int, Message]] = []
        editable = set()
        for index, turn in enumerate(require_turn_list(record, self.column, "turns")):
            name = f"'{self.column}' turn {index}"
            sender = turn.get("from") if isinstance(turn, Mapping) else None
            if not isinstance(sender, str) or sender not in SENDER_ROLES:
                raise RowError(
                    f"{name} has no known sender; expected one of: {', '.join(SENDER_ROLES)}"
                )
            is_empty_system = sender == "system" and is_blank(turn.get("value"))
            text = "" if is_empty_system else validate_text(turn.get("value"), name)
            messages.append((index, Message(SENDER_ROLES[sender], text)))
            if sender != "function_call":
                editable.add(index)
        untrained = find_untrained(record[self.column])
        return find_assistant_turns(self._prepend_system(record, messages), editable, untrained)

    def replace(self, record: Mapping[str, Any], index: int, response: str) -> dict[str, Any]:
        """Copy the record with the text of one turn replaced."""
        turns = list(record[self.column])
        turns[index] = {**without_training_details(turns[index]), "value": response}
        return {**record, self.column: turns}

    def cut(self, record: Mapping[str, Any], index: int) -> dict[str, Any]:
        """Copy the record with its list of turns ending at ``index``."""
        return {**record, self.column: list(record[self.column])[: index + 1]}

    @staticmethod
    def _prepend_system(
        record: Mapping[str, Any], messages: list[tuple[int, Message]]
    ) -> list[tuple[int, Message]]:
        """Put the text of the ``system`` column, if any, before the messages."""
        system = record.get("system")
        if isinstance(system, str) and system.strip():
            return [(-1, Message("system", validate_text(system, "'system'"))), *messages]
        return messages
