"""Which exchanges of a curated corpus to label, so that the labels speak for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...curation.sampling import uniforms
from ...errors import IsaacError
from ...runtime.arrays import Ints

STRATUM_RANKS = (1, 2, 4, 11)
"""The own ranks at which strata begin: 1, 2 to 3, 4 to 10, above 10."""

ALLOCATION_POWER = 0.75
"""Rows of a stratum count to this power for its share of the sample; see `draw_sample`."""

KEPT_WEIGHT = 0.5
"""By how much rows that keep their response count for less, where they tell nothing of the change:
they are asked about for the levels before and after, and for the trend."""

SEED_STREAM = 0x617564
"""Sets the choice of rows apart from the draws that the same seed made."""

Action = Literal["kept", "replaced", "dropped"]

ACTIONS: tuple[Action, ...] = ("kept", "replaced", "dropped")


class AuditError(IsaacError):
    """The audit asks for something that cannot be had."""


class AuditItem(NamedTuple):
    """What a label is asked for: the response of one row in the context of another, by their ids.

    Both are the same row for what the corpus itself says, before the curation; after it too, but
    ``trimmed``, where only parts were left out.
    """

    context: int
    response: int
    trimmed: bool = False


class Stratum(NamedTuple):
    """Rows of like own rank and fate: ``rows`` of them with own ranks from ``low`` to ``high``.

    The last stratum of a fate has no ``high``. Rows keep their response, get another or are
    dropped; a row without a source is dropped.
    """

    action: Action
    low: int
    high: int | None
    rows: int

    @property
    def ranks(self) -> str:
        """Return the own ranks as words: '1', '2 to 3', 'above 10'."""
        if self.high is None:
            return f"above {self.low - 1}"
        return f"{self.low}" if self.low == self.high else f"{self.low} to {self.high}"


class SampledRow(NamedTuple):
    """A row that was chosen, the row its new response came from, and the stratum it stands for.

    A dropped row has no source; ``trimmed`` says that the row kept its response but for some parts.
    """

    row: int
    source: int | None
    stratum: int
    trimmed: bool = False

    @property
    def before(self) -> AuditItem:
        """Return the row's own exchange."""
        return AuditItem(self.row, self.row)

    @property
    def after(self) -> AuditItem | None:
        """Return the exchange that took its place, the same for a row that kept its response."""
        return None if self.source is None else AuditItem(self.row, self.source, self.trimmed)


@dataclass(frozen=True)
class AuditSample:
    """Which exchanges to ask about; ``strata`` hold every row of the corpus once."""

    strata: tuple[Stratum, ...]
    sampled_rows: tuple[SampledRow, ...]

    def items(self) -> list[AuditItem]:
        """Return what to ask, each item once, in order of row: own response, then the drawn one."""
        asked: dict[AuditItem, None] = {}
        for pick in sorted(self.sampled_rows):
            asked[pick.before] = None
            if pick.after is not None:
                asked[pick.after] = None
        return list(asked)


def draw_sample(lineage: pa.Table, labels: int, seed: int) -> AuditSample:
    """Return a sample of rows, stratified by own rank and fate, that costs at most ``labels``.

    A row that kept its response, or was dropped, costs one label, any other two. Within a stratum
    every row is equally likely, by a hash of seed and id: the order of the lineage plays no part,
    and more labels only add rows. Among strata of N rows and c labels a row, sizes
    are in proportion to N^(3/4) / sqrt(c): near what is best for the change (c in the root,
    Cochran, Sampling Techniques, 1977, 5.5), with more from the small strata of the first ranks
    than their share, for the trend (a power allocation; Bankier, The American Statistician 42,
    1988). Raises `AuditError` for less than two labels.
    """
    if labels < 2:
        raise AuditError(f"an audit needs at least 2 labels, for one row changed; came: {labels}")
    rows = lineage.filter(pc.equal(lineage.column("target"), 0))
    ids = np.asarray(rows.column("id").to_numpy(), np.int64)
    sources = _read_sources(rows)
    replaced = pc.equal(rows.column("action").cast(pa.string()), "replaced").to_numpy()
    fate = np.where(sources < 0, 2, replaced.astype(np.int64))
    trimmed = replaced & (sources == ids)
    rank = np.searchsorted(STRATUM_RANKS, rows.column("own_rank").to_numpy(), side="right") - 1
    cells, cell, counts = np.unique(
        fate * len(STRATUM_RANKS) + rank, return_inverse=True, return_counts=True
    )
    strata = tuple(
        _make_stratum(*divmod(int(code), len(STRATUM_RANKS)), int(count))
        for code, count in zip(cells, counts, strict=True)
    )
    order = np.lexsort((ids, uniforms(seed, ids.astype(np.uint64), SEED_STREAM), cell))
    firsts = np.cumsum(counts) - counts
    picks = [
        SampledRow(int(ids[row]), source if source >= 0 else None, number, bool(trimmed[row]))
        for number, size in enumerate(_allocate_labels(strata, labels))
        for row in order[firsts[number] : firsts[number] + size]
        for source in [int(sources[row])]
    ]
    return AuditSample(strata, tuple(picks))


def _read_sources(rows: pa.Table) -> Ints:
    """Return where each row's response came from, -1 where the row has none any more."""
    sources = np.asarray(rows.column("source_id").fill_null(-1).to_numpy(), np.int64)
    gone = pc.equal(rows.column("action").cast(pa.string()), "dropped")
    return np.where(gone.to_numpy(), -1, sources)


def _make_stratum(fate: int, rank: int, rows: int) -> Stratum:
    high = STRATUM_RANKS[rank + 1] - 1 if rank + 1 < len(STRATUM_RANKS) else None
    return Stratum(ACTIONS[fate], STRATUM_RANKS[rank], high, rows)


def _allocate_labels(strata: Sequence[Stratum], labels: int) -> list[int]:
    """Return how many rows to take of each stratum: two of each if the labels reach, then by size.

    Rows are given out one by one to the stratum of the highest priority, until the next is too
    dear; so whole numbers come as close to the proportions as they can (Wright, The American
    Statistician 66, 2012).
    """
    taken = [0] * len(strata)
    costs = [2 if stratum.action == "replaced" else 1 for stratum in strata]
    dropping = any(stratum.action == "dropped" for stratum in strata)
    claims = [
        stratum.rows**ALLOCATION_POWER
        / math.sqrt(cost)
        * (KEPT_WEIGHT if cost == 1 and not dropping else 1)
        for stratum, cost in zip(strata, costs, strict=True)
    ]
    queue = [(-math.inf, -claim, number) for number, claim in enumerate(claims)]
    heapify(queue)
    while queue and costs[queue[0][2]] <= labels:
        number = heappop(queue)[2]
        labels -= costs[number]
        taken[number] += 1
        size = taken[number]
        if size < strata[number].rows:
            claim = claims[number] / math.sqrt(size * (size - 1)) if size > 1 else math.inf
            heappush(queue, (-claim, -claims[number], number))
    return taken
