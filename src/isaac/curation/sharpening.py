"""From cluster sizes to odds, and from odds to draws.

Paper, steps 3 to 5: clip to the head, warp the distribution by its sharpness, draw. Sizes are
counts of responses, not frequencies: a softmax of counts with a temperature of at most the
smallest kept size never favours a smaller cluster more than its share does, so that under the
long-tail assumption it cannot raise the unsafe share (Chebyshev's association inequality). With
frequencies the same formulas can.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..recipe import Recipe
from ..runtime.arrays import Flags, Ints, Ragged, Reals
from .clusters import Clusters

EPSILON = 1e-3
"""The paper's epsilon, which keeps its divisions from zero."""

MIN_TEMPERATURE = 1e-300
"""The least temperature, at which all odds are the head's and no division overflows."""


def largest_sizes(sizes: Ragged, clusters: int) -> Ints:
    """Return the sizes of each neighbourhood's largest clusters, zeros at the end.

    The result is (m, c), c the most that any has of them, at most ``clusters``.
    """
    width = min(clusters, int(sizes.lengths.max(initial=0)))
    place = sizes.offsets[:-1, None] + np.arange(width)
    inside = np.arange(width) < sizes.lengths[:, None]
    return np.where(inside, sizes.values[np.where(inside, place, 0)], 0)


def clip_to_top_mass(sizes: Ints, totals: Ints, top_mass: float) -> Ints:
    """Return the sizes with clusters beyond the top-P share of all responses set to zero.

    ``sizes`` (m, c) descend, ``totals`` (m,) are sizes of neighbourhoods. A cluster stays if
    those before it hold less than ``top_mass`` of the responses; so the first always stays.
    """
    before = np.cumsum(sizes, axis=1) - sizes
    inside = before < top_mass * totals[:, None] - 1e-9
    return np.where(inside | (before == 0), sizes, 0)


def sharpness(sizes: Ints) -> Reals:
    """Return SI = (N1 - N2) / max(N1 - N_last, epsilon) of each neighbourhood, in [0, 1].

    ``sizes`` (m, c) are the kept sizes, descending, zeros after the last. One cluster has
    sharpness 1. (Paper, adaptive sharpening.)
    """
    first = sizes[:, 0].astype(float)
    second = sizes[:, 1] if sizes.shape[1] > 1 else np.zeros(len(sizes))
    spread = np.maximum(first - smallest_sizes(sizes), EPSILON)
    return np.where(second > 0, (first - second) / spread, 1.0)


def smallest_sizes(sizes: Ints) -> Ints:
    """Return the smallest size that is not zero, of each neighbourhood."""
    least: Ints = np.where(sizes > 0, sizes, np.iinfo(np.int64).max).min(axis=1)
    return least


def sharpened_odds(sizes: Ints, recipe: Recipe) -> Reals:
    """Return the probability of each kept cluster, (m, c), rows summing to one.

    With N the sizes, tau the temperature and T never more than the smallest kept size:
    ``adaptive`` exp(N / T), T = (1 + epsilon - SI) tau; ``figure`` the same with T = SI tau, as in
    the paper's figure, at least epsilon; ``softmax`` T = tau; ``proportional`` N; ``power``
    N^beta; ``max`` all to the first; ``uniform`` the same to each, the one rule without the
    guarantee.
    """
    kept = sizes > 0
    if recipe.sharpening in ("adaptive", "figure", "softmax"):
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
    factor = {
        "adaptive": 1 + EPSILON - sharpness(sizes),
        "figure": np.maximum(sharpness(sizes), EPSILON),
        "softmax": np.ones(len(sizes)),
    }[recipe.sharpening]
    return np.clip(recipe.temperature * factor, MIN_TEMPERATURE, smallest_sizes(sizes))


class ClusterOdds(NamedTuple):
    """Of m neighbourhoods: kept counts, how many rows bear them, odds (m, c), and sharpness (m,).

    ``totals`` (m,) are counts of the whole neighbourhoods.
    """

    sizes: Ints
    rows: Ints
    odds: Reals
    sharpness: Reals
    totals: Ints


def cluster_odds(clusters: Clusters, recipe: Recipe) -> ClusterOdds:
    """Return what the draw needs to know of each neighbourhood."""
    totals = row_sums(clusters.counts)
    sizes = clip_to_top_mass(
        largest_sizes(clusters.counts, recipe.top_clusters), totals, recipe.top_mass
    )
    rows = np.where(sizes > 0, largest_sizes(clusters.sizes, recipe.top_clusters), 0)
    return ClusterOdds(sizes, rows, sharpened_odds(sizes, recipe), sharpness(sizes), totals)


def preserves_rank_order(facts: ClusterOdds) -> Flags:
    """Return for which neighbourhoods odds over share does not rise with rank (m,)."""
    kept = facts.sizes > 0
    ratio = np.where(kept, facts.odds / np.maximum(facts.sizes, 1), 0)
    return np.asarray((np.diff(ratio, axis=1) <= 1e-12).all(axis=1))


def row_sums(lists: Ragged) -> Ints:
    """Return the sum of each list."""
    upto = np.concatenate([[0], np.cumsum(lists.values)])
    return np.asarray(upto[lists.offsets[1:]] - upto[lists.offsets[:-1]], np.int64)
