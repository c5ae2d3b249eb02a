"""Runs whose verdict is that the method does not apply, and the rows that a curation leaves out."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random
from typing import IO, Any

import pytest

from isaac import Recipe, Run, RunError, curate_to, export, redraw_run
from isaac.curation.resources import Tools
from isaac.runs.run import CORPUS_FILES, OUTPUT_FILES
from isaac.runtime.atomic_files import MirroredFolder
from isaac.runtime.engines import LocalEngine
from isaac.train.datasets import iter_training_rows
from tests.cli.test_runs import outputs
from tests.conftest import RunIsaac, write_lines
from tests.curation.test_exchangeability import facts

FIXED = {
    "context_encoder": "hashing",
    "response_encoder": "hashing",
    "view": "whole",
    "radius": 1.0,
    "neighbors": 30,
}
SELECTIVE = Recipe.of({**FIXED, "mode": "selective"})
"""Redraws responses, which does not apply to facts."""
FILTER = Recipe.of({**FIXED, "mode": "filter"})

REASON = "fits best: responses here answer one message only. Drop rows instead: --mode filter"
Records = list[dict[str, Any]]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus whose responses answer one message only."""
    rows = [{"context": context, "response": response} for context, response in facts(220)]
    return write_lines(tmp_path_factory.mktemp("facts") / "in.jsonl", rows)


def read_lines(file: Path) -> Records:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def curate_facts(source: Path, out: Path) -> tuple[object, ...]:
    fixed = ("--encoder", "hashing", "--view", "whole", "--radius", "1", "-k", "30")
    return ("curate", source, "-o", out, *fixed)


def test_the_command_refuses_with_its_own_exit_code_until_it_is_forced(
    isaac: RunIsaac, source: Path, tmp_path: Path
) -> None:
    command = (*curate_facts(source, tmp_path / "run"), "--mode", "selective")
    for _ in range(2):  # the second time, the finished run is reused
        done = isaac(*command)
        assert done.code == 3
        assert done.out.startswith(
            "trust it?  No. The method does not apply to this corpus, so no curated corpus was "
            "written. The own response of "
        )
        assert REASON in done.out
        assert "To write it all the same, add --force." in done.out
        assert "curated.jsonl" not in done.out
        report = tmp_path / "run" / "report.html"
        assert f"written:   no curated corpus; report: {report}\n" in done.out
        assert not {file.name for file in (tmp_path / "run").iterdir()} & {*CORPUS_FILES}
    facts_printed = json.loads(isaac(*command, "--json").out)
    assert (facts_printed["refused"], facts_printed["verdict"]) == (True, "does not apply")
    assert REASON in facts_printed["reasons"][0]
    forced = isaac(*command, "--force")
    assert forced.code == 0
    assert forced.out.startswith("trust it?  No. The method does not apply to this corpus. ")
    assert "add --force" not in forced.out
    assert isaac(*command).code == 3  # the same command without it, though the corpus stays
    rows = [*read_lines(tmp_path / "run" / "curated.jsonl")]
    assert len(rows) + len(read_lines(tmp_path / "run" / "untrusted.jsonl")) == 220
    # The remedy that the reason names.
    assert isaac(*curate_facts(source, tmp_path / "less"), "--mode", "filter").code == 0
    assert isaac(*curate_facts(source, tmp_path / "auto")).code == 0


def test_a_refused_run_is_complete_but_for_the_corpus(source: Path, tmp_path: Path) -> None:
    run = curate_to(tmp_path / "run", source, SELECTIVE)
    assert run.finished
    assert run.refused
    assert run.is_intact()
    summary = run.summary()
    assert summary["refused"] is True
    assert summary["diagnosis"]["verdict"] == "does not apply"
    for name in ("report.md", "report.html"):
        assert "responses here answer one message only" in (run.path / name).read_text()
    assert not {*CORPUS_FILES} & set(run.manifest()["sha256"])
    assert run.curation().lineage.num_rows == 220
    forced = curate_to(tmp_path / "forced", source, SELECTIVE, force=True)
    assert not forced.refused
    assert forced.summary()["refused"] is False
    assert {*CORPUS_FILES} <= set(forced.manifest()["sha256"])
    assert forced.curation().lineage.equals(run.curation().lineage)


