"""Base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from ...errors import IsaacError

Conversation = list[dict[str, str]]
"""A conversation up to the turn that is asked for: ``[{"role": ..., "content": ...}, ...]``."""


def messages_to_text(messages: Conversation) -> str:
    """Return a conversation as one text: one turn as it is, several a line each."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n".join(f"{turn['role'].capitalize()}: {turn['content']}" for turn in messages)


Dtype = Literal["float32", "bfloat16"]
"""Numbers that the weights of a model are held in."""


class ModelError(IsaacError):
    """A model cannot be had, or did not answer as one."""


class Decoding(NamedTuple):
    """How replies are drawn from a model; the same numbers and seed give the same replies.

    ``temperature`` 0 takes the likeliest token each time.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


class ChatModel(Protocol):
    """Anything that replies to conversations. ``name`` is what tables call it."""

    name: str

    def reply(self, conversations: Sequence[Conversation], decoding: Decoding) -> list[str | None]:
        """Return one reply a conversation, in order; None where the model gave none."""
        ...
