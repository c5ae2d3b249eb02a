"""The jobs that fill a run folder: curate an input, or draw again from its neighborhoods."""

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
from ..curation.curate import Curation, explain_empty_corpus, prepare
from ..curation.resources import Tools
from ..errors import CorpusError, RecipeError, RunError
from ..named_recipes import DIALOGUE_SETTINGS, NAMED_RECIPES, PAPER_DIALOGUE_SETTINGS
from ..recipe import DRAW_FIELDS, Recipe
from ..runtime.atomic_files import (
    LOCK_FILE,
    PART_SUFFIX,
    file_sha256,
    is_writable,
    remove_stale_parts,
)
from ..runtime.progress import TimedProgress
from ..text import suggest
from ..yaml_files import read_yaml
from .disk_storage import CHECKSUMS_FILE, DiskStorage
from .outputs import write_outputs
from .run import INPUT_FILES, WORK_FOLDERS, Run


def choose_recipe(settings: Mapping[str, Any], name: str | None = None) -> Recipe:
    """Build a recipe from settings, on top of a named recipe or of a YAML file.

    ``name`` is one of `NAMED_RECIPES` or a path. Task-oriented formats start from the settings for
    dialogues. Raises `RecipeError` for an unknown field or a bad value.
    """
    is_named = name in NAMED_RECIPES
    if name is not None and not is_named:
        if not Path(name).exists():
            raise RecipeError(
                f"no recipe '{name}'{suggest(name, NAMED_RECIPES)}; give one of "
                f"{', '.join(NAMED_RECIPES)}, or a YAML file"
            )
        settings = {**read_yaml(name), **settings}
    if settings.get("format") in [*TASK_ORIENTED_FORMATS]:
        defaults = PAPER_DIALOGUE_SETTINGS if name == "paper" else DIALOGUE_SETTINGS
    else:
        defaults = NAMED_RECIPES[name] if name is not None and is_named else {}
    return Recipe.of({**defaults, **settings})


def curate_to(
    path: str | Path,
    source: str | Path,
    recipe: Recipe,
    tools: Tools | None = None,
    *,
    force: bool = False,
) -> Run:
    """Curate an input into a run folder; resume an interrupted run, reuse a finished one.

    If the method does not apply, the run has a report but no curated corpus, unless ``force``.
    Raises `RunError` if the folder contains anything but a run with this recipe and input, or if
    another process works on it.
    """
    tools = tools or Tools()
    run = Run.at(path)
    check_is_run_folder(run)
    with run.locked():
        recipe = _keep_encoders(run, recipe)
        check_same_recipe(run, recipe)
        timed = TimedProgress(tools.progress, {})
        started = time.monotonic()
        if not run.finished:
            tools = tools.load_models(recipe)
        tools = tools._replace(store=DiskStorage(run.folder), progress=timed)
        corpus = _load_or_read_corpus(run, source, recipe, tools)
        if run.finished and run.is_intact() and not (force and run.refused):
            return run
        run.remove("manifest.json")
        write_outputs(run, prepare(corpus, recipe, tools), timed, started, force=force)
    return run


def check_is_run_folder(run: Run) -> None:
    """Raise `RunError` if the folder contains anything but a run; write nothing."""
    try:
        names = {file.name for file in run.path.iterdir()} if run.path.exists() else set()
    except OSError as error:
        raise RunError(f"cannot use {run.path} as a run folder: {error.strerror}") from None
    finished = {name for name in names if not name.endswith(PART_SUFFIX)} - {LOCK_FILE}
    # A run that was stopped while it read its input, or was copied from another, has no recipe yet.
    was_reading = {"corpus.parquet"} <= finished <= set(INPUT_FILES)
    was_copying = (
        {"corpus.parquet", "input.json"}
        <= finished
        <= {*INPUT_FILES, CHECKSUMS_FILE, *WORK_FOLDERS}
    )
    if "recipe.yaml" not in names and finished and not (was_reading or was_copying):
        raise RunError(f"{run.path} is not empty and is not a run folder; choose another folder")


