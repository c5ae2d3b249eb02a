"""Records of the input, and what stands in them once some of their responses are replaced."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from .formats import deserialize_format
from .formats.task_oriented import fill_placeholders
from .records import dumps


class SourceRecord(NamedTuple):
    """A record of the input as JSON, with the ids of its exchanges and where each stands in it.

    ``values`` has those that each exchange's response is without, as in `corpus.SCHEMA`.
    """

    text: str
    ids: list[int]
    positions: list[tuple[str, int]]
    values: list[str | None]

    @property
    def record(self) -> dict[str, Any]:
        """Return the record."""
        found: dict[str, Any] = json.loads(self.text)
        return found

    def replaced(self, responses: dict[int, str]) -> dict[str, Any]:
        """Return the record with the responses of some of its exchanges, by id, replaced.

        The last one comes first: in a string of turns it moves none of those before it.
        """
        record, texts = self.record, self.filled(responses)
        for number, (form, turn) in sorted(
            zip(self.ids, self.positions, strict=True), reverse=True
        ):
            if number in texts:
                record = deserialize_format(form).replace(record, turn, texts[number])
        return record

    def line(self, responses: dict[int, str], more: dict[str, Any]) -> str:
        """Return the record as JSON, some of its responses replaced, with more columns."""
        if responses:
            return dumps(self.replaced(responses) | more)
        return f"{self.text[:-1]}, {dumps(more)[1:]}"

    def filled(self, responses: dict[int, str]) -> dict[int, str]:
        """Return those responses that are for its exchanges, by id, with their own values."""
        own = dict(zip(self.ids, self.values, strict=True))
        return {
            number: fill_from_json(text, own[number])
            for number, text in responses.items()
            if number in own
        }


def fill_from_json(response: str, values: str | None) -> str:
    """Return a response with the values of its exchange, as `corpus.SCHEMA` has them.

    Raises `CorpusError` if it needs one that the exchange has not.
    """
    return response if values is None else fill_placeholders(response, json.loads(values))
