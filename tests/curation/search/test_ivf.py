from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isaac.curation.search import exact as neighbors
from isaac.curation.search import ivf as inverted
from isaac.curation.search.exact import find_neighbors
from isaac.curation.search.ivf import IVFIndex, assign_lists, build_ivf, measure_recall, search
from isaac.curation.vectors import GridVectors
from isaac.runtime.arrays import Ints
from tests.vectors import embed_rows, random_directions


def topics(seed: int, count: int, width: int = 32, spread: float = 0.8) -> GridVectors:
    """Vectors that are each about one of 40 topics, and a little about another."""
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((40, width))
    first, second = rng.integers(0, 40, (2, count))
    noise = spread * rng.standard_normal((count, width))
    return embed_rows((centers[first] + centers[second] / 2 + noise).astype(np.float32))


def arrays(index: IVFIndex) -> list[list[int]]:
    return [
        index.centroids.tolist(),
        index.order.tolist(),
        index.offsets.tolist(),
        index.homes.tolist(),
        [index.probes],
    ]


def exhaustive(index: IVFIndex) -> IVFIndex:
    return replace(index, probes=len(index.centroids))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 70), st.integers(1, 30))
def test_probing_all_lists_is_exact_search(seed: int, count: int, k: int, distinct: int) -> None:
    vectors = random_directions(seed, count, 5, distinct)
    queries = random_directions(seed + 1, 7, 5)
    index = exhaustive(build_ivf(vectors))
    found = search(index, vectors, queries, k)
    assert found.tolist() == find_neighbors(queries, vectors, k).tolist()
    selves = np.random.default_rng(seed).integers(-1, count, 7)
    found = search(index, vectors, queries, k, selves)
    assert found.tolist() == find_neighbors(queries, vectors, k, selves).tolist()


def test_every_vector_is_in_its_nearest_list_and_in_two_others() -> None:
    vectors = topics(1, 3000)
    index = build_ivf(vectors)
    lists: list[set[int]] = [set() for _ in vectors]
    for number in range(len(index.centroids)):
        members = index.order[index.offsets[number] : index.offsets[number + 1]]
        assert (np.diff(members) > 0).all()
        for vector in members.tolist():
            lists[vector].add(number)
    assert {len(numbers) for numbers in lists} == {3}
    similarity = vectors.astype(np.int64) @ index.centroids.T.astype(np.int64)
    for vector, numbers in enumerate(lists):
        assert index.homes[vector] in numbers
        assert similarity[vector, index.homes[vector]] == similarity[vector].max()


