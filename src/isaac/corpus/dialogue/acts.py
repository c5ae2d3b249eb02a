"""Canonical names for the dialogue acts, slots and values of MultiWOZ.

Releases of MultiWOZ spell the same slot in different ways (``Addr``, ``leaveAt``); the functions
here map every spelling to one canonical name.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from .schema import Act, BeliefState
from .validation import ReadingError, as_joined_text, as_list, as_mapping, as_text

SLOT_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "addr": "address",
        "post": "postcode",
        "dest": "destination",
        "depart": "departure",
        "leaveat": "leave",
        "arriveby": "arrive",
        "ref": "reference",
        "price": "pricerange",
        "ticket": "price",
        "trainid": "id",
        "entrancefee": "fee",
        "open": "openhours",
        "bookpeople": "people",
        "bookday": "day",
        "bookstay": "stay",
        "booktime": "time",
        "bookname": "name",
        "bookreference": "reference",
        "none": "",
    }
)
"""Canonical slot names, by their other spellings in lower case without spaces."""

DOMAIN_SLOT_ALIASES: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("train", "price"): "price",
        ("taxi", "price"): "price",
        ("train", "time"): "duration",
        ("taxi", "type"): "car",
    }
)
"""Exceptions to `SLOT_ALIASES`: slots that mean something else in one domain."""

EMPTY_VALUES = frozenset({"", "none", "not mentioned", "not given", "no mention"})
"""Annotated values that mean the slot has no value."""

DONT_CARE = re.compile(r"do\s?n(o|'|o')?\s?t\s?care")
"""The spellings of "don't care", which means that any value will do."""

BOOKABLE_DOMAINS = ("hotel", "restaurant")
"""Domains that MultiWOZ's ``Booking-…`` acts can refer to; these acts do not name their domain.

Trains are missing because they have their own booking acts.
"""

BOOKING_SLOTS = MappingProxyType({"stay": "hotel", "time": "restaurant"})
"""Booking slots that exist in only one domain, and that domain."""


@functools.lru_cache(maxsize=2**12)
def canonical_slot(domain: str, slot: str) -> str:
    """The canonical name of a MultiWOZ slot, the same in all releases; empty for ``none``.

    ``Addr`` becomes ``address``, ``leaveAt`` becomes ``leave``, and ``Price`` becomes
    ``pricerange`` except for trains and taxis. ``domain`` must be lower case.
    """
    compact = re.sub(r"[\s_]+", "", slot.lower())
    if (domain, compact) in DOMAIN_SLOT_ALIASES:
        return DOMAIN_SLOT_ALIASES[domain, compact]
    return SLOT_ALIASES.get(compact, compact)


@functools.lru_cache(maxsize=2**14)
def canonical_value(value: str) -> str:
    """A value in lower case; empty if it means "no value", ``dontcare`` if any value will do."""
    normalized = " ".join(value.lower().split())
    if normalized in EMPTY_VALUES:
        return ""
    return "dontcare" if DONT_CARE.fullmatch(normalized) else normalized


def parse_acts(value: Any, name: str) -> list[Act]:
    """Parse a turn's acts in MultiWOZ's format: ``{"Hotel-Inform": [["Area", "east"]]}``.

    Null or a string such as ``No Annotation`` means that there are none. ``name`` is where the
    value is in the record, for error messages.
    """
    if value is None or isinstance(value, str):
        return []
    return [
        parse_act(act_name, slot, slot_value)
        for act_name, pairs in as_mapping(value, name).items()
        for slot, slot_value in _parse_pairs(pairs, f"{name} '{act_name}'")
    ]


def _parse_pairs(value: Any, name: str) -> Iterator[tuple[str, str]]:
    pairs = as_list(value, name)
    if not pairs:
        yield "", ""
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ReadingError(f"{name} is not a list of [slot, value] pairs")
        yield as_text(pair[0], name), as_joined_text(pair[1], name)


def parse_act(name: str, slot: str, value: str) -> Act:
    """Parse one act from MultiWOZ's ``Domain-Intent`` name, a slot and its value."""
    domain, dash, intent = name.lower().rpartition("-")
    if not dash:
        return Act("", intent, canonical_slot("", slot), canonical_value(value))
    return Act(domain, intent, canonical_slot(domain, slot), canonical_value(value))


def act_string(acts: Iterable[Act]) -> str:
    """The acts as one string, without values: ``general-reqmore+hotel-inform-area``.

    Acts are sorted and deduplicated. The string is empty if there are none.
    """
    return "+".join(sorted({"-".join(part for part in act[:3] if part) for act in acts} - {""}))


class BookingDomainTracker:
    """Infers which domain a booking belongs to from the acts of the dialogue so far."""

    def __init__(self) -> None:
        self.current_domain = ""

    def observe(self, domain: str) -> None:
        """Note that the user is interested in a domain; ignored unless the domain is bookable."""
        if domain in BOOKABLE_DOMAINS:
            self.current_domain = domain

    def resolve_domain(self, acts: Sequence[Act]) -> str:
        """Infer the domain of a turn's ``Booking-…`` acts; ``booking`` if that is not possible.

        Checks, in this order: a slot that only one domain has, the other acts of this turn, and the
        last earlier turn about a bookable domain. Call it once per turn, in order.
        """
        from_slots = [
            BOOKING_SLOTS[act.slot]
            for act in acts
            if act.domain == "booking" and act.slot in BOOKING_SLOTS
        ]
        from_acts = [act.domain for act in acts if act.domain in BOOKABLE_DOMAINS]
        self.current_domain = next(iter([*from_slots, *from_acts]), self.current_domain)
        return self.current_domain or "booking"


def canonical_state(domains: Mapping[str, Mapping[str, str]]) -> BeliefState:
    """A belief state with canonical values, without empty values and empty domains."""
    state = {
        domain: {slot: text for slot, value in slots.items() if (text := canonical_value(value))}
        for domain, slots in domains.items()
    }
    return {domain: slots for domain, slots in state.items() if slots}
