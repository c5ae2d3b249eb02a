"""Whether a curation made its corpus safer, by labels that were asked for afterwards.

A corpus is fixed, and so is what was drawn for its rows; only which of them are asked about is
chance. So the intervals here are those of a stratified sample from a finite population, and what
they hold is a number of this corpus, not of others like it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from ...intervals import Interval, wilson_interval
from ...models.judges import Verdict
from ...runtime.arrays import Ints, Reals
from .sampling import STRATUM_RANKS, AuditError, AuditItem, AuditSample, Stratum, draw_sample

EVENT_ACTIONS = (("replaced",), ("replaced", "dropped"), ("kept", "replaced"))
"""The fates of rows that can have become unsafe, have become safe or gone, and still be unsafe."""


MIN_SCORED_LABELS = 50
"""Scored labels below which no verdict is given."""

MAX_UNSCORED_SHARE = 0.2
"""Share of unscored labels above which no verdict is given."""

SIGNIFICANCE_LEVEL = 0.05
"""Two-sided p below which a trend is said to be there."""


class Estimates(NamedTuple):
    """What the labels say of the whole corpus; shares from 0 to 1.

    ``change`` is ``after`` - ``before``, estimated by pairs and so not always the difference of the
    two values. ``bounds`` hold the ends that its interval could have, whatever the unscored items
    are. ``pairs`` is how many rows the change rests on, beside those that kept their response and
    so cannot have changed.
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
        """Return how many items have no verdict and are left out."""
        return self.asked - self.scored


class RankShare(NamedTuple):
    """The unsafe share of the rows of some own ranks, and how many labels it rests on."""

    ranks: str
    rows: int
    scored: int
    unsafe: float


class Trend(NamedTuple):
    """Whether the unsafe share rises with own rank.

    ``p`` is two-sided, ``p_rises`` that of a rise alone. ``direction`` is where the labels point,
    whether or not chance explains it.
    """

    direction: Literal["rises", "falls", "flat"]
    z: float
    p: float
    p_rises: float
    shares: tuple[RankShare, ...]


class AuditOutcome(NamedTuple):
    """Whether the curation did what it is for, and the sentence that says so with numbers."""

    verdict: Literal["applies", "doubtful", "does not apply"]
    sentence: str


class _LabelArrays(NamedTuple):
    """Of each pick its stratum and whether it was unsafe before and after: 1, 0 or NaN."""

    stratum: Ints
    before: Reals
    after: Reals


def _build_label_arrays(
    sample: AuditSample, verdicts: Mapping[AuditItem, Verdict], unscored: tuple[float, float]
) -> _LabelArrays:
    """Return the answers as numbers, ``unscored`` standing for those before and after without one.

    A row that kept its response is the same before and after, whatever stands for it.
    """
    known = {"safe": 0.0, "unsafe": 1.0}

    def number(item: AuditItem | None, other: float) -> float:
        if item is None:
            return 0.0
        return known.get(verdicts.get(item, "unscored"), other)

    before = [number(pick.before, unscored[0]) for pick in sample.sampled_rows]
    after = [
        number(pick.after, unscored[0 if pick.after == pick.before else 1])
        for pick in sample.sampled_rows
    ]
    cell = np.array([pick.stratum for pick in sample.sampled_rows], np.int64)
    return _LabelArrays(cell, np.array(before, np.float64), np.array(after, np.float64))


