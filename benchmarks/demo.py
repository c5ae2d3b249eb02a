"""What the demo's labels say over many seeds, by nearest contexts and by the situation as key.

Run: python benchmarks/demo.py [--seeds 20] [--neighbors 30]
"""

from __future__ import annotations

import argparse
import json
from importlib.resources import files
from typing import Any

import numpy as np
from common import format_header, format_spread, format_table

from isaac import Corpus, Recipe, curate
from isaac.cli.demo import DEMO_RECIPE


def read_rows(name: str) -> list[dict[str, Any]]:
    """Return the rows of a file of the package's data."""
    text = (files("isaac") / "data" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--neighbors", type=int, default=DEMO_RECIPE.neighbors)
    given = parser.parse_args()
    seeds = range(given.seeds)
    by_search = DEMO_RECIPE.model_copy(update={"neighbors": given.neighbors})
    rows = read_rows("demo.jsonl")
    unsafe = np.array([row["label"] == "unsafe" for row in read_rows("demo_labels.jsonl")])
    situations = np.array([row["situation"] for row in rows])
    pairs = ((row["context"], row["response"]) for row in rows)
    corpus = Corpus.of(pairs, situations.tolist())
    by_key = Recipe.of({**by_search.model_dump(), "group_by": "situation"})
    lines = []
    for name, recipe in (("nearest contexts", by_search), ("situation", by_key)):
        curation = curate(corpus, recipe)
        found = []
        for seed in seeds:
            sources = curation.redraw(seed=seed).lineage.column("source_id").to_numpy()
            same = situations[sources] == situations
            found.append((unsafe[sources].mean(), same.mean(), len(np.unique(sources)) / len(rows)))
        lines.append(
            (name, f"{100 * unsafe.mean():.1f}", *map(format_spread, zip(*found, strict=True)))
        )
    print(f"{format_header('benchmarks/demo.py', seeds)}, k = {given.neighbors}\n")
    shares = ("unsafe before, %", "unsafe after, %", "same situation, %", "distinct draws, %")
    print(format_table(("neighbourhood by", *shares), lines))


if __name__ == "__main__":
    main()
