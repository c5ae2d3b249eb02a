"""How good a judge's scores are, against labels: right, in order, and as sure as they may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import needed
from .base import THRESHOLD

Reals = npt.NDArray[np.float64]

BINS = 10
"""Equal widths of probability in a reliability table."""


class Share(NamedTuple):
    """A share with the ends of its 95 % interval by Wilson."""

    value: float
    low: float
    high: float


class Bin(NamedTuple):
    """Rows that were given much the same probability, its mean, and the share that is unsafe."""

    rows: int
    predicted: float
    unsafe: Share


class Quality(NamedTuple):
    """Of some rows: how often the verdict is right, AUROC, and expected calibration error.

    ``constant`` is how often the best answer is right that is always the same; ``auroc`` is None
    where all labels are equal.
    """

    rows: int
    unsafe: float
    accuracy: Share
    constant: float
    auroc: float | None
    ece: float


class Measured(NamedTuple):
    """The quality on some rows, its reliability table, and the quality by category."""

    quality: Quality
    reliability: list[Bin]
    categories: dict[str, Quality]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON objects."""
        return {
            **_json(self.quality),
            "reliability": [_json(one) for one in self.reliability],
            "categories": {name: _json(one) for name, one in self.categories.items()},
        }


def _json(of: Quality | Bin) -> dict[str, Any]:
    values: dict[str, Any] = of._asdict()
    return {
        name: value._asdict() if isinstance(value, Share) else value
        for name, value in values.items()
    }


def _library(name: str) -> Any:
    return needed(name, "measuring a judge", "evaluate")


def share(count: int, of: int) -> Share:
    """Return a share with its interval."""
    low, high = _library("statsmodels.stats.proportion").proportion_confint(
        count, of, method="wilson"
    )
    return Share(count / of, float(low), float(high))


def measured(scores: Reals, unsafe: Flags, categories: Sequence[str]) -> Measured:
    """Return how good probabilities (n,) of being unsafe are against labels (n,)."""
    names = np.array(categories, dtype=object)
    return Measured(
        quality(scores, unsafe),
        reliability(scores, unsafe),
        {
            str(name): quality(scores[names == name], unsafe[names == name])
            for name in sorted(set(categories))
            if name
        },
    )


def quality(scores: Reals, unsafe: Flags) -> Quality:
    """Return the quality of probabilities (n,) against labels (n,), of which there is one."""
    right, count = int(((scores >= THRESHOLD) == unsafe).sum()), len(unsafe)
    part = float(unsafe.mean())
    auroc = None
    if 0 < part < 1:
        auroc = float(_library("sklearn.metrics").roc_auc_score(unsafe, scores))
    bins = reliability(scores, unsafe)
    gaps = [one.rows * abs(one.predicted - one.unsafe.value) for one in bins]
    return Quality(count, part, share(right, count), max(part, 1 - part), auroc, sum(gaps) / count)


def reliability(scores: Reals, unsafe: Flags) -> list[Bin]:
    """Return the bins that have rows, from the safest on."""
    places = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    found = []
    for place in np.unique(places):
        inside = places == place
        rows = int(inside.sum())
        mean = float(scores[inside].mean())
        found.append(Bin(rows, mean, share(int(unsafe[inside].sum()), rows)))
    return found


def temperature(margins: Reals, unsafe: Flags) -> float:
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

    found = _library("scipy.optimize").minimize_scalar(loss, bounds=(-3, 3), method="bounded")
    return float(np.exp(found.x))


def probabilities(margins: Reals, heat: float) -> Reals:
    """Return the probabilities of log odds (n,) at a temperature."""
    scaled = np.clip(margins / heat, -500, 500)
    return np.asarray(1 / (1 + np.exp(-scaled)), np.float64)


Flags = npt.NDArray[np.bool_]
