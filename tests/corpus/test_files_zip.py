from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isaac.corpus import files
from isaac.corpus.files import open_members, open_source
from isaac.corpus.formats.task_oriented import is_auxiliary_file
from isaac.corpus.records import ParsedRecord, read_records
from isaac.corpus.sources import find_sources
from isaac.errors import CorpusError

ROW = b'{"prompt": "Why?", "response": "So."}\n'


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def records(path: Path, content: bytes, *, release: bool = False) -> list[ParsedRecord]:
    path.write_bytes(content)
    found: list[ParsedRecord] = []
    for source in find_sources(str(path)):
        with open_source(source) as (stream, _):
            for name, part in open_members(
                source.name, stream, is_auxiliary_file if release else None
            ):
                found += read_records(name, part)
    return found


def refused(path: Path, content: bytes) -> str:
    with pytest.raises(CorpusError) as error:
        records(path, content)
    assert path.name in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_a_zip_with_one_file_is_that_file(tmp_path: Path, method: int) -> None:
    (one,) = records(tmp_path / "in.zip", zipped({"deep/in.jsonl": ROW}, method))
    assert (one.file, one.line, one.raw) == ("in.zip/deep/in.jsonl", 1, ROW.strip())


def test_a_zip_may_contain_any_format_and_other_files_are_skipped(tmp_path: Path) -> None:
    files = {
        "b/two.csv": b"prompt,response\nHow?,Thus.\n",
        "a/one.jsonl.gz": gzip.compress(ROW),
        "read.me": b"no data",
        "__MACOSX/a/._one.jsonl": b"\0\5",
        ".hidden.jsonl": ROW,
        "inner.zip": zipped({"x.jsonl": ROW}),
    }
    found = records(tmp_path / "in.zip", zipped(files))
    assert [one.file for one in found] == ["in.zip/a/one.jsonl.gz", "in.zip/b/two.csv"]
    assert [(one.value or {})["response"] for one in found] == ["So.", "Thus."]


def test_the_digest_is_of_the_zip_and_a_folder_lists_the_zip(tmp_path: Path) -> None:
    content = zipped({"in.jsonl": ROW})
    (tmp_path / "in.ZIP").write_bytes(content)
    (source,) = find_sources(str(tmp_path))
    with open_source(source) as (_, digest):
        assert digest == ("in.ZIP", len(content), hashlib.sha256(content).hexdigest())


def test_a_zip_on_standard_input_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    class Stdin:
        buffer = Pipe(zipped({"in.jsonl": ROW}))

    monkeypatch.setattr(sys, "stdin", Stdin())
    with open_source(find_sources("-")[0]) as (stream, _):
        ((name, part),) = ((name, part.read()) for name, part in open_members("<stdin>", stream))
    assert (name, part) == ("<stdin>/in.jsonl", ROW)


def test_a_release_is_read_without_its_value_lists_acts_and_database(tmp_path: Path) -> None:
    files: dict[str, Any] = {
        "MW/data.json": {"A": {"log": []}},
        "MW/ontology.json": {},
        "MW/valListFile.json": {},
        "MW/system_acts.json": {},
        "MW/dialog_acts.json": {},
        "MW/taxi_db.json": {},
        "MW/db/rows.json": {},
        "MW/train/schema.json": [],
        "MW/train/dialogues_001.json": [{"turns": []}],
    }
    content = zipped({name: json.dumps(value).encode() for name, value in files.items()})
    found = records(tmp_path / "in.zip", content, release=True)
    assert [one.file for one in found] == [
        "in.zip/MW/data.json",
        "in.zip/MW/train/dialogues_001.json",
    ]
    assert found[0].value == {"log": [], "dialogue_id": "A"}
    (only,) = records(tmp_path / "in.zip", zipped({"acts_db.jsonl": ROW}), release=True)
    assert only.value


def test_member_names_that_point_outside_the_folder_write_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    (folder / "work").mkdir(parents=True)
    monkeypatch.chdir(folder / "work")  # so that each of the names leads to below tmp_path
    names = ["../../up.jsonl", str(tmp_path / "at.jsonl"), "C:\\x.jsonl", "a\x1b[2J.jsonl"]
    found = records(folder / "in.zip", zipped(dict.fromkeys(names, ROW)))
    assert len(found) == 4
    assert all("\x1b" not in one.file for one in found)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [folder / "in.zip"]


def test_an_encrypted_file_is_a_clear_error(tmp_path: Path) -> None:
    content = bytearray(zipped({"in.jsonl": ROW}))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    content[6] |= 1
    message = refused(tmp_path / "in.zip", bytes(content))
    assert "in.jsonl is encrypted; unpack it with its password first" in message


