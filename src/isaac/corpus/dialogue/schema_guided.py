"""Reader of dialogues whose turns have frames: MultiWOZ 2.2 and Schema-Guided Dialogue (SGD).

The formats are documented with the corpora (budzianowski/multiwoz, data/MultiWOZ_2.2, and
google-research-datasets/dstc8-schema-guided-dialogue): ``turns`` with ``speaker``, ``utterance``
and ``frames``; positions count characters. MultiWOZ 2.2 keeps its acts in a separate file
(``dialog_acts.json``), keyed by turn index. The column `ACTS_COLUMN` of a record has the acts of
its dialogue from that file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from .acts import (
    BookingDomainTracker,
    canonical_slot,
    canonical_state,
    canonical_value,
    parse_acts,
)
from .multiwoz import (
    ACTS_COLUMN,
    add_unannotated,
    find_first_mention,
    parse_span_entry,
    read_span_info,
    values_from_acts,
)
from .schema import Act, Dialogue, DialogueTurn
from .spans import AnnotatedValue, locate_values
from .validation import (
    ReadingError,
    as_list,
    as_mapping,
    as_text,
    as_texts,
    as_turns,
    read_dialogue_id,
)

SERVICE_NUMBER = re.compile(r"_\d+$")
"""The number at the end of a service's name in SGD: ``_1`` in ``Restaurants_1``."""

SPEAKER_ROLES: Mapping[str, Literal["user", "assistant"]] = {
    "user": "user",
    "system": "assistant",
}
"""The role of each speaker, by the speaker's name in lower case."""


