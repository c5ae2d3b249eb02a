"""Turns that are marked as not trained on are no exchanges, and stay in the context."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isaac.corpus.corpus import CORPUS_SCHEMA, OPTIONAL_COLUMNS, Corpus
from isaac.corpus.formats import FORMATS, CorpusTurn
from isaac.corpus.formats.training_marks import is_trained_on
from isaac.corpus.reading import read_corpus
from isaac.corpus.turn_counts import TurnCounts, count_turns
from isaac.recipe import Recipe
from tests.conftest import write_lines

Json = dict[str, Any]


def span(train: bool, begin: int = 0, end: int = 3) -> Json:
    return {"begin_offset": begin, "end_offset": end, "train": train}


NOT_TRAINED: list[Json] = [
    {"weight": 0},
    {"weight": 0.0},
    {"train": False},
    {"training": False},
    {"trainable": False},
    {"loss": False},
    {"weight": 1, "train": False},
    {"train_detail": [span(train=False)]},
    {"training_detail": [span(train=False), span(train=False, begin=4, end=9)]},
]
TRAINED: list[Json] = [
    {},
    {"weight": 1},
    {"weight": 0.5},
    {"weight": None},
    {"train": True, "loss": None},
    {"train": "false"},
    {"train_detail": []},
    {"train_detail": [span(train=False), span(train=True, begin=4, end=9)]},
]


def talk(*marks: Json, number: int = 0) -> Json:
    """A conversation with an assistant message per mark."""
    messages: list[Json] = []
    for turn, mark in enumerate(marks):
        messages.append({"role": "user", "content": f"question {turn} of {number}"})
        messages.append({"role": "assistant", "content": f"answer {turn} of {number}", **mark})
    return {"messages": messages}


def sharegpt(*marks: Json) -> Json:
    turns = []
    for message in talk(*marks)["messages"]:
        role = "human" if message.pop("role") == "user" else "gpt"
        turns.append({"from": role, "value": message.pop("content"), **message})
    return {"conversations": turns}


def read(folder: Path, *records: Json, **options: Any) -> Corpus:
    return read_corpus(write_lines(folder / "in.jsonl", records), Recipe.of(options))


@pytest.mark.parametrize("mark", NOT_TRAINED, ids=json.dumps)
def test_a_marked_message_is_not_trained_on(mark: Json) -> None:
    assert not is_trained_on({"role": "assistant", "content": "abc", **mark})


@pytest.mark.parametrize("mark", TRAINED, ids=json.dumps)
def test_any_other_message_is_trained_on(mark: Json) -> None:
    assert is_trained_on({"role": "assistant", "content": "abc", **mark})


@pytest.mark.parametrize("mark", NOT_TRAINED, ids=json.dumps)
@pytest.mark.parametrize("build", [talk, sharegpt], ids=["messages", "sharegpt"])
def test_a_marked_turn_is_context_but_no_exchange(tmp_path: Path, build: Any, mark: Json) -> None:
    record = build({}, mark, {"weight": 1})
    corpus = read(tmp_path, record)
    assert corpus.column("response") == ["answer 0 of 0", "answer 2 of 0"]
    assert "answer 1 of 0" in corpus[1].context
    assert count_turns(corpus) == TurnCounts(marked=1)
    assert list(corpus.records()) == [(record, [0, 1])]
    changed = corpus.replaced(record, {0: "x", 1: "y"})
    (column,) = changed
    assert changed[column][3] == record[column][3]


def test_the_last_turn_is_the_last_one_that_is_trained_on(tmp_path: Path) -> None:
    corpus = read(tmp_path, talk({}, {}, {"weight": 0}), turns="last")
    assert corpus.column("response") == ["answer 1 of 0"]
    assert count_turns(corpus) == TurnCounts(unread=1, marked=1)


def test_a_mark_on_the_messages_of_users_means_nothing(tmp_path: Path) -> None:
    record = talk({"weight": 1})
    record["messages"][0]["weight"] = 0
    corpus = read(tmp_path, record)
    assert len(corpus) == 1
    assert count_turns(corpus) == TurnCounts()


def test_a_marked_completion_is_no_exchange(tmp_path: Path) -> None:
    prompt, completion = talk({"train": False})["messages"]
    record = {"prompt": [prompt], "completion": [completion]}
    plain = {"prompt": [prompt], "completion": [{"role": "assistant", "content": "b"}]}
    corpus = read(tmp_path, record, plain)
    assert corpus.column("response") == ["b"]


def test_a_marked_turn_of_a_dialogue_is_no_exchange() -> None:
    record = talk({"act": "hotel-inform"}, {"act": "hotel-request", "weight": 0})
    turns: list[CorpusTurn] = FORMATS["dialogue"].turns(record)
    assert [turn.trained for turn in turns] == [True, False]


def test_records_without_a_trained_turn_keep_their_place(tmp_path: Path) -> None:
    marked = [talk({"weight": 0}, {"weight": 0}, number=number) for number in range(4)]
    used = [talk({}, {}, number=number) for number in (7, 8)]
    records = [marked[0], marked[1], used[0], marked[2], used[1], marked[3]]
    corpus = read(tmp_path, *records)
    assert len(corpus) == 4
    assert not corpus.rejected
    assert count_turns(corpus) == TurnCounts(marked=8, untrained_records=4)
    order = []
    for source in corpus.source_records():
        order += [*map(json.loads, source.before), source.record]
        order += map(json.loads, source.after)
    assert order == records


def test_a_limit_does_not_read_on_to_untrained_records(tmp_path: Path) -> None:
    corpus = read(tmp_path, talk({}), talk({"weight": 0}), talk({}), limit=1)
    assert count_turns(corpus) == TurnCounts()
    assert len(corpus) == 1


def test_a_corpus_without_a_trained_turn_is_rejected_with_the_reason(tmp_path: Path) -> None:
    corpus = read(tmp_path, talk({"weight": 0}))
    assert len(corpus) == 0
    assert [row.reason for row in corpus.rejected] == [
        "no assistant turn is trained on: all are marked, such as with weight 0"
    ]


def test_a_new_text_has_no_spans_of_the_old_one(tmp_path: Path) -> None:
    record = talk({"train_detail": [span(train=True), span(train=False, begin=4, end=9)]})
    corpus = read(tmp_path, record)
    assert corpus.replaced(record, {0: "x"})["messages"][1] == {"role": "assistant", "content": "x"}


def test_a_corpus_of_an_earlier_version_counts_nothing() -> None:
    corpus = Corpus.of([("Why?", "So.")])
    assert count_turns(corpus) == TurnCounts()
    assert CORPUS_SCHEMA.names[-len(OPTIONAL_COLUMNS) :] == list(OPTIONAL_COLUMNS)


# Cutting a conversation.

SPEAKERS = ["USER", "SYSTEM"]

CUT: dict[str, tuple[Json, Json]] = {
    "messages": (talk({}, {}, {}), talk({}, {})),
    "sharegpt": (sharegpt({}, {}, {}), sharegpt({}, {})),
    "hh": (
        {"chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d\n\nHuman: e"},
        {"chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d"},
    ),
    "multiwoz21": (
        {
            "dialogue_id": "1",
            "log": [{"text": text, "metadata": {}} for text in "abcdef"],
            "dialog_acts": {"1": {}, "2": {}, "3": {}},
        },
        {
            "dialogue_id": "1",
            "log": [{"text": text, "metadata": {}} for text in "abcd"],
            "dialog_acts": {"1": {}, "2": {}},
        },
    ),
    "sgd": (
        {"dialogue_id": "1", "turns": [{"speaker": s, "utterance": s} for s in SPEAKERS * 3]},
        {"dialogue_id": "1", "turns": [{"speaker": s, "utterance": s} for s in SPEAKERS * 2]},
    ),
    "dialogue": (
        {"context": ["a", "b", "c", "d", "e"], "response": "f", "act": "x"},
        {"context": ["a", "b", "c"], "response": "d"},
    ),
}


@pytest.mark.parametrize("name", CUT)
def test_a_cut_conversation_ends_after_a_response(name: str) -> None:
    record, expected = CUT[name]
    form = FORMATS[name]
    before = json.dumps(record)
    assert form.cut(record, 3) == expected
    assert json.dumps(record) == before
    assert len(form.turns(expected)) == len([t for t in form.turns(record) if t.index <= 3])


def test_a_row_of_a_dialogue_is_cut_in_its_history() -> None:
    history = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "act": "hotel-inform"},
        {"role": "user", "content": "c"},
    ]
    record = {"history": history, "context": "d", "response": "e", "act": "hotel-request"}
    form = FORMATS["dialogue"]
    assert form.cut(record, 1) == {
        "history": history[:1],
        "context": None,
        "response": "b",
        "act": "hotel-inform",
    }
    assert [turn.response for turn in form.turns(form.cut(record, 1))] == ["b"]
    assert form.cut(record, 4) == record


def test_a_turn_of_the_prompt_changes_in_the_rejected_conversation_too(tmp_path: Path) -> None:
    prompt = "\n\nHuman: a\n\nAssistant: {}\n\nHuman: c\n\nAssistant: "
    record = {"chosen": prompt.format("b") + "d", "rejected": prompt.format("b") + "no"}
    changed = read(tmp_path, record).replaced(record, {0: "longer", 1: "x"})
    longer = prompt.format("longer")
    assert changed == {"chosen": longer + "x", "rejected": longer + "no"}
    cut = "\n\nHuman: a\n\nAssistant: b"
    assert FORMATS["hh"].cut(record, 1) == {"chosen": cut, "rejected": cut}
    other = {**record, "rejected": "\n\nHuman: z\n\nAssistant: b\n\nHuman: c\n\nAssistant: no"}
    assert FORMATS["hh"].replace(other, 1, "longer")["rejected"] == other["rejected"]


@pytest.mark.parametrize("name", ["alpaca", "context_response", "prompt_completion"])
def test_a_record_of_one_exchange_cannot_be_cut(name: str) -> None:
    record = {"instruction": "a", "output": "b", "context": "a", "response": "b"}
    assert FORMATS[name].cut(record, 0) == record
