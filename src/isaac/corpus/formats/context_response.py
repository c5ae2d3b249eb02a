"""Two text columns under any names: a context and its response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .base import CorpusTurn, Message, require_text


@dataclass(frozen=True)
class ContextResponseFormat:
    """One exchange per record, in two columns."""

    name: str = "context_response"
    context: str = "context"
    response: str = "response"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the record has both columns."""
        return self.context in record and self.response in record

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Read the record's only exchange."""
        prompt = Message("user", require_text(record, self.context))
        return [CorpusTurn(0, (prompt,), require_text(record, self.response))]

    def replace(self, record: Mapping[str, Any], _index: int, response: str, /) -> dict[str, Any]:
        """Copy the record with its response replaced."""
        return {**record, self.response: response}

    def cut(self, record: Mapping[str, Any], _index: int, /) -> dict[str, Any]:
        """Copy the record, whose conversation already ends after its only response."""
        return dict(record)
