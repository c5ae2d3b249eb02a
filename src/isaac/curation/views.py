"""The view of a response that is compared: all of it, its opening, or its residual.

Whole texts group long answers by topic, not by stance: all answers to a question are about the same
things, whether they refuse or comply. An opening says more about the stance. So does the residual,
which is the vector of a response minus the part that its context predicts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..recipe import ResolvedRecipe
from ..runtime.arrays import Ints, Ragged, Reals
from ..runtime.concurrency import single_threaded_blas
from ..runtime.progress import Tick
from ..runtime.storage import stored_arrays
from .canonical_order import CanonicalCorpus
from .resources import Tools
from .response_scores import ResponseScores
from .storage import RESIDUALS_KEY, RIDGE_KEY
from .vectors import CHUNK_TEXTS, Embeddings, GridVectors, as_floats, to_grid

BLOCK_ROWS = 4096
"""Rows of the regression in memory at a time."""

RIDGE_PENALTY = 10.0
"""Ridge penalty, in rows: a direction that fewer rows have hardly affects a prediction."""


@dataclass(frozen=True)
class Ridge:
    """A linear map that predicts the vector of a response from that of its context.

    ``contexts`` (d,) and ``responses`` (e,) are means, ``weights`` (d, e) the coefficients. Hoerl
    and Kennard, Ridge Regression, 1970.
    """

    contexts: Reals
    responses: Reals
    weights: Reals

    def residual(self, contexts: GridVectors, responses: GridVectors) -> GridVectors:
        """Responses (n, e) minus what contexts (n, d) predict, as unit grid vectors."""
        parts = [
            self._residual(
                contexts[start : start + BLOCK_ROWS], responses[start : start + BLOCK_ROWS]
            )
            for start in range(0, len(contexts), BLOCK_ROWS)
        ]
        return np.concatenate(parts)

    def predict(self, contexts: GridVectors) -> GridVectors:
        """Predict responses from contexts (n, d), as unit grid vectors (n, e)."""
        return to_grid(self.responses + self._predict_shift(contexts))

    def _predict_shift(self, contexts: GridVectors) -> Reals:
        """Predict how far each response is from the mean response, (n, e)."""
        with single_threaded_blas():
            shift = (as_floats(contexts) - self.contexts) @ self.weights
        return np.asarray(shift)

    def _residual(self, contexts: GridVectors, responses: GridVectors) -> GridVectors:
        return to_grid(as_floats(responses) - self.responses - self._predict_shift(contexts))


def fit_ridge(
    contexts: GridVectors, responses: GridVectors, rows: npt.NDArray[Any], tick: Tick | None = None
) -> Ridge:
    """Fit the ridge regression of responses on contexts.

    ``rows`` (n, 2) pairs an index of ``contexts`` with one of ``responses``. Rows are read in
    order, block by block, on one thread, so that the result depends on nothing else.
    """
    x_mean = mean_vector(contexts, rows[:, 0])
    y_mean = mean_vector(responses, rows[:, 1])
    x_size, y_size = contexts.shape[1], responses.shape[1]
    # Sums over rows of x x' (d, d) and x y' (d, e), both centered.
    gram, cross = np.zeros((x_size, x_size)), np.zeros((x_size, y_size))
    with single_threaded_blas():
        for part in _iter_blocks(rows):
            x = as_floats(contexts[part[:, 0]]) - x_mean
            gram += x.T @ x
            cross += x.T @ (as_floats(responses[part[:, 1]]) - y_mean)
            if tick is not None:
                tick(len(part))
        weights = np.linalg.solve(gram + RIDGE_PENALTY * np.eye(x_size), cross)
    return Ridge(x_mean, y_mean, np.asarray(weights, np.float64))


def mean_vector(vectors: GridVectors, rows: npt.NDArray[Any]) -> Reals:
    """The mean (d,) of the vectors of some rows, in float64, summed in order."""
    total = np.zeros(vectors.shape[1])
    for part in _iter_blocks(rows):
        total += as_floats(vectors[part]).sum(axis=0, dtype=np.float64)
    return total / max(len(rows), 1)


def _iter_blocks(rows: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    for start in range(0, len(rows), BLOCK_ROWS):
        yield rows[start : start + BLOCK_ROWS]


class ComparedResponses(NamedTuple):
    """What the responses of rows are compared by: that of row r by ``vectors[item[r]]``.

    If responses are compared as text, ``vectors`` is None and ``item`` (n,) numbers the texts.
    ``ridge`` is the regression of the residual view, which new exchanges need too.
    ``duplicate_group`` (n,) numbers groups of near-duplicates, if they count once. ``joined_pairs``
    are all pairs of vectors within the radius, if it pays to find them all at once.
    """

    vectors: GridVectors | None
    item: Ints
    ridge: Ridge | None = None
    duplicate_group: Ints | None = None
    joined_pairs: Ragged | None = None


def apply_view(
    layout: CanonicalCorpus,
    contexts: Embeddings | None,
    responses: Embeddings | None,
    scores: ResponseScores,
    recipe: ResolvedRecipe,
    tools: Tools,
) -> ComparedResponses:
    """Choose what responses are compared by, according to the recipe; residuals are stored."""
    if responses is None:
        return ComparedResponses(None, layout.response)
    once = recipe.duplicates == "once"
    duplicate_group = scores.duplicate_group[layout.response] if once else None
    if recipe.view != "residual" or contexts is None:
        return ComparedResponses(responses.vectors, layout.view, None, duplicate_group)
    ridge = fit_corpus_ridge(layout, contexts, responses, tools)
    context, view = layout.context[layout.first], layout.view[layout.first]

    def iter_residuals() -> Iterator[GridVectors]:
        with tools.progress.stage("residuals", len(context)) as tick:
            for start in range(0, len(context), CHUNK_TEXTS):
                chunk = slice(start, start + CHUNK_TEXTS)
                x, y = contexts.vectors[context[chunk]], responses.vectors[view[chunk]]
                yield ridge.residual(x, y)
                tick(len(x))

    vectors = tools.store.stacked(RESIDUALS_KEY, len(context), iter_residuals)
    return ComparedResponses(vectors, layout.exchange, ridge, duplicate_group)


def fit_corpus_ridge(
    layout: CanonicalCorpus, contexts: Embeddings, responses: Embeddings, tools: Tools
) -> Ridge:
    """Fit the ridge regression of all responses on their contexts, or load it from the store."""

    def fit() -> dict[str, Reals]:
        rows = np.stack([layout.context, layout.view], axis=1)
        with tools.progress.stage("regression", len(rows)) as tick:
            return vars(fit_ridge(contexts.vectors, responses.vectors, rows, tick))

    return Ridge(**stored_arrays(tools.store, RIDGE_KEY, Ridge.__dataclass_fields__, fit))
