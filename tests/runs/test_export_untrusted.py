"""Dropped rows in exports: left out, tagged, weighted, or undesirable."""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pytest

from isaac import Recipe
from isaac.errors import RecipeError
from isaac.runs.export import export
from isaac.runs.jobs import curate_to
from isaac.runs.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with as_file(files("isaac") / "data" / "demo.jsonl") as source:
        recipe = Recipe.of({"context": "context", "response": "response", "mode": "filter"})
        return curate_to(tmp_path_factory.mktemp("dropped") / "run", source, recipe)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def test_by_default_dropped_rows_are_left_out(run: Run) -> None:
    rows = rows_of(export(run, "sft").folder)
    assert len(rows) == run.summary()["kept"]
    assert all(row.keys() == {"prompt", "completion"} for row in rows)


def test_dropped_rows_can_be_tagged_or_weighted_by_their_trust(run: Run, tmp_path: Path) -> None:
    tagged = rows_of(export(run, "sft", tmp_path / "tag", untrusted="tag").folder)
    weighted = rows_of(export(run, "alpaca", tmp_path / "weight", untrusted="weight").folder)
    summary = run.summary()
    assert len(tagged) == len(weighted) == summary["exchanges"]
    assert sum(not row["trusted"] for row in tagged) == summary["dropped"]
    weights = [row["weight"] for row in weighted]
    assert weights[: summary["kept"]] == [1.0] * summary["kept"]
    assert max(weights[summary["kept"] :]) < 0.6
    left_out = [
        json.loads(line) for line in (run.path / "untrusted.jsonl").read_text().splitlines()
    ]
    assert [row["completion"][0]["content"] for row in tagged[summary["kept"] :]] == [
        record["response"] for record in left_out
    ]


def test_dropped_rows_are_undesirable_in_kto(run: Run, tmp_path: Path) -> None:
    rows = rows_of(export(run, "kto", tmp_path / "kto", untrusted="reject").folder)
    assert sum(not row["label"] for row in rows) == run.summary()["dropped"]


@pytest.mark.parametrize(
    ("kind", "how"), [("dpo", "tag"), ("messages", "weight"), ("sft", "reject")]
)
def test_a_type_that_cannot_use_them_says_what_to_do(run: Run, kind: Any, how: Any) -> None:
    with pytest.raises(RecipeError, match=r"export as|draw pairs"):
        export(run, kind, untrusted=how)
