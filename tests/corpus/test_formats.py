from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isaac.corpus.corpus import Corpus, format_context
from isaac.corpus.formats import (
    FORMATS,
    Message,
    RowError,
    choose_format,
    deserialize_format,
    detect_format,
    serialize_format,
)
from isaac.corpus.formats.base import MAX_CHARACTERS, MAX_TURNS, Format
from isaac.corpus.reading import read_corpus
from isaac.corpus.records import dumps
from isaac.errors import CorpusError
from isaac.recipe import Recipe

Json = dict[str, Any]
Make = Callable[[str, str], Json]


def user(text: str) -> Json:
    return {"role": "user", "content": text}


def assistant(text: str) -> Json:
    return {"role": "assistant", "content": text}


def human(text: str) -> Json:
    return {"from": "human", "value": text}


def gpt(text: str) -> Json:
    return {"from": "gpt", "value": text}


def in_parts(text: str) -> list[Json]:
    return [{"type": "text", "text": text, "cache": None}]


def hh(context: str, response: str) -> str:
    return f"\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: {context}\n\nAssistant: {response}"


CALL = [{"id": "1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}]

NESTED: dict[str, Make] = {
    "messages": lambda c, r: {"messages": [user(c), assistant(r)]},
    "messages: system": lambda c, r: {
        "messages": [{"role": "system", "content": "Be kind."}, user(c), assistant(r)]
    },
    "messages: developer": lambda c, r: {
        "messages": [{"role": "developer", "content": "Be kind."}, user(c), assistant(r)]
    },
    "messages: empty system": lambda c, r: {
        "messages": [{"role": "system", "content": ""}, user(c), assistant(r)]
    },
    "messages: turns": lambda c, r: {
        "messages": [user("Hi"), assistant("Hello."), user(c), assistant(r), user("Thanks")]
    },
    "messages: tools": lambda c, r: {
        "messages": [
            user(c),
            {"role": "assistant", "content": None, "tool_calls": CALL},
            {"role": "tool", "content": "12:00", "tool_call_id": "1"},
            {**assistant(r), "name": "bot"},
        ],
        "tools": [{"type": "function", "function": {"name": "clock"}}],
    },
    "messages: parts": lambda c, r: {
        "messages": [
            {"role": "user", "content": in_parts(c)},
            {"role": "assistant", "content": in_parts(r)},
        ]
    },
    "messages: conversations": lambda c, r: {"conversations": [user(c), assistant(r)]},
    "messages: conversation": lambda c, r: {"conversation": [user(c), assistant(r)]},
    "sharegpt": lambda c, r: {"conversations": [human(c), gpt(r)]},
    "sharegpt: system": lambda c, r: {
        "system": "Be kind.",
        "conversations": [human("Hi"), gpt("Hello."), human(c), {**gpt(r), "weight": 1}],
    },
    "sharegpt: system turn": lambda c, r: {
        "conversations": [{"from": "system", "value": ""}, human(c), gpt(r)]
    },
    "sharegpt: tools": lambda c, r: {
        "conversations": [
            human(c),
            {"from": "function_call", "value": "clock()"},
            {"from": "observation", "value": "12:00"},
            gpt(r),
        ]
    },
    "sharegpt: conversation": lambda c, r: {"conversation": [human(c), gpt(r)]},
    "prompt_completion: messages": lambda c, r: {
        "prompt": [{"role": "system", "content": "Be kind."}, user(c)],
        "completion": [assistant(r)],
    },
}

FLAT: dict[str, Make] = {
    "prompt_completion": lambda c, r: {"prompt": c, "completion": r},
    "alpaca": lambda c, r: {"instruction": c, "output": r},
    "alpaca: input": lambda c, r: {"instruction": c, "input": "Tea", "output": r, "system": "Hm"},
    "alpaca: no input": lambda c, r: {"instruction": c, "input": "", "output": r},
    "prompt_response": lambda c, r: {"prompt": c, "response": r},
    "context_response": lambda c, r: {"context": c, "response": r},
    "question_answer": lambda c, r: {"question": c, "answer": r},
    "hh": lambda c, r: {"chosen": hh(c, r), "rejected": hh(c, "No.")},
    "hh: text": lambda c, r: {"text": hh(c, r)},
}

ALL = NESTED | FLAT


def name_of(kind: str) -> str:
    return kind.partition(":")[0]


def columns_of(form: Format) -> Json:
    return {
        key: value for key, value in json.loads(serialize_format(form)).items() if key != "name"
    }


def read(folder: Path, *records: Json, **settings: Any) -> Corpus:
    path = folder / "in.jsonl"
    path.write_text("".join(dumps(record) + "\n" for record in records), encoding="utf-8")
    return read_corpus(path, Recipe.of(settings))


def reason(form: str, record: Json) -> str:
    with pytest.raises(RowError) as error:
        FORMATS[form].turns(record)
    return str(error.value)


# Which format it is.


@pytest.mark.parametrize("kind", ALL)
def test_a_format_is_recognised_by_itself(kind: str) -> None:
    record = ALL[kind]("Which tea?", "Green tea.")
    turn = detect_format([{"id": 7, **record}]).turns(record)[-1]
    assert detect_format([record]).name == name_of(kind)
    assert turn.response == "Green tea."
    assert "Which tea?" in turn.prompt[-1 if "tools" not in kind else 0].content


@pytest.mark.parametrize("kind", ALL)
def test_a_format_can_be_forced_by_name(kind: str) -> None:
    record = ALL[kind]("Which tea?", "Green tea.")
    form = choose_format([record], name=name_of(kind))
    assert form == detect_format([record])


def test_a_forced_format_is_taken_even_where_another_fits() -> None:
    record = {"prompt": "a", "completion": "b", "question": "c", "answer": "d"}
    assert detect_format([record]).name == "prompt_completion"
    assert choose_format([record], name="question_answer").turns(record)[0].response == "d"


def test_a_forced_format_that_fits_nothing_rejects_every_row(tmp_path: Path) -> None:
    corpus = read(tmp_path, {"prompt": "a", "response": "b"}, format="alpaca")
    (rejected,) = corpus.rejected
    assert rejected.reason == "no column 'instruction'; there: prompt, response"


def test_the_format_of_most_records_is_taken_and_the_rest_rejected(tmp_path: Path) -> None:
    pairs = [FLAT["prompt_response"]("a", "b")] * 2
    corpus = read(tmp_path, FLAT["alpaca"]("a", "b"), *pairs)
    assert [(row.line, row.reason) for row in corpus.rejected] == [
        (1, "no column 'prompt'; there: instruction, output")
    ]
    assert len(corpus) == 2


def test_each_file_of_a_folder_has_its_own_format(tmp_path: Path) -> None:
    for number, (kind, make) in enumerate(ALL.items()):
        path = tmp_path / f"{number:02} {kind.replace(':', '')}.jsonl"
        path.write_text(json.dumps(make("Which tea?", "Green tea.")))
    corpus = read_corpus(tmp_path)
    assert corpus.column("response") == ["Green tea."] * len(ALL)
    assert not corpus.rejected


def test_columns_can_be_given_by_name(tmp_path: Path) -> None:
    record = {"id": 1, "frage": "Which tea?", "antwort": "Green tea."}
    corpus = read(tmp_path, record, context="frage", response="antwort")
    assert corpus[0][:3] == (0, "Which tea?", "Green tea.")
    assert corpus.replaced(record, {0: "Black."}) == {**record, "antwort": "Black."}


@pytest.mark.parametrize("name", ["prompt_response", "context_response", "question_answer"])
def test_columns_given_by_name_can_have_a_format_of_two_columns(tmp_path: Path, name: str) -> None:
    corpus = read(tmp_path, {"q": "Why?", "a": "So."}, format=name, context="q", response="a")
    assert corpus.replaced({"q": "Why?", "a": "So."}, {0: "No."}) == {"q": "Why?", "a": "No."}


@pytest.mark.parametrize("kind", ["messages", "sharegpt", "hh"])
@pytest.mark.parametrize("forced", [True, False])
def test_a_conversation_can_stand_in_a_column_given_by_name(
    tmp_path: Path, kind: str, forced: bool
) -> None:
    (conversation, *_) = ALL[kind]("Which tea?", "Green tea.").values()
    record = {"chat": conversation, "prompt": "x", "response": "y"}
    corpus = read(tmp_path, record, response="chat", format=kind if forced else None)
    assert corpus[0].response == "Green tea."
    assert corpus.replaced(record, {0: "Black."})["chat"] != conversation


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "parrot"}, r"no format 'parrot'; there: messages, sharegpt, .*, hh"),
        ({"context": "prompt"}, r"--context needs --response"),
        ({"context": "prompt", "response": "reply"}, r"no column 'reply'; there: prompt, say"),
        ({"context": "ask", "response": "say"}, r"no column 'ask'; there: prompt, say"),
        ({"response": "say"}, r"column 'say' holds no conversation; give --context as well"),
        ({"response": "say", "name": "alpaca"}, r"format 'alpaca' needs --context"),
        (
            {"context": "prompt", "response": "say", "name": "messages"},
            r"format 'messages' is one column; give --response only",
        ),
        (
            {"context": "prompt", "response": "say", "name": "alpaca"},
            r"format 'alpaca' has columns of its own; drop --format",
        ),
        ({}, r"cannot tell the format: the columns are prompt, say. Name them with --context"),
    ],
)
def test_a_format_that_cannot_be_had_is_a_clear_error(settings: Json, words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        choose_format([{"prompt": "a", "say": "b"}], **settings)


def test_the_error_names_the_file_whose_format_cannot_be_told(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"in\.jsonl: cannot tell the format: .* are a, b\."):
        read(tmp_path, {"a": 1, "b": 2})


def test_strange_column_names_are_shown_safely(tmp_path: Path) -> None:
    with pytest.raises(CorpusError) as error:
        read(tmp_path, {"\x1b[2J\ud800": 1, "x" * 1000: 2})
    assert str(error.value).encode().isascii() is False
    assert "\x1b" not in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("kind", ALL)
def test_a_format_comes_back_from_its_specification(kind: str) -> None:
    form = detect_format([ALL[kind]("Which tea?", "Green tea.")])
    assert deserialize_format(serialize_format(form)) == form


def test_a_format_of_other_columns_comes_back_from_its_specification() -> None:
    form = choose_format([{"a": "b", "c": "d"}], name="question_answer", context="a", response="c")
    assert deserialize_format(serialize_format(form)) == form
    assert columns_of(form) == {"context": "a", "response": "c"}


# What is read of it.


def roles(kind: str) -> list[str]:
    record = ALL[kind]("Which tea?", "Green tea.")
    return [message.role for message in detect_format([record]).turns(record)[-1].prompt]


def test_roles_are_told_in_one_language() -> None:
    assert roles("messages: developer") == ["system", "user"]
    assert roles("messages: tools") == ["user", "assistant", "tool"]
    assert roles("messages: turns") == ["user", "assistant", "user"]
    assert roles("sharegpt: system") == ["system", "user", "assistant", "user"]
    assert roles("sharegpt: tools") == ["user", "assistant", "tool"]
    assert roles("alpaca: input") == ["system", "user"]
    assert roles("prompt_completion: messages") == ["system", "user"]
    assert roles("hh") == ["user", "assistant", "user"]


def test_the_input_of_alpaca_follows_its_instruction() -> None:
    record = FLAT["alpaca: input"]("Which kind?", "Green.")
    assert FORMATS["alpaca"].turns(record)[0].prompt[-1] == Message("user", "Which kind?\n\nTea")


@pytest.mark.parametrize("nothing", [None, "", " \n", []])
def test_an_input_of_nothing_is_no_input(nothing: Any) -> None:
    record = {"instruction": "Why?", "input": nothing, "system": nothing, "output": "So."}
    assert FORMATS["alpaca"].turns(record)[0].prompt == (Message("user", "Why?"),)


def test_the_context_is_every_turn_but_the_systems() -> None:
    prompt = (Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", ""))
    assert format_context((*prompt, Message("tool", "12:00"))) == "Hi\n12:00"


def test_a_call_of_a_tool_is_never_curated() -> None:
    talk = [user("Time?"), {**assistant("I look."), "tool_calls": CALL}, user("?"), assistant("12")]
    assert [t.response for t in FORMATS["messages"].turns({"messages": talk})] == ["12"]
    assert FORMATS["messages"].turns({"messages": talk})[0].prompt[1].content == "I look."
    assert "no assistant turn with text" in reason("messages", {"messages": talk[:2]})
    answer = {"prompt": talk[:1], "completion": talk[1:2]}
    assert "no assistant turn with text" in reason("prompt_completion", answer)
    calls = [human("Time?"), {"from": "function_call", "value": "clock()"}]
    assert "no assistant turn with text" in reason("sharegpt", {"conversations": calls})


def test_only_the_last_turn_is_curated_unless_all_are_wanted(tmp_path: Path) -> None:
    record = NESTED["messages: turns"]("Which tea?", "Green tea.")
    assert read(tmp_path, record).column("response") == ["Green tea."]
    corpus = read(tmp_path, record, record, turns="all")
    assert corpus.column("response") == ["Hello.", "Green tea."] * 2
    assert corpus.column("context") == ["Hi", "Hi\nHello.\nWhich tea?"] * 2
    assert list(corpus.records()) == [(record, [0, 1]), (record, [2, 3])]


def test_a_greeting_answers_nothing() -> None:
    talk = [gpt("Welcome."), gpt("Ask me."), human("Why?"), gpt("So.")]
    assert [t.index for t in FORMATS["sharegpt"].turns({"conversations": talk})] == [3]
    assert "roles: assistant, assistant" in reason("sharegpt", {"conversations": talk[:2]})


@pytest.mark.parametrize(
    ("form", "record", "words"),
    [
        ("messages", {}, "'messages' is not a list with messages"),
        ("messages", {"messages": "Hi"}, "'messages' is not a list with messages"),
        ("messages", {"messages": []}, "'messages' is not a list with messages"),
        ("messages", {"messages": ["Hi"]}, "'messages' turn 0 has no known role; known: system"),
        ("messages", {"messages": [{"role": "cat"}]}, "turn 0 has no known role"),
        ("messages", {"messages": [{"role": ["user"]}]}, "turn 0 has no known role"),
        ("messages", {"messages": [{"role": "user"}]}, "'messages' turn 0 is missing"),
        ("messages", {"messages": [user("")]}, "'messages' turn 0 is empty"),
        ("messages", {"messages": [user("Hi"), assistant(" \n")]}, "turn 1 is empty"),
        ("messages", {"messages": [{"role": "user", "content": 5}]}, "turn 0 is a number (5)"),
        ("messages", {"messages": [{"role": "user", "content": in_parts("a") * 2}]}, "has 2 parts"),
        ("messages", {"messages": [{"role": "user", "content": ["a"]}]}, "has 1 parts; one part"),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "missing"),
        ("messages", {"messages": [user("Hi")]}, "no assistant turn with text that answers"),
        ("messages", {"messages": [user("Hi")] * (MAX_TURNS + 1)}, "1,001 turns; at most 1,000"),
        ("sharegpt", {"conversations": {}}, "'conversations' is not a list with turns"),
        ("sharegpt", {"conversations": [3]}, "turn 0 has no known sender; known: system, human"),
        ("sharegpt", {"conversations": [{"from": {}}]}, "turn 0 has no known sender"),
        ("sharegpt", {"conversations": [{"from": "human"}]}, "turn 0 is missing"),
        ("alpaca", {"instruction": "a"}, "no column 'output'; there: instruction"),
        ("alpaca", {"instruction": "a", "output": None}, "'output' is missing"),
        ("alpaca", {"instruction": "a", "input": 3, "output": "b"}, "'input' is a number (3)"),
        ("prompt_response", {"prompt": "a", "response": ""}, "'response' is empty"),
        ("prompt_response", {"prompt": True, "response": "a"}, "'prompt' is true or false (True)"),
        ("prompt_response", {"prompt": 0.5, "response": "a"}, "'prompt' is a number (0.5)"),
        ("prompt_response", {"prompt": ["a"], "response": "a"}, "'prompt' is a list (['a'])"),
        ("prompt_response", {"prompt": {"a": 1}, "response": "a"}, "'prompt' is an object ({'a'"),
        ("prompt_response", {"prompt": b"a", "response": "a"}, "'prompt' is of type bytes (b'a')"),
        ("prompt_response", {"prompt": "a\ud800", "response": "a"}, "half of a surrogate pair"),
        ("prompt_response", {"prompt": "é" * (MAX_CHARACTERS + 1)}, "at most 1,000,000 are read"),
        ("prompt_response", {}, "no column 'prompt'; there: no column at all"),
        ("prompt_completion", {"prompt": "a"}, "no column 'completion'; there: prompt"),
        ("prompt_completion", {"prompt": "a", "completion": [assistant("b")]}, "both be messages"),
        ("prompt_completion", {"prompt": [], "completion": [assistant("b")]}, "both be messages"),
        ("prompt_completion", {"prompt": [user("a")], "completion": []}, "has 0 messages; one can"),
        ("prompt_completion", {"prompt": [user("a")], "completion": [user("b")]}, "no assistant"),
        ("prompt_completion", {"prompt": [user("a")], "completion": ["b"]}, "has no known role"),
        ("hh", {"chosen": 3}, "'chosen' is a number (3), not text"),
        ("hh", {"chosen": "Hi"}, "no assistant turn with text that answers"),
        ("hh", {"chosen": hh("a", "")}, "'chosen' turn 3 is empty"),
        ("hh", {"chosen": hh("", "a")}, "'chosen' turn 2 is empty"),
    ],
)
def test_a_record_that_cannot_be_used_says_why(form: str, record: Json, words: str) -> None:
    assert words in reason(form, record)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "\x1b[2J\x00", "{{ 7*7 }}", "=1+1"])
