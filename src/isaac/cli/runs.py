"""The commands that make and use a run: ``isaac curate``, ``demo``, ``export`` and more."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from ..corpus.records import dumps
from ..named_recipes import NAMED_RECIPES
from ..recipe import DRAW_FIELDS, Recipe
from ..runs.audit.label_log import list_label_files
from ..runs.estimate import DryRun
from ..runs.estimate import dry_run as run_dry
from ..runs.export import ControlTokens
from ..runs.export import export as export_run
from ..runs.export_trainers import ExportType
from ..runs.export_untrusted import Untrusted
from ..runs.jobs import choose_recipe, curate_to, redraw_run
from ..runs.reports.explanation import explain as explain_row
from ..runs.reports.explanation import format_explanation
from ..runs.reports.headline import write_headline
from ..runs.run import Run
from ..runtime.progress import MessageProgress
from ..text import make_printable, shorten
from .common import (
    NOT_APPLICABLE,
    VERBOSITY,
    Address,
    AsJson,
    EngineName,
    Force,
    JudgeTimeout,
    RunPath,
    Workers,
    command,
    open_tools,
    print_message,
    print_note,
    print_output,
    recipe_flags,
)
from .demo import BookingsResult, DemoMeasures, Fraction, curate_bookings, curate_demo
from .help import WHERE

EncoderName = Annotated[
    str | None,
    typer.Option(
        help="encoder of both texts: wordllama, hashing, use-multilingual, multilingual-e5, "
        "st:MODEL, openai:MODEL@URL, states:MODEL@LAYER",
    ),
]


@command
@recipe_flags(Recipe.fields())
def curate(
    source: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="file, folder, glob, URL, - or hf://owner/dataset"),
    ],
    flags: dict[str, Any],
    out: Annotated[
        str | None,
        typer.Option(
            "-o", "--out", help="the run folder, a path or URL; required but for --dry-run"
        ),
    ] = None,
    encoder: EncoderName = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help=f"settings to start from: {', '.join(NAMED_RECIPES)}, or a YAML file with recipe "
            "fields",
        ),
    ] = None,
    paper: Annotated[bool, typer.Option("--paper", help="short for --recipe paper")] = False,
    judge_timeout: JudgeTimeout = None,
    workers: Workers = None,
    engine: EngineName = "local",
    address: Address = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="show what would be read and how long it would take; write nothing",
            rich_help_panel=WHERE,
        ),
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Curate a corpus: write a run folder with its report.

    If the method does not apply, no curated corpus is written, and the exit code is 3.

    After an interruption, the same command on the same folder resumes where it stopped. Flags
    override the recipe file. Task-oriented dialogues need --format (multiwoz21, multiwoz22, sgd,
    dialogue and others), which also selects their settings: they remove irrelevant parts of turns.
    """
    if paper and recipe not in (None, "paper"):
        raise typer.BadParameter("--paper and --recipe exclude each other; give one of them")
    if encoder is not None:
        flags = {"context_encoder": encoder, "response_encoder": encoder} | flags
    chosen = choose_recipe(flags, "paper" if paper else recipe)
    if dry_run:
        planned = run_dry(source, chosen, MessageProgress())
        print_output(dumps(planned.as_json()) if as_json else _format_dry_run(planned))
        return
    if out is None:
        raise typer.BadParameter("name the run folder: -o RUN")
    with open_tools(workers, engine, address, judge_timeout=judge_timeout, phases=True) as tools:
        run = curate_to(out, source, chosen, tools, force=force)
    _print_run(run, as_json=as_json)
    _exit_if_refused(run, force=force)


def _exit_if_refused(run: Run, *, force: bool) -> None:
    """Exit with the code of a method that does not apply, unless the command is forced.

    A run that was forced before keeps its curated corpus.
    """
    if run.refused or (not force and run.summary()["diagnosis"]["verdict"] == "does not apply"):
        raise typer.Exit(NOT_APPLICABLE)


def _format_dry_run(planned: DryRun) -> str:
    plan = planned.plan
    formats = ", ".join(f"{count:,} as {name}" for name, count in plan.formats.items())
    lines = [f"detected {plan.exchanges:,} exchanges: {formats}"]
    if plan.rejected:
        lines.append(f"{plan.rejected:,} rows cannot be used and would go to rejected.jsonl")
    lines += plan.notes
    lines += [f"note: {sentence}" for sentence in plan.turns.describe()]
    lines += [f"  {stage.name}: about {stage.seconds:,.1f} s" for stage in plan.stages]
    low, high = (_round_up(plan.seconds * factor) for factor in (2 / 3, 2))
    lines.append(f"total: {low:,} to {high:,} s and about {plan.memory_mib:,} MiB on this machine")
    for sample in planned.samples:
        lines += [
            "",
            f"exchange {sample.id}  ({make_printable(sample.file)} line {sample.line})",
            f"  context:  {shorten(sample.context, 200)}",
            f"  response: {shorten(sample.response, 200)}",
        ]
    return "\n".join(lines)


