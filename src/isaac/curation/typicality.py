"""Typicality: how common the wording of a response is among the corpus's other responses.

Acceptable answers agree with each other in what they say, and so in how they say it: refusals,
condolences and hedges share their phrases across all topics, while each unsafe answer is worded in
its own way. A trigram model of the corpus's own responses measures this without labels, and shows
what vectors of whole texts miss, because the topic dominates them (docs/experiments.md compares the
two).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..runtime.arrays import Flags, Hashes, Ints, Reals, sort_unique
from ..runtime.progress import Tick
from ..text import PUNCTUATION_PATTERN, WORD_PATTERN
from .hashing import splitmix64
from .text_batches import BLOCK_SIZE, ProgressReporter, iter_slices

MAX_SAMPLE_WORDS = 1 << 22
"""Maximum number of words to fit a model on; the end of each text counts as a word.

That is about 200,000 responses, which is ample. A model fitted on 6,529 of DiaSafety's 8,923
responses ranks them almost as one fitted on all does (rank correlation 0.98; 0.95 with 3,259
responses, 0.88 with 829), and all of them separate safe from unsafe equally well (AUROC 0.60, 0.60
and 0.61, against 0.59 with all responses).
"""

MAX_GROUP_TEXTS = 16
"""Maximum number of texts from one group of near-duplicates in a sample."""

SURVEY_PROGRESS, READ_PROGRESS, FIT_PROGRESS = 0.3, 0.4, 0.55
"""Share of the work that is done after each step, for progress; does not affect results."""

MAX_WORDS = 1024
"""Words of a text that are read, from its beginning."""

NGRAM_ORDER = 3
"""Words in the longest n-gram."""

PRIOR_WEIGHT = 3.0
"""Weight of the estimate from the shorter history, as a number of texts."""

UNSEEN_COUNT = 0.5
"""Count of a word that was never seen, as a number of texts."""

HEAD_SHARE = 0.3
"""Share of the texts, most typical first, whose counts score all texts the second time."""


def tokenize_text(text: str) -> list[str]:
    """Split a text into its first 1,024 words and punctuation marks, in lower case."""
    words: list[str] = WORD_PATTERN.findall(text[: 32 * MAX_WORDS].lower())
    return words[:MAX_WORDS]


class TokenizedTexts(NamedTuple):
    """Texts as word numbers, end to end.

    ``words`` has a number for each word and for the end of each text; ``lengths`` (n,) is how many
    of these numbers each text has.
    """

    words: npt.NDArray[Any]
    lengths: Ints

    def iter_blocks(self) -> Iterator[tuple[slice, TokenizedTexts]]:
        """Yield the rows and texts of blocks of about `BLOCK_SIZE` characters."""
        ends = np.concatenate([[0], np.cumsum(self.lengths)])
        cuts = np.flatnonzero(np.diff(ends * 5 // BLOCK_SIZE)).tolist()
        for start, end in pairwise([0, *cuts, len(self.lengths)]):
            words = self.words[ends[start] : ends[end]]
            yield slice(start, end), TokenizedTexts(words, self.lengths[start:end])


SPACE, LETTER, SINGLE, PUNCTUATION = 1, 2, 3, 4
END_OF_TEXT = sys.maxunicode + 1
"""Code for the end of a text, which is the code of no character."""

CHARACTER_CLASSES = np.zeros(END_OF_TEXT, np.uint8)
"""Class of each character, 0 until it is used.

It is between words, in a word, a word by itself, or a punctuation mark (or another symbol).
"""

HASH_WEIGHTS = np.append(splitmix64(np.arange(1, 65, dtype=np.uint64)) | np.uint64(1), np.uint64(0))
"""Weights of a word's characters in its hash: the first 64 characters count, the rest do not."""


