from __future__ import annotations

from typing import Any

import pytest

from isaac.corpus.dialogue import READERS, Act, ReadingError, detect_reader


def make_record() -> dict[str, Any]:
    def act(intent: str, slot: str, value: str, **position: int) -> dict[str, Any]:
        return {"intent": intent, "domain": "bus", "slot": slot, "value": value, **position}

    return {
        "dialogue_id": "x-0",
        "data_split": "train",
        "goal": {"description": "ride"},
        "turns": [
            {
                "speaker": "user",
                "utterance": "Where to?",
                "dialogue_act": {"binary": [act("request", "to", "")]},
                "state": {"bus": {"dog": "True", "to": ""}},
            },
            {
                "speaker": "system",
                "utterance": "It goes to Ely.",
                "dialogue_act": {
                    "categorical": [act("inform", "dog", "True")],
                    "non-categorical": [act("inform", "to", "Ely", start=11, end=14)],
                    "binary": [],
                },
            },
        ],
    }


def test_acts_values_and_states_of_the_unified_format_are_read() -> None:
    reader = detect_reader(make_record())
    assert reader is READERS["unified"]
    user, system = reader.read(make_record()).turns
    assert user.acts == (Act("bus", "request", "to", "?"),)
    assert system.acts == (Act("bus", "inform", "dog", "true"), Act("bus", "inform", "to", "ely"))
    assert [(slot, system.text[start:end]) for slot, start, end in system.spans] == [
        ("bus_to", "Ely")
    ]
    assert system.state == {"bus": {"dog": "true"}}


@pytest.mark.parametrize(
    ("text", "position"), [("Ely is its end.", {"start": 0, "end": 3}), ("There.", {})]
)
def test_a_changed_turn_keeps_its_acts_and_moves_their_positions(
    text: str, position: dict[str, int]
) -> None:
    record = make_record()
    changed = READERS["unified"].replaced(record, 1, text)["turns"][1]
    assert changed["utterance"] == text
    (moved,) = changed["dialogue_act"]["non-categorical"]
    assert {key: moved[key] for key in ("start", "end") if key in moved} == position
    assert moved["value"] == "Ely"
    assert changed["dialogue_act"]["categorical"] == [
        {"intent": "inform", "domain": "bus", "slot": "dog", "value": "True"}
    ]
    assert record == make_record()


def test_only_system_turns_of_known_speakers_are_changed() -> None:
    with pytest.raises(ReadingError, match="turn 0 is not a system turn"):
        READERS["unified"].replaced(make_record(), 0, "x")
    with pytest.raises(ReadingError, match="'speaker' is None"):
        READERS["unified"].read({**make_record(), "turns": [{"utterance": "x"}]})
