"""Where values stand in a text: said spans checked, and values looked up that have none."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from types import MappingProxyType
from typing import NamedTuple

from .schema import Span

NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen", "twenty"),
)

DIGITS_BY_WORD = MappingProxyType({word: str(number) for number, word in enumerate(NUMBER_WORDS)})
"""Numbers in words, and in digits."""

SPELLING_PATTERNS = MappingProxyType({"centre": "cent(?:re|er)", "center": "cent(?:re|er)"})

UNSEARCHABLE_VALUES = frozenset({"", "?", "yes", "no", "dontcare", "none", "true", "false"})
"""Values of acts that no words of the text stand for, or words of many other meanings."""

CLOCK_TIME = re.compile(r"0?(\d{1,2})[:.](\d{2})")

MIN_SUBSTRING_CHARACTERS = 4
"""A value of fewer characters is not looked for inside words."""

EDGE_CHARACTERS = ".,;:!?\"'()-# \t\n"
"""What may stick to a token without being part of its value."""


class AnnotatedValue(NamedTuple):
    """A value that an annotation says is in the text; the place is -1 where it names none."""

    slot: str
    value: str
    start: int = -1
    end: int = -1


def find_token_offsets(text: str) -> list[tuple[int, int]]:
    """Return where the words between spaces start and end: MultiWOZ 2.1's tokens."""
    return [match.span() for match in re.finditer(r"\S+", text)]


def matches_value(surface: str, value: str) -> bool:
    """Say whether a surface form stands for a value: ``four`` for 4, ``hotels`` for hotel."""
    return normalize_surface(surface) == normalize_surface(value) or bool(
        _value_pattern(value).fullmatch(surface)
    )


@functools.lru_cache(maxsize=2**14)
def normalize_surface(value: str) -> str:
    """Return a value without what does not tell it from others: case, spaces, number words."""
    folded = " ".join(value.casefold().split())
    if time := CLOCK_TIME.fullmatch(folded):
        return f"{int(time[1])}:{time[2]}"
    return DIGITS_BY_WORD.get(folded, folded)


def locate_values(text: str, said: Iterable[AnnotatedValue]) -> tuple[Span, ...]:
    """Return the spans of the values in the order of the text.

    A place is taken as it is where its text stands for the value; otherwise the value is looked
    up, near the place first, and left out where the text has it nowhere.
    """
    found: dict[Span, None] = {}
    for each in said:
        for span in _locate_value(text, each):
            found.setdefault(span)
    return tuple(sorted(found, key=lambda span: (span.start, -span.end)))


def _locate_value(text: str, said: AnnotatedValue) -> list[Span]:
    start, end = said.start, said.end
    if 0 <= start < end <= len(text):
        if normalize_surface(text[start:end]) == normalize_surface(said.value):
            return [Span(said.slot, start, end)]
        start, end = _strip_edges(text, start, end)
        if start < end and matches_value(text[start:end], said.value):
            return [Span(said.slot, start, end)]
        if near := _search_value(text[start:end], said.value, 1):
            return [Span(said.slot, *widen_to_words(text, start + a, start + b)) for a, b in near]
    return [
        Span(said.slot, a, b) for a, b in _search_value(text, said.value, MIN_SUBSTRING_CHARACTERS)
    ]


def _search_value(text: str, value: str, loose: int) -> list[tuple[int, int]]:
    """Return the places of a value; inside words if need be, if it has enough characters."""
    if places := find_mentions(text, value):
        return places
    if (
        len(value) < loose
        or normalize_surface(value) in UNSEARCHABLE_VALUES
        or len(text.lower()) != len(text)
    ):
        return []
    start = text.lower().find(value.lower())
    return [widen_to_words(text, start, start + len(value))] if start >= 0 else []


def _strip_edges(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start] in EDGE_CHARACTERS:
        start += 1
    while start < end and text[end - 1] in EDGE_CHARACTERS:
        end -= 1
    return start, end


def find_mentions(text: str, value: str) -> list[tuple[int, int]]:
    """Return every place where a value stands in a text as words of their own.

    Values that words do not stand for, such as yes, are never found.
    """
    if normalize_surface(value) in UNSEARCHABLE_VALUES:
        return []
    if exact := list(_find_exact(text, value)):
        return exact
    return [match.span() for match in _value_pattern(value).finditer(text)]


def _find_exact(text: str, value: str) -> Iterator[tuple[int, int]]:
    """Yield the places of a value as it is written, in any case: much faster than a pattern."""
    low, wanted = text.lower(), value.lower()
    if len(low) != len(text) or not wanted.strip():
        return
    start = low.find(wanted)
    while start >= 0:
        end = start + len(wanted)
        if widen_to_words(text, start, end) == (start, end):
            yield start, end
        start = low.find(wanted, end)


@functools.lru_cache(maxsize=2**12)
def _value_pattern(value: str) -> re.Pattern[str]:
    """Return a pattern for a value as people write it: spaces, number words, plural."""
    folded = normalize_surface(value)
    if time := CLOCK_TIME.fullmatch(folded):
        return re.compile(rf"(?<![\d:])0?{time[1]}[:.]{time[2]}(?!\d)")
    parts = re.findall(r"\w+|[^\w\s]", folded)
    body = r"\s*".join(SPELLING_PATTERNS.get(part, re.escape(part)) for part in parts)
    if folded.isdigit() and int(folded) < len(NUMBER_WORDS):
        body = f"(?:{body}|{NUMBER_WORDS[int(folded)]})"
    elif folded[-1:].isalpha():
        body += "(?:s|es|ly)?"
    return re.compile(rf"(?<!\w){body}(?!\w)", re.IGNORECASE)


def widen_to_words(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the span, widened to the words that it cuts: ``rey Skoda`` to ``grey Skoda``.

    Where a small letter is followed by a large one or a number by a small letter, words were
    written together (``isD0V6U0MA``, ``4night``): there the span ends.
    """
    while 0 < start < end and _same_word(text[start - 1], text[start]):
        start -= 1
    while start < end < len(text) and _same_word(text[end - 1], text[end]):
        end += 1
    return start, end


def _same_word(left: str, right: str) -> bool:
    if not (left.isalnum() and right.isalnum()):
        return False
    return not (left.islower() and right.isupper()) and not (left.isdigit() and right.islower())
