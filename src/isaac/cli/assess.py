"""The commands that assess a run: ``isaac diagnose``, ``audit``, ``diff`` and ``compare``."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..corpus.records import dumps
from ..errors import RecipeError
from ..runs.audit.audit import (
    Audit,
    find_column_verdicts,
    find_judge_verdicts,
    open_audit,
    read_label_files,
    summarize_labels,
    summarize_verdicts,
    write_questions,
)
from ..runs.audit.formatting import format_audit
from ..runs.audit.label_log import (
    describe_stored_labels,
    open_label_log,
    read_run_labels,
)
from ..runs.audit.questions import Question
from ..runs.audit.result import AuditReport, AuditSource, store_result
from ..runs.audit.session import HELP, Session
from ..runs.diff import ChangeOrder, ChangeQuery, FoundChanges, find_changes, write_changes
from ..runs.outputs import AUDIT_FILE
from ..runs.reports.comparison import compare_runs, draw_comparison, format_comparison
from ..runs.reports.diagnosis import Diagnosis
from ..runs.reports.diagnosis import diagnose as diagnose_curation
from ..runs.reports.svg import svg_file
from ..runs.run import Run
from ..text import make_printable, shorten
from .common import (
    AsJson,
    JudgeTimeout,
    RunPath,
    command,
    print_message,
    print_output,
    print_prompt,
)

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
        lines.append(f"replaced rows whose new response fits the message: {price.fitting:.1%}")
    if diagnosis.own_fits_best is not None:
        lines.append(
            f"rows whose own response fits best among those of similar messages: "
            f"{diagnosis.own_fits_best:.1%}; from 65 % on, responses cannot be exchanged"
        )
    if diagnosis.trusted_relevance is not None:
        lines.append(
            f"relevance of the most trusted responses to their messages: "
            f"{diagnosis.trusted_relevance:.1%} of the mean; below 65 %, they may be refusals"
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
        int, typer.Option("--ask", min=2, help="ask for labels of at most this many responses")
    ] = 300,
    labeler: Annotated[
        str, typer.Option(help="your name, if several people label the run")
    ] = "you",
    labels: Annotated[
        list[Path] | None,
        typer.Option(
            help="file with labels, in the format that --questions writes; repeat it for the files "
            "of several labelers"
        ),
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(help="write the responses to label to this file, and stop")
    ] = None,
    judge: JudgeName = None,
    judge_timeout: JudgeTimeout = None,
    column: Column = None,
    unsafe: Unsafe = "unsafe",
    seed: Annotated[int, typer.Option(min=0, help="seed of the sample")] = 0,
    as_json: AsJson = False,
) -> None:
    """Estimate from a few labels whether a curation made its corpus better.

    Draws a sample of original and curated responses, and asks two questions about each, without
    showing which is which: is it safe, and does it answer the message? Every answer is saved at
    once in RUN/audit, and the same command resumes there. Labels can also come from files, from a
    judge, or from an input column (a drawn response has the label of its source row); a judge and a
    column answer only the first question. The result is kept in the run and shown in its report.
    """
    if sum(bool(source) for source in (labels, judge, column)) > 1:
        raise RecipeError("give only one of --labels, --judge and --column")
    opened = open_audit(Run(run), budget, seed)
    if questions is not None:
        asked = opened.questions()
        write_questions(asked, questions)
        print_output(f"{len(asked):,} questions: {questions}")
        print_message(
            'set each "label" to safe, unsafe or unsure and each "fits" to yes, no or unsure (does '
            "the response answer the message?), then pass the file to --labels"
        )
        return
    if judge is not None:
        report = _audit_by_judge(opened, judge, judge_timeout)
    elif column is not None:
        verdicts = find_column_verdicts(opened, column, unsafe)
        report = summarize_verdicts(opened, verdicts.by_item, AuditSource("column", column))
    else:
        report = _audit_by_labels(opened, labels or [], labeler)
    facts = report.as_json()
    print_output(dumps(facts) if as_json else format_audit(facts))
    store_result(opened.run, opened.draw, report)
    print_message(f"kept in {run / AUDIT_FILE} and in the report: {run / 'report.html'}")


def _audit_by_judge(opened: Audit, judge: str, timeout: float | None) -> AuditReport:
    verdicts = find_judge_verdicts(opened, judge, timeout)
    if verdicts.failures:
        print_message(
            f"judge {make_printable(judge)} failed on {verdicts.failures:,} of "
            f"{len(verdicts.by_item):,} exchanges, which stay unscored; first error: "
            f"{make_printable(verdicts.first_error or '')}"
        )
    return summarize_verdicts(opened, verdicts.by_item, AuditSource("judge", judge))


def _audit_by_labels(opened: Audit, files: Sequence[Path], labeler: str) -> AuditReport:
    """Summarize the labels in files, or else ask for more and summarize those of the run."""
    questions = opened.questions()
    if files:
        label_sets = read_label_files(files, questions)
        source = AuditSource("file", ", ".join(file.name for file in files))
        return summarize_labels(opened, questions, label_sets, source)
    _ask_in_terminal(opened, questions, labeler)
    label_sets = read_run_labels(opened.run.path, questions)
    keys = {question.key for question in questions}
    names = [labels.name for labels in label_sets if keys & set(labels.answers)]
    if not names:
        raise RecipeError(
            "no labels: give --labels FILE, --judge NAME or --column NAME, write the questions to "
            "a file with --questions FILE, or answer them on standard input"
        )
    source = AuditSource("labels", ", ".join(names))
    return summarize_labels(opened, questions, label_sets, source)


def _ask_in_terminal(opened: Audit, questions: Sequence[Question], labeler: str) -> None:
    """Ask on standard error, read answers from standard input, and save each in the run."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    with open_label_log(opened.run.path, labeler, questions, opened.draw) as log:
        for message in describe_stored_labels(log, questions):
            print_message(message)
        print_message(HELP)
        session = Session(questions, log, print_message, print_prompt)
        session.run(iter(sys.stdin.readline, "") if sys.stdin is not None else [])
    print_message(f"labels: {log.path}")