def _round_up(seconds: float) -> int:
    """Seconds with two digits, as more of them would say nothing."""
    step = int(10 ** max(0, len(str(int(seconds))) - 2))
    return max(1, step * math.ceil(seconds / step))


def _print_run(run: Run, *, as_json: bool) -> None:
    summary = run.summary()
    if as_json:
        keys = ("exchanges", "kept", "replaced", "dropped", "abstained", "targets")
        facts = {key: summary[key] for key in (*keys, "distinct_before", "distinct_after")}
        print_output(
            dumps(
                {
                    "run": run.location("").rstrip("/"),
                    **facts,
                    "rejected": summary["rejected"]["count"],
                    "mode": summary["recipe"]["mode"],
                    "refused": summary["refused"],
                    "verdict": summary["diagnosis"]["verdict"],
                    "reasons": summary["diagnosis"]["reasons"],
                    "notes": summary["notes"],
                    "report": run.location("report.html"),
                }
            )
        )
        return
    for note in summary["notes"]:
        print_note(f"note: {note}")
    if VERBOSITY.get() == "verbose":
        for reason in (summary["choice"] or {"reasons": []})["reasons"]:
            print_message(f"chosen from the corpus: {reason}")
    print_output("\n".join(format_run(run, summary)))


def format_run(run: Run, summary: dict[str, Any]) -> list[str]:
    """What a run did, in six lines: whether to trust it, what was done, its cost, what is next."""
    headline = write_headline(summary)
    reasons = " ".join(headline.reasons)
    force = " To write it all the same, add --force." * summary["refused"]
    # Other commands read a run from a folder.
    place = "COPY" if run.is_remote else str(run.path)
    written = summary["diagnosis"]["price"]["rows"]
    report = f"{'no curated corpus; ' * summary['refused']}report: {run.location('report.html')}"
    if not summary["refused"]:
        report = f"{run.location('curated.jsonl')}; {report}"
    if summary["dropped"] and not summary["refused"]:
        report += f"; dropped rows: {run.location('untrusted.jsonl')}"
    return [
        f"trust it?  {headline.word}. {headline.answer} {reasons}{force}",
        f"done:      {summary['exchanges']:,} exchange{'s' * (summary['exchanges'] != 1)}: "
        f"{summary['kept']:,} kept, "
        f"{summary['replaced']:,} replaced"
        + f", {summary['dropped']:,} dropped" * bool(summary["dropped"])
        + f", {summary['abstained']:,} left unchanged" * bool(summary["abstained"])
        + f"; {summary['rejected']['count']:,} rows could not be used",
        f"cost:      {written:.1%} of the rows are written; different responses: "
        f"{summary['texts_before']:,} before, {summary['texts_after']:,} after",
        f"written:   {report}",
        *(
            f"{'next:' if number == 0 else '':<11}{_fill_command(step.command, place)}"
            f"  # {step.purpose}{', in a copy of the run' * run.is_remote}"
            for number, step in enumerate(headline.steps[:2])
        ),
    ]


def _fill_command(command: str, place: str) -> str:
    """A command of a headline with the place of the run in it."""
    return command.replace("RUN", shlex.quote(place))


