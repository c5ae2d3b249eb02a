"""Prompt and completion: text, or lists of messages as in TRL's conversational format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .base import CorpusTurn, Message, RowError, find_assistant_turns, require_text
from .context_response import ContextResponseFormat
from .messages import (
    RoleNames,
    find_answer_column,
    load_message_list,
    read_turns,
    replace_answer,
)
from .prompt_columns import HISTORY_COLUMNS, join_prompt, read_history, read_system
from .reasoning import without_reasoning
from .roles import fold_name
from .training_marks import find_untrained


@dataclass(frozen=True)
class PromptCompletionFormat:
    """A prompt and its completion in two columns, each as text, a message or a list of messages.

    The last message of a completion is curated; calls and results before it stay. ``roles`` are
    further names of roles.
    """

    name: str = "prompt_completion"
    prompt: str = "prompt"
    completion: str = "completion"
    roles: RoleNames = ()

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the record has both columns; other columns than TRL's must have turns."""
        if (self.prompt, self.completion) == ("prompt", "completion"):
            return "prompt" in record and "completion" in record
        return find_answer_column(record, self.prompt) == self.completion

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Read the record's only exchange."""
        prompt = load_message_list(record.get(self.prompt))
        completion = load_message_list(record.get(self.completion))
        if not isinstance(prompt, list) and not isinstance(completion, list):
            columns = (self.name, self.prompt, self.completion)
            return ContextResponseFormat(*columns, roles=self.roles).turns(record)
        before = self._read_prompt(record, prompt)
        first = len(before)
        if not isinstance(completion, list):
            text = without_reasoning(require_text(record, self.completion))
            answer = (first, Message("assistant", text))
            return find_assistant_turns([*enumerate(before), answer], {first})
        messages, editable = read_turns(completion, self.completion, roles=self.roles)
        last = len(messages) - 1
        if last not in editable:
            raise RowError(f"'{self.completion}' does not end with an assistant message with text")
        turns = [*enumerate(before), *((first + index, message) for index, message in messages)]
        untrained = frozenset({first + last} if last in find_untrained(completion) else ())
        return find_assistant_turns(turns, {first + last}, untrained)

    def replace(self, record: Mapping[str, Any], _index: int, response: str, /) -> dict[str, Any]:
        """Copy the record with its completion replaced: text or a message, like the original."""
        completion = record[self.completion]
        return {**record, self.completion: replace_answer(completion, response)}

    def cut(self, record: Mapping[str, Any], _index: int, /) -> dict[str, Any]:
        """Copy the record, whose conversation already ends after its only response."""
        return dict(record)

    def _read_prompt(self, record: Mapping[str, Any], prompt: Any) -> list[Message]:
        is_history = fold_name(self.prompt) in HISTORY_COLUMNS
        history = [] if is_history else read_history(record, dict(self.roles))
        if not isinstance(prompt, list):
            text = join_prompt(record, self.prompt, self.completion)
            return [*read_system(record), *history, Message("user", text)]
        messages = [m for _, m in read_turns(prompt, self.prompt, roles=self.roles)[0]]
        if not messages:
            raise RowError(f"'{self.prompt}' is an empty list; expected messages")
        system = [] if messages[0].role == "system" else read_system(record)
        return [*system, *history, *messages]
