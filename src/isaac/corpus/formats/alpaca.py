"""Alpaca: columns ``instruction``, ``output`` and optionally ``input`` and ``system``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .base import CorpusTurn, Message, is_blank, require_text, validate_text


@dataclass(frozen=True)
class AlpacaFormat:
    """One exchange per record; a non-empty ``input`` follows the instruction after a blank line."""

    name: str = "alpaca"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the record has an instruction and an output."""
        return "instruction" in record and "output" in record

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Read the record's only exchange."""
        instruction = require_text(record, "instruction")
        if not is_blank(record.get("input")):
            instruction += "\n\n" + validate_text(record["input"], "'input'")
        prompt = [Message("user", instruction)]
        if not is_blank(record.get("system")):
            prompt.insert(0, Message("system", validate_text(record["system"], "'system'")))
        return [CorpusTurn(0, tuple(prompt), require_text(record, "output"))]

    def replace(self, record: Mapping[str, Any], _index: int, response: str, /) -> dict[str, Any]:
        """Copy the record with its output replaced."""
        return {**record, "output": response}

    def cut(self, record: Mapping[str, Any], _index: int, /) -> dict[str, Any]:
        """Copy the record, whose conversation already ends after its only response."""
        return dict(record)
