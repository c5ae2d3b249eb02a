r"""HH-style strings: ``\n\nHuman: ...\n\nAssistant: ...`` in one column."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .base import CorpusTurn, Message, find_assistant_turns, require_text, validate_text

SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):[ \n]?")
HH_ROLES = {"Human": "user", "Assistant": "assistant"}


def split_turns(text: str) -> list[tuple[str, int, int]]:
    """Return (role, start, end) of each turn's text; what is outside them is its markup."""
    heads = list(SPEAKER.finditer(text))
    ends = [*(head.start() for head in heads[1:]), len(text)][: len(heads)]
    return [(HH_ROLES[head[1]], head.end(), end) for head, end in zip(heads, ends, strict=True)]


@dataclass(frozen=True)
class HHFormat:
    """Conversations in one string, as in Anthropic's HH-RLHF; there the column is ``chosen``."""

    column: str = "chosen"
    name: str = "hh"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Say whether the column's text begins with a speaker."""
        value = record.get(self.column)
        return isinstance(value, str) and bool(SPEAKER.match(value)) and "Assistant:" in value

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Return every turn of the assistant that answers something."""
        text = require_text(record, self.column)
        parts = split_turns(text)
        last = len(parts) - 1
        read = [
            (
                index,
                Message(
                    role,
                    validate_text(text[start:end], f"'{self.column}' turn {index}")
                    if index == last or role == "user"
                    else text[start:end],
                ),
            )
            for index, (role, start, end) in enumerate(parts)
        ]
        editable = {index for index, message in read if message.content.strip()}
        return find_assistant_turns(read, editable)

    def replace(self, record: Mapping[str, Any], index: int, response: str) -> dict[str, Any]:
        """Return the record with one turn's text replaced and its markup untouched.

        A blank line before a speaker's name in the response, which only another format can have,
        is closed up, so that no turn is forged.
        """
        response = SPEAKER.sub(lambda mark: mark[0].replace("\n\n", "\n"), response)
        text = record[self.column]
        _, start, end = split_turns(text)[index]
        return {**record, self.column: text[:start] + response + text[end:]}
