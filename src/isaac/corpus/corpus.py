"""A corpus: exchanges with where each was read, and what could not be read."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..errors import CorpusError
from ..runtime.arrays import Ints
from .files import InputDigest
from .formats import FORMATS, CorpusTurn, Message, RowError, deserialize_format, serialize_format
from .parquet_table import ParquetTable
from .records import ParsedRecord, dumps
from .rejected import Rejected
from .source_records import SourceRecord

CHUNK_EXCHANGES = 10_000
"""Exchanges that are in memory at a time while a corpus is read, fewer if they are large."""


CORPUS_SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "file": pa.dictionary(pa.int32(), pa.string()),
        "line": pa.int64(),
        "format": pa.dictionary(pa.int32(), pa.string()),
        "turn": pa.int32(),
        "context": pa.large_string(),
        "response": pa.large_string(),
        "group": pa.large_string(),
        "prompt": pa.large_string(),
        "record": pa.large_string(),
        "values": pa.large_string(),
    }
)
"""The canonical table. ``prompt`` is the JSON of the messages before the response; ``record`` is
the JSON of the input's own record, null on every turn of it but the first; ``values`` the JSON of
what stands for the placeholders of a response, null where it has none of either."""


class Exchange(NamedTuple):
    """A context and the response that the corpus gives to it."""

    id: int
    context: str
    response: str
    file: str
    line: int


@dataclass(frozen=True)
class Corpus:
    """Exchanges in the order in which they were read.

    ``table`` has `CORPUS_SCHEMA`, in memory or on disk; ``rejected`` holds what could not be used,
    ``inputs`` a digest of each file.
    """

    table: pa.Table | ParquetTable
    rejected: Sequence[Rejected] = field(default_factory=list)
    inputs: list[InputDigest] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of exchanges."""
        return int(self.table.num_rows)

    def __getitem__(self, row: int) -> Exchange:
        """Return one exchange by its id."""
        if not 0 <= row < len(self):
            raise IndexError(row)
        values = self.take(np.array([row]), list(Exchange._fields)).to_pylist()[0]
        return Exchange(**values)

    @classmethod
    def of(
        cls, exchanges: Iterable[tuple[str, str]], groups: Iterable[str] | None = None
    ) -> Corpus:
        """Return a corpus of (context, response) pairs, each with its group if there are any.

        Raises `CorpusError` for a pair that is not two texts with something in them.
        """
        rows = [_row_from_pair(number, *pair) for number, pair in enumerate(exchanges, start=1)]
        if groups is not None:
            names = list(groups)
            if len(names) != len(rows):
                raise CorpusError(f"{len(names)} groups for {len(rows)} exchanges; wanted one each")
            rows = [row._replace(group=name) for row, name in zip(rows, names, strict=True)]
        return cls(build_table(rows))

    def column(self, name: str) -> list[Any]:
        """Return a column of the canonical table as a list."""
        return list(self.table.column(name).to_pylist())

    def parts(self, columns: list[str]) -> Iterator[pa.Table]:
        """Yield the rows in order, with some columns, portion by portion."""
        if isinstance(self.table, ParquetTable):
            yield from self.table.parts(columns)
            return
        table = self.table.select(columns)
        for start in range(0, table.num_rows, CHUNK_EXCHANGES):
            yield table.slice(start, CHUNK_EXCHANGES)

    def take(self, rows: Ints, columns: list[str]) -> pa.Table:
        """Return some rows with some columns; of a corpus on disk, best in ascending order."""
        if isinstance(self.table, ParquetTable):
            return self.table.take(rows, columns)
        return self.table.select(columns).take(pa.array(rows))

    def with_groups(self, groups: Sequence[str]) -> Corpus:
        """Return the corpus with other groups of its exchanges."""
        kind = CORPUS_SCHEMA.field("group").type
        column = pa.array(groups, kind)
        if isinstance(self.table, ParquetTable):
            return replace(self, table=self.table.with_column("group", column))
        place = self.table.schema.get_field_index("group")
        return replace(self, table=self.table.set_column(place, "group", column))

    def replaced(self, record: dict[str, Any], responses: dict[int, str]) -> dict[str, Any]:
        """Return a record with the responses of some of its exchanges, by id, replaced."""
        ids = sorted(responses)
        places = self.take(np.array(ids, np.int64), ["format", "turn", "values"]).to_pylist()
        forms = [(place["format"], place["turn"]) for place in places]
        return SourceRecord(
            dumps(record), ids, forms, [place["values"] for place in places]
        ).replaced(responses)

    def records(self) -> Iterator[tuple[dict[str, Any], list[int]]]:
        """Yield each input record with the ids of its exchanges, in order."""
        for written in self.source_records():
            yield written.record, written.ids

    def source_records(self) -> Iterator[SourceRecord]:
        """Yield each input record with its exchanges and where they stand in it, in order."""
        columns = ["record", "format", "turn", "values"]
        last: tuple[str, list[int], list[tuple[str, int]], list[str | None]] = ("", [], [], [])
        number = itertools.count()
        for part in self.parts(columns):
            rows = (part.column(name).to_pylist() for name in columns)
            for text, form, turn, values in zip(*rows, strict=True):
                if text is not None:
                    if last[1]:
                        yield SourceRecord(*last)
                    last = (text, [], [], [])
                last[1].append(next(number))
                last[2].append((form, turn))
                last[3].append(values)
        if last[1]:
            yield SourceRecord(*last)


