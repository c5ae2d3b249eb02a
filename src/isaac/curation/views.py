"""What of a response is compared: the whole of it, its opening, or what its context leaves open.

Whole texts group long answers by topic, not by stance: everybody who answers a question speaks of
the same things, whether refusing or complying. An opening says more of the stance; so does the
residual, what is left of a response's vector when the part that its context predicts is removed.
"""

from __future__ import annotations

import re
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
from .vectors import CHUNK_TEXTS, Embeddings, GridVectors, as_floats, to_grid

BLOCK_ROWS = 4096
"""Rows of the regression in memory at a time."""

RIDGE_PENALTY = 10.0
"""Ridge penalty, in rows: a direction seen in fewer rows than that is hardly predicted."""

MARKUP_PATTERN = re.compile(r"^(?:[#>*+\-\u2022]+|\d+[.)]|\W*```\w*|<[^<>]*>)\s*")
SENTENCE_PATTERN = re.compile(r".+?[.!?\u3002\uff01\uff1f](?=[\s\"'\u201d\u2019)\]<]|$)", re.DOTALL)
MIN_OPENING_CHARACTERS, MAX_OPENING_CHARACTERS = 12, 300
MAX_SCANNED_CHARACTERS = 4000
"""Characters in which an opening is looked for, markup included."""


def extract_opening(text: str) -> str:
    """Return the first sentence of a text, without the marks of lists, headings, code or HTML.

    A sentence of less than 12 characters ("Sure!", "1.") takes the next one along; a text without
    an end of a sentence is cut after its first line with text, or 300 characters.
    """
    lines = (_strip_markup(line) for line in text.strip()[:MAX_SCANNED_CHARACTERS].splitlines())
    flat = "\n".join(line for line in lines if line)
    end = 0
    for sentence in SENTENCE_PATTERN.finditer(flat):
        end = sentence.end()
        if end >= MIN_OPENING_CHARACTERS:
            break
    first_line = flat.find("\n", MIN_OPENING_CHARACTERS)
    if first_line != -1 and not MIN_OPENING_CHARACTERS <= end <= first_line:
        end = first_line
    return (
        " ".join(flat[: min(end or MAX_OPENING_CHARACTERS, MAX_OPENING_CHARACTERS)].split())
        or text[:MAX_OPENING_CHARACTERS]
    )


def _strip_markup(line: str) -> str:
    line = line.strip()
    while mark := MARKUP_PATTERN.match(line):
        line = line[mark.end() :]
    return line.strip("*_`# ")


@dataclass(frozen=True)
class Ridge:
    """What contexts predict of responses: a linear map with its means.

    ``weights`` (d, e); Hoerl and Kennard, Ridge Regression, 1970.
    """

    contexts: Reals
    responses: Reals
    weights: Reals

    def residual(self, contexts: GridVectors, responses: GridVectors) -> GridVectors:
        """Return what contexts (n, d) do not predict of responses (n, e), as unit grid vectors."""
        parts = [
            self._residual(
                contexts[start : start + BLOCK_ROWS], responses[start : start + BLOCK_ROWS]
            )
            for start in range(0, len(contexts), BLOCK_ROWS)
        ]
        return np.concatenate(parts)

    def predicted(self, contexts: GridVectors) -> GridVectors:
        """Return the responses that contexts (n, d) predict, as unit grid vectors (n, e)."""
        return to_grid(self.responses + self._told(contexts))

    def _told(self, contexts: GridVectors) -> Reals:
        """Return how far contexts move the expected response from the mean, (n, e)."""
        with single_threaded_blas():
            told = (as_floats(contexts) - self.contexts) @ self.weights
        return np.asarray(told)

    def _residual(self, contexts: GridVectors, responses: GridVectors) -> GridVectors:
        return to_grid(as_floats(responses) - self.responses - self._told(contexts))


def fit_ridge(
    contexts: GridVectors, responses: GridVectors, rows: npt.NDArray[Any], tick: Tick | None = None
) -> Ridge:
    """Return the ridge regression of responses on contexts.

    ``rows`` (n, 2) pairs an index of ``contexts`` with one of ``responses``. Rows are read block by
    block in their order on one thread, so that the result depends on nothing else.
    """
    x_mean = _mean_vector(contexts, rows[:, 0])
    y_mean = _mean_vector(responses, rows[:, 1])
    x_size, y_size = contexts.shape[1], responses.shape[1]
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


def _mean_vector(vectors: GridVectors, rows: npt.NDArray[Any]) -> Reals:
    total = np.zeros(vectors.shape[1])
    for part in _iter_blocks(rows):
        total += as_floats(vectors[part]).sum(axis=0, dtype=np.float64)
    return total / max(len(rows), 1)


def _iter_blocks(rows: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    for start in range(0, len(rows), BLOCK_ROWS):
        yield rows[start : start + BLOCK_ROWS]


class ComparedResponses(NamedTuple):
    """What the responses of rows are compared by: row r by ``vectors[item[r]]``.

    There are no vectors where responses are compared as text, and then ``item`` numbers the texts.
    ``ridge`` is there for the residual view, to see a new exchange in the same way. ``kind`` (n,)
    numbers near-duplicate responses alike, where they count once. ``known`` are the pairs of
    vectors within the radius, where it pays to look for all of them at once.
    """

    vectors: GridVectors | None
    item: Ints
    ridge: Ridge | None = None
    kind: Ints | None = None
    known: Ragged | None = None


def apply_view(
    layout: CanonicalCorpus,
    contexts: Embeddings | None,
    responses: Embeddings | None,
    consensus: ResponseScores,
    recipe: ResolvedRecipe,
    tools: Tools,
) -> ComparedResponses:
    """Return the responses as the recipe's view of them; residuals are kept in a store."""
    if responses is None:
        return ComparedResponses(None, layout.response)
    kind = consensus.kind[layout.response] if recipe.duplicates == "once" else None
    if recipe.view != "residual" or contexts is None:
        return ComparedResponses(responses.vectors, layout.view, None, kind)
    ridge = fit_corpus_ridge(layout, contexts, responses, tools)
    said, answered = layout.context[layout.first], layout.view[layout.first]

    def residuals() -> Iterator[GridVectors]:
        with tools.progress.stage("residuals", len(said)) as tick:
            for start in range(0, len(said), CHUNK_TEXTS):
                asked, given = (
                    said[start : start + CHUNK_TEXTS],
                    answered[start : start + CHUNK_TEXTS],
                )
                yield ridge.residual(contexts.vectors[asked], responses.vectors[given])
                tick(len(asked))

    vectors = tools.store.stacked("vectors/residuals", len(said), residuals)
    return ComparedResponses(vectors, layout.exchange, ridge, kind)


def fit_corpus_ridge(
    layout: CanonicalCorpus, contexts: Embeddings, responses: Embeddings, tools: Tools
) -> Ridge:
    """Return what the contexts of the corpus predict of its responses, kept in a store."""

    def make() -> dict[str, Reals]:
        rows = np.stack([layout.context, layout.view], axis=1)
        with tools.progress.stage("regression", len(rows)) as tick:
            return vars(fit_ridge(contexts.vectors, responses.vectors, rows, tick))

    return Ridge(**stored_arrays(tools.store, "vectors/ridge", Ridge.__dataclass_fields__, make))
