"""A corpus: exchanges with where each was read, and what could not be read."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from .errors import CorpusError
from .formats import FORMATS, Format, Message, RowError, Turn, choose, restore, spec
from .formats.base import text_in
from .progress import Progress
from .recipe import Recipe
from .records import Record, dumps, read_hub, read_records
from .sources import Digest, Source, find_sources, opened

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
    }
)
"""The canonical table. ``prompt`` is the JSON of the messages before the response; ``record`` is
the JSON of the input's own record, null on every turn of it but the first."""


class Exchange(NamedTuple):
    """A context and the response that the corpus gives to it."""

    id: int
    context: str
    response: str
    file: str
    line: int


def kept_bytes(raw: bytes) -> dict[str, str]:
    """Return bytes as a JSON column that loses none: ``raw``, or ``raw_base64`` if no UTF-8."""
    try:
        return {"raw": raw.decode("utf-8")}
    except UnicodeDecodeError:
        return {"raw_base64": base64.b64encode(raw).decode()}


class Rejected(NamedTuple):
    """A row that was read and cannot be used, kept as it was."""

    file: str
    line: int
    reason: str
    raw: bytes

    def as_json(self) -> str:
        """Return one line for ``rejected.jsonl``; bytes that are no UTF-8 stand in base64."""
        place = {"file": self.file, "line": self.line, "reason": self.reason}
        return dumps({**place, **kept_bytes(self.raw)})


@dataclass(frozen=True)
class Corpus:
    """Exchanges in the order in which they were read.

    ``table`` has `SCHEMA`; ``rejected`` holds what could not be used, ``inputs`` a digest of each
    file.
    """

    table: pa.Table
    rejected: list[Rejected] = field(default_factory=list)
    inputs: list[Digest] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of exchanges."""
        return int(self.table.num_rows)

    def __getitem__(self, row: int) -> Exchange:
        """Return one exchange by its id."""
        if not 0 <= row < len(self):
            raise IndexError(row)
        values = self.table.slice(row, 1).to_pylist()[0]
        return Exchange(*(values[name] for name in Exchange._fields))

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

    def records(self) -> Iterator[tuple[dict[str, Any], list[int]]]:
        """Yield each input record with the ids of its exchanges, in order."""
        ids: list[int] = []
        record = ""
        for number, text in enumerate(_stream(self.table.column("record"))):
            if text is not None:
                if ids:
                    yield json.loads(record), ids
                record, ids = text, []
            ids.append(number)
        if ids:
            yield json.loads(record), ids

    def replaced(self, record: dict[str, Any], responses: dict[int, str]) -> dict[str, Any]:
        """Return a record with the responses of some of its exchanges, by id, replaced.

        The last one comes first: in a string of turns it moves none of those before it.
        """
        for number, response in sorted(responses.items(), reverse=True):
            place = self.table.slice(number, 1)
            form = restore(place.column("format")[0].as_py())
            record = form.replace(record, place.column("turn")[0].as_py(), response)
        return record


class Row(NamedTuple):
    """One exchange on its way into the table."""

    record: Record
    format: str
    turn: Turn
    first: bool
    group: str | None


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
    recipe = recipe or Recipe()
    rejected: list[Rejected] = []
    inputs: list[Digest] = []
    found = _rows(str(source), recipe, rejected, inputs)
    batches: list[pa.Table] = []
    with (progress or Progress()).stage("read") as tick:
        rows = itertools.islice(found, recipe.limit)
        while chunk := list(itertools.islice(rows, 10_000)):
            batches.append(_table(chunk, start=sum(batch.num_rows for batch in batches)))
            tick(len(chunk))
    inputs += [_digest(file) for file in find_sources(str(source))[len(inputs) :]]
    table = pa.concat_tables(batches).unify_dictionaries() if batches else SCHEMA.empty_table()
    return Corpus(table, rejected, inputs)


def digest_inputs(source: str | Path) -> list[Digest]:
    """Return the digest of each file of the input, without parsing it."""
    return [_digest(file) for file in find_sources(str(source))]


def _digest(file: Source) -> Digest:
    if file.name.startswith("hf://"):
        return _hub_digest(file.name)
    with opened(file) as (_, digest):
        return digest


def _hub_digest(name: str) -> Digest:
    return Digest(name, 0, hashlib.sha256(name.encode()).hexdigest())


def _rows(
    source: str, recipe: Recipe, rejected: list[Rejected], inputs: list[Digest]
) -> Iterator[Row]:
    for file in find_sources(source):
        if file.name.startswith("hf://"):
            inputs.append(_hub_digest(file.name))
            yield from _file_rows(read_hub(file.name), recipe, rejected)
            continue
        with opened(file) as (stream, digest):
            inputs.append(digest)
            yield from _file_rows(read_records(file.name, stream), recipe, rejected)


def _file_rows(
    records: Iterator[Record], recipe: Recipe, rejected: list[Rejected]
) -> Iterator[Row]:
    """Yield the exchanges of one file, its format told from its first records."""
    head = _sample(records)
    usable = [record.value for record in head if record.value is not None]
    if not usable:
        rejected.extend(_reject(record, record.problem) for record in head)
        return
    form = _form(head[0].file, usable, recipe)
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
        return choose(records, name=recipe.format, context=recipe.context, response=recipe.response)
    except CorpusError as error:
        raise CorpusError(f"{file}: {error}") from None


def _exchanges(record: Record, form: Format, written: str, recipe: Recipe) -> list[Row]:
    value = record.value or {}
    group = None
    if recipe.group_by is not None:
        given = value.get(recipe.group_by)
        numbered = isinstance(given, int | float)
        group = str(given) if numbered else text_in(value, recipe.group_by)
    turns = form.turns(value)
    chosen = turns if recipe.turns == "all" else turns[-1:]
    return [Row(record, written, turn, turn is chosen[0], group) for turn in chosen]


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
        "prompt": [dumps([m._asdict() for m in row.turn.prompt]) for row in rows],
        "record": [dumps(row.record.value) if row.first else None for row in rows],
    }
    return pa.table(columns, schema=SCHEMA)


def _stream(column: pa.ChunkedArray) -> Iterator[Any]:
    for chunk in column.chunks:
        yield from chunk.to_pylist()


def format_names(corpus: Corpus) -> dict[str, int]:
    """Return how many exchanges came in each format."""
    counts = Counter(corpus.column("format"))
    return {restore(written).name: count for written, count in sorted(counts.items())}
