"""Scores of given responses, whether the corpus has them or not, and the threshold to keep one."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from ..curation.curate import Curation
from ..curation.response_scores import response_views
from ..curation.trust import SmoothedTypicality, TrustModel
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
    """Looks up typicality and trust of responses, or computes those of new ones."""

    def __init__(self, curation: Curation) -> None:
        scores, layout = curation.response_scores, curation.layout
        self.layout, self.scores, self.tools = layout, scores, curation.tools
        self.typicality = TypicalityScorer(curation)
        self.model: TrustModel | None = None
        if scores.smoothed is not None:
            assert curation.responses is not None
            groups = scores.duplicate_group
            self.model = TrustModel(scores.typicality, scores.smoothed, groups)
            vectors = curation.responses.vectors[response_views(layout)]
            self.smoothing = SmoothedTypicality(vectors, scores.typicality, groups)

    def score(self, responses: Sequence[str], vectors: GridVectors) -> list[tuple[float, float]]:
        """The typicality and the trust of each response (n,), given their vectors (n, d)."""
        typicality = self.typicality.score(responses)
        trust = typicality.copy()
        if self.model is not None:
            smoothed = self._smooth(responses, vectors)
            trust = self.model.score(typicality, smoothed)
        return list(zip(typicality.tolist(), trust.tolist(), strict=True))

    def _smooth(self, responses: Sequence[str], vectors: GridVectors) -> Reals:
        """The typicality (n,) of the corpus's responses that are most similar to these."""
        assert self.scores.smoothed is not None
        numbers = np.array([self.layout.responses.find(text) for text in responses], np.int64)
        smoothed = np.empty(len(responses))
        known = numbers >= 0
        smoothed[known] = self.scores.smoothed[numbers[known]]
        no_group = np.full(int((~known).sum()), -1)
        smoothed[~known] = self.smoothing.compute(vectors[~known], no_group, self.tools)
        return smoothed


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
