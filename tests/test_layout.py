from __future__ import annotations

from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from isaac.corpus import Corpus
from isaac.layout import Layout, arrange, key

Rows = list[tuple[str, str, str]]

ROWS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("bcd"), st.sampled_from("xy")),
    min_size=1,
    max_size=12,
)


def layout_of(rows: Rows) -> Layout:
    return arrange(Corpus.of([row[:2] for row in rows], groups=[row[2] for row in rows]))


def said(layout: Layout, groups: list[str]) -> Rows:
    """Return what a layout says of each of its rows."""
    return [
        (layout.contexts[c], layout.responses[r], groups[g])
        for c, r, g in zip(layout.context, layout.response, layout.group, strict=True)
    ]


@given(ROWS, st.randoms())
def test_permuting_rows_permutes_ids_and_nothing_else(rows: Rows, random: Random) -> None:
    shuffled = random.sample(rows, len(rows))
    one, other = layout_of(rows), layout_of(shuffled)
    for field in set(Layout._fields) - {"ids"}:
        assert np.array_equal(getattr(one, field), getattr(other, field)), field
    assert [rows[i] for i in one.ids] == [shuffled[i] for i in other.ids]


@given(ROWS)
def test_every_row_is_there_once_with_its_texts(rows: Rows) -> None:
    layout = layout_of(rows)
    assert sorted(layout.ids) == list(range(len(rows)))
    assert said(layout, sorted({row[2] for row in rows})) == [rows[i] for i in layout.ids]
    assert layout.contexts == sorted({row[0] for row in rows})
    assert layout.responses == sorted({row[1] for row in rows})


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
    layout = arrange(Corpus.of([("a", "b"), ("c", "d")]))
    assert layout.group.tolist() == [0, 0]


def test_a_key_tells_where_one_text_ends_and_the_next_begins() -> None:
    pairs = [("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", ""), ("1", "1 a"), ("1 1", " a")]
    texts = [*((context, response, "") for context, response in pairs), ("a", "b", "c")]
    assert len({key(*three) for three in texts}) == len(texts)
    assert key("a", "b", copy=1) != key("a", "b")
    assert 0 <= key("a", "b") < 2**64


def test_of_copies_the_first_read_comes_first() -> None:
    layout = arrange(Corpus.of([("a", "b")] * 5))
    copies = {key("a", "b", copy=n): n for n in range(5)}
    assert [copies[int(k)] for k in layout.keys] == layout.ids.tolist()
