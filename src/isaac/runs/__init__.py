"""Curations on disk: run folders, the jobs that fill them, exports, reports and audits."""

from .export import export
from .jobs import curate_to, redraw_run
from .run import Run

__all__ = ["Run", "curate_to", "export", "redraw_run"]
