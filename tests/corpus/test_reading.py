from __future__ import annotations

import base64
import csv
import io
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isaac.corpus.corpus import CORPUS_SCHEMA, Corpus, Exchange, count_formats
from isaac.corpus.formats.base import MAX_CHARACTERS
from isaac.corpus.reading import DETECTION_RECORDS, digest_inputs, read_corpus
from isaac.corpus.records import dumps
from isaac.corpus.rejected import Rejected
from isaac.errors import CorpusError, RecipeError
from isaac.reading_options import ReadingOptions
from isaac.recipe import Recipe
from isaac.runtime.progress import LineProgress
from tests.conftest import write_lines

Json = dict[str, Any]

PAIR = {"prompt": "Why?", "response": "So."}
TALK = {
    "messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "So."},
    ]
}


def lines(*rows: Any) -> bytes:
    return "".join(dumps(row) + "\n" for row in rows).encode()


def read(folder: Path, content: bytes, name: str = "in.jsonl", **settings: Any) -> Corpus:
    path = folder / name
    path.write_bytes(content)
    return read_corpus(path, Recipe.of(settings))


def reasons(corpus: Corpus) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for row in corpus.rejected]


def raw_of(line: str) -> bytes:
    row = json.loads(line)
    return base64.b64decode(row["raw_base64"]) if "raw_base64" in row else row["raw"].encode()


# The corpus.


def test_exchanges_have_their_file_and_line(tmp_path: Path) -> None:
    corpus = read(tmp_path, lines(PAIR, TALK | PAIR, PAIR))
    assert len(corpus) == 3
    assert corpus[2] == Exchange(2, "Why?", "So.", "in.jsonl", 3)
    assert [corpus[row].id for row in range(3)] == [0, 1, 2]
    with pytest.raises(IndexError):
        corpus[3]
    with pytest.raises(IndexError):
        corpus[-1]


def test_the_table_has_the_schema(tmp_path: Path) -> None:
    for content in (lines(PAIR), b""):
        assert read(tmp_path, content).table.schema == CORPUS_SCHEMA
    assert Corpus.of([]).table.schema == CORPUS_SCHEMA


def test_a_corpus_can_have_one_exchange(tmp_path: Path) -> None:
    corpus = read(tmp_path, lines(PAIR))
    assert list(corpus.records()) == [(PAIR, [0])]
    assert count_formats(corpus) == {"prompt_response": 1}


@pytest.mark.parametrize("content", [b"", b"\n \r\n\n"])
def test_an_empty_file_is_an_empty_corpus(tmp_path: Path, content: bytes) -> None:
    corpus = read(tmp_path, content)
    assert (len(corpus), corpus.rejected, list(corpus.records())) == (0, [], [])
    assert count_formats(corpus) == {}


def test_a_corpus_can_be_built_from_pairs() -> None:
    corpus = Corpus.of([("Why?", "So."), ("How?", "Thus.")], groups=["a", "b"])
    assert corpus[1] == Exchange(1, "How?", "Thus.", "<memory>", 2)
    assert corpus.column("group") == ["a", "b"]
    assert Corpus.of([("Why?", "So.")]).column("group") == [None]
    record = {"context": "Why?", "response": "So."}
    assert next(corpus.records()) == (record, [0])
    assert corpus.replaced(record, {0: "No."}) == {"context": "Why?", "response": "No."}


def test_a_pair_that_cannot_be_used_is_a_clear_error() -> None:
    with pytest.raises(CorpusError, match="pair 2: 'response' is empty"):
        Corpus.of([("Why?", "So."), ("How?", "")])
    with pytest.raises(CorpusError, match="0 groups for 1 exchanges"):
        Corpus.of([("Why?", "So.")], groups=[])


def test_a_group_is_a_column_of_text_or_numbers(tmp_path: Path) -> None:
    groups: list[Any] = ["a", 7, True, 1.5, None, ""]
    corpus = read(tmp_path, lines(*({**PAIR, "g": g} for g in groups), PAIR), group_by="g")
    assert corpus.column("group") == ["a", "7", "True", "1.5"]
    assert reasons(corpus) == [
        (5, "'g' is missing"),
        (6, "'g' is empty"),
        (7, "no column 'g'; available columns: prompt, response"),
    ]


