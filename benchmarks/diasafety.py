"""How much the paper's settings cut the unsafe share of DiaSafety, and at what price.

Run: python benchmarks/diasafety.py [--data train.json] [--seeds 5] [--radius 0.8 0.9]
     [--clusters cover] [--view residual]
The MiniLM rows and the relevance column need: pip install 'isaac-align[benchmarks]'
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from common import (
    SWEEP_COLUMNS,
    contaminate,
    format_header,
    format_table,
    make_parser,
    read_diasafety,
    sweep_radii,
)

from isaac import Recipe

SHARES = (0.05, 0.1, 0.2, None)
"""Unsafe shares of the contaminated corpora; None is the original corpus."""


def main() -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--data", type=Path, help="DiaSafety's train.json")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--radius", type=float, nargs="+", default=[0.8, 0.9])
    parser.add_argument("--clusters", choices=("components", "cover"), default="components")
    parser.add_argument("--view", choices=("whole", "opening", "residual"), default="whole")
    args = parser.parse_args()
    recipe = Recipe.paper(clusters=args.clusters, view=args.view)
    rows = read_diasafety(args.data)
    seeds = range(args.seeds)
    table = [
        row
        for share in SHARES
        for row in sweep_radii(partial(contaminate, rows, share), recipe, args.radius, seeds)
    ]
    settings = f"clusters: {args.clusters}, view: {args.view}"
    print(f"{format_header('benchmarks/diasafety.py', seeds)}, {settings}\n")
    print(format_table(SWEEP_COLUMNS, table))


if __name__ == "__main__":
    main()
