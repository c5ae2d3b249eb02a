"""What each part of the defaults does: everything as it is but for one setting.

python benchmarks/ablation.py
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from typing import Any

from common import (
    DATA,
    CachedEncoder,
    CorpusWithLabels,
    contaminate,
    find_minilm,
    format_header,
    format_spread,
    format_table,
    measure_curation,
    read_diasafety,
)
from gptfuzz import read_gptfuzz

from isaac import Recipe, Tools, load_encoder

CHANGES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "no bound on repeats": {"repeats": 0},
    "a response for 4 rows at most": {"repeats": 4},
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
    "near-duplicates count each": {"duplicates": "each"},
    "odds in proportion to clusters": {"sharpening": "proportional"},
    "largest cluster only": {"sharpening": "max"},
    "adaptive odds": {"sharpening": "adaptive"},
    "components instead of a cover": {"clusters": "components"},
    "k = 400": {"neighbors": 400},
}


def main() -> None:
    """Print a table for each corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    name = find_minilm()
    judge = CachedEncoder(load_encoder(name)) if name else None
    rows, encoder = read_diasafety(None), CachedEncoder(load_encoder("wordllama"))
    made: dict[str, Callable[[int], CorpusWithLabels]] = {
        "DiaSafety, 10 % unsafe": lambda seed: contaminate(rows, 0.1, seed),
        "DiaSafety, as it is": lambda seed: contaminate(rows, None, seed),
        "GPTFuzz, found by neighbours": lambda seed: read_gptfuzz(DATA / "gptfuzz", seed),
    }
    print(format_header("benchmarks/ablation.py", list(range(given.seeds))))
    for corpus, make in made.items():
        lines = []
        for change, settings in CHANGES.items():
            found = [
                measure_curation(
                    make(seed),
                    Recipe(**settings, seed=seed),
                    Tools(encoders={"wordllama": encoder}),
                    judge,
                )
                for seed in range(given.seeds)
            ]
            before, *rest = zip(*found, strict=True)
            lines.append(
                (change, f"{100 * statistics.mean(before):.1f}", *map(format_spread, rest))
            )
            print(corpus, *lines[-1], sep="  ", file=sys.stderr, flush=True)
        heads = (
            "change",
            "unsafe before, %",
            "unsafe after, %",
            "cut, %",
            "relevance kept, %",
            "distinct, %",
        )
        print(f"\n### {corpus}\n\n{format_table(heads, lines)}")


if __name__ == "__main__":
    main()
