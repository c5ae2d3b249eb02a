"""A curation on disk: the run folder, the jobs that fill it, its exports, reports and audits."""

from .export import export
from .jobs import curate_to, redraw_run
from .run import Run

__all__ = ["Run", "curate_to", "export", "redraw_run"]
