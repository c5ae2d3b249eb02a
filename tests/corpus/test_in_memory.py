from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from isaac import CorpusError, read_corpus
from isaac.corpus.corpus import CORPUS_SCHEMA
from tests.conftest import write_lines

ROWS: list[dict[str, Any]] = [
    {"id": n, "context": f"question {n}", "response": f"answer {n}", "score": n / 2}
    for n in range(5)
]
CHATS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
]


def read_exchanges(data: Any) -> list[tuple[str, str]]:
    corpus = read_corpus(data)
    return list(zip(corpus.column("context"), corpus.column("response"), strict=True))


@pytest.mark.parametrize("rows", [ROWS, CHATS])
def test_data_in_memory_is_read_as_a_file_with_the_same_rows(
    rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    from_file = read_corpus(write_lines(tmp_path / "in.jsonl", rows))
    others: list[Any] = [rows, iter(rows), pa.Table.from_pylist(rows)]
    for data in others:
        corpus = read_corpus(data)
        for name in CORPUS_SCHEMA.names:
            assert name == "file" or corpus.column(name) == from_file.column(name)
        assert corpus[0].file == "<memory>"


def test_a_data_frame_is_read_without_its_index() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(ROWS)
    corpus = read_corpus(frame[frame.id % 2 == 0])
    assert corpus.column("response") == ["answer 0", "answer 2", "answer 4"]
    assert json.loads(corpus.column("record")[1]) == ROWS[2]


def test_a_dataset_is_read_whatever_its_format() -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    dataset = datasets.Dataset.from_list(ROWS)
    assert read_exchanges(dataset) == read_exchanges(ROWS)
    assert read_exchanges(dataset.with_format("numpy")) == read_exchanges(ROWS)


def test_values_without_a_json_type_become_lists_numbers_and_null() -> None:
    row = {**ROWS[0], "vector": np.arange(2), "count": np.int64(3), "share": float("nan")}
    record = json.loads(read_corpus([row]).column("record")[0])
    assert (record["vector"], record["count"], record["share"]) == ([0, 1], 3, None)


def test_options_and_unusable_rows_are_those_of_files() -> None:
    rows = [{"q": "a", "a": "b"}, {"q": "c", "a": ""}, {"q": "d", "a": "e"}]
    corpus = read_corpus(rows, context="q", response="a")
    assert len(corpus) == 2
    assert [(row.line, row.reason) for row in corpus.rejected] == [(2, "'a' is empty")]
    assert len(read_corpus(rows, context="q", response="a", limit=1)) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "cannot read a corpus from int; expected a path, a list of records"),
        ({"context": ["a"]}, "cannot read a corpus from dict"),
        ([("a", "b")], "row 1 is tuple, not a record; expected a mapping"),
        ([ROWS[0], None], "row 2 is NoneType, not a record"),
    ],
)
def test_other_data_is_refused(data: Any, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        read_corpus(data)
