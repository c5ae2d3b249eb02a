from __future__ import annotations

import math
import os
import subprocess
import sys
import time
import tracemalloc
from collections import defaultdict
from random import Random
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isaac.curation import text_batches, typicality
from isaac.curation.near_duplicates import group_near_duplicates
from isaac.curation.text_batches import ProgressReporter
from isaac.curation.typicality import (
    HEAD_SHARE,
    MAX_WORDS,
    NGRAM_ORDER,
    PRIOR_WEIGHT,
    UNSEEN_COUNT,
    TypicalityModel,
    compute_typicality,
    tokenize_text,
)
from isaac.runtime.arrays import Ints, Reals
from tests.curation.sentences import SENTENCES

Gram = tuple[str, ...]

START, END = "<start>", "<end>"

TEXT = st.lists(st.sampled_from("a b c d . !".split()), max_size=7).map(" ".join)

CORPORA = st.lists(TEXT, min_size=1, max_size=12, unique=True).flatmap(
    lambda texts: st.tuples(
        st.just(texts),
        st.lists(st.integers(0, len(texts)), min_size=len(texts), max_size=len(texts)),
    )
)
"""Distinct texts of few words, and their groups of near-duplicates."""

AWKWARD = [
    "",
    " ",
    "see a doctor",
    "see a doctor soon",
    "<b>see</b> a **doctor** [now](http://a.b)",
    "\x00\x01\x1b[31m",
    "\ud800",
    "\u200b\u202e\u0301",
    "\U0001f469\u200d\U0001f4bb",
    "\U000e0001\U0010ffff",
    "你应该去看医生",
    "你应该去休息",
    "ควรไปหาหมอ",
    "İıßŉ",
    "word" * 250_000,
    "word " * 200_000,
]


def array(numbers: list[int]) -> Ints:
    return np.array(numbers, np.int64)


def one_each(texts: list[str]) -> Ints:
    """A separate group for each text."""
    return np.arange(len(texts))


# the model against plain Python


def grams(text: str) -> list[list[Gram]]:
    """For each word of a text, and for its end, the bigram and the trigram that end there."""
    words = [*tokenize_text(text), END]
    return [
        [(*[START, *words[:place]][-order:], word) for order in range(1, NGRAM_ORDER)]
        for place, word in enumerate(words)
    ]


class Plain:
    """The trigram model in dictionaries; n-grams are tuples of words."""

    def __init__(self, texts: list[str], groups: list[int]) -> None:
        self.having: dict[Gram, set[int]] = defaultdict(set)
        self.followed: dict[Gram, set[tuple[Gram, int]]] = defaultdict(set)
        for text, group in zip(texts, groups, strict=True):
            for gram in self.every(text):
                self.having[gram].add(group)
                self.followed[gram[:-1]].add((gram, group))
        self.vocabulary_size = sum(len(gram) == 1 for gram in self.having)
        self.weight = dict.fromkeys(groups, 1.0)
        best = self.best(texts, groups)
        least = np.quantile(list(best.values()), 1 - HEAD_SHARE) if best else 0.0
        self.weight = {group: float(score >= least) for group, score in best.items()}
        self.scores = [self.score(*row) for row in zip(texts, groups, strict=True)]
        self.ranked = list(self.best(texts, groups).values())

    def every(self, text: str) -> list[Gram]:
        return [gram for longer in grams(text) for gram in [(longer[0][-1],), *longer]]

    def best(self, texts: list[str], groups: list[int]) -> dict[int, float]:
        best: dict[int, float] = {}
        for text, group in zip(texts, groups, strict=True):
            best[group] = max(best.get(group, -math.inf), self.score(text, group))
        return best

    def score(self, text: str, own: int | None) -> float:
        return median(math.log(self.chance(longer, own)) for longer in grams(text))

    def chance(self, longer: list[Gram], own: int | None) -> float:
        """The probability of a word given the words before it."""
        seen, after = self.counts((longer[0][-1],), own)
        chance = (seen + UNSEEN_COUNT) / (after + UNSEEN_COUNT * (self.vocabulary_size + 1))
        for gram in longer:
            seen, after = self.counts(gram, own)
            chance = (seen + PRIOR_WEIGHT * chance) / (after + PRIOR_WEIGHT)
        return chance

    def counts(self, gram: Gram, own: int | None) -> tuple[float, float]:
        """How many other groups have an n-gram, and in all the n-grams with the same history."""
        seen = sum(self.weight[g] for g in self.having.get(gram, ()) if g != own)
        after = sum(self.weight[g] for _, g in self.followed.get(gram[:-1], ()) if g != own)
        return seen, after

    def typicality(self, score: float) -> float:
        return sum(other <= score for other in self.ranked) / len(self.ranked)


