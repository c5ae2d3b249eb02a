"""Read the records of a JSON, CSV or Parquet file, each with its line and its original bytes."""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import math
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import CorpusError, require_extra
from ..runtime.remote import resolve_url
from .files import COMPRESSED_SUFFIXES, RECORD_FILE_SUFFIXES, SourceFile, open_source
from .json_stream import (
    MAX_DEPTH,
    MAX_LINE_BYTES,
    ParsedRecord,
    find_duplicate,
    is_dialogue_file,
    is_single_object,
    parse_json,
    parse_line,
    read_array,
    read_dialogue_records,
    read_objects,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_LINE_BYTES",
    "ParsedRecord",
    "cast_nanoseconds",
    "dumps",
    "parse_json",
    "read_batch",
    "read_hub_dataset",
    "read_records",
    "replace_nan",
]

UNSUPPORTED_MAGIC_BYTES = {
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
}
"""File types that isaac does not read, by the bytes that they start with."""


def _json_default(value: Any) -> Any:
    """Convert a value without a JSON type: an array to a list, a date or bytes to text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


JSON_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_json_default)
ASCII_JSON_ENCODER = json.JSONEncoder(allow_nan=False, default=_json_default)
"""The encoder for text that is not valid Unicode, which only escapes can express."""


def dumps(value: Any) -> str:
    """Write JSON on one line; characters are escaped only if the text is not valid Unicode.

    NaN and infinities, which JSON cannot express, become null.
    """
    try:
        text = JSON_ENCODER.encode(value)
    except ValueError:
        value = replace_nan(value)
        text = JSON_ENCODER.encode(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return ASCII_JSON_ENCODER.encode(value)
    return text


def read_records(name: str, file: BinaryIO) -> Iterator[ParsedRecord]:
    """Yield the records of one file in order; its type is detected from its name and first bytes.

    Raises `CorpusError` for a file that cannot be read at all. A broken record does not stop the
    others if its end can be found: it is yielded with its problem instead of a value.
    """
    head, suffix = file.read(4096), _find_suffix(name)
    _check_file_type(name, suffix, head)
    start = len(BOM_UTF8) if head.startswith(BOM_UTF8) else 0
    file.seek(start)
    first = head[start:].lstrip()[:1]
    if head[:4] == b"PAR1":
        return _read_parquet(name, file)
    if head[:6] == b"ARROW1" or head[:4] == b"\xff\xff\xff\xff":
        return _read_arrow(name, file, stream=head[:6] != b"ARROW1")
    if suffix in (".csv", ".tsv") or not (suffix or first in (b"{", b"[", b"")):
        return _read_csv(name, file, _detect_delimiter(suffix, head))
    return _read_json(name, file, first)


def _read_json(name: str, file: BinaryIO, first: bytes) -> Iterator[ParsedRecord]:
    """Read a file of JSON by its first character that is not blank."""
    if first == b"[" and _is_array(file):
        return read_array(name, file)
    if first == b"{" and is_dialogue_file(name, file):
        return read_dialogue_records(name, file)
    if first == b"{" and is_single_object(name, file):
        return _read_objects_or_lines(name, file)
    return _read_lines(name, file)


def _read_objects_or_lines(name: str, file: BinaryIO) -> Iterator[ParsedRecord]:
    """Read a file whose objects span lines; if its first object is broken, read line by line."""
    start = file.tell()
    records = read_objects(name, file)
    try:
        first = next(records)
    except CorpusError:
        file.seek(start)
        yield from _read_lines(name, file)
        return
    yield first
    yield from records


def _check_file_type(name: str, suffix: str, head: bytes) -> None:
    """Raise `CorpusError` for an unsupported file type, a wrong suffix or UTF-16."""
    for magic, description in UNSUPPORTED_MAGIC_BYTES.items():
        if head.startswith(magic):
            raise CorpusError(f"{name} is {description}; unpack or convert it first")
    if suffix == ".parquet" and head[:4] != b"PAR1":
        raise CorpusError(f"{name} is not a Parquet file: it does not start with PAR1")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head[:2]:
        raise CorpusError(f"{name} is UTF-16, not UTF-8; convert it with iconv -f UTF-16 -t UTF-8")


def _find_suffix(name: str) -> str:
    """The suffix that names a file's type, without compression; empty if there is none."""
    name = name.lower()
    for compressed in COMPRESSED_SUFFIXES:
        name = name.removesuffix(compressed)
    return next((suffix for suffix in RECORD_FILE_SUFFIXES if name.endswith(suffix)), "")


