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
from isaac.curation import canonical_order as layout_module
from isaac.curation.canonical_order import CanonicalCorpus, canonicalize, hash_exchange
from isaac.curation.unique_texts import UniqueTexts
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


def said(layout: CanonicalCorpus, groups: list[str]) -> Rows:
    """Return what a layout says of each of its rows."""
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
def test_every_row_is_there_once_with_its_texts(rows: Rows) -> None:
    layout = layout_of(rows)
    assert sorted(layout.ids) == list(range(len(rows)))
    groups = list(UniqueTexts.of(row[2] for row in rows))
    assert said(layout, groups) == [rows[i] for i in layout.ids]
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


def test_a_key_tells_where_one_text_ends_and_the_next_begins() -> None:
    pairs = [("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", ""), ("1", "1 a"), ("1 1", " a")]
    texts = [*((context, response, "") for context, response in pairs), ("a", "b", "c")]
    assert len({hash_exchange(*three) for three in texts}) == len(texts)
    assert hash_exchange("a", "b", copy=1) != hash_exchange("a", "b")
    assert 0 <= hash_exchange("a", "b") < 2**64


def test_of_copies_the_first_read_comes_first() -> None:
    layout = canonicalize(Corpus.of([("a", "b")] * 5))
    copies = {hash_exchange("a", "b", copy=n): n for n in range(5)}
    assert [copies[int(k)] for k in layout.keys] == layout.ids.tolist()


@given(ROWS)
def test_the_first_row_of_each_exchange_is_named(rows: Rows) -> None:
    layout = layout_of(rows)
    exchanges = layout.exchange.tolist()
    assert layout.first.tolist() == [exchanges.index(e) for e in range(len(set(rows)))]


@given(ROWS)
def test_responses_are_shown_as_they_are(rows: Rows) -> None:
    layout = layout_of(rows)
    assert layout.views is layout.responses
    assert layout.view.tolist() == layout.response.tolist()


SEEN = {"b": "B", "c": "B", "d": "a"}
"""What is seen of responses: of two of them the same."""


@given(ROWS, st.integers(1, 4))
def test_what_is_seen_of_responses_is_distinct_and_found_by_each_row(rows: Rows, some: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(layout_module, "CHUNK_ROWS", some)
        layout = canonicalize(Corpus.of([row[:2] for row in rows]), None, SEEN.__getitem__)
    assert list(layout.views) == list(UniqueTexts.of(SEEN[row[1]] for row in rows))
    for response, look in zip(layout.response.tolist(), layout.view.tolist(), strict=True):
        assert layout.views[look] == SEEN[layout.responses[response]]


def same(one: CanonicalCorpus, other: CanonicalCorpus) -> bool:
    """Say whether two layouts say the same."""
    texts = ("contexts", "responses", "shown")
    return all(list(getattr(one, field)) == list(getattr(other, field)) for field in texts) and all(
        np.array_equal(getattr(one, field), getattr(other, field))
        for field in set(CanonicalCorpus._fields) - set(texts)
    )


def test_portions_disk_and_stores_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [*EXCHANGES * 3, ("", "x"), ("é\n", "\0 ü")]
    corpus = Corpus.of([pair for pair in pairs if pair[0]], [str(n % 3) for n in range(181)])
    expected = canonicalize(corpus, None, str.upper)
    pq.write_table(corpus.table, tmp_path / "corpus.parquet", row_group_size=13)
    stored = Corpus(ParquetTable(tmp_path / "corpus.parquet", CORPUS_SCHEMA))
    for portion in (1, 7, 10_000):
        monkeypatch.setattr(layout_module, "CHUNK_ROWS", portion)
        monkeypatch.setattr(corpus_module, "CHUNK_EXCHANGES", portion)
        (tmp_path / str(portion)).mkdir()
        store = DiskStorage(MirroredFolder(tmp_path / str(portion)))
        for given_corpus in (corpus, stored):
            assert same(canonicalize(given_corpus, None, str.upper), expected)
            assert same(canonicalize(given_corpus, store, str.upper), expected)
    empty = Corpus(CORPUS_SCHEMA.empty_table())
    for number in (1, 7):
        kept = DiskStorage(MirroredFolder(tmp_path / str(number)), finished=True)
        assert same(canonicalize(empty, kept, str.upper), expected)  # all of it is read
