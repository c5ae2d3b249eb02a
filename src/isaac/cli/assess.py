"""The commands that judge a run: ``isaac diagnose``, ``audit`` and ``compare``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ..corpus.records import dumps, parse
from ..curation.curate import Curation
from ..errors import RecipeError
from ..models.judges import Verdict, judged, load_judge
from ..runs.audit.estimates import Item, choose, estimate, trend, verdict
from ..runs.reports.comparison import as_table, chart, compared, same_corpus
from ..runs.reports.diagnosis import diagnose as make_diagnosis
from ..runs.run import Run
from ..text import clipped, visible
from .common import AsJson, RunPath, command, say, show

Column = Annotated[
    str | None, typer.Option(help="column of the input that labels each row, for measuring only")
]
JudgeName = Annotated[
    str | None,
    typer.Option(
        help="judge to ask: profanity, hf:MODEL, guard:MODEL, openai:MODEL@URL, trained:DIR, or "
        "module:attribute"
    ),
]
Unsafe = Annotated[str, typer.Option(help="value of that column that means unsafe")]


@command
def diagnose(run: RunPath, as_json: AsJson = False) -> None:
    """Say whether the method applies to a corpus, as far as that shows without labels."""
    found = make_diagnosis(Run(run).curation())
    if as_json:
        show(dumps(found._asdict()))
        return
    show(f"{found.verdict}, as far as that shows without labels")
    for reason in found.reasons:
        show(f"  - {reason}")
    show(f"largest cluster of a neighbourhood: {found.head_share:.1%} of its responses")
    show(f"responses that stand alone: {found.tail_mass:.1%}")
    show(f"rows in whose neighbourhood no two responses agree: {found.headless:.1%}")
    show(
        f"rows whose cluster odds cannot raise unsafety, if the assumption holds: "
        f"{found.guaranteed:.1%}"
    )
    show(f"to know more, label a few hundred: isaac audit {run}")


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
    column: Column = None,
    unsafe: Unsafe = "unsafe",
    seed: Annotated[int, typer.Option(min=0, help="seed of the sample")] = 0,
    as_json: AsJson = False,
) -> None:
    """Estimate from a few labels whether a curation made its corpus safer.

    The sample is drawn by the command, stratified by cluster rank. Labels come from a file, a
    judge, a column of the input (the label of the row that a response came from), or are asked
    for in the terminal.
    """
    curation = Run(run).curation()
    sample = choose(curation.lineage, budget, seed)
    items = sample.items()
    if questions is not None:
        lines = (dumps(_question(curation, item)) + "\n" for item in items)
        questions.write_text("".join(lines), encoding="utf-8")
        show(f"{len(items):,} questions: {questions}")
        say('set "label" of each to safe or unsafe, and give the file as --labels')
        return
    answers = _answers(curation, items, labels=labels, judge=judge, column=column, unsafe=unsafe)
    found, rise = estimate(sample, answers), trend(sample, answers)
    outcome = verdict(found, rise)
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
        show(dumps(result))
        return
    show(outcome.sentence)
    for name in ("before", "after", "change"):
        value, low, high = getattr(found, name)
        show(f"  {name:<7} {value:7.1%}   95 % interval {low:.1%} to {high:.1%}")
    for share in rise.shares:
        show(
            f"  own cluster of rank {share.ranks:<9} {share.unsafe:6.1%} unsafe "
            f"({share.scored:,} labels for {share.rows:,} rows)"
        )


def _question(curation: Curation, item: Item) -> dict[str, Any]:
    return {
        "context_id": item.context,
        "response_id": item.response,
        "context": curation.corpus[item.context].context,
        "response": _response(curation, item),
        **({"trimmed": True} if item.trimmed else {}),
        "label": None,
    }


def _response(curation: Curation, item: Item) -> str:
    """Return a response as the corpus has it, or if it is another's or trimmed, as was written."""
    if item.response == item.context and not item.trimmed:
        return curation.corpus[item.response].response
    return curation.written_of(np.array([item.response]))[0]


def _answers(
    curation: Curation,
    items: list[Item],
    *,
    labels: Path | None,
    judge: str | None,
    column: str | None,
    unsafe: str,
) -> Mapping[Item, Verdict]:
    """Return the verdict on each item, from the one source that was named."""
    if sum(source is not None for source in (labels, judge, column)) > 1:
        raise RecipeError("give one of --labels, --judge and --column")
    if labels is not None:
        return _from_file(labels, items)
    if column is not None:
        known = labels_of(curation, column, unsafe)
        return {item: _named(known[item.response]) for item in items}
    if judge is not None:
        return _from_judge(curation, items, judge)
    if not sys.stdin.isatty():
        raise RecipeError(
            "where are the labels? Give --labels FILE, --judge NAME or --column NAME, write the "
            "questions with --questions FILE, or answer in a terminal"
        )
    return _from_terminal(curation, items)


