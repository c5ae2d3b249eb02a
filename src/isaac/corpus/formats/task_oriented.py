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
from ..dialogue.delexicalization import delexicalize, lexicalize, slots_of
from ..dialogue.placeholders import NO_DOMAIN
from ..dialogue.readers import READERS
from ..dialogue.schema import Dialogue
from ..dialogue.schema import Turn as Said
from ..dialogue.validation import ReadingError
from ..dialogue.value_lexicon import Lexicon
from .base import SURROGATE, Message, RowError, Turn, assistant_turns
from .messages import ROLES

ACT = "act"
"""What stands for a column in ``group_by``: the acts and the slots that a turn's text names."""

KIND = "~"
"""What stands before the number of a kind of turns, in the place of acts."""

BAR = " | "
"""What stands between the acts and the slots of a group."""


@dataclass(frozen=True)
class Dialogues:
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

    def turns(self, record: Mapping[str, Any]) -> list[Turn]:
        """Return every system turn that answers something, without its values.

        Before it stands what was said, in its own words.
        """
        turns = self.read(record).turns
        said = {turn.index: Message(turn.role, turn.text) for turn in turns}
        by_index = {turn.index: turn for turn in turns}
        editable = {turn.index for turn in turns if turn.text.strip()}
        every = sorted({**dict(_unread(record)), **said}.items())
        return [
            self._without_values(turn, by_index[turn.index])
            for turn in assistant_turns(every, editable)
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

    def _without_values(self, turn: Turn, said: Said) -> Turn:
        """Return the turn without its values; its group is its acts and the slots that it names."""
        template = delexicalize(said, self.lexicon)
        group = f"{act_string(said.acts).lstrip(KIND)}{BAR}{' '.join(slots_of(template))}"
        if not group.isascii() and SURROGATE.search(group):
            raise RowError(f"the acts of turn {turn.index} are not valid Unicode")
        return dataclasses.replace(
            turn, response=template.text, group=group, values=template.values
        )


def filled(response: str, values: Mapping[str, Sequence[str]]) -> str:
    """Return a response with the values of a turn; raise `CorpusError` if it lacks one."""
    text = lexicalize(response, values)
    if text is None:
        lacking = ", ".join(slot for slot in slots_of(response) if slot not in values)
        raise CorpusError(
            f"a response names {lacking}, of which its turn has no value; "
            f"there: {', '.join(values) or 'none'}. Draw within group_by '{ACT}'"
        )
    return text


def _unread(record: Mapping[str, Any]) -> Iterator[tuple[int, Message]]:
    """Yield the messages of a plain record; most are turns, not a prompt, a call or its result."""
    messages = record.get("messages")
    for index, message in enumerate(messages if isinstance(messages, list) else []):
        role = ROLES.get(str(message.get("role")).lower()) if isinstance(message, Mapping) else None
        content = message.get("content") if role else None
        if role:
            yield index, Message(role, content if isinstance(content, str) else "")


DIALOGUES: dict[str, Dialogues] = {name: Dialogues(name) for name in READERS}
"""Every layout of task-oriented dialogues by its name."""


def values_of(name: str, records: Iterable[Mapping[str, Any]]) -> Lexicon:
    """Return the values that a corpus's own records note, those that cannot be read left out."""
    form = DIALOGUES[name]

    def readable() -> Iterator[Dialogue]:
        for record in records:
            with suppress(RowError):
                yield form.read(record)

    return Lexicon.of(readable())


def values_in(folder: str | Path) -> Lexicon:
    """Return the values in a database's folder, or in ``db`` in it.

    Raises `CorpusError` where there are none.
    """
    place = Path(folder)
    return Lexicon.read(place / "db" if (place / "db").is_dir() else place)


def beside(name: str) -> bool:
    """Say whether a file of a release has no dialogues: acts, lists, its database or ontology."""
    path = PurePosixPath(name.lower())
    stem = path.name.partition(".")[0]
    return (
        "db" in path.parts[:-1]
        or stem.endswith(("_db", "_acts", "listfile"))
        or stem in {"ontology", "schema", "slot_descriptions", "readme"}
    )


def of_kind(kind: int, group: str) -> str:
    """Return the group of a turn whose acts are not known, but what kind of turn it is."""
    return f"{KIND}{kind}{group}"


def kind_of(group: str) -> int | None:
    """Return what kind of turn a group has in the place of acts, None for any other group."""
    found = re.fullmatch(rf"{KIND}(\d+)", acts_of(group))
    return int(found[1]) if found else None


def acts_known(group: str) -> bool:
    """Say whether the acts of a group are those that its corpus notes."""
    return bool(acts_of(group)) and kind_of(group) is None


def acts_of(group: str) -> str:
    """Return the acts of a turn's group, ``general-reqmore+hotel-inform-area``; empty if none."""
    return group.rpartition(BAR)[0]


def domains_of(group: str) -> frozenset[str]:
    """Return the domains that the acts of a group are about, none where they are not known."""
    if not acts_known(group):
        return frozenset()
    return frozenset(act.partition("-")[0] for act in acts_of(group).split("+")) - NO_DOMAIN - {""}


def slots_in(group: str) -> tuple[str, ...]:
    """Return the slots that the responses of a group name, sorted."""
    return tuple(group.rpartition(BAR)[2].split())


def acting(context: str, group: str) -> str:
    """Return a context with the acts of its response, as a rephraser is given them."""
    return f"{context}\nacts: {acts_of(group)}" if acts_known(group) else context
