from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isaac.curation import word_overlap
from isaac.curation.typicality import tokenize_text
from isaac.curation.word_overlap import MAX_WORD_SHARE, WordModel, compare_word_sets

VOCABULARY = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnt"]
TEXTS = st.lists(
    st.lists(st.sampled_from([*VOCABULARY, "the", "The", "?", "何"]), max_size=8).map(" ".join),
    max_size=30,
)


class PlainWords:
    """The overlap of texts in rare words, with dictionaries."""

    def __init__(self, texts: list[str]) -> None:
        self.total = max(len(texts), 1)
        self.counts = Counter(word for text in texts for word in set(tokenize_text(text)))

    def weigh(self, text: str) -> dict[str, float]:
        """The weight of each rare word of a text."""
        seen = {word: self.counts.get(word, 1) for word in set(tokenize_text(text))}
        limit = MAX_WORD_SHARE * self.total
        return {
            word: math.log(self.total / count) for word, count in seen.items() if count <= limit
        }

    def overlap(self, one: str, other: str) -> float:
        """The cosine of two texts."""
        a, b = self.weigh(one), self.weigh(other)
        lengths = [math.sqrt(sum(weight**2 for weight in words.values())) for words in (a, b)]
        if not all(lengths):
            return 0.0
        return sum(weight * b.get(word, 0) for word, weight in a.items()) / math.prod(lengths)

    def compare(self, message: str, response: str, own_message: str) -> float:
        """The overlap of message and response, minus that of the response with its own message.

        Of the latter, only words that the message lacks count.
        """
        asked, answer, own = map(self.weigh, (message, response, own_message))
        lengths = [
            math.sqrt(sum(weight**2 for weight in words.values())) for words in (answer, own)
        ]
        echoes = [word for word in answer if word in own and word not in asked]
        echoed = sum(answer[word] * own[word] for word in echoes)
        return self.overlap(message, response) - echoed / (math.prod(lengths) or 1)


@settings(max_examples=60)
@given(TEXTS, TEXTS, TEXTS, st.data())
def test_a_response_about_something_else_compares_as_with_dictionaries(
    fitted: list[str], messages: list[str], answers: list[str], data: st.DataObject
) -> None:
    fitted = [*fitted, *VOCABULARY[:40]]
    model, plain = WordModel.fit([fitted]), PlainWords(fitted)
    own = data.draw(st.permutations(answers))
    # Answers that repeat some words of their own message.
    answers = [
        f"{text} {' '.join(other.split()[:2])}" for text, other in zip(answers, own, strict=True)
    ]
    places = st.tuples(st.integers(0, len(messages) - 1), st.integers(0, len(answers) - 1))
    pairs = data.draw(st.lists(places, max_size=40)) if messages and answers else []
    numbers = np.array(pairs, np.int64).reshape(-1, 2)
    asked, given_answers, own_sets = map(model.transform, (messages, answers, own))
    found = compare_word_sets(asked, given_answers, own_sets, numbers[:, 0], numbers[:, 1])
    assert found.tolist() == pytest.approx(
        [plain.compare(messages[one], answers[other], own[other]) for one, other in pairs], abs=1e-9
    )


@settings(max_examples=60)
@given(TEXTS, TEXTS, TEXTS, st.data())
def test_overlaps_are_those_of_dictionaries(
    fitted: list[str], ones: list[str], others: list[str], data: st.DataObject
) -> None:
    fitted = [*fitted, *VOCABULARY[:40]]  # a word is rare if there are many texts
    half = len(fitted) // 2
    model, plain = WordModel.fit([fitted[:half], fitted[half:]]), PlainWords(fitted)
    places = st.tuples(st.integers(0, len(ones) - 1), st.integers(0, len(others) - 1))
    pairs = data.draw(st.lists(places, max_size=40)) if ones and others else []
    numbers = np.array(pairs, np.int64).reshape(-1, 2)
    found = model.transform(ones).overlaps(numbers[:, 0], model.transform(others), numbers[:, 1])
    assert found.shape == (len(pairs),)
    assert found.dtype == np.float64
    assert found.tolist() == pytest.approx(
        [plain.overlap(ones[one], others[other]) for one, other in pairs]
    )


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(VOCABULARY, 4)) for _ in range(200)]
    model = WordModel.fit([texts])
    words = model.transform(texts)
    numbers, others = rng.integers(0, 200, (2, 500))
    whole = words.overlaps(numbers, words, others)
    monkeypatch.setattr(word_overlap, "BLOCK_WORDS", 7)
    assert words.overlaps(numbers, words, others).tolist() == whole.tolist()
    assert len(set(whole.tolist())) > 10


def test_a_text_overlaps_with_itself_and_words_of_many_texts_do_not_count() -> None:
    texts = [f"the {word} is here" for word in VOCABULARY]
    model = WordModel.fit([texts])
    words = model.transform([texts[0], f"where is the {VOCABULARY[0]}", "the is here", ""])
    every = np.arange(4)
    assert words.overlaps(every, words, every).tolist() == pytest.approx([1, 1, 0, 0])
    first = np.zeros(4, np.int64)
    # "where" is new, so it counts as rare; "the" and "is" do not count.
    found = words.overlaps(first, words, every).tolist()
    assert found == pytest.approx([1, 1 / math.sqrt(2), 0, 0])


def test_in_a_corpus_of_a_few_texts_no_word_is_rare() -> None:
    texts = ["see a doctor", "see a vet", "cook pasta"]
    words = WordModel.fit([texts]).transform(texts)
    assert words.words.lengths.tolist() == [0, 0, 0]
    assert words.overlaps(np.array([0]), words, np.array([0])).tolist() == [0]
