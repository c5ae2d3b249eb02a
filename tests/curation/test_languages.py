from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isaac.curation.languages import (
    SCRIPT_NAMES,
    Languages,
    compatible,
    detect_languages,
    detect_scripts,
    same_language,
    summarize_languages,
)
from isaac.curation.unique_texts import UniqueTexts
from tests.curation.sentences import SENTENCES

MIXED = [(language, text) for language, texts in SENTENCES.items() for text in texts]


def names_of(texts: list[str]) -> list[str]:
    languages = detect_languages(texts)
    return ["unknown" if code < 0 else languages.names[code] for code in languages.code.tolist()]


@pytest.mark.parametrize("language", SENTENCES)
def test_a_corpus_in_one_language_is_in_that_language(language: str) -> None:
    assert names_of(SENTENCES[language]) == [language] * 20


def test_languages_of_a_mixed_corpus() -> None:
    found = names_of([text for _, text in MIXED])
    assert set(found) <= {*SENTENCES, "unknown"}
    wrong = [
        (language, name)
        for (language, _), name in zip(MIXED, found, strict=True)
        if name not in (language, "unknown")
    ]
    assert not wrong
    assert found.count("unknown") <= 10


def test_the_order_of_the_texts_changes_nothing() -> None:
    texts = [text for _, text in MIXED] + ["No!", "Ja.", "😀", "1984"]
    shuffled = random.Random(1).sample(texts, len(texts))
    by_text = dict(zip(texts, names_of(texts), strict=True))
    assert dict(zip(shuffled, names_of(shuffled), strict=True)) == by_text
    unique = UniqueTexts.of(texts)
    assert dict(zip(unique, names_of_unique(unique), strict=True)) == by_text


def names_of_unique(texts: UniqueTexts) -> list[str]:
    languages = detect_languages(texts)
    return ["unknown" if code < 0 else languages.names[code] for code in languages.code.tolist()]


def test_short_texts_follow_the_languages_of_the_corpus() -> None:
    short = ["No!", "Hi", "OK"]
    assert names_of([*SENTENCES["English"], *short])[-3:] == ["English"] * 3
    both = names_of([*SENTENCES["English"], *SENTENCES["Spanish"], *short])
    assert both[-3:] == ["unknown"] * 3


def test_a_rare_language_is_not_one_of_the_corpus() -> None:
    texts = [*SENTENCES["English"], SENTENCES["German"][0]]
    assert detect_languages(texts).names == ["English"]


def test_scripts() -> None:
    texts = [
        "straße",
        "Ελλάδα",
        "привет",
        "한국어",
        "かな",
        "漢字",
        "カナ",
        "ไทย",
        "ＡＢＣ",
        "№ 5 😀",
        "",
    ]
    names = [SCRIPT_NAMES[number] if number >= 0 else "" for number in detect_scripts(texts)]
    scripts = "Latin Greek Cyrillic Hangul Han Han Han Thai Latin".split()
    assert names == [*scripts, "", ""]


def test_the_script_with_most_letters_decides() -> None:
    texts = ["Das ist ein langer Satz über Токио", "Слово Linux по-русски", "日本語のUSBです"]
    names = [SCRIPT_NAMES[number] for number in detect_scripts(texts)]
    assert names == ["Latin", "Cyrillic", "Han"]


def test_short_chinese_characters_are_unknown_beside_japanese() -> None:
    texts = [*SENTENCES["Japanese"], *SENTENCES["Chinese"], "東京大学"]
    assert names_of(texts) == ["Japanese"] * 20 + ["Chinese"] * 20 + ["unknown"]
    assert names_of([*SENTENCES["Japanese"], "東京大学"])[-1] == "Japanese"
    assert names_of([*SENTENCES["Chinese"], "東京大学"])[-1] == "Chinese"


def test_an_unrecognized_language_is_named_by_its_script() -> None:
    assert detect_languages(["xq zzk"]).names == ["Latin script"]


def test_texts_without_letters_have_no_language() -> None:
    languages = detect_languages(["123", "😀", ""])
    assert languages.code.tolist() == languages.script.tolist() == [-1, -1, -1]
    assert languages.names == []
    assert summarize_languages(languages) == []


def test_no_texts() -> None:
    assert detect_languages([]).names == []


def test_summary_counts_texts_and_rows() -> None:
    texts = [*SENTENCES["Thai"], *SENTENCES["Georgian"][:10], "42"]
    languages = detect_languages(texts)
    shares = {share.name: share.texts for share in summarize_languages(languages)}
    assert shares == {"Thai": 20, "Georgian": 10}
    weights = np.array([1] * 20 + [10] * 10 + [7])
    first = summarize_languages(languages, weights)[0]
    assert (first.name, first.texts) == ("Georgian", 100)
    assert first.share == pytest.approx(100 / 120)


def test_progress_adds_up_to_the_number_of_texts() -> None:
    ticks: list[int] = []
    detect_languages([text for _, text in MIXED], ticks.append)
    assert sum(ticks) == len(MIXED)


LATIN, HAN = SCRIPT_NAMES.index("Latin"), SCRIPT_NAMES.index("Han")
ENGLISH, SPANISH, UNKNOWN, CHINESE, EMOJI = range(5)
FEW = Languages(
    np.array([0, 1, -1, 2, -1]),
    ["English", "Spanish", "Chinese"],
    np.array([LATIN, LATIN, LATIN, HAN, -1]),
)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (ENGLISH, ENGLISH, True),
        (ENGLISH, SPANISH, False),
        (ENGLISH, UNKNOWN, True),
        (UNKNOWN, SPANISH, True),
        (UNKNOWN, CHINESE, False),
        (CHINESE, ENGLISH, False),
        (EMOJI, ENGLISH, True),
        (EMOJI, CHINESE, True),
    ],
)
def test_which_texts_may_be_in_the_same_language(a: int, b: int, same: bool) -> None:
    for pair in ((a, b), (b, a)):
        assert bool(same_language(FEW, *map(np.array, pair))) is same


def test_same_language_broadcasts() -> None:
    own, candidates = np.array([ENGLISH, CHINESE])[:, None], np.array([SPANISH, UNKNOWN, CHINESE])
    expected = [[False, True, False], [False, False, True]]
    assert same_language(FEW, own, candidates).tolist() == expected


CODES = st.tuples(st.integers(-1, 2), st.integers(-1, 2))


@given(CODES, CODES)
def test_compatibility_is_symmetric(first: tuple[int, int], second: tuple[int, int]) -> None:
    (code_a, script_a), (code_b, script_b) = first, second
    codes, scripts = np.array([code_a, code_b]), np.array([script_a, script_b])
    forward = compatible((codes[0], codes[1]), (scripts[0], scripts[1]))
    assert forward == compatible((codes[1], codes[0]), (scripts[1], scripts[0]))


@settings(max_examples=30)
@given(st.lists(st.text(max_size=30), max_size=8))
def test_any_texts_have_a_language_or_none(texts: list[str]) -> None:
    languages = detect_languages(list(dict.fromkeys(texts)))
    assert ((languages.code >= -1) & (languages.code < len(languages.names))).all()
    assert (languages.code[languages.script < 0] == -1).all()
