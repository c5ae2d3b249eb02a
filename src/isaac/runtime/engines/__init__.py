"""Where work runs: `Engine` is the seam, `LocalEngine` one machine's threads, `RayEngine` a cluster."""

from .local import Engine, LocalEngine
from .ray import RayEngine

__all__ = ["Engine", "LocalEngine", "RayEngine"]
