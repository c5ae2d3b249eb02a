from __future__ import annotations

import math
from collections import Counter
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from isaac.curation import sampling
from isaac.curation.clusters import Clusters
from isaac.curation.sampling import ResponsePool, RowDraws, draw, sample_categorical, uniforms
from isaac.curation.sharpening import (
    clip_to_top_mass,
    cluster_odds,
    largest_sizes,
    sharpened_odds,
    sharpness,
)
from isaac.recipe import Recipe, Sharpening
from isaac.runtime.arrays import Ints, Ragged, Reals

RULES: list[Sharpening] = [
    "adaptive",
    "figure",
    "max",
    "softmax",
    "proportional",
    "power",
    "uniform",
]

SIZES = st.lists(st.integers(1, 200), min_size=1, max_size=10).map(
    lambda sizes: sorted(sizes, reverse=True)
)
RECIPES = st.builds(
    Recipe,
    sharpening=st.sampled_from(RULES),
    temperature=st.floats(0, 1e300, exclude_min=True),
    power=st.floats(1, 100),
)
UNSAFE = st.lists(st.floats(0, 1), min_size=10, max_size=10).map(sorted)


def array(*sizes: list[int]) -> Ints:
    """Sizes as an array, with zeros at the end."""
    width = max(map(len, sizes))
    return np.array([[*row, *[0] * (width - len(row))] for row in sizes], np.int64)


def odds_of(sizes: list[int], **fields: Any) -> list[float]:
    found: list[float] = sharpened_odds(array(sizes), Recipe.paper(**fields))[0].tolist()
    return found


# odds


@given(SIZES, SIZES, RECIPES)
def test_odds_sum_to_one_and_never_rise_with_rank(
    one: list[int], other: list[int], recipe: Recipe
) -> None:
    sizes = array(one, other)
    found = sharpened_odds(sizes, recipe)
    assert np.isfinite(found).all()
    assert found.sum(axis=1) == pytest.approx([1, 1], abs=1e-12)
    assert (np.diff(found, axis=1) <= 0).all()
    assert (found[sizes == 0] == 0).all()


@given(SIZES, RECIPES)
def test_odds_do_not_depend_on_other_neighborhoods(sizes: list[int], recipe: Recipe) -> None:
    alone = sharpened_odds(array(sizes), recipe)[0]
    beside = sharpened_odds(array(sizes, [7] * 10), recipe)[0]
    assert beside[: len(alone)] == pytest.approx(alone, abs=1e-15)


@given(SIZES, RECIPES.filter(lambda recipe: recipe.sharpening != "uniform"), UNSAFE)
def test_under_the_long_tail_assumption_no_rule_but_uniform_adds_unsafe_draws(
    sizes: list[int], recipe: Recipe, unsafe: list[float]
) -> None:
    """Section 3: if unsafe shares do not fall with rank, then sum(q u) <= sum(d u)."""
    kept = array(sizes)[0]
    shares = np.array(unsafe[: len(sizes)])
    drawn, before = sharpened_odds(kept[None], recipe)[0], kept / kept.sum()
    assert drawn @ shares <= before @ shares + 1e-12


def test_uniform_can_add_unsafe_draws() -> None:
    sizes, unsafe = array([90, 10]), np.array([0.0, 1.0])
    assert sharpened_odds(sizes, Recipe(sharpening="uniform"))[0] @ unsafe == 0.5


@pytest.mark.parametrize("sizes", [[90, 10], [58, 20, 2], [40, 12, 5, 5]])
def test_without_counts_and_the_clamp_a_softmax_would_add_unsafe_draws(sizes: list[int]) -> None:
    def unclamped(numbers: list[float], temperature: float) -> list[float]:
        weights = [math.exp(number / temperature) for number in numbers]
        return [weight / sum(weights) for weight in weights]

    frequencies = [size / sum(sizes) for size in sizes]
    hot = [float(size) for size in sizes]
    assert unclamped(frequencies, 1.0)[-1] > frequencies[-1]
    assert unclamped(hot, 1000.0)[-1] > frequencies[-1]
    assert odds_of(sizes, sharpening="softmax", temperature=1000.0)[-1] <= frequencies[-1]


