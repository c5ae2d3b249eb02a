"""Scores of the distinct responses: typicality, near-duplicates and a judge's vetoes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..corpus.corpus import CHUNK_EXCHANGES
from ..models.judges import run_judge
from ..recipe import TRUST_SIGNALS, Recipe
from ..runtime.arrays import Flags, Ints, Reals
from ..runtime.progress import Tick
from ..runtime.storage import stored_arrays
from .canonical_order import CanonicalCorpus
from .dialogue.trimming import IRRELEVANT, Trims
from .near_duplicates import group_near_duplicates
from .resources import Tools
from .signals.folds import assign_folds
from .signals.phrasing import PhrasingModel
from .storage import PHRASING_KEY, SMOOTHED_KEY, TYPICALITY_KEY, VETOES_KEY
from .trust import SmoothedTypicality, TrustModel
from .typicality import TypicalityModel
from .vectors import Embeddings


class ResponseScores(NamedTuple):
    """What is known of the t distinct responses before neighborhoods are searched.

    ``duplicate_group`` (t,) numbers groups of near-duplicates; ``typicality`` (t,) is the share of
    these groups that are no more typically worded, ``trust`` (t,) the share that are no more
    trusted. ``vetoed`` (e,) is 1 for each distinct exchange whose response a judge excludes from
    draws, 0 for the others, and NaN where the judge failed; None without a judge. ``fitted_count``
    is the number of responses that the typicality model was fitted on. ``trims`` has the parts of
    responses to leave out, None if the recipe does not trim. ``signals`` has the scores (t,) that
    trust adds up, by name; see `TrustModel`.
    """

    typicality: Reals
    duplicate_group: Ints
    trust: Reals
    vetoed: Reals | None = None
    fitted_count: int = 0
    trims: Trims | None = None
    signals: Mapping[str, Reals] | None = None


def drawable_rows(layout: CanonicalCorpus, scores: ResponseScores, recipe: Recipe) -> Flags:
    """Which rows (n,) may be drawn: trusted enough, not vetoed, and not irrelevant as a whole."""
    # The bound stays below the largest trust, so that at least one response remains.
    bound = min(1 - recipe.candidates, np.nextafter(scores.trust.max(initial=1), 0))
    drawable = (scores.trust > bound)[layout.response]
    if scores.vetoed is not None:
        drawable &= (scores.vetoed != 1)[layout.exchange]
    if scores.trims is not None:
        drawable &= (scores.trims.action != IRRELEVANT)[layout.response]
    return np.asarray(drawable)


def score_responses(
    layout: CanonicalCorpus, responses: Embeddings | None, recipe: Recipe, tools: Tools
) -> ResponseScores:
    """Score each distinct response, or load the scores from the store."""

    def compute() -> dict[str, npt.NDArray[Any]]:
        with tools.progress.stage("near-duplicates", len(layout.responses)) as tick:
            duplicate_group = group_near_duplicates(layout.responses, tick)
        with tools.progress.stage("typicality", len(layout.responses)) as tick:
            model = TypicalityModel(layout.responses, duplicate_group, tick)
            typicality = model.typicality(model.scores)
        fitted = np.array(model.fitted_count)
        return {"typicality": typicality, "kind": duplicate_group, "fitted": fitted}

    stored = stored_arrays(tools.store, TYPICALITY_KEY, ("typicality", "kind", "fitted"), compute)
    typicality, groups = stored["typicality"], stored["kind"]
    signals = {"wording": typicality}
    names = TRUST_SIGNALS[recipe.trust]
    if "similar" in names and responses is not None:
        smooth = partial(_smooth, layout, responses, typicality, groups, tools)
        signals["similar"] = tools.store.array(SMOOTHED_KEY, smooth)
    if "phrasing" in names:
        phrase = partial(_score_phrasing, layout, typicality, groups, tools)
        signals["phrasing"] = tools.store.array(PHRASING_KEY, phrase)
    trust = typicality
    if len(signals) > 1:
        trust = TrustModel(signals, groups).score(signals)
    vetoed = None
    if (judge := recipe.judge) is not None:
        vetoed = tools.store.array(VETOES_KEY, partial(judge_vetoes, layout, judge, tools))
    fitted = int(stored["fitted"])
    return ResponseScores(typicality, groups, trust, vetoed, fitted, None, signals)


def _smooth(
    layout: CanonicalCorpus, responses: Embeddings, typicality: Reals, groups: Ints, tools: Tools
) -> Reals:
    vectors = responses.vectors[response_views(layout)]
    with tools.progress.stage("similar responses", len(typicality)) as tick:
        smoothed = SmoothedTypicality(vectors, typicality, groups).compute(vectors, groups, tools)
        tick(len(typicality))
    return smoothed


def _score_phrasing(
    layout: CanonicalCorpus, typicality: Reals, groups: Ints, tools: Tools
) -> Reals:
    with tools.progress.stage("phrasing", len(typicality)) as tick:
        return fit_phrasing(layout, typicality, groups, tick).scores


def fit_phrasing(
    layout: CanonicalCorpus, typicality: Reals, groups: Ints, tick: Tick | None = None
) -> PhrasingModel:
    """Fit the model of the phrasing of a corpus's distinct responses."""
    folds = assign_folds(layout.responses.digests, groups)
    return PhrasingModel(layout.responses, typicality, groups, folds, tick)


def response_views(layout: CanonicalCorpus) -> Ints:
    """The index of the view of each distinct response (t,)."""
    view = np.empty(len(layout.responses), np.int64)
    view[layout.response] = layout.view
    return view


def judge_vetoes(layout: CanonicalCorpus, judge: str, tools: Tools) -> Reals:
    """Judge each distinct exchange: 1 if unsafe, 0 if safe, NaN if the judge failed."""
    numbers = {"safe": 0.0, "unsafe": 1.0, "unscored": np.nan}
    judgments = []
    loaded = tools.judge(judge)
    with tools.progress.stage("judge", len(layout.first)) as tick:
        for start in range(0, len(layout.first), CHUNK_EXCHANGES):
            rows = layout.first[start : start + CHUNK_EXCHANGES]
            contexts = [layout.contexts[number] for number in layout.context[rows].tolist()]
            responses = [layout.responses[number] for number in layout.response[rows].tolist()]
            judgments += run_judge(loaded, contexts, responses).judgments
            tick(len(rows))
    return np.array([numbers[judgment.verdict] for judgment in judgments])
