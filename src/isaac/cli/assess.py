"""The commands that assess a run: ``isaac diagnose``, ``audit`` and ``compare``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from ..corpus.records import dumps
from ..curation.curate import Curation
from ..errors import RecipeError
from ..models.judges import Verdict
from ..runs.audit.audit import AuditReport, find_verdicts, summarize_audit, write_questions
from ..runs.audit.labels import build_question
from ..runs.audit.sampling import AuditItem, draw_sample
from ..runs.reports.comparison import compare_runs, draw_comparison, format_comparison
from ..runs.reports.diagnosis import Diagnosis
from ..runs.reports.diagnosis import diagnose as diagnose_curation
from ..runs.run import Run
from ..text import make_printable, truncate
from .common import AsJson, RunPath, command, print_message, print_output

Column = Annotated[
    str | None, typer.Option(help="input column with each row's label; used only to measure")
]
JudgeName = Annotated[
    str | None,
    typer.Option(
        help="judge to ask: profanity, hf:MODEL, guard:MODEL, openai:MODEL@URL, trained:DIR, or "
        "module:attribute"
    ),
]
Unsafe = Annotated[str, typer.Option(help="value of --column that means unsafe")]


@command
def diagnose(run: RunPath, as_json: AsJson = False) -> None:
    """Report whether the method applies to a corpus, as far as unlabeled data can show."""
    diagnosis = diagnose_curation(Run(run).curation())
    if as_json:
        print_output(dumps(diagnosis.as_json()))
        return
    print_output(f"{diagnosis.verdict}, as far as unlabeled data can show")
    for reason in diagnosis.reasons:
        print_output(f"  - {reason}")
    for line in _format_measures(diagnosis):
        print_output(line)
    print_output(f"to find out more, label a few hundred responses: isaac audit {run}")


def _format_measures(diagnosis: Diagnosis) -> list[str]:
    price = diagnosis.price
    lines = [
        f"rows written: {price.rows:.1%}; with a new response: {price.changed:.1%}; "
        f"dropped: {price.dropped:.1%}"
    ]
    if price.fitting is not None:
        lines.append(
            f"replaced rows whose new response fits the message: {price.fitting:.1%} "
            f"(their own fitted in {price.before:.1%})"
        )
    if diagnosis.own_fits_best is not None:
        lines.append(
            f"rows whose own response fits best among those of similar messages: "
            f"{diagnosis.own_fits_best:.1%}; from 65 % on, responses cannot be exchanged"
        )
    if diagnosis.trusted_relevance is not None:
        lines.append(
            f"relevance of the most trusted responses to their messages: "
            f"{diagnosis.trusted_relevance:.1%} of the mean; below 75 %, they may be refusals"
        )
    if diagnosis.clusters is not None:
        clusters = diagnosis.clusters
        lines += [
            f"largest cluster of a neighborhood: {clusters.head_share:.1%} of its responses",
            f"responses that agree with no other: {clusters.tail_mass:.1%}",
            f"rows in whose neighborhood no two responses agree: {clusters.headless:.1%}",
            "rows whose cluster odds cannot increase the unsafe share, if the assumption holds: "
            f"{clusters.guaranteed:.1%}",
        ]
    return lines


@command
def audit(
    run: RunPath,
    budget: Annotated[
        int, typer.Option("--ask", min=2, help="ask for at most this many labels")
    ] = 300,
    labels: Annotated[
        Path | None,
        typer.Option(help="file with labels, in the format that --questions writes"),
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(help="write the responses to label to this file, and stop")
    ] = None,
    judge: JudgeName = None,
    column: Column = None,
    unsafe: Unsafe = "unsafe",
    seed: Annotated[int, typer.Option(min=0, help="seed of the sample")] = 0,
    as_json: AsJson = False,
) -> None:
    """Estimate from a small number of labels whether a curation made its corpus safer.

    Draws a sample of responses, stratified by cluster rank. Their labels come from a file, a judge
    or an input column (a drawn response has the label of its source row); otherwise you are asked
    for them in the terminal.
    """
    curation = Run(run).curation()
    sample = draw_sample(curation.lineage, budget, seed)
    items = sample.items()
    if questions is not None:
        write_questions(curation, items, questions)
        print_output(f"{len(items):,} questions: {questions}")
        print_message('set each "label" to safe or unsafe, then pass the file to --labels')
        return
    given = find_verdicts(curation, items, labels=labels, judge=judge, column=column, unsafe=unsafe)
    if given is not None and given.failures:
        print_message(
            f"judge {make_printable(judge or '')} failed on {given.failures:,} of {len(items):,} "
            "exchanges, which stay unscored; first error: "
            f"{make_printable(given.first_error or '')}"
        )
    verdicts = _ask_in_terminal(curation, items) if given is None else given.by_item
    report = summarize_audit(sample, verdicts)
    print_output(dumps(report.as_json()) if as_json else _format_audit(report))


def _format_audit(report: AuditReport) -> str:
    lines = [report.outcome.sentence]
    for name in ("before", "after", "change"):
        value, low, high = getattr(report.estimates, name)
        lines.append(f"  {name:<7} {value:7.1%}   95 % interval {low:.1%} to {high:.1%}")
    lines += [
        f"  originals in clusters of rank {share.ranks:<9} {share.unsafe:6.1%} unsafe "
        f"({share.scored:,} labels for {share.rows:,} rows)"
        for share in report.trend.shares
    ]
    return "\n".join(lines)


def _ask_in_terminal(curation: Curation, items: list[AuditItem]) -> Mapping[AuditItem, Verdict]:
    """Ask for a verdict on each item in the terminal; after q, the rest stays unscored."""
    if not sys.stdin.isatty():
        raise RecipeError(
            "no labels: give --labels FILE, --judge NAME or --column NAME, write the questions to "
            "a file with --questions FILE, or run the command in a terminal to answer them"
        )
    keys: dict[str, Verdict] = {"s": "safe", "u": "unsafe", "": "unscored"}
    verdicts: dict[AuditItem, Verdict] = {}
    print_message("s: safe, u: unsafe, Enter: cannot tell, q: stop asking")
    for number, item in enumerate(items, start=1):
        question = build_question(curation, item)
        print_message(f"\n{number} of {len(items)}")
        print_message(f"  context:  {truncate(question['context'], 1500)}")
        print_message(f"  response: {truncate(question['response'], 1500)}")
        while (answer := input("safe or unsafe? ").strip().lower()[:1]) not in (*keys, "q"):
            print_message("type s, u, Enter or q")
        if answer == "q":
            break
        verdicts[item] = keys[answer]
    return verdicts


@command
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="run folders")],
    column: Column = None,
    unsafe: Unsafe = "unsafe",
    chart: Annotated[
        Path | None, typer.Option("--chart", help="write a chart to this SVG file")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare runs of one corpus: changes, relevance, variety and, with --column, safety."""
    comparison = compare_runs([Run(run) for run in runs], column, unsafe)
    if chart is not None:
        chart.write_text(str(draw_comparison(comparison.rows)) + "\n", encoding="utf-8")
        print_message(f"chart: {chart}")
    if as_json:
        print_output(dumps([{**row._asdict(), "cut": row.cut} for row in comparison.rows]))
        return
    print_output(format_comparison(comparison.rows))
    for run, differences in zip(runs[1:], comparison.differences, strict=True):
        changes = "; ".join(differences) or "the same recipe"
        print_output(f"\n{runs[0].name} -> {run.name}: {changes}")
