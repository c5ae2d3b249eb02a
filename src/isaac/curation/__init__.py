"""The curation method, from canonical order to lineage; `curate` runs all its steps."""

from .curate import Curation, curate

__all__ = ["Curation", "curate"]
