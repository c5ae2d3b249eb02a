"""The commands that make a run and use it: ``isaac curate``, ``demo``, ``export`` and more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..corpus.formats import TASK_ORIENTED_FORMATS
from ..corpus.reading import read_corpus
from ..corpus.records import dumps
from ..curation.curate import explain_empty_corpus
from ..errors import CorpusError
from ..recipe import (
    DIALOGUE_SETTINGS,
    DRAW_FIELDS,
    PAPER_DIALOGUE_SETTINGS,
    PAPER_SETTINGS,
    Recipe,
    read_yaml,
)
from ..runs.estimate import Plan, estimate_plan
from ..runs.export import ExportType
from ..runs.export import export as export_run
from ..runs.jobs import curate_to, redraw_run
from ..runs.reports.explanation import explain as explain_row
from ..runs.reports.explanation import format_explanation
from ..runs.run import Run
from ..runtime.progress import MessageProgress
from ..text import make_printable, shorten
from .common import (
    Address,
    AsJson,
    EngineName,
    RunPath,
    Workers,
    command,
    open_tools,
    print_message,
    print_output,
    recipe_flags,
)
from .demo import BookingsResult, curate_bookings, curate_demo


@command
@recipe_flags(Recipe.fields())
def curate(
    source: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="file, folder, glob, URL, - or hf://owner/dataset"),
    ],
    flags: dict[str, Any],
    out: Annotated[
        str | None, typer.Option("-o", "--out", help="the run folder, a path or URL")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="encoder of both texts: wordllama, hashing, st:MODEL, openai:MODEL@URL",
        ),
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="YAML file of recipe fields")] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="begin with the paper's settings, not our defaults")
    ] = False,
    workers: Workers = None,
    engine: EngineName = "local",
    address: Address = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what would be done, and do nothing")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Curate a corpus: make a run folder with its report.

    The same command on the same folder goes on where it was stopped. Flags stand over the recipe
    file. Task-oriented dialogues need their --format: multiwoz21, multiwoz22, sgd, dialogue and
    more; it begins with settings for them, which leave out of turns what does not belong.
    """
    settings = read_yaml(recipe) if recipe else {}
    if (flags.get("format") or settings.get("format")) in [*TASK_ORIENTED_FORMATS]:
        settings = {**(PAPER_DIALOGUE_SETTINGS if paper else DIALOGUE_SETTINGS), **settings}
    elif paper:
        settings = {**PAPER_SETTINGS, **settings}
    if encoder is not None:
        settings |= {"context_encoder": encoder, "response_encoder": encoder}
    wanted = Recipe.of(settings | flags)
    if dry_run:
        _dry_run(source, wanted, as_json=as_json)
        return
    if out is None:
        raise typer.BadParameter("give the run folder: -o RUN")
    with open_tools(workers, engine, address) as tools:
        run = curate_to(out, source, wanted, tools)
    _print_run(run, as_json=as_json)


def _dry_run(source: str, recipe: Recipe, *, as_json: bool) -> None:
    corpus = read_corpus(source, recipe, progress=MessageProgress())
    samples = [corpus[row] for row in range(min(3, len(corpus)))]
    if not len(corpus):
        raise CorpusError(explain_empty_corpus(corpus))
    planned = estimate_plan(corpus, recipe)
    if as_json:
        print_output(
            dumps({**planned.as_json(), "samples": [sample._asdict() for sample in samples]})
        )
        return
    print_output(_format_plan(planned))
    for sample in samples:
        print_output(f"\nexchange {sample.id}  ({make_printable(sample.file)} line {sample.line})")
        print_output(
            f"  context:  {shorten(sample.context, 200)}\n  response: {shorten(sample.response, 200)}"
        )


def _format_plan(planned: Plan) -> str:
    recognised = ", ".join(f"{count:,} as {name}" for name, count in planned.formats.items())
    lines = [f"recognised {planned.exchanges:,} exchanges: {recognised}"]
    if planned.rejected:
        lines.append(f"{planned.rejected:,} rows cannot be used and would go to rejected.jsonl")
    lines += [f"  {stage.name}: about {stage.seconds:,.1f} s" for stage in planned.stages]
    lines.append(
        f"in all about {planned.seconds:,.1f} s and {planned.memory_mib:,} MiB on this machine"
    )
    return "\n".join(lines)


