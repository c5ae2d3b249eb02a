"""Distinct texts, identified and ordered by their digests, in memory or in a file.

Because the texts are ordered by digest, nothing depends on the order in which they were read, and a
text can be looked up while the texts themselves stay on disk.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np

from ..runtime.arrays import Digests, Ints


def compute_digests(texts: Iterable[str]) -> Digests:
    """Hash each text to 128 bits (BLAKE2b), shape (n, 2)."""
    data = b"".join(blake2b(text.encode(), digest_size=16).digest() for text in texts)
    return np.frombuffer(data, "<u8").reshape(-1, 2).astype(np.uint64)


class UniqueDigests(NamedTuple):
    """The distinct digests among n, as `numpy.unique` returns them.

    ``digests`` (d, 2) are sorted, ``first`` (d,) is the index at which each occurs first, and
    ``inverse`` (n,) is the number of the distinct digest at each index.
    """

    digests: Digests
    first: Ints
    inverse: Ints


def unique_digests(digests: Digests) -> UniqueDigests:
    """Find the distinct digests among digests (n, 2)."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ranked = digests[order]
    is_new = np.ones(len(order), bool)
    is_new[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
    inverse = np.empty(len(order), np.int64)
    inverse[order] = np.cumsum(is_new) - 1
    return UniqueDigests(ranked[is_new], order[is_new].astype(np.int64), inverse)


class UniqueTexts(Sequence[str]):
    """Distinct texts in the order of their digests (d, 2)."""

    def __init__(self, digests: Digests, source: Sequence[str]) -> None:
        self.digests, self.source = digests, source

    @classmethod
    def of(cls, texts: Iterable[str]) -> UniqueTexts:
        """Keep each distinct text once."""
        texts = list(texts)
        unique = unique_digests(compute_digests(texts))
        return cls(unique.digests, [texts[index] for index in unique.first.tolist()])

    def __len__(self) -> int:
        """Number of distinct texts."""
        return len(self.digests)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        """One text, or a slice of them as a list."""
        return self.source[index]

    def __iter__(self) -> Iterator[str]:
        """Yield the texts in order."""
        return iter(self.source)

    def find(self, text: str) -> int:
        """Index of a text, -1 if it is not among them."""
        high, low = compute_digests([text])[0]
        start = int(np.searchsorted(self.digests[:, 0], high, "left"))
        end = int(np.searchsorted(self.digests[:, 0], high, "right"))
        index = start + int(np.searchsorted(self.digests[start:end, 1], low))
        return index if index < end and self.digests[index, 1] == low else -1


class TextFile(Sequence[str]):
    """Texts in a file: text i is UTF-8, ``lengths[i]`` bytes from offset ``starts[i]``."""

    BATCH_TEXTS = 4096
    """Texts to read at a time in iteration."""

    def __init__(self, path: Path, starts: Ints, lengths: Ints) -> None:
        self.path, self.starts, self.lengths = path, starts, lengths
        self.file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self.file)

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """One text, or a slice of them as a list."""
        if isinstance(index, slice):
            spans = zip(self.starts[index].tolist(), self.lengths[index].tolist(), strict=True)
            return [self._read(*span) for span in spans]
        return self._read(int(self.starts[index]), int(self.lengths[index]))

    def __iter__(self) -> Iterator[str]:
        """Yield the texts in order."""
        for start in range(0, len(self), self.BATCH_TEXTS):
            yield from self[start : start + self.BATCH_TEXTS]

    def _read(self, start: int, length: int) -> str:
        data = os.pread(self.file, length, start)
        if len(data) != length:
            raise OSError(
                f"{self.path} is cut short: expected {length} bytes at offset {start}, "
                f"got {len(data)}"
            )
        return data.decode()
