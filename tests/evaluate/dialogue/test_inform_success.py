from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from isaac.corpus.dialogue.goals import DomainGoal, find_booked_domains, parse_goal
from isaac.corpus.dialogue.predictions import Prediction
from isaac.errors import CorpusError
from isaac.evaluate.dialogue.database import Database
from isaac.evaluate.dialogue.inform_success import (
    DialogueOutcome,
    build_judged_turns,
    infer_active_domains,
    judge_dialogue,
)

DATABASE = Database(
    {
        "hotel": [
            {"id": "acorn", "name": "acorn guest house", "area": "north", "stars": "4"},
            {"id": "avalon", "name": "avalon", "area": "north", "stars": "3"},
            {"id": "cityroomz", "name": "cityroomz", "area": "centre", "stars": "0"},
        ],
        "train": [
            {"trainID": "TR1", "departure": "ely", "leaveAt": "09:00"},
            {"trainID": "TR2", "departure": "ely", "leaveAt": "11:00"},
        ],
    }
)
NORTH, FOUR = {"hotel": {"area": "north"}}, {"hotel": {"area": "north", "stars": "4"}}
GOAL = {"hotel": {"info": {"area": "north", "stars": "4"}, "reqt": ["phone"], "book": {"day": "x"}}}

Turns = list[tuple[str, Mapping[str, Mapping[str, str]]]]


def outcome(
    goal: Mapping[str, Any], turns: Turns, booked: list[set[str]] | None = None
) -> DialogueOutcome:
    predictions = [Prediction(response) for response, _ in turns]
    states = [state for _, state in turns]
    judged = build_judged_turns(predictions, states, booked, by_placeholder=True)
    return judge_dialogue(parse_goal(goal, "d"), judged, DATABASE)


@pytest.mark.parametrize(
    ("turns", "inform", "success"),
    [
        # The state matches one hotel, the goal's; all requested slots are given.
        ([("[hotel_name]", FOUR), ("[hotel_phone] [ref]", FOUR)], True, True),
        # The reference is missing, then the phone number.
        ([("[hotel_name]", FOUR), ("[hotel_phone]", FOUR)], True, False),
        ([("[hotel_name] [hotel_reference]", FOUR)], True, False),
        # Two hotels are on offer, and one of them does not match the goal.
        ([("[hotel_name]", NORTH), ("[hotel_phone] [ref]", NORTH)], False, False),
        # The narrower offer counts, whether it comes second or first.
        ([("[hotel_name]", NORTH), ("[name] [phone] [reference]", FOUR)], True, True),
        ([("[hotel_name]", FOUR), ("[name] [phone] [reference]", NORTH)], True, True),
        # A later offer of something else, or of nothing, replaces the right one.
        ([("[hotel_name]", FOUR), ("[hotel_name]", {"hotel": {"area": "centre"}})], False, False),
        ([("[hotel_name]", FOUR), ("[hotel_name]", {"hotel": {"area": "west"}})], False, False),
        # No offer: a name without a state of its domain, or no name.
        ([("[hotel_name] [hotel_phone] [ref]", {"train": {"leave": "09:00"}})], False, False),
        ([("[hotel_phone] [hotel_ref]", FOUR)], False, False),
        ([("", FOUR)], False, False),
        ([], False, False),
    ],
)
def test_a_hotel_is_informed_if_the_final_offer_matches_the_goal(
    turns: Turns, inform: bool, success: bool
) -> None:
    found = outcome(GOAL, turns)
    assert (found.inform, found.success) == (inform, success)


def test_placeholders_count_where_their_domain_is_active() -> None:
    wrong = [("[restaurant_name] [restaurant_phone] [restaurant_ref]", FOUR)]
    assert not outcome(GOAL, [*wrong]).inform
    judged = build_judged_turns([Prediction(wrong[0][0], domains=("hotel",))], [FOUR])
    assert judge_dialogue(parse_goal(GOAL, "d"), judged, DATABASE).success
    judged = build_judged_turns([Prediction("[name] [phone] [ref]", domains=())], [FOUR])
    assert not judge_dialogue(parse_goal(GOAL, "d"), judged, DATABASE).inform


def test_without_active_domains_the_states_show_them_unless_placeholders_are_asked_for() -> None:
    predictions = [Prediction("[hotel_name]"), Prediction("[hotel_phone] [train_id]")]
    states = [FOUR, {**FOUR, "train": {"day": "monday"}}]

    def domains(*, by_placeholder: bool) -> list[set[str]]:
        turns = build_judged_turns(predictions, states, by_placeholder=by_placeholder)
        return [set(turn.domains) for turn in turns]

    assert domains(by_placeholder=False) == [{"hotel"}, {"train"}]
    assert domains(by_placeholder=True) == [{"hotel"}, {"hotel", "train"}]


def test_a_reference_counts_where_the_domain_is_booked() -> None:
    turns: Turns = [("[hotel_name] [hotel_phone] [hotel_ref]", FOUR), ("[hotel_ref]", FOUR)]
    assert outcome(GOAL, turns, [set(), {"hotel"}]).success
    assert not outcome(GOAL, turns, [set(), {"train"}]).success
    assert outcome(GOAL, turns, [{"hotel"}, set()]).success


