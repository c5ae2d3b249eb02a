"""Data in memory as records: mappings, Arrow tables, data frames and datasets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import pyarrow as pa

from ..errors import CorpusError
from .records import ParsedRecord, dumps, parse_json, replace_nan
from .tables import read_batch

MEMORY_NAME = "<memory>"
"""The file name of rows that were read from memory."""

INDEX_PREFIX = "__index_level_"
"""How pandas names the columns that it makes of an index when it exports a frame to Arrow."""


class ArrowStream(Protocol):
    """Anything with the Arrow PyCapsule interface: a table, or a data frame of pandas or polars."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Export the data as a stream of Arrow record batches."""
        ...


Data = ArrowStream | Iterable[Mapping[str, Any]]
"""A corpus in memory: a table or data frame, or an iterable of mappings, such as a dataset."""


def iter_memory_records(data: Data) -> Iterator[ParsedRecord]:
    """Yield the rows of data in memory as records, numbered from 1.

    Raises `CorpusError` if the data is neither a table nor an iterable of mappings.
    """
    if isinstance(data, str | bytes | Mapping) or not (
        hasattr(data, "__arrow_c_stream__") or isinstance(data, Iterable)
    ):
        raise CorpusError(
            f"cannot read a corpus from {type(data).__name__}; expected a path, a list of "
            "records, an Arrow table, a data frame, or a dataset"
        )
    for line, value in enumerate(_iter_values(data), start=1):
        if not isinstance(value, Mapping):
            raise CorpusError(
                f"row {line} is {type(value).__name__}, not a record; expected a mapping such as "
                '{"context": ..., "response": ...}, or use Corpus.of for pairs'
            )
        # Through JSON, so that a row is what a file with the same row would be.
        yield ParsedRecord(MEMORY_NAME, line, b"", parse_json(dumps(replace_nan(dict(value)))))


def _iter_values(data: Any) -> Iterator[Any]:
    if hasattr(data, "__arrow_c_stream__"):
        for batch in pa.RecordBatchReader.from_stream(data):
            names = [name for name in batch.schema.names if not name.startswith(INDEX_PREFIX)]
            yield from read_batch(batch.select(names))
        return
    # A dataset may be set to yield tensors; its plain values are wanted.
    yield from data.with_format(None) if hasattr(data, "with_format") else data
