"""The method for one exchange or turn: keep a reply, replace it, or abstain."""

from .retrieval import Healed, Healer

__all__ = ["Healed", "Healer"]
