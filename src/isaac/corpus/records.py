"""Read the records of a file of any type, each with its line and its original bytes."""

from __future__ import annotations

import base64
import io
import json
import tempfile
from codecs import BOM_UTF8
from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO, NamedTuple, cast

from ..errors import CorpusError
from .csv_files import detect_delimiter, read_csv
from .json_stream import (
    INVALID_UTF8,
    MAX_DEPTH,
    MAX_LINE_BYTES,
    ParsedRecord,
    is_dialogue_file,
    is_single_object,
    parse_json,
    parse_line,
    read_array,
    read_dialogue_records,
    read_objects,
    replace_nan,
)
from .sources import COMPRESSED_SUFFIXES, RECORD_FILE_SUFFIXES, SPREADSHEET_SUFFIX
from .spreadsheets import read_spreadsheet
from .tables import read_arrow, read_parquet

__all__ = [
    "MAX_DEPTH",
    "MAX_LINE_BYTES",
    "FileOptions",
    "ParsedRecord",
    "dumps",
    "parse_json",
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


class FileOptions(NamedTuple):
    """How a file of text is read.

    ``encoding`` is that of its bytes, UTF-8 if None. ``header`` says whether the first row of a
    table names the columns; otherwise they are column_1, column_2 and so on.
    """

    encoding: str | None = None
    header: bool = True


def read_records(
    name: str, file: BinaryIO, options: FileOptions | None = None
) -> Iterator[ParsedRecord]:
    """Yield the records of one file in order; its type is detected from its name and first bytes.

    Raises `CorpusError` for a file that cannot be read at all. A broken record does not stop the
    others if its end can be found: it is yielded with its problem instead of a value.
    """
    options, suffix = options or FileOptions(), _find_suffix(name)
    if suffix == SPREADSHEET_SUFFIX:
        return read_spreadsheet(name, file, header=options.header)
    if options.encoding is not None and not _is_table(file):
        return _read_transcoded(name, file, options)
    head = file.read(4096)
    _check_file_type(name, suffix, head)
    start = len(BOM_UTF8) if head.startswith(BOM_UTF8) else 0
    file.seek(start)
    first = head[start:].lstrip()[:1]
    if head[:4] == b"PAR1":
        return read_parquet(name, file)
    if head[:6] == b"ARROW1" or head[:4] == b"\xff\xff\xff\xff":
        return read_arrow(name, file, stream=head[:6] != b"ARROW1")
    if suffix in (".csv", ".tsv") or not (suffix or first in (b"{", b"[", b"")):
        return read_csv(name, file, detect_delimiter(suffix, head), header=options.header)
    return _read_json(name, file, first)


def _is_table(file: BinaryIO) -> bool:
    """Whether a file is a Parquet or Arrow table, which has no encoding of its own."""
    head = file.read(6)
    file.seek(0)
    return head[:4] in (b"PAR1", b"\xff\xff\xff\xff") or head == b"ARROW1"


def _read_transcoded(name: str, file: BinaryIO, options: FileOptions) -> Iterator[ParsedRecord]:
    """Read a copy of a file as UTF-8; bytes that its encoding lacks make their row unusable."""
    with tempfile.TemporaryFile() as copy:
        text = io.TextIOWrapper(file, options.encoding, errors="surrogateescape", newline="")
        try:
            while block := text.read(2**20):
                copy.write(block.encode("utf-8", "surrogateescape"))
        except UnicodeError as error:
            raise CorpusError(f"{name} is not {options.encoding}: {error}") from None
        finally:
            text.detach()
        copy.seek(0)
        for record in read_records(name, cast(BinaryIO, copy), options._replace(encoding=None)):
            is_foreign = record.problem.startswith(INVALID_UTF8)
            problem = f"a byte that {options.encoding} does not have; try another --encoding"
            yield record._replace(problem=problem) if is_foreign else record


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
    """Raise `CorpusError` for an unsupported file type, a wrong suffix or wide characters."""
    for magic, description in UNSUPPORTED_MAGIC_BYTES.items():
        if head.startswith(magic):
            raise CorpusError(f"{name} is {description}; unpack or convert it first")
    if suffix == ".parquet" and head[:4] != b"PAR1":
        raise CorpusError(f"{name} is not a Parquet file: it does not start with PAR1")
    if (encoding := _find_wide_encoding(head)) is not None:
        raise CorpusError(f"{name} is not UTF-8; add --encoding {encoding}")


def _find_wide_encoding(head: bytes) -> str | None:
    """The encoding of text with two or four bytes a character, from its first bytes."""
    if head[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        return "utf-32"
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if b"\0" in head[:2]:
        return "utf-16-be" if head[0] == 0 else "utf-16-le"
    return None


def _find_suffix(name: str) -> str:
    """The suffix that names a file's type, without compression; empty if there is none."""
    name = name.lower()
    for compressed in COMPRESSED_SUFFIXES:
        name = name.removesuffix(compressed)
    return next((suffix for suffix in RECORD_FILE_SUFFIXES if name.endswith(suffix)), "")


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
