"""Prompt and completion: text, or lists of messages as in TRL's conversational format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .base import CorpusTurn, Message, RowError, find_assistant_turns
from .contents import replace_text
from .context_response import ContextResponseFormat
from .messages import TurnKeys, read_turns
from .prompt_columns import read_system
from .training_marks import find_untrained


@dataclass(frozen=True)
class PromptCompletionFormat:
    """One record per completion; it is text, or a list of messages.

    The last message of a completion is curated; calls and results before it stay.
    """

    name: str = "prompt_completion"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the record has both columns."""
        return "prompt" in record and "completion" in record

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Read the record's only exchange."""
        prompt, completion = record.get("prompt"), record.get("completion")
        if not isinstance(prompt, list) and not isinstance(completion, list):
            return ContextResponseFormat(self.name, "prompt", "completion").turns(record)
        if not isinstance(prompt, list) or not isinstance(completion, list) or not prompt:
            raise RowError("'prompt' and 'completion' must both be text or both be messages")
        before, _ = read_turns(prompt, "prompt")
        if before[0][1].role != "system":
            before = [*((-1, message) for message in read_system(record)), *before]
        messages, editable = read_turns(completion, "completion")
        last = len(messages) - 1
        if last not in editable:
            raise RowError("'completion' does not end with an assistant message with text")
        first = len(prompt)
        turns: list[tuple[int, Message]] = [*before]
        turns += [(first + index, message) for index, message in messages]
        untrained = frozenset({first + last} if last in find_untrained(completion) else ())
        return find_assistant_turns(turns, {first + last}, untrained)

    def replace(self, record: Mapping[str, Any], _index: int, response: str, /) -> dict[str, Any]:
        """Copy the record with its completion replaced: text or a message, like the original."""
        completion = record["completion"]
        if isinstance(completion, list):
            *before, last = completion
            new = replace_text(last, TurnKeys.of(last).text, response)
            return {**record, "completion": [*before, new]}
        return {**record, "completion": response}

    def cut(self, record: Mapping[str, Any], _index: int, /) -> dict[str, Any]:
        """Copy the record, whose conversation already ends after its only response."""
        return dict(record)
