from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

import pytest

from isaac import Recipe, RunError, curate_to
from isaac.curation.hyperparameters import RADII
from isaac.curation.resources import Tools
from isaac.reading_options import ReadingOptions
from isaac.runtime.atomic_files import MirroredFolder
from tests.cli.test_runs import outputs
from tests.conftest import write_lines

STAGES = {
    "read": "corpus.parquet",
    "vectors": "responses.npy",
    "texts": "response.txt",
    "wording": "wording.typicality.npy",
    "trust": "smoothed.npy",
    "trials": "trials.npy",
    "shards": "00000.parquet",
    "fit": "fit.groups.npy",
    "lineage": "lineage.parquet",
    "report": "report.html",
    "curated": "curated.jsonl",
    "untrusted": "untrusted.jsonl",
    "manifest": "manifest.json",
}
"""A file that each stage writes."""


@pytest.mark.parametrize("stage", STAGES)
def test_work_that_is_finished_is_not_done_again(
    tmp_path: Path, small: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupt the job before it writes a file; the files written before are not written again."""
    recipe = Recipe(neighbors=30, mode="selective", min_fit=1.0)
    if stage in ("trials", "shards"):
        recipe = Recipe.redraw_most(neighbors=30)
    curate_to(tmp_path / "whole", small, recipe)
    original = MirroredFolder.writing

    def stopping(
        folder: MirroredFolder, file: Path, mode: str = "w"
    ) -> AbstractContextManager[IO[Any]]:
        if file.name == STAGES[stage]:
            raise KeyboardInterrupt
        return original(folder, file, mode)

    with monkeypatch.context() as patched:
        patched.setattr(MirroredFolder, "writing", stopping)
        with pytest.raises(KeyboardInterrupt):
            curate_to(tmp_path / "run", small, recipe)
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("*.*")}
    curate_to(tmp_path / "run", small, recipe)
    results = [file for file in times if file.exists() and file.suffix in (".npy", ".parquet")]
    rewritten = {"lineage.parquet"}
    assert all(f.stat().st_mtime_ns == times[f] for f in results if f.name not in rewritten)
    assert outputs(tmp_path / "run") == outputs(tmp_path / "whole")


def test_a_finished_run_is_reused_unchanged(tmp_path: Path, small: Path) -> None:
    run = curate_to(tmp_path / "run", small, Recipe(neighbors=30))
    manifest = run.manifest()
    assert curate_to(tmp_path / "run", small, Recipe(neighbors=30)).manifest() == manifest


def test_temporary_files_of_killed_processes_are_removed(tmp_path: Path, small: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml.4711.part").write_text("neighb")
    run = curate_to(tmp_path / "run", small, Recipe(neighbors=30))
    assert not list(run.path.rglob("*.part"))


def test_a_run_of_another_version_is_refused(tmp_path: Path, small: Path) -> None:
    run = curate_to(tmp_path / "run", small, Recipe(neighbors=30))
    input_file = run.path / "input.json"
    input_file.write_text(input_file.read_text().replace('"isaac": "', '"isaac": "9'))
    with pytest.raises(RunError, match="was started by isaac 9"):
        curate_to(tmp_path / "run", small, Recipe(neighbors=30))


def test_a_finished_run_loads_its_curation(tmp_path: Path, small: Path) -> None:
    recipe = Recipe.redraw_most(neighbors=30, targets=2)
    run = curate_to(tmp_path / "run", small, recipe)
    again = run.curation()
    assert run.recipe() == recipe
    assert (again.recipe.neighbors, again.recipe.targets) == (30, 2)
    assert again.recipe.radius in RADII
    assert again.choice is not None
    assert again.choice.radius == again.recipe.radius
    assert again.redraw().lineage == again.lineage


def test_a_missing_file_of_a_finished_run_is_an_error(tmp_path: Path, small: Path) -> None:
    run = curate_to(tmp_path / "run", small, Recipe.redraw_most(neighbors=30))
    (run.path / "shards" / "00000.parquet").unlink()
    with pytest.raises(RunError, match=r"shards/00000.parquet is damaged or missing.*isaac curate"):
        run.curation()
    assert not (run.path / "shards" / "00000.parquet").exists()


def test_a_run_by_key_and_equal_text_needs_no_encoder(tmp_path: Path) -> None:
    rows = [
        {"question": f"q{i}", "answer": "yes" if i % 3 else "no", "act": i % 2} for i in range(20)
    ]
    source = write_lines(tmp_path / "in.jsonl", rows)
    run = curate_to(
        tmp_path / "run",
        source,
        Recipe(clusters="text", trust="wording", reading=ReadingOptions(group_by="act")),
        Tools(encoders={}),
    )
    assert run.manifest()["encoders"] == {}
    assert run.manifest()["search"] == {"by": "key"}
    assert {file.name.split(".")[0] for file in (run.path / "vectors").iterdir()} == {"wording"}


def test_several_turns_of_a_record_come_back_in_one_record(tmp_path: Path) -> None:
    def talk(i: int) -> dict[str, object]:
        turns = [
            ("user", f"hello {i % 3}"),
            ("assistant", "hi"),
            ("user", "bye"),
            ("assistant", "bye!"),
        ]
        return {"n": i, "messages": [{"role": role, "content": text} for role, text in turns]}

    source = write_lines(tmp_path / "in.jsonl", [talk(i) for i in range(12)])
    recipe = Recipe.paper(turns="all", targets=2, neighbors=4)
    run = curate_to(tmp_path / "run", source, recipe, force=True)
    curated = [json.loads(line) for line in (run.path / "curated.jsonl").read_text().splitlines()]
    first = {row["n"]: row for row in curated if row["isaac_target"] == 0}
    assert len(first) == 12
    assert first[3]["isaac_id"] == [6, 7]
    assert first[3]["isaac_action"] == ["kept", "kept"]
    assert first[3]["messages"] == talk(3)["messages"]


def test_input_columns_named_like_added_ones_are_unchanged(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "b", "isaac_id": "mine"}] * 2
    source = write_lines(tmp_path / "in.jsonl", rows)
    run = curate_to(tmp_path / "run", source, Recipe.redraw_most(), force=True)
    curated = json.loads((run.path / "curated.jsonl").read_text().splitlines()[1])
    assert curated["isaac_id"] == "mine"
    assert curated["isaac_id_2"] == 1


@pytest.mark.slow
def test_identical_rows_by_the_hundred_thousand_are_curated(tmp_path: Path) -> None:
    line = b'{"context": "hello there", "response": "hi, how are you"}\n'
    (tmp_path / "in.jsonl").write_bytes(line * 300_000)
    run = curate_to(tmp_path / "run", tmp_path / "in.jsonl", Recipe.redraw_most(), force=True)
    assert run.summary()["kept"] + run.summary()["abstained"] == 300_000
    with (run.path / "curated.jsonl").open("rb") as curated:
        assert sum(1 for _ in curated) == 300_000
