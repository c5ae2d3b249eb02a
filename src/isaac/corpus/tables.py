"""Read Parquet and Arrow tables as records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import CorpusError
from .json_stream import ParsedRecord, find_duplicate, parse_json, replace_nan


def read_parquet(name: str, file: BinaryIO) -> Iterator[ParsedRecord]:
    """Yield the rows of a Parquet file. Raises `CorpusError` if it is damaged."""
    with _explain_table_errors(name, "Parquet"):
        table = pq.ParquetFile(file)
        batches = table.iter_batches(batch_size=4096)
        yield from _read_batches(name, table.schema_arrow, batches)


def read_arrow(name: str, file: BinaryIO, *, stream: bool) -> Iterator[ParsedRecord]:
    """Yield the rows of an Arrow file or stream, as Feather and `datasets.save_to_disk` write them.

    Raises `CorpusError` if it is damaged.
    """
    with _explain_table_errors(name, "Arrow"):
        if stream:
            reader = pa.ipc.open_stream(file)
            yield from _read_batches(name, reader.schema, reader)
            return
        table = pa.ipc.open_file(file)
        batches = (table.get_batch(number) for number in range(table.num_record_batches))
        yield from _read_batches(name, table.schema, batches)


@contextmanager
def _explain_table_errors(name: str, kind: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(f"{name} is a damaged {kind} file: {error}; download it again") from None


def _read_batches(
    name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> Iterator[ParsedRecord]:
    if (repeated := find_duplicate(schema.names)) is not None:
        raise CorpusError(f"{name}: the column '{repeated}' appears twice; rename one")
    line = 0
    for batch in batches:
        for value in read_batch(batch):
            line += 1
            yield ParsedRecord(name, line, b"", value)


def read_batch(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Yield the rows of a batch as JSON values.

    A column whose values Python cannot express, such as a date in the year 20000, is read as text.
    """
    batch = cast_nanoseconds(batch)
    columns = [_read_column(column) for column in batch.columns]
    for row in zip(*columns, strict=True):
        yield replace_nan(dict(zip(batch.schema.names, row, strict=True)))


def _read_column(column: pa.Array) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, OverflowError, LookupError):
        try:
            values = column.cast(pa.string()).to_pylist()
        except (pa.ArrowException, ValueError):
            values = [_read_scalar(value) for value in column]
    return (
        [_decode_json(value, column.type) for value in values] if _has_json(column.type) else values
    )


def _read_scalar(value: pa.Scalar) -> Any:
    """A value that Python cannot express, as text; bytes that are no UTF-8 become surrogates."""
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return value.as_buffer().to_pybytes().decode("utf-8", "surrogateescape")
    except (ValueError, OverflowError, LookupError):
        return str(value)


def _has_json(kind: pa.DataType) -> bool:
    """Whether a type is, or contains, JSON as text: datasets 5 writes mixed contents like that."""
    if getattr(kind, "extension_name", "") == "arrow.json":
        return True
    return any(_has_json(kind.field(number).type) for number in range(kind.num_fields))


def _decode_json(value: Any, kind: pa.DataType) -> Any:
    """Parse the JSON in a value of such a type."""
    if value is None or not _has_json(kind):
        return value
    if getattr(kind, "extension_name", "") == "arrow.json":
        return parse_json(value)
    if isinstance(value, dict):
        fields = (kind.field(number) for number in range(kind.num_fields))
        return {field.name: _decode_json(value.get(field.name), field.type) for field in fields}
    return [_decode_json(item, kind.value_type) for item in value]


def cast_nanoseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Convert timestamps in nanoseconds to text, because datetime has only microseconds."""
    for index, column in enumerate(batch.schema):
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            batch = batch.set_column(index, column.name, batch.column(index).cast(pa.string()))
    return batch
