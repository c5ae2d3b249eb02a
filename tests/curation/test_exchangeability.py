from __future__ import annotations

import math
from random import Random
from typing import Any

import numpy as np
import pytest

from isaac.corpus.corpus import Corpus
from isaac.curation import exchangeability
from isaac.curation.curate import prepare
from isaac.curation.fit import FitModel, fit_references
from isaac.curation.resources import Tools
from isaac.curation.storage import EXCHANGEABILITY_KEY
from isaac.recipe import Recipe
from isaac.runtime.arrays import Ints
from isaac.runtime.engines import LocalEngine
from tests.runtime.test_storage import Remembering

Pairs = list[tuple[str, str]]

HASHING = {"context_encoder": "hashing", "response_encoder": "hashing"}
RECIPE = Recipe.of({**HASHING, "mode": "filter", "view": "whole", "radius": 1.0})
NAMES = [f"{a}{b}{c}{d}" for a in "bdfgklmnp" for b in "aeiou" for c in "bdfgk" for d in "aeiou"]


def facts(count: int) -> Pairs:
    """Questions with answers that are about the thing in the question only."""
    letters, pairs = Random(2), []
    for n in range(count):
        a, b = ("".join(letters.choices("abcdefghiklmnoprstuvw", k=9)) for _ in range(2))
        thing = ("river", "city", "tower", "king", "bridge", "castle")[n % 6]
        pairs.append((f"tell me about the {thing} {a} {b}", f"the {thing} {a} {b} is old"))
    return pairs


def small_talk(count: int) -> Pairs:
    """Messages with responses that would answer any other message just as well."""
    rng = Random(0)
    words = [
        rng.choices("really so very oh well dear indeed sure".split(), k=6) for _ in range(count)
    ]
    return [(f"tell me about {NAMES[n]}", " ".join(words[n])) for n in range(count)]


def measured(pairs: Pairs, tools: Tools | None = None) -> float:
    return prepare(Corpus.of(pairs), RECIPE, tools).policy.own_fits_best


def test_facts_answer_one_message_only_and_small_talk_answers_any() -> None:
    own_facts, own_talk = measured(facts(300)), measured(small_talk(300))
    assert own_facts > exchangeability.OWN_FITS_BEST_BOUND > own_talk
    # By chance, the best of six responses is the row's own in one of six rows.
    assert own_talk < 0.4


@pytest.mark.parametrize(("count", "is_measured"), [(1, False), (199, False), (200, True)])
def test_a_small_corpus_shows_nothing(count: int, is_measured: bool) -> None:
    assert math.isnan(measured(facts(count))) != is_measured


def test_copies_of_an_exchange_do_not_make_a_corpus_large() -> None:
    assert math.isnan(measured(facts(100) * 5))


def test_the_exchanges_that_are_tested_are_not_in_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchangeability, "MAX_SAMPLE", 50)
    fitted: list[Ints] = []
    tested: list[Ints] = []
    compare = exchangeability._compare

    def spy_fit(*arguments: Any) -> FitModel:
        fitted.append(arguments[4])
        return fit_references(*arguments)

    def spy_compare(*arguments: Any) -> float:
        tested.append(arguments[4])
        return compare(*arguments)

    monkeypatch.setattr(exchangeability, "fit_references", spy_fit)
    monkeypatch.setattr(exchangeability, "_compare", spy_compare)
    share = measured(facts(300))
    assert (len(fitted[0]), len(tested[0])) == (250, 50)
    assert not set(fitted[0].tolist()) & set(tested[0].tolist())
    assert share * 50 == pytest.approx(round(share * 50))


def test_the_share_does_not_depend_on_the_order_of_rows_or_the_workers() -> None:
    pairs = [*facts(120), *small_talk(120)]
    expected = measured(pairs)
    assert 0 < expected < 1
    shuffled = Random(1).sample(pairs, len(pairs))
    assert measured(shuffled, Tools(engine=LocalEngine(3))) == expected


def test_the_share_is_stored() -> None:
    store = Remembering()
    share = measured(facts(200), Tools(store))
    assert store.stored[EXCHANGEABILITY_KEY] == share
    store.stored[EXCHANGEABILITY_KEY] = np.array(0.25)
    assert measured(facts(200), Tools(store)) == 0.25
