r"""HH-style strings: ``\n\nHuman: ...\n\nAssistant: ...`` in one column."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .base import CorpusTurn, Message, find_assistant_turns, require_text, validate_text

SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):[ \n]?")
"""The markup before a turn: a blank line and the speaker's name."""

HH_ROLES = {"Human": "user", "Assistant": "assistant"}


def split_turns(text: str) -> list[tuple[str, int, int]]:
    """Find (role, start, end) of each turn's text; the rest of the string is markup."""
    speakers = list(SPEAKER.finditer(text))
    # a turn ends where the next speaker's markup starts, the last one at the end of the string
    ends = [*(speaker.start() for speaker in speakers[1:]), len(text)][: len(speakers)]
    return [
        (HH_ROLES[speaker[1]], speaker.end(), end)
        for speaker, end in zip(speakers, ends, strict=True)
    ]


@dataclass(frozen=True)
class HHFormat:
    """A conversation in one string, as in the ``chosen`` column of Anthropic's HH-RLHF."""

    column: str = "chosen"
    name: str = "hh"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the column's text starts with a speaker and has an assistant turn."""
        value = record.get(self.column)
        return isinstance(value, str) and bool(SPEAKER.match(value)) and "Assistant:" in value

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Find every assistant turn after a human turn.

        An empty assistant turn before the last turn is skipped; any other empty turn makes the
        record unusable.
        """
        text = require_text(record, self.column)
        spans = split_turns(text)
        messages = []
        for index, (role, start, end) in enumerate(spans):
            content = text[start:end]
            if role == "user" or index == len(spans) - 1:
                content = validate_text(content, f"'{self.column}' turn {index}")
            messages.append((index, Message(role, content)))
        editable = {index for index, message in messages if message.content.strip()}
        return find_assistant_turns(messages, editable)

    def replace(self, record: Mapping[str, Any], index: int, response: str) -> dict[str, Any]:
        """Copy the record with one turn's text replaced and the markup unchanged.

        If the response itself contains a blank line and a speaker's name, as one from another
        format may, the blank line is removed, so that the response does not split into turns. An
        earlier turn that is also in ``rejected`` is replaced there too: it is part of the prompt.
        """
        response = SPEAKER.sub(lambda mark: mark[0].replace("\n\n", "\n"), response)
        _, start, end = split_turns(record[self.column])[index]
        changed = {
            column: text[:start] + response + text[end:]
            for column, text in self._texts_with_turn(record, index)
        }
        return {**record, **changed}

    def cut(self, record: Mapping[str, Any], index: int) -> dict[str, Any]:
        """Copy the record with its text ending after one turn, also in ``rejected``."""
        end = split_turns(record[self.column])[index][2]
        return {
            **record,
            **{column: text[:end] for column, text in self._texts_with_turn(record, index)},
        }

    def _texts_with_turn(self, record: Mapping[str, Any], index: int) -> Iterator[tuple[str, str]]:
        """Yield the columns with a turn: this one, and ``rejected`` for a turn of the prompt."""
        text, other = record[self.column], record.get("rejected")
        yield self.column, text
        spans = split_turns(text)
        if index < len(spans) - 1 and isinstance(other, str) and self.column != "rejected":
            next_turn = spans[index + 1][1]
            if other[:next_turn] == text[:next_turn]:
                yield "rejected", other
