"""Where work runs: `Engine` is the seam, `Local` the engine of one machine."""

from .local import Engine, Local

__all__ = ["Engine", "Local"]
