"""Turns with frames: MultiWOZ 2.2 and the Schema-Guided Dialogue corpus.

The layouts are those of the corpora's own notes (budzianowski/multiwoz, data/MultiWOZ_2.2, and
google-research-datasets/dstc8-schema-guided-dialogue): ``turns`` with ``speaker``, ``utterance``
and ``iter_frames``, places in characters. MultiWOZ 2.2 has its acts in a file of their own
(``dialog_acts.json``), by index of the turn: what it has of a dialogue is read from the column
`ACTS_COLUMN` of its record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .acts import (
    BookingDomainTracker,
    canonical_slot,
    canonical_state,
    canonical_value,
    parse_act,
    parse_acts,
)
from .multiwoz import (
    ACTS_COLUMN,
    add_act_values,
    find_first_mention,
    parse_span_entry,
    qualify_slot,
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
"""The end of a service's name in Schema-Guided Dialogue: ``Restaurants_1``."""

SPEAKER_ROLES = {"user": "user", "system": "assistant"}


@dataclass(frozen=True)
class SchemaGuidedReader:
    """Reads and writes one dialogue with ``turns`` of ``iter_frames``.

    ``numbered`` says whether services have numbers, which is how the two corpora are told apart.
    """

    name: str
    numbered: bool

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Say whether the record has turns of utterances, and services of this corpus's kind."""
        turns = record.get("turns")
        first = turns[0] if isinstance(turns, list) and turns else None
        if not isinstance(first, Mapping) or not {"speaker", "utterance"} <= set(first):
            return False
        services = record.get("services")
        names = services if isinstance(services, list) else []
        return self.numbered == any(SERVICE_NUMBER.search(str(name)) for name in names)

    def read(self, record: Mapping[str, Any]) -> Dialogue:
        """Return the dialogue; raise `ReadingError` that names what is wrong in the record."""
        number = read_dialogue_id(record, "dialogue_id")
        apart, domains = (
            as_mapping(record.get(ACTS_COLUMN) or {}, f"'{ACTS_COLUMN}'"),
            BookingDomainTracker(),
        )
        turns: list[DialogueTurn] = []
        known: dict[str, Mapping[str, str]] = {}
        for index, entry in enumerate(as_turns(record.get("turns"), "'turns'")):
            turn = as_mapping(entry, f"'turns' turn {index}")
            key = turn.get("turn_id", index)
            made = self._build_turn(index, turn, apart.get(str(key)) or {}, domains)
            known |= self._read_state(turn, f"'turns' turn {index}")
            turns.append(
                replace(made, state=canonical_state(known)) if made.role != "user" else made
            )
        return Dialogue(number, tuple(turns), as_mapping(record.get("goal") or {}, "'goal'"))

    def _build_turn(
        self, index: int, turn: Mapping[str, Any], apart: Any, domains: BookingDomainTracker
    ) -> DialogueTurn:
        """Return a turn with its acts and where their values stand."""
        name = f"'turns' turn {index}"
        role = SPEAKER_ROLES.get(str(turn.get("speaker")).lower())
        if role is None:
            raise ReadingError(f"{name} 'speaker' is {turn.get('speaker')!r}, not USER or SYSTEM")
        text = as_text(turn.get("utterance"), f"{name} 'utterance'")
        noted = as_mapping(apart, f"{name} acts")
        acts = parse_acts(noted.get("dialog_act"), f"{name} 'dialog_act'") + self._read_actions(
            turn, name
        )
        for service in _active_services(turn, name):
            domains.observe(service)
        booking = domains.resolve_domain(acts)
        said = [*_read_span_info(noted, name, booking), *self._read_slot_spans(turn, text, name)]
        spans = locate_values(text, add_act_values(said, [] if self.numbered else acts, booking))
        if self.numbered:
            spans = locate_values(text, [*said, *_unannotated_act_values(said, acts)])
        return DialogueTurn(
            index, "user" if role == "user" else "assistant", text, tuple(acts), spans
        )

    def _canonical_names(self, service: str, slot: str) -> tuple[str, str]:
        """Return domain and slot under the names used here."""
        if self.numbered:
            return SERVICE_NUMBER.sub("", service).lower(), slot.lower()
        domain, dash, own = slot.lower().partition("-")
        return (domain, canonical_slot(domain, own)) if dash else (service.lower(), domain)

    def _read_actions(self, turn: Mapping[str, Any], name: str) -> list[Act]:
        """Return the acts in the frames: those of Schema-Guided Dialogue."""
        acts = []
        for service, frame in iter_frames(turn, name):
            for each in as_list(frame.get("actions") or [], f"{name} 'actions'"):
                action = as_mapping(each, f"{name} 'actions'")
                intent = as_text(action.get("act"), f"{name} action's 'act'").lower()
                domain, slot = self._canonical_names(
                    service, as_text(action.get("slot") or "", name)
                )
                values = as_texts(action.get("values") or [], f"{name} action's 'values'")
                asked = "?" if intent == "request" else ""
                for value in values or [asked]:
                    acts.append(Act(domain, intent, slot, canonical_value(value)))
        return acts

    def _read_slot_spans(
        self, turn: Mapping[str, Any], text: str, name: str
    ) -> Iterator[AnnotatedValue]:
        """Yield what the frames' slots say; a value copied from elsewhere has no place here."""
        for service, frame in iter_frames(turn, name):
            for each in as_list(frame.get("slots") or [], f"{name} 'slots'"):
                slot = as_mapping(each, f"{name} 'slots'")
                domain, own = self._canonical_names(
                    service, as_text(slot.get("slot"), f"{name} slot")
                )
                start, end = slot.get("start"), slot.get("exclusive_end")
                if type(start) is int and type(end) is int:
                    value = as_texts(slot.get("value", text[max(start, 0) : max(end, 0)]), name)
                    yield AnnotatedValue(f"{domain}_{own}", " ".join(value), start, end)

    def _read_state(self, turn: Mapping[str, Any], name: str) -> dict[str, Mapping[str, str]]:
        """Return what the user's turn says is known, by domain, of the services it speaks of."""
        states: dict[str, Mapping[str, str]] = {}
        for service, frame in iter_frames(turn, name):
            if frame.get("state") is not None:
                state = as_mapping(frame["state"], f"{name} 'state'")
                values = as_mapping(state.get("slot_values") or {}, f"{name} 'slot_values'")
                first = {s: as_texts(v, f"{name} '{s}'")[:1] for s, v in values.items()}
                domain, _ = self._canonical_names(service, "")
                states[domain] = {
                    self._canonical_names(service, s)[1]: "".join(v) for s, v in first.items()
                }
        return states

    def replaced(self, record: Mapping[str, Any], index: int, text: str) -> dict[str, Any]:
        """Return the record with one system turn's text replaced.

        The places of that turn's slots and acts are made anew: a value that the new text has gets
        its place there, one that it has not goes.
        """
        turns = list(as_turns(record.get("turns"), "'turns'"))
        turn = turns[index] if 0 <= index < len(turns) else None
        if not isinstance(turn, Mapping) or str(turn.get("speaker")).lower() != "system":
            wrong = f"is no system turn; there are {len(turns)} turns"
            raise ReadingError(f"'turns' turn {index} {wrong}")
        if turn.get("utterance") == text:
            return dict(record)
        made = {**turn, "utterance": text}
        move = _make_slot_mover(as_text(turn.get("utterance"), "'utterance'"), text)
        if turn.get("frames"):
            made["frames"] = [
                {**frame, "slots": [s for slot in _frame_slots(frame) for s in move(slot)]}
                if frame.get("slots")
                else frame
                for _, frame in iter_frames(turn, f"'turns' turn {index}")
            ]
        turns[index] = made
        return {**_update_span_info(record, str(turn.get("turn_id", index)), move), "turns": turns}


