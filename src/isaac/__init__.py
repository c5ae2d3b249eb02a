"""Make a language model safer from its own training corpus: no labels, no judges."""

from ._version import __version__
from .corpus import Corpus, Exchange, read_corpus
from .curation import Curation, curate
from .embeddings import Encoder, embed, load_encoder
from .errors import (
    CorpusError,
    EncoderError,
    IsaacError,
    MissingExtraError,
    RecipeError,
    RunError,
)
from .exports import export
from .healing import Healed, Healer
from .jobs import curate_to, redraw_run
from .recipe import Recipe
from .rejected import Rejected
from .report import summarize
from .runs import Run
from .tools import Tools

__all__ = [
    "Corpus",
    "CorpusError",
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
    "embed",
    "export",
    "load_encoder",
    "read_corpus",
    "redraw_run",
    "summarize",
]
