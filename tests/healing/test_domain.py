"""What is outside a corpus: by similarity, by words and by script."""

from __future__ import annotations

import numpy as np
import pytest

from isaac import Healer
from isaac.curation.word_overlap import WordModel
from isaac.healing.domain import find_shares_of_known_words, list_words
from isaac.healing.fitting import FitHealer
from isaac.healing.scripts import find_script
from tests.healing.conftest import Pair

RUDE = "Stop moaning about it, nobody here cares."
INSIDE = "I was charged twice for one order, could you check it?"


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Hello, 世界", "LATIN"),
        ("Где моя посылка?", "CYRILLIC"),
        ("荷物がまだ届きません", "CJK"),
        ("ما هي عاصمة مصر؟", "ARABIC"),
        ("12 + 30 = 42 🙂", ""),
        ("", ""),
    ],
)
def test_the_script_of_a_text_is_that_of_most_letters(text: str, script: str) -> None:
    assert find_script(text) == script


def test_numbers_and_punctuation_are_no_words() -> None:
    assert list_words(["Pay 12 euros, now!", "42."]).lengths.tolist() == [3, 0]
    model = WordModel.fit([["pay the euros", "pay now"]])
    shares = find_shares_of_known_words(model, ["Pay 99 francs.", "42", "pay NOW?"])
    assert shares.tolist() == [0.5, 1.0, 1.0]


@pytest.mark.parametrize(
    ("exchange", "problem"),
    [
        (("Где моя посылка?", RUDE), "message in another script"),
        ((INSIDE, "Извините, я уточню у курьера."), "response in another script"),
        (("Ich warte seit Tagen auf mein Paket.", RUDE), "unknown words in the message"),
        ((INSIDE, "Das tut mir leid, ich frage sofort nach."), "unknown words in the response"),
        (("What do horses eat in winter?", RUDE), "no similar message"),
        ((INSIDE, "The first king was the son of the second king."), "no similar response"),
    ],
)
def test_the_reason_names_what_is_outside(
    demo_healer: Healer, exchange: Pair, problem: str
) -> None:
    healed = demo_healer.heal([exchange])[0]
    assert (healed.action, healed.response) == ("abstained", exchange[1])
    assert healed.reason == f"outside the corpus: {problem}"


def test_most_exchanges_of_the_corpus_are_inside(demo_healer: Healer, bundled: list[Pair]) -> None:
    strategy = demo_healer.strategy
    assert isinstance(strategy, FitHealer)
    exchanges = bundled[:500]
    contexts = strategy._embed_contexts([*exchanges])
    responses = strategy._embed_responses([*exchanges])
    selves = np.array([strategy._find_exchange(*one) for one in exchanges])
    assert (selves >= 0).all()
    prototypes = strategy.model.find_prototypes(contexts, selves)
    problems = strategy.domain.check([*exchanges], prototypes, responses, selves)
    inside = [problem is None for problem in problems.exchange]
    assert 0.9 <= np.mean(inside) < 1
    # An exchange that may compare itself with itself is more similar.
    new = np.full(len(selves), -1)
    again = strategy.domain.check(
        [*exchanges], strategy.model.find_prototypes(contexts, new), responses, new
    )
    assert np.mean(again.similarity) > np.mean(problems.similarity)
