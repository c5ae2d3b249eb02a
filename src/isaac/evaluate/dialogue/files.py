"""Task-oriented dialogues in files: read in their own layout, and written in it again."""

from __future__ import annotations

import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ...corpus.act_files import ALL_ACT_FILES, ActFiles, find_act_files
from ...corpus.dialogue.goals import find_booked_domains
from ...corpus.dialogue.predictions import normalize_id
from ...corpus.dialogue.readers import READERS, DialogueReader, detect_reader, iter_records
from ...corpus.dialogue.schema import Dialogue, system_turns
from ...corpus.dialogue.validation import ReadingError
from ...corpus.files import SourceFile, find_sources, open_members, open_source
from ...corpus.records import dumps, parse_json
from ...errors import CorpusError, RecipeError
from ...text import shorten
from .pollution import Injection, TurnKey, parse_truth

FileLayout = Literal["lines", "array", "object"]

DATA_SUFFIXES = (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz")
"""What the files of a zip archive end in that are read, where there are several."""

DETECTION_RECORDS = 200
"""Records of a file from which its format is recognised."""


class DialogueEntry(NamedTuple):
    """A record of the input and the dialogue in it, under an id that tells it from all others.

    ``key`` is its name in a JSON object, ``raw`` its line, each only where there is one. ``at``
    says where it stands.
    """

    at: str
    record: dict[str, Any]
    key: str | None = None
    raw: str | None = None
    dialogue: Dialogue = Dialogue("", ())


class NoDialoguesError(CorpusError):
    """A file is no corpus of dialogues, but may well be something else that lies beside one."""


class DialogueFile(NamedTuple):
    """The records of one file."""

    name: str
    layout: FileLayout
    entries: list[DialogueEntry]


@dataclass(frozen=True)
class DialogueCorpus:
    """The dialogues of an input in order; ``skipped`` are its files that hold none.

    ``acts`` says what became of acts that were in files of their own, if there is anything to say.
    """

    reader: DialogueReader
    layout: FileLayout
    entries: Sequence[DialogueEntry]
    skipped: Sequence[str] = ()
    acts: str = ""

    def joined(self) -> list[Dialogue]:
        """Return the dialogues, those whose turns are in rows of their own put together."""
        parts: dict[str, list[Dialogue]] = defaultdict(list)
        for entry in self.entries:
            parts[entry.dialogue.id].append(entry.dialogue)
        return [rows[0] if len(rows) == 1 else _merge_rows(rows) for rows in parts.values()]

    def booked(self) -> dict[str, list[frozenset[str]]]:
        """Return the domains that are booked after each system turn, where annotations tell."""
        return {
            entry.dialogue.id: find_booked_domains(log, entry.dialogue.id)
            for entry in self.entries
            if (log := entry.record.get("log")) and any(turn.get("metadata") for turn in log)
        }

    def text(self, texts: Mapping[TurnKey, str]) -> Iterator[str]:
        """Yield the corpus as it is written, with some of its system turns replaced.

        JSON Lines stay that, and lines without a change stay as they are; of an object or a list
        each dialogue is on one line.
        """
        by_id: dict[str, dict[int, str]] = defaultdict(dict)
        for (name, index), text in texts.items():
            by_id[name][index] = text
        edges = {"lines": ("", "\n"), "array": ("[\n", "\n]\n"), "object": ("{\n", "\n}\n")}
        start, end = edges[self.layout]
        yield start
        for number, entry in enumerate(self.entries):
            if number:
                yield "\n" if self.layout == "lines" else ",\n"
            yield self._written(entry, by_id.get(entry.dialogue.id, {}))
        yield end

    def _written(self, entry: DialogueEntry, texts: Mapping[int, str]) -> str:
        own = {turn.index for turn in entry.dialogue.turns if turn.role == "assistant"}
        record, changes = entry.record, sorted(own & texts.keys())
        if entry.raw is not None and not changes:
            return entry.raw
        for index in changes:
            record = self.reader.replaced(record, index, texts[index])
        if self.layout != "object":
            return dumps(record)
        if record.get("dialogue_id") == entry.key:
            record = {name: value for name, value in record.items() if name != "dialogue_id"}
        return f"{dumps(entry.key)}: {dumps(record)}"


def _merge_rows(rows: Sequence[Dialogue]) -> Dialogue:
    """Return the dialogue whose turns are in several rows; what is in two counts once."""
    turns = {turn.index: turn for row in rows for turn in row.turns if turn.role == "user"}
    turns |= {turn.index: turn for row in rows for turn in row.turns if turn.role == "assistant"}
    return Dialogue(rows[0].id, tuple(turns[index] for index in sorted(turns)), rows[0].goal)


def read_dialogues(source: str, form: str | None = None) -> DialogueCorpus:
    """Return the dialogues of a file, a zip archive, a folder or a pattern.

    ``form`` is the name of a reader; without, it is recognised. A record without an id is named by
    its number, and a row whose dialogue has another row at the same turn by both: ``id#2``. Raises
    `RecipeError` for a format that is not known, and `CorpusError` for what is no corpus of
    dialogues, naming the first record that cannot be read.
    """
    if form is not None and form not in READERS:
        raise RecipeError(f"no format of dialogues '{shorten(form)}'; there: {', '.join(READERS)}")
    named = READERS[form] if form is not None else None
    files = find_sources(source)
    contents = [one for file in files for one in _read_contents(file)]
    noted = [one for one in contents if ALL_ACT_FILES.has(one[0])] if len(contents) > 1 else []
    parts, others = _parse_files([one for one in contents if one not in noted])
    kept = [part for part in parts if len(parts) == 1 or _detect_file_reader(part, named)]
    reader = named or next(filter(None, (_detect_file_reader(part) for part in kept)), None)
    if reader is None:
        raise _unknown_format_error(source, parts)
    acts = ActFiles.of(reader.name)
    others += [name for name, _ in noted if not acts.has(name)]
    noted = noted or [one for file in find_act_files(files, acts) for one in _read_contents(file)]
    entries = [entry for part in kept for entry in part.entries]
    layouts = {part.layout for part in kept}
    return DialogueCorpus(
        reader,
        layouts.pop() if len(layouts) == 1 else "lines",
        _make_ids_unique(_read_entries([*_attach_acts(entries, noted, acts)], reader)),
        sorted([*others, *(part.name for part in parts if part not in kept)]),
        acts.summary(),
    )


def _attach_acts(
    entries: Sequence[DialogueEntry], noted: Sequence[tuple[str, bytes]], acts: ActFiles
) -> Iterator[DialogueEntry]:
    """Yield the entries with the acts that files of acts have of them."""
    known: dict[str, str] = {}
    for name, data in noted:
        if acts.has(name):
            acts.load(name, io.BytesIO(data), known)
    for entry in entries:
        record = acts.with_acts(entry.record, known)
        yield entry if record is entry.record else entry._replace(record=record, raw=None)


def _unknown_format_error(source: str, parts: Sequence[DialogueFile]) -> CorpusError:
    first = next((entry.record for part in parts for entry in part.entries), {})
    columns = shorten(", ".join(map(str, first)), 200) or "none"
    return CorpusError(
        f"no task-oriented dialogues in {shorten(source)}: its columns are {columns}. Name their "
        f"format with --format: {', '.join(READERS)}"
    )


def _detect_file_reader(
    part: DialogueFile, named: DialogueReader | None = None
) -> DialogueReader | None:
    """Return the reader that most of a file's records fit; only the named one if there is one."""
    records = [entry.record for entry in part.entries[:DETECTION_RECORDS]]
    if named is not None:
        return named if any(map(named.fits, records)) else None
    counts = Counter(reader.name for record in records if (reader := detect_reader(record)))
    return READERS[counts.most_common(1)[0][0]] if counts else None


def _read_entries(entries: Sequence[DialogueEntry], reader: DialogueReader) -> list[DialogueEntry]:
    """Return the entries with their dialogues; raise `CorpusError` if one cannot be read."""
    read, wrong = [], []
    for number, entry in enumerate(entries, start=1):
        try:
            dialogue = _drop_earlier_responses(entry.record, reader.read(entry.record))
        except ReadingError as error:
            wrong.append(f"{entry.at}: {error}")
        else:
            known = dialogue if dialogue.id else replace(dialogue, id=str(number))
            read.append(entry._replace(dialogue=known))
    if wrong:
        raise CorpusError(
            f"{wrong[0]}. {len(wrong):,} of {len(entries):,} records cannot be read as "
            f"{reader.name}; mend them or take them out"
        )
    return read


def _drop_earlier_responses(record: Mapping[str, Any], dialogue: Dialogue) -> Dialogue:
    """Return a row's dialogue with no system turn but its response: the rest is history."""
    if "messages" in record or "response" not in record:
        return dialogue
    last = dialogue.turns[-1]
    turns = tuple(turn for turn in dialogue.turns if turn.role == "user" or turn is last)
    return replace(dialogue, turns=turns)


def _make_ids_unique(entries: Sequence[DialogueEntry]) -> list[DialogueEntry]:
    """Return the entries so that no two system turns have one id and index."""
    groups: dict[str, list[int]] = defaultdict(list)
    for place, entry in enumerate(entries):
        groups[normalize_id(entry.dialogue.id)].append(place)
    told = list(entries)
    for places in groups.values():
        some = [entries[place] for place in places]
        if len(some) > 1 and any("response" not in entry.record for entry in some):
            raise CorpusError(
                f"dialogue {shorten(some[0].dialogue.id, 60)} is there twice: "
                f"{some[0].at} and {some[1].at}; give each an id of its own"
            )
        turns = [system_turns(entry.dialogue)[-1].index for entry in some] if len(some) > 1 else []
        if len(set(turns)) < len(turns):
            for number, (place, entry) in enumerate(zip(places, some, strict=True), start=1):
                name = f"{entry.dialogue.id}#{number}"
                told[place] = entry._replace(dialogue=replace(entry.dialogue, id=name))
    return told


# From bytes to records.


def _read_contents(file: SourceFile) -> list[tuple[str, bytes]]:
    """Return the contents of a file, of an archive those of each of its data files."""
    if file.name.startswith("hf://"):
        raise CorpusError(f"{shorten(file.name)}: dialogues are read from files, not from a hub")
    with open_source(file) as (data, _):
        return [(name, inner.read()) for name, inner in open_members(file.name, data, _is_not_data)]


def _is_not_data(name: str) -> bool:
    return not name.lower().endswith(DATA_SUFFIXES)


def _parse_files(contents: Sequence[tuple[str, bytes]]) -> tuple[list[DialogueFile], list[str]]:
    """Return the files' records, and which files are something else that lies beside them."""
    parts, others = [], []
    for name, data in contents:
        try:
            text = data.decode("utf-8-sig")
            parts.append(
                _parse_document(name, text)
                or DialogueFile(name, "lines", list(_parse_lines(name, text)))
            )
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"{name}: invalid UTF-8 at byte {error.start + 1}; dialogues are read from JSON, "
                "JSON Lines or a zip of them"
            ) from None
        except NoDialoguesError:
            if len(contents) == 1:
                raise
            others.append(name)
    return parts, others


