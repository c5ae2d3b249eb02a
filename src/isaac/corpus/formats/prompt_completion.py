"""Prompt and completion, as text or, in TRL's conversational form, as lists of messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .base import CorpusTurn, Message, RowError, find_assistant_turns, require_text
from .messages import read_messages, replace_content


@dataclass(frozen=True)
class PromptCompletionFormat:
    """One exchange a record; the completion is text or one assistant message."""

    name: str = "prompt_completion"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Say whether the record has both columns."""
        return "prompt" in record and "completion" in record

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Return the one exchange of the record."""
        prompt, completion = record.get("prompt"), record.get("completion")
        if not isinstance(prompt, list) and not isinstance(completion, list):
            asked = Message("user", require_text(record, "prompt"))
            return [CorpusTurn(0, (asked,), require_text(record, "completion"))]
        if not isinstance(prompt, list) or not isinstance(completion, list) or not prompt:
            raise RowError("'prompt' and 'completion' must both be text or both be messages")
        if len(completion) != 1:
            raise RowError(f"'completion' has {len(completion)} messages; one can be read")
        said, _ = read_messages(prompt, "prompt")
        ((_, answer),), plain = read_messages(completion, "completion")
        last = len(said)
        return find_assistant_turns([*said, (last, answer)], {last} if plain else set())

    def replace(self, record: Mapping[str, Any], _index: int, response: str, /) -> dict[str, Any]:
        """Return the record with its completion replaced, in the shape that it had."""
        completion = record["completion"]
        if isinstance(completion, list):
            return {**record, "completion": [replace_content(completion[0], response)]}
        return {**record, "completion": response}
