from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from isaac.corpus.dialogue.predictions import normalize_id
from tests.conftest import RunIsaac, write_lines
from tests.talks import (
    BOOKING_REPLY,
    BOOKINGS,
    HOTELS,
    BookingCorpus,
    make_dialogue,
    parse_lines,
    run_pollute,
    run_score,
    write_corpus,
)


@pytest.fixture
def logs(tmp_path: Path) -> BookingCorpus:
    return write_corpus(tmp_path)


def test_gold_gets_full_scores_and_the_polluted_share_equals_the_rate(
    isaac: RunIsaac, logs: BookingCorpus
) -> None:
    assert run_pollute(isaac, logs.file, logs.folder, "--rate", 0.3).code == 0
    against = ("--gold", logs.file, "--database", logs.database)
    pollution = ("--truth", logs.folder / "truth.jsonl", "--words")
    gold = run_score(isaac, logs.file, *against, *pollution)
    assert (gold["inform"], gold["success"], gold["bleu"]) == (100, 100, pytest.approx(100))
    assert gold["slots"]["rate"] == 0
    assert gold["polluted"]["truth"]["by_response"] == 0
    assert gold["polluted"]["words"]["by_response"] == 0
    polluted = run_score(isaac, logs.folder / "polluted.json", *against, *pollution)
    share = polluted["polluted"]
    assert share["truth"]["by_response"] == share["words"]["by_response"] == 12 / 40
    assert (share["truth"]["carried"], share["truth"]["absent"]) == (0, 0)
    assert (polluted["inform"], polluted["success"]) == (100, 100)
    assert 40 < polluted["bleu"] < 100


def test_injected_text_carried_into_another_turn_counts(
    isaac: RunIsaac, logs: BookingCorpus
) -> None:
    assert run_pollute(isaac, logs.file, logs.folder, "--rate", 0.1).code == 0
    truth = ("--truth", logs.folder / "truth.jsonl")
    row = parse_lines((logs.folder / "truth.jsonl").read_text(encoding="utf-8"))[0]
    polluted = json.loads((logs.folder / "polluted.json").read_text(encoding="utf-8"))
    original = json.loads(logs.file.read_text(encoding="utf-8"))
    drawn = polluted[row["dialogue"]]["log"][row["turn"]]["text"]
    other = next(name for name in original if name != row["dialogue"])
    original[other]["log"][row["turn"]]["text"] = drawn
    moved = logs.folder / "moved.json"
    moved.write_text(json.dumps(original), encoding="utf-8")
    for gold in ((), ("--gold", logs.file)):
        found = run_score(isaac, moved, *truth, *gold)["polluted"]["truth"]
        assert (found["responses"], found["carried"], found["of_responses"]) == (1, 1, 40)


def test_a_reference_counts_only_where_the_corpus_has_a_booking(
    isaac: RunIsaac, tmp_path: Path
) -> None:
    (tmp_path / "hotel_db.json").write_text(json.dumps(HOTELS), encoding="utf-8")
    talks = {f"s{i}": make_dialogue("north", "fern lodge", booked=i < 3) for i in range(4)}
    (tmp_path / "in.json").write_text(json.dumps(talks), encoding="utf-8")
    found = run_score(isaac, tmp_path / "in.json", "--database", tmp_path)
    assert (found["inform"], found["success"]) == (100, 75)


def test_what_cannot_be_scored_is_none_and_is_reported(
    isaac: RunIsaac, logs: BookingCorpus
) -> None:
    done = isaac("score", logs.file)
    assert done.code == 0
    assert "Inform none, Success none, BLEU none, combined none" in done.out
    for flag in ("--gold", "--database", "--truth"):
        assert f"no {flag}" in done.err
    facts = run_score(isaac, logs.file)
    assert facts["inform"] is facts["bleu"] is facts["combined"] is facts["slots"]["rate"] is None
    assert facts["polluted"] == {"truth": None, "words": None}
    assert facts["unscored"]["no database"] == facts["unscored"]["no reference"] == 20


