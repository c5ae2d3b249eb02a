"""Plain rows: a context, a response, its acts and the values of its slots; or whole dialogues.

A row has a ``context`` (text) or a ``history`` (a list of texts, or of ``{"role", "content"}``),
or both, and a ``response``; ``act`` or ``intent`` (a text such as ``hotel-inform-area``, several
joined by ``+``, or a list), ``slots`` (an object of slot and value, or list of values) and
``dialogue`` or ``dialogue_id``. Or it has ``messages``, each with its own ``act`` and ``slots``.
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
"""Who speaks. ``system`` speaks where nobody else does so for the assistant; otherwise it is a
prompt, which like a tool's message is kept in the record and is no turn."""

NON_SPEAKER_ROLES = ("system", "developer", "tool", "function")

CONTEXT_COLUMNS = ("history", "context")


@dataclass(frozen=True)
class PlainRowsReader:
    """Reads and writes one row; a turn's index counts the history, the context, the response."""

    name: str = "dialogue"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Say whether the record has a response with acts or slots, or such messages."""
        noted = {"act", "intent", "slots"}
        if "response" in record and any(column in record for column in CONTEXT_COLUMNS):
            return bool(noted & set(record))
        messages = record.get("messages")
        many = messages if isinstance(messages, list) else []
        return any(isinstance(each, Mapping) and noted & set(each) for each in many)

    def read(self, record: Mapping[str, Any]) -> Dialogue:
        """Return the dialogue; its id is empty where the row has none.

        Raises `ReadingError` that names what is wrong in the record.
        """
        columns = ("dialogue_id", "dialogue", "id")
        known = any(record.get(column) is not None for column in columns)
        number = read_dialogue_id(record, *columns) if known else ""
        if "messages" in record:
            turns = _read_messages(record["messages"], "'messages'")
        else:
            turns = _read_history(record)
            text = as_text(record.get("response"), "'response'")
            turns.append(_build_turn(_count_entries(record), "assistant", text, record))
        if not any(turn.role == "assistant" for turn in turns):
            raise ReadingError("no turn of the assistant; roles: user, assistant")
        return Dialogue(number, tuple(turns))

    def replaced(self, record: Mapping[str, Any], index: int, text: str) -> dict[str, Any]:
        """Return the record with the response, or one turn of the assistant, replaced."""
        if not any(
            turn.index == index and turn.role == "assistant" for turn in self.read(record).turns
        ):
            raise ReadingError(f"turn {index} is no turn of the assistant")
        column = "messages" if "messages" in record else "history"
        if column == "history" and index == _count_entries(record):
            return {**record, "response": text}
        entries = list(record[column] if column in record else record["context"])
        column = column if column in record else "context"
        old = entries[index]
        entries[index] = {**old, "content": text} if isinstance(old, Mapping) else text
        return {**record, column: entries}


def _read_history(record: Mapping[str, Any]) -> list[DialogueTurn]:
    """Return the turns before a row's response: those of its history, then its context."""
    there = [column for column in CONTEXT_COLUMNS if record.get(column) is not None]
    if not there:
        raise ReadingError("no 'context' nor 'history' before the 'response'")
    turns: list[DialogueTurn] = []
    for column in there:
        value, first = record[column], _count_entries(record, before=column)
        if isinstance(value, str):
            turns.append(DialogueTurn(first, "user", as_text(value, f"'{column}'")))
        elif value:
            turns += _read_messages(value, f"'{column}'", first)
    return turns


def _count_entries(record: Mapping[str, Any], before: str = "") -> int:
    """Return how many entries a row has before its response, or before a column."""
    total = 0
    for column in CONTEXT_COLUMNS:
        if column == before:
            break
        value = record.get(column)
        total += len(value) if isinstance(value, list) else value is not None
    return total