class CorpusRow(NamedTuple):
    """One exchange on its way into the table."""

    record: ParsedRecord
    format: str
    turn: CorpusTurn
    first: bool
    group: str | None

    @property
    def size(self) -> int:
        """Return about how many characters the row takes."""
        own = len(self.turn.response) + sum(len(m.content or "") for m in self.turn.prompt)
        return own + (len(self.record.raw) if self.first else 0)


def _row_from_pair(number: int, context: str, response: str) -> CorpusRow:
    form, value = FORMATS["context_response"], {"context": context, "response": response}
    try:
        (turn,) = form.turns(value)
    except RowError as error:
        raise CorpusError(f"pair {number}: {error}") from None
    return CorpusRow(
        ParsedRecord("<memory>", number, b"", value), serialize_format(form), turn, True, None
    )


def format_context(prompt: tuple[Message, ...]) -> str:
    """Return what a response answers, as one text: every turn before it but the system's."""
    return "\n".join(m.content for m in prompt if m.role != "system" and m.content)


def build_table(rows: list[CorpusRow], start: int = 0) -> pa.Table:
    columns: dict[str, list[Any]] = {
        "id": list(range(start, start + len(rows))),
        "file": [row.record.file for row in rows],
        "line": [row.record.line for row in rows],
        "format": [row.format for row in rows],
        "turn": [row.turn.index for row in rows],
        "context": [format_context(row.turn.prompt) for row in rows],
        "response": [row.turn.response for row in rows],
        "group": [row.group for row in rows],
        "prompt": _serialize_prompts(rows),
        "record": [dumps(row.record.value) if row.first else None for row in rows],
        "values": [None if row.turn.values is None else dumps(row.turn.values) for row in rows],
    }
    return pa.table(columns, schema=CORPUS_SCHEMA)


def _serialize_prompts(rows: list[CorpusRow]) -> list[str]:
    """Return what stands before each response as JSON, each message written once a dialogue."""
    written: dict[Message, str] = {}
    found = []
    for row in rows:
        if row.first:
            written.clear()
        for message in row.turn.prompt:
            if message not in written:
                written[message] = dumps(message._asdict())
        found.append(f"[{', '.join(written[message] for message in row.turn.prompt)}]")
    return found


def count_formats(corpus: Corpus) -> dict[str, int]:
    """Return how many exchanges came in each format."""
    counts: Counter[str] = Counter()
    for part in corpus.parts(["format"]):
        counts.update(part.column("format").to_pylist())
    return {deserialize_format(written).name: count for written, count in sorted(counts.items())}