def write_predictions(logs: BookingCorpus, *, state: bool = True) -> Path:
    """Write predictions: the first dialogue makes no offer, the second has empty responses."""
    predictions: dict[str, Any] = {}
    for name, record in json.loads(logs.file.read_text(encoding="utf-8")).items():
        area = record["goal"]["hotel"]["info"]["area"]
        own: dict[str, Any] = {"state": {"hotel": {"area": area}}, "active_domains": ["hotel"]}
        texts = [
            "[hotel_name] is a nice place in the [hotel_area] . Shall I book it for you ?",
            "It is booked . The reference is [hotel_reference] , the phone number [hotel_phone] .",
        ]
        turns = [{"response": text, **(own if state else {})} for text in texts]
        predictions[normalize_id(name)] = turns
    predictions["sng0000"][0]["response"] = "what else ?"
    predictions["sng0001"] = [{**turn, "response": ""} for turn in predictions["sng0001"]]
    path = logs.folder / "predictions.json"
    path.write_text(json.dumps(predictions), encoding="utf-8")
    return path


@pytest.mark.parametrize("state", [True, False])
def test_predictions_are_judged_by_their_own_states_or_golds(
    isaac: RunIsaac, logs: BookingCorpus, state: bool
) -> None:
    file = write_predictions(logs, state=state)
    against = ("--gold", logs.file, "--database", logs.database, "--format", "predictions")
    found = run_score(isaac, file, *against)
    assert (found["inform"], found["success"]) == (90, 90)
    assert 80 < found["bleu"] < 100
    assert found["gold_states"] == (0 if state else 20)
    assert found["slots"]["missing"] == 6
    assert found["slots"]["superfluous"] == 0


