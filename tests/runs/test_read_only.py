"""Finished runs in folders that this process may not write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from isaac import Recipe, curate_to
from tests.conftest import RunIsaac, write_lines

COMMANDS = (
    ("report",),
    ("explain", "3"),
    ("diagnose",),
    ("diff", "--limit", "2"),
    ("heal",),
    ("redraw", "--budget", "0.4", "-o"),
    ("redraw", "--mode", "resample", "-o"),
)


def _read_files(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, exchanges: list[dict[str, str]]) -> Path:
    folder = tmp_path_factory.mktemp("read-only")
    source = write_lines(folder / "in.jsonl", exchanges)
    curate_to(folder / "run", source, Recipe(mode="filter"), force=True)
    (folder / "run" / ".lock").unlink()
    return folder / "run"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_run_that_cannot_be_written_can_be_read(
    finished: Path,
    command: tuple[str, ...],
    tmp_path: Path,
    isaac: RunIsaac,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = _read_files(finished)
    reference = isaac(*_complete(command, finished, tmp_path / "reference"), "-q")
    changed = set(_read_files(finished)) - set(before)
    for name in changed:
        (finished / name).unlink()
    for name, data in before.items():
        (finished / name).write_bytes(data)
    access = os.access

    def deny(path: str | Path, mode: int) -> bool:
        is_inside = Path(path).is_relative_to(finished)
        return not (is_inside and mode & os.W_OK) and access(path, mode)

    monkeypatch.setattr(os, "access", deny)
    done = isaac(*_complete(command, finished, tmp_path / "other"), "-q")
    assert done.code == reference.code
    assert done.out.replace(str(tmp_path / "other"), str(tmp_path / "reference")) == reference.out
    assert _read_files(finished) == before
    if "-o" in command:
        skipped = {"manifest.json", ".lock"}
        one, two = (_read_files(tmp_path / name) for name in ("reference", "other"))
        assert {n: d for n, d in one.items() if n not in skipped} == {
            n: d for n, d in two.items() if n not in skipped
        }


def _complete(command: tuple[str, ...], run: Path, out: Path) -> list[str]:
    name, *rest = command
    return [name, str(run), *rest, *([str(out)] if rest and rest[-1] == "-o" else [])]
