"""Conversations from input to exports: which turns are curated, masked, cut, or left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from isaac import Recipe, Run, curate_to, export, redraw_run
from isaac.runs.dropped_turns import find_removed_turns, mark_from_first
from tests.conftest import RunIsaac, write_lines

Json = dict[str, Any]
NORMAL = ["Please rest and see a doctor.", "Please see a doctor and rest.", "Please do rest a lot."]
ODD = ["Who cares.", "Ha!", "Zebra quartz volcano."]


def talk(number: int, *marks: Json) -> Json:
    """A conversation of three turns; in every fifth one, one of the answers is odd."""
    messages: list[Json] = [{"role": "system", "content": "Be kind."}]
    for turn in range(3):
        answer = NORMAL[(number + turn) % 3]
        if number % 5 == 0 and turn == number // 5 % 3:
            answer = ODD[turn]
        mark = marks[turn] if turn < len(marks) else {}
        messages.append({"role": "user", "content": f"My head hurts, day {number} {turn}"})
        messages.append({"role": "assistant", "content": answer, **mark})
    return {"n": number, "messages": messages}


Curate = Callable[..., Run]


@pytest.fixture
def curate(tmp_path: Path) -> Curate:
    """A function that curates records with settings; it redraws rows and drops none by default."""

    def run(records: list[Json], **settings: Any) -> Run:
        source = write_lines(tmp_path / "talks.jsonl", records)
        recipe = Recipe.of({"mode": "resample", "trust": "wording", **settings})
        return curate_to(tmp_path / "run", source, recipe, force=True)

    return run


def read_lines(path: Path) -> list[Json]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def curated(run: Run) -> list[Json]:
    return read_lines(run.path / "curated.jsonl")


def rows_of(run: Run, kind: Any) -> list[Json]:
    return read_lines(export(run, kind).folder / "train.jsonl")


def texts(record: Json) -> list[str]:
    return [m["content"] for m in record["messages"] if m["role"] == "assistant"]


def conversations_of(run: Run) -> list[list[Json]]:
    """The exported conversations without the flags that say what to train on."""
    return [
        [{"role": turn["role"], "content": turn["content"]} for turn in row["messages"]]
        for row in rows_of(run, "messages")
    ]


def card_of(run: Run, kind: str) -> str:
    return (run.path / "export" / kind / "README.md").read_text(encoding="utf-8")


# All turns, by default.


def test_all_turns_are_curated_by_default(curate: Curate) -> None:
    run = curate([talk(i) for i in range(30)], budget=0.2)
    assert run.summary()["exchanges"] == 90
    assert not any(run.summary()["turns"].values())
    assert not {text for record in curated(run) for text in texts(record)} & set(ODD)


def test_exports_have_the_curated_conversation(curate: Curate) -> None:
    """Also in the prompts: an odd reply that was replaced is nowhere."""
    run = curate([talk(i) for i in range(30)], budget=0.2)
    conversations = [record["messages"] for record in curated(run)]
    assert conversations_of(run) == conversations
    prompts = [
        messages[:place] for messages in conversations for place in range(2, len(messages), 2)
    ]
    assert [row["prompt"] for row in rows_of(run, "sft")] == prompts
    for kind in ("sft", "kto", "alpaca", "sharegpt"):
        rows = [row for row in rows_of(run, kind) if row.get("label", True)]
        assert not any(odd in json.dumps(rows) for odd in ODD)
    assert '"weight": 0' not in json.dumps(rows_of(run, "sharegpt"))
    rows_of(run, "messages")
    assert "were not curated" not in card_of(run, "messages")


def test_a_conversation_is_exported_once_for_each_target(curate: Curate) -> None:
    run = curate([talk(i) for i in range(30)], budget=0.2, targets=2)
    expected = [record["messages"] for record in curated(run)]
    assert len(expected) > 30
    assert conversations_of(run) == expected


def test_the_columns_of_records_with_one_turn_are_no_lists(curate: Curate) -> None:
    records = [{"messages": talk(i)["messages"][:3]} for i in range(10)]
    run = curate(records)
    assert [record["isaac_id"] for record in curated(run)] == list(range(10))
    assert {type(record["isaac_action"]) for record in curated(run)} == {str}


# The last turn only.


def test_turns_that_are_not_curated_are_reported_everywhere(
    isaac: RunIsaac, tmp_path: Path
) -> None:
    source = write_lines(tmp_path / "talks.jsonl", [talk(i) for i in range(600)])
    sentence = "1,200 earlier assistant turns are not curated (--turns all curates them)"
    command = ["curate", source, "--turns", "last", "-k", "20", "--mode", "resample"]
    planned = isaac(*command, "--dry-run")
    assert planned.code == 0
    assert sentence in planned.out
    as_json = json.loads(isaac(*command, "--dry-run", "--json").out)
    counts = {"unread": 1200, "marked": 0, "untrained_records": 0, "calls": 0, "results": 0}
    assert as_json["turns"] == counts
    done = isaac(*command, "--force", "-o", tmp_path / "run")
    assert f"note: {sentence}" in done.err
    run = Run(tmp_path / "run")
    assert run.summary()["turns"]["unread"] == 1200
    assert sentence in (run.path / "report.md").read_text(encoding="utf-8")
    assert sentence in (run.path / "report.html").read_text(encoding="utf-8")
    export(run, "sft")
    assert sentence in card_of(run, "sft")
    assert "not curated" not in isaac("curate", source, "--dry-run").out


@pytest.mark.parametrize("kind", ["messages", "sharegpt"])
def test_the_messages_of_an_export_say_whether_to_train_on_them(curate: Curate, kind: str) -> None:
    run = curate([talk(i) for i in range(30)], turns="last")
    column, role, names = {
        "messages": ("messages", "role", {"assistant"}),
        "sharegpt": ("conversations", "from", {"gpt"}),
    }[kind]
    for row in rows_of(run, kind):
        *earlier, last = row[column]
        assert (last["train"], last["loss"], last["weight"]) == (True, True, 1)
        assert not any(turn["train"] or turn["loss"] for turn in earlier)
        weights = [turn.get("weight") for turn in earlier if turn[role] in names]
        assert weights == [0, 0]
        assert all("weight" not in turn for turn in earlier if turn[role] not in names)
    card = card_of(run, kind)
    assert "60 assistant messages were not curated" in card
    assert "`mask_history: true`, which trains on the last turn alone" in card
    config = yaml.safe_load(card.split("```yaml\n")[-1].split("```")[0])
    assert config["datasets"][0]["message_field_training"] == "train"


def test_sft_completes_only_the_last_turn(curate: Curate) -> None:
    run = curate([talk(i) for i in range(30)], turns="last")
    rows = rows_of(run, "sft")
    assert [len(row["prompt"]) for row in rows] == [6] * 30
    assert [row["completion"][0]["content"] for row in rows] == [texts(r)[-1] for r in curated(run)]


# Turns that are not trained on.


def test_marked_turns_are_left_alone_and_never_drawn(isaac: RunIsaac, curate: Curate) -> None:
    secret = "Xylophone."

    def marked(number: int) -> Json:
        record = talk(number, {}, {"weight": 0}, {"weight": 1})
        record["messages"][4]["content"] = secret
        return record

    records = [marked(i) for i in range(30)]
    run = curate(records, budget=1.0, candidates=1.0)
    assert run.summary()["turns"]["marked"] == 30
    assert "30 assistant turns are marked as not trained on" in " ".join(run.summary()["notes"])
    for before, after in zip(records, curated(run), strict=True):
        assert after["messages"][4] == before["messages"][4]
        assert after["messages"][6]["weight"] == 1
        assert secret not in (texts(after)[0], texts(after)[2])
        assert len(after["isaac_id"]) == 2
    flags: Json = {"train": False, "loss": False}
    rows = rows_of(run, "messages")
    assert [row["messages"][4] for row in rows] == [records[0]["messages"][4] | flags] * 30
    assert "It ignores the flags of messages" in card_of(run, "messages")
    assert secret not in {row["completion"][0]["content"] for row in rows_of(run, "sft")}
    source = run.path.parent / "talks.jsonl"
    assert "30 assistant turns are marked as" in isaac("curate", source, "--dry-run").out


def test_a_conversation_without_a_trained_turn_stays_in_its_place(curate: Curate) -> None:
    off = [{"train": False}] * 3
    records = [talk(i, *(off if i in (0, 1, 17, 29) else [])) for i in range(30)]
    run = curate(records, budget=0.2)
    assert [record["n"] for record in curated(run)] == list(range(30))
    for number in (0, 1, 17, 29):
        added: Json = {"isaac_id": [], "isaac_action": []}
        assert curated(run)[number] == records[number] | added
    assert run.summary()["turns"]["untrained_records"] == 4
    assert len(rows_of(run, "messages")) == 26
    pairs = curated(redraw_run(run, {"mode": "pairs"}, force=True))
    assert pairs
    assert not {record["n"] for record in pairs} & {0, 1, 17, 29}


def test_a_record_without_a_trained_turn_has_null_for_one_id(curate: Curate) -> None:
    records = [{"messages": talk(i)["messages"][:3]} for i in range(10)]
    records[4]["messages"][2]["weight"] = 0
    run = curate(records)
    assert curated(run)[4] == records[4] | {"isaac_id": None, "isaac_action": None}
    assert [record["isaac_id"] for record in curated(run)[5:]] == [4, 5, 6, 7, 8]


# Dropped turns.


def test_a_conversation_ends_before_its_first_dropped_turn(curate: Curate) -> None:
    records = [talk(i) for i in range(30)]
    run = curate(records, mode="filter", budget=0.1)
    actions = run.curation().lineage.column("action").to_pylist()
    found = {record["n"]: record for record in curated(run)}
    after_dropped = 0
    for number, record in enumerate(records):
        of_turns = [actions[3 * number + turn] for turn in range(3)]
        left = of_turns.index("dropped") if "dropped" in of_turns else 3
        after_dropped += of_turns[left:].count("kept")
        if left == 0:
            assert number not in found
            continue
        assert found[number]["messages"] == record["messages"][: 1 + 2 * left]
        assert found[number]["isaac_id"] == [3 * number + turn for turn in range(left)]
        assert found[number]["isaac_action"] == ["kept"] * left
    assert 0 < after_dropped == run.summary()["turns"]["after_dropped"]
    assert any("ends before its first dropped turn" in note for note in run.summary()["notes"])
    assert any(len(record["messages"]) < 7 for record in found.values())
    assert conversations_of(run) == [record["messages"] for record in found.values()]
    remaining = sum(len(record["isaac_id"]) for record in found.values())
    assert len(rows_of(run, "sft")) == remaining == 90 - run.summary()["dropped"] - after_dropped


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30))
def test_turns_from_the_first_dropped_one_on_are_marked(turns: list[tuple[bool, bool]]) -> None:
    starts = np.array([start or not i for i, (start, _) in enumerate(turns)], bool)
    dropped = np.array([each for _, each in turns], bool)
    expected, gone = [], False
    for start, each in zip(starts, dropped, strict=True):
        gone = each or (gone and not start)
        expected.append(gone)
    assert mark_from_first(dropped, starts).tolist() == expected


def test_nothing_goes_where_nothing_is_dropped(curate: Curate) -> None:
    curation = curate([talk(i) for i in range(5)]).curation()
    assert not find_removed_turns(curation.corpus, curation.lineage).any()


def test_the_papers_settings_curate_the_last_turn() -> None:
    assert Recipe().reading.turns == "all"
    assert Recipe.paper().reading.turns == "last"
    assert Recipe.dialogue().reading.turns == "all"
