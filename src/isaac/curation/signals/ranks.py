"""Ranks of scores, for which near-duplicates count once."""

from __future__ import annotations

import numpy as np

from ...runtime.arrays import Ints, Reals


class Ranking:
    """Ranks among the scores (t,) of a corpus, where each group of near-duplicates counts once.

    A rank is from 0 to 1, highest score last: the share of the groups whose best score is lower,
    plus half of those with the same score. So equal scores have equal ranks, and neither copies nor
    the order of the texts move the rank of others.
    """

    def __init__(self, scores: Reals, duplicate_group: Ints) -> None:
        _, group = np.unique(duplicate_group, return_inverse=True)
        best = np.full(int(group.max(initial=-1)) + 1, -np.inf)
        np.maximum.at(best, group.reshape(-1), scores)
        self.sorted_best = np.sort(best)

    def rank(self, scores: Reals) -> Reals:
        """Rank scores (n,), which may be those of other texts."""
        below, no_higher = (
            np.searchsorted(self.sorted_best, scores, side) for side in ("left", "right")
        )
        return np.asarray((below + no_higher) / (2 * max(len(self.sorted_best), 1)))


def rank_scores(scores: Reals, duplicate_group: Ints) -> Reals:
    """Rank scores (t,) among each other; see `Ranking`."""
    return Ranking(scores, duplicate_group).rank(scores)


__all__ = ["Ranking", "rank_scores"]
