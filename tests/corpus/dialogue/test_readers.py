from __future__ import annotations

import copy
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from isaac.corpus.dialogue.acts import act_string, canonical_slot
from isaac.corpus.dialogue.multiwoz import ACTS_COLUMN
from isaac.corpus.dialogue.readers import READERS, DialogueReader, detect_reader, iter_records
from isaac.corpus.dialogue.schema import Act, Dialogue
from isaac.corpus.dialogue.validation import ReadingError

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "multiwoz21"

LOG: dict[str, Any] = {
    "dialogue_id": "TEA1.json",
    "goal": {"hotel": {"info": {"area": "north"}}},
    "log": [
        {
            "text": "A guesthouse in the north , please .",
            "metadata": {},
            "dialog_act": {"Hotel-Inform": [["Type", "guesthouse"], ["Area", "north"]]},
            "span_info": [["Hotel-Inform", "Area", "north", 4, 4]],
        },
        {
            "text": "Fern Lodge has 4-star rooms for 9.50 pounds . Its post code is cb99zz .",
            "metadata": {
                "hotel": {
                    "semi": {"area": "north", "name": "not mentioned", "pricerange": ""},
                    "book": {"booked": [{"reference": "AAAA1111"}], "stay": "2", "people": ""},
                },
                "train": {"semi": {"leaveAt": "do n't care"}, "book": {}},
            },
            "dialog_act": {
                "Hotel-Inform": [["Name", "Fern Lodge"], ["Stars", "4"], ["Post", "cb99zz"]],
                "general-reqmore": [["none", "none"]],
            },
            "span_info": [
                ["Hotel-Inform", "Name", "Fern Lodge", 0, 1],
                ["Hotel-Inform", "Stars", "4", 3, 3],
                ["Hotel-Inform", "Post", "cb99zz", 400, 401],
            ],
        },
        {"text": "Two nights then .", "metadata": {}, "dialog_act": {}, "span_info": []},
        {
            "text": "Booked for two nights , reference Q1W2E3R4 .",
            "metadata": {},
            "dialog_act": {"Booking-Book": [["Ref", "Q1W2E3R4"], ["Stay", "2"]]},
            "span_info": [["Booking-Book", "Ref", "Q1W2E3R4", 6, 6]],
        },
    ],
}

FRAMES: dict[str, Any] = {
    "dialogue_id": "TEA2.json",
    "services": ["restaurant"],
    "turns": [
        {
            "speaker": "USER",
            "turn_id": "0",
            "utterance": "Soup at 8pm, please.",
            "frames": [
                {
                    "actions": [],
                    "service": "restaurant",
                    "slots": [
                        {
                            "slot": "restaurant-booktime",
                            "value": "8pm",
                            "start": 8,
                            "exclusive_end": 11,
                        }
                    ],
                    "state": {
                        "active_intent": "book_restaurant",
                        "slot_values": {"restaurant-booktime": ["8pm", "20:00"]},
                    },
                }
            ],
        },
        {
            "speaker": "SYSTEM",
            "turn_id": "1",
            "utterance": "The Ladle is free. Your number is Z9Y8X7W6.",
            "frames": [
                {
                    "actions": [],
                    "service": "restaurant",
                    "slots": [
                        {
                            "slot": "restaurant-name",
                            "value": "The Ladle",
                            "start": 0,
                            "exclusive_end": 9,
                        },
                        {"slot": "restaurant-area", "copy_from": "hotel-area", "value": ["east"]},
                    ],
                }
            ],
        },
    ],
}

FRAMES_ACTS: dict[str, Any] = {
    "1": {
        "dialog_act": {"Booking-Book": [["ref", "Z9Y8X7W6"]]},
        "span_info": [["Booking-Book", "ref", "Z9Y8X7W6", 34, 42]],
    }
}

