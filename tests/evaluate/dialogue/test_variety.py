from __future__ import annotations

import pytest

from isaac.corpus.dialogue.placeholders import (
    Placeholder,
    find_placeholders,
    parse_placeholder,
    unify_placeholders,
)
from isaac.evaluate.dialogue.slot_errors import count_slot_errors
from isaac.evaluate.dialogue.tokens import join_contractions, split_words
from isaac.evaluate.dialogue.variety import compute_msttr, measure_variety


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("hotel_name", ("hotel", "name")),
        ("Hotel_Name_2", ("hotel", "name")),
        ("name", ("", "name")),
        ("value_name", ("", "name")),
        ("restaurant_reference", ("restaurant", "reference")),
        ("ref", ("", "reference")),
        ("booking_ref", ("", "reference")),
        ("attraction_post", ("attraction", "postcode")),
        ("train_id", ("train", "trainid")),
        ("train", ("train", "trainid")),
        ("trainid", ("", "trainid")),
        ("train_leaveAt", ("train", "leave")),
        ("arrive by", ("", "arrive")),
        ("attraction_entrance fee", ("attraction", "entrancefee")),
        ("taxi_car-type", ("taxi", "car")),
        ("event_date", ("", "eventdate")),
    ],
)
def test_placeholders_are_parsed_in_any_spelling(name: str, parsed: tuple[str, str]) -> None:
    assert parse_placeholder(name) == Placeholder(*parsed)
    assert find_placeholders(f"it is [{name}] , yes") == [Placeholder(*parsed)]


@pytest.mark.parametrize(
    "text", ["", "no", "[]", "[ ]", "[1]", "[hotel_name", "hotel_name]", "[\n]"]
)
def test_other_brackets_are_no_placeholders(text: str) -> None:
    assert find_placeholders(text) == []
    assert unify_placeholders(text) == text


def test_a_placeholder_becomes_one_word_in_capitals() -> None:
    text = "The [hotel_name]s leave at [train_leave] , [value_time] ; [attraction_entrance fee] ."
    assert unify_placeholders(text) == "the NAME leave at TIME , TIME ; PRICE ."


def test_contractions_are_joined() -> None:
    assert (
        join_contractions("I 'd  say they do n't ,\n it 's all n'est")
        == "I'd say they don't , it's all n'est"
    )
    assert split_words("They do n't [hotel_name_2]-ly; OK ?") == [
        "they",
        "don't",
        "NAME",
        "ly",
        "ok",
    ]


@pytest.mark.parametrize("text", ["[" * 10**5, "[ " * 10**5, " " * 10**6 + "x", "a'" * 10**5])
def test_repetitive_long_texts_are_handled_in_linear_time(text: str) -> None:
    assert len(split_words(text)) <= 1
    assert find_placeholders(text) == []


@pytest.mark.parametrize(
    ("response", "reference", "counts"),
    [
        ("[hotel_name] [hotel_area]", "[hotel_area] is [hotel_name]", (2, 2, 2, 0)),
        ("[value_name]", "[hotel_name] [hotel_area]", (2, 1, 1, 0)),
        ("[restaurant_name]", "[hotel_name]", (1, 1, 0, 0)),
        ("[hotel_name] [hotel_name_2] [name]", "[hotel_name] [hotel_name]", (2, 3, 2, 0)),
        ("[name] [name]", "[hotel_name] [taxi_phone]", (2, 2, 1, 0)),
        ("[hotel_name] [taxi_phone]", "[name] [name]", (2, 2, 1, 0)),
        ("", "[hotel_name]", (1, 0, 0, 0)),
        ("[hotel_name]", "", (0, 1, 0, 0)),
        ("", "", (0, 0, 0, 0)),
        ("[value_count] [time] [price]", "[hotel_choice] [train_leave] [pricerange]", (3, 3, 0, 3)),
        ("[train_leave]", "[train_arrive]", (1, 1, 0, 0)),
        ("[train_time]", "[taxi_leave]", (1, 1, 0, 0)),
        ("[time] [train_leave]", "[train_leave] [train_arrive]", (2, 2, 1, 1)),
    ],
)
def test_slots_are_counted(response: str, reference: str, counts: tuple[int, ...]) -> None:
    assert count_slot_errors([(response, reference)]) == counts


def test_the_slot_error_rate_is_relative_to_the_references() -> None:
    # The references have three placeholders: one is missing, and two are superfluous.
    found = count_slot_errors([("[area] [food] [phone]", "[area] [name]"), ("[ref]", "[ref]")])
    assert (found.missing, found.superfluous) == (1, 2)
    assert (found.rate, found.precision, found.recall) == (1.0, 0.5, 2 / 3)
    nothing = count_slot_errors([])
    assert (nothing.rate, nothing.precision, nothing.recall) == (None, None, None)


def test_variety_by_hand() -> None:
    # Words: a b a b | a c. Pairs: ab ba ab | ac. Triples: aba bab.
    found = measure_variety(["A b a, b!", "a c"])
    assert (found.responses, found.words, found.length) == (2, 6, 3.0)
    assert (found.vocabulary, found.pairs, found.triples) == (3, 3, 2)
    assert (found.distinct_1, found.distinct_2, found.distinct_3) == (3 / 6, 3 / 4, 2 / 2)
    # a is followed by b twice and by c once, b always by a; 3 of 4 pairs begin with a.
    assert found.entropy == pytest.approx(0.75 * 0.9182958340544896)
    assert found.msttr is None


def test_segments_are_whole_and_may_span_several_responses() -> None:
    words = ["same"] * 50 + [str(n) for n in range(50)] + ["left", "over"]
    assert compute_msttr(words) == pytest.approx((1 / 50 + 1) / 2)
    assert measure_variety(words).msttr == compute_msttr(words)


@pytest.mark.parametrize("responses", [[], ["", " . "]])
def test_empty_responses_have_no_variety(responses: list[str]) -> None:
    found = measure_variety(responses)
    assert (found.words, found.vocabulary, found.distinct_1, found.entropy) == (0, 0, None, None)
