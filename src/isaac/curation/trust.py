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
from .signals.combine import ANCHOR, combine_signals
from .signals.ranks import Ranking
from .vectors import GridVectors

SMOOTHING_NEIGHBORS = 20
"""Similar responses whose typicality is averaged; between 5 and 60, the number hardly matters."""

MAX_REFERENCES = 16_384
"""Maximum number of responses among which the similar ones are searched.

Responses are in the order of their hashes, so the first ones are a fair sample.
"""


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
    """Trust in responses: their rank, from 0 to 1, among the corpus's groups of near-duplicates.

    ``typicality`` (t,) is that of the distinct responses of a corpus, ``signals`` has their scores
    (t,) by other signals, higher for more trusted ones; ``groups`` and ``folds`` (t,) are their
    groups of near-duplicates and their folds. The signal ``similar`` (`SmoothedTypicality`) is
    added to the typicality, and each other signal counts if it agrees with their sum; see
    `combine_signals`. ``vetoes`` are signals that only move the worst responses to the end.
    """

    def __init__(
        self,
        typicality: Reals,
        signals: Mapping[str, Reals],
        groups: Ints,
        folds: Ints,
        vetoes: Mapping[str, Reals] | None = None,
    ) -> None:
        self._similar = Ranking(signals["similar"], groups) if "similar" in signals else None
        combined = combine_signals(self._join(typicality, signals), groups, folds, vetoes)
        self.trust, self.decisions = combined.trust, combined.decisions
        self._rank_new = combined.rank

    def score(
        self,
        typicality: Reals,
        signals: Mapping[str, Reals],
        vetoes: Mapping[str, Reals] | None = None,
    ) -> Reals:
        """The trust (m,) in responses that are not in the corpus, from the same signals (m,)."""
        return self._rank_new(self._join(typicality, signals), vetoes)

    def _join(self, typicality: Reals, signals: Mapping[str, Reals]) -> dict[str, Reals]:
        """The signals to combine: typicality and ``similar`` make one."""
        others = {name: scores for name, scores in signals.items() if name != "similar"}
        if self._similar is not None:
            typicality = typicality + self._similar.rank(signals["similar"])
        return {ANCHOR: typicality, **others}
