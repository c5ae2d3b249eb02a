"""A corpus: its exchanges, where each was read, and the rows that were rejected."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..errors import CorpusError
from ..runtime.arrays import Flags, Ints
from .files import InputDigest
from .formats import FORMATS, CorpusTurn, Message, RowError, deserialize_format, serialize_format
from .parquet_table import ParquetTable
from .records import ParsedRecord, dumps
from .rejected import Rejected
from .source_records import SourceRecord

CHUNK_EXCHANGES = 10_000
"""Maximum number of exchanges in one chunk of a corpus."""

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
        "unread_turns": pa.int32(),
        "marked_turns": pa.int32(),
        "untrained": pa.large_string(),
        "fixed": pa.dictionary(pa.int8(), pa.string()),
    }
)
"""The columns of a corpus, one row per exchange.

``format`` is the JSON of `serialize_format`, and ``turn`` the position of the response in its
record. ``prompt`` is the JSON of the messages before the response. ``record`` is the JSON of the
input record; a record with several turns has it only in the row of the first one, and null in the
others. ``values`` is the JSON of the values of a delexicalized response's placeholders; null for
other responses.

The next three columns are about what is no exchange; null means none. ``unread_turns`` counts the
assistant turns of the record that the reading options leave out, ``marked_turns`` those that are
marked as not trained on. ``untrained`` has the JSON of the records without any other turn that come
before the record (``{"before": [...]}``) or, in the very last row, after it (``"after"``).
``fixed`` says why a response is neither replaced nor drawn: it is a "call" of a tool, or reports
its "result"; null for other responses.
"""

OPTIONAL_COLUMNS = ("values", "unread_turns", "marked_turns", "untrained", "fixed")
"""The columns that a corpus from an earlier version may lack."""


class Exchange(NamedTuple):
    """A context with its response, and the file and line they were read from."""

    id: int
    context: str
    response: str
    file: str
    line: int


@dataclass(frozen=True)
class Corpus:
    """The exchanges of a corpus, in the order in which they were read.

    ``table`` has the columns of `CORPUS_SCHEMA` and is in memory or on disk; an exchange's id is
    its row number. ``rejected`` has the rows that could not be used, ``inputs`` a digest of each
    file.
    """

    table: pa.Table | ParquetTable
    rejected: Sequence[Rejected] = field(default_factory=list)
    inputs: list[InputDigest] = field(default_factory=list)

    def __len__(self) -> int:
        """The number of exchanges."""
        return int(self.table.num_rows)

    def __getitem__(self, row: int) -> Exchange:
        """Look up one exchange by its id; raise `IndexError` if there is none."""
        if not 0 <= row < len(self):
            raise IndexError(row)
        values = self.take(np.array([row]), list(Exchange._fields)).to_pylist()[0]
        return Exchange(**values)

    @classmethod
    def of(
        cls, exchanges: Iterable[tuple[str, str]], groups: Iterable[str] | None = None
    ) -> Corpus:
        """Build a corpus from (context, response) pairs, with one group per pair if given.

        Raises `CorpusError` for a pair with an unusable text, such as an empty one, or if there are
        not as many groups as pairs.
        """
        rows = [_row_from_pair(number, *pair) for number, pair in enumerate(exchanges, start=1)]
        if groups is not None:
            names = list(groups)
            if len(names) != len(rows):
                raise CorpusError(
                    f"{len(names)} groups for {len(rows)} exchanges; give one group per exchange"
                )
            rows = [row._replace(group=name) for row, name in zip(rows, names, strict=True)]
        return cls(build_table(rows))

    def column(self, name: str) -> list[Any]:
        """Load a column of `CORPUS_SCHEMA` as a list."""
        return list(self.table.column(name).to_pylist())

    def parts(self, columns: list[str]) -> Iterator[pa.Table]:
        """Yield the rows in order, chunk by chunk, with only these columns."""
        if isinstance(self.table, ParquetTable):
            yield from self.table.parts(columns)
            return
        table = self.table.select(columns)
        for start in range(0, table.num_rows, CHUNK_EXCHANGES):
            yield table.slice(start, CHUNK_EXCHANGES)

    def take(self, rows: Ints, columns: list[str]) -> pa.Table:
        """Select some rows and columns; ascending rows are fastest for a corpus on disk."""
        if isinstance(self.table, ParquetTable):
            return self.table.take(rows, columns)
        return self.table.select(columns).take(pa.array(rows))

    def record_starts(self) -> Flags:
        """Whether each exchange (n,) is the first one of its record."""
        parts = [part.column("record").is_valid().to_numpy() for part in self.parts(["record"])]
        return np.concatenate(parts) if parts else np.zeros(0, bool)

    def with_groups(self, groups: Sequence[str]) -> Corpus:
        """Copy the corpus with new groups, one per exchange."""
        column = pa.array(groups, CORPUS_SCHEMA.field("group").type)
        if isinstance(self.table, ParquetTable):
            return replace(self, table=self.table.with_column("group", column))
        index = self.table.schema.get_field_index("group")
        return replace(self, table=self.table.set_column(index, "group", column))

    def replaced(self, record: dict[str, Any], responses: dict[int, str]) -> dict[str, Any]:
        """Copy a record of the corpus with some responses replaced, given by exchange id."""
        ids = sorted(responses)
        columns = ["format", "turn", "values", "response"]
        rows = self.take(np.array(ids, np.int64), columns).to_pylist()
        positions = [(row["format"], row["turn"]) for row in rows]
        values, texts = ([row[name] for row in rows] for name in ("values", "response"))
        return SourceRecord(dumps(record), ids, positions, values, texts).replaced(responses)[0]

    def records(self) -> Iterator[tuple[dict[str, Any], list[int]]]:
        """Yield each input record with the ids of its exchanges, in order."""
        for source_record in self.source_records():
            yield source_record.record, source_record.ids

    def source_records(self) -> Iterator[SourceRecord]:
        """Yield each input record with the ids and positions of its exchanges, in order."""
        columns = ["record", "format", "turn", "values", "response", "untrained"]
        current = SourceRecord("", [], [], [], [])
        ids = itertools.count()
        for part in self.parts(columns):
            rows = (part.column(name).to_pylist() for name in columns)
            for text, fmt, turn, values, response, untrained in zip(*rows, strict=True):
                # only the first exchange of a record has its text
                if text is not None:
                    if current.ids:
                        yield current
                    current = SourceRecord(text, [], [], [], [])
                if untrained is not None:
                    current = current._replace(**json.loads(untrained))
                current.ids.append(next(ids))
                current.positions.append((fmt, turn))
                current.values.append(values)
                current.responses.append(response)
        if current.ids:
            yield current


class CorpusRow(NamedTuple):
    """One exchange, before it becomes a row of the table.

    ``format`` is the JSON of `serialize_format`. ``starts_record`` marks the first exchange of its
    record, the only one that stores the record and what `CORPUS_SCHEMA` counts. ``before`` and
    ``after`` are the records around it in which no turn is trained on, as JSON.
    """

    record: ParsedRecord
    format: str
    turn: CorpusTurn
    starts_record: bool
    group: str | None
    unread_turns: int = 0
    marked_turns: int = 0
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The approximate size of the row in characters."""
        texts = len(self.turn.response) + sum(len(m.content or "") for m in self.turn.prompt)
        texts += sum(map(len, self.before)) + sum(map(len, self.after))
        return texts + (len(self.record.raw) if self.starts_record else 0)


