from __future__ import annotations

import json
import math
import random
import re
from collections import Counter
from importlib.resources import files
from time import perf_counter
from typing import Any, Literal

import pytest

from isaac.corpus.dialogue.schema import Act, Dialogue, DialogueTurn, Span
from isaac.errors import CorpusError, RecipeError
from isaac.evaluate.dialogue.injection import InjectedText, PhraseSampler, load_pollution_data
from isaac.evaluate.dialogue.pollution import (
    POLLUTION_KINDS,
    WORDINGS,
    PollutedCorpus,
    load_word_list,
    parse_truth,
    pollute,
    remove_injected_text,
    shift_spans,
    truth_rows,
)
from isaac.evaluate.dialogue.tokens import PhraseMatcher, split_words

SPACED = "I 'd suggest the Elm House , you would like it . Would you like the number 01632 960001 ?"
ATTACHED = "I'd suggest the Elm House, you would like it. Would you like the number 01632 960001?"


def is_rude(text: str) -> bool:
    return PhraseMatcher(load_word_list()).occurs_in(split_words(text), text)


def spans(text: str, *values: str) -> tuple[Span, ...]:
    places = [(value, text.index(value)) for value in values]
    return tuple(Span("slot", start, start + len(value)) for value, start in places)


def dialogue(name: str, *texts: str, values: tuple[str, ...] = ()) -> Dialogue:
    turns = []
    for index, text in enumerate(texts):
        role: Literal["user", "assistant"] = "assistant" if index % 2 else "user"
        found = spans(text, *values) if role == "assistant" else ()
        turns.append(DialogueTurn(index, role, text, (Act("hotel", "inform", "name", "x"),), found))
    return Dialogue(name, tuple(turns), {"message": "a goal"})


def corpus(count: int, *texts: str, values: tuple[str, ...] = ()) -> list[Dialogue]:
    asked = [part for text in texts for part in ("Hello .", text)]
    return [dialogue(f"d{number}", *asked, values=values) for number in range(count)]


def polluted_text(
    text: str, kinds: tuple[str, ...] = POLLUTION_KINDS, seed: int = 0, **more: Any
) -> str:
    polluted = pollute([dialogue("d", "Hello .", text)], 1.0, seed, kinds, **more)
    return polluted.texts["d", 1]


@pytest.mark.parametrize("wordings", WORDINGS)
@pytest.mark.parametrize("text", [SPACED, ATTACHED])
def test_removing_the_pieces_restores_the_original(text: str, wordings: str) -> None:
    polluted = pollute(corpus(150, text), 1.0, 3, wordings=wordings)
    assert len(polluted.truth) == 150
    for row in polluted.truth:
        changed = polluted.texts[row.dialogue, row.turn]
        assert row.pieces
        assert changed != text
        assert all(changed[start:].startswith(piece) for start, piece in row.pieces)
        assert remove_injected_text(changed, row.pieces) == row.original == text


def test_values_are_never_cut_and_their_spans_move_with_them() -> None:
    names = ("You . Would You Be . Mine", "9 p.m .", "01632 960001")
    text = "Try You . Would You Be . Mine until 9 p.m . The number is 01632 960001 ."
    before = corpus(300, text, values=names)
    after = pollute(before, 1.0, 1).apply_to(before)
    for old, new in zip(before, after, strict=True):
        assert (new.id, new.goal, new.turns[0]) == (old.id, old.goal, old.turns[0])
        turn = new.turns[1]
        assert tuple(turn.text[start:end] for _, start, end in turn.spans) == names
        assert turn.acts == old.turns[1].acts


def test_values_with_spans_outside_the_text_are_never_cut() -> None:
    text = "Try the Elm . Would you ? "
    for start, end in [(0, 999), (-5, len(text)), (8, 999), (5, 3)]:
        turn = DialogueTurn(1, "assistant", text, (), (Span("name", start, end),))
        for seed in range(30):
            polluted = pollute([Dialogue("d", (turn,))], 1.0, seed)
            assert text[max(start, 0) : max(end, 0)] in polluted.texts["d", 1]


def test_placeholders_are_never_cut() -> None:
    text = "[hotel_name] is in the [hotel_area] . Can I book it for you ?"
    changed = [polluted_text(text, seed=seed) for seed in range(200)]
    assert all("[hotel_name]" in each and "[hotel_area]" in each for each in changed)


@pytest.mark.parametrize(
    ("count", "rate", "expected"),
    [(100, 0.1, 10), (100, 0.01, 1), (99, 0.1, 10), (50, 0.01, 1), (49, 0.01, 0), (7, 1, 7)],
)
def test_the_rate_is_met_exactly_halves_rounded_up(count: int, rate: float, expected: int) -> None:
    polluted = pollute(corpus(count, SPACED), rate)
    assert len(polluted.truth) == len(polluted.texts) == expected


def test_only_system_turns_with_text_are_polluted_and_counted() -> None:
    dialogues = [dialogue(f"d{number}", "Hi .", SPACED, "Bye .", " \n ") for number in range(10)]
    polluted = pollute(dialogues, 0.5)
    assert len(polluted.truth) == 5
    assert {row.turn for row in pollute(dialogues, 1.0).truth} == {1}
    assert pollute([], 0.5) == PollutedCorpus({}, ())


