from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isaac.errors import CorpusError
from isaac.evaluate.dialogue.database import (
    Database,
    fuzzy_match,
    normalize_name,
    parse_minutes,
    read_database,
)

HOTELS: list[dict[str, Any]] = [
    {"id": "1", "name": "acorn guest house", "area": "north", "stars": "4", "parking": "yes"},
    {"id": "2", "name": "cityroomz", "area": "centre", "stars": "0", "parking": "no"},
    {"id": "3", "name": "the avalon", "area": "north", "stars": "?", "price": {"single": "60"}},
]
TRAINS = [
    {"trainID": "TR1", "day": "monday", "leaveAt": "09:00", "arriveBy": "09:50"},
    {"trainID": "TR2", "day": "monday", "leaveAt": "11:00", "arriveBy": "11:50"},
    {"trainID": "TR2", "day": "sunday", "leaveAt": "23:40", "arriveBy": "24:30"},
]


def database() -> Database:
    return Database({"hotel": HOTELS, "train": TRAINS})


@pytest.mark.parametrize(
    ("constraints", "ids"),
    [
        ({}, "123"),
        ({"area": "north"}, "13"),
        ({"area": "centre"}, "2"),
        ({"area": "Center"}, "2"),
        ({"area": "north|centre"}, "123"),
        ({"area": "west"}, ""),
        ({"stars": "4"}, "13"),
        ({"stars": "0", "area": "north"}, "3"),
        ({"parking": "free"}, "13"),
        ({"name": "Acorn Guesthouse"}, "1"),
        ({"name": "avalon"}, "3"),
        ({"name": "acorm guest house"}, "1"),
        ({"name": "alpha"}, ""),
        ({"area": "west", "name": "avalon"}, ""),
        ({"area": "north", "people": "3", "bookday": "monday", "price": "60"}, "13"),
    ],
)
def test_a_query_finds_the_matching_entities(constraints: dict[str, str], ids: str) -> None:
    assert database().query("hotel", constraints) == frozenset(ids)


@pytest.mark.parametrize(
    "value",
    [
        "dontcare",
        "don't care",
        "do n't care",
        "Do not care",
        "any",
        "not mentioned",
        "none",
        "",
        "?",
    ],
)
def test_a_value_that_does_not_matter_is_no_constraint(value: str) -> None:
    assert database().query("hotel", {"area": value, "stars": "0"}) == frozenset("23")


@pytest.mark.parametrize(
    ("constraints", "ids"),
    [
        ({"leaveAt": "09:01"}, {"TR2"}),
        ({"leave": "09:00"}, {"TR1", "TR2"}),
        ({"arriveby": "11:50"}, {"TR1", "TR2"}),
        ({"arrive": "11:49"}, {"TR1"}),
        ({"arrive": "09:00"}, set()),
        ({"day": "monday", "leave at": "12:00"}, set()),
        ({"leave": "after lunch", "day": "sunday"}, {"TR2"}),
        ({"trainid": "tr1"}, {"TR1"}),
    ],
)
def test_leave_is_the_earliest_departure_and_arrive_the_latest_arrival(
    constraints: dict[str, str], ids: set[str]
) -> None:
    assert database().query("train", constraints) == {each.lower() for each in ids}


def test_a_repeated_query_has_the_same_answer() -> None:
    hotels = database()
    first = hotels.query("hotel", {"area": "north"})
    hotels.query("hotel", {"area": "centre"})
    assert hotels.query("hotel", {"area": "north"}) == first == frozenset("13")


@pytest.mark.parametrize("domain", ["taxi", "police", "hospital", "bus", ""])
def test_domains_without_a_table_match_nothing(domain: str) -> None:
    assert database().query(domain, {"phone": "1"}) == frozenset()


def test_an_error_names_a_missing_table() -> None:
    with pytest.raises(CorpusError, match="no table 'restaurant'; available: hotel, train"):
        database().query("restaurant", {})


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("17:45", 1065),
        ("1745", 1065),
        ("after 15:45", 945),
        ("5:45pm", 1065),
        ("5 p.m.", 1020),
        ("12 am", 0),
        ("10", 600),
        ("noon", 720),
        ("24:30", 1470),
        ("soon", None),
        ("", None),
    ],
)
def test_times_are_read_however_they_are_written(text: str, time: int | None) -> None:
    assert parse_minutes(text) == time


def test_names_are_normalized_to_one_spelling() -> None:
    assert (
        normalize_name("The Acorn  Guest House")
        == normalize_name("acorn guesthouse")
        == "acorn guesthouse"
    )
    assert normalize_name("Finches B and B") == normalize_name(
        "finches bed & breakfast".replace("&", "and")
    )
    assert normalize_name("St Catharine's College") == normalize_name("saint catharine 's college")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("warkworth house", "wartworth house", True),
        ("worth house", "warkworth house", True),
        ("wartworth", "warkworth house", False),
        ("abcdefghij", "abcdefghix", True),
        ("abcdefghi", "abcdefghx", False),
        ("", "avalon", False),
    ],
)
def test_names_match_up_to_a_tenth_of_the_shorter_one(one: str, other: str, *, same: bool) -> None:
    assert fuzzy_match(one, other) is same
    assert fuzzy_match(other, one) is same


def test_a_database_is_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "hotel_db.json").write_text(json.dumps(HOTELS))
    (tmp_path / "taxi_db.json").write_text('{"taxi_colors": ["black"]}')
    assert read_database(tmp_path).query("hotel", {"area": "centre"}) == frozenset("2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("{}", "expected a list of entities, got dict"),
        ('[{"id": "1"}, 7]', "'hotel', entity 1: expected an object, got int"),
    ],
)
def test_an_error_names_a_malformed_table(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "hotel_db.json").write_text(text)
    with pytest.raises(CorpusError, match=message):
        read_database(tmp_path)


def test_a_folder_without_a_database_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"expected any of restaurant_db\.json"):
        read_database(tmp_path)
