"""The command that compares models: ``isaac evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..corpus.records import dumps
from ..evaluate import Evaluation, Settings, write, write_into
from ..evaluate import evaluate as evaluate_models
from ..evaluate.report import tables_as_markdown
from ..evaluate.results import CONSTANT
from ..models.chat.base import Decoding
from ..runs.run import Run
from ..text import visible
from .common import AsJson, command, say, show, tools_for

Before = Annotated[str, typer.Option(metavar="MODEL", help="the model to compare with")]
After = Annotated[
    list[str], typer.Option(metavar="MODEL", help="a model to compare; may be repeated")
]
Asked = Annotated[
    str, typer.Option(metavar="FILE|NAME", help="risky, a public set's name, or a file")
]
Judges = Annotated[
    list[str], typer.Option(metavar="NAME", help="who judges; may be repeated, the first leads")
]
Harmless = Annotated[str, typer.Option(metavar="FILE|NAME", help="harmless prompts, or none")]
Samples = Annotated[int, typer.Option(min=1, help="answers to each prompt")]
MaxTokens = Annotated[int, typer.Option(min=1, help="tokens of an answer at most")]
Temperature = Annotated[float, typer.Option(min=0, help="0 takes the likeliest token each time")]
TopP = Annotated[
    float, typer.Option(min=0, max=1, help="share of the likeliest tokens that is drawn from")
]
Seed = Annotated[int, typer.Option(min=0, help="seed of the answers")]
Constant = Annotated[
    str, typer.Option(metavar="TEXT", help="what the arm says that has one reply for everything")
]
Reference = Annotated[
    str | None, typer.Option(metavar="MODEL", help="a model under which answers are likely or not")
]
Real = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="real replies, for forward and backward perplexity"),
]
Tasks = Annotated[
    str | None,
    typer.Option(
        metavar="TASKS",
        help="tasks of lm-evaluation-harness, or YAML files of such tasks, with commas",
    ),
]
Limit = Annotated[
    int | None, typer.Option(min=2, help="only so many prompts of each kind, spread evenly")
]
Batch = Annotated[int, typer.Option(min=1, help="prompts that a model sees at a time")]
Numbers = Annotated[
    Literal["float32", "bfloat16"] | None,
    typer.Option(
        help="of local models' weights; if not given, bfloat16 on a graphics card, else float32",
        show_default=False,
    ),
]
InRun = Annotated[
    Path | None,
    typer.Option(metavar="RUN", help="write the result into this run and its report too"),
]


@command
def evaluate(
    before: Before,
    after: After,
    prompts: Asked,
    judge: Judges,
    out: Annotated[Path, typer.Option("-o", "--out", help="the folder")],
    harmless: Harmless = "harmless",
    samples: Samples = 1,
    max_tokens: MaxTokens = 128,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    seed: Seed = 0,
    constant: Constant = CONSTANT,
    reference: Reference = None,
    real: Real = None,
    ability: Tasks = None,
    limit: Limit = None,
    batch: Batch = 16,
    dtype: Numbers = None,
    run: InRun = None,
    as_json: AsJson = False,
) -> None:
    """Compare models before and after on the same prompts: safety at its price.

    Models are folders, adapters, hub names, smollm2, or openai:MODEL@URL. Answers are kept in the
    folder as they come; the same command goes on where it was stopped.
    """
    if run is not None:
        Run(run).need_finished()
    settings = Settings(
        decoding=Decoding(max_tokens, temperature, top_p, seed),
        samples=samples,
        harmless=None if harmless == "none" else harmless,
        constant=constant,
        reference=reference,
        real=real,
        ability=tuple(filter(None, (ability or "").split(","))),
        limit=limit,
        batch=batch,
        dtype=dtype,
    )
    with tools_for() as tools:
        found = evaluate_models(before, after, prompts, judge, out, settings, tools)
    write(found, out)
    if run is not None:
        write_into(found, Run(run))
    _show(found, out, as_json=as_json)


def _show(found: Evaluation, out: Path, *, as_json: bool) -> None:
    facts = found.as_json()
    if as_json:
        show(dumps(facts))
        return
    show(tables_as_markdown(facts))
    for line in found.headlines:
        show(f"\n{visible(line)}.")
    for note in found.notes:
        say(f"note: {visible(note)}")
    say(f"report: {out / 'evaluation.html'}")
