"""Where work runs: `Engine` is the seam, `Local` one machine's threads, `Ray` a cluster."""

from .local import Engine, Local
from .ray import Ray

__all__ = ["Engine", "Local", "Ray"]
