"""What all commands share: recipe flags, output, and the handling of errors."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import typer

from ..corpus.formats import FORMATS
from ..curation.resources import Tools
from ..errors import IsaacError, RecipeError
from ..recipe import SHARES, Recipe
from ..runtime.engines import LocalEngine, RayEngine
from ..runtime.phases import PhaseProgress
from ..runtime.progress import Progress, print_quietly, terminal_progress
from ..text import hide_url_secrets, make_printable
from ..yaml_files import read_yaml
from .help import INPUT, METHOD, PANEL_BY_FIELD, WHERE, SectionedCommand, SectionedGroup

HELP_NAMES = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    help="Make a language model safer from its own training corpus.",
    cls=SectionedGroup,
    context_settings=HELP_NAMES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]
NOT_APPLICABLE = 3
"""The exit code if the method does not apply to the corpus."""

Force = Annotated[
    bool,
    typer.Option(
        "--force", help="write the curated corpus even if the method does not apply to the corpus"
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="number of items to process at a time; default: all cores",
        rich_help_panel=WHERE,
    ),
]
JudgeTimeout = Annotated[
    float | None,
    typer.Option(
        min=0.1, help="seconds after which a request to an openai: judge times out (default: 60)"
    ),
]
EngineName = Annotated[
    Literal["local", "ray"],
    typer.Option(
        "--engine",
        help="use the threads of this machine, or the workers of a Ray cluster",
        rich_help_panel=WHERE,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="address of the Ray cluster: HOST:PORT, auto or ray://HOST:PORT; default: start Ray "
        "on this machine",
        rich_help_panel=WHERE,
    ),
]


def recipe_flags(
    fields: Iterable[str], *, from_run: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add a flag to a command for each of these recipe fields.

    The command receives the flags that were set as ``flags``, a mapping of field names to values.
    With ``from_run``, help shows no defaults, because a run has a value for every field.
    """
    names = [name for name in Recipe.fields() if name in set(fields)]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_flags(**arguments: Any) -> None:
            flags = {name: arguments.pop(name) for name in names}
            if flags.get("map") is not None:
                flags |= read_map(flags.pop("map"), flags.get("role") or ())
            command(**arguments, flags={k: v for k, v in flags.items() if v not in (None, [])})

        # Typer reads a command's flags off its signature.
        signature = inspect.signature(command, eval_str=True).parameters
        parameters = [p for name, p in signature.items() if name != "flags"]
        parameters += [_build_flag(name, show_default=not from_run) for name in names]
        vars(with_flags)["__signature__"] = inspect.Signature(parameters)
        with_flags.__annotations__ = {p.name: p.annotation for p in parameters}
        return with_flags

    return decorate


def read_map(path: str, roles: Iterable[str] = ()) -> dict[str, Any]:
    """Read a file that maps places and, under ``roles``, the names of roles.

    ``roles`` are further ones, as NAME=ROLE. Raises `RecipeError` for a bad file.
    """
    places = dict(read_yaml(Path(path)))
    named = places.pop("roles", {}) or {}
    if not isinstance(named, dict):
        raise RecipeError(f"{path}: expected roles as NAME: ROLE, one a line")
    return {"map": places, "role": [*(f"{name}={role}" for name, role in named.items()), *roles]}


def _build_flag(name: str, *, show_default: bool) -> inspect.Parameter:
    field = Recipe.fields()[name]
    type_of_default = {bool: bool, int: int, float: float}.get(type(field.default), str)
    value_type: Any = int if name == "limit" else type_of_default
    if get_origin(field.annotation) is Literal:
        value_type = field.annotation
    if get_origin(field.annotation) is tuple:
        value_type = list[str]
    text = f"{field.description}: {', '.join(FORMATS)}" if name == "format" else field.description
    has_default = show_default and field.default not in (None, ())
    if name in SHARES:
        value_type = str  # it may end in a percent sign
    default = f"  [default: {field.default}]" if has_default else ""
    if name == "map":
        return _build_map_flag(field.description or "")
    names = [f"--{name.replace('_', '-')}"]
    if value_type is bool:
        names = [f"{names[0]}/--no-{name.replace('_', '-')}"]
    if name == "neighbors":
        names.append("-k")
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            value_type | None,
            typer.Option(
                *names,
                help=f"{text}{default}",
                metavar="SHARE" if name in SHARES else None,
                show_default=False,
                rich_help_panel=PANEL_BY_FIELD.get(name, METHOD),
            ),
        ],
    )


