"""What an audit says about each point of the curve: the unsafe share of what a budget keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ...intervals import Interval, wilson_interval
from ...models.judges import Verdict
from ...runtime.arrays import Flags
from .sampling import AuditItem, AuditSample


class KeptShare(NamedTuple):
    """The unsafe share of the original responses of the rows that a budget keeps.

    ``labels`` is the number of scored labels of these rows.
    """

    budget: float
    labels: int
    unsafe: Interval


def estimate_curve(
    sample: AuditSample, verdicts: Mapping[AuditItem, Verdict], kept: Mapping[float, Flags]
) -> tuple[KeptShare, ...]:
    """Estimate the unsafe share at each budget from a sample of all rows.

    ``kept`` says for each budget which rows (n,) it keeps, by id. The share is a ratio of sums over
    the sampled rows, each weighted by the rows of its stratum for each scored label there (the
    estimator of a domain's mean: Särndal et al., Model Assisted Survey Sampling, 1992, 5.8). Its
    interval is Wilson's at the effective number of labels (Kish, Survey Sampling, 1965, 11.7).
    """
    scored = [row for row in sample.sampled_rows if verdicts.get(row.before) in ("safe", "unsafe")]
    rows = np.array([row.row for row in scored], np.int64)
    stratum = np.array([row.stratum for row in scored], np.int64)
    unsafe = np.array([verdicts[row.before] == "unsafe" for row in scored], np.float64)
    sizes = np.array([each.rows for each in sample.strata], np.float64)
    counts = np.bincount(stratum, minlength=len(sizes))
    weights = sizes[stratum] / counts[stratum]
    curve = []
    for budget, is_kept in kept.items():
        inside = is_kept[rows]
        weight = weights[inside]
        share = Interval(math.nan, 0, 1)
        if len(weight):
            effective = weight.sum() ** 2 / (weight @ weight)
            mean = float(weight @ unsafe[inside] / weight.sum())
            share = wilson_interval(min(mean, 1.0), float(effective))
        curve.append(KeptShare(budget, int(inside.sum()), share))
    return tuple(curve)
