"""Reading texts in batches, and reporting how much of the work is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..runtime.progress import Tick

BLOCK_SIZE = 1 << 20
"""Characters to read, and shingles to compare, at a time; does not affect results."""


class ProgressReporter:
    """Reports progress as a number of texts, however many passes over them the work takes."""

    def __init__(self, tick: Tick | None, total: int) -> None:
        self.tick, self.total, self.reported = tick, total, 0

    def advance_to(self, share: float) -> None:
        """Report that this share of the whole work, from 0 to 1, is done."""
        due = round(share * self.total) - self.reported
        self.reported += due
        if self.tick is not None:
            self.tick(due)


def iter_slices(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield all texts in order, in slices of about `BLOCK_SIZE` characters.

    The size of a slice is estimated from the mean length of the texts in the slice before it.
    """
    start, size = 0, 64
    while start < len(texts):
        part = texts[start : start + size]
        yield part
        start += len(part)
        mean = 1 + sum(map(len, part)) // len(part)
        size = min(max(BLOCK_SIZE // mean, 1), 4 * size)