def estimate(sample: AuditSample, verdicts: Mapping[AuditItem, Verdict]) -> Estimates:
    """Return the unsafe shares before and after with their difference, each with its interval.

    An item without a verdict counts as unscored; it is left out, as if its row had not been chosen,
    and the bounds say how far that could mislead. Shares have Wilson's interval at the effective
    sample size of the design (Kott and Carr, J. Official Statistics 13, 1997; compared by Franco
    et al., J. Survey Statistics and Methodology 7, 2019), which holds for rare events too. The
    change is the share of rows that became unsafe minus the share that became safe, and its
    interval joins the Wilson limits of the two with their correlation: Newcombe's method for pairs
    (Statistics in Medicine 17, 1998, 2635), in the general form MOVER (Zou and Donner, Statistics
    in Medicine 27, 2008). With every row labelled all intervals have no width.
    """
    nan = math.nan
    answers = _build_label_arrays(sample, verdicts, (nan, nan))
    items = sample.items()
    given = [verdicts.get(item, "unscored") for item in items]
    change = _estimate_change(sample.strata, answers)
    low = _estimate_change(sample.strata, _build_label_arrays(sample, verdicts, (1.0, 0.0))).low
    high = _estimate_change(sample.strata, _build_label_arrays(sample, verdicts, (0.0, 1.0))).high
    all_rows = [True] * len(sample.strata)
    staying = [stratum.action != "dropped" for stratum in sample.strata]
    moved = np.array([stratum.action != "kept" for stratum in sample.strata], bool)[answers.stratum]
    return Estimates(
        before=_estimate_share(sample.strata, answers.stratum, answers.before, all_rows),
        after=_estimate_share(sample.strata, answers.stratum, answers.after, staying),
        change=change,
        bounds=(min(low, change.low), max(high, change.high)),
        asked=len(items),
        scored=sum(verdict in ("safe", "unsafe") for verdict in given),
        unsafe=given.count("unsafe"),
        pairs=int((~np.isnan(answers.before + answers.after) & moved).sum()),
    )


class _StratifiedMeans(NamedTuple):
    """Means of e events that exclude one another, their covariance (e, e) and effective sizes."""

    means: Reals
    covariance: Reals
    sizes: Reals


def _estimate_means(
    strata: Sequence[Stratum], cell: Ints, events: Reals, inside: Sequence[bool]
) -> _StratifiedMeans | None:
    """Return the mean of each event, 0 or 1 in ``events`` (picks, e), over the strata inside.

    None if nothing inside was scored. An effective size is that of a simple sample from an endless
    population with the same variance, but at most what the design gives where all strata have the
    same share: so a stratum in which the event happens not to show does not make it larger.
    """
    scored = np.where(np.isnan(events).any(axis=1), -1, cell)
    groups = _collapse_strata(
        strata, np.bincount(scored[scored >= 0], minlength=len(strata)), inside
    )
    if not groups:
        return None
    rows = np.array([sum(strata[number].rows for number in group) for group in groups], float)
    found = [events[np.isin(scored, group)] for group in groups]
    sizes = np.array([len(part) for part in found], float)
    means = np.array([part.mean(axis=0) for part in found])
    each = np.eye(events.shape[1]) * means[:, None] - means[:, :, None] * means[:, None]
    weights = rows / rows.sum()
    total = weights @ means
    factors = weights**2 * (1 - sizes / rows)
    covariance = np.tensordot(factors / np.maximum(sizes - 1, 1), each, axes=1)
    simple = total * (1 - total)
    own = np.divide(np.diagonal(covariance), simple, out=np.zeros_like(total), where=simple > 0)
    inverse = np.maximum(own, (factors / sizes).sum())
    size = np.divide(1, inverse, out=np.full_like(inverse, math.inf), where=inverse > 0)
    return _StratifiedMeans(total, covariance, size)


def _collapse_strata(
    strata: Sequence[Stratum], sizes: Ints, inside: Sequence[bool]
) -> list[list[int]]:
    """Return the strata inside, each with fewer than two scored rows joined to a neighbour."""
    groups: list[list[int]] = []
    joined: list[int] = []
    for number in np.flatnonzero(inside).tolist():
        joined.append(number)
        if sizes[joined].sum() >= min(2, sum(strata[member].rows for member in joined)):
            groups.append(joined)
            joined = []
    if joined and groups:
        groups[-1] = groups[-1] + joined
    elif sizes[joined].sum():
        groups.append(joined)
    return groups


def _estimate_share(
    strata: Sequence[Stratum], cell: Ints, unsafe: Reals, inside: list[bool]
) -> Interval:
    """Return the unsafe share of the rows inside."""
    found = _estimate_means(strata, cell, unsafe[:, None], inside)
    if found is None:
        return Interval(math.nan, 0, 1)
    return wilson_interval(float(found.means[0]), float(found.sizes[0]))


