from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaac.curation.values import find_values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("See a doctor soon.", set()),
        ("Call 555-1234 before 10:30!", {"555", "1234", "10", "30"}),
        ("Your booking is Q1W2E3R4.", {"q1w2e3r4"}),
        ("It costs $3.50 or 3,50 €", {"3", "50"}),
        ("Write to Jane.Doe@Example.com.", {"jane.doe@example.com"}),
        (
            "Write to <jane@example.com>, or (jo@example.com).",
            {"jane@example.com", "jo@example.com"},
        ),
        ("See https://Example.com/a?b=c.", {"https://example.com/a?b=c"}),
        ("(see http://example.com/x)", {"http://example.com/x"}),
        ("<ftp://example.com>", {"ftp://example.com"}),
        ("@someone said hi, snake_case too", set()),
        ("one two three", set()),
        ("item_7 and v2", {"7", "v2"}),
        ("電話は０３です", {"電話は０３です"}),
        ("", set()),
    ],
)
def test_values_are_numbers_addresses_and_links(text: str, values: set[str]) -> None:
    assert find_values(text) == values


@given(st.text(alphabet="ab1_@.:/ (何\n", max_size=60))
def test_every_word_with_a_digit_is_in_a_value(text: str) -> None:
    values = find_values(text)
    for word in re.findall(r"[^\W_]+", text):
        if any(character.isdecimal() for character in word):
            assert any(word.lower() in value for value in values)
    assert all(value == value.lower() and len(value.split()) == 1 for value in values)


@pytest.mark.parametrize("unit", ["a", "あ", "+", "a_", "@", "a@", "a.", "://", "a:", "1"])
def test_a_huge_text_without_spaces_takes_no_longer_than_any_other(unit: str) -> None:
    start = time.process_time()
    find_values(unit * (200_000 // len(unit)))
    assert time.process_time() - start < 2
