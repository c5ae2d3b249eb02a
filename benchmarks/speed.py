"""Time and memory of the main job through the real command, beside the plain procedure.

Run: python benchmarks/speed.py [--data train.json] [--repeats 3]
The plain procedure is the paper's: one flat search and one scikit-learn DBSCAN a row, its vectors
given.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import DATA, format_header, format_table, read_diasafety
from plain import measure_plain_rate

from isaac import Corpus, Recipe, Run, curate, embed, load_encoder
from isaac.curation.vectors import as_floats


def time_command(data: Path, repeats: int) -> list[tuple[float, float]]:
    """Return (seconds, peak MiB) of ``isaac curate`` from text to report, each run afresh."""
    found = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            start = time.perf_counter()
            line = [sys.executable, "-m", "isaac", "curate", str(data), "-o", str(out)]
            subprocess.run(line, check=True, capture_output=True)
            seconds = time.perf_counter() - start
            found.append((seconds, Run(out).manifest()["measured"]["peak_memory_mib"]))
    return found


def measure_plain(rows: list[dict[str, str]]) -> float:
    """Return rows a second of the plain procedure on a sample of rows, their vectors given."""
    encoder = load_encoder("wordllama")
    contexts = as_floats(embed(encoder, [row["context"] for row in rows]).vectors)
    return measure_plain_rate(
        contexts, as_floats(embed(encoder, [row["response"] for row in rows]).vectors)
    )


def measure_curate(rows: list[dict[str, str]], recipe: Recipe) -> float:
    """Return rows a second of `isaac.curate`, embedding included."""
    corpus = Corpus.of((row["context"], row["response"]) for row in rows)
    start = time.perf_counter()
    curate(corpus, recipe)
    return len(rows) / (time.perf_counter() - start)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA / "diasafety" / "train.json")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    rows = read_diasafety(given.data)
    runs = time_command(given.data, given.repeats)
    fast = [measure_curate(rows, Recipe()) for _ in range(given.repeats)]
    paper = [measure_curate(rows, Recipe.paper()) for _ in range(given.repeats)]
    slow = [measure_plain(rows) for _ in range(given.repeats)]
    ratios = [mine / theirs for mine, theirs in zip(paper, slow, strict=True)]
    facts = {
        "isaac curate, text to report: seconds": [seconds for seconds, _ in runs],
        "isaac curate: peak MiB": [peak for _, peak in runs],
        "isaac.curate, embedding included: rows/s": fast,
        "the same with the paper's settings: rows/s": paper,
        "plain procedure, one core, vectors given: rows/s": slow,
        "ratio with the paper's settings, in the same run": ratios,
    }
    lines = [
        (name, f"{statistics.median(values):,.1f}", f"{min(values):,.1f} to {max(values):,.1f}")
        for name, values in facts.items()
    ]
    print(f"{format_header('benchmarks/speed.py', [0])}, {len(rows):,} rows\n")
    print(format_table(("what", "median", "least to most"), lines))
    print(
        json.dumps({name: [round(v, 2) for v in values] for name, values in facts.items()}),
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
