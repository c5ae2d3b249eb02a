"""Printable and shortened text: no control, direction or invisible character survives."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaac.text import WORD_PATTERN, extract_words, make_printable, shorten

ANYTHING = st.text(st.characters(exclude_categories=()))
DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
MARKS = "\u061c\u200e\u200f"


def is_safe(character: str) -> bool:
    if character in "\t\n":
        return True
    moves = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    turns = unicodedata.bidirectional(character) in DIRECTIONS or character in MARKS
    return not moves and not turns


def test_no_control_or_direction_character_survives() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    assert all(map(is_safe, make_printable(everything)))


def test_no_invisible_character_survives_except_the_joiners() -> None:
    hidden = "\xad\u180e\u200b\u2060\u2064\ufeff\ufff9\U000e0001\U000e0041"
    assert not set(make_printable(hidden)) & set(hidden)
    assert make_printable("👩\u200d🚀 می\u200cخواهم") == "👩\u200d🚀 می\u200cخواهم"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "␛[2J"),
        ("a\x00b", "a␀b"),
        ("\x7f", "<U+007F>"),
        ("\x9b", "<U+009B>"),
        ("\u202etxt", "<RIGHT-TO-LEFT OVERRIDE>txt"),
        ("\ud800", "<U+D800>"),
        ("line\n\tnext", "line\n\tnext"),
        ("Grüße, 世界 🙂", "Grüße, 世界 🙂"),
    ],
)
def test_invisible_characters_get_visible_stand_ins(text: str, shown: str) -> None:
    assert make_printable(text) == shown


@given(ANYTHING)
def test_printable_text_stays_unchanged(text: str) -> None:
    assert make_printable(make_printable(text)) == make_printable(text)
    make_printable(text).encode()


@given(ANYTHING, st.integers(1, 200))
def test_shortened_text_is_one_safe_line_of_at_most_the_length(text: str, length: int) -> None:
    line = shorten(text, length)
    assert len(line) <= length
    assert "\n" not in line
    assert "\t" not in line
    assert all(map(is_safe, line))


def test_shortened_text_ends_with_an_ellipsis() -> None:
    assert shorten("a b\n c") == "a b c"
    assert shorten("abcdef", 4) == "abc…"
    assert shorten(" " * 500 + "a", 100) == "…"


def test_punctuation_marks_are_tokens_of_their_own_and_no_words() -> None:
    assert WORD_PATTERN.findall("it's 5, ok? 何で") == [
        "it",
        "'",
        "s",
        "5",
        ",",
        "ok",
        "?",
        "何",
        "で",
    ]
    assert extract_words("It's 5, OK? 何で") == ["it's", "5", "ok", "何", "で"]
