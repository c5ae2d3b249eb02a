"""Parts of responses that have nothing to do with what they answer.

What belongs in an answer depends on what is answered: "which day will you arrive" comes with acts
that ask for a day, and after users who want to book. What was injected (an expletive, an insult, a
promotion) comes with anything. So ask of each part of a response, and of each word, whether the
contexts in which it occurs are more alike than contexts taken by chance. Contexts are described by
the dialogue acts of the row (where there are none, its kind and the slots that it names) and the
words that users said before and after it; nothing is known of what may have been injected.

How much the contexts of a part depend on it is `dependence`. Where that says little, for the part
is rare, three other things tell what belongs: how near it is in meaning to parts that depend on
their contexts, whether users say its words too, and whether its words stand in other clauses that
do not belong. For who injects things repeats words or sentences; a part that is only rare does not
share its words with others that do not belong.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ...corpus.formats.task_oriented import acts_known, acts_of
from ...models.encoders import Encoder
from ..arrays import Ints, Reals
from ..search.exact import find_neighbors
from .association import BLOCK, ENOUGH, Known, cosines, dependence, features_of, likened, named
from .clauses import WORD, Cutter, Spoken, Values, tokens_of

SURE = 4.0
"""Dependence from which on a part surely belongs; more of it counts no more."""

NEAREST = 20
"""Parts that surely belong and are nearest: the mean cosine with them counts."""

ALIKE = 10.0
"""Weight of that mean beside the dependence."""

COMPANY, EVEN = 0.75, 1.0
"""What a part gains in belonging for each unit by which its words' log odds lie below `EVEN`.

