"""The command that heals what a model says, line by line: ``isaac heal``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .corpus import context_text
from .errors import IsaacError
from .formats import RowError, choose
from .healing import Healed, Healer
from .jobs import free_name
from .judges import load_judge
from .mending import TRIES, Failures, Mender, Rephraser
from .recipe import Recipe
from .records import dumps, parse
from .rejected import kept_bytes
from .runs import Run
from .terminal import RunPath, command, say, show
from .text import visible

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


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
) -> None:
    """Heal exchanges, a JSON record a line, as they come.

    Records come on standard input and go to standard output, each as soon as it is done, with
    isaac_action, isaac_reason, isaac_source_id, isaac_confidence and more added. A response that
    is worded typically stays, or with a judge one that it judges safe; another one is replaced. A
    line that cannot be used comes back as it was, with its reason.
    """
    curation = Run(run).curation()
    asked = load_judge(judge) if judge is not None else None
    mender = Mender(Healer(curation), asked, _rephraser(model), fallback, tries)
    try:
        for number, line in enumerate(sys.stdin.buffer, start=1):
            raw = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
            if raw.strip():
                show(dumps(_heal_line(mender, curation.recipe, raw.rstrip(b"\r\n"))))
    finally:
        _tell(f"judge {judge}", "judgements", mender.judging)
        _tell(f"model {model}", "rewrites", mender.rewriting)


def _rephraser(folder: Path | None) -> Rephraser | None:
    if folder is None:
        return None
    from .models.rephrasing import load_rephraser

    found: Rephraser = load_rephraser(folder)
    return found


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
        form = choose(
            [record], name=recipe.format, context=recipe.context, response=recipe.response
        )
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
