"""Models that you load by name: text encoders, chat models and judges."""

from .chat import ChatModel, load_chat_model
from .encoders import Encoder, load_encoder
from .judges import Judge, load_judge

__all__ = ["ChatModel", "Encoder", "Judge", "load_chat_model", "load_encoder", "load_judge"]
