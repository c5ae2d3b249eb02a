"""The commands that judge a run: ``isaac diagnose``, ``audit`` and ``compare``."""

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
from ..runs.audit.estimates import AuditItem, compute_trend, decide_verdict, draw_sample, estimate
from ..runs.audit.labels import (
    build_question,
    judge_items,
    read_column_labels,
    read_labels,
    verdict_from_label,
)
from ..runs.reports.comparison import (
    check_same_corpus,
    compare_run,
    draw_comparison,
    format_comparison,
)
from ..runs.reports.diagnosis import diagnose as make_diagnosis
from ..runs.run import Run
from ..text import make_printable, truncate
from .common import AsJson, RunPath, command, print_message, print_output

LabelColumn = Annotated[
    str | None, typer.Option(help="column of the input that labels each row, for measuring only")
]
JudgeName = Annotated[
    str | None,
    typer.Option(
        help="judge to ask: profanity, hf:MODEL, guard:MODEL, openai:MODEL@URL, trained:DIR, or "
        "module:attribute"
    ),
]
UnsafeValue = Annotated[str, typer.Option(help="value of that column that means unsafe")]


@command
def diagnose(run: RunPath, as_json: AsJson = False) -> None:
    """Say whether the method applies to a corpus, as far as that shows without labels."""
    found = make_diagnosis(Run(run).curation())
    if as_json:
        print_output(dumps(found._asdict()))
        return
    print_output(f"{found.verdict}, as far as that shows without labels")
    for reason in found.reasons:
        print_output(f"  - {reason}")
    print_output(f"largest cluster of a neighbourhood: {found.head_share:.1%} of its responses")
    print_output(f"responses that stand alone: {found.tail_mass:.1%}")
    print_output(f"rows in whose neighbourhood no two responses agree: {found.headless:.1%}")
    print_output(
        f"rows whose cluster odds cannot raise unsafety, if the assumption holds: "
        f"{found.guaranteed:.1%}"
    )
    print_output(f"to know more, label a few hundred: isaac audit {run}")


@command
def audit(
    run: RunPath,
    budget: Annotated[int, typer.Option("--ask", min=2, help="labels to ask for at most")] = 300,
    labels: Annotated[
        Path | None,
        typer.Option(help="file of labels, in the form that --questions writes"),
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(help="write what is to be labelled to this file, and stop")
    ] = None,
    judge: JudgeName = None,
    column: LabelColumn = None,
    unsafe: UnsafeValue = "unsafe",
    seed: Annotated[int, typer.Option(min=0, help="seed of the sample")] = 0,
    as_json: AsJson = False,
) -> None:
    """Estimate from a few labels whether a curation made its corpus safer.

    The sample is drawn by the command, stratified by cluster rank. Labels come from a file, a
    judge, a column of the input (the label of the row that a response came from), or are asked
    for in the terminal.
    """
    curation = Run(run).curation()
    sample = draw_sample(curation.lineage, budget, seed)
    items = sample.items()
    if questions is not None:
        lines = (dumps(build_question(curation, item)) + "\n" for item in items)
        questions.write_text("".join(lines), encoding="utf-8")
        print_output(f"{len(items):,} questions: {questions}")
        print_message('set "label" of each to safe or unsafe, and give the file as --labels')
        return
    answers = _collect_verdicts(
        curation, items, labels=labels, judge=judge, column=column, unsafe=unsafe
    )
    found, rise = estimate(sample, answers), compute_trend(sample, answers)
    outcome = decide_verdict(found, rise)
    result = {
        "verdict": outcome.verdict,
        "sentence": outcome.sentence,
        "estimates": {
            **{name: getattr(found, name)._asdict() for name in ("before", "after", "change")},
            "asked": found.asked,
            "scored": found.scored,
        },
        "by_rank": [share._asdict() for share in rise.shares],
        "p": rise.p,
    }
    if as_json:
        print_output(dumps(result))
        return
    print_output(outcome.sentence)
    for name in ("before", "after", "change"):
        value, low, high = getattr(found, name)
        print_output(f"  {name:<7} {value:7.1%}   95 % interval {low:.1%} to {high:.1%}")
    for share in rise.shares:
        print_output(
            f"  own cluster of rank {share.ranks:<9} {share.unsafe:6.1%} unsafe "
            f"({share.scored:,} labels for {share.rows:,} rows)"
        )


def _collect_verdicts(
    curation: Curation,
    items: list[AuditItem],
    *,
    labels: Path | None,
    judge: str | None,
    column: str | None,
    unsafe: str,
) -> Mapping[AuditItem, Verdict]:
    """Return the verdict on each item, from the one source that was named."""
    if sum(source is not None for source in (labels, judge, column)) > 1:
        raise RecipeError("give one of --labels, --judge and --column")
    if labels is not None:
        return read_labels(labels, items)
    if column is not None:
        known = read_column_labels(curation, column, unsafe)
        return {item: verdict_from_label(known[item.response]) for item in items}
    if judge is not None:
        found = judge_items(curation, items, judge)
        if found.failures:
            print_message(
                f"judge {make_printable(judge)} failed for {found.failures:,} of {len(items):,} "
                f"exchanges, which stay unscored: {make_printable(found.first_error or '')}"
            )
        return found.verdicts
    if not sys.stdin.isatty():
        raise RecipeError(
            "where are the labels? Give --labels FILE, --judge NAME or --column NAME, write the "
            "questions with --questions FILE, or answer in a terminal"
        )
    return _ask_in_terminal(curation, items)


def _ask_in_terminal(curation: Curation, items: list[AuditItem]) -> Mapping[AuditItem, Verdict]:
    """Ask about each item in the terminal; q ends it, the rest stays unscored."""
    keys: dict[str, Verdict] = {"s": "safe", "u": "unsafe", "": "unscored"}
    answers: dict[AuditItem, Verdict] = {}
    print_message("s safe, u unsafe, Enter cannot tell, q enough")
    for number, item in enumerate(items, start=1):
        asked = build_question(curation, item)
        print_message(f"\n{number} of {len(items)}")
        print_message(f"  context:  {truncate(asked['context'], 1500)}")
        print_message(f"  response: {truncate(asked['response'], 1500)}")
        while (answer := input("safe or unsafe? ").strip().lower()[:1]) not in (*keys, "q"):
            print_message("s, u, Enter or q")
        if answer == "q":
            break
        answers[item] = keys[answer]
    return answers


@command
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="run folders")],
    column: LabelColumn = None,
    unsafe: UnsafeValue = "unsafe",
    picture: Annotated[
        Path | None, typer.Option("--chart", help="write the chart to this SVG file")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set runs of one corpus side by side: change, relevance, variety and, with labels, safety."""
    curations = [Run(run).curation() for run in runs]
    check_same_corpus(curations)
    known = read_column_labels(curations[0], column, unsafe) if column is not None else None
    rows = [
        compare_run(run.name, curation, known)
        for run, curation in zip(runs, curations, strict=True)
    ]
    if picture is not None:
        picture.write_text(str(draw_comparison(rows)) + "\n", encoding="utf-8")
        print_message(f"chart: {picture}")
    if as_json:
        print_output(dumps([{**row._asdict(), "cut": row.cut} for row in rows]))
        return
    print_output(format_comparison(rows))
    for run, curation in zip(runs[1:], curations[1:], strict=True):
        differs = curations[0].recipe.differences(curation.recipe)
        print_output(f"\n{runs[0].name} -> {run.name}: {'; '.join(differs) or 'the same recipe'}")