def _read_messages(value: Any, name: str, first: int = 0) -> list[DialogueTurn]:
    """Return the turns in a list of messages, or of texts of which the last is the user's."""
    entries = as_turns(value, name)
    if all(isinstance(entry, str) for entry in entries):
        last = len(entries) - 1
        return [
            DialogueTurn(first + i, "assistant" if (last - i) % 2 else "user", as_text(entry, name))
            for i, entry in enumerate(entries)
        ]
    messages = [as_mapping(entry, f"{name} turn {i}") for i, entry in enumerate(entries)]
    roles = [str(message.get("role")).lower() for message in messages]
    speaks = not any(ROLE_ALIASES.get(role) == "assistant" for role in roles)
    turns = []
    for i, (message, role) in enumerate(zip(messages, roles, strict=True)):
        who = "assistant" if speaks and role == "system" else ROLE_ALIASES.get(role)
        if who is None and role not in NON_SPEAKER_ROLES:
            raise ReadingError(
                f"{name} turn {i} has no known role; known: {', '.join(ROLE_ALIASES)}"
            )
        if who and (message.get("content") is not None or not message.get("tool_calls")):
            text = as_text(message.get("content"), f"{name} turn {i} 'content'")
            turns.append(_build_turn(first + i, who, text, message))
    return turns


def _build_turn(index: int, role: str, text: str, noted: Mapping[str, Any]) -> DialogueTurn:
    """Return a turn with the acts and slots that its row or message notes."""
    acts = [*_read_acts(noted)]
    slots = [*_read_slots(noted, acts)]
    said = [AnnotatedValue(f"{domain}_{slot}", value) for domain, slot, value in slots]
    who: Role = "user" if role == "user" else "assistant"
    return DialogueTurn(
        index, who, text, tuple(_fill_act_values(acts, slots)), locate_values(text, said)
    )


def _read_acts(noted: Mapping[str, Any]) -> Iterator[Act]:
    """Yield the acts in ``act`` or ``intent``: ``domain-intent-slot``, or less of it."""
    column = "act" if noted.get("act") is not None else "intent"
    for text in as_texts(noted.get(column), f"'{column}'"):
        for name in filter(None, (part.strip().lower() for part in text.split("+"))):
            parts = [part.strip() for part in name.split("-", 2)]
            domain, intent, slot = ["", *parts, ""] if len(parts) == 1 else [*parts, ""][:3]
            yield Act(domain, intent, slot)


def _read_slots(noted: Mapping[str, Any], acts: Sequence[Act]) -> Iterator[tuple[str, str, str]]:
    """Yield domain, slot and value of ``slots``.

    A slot's domain is before a mark (``hotel-area``, ``hotel_area``); without one it is the first
    act's.
    """
    domains = [act.domain for act in acts if act.domain]
    for key, values in as_mapping(noted.get("slots") or {}, "'slots'").items():
        domain, parted, slot = re.sub(r"[-.]", "-", key.strip().lower()).partition("-")
        if not parted:
            first = domains[0] if domains else "value"
            own = next((one for one in domains if domain.startswith(f"{one}_")), first)
            domain, slot = own, domain.removeprefix(f"{own}_")
        for value in as_texts(values, f"'slots' '{key}'"):
            yield domain, slot, value


def _fill_act_values(acts: Sequence[Act], slots: Sequence[tuple[str, str, str]]) -> Iterator[Act]:
    """Yield the acts with their values; a slot that no act names joins the first of them.

    Where a row has no act there is none: slots alone do not say what is done with them.
    """
    left = list(slots)
    for act in acts:
        own = [each for each in left if each[1] == act.slot]
        left = [each for each in left if each not in own]
        for each in own:
            yield act._replace(value=canonical_value(each[2]))
        if not own:
            yield act._replace(value="?" if act.slot and act.intent == "request" else "")
    for domain, slot, value in left if acts else ():
        known = domain if domain != "value" else acts[0].domain
        yield Act(known, acts[0].intent, slot, canonical_value(value))