def test_most_neighbors_are_found_in_few_lists() -> None:
    vectors = topics(2, 6000)
    index = build_ivf(vectors, k=30)
    rows = np.arange(0, 6000, 7)
    found = search(index, vectors, vectors[rows], 30, rows)
    exact = find_neighbors(vectors[rows], vectors, 30, rows)
    shared = [len(set(a) & set(b)) for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
    assert (found[:, 0] == rows).all()
    assert np.mean(shared) / 30 > 0.95
    assert measure_recall(index, vectors, vectors[rows], 30) == pytest.approx(0.97, abs=0.02)
    assert index.probes < len(index.centroids) / 3


def test_neighbors_are_ordered_by_similarity_then_index_and_distinct() -> None:
    vectors = topics(3, 2000)[np.random.default_rng(0).integers(0, 300, 2000)]
    index = build_ivf(vectors, k=20)
    found = search(index, vectors, vectors[:200], 20)
    for query, near in enumerate(found.tolist()):
        similarity = vectors[near].astype(np.int64) @ vectors[query].astype(np.int64)
        keys = list(zip((-similarity).tolist(), near, strict=True))
        assert keys == sorted(set(keys))


def test_many_equal_vectors_make_no_long_list_and_the_first_of_them_are_found() -> None:
    vectors = topics(4, 4000)
    vectors[::2] = vectors[0]
    index = build_ivf(vectors, k=10)
    lengths = np.diff(index.offsets)
    assert 0 < lengths.min() <= lengths.max() <= 4 * index.order.size / 200
    selves = np.array([3000, 2000])
    found = search(index, vectors, vectors[selves], 6, selves)
    assert found.tolist() == [[3000, 0, 2, 4, 6, 8], [2000, 0, 2, 4, 6, 8]]


def test_equal_vectors_only_and_tiny_corpora_are_searched() -> None:
    for vectors in (np.repeat(random_directions(1, 1, 8), 500, axis=0), random_directions(2, 2, 8)):
        index = build_ivf(vectors)
        found = search(index, vectors, vectors[:2], 400)
        assert found.tolist() == find_neighbors(vectors[:2], vectors, 400).tolist()
    empty = vectors[:0]
    assert search(build_ivf(empty), empty, vectors, 3).shape == (2, 0)
    assert search(index, vectors, empty, 3).shape == (0, 2)
    assert measure_recall(index, vectors, empty, 3) == 1
    assert measure_recall(build_ivf(empty), empty, vectors, 3) == 1


def test_a_query_probes_more_if_its_lists_hold_too_few_vectors() -> None:
    vectors = topics(5, 1500)
    index = replace(build_ivf(vectors), probes=1)
    found = search(index, vectors, vectors[:50], 700, np.arange(50))
    assert found.shape == (50, 700)
    assert all(len(set(row)) == 700 for row in found.tolist())
    found = search(index, vectors, vectors[:5], 1500)
    assert found.tolist() == find_neighbors(vectors[:5], vectors, 1500).tolist()


@pytest.mark.parametrize(
    ("module", "name", "size"),
    [
        (inverted, "BLOCK_QUERIES", 3),
        (inverted, "BLOCK_PRODUCTS", 100),
        (inverted, "ASSIGNMENT_PRODUCTS", 1000),
        (neighbors, "TILE_VECTORS", 5),
        (neighbors, "BLOCK_QUERIES", 7),
        (neighbors, "BLOCK_KEYS", 1),
        (neighbors, "SPARE_KEYS", 0),
    ],
)
def test_no_block_size_changes_lists_or_neighbors(
    module: object, name: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = topics(6, 700)
    index = build_ivf(vectors, k=20)
    found = search(index, vectors, vectors[:60], 20, np.arange(60))
    monkeypatch.setattr(module, name, size)
    again = build_ivf(vectors, k=20)
    assert arrays(again) == arrays(index)
    assert search(again, vectors, vectors[:60], 20, np.arange(60)).tolist() == found.tolist()


def test_threads_shards_and_order_of_queries_change_no_neighbor() -> None:
    vectors = topics(7, 2500)
    index: IVFIndex = pickle.loads(pickle.dumps(build_ivf(vectors, k=20)))
    expected = search(index, vectors, vectors, 20)
    order = np.argsort(assign_lists(index, vectors), kind="stable")
    shards = np.array_split(order, 9)

    def work(shard: Ints) -> Ints:
        return search(index, vectors, vectors[shard], 20)

    with ThreadPoolExecutor(3) as pool:
        found = np.concatenate(list(pool.map(work, shards)))
    assert (found == expected[order]).all()


@pytest.mark.parametrize("many", [1, inverted.MAX_SINGLE_QUERIES])
def test_a_few_queries_find_what_they_find_among_many(many: int) -> None:
    vectors = topics(9, 1500)
    index, selves = build_ivf(vectors, k=20), np.where(np.arange(60) % 3, np.arange(60), -1)
    expected = search(index, vectors, vectors[:60], 20, selves)
    for start in range(0, 60, many):
        rows = slice(start, start + many)
        found = search(index, vectors, vectors[rows], 20, selves[rows])
        assert (found == expected[rows]).all()


def test_vectors_may_be_memory_mapped(tmp_path: Path) -> None:
    vectors = topics(8, 900)
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    index = build_ivf(mapped, k=20)
    assert arrays(index) == arrays(build_ivf(vectors, k=20))
    assert type(index.centroids) is type(index.order) is type(index.offsets) is np.ndarray
    found = search(index, mapped, mapped[:50], 20)
    assert found.tolist() == search(index, vectors, vectors[:50], 20).tolist()
    assert assign_lists(index, mapped).shape == (900,)
