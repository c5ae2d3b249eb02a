from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from isaac import Recipe, Run, curate_to
from isaac.runs.changes import iter_changes
from tests.conftest import RunIsaac, write_lines

HOSTILE = [
    "=1+1",
    " =1+1",
    "\n=1+1",
    "\uff1d1+1",
    "+1",
    "-1",
    "@cmd",
    "\tx",
    "<script>alert(1)</script>",
    "a\x07b",
    "https://x.y",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, exchanges: list[dict[str, str]]) -> Path:
    folder = tmp_path_factory.mktemp("diff")
    odd = [{"context": f"{text} is what I got", "response": text + " bad"} for text in HOSTILE]
    source = write_lines(folder / "in.jsonl", [*exchanges, *odd])
    recipe = Recipe(mode="selective", min_fit=1.0, keep_original=True)
    curate_to(folder / "run", source, recipe, force=True)
    return folder / "run"


def test_changes_are_shown_chosen_and_sorted(isaac: RunIsaac, run: Path) -> None:
    all_changes = list(iter_changes(Run(run).curation()))
    shown = isaac("diff", run).out
    assert shown.count("\n  before") == 20
    assert f"{len(all_changes) - 20} more; show them with --limit {len(all_changes)}" in shown
    replaced = json.loads(isaac("diff", run, "--action", "replaced", "--sort", "fit", "--json").out)
    fits = [change["fit"] for change in replaced]
    assert fits == sorted(fits)
    assert len(fits) == sum(change.action == "replaced" for change in all_changes)
    far = json.loads(
        isaac("diff", run, "--sort", "distance", "--descending", "--limit", "3", "--json").out
    )
    distances = [change.distance for change in all_changes if change.distance is not None]
    assert [change["distance"] for change in far] == sorted(distances, reverse=True)[:3]


def test_a_table_has_every_change_and_no_formula(
    isaac: RunIsaac, run: Path, tmp_path: Path
) -> None:
    changes = list(iter_changes(Run(run).curation()))
    assert isaac("diff", run, "-o", tmp_path / "d.csv").code == 0
    with (tmp_path / "d.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [int(row["id"]) for row in rows] == [change.id for change in changes]
    formulas = [change.before.lstrip()[0] in "=+-@\uff1d" for change in changes]
    assert any(formulas)
    expected = [
        f"'{change.before}" if is_formula else change.before
        for change, is_formula in zip(changes, formulas, strict=True)
    ]
    assert [row["before"] for row in rows] == expected
    assert isaac("diff", run, "-o", tmp_path / "d.jsonl").code == 0
    lines_of_json = (tmp_path / "d.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["before"] for line in lines_of_json] == [c.before for c in changes]


def test_a_workbook_has_texts_and_no_formula(isaac: RunIsaac, run: Path, tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="the extra 'xlsx' is not installed")
    assert isaac("diff", run, "-o", tmp_path / "d.xlsx").code == 0
    sheet = openpyxl.load_workbook(tmp_path / "d.xlsx").active
    cells = [cell for row in sheet.iter_rows() for cell in row]
    assert {cell.data_type for cell in cells} <= {"s", "n"}
    texts = {change.before for change in iter_changes(Run(run).curation())}
    formulas = {text for text in texts if text[0] in "=+-@"}
    assert formulas
    assert formulas <= {cell.value for cell in cells}


def test_a_page_shows_texts_and_runs_nothing(isaac: RunIsaac, run: Path, tmp_path: Path) -> None:
    assert isaac("diff", run, "-o", tmp_path / "d.html").code == 0
    page = (tmp_path / "d.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; bad" in page
    assert "\x07" not in page


def test_another_kind_of_file_is_refused(isaac: RunIsaac, run: Path, tmp_path: Path) -> None:
    done = isaac("diff", run, "-o", tmp_path / "d.pdf")
    assert done.code == 2
    assert "expected a file ending in .csv, .html, .jsonl, .xlsx, got d.pdf" in done.err


def test_the_original_is_kept_beside_a_new_response(run: Path) -> None:
    before = {change.id: change.before for change in iter_changes(Run(run).curation())}
    lines = (run / "curated.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    replaced = [record for record in records if record["isaac_action"] == "replaced"]
    assert replaced
    for record in records:
        is_new = record["isaac_action"] == "replaced"
        expected = before[record["isaac_id"]] if is_new else None
        assert record["isaac_original_response"] == expected
