"""Reader of MultiWOZ 2.0, 2.1 and 2.4: a ``log`` of turns, user and system alternating.

The format is documented in the releases (budzianowski/multiwoz, smartyfh/MultiWOZ2.4): a goal per
dialogue, belief states (``metadata``) on system turns, and since 2.1 ``dialog_act`` and
``span_info`` on every turn. Releases may also keep the system's acts in a separate file
(``dialogue_acts.json`` in 2.0, ``system_acts.json`` in 2.1), keyed by the number of the system
turn, counted from 1. The column `ACTS_COLUMN` of a record has the acts of its dialogue from that
file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from ...text import shorten
from .acts import BookingDomainTracker, canonical_slot, canonical_value, parse_act, parse_acts
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
"""Maximum number of word pairs to compare when aligning a changed text with the original."""

ACTS_COLUMN = "dialog_acts"
"""The column of a record with its dialogue's acts from a separate act file."""


@dataclass(frozen=True)
class MultiWOZReader:
    """Reads and rewrites records with a ``goal`` and a ``log``, one dialogue each."""

    name: str

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the record has a ``log`` of turns with ``text``."""
        log = record.get("log")
        first = log[0] if isinstance(log, list) and log else None
        return isinstance(first, Mapping) and "text" in first

    def read(self, record: Mapping[str, Any]) -> Dialogue:
        """Parse the dialogue; raises `ReadingError`, with the reason, if it cannot be read."""
        dialogue_id = read_dialogue_id(record, "dialogue_id", "id")
        goal = as_mapping(record.get("goal") or {}, "'goal'")
        log = as_turns(record.get("log"), "'log'")
        separate_acts = _read_separate_acts(record, dialogue_id, len(log))
        bookings, states = BookingDomainTracker(), _BeliefStateReader()
        turns = []
        for index, entry in enumerate(log):
            name = f"'log' turn {index}"
            turn = as_mapping(entry, name)
            annotated = turn.get("dialog_act", separate_acts.get(index))
            acts = parse_acts(annotated, f"{name} 'dialog_act'")
            turns.append(_build_turn(index, turn, acts, bookings.resolve_domain(acts), states))
        return Dialogue(dialogue_id, tuple(turns), goal)

    def replaced(self, record: Mapping[str, Any], index: int, text: str) -> dict[str, Any]:
        """Copy the record, with the text of one system turn replaced.

        The turn's ``span_info`` is updated: values that the new text contains get their new
        positions, the others are removed. ``dialog_act`` and ``metadata`` stay unchanged.
        """
        log = list(as_turns(record.get("log"), "'log'"))
        if not 0 <= index < len(log) or index % 2 == 0:
            raise ReadingError(
                f"'log' turn {index} is not a system turn; there are {len(log)} turns"
            )
        turn = dict(as_mapping(log[index], f"'log' turn {index}"))
        if turn.get("text") == text:
            return dict(record)
        if turn.get("span_info"):
            turn["span_info"] = _update_span_info(turn, text)
        log[index] = {**turn, "text": text}
        return {**record, "log": log}

    def cut(self, record: Mapping[str, Any], index: int) -> dict[str, Any]:
        """Copy the record with the log and the separate acts up to one turn."""
        changed = {**record, "log": list(record["log"])[: index + 1]}
        if isinstance(record.get(ACTS_COLUMN), Mapping):
            acts = record[ACTS_COLUMN].items()
            # system turn 1 is the turn with index 1 of the log, system turn 2 that with index 3
            changed[ACTS_COLUMN] = {key: each for key, each in acts if 2 * int(key) - 1 <= index}
        return changed


def _read_separate_acts(
    record: Mapping[str, Any], dialogue_id: str, turn_count: int
) -> dict[int, Any]:
    """Read the acts from a separate act file, by the turn's index in the log."""
    by_index = {}
    for key, acts in as_mapping(record.get(ACTS_COLUMN) or {}, f"'{ACTS_COLUMN}'").items():
        index = 2 * int(key) - 1 if key.isdecimal() and len(key) < 9 else -1
        if not 0 < index < turn_count:
            raise ReadingError(
                f"'{ACTS_COLUMN}' of dialogue '{dialogue_id}' names system turn "
                f"{shorten(key, 40)!r}, but the dialogue has {turn_count // 2} system turns"
            )
        by_index[index] = acts
    return by_index


