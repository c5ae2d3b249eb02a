"""Task-oriented dialogues: responses without their values, filled with a turn's own again."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..dialogue.acts import act_string
from ..dialogue.fields import ReadingError
from ..dialogue.lexicon import Lexicon, ontologies
from ..dialogue.readers import READERS
from ..dialogue.turns import Dialogue, Template
from ..dialogue.turns import Turn as Said
from ..dialogue.values import delexicalize, lexicalize, slots_of
from ..errors import CorpusError
from .base import SURROGATE, Message, RowError, Turn, assistant_turns
from .messages import ROLES

ACT = "act"
"""What stands for a column in ``group_by``: the acts and the slots that a turn's text names."""


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
        made, fill = dict(record), self.filler(record)
        for index, response in responses.items():
            text = fill(index, response)
            if text != fill.turns[index].text:
                made = READERS[self.name].replaced(made, index, text)
        return made

    def filler(self, record: Mapping[str, Any]) -> Filler:
        """Return what fills responses with the values of the record's turns."""
        turns = self._read(record).turns
        return Filler(self, {turn.index: turn for turn in turns if turn.role == "assistant"})

    def _read(self, record: Mapping[str, Any]) -> Dialogue:
        try:
            return READERS[self.name].read(record)
        except ReadingError as error:
            raise RowError(str(error)) from None

    def template(self, turn: Said) -> Template:
        """Return a turn's text without its values, and these."""
        lexicon = Lexicon()
        if self.database:
            lexicon, digest = lexicon_in(self.database)
            if digest != self.digest:
                raise CorpusError(
                    f"the values in {self.database} are not those by which the corpus was read; "
                    "put those back, or curate it anew"
                )
        return delexicalize(turn, lexicon)

    def _without_values(self, turn: Turn, said: Said) -> Turn:
        """Return the turn without its values; its group is its acts and the slots that it names."""
        template = self.template(said)
        group = f"{act_string(said.acts)} | {' '.join(slots_of(template))}"
        if not group.isascii() and SURROGATE.search(group):
            raise RowError(f"the acts of turn {turn.index} are not valid Unicode")
        return dataclasses.replace(turn, response=template.text, group=group)


class Filler:
    """Fills responses with the values of a record's own turns, by their index."""

    def __init__(self, form: Dialogues, turns: Mapping[int, Said]) -> None:
        self.form, self.turns = form, turns
        self.values: dict[int, Mapping[str, tuple[str, ...]]] = {}

    def __call__(self, index: int, response: str) -> str:
        """Return a response with the values of a turn; raise `CorpusError` if it lacks one."""
        if index not in self.turns:
            raise RowError(f"turn {index} is no turn of the system")
        if index not in self.values:
            self.values[index] = self.form.template(self.turns[index]).values
        values = self.values[index]
        text = lexicalize(response, values)
        if text is None:
            lacking = ", ".join(slot for slot in slots_of(response) if slot not in values)
            raise CorpusError(
                f"turn {index} has no value of {lacking}, which the response for it names; "
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
