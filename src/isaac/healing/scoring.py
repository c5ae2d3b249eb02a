"""Scores of given responses, whether the corpus has them or not, and the threshold to keep one."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from ..curation.curate import Curation
from ..curation.response_scores import fit_phrasing, response_views
from ..curation.signals.phrasing import PhrasingModel
from ..curation.trust import SmoothedTypicality, TrustModel
from ..curation.typicality import TypicalityModel
from ..curation.vectors import GridVectors, embed
from ..errors import RecipeError
from ..models.encoders import Encoder
from ..runtime.arrays import Reals


class TypicalityScorer:
    """Looks up the typicality of responses, or computes that of new ones.

    The model is fitted when the first new response arrives. Several threads may share a scorer.
    """

    def __init__(self, curation: Curation) -> None:
        self.responses = curation.layout.responses
        self.scores = curation.response_scores
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
                self.model = TypicalityModel(self.responses, self.scores.duplicate_group)
            return self.model


class TrustScorer:
    """Looks up typicality and trust of responses, or computes those of new ones.

    The models of the signals are fitted when the first new response arrives.
    """

    def __init__(self, curation: Curation) -> None:
        self.curation, self.scores = curation, curation.response_scores
        self.signals = self.scores.signals or {"wording": self.scores.typicality}
        self.model = TrustModel(self.signals, self.scores.duplicate_group)
        self.typicality = TypicalityScorer(curation)
        self.lock = threading.Lock()
        self.smoothing: SmoothedTypicality | None = None
        self.phrasing: PhrasingModel | None = None

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
        if len(self.signals) == 1:
            return typicality
        signals = {"wording": typicality}
        smoothing, phrasing = self._fit_models()
        if smoothing is not None:
            no_group = np.full(len(texts), -1)
            signals["similar"] = smoothing.compute(vectors, no_group, self.curation.tools)
        if phrasing is not None:
            signals["phrasing"] = phrasing.score(texts)
        return self.model.score(signals)

    def _fit_models(self) -> tuple[SmoothedTypicality | None, PhrasingModel | None]:
        layout, groups = self.curation.layout, self.scores.duplicate_group
        typicality, responses = self.scores.typicality, self.curation.responses
        with self.lock:
            if self.smoothing is None and "similar" in self.signals and responses is not None:
                vectors = responses.vectors[response_views(layout)]
                self.smoothing = SmoothedTypicality(vectors, typicality, groups)
            if self.phrasing is None and "phrasing" in self.signals:
                self.phrasing = fit_phrasing(layout, typicality, groups)
        return self.smoothing, self.phrasing


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
