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
from ..text import short

MAX_LINE = 256 * 2**20
"""Bytes of one line; a longer one means that the file is not one of lines."""

MAX_DEPTH = 100
"""Levels of lists and objects in one record; far deeper ones could be read but not written."""

MEND = (
    "mend it there, or write one record a line (JSON Lines), "
    "where a broken record does not stop the rest"
)


class Record(NamedTuple):
    """What stood at one place of the input: a record, or the problem that it has."""

    file: str
    line: int
    raw: bytes
    value: dict[str, Any] | None = None
    problem: str = ""


def parsed(name: str, line: int, raw: bytes) -> Record:
    """Return the record on a line, or what is wrong with the line."""
    try:
        value = parse(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return Record(name, line, raw, problem=why(error))
    return record_of(name, line, raw, value)


def why(error: Exception) -> str:
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


def record_of(name: str, line: int, raw: bytes, value: Any) -> Record:
    """Return the record of a JSON value, or what is wrong with the value."""
    if not isinstance(value, dict):
        return Record(name, line, raw, problem=f"{_kind(value)}, not an object")
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and is_deep(value):
        return Record(name, line, raw, problem="JSON nested too deeply")
    return Record(name, line, raw, value)


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return f"JSON that is {kinds.get(type(value), 'a number')}"


def is_deep(value: Any) -> bool:
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


class RepeatedKeyError(ValueError):
    """An object has one key twice, so that one of its values would be lost."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        repeated = repeated_in(key for key, _ in pairs)
        raise RepeatedKeyError(f"the key '{repeated}' stands twice in one object")
    return value


def repeated_in(names: Iterable[str]) -> str | None:
    """Return a name that stands twice, fit to be shown, or None."""
    counts = Counter(names)
    return next((short(name) for name, count in counts.items() if count > 1), None)


DECODER = json.JSONDecoder(object_pairs_hook=_object)


def parse(text: str) -> Any:
    """Return the value of a JSON text; a repeated key raises `RepeatedKeyError`."""
    return DECODER.decode(text)


class _Window:
    """The text of a file from a place in it on, as much of it as is needed."""

    def __init__(self, name: str, file: BinaryIO, kind: str) -> None:
        self.name, self.file, self.kind = name, file, kind
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

    def end(self) -> None:
        """Raise `CorpusError` unless the file ends here."""
        if self.next(SPACE):
            more = f"there is more after the end of the {self.kind}"
            raise CorpusError(f"{self.name} line {self.line}: {more}; {MEND}")

    def broken(self, error: Exception) -> CorpusError:
        """Return what is said of a value here that cannot be read."""
        line, said = self.line, why(error)
        if isinstance(error, json.JSONDecodeError):
            line += self.text.count("\n", self.at, error.pos)
            said = f"broken JSON: {error.msg.removesuffix(' at')}"
        return CorpusError(f"{self.name} line {line}: {said} in the {self.kind}; {MEND}")


STEP = 2**20
"""Bytes of an array that are read at a time, more if an element is longer."""


def _final(error: Exception) -> bool:
    """Say whether more of the text would not mend a value."""
    return isinstance(error, RecursionError | RepeatedKeyError)


def elements(name: str, file: BinaryIO) -> Iterator[Record]:
    """Yield the elements of one JSON array, each with the line that it begins on."""
    window = _Window(name, file, "array")
    window.next()
    window.at += 1
    while window.next() != "]":
        line = window.line
        value, raw = window.value()
        yield record_of(name, line, raw.encode(), value)
    window.at += 1
    window.end()


def dialogues(name: str, file: BinaryIO) -> Iterator[Record]:
    """Yield the dialogues of objects of id and dialogue, each with its id and its line.

    The id becomes the column ``dialogue_id``. A dialogue that cannot be used, or has the id of
    one before it, is a problem of its own.
    """
    ids = set[str]()
    for key, found in keyed(name, file):
        yield _named(found, key, again=key in ids)
        ids.add(key)


def keyed(name: str, file: BinaryIO) -> Iterator[tuple[str, Record]]:
    """Yield the objects in objects of key and object, each with its key and its line."""
    window = _Window(name, file, "object")
    while window.next(SPACE) == "{":
        window.at += 1
        while window.next() != "}":
            line = window.line
            key, name_of_it = window.value()
            if not isinstance(key, str) or window.next(SPACE) != ":":
                raise CorpusError(f"{name} line {line}: no id and ':' in the object; {MEND}")
            window.at += 1
            window.next(SPACE)
            value, raw = window.value()
            yield key, record_of(name, line, f"{name_of_it}: {raw}".encode(), value)
        window.at += 1
    window.end()


def _named(found: Record, key: str, *, again: bool) -> Record:
    """Return the record of a dialogue with its id, or what is wrong with it."""
    if again:
        return found._replace(value=None, problem=f"the id '{short(key)}' stands twice")
    if found.value is None or found.value.get("dialogue_id") is not None:
        return found
    return found._replace(value={**found.value, "dialogue_id": key})


def is_of_dialogues(name: str, file: BinaryIO) -> bool:
    """Say whether a file is an object of ids and dialogues: objects, by the first few of them."""
    start = file.tell()
    try:
        if not OBJECT.match(file.read(4096)):
            return False
        file.seek(start)
        first = [found.value for found in itertools.islice(dialogues(name, file), 3)]
    except CorpusError:
        return False
    finally:
        file.seek(start)
    objects = [value for value in first if value is not None]
    noted = any(isinstance(value.get(column), list) for value in objects for column in TURNS)
    return noted and len(objects) == len(first)


SPACE = " \t\r\n"

OBJECT = re.compile(rb'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\{')
"""How an object of objects begins."""

TURNS = ("log", "turns")
"""Columns with the turns of a dialogue."""
