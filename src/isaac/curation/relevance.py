"""Relevance."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from ..recipe import ResolvedRecipe
from ..runtime.arrays import Floats, Ints
from ..runtime.progress import Progress
from .canonical_order import CanonicalCorpus
from .resources import Tools
from .vectors import CHUNK_TEXTS, GRID_STEPS, Embeddings, GridVectors, as_floats, to_grid
from .views import fit_corpus_ridge

MAX_GATHERED_VALUES = 2**24
"""Numbers of vectors that are gathered at a time; changes no result."""


class Relevance:
    """How well the responses of a corpus fit a context, by their vectors.

    Half the sum of three cosines: of the given context with the response's own context; of the
    response with the response that ridge regression predicts from the given context; and, twice,
    where both texts have the same encoder, of the response with the given context, centred.
    """

    def __init__(
        self,
        layout: CanonicalCorpus,
        contexts: Embeddings,
        responses: Embeddings,
        recipe: ResolvedRecipe,
        tools: Tools,
    ) -> None:
        self.contexts, self.responses = contexts.vectors, responses.vectors
        self.said, self.answered = layout.context, layout.view
        self.ridge = fit_corpus_ridge(layout, contexts, responses, tools)
        self.same_encoder = recipe.context_encoder == recipe.response_encoder
        self.known: GridVectors = tools.store.stacked(
            "vectors/wanted", len(self.contexts), partial(self._iter_target_vectors, tools.progress)
        )

    def _iter_target_vectors(self, progress: Progress) -> Iterator[GridVectors]:
        with progress.stage("best responses", len(self.contexts)) as tick:
            for start in range(0, len(self.contexts), CHUNK_TEXTS):
                part = self.contexts[start : start + CHUNK_TEXTS]
                yield self.wanted(part)
                tick(len(part))

    def wanted(self, contexts: GridVectors) -> GridVectors:
        """Return the vectors (b, e) that a response to contexts (b, d) should be near."""
        wanted = self.ridge.predicted(contexts)
        if self.same_encoder:
            wanted = wanted + 2 * to_grid(as_floats(contexts) - self.ridge.contexts)
        return wanted

    def of(self, contexts: GridVectors, wanted: GridVectors, members: Ints) -> Floats:
        """Return the fit (b, m) of rows ``members`` (b, m) to contexts (b, d)."""
        fits = np.empty(members.shape, np.float32)
        step = max(
            1, MAX_GATHERED_VALUES // (members.shape[1] * (contexts.shape[1] + wanted.shape[1]))
        )
        for start in range(0, len(members), step):
            rows = slice(start, start + step)
            fit = _dot_products(
                self.responses.take(self.answered[members[rows]], axis=0), wanted[rows]
            )
            fit += _dot_products(
                self.contexts.take(self.said[members[rows]], axis=0), contexts[rows]
            )
            fits[rows] = fit / 2
        return fits


def _dot_products(vectors: GridVectors, wanted: GridVectors) -> Floats:
    """Return the dot products (b, m) of grid vectors (b, m, d) with one (b, d) for each b."""
    products = np.matmul(vectors.astype(np.float32), wanted.astype(np.float32)[:, :, None])
    return np.asarray(products[:, :, 0] / np.float32(GRID_STEPS * GRID_STEPS))
