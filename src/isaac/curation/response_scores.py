"""Scores of the distinct responses: typicality, near-duplicates and a judge's vetoes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..corpus.corpus import Corpus
from ..recipe import Recipe
from ..runtime.arrays import Flags, Ints, Reals
from ..runtime.progress import Tick
from ..runtime.storage import stored_arrays
from .canonical_order import CanonicalCorpus
from .dialogue.trimming import IRRELEVANT, Trims
from .near_duplicates import group_near_duplicates
from .resources import Tools
from .signals.combine import ANCHOR
from .storage import TYPICALITY_KEY
from .trust import TrustModel
from .trust_signals import TrustSignals, choose_signals, compute_signals
from .typicality import TypicalityModel
from .vectors import Embeddings
from .vetoes import judge_vetoes


class ResponseScores(NamedTuple):
    """What is known of the t distinct responses before neighborhoods are searched.

    ``duplicate_group`` (t,) numbers groups of near-duplicates; ``typicality`` (t,) is the share of
    these groups that are no more typically worded, ``trust`` (t,) the share that are no more
    trusted. ``vetoed`` (e,) is 1 for each distinct exchange whose response a judge excludes from
    draws, 0 for the others, and NaN where the judge failed; None without a judge. ``fitted_count``
    is the number of responses that the typicality model was fitted on. ``trims`` has the parts of
    responses to leave out, None if the recipe does not trim. ``signals`` are what trust combines
    with the typicality, None if nothing; ``trust_reasons`` say which of them count, and why.
    ``fixed`` (n,) marks the rows whose response is neither replaced nor drawn, None if there are
    none.
    """

    typicality: Reals
    duplicate_group: Ints
    trust: Reals
    vetoed: Reals | None = None
    fitted_count: int = 0
    trims: Trims | None = None
    signals: TrustSignals | None = None
    trust_reasons: tuple[str, ...] = ()
    fixed: Flags | None = None


def drawable_rows(layout: CanonicalCorpus, scores: ResponseScores, recipe: Recipe) -> Flags:
    """Which rows (n,) may be drawn: trusted enough, not fixed, not vetoed, not irrelevant."""
    # The bound stays below the largest trust, so that at least one response remains.
    bound = min(1 - recipe.candidates, np.nextafter(scores.trust.max(initial=0), 0))
    drawable = (scores.trust > bound)[layout.response]
    if scores.fixed is not None:
        drawable &= ~scores.fixed
    if scores.vetoed is not None:
        drawable &= (scores.vetoed != 1)[layout.exchange]
    if scores.trims is not None:
        drawable &= (scores.trims.action != IRRELEVANT)[layout.response]
    return np.asarray(drawable)


def find_fixed_rows(corpus: Corpus, layout: CanonicalCorpus) -> Flags | None:
    """Which rows (n,) of the layout may be neither replaced nor drawn; None if all may."""
    parts = [part.column("fixed").is_valid().to_numpy() for part in corpus.parts(["fixed"])]
    fixed = np.concatenate(parts) if parts else np.zeros(0, bool)
    return fixed[layout.ids] if fixed.any() else None


def fit_typicality(
    responses: Sequence[str], duplicate_group: Ints, recipe: Recipe, tick: Tick | None = None
) -> TypicalityModel:
    """Fit the typicality model of a corpus's distinct responses (t,).

    Punctuation counts only if trust is the wording alone: other signals find more without it.
    """
    punctuation = recipe.trust == "wording"
    return TypicalityModel(responses, duplicate_group, tick, punctuation=punctuation)


def score_responses(
    layout: CanonicalCorpus, responses: Embeddings | None, recipe: Recipe, tools: Tools
) -> ResponseScores:
    """Score each distinct response, or load the scores from the store."""

    def compute() -> dict[str, npt.NDArray[Any]]:
        with tools.progress.stage("near-duplicates", len(layout.responses)) as tick:
            duplicate_group = group_near_duplicates(layout.responses, tick)
        with tools.progress.stage("typicality", len(layout.responses)) as tick:
            model = fit_typicality(layout.responses, duplicate_group, recipe, tick)
            typicality = model.typicality(model.scores)
        fitted = np.array(model.fitted_count)
        return {"typicality": typicality, "kind": duplicate_group, "fitted": fitted}

    stored = stored_arrays(tools.store, TYPICALITY_KEY, ("typicality", "kind", "fitted"), compute)
    typicality, groups = stored["typicality"], stored["kind"]
    names = choose_signals(recipe, tools)
    found, trust = None, typicality
    reasons: tuple[str, ...] = ()
    if names:
        found = compute_signals(layout, responses, typicality, groups, names, tools)
        model = TrustModel(typicality, found.signals, groups, found.folds, found.vetoes)
        trust = model.trust
        reasons = tuple(each.reason for each in model.decisions if each.signal != ANCHOR)
    vetoed = None
    if (judge := recipe.judge) is not None:
        vetoed = judge_vetoes(layout, judge, tools)
    fitted = int(stored["fitted"])
    return ResponseScores(typicality, groups, trust, vetoed, fitted, None, found, reasons)