def _row_from_pair(number: int, context: str, response: str) -> CorpusRow:
    fmt, value = FORMATS["context_response"], {"context": context, "response": response}
    try:
        (turn,) = fmt.turns(value)
    except RowError as error:
        raise CorpusError(f"pair {number}: {error}") from None
    record = ParsedRecord("<memory>", number, b"", value)
    return CorpusRow(record, serialize_format(fmt), turn, starts_record=True, group=None)


def format_context(prompt: tuple[Message, ...]) -> str:
    """Join the messages before a response, one per line, without system and empty messages."""
    return "\n".join(m.content for m in prompt if m.role != "system" and m.content)


def build_table(rows: list[CorpusRow], start: int = 0) -> pa.Table:
    """Build a table of `CORPUS_SCHEMA` from rows; ``start`` is the id of the first one."""
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
        "record": [dumps(row.record.value) if row.starts_record else None for row in rows],
        "values": [None if row.turn.values is None else dumps(row.turn.values) for row in rows],
        "unread_turns": [row.unread_turns or None for row in rows],
        "marked_turns": [row.marked_turns or None for row in rows],
        "untrained": [_serialize_untrained(row) for row in rows],
        "fixed": [row.turn.fixed or None for row in rows],
    }
    return pa.table(columns, schema=CORPUS_SCHEMA)


def _serialize_untrained(row: CorpusRow) -> str | None:
    """Serialize the records around a row in which no turn is trained on; None without any."""
    records = {"before": row.before, "after": row.after}
    found = {place: texts for place, texts in records.items() if texts}
    return dumps(found) if found else None


def _serialize_prompts(rows: list[CorpusRow]) -> list[str]:
    """Serialize the messages before each response, encoding each message once per record."""
    encoded: dict[Message, str] = {}
    prompts = []
    for row in rows:
        if row.starts_record:
            encoded.clear()
        for message in row.turn.prompt:
            if message not in encoded:
                encoded[message] = dumps(message._asdict())
        prompts.append(f"[{', '.join(encoded[message] for message in row.turn.prompt)}]")
    return prompts


def count_formats(corpus: Corpus) -> dict[str, int]:
    """Count the exchanges of each format, by format name."""
    counts: Counter[str] = Counter()
    for part in corpus.parts(["format"]):
        counts.update(part.column("format").to_pylist())
    return {deserialize_format(text).name: count for text, count in sorted(counts.items())}