def check_same_recipe(run: Run, recipe: Recipe) -> None:
    """Raise `RunError` if the run has another recipe; if it has no results yet, empty it."""
    remove_stale_parts(run.path)
    if not (run.path / "recipe.yaml").exists():
        return
    differences = run.recipe().differences(recipe)
    if not differences:
        return
    if not run.has_results:
        _clear_inputs(run)
        return
    hint = ""
    if {difference.partition(":")[0] for difference in differences} <= DRAW_FIELDS:
        hint = ", or use isaac redraw"
    raise RunError(
        f"{run.path} contains a run with another recipe ({'; '.join(differences)}); "
        f"choose another folder{hint}"
    )


def _keep_encoders(run: Run, recipe: Recipe) -> Recipe:
    """Keep wordllama in a run whose recipe names it, as all did before "auto" was the default."""
    if not (run.path / "recipe.yaml").exists():
        return recipe
    stored, names = run.recipe().model_dump(), ("context_encoder", "response_encoder")
    old = [n for n in names if stored[n] == "wordllama" and getattr(recipe, n) == "auto"]
    return recipe.model_copy(update=dict.fromkeys(old, "wordllama"))


def _clear_inputs(run: Run) -> None:
    """Empty a run; the recipe goes last, because it marks the folder as a run."""
    run.remove(*WORK_FOLDERS, CHECKSUMS_FILE, *INPUT_FILES, "recipe.yaml")


def _load_or_read_corpus(run: Run, source: str | Path, recipe: Recipe, tools: Tools) -> Corpus:
    """Load the corpus of the run, or read it from the input.

    Another input may replace the corpus only while nothing has been computed from it.
    """
    input_file = run.path / "input.json"
    if input_file.exists() and (run.path / "recipe.yaml").exists():
        recorded = run.input_facts()
        current = [digest.sha256 for digest in digest_inputs(source, recipe.reading.format)]
        is_same_input = current == [digest.sha256 for digest in recorded.files]
        if is_same_input and recorded.isaac == __version__:
            if recorded.read != _compute_checksums(run):  # damaged or cut off since
                check_rereadable(run, source)
                run.remove("manifest.json")  # not finished until its outputs are checked again
                _read_from_input(run, source, recipe, tools)
            return run.corpus()
        if run.has_results and not is_same_input:
            raise RunError(f"{run.path} contains a run of another input; choose another folder")
        if run.has_results:
            raise RunError(
                f"{run.path} was started by isaac {recorded.isaac}, but this is isaac "
                f"{__version__}; choose another folder"
            )
        check_rereadable(run, source)
    _clear_inputs(run)
    _read_from_input(run, source, recipe, tools)
    corpus = run.corpus()
    if not len(corpus):
        reason = explain_empty_corpus(corpus)
        _clear_inputs(run)
        raise CorpusError(reason)
    run.write(run.path / "recipe.yaml", recipe.dump())
    return corpus


def _write_input_facts(run: Run, inputs: list[InputDigest]) -> None:
    """Write the digests of the input files, and the checksums of what was read from them."""
    files = [digest._asdict() for digest in inputs]
    facts = {"isaac": __version__, "files": files, "read": _compute_checksums(run)}
    run.write(run.path / "input.json", json.dumps(facts, indent=2) + "\n")


def check_rereadable(run: Run, source: str | Path) -> None:
    """Raise `RunError` if the input is standard input, which has been consumed already."""
    if str(source) == "-":
        raise RunError(
            f"the corpus in {run.path} is damaged or from another input, and standard input can be "
            "read only once; choose another folder, or give the input as a file"
        )


def _read_from_input(run: Run, source: str | Path, recipe: Recipe, tools: Tools) -> None:
    """Write the exchanges of an input to the run chunk by chunk, and its unusable rows."""
    inputs: list[InputDigest] = []
    with (
        run.writing(run.path / "rejected.jsonl") as lines,
        run.writing(run.path / "corpus.parquet", "wb") as out,
        pq.ParquetWriter(out, CORPUS_SCHEMA, compression="zstd") as table,
    ):
        rejected = _RejectedWriter(lines)
        for part in read_chunks(source, recipe.reading, rejected, inputs, progress=tools.progress):
            table.write_table(part)
    _write_input_facts(run, inputs)


