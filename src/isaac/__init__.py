"""Make a language model safer from its own training corpus: no labels, no judges."""

from ._version import __version__
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
