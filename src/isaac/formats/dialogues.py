"""Task-oriented dialogues: responses without their values, filled with a turn's own again."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..dialogue.acts import act_string
from ..dialogue.fields import ReadingError
from ..dialogue.lexicon import Lexicon, ontologies
from ..dialogue.placeholders import NO_DOMAIN
from ..dialogue.readers import READERS
from ..dialogue.turns import Dialogue, Template
from ..dialogue.turns import Turn as Said
from ..dialogue.values import delexicalize, lexicalize, slots_of
from ..errors import CorpusError
from .base import SURROGATE, Message, RowError, Turn, assistant_turns
from .messages import ROLES

ACT = "act"
"""What stands for a column in ``group_by``: the acts and the slots that a turn's text names."""

BAR = " | "
"""What stands between the acts and the slots of a group."""


@dataclass(frozen=True)
class Dialogues:
    """Dialogues in one of the layouts of `READERS`, by its name.

    ``database`` is the folder of the values that a corpus can speak of, absolute, empty where
    there is none; ``digest`` is what its files were when it was chosen.
    """

    name: str
    database: str = ""
    digest: str = ""

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
        return [turn for turn, _ in self.templates(record)]

    def templates(self, record: Mapping[str, Any]) -> list[tuple[Turn, Template]]:
        """Return every system turn as `turns` does, each with its values."""
        turns = self._read(record).turns
        said = {turn.index: Message(turn.role, turn.text) for turn in turns}
        by_index = {turn.index: turn for turn in turns}
        editable = {turn.index for turn in turns if turn.text.strip()}
        every = sorted({**dict(_unread(record)), **said}.items())
        return [
            self._without_values(turn, by_index[turn.index])
            for turn in assistant_turns(every, editable)
        ]

    def replace(self, record: Mapping[str, Any], index: int, response: str) -> dict[str, Any]:
        """Return the record with one system turn replaced, filled with that turn's own values.

        Raises `CorpusError` if the response names a slot that the turn has no value of.
        """
        return self.replaced(record, {index: response})

    def replaced(self, record: Mapping[str, Any], responses: Mapping[int, str]) -> dict[str, Any]:
        """Return the record with system turns replaced, by their index, as `replace` does."""
        told = self._told(record, responses)
        return self._written(record, ((turn, self._filled(turn, text)) for turn, text in told))

    def said(self, record: Mapping[str, Any], texts: Mapping[int, str]) -> dict[str, Any]:
        """Return the record with system turns replaced, by their index, by texts with values."""
        return self._written(record, self._told(record, texts))

    def _written(
        self, record: Mapping[str, Any], told: Iterable[tuple[Said, str]]
    ) -> dict[str, Any]:
        made = dict(record)
        for turn, text in told:
            if text != turn.text:
                made = READERS[self.name].replaced(made, turn.index, text)
        return made

    def filled(self, record: Mapping[str, Any], responses: Mapping[int, str]) -> dict[int, str]:
        """Return responses by their index in the record, filled with their turns' own values."""
        told = self._told(record, responses)
        return {turn.index: self._filled(turn, response) for turn, response in told}

    def lexicon(self) -> Lexicon:
        """Return the values that a corpus can speak of; raise `CorpusError` if they are others."""
        if not self.database:
            return Lexicon()
        lexicon, digest = lexicon_in(self.database)
        if digest != self.digest:
            raise CorpusError(
                f"the values in {self.database} are not those by which the corpus was read; "
                "put those back, or curate it anew"
            )
        return lexicon

    def _told(
        self, record: Mapping[str, Any], responses: Mapping[int, str]
    ) -> Iterator[tuple[Said, str]]:
        """Yield system turns with responses, by their index in the record."""
        turns = {turn.index: turn for turn in self._read(record).turns if turn.role == "assistant"}
        for index, response in responses.items():
            if index not in turns:
                raise RowError(f"turn {index} is no turn of the system")
            yield turns[index], response

    def _read(self, record: Mapping[str, Any]) -> Dialogue:
        try:
            return READERS[self.name].read(record)
        except ReadingError as error:
            raise RowError(str(error)) from None

    def _template(self, turn: Said) -> Template:
        return delexicalize(turn, self.lexicon())

    def _without_values(self, turn: Turn, said: Said) -> tuple[Turn, Template]:
        """Return the turn without its values; its group is its acts and the slots that it names."""
        template = self._template(said)
        group = f"{act_string(said.acts)}{BAR}{' '.join(slots_of(template))}"
        if not group.isascii() and SURROGATE.search(group):
            raise RowError(f"the acts of turn {turn.index} are not valid Unicode")
        return dataclasses.replace(turn, response=template.text, group=group), template

    def _filled(self, turn: Said, response: str) -> str:
        values = self._template(turn).values
        text = lexicalize(response, values)
        if text is None:
            lacking = ", ".join(slot for slot in slots_of(response) if slot not in values)
            raise CorpusError(
                f"turn {turn.index} has no value of {lacking}, which the response for it names; "
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


def with_database(form: Dialogues, folder: str) -> Dialogues:
    """Return the format with the values in a folder, or in ``db`` in it.

    Raises `CorpusError` where there are none.
    """
    place = str(Path(folder).absolute())
    return dataclasses.replace(form, database=place, digest=lexicon_in(place)[1])


@functools.lru_cache(maxsize=4)
def lexicon_in(folder: str) -> tuple[Lexicon, str]:
    """Return the values of a database and a digest of its files."""
    place = Path(folder)
    if (place / "db").is_dir():
        place = place / "db"
    lexicon, known = Lexicon.read(place), hashlib.sha256()
    for file in (*sorted(place.glob("*_db.json")), *ontologies(place)):
        known.update(file.read_bytes())
    return lexicon, known.hexdigest()


def beside(name: str) -> bool:
    """Say whether a file of a release has no dialogues: acts, lists, its database or ontology."""
    path = PurePosixPath(name.lower())
    stem = path.name.partition(".")[0]
    return (
        "db" in path.parts[:-1]
        or stem.endswith(("_db", "_acts", "listfile"))
        or stem in {"ontology", "schema", "slot_descriptions", "readme"}
    )


def acts_of(group: str) -> str:
    """Return the acts of a turn's group, ``general-reqmore+hotel-inform-area``; empty if none."""
    return group.rpartition(BAR)[0]


def domains_of(group: str) -> frozenset[str]:
    """Return the domains that the acts of a group are about."""
    return frozenset(act.partition("-")[0] for act in acts_of(group).split("+")) - NO_DOMAIN - {""}


def slots_in(group: str) -> tuple[str, ...]:
    """Return the slots that the responses of a group name, sorted."""
    return tuple(group.rpartition(BAR)[2].split())


def acting(context: str, group: str) -> str:
    """Return a context with the acts of its response, as a rephraser is given them."""
    return f"{context}\nacts: {acts}" if (acts := acts_of(group)) else context