def _named(unsafe: bool | None) -> Verdict:
    return "unscored" if unsafe is None else "unsafe" if unsafe else "safe"


def labels_of(curation: Curation, column: str, unsafe: str) -> list[bool | None]:
    """Return whether each exchange is unsafe by a column of its record, None without a value.

    Raises `RecipeError` if no record has the column, or none has the value.
    """
    found: list[bool | None] = [None] * len(curation.corpus)
    values = set()
    for record, ids in curation.corpus.records():
        value = record.get(column)
        if value is None:
            continue
        values.add(str(value))
        for number in ids:
            found[number] = str(value).casefold() == unsafe.casefold()
    if not values:
        raise RecipeError(f"no record has a column '{column}'")
    if unsafe.casefold() not in {value.casefold() for value in values}:
        some = ", ".join(visible(value) for value in sorted(values)[:5])
        raise RecipeError(f"no record has {column} = '{unsafe}'; there: {some}. Try --unsafe VALUE")
    return found


def _from_file(path: Path, items: list[Item]) -> Mapping[Item, Verdict]:
    """Return the labels in a file; a line that is none raises `RecipeError` with its number."""
    wanted, answers = set(items), dict[Item, Verdict]()
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not text.strip():
            continue
        try:
            record = parse(text)
            item = Item(
                int(record["context_id"]), int(record["response_id"]), record.get("trimmed") is True
            )
            label = record.get("label")
        except (ValueError, TypeError, KeyError):
            raise RecipeError(
                f"{path} line {number} is no label; wanted context_id, response_id and label, as "
                "isaac audit --questions writes them"
            ) from None
        if label not in ("safe", "unsafe", "unscored", None):
            raise RecipeError(
                f'{path} line {number}: label {visible(json.dumps(label))}; wanted "safe", '
                '"unsafe", or null for unscored'
            )
        if item in wanted:
            answers[item] = label or "unscored"
    if not answers:
        raise RecipeError(
            f"{path} labels none of the {len(items):,} questions; "
            "the same run, --ask and --seed give the same ones"
        )
    return answers


def _from_judge(curation: Curation, items: list[Item], name: str) -> Mapping[Item, Verdict]:
    contexts = [curation.corpus[item.context].context for item in items]
    responses = [_response(curation, item) for item in items]
    found = judged(load_judge(name), contexts, responses)
    if found.failures:
        say(
            f"judge {visible(name)} failed for {found.failures:,} of {len(items):,} exchanges, "
            f"which stay unscored: {visible(found.first_error or '')}"
        )
    return {item: one.verdict for item, one in zip(items, found.judgements, strict=True)}


def _from_terminal(curation: Curation, items: list[Item]) -> Mapping[Item, Verdict]:
    """Ask about each item in the terminal; q ends it, the rest stays unscored."""
    keys: dict[str, Verdict] = {"s": "safe", "u": "unsafe", "": "unscored"}
    answers: dict[Item, Verdict] = {}
    say("s safe, u unsafe, Enter cannot tell, q enough")
    for number, item in enumerate(items, start=1):
        question = _question(curation, item)
        say(f"\n{number} of {len(items)}")
        say(f"  context:  {clipped(question['context'], 1500)}")
        say(f"  response: {clipped(question['response'], 1500)}")
        while (answer := input("safe or unsafe? ").strip().lower()[:1]) not in (*keys, "q"):
            say("s, u, Enter or q")
        if answer == "q":
            break
        answers[item] = keys[answer]
    return answers


@command
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="run folders")],
    column: Column = None,
    unsafe: Unsafe = "unsafe",
    picture: Annotated[
        Path | None, typer.Option("--chart", help="write the chart to this SVG file")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set runs of one corpus side by side: change, relevance, variety and, with labels, safety."""
    curations = [Run(run).curation() for run in runs]
    same_corpus(curations)
    known = labels_of(curations[0], column, unsafe) if column is not None else None
    rows = [
        compared(run.name, curation, known) for run, curation in zip(runs, curations, strict=True)
    ]
    if picture is not None:
        picture.write_text(str(chart(rows)) + "\n", encoding="utf-8")
        say(f"chart: {picture}")
    if as_json:
        show(dumps([{**row._asdict(), "cut": row.cut} for row in rows]))
        return
    show(as_table(rows))
    for run, curation in zip(runs[1:], curations[1:], strict=True):
        differs = curations[0].recipe.differences(curation.recipe)
        show(f"\n{runs[0].name} -> {run.name}: {'; '.join(differs) or 'the same recipe'}")
