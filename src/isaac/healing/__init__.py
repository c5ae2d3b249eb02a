"""The method for one exchange or turn: keep a reply, replace it, or abstain."""

from .pipeline import ExchangePipeline
from .retrieval import Healed, Healer

__all__ = ["ExchangePipeline", "Healed", "Healer"]
