from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.cli.test_runs import outputs
from tests.conftest import RunIsaac, curate_command, write_lines


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["no exchange"]),
        (b"\n\n", ["no exchange"]),
        (b'{"context": "a", "response": 5}\n', ["none of the 1 rows", "line 1", "number (5)"]),
        (b'{"a": 1}\n', ["cannot detect the format from the columns: a", "--context"]),
        (b"nonsense\n{]\n", ["none of the 2 rows", "line 1", "broken JSON"]),
    ],
)
def test_an_input_without_exchanges_ends_with_a_message_and_code_1(
    isaac: RunIsaac, tmp_path: Path, content: bytes, words: list[str]
) -> None:
    (tmp_path / "in.jsonl").write_bytes(content)
    done = isaac("curate", tmp_path / "in.jsonl", "-o", tmp_path / "run")
    assert done.code == 1
    assert all(word in done.err for word in words), done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_a_folder_of_another_recipe_is_refused_with_the_number_that_differs(
    isaac: RunIsaac, small: Path, tmp_path: Path
) -> None:
    isaac("curate", small, "-o", tmp_path / "run", "-k", "30")
    done = isaac("curate", small, "-o", tmp_path / "run", "-k", "31")
    assert done.code == 1
    assert "neighbors: 30 -> 31" in done.err
    done = isaac("curate", small, "-o", tmp_path / "run", "-k", "30", "--seed", "1")
    assert "isaac redraw" in done.err


def test_a_folder_with_something_else_in_it_is_refused(
    isaac: RunIsaac, small: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    done = isaac("curate", small, "-o", tmp_path / "run")
    assert done.code == 1
    assert "not a run folder" in done.err
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("folder", ["file/run", "/proc/isaac-run"])
def test_an_unwritable_folder_ends_with_a_message(
    isaac: RunIsaac, small: Path, tmp_path: Path, folder: str
) -> None:
    (tmp_path / "file").write_text("a file, no folder")
    done = isaac("curate", small, "-o", tmp_path / folder)
    assert done.code == 1
    assert "cannot use" in done.err
    assert "Traceback" not in done.err


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit on file sizes")
def test_a_disk_that_takes_no_more_ends_cleanly_and_the_run_goes_on_later(
    small: Path, tmp_path: Path
) -> None:
    line = curate_command(small, tmp_path / "run")
    limits = [2_000, 20_000, 60_000]
    for limit in limits:
        full = subprocess.run(
            line,
            capture_output=True,
            text=True,
            preexec_fn=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit)),
        )
        assert full.returncode == 1, full.stderr
        assert "cannot write" in full.stderr
        assert "run the same command again to resume" in full.stderr
        assert "Traceback" not in full.stderr
    assert subprocess.run(line, capture_output=True).returncode == 0
    subprocess.run(curate_command(small, tmp_path / "fresh"), check=True, capture_output=True)
    assert outputs(tmp_path / "run") == outputs(tmp_path / "fresh")


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("mount"), reason="needs to mount a small disk"
)
def test_a_full_disk_ends_with_code_1_and_says_so(small: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        line = [sys.executable, "-m", "isaac", "curate", str(small), "-o", str(disk / "run")]
        done = subprocess.run(line, capture_output=True, text=True)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr


def test_unknown_settings_are_wrong_usage(isaac: RunIsaac, small: Path, tmp_path: Path) -> None:
    assert isaac("curate", small, "-o", tmp_path / "run", "--neighbors", "0").code == 2
    done = isaac("curate", small, "-o", tmp_path / "run", "--sharpening", "mild")
    assert done.code == 2
    assert "adaptive" in done.err
    done = isaac("curate", small, "-o", tmp_path / "run", "--encoder", "word2vec")
    assert done.code == 2
    assert "available: wordllama, hashing, " in done.err
    assert isaac("curate", small).code == 2
    assert isaac("nonsense").code == 2


def test_commands_on_a_folder_that_is_no_finished_run_say_so(
    isaac: RunIsaac, tmp_path: Path
) -> None:
    for command in (["report"], ["explain"], ["redraw"], ["export"], ["heal"]):
        given = [*command, tmp_path / "none", *(["0"] if command == ["explain"] else [])]
        done = isaac(*given)
        assert done.code == 1, command
        assert "isaac curate" in done.err


def test_a_first_attempt_that_failed_leaves_the_folder_free(
    isaac: RunIsaac, tmp_path: Path
) -> None:
    write_lines(tmp_path / "in.jsonl", [{"ask": "why", "say": "so"}] * 3)
    out = ("-o", tmp_path / "run")
    assert isaac("curate", tmp_path / "missing.jsonl", *out).code == 1
    done = isaac("curate", tmp_path / "in.jsonl", *out)
    assert done.code == 1
    assert "--context" in done.err
    columns = ("--context", "ask", "--response", "say")
    assert (
        isaac(
            "curate", tmp_path / "in.jsonl", *out, *columns, "--encoder", "openai:m@http://x:y@z"
        ).code
        == 2
    )
    assert isaac("curate", tmp_path / "in.jsonl", *out, *columns).code == 0


def test_a_damaged_run_is_told_and_mended_by_the_same_command(
    isaac: RunIsaac, small: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = ("curate", small, "-o", run, "-k", "30", "--recipe", "redraw-most")
    isaac(*command)
    whole = outputs(run)
    (run / "lineage.parquet").write_bytes(whole["lineage.parquet"][:100])
    done = isaac("explain", run, "3")
    assert done.code == 1
    assert "damaged" in done.err
    assert isaac(*command).code == 0
    assert outputs(run) == whole
    (run / "shards" / "00000.parquet").write_bytes(b"PAR1")
    assert "damaged" in isaac("explain", run, "3").err


def test_a_strangers_file_is_never_taken_for_the_start_of_a_run(
    isaac: RunIsaac, small: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "input.json").write_text("mine")
    done = isaac("curate", small, "-o", tmp_path / "run")
    assert done.code == 1
    assert (tmp_path / "run" / "input.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--judge", "nosuch"), "no judge 'nosuch'"),
        (("--judge", "profanty"), "did you mean profanity?"),
        (("--encoder", "wordlama"), "did you mean wordllama?"),
        (("--recipe", "papr"), "no recipe 'papr'; did you mean paper?; give one of default, paper"),
        (("--judge", "trained:nowhere"), "no judge in 'nowhere'"),
        (("--encoder", "nosuch"), "no encoder 'nosuch'"),
        (("--context-encoder", "openai:m"), "no encoder 'openai:m'"),
    ],
)
@pytest.mark.parametrize("dry", [False, True])
def test_wrong_names_of_models_are_told_before_anything_is_read(
    isaac: RunIsaac, tmp_path: Path, flags: tuple[str, ...], words: str, dry: bool
) -> None:
    more = ("--dry-run",) if dry else ("-o", tmp_path / "run")
    done = isaac("curate", tmp_path / "missing.jsonl", *flags, *more)
    assert done.code in (1, 2)
    assert words in done.err
    assert "missing.jsonl" not in done.err
    assert not (tmp_path / "run" / "corpus.parquet").exists()


def test_a_file_given_as_a_run_is_told(isaac: RunIsaac, small: Path) -> None:
    done = isaac("report", small)
    assert done.code == 1
    assert f"{small} is a file, not a run folder; create a run with: isaac curate" in done.err


def test_one_run_cannot_be_compared(isaac: RunIsaac, tmp_path: Path) -> None:
    done = isaac("compare", tmp_path / "run")
    assert done.code == 2
    assert "give at least two runs to compare" in done.err
