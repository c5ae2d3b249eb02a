"""The storage of a curation: where its embeddings, neighborhoods and scores are kept."""

from __future__ import annotations

from ..runtime import storage
from .clusters import Clusters
from .vectors import Embeddings

Storage = storage.Storage[Embeddings, Clusters]
MemoryStorage = storage.MemoryStorage[Embeddings, Clusters]
