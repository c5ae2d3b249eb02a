"""Healing single responses with a finished run: keep a response, replace it, or abstain."""

from .healer import Healer
from .lines import HealingSettings, LineHealer, open_healer
from .pipeline import ExchangePipeline
from .sampler import Healed

__all__ = ["ExchangePipeline", "Healed", "Healer", "HealingSettings", "LineHealer", "open_healer"]
