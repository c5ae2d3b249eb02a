"""How typical a response is: how common its wording is among the corpus's other responses.

Acceptable answers agree with each other, in what they say and so in how they say it: refusals,
condolences and hedges share their turns of phrase across all topics, while unsafe ones are worded
each in its own way. A trigram model of the corpus's own responses measures that without labels,
and sees what vectors of whole texts hide behind the topic (docs/experiments.md compares the two).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .neighbors import Ints

Reals = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]

LONGEST = 1024
"""Words of a text that are looked at, from its beginning."""

ORDER = 3
PRIOR = 3.0
"""Weight, in texts, of the shorter history against the longer one."""

UNSEEN = 0.5
"""Texts that a word never seen counts for."""

HEAD = 0.3
"""Share of the texts, the most typical first, by which all are judged again."""

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")
"""A word, a mark, or one character of a script that does not space its words."""


def words(text: str) -> list[str]:
    """Return the words and marks of a text, lower case, the first 1,024 of them."""
    found = (match[0] for match in WORD.finditer(text[: 32 * LONGEST].lower()))
    return [word for word, _ in zip(found, range(LONGEST), strict=False)]


class Grams(NamedTuple):
    """The words of texts, text after text, each as the end of its n-grams.

    ``text`` (p,) is the text of each position; ``grams[n - 1]`` (p,) hashes the n-gram that ends
    there and ``before[n - 1]`` the n - 1 words before. A text ends with a mark of its own.
    """

    text: Ints
    grams: list[Hashes]
    before: list[Hashes]


def grams_of(texts: Sequence[str]) -> Grams:
    """Return the n-grams of the texts up to `ORDER`."""
    numbers: dict[str, int] = {}
    flat: list[int] = []
    lengths = np.empty(len(texts), np.int64)
    for place, text in enumerate(texts):
        found = words(text)
        flat.extend(_hashed(word, numbers) for word in found)
        flat.append(1)
        lengths[place] = len(found) + 1
    word = np.array(flat, np.uint64)
    step = np.arange(len(word)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    grams, before = [word], [np.zeros(len(word), np.uint64)]
    for order in range(2, ORDER + 1):
        shorter = np.concatenate([[np.uint64(0)], grams[-1][:-1]])
        history = np.where(step > 0, shorter, np.uint64(order))
        grams.append(mixed(history, word))
        before.append(history)
    return Grams(np.repeat(np.arange(len(texts)), lengths), grams, before)


def _hashed(word: str, known: dict[str, int]) -> int:
    """Return 64 bits for a word, the same in every process."""
    number = known.get(word)
    if number is None:
        number = 0xCBF29CE484222325
        for byte in word.encode("utf-8", "surrogatepass")[:64]:
            number = (number ^ byte) * 0x100000001B3 % 2**64  # Fowler, Noll and Vo's hash
        known[word] = number
    return number


def mixed(left: Hashes, right: Hashes) -> Hashes:
    """Return one hash of two."""
    return finalized(left * np.uint64(0x9E3779B97F4A7C15) + right)


def finalized(state: Hashes) -> Hashes:
    """Return the bits of each number stirred: SplitMix64's finaliser.

    Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014.
    """
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


class Table(NamedTuple):
    """Sorted hashes with a number for each."""

    keys: Hashes
    values: Reals

    def of(self, keys: Hashes) -> Reals:
        """Return the numbers of some hashes, 0 for one that is not there."""
        if not len(self.keys):
            return np.zeros(len(keys))
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, self.values[place], 0.0)


def _total(keys: Hashes, weights: Reals) -> Table:
    distinct, place = np.unique(keys, return_inverse=True)
    totals = np.bincount(place.reshape(-1), weights, len(distinct))
    return Table(distinct, totals.astype(np.float64))


class Wording:
    """A trigram model of the responses of a corpus, in which near-duplicates count once.

    An n-gram counts for the groups of texts that have it, not for how often they do: no text gets
    more typical by repeating itself or by being repeated. ``texts`` are distinct, ``groups``
    (n,) numbers those that are near-duplicates of one another. ``scores`` (n,) is the median over
    a text's words of the log-probability of the word after the two before it, in nats, its own
    group left out of all counts; it is found twice, the second time with the counts of the most
    typical 30 % of the groups only.

    Probabilities are interpolated with a Dirichlet prior (MacKay and Peto, A Hierarchical
    Dirichlet Language Model, 1995).
    """

    def __init__(self, texts: Sequence[str], groups: Ints) -> None:
        grams = grams_of(texts)
        numbers = np.unique(groups, return_inverse=True)[1].reshape(-1)
        position = numbers[grams.text]
        count = int(numbers.max(initial=-1)) + 1
        self._fit(grams, position, np.ones(count))
        scores = self._score(grams, self._own(grams, position))
        best = np.full(count, -np.inf)
        np.maximum.at(best, numbers, scores)
        weights = (best >= np.quantile(best, 1 - HEAD)).astype(np.float64) if count else best
        self._fit(grams, position, weights)
        self.scores = self._score(grams, self._own(grams, position))
        np.maximum.at(best := np.full(count, -np.inf), numbers, self.scores)
        self.ranked = np.sort(best)

    def of(self, texts: list[str]) -> Reals:
        """Return the scores (n,) of texts that are not in the corpus."""
        grams = grams_of(texts)
        nothing = [(np.zeros(len(grams.text)), np.zeros(len(grams.text)))] * ORDER
        return self._score(grams, nothing)

    def typicality(self, scores: Reals) -> Reals:
        """Return scores as the share of the corpus's groups that are no more typical, 0 to 1."""
        return np.searchsorted(self.ranked, scores, side="right") / max(len(self.ranked), 1)

    def _fit(self, grams: Grams, group: Ints, weights: Reals) -> None:
        """Count in how many groups each n-gram is, each group with its weight."""
        self.weights = weights
        self.seen: list[Table] = []
        self.after: list[Table] = []
        for gram, before in zip(grams.grams, grams.before, strict=True):
            first = _first_of_each(mixed(gram, group.astype(np.uint64)))
            weight = weights[group[first]]
            self.seen.append(_total(gram[first], weight))
            self.after.append(_total(before[first], weight))

    def _own(self, grams: Grams, group: Ints) -> list[tuple[Reals, Reals]]:
        """Return what the own group of each position adds to the counts of n-gram and history."""
        own = []
        for gram, before in zip(grams.grams, grams.before, strict=True):
            within = mixed(before, group.astype(np.uint64))
            first = _first_of_each(mixed(gram, group.astype(np.uint64)))
            weight = self.weights[group]
            own.append((weight, _total(within[first], weight[first]).of(within)))
        return own

    def _score(self, grams: Grams, own: list[tuple[Reals, Reals]]) -> Reals:
        kinds = len(self.seen[0].keys)
        chance = np.zeros(len(grams.text))
        for order in range(ORDER):
            mine, after_mine = own[order]
            seen = np.maximum(self.seen[order].of(grams.grams[order]) - mine, 0)
            after = np.maximum(self.after[order].of(grams.before[order]) - after_mine, 0)
            if order == 0:
                chance = (seen + UNSEEN) / (after + UNSEEN * (kinds + 1))
            else:
                chance = (seen + PRIOR * chance) / (after + PRIOR)
        return _medians(np.log(chance), grams.text)


def _first_of_each(keys: Hashes) -> Ints:
    return np.sort(np.unique(keys, return_index=True)[1])


def _medians(values: Reals, text: Ints) -> Reals:
    """Return the median of the values of each text; texts come in order, none without a value."""
    order = np.lexsort((values, text))
    count = np.bincount(text) if len(text) else np.zeros(0, np.int64)
    start = np.cumsum(count) - count
    ranked = values[order]
    return np.asarray((ranked[start + (count - 1) // 2] + ranked[start + count // 2]) / 2)


def typicality(texts: Sequence[str], groups: Ints) -> Reals:
    """Return for each distinct response the share of responses that are no more typical, 0 to 1."""
    model = Wording(texts, groups)
    return model.typicality(model.scores)
