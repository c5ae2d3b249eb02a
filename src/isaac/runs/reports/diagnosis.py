"""Diagnose without labels whether the long-tail assumption is plausible for a corpus.

The method assumes that acceptable responses agree with each other and unsafe ones are rare and
different. Only labels can confirm that, and `isaac audit` asks for a few. But some corpora are
clearly unsuitable: responses answer one message only, the common responses are one text repeated,
or, where responses are drawn from clusters, hardly any agree, or clusters and wording disagree
about which are common.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from ...corpus.formats.task_oriented import GROUP_BY_ACT
from ...curation.curate import Curation
from ...curation.dialogue.clauses import FEW_ROWS, MANY_ROWS
from ...curation.dialogue.trimming import TRIMMED
from ...curation.lineage import first_targets
from ...curation.policy import MAX_REPEATED, MIN_COPIES, MIN_EXCHANGES
from ...recipe import Mode
from .price import Price, measure_price

Applicability = Literal["applies", "of little use", "doubtful", "does not apply"]


class Thresholds(NamedTuple):
    """The values beyond which the method is doubtful, and beyond which it does not apply.

    If ``fails`` is below ``doubtful``, low values are the bad ones.
    """

    doubtful: float
    fails: float


HEADLESS_THRESHOLDS = Thresholds(0.1, 0.5)
"""For `ClusterMeasures.headless`."""
REPEATED_THRESHOLDS = Thresholds(MAX_REPEATED, 0.9)
"""For `Diagnosis.repeated`."""
TRIMMED_THRESHOLDS = Thresholds(0.15, 0.3)
"""For the share of rows from whose response parts are removed."""
MARGIN_THRESHOLDS = Thresholds(0.05, 0.0)
"""For `ClusterMeasures.margin`; low values are the bad ones."""


AGREEMENT_THRESHOLDS = Thresholds(0.3, -1.0)
"""For `Policy.agreement`; low values are the bad ones, but none of them is proof of harm."""

MIN_FITTING = 0.5
"""Least share of replaced rows whose new response fits, below which the result is of little use."""


class ClusterMeasures(NamedTuple):
    """How far the responses of a neighborhood agree.

    ``head_share`` is the mean share of a neighborhood in its largest cluster, ``tail_mass`` its
    mean share in clusters of one response. ``headless`` is the share of rows in whose neighborhood
    no two responses agree, ``guaranteed`` the share of rows whose cluster odds cannot increase the
    share of unsafe responses if unsafe ones are no rarer in smaller clusters (Chebyshev's
    association inequality; the weights of relevance and typicality are not covered). ``margin`` is
    how much more typical responses in a largest cluster are than others, in shares of the corpus.
    """

    head_share: float
    tail_mass: float
    headless: float
    guaranteed: float
    margin: float


class Diagnosis(NamedTuple):
    """Whether the method applies, with the reasons and the measures behind them.

    The verdict is "does not apply" where the result may be less safe or wrong, "doubtful" where too
    little is known, and "of little use" where the result is safer at a price that few would pay.
    ``clusters`` is None if the mode uses none. ``repeated``, ``own_fits_best`` and
    ``trusted_relevance`` are those of `Policy`, None if not measured; ``price`` is what the
    curation costs.
    """

    verdict: Applicability
    reasons: list[str]
    mode: Mode
    clusters: ClusterMeasures | None
    repeated: float
    own_fits_best: float | None
    trusted_relevance: float | None
    price: Price

    def as_json(self) -> dict[str, Any]:
        """The diagnosis as JSON values."""
        clusters = None if self.clusters is None else self.clusters._asdict()
        return self._asdict() | {"clusters": clusters, "price": self.price._asdict()}


def diagnose(curation: Curation) -> Diagnosis:
    """Diagnose whether the method applies to a corpus, as far as unlabeled data can show."""
    policy = curation.policy
    measures = _measure_clusters(curation)
    price = measure_price(curation)
    verdict, reasons = _diagnose_trimming(curation) or _decide_verdict(measures, price, curation)
    known = (policy.own_fits_best, policy.trusted_relevance)
    own, relevance = (None if np.isnan(value) else round(value, 4) for value in known)
    return Diagnosis(
        verdict, reasons, curation.recipe.mode, measures, policy.repeated, own, relevance, price
    )


def _measure_clusters(curation: Curation) -> ClusterMeasures | None:
    stats = curation.decide().neighborhood_stats
    if stats is None:
        return None
    neighborhood = curation.layout.row_neighborhoods(curation.recipe)
    measures = (
        (stats.head / stats.total)[neighborhood].mean(),
        (stats.singletons / stats.total)[neighborhood].mean(),
        (stats.head[neighborhood] < 2).mean(),
        stats.rank_order_preserved[neighborhood].mean(),
        _compute_margin(curation),
    )
    return ClusterMeasures(*(round(float(value), 4) for value in measures))


def _diagnose_trimming(curation: Curation) -> tuple[Applicability, list[str]] | None:
    """The verdict on trimming; None if responses are also redrawn, since that is judged instead."""
    trims, rows = curation.response_scores.trims, len(curation.layout.ids)
    if trims is None or curation.recipe.share:
        return None
    trimmed = float((trims.action == TRIMMED)[curation.layout.response].mean())
    removed = f"irrelevant parts were removed from {trimmed:.0%} of responses"
    if not trims.dependent_share and rows < FEW_ROWS:
        return "doubtful", [
            f"{rows:,} exchanges are too few to be sure that any part of a response depends on "
            "what it answers, so nothing was removed"
        ]
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
    measures: ClusterMeasures | None, price: Price, curation: Curation
) -> tuple[Applicability, list[str]]:
    """Compare the measures with their thresholds, and give the reasons for the verdict."""
    findings = Findings([], [], [])
    rows, recipe, policy = len(curation.layout.ids), curation.recipe, curation.policy
    # Turns with the same acts are meant to be worded alike.
    if recipe.reading.group_by != GROUP_BY_ACT:
        findings.check(
            policy.repeated,
            REPEATED_THRESHOLDS,
            f"{policy.repeated:.0%} of rows are near-copies of at least {MIN_COPIES - 1} others: "
            "what looks common may only be repeated",
        )
    by_key = recipe.reading.group_by is not None
    if recipe.mode != "filter" and recipe.share and not (policy.is_exchangeable or by_key):
        findings.fails.append(
            f"the own response of {policy.own_fits_best:.0%} of rows fits best: responses here "
            "answer one message only. Drop rows instead: --mode filter"
        )
    if measures is not None and recipe.by_cluster:
        _check_clusters(findings, measures, curation)
    elif not policy.is_relevant:
        findings.prices.append(
            "the trusted responses are far less relevant to their messages than the others "
            f"({policy.trusted_relevance:.0%} of the mean), as refusals are"
        )
    if price.fitting is not None and not by_key and price.fitting < MIN_FITTING:
        findings.prices.append(
            f"only {price.fitting:.0%} of the new responses are confirmed to fit their messages"
        )
    if not np.isnan(policy.agreement) and not recipe.by_cluster:
        findings.check(
            policy.agreement,
            AGREEMENT_THRESHOLDS,
            "similar responses are not worded alike here, so nothing shows which ones to trust "
            f"(rank correlation {policy.agreement:.2f})",
        )
    if rows < MIN_EXCHANGES:
        findings.doubts.append(f"{rows:,} exchanges are too few to be sure what is common")
    return findings.verdict() or ("applies", [_describe_success(measures, price, curation)])


class Findings(NamedTuple):
    """The reasons why a result may be wrong, why too little is known, and why it is of no use."""

    fails: list[str]
    doubts: list[str]
    prices: list[str]

    def check(self, value: float, thresholds: Thresholds, reason: str) -> None:
        """Add a reason if a value is beyond a threshold."""
        sign = 1 if thresholds.fails >= thresholds.doubtful else -1
        if sign * value > sign * thresholds.fails:
            self.fails.append(reason)
        elif sign * value > sign * thresholds.doubtful:
            self.doubts.append(reason)

    def verdict(self) -> tuple[Applicability, list[str]] | None:
        """The worst verdict that there is a reason for, with all reasons; None if there is none."""
        reasons = [*self.fails, *self.doubts, *self.prices]
        if self.fails:
            return "does not apply", reasons
        if self.doubts:
            return "doubtful", reasons
        return ("of little use", reasons) if reasons else None


def _check_clusters(findings: Findings, measures: ClusterMeasures, curation: Curation) -> None:
    """Check what only matters if responses are drawn from clusters."""
    findings.check(
        measures.headless,
        HEADLESS_THRESHOLDS,
        f"no two responses agree in the neighborhood of {measures.headless:.0%} of rows",
    )
    if curation.recipe.clusters != "text" and measures.headless < HEADLESS_THRESHOLDS.fails:
        findings.check(
            measures.margin,
            MARGIN_THRESHOLDS,
            "clusters and wording disagree about which responses are common: the typicality of "
            "responses in a largest cluster differs from that of the others by "
            f"{100 * measures.margin:+.0f} points",
        )
    if measures.guaranteed < 1:
        findings.doubts.append(
            f"the odds of {1 - measures.guaranteed:.0%} of rows favor smaller clusters, which "
            "may increase the share of unsafe responses"
        )


def _describe_success(measures: ClusterMeasures | None, price: Price, curation: Curation) -> str:
    """Describe what speaks for the result, if nothing speaks against it."""
    if measures is not None and curation.recipe.by_cluster:
        head, margin = f"{measures.head_share:.0%}", f"{100 * measures.margin:+.0f}"
        return (
            f"responses agree: the largest cluster holds {head} of a neighborhood, "
            f"and the typicality of its responses differs from that of others by {margin} points"
        )
    written = f"{price.rows:.0%} of the rows are written"
    if curation.recipe.mode == "filter" and not curation.policy.is_exchangeable:
        return f"{written}; {curation.policy.reason}"
    if curation.recipe.mode == "filter" or price.fitting is None:
        return written
    return (
        f"{written}, {price.changed:.0%} with a new response; at least {price.fitting:.0%} of "
        "these fit their messages"
    )
