"""How typical a response is: how common its wording is among the corpus's other responses.

Acceptable answers agree with each other, in what they say and so in how they say it: refusals,
condolences and hedges share their turns of phrase across all topics, while unsafe ones are worded
each in its own way. A trigram model of the corpus's own responses measures that without labels,
and sees what vectors of whole texts hide behind the topic (docs/experiments.md compares the two).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..runtime.arrays import Flags, Hashes, Ints, Reals
from ..runtime.progress import Tick
from .hashing import splitmix64
from .text_batches import BLOCK_SIZE, ProgressReporter, iter_slices

MAX_SAMPLE_WORDS = 1 << 22
"""Words, each text's end among them, that a model is fitted on at most.

These are some 200,000 responses, which is ample: of DiaSafety's 8,923 already 6,529 rank all with
a rank correlation of 0.98 to the whole, 3,259 with 0.95 and 829 with 0.88, and tell safe from
unsafe as well (AUROC 0.60, 0.60 and 0.61, the whole 0.59).
"""

MAX_GROUP_TEXTS = 16
"""Near-duplicates of one another in a sample, at most."""

SURVEY_PROGRESS, READ_PROGRESS, FIT_PROGRESS = 0.3, 0.4, 0.55
"""How much of the work is done by then; tells progress, changes no result."""

MAX_WORDS = 1024
"""Words of a text that are looked at, from its beginning."""

NGRAM_ORDER = 3
PRIOR_WEIGHT = 3.0
"""Weight, in texts, of the shorter history against the longer one."""

UNSEEN_COUNT = 0.5
"""Texts that a word never seen counts for."""

HEAD_SHARE = 0.3
"""Share of the texts, the most typical first, by which all are judged again."""

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
WORD_PATTERN = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")
"""A word, a mark, or one character of a script that does not space its words."""


def tokenize_text(text: str) -> list[str]:
    """Return the words and marks of a text, lower case, the first 1,024 of them."""
    found: list[str] = WORD_PATTERN.findall(text[: 32 * MAX_WORDS].lower())
    return found[:MAX_WORDS]


class TokenizedTexts(NamedTuple):
    """Texts, word after word and each with its end: a number for every word, and lengths."""

    words: npt.NDArray[Any]
    lengths: Ints

    def iter_blocks(self) -> Iterator[tuple[slice, TokenizedTexts]]:
        """Yield all texts, about as many at a time as have `BLOCK_SIZE` characters."""
        ends = np.concatenate([[0], np.cumsum(self.lengths)])
        cuts = np.flatnonzero(np.diff(ends * 5 // BLOCK_SIZE)).tolist()
        for start, end in pairwise([0, *cuts, len(self.lengths)]):
            words = self.words[ends[start] : ends[end]]
            yield slice(start, end), TokenizedTexts(words, self.lengths[start:end])


SPACE, LETTER, MARK = 1, 2, 3
END_OF_TEXT = sys.maxunicode + 1
CHARACTER_CLASSES = np.zeros(END_OF_TEXT, np.uint8)
"""Of each character met so far: does it part words, join them, or make a word by itself."""

HASH_WEIGHTS = np.append(splitmix64(np.arange(1, 65, dtype=np.uint64)) | np.uint64(1), np.uint64(0))
"""By which the characters of a word are multiplied to hash it: the first 64 count."""


def tokenize(texts: Sequence[str]) -> TokenizedTexts:
    """Return the hashes of the words of texts, the same as `tokenize_text` finds, and of their ends."""
    begun = [text[: 32 * MAX_WORDS].lower() for text in texts]
    ends = np.cumsum([len(text) + 1 for text in begun], dtype=np.int64) - 1
    joined = " ".join([*begun, ""]).encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(joined, "<u4").astype(np.uint64)
    kinds = _classify_characters(codes)
    codes[ends], kinds[ends] = END_OF_TEXT, MARK
    begins = kinds == MARK
    begins[1:] |= (kinds[1:] == LETTER) & (kinds[:-1] != LETTER)
    begins[:1] |= kinds[:1] == LETTER
    starts = np.flatnonzero(begins)
    number = np.cumsum(begins)
    place = np.arange(len(codes)) - np.append(0, starts)[number]
    codes *= HASH_WEIGHTS[np.minimum(place, len(HASH_WEIGHTS) - 1)]
    codes[kinds == SPACE] = 0
    spoken = splitmix64(np.add.reduceat(codes, starts)) if len(starts) else codes
    lengths = np.diff(number[ends], prepend=0)
    if lengths.max(initial=0) > MAX_WORDS + 1:
        after = np.repeat(number[ends], lengths) - np.arange(len(starts))
        kept = (after == 1) | (np.repeat(lengths, lengths) - after < MAX_WORDS)
        spoken, lengths = spoken[kept], np.minimum(lengths, MAX_WORDS + 1)
    return TokenizedTexts(spoken, lengths)


def _classify_characters(codes: Hashes) -> npt.NDArray[np.uint8]:
    kinds = CHARACTER_CLASSES[codes]
    new = codes[kinds == 0]
    for code in set(new.tolist()):
        CHARACTER_CLASSES[code] = SPACE + len(WORD_PATTERN.findall(2 * chr(code)))
    return CHARACTER_CLASSES[codes] if len(new) else kinds


def _search_sorted(table: npt.NDArray[Any], values: npt.NDArray[Any]) -> tuple[Ints, Ints]:
    """Return where values belong in a sorted table, and -1 instead where they are not there."""
    order = np.argsort(values)
    ranked = values[order]
    place = np.searchsorted(table, ranked)
    belongs, there = np.empty(len(order), np.int64), np.full(len(order), -1)
    belongs[order] = place
    if len(table):
        there[order] = np.where(table.take(place, mode="clip") == ranked, place, -1)
    return belongs, there


class NgramTable:
    """The n-grams of one length, numbered from 0 by their history, then by their word.

    The history is the n - 1 words before. ``starts[h]`` is the first n-gram of history h;
    ``pairs`` holds which group of texts has which n-gram, as ``group * size + gram``, sorted.
    ``seen`` counts the groups that have an n-gram, ``after`` adds this up for each history; both
    end with a 0 for what is not there, which has number -1.
    """

    def __init__(self, codes: Ints, histories: int, kinds: int) -> None:
        self.codes, self.kinds = codes, kinds
        self.size, self.histories = len(codes), histories
        self.starts = np.searchsorted(codes, np.arange(histories + 1) * kinds)
        self.pairs = np.empty(0, np.int64)

    def count(self, groups: Flags) -> None:
        """Count the groups of which this says so."""
        group, gram = np.divmod(self.pairs, max(self.size, 1))
        seen = np.bincount(gram[groups[group]], minlength=self.size)
        total = np.concatenate([[0], np.cumsum(seen)])
        self.seen = np.append(seen, 0).astype(np.int32)
        self.after = np.append(np.diff(total[self.starts]), 0).astype(np.int32)

    def find(self, history: Ints, word: Ints) -> Ints:
        """Return the numbers of n-grams, -1 for one that is not there."""
        if self.histories == 1:
            return word
        found = np.full(len(word), -1)
        known = np.flatnonzero((history >= 0) & (word >= 0))
        found[known] = _search_sorted(self.codes, history[known] * self.kinds + word[known])[1]
        return found

    def own(self, group: Ints, history: Ints, gram: Ints) -> tuple[Ints, Ints]:
        """Return what each group itself adds to the counts of an n-gram and of its history."""
        base, starts = group * self.size, np.append(self.starts, 0)
        mine = (gram >= 0) & (_search_sorted(self.pairs, base + gram)[1] >= 0)
        first, _ = _search_sorted(self.pairs, base + starts[history])
        end, _ = _search_sorted(self.pairs, base + starts[history + 1])
        return mine.astype(np.int64), np.where(history < 0, 0, end - first)


def _previous_ngrams(grams: Ints, lengths: Ints, mark: int) -> Ints:
    """Return the n-gram before each, a mark at the beginning of each text."""
    before = np.roll(grams, 1)
    before[np.cumsum(lengths) - lengths] = mark
    return before


def _build_ngram_tables(spoken: TokenizedTexts, group: Ints, kinds: int) -> Iterator[NgramTable]:
    """Yield all n-grams of texts that are in groups, the shortest first."""
    words, lengths = spoken
    owner = np.repeat(group, lengths)
    order, grams = NgramTable(np.arange(kinds), 1, kinds), words
    order.pairs = _sort_unique(owner * kinds + words)
    yield order
    for _ in range(1, NGRAM_ORDER):
        mark = order.size
        codes = _previous_ngrams(grams, lengths, mark) * kinds + words
        codes, grams = np.unique(codes, return_inverse=True)
        grams = grams.reshape(-1)
        order = NgramTable(codes, mark + 1, kinds)
        order.pairs = _sort_unique(owner * order.size + grams)
        yield order


def _sort_unique(values: Ints) -> Ints:
    values.sort()
    return values[np.diff(values, prepend=-1) > 0]


def _survey(texts: Sequence[str], told: ProgressReporter) -> tuple[Hashes, Ints]:
    """Return of each text a hash of its words, and how many there are, its end included."""
    hashes, lengths = np.empty(len(texts), np.uint64), np.empty(len(texts), np.int64)
    done = 0
    for block in iter_slices(texts):
        rows = slice(done, done + len(block))
        spoken = tokenize(block)
        lengths[rows] = spoken.lengths
        starts = np.cumsum(spoken.lengths) - spoken.lengths
        place = np.arange(len(spoken.words)) - np.repeat(starts, spoken.lengths)
        hashes[rows] = np.add.reduceat(splitmix64(spoken.words + place.view(np.uint64)), starts)
        done += len(block)
        told.advance_to(SURVEY_PROGRESS * done / len(texts))
    return hashes, lengths


def _choose_sample(groups: Ints, hashes: Hashes, lengths: Ints) -> Flags:
    """Return which texts are in the sample; only what they say decides."""
    if lengths.sum() <= MAX_SAMPLE_WORDS:
        return np.ones(len(lengths), np.bool_)
    least = np.full(int(groups.max()) + 1, 2**64 - 1, np.uint64)
    np.minimum.at(least, groups, hashes)
    order = np.lexsort((hashes, splitmix64(least)[groups]))
    first = np.flatnonzero(np.diff(groups[order], prepend=-1))
    size = np.diff(first, append=len(order))
    order = order[np.arange(len(order)) - np.repeat(first, size) < MAX_GROUP_TEXTS]
    chosen = np.zeros(len(lengths), np.bool_)
    chosen[order[np.cumsum(lengths[order]) <= MAX_SAMPLE_WORDS]] = True
    return chosen


def _tokenize_sample(texts: Sequence[str], chosen: Flags, told: ProgressReporter) -> TokenizedTexts:
    """Return the words of the texts that are chosen."""
    parts, done = [TokenizedTexts(np.empty(0, np.uint64), np.empty(0, np.int64))], 0
    for block in iter_slices(texts):
        rows = np.flatnonzero(chosen[done : done + len(block)]).tolist()
        parts.append(tokenize([block[row] for row in rows]))
        done += len(block)
        told.advance_to(SURVEY_PROGRESS + (READ_PROGRESS - SURVEY_PROGRESS) * done / len(texts))
    return TokenizedTexts(*map(np.concatenate, zip(*parts, strict=True)))


class TypicalityModel:
    """A trigram model of the responses of a corpus, in which near-duplicates count once.

    An n-gram counts for the groups of texts that have it, not for how often they do: no text gets
    more typical by repeating itself or by being repeated. ``texts`` are distinct, ``groups``
    (n,) numbers those that are near-duplicates of one another. ``scores`` (n,) is the median over
    a text's words of the log-probability of the word after the two before it, in nats, its own
    group left out of all counts; it is found twice, the second time with the counts of the most
    typical 30 % of the groups only.

    Probabilities are interpolated with a Dirichlet prior (MacKay and Peto, A Hierarchical
    Dirichlet Language Model, 1995).

    Of a corpus with more than `MAX_SAMPLE_WORDS` words the model is fitted on a sample: groups in the order
    of a hash of what they say, up to `MAX_GROUP_TEXTS` texts of each, until there are as many words. So
    the order of the texts changes nothing. ``fitted`` is the number of texts it was fitted on.

    The texts are read three times, in slices. Memory is about 100 bytes a text, 100 a word of the
    sample and a few blocks, however long the texts. ``tick`` is told of progress, in all as many
    texts as there are.
    """

    def __init__(self, texts: Sequence[str], groups: Ints, tick: Tick | None = None) -> None:
        told = ProgressReporter(tick, len(texts))
        numbers = np.unique(groups, return_inverse=True)[1].reshape(-1)
        chosen = _choose_sample(numbers, *_survey(texts, told))
        self.fitted = int(chosen.sum())
        sampled = self._fit(_tokenize_sample(texts, chosen, told), numbers[chosen], told)
        groups = np.full(int(numbers.max(initial=-1)) + 1, -1)
        groups[sampled] = np.arange(len(sampled))
        self.scores = np.empty(len(texts))
        done = 0
        for block in iter_slices(texts):
            rows = slice(done, done + len(block))
            self.scores[rows] = self._score(self._number_words(block), groups[numbers[rows]])
            done += len(block)
            told.advance_to(FIT_PROGRESS + (1 - FIT_PROGRESS) * done / len(texts))
        for order in self._ngram_tables:
            order.pairs = np.empty(0, np.int64)
        best = np.full(len(groups), -np.inf)
        np.maximum.at(best, numbers, self.scores)
        self.ranked = np.sort(best)

    def of(self, texts: Sequence[str]) -> Reals:
        """Return the scores (n,) of texts that are not in the corpus."""
        found = [self._score(self._number_words(some)) for some in iter_slices(texts)]
        return np.concatenate([np.empty(0), *found])

    def typicality(self, scores: Reals) -> Reals:
        """Return scores as the share of the corpus's groups that are no more typical, 0 to 1."""
        return np.searchsorted(self.ranked, scores, side="right") / max(len(self.ranked), 1)

    def _fit(self, sample: TokenizedTexts, groups: Ints, told: ProgressReporter) -> Ints:
        """Fit the model to texts; return the distinct groups that they are in."""
        distinct, group = np.unique(groups, return_inverse=True)
        group = group.reshape(-1)
        self._vocabulary, words = np.unique(sample.words, return_inverse=True)
        spoken = TokenizedTexts(words.reshape(-1), sample.lengths)
        self._ngram_tables: list[NgramTable] = []
        for order in _build_ngram_tables(spoken, group, len(self._vocabulary)):
            self._ngram_tables.append(order)
            told.advance_to(
                READ_PROGRESS
                + (FIT_PROGRESS - READ_PROGRESS) * len(self._ngram_tables) / (NGRAM_ORDER + 1)
            )
        self._count(np.ones(len(distinct), np.bool_))
        best = np.full(len(distinct), -np.inf)
        for rows, some in spoken.iter_blocks():
            np.maximum.at(best, group[rows], self._score(some, group[rows]))
            told.advance_to(FIT_PROGRESS)
        self._count(best >= np.quantile(best, 1 - HEAD_SHARE) if len(best) else best > 0)
        return distinct

    def _number_words(self, texts: Sequence[str]) -> TokenizedTexts:
        """Return texts by the numbers of their words, -1 for one that the model does not have."""
        spoken = tokenize(texts)
        return TokenizedTexts(_search_sorted(self._vocabulary, spoken.words)[1], spoken.lengths)

    def _count(self, groups: Flags) -> None:
        """Count the groups of the sample of which this says so."""
        self._counted_groups = np.append(groups, False)
        for order in self._ngram_tables:
            order.count(self._counted_groups)

    def _score(self, spoken: TokenizedTexts, group: Ints | None = None) -> Reals:
        """Return the scores of texts; ``group`` is that in the sample, -1 for none."""
        words, lengths = spoken
        text = np.repeat(np.arange(len(lengths)), lengths)
        counted = (
            np.zeros(len(words), np.bool_) if group is None else self._counted_groups[group][text]
        )
        places = np.flatnonzero(counted)
        owner = places if group is None else group[text[places]]
        grams, history = words, np.zeros(len(words), np.int64)
        chance = np.zeros(len(words))
        for order in self._ngram_tables:
            if order.histories > 1:
                history = _previous_ngrams(grams, lengths, order.histories - 1)
                grams = order.find(history, words)
            seen, after = order.seen[grams], order.after[history]
            if len(places):
                mine, after_mine = order.own(owner, history[places], grams[places])
                seen[places] -= mine
                after[places] -= after_mine
            if order.histories > 1:
                chance = (seen + PRIOR_WEIGHT * chance) / (after + PRIOR_WEIGHT)
            else:
                chance = (seen + UNSEEN_COUNT) / (after + UNSEEN_COUNT * (order.kinds + 1))
        return _median_by_text(np.log(chance), text)


def _median_by_text(values: Reals, text: Ints) -> Reals:
    """Return the median of the values of each text; texts come in order, none without a value."""
    order = np.argsort(values)
    narrow = text[order].astype(np.uint16 if len(text) and text[-1] < 1 << 16 else np.int64)
    order = order[np.argsort(narrow, kind="stable")]
    count = np.bincount(text) if len(text) else np.zeros(0, np.int64)
    start = np.cumsum(count) - count
    ranked = values[order]
    return np.asarray((ranked[start + (count - 1) // 2] + ranked[start + count // 2]) / 2)


def compute_typicality(texts: Sequence[str], groups: Ints, tick: Tick | None = None) -> Reals:
    """Return for each distinct response the share of responses that are no more typical, 0 to 1."""
    model = TypicalityModel(texts, groups, tick)
    return model.typicality(model.scores)