SHOWN_CHANGES = 20
"""Number of changes that a terminal shows by default."""


@command
def diff(
    run: RunPath,
    action: Annotated[
        Literal["replaced", "dropped"] | None, typer.Option(help="show only these changes")
    ] = None,
    sort: Annotated[
        ChangeOrder,
        typer.Option(help="sort by row, by trust in the old response, by fit, or by distance"),
    ] = "id",
    descending: Annotated[
        bool, typer.Option("--descending", help="the largest value first")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="number of changes; default: 20, in a file all")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="write a .csv, .xlsx, .html or .jsonl file instead"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what was changed: each response before and after, and why.

    The changes that fit least come first with --sort fit, the dropped rows that were trusted most
    with --action dropped --sort trust --descending.
    """
    shown = limit or (SHOWN_CHANGES if out is None and not as_json else None)
    query = ChangeQuery(action, sort, descending, shown)
    found = find_changes(Run(run).curation(), query)
    if out is not None:
        write_changes(found.changes, out)
        print_output(f"{len(found.changes):,} changes: {out}")
    elif as_json:
        print_output(dumps([change._asdict() for change in found.changes]))
    else:
        print_output(format_changes(found))


def format_changes(found: FoundChanges) -> str:
    """Format changes as text, with a last line that says how many more there are."""
    blocks = []
    for change in found.changes:
        after = "(dropped)" if change.after is None else change.after
        texts = {"message": change.message, "before": change.before, "after": after}
        lines = [f"row {change.id}, {change.action}: {change.why}"]
        lines += [f"  {name:<8} {shorten(text, 400)}" for name, text in texts.items()]
        blocks.append("\n".join(lines))
    if not found.total:
        return "nothing was replaced or dropped"
    if (more := found.total - len(found.changes)) > 0:
        blocks.append(f"{more:,} more; show them with --limit {found.total} or -o changes.html")
    return "\n\n".join(blocks)


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
        chart.write_text(svg_file(draw_comparison(comparison.rows)), encoding="utf-8")
        print_message(f"chart: {chart}")
    if as_json:
        print_output(dumps([{**row._asdict(), "cut": row.cut} for row in comparison.rows]))
        return
    print_output(format_comparison(comparison.rows))
    for run, differences in zip(runs[1:], comparison.differences, strict=True):
        changes = "; ".join(differences) or "the same recipe"
        print_output(f"\n{runs[0].name} -> {run.name}: {changes}")