SEPARATOR_LINE = re.compile(rb"sep=([,;\t|])\r?\n", re.IGNORECASE)
"""A first line that names the delimiter of a CSV file, as Excel writes it."""


def _detect_delimiter(suffix: str, head: bytes) -> str:
    if suffix == ".tsv":
        return "\t"
    if (named := SEPARATOR_LINE.match(head)) is not None:
        return named[1].decode()
    header = head.split(b"\n", 1)[0]
    return max(",;\t", key=lambda delimiter: header.count(delimiter.encode()))


def _is_array(file: BinaryIO) -> bool:
    """Whether a file that starts with ``[`` is one JSON array, not JSON Lines with a list first."""
    start = file.tell()
    lines = filter(bytes.strip, iter(partial(file.readline, MAX_LINE_BYTES), b""))
    first, second = next(lines, b""), next(lines, None)
    file.seek(start)
    if second is None:
        return True
    try:
        parse_json(first.decode("utf-8"))
    except (ValueError, RecursionError):
        return True
    return False


def _read_lines(name: str, file: BinaryIO) -> Iterator[ParsedRecord]:
    line = 0
    while raw := file.readline(MAX_LINE_BYTES):
        line += 1
        if len(raw) == MAX_LINE_BYTES and not raw.endswith(b"\n"):
            raise CorpusError(
                f"{name} line {line} is longer than {MAX_LINE_BYTES >> 20} MiB; "
                "split it, or write one record per line (JSON Lines)"
            )
        if raw.strip():
            yield from parse_line(name, line, raw.removesuffix(b"\n").removesuffix(b"\r"))


class _LineRecorder:
    """Passes lines to the CSV reader, and keeps those of the current row."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.lines: list[str] = []

    def __iter__(self) -> Iterator[str]:
        for line in self.file:
            self.lines.append(line)
            yield line

    def take(self) -> bytes:
        """Take the bytes of the lines since the last call, without the last line break."""
        raw, self.lines = "".join(self.lines), []
        raw = raw.removesuffix("\n").removesuffix("\r")
        return raw.encode("utf-8", "surrogateescape")


def _read_csv(name: str, file: BinaryIO, delimiter: str) -> Iterator[ParsedRecord]:
    csv.field_size_limit(MAX_LINE_BYTES)
    with io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="") as text:
        yield from _parse_csv(name, _LineRecorder(text), delimiter)


def _parse_csv(name: str, lines: _LineRecorder, delimiter: str) -> Iterator[ParsedRecord]:
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        line, problem = rows.line_num + 1, ""
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            row, problem = [], f"broken CSV: {_explain_csv_error(error)}"
        raw = lines.take()
        if not raw.strip(b" ") or (header is None and SEPARATOR_LINE.fullmatch(raw + b"\n")):
            continue
        if header is None:
            header = _validate_header(f"{name} line {line}", raw, row, problem)
        else:
            yield _record_from_csv_row(ParsedRecord(name, line, raw, problem=problem), header, row)


def _explain_csv_error(error: csv.Error) -> str:
    if str(error) != "unexpected end of data":
        return str(error)
    return "a quote opened here is never closed, so the row takes up the rest of the file"


def _validate_header(place: str, raw: bytes, row: list[str], problem: str) -> list[str]:
    """Check a CSV header and return its columns; ``problem`` is an error of the CSV reader."""
    problem = problem or _find_byte_problem(raw)
    if problem:
        raise CorpusError(f"{place}: {problem}; the first row must name the columns")
    while row.count("") > 1 and not row[-1]:  # a delimiter at the end of each line
        row = row[:-1]
    if (repeated := find_duplicate(row)) is not None:
        raise CorpusError(f"{place}: the column '{repeated}' appears twice; rename one")
    return row


def _find_byte_problem(raw: bytes) -> str:
    """Describe what is wrong with the bytes of a row; empty if nothing is."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"invalid UTF-8 at byte {error.start + 1} of the row"
    return "a NUL byte in the row" if b"\0" in raw else ""


