"""How much grouping by question cuts the unsafe share of GPTFuzz, by radius.

Run: python benchmarks/gptfuzz.py [--data FOLDER] [--seeds 5] [--clusters cover] [--view residual]
MiniLM rows and the relevance column need: pip install 'isaac-align[benchmarks]'
"""

from __future__ import annotations

import argparse
import csv
from functools import partial
from pathlib import Path

import numpy as np
from common import DATA, SWEEP_COLUMNS, CorpusWithLabels, format_header, format_table, sweep_radii

from isaac import Corpus, Recipe

RADII = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def read_gptfuzz(folder: Path, seed: int) -> CorpusWithLabels:
    """Return the answers to the harmful questions, grouped by question, shuffled."""
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA / "gptfuzz")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--clusters", choices=("components", "cover"), default="components")
    parser.add_argument("--view", choices=("whole", "opening", "residual"), default="whole")
    given = parser.parse_args()
    seeds = range(given.seeds)
    recipe = Recipe.paper(group_by="question", clusters=given.clusters, view=given.view)
    lines = sweep_radii(partial(read_gptfuzz, given.data), recipe, RADII, seeds)
    about = f"{format_header('benchmarks/gptfuzz.py', seeds)}, clusters: {given.clusters}, view: {given.view}"
    print(f"{about}\n\n{format_table(SWEEP_COLUMNS, list(lines))}")


if __name__ == "__main__":
    main()