def test_forcing_a_refused_run_gives_the_bytes_of_a_forced_one(
    source: Path, tmp_path: Path
) -> None:
    run = curate_to(tmp_path / "run", source, SELECTIVE)
    before = run.manifest()
    assert curate_to(tmp_path / "run", source, SELECTIVE).manifest() == before
    curate_to(tmp_path / "run", source, SELECTIVE, force=True)
    curate_to(tmp_path / "forced", source, SELECTIVE, force=True)
    assert outputs(tmp_path / "run") == outputs(tmp_path / "forced")
    # Once it is written, the corpus stays.
    assert not curate_to(tmp_path / "run", source, SELECTIVE).refused


def test_what_uses_the_corpus_refuses_and_says_what_to_do(
    isaac: RunIsaac, source: Path, tmp_path: Path
) -> None:
    run = curate_to(tmp_path / "run", source, SELECTIVE)
    message = (
        rf"{run.path} has no curated corpus, because .*{REASON}.*isaac curate again with --force"
    )
    uses: list[Callable[[], object]] = [
        lambda: export(run, "sft"),
        lambda: list(iter_training_rows(run, "dpo")),
        run.require_corpus,
    ]
    for use in uses:
        with pytest.raises(RunError, match=message):
            use()
    assert not (run.path / "export").exists()
    for command in (("export", run.path), ("score", run.path), ("heal", run.path)):
        done = isaac(*command)
        assert done.code == 1
        assert "has no curated corpus" in done.err
        assert "--force" in done.err
    # The reports and explanations of a refused run are available.
    assert isaac("report", run.path).code == 0
    assert isaac("explain", run.path, "3").code == 0


def test_a_redraw_to_which_the_method_does_not_apply_removes_the_old_corpus(
    isaac: RunIsaac, source: Path, tmp_path: Path
) -> None:
    run = curate_to(tmp_path / "run", source, FILTER)
    assert not run.refused
    export(run, "sft")
    before = outputs(run.path)
    done = isaac("redraw", run.path, "--mode", "selective")
    assert done.code == 3
    assert run.refused
    assert not {file.name for file in run.path.iterdir()} & {*CORPUS_FILES, "export"}
    curate_to(tmp_path / "fresh", source, SELECTIVE)
    assert outputs(run.path) == outputs(tmp_path / "fresh")
    assert isaac("redraw", run.path, "--mode", "selective", "--force").code == 0
    assert not run.refused
    redraw_run(run, {"mode": "filter"})
    # What the other mode computed stays; the draw is that of the first run.
    after = outputs(run.path)
    assert {name: after[name] for name in OUTPUT_FILES} == {
        name: before[name] for name in OUTPUT_FILES
    }
    assert not any("export" in name for name in after)