def _build_turn(
    index: int, turn: Mapping[str, Any], acts: list[Act], booking: str, states: _BeliefStateReader
) -> DialogueTurn:
    """Build a turn with its acts, the spans of its values, and the belief state after it."""
    name = f"'log' turn {index}"
    text = as_text(turn.get("text"), f"{name} 'text'")
    spans_in_tokens = read_span_info(turn.get("span_info"), name, booking)
    annotated = [*_to_character_positions(spans_in_tokens, find_token_offsets(text))]
    spans = locate_values(text, add_unannotated(annotated, values_from_acts(acts, booking)))
    if index % 2 == 0:
        return DialogueTurn(index, "user", text, tuple(acts), spans)
    state = states.read(turn.get("metadata"), f"{name} 'metadata'")
    return DialogueTurn(index, "assistant", text, tuple(acts), spans, state)


def values_from_acts(acts: Sequence[Act], booking: str) -> list[AnnotatedValue]:
    """The values that acts name, without positions; see `qualify_slot` for ``booking``."""
    return [
        AnnotatedValue(qualify_slot(act.domain, act.slot, booking), act.value)
        for act in acts
        if act.slot
    ]


def add_unannotated(
    annotated: list[AnnotatedValue], values: Iterable[AnnotatedValue]
) -> list[AnnotatedValue]:
    """The annotated values, followed by those of ``values`` that are not annotated."""
    known = {(each.slot, each.value.lower()) for each in annotated}
    return [*annotated, *(each for each in values if (each.slot, each.value) not in known)]


def qualify_slot(domain: str, slot: str, booking: str) -> str:
    """Prefix a span's slot with its domain; ``booking`` is the domain of booking acts."""
    domain = booking if domain == "booking" else domain
    return f"{domain or 'value'}_{canonical_slot(domain, slot)}"


def read_span_info(value: Any, name: str, booking: str) -> Iterator[AnnotatedValue]:
    """Yield the values in ``span_info``, with their positions unchanged.

    These count tokens in MultiWOZ 2.1 and 2.4, and characters in 2.2.
    """
    for each in as_list(value or [], f"{name} 'span_info'"):
        entry = parse_span_entry(each, name)
        domain = parse_act(entry.act, entry.slot, entry.value).domain
        slot = qualify_slot(domain, entry.slot, booking)
        yield AnnotatedValue(slot, entry.value, entry.start, entry.end)


def _to_character_positions(
    values: Iterable[AnnotatedValue], tokens: list[tuple[int, int]]
) -> Iterator[AnnotatedValue]:
    """Convert positions from tokens to characters; -1 if a position is outside the text."""
    for value in values:
        start = end = -1
        if 0 <= value.start <= value.end < len(tokens):
            start, end = tokens[value.start][0], tokens[value.end][1]
        yield value._replace(start=start, end=end)


class SpanEntry(NamedTuple):
    """An entry of ``span_info``; a position is -1 if the record has no number for it."""

    act: str
    slot: str
    value: str
    start: int
    end: int


def parse_span_entry(value: Any, name: str) -> SpanEntry:
    """Parse an entry of ``span_info``: a list of act, slot, value, start and end."""
    if not isinstance(value, list) or len(value) != 5:
        raise ReadingError(f"{name} 'span_info' is not a list of act, slot, value, start, end")
    act, slot, surface = [as_joined_text(part, f"{name} 'span_info'") for part in value[:3]]
    start, end = (part if type(part) is int else -1 for part in value[3:])
    return SpanEntry(act, slot, surface, start, end)


def _update_span_info(turn: Mapping[str, Any], text: str) -> list[Any]:
    """Update a turn's ``span_info`` for a new text.

    A value whose words both texts share moves with these words. Any other value gets its first
    position in the new text, or is removed if the text does not contain it.
    """
    tokens, old_words = find_token_offsets(text), turn.get("text", "").split()
    alignment = _align_words(old_words, text.split())
    updated: list[Any] = []
    for each in as_list(turn["span_info"], "'span_info'"):
        act, slot, value, start, end = parse_span_entry(each, "the turn's")
        inside = range(start, end + 1) if 0 <= start <= end < len(old_words) else range(0)
        places = [alignment.get(place, -1) for place in inside]
        # All words of the value are in the new text, and still next to each other.
        if places and -1 not in places and places[-1] - places[0] == end - start:
            updated.append([act, slot, value, places[0], places[-1]])
            continue
        forms = [" ".join(old_words[start : end + 1])] if inside else []
        mention = find_first_mention(text, [value, *forms])
        if mention and (covered := _overlapping_tokens(tokens, mention)):
            updated.append([act, slot, text[slice(*mention)], *covered])
    return updated


