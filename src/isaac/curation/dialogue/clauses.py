"""What is left out of a text, by how much its clauses belong there; see `belonging`."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

FEW, MANY = 800, 7000
"""Rows up to which little can be told, and from which on the bound stays as it is."""

LEAST, BELONGS = 3.0, 6.5
"""Belonging below which a clause is left out of a corpus of `FEW` rows, and of `MANY`.

With fewer rows a part that belongs is seen less often, and looks more like one that does not. Both
were chosen on MultiWOZ 2.1's validation dialogues and parts of them (benchmarks/belonging.py).
"""

BESIDE = 0.3
"""What the bound is raised by, as a share of it, for a clause beside another that is left out."""

MOST = 0.5
"""Share of a sentence without values from which on the rest goes with what is left out of it."""

LONGEST = 12
"""Words of a part that is looked for at the edges of a clause that no mark sets off."""


TOKEN = re.compile(
    r"\[\w+\]|[^\W\d_]+(?:[-'\u2019][^\W\d_]+)*|['\u2019][^\W\d_]+|\d+(?:[:.,]\d+)*|\S"
)
WORD = re.compile(r"[^\W\d_]|['\u2019]\w")
VALUE = re.compile(r"\[\w+\]|\d")
EVERYDAY = frozenset({"area", "fee", "food", "pricerange", "type"})
"""Slots whose values are everyday words: ``cheap``, ``north``. Where the acts name none of them,
they are no value that may not be lost, but words such as one may have put in."""

NUMBER = re.compile(r"_\d+$")
ENDS, PAUSES = frozenset(".?!"), frozenset(",;:")


class Clause(NamedTuple):
    """Tokens up to a comma or an end, these included."""

    start: int
    end: int


def tokens_of(text: str) -> list[str]:
    """Return the words, placeholders, numbers and marks of a text in lower case."""
    return [token.lower() for token in TOKEN.findall(text)]


def clauses_of(tokens: Sequence[str]) -> Iterator[Clause]:
    """Yield the clauses of a text in order."""
    start, ended = 0, False
    for place, token in enumerate(tokens):
        mark = token in ENDS or token in PAUSES
        if ended and not mark:
            yield Clause(start, place)
            start = place
        ended = mark
    if start < len(tokens):
        yield Clause(start, len(tokens))


def sentences_of(tokens: Sequence[str]) -> Iterator[list[Clause]]:
    """Yield the clauses of each sentence of a text."""
    some: list[Clause] = []
    for clause in clauses_of(tokens):
        some.append(clause)
        if tokens[clause.end - 1] in ENDS:
            yield some
            some = []
    if some:
        yield some


def name_of(tokens: Sequence[str]) -> str:
    """Return the words of a part, without its marks."""
    return " ".join(token for token in tokens if WORD.match(token) or VALUE.match(token))


class Spoken:
    """How often words were said last, and tokens followed one another in responses."""

    def __init__(self, said: Sequence[str], spoken: Sequence[list[str]]) -> None:
        self.said = Counter(word for text in said for word in set(tokens_of(text)))
        self.follows: Counter[tuple[str, ...]] = Counter()
        for tokens in spoken:
            line = ["", *tokens, ""]
            self.follows.update(pairwise(line))
            self.follows.update(zip(line, line[1:], line[2:], strict=False))
        self.rows = len(spoken)

    def rarest(self, name: str) -> float:
        """Return in how many of `MANY` rows that word of a name was said which was said least."""
        least = min((self.said[word] for word in name.split()), default=0)
        return least * min(1.0, MANY / self.rows)

    @property
    def bound(self) -> float:
        """Return the belonging below which a clause is left out."""
        part = math.log(max(self.rows, 1) / FEW) / math.log(MANY / FEW)
        return LEAST + (BELONGS - LEAST) * min(max(part, 0.0), 1.0) ** 2


class Values(NamedTuple):
    """How much parts belong by themselves, and with what the company of their words tells."""

    own: dict[str, float]
    among: dict[str, float]


class Cutter:
    """A text's tokens, and which of them are kept.

    In ``plain`` placeholders that may be left out stand as words.
    """

    def __init__(
        self,
        tokens: list[str],
        strange: frozenset[str],
        spoken: Spoken,
        named: frozenset[str] | None = None,
    ) -> None:
        self.tokens, self.strange, self.follows = tokens, strange, spoken.follows
        self.plain = (
            tokens
            if named is None
            else [_worded(token, named) if token[0] == "[" else token for token in tokens]
        )
        self.bound = spoken.bound
        self.keep = np.ones(len(tokens), np.bool_)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield the names of clauses without values, each with that which it is judged by."""
        for clause in clauses_of(self.tokens):
            name = self.name(clause)
            if name and not VALUE.search(name):
                yield name, self.without(clause)

    def name(self, clause: Clause) -> str:
        """Return the name of a clause, empty where it has no words."""
        return name_of(self.plain[clause.start : clause.end])

    def without(self, clause: Clause) -> str:
        """Return the name of a clause without its strange words, or with them if they are much."""
        if self.strange.isdisjoint(self.tokens[clause.start : clause.end]):
            return self.name(clause)
        gone = {place for start, end in self.runs(clause) for place in range(start, end)}
        words = [place for place in range(*clause) if WORD.match(self.plain[place])]
        if 3 * len(gone) >= len(words):
            return self.name(clause)
        return name_of([self.plain[place] for place in range(*clause) if place not in gone])

    def runs(self, clause: Clause) -> Iterator[Clause]:
        """Yield runs of strange words whose neighbours follow one another elsewhere."""
        place = clause.start
        while place < clause.end:
            end = place
            while end < clause.end and self.tokens[end] in self.strange:
                end += 1
            if end > place and self.follows[self._at(place - 1), self._at(end)] >= 2:
                yield Clause(place, end)
            place = max(end, place + 1)

    def cut(self, text: str, values: Values) -> str | None:
        """Return the text without what does not belong, or None if nothing would be left."""
        for sentence in sentences_of(self.tokens):
            clauses = [clause for clause in sentence if self.name(clause)]
            gone = self._foreign(clauses, values.among, self.bound)
            free = not any(VALUE.search(self.name(clause)) for clause in clauses)
            if gone and free:
                gone += self._foreign(clauses, values.own, self.bound * (1 + BESIDE))
            for clause in clauses:
                self._drop([clause] if clause in gone else self.runs(clause))
                self._drop(self._edges(clause, values.own))
            if free:
                self._drop(self._remnant(sentence))
        if self.keep.all():
            return text
        self._mend()
        left = (self.tokens[place] for place in np.flatnonzero(self.keep).tolist())
        if not any(WORD.match(token) or VALUE.match(token) for token in left):
            return None
        return self._joined(text)

    def _drop(self, parts: Iterable[Clause]) -> None:
        for start, end in parts:
            self.keep[start:end] = False

    def _remnant(self, sentence: list[Clause]) -> Iterator[Clause]:
        """Yield a whole sentence of which most is left out."""
        whole = range(sentence[0].start, sentence[-1].end)
        kept = [bool(self.keep[at]) for at in whole if WORD.match(self.plain[at])]
        if kept and kept.count(False) >= MOST * len(kept):
            yield Clause(whole.start, whole.stop)

    def _foreign(
        self, clauses: list[Clause], values: dict[str, float], bound: float
    ) -> list[Clause]:
        """Return the clauses that do not belong; those with a value always do."""
        plain = [clause for clause in clauses if not VALUE.search(self.name(clause))]
        return [clause for clause in plain if values[self.without(clause)] < bound]

    def _edges(self, clause: Clause, values: dict[str, float]) -> Iterator[Clause]:
        """Yield the longest known part at each edge that has strange words and does not belong."""
        start, end = clause
        while end > start and not WORD.match(self.plain[end - 1]):
            end -= 1
        sizes = range(min(LONGEST, end - start - 1), 1, -1)
        for edges in ([(start, start + n) for n in sizes], [(end - n, end) for n in sizes]):
            for first, last in edges:
                some = self.plain[first:last]
                if self.strange.isdisjoint(some) or VALUE.search(name_of(some)):
                    continue
                if values.get(name_of(some), self.bound) < self.bound:
                    yield Clause(first, last)
                    break

    def _mend(self) -> None:
        """Leave out commas that only set off what is gone, or let an end of it stand for them."""
        for place in np.flatnonzero(self.keep[:-1] & ~self.keep[1:]).tolist():
            if self.tokens[place] not in PAUSES:
                continue
            later = np.flatnonzero(self.keep[place + 1 :])
            after = place + 1 + int(later[0]) if len(later) else len(self.tokens)
            before, mark, then = self._at(place - 1), self.tokens[place], self._at(after)
            if self.tokens[after - 1] in ENDS:
                self.keep[place], self.keep[after - 1] = False, True
            elif self.follows[before, then] > self.follows[before, mark, then]:
                self.keep[place] = False

    def _at(self, place: int) -> str:
        return self.tokens[place] if 0 <= place < len(self.tokens) else ""

    def _joined(self, text: str) -> str:
        """Return what is kept of a text, each token with the space before it."""
        found, last = [], 0
        for kept, match in zip(self.keep.tolist(), TOKEN.finditer(text), strict=True):
            if kept:
                found.append(text[last : match.end()])
            last = match.end()
        return "".join(found).strip()


def _worded(token: str, named: frozenset[str]) -> str:
    """Return a placeholder's name as a word, if its value is one and no act names its slot."""
    name = NUMBER.sub("", token[1:-1])
    slot = name.partition("_")[2]
    return name if slot in EVERYDAY and slot not in named else token