def test_a_zip_without_data_is_an_error_that_lists_its_files(tmp_path: Path) -> None:
    assert "found: read.me" in refused(tmp_path / "in.zip", zipped({"read.me": b"x", "d/": b""}))
    assert "found: nothing" in refused(tmp_path / "in.zip", zipped({}))


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MIN_UNPACK_LIMIT_BYTES", 2**16)
    bomb = zipped({f"{n}.jsonl": b" " * 2**20 for n in range(3)})
    assert files.MAX_UNPACK_RATIO * len(bomb) < 3 * 2**20
    message = refused(tmp_path / "in.zip", bomb)
    assert "in.zip would unpack to 3 MiB" in message
    assert message.endswith("unpack it yourself and give the folder")
    assert records(tmp_path / "in.zip", zipped({"in.jsonl": ROW * 1000}))


def test_a_member_that_is_larger_than_declared_is_damaged(tmp_path: Path) -> None:
    content = bytearray(zipped({"in.jsonl": ROW * 100}))
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = struct.pack("<I", 10)
    assert "is cut off or damaged" in refused(tmp_path / "in.zip", bytes(content))


def test_a_truncated_zip_is_a_clear_error(tmp_path: Path) -> None:
    content = zipped({"in.jsonl": ROW * 100})
    for size in (4, 40, len(content) - 30, len(content) - 1):
        assert "is cut off or damaged" in refused(tmp_path / "in.zip", content[:size])


WHOLE = zipped({"a/in.jsonl": ROW * 9, "b.json": b"[" + ROW + b"]"})


@settings(max_examples=200)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=6),
)
def test_any_bytes_are_records_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(WHOLE)
    for place, byte in changes:
        content[place] = byte
    path = tmp_path_factory.mktemp("zip") / "in.zip"
    with suppress(CorpusError):
        assert all(one.value or one.problem for one in records(path, bytes(content)))


# Objects of dialogues.


def read(content: str) -> list[ParsedRecord]:
    return list(read_records("data.json", io.BytesIO(content.encode())))


DATA: dict[str, Any] = {
    "A.json": {"goal": {}, "log": [{"text": "é"}]},
    "B": {"log": [], "dialogue_id": "own"},
    "C": {"goal": {}},
}


@pytest.mark.parametrize("indent", [None, 1])
def test_an_object_of_dialogues_yields_each_with_its_id_and_line(indent: int | None) -> None:
    text = json.dumps(DATA, indent=indent, ensure_ascii=False)
    found = read(f"\ufeff\n{text}\n")
    assert [one.value for one in found] == [
        {**DATA["A.json"], "dialogue_id": "A.json"},
        DATA["B"],
        {"goal": {}, "dialogue_id": "C"},
    ]
    lines = text.split("\n")
    for one, name in zip(found, DATA, strict=True):
        assert f'"{name}": ' in lines[one.line - 2]
        assert json.loads(b"{" + one.raw + b"}") == {name: DATA[name]}


def test_an_unusable_dialogue_is_rejected_alone() -> None:
    many = '{"A": {"log": []},\n"B": {"log": []},\n"C": {},\n"D": 5,\n"A": {"log": []}}'
    problems = [(one.line, one.problem) for one in read(many) if one.problem]
    assert problems == [
        (4, "JSON that is a number, not an object"),
        (5, "the id 'A' appears twice"),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"A": {"log": []},\n"B": {"log": []},\n"C": {"log": []},\n"D": {"log"', "line 4: broken"),
        (
            '{"A": {"log": []},\n"B": {"log": []},\n"C": {"log": []},\n5: 1}',
            "line 4: expected an id and",
        ),
        (
            '{"A": {"log": []},\n"B": {}, "C": {}}\n[]',
            "line 3: there is more after the end of the object",
        ),
        ('{"A": {"log": []},\n"B": {"log": []},\n"C": {"log": []}', "broken JSON"),
    ],
)
def test_a_broken_object_of_dialogues_is_a_clear_error(content: str, words: str) -> None:
    with pytest.raises(CorpusError, match=r"data\.json") as error:
        read(content)
    assert words in str(error.value)


def test_lines_of_objects_stay_lines() -> None:
    found = read('{"meta": {"log": []}, "prompt": "a"}\n{"meta": {}, "prompt": "b"}\n')
    assert [sorted(one.value or {}) for one in found] == [["meta", "prompt"]] * 2
