"""Runs that are interrupted, damaged or shared by processes, mostly through the real command."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
from filelock import FileLock

from isaac import Recipe, Run, RunError, curate_to
from isaac.curation import shards
from isaac.runs.disk_storage import CHECKSUMS_FILE
from isaac.runs.run import CORPUS_FILES
from tests.cli.test_runs import outputs
from tests.conftest import RunIsaac, curate_command, write_lines

RECIPE = Recipe(neighbors=30, mode="selective", min_fit=1.0)
"""Keeps, redraws and drops rows of the small corpus."""


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of several shards and several chunks of texts."""
    lines = (files("isaac") / "data" / "demo.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    more = [{**row, "context": f"{row['context']} {i}"} for i in range(2) for row in rows]
    return write_lines(tmp_path_factory.mktemp("big") / "in.jsonl", more)


# Killed.


@pytest.mark.slow
def test_a_run_killed_at_25_random_moments_resumes_to_the_same_bytes(
    tmp_path: Path, big: Path
) -> None:
    """Kill runs again and again at random moments, so that some kills hit each stage."""
    start = time.monotonic()
    subprocess.run(curate_command(big, tmp_path / "whole", 100), check=True, capture_output=True)
    duration = time.monotonic() - start
    rng, kills, runs = random.Random(0), 0, 0
    while kills < 25:
        out, running = tmp_path / f"killed{runs}", True
        while running:
            # After 25 kills, let the last run finish.
            timeout = rng.uniform(0.1, 1.0) * duration if kills < 25 else None
            killed = kill_after(curate_command(big, out, 100), timeout)
            kills, running = kills + killed, killed
        assert outputs(out) == outputs(tmp_path / "whole")
        runs += 1
    assert kills == 25


def kill_after(command: list[str], seconds: float | None) -> bool:
    """Run a command, kill it after some seconds, and return whether it was killed."""
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _, messages = job.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        job.send_signal(signal.SIGKILL)
        job.communicate()
        return True
    assert job.returncode == 0, messages.decode()
    return False


# Damaged.


def flip_bit(data: bytes) -> bytes:
    """Flip one bit in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
    "flipped": flip_bit,
    "empty": lambda data: b"",
    "longer": lambda data: data + b"\0",
}
FILES = [
    "corpus.parquet",
    "vectors/responses.npy",
    "vectors/contexts.json",
    "vectors/wording.kind.npy",
    "vectors/smoothed.npy",
    "vectors/fit.groups.npy",
    "vectors/exchangeability.npy",
    "texts/response.txt",
    "texts/rows.ids.npy",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, exchanges: list[dict[str, str]]) -> Path:
    """A run of several shards that was never interrupted, next to its input."""
    folder = tmp_path_factory.mktemp("whole")
    source = write_lines(folder / "in.jsonl", exchanges)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shards, "SHARD_NEIGHBORHOODS", (50, 50))
        return curate_to(folder / "run", source, RECIPE).path


@pytest.mark.parametrize("damaged", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_of_an_unfinished_run_is_computed_again(
    tmp_path: Path, whole: Path, damaged: str, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_NEIGHBORHOODS", (50, 50))
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    for name in ("manifest.json", "lineage.parquet", "curated.jsonl", "untrusted.jsonl"):
        (run / name).unlink()
    times = {name: (run / name).stat().st_mtime_ns for name in FILES}
    (run / damaged).write_bytes(DAMAGES[damage]((run / damaged).read_bytes()))
    curate_to(run, whole.parent / "in.jsonl", RECIPE)
    assert outputs(run) == outputs(whole)
    others = [name for name in FILES if name.split(".")[0] != damaged.split(".", maxsplit=1)[0]]
    assert all((run / name).stat().st_mtime_ns == times[name] for name in others)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_the_command_computes_a_damaged_shard_again(
    tmp_path: Path, small: Path, damage: str
) -> None:
    command = [*curate_command(small, tmp_path / "run"), "--recipe", "redraw-most"]
    subprocess.run(command, check=True, capture_output=True)
    before = outputs(tmp_path / "run")
    shard = tmp_path / "run" / "shards" / "00000.parquet"
    shard.write_bytes(DAMAGES[damage](shard.read_bytes()))
    explained = subprocess.run(
        [sys.executable, "-m", "isaac", "explain", str(tmp_path / "run"), "3"], capture_output=True
    )
    assert explained.returncode == 1
    assert b"shards/00000.parquet is damaged" in explained.stderr
    (tmp_path / "run" / "manifest.json").unlink()
    subprocess.run(command, check=True, capture_output=True)
    assert outputs(tmp_path / "run") == before


@pytest.mark.parametrize("damage", ["truncated", "flipped", "gone"])
@pytest.mark.parametrize("file", ["corpus.parquet", "rejected.jsonl"])
@pytest.mark.parametrize("source", ["file", "stdin"])
def test_a_damaged_corpus_is_read_again_from_the_input(
    tmp_path: Path, small: Path, source: str, file: str, damage: str
) -> None:
    with small.open("ab") as lines:
        lines.write(b"broken\n")
    command = curate_command(small, tmp_path / "run")
    command = [*command[:4], "-" if source == "stdin" else str(small), *command[5:]]
    subprocess.run(command, input=small.read_bytes(), check=True, capture_output=True)
    before = outputs(tmp_path / "run")
    (tmp_path / "run" / "manifest.json").unlink()
    if damage == "gone":
        (tmp_path / "run" / file).unlink()
    else:
        (tmp_path / "run" / file).write_bytes(DAMAGES[damage](before[file]))
    done = subprocess.run(command, input=small.read_bytes(), capture_output=True)
    if source == "stdin":  # it is consumed by the time that the damage is found
        assert done.returncode == 1
        assert b"give the input as a file" in done.stderr
        done = subprocess.run(curate_command(small, tmp_path / "run"), capture_output=True)
    assert done.returncode == 0, done.stderr
    names = before if source == "file" else ("lineage.parquet", *CORPUS_FILES)
    after = outputs(tmp_path / "run")
    assert {name: after[name] for name in names} == {name: before[name] for name in names}


@pytest.mark.parametrize("lines", [0, 1, 9, 20])
def test_a_cut_off_line_of_checksums_affects_no_other_line(
    tmp_path: Path, whole: Path, lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_NEIGHBORHOODS", (50, 50))
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "manifest.json").unlink()
    sums = (run / CHECKSUMS_FILE).read_bytes().splitlines(keepends=True)
    (run / CHECKSUMS_FILE).write_bytes(b"".join(sums[:lines]) + sums[lines][:-9])
    again = curate_to(run, whole.parent / "in.jsonl", RECIPE)
    assert outputs(run) == outputs(whole)
    assert again.curation().lineage.equals(Run(whole).curation().lineage)


# Shared.


def test_a_second_process_on_a_run_folder_is_refused(tmp_path: Path, big: Path) -> None:
    command = curate_command(big, tmp_path / "run", 100)
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (tmp_path / "run" / "recipe.yaml").exists():
            assert first.poll() is None
            time.sleep(0.01)
        first.send_signal(signal.SIGSTOP)  # otherwise it could end before the others start
        for second in (command, ["redraw", str(tmp_path / "run"), "--seed", "2"]):
            full = second if second is command else [*command[:3], *second]
            done = subprocess.run(full, capture_output=True, text=True)
            assert done.returncode == 1
            assert f"another process works on {tmp_path / 'run'}" in done.stderr
            assert "Traceback" not in done.stderr
    finally:
        first.send_signal(signal.SIGCONT)
        code = first.wait()
    assert code == 0
    subprocess.run(curate_command(big, tmp_path / "alone", 100), check=True, capture_output=True)
    assert outputs(tmp_path / "run") == outputs(tmp_path / "alone")


def test_a_stale_lock_file_does_not_matter(tmp_path: Path, small: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()
    assert curate_to(tmp_path / "run", small, RECIPE).finished


def test_a_run_may_be_read_while_another_process_works_on_it(
    tmp_path: Path, small: Path, isaac: RunIsaac
) -> None:
    run = curate_to(tmp_path / "run", small, RECIPE)
    with FileLock(tmp_path / "run" / ".lock"):
        assert isaac("report", run.path).code == 0
        assert isaac("explain", run.path, "3").code == 0
    with run.locked(), pytest.raises(RunError, match="another process"):
        curate_to(tmp_path / "run", small, RECIPE)


# Interrupted.


def test_an_interrupted_command_says_how_to_resume(tmp_path: Path, big: Path) -> None:
    # If the tests run as a background job of a shell, the command would inherit ignored interrupts.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    job = subprocess.Popen(
        curate_command(big, tmp_path / "run", 100), stderr=subprocess.PIPE, text=True
    )
    signal.signal(signal.SIGINT, handler)
    while not (tmp_path / "run" / "recipe.yaml").exists():
        time.sleep(0.01)
    os.kill(job.pid, signal.SIGINT)
    _, messages = job.communicate()
    assert job.returncode == 130
    assert "running the same command again resumes" in messages
