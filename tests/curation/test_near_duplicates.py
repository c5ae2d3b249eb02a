from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import overload

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isaac.curation import near_duplicates as duplicates
from isaac.curation import text_batches
from isaac.curation.near_duplicates import group_near_duplicates
from tests.curation.sentences import SENTENCES

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfgklmnprst"]

TEXTS = st.lists(st.text() | st.lists(st.sampled_from("a b c A, b. 1 é 中".split())).map(" ".join))
"""Any texts, and texts that are often near-duplicates."""


def alike(*texts: str) -> bool:
    return set(group_near_duplicates(texts).tolist()) == {0}


def apart(*texts: str) -> bool:
    return len(set(group_near_duplicates(texts).tolist())) == len(texts)


def distinct_words(random: Random, length: int) -> list[str]:
    return random.sample(WORDS, length)


def changed(random: Random, words: list[str], count: int = 1) -> list[str]:
    """Replace ``count`` of the words by new words that no other text has."""
    places = random.sample(range(len(words)), count)
    other = ["x" + "".join(random.choices(WORDS, k=3)) for _ in words]
    return [other[i] if i in places else word for i, word in enumerate(words)]


def groups_of(texts: list[str]) -> set[frozenset[str]]:
    groups: dict[int, set[str]] = {}
    for text, group in zip(texts, group_near_duplicates(texts).tolist(), strict=True):
        groups.setdefault(group, set()).add(text)
    return {frozenset(group) for group in groups.values()}


