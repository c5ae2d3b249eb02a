"""Healing single responses with a finished run: keep a response, replace it, or abstain."""

from .lines import LineHealer, open_healer
from .pipeline import ExchangePipeline
from .retrieval import Healer
from .sampler import Healed

__all__ = ["ExchangePipeline", "Healed", "Healer", "LineHealer", "open_healer"]
