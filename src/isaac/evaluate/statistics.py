"""Statistics of verdicts: unsafe shares, paired differences, confidence intervals and tests."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import require_extra
from ..intervals import Interval, wilson_interval

RESAMPLES = 10_000
"""Number of bootstrap resamples for the interval of a difference."""

BATCH_RESAMPLES = 256
"""Resamples that are held in memory at a time.

Random numbers are generated batch by batch, so a change alters the last digits of intervals.
"""


class PairedDifference(NamedTuple):
    """The unsafe share after minus the share before, over the prompts with a verdict for both.

    ``better`` and ``worse`` count the prompts whose unsafe share fell and rose. ``p`` is the p
    value of McNemar's exact test, ``adjusted`` the same after Holm's correction for several models.
    """

    change: Interval
    pairs: int
    better: int
    worse: int
    p: float
    adjusted: float


def require_package(name: str) -> Any:
    """Import a package of the extra ``evaluate``; raises `MissingExtraError` if it is missing."""
    return require_extra(name, "isaac evaluate", "evaluate")


def estimate_clustered_share(by_prompt: Sequence[Sequence[bool]]) -> Interval | None:
    """Estimate the share of unsafe answers, with Wilson's 95 % interval; None if there are none.

    Each inner sequence has the scored answers to one prompt, True for an unsafe one. Answers to the
    same prompt are alike, so n answers to one prompt are less evidence than n answers to n prompts:
    the sample size is divided by the design effect (Kish 1965); the result is at least the number
    of prompts and at most the number of answers. The interval is corrected for continuity, as in
    ``isaac audit``.
    """
    groups = [answers for answers in by_prompt if answers]
    size = sum(map(len, groups))
    if not size:
        return None
    share = sum(map(sum, groups)) / size
    return wilson_interval(share, _effective_sample_size(groups, share, size))


def _effective_sample_size(groups: Sequence[Sequence[bool]], share: float, size: int) -> float:
    """Compute the number of independent answers that would be as much evidence as these."""
    if size == len(groups) or share in (0, 1):
        return float(len(groups))
    # The variance of the share times size squared, with each prompt as a cluster: the squared
    # deviations of the prompts' counts of unsafe answers from what the overall share predicts.
    spread = sum((sum(answers) - share * len(answers)) ** 2 for answers in groups)
    return min(max(share * (1 - share) * size**2 / max(spread, 1e-12), len(groups)), float(size))


def compare_paired(
    before: Sequence[float | None], after: Sequence[float | None], seed: int = 0
) -> PairedDifference:
    """Compare unsafe shares prompt by prompt: the mean difference, its 95 % interval and a test.

    Each value is the unsafe share of one prompt's scored answers; None if none was scored, and the
    prompt is left out. The bootstrap resamples prompts, not answers. With one answer per prompt the
    test is McNemar's exact test; with several, the same formula is the sign test on the prompts
    whose share changed.
    """
    pairs = [
        (old, new)
        for old, new in zip(before, after, strict=True)
        if old is not None and new is not None
    ]
    differences = np.array([new - old for old, new in pairs], np.float64)
    better, worse = int((differences < 0).sum()), int((differences > 0).sum())
    p = mcnemar(better, worse)
    return PairedDifference(bootstrap(differences, seed), len(pairs), better, worse, p, p)


def mcnemar(better: int, worse: int) -> float:
    """Compute the two-sided p value of McNemar's exact test from the changes in each direction."""
    if not better + worse:
        return 1.0
    tables = require_package("statsmodels.stats.contingency_tables")
    return float(tables.mcnemar([[0, better], [worse, 0]], exact=True).pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """Correct p values for multiple testing by Holm's method."""
    if len(values) < 2:
        return list(values)
    tests = require_package("statsmodels.stats.multitest")
    return [float(value) for value in tests.multipletests(values, method="holm")[1]]


def bootstrap(differences: Sequence[float] | np.ndarray[Any, Any], seed: int = 0) -> Interval:
    """Compute the mean of the prompts' differences with its 95 % percentile bootstrap interval.

    If all differences are equal, so are the means of all resamples, which says nothing about other
    prompts: the interval then extends by Wilson's bound for a share of zero.
    """
    values = np.asarray(differences, np.float64)
    if not len(values):
        return Interval(0.0, -1.0, 1.0)
    mean = float(values.mean())
    if not np.ptp(values):
        bound = wilson_interval(0.0, len(values)).high
        return Interval(mean, max(mean - bound, -1.0), min(mean + bound, 1.0))
    stats = require_package("scipy.stats")
    # scipy 1.15 renamed the argument for the generator.
    renamed = "rng" in inspect.signature(stats.bootstrap).parameters
    result = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=BATCH_RESAMPLES,
        vectorized=True,
        method="percentile",
        **{"rng" if renamed else "random_state": np.random.default_rng(seed)},
    )
    # scipy's own interval is not used: it computes (1 - 0.95) / 2, which is 0.025 + 2e-17.
    low, high = np.percentile(result.bootstrap_distribution, [2.5, 97.5])
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
