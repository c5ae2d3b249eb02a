"""Word overlap: which rare words a message and a response have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from ..runtime.arrays import Ints, Ragged, Reals, sort_unique
from .text_batches import iter_slices
from .typicality import TokenizedTexts, tokenize

MAX_WORD_SHARE = 0.05
"""Words that are in more than this share of the texts are left out."""

BLOCK_WORDS = 1 << 20
"""Words of responses to look up at a time; does not affect results."""


class WordSets(NamedTuple):
    """Texts as sets of words, weighted so that each set has unit length.

    ``words`` lists the hashes of the words of each text, ascending; ``weights`` has a weight for
    each of these words.
    """

    words: Ragged
    weights: Reals

    def overlaps(self, numbers: Ints, others: WordSets, other_numbers: Ints) -> Reals:
        """The cosine (p,) of texts ``numbers`` (p,) of these and ``other_numbers`` of others."""
        overlaps = np.zeros(len(numbers))
        lengths = others.words.lengths[other_numbers]
        starts = np.cumsum(lengths) - lengths
        for block in np.unique(starts // BLOCK_WORDS):
            pairs = np.flatnonzero(starts // BLOCK_WORDS == block)
            overlaps[pairs] = self._overlaps(numbers[pairs], others, other_numbers[pairs])
        return overlaps

    def _overlaps(self, numbers: Ints, others: WordSets, other_numbers: Ints) -> Reals:
        used, place = np.unique(numbers, return_inverse=True)
        mine = self.words.take(used)
        theirs = others.words.take(other_numbers)
        # Number the words, and look up each (text, word) of theirs among mine.
        words, number = np.unique(mine.values, return_inverse=True)
        keys = np.repeat(np.arange(len(used)), mine.lengths) * len(words) + number.reshape(-1)
        pair = np.repeat(np.arange(len(numbers)), theirs.lengths)
        at = np.searchsorted(words, theirs.values)
        is_known = words.take(at, mode="clip") == theirs.values if len(words) else at < 0
        wanted = place.reshape(-1)[pair] * len(words) + at
        found = np.searchsorted(keys, wanted)
        is_shared = is_known & (keys.take(found, mode="clip") == wanted) if len(keys) else is_known
        my_weights = self._weights_of(used)
        their_weights = others._weights_of(other_numbers)
        products = my_weights[found[is_shared]] * their_weights[is_shared]
        totals = np.bincount(pair[is_shared], products, minlength=len(numbers))
        return totals.astype(np.float64)  # without a shared word, the counts are integers

    def _weights_of(self, numbers: Ints) -> Reals:
        places = Ragged(np.arange(len(self.weights)), self.words.offsets).take(numbers)
        return np.asarray(self.weights[places.values])

    def intersect(self, others: WordSets) -> WordSets:
        """The words that text n of these and text n of others share, weighted by the product."""
        owner = np.repeat(np.arange(len(self.words.lengths)), self.words.lengths)
        other_owner = np.repeat(np.arange(len(others.words.lengths)), others.words.lengths)
        # A word of a text as one key: both sides number their words alike.
        words = sort_unique(np.concatenate([self.words.values, others.words.values]))
        keys = owner * len(words) + np.searchsorted(words, self.words.values)
        other_keys = other_owner * len(words) + np.searchsorted(words, others.words.values)
        _, mine, theirs = np.intersect1d(keys, other_keys, assume_unique=True, return_indices=True)
        counts = np.bincount(owner[mine], minlength=len(self.words.lengths)).astype(np.int64)
        weights = self.weights[mine] * others.weights[theirs]
        return WordSets(Ragged.of(self.words.values[mine], counts), weights)

    def totals(self) -> Reals:
        """The sum of the weights of each text."""
        owner = np.repeat(np.arange(len(self.words.lengths)), self.words.lengths)
        return np.bincount(owner, self.weights, minlength=len(self.words.lengths)).astype(float)


def compare_word_sets(
    messages: WordSets, responses: WordSets, own_messages: WordSets, message: Ints, response: Ints
) -> Reals:
    """How far messages and responses share rare words, minus what only the own message shares.

    ``message`` (p,) and ``response`` (p,) are the pairs to compare; ``own_messages`` are the
    messages that the responses were written for. See `isaac.curation.fit` for the equation.
    """
    echoes = own_messages.intersect(responses)
    present = messages._replace(weights=np.ones(len(messages.weights)))
    missing = echoes.totals()[response] - present.overlaps(message, echoes, response)
    return messages.overlaps(message, responses, response) - missing


class WordModel(NamedTuple):
    """Document frequencies of words.

    ``words`` (v,) are the hashes of the words of a corpus, ascending; ``frequencies`` (v,) is the
    number of texts that have each, ``text_count`` (1,) the number of all texts.
    """

    words: Ints
    frequencies: Ints
    text_count: Ints

    @classmethod
    def fit(cls, texts: Iterable[Sequence[str]]) -> WordModel:
        """Count in how many texts each word is; the texts come in several sequences."""
        parts = [(_unique_words(tokenize(block)), len(block)) for block in _iter_blocks(texts)]
        words = np.concatenate([np.empty(0, np.int64), *(part.values for part, _ in parts)])
        distinct, counts = np.unique(words, return_counts=True)
        total = np.array([sum(count for _, count in parts)], np.int64)
        return cls(distinct, counts.astype(np.int64), total)

    def count_texts(self, words: Ints) -> Ints:
        """Count the texts that have each word (w,), given by its hash; 0 for an unknown word."""
        counts = np.zeros(len(words), np.int64)
        if len(self.words):
            at = np.searchsorted(self.words, words)
            is_known = self.words.take(at, mode="clip") == words
            counts[is_known] = self.frequencies[at[is_known]]
        return counts

    def transform(self, texts: Sequence[str]) -> WordSets:
        """Turn texts into weighted sets of words, without the words that many texts have."""
        parts = [_unique_words(tokenize(block)) for block in _iter_blocks([texts])]
        words = np.concatenate([np.empty(0, np.int64), *(part.values for part in parts)])
        lengths = np.concatenate([np.empty(0, np.int64), *(part.lengths for part in parts)])
        # A word that the corpus does not have counts as one that a single text has.
        seen = np.maximum(self.count_texts(words), 1)
        total = max(int(self.text_count[0]), 1)
        weights = np.log(total / seen)
        kept = seen <= MAX_WORD_SHARE * total
        owner = np.repeat(np.arange(len(lengths)), lengths)[kept]
        words, weights = words[kept], weights[kept]
        norms = np.sqrt(np.bincount(owner, weights**2, minlength=len(lengths)))
        counts = np.bincount(owner, minlength=len(lengths)).astype(np.int64)
        return WordSets(Ragged.of(words, counts), weights / np.maximum(norms, 1e-12)[owner])


def _iter_blocks(texts: Iterable[Sequence[str]]) -> Iterable[Sequence[str]]:
    return chain.from_iterable(map(iter_slices, texts))


def _unique_words(tokens: TokenizedTexts) -> Ragged:
    """List the distinct words of each text, ascending."""
    owner = np.repeat(np.arange(len(tokens.lengths)), tokens.lengths)
    hashes: Ints = tokens.words.view(np.int64)
    order = np.lexsort((hashes, owner))
    words = hashes[order]
    is_new = np.ones(len(order), bool)
    is_new[1:] = (words[1:] != words[:-1]) | (owner[1:] != owner[:-1])
    counts = np.bincount(owner[is_new], minlength=len(tokens.lengths)).astype(np.int64)
    return Ragged.of(words[is_new], counts)
