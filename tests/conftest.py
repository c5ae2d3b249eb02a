"""Fixtures and helpers for all tests: the command line, small corpora and local endpoints."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings

from isaac.cli import main
from tests.servers import StartServer, server_starter

settings.register_profile("isaac", deadline=None)
settings.load_profile("isaac")


class CommandResult(NamedTuple):
    """A command's exit code, standard output and standard error."""

    code: int
    out: str
    err: str


RunIsaac = Callable[..., CommandResult]


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> Path:
    """Write records as JSON Lines; the folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def curate_command(source: Path, out: Path, k: int = 30) -> list[str]:
    """The command that curates a file, to run in a subprocess."""
    return [sys.executable, "-m", "isaac", "curate", str(source), "-o", str(out), "-k", str(k)]


def recombine_exchanges(rows: int) -> list[dict[str, str]]:
    """Make ``rows`` distinct exchanges from the bundled corpus.

    Each pairs a context with a response from the same situation.
    """
    situations: dict[str, list[dict[str, str]]] = {}
    for record in _read_demo():
        situations.setdefault(record["situation"], []).append(record)
    pairs = (
        {"context": a["context"], "response": b["response"]}
        for step in itertools.count()
        for group in situations.values()
        for a, b in zip(group, group[step:] + group[:step], strict=True)
    )
    return list(itertools.islice(pairs, rows))


@pytest.fixture
def isaac(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunIsaac:
    """A function that runs the real command line in this process."""

    def run(*arguments: object) -> CommandResult:
        monkeypatch.setattr(sys, "argv", ["isaac", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return CommandResult(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def exchanges() -> list[dict[str, str]]:
    """The first 120 exchanges of the bundled corpus."""
    return _read_demo()[:120]


def _read_demo() -> list[dict[str, str]]:
    text = (files("isaac") / "data" / "demo.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def small(tmp_path: Path, exchanges: list[dict[str, str]]) -> Path:
    """A JSON Lines file with 120 exchanges."""
    return write_lines(tmp_path / "small" / "in.jsonl", exchanges)


@pytest.fixture
def serve() -> Iterator[StartServer]:
    """A function that starts a local endpoint; see `server_starter`."""
    with server_starter() as start:
        yield start
