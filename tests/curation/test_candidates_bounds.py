from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaac.curation import candidates as choosing
from isaac.curation.candidates import CandidateTable, DrawsWithOdds, capacity_prices
from isaac.curation.resources import Tools
from isaac.curation.storage import MemoryStorage
from isaac.runtime.arrays import Ints, Reals
from tests.curation.test_candidates import array, drawn_from, rows_of, settled

# prices


def choices_of(weights: Any) -> CandidateTable:
    """Return choices with rows 0, 1, ... in the order given, best first or not."""
    weights = np.asarray(weights, np.float32)
    rows = np.tile(np.arange(weights.shape[1]), (len(weights), 1))
    return CandidateTable(rows, np.zeros_like(rows), weights)


def priced(choices: CandidateTable, kinds: Ints, asking: Ints, bound: float) -> CandidateTable:
    """Return the choices at their prices."""
    price = capacity_prices(choices, kinds, asking, bound, Tools())
    weights = choices.weights - price[kinds[choices.rows]]
    return choices._replace(weights=weights.astype(np.float32))


def load_of(choices: CandidateTable, kinds: Ints, asking: npt.NDArray[Any]) -> Reals:
    """Return how many rows are expected to draw each kind."""
    shares = np.exp(choices.weights.astype(float) - choices.weights.max(axis=1, keepdims=True))
    shares *= (asking / shares.sum(axis=1))[:, None]
    return np.bincount(kinds[choices.rows].ravel(), shares.ravel()).astype(np.float64)


@given(st.integers(0, 2**32), st.integers(2, 30), st.integers(3, 12), st.floats(0, 3))
def test_prices_bring_the_expected_load_within_the_bound(
    seed: int, exchanges: int, width: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    weights = -np.sort(-scale * rng.standard_normal((exchanges, width)), axis=1)
    choices, kinds = choices_of(weights), rng.permutation(width)
    asking = rng.integers(0, 4, exchanges)
    bound = max(2 * float(asking.sum()) / width, 1.0)  # twice the room that is needed
    found = priced(choices, kinds, asking, bound)
    assert load_of(found, kinds, asking).max() <= 1.1 * bound
    assert load_of(found, kinds, asking).sum() == pytest.approx(asking.sum())


@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 12))
def test_prices_leave_alone_what_nobody_draws_too_often(
    seed: int, exchanges: int, width: int
) -> None:
    rng = np.random.default_rng(seed)
    choices = choices_of(-np.sort(-rng.standard_normal((exchanges, width)), axis=1))
    asking = rng.integers(0, 4, exchanges)
    kinds = np.arange(width) // 2
    bound = load_of(choices, kinds, asking).max() + 0.01
    for limit in (bound, 0.0):
        assert not capacity_prices(choices, kinds, asking, limit, Tools()).any()
        assert priced(choices, kinds, asking, limit).weights.tobytes() == choices.weights.tobytes()


def test_near_duplicates_share_one_price() -> None:
    choices = choices_of([[1.0, 1.0, 1.0, 0.0]] * 30)
    found = priced(choices, array([0, 0, 1, 2]), np.ones(30, np.int64), 10)
    assert load_of(found, array([0, 0, 1, 2]), np.ones(30)) == pytest.approx([10] * 3, rel=0.1)
    assert found.weights[0, 0] == found.weights[0, 1] < found.weights[0, 2]


@pytest.mark.parametrize("gap", [1.0, 5.0])
def test_prices_work_however_much_the_best_is_preferred(gap: float) -> None:
    choices = choices_of(-gap * np.tile(np.arange(40), (100, 1)))
    found = priced(choices, np.arange(40), np.ones(100, np.int64), 8)
    assert load_of(found, np.arange(40), np.ones(100)).max() <= 1.5 * 8


# bounded draws


def needless(
    choices: CandidateTable, kinds: Ints, drawn: list[DrawsWithOdds], repeats: int
) -> Counter[int]:
    """Return how many draws of each kind beyond its bound had another choice to the very end."""
    taken = [[int(kinds[row]) for row in one.drawn.source] for one in drawn]
    used = Counter(kind for target in taken for kind in target)
    free: Counter[int] = Counter()
    for row, mine in enumerate(zip(*taken, strict=True)):
        offered = kinds[choices.rows[row][np.isfinite(choices.weights[row])]].tolist()
        if any(used[kind] < repeats for kind in set(offered) - set(mine)):
            free.update(mine)
    return free - Counter(dict.fromkeys(free, repeats))


