from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import isaac
import isaac.dialogue

SOURCE = Path(isaac.__file__).parent

ORDER = """
    _version errors text threads progress engines recipe dialogue formats remote files sources
    documents records written act_files rejected inputs tables corpus dialogues distinct stores
    layout openai_client embeddings views neighbors means inverted duplicates wording said kinds
    dependence cutting belonging trimming clusters draws models judges tools neighborhoods shards
    choices decisions
    settling stories curation assumption charts report comparison healing mending turn_healing plan
    kept runs jobs turn_documents samples audit exports train evaluate demo terminal
    cli_runs cli_train cli_verdicts cli_heal cli_judges cli_evaluate cli_dialogue cli
    __init__ __main__
""".split()
"""Each module imports only from those before it."""


def imports(path: Path) -> set[str]:
    """Return the modules at the top of the package that a file imports, types apart."""
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [
        n
        for n in tree.body
        if not (isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test))
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == len(path.relative_to(SOURCE).parts):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {name.split(".")[0] for name in names}
    return found


def test_every_module_imports_only_from_its_left() -> None:
    files = list(SOURCE.rglob("*.py"))
    tops = {file: file.relative_to(SOURCE).parts[0].removesuffix(".py") for file in files}
    assert set(tops.values()) == set(ORDER)
    for file, top in tops.items():
        for name in imports(file):
            assert ORDER.index(name) < ORDER.index(top), f"{file.name} imports {name}"


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
    asked = f"[m for m in {heavy} + ['wordllama'] if m in sys.modules]"
    code = f"import sys, isaac.dialogue; print({asked})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_names_are_there_and_documented() -> None:
    for name in isaac.__all__:
        assert getattr(isaac, name).__doc__ or name == "__version__"
    public = {
        name
        for name, value in vars(isaac).items()
        if getattr(value, "__module__", "").startswith("isaac.") and not name.startswith("_")
    }
    assert public == set(isaac.__all__) - {"__version__"}


def test_the_names_of_dialogue_are_there_and_documented() -> None:
    for name in isaac.dialogue.__all__:
        assert getattr(isaac.dialogue, name).__doc__ or name == "READERS"


def test_functions_keep_to_the_house_style() -> None:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= 60, f"{path.name} {node.name}: {length} lines"
