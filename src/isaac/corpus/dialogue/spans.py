"""Positions of values in a text: verify annotated spans, and search for values that have none."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from types import MappingProxyType
from typing import NamedTuple

from ...text import TOKEN_PATTERN
from .schema import Span

NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen", "twenty"),
)

DIGITS_BY_WORD = MappingProxyType({word: str(number) for number, word in enumerate(NUMBER_WORDS)})
"""Digits by number word: ``"4"`` for ``"four"``."""

SPELLING_PATTERNS = MappingProxyType({"centre": "cent(?:re|er)", "center": "cent(?:re|er)"})
"""Patterns for words that texts spell in more than one way."""

UNSEARCHABLE_VALUES = frozenset({"", "?", "yes", "no", "dontcare", "none", "true", "false"})
"""Values that do not appear in texts literally, or whose words have too many other meanings."""

CLOCK_TIME = re.compile(r"0?(\d{1,2})[:.](\d{2})")
"""A time such as ``09:15`` or ``9.15``: hours without a leading zero, and minutes."""

MIN_SUBSTRING_CHARACTERS = 4
"""Minimum length of a value that may be found inside a longer word."""

EDGE_CHARACTERS = ".,;:!?\"'()-# \t\n"
"""Characters that may be attached to a token without being part of its value."""


class AnnotatedValue(NamedTuple):
    """A value in an annotation, with its position in the text; -1 if the annotation has none."""

    slot: str
    value: str
    start: int = -1
    end: int = -1


def find_token_offsets(text: str) -> list[tuple[int, int]]:
    """Start and end of each whitespace-separated word: the tokens of MultiWOZ 2.1."""
    return [match.span() for match in re.finditer(r"\S+", text)]


def matches_value(surface: str, value: str) -> bool:
    """Whether a surface form expresses a value: ``four`` for 4, ``hotels`` for hotel."""
    return normalize_surface(surface) == normalize_surface(value) or bool(
        _value_pattern(value).fullmatch(surface)
    )


@functools.lru_cache(maxsize=2**14)
def normalize_surface(value: str) -> str:
    """A value with its case, spacing, number words and time format normalized."""
    folded = " ".join(value.casefold().split())
    if time := CLOCK_TIME.fullmatch(folded):
        return f"{int(time[1])}:{time[2]}"
    return DIGITS_BY_WORD.get(folded, folded)


def locate_values(text: str, values: Iterable[AnnotatedValue]) -> tuple[Span, ...]:
    """Find the spans of the values, in the order of the text.

    An annotated position is used if the text there expresses the value. Otherwise the value is
    searched for, first inside that span and then in the whole text. It is dropped if the text does
    not contain it.
    """
    spans: dict[Span, None] = {}
    for each in values:
        for span in _locate_value(text, each):
            spans.setdefault(span)
    return tuple(sorted(spans, key=lambda span: (span.start, -span.end)))


def _locate_value(text: str, annotated: AnnotatedValue) -> list[Span]:
    slot, value, start, end = annotated
    if 0 <= start < end <= len(text):
        if normalize_surface(text[start:end]) == normalize_surface(value):
            return [Span(slot, start, end)]
        start, end = _strip_edges(text, start, end)
        if start < end and matches_value(text[start:end], value):
            return [Span(slot, start, end)]
        if inside := _search_value(text[start:end], value, 1):
            return [Span(slot, *widen_to_words(text, start + a, start + b)) for a, b in inside]
    return [Span(slot, a, b) for a, b in _search_value(text, value, MIN_SUBSTRING_CHARACTERS)]


def _search_value(text: str, value: str, min_length: int) -> list[tuple[int, int]]:
    """Find the positions of a value, as whole words if possible, otherwise inside words.

    Inside words, only values of at least ``min_length`` characters are found.
    """
    if mentions := find_mentions(text, value):
        return mentions
    if (
        len(value) < min_length
        or normalize_surface(value) in UNSEARCHABLE_VALUES
        or len(text.lower()) != len(text)  # lowercasing would shift the positions
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
    """Find every position where the text contains a value as whole words.

    Values in `UNSEARCHABLE_VALUES`, such as ``yes``, are never found.
    """
    if normalize_surface(value) in UNSEARCHABLE_VALUES:
        return []
    if exact := list(_find_exact(text, value)):
        return exact
    return [match.span() for match in _value_pattern(value).finditer(text)]


def _find_exact(text: str, value: str) -> Iterator[tuple[int, int]]:
    """Yield the positions of a value as it is spelled, ignoring case; faster than a pattern."""
    lowered, target = text.lower(), value.lower()
    if len(lowered) != len(text) or not target.strip():
        return
    start = lowered.find(target)
    while start >= 0:
        end = start + len(target)
        if widen_to_words(text, start, end) == (start, end):
            yield start, end
        start = lowered.find(target, end)


@functools.lru_cache(maxsize=2**12)
def _value_pattern(value: str) -> re.Pattern[str]:
    """A pattern for the ways people write a value: other spacing, number words, plural."""
    folded = normalize_surface(value)
    if time := CLOCK_TIME.fullmatch(folded):
        return re.compile(rf"(?<![\d:])0?{time[1]}[:.]{time[2]}(?!\d)")
    parts = TOKEN_PATTERN.findall(folded)
    body = r"\s*".join(SPELLING_PATTERNS.get(part, re.escape(part)) for part in parts)
    if folded.isdigit() and int(folded) < len(NUMBER_WORDS):
        body = f"(?:{body}|{NUMBER_WORDS[int(folded)]})"
    elif folded[-1:].isalpha():
        body += "(?:s|es|ly)?"
    return re.compile(rf"(?<!\w){body}(?!\w)", re.IGNORECASE)


def widen_to_words(text: str, start: int, end: int) -> tuple[int, int]:
    """Widen a span to whole words: ``rey Skoda`` to ``grey Skoda``.

    It stops where words are run together: between a lowercase and an uppercase letter, and between
    a digit and a lowercase letter (``isD0V6U0MA``, ``4night``).
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