def test_markup_scripts_and_controls_are_just_text(tmp_path: Path, kind: str, text: str) -> None:
    corpus = read(tmp_path, ALL[kind]("Which tea?", text))
    assert corpus.column("response") == [text]


# There and back again.

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
ANY_TEXT = st.text(st.characters(exclude_categories=()))
VALUES = st.recursive(
    SCALARS | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
READ = {key for make in ALL.values() for key in make("a", "b")}
WORDS = st.text(min_size=1).filter(lambda text: bool(text.strip()))
CELLS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def extras(values: st.SearchStrategy[Any], keys: st.SearchStrategy[str]) -> st.SearchStrategy[Json]:
    return st.dictionaries(keys.filter(lambda key: key not in READ), values, max_size=4)


@st.composite
def built(draw: st.DrawFn, make: Make, more: Json, texts: st.SearchStrategy[str]) -> Make:
    """Draw a maker of records that has other columns among those of the format."""
    context = draw(texts.filter(lambda text: bool(text.strip())))
    keys = draw(st.permutations([*make("a", "b"), *more]))

    def whole(response: str) -> Json:
        record = more | make(context, response)
        return {key: record[key] for key in keys}

    return lambda _, response: whole(response)


def lines(records: list[Json]) -> bytes:
    return "".join(dumps(record) + "\n" for record in records).encode()


def array(records: list[Json]) -> bytes:
    return ("[\n" + ",\n".join(map(dumps, records)) + "\n]\n").encode()


def table(records: list[Json], delimiter: str = ",") -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(records[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(records)
    return file.getvalue().encode()


def tabs(records: list[Json]) -> bytes:
    return table(records, "\t")


def parquet(records: list[Json]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), file)
    return file.getvalue()


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


PACKED: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstd}


def check_there_and_back(path: Path, made: list[Make], response: str) -> None:
    """Assert that a corpus gives its records back, and replaces the response alone."""
    corpus = read_corpus(path)
    assert not corpus.rejected
    given_back = list(corpus.records())
    assert len(given_back) == len(made)
    for (record, ids), make in zip(given_back, made, strict=True):
        before = dumps(record)
        assert before == dumps(make("", corpus.column("response")[ids[-1]]))
        changed = corpus.replaced(record, {ids[-1]: response})
        assert dumps(changed) == dumps(make("", response))
        assert dumps(record) == before


@pytest.mark.parametrize("kind", ALL)
@settings(max_examples=30)
@given(data=st.data())
def test_json_comes_back_as_it_was_but_for_the_response(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    rows = data.draw(st.lists(extras(VALUES, ANY_TEXT), min_size=1, max_size=3))
    made = [data.draw(built(ALL[kind], more, WORDS)) for more in rows]
    records = [make("", data.draw(WORDS)) for make in made]
    write, suffix = data.draw(st.sampled_from([(lines, ".jsonl"), (array, ".json")]))
    packed = data.draw(st.sampled_from(list(PACKED)))
    path = tmp_path_factory.mktemp("in") / f"in{suffix}{packed}"
    path.write_bytes(PACKED[packed](write(records)))
    check_there_and_back(path, made, data.draw(WORDS))


@pytest.mark.parametrize("kind", FLAT)
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@settings(max_examples=30)
@given(data=st.data())
def test_tables_of_text_come_back_as_they_were_but_for_the_response(
    tmp_path_factory: pytest.TempPathFactory, kind: str, suffix: str, data: st.DataObject
) -> None:
    texts = CELLS.filter(lambda text: bool(text.strip()))
    keys = CELLS.filter(lambda key: not key.startswith("\ufeff"))
    make = data.draw(built(FLAT[kind], data.draw(extras(CELLS, keys)), texts))
    records = [make("", text) for text in data.draw(st.lists(texts, min_size=1, max_size=3))]
    packed = data.draw(st.sampled_from(list(PACKED)))
    path = tmp_path_factory.mktemp("in") / f"in{suffix}{packed}"
    path.write_bytes(PACKED[packed](table(records) if suffix == ".csv" else tabs(records)))
    check_there_and_back(path, [make] * len(records), data.draw(WORDS))


NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
COLUMNS = st.none() | st.booleans() | st.text() | NUMBERS | st.lists(st.text(min_size=1))


@pytest.mark.parametrize("kind", ALL)
@settings(max_examples=30)
@given(data=st.data())
def test_parquet_comes_back_as_it_was_but_for_the_response(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    make = data.draw(built(ALL[kind], data.draw(extras(COLUMNS, st.text())), WORDS))
    records = [make("", text) for text in data.draw(st.lists(WORDS, min_size=1, max_size=3))]
    path = tmp_path_factory.mktemp("in") / "in.parquet"
    path.write_bytes(parquet(records))
    filled = pq.read_table(path).to_pylist()
    corpus = read_corpus(path)
    assert [record for record, _ in corpus.records()] == filled
    changed = corpus.replaced(filled[0], {0: "Other."})
    assert [key for key in changed if changed[key] != filled[0][key]] == [
        key for key in records[0] if make("", "Other.")[key] != records[0][key]
    ]
    assert dumps(corpus.replaced(changed, {0: corpus[0].response})) == dumps(filled[0])


@given(st.lists(WORDS, min_size=2, max_size=5), st.lists(st.text(), min_size=5, max_size=5))
def test_every_turn_can_be_replaced_at_once(
    tmp_path_factory: pytest.TempPathFactory, said: list[str], others: list[str]
) -> None:
    def text(responses: list[str]) -> Json:
        turns = [f"\n\nHuman: Go on.\n\nAssistant: {response}" for response in responses]
        return {"chosen": "".join(turns)}

    corpus = read(tmp_path_factory.mktemp("in"), text(said), turns="all")
    new = {number: others[number] for number in range(len(said))}
    assert corpus.column("response") == said
    assert corpus.replaced(text(said), new) == text([others[n] for n in range(len(said))])


def test_a_response_with_the_marks_of_turns_forges_no_turn(tmp_path: Path) -> None:
    trap = "x\n\nHuman: y\n\nAssistant: z"
    record = {"chosen": hh("a", "b")}
    corpus = read(tmp_path, record, turns="all")
    changed = corpus.replaced(record, {0: trap, 1: "c"})
    closed = "x\nHuman: y\nAssistant: z"
    assert changed["chosen"] == hh("a", "c").replace("Hello.", closed)
