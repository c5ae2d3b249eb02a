"""What fills a run folder: a curation from an input, or the same neighbourhoods drawn again."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import pyarrow.parquet as pq

from .._version import __version__
from ..corpus.corpus import SCHEMA, Corpus
from ..corpus.files import Digest
from ..corpus.reading import digest_inputs, read_parts
from ..corpus.rejected import Rejected
from ..curation.curate import curate, nothing_in
from ..curation.resources import Tools
from ..errors import CorpusError, RunError
from ..recipe import DRAW_FIELDS, Recipe
from ..runtime.atomic_files import LOCK, TEMPORARY, json_in, sha256_of, sweep
from ..runtime.progress import Timed
from .disk_storage import SUMS, Kept
from .outputs import finish
from .run import INPUTS, WORK, Run


def curate_to(
    path: str | Path, source: str | Path, recipe: Recipe, tools: Tools | None = None
) -> Run:
    """Return a finished run in a folder: begun, gone on with, or found as it was.

    Raises `RunError` if the folder holds something else, or a run of another recipe or input, or
    another process works on it.
    """
    tools = tools or Tools()
    run = Run.at(path)
    refuse_stranger(run)
    with run.locked():
        claim(run, recipe)
        timed = Timed(tools.progress, {})
        started = time.monotonic()
        tools = tools._replace(store=Kept(run.folder), progress=timed)
        corpus = _read(run, source, recipe, tools)
        if run.finished and run.whole():
            return run
        run.remove("manifest.json")
        finish(run, curate(corpus, recipe, tools), timed, started)
    return run


def refuse_stranger(run: Run) -> None:
    """Raise `RunError` if the folder holds something that is no run; nothing is written to it."""
    try:
        there = {file.name for file in run.path.iterdir()} if run.path.exists() else set()
    except OSError as error:
        raise RunError(f"cannot use {run.path} as a run folder: {error.strerror}") from None
    left = {name for name in there if not name.endswith(TEMPORARY)} - {LOCK}
    reading = {"corpus.parquet"} <= left <= set(INPUTS)  # killed while reading
    if "recipe.yaml" not in there and left and not reading:
        raise RunError(f"{run.path} is not empty and not a run folder; choose another")


def claim(run: Run, recipe: Recipe) -> None:
    """See that the folder is new, or holds a run of this recipe; raise `RunError` otherwise."""
    sweep(run.path)
    if not (run.path / "recipe.yaml").exists():
        return
    differences = run.recipe().differences(recipe)
    if not differences:
        return
    if not run.begun:
        _empty(run)
        return
    hint = ""
    if {difference.partition(":")[0] for difference in differences} <= DRAW_FIELDS:
        hint = ", or use isaac redraw"
    raise RunError(
        f"{run.path} holds a run of another recipe ({'; '.join(differences)}). "
        f"Choose another folder{hint}"
    )


def _empty(run: Run) -> None:
    """Remove what was read into a run; last the recipe, by which a folder is known as a run."""
    run.remove(*WORK, SUMS, *INPUTS, "recipe.yaml")


def _read(run: Run, source: str | Path, recipe: Recipe, tools: Tools) -> Corpus:
    """Return the corpus of the run, read now if the run has none or nothing came of it yet."""
    note = run.path / "input.json"
    if note.exists() and (run.path / "recipe.yaml").exists():
        known = json_in(note)
        now = [digest.sha256 for digest in digest_inputs(source, recipe.format)]
        same = now == [given["sha256"] for given in known["files"]]
        if same and known["isaac"] == __version__:
            if known["read"] != _sums(run):  # damaged since, or cut off
                refuse_spent(run, source)
                _read_to(run, source, recipe, tools, [])
            return run.corpus()
        if run.begun and not same:
            raise RunError(f"{run.path} holds a run of another input; choose another folder")
        if run.begun:
            raise RunError(
                f"{run.path} was begun by isaac {known['isaac']}, this is {__version__}; "
                "choose another folder"
            )
        refuse_spent(run, source)
    _empty(run)
    inputs: list[Digest] = []
    _read_to(run, source, recipe, tools, inputs)
    files = [digest._asdict() for digest in inputs]
    facts = {"isaac": __version__, "files": files, "read": _sums(run)}
    run.write(note, json.dumps(facts, indent=2) + "\n")
    corpus = run.corpus()
    if not len(corpus):
        why = nothing_in(corpus)
        _empty(run)
        raise CorpusError(why)
    run.write(run.path / "recipe.yaml", recipe.dump())
    return corpus


def refuse_spent(run: Run, source: str | Path) -> None:
    """Raise `RunError` if the input is standard input, which has been read once already."""
    if str(source) == "-":
        raise RunError(
            f"{run.path} holds another input or a damaged one, and standard input can be read only "
            "once; choose another folder, or give the input as a file"
        )


def _read_to(
    run: Run, source: str | Path, recipe: Recipe, tools: Tools, inputs: list[Digest]
) -> None:
    """Write the exchanges of an input, and the rows that cannot be used, as they are read."""
    with (
        run.writing(run.path / "rejected.jsonl") as lines,
        run.writing(run.path / "corpus.parquet", "wb") as out,
        pq.ParquetWriter(out, SCHEMA, compression="zstd") as table,
    ):
        rejected = _Lines(lines)
        for part in read_parts(source, recipe, rejected, inputs, progress=tools.progress):
            table.write_table(part)


def _sums(run: Run) -> dict[str, str | None]:
    """Return the checksums of what was read, None for a file that is not there."""
    files = {name: run.path / name for name in ("corpus.parquet", "rejected.jsonl")}
    return {name: sha256_of(file) if file.exists() else None for name, file in files.items()}


class _Lines:
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
    timed = Timed(tools.progress, {})
    started = time.monotonic()
    recipe = run.recipe().redrawn(changes)
    with ExitStack() as locks:
        locks.enter_context(run.locked())
        target = run
        if to is not None and to.resolve() != run.path.resolve():
            target = Run(to)
            refuse_stranger(target)
            locks.enter_context(target.locked())
            claim(target, recipe)
            _copy_work(run, target)
        curation = target.prepared(recipe, tools._replace(progress=timed))
        target.remove("manifest.json")
        for stale in ("export", "evaluation"):  # of the draw that was
            target.remove(stale)
        target.write(target.path / "recipe.yaml", recipe.dump())
        finish(target, curation, timed, started)
    return target


def _copy_work(source: Run, target: Run) -> None:
    for name in (*INPUTS, SUMS):
        with (
            target.writing(target.path / name, "wb") as out,
            (source.path / name).open("rb") as old,
        ):
            shutil.copyfileobj(old, out)
    for folder in WORK:
        if (source.path / folder).is_dir():
            shutil.copytree(source.path / folder, target.path / folder, dirs_exist_ok=True)
