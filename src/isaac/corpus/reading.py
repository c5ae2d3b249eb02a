"""Reading."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import CorpusError, RecipeError
from ..recipe import Recipe
from ..runtime.concurrency import uncollected
from ..runtime.progress import Progress, Tick
from .act_files import ActFiles, input_files
from .corpus import PORTION, SCHEMA, Corpus, Row, _table
from .dialogue.value_lexicon import Lexicon
from .files import Digest, Source, members, opened
from .formats import DIALOGUES, Dialogues, Format, RowError, choose, spec
from .formats.base import text_in
from .formats.task_oriented import ACT, beside, values_in, values_of
from .records import Record, dumps, read_hub, read_records
from .rejected import Rejected, Sink


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


BYTES = 2**24
"""Characters from which on fewer exchanges are in memory at a time."""


SAMPLE = 200
"""Records from which a file's format is recognised."""


def read_corpus(
    source: str | Path, recipe: Recipe | None = None, *, progress: Progress | None = None
) -> Corpus:
    """Return the exchanges of a file, folder, glob, ``-`` (standard input) or ``hf://dataset``.

    A row that cannot be used is kept in ``rejected`` with its file, line and reason. Raises
    `CorpusError` if the input cannot be read at all or its format cannot be told.
    """
    rejected: list[Rejected] = []
    inputs: list[Digest] = []
    parts = list(read_parts(source, recipe or Recipe(), rejected, inputs, progress=progress))
    table = pa.concat_tables(parts).unify_dictionaries() if parts else SCHEMA.empty_table()
    return Corpus(table, rejected, inputs)


def read_parts(
    source: str | Path,
    recipe: Recipe,
    rejected: Sink,
    inputs: list[Digest],
    *,
    progress: Progress | None = None,
) -> Iterator[pa.Table]:
    """Yield the exchanges of an input portion by portion, as tables of `SCHEMA`.

    Rows that cannot be used go to ``rejected``, the digest of each file to ``inputs``.
    """
    progress = progress or Progress()
    acts = ActFiles.of(recipe.format)
    lexicon = lexicon_of(str(source), recipe, acts, progress)
    given = records_of(str(source), recipe, acts, inputs)
    rows = itertools.islice(_rows(given, recipe, lexicon, rejected), recipe.limit)
    tables = _tables(rows)
    with progress.stage("read") as tick:
        while (table := _next(tables)) is not None:
            yield table
            tick(len(table))
    inputs += [digest_of(file) for file in input_files(str(source), recipe.format)[len(inputs) :]]
    if said := acts.told():
        progress.tell(said)


def _next(tables: Iterator[pa.Table]) -> pa.Table | None:
    with uncollected():
        return next(tables, None)


def _tables(rows: Iterator[Row]) -> Iterator[pa.Table]:
    start = 0
    for portion in _portions(rows):
        yield _table(portion, start)
        start += len(portion)


def _portions(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Yield the rows in portions that fit into memory, whatever their size."""
    portion: list[Row] = []
    size = 0
    for row in rows:
        portion.append(row)
        size += row.size
        if len(portion) == PORTION or size >= BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _rows(
    given: Iterator[Iterator[Record]], recipe: Recipe, lexicon: Lexicon, rejected: Sink
) -> Iterator[Row]:
    for records in given:
        yield from _file_rows(records, recipe, lexicon, rejected)


def _file_rows(
    records: Iterator[Record], recipe: Recipe, lexicon: Lexicon, rejected: Sink
) -> Iterator[Row]:
    """Yield the exchanges of one file, its format told from its first records."""
    head = _sample(records)
    usable = [record.value for record in head if record.value is not None]
    if not usable:
        for record in head:
            rejected.append(_reject(record, record.problem))
        return
    form = _form(head[0].file, usable, recipe)
    if isinstance(form, Dialogues):
        form = replace(form, lexicon=lexicon)
    written = spec(form)
    for record in itertools.chain(head, records):
        if record.value is None:
            rejected.append(_reject(record, record.problem))
            continue
        try:
            yield from _exchanges(record, form, written, recipe)
        except RowError as error:
            rejected.append(_reject(record, str(error)))


def _sample(records: Iterator[Record]) -> list[Record]:
    """Return the first records, up to `SAMPLE` of them usable."""
    head: list[Record] = []
    usable = 0
    while usable < SAMPLE and (record := next(records, None)):
        head.append(record)
        usable += record.value is not None
    return head


def _form(file: str, records: list[dict[str, Any]], recipe: Recipe) -> Format:
    try:
        form = choose(records, name=recipe.format, context=recipe.context, response=recipe.response)
    except CorpusError as error:
        raise CorpusError(f"{file}: {error}") from None
    if isinstance(form, Dialogues) and (recipe.format is None or recipe.group_by != ACT):
        raise RecipeError(f"{file}: {_unready(form, recipe)}")
    return form


def _unready(form: Dialogues, recipe: Recipe) -> str:
    """Return why dialogues cannot be read by a recipe, and what to do."""
    if recipe.format is None:
        plain = ", or --format messages for plain conversations" if form.name == "dialogue" else ""
        return (
            f"these are task-oriented dialogues; add --format {form.name}, which draws a turn "
            f"among those of its acts and fills it with its own values{plain}"
        )
    return (
        f"format '{form.name}' needs group_by '{ACT}' (came: {recipe.group_by}): a turn drawn "
        "from any other group could need values that its place has not; see Recipe.dialogue"
    )


def _exchanges(record: Record, form: Format, written: str, recipe: Recipe) -> list[Row]:
    value = record.value or {}
    acted = isinstance(form, Dialogues)
    group = None if acted else _group(value, recipe.group_by)
    turns = form.turns(value)
    chosen = turns if recipe.turns == "all" else turns[-1:]
    return [
        Row(record, written, turn, turn is chosen[0], turn.group if acted else group)
        for turn in chosen
    ]


def _group(value: dict[str, Any], column: str | None) -> str | None:
    """Return what is in the column by which a record is grouped, if there is one."""
    if column is None:
        return None
    given = value.get(column)
    return str(given) if isinstance(given, int | float) else text_in(value, column)


def _reject(record: Record, reason: str) -> Rejected:
    raw = record.raw or dumps(record.value).encode()
    return Rejected(record.file, record.line, reason, raw)
