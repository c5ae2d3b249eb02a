"""Task-oriented dialogues, whose responses are curated with placeholders instead of values.

The placeholders of a response drawn for a turn are filled with that turn's own values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from ...errors import CorpusError
from ..dialogue.acts import act_string
from ..dialogue.delexicalization import delexicalize, lexicalize, template_slots
from ..dialogue.group import INDUCED_ACT_PREFIX, DialogueGroup
from ..dialogue.implied_values import find_implied_values
from ..dialogue.readers import READERS
from ..dialogue.schema import Dialogue, DialogueTurn
from ..dialogue.validation import ReadingError
from ..dialogue.value_lexicon import Lexicon
from .base import SURROGATE, CorpusTurn, Message, RowError, find_assistant_turns
from .roles import ROLES, fold_name
from .training_marks import find_untrained

GROUP_BY_ACT = "act"
"""The value of ``group_by`` that groups turns by their acts and the slots in their text."""


@dataclass(frozen=True)
class TaskOrientedFormat:
    """Dialogues in one of the layouts of `READERS`, chosen by name.

    ``lexicon`` has values to look for in texts, beyond the annotated ones. It is used only to
    delexicalize responses, not to write them back.
    """

    name: str
    lexicon: Lexicon = field(default=Lexicon(), repr=False)

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the record has this layout's columns, valid or not.

        The layout ``dialogue`` also reads rows of a context and a response, but those fit other
        formats as well, so it is detected only from messages with acts.
        """
        return ("messages" in record or self.name != "dialogue") and READERS[self.name].fits(record)

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Find every system turn after a user turn and delexicalize its response.

        The prompts keep the original text.
        """
        turns = self.read(record).turns
        by_index = {turn.index: turn for turn in turns}
        editable = {turn.index for turn in turns if turn.text.strip()}
        # the turns of the dialogue, and the messages between them, such as tool calls
        messages = dict(_read_plain_messages(record))
        messages |= {turn.index: Message(turn.role, turn.text) for turn in turns}
        plain = record.get("messages")
        untrained = find_untrained(plain if isinstance(plain, list) else [])
        return [
            self._delexicalize_turn(turn, by_index[turn.index])
            for turn in find_assistant_turns(sorted(messages.items()), editable, untrained)
        ]

    def replace(self, record: Mapping[str, Any], index: int, response: str) -> dict[str, Any]:
        """Copy the record with one system turn's text replaced and its spans updated."""
        try:
            return READERS[self.name].replaced(record, index, response)
        except ReadingError as error:
            raise RowError(str(error)) from None

    def cut(self, record: Mapping[str, Any], index: int) -> dict[str, Any]:
        """Copy the record with a dialogue that ends after one system turn."""
        return READERS[self.name].cut(record, index)

    def read(self, record: Mapping[str, Any]) -> Dialogue:
        """Parse the record's dialogue; raise `RowError` if it is not valid."""
        try:
            return READERS[self.name].read(record)
        except ReadingError as error:
            raise RowError(str(error)) from None

    def _delexicalize_turn(self, turn: CorpusTurn, annotated: DialogueTurn) -> CorpusTurn:
        """Delexicalize a turn and group it by its acts, its placeholders and what it implies."""
        template = delexicalize(annotated, self.lexicon)
        # an annotated act must not look like an induced one
        acts = act_string(annotated.acts).lstrip(INDUCED_ACT_PREFIX)
        implied = find_implied_values(annotated, template)
        group = str(DialogueGroup(acts, tuple(template_slots(template)), implied))
        if not group.isascii() and SURROGATE.search(group):
            raise RowError(f"the acts of turn {turn.index} are not valid Unicode")
        # What a turn reports of a tool's result is in its values, which every turn keeps.
        fixed: Literal["", "call"] = "call" if turn.fixed == "call" else ""
        return dataclasses.replace(
            turn, response=template.text, group=group, values=template.values, fixed=fixed
        )


def fill_placeholders(response: str, values: Mapping[str, Sequence[str]]) -> str:
    """Fill the placeholders of a response; raise `CorpusError` if one has no value."""
    text = lexicalize(response, values)
    if text is None:
        missing = ", ".join(slot for slot in template_slots(response) if slot not in values)
        raise CorpusError(
            f"a response has placeholders for {missing}, but its turn has no value for them; "
            f"available: {', '.join(values) or 'none'}. Set group_by to '{GROUP_BY_ACT}', so that "
            "responses are drawn only from turns with the same slots"
        )
    return text


def _read_plain_messages(record: Mapping[str, Any]) -> Iterator[tuple[int, Message]]:
    """Yield (index, message) from the column ``messages``, including system prompts and tools."""
    messages = record.get("messages")
    for index, message in enumerate(messages if isinstance(messages, list) else []):
        name = message.get("role") if isinstance(message, Mapping) else None
        role = ROLES.get(fold_name(name)) if isinstance(name, str) else None
        if role:
            content = message.get("content")
            role = "assistant" if role == "call" else role
            yield index, Message(role, content if isinstance(content, str) else "")


TASK_ORIENTED_FORMATS: dict[str, TaskOrientedFormat] = {
    name: TaskOrientedFormat(name) for name in READERS
}
"""Every layout of task-oriented dialogues, by name."""


def lexicon_from_records(name: str, records: Iterable[Mapping[str, Any]]) -> Lexicon:
    """Collect the values annotated in a corpus's records; skip records that cannot be read."""
    fmt = TASK_ORIENTED_FORMATS[name]

    def readable_dialogues() -> Iterator[Dialogue]:
        for record in records:
            with suppress(RowError):
                yield fmt.read(record)

    return Lexicon.of(readable_dialogues())


def lexicon_from_database(folder: str | Path) -> Lexicon:
    """Read the values of a database from a folder, or from a folder ``db`` in it.

    Raises `CorpusError` if there is no database.
    """
    path = Path(folder)
    return Lexicon.read(path / "db" if (path / "db").is_dir() else path)


def is_auxiliary_file(name: str) -> bool:
    """Whether a file of a release holds something other than dialogues, judged by its name.

    That is its acts, file lists, database, ontology, schema or readme.
    """
    path = PurePosixPath(name.lower())
    stem = path.name.partition(".")[0]
    return (
        "db" in path.parts[:-1]
        or stem.endswith(("_db", "_acts", "listfile"))
        or stem in {"ontology", "schema", "slot_descriptions", "readme"}
    )


def append_acts(context: str, group: str) -> str:
    """Add the annotated acts of a response to its context, as rephrasers expect it."""
    parsed = DialogueGroup.parse(group)
    return f"{context}\nacts: {parsed.acts}" if parsed.has_known_acts else context
