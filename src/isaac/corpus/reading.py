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
from ..runtime.concurrency import gc_paused
from ..runtime.progress import Progress, Tick
from .act_files import ActFiles, find_sources_with_acts
from .corpus import CHUNK_EXCHANGES, CORPUS_SCHEMA, Corpus, CorpusRow, build_table
from .dialogue.value_lexicon import Lexicon
from .files import InputDigest, SourceFile, open_members, open_source
from .formats import (
    TASK_ORIENTED_FORMATS,
    Format,
    RowError,
    TaskOrientedFormat,
    choose_format,
    serialize_format,
)
from .formats.base import require_text
from .formats.task_oriented import (
    GROUP_BY_ACT,
    is_auxiliary_file,
    lexicon_from_database,
    lexicon_from_records,
)
from .records import ParsedRecord, dumps, read_hub_dataset, read_records
from .rejected import Rejected, RejectedSink


def digest_inputs(source: str | Path, form: str | None = None) -> list[InputDigest]:
    """Return the digest of each file of the input, without parsing it."""
    return [digest_source(file) for file in find_sources_with_acts(str(source), form)]


def digest_source(file: SourceFile) -> InputDigest:
    """Return the digest of one file."""
    if file.name.startswith("hf://"):
        return _digest_hub_name(file.name)
    with open_source(file) as (_, digest):
        return digest


def _digest_hub_name(name: str) -> InputDigest:
    return InputDigest(name, 0, hashlib.sha256(name.encode()).hexdigest())


def build_input_lexicon(source: str, recipe: Recipe, acts: ActFiles, progress: Progress) -> Lexicon:
    """Return the values that dialogues speak of: a database's, or those that they note themselves.

    For the latter the input is read once more, before the rest.
    """
    if recipe.format not in TASK_ORIENTED_FORMATS:
        if recipe.database is not None:
            known = ", ".join(TASK_ORIENTED_FORMATS)
            raise RecipeError(
                f"a database is for task-oriented dialogues: give a format of {known}"
            )
        return Lexicon()
    if recipe.database is not None:
        return lexicon_from_database(recipe.database)
    if source == "-" or Path(source).is_fifo():
        raise RecipeError(
            "dialogues are read twice, at first for their values, and a pipe can be read only "
            "once; give the input as a file, or a database"
        )
    with progress.stage("values") as tick, gc_paused():
        return lexicon_from_records(recipe.format, _read_record_values(source, recipe, acts, tick))


def _read_record_values(
    source: str, recipe: Recipe, acts: ActFiles, tick: Tick
) -> Iterator[dict[str, Any]]:
    for records in read_input_records(source, recipe, acts, []):
        for record in records:
            tick(1)
            yield record.value or {}


def read_input_records(
    source: str, recipe: Recipe, acts: ActFiles, inputs: list[InputDigest]
) -> Iterator[Iterator[ParsedRecord]]:
    """Yield the records of each file of an input, its digest noted.

    Dialogues have the acts that files of acts have of them: those of an archive are for what is
    in it, the others for all.
    """
    files = find_sources_with_acts(source, recipe.format)
    aside = (
        acts.make_skip_filter(is_auxiliary_file) if recipe.format in TASK_ORIENTED_FORMATS else None
    )
    known: dict[str, str] = {}
    for file in files:
        if file.name.startswith("hf://"):
            inputs.append(_digest_hub_name(file.name))
            yield read_hub_dataset(file.name)
            continue
        with open_source(file) as (stream, digest):
            inputs.append(digest)
            if aside is not None and len(files) > 1 and aside(file.name):
                continue
            inside = known if acts.has(file.name) else dict(known)
            for name, part in open_members(file.name, stream, aside, acts.has):
                if acts.has(name):
                    acts.take(name, part, inside)
                else:
                    yield acts.joined(read_records(name, part), inside)


CHUNK_CHARACTERS = 2**24
"""Characters from which on fewer exchanges are in memory at a time."""


DETECTION_RECORDS = 200
"""Records from which a file's format is recognised."""


def read_corpus(
    source: str | Path, recipe: Recipe | None = None, *, progress: Progress | None = None
) -> Corpus:
    """Return the exchanges of a file, folder, glob, ``-`` (standard input) or ``hf://dataset``.

    A row that cannot be used is kept in ``rejected`` with its file, line and reason. Raises
    `CorpusError` if the input cannot be read at all or its format cannot be told.
    """
    rejected: list[Rejected] = []
    inputs: list[InputDigest] = []
    parts = list(read_chunks(source, recipe or Recipe(), rejected, inputs, progress=progress))
    table = pa.concat_tables(parts).unify_dictionaries() if parts else CORPUS_SCHEMA.empty_table()
    return Corpus(table, rejected, inputs)