def test_a_uniform_distribution_stays_uniform_with_every_rule_but_max() -> None:
    for rule in RULES:
        expected = [1, 0, 0] if rule == "max" else [1 / 3] * 3
        assert odds_of([5, 5, 5], sharpening=rule) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([7], 1.0),
        ([5, 5], 0.0),
        ([5, 5, 1], 0.0),
        ([5, 3], 1.0),
        ([58, 20, 2], 38 / 56),
        ([10, 9, 8, 0], 0.5),
        ([1, 1, 1, 1], 0.0),
    ],
)
def test_sharpness_of_examples(sizes: list[int], expected: float) -> None:
    assert sharpness(array(sizes))[0] == pytest.approx(expected)
    assert sharpness(array(sizes, [9, 8, 7, 6, 5]))[0] == pytest.approx(expected)


@given(SIZES)
def test_sharpness_is_between_zero_and_one(sizes: list[int]) -> None:
    assert 0 <= sharpness(array(sizes))[0] <= 1


@given(SIZES, st.floats(0.01, 500))
def test_adaptive_figure_and_softmax_follow_their_formulas(
    sizes: list[int], temperature: float
) -> None:
    spread = max(sizes[0] - sizes[-1], 1e-3)
    si = (sizes[0] - sizes[1]) / spread if len(sizes) > 1 else 1.0
    heats = {
        "adaptive": (1 + 1e-3 - si) * temperature,
        "figure": max(si, 1e-3) * temperature,
        "softmax": temperature,
    }
    for rule, heat in heats.items():
        clamped = min(heat, sizes[-1])
        weights = [math.exp((size - sizes[0]) / clamped) for size in sizes]
        expected = [weight / sum(weights) for weight in weights]
        assert odds_of(sizes, sharpening=rule, temperature=temperature) == pytest.approx(expected)


def test_adaptive_sharpens_a_clear_head_most_and_figure_least() -> None:
    clear, vague = [20, 10, 9], [20, 19, 9]
    assert odds_of(clear)[0] > 0.999 > odds_of(vague, temperature=9)[0]
    figure = {"sharpening": "figure", "temperature": 9.0}
    gains = [odds_of(s, **figure)[1] / (s[1] / sum(s)) for s in (clear, vague)]
    adaptive = [odds_of(s, temperature=9.0)[1] / (s[1] / sum(s)) for s in (clear, vague)]
    assert gains[0] > adaptive[0]
    assert gains[1] < adaptive[1]


def test_max_takes_the_first_even_among_equal_sizes() -> None:
    assert odds_of([4, 4, 1], sharpening="max") == [1, 0, 0]


def test_proportional_keeps_the_distribution_and_power_sharpens_it() -> None:
    assert odds_of([6, 3, 1], sharpening="proportional") == pytest.approx([0.6, 0.3, 0.1])
    expected = [36 / 46, 9 / 46, 1 / 46]
    assert odds_of([6, 3, 1], sharpening="power", power=2.0) == pytest.approx(expected)
    assert odds_of([6, 3, 1], sharpening="power", power=1.0) == pytest.approx([0.6, 0.3, 0.1])


# clipping


def test_largest_sizes_end_with_zeros() -> None:
    sizes = Ragged.of(np.array([5, 4, 1, 9, 3, 2]), np.array([3, 1, 2]))
    assert largest_sizes(sizes, 2).tolist() == [[5, 4], [9, 0], [3, 2]]
    assert largest_sizes(sizes, 10).tolist() == [[5, 4, 1], [9, 0, 0], [3, 2, 0]]
    assert largest_sizes(sizes, 1).tolist() == [[5], [9], [3]]


@pytest.mark.parametrize(
    ("top_mass", "kept"),
    [
        (1.0, [5, 3, 1, 1]),
        (0.95, [5, 3, 1, 1]),
        (0.9, [5, 3, 1, 0]),
        (0.81, [5, 3, 1, 0]),
        (0.8, [5, 3, 0, 0]),
        (0.5, [5, 0, 0, 0]),
        (0.1, [5, 0, 0, 0]),
        (1e-15, [5, 0, 0, 0]),
    ],
)
def test_clip_keeps_clusters_until_they_hold_the_share(top_mass: float, kept: list[int]) -> None:
    assert clip_to_top_mass(array([5, 3, 1, 1]), np.array([10]), top_mass)[0].tolist() == kept


