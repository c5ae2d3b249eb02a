"""Does the long-tail assumption hold here? What can be said without labels.

The method rests on acceptable answers agreeing and unsafe ones standing alone. Without labels
nobody can know that they do; but a corpus in which hardly any answers agree, or whose common
answers are one text said over and over, or whose clusters and wording disagree about which
answers are the common ones, can be told. `isaac audit` asks for a few labels and knows more.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from ...curation.curate import Curation
from ...curation.dialogue.clauses import MANY_ROWS
from ...curation.dialogue.trimming import TRIMMED

Applicability = Literal["applies", "doubtful", "does not apply"]

MIN_EXCHANGES = 200
"""Exchanges below which no verdict is better than doubtful."""

MIN_COPIES = 5
"""Near-duplicates from which on a response counts as repeated."""


class Thresholds(NamedTuple):
    """A share beyond which the method is doubtful, and one beyond which it does not apply."""

    doubtful: float
    fails: float


HEADLESS_THRESHOLDS = Thresholds(0.1, 0.5)
REPEATED_THRESHOLDS = Thresholds(0.5, 0.9)
TRIMMED_THRESHOLDS = Thresholds(0.15, 0.3)
MARGIN_THRESHOLDS = Thresholds(0.05, 0.0)
"""How much more typical the responses of the largest cluster are than the others, in shares of
the corpus; below these."""


class Diagnosis(NamedTuple):
    """Whether the method applies, and the numbers that say so.

    ``head_share`` is the mean share of a neighborhood in its largest cluster, ``tail_mass`` its
    mean share in clusters of one response. ``headless`` is the share of rows in whose neighborhood
    no two responses agree, ``guaranteed`` the share of rows whose cluster odds cannot increase the
    share of unsafe responses if unsafe ones are no rarer in smaller clusters (Chebyshev's
    association inequality; the weights of relevance and typicality are not covered).
    ``repeated`` is the share of rows that are near-copies of at least four others, ``margin`` how
    much more typical responses in a largest cluster are than others, in shares of the corpus.
    """

    verdict: Applicability
    reasons: list[str]
    head_share: float
    tail_mass: float
    headless: float
    guaranteed: float
    repeated: float
    margin: float


def diagnose(curation: Curation) -> Diagnosis:
    """Return whether the method applies to a curated corpus, as far as unlabeled data can show."""
    layout, consensus = curation.layout, curation.response_scores
    nest = layout.row_neighborhoods(curation.recipe)
    nests = curation.decide().neighborhood_stats
    kinds = consensus.duplicate_group[layout.response]
    repeated = np.bincount(kinds)[kinds] >= MIN_COPIES
    found = {
        "head_share": float((nests.head / nests.total)[nest].mean()),
        "tail_mass": float((nests.singletons / nests.total)[nest].mean()),
        "headless": float((nests.head[nest] < 2).mean()),
        "guaranteed": float(nests.rank_order_preserved[nest].mean()),
        "repeated": float(repeated.mean()),
        "margin": _compute_margin(curation),
    }
    verdict, reasons = _diagnose_trimming(curation) or _decide_verdict(
        found, len(layout.ids), curation
    )
    return Diagnosis(verdict, reasons, **{name: round(value, 4) for name, value in found.items()})


def _diagnose_trimming(curation: Curation) -> tuple[Applicability, list[str]] | None:
    """Return the verdict on leaving parts out, None if responses are drawn for their rarity."""
    trims, rows = curation.response_scores.trims, len(curation.layout.ids)
    if trims is None or curation.recipe.share:
        return None
    lost = float((trims.action == TRIMMED)[curation.layout.response].mean())
    told = f"irrelevant parts were removed from {lost:.0%} of responses"
    if not trims.dependent_share or lost > TRIMMED_THRESHOLDS.fails:
        none = "no part of a response depends on what it answers"
        return "does not apply", [
            none if not trims.dependent_share else f"{told}, which is too much"
        ]
    doubts = [f"{told}, which is much"] if lost > TRIMMED_THRESHOLDS.doubtful else []
    if rows < MANY_ROWS / 2:
        doubts.append(
            f"{rows:,} exchanges are too few to be sure what is irrelevant; "
            f"{MANY_ROWS:,} are enough"
        )
    if doubts:
        return "doubtful", doubts
    share = f"{trims.dependent_share:.0%} of the parts of responses depend on what they answer"
    return "applies", [f"{share}; {told}"]


def _compute_margin(curation: Curation) -> float:
    """Return how much more typical responses in largest clusters are than those in others."""
    first = curation.lineage.column("target").to_numpy() == 0
    rank = curation.lineage.column("own_rank").to_numpy()[first]
    typical = curation.lineage.column("typicality").to_numpy()[first]
    if (rank == 1).all() or not (rank == 1).any():
        return 0.0
    return float(typical[rank == 1].mean() - typical[rank > 1].mean())


def _decide_verdict(
    found: dict[str, float], rows: int, curation: Curation
) -> tuple[Applicability, list[str]]:
    fails, doubts = [], []

    def judge(value: float, limit: Thresholds, reason: str) -> None:
        sign = 1 if limit.fails >= limit.doubtful else -1
        if sign * value > sign * limit.fails:
            fails.append(reason)
        elif sign * value > sign * limit.doubtful:
            doubts.append(reason)

    judge(
        found["headless"],
        HEADLESS_THRESHOLDS,
        f"no two responses agree in the neighborhood of {found['headless']:.0%} of rows",
    )
    judge(
        found["repeated"],
        REPEATED_THRESHOLDS,
        f"{found['repeated']:.0%} of rows are near-copies of at least {MIN_COPIES - 1} others: "
        "what looks common may only be repeated",
    )
    if curation.recipe.clusters != "text" and found["headless"] < HEADLESS_THRESHOLDS.fails:
        judge(
            found["margin"],
            MARGIN_THRESHOLDS,
            "clusters and wording disagree about which responses are common: those in a "
            f"largest cluster are {100 * found['margin']:+.0f} points more typical than the others",
        )
    if rows < MIN_EXCHANGES:
        doubts.append(f"{rows:,} exchanges are too few to be sure what is common")
    if found["guaranteed"] < 1:
        doubts.append(
            f"the odds of {1 - found['guaranteed']:.0%} of rows favor smaller clusters, which may "
            "increase the share of unsafe responses"
        )
    if fails:
        return "does not apply", fails + doubts
    if doubts:
        return "doubtful", doubts
    return "applies", [
        f"responses agree: the largest cluster holds {found['head_share']:.0%} of a neighborhood, "
        f"and its wording is {100 * found['margin']:+.0f} points more typical than that of others"
    ]
