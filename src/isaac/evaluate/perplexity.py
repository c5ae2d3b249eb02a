"""Forward and backward perplexity, with a trigram language model.

For forward perplexity, the language model is trained on real replies and evaluated on generated
ones; it is low for fluent replies, however bland. For backward perplexity, it is trained on
generated replies and evaluated on real ones; it is high if the real replies contain what a model
never generates, so it exposes a model that always gives the same reply.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from ..text import extract_words

START_TOKEN, END_TOKEN, RARE_TOKEN = "<s>", "</s>", "<rare>"


class Perplexity(NamedTuple):
    """The perplexity per word in both directions; the end of a reply counts as a word."""

    forward: float
    backward: float


class TrigramModel:
    """An interpolated trigram model with Witten-Bell smoothing (Witten and Bell 1991, method C).

    Words outside the vocabulary become one rare token, so that models trained on different texts
    with the same vocabulary can be compared.
    """

    def __init__(self, texts: Sequence[Sequence[str]], vocabulary: frozenset[str]) -> None:
        self.vocabulary = vocabulary
        # How often each n-gram occurs, n from 1 to 3; then, for each history (an n-gram without its
        # last word), how many words and how many distinct words follow it.
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.totals: Counter[tuple[str, ...]] = Counter()
        self.distinct: Counter[tuple[str, ...]] = Counter()
        for words in texts:
            padded = self._pad(words)
            for end in range(2, len(padded)):
                for length in (1, 2, 3):
                    self._add(padded[end + 1 - length : end + 1])

    def _pad(self, words: Sequence[str]) -> tuple[str, ...]:
        in_vocabulary = (word if word in self.vocabulary else RARE_TOKEN for word in words)
        return (START_TOKEN, START_TOKEN, *in_vocabulary, END_TOKEN)

    def _add(self, gram: tuple[str, ...]) -> None:
        history = gram[:-1]
        self.totals[history] += 1
        self.distinct[history] += not self.counts[gram]
        self.counts[gram] += 1

    def probability(self, gram: tuple[str, ...]) -> float:
        """Compute the probability of the last word of an n-gram, given the other words."""
        # The probability with one word less of history. Below unigrams it is uniform over the
        # vocabulary, the end token and the rare token.
        lower = self.probability(gram[1:]) if len(gram) > 1 else 1 / (len(self.vocabulary) + 2)
        history = gram[:-1]
        total, distinct = self.totals[history], self.distinct[history]
        if not total:
            return lower
        return (self.counts[gram] + distinct * lower) / (total + distinct)

    def perplexity(self, texts: Sequence[Sequence[str]]) -> float:
        """Compute the perplexity of texts per word; the end of a text counts as a word."""
        nats, size = 0.0, 0
        for words in texts:
            padded = self._pad(words)
            for end in range(2, len(padded)):
                nats -= math.log(self.probability(padded[end - 2 : end + 1]))
                size += 1
        return math.exp(nats / size) if size else math.nan


def compute_perplexities(
    real: Sequence[str], generated: Sequence[Sequence[str]]
) -> list[Perplexity | None]:
    """Compute the perplexities of each model's replies; None for a model without replies.

    The vocabulary is the words that occur at least twice in the real replies. All backward models
    are trained on the same number of words, the smallest number that any model generated.
    """
    real_texts = [extract_words(text) for text in real]
    counts = Counter(word for words in real_texts for word in words)
    vocabulary = frozenset(word for word, count in counts.items() if count > 1)
    generated_texts = [[extract_words(reply) for reply in replies] for replies in generated]
    sizes = [sum(map(len, texts)) for texts in generated_texts]
    smallest = min((size for size in sizes if size), default=0)
    reference = TrigramModel(real_texts, vocabulary)
    return [
        Perplexity(
            reference.perplexity(texts),
            TrigramModel(_take_words(texts, smallest), vocabulary).perplexity(real_texts),
        )
        if size
        else None
        for texts, size in zip(generated_texts, sizes, strict=True)
    ]


def _take_words(texts: Sequence[Sequence[str]], size: int) -> list[list[str]]:
    """Take the first ``size`` words of the texts; the last text may be truncated."""
    cut: list[list[str]] = []
    for words in texts:
        if size <= 0:
            break
        cut.append(list(islice(words, size)))
        size -= len(words)
    return cut