def test_predictions_are_matched_to_the_truth_by_their_position_in_gold(
    isaac: RunIsaac, logs: BookingCorpus
) -> None:
    assert run_pollute(isaac, logs.file, logs.folder, "--rate", 0.1).code == 0
    rows = parse_lines((logs.folder / "truth.jsonl").read_text(encoding="utf-8"))
    file = write_predictions(logs)
    predictions = json.loads(file.read_text(encoding="utf-8"))
    for row in rows[:2]:
        turn = predictions[normalize_id(row["dialogue"])][row["turn"] // 2]
        turn["response"] = row["pieces"][0]["text"] + turn["response"]
    file.write_text(json.dumps(predictions), encoding="utf-8")
    flags = ("--truth", logs.folder / "truth.jsonl", "--format", "predictions")
    found = run_score(isaac, file, "--gold", logs.file, *flags)["polluted"]["truth"]
    assert (found["responses"], found["carried"], found["of_responses"]) == (2, 0, 40)
    alone = isaac("score", file, *flags)
    assert alone.code == 2
    assert "with --truth, add --gold" in alone.err


def test_a_run_is_scored_by_its_curated_corpus(isaac: RunIsaac, tmp_path: Path) -> None:
    source, run = tmp_path / "in.jsonl", tmp_path / "run"
    source.write_text(BOOKINGS, encoding="utf-8")
    curated = isaac(
        "curate", "--force", "--mode", "resample", source, "-o", run, "--format", "messages"
    )
    assert curated.code == 0, curated.err
    found = run_score(isaac, run, "--gold", source)
    assert found == run_score(isaac, run / "curated.jsonl", "--gold", source)
    assert found["dialogues"] == len(BOOKINGS.splitlines())
    (run / "manifest.json").unlink()
    assert isaac("score", run).code == 1


def test_a_zip_is_read_and_files_without_dialogues_are_reported(
    isaac: RunIsaac, logs: BookingCorpus
) -> None:
    with zipfile.ZipFile(logs.folder / "all.zip", "w") as archive:
        archive.write(logs.file, "corpus/data.json")
        archive.writestr("corpus/schema.json", '[{"service_name": "hotel"}]')
        archive.writestr("corpus/ontology.json", '{"hotel-area": ["north"]}')
        archive.writestr("corpus/valListFile.json", "SNG0000.json\nSNG0001.json\n")
        archive.writestr("__MACOSX/data.json", "\0")
    packed = run_score(isaac, logs.folder / "all.zip")
    assert packed == run_score(isaac, logs.file)
    names = ("ontology", "schema", "valListFile")
    skipped = ", ".join(f"all.zip/corpus/{name}.json" for name in names)
    assert (
        f"skipped files that contain no dialogues: {skipped}\n"
        in isaac("score", logs.folder / "all.zip").err
    )
    with zipfile.ZipFile(logs.folder / "all.zip", "a") as archive:
        archive.writestr("corpus/more.json", '{"SNG0021.json": ')
    assert "more.json line 1: broken JSON" in isaac("score", logs.folder / "all.zip").err


def test_gold_and_truth_of_another_corpus_are_refused(isaac: RunIsaac, logs: BookingCorpus) -> None:
    assert run_pollute(isaac, logs.file, logs.folder).code == 0
    truth, bookings = logs.folder / "truth.jsonl", logs.folder / "bookings.jsonl"
    bookings.write_text(BOOKINGS, encoding="utf-8")
    changed = json.loads(logs.file.read_text(encoding="utf-8"))
    row = parse_lines(truth.read_text(encoding="utf-8"))[0]
    changed[row["dialogue"]]["log"][row["turn"]]["text"] = "No ."
    (logs.folder / "changed.json").write_text(json.dumps(changed), encoding="utf-8")
    changed["SNG0004.json"]["log"][2]["text"] = "Three nights !"
    (logs.folder / "asked.json").write_text(json.dumps(changed), encoding="utf-8")
    for flags, words in (
        (("--gold", bookings), "gold has none of the 20 dialogues"),
        (("--gold", logs.folder / "none.json"), "no file matches"),
        (("--gold", logs.folder / "asked.json"), "dialogue SNG0004.json, turn 2: the user turn"),
        (
            ("--gold", logs.folder / "changed.json", "--truth", truth),
            "gold differs from the original",
        ),
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
    assert "does the truth belong to another corpus?" in done.err


def test_predictions_that_do_not_match_gold_are_reported(
    isaac: RunIsaac, logs: BookingCorpus
) -> None:
    file = logs.folder / "predictions.json"
    for content, words in (
        (
            {"SNG0002": [{"response": "hello"}]},
            "the first, sng0002, has 1 responses for 2 turns",
        ),
        ({"x": [{"response": "hello"}]}, "gold has none of the 1 dialogues"),
        ({"SNG0002": [{"text": "hello"}]}, "expected text in 'response'"),
    ):
        file.write_text(json.dumps(content), encoding="utf-8")
        done = isaac("score", file, "--format", "predictions", "--gold", logs.file)
        assert done.code == 1
        assert words in done.err, done.err
    done = isaac("score", file, "--format", "prediction")
    assert done.code == 2
    assert "available: predictions, multiwoz21" in done.err


def test_injected_text_is_also_found_in_delexicalized_form(
    isaac: RunIsaac, logs: BookingCorpus
) -> None:
    piece = {"start": 0, "text": "Get lost at 9:15 , "}
    place: dict[str, Any] = {"dialogue": "SNG0002.json", "turn": 3, "original": BOOKING_REPLY}
    row = {**place, "kind": "low", "wording": "varied", "pieces": [piece]}
    truth = write_lines(logs.folder / "truth.jsonl", [row])
    file = write_predictions(logs)
    predictions = json.loads(file.read_text(encoding="utf-8"))
    predictions["sng0004"][0]["response"] = "get lost at [value_time] , please"
    file.write_text(json.dumps(predictions), encoding="utf-8")
    flags = ("--truth", truth, "--format", "predictions", "--gold", logs.file)
    found = run_score(isaac, file, *flags)["polluted"]["truth"]
    assert (found["responses"], found["carried"]) == (1, 1)
