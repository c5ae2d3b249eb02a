from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaac.corpus import corpus as corpus_module
from isaac.corpus.corpus import CORPUS_SCHEMA, Corpus
from isaac.corpus.parquet_table import ParquetTable
from isaac.curation import canonical_order
from isaac.curation.canonical_order import CanonicalCorpus, canonicalize, hash_exchange
from isaac.curation.curate import curate
from isaac.curation.unique_texts import UniqueTexts
from isaac.recipe import Recipe
from isaac.runs.disk_storage import DiskStorage
from isaac.runtime.atomic_files import MirroredFolder
from tests.reference import EXCHANGES

Rows = list[tuple[str, str, str]]

ROWS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("bcd"), st.sampled_from("xy")),
    min_size=1,
    max_size=12,
)


def layout_of(rows: Rows) -> CanonicalCorpus:
    return canonicalize(Corpus.of([row[:2] for row in rows], groups=[row[2] for row in rows]))


def texts_of(layout: CanonicalCorpus, groups: list[str]) -> Rows:
    """The context, response and group of each row."""
    return [
        (layout.contexts[c], layout.responses[r], groups[g])
        for c, r, g in zip(layout.context, layout.response, layout.group, strict=True)
    ]


@given(ROWS, st.randoms())
def test_permuting_rows_permutes_ids_and_nothing_else(rows: Rows, random: Random) -> None:
    shuffled = random.sample(rows, len(rows))
    one, other = layout_of(rows), layout_of(shuffled)
    for field in set(CanonicalCorpus._fields) - {"ids"}:
        assert np.array_equal(getattr(one, field), getattr(other, field)), field
    assert [rows[i] for i in one.ids] == [shuffled[i] for i in other.ids]


@given(ROWS)
def test_every_row_occurs_once_with_its_texts(rows: Rows) -> None:
    layout = layout_of(rows)
    assert sorted(layout.ids) == list(range(len(rows)))
    groups = list(UniqueTexts.of(row[2] for row in rows))
    assert texts_of(layout, groups) == [rows[i] for i in layout.ids]
    assert list(layout.contexts) == list(UniqueTexts.of(row[0] for row in rows))
    assert list(layout.responses) == list(UniqueTexts.of(row[1] for row in rows))
    assert sorted(layout.contexts) == sorted({row[0] for row in rows})
    assert sorted(layout.responses) == sorted({row[1] for row in rows})


@given(ROWS)
def test_copies_share_an_exchange_and_have_distinct_keys(rows: Rows) -> None:
    layout = layout_of(rows)
    assert len(set(layout.keys.tolist())) == len(rows)
    assert sorted(layout.keys) == list(layout.keys)
    places: dict[int, set[tuple[str, str, str]]] = {}
    for row, exchange in zip(layout.ids, layout.exchange, strict=True):
        places.setdefault(int(exchange), set()).add(rows[row])
    assert sorted(places) == list(range(len(set(rows))))
    assert all(len(texts) == 1 for texts in places.values())


def test_rows_without_groups_are_one_group() -> None:
    layout = canonicalize(Corpus.of([("a", "b"), ("c", "d")]))
    assert layout.group.tolist() == [0, 0]


def test_a_key_depends_on_where_one_text_ends_and_the_next_begins() -> None:
    pairs = [("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", ""), ("1", "1 a"), ("1 1", " a")]
    texts = [*((context, response, "") for context, response in pairs), ("a", "b", "c")]
    assert len({hash_exchange(*exchange) for exchange in texts}) == len(texts)
    assert hash_exchange("a", "b", copy=1) != hash_exchange("a", "b")
    assert 0 <= hash_exchange("a", "b") < 2**64


def test_copies_are_in_the_order_in_which_they_were_read() -> None:
    layout = canonicalize(Corpus.of([("a", "b")] * 5))
    copies = {hash_exchange("a", "b", copy=n): n for n in range(5)}
    assert [copies[int(k)] for k in layout.keys] == layout.ids.tolist()


@given(ROWS)
def test_first_is_the_first_row_of_each_exchange(rows: Rows) -> None:
    layout = layout_of(rows)
    exchanges = layout.exchange.tolist()
    assert layout.first.tolist() == [exchanges.index(e) for e in range(len(set(rows)))]


@given(ROWS)
def test_by_default_a_view_is_the_whole_response(rows: Rows) -> None:
    layout = layout_of(rows)
    assert layout.views is layout.responses
    assert layout.view.tolist() == layout.response.tolist()


