"""The commands that train models on a run: ``isaac train sft``, ``dpo``, ``kto``, ``rephraser``."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..corpus.records import dumps
from ..runs.run import Run
from ..text import make_printable
from .common import HELP_NAMES, AsJson, RunPath, app, command_progress, print_output, subcommand
from .help import SectionedGroup

train_app = typer.Typer(
    help="Train a model on a run: sft, dpo, kto, rephraser.",
    cls=SectionedGroup,
    context_settings=HELP_NAMES,
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(train_app, name="train")

BaseModelName = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="BASE",
        help="smollm2, a folder with a model or an adapter, or a Hub name",
    ),
]
OutputFolder = Annotated[Path, typer.Option("-o", "--out", help="the folder for the trained model")]


def _training_options(
    steps: Annotated[
        int | None, typer.Option(min=1, help="number of optimizer steps; overrides --epochs")
    ] = None,
    epochs: Annotated[float, typer.Option(help="number of passes over the rows")] = 1.0,
    batch: Annotated[int, typer.Option(min=1, help="number of rows per step")] = 8,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="if not given, for an adapter or with --full: sft 2e-4 or 2e-5, dpo and kto 1e-5 "
            "or 1e-6, rephraser 2e-4 or 5e-5",
            show_default=False,
        ),
    ] = None,
    max_length: Annotated[
        int, typer.Option(min=2, help="maximum length of a row, in tokens")
    ] = 1024,
    seed: Annotated[int, typer.Option(min=0, help="random seed of the training")] = 0,
    full: Annotated[
        bool, typer.Option("--full", help="train all weights instead of an adapter")
    ] = False,
    dtype: Annotated[
        Literal["float32", "bfloat16"] | None,
        typer.Option(
            help="data type of the base's weights; if not given, bfloat16 for an adapter on a GPU, "
            "else float32",
            show_default=False,
        ),
    ] = None,
    completion_head: Annotated[
        bool,
        typer.Option(
            "--completion-head",
            help="compute logits for response tokens only: the same loss in less time on a CPU "
            "(sft and causal rephrasers)",
        ),
    ] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="also write the merged model, to OUT/merged")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file with fields of TRL and PEFT, under 'trl:' and 'peft:'"),
    ] = None,
) -> None:
    """Declare the flags that all training commands share, in the order of the help."""


def with_training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that all training commands share.

    The command receives them, not yet validated, as the dictionary ``settings``.
    """
    shared = inspect.signature(_training_options, eval_str=True).parameters

    @functools.wraps(command)
    def with_flags(**arguments: Any) -> None:
        settings = {name: arguments.pop(name) for name in shared}
        command(**arguments, settings=settings)

    # The signature that typer reads: the command's parameters, the shared ones, then --json.
    parameters = inspect.signature(command, eval_str=True).parameters
    specific = [value for name, value in parameters.items() if name not in ("settings", "as_json")]
    combined = [*specific, *shared.values(), parameters["as_json"]]
    vars(with_flags)["__signature__"] = inspect.Signature(combined)
    with_flags.__annotations__ = {value.name: value.annotation for value in combined}
    return with_flags


def _train(kind: str, run: Path, model: str, out: Path, **arguments: Any) -> None:
    """Train a model and print a summary."""
    settings, as_json = arguments.pop("settings"), arguments.pop("as_json")
    with redirect_stdout(sys.stderr):  # standard output is for data, not for libraries' messages
        from .. import train as trainings
        from ..train.settings import read_config

        config = settings.pop("config")
        fields = read_config(config) if config is not None else {}
        training_settings = trainings.TrainingSettings(**settings, **fields)
        train = getattr(trainings, kind)
        trained = train(
            Run(run), model, out, training_settings, progress=command_progress(), **arguments
        )
    if as_json:
        print_output(dumps({**trained._asdict(), "folder": str(trained.folder)}))
        return
    print_output(
        f"trained on {trained.rows:,} rows, {trained.steps:,} steps, {trained.seconds:,.0f} s; "
        f"final loss {trained.loss:.4g}"
    )
    print_output(f"model:  {make_printable(str(trained.folder))}")
    print_output(f"report: {make_printable(str(trained.folder / 'report.html'))}")


@subcommand(train_app)
@with_training_options
def sft(
    run: RunPath,
    model: BaseModelName,
    out: OutputFolder,
    settings: dict[str, Any],
    as_json: AsJson = False,
) -> None:
    """Fine-tune a chat model on the curated corpus, with the loss on responses only.

    After an interruption, the same command resumes where it stopped.
    """
    _train("sft", run, model, out, settings=settings, as_json=as_json)


@subcommand(train_app)
@with_training_options
def dpo(
    run: RunPath,
    model: BaseModelName,
    out: OutputFolder,
    settings: dict[str, Any],
    as_json: AsJson = False,
) -> None:
    """Train a chat model to prefer the drawn response to the original, atypical one.

    BASE should be a model already trained with sft. After an interruption, the same command resumes
    where it stopped.
    """
    _train("dpo", run, model, out, settings=settings, as_json=as_json)


@subcommand(train_app)
@with_training_options
def kto(
    run: RunPath,
    model: BaseModelName,
    out: OutputFolder,
    settings: dict[str, Any],
    as_json: AsJson = False,
) -> None:
    """Train a chat model on desirable and undesirable responses, without pairs.

    BASE should be a model already trained with sft. After an interruption, the same command resumes
    where it stopped.
    """
    _train("kto", run, model, out, settings=settings, as_json=as_json)


@subcommand(train_app)
@with_training_options
def rephraser(
    run: RunPath,
    model: BaseModelName,
    out: OutputFolder,
    settings: dict[str, Any],
    stages: Annotated[
        int,
        typer.Option(
            min=1, help="number of training stages; each also trains on the previous one's rewrites"
        ),
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Train a model to rewrite responses into their replacements, and to leave kept ones unchanged.

    BASE is a causal model, or an encoder-decoder model such as T5 or BART.
    """
    _train("rephraser", run, model, out, settings=settings, as_json=as_json, stages=stages)
