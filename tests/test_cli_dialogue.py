from __future__ import annotations

import json
import random
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from isaac.dialogue import READERS, clean, read_truth, records_in
from isaac.dialogue.predictions import plain_id
from tests.conftest import Done, Isaac, write_lines

BOOKINGS = (files("isaac") / "data" / "bookings.jsonl").read_text(encoding="utf-8")
HOTELS = [
    {"id": "1", "name": "fern lodge", "area": "north", "phone": "01632960001"},
    {"id": "2", "name": "elm house", "area": "east", "phone": "01632960002"},
]
TOLD = "It is booked . The reference is Q1W2E3R4 , the phone number 01632960001 ."


def talk(area: str, hotel: str, *, booked: bool = True) -> dict[str, Any]:
    """Return a dialogue of MultiWOZ 2.1 in which a hotel is found and booked."""
    known = {"semi": {"area": area, "name": "not mentioned"}, "book": {"booked": [], "stay": "2"}}
    done = {**known, "book": {"booked": [{"name": hotel}] if booked else [], "stay": "2"}}
    offer = f"{hotel.title()} is a nice place in the {area} . Shall I book it for you ?"
    name = hotel.title().split()
    return {
        "goal": {"hotel": {"info": {"area": area}, "reqt": ["phone"], "book": {"stay": "2"}}},
        "log": [
            {"text": f"A place in the {area} , please .", "metadata": {}},
            {
                "text": offer,
                "metadata": {"hotel": known},
                "dialog_act": {"Hotel-Recommend": [["Name", hotel], ["Area", area]]},
                "span_info": [
                    ["Hotel-Recommend", "Name", " ".join(name), 0, len(name) - 1],
                    ["Hotel-Recommend", "Area", area, len(name) + 6, len(name) + 6],
                ],
            },
            {"text": "Yes , for two nights .", "metadata": {}},
            {
                "text": TOLD,
                "metadata": {"hotel": done},
                "dialog_act": {
                    "Booking-Book": [["Ref", "Q1W2E3R4"]],
                    "Hotel-Inform": [["Phone", "01632960001"]],
                },
                "span_info": [["Booking-Book", "Ref", "Q1W2E3R4", 7, 7]],
            },
        ],
    }


class Corpus(NamedTuple):
    """A corpus of 20 dialogues, its database, and where to write."""

    file: Path
    database: Path
    folder: Path


@pytest.fixture
def logs(tmp_path: Path) -> Corpus:
    """Return a corpus in the layout of MultiWOZ 2.1."""
    places = [("north", "fern lodge"), ("east", "elm house")]
    talks = {f"SNG{i:04}.json": talk(*places[i % 2]) for i in range(20)}
    (tmp_path / "data.json").write_text(json.dumps(talks, indent=1), encoding="utf-8")
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "hotel_db.json").write_text(json.dumps(HOTELS), encoding="utf-8")
    return Corpus(tmp_path / "data.json", tmp_path / "db", tmp_path)


def polluting(isaac: Isaac, source: object, folder: Path, *flags: object) -> Done:
    out, truth = folder / "polluted.json", folder / "truth.jsonl"
    return isaac("pollute", source, "-o", out, "--truth", truth, *flags)