They are the odds that a word stands in another clause that does not belong; the highest counts.
Chosen on MultiWOZ 2.1's validation dialogues, as the bounds were (benchmarks/belonging.py).
"""

STRANGE = 0.7
"""Belonging below which a word within a clause is left out."""


class Answers(NamedTuple):
    """Rows of a corpus (n,): the key of each one's group, what was said last, the response.

    ``replies`` is what was said next, empty where nothing was; no rows where that is not known.
    """

    keys: Sequence[str]
    said: Sequence[str]
    responses: Sequence[str]
    replies: Sequence[str] = ()


def slots_named(key: str) -> frozenset[str] | None:
    """Return the slots that the acts of a group name, None where they are not known."""
    if not acts_known(key):
        return None
    return frozenset(act.rpartition("-")[2] for act in acts_of(key).split("+"))


@dataclass(frozen=True)
class Belonging:
    """What a corpus tells of the parts of its responses, and of the words in them.

    ``judged`` are the parts that clauses are judged by, and how many clauses.
    """

    parts: Known
    words: Known
    spoken: Spoken
    encoder: Encoder
    judged: Counter[str]

    @cached_property
    def values(self) -> Values:
        """Return how much each part of the corpus belongs."""
        return Values(self._own, self._among(self._own))

    @cached_property
    def _own(self) -> dict[str, float]:
        return self._values(self.parts)

    @cached_property
    def strange(self) -> frozenset[str]:
        """Return the words that come with anything and that users do not say."""
        return self._strange(self.words)

    def trim(self, text: str, named: frozenset[str] | None = None) -> str | None:
        """Return a text without what does not belong, or None if nothing would be left.

        No placeholder and no number is ever left out, but for those of `EVERYDAY` slots that are
        not ``named`` by the acts, if these are known; nor is anything where no part of the corpus
        depends on its context.
        """
        if not len(self._sure):
            return text
        tokens = tokens_of(text)
        words = {token for token in tokens if WORD.match(token)}
        new = sorted(words.difference(self._known_words))
        strange = self.strange
        if new:
            strange |= self._strange(likened(new, self.words, self.encoder))
        cutter = Cutter(tokens, strange, self.spoken, named)
        names = itertools.chain.from_iterable(cutter.pairs())
        unknown = sorted(set(names).difference(self.values.own))
        values = self.values
        if unknown:
            own = self._values(likened(unknown, self.parts, self.encoder))
            values = Values(values.own | own, values.among | self._among(own))
        return cutter.cut(text, values)

    @property
    def dependent(self) -> float:
        """Return the share of the parts that surely depend on what they answer."""
        return round(len(self._sure) / max(1, len(self.parts.names)), 4)

    @cached_property
    def _sure(self) -> Ints:
        """Return the places of the parts that surely belong."""
        return np.flatnonzero(self.parts.roots >= SURE)

    @cached_property
    def _known_words(self) -> frozenset[str]:
        return frozenset(self.words.names)

    def _strange(self, words: Known) -> frozenset[str]:
        belonging = words.roots + np.log1p([self.spoken.rarest(word) for word in words.names])
        pairs = zip(words.names, belonging.tolist(), strict=True)
        return frozenset(word for word, value in pairs if value < STRANGE)

    def _values(self, parts: Known) -> dict[str, float]:
        said = np.log1p([self.spoken.rarest(name) for name in parts.names])
        values = np.minimum(parts.roots, SURE) + ALIKE * self._alike(parts) + said
        return dict(zip(parts.names, values.tolist(), strict=True))

    @cached_property
    def _company(self) -> tuple[Counter[str], Counter[str]]:
        """Return in how many clauses each word stands that belong by themselves, or do not."""
        kept, gone = Counter[str](), Counter[str]()
        for name, times in self.judged.items():
            into = gone if self._own[name] < self.spoken.bound else kept
            for word in set(name.split()):
                into[word] += times
        return kept, gone

    def _among(self, own: dict[str, float]) -> dict[str, float]:
        """Return how much parts belong when the company of their words counts too."""
        kept, gone = self._company
        found = {}
        for name, value in own.items():
            itself, out = name in self.judged, value < self.spoken.bound
            others = [
                (gone[word] - (itself and out) + 0.5) / (kept[word] - (itself and not out) + 0.5)
                for word in name.split()
            ]
            found[name] = value - COMPANY * (math.log(max(others)) - EVEN)
        return found

    def _alike(self, parts: Known) -> Reals:
        """Return the mean cosine with the nearest parts that surely belong, itself left out.

        It is 1 for a part that has enough occurrences of its own and surely belongs.
        """
        sure = self._sure
        heads = self.parts.vectors[sure]
        near = find_neighbors(parts.vectors, heads, NEAREST + 1)
        number = {self.parts.names[place]: rank for rank, place in enumerate(sure.tolist())}
        own = np.array([number.get(name, -1) for name in parts.names])
        other = near != own[:, None]
        other &= np.cumsum(other, axis=1) <= NEAREST
        found = np.zeros(len(near))
        for start in range(0, len(near), BLOCK):
            some = slice(start, start + BLOCK)
            near_ones = cosines(parts.vectors[some], heads, near[some])
            found[some] = (near_ones * other[some]).sum(1) / np.maximum(other[some].sum(1), 1)
        found[(parts.counts >= ENOUGH) & (parts.roots >= SURE)] = 1
        return found


def fit(answers: Answers, encoder: Encoder) -> Belonging:
    """Return what a corpus tells of the parts of its responses."""
    around = [answers.said, answers.replies] if answers.replies else [answers.said]
    features = features_of(
        [_components(key) for key in answers.keys],
        *([frozenset(tokens_of(text)) for text in texts] for texts in around),
    )
    tokens = [tokens_of(text) for text in answers.responses]
    spoken = Spoken(answers.said, tokens)
    bags = [[token for token in line if WORD.match(token)] for line in tokens]
    words = dependence(named(bags, encoder), features)
    none = Known([], words.vectors[:0], words.counts[:0], words.roots[:0])
    strange = Belonging(none, words, spoken, encoder, Counter()).strange
    pairs = [
        list(Cutter(line, strange, spoken, slots_named(key)).pairs())
        for line, key in zip(tokens, answers.keys, strict=True)
    ]
    names = [list(itertools.chain.from_iterable(some)) for some in pairs]
    parts = dependence(named(names, encoder), features)
    judged = Counter(without for some in pairs for _, without in some)
    return Belonging(parts, words, spoken, encoder, judged)


def _components(key: str) -> frozenset[str]:
    """Return what the acts of a group are made of; without acts, its kind and its slots."""
    whole = re.split(r"[+|\s]+", (acts_of(key) if acts_known(key) else key).casefold())
    return frozenset(part for one in whole for part in (one, *one.split("-")) if part)