@given(
    st.integers(0, 2**32),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(3, 12),
    st.floats(0, 60),
)
def test_no_kind_is_drawn_beyond_its_bound_while_others_are_left(
    seed: int, repeats: int, targets: int, width: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 60))
    choices = choices_of(scale * rng.standard_normal((count, width)))
    kinds = rng.permutation(width) // 2
    recipe = settled(repeats=repeats, targets=targets)
    drawn = drawn_from(choices, rows_of(count), kinds, np.ones(count, bool), recipe)
    if (width + 1) // 2 >= targets:
        assert not needless(choices, kinds, drawn, repeats)


@pytest.mark.parametrize("gap", [0.0, 1.0, 3.0, 10.0])
def test_the_bound_holds_however_many_rows_prefer_the_same(gap: float) -> None:
    choices = choices_of(-gap * np.tile(np.arange(40), (100, 1)))
    recipe = settled(repeats=8)
    every, kinds = np.ones(100, bool), np.arange(40)
    drawn = drawn_from(choices, rows_of(100), kinds, every, recipe)
    assert not needless(choices, kinds, drawn, 8)


def test_the_first_rows_keep_what_all_want() -> None:
    choices = choices_of([[0, -1000, -2000]] * 7)
    (one,) = drawn_from(choices, rows_of(7), array([4, 2, 0]), np.ones(7, bool), settled(repeats=2))
    assert one.drawn.source.tolist()[:6] == [0, 0, 1, 1, 2, 2]
    assert one.probability.tolist() == [1] * 7


def test_without_a_bound_all_draw_what_all_want() -> None:
    choices = choices_of([[0, -1000]] * 50)
    kinds, every = array([0, 1]), np.ones(50, bool)
    (one,) = drawn_from(choices, rows_of(50), kinds, every, settled(repeats=0))
    assert set(one.drawn.source.tolist()) == {0}


def test_near_duplicates_count_as_one_response() -> None:
    choices = choices_of([[0, 0, 0, -100, -200]] * 6)
    kinds, every = array([0, 0, 0, 1, 2]), np.ones(6, bool)
    (one,) = drawn_from(choices, rows_of(6), kinds, every, settled(repeats=2))
    assert Counter(kinds[one.drawn.source].tolist()) == {0: 2, 1: 2, 2: 2}


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 8), st.integers(0, 3))
def test_targets_of_a_row_are_distinct_kinds_as_long_as_there_are_any(
    seed: int, targets: int, width: int, repeats: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((12, width))
    choices = choices_of(np.where(rng.random((12, width)) < 0.3, -np.inf, weights))
    kinds, asking = rng.integers(0, 6, width), rng.random(12) < 0.8
    recipe = settled(repeats=repeats, targets=targets)
    drawn = drawn_from(choices, rows_of(12), kinds, asking, recipe)
    for row in range(12):
        offered = {int(kinds[i]) for i in range(width) if np.isfinite(choices.weights[row, i])}
        sources = [int(one.drawn.source[row]) for one in drawn]
        mine = [int(kinds[source]) for source in sources if source >= 0]
        assert len(mine) == len(set(mine)) == (min(targets, len(offered)) if asking[row] else 0)
        assert set(mine) <= offered
        assert sources == [s for s in sources if s >= 0] + [-1] * (targets - len(mine))


# blocks, and room


def test_blocks_change_no_price_and_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    choices = choices_of(-np.sort(-3 * rng.standard_normal((90, 12)), axis=1))
    kinds, asking = rng.permutation(12) // 2, np.ones(90, np.int64)
    recipe, every = settled(repeats=16, targets=2), np.ones(90, bool)
    price = capacity_prices(choices, kinds, asking, 16, Tools())
    draws = drawn_from(choices, rows_of(90), kinds, every, recipe)
    for block in (1, 7, 89, 90):
        monkeypatch.setattr(choosing, "BLOCK_ROWS", block)
        assert capacity_prices(choices, kinds, asking, 16, Tools()) == pytest.approx(
            price, abs=1e-12
        )
        for one, other in zip(
            drawn_from(choices, rows_of(90), kinds, every, recipe), draws, strict=True
        ):
            assert np.array_equal(one.drawn.source, other.drawn.source)
            assert np.array_equal(one.drawn.rank, other.drawn.rank)
            assert np.array_equal(one.probability, other.probability)


def test_room_for_choices_has_none_until_they_are_put() -> None:
    room = CandidateTable.allocate(5, 4, MemoryStorage())
    assert np.isneginf(room.weights).all()
    some = CandidateTable(np.array([[7, 8]]), np.array([[1, 2]]), np.array([[0.5, -1.0]]))
    room.put(array([3]), some)
    assert room.rows[3].tolist() == [7, 8, 0, 0]
    assert room.ranks[3].tolist() == [1, 2, 0, 0]
    assert room.weights[3].tolist() == [0.5, -1.0, -np.inf, -np.inf]
    assert np.isneginf(np.delete(room.weights, 3, axis=0)).all()
