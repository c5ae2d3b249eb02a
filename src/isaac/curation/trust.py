"""Trust: how far several signals agree that a response is like others of the corpus.

Typicality scores one text at a time, so it is noisy: a harmless sentence can be worded oddly. Two
more signals correct it: the typicality of the most similar other responses, which says whether
*what is said* is common in the corpus, and phrasing, which tells typical turns of phrase from odd
ones. Trust adds the ranks of all signals (benchmarks/trust.py measures it against labels).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..runtime.arrays import Ints, Reals
from .resources import Tools
from .search.exact import find_nearest_in_parallel
from .vectors import GridVectors

SMOOTHING_NEIGHBORS = 20
"""Similar responses whose typicality is averaged; between 5 and 60, the number hardly matters."""

MAX_REFERENCES = 16_384
"""Maximum number of responses among which the similar ones are searched.

Responses are in the order of their hashes, so the first ones are a fair sample.
"""


class GroupRanks:
    """The ranks of values among the groups of near-duplicates of a corpus.

    ``values`` and ``groups`` have shape (n,). A group has the highest value of its members, and
    counts once, however often its text is repeated. The share is 0 only for a value below that of
    every group, its own included.
    """

    def __init__(self, values: Reals, groups: Ints) -> None:
        _, numbers = np.unique(groups, return_inverse=True)
        best = np.full(int(numbers.max(initial=-1)) + 1, -np.inf)
        np.maximum.at(best, numbers.reshape(-1), values)
        self.best = np.sort(best)

    def rank(self, values: Reals) -> Reals:
        """The share (m,) of the groups that have no higher value than each of ``values`` (m,)."""
        below = np.searchsorted(self.best, values, side="right")
        return np.asarray(below / max(len(self.best), 1))


class SmoothedTypicality:
    """The typicality of the responses that are most similar to a response.

    ``vectors`` (t, d) are the vectors of distinct responses, ``typicality`` (t,) and ``groups``
    (t,) their typicality and their groups of near-duplicates. One response of each group, the first
    one, serves as a reference, so repeating a text does not make it typical.
    """

    def __init__(self, vectors: GridVectors, typicality: Reals, groups: Ints) -> None:
        _, first = np.unique(groups, return_index=True)
        references = np.sort(first)[:MAX_REFERENCES]
        self.vectors = vectors[references]
        self.typicality, self.groups = typicality[references], groups[references]

    def compute(self, vectors: GridVectors, groups: Ints, tools: Tools) -> Reals:
        """Average the typicality of the nearest references of vectors (m, d), shape (m,).

        The reference of a response's own group (m,) is left out; -1 is the group of a response that
        is not in the corpus.
        """
        count = SMOOTHING_NEIGHBORS + 1
        near = find_nearest_in_parallel(vectors, self.vectors, count, tools.threads).indices
        is_other = self.groups[near] != groups[:, None]
        # Of the 21 nearest, at most one is its own: keep the first 20 of the others.
        is_other &= np.cumsum(is_other, axis=1) <= SMOOTHING_NEIGHBORS
        counts = is_other.sum(axis=1)
        sums = (self.typicality[near] * is_other).sum(axis=1)
        return np.asarray(sums / np.maximum(counts, 1))


class TrustModel:
    """Trust in responses: the share of the corpus's groups of near-duplicates that rank no higher.

    Trust is the rank of the sum of the ranks of several signals. ``signals`` has the scores (t,) of
    the corpus's distinct responses by each signal, higher for more trusted ones; ``groups`` (t,)
    are their groups of near-duplicates.
    """

    def __init__(self, signals: Mapping[str, Reals], groups: Ints) -> None:
        self._ranks = {name: GroupRanks(scores, groups) for name, scores in signals.items()}
        self._sums = GroupRanks(self._add_ranks(signals), groups)

    def score(self, signals: Mapping[str, Reals]) -> Reals:
        """The trust (m,) in responses with these scores (m,) by each signal."""
        return self._sums.rank(self._add_ranks(signals))

    def _add_ranks(self, signals: Mapping[str, Reals]) -> Reals:
        ranks = [ranking.rank(signals[name]) for name, ranking in self._ranks.items()]
        return np.asarray(np.sum(ranks, axis=0))
