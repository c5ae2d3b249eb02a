"""Task-oriented dialogues in files: read any supported format, and write the same one back."""

from __future__ import annotations

import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from ...corpus.act_files import ALL_ACT_FILES, ActFiles, find_act_files
from ...corpus.dialogue.goals import find_booked_domains
from ...corpus.dialogue.predictions import normalize_id
from ...corpus.dialogue.readers import READERS, DialogueReader, detect_reader, iter_records
from ...corpus.dialogue.schema import Dialogue, system_turns
from ...corpus.dialogue.validation import ReadingError
from ...corpus.files import open_members, open_source
from ...corpus.records import dumps, parse_json
from ...corpus.sources import SourceFile, find_sources
from ...errors import CorpusError, RecipeError
from ...text import shorten
from .pollution import TurnKey

FileLayout = Literal["lines", "array", "object"]
"""How a file arranges its records: as JSON Lines, a JSON array, or a JSON object by id."""

DATA_SUFFIXES = (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz")
"""File name endings of data files; the other files in a zip archive are not read."""

DETECTION_RECORDS = 200
"""How many records of a file are checked to detect its format."""


class DialogueEntry(NamedTuple):
    """A record of the input and its dialogue, whose id is unique in the corpus.

    ``location`` is where the record is, for messages. ``key`` is its name in a JSON object, and
    ``line`` its text in a JSON Lines file; each is None in other layouts.
    """

    location: str
    record: dict[str, Any]
    key: str | None = None
    line: str | None = None
    dialogue: Dialogue = Dialogue("", ())


class NoDialoguesError(CorpusError):
    """A file contains no dialogues; among other files, it is skipped."""


class DialogueFile(NamedTuple):
    """The records of one file."""

    name: str
    layout: FileLayout
    entries: list[DialogueEntry]


@dataclass(frozen=True)
class DialogueCorpus:
    """The dialogues of an input, in order.

    ``skipped`` are the input's files without dialogues. ``acts_summary`` reports on separate act
    files; it is empty if there is nothing to report.
    """

    reader: DialogueReader
    layout: FileLayout
    entries: Sequence[DialogueEntry]
    skipped: Sequence[str] = ()
    acts_summary: str = ""

    def dialogues(self) -> list[Dialogue]:
        """The dialogues; those whose turns are in separate rows are merged."""
        rows_by_id: dict[str, list[Dialogue]] = defaultdict(list)
        for entry in self.entries:
            rows_by_id[entry.dialogue.id].append(entry.dialogue)
        return [rows[0] if len(rows) == 1 else _merge_rows(rows) for rows in rows_by_id.values()]

    def booked_domains(self) -> dict[str, list[frozenset[str]]]:
        """The domains booked after each system turn, for dialogues with these annotations."""
        return {
            entry.dialogue.id: find_booked_domains(log, entry.dialogue.id)
            for entry in self.entries
            if (log := entry.record.get("log")) and any(turn.get("metadata") for turn in log)
        }

    def notes(self) -> list[str]:
        """Remarks on the input for the user: separate act files, and skipped files."""
        notes = [self.acts_summary] if self.acts_summary else []
        if self.skipped:
            names = ", ".join(map(shorten, self.skipped))
            notes.append(f"skipped files that contain no dialogues: {names}")
        return notes

    def serialize(self, texts: Mapping[TurnKey, str]) -> Iterator[str]:
        """Yield the corpus as text in its own layout, with these system turns replaced.

        In JSON Lines, unchanged lines stay byte-identical; an object or an array gets one dialogue
        per line.
        """
        texts_by_id: dict[str, dict[int, str]] = defaultdict(dict)
        for (dialogue_id, index), text in texts.items():
            texts_by_id[dialogue_id][index] = text
        edges = {"lines": ("", "\n"), "array": ("[\n", "\n]\n"), "object": ("{\n", "\n}\n")}
        start, end = edges[self.layout]
        yield start
        for number, entry in enumerate(self.entries):
            if number:
                yield "\n" if self.layout == "lines" else ",\n"
            yield self._serialize_entry(entry, texts_by_id.get(entry.dialogue.id, {}))
        yield end

    def _serialize_entry(self, entry: DialogueEntry, texts: Mapping[int, str]) -> str:
        indices = {turn.index for turn in system_turns(entry.dialogue)}
        record, changed = entry.record, sorted(indices & texts.keys())
        if entry.line is not None and not changed:
            return entry.line
        for index in changed:
            record = self.reader.replaced(record, index, texts[index])
        if self.layout != "object":
            return dumps(record)
        if record.get("dialogue_id") == entry.key:
            record = {name: value for name, value in record.items() if name != "dialogue_id"}
        return f"{dumps(entry.key)}: {dumps(record)}"


def _merge_rows(rows: Sequence[Dialogue]) -> Dialogue:
    """Merge the rows of one dialogue; a turn that is in several rows is used once."""
    turns = {turn.index: turn for row in rows for turn in row.turns if turn.role == "user"}
    turns |= {turn.index: turn for row in rows for turn in row.turns if turn.role == "assistant"}
    return Dialogue(rows[0].id, tuple(turns[index] for index in sorted(turns)), rows[0].goal)


def read_dialogues(source: str, format_name: str | None = None) -> DialogueCorpus:
    """Read the dialogues of a file, a zip archive, a folder or a glob.

    ``format_name`` is one of `READERS`; by default, the format is detected. A record without id
    gets its number as id. If two rows of a dialogue have the same turn, all its rows get numbers:
    ``id#2``. Raises `RecipeError` for an unknown format, and `CorpusError` for an input without
    dialogues or with unreadable records, naming the first.
    """
    if format_name is not None and format_name not in READERS:
        raise RecipeError(
            f"unknown dialogue format '{shorten(format_name)}'; available: {', '.join(READERS)}"
        )
    named = READERS[format_name] if format_name is not None else None
    sources = find_sources(source)
    contents = [content for file in sources for content in _read_contents(file)]
    act_contents = [each for each in contents if len(contents) > 1 and ALL_ACT_FILES.has(each[0])]
    files, skipped = _parse_files([each for each in contents if each not in act_contents])
    with_dialogues = [file for file in files if len(files) == 1 or _detect_file_reader(file, named)]
    reader = named or next(filter(None, map(_detect_file_reader, with_dialogues)), None)
    if reader is None:
        raise _unknown_format_error(source, files)
    acts = ActFiles.of(reader.name)
    skipped += [name for name, _ in act_contents if not acts.has(name)]
    skipped += [file.name for file in files if file not in with_dialogues]
    # Without act files in the input, those in its folder or the folder above are used.
    act_contents = act_contents or [
        content for file in find_act_files(sources, acts) for content in _read_contents(file)
    ]
    entries = [entry for file in with_dialogues for entry in file.entries]
    layouts = {file.layout for file in with_dialogues}
    return DialogueCorpus(
        reader,
        layouts.pop() if len(layouts) == 1 else "lines",
        _make_ids_unique(_read_entries([*_attach_acts(entries, act_contents, acts)], reader)),
        sorted(skipped),
        acts.summary(),
    )


def _attach_acts(
    entries: Sequence[DialogueEntry], act_contents: Sequence[tuple[str, bytes]], acts: ActFiles
) -> Iterator[DialogueEntry]:
    """Yield the entries with the acts that separate act files have for them."""
    acts_by_id: dict[str, str] = {}
    for name, data in act_contents:
        if acts.has(name):
            acts.load(name, io.BytesIO(data), acts_by_id)
    for entry in entries:
        record = acts.with_acts(entry.record, acts_by_id)
        yield entry if record is entry.record else entry._replace(record=record, line=None)


def _unknown_format_error(source: str, files: Sequence[DialogueFile]) -> CorpusError:
    first = next((entry.record for file in files for entry in file.entries), {})
    columns = shorten(", ".join(map(str, first)), 200) or "none"
    return CorpusError(
        f"no known format of dialogues in {shorten(source)}; its columns are {columns}. Name the "
        f"format with --format; available: {', '.join(READERS)}"
    )


def _detect_file_reader(
    file: DialogueFile, named: DialogueReader | None = None
) -> DialogueReader | None:
    """Find the reader that most records of a file fit; or ``named``, if any record fits it."""
    records = [entry.record for entry in file.entries[:DETECTION_RECORDS]]
    if named is not None:
        return named if any(map(named.fits, records)) else None
    counts = Counter(reader.name for record in records if (reader := detect_reader(record)))
    return READERS[counts.most_common(1)[0][0]] if counts else None


def _read_entries(entries: Sequence[DialogueEntry], reader: DialogueReader) -> list[DialogueEntry]:
    """Parse the dialogues of the entries; raises `CorpusError` if any cannot be read."""
    read, problems = [], []
    for number, entry in enumerate(entries, start=1):
        try:
            dialogue = _drop_earlier_responses(entry.record, reader.read(entry.record))
        except ReadingError as error:
            problems.append(f"{entry.location}: {error}")
        else:
            with_id = dialogue if dialogue.id else replace(dialogue, id=str(number))
            read.append(entry._replace(dialogue=with_id))
    if problems:
        raise CorpusError(
            f"{problems[0]}. {len(problems):,} of {len(entries):,} records cannot be read as "
            f"{reader.name}; fix or remove them"
        )
    return read


def _drop_earlier_responses(record: Mapping[str, Any], dialogue: Dialogue) -> Dialogue:
    """Drop the system turns in a row's history; only its response is a turn of its own."""
    if "messages" in record or "response" not in record:
        return dialogue
    last = dialogue.turns[-1]
    turns = tuple(turn for turn in dialogue.turns if turn.role == "user" or turn is last)
    return replace(dialogue, turns=turns)


def _make_ids_unique(entries: Sequence[DialogueEntry]) -> list[DialogueEntry]:
    """Number the rows of dialogues that contain the same system turn more than once."""
    groups: dict[str, list[int]] = defaultdict(list)
    for place, entry in enumerate(entries):
        groups[normalize_id(entry.dialogue.id)].append(place)
    renamed = list(entries)
    for places in groups.values():
        if len(places) == 1:
            continue
        rows = [entries[place] for place in places]
        if any("response" not in row.record for row in rows):
            raise CorpusError(
                f"duplicate dialogue id {shorten(rows[0].dialogue.id, 60)}: {rows[0].location} "
                f"and {rows[1].location}; give each dialogue a different id"
            )
        turns = [system_turns(row.dialogue)[-1].index for row in rows]
        if len(set(turns)) < len(turns):
            for number, (place, row) in enumerate(zip(places, rows, strict=True), start=1):
                name = f"{row.dialogue.id}#{number}"
                renamed[place] = row._replace(dialogue=replace(row.dialogue, id=name))
    return renamed


# Parsing of files.


def _read_contents(file: SourceFile) -> list[tuple[str, bytes]]:
    """Read a file, or each data file in an archive, as name and bytes."""
    if file.name.startswith("hf://"):
        raise CorpusError(
            f"{shorten(file.name)}: dialogues cannot be read from the Hub; download the files first"
        )
    with open_source(file) as (data, _):
        return [(name, inner.read()) for name, inner in open_members(file.name, data, _is_not_data)]


def _is_not_data(name: str) -> bool:
    return not name.lower().endswith(DATA_SUFFIXES)


def _parse_files(contents: Sequence[tuple[str, bytes]]) -> tuple[list[DialogueFile], list[str]]:
    """Parse the files; also returns the names of those without dialogues."""
    files, skipped = [], []
    for name, data in contents:
        try:
            text = data.decode("utf-8-sig")
            files.append(
                _parse_document(name, text)
                or DialogueFile(name, "lines", list(_parse_lines(name, text)))
            )
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"{name}: invalid UTF-8 at byte {error.start + 1}; expected JSON, JSON Lines or "
                "a zip archive of such files"
            ) from None
        except NoDialoguesError:
            if len(contents) == 1:
                raise
            skipped.append(name)
    return files, skipped


