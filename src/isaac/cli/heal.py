"""The command that heals responses, one line of JSON at a time: ``isaac heal``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..healing import HealingSettings, open_healer
from ..healing.pipeline import MAX_TRIES, FailureCount
from ..reading_options import ReadingOptions
from ..runs.run import Run
from ..text import make_printable
from .common import (
    JudgeTimeout,
    RunPath,
    command,
    open_tools,
    print_message,
    print_output,
    recipe_flags,
)

RephraserFolder = Annotated[
    Path | None,
    typer.Option(help="folder of a rephraser, to rewrite responses instead of drawing others"),
]
JudgeName = Annotated[
    str | None,
    typer.Option(
        help="judge that decides which responses may be sent: profanity, hf:MODEL, guard:MODEL, "
        "openai:MODEL@URL, trained:DIR, or module:attribute"
    ),
]
Fallback = Annotated[
    str | None,
    typer.Option(
        help="text to send instead of an untrusted or unsafe response that nothing can replace; "
        "without it, the response stays"
    ),
]
MinFit = Annotated[
    float | None,
    typer.Option(
        min=0, help="least fit of a message and its replacement; default: that of the run"
    ),
]
MinSimilarity = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="least similarity of a message, and of its response, to those of the corpus; below "
        "it, the response stays; default: what 95 % of the corpus's own exchanges have",
    ),
]


@command
@recipe_flags(("map", "role"), from_run=True)
def heal(
    run: RunPath,
    model: RephraserFolder = None,
    judge: JudgeName = None,
    judge_timeout: JudgeTimeout = None,
    fallback: Fallback = None,
    tries: Annotated[
        int, typer.Option(min=1, help="maximum number of draws or rewrites for a response")
    ] = MAX_TRIES,
    min_fit: MinFit = None,
    min_similarity: MinSimilarity = None,
    format_name: Annotated[
        str | None,
        typer.Option("--format", help="format of the records; default: that of the run"),
    ] = None,
    context: Annotated[
        str | None, typer.Option(help="column with the context; default: that of the run")
    ] = None,
    response: Annotated[
        str | None, typer.Option(help="column with the response; default: that of the run")
    ] = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Heal exchanges as they arrive, one JSON record per line.

    Reads records from standard input and writes each to standard output as soon as it is done,
    with isaac_action, isaac_reason, isaac_source_id, isaac_confidence and more added. A response
    stays if it is trusted, or with --judge if it is judged safe; others are replaced by a trusted
    response that fits the message, if the run has one. Outside the corpus's domain, language or
    script, a response stays unless a judge rejects it. A line that cannot be used comes back
    unchanged, with the reason.

    With a run of task-oriented dialogues, every system turn is healed: irrelevant text is removed,
    and if nothing would be left, a response with the same acts is drawn and filled with the turn's
    own values. The input is dialogues in a format that isaac reads, or predictions, {dialogue:
    [{response, state, active_domains}]}, one per line or as one JSON document.
    """
    with open_tools(judge_timeout=judge_timeout) as tools:
        healer = open_healer(
            Run(run),
            judge=judge,
            model=model,
            settings=HealingSettings(fallback, tries, min_fit, min_similarity),
            reading=ReadingOptions.of(
                {"format": format_name, "context": context, "response": response, **flags}
            ),
            tools=tools,
        )
    try:
        for line in healer.heal_lines(sys.stdin.buffer):
            print_output(line)
    finally:
        failures = healer.pipeline.judge_failures
        _print_failures(f"judge {judge}", "judgments, which count as not safe", failures)
        _print_failures(f"model {model}", "rewrites", healer.pipeline.rewrite_failures)


def _print_failures(name: str, calls: str, failures: FailureCount) -> None:
    if failures.failed:
        print_message(
            f"{make_printable(name)} failed for {failures.failed:,} of {failures.attempts:,} "
            f"{calls}; first error: {make_printable(failures.first_error or '')}"
        )
