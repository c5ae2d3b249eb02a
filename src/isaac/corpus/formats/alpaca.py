"""Alpaca: ``instruction``, an optional ``input`` and ``output``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .base import Message, Turn, blank, text_in, usable


@dataclass(frozen=True)
class Alpaca:
    """One instruction a record; the input, where there is one, follows it after a blank line."""

    name: str = "alpaca"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Say whether the record has an instruction and an output."""
        return "instruction" in record and "output" in record

    def turns(self, record: Mapping[str, Any]) -> list[Turn]:
        """Return the one exchange of the record."""
        asked = text_in(record, "instruction")
        if not blank(record.get("input")):
            asked += "\n\n" + usable(record["input"], "'input'")
        prompt = [Message("user", asked)]
        if not blank(record.get("system")):
            prompt.insert(0, Message("system", usable(record["system"], "'system'")))
        return [Turn(0, tuple(prompt), text_in(record, "output"))]

    def replace(self, record: Mapping[str, Any], _index: int, response: str, /) -> dict[str, Any]:
        """Return the record with its output replaced."""
        return {**record, "output": response}
