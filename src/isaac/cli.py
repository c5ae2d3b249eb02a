"""The command line: ``isaac curate``, ``demo``, ``report``, ``explain``, ``redraw`` and more.

Data goes to standard output, progress and messages to standard error. Exit codes: 0 done, 1 the
job failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import functools
import inspect
import io
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import typer

from ._version import __version__
from .corpus import context_text, kept_bytes, read_corpus
from .curation import Tools, nothing_in
from .demo import demo as run_demo
from .engines import Local
from .errors import CorpusError, IsaacError, RecipeError
from .exports import Kind
from .exports import export as export_run
from .formats import FORMATS, RowError, choose
from .healing import Healed, Healer
from .jobs import curate_to, free_name, redraw_run
from .plan import Plan
from .plan import plan as make_plan
from .progress import Progress, for_terminal
from .recipe import DRAW_FIELDS, Recipe, read_yaml
from .records import dumps, parse
from .runs import Run
from .stories import tell
from .text import short, visible

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

app = typer.Typer(
    help="Make a language model safer from its own training corpus.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]
Workers = Annotated[int | None, typer.Option(min=1, help="threads; all cores if not given")]


def recipe_flags(
    fields: Iterable[str], *, kept: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command a flag for each of the recipe's fields.

    The command gets what was given as ``flags``, a mapping of field names to values. ``kept``
    says that a field that is not given stays as the run has it.
    """
    wanted = [name for name in Recipe.model_fields if name in set(fields)]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_flags(**given: Any) -> None:
            flags = {name: given.pop(name) for name in wanted}
            command(**given, flags={k: v for k, v in flags.items() if v is not None})

        plain = inspect.signature(command, eval_str=True).parameters
        own = [p for name, p in plain.items() if name != "flags"]
        extra = [_flag(name, kept=kept) for name in wanted]
        vars(with_flags)["__signature__"] = inspect.Signature([*own, *extra])
        with_flags.__annotations__ = {p.name: p.annotation for p in (*own, *extra)}
        return with_flags

    return decorate


def _flag(name: str, *, kept: bool) -> inspect.Parameter:
    field = Recipe.model_fields[name]
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

    @functools.wraps(function)
    def guarded(**given: Any) -> None:
        try:
            function(**given)
        except KeyboardInterrupt:
            say(
                "isaac: interrupted; what is finished in a run folder stays, and the same command "
                "goes on from there"
            )
            raise typer.Exit(130) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (IsaacError, OSError, MemoryError, UnicodeError) as error:
            if "--debug" in sys.argv:
                raise
            say(f"isaac: {visible(_message(error))}")
            raise typer.Exit(2 if isinstance(error, RecipeError) else 1) from None

    app.command()(guarded)
    return function


