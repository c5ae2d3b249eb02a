"""SplitMix64, which scrambles the bits of 64-bit numbers."""

from __future__ import annotations

import numpy as np

from ..runtime.arrays import Hashes


def splitmix64(state: Hashes) -> Hashes:
    """Hash each 64-bit number with the finalizer of SplitMix64.

    Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014.
    """
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
