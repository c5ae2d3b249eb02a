from __future__ import annotations

import numpy as np
import pytest

from isaac.evaluate import confidence as ranges
from isaac.evaluate.arms import retained_share
from isaac.evaluate.confidence import PairsByPrompt, compute_retention_intervals
from isaac.evaluate.quality import compute_relevance, retained_variety
from isaac.models.encoders import HashingEncoder

ENCODER = HashingEncoder(64)
WORDS = [f"w{number}" for number in range(60)]


def talk(seed: int, prompts: int, blank: float) -> tuple[PairsByPrompt, PairsByPrompt]:
    """Return answers that hold some words of their prompt, and the same with some made bland."""
    random, before, after = np.random.default_rng(seed), [], []
    for _ in range(prompts):
        said = random.choice(WORDS, 8)
        context, reply = " ".join(said), " ".join([*said[:4], *random.choice(WORDS, 6)])
        before.append([(context, reply)])
        after.append([(context, "that is as it is" if random.random() < blank else reply)])
    return before, after


def flat(said: PairsByPrompt) -> list[tuple[str, str]]:
    return [pair for pairs in said for pair in pairs]


def replies(said: PairsByPrompt) -> list[str]:
    return [reply for _, reply in flat(said)]


def test_the_values_are_those_that_were_kept_and_the_same_again() -> None:
    before, after = talk(1, 50, 0.3)
    after = [pairs if place % 5 else [] for place, pairs in enumerate(after)]
    nothing, found = compute_retention_intervals([before, after], ENCODER)
    assert nothing == {}
    wanted = retained_share(
        compute_relevance(flat(after), ENCODER), compute_relevance(flat(before), ENCODER)
    )
    assert found["relevance"].value == pytest.approx(wanted)
    assert found["variety"].value == pytest.approx(
        retained_variety(replies(after), replies(before))
    )
    for value, low, high in found.values():
        assert low < value < high
    assert compute_retention_intervals([before, after], ENCODER) == [nothing, found]


def test_samples_of_one_prompt_stay_together() -> None:
    before, after = talk(1, 50, 0.3)
    once = compute_retention_intervals([before, after], ENCODER)[1]["relevance"]
    thrice = compute_retention_intervals(
        [[[*pairs, *pairs, *pairs] for pairs in said] for said in (before, after)], ENCODER
    )[1]
    width = thrice["relevance"].high - thrice["relevance"].low
    assert width == pytest.approx(once.high - once.low, rel=0.1)


def test_a_model_that_is_the_one_before_keeps_everything_for_sure() -> None:
    before, _ = talk(2, 30, 0)
    found = compute_retention_intervals([before, before], ENCODER)[1]
    assert found == {"relevance": (1, 1, 1), "variety": (1, 1, 1)}


def test_what_cannot_be_told_is_left_out() -> None:
    before, after = talk(3, 9, 0.3)
    assert compute_retention_intervals([before, after], ENCODER) == [{}, {}]
    before, after = talk(3, 30, 0.3)
    assert compute_retention_intervals([before, [[] for _ in after]], ENCODER) == [{}, {}]
    bland = [[(context, "yes indeed")] for pairs in before for context, _ in pairs]
    assert set(compute_retention_intervals([bland, after], ENCODER)[1]) == {"variety"}


def test_they_hold_the_truth_about_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "HALF_SAMPLES", 150)
    trials = [compute_retention_intervals(talk(seed, 60, 0.3), ENCODER)[1] for seed in range(100)]
    for name in ("relevance", "variety"):
        found = [trial[name] for trial in trials]
        truth = float(np.mean([one.value for one in found]))
        assert 0.88 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.99