def iter_frames(turn: Mapping[str, Any], name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each frame of a turn with its service."""
    for each in as_list(turn.get("frames") or [], f"{name} 'frames'"):
        frame = as_mapping(each, f"{name} 'frames'")
        yield as_text(frame.get("service"), f"{name} frame's 'service'"), frame


def _frame_slots(frame: Mapping[str, Any]) -> list[Any]:
    return as_list(frame["slots"], "a frame's 'slots'")


def _active_services(turn: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yield the services that the user has an intent for."""
    for service, frame in iter_frames(turn, name):
        state = frame.get("state")
        intent = state.get("active_intent") if isinstance(state, Mapping) else None
        if intent not in (None, "NONE"):
            yield service.lower()


def _read_span_info(noted: Mapping[str, Any], name: str, booking: str) -> Iterator[AnnotatedValue]:
    """Yield what the file of acts says is in the text, in characters."""
    for each in as_list(noted.get("span_info") or [], f"{name} 'span_info'"):
        act, slot, said, start, end = parse_span_entry(each, name)
        domain = parse_act(act, slot, said).domain
        yield AnnotatedValue(qualify_slot(domain, slot, booking), said, start, end)


def _unannotated_act_values(said: list[AnnotatedValue], acts: list[Act]) -> list[AnnotatedValue]:
    """Return the acts' values that no span is of."""
    known = {(each.slot, each.value.lower()) for each in said}
    alone = [AnnotatedValue(f"{act.domain}_{act.slot}", act.value) for act in acts if act.slot]
    return [each for each in alone if (each.slot, each.value) not in known]


def _update_span_info(
    record: Mapping[str, Any], turn: str, move: Callable[[Any], list[Any]]
) -> Mapping[str, Any]:
    """Return the record with the places of a turn's values in its column of acts made anew."""
    acts = as_mapping(record.get(ACTS_COLUMN) or {}, f"'{ACTS_COLUMN}'")
    noted = as_mapping(acts.get(turn) or {}, f"'{ACTS_COLUMN}' of turn {turn}")
    if not noted.get("span_info"):
        return record
    spans = [
        [act, slot, moved["value"], moved["start"], moved["exclusive_end"]]
        for each in as_list(noted["span_info"], "'span_info'")
        for act, slot, said, start, end in [parse_span_entry(each, "the turn's")]
        for moved in move({"value": said, "start": start, "exclusive_end": end})
    ]
    return {**record, ACTS_COLUMN: {**acts, turn: {**noted, "span_info": spans}}}


def _make_slot_mover(old: str, new: str) -> Callable[[Any], list[Any]]:
    """Return what gives a slot's entries for another text: one, or none if it lacks the value."""

    def move(each: Any) -> list[Any]:
        slot = as_mapping(each, "'slots'")
        start, end = slot.get("start"), slot.get("exclusive_end")
        if type(start) is not int or type(end) is not int:
            return [slot]
        surface = old[max(start, 0) : max(end, 0)]
        if surface and new[start:end] == surface:
            return [slot]
        place = find_first_mention(new, [surface])
        if place is None:
            return []
        said = {"value": new[slice(*place)]} if "value" in slot else {}
        return [{**slot, **said, "start": place[0], "exclusive_end": place[1]}]

    return move
