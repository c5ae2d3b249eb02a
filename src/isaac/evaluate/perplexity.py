"""Forward and backward perplexity by a language model of word triples.

Forward: a model of real replies reads generated ones; it is low where these are fluent, be they
ever so bland. Backward: a model of the generated replies reads real ones; it is high where these
hold what is never generated, so that a model with one reply for everything is found out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from .coherence import extract_words

START_TOKEN, END_TOKEN, RARE_TOKEN = "<s>", "</s>", "<rare>"


class Perplexity(NamedTuple):
    """Perplexities a word, the ends of replies counted as words."""

    forward: float
    backward: float


class TrigramModel:
    """An interpolated trigram model, smoothed by Witten and Bell's method (1991, method C).

    Its words are given, the others are one rare word; so models that were trained on different
    texts with the same words can be compared.
    """

    def __init__(self, texts: Sequence[Sequence[str]], known: frozenset[str]) -> None:
        self.known = known
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.totals: Counter[tuple[str, ...]] = Counter()
        self.kinds: Counter[tuple[str, ...]] = Counter()
        for words in texts:
            padded = self._padded(words)
            for end in range(2, len(padded)):
                for length in (1, 2, 3):
                    self._add(padded[end + 1 - length : end + 1])

    def _padded(self, words: Sequence[str]) -> tuple[str, ...]:
        kept = (word if word in self.known else RARE_TOKEN for word in words)
        return (START_TOKEN, START_TOKEN, *kept, END_TOKEN)

    def _add(self, gram: tuple[str, ...]) -> None:
        self.totals[gram[:-1]] += 1
        self.kinds[gram[:-1]] += not self.counts[gram]
        self.counts[gram] += 1

    def probability(self, gram: tuple[str, ...]) -> float:
        """Return the probability of a word after up to two others."""
        lower = self.probability(gram[1:]) if len(gram) > 1 else 1 / (len(self.known) + 2)
        before = gram[:-1]
        total, kinds = self.totals[before], self.kinds[before]
        if not total:
            return lower
        return (self.counts[gram] + kinds * lower) / (total + kinds)

    def perplexity(self, texts: Sequence[Sequence[str]]) -> float:
        """Return the perplexity of texts a word, their ends counted."""
        nats, size = 0.0, 0
        for words in texts:
            padded = self._padded(words)
            for end in range(2, len(padded)):
                nats -= math.log(self.probability(padded[end - 2 : end + 1]))
                size += 1
        return math.exp(nats / size) if size else math.nan


def compute_perplexities(
    real: Sequence[str], generated: Sequence[Sequence[str]]
) -> list[Perplexity | None]:
    """Return for each model's replies their perplexities against real ones; None without replies.

    The known words are those that occur twice in the real replies. Each backward model is trained
    on equally many words: as many as the model that said least.
    """
    truth = [extract_words(text) for text in real]
    counts = Counter(word for words in truth for word in words)
    known = frozenset(word for word, times in counts.items() if times > 1)
    said = [[extract_words(reply) for reply in replies] for replies in generated]
    sizes = [sum(map(len, texts)) for texts in said]
    least = min((size for size in sizes if size), default=0)
    reference = TrigramModel(truth, known)
    return [
        Perplexity(
            reference.perplexity(texts),
            TrigramModel(_take_words(texts, least), known).perplexity(truth),
        )
        if size
        else None
        for texts, size in zip(said, sizes, strict=True)
    ]


def _take_words(texts: Sequence[Sequence[str]], size: int) -> list[list[str]]:
    """Return the first so many words of texts."""
    cut: list[list[str]] = []
    for words in texts:
        if size <= 0:
            break
        cut.append(list(islice(words, size)))
        size -= len(words)
    return cut
