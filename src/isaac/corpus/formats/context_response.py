"""Two columns of text: a context and the response to it, under any names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .base import Message, Turn, text_in


@dataclass(frozen=True)
class ContextResponse:
    """One exchange a record, in two columns."""

    name: str = "context_response"
    context: str = "context"
    response: str = "response"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Say whether the record has both columns."""
        return self.context in record and self.response in record

    def turns(self, record: Mapping[str, Any]) -> list[Turn]:
        """Return the one exchange of the record."""
        prompt = Message("user", text_in(record, self.context))
        return [Turn(0, (prompt,), text_in(record, self.response))]

    def replace(self, record: Mapping[str, Any], _index: int, response: str, /) -> dict[str, Any]:
        """Return the record with its response replaced."""
        return {**record, self.response: response}
