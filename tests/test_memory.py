from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

resource = pytest.importorskip("resource", reason="needs memory limits, which this system lacks")

GIB = 2**30
LEAN_ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    "OMP_NUM_THREADS": "2",
}
"""Keeps libraries from reserving address space that they never use."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can limit address space")
@pytest.mark.parametrize("layout", ["lines", "array"])
def test_a_corpus_larger_than_memory_is_curated(tmp_path: Path, layout: str) -> None:
    source, size = tmp_path / "in.jsonl", 1.12 * GIB
    padding = "".join(chr(97 + place * place % 7919 % 26) for place in range(400_000))
    count = int(size / len(padding))
    with source.open("w", encoding="utf-8") as out:
        out.write("[" if layout == "array" else "")
        for number in range(count):
            row = {"context": f"case {number % 89} of {number % 97}", "response": f"so {number}"}
            out.write("," if layout == "array" and number else "")
            out.write(json.dumps({**row, "padding": padding[number:]}) + "\n")
        out.write("]" if layout == "array" else "")
    assert source.stat().st_size > 1.05 * GIB
    command = [sys.executable, "-m", "isaac", "curate", str(source), "-o", str(tmp_path / "run")]
    limit_memory = partial(resource.setrlimit, resource.RLIMIT_AS, (GIB, GIB))
    done = subprocess.run(
        [*command, "--encoder", "hashing", "--json"],
        env={**os.environ, **LEAN_ENVIRONMENT},
        preexec_fn=limit_memory,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["exchanges"] == count
    seen = []
    for name in ("curated.jsonl", "untrusted.jsonl"):
        with (tmp_path / "run" / name).open(encoding="utf-8") as lines:
            for text in lines:
                number = int(text.rpartition('"isaac_id": ')[2].partition(",")[0])
                assert text.startswith(f'{{"context": "case {number % 89} of {number % 97}", "resp')
                assert padding[number : number + 9] in text
                seen.append(number)
    assert sorted(seen) == list(range(count))
