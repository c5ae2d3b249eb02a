from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isaac import CorpusError, MissingExtraError, Recipe, RunError, curate_to, read_corpus
from isaac.corpus.corpus import CORPUS_SCHEMA
from isaac.runtime.remote import Mirror, is_url, resolve_url
from tests.conftest import write_lines

fsspec = pytest.importorskip("fsspec", reason="the extra 'remote' is not installed")

ROWS = [{"context": f"question {n % 7}", "response": f"answer {n % 5} it is"} for n in range(60)]
RECIPE = Recipe(context_encoder="hashing", response_encoder="hashing")


@pytest.fixture
def place() -> Iterator[str]:
    """Yield a folder in the memory of this process."""
    yield "memory://isaac-tests"
    system, path = resolve_url("memory://isaac-tests")
    if system.exists(path):
        system.rm(path, recursive=True)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("s3://bucket/rows.jsonl", True),
        ("file:///rows.jsonl", True),
        ("hf://owner/name", False),
        ("rows.jsonl", False),
        ("C:\\rows.jsonl", False),
        (Path("a") / "b", False),
    ],
)
def test_a_url_is_told_from_a_path(name: str | Path, told: bool) -> None:
    assert is_url(name) == told


def test_what_lies_behind_a_url_is_read_like_a_file(tmp_path: Path) -> None:
    write_lines(tmp_path / "a" / "rows.jsonl", ROWS[:40])
    write_lines(tmp_path / "b" / "more.jsonl", ROWS[40:])
    (tmp_path / "b" / "notes.txt").write_text("no data")
    for name in ("", "a/rows.jsonl", "*/*.jsonl"):
        here = read_corpus(f"{tmp_path}/{name}")
        there = read_corpus(f"file://{tmp_path}/{name}")
        assert all(there.column(field) == here.column(field) for field in CORPUS_SCHEMA.names)
        assert there.inputs == here.inputs


def files_of(place: str) -> dict[str, bytes]:
    system, root = resolve_url(place)
    return {name.removeprefix(root): system.cat_file(name) for name in system.find(root)}


def test_a_run_behind_a_url_has_the_bytes_of_one_in_a_folder(tmp_path: Path, place: str) -> None:
    write_lines(tmp_path / "in.jsonl", ROWS)
    run = curate_to(place, tmp_path / "in.jsonl", RECIPE)
    assert run.place("report.html") == f"{place}/report.html"
    curate_to(tmp_path / "run", tmp_path / "in.jsonl", RECIPE)
    here = {
        f"/{path.relative_to(tmp_path / 'run').as_posix()}": path.read_bytes()
        for path in (tmp_path / "run").rglob("*")
        if path.is_file() and path.name not in (".lock", "manifest.json")
    }
    there = files_of(place)
    assert there.pop("/manifest.json")
    assert there == here


def test_a_run_behind_a_url_goes_on_where_it_was_stopped(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(tmp_path / "in.jsonl", ROWS)
    sent: list[str] = []
    send = Mirror.send

    def stops(self: Mirror, file: Path) -> None:
        if file.name == "00000.parquet":
            raise RunError("the line is cut")
        sent.append(file.name)
        send(self, file)

    monkeypatch.setattr(Mirror, "send", stops)
    with pytest.raises(RunError, match="the line is cut"):
        curate_to(place, tmp_path / "in.jsonl", RECIPE)
    assert "contexts.npy" in sent
    again: list[str] = []

    def goes_on(self: Mirror, file: Path) -> None:
        again.append(file.name)
        send(self, file)

    monkeypatch.setattr(Mirror, "send", goes_on)
    curate_to(place, tmp_path / "in.jsonl", RECIPE)
    assert "00000.parquet" in again
    assert "contexts.npy" not in again


def test_a_place_that_cannot_be_written_is_a_clear_error(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(tmp_path / "in.jsonl", ROWS)
    system, _ = resolve_url(place)

    def full(*_: Any, **__: Any) -> None:
        raise OSError("quota exceeded")

    monkeypatch.setattr(type(system), "put_file", full)
    with pytest.raises(RunError, match=r"cannot write .* quota exceeded\. What is finished stays"):
        curate_to(place, tmp_path / "in.jsonl", RECIPE)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nowhere://rows.jsonl", "cannot reach nowhere://rows.jsonl: Protocol not known"),
        ("memory://nothing/rows.jsonl", "cannot read .*rows.jsonl"),
        ("file:///nothing/*.jsonl", "no data behind file:///nothing/"),
    ],
)
def test_what_cannot_be_reached_is_a_clear_error(url: str, words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        read_corpus(url)


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"isaac-align\[remote\]"):
        read_corpus("s3://bucket/rows.jsonl")
