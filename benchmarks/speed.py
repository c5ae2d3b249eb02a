"""Time and memory of the real command on DiaSafety, compared with a plain implementation.

Run: python benchmarks/speed.py [--data train.json] [--repeats 3]
The plain procedure is the paper's: one flat search and one scikit-learn DBSCAN per row, on one
core, with embeddings given.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import DATA, Row, format_header, format_table, make_parser, read_diasafety
from plain import measure_plain_rate

from isaac import Corpus, Recipe, Run, curate, embed, load_encoder
from isaac.curation.vectors import as_floats


def time_command(data: Path, repeats: int) -> list[tuple[float, float]]:
    """Seconds and peak MiB of ``isaac curate``, from text to report, for each new run."""
    results = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            start = time.perf_counter()
            command = [sys.executable, "-m", "isaac", "curate", str(data), "-o", str(out)]
            subprocess.run(command, check=True, capture_output=True)
            seconds = time.perf_counter() - start
            results.append((seconds, Run(out).manifest()["measured"]["peak_memory_mib"]))
    return results


def measure_plain(rows: list[Row]) -> float:
    """Rows per second of the plain procedure on a sample of rows, with embeddings given."""
    encoder = load_encoder("wordllama")
    contexts, responses = (
        as_floats(embed(encoder, [row[column] for row in rows]).vectors)
        for column in ("context", "response")
    )
    return measure_plain_rate(contexts, responses)


def measure_curate(rows: list[Row], recipe: Recipe) -> float:
    """Rows per second of `isaac.curate`, including embedding."""
    corpus = Corpus.of((row["context"], row["response"]) for row in rows)
    start = time.perf_counter()
    curate(corpus, recipe)
    return len(rows) / (time.perf_counter() - start)


def main() -> None:
    """Print the table; the single measurements go to standard error, as JSON."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--data", type=Path, default=DATA / "diasafety" / "train.json", help="DiaSafety's rows"
    )
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    rows = read_diasafety(args.data)
    runs = time_command(args.data, args.repeats)
    defaults = [measure_curate(rows, Recipe()) for _ in range(args.repeats)]
    paper = [measure_curate(rows, Recipe.paper()) for _ in range(args.repeats)]
    plain = [measure_plain(rows) for _ in range(args.repeats)]
    ratios = [ours / theirs for ours, theirs in zip(paper, plain, strict=True)]
    measurements = {
        "isaac curate, text to report: seconds": [seconds for seconds, _ in runs],
        "isaac curate: peak MiB": [peak for _, peak in runs],
        "isaac.curate, including embedding: rows/s": defaults,
        "the same with the paper's settings: rows/s": paper,
        "plain procedure, one core, embeddings given: rows/s": plain,
        "ratio of the last two rates, in the same run": ratios,
    }
    table = [
        (name, f"{statistics.median(values):,.1f}", f"{min(values):,.1f} to {max(values):,.1f}")
        for name, values in measurements.items()
    ]
    print(f"{format_header('benchmarks/speed.py', [0])}, {len(rows):,} rows\n")
    print(format_table(("what", "median", "minimum to maximum"), table))
    rounded = {name: [round(v, 2) for v in values] for name, values in measurements.items()}
    print(json.dumps(rounded), file=sys.stderr)


if __name__ == "__main__":
    main()
