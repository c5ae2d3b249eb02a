"""Reader of plain records: one turn per row, or one dialogue per row as ``messages``.

A row of one turn has a ``response`` and what precedes it: a ``context`` (text), a ``history`` (a
list of texts, or of ``{"role", "content"}``), or both. Annotations are optional:

- ``act`` or ``intent``: a string such as ``hotel-inform-area``, several joined by ``+``, or a list;
- ``slots``: an object that maps each slot to its value or a list of values;
- ``dialogue`` or ``dialogue_id``.

A row of one dialogue has ``messages``, each with its own ``act`` and ``slots``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from .acts import canonical_value
from .schema import Act, Dialogue, DialogueTurn
from .spans import AnnotatedValue, locate_values
from .validation import ReadingError, as_mapping, as_text, as_texts, as_turns, read_dialogue_id

Role = Literal["user", "assistant"]

ROLE_ALIASES: Mapping[str, Role] = MappingProxyType(
    {
        "user": "user",
        "human": "user",
        "customer": "user",
        "assistant": "assistant",
        "agent": "assistant",
        "bot": "assistant",
    }
)
"""The roles of speakers, by the names that records use for them.

``system`` counts as the assistant if no other role does. Otherwise it is a system prompt, which
stays in the record but is not a turn, like a tool's message.
"""

NON_SPEAKER_ROLES = ("system", "developer", "tool", "function")
"""Roles whose messages are not turns; see `ROLE_ALIASES` for the exception."""

ANNOTATION_COLUMNS = ("act", "intent", "slots")
"""The columns with what a turn does."""

CONTEXT_COLUMNS = ("history", "context")
"""The columns with what precedes a response, in order."""


@dataclass(frozen=True)
class PlainRowsReader:
    """Reads and rewrites one row; turns are numbered across history, context and response."""

    name: str = "dialogue"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the record has a response or messages with acts or slots."""
        annotations = set(ANNOTATION_COLUMNS)
        if "response" in record and any(column in record for column in CONTEXT_COLUMNS):
            return bool(annotations & set(record))
        value = record.get("messages")
        messages = value if isinstance(value, list) else []
        return any(isinstance(each, Mapping) and annotations & set(each) for each in messages)

    def read(self, record: Mapping[str, Any]) -> Dialogue:
        """Parse the dialogue; its id is empty if the row has none.

        Raises `ReadingError`, with the reason, if it cannot be read.
        """
        columns = ("dialogue_id", "dialogue", "id")
        has_id = any(record.get(column) is not None for column in columns)
        dialogue_id = read_dialogue_id(record, *columns) if has_id else ""
        if "messages" in record:
            turns = _read_messages(record["messages"], "'messages'")
        else:
            turns = _read_history(record)
            text = as_text(record.get("response"), "'response'")
            turns.append(_build_turn(_count_entries(record), "assistant", text, record))
        if not any(turn.role == "assistant" for turn in turns):
            raise ReadingError("no assistant turn; use the roles user and assistant")
        return Dialogue(dialogue_id, tuple(turns))

    def replaced(self, record: Mapping[str, Any], index: int, text: str) -> dict[str, Any]:
        """Copy the record, with the response or one assistant turn replaced."""
        if not any(
            turn.index == index and turn.role == "assistant" for turn in self.read(record).turns
        ):
            raise ReadingError(f"turn {index} is not an assistant turn")
        if "messages" not in record and index == _count_entries(record):
            return {**record, "response": text}
        column = next(name for name in ("messages", *CONTEXT_COLUMNS) if name in record)
        entries = list(record[column])
        old = entries[index]
        entries[index] = {**old, "content": text} if isinstance(old, Mapping) else text
        return {**record, column: entries}

    def cut(self, record: Mapping[str, Any], index: int) -> dict[str, Any]:
        """Copy the record with a dialogue that ends after one assistant turn.

        In a row of one turn, an earlier turn becomes the response, with its own annotations.
        """
        if "messages" in record:
            return {**record, "messages": list(record["messages"])[: index + 1]}
        if index == _count_entries(record):
            return dict(record)
        changed = {key: value for key, value in record.items() if key not in ANNOTATION_COLUMNS}
        for column in CONTEXT_COLUMNS:
            entries, place = record.get(column), index - _count_entries(record, before=column)
            if place < 0 and column in record:
                changed[column] = None
            elif isinstance(entries, list) and 0 <= place < len(entries):
                last = entries[place]
                message = last if isinstance(last, Mapping) else {"content": last}
                changed |= {name: message[name] for name in ANNOTATION_COLUMNS if name in message}
                changed |= {column: entries[:place], "response": message["content"]}
        return changed