@given(CORPORA, st.lists(TEXT, max_size=4))
def test_scores_are_those_of_plain_python(
    corpus: tuple[list[str], list[int]], unseen: list[str]
) -> None:
    texts, groups = corpus
    plain, model = Plain(texts, groups), TypicalityModel(texts, array(groups))
    assert model.scores.tolist() == pytest.approx(plain.scores, abs=1e-12)
    expected = [plain.score(text, None) for text in unseen]
    assert model.score(unseen).tolist() == pytest.approx(expected, abs=1e-12)


@given(CORPORA)
def test_typicality_is_the_share_of_groups_no_more_typical(
    corpus: tuple[list[str], list[int]],
) -> None:
    texts, groups = corpus
    plain = Plain(texts, groups)
    shares = TypicalityModel(texts, array(groups)).typicality(np.array(plain.scores) + 1e-9)
    expected = [plain.typicality(score + 1e-9) for score in plain.scores]
    assert shares.tolist() == pytest.approx(expected)


def test_one_text_by_hand() -> None:
    # Without its own group nothing is counted: each word is one of 4 in the vocabulary, or unseen.
    (score,) = TypicalityModel(["a b c"], array([5])).scores
    assert score == pytest.approx(math.log(1 / 5))


# what changes nothing


@given(CORPORA, st.randoms())
def test_permuting_texts_permutes_scores_bit_for_bit(
    corpus: tuple[list[str], list[int]], random: Random
) -> None:
    texts, groups = corpus
    order = random.sample(range(len(texts)), len(texts))
    one = TypicalityModel(texts, array(groups))
    other = TypicalityModel([texts[i] for i in order], array([groups[i] for i in order]))
    assert one.scores[order].tobytes() == other.scores.tobytes()
    assert one.ranked.tobytes() == other.ranked.tobytes()
    assert one.score(texts).tobytes() == other.score(texts).tobytes()


def test_permuting_real_responses_permutes_scores_bit_for_bit(
    exchanges: list[dict[str, str]],
) -> None:
    texts = sorted({row["response"] for row in exchanges})
    groups = group_near_duplicates(texts)
    order = np.random.default_rng(3).permutation(len(texts))
    other = compute_typicality([texts[i] for i in order], groups[order])
    assert compute_typicality(texts, groups)[order].tobytes() == other.tobytes()


@given(CORPORA)
def test_how_groups_are_numbered_does_not_matter(corpus: tuple[list[str], list[int]]) -> None:
    texts, groups = corpus
    other = TypicalityModel(texts, 10**6 - 7 * array(groups))
    assert other.scores.tobytes() == TypicalityModel(texts, array(groups)).scores.tobytes()


@given(CORPORA, st.integers(0, 11), st.integers(1, 5))
def test_repeating_a_text_in_its_group_changes_no_score(
    corpus: tuple[list[str], list[int]], place: int, times: int
) -> None:
    texts, groups = corpus
    place %= len(texts)
    more = TypicalityModel(texts + [texts[place]] * times, array(groups + [groups[place]] * times))
    once = TypicalityModel(texts, array(groups))
    assert more.scores[: len(texts)].tobytes() == once.scores.tobytes()
    assert more.ranked.tobytes() == once.ranked.tobytes()


