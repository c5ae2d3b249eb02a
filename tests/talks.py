"""A small task-oriented corpus, and the commands that tests run on it."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from tests.conftest import CommandResult, RunIsaac

BOOKINGS = (files("isaac") / "data" / "bookings.jsonl").read_text(encoding="utf-8")
HOTELS = [
    {"id": "1", "name": "fern lodge", "area": "north", "phone": "01632960001"},
    {"id": "2", "name": "elm house", "area": "east", "phone": "01632960002"},
]
BOOKING_REPLY = "It is booked . The reference is Q1W2E3R4 , the phone number 01632960001 ."


def make_dialogue(area: str, hotel: str, *, booked: bool = True) -> dict[str, Any]:
    """A dialogue in the layout of MultiWOZ 2.1, in which a hotel is found and booked."""
    # The dialogue state before and after the booking.
    before = {"semi": {"area": area, "name": "not mentioned"}, "book": {"booked": [], "stay": "2"}}
    after = {**before, "book": {"booked": [{"name": hotel}] if booked else [], "stay": "2"}}
    offer = f"{hotel.title()} is a nice place in the {area} . Shall I book it for you ?"
    name = hotel.title().split()
    return {
        "goal": {"hotel": {"info": {"area": area}, "reqt": ["phone"], "book": {"stay": "2"}}},
        "log": [
            {"text": f"A place in the {area} , please .", "metadata": {}},
            {
                "text": offer,
                "metadata": {"hotel": before},
                "dialog_act": {"Hotel-Recommend": [["Name", hotel], ["Area", area]]},
                "span_info": [
                    ["Hotel-Recommend", "Name", " ".join(name), 0, len(name) - 1],
                    ["Hotel-Recommend", "Area", area, len(name) + 6, len(name) + 6],
                ],
            },
            {"text": "Yes , for two nights .", "metadata": {}},
            {
                "text": BOOKING_REPLY,
                "metadata": {"hotel": after},
                "dialog_act": {
                    "Booking-Book": [["Ref", "Q1W2E3R4"]],
                    "Hotel-Inform": [["Phone", "01632960001"]],
                },
                "span_info": [["Booking-Book", "Ref", "Q1W2E3R4", 7, 7]],
            },
        ],
    }


class BookingCorpus(NamedTuple):
    """The file of a corpus of 20 dialogues, the folder of its database, and a folder for output."""

    file: Path
    database: Path
    folder: Path


def write_corpus(tmp_path: Path) -> BookingCorpus:
    """Write a corpus in the layout of MultiWOZ 2.1, with its database."""
    hotels = [("north", "fern lodge"), ("east", "elm house")]
    dialogues = {f"SNG{i:04}.json": make_dialogue(*hotels[i % 2]) for i in range(20)}
    (tmp_path / "data.json").write_text(json.dumps(dialogues, indent=1), encoding="utf-8")
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "hotel_db.json").write_text(json.dumps(HOTELS), encoding="utf-8")
    return BookingCorpus(tmp_path / "data.json", tmp_path / "db", tmp_path)


def run_pollute(isaac: RunIsaac, source: object, folder: Path, *flags: object) -> CommandResult:
    out, truth = folder / "polluted.json", folder / "truth.jsonl"
    return isaac("pollute", source, "-o", out, "--truth", truth, *flags)


def run_score(isaac: RunIsaac, *arguments: object) -> dict[str, Any]:
    result = isaac("score", *arguments, "--json")
    assert result.code == 0, result.err
    scores: dict[str, Any] = json.loads(result.out)
    return scores


def parse_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]
