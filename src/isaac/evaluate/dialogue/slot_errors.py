"""Slot error rate: placeholders that are missing from a response, and superfluous ones.

A placeholder with a broader or narrower name of the same (``[time]`` for ``[leave]``) is no error;
it is counted on its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ...corpus.dialogue.placeholders import UNIFIED_SLOTS, Placeholder, find_placeholders


class SlotErrors(NamedTuple):
    """Placeholder counts: ``wanted`` in references, ``given`` in responses, ``right`` in both.

    ``synonyms`` counts those in both under a broader or narrower name; they are no errors.
    """

    wanted: int
    given: int
    right: int
    synonyms: int = 0

    @property
    def missing(self) -> int:
        """The number of the references' placeholders that the responses lack."""
        return self.wanted - self.right - self.synonyms

    @property
    def superfluous(self) -> int:
        """The number of the responses' placeholders that the references lack."""
        return self.given - self.right - self.synonyms

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
        return (self.right + self.synonyms) / self.given if self.given else None

    @property
    def recall(self) -> float | None:
        """The share of the references' placeholders in the responses; None if there are none."""
        return (self.right + self.synonyms) / self.wanted if self.wanted else None


def count_slot_errors(pairs: Iterable[tuple[str, str]]) -> SlotErrors:
    """Count the slot errors in (response, reference) pairs of delexicalized texts.

    Every occurrence counts. A placeholder without domain (``[value_name]``) matches one with any
    domain (``[hotel_name]``). What is left is paired with `are_synonyms`.
    """
    wanted = given = right = synonyms = 0
    for response, reference in pairs:
        actual = Counter(find_placeholders(response))
        expected = Counter(find_placeholders(reference))
        wanted, given = wanted + expected.total(), given + actual.total()
        right += sum(_take_pairs(actual, expected, fits) for fits in (_are_equal, _are_same_slot))
        synonyms += _take_pairs(actual, expected, are_synonyms)
    return SlotErrors(wanted, given, right, synonyms)


def are_synonyms(first: Placeholder, second: Placeholder) -> bool:
    """Whether two placeholders may stand for the same value under a broader and a narrower name.

    ``[time]`` is broader than ``[leave]`` and ``[arrive]``, which do not stand for each other.
    """
    names = first.slot, second.slot
    return _share_domain(first, second) and any(
        UNIFIED_SLOTS.get(narrow) == broad for narrow, broad in (names, names[::-1])
    )


def _are_equal(first: Placeholder, second: Placeholder) -> bool:
    return first == second


def _are_same_slot(first: Placeholder, second: Placeholder) -> bool:
    return first.slot == second.slot and _share_domain(first, second)


def _share_domain(first: Placeholder, second: Placeholder) -> bool:
    return first.domain == second.domain or not (first.domain and second.domain)


def _take_pairs(
    left: Counter[Placeholder],
    right: Counter[Placeholder],
    fits: Callable[[Placeholder, Placeholder], bool],
) -> int:
    """Remove the pairs that fit from both sides, and count them."""
    taken = 0
    for first in sorted(left):
        for second in sorted(right):
            if fits(first, second):
                count = min(left[first], right[second])
                left[first] -= count
                right[second] -= count
                taken += count
    return taken
