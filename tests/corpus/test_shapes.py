"""The shapes that conversations, prompts and preferences have in the wild."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isaac import Recipe, RecipeError
from isaac.corpus.formats import CorpusTurn, detect_format
from isaac.corpus.formats.reasoning import without_reasoning
from isaac.corpus.formats.tool_texts import is_tool_call, is_tool_result
from isaac.corpus.reading import read_corpus
from tests.conftest import RunIsaac, write_lines

Json = dict[str, Any]


def read_turn(record: Json) -> CorpusTurn:
    """The only turn of a record, in the format that is detected."""
    (turn,) = detect_format([record]).turns(record)
    return turn


def prompt_of(record: Json) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in read_turn(record).prompt]


def chat(*turns: tuple[Any, Any], column: str = "messages") -> Json:
    return {column: [{"role": role, "content": content} for role, content in turns]}


# The whole prompt.


@pytest.mark.parametrize(
    ("record", "prompt"),
    [
        (
            {"instruction": "Who?", "context": "A tale.", "response": "He.", "category": "qa"},
            [("user", "Who?\n\nA tale.")],
        ),
        ({"instruction": "Who?", "context": "", "response": "He."}, [("user", "Who?")]),
        (
            {"story": "A tale.", "question": "Who?", "answer": "He."},
            [("user", "A tale.\n\nWho?")],
        ),
        ({"instruction": "", "input": "Who?", "output": "He."}, [("user", "Who?")]),
        (
            {"system_prompt": "Be kind.", "question": "Who?", "response": "He."},
            [("system", "Be kind."), ("user", "Who?")],
        ),
        (
            {"system": "Be kind.", **chat(("user", "Who?"), ("assistant", "He."))},
            [("system", "Be kind."), ("user", "Who?")],
        ),
        (
            {"instruction": "Who?", "output": "He.", "history": [["Hi.", "Hello."]]},
            [("user", "Hi."), ("assistant", "Hello."), ("user", "Who?")],
        ),
        (
            {"history": [{"role": "user", "content": "Hi."}], "prompt": "Who?", "response": "He."},
            [("user", "Hi."), ("user", "Who?")],
        ),
        ({"history": "User: Hi.", "query": "Who?", "response": "He."}, None),
        ({"Question": "Who?", "Answer": "He."}, [("user", "Who?")]),
        ({"input": "Who?", "output": "He."}, [("user", "Who?")]),
        ({"prompt": "In full: Who?", "question": "Who?", "answer": "He."}, None),
        ({"context": ["One.", "Two."], "question": "Who?", "answer": "He."}, None),
    ],
)
def test_all_of_the_prompt_is_read(record: Json, prompt: list[tuple[str, str]] | None) -> None:
    assert read_turn(record).response == "He."
    if prompt is not None:
        assert prompt_of(record) == prompt
    fmt = detect_format([record])
    changed = fmt.replace(record, read_turn(record).index, "She.")
    assert read_turn(changed).response == "She."
    assert prompt_of(changed) == prompt_of(record)


def test_a_text_that_the_prompt_contains_is_not_repeated() -> None:
    record = {"prompt": "In full: Who?", "question": "Who?", "answer": "He."}
    assert prompt_of(record) == [("user", "In full: Who?")]


def test_only_the_named_columns_are_read_if_columns_are_named(tmp_path: Path) -> None:
    row = {"context": "A tale.", "question": "Who?", "response": "He."}
    source = write_lines(tmp_path / "in.jsonl", [row])
    named = read_corpus(source, context="question", response="response")
    assert named.column("context") == ["Who?"]
    assert read_corpus(source).column("context") == ["A tale.\n\nWho?"]


# Roles and contents.


@pytest.mark.parametrize(
    ("user", "assistant"),
    [("human", "bot"), ("User", "ASSISTANT"), ("prompter", "assistant"), ("customer", "agent")],
)
@pytest.mark.parametrize("keys", [("role", "content"), ("from", "value"), ("speaker", "text")])
def test_roles_have_one_list_of_names_for_all_formats(
    user: str, assistant: str, keys: tuple[str, str]
) -> None:
    turns = [dict(zip(keys, turn, strict=True)) for turn in [(user, "Hi."), (assistant, "Yes.")]]
    record = {"conversations": turns}
    assert prompt_of(record) == [("user", "Hi.")]
    changed = detect_format([record]).replace(record, 1, "No.")
    assert changed == {"conversations": [turns[0], {**turns[1], keys[1]: "No."}]}


def test_an_unknown_role_is_named_and_can_be_mapped(tmp_path: Path, isaac: RunIsaac) -> None:
    rows = [chat(("user", f"Hi {n}."), ("Claude", "Yes.")) for n in range(3)]
    source = write_lines(tmp_path / "in.jsonl", rows)
    (first, *_) = read_corpus(source).rejected
    assert "turn 1 has the unknown role 'Claude'; say whose it is: --role claude=" in first.reason
    assert len(read_corpus(source, role=["claude=assistant"])) == 3
    done = isaac("curate", source, "--dry-run", "--json", "--role", "claude=assistant")
    assert json.loads(done.out)["exchanges"] == 3
    with pytest.raises(RecipeError, match="'claude=bot' is not NAME=ROLE with a role of system"):
        Recipe.of({"role": ["claude=bot"]})


def test_parts_of_text_are_joined_and_written_back_as_parts() -> None:
    image = {"type": "image"}
    question = [image, {"type": "text", "text": "Who?"}, {"type": "text", "text": "Briefly."}]
    answer = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "He."}, image]
    record = chat(("user", question), ("assistant", answer))
    assert prompt_of(record) == [("user", "Who?\nBriefly.")]
    assert read_turn(record).response == "He."
    changed = detect_format([record]).replace(record, 1, "She.")
    assert changed["messages"][0] == record["messages"][0]
    assert changed["messages"][1]["content"] == [{"type": "text", "text": "She."}, image]


@pytest.mark.parametrize("content", [["He."], {"type": "text", "text": "He."}])
def test_other_contents_keep_their_shape(content: Any) -> None:
    record = chat(("user", "Who?"), ("assistant", content))
    assert read_turn(record).response == "He."
    changed = detect_format([record]).replace(record, 1, "She.")["messages"][1]["content"]
    assert changed == json.loads(json.dumps(content).replace("He.", "She."))


@pytest.mark.parametrize("empty", [None, "", " ", []])
def test_an_empty_turn_is_carried_along(empty: Any) -> None:
    first = chat(("user", "Hi."), ("assistant", empty), ("user", "Who?"), ("assistant", "He."))
    last = chat(("user", "Who?"), ("assistant", "He."), ("user", "And?"), ("assistant", empty))
    for record in (first, last):
        turn = read_turn(record)
        assert turn.response == "He."
        changed = detect_format([record]).replace(record, turn.index, "She.")
        kept = [message for message in record["messages"] if message["content"] != "He."]
        assert [m for m in changed["messages"] if m["content"] != "She."] == kept


@pytest.mark.parametrize("calls", ["[]", "", "null", [], None, {}])
def test_no_calls_are_no_calls(calls: Any) -> None:
    record = chat(("user", "Who?"), ("assistant", "He."))
    record["messages"][1]["tool_calls"] = calls
    assert read_turn(record).response == "He."


# Tools.


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>',
        'I look.\n<tool_call>{"name": "f", "arguments": {}}</tool_call>',
        '[{"name": "f", "arguments": {"a": 1}}]',
        '{"name": "f", "parameters": {}}',
        '{"tool_calls": []}',
        '{"type": "function", "function": {"name": "f", "arguments": "{}"}}',
        '```json\n{"action": "search", "action_input": "tea"}\n```',
        "[f(a=1), g.h(b='x')]",
        "weather(city='Rome')",
        "Thought: I look.\nAction: search\nAction Input: tea",
        '[TOOL_CALLS] [{"name": "f", "arguments": {}}]',
        "<|python_tag|>f.call(a=1)",
        "<function=f>{}</function>",
        'I look.\n{"name": "f", "arguments": {}}',
        'I look.\n```json\n{"name": "f", "arguments": {}}\n```',
        '{"name": "f", "arguments": {}}\n{"name": "g", "arguments": {}}',
        "[f('x')]<|im_end|>",
        "{'name': 'f', 'arguments': {'a': None}}",
        "  **Action:** search\n  **Action Input:** tea",
        "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>",
    ],
)
def test_a_tool_call_is_known_in_every_notation(text: str) -> None:
    assert is_tool_call(text)
    assert read_turn(chat(("user", "Who?"), ("assistant", text))).fixed == "call"


@pytest.mark.parametrize(
    "text",
    [
        "You can call f(x) here.",
        "print('hi')",
        '{"name": "Ada", "age": 36}',
        "[1, 2, 3]",
        "Action: none needed.",
        "Use the <function> key.",
        "Hermes wraps calls in <tool_call> tags, as its card says.",
        "dict(a=1, b=2)",
        '{"name": "Ann", "input": "x"}',
        "Like this:\n[1, 2]",
        "(maybe)",
        "[" * 50 + "]" * 50,
    ],
)
def test_an_answer_with_code_or_json_is_no_call(text: str) -> None:
    assert not is_tool_call(text)
    assert read_turn(chat(("user", "Who?"), ("assistant", text))).fixed == ""


def test_what_follows_a_result_is_fixed_until_the_user_speaks() -> None:
    record = chat(
        ("user", "Price?"),
        ("tool_call", "{}"),
        ("ipython", "5"),
        ("assistant", "It is 5."),
        ("user", "Thanks."),
        ("assistant", "Bye."),
    )
    turns = detect_format([record]).turns(record)
    assert [(turn.response, turn.fixed) for turn in turns] == [("It is 5.", "result"), ("Bye.", "")]
    assert is_tool_result("<tool_response>5</tool_response>")
    hermes = chat(("user", "<tool_response>5</tool_response>"), ("assistant", "It is 5."))
    assert read_turn(hermes).fixed == "result"


@pytest.mark.parametrize("mode", ["resample", "selective", "pairs", "filter"])
def test_calls_and_results_are_neither_replaced_nor_drawn(
    mode: str, tmp_path: Path, isaac: RunIsaac
) -> None:
    plain = [chat(("user", f"How is it, {n}?"), ("assistant", f"Fine, {n}.")) for n in range(40)]
    calls = [
        chat(("user", f"How is it, {n}?"), ("assistant", f'{{"name": "f{n}", "arguments": {{}}}}'))
        for n in range(20)
    ]
    results = [
        chat(("user", f"How is it, {n}?"), ("tool", f"{n}"), ("assistant", f"It is at {n}."))
        for n in range(20)
    ]
    source = write_lines(tmp_path / "in.jsonl", [*plain, *calls, *results])
    flags = ("--mode", mode, "--min-fit", "0", "--budget", "0.8", "--force", "--encoder", "hashing")
    done = isaac("curate", source, "-o", tmp_path / "run", *flags)
    assert done.code == 0, done.err
    assert "20 responses are tool calls as text; kept or dropped" in done.err
    assert "20 responses report a tool's result; kept or dropped" in done.err
    lines = (tmp_path / "run" / "curated.jsonl").read_text(encoding="utf-8").splitlines()
    for record in map(json.loads, lines):
        given = [*plain, *calls, *results][record["isaac_id"]]
        said = record["messages"][-1]["content"]
        if record["isaac_id"] >= 40:
            assert said == given["messages"][-1]["content"]
            assert record.get("isaac_rejected") is None
        else:
            assert said.startswith("Fine")
            assert (record.get("isaac_rejected") or "Fine").startswith("Fine")


# Reasoning.


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>\nHm.\n</think>\n\nHe.", "He."),
        ("Hm, who?\n</think>\nHe.", "He."),
        ("<reasoning>Hm.</reasoning> He.", "He."),
        ("He. <think>Hm.</think>", "He. <think>Hm.</think>"),
        ("2 > 1, so he.", "2 > 1, so he."),
    ],
)
def test_reasoning_before_an_answer_is_not_part_of_it(text: str, answer: str) -> None:
    assert without_reasoning(text) == answer
    record = chat(("user", "Who?"), ("assistant", text))
    assert read_turn(record).response == answer
    assert detect_format([record]).replace(record, 1, "She.")["messages"][1]["content"] == "She."


# Preferences.

HE, NO = {"role": "assistant", "content": "He."}, {"role": "assistant", "content": "No."}
WHO = {"role": "user", "content": "Who?"}
EARLIER = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "Who?", "chosen": "He.", "rejected": "No."},
        {"prompt": [WHO], "chosen": [HE], "rejected": [NO]},
        {"chosen": [WHO, HE], "rejected": [WHO, NO]},
        {"prompt": "Who?", "chosen": [WHO, HE], "rejected": [WHO, NO], "score_chosen": 1.0},
        {"messages": [WHO], "chosen": HE, "rejected": NO},
        {
            "conversations": [{"from": "human", "value": "Who?"}],
            "chosen": {"from": "gpt", "value": "He."},
            "rejected": {"from": "gpt", "value": "No."},
        },
        {"prompt": "Who?", "response_0": "No.", "response_1": "He.", "better_response_id": 1},
        {"history": "Who?", "human_ref_A": "He.", "human_ref_B": "No.", "labels": 1},
        {"prompt": "Who?", "response_a": "No.", "response_b": "He.", "winner": "model_b"},
        {"prompt": "Who?", "answers": [{"answer": "No.", "rank": 2}, {"answer": "He.", "rank": 1}]},
        {
            "instruction": "Who?",
            "completions": [
                {"response": "No.", "overall_score": 2.0},
                {"response": "He.", "overall_score": 8.5},
            ],
        },
    ],
)
def test_the_chosen_answer_of_a_preference_is_curated(record: Json) -> None:
    assert read_turn(record).response == "He."
    assert prompt_of(record) == [("user", "Who?")]
    changed = detect_format([record]).replace(record, read_turn(record).index, "She.")
    assert json.dumps(changed) == json.dumps(record).replace("He.", "She.")


def test_an_earlier_turn_of_a_prompt_is_not_curated() -> None:
    for record in (
        {"messages": [*EARLIER, WHO], "chosen": HE, "rejected": NO},
        {"chosen": [*EARLIER, WHO, HE], "rejected": [*EARLIER, WHO, NO]},
    ):
        assert [message.content for message in read_turn(record).prompt] == [
            "Hi.",
            "Hello.",
            "Who?",
        ]
        assert read_turn(record).response == "He."


# Other layouts of a conversation.

TURNS = [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "He."}]
TREE = {
    "role": "prompter",
    "text": "Who?",
    "replies": [
        {"role": "assistant", "text": "No.", "rank": 1, "replies": []},
        {"role": "assistant", "text": "He.", "rank": 0, "replies": []},
    ],
}
NODES = {
    "r": {"message": None, "parent": None, "children": ["u"]},
    "u": {
        "message": {"author": {"role": "user"}, "content": {"parts": ["Who?"]}},
        "parent": "r",
        "children": ["a"],
    },
    "a": {
        "message": {"author": {"role": "assistant"}, "content": {"parts": ["He."]}},
        "parent": "u",
        "children": [],
    },
}


@pytest.mark.parametrize(
    "record",
    [
        {"conversations": json.dumps(TURNS)},
        {"conversations": {"from": ["human", "gpt"], "value": ["Who?", "He."]}},
        {"turns": {"speaker": [0, 1], "utterance": ["Who?", "He."]}},
        {"turns": [{"speaker": "USER", "text": "Who?"}, {"speaker": "SYSTEM", "text": "He."}]},
        {"text": "### Human: Who?### Assistant: He."},
        {"text": "### Instruction:\nWho?\n\n### Response:\nHe.</s>"},
        {"text": "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\nHe.<|im_end|>\n"},
        {"text": "<s>[INST] Who? [/INST] He. </s>"},
        {
            "text": "<|start_header_id|>user<|end_header_id|>\n\nWho?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nHe.<|eot_id|>"
        },
        {"text": "<start_of_turn>user\nWho?<end_of_turn>\n<start_of_turn>model\nHe.<end_of_turn>"},
        {"text": "<|user|>\nWho?</s>\n<|assistant|>\nHe.</s>"},
        {"text": "USER: Who? ASSISTANT: He.</s>"},
        {"conversation": [{"input": "Who?", "output": "He."}]},
        {"message_tree_id": "0", "prompt": TREE},
        {"title": "t", "mapping": NODES, "current_node": "a"},
    ],
)
def test_other_layouts_of_a_conversation_are_read_and_keep_their_shape(record: Json) -> None:
    assert read_turn(record).response == "He."
    assert prompt_of(record) == [("user", "Who?")]
    fmt, index = detect_format([record]), read_turn(record).index
    changed = fmt.replace(record, index, "She.")
    assert json.dumps(changed) == json.dumps(record).replace("He.", "She.")
    assert read_turn(fmt.cut(record, index)) == read_turn(record)


def test_rows_with_a_turn_each_become_conversations(tmp_path: Path) -> None:
    flat: list[Json] = [
        {"message_id": "0", "parent_id": None, "text": "Who?", "role": "prompter"},
        {"message_id": "1", "parent_id": "0", "text": "No.", "role": "assistant", "rank": 1},
        {"message_id": "2", "parent_id": "0", "text": "He.", "role": "assistant", "rank": 0},
    ]
    numbered = [
        {"dialogue_id": 1, "turn_id": 1, "speaker": "bot", "text": "He."},
        {"dialogue_id": 2, "turn_id": 0, "speaker": "user", "text": "And?"},
        {"dialogue_id": 1, "turn_id": 0, "speaker": "user", "text": "Who?"},
        {"dialogue_id": 2, "turn_id": 1, "speaker": "bot", "text": "She."},
    ]
    corpus = read_corpus(write_lines(tmp_path / "flat.jsonl", flat))
    assert (corpus[0].context, corpus[0].response) == ("Who?", "He.")
    corpus = read_corpus(write_lines(tmp_path / "numbered.jsonl", numbered))
    pairs = list(zip(corpus.column("context"), corpus.column("response"), strict=True))
    assert pairs == [("Who?", "He."), ("And?", "She.")]
    record = corpus.replaced(next(corpus.records())[0], {0: "They."})
    assert record["messages"][1] == {
        "role": "bot",
        "content": "They.",
        "dialogue_id": 1,
        "turn_id": 1,
    }


def test_a_conversation_of_another_layout_is_cut_after_a_turn() -> None:
    text = "### Human: A### Assistant: B### Human: C### Assistant: D"
    for record in (
        {"text": text},
        {"conversation": [{"input": "A", "output": "B"}, {"input": "C", "output": "D"}]},
        {"conversations": json.dumps(TURNS * 2)},
    ):
        fmt = detect_format([record])
        first, last = fmt.turns(record)
        (only,) = fmt.turns(fmt.cut(record, first.index))
        assert (only.response, only.prompt) == (first.response, first.prompt)
        assert fmt.cut(record, last.index) == record


def test_markup_in_a_new_response_does_not_split_a_transcript() -> None:
    text = "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\nHe.<|im_end|>\n"
    record = {"text": text}
    changed = detect_format([record]).replace(record, 1, "He.<|im_end|>\n<|im_start|>user\nMore")
    assert read_turn(changed).response == "He.< |im_end|>\n< |im_start|>user\nMore"


# What describes the old response.


def test_what_describes_an_old_response_is_moved(
    tmp_path: Path, isaac: RunIsaac, exchanges: list[dict[str, str]]
) -> None:
    rows: list[Json] = []
    for number, row in enumerate(exchanges):
        answer = {"role": "assistant", "content": row["response"]}
        rows.append(
            {
                "messages": [
                    {"role": "user", "content": row["context"]},
                    {**answer, "reasoning_content": "Hm."},
                ],
                "chosen": [answer],
                "text": f"<user>{row['context']}<bot>{row['response']}",
                "label": number % 2 == 0,
                "score": 0.5,
                "metadata": {"judge_score": 3, "source": "web"},
                "topic": "life",
            }
        )
    source = write_lines(tmp_path / "in.jsonl", rows)
    flags = ("--format", "messages", "--mode", "selective", "--min-fit", "1")
    done = isaac("curate", source, "-o", tmp_path / "run", *flags)
    assert done.code == 0, done.err
    lines = (tmp_path / "run" / "curated.jsonl").read_text(encoding="utf-8").splitlines()
    records = list(map(json.loads, lines))
    replaced = [record for record in records if record["isaac_action"] == "replaced"]
    assert replaced
    told = f"moved to isaac_original, as JSON: judge_score of {len(replaced)}, label of"
    assert told in done.err
    for record in records:
        row = rows[record["isaac_id"]]
        if record["isaac_action"] == "kept":
            assert record == {**row, **{k: v for k, v in record.items() if k not in row}}
            assert record["isaac_original"] == ""
            continue
        new = record["messages"][1]["content"]
        assert record["messages"][1] == {"role": "assistant", "content": new}
        assert record["chosen"] == [{"role": "assistant", "content": new}]
        assert record["text"].endswith(f"<bot>{new}")
        assert (record["label"], record["score"], record["topic"]) == (None, None, "life")
        assert record["metadata"] == {"judge_score": None, "source": "web"}
        moved = {"label": row["label"], "score": 0.5, "messages[1].reasoning_content": "Hm."}
        moved["metadata.judge_score"] = 3
        assert json.loads(record["isaac_original"]) == moved


@pytest.mark.parametrize(
    "record",
    [
        {
            "prompt": {
                "text": "why",
                "role": "kunde",
                "replies": [{"text": "so", "role": "berater", "replies": []}],
            }
        },
        {
            "current_node": "b",
            "mapping": {
                "a": {
                    "message": {"author": {"role": "kunde"}, "content": {"parts": ["why"]}},
                    "children": ["b"],
                },
                "b": {
                    "message": {"author": {"role": "berater"}, "content": {"parts": ["so"]}},
                    "parent": "a",
                },
            },
        },
    ],
    ids=["tree", "chat export"],
)
def test_further_names_of_roles_reach_trees_and_exports(record: dict[str, Any]) -> None:
    corpus = read_corpus([record], role=("kunde=user", "berater=assistant"))
    assert (corpus[0].context, corpus[0].response) == ("why", "so")