def _compute_checksums(run: Run) -> dict[str, str | None]:
    """The checksums of the files that reading writes; None for a missing file."""
    files = {name: run.path / name for name in ("corpus.parquet", "rejected.jsonl")}
    return {name: file_sha256(file) if file.exists() else None for name, file in files.items()}


class _RejectedWriter:
    """Writes each unusable row as one line of a file, in place of a list in memory."""

    def __init__(self, lines: IO[str]) -> None:
        self.lines = lines

    def append(self, rejected: Rejected, /) -> None:
        """Write one row as JSON."""
        self.lines.write(rejected.as_json() + "\n")


def save_run(curation: Curation, path: str | Path, *, force: bool = False) -> Run:
    """Write a curation from memory to a new run folder; nothing is embedded again.

    If the method does not apply, the run has a report but no curated corpus, unless ``force``.
    Raises `RunError` if the folder is not empty.
    """
    run = Run.at(path)
    timed = TimedProgress(curation.tools.progress, {})
    started = time.monotonic()
    with run.locked():
        if any(file.name != LOCK_FILE for file in run.path.iterdir()):
            raise RunError(f"{path} is not empty; choose another folder")
        with run.writing(run.path / "rejected.jsonl") as lines:
            lines.writelines(row.as_json() + "\n" for row in curation.corpus.rejected)
        with (
            run.writing(run.path / "corpus.parquet", "wb") as out,
            pq.ParquetWriter(out, CORPUS_SCHEMA, compression="zstd") as table,
        ):
            for part in curation.corpus.parts(CORPUS_SCHEMA.names):
                table.write_table(part)
        _write_input_facts(run, curation.corpus.inputs)
        store = DiskStorage(run.folder)
        store.fill(curation.tools.store)
        run.write(run.path / "recipe.yaml", curation.given.dump())
        tools = curation.tools._replace(store=store, progress=timed)
        write_outputs(
            run, prepare(run.corpus(), curation.given, tools), timed, started, force=force
        )
    return run


def redraw_run(
    run: Run,
    changes: dict[str, Any],
    to: Path | None = None,
    tools: Tools | None = None,
    *,
    force: bool = False,
) -> Run:
    """Draw again with other settings, in place or into a new folder; return that run.

    If the method does not apply, the run has a report but no curated corpus, unless ``force``.

    Nothing is embedded again, and neighborhoods are searched only if the new mode needs them and
    the run has none. Raises `RecipeError` for a field that the neighborhoods depend on.
    """
    if not (run.path / "recipe.yaml").exists():
        run.require_finished()
    tools = tools or Tools()
    timed = TimedProgress(tools.progress, {})
    started = time.monotonic()
    recipe = run.recipe().with_draw_settings(changes)
    target = run if to is None or to.resolve() == run.path.resolve() else Run(to)
    with ExitStack() as locks:
        if target is run or is_writable(run.path):
            locks.enter_context(run.locked())
        if target is not run:
            check_is_run_folder(target)
            locks.enter_context(target.locked())
            check_same_recipe(target, recipe)
            _copy_run_files(run, target)
        curation = target.prepared(recipe, tools._replace(progress=timed))
        target.remove("manifest.json")
        # Made from the old draw. Audits stay: they name the texts and the draw they are about.
        target.remove("export", "evaluation")
        target.write(target.path / "recipe.yaml", recipe.dump())
        write_outputs(target, curation, timed, started, force=force)
    return target


def _copy_run_files(source: Run, target: Run) -> None:
    # The corpus comes first, because it marks a folder without a recipe as the start of a run.
    for name in ("corpus.parquet", "rejected.jsonl", "input.json", CHECKSUMS_FILE):
        with (
            target.writing(target.path / name, "wb") as out,
            (source.path / name).open("rb") as original,
        ):
            shutil.copyfileobj(original, out)
    for folder in WORK_FOLDERS:
        if (source.path / folder).is_dir():
            shutil.copytree(source.path / folder, target.path / folder, dirs_exist_ok=True)
