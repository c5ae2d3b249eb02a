"""Estimate from a labeled sample whether a curation made its corpus safer.

The corpus and the draws are fixed; only the choice of the rows to label is random. The intervals
are therefore those of a stratified sample from a finite population, and they are about this corpus,
not about similar ones. ``stratum`` (s,) is the index of the stratum of each sampled row, and
``included`` is whether to include each stratum in an estimate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from ...intervals import Interval, wilson_interval
from ...models.judges import Verdict
from ...runtime.arrays import Ints, Reals
from .sampling import LEVELS, AuditError, AuditItem, AuditSample, Stratum, draw_sample

EVENT_ACTIONS = (("replaced",), ("replaced", "dropped"), ("kept", "replaced"))
"""Actions of the rows that can become unsafe, become safe or leave the corpus, or stay unsafe."""

MIN_SCORED_LABELS = 50
"""Fewest scored labels for a verdict."""

MAX_UNSCORED_SHARE = 0.2
"""Largest share of unscored labels for a verdict."""

SIGNIFICANCE_LEVEL = 0.05
"""Two-sided p below which a trend is reported as significant."""


class Estimates(NamedTuple):
    """The unsafe shares of the whole corpus before and after the curation, from 0 to 1.

    ``change`` is ``after`` - ``before``, estimated from pairs of labels, so it is not always the
    difference of the two values. ``bounds`` are the lowest and the highest end that its interval
    could have, whatever the verdicts on unscored items. ``pairs`` counts the rows that the change
    is estimated from: those that did not keep their response and have all their labels.
    """

    before: Interval
    after: Interval
    change: Interval
    bounds: tuple[float, float]
    asked: int
    scored: int
    unsafe: int
    pairs: int

    @property
    def unscored(self) -> int:
        """Number of items without a verdict, which the estimates leave out."""
        return self.asked - self.scored


class LevelShare(NamedTuple):
    """The unsafe share of the original responses of a level, and the number of its labels."""

    name: str
    rows: int
    scored: int
    unsafe: float


class Trend(NamedTuple):
    """Whether the unsafe share of original responses rises with their level.

    The level is the rank of their cluster, or, if ``by_trust``, the quarter by falling trust. ``p``
    is two-sided, ``p_rises`` one-sided, for a rise. ``direction`` is the one that the labels show,
    significant or not.
    """

    direction: Literal["rises", "falls", "flat"]
    z: float
    p: float
    p_rises: float
    shares: tuple[LevelShare, ...]
    by_trust: bool = False


class AuditOutcome(NamedTuple):
    """The verdict on a curation, and one sentence that reports it with its numbers."""

    verdict: Literal["applies", "doubtful", "does not apply"]
    sentence: str


class _LabelArrays(NamedTuple):
    """The stratum of each sampled row (s,), and 1 for unsafe, 0 for safe, NaN for unscored."""

    stratum: Ints
    before: Reals
    after: Reals


def _build_label_arrays(
    sample: AuditSample, verdicts: Mapping[AuditItem, Verdict], unscored: tuple[float, float]
) -> _LabelArrays:
    """Turn verdicts into numbers; ``unscored`` replaces a missing one before and after.

    A row that kept its response has the same number before and after. A dropped row has 0 after.
    """
    numbers = {"safe": 0.0, "unsafe": 1.0}

    def to_number(item: AuditItem | None, default: float) -> float:
        if item is None:
            return 0.0
        return numbers.get(verdicts.get(item, "unscored"), default)

    before = [to_number(row.before, unscored[0]) for row in sample.sampled_rows]
    after = [
        to_number(row.after, unscored[0 if row.after == row.before else 1])
        for row in sample.sampled_rows
    ]
    stratum = np.array([row.stratum for row in sample.sampled_rows], np.int64)
    return _LabelArrays(stratum, np.array(before, np.float64), np.array(after, np.float64))


def estimate(sample: AuditSample, verdicts: Mapping[AuditItem, Verdict]) -> Estimates:
    """Estimate the unsafe shares before and after and the change, each with a 95 % interval.

    An item without a verdict is unscored: it is left out, as if its row were not in the sample, and
    ``bounds`` show how much this could matter. The interval of a share is Wilson's at the effective
    sample size of the design (Kott and Carr, J. Official Statistics 13, 1997; compared by Franco
    et al., J. Survey Statistics and Methodology 7, 2019), which is valid for rare events too. The
    change is the share of rows that became unsafe minus the share that became safe. Its interval
    combines the Wilson limits of the two with their correlation: Newcombe's method for pairs
    (Statistics in Medicine 17, 1998, 2635), in the general form MOVER (Zou and Donner, Statistics
    in Medicine 27, 2008). If every row is labeled, no interval has any width.
    """
    nan = math.nan
    labels = _build_label_arrays(sample, verdicts, (nan, nan))
    items = sample.items()
    item_verdicts = [verdicts.get(item, "unscored") for item in items]
    change = _estimate_change(sample.strata, labels)
    # The bounds: every unscored item is unsafe before and safe after, or the reverse.
    low = _estimate_change(sample.strata, _build_label_arrays(sample, verdicts, (1.0, 0.0))).low
    high = _estimate_change(sample.strata, _build_label_arrays(sample, verdicts, (0.0, 1.0))).high
    all_strata = [True] * len(sample.strata)
    remaining = [stratum.action != "dropped" for stratum in sample.strata]
    is_changed = np.array([stratum.action != "kept" for stratum in sample.strata], bool)
    is_changed = is_changed[labels.stratum]
    return Estimates(
        before=_estimate_share(sample.strata, labels.stratum, labels.before, all_strata),
        after=_estimate_share(sample.strata, labels.stratum, labels.after, remaining),
        change=change,
        bounds=(min(low, change.low), max(high, change.high)),
        asked=len(items),
        scored=sum(verdict in ("safe", "unsafe") for verdict in item_verdicts),
        unsafe=item_verdicts.count("unsafe"),
        pairs=int((~np.isnan(labels.before + labels.after) & is_changed).sum()),
    )


class _StratifiedMeans(NamedTuple):
    """Means (e,) of mutually exclusive events, their covariance (e, e) and effective sizes (e,)."""

    means: Reals
    covariance: Reals
    sizes: Reals


def _estimate_means(
    strata: Sequence[Stratum], stratum: Ints, events: Reals, included: Sequence[bool]
) -> _StratifiedMeans | None:
    """Estimate the mean of each event, 0 or 1 in ``events`` (s, e), over the included strata.

    None if no label in them is scored. The effective size is that of a simple random sample from an
    infinite population with the same variance, but at most the one that the design has if all
    strata have the same share: otherwise a stratum in which the event happens not to occur would
    make the size too large.
    """
    # The stratum of each fully scored row, -1 for others; g groups of strata with enough of them.
    scored = np.where(np.isnan(events).any(axis=1), -1, stratum)
    groups = _collapse_strata(
        strata, np.bincount(scored[scored >= 0], minlength=len(strata)), included
    )
    if not groups:
        return None
    # Rows (g,), sample sizes (g,) and event means (g, e) of each group.
    rows = np.array([sum(strata[number].rows for number in group) for group in groups], float)
    samples = [events[np.isin(scored, group)] for group in groups]
    sizes = np.array([len(sample) for sample in samples], float)
    means = np.array([sample.mean(axis=0) for sample in samples])
    # Covariance (g, e, e) of exclusive events within a group: p on the diagonal, minus p p'.
    within = np.eye(events.shape[1]) * means[:, None] - means[:, :, None] * means[:, None]
    # Weighted means (e,) and their covariance, with the finite population correction.
    weights = rows / rows.sum()
    total = weights @ means
    factors = weights**2 * (1 - sizes / rows)
    covariance = np.tensordot(factors / np.maximum(sizes - 1, 1), within, axes=1)
    # Inverse effective sizes: variance over that of one simple draw, floored by the design's.
    simple = total * (1 - total)
    inverse = np.divide(np.diagonal(covariance), simple, out=np.zeros_like(total), where=simple > 0)
    inverse = np.maximum(inverse, (factors / sizes).sum())
    size = np.divide(1, inverse, out=np.full_like(inverse, math.inf), where=inverse > 0)
    return _StratifiedMeans(total, covariance, size)


def _collapse_strata(
    strata: Sequence[Stratum], sizes: Ints, included: Sequence[bool]
) -> list[list[int]]:
    """Group the included strata: one with fewer than two scored rows is merged with the next.

    A stratum of one row needs only that row. ``sizes`` are the scored rows of each stratum.
    """
    groups: list[list[int]] = []
    group: list[int] = []
    for number in np.flatnonzero(included).tolist():
        group.append(number)
        if sizes[group].sum() >= min(2, sum(strata[member].rows for member in group)):
            groups.append(group)
            group = []
    if group and groups:
        groups[-1] = groups[-1] + group
    elif sizes[group].sum():
        groups.append(group)
    return groups


def _estimate_share(
    strata: Sequence[Stratum], stratum: Ints, event: Reals, included: list[bool]
) -> Interval:
    """Estimate the share of an event, 0 or 1 in ``event`` (s,), in the included strata."""
    estimated = _estimate_means(strata, stratum, event[:, None], included)
    if estimated is None:
        return Interval(math.nan, 0, 1)
    return wilson_interval(float(estimated.means[0]), float(estimated.sizes[0]))


def _estimate_change(strata: Sequence[Stratum], labels: _LabelArrays) -> Interval:
    """Estimate the unsafe share after minus the unsafe share before.

    With N rows, n of which remain, this is N/n times the share that became unsafe, minus the share
    that was unsafe and became safe or was dropped, plus N/n - 1 times the share that stays unsafe.
    The last term is zero if no row is dropped.
    """
    rows = sum(stratum.rows for stratum in strata)
    remaining = sum(stratum.rows for stratum in strata if stratum.action != "dropped")
    if not remaining:
        return Interval(math.nan, -1, 1)
    before, after = labels.before, labels.after
    # Events (s, 3): became unsafe, became safe or left, stays unsafe.
    events = np.stack([(1 - before) * after, before * (1 - after), before * after], axis=1)
    # For each event its share of all rows and the ends of its interval (3, 3).
    parts = np.zeros((3, 3))
    factors = np.array([rows / remaining, -1, rows / remaining - 1])
    for number in np.flatnonzero(factors).tolist():
        included = [stratum.action in EVENT_ACTIONS[number] for stratum in strata]
        weight = sum(s.rows for s, use in zip(strata, included, strict=True) if use) / rows
        if weight:
            parts[number] = _estimate_share(strata, labels.stratum, events[:, number], included)
            parts[number] *= weight
    if np.isnan(parts).any():
        return Interval(math.nan, -1, 1)
    changeable = [stratum.action != "kept" or remaining < rows for stratum in strata]
    correlation = _estimate_correlation(strata, labels.stratum, events, changeable)
    return _combine_intervals(parts, factors, correlation)


def _estimate_correlation(
    strata: Sequence[Stratum], stratum: Ints, events: Reals, included: Sequence[bool]
) -> Reals:
    """Estimate the correlation (e, e) of the estimated shares of the events."""
    correlation = np.eye(events.shape[1])
    estimated = _estimate_means(strata, stratum, events, included)
    if estimated is None:
        return correlation
    deviation = np.sqrt(np.diagonal(estimated.covariance))
    scale = np.outer(deviation, deviation)
    np.divide(estimated.covariance, scale, out=correlation, where=scale > 0)
    return correlation


def _combine_intervals(parts: Reals, factors: Reals, correlation: Reals) -> Interval:
    """The MOVER interval of a weighted sum of estimates; ``parts`` (e, 3): value, low, high."""
    value = float(factors @ parts[:, 0])

    def distance(ends: Reals) -> float:
        deviations = factors * np.abs(ends - parts[:, 0])
        return math.sqrt(max(float(deviations @ correlation @ deviations), 0.0))

    # A part with a negative factor contributes its high end to the low end of the sum.
    low = value - distance(np.where(factors > 0, parts[:, 1], parts[:, 2]))
    high = value + distance(np.where(factors > 0, parts[:, 2], parts[:, 1]))
    return Interval(value, max(low, -1.0), min(high, 1.0))


def compute_trend(sample: AuditSample, verdicts: Mapping[AuditItem, Verdict]) -> Trend:
    """Test whether original responses of smaller clusters, or less trusted ones, are more unsafe.

    This is the Cochran-Armitage test of the unsafe share over the four levels of the strata, which
    score 0, 1, 2, 3 (Armitage, Biometrics 11, 1955). In a level, rows with
    different actions are weighted by the design and count by their effective number (Kish, Survey
    Sampling, 1965, 11.7). With fewer than two groups, or if all labels are equal, z is 0.
    """
    labels = _build_label_arrays(sample, verdicts, (math.nan, math.nan))
    shares, sizes, scores = [], [], []
    for level in range(LEVELS):
        included = [stratum.level == level for stratum in sample.strata]
        before = labels.before[:, None]
        estimated = _estimate_means(sample.strata, labels.stratum, before, included)
        if estimated is None:
            continue
        strata = [stratum for stratum, use in zip(sample.strata, included, strict=True) if use]
        scored = np.bincount(labels.stratum[~np.isnan(labels.before)], minlength=len(included))
        rows = np.array([stratum.rows for stratum in strata], float)
        share, labeled = float(estimated.means[0]), int(scored[included].sum())
        shares.append(LevelShare(strata[0].name, int(rows.sum()), labeled, share))
        sizes.append(_kish_effective_size(rows, scored[included]))
        scores.append(float(level))
    unsafe = np.array([share.unsafe for share in shares])
    z = _cochran_armitage_z(unsafe, np.array(sizes), np.array(scores))
    direction: Literal["rises", "falls", "flat"] = (
        "flat" if z == 0 else "rises" if z > 0 else "falls"
    )
    p, p_rises = math.erfc(abs(z) / math.sqrt(2)), math.erfc(z / math.sqrt(2)) / 2
    return Trend(direction, z, p, p_rises, tuple(shares), sample.by_trust)


def _kish_effective_size(rows: Reals, scored: Ints) -> float:
    """The number of equally weighted labels with the same precision."""
    is_scored = scored > 0
    rows, counts = rows[is_scored], scored[is_scored]
    return float(rows.sum() ** 2 / (rows**2 / counts).sum())


def _cochran_armitage_z(shares: Reals, sizes: Reals, scores: Reals) -> float:
    """The standard normal deviate of the trend; positive if the shares rise with the scores."""
    if len(shares) < 2:
        return 0.0
    pooled = float(np.average(shares, weights=sizes))
    centered = scores - np.average(scores, weights=sizes)
    variance = pooled * (1 - pooled) * float(sizes @ centered**2)
    return float((sizes * centered) @ shares) / math.sqrt(variance) if variance > 0 else 0.0


def decide_verdict(estimates: Estimates, trend: Trend) -> AuditOutcome:
    """Decide whether the curation made its corpus safer, and explain it in a sentence with numbers.

    "applies" if the whole interval of the change is below zero, "does not apply" if it is above
    zero. "doubtful" if it contains zero, or if too few items or too small a share of them have a
    verdict.
    """
    if (problem := _explain_unusable(estimates)) is not None:
        return AuditOutcome("doubtful", f"Doubtful: {problem}.")
    low, high = (f"{100 * end:.1f}" for end in estimates.change[1:])
    before, after = (f"{100 * share.value:.1f} %" for share in (estimates.before, estimates.after))
    numbers = f"from {before} to {after} (95 % interval of the change: {low} to {high} points)"
    ending = _format_trend(trend) + _format_unscored(estimates)
    if estimates.change.high < 0:
        return AuditOutcome("applies", f"Applies: the unsafe share falls {numbers}, {ending}.")
    if estimates.change.low > 0:
        start = "Does not apply: the curation RAISES the unsafe share"
        return AuditOutcome("does not apply", f"{start} {numbers}, {ending}.")
    is_exact = estimates.change.low == estimates.change.high
    hint = "" if is_exact else "; more labels would narrow the interval"
    return AuditOutcome(
        "doubtful",
        f"Doubtful: the unsafe share goes {numbers}, which could be no change, {ending}{hint}.",
    )


def _explain_unusable(estimates: Estimates) -> str | None:
    """Why the labels allow no verdict; None if they do."""
    scored = f"{estimates.scored:,} of {estimates.asked:,} labels are scored"
    if estimates.scored < MIN_SCORED_LABELS and estimates.change.low < estimates.change.high:
        return f"only {scored}, and a verdict needs at least {MIN_SCORED_LABELS}"
    if estimates.unscored > MAX_UNSCORED_SHARE * estimates.asked:
        return f"only {scored}, and the unscored ones may differ from them"
    if math.isnan(estimates.change.value):
        return "no row has labels both before and after, so the change is unknown"
    if not estimates.unsafe:
        high = f"{100 * estimates.before.high:.1f} %"
        return (
            f"none of the {estimates.scored:,} scored labels is unsafe, so at most {high} of the "
            "original responses are (95 % interval), too few to see a change"
        )
    return None


def _format_unscored(estimates: Estimates) -> str:
    """The end of a sentence about unscored labels; empty if there are none."""
    if not estimates.unscored:
        return ""
    low, high = (f"{100 * end:.1f}" for end in estimates.bounds)
    return (
        f"; {estimates.unscored:,} of {estimates.asked:,} labels are unscored and left out: "
        f"depending on their verdicts, the interval could reach from {low} to {high} points"
    )


def _format_trend(trend: Trend) -> str:
    """The end of a sentence about the trend."""
    which = "less trusted responses" if trend.by_trust else "responses of smaller clusters"
    p = "p < 0.001" if trend.p < 0.001 else f"p = {trend.p:.3f}"
    if trend.p < SIGNIFICANCE_LEVEL:
        often = "more" if trend.direction == "rises" else "less"
        return f"and {which} are unsafe {often} often ({p})"
    return f"and {which} are not significantly more or less unsafe ({p})"


__all__ = [
    "AuditError",
    "AuditItem",
    "AuditOutcome",
    "AuditSample",
    "Estimates",
    "Interval",
    "LevelShare",
    "Trend",
    "compute_trend",
    "decide_verdict",
    "draw_sample",
    "estimate",
    "wilson_interval",
]
