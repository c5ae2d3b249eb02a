"""Removing the irrelevant clauses and words of a response, given the scores of its spans.

`span_relevance` computes the scores. A span is a run of tokens; its text is their words, without
punctuation.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

FEW_ROWS, MANY_ROWS = 800, 7000
"""Corpus sizes between which the bound rises; up to `FEW_ROWS` rows the scores say little."""

MIN_BOUND, MAX_BOUND = 3.0, 6.5
"""The score below which a clause is removed, in a corpus of `FEW_ROWS` rows and of `MANY_ROWS`.

With fewer rows a relevant span is seen less often, and looks more like an irrelevant one. Both
bounds were chosen on MultiWOZ 2.1's validation dialogues and parts of them
(benchmarks/belonging.py).
"""

FEWEST_ROWS, SAFE_ROWS, FEWEST_BOUND = 150, 300, 1.0
"""Below ``SAFE_ROWS`` rows the bound falls to ``FEWEST_BOUND``, reached at ``FEWEST_ROWS``.

So few rows show for hardly any span that it depends on its context: with `MIN_BOUND`, a third of
the clean turns of 20 dialogues were trimmed (benchmarks/belonging.py).
"""

ADJACENT_RAISE = 0.3
"""The share by which the bound is higher in a sentence with a removed clause."""

MAX_REMOVED_SHARE = 0.5
"""If at least this share of the words of a sentence without values is removed, all of it is."""

MAX_EDGE_WORDS = 12
"""Maximum length of an irrelevant span that no comma separates from the rest of its clause."""


TOKEN_PATTERN = re.compile(
    r"\[\w+\]|[^\W\d_]+(?:[-'\u2019][^\W\d_]+)*|['\u2019][^\W\d_]+|\d+(?:[:.,]\d+)*|\S"
)
WORD_PATTERN = re.compile(r"[^\W\d_]|['\u2019]\w")
VALUE_PATTERN = re.compile(r"\[\w+\]|\d")
EVERYDAY_SLOTS = frozenset({"area", "fee", "food", "pricerange", "type"})
"""Slots whose values are everyday words: ``cheap``, ``north``.

