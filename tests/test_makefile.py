from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import RunIsaac

MAKEFILE = Path(__file__).parents[1] / "Makefile"


def recipe(target: str) -> list[list[str]]:
    """Return the arguments of the isaac commands of a target, in order."""
    text = MAKEFILE.read_text(encoding="utf-8").replace("\\\n", " ")
    variables = dict(re.findall(r"^(\w+) [:?]= (.*)$", text, re.MULTILINE))
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    assert found is not None
    lines = re.sub(r"\$\((\w+)\)", lambda name: variables[name[1]], found[1])
    words = [shlex.split(line) for line in lines.splitlines()]
    return [line[1:] for line in words if line[0].endswith("/isaac")]


@pytest.mark.slow
def test_the_demo_of_training_compares_base_raw_and_curated(
    isaac: RunIsaac, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("trl", "peft", "torch", "statsmodels", "sacrebleu", "profanity_check"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    from tests import tiny

    monkeypatch.chdir(tmp_path)
    tiny.save_llama(tmp_path / "tiny")
    small = {"smollm2": "tiny", "60": "2", "48": "4", "128": "256"}
    for line in [*recipe("demo"), *recipe("demo-train")]:
        done = isaac(*(small.get(word, word) for word in line))
        assert done.code == 0, done.err
    facts = json.loads((tmp_path / "isaac-demo-evaluation" / "evaluation.json").read_text())
    arms = [(arm["name"], arm["role"]) for arm in facts["arms"]]
    assert arms[:3] == [
        ("tiny", "before"),
        ("isaac-demo-raw-model", "after"),
        ("isaac-demo-model", "after"),
    ]
    rows = [
        [json.loads(line)["response"] for line in (tmp_path / name).read_text().splitlines()]
        for name in ("isaac-demo/labelled.jsonl", "isaac-demo-raw/curated.jsonl")
    ]
    assert rows[0] == rows[1]
