"""A corpus: exchanges with where each was read, and what could not be read."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..errors import CorpusError, RecipeError
from ..recipe import Recipe
from ..runtime.concurrency import uncollected
from ..runtime.progress import Progress
from .act_files import ActFiles, input_files
from .dialogue.value_lexicon import Lexicon
from .files import Digest
from .formats import FORMATS, Dialogues, Format, Message, RowError, Turn, choose, restore, spec
from .formats.base import text_in
from .formats.task_oriented import ACT
from .inputs import digest_of, lexicon_of, records_of
from .parquet_table import Ints, Stored
from .records import Record, dumps
from .rejected import Rejected, Sink
from .source_records import Written

PORTION = 10_000
"""Exchanges that are in memory at a time while a corpus is read, fewer if they are large."""

BYTES = 2**24
"""Characters from which on fewer exchanges are in memory at a time."""

SAMPLE = 200
"""Records from which a file's format is recognised."""

SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "file": pa.dictionary(pa.int32(), pa.string()),
        "line": pa.int64(),
        "format": pa.dictionary(pa.int32(), pa.string()),
        "turn": pa.int32(),
        "context": pa.large_string(),
        "response": pa.large_string(),
        "group": pa.large_string(),
        "prompt": pa.large_string(),
        "record": pa.large_string(),
        "values": pa.large_string(),
    }
)
"""The canonical table. ``prompt`` is the JSON of the messages before the response; ``record`` is
the JSON of the input's own record, null on every turn of it but the first; ``values`` the JSON of
what stands for the placeholders of a response, null where it has none of either."""


class Exchange(NamedTuple):
    """A context and the response that the corpus gives to it."""

    id: int
    context: str
    response: str
    file: str
    line: int


