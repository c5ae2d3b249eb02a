"""Task-oriented dialogues: responses without their values, filled with a turn's own again."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import CorpusError
from ..dialogue.acts import act_string
from ..dialogue.delexicalization import delexicalize, lexicalize, template_slots
from ..dialogue.placeholders import NON_DOMAINS
from ..dialogue.readers import READERS
from ..dialogue.schema import Dialogue, DialogueTurn
from ..dialogue.validation import ReadingError
from ..dialogue.value_lexicon import Lexicon
from .base import SURROGATE, CorpusTurn, Message, RowError, find_assistant_turns
from .messages import MESSAGE_ROLES

GROUP_BY_ACT = "act"
"""What stands for a column in ``group_by``: the acts and the slots that a turn's text names."""

INDUCED_ACT_PREFIX = "~"
"""What stands before the number of a kind of turns, in the place of acts."""

GROUP_SEPARATOR = " | "
"""What stands between the acts and the slots of a group."""


@dataclass(frozen=True)
class TaskOrientedFormat:
    """Dialogues in one of the layouts of `READERS`, by its name.

    ``lexicon`` has the values that can stand in texts without being noted; it decides what is
    read, and no more is needed of it once that is done.
    """

    name: str
    lexicon: Lexicon = field(default=Lexicon(), repr=False)

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Say whether the record has this layout's columns, whatever is in them.

        Rows of context and response are also fit for other formats, acts or not: of plain
        records only messages with acts are recognised.
        """
        return ("messages" in record or self.name != "dialogue") and READERS[self.name].fits(record)

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Return every system turn that answers something, without its values.

        Before it stands what was said, in its own words.
        """
        turns = self.read(record).turns
        said = {turn.index: Message(turn.role, turn.text) for turn in turns}
        by_index = {turn.index: turn for turn in turns}
        editable = {turn.index for turn in turns if turn.text.strip()}
        every = sorted({**dict(_read_plain_messages(record)), **said}.items())
        return [
            self._delexicalize_turn(turn, by_index[turn.index])
            for turn in find_assistant_turns(every, editable)
        ]

    def replace(self, record: Mapping[str, Any], index: int, response: str) -> dict[str, Any]:
        """Return the record with one system turn's text replaced, and the places in it."""
        try:
            return READERS[self.name].replaced(record, index, response)
        except ReadingError as error:
            raise RowError(str(error)) from None

    def read(self, record: Mapping[str, Any]) -> Dialogue:
        """Return the record's dialogue; raise `RowError` if it cannot be read as one."""
        try:
            return READERS[self.name].read(record)
        except ReadingError as error:
            raise RowError(str(error)) from None

    def _delexicalize_turn(self, turn: CorpusTurn, said: DialogueTurn) -> CorpusTurn:
        """Return the turn without its values; its group is its acts and the slots that it names."""
        template = delexicalize(said, self.lexicon)
        group = f"{act_string(said.acts).lstrip(INDUCED_ACT_PREFIX)}{GROUP_SEPARATOR}{' '.join(template_slots(template))}"
        if not group.isascii() and SURROGATE.search(group):
            raise RowError(f"the acts of turn {turn.index} are not valid Unicode")
        return dataclasses.replace(
            turn, response=template.text, group=group, values=template.values
        )


def fill_placeholders(response: str, values: Mapping[str, Sequence[str]]) -> str:
    """Return a response with the values of a turn; raise `CorpusError` if it lacks one."""
    text = lexicalize(response, values)
    if text is None:
        lacking = ", ".join(slot for slot in template_slots(response) if slot not in values)
        raise CorpusError(
            f"a response names {lacking}, of which its turn has no value; "
            f"there: {', '.join(values) or 'none'}. Draw within group_by '{GROUP_BY_ACT}'"
        )
    return text


def _read_plain_messages(record: Mapping[str, Any]) -> Iterator[tuple[int, Message]]:
    """Yield the messages of a plain record; most are turns, not a prompt, a call or its result."""
    messages = record.get("messages")
    for index, message in enumerate(messages if isinstance(messages, list) else []):
        role = (
            MESSAGE_ROLES.get(str(message.get("role")).lower())
            if isinstance(message, Mapping)
            else None
        )
        content = message.get("content") if role else None
        if role:
            yield index, Message(role, content if isinstance(content, str) else "")


TASK_ORIENTED_FORMATS: dict[str, TaskOrientedFormat] = {
    name: TaskOrientedFormat(name) for name in READERS
}
"""Every layout of task-oriented dialogues by its name."""


def lexicon_from_records(name: str, records: Iterable[Mapping[str, Any]]) -> Lexicon:
    """Return the values that a corpus's own records note, those that cannot be read left out."""
    form = TASK_ORIENTED_FORMATS[name]

    def readable() -> Iterator[Dialogue]:
        for record in records:
            with suppress(RowError):
                yield form.read(record)

    return Lexicon.of(readable())


def lexicon_from_database(folder: str | Path) -> Lexicon:
    """Return the values in a database's folder, or in ``db`` in it.

    Raises `CorpusError` where there are none.
    """
    place = Path(folder)
    return Lexicon.read(place / "db" if (place / "db").is_dir() else place)


def is_auxiliary_file(name: str) -> bool:
    """Say whether a file of a release has no dialogues: acts, lists, its database or ontology."""
    path = PurePosixPath(name.lower())
    stem = path.name.partition(".")[0]
    return (
        "db" in path.parts[:-1]
        or stem.endswith(("_db", "_acts", "listfile"))
        or stem in {"ontology", "schema", "slot_descriptions", "readme"}
    )


def induced_group(kind: int, group: str) -> str:
    """Return the group of a turn whose acts are not known, but what kind of turn it is."""
    return f"{INDUCED_ACT_PREFIX}{kind}{group}"


def induced_act_from_group(group: str) -> int | None:
    """Return what kind of turn a group has in the place of acts, None for any other group."""
    found = re.fullmatch(rf"{INDUCED_ACT_PREFIX}(\d+)", acts_from_group(group))
    return int(found[1]) if found else None


def has_known_acts(group: str) -> bool:
    """Say whether the acts of a group are those that its corpus notes."""
    return bool(acts_from_group(group)) and induced_act_from_group(group) is None


def acts_from_group(group: str) -> str:
    """Return the acts of a turn's group, ``general-reqmore+hotel-inform-area``; empty if none."""
    return group.rpartition(GROUP_SEPARATOR)[0]


def domains_from_group(group: str) -> frozenset[str]:
    """Return the domains that the acts of a group are about, none where they are not known."""
    if not has_known_acts(group):
        return frozenset()
    return (
        frozenset(act.partition("-")[0] for act in acts_from_group(group).split("+"))
        - NON_DOMAINS
        - {""}
    )


def slots_from_group(group: str) -> tuple[str, ...]:
    """Return the slots that the responses of a group name, sorted."""
    return tuple(group.rpartition(GROUP_SEPARATOR)[2].split())


def append_acts(context: str, group: str) -> str:
    """Return a context with the acts of its response, as a rephraser is given them."""
    return f"{context}\nacts: {acts_from_group(group)}" if has_known_acts(group) else context
