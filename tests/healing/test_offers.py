"""Which responses may replace others."""

from __future__ import annotations

import numpy as np
import pytest

from isaac import Healer
from isaac.curation.near_duplicates import are_near_duplicates, group_near_duplicates
from isaac.curation.response_scores import drawable_rows
from isaac.curation.word_overlap import WordModel
from isaac.healing.fitting import FitHealer
from isaac.healing.offers import Echoes


def test_offers_are_trusted_drawable_and_no_near_duplicates(demo_healer: Healer) -> None:
    strategy = demo_healer.strategy
    assert isinstance(strategy, FitHealer)
    layout, scores = strategy.curation.layout, strategy.curation.response_scores
    rows = strategy.offers.rows
    assert len(rows) > 100
    assert (scores.trust[layout.response[rows]] >= strategy.threshold).all()
    assert drawable_rows(layout, scores, strategy.curation.recipe)[rows].all()
    groups = scores.duplicate_group[layout.response[rows]]
    assert len(np.unique(groups)) == len(groups)


def test_an_offer_that_names_what_its_own_message_names_is_for_that_message() -> None:
    messages = ["my vase broke", "what is this charge", "where is it"]
    offers = ["Sorry about the vase.", "We refunded the charge.", "We will look where it is."]
    # Among 400 texts, "vase" is rare, "charge" is not.
    model = WordModel.fit([messages, offers, [f"a charge {n}" for n in range(9)]])
    model = model._replace(text_count=np.array([400]))
    echoes = Echoes.find(model, messages, model.transform(offers))
    tiles, vase = model.transform(["my tiles broke"]), model.transform(["this vase is broken"])
    every = np.arange(3)
    assert [echoes.has_names(tiles, offer) for offer in (0, 1)] == [False, True]
    assert echoes.has_names(vase, 0)
    # The word that is missing counts all the same.
    assert (echoes.count_missing(tiles, every)[:2] > 0).all()
    assert echoes.count_missing(vase, every)[0] == pytest.approx(0)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("I'm so sorry, we will send a new one today!", "im so sorry we will send a new one TODAY"),
        ("I'm so sorry, we will send a new one today!", "You should have looked after it better."),
        ("Sorry!", "sorry"),
        ("Sorry!", "Never."),
    ],
)
def test_two_texts_are_near_duplicates_as_in_a_corpus(text: str, other: str) -> None:
    groups = group_near_duplicates([text, other])
    assert are_near_duplicates(text, other) == (groups[0] == groups[1])