def tokenize(texts: Sequence[str], *, punctuation: bool = True) -> TokenizedTexts:
    """Hash the words of many texts at once: those of `tokenize_text`, and the end of each text.

    Without ``punctuation``, its marks are left out of texts that have anything else.
    """
    beginnings = [text[: 32 * MAX_WORDS].lower() for text in texts]
    # All characters in one array, a space after each text, which then becomes its end.
    ends = np.cumsum([len(text) + 1 for text in beginnings], dtype=np.int64) - 1
    joined = " ".join([*beginnings, ""]).encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(joined, "<u4").astype(np.uint64)
    classes = _classify_characters(codes)
    if not punctuation and len(texts):
        is_word = (classes == LETTER) | (classes == SINGLE)
        sizes = np.diff(ends, prepend=-1)
        has_words = np.repeat(np.logical_or.reduceat(is_word, ends + 1 - sizes), sizes)
        classes[has_words & (classes == PUNCTUATION)] = SPACE
    codes[ends], classes[ends] = END_OF_TEXT, SINGLE
    # A word starts at every mark, and at every letter that follows no letter.
    begins = classes >= SINGLE
    begins[1:] |= (classes[1:] == LETTER) & (classes[:-1] != LETTER)
    begins[:1] |= classes[:1] == LETTER
    starts = np.flatnonzero(begins)
    number = np.cumsum(begins)
    # The hash of a word is a sum over its characters, each times the weight of its position.
    position = np.arange(len(codes)) - np.append(0, starts)[number]
    codes *= HASH_WEIGHTS[np.minimum(position, len(HASH_WEIGHTS) - 1)]
    codes[classes == SPACE] = 0
    words = splitmix64(np.add.reduceat(codes, starts)) if len(starts) else codes
    lengths = np.diff(number[ends], prepend=0)
    if lengths.max(initial=0) > MAX_WORDS + 1:
        # Of long texts only the first words and the end are kept.
        words_left = np.repeat(number[ends], lengths) - np.arange(len(starts))
        kept = (words_left == 1) | (np.repeat(lengths, lengths) - words_left < MAX_WORDS)
        words, lengths = words[kept], np.minimum(lengths, MAX_WORDS + 1)
    return TokenizedTexts(words, lengths)


Tokenize = Callable[[Sequence[str]], TokenizedTexts]


def _classify_characters(codes: Hashes) -> npt.NDArray[np.uint8]:
    """Look up the class of each character; classify new ones with the regular expression."""
    classes = CHARACTER_CLASSES[codes]
    new = codes[classes == 0]
    for code in set(new.tolist()):
        # A repeated space has no word, a repeated letter is one word, a repeated mark is two.
        words = len(WORD_PATTERN.findall(2 * chr(code)))
        is_punctuation = words > 1 and PUNCTUATION_PATTERN.match(chr(code))
        CHARACTER_CLASSES[code] = PUNCTUATION if is_punctuation else SPACE + words
    return CHARACTER_CLASSES[codes] if len(new) else classes


def _search_sorted(table: npt.NDArray[Any], values: npt.NDArray[Any]) -> tuple[Ints, Ints]:
    """Look up values in a sorted table: insertion points, and indices (-1 if not in the table).

    Sorting the values first is faster: the look-ups then go through the table in order.
    """
    order = np.argsort(values)
    ranked = values[order]
    ranked_points = np.searchsorted(table, ranked)
    points, indices = np.empty(len(order), np.int64), np.full(len(order), -1)
    points[order] = ranked_points
    if len(table):
        in_table = table.take(ranked_points, mode="clip") == ranked
        indices[order] = np.where(in_table, ranked_points, -1)
    return points, indices


