"""Replies from an OpenAI-compatible chat completions endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from ...text import format_error
from ..openai_client import OpenAIClient
from .base import Conversation, Decoding, ModelError
from .seeds import derive_seeds


class ChatEndpoint(OpenAIClient):
    """A chat model behind an address, to which several conversations are sent at a time.

    Whether the same seed gives the same replies is for the server to keep.

    ``unanswered`` counts the conversations that got no reply; ``first_error`` says why the first
    of them did not.
    """

    REFUSAL = ModelError

    def __init__(self, model: str, base_url: str, *, workers: int = 8, **settings: Any) -> None:
        super().__init__(model, base_url, **settings)
        self.name, self.workers = self.revision, workers
        self.unanswered = 0
        self.first_error: str | None = None

    def reply(self, conversations: Sequence[Conversation], decoding: Decoding) -> list[str | None]:
        """Return one reply a conversation, in order; None where none came."""
        own = [
            seed >> 32 for seed in derive_seeds(conversations, decoding.seed)
        ]  # servers take 31 bits
        with ThreadPoolExecutor(self.workers) as pool:
            answers = list(pool.map(partial(self._ask, decoding), conversations, own))
        errors = [error for _, error in answers if error is not None]
        self.unanswered += len(errors)
        self.first_error = self.first_error or (errors[0] if errors else None)
        return [text for text, _ in answers]

    def _ask(
        self, decoding: Decoding, messages: Conversation, seed: int
    ) -> tuple[str | None, str | None]:
        """Return a reply, or why there is none."""
        try:
            answer: Any = self.client.chat.completions.create(
                model=self.model,
                messages=messages,
                max_tokens=decoding.max_tokens,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                seed=seed,
            )
            text = answer.choices[0].message.content
        except self.package.OpenAIError as error:
            return None, format_error(error, 300)
        except (AttributeError, IndexError, TypeError, ValueError):
            return None, (
                "the answer is no chat completion; the base URL is the part before "
                "/chat/completions, such as http://localhost:8000/v1"
            )
        return (text, None) if isinstance(text, str) else (None, "the answer has no text")
