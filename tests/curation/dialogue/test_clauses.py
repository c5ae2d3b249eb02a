from __future__ import annotations

from collections.abc import Sequence

import pytest

from isaac.curation.dialogue.clauses import ClauseRemover, DialogueNgrams, SpanScores, split_tokens

OTHERS = [
    *["It is [bus_name] ."] * 3,
    *["Take lol that .", "Oh lol yes .", "Well lol no ."],
    *["It is in [bus_place] and open ."] * 2,
]
"""Other responses of the corpus; `lol` is next to no value in any."""


def trim(text: str, clauses: Sequence[str] = (), words: Sequence[str] = ()) -> str | None:
    """Trim a response of which these clauses and words are irrelevant."""
    ngrams = DialogueNgrams([], [split_tokens(each) for each in [*OTHERS, text]])
    remover = ClauseRemover(split_tokens(text), frozenset(words), ngrams, frozenset())
    scores = {span: 9.0 for pair in remover.judged_spans() for span in pair}
    scores |= dict.fromkeys(clauses, 0.0)
    return remover.trim(text, SpanScores(scores, scores))


@pytest.mark.parametrize(
    ("text", "clauses", "trimmed"),
    [
        ("However , take it .", ["however"], "Take it ."),
        ("however , take it .", ["however"], "take it ."),
        ("Hi , [bus_name] is it .", ["hi"], "[bus_name] is it ."),
        ("Take it . Oh , and did you wait ?", ["oh"], "Take it . Did you wait ?"),
        ("Well , oh , but take it there now .", ["oh"], "Well , take it there now ."),
        ("[bus_name] , oh , and [bus_name_2] .", ["oh"], "[bus_name] , and [bus_name_2] ."),
        ("Take [bus_name] , is that right ?", ["is that right"], "Take [bus_name] ."),
        ("May I take [bus_name] , you fool ?", ["you fool"], "May I take [bus_name] ?"),
        ("May I take [bus_name] , is that right ?", ["is that right"], "May I take [bus_name] ?"),
        ("You take [bus_name] , you fool ?", ["you fool"], "You take [bus_name] ?"),
        ("Call them . Tel . [bus_phone] .", ["tel"], "Call them . Tel . [bus_phone] ."),
        ("Wow , it is Mr . [bus_name] .", ["wow"], "It is Mr . [bus_name] ."),
    ],
)
def test_what_is_left_reads_as_a_sentence(text: str, clauses: list[str], trimmed: str) -> None:
    assert trim(text, clauses) == trimmed


@pytest.mark.parametrize(
    "text",
    [
        "It is 1012 AB .",
        "It is c.b [bus_count] , 1 u.j .",
        "It is [bus_code] ln .",
        "It is ab-12 .",
    ],
)
def test_values_of_an_unknown_form_are_not_cut_into(text: str) -> None:
    assert trim(text, ["u j", "u", "j", "ln"], ["ab", "c", "b", "u", "j", "ln"]) == text


def test_a_short_word_beside_a_value_is_removed_if_it_occurs_elsewhere() -> None:
    assert trim("It is [bus_name] lol .", words=["lol"]) == "It is [bus_name] ."
    assert trim("It is [bus_name] lxx .", words=["lxx"]) == "It is [bus_name] lxx ."


@pytest.mark.parametrize(
    ("rows", "bound"), [(1, 1), (150, 1), (212, 2), (300, 3), (800, 3), (7000, 6.5), (9000, 6.5)]
)
def test_the_bound_grows_with_the_corpus(rows: int, bound: float) -> None:
    assert DialogueNgrams([], [["it"]] * rows).bound == pytest.approx(bound, abs=0.01)
