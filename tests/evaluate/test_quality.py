from __future__ import annotations

from itertools import combinations
from math import log

import numpy as np
import pytest

from isaac.evaluate.perplexity import TrigramModel, compute_perplexities
from isaac.evaluate.quality import (
    compute_relevance,
    compute_self_bleu,
    count_word_pairs,
    detect_collapse,
    measure_quality,
    rarefy,
    retained_variety,
)
from isaac.models.encoders import HashingEncoder

TALK = [
    ("Where can I buy fresh bread?", "The bakery by the station sells fresh bread until six."),
    ("My cat will not eat.", "Has the cat seen a vet? A cat that will not eat may be ill."),
    ("How tall is the tower?", "The tower is about ninety metres tall."),
    ("Is it going to rain?", "It may rain tonight, take an umbrella."),
]


def test_distinct_counts_words_and_pairs() -> None:
    pytest.importorskip("sacrebleu")
    found = measure_quality([("a", "the cat the cat"), ("b", "the dog")], HashingEncoder())
    assert found.replies == 2
    assert found.words == 3
    assert found.distinct_1 == 3 / 6
    assert found.distinct_2 == 3 / 4  # the cat (twice), cat the, the dog


def test_no_replies_have_no_quality() -> None:
    assert measure_quality([], HashingEncoder()) == (0, None, None, None, None, None)


def test_rarefaction_is_the_mean_over_all_draws() -> None:
    counts = np.array([3, 2, 1])
    items = [item for item, times in enumerate(counts) for _ in range(times)]
    for size in (1, 3, 5, 6):
        mean = np.mean([len({items[i] for i in sample}) for sample in combinations(range(6), size)])
        assert rarefy(counts, size) == pytest.approx(mean / size)
    assert rarefy(counts, 7) is None
    assert rarefy(counts, 0) is None


def test_longer_replies_of_the_same_words_do_not_lose_variety() -> None:
    random = np.random.default_rng(0)
    words = [f"w{number}" for number in range(300)]
    short = [" ".join(random.choice(words, 10)) for _ in range(100)]
    long = [" ".join(random.choice(words, 60)) for _ in range(100)]
    plain = [
        len(count_word_pairs(texts)) / count_word_pairs(texts).total() for texts in (short, long)
    ]
    assert plain[1] < 0.98 * plain[0]
    assert retained_variety(long, short) == pytest.approx(1, abs=0.01)
    assert retained_variety(["one reply to all"] * 100, short) == pytest.approx(0.01, abs=0.02)
    assert retained_variety([], short) is None


@pytest.mark.parametrize(
    "start", ["今天天气很好我们一起去", "วันนี้อากาศดีมากเราไปที่", "きょうはとてもいいてんき"]
)
def test_self_bleu_sees_what_replies_without_spaces_share(start: str) -> None:
    pytest.importorskip("sacrebleu")
    alike = compute_self_bleu([f"{start}{end}" for end in ("甲", "乙", "丙")])
    assert alike is not None
    assert alike > 60


def test_self_bleu_is_high_for_equal_replies_and_low_for_different_ones() -> None:
    pytest.importorskip("sacrebleu")
    replies = [reply for _, reply in TALK]
    different, same = compute_self_bleu(replies), compute_self_bleu([replies[0]] * 4)
    assert different is not None
    assert same == pytest.approx(100)
    assert different < 30
    assert compute_self_bleu(replies[:1]) is None


def test_one_reply_for_everything_has_no_relevance() -> None:
    encoder = HashingEncoder()
    matched, shifted = compute_relevance(TALK, encoder), compute_relevance(_shifted(), encoder)
    assert matched is not None
    assert shifted is not None
    assert matched > 0.1 > shifted
    same = [(context, "Where can I buy bread?") for context, _ in TALK]
    assert compute_relevance(same, encoder) == pytest.approx(0, abs=1e-12)
    assert compute_relevance(TALK[:1], encoder) is None


def _shifted() -> list[tuple[str, str]]:
    """The exchanges, each with the reply of the one before."""
    return [(TALK[place][0], TALK[place - 1][1]) for place in range(len(TALK))]


def test_a_model_with_one_reply_has_collapsed_whatever_its_spelling() -> None:
    found = detect_collapse(["I'm not sure.", "i'm  not sure", "I'M NOT SURE!"] * 4)
    assert found.collapsed
    assert (found.common, found.different) == (1.0, 1 / 12)
    assert found.reply == "I'm not sure."


def test_a_fifth_is_where_collapse_begins() -> None:
    others = [f"reply number {number}" for number in range(80)]
    assert not detect_collapse([*others, *["same"] * 20]).collapsed
    assert detect_collapse([*others[:79], *["same"] * 21]).collapsed
    assert detect_collapse([f"reply {number % 19}" for number in range(100)]).collapsed
    assert not detect_collapse([f"reply {number % 20}" for number in range(100)]).collapsed


def test_collapse_is_not_detected_in_few_replies() -> None:
    assert not detect_collapse(["yes"] * 9).collapsed
    assert detect_collapse([]) == (False, 0.0, 0.0, "")


def test_witten_and_bells_smoothing_by_hand() -> None:
    model = TrigramModel([["a", "b"]], frozenset({"a", "b"}))
    # Single words: a, b and </s> occur once each, 3 distinct of 3 tokens; the base is 1/4.
    single = (1 + 3 / 4) / (3 + 3)
    assert model.probability(("a",)) == pytest.approx(single)
    double = (1 + single) / 2  # after one <s>, a occurs once
    assert model.probability(("<s>", "a")) == pytest.approx(double)
    assert model.probability(("<s>", "<s>", "a")) == pytest.approx((1 + double) / 2)
    total = sum(model.probability(("<s>", "<s>", word)) for word in ("a", "b", "</s>", "<rare>"))
    assert total == pytest.approx(1)


def test_perplexity_counts_words_and_ends_of_replies() -> None:
    model = TrigramModel([["a"]], frozenset({"a"}))
    nats = -log(model.probability(("<s>", "<s>", "a")))
    nats -= log(model.probability(("<s>", "a", "</s>")))
    assert log(model.perplexity([["a"]])) == pytest.approx(nats / 2)


def test_backward_perplexity_exposes_one_reply_for_everything() -> None:
    real = [reply for _, reply in TALK] * 3
    rich, poor, nothing = compute_perplexities(real, [real, ["The tower is tall."] * 12, []])
    assert rich is not None
    assert poor is not None
    assert nothing is None
    assert poor.backward > 3 * rich.backward
    assert poor.backward > 20 * poor.forward