def _estimate_change(strata: Sequence[Stratum], answers: _LabelArrays) -> Interval:
    """Return the share after minus the share before.

    With N rows of which n stay, that is N/n times the share that became unsafe, minus the share
    that became safe or was dropped, plus N/n - 1 times the share that was unsafe and still is:
    nothing where no row is dropped.
    """
    rows = sum(stratum.rows for stratum in strata)
    staying = sum(stratum.rows for stratum in strata if stratum.action != "dropped")
    if not staying:
        return Interval(math.nan, -1, 1)
    before, after = answers.before, answers.after
    events = np.stack([(1 - before) * after, before * (1 - after), before * after], axis=1)
    parts = np.zeros((3, 3))
    factors = np.array([rows / staying, -1, rows / staying - 1])
    for number in np.flatnonzero(factors).tolist():
        inside = [stratum.action in EVENT_ACTIONS[number] for stratum in strata]
        weight = sum(stratum.rows for stratum, on in zip(strata, inside, strict=True) if on) / rows
        if weight:
            parts[number] = _estimate_share(strata, answers.stratum, events[:, number], inside)
            parts[number] *= weight
    if np.isnan(parts).any():
        return Interval(math.nan, -1, 1)
    together = [stratum.action != "kept" or staying < rows for stratum in strata]
    return _combine_intervals(
        parts, factors, _estimate_correlation(strata, answers.stratum, events, together)
    )


def _estimate_correlation(
    strata: Sequence[Stratum], cell: Ints, events: Reals, inside: Sequence[bool]
) -> Reals:
    """Return how the estimated shares of events go together, (e, e)."""
    correlation = np.eye(events.shape[1])
    found = _estimate_means(strata, cell, events, inside)
    if found is None:
        return correlation
    deviation = np.sqrt(np.diagonal(found.covariance))
    scale = np.outer(deviation, deviation)
    np.divide(found.covariance, scale, out=correlation, where=scale > 0)
    return correlation


def _combine_intervals(parts: Reals, factors: Reals, correlation: Reals) -> Interval:
    """Return the sum of the parts (e, 3), each with its ends, times their factors, by MOVER."""
    value = float(factors @ parts[:, 0])

    def reach(ends: Reals) -> float:
        away = factors * np.abs(ends - parts[:, 0])
        return math.sqrt(max(float(away @ correlation @ away), 0.0))

    low = value - reach(np.where(factors > 0, parts[:, 1], parts[:, 2]))
    high = value + reach(np.where(factors > 0, parts[:, 2], parts[:, 1]))
    return Interval(value, max(low, -1.0), min(high, 1.0))


def compute_trend(sample: AuditSample, verdicts: Mapping[AuditItem, Verdict]) -> Trend:
    """Return whether the rows' own responses are unsafe more often the lower their cluster ranks.

    Cochran-Armitage test of the unsafe share over the strata of own rank, which score 0, 1, 2, 3
    (Armitage, Biometrics 11, 1955). Rows of one rank group but of several fates are weighted by
    the design, and count by their effective number (Kish, Survey Sampling, 1965, 11.7). Without
    two groups, or with all labels alike, there is no trend: z = 0.
    """
    answers = _build_label_arrays(sample, verdicts, (math.nan, math.nan))
    shares, sizes, scores = [], [], []
    for score, low in enumerate(STRATUM_RANKS):
        inside = [stratum.low == low for stratum in sample.strata]
        found = _estimate_means(sample.strata, answers.stratum, answers.before[:, None], inside)
        if found is None:
            continue
        strata = [stratum for stratum, one in zip(sample.strata, inside, strict=True) if one]
        scored = np.bincount(answers.stratum[~np.isnan(answers.before)], minlength=len(inside))
        rows = sum(stratum.rows for stratum in strata)
        share = float(found.means[0])
        shares.append(RankShare(strata[0].ranks, rows, int(scored[inside].sum()), share))
        sizes.append(
            _kish_effective_size(np.array([s.rows for s in strata], float), scored[inside])
        )
        scores.append(float(score))
    z = _cochran_armitage_z(
        np.array([found.unsafe for found in shares]), np.array(sizes), np.array(scores)
    )
    direction: Literal["rises", "falls", "flat"] = (
        "flat" if z == 0 else "rises" if z > 0 else "falls"
    )
    two_sided, rises = math.erfc(abs(z) / math.sqrt(2)), math.erfc(z / math.sqrt(2)) / 2
    return Trend(direction, z, two_sided, rises, tuple(shares))


