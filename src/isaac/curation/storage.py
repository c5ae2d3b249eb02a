"""Storage for the intermediate results of a curation, and the keys they are stored under.

In a run's folder, a key is the path of a file without its suffix. Never change a key: runs that are
already on disk could no longer be read. Some keys are therefore older than the names in the code.
"""

from __future__ import annotations

from ..runtime import storage
from .clusters import Clusters
from .vectors import Embeddings

Storage = storage.Storage[Embeddings, Clusters]
MemoryStorage = storage.MemoryStorage[Embeddings, Clusters]

ROWS_KEY = "texts/rows"
"""The arrays of `CanonicalCorpus`."""

VIEWS_KEY = "texts/shown"
"""Distinct views of the responses, where a view is not the whole response."""

ENCODERS_KEY = "texts/encoders"
"""Encoders that were chosen for a recipe that leaves them open, with the reasons."""

TYPICALITY_KEY = "vectors/wording"
"""Typicality and near-duplicate group of each distinct response."""

SMOOTHED_KEY = "vectors/smoothed"
"""Typicality of the responses most similar to each distinct response."""

LANGUAGES_KEY = "texts/languages"
"""Language and script of each distinct context and response."""

SIGNALS_KEY = "vectors/signals"
"""Names of the signals that are installed, if the recipe takes these."""

PROFANITY_KEY = "vectors/profanity"
"""How little profane each distinct response is."""

PHRASING_KEY = "vectors/phrasing"
"""Phrasing of each distinct response."""

FIT_KEY = "vectors/fit"
"""The arrays of `FitModel`."""

EXCHANGEABILITY_KEY = "vectors/exchangeability"
"""The share that `test_exchangeability` computes."""

VETOES_KEY = "vectors/vetoes"
"""A judge's veto on each distinct exchange."""

CANDIDATES_KEY = "vectors/candidates"
"""Vectors of the contexts whose responses may be drawn."""

IVF_KEY = "vectors/lists"
"""Inverted file for the search of contexts."""

SEARCH_ORDER_KEY = "vectors/order"
"""Order of the exchanges in which those that search the same lists are close together."""

RECALL_KEY = "vectors/search"
"""Size and recall of the inverted file."""

RIDGE_KEY = "vectors/ridge"
"""Ridge regression of responses on contexts."""

RESIDUALS_KEY = "vectors/residuals"
"""Residual of each distinct exchange."""

TARGETS_KEY = "vectors/wanted"
"""For each context, the vector that a relevant response is close to."""

TRIALS_KEY = "vectors/trials"
"""Score of each view and radius that was tried."""

INDUCED_ACTS_KEY = "vectors/kinds"
"""Induced dialogue act of each turn."""

TRIMS_KEY = "vectors/belonging"
"""Which parts of responses to leave out."""

REDRAW_KEYS = (RIDGE_KEY, TARGETS_KEY, FIT_KEY, EXCHANGEABILITY_KEY, LANGUAGES_KEY)
"""Results that a redraw may need and the first draw did not; computed from the rest of a run."""

SHARD_PREFIX = "shards/"

CLUSTER_KEYS = (
    RESIDUALS_KEY,
    TRIALS_KEY,
    CANDIDATES_KEY,
    IVF_KEY,
    SEARCH_ORDER_KEY,
    RECALL_KEY,
    SHARD_PREFIX,
)
"""Results that a run has only if its mode uses clusters."""


def text_key(column: str) -> str:
    """Key of the distinct texts in a column of the corpus."""
    return f"texts/{column}"


def embeddings_key(name: str) -> str:
    """Key of the vectors of all contexts, or of all responses."""
    return f"vectors/{name}"


def chunk_key(name: str, number: int) -> str:
    """Key of one chunk of those vectors, while not all chunks are finished."""
    return f"{embeddings_key(name)}.{number:05}"


def shard_key(number: int) -> str:
    """Key of one shard of the neighborhoods."""
    return f"{SHARD_PREFIX}{number:05}"
