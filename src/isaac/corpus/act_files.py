"""Dialogue acts that a release has in a file of their own, put into its dialogues' records."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, BinaryIO

from ..errors import CorpusError
from ..text import shorten
from .dialogue.multiwoz import ACTS_COLUMN
from .files import ARCHIVE_SUFFIX, SourceFile, find_sources
from .json_stream import read_keyed_objects
from .records import ParsedRecord, dumps

ACT_FILE_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "multiwoz20": ("dialogue_acts", "system_acts"),
        "multiwoz21": ("dialogue_acts", "system_acts"),
        "multiwoz24": ("dialogue_acts", "system_acts"),
        "multiwoz22": ("dialog_acts",),
    }
)
"""What files of acts are called by the formats that have some, without ``.json``."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class ActFiles:
    """The files of acts of an input: what they are called, and what became of them.

    Files come into ``read``. A dialogue with no acts of its own is, by its id, in ``found`` if it
    got some, in ``lacking`` if no file has any, and in ``mismatched`` if a file has acts of turns that
    it has not: then it cannot be told whose the others are, and it gets none.
    """

    names: tuple[str, ...]
    read: dict[str, None] = field(default_factory=dict)
    found: set[str] = field(default_factory=set)
    lacking: set[str] = field(default_factory=set)
    mismatched: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, form: str | None) -> ActFiles:
        """Return those of a format, none for one that has no such files."""
        return cls(ACT_FILE_NAMES.get(form or "", ()))

    def has(self, name: str) -> bool:
        """Say whether a file is one of acts, by its name."""
        return PurePosixPath(name.lower()).name.partition(".")[0] in self.names

    def make_skip_filter(self, beside: Callable[[str], bool]) -> Callable[[str], bool]:
        """Return what knows the files that hold neither dialogues nor these acts."""
        return lambda name: beside(name) and not self.has(name)

    def take(self, name: str, file: BinaryIO, known: dict[str, str]) -> None:
        """Read a file of acts into ``known``: the JSON of a dialogue's acts by its id.

        Raises `CorpusError` if it is damaged, or says something else of a dialogue than is known.
        """
        head = file.read(4096)
        file.seek(len(BYTE_ORDER_MARK) if head.startswith(BYTE_ORDER_MARK) else 0)
        if not head.removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"{"):
            raise CorpusError(f"{name} is no object of dialogues and their acts; fetch it again")
        for key, record in read_keyed_objects(name, file):
            place = f"{name} line {record.line}: the acts of '{shorten(key, 60)}'"
            if record.value is None:
                raise CorpusError(f"{place} cannot be used: {record.problem}; mend it there")
            text = dumps(record.value)
            if known.setdefault(_strip_json_suffix(key), text) != text:
                raise CorpusError(f"{place} stand twice and differ; take one of them out")
        self.read[name] = None

    def joined(
        self, records: Iterator[ParsedRecord], known: Mapping[str, str]
    ) -> Iterator[ParsedRecord]:
        """Yield the records of dialogues with the acts that are known of them."""
        for record in records:
            value = record.value
            yield record if value is None else record._replace(value=self.with_acts(value, known))

    def with_acts(self, record: dict[str, Any], known: Mapping[str, str]) -> dict[str, Any]:
        """Return a record with the known acts as its column `ACTS_COLUMN`; the same if it has its own."""
        turns = _find_turn_ids(record) if self.names else None
        if turns is None:
            return record
        number = _strip_json_suffix(str(record.get("dialogue_id") or record.get("id")))
        acts = json.loads(known.get(number, "null"))
        fits = acts is not None and acts.keys() <= turns
        (self.lacking if acts is None else self.found if fits else self.mismatched).add(number)
        return {**record, ACTS_COLUMN: acts} if fits else record

    def told(self) -> str:
        """Return what became of the files and the dialogues, empty where none needed any."""
        said = []
        if self.read and self.found:
            said.append(
                f"acts of {_format_dialogue_count(self.found)} read from {', '.join(self.read)}"
            )
        if self.lacking:
            names = " or ".join(f"{name}.json" for name in self.names)
            where = " there" if self.read else f", and no {names} lies with them"
            said.append(f"{_format_dialogue_count(self.lacking)} without acts{where}")
        if self.mismatched:
            said.append(
                f"{_format_dialogue_count(self.mismatched)} without acts, since those there name other turns"
            )
        return "; ".join(said)


ALL_ACT_FILES = ActFiles(tuple(name for names in ACT_FILE_NAMES.values() for name in names))
"""Files of acts of any format."""


def find_sources_with_acts(source: str, form: str | None) -> list[SourceFile]:
    """Return the files of an input, those of acts first, as `find_sources` or `find_act_files`."""
    files, acts = find_sources(source), ActFiles.of(form)
    return sorted([*files, *find_act_files(files, acts)], key=lambda file: not acts.has(file.name))


def find_act_files(files: Sequence[SourceFile], acts: ActFiles) -> list[SourceFile]:
    """Return the files of acts in the folder of an input's dialogues, or in that above it.

    None if the input has some itself or is no plain file: 2.2 has its dialogues in ``train``,
    ``dev`` and ``test``, and their acts above these.
    """
    paths = [file.path.absolute() for file in files if file.path]
    whole = any(acts.has(file.name) or file.name.lower().endswith(ARCHIVE_SUFFIX) for file in files)
    if whole or len(paths) < len(files):
        return []
    base = Path(os.path.commonpath([path.parent for path in paths]))
    for above, folder in (("", base), ("../", base.parent)):
        there = [name for name in acts.names if (folder / f"{name}.json").is_file()]
        if there:
            return [SourceFile(f"{above}{name}.json", folder / f"{name}.json") for name in there]
    return []


def _strip_json_suffix(dialogue: str) -> str:
    return dialogue.removesuffix(".json")


def _format_dialogue_count(dialogues: set[str]) -> str:
    return f"{len(dialogues):,} dialogue{'s' if len(dialogues) != 1 else ''}"


def _find_turn_ids(record: Mapping[str, Any]) -> set[str] | None:
    """Return the turns that a file of acts can name; None for what has acts or is no dialogue."""
    log, turns = record.get("log"), record.get("turns")
    many = log if isinstance(log, list) else turns if isinstance(turns, list) else []
    own = any(not isinstance(turn, Mapping) or "dialog_act" in turn for turn in many)
    if record.get(ACTS_COLUMN) is not None or own or not many:
        return None
    if many is log:
        return {str(number) for number in range(1, len(many) // 2 + 1)}
    return {str(turn.get("turn_id", index)) for index, turn in enumerate(many)}
