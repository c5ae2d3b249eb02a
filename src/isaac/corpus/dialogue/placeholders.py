"""Placeholders in delexicalized text, with names normalized across the spellings of systems."""

from __future__ import annotations

import re
from typing import NamedTuple

DOMAINS = ("restaurant", "hotel", "attraction", "train", "taxi", "police", "hospital")
"""The domains of MultiWOZ."""

NON_DOMAINS = frozenset({"value", "booking", "book", "general", "bus"})
"""Prefixes of placeholders that are in the place of a domain but are none of `DOMAINS`."""

SLOT_SPELLINGS = {
    "addr": "address",
    "arriveby": "arrive",
    "bookday": "day",
    "bookpeople": "people",
    "bookstay": "stay",
    "booktime": "time",
    "cartype": "car",
    "depart": "departure",
    "dest": "destination",
    "fee": "entrancefee",
    "id": "trainid",
    "leaveat": "leave",
    "post": "postcode",
    "ref": "reference",
    "ticket": "price",
    "train": "trainid",
}
"""Canonical slot names, by their other spellings without domain and underscores."""

UNIFIED_SLOTS = {
    "arrive": "time",
    "car": "type",
    "choice": "count",
    "departure": "place",
    "destination": "place",
    "duration": "time",
    "entrancefee": "price",
    "leave": "time",
    "people": "count",
    "pricerange": "price",
    "stars": "count",
    "stay": "count",
}
"""Slots that BLEU treats as one, as in the standardized evaluation (Nekvinda and Dušek 2021).

Systems name these slots too differently to compare them.
"""

LENIENT_PLACEHOLDER = re.compile(r"\[\s*([^\W\d_][\w .-]{0,60})\]")
"""A placeholder in any spelling: ``[hotel_name]``, ``[name]``, ``[arrive by]``."""

PLURAL_PLACEHOLDER = re.compile(LENIENT_PLACEHOLDER.pattern + r"(?:-?e?s\b)?")
"""The same, with a plural ending: ``[hotel_name]s``."""

NUMBER_SUFFIX = re.compile(r"_\d+$")
"""The number of a slot's second or later value: ``_2`` in ``[hotel_name_2]``."""

SEPARATORS = re.compile(r"[\s_.-]+")


class Placeholder(NamedTuple):
    """A placeholder; ``domain`` is empty if it names none, as in ``[value_name]``."""

    domain: str
    slot: str


def parse_placeholder(name: str) -> Placeholder:
    """Parse a placeholder's name, given without brackets, into domain and slot.

    ``hotel_name`` is the name of a hotel; ``name``, ``value_name`` and ``name_2`` are a name in any
    domain. Unknown slots keep their names.
    """
    normalized = NUMBER_SUFFIX.sub("", SEPARATORS.sub("_", name.strip().lower()).strip("_"))
    prefix, _, slot = normalized.partition("_")
    if slot and (prefix in DOMAINS or prefix in NON_DOMAINS):
        return Placeholder(prefix if prefix in DOMAINS else "", normalize_slot(slot))
    return Placeholder("train" if normalized == "train" else "", normalize_slot(normalized))


def normalize_slot(name: str) -> str:
    """Normalize a slot's name for comparison: lower case, one word, canonical spelling."""
    compact = SEPARATORS.sub("", name.lower())
    return SLOT_SPELLINGS.get(compact, compact)


def find_placeholders(text: str) -> list[Placeholder]:
    """Find the placeholders in a text, in order."""
    return [parse_placeholder(name) for name in LENIENT_PLACEHOLDER.findall(text)]


def unify_placeholders(text: str) -> str:
    """Lowercase a text and replace each placeholder by one capitalized word, such as ``NAME``.

    Drops domains and numbers, and merges slots as in `UNIFIED_SLOTS`, so that BLEU does not depend
    on how a system names its slots.
    """
    return PLURAL_PLACEHOLDER.sub(lambda match: _placeholder_word(match[1]), text.lower())


def _placeholder_word(name: str) -> str:
    slot = parse_placeholder(name).slot
    return UNIFIED_SLOTS.get(slot, slot).upper()


UNSPECIFIED_VALUES = frozenset({"", "none", "notmentioned"})
"""Values that mean the slot has no value, compared without spaces and apostrophes."""


def compact_value(value: str) -> str:
    """A value in lower case, without spaces and apostrophes."""
    return re.sub(r"[\s'’`]", "", value.lower())


def is_specified(value: str) -> bool:
    """Whether a slot has a value at all; "don't care" is one."""
    return compact_value(value) not in UNSPECIFIED_VALUES
