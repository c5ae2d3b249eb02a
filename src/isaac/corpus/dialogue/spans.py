"""Where values stand in a text: said spans checked, and values looked up that have none."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from types import MappingProxyType
from typing import NamedTuple

from .schema import Span

NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen", "twenty"),
)

DIGITS = MappingProxyType({word: str(number) for number, word in enumerate(NUMBERS)})
"""Numbers in words, and in digits."""

SPELLINGS = MappingProxyType({"centre": "cent(?:re|er)", "center": "cent(?:re|er)"})

UNSAID = frozenset({"", "?", "yes", "no", "dontcare", "none", "true", "false"})
"""Values of acts that no words of the text stand for, or words of many other meanings."""

TIME = re.compile(r"0?(\d{1,2})[:.](\d{2})")

LOOSE = 4
"""A value of fewer characters is not looked for inside words."""

EDGES = ".,;:!?\"'()-# \t\n"
"""What may stick to a token without being part of its value."""


class Said(NamedTuple):
    """A value that an annotation says is in the text; the place is -1 where it names none."""

    slot: str
    value: str
    start: int = -1
    end: int = -1


def words(text: str) -> list[tuple[int, int]]:
    """Return where the words between spaces start and end: MultiWOZ 2.1's tokens."""
    return [match.span() for match in re.finditer(r"\S+", text)]


def same(surface: str, value: str) -> bool:
    """Say whether a surface form stands for a value: ``four`` for 4, ``hotels`` for hotel."""
    return plain(surface) == plain(value) or bool(_pattern(value).fullmatch(surface))


@functools.lru_cache(maxsize=2**14)
def plain(value: str) -> str:
    """Return a value without what does not tell it from others: case, spaces, number words."""
    folded = " ".join(value.casefold().split())
    if time := TIME.fullmatch(folded):
        return f"{int(time[1])}:{time[2]}"
    return DIGITS.get(folded, folded)


def checked(text: str, said: Iterable[Said]) -> tuple[Span, ...]:
    """Return the spans of the values in the order of the text.

    A place is taken as it is where its text stands for the value; otherwise the value is looked
    up, near the place first, and left out where the text has it nowhere.
    """
    found: dict[Span, None] = {}
    for each in said:
        for span in _places(text, each):
            found.setdefault(span)
    return tuple(sorted(found, key=lambda span: (span.start, -span.end)))


def _places(text: str, said: Said) -> list[Span]:
    start, end = said.start, said.end
    if 0 <= start < end <= len(text):
        if plain(text[start:end]) == plain(said.value):
            return [Span(said.slot, start, end)]
        start, end = _stripped(text, start, end)
        if start < end and same(text[start:end], said.value):
            return [Span(said.slot, start, end)]
        if near := _found(text[start:end], said.value, 1):
            return [Span(said.slot, *whole(text, start + a, start + b)) for a, b in near]
    return [Span(said.slot, a, b) for a, b in _found(text, said.value, LOOSE)]


def _found(text: str, value: str, loose: int) -> list[tuple[int, int]]:
    """Return the places of a value; inside words if need be, if it has enough characters."""
    if places := mentions(text, value):
        return places
    if len(value) < loose or plain(value) in UNSAID or len(text.lower()) != len(text):
        return []
    start = text.lower().find(value.lower())
    return [whole(text, start, start + len(value))] if start >= 0 else []


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start] in EDGES:
        start += 1
    while start < end and text[end - 1] in EDGES:
        end -= 1
    return start, end


def mentions(text: str, value: str) -> list[tuple[int, int]]:
    """Return every place where a value stands in a text as words of their own.

    Values that words do not stand for, such as yes, are never found.
    """
    if plain(value) in UNSAID:
        return []
    if exact := list(_exact(text, value)):
        return exact
    return [match.span() for match in _pattern(value).finditer(text)]


def _exact(text: str, value: str) -> Iterator[tuple[int, int]]:
    """Yield the places of a value as it is written, in any case: much faster than a pattern."""
    low, wanted = text.lower(), value.lower()
    if len(low) != len(text) or not wanted.strip():
        return
    start = low.find(wanted)
    while start >= 0:
        end = start + len(wanted)
        if whole(text, start, end) == (start, end):
            yield start, end
        start = low.find(wanted, end)


@functools.lru_cache(maxsize=2**12)
def _pattern(value: str) -> re.Pattern[str]:
    """Return a pattern for a value as people write it: spaces, number words, plural."""
    folded = plain(value)
    if time := TIME.fullmatch(folded):
        return re.compile(rf"(?<![\d:])0?{time[1]}[:.]{time[2]}(?!\d)")
    parts = re.findall(r"\w+|[^\w\s]", folded)
    body = r"\s*".join(SPELLINGS.get(part, re.escape(part)) for part in parts)
    if folded.isdigit() and int(folded) < len(NUMBERS):
        body = f"(?:{body}|{NUMBERS[int(folded)]})"
    elif folded[-1:].isalpha():
        body += "(?:s|es|ly)?"
    return re.compile(rf"(?<!\w){body}(?!\w)", re.IGNORECASE)


def whole(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the span, widened to the words that it cuts: ``rey Skoda`` to ``grey Skoda``.

    Where a small letter is followed by a large one or a number by a small letter, words were
    written together (``isD0V6U0MA``, ``4night``): there the span ends.
    """
    while 0 < start < end and _joined(text[start - 1], text[start]):
        start -= 1
    while start < end < len(text) and _joined(text[end - 1], text[end]):
        end += 1
    return start, end


def _joined(left: str, right: str) -> bool:
    if not (left.isalnum() and right.isalnum()):
        return False
    return not (left.islower() and right.isupper()) and not (left.isdigit() and right.islower())
