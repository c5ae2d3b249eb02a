"""Draw a stratified sample of exchanges to label, from which an audit estimates the corpus."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...curation.lineage import first_targets
from ...curation.sampling import uniforms
from ...errors import IsaacError
from ...runtime.arrays import Ints

STRATUM_RANKS = (1, 2, 4, 11)
"""First rank of each stratum: ranks 1, 2 to 3, 4 to 10, and above 10.

The rank is that of the cluster of the row's own response, ``own_rank`` in the lineage.
"""

LEVELS = len(STRATUM_RANKS)
"""Number of levels: by rank, or by trust."""

RANK_NAMES = (
    "in clusters of rank 1",
    "in clusters of rank 2 to 3",
    "in clusters of rank 4 to 10",
    "in clusters of rank above 10",
)

TRUST_NAMES = (
    "in the most trusted quarter",
    "in the second quarter",
    "in the third quarter",
    "in the least trusted quarter",
)
"""Strata of a run that uses no clusters: quarters of the rows by trust."""

ALLOCATION_POWER = 0.75
"""Power of a stratum's rows to which its sample is proportional; see `draw_sample`."""

KEPT_WEIGHT = 0.5
"""Factor on the sample of rows that keep their response, if no row is dropped.

Such rows cannot have changed, so they only help to estimate the shares before and after and the
trend.
"""

SEED_STREAM = 0x617564
"""Makes the random choice of rows independent of the draws with the same seed."""

Action = Literal["kept", "replaced", "dropped"]

ACTIONS: tuple[Action, ...] = ("kept", "replaced", "dropped")


class AuditError(IsaacError):
    """The audit has too few labels."""


class AuditItem(NamedTuple):
    """A context with a response, to be labeled; both are ids of rows.

    The two ids are equal for the original exchange of a row, and also for the curated exchange if
    only parts of the response were removed: then ``trimmed`` is true.
    """

    context: int
    response: int
    trimmed: bool = False


class Stratum(NamedTuple):
    """All rows with the same action and the same level.

    ``level`` is 0 to 3: the rank of the cluster of the row's own response, see `STRATUM_RANKS`, or
    the quarter by trust in a run that uses no clusters; ``name`` says it in words. ``rows`` is
    their number. Rows that abstain count as kept, rows without a source as dropped.
    """

    action: Action
    level: int
    name: str
    rows: int


class SampledRow(NamedTuple):
    """A row in the sample: the id of the row its response now comes from, and its stratum's index.

    ``source`` is None for a dropped row. ``trimmed`` is whether the row kept its own response
    without some of its parts.
    """

    row: int
    source: int | None
    stratum: int
    trimmed: bool = False

    @property
    def before(self) -> AuditItem:
        """The original exchange of the row."""
        return AuditItem(self.row, self.row)

    @property
    def after(self) -> AuditItem | None:
        """The curated exchange; equal to `before` if nothing changed, None if it was dropped."""
        return None if self.source is None else AuditItem(self.row, self.source, self.trimmed)


@dataclass(frozen=True)
class AuditSample:
    """The rows to label; every row of the corpus is in one of the ``strata``.

    The sampled rows are in the order in which they entered the sample: the first of them are the
    sample for a smaller number of labels. ``by_trust`` is whether the levels of the strata are
    quarters by trust.
    """

    strata: tuple[Stratum, ...]
    sampled_rows: tuple[SampledRow, ...]
    by_trust: bool = False

    def items(self) -> list[AuditItem]:
        """What to label, each item once, in order of row: the original, then the curated one."""
        items: dict[AuditItem, None] = {}
        for row in sorted(self.sampled_rows):
            items[row.before] = None
            if row.after is not None:
                items[row.after] = None
        return list(items)

    def first(self, count: int) -> AuditSample:
        """The sample of only the first ``count`` rows."""
        return replace(self, sampled_rows=self.sampled_rows[:count])


