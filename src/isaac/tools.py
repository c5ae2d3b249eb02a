"""What a curation works with: where finished work is kept, and who does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from .clusters import Clusters
from .embeddings import Embedded, Encoder, load_encoder
from .engines import Engine
from .judges import Judge, load_judge
from .progress import Progress


class Store(Protocol):
    """Where finished work is kept, so that it need not be done again."""

    def embedded(self, name: str, make: Callable[[], Embedded], /) -> Embedded:
        """Return the vectors kept under a name, made and kept now if they are not there."""
        ...

    def forget(self, name: str, /) -> None:
        """Drop the vectors kept under a name."""
        ...

    def array(
        self, name: str, make: Callable[[], npt.NDArray[np.float64]], /
    ) -> npt.NDArray[np.float64]:
        """Return the numbers kept under a name, made and kept now if they are not there."""
        ...

    def clusters(self, number: int, make: Callable[[], Clusters], /) -> Clusters:
        """Return the shard of that number, made and kept now if it is not there."""
        ...


class Memory:
    """A store that keeps nothing."""

    def embedded(self, _name: str, make: Callable[[], Embedded], /) -> Embedded:
        """Return what is made."""
        return make()

    def forget(self, _name: str, /) -> None:
        """Do nothing: nothing was kept."""

    def array(
        self, _name: str, make: Callable[[], npt.NDArray[np.float64]], /
    ) -> npt.NDArray[np.float64]:
        """Return what is made."""
        return make()

    def clusters(self, _number: int, make: Callable[[], Clusters], /) -> Clusters:
        """Return what is made."""
        return make()


class Tools(NamedTuple):
    """What a curation works with; none of it changes the result but the encoders."""

    store: Store = Memory()
    engine: Engine | None = None
    progress: Progress = Progress()
    encoders: dict[str, Encoder] | None = None
    judges: dict[str, Judge] | None = None

    def encoder(self, name: str) -> Encoder:
        """Return the encoder given under a name, or the one that the name describes."""
        return (self.encoders or {}).get(name) or load_encoder(name)

    def judge(self, name: str) -> Judge:
        """Return the judge given under a name, or the one that the name describes."""
        return (self.judges or {}).get(name) or load_judge(name)
