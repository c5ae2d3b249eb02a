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
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from isaac.corpus.corpus import Corpus, format_context
from isaac.corpus.descriptions import (
    COPY_COLUMNS,
    LABEL_KEYS,
    MIN_COPY_CHARACTERS,
    SCORE_KEYS,
    describes_response,
)
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
from isaac.corpus.formats.context_response import PROMPT_COLUMNS
from isaac.corpus.formats.preferences import ANSWER_LISTS
from isaac.corpus.formats.prompt_columns import HISTORY_COLUMNS, SYSTEM_COLUMNS, TEXT_COLUMNS
from isaac.corpus.formats.reasoning import REASONING_KEYS
from isaac.corpus.formats.roles import fold_name
from isaac.corpus.reading import read_corpus
from isaac.corpus.records import dumps
from isaac.corpus.turn_counts import TurnCounts, count_turns
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


def name_of(case: str) -> str:
    return case.partition(":")[0]


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


# Detecting and choosing a format.


@pytest.mark.parametrize("case", ALL)
def test_a_format_is_detected(case: str) -> None:
    record = ALL[case]("Which tea?", "Green tea.")
    turn = detect_format([{"id": 7, **record}]).turns(record)[-1]
    assert detect_format([record]).name == name_of(case)
    assert turn.response == "Green tea."
    assert "Which tea?" in turn.prompt[-1 if "tools" not in case else 0].content


@pytest.mark.parametrize("case", ALL)
def test_a_format_can_be_chosen_by_name(case: str) -> None:
    record = ALL[case]("Which tea?", "Green tea.")
    form = choose_format([record], name=name_of(case))
    assert form == detect_format([record])


def test_a_chosen_format_wins_over_the_detected_one() -> None:
    record = {"prompt": "a", "completion": "b", "question": "c", "answer": "d"}
    assert detect_format([record]).name == "prompt_completion"
    assert choose_format([record], name="question_answer").turns(record)[0].response == "d"


def test_a_chosen_format_that_fits_nothing_rejects_every_row(tmp_path: Path) -> None:
    corpus = read(tmp_path, {"prompt": "a", "response": "b"}, format="alpaca")
    (rejected,) = corpus.rejected
    assert rejected.reason == "no column 'output'; available columns: prompt, response"


def test_each_record_of_a_mixed_file_has_its_own_format(tmp_path: Path) -> None:
    records = [make("Which tea?", "Green tea.") for make in ALL.values()]
    corpus = read(tmp_path, *records, {"a": 1}, turns="last")
    assert corpus.column("response") == ["Green tea."] * len(ALL)
    (rejected,) = corpus.rejected
    assert rejected.line == len(ALL) + 1
    assert list(corpus.replaced(records[0], {0: "Black."})) == list(records[0])


def test_a_chosen_format_rejects_the_records_of_others(tmp_path: Path) -> None:
    pair = FLAT["prompt_response"]("a", "b")
    corpus = read(tmp_path, FLAT["alpaca"]("a", "b"), pair, format="prompt_response")
    assert [(row.line, row.reason) for row in corpus.rejected] == [
        (1, "no column 'response'; available columns: instruction, output")
    ]
    assert len(corpus) == 1


def test_each_file_of_a_folder_has_its_own_format(tmp_path: Path) -> None:
    for number, (case, make) in enumerate(ALL.items()):
        path = tmp_path / f"{number:02} {case.replace(':', '')}.jsonl"
        path.write_text(json.dumps(make("Which tea?", "Green tea.")))
    corpus = read_corpus(tmp_path, turns="last")
    assert corpus.column("response") == ["Green tea."] * len(ALL)
    assert not corpus.rejected


def test_columns_can_have_any_name(tmp_path: Path) -> None:
    record = {"id": 1, "frage": "Which tea?", "antwort": "Green tea."}
    corpus = read(tmp_path, record, context="frage", response="antwort")
    assert corpus[0][:3] == (0, "Which tea?", "Green tea.")
    assert corpus.replaced(record, {0: "Black."}) == {**record, "antwort": "Black."}


@pytest.mark.parametrize("name", ["prompt_response", "context_response", "question_answer"])
def test_a_format_of_two_columns_can_have_other_column_names(tmp_path: Path, name: str) -> None:
    corpus = read(tmp_path, {"q": "Why?", "a": "So."}, format=name, context="q", response="a")
    assert corpus.replaced({"q": "Why?", "a": "So."}, {0: "No."}) == {"q": "Why?", "a": "No."}


