"""Where a curation keeps what it has finished: nowhere but in memory, or in a run's folder."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

EmbeddedT = TypeVar("EmbeddedT")
ClustersT = TypeVar("ClustersT")

Array = npt.NDArray[Any]
TextChunks = Iterable[tuple[npt.NDArray[np.int64], Sequence[str]]]
"""Texts with the places that they have among all of them, portion by portion."""


class Storage(Protocol[EmbeddedT, ClustersT]):
    """Where finished work is kept, so that it need not be done again or be in memory."""

    def array(self, name: str, make: Callable[[], Array], /) -> Array:
        """Return the numbers kept under a name, made and kept now if they are not there."""
        ...

    def stacked(self, name: str, rows: int, make: Callable[[], Iterable[Array]], /) -> Array:
        """Return so many rows of numbers kept under a name, made portion by portion if need be."""
        ...

    def texts(self, name: str, count: int, pieces: Callable[[], TextChunks], /) -> Sequence[str]:
        """Return so many texts kept under a name, taken from pieces now if they are not there."""
        ...

    def facts(self, name: str, make: Callable[[], dict[str, Any]], /) -> dict[str, Any]:
        """Return the plain values kept under a name, made and kept now if they are not there."""
        ...

    def scratch(self, shape: tuple[int, ...], kind: type[np.generic], /) -> Array:
        """Return room for numbers that are needed for a while, zeros."""
        ...

    def has(self, name: str, /) -> bool:
        """Say whether vectors or neighbourhoods of that name are kept, and sound."""
        ...

    def embedded(self, name: str, make: Callable[[], EmbeddedT], /) -> EmbeddedT:
        """Return the vectors kept under a name, made and kept now if they are not there."""
        ...

    def forget(self, name: str, /) -> None:
        """Drop the vectors kept under a name."""
        ...

    def clusters(self, name: str, make: Callable[[], ClustersT], /) -> ClustersT:
        """Return the neighbourhoods kept under a name, made and kept now if they are not there."""
        ...


class MemoryStorage(Generic[EmbeddedT, ClustersT]):
    """A store that keeps vectors and neighbourhoods for as long as it lives itself."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def array(self, _name: str, make: Callable[[], Array], /) -> Array:
        """Return what is made."""
        return make()

    def stacked(self, _name: str, _rows: int, make: Callable[[], Iterable[Array]], /) -> Array:
        """Return what is made."""
        return np.concatenate(list(make()))

    def texts(self, _name: str, count: int, pieces: Callable[[], TextChunks], /) -> Sequence[str]:
        """Return the texts in a list."""
        found = [""] * count
        for places, texts in pieces():
            for place, text in zip(places.tolist(), texts, strict=True):
                found[place] = text
        return found

    def facts(self, _name: str, make: Callable[[], dict[str, Any]], /) -> dict[str, Any]:
        """Return what is made."""
        return make()

    def scratch(self, shape: tuple[int, ...], kind: type[np.generic], /) -> Array:
        """Return zeros."""
        return np.zeros(shape, kind)

    def has(self, name: str, /) -> bool:
        """Say whether something is kept under a name."""
        return name in self.kept

    def embedded(self, name: str, make: Callable[[], EmbeddedT], /) -> EmbeddedT:
        """Return the vectors kept under a name, or what is made."""
        found: EmbeddedT = self._keep(name, make)
        return found

    def forget(self, name: str, /) -> None:
        """Drop what is kept under a name."""
        self.kept.pop(name, None)

    def clusters(self, name: str, make: Callable[[], ClustersT], /) -> ClustersT:
        """Return the neighbourhoods kept under a name, or what is made."""
        found: ClustersT = self._keep(name, make)
        return found

    def _keep(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self.kept:
            self.kept[name] = make()
        return self.kept[name]


def stored_arrays(
    store: Storage[Any, Any],
    name: str,
    fields: Iterable[str],
    make: Callable[[], Mapping[str, Array]],
) -> dict[str, Array]:
    """Return several arrays that are made together, each kept as ``name.field``."""
    made = functools.cache(make)
    return {
        field: store.array(f"{name}.{field}", functools.partial(_compute_field, made, field))
        for field in fields
    }


def _compute_field(made: Callable[[], Mapping[str, Array]], field: str) -> Array:
    return made()[field]
