"""The state direction: from how odd responses are said to how typical ones are said.

The middle layers of a small language model hold the tone and the stance of a text. The direction
from the mean state of the least typically worded responses to that of the most typically worded
ones orders all responses, also those whose wording says little. No label takes part: typicality
chooses both ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ...runtime.arrays import Flags, Ints, Reals
from ...runtime.concurrency import single_threaded_blas
from ..vectors import GRID_STEPS, GridVectors, as_floats, to_grid
from .folds import FOLD_COUNT
from .ranks import Ranking, rank_scores

EXTREME_SHARE = 0.2
"""Share of the responses, most and least typical, whose mean states the direction joins."""

BLOCK_ROWS = 4096
"""States in memory as floating-point numbers at a time."""


class Standardization(NamedTuple):
    """The mean (d,) and the standard deviation (d,) of states, in grid steps.

    A language model's states share a large mean, and a few of their dimensions vary far more than
    the others. Both say nothing about a text.
    """

    mean: Reals
    deviation: Reals

    def apply(self, states: GridVectors) -> GridVectors:
        """Standardize states (n, d) and scale them to unit length."""
        return to_grid((states - self.mean) / self.deviation)


class StateDirection:
    """Scores of a corpus's distinct responses along the state direction, cross-fitted.

    ``states`` (t, d) are hidden states on the grid (encoder ``states:smollm2``), ``typicality``
    (t,) is the typicality of the texts, ``duplicate_group`` (t,) the smallest index in each text's
    group of near-duplicates, of which only that text takes part in a mean, and ``folds`` (t,) the
    fold of each text. ``scores`` (t,) are ranks from 0 to 1; the direction that a text is scored
    along is that of the other folds.

    All sums are exact, so no number of threads changes a score. Memory is that of ``states`` and a
    few blocks.
    """

    def __init__(
        self, states: GridVectors, typicality: Reals, duplicate_group: Ints, folds: Ints
    ) -> None:
        leads = duplicate_group == np.arange(len(states))
        self.standardization = standardize(states, leads)
        rank = rank_scores(typicality, duplicate_group)
        ends = leads & [rank > 1 - EXTREME_SHARE, rank < EXTREME_SHARE]
        # Sums (folds, 2 ends, d) and counts (folds, 2 ends) of each fold, then of all others.
        sums = np.zeros((FOLD_COUNT, len(ends), states.shape[1]), np.int64)
        counts = np.zeros((FOLD_COUNT, len(ends)), np.int64)
        for rows, block in self._iter_blocks(states):
            for fold in range(FOLD_COUNT):
                for end, member in enumerate(ends[:, rows] & (folds[rows] == fold)):
                    sums[fold, end] += block[member].sum(axis=0, dtype=np.int64)
                    counts[fold, end] += member.sum()
        others = zip(sums.sum(0) - sums, counts.sum(0) - counts, strict=True)
        self._directions = np.concatenate(
            [_find_direction(*other) for other in others]
            + [_find_direction(sums.sum(0), counts.sum(0))]
        )
        raw = np.empty(len(states))
        for rows, block in self._iter_blocks(states):
            raw[rows] = self._project(block, folds[rows])
        self._ranking = Ranking(raw, duplicate_group)
        self.scores = self._ranking.rank(raw)

    def score(self, states: GridVectors) -> Reals:
        """Score the states (n, d) of texts that are not in the corpus."""
        scores = [np.empty(0)]
        for _, block in self._iter_blocks(states):
            scores.append(self._ranking.rank(self._project(block, np.full(len(block), FOLD_COUNT))))
        return np.concatenate(scores)

    def _iter_blocks(self, states: GridVectors) -> Iterator[tuple[slice, GridVectors]]:
        for start in range(0, len(states), BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, len(states)))
            yield rows, self.standardization.apply(states[rows])

    def _project(self, block: GridVectors, folds: Ints) -> Reals:
        """The cosine (n,) of each state with the direction of its fold; exact on the grid."""
        with single_threaded_blas():
            cosines = as_floats(block) @ as_floats(self._directions).T
        return cosines[np.arange(len(block)), folds].astype(np.float64)


def standardize(states: GridVectors, leads: Flags) -> Standardization:
    """Compute the mean and deviation of the states (t, d) with a true flag."""
    width = states.shape[1]
    count = max(int(leads.sum()), 1)
    total, squares = np.zeros(width, np.int64), np.zeros(width, np.int64)
    for start in range(0, len(states), BLOCK_ROWS):
        block = states[start : start + BLOCK_ROWS][leads[start : start + BLOCK_ROWS]]
        block = block.astype(np.int64)
        total += block.sum(axis=0)
        squares += (block * block).sum(axis=0)
    mean = total / count
    variance = squares / count - mean * mean
    # A dimension that hardly varies keeps its rounding errors small.
    return Standardization(mean, np.sqrt(np.maximum(variance, 1.0)))


def _find_direction(sums: Ints, counts: Ints) -> GridVectors:
    """The unit vector (1, d) between the means of two ends; zero if one of them is empty."""
    if not counts.all():
        return np.zeros((1, sums.shape[1]), np.int16)
    typical, atypical = sums / counts[:, None] / GRID_STEPS
    return to_grid(100 * (typical - atypical)[None])


__all__ = ["Standardization", "StateDirection", "standardize"]
