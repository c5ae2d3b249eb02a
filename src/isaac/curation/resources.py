"""What a curation works with: where finished work is kept, and who does it."""

from __future__ import annotations

from typing import NamedTuple

from ..models.encoders import Encoder, load_encoder
from ..models.judges import Judge, load_judge
from ..runtime.engines import Engine, LocalEngine
from ..runtime.progress import Progress
from .storage import MemoryStorage, Storage

FRESH_STORE = MemoryStorage()
"""Stands for a store of its own for every curation."""


class Tools(NamedTuple):
    """What a curation works with; none of it changes the result but encoders and judges."""

    store: Storage = FRESH_STORE
    engine: Engine = LocalEngine()
    progress: Progress = Progress()
    encoders: dict[str, Encoder] | None = None
    judges: dict[str, Judge] | None = None

    def ready(self) -> Tools:
        """Return the tools with a store of their own."""
        return self._replace(store=MemoryStorage()) if self.store is FRESH_STORE else self

    @property
    def threads(self) -> Engine:
        """Return the engine, or if that is of other machines, threads of this one."""
        return LocalEngine() if self.engine.remote else self.engine

    def encoder(self, name: str) -> Encoder:
        """Return the encoder given under a name, or the one that the name describes."""
        return (self.encoders or {}).get(name) or load_encoder(name)

    def judge(self, name: str) -> Judge:
        """Return the judge given under a name, or the one that the name describes."""
        return (self.judges or {}).get(name) or load_judge(name)
