"""The method, from canonical order to lineage; `curate` alone knows every step."""

from .curate import Curation, curate

__all__ = ["Curation", "curate"]
