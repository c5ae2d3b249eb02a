"""What a curation runs with: storage, engine, progress, and your own encoders and judges."""

from __future__ import annotations

from typing import NamedTuple

from ..models.encoders import Encoder, load_encoder
from ..models.judges import Judge, load_judge
from ..recipe import Recipe
from ..runtime.engines import Engine, LocalEngine
from ..runtime.progress import Progress
from .storage import MemoryStorage, Storage

FRESH_STORE = MemoryStorage()
"""The default store; `Tools.ready` replaces it, so that two curations never share one."""


class Tools(NamedTuple):
    """What a curation runs with; of these, only the encoders and judges affect the result.

    ``encoders`` and ``judges`` are objects to use for the names in a recipe; any other name is
    loaded, an ``openai:`` judge with ``judge_timeout`` in seconds, by default 60.
    """

    store: Storage = FRESH_STORE
    engine: Engine = LocalEngine()
    progress: Progress = Progress()
    encoders: dict[str, Encoder] | None = None
    judges: dict[str, Judge] | None = None
    judge_timeout: float | None = None

    def ready(self) -> Tools:
        """Replace the default store by a new one."""
        return self._replace(store=MemoryStorage()) if self.store is FRESH_STORE else self

    @property
    def threads(self) -> Engine:
        """The engine if it is local, else threads on this machine."""
        return LocalEngine() if self.engine.remote else self.engine

    def encoder(self, name: str) -> Encoder:
        """The encoder passed in under this name, or the one that the name describes."""
        return (self.encoders or {}).get(name) or load_encoder(name)

    def judge(self, name: str) -> Judge:
        """The judge passed in under this name, or the one that the name describes."""
        return (self.judges or {}).get(name) or load_judge(name, timeout=self.judge_timeout)

    def load_models(self, recipe: Recipe) -> Tools:
        """Load the encoders and the judge that a recipe names, before any work is done.

        Raises `EncoderError` or `JudgeError` if one does not exist, `MissingExtraError` if it needs
        an extra. Encoders named "auto" are chosen later.
        """
        names = {recipe.context_encoder, recipe.response_encoder} - {"auto"}
        encoders = {name: self.encoder(name) for name in sorted(names)}
        judges = {} if recipe.judge is None else {recipe.judge: self.judge(recipe.judge)}
        return self._replace(
            encoders={**(self.encoders or {}), **encoders}, judges={**(self.judges or {}), **judges}
        )
