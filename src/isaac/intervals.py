"""Intervals."""

from __future__ import annotations

import math
from typing import NamedTuple

Z_95 = 1.959963984540054
"""Standard normal deviate of a two-sided 95 % interval."""


class Interval(NamedTuple):
    """A share or a difference of shares, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def wilson_interval(share: float, size: float) -> Interval:
    """Return a share with Wilson's interval, corrected for continuity.

    Without the correction 95 % is the mean over all shares, and for some the interval holds the
    truth less often (Newcombe, Statistics in Medicine 17, 1998, 857, method 4). ``size`` may be a
    fraction, or infinite, which gives an interval without width.
    """
    if math.isinf(size):
        return Interval(share, share, share)
    return Interval(share, _lower_bound(share, size), 1 - _lower_bound(1 - share, size))


def _lower_bound(share: float, size: float) -> float:
    if share <= 0:
        return 0.0
    root = Z_95**2 - 2 - 1 / size + 4 * share * (size * (1 - share) + 1)
    low = (2 * size * share + Z_95**2 - 1 - Z_95 * math.sqrt(max(root, 0.0))) / (
        2 * (size + Z_95**2)
    )
    return min(max(low, 0.0), share)
