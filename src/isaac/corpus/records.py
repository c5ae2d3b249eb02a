"""The records of a file, whatever its container, each with its line and its bytes as they were."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
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
    "dumps",
    "parse_json",
    "read_hub_dataset",
    "read_records",
]

UNSUPPORTED_MAGIC_BYTES = {
    b"BZh": "packed with bzip2",
    b"PK\x03\x04": "a zip archive",
    b"\xfd7zXZ": "packed with xz",
    b"ARROW1": "an Arrow file",
}
"""What is not read, by the bytes that it begins with."""


def _json_default(value: Any) -> Any:
    """Return a value that JSON has for one of Parquet's that it has not."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


JSON_ENCODER = json.JSONEncoder(ensure_ascii=False, default=_json_default)
ASCII_JSON_ENCODER = json.JSONEncoder(default=_json_default)


def dumps(value: Any) -> str:
    """Return JSON with text as it is, or escaped where it is no valid Unicode."""
    text = JSON_ENCODER.encode(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return ASCII_JSON_ENCODER.encode(value)
    return text


def read_records(name: str, file: BinaryIO) -> Iterator[ParsedRecord]:
    """Yield the records of one file, whatever its container, in order."""
    head, suffix = file.read(4096), _find_suffix(name)
    _check_file_type(name, suffix, head)
    mark = 3 if head[:3] == b"\xef\xbb\xbf" else 0
    file.seek(mark)
    first = head[mark:].lstrip()[:1]
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
    """Raise `CorpusError` for a file that is not what its name says, or not UTF-8."""
    archive = next(
        (kind for magic, kind in UNSUPPORTED_MAGIC_BYTES.items() if head.startswith(magic)), None
    )
    if archive is not None:
        raise CorpusError(f"{name} is {archive}; unpack or convert it first")
    if suffix == ".parquet" and head[:4] != b"PAR1":
        raise CorpusError(f"{name} is not a Parquet file: it does not begin with PAR1")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head[:2]:
        raise CorpusError(f"{name} is UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8")


def _find_suffix(name: str) -> str:
    """Return the suffix that says how a file is written, or nothing if there is none."""
    name = name.lower()
    for packed in COMPRESSED_SUFFIXES:
        name = name.removesuffix(packed)
    return next((suffix for suffix in RECORD_FILE_SUFFIXES if name.endswith(suffix)), "")


def _detect_delimiter(suffix: str, head: bytes) -> str:
    if suffix == ".tsv":
        return "\t"
    first = head.split(b"\n", 1)[0]
    return max(",;\t", key=lambda mark: first.count(mark.encode()))


def _is_array(file: BinaryIO) -> bool:
    """Say whether a file is one JSON array, and not lines of which the first is a list."""
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
                "is the file JSON Lines? Split it, or write one record a line"
            )
        if line == 1 and raw.strip() == b"{":
            raise CorpusError(
                f"{name} line 1 begins an object that goes on over several lines; "
                "write one record a line (JSON Lines), or all of them as one array"
            )
        if raw.strip():
            yield parse_record(name, line, raw.removesuffix(b"\n").removesuffix(b"\r"))


