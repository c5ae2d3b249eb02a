from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path

import pytest

from isaac.corpus.dialogue import READERS, iter_records
from isaac.evaluate.dialogue import parse_truth, remove_injected_text
from tests.conftest import RunIsaac, write_lines
from tests.talks import (
    BOOKINGS,
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


def test_removing_the_pieces_from_a_polluted_log_restores_the_original(
    isaac: RunIsaac, logs: BookingCorpus
) -> None:
    done = run_pollute(isaac, logs.file, logs.folder, "--rate", 0.5, "--seed", 3)
    assert done.code == 0, done.err
    assert "polluted 20 of 40 system turns (50.0%), in " in done.out
    polluted = json.loads((logs.folder / "polluted.json").read_text(encoding="utf-8"))
    original = json.loads(logs.file.read_text(encoding="utf-8"))
    rows = parse_truth(parse_lines((logs.folder / "truth.jsonl").read_text(encoding="utf-8")))
    assert len(rows) == 20
    for row in rows:
        turn = polluted[row.dialogue]["log"][row.turn]
        before = original[row.dialogue]["log"][row.turn]
        assert turn["text"] != before["text"] == row.original
        assert remove_injected_text(turn["text"], row.pieces) == row.original
        # Spans count tokens: they still mark the same words.
        for _, _, value, start, end in turn["span_info"]:
            assert " ".join(turn["text"].split()[start : end + 1]) == value
        assert len(turn["span_info"]) == len(before["span_info"])
        polluted[row.dialogue]["log"][row.turn] = before
    assert polluted == original
    for kind in ("low", "high", "unprofessional"):
        assert f"{kind} {sum(row.kind == kind for row in rows)}" in done.out


def test_json_lines_stay_json_lines_and_unchanged_lines_stay_identical(
    isaac: RunIsaac, tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text(BOOKINGS, encoding="utf-8")
    assert run_pollute(isaac, tmp_path / "in.jsonl", tmp_path).code == 0
    written = (tmp_path / "polluted.json").read_text(encoding="utf-8")
    rows = parse_truth(parse_lines((tmp_path / "truth.jsonl").read_text(encoding="utf-8")))
    touched = {row.dialogue for row in rows}
    pieces = {(row.dialogue, row.turn): row.pieces for row in rows}
    for now, before in zip(written.splitlines(), BOOKINGS.splitlines(), strict=True):
        name = json.loads(before)["dialogue_id"]
        assert (now == before) == (name not in touched)
        record = json.loads(now)
        for index, message in enumerate(record["messages"]):
            message["content"] = remove_injected_text(
                message["content"], pieces.get((name, index), ())
            )
        assert record == json.loads(before)


def test_the_same_seed_gives_the_same_bytes_in_any_order(isaac: RunIsaac, tmp_path: Path) -> None:
    records = BOOKINGS.splitlines()
    random.Random(1).shuffle(records)
    for name, some in (("a", BOOKINGS.splitlines()), ("b", BOOKINGS.splitlines()), ("c", records)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "in.jsonl").write_text("\n".join(some), encoding="utf-8")
        assert run_pollute(isaac, tmp_path / name / "in.jsonl", tmp_path / name).code == 0
    a, b, c = (tmp_path / name for name in "abc")
    assert (a / "polluted.json").read_bytes() == (b / "polluted.json").read_bytes()
    assert (a / "truth.jsonl").read_bytes() == (c / "truth.jsonl").read_bytes()
    ones = [sorted((x / "polluted.json").read_text().splitlines()) for x in (a, c)]
    assert ones[0] == ones[1]
    assert run_pollute(isaac, a / "in.jsonl", c, "--seed", 1).code == 0
    assert (a / "truth.jsonl").read_bytes() != (c / "truth.jsonl").read_bytes()


def test_rows_of_one_dialogue_are_merged_and_their_history_is_not_scored(
    isaac: RunIsaac, tmp_path: Path
) -> None:
    texts = ["Hello .", "Which area ?", "The north .", "Fern Lodge then ."]
    rows = [
        {"dialogue_id": "d", "history": texts[:end], "response": texts[end], "act": "hotel-inform"}
        for end in (1, 3)
    ]
    file = write_lines(
        tmp_path / "rows.jsonl", [{**row, "dialogue_id": n} for n in "ab" for row in rows]
    )
    assert run_pollute(isaac, file, tmp_path, "--rate", 1).code == 0
    truth = parse_lines((tmp_path / "truth.jsonl").read_text(encoding="utf-8"))
    assert [(row["dialogue"], row["turn"]) for row in truth] == [
        ("a", 1),
        ("a", 3),
        ("b", 1),
        ("b", 3),
    ]
    found = run_score(
        isaac, tmp_path / "polluted.json", "--truth", tmp_path / "truth.jsonl", "--gold", file
    )
    assert found["polluted"]["truth"]["by_dialogue"] == 1
    assert (found["dialogues"], found["responses"]) == (2, 4)


def test_rows_with_the_same_id_and_turn_are_numbered(isaac: RunIsaac, tmp_path: Path) -> None:
    row = {"context": "Hello .", "response": "Which area would you like ?", "act": "hotel-request"}
    named = [{**row, "dialogue_id": "d"}, {**row, "dialogue_id": "d"}]
    file = write_lines(tmp_path / "rows.jsonl", [*named, row, row])
    assert run_pollute(isaac, file, tmp_path, "--rate", 1).code == 0
    truth = parse_lines((tmp_path / "truth.jsonl").read_text(encoding="utf-8"))
    assert [row["dialogue"] for row in truth] == ["3", "4", "d#1", "d#2"]
    assert all("response" in row for row in parse_lines((tmp_path / "polluted.json").read_text()))


def test_an_array_stays_an_array(isaac: RunIsaac, tmp_path: Path) -> None:
    records = [json.loads(line) for line in BOOKINGS.splitlines()]
    (tmp_path / "in.json").write_text(json.dumps(records), encoding="utf-8")
    assert run_pollute(isaac, tmp_path / "in.json", tmp_path).code == 0
    written = json.loads((tmp_path / "polluted.json").read_text(encoding="utf-8"))
    read = [READERS["dialogue"].read(record).id for record in iter_records(written)]
    assert read == [record["dialogue_id"] for record in records]


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (
            ["--format", "multiwoz3"],
            2,
            ["unknown dialogue format 'multiwoz3'", "multiwoz21, unified"],
        ),
        (["--rate", "0"], 2, ["expected a rate above 0"]),
        (["--rate", "much"], 2, ["--rate"]),
        (["--kinds", "low,rude"], 2, ["got rude"]),
        (["--kinds", ","], 2, ["low, high, unprofessional"]),
        (["--wordings", "many"], 2, ["got many"]),
        (["--format", "sgd"], 1, ["data.json 'SNG0000.json'", "20 of 20 records", "as sgd"]),
    ],
)
def test_invalid_options_of_pollute_are_reported(
    isaac: RunIsaac, logs: BookingCorpus, flags: list[str], code: int, words: list[str]
) -> None:
    done = run_pollute(isaac, logs.file, logs.folder, *flags)
    assert done.code == code
    assert all(word in done.err for word in words), done.err
    assert not (logs.folder / "truth.jsonl").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["in.json is empty"]),
        ("{", ["in.json line 1: broken JSON"]),
        ("[1]", ["contains no dialogues: record 0 is 1, not an object"]),
        ("7", ["neither an object nor a list of dialogues"]),
        ('{"a": 1}', ["dialogue 'a' is 1, not an object"]),
        ('[{"prompt": "a", "chosen": "b"}]', ["columns are prompt, chosen", "--format"]),
        ('{"messages": []}\n{"messages": []}\n', ["columns are messages", "multiwoz21"]),
        ('{"response": "a", "act": "b", "context": "c"}\n{]\n', ["in.json line 2: broken JSON"]),
        (
            '{"response": "a", "act": "b", "context": "c"}\n[]\n',
            ["line 2: expected a JSON object, got list"],
        ),
        ('{"response": 5, "act": "b", "context": "c"}', ["line 1", "is 5, not text", "1 of 1"]),
        ('{"a": {"log": [{"text": "b"}, {"text": 5}]}}', ["'a': 'log' turn 1 'text' is 5"]),
        ('{"a": {"log": []}, "a": {"log": []}}', ["the key 'a' appears twice"]),
        ("[" * 100_000, ["cannot be read as JSON"]),
    ],
)
def test_an_input_without_dialogues_is_reported(
    isaac: RunIsaac, tmp_path: Path, content: str, words: list[str]
) -> None:
    (tmp_path / "in.json").write_text(content, encoding="utf-8")
    for done in (
        run_pollute(isaac, tmp_path / "in.json", tmp_path),
        isaac("score", tmp_path / "in.json"),
    ):
        assert done.code == 1
        assert all(word in done.err for word in words), done.err
        assert "Traceback" not in done.err
    assert "--format predictions" in done.err
    assert [file.name for file in tmp_path.iterdir()] == ["in.json"]


