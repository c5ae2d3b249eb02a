from __future__ import annotations

import numpy as np

from isaac.curation.signals.reference import (
    REFERENCE_PAIRS,
    ReferenceDirection,
    list_reference_texts,
)
from isaac.curation.signals.states import StateDirection
from isaac.curation.vectors import GridVectors, to_grid

COUNT, WIDTH = 600, 24
GROUPS, FOLDS = np.arange(COUNT), np.arange(COUNT) % 5


def make_states(tone: np.ndarray, seed: int) -> GridVectors:
    """States with a large common mean, one huge dimension, and the tone in two small ones."""
    states = np.random.default_rng(seed).standard_normal((len(tone), WIDTH))
    states[:, 4] += 2 * tone
    states[:, 5] -= 2 * tone
    states[:, 0] *= 20
    return to_grid(states + 10)


TONE = np.random.default_rng(0).standard_normal(COUNT)
TYPICALITY = TONE + np.random.default_rng(1).standard_normal(COUNT)
STATES = make_states(TONE, 2)


def test_the_direction_follows_the_tone_better_than_typicality_does() -> None:
    direction = StateDirection(STATES, TYPICALITY, GROUPS, FOLDS)
    follows = np.corrcoef(direction.scores, TONE)[0, 1]
    assert follows > 0.75
    assert follows > np.corrcoef(TYPICALITY, TONE)[0, 1]
    new_tone = np.linspace(-2, 2, 50)
    assert np.corrcoef(direction.score(make_states(new_tone, 5)), new_tone)[0, 1] > 0.75
    assert direction.score(STATES[:0]).shape == (0,)


def test_a_text_is_scored_by_other_folds_only() -> None:
    direction = StateDirection(STATES, TYPICALITY, GROUPS, FOLDS)
    changed = TYPICALITY.copy()
    mine = FOLDS == 2
    changed[mine] = np.sort(changed[mine])
    again = StateDirection(STATES, changed, GROUPS, FOLDS)
    raw = direction._project(direction.standardization.apply(STATES), FOLDS)
    assert (raw[mine] == again._project(again.standardization.apply(STATES), FOLDS)[mine]).all()


def test_copies_of_a_response_change_no_score() -> None:
    copies = np.append(np.arange(COUNT), [3] * 100)
    copied = StateDirection(STATES[copies], TYPICALITY[copies], GROUPS[copies], FOLDS[copies])
    alone = StateDirection(STATES, TYPICALITY, GROUPS, FOLDS)
    assert (copied.scores[:COUNT] == alone.scores).all()


def test_reference_pairs_differ_in_tone_and_hardly_in_length() -> None:
    assert len(REFERENCE_PAIRS) == 10
    texts = list_reference_texts()
    assert len(set(texts)) == 20
    kind, rude = (sum(map(len, part)) for part in (texts[:10], texts[10:]))
    assert 0.7 < rude / kind < 1.3


def test_the_reference_direction_ranks_by_the_tone_of_the_pairs() -> None:
    def embed(texts: list[str]) -> GridVectors:
        assert texts == list_reference_texts()
        return make_states(np.repeat([2.0, -2.0], 10), 9)

    scores = ReferenceDirection(STATES, GROUPS, embed).scores
    assert np.corrcoef(scores, TONE)[0, 1] > 0.5
    assert ReferenceDirection(STATES[:0], GROUPS[:0], embed).scores.shape == (0,)
