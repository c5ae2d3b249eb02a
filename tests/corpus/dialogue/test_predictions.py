from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isaac.corpus.dialogue.predictions import Prediction, parse_predictions, read_predictions
from isaac.errors import CorpusError


def test_predictions_are_read_with_what_they_have(tmp_path: Path) -> None:
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
    ("record", "told"),
    [
        ([], "wanted an object of dialogues, each a list of turns; came list"),
        ({"d": {}}, "dialogue d: wanted a list of turns, came dict"),
        ({"d": [{"response": ""}, 5]}, "dialogue d, turn 1: wanted an object, came int"),
        ({"d": [{}]}, "dialogue d, turn 0: wanted text as 'response', came NoneType"),
        ({"d": [{"response": "", "state": 5}]}, "turn 0: wanted an object as 'state', came int"),
        ({"d": [{"response": "", "state": {"hotel": 5}}]}, "wanted slots of 'hotel' in 'state'"),
        (
            {"d": [{"response": "", "state": {"hotel": {"area": {}}}}]},
            "turn 0, state of 'hotel', slot 'area': wanted text, came dict",
        ),
        (
            {"d": [{"response": "", "state": {"hotel": {"name": "x" * 1001}}}]},
            "turn 0, state of 'hotel', slot 'name': 1,001 characters; at most 1,000 are read",
        ),
        ({"d": [{"response": "", "active_domains": "hotel"}]}, "a list of names as 'active_dom"),
        ({"d": [{"response": "", "active_domains": [1]}]}, "a list of names as 'active_domains'"),
        ({"D.json": [], "d": []}, "dialogue d: there twice"),
    ],
)
def test_what_cannot_be_read_is_named(record: Any, told: str) -> None:
    with pytest.raises(CorpusError, match=told):
        parse_predictions(record)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_a_file_that_is_not_json_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "predictions.json"
    path.write_text(text)
    with pytest.raises(CorpusError, match=r"predictions\.json is not JSON"):
        read_predictions(path)
