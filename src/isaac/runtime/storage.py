"""The `Storage` protocol: where a curation keeps finished work, in memory or in a run folder."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from .arrays import Ints

EmbeddedT = TypeVar("EmbeddedT")
ClustersT = TypeVar("ClustersT")

Array = npt.NDArray[Any]
TextChunks = Iterable[tuple[Ints, Sequence[str]]]
"""Chunks of texts: each has the indices (m,) of its m texts among all texts, and the texts."""


class Storage(Protocol[EmbeddedT, ClustersT]):
    """Keeps finished work by name, so that it need not be done twice or stay in memory.

    Methods call ``make`` or ``chunks`` only if nothing is stored under ``name``, and store the
    result.
    """

    def array(self, name: str, make: Callable[[], Array], /) -> Array:
        """Load the array stored under ``name``, or compute and store it."""
        ...

    def stacked(self, name: str, rows: int, make: Callable[[], Iterable[Array]], /) -> Array:
        """Load the array stored under ``name``, or build it chunk by chunk and store it.

        The chunks that ``make`` yields have ``rows`` rows in total.
        """
        ...

    def texts(self, name: str, count: int, chunks: Callable[[], TextChunks], /) -> Sequence[str]:
        """Load the ``count`` texts stored under ``name``, or collect them from chunks."""
        ...

    def facts(self, name: str, make: Callable[[], dict[str, Any]], /) -> dict[str, Any]:
        """Load the JSON values stored under ``name``, or compute and store them."""
        ...

    def scratch(self, shape: tuple[int, ...], dtype: type[np.generic], /) -> Array:
        """Allocate a temporary array of zeros; a run allocates it on disk."""
        ...

    def has(self, name: str, /) -> bool:
        """Whether intact vectors or clusters are stored under ``name``."""
        ...

    def embedded(self, name: str, make: Callable[[], EmbeddedT], /) -> EmbeddedT:
        """Load the vectors stored under ``name``, or compute and store them."""
        ...

    def forget(self, name: str, /) -> None:
        """Delete the vectors stored under ``name``."""
        ...

    def clusters(self, name: str, make: Callable[[], ClustersT], /) -> ClustersT:
        """Load the clusters stored under ``name``, or compute and store them."""
        ...


class MemoryStorage(Generic[EmbeddedT, ClustersT]):
    """Storage for one process, which keeps only vectors and clusters, in memory.

    Everything else is computed again on each call.
    """

    def __init__(self) -> None:
        self.stored: dict[str, Any] = {}

    def array(self, _name: str, make: Callable[[], Array], /) -> Array:
        """Compute the array."""
        return make()

    def stacked(self, _name: str, _rows: int, make: Callable[[], Iterable[Array]], /) -> Array:
        """Compute the chunks and join them."""
        return np.concatenate(list(make()))

    def texts(self, _name: str, count: int, chunks: Callable[[], TextChunks], /) -> Sequence[str]:
        """Collect the texts in a list."""
        collected = [""] * count
        for indices, texts in chunks():
            for index, text in zip(indices.tolist(), texts, strict=True):
                collected[index] = text
        return collected

    def facts(self, _name: str, make: Callable[[], dict[str, Any]], /) -> dict[str, Any]:
        """Compute the values."""
        return make()

    def scratch(self, shape: tuple[int, ...], dtype: type[np.generic], /) -> Array:
        """Allocate an array of zeros."""
        return np.zeros(shape, dtype)

    def has(self, name: str, /) -> bool:
        """Whether vectors or clusters are stored under ``name``."""
        return name in self.stored

    def embedded(self, name: str, make: Callable[[], EmbeddedT], /) -> EmbeddedT:
        """The vectors stored under ``name``, computed on the first call."""
        vectors: EmbeddedT = self._get_or_make(name, make)
        return vectors

    def forget(self, name: str, /) -> None:
        """Drop what is stored under ``name``, if anything."""
        self.stored.pop(name, None)

    def clusters(self, name: str, make: Callable[[], ClustersT], /) -> ClustersT:
        """The clusters stored under ``name``, computed on the first call."""
        clusters: ClustersT = self._get_or_make(name, make)
        return clusters

    def _get_or_make(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self.stored:
            self.stored[name] = make()
        return self.stored[name]


def stored_arrays(
    store: Storage[Any, Any],
    name: str,
    fields: Iterable[str],
    make: Callable[[], Mapping[str, Array]],
) -> dict[str, Array]:
    """Load several arrays that are computed together, each stored as ``name.field``.

    ``make`` is called at most once, and only if one of the arrays is not stored.
    """
    make_once = functools.cache(make)
    return {
        field: store.array(f"{name}.{field}", functools.partial(_compute_field, make_once, field))
        for field in fields
    }


def _compute_field(make: Callable[[], Mapping[str, Array]], field: str) -> Array:
    return make()[field]