def _align_words(old: list[str], new: list[str]) -> dict[int, int]:
    """Map the positions of words in a text to their positions in a changed text.

    Words at the beginning and the end that both texts share are always mapped. The words in between
    are mapped only if they have at most `MAX_WORD_PAIRS` pairs; comparing more would be too slow.
    """
    head = _common_prefix_length(old, new)
    tail = min(_common_prefix_length(old[::-1], new[::-1]), len(old) - head, len(new) - head)
    mapping = {position: position for position in range(head)}
    mapping |= {len(old) - step: len(new) - step for step in range(1, tail + 1)}
    left, right = old[head : len(old) - tail], new[head : len(new) - tail]
    if len(left) * len(right) <= MAX_WORD_PAIRS:
        matcher = SequenceMatcher(None, left, right, autojunk=False)
        for old_start, new_start, size in matcher.get_matching_blocks():
            mapping |= {head + old_start + step: head + new_start + step for step in range(size)}
    return mapping


def _common_prefix_length(left: Sequence[str], right: Sequence[str]) -> int:
    """Count the words at the beginning that two texts share."""
    differ = (
        position
        for position, pair in enumerate(zip(left, right, strict=False))
        if pair[0] != pair[1]
    )
    return next(differ, min(len(left), len(right)))


def find_first_mention(text: str, forms: Sequence[str]) -> tuple[int, int] | None:
    """Find the first mention of the first form that the text contains; None if it has none."""
    for form in forms:
        if spans := locate_values(text, [AnnotatedValue("", form)]):
            return spans[0].start, spans[0].end
    return None


def _overlapping_tokens(
    tokens: list[tuple[int, int]], span: tuple[int, int]
) -> tuple[int, int] | None:
    """Find the first and the last token that a span of characters overlaps."""
    inside = [
        number for number, (start, end) in enumerate(tokens) if start < span[1] and span[0] < end
    ]
    return (inside[0], inside[-1]) if inside else None


class _BeliefStateReader:
    """Reads the belief states of a dialogue, turn by turn.

    Most domains do not change from one turn to the next, so an unchanged domain is not parsed
    again. A domain is compared only if all its values are text: Python considers 1 and True equal,
    but they are read as different values.
    """

    def __init__(self) -> None:
        # By domain: its JSON in the last turn (None if some value is not text), and its slots.
        self.last: dict[str, tuple[Any, Mapping[str, str]]] = {}

    def read(self, value: Any, name: str) -> BeliefState:
        """Parse a state: constraints on the search (``semi``) and on the booking (``book``)."""
        state: dict[str, Mapping[str, str]] = {}
        for domain, parts in as_mapping(value or {}, name).items():
            last = self.last.get(domain)
            if last is None or last[0] != parts:
                slots, all_text = _read_domain_slots(domain, parts, name)
                last = self.last[domain] = parts if all_text else None, slots
            key = domain.lower()
            state[key] = {**state.get(key, {}), **last[1]}
        return {domain: slots for domain, slots in state.items() if slots}


def _read_domain_slots(domain: str, parts: Any, name: str) -> tuple[Mapping[str, str], bool]:
    """Read the slots of a domain that have a value, and whether all values are text."""
    key, slots, all_text = domain.lower(), dict[str, str](), True
    for part in ("book", "semi"):
        for slot, value in as_mapping(as_mapping(parts, name).get(part) or {}, name).items():
            if value and value != "not mentioned" and slot != "booked":
                first = as_texts(value, f"{name} '{domain}' '{slot}'")[:1]
                slots[canonical_slot(key, slot)] = canonical_value("".join(first))
                all_text &= type(value) is str
    return {slot: value for slot, value in slots.items() if value}, all_text
