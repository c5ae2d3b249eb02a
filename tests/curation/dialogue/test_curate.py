from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isaac import CorpusError, Recipe, RecipeError, Run, read_corpus
from isaac.corpus.corpus import CORPUS_SCHEMA, OPTIONAL_COLUMNS, Corpus
from isaac.corpus.dialogue.delexicalization import PLACEHOLDER, delexicalize, template_slots
from isaac.corpus.dialogue.readers import READERS
from isaac.corpus.dialogue.schema import DialogueTurn
from isaac.corpus.dialogue.spans import find_mentions
from isaac.corpus.dialogue.value_lexicon import Lexicon
from isaac.corpus.formats import (
    FORMATS,
    TASK_ORIENTED_FORMATS,
    RowError,
    deserialize_format,
    detect_format,
    serialize_format,
)
from isaac.corpus.formats.task_oriented import fill_placeholders
from isaac.corpus.parquet_table import ParquetTable
from isaac.corpus.turn_counts import TurnCounts, count_turns
from isaac.runs.export import EXPORT_TYPES
from tests.conftest import RunIsaac, write_lines

Json = dict[str, Any]

BOOKINGS: list[Json] = [
    json.loads(line)
    for line in (files("isaac") / "data" / "bookings.jsonl").read_text("utf-8").splitlines()
]

HEADS = "--sharpening max --budget 1 --relevance 0 --typicality 0 --candidates 1 --repeats 0"
HEADS_ONLY = (*HEADS.split(), "--abstain", "0")
"""Flags to redraw every turn, from the head cluster only."""

INNS = ["Fern Lodge", "The Old Mill", "Sea View", "Marsh House", "Oak Rest", "Hill Farm"]

WORDINGS = [
    "{name} is in the {area} . Call {phone} .",
    "{name} is in the {area} . Call {phone} .",
    "{name} , which is in the {area} , has the number {phone} .",
]


def inn(number: int) -> Json:
    """A dialogue about one inn in the layout of MultiWOZ 2.1."""
    name, area = INNS[number % len(INNS)], ["north", "east"][number % 2]
    phone = f"01223{number:06}"
    text = WORDINGS[number % 3].format(name=name, area=area, phone=phone)
    acts = [["Name", name], ["Area", area], ["Phone", phone]]
    said = ["A room , please .", text, "Thanks .", ["Bye !", "Bye !", "Good bye !"][number % 3]]
    log: list[Json] = [
        {"text": text, "metadata": {}, "dialog_act": {}, "span_info": []} for text in said
    ]
    log[1] |= {"dialog_act": {"Hotel-Inform": acts}, "span_info": spans(text, acts)}
    log[3] |= {"dialog_act": {"general-bye": [["none", "none"]]}}
    return {"goal": {"hotel": {}}, "log": log}


def spans(text: str, acts: list[list[str]]) -> list[list[Any]]:
    words, found = text.split(), []
    for slot, value in acts:
        size = len(value.split())
        at = next(i for i in range(len(words)) if words[i : i + size] == value.split())
        found.append(["Hotel-Inform", slot, value, at, at + size - 1])
    return found


CORPUS = {f"INN{number:04}.json": inn(number) for number in range(24)}