@pytest.mark.parametrize("case", ["messages", "sharegpt", "hh"])
@pytest.mark.parametrize("by_name", [True, False])
def test_a_conversation_can_be_in_any_column(tmp_path: Path, case: str, by_name: bool) -> None:
    (conversation, *_) = ALL[case]("Which tea?", "Green tea.").values()
    record = {"chat": conversation, "prompt": "x", "response": "y"}
    corpus = read(tmp_path, record, response="chat", format=case if by_name else None)
    last = len(corpus) - 1
    assert corpus[last].response == "Green tea."
    assert corpus.replaced(record, {last: "Black."})["chat"] != conversation


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "parrot"}, r"no format 'parrot'; available: preference, .*, messages, .*, hh"),
        ({"context": "prompt"}, r"--context needs --response"),
        (
            {"context": "prompt", "response": "reply"},
            r"no column 'reply'; available columns: prompt, say",
        ),
        ({"context": "ask", "response": "say"}, r"no column 'ask'; available columns: prompt, say"),
        ({"response": "say"}, r"column 'say' contains no conversation; .* with --context"),
        ({"response": "say", "name": "alpaca"}, r"format 'alpaca' needs --context"),
        (
            {"context": "prompt", "response": "say", "name": "messages"},
            r"format 'messages' has only one column; drop --context",
        ),
        (
            {"context": "prompt", "response": "say", "name": "alpaca"},
            r"format 'alpaca' has fixed columns; drop --format",
        ),
        (
            {},
            r"cannot detect the format from the columns: prompt, say. Name two columns with "
            r"--context",
        ),
    ],
)
def test_a_format_that_cannot_be_chosen_is_a_clear_error(settings: Json, words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        choose_format([{"prompt": "a", "say": "b"}], **settings)


def test_the_error_names_the_file_whose_format_cannot_be_detected(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"in\.jsonl: cannot detect the format .*: a, b\."):
        read(tmp_path, {"a": 1, "b": 2})


def test_error_messages_escape_strange_column_names(tmp_path: Path) -> None:
    with pytest.raises(CorpusError) as error:
        read(tmp_path, {"\x1b[2J\ud800": 1, "x" * 1000: 2})
    assert str(error.value).encode().isascii() is False
    assert "\x1b" not in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("case", ALL)
def test_a_serialized_format_reads_back(case: str) -> None:
    form = detect_format([ALL[case]("Which tea?", "Green tea.")])
    assert deserialize_format(serialize_format(form)) == form


def test_a_serialized_format_with_other_columns_reads_back() -> None:
    form = choose_format([{"a": "b", "c": "d"}], name="question_answer", context="a", response="c")
    assert deserialize_format(serialize_format(form)) == form
    assert columns_of(form) == {"context": "a", "response": "c", "whole": False}


# Reading exchanges from records.


def roles(case: str) -> list[str]:
    record = ALL[case]("Which tea?", "Green tea.")
    return [message.role for message in detect_format([record]).turns(record)[-1].prompt]


def test_roles_have_the_same_names_in_all_formats() -> None:
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
def test_an_empty_input_is_ignored(nothing: Any) -> None:
    record = {"instruction": "Why?", "input": nothing, "system": nothing, "output": "So."}
    assert FORMATS["alpaca"].turns(record)[0].prompt == (Message("user", "Why?"),)


def test_the_context_is_every_message_except_system_messages() -> None:
    prompt = (Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", ""))
    assert format_context((*prompt, Message("tool", "12:00"))) == "Hi\n12:00"


def test_a_tool_call_is_never_curated() -> None:
    talk = [user("Time?"), {**assistant("I look."), "tool_calls": CALL}, user("?"), assistant("12")]
    assert [t.response for t in FORMATS["messages"].turns({"messages": talk})] == ["12"]
    assert FORMATS["messages"].turns({"messages": talk})[0].prompt[1].content == "I look."
    assert "no assistant turn with text" in reason("messages", {"messages": talk[:2]})
    answer = {"prompt": talk[:1], "completion": talk[1:2]}
    assert "does not end with an assistant message" in reason("prompt_completion", answer)
    calls = [human("Time?"), {"from": "function_call", "value": "clock()"}]
    assert "no assistant turn with text" in reason("sharegpt", {"conversations": calls})


def test_every_assistant_turn_is_curated_unless_turns_is_last(tmp_path: Path) -> None:
    record = NESTED["messages: turns"]("Which tea?", "Green tea.")
    last = read(tmp_path, record, record, turns="last")
    assert last.column("response") == ["Green tea."] * 2
    assert count_turns(last) == TurnCounts(unread=2)
    corpus = read(tmp_path, record, record)
    assert count_turns(corpus) == TurnCounts()
    assert corpus.column("response") == ["Hello.", "Green tea."] * 2
    assert corpus.column("context") == ["Hi", "Hi\nHello.\nWhich tea?"] * 2
    assert list(corpus.records()) == [(record, [0, 1]), (record, [2, 3])]


def test_a_greeting_before_any_user_turn_is_not_curated() -> None:
    talk = [gpt("Welcome."), gpt("Ask me."), human("Why?"), gpt("So.")]
    assert [t.index for t in FORMATS["sharegpt"].turns({"conversations": talk})] == [3]
    assert "roles: assistant, assistant" in reason("sharegpt", {"conversations": talk[:2]})


@pytest.mark.parametrize(
    ("form", "record", "words"),
    [
        ("messages", {}, "'messages' is not a list of turns, or is empty"),
        ("messages", {"messages": "Hi"}, "'messages' is not a list of turns"),
        ("messages", {"messages": []}, "'messages' is not a list of turns"),
        (
            "messages",
            {"messages": ["Hi"]},
            "'messages' turn 0 is not an object with a role and a text",
        ),
        (
            "messages",
            {"messages": [{"role": "cat"}]},
            "the unknown role 'cat'; say whose it is: --role cat=",
        ),
        ("messages", {"messages": [{"role": ["user"]}]}, "turn 0 has no role; expected system"),
        ("messages", {"messages": [{"role": "user"}]}, "no assistant turn with text"),
        ("messages", {"messages": [user("")]}, "no assistant turn with text"),
        ("messages", {"messages": [user("Hi"), assistant(" \n")]}, "no assistant turn with text"),
        ("messages", {"messages": [{"role": "user", "content": 5}]}, "turn 0 is a number (5)"),
        (
            "messages",
            {"messages": [{"role": "user", "content": [{"text": 5}]}]},
            "a part of 'messages' turn 0 is a number (5)",
        ),
        ("messages", {"messages": [user("Hi"), {"role": "assistant"}]}, "no assistant turn with"),
        ("messages", {"messages": [user("Hi")]}, "no assistant turn with text after a user or"),
        (
            "messages",
            {"messages": [user("Hi")] * (MAX_TURNS + 1)},
            "1,001 turns; the limit is 1,000",
        ),
        ("sharegpt", {"conversations": {}}, "'conversations' is not a list of turns"),
        (
            "sharegpt",
            {"conversations": [3]},
            "turn 0 is not an object with a role and a text",
        ),
        ("sharegpt", {"conversations": [{"from": {}}]}, "turn 0 has no role"),
        ("sharegpt", {"conversations": [{"from": "human"}]}, "no assistant turn with text"),
        ("alpaca", {"instruction": "a"}, "no column 'output'; available columns: instruction"),
        ("alpaca", {"instruction": "a", "output": None}, "'output' is missing"),
        ("alpaca", {"instruction": "a", "input": 3, "output": "b"}, "'input' is a number (3)"),
        ("prompt_response", {"prompt": "a", "response": ""}, "'response' is empty"),
        ("prompt_response", {"prompt": True, "response": "a"}, "'prompt' is true or false (True)"),
        ("prompt_response", {"prompt": 0.5, "response": "a"}, "'prompt' is a number (0.5)"),
        ("prompt_response", {"prompt": ["a"], "response": "a"}, "'prompt' is a list (['a'])"),
        ("prompt_response", {"prompt": {"a": 1}, "response": "a"}, "'prompt' is an object ({'a'"),
        ("prompt_response", {"prompt": b"a", "response": "a"}, "'prompt' is of type bytes (b'a')"),
        ("prompt_response", {"prompt": "a\ud800", "response": "a"}, "half of a surrogate pair"),
        ("prompt_response", {"prompt": "é" * (MAX_CHARACTERS + 1)}, "the limit is 1,000,000"),
        ("prompt_response", {}, "no column 'prompt'; available columns: none"),
        ("prompt_completion", {"prompt": "a"}, "no column 'completion'; available columns: prompt"),
        ("prompt_completion", {"prompt": 3, "completion": [assistant("b")]}, "is a number (3)"),
        ("prompt_completion", {"prompt": [], "completion": [assistant("b")]}, "is an empty list"),
        (
            "prompt_completion",
            {"prompt": [user("a")], "completion": []},
            "'completion' does not end with an assistant message with text",
        ),
        (
            "prompt_completion",
            {"prompt": [user("a")], "completion": [user("b")]},
            "does not end with an",
        ),
        ("prompt_completion", {"prompt": [user("a")], "completion": ["b"]}, "is not an object"),
        ("hh", {"chosen": 3}, "'chosen' is a number (3), not text"),
        ("hh", {"chosen": "Hi"}, "no assistant turn with text after a user or"),
        ("hh", {"chosen": hh("a", "")}, "'chosen' turn 3 is empty"),
        ("hh", {"chosen": hh("", "a")}, "'chosen' turn 2 is empty"),
    ],
)
def test_a_record_that_cannot_be_used_says_why(form: str, record: Json, words: str) -> None:
    assert words in reason(form, record)


@pytest.mark.parametrize("case", ALL)
@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "\x1b[2J\x00", "{{ 7*7 }}", "=1+1"])
def test_markup_scripts_and_control_characters_are_plain_text(
    tmp_path: Path, case: str, text: str
) -> None:
    corpus = read(tmp_path, ALL[case]("Which tea?", text))
    assert corpus.column("response")[-1] == text