def scored(isaac: Isaac, *arguments: object) -> dict[str, Any]:
    done = isaac("score", *arguments, "--json")
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_polluted_log_without_its_pieces_is_the_original(isaac: Isaac, logs: Corpus) -> None:
    done = polluting(isaac, logs.file, logs.folder, "--rate", 0.5, "--seed", 3)
    assert done.code == 0, done.err
    assert "polluted 20 of 40 system turns (50.0%), in " in done.out
    polluted = json.loads((logs.folder / "polluted.json").read_text(encoding="utf-8"))
    original = json.loads(logs.file.read_text(encoding="utf-8"))
    rows = read_truth(lines((logs.folder / "truth.jsonl").read_text(encoding="utf-8")))
    assert len(rows) == 20
    for row in rows:
        turn = polluted[row.dialogue]["log"][row.turn]
        told = original[row.dialogue]["log"][row.turn]
        assert turn["text"] != told["text"] == row.original
        assert clean(turn["text"], row.pieces) == row.original
        # A span is by tokens: it says the same words where they now stand.
        for _, _, value, start, end in turn["span_info"]:
            assert " ".join(turn["text"].split()[start : end + 1]) == value
        assert len(turn["span_info"]) == len(told["span_info"])
        polluted[row.dialogue]["log"][row.turn] = told
    assert polluted == original
    for kind in ("low", "high", "unprofessional"):
        assert f"{kind} {sum(row.kind == kind for row in rows)}" in done.out


