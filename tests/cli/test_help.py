from __future__ import annotations

import shlex
from typing import Any, cast

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from isaac.cli.help import EXAMPLES, PANEL_BY_FIELD, SECTION_BY_COMMAND, SECTIONS
from isaac.cli.main import app
from isaac.recipe import Recipe
from tests.conftest import RunIsaac

COMMANDS = cast(TyperGroup, get_command(app)).commands


def test_every_command_stands_in_a_section_with_its_whole_description(isaac: RunIsaac) -> None:
    text = isaac("--help").out
    sections = [line[:-1] for line in text.splitlines() if line.endswith(":") and line[0] != " "]
    assert sections == ["Options", *(name for name in SECTIONS if name in sections)]
    assert set(COMMANDS) - set(SECTION_BY_COMMAND) == {"env"}
    assert set(SECTION_BY_COMMAND) == set(COMMANDS) - {"env"}
    assert "..." not in text.partition("Curate:")[2]
    joined = " ".join(text.split())
    for command in COMMANDS.values():
        assert " ".join((command.help or "").partition("\n\n")[0].split()) in joined


def test_help_has_a_short_name_everywhere(isaac: RunIsaac) -> None:
    for command in ((), ("curate",), ("train",), ("train", "sft"), ("judge", "fit")):
        done = isaac(*command, "-h")
        assert done.code == 0
        assert "-h, --help" in done.out


def test_the_flags_of_curate_stand_in_sections(isaac: RunIsaac) -> None:
    text = isaac("curate", "--help").out
    names = ("Arguments:", "Input:", "What to change:", "Method:", "Where it runs:", "Examples:")
    places = [text.index(f"\n{name}\n") for name in names]
    assert places == sorted(places)
    assert set(PANEL_BY_FIELD) <= set(Recipe.fields())
    for field in Recipe.fields():
        assert text.count(f"--{field.replace('_', '-')} ") >= 1, field


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_can_be_copied(name: str, isaac: RunIsaac) -> None:
    words = name.split()
    text = isaac(*words, "--help").out
    command: Any = get_command(app)
    for word in words:
        command = command.commands[word]
    flags = {flag for option in command.params for flag in option.opts}
    others = {
        flag for entry in COMMANDS.values() for option in entry.params for flag in option.opts
    }
    assert len(EXAMPLES[name]) >= 3
    for line, purpose in EXAMPLES[name]:
        assert f"# {purpose}\n" in text
        assert f"{line}\n" in text
        given = shlex.split(line.partition("<")[0].partition(">")[0])
        is_own = given[: len(words) + 1] == ["isaac", *words]
        assert is_own or given[1] in COMMANDS
        assert {word for word in given if word.startswith("-")} <= (flags if is_own else others)


def test_every_command_has_examples() -> None:
    leaves = {
        f"{name} {sub}".strip()
        for name, entry in COMMANDS.items()
        for sub in (entry.commands if isinstance(entry, TyperGroup) else [""])
    }
    assert leaves - {"env"} == set(EXAMPLES)


def test_all_missing_options_are_named_at_once(isaac: RunIsaac) -> None:
    done = isaac("train", "sft")
    assert done.code == 2
    assert "Missing RUN, --model, -o / --out." in done.err


def test_completion_can_be_installed(isaac: RunIsaac) -> None:
    assert "--install-completion" in isaac("--help").out
