"""The architecture of the package: which room may import which, and no import cycles."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

import isaac
import isaac.corpus.dialogue
import isaac.evaluate.dialogue
from isaac.__main__ import main as isaac_main

SOURCE = Path(isaac.__file__).parent

LEAVES = (
    "_version",
    "errors",
    "text",
    "intervals",
    "yaml_files",
    "named_recipes",
    "reading_options",
    "recipe",
)
ROOMS = (
    *LEAVES,
    "runtime",
    "corpus",
    "models",
    "curation",
    "runs",
    "healing",
    "train",
    "evaluate",
    "cli",
    "__init__",
    "__main__",
)
"""The rooms in order: each imports only from those before it."""

SIBLINGS = {("evaluate", "train")}
"""Pairs of rooms that never import each other, whatever their order."""


@cache
def modules() -> dict[str, Path]:
    """The file of every module of the package, by dotted name (a package without ``__init__``)."""
    files = {}
    for path in SOURCE.rglob("*.py"):
        parts = ("isaac", *path.relative_to(SOURCE).with_suffix("").parts)
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def read_imports(name: str) -> Iterator[tuple[str, int]]:
    """The isaac modules that a module imports, with line numbers; also lazy and type-only ones."""
    path = modules()[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "isaac":
                    yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            if base.partition(".")[0] == "isaac":
                for alias in node.names:
                    full = f"{base}.{alias.name}"
                    yield (full if full in modules() else base), node.lineno


def room_of(name: str) -> str:
    """The room of a module: a folder or a single module at the top of the package."""
    return name.split(".")[1] if "." in name else "__init__"


def test_the_top_has_at_most_ten_rooms() -> None:
    assert {room_of(name) for name in modules()} <= set(ROOMS)
    assert len([folder for folder in SOURCE.iterdir() if (folder / "__init__.py").exists()]) <= 10


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_module_imports_only_its_own_room_and_those_above(name: str) -> None:
    room = room_of(name)
    for imported, line in read_imports(name):
        imported_room = room_of(imported)
        where = f"{name} line {line} imports {imported}"
        assert imported in modules(), f"{where}, which does not exist"
        assert ROOMS.index(imported_room) <= ROOMS.index(room), where
        assert tuple(sorted((room, imported_room))) not in SIBLINGS, where


def test_there_are_no_import_cycles() -> None:
    graph = {name: {other for other, _ in read_imports(name)} - {name} for name in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" <- ".join(error.args[1])) from None


def test_importing_isaac_loads_nothing_heavy() -> None:
    heavy = [
        "torch",
        "ray",
        "fastapi",
        "starlette",
        "transformers",
        "datasets",
        "openai",
        "sklearn",
        "sacrebleu",
    ]
    loaded = f"[m for m in {heavy} + ['wordllama'] if m in sys.modules]"
    code = f"import sys, isaac.evaluate.dialogue; print({loaded})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_public_names_exist_and_are_documented() -> None:
    for name in isaac.__all__:
        assert getattr(isaac, name).__doc__ or name == "__version__"
    public = {
        name
        for name, value in vars(isaac).items()
        if getattr(value, "__module__", "").startswith("isaac.") and not name.startswith("_")
    }
    assert public == set(isaac.__all__) - {"__version__"}


@pytest.mark.parametrize("package", [isaac.corpus.dialogue, isaac.evaluate.dialogue])
def test_the_public_names_of_a_package_exist_and_are_documented(package: ModuleType) -> None:
    for name in package.__all__:
        assert getattr(package, name).__doc__ or name == "READERS"


def test_no_function_is_longer_than_sixty_lines() -> None:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= 60, f"{path.name} {node.name}: {length} lines"


def test_the_package_imports_a_name_when_it_is_used() -> None:
    command = "import sys, isaac; print('numpy' in sys.modules); isaac.Recipe; print(dir(isaac))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    first, names = done.stdout.splitlines()
    assert first == "False"
    assert set(isaac.__all__) <= set(ast.literal_eval(names))
    with pytest.raises(AttributeError, match="module 'isaac' has no attribute 'nothing'"):
        isaac.nothing  # noqa: B018


def test_type_checkers_see_the_names_of_the_package() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.name: f".{node.module}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == isaac._MODULES
    assert {*imported, "__version__"} == set(isaac.__all__)


def test_an_interrupt_while_modules_are_imported_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "isaac.cli.main", raising=False)
    monkeypatch.setattr("builtins.__import__", interrupt)
    with pytest.raises(SystemExit) as ended:
        isaac_main()
    assert ended.value.code == 130
