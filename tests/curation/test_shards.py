from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaac.corpus.corpus import Corpus
from isaac.curation import neighborhoods, shards
from isaac.curation.canonical_order import CanonicalCorpus, canonicalize
from isaac.curation.clusters import Clusters, concatenate_neighborhoods, take_neighborhoods
from isaac.curation.neighborhoods import (
    KeyedNeighborhoods,
    SearchedNeighborhoods,
    build_context_index,
)
from isaac.curation.resources import Tools
from isaac.curation.search.exact import group_rows
from isaac.curation.shards import Neighborhoods, find_clusters
from isaac.curation.storage import MemoryStorage, shard_key
from isaac.curation.vectors import Embeddings
from isaac.curation.views import ComparedResponses
from isaac.errors import IsaacError
from isaac.recipe import ResolvedRecipe
from isaac.runtime.arrays import Ints
from isaac.runtime.engines import LocalEngine
from tests.reference import EXCHANGES
from tests.vectors import random_directions

Plain = list[list[list[int]]]


def settled(**fields: Any) -> ResolvedRecipe:
    encoders = {"context_encoder": "hashing", "response_encoder": "hashing"}
    return ResolvedRecipe.of({**encoders, "radius": 1.1, "view": "whole", **fields})


class Case:
    """A corpus with random vectors of its texts, and a random choice of rows that may be drawn."""

    def __init__(self, pairs: list[tuple[str, str]], recipe: ResolvedRecipe, seed: int = 0) -> None:
        groups = [str(len(context) % 4) for context, _ in pairs]
        self.recipe = recipe
        self.layout: CanonicalCorpus = canonicalize(Corpus.of(pairs, groups))
        count = len(self.layout.responses)
        self.contexts = Embeddings(random_directions(seed, len(self.layout.contexts), 6), 0, "")
        group = np.random.default_rng(seed).integers(0, 1 + count // 2, count)
        vectors = random_directions(seed + 1, count, 6, distinct=-(-2 * count // 3))
        self.compared = ComparedResponses(
            vectors, self.layout.view, duplicate_group=np.asarray(group[self.layout.response])
        )
        self.drawable = np.random.default_rng(seed).random(len(self.layout.ids)) < 0.7
        self.drawable[0] = True

    def found(self, **tools: Any) -> Neighborhoods:
        """The neighborhoods of the corpus."""
        ready = Tools(**tools).ready()
        return find_clusters(
            self.layout, self.contexts, self.compared, self.drawable, self.recipe, ready
        )

    def work(self) -> SearchedNeighborhoods | KeyedNeighborhoods:
        """The work that finds and clusters some of the neighborhoods."""
        if self.recipe.reading.group_by is not None:
            return KeyedNeighborhoods(self.compared, group_rows(self.layout.group), self.recipe)
        candidates = build_context_index(
            self.layout, self.contexts, self.drawable, self.recipe, Tools()
        )
        return SearchedNeighborhoods.of(
            self.layout, self.contexts, self.compared, candidates, self.recipe
        )


RECIPES = [
    {"neighbors": 12},
    {"neighbors": 1},
    {"neighbors": 400},
    {"neighbors": 12, "clusters": "cover"},
    {"neighbors": 12, "clusters": "text"},
    {"group_by": "g"},
    {"group_by": "g", "clusters": "cover"},
]
of_recipes = pytest.mark.parametrize("fields", RECIPES, ids=str)


def plain(clusters: Clusters) -> Plain:
    """Neighborhoods as lists of members, sizes and counts."""
    return [
        [part[number].tolist() for part in clusters]
        for number in range(len(clusters.sizes.lengths))
    ]


def one_by_one(found: Neighborhoods) -> Plain:
    return [plain(found[number])[0] for number in range(len(found))]


def cut(monkeypatch: pytest.MonkeyPatch, *, most: int, members: int = 2**30) -> None:
    monkeypatch.setattr(shards, "SHARD_NEIGHBORHOODS", (most, most))
    monkeypatch.setattr(shards, "SHARD_MEMBERS", members)


# every neighborhood once


@of_recipes
@pytest.mark.parametrize("most", [1, 7, 1000])
def test_every_neighborhood_is_in_one_shard(
    fields: dict[str, Any], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(monkeypatch, most=most)
    case = Case(EXCHANGES, settled(**fields))
    found = case.found()
    expected = case.layout.group if case.recipe.reading.group_by else case.layout.exchange
    numbers = np.concatenate([shard.numbers for shard in found])
    assert sorted(numbers.tolist()) == list(range(expected.max() + 1))
    assert len(found) == len(numbers)
    assert found.shards == len(list(found)) == -(-len(numbers) // most)
    for number, shard in enumerate(found):
        assert shard.numbers.tolist() == found.numbers(number).tolist()
        assert len(shard.clusters.sizes.lengths) == len(shard.numbers) <= most


@of_recipes
def test_one_neighborhood_is_the_same_as_in_its_shard(
    fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(monkeypatch, most=7)
    found = Case(EXCHANGES, settled(**fields)).found()
    seen = 0
    for shard in found:
        for number, lists in zip(shard.numbers.tolist(), plain(shard.clusters), strict=True):
            assert plain(found[number]) == [lists]
            seen += 1
    assert seen == len(found)


def test_neighborhoods_may_be_in_any_order() -> None:
    recipe = settled(group_by="g")
    case = Case(EXCHANGES, recipe)
    work, order = case.work(), np.array([2, 0, 3, 1])
    store = MemoryStorage()
    for shard, numbers in enumerate(([2, 0, 3], [1])):
        store.clusters(shard_key(shard), partial(work.clusters, np.array(numbers)))
    found = Neighborhoods(order, np.array([0, 3, 4]), store, {})
    assert one_by_one(found) == plain(work.clusters(np.arange(4)))


def test_a_missing_shard_is_an_error() -> None:
    found = Neighborhoods(np.arange(3), np.array([0, 3]), MemoryStorage(), {})
    with pytest.raises(IsaacError, match="a stored shard has disappeared"):
        found[1]


# what does not affect results


@of_recipes
def test_the_size_of_shards_changes_nothing(
    fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(EXCHANGES, settled(**fields))
    expected = one_by_one(case.found())
    assert len(expected) > 3
    for most, members in [(1, 2**30), (2, 2**30), (13, 2**30), (1000, 1), (1000, 25), (5, 100)]:
        cut(monkeypatch, most=most, members=members)
        assert one_by_one(case.found()) == expected
        assert one_by_one(case.found(engine=LocalEngine(3))) == expected
    monkeypatch.setattr(neighborhoods, "BLOCK_NEIGHBORHOODS", 3)
    assert one_by_one(case.found()) == expected
    monkeypatch.setattr(neighborhoods, "BLOCK_PAIRS", 1)
    assert one_by_one(case.found()) == expected


@pytest.mark.parametrize("fields", RECIPES[:4], ids=str)
def test_joined_pairs_found_beforehand_change_nothing(
    fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(EXCHANGES, settled(**fields))
    expected = one_by_one(case.found())
    is_worth_it = case.recipe.neighbors > 1
    compared = shards.with_joined_pairs(case.compared, len(expected), case.recipe, Tools())
    assert (compared.joined_pairs is not None) == is_worth_it
    monkeypatch.setattr(shards, "with_joined_pairs", lambda compared, *_: compared)
    assert one_by_one(case.found()) == expected


@of_recipes
def test_equal_neighborhoods_are_clustered_once_and_alike(fields: dict[str, Any]) -> None:
    """Of many rows of one context, all but a few have the same neighbors."""
    pairs = [(f"question {n % 3}", f"answer {n}") for n in range(40)] + EXCHANGES[:10]
    case = Case(pairs, settled(**fields))
    work = case.work()
    every = np.arange(len(case.found()))
    apart = concatenate_neighborhoods(
        [work.clusters(every[number : number + 1]) for number in every.tolist()]
    )
    together = work.clusters(every)
    assert plain(together) == plain(apart) == one_by_one(case.found())
    some = np.array([5, 0, 5, 2, 2, 1]) % len(every)
    assert plain(work.clusters(some)) == plain(take_neighborhoods(apart, some))


@pytest.mark.parametrize("neighbors", [1, 2, 5, 60])
def test_exchanges_of_a_context_share_a_search_but_each_has_its_own_row(neighbors: int) -> None:
    case = Case([("hi", f"answer {n}") for n in range(50)], settled(neighbors=neighbors))
    work = case.work()
    assert isinstance(work, SearchedNeighborhoods)
    clustered: list[int] = []
    original: Callable[..., Clusters] = neighborhoods.cluster_neighborhoods

    def counting(members: Ints, *rest: Any) -> Clusters:
        clustered.append(len(members))
        return original(members, *rest)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(neighborhoods, "cluster_neighborhoods", counting)
        found = work.clusters(np.arange(50))
    distinct = {frozenset(found.members[number].tolist()) for number in range(50)}
    assert sum(clustered) == len(distinct)
    for number in range(50):
        assert case.layout.first[number] in found.members[number]


# large groups


def test_a_group_larger_than_a_shard_gets_its_own_shard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [(f"c{n}", f"r{n}", "large" if n % 8 else f"small {n % 5}") for n in range(200)]
    layout = canonicalize(Corpus.of([row[:2] for row in rows], [row[2] for row in rows]))
    recipe = settled(group_by="g")
    compared = ComparedResponses(random_directions(3, 200, 5), layout.view)
    every: npt.NDArray[np.bool_] = np.ones(200, bool)
    expected = None
    for members in (1, 20, 100, 2**20):
        cut(monkeypatch, most=4, members=members)
        found = find_clusters(layout, None, compared, every, recipe, Tools().ready())
        sizes = [len(shard.clusters.members.values) for shard in found]
        assert sum(sizes) == 200
        assert all(len(shard.numbers) == 1 for shard in found if members == 1)
        large = [shard for shard in found if len(shard.clusters.members.values) >= 175]
        assert len(large) == 1
        assert all(size <= members for size in sizes if size < 175) or members == 1
        expected = expected or one_by_one(found)
        assert one_by_one(found) == expected
    assert found.search == {"by": "key"}


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 12), st.integers(1, 30))
def test_shards_are_as_large_as_they_may_be(sizes: list[int], most: int, members: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        cut(patched, most=most, members=members)
        starts = shards._shard_starts(np.array(sizes, np.int64)).tolist()
    assert starts[0] == 0
    assert starts[-1] == len(sizes)
    for start, end in itertools.pairwise(starts):
        assert 1 <= end - start <= most
        held = sum(sizes[start:end])
        assert held - sizes[end - 1] < members  # the last neighborhood may be what fills it
        if end < len(sizes) and end - start < most:
            assert held >= members


# how they were found, and what is stored


def test_finished_shards_are_not_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cut(monkeypatch, most=10)
    case, store = Case(EXCHANGES, settled(neighbors=12)), MemoryStorage()
    expected = one_by_one(case.found(store=store))
    del store.stored[shard_key(2)]
    asked: list[list[int]] = []
    original = SearchedNeighborhoods.clusters

    def counting(work: SearchedNeighborhoods, numbers: Ints) -> Clusters:
        asked.append(numbers.tolist())
        return original(work, numbers)

    monkeypatch.setattr(SearchedNeighborhoods, "clusters", counting)
    found = case.found(store=store)
    assert one_by_one(found) == expected
    assert asked == [found.numbers(2).tolist()]
    assert found.search == {"by": "exact"}