def test_reading_reports_progress(tmp_path: Path) -> None:
    stream = io.StringIO()
    (tmp_path / "in.jsonl").write_bytes(lines(PAIR) * 3)
    read_corpus(tmp_path, progress=LineProgress(stream))
    assert stream.getvalue().startswith("read: 3 (")


# Input sources and limits.


def test_a_hub_data_set_is_a_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = SimpleNamespace(config=SimpleNamespace(data_files=None))
    hub = SimpleNamespace(
        load_dataset=lambda *_, **__: [PAIR, {"prompt": "a"}],
        load_dataset_builder=lambda *_, **__: builder,
    )
    monkeypatch.setitem(sys.modules, "datasets", hub)
    corpus = read_corpus("hf://o/n")
    assert corpus[0] == Exchange(0, "Why?", "So.", "hf://o/n", 1)
    (rejected,) = corpus.rejected
    assert (rejected.line, rejected.raw) == (2, b'{"prompt": "a"}')
    assert digest_inputs("hf://o/n") == corpus.inputs


def test_standard_input_is_a_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(lines(PAIR))))
    assert read_corpus("-")[0].file == "<stdin>"


def test_inputs_are_digests_of_all_files_even_with_a_limit(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(lines(PAIR, PAIR))
    whole, part = read_corpus(tmp_path), read_corpus(tmp_path, limit=1)
    assert [digest.name for digest in whole.inputs] == ["a.jsonl", "b.jsonl"]
    assert whole.inputs == part.inputs == digest_inputs(tmp_path)
    (tmp_path / "b.jsonl").write_bytes(lines(PAIR))
    assert read_corpus(tmp_path).inputs[1] != whole.inputs[1]


@pytest.mark.parametrize("limit", [1, 2, 3, 9])
def test_a_limit_counts_exchanges_across_files(tmp_path: Path, limit: int) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(lines(PAIR, PAIR))
    assert len(read_corpus(tmp_path, limit=limit)) == min(limit, 4)


def test_a_limit_may_fall_between_the_turns_of_a_record(tmp_path: Path) -> None:
    corpus = read(tmp_path, lines(TALK, TALK), turns="all", limit=3)
    assert list(corpus.records()) == [(TALK, [0, 1]), (TALK, [2])]


# Rejected rows.


def test_broken_rows_do_not_hide_the_good_ones_after_them(tmp_path: Path) -> None:
    corpus = read(tmp_path, b"broken\n" * (DETECTION_RECORDS + 50) + lines(PAIR) * 3)
    assert len(corpus) == 3
    assert len(corpus.rejected) == DETECTION_RECORDS + 50


def test_a_file_of_broken_rows_only_is_rejected_row_by_row(tmp_path: Path) -> None:
    corpus = read(tmp_path, b"broken\n" * (DETECTION_RECORDS + 50))
    assert len(corpus) == 0
    assert {row.reason for row in corpus.rejected} == {
        "broken JSON: Expecting value at character 1"
    }
    assert [row.line for row in corpus.rejected] == list(range(1, DETECTION_RECORDS + 51))


def test_a_rejected_row_keeps_its_original_bytes(tmp_path: Path) -> None:
    bad = b'{ "prompt":"Why?",  "response" : 5 }'
    corpus = read(tmp_path, lines(PAIR) + bad + b"\r\n" + lines(PAIR))
    reason = "'response' is a number (5), not text"
    assert corpus.rejected == [Rejected("in.jsonl", 2, reason, bad)]
    corpus = read(tmp_path, b'prompt,response\nWhy?,So.\n"a", \n', name="in.csv")
    assert corpus.rejected == [Rejected("in.csv", 3, "'response' is empty", b'"a", ')]


def test_a_rejected_row_of_parquet_is_kept_as_json(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.Table.from_pylist([PAIR, {"prompt": "日", "response": None}]), path)
    (rejected,) = read_corpus(path).rejected
    assert rejected.raw.decode() == '{"prompt": "日", "response": null}'
    assert (rejected.line, rejected.reason) == (2, "'response' is missing")


def test_half_a_surrogate_pair_is_rejected_only_in_the_response(tmp_path: Path) -> None:
    odd = {**PAIR, "\udc80": ["\ud800", {"a": "\udfff"}]}
    bad = {**PAIR, "response": "\ud83d"}
    corpus = read(tmp_path, lines(PAIR, odd, bad))
    assert [record for record, _ in corpus.records()] == [PAIR, odd]
    assert corpus.replaced(odd, {1: "No."}) == {**odd, "response": "No."}
    (rejected,) = corpus.rejected
    assert "half of a surrogate pair" in rejected.reason
    assert rejected.raw == lines(bad).strip()


def test_a_reason_escapes_the_control_characters_of_the_row(tmp_path: Path) -> None:
    corpus = read(tmp_path, lines(PAIR, {"\x1b[2J": 1, "\ud800": 2, "\u202e": 3}))
    ((_, reason),) = reasons(corpus)
    assert (
        reason == "no column 'prompt'; available columns: ␛[2J, <U+D800>, <RIGHT-TO-LEFT OVERRIDE>"
    )


def test_a_line_of_fifty_megabytes_is_rejected_fast_and_kept(tmp_path: Path) -> None:
    long = lines({**PAIR, "response": "x" * 50_000_000}).strip()
    deep = lines({**PAIR, "response": ["x"] * 5_000_000}).strip()
    noise = b"x" * 50_000_000
    begun = time.process_time()
    corpus = read(tmp_path, b"\n".join([lines(PAIR).strip(), long, deep, noise, lines(PAIR)]))
    assert time.process_time() - begun < 20
    assert len(corpus) == 2
    assert [row.raw for row in corpus.rejected] == [long, deep, noise]
    assert reasons(corpus) == [
        (2, "'response' has 50,000,000 characters; the limit is 1,000,000"),
        (3, "'response' is a list (['x', 'x', 'x', 'x', 'x', 'x', ...]), not text"),
        (4, "broken JSON: Expecting value at character 1"),
    ]


def test_a_text_may_have_the_maximum_length(tmp_path: Path) -> None:
    long = {**PAIR, "response": "日" * MAX_CHARACTERS, "more": "x" * 2 * MAX_CHARACTERS}
    assert list(read(tmp_path, lines(long)).records()) == [(long, [0])]


def test_a_repeated_key_among_many_is_found_fast(tmp_path: Path) -> None:
    keys = ", ".join(f'"{number}": 1' for number in [*range(200_000), 199_999])
    begun = time.process_time()
    corpus = read(tmp_path, f"{{{keys}}}\n".encode())
    assert time.process_time() - begun < 10
    assert reasons(corpus) == [(1, "the key '199999' appears twice in one object")]


def test_a_quote_that_is_never_closed_is_rejected_fast(tmp_path: Path) -> None:
    begun = time.process_time()
    corpus = read(tmp_path, b'prompt,response\n"' + b"a,b\n" * 500_000, name="in.csv")
    assert time.process_time() - begun < 10
    (rejected,) = corpus.rejected
    assert len(rejected.raw) == 2_000_000
    assert "never closed" in rejected.reason


@pytest.mark.slow
def test_300_000_equal_rows_are_read_in_reasonable_time(tmp_path: Path) -> None:
    begun = time.process_time()
    corpus = read(tmp_path, lines(PAIR) * 300_000)
    assert len(corpus) == 300_000
    assert corpus[299_999] == (299_999, "Why?", "So.", "in.jsonl", 300_000)
    assert sum(1 for _ in corpus.records()) == 300_000
    assert time.process_time() - begun < 54


# Every record is read or rejected; none is lost.

JUNK = st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b""))
ALMOST = st.sampled_from([b'{"prompt": "a"}', b'{"prompt": "a", "response": 1}', b"[]", b"{}"])
GOOD = st.builds(
    lambda prompt, response: dumps({"prompt": prompt, "response": response}).encode(),
    st.text(),
    st.text(),
)