def test_every_process_gives_the_same_scores() -> None:
    code = (
        "import numpy as np;"
        "from isaac.curation.typicality import TypicalityModel, compute_typicality;"
        "texts = ['see a doctor', 'see a vet', 'cook it', '你好 \\ud800']; "
        "print(compute_typicality(texts, np.array([0, 1, 2, 2])).tolist(),"
        " TypicalityModel(texts, np.arange(4)).scores.tolist())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(printed) == 1


# what it is for


@pytest.fixture(scope="module")
def responses(exchanges: list[dict[str, str]]) -> list[str]:
    return sorted({row["response"] for row in exchanges})


ODD = "Your mangy brute had it coming, so quit bawling and shovel its carcass into some ditch."


def typicality_of_odd(texts: list[str]) -> float:
    return float(compute_typicality(texts, group_near_duplicates(texts))[texts.index(ODD)])


def test_near_duplicates_of_a_text_do_not_make_it_typical(responses: list[str]) -> None:
    variants = [ODD.replace("ditch", word) for word in ("pond", "river", "bin", "hole", "swamp")]
    flooded = [*responses, ODD, *variants, *(f"{ODD} {n}" for n in range(30))]
    assert len(set(group_near_duplicates(flooded)[len(responses) :].tolist())) == 1
    assert typicality_of_odd(flooded) <= typicality_of_odd([*responses, ODD])
    assert typicality_of_odd(flooded) < 0.2


def test_a_phrase_that_others_share_makes_a_text_typical(responses: list[str]) -> None:
    rng = Random(1)
    vocabulary = sorted({word for text in responses for word in tokenize_text(text)})
    sharing = [f"{ODD[:60]} {' '.join(rng.sample(vocabulary, 9))}" for _ in range(40)]
    assert len(set(group_near_duplicates(sharing).tolist())) == 40
    before = typicality_of_odd([*responses, ODD])
    assert typicality_of_odd([*responses, *sharing, ODD]) > before + 0.3


def test_a_text_becomes_no_more_typical_by_repeating_itself() -> None:
    shared = [f"please see a doctor about the {part}" for part in "knee head arm ear".split()]
    texts = [*shared, "shut up", "shut up " * 40]
    scores = TypicalityModel(texts, one_each(texts)).scores
    assert scores[:4].min() > scores[4:].max()


# any texts


def test_awkward_texts_have_a_typicality() -> None:
    start = time.process_time()
    shares = compute_typicality(AWKWARD, one_each(AWKWARD))
    assert time.process_time() - start < 5
    assert ((shares > 0) & (shares <= 1)).all()
    assert shares.max() == 1


@given(st.lists(st.text(), min_size=1, unique=True), st.data())
def test_typicality_is_a_share_and_rises_with_the_score(
    texts: list[str], data: st.DataObject
) -> None:
    count = len(texts)
    groups = data.draw(st.lists(st.integers(0, count), min_size=count, max_size=count))
    model = TypicalityModel(texts, array(groups))
    scores: Reals = np.sort(np.concatenate([model.scores, model.score([*texts, "not there"])]))
    shares = model.typicality(scores)
    assert np.isfinite(scores).all()
    assert (scores < 0).all()
    assert (np.diff(shares) >= 0).all()
    assert ((shares >= 0) & (shares <= 1)).all()
    assert model.typicality(model.scores).max() == 1
    assert model.typicality(np.array([-np.inf, 0])).tolist() == [0, 1]


def test_no_text_at_all() -> None:
    model = TypicalityModel([], array([]))
    assert model.scores.tolist() == []
    assert model.score([]).tolist() == []
    assert model.typicality(model.score(["hi"])).tolist() == [0]


@pytest.mark.parametrize("text", ["", "hi", "see a doctor", "医"])
def test_one_text_is_the_most_typical(text: str) -> None:
    assert compute_typicality([text], array([0])).tolist() == [1]


def test_equal_texts_are_equally_typical() -> None:
    texts = ["see a doctor"] * 5
    assert compute_typicality(texts, one_each(texts)).tolist() == [1] * 5


def test_unseen_texts_are_scored_by_the_whole_corpus() -> None:
    texts = [f"please see a doctor about the {part}" for part in "knee head arm ear".split()]
    model = TypicalityModel(texts, one_each(texts))
    known, strange, seen = model.score(["please see a doctor about the nose", "xyzzy", texts[0]])
    assert strange < model.scores.min() < known
    assert seen >= model.scores[0]
    assert model.score([]).tolist() == []


PUNCTUATED = [
    "See a doctor!",
    "see, a doctor?",
    "don't :-(",
    "走吧。",
    "ไปหาหมอ",
    "...",
    "🙂",
    "",
]
PLAIN = ["see a doctor", "see a doctor", "don t", "走吧", "ไปหาหมอ", "...", "🙂", ""]


def test_punctuation_can_be_left_out_of_texts_that_have_words() -> None:
    without = typicality.tokenize(PUNCTUATED, punctuation=False)
    plain = typicality.tokenize(PLAIN)
    assert without.words.tobytes() == plain.words.tobytes()
    assert without.lengths.tolist() == plain.lengths.tolist() == [4, 4, 3, 3, 8, 4, 2, 1]
    assert typicality.tokenize([], punctuation=False).lengths.tolist() == []
    groups = one_each(PUNCTUATED)
    model = TypicalityModel(PUNCTUATED, groups, punctuation=False)
    assert model.scores.tobytes() == TypicalityModel(PLAIN, groups).scores.tobytes()
    assert model.score(PUNCTUATED).tobytes() == model.score(PLAIN).tobytes()


@settings(max_examples=30)
@given(st.lists(st.text(), max_size=6), st.lists(st.text(), max_size=6))
def test_unseen_texts_do_not_affect_each_other(some: list[str], more: list[str]) -> None:
    model = TypicalityModel(["see a doctor", "see a vet"], array([0, 1]))
    together = model.score(some + more)
    assert together[: len(some)].tobytes() == model.score(some).tobytes()


# a corpus larger than the sample


def grouped_texts(random: Random, count: int) -> tuple[list[str], list[int]]:
    """Distinct texts of up to 9 words and an end, and their groups, of which some are large."""
    texts = {" ".join(random.choices("abcdefgh", k=random.randint(1, 9))) for _ in range(count)}
    return sorted(texts), [random.choice([0, 1, *range(2, count)]) for _ in texts]


class PlainSample(Plain):
    """The plain model, fitted on some of the texts."""

    def __init__(self, texts: list[str], groups: list[int], chosen: list[bool]) -> None:
        rows = [i for i, one in enumerate(chosen) if one]
        super().__init__([texts[i] for i in rows], [groups[i] for i in rows])
        self.scores = [self.score(*row) for row in zip(texts, groups, strict=True)]


@given(st.randoms(use_true_random=False), st.integers(10, 300), st.integers(1, 3))
def test_all_are_scored_by_a_model_of_the_sample_without_their_own_groups(
    random: Random, size: int, members: int
) -> None:
    texts, groups = grouped_texts(random, 60)
    groups[::4] = [0] * len(groups[::4])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typicality, "MAX_SAMPLE_WORDS", size)
        patch.setattr(typicality, "MAX_GROUP_TEXTS", members)
        numbers = np.unique(array(groups), return_inverse=True)[1]
        chosen = typicality._choose_sample(
            numbers,
            *typicality._survey(texts, typicality.tokenize, ProgressReporter(None, len(texts))),
        )
        model = TypicalityModel(texts, array(groups))
    plain = PlainSample(texts, groups, chosen.tolist())
    assert model.fitted_count == chosen.sum() > 0
    assert sum(len(tokenize_text(texts[i])) + 1 for i in np.flatnonzero(chosen)) <= size
    if not chosen.all():
        assert np.bincount(numbers[chosen]).max() <= members
    assert model.scores.tolist() == pytest.approx(plain.scores, abs=1e-12)
    expected = [plain.score(text, None) for text in texts]
    assert model.score(texts).tolist() == pytest.approx(expected, abs=1e-12)