@dataclass(frozen=True)
class SchemaGuidedReader:
    """Reads and rewrites records with ``turns`` of ``frames``, one dialogue each.

    ``numbered`` is whether service names end in a number, which distinguishes SGD from MultiWOZ
    2.2.
    """

    name: str
    numbered: bool

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the record has turns with utterances, and service names of this corpus."""
        turns = record.get("turns")
        first = turns[0] if isinstance(turns, list) and turns else None
        if not isinstance(first, Mapping) or not {"speaker", "utterance"} <= set(first):
            return False
        services = record.get("services")
        names = services if isinstance(services, list) else []
        return self.numbered == any(SERVICE_NUMBER.search(str(name)) for name in names)

    def read(self, record: Mapping[str, Any]) -> Dialogue:
        """Parse the dialogue; raises `ReadingError`, with the reason, if it cannot be read."""
        dialogue_id = read_dialogue_id(record, "dialogue_id")
        separate_acts = as_mapping(record.get(ACTS_COLUMN) or {}, f"'{ACTS_COLUMN}'")
        bookings = BookingDomainTracker()
        turns: list[DialogueTurn] = []
        state: dict[str, Mapping[str, str]] = {}
        for index, entry in enumerate(as_turns(record.get("turns"), "'turns'")):
            raw = as_mapping(entry, f"'turns' turn {index}")
            key = str(raw.get("turn_id", index))
            turn = self._build_turn(index, raw, separate_acts.get(key) or {}, bookings)
            state |= self._read_state(raw, f"'turns' turn {index}")
            if turn.role == "assistant":
                turn = replace(turn, state=canonical_state(state))
            turns.append(turn)
        return Dialogue(dialogue_id, tuple(turns), as_mapping(record.get("goal") or {}, "'goal'"))

    def _build_turn(
        self,
        index: int,
        turn: Mapping[str, Any],
        separate_acts: Any,
        bookings: BookingDomainTracker,
    ) -> DialogueTurn:
        """Build a turn with its acts and the spans of its values."""
        name = f"'turns' turn {index}"
        role = SPEAKER_ROLES.get(str(turn.get("speaker")).lower())
        if role is None:
            raise ReadingError(f"{name} 'speaker' is {turn.get('speaker')!r}, not USER or SYSTEM")
        text = as_text(turn.get("utterance"), f"{name} 'utterance'")
        annotations = as_mapping(separate_acts, f"{name} acts")
        acts = parse_acts(annotations.get("dialog_act"), f"{name} 'dialog_act'")
        acts += self._read_actions(turn, name)
        for service in _active_services(turn, name):
            bookings.observe(service)
        booking = bookings.resolve_domain(acts)
        annotated = [
            *read_span_info(annotations.get("span_info"), name, booking),
            *self._read_slot_spans(turn, text, name),
        ]
        values = _sgd_values(acts) if self.numbered else values_from_acts(acts, booking)
        spans = locate_values(text, add_unannotated(annotated, values))
        return DialogueTurn(index, role, text, tuple(acts), spans)

    def _canonical_names(self, service: str, slot: str) -> tuple[str, str]:
        """The canonical names of a slot's domain and of the slot."""
        if self.numbered:
            return SERVICE_NUMBER.sub("", service).lower(), slot.lower()
        domain, dash, name = slot.lower().partition("-")
        return (domain, canonical_slot(domain, name)) if dash else (service.lower(), domain)

    def _read_actions(self, turn: Mapping[str, Any], name: str) -> list[Act]:
        """Read the acts in the frames, where only SGD has them."""
        acts = []
        for service, frame in iter_frames(turn, name):
            for each in as_list(frame.get("actions") or [], f"{name} 'actions'"):
                action = as_mapping(each, f"{name} 'actions'")
                intent = as_text(action.get("act"), f"{name} action's 'act'").lower()
                domain, slot = self._canonical_names(
                    service, as_text(action.get("slot") or "", name)
                )
                values = as_texts(action.get("values") or [], f"{name} action's 'values'")
                default = "?" if intent == "request" else ""
                for value in values or [default]:
                    acts.append(Act(domain, intent, slot, canonical_value(value)))
        return acts

    def _read_slot_spans(
        self, turn: Mapping[str, Any], text: str, name: str
    ) -> Iterator[AnnotatedValue]:
        """Yield the values whose positions the frames' slots give.

        A slot without a position was copied from elsewhere and is skipped.
        """
        for service, frame in iter_frames(turn, name):
            for each in as_list(frame.get("slots") or [], f"{name} 'slots'"):
                slot = as_mapping(each, f"{name} 'slots'")
                domain, slot_name = self._canonical_names(
                    service, as_text(slot.get("slot"), f"{name} slot")
                )
                start, end = slot.get("start"), slot.get("exclusive_end")
                if type(start) is int and type(end) is int:
                    value = as_texts(slot.get("value", text[max(start, 0) : max(end, 0)]), name)
                    yield AnnotatedValue(f"{domain}_{slot_name}", " ".join(value), start, end)

    def _read_state(self, turn: Mapping[str, Any], name: str) -> dict[str, Mapping[str, str]]:
        """Read the belief state in a user turn's frames: values by domain and slot."""
        states: dict[str, Mapping[str, str]] = {}
        for service, frame in iter_frames(turn, name):
            if frame.get("state") is not None:
                state = as_mapping(frame["state"], f"{name} 'state'")
                values = as_mapping(state.get("slot_values") or {}, f"{name} 'slot_values'")
                # A value with alternative spellings is a list, of which the first is used.
                first = {
                    slot: as_texts(value, f"{name} '{slot}'")[:1] for slot, value in values.items()
                }
                domain, _ = self._canonical_names(service, "")
                states[domain] = {
                    self._canonical_names(service, slot)[1]: "".join(texts)
                    for slot, texts in first.items()
                }
        return states

    def replaced(self, record: Mapping[str, Any], index: int, text: str) -> dict[str, Any]:
        """Copy the record, with the text of one system turn replaced.

        The positions in the turn's frames and ``span_info`` are updated: values that the new text
        contains get their new positions, the others are removed.
        """
        turns = list(as_turns(record.get("turns"), "'turns'"))
        turn = turns[index] if 0 <= index < len(turns) else None
        if not isinstance(turn, Mapping) or str(turn.get("speaker")).lower() != "system":
            raise ReadingError(
                f"'turns' turn {index} is not a system turn; there are {len(turns)} turns"
            )
        if turn.get("utterance") == text:
            return dict(record)
        changed = {**turn, "utterance": text}
        move = make_slot_mover(as_text(turn.get("utterance"), "'utterance'"), text)
        if turn.get("frames"):
            changed["frames"] = [
                {**frame, "slots": [moved for slot in _frame_slots(frame) for moved in move(slot)]}
                if frame.get("slots")
                else frame
                for _, frame in iter_frames(turn, f"'turns' turn {index}")
            ]
        turns[index] = changed
        return {**_update_span_info(record, str(turn.get("turn_id", index)), move), "turns": turns}

    def cut(self, record: Mapping[str, Any], index: int) -> dict[str, Any]:
        """Copy the record with the turns up to one of them."""
        return {**record, "turns": list(record["turns"])[: index + 1]}


