"""Arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]


Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Ragged:
    """Lists of unequal length end to end: list i is ``values[offsets[i]:offsets[i + 1]]``."""

    values: Ints
    offsets: Ints

    def __getitem__(self, index: int) -> Ints:
        """Return one list."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> Ints:
        """Return the length of each list."""
        return np.diff(self.offsets)

    def take(self, places: Ints) -> Ragged:
        """Return some of the lists, each as often as it is named."""
        lengths = self.lengths[places]
        shift = np.repeat(self.offsets[places] - np.cumsum(lengths) + lengths, lengths)
        return Ragged.of(self.values[shift + np.arange(len(shift))], lengths)

    @classmethod
    def of(cls, values: Ints, lengths: Ints) -> Ragged:
        """Return lists of the given lengths, cut from the values in order."""
        return cls(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


Hashes = npt.NDArray[np.uint64]


Keys = npt.NDArray[np.uint64]


Digests = npt.NDArray[np.uint64]
"""Two numbers a text, (n, 2): 128 bits, so that two texts never share theirs."""
