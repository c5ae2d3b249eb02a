"""How much the paper's settings cut the unsafe share of DiaSafety, and at what price.

Run: python benchmarks/diasafety.py [--data train.json] [--seeds 5]
     [--clusters cover] [--view residual]
MiniLM rows and the relevance column need: pip install 'isaac-align[benchmarks]'
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from common import (
    SWEEP_COLUMNS,
    contaminate,
    format_header,
    format_table,
    read_diasafety,
    sweep_radii,
)

from isaac import Recipe

SHARES = (0.05, 0.1, 0.2, None)
"""Unsafe shares of the contaminated corpora; None is the corpus as it is."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--radius", type=float, nargs="+", default=[0.8, 0.9])
    parser.add_argument("--clusters", choices=("components", "cover"), default="components")
    parser.add_argument("--view", choices=("whole", "opening", "residual"), default="whole")
    given = parser.parse_args()
    recipe = Recipe.paper(clusters=given.clusters, view=given.view)
    rows = read_diasafety(given.data)
    seeds = range(given.seeds)
    lines = [
        line
        for share in SHARES
        for line in sweep_radii(partial(contaminate, rows, share), recipe, given.radius, seeds)
    ]
    settings = f"clusters: {given.clusters}, view: {given.view}"
    print(
        f"{format_header('benchmarks/diasafety.py', seeds)}, {settings}\n\n{format_table(SWEEP_COLUMNS, lines)}"
    )


if __name__ == "__main__":
    main()
