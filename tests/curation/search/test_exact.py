from __future__ import annotations

from itertools import chain
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaac.curation.search import exact as neighbors
from isaac.curation.search.exact import TopK, find_neighbors, gather_rows, group_rows
from isaac.curation.vectors import GridVectors
from isaac.runtime.arrays import Ints, Ragged
from tests.vectors import random_directions

SEEDS = st.integers(0, 2**32)


def nearest(
    queries: GridVectors, vectors: GridVectors, k: int, selves: Ints | None = None
) -> list[list[int]]:
    """Brute force: the query itself first, then by similarity, then by index; the first k."""
    similarity = queries.astype(np.int64) @ vectors.T.astype(np.int64)
    neighbors = []
    for query, row in enumerate(similarity.tolist()):
        itself = None if selves is None else int(selves[query])
        order = sorted(range(len(row)), key=lambda i: (i != itself, -row[i], i))
        neighbors.append(order[:k])
    return neighbors


@given(SEEDS, st.integers(1, 40), st.integers(1, 8), st.integers(1, 50), st.integers(1, 6))
def test_neighbors_are_those_of_brute_force_with_ties_by_index(
    seed: int, count: int, width: int, k: int, distinct: int
) -> None:
    vectors = random_directions(seed, count, width, distinct)
    queries = random_directions(seed + 1, 5, width, distinct)
    assert find_neighbors(queries, vectors, k).tolist() == nearest(queries, vectors, k)


@given(SEEDS, st.integers(1, 40), st.integers(1, 50), st.integers(1, 6))
def test_the_vector_itself_comes_first_even_among_equals(
    seed: int, count: int, k: int, distinct: int
) -> None:
    vectors = random_directions(seed, count, 4, distinct)
    selves = np.random.default_rng(seed).permutation(count)
    found = find_neighbors(vectors[selves], vectors, k, selves)
    assert (found[:, 0] == selves).all()
    assert found.tolist() == nearest(vectors[selves], vectors, k, selves)


@pytest.mark.parametrize("tile", [1, 7, 64, 300, 1000])
@pytest.mark.parametrize("block", [1, 9, 1000])
@pytest.mark.parametrize("keys", [1, 2**22])
def test_tiles_and_blocks_change_no_neighbor(
    tile: int, block: int, keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = random_directions(3, 300, 16, 200)
    selves = np.arange(0, 300, 3)
    monkeypatch.setattr(neighbors, "TILE_VECTORS", tile)
    monkeypatch.setattr(neighbors, "BLOCK_QUERIES", block)
    monkeypatch.setattr(neighbors, "BLOCK_KEYS", keys)
    found = find_neighbors(vectors[selves], vectors, 20, selves)
    assert found.tolist() == nearest(vectors[selves], vectors, 20, selves)


def sorted_by_similarity(seed: int, count: int) -> GridVectors:
    """Random vectors, each nearer to the first axis than those before it."""
    vectors = random_directions(seed, count, 4)
    return vectors[np.argsort(vectors[:, 0], kind="stable")]


@pytest.mark.parametrize("step", [1, -1])
def test_vectors_in_order_of_similarity_are_all_compared(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = sorted_by_similarity(5, 900)[::step]
    query = np.array([[2048, 0, 0, 0]], np.int16)
    monkeypatch.setattr(neighbors, "TILE_VECTORS", 50)
    assert find_neighbors(query, vectors, 3).tolist() == nearest(query, vectors, 3)
    assert find_neighbors(query, vectors, 70).tolist() == nearest(query, vectors, 70)


def test_vectors_may_be_memory_mapped(tmp_path: Path) -> None:
    vectors = random_directions(7, 500, 8)
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    assert find_neighbors(mapped[:9], mapped, 30).tolist() == nearest(vectors[:9], vectors, 30)


def test_no_vectors_and_no_queries_give_empty_results() -> None:
    vectors = random_directions(1, 6, 4)
    assert find_neighbors(vectors, vectors[:0], 3).shape == (6, 0)
    assert find_neighbors(vectors[:0], vectors, 3).shape == (0, 3)


@given(SEEDS, st.integers(1, 12), st.integers(1, 60))
def test_vectors_may_be_compared_in_any_order_and_more_than_once(
    seed: int, k: int, chunk: int
) -> None:
    vectors = random_directions(seed, 60, 3, 25)
    rng = np.random.default_rng(seed)
    steps = (vectors[:5].astype(np.float32)) @ vectors.astype(np.float32).T
    top_k = TopK(5, k)
    for order in (rng.permutation(60), rng.permutation(60)):
        for start in range(0, 60, chunk):
            indices = order[start : start + chunk]
            for rows in np.array_split(rng.permutation(5), 2):
                top_k.update(rows, steps[rows[:, None], indices], indices)
    assert top_k.result().tolist() == nearest(vectors[:5], vectors, k)


def test_opposite_vectors_come_last_and_in_order() -> None:
    vectors = np.array([[-2048, 0], [0, 2048], [-2048, 0], [2048, 0]], np.int16)
    assert find_neighbors(vectors[3:], vectors, 9).tolist() == [[3, 1, 0, 2]]


@given(
    st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=5), min_size=1, max_size=8),
    st.integers(1, 20),
    st.randoms(),
)
def test_the_first_rows_of_the_nearest_contexts_are_gathered(
    rows: list[list[int]], k: int, random: Random
) -> None:
    flat = np.array(list(chain.from_iterable(rows)))
    ragged = Ragged.of(flat, np.array([len(row) for row in rows]))
    count = len(rows)
    near = [random.sample(range(count), count) for _ in range(3)]
    found = gather_rows(np.array(near), ragged, k)
    expected = [[row for context in order for row in rows[context]][:k] for order in near]
    assert [found[i].tolist() for i in range(3)] == expected
    assert found.lengths.tolist() == [len(row) for row in expected]


@given(st.lists(st.integers(0, 6), max_size=30))
def test_rows_are_grouped_by_key_in_ascending_order(values: list[int]) -> None:
    names = sorted(set(values))
    keys = np.array([names.index(value) for value in values], np.int64)
    groups = group_rows(keys)
    expected = [[row for row, value in enumerate(values) if value == name] for name in names]
    assert [groups[i].tolist() for i in range(len(names))] == expected
    assert len(groups.lengths) == len(names)


def test_ragged_lists_may_be_empty() -> None:
    ragged = Ragged.of(np.array([5, 6, 7]), np.array([0, 2, 0, 1]))
    assert [ragged[i].tolist() for i in range(4)] == [[], [5, 6], [], [7]]
    assert ragged.lengths.tolist() == [0, 2, 0, 1]
