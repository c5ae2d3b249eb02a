"""Read the records of a JSON, CSV or Parquet file, each with its line and its original bytes."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from codecs import BOM_UTF8
from collections.abc import Iterator
from functools import partial
from typing import IO, Any, BinaryIO
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import CorpusError, require_extra
from .files import COMPRESSED_SUFFIXES, RECORD_FILE_SUFFIXES
from .json_stream import (
    MAX_DEPTH,
    MAX_LINE_BYTES,
    ParsedRecord,
    find_duplicate,
    is_dialogue_file,
    parse_json,
    parse_record,
    read_array,
    read_dialogue_records,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_LINE_BYTES",
    "ParsedRecord",
    "cast_nanoseconds",
    "dumps",
    "parse_json",
    "read_hub_dataset",
    "read_records",
    "replace_nan",
]

UNSUPPORTED_MAGIC_BYTES = {
    b"BZh": "compressed with bzip2",
    b"PK\x03\x04": "a zip archive",
    b"\xfd7zXZ": "compressed with xz",
    b"ARROW1": "an Arrow file",
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


JSON_ENCODER = json.JSONEncoder(ensure_ascii=False, default=_json_default)
ASCII_JSON_ENCODER = json.JSONEncoder(default=_json_default)
"""The encoder for text that is not valid Unicode, which only escapes can express."""


def dumps(value: Any) -> str:
    """Write JSON on one line; characters are escaped only if the text is not valid Unicode."""
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
    if suffix in (".csv", ".tsv") or not (suffix or first in (b"{", b"[", b"")):
        return _read_csv(name, file, _detect_delimiter(suffix, head))
    if first == b"[" and _is_array(file):
        return read_array(name, file)
    if first == b"{" and is_dialogue_file(name, file):
        return read_dialogue_records(name, file)
    return _read_lines(name, file)


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


def _detect_delimiter(suffix: str, head: bytes) -> str:
    if suffix == ".tsv":
        return "\t"
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
        if line == 1 and raw.strip() == b"{":
            raise CorpusError(
                f"{name} line 1 starts an object that spans several lines; "
                "write one record per line (JSON Lines), or all records as one array"
            )
        if raw.strip():
            yield parse_record(name, line, raw.removesuffix(b"\n").removesuffix(b"\r"))


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
        if not raw.strip(b" "):
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
    if not problem and len(row) != len(header):
        problem = f"the row has {len(row)} cells, but the header has {len(header)}"
    if problem:
        return record._replace(problem=problem)
    return record._replace(value=dict(zip(header, row, strict=True)))


def _read_parquet(name: str, file: BinaryIO) -> Iterator[ParsedRecord]:
    line = 0
    try:
        table = pq.ParquetFile(file)
        if (repeated := find_duplicate(table.schema_arrow.names)) is not None:
            raise CorpusError(f"{name}: the column '{repeated}' appears twice; rename one")
        for batch in table.iter_batches(batch_size=4096):
            for value in cast_nanoseconds(batch).to_pylist():
                line += 1
                yield ParsedRecord(name, line, b"", replace_nan(value))
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(f"{name} is a damaged Parquet file: {error}; download it again") from None
    except (ValueError, OverflowError, LookupError) as error:
        raise CorpusError(
            f"{name} after row {line}: a value cannot be read ({error}); "
            "convert its column to text, or drop it"
        ) from None


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
    try:
        rows = datasets.load_dataset(
            parts.netloc + parts.path,
            parameters.get("config"),
            split=parameters.get("split", "train"),
            revision=parameters.get("revision"),
        )
    except Exception as error:
        raise CorpusError(f"cannot load {source}: {error}") from error
    for number, value in enumerate(rows, start=1):
        yield ParsedRecord(source, number, b"", replace_nan(dict(value)))