def _record_from_csv_row(record: ParsedRecord, header: list[str], row: list[str]) -> ParsedRecord:
    """Set the record's value from the cells of its row, or describe what is wrong with them."""
    problem = record.problem or _find_byte_problem(record.raw)
    while len(row) > len(header) and not row[-1]:
        row = row[:-1]
    if not problem and len(row) != len(header):
        problem = f"the row has {len(row)} cells, but the header has {len(header)}"
    if problem:
        return record._replace(problem=problem)
    return record._replace(value=dict(zip(header, row, strict=True)))


def _read_parquet(name: str, file: BinaryIO) -> Iterator[ParsedRecord]:
    with _explain_table_errors(name, "Parquet"):
        table = pq.ParquetFile(file)
        batches = table.iter_batches(batch_size=4096)
        yield from _read_batches(name, table.schema_arrow, batches)


def _read_arrow(name: str, file: BinaryIO, *, stream: bool) -> Iterator[ParsedRecord]:
    """Read an Arrow file or stream, as Feather and `datasets.save_to_disk` write them."""
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


def replace_nan(value: Any) -> Any:
    """Replace NaN and infinities, which JSON cannot express, with None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: replace_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [replace_nan(inner) for inner in value]
    return value


def read_hub_dataset(source: str) -> Iterator[ParsedRecord]:
    """Yield the rows of ``hf://owner/name?split=train&config=...&revision=...``.

    The default split is ``train``; the line of a record is its row number, from 1. Raises
    `CorpusError` if the dataset cannot be loaded.
    """
    datasets = require_extra("datasets", "reading hf:// datasets", "datasets")
    parts = urlsplit(source)
    query = parse_qs(parts.query.replace("+", "%2B"))  # a + in a revision is not a space
    unknown = sorted(set(query) - {"split", "config", "revision"})
    if unknown:
        raise CorpusError(
            f"{source}: unknown parameter {', '.join(unknown)}; available: split, config, revision"
        )
    parameters = {key: values[-1] for key, values in query.items()}
    path, config = parts.netloc + parts.path, parameters.get("config")
    split, revision = parameters.get("split", "train"), parameters.get("revision")
    try:
        files = _find_hub_files(datasets, path, config, split, revision)
        if not files:
            rows = datasets.load_dataset(path, config, split=split, revision=revision)
    except Exception as error:
        raise CorpusError(f"cannot load {source}: {error}") from error
    if files:
        records = itertools.chain.from_iterable(map(_read_hub_file, files))
        for number, record in enumerate(records, start=1):
            yield record._replace(file=source, line=number)
        return
    for number, value in enumerate(rows, start=1):
        yield ParsedRecord(source, number, b"", replace_nan(dict(value)))


def _find_hub_files(
    datasets: Any, path: str, config: str | None, split: str, revision: str | None
) -> list[str]:
    """The files of a split if all of them are of types that isaac reads itself; else none.

    The JSON loader of datasets 5.2 returns JSON source for every text of a column in which one
    text, in a later block of 10 MB or a later file, is a list; so isaac's own reader comes first.
    """
    builder = datasets.load_dataset_builder(path, config, revision=revision)
    files = [str(file) for file in (builder.config.data_files or {}).get(split, [])]
    return files if all(name.lower().endswith(HUB_SUFFIXES) for name in files) else []


HUB_SUFFIXES = tuple(
    f"{suffix}{packed}" for suffix in RECORD_FILE_SUFFIXES for packed in ("", *COMPRESSED_SUFFIXES)
)


def _read_hub_file(url: str) -> Iterator[ParsedRecord]:
    source = SourceFile(url, Path(url))
    if "://" in url:
        source = SourceFile(url, None, url, resolve_url(url)[1])
    with open_source(source) as (file, _):
        yield from read_records(url, file)
