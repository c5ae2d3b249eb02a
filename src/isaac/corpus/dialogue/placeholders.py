"""Placeholders of delexicalised text, under one name each however a system writes them."""

from __future__ import annotations

import re
from typing import NamedTuple

DOMAINS = ("restaurant", "hotel", "attraction", "train", "taxi", "police", "hospital")
"""The domains of MultiWOZ."""

NON_DOMAINS = frozenset({"value", "booking", "book", "general", "bus"})
"""What stands before a slot where a domain would, and names none of `DOMAINS`."""

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
"""Other spellings of slots, without domain and underscores."""

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
"""Slots that the standardised evaluation does not tell apart in BLEU: systems name them too
differently (Nekvinda and Dušek 2021)."""

LENIENT_PLACEHOLDER = re.compile(r"\[\s*([^\W\d_][\w .-]{0,60})\]")
PLURAL_PLACEHOLDER = re.compile(LENIENT_PLACEHOLDER.pattern + r"(?:-?e?s\b)?")
NUMBER_SUFFIX = re.compile(r"_\d+$")
SEPARATORS = re.compile(r"[\s_.-]+")


class Placeholder(NamedTuple):
    """A placeholder; ``domain`` is empty where it names none, as in ``[value_name]``."""

    domain: str
    slot: str


def parse_placeholder(name: str) -> Placeholder:
    """Return what is meant by a placeholder's name, given without its brackets.

    ``hotel_name`` is a hotel's name; ``name``, ``value_name`` and ``name_2`` are anything's name.
    A slot that is not known keeps its name.
    """
    plain = NUMBER_SUFFIX.sub("", SEPARATORS.sub("_", name.strip().lower()).strip("_"))
    first, _, rest = plain.partition("_")
    if rest and (first in DOMAINS or first in NON_DOMAINS):
        return Placeholder(first if first in DOMAINS else "", normalize_slot(rest))
    return Placeholder("train" if plain == "train" else "", normalize_slot(plain))


def normalize_slot(name: str) -> str:
    """Return a slot's name as it is compared: lower case, one word, one spelling."""
    plain = SEPARATORS.sub("", name.lower())
    return SLOT_SPELLINGS.get(plain, plain)


def find_placeholders(text: str) -> list[Placeholder]:
    """Return the placeholders of a text in their order."""
    return [parse_placeholder(name) for name in LENIENT_PLACEHOLDER.findall(text)]


def unify_placeholders(text: str) -> str:
    """Return a text in lower case with each placeholder as one word in capitals, ``NAME`` say.

    Domains and numbers are left out, and slots that are one in `UNIFIED_SLOTS` become one, so that BLEU
    does not depend on a system's way to name them.
    """
    return PLURAL_PLACEHOLDER.sub(lambda found: _placeholder_word(found[1]), text.lower())


def _placeholder_word(name: str) -> str:
    slot = parse_placeholder(name).slot
    return UNIFIED_SLOTS.get(slot, slot).upper()


UNSPECIFIED_VALUES = frozenset({"", "none", "notmentioned"})
"""Values, without spaces and apostrophes, that say that nothing was said."""


def compact_value(value: str) -> str:
    """Return a value in lower case, without spaces and apostrophes."""
    return re.sub(r"[\s'’`]", "", value.lower())


def is_specified(value: str) -> bool:
    """Say whether a value says something; that it does not matter is something."""
    return compact_value(value) not in UNSPECIFIED_VALUES
