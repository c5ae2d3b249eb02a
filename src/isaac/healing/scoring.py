"""Scores of given responses, whether the corpus has them or not, and the threshold to keep one."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from ..curation.curate import Curation
from ..curation.embedding import embed_all
from ..curation.response_scores import fit_typicality
from ..curation.signals.reference import ReferenceDirection
from ..curation.signals.states import StateDirection
from ..curation.trust import SmoothedTypicality, TrustModel
from ..curation.trust_signals import (
    STATES_ENCODER,
    TrustSignals,
    fit_phrasing,
    response_views,
    score_profanity,
)
from ..curation.typicality import TypicalityModel
from ..curation.vectors import GridVectors, embed
from ..errors import RecipeError
from ..models.encoders import Encoder
from ..runtime.arrays import Reals

SINGLE_THREAD_EXCHANGES = 16
"""Up to this many exchanges at a time run on one thread; does not affect results."""


class TypicalityScorer:
    """Looks up the typicality of responses, or computes that of new ones.

    The model is fitted when the first new response arrives. Several threads may share a scorer.
    """

    def __init__(self, curation: Curation) -> None:
        self.responses = curation.layout.responses
        self.scores, self.recipe = curation.response_scores, curation.recipe
        self.model: TypicalityModel | None = None
        self.lock = threading.Lock()

    def score(self, responses: Sequence[str]) -> Reals:
        """The typicality (n,) of responses."""
        numbers = np.array([self.responses.find(text) for text in responses], np.int64)
        typicality = np.empty(len(responses))
        known = numbers >= 0
        typicality[known] = self.scores.typicality[numbers[known]]
        new = np.flatnonzero(~known)
        if len(new):
            model = self._fit_model()
            scores = model.score([responses[place] for place in new.tolist()])
            typicality[new] = model.typicality(scores)
        return typicality

    def _fit_model(self) -> TypicalityModel:
        with self.lock:
            if self.model is None:
                groups = self.scores.duplicate_group
                self.model = fit_typicality(self.responses, groups, self.recipe)
            return self.model


class TrustScorer:
    """Looks up typicality and trust of responses, or computes those of new ones.

    The models of the signals are fitted when the first new response arrives.
    """

    def __init__(self, curation: Curation) -> None:
        self.curation, self.scores = curation, curation.response_scores
        self.signals = self.scores.signals
        self.typicality = TypicalityScorer(curation)
        self.lock = threading.Lock()
        self.models: SignalModels | None = None

    def score(self, responses: Sequence[str], vectors: GridVectors) -> list[tuple[float, float]]:
        """The typicality and the trust of each response (n,), given their vectors (n, d)."""
        typicality = self.typicality.score(responses)
        find = self.curation.layout.responses.find
        numbers = np.array([find(text) for text in responses], np.int64)
        known, new = np.flatnonzero(numbers >= 0), np.flatnonzero(numbers < 0)
        trust = np.empty(len(responses))
        trust[known] = self.scores.trust[numbers[known]]
        if len(new):
            texts = [responses[place] for place in new.tolist()]
            trust[new] = self._score_new(texts, typicality[new], vectors[new])
        return list(zip(typicality.tolist(), trust.tolist(), strict=True))

    def _score_new(self, texts: list[str], typicality: Reals, vectors: GridVectors) -> Reals:
        if self.signals is None:
            return typicality
        with self.lock:
            self.models = self.models or SignalModels(self.curation, self.signals)
        return self.models.score(texts, typicality, vectors)


class SignalModels:
    """The models of a corpus's signals, which score responses that it does not have."""

    def __init__(self, curation: Curation, found: TrustSignals) -> None:
        layout, scores = curation.layout, curation.response_scores
        typicality, groups = scores.typicality, scores.duplicate_group
        self.found, self.tools = found, curation.tools
        self.trust = TrustModel(typicality, found.signals, groups, found.folds, found.vetoes)
        if "similar" in found.signals and curation.responses is not None:
            known = curation.responses.vectors[response_views(layout)]
            self.smoothing = SmoothedTypicality(known, typicality, groups)
        if "phrasing" in found.signals:
            self.phrasing = fit_phrasing(layout, typicality, groups)
        if "states" in found.signals:
            states = embed_all("states", STATES_ENCODER, layout.responses, curation.tools).vectors
            self.direction = StateDirection(states, typicality, groups, found.folds)
            self.references = ReferenceDirection(states, groups, self._embed_states)

    def score(self, texts: list[str], typicality: Reals, vectors: GridVectors) -> Reals:
        """The trust (n,) in texts with these typicalities (n,) and vectors (n, d)."""
        signals = dict[str, Reals]()
        if "similar" in self.found.signals:
            no_group = np.full(len(texts), -1)
            signals["similar"] = self.smoothing.compute(vectors, no_group, self.tools)
        if "phrasing" in self.found.signals:
            signals["phrasing"] = self.phrasing.score(texts)
        if "states" in self.found.signals:
            states = self._embed_states(texts)
            signals["states"] = self.direction.score(states)
            if "references" in self.found.signals:
                signals["references"] = self.references.score(states)
        profane = {"profanity": score_profanity(texts)} if self.found.vetoes else {}
        return self.trust.score(typicality, signals, profane)

    def _embed_states(self, texts: list[str]) -> GridVectors:
        return embed(self.tools.encoder(STATES_ENCODER), texts).vectors


def compute_threshold(values: Reals, changed: int) -> float:
    """Compute the typicality or trust above which a response stays.

    ``values`` (n,) are those of the rows, ``changed`` how many of them the budget changes. If
    rows at the limit are equal, a curation keeps some of them; they are all above the threshold.
    """
    ranked = np.sort(values)
    if changed == len(ranked):
        return float(ranked[-1])
    below = ranked[ranked < ranked[changed]]
    return float(below[-1]) if len(below) else -1.0


def embed_like(
    encoder: Encoder, texts: Sequence[str], known: GridVectors, name: str
) -> GridVectors:
    """Embed texts like the ``known`` vectors (n, d) of a run; ``name`` is that of the encoder.

    Raises `RecipeError` if the encoder now returns another width.
    """
    vectors = embed(encoder, texts).vectors
    if len(texts) and vectors.shape[1] != known.shape[1]:
        raise RecipeError(
            f"the texts of the run have {known.shape[1]} dimensions, but encoder '{name}' now "
            f"returns {vectors.shape[1]}; load the encoder that the run was curated with"
        )
    return vectors
