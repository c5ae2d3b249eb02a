from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaac.curation import candidates as candidates_module
from isaac.curation.candidates import CandidateTable, DrawsWithOdds, capacity_prices
from isaac.curation.resources import Tools
from isaac.curation.storage import MemoryStorage
from isaac.runtime.arrays import Ints, Reals
from tests.curation.test_candidates import array, drawn_from, rows_of, settled

# prices


def candidates_of(weights: Any) -> CandidateTable:
    """Candidates 0, 1, ... of each row with these weights, best first or not."""
    weights = np.asarray(weights, np.float32)
    rows = np.tile(np.arange(weights.shape[1]), (len(weights), 1))
    return CandidateTable(rows, np.zeros_like(rows), weights)


def priced(
    candidates: CandidateTable, groups: Ints, row_counts: Ints, bound: float
) -> CandidateTable:
    """The candidates with their prices subtracted."""
    prices = capacity_prices(candidates, groups, row_counts, bound, Tools())
    weights = candidates.weights - prices[groups[candidates.rows]]
    return candidates._replace(weights=weights.astype(np.float32))


def load_of(candidates: CandidateTable, groups: Ints, row_counts: npt.NDArray[Any]) -> Reals:
    """How many rows are expected to draw each group of near-duplicates."""
    weights = candidates.weights.astype(float)
    shares = np.exp(weights - candidates.weights.max(axis=1, keepdims=True))
    shares *= (row_counts / shares.sum(axis=1))[:, None]
    return np.bincount(groups[candidates.rows].ravel(), shares.ravel()).astype(np.float64)


@given(st.integers(0, 2**32), st.integers(2, 30), st.integers(3, 12), st.floats(0, 3))
def test_prices_bring_the_expected_load_within_the_bound(
    seed: int, exchanges: int, width: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    weights = -np.sort(-scale * rng.standard_normal((exchanges, width)), axis=1)
    candidates, groups = candidates_of(weights), rng.permutation(width)
    row_counts = rng.integers(0, 4, exchanges)
    bound = max(2 * float(row_counts.sum()) / width, 1.0)  # twice the load of an even spread
    found = priced(candidates, groups, row_counts, bound)
    assert load_of(found, groups, row_counts).max() <= 1.1 * bound
    assert load_of(found, groups, row_counts).sum() == pytest.approx(row_counts.sum())


@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 12))
def test_prices_are_zero_if_nothing_is_drawn_too_often(
    seed: int, exchanges: int, width: int
) -> None:
    rng = np.random.default_rng(seed)
    candidates = candidates_of(-np.sort(-rng.standard_normal((exchanges, width)), axis=1))
    row_counts = rng.integers(0, 4, exchanges)
    groups = np.arange(width) // 2
    bound = load_of(candidates, groups, row_counts).max() + 0.01
    for limit in (bound, 0.0):
        assert not capacity_prices(candidates, groups, row_counts, limit, Tools()).any()
        found = priced(candidates, groups, row_counts, limit)
        assert found.weights.tobytes() == candidates.weights.tobytes()


def test_near_duplicates_share_one_price() -> None:
    candidates = candidates_of([[1.0, 1.0, 1.0, 0.0]] * 30)
    found = priced(candidates, array([0, 0, 1, 2]), np.ones(30, np.int64), 10)
    assert load_of(found, array([0, 0, 1, 2]), np.ones(30)) == pytest.approx([10] * 3, rel=0.1)
    assert found.weights[0, 0] == found.weights[0, 1] < found.weights[0, 2]


@pytest.mark.parametrize("gap", [1.0, 5.0])
def test_prices_work_however_much_the_best_is_preferred(gap: float) -> None:
    candidates = candidates_of(-gap * np.tile(np.arange(40), (100, 1)))
    found = priced(candidates, np.arange(40), np.ones(100, np.int64), 8)
    assert load_of(found, np.arange(40), np.ones(100)).max() <= 1.5 * 8


# bounded draws


def avoidable(
    candidates: CandidateTable, groups: Ints, drawn: list[DrawsWithOdds], repeats: int
) -> Counter[int]:
    """Count the draws of each group beyond its bound by rows that still had another candidate."""
    taken = [[int(groups[row]) for row in one.draws.source] for one in drawn]
    used = Counter(group for target in taken for group in target)
    free: Counter[int] = Counter()
    for row, own in enumerate(zip(*taken, strict=True)):
        finite = np.isfinite(candidates.weights[row])
        possible = groups[candidates.rows[row][finite]].tolist()
        if any(used[group] < repeats for group in set(possible) - set(own)):
            free.update(own)
    return free - Counter(dict.fromkeys(free, repeats))


