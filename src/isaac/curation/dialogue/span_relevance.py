"""The relevance of each span of a response: whether it has anything to do with what it answers.

A relevant span depends on its context: "which day will you arrive" occurs with acts that ask for a
day, and after users who want to book. Injected text (an expletive, an insult, a promotion) occurs
anywhere. So each clause and each word is tested: are the contexts in which it occurs more alike
than random contexts? A context is described by the dialogue acts of the row (without acts: its
induced act and its slots) and the words that users said before and after it. The test needs no
knowledge of the injected text.

`score_association` measures this. It says little about a rare span, so three other signals are
added: how near the span is in meaning to spans that surely depend on their contexts, whether users
say its words too, and whether its words occur in other irrelevant clauses. Injected text repeats
words or sentences; a span that is only rare shares no words with irrelevant clauses.
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

from ...corpus.dialogue.group import DialogueGroup
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
"""A span that scores at least this is an anchor: surely relevant. Higher scores count the same."""

ANCHOR_NEIGHBORS = 20
"""The similarity of a span is its mean cosine with this many nearest anchors."""

SIMILARITY_WEIGHT = 10.0
"""Weight of the similarity in a span's score; its association score has weight 1."""

COOCCURRENCE_WEIGHT, NEUTRAL_LOG_ODDS = 0.75, 1.0
"""How much a span's score rises for each unit by which its log odds are below the neutral ones.

The odds of a word are those that another clause with it is irrelevant; those of a span are the
highest of its words.
Chosen on MultiWOZ 2.1's validation dialogues, as the bounds were (benchmarks/belonging.py).
"""

WORD_THRESHOLD = 0.7
"""The score below which a word is irrelevant."""


class ResponsesInContext(NamedTuple):
    """The rows (n,) of a corpus: the key of each group, the last user message, and the response.

    ``replies`` are the next user messages, each empty if there was none. If the corpus has no next
    messages at all, ``replies`` itself may be empty.
    """

    keys: Sequence[str]
    user_messages: Sequence[str]
    responses: Sequence[str]
    replies: Sequence[str] = ()


def parse_act_slots(key: str) -> frozenset[str] | None:
    """The slots that the acts of a group name, None if the acts are not known."""
    group = DialogueGroup.parse(key)
    if not group.has_known_acts:
        return None
    return frozenset(act.rpartition("-")[2] for act in group.acts.split("+"))


