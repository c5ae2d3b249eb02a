"""Make a language model safer from its own training corpus: no labels, no judges."""

from ._version import __version__
from .corpus.corpus import Corpus, Exchange, read_corpus
from .corpus.rejected import Rejected
from .curation.curate import Curation, curate
from .curation.resources import Tools
from .curation.vectors import Encoder, embed, load_encoder
from .errors import CorpusError, EncoderError, IsaacError, MissingExtraError, RecipeError, RunError
from .healing.retrieval import Healed, Healer
from .recipe import Recipe
from .runs.export import export
from .runs.jobs import curate_to, redraw_run
from .runs.reports.summary import summarize
from .runs.run import Run

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