@given(
    st.integers(0, 2**32),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(3, 12),
    st.floats(0, 60),
)
def test_no_group_is_drawn_beyond_its_bound_while_others_are_left(
    seed: int, repeats: int, targets: int, width: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 60))
    candidates = candidates_of(scale * rng.standard_normal((count, width)))
    groups = rng.permutation(width) // 2
    recipe = settled(repeats=repeats, targets=targets)
    drawn = drawn_from(candidates, rows_of(count), groups, np.ones(count, bool), recipe)
    if (width + 1) // 2 >= targets:
        assert not avoidable(candidates, groups, drawn, repeats)


@pytest.mark.parametrize("gap", [0.0, 1.0, 3.0, 10.0])
def test_the_bound_holds_however_many_rows_prefer_the_same(gap: float) -> None:
    candidates = candidates_of(-gap * np.tile(np.arange(40), (100, 1)))
    recipe = settled(repeats=8)
    every, groups = np.ones(100, bool), np.arange(40)
    drawn = drawn_from(candidates, rows_of(100), groups, every, recipe)
    assert not avoidable(candidates, groups, drawn, 8)


def test_the_first_rows_keep_what_all_prefer() -> None:
    candidates = candidates_of([[0, -1000, -2000]] * 7)
    (one,) = drawn_from(
        candidates, rows_of(7), array([4, 2, 0]), np.ones(7, bool), settled(repeats=2)
    )
    assert one.draws.source.tolist()[:6] == [0, 0, 1, 1, 2, 2]
    assert one.probability.tolist() == [1] * 7


def test_without_a_bound_all_draw_what_all_prefer() -> None:
    candidates = candidates_of([[0, -1000]] * 50)
    groups, every = array([0, 1]), np.ones(50, bool)
    (one,) = drawn_from(candidates, rows_of(50), groups, every, settled(repeats=0))
    assert set(one.draws.source.tolist()) == {0}


def test_near_duplicates_count_as_one_response() -> None:
    candidates = candidates_of([[0, 0, 0, -100, -200]] * 6)
    groups, every = array([0, 0, 0, 1, 2]), np.ones(6, bool)
    (one,) = drawn_from(candidates, rows_of(6), groups, every, settled(repeats=2))
    assert Counter(groups[one.draws.source].tolist()) == {0: 2, 1: 2, 2: 2}


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 8), st.integers(0, 3))
def test_targets_of_a_row_are_of_distinct_groups_while_any_are_left(
    seed: int, targets: int, width: int, repeats: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((12, width))
    candidates = candidates_of(np.where(rng.random((12, width)) < 0.3, -np.inf, weights))
    groups, needs_draw = rng.integers(0, 6, width), rng.random(12) < 0.8
    recipe = settled(repeats=repeats, targets=targets)
    drawn = drawn_from(candidates, rows_of(12), groups, needs_draw, recipe)
    for row in range(12):
        possible = {int(groups[i]) for i in range(width) if np.isfinite(candidates.weights[row, i])}
        sources = [int(one.draws.source[row]) for one in drawn]
        own = [int(groups[source]) for source in sources if source >= 0]
        assert len(own) == len(set(own)) == (min(targets, len(possible)) if needs_draw[row] else 0)
        assert set(own) <= possible
        assert sources == [s for s in sources if s >= 0] + [-1] * (targets - len(own))


# blocks, and memory


def test_blocks_change_no_price_and_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    candidates = candidates_of(-np.sort(-3 * rng.standard_normal((90, 12)), axis=1))
    groups, row_counts = rng.permutation(12) // 2, np.ones(90, np.int64)
    recipe, every = settled(repeats=16, targets=2), np.ones(90, bool)
    prices = capacity_prices(candidates, groups, row_counts, 16, Tools())
    draws = drawn_from(candidates, rows_of(90), groups, every, recipe)
    for block in (1, 7, 89, 90):
        monkeypatch.setattr(candidates_module, "BLOCK_ROWS", block)
        again = capacity_prices(candidates, groups, row_counts, 16, Tools())
        assert again == pytest.approx(prices, abs=1e-12)
        for one, other in zip(
            drawn_from(candidates, rows_of(90), groups, every, recipe), draws, strict=True
        ):
            assert np.array_equal(one.draws.source, other.draws.source)
            assert np.array_equal(one.draws.rank, other.draws.rank)
            assert np.array_equal(one.probability, other.probability)


def test_a_candidate_table_is_empty_until_it_is_updated() -> None:
    table = CandidateTable.allocate(5, 4, MemoryStorage())
    assert np.isneginf(table.weights).all()
    part = CandidateTable(np.array([[7, 8]]), np.array([[1, 2]]), np.array([[0.5, -1.0]]))
    table.update(array([3]), part)
    assert table.rows[3].tolist() == [7, 8, 0, 0]
    assert table.ranks[3].tolist() == [1, 2, 0, 0]
    assert table.weights[3].tolist() == [0.5, -1.0, -np.inf, -np.inf]
    assert np.isneginf(np.delete(table.weights, 3, axis=0)).all()