def count(corpus: Corpus) -> int:
    """Count the records that were read or rejected."""
    assert [i for _, ids in corpus.records() for i in ids] == list(range(len(corpus)))
    return sum(1 for _ in corpus.records()) + len(corpus.rejected)


@given(st.lists(JUNK | ALMOST | GOOD))
def test_every_line_is_read_or_rejected_with_its_bytes(
    tmp_path_factory: pytest.TempPathFactory, rows: list[bytes]
) -> None:
    content = [lines(PAIR).strip(), *rows]
    corpus = read(tmp_path_factory.mktemp("in"), b"\n".join(content))
    filled = [number for number, row in enumerate(content, start=1) if row.strip()]
    assert count(corpus) == len(filled)
    for rejected in corpus.rejected:
        assert rejected.raw == content[rejected.line - 1].removesuffix(b"\r")
        assert rejected.reason
        assert raw_of(rejected.as_json()) == rejected.raw
    read_lines = {*corpus.column("line"), *(row.line for row in corpus.rejected)}
    assert sorted(read_lines) == filled


@given(
    st.lists(st.dictionaries(st.sampled_from(["prompt", "response"]), st.text()) | st.integers())
)
def test_every_element_of_an_array_is_read_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any]
) -> None:
    folder, content = tmp_path_factory.mktemp("in"), json.dumps([PAIR, *rows], indent=1)
    corpus = read(folder, content.encode(), name="in.json")
    assert count(corpus) == len(rows) + 1
    kept = [record for record, _ in corpus.records()]
    kept += [json.loads(row.raw) for row in corpus.rejected]
    assert sorted(map(dumps, kept)) == sorted(map(dumps, [PAIR, *rows]))


