"""The command that heals what a model says, line by line: ``isaac heal``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import RecipeError
from ..healing.dialogue import TrimmedTurn, TurnHealer
from ..healing.documents import DialogueDocumentHealer, find_dialogue_format
from ..healing.lines import heal_lines, override_input_format
from ..healing.pipeline import (
    MAX_TRIES,
    ExchangePipeline,
    FailureCount,
    HealingPipeline,
    ResponseRewriter,
)
from ..healing.retrieval import Healer, LocatedExchange
from ..models.judges import load_judge
from ..runs.run import Run
from ..text import make_printable
from .common import RunPath, command, open_tools, print_message, print_output


@command
def heal(
    run: RunPath,
    model: Annotated[
        Path | None,
        typer.Option(help="rewrite by the rephraser in this folder, instead of drawing"),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="judge that decides what may go out: profanity, or module:attribute"),
    ] = None,
    fallback: Annotated[
        str | None,
        typer.Option(help="say this where nothing safe is found; if not given, the response stays"),
    ] = None,
    tries: Annotated[
        int, typer.Option(min=1, help="draws or rewrites tried for a response at most")
    ] = MAX_TRIES,
    form: Annotated[
        str | None,
        typer.Option("--format", help="format of the records; that of the run if not given"),
    ] = None,
    context: Annotated[
        str | None, typer.Option(help="column with the context; that of the run if not given")
    ] = None,
    response: Annotated[
        str | None, typer.Option(help="column with the response; that of the run if not given")
    ] = None,
) -> None:
    """Heal exchanges, a JSON record a line, as they come.

    Records come on standard input and go to standard output, each as soon as it is done, with
    isaac_action, isaac_reason, isaac_source_id, isaac_confidence and more added. A response that
    is worded typically stays, or with a judge one that it judges safe; another one is replaced. A
    line that cannot be used comes back as it was, with its reason.

    With a run of task-oriented dialogues every turn of the system is healed: parts that do not
    belong are left out, and where nothing would be left, a response of its acts is drawn and filled
    with its own values. Dialogues come in a layout of theirs or as predictions, {dialogue:
    [{response, state, active_domains}]}, a line or one text.
    """
    curation = Run(run).curation()
    asked, rephraser = load_judge(judge) if judge is not None else None, _load_rephraser(model)
    mending: HealingPipeline[LocatedExchange] | HealingPipeline[TrimmedTurn]
    if (layout := find_dialogue_format(curation, form)) is not None:
        _check_delexicalized_rephraser(model)
        with open_tools() as tools:
            healer = TurnHealer(curation, tools)
        mending = turns = HealingPipeline(healer, asked, rephraser, fallback, tries)
        documents = DialogueDocumentHealer(healer, turns, layout)
        healed = documents.healed(sys.stdin.buffer)
    else:
        mending = mender = ExchangePipeline(Healer(curation), asked, rephraser, fallback, tries)
        healed = heal_lines(mender, override_input_format(curation.recipe, form, context, response))
    try:
        for line in healed:
            print_output(line)
    finally:
        _report_failures(f"judge {judge}", "judgements", mending.judge_failures)
        _report_failures(f"model {model}", "rewrites", mending.rewrite_failures)


def _load_rephraser(folder: Path | None) -> ResponseRewriter | None:
    if folder is None:
        return None
    from ..models.chat.rephraser import load_rephraser

    found: ResponseRewriter = load_rephraser(folder)
    return found


def _check_delexicalized_rephraser(folder: Path | None) -> None:
    """Raise `RecipeError` if a rephraser was not trained on turns without their values."""
    if folder is None:
        return
    from ..models.chat.rephraser import WITHOUT_VALUES, read_metadata

    if not read_metadata(folder).get(WITHOUT_VALUES):
        raise RecipeError(
            f"the rephraser in {folder} was trained on whole responses, and values would be lost; "
            "train one on a run of dialogues: isaac train rephraser RUN"
        )


def _report_failures(who: str, what: str, failures: FailureCount) -> None:
    if failures.failed:
        print_message(
            f"{make_printable(who)} failed for {failures.failed:,} of {failures.asked:,} {what}, "
            f"which count as not safe: {make_printable(failures.first or '')}"
        )
