"""Slot error rate: placeholders that are missing from a response, and superfluous ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from ...corpus.dialogue.placeholders import Placeholder, find_placeholders


class SlotErrors(NamedTuple):
    """Placeholder counts: ``wanted`` in references, ``given`` in responses, ``right`` in both."""

    wanted: int
    given: int
    right: int

    @property
    def missing(self) -> int:
        """The number of the references' placeholders that the responses lack."""
        return self.wanted - self.right

    @property
    def superfluous(self) -> int:
        """The number of the responses' placeholders that the references lack."""
        return self.given - self.right

    @property
    def rate(self) -> float | None:
        """Missing and superfluous placeholders, relative to the number in the references.

        Exceeds 1 if the responses have many superfluous ones (Wen et al. 2015); None if the
        references have no placeholders.
        """
        return (self.missing + self.superfluous) / self.wanted if self.wanted else None

    @property
    def precision(self) -> float | None:
        """The share of the responses' placeholders that are right; None if they have none."""
        return self.right / self.given if self.given else None

    @property
    def recall(self) -> float | None:
        """The share of the references' placeholders in the responses; None if there are none."""
        return self.right / self.wanted if self.wanted else None


def count_slot_errors(pairs: Iterable[tuple[str, str]]) -> SlotErrors:
    """Count the slot errors in (response, reference) pairs of delexicalized texts.

    Every occurrence counts. A placeholder without domain (``[value_name]``) matches one with any
    domain (``[hotel_name]``).
    """
    wanted = given = right = 0
    for response, reference in pairs:
        actual = Counter(find_placeholders(response))
        expected = Counter(find_placeholders(reference))
        wanted, given = wanted + expected.total(), given + actual.total()
        right += count_matches(actual, expected)
    return SlotErrors(wanted, given, right)


def count_matches(first: Counter[Placeholder], second: Counter[Placeholder]) -> int:
    """Count the placeholders of two texts that can be paired."""
    same = first & second
    left, right = first - same, second - same
    slots = {placeholder.slot for placeholder in left}
    return same.total() + sum(_count_domainless_matches(left, right, slot) for slot in slots)


def _count_domainless_matches(
    left: Counter[Placeholder], right: Counter[Placeholder], slot: str
) -> int:
    """Count the pairs of a slot's placeholders of which one has no domain.

    Equal placeholders have been removed, so only one side can have any without a domain.
    """
    without_domain = Placeholder("", slot)
    named_left = sum(count for each, count in left.items() if each.slot == slot and each.domain)
    named_right = sum(count for each, count in right.items() if each.slot == slot and each.domain)
    return min(left[without_domain], named_right) + min(right[without_domain], named_left)
