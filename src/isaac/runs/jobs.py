"""What fills a run folder: a curation from an input, or the same neighbourhoods drawn again."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import pyarrow.parquet as pq

from .._version import __version__
from ..corpus.corpus import CORPUS_SCHEMA, Corpus
from ..corpus.files import InputDigest
from ..corpus.formats import TASK_ORIENTED_FORMATS
from ..corpus.reading import digest_inputs, read_chunks
from ..corpus.rejected import Rejected
from ..curation.curate import explain_empty_corpus, prepare
from ..curation.resources import Tools
from ..errors import CorpusError, RunError
from ..recipe import (
    DIALOGUE_SETTINGS,
    DRAW_FIELDS,
    PAPER_DIALOGUE_SETTINGS,
    PAPER_SETTINGS,
    Recipe,
)
from ..runtime.atomic_files import (
    LOCK_FILE,
    PART_SUFFIX,
    file_sha256,
    read_json,
    remove_stale_parts,
)
from ..runtime.progress import TimedProgress
from .disk_storage import CHECKSUMS_FILE, DiskStorage
from .outputs import write_outputs
from .run import INPUT_FILES, WORK_FOLDERS, Run


def choose_recipe(settings: Mapping[str, Any], *, paper: bool = False) -> Recipe:
    """Build a recipe from settings, on top of the defaults that suit their format.

    Task-oriented formats start from `Recipe.dialogue`; ``paper`` starts from the paper's settings.
    Raises `RecipeError` for an unknown field or a bad value.
    """
    if settings.get("format") in [*TASK_ORIENTED_FORMATS]:
        defaults = PAPER_DIALOGUE_SETTINGS if paper else DIALOGUE_SETTINGS
    else:
        defaults = PAPER_SETTINGS if paper else {}
    return Recipe.of({**defaults, **settings})


def curate_to(
    path: str | Path, source: str | Path, recipe: Recipe, tools: Tools | None = None
) -> Run:
    """Return a finished run in a folder: begun, gone on with, or found as it was.

    Raises `RunError` if the folder holds something else, or a run of another recipe or input, or
    another process works on it.
    """
    tools = tools or Tools()
    run = Run.at(path)
    check_is_run_folder(run)
    with run.locked():
        check_same_recipe(run, recipe)
        timed = TimedProgress(tools.progress, {})
        started = time.monotonic()
        tools = tools._replace(store=DiskStorage(run.folder), progress=timed)
        corpus = _load_or_read_corpus(run, source, recipe, tools)
        if run.finished and run.whole():
            return run
        run.remove("manifest.json")
        write_outputs(run, prepare(corpus, recipe, tools), timed, started)
    return run


def check_is_run_folder(run: Run) -> None:
    """Raise `RunError` if the folder holds something that is no run; nothing is written to it."""
    try:
        there = {file.name for file in run.path.iterdir()} if run.path.exists() else set()
    except OSError as error:
        raise RunError(f"cannot use {run.path} as a run folder: {error.strerror}") from None
    left = {name for name in there if not name.endswith(PART_SUFFIX)} - {LOCK_FILE}
    reading = {"corpus.parquet"} <= left <= set(INPUT_FILES)  # killed while reading
    if "recipe.yaml" not in there and left and not reading:
        raise RunError(f"{run.path} is not empty and not a run folder; choose another")


def check_same_recipe(run: Run, recipe: Recipe) -> None:
    """See that the folder is new, or holds a run of this recipe; raise `RunError` otherwise."""
    remove_stale_parts(run.path)
    if not (run.path / "recipe.yaml").exists():
        return
    differences = run.recipe().differences(recipe)
    if not differences:
        return
    if not run.begun:
        _clear_inputs(run)
        return
    hint = ""
    if {difference.partition(":")[0] for difference in differences} <= DRAW_FIELDS:
        hint = ", or use isaac redraw"
    raise RunError(
        f"{run.path} holds a run of another recipe ({'; '.join(differences)}). "
        f"Choose another folder{hint}"
    )


def _clear_inputs(run: Run) -> None:
    """Remove what was read into a run; last the recipe, by which a folder is known as a run."""
    run.remove(*WORK_FOLDERS, CHECKSUMS_FILE, *INPUT_FILES, "recipe.yaml")


def _load_or_read_corpus(run: Run, source: str | Path, recipe: Recipe, tools: Tools) -> Corpus:
    """Return the corpus of the run, read now if the run has none or nothing came of it yet."""
    note = run.path / "input.json"
    if note.exists() and (run.path / "recipe.yaml").exists():
        known = read_json(note)
        now = [digest.sha256 for digest in digest_inputs(source, recipe.reading.format)]
        same = now == [given["sha256"] for given in known["files"]]
        if same and known["isaac"] == __version__:
            if known["read"] != _compute_checksums(run):  # damaged since, or cut off
                check_rereadable(run, source)
                _read_into_run(run, source, recipe, tools, [])
            return run.corpus()
        if run.begun and not same:
            raise RunError(f"{run.path} holds a run of another input; choose another folder")
        if run.begun:
            raise RunError(
                f"{run.path} was begun by isaac {known['isaac']}, this is {__version__}; "
                "choose another folder"
            )
        check_rereadable(run, source)
    _clear_inputs(run)
    inputs: list[InputDigest] = []
    _read_into_run(run, source, recipe, tools, inputs)
    files = [digest._asdict() for digest in inputs]
    facts = {"isaac": __version__, "files": files, "read": _compute_checksums(run)}
    run.write(note, json.dumps(facts, indent=2) + "\n")
    corpus = run.corpus()
    if not len(corpus):
        why = explain_empty_corpus(corpus)
        _clear_inputs(run)
        raise CorpusError(why)
    run.write(run.path / "recipe.yaml", recipe.dump())
    return corpus


def check_rereadable(run: Run, source: str | Path) -> None:
    """Raise `RunError` if the input is standard input, which has been read once already."""
    if str(source) == "-":
        raise RunError(
            f"{run.path} holds another input or a damaged one, and standard input can be read only "
            "once; choose another folder, or give the input as a file"
        )


def _read_into_run(
    run: Run, source: str | Path, recipe: Recipe, tools: Tools, inputs: list[InputDigest]
) -> None:
    """Write the exchanges of an input, and the rows that cannot be used, as they are read."""
    with (
        run.writing(run.path / "rejected.jsonl") as lines,
        run.writing(run.path / "corpus.parquet", "wb") as out,
        pq.ParquetWriter(out, CORPUS_SCHEMA, compression="zstd") as table,
    ):
        rejected = _RejectedWriter(lines)
        for part in read_chunks(source, recipe.reading, rejected, inputs, progress=tools.progress):
            table.write_table(part)


def _compute_checksums(run: Run) -> dict[str, str | None]:
    """Return the checksums of what was read, None for a file that is not there."""
    files = {name: run.path / name for name in ("corpus.parquet", "rejected.jsonl")}
    return {name: file_sha256(file) if file.exists() else None for name, file in files.items()}


class _RejectedWriter:
    """Takes rows that cannot be used as lines of a file."""

    def __init__(self, lines: IO[str]) -> None:
        self.lines = lines

    def append(self, rejected: Rejected, /) -> None:
        """Write one row."""
        self.lines.write(rejected.as_json() + "\n")


def redraw_run(
    run: Run, changes: dict[str, Any], to: Path | None = None, tools: Tools | None = None
) -> Run:
    """Return the run drawn again with other settings, in place or as a new folder.

    Nothing is embedded or searched anew. Raises `RecipeError` for a field that the
    neighbourhoods depend on.
    """
    if not (run.path / "recipe.yaml").exists():
        run.need_finished()
    tools = tools or Tools()
    timed = TimedProgress(tools.progress, {})
    started = time.monotonic()
    recipe = run.recipe().with_draw_settings(changes)
    with ExitStack() as locks:
        locks.enter_context(run.locked())
        target = run
        if to is not None and to.resolve() != run.path.resolve():
            target = Run(to)
            check_is_run_folder(target)
            locks.enter_context(target.locked())
            check_same_recipe(target, recipe)
            _copy_run_files(run, target)
        curation = target.prepared(recipe, tools._replace(progress=timed))
        target.remove("manifest.json")
        for stale in ("export", "evaluation"):  # of the draw that was
            target.remove(stale)
        target.write(target.path / "recipe.yaml", recipe.dump())
        write_outputs(target, curation, timed, started)
    return target


def _copy_run_files(source: Run, target: Run) -> None:
    for name in (*INPUT_FILES, CHECKSUMS_FILE):
        with (
            target.writing(target.path / name, "wb") as out,
            (source.path / name).open("rb") as old,
        ):
            shutil.copyfileobj(old, out)
    for folder in WORK_FOLDERS:
        if (source.path / folder).is_dir():
            shutil.copytree(source.path / folder, target.path / folder, dirs_exist_ok=True)
