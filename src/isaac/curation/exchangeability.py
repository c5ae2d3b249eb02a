"""Exchangeability: whether a response of the corpus can answer another message at all.

Code, facts and a customer's own data answer one message only. There, a row's own response fits its
message better than the responses to similar messages do, nearly always, and redrawing would replace
right answers with wrong ones.
"""

from __future__ import annotations

import numpy as np

from ..runtime.arrays import Ints, Reals
from .canonical_order import CanonicalCorpus
from .fit import FitModel, center, choose_references, fit_references, score_pairs
from .resources import Tools
from .search.exact import find_nearest_in_parallel
from .storage import EXCHANGEABILITY_KEY
from .vectors import Embeddings

MAX_SAMPLE = 500
"""Maximum number of exchanges to test; the model is fitted without them."""

MAX_MODEL_EXCHANGES = 4096
"""Maximum number of exchanges that are tested, or that the model is fitted to."""

MIN_SAMPLE = 40
"""Fewest exchanges to test; a smaller sample shows nothing."""

COMPARED_NEIGHBORS = 5
"""Nearest messages whose responses are compared with the row's own response."""

OWN_FITS_BEST_BOUND = 0.65
"""Share of rows whose own response fits best from which responses are not exchangeable."""


def measure_own_fits_best(
    layout: CanonicalCorpus,
    contexts: Embeddings,
    responses: Embeddings,
    groups: Ints,
    tools: Tools,
) -> float:
    """The share of rows whose own response fits better than those to the 5 nearest messages.

    ``groups`` (t,) are the near-duplicate groups of the distinct responses. The share is measured
    on at most `MAX_SAMPLE` rows, by a model that is fitted without them; NaN if the corpus is too
    small.
    """

    def compute() -> Reals:
        references = choose_references(layout, groups)[:MAX_MODEL_EXCHANGES]
        count = min(MAX_SAMPLE, len(references) // 5)
        if count < MIN_SAMPLE:
            return np.array(np.nan)
        with tools.progress.stage("exchangeability", count) as tick:
            embedded = (contexts, responses)
            model = fit_references(layout, *embedded, groups, references[:-count], tools)
            wins = _compare(model, layout, embedded, groups, references[-count:])
            tick(count)
        return np.array(wins)

    return float(tools.store.array(EXCHANGEABILITY_KEY, compute))


def _compare(
    model: FitModel,
    layout: CanonicalCorpus,
    embedded: tuple[Embeddings, Embeddings],
    groups: Ints,
    tested: Ints,
) -> float:
    """Compare the own responses of tested exchanges (n,) with those to the nearest messages."""
    contexts, responses = (part.vectors for part in embedded)
    rows = layout.first[tested]
    x = contexts[layout.context[rows]]
    queries = model.queries(x, np.full(len(x), -1))
    near = find_nearest_in_parallel(
        center(x, model.context_mean), model.contexts, COMPARED_NEIGHBORS, model.tools.threads
    ).indices
    # The row itself, then the rows of the 5 exchanges with the nearest messages: (n, 6).
    sources = np.concatenate([rows[:, None], layout.first[model.exchanges[near]]], axis=1)
    messages = np.repeat(rows, sources.shape[1])
    fits = model.compare_words(layout, messages, sources.reshape(-1)).reshape(sources.shape)
    for column, source in enumerate(sources.T):
        vectors = contexts[layout.context[source]], responses[layout.view[source]]
        keys = model.keys(*vectors, groups[layout.response[source]])
        fits[:, column] += score_pairs(queries, keys)
    return float((fits[:, 0] > fits[:, 1:].max(axis=1)).mean())
