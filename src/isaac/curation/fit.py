"""Fit: whether a response answers a message that it was not written for.

A classifier of true pairs learns what is particular to a pair, and similar contexts alone say too
little. So each exchange is first replaced by a *prototype*: the mean of the exchanges that are most
similar to it in message and response together. Fit compares a message, and the answer that its
prototypes let one expect, with the prototype of the response's own exchange.

With unit vectors, C of contexts and R of responses, both centered:

- The prototype of exchange j. N(j) are the 15 exchanges m with the largest C_j.C_m + R_j.R_m,
  without near-copies of response j. Mc_j = unit(C_j + sum of C_m over N(j)); Mr_j likewise.
- The prototypes of message i. P(i) are the 15 exchanges m other than i with the largest C_i.Mc_m.
  ch_i = unit(sum of Mc_m over P(i)); rh_i, the answer that one expects, likewise.
- fit(i, j) = (C_i + ch_i + Mc_i).Mc_j + (rh_i + Mr_i).Mr_j + C_i.R_j + words(i, j). For a message
  without an own response, ch_i and rh_i replace Mc_i and Mr_i.
- words(i, j) is the overlap of message i and response j in rare words, minus that of response j and
  its own message in words that message i lacks: such a response is about something else.

One bound on this sum suits all corpora that were tried; quantiles do not (benchmarks/fit.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..runtime.arrays import Flags, Ints, Reals
from ..runtime.storage import stored_arrays
from .canonical_order import CanonicalCorpus
from .resources import Tools
from .search.exact import find_nearest_in_parallel, split_range
from .storage import FIT_KEY
from .vectors import GRID_STEPS, Embeddings, GridVectors, as_floats, to_grid
from .views import mean_vector
from .word_overlap import WordModel, compare_word_sets

PROTOTYPE_EXCHANGES = 15
"""Exchanges that a prototype averages; between 10 and 25, the number hardly matters."""

MAX_REFERENCES = 8192
"""Maximum number of exchanges that prototypes are made from, the first in canonical order."""

MAX_COPIES = 8
"""Maximum number of references whose responses are near-duplicates of each other."""

QUERY_SCALE = 4
"""Queries are divided by this, so that their dot products with keys are below 2^23 steps."""

BLOCK_ROWS = 1024
"""Exchanges to average the neighbors of at a time; does not affect results."""


class NearPrototypes(NamedTuple):
    """The prototypes near n messages, whose centered contexts are ``centered`` (n, d).

    ``near`` (n, 16) are the nearest references, and ``is_other`` (n, 16) whether each is another
    exchange than the message's own; the first 15 others count.
    """

    centered: GridVectors
    near: Ints
    is_other: Flags


@dataclass(frozen=True, eq=False)
class FitModel:
    """A model of which responses answer which messages; see the module for the equations.

    ``exchanges`` (m,) are the references that prototypes are made from. ``contexts`` (m, d) and
    ``responses`` (m, e) are their centered vectors, ``prototype_contexts`` (m, d) and
    ``prototype_responses`` (m, e) their prototypes, all on the grid. ``groups`` (m,) are the
    near-duplicate groups of their responses. ``context_mean`` (d,) and ``response_mean`` (e,) are
    the centers. ``same_encoder`` is whether contexts and responses have vectors of one encoder;
    without, fit lacks the term C_i.R_j.
    """

    exchanges: Ints
    contexts: GridVectors
    responses: GridVectors
    prototype_contexts: GridVectors
    prototype_responses: GridVectors
    groups: Ints
    context_mean: Reals
    response_mean: Reals
    words: WordModel
    same_encoder: bool
    tools: Tools

    def queries(
        self, contexts: GridVectors, exchanges: Ints, own_keys: GridVectors | None = None
    ) -> GridVectors:
        """Compute what a response to contexts (n, d) should be like: vectors (n, q) for `score`.

        ``exchanges`` (n,) are the exchanges that the contexts are from, so that these do not vote
        for themselves; -1 for contexts that are not in the corpus. ``own_keys`` (n, q) are the
        `keys` of these exchanges, None if the contexts have no response.
        """
        return self.queries_of(self.find_prototypes(contexts, exchanges), own_keys)

    def find_prototypes(self, contexts: GridVectors, exchanges: Ints) -> NearPrototypes:
        """Find the prototypes of messages with contexts (n, d); ``exchanges`` as for `queries`."""
        return self.search_prototypes(center(contexts, self.context_mean), exchanges)

    def search_prototypes(self, centered: GridVectors, exchanges: Ints) -> NearPrototypes:
        """Find the prototypes like `find_prototypes`, for contexts (n, d) that are centered."""
        near = self._search(centered, self.prototype_contexts, 1)
        return NearPrototypes(centered, near, self.exchanges[near] != exchanges[:, None])

    def queries_of(
        self, prototypes: NearPrototypes, own_keys: GridVectors | None = None
    ) -> GridVectors:
        """Compute the vectors (n, q) of `queries` from the prototypes of messages."""
        centered, near, is_other = prototypes
        seen = self._average(self.prototype_contexts, near, is_other)
        expected = self._average(self.prototype_responses, near, is_other)
        own_context, own_response = seen, expected
        if own_keys is not None:
            width = seen.shape[1]
            own_context = own_keys[:, :width]
            own_response = own_keys[:, width : width + expected.shape[1]]
        parts = [centered + seen + own_context, expected + own_response]
        parts += [centered] * self.same_encoder
        # Scaled down, so that dot products with keys stay exact in float32.
        return np.rint(np.concatenate(parts, axis=1) / QUERY_SCALE).astype(np.int16)

    def keys(self, contexts: GridVectors, responses: GridVectors, groups: Ints) -> GridVectors:
        """Compute what exchanges (n,) stand for: vectors (n, q) for `score`.

        ``groups`` (n,) are the near-duplicate groups of their responses, -1 for new ones.
        """
        x, y = center(contexts, self.context_mean), center(responses, self.response_mean)
        pairs = np.concatenate([x, y], axis=1)
        references = np.concatenate([self.contexts, self.responses], axis=1)
        near = self._search(pairs, references, MAX_COPIES)
        is_other = self.groups[near] != groups[:, None]
        mc = self._average(self.contexts, near, is_other, x)
        mr = self._average(self.responses, near, is_other, y)
        return np.concatenate([mc, mr, *([y] * self.same_encoder)], axis=1)

    def compare_words(self, layout: CanonicalCorpus, messages: Ints, sources: Ints) -> Reals:
        """The term words(i, j) (p,) of the messages and the responses of rows (p,)."""
        context, message = np.unique(layout.context[messages], return_inverse=True)
        source, answer = np.unique(sources, return_inverse=True)
        own_context, response = layout.context[source], layout.response[source]
        texts = (
            [layout.contexts[n] for n in context.tolist()],
            [layout.responses[n] for n in response.tolist()],
            [layout.contexts[n] for n in own_context.tolist()],
        )
        asked, answers, written_for = (self.words.transform(part) for part in texts)
        return compare_word_sets(
            asked, answers, written_for, message.reshape(-1), answer.reshape(-1)
        )

    def _search(self, queries: GridVectors, references: GridVectors, spare: int) -> Ints:
        count = PROTOTYPE_EXCHANGES + spare
        return find_nearest_in_parallel(queries, references, count, self.tools.threads).indices

    def _average(
        self,
        references: GridVectors,
        near: Ints,
        is_other: Flags,
        own: GridVectors | None = None,
    ) -> GridVectors:
        """Average the first 15 references near each row (n, j) that are other than its own."""
        kept = is_other & (np.cumsum(is_other, axis=1) <= PROTOTYPE_EXCHANGES)
        averages = np.empty((len(near), references.shape[1]), np.int16)
        for block in split_range(len(near), BLOCK_ROWS):
            parts = references[near[block]].astype(np.int32) * kept[block][:, :, None]
            sums = parts.sum(axis=1) + (0 if own is None else own[block].astype(np.int32))
            averages[block] = to_grid(sums / GRID_STEPS)
        return averages


def center(vectors: GridVectors, mean: Reals) -> GridVectors:
    """Center grid vectors (n, d) around a mean (d,), and normalize them again."""
    parts = [
        to_grid(as_floats(vectors[block]) - mean) for block in split_range(len(vectors), BLOCK_ROWS)
    ]
    return np.concatenate([np.empty((0, vectors.shape[1]), np.int16), *parts])


def score_pairs(queries: GridVectors, keys: GridVectors) -> Reals:
    """Score pairs (p,) of queries (p, q) and keys (p, q): the terms of fit by vectors."""
    scores = np.empty(len(queries))
    for block in split_range(len(queries), BLOCK_ROWS):
        products = queries[block].astype(np.float32) * keys[block].astype(np.float32)
        scores[block] = products.sum(axis=1, dtype=np.float64)
    return steps_to_scores(scores)


def steps_to_scores(steps: npt.NDArray[Any]) -> Reals:
    """Turn dot products of queries and keys, in steps of the grid, into the terms of fit."""
    return np.asarray(steps * (QUERY_SCALE / GRID_STEPS**2))


def choose_references(layout: CanonicalCorpus, groups: Ints) -> Ints:
    """Choose the exchanges (m,) that prototypes are made from, in canonical order.

    ``groups`` (t,) are the near-duplicate groups of the distinct responses. Of each group only the
    first `MAX_COPIES` exchanges count.
    """
    exchanges = np.argsort(layout.first, kind="stable")
    group = groups[layout.response[layout.first[exchanges]]]
    order = np.argsort(group, kind="stable")
    copy = np.empty(len(order), np.int64)
    ranked = group[order]
    copy[order] = np.arange(len(order)) - np.searchsorted(ranked, ranked)
    return exchanges[copy < MAX_COPIES][:MAX_REFERENCES]


def fit_corpus(
    layout: CanonicalCorpus,
    contexts: Embeddings,
    responses: Embeddings,
    groups: Ints,
    tools: Tools,
) -> FitModel:
    """Fit the model to a corpus, or load it from the store.

    ``groups`` (t,) are the near-duplicate groups of the distinct responses.
    """

    def compute() -> dict[str, npt.NDArray[Any]]:
        references = choose_references(layout, groups)
        with tools.progress.stage("fit", len(references)) as tick:
            model = fit_references(layout, contexts, responses, groups, references, tools)
            tick(len(references))
        arrays: dict[str, npt.NDArray[Any]] = {name: getattr(model, name) for name in ARRAY_FIELDS}
        return arrays | model.words._asdict()

    stored = stored_arrays(tools.store, FIT_KEY, (*ARRAY_FIELDS, *WordModel._fields), compute)
    words = WordModel(*(stored.pop(name) for name in WordModel._fields))
    same_encoder = contexts.encoder == responses.encoder
    return FitModel(**stored, words=words, same_encoder=same_encoder, tools=tools)


ARRAY_FIELDS = (
    "exchanges",
    "contexts",
    "responses",
    "prototype_contexts",
    "prototype_responses",
    "groups",
    "context_mean",
    "response_mean",
)
"""Fields of `FitModel` that are stored."""


def fit_references(
    layout: CanonicalCorpus,
    contexts: Embeddings,
    responses: Embeddings,
    groups: Ints,
    references: Ints,
    tools: Tools,
) -> FitModel:
    """Fit the model to some exchanges (m,) of a corpus; `fit_corpus` chooses and stores them."""
    rows = layout.first[references]
    context, response, view = layout.context[rows], layout.response[rows], layout.view[rows]
    x, y = contexts.vectors[context], responses.vectors[view]
    every = np.arange(len(rows))
    x_mean, y_mean = mean_vector(x, every), mean_vector(y, every)
    texts = [
        [layout.contexts[number] for number in np.unique(context).tolist()],
        [layout.responses[number] for number in np.unique(response).tolist()],
    ]
    model = FitModel(
        references,
        center(x, x_mean),
        center(y, y_mean),
        np.empty((0, x.shape[1]), np.int16),
        np.empty((0, y.shape[1]), np.int16),
        groups[response],
        x_mean,
        y_mean,
        WordModel.fit(texts),
        contexts.encoder == responses.encoder,
        tools,
    )
    keys = model.keys(x, y, groups[response])
    width = x.shape[1]
    prototypes = keys[:, :width], keys[:, width : width + y.shape[1]]
    return replace(model, prototype_contexts=prototypes[0], prototype_responses=prototypes[1])
