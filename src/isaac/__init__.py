"""Make a language model safer from its own training corpus: no labels, no judges."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:  # for type checkers; a name is imported when it is first used
    from .corpus import Corpus, Exchange, Rejected, read_corpus
    from .curation import Curation
    from .curation.resources import Tools
    from .curation.vectors import embed
    from .errors import (
        CorpusError,
        EncoderError,
        IsaacError,
        MissingExtraError,
        RecipeError,
        RunError,
    )
    from .healing import Healed, Healer
    from .models import Encoder, load_encoder
    from .recipe import Recipe
    from .runs import Run, curate_to, export, redraw_run
    from .runs.changes import Change
    from .runs.curated import CuratedCorpus, curate
    from .runs.reports.diagnosis import diagnose
    from .runs.reports.explanation import explain
    from .runs.reports.summary import summarize

_MODULES = {
    "Corpus": ".corpus",
    "Exchange": ".corpus",
    "Rejected": ".corpus",
    "read_corpus": ".corpus",
    "Curation": ".curation",
    "Tools": ".curation.resources",
    "embed": ".curation.vectors",
    "CorpusError": ".errors",
    "EncoderError": ".errors",
    "IsaacError": ".errors",
    "MissingExtraError": ".errors",
    "RecipeError": ".errors",
    "RunError": ".errors",
    "Healed": ".healing",
    "Healer": ".healing",
    "Encoder": ".models",
    "load_encoder": ".models",
    "Recipe": ".recipe",
    "Run": ".runs",
    "curate_to": ".runs",
    "export": ".runs",
    "redraw_run": ".runs",
    "Change": ".runs.changes",
    "CuratedCorpus": ".runs.curated",
    "curate": ".runs.curated",
    "diagnose": ".runs.reports.diagnosis",
    "explain": ".runs.reports.explanation",
    "summarize": ".runs.reports.summary",
}
"""The module of each public name, relative to this package."""

__all__ = [
    "Change",
    "Corpus",
    "CorpusError",
    "CuratedCorpus",
    "Curation",
    "Encoder",
    "EncoderError",
    "Exchange",
    "Healed",
    "Healer",
    "IsaacError",
    "MissingExtraError",
    "Recipe",
    "RecipeError",
    "Rejected",
    "Run",
    "RunError",
    "Tools",
    "__version__",
    "curate",
    "curate_to",
    "diagnose",
    "embed",
    "explain",
    "export",
    "load_encoder",
    "read_corpus",
    "redraw_run",
    "summarize",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'isaac' has no attribute '{name}'")
    value = getattr(importlib.import_module(_MODULES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