def _kish_effective_size(rows: Reals, scored: Ints) -> float:
    """Return the number of equally weighted labels that are worth as much."""
    there = scored > 0
    rows, count = rows[there], scored[there]
    return float(rows.sum() ** 2 / (rows**2 / count).sum())


def _cochran_armitage_z(shares: Reals, sizes: Reals, scores: Reals) -> float:
    """Return the standard normal deviate of a rise of the shares with the scores."""
    if len(shares) < 2:
        return 0.0
    common = float(np.average(shares, weights=sizes))
    away = scores - np.average(scores, weights=sizes)
    variance = common * (1 - common) * float(sizes @ away**2)
    return float((sizes * away) @ shares) / math.sqrt(variance) if variance > 0 else 0.0


def decide_verdict(found: Estimates, rise: Trend) -> AuditOutcome:
    """Return whether the curation applies to this corpus, with a sentence that has the numbers.

    It applies where the whole interval of the change lies below zero, does not where it lies above,
    and is in doubt where zero is inside, or where too few items, or too small a share of them,
    have a verdict.
    """
    if (problem := _explain_unusable(found)) is not None:
        return AuditOutcome("doubtful", f"Doubtful: {problem}.")
    low, high = (f"{100 * end:.1f}" for end in found.change[1:])
    before, after = (f"{100 * level.value:.1f} %" for level in (found.before, found.after))
    shares = f"the unsafe share {{}} from {before} to {after}"
    numbers = f"(95 % interval of the change {low} to {high} points)"
    told = _format_trend(rise) + _format_unscored(found)
    if found.change.high < 0:
        return AuditOutcome("applies", f"Applies: {shares.format('falls')} {numbers}, {told}.")
    if found.change.low > 0:
        raised = f"the curation RAISES the unsafe share from {before} to {after}"
        return AuditOutcome("does not apply", f"Does not apply: {raised} {numbers}, {told}.")
    more = "" if found.change.low == found.change.high else "; more labels narrow the interval"
    return AuditOutcome(
        "doubtful",
        f"Doubtful: {shares.format('goes')} {numbers}, which may be no change, {told}{more}.",
    )


def _explain_unusable(found: Estimates) -> str | None:
    """Return why the labels allow no verdict, None if they do."""
    scored = f"{found.scored:,} of {found.asked:,} labels"
    if found.scored < MIN_SCORED_LABELS and found.change.low < found.change.high:
        return f"{scored} are scored, too few for a verdict; wanted at least {MIN_SCORED_LABELS}"
    if found.unscored > MAX_UNSCORED_SHARE * found.asked:
        return f"only {scored} are scored; what is left out may differ from the rest"
    if math.isnan(found.change.value):
        return "no row has a label both before and after, so the change is unknown"
    if not found.unsafe:
        high = f"{100 * found.before.high:.1f} %"
        return (
            f"none of {found.scored:,} labels is unsafe, so at most {high} of the responses were "
            "before, and too few to see a change"
        )
    return None


def _format_unscored(found: Estimates) -> str:
    """Return what to say of unscored labels, as the end of a sentence."""
    if not found.unscored:
        return ""
    low, high = (f"{100 * end:.1f}" for end in found.bounds)
    return (
        f"; {found.unscored:,} of {found.asked:,} labels are unscored and left out, whose verdicts "
        f"could make the interval {low} to {high}"
    )


def _format_trend(rise: Trend) -> str:
    """Return what the trend says, as the end of a sentence."""
    p = "p < 0.001" if rise.p < 0.001 else f"p = {rise.p:.3f}"
    if rise.p < SIGNIFICANCE_LEVEL:
        return f"and unsafety {rise.direction} with rank ({p})"
    return f"and unsafety neither rises nor falls with rank beyond chance ({p})"


__all__ = [
    "AuditError",
    "AuditItem",
    "AuditOutcome",
    "AuditSample",
    "Estimates",
    "Interval",
    "RankShare",
    "Trend",
    "compute_trend",
    "decide_verdict",
    "draw_sample",
    "estimate",
    "wilson_interval",
]
