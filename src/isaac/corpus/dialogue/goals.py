"""What a user set out to find and to ask for, read from MultiWOZ's goals and bookings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...errors import CorpusError
from ...text import shorten
from .placeholders import DOMAINS, normalize_slot

REQUESTABLE_SLOTS = frozenset({"address", "phone", "postcode", "reference", "trainid"})
"""Slots that count for Success: those that can only be had from the database or a booking, in the
original evaluation of MultiWOZ as in the standardised one."""


class DomainGoal(NamedTuple):
    """What is wanted in one domain: ``constraints`` by slot, and slots ``requested``."""

    constraints: Mapping[str, str]
    requested: frozenset[str]


def parse_goal(goal: Any, dialogue: str) -> dict[str, DomainGoal]:
    """Return the aims of a goal by domain; none where there is no goal, as in MultiWOZ 2.2.

    In the layout of MultiWOZ 2.0 to 2.4: ``{domain: {"info": {…}, "reqt": […], "book": {…}}}``,
    where a domain that is not wanted is empty. A domain with a booking has its reference among
    what is requested. Raises `CorpusError` naming the dialogue if it has another shape.
    """
    if goal is None:
        return {}
    parts = _require_mapping(goal, f"dialogue {dialogue}: the goal")
    return {
        domain: _parse_domain_goal(parts[domain], f"dialogue {dialogue}: the goal's '{domain}'")
        for domain in DOMAINS
        if parts.get(domain)
    }


def _parse_domain_goal(part: Any, name: str) -> DomainGoal:
    fields = _require_mapping(part, name)
    info = _require_mapping(fields.get("info") or {}, f"{name}, 'info'")
    asked = fields.get("reqt") or []
    if isinstance(asked, str) or not isinstance(asked, (Sequence, Mapping)):
        raise CorpusError(f"{name}, 'reqt': wanted a list of slots, came {_describe_value(asked)}")
    requested = {normalize_slot(str(slot)) for slot in asked}
    if fields.get("book"):
        requested.add("reference")
    return DomainGoal(
        {normalize_slot(str(slot)): str(value) for slot, value in info.items()},
        frozenset(requested & REQUESTABLE_SLOTS),
    )


def find_booked_domains(log: Any, dialogue: str) -> list[frozenset[str]]:
    """Return which domains are booked after each system turn of a MultiWOZ 2.0 to 2.4 ``log``.

    Whether a booking goes through is not in the database: the standardised evaluation takes it
    from these annotations.
    """
    if not isinstance(log, list):
        raise CorpusError(
            f"dialogue {dialogue}: wanted a list of turns, came {_describe_value(log)}"
        )
    booked = []
    for index, turn in enumerate(log[1::2]):
        name = f"dialogue {dialogue}, response {index}"
        known = _require_mapping(
            _require_mapping(turn, name).get("metadata") or {}, f"{name}, 'metadata'"
        )
        booked.append(frozenset(domain for domain, part in known.items() if _is_booked(part)))
    return booked


def _is_booked(part: Any) -> bool:
    book = part.get("book") if isinstance(part, Mapping) else None
    return isinstance(book, Mapping) and bool(book.get("booked"))


def _require_mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise CorpusError(f"{name}: wanted an object, came {_describe_value(value)}")
    return value


def _describe_value(value: Any) -> str:
    return f"{type(value).__name__} ({shorten(repr(value), 40)})"
