from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import RunIsaac

MAKEFILE = Path(__file__).parents[1] / "Makefile"


def isaac_commands(target: str) -> list[list[str]]:
    """The arguments of the isaac commands of a target, in order."""
    text = MAKEFILE.read_text(encoding="utf-8").replace("\\\n", " ")
    variables = dict(re.findall(r"^(\w+) [:?]= (.*)$", text, re.MULTILINE))
    rule = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    assert rule is not None
    lines = re.sub(r"\$\((\w+)\)", lambda name: variables[name[1]], rule[1])
    commands = [shlex.split(line) for line in lines.splitlines()]
    return [command[1:] for command in commands if command[0].endswith("/isaac")]


@pytest.mark.slow
def test_the_training_demo_compares_the_base_raw_and_curated_models(
    isaac: RunIsaac, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("trl", "peft", "torch", "statsmodels", "sacrebleu", "profanity_check"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    from tests import tiny

    monkeypatch.chdir(tmp_path)
    tiny.save_llama(tmp_path / "tiny")
    # the same commands, with a tiny model and few steps
    smaller = {"smollm2": "tiny", "60": "2", "48": "4", "128": "256"}
    for arguments in [*isaac_commands("demo"), *isaac_commands("demo-train")]:
        done = isaac(*(smaller.get(argument, argument) for argument in arguments))
        assert done.code == 0, done.err
    evaluation = json.loads((tmp_path / "isaac-demo-evaluation" / "evaluation.json").read_text())
    arms = [(arm["name"], arm["role"]) for arm in evaluation["arms"]]
    assert arms[:3] == [
        ("tiny", "before"),
        ("isaac-demo-raw-model", "after"),
        ("isaac-demo-model", "after"),
    ]
    original, raw = (
        [json.loads(line)["response"] for line in (tmp_path / name).read_text().splitlines()]
        for name in ("isaac-demo/labelled.jsonl", "isaac-demo-raw/curated.jsonl")
    )
    assert raw == original
