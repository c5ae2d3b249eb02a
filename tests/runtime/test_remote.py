from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isaac import CorpusError, Recipe, RunError, curate_to, read_corpus
from isaac.corpus.corpus import CORPUS_SCHEMA
from isaac.runtime import remote_lock
from isaac.runtime.remote import Mirror, is_url, resolve_url
from tests.conftest import write_lines

ROWS = [{"context": f"question {n % 7}", "response": f"answer {n % 5} it is"} for n in range(60)]
RECIPE = Recipe(context_encoder="hashing", response_encoder="hashing")


@pytest.fixture
def place() -> Iterator[str]:
    """Yield the URL of a folder in fsspec's memory file system."""
    yield "memory://isaac-tests"
    system, path = resolve_url("memory://isaac-tests")
    if system.exists(path):
        system.rm(path, recursive=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("s3://bucket/rows.jsonl", True),
        ("file:///rows.jsonl", True),
        ("hf://owner/name", False),
        ("rows.jsonl", False),
        ("C:\\rows.jsonl", False),
        (Path("a") / "b", False),
    ],
)
def test_a_url_is_distinguished_from_a_path(name: str | Path, expected: bool) -> None:
    assert is_url(name) == expected


def test_a_url_is_read_like_the_path(tmp_path: Path) -> None:
    write_lines(tmp_path / "a" / "rows.jsonl", ROWS[:20])
    write_lines(tmp_path / "a-2" / "rows.jsonl", ROWS[20:40])
    write_lines(tmp_path / "b" / "more.jsonl", ROWS[40:])
    (tmp_path / "b" / "notes.txt").write_text("no data")
    write_lines(tmp_path / ".hidden" / "rows.jsonl", ROWS)
    for name in ("recipe.yaml", "corpus.parquet", "curated.jsonl"):
        write_lines(tmp_path / "run" / name, ROWS)
    for name in ("", "b", "a/rows.jsonl", "a*/*.jsonl"):
        local = read_corpus(f"{tmp_path}/{name}")
        remote = read_corpus(f"file://{tmp_path}/{name}")
        assert all(remote.column(field) == local.column(field) for field in CORPUS_SCHEMA.names)
        assert remote.inputs == local.inputs
    assert len(read_corpus(f"file://{tmp_path}")) == len(ROWS)


def test_a_folder_at_a_url_that_cannot_be_listed_is_a_clear_error(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, root = resolve_url(place)
    system.makedirs(f"{root}/a")
    system.pipe_file(f"{root}/a/rows.jsonl", b'{"context": "a", "response": "b"}\n')
    list_folder = type(system).ls

    def deny(self: Any, path: str, **options: Any) -> Any:
        if path.endswith("/a"):
            raise PermissionError("access denied")
        return list_folder(self, path, **options)

    monkeypatch.setattr(type(system), "ls", deny)
    with pytest.raises(CorpusError, match=f"cannot read {place}: access denied"):
        read_corpus(place)


def files_of(place: str) -> dict[str, bytes]:
    system, root = resolve_url(place)
    return {name.removeprefix(root): system.cat_file(name) for name in system.find(root)}


def test_a_run_at_a_url_is_byte_identical_to_one_in_a_folder(tmp_path: Path, place: str) -> None:
    write_lines(tmp_path / "in.jsonl", ROWS)
    run = curate_to(place, tmp_path / "in.jsonl", RECIPE)
    assert run.location("report.html") == f"{place}/report.html"
    curate_to(tmp_path / "run", tmp_path / "in.jsonl", RECIPE)
    local = {
        f"/{path.relative_to(tmp_path / 'run').as_posix()}": path.read_bytes()
        for path in (tmp_path / "run").rglob("*")
        if path.is_file() and path.name not in (".lock", "manifest.json")
    }
    remote = files_of(place)
    assert remote.pop("/manifest.json")
    assert remote == local


def test_a_run_at_a_url_resumes_where_it_stopped(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(tmp_path / "in.jsonl", ROWS)
    sent: list[str] = []
    send = Mirror.send

    def fail(self: Mirror, file: Path) -> None:
        if file.name == "smoothed.npy":
            raise RunError("connection lost")
        sent.append(file.name)
        send(self, file)

    monkeypatch.setattr(Mirror, "send", fail)
    with pytest.raises(RunError, match="connection lost"):
        curate_to(place, tmp_path / "in.jsonl", RECIPE)
    assert "contexts.npy" in sent
    resent: list[str] = []

    def record(self: Mirror, file: Path) -> None:
        resent.append(file.name)
        send(self, file)

    monkeypatch.setattr(Mirror, "send", record)
    curate_to(place, tmp_path / "in.jsonl", RECIPE)
    assert "smoothed.npy" in resent
    assert "contexts.npy" not in resent


def test_a_url_that_cannot_be_written_is_a_clear_error(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(tmp_path / "in.jsonl", ROWS)
    system, _ = resolve_url(place)

    def full(*_: Any, **__: Any) -> None:
        raise OSError("quota exceeded")

    monkeypatch.setattr(type(system), "put_file", full)
    with pytest.raises(RunError, match=r"cannot write .* quota exceeded\. Finished files are kept"):
        curate_to(place, tmp_path / "in.jsonl", RECIPE)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nowhere://rows.jsonl", "cannot reach nowhere://rows.jsonl: Protocol not known"),
        ("memory://nothing/rows.jsonl", "cannot read .*rows.jsonl"),
        ("file:///nothing/*.jsonl", "no data files at file:///nothing/"),
    ],
)
def test_a_url_that_cannot_be_read_is_a_clear_error(url: str, words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        read_corpus(url)


def _write_lock(place: str, text: str) -> None:
    system, root = resolve_url(place)
    system.makedirs(root, exist_ok=True)
    system.pipe_file(f"{root}/.lock", text.encode())


def test_two_processes_cannot_work_at_one_url(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(tmp_path / "in.jsonl", ROWS)
    monkeypatch.setattr(remote_lock, "BEAT_SECONDS", 0.05)
    with Mirror(place, tmp_path / "copy").lock.held():
        with pytest.raises(RunError, match=f"another process works on {place}; wait until it"):
            curate_to(place, tmp_path / "in.jsonl", RECIPE)
        assert set(files_of(place)) == {"/.lock"}
    assert files_of(place) == {}
    curate_to(place, tmp_path / "in.jsonl", RECIPE)
    assert "/manifest.json" in files_of(place)
    assert "/.lock" not in files_of(place)


def test_the_lock_of_a_killed_process_is_taken_over(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_lock, "STALE_SECONDS", 0.3)
    lock = Mirror(place, tmp_path).lock
    _write_lock(place, "another-machine 7 token 3")
    with lock.held():
        assert files_of(place)["/.lock"].split()[0] != b"another-machine"
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    machine = remote_lock._machine()
    _write_lock(place, f"{machine} {int(ended.stdout)} token 3")
    monkeypatch.setattr(remote_lock, "STALE_SECONDS", 600)
    with lock.held():
        assert files_of(place)["/.lock"].split()[1] == str(os.getpid()).encode()


def test_a_lock_that_was_taken_over_stops_its_old_holder(tmp_path: Path, place: str) -> None:
    write_lines(tmp_path / "copy" / "file", ROWS)
    mirror = Mirror(place, tmp_path / "copy")
    with mirror.lock.held():
        mirror.send(tmp_path / "copy" / "file")
        _write_lock(place, "another-machine 7 token 0")
        with pytest.raises(RunError, match=f"another process works on {place} now"):
            mirror.send(tmp_path / "copy" / "file")
    assert "/.lock" in files_of(place)  # it is the other's
