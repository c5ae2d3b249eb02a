"""The scores of given responses."""

from __future__ import annotations

import numpy as np

from isaac import Healer
from isaac.curation.trust_signals import response_views
from isaac.curation.typicality import TypicalityModel
from isaac.healing.fitting import FitHealer
from isaac.healing.scoring import SignalModels


def test_trust_is_much_the_same_whether_the_corpus_has_a_response_or_not(
    demo_healer: Healer,
) -> None:
    strategy = demo_healer.strategy
    assert isinstance(strategy, FitHealer)
    curation = strategy.curation
    layout, scores = curation.layout, curation.response_scores
    texts = list(layout.responses)
    assert curation.responses is not None
    assert scores.signals is not None
    vectors = curation.responses.vectors[response_views(layout)]
    known = strategy.scorer.score(texts[:50], vectors[:50])
    assert [trust for _, trust in known] == scores.trust[:50].tolist()
    # Scored as new texts, whose own group then counts for them: a little higher.
    model = TypicalityModel(texts, scores.duplicate_group)
    typicality = model.typicality(model.score(texts))
    trust = SignalModels(curation, scores.signals).score(texts, typicality, vectors)
    assert np.corrcoef(trust, scores.trust)[0, 1] > 0.95
    assert np.abs(trust - scores.trust).mean() < 0.08


def test_a_new_response_is_scored_by_its_wording_and_by_responses_like_it(
    demo_healer: Healer,
) -> None:
    kind, rude = demo_healer.heal(
        [
            ("My parcel is late.", "I'm so sorry about that! I'll check with the courier for you."),
            ("My parcel is late.", "Wait your turn, whiner, parcels bore us to tears."),
        ]
    )
    assert kind.trust is not None
    assert rude.trust is not None
    assert kind.trust > 0.7
    assert rude.trust < 0.4
    assert kind.action == "kept"