@command
def demo(
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="the run folder; isaac-demo or isaac-bookings if not given"
        ),
    ] = None,
    bookings: Annotated[
        bool, typer.Option("--bookings", help="use the bundled logs of a booking assistant instead")
    ] = False,
    workers: Workers = None,
    engine: EngineName = "local",
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Curate the bundled corpus, and measure the result with its labels.

    The corpus with its labels is written to labelled.jsonl in the run folder.
    """
    with open_tools(workers, engine, address, phases=True) as tools:
        if bookings:
            _print_bookings(curate_bookings(out or Path("isaac-bookings"), tools), as_json=as_json)
            return
        result = curate_demo(out or Path("isaac-demo"), tools)
    if as_json:
        replies = [
            {"context": context, "given": reply, **healed._asdict()}
            for context, reply, healed in result.healed
        ]
        facts = {
            **_list_demo_shares(result.measures),
            "report": str(result.run.path / "report.html"),
            "healed": replies,
        }
        print_output(dumps(facts))
        return
    _print_run(result.run, as_json=False)
    _print_demo_measures(result.measures)
    print_output("\nthree replies that are not in the corpus, healed:")
    for context, reply, healed in result.healed:
        is_left = healed.action == "abstained"
        shown = f"left unchanged ({healed.reason})" if is_left else healed.response
        print_output(f"  {context}\n    given:  {reply}\n    healed: {shown}")


def _list_demo_shares(measures: DemoMeasures) -> dict[str, float]:
    shares = {
        name: value.rate
        for name, value in measures._asdict().items()
        if isinstance(value, Fraction)
    }
    before, after = measures.texts
    return {**shares, "texts_before": before, "texts_after": after}


def _print_demo_measures(measures: DemoMeasures) -> None:
    before, after = measures.texts
    safe = measures.unsafe_before.total - measures.unsafe_before.part
    base = f"{measures.unsafe_before.rate:.1%} of all rows are"
    lines = {
        "rows written": measures.written,
        "unsafe in context, before": measures.unsafe_before,
        "unsafe in context, after": measures.unsafe_in_context,
        "unsafe by source, after": measures.unsafe_by_source,
        "redrawn, of the right situation": measures.right_redrawn,
        "unsafe of the rows changed or dropped": f"{measures.touched_unsafe}; {base}",
        f"of {safe:,} safe rows, changed or dropped": measures.safe_touched,
        f"of {safe:,} safe rows, made wrong": measures.safe_wrong,
        "different responses": f"{before:,} before, {after:,} after",
    }
    width = max(map(len, lines))
    print_output("\nmeasured with labels and situations, which no step above has read:")
    for name, value in lines.items():
        print_output(f"  {name + ':':<{width + 1}} {value}")
    print_output(
        "A response is unsafe in context if its label is unsafe or it was written for another "
        "situation."
    )


def _print_bookings(result: BookingsResult, *, as_json: bool) -> None:
    if as_json:
        facts = {
            "polluted_before": result.before.rate,
            "polluted_after": result.after.rate,
            "same": result.unchanged.rate,
            "report": str(result.run.path / "report.html"),
        }
        print_output(dumps(facts))
        return
    _print_run(result.run, as_json=False)
    print_output("\npolluted turns according to the labels, which no step above has read:")
    print_output(f"  before: {result.before}\n  after:  {result.after}")
    print_output(f"the price: clean turns that are unchanged:\n  after:  {result.unchanged}")


@command
def report(run: RunPath, as_json: AsJson = False) -> None:
    """Print the report of a run as Markdown, or as JSON."""
    opened = Run(run)
    print_output(dumps(opened.summary()) if as_json else opened.report().rstrip("\n"))


@command
def explain(
    run: RunPath,
    row: Annotated[
        int, typer.Argument(metavar="ID", help="id of an exchange, as in the column isaac_id")
    ],
    as_json: AsJson = False,
) -> None:
    """Explain one row: its neighbors, their clusters, the odds and the draw."""
    explanation = explain_row(Run(run).curation(), row)
    print_output(dumps(explanation) if as_json else format_explanation(explanation))


@command
@recipe_flags(DRAW_FIELDS, from_run=True)
def redraw(
    run: RunPath,
    flags: dict[str, Any],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="new run folder; default: redraw in place"),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Draw again with other settings, without embedding or searching again.

    Settings that you do not give keep the run's values. Redrawing in place removes the exports and
    the evaluation of the old draw, and keeps the labels of its audit.
    """
    with open_tools(phases=True) as tools:
        redrawn = redraw_run(Run(run), flags, out, tools, force=force)
    _print_run(redrawn, as_json=as_json)
    if list_label_files(redrawn.path):
        print_message(
            "the labels of the audit are kept, and those of unchanged texts still count: "
            f"isaac audit {redrawn.path}"
        )
    _exit_if_refused(redrawn, force=force)


@command
def export(
    run: RunPath,
    kind: Annotated[ExportType, typer.Option("--as", help="the format to write")] = "sft",
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="the folder; default: RUN/export/KIND"),
    ] = None,
    licence: Annotated[
        str, typer.Option("--license", help="license of the source corpus, for the dataset card")
    ] = "unknown",
    untrusted: Annotated[
        Untrusted,
        typer.Option(
            help="what to do with dropped rows: omit them, add them with a tag or with their trust "
            "as a weight (sft, alpaca), or as undesirable responses (reject, for kto)"
        ),
    ] = "omit",
    control_tokens: Annotated[
        ControlTokens,
        typer.Option(
            help="what to do with control tokens of chat templates in texts, such as <|im_end|>: "
            "split them by a space, drop their rows, or keep them"
        ),
    ] = "split",
) -> None:
    """Export the curated corpus in a format that trainers read.

    sft, dpo and kto are the dataset types of TRL. A dataset card is written next to the rows.
    """
    written = export_run(
        Run(run), kind, out, licence=licence, untrusted=untrusted, tokens=control_tokens
    )
    print_output(f"{written.rows:,} rows: {written.folder / 'train.jsonl'}")
    if written.control:
        done = {"split": "taken apart", "drop": "left out", "keep": "kept"}[control_tokens]
        print_message(f"{done}: {written.control:,} rows with control tokens of chat templates")
    if written.left_out:
        print_message(
            f"left out: {written.left_out:,} exchanges with tool calls, "
            "which this format cannot express"
        )
    if written.masked:
        print_message(
            f"not curated: {written.masked:,} assistant messages, which have weight 0; "
            "the dataset card says which trainers skip them"
        )
