"""Slot error rate: placeholders that a response lacks or has too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from ...corpus.dialogue.placeholders import Placeholder, find_placeholders


class SlotErrors(NamedTuple):
    """How many placeholders the references hold, the responses hold, and both."""

    wanted: int
    given: int
    right: int

    @property
    def missing(self) -> int:
        """Placeholders of references that the responses lack."""
        return self.wanted - self.right

    @property
    def superfluous(self) -> int:
        """Placeholders of responses that the references lack."""
        return self.given - self.right

    @property
    def rate(self) -> float | None:
        """Missing and superfluous placeholders as a part of those of the references.

        Over 1 if the responses hold many that are not wanted (Wen et al. 2015); None
        if the references hold none.
        """
        return (self.missing + self.superfluous) / self.wanted if self.wanted else None

    @property
    def precision(self) -> float | None:
        """The share of the responses' placeholders that are right; None without any."""
        return self.right / self.given if self.given else None

    @property
    def recall(self) -> float | None:
        """The share of the references' placeholders that are there; None without any."""
        return self.right / self.wanted if self.wanted else None


def count_slot_errors(pairs: Iterable[tuple[str, str]]) -> SlotErrors:
    """Return the slot errors of delexicalised responses, each given with its reference.

    A placeholder counts as often as it occurs. One without domain (``[value_name]``) is the same
    as one with any (``[hotel_name]``).
    """
    wanted = given = right = 0
    for response, reference in pairs:
        there, due = Counter(find_placeholders(response)), Counter(find_placeholders(reference))
        wanted, given = wanted + due.total(), given + there.total()
        right += count_matches(there, due)
    return SlotErrors(wanted, given, right)


def count_matches(one: Counter[Placeholder], other: Counter[Placeholder]) -> int:
    """Return how many placeholders of two texts can be paired."""
    same = one & other
    left, right = one - same, other - same
    slots = {placeholder.slot for placeholder in left}
    return same.total() + sum(_count_domainless_matches(left, right, slot) for slot in slots)


def _count_domainless_matches(
    left: Counter[Placeholder], right: Counter[Placeholder], slot: str
) -> int:
    """Return how many of a slot can be paired where one side names no domain.

    What is the same on both sides is gone, so that only one of them has any without domain.
    """
    bare = Placeholder("", slot)
    named_left = sum(n for one, n in left.items() if one.slot == slot and one.domain)
    named_right = sum(n for one, n in right.items() if one.slot == slot and one.domain)
    return min(left[bare], named_right) + min(right[bare], named_left)
