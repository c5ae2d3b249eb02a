"""Write docs/cli.md from the commands themselves, and what the commands in other pages print.

A block of ``console`` holds commands, each after ``$ ``, and below each what it prints.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

TARGET = Path(__file__).resolve().with_name("cli.md")

RUN = ("README.md", "docs/task-oriented.md")
"""The pages with blocks of ``console``, from the root of the project."""

PIPED = re.compile(r"^(.*?)(?: \| (head|tail) -n (\d+))?$")
"""A command, and how many of its first or last lines are shown."""

INTRODUCTION = """# The command line

Data goes to standard output, progress and messages to standard error. Exit codes: 0 done, 1 the
job failed (with a message; `isaac --debug ...` adds the traceback), 2 wrong usage, 130 interrupted.
This page is written by `make docs`.
"""


@functools.cache
@functools.cache
def usage(*arguments: str) -> str:
    """Return what a command says of itself, at a fixed width."""
    done = subprocess.run(
        [sys.executable, "-m", "isaac", *arguments, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "90", "TERMINAL_WIDTH": "90", "NO_COLOR": "1"},
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def commands(*group: str) -> list[str]:
    """Return the names of all commands, a group's after its own: ``train``, ``train sft``."""
    _, _, listed = usage(*group).partition("Commands:")
    names = [
        line.split()[0] for line in listed.splitlines() if line.startswith("  ") and line[2] != " "
    ]
    return [
        found for name in names for found in (" ".join([*group, name]), *commands(*group, name))
    ]


def page() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION, f"```\n{usage()}\n```\n"]
    parts += [f"## isaac {name}\n\n```\n{usage(*name.split())}\n```\n" for name in commands()]
    return "\n".join(parts)


def printed(command: str) -> str:
    """Return what a command prints, run in this process and folder.

    It is an ``isaac`` with its flags, after which may stand ``< FILE``, ``> FILE`` and ``| head -n
    N`` or ``| tail -n N``: what these pages need of a shell. One that fails raises `SystemExit`.
    """
    from isaac.cli import main

    line, end, most = PIPED.findall(command)[0]
    line, _, target = line.partition(" > ")
    line, _, source = line.partition(" < ")
    out, told = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        if source:
            given = stack.enter_context(Path(source).open(encoding="utf-8"))
            stack.enter_context(mock.patch.object(sys, "stdin", given))
        stack.enter_context(mock.patch.object(sys, "argv", shlex.split(line)))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(told))
        try:
            main()
        except SystemExit as done:
            if done.code:
                raise SystemExit(f"{command}: {told.getvalue()}") from None
    text = out.getvalue()
    if target:
        Path(target).write_text(text, encoding="utf-8")
        return ""
    lines = text.splitlines(keepends=True)
    count = int(most or len(lines))
    return "".join(lines[-count:] if end == "tail" else lines[:count])


def refreshed(text: str) -> str:
    """Return a page with what its commands print now, run one after the other in this folder."""

    def block(found: re.Match[str]) -> str:
        commands = re.findall(r"^\$ (.*)\n", found[1], re.MULTILINE)
        parts = [f"$ {command}\n{printed(command)}" for command in commands]
        return f"```console\n{''.join(parts)}```"

    return re.sub(r"```console\n(.*?)```", block, text, flags=re.DOTALL)


def main() -> None:
    """Write the pages."""
    TARGET.write_text(page(), encoding="utf-8")
    for name in RUN:
        path = TARGET.parents[1] / name
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            text = refreshed(path.read_text(encoding="utf-8"))
            os.chdir(path.parent)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