VIEWS = {"b": "B", "c": "B", "d": "a"}
"""Views of the responses; two responses share one."""


@given(ROWS, st.integers(1, 4))
def test_views_are_distinct_and_each_row_has_its_own(rows: Rows, chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(canonical_order, "CHUNK_ROWS", chunk)
        layout = canonicalize(Corpus.of([row[:2] for row in rows]), None, VIEWS.__getitem__)
    assert list(layout.views) == list(UniqueTexts.of(VIEWS[row[1]] for row in rows))
    for response, view in zip(layout.response.tolist(), layout.view.tolist(), strict=True):
        assert layout.views[view] == VIEWS[layout.responses[response]]


def equal(one: CanonicalCorpus, other: CanonicalCorpus) -> bool:
    """Whether two layouts have equal texts and arrays."""
    texts = ("contexts", "responses", "views")
    return all(list(getattr(one, field)) == list(getattr(other, field)) for field in texts) and all(
        np.array_equal(getattr(one, field), getattr(other, field))
        for field in set(CanonicalCorpus._fields) - set(texts)
    )


def test_chunks_disk_and_stores_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [*EXCHANGES * 3, ("", "x"), ("é\n", "\0 ü")]
    corpus = Corpus.of([pair for pair in pairs if pair[0]], [str(n % 3) for n in range(181)])
    expected = canonicalize(corpus, None, str.upper)
    pq.write_table(corpus.table, tmp_path / "corpus.parquet", row_group_size=13)
    stored = Corpus(ParquetTable(tmp_path / "corpus.parquet", CORPUS_SCHEMA))
    for chunk in (1, 7, 10_000):
        monkeypatch.setattr(canonical_order, "CHUNK_ROWS", chunk)
        monkeypatch.setattr(corpus_module, "CHUNK_EXCHANGES", chunk)
        (tmp_path / str(chunk)).mkdir()
        store = DiskStorage(MirroredFolder(tmp_path / str(chunk)))
        for source in (corpus, stored):
            assert equal(canonicalize(source, None, str.upper), expected)
            assert equal(canonicalize(source, store, str.upper), expected)
    empty = Corpus(CORPUS_SCHEMA.empty_table())
    for chunk in (1, 7):
        finished = DiskStorage(MirroredFolder(tmp_path / str(chunk)), finished=True)
        assert equal(canonicalize(empty, finished, str.upper), expected)  # nothing is computed


BY_KEY = Recipe.paper(group_by="key")


def test_large_groups_have_several_neighborhoods_of_whole_exchanges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = ["small"] * 4 + ["large"] * 23
    rows = [("hi", f"{key} {number % 20}") for number, key in enumerate(keys)]
    layout = canonicalize(Corpus.of(rows, keys))
    assert layout.row_neighborhoods(BY_KEY) is layout.group
    monkeypatch.setattr(canonical_order, "MAX_COMPARED", 8)
    neighborhood = layout.row_neighborhoods(BY_KEY)
    assert layout.row_neighborhoods(Recipe.paper(group_by="key", clusters="text")) is layout.group
    pairs = np.unique(np.stack([neighborhood, layout.group]), axis=1)
    assert pairs[0].tolist() == list(range(4))  # each part belongs to one group
    assert sorted(np.bincount(pairs[1]).tolist()) == [1, 3]
    by_exchange = np.unique(np.stack([layout.exchange, neighborhood]), axis=1)
    assert len(by_exchange[0]) == len(layout.first)  # equal exchanges stay together
    assert sorted(np.bincount(by_exchange[1]).tolist()) == [4, 6, 7, 7]


def test_rows_of_a_large_group_draw_from_their_own_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canonical_order, "MAX_COMPARED", 30)
    rows = [("hi", f"the kettle is {number % 9} or {number}") for number in range(100)]
    recipe = Recipe.paper(group_by="key", keep=False)
    curation = curate(Corpus.of(rows, ["key"] * 100), recipe)
    assert curation.neighborhoods is not None
    assert len(curation.neighborhoods) == 4
    layout = curation.layout
    part = dict(zip(layout.ids.tolist(), layout.row_neighborhoods(BY_KEY).tolist(), strict=True))
    drawn = curation.lineage.select(["id", "source_id"]).to_pylist()
    assert all(part[row["id"]] == part[row["source_id"]] for row in drawn)
    assert any(row["id"] != row["source_id"] for row in drawn)
