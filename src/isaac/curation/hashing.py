"""Hashing."""

from __future__ import annotations

import numpy as np

from .arrays import Hashes


def splitmix64(state: Hashes) -> Hashes:
    """Return the bits of each number stirred: SplitMix64's finaliser.

    Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014.
    """
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
