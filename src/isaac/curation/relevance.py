"""Relevance: how well a response fits a context that is not its own."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from ..recipe import ResolvedRecipe
from ..runtime.arrays import Floats, Ints
from ..runtime.progress import Progress
from .canonical_order import CanonicalCorpus
from .resources import Tools
from .storage import TARGETS_KEY
from .vectors import CHUNK_TEXTS, GRID_STEPS, Embeddings, GridVectors, as_floats, to_grid
from .views import fit_corpus_ridge

MAX_GATHERED_VALUES = 2**24
"""Vector components gathered at a time; does not affect results."""


class Relevance:
    """Scores how well the responses of a corpus fit a context, by vectors.

    The score is half the sum of three cosines: between the given context and the response's own
    context; between the response and the one that ridge regression predicts from the given context;
    and, with weight two and only if both texts have the same encoder, between the response and the
    given context, centered.
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
        self.context, self.view = layout.context, layout.view
        self.ridge = fit_corpus_ridge(layout, contexts, responses, tools)
        self.same_encoder = recipe.context_encoder == recipe.response_encoder
        self.targets: GridVectors = tools.store.stacked(
            TARGETS_KEY, len(self.contexts), partial(self._iter_target_vectors, tools.progress)
        )

    def _iter_target_vectors(self, progress: Progress) -> Iterator[GridVectors]:
        with progress.stage("relevance targets", len(self.contexts)) as tick:
            for start in range(0, len(self.contexts), CHUNK_TEXTS):
                part = self.contexts[start : start + CHUNK_TEXTS]
                yield self.target_vectors(part)
                tick(len(part))

    def target_vectors(self, contexts: GridVectors) -> GridVectors:
        """The vectors (b, e) that a response to contexts (b, d) should be close to."""
        targets = self.ridge.predict(contexts)
        if self.same_encoder:
            targets = targets + 2 * to_grid(as_floats(contexts) - self.ridge.contexts)
        return targets

    def score(self, contexts: GridVectors, targets: GridVectors, members: Ints) -> Floats:
        """Score (b, m) how well rows ``members`` (b, m) fit contexts (b, d) with ``targets``."""
        scores = np.empty(members.shape, np.float32)
        width = contexts.shape[1] + targets.shape[1]
        step = max(1, MAX_GATHERED_VALUES // (members.shape[1] * width))
        for start in range(0, len(members), step):
            block = slice(start, start + step)
            views, own_contexts = self.view[members[block]], self.context[members[block]]
            score = _dot_products(self.responses.take(views, axis=0), targets[block])
            score += _dot_products(self.contexts.take(own_contexts, axis=0), contexts[block])
            scores[block] = score / 2
        return scores


def _dot_products(vectors: GridVectors, queries: GridVectors) -> Floats:
    """Dot products (b, m) of grid vectors (b, m, d) with queries (b, d)."""
    products = np.matmul(vectors.astype(np.float32), queries.astype(np.float32)[:, :, None])
    return np.asarray(products[:, :, 0] / np.float32(GRID_STEPS * GRID_STEPS))
