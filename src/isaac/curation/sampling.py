"""Sampling."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..runtime.arrays import Ints, Keys, Reals
from .hashing import splitmix64

MAX_ATTEMPTS = 16
"""Draws of one target before the texts that are left are listed and one of them is drawn."""


def uniforms(seed: int, keys: Keys, *stream: int) -> Reals:
    """Return numbers in [0, 1) that depend on the seed, each key and the stream, and on no order.

    SplitMix64's finaliser over their sum.
    """
    state = keys.astype(np.uint64)
    for part in (seed, *stream):
        state = splitmix64(
            state + np.uint64((part * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64)
        )
    return np.asarray((splitmix64(state) >> np.uint64(11)) * 2.0**-53)


class RowDraws(NamedTuple):
    """One draw for each row: the cluster's rank from 0, and the row drawn or -1 if none is left."""

    rank: Ints
    source: Ints


class ResponsePool(NamedTuple):
    """What a row draws from: its cluster odds, and where each cluster's members lie.

    For row r: ``odds[r]`` (c,), ``sizes[r]`` (c,) in rows, and its first member at ``starts[r]``
    of ``members``. ``texts`` numbers the response of each row of the corpus.
    """

    odds: Reals
    sizes: Ints
    starts: Ints
    members: Ints
    texts: Ints


def draw(pool: ResponsePool, keys: Keys, targets: int, seed: int) -> list[RowDraws]:
    """Return the draws of each row, one element a target, texts distinct within a row.

    The cluster is drawn by the odds for every target anew. Within it every response not yet drawn
    for the row is equally likely (paper, step 5); once its texts are used up, that target is
    left out rather than repeated, so that a small head is not a reason to draw from the tail.
    """
    seen = np.full((len(keys), targets), -1, np.int64)
    draws = []
    for target in range(targets):
        drawn = _draw_target(pool, keys, seen[:, :target], seed, target)
        seen[:, target] = np.where(drawn.source >= 0, pool.texts[drawn.source], -1)
        draws.append(drawn)
    return draws


def _draw_target(pool: ResponsePool, keys: Keys, seen: Ints, seed: int, target: int) -> RowDraws:
    rank = sample_categorical(pool.odds, uniforms(seed, keys, target, 0))
    rows = np.arange(len(keys))
    size = pool.sizes[rows, rank]
    start = pool.starts + np.where(rank > 0, np.cumsum(pool.sizes, axis=1)[rows, rank - 1], 0)
    source = np.full(len(keys), -1, np.int64)
    left = rows
    for attempt in range(1, MAX_ATTEMPTS + 1):
        place = _scale_to_index(uniforms(seed, keys[left], target, attempt), size[left])
        candidate = pool.members[start[left] + place]
        fresh = (pool.texts[candidate][:, None] != seen[left]).all(axis=1)
        source[left[fresh]] = candidate[fresh]
        left = left[~fresh]
        if not len(left):
            break
    chance = uniforms(seed, keys[left], target, MAX_ATTEMPTS + 1)
    for row, share in zip(left.tolist(), chance, strict=True):
        cluster = pool.members[start[row] : start[row] + size[row]]
        unseen = cluster[~np.isin(pool.texts[cluster], seen[row])]
        if len(unseen):
            source[row] = unseen[_scale_to_index(share, len(unseen))]
    return RowDraws(rank, source)


def _scale_to_index(chance: Reals, size: Ints | int) -> Ints:
    """Return numbers below the size, equally likely; the product may round up to the size."""
    return np.minimum((chance * size).astype(np.int64), size - 1)


def sample_categorical(probabilities: Reals, chance: Reals) -> Ints:
    """Return for each row the index at which its cumulative probability passes its chance."""
    bounds = np.cumsum(probabilities, axis=1)
    index = (chance[:, None] >= bounds).sum(axis=1)
    last = probabilities.shape[1] - 1 - np.argmax(probabilities[:, ::-1] > 0, axis=1)
    return np.asarray(np.minimum(index, last))
