from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isaac.corpus.dialogue.predictions import Prediction, parse_predictions, read_predictions
from isaac.errors import CorpusError


def test_predictions_are_read_with_states_and_domains_if_present(tmp_path: Path) -> None:
    turns = [
        {
            "response": "[hotel_name] .",
            "state": {"Hotel": {"Area": " North ", "stars": 4, "type": "not mentioned"}},
            "active_domains": ["Hotel"],
        },
        {"response": "", "state": {"hotel-area": ["dontcare", "any"], "taxi": {}, "train-day": []}},
        {"response": "bye", "other": 1, "state": None, "active_domains": None},
    ]
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps({"SNG0073.json": turns}), encoding="utf-8-sig")
    assert read_predictions(path) == {
        "sng0073": [
            Prediction("[hotel_name] .", {"hotel": {"area": "north", "stars": "4"}}, ("hotel",)),
            Prediction("", {"hotel": {"area": "dontcare"}}),
            Prediction("bye"),
        ]
    }


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "expected an object of dialogues, each a list of turns; got list"),
        ({"d": {}}, "dialogue d: expected a list of turns, got dict"),
        ({"d": [{"response": ""}, 5]}, "dialogue d, turn 1: expected an object, got int"),
        ({"d": [{}]}, "dialogue d, turn 0: expected text in 'response', got NoneType"),
        ({"d": [{"response": "", "state": 5}]}, "turn 0: expected an object in 'state', got int"),
        (
            {"d": [{"response": "", "state": {"hotel": 5}}]},
            "expected an object of slots for 'hotel' in 'state', got int",
        ),
        (
            {"d": [{"response": "", "state": {"hotel": {"area": {}}}}]},
            "turn 0, state of 'hotel', slot 'area': expected text, got dict",
        ),
        (
            {"d": [{"response": "", "state": {"hotel": {"name": "x" * 1001}}}]},
            "state of 'hotel', slot 'name': the value has 1,001 characters; the limit is 1,000",
        ),
        (
            {"d": [{"response": "", "active_domains": "hotel"}]},
            "a list of domain names in 'active_dom",
        ),
        (
            {"d": [{"response": "", "active_domains": [1]}]},
            "a list of domain names in 'active_domains'",
        ),
        ({"D.json": [], "d": []}, "dialogue d: duplicate id"),
    ],
)
def test_an_error_names_the_malformed_part(record: Any, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        parse_predictions(record)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_a_file_that_is_not_json_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "predictions.json"
    path.write_text(text)
    with pytest.raises(CorpusError, match=r"predictions\.json is not JSON"):
        read_predictions(path)
