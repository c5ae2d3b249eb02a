"""The effect of each part of the defaults: one setting changed at a time.

Run: python benchmarks/ablation.py [--seeds 3]
The relevance column needs: pip install 'isaac-align[benchmarks]'
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from common import (
    DATA,
    CorpusWithLabels,
    contaminate,
    format_header,
    format_table,
    load_cached_encoder,
    load_minilm,
    make_parser,
    measure_seeds,
    read_diasafety,
)
from gptfuzz import read_gptfuzz

from isaac import Recipe, Tools

CHANGES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "no bound on repeats": {"repeats": 0},
    "a response for at most 4 rows": {"repeats": 4},
    "no weight of typicality": {"typicality": 0.0},
    "twice the weight of typicality": {"typicality": 200.0},
    "no weight of relevance": {"relevance": 0.0},
    "twice the weight of relevance": {"relevance": 100.0},
    "every response may be drawn": {"candidates": 1.0},
    "the most typical half may be drawn": {"candidates": 0.5},
    "every row may change": {"budget": 1.0},
    "half of the rows may change": {"budget": 0.5},
    "the least typical half is dropped": {"mode": "filter", "budget": 0.5},
    "the least typical 70 % are dropped": {"mode": "filter", "budget": 0.7},
    "each near-duplicate counts": {"duplicates": "each"},
    "odds proportional to cluster size": {"sharpening": "proportional"},
    "largest cluster only": {"sharpening": "max"},
    "adaptive odds": {"sharpening": "adaptive"},
    "components instead of a cover": {"clusters": "components"},
    "k = 400": {"neighbors": 400},
}
"""The rows of the table, and the recipe fields that each one changes."""

COLUMNS = (
    "change",
    "unsafe before, %",
    "unsafe after, %",
    "cut, %",
    "relevance kept, %",
    "distinct, %",
)


def main() -> None:
    """Print a table for each corpus."""
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    seeds = range(parser.parse_args().seeds)
    judge, rows = load_minilm(), read_diasafety()
    tools = Tools(encoders={"wordllama": load_cached_encoder("wordllama")})
    corpora: dict[str, Callable[[int], CorpusWithLabels]] = {
        "DiaSafety, 10 % unsafe": lambda seed: contaminate(rows, 0.1, seed),
        "DiaSafety, original, 46 % unsafe": lambda seed: contaminate(rows, None, seed),
        "GPTFuzz, by neighbors": lambda seed: read_gptfuzz(DATA / "gptfuzz", seed),
    }
    print(format_header("benchmarks/ablation.py", seeds))
    for corpus, make in corpora.items():
        table = []
        for change, settings in CHANGES.items():
            row = (change, *measure_seeds(make, Recipe(**settings), seeds, tools, judge))
            print(corpus, *row, sep="  ", file=sys.stderr, flush=True)
            table.append(row)
        print(f"\n### {corpus}\n\n{format_table(COLUMNS, table)}")


if __name__ == "__main__":
    main()
