"""What holds records: objects, archives, compressed and Arrow files, folders of datasets."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import os
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from isaac import CorpusError, read_corpus
from isaac.corpus import files
from isaac.corpus.containers import unpack_container
from isaac.runtime.progress import Progress

ROWS = [{"prompt": f"question {n}", "response": f"answer {n}"} for n in range(3)]
LINES = [json.dumps(row) for row in ROWS]
JSONL = "".join(line + "\n" for line in LINES).encode()


def responses(path: Path) -> list[str]:
    corpus = read_corpus(path)
    assert not corpus.rejected
    return corpus.column("response")


EXPECTED = ["answer 0", "answer 1", "answer 2"]


def columns(orient: str) -> str:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    text: str = pandas.DataFrame(ROWS).to_json(orient=orient)
    return text


@pytest.mark.parametrize("orient", ["columns", "index", "records", "split", "table"])
def test_every_orient_of_pandas_with_names_is_read(tmp_path: Path, orient: str) -> None:
    path = tmp_path / "in.json"
    path.write_text(columns(orient))
    assert responses(path) == EXPECTED


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"version": 1, "data": ROWS}),
        json.dumps({"version": 1, "data": ROWS}, indent=2),
        json.dumps({f"row{n}": row for n, row in enumerate(ROWS)}),
        json.dumps({name: [row[name] for row in ROWS] for name in ROWS[0]}),
        "\n".join(json.dumps(row, indent=1) for row in ROWS),
        "".join(LINES),
        f"{LINES[0]}\n{LINES[1]}{LINES[2]}\n",
        ",\n".join(LINES) + ",\n",
        f"{LINES[0]}\n\ufeff{LINES[1]}\n{LINES[2]}",
    ],
)
def test_objects_are_read_wherever_they_are_unambiguous(tmp_path: Path, text: str) -> None:
    path = tmp_path / "in.json"
    path.write_text(text, encoding="utf-8")
    assert responses(path) == EXPECTED


def test_the_key_of_a_record_becomes_its_id(tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    path.write_text(json.dumps({"a": ROWS[0], "b": {"id": 7, **ROWS[1]}}))
    corpus = read_corpus(path)
    assert [record["id"] for record, _ in corpus.records()] == ["a", 7]
    assert corpus.column("line") == [1, 2]


@pytest.mark.parametrize(
    "value",
    [
        ROWS[0],
        {"messages": [{"role": "user", "content": "a"}]},
        {"prompt": "a", "data": []},
        {"a": {"x": 1}, "b": {"y": 1}},
        {"a": [1, 2], "b": [1]},
    ],
)
def test_a_record_is_not_taken_for_a_container(value: dict[str, Any]) -> None:
    assert unpack_container(value) is None


def test_a_broken_line_does_not_hide_the_others(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(f'{{"prompt": "a", \n{LINES[0]}\n{LINES[1]}\n')
    corpus = read_corpus(path)
    assert corpus.column("response") == EXPECTED[:2]
    assert [row.line for row in corpus.rejected] == [1]


@pytest.mark.parametrize("text", ["sep=;\nprompt;response\na;b\n", ",prompt,response,\n0,a,b,\n"])
def test_what_spreadsheets_add_to_csv_is_no_data(tmp_path: Path, text: str) -> None:
    path = tmp_path / "in.csv"
    path.write_text(text)
    assert responses(path) == ["b"]


# Compressed files, archives and Arrow files.


@pytest.mark.parametrize(("suffix", "pack"), [(".xz", lzma.compress), (".bz2", bz2.compress)])
def test_compressed_files_are_read(tmp_path: Path, suffix: str, pack: Any) -> None:
    path = tmp_path / f"in.jsonl{suffix}"
    path.write_bytes(pack(JSONL))
    assert responses(path) == responses(tmp_path) == EXPECTED


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_tar_archive_is_read_without_its_links_and_side_files(tmp_path: Path, mode: Any) -> None:
    path = tmp_path / f"in.tar{mode[1:].replace(':', '.')}"
    with tarfile.open(path, mode) as archive:
        for name, data in (("data/b.jsonl", JSONL), ("data/state.json", b"{}"), ("a.md", b"#")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("c.jsonl")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    assert responses(path) == responses(tmp_path) == EXPECTED
    assert set(read_corpus(path).column("file")) == {f"{path.name}/data/b.jsonl"}


def test_unpacking_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MIN_UNPACK_LIMIT_BYTES", 1000)
    monkeypatch.setattr(files, "MAX_UNPACK_RATIO", 2)
    path = tmp_path / "in.jsonl.xz"
    path.write_bytes(lzma.compress(JSONL * 2000))
    with pytest.raises(CorpusError, match="unpacks to more than the 0 MiB allowed"):
        read_corpus(path)


@pytest.mark.parametrize("new", [pa.ipc.new_file, pa.ipc.new_stream])
def test_arrow_files_and_streams_are_read(tmp_path: Path, new: Any) -> None:
    table = pa.Table.from_pylist(ROWS)
    with new(tmp_path / "in.arrow", table.schema) as out:
        out.write_table(table)
    assert responses(tmp_path / "in.arrow") == EXPECTED


def test_json_in_a_parquet_file_is_parsed(tmp_path: Path) -> None:
    if not hasattr(pa, "json_"):
        pytest.skip("this pyarrow has no type for JSON")
    parts = [{"type": "text", "text": "question"}]
    texts = [[json.dumps(parts), '"answer"'], [json.dumps("question"), '"answer"']]
    rows = pa.array([{"role": "user", "content": "x"}]).type
    kind = pa.struct({"role": rows.field("role").type, "content": pa.json_(pa.string())})
    messages = [
        [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
        for user, assistant in texts
    ]
    plain = pa.array(messages)
    contents = plain.values.field("content").cast(pa.json_(pa.string()))
    structs = pa.StructArray.from_arrays([plain.values.field("role"), contents], fields=list(kind))
    array = pa.ListArray.from_arrays(plain.offsets, structs)
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"messages": array}), tmp_path / "in.parquet")
    corpus = read_corpus(tmp_path / "in.parquet")
    assert corpus.column("context") == ["question", "question"]
    assert corpus.column("response") == ["answer", "answer"]
    assert next(corpus.records())[0]["messages"][0]["content"] == parts


def test_a_column_that_nobody_asked_for_does_not_refuse_a_file(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    late = pa.array([10**15] * 3, pa.timestamp("s"))
    table = pa.Table.from_pylist(ROWS).append_column("late", late)
    pq.write_table(table, tmp_path / "in.parquet", version="2.6", coerce_timestamps=None)
    assert responses(tmp_path / "in.parquet") == EXPECTED


# Folders.


def test_a_folder_is_read_with_its_links_and_without_side_files(tmp_path: Path) -> None:
    class Notes(Progress):
        said: list[str]

        def notify(self, message: str) -> None:
            self.said.append(message)

    folder, other = tmp_path / "data", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    (other / "more.jsonl").write_bytes(JSONL)
    (folder / "link").symlink_to(other)
    (folder / "loop").symlink_to(folder)
    (folder / "dataset_infos.json").write_text("{}")
    (folder / "README.md").write_text("#")
    os.mkfifo(folder / "pipe.jsonl")
    notes = Notes()
    notes.said = []
    assert len(read_corpus(folder, progress=notes)) == 3
    assert notes.said == ["left out, as no data files: README.md, dataset_infos.json, pipe.jsonl"]
