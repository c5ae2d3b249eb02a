"""Strict JSON parsing: one value, or the elements of a large array or object with their lines.

ijson gives neither the line nor the original text of an element; see docs/experiments.md.
"""

from __future__ import annotations

import codecs
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

from ..errors import CorpusError
from ..text import shorten
from .containers import unpack_container

MAX_LINE_BYTES = 256 * 2**20
"""Maximum length of a line in bytes; a longer one means that the file has no lines."""

MAX_DEPTH = 100
"""Maximum nesting depth of a record; much deeper ones could be parsed but not written."""

INVALID_UTF8 = "invalid UTF-8"
ENCODING_HINT = "if the file has another encoding, name it: --encoding cp1252"
REPAIR_HINT = (
    "fix it there, or write one record per line (JSON Lines), "
    "where a broken record does not stop the rest"
)


class ParsedRecord(NamedTuple):
    """A record of the input with its file and line, or the problem that makes it unusable."""

    file: str
    line: int
    raw: bytes
    value: dict[str, Any] | None = None
    problem: str = ""


def parse_record(name: str, line: int, raw: bytes) -> ParsedRecord:
    """Parse the record on one line, or describe what is wrong with the line."""
    try:
        value = parse_json(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return ParsedRecord(name, line, raw, problem=explain_json_error(error))
    return build_record(name, line, raw, value)


def parse_line(name: str, line: int, raw: bytes) -> list[ParsedRecord]:
    """Parse a line: usually one record, or several objects one after the other.

    A byte order mark before a record, as files that were joined have it, and a comma after it are
    left out.
    """
    record = parse_record(name, line, raw)
    if not record.problem.startswith("broken JSON"):
        return [record]
    text = raw.decode("utf-8").strip(OBJECT_SEPARATORS)
    values, position = [], 0
    try:
        while position < len(text):
            value, end = JSON_DECODER.raw_decode(text, position)
            values.append((value, text[position:end]))
            position = end + len(text[end:]) - len(text[end:].lstrip(OBJECT_SEPARATORS))
    except (ValueError, RecursionError):
        return [record]
    if not values or not all(isinstance(value, dict) for value, _ in values):
        return [record]
    return [build_record(name, line, part.encode(), value) for value, part in values]


def is_single_object(name: str, file: BinaryIO) -> bool:
    """Whether a file that starts with ``{`` has no record on its first line, or only that line."""
    start = file.tell()
    first = file.readline(MAX_LINE_BYTES)
    while first and not first.strip():
        first = file.readline(MAX_LINE_BYTES)
    has_more = any(map(bytes.strip, iter(lambda: file.readline(MAX_LINE_BYTES), b"")))
    file.seek(start)
    if not has_more:
        return True
    return any(record.value is None for record in parse_line(name, 1, first.rstrip(b"\r\n")))


def explain_json_error(error: Exception) -> str:
    """Describe on one line why JSON could not be parsed."""
    if isinstance(error, UnicodeDecodeError):
        return f"{INVALID_UTF8} at byte {error.start + 1} of the line; {ENCODING_HINT}"
    if isinstance(error, RecursionError):
        return "JSON nested too deeply"
    if isinstance(error, DuplicateKeyError):
        return str(error)
    if isinstance(error, json.JSONDecodeError):
        return f"broken JSON: {error.msg.removesuffix(' at')} at character {error.pos + 1}"
    return "a number with too many digits"


def build_record(name: str, line: int, raw: bytes, value: Any) -> ParsedRecord:
    """Make a record from a JSON value, or describe why the value is not a record."""
    if not isinstance(value, dict):
        return ParsedRecord(name, line, raw, problem=f"{_describe_type(value)}, not an object")
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and is_too_deep(value):
        return ParsedRecord(name, line, raw, problem="JSON nested too deeply")
    return ParsedRecord(name, line, raw, value)


def _describe_type(value: Any) -> str:
    types = {list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return f"JSON that is {types.get(type(value), 'a number')}"


def is_too_deep(value: Any) -> bool:
    """Whether a value is nested deeper than `MAX_DEPTH`."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True


class DuplicateKeyError(ValueError):
    """An object has the same key twice, so that one of the values would be lost."""


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        repeated = find_duplicate(key for key, _ in pairs)
        raise DuplicateKeyError(f"the key '{repeated}' appears twice in one object")
    return value


def find_duplicate(names: Iterable[str]) -> str | None:
    """The first name that appears twice, made printable; None if there is none."""
    counts = Counter(names)
    return next((shorten(name) for name, count in counts.items() if count > 1), None)


JSON_DECODER = json.JSONDecoder(object_pairs_hook=_build_object)


def parse_json(text: str) -> Any:
    """Parse a JSON text; a repeated key raises `DuplicateKeyError`, which is a `ValueError`."""
    return JSON_DECODER.decode(text)


class _JsonScanner:
    """Reads the values of a large JSON file one after the other and counts the lines.

    ``text`` is a window of the file, ``position`` the place in it to read next, and ``line`` the
    line of that place. ``kind`` says in messages what the file contains: "array" or "object".
    """

    def __init__(self, name: str, file: BinaryIO, kind: str) -> None:
        self.name, self.file, self.kind = name, file, kind
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.text, self.position, self.line, self.ended = "", 0, 1, False

    def read_more(self) -> None:
        """Drop the text before the position and read more; the window doubles for a long value."""
        self.text, self.position = self.text[self.position :], 0
        data = self.file.read(max(READ_BYTES, len(self.text)))
        self.ended = not data
        try:
            self.text += self.decoder.decode(data, final=self.ended)
        except UnicodeDecodeError as error:
            line = self.line + self.text.count("\n") + error.object.count(b"\n", 0, error.start)
            raise CorpusError(f"{self.name} line {line}: invalid UTF-8; {ENCODING_HINT}") from None

    def skip_to_next(self, skipped: str = " \t\r\n,") -> str:
        """Move to the next character that is not skipped and return it; empty at the end."""
        while True:
            while self.position < len(self.text) and self.text[self.position] in skipped:
                self.position += 1
                self.line += self.text[self.position - 1] == "\n"
            if self.position < len(self.text) or self.ended:
                return self.text[self.position : self.position + 1]
            self.read_more()

    def read_value(self) -> tuple[Any, str]:
        """Read the value that begins here; return it with its text."""
        while True:
            try:
                value, end = JSON_DECODER.raw_decode(self.text, self.position)
            except (ValueError, RecursionError) as error:
                if (
                    self.ended
                    or len(self.text) - self.position > MAX_LINE_BYTES
                    or _is_final_error(error)
                ):
                    raise self.describe_error(error) from None
            else:
                # At the end of the window, a number might continue in the rest of the file.
                if end < len(self.text) or self.ended:
                    break
            self.read_more()
        raw = self.text[self.position : end]
        self.line, self.position = self.line + raw.count("\n"), end
        return value, raw

    def expect_end(self) -> None:
        """Raise `CorpusError` unless the file ends here."""
        if self.skip_to_next(WHITESPACE):
            problem = f"there is more after the end of the {self.kind}"
            raise CorpusError(f"{self.name} line {self.line}: {problem}; {REPAIR_HINT}")

    def describe_error(self, error: Exception) -> CorpusError:
        """Build the error for a value that begins here and cannot be parsed."""
        line, problem = self.line, explain_json_error(error)
        if isinstance(error, json.JSONDecodeError):
            line += self.text.count("\n", self.position, error.pos)
            problem = f"broken JSON: {error.msg.removesuffix(' at')}"
        return CorpusError(f"{self.name} line {line}: {problem} in the {self.kind}; {REPAIR_HINT}")


READ_BYTES = 2**20
"""Bytes to read at a time; more if a value is longer."""


def _is_final_error(error: Exception) -> bool:
    """Whether a value stays invalid, however much more of the text is read."""
    return isinstance(error, RecursionError | DuplicateKeyError)


def read_array(name: str, file: BinaryIO) -> Iterator[ParsedRecord]:
    """Yield the elements of a JSON array, each with the line that it starts on.

    Raises `CorpusError` for a broken element, because nothing shows where the next one starts.
    """
    scanner = _JsonScanner(name, file, "array")
    scanner.skip_to_next()
    scanner.position += 1
    while scanner.skip_to_next() != "]":
        line = scanner.line
        value, raw = scanner.read_value()
        yield build_record(name, line, raw.encode(), value)
    scanner.position += 1
    scanner.expect_end()


def read_dialogue_records(name: str, file: BinaryIO) -> Iterator[ParsedRecord]:
    """Yield the dialogues of a JSON object that maps ids to dialogues, each with its line.

    The id becomes the column ``dialogue_id``. A dialogue that is not an object, or has the id of
    an earlier one, is yielded with its problem instead of a value.
    """
    ids = set[str]()
    for key, record in read_keyed_objects(name, file):
        yield _add_dialogue_id(record, key, is_repeated=key in ids)
        ids.add(key)


def read_keyed_objects(name: str, file: BinaryIO) -> Iterator[tuple[str, ParsedRecord]]:
    """Yield the values of a JSON object of objects, each with its key and its line.

    A file may have several such objects one after the other.
    """
    scanner = _JsonScanner(name, file, "object")
    while scanner.skip_to_next(WHITESPACE) == "{":
        scanner.position += 1
        while scanner.skip_to_next() != "}":
            line = scanner.line
            key, raw_key = scanner.read_value()
            if not isinstance(key, str) or scanner.skip_to_next(WHITESPACE) != ":":
                raise CorpusError(
                    f"{name} line {line}: expected an id and ':' in the object; {REPAIR_HINT}"
                )
            scanner.position += 1
            scanner.skip_to_next(WHITESPACE)
            value, raw = scanner.read_value()
            yield key, build_record(name, line, f"{raw_key}: {raw}".encode(), value)
        scanner.position += 1
    scanner.expect_end()


def _add_dialogue_id(record: ParsedRecord, key: str, *, is_repeated: bool) -> ParsedRecord:
    if is_repeated:
        return record._replace(value=None, problem=f"the id '{shorten(key)}' appears twice")
    if record.value is None or record.value.get("dialogue_id") is not None:
        return record
    return record._replace(value={**record.value, "dialogue_id": key})


def is_dialogue_file(name: str, file: BinaryIO) -> bool:
    """Whether a file is a JSON object of dialogues by id, judged by its first three values."""
    start = file.tell()
    try:
        if not NESTED_OBJECT_START.match(file.read(4096)):
            return False
        file.seek(start)
        records = list(itertools.islice(read_dialogue_records(name, file), 3))
    except CorpusError:
        return False
    finally:
        file.seek(start)
    values = [record.value for record in records if record.value is not None]
    has_turns = any(
        isinstance(value.get(column), list) for value in values for column in TURN_COLUMNS
    )
    return has_turns and len(values) == len(records)


def read_objects(name: str, file: BinaryIO) -> Iterator[ParsedRecord]:
    """Yield the objects of a file that may each span several lines, with the line of each.

    A single object that contains records is unpacked; the line of a record is then its number, from
    1. Raises `CorpusError` for a broken object, because nothing shows where the next one starts.
    """
    scanner = _JsonScanner(name, file, "object")
    start = scanner.skip_to_next(OBJECT_SEPARATORS) and scanner.line
    value, raw = scanner.read_value()
    if not scanner.skip_to_next(OBJECT_SEPARATORS) and isinstance(value, dict):
        records = unpack_container(value)
        if records is not None:
            for number, record in enumerate(records, start=1):
                yield build_record(name, number, json.dumps(record).encode(), record)
            return
    yield build_record(name, int(start), raw.encode(), value)
    while scanner.skip_to_next(OBJECT_SEPARATORS):
        line = scanner.line
        value, raw = scanner.read_value()
        yield build_record(name, line, raw.encode(), value)


WHITESPACE = " \t\r\n"

OBJECT_SEPARATORS = f"{WHITESPACE},\ufeff"
"""What may stand between the objects of a file."""

NESTED_OBJECT_START = re.compile(rb'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\{')
"""The start of a JSON object whose first value is an object."""

TURN_COLUMNS = ("log", "turns")
"""Columns that may have the turns of a dialogue."""


def replace_nan(value: Any) -> Any:
    """Replace NaN and infinities, which JSON cannot express, with None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: replace_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [replace_nan(inner) for inner in value]
    return value