def test_clip_measures_the_share_of_all_responses_not_of_those_kept() -> None:
    assert clip_to_top_mass(array([5, 3]), np.array([100]), 0.06)[0].tolist() == [5, 3]


def test_cluster_odds_use_counts_and_report_the_rows_behind_them() -> None:
    lengths = np.array([3, 1])
    clusters = Clusters(
        Ragged.of(np.arange(14), np.array([10, 4])),
        Ragged.of(np.array([6, 3, 1, 4]), lengths),
        Ragged.of(np.array([3, 2, 1, 1]), lengths),
    )
    facts = cluster_odds(clusters, Recipe.paper(top_clusters=2, sharpening="proportional"))
    assert facts.sizes.tolist() == [[3, 2], [1, 0]]
    assert facts.rows.tolist() == [[6, 3], [4, 0]]
    assert facts.totals.tolist() == [6, 1]
    assert facts.odds[0] == pytest.approx([0.6, 0.4])
    assert facts.odds[1].tolist() == [1, 0]
    assert facts.sharpness.tolist() == [1, 1]
    clipped = cluster_odds(clusters, Recipe.paper(top_mass=0.5))
    assert clipped.rows.tolist() == [[6, 0, 0], [4, 0, 0]]


# chance


def test_uniforms_are_spread_evenly_and_independent_of_seed_key_and_stream() -> None:
    keys = np.arange(20_000, dtype=np.uint64)
    streams = [uniforms(0, keys), uniforms(1, keys), uniforms(0, keys, 1), uniforms(0, keys, 1, 0)]
    for numbers in streams:
        assert ((numbers >= 0) & (numbers < 1)).all()
        assert chisquare(np.histogram(numbers, 100, (0, 1))[0]).pvalue > 1e-3
    together = np.corrcoef(np.stack([*streams, np.roll(streams[0], 1)]))
    assert np.abs(together - np.eye(5)).max() < 0.03


def test_uniforms_do_not_depend_on_order_or_on_other_keys() -> None:
    keys = np.random.default_rng(0).integers(0, 2**64, 500, dtype=np.uint64)
    whole = uniforms(5, keys, 3)
    order = np.random.default_rng(1).permutation(500)
    assert (uniforms(5, keys[order], 3) == whole[order]).all()
    assert [float(uniforms(5, keys[i : i + 1], 3)[0]) for i in range(20)] == whole[:20].tolist()


def test_uniforms_accept_the_largest_seed_and_key() -> None:
    keys = np.array([0, 2**64 - 1], np.uint64)
    assert ((uniforms(2**63 - 1, keys) >= 0) & (uniforms(2**63 - 1, keys) < 1)).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6).filter(sum), st.floats(0, 1 - 2**-53))
def test_an_index_of_probability_zero_is_never_drawn(weights: list[float], chance: float) -> None:
    probabilities = np.array([weights]) / sum(weights)
    index = int(sample_categorical(probabilities, np.array([chance]))[0])
    assert probabilities[0, index] > 0
    before = list(accumulate(probabilities[0].tolist(), initial=0.0))
    assert before[index] <= chance + 1e-12
    assert chance < before[index + 1] + 1e-9


# draws


class Neighborhood(NamedTuple):
    """Clusters of rows, and the text of each row."""

    clusters: list[list[int]]
    texts: list[int]


def drawn_from(
    hood: Neighborhood, cluster_odds: list[float], rows: int, targets: int = 1, seed: int = 0
) -> list[RowDraws]:
    """The draws of many rows that share one neighborhood."""
    sizes = [len(cluster) for cluster in hood.clusters]
    pool = ResponsePool(
        np.tile(np.array(cluster_odds), (rows, 1)),
        np.tile(np.array(sizes), (rows, 1)),
        np.zeros(rows, np.int64),
        np.array([row for cluster in hood.clusters for row in cluster]),
        np.array(hood.texts),
    )
    return draw(pool, np.arange(rows, dtype=np.uint64), targets, seed)


