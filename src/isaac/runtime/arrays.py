"""Array types: the NumPy aliases of the whole package, and lists of unequal length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

Hashes = npt.NDArray[np.uint64]
"""64-bit hashes of words, letters or other features of a text."""

Keys = npt.NDArray[np.uint64]
"""One 64-bit key per row, which seeds the row's random draws and breaks ties."""

Digests = npt.NDArray[np.uint64]
"""Shape (n, 2): 128 bits per text, so that different texts practically never share a digest."""


def sort_unique(values: Ints) -> Ints:
    """The distinct values of an array (n,), ascending.

    NumPy 2.3 and later find distinct values in a hash table, which takes several times as long as
    sorting where most values are distinct.
    """
    ordered = np.sort(values)
    is_new = np.ones(len(ordered), bool)
    is_new[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_new]


@dataclass(frozen=True, eq=False)
class Ragged:
    """Lists of unequal length, stored end to end.

    List ``i`` is ``values[offsets[i]:offsets[i + 1]]``, so ``offsets`` has one entry more than the
    number of lists.
    """

    values: Ints
    offsets: Ints

    def __getitem__(self, index: int) -> Ints:
        """One list, as a view of ``values``."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> Ints:
        """The length of each list."""
        return np.diff(self.offsets)

    def take(self, indices: Ints) -> Ragged:
        """Select lists by index, in this order; an index may occur more than once."""
        lengths = self.lengths[indices]
        # Per value of the result: the start of its list in ``values`` minus that in the result.
        shift = np.repeat(self.offsets[indices] - np.cumsum(lengths) + lengths, lengths)
        return Ragged.of(self.values[shift + np.arange(len(shift))], lengths)

    @classmethod
    def of(cls, values: Ints, lengths: Ints) -> Ragged:
        """Cut ``values`` into consecutive lists of these lengths."""
        return cls(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