def read_chunks(
    source: str | Path,
    recipe: Recipe,
    rejected: RejectedSink,
    inputs: list[InputDigest],
    *,
    progress: Progress | None = None,
) -> Iterator[pa.Table]:
    """Yield the exchanges of an input portion by portion, as tables of `CORPUS_SCHEMA`.

    Rows that cannot be used go to ``rejected``, the digest of each file to ``inputs``.
    """
    progress = progress or Progress()
    acts = ActFiles.of(recipe.format)
    lexicon = build_input_lexicon(str(source), recipe, acts, progress)
    given = read_input_records(str(source), recipe, acts, inputs)
    rows = itertools.islice(_read_input_rows(given, recipe, lexicon, rejected), recipe.limit)
    tables = _build_tables(rows)
    with progress.stage("read") as tick:
        while (table := _read_next_table(tables)) is not None:
            yield table
            tick(len(table))
    inputs += [
        digest_source(file)
        for file in find_sources_with_acts(str(source), recipe.format)[len(inputs) :]
    ]
    if said := acts.told():
        progress.tell(said)


def _read_next_table(tables: Iterator[pa.Table]) -> pa.Table | None:
    with gc_paused():
        return next(tables, None)


def _build_tables(rows: Iterator[CorpusRow]) -> Iterator[pa.Table]:
    start = 0
    for portion in _split_rows(rows):
        yield build_table(portion, start)
        start += len(portion)


def _split_rows(rows: Iterator[CorpusRow]) -> Iterator[list[CorpusRow]]:
    """Yield the rows in portions that fit into memory, whatever their size."""
    portion: list[CorpusRow] = []
    size = 0
    for row in rows:
        portion.append(row)
        size += row.size
        if len(portion) == CHUNK_EXCHANGES or size >= CHUNK_CHARACTERS:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _read_input_rows(
    given: Iterator[Iterator[ParsedRecord]],
    recipe: Recipe,
    lexicon: Lexicon,
    rejected: RejectedSink,
) -> Iterator[CorpusRow]:
    for records in given:
        yield from _read_file_rows(records, recipe, lexicon, rejected)


def _read_file_rows(
    records: Iterator[ParsedRecord], recipe: Recipe, lexicon: Lexicon, rejected: RejectedSink
) -> Iterator[CorpusRow]:
    """Yield the exchanges of one file, its format told from its first records."""
    head = _take_sample(records)
    usable = [record.value for record in head if record.value is not None]
    if not usable:
        for record in head:
            rejected.append(_reject(record, record.problem))
        return
    form = _choose_file_format(head[0].file, usable, recipe)
    if isinstance(form, TaskOrientedFormat):
        form = replace(form, lexicon=lexicon)
    written = serialize_format(form)
    for record in itertools.chain(head, records):
        if record.value is None:
            rejected.append(_reject(record, record.problem))
            continue
        try:
            yield from _build_rows(record, form, written, recipe)
        except RowError as error:
            rejected.append(_reject(record, str(error)))


def _take_sample(records: Iterator[ParsedRecord]) -> list[ParsedRecord]:
    """Return the first records, up to `DETECTION_RECORDS` of them usable."""
    head: list[ParsedRecord] = []
    usable = 0
    while usable < DETECTION_RECORDS and (record := next(records, None)):
        head.append(record)
        usable += record.value is not None
    return head


def _choose_file_format(file: str, records: list[dict[str, Any]], recipe: Recipe) -> Format:
    try:
        form = choose_format(
            records, name=recipe.format, context=recipe.context, response=recipe.response
        )
    except CorpusError as error:
        raise CorpusError(f"{file}: {error}") from None
    if isinstance(form, TaskOrientedFormat) and (
        recipe.format is None or recipe.group_by != GROUP_BY_ACT
    ):
        raise RecipeError(f"{file}: {_explain_recipe_mismatch(form, recipe)}")
    return form


def _explain_recipe_mismatch(form: TaskOrientedFormat, recipe: Recipe) -> str:
    """Return why dialogues cannot be read by a recipe, and what to do."""
    if recipe.format is None:
        plain = ", or --format messages for plain conversations" if form.name == "dialogue" else ""
        return (
            f"these are task-oriented dialogues; add --format {form.name}, which draws a turn "
            f"among those of its acts and fills it with its own values{plain}"
        )
    return (
        f"format '{form.name}' needs group_by '{GROUP_BY_ACT}' (came: {recipe.group_by}): a turn drawn "
        "from any other group could need values that its place has not; see Recipe.dialogue"
    )


def _build_rows(
    record: ParsedRecord, form: Format, written: str, recipe: Recipe
) -> list[CorpusRow]:
    value = record.value or {}
    acted = isinstance(form, TaskOrientedFormat)
    group = None if acted else _read_group(value, recipe.group_by)
    turns = form.turns(value)
    chosen = turns if recipe.turns == "all" else turns[-1:]
    return [
        CorpusRow(record, written, turn, turn is chosen[0], turn.group if acted else group)
        for turn in chosen
    ]


def _read_group(value: dict[str, Any], column: str | None) -> str | None:
    """Return what is in the column by which a record is grouped, if there is one."""
    if column is None:
        return None
    given = value.get(column)
    return str(given) if isinstance(given, int | float) else require_text(value, column)


def _reject(record: ParsedRecord, reason: str) -> Rejected:
    raw = record.raw or dumps(record.value).encode()
    return Rejected(record.file, record.line, reason, raw)