def test_order_does_not_matter_and_the_seed_does() -> None:
    dialogues = corpus(200, SPACED, ATTACHED)
    polluted = pollute(dialogues, 0.2, 5)
    shuffled = dialogues[:]
    random.Random(0).shuffle(shuffled)
    assert pollute(shuffled, 0.2, 5) == polluted == pollute(dialogues, 0.2, 5)
    assert pollute(dialogues, 0.2, 6).texts.keys() != polluted.texts.keys()


def test_a_higher_rate_includes_the_turns_of_a_lower_one() -> None:
    dialogues = corpus(200, SPACED)
    few, many = (pollute(dialogues, rate) for rate in (0.02, 0.1))
    assert few.texts.items() <= many.texts.items()


def test_the_same_input_gives_these_bytes() -> None:
    assert pollute(corpus(4, SPACED), 0.5).texts == {
        ("d0", 1): f"Stuff this , {SPACED}",
        ("d1", 1): SPACED.replace(" Would", " Geez , not again ! Would"),
    }


def test_only_the_given_kinds_occur_with_about_equal_frequency() -> None:
    dialogues = corpus(600, SPACED)
    counts = Counter(row.kind for row in pollute(dialogues, 1.0).truth)
    assert set(counts) == set(POLLUTION_KINDS)
    assert min(counts.values()) > 150
    assert {row.kind for row in pollute(dialogues, 0.5, kinds=["low"]).truth} == {"low"}
    again = pollute(dialogues, 0.5, kinds=["low", "high", "low"])
    assert again == pollute(dialogues, 0.5, kinds=["high", "low"])


def test_repeated_wordings_are_few_and_varied_ones_many() -> None:
    def share(wordings: str) -> float:
        truth = pollute(corpus(400, SPACED), 1.0, kinds=["high"], wordings=wordings).truth
        wordings_used = {
            tuple(piece.text.strip(" ,.!?").lower() for piece in row.pieces) for row in truth
        }
        return len(wordings_used) / len(truth)

    assert share("repeated") < 0.1
    assert share("varied") > 0.8
    mixed = pollute(corpus(400, SPACED), 1.0).truth
    assert 140 < sum(row.wording == "varied" for row in mixed) < 260


def test_injected_text_has_the_spacing_and_case_of_the_turn() -> None:
    for seed in range(60):
        assert not re.search(r"\w[,.!?](\s|$)", polluted_text(SPACED, seed=seed))
        assert not re.search(r"\s([,.!?]|n't|'d)(\s|$)", polluted_text(ATTACHED, seed=seed))
        assert not re.search(
            r"(^|[.?!] )[A-HJ-Z]", polluted_text("their number is 5 . ok ?", seed=seed)
        )


def test_a_turn_without_marks_takes_the_spacing_of_its_dialogue() -> None:
    turns = ("Yes , a room .", "sure , one moment .", "Fine .", "which day")
    for seed in range(20):
        text = pollute([dialogue("d", *turns)], 1.0, seed).texts["d", 3]
        assert not re.search(r"\w[,.!?](\s|$)", text)


def test_an_address_follows_the_pronoun_you_only() -> None:
    texts = [
        polluted_text("Would you like it ? It is yours if you 're in .", ("high",), s)
        for s in range(90)
    ]
    addressed = [text for text in texts if re.search(r"Would you , you [\w ,]+ , like", text)]
    assert len(addressed) > 20
    assert all("yours if you 're in" in text for text in texts)


def test_low_adds_a_particle_before_a_sentence_and_tags_precede_the_closing_mark() -> None:
    for seed in range(40):
        text = polluted_text("Booked . The fee is 5 .", ("low",), seed)
        assert re.search(r"[,!] Booked \. The fee is 5 \.$|^Booked \. .*! The fee is 5 \.$", text)
    tagged = [
        polluted_text("Booked !", ("unprofessional",), seed, wordings="repeated")
        for seed in range(40)
    ]
    assert "Booked , mate !" in tagged


def test_abbreviations_do_not_end_a_sentence() -> None:
    for text in ("It is near St . Anne and Mr . Lee .", "Open till 9 p.m . Fridays too ."):
        for seed in range(30):
            assert text[:-2] in polluted_text(text, ("low",), seed)


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "?",
        "[hotel_name]",
        "[",
        "...",
        "  You  ",
        "\n\n12 .\n",
        "你好。我们有酒店。",
        "\ud800 half",
        "a\x00b . \x1b[31m C",
        "you",
    ],
)
def test_unusual_texts_are_restored(text: str) -> None:
    for seed in range(20):
        polluted = pollute([Dialogue("d\ud800", (DialogueTurn(0, "assistant", text),))], 1.0, seed)
        row = polluted.truth[0]
        assert remove_injected_text(polluted.texts[row.dialogue, 0], row.pieces) == text


