from __future__ import annotations

import math
from typing import Any

import pytest

from isaac.corpus.corpus import Corpus
from isaac.curation.curate import Curation, prepare
from isaac.curation.exchangeability import OWN_FITS_BEST_BOUND
from isaac.curation.policy import (
    MAX_REPEATED,
    MIN_EXCHANGES,
    MIN_TRUSTED_RELEVANCE,
    Policy,
    _explain_mode,
)
from isaac.recipe import Recipe
from tests.curation.test_exchangeability import HASHING, NAMES, Pairs, facts, small_talk

FIXED = {**HASHING, "trust": "smoothed", "view": "whole", "radius": 1.0}


def prepared(pairs: Pairs, groups: list[str] | None = None, **fields: Any) -> Curation:
    return prepare(Corpus.of(pairs, groups=groups), Recipe.of({**FIXED, **fields}))


def advice(count: int) -> Pairs:
    """Answers that repeat a word of their message, and that fit all messages with that word."""
    parts = "head knee back foot hand neck ear eye".split()
    tips = [f"{a} {b}" for a in "put get use".split() for b in "ice rest tea heat".split()]
    return [
        (
            f"my {parts[n % 8]} hurts {NAMES[n]} {NAMES[-n]}",
            f"{tips[n % 12]} for your {parts[n % 8]} {NAMES[3 * n % 450]}",
        )
        for n in range(count)
    ]


def refusals(count: int) -> Pairs:
    """Most responses answer their message; the most typical ones refuse whatever is asked."""
    polite = "sorry i cannot help you with that request at all my friend".split()
    pairs = [(context, f"{context}: {response}") for context, response in advice(count)]
    for n in range(0, count, 3):
        words = [word for place, word in enumerate(polite) if (n // 3) >> (place % 10) & 1 == 0]
        pairs[n] = (pairs[n][0], " ".join(words) or "no")
    return pairs


def test_a_corpus_of_advice_is_curated_selectively() -> None:
    found = prepared(advice(300))
    policy = found.policy
    assert found.recipe.mode == policy.mode == "selective"
    assert policy.own_fits_best < OWN_FITS_BEST_BOUND
    assert policy.trusted_relevance > MIN_TRUSTED_RELEVANCE
    assert policy.repeated == 0
    assert policy.is_exchangeable
    assert policy.is_relevant
    assert found.choice is not None
    assert found.choice.mode == "selective"
    assert found.choice.reasons[0] == f"mode selective: {policy.reason}"


def test_rows_are_only_dropped_where_responses_answer_one_message() -> None:
    found = prepared(facts(300))
    assert found.recipe.mode == "filter"
    assert not found.policy.is_exchangeable
    share = f"{found.policy.own_fits_best:.0%} of rows fits best"
    assert share in found.policy.reason
    # By key every response of a group fits.
    groups = [f"{n % 5}" for n in range(300)]
    assert prepared(facts(300), groups, group_by="verb").recipe.mode == "selective"


def test_rows_are_redrawn_freely_where_trusted_responses_refuse() -> None:
    found = prepared(refusals(300))
    assert found.policy.trusted_relevance < MIN_TRUSTED_RELEVANCE
    assert found.recipe.mode == "resample"
    assert "as refusals are" in found.policy.reason


@pytest.mark.parametrize("count", [1, 2, 60, MIN_EXCHANGES - 1])
@pytest.mark.parametrize("make", [advice, facts, refusals, small_talk])
def test_in_a_corpus_of_a_few_rows_they_are_only_dropped(count: int, make: Any) -> None:
    found = prepared(make(count))
    assert found.recipe.mode == "filter"
    assert f"{count:,} exchanges are too few" in found.policy.reason


def test_rows_are_only_dropped_where_responses_are_repeated() -> None:
    pairs = [
        (context, response if n % 5 > 2 else f"buy now!{'!' * (n % 3)}")
        for n, (context, response) in enumerate(advice(300))
    ]
    found = prepared(pairs)
    assert found.policy.repeated == 0.6
    if found.policy.is_relevant:
        assert found.recipe.mode == "filter"
        assert "60% of the rows have a response that is repeated" in found.policy.reason


def test_four_copies_are_not_repeated_and_five_are() -> None:
    for copies, repeated in ((4, 0), (5, 5 / 304)):
        pairs = [*advice(304 - copies), *((f"hi {n}", "buy now") for n in range(copies))]
        assert prepared(pairs).policy.repeated == pytest.approx(repeated)


def test_responses_compared_as_text_are_drawn_from_clusters() -> None:
    pairs = advice(240)
    groups = [str(n % 8) for n in range(240)]
    found = prepared(pairs, groups, group_by="part", clusters="text")
    assert found.contexts is None
    assert found.recipe.mode == "resample"
    assert math.isnan(found.policy.own_fits_best)
    assert found.policy.is_exchangeable
    assert found.policy.is_relevant


@pytest.mark.parametrize("mode", ["selective", "resample", "filter", "pairs"])
def test_a_mode_that_is_given_is_used(mode: str) -> None:
    found = prepared(facts(200), mode=mode, neighbors=20)
    assert found.recipe.mode == found.policy.mode == mode
    assert found.policy.own_fits_best > OWN_FITS_BEST_BOUND  # measured all the same
    assert found.choice is None


def test_relevance_needs_one_encoder_for_both_texts() -> None:
    assert math.isnan(prepared(advice(240), response_encoder="wordllama").policy.trusted_relevance)


def test_what_was_not_measured_speaks_against_nothing() -> None:
    policy = Policy("selective", "", 0.0, math.nan, math.nan, math.nan)
    assert policy.is_exchangeable
    assert policy.is_relevant
    assert _explain_mode(policy, MIN_EXCHANGES, by_key=False)[0] == "selective"


@pytest.mark.parametrize(
    ("repeated", "own", "relevance", "rows", "by_key", "mode"),
    [
        (0.0, 0.3, 1.0, 200, False, "selective"),
        (0.0, OWN_FITS_BEST_BOUND - 0.01, MIN_TRUSTED_RELEVANCE, 200, False, "selective"),
        (MAX_REPEATED, 0.3, 1.0, 200, False, "selective"),
        (MAX_REPEATED + 0.01, 0.3, 1.0, 200, False, "filter"),
        (MAX_REPEATED + 0.01, 0.3, 1.0, 200, True, "filter"),
        (0.0, OWN_FITS_BEST_BOUND, 1.0, 200, False, "filter"),
        (0.0, OWN_FITS_BEST_BOUND, 1.0, 200, True, "selective"),
        (0.0, 0.3, 1.0, 199, False, "filter"),
        (0.0, 0.3, MIN_TRUSTED_RELEVANCE - 0.01, 200, False, "resample"),
        (0.0, 0.3, MIN_TRUSTED_RELEVANCE - 0.01, 199, False, "filter"),
        (0.0, 0.9, MIN_TRUSTED_RELEVANCE - 0.01, 200, True, "resample"),
        (0.0, 0.3, -0.5, 200, False, "resample"),
    ],
)
def test_the_mode_depends_on_what_was_measured(
    repeated: float, own: float, relevance: float, rows: int, by_key: bool, mode: str
) -> None:
    policy = Policy("selective", "", repeated, own, relevance, math.nan)
    found, reason = _explain_mode(policy, rows, by_key=by_key)
    assert found == mode
    assert reason