A value must never be lost. But if no act names its slot, such a word is no value, and may be part
of injected text.
"""

MAX_FRAGMENT_LETTERS = 4
"""Maximum length of a word next to a value that may be a part of it, such as ``ab`` in 1012 AB."""

ABBREVIATIONS = frozenset({"addr", "approx", "dr", "mr", "mrs", "ph", "ref", "st", "tel"})
"""Words after which a full stop ends no sentence; single letters are others."""

CONJUNCTIONS = frozenset({"and", "but", "or", "so"})
"""Words that join a clause to an earlier one; without that one, they are removed."""

QUESTION_WORDS = frozenset(
    (
        *("am", "are", "can", "could", "did", "do", "does", "is", "may", "shall", "should", "was"),
        *("were", "will", "would", "how", "what", "when", "where", "which", "who"),
        *("correct", "ok", "okay", "right", "yes"),
    )
)
"""Words that begin a question, or are one at the end of a sentence."""

NUMBER_SUFFIX = re.compile(r"_\d+$")
SENTENCE_ENDS, PAUSE_MARKS = frozenset(".?!"), frozenset(",;:")


class Clause(NamedTuple):
    """The range of tokens of a clause, up to and including the punctuation at its end.

    Also used for the ranges of shorter spans.
    """

    start: int
    end: int


def split_tokens(text: str) -> list[str]:
    """Split a text into its words, placeholders, numbers and punctuation marks, in lower case."""
    return [token.lower() for token in TOKEN_PATTERN.findall(text)]


def split_clauses(tokens: Sequence[str]) -> Iterator[Clause]:
    """Split tokens into clauses, which end at commas, colons, semicolons and sentence ends."""
    start, ended = 0, False
    for place in range(len(tokens)):
        mark = _ends_clause(tokens, place)
        if ended and not mark:
            yield Clause(start, place)
            start = place
        ended = mark
    if start < len(tokens):
        yield Clause(start, len(tokens))


def _ends_clause(tokens: Sequence[str], place: int) -> bool:
    """Whether a token ends a clause: a mark, unless it abbreviates a word (``c.b``, ``tel.``)."""
    word = tokens[place - 1] if tokens[place] == "." and place else ""
    is_letter = len(word) == 1 and word.isalpha() and word not in "ai"
    is_mark = tokens[place] in SENTENCE_ENDS or tokens[place] in PAUSE_MARKS
    return is_mark and not is_letter and word not in ABBREVIATIONS


def find_value_neighbors(tokens: Sequence[str]) -> set[int]:
    """Find the places of the short words that no mark or long word separates from a value."""
    places = set[int]()
    for step in (1, -1):
        beside = False
        for place in range(len(tokens))[::step]:
            token = tokens[place]
            if VALUE_PATTERN.match(token):
                beside = True
            elif not WORD_PATTERN.match(token):
                beside = beside and not _ends_clause(tokens, place)
            elif beside and len(token) <= MAX_FRAGMENT_LETTERS:
                places.add(place)
                beside = len(token) == 1
            else:
                beside = False
    return places


def split_sentences(tokens: Sequence[str]) -> Iterator[list[Clause]]:
    """Split tokens into sentences, each a list of its clauses."""
    sentence: list[Clause] = []
    for clause in split_clauses(tokens):
        sentence.append(clause)
        if tokens[clause.end - 1] in SENTENCE_ENDS:
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def normalize_span(tokens: Sequence[str]) -> str:
    """The text of a span: its words, placeholders and numbers, without punctuation."""
    return " ".join(
        token for token in tokens if WORD_PATTERN.match(token) or VALUE_PATTERN.match(token)
    )


class DialogueNgrams:
    """Word counts of user messages, and counts of two and three consecutive tokens of responses.

    ``user_messages`` (n,) are what users said before each response, ``responses`` (n,) its tokens.
    """

    def __init__(self, user_messages: Sequence[str], responses: Sequence[list[str]]) -> None:
        self.user_word_counts = Counter(
            word for text in user_messages for word in set(split_tokens(text))
        )
        self.ngram_counts: Counter[tuple[str, ...]] = Counter()
        self.word_counts: Counter[str] = Counter()
        self.beside_value_counts: Counter[str] = Counter()
        for tokens in responses:
            padded = ["", *tokens, ""]
            self.ngram_counts.update(pairwise(padded))
            self.ngram_counts.update(zip(padded, padded[1:], padded[2:], strict=False))
            self.word_counts.update(tokens)
            self.beside_value_counts.update(tokens[at] for at in find_value_neighbors(tokens))
        self.rows = len(responses)

    def count_rarest_word(self, span_text: str) -> float:
        """Count the user messages that contain the rarest word of a span.

        In a corpus of more than `MANY_ROWS` rows the count is scaled down to that many rows.
        """
        least = min((self.user_word_counts[word] for word in span_text.split()), default=0)
        return least * min(1.0, MANY_ROWS / self.rows)

    def find_fragments(self, tokens: Sequence[str]) -> list[int]:
        """Find the places of words that are part of a value whose form is not known.

        They are short, next to a value, and that is where most responses have them. The marks
        between them count too.
        """
        words = {
            place
            for place in find_value_neighbors(tokens)
            if 2 * self.beside_value_counts[tokens[place]] >= self.word_counts[tokens[place]]
        }
        values = {place for place, token in enumerate(tokens) if VALUE_PATTERN.match(token)}
        marks = {
            place
            for left, right in pairwise(sorted(words | values if words else ()))
            for place in range(left + 1, right)
            if not any(map(WORD_PATTERN.match, tokens[left + 1 : right]))
            and not _ends_clause(tokens, place)
        }
        return sorted(words | marks)

    @property
    def bound(self) -> float:
        """The score below which a clause is removed; it grows with the corpus."""
        if self.rows < SAFE_ROWS:
            part = math.log(max(self.rows, 1) / FEWEST_ROWS) / math.log(SAFE_ROWS / FEWEST_ROWS)
            return FEWEST_BOUND + (MIN_BOUND - FEWEST_BOUND) * max(part, 0.0)
        part = math.log(self.rows / FEW_ROWS) / math.log(MANY_ROWS / FEW_ROWS)
        return MIN_BOUND + (MAX_BOUND - MIN_BOUND) * min(max(part, 0.0), 1.0) ** 2


class SpanScores(NamedTuple):
    """The relevance of spans by their text: alone, and with the cooccurrence of their words."""

    own_scores: dict[str, float]
    cooccurrence_scores: dict[str, float]


class ClauseRemover:
    """Removes irrelevant clauses and words from one response, given as tokens.

    ``named_slots`` are the slots that the acts of the response name, None if its acts are not
    known. In ``plain`` the placeholders of everyday words that no act names are words, which may be
    removed. ``keep`` (t,) marks the tokens that stay, ``fragments`` lists those that must.
    """

    def __init__(
        self,
        tokens: list[str],
        irrelevant_words: frozenset[str],
        ngrams: DialogueNgrams,
        named_slots: frozenset[str] | None = None,
    ) -> None:
        self.tokens, self.irrelevant_words = tokens, irrelevant_words
        self.ngram_counts, self.bound = ngrams.ngram_counts, ngrams.bound
        self.plain = (
            tokens
            if named_slots is None
            else [
                _placeholder_to_word(token, named_slots) if token[0] == "[" else token
                for token in tokens
            ]
        )
        self.keep = np.ones(len(tokens), np.bool_)
        self.fragments = ngrams.find_fragments(tokens)
        self.changed = dict[int, str]()  # kept tokens that are replaced, by place

    def judged_spans(self) -> Iterator[tuple[str, str]]:
        """Yield each clause without values: its text, and the text by which it is judged."""
        for clause in split_clauses(self.tokens):
            text = self.span_text(clause)
            if text and not VALUE_PATTERN.search(text):
                yield text, self.without_irrelevant(clause)

    def span_text(self, clause: Clause) -> str:
        """The text of a clause, empty if it has no words."""
        return normalize_span(self.plain[clause.start : clause.end])

    def without_irrelevant(self, clause: Clause) -> str:
        """The text of a clause without its irrelevant words.

        If these are at least a third of its words, the text keeps them.
        """
        if self.irrelevant_words.isdisjoint(self.tokens[clause.start : clause.end]):
            return self.span_text(clause)
        runs = self.find_irrelevant_runs(clause)
        removed = {place for start, end in runs for place in range(start, end)}
        words = [place for place in range(*clause) if WORD_PATTERN.match(self.plain[place])]
        if 3 * len(removed) >= len(words):
            return self.span_text(clause)
        return normalize_span(
            [self.plain[place] for place in range(*clause) if place not in removed]
        )

    def find_irrelevant_runs(self, clause: Clause) -> Iterator[Clause]:
        """Find runs of irrelevant words between two tokens that are adjacent in other responses.

        The two tokens around the run must be adjacent at least twice in the corpus.
        """
        place = clause.start
        while place < clause.end:
            end = place
            while end < clause.end and self.tokens[end] in self.irrelevant_words:
                end += 1
            if end > place and self.ngram_counts[self._at(place - 1), self._at(end)] >= 2:
                yield Clause(place, end)
            place = max(end, place + 1)

    def trim(self, text: str, scores: SpanScores) -> str | None:
        """Remove what is irrelevant from the text of the tokens; None if nothing would be left."""
        for sentence in split_sentences(self.tokens):
            clauses = [clause for clause in sentence if self.span_text(clause)]
            removed = self._find_irrelevant(clauses, scores.cooccurrence_scores, self.bound)
            no_values = not any(VALUE_PATTERN.search(self.span_text(clause)) for clause in clauses)
            # Next to a removed clause, the others need a higher score if no value can be lost.
            if removed and no_values:
                removed += self._find_irrelevant(
                    clauses, scores.own_scores, self.bound * (1 + ADJACENT_RAISE)
                )
            for clause in clauses:
                self._remove([clause] if clause in removed else self.find_irrelevant_runs(clause))
                self._remove(self._find_irrelevant_edges(clause, scores.own_scores))
            if no_values:
                self._remove(self._find_remnant(sentence))
            self._remove(self._find_loose_conjunctions(sentence))
        if self.keep.all():
            return text
        self._fix_punctuation()
        kept = (self.tokens[place] for place in np.flatnonzero(self.keep).tolist())
        if not any(WORD_PATTERN.match(token) or VALUE_PATTERN.match(token) for token in kept):
            return None
        return self._join_tokens(text)

    def _remove(self, spans: Iterable[Clause]) -> None:
        for start, end in spans:
            self.keep[start:end] = False
        self.keep[self.fragments] = True

    def _find_loose_conjunctions(self, sentence: list[Clause]) -> Iterator[Clause]:
        """Yield the first word of a clause if it joins the clause to one that is removed."""
        words = [
            place
            for place in range(sentence[0].start, sentence[-1].end)
            if WORD_PATTERN.match(self.plain[place]) or VALUE_PATTERN.match(self.plain[place])
        ]
        kept = [place for place in words if self.keep[place]]
        for before, place in enumerate(kept[:2]):
            joins = self.tokens[place] in CONJUNCTIONS and place != words[before]
            after_value = before and VALUE_PATTERN.match(self.plain[kept[0]])
            if joins and not after_value and len(kept) > before + 1:
                yield Clause(place, place + 1)
                return

    def _find_remnant(self, sentence: list[Clause]) -> Iterator[Clause]:
        """Yield the whole sentence if most of it is already removed."""
        whole = range(sentence[0].start, sentence[-1].end)
        kept = [bool(self.keep[place]) for place in whole if WORD_PATTERN.match(self.plain[place])]
        if kept and kept.count(False) >= MAX_REMOVED_SHARE * len(kept):
            yield Clause(whole.start, whole.stop)

    def _find_irrelevant(
        self, clauses: list[Clause], scores: dict[str, float], bound: float
    ) -> list[Clause]:
        """Find the clauses with a score below the bound; one with a value is always relevant."""
        plain = [clause for clause in clauses if not VALUE_PATTERN.search(self.span_text(clause))]
        return [clause for clause in plain if scores[self.without_irrelevant(clause)] < bound]

    def _find_irrelevant_edges(self, clause: Clause, scores: dict[str, float]) -> Iterator[Clause]:
        """Find the longest span at each edge that is an irrelevant clause of another response.

        Only spans with an irrelevant word are tried.
        """
        start, end = clause
        while end > start and not WORD_PATTERN.match(self.plain[end - 1]):
            end -= 1
        sizes = range(min(MAX_EDGE_WORDS, end - start - 1), 1, -1)
        for edges in ([(start, start + n) for n in sizes], [(end - n, end) for n in sizes]):
            for first, last in edges:
                span = self.plain[first:last]
                if self.irrelevant_words.isdisjoint(span):
                    continue
                span_text = normalize_span(span)
                if VALUE_PATTERN.search(span_text):
                    continue
                if scores.get(span_text, self.bound) < self.bound:
                    yield Clause(first, last)
                    break

    def _fix_punctuation(self) -> None:
        """Fix commas, colons and semicolons that are kept before removed tokens.

        If the removed tokens end a sentence, that end replaces the mark. Otherwise the mark is
        removed if the tokens around the gap are more often adjacent than separated by it.
        """
        for place in np.flatnonzero(self.keep[:-1] & ~self.keep[1:]).tolist():
            if self.tokens[place] not in PAUSE_MARKS:
                continue
            later = np.flatnonzero(self.keep[place + 1 :])
            after = place + 1 + int(later[0]) if len(later) else len(self.tokens)
            before, mark, then = self._at(place - 1), self.tokens[place], self._at(after)
            if self.tokens[after - 1] in SENTENCE_ENDS:
                self.keep[place], self.keep[after - 1] = False, True
                if self.tokens[after - 1] == "?" and self._is_statement(place, after):
                    self.changed[after - 1] = "."
            elif self.ngram_counts[before, then] > self.ngram_counts[before, mark, then]:
                self.keep[place] = False

    def _is_statement(self, place: int, after: int) -> bool:
        """Whether the sentence up to ``place`` asks nothing, since its question was removed."""
        start = place
        while start and self._at(start - 1) not in SENTENCE_ENDS:
            start -= 1
        words = [token for token in self.tokens[place + 1 : after] if WORD_PATTERN.match(token)]
        kept = [self.tokens[at] for at in range(start, place) if self.keep[at]]
        return words[0] in QUESTION_WORDS and QUESTION_WORDS.isdisjoint(kept[:2])

    def _at(self, place: int) -> str:
        """The token at a place, empty before the first and after the last."""
        return self.tokens[place] if 0 <= place < len(self.tokens) else ""

    def _join_tokens(self, text: str) -> str:
        """Join the kept tokens as they are in the text, each with the space before it."""
        parts, last = [], 0
        matches = list(TOKEN_PATTERN.finditer(text))
        self.changed |= self._capitalize([match[0] for match in matches])
        for place in range(len(matches)):
            start, end = matches[place].span()
            if self.keep[place]:
                parts.append(text[last:start] + self.changed.get(place, text[start:end]))
            last = end
        return "".join(parts).strip()

    def _capitalize(self, surfaces: Sequence[str]) -> dict[int, str]:
        """The new first words of sentences, by place, capitalized if the removed ones were."""
        changed = {}
        for sentence in split_sentences(self.tokens):
            whole = range(sentence[0].start, sentence[-1].end)
            words = [place for place in whole if WORD_PATTERN.search(surfaces[place])]
            kept = next((place for place in words if self.keep[place]), None)
            if kept is not None and kept != words[0] and surfaces[words[0]][0].isupper():
                changed[kept] = surfaces[kept][0].upper() + surfaces[kept][1:]
        return changed


def _placeholder_to_word(token: str, named_slots: frozenset[str]) -> str:
    """Replace a placeholder by its name if its value is an everyday word and no act names it."""
    name = NUMBER_SUFFIX.sub("", token[1:-1])
    slot = name.partition("_")[2]
    return name if slot in EVERYDAY_SLOTS and slot not in named_slots else token