def test_draws_follow_the_odds_and_are_uniform_within_a_cluster() -> None:
    hood = Neighborhood([[0, 1, 2, 3], [4, 5], [6]], list(range(7)))
    (drawn,) = drawn_from(hood, [0.5, 0.3, 0.2], 30_000)
    assert chisquare(np.bincount(drawn.rank), [15_000, 9_000, 6_000]).pvalue > 1e-3
    assert chisquare(np.bincount(drawn.source)[:4]).pvalue > 1e-3
    assert chisquare(np.bincount(drawn.source)[4:6]).pvalue > 1e-3
    assert all(s in hood.clusters[r] for r, s in zip(*map(np.ndarray.tolist, drawn), strict=True))


def test_later_targets_are_uniform_over_what_is_left() -> None:
    hood = Neighborhood([[0, 1, 2, 3]], list(range(4)))
    pairs = Counter(
        zip(*(d.source.tolist() for d in drawn_from(hood, [1.0], 12_000, 2)), strict=True)
    )
    assert len(pairs) == 12
    assert chisquare(list(pairs.values())).pvalue > 1e-3


def test_each_target_draws_its_own_cluster() -> None:
    hood = Neighborhood([list(range(50)), list(range(50, 100))], list(range(100)))
    ranks = [drawn.rank for drawn in drawn_from(hood, [0.5, 0.5], 4000, 3)]
    assert np.abs(np.corrcoef(np.stack(ranks)) - np.eye(3)).max() < 0.06


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=8),
    st.lists(st.integers(0, 3), max_size=8),
    st.integers(1, 10),
    st.integers(0, 2**63 - 1),
)
def test_targets_of_a_row_never_repeat_a_text(
    first: list[int], second: list[int], targets: int, seed: int
) -> None:
    """A target is left out if, and only if, its cluster has no text left."""
    texts = [*first, *second]
    rows = list(range(len(texts)))
    hood = Neighborhood([rows[: len(first)], rows[len(first) :] or [0]], texts)
    found = drawn_from(hood, [0.6, 0.4 if second else 0.0], 20, targets, seed)
    for row in range(20):
        seen: set[int] = set()
        for drawn in found:
            source = int(drawn.source[row])
            left = {texts[member] for member in hood.clusters[drawn.rank[row]]} - seen
            assert (texts[source] in left) if source >= 0 else not left
            seen |= {texts[source]} if source >= 0 else set()


def test_an_exhausted_cluster_leaves_targets_out() -> None:
    hood = Neighborhood([[0, 1, 2]], [7, 7, 8])
    first, second, third = (d.source for d in drawn_from(hood, [1.0], 50, 3, seed=4))
    assert {0, 1, 2} == set(first.tolist())
    assert all((one == 2) != (two == 2) for one, two in zip(first, second, strict=True))
    assert third.tolist() == [-1] * 50


def test_a_rare_text_is_found_when_attempts_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    hood = Neighborhood([list(range(1001))], [0] * 999 + [1, 2])
    streams = set()
    original = sampling.uniforms

    def recording(seed: int, keys: Any, *stream: int) -> Reals:
        if len(keys):
            streams.add(stream)
        return original(seed, keys, *stream)

    monkeypatch.setattr(sampling, "uniforms", recording)
    first, second, third, fourth = drawn_from(hood, [1.0], 2000, 4)
    assert (1, sampling.MAX_ATTEMPTS + 1) in streams
    texts = np.array([0] * 999 + [1, 2, -1])
    for sources in zip(first.source, second.source, third.source, strict=True):
        assert sorted(texts[list(sources)]) == [0, 1, 2]
    rare = Counter(texts[second.source[texts[first.source] == 0]].tolist())
    assert chisquare([rare[1], rare[2]]).pvalue > 1e-3
    assert set(fourth.source.tolist()) == {-1}


def test_an_index_stays_below_the_size_when_a_product_rounds_up() -> None:
    chance = np.array([1 - 2**-53])
    assert sampling._scale_to_index(chance, np.array([3])).tolist() == [2]


def test_draws_depend_on_the_seed() -> None:
    hood = Neighborhood([list(range(100))], list(range(100)))
    one, other = (drawn_from(hood, [1.0], 1000, seed=seed)[0].source for seed in (0, 1))
    assert (one != other).mean() > 0.95
