"""The demo checked against its labels, over many seeds, by nearest contexts and by situation.

Run: python benchmarks/demo.py [--seeds 20] [--neighbors 30]
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import numpy as np
from common import format_header, format_spread, format_table, make_parser

from isaac import Corpus, Recipe, curate
from isaac.cli.demo import DEMO_RECIPE


def read_rows(name: str) -> list[dict[str, Any]]:
    """Read a JSON Lines file of the package's data."""
    text = (files("isaac") / "data" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def main() -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="number of seeds")
    parser.add_argument(
        "--neighbors", type=int, default=DEMO_RECIPE.neighbors, help="contexts in a neighborhood"
    )
    args = parser.parse_args()
    seeds = range(args.seeds)
    by_search = DEMO_RECIPE.model_copy(update={"neighbors": args.neighbors})
    rows = read_rows("demo.jsonl")
    unsafe = np.array([row["label"] == "unsafe" for row in read_rows("demo_labels.jsonl")])
    situations = np.array([row["situation"] for row in rows])
    pairs = ((row["context"], row["response"]) for row in rows)
    corpus = Corpus.of(pairs, situations.tolist())
    by_key = Recipe.of({**by_search.model_dump(), "group_by": "situation"})
    table = []
    for name, recipe in (("nearest contexts", by_search), ("situation", by_key)):
        curation = curate(corpus, recipe)
        shares = []
        for seed in seeds:
            sources = curation.redraw(seed=seed).lineage.column("source_id").to_numpy()
            same = situations[sources] == situations
            distinct = len(np.unique(sources)) / len(rows)
            shares.append((unsafe[sources].mean(), same.mean(), distinct))
        cells = map(format_spread, zip(*shares, strict=True))
        table.append((name, f"{100 * unsafe.mean():.1f}", *cells))
    print(f"{format_header('benchmarks/demo.py', seeds)}, k = {args.neighbors}\n")
    columns = ("unsafe before, %", "unsafe after, %", "same situation, %", "distinct draws, %")
    print(format_table(("neighborhood by", *columns), table))


if __name__ == "__main__":
    main()