def _parse_document(name: str, text: str) -> DialogueFile | None:
    """Return the records of a file that is one JSON document; None if it is lines of them."""
    if not text.strip():
        raise NoDialoguesError(f"{name} is empty; wanted dialogues as JSON or JSON Lines")
    try:
        document = parse_json(text)
    except json.JSONDecodeError as error:
        if "\n" in text.strip() and text.lstrip()[:1] == "{" and error.msg == "Extra data":
            return None
        line = text.count("\n", 0, error.pos) + 1
        wrong = CorpusError if text.lstrip()[0] in "[{" else NoDialoguesError
        raise wrong(f"{name} line {line}: broken JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{name} cannot be read as JSON: {shorten(str(error))}") from None
    if isinstance(document, dict) and detect_reader(document):
        return DialogueFile(name, "lines", [DialogueEntry(f"{name} line 1", document)])
    try:
        records = list(iter_records(document))
    except ReadingError as error:
        raise NoDialoguesError(f"{name} holds no dialogues: {error}") from None
    if isinstance(document, list):
        found = enumerate(records, start=1)
        return DialogueFile(
            name, "array", [DialogueEntry(f"{name} record {i}", one) for i, one in found]
        )
    keyed = zip(document, records, strict=True)
    return DialogueFile(
        name,
        "object",
        [DialogueEntry(f"{name} '{shorten(key, 60)}'", one, key) for key, one in keyed],
    )


def _parse_lines(name: str, text: str) -> Iterator[DialogueEntry]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            at = f"{name} line {number}"
            record = _parse_json(at, line)
            if not isinstance(record, dict):
                raise CorpusError(f"{at}: JSON that is no object; wanted a record of dialogue")
            yield DialogueEntry(at, record, raw=line.removesuffix("\r"))


def _parse_json(at: str, line: str) -> Any:
    try:
        return parse_json(line)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{at}: broken JSON: {shorten(str(error))}") from None


# The truth of a pollution.


def read_truth_file(path: Path) -> tuple[Injection, ...]:
    """Return the truth that ``isaac pollute --truth`` wrote; raise `CorpusError` if it is none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise CorpusError(f"{path} is no truth of a pollution: it is not text in UTF-8") from None
    rows = [
        _parse_json(f"{path} line {number}", line)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    try:
        return parse_truth(rows)
    except CorpusError as error:
        raise CorpusError(f"{path}: {error}") from None
