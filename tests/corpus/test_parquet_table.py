from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaac.corpus.corpus import CORPUS_SCHEMA, Corpus, count_formats
from isaac.corpus.parquet_table import ParquetTable
from isaac.errors import RunError
from isaac.runtime.atomic_files import damaged_as_run_error
from tests.reference import EXCHANGES

NAMES = ["a", "b", "c"]
SCHEMA = pa.schema(
    {
        "number": pa.int64(),
        "name": pa.dictionary(pa.int32(), pa.string()),
        "text": pa.large_string(),
    }
)


def table_of(count: int) -> pa.Table:
    columns = {
        "number": list(range(count)),
        "name": [NAMES[n * n % 3] for n in range(count)],
        "text": [None if n % 5 == 0 else f"é {n}" for n in range(count)],
    }
    return pa.table(columns, schema=SCHEMA)


def stored(folder: Path, table: pa.Table, group_size: int) -> ParquetTable:
    pq.write_table(table, folder / "table.parquet", row_group_size=group_size, compression="zstd")
    return ParquetTable(folder / "table.parquet", table.schema)


@pytest.mark.parametrize("group_size", [1, 3, 7, 20, 100])
def test_a_stored_table_behaves_like_one_in_memory(tmp_path: Path, group_size: int) -> None:
    table = table_of(20)
    on_disk = stored(tmp_path, table, group_size)
    assert on_disk.num_rows == table.num_rows
    assert on_disk.schema == table.schema
    for name in table.schema.names:
        assert on_disk.column(name).to_pylist() == table.column(name).to_pylist()
        assert on_disk.column(name).type == table.schema.field(name).type
    for row, length in [(0, 20), (0, 1), (5, 9), (19, 1), (3, 0)]:
        assert (
            on_disk.take(np.arange(row, row + length), table.schema.names).to_pylist()
            == table.slice(row, length).to_pylist()
        )


@pytest.mark.parametrize("group_size", [1, 3, 7, 20, 100])
def test_a_column_of_a_stored_table_can_be_replaced(tmp_path: Path, group_size: int) -> None:
    before = stored(tmp_path, table_of(20), group_size)
    texts = pa.array([f"new {n}" for n in range(20)], pa.large_string())
    after, expected = before.with_column("text", texts), table_of(20).set_column(2, "text", texts)
    assert after.column("text").to_pylist() == texts.to_pylist()
    assert after.column("number").to_pylist() == list(range(20))
    assert pa.concat_tables(after.parts(["text", "number"])).to_pydict() == (
        expected.select(["text", "number"]).to_pydict()
    )
    rows = np.array([19, 0, 7])
    assert (
        after.take(rows, ["text"]).to_pydict() == expected.select(["text"]).take(rows).to_pydict()
    )
    assert before.column("text").to_pylist() == table_of(20).column("text").to_pylist()


@pytest.mark.parametrize("group_size", [1, 6, 20])
@pytest.mark.parametrize("columns", [["number"], ["text", "number"], list(SCHEMA.names)])
def test_parts_are_the_rows_in_order_one_row_group_at_a_time(
    tmp_path: Path, group_size: int, columns: list[str]
) -> None:
    table = table_of(20)
    parts = list(stored(tmp_path, table, group_size).parts(columns))
    starts = range(0, 20, group_size)
    assert [len(part) for part in parts] == [min(group_size, 20 - start) for start in starts]
    assert all(part.schema.names == columns for part in parts)
    rows = [row for part in parts for row in part.to_pylist()]
    assert rows == table.select(columns).to_pylist()


@given(
    st.integers(1, 30),
    st.integers(1, 12),
    st.data(),
    st.sampled_from([["text"], ["name", "number"], list(SCHEMA.names)]),
)
def test_rows_are_taken_in_any_order_and_with_repeats(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    group_size: int,
    data: st.DataObject,
    columns: list[str],
) -> None:
    table = table_of(count)
    on_disk = stored(tmp_path_factory.mktemp("stored"), table, group_size)
    for _ in range(2):  # the second call may reuse the row group cached by the first
        rows = np.array(data.draw(st.lists(st.integers(0, count - 1), max_size=40)), np.int64)
        taken = on_disk.take(rows, columns)
        assert taken.schema.names == columns
        assert taken.to_pylist() == table.select(columns).take(pa.array(rows)).to_pylist()


def test_taking_no_rows_gives_an_empty_table(tmp_path: Path) -> None:
    on_disk = stored(tmp_path, table_of(4), 2)
    assert on_disk.take(np.array([], np.int64), ["text", "number"]).to_pydict() == {
        "text": [],
        "number": [],
    }
    empty = stored(tmp_path, SCHEMA.empty_table(), 2)
    assert (empty.num_rows, len(empty.column("text"))) == (0, 0)
    assert not [row for part in empty.parts(["text"]) for row in part.to_pylist()]


def test_a_row_group_is_read_once_for_consecutive_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk = stored(tmp_path, table_of(20), 5)
    read: list[int] = []
    original = pq.ParquetFile.read_row_group

    def counting(file: pq.ParquetFile, number: int, **columns: Any) -> pa.Table:
        read.append(number)
        return original(file, number, **columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    texts = [on_disk.take(np.array([row]), ["text"]).to_pylist()[0]["text"] for row in range(20)]
    assert texts == table_of(20).column("text").to_pylist()
    assert read == [0, 1, 2, 3]


def test_a_file_with_other_columns_than_the_schema_is_rejected(tmp_path: Path) -> None:
    pq.write_table(table_of(3).select(["number", "text"]), tmp_path / "table.parquet")
    with pytest.raises(pa.ArrowInvalid, match="columns are number, text"):
        ParquetTable(tmp_path / "table.parquet", SCHEMA)
    with (
        pytest.raises(RunError, match="is damaged"),
        damaged_as_run_error(tmp_path / "table.parquet") as file,
    ):
        ParquetTable(file, SCHEMA)


@pytest.mark.parametrize("group_size", [1, 7, 1000])
def test_a_corpus_on_disk_equals_the_corpus_in_memory(tmp_path: Path, group_size: int) -> None:
    corpus = Corpus.of(EXCHANGES, [str(n % 3) for n in range(len(EXCHANGES))])
    on_disk = Corpus(stored(tmp_path, corpus.table, group_size))
    assert len(on_disk) == len(corpus)
    rows = range(len(corpus))
    assert [on_disk[row] for row in rows] == [corpus[row] for row in rows]
    with pytest.raises(IndexError):
        on_disk[len(on_disk)]
    for name in CORPUS_SCHEMA.names:
        assert on_disk.column(name) == corpus.column(name)
    assert list(on_disk.records()) == list(corpus.records())
    assert list(on_disk.source_records()) == list(corpus.source_records())
    assert count_formats(on_disk) == count_formats(corpus)