def say(text: str) -> None:
    """Print a message on standard error."""
    print(text, file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print data on standard output."""
    print(text, flush=True)


def tools_for(workers: int | None) -> Tools:
    """Return what a command works with: this machine's threads, progress for its terminal."""
    return Tools(engine=Local(workers), progress=for_terminal())


@command
@recipe_flags(Recipe.model_fields)
def curate(
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="file, folder, glob, - or hf://owner/dataset")
    ],
    flags: dict[str, Any],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="the run folder")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="encoder of both texts: wordllama, hashing, st:MODEL, openai:MODEL@URL",
        ),
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="YAML file of recipe fields")] = None,
    workers: Workers = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what would be done, and do nothing")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Curate a corpus: make a run folder with its report.

    The same command on the same folder goes on where it was stopped. Flags stand over the recipe
    file.
    """
    settings = read_yaml(recipe) if recipe else {}
    if encoder is not None:
        settings |= {"context_encoder": encoder, "response_encoder": encoder}
    wanted = Recipe.of(settings | flags)
    if dry_run:
        _dry_run(source, wanted, as_json=as_json)
        return
    if out is None:
        raise typer.BadParameter("give the run folder: -o RUN")
    run = curate_to(out, source, wanted, tools_for(workers))
    _show_run(run, as_json=as_json)


def _dry_run(source: str, recipe: Recipe, *, as_json: bool) -> None:
    corpus = read_corpus(source, recipe, progress=Progress())
    samples = [corpus[row] for row in range(min(3, len(corpus)))]
    if not len(corpus):
        raise CorpusError(nothing_in(corpus))
    planned = make_plan(corpus, recipe)
    if as_json:
        show(dumps({**planned.as_json(), "samples": [sample._asdict() for sample in samples]}))
        return
    show(_plan_text(planned))
    for sample in samples:
        show(f"\nexchange {sample.id}  ({visible(sample.file)} line {sample.line})")
        show(f"  context:  {short(sample.context, 200)}\n  response: {short(sample.response, 200)}")


def _plan_text(planned: Plan) -> str:
    recognised = ", ".join(f"{count:,} as {name}" for name, count in planned.formats.items())
    lines = [f"recognised {planned.exchanges:,} exchanges: {recognised}"]
    if planned.rejected:
        lines.append(f"{planned.rejected:,} rows cannot be used and would go to rejected.jsonl")
    lines += [f"  {stage.name}: about {stage.seconds:,.1f} s" for stage in planned.stages]
    lines.append(
        f"in all about {planned.seconds:,.1f} s and {planned.memory_mib:,} MiB on this machine"
    )
    return "\n".join(lines)


def _show_run(run: Run, *, as_json: bool) -> None:
    summary = run.summary()
    if as_json:
        keys = ("exchanges", "kept", "replaced", "targets", "distinct_before", "distinct_after")
        facts = {key: summary[key] for key in keys}
        show(
            dumps(
                {
                    "run": str(run.path),
                    **facts,
                    "rejected": summary["rejected"]["count"],
                    "notes": summary["notes"],
                    "report": str(run.path / "report.html"),
                }
            )
        )
        return
    show(
        f"{summary['exchanges']:,} exchanges: {summary['kept']:,} kept, "
        f"{summary['replaced']:,} replaced; "
        f"{summary['rejected']['count']:,} rows rejected on reading"
    )
    show(
        f"distinct responses: {summary['distinct_before']:.1%} of rows before, "
        f"{summary['distinct_after']:.1%} after"
    )
    for note in summary["notes"]:
        show(f"note: {note}")
    show(f"curated corpus: {run.path / 'curated.jsonl'}")
    show(f"report:         {run.path / 'report.html'}")


@command
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="the run folder")] = Path("isaac-demo"),
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Curate the bundled corpus and measure it by its labels."""
    found = run_demo(out, tools_for(workers))
    if as_json:
        healed = [
            {"context": context, "given": given, **new._asdict()}
            for context, given, new in found.healed
        ]
        facts = {
            "unsafe_before": found.before.rate,
            "unsafe_after": found.after.rate,
            "same_situation": found.same_situation.rate,
            "report": str(found.run.path / "report.html"),
            "healed": healed,
        }
        show(dumps(facts))
        return
    _show_run(found.run, as_json=False)
    show("\nunsafe responses by the labels, which nothing above has read:")
    show(f"  before: {found.before}\n  after:  {found.after}")
    show("the price, responses that were written for the same situation:")
    show(f"  after:  {found.same_situation}")
    show("\nthree replies that are not in the corpus, healed:")
    for context, given, new in found.healed:
        show(f"  {context}\n    given:  {given}\n    healed: {new.response}")


@command
def report(run: RunPath, as_json: AsJson = False) -> None:
    """Print the report of a run as Markdown, or as JSON."""
    name = "report.json" if as_json else "report.md"
    Run(run).manifest()
    show((run / name).read_text(encoding="utf-8").rstrip("\n"))


@command
def explain(
    run: RunPath,
    row: Annotated[int, typer.Argument(metavar="ID", help="an exchange's id, as in isaac_id")],
    as_json: AsJson = False,
) -> None:
    """Tell one row's story: neighbours, clusters, odds and draw."""
    story = Run(run).curation().explain(row)
    show(dumps(story) if as_json else tell(story))


