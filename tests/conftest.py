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
    """What a command left behind."""

    code: int
    out: str
    err: str


RunIsaac = Callable[..., CommandResult]


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> Path:
    """Write records as JSON Lines, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def curate_command(source: Path, out: Path, k: int = 30) -> list[str]:
    """Return the real command that curates a file, for a process of its own."""
    return [sys.executable, "-m", "isaac", "curate", str(source), "-o", str(out), "-k", str(k)]


def recombine_exchanges(rows: int) -> list[dict[str, str]]:
    """Return distinct exchanges, each response beside contexts of its own situation."""
    lines = (files("isaac") / "data" / "demo.jsonl").read_text(encoding="utf-8").splitlines()
    situations: dict[str, list[dict[str, str]]] = {}
    for line in lines:
        record = json.loads(line)
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
    """Return a function that runs the real command line in this process."""

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
    """Return the first 120 exchanges of the bundled corpus."""
    lines = (files("isaac") / "data" / "demo.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[:120]]


@pytest.fixture
def small(tmp_path: Path, exchanges: list[dict[str, str]]) -> Path:
    """Return a JSON Lines file of 120 exchanges."""
    return write_lines(tmp_path / "small" / "in.jsonl", exchanges)


@pytest.fixture
def serve() -> Iterator[StartServer]:
    """Return a function that starts an endpoint, see `server_starter`."""
    with server_starter() as start:
        yield start
