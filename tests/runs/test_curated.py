from __future__ import annotations

import json
from pathlib import Path

import pytest

from isaac import Corpus, CuratedCorpus, Recipe, Run, RunError, curate, curate_to
from tests.conftest import write_lines

RECIPE = Recipe(mode="selective", min_fit=1.0)


@pytest.fixture(scope="module")
def curated(exchanges: list[dict[str, str]]) -> CuratedCorpus:
    return curate(exchanges, RECIPE)


def test_records_are_the_lines_of_a_run_and_so_are_the_frames(
    curated: CuratedCorpus, exchanges: list[dict[str, str]], tmp_path: Path
) -> None:
    source = write_lines(tmp_path / "in.jsonl", exchanges)
    run = curate_to(tmp_path / "run", source, RECIPE)
    lines = (run.path / "curated.jsonl").read_text(encoding="utf-8").splitlines()
    records = list(curated.records())
    assert records == [json.loads(line) for line in lines]
    pytest.importorskip("pandas", reason="pandas is not installed")
    assert curated.to_pandas().to_dict("records") == records
    pytest.importorskip("datasets", reason="datasets is not installed")
    assert curated.to_dataset().to_list() == records


def test_changes_say_what_happened_to_each_row(
    curated: CuratedCorpus, exchanges: list[dict[str, str]]
) -> None:
    changes = {change.id: change for change in curated.changes()}
    decided = {row: targets[0] for row, targets in curated.drawn()}
    assert {action for action, _, _ in decided.values()} == {"kept", "replaced", "dropped"}
    for row, (action, response, source) in decided.items():
        if action == "kept":
            assert row not in changes
            continue
        change = changes[row]
        assert (change.action, change.line) == (action, row + 1)
        assert change.message == exchanges[row]["context"]
        assert change.before == exchanges[row]["response"]
        assert change.why.startswith("trusted more than only ")
        if action == "dropped":
            assert (change.after, change.source, change.distance) == (None, None, None)
            continue
        assert (change.after, change.source) == (response, source)
        assert change.fit is not None
        assert change.fit >= 1
        assert change.distance is not None
        assert 0 <= change.distance <= 2


def test_changes_of_other_modes_have_their_own_reasons(curated: CuratedCorpus) -> None:
    dropped = curated.redraw(mode="filter").changes()
    assert {change.action for change in dropped} == {"dropped"}
    assert not any("fits" in change.why for change in dropped)
    drawn = curated.redraw(mode="resample").changes()
    assert drawn
    assert all(change.why.startswith("drawn from cluster ") for change in drawn)


def test_a_saved_curation_is_the_run_that_the_command_writes(
    curated: CuratedCorpus, exchanges: list[dict[str, str]], tmp_path: Path
) -> None:
    source = write_lines(tmp_path / "in.jsonl", exchanges)
    written = curate_to(tmp_path / "run", source, RECIPE)
    saved = curated.save(tmp_path / "saved")
    for name in ("curated.jsonl", "untrusted.jsonl", "lineage.parquet"):
        assert (saved.path / name).read_bytes() == (written.path / name).read_bytes()
    assert Run(saved.path).is_intact()
    loaded = CuratedCorpus.of(saved.curation())
    assert loaded.changes() == curated.changes()
    with pytest.raises(RunError, match="is not empty; choose another folder"):
        curated.save(saved.path)


def test_a_redrawn_curation_is_saved_as_it_is(curated: CuratedCorpus, tmp_path: Path) -> None:
    redrawn = curated.redraw(mode="resample", budget=0.3)
    assert isinstance(redrawn, CuratedCorpus)
    saved = redrawn.save(tmp_path / "saved", force=True)
    assert saved.recipe().mode == "resample"
    assert saved.curation().lineage.equals(redrawn.lineage)


def test_a_curation_is_shown_with_its_verdict_and_no_markup_of_the_corpus() -> None:
    pairs = [(f"question {n} <script>", f"odd answer {n} <script>") for n in range(8)]
    curated = curate(Corpus.of(pairs), Recipe(mode="filter", budget=0.5))
    shown = repr(curated)
    assert shown.startswith("<CuratedCorpus: 8 exchanges, 4 kept, 4 dropped; verdict: ")
    html = curated._repr_html_()
    assert "&lt;script&gt;" in html
    assert "<script>" not in html
    assert "(dropped)" in html
