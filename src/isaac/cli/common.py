"""What every command shares: flags for the recipe, messages, and errors that end well."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import typer

from ..corpus.formats import FORMATS
from ..curation.resources import Tools
from ..errors import IsaacError, RecipeError
from ..recipe import Recipe
from ..runtime.engines import LocalEngine, RayEngine
from ..runtime.progress import terminal_progress
from ..text import make_printable

app = typer.Typer(
    help="Make a language model safer from its own training corpus.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]
Workers = Annotated[int | None, typer.Option(min=1, help="items at a time; all cores if not given")]
EngineName = Annotated[
    Literal["local", "ray"],
    typer.Option("--engine", help="threads of this machine, or workers of a Ray cluster"),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Ray cluster: HOST:PORT, auto or ray://HOST:PORT; if not given, Ray is started here",
    ),
]


def recipe_flags(
    fields: Iterable[str], *, kept: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command a flag for each of the recipe's fields.

    The command gets what was given as ``flags``, a mapping of field names to values. ``kept``
    says that a field that is not given stays as the run has it.
    """
    wanted = [name for name in Recipe.fields() if name in set(fields)]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_flags(**given: Any) -> None:
            flags = {name: given.pop(name) for name in wanted}
            command(**given, flags={k: v for k, v in flags.items() if v is not None})

        plain = inspect.signature(command, eval_str=True).parameters
        own = [p for name, p in plain.items() if name != "flags"]
        extra = [_build_flag(name, kept=kept) for name in wanted]
        vars(with_flags)["__signature__"] = inspect.Signature([*own, *extra])
        with_flags.__annotations__ = {p.name: p.annotation for p in (*own, *extra)}
        return with_flags

    return decorate


def _build_flag(name: str, *, kept: bool) -> inspect.Parameter:
    field = Recipe.fields()[name]
    plain = {bool: bool, int: int, float: float}.get(type(field.default), str)
    kind: Any = int if name == "limit" else plain
    if get_origin(field.annotation) is Literal:
        kind = field.annotation
    about = f"{field.description}: {', '.join(FORMATS)}" if name == "format" else field.description
    default = "" if field.default is None or kept else f"  [default: {field.default}]"
    names = [f"--{name.replace('_', '-')}"]
    if kind is bool:
        names = [f"{names[0]}/--no-{name.replace('_', '-')}"]
    if name == "neighbors":
        names.append("-k")
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            kind | None,
            typer.Option(*names, help=f"{about}{default}", show_default=False),
        ],
    )


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command whose errors end with a message and an exit code, not a traceback."""
    return subcommand(app)(function)


def subcommand(group: typer.Typer) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that registers a command in a group, guarded as `command` does."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        group.command()(_handle_errors(function))
        return function

    return register


def _handle_errors(function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def guarded(**given: Any) -> None:
        try:
            function(**given)
        except KeyboardInterrupt:
            print_message(
                "isaac: interrupted; what is finished in a run folder stays, and the same command "
                "goes on from there"
            )
            raise typer.Exit(130) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (IsaacError, OSError, MemoryError, UnicodeError) as error:
            if "--debug" in sys.argv:
                raise
            print_message(f"isaac: {make_printable(_format_error(error))}")
            raise typer.Exit(2 if isinstance(error, RecipeError) else 1) from None

    return guarded


def print_message(text: str) -> None:
    """Print a message on standard error."""
    print(text, file=sys.stderr, flush=True)


def print_output(text: str) -> None:
    """Print data on standard output."""
    print(text, flush=True)


@contextmanager
def open_tools(
    workers: int | None = None, engine: str = "local", address: str | None = None
) -> Iterator[Tools]:
    """Yield what a command works with: the engine of that name, progress for its terminal.

    Ray tells on standard output what befalls its workers; it is led to standard error meanwhile,
    so that there is nothing but data on the other.
    """
    if address is not None and engine != "ray":
        raise typer.BadParameter("an address is of a Ray cluster; add --engine ray")
    if engine == "local":
        yield Tools(engine=LocalEngine(workers), progress=terminal_progress())
        return
    with redirect_stdout(sys.stderr), RayEngine(address, workers) as cluster:
        yield Tools(engine=cluster, progress=terminal_progress())


def _format_error(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "out of memory; try fewer --neighbors or --limit, or a machine with more"
    if isinstance(error, OSError) and not isinstance(error, IsaacError):
        return f"{error.filename or 'input or output'}: {error.strerror or error}"
    return str(error)
