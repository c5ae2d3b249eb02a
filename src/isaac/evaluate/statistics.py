"""Shares, paired differences and their intervals; pure functions of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import require_extra
from ..intervals import Interval, wilson_interval

RESAMPLES = 10_000
"""Times that the prompts are drawn again for an interval of a difference."""

BLOCK_RESAMPLES = 256
"""Resamples made at a time, so that many prompts do not fill the memory."""


class PairedDifference(NamedTuple):
    """A share after minus the share before, over the prompts that both have a verdict for.

    ``better`` and ``worse`` count the prompts whose unsafe share fell and rose; ``p`` is that of
    McNemar's exact test, ``adjusted`` the same after Holm's correction for several models.
    """

    change: Interval
    pairs: int
    better: int
    worse: int
    p: float
    adjusted: float


def require_package(name: str) -> Any:
    """Return a package of the extra; raise `MissingExtraError` if it is not installed."""
    return require_extra(name, "isaac evaluate", "evaluate")


def estimate_clustered_share(by_prompt: Sequence[Sequence[bool]]) -> Interval | None:
    """Return the share of answers that are unsafe, with Wilson's 95 % interval; None without any.

    Each inner sequence holds the scored answers to one prompt. Answers to one prompt are alike, so
    several samples a prompt count for less than as many prompts: the size of the sample is divided
    by the design effect (Kish 1965), and is never under the number of prompts nor over that of
    answers. The interval is corrected for continuity, as that of ``isaac audit``.
    """
    groups = [answers for answers in by_prompt if answers]
    size = sum(map(len, groups))
    if not size:
        return None
    share = sum(map(sum, groups)) / size
    return wilson_interval(share, _effective_sample_size(groups, share, size))


def _effective_sample_size(groups: Sequence[Sequence[bool]], share: float, size: int) -> float:
    """Return as how many independent answers those of some prompts count."""
    if size == len(groups) or share in (0, 1):
        return float(len(groups))
    spread = sum((sum(answers) - share * len(answers)) ** 2 for answers in groups)
    return min(max(share * (1 - share) * size**2 / max(spread, 1e-12), len(groups)), float(size))


def compare_paired(
    before: Sequence[float | None], after: Sequence[float | None], seed: int = 0
) -> PairedDifference:
    """Return the mean difference of unsafe shares by prompt, with its 95 % interval and test.

    A value is the unsafe share of one prompt's scored answers, None where none was scored: such
    prompts are left out. Prompts are resampled, not answers. With one sample a prompt the test is
    McNemar's exact one; with several it is the sign test of the prompts whose share changed, which
    is the same thing.
    """
    values = [
        (old, new)
        for old, new in zip(before, after, strict=True)
        if old is not None and new is not None
    ]
    steps = np.array([new - old for old, new in values], np.float64)
    better, worse = int((steps < 0).sum()), int((steps > 0).sum())
    p = mcnemar(better, worse)
    return PairedDifference(bootstrap(steps, seed), len(steps), better, worse, p, p)


def mcnemar(better: int, worse: int) -> float:
    """Return the two-sided p of McNemar's exact test, from the pairs that changed either way."""
    if not better + worse:
        return 1.0
    tables = require_package("statsmodels.stats.contingency_tables")
    return float(tables.mcnemar([[0, better], [worse, 0]], exact=True).pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """Return p values corrected by Holm's method for being several."""
    if len(values) < 2:
        return list(values)
    tests = require_package("statsmodels.stats.multitest")
    return [float(value) for value in tests.multipletests(values, method="holm")[1]]


def bootstrap(steps: Sequence[float] | np.ndarray[Any, Any], seed: int = 0) -> Interval:
    """Return the mean of differences with its 95 % percentile interval over resampled prompts.

    Where no prompt differs, or all by the same, resampling cannot tell how many might have done
    otherwise: the interval is then as wide as the Wilson bound of a share of none.
    """
    values = np.asarray(steps, np.float64)
    if not len(values):
        return Interval(0.0, -1.0, 1.0)
    mean = float(values.mean())
    if not np.ptp(values):
        bound = wilson_interval(0.0, len(values)).high
        return Interval(mean, max(mean - bound, -1.0), min(mean + bound, 1.0))
    random, means = np.random.default_rng(seed), np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, BLOCK_RESAMPLES):
        rows = min(BLOCK_RESAMPLES, RESAMPLES - start)
        drawn = random.integers(0, len(values), (rows, len(values)))
        means[start : start + rows] = values[drawn].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(mean, float(low), float(high))


__all__ = [
    "RESAMPLES",
    "Interval",
    "PairedDifference",
    "bootstrap",
    "compare_paired",
    "estimate_clustered_share",
    "holm",
    "mcnemar",
    "require_package",
    "wilson_interval",
]
