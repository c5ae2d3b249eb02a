from __future__ import annotations

import math
import tracemalloc
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN

from isaac.curation import clusters
from isaac.curation.clusters import (
    connected_components,
    greedy_ball_cover,
    joined_pairs,
    sort_by_size,
)
from isaac.curation.vectors import GRID_STEPS, GridVectors
from isaac.runtime.arrays import Ints
from tests.vectors import embed_rows, random_directions

SEEDS = st.integers(0, 2**32)


def components(vectors: GridVectors, radius: float) -> list[int]:
    labels: list[int] = connected_components(vectors, items_of(1, len(vectors)), radius)[0].tolist()
    return labels


def items_of(count: int, size: int) -> Ints:
    """The items of neighborhoods whose vectors are end to end."""
    return np.arange(count * size).reshape(count, size)


def distances(vectors: GridVectors) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Euclidean distances, from dot products in whole numbers."""
    cosines = vectors.astype(np.int64) @ vectors.T.astype(np.int64)
    squares = np.diag(cosines)
    apart = squares[:, None] + squares[None] - 2 * cosines
    return np.asarray(np.sqrt(apart) / GRID_STEPS)


def labeled_by_first(labels: list[int]) -> list[int]:
    return [labels.index(label) for label in labels]


def chain_of_vectors(length: int, seed: int = 0) -> GridVectors:
    """Vectors at distance 1 from the next one and sqrt(2) from all others, in random order."""
    rows = np.zeros((length, length + 1), np.float32)
    rows[np.arange(length), np.arange(length)] = 1
    rows[np.arange(length), np.arange(length) + 1] = 1
    return embed_rows(np.random.default_rng(seed).permutation(rows))


@given(SEEDS, st.integers(1, 60), st.integers(1, 12), st.integers(1, 60), st.floats(0, 2))
def test_components_are_those_of_dbscan_on_the_same_distances(
    seed: int, count: int, width: int, distinct: int, radius: float
) -> None:
    vectors = random_directions(seed, count, width, distinct)
    apart = distances(vectors)
    assume(((np.abs(apart - radius) > 1e-6) | (apart == radius)).all())
    labels = DBSCAN(eps=max(radius, 1e-9), min_samples=1, metric="precomputed").fit_predict(apart)
    assert components(vectors, radius) == labeled_by_first(labels.tolist())


@given(SEEDS, st.integers(2, 16), st.integers(2, 12), st.floats(0.05, 1.9))
def test_components_are_those_of_dbscan_on_the_vectors_themselves(
    seed: int, count: int, width: int, radius: float
) -> None:
    raw = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    apart = np.linalg.norm(unit[:, None] - unit[None], axis=2)
    assume((np.abs(apart - radius) > 1e-3).all())
    labels = DBSCAN(eps=radius, min_samples=1).fit_predict(unit)
    assert components(embed_rows(raw), radius) == labeled_by_first(labels.tolist())


@given(SEEDS, st.integers(1, 20), st.integers(1, 30), st.floats(0, 0.01))
def test_components_are_exact_down_to_single_steps_of_the_grid(
    seed: int, count: int, width: int, radius: float
) -> None:
    moved = np.random.default_rng(seed).integers(-2, 3, (count, width), np.int16)
    vectors = random_directions(seed, 1, width) + moved
    apart = distances(vectors)
    assume((np.abs(apart - radius) > 1e-5).all() or radius == 0)
    labels = DBSCAN(eps=max(radius, 1e-9), min_samples=1, metric="precomputed").fit_predict(apart)
    assert components(vectors, radius) == labeled_by_first(labels.tolist())


def test_a_chain_is_one_cluster_though_its_ends_are_far_apart() -> None:
    vectors = chain_of_vectors(150)
    assert distances(vectors).max() > 1.4
    assert set(components(vectors, 1.01)) == {0}
    assert components(vectors, 0.99) == list(range(150))


def test_a_broken_chain_is_two_clusters() -> None:
    vectors = np.delete(chain_of_vectors(21, seed=5), 0, axis=0)
    assert len(set(components(vectors, 1.01))) in (1, 2)
    angles = np.array([0.0, 0.1, 0.2, 0.3, 0.5, 0.6, 0.7])
    arc = embed_rows(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32))
    assert components(arc, 0.12) == [0, 0, 0, 0, 4, 4, 4]


@pytest.mark.parametrize("seed", range(3))
def test_a_chain_takes_few_rounds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = 0

    class Counted:
        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

        def maximum(self, *arguments: Any) -> Any:
            nonlocal rounds
            rounds += 1
            return np.maximum(*arguments)

    monkeypatch.setattr(clusters, "np", Counted())
    assert set(components(chain_of_vectors(300, seed), 1.01)) == {0}
    assert rounds <= 2 * math.log2(300)


@given(SEEDS, st.integers(1, 4), st.integers(1, 20), st.floats(0, 1.5))
def test_neighborhoods_together_give_what_each_gives_alone(
    seed: int, count: int, size: int, radius: float
) -> None:
    rng = np.random.default_rng(seed)
    vectors = random_directions(seed, 30, 3, 20)
    items = rng.integers(0, 30, (count, size))
    weights = rng.integers(1, 4, (count, size))
    alone = [connected_components(vectors, one[None], radius)[0].tolist() for one in items]
    assert connected_components(vectors, items, radius).tolist() == alone
    alone = [greedy_ball_cover(vectors, one[None], radius)[0].tolist() for one in items]
    assert greedy_ball_cover(vectors, items, radius).tolist() == alone
    both = zip(items, weights, strict=True)
    alone = [
        greedy_ball_cover(vectors, one[None], radius, many[None])[0].tolist() for one, many in both
    ]
    assert greedy_ball_cover(vectors, items, radius, weights).tolist() == alone


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TILE", 1),
        ("TILE", 7),
        ("SCRATCH_NUMBERS", 0),
        ("SCRATCH_NUMBERS", 9000),
        ("BATCH_PAIRS", 1),
        ("BATCH_PAIRS", 300),
    ],
)
@pytest.mark.parametrize("radius", [0.0, 0.6, 1.2])
def test_tiles_and_memory_change_no_cluster(
    name: str, value: int, radius: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, items = random_directions(2, 4 * 50, 6), items_of(4, 50)
    weights = np.random.default_rng(3).integers(1, 4, items.shape)

    def every() -> list[Ints]:
        return [
            connected_components(vectors, items, radius),
            greedy_ball_cover(vectors, items, radius),
            greedy_ball_cover(vectors, items, radius, weights),
        ]

    expected = every()
    monkeypatch.setattr(clusters, name, value)
    for each, one in zip(every(), expected, strict=True):
        assert each.tolist() == one.tolist()


@given(SEEDS, st.integers(1, 20), st.integers(1, 20), st.floats(0, 1.5))
def test_stored_pairs_give_the_same_clusters(
    seed: int, count: int, size: int, radius: float
) -> None:
    rng = np.random.default_rng(seed)
    vectors = random_directions(seed, 40, 3, 25)
    items = rng.integers(0, 30, (count, size)) + 5
    weights = rng.integers(1, 4, items.shape)
    pairs = joined_pairs(vectors, np.unique(items), radius)
    labels = connected_components(vectors, items, radius)
    assert connected_components(vectors, items, radius, pairs).tolist() == labels.tolist()
    for many in (None, weights):
        labels = greedy_ball_cover(vectors, items, radius, many)
        assert greedy_ball_cover(vectors, items, radius, many, pairs).tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TILE", 1),
        ("TILE", 7),
        ("SCRATCH_NUMBERS", 0),
        ("LOOKUP_NEIGHBORHOODS", 2),
        ("LOOKUP_ITEMS", 0),
    ],
)
def test_tiles_and_memory_change_no_stored_pair(
    name: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, items = random_directions(2, 50, 6), np.random.default_rng(0).integers(0, 50, (5, 30))

    def every() -> list[list[int]]:
        pairs = joined_pairs(vectors, np.arange(50), 0.9)
        assert pairs is not None
        labels = greedy_ball_cover(vectors, items, 0.9, None, pairs)
        return [pairs.values.tolist(), pairs.offsets.tolist(), *labels.tolist()]

    expected = every()
    monkeypatch.setattr(clusters, name, value)
    assert every() == expected


def test_too_many_pairs_are_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "MAX_STORED_PAIRS", 1000)
    assert joined_pairs(random_directions(0, 50, 3, 10), np.arange(50), 2.0) is None


@given(SEEDS, st.integers(1, 40), st.integers(1, 300), st.integers(1, 5))
def test_equal_vectors_are_together_even_at_radius_zero(
    seed: int, count: int, width: int, distinct: int
) -> None:
    vectors = random_directions(seed, count, width, distinct)
    assert components(vectors, 0.0) == labeled_by_first([row.tobytes() for row in vectors])


@pytest.mark.slow
def test_more_than_16_000_members_are_clustered_too() -> None:
    angles = np.linspace(0, 2 * math.pi, 17, endpoint=False)
    corners = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    vectors = embed_rows(np.tile(corners, (1000, 1)))
    assert components(vectors, 0.1) == list(range(17)) * 1000
    assert set(components(vectors, 0.4)) == {0}


def test_a_huge_neighborhood_needs_less_memory_than_a_byte_for_each_pair(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size, vectors = 3000, random_directions(1, 3000, 4)
    monkeypatch.setattr(clusters, "TILE", 128)
    monkeypatch.setattr(clusters, "BATCH_PAIRS", 2**13)
    tracemalloc.start()
    labels = connected_components(vectors, items_of(1, size), 0.1)
    balls = greedy_ball_cover(vectors, items_of(1, size), 0.3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size * size
    assert len(np.unique(labels)) < size
    assert len(np.unique(balls)) < size


def plain(members: list[int], labels: list[int]) -> list[list[int]]:
    """Clusters as lists of rows, largest first, then by smallest row."""
    pairs = list(zip(members, labels, strict=True))
    rows = [sorted(m for m, other in pairs if other == label) for label in set(labels)]
    return sorted(rows, key=lambda cluster: (-len(cluster), cluster[0]))


@given(st.data(), st.integers(1, 4), st.integers(1, 12))
def test_clusters_are_sorted_by_size_then_by_smallest_row(
    data: st.DataObject, count: int, length: int
) -> None:
    distinct = st.lists(st.integers(0, 99), min_size=length, max_size=length, unique=True)
    few = st.lists(st.integers(0, 4), min_size=length, max_size=length)
    members = [data.draw(distinct) for _ in range(count)]
    labels = [data.draw(few) for _ in range(count)]
    sorted_by_size = sort_by_size(np.array(members), np.array(labels))
    for i in range(count):
        expected = plain(members[i], labels[i])
        assert sorted_by_size.sizes[i].tolist() == [len(cluster) for cluster in expected]
        assert sorted_by_size.members[i].tolist() == list(chain.from_iterable(expected))
        assert sorted_by_size.counts[i].tolist() == sorted_by_size.sizes[i].tolist()


@given(st.data(), st.integers(1, 4), st.integers(1, 12))
def test_near_duplicates_count_once_for_the_size_of_a_cluster(
    data: st.DataObject, count: int, length: int
) -> None:
    distinct = st.lists(st.integers(0, 99), min_size=length, max_size=length, unique=True)
    few = st.lists(st.integers(0, 4), min_size=length, max_size=length)
    members, labels, groups = (
        [data.draw(numbers) for _ in range(count)] for numbers in (distinct, few, few)
    )
    found = sort_by_size(np.array(members), np.array(labels), np.array(groups))
    for i in range(count):
        group = dict(zip(members[i], groups[i], strict=True))
        expected = sorted(
            plain(members[i], labels[i]), key=lambda rows: (-len({group[r] for r in rows}), rows[0])
        )
        assert found.members[i].tolist() == list(chain.from_iterable(expected))
        assert found.sizes[i].tolist() == [len(rows) for rows in expected]
        assert found.counts[i].tolist() == [len({group[r] for r in rows}) for rows in expected]


def test_of_equal_sizes_the_cluster_with_the_smallest_row_leads() -> None:
    members: Ints = np.array([[9, 4, 7, 2, 5]])
    found = sort_by_size(members, np.array([[0, 0, 1, 1, 2]]))
    assert found.members[0].tolist() == [2, 7, 4, 9, 5]
    assert found.sizes[0].tolist() == [2, 2, 1]


# cover


def covered(vectors: GridVectors, radius: float) -> list[list[int]]:
    """The clusters of the densest-ball rule, in plain Python."""
    near = distances(vectors) <= radius
    left = set(range(len(vectors)))
    clusters = []
    while left:
        center = max(sorted(left), key=lambda one: sum(bool(near[one, other]) for other in left))
        ball = sorted(other for other in left if near[center, other])
        clusters.append(ball)
        left -= set(ball)
    return clusters


def parts(labels: list[int]) -> list[list[int]]:
    return sorted([i for i, label in enumerate(labels) if label == one] for one in set(labels))


@given(SEEDS, st.integers(1, 40), st.integers(1, 6), st.floats(0, 2))
def test_a_cover_takes_the_densest_ball_first(
    seed: int, count: int, width: int, radius: float
) -> None:
    vectors = random_directions(seed, count, width, 15)
    assume((np.abs(distances(vectors) - radius) > 1e-5).all())
    labels = greedy_ball_cover(vectors, items_of(1, count), radius)[0].tolist()
    assert parts(labels) == sorted(covered(vectors, radius))


@given(SEEDS, st.integers(1, 30), st.integers(1, 6), st.floats(0, 2))
def test_a_response_that_stands_for_several_weighs_as_many(
    seed: int, count: int, width: int, radius: float
) -> None:
    vectors = random_directions(seed, count, width, 15)
    weights = np.random.default_rng(seed).integers(1, 5, count)
    each = np.repeat(np.arange(count), weights)
    first = np.cumsum(weights) - weights
    alone = greedy_ball_cover(vectors, each[None], radius)[0]
    weighted = greedy_ball_cover(vectors, items_of(1, count), radius, weights[None])[0]
    assert first[weighted].tolist() == alone[first].tolist()


def test_a_cover_does_not_chain() -> None:
    labels = greedy_ball_cover(chain_of_vectors(150), items_of(1, 150), 1.01)[0].tolist()
    assert max(labels.count(label) for label in labels) == 3
    assert set(components(chain_of_vectors(150), 1.01)) == {0}