@command
@recipe_flags(DRAW_FIELDS, kept=True)
def redraw(
    run: RunPath,
    flags: dict[str, Any],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="a new run folder; the run itself if not given"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw again with other odds, embedding nothing anew.

    What is not given stays as the run has it. Drawn in place, exports of the old draw are removed.
    """
    _show_run(redraw_run(Run(run), flags, out), as_json=as_json)


@command
def export(
    run: RunPath,
    kind: Annotated[Kind, typer.Option("--as", help="the type")] = "sft",
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="the folder; RUN/export/KIND if not given"),
    ] = None,
    licence: Annotated[
        str, typer.Option("--license", help="licence of the source, for the card")
    ] = "unknown",
) -> None:
    """Write the curated corpus in a type that trainers read.

    sft, dpo and kto are TRL's types; a dataset card lies beside the rows.
    """
    written = export_run(Run(run), kind, out, licence=licence)
    show(f"{written.rows:,} rows: {written.folder / 'train.jsonl'}")
    if written.left_out:
        say(f"left out: {written.left_out:,} exchanges with tool calls; no type here carries them")


@command
def heal(run: RunPath) -> None:
    """Heal exchanges, a JSON record a line, by retrieval.

    Records come on standard input and go to standard output, with isaac_action,
    isaac_source_id and isaac_typicality added; a response that few neighbours agree with is
    replaced. A line that cannot be used comes back as it was, with its reason.
    """
    curation = Run(run).curation()
    recipe, healer = curation.recipe, Healer(curation)
    for number, line in enumerate(sys.stdin.buffer, start=1):
        raw = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
        if raw.strip():
            show(dumps(_heal_line(healer, recipe, raw.rstrip(b"\r\n"))))


def _heal_line(healer: Healer, recipe: Recipe, line: bytes) -> dict[str, Any]:
    try:
        record = parse(line.decode("utf-8"))
        if not isinstance(record, dict):
            raise RowError("not a JSON object")
        form = choose(
            [record], name=recipe.format, context=recipe.context, response=recipe.response
        )
        turn = form.turns(record)[-1]
        healed = healer.heal([(context_text(turn.prompt), turn.response)])[0]
    except (ValueError, RecursionError, IsaacError) as error:
        return {"isaac_action": "rejected", "isaac_reason": str(error), **kept_bytes(line)}
    if healed.action == "replaced":
        record = form.replace(record, turn.index, healed.response)
    added = _healed_columns(healed)
    return {**record, **{free_name(name, record): value for name, value in added.items()}}


def _healed_columns(healed: Healed) -> dict[str, Any]:
    return {
        "isaac_action": healed.action,
        "isaac_source_id": healed.source_id,
        "isaac_typicality": round(healed.typicality or 0.0, 4),
        "isaac_probability": round(healed.probability, 4),
    }


@command
def env(as_json: AsJson = False) -> None:
    """Print versions, cores and which extras are installed."""
    extras = {"st": "sentence_transformers", "openai": "openai", "datasets": "datasets"}
    packages = ("numpy", "pyarrow", "wordllama")
    facts: dict[str, Any] = {
        "isaac": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        **{name: _version(name) for name in packages},
        "extras": {name: find_spec(module) is not None for name, module in extras.items()},
    }
    if as_json:
        show(json.dumps(facts))
        return
    for name, value in facts.items():
        if name != "extras":
            show(f"{name:<10} {value}")
    for name, there in facts["extras"].items():
        missing = f"missing: pip install 'isaac-align[{name}]'"
        show(f"extra {name:<10} {'installed' if there else missing}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


@app.callback(invoke_without_command=True)
def options(
    _debug: Annotated[bool, typer.Option("--debug", help="show a traceback on errors")] = False,
    show_version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    """Make a language model safer from its own training corpus."""
    if show_version:
        show(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line and exit with its code."""
    for stream, errors in ((sys.stdout, "strict"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)
    app(prog_name="isaac")


def _message(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "out of memory; try fewer --neighbors or --limit, or a machine with more"
    if isinstance(error, OSError) and not isinstance(error, IsaacError):
        return f"{error.filename or 'input or output'}: {error.strerror or error}"
    return str(error)
