"""Confidence intervals of shares."""

from __future__ import annotations

import math
from typing import NamedTuple

Z_95 = 1.959963984540054
"""The standard normal quantile of a two-sided 95 % interval."""


class Interval(NamedTuple):
    """A share, or a difference of two shares, with the ends of its 95 % confidence interval."""

    value: float
    low: float
    high: float


def wilson_interval(share: float, size: float) -> Interval:
    """Wilson's 95 % interval of a share among ``size`` items, with continuity correction.

    Without the correction the coverage is 95 % only on average over all shares; for some shares
    the interval contains the truth less often (Newcombe, Statistics in Medicine 17, 1998, 857,
    method 4). ``size`` may be fractional; if it is infinite, the interval has no width.
    """
    if math.isinf(size):
        return Interval(share, share, share)
    return Interval(share, _lower_bound(share, size), 1 - _lower_bound(1 - share, size))


def _lower_bound(share: float, size: float) -> float:
    """The lower end; the upper end is one minus the lower end of the opposite share."""
    if share <= 0:
        return 0.0
    radicand = Z_95**2 - 2 - 1 / size + 4 * share * (size * (1 - share) + 1)
    low = (2 * size * share + Z_95**2 - 1 - Z_95 * math.sqrt(max(radicand, 0.0))) / (
        2 * (size + Z_95**2)
    )
    return min(max(low, 0.0), share)
