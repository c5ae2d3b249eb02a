"""Read an input: find its files, detect their formats, and turn records into exchanges."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import CorpusError, RecipeError
from ..reading_options import ReadingOptions
from ..recipe import Recipe
from ..runtime.concurrency import gc_paused
from ..runtime.progress import Progress, Tick
from ..text import shorten
from .act_files import ActFiles, find_sources_with_acts
from .corpus import CORPUS_SCHEMA, Corpus, CorpusRow
from .dialogue.value_lexicon import Lexicon
from .files import InputDigest, open_members, open_source
from .formats import (
    TASK_ORIENTED_FORMATS,
    Format,
    MappedFormat,
    RowError,
    TaskOrientedFormat,
    choose_format,
    find_format,
    serialize_format,
    with_roles,
)
from .formats.base import require_text
from .formats.task_oriented import (
    GROUP_BY_ACT,
    is_auxiliary_file,
    lexicon_from_database,
    lexicon_from_records,
)
from .hub import read_hub_dataset
from .in_memory import Data, iter_memory_records
from .records import FileOptions, ParsedRecord, read_records
from .rejected import Rejected, RejectedSink
from .row_tables import (
    UntrainedRecord,
    attach_untrained,
    build_tables,
    read_next_table,
    reject_record,
    take_exchanges,
)
from .sources import SourceFile, find_left_out
from .turn_rows import USUAL_COLUMNS, TurnColumns, has_turn_rows, join_turn_rows

DETECTION_RECORDS = 200
"""Number of usable records from which the format of a file is detected."""


def read_corpus(
    source: str | Path | Data,
    options: ReadingOptions | Recipe | None = None,
    *,
    progress: Progress | None = None,
    **fields: Any,
) -> Corpus:
    """Read the exchanges of a file, folder, glob, ``-`` (standard input) or ``hf://dataset``.

    ``source`` may also be data in memory: a list of records, an Arrow table, a data frame of
    pandas or polars, or a `datasets.Dataset`. Its rows are read as those of a file would be.
    ``options`` may be a recipe, whose reading options are used. You can set or override any option
    by name: ``read_corpus("chats.jsonl", context="prompt", response="answer")``. A row that cannot
    be used is added to ``rejected`` with its file, line and reason.

    Raises `CorpusError` if the input cannot be read or its format cannot be detected, and
    `RecipeError` for an unknown or bad option.
    """
    if isinstance(options, Recipe):
        options = options.reading
    if fields:
        base = {} if options is None else options.model_dump(exclude_unset=True)
        options = ReadingOptions.of({**base, **fields})
    options = options or ReadingOptions()
    rejected: list[Rejected] = []
    inputs: list[InputDigest] = []
    if isinstance(source, str | Path):
        chunks = read_chunks(source, options, rejected, inputs, progress=progress)
    else:
        chunks = _read_memory_chunks(source, options, rejected)
    tables = list(chunks)
    table = pa.concat_tables(tables).unify_dictionaries() if tables else CORPUS_SCHEMA.empty_table()
    return Corpus(table, rejected, inputs)


def _read_memory_chunks(
    data: Data, options: ReadingOptions, rejected: RejectedSink
) -> Iterator[pa.Table]:
    """Yield the exchanges of data in memory, as `read_chunks` does those of files."""
    records = iter_memory_records(data)
    lexicon = Lexicon()
    if options.format in TASK_ORIENTED_FORMATS:
        kept = list(records)  # read twice, first for the values that the dialogues mention
        values = (record.value or {} for record in kept)
        lexicon = (
            lexicon_from_database(options.database)
            if options.database is not None
            else lexicon_from_records(options.format, values)
        )
        records = iter(kept)
    rows = _read_file_rows(records, options, lexicon, rejected)
    yield from build_tables(attach_untrained(take_exchanges(rows, options.limit), rejected))


def read_chunks(
    source: str | Path,
    options: ReadingOptions,
    rejected: RejectedSink,
    inputs: list[InputDigest],
    *,
    progress: Progress | None = None,
) -> Iterator[pa.Table]:
    """Yield the exchanges of an input chunk by chunk, as tables of `CORPUS_SCHEMA`.

    Rows that cannot be used are appended to ``rejected``, the digest of each file to ``inputs``.
    Raises the same errors as `read_corpus`.
    """
    progress = progress or Progress()
    acts = ActFiles.of(options.format)
    lexicon = build_input_lexicon(str(source), options, acts, progress)
    records = read_input_records(str(source), options, acts, inputs)
    items = take_exchanges(_read_input_rows(records, options, lexicon, rejected), options.limit)
    tables = build_tables(attach_untrained(items, rejected))
    with progress.stage("read") as tick:
        while (table := read_next_table(tables)) is not None:
            yield table
            tick(len(table))
    # A limit may end the reading early; the remaining files are still part of the input.
    files = find_sources_with_acts(str(source), options.format)
    inputs += [digest_source(file) for file in files[len(inputs) :]]
    if message := acts.summary():
        progress.notify(message)
    if left_out := find_left_out(str(source)):
        names = ", ".join(shorten(name, 40) for name in left_out[:10])
        more = f" and {len(left_out) - 10:,} more" * (len(left_out) > 10)
        progress.notify(f"left out, as no data files: {names}{more}")


def digest_inputs(source: str | Path, format_name: str | None = None) -> list[InputDigest]:
    """Compute the digest of each file of an input, including act files, without parsing it."""
    return [digest_source(file) for file in find_sources_with_acts(str(source), format_name)]


def digest_source(file: SourceFile) -> InputDigest:
    """Compute the digest of one file; for a hub dataset, that of its name."""
    if file.name.startswith("hf://"):
        return _digest_hub_name(file.name)
    with open_source(file) as (_, digest):
        return digest


def _digest_hub_name(name: str) -> InputDigest:
    return InputDigest(name, 0, hashlib.sha256(name.encode()).hexdigest())


def build_input_lexicon(
    source: str, options: ReadingOptions, acts: ActFiles, progress: Progress
) -> Lexicon:
    """Collect the values that task-oriented dialogues mention; empty for any other format.

    They come from the database that the options name or, without one, from the annotations of the
    dialogues; the input is then read twice. Raises `RecipeError` if a database is given for any
    other format, or if the input would have to be read twice but is a pipe.
    """
    if options.format not in TASK_ORIENTED_FORMATS:
        if options.database is not None:
            formats = ", ".join(TASK_ORIENTED_FORMATS)
            raise RecipeError(
                f"a database is for task-oriented dialogues; set the format to one of: {formats}"
            )
        return Lexicon()
    if options.database is not None:
        return lexicon_from_database(options.database)
    if source == "-" or Path(source).is_fifo():
        raise RecipeError(
            "dialogues are read twice, first for their values, but a pipe can be read only once; "
            "give the input as a file, or give a database"
        )
    with progress.stage("values") as tick, gc_paused():
        return lexicon_from_records(
            options.format, _read_record_values(source, options, acts, tick)
        )


def _read_record_values(
    source: str, options: ReadingOptions, acts: ActFiles, tick: Tick
) -> Iterator[dict[str, Any]]:
    for records in read_input_records(source, options, acts, []):
        for record in records:
            tick(1)
            yield record.value or {}


def read_input_records(
    source: str, options: ReadingOptions, acts: ActFiles, inputs: list[InputDigest]
) -> Iterator[Iterator[ParsedRecord]]:
    """Yield the records of each file of an input, and append the file's digest to ``inputs``.

    Dialogues get their acts from separate act files, if there are any: an act file in an archive
    applies to the dialogues of that archive, any other to all dialogues.
    """
    files = find_sources_with_acts(source, options.format)
    task_oriented = options.format in TASK_ORIENTED_FORMATS
    is_skipped = acts.make_skip_filter(is_auxiliary_file) if task_oriented else None
    file_options = FileOptions(options.encoding, options.header)
    shared_acts: dict[str, str] = {}
    for file in files:
        if file.name.startswith("hf://"):
            inputs.append(_digest_hub_name(file.name))
            yield read_hub_dataset(file.name)
            continue
        with open_source(file) as (stream, digest):
            inputs.append(digest)
            if is_skipped is not None and len(files) > 1 and is_skipped(file.name):
                continue
            acts_by_id = shared_acts if acts.has(file.name) else dict(shared_acts)
            for name, member in open_members(file.name, stream, is_skipped, acts.has):
                if acts.has(name):
                    acts.load(name, member, acts_by_id)
                else:
                    yield acts.attach(read_records(name, member, file_options), acts_by_id)


def _read_input_rows(
    files: Iterator[Iterator[ParsedRecord]],
    options: ReadingOptions,
    lexicon: Lexicon,
    rejected: RejectedSink,
) -> Iterator[CorpusRow | UntrainedRecord]:
    for records in files:
        yield from _read_file_rows(records, options, lexicon, rejected)


def _read_file_rows(
    records: Iterator[ParsedRecord],
    options: ReadingOptions,
    lexicon: Lexicon,
    rejected: RejectedSink,
) -> Iterator[CorpusRow | UntrainedRecord]:
    """Yield the exchanges of one file, whose format is detected from its first records."""
    sample = _take_sample(records)
    usable = [record.value for record in sample if record.value is not None]
    if not usable:
        for record in sample:
            rejected.append(reject_record(record, record.problem))
        return
    columns = _find_turn_columns(usable, options)
    if columns is not None:
        sample = list(join_turn_rows(itertools.chain(sample, records), columns))
        usable = [record.value for record in sample if record.value is not None]
        records = iter(())
    fmt = _choose_file_format(sample[0].file, usable, options)
    if isinstance(fmt, TaskOrientedFormat):
        fmt = replace(fmt, lexicon=lexicon)
    formats = RecordFormats(fmt, options)
    for record in itertools.chain(sample, records):
        if record.value is None:
            rejected.append(reject_record(record, record.problem))
            continue
        try:
            yield from _build_rows(record, *formats.choose(record.value), options)
        except RowError as error:
            rejected.append(reject_record(record, str(error)))


def _find_turn_columns(
    records: list[dict[str, Any]], options: ReadingOptions
) -> TurnColumns | None:
    """The columns of rows that are turns; None if rows are no turns."""
    if {"conversation", "parent"} & set(options.map):
        return TurnColumns.of(options.map)
    is_named = any((options.format, options.context, options.response, options.map))
    return None if is_named or not has_turn_rows(records) else USUAL_COLUMNS


class RecordFormats:
    """The format of each record of a file: that of the file, or its own where that one cannot fit.

    Only the file's own format is taken if the options name a format or columns.
    """

    def __init__(self, fmt: Format, options: ReadingOptions) -> None:
        self.file = with_roles(fmt, options.roles)
        self.serialized = serialize_format(self.file)
        self.roles = options.roles
        named = (options.format, options.context, options.response, options.map)
        self.is_fixed = any(named) or isinstance(fmt, TaskOrientedFormat)

    def choose(self, record: dict[str, Any]) -> tuple[Format, str]:
        """Choose the format of a record; with its JSON, as in `CORPUS_SCHEMA`."""
        if self.is_fixed or self.file.fits(record):
            return self.file, self.serialized
        other = find_format([record])
        if other is None or isinstance(other, TaskOrientedFormat):
            return self.file, self.serialized
        other = with_roles(other, self.roles)
        return other, serialize_format(other)


def _take_sample(records: Iterator[ParsedRecord]) -> list[ParsedRecord]:
    """Take the first records, up to `DETECTION_RECORDS` usable ones."""
    sample: list[ParsedRecord] = []
    usable = 0
    while usable < DETECTION_RECORDS and (record := next(records, None)):
        sample.append(record)
        usable += record.value is not None
    return sample


def _choose_file_format(
    file: str, records: list[dict[str, Any]], options: ReadingOptions
) -> Format:
    if {"turns", "context"} & set(options.map):
        return MappedFormat.of(options.map)
    try:
        fmt = choose_format(
            records, name=options.format, context=options.context, response=options.response
        )
    except CorpusError as error:
        raise CorpusError(f"{file}: {error}") from None
    if isinstance(fmt, TaskOrientedFormat) and (
        options.format is None or options.group_by != GROUP_BY_ACT
    ):
        raise RecipeError(f"{file}: {_explain_mismatch(fmt, options)}")
    return fmt


def _explain_mismatch(fmt: TaskOrientedFormat, options: ReadingOptions) -> str:
    """Explain why dialogues cannot be read with these options, and what to do."""
    if options.format is None:
        plain = ", or --format messages for plain conversations" if fmt.name == "dialogue" else ""
        return (
            f"these are task-oriented dialogues; add --format {fmt.name}, which draws each turn "
            f"from turns with the same acts and fills in the turn's own values{plain}"
        )
    return (
        f"format '{fmt.name}' needs group_by '{GROUP_BY_ACT}' (got: {options.group_by}), because "
        "a turn from any other group could need values that are not available; see Recipe.dialogue"
    )


def _build_rows(
    record: ParsedRecord, fmt: Format, serialized: str, options: ReadingOptions
) -> list[CorpusRow] | list[UntrainedRecord]:
    """The exchanges of a record; itself if all of its turns are marked as not trained on."""
    value = record.value or {}
    task_oriented = isinstance(fmt, TaskOrientedFormat)
    group = None if task_oriented else _read_group(value, options.group_by)
    turns = fmt.turns(value)
    trained = [turn for turn in turns if turn.trained]
    if not trained:
        return [UntrainedRecord(record, len(turns))]
    chosen = trained if options.turns == "all" else trained[-1:]
    rows = [
        CorpusRow(
            record, serialized, turn, turn is chosen[0], turn.group if task_oriented else group
        )
        for turn in chosen
    ]
    unread, marked = len(trained) - len(chosen), len(turns) - len(trained)
    return [rows[0]._replace(unread_turns=unread, marked_turns=marked), *rows[1:]]


def _read_group(value: dict[str, Any], column: str | None) -> str | None:
    """Read the text of the ``group_by`` column; None if no column is given."""
    if column is None:
        return None
    group = value.get(column)
    return str(group) if isinstance(group, int | float) else require_text(value, column)
