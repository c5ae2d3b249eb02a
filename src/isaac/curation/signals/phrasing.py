"""Phrasing: whether a response has the phrases of typical responses or those of odd ones.

Typicality asks how likely each word is after the two before it. Phrasing asks which telling words
and turns of phrase a response has. Naive Bayes learns the n-grams that the most typically worded
responses have and the others lack ("head"), and those that the least typically worded ones have
("tail"). It reads each response in two views: its words and pairs of words, and its skeleton, in
which only the most common words are left and all others look alike. The skeleton ("I'm _ to _
that", "you are a _") shows how something is said, whatever the topic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...runtime.arrays import Flags, Hashes, Ints, Reals, sort_unique
from ...runtime.progress import Tick
from ..hashing import splitmix64
from ..text_batches import ProgressReporter, iter_slices
from ..typicality import tokenize
from .folds import FOLD_COUNT
from .ranks import Ranking, rank_scores

BUCKETS = 1 << 19
"""Buckets that the n-grams of a view are hashed to."""

COMMON_WORDS = 100
"""Words that the skeleton keeps: those that most responses have."""

EXTREME_SHARE = 0.2
"""Share of the responses that count as typical, and as atypical."""

PRIOR_COUNT = 0.5
"""Added to the count of each n-gram in each class, as a number of texts."""

MIN_TEXTS = 2
"""Texts that must have an n-gram for it to count."""

ORDERS = (2, 3)
"""Words in the longest n-gram of each view: of the words, and of the skeleton."""

WILDCARD = np.uint64(0x9E3779B97F4A7C15)
"""Replaces every word that the skeleton leaves out."""

TYPICAL, ATYPICAL, ALL = range(3)
"""Classes that texts are counted in; every text is also in the last."""

SURVEY_PROGRESS, COUNT_PROGRESS = 0.3, 0.65
"""Share of the work that is done after each step, for progress; does not affect results."""


class _Ngrams(NamedTuple):
    """The distinct n-grams of n texts, as buckets: those of each text follow each other.

    ``lengths`` (n,) is the number of n-grams of each text, at least 1: its end counts as a word.
    """

    buckets: Ints
    lengths: Ints


class PhrasingModel:
    """Naive Bayes on the phrases of a corpus's distinct responses, cross-fitted.

    ``typicality`` (t,) is the typicality of the texts, ``duplicate_group`` (t,) the smallest index
    in each text's group of near-duplicates, of which only that text is counted, and ``folds`` (t,)
    the fold of each text. ``scores`` (t,) are means of four ranks, from 0 to 1: head and tail in
    each view. A text is scored by the counts of the other folds.

    All counts are whole numbers, so no number of threads changes a score. Memory is about 150 MiB,
    and 100 bytes per text. ``tick`` receives progress, len(texts) in all.
    """

    def __init__(
        self,
        texts: Sequence[str],
        typicality: Reals,
        duplicate_group: Ints,
        folds: Ints,
        tick: Tick | None = None,
    ) -> None:
        reporter = ProgressReporter(tick, len(texts))
        self._is_common = _find_common_buckets(texts)
        reporter.advance_to(SURVEY_PROGRESS)
        rank = rank_scores(typicality, duplicate_group)
        leads = duplicate_group == np.arange(len(texts))
        members = leads & [rank > 1 - EXTREME_SHARE, rank < EXTREME_SHARE, rank >= 0]
        # How many texts have an n-gram: (views, folds and one for all of them, classes, buckets).
        self._counts = np.zeros((len(ORDERS), FOLD_COUNT + 1, len(members), BUCKETS), np.int32)
        for rows, views in self._iter_views(texts):
            for counts, ngrams in zip(self._counts, views, strict=True):
                _count_ngrams(counts, ngrams, members[:, rows], folds[rows])
            done = rows.stop / len(texts)
            reporter.advance_to(SURVEY_PROGRESS + (COUNT_PROGRESS - SURVEY_PROGRESS) * done)
        # From here on, the counts of each fold are those of all other folds.
        for counts in self._counts:
            counts[FOLD_COUNT] = counts.sum(0)
            counts[:FOLD_COUNT] = counts[FOLD_COUNT] - counts[:FOLD_COUNT]
        self._totals = self._counts.sum(-1, dtype=np.int64)
        odds = np.empty((2 * len(ORDERS), len(texts)))
        for rows, views in self._iter_views(texts):
            odds[:, rows] = self._score(views, folds[rows])
            reporter.advance_to(COUNT_PROGRESS + (1 - COUNT_PROGRESS) * rows.stop / len(texts))
        self._rankings = [Ranking(part, duplicate_group) for part in odds]
        self.scores = self._rank(odds)

    def score(self, texts: Sequence[str]) -> Reals:
        """Score texts (n,) that are not in the corpus, by the counts of all folds."""
        odds = [np.empty((2 * len(ORDERS), 0))]
        for rows, views in self._iter_views(texts):
            odds.append(self._score(views, np.full(rows.stop - rows.start, FOLD_COUNT)))
        return self._rank(np.concatenate(odds, axis=1))

    def _rank(self, odds: Reals) -> Reals:
        """The mean rank (n,) of log odds (4, n)."""
        ranks = [r.rank(part) for r, part in zip(self._rankings, odds, strict=True)]
        return np.asarray(np.mean(ranks, axis=0))

    def _iter_views(self, texts: Sequence[str]) -> Iterator[tuple[slice, list[_Ngrams]]]:
        """Yield the rows of blocks of texts, and their n-grams in each view."""
        start = 0
        for block in iter_slices(texts):
            words, lengths = tokenize(block, punctuation=False)
            skeleton = np.where(self._is_common[_to_buckets(splitmix64(words))], words, WILDCARD)
            views = zip((words, skeleton), ORDERS, strict=True)
            ngrams = [_collect_ngrams(view, lengths, order) for view, order in views]
            yield slice(start, start + len(block)), ngrams
            start += len(block)

    def _score(self, views: list[_Ngrams], folds: Ints) -> Reals:
        """Mean log odds per n-gram of texts (n,): head and tail of each view, (4, n)."""
        odds = []
        for counts, totals, ngrams in zip(self._counts, self._totals, views, strict=True):
            fold = np.repeat(folds, ngrams.lengths)
            typical, atypical, every = (counts[fold, c, ngrams.buckets] for c in range(3))
            head, tail, size = totals[folds].T
            starts = np.cumsum(ngrams.lengths) - ngrams.lengths
            for inside, outside, ratio in (
                (typical, every - typical, (size - head) / np.maximum(head, 1)),
                (every - atypical, atypical, tail / np.maximum(size - tail, 1)),
            ):
                # Counts outside, scaled as if both classes had as many n-grams.
                scaled = outside / np.repeat(np.maximum(ratio, 1e-9), ngrams.lengths)
                log_odds = np.log(inside + PRIOR_COUNT) - np.log(scaled + PRIOR_COUNT)
                log_odds[every < MIN_TEXTS] = 0
                odds.append(np.add.reduceat(log_odds, starts) / ngrams.lengths)
        return np.stack(odds)


def _find_common_buckets(texts: Sequence[str]) -> Flags:
    """Find the buckets of the words that most texts have."""
    seen = np.zeros(BUCKETS, np.int64)
    for block in iter_slices(texts):
        seen += np.bincount(
            _collect_ngrams(*tokenize(block, punctuation=False), 1).buckets, minlength=BUCKETS
        )
    top = np.lexsort((np.arange(BUCKETS), -seen))[:COMMON_WORDS]
    is_common = np.zeros(BUCKETS, np.bool_)
    is_common[top] = seen[top] > 0
    return is_common


def _count_ngrams(
    counts: npt.NDArray[np.int32], ngrams: _Ngrams, members: Flags, folds: Ints
) -> None:
    """Add the n-grams of texts to the counts (folds, classes, buckets) of their fold and classes.

    ``members`` (classes, n) says which texts are in which class.
    """
    owner = np.repeat(np.arange(len(folds)), ngrams.lengths)
    for fold in range(FOLD_COUNT):
        for number, member in enumerate(members & (folds == fold)):
            found = np.bincount(ngrams.buckets[member[owner]], minlength=BUCKETS)
            counts[fold, number] += found.astype(np.int32)


def _to_buckets(hashes: Hashes) -> Ints:
    return (hashes % np.uint64(BUCKETS)).astype(np.int64)


def _collect_ngrams(words: Hashes, lengths: Ints, order: int) -> _Ngrams:
    """Collect the distinct n-grams of up to ``order`` words in texts that are stored end to end."""
    owner = np.repeat(np.arange(len(lengths)), lengths)
    hashes = splitmix64(words)
    pairs = [owner * BUCKETS + _to_buckets(hashes)]
    for length in range(2, order + 1):
        hashes = splitmix64(hashes[:-1] + words[length - 1 :])
        first = owner[: len(hashes)]
        inside = first == owner[length - 1 :]
        pairs.append((first * BUCKETS + _to_buckets(hashes))[inside])
    distinct = sort_unique(np.concatenate(pairs))
    return _Ngrams(distinct % BUCKETS, np.bincount(distinct // BUCKETS, minlength=len(lengths)))


__all__ = ["PhrasingModel"]
