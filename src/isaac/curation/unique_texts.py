"""Distinct texts, told apart and ordered by their digests, in memory or in a file.

In the order of digests nothing depends on the order in which texts came, and none of them has to
be in memory to be found.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np

from .arrays import Digests, Ints


def compute_digests(texts: Iterable[str]) -> Digests:
    """Return the digests of texts."""
    data = b"".join(blake2b(text.encode(), digest_size=16).digest() for text in texts)
    return np.frombuffer(data, "<u8").reshape(-1, 2).astype(np.uint64)


class UniqueDigests(NamedTuple):
    """Which of many texts are the same.

    ``digests`` (d, 2) are sorted, ``first`` (d,) is the first place that has each, ``inverse`` (n,)
    says which of them stands at each place.
    """

    digests: Digests
    first: Ints
    inverse: Ints


def unique_digests(digests: Digests) -> UniqueDigests:
    """Return which of the digests (n, 2) are the same."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ranked = digests[order]
    new = np.ones(len(order), bool)
    new[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(new) - 1
    return UniqueDigests(ranked[new], order[new].astype(np.int64), number)


class UniqueTexts(Sequence[str]):
    """Distinct texts in the order of their digests (d, 2)."""

    def __init__(self, digests: Digests, source: Sequence[str]) -> None:
        self.digests, self.source = digests, source

    @classmethod
    def of(cls, texts: Iterable[str]) -> UniqueTexts:
        """Return the distinct ones of some texts."""
        given = list(texts)
        found = unique_digests(compute_digests(given))
        return cls(found.digests, [given[place] for place in found.first.tolist()])

    def __len__(self) -> int:
        """Return the number of distinct texts."""
        return len(self.digests)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        """Return one text, or some as a list."""
        return self.source[place]

    def __iter__(self) -> Iterator[str]:
        """Yield the texts in order."""
        return iter(self.source)

    def find(self, text: str) -> int:
        """Return the place of a text, -1 if it is not there."""
        high, low = compute_digests([text])[0]
        start = int(np.searchsorted(self.digests[:, 0], high, "left"))
        end = int(np.searchsorted(self.digests[:, 0], high, "right"))
        place = start + int(np.searchsorted(self.digests[start:end, 1], low))
        return place if place < end and self.digests[place, 1] == low else -1


class TextFile(Sequence[str]):
    """Texts in a file: text i is the UTF-8 from ``starts[i]``, ``lengths[i]`` bytes of it."""

    BATCH_TEXTS = 4096

    def __init__(self, path: Path, starts: Ints, lengths: Ints) -> None:
        self.starts, self.lengths = starts, lengths
        self.file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self.file)

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.starts)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        """Return one text, or some as a list."""
        if isinstance(place, slice):
            pairs = zip(self.starts[place].tolist(), self.lengths[place].tolist(), strict=True)
            return [self._read(*pair) for pair in pairs]
        return self._read(int(self.starts[place]), int(self.lengths[place]))

    def __iter__(self) -> Iterator[str]:
        """Yield the texts in order."""
        for start in range(0, len(self), self.BATCH_TEXTS):
            yield from self[start : start + self.BATCH_TEXTS]

    def _read(self, start: int, length: int) -> str:
        data = os.pread(self.file, length, start)
        if len(data) != length:
            raise OSError(f"{length} bytes of a text wanted, {len(data)} there")
        return data.decode()
