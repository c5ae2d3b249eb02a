"""Prompt and completion: text, or lists of messages as in TRL's conversational format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .base import CorpusTurn, Message, RowError, find_assistant_turns, require_text
from .messages import read_messages, replace_content
from .training_marks import find_untrained


@dataclass(frozen=True)
class PromptCompletionFormat:
    """One exchange per record; the completion is text or one assistant message."""

    name: str = "prompt_completion"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the record has both columns."""
        return "prompt" in record and "completion" in record

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Read the record's only exchange."""
        prompt, completion = record.get("prompt"), record.get("completion")
        if not isinstance(prompt, list) and not isinstance(completion, list):
            message = Message("user", require_text(record, "prompt"))
            return [CorpusTurn(0, (message,), require_text(record, "completion"))]
        if not isinstance(prompt, list) or not isinstance(completion, list) or not prompt:
            raise RowError("'prompt' and 'completion' must both be text or both be messages")
        if len(completion) != 1:
            raise RowError(f"'completion' has {len(completion)} messages; expected one")
        before, _ = read_messages(prompt, "prompt")
        ((_, response),), editable = read_messages(completion, "completion")
        last = len(before)
        untrained = frozenset({last} if find_untrained(completion) else ())
        turns = [*before, (last, response)]
        return find_assistant_turns(turns, {last} if editable else set(), untrained)

    def replace(self, record: Mapping[str, Any], _index: int, response: str, /) -> dict[str, Any]:
        """Copy the record with its completion replaced: text or one message, like the original."""
        completion = record["completion"]
        if isinstance(completion, list):
            return {**record, "completion": [replace_content(completion[0], response)]}
        return {**record, "completion": response}

    def cut(self, record: Mapping[str, Any], _index: int, /) -> dict[str, Any]:
        """Copy the record, whose conversation already ends after its only response."""
        return dict(record)
