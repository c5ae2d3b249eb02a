"""Random draws of responses that depend only on the seed and the row, not on order or engine."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..runtime.arrays import Ints, Keys, Reals
from .hashing import splitmix64

MAX_ATTEMPTS = 16
"""Attempts to draw a new text for a target, before drawing from a list of the unused texts."""


def uniforms(seed: int, keys: Keys, *stream: int) -> Reals:
    """Draw a number in [0, 1) for each key (n,), which depends only on seed, key and stream.

    A chain of SplitMix64 finalizers over the seed and the stream.
    """
    state = keys.astype(np.uint64)
    for part in (seed, *stream):
        state = splitmix64(
            state + np.uint64((part * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64)
        )
    return np.asarray((splitmix64(state) >> np.uint64(11)) * 2.0**-53)


class RowDraws(NamedTuple):
    """One draw per row (n,): the rank of the cluster, from 0, and the row drawn, -1 if none is."""

    rank: Ints
    source: Ints


class ResponsePool(NamedTuple):
    """What each of n rows draws from.

    Row r has cluster odds ``odds[r]`` (c,), clusters of ``sizes[r]`` (c,) rows, and its first
    member at ``members[starts[r]]``. ``texts`` is the number of the response of each row of the
    corpus.
    """

    odds: Reals
    sizes: Ints
    starts: Ints
    members: Ints
    texts: Ints


def draw(pool: ResponsePool, keys: Keys, targets: int, seed: int) -> list[RowDraws]:
    """Draw ``targets`` responses with distinct texts for each row: one element per target.

    Each target draws its own cluster. In the cluster, every response that was not drawn for the
    row yet is equally likely (paper, step 5). If its texts are used up, the target is left out
    rather than repeated, and no other cluster is tried: a small head is no reason to draw from the
    tail.
    """
    seen = np.full((len(keys), targets), -1, np.int64)
    draws = []
    for target in range(targets):
        drawn = _draw_target(pool, keys, seen[:, :target], seed, target)
        seen[:, target] = np.where(drawn.source >= 0, pool.texts[drawn.source], -1)
        draws.append(drawn)
    return draws


def _draw_target(pool: ResponsePool, keys: Keys, seen: Ints, seed: int, target: int) -> RowDraws:
    """Draw one more target for each row, none of its texts ``seen`` (n, targets so far)."""
    rank = sample_categorical(pool.odds, uniforms(seed, keys, target, 0))
    rows = np.arange(len(keys))
    size = pool.sizes[rows, rank]
    start = pool.starts + np.where(rank > 0, np.cumsum(pool.sizes, axis=1)[rows, rank - 1], 0)
    source = np.full(len(keys), -1, np.int64)
    left = rows
    # Rejection sampling: draw any member, and again where its text was seen.
    for attempt in range(1, MAX_ATTEMPTS + 1):
        index = _scale_to_index(uniforms(seed, keys[left], target, attempt), size[left])
        candidate = pool.members[start[left] + index]
        is_new = (pool.texts[candidate][:, None] != seen[left]).all(axis=1)
        source[left[is_new]] = candidate[is_new]
        left = left[~is_new]
        if not len(left):
            break
    # The few remaining rows draw from a list of the members not yet seen.
    chance = uniforms(seed, keys[left], target, MAX_ATTEMPTS + 1)
    for row, share in zip(left.tolist(), chance, strict=True):
        cluster = pool.members[start[row] : start[row] + size[row]]
        unseen = cluster[~np.isin(pool.texts[cluster], seen[row])]
        if len(unseen):
            source[row] = unseen[_scale_to_index(share, len(unseen))]
    return RowDraws(rank, source)


def _scale_to_index(chance: Reals, size: Ints | int) -> Ints:
    """Scale numbers in [0, 1) to indices below ``size``, to which a product may round up."""
    return np.minimum((chance * size).astype(np.int64), size - 1)


def sample_categorical(probabilities: Reals, chance: Reals) -> Ints:
    """Draw an index for each row of probabilities (n, c), by a number in [0, 1) for each (n,)."""
    bounds = np.cumsum(probabilities, axis=1)
    index = (chance[:, None] >= bounds).sum(axis=1)
    # Rounding may leave the last bound below one; never pass the last index with a probability.
    last = probabilities.shape[1] - 1 - np.argmax(probabilities[:, ::-1] > 0, axis=1)
    return np.asarray(np.minimum(index, last))
