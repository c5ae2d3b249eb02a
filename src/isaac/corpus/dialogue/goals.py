"""User goals and bookings of MultiWOZ: what the user wants to find, to learn and to book."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...errors import CorpusError
from ...text import shorten
from .placeholders import DOMAINS, normalize_slot

REQUESTABLE_SLOTS = frozenset({"address", "phone", "postcode", "reference", "trainid"})
"""Slots that count for Success: only the database or a booking can provide their values.

Both the original evaluation of MultiWOZ and the standardized one use these slots.
"""


class DomainGoal(NamedTuple):
    """The goal in one domain: the value that each slot must have, and the slots to ask for."""

    constraints: Mapping[str, str]
    requested: frozenset[str]


def parse_goal(goal: Any, dialogue: str) -> dict[str, DomainGoal]:
    """Parse a dialogue's goal, by domain; empty if there is none, as in MultiWOZ 2.2.

    MultiWOZ 2.0 to 2.4 store goals as ``{domain: {"info": {…}, "reqt": […], "book": {…}}}``. A
    domain with an empty value is not part of the goal; one with a booking also requests its
    reference. Raises `CorpusError`, naming the dialogue, if the goal has another shape.
    """
    if goal is None:
        return {}
    domains = _require_mapping(goal, f"dialogue {dialogue}: the goal")
    return {
        domain: _parse_domain_goal(domains[domain], f"dialogue {dialogue}: the goal's '{domain}'")
        for domain in DOMAINS
        if domains.get(domain)
    }


def _parse_domain_goal(value: Any, name: str) -> DomainGoal:
    fields = _require_mapping(value, name)
    info = _require_mapping(fields.get("info") or {}, f"{name}, 'info'")
    requests = fields.get("reqt") or []
    if isinstance(requests, str) or not isinstance(requests, (Sequence, Mapping)):
        raise CorpusError(
            f"{name}, 'reqt': expected a list of slots, got {_describe_value(requests)}"
        )
    requested = {normalize_slot(str(slot)) for slot in requests}
    if fields.get("book"):
        requested.add("reference")
    return DomainGoal(
        {normalize_slot(str(slot)): str(constraint) for slot, constraint in info.items()},
        frozenset(requested & REQUESTABLE_SLOTS),
    )


def find_booked_domains(log: Any, dialogue: str) -> list[frozenset[str]]:
    """Find the domains that are booked after each system turn of a MultiWOZ 2.0 to 2.4 ``log``.

    The database does not show whether a booking succeeds, so the standardized evaluation takes that
    from these annotations. Raises `CorpusError`, naming the dialogue, if they are malformed.
    """
    if not isinstance(log, list):
        raise CorpusError(
            f"dialogue {dialogue}: expected a list of turns, got {_describe_value(log)}"
        )
    booked = []
    for index, turn in enumerate(log[1::2]):
        name = f"dialogue {dialogue}, response {index}"
        metadata = _require_mapping(
            _require_mapping(turn, name).get("metadata") or {}, f"{name}, 'metadata'"
        )
        booked.append(frozenset(domain for domain, state in metadata.items() if _is_booked(state)))
    return booked


def _is_booked(state: Any) -> bool:
    book = state.get("book") if isinstance(state, Mapping) else None
    return isinstance(book, Mapping) and bool(book.get("booked"))


def _require_mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise CorpusError(f"{name}: expected an object, got {_describe_value(value)}")
    return value


def _describe_value(value: Any) -> str:
    return f"{type(value).__name__} ({shorten(repr(value), 40)})"
