"""MultiWOZ 2.0, 2.1 and 2.4: a ``log`` of texts, the user's and the system's in turn.

The layouts are those of the releases' own notes (budzianowski/multiwoz, smartyfh/MultiWOZ2.4):
goals, belief states (``metadata``) on the system's turns, ``dialog_act`` and ``span_info`` on the
turns from 2.1 on, or the system's acts in a file of their own (``dialogue_acts.json`` of 2.0,
``system_acts.json`` of 2.1), by number of the system's turn from 1. What that file has of a
dialogue is read from the column `ACTS_COLUMN` of its record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from ...text import shorten
from .acts import BookingDomainTracker, canonical_value, parse_act, parse_acts
from .acts import canonical_slot as canonical
from .schema import Act, BeliefState, Dialogue, DialogueTurn
from .spans import AnnotatedValue, find_token_offsets, locate_values
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

MAX_WORD_PAIRS = 250_000
"""Pairs of words that are compared to tell where a changed text still has the same ones."""

ACTS_COLUMN = "dialog_acts"
"""The column of a record with what a release's file of acts has of its dialogue."""


@dataclass(frozen=True)
class MultiWOZReader:
    """Reads and writes one dialogue with its ``goal`` and ``log``."""

    name: str

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Say whether the record has a log of texts."""
        log = record.get("log")
        first = log[0] if isinstance(log, list) and log else None
        return isinstance(first, Mapping) and "text" in first

    def read(self, record: Mapping[str, Any]) -> Dialogue:
        """Return the dialogue; raise `ReadingError` that names what is wrong in the record."""
        number = read_dialogue_id(record, "dialogue_id", "id")
        goal = as_mapping(record.get("goal") or {}, "'goal'")
        log = as_turns(record.get("log"), "'log'")
        apart, domains, states = (
            _read_separate_acts(record, number, len(log)),
            BookingDomainTracker(),
            _BeliefStateReader(),
        )
        turns = []
        for index, entry in enumerate(log):
            name = f"'log' turn {index}"
            turn = as_mapping(entry, name)
            acts = parse_acts(turn.get("dialog_act", apart.get(index)), f"{name} 'dialog_act'")
            turns.append(_build_turn(index, turn, acts, domains.resolve_domain(acts), states))
        return Dialogue(number, tuple(turns), goal)

    def replaced(self, record: Mapping[str, Any], index: int, text: str) -> dict[str, Any]:
        """Return the record with one system turn's text replaced.

        ``span_info`` of that turn is made anew: a value that the new text has gets its place
        there, one that it has not goes. ``dialog_act`` and ``metadata`` stay.
        """
        log = list(as_turns(record.get("log"), "'log'"))
        if not 0 <= index < len(log) or index % 2 == 0:
            raise ReadingError(f"'log' turn {index} is no system turn; there are {len(log)} turns")
        turn = dict(as_mapping(log[index], f"'log' turn {index}"))
        if turn.get("text") == text:
            return dict(record)
        if turn.get("span_info"):
            turn["span_info"] = _update_span_info(turn, text)
        log[index] = {**turn, "text": text}
        return {**record, "log": log}


def _read_separate_acts(record: Mapping[str, Any], number: str, turns: int) -> dict[int, Any]:
    """Return the acts that come from a file of acts, by index in the log."""
    by_index = {}
    for key, acts in as_mapping(record.get(ACTS_COLUMN) or {}, f"'{ACTS_COLUMN}'").items():
        index = 2 * int(key) - 1 if key.isdecimal() and len(key) < 9 else -1
        if not 0 < index < turns:
            wrong = f"turn {shorten(key, 40)!r}, and the dialogue has {turns // 2} system turns"
            raise ReadingError(f"the '{ACTS_COLUMN}' of '{number}' name {wrong}")
        by_index[index] = acts
    return by_index


def _build_turn(
    index: int, turn: Mapping[str, Any], acts: list[Act], booking: str, states: _BeliefStateReader
) -> DialogueTurn:
    """Return a turn with its acts, where their values stand, and what is known after it."""
    name = f"'log' turn {index}"
    text = as_text(turn.get("text"), f"{name} 'text'")
    said = [*_read_span_info(turn.get("span_info"), find_token_offsets(text), name, booking)]
    spans = locate_values(text, add_act_values(said, acts, booking))
    if index % 2 == 0:
        return DialogueTurn(index, "user", text, tuple(acts), spans)
    state = states.read(turn.get("metadata"), f"{name} 'metadata'")
    return DialogueTurn(index, "assistant", text, tuple(acts), spans, state)


def add_act_values(
    said: list[AnnotatedValue], acts: Sequence[Act], booking: str
) -> list[AnnotatedValue]:
    """Return what spans say is in the text, and what acts alone say."""
    known = {(each.slot, each.value.lower()) for each in said}
    alone = [
        AnnotatedValue(qualify_slot(a.domain, a.slot, booking), a.value) for a in acts if a.slot
    ]
    return [*said, *(each for each in alone if (each.slot, each.value) not in known)]


def qualify_slot(domain: str, slot: str, booking: str) -> str:
    """Return a span's slot with its domain: that of the booking for ``booking`` acts."""
    domain = booking if domain == "booking" else domain
    return f"{domain or 'value'}_{canonical(domain, slot)}"


