"""The storage of finished work: what is computed once, what is kept, and what memory keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from isaac.corpus.corpus import Corpus
from isaac.curation import embedding, shards
from isaac.curation.clusters import Clusters, sort_by_size
from isaac.curation.curate import curate
from isaac.curation.resources import Tools
from isaac.curation.storage import MemoryStorage
from isaac.curation.vectors import Embeddings
from isaac.errors import EncoderError
from isaac.recipe import Recipe
from isaac.runtime import storage
from isaac.runtime.storage import Array, stored_arrays
from tests.curation.test_curate import Counting
from tests.reference import EXCHANGES


class Remembering(MemoryStorage):
    """A store that keeps everything in memory, and the names of what it computed."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def array(self, name: str, make: Callable[[], Array], /) -> Array:
        array: Array = self._get_or_make(name, make)
        return array

    def stacked(self, name: str, _rows: int, make: Callable[[], Iterable[Array]], /) -> Array:
        array: Array = self._get_or_make(name, lambda: np.concatenate(list(make())))
        return array

    def facts(self, name: str, make: Callable[[], dict[str, Any]], /) -> dict[str, Any]:
        facts: dict[str, Any] = self._get_or_make(f"{name} facts", make)
        return facts

    def _get_or_make(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self.stored:
            self.made.append(name)
        return super()._get_or_make(name, make)


def test_work_is_kept_in_the_store_once_under_each_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_NEIGHBORHOODS", (20, 20))
    monkeypatch.setattr(embedding, "CHUNK_TEXTS", 25)
    spy, store = Counting(), Remembering()
    tools = Tools(store=store, encoders={"wordllama": spy})
    first = curate(Corpus.of(EXCHANGES), Recipe.redraw_most(neighbors=12), tools)
    assert first.lineage.num_rows == len(EXCHANGES)
    made = [name for name in store.made if not name.startswith("texts/")]
    assert len(set(made)) == len(made)
    exchanges = len(set(EXCHANGES))
    assert {name for name in made if name.startswith("shards/")} == {
        f"shards/{number:05}" for number in range(-(-exchanges // 20))
    }
    assert {"vectors/wording.typicality", "vectors/wording.kind", "vectors/trials"} <= set(made)
    texts = {"contexts": {c for c, _ in EXCHANGES}, "responses": {r for _, r in EXCHANGES}}
    for side, distinct in texts.items():
        chunk_names = {f"vectors/{side}.{number:05}" for number in range(-(-len(distinct) // 25))}
        assert chunk_names | {f"vectors/{side}", f"vectors/{side} facts"} <= set(made)
        assert not chunk_names & set(store.stored)
    embedded = spy.texts
    assert embedded == sum(map(len, texts.values()))
    again = curate(Corpus.of(EXCHANGES), Recipe.redraw_most(neighbors=12), tools)
    assert again.lineage.equals(first.lineage)
    assert spy.texts == embedded
    assert len([name for name in store.made if not name.startswith("texts/")]) == len(made)


def test_embedded_chunks_are_not_embedded_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedding, "CHUNK_TEXTS", 10)
    first, other, fresh = Counting(30), Counting(), Counting()
    tools = Tools(Remembering(), encoders={"wordllama": first})
    with pytest.raises(EncoderError, match="down"):
        curate(Corpus.of(EXCHANGES), Recipe(), tools)
    again = curate(Corpus.of(EXCHANGES), Recipe(), tools._replace(encoders={"wordllama": other}))
    whole = curate(Corpus.of(EXCHANGES), Recipe(), Tools(encoders={"wordllama": fresh}))
    assert again.lineage.equals(whole.lineage)
    assert first.texts >= 30
    assert other.texts == fresh.texts - first.texts


# in memory


def clusters_of(rows: list[int]) -> Clusters:
    return sort_by_size(np.array([rows]), np.zeros((1, len(rows)), np.int64))


def test_memory_keeps_vectors_and_neighborhoods_by_name() -> None:
    store = MemoryStorage()
    one = Embeddings(np.ones((2, 3), np.int16), 0, "one")
    assert not store.has("vectors/a")
    assert store.embedded("vectors/a", lambda: one) is one
    assert store.has("vectors/a")
    assert store.embedded("vectors/a", never) is one
    clusters = clusters_of([1, 2])
    assert store.clusters("shards/0", lambda: clusters) is clusters
    assert store.clusters("shards/0", never) is clusters
    store.forget("vectors/a")
    store.forget("vectors/none")
    assert not store.has("vectors/a")
    assert store.has("shards/0")


def never() -> Any:
    raise AssertionError("computed again although it is stored")


def test_memory_returns_other_work_as_it_is_computed() -> None:
    store = MemoryStorage()
    numbers = np.arange(3)
    assert store.array("a", lambda: numbers) is numbers
    blocks = [np.array([[1, 2]]), np.array([[3, 4], [5, 6]])]
    assert store.stacked("b", 3, lambda: iter(blocks)).tolist() == [[1, 2], [3, 4], [5, 6]]
    assert store.facts("c", lambda: {"x": 1}) == {"x": 1}
    chunks = [(np.array([2, 0]), ["c", "a"]), (np.array([], np.int64), []), (np.array([1]), ["b"])]
    assert list(store.texts("d", 3, lambda: chunks)) == ["a", "b", "c"]


def test_scratch_memory_is_zeros() -> None:
    scratch = MemoryStorage().scratch((2, 3), np.int32)
    assert scratch.dtype == np.int32
    assert scratch.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_arrays_that_are_made_together_are_made_once_and_kept_each() -> None:
    store, times = Remembering(), 0

    def make() -> dict[str, Array]:
        nonlocal times
        times += 1
        return {"a": np.array([1]), "b": np.array([2]), "more": np.array([3])}

    for _ in range(2):
        arrays = stored_arrays(store, "name", ["b", "a"], make)
        assert {name: array.tolist() for name, array in arrays.items()} == {"a": [1], "b": [2]}
    assert times == 1
    assert store.made == ["name.b", "name.a"]
    del store.stored["name.a"]
    assert stored_arrays(store, "name", ["b", "a"], make)["a"].tolist() == [1]
    assert times == 2


def test_every_curation_has_a_store_of_its_own() -> None:
    one, other = Tools().ready(), Tools().ready()
    assert isinstance(one.store, storage.MemoryStorage)
    assert one.store is not other.store
    given = Tools(store=MemoryStorage())
    assert given.ready() is given
