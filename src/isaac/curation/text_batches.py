"""Text batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..runtime.progress import Tick

BLOCK_SIZE = 1 << 20
"""Characters read, and shingles compared, at a time; bounds memory, changes no result."""


class ProgressReporter:
    """Tells how many of the texts the work done amounts to."""

    def __init__(self, tick: Tick | None, total: int) -> None:
        self.tick, self.total, self.told = tick, total, 0

    def advance_to(self, share: float) -> None:
        """Tell that this share of the work is done."""
        due = round(share * self.total) - self.told
        self.told += due
        if self.tick is not None:
            self.tick(due)


def iter_slices(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield all texts in order, about `BLOCK_SIZE` characters at a time if their lengths are even."""
    start, size = 0, 64
    while start < len(texts):
        part = texts[start : start + size]
        yield part
        start += len(part)
        mean = 1 + sum(map(len, part)) // len(part)
        size = min(max(BLOCK_SIZE // mean, 1), 4 * size)
