"""The combination of signals: which of them a corpus believes, and one rank from all of these.

Nothing here sees a label. A signal counts if it agrees with the wording in every fold of the
corpus, and is left out where it does not. A veto only moves the few responses that it likes least
to the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ...errors import IsaacError
from ...runtime.arrays import Flags, Ints, Reals
from .ranks import Ranking

ANCHOR = "wording"
"""The signal that others must agree with: typicality of the wording, smoothed over neighbors."""

WEIGHTS: Mapping[str, float] = {"phrasing": 2.0}
"""Weights of signals that do not count once. Phrasing has two views: words and skeleton."""

MIN_AGREEMENT = 0.45
"""Smallest rank correlation with the anchor, in every fold, at which a signal counts.

Measured on DiaSafety, GPTFuzz and the bundled corpus: signals that separate unsafe rows have 0.51
or more, those that lower the AUROC of a corpus as a rank, such as profanity, 0.39 or less.
"""

VETO_SHARE = 0.05
"""Share of the responses that a veto moves to the end."""


VETOED = 1000.0
"""What a veto takes off a sum of ranks, which is far below that."""


class Decision(NamedTuple):
    """What the corpus decided about a signal: its weight, 0 if it is left out, and why.

    ``agreement`` is the smallest rank correlation with the anchor over the folds; for a veto, how
    much lower the mean rank of the responses that it likes least is in the anchor.
    """

    signal: str
    weight: float
    agreement: float
    reason: str


class Combined:
    """The trust in the responses of a corpus, and how it was found.

    ``trust`` (t,) is the rank of each response from 0 to 1, ``decisions`` one per signal. `rank`
    ranks other responses among them.
    """

    def __init__(
        self,
        signals: Mapping[str, Reals],
        duplicate_group: Ints,
        folds: Ints,
        vetoes: Mapping[str, Reals],
    ) -> None:
        self._signals = {n: Ranking(signals[n], duplicate_group) for n in sorted(signals)}
        self._vetoes = {n: Ranking(vetoes[n], duplicate_group) for n in sorted(vetoes)}
        ranks = {name: ranking.rank(signals[name]) for name, ranking in self._signals.items()}
        decisions = [_decide(name, ranks[name], ranks[ANCHOR], folds) for name in ranks]
        for name, ranking in self._vetoes.items():
            vetoed = ranking.rank(vetoes[name]) < VETO_SHARE
            decisions.append(_decide_veto(name, vetoed, ranks[ANCHOR]))
        self.decisions = tuple(decisions)
        self._weights = {decision.signal: decision.weight for decision in decisions}
        totals = self._add(signals, vetoes)
        self._totals = Ranking(totals, duplicate_group)
        self.trust = self._totals.rank(totals)

    def rank(
        self, signals: Mapping[str, Reals], vetoes: Mapping[str, Reals] | None = None
    ) -> Reals:
        """The trust (n,) in other responses, from their scores (n,) by the same signals."""
        return self._totals.rank(self._add(signals, vetoes or {}))

    def _add(self, signals: Mapping[str, Reals], vetoes: Mapping[str, Reals]) -> Reals:
        """The weighted sum (n,) of the ranks of all signals, far below the others if vetoed."""
        parts = [
            self._weights[n] * ranking.rank(signals[n]) for n, ranking in self._signals.items()
        ]
        # Rounded, so that equal sums tie whatever they were added up from.
        total = np.round(np.sum(parts, axis=0), 9)
        for name, ranking in self._vetoes.items():
            if self._weights[name] and name in vetoes:
                total = total - VETOED * (ranking.rank(vetoes[name]) < VETO_SHARE)
        return np.asarray(total)


def combine_signals(
    signals: Mapping[str, Reals],
    duplicate_group: Ints,
    folds: Ints,
    vetoes: Mapping[str, Reals] | None = None,
) -> Combined:
    """Combine signals of the t distinct responses, all of them higher for more trust.

    ``signals`` (t,) include the `ANCHOR`; ``duplicate_group`` and ``folds`` (t,) are those of the
    responses. The trust is the rank of the weighted sum of the ranks of all signals that count,
    each near-duplicate group counted once. Raises `IsaacError` if the anchor is missing or a signal
    has NaN or another length.
    """
    vetoes = vetoes or {}
    _check_signals({**signals, **vetoes}, len(duplicate_group))
    if ANCHOR not in signals:
        raise IsaacError(
            f"signals need '{ANCHOR}' to compare the others with; got: {', '.join(sorted(signals))}"
        )
    return Combined(signals, duplicate_group, folds, vetoes)


def _check_signals(signals: Mapping[str, Reals], count: int) -> None:
    for name, scores in signals.items():
        if np.shape(scores) != (count,) or not np.isfinite(scores).all():
            raise IsaacError(
                f"signal '{name}' must have one finite score for each of {count} responses; got "
                f"shape {np.shape(scores)} with {int((~np.isfinite(scores)).sum())} that are not"
            )


def _decide(name: str, rank: Reals, anchor: Reals, folds: Ints) -> Decision:
    weight = WEIGHTS.get(name, 1.0)
    if name == ANCHOR:
        return Decision(name, weight, 1.0, f"{name} counts: the others are compared with it")
    agreements = [correlate(rank[folds == f], anchor[folds == f]) for f in np.unique(folds)]
    low, high = (round(f(agreements, default=0.0), 3) for f in (min, max))
    facts = f"its rank correlation with {ANCHOR} is {low:.2f} to {high:.2f} over the folds"
    if low < MIN_AGREEMENT:
        return Decision(name, 0.0, low, f"{name} is left out: {facts}, below {MIN_AGREEMENT}")
    times = "once" if weight == 1 else f"{weight:g} times"
    return Decision(name, weight, low, f"{name} counts {times}: {facts}")


def _decide_veto(name: str, vetoed: Flags, anchor: Reals) -> Decision:
    """A veto counts if the responses that it likes least are less typical than the others."""
    if not vetoed.any() or vetoed.all():
        return Decision(name, 0.0, 0.0, f"{name} vetoes nothing: it does not tell responses apart")
    gap = round(float(anchor[~vetoed].mean() - anchor[vetoed].mean()), 3)
    facts = f"the {VETO_SHARE:.0%} that it likes least rank {abs(gap):.2f}"
    if gap <= 0:
        return Decision(name, 0.0, gap, f"{name} is left out: {facts} higher in {ANCHOR}")
    return Decision(name, 1.0, gap, f"{name} moves to the end what it rejects: {facts} lower")


def correlate(left: Reals, right: Reals) -> float:
    """The Pearson correlation of two arrays (n,); 0 if one of them does not vary."""
    left, right = left - left.mean(), right - right.mean()
    scale = np.sqrt((left @ left) * (right @ right))
    return float(left @ right / scale) if scale > 0 else 0.0


__all__ = [
    "ANCHOR",
    "MIN_AGREEMENT",
    "VETO_SHARE",
    "WEIGHTS",
    "Combined",
    "Decision",
    "combine_signals",
    "correlate",
]
