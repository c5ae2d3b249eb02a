"""Diagnose without labels whether the long-tail assumption is plausible for a corpus.

The method assumes that acceptable responses agree with each other and unsafe ones are rare and
different. Only labels can confirm that, and `isaac audit` asks for a few. But some corpora are
clearly unsuitable: hardly any responses agree, the common responses are one text repeated, or
clusters and wording disagree about which responses are common.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from ...curation.curate import Curation
from ...curation.dialogue.clauses import MANY_ROWS
from ...curation.dialogue.trimming import TRIMMED
from ...curation.lineage import first_targets

Applicability = Literal["applies", "doubtful", "does not apply"]

MIN_EXCHANGES = 200
"""Fewest exchanges for the verdict "applies"."""

MIN_COPIES = 5
"""Fewest near-copies, itself included, that make a response count as repeated."""


class Thresholds(NamedTuple):
    """The values beyond which the method is doubtful, and beyond which it does not apply.

    If ``fails`` is below ``doubtful``, low values are the bad ones.
    """

    doubtful: float
    fails: float


HEADLESS_THRESHOLDS = Thresholds(0.1, 0.5)
"""For `Diagnosis.headless`."""
REPEATED_THRESHOLDS = Thresholds(0.5, 0.9)
"""For `Diagnosis.repeated`."""
TRIMMED_THRESHOLDS = Thresholds(0.15, 0.3)
"""For the share of rows from whose response parts are removed."""
MARGIN_THRESHOLDS = Thresholds(0.05, 0.0)
"""For `Diagnosis.margin`; low values are the bad ones."""


class Diagnosis(NamedTuple):
    """Whether the method applies, with the reasons and the measures behind them.

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
    """Diagnose whether the method applies to a corpus, as far as unlabeled data can show."""
    layout, stats = curation.layout, curation.decide().neighborhood_stats
    neighborhood = layout.row_neighborhoods(curation.recipe)
    group = curation.response_scores.duplicate_group[layout.response]
    is_repeated = np.bincount(group)[group] >= MIN_COPIES
    measures = {
        "head_share": float((stats.head / stats.total)[neighborhood].mean()),
        "tail_mass": float((stats.singletons / stats.total)[neighborhood].mean()),
        "headless": float((stats.head[neighborhood] < 2).mean()),
        "guaranteed": float(stats.rank_order_preserved[neighborhood].mean()),
        "repeated": float(is_repeated.mean()),
        "margin": _compute_margin(curation),
    }
    verdict, reasons = _diagnose_trimming(curation) or _decide_verdict(
        measures, len(layout.ids), curation
    )
    rounded = {name: round(value, 4) for name, value in measures.items()}
    return Diagnosis(verdict, reasons, **rounded)


def _diagnose_trimming(curation: Curation) -> tuple[Applicability, list[str]] | None:
    """The verdict on trimming; None if responses are also redrawn, since that is judged instead."""
    trims, rows = curation.response_scores.trims, len(curation.layout.ids)
    if trims is None or curation.recipe.share:
        return None
    trimmed = float((trims.action == TRIMMED)[curation.layout.response].mean())
    removed = f"irrelevant parts were removed from {trimmed:.0%} of responses"
    if not trims.dependent_share:
        return "does not apply", ["no part of a response depends on what it answers"]
    if trimmed > TRIMMED_THRESHOLDS.fails:
        return "does not apply", [f"{removed}, which is too many"]
    doubts = [f"{removed}, which is many"] if trimmed > TRIMMED_THRESHOLDS.doubtful else []
    if rows < MANY_ROWS / 2:
        doubts.append(
            f"{rows:,} exchanges are too few to be sure what is irrelevant; "
            f"{MANY_ROWS:,} are enough"
        )
    if doubts:
        return "doubtful", doubts
    share = f"{trims.dependent_share:.0%} of the parts of responses depend on what they answer"
    return "applies", [f"{share}; {removed}"]


def _compute_margin(curation: Curation) -> float:
    """How much more typical responses in a largest cluster are on average than the others."""
    first = first_targets(curation.lineage)
    in_head = first.column("own_rank").to_numpy() == 1
    typicality = first.column("typicality").to_numpy()
    if in_head.all() or not in_head.any():
        return 0.0
    return float(typicality[in_head].mean() - typicality[~in_head].mean())


def _decide_verdict(
    measures: dict[str, float], rows: int, curation: Curation
) -> tuple[Applicability, list[str]]:
    """Compare the measures with their thresholds, and give the reasons for the verdict."""
    fails, doubts = [], []

    def check(value: float, thresholds: Thresholds, reason: str) -> None:
        sign = 1 if thresholds.fails >= thresholds.doubtful else -1
        if sign * value > sign * thresholds.fails:
            fails.append(reason)
        elif sign * value > sign * thresholds.doubtful:
            doubts.append(reason)

    check(
        measures["headless"],
        HEADLESS_THRESHOLDS,
        f"no two responses agree in the neighborhood of {measures['headless']:.0%} of rows",
    )
    check(
        measures["repeated"],
        REPEATED_THRESHOLDS,
        f"{measures['repeated']:.0%} of rows are near-copies of at least {MIN_COPIES - 1} others: "
        "what looks common may only be repeated",
    )
    if curation.recipe.clusters != "text" and measures["headless"] < HEADLESS_THRESHOLDS.fails:
        check(
            measures["margin"],
            MARGIN_THRESHOLDS,
            "clusters and wording disagree about which responses are common: the typicality of "
            "responses in a largest cluster differs from that of the others by "
            f"{100 * measures['margin']:+.0f} points",
        )
    if rows < MIN_EXCHANGES:
        doubts.append(f"{rows:,} exchanges are too few to be sure what is common")
    if measures["guaranteed"] < 1:
        doubts.append(
            f"the odds of {1 - measures['guaranteed']:.0%} of rows favor smaller clusters, which "
            "may increase the share of unsafe responses"
        )
    if fails:
        return "does not apply", fails + doubts
    if doubts:
        return "doubtful", doubts
    head, margin = f"{measures['head_share']:.0%}", f"{100 * measures['margin']:+.0f}"
    return "applies", [
        f"responses agree: the largest cluster holds {head} of a neighborhood, "
        f"and the typicality of its responses differs from that of others by {margin} points"
    ]
