"""Whether a response answers its context: it must rank above 95 of 100 random responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...runtime.arrays import Flags, Floats, Ints, Reals
from ...runtime.concurrency import single_threaded_blas

RANDOM_RESPONSES = 100
"""Random responses that a response is ranked against."""

MIN_RANK = 0.95
"""Share of the random responses that a response must rank above to answer its context."""

FOLDS = 5
"""Parts of the corpus: the rows behind a pair take no part in the model that scores the pair."""

RIDGE_PENALTY = 10.0
"""Added to the diagonal of the ridge regression of responses on contexts."""

BLOCK_ROWS = 256
"""Rows scored at a time, each with its random responses."""


class RowVectors(NamedTuple):
    """Vectors of contexts and responses (n, d), row by row, all from one encoder."""

    contexts: Floats
    responses: Floats


class ResponseSelector:
    """A label-free model of which response answers a context, fitted on the rows of a corpus.

    The score of a response is its cosine with the context plus its cosine with the response that a
    ridge regression expects, all vectors centered. The regression that scores the response of row
    j under the context of row i leaves out the folds of both rows, so that a corpus's own pairs
    have no advantage over new ones.
    """

    def __init__(
        self, vectors: RowVectors, contexts: Ints, texts: Ints, fitted: Ints | None = None
    ) -> None:
        """Fit on the rows.

        ``contexts`` and ``texts`` (n,) number the distinct contexts and responses; rows with one
        context share a fold. ``fitted`` are the rows to fit on, which are also the random
        responses; by default all of them.
        """
        fitted = np.arange(len(texts)) if fitted is None else fitted
        self.contexts, self.responses = (
            _normalize(part.astype(np.float64) - part[fitted].mean(axis=0, dtype=np.float64))
            for part in vectors
        )
        self.texts, self.folds = texts, contexts % FOLDS
        rng = np.random.default_rng(0)
        self.random_rows: Ints = rng.choice(fitted, (len(texts), RANDOM_RESPONSES))
        self.weights = self._fit_without_folds(fitted)

    def answers(self, rows: Ints, sources: Ints) -> Flags:
        """Whether the response of row ``sources[j]`` answers the context of row ``rows[j]`` (m,).

        It does if it scores higher than 95 % of the random responses of that row that have another
        text. These are the same 100 rows for every response to the context.
        """
        answers = np.zeros(len(rows), bool)
        low = np.minimum(self.folds[rows], self.folds[sources])
        high = np.maximum(self.folds[rows], self.folds[sources])
        with single_threaded_blas():
            for pair, weights in self.weights.items():
                members = np.flatnonzero((low == pair[0]) & (high == pair[1]))
                for start in range(0, len(members), BLOCK_ROWS):
                    block = members[start : start + BLOCK_ROWS]
                    answers[block] = self._outrank(rows[block], sources[block], weights)
        return answers

    def _outrank(self, rows: Ints, sources: Ints, weights: Reals) -> Flags:
        contexts = self.contexts[rows]
        # The cosine with the context plus that with the expected response, as one dot product.
        targets = contexts + _normalize(contexts @ weights)
        own = (targets * self.responses[sources]).sum(axis=1)  # (m,)
        random_rows = self.random_rows[rows]  # (m, 100)
        scores = np.einsum("md,mrd->mr", targets, self.responses[random_rows])
        differs = self.texts[random_rows] != self.texts[sources][:, None]
        below = (differs & (scores < own[:, None])).sum(axis=1)
        return np.asarray((below >= MIN_RANK * differs.sum(axis=1)) & differs.any(axis=1))

    def _fit_without_folds(self, fitted: Ints) -> dict[tuple[int, int], Reals]:
        """Ridge weights (d, d) for each pair of folds left out; a pair may be one fold twice."""
        size = self.contexts.shape[1]
        # Sums over the rows of each fold of x x' and x y' (d, d).
        grams, crosses = np.zeros((2, FOLDS, size, size))
        weights = {}
        with single_threaded_blas():
            for fold in range(FOLDS):
                members = fitted[self.folds[fitted] == fold]
                x, y = self.contexts[members], self.responses[members]
                grams[fold], crosses[fold] = x.T @ x, x.T @ y
            for low in range(FOLDS):
                for high in range(low, FOLDS):
                    rest = [fold for fold in range(FOLDS) if fold not in (low, high)]
                    gram = grams[rest].sum(axis=0) + RIDGE_PENALTY * np.eye(size)
                    weights[low, high] = np.linalg.solve(gram, crosses[rest].sum(axis=0))
        return weights


def _normalize(vectors: Reals) -> Reals:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-9))


def number_texts(texts: Sequence[str]) -> Ints:
    """Number texts (n,) by their first occurrence: equal texts get the same number."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64)
