from __future__ import annotations

import numpy as np
import pytest

from isaac.evaluate import confidence
from isaac.evaluate.arms import retained_share
from isaac.evaluate.confidence import PairsByPrompt, compute_retention_intervals
from isaac.evaluate.quality import compute_relevance, retained_variety
from isaac.models.encoders import HashingEncoder

ENCODER = HashingEncoder(64)
WORDS = [f"w{number}" for number in range(60)]


def make_answers(seed: int, prompts: int, bland: float) -> tuple[PairsByPrompt, PairsByPrompt]:
    """Replies that share words with their prompt, and the same with a share made bland."""
    random, before, after = np.random.default_rng(seed), [], []
    for _ in range(prompts):
        words = random.choice(WORDS, 8)
        context, reply = " ".join(words), " ".join([*words[:4], *random.choice(WORDS, 6)])
        before.append([(context, reply)])
        after.append([(context, "that is as it is" if random.random() < bland else reply)])
    return before, after


def flatten(by_prompt: PairsByPrompt) -> list[tuple[str, str]]:
    return [pair for pairs in by_prompt for pair in pairs]


def list_replies(by_prompt: PairsByPrompt) -> list[str]:
    return [reply for _, reply in flatten(by_prompt)]


def test_intervals_surround_the_shares_kept_and_are_reproducible() -> None:
    before, after = make_answers(1, 50, 0.3)
    after = [pairs if index % 5 else [] for index, pairs in enumerate(after)]
    baseline, intervals = compute_retention_intervals([before, after], ENCODER)
    assert baseline == {}
    relevance_kept = retained_share(
        compute_relevance(flatten(after), ENCODER), compute_relevance(flatten(before), ENCODER)
    )
    assert intervals["relevance"].value == pytest.approx(relevance_kept)
    assert intervals["variety"].value == pytest.approx(
        retained_variety(list_replies(after), list_replies(before))
    )
    for value, low, high in intervals.values():
        assert low < value < high
    assert compute_retention_intervals([before, after], ENCODER) == [baseline, intervals]


def test_samples_of_one_prompt_stay_together() -> None:
    before, after = make_answers(1, 50, 0.3)
    once = compute_retention_intervals([before, after], ENCODER)[1]["relevance"]
    thrice = compute_retention_intervals(
        [[[*pairs, *pairs, *pairs] for pairs in model] for model in (before, after)], ENCODER
    )[1]
    width = thrice["relevance"].high - thrice["relevance"].low
    assert width == pytest.approx(once.high - once.low, rel=0.1)


def test_the_baseline_itself_keeps_everything_without_uncertainty() -> None:
    before, _ = make_answers(2, 30, 0)
    intervals = compute_retention_intervals([before, before], ENCODER)[1]
    assert intervals == {"relevance": (1, 1, 1), "variety": (1, 1, 1)}


def test_undefined_intervals_are_left_out() -> None:
    before, after = make_answers(3, 9, 0.3)
    assert compute_retention_intervals([before, after], ENCODER) == [{}, {}]
    before, after = make_answers(3, 30, 0.3)
    assert compute_retention_intervals([before, [[] for _ in after]], ENCODER) == [{}, {}]
    bland = [[(context, "yes indeed")] for pairs in before for context, _ in pairs]
    assert set(compute_retention_intervals([bland, after], ENCODER)[1]) == {"variety"}


def test_intervals_cover_the_truth_about_as_often_as_they_claim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(confidence, "HALF_SAMPLES", 150)
    trials = [
        compute_retention_intervals(make_answers(seed, 60, 0.3), ENCODER)[1] for seed in range(100)
    ]
    for name in ("relevance", "variety"):
        intervals = [trial[name] for trial in trials]
        truth = float(np.mean([interval.value for interval in intervals]))
        covered = [interval.low <= truth <= interval.high for interval in intervals]
        assert 0.88 <= np.mean(covered) <= 0.99