def test_unreadable_bytes_and_archives_are_reported(isaac: RunIsaac, tmp_path: Path) -> None:
    for name, data, words in (
        ("latin.json", b'{"a": "\xe9"}', "invalid UTF-8 at byte 8"),
        (
            "broken.zip",
            b"PK\x03\x04 and no more",
            "damaged: File is not a zip file",
        ),
    ):
        (tmp_path / name).write_bytes(data)
        done = isaac("score", tmp_path / name)
        assert (done.code, words in done.err) == (1, True), done.err
    with zipfile.ZipFile(tmp_path / "notes.zip", "w") as archive:
        archive.writestr("notes.txt", "hello")
    message = isaac("score", tmp_path / "notes.zip").err
    assert "no data files in" in message
    assert "found: notes.txt" in message
    with zipfile.ZipFile(tmp_path / "big.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.json", b" " * (300 << 20))
    assert "would unpack to 300 MiB, which is more" in isaac("score", tmp_path / "big.zip").err


def test_the_input_is_never_overwritten(isaac: RunIsaac, logs: BookingCorpus) -> None:
    before, other = logs.file.read_bytes(), logs.folder / "x"
    for out, truth, words in (
        (logs.file, other, "--out"),
        (other, logs.file, "--truth"),
        (other, other, "are the same file"),
        (logs.folder / "x.zip", other, "cannot be compressed"),
    ):
        done = isaac("pollute", logs.file, "-o", out, "--truth", truth)
        assert done.code == 2
        assert words in done.err
    assert logs.file.read_bytes() == before
    assert not other.exists()


def test_duplicate_dialogues_are_refused(isaac: RunIsaac, tmp_path: Path) -> None:
    talks = {
        "A.json": make_dialogue("north", "fern lodge"),
        "a": make_dialogue("north", "fern lodge"),
    }
    (tmp_path / "in.json").write_text(json.dumps(talks), encoding="utf-8")
    done = run_pollute(isaac, tmp_path / "in.json", tmp_path)
    assert done.code == 1
    assert "duplicate dialogue id A.json: in.json 'A.json' and in.json 'a'" in done.err
