"""Trust: how far the wording of a response, and that of responses like it, is typical.

Typicality scores one text at a time, so it is noisy: a harmless sentence can be worded oddly. The
typicality of the most similar other responses says whether *what is said* is common in the corpus.
Trust adds the two ranks. Measured against labels, it halves the unsafe share of the rows at the top
on most corpora (benchmarks/trust.py).
"""

from __future__ import annotations

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


def rank_groups(values: Reals, groups: Ints) -> Reals:
    """The share (n,) of the groups of near-duplicates that have no higher value, in (0, 1].

    ``values`` and ``groups`` have shape (n,). A group has the highest value of its members, and
    counts once, however often its text is repeated.
    """
    _, numbers = np.unique(groups, return_inverse=True)
    best = np.full(int(numbers.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(best, numbers.reshape(-1), values)
    ranked = np.sort(best)
    return np.asarray(np.searchsorted(ranked, values, side="right") / max(len(ranked), 1))


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


def compute_trust(vectors: GridVectors, typicality: Reals, groups: Ints, tools: Tools) -> Reals:
    """Compute the trust (t,) of distinct responses: the share of groups that rank no higher.

    Trust is the rank of the sum of two ranks: the typicality of the response's own wording, and the
    mean typicality of its `SMOOTHING_NEIGHBORS` nearest other responses. ``vectors`` is (t, d),
    ``typicality`` and ``groups`` (t,).
    """
    smoothed = SmoothedTypicality(vectors, typicality, groups).compute(vectors, groups, tools)
    return rank_groups(typicality + rank_groups(smoothed, groups), groups)
