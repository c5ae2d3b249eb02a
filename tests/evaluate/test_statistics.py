from __future__ import annotations

import sys

import numpy as np
import pytest

from isaac.errors import MissingExtraError
from isaac.evaluate.statistics import (
    bootstrap,
    compare_paired,
    estimate_clustered_share,
    holm,
    mcnemar,
    wilson_interval,
)

pytest.importorskip("statsmodels", reason="the extra evaluate is not installed")
pytest.importorskip("scipy", reason="the extra evaluate is not installed")


def one_each(unsafe: int, prompts: int) -> list[list[bool]]:
    return [[number < unsafe] for number in range(prompts)]


def test_one_answer_per_prompt_has_wilsons_interval() -> None:
    found = estimate_clustered_share(one_each(81, 263))
    assert found is not None
    # Newcombe 1998, table I: 81 of 263, with continuity correction
    assert (round(found.low, 4), round(found.high, 4)) == (0.2535, 0.3682)
    assert found.value == 81 / 263


@pytest.mark.parametrize(("unsafe", "size"), [(0, 20), (1, 29), (15, 148), (29, 29)])
def test_the_interval_contains_that_of_statsmodels_without_correction(
    unsafe: int, size: int
) -> None:
    from statsmodels.stats.proportion import proportion_confint

    found = estimate_clustered_share(one_each(unsafe, size))
    low, high = proportion_confint(unsafe, size, method="wilson")
    assert found is not None
    assert found.low <= low + 1e-12 <= high <= found.high + 1e-12
    assert found.high - found.low < high - low + 1.1 / size


def test_several_answers_to_one_prompt_count_for_less_than_as_many_prompts() -> None:
    alike = estimate_clustered_share([[True] * 4] * 10 + [[False] * 4] * 30)
    apart = estimate_clustered_share([[True, False, False, False]] * 40)
    assert alike is not None
    assert apart is not None
    assert alike == wilson_interval(0.25, 40)  # four equal answers count as one
    assert apart == wilson_interval(0.25, 160)  # independent answers count as four


def test_no_answers_have_no_share() -> None:
    assert estimate_clustered_share([]) is None
    assert estimate_clustered_share([[], []]) is None


def test_mcnemar_is_the_exact_binomial_of_the_pairs_that_changed() -> None:
    from scipy.stats import binomtest

    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 0) == pytest.approx(2 * 0.5**5)
    assert mcnemar(12, 3) == pytest.approx(binomtest(3, 15).pvalue)
    assert mcnemar(3, 12) == pytest.approx(mcnemar(12, 3))


def test_holm_multiplies_by_how_many_are_left() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_a_difference_is_over_the_prompts_with_a_verdict_for_both() -> None:
    found = compare_paired([1.0, 1.0, 0.0, None, 1.0], [0.0, 1.0, 0.0, 1.0, None])
    assert (found.pairs, found.better, found.worse) == (3, 1, 0)
    assert found.change.value == pytest.approx(-1 / 3)
    assert found.p == 1.0


def test_without_pairs_the_interval_is_the_whole_range() -> None:
    found = compare_paired([None], [1.0])
    assert (found.pairs, found.change, found.p) == (0, (0.0, -1.0, 1.0), 1.0)


def test_equal_prompts_do_not_prove_that_no_prompt_differs() -> None:
    found = bootstrap([0.0] * 50)
    assert found.value == 0
    assert found.high == -found.low == wilson_interval(0, 50).high


def test_prompts_that_all_change_by_the_same_have_an_interval_with_a_width() -> None:
    found = bootstrap([-1.0, -1.0])
    assert (found.value, found.low) == (-1.0, -1.0)
    assert found.high > -0.5
    assert bootstrap([-1.0] * 500).high < -0.98
    assert bootstrap([0.25] * 50).low < 0.25 < bootstrap([0.25] * 50).high


def test_the_bootstrap_is_seeded_and_near_the_normal_interval() -> None:
    steps = np.random.default_rng(5).choice([-1.0, 0.0, 1.0], 400, p=[0.3, 0.6, 0.1])
    found = bootstrap(steps, seed=1)
    assert found == bootstrap(steps, seed=1)
    error = 1.96 * steps.std() / np.sqrt(len(steps))
    assert found.low == pytest.approx(steps.mean() - error, abs=0.01)
    assert found.high == pytest.approx(steps.mean() + error, abs=0.01)


def test_the_bootstrap_draws_prompts_from_the_seeded_generator_batch_by_batch() -> None:
    steps = np.random.default_rng(3).normal(size=70)
    random = np.random.default_rng(4)
    batches = [random.integers(0, 70, (rows, 70)) for rows in [256] * 39 + [16]]
    means = np.concatenate([steps[batch].mean(axis=1) for batch in batches])
    assert bootstrap(steps, seed=4) == (steps.mean(), *np.percentile(means, [2.5, 97.5]))


def test_the_bootstrap_interval_covers_the_true_mean_about_as_often_as_it_claims(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("isaac.evaluate.statistics.RESAMPLES", 600)
    random, truth = np.random.default_rng(7), 0.1 - 0.25
    covered = 0
    for trial in range(200):
        steps = random.choice([-1.0, 0.0, 1.0], 100, p=[0.25, 0.65, 0.1])
        low, high = bootstrap(steps, seed=trial)[1:]
        covered += low <= truth <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "statsmodels.stats.contingency_tables", None)
    with pytest.raises(MissingExtraError, match=r"\[evaluate\]"):
        mcnemar(3, 1)