class NgramTable:
    """The n-grams of one length, numbered from 0 by their history, then by their last word.

    The history of an n-gram is the n - 1 words before its last word: an n-gram of the next shorter
    table, or the start of a text. ``codes`` (sorted) are ``history * vocabulary_size + word``, and
    ``starts[h]`` is the first n-gram of history h. ``pairs`` (sorted) says which group of texts has
    which n-gram, as ``group * size + ngram``. ``seen`` is the number of groups that have an n-gram,
    ``after`` the sum of these over the n-grams of a history. Both end with a 0, for the number -1
    of an n-gram or history that is not in the table.
    """

    def __init__(self, codes: Ints, histories: int, vocabulary_size: int) -> None:
        self.codes, self.vocabulary_size = codes, vocabulary_size
        self.size, self.histories = len(codes), histories
        self.starts = np.searchsorted(codes, np.arange(histories + 1) * vocabulary_size)
        self.pairs = np.empty(0, np.int64)

    def count(self, counted: Flags) -> None:
        """Count n-grams over the groups with a true flag."""
        group, ngram = np.divmod(self.pairs, max(self.size, 1))
        seen = np.bincount(ngram[counted[group]], minlength=self.size)
        total = np.concatenate([[0], np.cumsum(seen)])
        self.seen = np.append(seen, 0).astype(np.int32)
        self.after = np.append(np.diff(total[self.starts]), 0).astype(np.int32)

    def find(self, history: Ints, word: Ints) -> Ints:
        """Numbers of n-grams, -1 for those that are not in the table."""
        if self.histories == 1:
            return word
        ngram = np.full(len(word), -1)
        known = np.flatnonzero((history >= 0) & (word >= 0))
        codes = history[known] * self.vocabulary_size + word[known]
        ngram[known] = _search_sorted(self.codes, codes)[1]
        return ngram

    def own_counts(self, group: Ints, history: Ints, ngram: Ints) -> tuple[Ints, Ints]:
        """What each group itself adds to ``seen`` of an n-gram and to ``after`` of its history."""
        base, starts = group * self.size, np.append(self.starts, 0)
        has_ngram = (ngram >= 0) & (_search_sorted(self.pairs, base + ngram)[1] >= 0)
        first, _ = _search_sorted(self.pairs, base + starts[history])
        end, _ = _search_sorted(self.pairs, base + starts[history + 1])
        return has_ngram.astype(np.int64), np.where(history < 0, 0, end - first)


def _previous_ngrams(ngrams: Ints, lengths: Ints, start: int) -> Ints:
    """The n-gram before each, and ``start`` before the first of each text."""
    previous = np.roll(ngrams, 1)
    previous[np.cumsum(lengths) - lengths] = start
    return previous


def _build_ngram_tables(
    tokens: TokenizedTexts, group: Ints, vocabulary_size: int
) -> Iterator[NgramTable]:
    """Yield the tables of all n-grams of texts in groups (n,), shortest n-grams first."""
    words, lengths = tokens
    owner = np.repeat(group, lengths)
    table, ngrams = NgramTable(np.arange(vocabulary_size), 1, vocabulary_size), words
    table.pairs = sort_unique(owner * vocabulary_size + words)
    yield table
    for _ in range(1, NGRAM_ORDER):
        # Each n-gram of the last table is a history, and so is the start of a text.
        start = table.size
        codes = _previous_ngrams(ngrams, lengths, start) * vocabulary_size + words
        codes, ngrams = np.unique(codes, return_inverse=True)
        ngrams = ngrams.reshape(-1)
        table = NgramTable(codes, start + 1, vocabulary_size)
        table.pairs = sort_unique(owner * table.size + ngrams)
        yield table


def _survey(
    texts: Sequence[str], tokenize: Tokenize, reporter: ProgressReporter
) -> tuple[Hashes, Ints]:
    """Hash each text to one number (n,), and count its words (n,), its end included."""
    hashes, lengths = np.empty(len(texts), np.uint64), np.empty(len(texts), np.int64)
    done = 0
    for block in iter_slices(texts):
        rows = slice(done, done + len(block))
        tokens = tokenize(block)
        lengths[rows] = tokens.lengths
        starts = np.cumsum(tokens.lengths) - tokens.lengths
        position = np.arange(len(tokens.words)) - np.repeat(starts, tokens.lengths)
        hashes[rows] = np.add.reduceat(splitmix64(tokens.words + position.view(np.uint64)), starts)
        done += len(block)
        reporter.advance_to(SURVEY_PROGRESS * done / len(texts))
    return hashes, lengths


def _choose_sample(groups: Ints, hashes: Hashes, lengths: Ints) -> Flags:
    """Which texts (n,) are in the sample; this depends only on the texts and their groups."""
    if lengths.sum() <= MAX_SAMPLE_WORDS:
        return np.ones(len(lengths), np.bool_)
    # Groups in the order of a hash of their smallest hash, the texts of a group by their own hash.
    smallest = np.full(int(groups.max()) + 1, 2**64 - 1, np.uint64)
    np.minimum.at(smallest, groups, hashes)
    order = np.lexsort((hashes, splitmix64(smallest)[groups]))
    first = np.flatnonzero(np.diff(groups[order], prepend=-1))
    size = np.diff(first, append=len(order))
    order = order[np.arange(len(order)) - np.repeat(first, size) < MAX_GROUP_TEXTS]
    chosen = np.zeros(len(lengths), np.bool_)
    chosen[order[np.cumsum(lengths[order]) <= MAX_SAMPLE_WORDS]] = True
    return chosen