@dataclass(frozen=True)
class SpanRelevanceModel:
    """The scores of the spans and words of a corpus, by which responses are trimmed.

    ``spans`` and ``words`` have the association score of each. ``clause_occurrences`` counts the
    clauses that are judged by each span.
    """

    spans: AssociationScores
    words: AssociationScores
    ngrams: DialogueNgrams
    encoder: Encoder
    clause_occurrences: Counter[str]

    @cached_property
    def span_scores(self) -> SpanScores:
        """The relevance of each span of the corpus."""
        return SpanScores(self._own_scores, self._score_by_cooccurrence(self._own_scores))

    @cached_property
    def _own_scores(self) -> dict[str, float]:
        return self._score_spans(self.spans)

    @cached_property
    def irrelevant_words(self) -> frozenset[str]:
        """The words of the corpus that depend on no context and that users do not say."""
        return self._find_irrelevant_words(self.words)

    def trim(self, text: str, named_slots: frozenset[str] | None = None) -> str | None:
        """Remove what is irrelevant from a response; None if nothing would be left.

        ``named_slots`` are the slots that its acts name, None if they are not known. Placeholders
        and numbers are never removed, except placeholders of `EVERYDAY_SLOTS` that known acts do
        not name. Nothing is removed if no span of the corpus depends on its context.
        """
        if not len(self._anchors):
            return text
        tokens = split_tokens(text)
        words = {token for token in tokens if WORD_PATTERN.match(token)}
        new_words = sorted(words.difference(self._known_words))
        irrelevant = self.irrelevant_words
        if new_words:
            inferred = infer_association(new_words, self.words, self.encoder)
            irrelevant |= self._find_irrelevant_words(inferred)
        remover = ClauseRemover(tokens, irrelevant, self.ngrams, named_slots)
        scores = self.span_scores
        span_texts = itertools.chain.from_iterable(remover.judged_spans())
        new_spans = sorted(set(span_texts).difference(scores.own_scores))
        if new_spans:
            own = self._score_spans(infer_association(new_spans, self.spans, self.encoder))
            cooccurrence = self._score_by_cooccurrence(own)
            scores = SpanScores(scores.own_scores | own, scores.cooccurrence_scores | cooccurrence)
        return remover.trim(text, scores)

    @property
    def dependent_share(self) -> float:
        """The share of the spans that surely depend on what they answer."""
        return round(len(self._anchors) / max(1, len(self.spans.terms)), 4)

    @cached_property
    def _anchors(self) -> Ints:
        """The numbers of the spans that are surely relevant."""
        return np.flatnonzero(self.spans.scores >= ANCHOR_ASSOCIATION)

    @cached_property
    def _known_words(self) -> frozenset[str]:
        return frozenset(self.words.terms)

    def _find_irrelevant_words(self, words: AssociationScores) -> frozenset[str]:
        """Find the words with a low score: association, plus the log of how many users say them."""
        scores = words.scores + np.log1p(
            [self.ngrams.count_rarest_word(word) for word in words.terms]
        )
        pairs = zip(words.terms, scores.tolist(), strict=True)
        return frozenset(word for word, score in pairs if score < WORD_THRESHOLD)

    def _score_spans(self, spans: AssociationScores) -> dict[str, float]:
        """Score spans alone: association, similarity to anchors, and how many users say them."""
        users = np.log1p([self.ngrams.count_rarest_word(text) for text in spans.terms])
        scores = (
            np.minimum(spans.scores, ANCHOR_ASSOCIATION)
            + SIMILARITY_WEIGHT * self._compute_similarity(spans)
            + users
        )
        return dict(zip(spans.terms, scores.tolist(), strict=True))

    @cached_property
    def _clause_counts(self) -> tuple[Counter[str], Counter[str]]:
        """For each word, count the clauses with it whose own score is relevant, and the others."""
        relevant, irrelevant = Counter[str](), Counter[str]()
        for text, count in self.clause_occurrences.items():
            below = self._own_scores[text] < self.ngrams.bound
            counts = irrelevant if below else relevant
            for word in set(text.split()):
                counts[word] += count
        return relevant, irrelevant

    def _score_by_cooccurrence(self, own_scores: dict[str, float]) -> dict[str, float]:
        """Adjust the own scores of spans by the other clauses in which their words occur."""
        relevant, irrelevant = self._clause_counts
        adjusted = {}
        for text, score in own_scores.items():
            # A clause of the corpus is itself among the counted ones: take it out once.
            is_clause, below = text in self.clause_occurrences, score < self.ngrams.bound
            odds = [
                (irrelevant[word] - (is_clause and below) + 0.5)
                / (relevant[word] - (is_clause and not below) + 0.5)
                for word in text.split()
            ]
            adjusted[text] = score - COOCCURRENCE_WEIGHT * (math.log(max(odds)) - NEUTRAL_LOG_ODDS)
        return adjusted

    def _compute_similarity(self, spans: AssociationScores) -> Reals:
        """Compute the mean cosine (m,) of each span with the anchors nearest to it, except itself.

        It is 1 for an anchor that has enough rows of its own.
        """
        anchors = self.spans.vectors[self._anchors]
        near = find_neighbors(spans.vectors, anchors, ANCHOR_NEIGHBORS + 1)
        # The index (m,) of each span among the anchors, -1 if it is not an anchor.
        index_of = {self.spans.terms[place]: n for n, place in enumerate(self._anchors.tolist())}
        own_index = np.array([index_of.get(text, -1) for text in spans.terms])
        # Which neighbors (m, ANCHOR_NEIGHBORS + 1) count: the first ones that are not the span.
        is_counted = near != own_index[:, None]
        is_counted &= np.cumsum(is_counted, axis=1) <= ANCHOR_NEIGHBORS
        similarity = np.zeros(len(near))
        for start in range(0, len(near), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            cosines = compute_cosines(spans.vectors[block], anchors, near[block])
            total = (cosines * is_counted[block]).sum(1)
            similarity[block] = total / np.maximum(is_counted[block].sum(1), 1)
        is_anchor = (spans.counts >= MIN_OCCURRENCES) & (spans.scores >= ANCHOR_ASSOCIATION)
        similarity[is_anchor] = 1
        return similarity


def fit_span_relevance(rows: ResponsesInContext, encoder: Encoder) -> SpanRelevanceModel:
    """Fit the relevance of the spans and words of a corpus's responses."""
    messages = [rows.user_messages, rows.replies] if rows.replies else [rows.user_messages]
    features = build_features(
        [_split_acts(key) for key in rows.keys],
        *([frozenset(split_tokens(text)) for text in texts] for texts in messages),
    )
    # First the words, since clauses are judged without their irrelevant words.
    responses = [split_tokens(text) for text in rows.responses]
    ngrams = DialogueNgrams(rows.user_messages, responses)
    bags = [[token for token in tokens if WORD_PATTERN.match(token)] for tokens in responses]
    words = score_association(index_terms(bags, encoder), features)
    no_spans = AssociationScores([], words.vectors[:0], words.counts[:0], words.scores[:0])
    words_model = SpanRelevanceModel(no_spans, words, ngrams, encoder, Counter())
    irrelevant = words_model.irrelevant_words
    # Then the clauses of each row, each with the text by which it is judged.
    judged = [
        list(ClauseRemover(tokens, irrelevant, ngrams, parse_act_slots(key)).judged_spans())
        for tokens, key in zip(responses, rows.keys, strict=True)
    ]
    span_texts = [list(itertools.chain.from_iterable(pairs)) for pairs in judged]
    spans = score_association(index_terms(span_texts, encoder), features)
    occurrences = Counter(text for pairs in judged for _, text in pairs)
    return SpanRelevanceModel(spans, words, ngrams, encoder, occurrences)


def _split_acts(key: str) -> frozenset[str]:
    """Split the acts of a group into features: each act and its parts.

    If the acts are not known, those of the whole key: its induced act and its slots.
    """
    group = DialogueGroup.parse(key)
    acts = re.split(r"[+|\s]+", (group.acts if group.has_known_acts else key).casefold())
    return frozenset(part for act in acts for part in (act, *act.split("-")) if part)
