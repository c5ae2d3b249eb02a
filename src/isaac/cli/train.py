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
from ..runtime.progress import terminal_progress
from ..text import make_printable
from .common import AsJson, RunPath, app, print_output, subcommand

train_app = typer.Typer(
    help="Train a model on a run: sft, dpo, kto, rephraser.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(train_app, name="train")

BaseModelName = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="BASE",
        help="smollm2, a folder with a model or an adapter, or a hub's name",
    ),
]
OutputFolder = Annotated[Path, typer.Option("-o", "--out", help="the folder of the trained model")]


def _training_options(
    steps: Annotated[
        int | None, typer.Option(min=1, help="steps of the optimizer; stands over --epochs")
    ] = None,
    epochs: Annotated[float, typer.Option(help="times through the rows")] = 1.0,
    batch: Annotated[int, typer.Option(min=1, help="rows a step")] = 8,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="if not given, of an adapter and a whole model: sft 2e-4, 2e-5; dpo and kto "
            "1e-5, 1e-6; rephraser 2e-4, 5e-5",
            show_default=False,
        ),
    ] = None,
    max_length: Annotated[int, typer.Option(min=2, help="tokens of a row at most")] = 1024,
    seed: Annotated[int, typer.Option(min=0, help="of all chance in the training")] = 0,
    full: Annotated[bool, typer.Option("--full", help="train every weight, no adapter")] = False,
    dtype: Annotated[
        Literal["float32", "bfloat16"] | None,
        typer.Option(
            help="of the base's weights; if not given, bfloat16 for an adapter on a graphics card, "
            "float32 otherwise",
            show_default=False,
        ),
    ] = None,
    completion_head: Annotated[
        bool,
        typer.Option(
            "--completion-head",
            help="apply the language-model head at responses only: the same loss in less time on a "
            "processor (sft and causal rephrasers)",
        ),
    ] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="also write the merged model, to OUT/merged")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file with fields of TRL's and PEFT's own under 'trl:' and 'peft:'"),
    ] = None,
) -> None:
    """Have the flags of every training, in the order in which help lists them."""


def with_training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags of every training; it gets them as ``settings``, unchecked."""
    shared = inspect.signature(_training_options, eval_str=True).parameters

    @functools.wraps(command)
    def with_flags(**given: Any) -> None:
        settings = {name: given.pop(name) for name in shared}
        command(**given, settings=settings)

    plain = inspect.signature(command, eval_str=True).parameters
    own = [one for name, one in plain.items() if name not in ("settings", "as_json")]
    every = [*own, *shared.values(), plain["as_json"]]
    vars(with_flags)["__signature__"] = inspect.Signature(every)
    with_flags.__annotations__ = {one.name: one.annotation for one in every}
    return with_flags


def _train(kind: str, run: Path, model: str, out: Path, **given: Any) -> None:
    """Train, and print what came of it."""
    settings, as_json = given.pop("settings"), given.pop("as_json")
    with redirect_stdout(sys.stderr):  # what the libraries print is no data
        from .. import train as trainings
        from ..train.settings import read_config

        config = settings.pop("config")
        fields = read_config(config) if config is not None else {}
        chosen = trainings.TrainingSettings(**settings, **fields)
        work = getattr(trainings, kind)
        done = work(Run(run), model, out, chosen, progress=terminal_progress(), **given)
    if as_json:
        print_output(dumps({**done._asdict(), "folder": str(done.folder)}))
        return
    print_output(
        f"trained on {done.rows:,} rows, {done.steps:,} steps, {done.seconds:,.0f} s; "
        f"loss {done.loss:.4g} at the end"
    )
    print_output(f"model:  {make_printable(str(done.folder))}")
    print_output(f"report: {make_printable(str(done.folder / 'report.html'))}")


@subcommand(train_app)
@with_training_options
def sft(
    run: RunPath,
    model: BaseModelName,
    out: OutputFolder,
    settings: dict[str, Any],
    as_json: AsJson = False,
) -> None:
    """Fine-tune a chat model on the curated corpus, the loss on its responses only.

    The same command on the same folder goes on where it was stopped.
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
    """Train a chat model to prefer what was drawn to a row's own atypical response.

    BASE is best the folder that sft made. The same command goes on where it was stopped.
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
    """Train a chat model on wanted and unwanted responses, no pairs needed.

    BASE is best the folder that sft made. The same command goes on where it was stopped.
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
        typer.Option(min=1, help="trainings in a row, each also on the rewrites of the last"),
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Train a model to rewrite a response to the one drawn for it, and to leave what was kept.

    BASE is a causal model, or one with an encoder and a decoder such as T5 or BART.
    """
    _train("rephraser", run, model, out, settings=settings, as_json=as_json, stages=stages)
