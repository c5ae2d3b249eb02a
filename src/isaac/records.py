"""The records of a file, whatever its container, each with its line and its bytes as they were."""

from __future__ import annotations

import base64
import codecs
import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import IO, Any, BinaryIO, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from .errors import CorpusError, MissingExtraError
from .sources import COMPRESSED, SUFFIXES
from .text import short

MAX_LINE = 256 * 2**20
"""Bytes of one line; a longer one means that the file is not one of lines."""

MAX_DEPTH = 100
"""Levels of lists and objects in one record; far deeper ones could be read but not written."""

MEND = (
    "mend it there, or write one record a line (JSON Lines), "
    "where a broken record does not stop the rest"
)


ARCHIVES = {
    b"BZh": "packed with bzip2",
    b"PK\x03\x04": "a zip archive",
    b"\xfd7zXZ": "packed with xz",
    b"ARROW1": "an Arrow file",
}
"""What is not read, by the bytes that it begins with."""


class Record(NamedTuple):
    """What stood at one place of the input: a record, or the problem that it has."""

    file: str
    line: int
    raw: bytes
    value: dict[str, Any] | None = None
    problem: str = ""


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
        return _array(name, file)
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
            yield _parsed(name, line, raw.removesuffix(b"\n").removesuffix(b"\r"))


def _parsed(name: str, line: int, raw: bytes) -> Record:
    try:
        value = parse(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return Record(name, line, raw, problem=_why(error))
    return _record(name, line, raw, value)


def _why(error: Exception) -> str:
    """Return why JSON could not be read, on one line."""
    if isinstance(error, UnicodeDecodeError):
        return f"invalid UTF-8 at byte {error.start + 1} of the line"
    if isinstance(error, RecursionError):
        return "JSON nested too deeply"
    if isinstance(error, RepeatedKeyError):
        return str(error)
    if isinstance(error, json.JSONDecodeError):
        return f"broken JSON: {error.msg.removesuffix(' at')} at character {error.pos + 1}"
    return "a number with too many digits"


def _record(name: str, line: int, raw: bytes, value: Any) -> Record:
    """Return the record of a JSON value, or what is wrong with the value."""
    if not isinstance(value, dict):
        return Record(name, line, raw, problem=f"{_kind(value)}, not an object")
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _is_deep(value):
        return Record(name, line, raw, problem="JSON nested too deeply")
    return Record(name, line, raw, value)


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return f"JSON that is {kinds.get(type(value), 'a number')}"


def _is_deep(value: Any) -> bool:
    """Say whether a value is nested deeper than `MAX_DEPTH`."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _nested(outer)]
    return bool(level)


def _nested(value: Any) -> list[Any]:
    values = value.values() if isinstance(value, dict) else value
    return [inner for inner in values if isinstance(inner, dict | list)]


class RepeatedKeyError(ValueError):
    """An object has one key twice, so that one of its values would be lost."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        repeated = _repeated(key for key, _ in pairs)
        raise RepeatedKeyError(f"the key '{repeated}' stands twice in one object")
    return value


def _repeated(names: Iterable[str]) -> str | None:
    """Return a name that stands twice, fit to be shown, or None."""
    counts = Counter(names)
    return next((short(name) for name, count in counts.items() if count > 1), None)


DECODER = json.JSONDecoder(object_pairs_hook=_object)


def parse(text: str) -> Any:
    """Return the value of a JSON text; a repeated key raises `RepeatedKeyError`."""
    return DECODER.decode(text)


class _Window:
    """The text of a file from a place in it on, as much of it as is needed."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self.name, self.file = name, file
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.text, self.at, self.line, self.ended = "", 0, 1, False

    def more(self) -> None:
        """Read at least as much again as is there, and drop what was passed."""
        self.text, self.at = self.text[self.at :], 0
        data = self.file.read(max(STEP, len(self.text)))
        self.ended = not data
        try:
            self.text += self.decoder.decode(data, final=self.ended)
        except UnicodeDecodeError as error:
            line = self.line + self.text.count("\n") + error.object.count(b"\n", 0, error.start)
            raise CorpusError(
                f"{self.name} line {line}: invalid UTF-8; convert the file to UTF-8"
            ) from None

    def next(self, skipped: str = " \t\r\n,") -> str:
        """Go to the next character that is not skipped, and return it; nothing at the end."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in skipped:
                self.at += 1
                self.line += self.text[self.at - 1] == "\n"
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self.more()

    def value(self) -> tuple[Any, str]:
        """Return the value that begins here with its text, and go to its end."""
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
            except (ValueError, RecursionError) as error:
                if self.ended or len(self.text) - self.at > MAX_LINE or _final(error):
                    raise self.broken(error) from None
            else:
                if end < len(self.text) or self.ended:
                    break
            self.more()
        raw = self.text[self.at : end]
        self.line, self.at = self.line + raw.count("\n"), end
        return value, raw

    def broken(self, error: Exception) -> CorpusError:
        """Return what is said of a value here that cannot be read."""
        line, why = self.line, _why(error)
        if isinstance(error, json.JSONDecodeError):
            line += self.text.count("\n", self.at, error.pos)
            why = f"broken JSON: {error.msg.removesuffix(' at')}"
        return CorpusError(f"{self.name} line {line}: {why} in the array; {MEND}")


STEP = 2**20
"""Bytes of an array that are read at a time, more if an element is longer."""


def _final(error: Exception) -> bool:
    """Say whether more of the text would not mend a value."""
    return isinstance(error, RecursionError | RepeatedKeyError)


def _array(name: str, file: BinaryIO) -> Iterator[Record]:
    """Yield the elements of one JSON array, each with the line that it begins on."""
    window = _Window(name, file)
    window.next()
    window.at += 1
    while window.next() != "]":
        line = window.line
        value, raw = window.value()
        yield _record(name, line, raw.encode(), value)
    window.at += 1
    if window.next(" \t\r\n"):
        raise CorpusError(
            f"{name} line {window.line}: there is more after the end of the array; {MEND}"
        )


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
    if (repeated := _repeated(row)) is not None:
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
        if (repeated := _repeated(table.schema_arrow.names)) is not None:
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
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("reading hf:// datasets", "datasets") from None
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
