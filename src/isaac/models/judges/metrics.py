"""The quality of a judge's scores, measured against labels: accuracy, AUROC and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...errors import require_extra
from ...intervals import Interval
from ...runtime.arrays import Flags, Reals
from .base import UNSAFE_THRESHOLD

RELIABILITY_BINS = 10
"""Bins of equal width in a reliability table."""


class ReliabilityBin(NamedTuple):
    """Rows with similar scores: how many, their mean score, and their share of unsafe labels."""

    rows: int
    predicted: float
    unsafe: Interval


class JudgeQuality(NamedTuple):
    """A judge's accuracy, AUROC and expected calibration error (ECE) on a set of rows.

    ``unsafe`` is the share of unsafe labels; ``constant`` is the accuracy of the best constant
    answer; ``auroc`` is None if all labels are equal.
    """

    rows: int
    unsafe: float
    accuracy: Interval
    constant: float
    auroc: float | None
    ece: float


class JudgeReport(NamedTuple):
    """A judge's quality on a set of rows, its reliability table, and its quality by category."""

    quality: JudgeQuality
    reliability: list[ReliabilityBin]
    categories: dict[str, JudgeQuality]

    def as_json(self) -> dict[str, Any]:
        """Convert the report to plain dictionaries and lists, for JSON."""
        return {
            **_to_json(self.quality),
            "reliability": [_to_json(row) for row in self.reliability],
            "categories": {name: _to_json(quality) for name, quality in self.categories.items()},
        }


def _to_json(figures: JudgeQuality | ReliabilityBin) -> dict[str, Any]:
    values: dict[str, Any] = figures._asdict()
    return {
        name: value._asdict() if isinstance(value, Interval) else value
        for name, value in values.items()
    }


def _require_library(name: str) -> Any:
    return require_extra(name, "measuring a judge", "evaluate")


def estimate_share(count: int, total: int) -> Interval:
    """Estimate a share with Wilson's 95 % interval, without continuity correction."""
    low, high = _require_library("statsmodels.stats.proportion").proportion_confint(
        count, total, method="wilson"
    )
    return Interval(count / total, float(low), float(high))


def measure_judge(scores: Reals, unsafe: Flags, categories: Sequence[str]) -> JudgeReport:
    """Measure scores (n,), the probabilities of unsafe, against labels (n,); also by category.

    Rows with an empty category count only in the total.
    """
    names = np.array(categories, dtype=object)
    return JudgeReport(
        compute_quality(scores, unsafe),
        compute_reliability(scores, unsafe),
        {
            str(name): compute_quality(scores[names == name], unsafe[names == name])
            for name in sorted(set(categories))
            if name
        },
    )


def compute_quality(scores: Reals, unsafe: Flags) -> JudgeQuality:
    """Compute the quality of scores (n,) against labels (n,); n is at least 1."""
    correct, rows = int(((scores >= UNSAFE_THRESHOLD) == unsafe).sum()), len(unsafe)
    share = float(unsafe.mean())
    auroc = None
    if 0 < share < 1:
        auroc = float(_require_library("sklearn.metrics").roc_auc_score(unsafe, scores))
    # ECE: the mean gap between the mean score and the unsafe share of a bin, weighted by rows.
    bins = compute_reliability(scores, unsafe)
    gaps = [row.rows * abs(row.predicted - row.unsafe.value) for row in bins]
    return JudgeQuality(
        rows, share, estimate_share(correct, rows), max(share, 1 - share), auroc, sum(gaps) / rows
    )


def compute_reliability(scores: Reals, unsafe: Flags) -> list[ReliabilityBin]:
    """Compute the reliability table: the bins that have rows, in order of their scores."""
    # The bin (n,) of each score; a score of 1 belongs to the last bin.
    bins = np.minimum((scores * RELIABILITY_BINS).astype(np.int64), RELIABILITY_BINS - 1)
    table = []
    for number in np.unique(bins):
        inside = bins == number
        rows = int(inside.sum())
        mean = float(scores[inside].mean())
        table.append(ReliabilityBin(rows, mean, estimate_share(int(unsafe[inside].sum()), rows)))
    return table


def fit_temperature(margins: Reals, unsafe: Flags) -> float:
    """Find the temperature that calibrates log odds (n,) best to labels (n,).

    The log odds are divided by this one number, which is chosen by maximum likelihood (Guo et al.,
    On Calibration of Modern Neural Networks, 2017). The labels are smoothed as if each occurred
    once more (Platt, Probabilistic Outputs for Support Vector Machines, 1999); otherwise a few rows
    that happen to be separable would make the judge certain of every verdict.
    """
    # Platt's targets (n,): the smoothed probability of each row's own label.
    counts = np.where(unsafe, unsafe.sum(), (~unsafe).sum())
    targets = (counts + 1) / (counts + 2)
    # The log odds (n,) of each row's own label, instead of those of unsafe.
    signed = np.where(unsafe, margins, -margins)

    def compute_loss(log_temperature: float) -> float:
        scaled = signed / np.exp(log_temperature)
        losses = targets * np.logaddexp(0, -scaled) + (1 - targets) * np.logaddexp(0, scaled)
        return float(losses.mean())

    # Search for the logarithm of the temperature, from -3 to 3.
    optimum = _require_library("scipy.optimize").minimize_scalar(
        compute_loss, bounds=(-3, 3), method="bounded"
    )
    return float(np.exp(optimum.x))


def compute_probabilities(margins: Reals, temperature: float) -> Reals:
    """Convert log odds (n,) to probabilities (n,) at a temperature."""
    scaled = np.clip(margins / temperature, -500, 500)  # keeps exp from overflowing
    return np.asarray(1 / (1 + np.exp(-scaled)), np.float64)