SGD: dict[str, Any] = {
    "dialogue_id": "1_00000",
    "services": ["Concerts_2"],
    "turns": [
        {
            "speaker": "USER",
            "utterance": "Anything by Ada Reed?",
            "frames": [
                {
                    "service": "Concerts_2",
                    "slots": [{"slot": "artist", "start": 12, "exclusive_end": 20}],
                    "actions": [{"act": "INFORM", "slot": "artist", "values": ["Ada Reed"]}],
                    "state": {"active_intent": "Find", "slot_values": {"artist": ["Ada Reed"]}},
                }
            ],
        },
        {
            "speaker": "SYSTEM",
            "utterance": "Ada Reed plays in Oslo on Friday. Which seats?",
            "frames": [
                {
                    "service": "Concerts_2",
                    "slots": [{"slot": "city", "start": 18, "exclusive_end": 22}],
                    "actions": [
                        {"act": "OFFER", "slot": "city", "values": ["Oslo"]},
                        {"act": "OFFER", "slot": "day", "values": ["Friday"]},
                        {"act": "REQUEST", "slot": "seats", "values": []},
                    ],
                }
            ],
        },
    ],
}

ROW = {
    "dialogue_id": "d7",
    "history": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello, how may I help?"},
    ],
    "context": "Where is my order?",
    "response": "Order AB-77 left Leeds on Monday.",
    "act": "order-inform-number",
    "slots": {"number": "AB-77", "city": ["Leeds"], "shop.name": "unseen"},
}


def located_values(dialogue: Dialogue, index: int) -> list[tuple[str, str]]:
    """The slots and surface forms that the spans of a turn mark."""
    turn = dialogue.turns[index]
    return [(span.slot, turn.text[span.start : span.end]) for span in turn.spans]


def test_multiwoz21_has_acts_spans_in_characters_and_states() -> None:
    dialogue = READERS["multiwoz21"].read(LOG)
    assert dialogue.id == "TEA1.json"
    assert dialogue.goal == LOG["goal"]
    assert [turn.role for turn in dialogue.turns] == ["user", "assistant"] * 2
    assert Act("hotel", "inform", "postcode", "cb99zz") in dialogue.turns[1].acts
    assert located_values(dialogue, 1) == [
        ("hotel_name", "Fern Lodge"),
        ("hotel_stars", "4"),
        ("hotel_postcode", "cb99zz"),
    ]
    assert dialogue.turns[1].state == {
        "hotel": {"area": "north", "stay": "2"},
        "train": {"leave": "dontcare"},
    }
    assert act_string(dialogue.turns[1].acts) == (
        "general-reqmore+hotel-inform-name+hotel-inform-postcode+hotel-inform-stars"
    )


def test_equal_values_keep_their_own_positions_when_the_text_changes() -> None:
    def spans(offset: int) -> list[Any]:
        return [
            ["Booking-Book", "People", "5", 7 + offset, 7 + offset],
            ["Booking-Book", "Stay", "5", 2 + offset, 2 + offset],
        ]

    reader = READERS["multiwoz21"]
    for end in ("", " so" * 100_000):
        text = f"Booked for 5 nights from Tuesday , 5 people .{end}"
        turn = {"text": text, "metadata": {}, "dialog_act": {}, "span_info": spans(0)}
        log = {"dialogue_id": "A", "log": [{"text": "Hi", "metadata": {}}, turn]}
        longer = reader.replaced(log, 1, f"Oi ! {text}")
        assert longer["log"][1]["span_info"] == spans(2)
        assert reader.replaced(longer, 1, text)["log"][1]["span_info"] == spans(0)
    (people, _) = reader.replaced(longer, 1, "For 5 people .")["log"][1]["span_info"]
    assert people == ["Booking-Book", "People", "5", 1, 1]


def test_a_state_does_not_depend_on_how_earlier_states_were_read() -> None:
    def states(*people: Any) -> list[Any]:
        log = [
            {"text": "Hm .", "metadata": {"hotel": {"book": {"people": count}}} if count else {}}
            for value in people
            for count in (None, value)
        ]
        turns = READERS["multiwoz21"].read({"dialogue_id": "A", "log": log}).turns
        return [turn.state for turn in turns if turn.role == "assistant"]

    assert states("2", "2", "3", "2") == [{"hotel": {"people": n}} for n in "2232"]
    assert states(1, 1.0) == [{"hotel": {"people": "1"}}, {"hotel": {"people": "1.0"}}]
    assert states(1, True) == [{"hotel": {"people": "1"}}, {"hotel": {"people": "true"}}]


