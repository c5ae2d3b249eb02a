"""``--judge-timeout`` reaches the judge of every command that takes ``--judge``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isaac.models.judges import endpoint
from tests.conftest import RunIsaac
from tests.servers import StartServer, chat_completion

pytest.importorskip("openai", reason="the extra 'openai' is not installed")

TIMEOUT = "2.5"
NAME = "openai:m@http://127.0.0.1:9/v1"


def test_the_flag_reaches_the_judge(
    isaac: RunIsaac,
    small: Path,
    serve: StartServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[float | None] = []

    def record(rest: str, timeout: float | None = None) -> Any:
        seen.append(timeout)
        return endpoint.ChatJudge(*rest.split("@"), timeout=0.1, retries=0)

    monkeypatch.setattr(endpoint, "load_endpoint_judge", record)
    url = serve(lambda _request, number: (200, chat_completion(f"Reply {number}"))).url
    judge = ("--judge", NAME, "--judge-timeout", TIMEOUT)
    run = tmp_path / "run"
    done = isaac("curate", small, "-o", run, "--recipe", "redraw-most", "-k", "30", "--force")
    assert done.code == 0, done.err
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Hello\n")
    line = json.dumps({"context": "Hello", "response": "Hi"}).encode()
    monkeypatch.setattr("sys.stdin", type("Input", (), {"buffer": [line]}))
    commands: list[tuple[Any, ...]] = [
        ("curate", small, "-o", tmp_path / "judged", "-k", "30"),
        ("audit", run, "--ask", "4"),
        ("heal", run),
        (
            "evaluate",
            "--before",
            f"openai:a@{url}",
            "--after",
            f"openai:b@{url}",
            "--prompts",
            prompts,
            "--harmless",
            "none",
            "-o",
            tmp_path / "evaluation",
        ),
    ]
    for command in commands:
        seen.clear()
        ended = isaac(*command, *judge)
        assert seen, (command[0], ended.err)
        assert set(seen) == {float(TIMEOUT)}, command[0]
