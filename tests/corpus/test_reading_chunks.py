from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaac.corpus import corpus as module
from isaac.corpus import row_tables
from isaac.corpus.corpus import CORPUS_SCHEMA, Corpus
from isaac.corpus.files import InputDigest
from isaac.corpus.formats import FORMATS, serialize_format
from isaac.corpus.parquet_table import ParquetTable
from isaac.corpus.reading import read_chunks, read_corpus
from isaac.corpus.records import dumps
from isaac.corpus.rejected import Rejected, RejectedFile
from isaac.corpus.source_records import SourceRecord
from isaac.reading_options import ReadingOptions
from tests.conftest import write_lines

MIXED: list[dict[str, Any]] = [
    {"context": "hi", "response": "hello " * 5},
    {"context": "hi", "response": 5},
    {"context": "why", "response": "so"},
    {"context": "why " * 20, "response": "because"},
    {"context": "bye", "response": ""},
    {"context": "bye", "response": "see you"},
]


def parts_of(path: Path) -> tuple[list[pa.Table], list[Rejected], list[InputDigest]]:
    rejected: list[Rejected] = []
    inputs: list[InputDigest] = []
    return list(read_chunks(path, ReadingOptions(), rejected, inputs)), rejected, inputs


# chunks


@pytest.mark.parametrize("rows_per_chunk", [1, 2, 3, 100])
@pytest.mark.parametrize("size", [1, 100, 10**6])
def test_the_chunks_together_are_the_corpus(
    tmp_path: Path, rows_per_chunk: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_lines(tmp_path / "in.jsonl", MIXED * 3)
    expected = read_corpus(path)
    monkeypatch.setattr(module, "CHUNK_EXCHANGES", rows_per_chunk)
    monkeypatch.setattr(row_tables, "CHUNK_EXCHANGES", rows_per_chunk)
    monkeypatch.setattr(row_tables, "CHUNK_CHARACTERS", size)
    parts, rejected, inputs = parts_of(path)
    assert max(map(len, parts)) <= rows_per_chunk
    assert all(part.schema == CORPUS_SCHEMA for part in parts)
    rows = [row for part in parts for row in part.to_pylist()]
    assert rows == [row for part in expected.parts(CORPUS_SCHEMA.names) for row in part.to_pylist()]
    assert [row["id"] for row in rows] == list(range(12))
    assert (rejected, inputs) == (list(expected.rejected), expected.inputs)
    again = read_corpus(path)
    assert [again.column(name) for name in CORPUS_SCHEMA.names] == [
        expected.column(name) for name in CORPUS_SCHEMA.names
    ]


def test_a_chunk_ends_once_its_rows_reach_the_size_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["x" * length for length in (10, 10, 500, 1, 1, 1, 900, 900, 1)]
    rows = [{"context": "c", "response": text} for text in texts]
    path = write_lines(tmp_path / "in.jsonl", rows)
    monkeypatch.setattr(row_tables, "CHUNK_CHARACTERS", 1000)
    parts, *_ = parts_of(path)
    assert (
        [part.column("response").to_pylist() for part in parts]
        == [
            texts[:3],  # the size of a row includes its record
            texts[3:7],
            texts[7:8],
            texts[8:],
        ]
    )


def test_the_size_of_a_record_counts_once_for_all_its_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = ("user", "assistant")
    turns = [{"role": role, "content": f"{role} {n}"} for n in range(10) for role in both]
    path = write_lines(tmp_path / "in.jsonl", [{"messages": turns, "note": "x" * 5000}])
    monkeypatch.setattr(row_tables, "CHUNK_CHARACTERS", 5000)
    parts = list(read_chunks(path, ReadingOptions(turns="all"), [], []))
    assert [len(part) for part in parts] == [1, 9]


def test_records_are_complete_for_any_chunk_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def talk(number: int) -> dict[str, Any]:
        roles = enumerate(["user", "assistant"] * (number % 3 + 1))
        return {"messages": [{"role": role, "content": f"{n} {number}"} for n, role in roles]}

    records = [talk(number) for number in range(7)]
    corpus = read_corpus(write_lines(tmp_path / "in.jsonl", records), turns="all")
    expected = list(corpus.source_records())
    assert [source.record for source in expected] == records
    assert [n for source in expected for n in source.ids] == list(range(len(corpus)))
    for chunk_size in (1, 2, 5):
        monkeypatch.setattr(module, "CHUNK_EXCHANGES", chunk_size)
        assert list(corpus.source_records()) == expected
        pq.write_table(corpus.table, tmp_path / "corpus.parquet", row_group_size=chunk_size)
        assert (
            list(Corpus(ParquetTable(tmp_path / "corpus.parquet", CORPUS_SCHEMA)).source_records())
            == expected
        )


def test_a_source_record_is_written_with_responses_replaced() -> None:
    form = FORMATS["hh"]
    record = {
        "chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
        "rejected": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: e",
    }
    turns = form.turns(record)
    positions = [(serialize_format(form), turn.index) for turn in turns]
    source = SourceRecord(dumps(record), [4, 5], positions, [None, None], ["b", "d"])
    assert source.replaced({}) == (record, {})
    extra = {"isaac_id": [4, 5], "isaac_rejected": "é\ud800"}
    assert json.loads(source.as_json({}, extra)) == record | extra
    assert source.as_json({}, {"isaac_id": 4}) == dumps(record | {"isaac_id": 4})
    longer, _ = source.replaced({4: "a longer one", 5: "x", 9: "of another record"})
    assert [turn.response for turn in form.turns(longer)] == ["a longer one", "x"]
    assert record["chosen"].endswith("d")


# rejected rows in a file

REJECTED = st.builds(
    Rejected,
    file=st.text(max_size=5),
    line=st.integers(1, 99),
    reason=st.text(max_size=9),
    raw=st.binary(max_size=9) | st.text(max_size=9).map(str.encode),
)


def rejected_file(folder: Path, rows: list[Rejected]) -> RejectedFile:
    lines = "".join(row.as_json() + "\n" for row in rows)
    (folder / "rejected.jsonl").write_bytes(lines.encode())
    return RejectedFile(folder / "rejected.jsonl")


@given(st.lists(REJECTED, max_size=8), st.integers(0, 9), st.integers(0, 9))
def test_rejected_rows_in_a_file_equal_those_in_memory(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Rejected], start: int, stop: int
) -> None:
    stored = rejected_file(tmp_path_factory.mktemp("rejected"), rows)
    assert len(stored) == len(rows)
    assert bool(stored) == bool(rows)
    assert list(stored) == rows
    assert [stored[index] for index in range(len(rows))] == rows
    assert stored[start:stop] == rows[start:stop]
    assert stored[:stop] == rows[:stop]
    assert stored[start::2] == rows[start::2]
    with pytest.raises(IndexError):
        stored[len(rows)]


def test_rejected_rows_are_read_from_disk_at_each_access(tmp_path: Path) -> None:
    rows = [Rejected("a", line, "broken", b"\xff") for line in (1, 2, 3)]
    stored = rejected_file(tmp_path, rows[:1])
    assert list(stored) == rows[:1]
    rejected_file(tmp_path, rows)
    assert list(stored) == rows
    assert rows[2] in stored
