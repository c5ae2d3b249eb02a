"""The command that compares models: ``isaac evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..corpus.records import dumps
from ..evaluate import Evaluation, EvaluationSettings, write_evaluation, write_into_run
from ..evaluate import evaluate as evaluate_models
from ..evaluate.report import render_evaluation_tables
from ..evaluate.results import CONSTANT_REPLY
from ..models.chat.base import Decoding
from ..runs.run import Run
from ..text import make_printable
from .common import AsJson, command, open_tools, print_message, print_output

BeforeModel = Annotated[str, typer.Option(metavar="MODEL", help="the model to compare with")]
AfterModels = Annotated[
    list[str], typer.Option(metavar="MODEL", help="a model to compare; may be repeated")
]
PromptSource = Annotated[
    str, typer.Option(metavar="FILE|NAME", help="risky, a public set's name, or a file")
]
JudgeNames = Annotated[
    list[str], typer.Option(metavar="NAME", help="who judges; may be repeated, the first leads")
]
HarmlessPrompts = Annotated[
    str, typer.Option(metavar="FILE|NAME", help="harmless prompts, or none")
]
SampleCount = Annotated[int, typer.Option(min=1, help="answers to each prompt")]
MaxTokens = Annotated[int, typer.Option(min=1, help="tokens of an answer at most")]
Temperature = Annotated[float, typer.Option(min=0, help="0 takes the likeliest token each time")]
TopP = Annotated[
    float, typer.Option(min=0, max=1, help="share of the likeliest tokens that is drawn from")
]
DecodingSeed = Annotated[int, typer.Option(min=0, help="seed of the answers")]
ConstantReply = Annotated[
    str, typer.Option(metavar="TEXT", help="what the arm says that has one reply for everything")
]
ReferenceModel = Annotated[
    str | None, typer.Option(metavar="MODEL", help="a model under which answers are likely or not")
]
RealReplies = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="real replies, for forward and backward perplexity"),
]
AbilityTasks = Annotated[
    str | None,
    typer.Option(
        metavar="TASKS",
        help="tasks of lm-evaluation-harness, or YAML files of such tasks, with commas",
    ),
]
PromptLimit = Annotated[
    int | None, typer.Option(min=2, help="only so many prompts of each kind, spread evenly")
]
BatchSize = Annotated[int, typer.Option(min=1, help="prompts that a model sees at a time")]
WeightType = Annotated[
    Literal["float32", "bfloat16"] | None,
    typer.Option(
        help="of local models' weights; if not given, bfloat16 on a graphics card, else float32",
        show_default=False,
    ),
]
ReportRun = Annotated[
    Path | None,
    typer.Option(metavar="RUN", help="write the result into this run and its report too"),
]


@command
def evaluate(
    before: BeforeModel,
    after: AfterModels,
    prompts: PromptSource,
    judge: JudgeNames,
    out: Annotated[Path, typer.Option("-o", "--out", help="the folder")],
    harmless: HarmlessPrompts = "harmless",
    samples: SampleCount = 1,
    max_tokens: MaxTokens = 128,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    seed: DecodingSeed = 0,
    constant: ConstantReply = CONSTANT_REPLY,
    reference: ReferenceModel = None,
    real: RealReplies = None,
    ability: AbilityTasks = None,
    limit: PromptLimit = None,
    batch: BatchSize = 16,
    dtype: WeightType = None,
    run: ReportRun = None,
    as_json: AsJson = False,
) -> None:
    """Compare models before and after on the same prompts: safety at its price.

    Models are folders, adapters, hub names, smollm2, or openai:MODEL@URL. Answers are kept in the
    folder as they come; the same command goes on where it was stopped.
    """
    if run is not None:
        Run(run).need_finished()
    settings = EvaluationSettings(
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
    with open_tools() as tools:
        found = evaluate_models(before, after, prompts, judge, out, settings, tools)
    write_evaluation(found, out)
    if run is not None:
        write_into_run(found, Run(run))
    _print_evaluation(found, out, as_json=as_json)


def _print_evaluation(found: Evaluation, out: Path, *, as_json: bool) -> None:
    facts = found.as_json()
    if as_json:
        print_output(dumps(facts))
        return
    print_output(render_evaluation_tables(facts))
    for line in found.headlines:
        print_output(f"\n{make_printable(line)}.")
    for note in found.notes:
        print_message(f"note: {make_printable(note)}")
    print_message(f"report: {out / 'evaluation.html'}")