def test_values_of_acts_without_spans_are_located_and_bookings_get_a_domain() -> None:
    dialogue = READERS["multiwoz24"].read(LOG)
    assert located_values(dialogue, 0) == [("hotel_type", "guesthouse"), ("hotel_area", "north")]
    assert located_values(dialogue, 3) == [("hotel_stay", "two"), ("hotel_reference", "Q1W2E3R4")]
    assert dialogue.turns[3].acts[0].domain == "booking"


def test_multiwoz20_reads_acts_from_a_separate_file() -> None:
    bare = copy.deepcopy(LOG)
    for turn in bare["log"]:
        del turn["dialog_act"], turn["span_info"]
    reader = READERS["multiwoz20"]
    assert not any(turn.acts or turn.spans for turn in reader.read(bare).turns)
    acts = {"1": {"Hotel-Inform": [["Post", "cb99zz"]]}, "2": "No Annotation"}
    read = reader.read({**bare, ACTS_COLUMN: acts})
    assert read.turns[1].acts == (Act("hotel", "inform", "postcode", "cb99zz"),)
    assert located_values(read, 1) == [("hotel_postcode", "cb99zz")]
    assert read.turns[3].acts == ()
    for turn in ("3", "0", "x", "9" * 5000):
        with pytest.raises(
            ReadingError, match=r"names system turn '.*', but the dialogue has 2 system"
        ):
            reader.read({**bare, ACTS_COLUMN: {turn: {}}})


def test_multiwoz22_combines_frames_and_the_separate_act_file() -> None:
    reader = READERS["multiwoz22"]
    dialogue = reader.read({**FRAMES, ACTS_COLUMN: FRAMES_ACTS})
    assert located_values(dialogue, 0) == [("restaurant_time", "8pm")]
    assert located_values(dialogue, 1) == [
        ("restaurant_name", "The Ladle"),
        ("restaurant_reference", "Z9Y8X7W6"),
    ]
    assert dialogue.turns[0].state == {}
    assert dialogue.turns[1].state == {"restaurant": {"time": "8pm"}}


def test_sgd_domains_are_services_without_their_numbers() -> None:
    dialogue = READERS["sgd"].read(SGD)
    assert act_string(dialogue.turns[1].acts) == (
        "concerts-offer-city+concerts-offer-day+concerts-request-seats"
    )
    assert dialogue.turns[1].acts[-1].value == "?"
    assert located_values(dialogue, 1) == [("concerts_city", "Oslo"), ("concerts_day", "Friday")]
    assert dialogue.turns[1].state == {"concerts": {"artist": "ada reed"}}


def test_a_slot_belongs_to_the_domain_that_it_names_not_to_that_of_the_first_act() -> None:
    row = {
        "context": "Yes, please.",
        "response": "Your room is booked, reference AB12CD34. Anything else?",
        "act": ["general-reqmore", "hotel-book-ref"],
        "slots": {"hotel_ref": ["AB12CD34"]},
    }
    turn = READERS["dialogue"].read(row).turns[-1]
    assert turn.acts == (
        Act("general", "reqmore", "", ""),
        Act("hotel", "book", "ref", "ab12cd34"),
    )
    assert [span.slot for span in turn.spans] == ["hotel_ref"]


def test_a_row_has_history_context_response_acts_and_slots() -> None:
    dialogue = READERS["dialogue"].read(ROW)
    assert dialogue.id == "d7"
    assert [turn.text for turn in dialogue.turns] == [
        "Hi",
        "Hello, how may I help?",
        "Where is my order?",
        ROW["response"],
    ]
    assert dialogue.turns[3].acts == (
        Act("order", "inform", "number", "ab-77"),
        Act("order", "inform", "city", "leeds"),
        Act("shop", "inform", "name", "unseen"),
    )
    assert located_values(dialogue, 3) == [("order_number", "AB-77"), ("order_city", "Leeds")]


