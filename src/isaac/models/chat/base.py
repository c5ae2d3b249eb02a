"""The `ChatModel` protocol: conversations in, replies out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from ...errors import IsaacError

Conversation = list[dict[str, str]]
"""The turns before the reply: ``[{"role": ..., "content": ...}, ...]``."""


def messages_to_text(messages: Conversation) -> str:
    """Join a conversation into one text: a single turn unchanged, several as ``Role: …`` lines."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n".join(f"{turn['role'].capitalize()}: {turn['content']}" for turn in messages)


Dtype = Literal["float32", "bfloat16"]
"""The number type of a model's weights."""


class ModelError(IsaacError):
    """A model cannot be loaded, or cannot be used for the requested task."""


class Decoding(NamedTuple):
    """How a model generates replies.

    A local model gives the same replies for the same values. At temperature 0, a model always takes
    the most likely token.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


class ChatModel(Protocol):
    """Anything that replies to conversations; tables show its ``name``."""

    name: str

    def reply(self, conversations: Sequence[Conversation], decoding: Decoding) -> list[str | None]:
        """Generate one reply per conversation, in order; None if the model gave none."""
        ...
