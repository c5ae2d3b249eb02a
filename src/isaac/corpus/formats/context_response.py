"""Text columns: one or more with the prompt, and one with the response."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .base import CorpusTurn, Message, find_fixed, require_text, validate_text
from .prompt_columns import (
    find_columns,
    is_dialogue,
    join_prompt,
    read_dialogue,
    read_history,
    read_system,
)
from .reasoning import without_reasoning
from .roles import fold_name
from .tool_texts import is_tool_result

RESPONSE_COLUMNS = (
    "response",
    "output",
    "completion",
    "answer",
    "reply",
    "assistant",
    "gpt",
    "bot",
    "solution",
    "generation",
    "targets",
    "a",
)
"""What the column with the response is called, the most usual first."""

PROMPT_COLUMNS = (
    "prompt",
    "instruction",
    "question",
    "query",
    "input",
    "context",
    "user",
    "human",
    "message",
    "post",
    "request",
    "problem",
    "utterance",
    "inputs",
    "q",
    "text",
)
"""What the main column of the prompt is called, the one with the message first."""

NAMES = {
    ("instruction", "output"): "alpaca",
    ("prompt", "response"): "prompt_response",
    ("question", "answer"): "question_answer",
}
"""The names of formats with these columns; any other is called context_response."""


@dataclass(frozen=True)
class ContextResponseFormat:
    """One exchange per record, in text columns.

    With ``whole``, other columns that belong to the prompt are read along: instruction and input,
    a passage and the question about it, history and system prompt; the context may be a list of
    texts that user and assistant wrote in turn, the user the last one. ``roles`` are further names
    of roles in the history.
    """

    name: str = "context_response"
    context: str = "context"
    response: str = "response"
    whole: bool = True
    roles: tuple[tuple[str, str], ...] = ()

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the record has both columns."""
        return self.context in record and self.response in record

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Read the record's only exchange."""
        before: list[Message] = []
        if self.whole and is_dialogue(record.get(self.context)):
            *before, (_, text) = read_dialogue(record[self.context], f"'{self.context}'")
        elif self.whole:
            text = join_prompt(record, self.context, self.response)
        else:
            text = require_text(record, self.context)
        if self.whole:
            before = [*read_system(record), *read_history(record, dict(self.roles)), *before]
        response = require_text(record, self.response)
        answer = validate_text(without_reasoning(response), f"'{self.response}', after reasoning,")
        prompt = (*before, Message("user", text))
        fixed = find_fixed(answer, after_result=is_tool_result(text))
        return [CorpusTurn(0, prompt, answer, fixed=fixed)]

    def replace(self, record: Mapping[str, Any], _index: int, response: str, /) -> dict[str, Any]:
        """Copy the record with its response replaced."""
        return {**record, self.response: response}

    def cut(self, record: Mapping[str, Any], _index: int, /) -> dict[str, Any]:
        """Copy the record, whose conversation already ends after its only response."""
        return dict(record)


def find_text_columns(records: Iterable[Mapping[str, Any]]) -> list[ContextResponseFormat]:
    """Find formats for records with usual names of text columns, the most frequent first."""
    found = Counter(tuple(record) for record in records)
    formats: Counter[ContextResponseFormat] = Counter()
    for columns, count in found.items():
        if (fmt := _build_format(columns)) is not None:
            formats[fmt] += count
    return [fmt for fmt, _ in formats.most_common()]


def _build_format(columns: tuple[str, ...]) -> ContextResponseFormat | None:
    responses = find_columns(columns, RESPONSE_COLUMNS)
    prompts = find_columns(columns, PROMPT_COLUMNS)
    if not responses or not prompts:
        return None
    context, response = prompts[0], responses[0]
    name = NAMES.get((fold_name(context), fold_name(response)), "context_response")
    return ContextResponseFormat(name, context, response)
