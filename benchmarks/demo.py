"""The demo checked against its labels and situations, over many seeds and several recipes.

Run: python benchmarks/demo.py [--seeds 3]
"""

from __future__ import annotations

from bundled import read_bundled
from cases import label_rows
from common import format_header, format_spread, format_table, make_parser, read_draws
from measures import Measures, measure_rows, rate_situations
from methods import ISAAC_RECIPES, METHOD_NAMES, Outcome

from isaac import Recipe, curate
from isaac.cli.demo import DEMO_RECIPE

COLUMNS = (
    "recipe",
    "rows written, %",
    "unsafe by source, %",
    "unsafe in context, %",
    "redrawn, %",
    "of these right, %",
    "safe rows touched, %",
    "safe made wrong, %",
    "unsafe of the touched, %",
    "different texts",
)

FIELDS = (
    "rows",
    "source",
    "context",
    "redrawn",
    "redrawn_answers",
    "safe_touched",
    "safe_wrong",
    "precision",
)
"""The fields of `Measures` in the columns, in order; a redraw is right if it answers."""


def make_recipes() -> dict[str, Recipe]:
    """The demo's own recipe, isaac's recipes, and the demo's with the situation as key."""
    recipes = {"the demo": DEMO_RECIPE}
    for name, fields in ISAAC_RECIPES.items():
        recipes[METHOD_NAMES[name]] = Recipe.of(fields)
    by_key = {**DEMO_RECIPE.model_dump(), "group_by": "situation"}
    return {**recipes, "the demo, by situation": Recipe.of(by_key)}


def measure_recipe(recipe: Recipe, seeds: range) -> list[Measures]:
    """Curate the bundled corpus and measure the draws of each seed."""
    labeled, situations = read_bundled()
    rows = label_rows(labeled)
    rates = rate_situations(rows, situations)
    curation = curate(labeled.corpus, recipe)
    draws = (read_draws(curation.redraw(seed=seed)) for seed in seeds)
    return [
        measure_rows(rows, Outcome(*draw), rates, seed)
        for seed, draw in zip(seeds, draws, strict=True)
    ]


def main() -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    args = parser.parse_args()
    seeds = range(args.seeds)
    table = []
    for name, recipe in make_recipes().items():
        results = measure_recipe(recipe, seeds)
        cells = (format_spread([getattr(found, field) for found in results]) for field in FIELDS)
        texts = [float(found.texts) for found in results]
        table.append((name, *cells, format_spread(texts, scale=1, digits=0)))
    print(format_header("benchmarks/demo.py", seeds) + "\n")
    print(format_table(COLUMNS, table))


if __name__ == "__main__":
    main()
