"""Exports, read by the trainers' own code: which tokens carry loss.

Each trainer pins other versions of transformers, so each needs an environment of its own, whose
Python a variable names: ``ISAAC_AXOLOTL_PYTHON`` (axolotl 0.19), ``ISAAC_LLAMA_FACTORY_PYTHON``
(llamafactory 0.9.5) and ``ISAAC_MS_SWIFT_PYTHON`` (ms-swift 4.6).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from isaac import Recipe, Run, curate_to, export
from tests import tiny
from tests.conftest import write_lines

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parent / "trainers"
ANSWERS = ["Please rest and see a doctor.", "Please see a doctor and rest.", "Who cares.", "Ha!"]
Spans = list[tuple[str, bool]]


def talk(i: int) -> dict[str, Any]:
    """Some talks have system turns, several turns, a greeting, two user turns or a tool call."""
    turns: list[tuple[str, str]] = [("user", f"My head hurts since {i % 5} days")]
    turns.append(("assistant", ANSWERS[0 if i % 4 else (i // 4) % 4]))
    if i % 3 == 0:
        turns[:0] = [("user", "Hello"), ("assistant", "Hi, what is it?")]
    if i % 5 == 0:
        turns.insert(0, ("assistant", "Welcome."))
    if i % 7 == 0:
        turns.insert(-1, ("user", "Really"))
    if i % 4 == 1:
        turns.insert(0, ("system", "Be kind."))
    if i == 59:
        turns[:0] = [("user", "Where?"), ("tool", "north")]
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


@pytest.fixture(scope="module", params=["all", "last", "filter"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp(request.param)
    source = write_lines(folder / "talks.jsonl", (talk(i) for i in range(60)))
    if request.param == "filter":
        recipe = Recipe.of({"mode": "filter", "budget": 0.2})
    else:
        recipe = Recipe.redraw_most(neighbors=40, targets=2, turns=request.param)
    return curate_to(folder / "run", source, recipe, force=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_llama(tmp_path_factory.mktemp("base"))


def export_or_skip(run: Run, kind: Any) -> Path:
    if run.curation().recipe.mode == "filter" and kind == "dpo":
        pytest.skip("mode filter has no pairs")
    return export(run, kind).folder


def read_with(variable: str, script: str, out: Path, *arguments: str) -> Any:
    """What a script writes that runs in a trainer's environment."""
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"{variable} names no Python with this trainer")
    offline = {"HF_HUB_OFFLINE": "1", "AXOLOTL_DO_NOT_TRACK": "1", "DO_NOT_TRACK": "1"}
    command = [python, str(SCRIPTS / script), *arguments, str(out)]
    done = subprocess.run(
        command, env={**os.environ, **offline}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(out.read_text(encoding="utf-8"))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def block_of(folder: Path, language: str) -> str:
    card = (folder / "README.md").read_text(encoding="utf-8")
    return card.split(f"```{language}\n")[-1].split("```")[0]


def trained(spans: Spans) -> list[str]:
    """The texts that carry loss, without the tokens that end a turn."""
    return [re.sub(r"(?:\n|<\|im_end\|>|</s>)+$", "", text) for text, loss in spans if loss]


def curated(row: dict[str, Any]) -> list[str]:
    turns = row.get("messages") or row["conversations"]
    return [turn.get("content", turn.get("value")) for turn in turns if turn["train"]]


@pytest.mark.parametrize("kind", ["messages", "sharegpt"])
def test_axolotl_trains_on_curated_messages_alone(
    run: Run, base: Path, kind: Any, tmp_path: Path
) -> None:
    folder = export_or_skip(run, kind)
    arguments = (str(folder), str(base), block_of(folder, "yaml"))
    found = read_with("ISAAC_AXOLOTL_PYTHON", "read_axolotl.py", tmp_path / "out", *arguments)
    expected = [curated(row) for row in rows_of(folder)]
    assert sorted(map(trained, found)) == sorted(expected)


@pytest.mark.parametrize("kind", ["dpo", "kto"])
def test_axolotl_reads_pairs_and_labels(run: Run, base: Path, kind: Any, tmp_path: Path) -> None:
    folder = export_or_skip(run, kind)
    arguments = (str(folder), str(base), block_of(folder, "yaml"))
    found = read_with("ISAAC_AXOLOTL_PYTHON", "read_axolotl.py", tmp_path / "out", *arguments)
    rows = rows_of(folder)
    if kind == "kto":
        # The rows reach TRL's trainer as they are; the model's template writes the prompt.
        assert found == rows
        return
    for side in ("chosen", "rejected"):
        texts = sorted(row[side].removesuffix("</s>") for row in found)
        assert texts == sorted(row[side][0]["content"] for row in rows)


@pytest.mark.parametrize("kind", ["messages", "sharegpt", "alpaca", "dpo", "kto"])
def test_llama_factory_trains_on_the_responses(
    run: Run, base: Path, kind: Any, tmp_path: Path
) -> None:
    folder = export_or_skip(run, kind)
    written = export(run, kind)
    stage = {"dpo": "rm", "kto": "kto"}.get(kind, "sft")
    masked = "mask:" if kind == "alpaca" or (written.masked and not written.several) else ""
    entry = masked + block_of(folder, "json")
    arguments = (str(folder), str(base), stage, entry)
    found = read_with(
        "ISAAC_LLAMA_FACTORY_PYTHON", "read_llama_factory.py", tmp_path / "out", *arguments
    )
    rows = rows_of(folder)
    dropped = written.irregular if kind in ("messages", "sharegpt") else 0
    assert len(found) == len(rows) - dropped
    if kind == "alpaca":
        assert [trained(row["sequences"][0]) for row in found] == [[r["output"]] for r in rows]
    if kind == "dpo":
        sides = [[[r[side][0]["content"]] for side in ("chosen", "rejected")] for r in rows]
        assert [[trained(spans) for spans in row["sequences"]] for row in found] == sides
    if kind == "kto":
        texts = [(trained(row["sequences"][0]), row["label"]) for row in found]
        assert texts == [([r["completion"][0]["content"]], r["label"]) for r in rows]


@pytest.mark.parametrize("kind", ["messages", "sharegpt", "alpaca", "dpo", "kto"])
def test_ms_swift_trains_on_the_responses(run: Run, base: Path, kind: Any, tmp_path: Path) -> None:
    folder = export_or_skip(run, kind)
    file = {"dpo": "ms-swift.jsonl", "kto": "llama-factory.jsonl"}.get(kind, "train.jsonl")
    mode = {"dpo": "rlhf", "kto": "kto"}.get(kind, "train")
    scale = "default" if kind in ("messages", "sharegpt") else "last_round"
    arguments = (str(folder), str(base), file, mode, scale)
    found = read_with("ISAAC_MS_SWIFT_PYTHON", "read_ms_swift.py", tmp_path / "out", *arguments)
    rows = rows_of(folder)
    assert len(found) == len(rows)
    for row, read in zip(rows, found, strict=True):
        if read is None:
            turns = row.get("messages") or row["conversations"]
            assert any((turn.get("role") or turn["from"]) == "system" for turn in turns[1:])
            continue
        first = trained(read["sequences"][0])
        if kind == "dpo":
            assert first == [row["chosen"][0]["content"]]
            assert trained(read["sequences"][1]) == [row["rejected"][0]["content"]]
        elif kind == "kto":
            assert (first, read["label"]) == ([row["completion"][0]["content"]], row["label"])
        elif kind == "alpaca":
            assert first == [row["output"]]
        else:
            assert "".join(first).replace("\n", "") == "".join(curated(row)).replace("\n", "")
