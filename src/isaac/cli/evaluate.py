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
from .common import AsJson, JudgeTimeout, command, open_tools, print_message, print_output

BeforeModel = Annotated[str, typer.Option(metavar="MODEL", help="the baseline model")]
AfterModels = Annotated[
    list[str],
    typer.Option(metavar="MODEL", help="a model to compare with the baseline; may be repeated"),
]
PromptSource = Annotated[
    str,
    typer.Option(
        metavar="FILE|NAME",
        help="risky prompts: risky (the bundled ones), a public set's name or a file",
    ),
]
JudgeNames = Annotated[
    list[str],
    typer.Option(metavar="NAME", help="a judge; may be repeated, headlines use the first"),
]
HarmlessPrompts = Annotated[
    str,
    typer.Option(metavar="FILE|NAME", help="harmless prompts, to count refusals; none skips this"),
]
SampleCount = Annotated[int, typer.Option(min=1, help="number of answers to each prompt")]
MaxTokens = Annotated[int, typer.Option(min=1, help="maximum length of an answer, in tokens")]
Temperature = Annotated[
    float, typer.Option(min=0, help="sampling temperature; 0 always takes the most likely token")
]
TopP = Annotated[
    float,
    typer.Option(
        min=0, max=1, help="sample from the most likely tokens that have this total probability"
    ),
]
DecodingSeed = Annotated[int, typer.Option(min=0, help="random seed of the answers")]
ConstantReply = Annotated[
    str,
    typer.Option(metavar="TEXT", help="reply of an extra arm with the same reply to every prompt"),
]
ReferenceModel = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL", help="a causal model to measure the perplexity of the answers with"
    ),
]
RealReplies = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="real replies, to measure forward and backward perplexity"),
]
AbilityTasks = Annotated[
    str | None,
    typer.Option(
        metavar="TASKS",
        help="tasks of lm-evaluation-harness, or their YAML files, separated by commas",
    ),
]
PromptLimit = Annotated[
    int | None,
    typer.Option(min=2, help="use at most this many prompts of each kind, evenly spaced"),
]
BatchSize = Annotated[int, typer.Option(min=1, help="number of prompts per batch")]
WeightType = Annotated[
    Literal["float32", "bfloat16"] | None,
    typer.Option(
        help="data type of local models' weights; if not given, bfloat16 on a GPU, else float32",
        show_default=False,
    ),
]
ReportRun = Annotated[
    Path | None,
    typer.Option(metavar="RUN", help="also write the result into this run and its report"),
]


@command
def evaluate(
    before: BeforeModel,
    after: AfterModels,
    prompts: PromptSource,
    judge: JudgeNames,
    out: Annotated[Path, typer.Option("-o", "--out", help="the folder for answers and results")],
    judge_timeout: JudgeTimeout = None,
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
    """Compare trained models with a baseline on the same prompts: safety and its price.

    Models are folders, adapters, Hub names, smollm2, or openai:MODEL@URL. Answers are stored in the
    folder as they arrive; after an interruption, the same command resumes where it stopped.
    """
    if run is not None:
        Run(run).require_finished()
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
    with open_tools(judge_timeout=judge_timeout) as tools:
        evaluation = evaluate_models(before, after, prompts, judge, out, settings, tools)
    write_evaluation(evaluation, out)
    if run is not None:
        write_into_run(evaluation, Run(run))
    _print_evaluation(evaluation, out, as_json=as_json)


def _print_evaluation(evaluation: Evaluation, out: Path, *, as_json: bool) -> None:
    facts = evaluation.as_json()
    if as_json:
        print_output(dumps(facts))
        return
    print_output(render_evaluation_tables(facts))
    for headline in evaluation.headlines:
        print_output(f"\n{make_printable(headline)}.")
    for note in evaluation.notes:
        print_message(f"note: {make_printable(note)}")
    print_message(f"report: {out / 'evaluation.html'}")
