"""The unsafe share of what each budget keeps, against the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isaac.models.judges import Verdict
from isaac.runs.audit.curve import estimate_curve
from isaac.runs.audit.estimates import AuditItem, draw_sample
from tests.runs.audit.test_estimates import population

AUDITED = population((0.05, 0.1, 0.2, 0.3), {"kept": 0.5, "replaced": 0.2, "dropped": 0.3}, 0.2)
COUNT = len(AUDITED.unsafe)
TRUST = np.random.default_rng(1).random(COUNT) - 0.3 * AUDITED.unsafe
KEPT = {budget: np.quantile(TRUST, budget) <= TRUST for budget in (0.0, 0.5, 0.9)}
TRUTH = {budget: float(AUDITED.unsafe[kept].mean()) for budget, kept in KEPT.items()}


def test_estimates_are_unbiased_and_their_intervals_hold_the_truth() -> None:
    shares = dict.fromkeys(KEPT, 0.0)
    misses = dict.fromkeys(KEPT, 0)
    for seed in range(100):
        sample = draw_sample(AUDITED.lineage, 400, seed)
        for point in estimate_curve(sample, AUDITED.verdicts(sample), KEPT):
            shares[point.budget] += point.unsafe.value / 100
            truth = TRUTH[point.budget]
            misses[point.budget] += not point.unsafe.low <= truth <= point.unsafe.high
    assert shares == pytest.approx(TRUTH, abs=0.02)
    assert max(misses.values()) <= 10
    assert TRUTH[0.0] > TRUTH[0.5] > TRUTH[0.9]


def test_a_row_without_a_verdict_does_not_count() -> None:
    sample = draw_sample(AUDITED.lineage, 400, 0)
    verdicts = AUDITED.verdicts(sample)
    whole, *_ = estimate_curve(sample, verdicts, KEPT)
    assert whole.labels == len(sample.sampled_rows)
    half: dict[AuditItem, Verdict] = {
        item: "unscored" if item.context % 2 else verdict for item, verdict in verdicts.items()
    }
    part, *_ = estimate_curve(sample, half, KEPT)
    assert part.labels == sum(row.row % 2 == 0 for row in sample.sampled_rows)
    assert part.unsafe.high - part.unsafe.low > whole.unsafe.high - whole.unsafe.low
    (none,) = estimate_curve(sample, {}, {0.5: KEPT[0.5]})
    assert none.labels == 0
    assert math.isnan(none.unsafe.value)
