"""Where work runs: the `Engine` protocol, the threads of one machine, and a Ray cluster."""

from .local import Engine, LocalEngine
from .ray import RayEngine

__all__ = ["Engine", "LocalEngine", "RayEngine"]
