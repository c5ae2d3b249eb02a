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
from ..curation.fit import BLOCK_ROWS, PROTOTYPE_EXCHANGES, FitModel, NearPrototypes, center
from ..curation.search.exact import find_nearest_in_parallel, split_range
from ..curation.typicality import tokenize
from ..curation.vectors import GridVectors, as_floats
from ..curation.word_overlap import WordModel
from ..runtime.arrays import Flags, Ints, Ragged, Reals
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
    """Why exchanges (n,) are outside the corpus, None for those inside.

    ``similarity`` (n,) is how similar each message, and its response if there is one, are to those
    of the corpus: the smaller of the two. ``message`` has the problem of the message alone,
    ``exchange`` that of message or response.
    """

    similarity: list[float]
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
        shares = _find_shares_known_by_others(model.words, contexts, responses)
        self.min_known_words = float(np.quantile(shares, EXCLUDED_WORD_SHARE))
        if min_similarity is None:
            prototypes = model.search_prototypes(model.contexts[: len(sample)], sample)
            messages = _measure_message_similarity(model, prototypes)
            own = model.responses[: len(sample)]
            similarity = np.minimum(messages, _measure_response_similarity(model, own, sample))
            min_similarity = float(np.quantile(similarity, EXCLUDED_SHARE))
        self.min_similarity = min_similarity

    def check(
        self,
        exchanges: Sequence[tuple[str, str | None]],
        prototypes: NearPrototypes,
        responses: GridVectors,
        selves: Ints,
    ) -> DomainProblems:
        """Check exchanges (n,), each a message with its response or None.

        ``prototypes`` are those near the messages, and ``responses`` (n, e) the vectors of the
        responses; that of a missing response is ignored. ``selves`` (n,) are the numbers of the
        exchanges in the corpus, -1 for new ones, so that none is compared with itself.
        """
        messages = [message for message, _ in exchanges]
        given = [response or "" for _, response in exchanges]
        is_missing = np.array([response is None for _, response in exchanges], bool)
        known = find_shares_of_known_words(self.model.words, [*messages, *given])
        message_similarity = _measure_message_similarity(self.model, prototypes)
        centered = center(responses, self.model.response_mean)
        response_similarity = _measure_response_similarity(self.model, centered, selves)
        response_similarity[is_missing] = np.inf
        message_problems = self._check_texts(
            "message", messages, self.context_scripts, known[: len(messages)], message_similarity
        )
        response_problems = self._check_texts(
            "response", given, self.response_scripts, known[len(messages) :], response_similarity
        )
        return DomainProblems(
            np.minimum(message_similarity, response_similarity).tolist(),
            message_problems,
            [a or b for a, b in zip(message_problems, response_problems, strict=True)],
        )

    def _check_texts(
        self,
        what: str,
        texts: list[str],
        common_scripts: frozenset[str],
        known_words: Reals,
        similarity: Reals,
    ) -> list[str | None]:
        """Why each text (n,) is outside the corpus, None if it is inside."""
        problems: list[str | None] = []
        for text, known, similar in zip(texts, known_words, similarity, strict=True):
            problem = None
            if (script := find_script(text)) and script not in common_scripts:
                problem = f"outside the corpus: {what} in another script"
            elif known < self.min_known_words:
                problem = f"outside the corpus: unknown words in the {what}"
            elif similar < self.min_similarity:
                problem = f"outside the corpus: no similar {what}"
            problems.append(problem)
        return problems


def _measure_message_similarity(model: FitModel, prototypes: NearPrototypes) -> Reals:
    """The mean similarity (n,) of messages to their 15 prototypes."""
    centered, near, is_other = prototypes
    return _mean_similarity(centered, model.prototype_contexts, near, is_other)


def _measure_response_similarity(model: FitModel, responses: GridVectors, selves: Ints) -> Reals:
    """The mean similarity (n,) of centered responses (n, e) to the 15 most similar prototypes."""
    near = find_nearest_in_parallel(
        responses, model.prototype_responses, PROTOTYPE_EXCHANGES + 1, model.tools.threads
    ).indices
    is_other = model.exchanges[near] != selves[:, None]
    return _mean_similarity(responses, model.prototype_responses, near, is_other)


def _mean_similarity(
    vectors: GridVectors, prototypes: GridVectors, near: Ints, is_other: Flags
) -> Reals:
    is_counted = is_other & (np.cumsum(is_other, axis=1) <= PROTOTYPE_EXCHANGES)
    similarity = np.empty(len(vectors))
    for block in split_range(len(vectors), BLOCK_ROWS):
        parts = as_floats(prototypes[near[block]])
        products = np.einsum("nd,nkd->nk", as_floats(vectors[block]), parts)
        sums = (products * is_counted[block]).sum(axis=1, dtype=np.float64)
        similarity[block] = sums / np.maximum(is_counted[block].sum(axis=1), 1)
    return similarity


def _find_common_scripts(texts: Iterable[str]) -> frozenset[str]:
    counts = Counter(filter(None, map(find_script, texts)))
    least = MIN_SCRIPT_SHARE * sum(counts.values())
    return frozenset(script for script, count in counts.items() if count >= least)


def list_words(texts: Sequence[str]) -> Ragged:
    """The hashes of the words of texts (n,), without numbers and punctuation."""
    tokens = tokenize([NO_WORD.sub(" ", text) for text in texts])
    # The last token of each text is its end.
    ends = np.cumsum(tokens.lengths) - 1
    words: Ints = np.delete(tokens.words, ends).view(np.int64)
    return Ragged.of(words, tokens.lengths - 1)


def find_shares_of_known_words(model: WordModel, texts: Sequence[str]) -> Reals:
    """The share of the words of each text (n,) that the corpus has; 1 for a text without words."""
    words = list_words(texts)
    return _average_by_text(words.lengths, model.count_texts(words.values) > 0)


def _find_shares_known_by_others(
    model: WordModel, contexts: Sequence[str], responses: Sequence[str]
) -> Reals:
    """The share of words of each exchange (n,) that other texts of the corpus have.

    It is that of the context or of the response, whichever is smaller.
    """
    parts = list_words(contexts), list_words(responses)
    shares = []
    for mine, others in (parts, parts[::-1]):
        # A word is known if more texts have it than this exchange itself.
        own = [1 + np.isin(mine[n], others[n]) for n in range(len(contexts))]
        known = model.count_texts(mine.values) > np.concatenate([np.empty(0, np.int64), *own])
        shares.append(_average_by_text(mine.lengths, known))
    return np.minimum(*shares)


def _average_by_text(lengths: Ints, flags: Flags) -> Reals:
    owner = np.repeat(np.arange(len(lengths)), lengths)
    sums = np.bincount(owner, flags, minlength=len(lengths))
    return np.where(lengths > 0, sums / np.maximum(lengths, 1), 1.0)
