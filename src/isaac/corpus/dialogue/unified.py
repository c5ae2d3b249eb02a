"""Reader of ConvLab-3's unified format: ``turns`` with ``utterance`` and ``dialogue_act``.

The format is documented with the toolkit (ConvLab/ConvLab-3, data/unified_datasets): the acts of a
turn are ``categorical``, ``non-categorical`` (with the position of the value) or ``binary`` (no
value); user turns have the belief state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .acts import canonical_state, canonical_value
from .schema import Act, BeliefState, Dialogue, DialogueTurn
from .schema_guided import SPEAKER_ROLES, make_slot_mover
from .spans import AnnotatedValue, locate_values
from .validation import (
    ReadingError,
    as_joined_text,
    as_list,
    as_mapping,
    as_text,
    as_texts,
    as_turns,
    read_dialogue_id,
)

ACTS_KEY = "dialogue_act"

ACT_KINDS = ("categorical", "non-categorical", "binary")
"""The lists in a turn's ``dialogue_act``."""


@dataclass(frozen=True)
class UnifiedReader:
    """Reads and rewrites records with ``turns`` of ``dialogue_act``, one dialogue each."""

    name: str = "unified"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the record has turns with utterances and acts."""
        turns = record.get("turns")
        first = turns[0] if isinstance(turns, list) and turns else None
        return isinstance(first, Mapping) and {"speaker", "utterance", ACTS_KEY} <= set(first)

    def read(self, record: Mapping[str, Any]) -> Dialogue:
        """Parse the dialogue; raises `ReadingError`, with the reason, if it cannot be read."""
        turns: list[DialogueTurn] = []
        state: BeliefState = {}
        for index, entry in enumerate(as_turns(record.get("turns"), "'turns'")):
            name = f"'turns' turn {index}"
            raw = as_mapping(entry, name)
            turn = _build_turn(index, raw, name)
            if raw.get("state") is not None:
                state = canonical_state(_read_state(raw["state"], f"{name} 'state'"))
            turns.append(replace(turn, state=state) if turn.role == "assistant" else turn)
        goal = record.get("goal")
        return Dialogue(
            read_dialogue_id(record, "dialogue_id"),
            tuple(turns),
            goal if isinstance(goal, Mapping) else {},
        )

    def replaced(self, record: Mapping[str, Any], index: int, text: str) -> dict[str, Any]:
        """Copy the record, with the text of one system turn replaced.

        Values that the new text contains get their new positions; the acts of the others lose
        theirs, since the turn still means them.
        """
        turns = list(as_turns(record.get("turns"), "'turns'"))
        turn = turns[index] if 0 <= index < len(turns) else None
        if not isinstance(turn, Mapping) or SPEAKER_ROLES.get(_speaker(turn)) != "assistant":
            raise ReadingError(
                f"'turns' turn {index} is not a system turn; there are {len(turns)} turns"
            )
        if turn.get("utterance") == text:
            return dict(record)
        acts = as_mapping(turn.get(ACTS_KEY) or {}, f"'{ACTS_KEY}'")
        move = make_slot_mover(as_text(turn.get("utterance"), "'utterance'"), text)
        moved = {
            kind: [_move_act(act, move(act)) for act in as_list(entries or [], f"'{kind}'")]
            for kind, entries in acts.items()
        }
        turns[index] = {**turn, "utterance": text, ACTS_KEY: moved}
        return {**record, "turns": turns}

    def cut(self, record: Mapping[str, Any], index: int) -> dict[str, Any]:
        """Copy the record with the turns up to one of them."""
        return {**record, "turns": list(record["turns"])[: index + 1]}


def _move_act(act: Mapping[str, Any], moved: list[Any]) -> dict[str, Any]:
    """The act with its new position, or without one if the new text lacks its value."""
    if moved:
        return dict(moved[0])
    return {key: value for key, value in act.items() if key not in ("start", "end")}


def _speaker(turn: Mapping[str, Any]) -> str:
    return str(turn.get("speaker")).lower()


def _build_turn(index: int, turn: Mapping[str, Any], name: str) -> DialogueTurn:
    """Build a turn with its acts and the spans of its values."""
    role = SPEAKER_ROLES.get(_speaker(turn))
    if role is None:
        raise ReadingError(f"{name} 'speaker' is {turn.get('speaker')!r}, not user or system")
    text = as_text(turn.get("utterance"), f"{name} 'utterance'")
    acts, values = [], []
    for entry in _iter_acts(turn.get(ACTS_KEY), f"{name} '{ACTS_KEY}'"):
        act = _read_act(entry, name)
        acts.append(act)
        start, end = entry.get("start"), entry.get("end")
        position = (start, end) if type(start) is int and type(end) is int else (-1, -1)
        if act.slot and act.value != "?":
            value = as_joined_text(entry.get("value"), f"{name} 'value'")
            values.append(AnnotatedValue(f"{act.domain or 'value'}_{act.slot}", value, *position))
    return DialogueTurn(index, role, text, tuple(acts), locate_values(text, values))


def _iter_acts(value: Any, name: str) -> Iterator[Mapping[str, Any]]:
    acts = as_mapping(value or {}, name)
    for kind in ACT_KINDS:
        for entry in as_list(acts.get(kind) or [], f"{name} '{kind}'"):
            yield as_mapping(entry, f"{name} '{kind}'")


def _read_act(entry: Mapping[str, Any], name: str) -> Act:
    domain, intent, slot, value = (
        as_joined_text(entry.get(key), f"{name} act's '{key}'").strip().lower()
        for key in ("domain", "intent", "slot", "value")
    )
    asks = slot and not value and intent == "request"
    return Act(domain, intent, slot, "?" if asks else canonical_value(value))


def _read_state(value: Any, name: str) -> dict[str, dict[str, str]]:
    """Read a belief state, ``{domain: {slot: value}}``; of several values the first counts."""
    return {
        domain.lower(): {
            slot.lower(): "".join(as_texts(each, f"{name} '{slot}'")[:1])
            for slot, each in as_mapping(slots or {}, f"{name} '{domain}'").items()
        }
        for domain, slots in as_mapping(value, name).items()
    }
