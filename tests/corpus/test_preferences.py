"""Preference data, and answers in a column beside the turns that they answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isaac import Recipe, curate
from isaac.corpus.formats import (
    RowError,
    choose_format,
    deserialize_format,
    detect_format,
    serialize_format,
)
from isaac.corpus.reading import read_corpus
from isaac.corpus.records import dumps
from isaac.corpus.source_records import SourceRecord
from tests.conftest import write_lines

Json = dict[str, Any]


def turn(role: str, content: str) -> Json:
    return {"role": role, "content": content}


WHO, HE, NO = turn("user", "Who?"), turn("assistant", "He."), turn("assistant", "No.")
EARLIER = [turn("user", "Hi."), turn("assistant", "Hello.")]
ANSWERS = {"response_a": "No.", "response_b": "He."}


def check_only_response(record: Json, earlier: bool = False, **others: Any) -> None:
    """Check what is read of a record, and that only the response and ``others`` are changed."""
    fmt = deserialize_format(serialize_format(detect_format([record])))
    (read,) = fmt.turns(record)
    assert read.response == "He."
    before = ["Hi.", "Hello."] if earlier else []
    assert [message.content for message in read.prompt] == [*before, "Who?"]
    changed = json.dumps(fmt.replace(record, read.index, "She."))
    assert changed == json.dumps({**record, **others}).replace("He.", "She.")
    assert choose_format([record], name=fmt.name) == fmt


@pytest.mark.parametrize(
    "columns",
    [
        ("Chosen", "Rejected"),
        ("chosen_response", "rejected_response"),
        ("accepted", "rejected"),
        ("preferred_output", "non_preferred_output"),
    ],
)
@pytest.mark.parametrize("shape", [lambda t: t["content"], lambda t: t, lambda t: [t]])
@pytest.mark.parametrize("prompt", [{"Prompt": "Who?"}, {"input": {"messages": [WHO]}}])
def test_chosen_and_rejected_have_many_names_and_shapes(
    columns: tuple[str, str], shape: Any, prompt: Json
) -> None:
    check_only_response({**prompt, columns[0]: shape(HE), columns[1]: shape(NO)})


def test_turns_with_another_last_answer_beside_them_are_a_preference() -> None:
    record = {"messages": [*EARLIER, WHO, HE], "rejected_response": "No."}
    check_only_response(record, earlier=True)
    without = {**record, "rejected_response": None}
    assert len(detect_format([without]).turns(without)) == 2


def test_a_preference_may_be_json_in_text() -> None:
    record = {"chosen": json.dumps([WHO, HE]), "rejected": json.dumps([WHO, NO])}
    fmt = detect_format([record])
    assert fmt.turns(record)[0].response == "He."
    changed = fmt.replace(record, 0, "She.")
    assert json.loads(changed["chosen"]) == [WHO, turn("assistant", "She.")]


def test_a_chosen_transcript_is_not_read_as_one_answer() -> None:
    chosen, rejected = ("\n\nHuman: Who?\n\nAssistant: " + text for text in ("He.", "No."))
    check_only_response({"prompt": "Who?", "chosen": chosen, "rejected": rejected})


@pytest.mark.parametrize(
    "better",
    [
        {"preference": "b"},
        {"winner": "model_b"},
        {"chosen": "response_b"},
        {"score_a": 1, "score_b": 2},
        {"response_a_score": "1", "response_b_score": "2"},
        {"winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0},
        {"preference_strength": 2},
    ],
)
def test_a_better_answer_is_known_in_every_notation(better: Json) -> None:
    check_only_response({"prompt": "Who?", **ANSWERS, **better})


@pytest.mark.parametrize(
    "better", [{}, {"winner": "tie"}, {"winner": None}, {"score_a": 1, "score_b": 1}]
)
def test_the_first_one_of_equal_answers_is_curated(better: Json) -> None:
    check_only_response({"prompt": "Who?", "response_a": "He.", "response_b": "No.", **better})


@pytest.mark.parametrize(
    ("first", "second", "value"),
    [("output_1", "output_2", 2), ("Answer_0", "Answer_1", 1.0), ("answer_0", "answer_1", "B")],
)
def test_the_better_one_is_named_by_the_end_of_its_column(
    first: str, second: str, value: Any
) -> None:
    check_only_response({"prompt": "Who?", first: "No.", second: "He.", "preference": value})


def test_an_unknown_choice_is_named() -> None:
    record = {"prompt": "Who?", **ANSWERS, "preference": "gpt-4"}
    with pytest.raises(RowError, match="'preference' is 'gpt-4', but 'response_a' is a and"):
        detect_format([record]).turns(record)


def test_two_conversations_are_two_answers() -> None:
    first, second = [*EARLIER, WHO, NO], [*EARLIER, WHO, HE]
    record = {"conversation_a": first, "conversation_b": second, "winner": "model_b"}
    check_only_response(record, earlier=True)


@pytest.mark.parametrize(
    ("ratings", "after"),
    [
        ({"scores": [1, 5]}, {"scores": [1, None]}),
        ({"ranks": [2, 1]}, {}),
        ({"ratings": ["2.5", "4"]}, {"ratings": ["2.5", None]}),
    ],
)
def test_ratings_may_be_in_a_list_beside_the_answers(ratings: Json, after: Json) -> None:
    check_only_response({"prompt": "Who?", "responses": ["No.", "He."], **ratings}, **after)


# An answer beside the turns.


@pytest.mark.parametrize("answer", ["He.", HE, [HE]])
@pytest.mark.parametrize("names", [("messages", "response"), ("prompt", "completion")])
def test_an_answer_beside_turns_is_curated_and_no_earlier_turn(
    names: tuple[str, str], answer: Any
) -> None:
    check_only_response({names[0]: [*EARLIER, WHO], names[1]: answer}, earlier=True)
    check_only_response({names[0]: [WHO], names[1]: answer})


@pytest.mark.parametrize("names", [("context", "response"), ("history", "Answer")])
def test_turns_may_be_in_other_columns(names: tuple[str, str]) -> None:
    check_only_response({names[0]: [*EARLIER, WHO], names[1]: "He."}, earlier=True)


@pytest.mark.parametrize("prompt", ["Who?", WHO, json.dumps([WHO])])
def test_a_prompt_may_have_another_shape_than_its_completion(prompt: Any) -> None:
    check_only_response({"prompt": prompt, "completion": [HE]})
    check_only_response({"prompt": prompt, "completion": "He."})


@pytest.mark.parametrize("text", ["[1, 2]", '[{"name": "f"}]', "[a] {b}"])
def test_a_text_in_brackets_is_text(text: str) -> None:
    record = {"prompt": text, "completion": "He."}
    assert detect_format([record]).turns(record)[0].prompt == (("user", text),)


def test_a_context_of_several_texts_is_a_dialogue() -> None:
    record = {"context": ["Hi.", "Hello.", "Who?"], "response": "He."}
    check_only_response(record, earlier=True)
    (read,) = detect_format([record]).turns(record)
    assert [message.role for message in read.prompt] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": [turn("boss", "Who?")], "chosen": [HE], "rejected": [NO]},
        {"prompt": [turn("Boss", "Who?")], "completion": "He."},
        {"history": [turn("boss", "Hi.")], "prompt": "Who?", "response": "He."},
        {"history": [turn("boss", "Hi.")], "prompt": "Who?", **ANSWERS},
        {"prompt": [turn("boss", "Who?")], "answers": ["No.", "He."], "scores": [1, 2]},
    ],
)
def test_roles_can_be_mapped_wherever_they_stand(record: Json, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", [record])
    (rejected,) = read_corpus(source).rejected
    assert "--role boss=" in rejected.reason
    assert len(read_corpus(source, role=["boss=user"])) == 1


REREAD: dict[str, Callable[[str, int], dict[str, Any]]] = {
    "scores in answers": lambda text, _: {
        "completions": [
            {"response": "Go away", "overall_score": 1.0},
            {"response": text, "overall_score": 4.0},
        ]
    },
    "scores beside answers": lambda text, _: {
        "responses": ["Go away", "no", text],
        "scores": [1, 2, 3],
    },
    "ids": lambda text, _: {
        "response_0": "Go away",
        "response_1": text,
        "better_response_id": 1,
        "safer_response_id": 0,
        "is_response_0_safe": False,
        "is_response_1_safe": True,
    },
    "numbered scores": lambda text, _: {
        "response_a": "Go away",
        "response_b": text,
        "score_a": 1,
        "score_b": 4,
    },
    "choices from 0 of columns from 1": lambda text, row: {
        "response_1": "Go away" if row % 2 else text,
        "response_2": text if row % 2 else "Go away",
        "preference": row % 2,
    },
}


@pytest.mark.parametrize("shape", REREAD)
def test_a_curated_record_is_read_in_the_same_way_again(
    shape: str, exchanges: list[dict[str, str]]
) -> None:
    rows = [
        {"prompt": one["context"], **REREAD[shape](one["response"], row)}
        for row, one in enumerate(exchanges)
    ]
    curated = curate(rows, Recipe(mode="selective", min_fit=1.0))
    records = list(curated.records())
    drawn = {row: targets[0][1] for row, targets in curated.drawn()}
    replaced = [record for record in records if record["isaac_action"] == "replaced"]
    assert replaced
    again = read_corpus(records).table.column("response").to_pylist()
    assert again == [drawn[record["isaac_id"]] for record in records]
    # what is about the other answer stays
    assert all(r.get("score_a", 1) == 1 for r in replaced)
    assert all(r.get("is_response_0_safe", False) is False for r in replaced)
    assert all(r.get("is_response_1_safe") is None for r in replaced)


def test_what_describes_a_node_of_a_tree_leaves_with_its_text() -> None:
    def reply(text: str, role: str, replies: list[Any], **rest: Any) -> dict[str, Any]:
        return {"text": text, "role": role, "replies": replies, **rest}

    labels = {"quality": {"value": 0.9}}
    answers = [
        reply("worse", "assistant", [], rank=1, labels=labels),
        reply("better", "assistant", [], rank=0, labels=labels),
    ]
    record = {"prompt": reply("why", "prompter", answers)}
    source = SourceRecord(dumps(record), [0], [('{"name": "tree"}', 1)], [None], ["better"])
    new, moved = source.replaced({0: "new"})
    worse, better = new["prompt"]["replies"]
    assert worse == answers[0]
    assert better == {"text": "new", "role": "assistant", "replies": [], "rank": 0}
    assert moved == {"prompt.replies[1].labels": labels}