def test_polluted_lines_stay_lines_and_the_others_stay_as_they_are(
    isaac: Isaac, tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text(BOOKINGS, encoding="utf-8")
    assert polluting(isaac, tmp_path / "in.jsonl", tmp_path).code == 0
    written = (tmp_path / "polluted.json").read_text(encoding="utf-8")
    rows = read_truth(lines((tmp_path / "truth.jsonl").read_text(encoding="utf-8")))
    touched = {row.dialogue for row in rows}
    pieces = {(row.dialogue, row.turn): row.pieces for row in rows}
    for now, before in zip(written.splitlines(), BOOKINGS.splitlines(), strict=True):
        name = json.loads(before)["dialogue_id"]
        assert (now == before) == (name not in touched)
        record = json.loads(now)
        for index, message in enumerate(record["messages"]):
            message["content"] = clean(message["content"], pieces.get((name, index), ()))
        assert record == json.loads(before)


def test_the_same_seed_gives_the_same_bytes_in_any_order(isaac: Isaac, tmp_path: Path) -> None:
    records = BOOKINGS.splitlines()
    random.Random(1).shuffle(records)
    for name, some in (("a", BOOKINGS.splitlines()), ("b", BOOKINGS.splitlines()), ("c", records)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "in.jsonl").write_text("\n".join(some), encoding="utf-8")
        assert polluting(isaac, tmp_path / name / "in.jsonl", tmp_path / name).code == 0
    a, b, c = (tmp_path / name for name in "abc")
    assert (a / "polluted.json").read_bytes() == (b / "polluted.json").read_bytes()
    assert (a / "truth.jsonl").read_bytes() == (c / "truth.jsonl").read_bytes()
    ones = [sorted((x / "polluted.json").read_text().splitlines()) for x in (a, c)]
    assert ones[0] == ones[1]
    assert polluting(isaac, a / "in.jsonl", c, "--seed", 1).code == 0
    assert (a / "truth.jsonl").read_bytes() != (c / "truth.jsonl").read_bytes()


def test_gold_reaches_the_ceiling_and_what_was_put_in_is_the_rate(
    isaac: Isaac, logs: Corpus
) -> None:
    assert polluting(isaac, logs.file, logs.folder, "--rate", 0.3).code == 0
    against = ("--gold", logs.file, "--database", logs.database)
    told = ("--truth", logs.folder / "truth.jsonl", "--words")
    gold = scored(isaac, logs.file, *against, *told)
    assert (gold["inform"], gold["success"], gold["bleu"]) == (100, 100, pytest.approx(100))
    assert gold["slots"]["rate"] == 0
    assert gold["polluted"]["truth"]["by_response"] == 0
    assert gold["polluted"]["words"]["by_response"] == 0
    polluted = scored(isaac, logs.folder / "polluted.json", *against, *told)
    share = polluted["polluted"]
    assert share["truth"]["by_response"] == share["words"]["by_response"] == 12 / 40
    assert (share["truth"]["carried"], share["truth"]["absent"]) == (0, 0)
    assert (polluted["inform"], polluted["success"]) == (100, 100)
    assert 40 < polluted["bleu"] < 100


def test_text_that_a_draw_carried_into_another_turn_counts(isaac: Isaac, logs: Corpus) -> None:
    assert polluting(isaac, logs.file, logs.folder, "--rate", 0.1).code == 0
    truth = ("--truth", logs.folder / "truth.jsonl")
    row = lines((logs.folder / "truth.jsonl").read_text(encoding="utf-8"))[0]
    polluted = json.loads((logs.folder / "polluted.json").read_text(encoding="utf-8"))
    original = json.loads(logs.file.read_text(encoding="utf-8"))
    drawn = polluted[row["dialogue"]]["log"][row["turn"]]["text"]
    other = next(name for name in original if name != row["dialogue"])
    original[other]["log"][row["turn"]]["text"] = drawn
    moved = logs.folder / "moved.json"
    moved.write_text(json.dumps(original), encoding="utf-8")
    for gold in ((), ("--gold", logs.file)):
        found = scored(isaac, moved, *truth, *gold)["polluted"]["truth"]
        assert (found["responses"], found["carried"], found["of_responses"]) == (1, 1, 40)


def test_a_reference_counts_only_where_the_corpus_has_a_booking(
    isaac: Isaac, tmp_path: Path
) -> None:
    (tmp_path / "hotel_db.json").write_text(json.dumps(HOTELS), encoding="utf-8")
    talks = {f"s{i}": talk("north", "fern lodge", booked=i < 3) for i in range(4)}
    (tmp_path / "in.json").write_text(json.dumps(talks), encoding="utf-8")
    found = scored(isaac, tmp_path / "in.json", "--database", tmp_path)
    assert (found["inform"], found["success"]) == (100, 75)


def test_what_cannot_be_scored_is_none_and_is_told(isaac: Isaac, logs: Corpus) -> None:
    done = isaac("score", logs.file)
    assert done.code == 0
    assert "Inform none, Success none, BLEU none, combined none" in done.out
    for flag in ("--gold", "--database", "--truth"):
        assert f"no {flag}" in done.err
    facts = scored(isaac, logs.file)
    assert facts["inform"] is facts["bleu"] is facts["combined"] is facts["slots"]["rate"] is None
    assert facts["polluted"] == {"truth": None, "words": None}
    assert facts["unscored"]["no database"] == facts["unscored"]["no reference"] == 20


def predicted(logs: Corpus, *, state: bool = True) -> Path:
    """Write predictions: the first dialogue offers nothing, the second says nothing at all."""
    said: dict[str, Any] = {}
    for name, record in json.loads(logs.file.read_text(encoding="utf-8")).items():
        area = record["goal"]["hotel"]["info"]["area"]
        own: dict[str, Any] = {"state": {"hotel": {"area": area}}, "active_domains": ["hotel"]}
        texts = [
            "[hotel_name] is a nice place in the [hotel_area] . Shall I book it for you ?",
            "It is booked . The reference is [hotel_reference] , the phone number [hotel_phone] .",
        ]
        turns = [{"response": text, **(own if state else {})} for text in texts]
        said[plain_id(name)] = turns
    said["sng0000"][0]["response"] = "what else ?"
    said["sng0001"] = [{**turn, "response": ""} for turn in said["sng0001"]]
    path = logs.folder / "predictions.json"
    path.write_text(json.dumps(said), encoding="utf-8")
    return path


@pytest.mark.parametrize("state", [True, False])
def test_predictions_are_scored_by_their_states_or_golds(
    isaac: Isaac, logs: Corpus, state: bool
) -> None:
    file = predicted(logs, state=state)
    against = ("--gold", logs.file, "--database", logs.database, "--format", "predictions")
    found = scored(isaac, file, *against)
    assert (found["inform"], found["success"]) == (90, 90)
    assert 80 < found["bleu"] < 100
    assert found["gold_states"] == (0 if state else 20)
    assert found["slots"]["missing"] == 6
    assert found["slots"]["superfluous"] == 0


def test_predictions_are_held_against_the_truth_by_their_place_in_gold(
    isaac: Isaac, logs: Corpus
) -> None:
    assert polluting(isaac, logs.file, logs.folder, "--rate", 0.1).code == 0
    rows = lines((logs.folder / "truth.jsonl").read_text(encoding="utf-8"))
    file = predicted(logs)
    said = json.loads(file.read_text(encoding="utf-8"))
    for row in rows[:2]:
        turn = said[plain_id(row["dialogue"])][row["turn"] // 2]
        turn["response"] = row["pieces"][0]["text"] + turn["response"]
    file.write_text(json.dumps(said), encoding="utf-8")
    flags = ("--truth", logs.folder / "truth.jsonl", "--format", "predictions")
    found = scored(isaac, file, "--gold", logs.file, *flags)["polluted"]["truth"]
    assert (found["responses"], found["carried"], found["of_responses"]) == (2, 0, 40)
    alone = isaac("score", file, *flags)
    assert alone.code == 2
    assert "--truth give --gold" in alone.err


def test_a_run_is_scored_by_what_it_curated(isaac: Isaac, tmp_path: Path) -> None:
    source, run = tmp_path / "in.jsonl", tmp_path / "run"
    source.write_text(BOOKINGS, encoding="utf-8")
    assert isaac("curate", source, "-o", run, "-k", 10).code == 0
    found = scored(isaac, run, "--gold", source)
    assert found == scored(isaac, run / "curated.jsonl", "--gold", source)
    assert found["dialogues"] == len(BOOKINGS.splitlines())
    (run / "manifest.json").unlink()
    assert isaac("score", run).code == 1


def test_a_zip_is_read_and_files_without_dialogues_are_named(isaac: Isaac, logs: Corpus) -> None:
    with zipfile.ZipFile(logs.folder / "all.zip", "w") as archive:
        archive.write(logs.file, "corpus/data.json")
        archive.writestr("corpus/schema.json", '[{"service_name": "hotel"}]')
        archive.writestr("__MACOSX/data.json", "\0")
    packed = scored(isaac, logs.folder / "all.zip")
    assert packed == scored(isaac, logs.file)
    assert "all.zip/corpus/schema.json" in isaac("score", logs.folder / "all.zip").err


def test_rows_of_one_dialogue_are_one_and_their_history_is_not_scored(
    isaac: Isaac, tmp_path: Path
) -> None:
    said = ["Hello .", "Which area ?", "The north .", "Fern Lodge then ."]
    rows = [
        {"dialogue_id": "d", "history": said[:end], "response": said[end], "act": "hotel-inform"}
        for end in (1, 3)
    ]
    file = write_lines(
        tmp_path / "rows.jsonl", [{**row, "dialogue_id": n} for n in "ab" for row in rows]
    )
    assert polluting(isaac, file, tmp_path, "--rate", 1).code == 0
    truth = lines((tmp_path / "truth.jsonl").read_text(encoding="utf-8"))
    assert [(row["dialogue"], row["turn"]) for row in truth] == [
        ("a", 1),
        ("a", 3),
        ("b", 1),
        ("b", 3),
    ]
    found = scored(
        isaac, tmp_path / "polluted.json", "--truth", tmp_path / "truth.jsonl", "--gold", file
    )
    assert found["polluted"]["truth"]["by_dialogue"] == 1
    assert (found["dialogues"], found["responses"]) == (2, 4)


def test_rows_that_share_an_id_and_a_place_are_told_apart(isaac: Isaac, tmp_path: Path) -> None:
    row = {"context": "Hello .", "response": "Which area would you like ?", "act": "hotel-request"}
    named = [{**row, "dialogue_id": "d"}, {**row, "dialogue_id": "d"}]
    file = write_lines(tmp_path / "rows.jsonl", [*named, row, row])
    assert polluting(isaac, file, tmp_path, "--rate", 1).code == 0
    truth = lines((tmp_path / "truth.jsonl").read_text(encoding="utf-8"))
    assert [row["dialogue"] for row in truth] == ["3", "4", "d#1", "d#2"]
    assert all("response" in row for row in lines((tmp_path / "polluted.json").read_text()))


def test_an_array_stays_an_array(isaac: Isaac, tmp_path: Path) -> None:
    records = [json.loads(line) for line in BOOKINGS.splitlines()]
    (tmp_path / "in.json").write_text(json.dumps(records), encoding="utf-8")
    assert polluting(isaac, tmp_path / "in.json", tmp_path).code == 0
    written = json.loads((tmp_path / "polluted.json").read_text(encoding="utf-8"))
    read = [READERS["dialogue"].read(record).id for record in records_in(written)]
    assert read == [record["dialogue_id"] for record in records]


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--format", "multiwoz3"], 2, ["no format of dialogues 'multiwoz3'", "multiwoz21, mul"]),
        (["--rate", "0"], 2, ["a rate of pollution is above 0"]),
        (["--rate", "much"], 2, ["--rate"]),
        (["--kinds", "low,rude"], 2, ["not rude"]),
        (["--kinds", ","], 2, ["low, high, unprofessional"]),
        (["--wordings", "many"], 2, ["not many"]),
        (["--format", "sgd"], 1, ["data.json 'SNG0000.json'", "20 of 20 records", "as sgd"]),
    ],
)
def test_what_cannot_be_polluted_is_told(
    isaac: Isaac, logs: Corpus, flags: list[str], code: int, words: list[str]
) -> None:
    done = polluting(isaac, logs.file, logs.folder, *flags)
    assert done.code == code
    assert all(word in done.err for word in words), done.err
    assert not (logs.folder / "truth.jsonl").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["in.json is empty"]),
        ("{", ["in.json line 1: broken JSON"]),
        ("[1]", ["holds no dialogues: record 0 is 1, not an object"]),
        ("7", ["neither an object of dialogues nor a list"]),
        ('{"a": 1}', ["dialogue 'a' is 1, not an object"]),
        ('[{"prompt": "a", "chosen": "b"}]', ["columns are prompt, chosen", "--format"]),
        ('{"messages": []}\n{"messages": []}\n', ["columns are messages", "multiwoz21"]),
        ('{"response": "a", "act": "b", "context": "c"}\n{]\n', ["in.json line 2: broken JSON"]),
        ('{"response": "a", "act": "b", "context": "c"}\n[]\n', ["line 2: JSON that is no object"]),
        ('{"response": 5, "act": "b", "context": "c"}', ["line 1", "is 5, not text", "1 of 1"]),
        ('{"a": {"log": [{"text": "b"}, {"text": 5}]}}', ["'a': 'log' turn 1 'text' is 5"]),
        ('{"a": {"log": []}, "a": {"log": []}}', ["the key 'a' stands twice"]),
        ("[" * 100_000, ["cannot be read as JSON"]),
    ],
)
def test_an_input_that_is_no_corpus_of_dialogues_is_told(
    isaac: Isaac, tmp_path: Path, content: str, words: list[str]
) -> None:
    (tmp_path / "in.json").write_text(content, encoding="utf-8")
    for done in (
        polluting(isaac, tmp_path / "in.json", tmp_path),
        isaac("score", tmp_path / "in.json"),
    ):
        assert done.code == 1
        assert all(word in done.err for word in words), done.err
        assert "Traceback" not in done.err
    assert "--format predictions" in done.err
    assert [file.name for file in tmp_path.iterdir()] == ["in.json"]


