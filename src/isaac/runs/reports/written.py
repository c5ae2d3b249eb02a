"""What a curation wrote: how many rows, how many of them changed, and how varied they are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ...curation.curate import Curation
from ...runtime.arrays import Flags, Ints
from ...text import share_of_distinct_pairs

SAMPLE_ROWS = 1000
"""Rows whose pairs of words are counted: the share of distinct pairs falls with their number."""


class WrittenRows(NamedTuple):
    """The rows that a curation wrote, each with its first target.

    ``ids`` (m,) are the exchanges in order, ``sources`` (m,) the exchanges that their responses
    come from, and ``changed`` (m,) whether the response has another text than the original.
    """

    ids: Ints
    sources: Ints
    changed: Flags


class WrittenSummary(NamedTuple):
    """How much a curation wrote and changed, and how varied the responses are before and after.

    ``written`` and ``changed`` count rows; a row is changed if its response has another text.
    ``touched`` also counts the rows that are not written. ``texts_before`` and ``texts_after``
    count distinct responses. ``pairs_before`` and ``pairs_after`` are the shares of distinct pairs
    among the pairs of adjacent words (distinct-2) of the same number of rows, at most
    `SAMPLE_ROWS`; None if there are no pairs.
    """

    written: int
    changed: int
    touched: int
    texts_before: int
    texts_after: int
    pairs_before: float | None
    pairs_after: float | None


def find_written_rows(curation: Curation, first: pa.Table) -> WrittenRows:
    """List the rows that a curation wrote; ``first`` is the lineage of first targets."""
    actions = np.asarray(first.column("action").to_pylist(), object)
    remaining = actions != "dropped"
    ids, sources = (
        np.asarray(first.column(name).to_numpy(), np.int64)[remaining]
        for name in ("id", "source_id")
    )
    differs = curation.response_by_id[ids] != curation.response_by_id[sources]
    is_trimmed = (ids == sources) & (actions[remaining] == "replaced")
    return WrittenRows(ids, sources, differs | is_trimmed)


def summarize_written(curation: Curation, rows: WrittenRows) -> WrittenSummary:
    """Summarize the rows that a curation wrote."""
    texts = curation.response_by_id
    sample = sort_by_key(curation, rows.ids)[:SAMPLE_ROWS]
    original = sort_by_key(curation, np.arange(len(texts)))[: len(sample)]
    changed = int(rows.changed.sum())
    return WrittenSummary(
        len(rows.ids),
        changed,
        len(texts) - len(rows.ids) + changed,
        len(np.unique(texts)),
        len(np.unique(texts[rows.sources])),
        _round(share_of_distinct_pairs(curation.original_responses(original))),
        _round(share_of_distinct_pairs(curation.final_responses(rows.sources[sample]))),
    )


def sort_by_key(curation: Curation, ids: Ints) -> Ints:
    """Sort ids (m,) by the keys of their rows, as positions (m,).

    The first of them are a fixed random sample, whatever the order in which rows were read.
    """
    keys = np.empty_like(curation.layout.keys)
    keys[curation.layout.ids] = curation.layout.keys
    return np.argsort(keys[ids], kind="stable")


def _round(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
