from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import AbstractContextManager
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import pytest

from isaac import Recipe, Run, RunError, curate_to, runs
from isaac.settling import RADII
from isaac.tools import Tools
from tests.conftest import curating, write_lines
from tests.test_cli import outputs


def test_killed_at_any_moment_a_run_goes_on_to_the_same_bytes(tmp_path: Path, big: Path) -> None:
    start = time.monotonic()
    subprocess.run(curating(big, tmp_path / "whole", 100), check=True, capture_output=True)
    length = time.monotonic() - start
    chance = random.Random(0)
    for attempt in range(6):
        out = tmp_path / f"killed{attempt}"
        kills = 0
        while True:
            job = subprocess.Popen(
                curating(big, out, 100), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                job.wait(chance.uniform(0.2, 1.0) * length)
                break
            except subprocess.TimeoutExpired:
                job.send_signal(signal.SIGKILL)
                job.wait()
                kills += 1
            if kills == 4:
                subprocess.run(curating(big, out, 100), check=True, capture_output=True)
        assert outputs(out) == outputs(tmp_path / "whole")
        shutil.rmtree(out)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a corpus of several shards and portions of texts."""
    lines = (files("isaac") / "data" / "demo.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    more = [{**row, "context": f"{row['context']} {i}"} for i in range(4) for row in rows]
    return write_lines(tmp_path_factory.mktemp("big") / "in.jsonl", more)


@pytest.mark.parametrize(
    "stage", ["read", "vectors", "wording", "trials", "shards", "lineage", "report"]
)
def test_work_that_is_finished_is_not_done_again(
    tmp_path: Path, small: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop the job as it begins to write a file, and see that what was written before stays."""
    names = {
        "read": "corpus.parquet",
        "vectors": "responses.npy",
        "wording": "wording.npy",
        "trials": "trials.npy",
        "shards": "00000.parquet",
        "lineage": "lineage.parquet",
        "report": "report.html",
    }
    recipe = Recipe(neighbors=30)
    curate_to(tmp_path / "whole", small, recipe)
    original = runs.Run.writing

    def stopping(run: Run, file: Path, mode: str = "w") -> AbstractContextManager[IO[Any]]:
        if file.name == names[stage]:
            raise KeyboardInterrupt
        return original(run, file, mode)

    with monkeypatch.context() as patched:
        patched.setattr(runs.Run, "writing", stopping)
        with pytest.raises(KeyboardInterrupt):
            curate_to(tmp_path / "run", small, recipe)
    there = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("*.*")}
    curate_to(tmp_path / "run", small, recipe)
    kept = [file for file in there if file.exists() and file.suffix in (".npy", ".parquet")]
    redone = {"lineage.parquet"}
    assert all(f.stat().st_mtime_ns == there[f] for f in kept if f.name not in redone)
    assert outputs(tmp_path / "run") == outputs(tmp_path / "whole")


def test_a_finished_run_is_found_as_it_was(tmp_path: Path, small: Path) -> None:
    run = curate_to(tmp_path / "run", small, Recipe(neighbors=30))
    manifest = run.manifest()
    assert curate_to(tmp_path / "run", small, Recipe(neighbors=30)).manifest() == manifest


def test_what_a_killed_process_half_wrote_is_swept_away(tmp_path: Path, small: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml.4711.part").write_text("neighb")
    run = curate_to(tmp_path / "run", small, Recipe(neighbors=30))
    assert not list(run.path.rglob("*.part"))


def test_a_run_of_another_version_is_refused(tmp_path: Path, small: Path) -> None:
    run = curate_to(tmp_path / "run", small, Recipe(neighbors=30))
    note = run.path / "input.json"
    note.write_text(note.read_text().replace('"isaac": "', '"isaac": "9'))
    with pytest.raises(RunError, match="was begun by isaac 9"):
        curate_to(tmp_path / "run", small, Recipe(neighbors=30))


def test_a_finished_run_loads_as_the_curation_that_it_was(tmp_path: Path, small: Path) -> None:
    run = curate_to(tmp_path / "run", small, Recipe(neighbors=30, targets=2))
    again = run.curation()
    assert run.recipe() == Recipe(neighbors=30, targets=2)
    assert (again.recipe.neighbors, again.recipe.targets) == (30, 2)
    assert again.recipe.radius in RADII
    assert again.choice is not None
    assert again.choice.radius == again.recipe.radius
    assert again.redraw().lineage == again.lineage


def test_a_run_that_lost_a_piece_says_so_instead_of_making_it(tmp_path: Path, small: Path) -> None:
    run = curate_to(tmp_path / "run", small, Recipe(neighbors=30))
    (run.path / "shards" / "00000.parquet").unlink()
    with pytest.raises(RunError, match="lacks finished work"):
        run.curation()


def test_a_run_by_key_and_equal_text_needs_no_encoder(tmp_path: Path) -> None:
    rows = [
        {"question": f"q{i}", "answer": "yes" if i % 3 else "no", "act": i % 2} for i in range(20)
    ]
    source = write_lines(tmp_path / "in.jsonl", rows)
    run = curate_to(
        tmp_path / "run", source, Recipe(group_by="act", clusters="text"), Tools(encoders={})
    )
    assert run.manifest()["encoders"] == {}
    assert run.manifest()["search"] == "key act"
    assert {file.name for file in (run.path / "vectors").iterdir()} == {"wording.npy"}


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
    run = curate_to(tmp_path / "run", source, Recipe.paper(turns="all", targets=2, neighbors=4))
    curated = [json.loads(line) for line in (run.path / "curated.jsonl").read_text().splitlines()]
    first = {row["n"]: row for row in curated if row["isaac_target"] == 0}
    assert len(first) == 12
    assert first[3]["isaac_id"] == [6, 7]
    assert first[3]["isaac_action"] == ["kept", "kept"]
    assert first[3]["messages"] == talk(3)["messages"]


def test_columns_named_like_ours_are_left_alone(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "b", "isaac_id": "mine"}] * 2
    run = curate_to(tmp_path / "run", write_lines(tmp_path / "in.jsonl", rows), Recipe())
    curated = json.loads((run.path / "curated.jsonl").read_text().splitlines()[1])
    assert curated["isaac_id"] == "mine"
    assert curated["isaac_id_2"] == 1


@pytest.mark.slow
def test_a_million_identical_rows_are_curated(tmp_path: Path) -> None:
    line = b'{"context": "hello there", "response": "hi, how are you"}\n'
    (tmp_path / "in.jsonl").write_bytes(line * 1_000_000)
    run = curate_to(tmp_path / "run", tmp_path / "in.jsonl", Recipe())
    assert run.summary()["kept"] + run.summary()["abstained"] == 1_000_000
    with (run.path / "curated.jsonl").open("rb") as curated:
        assert sum(1 for _ in curated) == 1_000_000


def test_interrupted_the_command_says_how_to_go_on(tmp_path: Path, big: Path) -> None:
    # Where the tests are a shell's background job, interrupts are ignored, and would be here too.
    mine = signal.signal(signal.SIGINT, signal.default_int_handler)
    job = subprocess.Popen(curating(big, tmp_path / "run", 100), stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, mine)
    while not (tmp_path / "run" / "recipe.yaml").exists():
        time.sleep(0.01)
    os.kill(job.pid, signal.SIGINT)
    _, told = job.communicate()
    assert job.returncode == 130
    assert "the same command goes on" in told
