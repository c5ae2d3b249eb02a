"""Folds for cross-fitting: near-duplicates share a fold, whatever the order of the texts."""

from __future__ import annotations

import numpy as np

from ...runtime.arrays import Digests, Ints
from ..hashing import splitmix64

FOLD_COUNT = 5
"""Folds that the responses are divided into."""


def assign_folds(digests: Digests, duplicate_group: Ints) -> Ints:
    """Assign each distinct text (t,) to a fold, 0 to 4.

    ``digests`` (t, 2) identify the texts, ``duplicate_group`` (t,) numbers their groups of
    near-duplicates. A text's fold depends on the smallest digest in its group only, so neither the
    order of the texts nor the numbers of the groups change it.
    """
    _, group = np.unique(duplicate_group, return_inverse=True)
    group = group.reshape(-1)
    smallest = np.full(int(group.max(initial=-1)) + 1, 2**64 - 1, np.uint64)
    np.minimum.at(smallest, group, digests[:, 0])
    return (splitmix64(smallest)[group] % np.uint64(FOLD_COUNT)).astype(np.int64)


__all__ = ["FOLD_COUNT", "assign_folds"]
