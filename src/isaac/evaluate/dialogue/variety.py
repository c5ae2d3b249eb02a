"""Lexical variety of responses: how many different words, and how freely they follow another."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from .tokens import split_words

SEGMENT_WORDS = 50
"""Words in a segment of the mean type-token ratio."""


class Variety(NamedTuple):
    """How varied responses are; None where there are too few words.

    ``vocabulary``, ``pairs`` and ``triples`` count different words and runs of two and three;
    ``distinct_1`` to ``distinct_3`` are they as shares of all (Li et al. 2016). ``entropy`` is that
    of a word given the one before it, in bits. ``compute_msttr`` is the mean share of different words in
    segments of 50 (Johnson 1944), ``length`` the mean number of words in a response.
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
    """Return how varied delexicalised responses are; see `split_words` for what a word is.

    Runs of words do not go over the end of a response; segments do, and words that fill no segment
    are left out of ``compute_msttr``.
    """
    spoken = [split_words(response) for response in responses]
    one, two, three = (
        Counter(run for said in spoken for run in extract_ngrams(said, n)) for n in (1, 2, 3)
    )
    return Variety(
        responses=len(spoken),
        words=one.total(),
        vocabulary=len(one),
        pairs=len(two),
        triples=len(three),
        distinct_1=_ratio(len(one), one.total()),
        distinct_2=_ratio(len(two), two.total()),
        distinct_3=_ratio(len(three), three.total()),
        entropy=compute_bigram_entropy(spoken),
        msttr=compute_msttr([word for said in spoken for word in said]),
        length=_ratio(one.total(), len(spoken)),
    )


def extract_ngrams(words: Sequence[str], length: int) -> Iterable[tuple[str, ...]]:
    """Return every run of so many words."""
    return zip(*(words[start:] for start in range(length)), strict=False)


def compute_bigram_entropy(spoken: Iterable[Sequence[str]]) -> float | None:
    """Return the entropy of a word given the one before, in bits; None without any pair."""
    pairs = Counter(pair for words in spoken for pair in pairwise(words))
    firsts: Counter[str] = Counter()
    for (first, _), count in pairs.items():
        firsts[first] += count
    total = pairs.total()
    if not total:
        return None
    told = math.fsum(n * math.log2(firsts[first] / n) for (first, _), n in pairs.items())
    return told / total


def compute_msttr(words: Sequence[str]) -> float | None:
    """Return the mean share of different words in whole segments; None if there is none."""
    starts = range(0, len(words) - SEGMENT_WORDS + 1, SEGMENT_WORDS)
    shares = [len(set(words[start : start + SEGMENT_WORDS])) / SEGMENT_WORDS for start in starts]
    return math.fsum(shares) / len(shares) if shares else None


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
