"""What is left out of a text, by how much its clauses belong there; see `belonging`."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

FEW_ROWS, MANY_ROWS = 800, 7000
"""Rows up to which little can be told, and from which on the bound stays as it is."""

MIN_BOUND, MAX_BOUND = 3.0, 6.5
"""Belonging below which a clause is left out of a corpus of `FEW_ROWS` rows, and of `MANY_ROWS`.

With fewer rows a part that belongs is seen less often, and looks more like one that does not. Both
were chosen on MultiWOZ 2.1's validation dialogues and parts of them (benchmarks/belonging.py).
"""

ADJACENT_RAISE = 0.3
"""What the bound is raised by, as a share of it, for a clause beside another that is left out."""

MAX_REMOVED_SHARE = 0.5
"""Share of a sentence without values from which on the rest goes with what is left out of it."""

MAX_EDGE_WORDS = 12
"""Words of a part that is looked for at the edges of a clause that no mark sets off."""


TOKEN_PATTERN = re.compile(
    r"\[\w+\]|[^\W\d_]+(?:[-'\u2019][^\W\d_]+)*|['\u2019][^\W\d_]+|\d+(?:[:.,]\d+)*|\S"
)
WORD_PATTERN = re.compile(r"[^\W\d_]|['\u2019]\w")
VALUE_PATTERN = re.compile(r"\[\w+\]|\d")
EVERYDAY_SLOTS = frozenset({"area", "fee", "food", "pricerange", "type"})
"""Slots whose values are everyday words: ``cheap``, ``north``. Where the acts name none of them,
they are no value that may not be lost, but words such as one may have put in."""

NUMBER_SUFFIX = re.compile(r"_\d+$")
SENTENCE_ENDS, PAUSE_MARKS = frozenset(".?!"), frozenset(",;:")


class Clause(NamedTuple):
    """Tokens up to a comma or an end, these included."""

    start: int
    end: int


def split_tokens(text: str) -> list[str]:
    """Return the words, placeholders, numbers and marks of a text in lower case."""
    return [token.lower() for token in TOKEN_PATTERN.findall(text)]


def split_clauses(tokens: Sequence[str]) -> Iterator[Clause]:
    """Yield the clauses of a text in order."""
    start, ended = 0, False
    for place, token in enumerate(tokens):
        mark = token in SENTENCE_ENDS or token in PAUSE_MARKS
        if ended and not mark:
            yield Clause(start, place)
            start = place
        ended = mark
    if start < len(tokens):
        yield Clause(start, len(tokens))


def split_sentences(tokens: Sequence[str]) -> Iterator[list[Clause]]:
    """Yield the clauses of each sentence of a text."""
    some: list[Clause] = []
    for clause in split_clauses(tokens):
        some.append(clause)
        if tokens[clause.end - 1] in SENTENCE_ENDS:
            yield some
            some = []
    if some:
        yield some


def normalize_span(tokens: Sequence[str]) -> str:
    """Return the words of a part, without its marks."""
    return " ".join(
        token for token in tokens if WORD_PATTERN.match(token) or VALUE_PATTERN.match(token)
    )


class DialogueNgrams:
    """How often words were said last, and tokens followed one another in responses."""

    def __init__(self, said: Sequence[str], spoken: Sequence[list[str]]) -> None:
        self.said = Counter(word for text in said for word in set(split_tokens(text)))
        self.ngram_counts: Counter[tuple[str, ...]] = Counter()
        for tokens in spoken:
            line = ["", *tokens, ""]
            self.ngram_counts.update(pairwise(line))
            self.ngram_counts.update(zip(line, line[1:], line[2:], strict=False))
        self.rows = len(spoken)

    def count_rarest_word(self, name: str) -> float:
        """Return in how many of `MANY_ROWS` rows that word of a name was said which was said least."""
        least = min((self.said[word] for word in name.split()), default=0)
        return least * min(1.0, MANY_ROWS / self.rows)

    @property
    def bound(self) -> float:
        """Return the belonging below which a clause is left out."""
        part = math.log(max(self.rows, 1) / FEW_ROWS) / math.log(MANY_ROWS / FEW_ROWS)
        return MIN_BOUND + (MAX_BOUND - MIN_BOUND) * min(max(part, 0.0), 1.0) ** 2


class SpanScores(NamedTuple):
    """How much parts belong by themselves, and with what the company of their words tells."""

    own: dict[str, float]
    among: dict[str, float]


class ClauseRemover:
    """A text's tokens, and which of them are kept.

    In ``plain`` placeholders that may be left out stand as words.
    """

    def __init__(
        self,
        tokens: list[str],
        strange: frozenset[str],
        spoken: DialogueNgrams,
        named: frozenset[str] | None = None,
    ) -> None:
        self.tokens, self.irrelevant_words, self.ngram_counts = tokens, strange, spoken.ngram_counts
        self.plain = (
            tokens
            if named is None
            else [
                _placeholder_to_word(token, named) if token[0] == "[" else token for token in tokens
            ]
        )
        self.bound = spoken.bound
        self.keep = np.ones(len(tokens), np.bool_)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield the names of clauses without values, each with that which it is judged by."""
        for clause in split_clauses(self.tokens):
            name = self.name(clause)
            if name and not VALUE_PATTERN.search(name):
                yield name, self.without(clause)

    def name(self, clause: Clause) -> str:
        """Return the name of a clause, empty where it has no words."""
        return normalize_span(self.plain[clause.start : clause.end])

    def without(self, clause: Clause) -> str:
        """Return the name of a clause without its strange words, or with them if they are much."""
        if self.irrelevant_words.isdisjoint(self.tokens[clause.start : clause.end]):
            return self.name(clause)
        gone = {place for start, end in self.runs(clause) for place in range(start, end)}
        words = [place for place in range(*clause) if WORD_PATTERN.match(self.plain[place])]
        if 3 * len(gone) >= len(words):
            return self.name(clause)
        return normalize_span([self.plain[place] for place in range(*clause) if place not in gone])

    def runs(self, clause: Clause) -> Iterator[Clause]:
        """Yield runs of strange words whose neighbours follow one another elsewhere."""
        place = clause.start
        while place < clause.end:
            end = place
            while end < clause.end and self.tokens[end] in self.irrelevant_words:
                end += 1
            if end > place and self.ngram_counts[self._at(place - 1), self._at(end)] >= 2:
                yield Clause(place, end)
            place = max(end, place + 1)

    def cut(self, text: str, values: SpanScores) -> str | None:
        """Return the text without what does not belong, or None if nothing would be left."""
        for sentence in split_sentences(self.tokens):
            clauses = [clause for clause in sentence if self.name(clause)]
            gone = self._find_irrelevant(clauses, values.among, self.bound)
            free = not any(VALUE_PATTERN.search(self.name(clause)) for clause in clauses)
            if gone and free:
                gone += self._find_irrelevant(
                    clauses, values.own, self.bound * (1 + ADJACENT_RAISE)
                )
            for clause in clauses:
                self._remove([clause] if clause in gone else self.runs(clause))
                self._remove(self._find_irrelevant_edges(clause, values.own))
            if free:
                self._remove(self._find_remnant(sentence))
        if self.keep.all():
            return text
        self._fix_punctuation()
        left = (self.tokens[place] for place in np.flatnonzero(self.keep).tolist())
        if not any(WORD_PATTERN.match(token) or VALUE_PATTERN.match(token) for token in left):
            return None
        return self._join_tokens(text)

    def _remove(self, parts: Iterable[Clause]) -> None:
        for start, end in parts:
            self.keep[start:end] = False

    def _find_remnant(self, sentence: list[Clause]) -> Iterator[Clause]:
        """Yield a whole sentence of which most is left out."""
        whole = range(sentence[0].start, sentence[-1].end)
        kept = [bool(self.keep[at]) for at in whole if WORD_PATTERN.match(self.plain[at])]
        if kept and kept.count(False) >= MAX_REMOVED_SHARE * len(kept):
            yield Clause(whole.start, whole.stop)

    def _find_irrelevant(
        self, clauses: list[Clause], values: dict[str, float], bound: float
    ) -> list[Clause]:
        """Return the clauses that do not belong; those with a value always do."""
        plain = [clause for clause in clauses if not VALUE_PATTERN.search(self.name(clause))]
        return [clause for clause in plain if values[self.without(clause)] < bound]

    def _find_irrelevant_edges(self, clause: Clause, values: dict[str, float]) -> Iterator[Clause]:
        """Yield the longest known part at each edge that has strange words and does not belong."""
        start, end = clause
        while end > start and not WORD_PATTERN.match(self.plain[end - 1]):
            end -= 1
        sizes = range(min(MAX_EDGE_WORDS, end - start - 1), 1, -1)
        for edges in ([(start, start + n) for n in sizes], [(end - n, end) for n in sizes]):
            for first, last in edges:
                some = self.plain[first:last]
                if self.irrelevant_words.isdisjoint(some) or VALUE_PATTERN.search(
                    normalize_span(some)
                ):
                    continue
                if values.get(normalize_span(some), self.bound) < self.bound:
                    yield Clause(first, last)
                    break

    def _fix_punctuation(self) -> None:
        """Leave out commas that only set off what is gone, or let an end of it stand for them."""
        for place in np.flatnonzero(self.keep[:-1] & ~self.keep[1:]).tolist():
            if self.tokens[place] not in PAUSE_MARKS:
                continue
            later = np.flatnonzero(self.keep[place + 1 :])
            after = place + 1 + int(later[0]) if len(later) else len(self.tokens)
            before, mark, then = self._at(place - 1), self.tokens[place], self._at(after)
            if self.tokens[after - 1] in SENTENCE_ENDS:
                self.keep[place], self.keep[after - 1] = False, True
            elif self.ngram_counts[before, then] > self.ngram_counts[before, mark, then]:
                self.keep[place] = False

    def _at(self, place: int) -> str:
        return self.tokens[place] if 0 <= place < len(self.tokens) else ""

    def _join_tokens(self, text: str) -> str:
        """Return what is kept of a text, each token with the space before it."""
        found, last = [], 0
        for kept, match in zip(self.keep.tolist(), TOKEN_PATTERN.finditer(text), strict=True):
            if kept:
                found.append(text[last : match.end()])
            last = match.end()
        return "".join(found).strip()


def _placeholder_to_word(token: str, named: frozenset[str]) -> str:
    """Return a placeholder's name as a word, if its value is one and no act names its slot."""
    name = NUMBER_SUFFIX.sub("", token[1:-1])
    slot = name.partition("_")[2]
    return name if slot in EVERYDAY_SLOTS and slot not in named else token
