"""Which mode suits a corpus: keep and redraw selectively, redraw freely, or only drop rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..recipe import Mode, Recipe
from ..runtime.arrays import Reals
from .canonical_order import CanonicalCorpus
from .exchangeability import OWN_FITS_BEST_BOUND, measure_own_fits_best
from .fit import BLOCK_ROWS, center
from .resources import Tools
from .response_scores import ResponseScores
from .search.exact import split_range
from .signals.combine import correlate
from .signals.ranks import rank_scores
from .vectors import Embeddings, as_floats
from .views import mean_vector

TRUSTED_SHARE = 0.2
"""Share of the rows, the most trusted, whose relevance to their own messages is measured."""

MIN_TRUSTED_RELEVANCE = 0.65
"""Relevance of trusted responses, as a share of the corpus's, below which they are refusals."""

MIN_MEAN_RELEVANCE = 0.1
"""Mean relevance of a corpus, a centered cosine, below which the vectors say too little of it."""


MIN_EXCHANGES = 200
"""Fewest exchanges in which it is clear what is common."""

MIN_COPIES = 5
"""Fewest near-copies, itself included, that make a response count as repeated."""

MAX_REPEATED = 0.5
"""Share of rows with a repeated response above which what looks common may only be repeated."""


class Policy(NamedTuple):
    """The mode for a corpus, the reason for it, and what it was chosen by.

    ``repeated`` is the share of rows that are near-copies of at least four others.
    ``own_fits_best`` is the share of rows whose own response fits their message better than those
    to the 5 nearest messages (`measure_own_fits_best`). ``trusted_relevance`` is how relevant the
    most trusted fifth of the responses are to their own messages, as a share of the corpus's mean.
    ``agreement`` is the rank correlation of the typicality of a response and that of the most
    similar ones. All three are NaN where they could not be measured.
    """

    mode: Mode
    reason: str
    repeated: float
    own_fits_best: float
    trusted_relevance: float
    agreement: float

    @property
    def is_exchangeable(self) -> bool:
        """Whether responses may answer other messages; also if that could not be measured."""
        return not self.own_fits_best >= OWN_FITS_BEST_BOUND

    @property
    def is_relevant(self) -> bool:
        """Whether trusted responses are about their messages; also if it could not be measured."""
        return not self.trusted_relevance < MIN_TRUSTED_RELEVANCE


def choose_policy(
    layout: CanonicalCorpus,
    contexts: Embeddings | None,
    responses: Embeddings | None,
    scores: ResponseScores,
    recipe: Recipe,
    tools: Tools,
) -> Policy:
    """Choose the mode for a corpus if the recipe leaves it open; measure what it depends on."""
    groups = scores.duplicate_group
    group = groups[layout.response]
    repeated = float((np.bincount(group)[group] >= MIN_COPIES).mean())
    if scores.fixed is not None and len(group) - scores.fixed.sum() < MIN_EXCHANGES <= len(group):
        reason = (
            f"{scores.fixed.sum():,} of {len(group):,} responses are tool calls or report a tool's "
            "result, so rows are dropped, and none is redrawn"
        )
        return Policy(_resolve(recipe, "filter"), reason, repeated, *[np.nan] * 3)
    if contexts is None or responses is None:
        reason = "responses are compared as text, so nothing shows whether one fits"
        return Policy(_resolve(recipe, "resample"), reason, repeated, *[np.nan] * 3)
    own = measure_own_fits_best(layout, contexts, responses, groups, tools)
    relevance = _measure_trusted_relevance(layout, contexts, responses, scores.trust)
    policy = Policy("selective", "", repeated, own, relevance, _measure_agreement(scores))
    mode, reason = _explain_mode(policy, len(group), by_key=recipe.reading.group_by is not None)
    return policy._replace(mode=_resolve(recipe, mode), reason=reason)


def _explain_mode(policy: Policy, rows: int, *, by_key: bool) -> tuple[Mode, str]:
    """Choose the mode for what was measured, and give the reason."""
    if rows < MIN_EXCHANGES:
        return "filter", (
            f"{rows:,} exchanges are too few to be sure what is common, so rows are dropped, and "
            "none is redrawn"
        )
    if not policy.is_relevant:
        return "resample", (
            "the most trusted responses are far less relevant to their messages than the others "
            f"({policy.trusted_relevance:.0%} of the mean), as refusals are, so rows are redrawn "
            "freely"
        )
    if policy.repeated > MAX_REPEATED:
        return "filter", (
            f"{policy.repeated:.0%} of the rows have a response that is repeated, so rows are "
            "dropped, and none is redrawn"
        )
    if not policy.is_exchangeable and not by_key:
        return "filter", (
            f"the own response of {policy.own_fits_best:.0%} of rows fits best: responses here "
            "answer one message only, so rows are dropped, and none is redrawn"
        )
    return "selective", (
        "trusted rows are kept, other rows are redrawn where a trusted response fits, and the rest "
        "is dropped"
    )


def _measure_agreement(scores: ResponseScores) -> float:
    """The rank correlation of typicality and `SmoothedTypicality`, NaN if it is not known."""
    if scores.signals is None or "similar" not in scores.signals.signals:
        return np.nan
    groups = scores.duplicate_group
    ranks = (
        rank_scores(values, groups)
        for values in (scores.typicality, scores.signals.signals["similar"])
    )
    return correlate(*ranks)


def _resolve(recipe: Recipe, mode: Mode) -> Mode:
    return mode if recipe.mode == "auto" else recipe.mode


def _measure_trusted_relevance(
    layout: CanonicalCorpus, contexts: Embeddings, responses: Embeddings, trust: Reals
) -> float:
    """The mean centered cosine of trusted pairs of context and response, over that of all pairs."""
    relevance = center_cosines(layout, contexts, responses)
    if relevance is None:
        return np.nan
    row_trust = trust[layout.response]
    trusted = row_trust >= np.quantile(row_trust, 1 - TRUSTED_SHARE)
    mean = relevance.mean()
    return float(relevance[trusted].mean() / mean) if mean >= MIN_MEAN_RELEVANCE else np.nan


def center_cosines(
    layout: CanonicalCorpus, contexts: Embeddings, responses: Embeddings
) -> Reals | None:
    """The cosine (n,) of each row's context and response, both centered.

    None if the texts have different encoders.
    """
    if contexts.encoder != responses.encoder:
        return None
    x_mean, y_mean = (
        mean_vector(embedded.vectors, np.arange(len(embedded.vectors)))
        for embedded in (contexts, responses)
    )
    cosines = np.empty(len(layout.context))
    for block in split_range(len(cosines), BLOCK_ROWS):
        x = as_floats(center(contexts.vectors[layout.context[block]], x_mean))
        y = as_floats(center(responses.vectors[layout.view[block]], y_mean))
        cosines[block] = (x * y).sum(axis=1, dtype=np.float64)
    return cosines