def _parse_document(name: str, text: str) -> DialogueFile | None:
    """Parse a file that is one JSON document; None if it is JSON Lines."""
    if not text.strip():
        raise NoDialoguesError(f"{name} is empty; expected dialogues as JSON or JSON Lines")
    try:
        document = parse_json(text)
    except json.JSONDecodeError as error:
        if "\n" in text.strip() and text.lstrip()[:1] == "{" and error.msg == "Extra data":
            return None
        line = text.count("\n", 0, error.pos) + 1
        # A text that does not even begin like JSON is a file of another kind, which can be skipped.
        error_type = CorpusError if text.lstrip()[0] in "[{" else NoDialoguesError
        raise error_type(f"{name} line {line}: broken JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{name} cannot be read as JSON: {shorten(str(error))}") from None
    if isinstance(document, dict) and detect_reader(document):
        return DialogueFile(name, "lines", [DialogueEntry(f"{name} line 1", document)])
    try:
        records = list(iter_records(document))
    except ReadingError as error:
        raise NoDialoguesError(f"{name} contains no dialogues: {error}") from None
    if isinstance(document, list):
        entries = [
            DialogueEntry(f"{name} record {number}", record)
            for number, record in enumerate(records, start=1)
        ]
        return DialogueFile(name, "array", entries)
    entries = [
        DialogueEntry(f"{name} '{shorten(key, 60)}'", record, key)
        for key, record in zip(document, records, strict=True)
    ]
    return DialogueFile(name, "object", entries)


def _parse_lines(name: str, text: str) -> Iterator[DialogueEntry]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            location = f"{name} line {number}"
            record = parse_json_line(location, line)
            if not isinstance(record, dict):
                raise CorpusError(
                    f"{location}: expected a JSON object, got {type(record).__name__}"
                )
            yield DialogueEntry(location, record, line=line.removesuffix("\r"))


def parse_json_line(location: str, line: str) -> Any:
    """Parse a line of JSON; raises `CorpusError`, naming its ``location``, if it is malformed."""
    try:
        return parse_json(line)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{location}: broken JSON: {shorten(str(error))}") from None
