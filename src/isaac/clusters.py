"""Clusters of the responses in a neighbourhood.

Paper, step 2 (content clustering): DBSCAN with ``min_samples=1``, which is exactly the connected
components of the graph that joins two responses at a distance of at most the radius.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .embeddings import Floats
from .neighbors import Ints, Ragged

TILE = 1024
"""Responses compared with their neighbourhood at a time; bounds memory, changes no result."""

PAIRS = 2**24
"""Pairs of responses up to which their comparison is remembered; changes no result."""


class Clusters(NamedTuple):
    """Neighbourhoods with their members sorted by cluster, the largest cluster first.

    ``members`` are rows; ``sizes`` the sizes of each neighbourhood's clusters, descending. Equal
    sizes are ordered by the smallest row in the cluster, and members within one by row.
    """

    members: Ragged
    sizes: Ragged


def components(vectors: Floats, radius: float) -> Ints:
    """Return the connected component of each response, named by its first member.

    ``vectors`` (b, m, d) are grid vectors of b neighbourhoods, ``radius`` the Euclidean distance
    up to which two are joined; equal vectors are, even at 0. The result is (b, m).

    In each round a response and the name that it bears take the smallest name that a neighbour of
    the response bears, and then the name which that one has taken, until no name changes. On a
    chain of n responses that takes about log n rounds.
    """
    count, size = vectors.shape[:2]
    names = np.broadcast_to(np.arange(size), (count, size)).copy()
    first = np.arange(count)[:, None] * size
    remembered = list(_apart(vectors, radius)) if count * size * size <= PAIRS else None
    while True:
        least = np.empty_like(names)
        for start, apart in _apart(vectors, radius) if remembered is None else remembered:
            reach = apart + names[:, None, :].astype(apart.dtype)
            least[:, start : start + reach.shape[1]] = reach.min(axis=2)
        lower = least.reshape(-1).copy()
        np.minimum.at(lower, (first + names).reshape(-1), least.reshape(-1))
        lower = lower[first + lower.reshape(count, size)]
        if np.array_equal(lower, names):
            return names
        names = lower


def _apart(
    vectors: Floats, radius: float
) -> Iterator[tuple[int, npt.NDArray[np.int16] | npt.NDArray[np.int32]]]:
    """Yield (start, 0 where two responses are joined and m where not) for tiles of rows.

    Two are joined if a·b - b·b/2 >= a·a/2 - radius^2/2, exact to the radius on the grid.
    """
    size = vectors.shape[1]
    small = np.int16 if 2 * size < 2**15 else np.int32
    half = np.square(vectors).sum(axis=2) / np.float32(2)
    least = half - np.float32(radius * radius / 2)
    for start in range(0, size, TILE):
        tile = slice(start, start + TILE)
        closeness = vectors[:, tile] @ vectors.transpose(0, 2, 1)
        closeness -= half[:, None, :]
        yield start, np.where(closeness >= least[:, tile, None], small(0), small(size))


def by_size(members: Ints, names: Ints) -> Clusters:
    """Return neighbourhoods of one length with their members sorted by cluster.

    ``members`` (b, m) are rows, ``names`` (b, m) says in which cluster each is.
    """
    count, length = members.shape
    order = np.argsort(members, axis=1, kind="stable")
    rows = np.take_along_axis(members, order, axis=1)
    names = np.take_along_axis(names, order, axis=1)
    whole = np.arange(count)[:, None] * (int(names.max(initial=0)) + 1) + names
    _, first, inverse, sizes = np.unique(
        whole, return_index=True, return_inverse=True, return_counts=True
    )
    inverse = inverse.reshape(count, length)
    place = np.lexsort((rows, (first % length)[inverse], -sizes[inverse]), axis=1)
    ranked = np.lexsort((-sizes, first // length))
    return Clusters(
        Ragged.of(np.take_along_axis(rows, place, axis=1).reshape(-1), np.full(count, length)),
        Ragged.of(sizes[ranked], np.bincount(first // length, minlength=count)),
    )