class _LineRecorder:
    """Lines of text for the CSV reader that remembers what it read for the current row."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.read: list[str] = []

    def __iter__(self) -> Iterator[str]:
        for line in self.file:
            self.read.append(line)
            yield line

    def take(self) -> bytes:
        """Return the bytes read since the last call, without the end of the last line."""
        raw, self.read = "".join(self.read), []
        raw = raw.removesuffix("\n").removesuffix("\r")
        return raw.encode("utf-8", "surrogateescape")


def _read_csv(name: str, file: BinaryIO, delimiter: str) -> Iterator[ParsedRecord]:
    csv.field_size_limit(MAX_LINE_BYTES)
    with io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="") as text:
        yield from _parse_csv(name, _LineRecorder(text), delimiter)


def _parse_csv(name: str, spy: _LineRecorder, delimiter: str) -> Iterator[ParsedRecord]:
    rows = csv.reader(spy, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        begin, problem = rows.line_num + 1, ""
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            row, problem = [], f"broken CSV: {_explain_csv_error(error)}"
        raw = spy.take()
        if not raw.strip(b" "):
            continue
        if header is None:
            header = _validate_header(f"{name} line {begin}", raw, row, problem)
        else:
            yield _record_from_csv_row(ParsedRecord(name, begin, raw, problem=problem), header, row)


def _explain_csv_error(error: csv.Error) -> str:
    if str(error) != "unexpected end of data":
        return str(error)
    return "a quote that opens here is never closed, so that the rest of the file is this row"


def _validate_header(place: str, raw: bytes, row: list[str], problem: str) -> list[str]:
    problem = problem or _find_byte_problem(raw)
    if problem:
        raise CorpusError(f"{place}: {problem}; the first row must name the columns")
    if (repeated := find_duplicate(row)) is not None:
        raise CorpusError(f"{place}: the column '{repeated}' stands twice; rename one")
    return row


def _find_byte_problem(raw: bytes) -> str:
    """Return what is wrong with the bytes of a row, or nothing."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"invalid UTF-8 at byte {error.start + 1} of the row"
    return "a NUL byte in the row" if b"\0" in raw else ""


def _record_from_csv_row(read: ParsedRecord, header: list[str], row: list[str]) -> ParsedRecord:
    """Return the record of a row with its cells, or what is wrong with the row."""
    problem = read.problem or _find_byte_problem(read.raw)
    if not problem and len(row) != len(header):
        problem = f"the row has {len(row)} cells where the header names {len(header)}"
    if problem:
        return read._replace(problem=problem)
    return read._replace(value=dict(zip(header, row, strict=True)))


def _read_parquet(name: str, file: BinaryIO) -> Iterator[ParsedRecord]:
    line = 0
    try:
        table = pq.ParquetFile(file)
        if (repeated := find_duplicate(table.schema_arrow.names)) is not None:
            raise CorpusError(f"{name}: the column '{repeated}' stands twice; rename one")
        for batch in table.iter_batches(batch_size=4096):
            for value in _cast_nanoseconds(batch).to_pylist():
                line += 1
                yield ParsedRecord(name, line, b"", _replace_nan(value))
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(f"{name} is a damaged Parquet file: {error}; fetch it again") from None
    except (ValueError, OverflowError, LookupError) as error:
        raise CorpusError(
            f"{name} after row {line}: a value cannot be read ({error}); "
            "convert its column to text, or drop it"
        ) from None


def _cast_nanoseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows with nanosecond times, which Python has not, as text."""
    for place, column in enumerate(batch.schema):
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            batch = batch.set_column(place, column.name, batch.column(place).cast(pa.string()))
    return batch


def _replace_nan(value: Any) -> Any:
    """Return a value with NaN and infinities, which JSON has not, as None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _replace_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replace_nan(inner) for inner in value]
    return value


def read_hub_dataset(source: str) -> Iterator[ParsedRecord]:
    """Yield the rows of ``hf://owner/name?split=train&config=...&revision=...``.

    The split is ``train`` unless given; the number of a row stands for its line.
    """
    datasets = require_extra("datasets", "reading hf:// datasets", "datasets")
    parts = urlsplit(source)
    query = parse_qs(parts.query.replace("+", "%2B"))
    unknown = sorted(set(query) - {"split", "config", "revision"})
    if unknown:
        raise CorpusError(f"{source}: unknown {', '.join(unknown)}; use split, config, revision")
    given = {key: values[-1] for key, values in query.items()}
    try:
        rows = datasets.load_dataset(
            parts.netloc + parts.path,
            given.get("config"),
            split=given.get("split", "train"),
            revision=given.get("revision"),
        )
    except Exception as error:
        raise CorpusError(f"cannot load {source}: {error}") from error
    for number, value in enumerate(rows, start=1):
        yield ParsedRecord(source, number, b"", _replace_nan(dict(value)))
