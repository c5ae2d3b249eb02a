"""Parts of responses that have nothing to do with what they answer.

What belongs in an answer depends on what is answered: "which day will you arrive" comes with acts
that ask for a day, and after users who want to book. What was injected (an expletive, an insult, a
promotion) comes with anything. So ask of each part of a response, and of each word, whether the
contexts in which it occurs are more alike than contexts taken by chance. Contexts are described by
the dialogue acts of the row (where there are none, its kind and the slots that it names) and the
words that users said before and after it; nothing is known of what may have been injected.

How much the contexts of a part depend on it is `score_association`. Where that says little, for the part
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

from ...corpus.formats.task_oriented import acts_from_group, has_known_acts
from ...models.encoders import Encoder
from ...runtime.arrays import Ints, Reals
from ..search.exact import find_neighbors
from .association import (
    BLOCK_ROWS,
    MIN_OCCURRENCES,
    AssociationScores,
    build_features,
    compute_cosines,
    index_terms,
    infer_association,
    score_association,
)
from .clauses import WORD_PATTERN, ClauseRemover, DialogueNgrams, SpanScores, split_tokens

ANCHOR_ASSOCIATION = 4.0
"""Dependence from which on a part surely belongs; more of it counts no more."""

ANCHOR_NEIGHBORS = 20
"""Parts that surely belong and are nearest: the mean cosine with them counts."""

SIMILARITY_WEIGHT = 10.0
"""Weight of that mean beside the dependence."""

COOCCURRENCE_WEIGHT, NEUTRAL_LOG_ODDS = 0.75, 1.0
"""What a part gains in belonging for each unit by which its words' log odds lie below `NEUTRAL_LOG_ODDS`.