def _read_span_info(
    value: Any, tokens: list[tuple[int, int]], name: str, booking: str
) -> Iterator[AnnotatedValue]:
    """Yield what ``span_info`` says, its tokens' places turned into characters'."""
    for each in as_list(value or [], f"{name} 'span_info'"):
        act, slot, said, start, end = parse_span_entry(each, name)
        made = parse_act(act, slot, said)
        place = (-1, -1)
        if 0 <= start <= end < len(tokens):
            place = (tokens[start][0], tokens[end][1])
        yield AnnotatedValue(qualify_slot(made.domain, slot, booking), said, *place)


def parse_span_entry(value: Any, name: str) -> tuple[str, str, str, int, int]:
    """Return an entry of ``span_info``: act, slot, value, start and end, -1 where no number."""
    if not isinstance(value, list) or len(value) != 5:
        raise ReadingError(f"{name} 'span_info' is not a list of act, slot, value, start, end")
    place = f"{name} 'span_info'"
    act, slot, said = [as_joined_text(part, place) for part in value[:3]]
    start, end = (part if type(part) is int else -1 for part in value[3:])
    return act, slot, said, start, end


def _update_span_info(turn: Mapping[str, Any], text: str) -> list[Any]:
    """Return the ``span_info`` that holds for another text.

    A value stays with the words that both texts have in common; one that does not stand in them
    gets its first place in the new text.
    """
    tokens, old = find_token_offsets(text), turn.get("text", "").split()
    common = _align_words(old, text.split())
    made = []
    for each in as_list(turn["span_info"], "'span_info'"):
        act, slot, said, start, end = parse_span_entry(each, "the turn's")
        inside = range(start, end + 1) if 0 <= start <= end < len(old) else range(0)
        places = [common.get(place, -1) for place in inside]
        if places and -1 not in places and places[-1] - places[0] == end - start:
            made.append([act, slot, said, places[0], places[-1]])
            continue
        forms = [" ".join(old[start : end + 1])] if inside else []
        place = find_first_mention(text, [said, *forms])
        if place and (found := _overlapping_tokens(tokens, place)):
            made.append([act, slot, text[slice(*place)], *found])
    return made


def _align_words(old: list[str], new: list[str]) -> dict[int, int]:
    """Return where words of one text that another one has in the same order stand in that.

    Between what both begin and end with, long texts have none: it would take too long to tell.
    """
    head = _common_prefix_length(old, new)
    tail = min(_common_prefix_length(old[::-1], new[::-1]), len(old) - head, len(new) - head)
    found = {place: place for place in range(head)}
    found |= {len(old) - step: len(new) - step for step in range(1, tail + 1)}
    left, right = old[head : len(old) - tail], new[head : len(new) - tail]
    if len(left) * len(right) <= MAX_WORD_PAIRS:
        for a, b, size in SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks():
            found |= {head + a + step: head + b + step for step in range(size)}
    return found


def _common_prefix_length(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many words two texts begin with that are the same."""
    differ = (
        place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]
    )
    return next(differ, min(len(one), len(other)))


def find_first_mention(text: str, forms: Sequence[str]) -> tuple[int, int] | None:
    """Return the first place in the text of the first of the forms that it has."""
    for form in forms:
        if spans := locate_values(text, [AnnotatedValue("", form)]):
            return spans[0].start, spans[0].end
    return None


def _overlapping_tokens(
    tokens: list[tuple[int, int]], place: tuple[int, int]
) -> tuple[int, int] | None:
    """Return the first and the last token that a place is in."""
    inside = [i for i, (start, end) in enumerate(tokens) if start < place[1] and place[0] < end]
    return (inside[0], inside[-1]) if inside else None


class _BeliefStateReader:
    """The belief states of a dialogue's turns, one after another.

    What a turn says of a domain is mostly what the turn before it said, and is read once if it is
    text (for 1 == True).
    """

    def __init__(self) -> None:
        self.last: dict[str, tuple[Any, Mapping[str, str]]] = {}

    def read(self, value: Any, name: str) -> BeliefState:
        """Return a state: what was sought (``semi``) and what is to be booked (``book``)."""
        known: dict[str, Mapping[str, str]] = {}
        for domain, parts in as_mapping(value or {}, name).items():
            last = self.last.get(domain)
            if last is None or last[0] != parts:
                slots, plain = _read_domain_slots(domain, parts, name)
                last = self.last[domain] = parts if plain else None, slots
            low = domain.lower()
            known[low] = {**known.get(low, {}), **last[1]}
        return {domain: slots for domain, slots in known.items() if slots}


def _read_domain_slots(domain: str, parts: Any, name: str) -> tuple[Mapping[str, str], bool]:
    """Return the slots of a domain of which something is known, and whether all are texts."""
    low, slots, plain = domain.lower(), dict[str, str](), True
    for part in ("book", "semi"):
        for slot, said in as_mapping(as_mapping(parts, name).get(part) or {}, name).items():
            if said and said != "not mentioned" and slot != "booked":
                first = as_texts(said, f"{name} '{domain}' '{slot}'")[:1]
                slots[canonical(low, slot)] = canonical_value("".join(first))
                plain &= type(said) is str
    return {slot: value for slot, value in slots.items() if value}, plain