def _print_run(run: Run, *, as_json: bool) -> None:
    summary = run.summary()
    if as_json:
        keys = ("exchanges", "kept", "replaced", "dropped", "abstained", "targets")
        facts = {key: summary[key] for key in (*keys, "distinct_before", "distinct_after")}
        print_output(
            dumps(
                {
                    "run": run.place("").rstrip("/"),
                    **facts,
                    "rejected": summary["rejected"]["count"],
                    "verdict": summary["diagnosis"]["verdict"],
                    "reasons": summary["diagnosis"]["reasons"],
                    "notes": summary["notes"],
                    "report": run.place("report.html"),
                }
            )
        )
        return
    print_output(
        f"{summary['exchanges']:,} exchanges: {summary['kept']:,} kept, "
        f"{summary['replaced']:,} replaced"
        + (f", {summary['dropped']:,} dropped" if summary["dropped"] else "")
        + (f", {summary['abstained']:,} left alone" if summary["abstained"] else "")
        + f"; {summary['rejected']['count']:,} rows rejected on reading"
    )
    print_output(
        f"distinct responses: {summary['distinct_before']:.1%} of rows before, "
        f"{summary['distinct_after']:.1%} after"
    )
    for reason in (summary["choice"] or {"reasons": []})["reasons"]:
        print_output(f"chosen: {reason}")
    found = summary["diagnosis"]
    told = {"applies": "the method applies", "doubtful": "doubtful whether the method applies"}
    print_output(
        f"{told.get(found['verdict'], 'the method does NOT apply')}: {'; '.join(found['reasons'])}"
    )
    for note in summary["notes"]:
        print_output(f"note: {note}")
    print_output(f"curated corpus: {run.place('curated.jsonl')}")
    print_output(f"report:         {run.place('report.html')}")


@command
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="the run folder")] = Path("isaac-demo"),
    bookings: Annotated[
        bool, typer.Option("--bookings", help="the logs of a booking assistant, with acts, instead")
    ] = False,
    workers: Workers = None,
    engine: EngineName = "local",
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Curate the bundled corpus and measure it by its labels.

    The corpus with its labels is labelled.jsonl in the run folder.
    """
    with open_tools(workers, engine, address) as tools:
        if bookings:
            _print_bookings(curate_bookings(out, tools), as_json=as_json)
            return
        found = curate_demo(out, tools)
    if as_json:
        healed = [
            {"context": context, "given": given, **new._asdict()}
            for context, given, new in found.healed
        ]
        facts = {
            "unsafe_before": found.before.rate,
            "unsafe_after": found.after.rate,
            "same_situation": found.same_situation.rate,
            "report": str(found.run.path / "report.html"),
            "healed": healed,
        }
        print_output(dumps(facts))
        return
    _print_run(found.run, as_json=False)
    print_output("\nunsafe responses by the labels, which nothing above has read:")
    print_output(f"  before: {found.before}\n  after:  {found.after}")
    print_output("the price, responses that were written for the same situation:")
    print_output(f"  after:  {found.same_situation}")
    print_output("\nthree replies that are not in the corpus, healed:")
    for context, given, new in found.healed:
        print_output(f"  {context}\n    given:  {given}\n    healed: {new.response}")


def _print_bookings(found: BookingsResult, *, as_json: bool) -> None:
    if as_json:
        facts = {
            "polluted_before": found.before.rate,
            "polluted_after": found.after.rate,
            "same": found.unchanged.rate,
            "report": str(found.run.path / "report.html"),
        }
        print_output(dumps(facts))
        return
    _print_run(found.run, as_json=False)
    print_output("\npolluted turns by the labels, which nothing above has read:")
    print_output(f"  before: {found.before}\n  after:  {found.after}")
    print_output(f"the price, clean turns that are as they were:\n  after:  {found.unchanged}")


@command
def report(run: RunPath, as_json: AsJson = False) -> None:
    """Print the report of a run as Markdown, or as JSON."""
    name = "report.json" if as_json else "report.md"
    Run(run).manifest()
    print_output((run / name).read_text(encoding="utf-8").rstrip("\n"))


@command
def explain(
    run: RunPath,
    row: Annotated[int, typer.Argument(metavar="ID", help="an exchange's id, as in isaac_id")],
    as_json: AsJson = False,
) -> None:
    """Tell one row's story: neighbours, clusters, odds and draw."""
    story = explain_row(Run(run).curation(), row)
    print_output(dumps(story) if as_json else format_explanation(story))


@command
@recipe_flags(DRAW_FIELDS, kept=True)
def redraw(
    run: RunPath,
    flags: dict[str, Any],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="a new run folder; the run itself if not given"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw again with other odds, embedding nothing anew.

    What is not given stays as the run has it. Drawn in place, exports of the old draw are removed.
    """
    with open_tools() as tools:
        _print_run(redraw_run(Run(run), flags, out, tools), as_json=as_json)


@command
def export(
    run: RunPath,
    kind: Annotated[ExportType, typer.Option("--as", help="the type")] = "sft",
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="the folder; RUN/export/KIND if not given"),
    ] = None,
    licence: Annotated[
        str, typer.Option("--license", help="licence of the source, for the card")
    ] = "unknown",
) -> None:
    """Write the curated corpus in a type that trainers read.

    sft, dpo and kto are TRL's types; a dataset card lies beside the rows.
    """
    written = export_run(Run(run), kind, out, licence=licence)
    print_output(f"{written.rows:,} rows: {written.folder / 'train.jsonl'}")
    if written.left_out:
        print_message(
            f"left out: {written.left_out:,} exchanges with tool calls; no type here carries them"
        )