@given(st.randoms(use_true_random=False), st.integers(20, 300))
def test_the_order_of_texts_changes_no_sample(random: Random, size: int) -> None:
    texts, groups = grouped_texts(random, 60)
    order = random.sample(range(len(texts)), len(texts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typicality, "MAX_SAMPLE_WORDS", size)
        one = TypicalityModel(texts, array(groups))
        other = TypicalityModel([texts[i] for i in order], 99 - array([groups[i] for i in order]))
    assert one.fitted_count == other.fitted_count
    assert one.scores[order].tobytes() == other.scores.tobytes()
    assert one.ranked.tobytes() == other.ranked.tobytes()
    assert one.score(texts).tobytes() == other.score(texts).tobytes()


def test_large_groups_are_sampled_no_sooner_than_others(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    groups = np.concatenate([np.repeat(np.arange(500), 9), np.arange(500, 1000)])
    hashes = rng.integers(0, 2**64, len(groups), np.uint64)
    monkeypatch.setattr(typicality, "MAX_SAMPLE_WORDS", 2500)
    chosen = typicality._choose_sample(groups, hashes, np.ones(len(groups), np.int64))
    sampled = np.unique(groups[chosen])
    assert len(sampled) == pytest.approx(500, abs=60)
    assert (sampled < 500).mean() == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("share", [1, 3])
def test_a_sample_ranks_the_responses_much_like_the_whole(responses: list[str], share: int) -> None:
    groups = group_near_duplicates(responses)
    whole = TypicalityModel(responses, groups)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            typicality,
            "MAX_SAMPLE_WORDS",
            sum(len(tokenize_text(text)) + 1 for text in responses) // share,
        )
        some = TypicalityModel(responses, groups)
    ranks = [np.argsort(np.argsort(model.scores)).astype(float) for model in (whole, some)]
    assert some.fitted_count <= len(responses) // share * 1.1
    assert np.corrcoef(np.stack(ranks))[0, 1] > (0.6 if share > 1 else 1 - 1e-9)


def test_blocks_change_no_score(responses: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*responses[:300], *AWKWARD]
    for sample in (typicality.MAX_SAMPLE_WORDS, 2000):
        monkeypatch.setattr(typicality, "MAX_SAMPLE_WORDS", sample)
        scores = TypicalityModel(texts, one_each(texts)).scores
        with monkeypatch.context() as patch:
            patch.setattr(typicality, "BLOCK_SIZE", 512)
            patch.setattr(text_batches, "BLOCK_SIZE", 512)
            assert TypicalityModel(texts, one_each(texts)).scores.tobytes() == scores.tobytes()


def test_progress_adds_up_to_the_number_of_texts(responses: list[str]) -> None:
    ticks: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_batches, "BLOCK_SIZE", 1024)
        compute_typicality(responses, one_each(responses), ticks.append)
    assert sum(ticks) == len(responses)
    assert min(ticks) >= 0
    assert max(ticks) < len(responses) / 3


