"""The records of an input, file by file, and the values that its dialogues speak of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from ..recipe import Recipe
from ..runtime.concurrency import uncollected
from ..runtime.progress import Progress, Tick
from .act_files import ActFiles, input_files
from .dialogue.value_lexicon import Lexicon
from .files import Digest, Source, members, opened
from .formats import DIALOGUES
from .formats.task_oriented import beside, values_in, values_of
from .records import Record, read_hub, read_records


def digest_inputs(source: str | Path, form: str | None = None) -> list[Digest]:
    """Return the digest of each file of the input, without parsing it."""
    return [digest_of(file) for file in input_files(str(source), form)]


def digest_of(file: Source) -> Digest:
    """Return the digest of one file."""
    if file.name.startswith("hf://"):
        return _hub_digest(file.name)
    with opened(file) as (_, digest):
        return digest


def _hub_digest(name: str) -> Digest:
    return Digest(name, 0, hashlib.sha256(name.encode()).hexdigest())


def lexicon_of(source: str, recipe: Recipe, acts: ActFiles, progress: Progress) -> Lexicon:
    """Return the values that dialogues speak of: a database's, or those that they note themselves.

    For the latter the input is read once more, before the rest.
    """
    if recipe.format not in DIALOGUES:
        if recipe.database is not None:
            known = ", ".join(DIALOGUES)
            raise RecipeError(
                f"a database is for task-oriented dialogues: give a format of {known}"
            )
        return Lexicon()
    if recipe.database is not None:
        return values_in(recipe.database)
    if source == "-" or Path(source).is_fifo():
        raise RecipeError(
            "dialogues are read twice, at first for their values, and a pipe can be read only "
            "once; give the input as a file, or a database"
        )
    with progress.stage("values") as tick, uncollected():
        return values_of(recipe.format, _values(source, recipe, acts, tick))


def _values(source: str, recipe: Recipe, acts: ActFiles, tick: Tick) -> Iterator[dict[str, Any]]:
    for records in records_of(source, recipe, acts, []):
        for record in records:
            tick(1)
            yield record.value or {}


def records_of(
    source: str, recipe: Recipe, acts: ActFiles, inputs: list[Digest]
) -> Iterator[Iterator[Record]]:
    """Yield the records of each file of an input, its digest noted.

    Dialogues have the acts that files of acts have of them: those of an archive are for what is
    in it, the others for all.
    """
    files = input_files(source, recipe.format)
    aside = acts.aside(beside) if recipe.format in DIALOGUES else None
    known: dict[str, str] = {}
    for file in files:
        if file.name.startswith("hf://"):
            inputs.append(_hub_digest(file.name))
            yield read_hub(file.name)
            continue
        with opened(file) as (stream, digest):
            inputs.append(digest)
            if aside is not None and len(files) > 1 and aside(file.name):
                continue
            inside = known if acts.has(file.name) else dict(known)
            for name, part in members(file.name, stream, aside, acts.has):
                if acts.has(name):
                    acts.take(name, part, inside)
                else:
                    yield acts.joined(read_records(name, part), inside)
