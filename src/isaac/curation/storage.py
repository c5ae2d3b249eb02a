"""The storage of a curation: where its embeddings, neighborhoods and scores are kept."""

from __future__ import annotations

from ..runtime import storage
from .clusters import Clusters
from .vectors import Embedded

Store = storage.Store[Embedded, Clusters]
Memory = storage.Memory[Embedded, Clusters]