CELLS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.lists(st.lists(CELLS, min_size=1, max_size=4)))
def test_every_row_of_a_csv_file_is_read_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    table = io.StringIO(newline="")
    csv.writer(table, quoting=csv.QUOTE_ALL).writerows([["prompt", "response"], *rows])
    corpus = read(tmp_path_factory.mktemp("in"), table.getvalue().encode(), name="in.csv")
    assert count(corpus) == len(rows)
    used = [(record["prompt"], record["response"]) for record, _ in corpus.records()]
    # empty cells beyond the header are delimiters at the end of the line
    pairs = [tuple(row[:2]) for row in rows if len(row) >= 2 and not any(row[2:])]
    assert used == [pair for pair in pairs if all(cell.strip() for cell in pair)]


@given(st.lists(JUNK | ALMOST | GOOD), st.integers(1, 4))
@example([b"\xef\xbb\xbf"], 1)
@example([b","], 1)
def test_every_turn_of_every_record_has_an_id(
    tmp_path_factory: pytest.TempPathFactory, rows: list[bytes], talks: int
) -> None:
    content = b"\n".join([lines(TALK).strip()] * talks + rows)
    corpus = read(tmp_path_factory.mktemp("in"), content, turns="all", format="messages")
    assert len(corpus) == 2 * talks
    assert count(corpus) == len([row for row in content.split(b"\n") if row.strip()])


@given(st.text(), st.text(), st.binary() | st.text().map(str.encode))
def test_a_rejected_row_is_one_line_from_which_its_bytes_can_be_restored(
    file: str, reason: str, raw: bytes
) -> None:
    line = Rejected(file, 7, reason, raw).as_json()
    assert len(line.encode().split(b"\n")) == 1
    assert raw_of(line) == raw
    row = json.loads(line)
    assert (row["file"], row["line"], row["reason"]) == (file, 7, reason)


def test_bytes_that_are_not_utf_8_are_written_as_base64() -> None:
    assert json.loads(Rejected("f", 1, "r", b"\xff").as_json())["raw_base64"] == "/w=="
    assert json.loads(Rejected("f", 1, "r", "日\0".encode()).as_json())["raw"] == "日\0"


def test_reading_options_can_be_given_by_name(tmp_path: Path) -> None:
    rows = [{"prompt": "hi", "answer": "hello", "topic": "a"}]
    path = write_lines(tmp_path / "in.jsonl", rows)
    options = ReadingOptions(context="prompt", response="answer", group_by="topic")
    expected = read_corpus(path, options)
    assert expected.column("group") == ["a"]
    assert read_corpus(path, Recipe(reading=options)).table == expected.table
    by_name = read_corpus(path, context="prompt", response="answer", group_by="topic")
    assert by_name.table == expected.table
    mixed = read_corpus(path, ReadingOptions(context="prompt", response="answer"), group_by="topic")
    assert mixed.table == expected.table
    with pytest.raises(RecipeError, match="no recipe field 'colum'; available: format, context"):
        read_corpus(path, colum="prompt")
