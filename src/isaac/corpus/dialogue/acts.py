"""Dialogue acts under one set of names, however a version of a corpus calls their slots."""

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
"""Other names of MultiWOZ's slots, lower case and without spaces, and the one used here."""

DOMAIN_SLOT_ALIASES: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("train", "price"): "price",
        ("taxi", "price"): "price",
        ("train", "time"): "duration",
        ("taxi", "type"): "car",
    }
)
"""Slots that mean something else in one domain."""

EMPTY_VALUES = frozenset({"", "none", "not mentioned", "not given", "no mention"})
"""Values that say that there is none."""

DONT_CARE = re.compile(r"do\s?n(o|'|o')?\s?t\s?care")
"""The ways to write that any value will do."""

BOOKABLE_DOMAINS = ("hotel", "restaurant")
"""What MultiWOZ's ``resolve_domain`` acts can be of, which do not say of which; trains have their own."""

BOOKING_SLOTS = MappingProxyType({"stay": "hotel", "time": "restaurant"})
"""Slots of a booking that only one domain has."""


@functools.lru_cache(maxsize=2**12)
def canonical_slot(domain: str, slot: str) -> str:
    """Return MultiWOZ's slot under the name that all versions share; empty where it is none.

    ``Addr`` is ``address``, ``leaveAt`` is ``leave``, and ``Price`` is ``pricerange`` but for
    trains. The domain is lower case.
    """
    plain = re.sub(r"[\s_]+", "", slot.lower())
    if (domain, plain) in DOMAIN_SLOT_ALIASES:
        return DOMAIN_SLOT_ALIASES[domain, plain]
    return SLOT_ALIASES.get(plain, plain)


@functools.lru_cache(maxsize=2**14)
def canonical_value(value: str) -> str:
    """Return a value in lower case; empty where it says none, ``dontcare`` where any will do."""
    plain = " ".join(value.lower().split())
    if plain in EMPTY_VALUES:
        return ""
    return "dontcare" if DONT_CARE.fullmatch(plain) else plain


def parse_acts(value: Any, name: str) -> list[Act]:
    """Return MultiWOZ's acts, ``{"Hotel-Inform": [["Area", "east"]]}``.

    A text such as ``No Annotation`` and null stand for none.
    """
    if value is None or isinstance(value, str):
        return []
    return [
        parse_act(key, slot, content)
        for key, pairs in as_mapping(value, name).items()
        for slot, content in _parse_pairs(pairs, f"{name} '{key}'")
    ]


def _parse_pairs(value: Any, name: str) -> Iterator[tuple[str, str]]:
    pairs = as_list(value, name)
    if not pairs:
        yield "", ""
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ReadingError(f"{name} is not a list of pairs of slot and value")
        yield as_text(pair[0], name), as_joined_text(pair[1], name)


def parse_act(name: str, slot: str, value: str) -> Act:
    """Return the act of MultiWOZ's ``Domain-Intent`` with a slot and its value."""
    domain, dash, intent = name.lower().rpartition("-")
    if not dash:
        return Act("", intent, canonical_slot("", slot), canonical_value(value))
    return Act(domain, intent, canonical_slot(domain, slot), canonical_value(value))


def act_string(acts: Iterable[Act]) -> str:
    """Return what the acts do, values left out: ``general-reqmore+hotel-inform-area``.

    Sorted, each act once; empty where there are no acts.
    """
    return "+".join(sorted({"-".join(part for part in act[:3] if part) for act in acts} - {""}))


class BookingDomainTracker:
    """Which domain a booking is of, told from the acts of the dialogue up to it."""

    def __init__(self) -> None:
        self.last = ""

    def observe(self, domain: str) -> None:
        """Take a domain that the user is said to be after, if it can be booked."""
        self.last = domain if domain in BOOKABLE_DOMAINS else self.last

    def resolve_domain(self, acts: Sequence[Act]) -> str:
        """Return the domain of a turn's ``resolve_domain`` acts; ``resolve_domain`` where it cannot be told.

        A slot that only one domain has tells it, then this turn's other acts, then the last turn
        that was about something that can be booked. To be called turn by turn.
        """
        told = [BOOKING_SLOTS[a.slot] for a in acts if a[0] == "booking" and a[2] in BOOKING_SLOTS]
        here = [act.domain for act in acts if act.domain in BOOKABLE_DOMAINS]
        self.last = next(iter([*told, *here]), self.last)
        return self.last or "booking"


def canonical_state(domains: Mapping[str, Mapping[str, str]]) -> BeliefState:
    """Return a belief state without what is not known: no empty value, no empty domain."""
    known = {
        domain: {slot: said for slot, value in slots.items() if (said := canonical_value(value))}
        for domain, slots in domains.items()
    }
    return {domain: slots for domain, slots in known.items() if slots}
