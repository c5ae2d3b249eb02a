"""Columns that belong to a prompt, and the shapes of their contents."""

from __future__ import annotations

from typing import Any

import pytest

from isaac.corpus.formats import RowError, detect_format

Json = dict[str, Any]
TURNS = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "He."}]
ASKED = {"question": "Who?", "answer": "He."}


def prompt_of(record: Json) -> list[tuple[str, str]]:
    """The prompt of a record's only response, in the format that is detected."""
    (turn,) = detect_format([record]).turns(record)
    assert turn.response == "He."
    return [(message.role, message.content) for message in turn.prompt]


@pytest.mark.parametrize("name", ["system", "System_Prompt", "system instruction", "systemPrompt"])
@pytest.mark.parametrize(
    "system", ["Be kind.", [{"text": "Be kind."}], {"parts": [{"text": "Be kind."}]}]
)
@pytest.mark.parametrize("rest", [ASKED, {"messages": TURNS}])
def test_a_system_column_is_read_in_every_shape(name: str, system: Any, rest: Json) -> None:
    assert prompt_of({name: system, **rest}) == [("system", "Be kind."), ("user", "Who?")]


@pytest.mark.parametrize(
    "history",
    [
        [["Hi.", "Hello."]],
        ["Hi.", "Hello."],
        '[["Hi.", "Hello."]]',
        [{"role": "Human", "content": [{"type": "text", "text": "Hi."}]}, ["Hello."]],
        [{"from": "human", "value": "Hi."}, {"from": "gpt", "value": "Hello."}],
        [{"question": "Hi.", "answer": "Hello."}],
        {"role": ["user", "assistant"], "content": ["Hi.", "Hello."]},
    ],
)
@pytest.mark.parametrize("name", ["history", "Chat History", "dialogue_history"])
def test_history_is_read_in_every_shape(name: str, history: Any) -> None:
    prompt = [("user", "Hi."), ("assistant", "Hello."), ("user", "Who?")]
    assert prompt_of({name: history, **ASKED}) == prompt


def test_history_of_unknown_turns_is_named() -> None:
    record = {"history": [{"x": "Hi."}], **ASKED}
    with pytest.raises(RowError, match="'history' turn 0 is not a turn; expected a role and a"):
        detect_format([record]).turns(record)


@pytest.mark.parametrize("name", ["background", "Paragraph", "context"])
@pytest.mark.parametrize(
    "passage",
    [
        "One.\nTwo.",
        ["One.", "", "Two."],
        {"title": "A", "text": "One.\nTwo."},
        [{"text": "One."}, {"text": "Two."}],
        {"contexts": ["One.", "Two."]},
    ],
)
def test_a_passage_is_read_in_every_shape(name: str, passage: Any) -> None:
    assert prompt_of({name: passage, **ASKED}) == [("user", "One.\nTwo.\n\nWho?")]


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        (["He.", "She."], "He.\nShe."),
        ({"label": ["A", "B"], "text": ["He.", "She."]}, "A. He.\nB. She."),
        ({"A": "He.", "B": "She."}, "A. He.\nB. She."),
    ],
)
def test_answers_to_choose_from_belong_to_the_prompt(choices: Any, text: str) -> None:
    assert prompt_of({**ASKED, "choices": choices}) == [("user", f"Who?\n\n{text}")]


@pytest.mark.parametrize("options", [{"temperature": 0.5}, [], None, [{"index": 0}]])
def test_other_options_do_not(options: Any) -> None:
    assert prompt_of({**ASKED, "options": options}) == [("user", "Who?")]


# Contents in parts.


@pytest.mark.parametrize("key", ["text", "value", "content"])
@pytest.mark.parametrize("kind", [{}, {"type": "text"}, {"type": "output_text"}])
def test_a_part_keeps_the_key_of_its_text(key: str, kind: Json) -> None:
    part = {**kind, key: "He."}
    for content in ([part], part, {"parts": [part]}):
        record = {"messages": [TURNS[0], {"role": "assistant", "content": content}]}
        fmt = detect_format([record])
        assert prompt_of(record) == [("user", "Who?")]
        changed = fmt.replace(record, 1, "She.")
        assert str(changed) == str(record).replace("He.", "She.")


def test_a_part_of_another_type_is_no_text() -> None:
    image = {"type": "image", "content": "aGVsbG8="}
    record = {"messages": [{"role": "user", "content": [image, {"text": "Who?"}]}, TURNS[1]]}
    assert prompt_of(record) == [("user", "Who?")]


def test_the_text_of_a_tools_result_in_parts_is_read() -> None:
    result = {"type": "tool_result", "content": [{"type": "text", "text": "7"}]}
    record = {"messages": [TURNS[0], {"role": "user", "content": [result]}, TURNS[1]]}
    (turn,) = detect_format([record]).turns(record)
    assert turn.prompt[-1] == ("tool", "7")
    assert turn.fixed == "result"


@pytest.mark.parametrize("key", ["functionResponse", "toolResult"])
def test_a_part_with_a_tools_result_is_read(key: str) -> None:
    result = [{"text": None, key: {"name": "f", "response": 7}}]
    turns = [{"role": "user", "parts": result}, {"role": "model", "parts": [{"text": "He."}]}]
    (turn,) = detect_format([{"contents": turns}]).turns({"contents": turns})
    assert turn.prompt == (("tool", '{"name": "f", "response": 7}'),)
    assert turn.fixed == "result"


def test_contents_with_parts_are_read() -> None:
    turns = [
        {"role": "user", "parts": [{"text": "Who?"}]},
        {"role": "model", "parts": [{"text": "I look."}, {"functionCall": {"name": "f"}}]},
        {"role": "user", "parts": [{"text": "Well?"}]},
        {"role": "model", "parts": [{"text": "He.", "functionCall": None}]},
    ]
    record = {"systemInstruction": {"parts": [{"text": "Be kind."}]}, "contents": turns}
    roles = [role for role, _ in prompt_of(record)]
    assert roles == ["system", "user", "assistant", "user"]
    changed = detect_format([record]).replace(record, 3, "She.")
    assert changed["contents"][3] == {
        "role": "model",
        "parts": [{"text": "She.", "functionCall": None}],
    }


@pytest.mark.parametrize("calls", ["[ ]", " {}\n", "None"])
def test_no_calls_as_text_are_no_calls(calls: str) -> None:
    assert prompt_of({"messages": [TURNS[0], {**TURNS[1], "tool_calls": calls}]})