@pytest.mark.parametrize("file", ["lineage.parquet", "report.json", "manifest.json"])
def test_a_refused_run_resumes_to_the_same_bytes(
    source: Path, tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = MirroredFolder.writing

    def stopping(
        folder: MirroredFolder, path: Path, mode: str = "w"
    ) -> AbstractContextManager[IO[Any]]:
        if path.name == file:
            raise KeyboardInterrupt
        return original(folder, path, mode)

    # The corpus of an earlier draw is there until the new report says that the method fails.
    run = curate_to(tmp_path / "run", source, FILTER)
    with monkeypatch.context() as patched:
        patched.setattr(MirroredFolder, "writing", stopping)
        with pytest.raises(KeyboardInterrupt):
            redraw_run(run, {"mode": "selective"})
    assert not run.finished
    with pytest.raises(RunError, match="not a finished run"):
        export(run, "sft")
    curate_to(run.path, source, SELECTIVE)
    assert run.refused
    curate_to(tmp_path / "whole", source, SELECTIVE)
    assert outputs(run.path) == outputs(tmp_path / "whole")


# Untrusted rows.


def numbered(exchanges: list[dict[str, str]]) -> Records:
    """Exchanges with extra columns, one of which has the name of a column that isaac adds."""
    return [
        {"n": n, **exchange, "isaac_trust": "mine", "tags": ["a", None, {"b": 1.5}]}
        for n, exchange in enumerate(exchanges)
    ]


KEEPS_AND_REDRAWS = Recipe.of({**FIXED, "mode": "selective", "min_fit": 1.0})
ADDED = {"isaac_id", "isaac_action", "isaac_trust_2"}


@pytest.mark.parametrize("recipe", [KEEPS_AND_REDRAWS, FILTER], ids=["selective", "filter"])
def test_curated_and_untrusted_rows_are_the_input(
    recipe: Recipe, exchanges: list[dict[str, str]], tmp_path: Path
) -> None:
    rows = numbered(exchanges)
    run = curate_to(tmp_path / "run", write_lines(tmp_path / "in.jsonl", rows), recipe)
    curated, untrusted = (read_lines(run.path / name) for name in CORPUS_FILES)
    ids = [[row["n"] for row in part] for part in (curated, untrusted)]
    assert sorted(ids[0] + ids[1]) == list(range(len(rows)))
    assert all(part == sorted(part) for part in ids)
    assert len(curated) > 30
    assert len(untrusted) > 10
    lineage = run.curation().lineage.to_pylist()
    for row in untrusted:
        n = row["n"]
        assert {name: row[name] for name in row if name not in ADDED} == rows[n]
        assert (row["isaac_id"], row["isaac_action"]) == (n, "dropped")
        assert row["isaac_trust_2"] == pytest.approx(lineage[n]["trust"], abs=1e-6)
        assert lineage[n]["action"] == "dropped"
    for row in curated:
        kept = {name: row[name] for name in row if name not in {*ADDED, "response"}}
        assert kept == {name: rows[row["n"]][name] for name in rows[row["n"]] if name != "response"}
        is_same = row["response"] == rows[row["n"]]["response"]
        assert row["isaac_action"] == ("kept" if is_same else "replaced")
    summary = run.summary()
    assert summary["dropped"] == len(untrusted)
    assert summary["diagnosis"]["price"]["rows"] == pytest.approx(
        len(curated) / len(rows), abs=1e-6
    )


@pytest.mark.parametrize("mode", ["resample", "pairs"])
def test_without_dropped_rows_no_row_is_untrusted(
    mode: str, exchanges: list[dict[str, str]], tmp_path: Path
) -> None:
    source = write_lines(tmp_path / "in.jsonl", numbered(exchanges))
    run = curate_to(tmp_path / "run", source, Recipe.of({**FIXED, "mode": mode, "min_fit": 1.0}))
    assert (run.path / "untrusted.jsonl").read_bytes() == b""
    curated = read_lines(run.path / "curated.jsonl")
    share = run.summary()["diagnosis"]["price"]["rows"]
    assert share == pytest.approx(len(curated) / len(exchanges))
    assert (len(curated) < len(exchanges)) == (mode == "pairs")


def test_a_record_with_a_dropped_turn_is_untrusted_and_curated_up_to_that_turn(
    exchanges: list[dict[str, str]], tmp_path: Path
) -> None:
    rows = []
    for n, (one, other) in enumerate(zip(exchanges[::2], exchanges[1::2], strict=True)):
        turns = [one["context"], one["response"], other["context"], other["response"]]
        messages = [
            {"role": role, "content": turn}
            for role, turn in zip(["user", "assistant"] * 2, turns, strict=True)
        ]
        rows.append({"n": n, "messages": messages})
    source = write_lines(tmp_path / "in.jsonl", rows)
    recipe = Recipe.of({**KEEPS_AND_REDRAWS.model_dump(), "turns": "all", "budget": 0.3})
    run = curate_to(tmp_path / "run", source, recipe)
    curated, untrusted = (read_lines(run.path / name) for name in CORPUS_FILES)
    assert {row["n"] for row in curated + untrusted} == set(range(len(rows)))
    assert len({row["n"] for row in untrusted}) == len(untrusted) > 0
    lineage = run.curation().lineage.to_pylist()
    for row in untrusted:
        n = row["n"]
        assert row["messages"] == rows[n]["messages"]
        assert row["isaac_id"] == [2 * n, 2 * n + 1]
        assert row["isaac_action"] == [lineage[i]["action"] for i in row["isaac_id"]]
        assert "dropped" in row["isaac_action"]
        assert row["isaac_trust"] == [round(lineage[i]["trust"], 6) for i in row["isaac_id"]]
    with_dropped = {row["n"] for row in untrusted}
    cut = [row for row in curated if row["n"] in with_dropped]
    assert 0 < len(cut) < len(curated)
    for row in cut:  # the second of the two turns was dropped
        assert len(row["messages"]) == 2
        assert lineage[2 * row["n"] + 1]["action"] == "dropped"
    for row in curated:
        assert "dropped" not in row["isaac_action"]


def test_a_row_with_several_targets_is_untrusted_once(
    exchanges: list[dict[str, str]], tmp_path: Path
) -> None:
    source = write_lines(tmp_path / "in.jsonl", numbered(exchanges))
    recipe = Recipe.of({**KEEPS_AND_REDRAWS.model_dump(), "targets": 3, "min_fit": 0.5})
    run = curate_to(tmp_path / "run", source, recipe)
    curated, untrusted = (read_lines(run.path / name) for name in CORPUS_FILES)
    assert len({row["n"] for row in untrusted}) == len(untrusted) > 0
    assert len({row["n"] for row in curated}) == 120 - len(untrusted) < len(curated)
    assert {row["isaac_target"] for row in curated} == {0, 1, 2}


# Invariances, in the files of a run.


def outcomes(run: Run) -> dict[tuple[str, int], list[tuple[Any, ...]]]:
    """What the corpus files say of each row, by its number in the input, without ids."""
    found: dict[tuple[str, int], list[tuple[Any, ...]]] = {}
    for name in CORPUS_FILES:
        for row in read_lines(run.path / name):
            facts = (row["response"], row["isaac_action"], row.get("isaac_trust_2"))
            found.setdefault((name, row["n"]), []).append(facts)
    return found


@pytest.mark.parametrize("recipe", [KEEPS_AND_REDRAWS, FILTER], ids=["selective", "filter"])
def test_permuting_the_input_permutes_ids_only(
    recipe: Recipe, exchanges: list[dict[str, str]], tmp_path: Path
) -> None:
    rows = numbered(exchanges)
    runs = [
        curate_to(tmp_path / name, write_lines(tmp_path / f"{name}.jsonl", order), recipe)
        for name, order in (("a", rows), ("b", Random(1).sample(rows, len(rows))))
    ]
    assert outcomes(runs[0]) == outcomes(runs[1])
    facts = [run.summary()["diagnosis"] for run in runs]
    assert facts[0] == facts[1]


@pytest.mark.parametrize("recipe", [KEEPS_AND_REDRAWS, FILTER], ids=["selective", "filter"])
def test_labels_change_nothing(
    recipe: Recipe, exchanges: list[dict[str, str]], tmp_path: Path
) -> None:
    rows = numbered(exchanges)
    runs = []
    for name, kinds in (("a", 2), ("b", 3)):
        labeled = [{**row, "label": f"unsafe {row['n'] % kinds}"} for row in rows]
        source = write_lines(tmp_path / name / "in.jsonl", labeled)
        runs.append(curate_to(tmp_path / name / "run", source, recipe))
    assert outcomes(runs[0]) == outcomes(runs[1])
    assert runs[0].curation().lineage.equals(runs[1].curation().lineage)
    for name in CORPUS_FILES:
        for run, kinds in zip(runs, (2, 3), strict=True):
            rows = read_lines(run.path / name)
            assert all(row["label"] == f"unsafe {row['n'] % kinds}" for row in rows)


def test_workers_change_no_byte_of_a_run_whose_mode_is_chosen(source: Path, tmp_path: Path) -> None:
    recipe = Recipe.of({**FIXED, "mode": "auto"})
    for workers in (1, 3):
        tools = Tools(engine=LocalEngine(workers))
        curate_to(tmp_path / str(workers), source, recipe, tools)
    assert outputs(tmp_path / "1") == outputs(tmp_path / "3")
