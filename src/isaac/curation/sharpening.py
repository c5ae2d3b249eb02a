"""From cluster sizes to odds: clip to the head, then sharpen.

Paper, steps 3 and 4. Sizes are counts of responses, not frequencies: a softmax of counts, with a
temperature of at most the smallest size kept, never favors a smaller cluster beyond its share. So,
under the long-tail assumption, it cannot increase the unsafe share (Chebyshev's association
inequality). With frequencies, the same formulas can.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..recipe import Recipe
from ..runtime.arrays import Flags, Ints, Ragged, Reals
from .clusters import Clusters

EPSILON = 1e-3
"""The paper's epsilon, which prevents division by zero."""

MIN_TEMPERATURE = 1e-300
"""Lowest temperature: the head gets all odds, and no division overflows."""


def largest_sizes(sizes: Ragged, clusters: int) -> Ints:
    """The sizes (m, c) of the largest clusters of each neighborhood, with zeros at the end.

    c is the largest number of clusters that any neighborhood has, at most ``clusters``.
    """
    width = min(clusters, int(sizes.lengths.max(initial=0)))
    place = sizes.offsets[:-1, None] + np.arange(width)
    inside = np.arange(width) < sizes.lengths[:, None]
    return np.where(inside, sizes.values[np.where(inside, place, 0)], 0)


def clip_to_top_mass(sizes: Ints, totals: Ints, top_mass: float) -> Ints:
    """Set the sizes of clusters beyond the top-P share of all responses to zero.

    ``sizes`` (m, c) descend, ``totals`` (m,) are the sizes of the neighborhoods. A cluster is kept
    if the larger ones have less than ``top_mass`` of the responses, so the first is always kept.
    """
    before = np.cumsum(sizes, axis=1) - sizes
    inside = before < top_mass * totals[:, None] - 1e-9
    return np.where(inside | (before == 0), sizes, 0)


def sharpness(sizes: Ints) -> Reals:
    """Sharpness SI = (N1 - N2) / max(N1 - N_last, epsilon) of each neighborhood (m,), 0 to 1.

    ``sizes`` (m, c) are the sizes kept, descending, with zeros at the end. With one cluster the
    sharpness is 1. (Paper, adaptive sharpening.)
    """
    first = sizes[:, 0].astype(float)
    second = sizes[:, 1] if sizes.shape[1] > 1 else np.zeros(len(sizes))
    spread = np.maximum(first - smallest_sizes(sizes), EPSILON)
    return np.where(second > 0, (first - second) / spread, 1.0)


def smallest_sizes(sizes: Ints) -> Ints:
    """The smallest nonzero size of each neighborhood (m,)."""
    smallest: Ints = np.where(sizes > 0, sizes, np.iinfo(np.int64).max).min(axis=1)
    return smallest


def sharpened_odds(sizes: Ints, recipe: Recipe) -> Reals:
    """Compute the probability (m, c) of each cluster kept; rows sum to one.

    With sizes N, temperature tau, and T at most the smallest size kept: ``adaptive`` is exp(N / T)
    with T = (1 + epsilon - SI) tau; ``figure`` the same with T = SI tau, at least epsilon, as in
    the paper's figure; ``softmax`` the same with T = tau; ``proportional`` is N; ``power`` is
    N^beta; ``max`` gives all to the first cluster; ``uniform`` gives the same to each, and is the
    only rule without the guarantee above.
    """
    kept = sizes > 0
    if recipe.sharpening in ("adaptive", "figure", "softmax"):
        # Sizes are relative to the largest, so that no exponential overflows.
        exponents = (sizes - sizes[:, :1]) / _temperature(sizes, recipe)[:, None]
        weights = np.where(kept, np.exp(exponents), 0.0)
    elif recipe.sharpening == "max":
        weights = np.zeros(sizes.shape)
        weights[:, 0] = 1.0
    else:
        exponent = {"proportional": 1.0, "power": recipe.power, "uniform": 0.0}[recipe.sharpening]
        weights = np.where(kept, (sizes / sizes[:, :1]) ** exponent, 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _temperature(sizes: Ints, recipe: Recipe) -> Reals:
    """The temperature T of each neighborhood (m,), never above its smallest size kept."""
    factor = {
        "adaptive": 1 + EPSILON - sharpness(sizes),
        "figure": np.maximum(sharpness(sizes), EPSILON),
        "softmax": np.ones(len(sizes)),
    }[recipe.sharpening]
    return np.clip(recipe.temperature * factor, MIN_TEMPERATURE, smallest_sizes(sizes))


class ClusterOdds(NamedTuple):
    """Odds of the clusters kept in m neighborhoods.

    ``sizes`` (m, c) are their `Clusters.counts`, and ``rows`` (m, c) how many rows they have, which
    is more if near-duplicates count once. ``odds`` (m, c) are their probabilities, ``sharpness``
    (m,) is that of the sizes, and ``totals`` (m,) are the counts of the whole neighborhoods.
    """

    sizes: Ints
    rows: Ints
    odds: Reals
    sharpness: Reals
    totals: Ints


def cluster_odds(clusters: Clusters, recipe: Recipe) -> ClusterOdds:
    """Clip and sharpen the clusters of neighborhoods."""
    totals = row_sums(clusters.counts)
    sizes = clip_to_top_mass(
        largest_sizes(clusters.counts, recipe.top_clusters), totals, recipe.top_mass
    )
    rows = np.where(sizes > 0, largest_sizes(clusters.sizes, recipe.top_clusters), 0)
    return ClusterOdds(sizes, rows, sharpened_odds(sizes, recipe), sharpness(sizes), totals)


def preserves_rank_order(sharpened: ClusterOdds) -> Flags:
    """Whether the ratio of odds to share never rises with rank, for each neighborhood (m,)."""
    kept = sharpened.sizes > 0
    ratio = np.where(kept, sharpened.odds / np.maximum(sharpened.sizes, 1), 0)
    return np.asarray((np.diff(ratio, axis=1) <= 1e-12).all(axis=1))


def row_sums(lists: Ragged) -> Ints:
    """Sum each list."""
    sums = np.concatenate([[0], np.cumsum(lists.values)])
    return np.asarray(sums[lists.offsets[1:]] - sums[lists.offsets[:-1]], np.int64)
