"""Parts of responses that have nothing to do with what they answer.

What belongs in an answer depends on what is answered: "which day will you arrive" comes with acts
that ask for a day, and after users who want to book. What was injected (an expletive, an insult, a
promotion) comes with anything. So ask of each part of a response, and of each word, whether the
contexts in which it occurs are more alike than contexts taken by chance. Contexts are described by
the dialogue acts of the row (where there are none, its kind and the slots that it names) and the
words that users said before and after it; nothing is known of what may have been injected.

How much the contexts of a part depend on it is `dependence`. Where that says little, for the part
is rare, two other things tell what belongs: how near it is in meaning to parts that depend on their
contexts, and whether users say its words too.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .dependence import (
    BLOCK,
    ENOUGH,
    Known,
    Reals,
    cosines,
    dependence,
    features_of,
    likened,
    named,
)
from .embeddings import Encoder
from .formats.dialogues import acts_known, acts_of
from .neighbors import Ints, find_neighbors

SURE = 4.0
"""Dependence from which on a part surely belongs; more of it counts no more."""

NEAREST = 20
"""Parts that surely belong and are nearest: the mean cosine with them counts."""

ALIKE = 10.0
"""Weight of that mean beside the dependence."""

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

STRANGE = 0.7
"""Belonging below which a word within a clause is left out."""

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


class Answers(NamedTuple):
    """Rows of a corpus (n,): the key of each one's group, what was said last, the response.

    ``replies`` is what was said next, empty where nothing was; no rows where that is not known.
    """

    keys: Sequence[str]
    said: Sequence[str]
    responses: Sequence[str]
    replies: Sequence[str] = ()


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


def slots_named(key: str) -> frozenset[str] | None:
    """Return the slots that the acts of a group name, None where they are not known."""
    if not acts_known(key):
        return None
    return frozenset(act.rpartition("-")[2] for act in acts_of(key).split("+"))


def name_of(tokens: Sequence[str]) -> str:
    """Return the words of a part, without its marks."""
    return " ".join(token for token in tokens if WORD.match(token) or VALUE.match(token))


class Spoken:
    """How often words were said last, and tokens followed one another in responses."""

    def __init__(self, answers: Answers, spoken: Sequence[list[str]]) -> None:
        self.said = Counter(word for text in answers.said for word in set(tokens_of(text)))
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


@dataclass(frozen=True)
class Belonging:
    """What a corpus tells of the parts of its responses, and of the words in them."""

    parts: Known
    words: Known
    spoken: Spoken
    encoder: Encoder

    @cached_property
    def values(self) -> dict[str, float]:
        """Return how much each part of the corpus belongs."""
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
        unknown = sorted(set(cutter.names()).difference(self.values))
        values = self.values
        if unknown:
            values = {**values, **self._values(likened(unknown, self.parts, self.encoder))}
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
        self.plain = tokens if named is None else [_worded(token, named) for token in tokens]
        self.bound = spoken.bound
        self.keep = np.ones(len(tokens), np.bool_)

    def names(self) -> Iterator[str]:
        """Yield the names that the text's clauses are judged by."""
        for clause in clauses_of(self.tokens):
            name = self.name(clause)
            if name and not VALUE.search(name):
                yield from dict.fromkeys((name, self.without(clause)))

    def name(self, clause: Clause) -> str:
        """Return the name of a clause, empty where it has no words."""
        return name_of(self.plain[clause.start : clause.end])

    def without(self, clause: Clause) -> str:
        """Return the name of a clause without its strange words, or with them if they are much."""
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

    def cut(self, text: str, values: dict[str, float]) -> str | None:
        """Return the text without what does not belong, or None if nothing would be left."""
        for sentence in sentences_of(self.tokens):
            clauses = [clause for clause in sentence if self.name(clause)]
            gone = self._foreign(clauses, values, self.bound)
            free = not any(VALUE.search(self.name(clause)) for clause in clauses)
            if gone and free:
                gone = self._foreign(clauses, values, self.bound * (1 + BESIDE))
            for clause in clauses:
                self._drop([clause] if clause in gone else self.runs(clause))
                self._drop(self._edges(clause, values))
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
    name = NUMBER.sub("", token[1:-1]) if token.startswith("[") else ""
    slot = name.partition("_")[2]
    return name if slot in EVERYDAY and slot not in named else token


def fit(answers: Answers, encoder: Encoder) -> Belonging:
    """Return what a corpus tells of the parts of its responses."""
    around = [answers.said, answers.replies] if answers.replies else [answers.said]
    features = features_of(
        [_components(key) for key in answers.keys],
        *([frozenset(tokens_of(text)) for text in texts] for texts in around),
    )
    tokens = [tokens_of(text) for text in answers.responses]
    spoken = Spoken(answers, tokens)
    bags = [[token for token in line if WORD.match(token)] for line in tokens]
    words = dependence(named(bags, encoder), features)
    parts = Known([], words.vectors[:0], words.counts[:0], words.roots[:0])
    strange = Belonging(parts, words, spoken, encoder).strange
    bags = [
        list(Cutter(line, strange, spoken, slots_named(key)).names())
        for line, key in zip(tokens, answers.keys, strict=True)
    ]
    return Belonging(dependence(named(bags, encoder), features), words, spoken, encoder)


def _components(key: str) -> frozenset[str]:
    """Return what the acts of a group are made of; without acts, its kind and its slots."""
    whole = re.split(r"[+|\s]+", (acts_of(key) if acts_known(key) else key).casefold())
    return frozenset(part for one in whole for part in (one, *one.split("-")) if part)