They are the odds that a word stands in another clause that does not belong; the highest counts.
Chosen on MultiWOZ 2.1's validation dialogues, as the bounds were (benchmarks/belonging.py).
"""

WORD_THRESHOLD = 0.7
"""Belonging below which a word within a clause is left out."""


class ResponsesInContext(NamedTuple):
    """Rows of a corpus (n,): the key of each one's group, what was said last, the response.

    ``replies`` is what was said next, empty where nothing was; no rows where that is not known.
    """

    keys: Sequence[str]
    said: Sequence[str]
    responses: Sequence[str]
    replies: Sequence[str] = ()


def parse_act_slots(key: str) -> frozenset[str] | None:
    """Return the slots that the acts of a group name, None where they are not known."""
    if not has_known_acts(key):
        return None
    return frozenset(act.rpartition("-")[2] for act in acts_from_group(key).split("+"))


@dataclass(frozen=True)
class SpanRelevanceModel:
    """What a corpus tells of the parts of its responses, and of the words in them.

    ``judged`` are the parts that clauses are judged by, and how many clauses.
    """

    parts: AssociationScores
    words: AssociationScores
    ngrams: DialogueNgrams
    encoder: Encoder
    judged: Counter[str]

    @cached_property
    def values(self) -> SpanScores:
        """Return how much each part of the corpus belongs."""
        return SpanScores(self._own_scores, self._score_by_cooccurrence(self._own_scores))

    @cached_property
    def _own_scores(self) -> dict[str, float]:
        return self._values(self.parts)

    @cached_property
    def irrelevant_words(self) -> frozenset[str]:
        """Return the words that come with anything and that users do not say."""
        return self._find_irrelevant_words(self.words)

    def trim(self, text: str, named: frozenset[str] | None = None) -> str | None:
        """Return a text without what does not belong, or None if nothing would be left.

        No placeholder and no number is ever left out, but for those of `EVERYDAY` slots that are
        not ``index_terms`` by the acts, if these are known; nor is anything where no part of the corpus
        depends on its context.
        """
        if not len(self._anchors):
            return text
        tokens = split_tokens(text)
        words = {token for token in tokens if WORD_PATTERN.match(token)}
        new = sorted(words.difference(self._known_words))
        strange = self.irrelevant_words
        if new:
            strange |= self._find_irrelevant_words(infer_association(new, self.words, self.encoder))
        cutter = ClauseRemover(tokens, strange, self.ngrams, named)
        names = itertools.chain.from_iterable(cutter.pairs())
        unknown = sorted(set(names).difference(self.values.own))
        values = self.values
        if unknown:
            own = self._values(infer_association(unknown, self.parts, self.encoder))
            values = SpanScores(values.own | own, values.among | self._score_by_cooccurrence(own))
        return cutter.cut(text, values)

    @property
    def dependent_share(self) -> float:
        """Return the share of the parts that surely depend on what they answer."""
        return round(len(self._anchors) / max(1, len(self.parts.names)), 4)

    @cached_property
    def _anchors(self) -> Ints:
        """Return the places of the parts that surely belong."""
        return np.flatnonzero(self.parts.roots >= ANCHOR_ASSOCIATION)

    @cached_property
    def _known_words(self) -> frozenset[str]:
        return frozenset(self.words.names)

    def _find_irrelevant_words(self, words: AssociationScores) -> frozenset[str]:
        belonging = words.roots + np.log1p(
            [self.ngrams.count_rarest_word(word) for word in words.names]
        )
        pairs = zip(words.names, belonging.tolist(), strict=True)
        return frozenset(word for word, value in pairs if value < WORD_THRESHOLD)

    def _values(self, parts: AssociationScores) -> dict[str, float]:
        said = np.log1p([self.ngrams.count_rarest_word(name) for name in parts.names])
        values = (
            np.minimum(parts.roots, ANCHOR_ASSOCIATION)
            + SIMILARITY_WEIGHT * self._compute_similarity(parts)
            + said
        )
        return dict(zip(parts.names, values.tolist(), strict=True))

    @cached_property
    def _clause_counts(self) -> tuple[Counter[str], Counter[str]]:
        """Return in how many clauses each word stands that belong by themselves, or do not."""
        kept, gone = Counter[str](), Counter[str]()
        for name, times in self.judged.items():
            into = gone if self._own_scores[name] < self.ngrams.bound else kept
            for word in set(name.split()):
                into[word] += times
        return kept, gone

    def _score_by_cooccurrence(self, own: dict[str, float]) -> dict[str, float]:
        """Return how much parts belong when the company of their words counts too."""
        kept, gone = self._clause_counts
        found = {}
        for name, value in own.items():
            itself, out = name in self.judged, value < self.ngrams.bound
            others = [
                (gone[word] - (itself and out) + 0.5) / (kept[word] - (itself and not out) + 0.5)
                for word in name.split()
            ]
            found[name] = value - COOCCURRENCE_WEIGHT * (math.log(max(others)) - NEUTRAL_LOG_ODDS)
        return found

    def _compute_similarity(self, parts: AssociationScores) -> Reals:
        """Return the mean cosine with the nearest parts that surely belong, itself left out.

        It is 1 for a part that has enough occurrences of its own and surely belongs.
        """
        sure = self._anchors
        heads = self.parts.vectors[sure]
        near = find_neighbors(parts.vectors, heads, ANCHOR_NEIGHBORS + 1)
        number = {self.parts.names[place]: rank for rank, place in enumerate(sure.tolist())}
        own = np.array([number.get(name, -1) for name in parts.names])
        other = near != own[:, None]
        other &= np.cumsum(other, axis=1) <= ANCHOR_NEIGHBORS
        found = np.zeros(len(near))
        for start in range(0, len(near), BLOCK_ROWS):
            some = slice(start, start + BLOCK_ROWS)
            near_ones = compute_cosines(parts.vectors[some], heads, near[some])
            found[some] = (near_ones * other[some]).sum(1) / np.maximum(other[some].sum(1), 1)
        found[(parts.counts >= MIN_OCCURRENCES) & (parts.roots >= ANCHOR_ASSOCIATION)] = 1
        return found


def fit_span_relevance(answers: ResponsesInContext, encoder: Encoder) -> SpanRelevanceModel:
    """Return what a corpus tells of the parts of its responses."""
    around = [answers.said, answers.replies] if answers.replies else [answers.said]
    features = build_features(
        [_split_acts(key) for key in answers.keys],
        *([frozenset(split_tokens(text)) for text in texts] for texts in around),
    )
    tokens = [split_tokens(text) for text in answers.responses]
    spoken = DialogueNgrams(answers.said, tokens)
    bags = [[token for token in line if WORD_PATTERN.match(token)] for line in tokens]
    words = score_association(index_terms(bags, encoder), features)
    none = AssociationScores([], words.vectors[:0], words.counts[:0], words.roots[:0])
    strange = SpanRelevanceModel(none, words, spoken, encoder, Counter()).irrelevant_words
    pairs = [
        list(ClauseRemover(line, strange, spoken, parse_act_slots(key)).pairs())
        for line, key in zip(tokens, answers.keys, strict=True)
    ]
    names = [list(itertools.chain.from_iterable(some)) for some in pairs]
    parts = score_association(index_terms(names, encoder), features)
    judged = Counter(without for some in pairs for _, without in some)
    return SpanRelevanceModel(parts, words, spoken, encoder, judged)


def _split_acts(key: str) -> frozenset[str]:
    """Return what the acts of a group are made of; without acts, its kind and its slots."""
    whole = re.split(r"[+|\s]+", (acts_from_group(key) if has_known_acts(key) else key).casefold())
    return frozenset(part for one in whole for part in (one, *one.split("-")) if part)
