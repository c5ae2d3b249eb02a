"""The domain of a corpus: which exchanges are enough like its own to say anything about them.

A correct answer about another topic, or in another language, is worded unlike the corpus, just as
an unsafe one is. So a message or a response that the corpus has nothing like is left alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ..curation.canonical_order import CanonicalCorpus
from ..curation.fit import PROTOTYPE_EXCHANGES, FitModel, center
from ..curation.search.exact import find_nearest_in_parallel
from ..curation.typicality import tokenize
from ..curation.vectors import GRID_STEPS, GridVectors
from ..curation.word_overlap import WordModel
from ..runtime.arrays import Ints, Reals
from .scripts import find_script

SAMPLE_EXCHANGES = 1000
"""Exchanges of the corpus, the first in canonical order, that the bounds are set by."""

EXCLUDED_SHARE = 0.05
"""Share of the corpus's own exchanges that are less similar to the others than the bound."""

EXCLUDED_WORD_SHARE = 0.01
"""Share of the corpus's own exchanges that have fewer known words than the bound."""

MIN_SCRIPT_SHARE = 0.01
"""Share of the corpus's messages, or responses, that a script has at least."""

NO_WORD = re.compile(r"[\W\d_]+")
"""What separates words."""


class DomainProblems(NamedTuple):
    """Why exchanges are outside the corpus, None for those inside.

    ``similarity`` (n,) is how similar each message, and its response if there is one, are to those
    of the corpus: the smaller of the two. ``message`` has the problem of the message alone,
    ``exchange`` that of message or response.
    """

    similarity: Reals
    message: list[str | None]
    exchange: list[str | None]


class Domain:
    """The domain of a corpus, with the bounds of what is inside.

    ``min_similarity`` is the least similarity of a message, and of a response, to those of the
    corpus; None for the similarity that 95 % of the corpus's own exchanges exceed, each compared
    with the others.
    """

    def __init__(
        self, layout: CanonicalCorpus, model: FitModel, min_similarity: float | None = None
    ) -> None:
        self.model = model
        sample = model.exchanges[:SAMPLE_EXCHANGES]
        rows = layout.first[sample]
        contexts = [layout.contexts[number] for number in layout.context[rows].tolist()]
        responses = [layout.responses[number] for number in layout.response[rows].tolist()]
        self.context_scripts = _find_common_scripts(contexts)
        self.response_scripts = _find_common_scripts(responses)
        shares = [
            _share_known_by_others(model.words, pair)
            for pair in zip(contexts, responses, strict=True)
        ]
        self.min_known_words = float(np.quantile(shares, EXCLUDED_WORD_SHARE))
        if min_similarity is None:
            own = model.contexts[: len(sample)], model.responses[: len(sample)]
            similarity = np.minimum(*_measure_similarities(model, *own, sample))
            min_similarity = float(np.quantile(similarity, EXCLUDED_SHARE))
        self.min_similarity = min_similarity

    def check(
        self,
        exchanges: Sequence[tuple[str, str | None]],
        contexts: GridVectors,
        responses: GridVectors,
        selves: Ints,
    ) -> DomainProblems:
        """Check exchanges (n,), each a message with its response or None.

        ``contexts`` (n, d) and ``responses`` (n, e) are the
        vectors of the exchanges; the vector of a missing response is ignored. ``selves`` (n,) are
        their numbers in the corpus, -1 for new ones, so that none is compared with itself.
        """
        x = center(contexts, self.model.context_mean)
        y = center(responses, self.model.response_mean)
        message_similarity, response_similarity = _measure_similarities(self.model, x, y, selves)
        is_given = np.array([response is not None for _, response in exchanges], bool)
        response_similarity[~is_given] = np.inf
        messages = [
            self._check_message(message, float(similarity))
            for (message, _), similarity in zip(exchanges, message_similarity, strict=True)
        ]
        problems = [
            problem or (None if response is None else self._check_response(response, similarity))
            for problem, (_, response), similarity in zip(
                messages, exchanges, response_similarity.tolist(), strict=True
            )
        ]
        return DomainProblems(
            np.minimum(message_similarity, response_similarity), messages, problems
        )

    def _check_message(self, text: str, similarity: float) -> str | None:
        return self._check_text("message", text, similarity, self.context_scripts)

    def _check_response(self, text: str, similarity: float) -> str | None:
        return self._check_text("response", text, similarity, self.response_scripts)

    def _check_text(
        self, what: str, text: str, similarity: float, scripts: frozenset[str]
    ) -> str | None:
        """Why a text is outside the corpus, None if it is inside."""
        script = find_script(text)
        if script and script not in scripts:
            return f"outside the corpus: {what} in another script"
        if _share_of_known_words(self.model.words, text) < self.min_known_words:
            return f"outside the corpus: unknown words in the {what}"
        if similarity < self.min_similarity:
            return f"outside the corpus: no similar {what}"
        return None


def _measure_similarities(
    model: FitModel, contexts: GridVectors, responses: GridVectors, selves: Ints
) -> tuple[Reals, Reals]:
    """The mean similarity of centered contexts and responses (n,) to their 15 prototypes."""
    return (
        _measure_similarity(model, contexts, model.prototype_contexts, selves),
        _measure_similarity(model, responses, model.prototype_responses, selves),
    )


def _measure_similarity(
    model: FitModel, vectors: GridVectors, prototypes: GridVectors, selves: Ints
) -> Reals:
    near = find_nearest_in_parallel(
        vectors, prototypes, PROTOTYPE_EXCHANGES + 1, model.tools.threads
    ).indices
    is_other = model.exchanges[near] != selves[:, None]
    is_other &= np.cumsum(is_other, axis=1) <= PROTOTYPE_EXCHANGES
    products = np.einsum(
        "nd,nkd->nk", vectors.astype(np.int64), prototypes[near].astype(np.int64), dtype=np.int64
    )
    counts = np.maximum(is_other.sum(axis=1), 1)
    return np.asarray((products * is_other).sum(axis=1) / counts / GRID_STEPS**2)


def _find_common_scripts(texts: Iterable[str]) -> frozenset[str]:
    counts = Counter(filter(None, map(find_script, texts)))
    least = MIN_SCRIPT_SHARE * counts.total()
    return frozenset(script for script, count in counts.items() if count >= least)


def _list_words(text: str) -> Ints:
    """The hashes of the words of a text, without numbers and punctuation."""
    words: Ints = tokenize([NO_WORD.sub(" ", text)]).words[:-1].view(np.int64)
    return words


def _count_texts(model: WordModel, words: Ints) -> Ints:
    """The number of texts of the corpus that have each word."""
    counts = np.zeros(len(words), np.int64)
    if len(model.words):
        at = np.searchsorted(model.words, words)
        is_known = model.words.take(at, mode="clip") == words
        counts[is_known] = model.frequencies[at[is_known]]
    return counts


def _share_of_known_words(model: WordModel, text: str) -> float:
    """The share of the words of a text that the corpus has; 1 for a text without words."""
    words = _list_words(text)
    return float((_count_texts(model, words) > 0).mean()) if len(words) else 1.0


def _share_known_by_others(model: WordModel, exchange: tuple[str, str]) -> float:
    """The share of words that other texts of the corpus have, in the text where it is smaller."""
    parts = [_list_words(text) for text in exchange]
    own = [np.isin(words, parts[0]).astype(int) + np.isin(words, parts[1]) for words in parts]
    shares = [
        float((_count_texts(model, words) > count).mean()) if len(words) else 1.0
        for words, count in zip(parts, own, strict=True)
    ]
    return min(shares)
