"""Conversations in one text, with the markup of a chat template around each turn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..control_tokens import split_control_tokens
from .base import CorpusTurn, Message, find_assistant_turns, require_text
from .reasoning import without_reasoning
from .roles import ROLES, fold_name


class Markup(NamedTuple):
    """What begins a turn, with its role as the first group, and what ends it."""

    begin: re.Pattern[str]
    end: re.Pattern[str]


MARKUPS: dict[str, Markup] = {
    "chatml": Markup(re.compile(r"<\|im_start\|>\s*(\w+)\n"), re.compile(r"<\|im_end\|>")),
    "llama3": Markup(
        re.compile(r"<\|start_header_id\|>\s*(\w+)\s*<\|end_header_id\|>\n*"),
        re.compile(r"<\|eot_id\|>|<\|end_of_text\|>"),
    ),
    "gemma": Markup(re.compile(r"<start_of_turn>(\w+)\n"), re.compile(r"<end_of_turn>")),
    "zephyr": Markup(
        re.compile(r"<\|(system|user|assistant)\|>\s*"), re.compile(r"</s>|<\|end\|>")
    ),
    "inst": Markup(re.compile(r"(?:<s>\s*)?\[(/?)INST\]\s*"), re.compile(r"</s>|\Z")),
    "headings": Markup(
        re.compile(r"###\s*(System|Human|User|Instruction|Input|Assistant|Response)\s*:[ \n]*"),
        re.compile(r"<\|endoftext\|>|</s>|\Z"),
    ),
    "vicuna": Markup(re.compile(r"(?:(?<=\s)|\A)(USER|ASSISTANT):[ \n]*"), re.compile(r"</s>|\Z")),
}
"""Markups by name, the most specific first."""

EXTRA_ROLES = {"": "user", "/": "assistant", "input": "user", "response": "assistant"}


class Span(NamedTuple):
    """A turn in a text: its role, and where its content begins and ends."""

    role: str
    start: int
    end: int


def split_transcript(text: str, markup: Markup) -> list[Span]:
    """Find the turns of a text; one before the first markup is the system's."""
    begins = list(markup.begin.finditer(text))
    spans = []
    if begins and text[: begins[0].start()].replace("<s>", "").strip():
        spans.append(Span("system", 0, begins[0].start()))
    limits = [*(begin.start() for begin in begins[1:]), len(text)]
    for begin, limit in zip(begins, limits, strict=False):
        start, name = begin.end(), fold_name(begin[1])
        end = markup.end.search(text, start, limit)
        content = text[start : end.start() if end else limit]
        role = EXTRA_ROLES.get(name) or ROLES.get(name) or "user"
        spans.append(Span(role, start, start + len(content.rstrip())))
    return spans


@dataclass(frozen=True)
class TranscriptFormat:
    """A conversation in one column of text; ``markup`` is one of `MARKUPS`."""

    column: str = "text"
    markup: str = "chatml"
    name: str = "transcript"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the text has a turn of the user and then one of the assistant."""
        value = record.get(self.column)
        if not isinstance(value, str):
            return False
        roles = [span.role for span in split_transcript(value, MARKUPS[self.markup])]
        return "user" in roles and "assistant" in roles[roles.index("user") :]

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Find every turn of the assistant with text after one of the user."""
        text = require_text(record, self.column)
        spans = split_transcript(text, MARKUPS[self.markup])
        messages = []
        for index, (role, start, end) in enumerate(spans):
            content = text[start:end]
            if role == "assistant":
                content = without_reasoning(content)
            messages.append((index, Message("assistant" if role == "call" else role, content)))
        editable = {
            index
            for index, message in messages
            if message.content.strip() and spans[index].role == "assistant"
        }
        return find_assistant_turns(messages, editable)

    def replace(self, record: Mapping[str, Any], index: int, response: str, /) -> dict[str, Any]:
        """Copy the record with one turn's text replaced and the markup unchanged.

        Markup in the response itself is taken apart, so that it does not split into turns.
        """
        markup, text = MARKUPS[self.markup], record[self.column]
        response = split_control_tokens(response)
        response = markup.begin.sub(lambda found: found[0].replace(":", " :"), response)
        _, start, end = split_transcript(text, markup)[index]
        return {**record, self.column: text[:start] + response + text[end:]}

    def cut(self, record: Mapping[str, Any], index: int, /) -> dict[str, Any]:
        """Copy the record with its text ending after one turn and the markup that ends it."""
        markup, text = MARKUPS[self.markup], record[self.column]
        spans = split_transcript(text, markup)
        end = spans[index].end
        limit = len(text) if index == len(spans) - 1 else spans[index + 1].start
        closing = markup.end.search(text, end, limit)
        return {**record, self.column: text[: closing.end() if closing else end]}
