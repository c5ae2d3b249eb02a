"""What a dropped turn takes along: a conversation ends before its first dropped turn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..corpus.corpus import Corpus
from ..curation.lineage import first_targets
from ..runtime.arrays import Flags, Ints


def find_removed_turns(corpus: Corpus, lineage: pa.Table) -> Flags:
    """Whether each exchange (n,) is dropped, or follows a dropped turn of its conversation.

    The turns after a dropped one answer to it, so they go with it: no output has them. Masking the
    dropped turn instead would leave it in the text, and not every trainer reads masks.
    """
    dropped = _as_flags(pc.equal(first_targets(lineage).column("action"), "dropped"))
    return mark_from_first(dropped, corpus.record_starts()) if dropped.any() else dropped


def mark_from_first(dropped: Flags, starts: Flags) -> Flags:
    """Mark each turn (n,) at or after the first dropped one of its conversation.

    ``starts`` (n,) is true for the first turn of each conversation.
    """
    if not len(starts):
        return dropped
    # Dropped turns up to each turn, less those of the conversations before: (n,).
    count = np.cumsum(dropped)
    first = np.flatnonzero(starts)
    before: Ints = (count - dropped)[first]
    return np.asarray(count > before[np.cumsum(starts) - 1])


def count_turns_after_dropped(corpus: Corpus, lineage: pa.Table) -> int:
    """Count the turns that are not dropped themselves but go with a dropped turn before them."""
    dropped = _as_flags(pc.equal(first_targets(lineage).column("action"), "dropped"))
    return int((find_removed_turns(corpus, lineage) & ~dropped).sum())


def _as_flags(column: Any) -> Flags:
    return np.asarray(column.to_numpy(zero_copy_only=False), bool)
