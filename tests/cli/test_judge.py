from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.conftest import RunIsaac, write_lines
from tests.models.judges.test_fitting import toy

pytest.importorskip("sklearn", reason="the extra 'judges' is not installed")
pytest.importorskip("statsmodels", reason="the extra 'judges' is not installed")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "toy.jsonl", [*toy(), toy()[0]])


def test_a_judge_is_fitted_and_its_quality_reported(
    isaac: RunIsaac, source: Path, tmp_path: Path
) -> None:
    fit = ["judge", "fit", source, "-o", tmp_path / "j", "--frozen", "--encoder", "hashing"]
    done = isaac(*fit, "--category", "kind")
    assert done.code == 0
    assert "1 rows left out: repeated" in done.err
    assert f"--judge trained:{tmp_path / 'j'}" in done.err
    lines = done.out.splitlines()
    names = "held-out even odd contexts even odd".split()
    assert [line.split()[0] for line in lines[1:7]] == names
    assert "% to " in lines[1]
    again = isaac(*fit, "--json")
    facts = json.loads(again.out)
    assert facts["left_out"] == {"repeated": 1}
    assert facts["unseen_contexts"]["accuracy"]["value"] > 0.9


def test_missing_packages_are_told_before_a_row_is_read(
    isaac: RunIsaac, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    done = isaac("judge", "fit", tmp_path / "missing.jsonl", "-o", tmp_path / "j", "--frozen")
    assert done.code == 1
    assert done.err.startswith("isaac: isaac judge fit --frozen needs an extra: pip install '")
    assert done.err.endswith("[judges]'\n")


def test_columns_can_be_named(isaac: RunIsaac, tmp_path: Path) -> None:
    names = {"context": "q", "response": "a", "label": "harm"}
    rows = [{names[k]: v for k, v in row.items() if k in names} for row in toy()]
    rows = [{**row, "harm": "1" if row["harm"] == "Unsafe" else "0"} for row in rows]
    source = write_lines(tmp_path / "own.jsonl", rows)
    fit = ["judge", "fit", source, "-o", tmp_path / "j", "--frozen", "--encoder", "hashing"]
    columns = ["--context", "q", "--response", "a", "--label", "harm"]
    assert isaac(*fit, *columns, "--unsafe", "1").code == 0
    wrong = isaac(*fit, *columns, "--unsafe", "yes")
    assert wrong.code == 2
    assert wrong.err.endswith(
        "isaac: no record has harm = 'yes'; available: 0 (180), 1 (120). Use --unsafe VALUE\n"
    )
    assert isaac(*fit, *columns, "--unsafe", "1", "--category", "kind").err.endswith(
        "isaac: no record has a column 'kind'; name the category column: --category COL\n"
    )


def test_labels_that_are_neither_safe_nor_unsafe_are_left_out(
    isaac: RunIsaac, tmp_path: Path
) -> None:
    labels = ("", "  ", None, "controversial", " SAFE ")
    changed = [{**row, "label": label} for row, label in zip(toy(), labels, strict=False)]
    rows = changed + toy()[len(labels) :]
    source = write_lines(tmp_path / "own.jsonl", rows)
    fit = ["judge", "fit", source, "-o", tmp_path / "j", "--frozen", "--encoder", "hashing"]
    asked = isaac(*fit)
    assert asked.code == 2
    assert "several labels that are not unsafe: Safe (" in asked.err
    assert "controversial (1)" in asked.err
    assert "Name the labels that mean safe" in asked.err
    done = isaac(*fit, "--safe", "safe")
    assert done.code == 0
    assert "3 rows left out: without a label\n" in done.err
    assert "1 rows left out: with another label\n" in done.err
    assert "both safe and unsafe" in isaac(*fit, "--safe", "safe,unsafe").err
    assert "no record has label = 'fine'" in isaac(*fit, "--safe", "fine").err


def test_errors_of_a_subcommand_end_with_a_message(isaac: RunIsaac, tmp_path: Path) -> None:
    done = isaac("judge", "fit", tmp_path / "none.jsonl", "-o", tmp_path / "j")
    assert done.code == 1
    assert done.err.startswith("isaac: ")
    assert "Traceback" not in done.err
    assert isaac("judge", "fit", "--help").code == 0
