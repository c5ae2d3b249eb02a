"""Lexical variety of responses: distinct words, and how predictable the next word is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from .tokens import split_words

SEGMENT_WORDS = 50
"""Length in words of a segment for the mean segmental type-token ratio (MSTTR)."""


class Variety(NamedTuple):
    """How varied responses are; None where there are too few words.

    ``vocabulary``, ``pairs`` and ``triples`` count distinct words, bigrams and trigrams;
    ``distinct_1`` to ``distinct_3`` are these counts as shares of all occurrences (Li et al. 2016).
    ``entropy`` is the conditional entropy of a word given the previous one, in bits. ``msttr`` is
    the mean share of distinct words in segments of 50 words (Johnson 1944), ``length`` the mean
    length of a response in words.
    """

    responses: int
    words: int
    vocabulary: int
    pairs: int
    triples: int
    distinct_1: float | None
    distinct_2: float | None
    distinct_3: float | None
    entropy: float | None
    msttr: float | None
    length: float | None


def measure_variety(responses: Iterable[str]) -> Variety:
    """Measure how varied delexicalized responses are; `split_words` defines what a word is.

    N-grams do not cross the end of a response. Segments for ``msttr`` do; the words after the last
    whole segment are left out.
    """
    texts = [split_words(response) for response in responses]
    words, pairs, triples = (
        Counter(ngram for text in texts for ngram in extract_ngrams(text, n)) for n in (1, 2, 3)
    )
    return Variety(
        responses=len(texts),
        words=words.total(),
        vocabulary=len(words),
        pairs=len(pairs),
        triples=len(triples),
        distinct_1=_ratio(len(words), words.total()),
        distinct_2=_ratio(len(pairs), pairs.total()),
        distinct_3=_ratio(len(triples), triples.total()),
        entropy=compute_bigram_entropy(texts),
        msttr=compute_msttr([word for text in texts for word in text]),
        length=_ratio(words.total(), len(texts)),
    )


def extract_ngrams(words: Sequence[str], length: int) -> Iterable[tuple[str, ...]]:
    """Iterate over the sequences of ``length`` consecutive words."""
    return zip(*(words[start:] for start in range(length)), strict=False)


def compute_bigram_entropy(texts: Iterable[Sequence[str]]) -> float | None:
    """Compute the entropy of a word given the previous one, in bits; None if there are no bigrams.

    H = sum of n(a, b) / N * log2(n(a) / n(a, b)) over the bigrams (a, b), where n counts
    occurrences, n(a) those with a as first word, and N is the number of bigrams.
    """
    pairs = Counter(pair for words in texts for pair in pairwise(words))
    firsts: Counter[str] = Counter()
    for (first, _), count in pairs.items():
        firsts[first] += count
    total = pairs.total()
    if not total:
        return None
    bits = math.fsum(n * math.log2(firsts[first] / n) for (first, _), n in pairs.items())
    return bits / total


def compute_msttr(words: Sequence[str]) -> float | None:
    """Compute the mean share of distinct words in whole segments; None if there are none."""
    starts = range(0, len(words) - SEGMENT_WORDS + 1, SEGMENT_WORDS)
    shares = [len(set(words[start : start + SEGMENT_WORDS])) / SEGMENT_WORDS for start in starts]
    return math.fsum(shares) / len(shares) if shares else None


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
