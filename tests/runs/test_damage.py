"""Finished runs with damaged files, and copies and messages that were cut off."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from isaac import Recipe, Run, RunError, curate_to, export, redraw_run
from isaac.runtime.atomic_files import damaged_as_run_error
from isaac.runtime.progress import LineProgress
from tests.cli.test_runs import outputs
from tests.conftest import RunIsaac, write_lines


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, exchanges: list[dict[str, str]]) -> Path:
    run = tmp_path_factory.mktemp("damage") / "run"
    source = write_lines(run.parent / "small.jsonl", exchanges)
    curate_to(run, source, Recipe(mode="filter"), force=True)
    return run


def _copy(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


@pytest.mark.parametrize("file", ["corpus.parquet", "lineage.parquet", "curated.jsonl"])
def test_one_flipped_bit_is_refused_by_export(tmp_path: Path, whole: Path, file: str) -> None:
    run = _copy(whole, tmp_path / "run")
    data = bytearray((run / file).read_bytes())
    data[len(data) // 2] ^= 4
    (run / file).write_bytes(data)
    with pytest.raises(RunError, match=f"{file} is missing, damaged or edited"):
        export(Run(run), "sft", tmp_path / "out")


@pytest.mark.parametrize(
    "text", ["{}", '{"sha256": 3}', '{"sha256": {"a": 1}}', "[]", "{", "null", "[" * 100_000]
)
@pytest.mark.parametrize("file", ["manifest.json", "input.json", "report.json"])
def test_a_foreign_json_file_is_a_message(
    tmp_path: Path, whole: Path, file: str, text: str
) -> None:
    run = Run(_copy(whole, tmp_path / "run"))
    (run.path / file).write_text(text)
    with pytest.raises(RunError, match=file):
        run.curation() if file != "report.json" else run.summary()


COMMANDS = (
    ("report", "RUN"),
    ("explain", "RUN", "3"),
    ("diff", "RUN"),
    ("diagnose", "RUN"),
    ("audit", "RUN", "--column", "situation", "--unsafe", "late_parcel"),
    ("compare", "RUN", "OTHER"),
    ("export", "RUN", "-o", "OUT"),
    ("redraw", "RUN", "--budget", "0.4", "-o", "OUT"),
)
"""Commands that read a finished run."""

EDITS = {
    "recipe.yaml": ("", "{}", "neighbors: 7\n", None),
    "report.json": ("", "{}", "[1]", None),
    "manifest.json": ("", "{}", "[1]", '{"sha256": {"a": 1}}'),
    "input.json": ("", "{}", "[1]", '{"isaac": "0.1.0", "files": []}', None),
    "audit/result.json": (
        "",
        "[1]",
        '{"name": "x"}',
        '{"lineage": "LINEAGE", "results": {"a": 1}}',
    ),
}
"""What the files of a run may contain if isaac did not write it; None if they are gone."""


@pytest.mark.parametrize(
    ("file", "text"), [(file, text) for file, texts in EDITS.items() for text in texts]
)
def test_every_command_on_an_edited_run_ends_in_a_message(
    isaac: RunIsaac, tmp_path: Path, whole: Path, file: str, text: str | None
) -> None:
    run = _copy(whole, tmp_path / "run")
    (run / file).parent.mkdir(exist_ok=True)
    if text is None:
        (run / file).unlink()
    else:
        lineage = json.loads((whole / "manifest.json").read_text())["sha256"]["lineage.parquet"]
        (run / file).write_text(text.replace("LINEAGE", lineage))
    places = {"RUN": run, "OTHER": whole, "OUT": tmp_path / "out"}
    codes = {}
    for command in COMMANDS:
        done = isaac(*(places.get(word, word) for word in command))
        codes[command[0]] = done.code
        assert done.code == 0 or done.err.count("\nisaac: ") + done.err.startswith("isaac: ") == 1
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    readers = {
        "recipe.yaml": ("explain", "diff", "diagnose", "audit", "compare", "export", "redraw"),
        "report.json": ("audit",),
        "manifest.json": ("report", "explain", "diff", "audit", "compare", "export"),
        "input.json": ("explain", "diff", "diagnose", "audit", "compare", "export", "redraw"),
        "audit/result.json": ("audit",),
    }
    assert [codes[name] for name in readers[file]] == [1] * len(readers[file])


@pytest.mark.parametrize("name", ["seed", "recipe_sha256", "input_sha256", "sha256"])
def test_no_value_of_a_manifest_can_be_taken_out(tmp_path: Path, whole: Path, name: str) -> None:
    run = Run(_copy(whole, tmp_path / "run"))
    manifest = json.loads((run.path / "manifest.json").read_text())
    del manifest[name]
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=r"manifest\.json is missing, damaged or edited"):
        run.curation()


def test_another_name_of_an_input_file_is_refused(tmp_path: Path, whole: Path) -> None:
    run = Run(_copy(whole, tmp_path / "run"))
    facts = json.loads((run.path / "input.json").read_text())
    facts["files"][0]["name"] = "other.jsonl"
    (run.path / "input.json").write_text(json.dumps(facts))
    with pytest.raises(RunError, match=r"input\.json is missing, damaged or edited"):
        run.corpus()


@pytest.mark.parametrize("damage", ["corpus.parquet", "input.json"])
def test_curate_rebuilds_what_is_deleted_as_the_message_says(
    tmp_path: Path, whole: Path, damage: str
) -> None:
    run = Run(_copy(whole, tmp_path / "run"))
    (run.path / damage).write_text("{}")
    recipe, source = Recipe(mode="filter"), whole.parent / "small.jsonl"
    with pytest.raises(RunError, match="delete it and manifest"):
        run.corpus()
    (run.path / damage).unlink()
    (run.path / "manifest.json").unlink()
    curate_to(run.path, source, recipe, force=True)
    assert outputs(run.path) == outputs(whole)


def test_redraw_resumes_a_copy_that_was_cut_off(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redraw_run(Run(whole), {"budget": 0.3}, tmp_path / "expected", force=True)

    def stop(*_: Any, **__: Any) -> None:
        (tmp_path / "new" / "vectors").mkdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copytree", stop)
        with pytest.raises(KeyboardInterrupt):
            redraw_run(Run(whole), {"budget": 0.3}, tmp_path / "new", force=True)
    redraw_run(Run(whole), {"budget": 0.3}, tmp_path / "new", force=True)
    assert outputs(tmp_path / "new") == outputs(tmp_path / "expected")


def test_progress_goes_on_when_its_reader_has_gone(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        progress = LineProgress(stream, every=0)
        for _ in range(2):
            progress.notify("hello")
        with progress.stage("work", 2) as tick:
            tick(2)


def test_the_command_finishes_when_nobody_reads_its_messages(tmp_path: Path, small: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    arguments = ["curate", str(small), "-o", str(tmp_path / "run"), "--mode", "filter", "--force"]
    done = subprocess.run(
        [sys.executable, "-m", "isaac", *arguments],
        stderr=writer,
        stdout=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert done.returncode == 0
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["exchanges"] > 0


@pytest.mark.parametrize("force", [False, True])
def test_a_run_of_another_version_is_neither_read_nor_redrawn(
    tmp_path: Path, whole: Path, *, force: bool
) -> None:
    run = Run(_copy(whole, tmp_path / "run"))
    facts = json.loads((run.path / "input.json").read_text())
    (run.path / "input.json").write_text(json.dumps({**facts, "isaac": "9.9.9"}))
    for use in (run.curation, lambda: redraw_run(run, {"seed": 3}, force=force)):
        with pytest.raises(RunError, match=r"started by isaac 9\.9\.9"):
            use()
    assert run.finished


def test_a_run_of_another_version_says_so_although_its_manifest_has_no_checksum(
    tmp_path: Path, whole: Path
) -> None:
    run = Run(_copy(whole, tmp_path / "run"))
    manifest = json.loads((run.path / "manifest.json").read_text())
    del manifest["manifest_sha256"]
    (run.path / "manifest.json").write_text(json.dumps(manifest | {"isaac": "0.0.9"}))
    with pytest.raises(RunError, match=r"was started by isaac 0\.0\.9, but this is isaac"):
        run.summary()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "cannot read .*: Too many open files$"),
        (PermissionError(errno.EACCES, "denied"), "cannot read .*: Permission denied$"),
        (FileNotFoundError(errno.ENOENT, "none"), "damaged or missing .*delete it and manifest"),
        (pa.ArrowInvalid("magic bytes"), "damaged or missing .*delete it and manifest"),
    ],
)
def test_only_a_damaged_file_is_called_so(error: Exception, words: str) -> None:
    with pytest.raises(RunError, match=words), damaged_as_run_error(Path("corpus.parquet")):
        raise error


def test_a_folder_whose_name_is_not_utf_8_is_no_damage(tmp_path: Path, whole: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xffn"))
    run = Run(_copy(whole, folder))
    with pytest.raises(RunError, match="its path is not valid UTF-8; rename the folder"):
        run.curation()
