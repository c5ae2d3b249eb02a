"""Input records, and how to write them back with some of their responses replaced."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from .descriptions import MovedFields, move_descriptions
from .formats import deserialize_format
from .formats.preferences import TwoAnswersFormat
from .formats.task_oriented import fill_placeholders
from .records import dumps


class SourceRecord(NamedTuple):
    """An input record with the exchanges that were read from it.

    ``text`` is the record as JSON. For each exchange, ``ids`` has its id, ``positions`` the format
    and the position of its response in the record, ``values`` the values of its placeholders, and
    ``responses`` its response, all as in `CORPUS_SCHEMA`. ``before`` and ``after`` are the records
    around it in which no turn is trained on, as JSON.
    """

    text: str
    ids: list[int]
    positions: list[tuple[str, int]]
    values: list[str | None]
    responses: list[str]
    before: Sequence[str] = ()
    after: Sequence[str] = ()

    @property
    def record(self) -> dict[str, Any]:
        """The record, parsed at each access."""
        value: dict[str, Any] = json.loads(self.text)
        return value

    def replaced(self, responses: dict[int, str]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Copy the record with some of its responses replaced, given by exchange id.

        Returns the record, and what was moved out of it because it describes an old response (see
        `move_descriptions`). Ids of other records are ignored.
        """
        original, texts = self.record, self.filled(responses)
        record, copies = original, dict[str, str]()
        # last turn first: where all turns are in one string, the earlier ones keep their offsets
        exchanges = zip(self.ids, self.positions, self.responses, self.values, strict=True)
        for exchange_id, (serialized_format, turn), old, values in sorted(exchanges, reverse=True):
            if exchange_id in texts:
                fmt = deserialize_format(serialized_format)
                record = fmt.replace(record, turn, texts[exchange_id])
                if values is None and old != texts[exchange_id]:
                    copies[old.strip()] = texts[exchange_id]
        if not texts:
            return dict(record), {}
        return move_descriptions(original, record, copies, self._list_other_fields(original))

    def _list_other_fields(self, record: dict[str, Any]) -> set[str]:
        """The fields of the record that are about an answer that is not curated."""
        fmt = deserialize_format(self.positions[0][0])
        return fmt.list_other_fields(record) if isinstance(fmt, TwoAnswersFormat) else set()

    def cut_after(self, count: int) -> SourceRecord:
        """Copy the record with a conversation that ends after its first ``count`` exchanges.

        The record stays unchanged if that is all of them.
        """
        if count == len(self.ids):
            return self
        serialized_format, turn = self.positions[count - 1]
        record = deserialize_format(serialized_format).cut(self.record, turn)
        return self._replace(
            text=dumps(record),
            ids=self.ids[:count],
            positions=self.positions[:count],
            values=self.values[:count],
            responses=self.responses[:count],
        )

    def as_json(
        self,
        responses: dict[int, str],
        extra: dict[str, Any],
        moved_fields: MovedFields | None = None,
    ) -> str:
        """Write the record as JSON with some responses replaced and extra columns at the end.

        What describes an old response goes to the column of ``moved_fields``.
        """
        if responses:
            record, moved = self.replaced(responses)
            told = moved_fields.write(moved) if moved_fields else {}
            return dumps(record | extra | told)
        # nothing to replace: append the columns to the JSON text without parsing it
        extra = {**extra, **(moved_fields.write({}) if moved_fields else {})}
        return f"{self.text[:-1]}, {dumps(extra)[1:]}"

    def filled(self, responses: dict[int, str]) -> dict[int, str]:
        """Fill the placeholders of the responses for this record's exchanges, by exchange id."""
        values = dict(zip(self.ids, self.values, strict=True))
        return {
            exchange_id: fill_from_json(text, values[exchange_id])
            for exchange_id, text in responses.items()
            if exchange_id in values
        }


def fill_from_json(response: str, values: str | None) -> str:
    """Fill the placeholders of a response from ``values``, JSON as in `CORPUS_SCHEMA`, or None.

    Raises `CorpusError` if a placeholder has no value.
    """
    return response if values is None else fill_placeholders(response, json.loads(values))