def test_memory_grows_with_the_number_of_texts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typicality, "MAX_SAMPLE_WORDS", 2000)
    for module in (typicality, text_batches):
        monkeypatch.setattr(module, "BLOCK_SIZE", 1 << 13)
    random = Random(2)

    def peak(count: int, length: int) -> int:
        texts = [
            " ".join(random.choices([*AWKWARD[2].split(), "no"], k=length)) for _ in range(count)
        ]
        tracemalloc.start()
        compute_typicality(texts, one_each(texts))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(10, 10)
    assert peak(4000, 15) - peak(1000, 15) < 3000 * 150
    assert peak(300, 900) - peak(100, 900) < 200 * 150 + 50_000


# words


@given(st.lists(st.text() | st.sampled_from(AWKWARD)))
def test_blocks_of_texts_have_the_words_of_each(texts: list[str]) -> None:
    hashes, lengths = typicality.tokenize(texts)
    assert lengths.tolist() == [len(tokenize_text(text)) + 1 for text in texts]
    words = [word[:64] for text in texts for word in [*tokenize_text(text), "<end>"]]
    numbers: dict[str, int] = {}
    for word, number in zip(words, hashes.tolist(), strict=True):
        assert numbers.setdefault(word, number) == number
    assert len(set(numbers.values())) == len(numbers)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See a Doctor!", ["see", "a", "doctor", "!"]),
        ("don't", ["don", "'", "t"]),
        ("去看 doctor吧", ["去", "看", "doctor", "吧"]),
        ("3.5_x", ["3", ".", "5_x"]),
        (" \t\n", []),
    ],
)
def test_words_and_marks(text: str, expected: list[str]) -> None:
    assert tokenize_text(text) == expected


def test_only_the_beginning_of_a_text_is_read() -> None:
    beginning = " ".join("ab"[n % 7 % 2] for n in range(MAX_WORDS))
    assert len(tokenize_text(beginning)) == MAX_WORDS
    texts = [beginning, "a b a", "b a b"]
    longer = [f"{beginning} and more", *texts[1:]]
    one, other = (TypicalityModel(some, one_each(some)).scores for some in (texts, longer))
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("வணக்கம், நண்பா!", ["வணக்கம்", ",", "நண்பா", "!"]),
        ("यह किताब हिंदी में है।", ["यह", "किताब", "हिंदी", "में", "है", "।"]),
        ("كَتَبَ رسالة.", ["كَتَبَ", "رسالة", "."]),
        ("ሰላም ነው።", ["ሰላም", "ነው", "።"]),
        ("გამარჯობა!", ["გამარჯობა", "!"]),
        ("น้ำ ชา", ["น", "้", "ำ", "ช", "า"]),
        ("我喝茶。", ["我", "喝", "茶", "。"]),
        ("caf\u0065\u0301", ["cafe", "\u0301"]),
    ],
)
def test_words_keep_their_vowel_signs(text: str, words: list[str]) -> None:
    assert tokenize_text(text) == words


@pytest.mark.parametrize("language", ["Thai", "Chinese", "Amharic", "Tamil", "Hindi", "Georgian"])
def test_common_wordings_are_typical_in_every_script(language: str) -> None:
    # Ten variants of one answer, beside ten unrelated sentences.
    sentences = SENTENCES[language]
    common = [f"{sentences[7]} {other}" for other in sentences[10:]]
    texts = common + sentences[:7] + sentences[8:10]
    typicality = compute_typicality(texts, np.arange(len(texts)))
    assert typicality[:10].min() > typicality[10:].max()