def _read_history(record: Mapping[str, Any]) -> list[DialogueTurn]:
    """The turns before a row's response: those of its history, then its context."""
    columns = [column for column in CONTEXT_COLUMNS if record.get(column) is not None]
    if not columns:
        raise ReadingError("expected 'context' or 'history' along with 'response', got neither")
    turns: list[DialogueTurn] = []
    for column in columns:
        value, first = record[column], _count_entries(record, before=column)
        if isinstance(value, str):
            turns.append(DialogueTurn(first, "user", as_text(value, f"'{column}'")))
        elif value:
            turns += _read_messages(value, f"'{column}'", first)
    return turns


def _count_entries(record: Mapping[str, Any], before: str = "") -> int:
    """Count the turns in a row's columns before its response, or before one column."""
    total = 0
    for column in CONTEXT_COLUMNS:
        if column == before:
            break
        value = record.get(column)
        total += len(value) if isinstance(value, list) else value is not None
    return total


def _read_messages(value: Any, name: str, first: int = 0) -> list[DialogueTurn]:
    """Parse a list of messages, or of texts by alternating speakers, the last by the user.

    ``first`` is the index of the first turn.
    """
    entries = as_turns(value, name)
    if all(isinstance(entry, str) for entry in entries):
        last = len(entries) - 1
        return [
            DialogueTurn(first + i, "assistant" if (last - i) % 2 else "user", as_text(entry, name))
            for i, entry in enumerate(entries)
        ]
    messages = [as_mapping(entry, f"{name} turn {i}") for i, entry in enumerate(entries)]
    names = [str(message.get("role")).lower() for message in messages]
    system_speaks = not any(ROLE_ALIASES.get(each) == "assistant" for each in names)
    turns = []
    for i, (message, role_name) in enumerate(zip(messages, names, strict=True)):
        is_assistant = system_speaks and role_name == "system"
        role = "assistant" if is_assistant else ROLE_ALIASES.get(role_name)
        if role is None and role_name not in NON_SPEAKER_ROLES:
            raise ReadingError(
                f"{name} turn {i} has no known role; expected one of: {', '.join(ROLE_ALIASES)}"
            )
        if role and (message.get("content") is not None or not message.get("tool_calls")):
            text = as_text(message.get("content"), f"{name} turn {i} 'content'")
            turns.append(_build_turn(first + i, role, text, message))
    return turns


def _build_turn(index: int, role: Role, text: str, record: Mapping[str, Any]) -> DialogueTurn:
    """Build a turn with the acts and slots that its row or message is annotated with."""
    acts = [*_read_acts(record)]
    slots = [*_read_slots(record, acts)]
    values = [AnnotatedValue(f"{domain}_{slot}", value) for domain, slot, value in slots]
    filled = tuple(_fill_act_values(acts, slots))
    others = () if acts else tuple((slot, value) for _, slot, value in slots)
    spans = locate_values(text, values)
    return DialogueTurn(index, role, text, filled, spans, values=others)


def _read_acts(record: Mapping[str, Any]) -> Iterator[Act]:
    """Yield the acts in ``act`` or ``intent``: ``domain-intent-slot``, or only some parts."""
    column = "act" if record.get("act") is not None else "intent"
    for text in as_texts(record.get(column), f"'{column}'"):
        for name in filter(None, (part.strip().lower() for part in text.split("+"))):
            parts = [part.strip() for part in name.split("-", 2)]
            domain, intent, slot = ["", *parts, ""] if len(parts) == 1 else [*parts, ""][:3]
            yield Act(domain, intent, slot)


def _read_slots(record: Mapping[str, Any], acts: Sequence[Act]) -> Iterator[tuple[str, str, str]]:
    """Yield the domain, slot and value of each entry in ``slots``.

    A slot names its domain before a separator (``hotel-area``, ``hotel.area``, ``hotel_area``); an
    underscore counts only after the domain of an act. Otherwise the domain is that of the first
    act, or ``value`` if no act has one.
    """
    domains = [act.domain for act in acts if act.domain]
    for key, values in as_mapping(record.get("slots") or {}, "'slots'").items():
        domain, separator, slot = re.sub(r"[-.]", "-", key.strip().lower()).partition("-")
        if not separator:
            first = domains[0] if domains else "value"
            owner = next((each for each in domains if domain.startswith(f"{each}_")), first)
            domain, slot = owner, domain.removeprefix(f"{owner}_")
        for value in as_texts(values, f"'slots' '{key}'"):
            yield domain, slot, value


def _fill_act_values(acts: Sequence[Act], slots: Sequence[tuple[str, str, str]]) -> Iterator[Act]:
    """Yield the acts with their values; slots that no act names join the first act.

    Yields nothing if there are no acts: slots alone do not show what the turn does with them.
    """
    unused = list(slots)
    for act in acts:
        matching = [each for each in unused if each[1] == act.slot]
        unused = [each for each in unused if each not in matching]
        for _, _, value in matching:
            yield act._replace(value=canonical_value(value))
        if not matching:
            yield act._replace(value="?" if act.slot and act.intent == "request" else "")
    for domain, slot, value in unused if acts else ():
        act_domain = domain if domain != "value" else acts[0].domain
        yield Act(act_domain, acts[0].intent, slot, canonical_value(value))