@dataclass(frozen=True)
class Corpus:
    """Exchanges in the order in which they were read.

    ``table`` has `SCHEMA`, in memory or on disk; ``rejected`` holds what could not be used,
    ``inputs`` a digest of each file.
    """

    table: pa.Table | Stored
    rejected: Sequence[Rejected] = field(default_factory=list)
    inputs: list[Digest] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of exchanges."""
        return int(self.table.num_rows)

    def __getitem__(self, row: int) -> Exchange:
        """Return one exchange by its id."""
        if not 0 <= row < len(self):
            raise IndexError(row)
        values = self.take(np.array([row]), list(Exchange._fields)).to_pylist()[0]
        return Exchange(**values)

    @classmethod
    def of(
        cls, exchanges: Iterable[tuple[str, str]], groups: Iterable[str] | None = None
    ) -> Corpus:
        """Return a corpus of (context, response) pairs, each with its group if there are any.

        Raises `CorpusError` for a pair that is not two texts with something in them.
        """
        rows = [_pair(number, *pair) for number, pair in enumerate(exchanges, start=1)]
        if groups is not None:
            names = list(groups)
            if len(names) != len(rows):
                raise CorpusError(f"{len(names)} groups for {len(rows)} exchanges; wanted one each")
            rows = [row._replace(group=name) for row, name in zip(rows, names, strict=True)]
        return cls(_table(rows))

    def column(self, name: str) -> list[Any]:
        """Return a column of the canonical table as a list."""
        return list(self.table.column(name).to_pylist())

    def parts(self, columns: list[str]) -> Iterator[pa.Table]:
        """Yield the rows in order, with some columns, portion by portion."""
        if isinstance(self.table, Stored):
            yield from self.table.parts(columns)
            return
        table = self.table.select(columns)
        for start in range(0, table.num_rows, PORTION):
            yield table.slice(start, PORTION)

    def take(self, rows: Ints, columns: list[str]) -> pa.Table:
        """Return some rows with some columns; of a corpus on disk, best in ascending order."""
        if isinstance(self.table, Stored):
            return self.table.take(rows, columns)
        return self.table.select(columns).take(pa.array(rows))

    def regrouped(self, groups: Sequence[str]) -> Corpus:
        """Return the corpus with other groups of its exchanges."""
        kind = SCHEMA.field("group").type
        column = pa.array(groups, kind)
        if isinstance(self.table, Stored):
            return replace(self, table=self.table.with_column("group", column))
        place = self.table.schema.get_field_index("group")
        return replace(self, table=self.table.set_column(place, "group", column))

    def replaced(self, record: dict[str, Any], responses: dict[int, str]) -> dict[str, Any]:
        """Return a record with the responses of some of its exchanges, by id, replaced."""
        ids = sorted(responses)
        places = self.take(np.array(ids, np.int64), ["format", "turn", "values"]).to_pylist()
        forms = [(place["format"], place["turn"]) for place in places]
        return Written(dumps(record), ids, forms, [place["values"] for place in places]).replaced(
            responses
        )

    def records(self) -> Iterator[tuple[dict[str, Any], list[int]]]:
        """Yield each input record with the ids of its exchanges, in order."""
        for written in self.written():
            yield written.record, written.ids

    def written(self) -> Iterator[Written]:
        """Yield each input record with its exchanges and where they stand in it, in order."""
        columns = ["record", "format", "turn", "values"]
        last: tuple[str, list[int], list[tuple[str, int]], list[str | None]] = ("", [], [], [])
        number = itertools.count()
        for part in self.parts(columns):
            rows = (part.column(name).to_pylist() for name in columns)
            for text, form, turn, values in zip(*rows, strict=True):
                if text is not None:
                    if last[1]:
                        yield Written(*last)
                    last = (text, [], [], [])
                last[1].append(next(number))
                last[2].append((form, turn))
                last[3].append(values)
        if last[1]:
            yield Written(*last)


class Row(NamedTuple):
    """One exchange on its way into the table."""

    record: Record
    format: str
    turn: Turn
    first: bool
    group: str | None

    @property
    def size(self) -> int:
        """Return about how many characters the row takes."""
        own = len(self.turn.response) + sum(len(m.content or "") for m in self.turn.prompt)
        return own + (len(self.record.raw) if self.first else 0)


def _pair(number: int, context: str, response: str) -> Row:
    form, value = FORMATS["context_response"], {"context": context, "response": response}
    try:
        (turn,) = form.turns(value)
    except RowError as error:
        raise CorpusError(f"pair {number}: {error}") from None
    return Row(Record("<memory>", number, b"", value), spec(form), turn, True, None)


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


def context_text(prompt: tuple[Message, ...]) -> str:
    """Return what a response answers, as one text: every turn before it but the system's."""
    return "\n".join(m.content for m in prompt if m.role != "system" and m.content)


def _table(rows: list[Row], start: int = 0) -> pa.Table:
    columns: dict[str, list[Any]] = {
        "id": list(range(start, start + len(rows))),
        "file": [row.record.file for row in rows],
        "line": [row.record.line for row in rows],
        "format": [row.format for row in rows],
        "turn": [row.turn.index for row in rows],
        "context": [context_text(row.turn.prompt) for row in rows],
        "response": [row.turn.response for row in rows],
        "group": [row.group for row in rows],
        "prompt": _prompts(rows),
        "record": [dumps(row.record.value) if row.first else None for row in rows],
        "values": [None if row.turn.values is None else dumps(row.turn.values) for row in rows],
    }
    return pa.table(columns, schema=SCHEMA)


def _prompts(rows: list[Row]) -> list[str]:
    """Return what stands before each response as JSON, each message written once a dialogue."""
    written: dict[Message, str] = {}
    found = []
    for row in rows:
        if row.first:
            written.clear()
        for message in row.turn.prompt:
            if message not in written:
                written[message] = dumps(message._asdict())
        found.append(f"[{', '.join(written[message] for message in row.turn.prompt)}]")
    return found


def format_names(corpus: Corpus) -> dict[str, int]:
    """Return how many exchanges came in each format."""
    counts: Counter[str] = Counter()
    for part in corpus.parts(["format"]):
        counts.update(part.column("format").to_pylist())
    return {restore(written).name: count for written, count in sorted(counts.items())}
