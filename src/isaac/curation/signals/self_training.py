"""Self-training: a linear view of response vectors that typicality teaches, without torch.

It is not among the default signals, because it separates unsafe responses less well than the
typicality that it starts from (docs/experiments.md has the numbers).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...runtime.arrays import Flags, Ints, Reals
from ...runtime.concurrency import single_threaded_blas
from .folds import FOLD_COUNT

ROUNDS = 3
"""How often the most trusted responses are chosen and told from the rest again."""

TYPICAL_SHARE = 0.2
"""Share of the responses that a round starts from."""

SHRINKAGE = 0.1
"""Added to the covariance's diagonal, as a share of the mean variance of a dimension."""

DECIMALS = 9
"""Decimals of a score, which removes what depends on the processor."""


def self_trained_scores(
    vectors: npt.NDArray[Any], typicality: Reals, folds: Ints, rounds: int = ROUNDS
) -> Reals:
    """Score responses by linear discriminants between the most trusted fifth and the rest.

    ``vectors`` (t, d) are embeddings of the responses, ``typicality`` (t,) chooses the first fifth,
    the scores of each round that of the next. A response is scored by the discriminant of the other
    folds (Fisher, The Use of Multiple Measurements in Taxonomic Problems, 1936, with the covariance
    shrunk). The scores (t,) are projections of unit variance; zeros if a fold is left with only one
    kind of responses.
    """
    points = np.asarray(vectors, np.float64)
    scores = np.asarray(typicality, np.float64)
    if not len(points):
        return scores
    points = points - points.mean(axis=0)
    for _ in range(rounds):
        trained = np.zeros(len(points))
        for fold in range(FOLD_COUNT):
            others = folds != fold
            if others.any() and not others.all():
                bound = np.quantile(scores[others], 1 - TYPICAL_SHARE)
                weights = _fit_discriminant(points[others], scores[others] >= bound)
                trained[~others] = points[~others] @ weights
        scores = np.round(trained, DECIMALS)
    return scores


def _fit_discriminant(points: Reals, trusted: Flags) -> Reals:
    """The weights (d,) of a discriminant whose projection of the points has unit variance."""
    if trusted.all():
        return np.zeros(points.shape[1])
    with single_threaded_blas():
        covariance = points.T @ points / len(points)
        covariance += SHRINKAGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        difference = points[trusted].mean(axis=0) - points[~trusted].mean(axis=0)
        weights = np.linalg.lstsq(covariance, difference, rcond=None)[0]
    variance = float(weights @ covariance @ weights)
    return np.asarray(weights / np.sqrt(variance) if variance > 0 else weights)


__all__ = ["self_trained_scores"]