def test_messages_have_their_own_acts_and_a_system_prompt_is_not_a_turn() -> None:
    messages = [
        {"role": "system", "content": "You sell tea."},
        {"role": "user", "content": "Which tea?", "act": "ask"},
        {
            "role": "assistant",
            "content": "Green.",
            "act": ["tea-offer"],
            "slots": {"kind": "green"},
        },
    ]
    dialogue = READERS["dialogue"].read({"messages": messages})
    assert [turn.index for turn in dialogue.turns] == [1, 2]
    assert act_string(dialogue.turns[1].acts) == "tea-offer+tea-offer-kind"
    talk = [{"role": "user", "content": "Hi"}, {"role": "system", "content": "Hello"}]
    assert [t.role for t in READERS["dialogue"].read({"messages": talk}).turns] == [
        "user",
        "assistant",
    ]


@pytest.mark.parametrize(
    ("record", "name"),
    [(LOG, "multiwoz21"), (FRAMES, "multiwoz22"), (SGD, "sgd"), (ROW, "dialogue")],
)
def test_the_format_of_a_record_is_detected(record: dict[str, Any], name: str) -> None:
    found = detect_reader(record)
    assert found is not None
    assert found.name == name
    assert detect_reader({"prompt": "a", "response": "b"}) is None


@pytest.mark.parametrize(
    ("name", "record", "index"),
    [("multiwoz21", LOG, 1), ("multiwoz22", FRAMES, 1), ("sgd", SGD, 1), ("dialogue", ROW, 3)],
)
def test_replacing_a_text_changes_only_its_turn(
    name: str, record: dict[str, Any], index: int
) -> None:
    reader, before = READERS[name], copy.deepcopy(record)
    old = reader.read(record)
    new = reader.read(reader.replaced(record, index, "Something else entirely."))
    assert record == before
    assert new.turns[index].text == "Something else entirely."
    assert new.turns[index].spans == ()
    assert new.turns[:index] + new.turns[index + 1 :] == old.turns[:index] + old.turns[index + 1 :]
    same = reader.replaced(record, index, old.turns[index].text)
    assert reader.read(same) == old
    with pytest.raises(ReadingError, match="turn"):
        reader.replaced(record, 0, "no")


def test_spans_move_with_the_replaced_text() -> None:
    log = READERS["multiwoz21"].replaced(LOG, 1, "It is 4 - star : Fern Lodge .")["log"]
    assert log[1]["span_info"] == [
        ["Hotel-Inform", "Name", "Fern Lodge", 6, 7],
        ["Hotel-Inform", "Stars", "4", 2, 2],
    ]
    turns = READERS["multiwoz22"].replaced(FRAMES, 1, "Try The Ladle.")["turns"]
    name, copied = turns[1]["frames"][0]["slots"]
    assert (name["start"], name["exclusive_end"]) == (4, 13)
    assert copied == FRAMES["turns"][1]["frames"][0]["slots"][1]


def test_spans_in_the_act_column_move_too() -> None:
    record = {**FRAMES, ACTS_COLUMN: FRAMES_ACTS}
    moved = READERS["multiwoz22"].replaced(record, 1, "Z9Y8X7W6 is your number.")
    (span,) = moved[ACTS_COLUMN]["1"]["span_info"]
    assert span == ["Booking-Book", "ref", "Z9Y8X7W6", 0, 8]
    assert moved[ACTS_COLUMN]["1"]["dialog_act"] == FRAMES_ACTS["1"]["dialog_act"]
    assert FRAMES_ACTS["1"]["span_info"][0][3:] == [34, 42]
    gone = READERS["multiwoz22"].replaced(record, 1, "It is free.")
    assert gone[ACTS_COLUMN]["1"]["span_info"] == []


def test_records_in_a_document_get_their_ids() -> None:
    log = {"goal": LOG["goal"], "log": LOG["log"]}
    assert list(iter_records({"TEA1.json": log})) == [LOG]
    assert list(iter_records([FRAMES])) == [FRAMES]
    with pytest.raises(ReadingError, match="neither an object nor a list"):
        list(iter_records("text"))


