"""Make tables of rows, chunk by chunk, with the records that have no row of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa

from ..runtime.concurrency import gc_paused
from .corpus import CHUNK_EXCHANGES, CorpusRow, build_table
from .records import ParsedRecord, dumps
from .rejected import Rejected, RejectedSink

CHUNK_CHARACTERS = 2**24
"""Number of characters at which a chunk ends early, so that long texts do not fill memory."""


def read_next_table(tables: Iterator[pa.Table]) -> pa.Table | None:
    """Read the next table without garbage collection, which costs time; None at the end."""
    with gc_paused():
        return next(tables, None)


def build_tables(rows: Iterator[CorpusRow]) -> Iterator[pa.Table]:
    """Yield rows as tables of `CORPUS_SCHEMA`, chunk by chunk, with ids from 0."""
    start = 0
    for chunk in _split_rows(rows):
        yield build_table(chunk, start)
        start += len(chunk)


def _split_rows(rows: Iterator[CorpusRow]) -> Iterator[list[CorpusRow]]:
    """Split the rows into chunks that fit into memory, however long their texts are."""
    chunk: list[CorpusRow] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += row.size
        if len(chunk) == CHUNK_EXCHANGES or size >= CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class UntrainedRecord(NamedTuple):
    """A record in which no turn is trained on: all of its turns are marked so."""

    record: ParsedRecord
    marked_turns: int


def take_exchanges(
    items: Iterator[CorpusRow | UntrainedRecord], limit: int | None
) -> Iterator[CorpusRow | UntrainedRecord]:
    """Yield the items up to the exchange with which the limit is reached."""
    count = 0
    for item in items:
        yield item
        count += isinstance(item, CorpusRow)
        if count == limit:
            return


def attach_untrained(
    items: Iterator[CorpusRow | UntrainedRecord], rejected: RejectedSink
) -> Iterator[CorpusRow]:
    """Yield the exchanges, with untrained records attached to the next one, or to the last.

    If there is no exchange at all, the untrained records are rejected.
    """
    last: CorpusRow | None = None
    waiting: list[UntrainedRecord] = []
    for item in items:
        if isinstance(item, UntrainedRecord):
            waiting.append(item)
            continue
        if last is not None:
            yield last
        marked = item.marked_turns + sum(other.marked_turns for other in waiting)
        last, waiting = item._replace(before=_as_texts(waiting), marked_turns=marked), []
    if last is not None:
        marked = last.marked_turns + sum(other.marked_turns for other in waiting)
        yield last._replace(after=_as_texts(waiting), marked_turns=marked)
        return
    for other in waiting:
        rejected.append(
            reject_record(
                other.record,
                "no assistant turn is trained on: all are marked, such as with weight 0",
            )
        )


def _as_texts(records: list[UntrainedRecord]) -> tuple[str, ...]:
    return tuple(dumps(other.record.value) for other in records)


def reject_record(record: ParsedRecord, reason: str) -> Rejected:
    """The unusable row that a record is, with its original bytes."""
    raw = record.raw or dumps(record.value).encode()
    return Rejected(record.file, record.line, reason, raw)