def _tokenize_sample(
    texts: Sequence[str], chosen: Flags, tokenize: Tokenize, reporter: ProgressReporter
) -> TokenizedTexts:
    parts, done = [TokenizedTexts(np.empty(0, np.uint64), np.empty(0, np.int64))], 0
    for block in iter_slices(texts):
        rows = np.flatnonzero(chosen[done : done + len(block)]).tolist()
        parts.append(tokenize([block[row] for row in rows]))
        done += len(block)
        reporter.advance_to(SURVEY_PROGRESS + (READ_PROGRESS - SURVEY_PROGRESS) * done / len(texts))
    return TokenizedTexts(*map(np.concatenate, zip(*parts, strict=True)))


class TypicalityModel:
    """A trigram model of the responses of a corpus, in which near-duplicates count once.

    An n-gram counts once for each group of texts that has it, however often it occurs in them: no
    text becomes more typical by repeating itself or by being repeated. ``texts`` are distinct,
    ``groups`` (n,) numbers groups of near-duplicates. ``scores`` (n,) is the median over the words
    of a text of the log-probability of a word given the two before it, in nats, with the text's own
    group left out of all counts. Scores are computed twice: first with the counts of all groups,
    then with those of the most typical 30 % only.

    Probabilities are interpolated with a Dirichlet prior (MacKay and Peto, A Hierarchical
    Dirichlet Language Model, 1995).

    If a corpus has more than `MAX_SAMPLE_WORDS` words, the model is fitted on a sample: groups in
    the order of a hash of their texts, up to `MAX_GROUP_TEXTS` texts of each, until the sample has
    that many words. So the order of the texts changes nothing. ``fitted_count`` is the number of
    texts that the model was fitted on. ``punctuation`` says whether its marks count as words.

    The texts are read three times, in slices. Memory is about 100 bytes per text, 100 per word of
    the sample, and a few blocks, however long the texts are. ``tick`` receives progress, len(texts)
    in all.
    """

    def __init__(
        self,
        texts: Sequence[str],
        groups: Ints,
        tick: Tick | None = None,
        *,
        punctuation: bool = True,
    ) -> None:
        reporter = ProgressReporter(tick, len(texts))
        self._tokenize = partial(tokenize, punctuation=punctuation)
        numbers = np.unique(groups, return_inverse=True)[1].reshape(-1)
        chosen = _choose_sample(numbers, *_survey(texts, self._tokenize, reporter))
        self.fitted_count = int(chosen.sum())
        sample = _tokenize_sample(texts, chosen, self._tokenize, reporter)
        sampled = self._fit(sample, numbers[chosen], reporter)
        # The number of each group in the sample, -1 if it is not in it.
        sample_group = np.full(int(numbers.max(initial=-1)) + 1, -1)
        sample_group[sampled] = np.arange(len(sampled))
        self.scores = np.empty(len(texts))
        done = 0
        for block in iter_slices(texts):
            rows = slice(done, done + len(block))
            tokens = self._number_words(block)
            self.scores[rows] = self._score(tokens, sample_group[numbers[rows]])
            done += len(block)
            reporter.advance_to(FIT_PROGRESS + (1 - FIT_PROGRESS) * done / len(texts))
        for table in self._ngram_tables:
            table.pairs = np.empty(0, np.int64)
        best = np.full(len(sample_group), -np.inf)
        np.maximum.at(best, numbers, self.scores)
        self.ranked = np.sort(best)

    def score(self, texts: Sequence[str]) -> Reals:
        """Score texts (n,) that are not in the corpus."""
        scores = [self._score(self._number_words(block)) for block in iter_slices(texts)]
        return np.concatenate([np.empty(0), *scores])

    def typicality(self, scores: Reals) -> Reals:
        """The share (n,) of the groups of near-duplicates in the corpus that score no higher."""
        return np.searchsorted(self.ranked, scores, side="right") / max(len(self.ranked), 1)

    def _fit(self, sample: TokenizedTexts, groups: Ints, reporter: ProgressReporter) -> Ints:
        """Fit the model to a sample of texts in ``groups`` (n,), and return the distinct groups."""
        distinct, group = np.unique(groups, return_inverse=True)
        group = group.reshape(-1)
        self._vocabulary, words = np.unique(sample.words, return_inverse=True)
        tokens = TokenizedTexts(words.reshape(-1), sample.lengths)
        self._ngram_tables: list[NgramTable] = []
        for table in _build_ngram_tables(tokens, group, len(self._vocabulary)):
            self._ngram_tables.append(table)
            reporter.advance_to(
                READ_PROGRESS
                + (FIT_PROGRESS - READ_PROGRESS) * len(self._ngram_tables) / (NGRAM_ORDER + 1)
            )
        # Score all groups by all counts, then count the most typical ones only.
        self._count(np.ones(len(distinct), np.bool_))
        best = np.full(len(distinct), -np.inf)
        for rows, block in tokens.iter_blocks():
            np.maximum.at(best, group[rows], self._score(block, group[rows]))
            reporter.advance_to(FIT_PROGRESS)
        self._count(best >= np.quantile(best, 1 - HEAD_SHARE) if len(best) else best > 0)
        return distinct

    def _number_words(self, texts: Sequence[str]) -> TokenizedTexts:
        """Tokenize texts into numbers of the vocabulary, -1 for a word that is not in it."""
        tokens = self._tokenize(texts)
        return TokenizedTexts(_search_sorted(self._vocabulary, tokens.words)[1], tokens.lengths)

    def _count(self, counted: Flags) -> None:
        """Count n-grams over the groups of the sample with a true flag."""
        self._counted_groups = np.append(counted, False)
        for table in self._ngram_tables:
            table.count(self._counted_groups)

    def _score(self, tokens: TokenizedTexts, group: Ints | None = None) -> Reals:
        """Score texts; ``group`` (n,) is their group in the sample, -1 for none."""
        words, lengths = tokens
        text = np.repeat(np.arange(len(lengths)), lengths)
        # Positions (p,) of the words whose own group is in the counts, and that group (p,).
        is_counted = (
            np.zeros(len(words), np.bool_) if group is None else self._counted_groups[group][text]
        )
        positions = np.flatnonzero(is_counted)
        owner = positions if group is None else group[text[positions]]
        ngrams, history = words, np.zeros(len(words), np.int64)
        probability = np.zeros(len(words))
        # From unigrams to trigrams, each estimate is the prior mean of the next.
        for table in self._ngram_tables:
            if table.histories > 1:
                history = _previous_ngrams(ngrams, lengths, table.histories - 1)
                ngrams = table.find(history, words)
            seen, after = table.seen[ngrams], table.after[history]
            if len(positions):  # leave a text's own group out of the counts
                own_seen, own_after = table.own_counts(owner, history[positions], ngrams[positions])
                seen[positions] -= own_seen
                after[positions] -= own_after
            if table.histories > 1:
                probability = (seen + PRIOR_WEIGHT * probability) / (after + PRIOR_WEIGHT)
            else:
                smoothing = UNSEEN_COUNT * (table.vocabulary_size + 1)
                probability = (seen + UNSEEN_COUNT) / (after + smoothing)
        return _median_by_text(np.log(probability), text)


def _median_by_text(values: Reals, text: Ints) -> Reals:
    """Median of the values of each text; ``text`` ascends, and each text has a value."""
    order = np.argsort(values)
    # NumPy's stable sort of 16-bit numbers is a radix sort, which is faster.
    narrow = text[order].astype(np.uint16 if len(text) and text[-1] < 1 << 16 else np.int64)
    order = order[np.argsort(narrow, kind="stable")]
    count = np.bincount(text) if len(text) else np.zeros(0, np.int64)
    start = np.cumsum(count) - count
    ranked = values[order]
    return np.asarray((ranked[start + (count - 1) // 2] + ranked[start + count // 2]) / 2)


def compute_typicality(
    texts: Sequence[str], groups: Ints, tick: Tick | None = None, *, punctuation: bool = True
) -> Reals:
    """Compute the typicality (n,) of distinct texts: see `TypicalityModel.typicality`."""
    model = TypicalityModel(texts, groups, tick, punctuation=punctuation)
    return model.typicality(model.scores)
