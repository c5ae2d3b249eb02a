from __future__ import annotations

import numpy as np
import pytest

from isaac.curation.signals.combine import combine_signals
from isaac.curation.signals.self_training import self_trained_scores
from isaac.errors import IsaacError

COUNT = 500
RNG = np.random.default_rng(3)
WORDING = RNG.standard_normal(COUNT)
NEAR = WORDING + 0.5 * RNG.standard_normal(COUNT)
NOISE = RNG.standard_normal(COUNT)
GROUPS, FOLDS = np.arange(COUNT), np.arange(COUNT) % 5


def test_a_signal_that_agrees_counts_and_one_that_does_not_is_left_out() -> None:
    signals = {"wording": WORDING, "phrasing": NEAR, "noise": NOISE, "reversed": -WORDING}
    combined = combine_signals(signals, GROUPS, FOLDS)
    weights = {decision.signal: decision.weight for decision in combined.decisions}
    assert weights == {"wording": 1, "phrasing": 2, "noise": 0, "reversed": 0}
    without = combine_signals({"wording": WORDING, "phrasing": NEAR}, GROUPS, FOLDS).trust
    assert (combined.trust == without).all()
    reasons = {decision.signal: decision.reason for decision in combined.decisions}
    assert "counts 2 times" in reasons["phrasing"]
    assert "is left out: its rank correlation" in reasons["noise"]


def test_the_order_of_texts_and_signals_changes_no_trust() -> None:
    signals = {"wording": np.round(WORDING, 1), "phrasing": np.round(NEAR, 1)}
    trust = combine_signals(signals, GROUPS, FOLDS).trust
    order = np.random.default_rng(1).permutation(COUNT)
    shuffled = {name: scores[order] for name, scores in reversed(signals.items())}
    again = combine_signals(shuffled, order, FOLDS[order]).trust
    assert (again == trust[order]).all()
    assert len(np.unique(trust)) < COUNT  # equal scores share a rank


def test_copies_of_a_response_do_not_change_the_trust_of_others() -> None:
    signals = {"wording": WORDING, "phrasing": NEAR}
    copies = np.append(np.arange(COUNT), [7] * 50)
    copied = {name: scores[copies] for name, scores in signals.items()}
    trust = combine_signals(copied, GROUPS[copies], FOLDS[copies]).trust
    assert (trust[:COUNT] == combine_signals(signals, GROUPS, FOLDS).trust).all()


def test_a_veto_moves_its_last_responses_to_the_end_unless_they_are_typical() -> None:
    signals = {"wording": WORDING, "phrasing": NEAR}
    plain = combine_signals(signals, GROUPS, FOLDS).trust
    is_odd = np.quantile(WORDING, 0.2) > WORDING
    rejected = is_odd & (np.quantile(NOISE[is_odd], 0.24) > NOISE)
    combined = combine_signals(signals, GROUPS, FOLDS, {"profanity": -rejected.astype(float)})
    assert combined.decisions[-1].weight == 1
    assert combined.trust[rejected].max() < combined.trust[~rejected].min()
    assert (np.argsort(plain[~rejected]) == np.argsort(combined.trust[~rejected])).all()
    typical = np.quantile(WORDING, 0.97) < WORDING
    combined = combine_signals(signals, GROUPS, FOLDS, {"profanity": -typical.astype(float)})
    assert combined.decisions[-1].weight == 0
    assert (combined.trust == plain).all()


def test_signals_that_cannot_be_combined_are_refused() -> None:
    with pytest.raises(IsaacError, match="signals need 'wording'"):
        combine_signals({"phrasing": NEAR}, GROUPS, FOLDS)
    with pytest.raises(IsaacError, match="'states' must have one finite score for each of 500"):
        combine_signals({"wording": WORDING, "states": NEAR[1:]}, GROUPS, FOLDS)
    with pytest.raises(IsaacError, match="1 that are not"):
        combine_signals({"wording": np.append(WORDING[1:], np.nan)}, GROUPS, FOLDS)


def test_self_training_finds_the_direction_that_typicality_points_to() -> None:
    hidden = RNG.standard_normal(COUNT)
    vectors = RNG.standard_normal((COUNT, 8))
    vectors[:, 3] += 3 * hidden
    typicality = hidden + RNG.standard_normal(COUNT)
    scores = self_trained_scores(vectors, typicality, FOLDS)
    assert np.corrcoef(scores, hidden)[0, 1] > 0.85
    assert np.corrcoef(scores, hidden)[0, 1] > np.corrcoef(typicality, hidden)[0, 1]
    assert not self_trained_scores(vectors, typicality, np.zeros(COUNT, np.int64)).any()
    assert self_trained_scores(vectors[:0], typicality[:0], FOLDS[:0]).shape == (0,)