def jaccard(one: str, other: str) -> float:
    """The Jaccard index of the shingles of two plain texts."""
    sets = []
    for text in (one, other):
        words = text.split()
        sets.append({tuple(words[i : i + 3]) for i in range(len(words) - 2)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


REFUSAL = "I'm sorry, but I can't assist with that."


@pytest.mark.parametrize(
    "other",
    [
        "I'm sorry, but I can't assist with that!",
        "i'm sorry but i can't assist with that",
        "  I’M SORRY\n\n— but I can’t ASSIST with that 😔",
        "I'm sorry, but I can't assist with that. 17",
        "[3] I'm s\u00f3rry, but I can't assist with th\u0336at.",
        "I'm sorry, but I can't as\u200bsist with\u00a0that.",
        "Ｉ'm sorry, but I can't assist with that.",
        "I'm sorry, but I can't assist with that, friend.",
    ],
)
def test_small_changes_make_near_duplicates(other: str) -> None:
    assert alike(REFUSAL, other)


@pytest.mark.parametrize(
    "other",
    [
        "I'm sorry, but I can't help with your question.",
        "I can't assist with that.",
        "that with assist can't I but sorry I'm",
        "",
    ],
)
def test_texts_of_other_words_are_not_near_duplicates(other: str) -> None:
    assert apart(REFUSAL, other)


def test_short_texts_are_compared_word_for_word() -> None:
    assert alike("Yes.", "yes", " YES! ")
    assert alike("Thank you", "thank, you!")
    assert apart(
        "yes", "no", "yes sir", "yes 1", "sí", "si", "42", "43", "12 + 4 = 16", "6 - 4 = 2"
    )
    assert apart("", "!", "?", "👍", "👎", "…")


def test_numbers_do_not_count_as_words() -> None:
    assert alike("Ticket 17 is closed", "Ticket 18 is closed", "ticket is closed")


def test_in_scripts_without_spaces_each_character_is_a_word() -> None:
    text = "很抱歉，我无法回答这个问题，因为它可能涉及违法内容。"
    assert alike(text, text.replace("，", " "), text.replace("可能", "也许可能"), text + "谢谢")
    assert apart(text, "当然可以，这是你需要的菜谱，请先准备好所有的食材。")
    assert alike("ขอโทษครับ ผมช่วยเรื่องนี้ไม่ได้", "ขอโทษครับผมช่วยเรื่องนี้ไม่ได้")
    assert apart("मुझे खेद है", "मुझे खुशी है")


@given(st.randoms(use_true_random=False), st.integers(20, 200))
def test_a_word_changed_or_appended_in_twenty_is_a_small_change(random: Random, size: int) -> None:
    words = distinct_words(random, min(size, len(WORDS)))
    texts = [words, [*words, "more"], ["more", *words], words[1:]]
    assert alike(*map(" ".join, texts))
    assert size > duplicates.SKETCH_SHINGLES or alike(
        " ".join(words), " ".join(changed(random, words))
    )


@given(st.randoms(use_true_random=False), st.integers(5, 100), st.integers(1, 30))
def test_two_texts_are_joined_by_the_threshold(random: Random, size: int, changes: int) -> None:
    words = distinct_words(random, size)
    one, other = " ".join(words), " ".join(changed(random, words, min(changes, size)))
    assert alike(one, other) == (jaccard(one, other) >= duplicates.MIN_JACCARD)


def test_long_texts_are_compared_by_a_sample() -> None:
    words = [f"{a}{b}" for a in WORDS[:60] for b in WORDS[:60]]
    text, half = " ".join(words), " ".join(words[:1800])
    assert alike(text, " ".join(words[100:]), text + " and that is all")
    assert apart(text, half)
    parts = (text, half, " ".join(words[900:]))
    sketches = [duplicates._sketch_block([part], duplicates._WordHashes()) for part in parts]
    whole, first, last = (sketch.shingles for sketch in sketches)
    for one, other, share in ((whole, first, 0.5), (whole, last, 0.75), (first, last, 0.25)):
        assert duplicates._jaccard(one, other)[0] == pytest.approx(share, abs=0.15)


def test_variants_group_around_their_original_wherever_it_is() -> None:
    random = Random(0)
    words = distinct_words(random, 30)
    texts = [" ".join(changed(random, words)) for _ in range(300)]
    assert alike(*texts[:150], " ".join(words), *texts[150:])


def test_no_chain_joins_texts_that_differ() -> None:
    words = WORDS[:90]
    window = [" ".join(words[start : start + 30]) for start in range(60)]
    groups = groups_of(window)
    assert 4 < len(groups) < 30
    for group in groups:
        assert any(all(jaccard(a, b) >= duplicates.MIN_JACCARD for b in group) for a in group)


def test_copies_are_found_among_many_similar_texts() -> None:
    random = Random(1)
    greeting = distinct_words(random, 20)
    texts = [" ".join(greeting + distinct_words(random, 12)) for _ in range(500)]
    copies = [text + " indeed" for text in texts]
    assert group_near_duplicates(texts + copies).tolist() == [*range(500)] * 2


@given(TEXTS, st.randoms())
def test_the_order_of_texts_only_numbers_the_groups(texts: list[str], random: Random) -> None:
    texts = list(dict.fromkeys(texts))
    assert groups_of(texts) == groups_of(random.sample(texts, len(texts)))


def test_the_order_of_many_variants_only_numbers_the_groups() -> None:
    random = Random(3)
    originals = [distinct_words(random, 30) for _ in range(20)]
    texts = [" ".join(changed(random, words, random.randint(0, 3))) for words in originals * 20]
    texts = list(dict.fromkeys(texts))
    assert groups_of(texts) == groups_of(random.sample(texts, len(texts)))


@given(TEXTS)
def test_the_number_of_a_group_is_its_smallest_index(texts: list[str]) -> None:
    groups = group_near_duplicates(texts)
    assert groups.dtype == np.int64
    assert groups.shape == (len(texts),)
    assert (groups <= np.arange(len(texts))).all()
    assert np.array_equal(groups[groups], groups)


@settings(max_examples=25)
@given(TEXTS, st.integers(256, 4096))
def test_blocks_change_no_group(texts: list[str], size: int) -> None:
    groups = group_near_duplicates(texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "BLOCK_SIZE", size)
        patch.setattr(text_batches, "BLOCK_SIZE", size)
        assert np.array_equal(group_near_duplicates(texts), groups)


def many_variants(random: Random, originals: int, each: int, size: int) -> list[str]:
    """Distinct texts, many of which are near-duplicates."""
    texts = []
    for _ in range(originals):
        words = distinct_words(random, size)
        texts += [" ".join(changed(random, words, random.randint(0, 3))) for _ in range(each)]
    return list(dict.fromkeys(texts))


def test_the_bounds_of_memory_change_no_group() -> None:
    texts = many_variants(Random(5), 30, 20, 40)
    groups = group_near_duplicates(texts)
    assert 30 <= len(set(groups.tolist())) < len(texts) / 2
    for name, size in {
        "PART_SHINGLES": 1000,
        "MAX_CACHED_WORDS": 10,
        "SPILL_BYTES": 5000,
        "BLOCK_SIZE": 1000,
    }.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(duplicates, name, size)
            if name == "BLOCK_SIZE":
                patch.setattr(text_batches, name, size)
            assert np.array_equal(group_near_duplicates(texts), groups), name


def test_pairs_that_are_ruled_out_by_their_bits_are_not_alike() -> None:
    texts = many_variants(Random(6), 12, 12, 24)
    sketches = duplicates._sketch_block(texts, duplicates._WordHashes())
    pairs = np.array([(b, a) for b in range(len(texts)) for a in range(b)])
    one, other = (sketches.shingles.take(side) for side in pairs.T)
    alike_pairs = duplicates._jaccard(one, other) >= duplicates.MIN_JACCARD
    possible = duplicates._may_be_alike(sketches, pairs)
    assert possible[alike_pairs].all()
    assert alike_pairs.sum() > 30
    assert possible.mean() < 0.2


@given(st.lists(st.integers(0, 5) | st.integers(0, 2**64 - 1), min_size=1))
def test_first_occurrences_of_keys(keys: list[int]) -> None:
    found = duplicates._find_first_occurrences(np.array(keys, np.uint64)).tolist()
    assert found == [keys.index(key) for key in keys]


class Slices(Sequence[str]):
    """Texts that can be read in slices only, and count how often each is read."""

    def __init__(self, texts: list[str]) -> None:
        self.texts, self.passes = texts, Counter[int]()

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        assert isinstance(index, slice)
        self.passes.update(range(*index.indices(len(self))))
        return self.texts[index]


def test_texts_are_read_once_in_slices_with_progress() -> None:
    texts = Slices(many_variants(Random(7), 50, 10, 20))
    ticks: list[int] = []
    groups = group_near_duplicates(texts, ticks.append)
    assert np.array_equal(groups, group_near_duplicates(texts.texts))
    assert set(texts.passes.values()) == {1}
    assert sum(ticks) == len(texts)
    assert len(ticks) > 60
    assert min(ticks) >= 0


def peak_of(work: Callable[[], object]) -> int:
    """Bytes allocated at the peak."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_length_of_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {
        "BLOCK_SIZE": 1 << 14,
        "PART_SHINGLES": 1 << 14,
        "SPILL_BYTES": 1 << 16,
        "MAX_CACHED_WORDS": 64,
    }.items():
        monkeypatch.setattr(duplicates, name, size)
    monkeypatch.setattr(text_batches, "BLOCK_SIZE", 1 << 14)
    random = Random(8)
    short = [" ".join(random.choices(WORDS, k=15)) for _ in range(2000)]
    long = [" ".join(random.choices(WORDS, k=300)) for _ in range(500)]

    def peak(texts: list[str]) -> int:
        return peak_of(lambda: group_near_duplicates(texts))

    peak(long[:5])
    assert peak(long) - peak(long[:250]) < 250 * 800
    assert peak(short) - peak(short[:1000]) < 1000 * 800


@pytest.mark.parametrize("seed", ["0", "1"])
def test_groups_do_not_depend_on_the_process(seed: str) -> None:
    random = Random(4)
    words = distinct_words(random, 40)
    texts = [" ".join(changed(random, words, count)) for count in range(1, 6) for _ in range(10)]
    code = (
        "import sys; from isaac.curation.near_duplicates import group_near_duplicates;"
        "print(group_near_duplicates(sys.argv[1:]).tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *texts],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(group_near_duplicates(texts).tolist())


def test_hashes_stay_the_same() -> None:
    texts = ["", "One two three four"]
    digests, bits, bands, shingles = duplicates._sketch_block(texts, duplicates._WordHashes())
    assert shingles.lengths.tolist() == [1, 2]
    assert digests.tolist() == [13020603013274838756, 15139614778914929433]
    assert [bands[0][1], bands[-1][1]] == [10843190597499002117, 6875777159722727813]
    assert bits.tolist() == [1 << 54, 1 << 2 | 1 << 25]
    assert shingles.values.tolist() == [
        -2748827118050503532,
        855676130854464037,
        7311722180773831809,
    ]


@pytest.mark.parametrize(
    "text",
    [
        "x" * 10**6,
        "word " * 200_000,
        "中文" * 500_000,
        "a" + "\u0300\u0316" * 500_000,
        "\0\x1b[2J\x7f" * 200_000,
        "!" * 10**6,
        "\ufdfa" * 50_000,
        " ".join(str(n) for n in range(150_000)),
        " ".join(f"{a}{b}{c}" for a in WORDS[:50] for b in WORDS[:50] for c in WORDS[:50]),
    ],
    ids=lambda text: repr(text[:5]),
)
def test_a_huge_text_is_a_near_duplicate_of_itself_only(text: str) -> None:
    assert group_near_duplicates(["", "a b c", text, text + "\n", "a b d"]).tolist() == [
        0,
        1,
        2,
        2,
        4,
    ]


def test_every_character_is_read() -> None:
    every = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    texts = ["".join(every[start : start + 100]) for start in range(0, len(every), 100)]
    near = group_near_duplicates([*texts, *(f"\n{text} " for text in texts)])
    assert np.array_equal(near[: len(texts)], near[len(texts) :])


def test_no_texts_have_no_groups() -> None:
    assert group_near_duplicates([]).tolist() == []
    assert group_near_duplicates([""]).tolist() == [0]


@pytest.mark.parametrize("language", SENTENCES)
def test_near_duplicates_in_many_languages(language: str) -> None:
    sentences = SENTENCES[language]
    assert apart(*sentences)
    paragraph = " ".join(sentences[:5])
    assert alike(paragraph, paragraph.rstrip(".。።।") + " !", f"«{paragraph}» 2024")
    assert apart(paragraph, " ".join([*sentences[:2], *sentences[5:8]]))


def test_arabic_and_hebrew_vowel_points_are_ignored() -> None:
    assert alike("كَتَبَ الوَلَدُ رِسالَةً طَويلَةً", "كتب الولد رسالة طويلة")
    assert alike("שָׁלוֹם לְכָל הַיְלָדִים", "שלום לכל הילדים")


def test_vowel_signs_of_other_scripts_count() -> None:
    assert apart("मेरी माला कहाँ है", "मेरी मेले कहाँ हैं")