def test_bytes_and_archives_that_cannot_be_read_are_told(isaac: Isaac, tmp_path: Path) -> None:
    for name, data, words in (
        ("latin.json", b'{"a": "\xe9"}', "invalid UTF-8 at byte 8"),
        ("broken.zip", b"PK\x03\x04 and no more", "broken.zip cannot be unpacked"),
    ):
        (tmp_path / name).write_bytes(data)
        done = isaac("score", tmp_path / name)
        assert (done.code, words in done.err) == (1, True), done.err
    with zipfile.ZipFile(tmp_path / "notes.zip", "w") as archive:
        archive.writestr("notes.txt", "hello")
    assert "holds no file that ends in .json" in isaac("score", tmp_path / "notes.zip").err


def test_the_input_is_never_written_over(isaac: Isaac, logs: Corpus) -> None:
    before, other = logs.file.read_bytes(), logs.folder / "x"
    for out, truth, words in (
        (logs.file, other, "--out"),
        (other, logs.file, "--truth"),
        (other, other, "are one file"),
        (logs.folder / "x.zip", other, "is not packed"),
    ):
        done = isaac("pollute", logs.file, "-o", out, "--truth", truth)
        assert done.code == 2
        assert words in done.err
    assert logs.file.read_bytes() == before
    assert not other.exists()


