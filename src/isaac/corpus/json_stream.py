"""JSON read strictly: one value, or one array or object of many, each with its line."""

from __future__ import annotations

import codecs
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

from ..errors import CorpusError
from ..text import shorten

MAX_LINE_BYTES = 256 * 2**20
"""Bytes of one line; a longer one means that the file is not one of lines."""

MAX_DEPTH = 100
"""Levels of lists and objects in one record; far deeper ones could be read but not written."""

REPAIR_HINT = (
    "mend it there, or write one record a line (JSON Lines), "
    "where a broken record does not stop the rest"
)


class ParsedRecord(NamedTuple):
    """What stood at one place of the input: a record, or the problem that it has."""

    file: str
    line: int
    raw: bytes
    value: dict[str, Any] | None = None
    problem: str = ""


def parse_record(name: str, line: int, raw: bytes) -> ParsedRecord:
    """Return the record on a line, or what is wrong with the line."""
    try:
        value = parse_json(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return ParsedRecord(name, line, raw, problem=explain_json_error(error))
    return build_record(name, line, raw, value)


def explain_json_error(error: Exception) -> str:
    """Return why JSON could not be read, on one line."""
    if isinstance(error, UnicodeDecodeError):
        return f"invalid UTF-8 at byte {error.start + 1} of the line"
    if isinstance(error, RecursionError):
        return "JSON nested too deeply"
    if isinstance(error, DuplicateKeyError):
        return str(error)
    if isinstance(error, json.JSONDecodeError):
        return f"broken JSON: {error.msg.removesuffix(' at')} at character {error.pos + 1}"
    return "a number with too many digits"


def build_record(name: str, line: int, raw: bytes, value: Any) -> ParsedRecord:
    """Return the record of a JSON value, or what is wrong with the value."""
    if not isinstance(value, dict):
        return ParsedRecord(name, line, raw, problem=f"{_describe_type(value)}, not an object")
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and is_too_deep(value):
        return ParsedRecord(name, line, raw, problem="JSON nested too deeply")
    return ParsedRecord(name, line, raw, value)


def _describe_type(value: Any) -> str:
    kinds = {list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return f"JSON that is {kinds.get(type(value), 'a number')}"


def is_too_deep(value: Any) -> bool:
    """Say whether a value is nested deeper than `MAX_DEPTH`."""
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
    """An object has one key twice, so that one of its values would be lost."""


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        repeated = find_duplicate(key for key, _ in pairs)
        raise DuplicateKeyError(f"the key '{repeated}' stands twice in one object")
    return value


def find_duplicate(names: Iterable[str]) -> str | None:
    """Return a name that stands twice, fit to be shown, or None."""
    counts = Counter(names)
    return next((shorten(name) for name, count in counts.items() if count > 1), None)


JSON_DECODER = json.JSONDecoder(object_pairs_hook=_build_object)


def parse_json(text: str) -> Any:
    """Return the value of a JSON text; a repeated key raises `DuplicateKeyError`."""
    return JSON_DECODER.decode(text)


class _JsonScanner:
    """The text of a file from a place in it on, as much of it as is needed."""

    def __init__(self, name: str, file: BinaryIO, kind: str) -> None:
        self.name, self.file, self.kind = name, file, kind
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.text, self.at, self.line, self.ended = "", 0, 1, False

    def more(self) -> None:
        """Read at least as much again as is there, and drop what was passed."""
        self.text, self.at = self.text[self.at :], 0
        data = self.file.read(max(READ_BYTES, len(self.text)))
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
                value, end = JSON_DECODER.raw_decode(self.text, self.at)
            except (ValueError, RecursionError) as error:
                if (
                    self.ended
                    or len(self.text) - self.at > MAX_LINE_BYTES
                    or _is_final_error(error)
                ):
                    raise self.broken(error) from None
            else:
                if end < len(self.text) or self.ended:
                    break
            self.more()
        raw = self.text[self.at : end]
        self.line, self.at = self.line + raw.count("\n"), end
        return value, raw

    def end(self) -> None:
        """Raise `CorpusError` unless the file ends here."""
        if self.next(WHITESPACE):
            more = f"there is more after the end of the {self.kind}"
            raise CorpusError(f"{self.name} line {self.line}: {more}; {REPAIR_HINT}")

    def broken(self, error: Exception) -> CorpusError:
        """Return what is said of a value here that cannot be read."""
        line, said = self.line, explain_json_error(error)
        if isinstance(error, json.JSONDecodeError):
            line += self.text.count("\n", self.at, error.pos)
            said = f"broken JSON: {error.msg.removesuffix(' at')}"
        return CorpusError(f"{self.name} line {line}: {said} in the {self.kind}; {REPAIR_HINT}")


READ_BYTES = 2**20
"""Bytes of an array that are read at a time, more if an element is longer."""


def _is_final_error(error: Exception) -> bool:
    """Say whether more of the text would not mend a value."""
    return isinstance(error, RecursionError | DuplicateKeyError)


def read_array(name: str, file: BinaryIO) -> Iterator[ParsedRecord]:
    """Yield the elements of one JSON array, each with the line that it begins on."""
    window = _JsonScanner(name, file, "array")
    window.next()
    window.at += 1
    while window.next() != "]":
        line = window.line
        value, raw = window.value()
        yield build_record(name, line, raw.encode(), value)
    window.at += 1
    window.end()


def read_dialogue_records(name: str, file: BinaryIO) -> Iterator[ParsedRecord]:
    """Yield the dialogues of objects of id and dialogue, each with its id and its line.

    The id becomes the column ``dialogue_id``. A dialogue that cannot be used, or has the id of
    one before it, is a problem of its own.
    """
    ids = set[str]()
    for key, found in read_keyed_objects(name, file):
        yield _add_dialogue_id(found, key, again=key in ids)
        ids.add(key)


def read_keyed_objects(name: str, file: BinaryIO) -> Iterator[tuple[str, ParsedRecord]]:
    """Yield the objects in objects of key and object, each with its key and its line."""
    window = _JsonScanner(name, file, "object")
    while window.next(WHITESPACE) == "{":
        window.at += 1
        while window.next() != "}":
            line = window.line
            key, name_of_it = window.value()
            if not isinstance(key, str) or window.next(WHITESPACE) != ":":
                raise CorpusError(f"{name} line {line}: no id and ':' in the object; {REPAIR_HINT}")
            window.at += 1
            window.next(WHITESPACE)
            value, raw = window.value()
            yield key, build_record(name, line, f"{name_of_it}: {raw}".encode(), value)
        window.at += 1
    window.end()


def _add_dialogue_id(found: ParsedRecord, key: str, *, again: bool) -> ParsedRecord:
    """Return the record of a dialogue with its id, or what is wrong with it."""
    if again:
        return found._replace(value=None, problem=f"the id '{shorten(key)}' stands twice")
    if found.value is None or found.value.get("dialogue_id") is not None:
        return found
    return found._replace(value={**found.value, "dialogue_id": key})


def is_dialogue_file(name: str, file: BinaryIO) -> bool:
    """Say whether a file is an object of ids and dialogues: objects, by the first few of them."""
    start = file.tell()
    try:
        if not NESTED_OBJECT_START.match(file.read(4096)):
            return False
        file.seek(start)
        first = [found.value for found in itertools.islice(read_dialogue_records(name, file), 3)]
    except CorpusError:
        return False
    finally:
        file.seek(start)
    objects = [value for value in first if value is not None]
    noted = any(isinstance(value.get(column), list) for value in objects for column in TURN_COLUMNS)
    return noted and len(objects) == len(first)


WHITESPACE = " \t\r\n"

NESTED_OBJECT_START = re.compile(rb'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\{')
"""How an object of objects begins."""

TURN_COLUMNS = ("log", "turns")
"""Columns with the turns of a dialogue."""
