"""How good a judge's scores are, against labels: right, in order, and as sure as they may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...errors import require_extra
from ...runtime.arrays import Flags, Reals
from .base import UNSAFE_THRESHOLD

RELIABILITY_BINS = 10
"""Equal widths of probability in a reliability table."""


class Interval(NamedTuple):
    """A share with the ends of its 95 % interval by Wilson."""

    value: float
    low: float
    high: float


class ReliabilityBin(NamedTuple):
    """Rows that were given much the same probability, its mean, and the share that is unsafe."""

    rows: int
    predicted: float
    unsafe: Interval


class JudgeQuality(NamedTuple):
    """Of some rows: how often the verdict is right, AUROC, and expected calibration error.

    ``constant`` is how often the best answer is right that is always the same; ``auroc`` is None
    where all labels are equal.
    """

    rows: int
    unsafe: float
    accuracy: Interval
    constant: float
    auroc: float | None
    ece: float


class JudgeReport(NamedTuple):
    """The quality on some rows, its reliability table, and the quality by category."""

    quality: JudgeQuality
    reliability: list[ReliabilityBin]
    categories: dict[str, JudgeQuality]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON objects."""
        return {
            **_to_json(self.quality),
            "reliability": [_to_json(one) for one in self.reliability],
            "categories": {name: _to_json(one) for name, one in self.categories.items()},
        }


def _to_json(of: JudgeQuality | ReliabilityBin) -> dict[str, Any]:
    values: dict[str, Any] = of._asdict()
    return {
        name: value._asdict() if isinstance(value, Interval) else value
        for name, value in values.items()
    }


def _require_library(name: str) -> Any:
    return require_extra(name, "measuring a judge", "evaluate")


def estimate_share(count: int, of: int) -> Interval:
    """Return a share with its interval."""
    low, high = _require_library("statsmodels.stats.proportion").proportion_confint(
        count, of, method="wilson"
    )
    return Interval(count / of, float(low), float(high))


def measure_judge(scores: Reals, unsafe: Flags, categories: Sequence[str]) -> JudgeReport:
    """Return how good probabilities (n,) of being unsafe are against labels (n,)."""
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
    """Return the quality of probabilities (n,) against labels (n,), of which there is one."""
    right, count = int(((scores >= UNSAFE_THRESHOLD) == unsafe).sum()), len(unsafe)
    part = float(unsafe.mean())
    auroc = None
    if 0 < part < 1:
        auroc = float(_require_library("sklearn.metrics").roc_auc_score(unsafe, scores))
    bins = compute_reliability(scores, unsafe)
    gaps = [one.rows * abs(one.predicted - one.unsafe.value) for one in bins]
    return JudgeQuality(
        count, part, estimate_share(right, count), max(part, 1 - part), auroc, sum(gaps) / count
    )


def compute_reliability(scores: Reals, unsafe: Flags) -> list[ReliabilityBin]:
    """Return the bins that have rows, from the safest on."""
    places = np.minimum((scores * RELIABILITY_BINS).astype(np.int64), RELIABILITY_BINS - 1)
    found = []
    for place in np.unique(places):
        inside = places == place
        rows = int(inside.sum())
        mean = float(scores[inside].mean())
        found.append(ReliabilityBin(rows, mean, estimate_share(int(unsafe[inside].sum()), rows)))
    return found


def fit_temperature(margins: Reals, unsafe: Flags) -> float:
    """Return by what to divide log odds (n,) so that their probabilities fit labels best.

    One number, by likelihood: Guo et al., On Calibration of Modern Neural Networks, 2017. Labels
    count as nearly sure, as with one more row of each: Platt, Probabilistic Outputs for Support
    Vector Machines, 1999; else a few rows that happen to be parted would make it sure of all.
    """
    counts = np.where(unsafe, unsafe.sum(), (~unsafe).sum())
    right = (counts + 1) / (counts + 2)
    signed = np.where(unsafe, margins, -margins)

    def loss(log: float) -> float:
        scaled = signed / np.exp(log)
        losses = right * np.logaddexp(0, -scaled) + (1 - right) * np.logaddexp(0, scaled)
        return float(losses.mean())

    found = _require_library("scipy.optimize").minimize_scalar(
        loss, bounds=(-3, 3), method="bounded"
    )
    return float(np.exp(found.x))


def compute_probabilities(margins: Reals, heat: float) -> Reals:
    """Return the probabilities of log odds (n,) at a temperature."""
    scaled = np.clip(margins / heat, -500, 500)
    return np.asarray(1 / (1 + np.exp(-scaled)), np.float64)
