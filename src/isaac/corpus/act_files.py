"""Attach dialogue acts to dialogues when a MultiWOZ release keeps them in a separate file."""

from __future__ import annotations

import json
import os
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, BinaryIO

from ..errors import CorpusError
from ..text import shorten
from .dialogue.multiwoz import ACTS_COLUMN
from .json_stream import read_keyed_objects
from .records import ParsedRecord, dumps
from .sources import ARCHIVE_SUFFIX, SourceFile, find_sources

ACT_FILE_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "multiwoz20": ("dialogue_acts", "system_acts"),
        "multiwoz21": ("dialogue_acts", "system_acts"),
        "multiwoz24": ("dialogue_acts", "system_acts"),
        "multiwoz22": ("dialog_acts",),
    }
)
"""Names of the act files, without ``.json``, of each format that has any."""


@dataclass(frozen=True)
class ActFiles:
    """The act files of an input, and which dialogues got acts from them.

    ``names`` are the file names to look for, without ``.json``. ``files_read`` has the names of the
    act files read so far, in order. The other sets hold the ids of the dialogues whose records have
    no acts: ``matched`` if they got acts from a file, ``missing`` if no file has their acts, and
    ``mismatched`` if a file has acts for turns that the dialogue lacks. A mismatched dialogue gets
    no acts, because its other turns may be numbered differently too.
    """

    names: tuple[str, ...]
    files_read: dict[str, None] = field(default_factory=dict)
    matched: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    mismatched: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, format_name: str | None) -> ActFiles:
        """The act files of a format; without ``names`` if the format has none."""
        return cls(ACT_FILE_NAMES.get(format_name or "", ()))

    def has(self, name: str) -> bool:
        """Whether a file is an act file, judged by its name."""
        return PurePosixPath(name.lower()).name.partition(".")[0] in self.names

    def make_skip_filter(self, is_auxiliary: Callable[[str], bool]) -> Callable[[str], bool]:
        """Build a filter for the names of files to skip: auxiliary ones, except these act files."""
        return lambda name: is_auxiliary(name) and not self.has(name)

    def load(self, name: str, file: BinaryIO, acts_by_id: dict[str, str]) -> None:
        """Read an act file into ``acts_by_id``: dialogue id to the JSON of the dialogue's acts.

        Raises `CorpusError` if the file is damaged, or contradicts acts that were loaded before.
        """
        head = file.read(4096)
        start = len(BOM_UTF8) if head.startswith(BOM_UTF8) else 0
        file.seek(start)
        if not head[start:].lstrip().startswith(b"{"):
            raise CorpusError(
                f"{name} is not a JSON object of dialogue ids and their acts; download it again"
            )
        for key, record in read_keyed_objects(name, file):
            place = f"{name} line {record.line}: the acts of '{shorten(key, 60)}'"
            if record.value is None:
                raise CorpusError(f"{place} cannot be used: {record.problem}; fix them in the file")
            text = dumps(record.value)
            if acts_by_id.setdefault(_strip_json_suffix(key), text) != text:
                raise CorpusError(f"{place} appear twice and differ; remove one of the two")
        self.files_read[name] = None

    def attach(
        self, records: Iterator[ParsedRecord], acts_by_id: Mapping[str, str]
    ) -> Iterator[ParsedRecord]:
        """Yield the records, each dialogue with its acts from the act files."""
        for record in records:
            if record.value is None:
                yield record
            else:
                yield record._replace(value=self.with_acts(record.value, acts_by_id))

    def with_acts(self, record: dict[str, Any], acts_by_id: Mapping[str, str]) -> dict[str, Any]:
        """Add the dialogue's acts as the column `ACTS_COLUMN`, unless the record has acts already.

        Also adds the dialogue to ``matched``, ``missing`` or ``mismatched``. If there is nothing to
        add to the record, the result is the record itself.
        """
        turns = _find_turn_ids(record) if self.names else None
        if turns is None:
            return record
        dialogue = _strip_json_suffix(str(record.get("dialogue_id") or record.get("id")))
        acts = json.loads(acts_by_id.get(dialogue, "null"))
        if acts is None:
            self.missing.add(dialogue)
            return record
        if not acts.keys() <= turns:
            self.mismatched.add(dialogue)
            return record
        self.matched.add(dialogue)
        return {**record, ACTS_COLUMN: acts}

    def summary(self) -> str:
        """Describe how many dialogues got acts and how many did not; empty if none needed any."""
        parts = []
        if self.files_read and self.matched:
            dialogues = _format_dialogue_count(self.matched)
            parts.append(f"read the acts of {dialogues} from {', '.join(self.files_read)}")
        if self.missing:
            names = " or ".join(f"{name}.json" for name in self.names)
            reason = "not in the act files" if self.files_read else f"no {names} next to them"
            parts.append(f"{_format_dialogue_count(self.missing)} without acts: {reason}")
        if self.mismatched:
            dialogues = _format_dialogue_count(self.mismatched)
            parts.append(f"{dialogues} without acts: the act files number their turns differently")
        return "; ".join(parts)


ALL_ACT_FILES = ActFiles(tuple(name for names in ACT_FILE_NAMES.values() for name in names))
"""The act files of all formats."""


def find_sources_with_acts(source: str, format_name: str | None) -> list[SourceFile]:
    """Find the files of an input and the act files next to it, act files first."""
    files, acts = find_sources(source), ActFiles.of(format_name)
    return sorted([*files, *find_act_files(files, acts)], key=lambda file: not acts.has(file.name))


def find_act_files(files: Sequence[SourceFile], acts: ActFiles) -> list[SourceFile]:
    """Find the act files in the folder of an input's dialogues, or else in its parent folder.

    The parent matters for MultiWOZ 2.2: its dialogues are in ``train``, ``dev`` and ``test``, and
    their acts in the folder above. Finds none if the input itself includes an act file or an
    archive, or has a file that is not local.
    """
    paths = [file.path.absolute() for file in files if file.path]
    may_include_acts = any(
        acts.has(file.name) or file.name.lower().endswith(ARCHIVE_SUFFIX) for file in files
    )
    if may_include_acts or len(paths) < len(files):
        return []
    base = Path(os.path.commonpath([path.parent for path in paths]))
    for prefix, folder in (("", base), ("../", base.parent)):
        names = [f"{name}.json" for name in acts.names if (folder / f"{name}.json").is_file()]
        if names:
            return [SourceFile(prefix + name, folder / name) for name in names]
    return []


def _strip_json_suffix(dialogue: str) -> str:
    return dialogue.removesuffix(".json")


def _format_dialogue_count(dialogues: set[str]) -> str:
    return f"{len(dialogues):,} dialogue{'s' if len(dialogues) != 1 else ''}"


def _find_turn_ids(record: Mapping[str, Any]) -> set[str] | None:
    """The ids that an act file may use for a dialogue's turns.

    For a ``log`` (2.0, 2.1, 2.4), the ids number the system turns from 1; for ``turns`` (2.2), they
    are the ids in the turns. None if the record is not a dialogue or already has acts.
    """
    log = record.get("log")
    turns = log if isinstance(log, list) else record.get("turns")
    if not isinstance(turns, list) or not turns or record.get(ACTS_COLUMN) is not None:
        return None
    if any(not isinstance(turn, Mapping) or "dialog_act" in turn for turn in turns):
        return None
    if isinstance(log, list):
        return {str(number) for number in range(1, len(turns) // 2 + 1)}
    return {str(turn.get("turn_id", index)) for index, turn in enumerate(turns)}