def test_dialogues_that_are_there_twice_are_refused(isaac: Isaac, tmp_path: Path) -> None:
    talks = {"A.json": talk("north", "fern lodge"), "a": talk("north", "fern lodge")}
    (tmp_path / "in.json").write_text(json.dumps(talks), encoding="utf-8")
    done = polluting(isaac, tmp_path / "in.json", tmp_path)
    assert done.code == 1
    assert "dialogue A.json is there twice: in.json 'A.json' and in.json 'a'" in done.err


def test_gold_and_truth_of_something_else_are_refused(isaac: Isaac, logs: Corpus) -> None:
    assert polluting(isaac, logs.file, logs.folder).code == 0
    truth, bookings = logs.folder / "truth.jsonl", logs.folder / "bookings.jsonl"
    bookings.write_text(BOOKINGS, encoding="utf-8")
    changed = json.loads(logs.file.read_text(encoding="utf-8"))
    row = lines(truth.read_text(encoding="utf-8"))[0]
    changed[row["dialogue"]]["log"][row["turn"]]["text"] = "No ."
    (logs.folder / "changed.json").write_text(json.dumps(changed), encoding="utf-8")
    changed["SNG0004.json"]["log"][2]["text"] = "Three nights !"
    (logs.folder / "asked.json").write_text(json.dumps(changed), encoding="utf-8")
    for flags, words in (
        (("--gold", bookings), "gold has none of the 20 dialogues"),
        (("--gold", logs.folder / "none.json"), "no such file"),
        (("--gold", logs.folder / "asked.json"), "dialogue SNG0004.json, turn 2: the user says"),
        (("--gold", logs.folder / "changed.json", "--truth", truth), "gold does not say what the"),
        (("--truth", bookings), "row 1 of the truth"),
        (("--truth", logs.file), "broken JSON"),
        (("--truth", logs.folder / "none"), "No such file"),
        (("--database", logs.folder), "db.json"),
    ):
        done = isaac("score", logs.file, *flags)
        assert done.code == 1, flags
        assert words in done.err, done.err
    done = isaac("score", bookings, "--truth", truth)
    assert done.code == 1
    assert "is it the truth of another corpus?" in done.err


def test_predictions_that_do_not_match_are_told(isaac: Isaac, logs: Corpus) -> None:
    file = logs.folder / "predictions.json"
    for content, words in (
        ({"SNG0002": [{"response": "hello"}]}, "dialogue sng0002: 1 responses, but 2"),
        ({"x": [{"response": "hello"}]}, "gold has none of the 1 dialogues"),
        ({"SNG0002": [{"text": "hello"}]}, "wanted text as 'response'"),
    ):
        file.write_text(json.dumps(content), encoding="utf-8")
        done = isaac("score", file, "--format", "predictions", "--gold", logs.file)
        assert done.code == 1
        assert words in done.err, done.err
    done = isaac("score", file, "--format", "prediction")
    assert done.code == 2
    assert "there: predictions, multiwoz21" in done.err
