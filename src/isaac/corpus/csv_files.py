"""Read CSV and TSV files, each row with its line and its original bytes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import IO, BinaryIO

from ..errors import CorpusError
from .json_stream import ENCODING_HINT, INVALID_UTF8, MAX_LINE_BYTES, ParsedRecord, find_duplicate

SEPARATOR_LINE = re.compile(rb"sep=([,;\t|])\r?\n", re.IGNORECASE)
"""A first line that names the delimiter of a CSV file, as Excel writes it."""


QUOTED = re.compile(rb'"(?:[^"]|"")*"')
"""A cell in quotes, which may contain delimiters and line breaks."""


def detect_delimiter(suffix: str, head: bytes) -> str:
    """Detect what separates the columns: what is most often in the first row.

    A delimiter inside quotes does not count. ``head`` are the first bytes of the file.
    """
    if suffix == ".tsv":
        return "\t"
    if (named := SEPARATOR_LINE.match(head)) is not None:
        return named[1].decode()
    row = QUOTED.sub(b"", head).split(b"\n", 1)[0]
    return max(",;\t", key=lambda delimiter: row.count(delimiter.encode()))


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


def read_csv(name: str, file: BinaryIO, delimiter: str, *, header: bool) -> Iterator[ParsedRecord]:
    """Yield the rows of a CSV file.

    Without a ``header``, the columns are column_1, column_2 and so on. Raises `CorpusError` if the
    header is unusable.
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    with io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="") as text:
        yield from _parse_csv(name, _LineRecorder(text), delimiter, has_header=header)


def name_columns(number: int) -> list[str]:
    """The names of the columns of a table that does not name them."""
    return [f"column_{place}" for place in range(1, number + 1)]


def _parse_csv(
    name: str, lines: _LineRecorder, delimiter: str, *, has_header: bool
) -> Iterator[ParsedRecord]:
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
        if header is None and has_header:
            header = _validate_header(f"{name} line {line}", raw, row, problem)
            continue
        header = header or name_columns(len(row))
        yield _record_from_csv_row(ParsedRecord(name, line, raw, problem=problem), header, row)


def _explain_csv_error(error: csv.Error) -> str:
    if str(error) != "unexpected end of data":
        return str(error)
    return "a quote opened here is never closed, so the row takes up the rest of the file"


def _validate_header(place: str, raw: bytes, row: list[str], problem: str) -> list[str]:
    """Check a CSV header and return its columns; ``problem`` is an error of the CSV reader."""
    problem = problem or _find_byte_problem(raw)
    if problem:
        raise CorpusError(
            f"{place}: {problem}; the first row must name the columns; if it does not, add "
            "--no-header"
        )
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
        return f"{INVALID_UTF8} at byte {error.start + 1} of the row; {ENCODING_HINT}"
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