def release(folder: Path, dialogues: Json) -> Path:
    """Write a release as a zip archive: dialogues, lists of their names, and a database."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "data.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("MW/data.json", json.dumps(dialogues, indent=1))
        archive.writestr("MW/valListFile.json", "INN0001.json\n")
        archive.writestr("MW/ontology.json", '{"hotel-area": ["north"]}')
        archive.writestr("MW/db/hotel_db.json", json.dumps([{"name": "Fern Lodge"}]))
    return folder / "data.zip"


def lines(path: Path) -> list[Json]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def own(record: Json) -> Json:
    """The record without the columns that the curation added."""
    return {name: value for name, value in record.items() if not name.startswith("isaac_")}


def system_turns(layout: str, record: Json) -> list[DialogueTurn]:
    return [turn for turn in READERS[layout].read(record).turns if turn.role == "assistant"]


def changed(layout: str, before: Json, after: Json) -> Iterator[tuple[DialogueTurn, DialogueTurn]]:
    """Yield the system turns that differ, before and after."""
    turns = zip(system_turns(layout, before), system_turns(layout, after), strict=True)
    yield from ((old, new) for old, new in turns if old.text != new.text)


def numbered(dialogues: Json) -> list[Json]:
    return [{**dialogue, "dialogue_id": number} for number, dialogue in dialogues.items()]


@pytest.fixture
def bookings(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "in" / "bookings.jsonl", BOOKINGS)


# The whole curation.


def test_without_a_budget_dialogues_come_back_word_for_word(
    isaac: RunIsaac, bookings: Path, tmp_path: Path
) -> None:
    for source, layout, given in (
        (bookings, "dialogue", BOOKINGS),
        (release(tmp_path / "zip", CORPUS), "multiwoz21", numbered(CORPUS)),
    ):
        run = tmp_path / layout
        done = isaac("curate", "--force", source, "--format", layout, "-o", run, "--no-trim")
        assert done.code == 0, done.err
        made = lines(run / "curated.jsonl")
        assert [own(record) for record in made] == given
        assert all(len(r["isaac_id"]) == len(system_turns(layout, r)) for r in made)
        assert not (run / "rejected.jsonl").read_text()


def test_drawn_responses_have_only_the_values_of_their_own_turn(
    isaac: RunIsaac, bookings: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert (
        isaac("curate", "--force", bookings, "--format", "dialogue", "-o", run, *HEADS_ONLY).code
        == 0
    )
    noted = {
        value
        for record in BOOKINGS
        for message in record["messages"]
        for values in message.get("slots", {}).values()
        for value in values
    }
    count = 0
    for before, after in zip(BOOKINGS, lines(run / "curated.jsonl"), strict=True):
        for old, new in changed("dialogue", before, after):
            count += 1
            assert not PLACEHOLDER.search(new.text)
            values = delexicalize(old, Lexicon()).values
            assert template_slots(delexicalize(new, Lexicon())) == tuple(sorted(values))
            for value in noted:
                assert not find_mentions(new.text, value) or find_mentions(old.text, value), (
                    value,
                    new,
                )
    assert count > 50


def test_a_draw_of_multiwoz_keeps_acts_and_states_and_moves_spans(
    isaac: RunIsaac, tmp_path: Path
) -> None:
    source, run = release(tmp_path, CORPUS), tmp_path / "run"
    assert (
        isaac("curate", "--force", source, "--format", "multiwoz21", "-o", run, *HEADS_ONLY).code
        == 0
    )
    made = lines(run / "curated.jsonl")
    texts = {record["dialogue_id"]: record["log"][1]["text"] for record in made}
    assert texts["INN0002.json"] == "Sea View is in the north . Call 01223000002 ."
    for before, after in zip(numbered(CORPUS), made, strict=True):
        for old, new in zip(before["log"], after["log"], strict=True):
            assert new["dialog_act"] == old["dialog_act"]
            words = new["text"].split()
            for _, _, value, start, end in new["span_info"]:
                assert " ".join(words[start : end + 1]) == value
    assert {record["log"][3]["text"] for record in made} == {"Bye !"}


def test_the_curated_corpus_reads_back_in_its_own_layout(isaac: RunIsaac, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    flags = ("--format", "multiwoz21", *HEADS_ONLY)
    assert isaac("curate", "--force", release(tmp_path, CORPUS), "-o", first, *flags).code == 0
    assert isaac("curate", "--force", first / "curated.jsonl", "-o", second, *flags).code == 0
    again = lines(second / "curated.jsonl")
    assert list(map(own, again)) == list(map(own, lines(first / "curated.jsonl")))


def test_the_order_of_the_dialogues_changes_nothing(
    isaac: RunIsaac, bookings: Path, tmp_path: Path
) -> None:
    rude = tmp_path / "rude.jsonl"
    truth = tmp_path / "truth.jsonl"
    assert isaac("pollute", bookings, "--rate", "0.1", "-o", rude, "--truth", truth).code == 0
    mixed = random.Random(3).sample(lines(rude), len(BOOKINGS))
    other = write_lines(tmp_path / "mixed.jsonl", mixed)
    found = []
    for name, source in (("a", rude), ("b", other)):
        run = tmp_path / name
        flags = ("--format", "dialogue", "--seed", "5")
        assert isaac("curate", "--force", source, "-o", run, *flags).code == 0
        made = lines(run / "curated.jsonl")
        assert any("replaced" in record["isaac_action"] for record in made)
        found.append({record["dialogue_id"]: own(record) for record in made})
    assert found[0] == found[1]


def test_any_number_of_workers_gives_the_same_bytes(
    isaac: RunIsaac, bookings: Path, tmp_path: Path
) -> None:
    for workers in ("1", "2"):
        flags = ("--format", "dialogue", "--workers", workers)
        assert isaac("curate", "--force", bookings, "-o", tmp_path / workers, *flags).code == 0
    for name in ("curated.jsonl", "lineage.parquet", "report.json", "corpus.parquet"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_a_broken_dialogue_is_rejected_with_its_reason(isaac: RunIsaac, tmp_path: Path) -> None:
    broken: Json = {
        "NOLOG.json": {"goal": {}},
        "EMPTY.json": {"log": []},
        "TEXT.json": {"log": [{"text": "Hi"}, {"text": 5}]},
        "ACT.json": {"log": [{"text": "Hi"}, {"text": "Ho", "dialog_act": [1]}]},
        "ALONE.json": {"log": [{"text": "Hi"}]},
        "HALF.json": {
            "log": [{"text": "Hi"}, {"text": "Ho", "dialog_act": {"A\ud800-Inform": [["B", "c"]]}}]
        },
        "NUMBER.json": 7,
    }
    source, run = release(tmp_path, {**CORPUS, **broken}), tmp_path / "run"
    done = isaac("curate", "--force", source, "--format", "multiwoz21", "-o", run, "--json")
    assert json.loads(done.out)["rejected"] == len(broken)
    found = lines(run / "rejected.jsonl")
    assert [row["file"] for row in found] == ["data.zip/MW/data.json"] * len(broken)
    assert [row["raw"].split('"')[1] for row in found] == list(broken)
    reasons = [row["reason"] for row in found]
    for reason, words in zip(
        reasons,
        (
            "'log' is missing",
            "'log' is an empty list",
            "'log' turn 1 'text' is 5, not text",
            "'dialog_act' is [1], not an object",
            "no assistant turn with text after",
            "the acts of turn 1 are not valid Unicode",
            "JSON that is a number, not an object",
        ),
        strict=True,
    ):
        assert words in reason
    text = json.dumps({**CORPUS, **broken}, indent=1).split("\n")
    assert all(f'"{list(broken)[n]}"' in text[row["line"] - 1] for n, row in enumerate(found))


@pytest.mark.parametrize(("mode", "budget"), [("pairs", 0.9), ("filter", 0.02)])
def test_other_modes_write_the_original_words_of_a_turn(
    isaac: RunIsaac, bookings: Path, tmp_path: Path, mode: str, budget: float
) -> None:
    flags = ("--format", "dialogue", "--mode", mode, "--targets", "2", "--budget", budget)
    assert isaac("curate", "--force", bookings, "-o", tmp_path / "run", *flags).code == 0
    made = lines(tmp_path / "run" / "curated.jsonl")
    given = {record["dialogue_id"]: record for record in BOOKINGS}
    assert made
    for record in made:
        before = system_turns("dialogue", given[record["dialogue_id"]])
        assert not PLACEHOLDER.search(json.dumps(record["messages"]))
        if mode == "pairs":
            rejected = zip(record["isaac_action"], before, strict=True)
            assert record["isaac_rejected"] == [
                turn.text if action == "replaced" else None for action, turn in rejected
            ]


def test_exported_texts_are_lexicalized(isaac: RunIsaac, bookings: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    flags = ("--format", "dialogue", "--targets", "2", *HEADS_ONLY)
    assert isaac("curate", "--force", bookings, "-o", run, *flags).code == 0
    said = {
        turn.text
        for record in lines(run / "curated.jsonl")
        for turn in system_turns("dialogue", record)
    }
    for kind in EXPORT_TYPES:
        assert isaac("export", run, "--as", kind).code == 0
        rows = lines(run / "export" / kind / "train.jsonl")
        assert len(rows) > 10
        assert not PLACEHOLDER.search(json.dumps(rows))
        if kind == "messages":
            turns = [message for row in rows for message in row["messages"]]
            assert {turn["content"] for turn in turns if turn["role"] == "assistant"} == said


def test_a_run_is_planned_reported_explained_and_redrawn(
    isaac: RunIsaac, bookings: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    flags = ("--format", "dialogue", "--workers", "1")
    planned = isaac("curate", bookings, *flags, "--dry-run").out
    assert "371 as dialogue" in planned
    assert "trim 371 responses: about" in planned
    assert isaac("curate", "--force", bookings, "-o", run, *flags).code == 0
    assert "same value of 'act'" in isaac("report", run).out
    story = json.loads(isaac("explain", run, "1", "--json").out)
    assert "[hotel_name]" in story["response"]
    redrawn = tmp_path / "again"
    assert isaac("redraw", run, "-o", redrawn, "--budget", "0.1").code == 0
    assert (redrawn / "curated.jsonl").read_bytes() != (run / "curated.jsonl").read_bytes()
    assert isaac("redraw", redrawn, "--budget", "0").code == 0
    assert (redrawn / "curated.jsonl").read_bytes() == (run / "curated.jsonl").read_bytes()


def test_the_last_turn_alone_can_be_curated(
    isaac: RunIsaac, bookings: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    flags = ("--format", "dialogue", "--turns", "last", *HEADS_ONLY)
    assert isaac("curate", "--force", bookings, "-o", run, *flags).code == 0
    for before, after in zip(BOOKINGS, lines(run / "curated.jsonl"), strict=True):
        last = system_turns("dialogue", before)[-1].index
        assert {old.index for old, _ in changed("dialogue", before, after)} <= {last}


# Settings.


def test_a_dialogue_format_changes_the_default_settings(
    isaac: RunIsaac, bookings: Path, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text("format: dialogue\nturns: last\n")
    done = isaac(
        "curate", "--force", bookings, "-o", tmp_path / "b", "--recipe", tmp_path / "recipe.yaml"
    )
    assert done.code == 0
    recipe = Run(tmp_path / "b").recipe()
    assert (recipe.reading.group_by, recipe.reading.turns, recipe.clusters) == (
        "act",
        "last",
        "text",
    )
    flags = ("--format", "dialogue", "--turns", "last")
    assert (
        isaac("curate", "--force", bookings, "-o", tmp_path / "b", *flags).code == 0
    )  # the same recipe
    assert Recipe.dialogue(turns="last").reading.turns == "last"
    assert Recipe.dialogue(format="sgd").reading.group_by == "act"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "add --format dialogue, which draws"),
        ((), "or --format messages for plain conversations"),
        (("--format", "dialogue", "--group-by", "dialogue_id"), "needs group_by 'act' (got: dia"),
    ],
)
def test_a_draw_from_outside_an_act_is_refused(
    isaac: RunIsaac, bookings: Path, tmp_path: Path, flags: tuple[str, ...], words: str
) -> None:
    done = isaac("curate", "--force", bookings, "-o", tmp_path / "run", *flags)
    assert done.code == 2
    assert words in done.err


def test_messages_with_acts_can_be_read_as_plain_messages(bookings: Path) -> None:
    corpus = read_corpus(bookings, format="messages", turns="last")
    assert corpus[0].response == BOOKINGS[0]["messages"][-1]["content"]
    with pytest.raises(RecipeError, match=r"see Recipe\.dialogue"):
        read_corpus(bookings, format="dialogue")


# The format.


def test_layouts_are_detected_and_plain_records_stay_plain() -> None:
    (multiwoz,) = numbered({"A": inn(1)})
    turn = {"speaker": "SYSTEM", "utterance": "Hi"}
    message = {"role": "assistant", "content": "Hi"}
    asked = {"role": "user", "content": "Hi"}
    for record, name in (
        (multiwoz, "multiwoz21"),
        ({"services": ["hotel"], "turns": [turn]}, "multiwoz22"),
        ({"services": ["Hotels_1"], "turns": [turn]}, "sgd"),
        (BOOKINGS[0], "dialogue"),
        ({"messages": [asked, message]}, "messages"),
        ({"context": "a", "response": "b", "intent": "c"}, "context_response"),
    ):
        assert detect_format([record]).name == name
    assert detect_format([{"messages": [asked, message]}] * 2 + BOOKINGS[:1]).name == "messages"


@pytest.mark.parametrize("name", TASK_ORIENTED_FORMATS)
def test_a_serialized_format_is_restored(name: str) -> None:
    assert deserialize_format(serialize_format(FORMATS[name])) == FORMATS[name]


def test_a_turns_own_template_restores_its_record() -> None:
    number = {"dialogue_id": "A", **inn(2)}
    number["log"][1]["span_info"].append(["Hotel-Inform", "Name", "Sea View", 90, 91])
    for form, records in (
        (TASK_ORIENTED_FORMATS["dialogue"], BOOKINGS),
        (TASK_ORIENTED_FORMATS["multiwoz21"], [number]),
    ):
        for record in records:
            for turn in form.turns(record):
                text = fill_placeholders(turn.response, turn.values or {})
                assert form.replace(record, turn.index, text) == record


def test_the_group_has_the_acts_and_the_slots_of_the_text() -> None:
    (first, bye) = TASK_ORIENTED_FORMATS["multiwoz21"].turns({"dialogue_id": "A", **inn(0)})
    assert first.response == "[hotel_name] is in the [hotel_area] . Call [hotel_phone] ."
    slots = "hotel-inform-area+hotel-inform-name+hotel-inform-phone"
    assert first.group == f"{slots} | hotel_area hotel_name hotel_phone"
    assert bye.group == "general-bye | "
    assert [message.content for message in bye.prompt][1] == inn(0)["log"][1]["text"]


def test_a_response_with_a_slot_that_the_turn_lacks_is_refused() -> None:
    message = (
        "placeholders for hotel_fax, but its turn has no value for them; available: hotel_name"
    )
    with pytest.raises(CorpusError, match=message):
        fill_placeholders("Fax [hotel_fax] .", {"hotel_name": ["Sea View"]})
    for index in (0, 9):
        with pytest.raises(RowError, match=f"'log' turn {index} is not a system turn"):
            TASK_ORIENTED_FORMATS["multiwoz21"].replace({"dialogue_id": "A", **inn(0)}, index, "Hi")


def test_the_prompt_of_a_turn_has_system_prompts_calls_and_results() -> None:
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "A taxi?"},
        {"role": "assistant", "content": None, "tool_calls": [{}]},
        {"role": "tool", "content": "ok"},
        {"role": "assistant", "content": "Booked.", "act": "taxi-book"},
    ]
    (turn,) = TASK_ORIENTED_FORMATS["dialogue"].turns({"messages": messages})
    assert [message.role for message in turn.prompt] == ["system", "user", "assistant", "tool"]
    assert [message.content for message in turn.prompt] == ["Be kind.", "A taxi?", "", "ok"]


# Values that a turn does not annotate.


def test_a_value_annotated_anywhere_is_a_value_everywhere(isaac: RunIsaac, tmp_path: Path) -> None:
    dialogues = {**CORPUS, "LAST.json": inn(1)}
    dialogues["LAST.json"]["log"][1] |= {"dialog_act": {}, "span_info": []}
    dialogues["LAST.json"]["log"][1]["text"] = "The old mill is nice ."
    source, run = release(tmp_path, dialogues), tmp_path / "run"
    assert isaac("curate", "--force", source, "--format", "multiwoz21", "-o", run).code == 0
    assert "[hotel_name] is nice ." in Run(run).corpus().column("response")
    assert lines(run / "curated.jsonl")[-1]["log"][1]["text"] == "The old mill is nice ."


def test_a_database_has_values_that_no_turn_annotates(isaac: RunIsaac, tmp_path: Path) -> None:
    database = tmp_path / "release" / "db"
    database.mkdir(parents=True)
    (database / "hotel_db.json").write_text(json.dumps([{"name": "gonville lodge"}]))
    plain = {"context": "A room?", "response": "Gonville Lodge is fine.", "act": "hotel-inform"}
    source = write_lines(tmp_path / "in.jsonl", [plain, plain])
    for folder in (database, database.parent):
        run = tmp_path / f"run-{folder.name}"
        flags = ("--format", "dialogue", "--database", folder)
        assert isaac("curate", "--force", source, "-o", run, *flags).code == 0
        assert Run(run).corpus().column("response") == ["[hotel_name] is fine."] * 2
        assert [own(record) for record in lines(run / "curated.jsonl")] == [plain, plain]
    (database / "hotel_db.json").unlink()
    assert isaac("export", run).code == 0
    (row, _) = lines(run / "export" / "sft" / "train.jsonl")
    assert row["completion"][0]["content"] == plain["response"]


def test_a_missing_database_or_one_for_plain_exchanges_is_an_error(
    isaac: RunIsaac, bookings: Path, small: Path, tmp_path: Path
) -> None:
    flags = ("-o", tmp_path / "run", "--database", tmp_path / "none")
    done = isaac("curate", "--force", bookings, "--format", "dialogue", *flags)
    assert done.code == 1
    assert "no <domain>_db.json in" in done.err
    done = isaac("curate", "--force", small, *flags)
    assert done.code == 2
    assert (
        "a database is for task-oriented dialogues; set the format to one of: multiwoz21"
        in done.err
    )


def test_standard_input_needs_a_database(isaac: RunIsaac, tmp_path: Path) -> None:
    done = isaac("curate", "--force", "-", "--format", "sgd", "-o", tmp_path / "run")
    assert done.code == 2
    assert "give the input as a file, or give a database" in done.err


def test_a_stored_corpus_without_the_optional_columns_is_read(tmp_path: Path) -> None:
    corpus = read_corpus(
        write_lines(tmp_path / "in.jsonl", [{"prompt": "a", "response": f"b{i}"} for i in range(9)])
    )
    old_table = pa.concat_tables(corpus.parts(CORPUS_SCHEMA.names[: -len(OPTIONAL_COLUMNS)]))
    pq.write_table(old_table, tmp_path / "old.parquet")
    with pytest.raises(pa.ArrowInvalid):
        ParquetTable(tmp_path / "old.parquet", CORPUS_SCHEMA)
    old = Corpus(ParquetTable(tmp_path / "old.parquet", CORPUS_SCHEMA, OPTIONAL_COLUMNS))
    assert count_turns(old) == TurnCounts()
    assert old.column("values") == [None] * 9
    assert old.take(np.array([5, 2]), ["values", "id"]).to_pylist() == [
        {"values": None, "id": 5},
        {"values": None, "id": 2},
    ]
    assert [written.record["response"] for written in old.source_records()] == corpus.column(
        "response"
    )
