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

from ..errors import CorpusError, needed
from .files import COMPRESSED, SUFFIXES
from .json_stream import (
    MAX_DEPTH,
    MAX_LINE,
    Record,
    dialogues,
    elements,
    is_of_dialogues,
    parse,
    parsed,
    repeated_in,
)

__all__ = ["MAX_DEPTH", "MAX_LINE", "Record", "dumps", "parse", "read_hub", "read_records"]

ARCHIVES = {
    b"BZh": "packed with bzip2",
    b"PK\x03\x04": "a zip archive",
    b"\xfd7zXZ": "packed with xz",
    b"ARROW1": "an Arrow file",
}
"""What is not read, by the bytes that it begins with."""


def _plain(value: Any) -> Any:
    """Return a value that JSON has for one of Parquet's that it has not."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


ENCODER = json.JSONEncoder(ensure_ascii=False, default=_plain)
ASCII_ENCODER = json.JSONEncoder(default=_plain)


def dumps(value: Any) -> str:
    """Return JSON with text as it is, or escaped where it is no valid Unicode."""
    text = ENCODER.encode(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return ASCII_ENCODER.encode(value)
    return text


def read_records(name: str, file: BinaryIO) -> Iterator[Record]:
    """Yield the records of one file, whatever its container, in order."""
    head, suffix = file.read(4096), _suffix(name)
    _refuse(name, suffix, head)
    mark = 3 if head[:3] == b"\xef\xbb\xbf" else 0
    file.seek(mark)
    first = head[mark:].lstrip()[:1]
    if head[:4] == b"PAR1":
        return _parquet(name, file)
    if suffix in (".csv", ".tsv") or not (suffix or first in (b"{", b"[", b"")):
        return _csv(name, file, _delimiter(suffix, head))
    if first == b"[" and _is_array(file):
        return elements(name, file)
    if first == b"{" and is_of_dialogues(name, file):
        return dialogues(name, file)
    return _lines(name, file)


def _refuse(name: str, suffix: str, head: bytes) -> None:
    """Raise `CorpusError` for a file that is not what its name says, or not UTF-8."""
    archive = next((kind for magic, kind in ARCHIVES.items() if head.startswith(magic)), None)
    if archive is not None:
        raise CorpusError(f"{name} is {archive}; unpack or convert it first")
    if suffix == ".parquet" and head[:4] != b"PAR1":
        raise CorpusError(f"{name} is not a Parquet file: it does not begin with PAR1")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head[:2]:
        raise CorpusError(f"{name} is UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8")


def _suffix(name: str) -> str:
    """Return the suffix that says how a file is written, or nothing if there is none."""
    name = name.lower()
    for packed in COMPRESSED:
        name = name.removesuffix(packed)
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def _delimiter(suffix: str, head: bytes) -> str:
    if suffix == ".tsv":
        return "\t"
    first = head.split(b"\n", 1)[0]
    return max(",;\t", key=lambda mark: first.count(mark.encode()))


def _is_array(file: BinaryIO) -> bool:
    """Say whether a file is one JSON array, and not lines of which the first is a list."""
    start = file.tell()
    lines = filter(bytes.strip, iter(partial(file.readline, MAX_LINE), b""))
    first, second = next(lines, b""), next(lines, None)
    file.seek(start)
    if second is None:
        return True
    try:
        parse(first.decode("utf-8"))
    except (ValueError, RecursionError):
        return True
    return False


def _lines(name: str, file: BinaryIO) -> Iterator[Record]:
    line = 0
    while raw := file.readline(MAX_LINE):
        line += 1
        if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
            raise CorpusError(
                f"{name} line {line} is longer than {MAX_LINE >> 20} MiB; "
                "is the file JSON Lines? Split it, or write one record a line"
            )
        if line == 1 and raw.strip() == b"{":
            raise CorpusError(
                f"{name} line 1 begins an object that goes on over several lines; "
                "write one record a line (JSON Lines), or all of them as one array"
            )
        if raw.strip():
            yield parsed(name, line, raw.removesuffix(b"\n").removesuffix(b"\r"))


class _Spy:
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


def _csv(name: str, file: BinaryIO, delimiter: str) -> Iterator[Record]:
    csv.field_size_limit(MAX_LINE)
    with io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="") as text:
        yield from _csv_records(name, _Spy(text), delimiter)


def _csv_records(name: str, spy: _Spy, delimiter: str) -> Iterator[Record]:
    rows = csv.reader(spy, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        begin, problem = rows.line_num + 1, ""
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            row, problem = [], f"broken CSV: {_csv_why(error)}"
        raw = spy.take()
        if not raw.strip(b" "):
            continue
        if header is None:
            header = _header(f"{name} line {begin}", raw, row, problem)
        else:
            yield _csv_row(Record(name, begin, raw, problem=problem), header, row)


def _csv_why(error: csv.Error) -> str:
    if str(error) != "unexpected end of data":
        return str(error)
    return "a quote that opens here is never closed, so that the rest of the file is this row"


def _header(place: str, raw: bytes, row: list[str], problem: str) -> list[str]:
    problem = problem or _unreadable(raw)
    if problem:
        raise CorpusError(f"{place}: {problem}; the first row must name the columns")
    if (repeated := repeated_in(row)) is not None:
        raise CorpusError(f"{place}: the column '{repeated}' stands twice; rename one")
    return row


def _unreadable(raw: bytes) -> str:
    """Return what is wrong with the bytes of a row, or nothing."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"invalid UTF-8 at byte {error.start + 1} of the row"
    return "a NUL byte in the row" if b"\0" in raw else ""


def _csv_row(read: Record, header: list[str], row: list[str]) -> Record:
    """Return the record of a row with its cells, or what is wrong with the row."""
    problem = read.problem or _unreadable(read.raw)
    if not problem and len(row) != len(header):
        problem = f"the row has {len(row)} cells where the header names {len(header)}"
    if problem:
        return read._replace(problem=problem)
    return read._replace(value=dict(zip(header, row, strict=True)))


def _parquet(name: str, file: BinaryIO) -> Iterator[Record]:
    line = 0
    try:
        table = pq.ParquetFile(file)
        if (repeated := repeated_in(table.schema_arrow.names)) is not None:
            raise CorpusError(f"{name}: the column '{repeated}' stands twice; rename one")
        for batch in table.iter_batches(batch_size=4096):
            for value in _readable(batch).to_pylist():
                line += 1
                yield Record(name, line, b"", _without_nan(value))
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(f"{name} is a damaged Parquet file: {error}; fetch it again") from None
    except (ValueError, OverflowError, LookupError) as error:
        raise CorpusError(
            f"{name} after row {line}: a value cannot be read ({error}); "
            "convert its column to text, or drop it"
        ) from None


def _readable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows with nanosecond times, which Python has not, as text."""
    for place, column in enumerate(batch.schema):
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            batch = batch.set_column(place, column.name, batch.column(place).cast(pa.string()))
    return batch


def _without_nan(value: Any) -> Any:
    """Return a value with NaN and infinities, which JSON has not, as None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return value


def read_hub(source: str) -> Iterator[Record]:
    """Yield the rows of ``hf://owner/name?split=train&config=...&revision=...``.

    The split is ``train`` unless given; the number of a row stands for its line.
    """
    datasets = needed("datasets", "reading hf:// datasets", "datasets")
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
        yield Record(source, number, b"", _without_nan(dict(value)))