@pytest.mark.parametrize(
    ("domain", "slot", "expected"),
    [
        ("hotel", "Price", "pricerange"),
        ("train", "Ticket", "price"),
        ("train", "Time", "duration"),
        ("train", "leaveAt", "leave"),
        ("attraction", "entrance fee", "fee"),
        ("restaurant", "bookday", "day"),
        ("general", "none", ""),
    ],
)
def test_slots_have_one_name_in_all_versions(domain: str, slot: str, expected: str) -> None:
    assert canonical_slot(domain, slot) == expected


def corrupted(path: list[Any], value: Any, record: dict[str, Any]) -> dict[str, Any]:
    """A copy of the record with the value at a path replaced, or deleted for `KeyError`."""
    copied = copy.deepcopy(record)
    target: Any = copied
    for key in path[:-1]:
        target = target[key]
    if value is KeyError:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return copied


@pytest.mark.parametrize(
    ("name", "path", "value", "reason"),
    [
        ("multiwoz21", ["dialogue_id"], KeyError, "no 'dialogue_id' or 'id'"),
        ("multiwoz21", ["log"], [], "'log' is an empty list"),
        ("multiwoz21", ["log"], [{"text": "a"}] * 1001, "1,001 turns; the limit is 1,000"),
        ("multiwoz21", ["log", 1], 7, "'log' turn 1 is 7, not an object"),
        ("multiwoz21", ["log", 1, "text"], None, "'log' turn 1 'text' is missing"),
        ("multiwoz21", ["log", 1, "text"], "\ud800", "half of a surrogate"),
        ("multiwoz21", ["log", 1, "dialog_act", "Hotel-Inform"], [["Area"]], "'Hotel-Inform'"),
        ("multiwoz21", ["log", 1, "span_info"], [[1, 2]], "act, slot, value, start, end"),
        ("multiwoz21", ["log", 1, "metadata", "hotel"], "x", "'metadata' is 'x', not an object"),
        ("multiwoz22", ["turns", 0, "speaker"], "CAT", "'CAT', not USER or SYSTEM"),
        ("multiwoz22", ["turns", 1, "frames"], {}, None),
        ("sgd", ["turns", 1, "frames", 0, "service"], 3, "frame's 'service' is 3, not text"),
        ("sgd", ["turns", 1, "frames", 0, "actions"], [1], "'actions' is 1, not an object"),
        ("dialogue", ["response"], ["a"], r"'response' is \['a'\], not text"),
        ("dialogue", ["history", 0, "role"], "cat", "no known role"),
        ("dialogue", ["slots"], [1], "'slots' is"),
        ("dialogue", ["act"], {"a": 1}, "'act' is"),
    ],
)
def test_an_error_names_what_is_wrong(
    name: str, path: list[Any], value: Any, reason: str | None
) -> None:
    record = {"multiwoz21": LOG, "multiwoz22": FRAMES, "sgd": SGD, "dialogue": ROW}[name]
    reader: DialogueReader = READERS[name]
    if reason is None:
        assert reader.read(corrupted(path, value, record)).turns[1].spans == ()
        return
    with pytest.raises(ReadingError, match=reason):
        reader.read(corrupted(path, value, record))


@pytest.mark.parametrize("position", [[-5, 2], [3, 1], [0, 10**9], ["a", None], [True, 4]])
def test_a_value_with_an_invalid_position_is_searched_for(position: list[Any]) -> None:
    span = ["Hotel-Inform", "Name", "Fern Lodge", *position]
    record = corrupted(["log", 1, "span_info"], [span], LOG)
    assert ("hotel_name", "Fern Lodge") in located_values(READERS["multiwoz21"].read(record), 1)


@pytest.mark.skipif(not DATA.exists(), reason="the shared MultiWOZ 2.1 is not available")
def test_nearly_all_spans_of_multiwoz21_are_located() -> None:
    with zipfile.ZipFile(DATA / "val.json.zip") as packed:
        document = json.loads(packed.read(packed.namelist()[0]))
    some = dict(list(document.items())[:100])
    dialogues = [READERS["multiwoz21"].read(record) for record in iter_records(some)]
    annotated = sum(len(turn["span_info"]) for each in some.values() for turn in each["log"])
    located = sum(len(turn.spans) for dialogue in dialogues for turn in dialogue.turns)
    assert located / annotated > 0.97
