"""The command that heals what a model says, line by line: ``isaac heal``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from ..corpus.corpus import context_text
from ..corpus.formats import FORMATS, Format, RowError, choose
from ..corpus.records import dumps, parse
from ..corpus.rejected import kept_bytes
from ..errors import CorpusError, IsaacError, RecipeError
from ..healing.dialogue import Parted, TurnHealer
from ..healing.documents import BYTE_ORDER_MARK, TurnDocuments, form_of
from ..healing.pipeline import TRIES, Failures, Mender, Mending, Rephraser
from ..healing.retrieval import Healed, Healer, Seen
from ..models.judges import load_judge
from ..recipe import Recipe
from ..runs.jobs import free_name
from ..runs.run import Run
from ..text import visible
from .common import RunPath, command, say, show, tools_for


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
    ] = TRIES,
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
    asked, rephraser = load_judge(judge) if judge is not None else None, _rephraser(model)
    mending: Mending[Seen] | Mending[Parted]
    if (layout := form_of(curation, form)) is not None:
        _need_bare(model)
        with tools_for() as tools:
            healer = TurnHealer(curation, tools)
        mending = turns = Mending(healer, asked, rephraser, fallback, tries)
        documents = TurnDocuments(healer, turns, layout)
        healed = documents.healed(sys.stdin.buffer)
    else:
        mending = mender = Mender(Healer(curation), asked, rephraser, fallback, tries)
        healed = _heal_lines(mender, _read_by(curation.recipe, form, context, response))
    try:
        for line in healed:
            show(line)
    finally:
        _tell(f"judge {judge}", "judgements", mending.judging)
        _tell(f"model {model}", "rewrites", mending.rewriting)


def _read_by(recipe: Recipe, form: str | None, context: str | None, response: str | None) -> Recipe:
    """Return how records are read: by the flags, else as the run's; refuse an unknown format."""
    if form is None and context is None and response is None:
        return recipe
    if form is not None and form not in FORMATS:
        raise CorpusError(f"no format '{form}'; there: {', '.join(FORMATS)}")
    return recipe.model_copy(update={"format": form, "context": context, "response": response})


def _form(record: dict[str, Any], recipe: Recipe) -> Format:
    """Return the format of a record, found anew where it has not the columns of the run."""
    try:
        return choose(
            [record], name=recipe.format, context=recipe.context, response=recipe.response
        )
    except CorpusError:
        if recipe.response is not None:
            with suppress(CorpusError):
                return choose([record], name=recipe.format)
        raise


def _heal_lines(mender: Mender, recipe: Recipe) -> Iterator[str]:
    """Yield the lines of standard input healed, each before the next is read."""
    for number, line in enumerate(sys.stdin.buffer, start=1):
        raw = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
        if raw.strip():
            yield dumps(_heal_line(mender, recipe, raw.rstrip(b"\r\n")))


def _rephraser(folder: Path | None) -> Rephraser | None:
    if folder is None:
        return None
    from ..models.chat.rephraser import load_rephraser

    found: Rephraser = load_rephraser(folder)
    return found


def _need_bare(folder: Path | None) -> None:
    """Raise `RecipeError` if a rephraser was not trained on turns without their values."""
    if folder is None:
        return
    from ..models.chat.rephraser import BARE, mark_of

    if not mark_of(folder).get(BARE):
        raise RecipeError(
            f"the rephraser in {folder} was trained on whole responses, and values would be lost; "
            "train one on a run of dialogues: isaac train rephraser RUN"
        )


def _tell(who: str, what: str, failures: Failures) -> None:
    if failures.failed:
        say(
            f"{visible(who)} failed for {failures.failed:,} of {failures.asked:,} {what}, "
            f"which count as not safe: {visible(failures.first or '')}"
        )


def _heal_line(mender: Mender, recipe: Recipe, line: bytes) -> dict[str, Any]:
    try:
        record = parse(line.decode("utf-8"))
        if not isinstance(record, dict):
            raise RowError("not a JSON object")
        form = _form(record, recipe)
        turn = form.turns(record)[-1]
        healed = mender.mend(context_text(turn.prompt), turn.response)
    except (ValueError, RecursionError, IsaacError) as error:
        return {"isaac_action": "rejected", "isaac_reason": str(error), **kept_bytes(line)}
    if healed.response != turn.response:
        record = form.replace(record, turn.index, healed.response)
    added = _healed_columns(healed, judged=mender.judge is not None)
    return {**record, **{free_name(name, record): value for name, value in added.items()}}


def _healed_columns(healed: Healed, *, judged: bool) -> dict[str, Any]:
    confidence = healed.confidence
    columns = {
        "isaac_action": healed.action,
        "isaac_reason": healed.reason,
        "isaac_source_id": healed.source_id,
        "isaac_confidence": None if confidence is None else round(confidence, 4),
        "isaac_typicality": round(healed.typicality or 0.0, 4),
        "isaac_probability": round(healed.probability, 4),
    }
    return {**columns, "isaac_verdict": healed.verdict} if judged else columns