@pytest.mark.parametrize(
    ("goal", "turns", "inform", "success"),
    [
        ({"hotel": {"info": {"name": "avalon"}, "reqt": ["phone"]}}, [("", {})], True, False),
        ({"hotel": {"info": {"name": "avalon"}, "reqt": ["area"]}}, [("", {})], True, True),
        ({"taxi": {"info": {"leaveAt": "9:00"}, "reqt": ["phone"]}}, [("", {})], True, False),
        ({"police": {"info": {}, "reqt": ["phone"]}}, [("[police_phone]", {})], True, True),
        ({"train": {"info": {"leaveAt": "10:00"}, "reqt": ["price"]}}, [("", {})], True, True),
        ({"train": {"info": {"leaveAt": "10:00"}, "reqt": ["trainID"]}}, [("", {})], False, False),
        (
            {"train": {"info": {"leaveAt": "10:00"}, "reqt": ["trainID"]}},
            [("[train_id]", {"train": {"leave": "10:30"}})],
            True,
            True,
        ),
        (
            {"train": {"info": {"leaveAt": "10:00"}, "reqt": ["price"]}},
            [("[trainid]", {"train": {"leave": "08:00"}})],
            False,
            False,
        ),
    ],
)
def test_special_cases_of_the_definition(
    goal: dict[str, Any], turns: Turns, inform: bool, success: bool
) -> None:
    found = outcome(goal, turns)
    assert (found.inform, found.success) == (inform, success)


def test_no_domain_succeeds_where_one_is_not_informed() -> None:
    goal = {**GOAL, "taxi": {"reqt": ["phone"]}}
    found = outcome(goal, [("[hotel_name]", NORTH), ("[taxi_phone]", NORTH)])
    assert found.informed == {"hotel": False, "taxi": True}
    assert found.succeeded == {"hotel": False, "taxi": False}
    found = outcome(goal, [("[hotel_name]", FOUR), ("[taxi_phone]", FOUR)])
    assert found.succeeded == {"hotel": False, "taxi": True}
    assert (found.inform, found.success) == (True, False)


def test_the_active_domain_is_the_one_whose_state_changes() -> None:
    hotel = {"hotel": {"area": "north"}}
    both = {**hotel, "train": {"day": "monday", "leave": "09:00"}}
    more = {"hotel": {"area": "north", "stars": "4"}, "train": {"day": "sunday"}}
    assert infer_active_domains([{}, hotel, hotel, both, both]) == [
        (),
        ("hotel",),
        ("hotel",),
        ("train",),
        ("train",),
    ]
    # Of several others only the first follows.
    three = {**both, "taxi": {"leave": "10:00"}}
    assert infer_active_domains([three, three, three]) == [("train",), ("hotel",), ("hotel",)]
    # If several change, the current one stays; the other follows when nothing changes.
    assert infer_active_domains([both, more, more, more])[1:] == [
        ("train",),
        ("hotel",),
        ("hotel",),
    ]


def test_goals_are_reduced_to_constraints_and_requestable_slots() -> None:
    goal = {
        "hotel": {
            "info": {"area": "north", "stars": 4},
            "fail_info": {"area": "west"},
            "reqt": ["phone", "address", "parking"],
            "book": {"people": "3"},
        },
        "train": {"info": {"leaveAt": "9:00"}, "reqt": ["trainID", "price"]},
        "taxi": {},
        "topic": {"taxi": True},
        "message": ["You want a hotel"],
    }
    assert parse_goal(goal, "d") == {
        "hotel": DomainGoal(
            {"area": "north", "stars": "4"}, frozenset({"phone", "address", "reference"})
        ),
        "train": DomainGoal({"leave": "9:00"}, frozenset({"trainid"})),
    }
    assert parse_goal(None, "d") == parse_goal({}, "d") == {}


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ([1], "dialogue d: the goal: expected an object, got list"),
        ({"hotel": "x"}, "the goal's 'hotel': expected an object, got str"),
        ({"hotel": {"info": [1]}}, "'hotel', 'info': expected an object"),
        ({"hotel": {"reqt": "phone"}}, "'reqt': expected a list of slots, got str"),
        ({"hotel": {"reqt": 5}}, "'reqt': expected a list of slots, got int"),
    ],
)
def test_an_error_names_a_malformed_goal(goal: Any, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        parse_goal(goal, "d")


def test_bookings_are_read_from_the_annotations() -> None:
    booked = {
        "hotel": {"book": {"booked": [{"reference": "X"}]}},
        "train": {"book": {"booked": []}},
    }
    log = [{"text": "a"}, {"metadata": {}}, {"text": "b"}, {"metadata": booked}, {"text": "c"}]
    assert find_booked_domains(log, "d") == [frozenset(), frozenset({"hotel"})]
    with pytest.raises(CorpusError, match="dialogue d, response 0, 'metadata': expected an object"):
        find_booked_domains([{}, {"metadata": [1]}], "d")
    with pytest.raises(CorpusError, match="dialogue d: expected a list of turns"):
        find_booked_domains({}, "d")