@pytest.mark.parametrize(
    "part", ["you ", ". ", "!", " ", "[", "A . ", "a.b ", "\n.", "n't", "ugh,?"]
)
def test_huge_texts_are_polluted_in_linear_time(part: str) -> None:
    text = "x" + part * (200_000 // len(part)) + "x"
    start = perf_counter()
    polluted = pollute([dialogue("d", "Hello .", text)], 1.0)
    changed = polluted.texts["d", 1]
    assert remove_injected_text(changed, polluted.truth[0].pieces) == text
    assert is_rude(changed)
    assert perf_counter() - start < 5


@pytest.mark.parametrize("rate", [0, -0.1, 1.5, math.nan, math.inf, True, "0.1", None])
def test_rates_out_of_bounds_are_refused(rate: Any) -> None:
    with pytest.raises(RecipeError, match="expected a rate above 0 and at most 1"):
        pollute(corpus(2, SPACED), rate)


@pytest.mark.parametrize("kinds", [[], ["rude"], "low", ["low", 3], [["low"]]])
def test_unknown_kinds_are_refused(kinds: Any) -> None:
    with pytest.raises(RecipeError, match="low, high, unprofessional"):
        pollute(corpus(2, SPACED), 0.5, kinds=kinds)


def test_unknown_wordings_and_two_turns_under_one_id_are_refused() -> None:
    with pytest.raises(RecipeError, match="repeated, varied, mixed"):
        pollute(corpus(2, SPACED), 0.5, wordings="many")
    with pytest.raises(CorpusError, match="two system turns 1 in 'd0'"):
        pollute([*corpus(2, SPACED), *corpus(1, SPACED)], 0.5)


def test_the_truth_is_restored_from_its_rows() -> None:
    polluted = pollute(corpus(50, SPACED, ATTACHED), 0.3)
    rows = [json.loads(json.dumps(row)) for row in truth_rows(polluted)]
    assert list(rows[0]) == ["dialogue", "turn", "kind", "wording", "pieces", "original"]
    assert parse_truth(rows) == polluted.truth


@pytest.mark.parametrize(
    "change",
    [
        {"dialogue": 3},
        {"turn": "1"},
        {"turn": True},
        {"pieces": 5},
        {"pieces": [{"start": "0", "text": "x"}]},
        {"pieces": [{"start": 0}]},
        {"pieces": ["x"]},
        {"original": None},
        {"extra": 1},
    ],
)
def test_an_error_names_a_malformed_row_of_the_truth(change: dict[str, Any]) -> None:
    good = truth_rows(pollute(corpus(1, SPACED), 1.0))[0]
    with pytest.raises(CorpusError, match=r"row 2 of the truth: expected an object with dialogue"):
        parse_truth([good, {**good, **change}])
    broken: list[Any] = [None, [], 3, "row", {}]
    for bad in broken:
        with pytest.raises(CorpusError, match="row 1"):
            parse_truth([bad])


def test_pieces_of_another_text_are_refused() -> None:
    with pytest.raises(CorpusError, match="expected 'ugh' at position 4"):
        remove_injected_text("It is ugh fine", [InjectedText(4, "ugh ")])
    with pytest.raises(CorpusError, match="expected 'ugh' at position 0"):
        remove_injected_text("ugh ugh", [InjectedText(0, "ugh"), InjectedText(0, "ugh")])


def test_a_span_moves_by_what_is_inserted_before_it_and_at_its_start() -> None:
    pieces = [InjectedText(0, "Ugh , "), InjectedText(14, " , mate")]
    text = "Ugh , the Elm  , mate ."
    assert remove_injected_text(text, pieces) == "the Elm  ."
    place = shift_spans([Span("name", 0, 7), Span("mark", 8, 10)], pieces)
    assert place == (Span("name", 6, 13), Span("mark", 21, 23))
    assert text[21:23] == " ."


def test_every_wording_contains_a_word_of_the_list() -> None:
    missed = [
        phrase
        for form in load_pollution_data().keys() - {"words"}
        for wording in ("repeated", "varied")
        for phrase in (
            PhraseSampler(random.Random(s), wording).sample_phrase(form) for s in range(800)
        )
        if not is_rude(phrase)
    ]
    assert missed == []


def test_the_word_list_ignores_case_and_spacing_and_spares_clean_turns() -> None:
    assert is_rude("For Heaven’s sake!")
    assert is_rude("Sure, lol!")
    assert is_rude("FOR HEAVEN 'S SAKE !")
    assert not is_rude("The Hellman lollipop shop is famous , a template .")
    assert len(set(load_word_list())) == len(load_word_list())


def test_wordings_contain_no_digits_and_use_every_part_of_their_grammar() -> None:
    text = (files("isaac") / "data" / "pollution.json").read_text(encoding="utf-8")
    assert not re.search(r"\d|https?:|www", text)
    for form in load_pollution_data().keys() - {"words"}:
        grammar = load_pollution_data()[form]["varied"]
        used = set(re.findall(r"\{(\w+)\}", json.dumps(grammar)))
        assert used == grammar.keys() - {"start"}