def _build_map_flag(text: str) -> inspect.Parameter:
    option = typer.Option(
        "--map", metavar="FILE", help=text, show_default=False, rich_help_panel=INPUT
    )
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter("map", kind, default=None, annotation=Annotated[str | None, option])


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command; its errors print a message and set the exit code, without traceback."""
    return subcommand(app)(function)


def subcommand(group: typer.Typer) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command in a group of commands, with the error handling of `command`."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        add = group.command(cls=SectionedCommand, context_settings=HELP_NAMES)
        add(_with_verbosity(_handle_errors(function)))
        return function

    return register


class _OutputClosedError(Exception):
    """The reader of standard output has gone away; the job itself is done."""


Verbosity = Literal["quiet", "normal", "verbose"]

VERBOSITY: ContextVar[Verbosity] = ContextVar("VERBOSITY", default="normal")
"""How much the command that is being run says of its progress."""


def _with_verbosity(function: Callable[..., None]) -> Callable[..., None]:
    """Add -q and -v to a command."""

    @functools.wraps(function)
    def with_flags(*, quiet: bool, verbose: bool, **arguments: Any) -> None:
        if quiet and verbose:
            raise typer.BadParameter("-q and -v exclude each other; give one of them")
        token = VERBOSITY.set("quiet" if quiet else "verbose" if verbose else "normal")
        try:
            function(**arguments)
        finally:
            VERBOSITY.reset(token)

    signature = inspect.signature(function, eval_str=True).parameters.values()
    flags = [
        _build_switch("quiet", "-q", "--quiet", "say nothing of the progress, and no notes"),
        _build_switch("verbose", "-v", "--verbose", "say more: every stage, and every choice"),
    ]
    vars(with_flags)["__signature__"] = inspect.Signature([*signature, *flags])
    with_flags.__annotations__ = {p.name: p.annotation for p in [*signature, *flags]}
    return with_flags


def _build_switch(name: str, *declared: str) -> inspect.Parameter:
    *names, text = declared
    annotation = Annotated[bool, typer.Option(*names, help=text)]
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=False, annotation=annotation)


def print_note(text: str) -> None:
    """Print what is good to know to standard error, unless the command is quiet."""
    if VERBOSITY.get() != "quiet":
        print_message(text)


def command_progress(*, phases: bool = False) -> Progress:
    """The progress of a command: its stages, nothing with -q.

    With ``phases``, only the four phases of a curation are shown, unless with -v.
    """
    verbosity = VERBOSITY.get()
    if verbosity == "quiet":
        return Progress()
    if phases and verbosity == "normal":
        return PhaseProgress(terminal_progress(brief=True))
    return terminal_progress()


def _handle_errors(function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def guarded(**arguments: Any) -> None:
        try:
            function(**arguments)
        except KeyboardInterrupt:
            print_message(
                "isaac: interrupted; finished work is kept, and running the same command again "
                "resumes from it"
            )
            raise typer.Exit(130) from None
        except _OutputClosedError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (IsaacError, OSError, MemoryError, UnicodeError) as error:
            if "--debug" in sys.argv:
                raise
            print_message(f"isaac: {make_printable(hide_url_secrets(_format_error(error)))}")
            raise typer.Exit(2 if isinstance(error, RecipeError) else 1) from None

    return guarded


def print_message(text: str) -> None:
    """Print a message to standard error."""
    print_quietly(text, sys.stderr)


def print_prompt(text: str) -> None:
    """Print a prompt to standard error, without a line break."""
    print_quietly(text, sys.stderr, end="")


def print_output(text: str) -> None:
    """Print data to standard output; a reader that has gone away ends the command quietly."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise _OutputClosedError from None


@contextmanager
def open_tools(
    workers: int | None = None,
    engine: str = "local",
    address: str | None = None,
    *,
    judge_timeout: float | None = None,
    phases: bool = False,
) -> Iterator[Tools]:
    """Open the engine with this name, with progress for the terminal; close it at the end.

    ``phases`` is as for `command_progress`.

    Ray prints messages about its workers to standard output. They are redirected to standard
    error, so that standard output contains only data.
    """
    if address is not None and engine != "ray":
        raise typer.BadParameter("--address is for a Ray cluster; add --engine ray")
    progress = command_progress(phases=phases)
    tools = Tools(progress=progress, judge_timeout=judge_timeout)
    if engine == "local":
        yield tools._replace(engine=LocalEngine(workers))
    else:
        with redirect_stdout(sys.stderr), RayEngine(address, workers) as cluster:
            yield tools._replace(engine=cluster)
    if isinstance(progress, PhaseProgress):
        progress.finish()


def _format_error(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "out of memory; lower --neighbors or --limit, or use a machine with more memory"
    if isinstance(error, OSError) and not isinstance(error, IsaacError):
        return f"{error.filename or 'input or output'}: {error.strerror or error}"
    return str(error)