def iter_frames(turn: Mapping[str, Any], name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each frame of a turn with the name of its service."""
    for each in as_list(turn.get("frames") or [], f"{name} 'frames'"):
        frame = as_mapping(each, f"{name} 'frames'")
        yield as_text(frame.get("service"), f"{name} frame's 'service'"), frame


def _frame_slots(frame: Mapping[str, Any]) -> list[Any]:
    return as_list(frame["slots"], "a frame's 'slots'")


def _active_services(turn: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yield the services for which the user has an active intent."""
    for service, frame in iter_frames(turn, name):
        state = frame.get("state")
        intent = state.get("active_intent") if isinstance(state, Mapping) else None
        if intent not in (None, "NONE"):
            yield service.lower()


def _sgd_values(acts: list[Act]) -> list[AnnotatedValue]:
    """The values that SGD's acts name; its slot names are already canonical."""
    return [AnnotatedValue(f"{act.domain}_{act.slot}", act.value) for act in acts if act.slot]


def _update_span_info(
    record: Mapping[str, Any], turn_id: str, move: Callable[[Any], list[Any]]
) -> Mapping[str, Any]:
    """Update the positions of a turn's values in the record's `ACTS_COLUMN`."""
    acts = as_mapping(record.get(ACTS_COLUMN) or {}, f"'{ACTS_COLUMN}'")
    annotations = as_mapping(acts.get(turn_id) or {}, f"'{ACTS_COLUMN}' of turn {turn_id}")
    if not annotations.get("span_info"):
        return record
    spans = [
        [act, slot, moved["value"], moved["start"], moved["exclusive_end"]]
        for each in as_list(annotations["span_info"], "'span_info'")
        for act, slot, value, start, end in [parse_span_entry(each, "the turn's")]
        for moved in move({"value": value, "start": start, "exclusive_end": end})
    ]
    return {**record, ACTS_COLUMN: {**acts, turn_id: {**annotations, "span_info": spans}}}


def make_slot_mover(old: str, new: str) -> Callable[[Any], list[Any]]:
    """Make a function that updates the position of a slot's entry from the old text to the new.

    The function returns a list with the entry, or an empty list if the new text lacks the value.
    The position's end is ``exclusive_end``, or ``end`` if the entry has that.
    """

    def move(entry: Any) -> list[Any]:
        slot = as_mapping(entry, "'slots'")
        end_key = "end" if "end" in slot else "exclusive_end"
        start, end = slot.get("start"), slot.get(end_key)
        if type(start) is not int or type(end) is not int:
            return [slot]
        surface = old[max(start, 0) : max(end, 0)]
        if surface and new[start:end] == surface:
            return [slot]
        mention = find_first_mention(new, [surface])
        if mention is None:
            return []
        value = {"value": new[slice(*mention)]} if "value" in slot else {}
        return [{**slot, **value, "start": mention[0], end_key: mention[1]}]

    return move