def draw_sample(lineage: pa.Table, labels: int, seed: int) -> AuditSample:
    """Draw a sample of rows, stratified by level and action, that needs at most ``labels``.

    A replaced row needs two labels, before and after; any other row needs one. Within a stratum
    every row is equally likely, by a hash of seed and id: the order of the lineage does not matter,
    and a larger sample begins with the smaller one. A stratum of N rows that need c labels each
    gets a sample proportional to N^(3/4) / sqrt(c). This is close to optimal for the change
    (sqrt(c): Cochran, Sampling Techniques, 1977, 5.5), but takes more of the small strata of the
    first levels than their share, for the trend (a power allocation: Bankier, The American
    Statistician 42, 1988). Raises `AuditError` for fewer than two labels.
    """
    if labels < 2:
        raise AuditError(f"expected at least 2 labels, enough for one replaced row; got {labels}")
    rows = first_targets(lineage)
    ids = np.asarray(rows.column("id").to_numpy(), np.int64)
    sources = _read_sources(rows)
    replaced = pc.equal(rows.column("action").cast(pa.string()), "replaced").to_numpy()
    action = np.where(sources < 0, 2, replaced.astype(np.int64))  # an index into `ACTIONS`
    trimmed = replaced & (sources == ids)
    by_trust = rows.column("own_rank").null_count > 0
    level, names = _find_levels(rows, by_trust)
    # A stratum for each pair of action and level that occurs, and the stratum (n,) of each row.
    codes, stratum, counts = np.unique(
        action * LEVELS + level, return_inverse=True, return_counts=True
    )
    strata = tuple(
        Stratum(ACTIONS[code // LEVELS], code % LEVELS, names[code % LEVELS], count)
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True)
    )
    # Rows by stratum, within it in random order: the sample is the first rows of each.
    order = np.lexsort((ids, uniforms(seed, ids.astype(np.uint64), SEED_STREAM), stratum))
    next_row = np.cumsum(counts) - counts
    sampled = []
    for number in _allocate_labels(strata, labels):
        row = order[next_row[number]]
        next_row[number] += 1
        source = int(sources[row]) if sources[row] >= 0 else None
        sampled.append(SampledRow(int(ids[row]), source, number, bool(trimmed[row])))
    return AuditSample(strata, tuple(sampled), by_trust)


def _find_levels(rows: pa.Table, by_trust: bool) -> tuple[Ints, tuple[str, ...]]:
    """The level (n,) of each row, and the names of the levels."""
    if not by_trust:
        ranks = rows.column("own_rank").to_numpy()
        return np.searchsorted(STRATUM_RANKS, ranks, side="right") - 1, RANK_NAMES
    trust = rows.column("trust").to_numpy()
    return np.searchsorted(np.quantile(-trust, [0.25, 0.5, 0.75]), -trust), TRUST_NAMES


def _read_sources(rows: pa.Table) -> Ints:
    """The row that each row's response comes from, -1 for dropped rows and missing sources."""
    sources = np.asarray(rows.column("source_id").fill_null(-1).to_numpy(), np.int64)
    dropped = pc.equal(rows.column("action").cast(pa.string()), "dropped")
    return np.where(dropped.to_numpy(), -1, sources)


def _allocate_labels(strata: Sequence[Stratum], labels: int) -> list[int]:
    """Decide which stratum each sampled row is from: two rows of each first, then by weight.

    Rows are assigned one by one to the stratum with the highest priority, until the next row needs
    more labels than are left. Whole numbers then come as close to the proportions as possible
    (Wright, The American Statistician 66, 2012).
    """
    sizes = [0] * len(strata)
    costs = [2 if stratum.action == "replaced" else 1 for stratum in strata]
    any_dropped = any(stratum.action == "dropped" for stratum in strata)
    weights = [
        stratum.rows**ALLOCATION_POWER
        / math.sqrt(cost)
        * (KEPT_WEIGHT if cost == 1 and not any_dropped else 1)
        for stratum, cost in zip(strata, costs, strict=True)
    ]
    # The first two rows of every stratum have infinite priority; ties go to the larger weight.
    queue = [(-math.inf, -weight, number) for number, weight in enumerate(weights)]
    heapify(queue)
    assigned = []
    while queue and costs[queue[0][2]] <= labels:
        number = heappop(queue)[2]
        labels -= costs[number]
        assigned.append(number)
        sizes[number] += 1
        size = sizes[number]
        if size < strata[number].rows:
            priority = weights[number] / math.sqrt(size * (size - 1)) if size > 1 else math.inf
            heappush(queue, (-priority, -weights[number], number))
    return assigned