# Round trips: a record reads back unchanged, except for a replaced response.

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
ANY_TEXT = st.text(st.characters(exclude_categories=()))
KEYS = ANY_TEXT.filter(lambda name: not describes_response(name, 1))
VALUES = st.recursive(
    SCALARS | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
FORMAT_COLUMNS = {key for make in ALL.values() for key in make("a", "b")}
WORDS = st.text(min_size=1).filter(lambda text: bool(text.strip()))
CELLS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def extras(values: st.SearchStrategy[Any], keys: st.SearchStrategy[str]) -> st.SearchStrategy[Json]:
    return st.dictionaries(keys.filter(is_other_column), values, max_size=4)


KNOWN_COLUMNS = {
    *(COPY_COLUMNS | LABEL_KEYS | SCORE_KEYS | REASONING_KEYS),
    *(*PROMPT_COLUMNS, *TEXT_COLUMNS, *SYSTEM_COLUMNS, *HISTORY_COLUMNS, *ANSWER_LISTS),
}


def is_other_column(name: str) -> bool:
    """Whether a column belongs to no format, and is not about a response."""
    is_known = fold_name(name) in KNOWN_COLUMNS or describes_response(name, 1)
    return name not in FORMAT_COLUMNS and not is_known


@st.composite
def built(draw: st.DrawFn, make: Make, more: Json, texts: st.SearchStrategy[str]) -> Make:
    """Draw a record builder that mixes other columns with those of the format, in random order."""
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


def collect_texts(value: Any) -> str:
    """All texts in a value, one a line."""
    if isinstance(value, dict):
        return "\n".join(map(collect_texts, value.values()))
    if isinstance(value, list):
        return "\n".join(map(collect_texts, value))
    return value if isinstance(value, str) else ""


def check_round_trip(path: Path, makers: list[Make], response: str) -> None:
    """Assert that a corpus yields its original records, and that only the response is replaced."""
    corpus = read_corpus(path)
    assert not corpus.rejected
    records = list(corpus.records())
    assert len(records) == len(makers)
    for (record, ids), make in zip(records, makers, strict=True):
        before = dumps(record)
        original = corpus.column("response")[ids[-1]]
        assert before == dumps(make("", original))
        # A column that repeats a long response is replaced with it.
        is_long = len(original) >= MIN_COPY_CHARACTERS
        assume(not is_long or original not in collect_texts(make("", "")))
        changed = corpus.replaced(record, {ids[-1]: response})
        assert dumps(changed) == dumps(make("", response))
        assert dumps(record) == before


@pytest.mark.parametrize("case", ALL)
@settings(max_examples=30)
@given(data=st.data())
def test_json_is_unchanged_except_for_the_response(
    tmp_path_factory: pytest.TempPathFactory, case: str, data: st.DataObject
) -> None:
    rows = data.draw(st.lists(extras(VALUES, ANY_TEXT), min_size=1, max_size=3))
    makers = [data.draw(built(ALL[case], more, WORDS)) for more in rows]
    records = [make("", data.draw(WORDS)) for make in makers]
    write, suffix = data.draw(st.sampled_from([(lines, ".jsonl"), (array, ".json")]))
    packed = data.draw(st.sampled_from(list(PACKED)))
    path = tmp_path_factory.mktemp("in") / f"in{suffix}{packed}"
    path.write_bytes(PACKED[packed](write(records)))
    check_round_trip(path, makers, data.draw(WORDS))


@pytest.mark.parametrize("case", FLAT)
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@settings(max_examples=30)
@given(data=st.data())
def test_csv_and_tsv_are_unchanged_except_for_the_response(
    tmp_path_factory: pytest.TempPathFactory, case: str, suffix: str, data: st.DataObject
) -> None:
    texts = CELLS.filter(lambda text: bool(text.strip()))
    keys = CELLS.filter(lambda key: not key.startswith("\ufeff"))
    make = data.draw(built(FLAT[case], data.draw(extras(CELLS, keys)), texts))
    records = [make("", text) for text in data.draw(st.lists(texts, min_size=1, max_size=3))]
    packed = data.draw(st.sampled_from(list(PACKED)))
    path = tmp_path_factory.mktemp("in") / f"in{suffix}{packed}"
    path.write_bytes(PACKED[packed](table(records) if suffix == ".csv" else tabs(records)))
    check_round_trip(path, [make] * len(records), data.draw(WORDS))


NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
COLUMNS = st.none() | st.booleans() | st.text() | NUMBERS | st.lists(st.text(min_size=1))


@pytest.mark.parametrize("case", ALL)
@settings(max_examples=30)
@given(data=st.data())
def test_parquet_is_unchanged_except_for_the_response(
    tmp_path_factory: pytest.TempPathFactory, case: str, data: st.DataObject
) -> None:
    make = data.draw(built(ALL[case], data.draw(extras(COLUMNS, st.text())), WORDS))
    records = [make("", text) for text in data.draw(st.lists(WORDS, min_size=1, max_size=3))]
    path = tmp_path_factory.mktemp("in") / "in.parquet"
    path.write_bytes(parquet(records))
    rows = pq.read_table(path).to_pylist()
    corpus = read_corpus(path)
    assert [record for record, _ in corpus.records()] == rows
    last = next(corpus.records())[1][-1]
    changed = corpus.replaced(rows[0], {last: "Other."})
    assert [key for key in changed if changed[key] != rows[0][key]] == [
        key for key in records[0] if make("", "Other.")[key] != records[0][key]
    ]
    assert dumps(corpus.replaced(changed, {last: corpus[last].response})) == dumps(rows[0])


@given(st.lists(WORDS, min_size=2, max_size=5), st.lists(st.text(), min_size=5, max_size=5))
def test_every_turn_can_be_replaced_at_once(
    tmp_path_factory: pytest.TempPathFactory, responses: list[str], others: list[str]
) -> None:
    def record_of(texts: list[str]) -> Json:
        turns = [f"\n\nHuman: Go on.\n\nAssistant: {text}" for text in texts]
        return {"chosen": "".join(turns)}

    record, new = record_of(responses), dict(enumerate(others[: len(responses)]))
    corpus = read(tmp_path_factory.mktemp("in"), record, turns="all")
    assert corpus.column("response") == responses
    assert corpus.replaced(record, new) == record_of(others[: len(responses)])


def test_a_response_that_contains_turn_markup_does_not_split_into_turns(tmp_path: Path) -> None:
    response = "x\n\nHuman: y\n\nAssistant: z"
    record = {"chosen": hh("a", "b")}
    corpus = read(tmp_path, record, turns="all")
    changed = corpus.replaced(record, {0: response, 1: "c"})
    without_blank_lines = "x\nHuman: y\nAssistant: z"
    assert changed["chosen"] == hh("a", "c").replace("Hello.", without_blank_lines)
