from __future__ import annotations

import math
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN

from isaac import clusters
from isaac.clusters import by_size, components, cover
from isaac.embeddings import GRID, Grid, as_floats
from isaac.neighbors import Ints
from tests.vectors import directions, on_grid

SEEDS = st.integers(0, 2**32)


def found(vectors: Grid, radius: float) -> list[int]:
    names: list[int] = components(as_floats(vectors)[None], radius)[0].tolist()
    return names


def distances(vectors: Grid) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return Euclidean distances from whole-number cosines."""
    cosines = vectors.astype(np.int64) @ vectors.T.astype(np.int64)
    squares = np.diag(cosines)
    apart = squares[:, None] + squares[None] - 2 * cosines
    return np.asarray(np.sqrt(apart) / GRID)


def named_by_first(labels: list[int]) -> list[int]:
    return [labels.index(label) for label in labels]


def string(length: int, seed: int = 0) -> Grid:
    """Return vectors in random order, each at distance 1 of the next and sqrt(2) of all others."""
    rows = np.zeros((length, length + 1), np.float32)
    rows[np.arange(length), np.arange(length)] = 1
    rows[np.arange(length), np.arange(length) + 1] = 1
    return on_grid(np.random.default_rng(seed).permutation(rows))


@given(SEEDS, st.integers(1, 60), st.integers(1, 12), st.integers(1, 60), st.floats(0, 2))
def test_components_are_those_of_dbscan_on_the_same_distances(
    seed: int, count: int, width: int, distinct: int, radius: float
) -> None:
    vectors = directions(seed, count, width, distinct)
    apart = distances(vectors)
    assume(((np.abs(apart - radius) > 1e-6) | (apart == radius)).all())
    labels = DBSCAN(eps=max(radius, 1e-9), min_samples=1, metric="precomputed").fit_predict(apart)
    assert found(vectors, radius) == named_by_first(labels.tolist())


@given(SEEDS, st.integers(2, 16), st.integers(2, 12), st.floats(0.05, 1.9))
def test_components_are_those_of_dbscan_on_the_vectors_themselves(
    seed: int, count: int, width: int, radius: float
) -> None:
    raw = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    apart = np.linalg.norm(unit[:, None] - unit[None], axis=2)
    assume((np.abs(apart - radius) > 1e-3).all())
    labels = DBSCAN(eps=radius, min_samples=1).fit_predict(unit)
    assert found(on_grid(raw), radius) == named_by_first(labels.tolist())


@given(SEEDS, st.integers(1, 20), st.integers(1, 30), st.floats(0, 0.01))
def test_components_are_exact_down_to_single_steps_of_the_grid(
    seed: int, count: int, width: int, radius: float
) -> None:
    moved = np.random.default_rng(seed).integers(-2, 3, (count, width), np.int16)
    vectors = directions(seed, 1, width) + moved
    apart = distances(vectors)
    assume((np.abs(apart - radius) > 1e-5).all() or radius == 0)
    labels = DBSCAN(eps=max(radius, 1e-9), min_samples=1, metric="precomputed").fit_predict(apart)
    assert found(vectors, radius) == named_by_first(labels.tolist())


def test_a_chain_is_one_cluster_though_its_ends_are_far_apart() -> None:
    vectors = string(150)
    assert distances(vectors).max() > 1.4
    assert set(found(vectors, 1.01)) == {0}
    assert found(vectors, 0.99) == list(range(150))


def test_a_broken_chain_is_two_clusters() -> None:
    vectors = np.delete(string(21, seed=5), 0, axis=0)
    assert len(set(found(vectors, 1.01))) in (1, 2)
    angles = np.array([0.0, 0.1, 0.2, 0.3, 0.5, 0.6, 0.7])
    arc = on_grid(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32))
    assert found(arc, 0.12) == [0, 0, 0, 0, 4, 4, 4]


def test_a_chain_takes_few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = 0
    apart = clusters._apart

    def counted(*arguments: Any) -> Any:
        nonlocal rounds
        rounds += 1
        return apart(*arguments)

    monkeypatch.setattr(clusters, "PAIRS", 0)
    monkeypatch.setattr(clusters, "_apart", counted)
    assert set(found(string(300), 1.01)) == {0}
    assert rounds <= 2 * math.log2(300)


@given(SEEDS, st.integers(1, 4), st.integers(1, 20), st.floats(0, 1.5))
def test_a_batch_gives_what_each_neighborhood_gives_alone(
    seed: int, count: int, size: int, radius: float
) -> None:
    batch = as_floats(directions(seed, count * size, 3, 10)).reshape(count, size, 3)
    alone = [components(one[None], radius)[0].tolist() for one in batch]
    assert components(batch, radius).tolist() == alone


@pytest.mark.parametrize("tile", [1, 3, 1000])
@pytest.mark.parametrize("pairs", [0, 2**24])
def test_tiles_and_memory_change_no_cluster(
    tile: int, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = as_floats(directions(2, 4 * 50, 6)).reshape(4, 50, 6)
    expected = components(batch, 0.6).tolist()
    monkeypatch.setattr(clusters, "TILE", tile)
    monkeypatch.setattr(clusters, "PAIRS", pairs)
    assert components(batch, 0.6).tolist() == expected


@given(SEEDS, st.integers(1, 40), st.integers(1, 300), st.integers(1, 5))
def test_equal_vectors_are_together_even_at_radius_zero(
    seed: int, count: int, width: int, distinct: int
) -> None:
    vectors = directions(seed, count, width, distinct)
    assert found(vectors, 0.0) == named_by_first([row.tobytes() for row in vectors])


@pytest.mark.slow
def test_more_members_than_small_numbers_hold_are_clustered_too() -> None:
    angles = np.linspace(0, 2 * math.pi, 17, endpoint=False)
    corners = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    vectors = on_grid(np.tile(corners, (1000, 1)))
    assert found(vectors, 0.1) == list(range(17)) * 1000
    assert set(found(vectors, 0.4)) == {0}


def plain(members: list[int], names: list[int]) -> list[list[int]]:
    """Return clusters as lists of rows, largest first, then the one with the smallest row."""
    rows = [
        sorted(m for m, n in zip(members, names, strict=True) if n == name) for name in set(names)
    ]
    return sorted(rows, key=lambda cluster: (-len(cluster), cluster[0]))


@given(st.data(), st.integers(1, 4), st.integers(1, 12))
def test_clusters_are_sorted_by_size_then_by_smallest_row(
    data: st.DataObject, count: int, length: int
) -> None:
    distinct = st.lists(st.integers(0, 99), min_size=length, max_size=length, unique=True)
    few = st.lists(st.integers(0, 4), min_size=length, max_size=length)
    members = [data.draw(distinct) for _ in range(count)]
    names = [data.draw(few) for _ in range(count)]
    sorted_by_size = by_size(np.array(members), np.array(names))
    for i in range(count):
        expected = plain(members[i], names[i])
        assert sorted_by_size.sizes[i].tolist() == [len(cluster) for cluster in expected]
        assert sorted_by_size.members[i].tolist() == list(chain.from_iterable(expected))
        assert sorted_by_size.counts[i].tolist() == sorted_by_size.sizes[i].tolist()


@given(st.data(), st.integers(1, 4), st.integers(1, 12))
def test_near_duplicates_count_once_for_the_size_of_a_cluster(
    data: st.DataObject, count: int, length: int
) -> None:
    distinct = st.lists(st.integers(0, 99), min_size=length, max_size=length, unique=True)
    few = st.lists(st.integers(0, 4), min_size=length, max_size=length)
    members, names, kinds = ([data.draw(of) for _ in range(count)] for of in (distinct, few, few))
    found = by_size(np.array(members), np.array(names), np.array(kinds))
    for i in range(count):
        kind = dict(zip(members[i], kinds[i], strict=True))
        expected = sorted(
            plain(members[i], names[i]), key=lambda rows: (-len({kind[r] for r in rows}), rows[0])
        )
        assert found.members[i].tolist() == list(chain.from_iterable(expected))
        assert found.sizes[i].tolist() == [len(rows) for rows in expected]
        assert found.counts[i].tolist() == [len({kind[r] for r in rows}) for rows in expected]


def test_of_equal_sizes_the_cluster_with_the_smallest_row_leads() -> None:
    members: Ints = np.array([[9, 4, 7, 2, 5]])
    found = by_size(members, np.array([[0, 0, 1, 1, 2]]))
    assert found.members[0].tolist() == [2, 7, 4, 9, 5]
    assert found.sizes[0].tolist() == [2, 2, 1]


# cover


def covered(vectors: Grid, radius: float) -> list[list[int]]:
    """Return the clusters of the densest-ball rule, read off plainly, as they are taken."""
    near = distances(vectors) <= radius
    left = set(range(len(vectors)))
    clusters = []
    while left:
        centre = max(sorted(left), key=lambda one: sum(bool(near[one, other]) for other in left))
        ball = sorted(other for other in left if near[centre, other])
        clusters.append(ball)
        left -= set(ball)
    return clusters


def parts(names: list[int]) -> list[list[int]]:
    return sorted([i for i, name in enumerate(names) if name == one] for one in set(names))


@given(SEEDS, st.integers(1, 40), st.integers(1, 6), st.floats(0, 2))
def test_a_cover_takes_the_densest_ball_first(
    seed: int, count: int, width: int, radius: float
) -> None:
    vectors = directions(seed, count, width, 15)
    assume((np.abs(distances(vectors) - radius) > 1e-5).all())
    names = cover(as_floats(vectors)[None], radius)[0].tolist()
    assert parts(names) == sorted(covered(vectors, radius))


def test_a_cover_does_not_chain() -> None:
    names = cover(as_floats(string(150))[None], 1.01)[0].tolist()
    assert max(names.count(name) for name in names) == 3
    assert set(found(string(150), 1.01)) == {0}


@pytest.mark.parametrize("tile", [1, 7, 1000])
@pytest.mark.parametrize("pairs", [0, 50 * 50, 2**24])
def test_tiles_memory_and_batches_change_no_cover(
    tile: int, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = as_floats(directions(2, 4 * 50, 6)).reshape(4, 50, 6)
    expected = cover(batch, 0.6).tolist()
    assert [cover(one[None], 0.6)[0].tolist() for one in batch] == expected
    monkeypatch.setattr(clusters, "TILE", tile)
    monkeypatch.setattr(clusters, "PAIRS", pairs)
    assert cover(batch, 0.6).tolist() == expected
