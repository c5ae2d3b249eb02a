"""Alpaca: ``instruction``, an optional ``input`` and ``output``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .base import CorpusTurn, Message, is_blank, require_text, validate_text


@dataclass(frozen=True)
class AlpacaFormat:
    """One instruction a record; the input, where there is one, follows it after a blank line."""

    name: str = "alpaca"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Say whether the record has an instruction and an output."""
        return "instruction" in record and "output" in record

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Return the one exchange of the record."""
        asked = require_text(record, "instruction")
        if not is_blank(record.get("input")):
            asked += "\n\n" + validate_text(record["input"], "'input'")
        prompt = [Message("user", asked)]
        if not is_blank(record.get("system")):
            prompt.insert(0, Message("system", validate_text(record["system"], "'system'")))
        return [CorpusTurn(0, tuple(prompt), require_text(record, "output"))]

    def replace(self, record: Mapping[str, Any], _index: int, response: str, /) -> dict[str, Any]:
        """Return the record with its output replaced."""
        return {**record, "output": response}
