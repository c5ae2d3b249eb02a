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
from .templates import split_answer


class ChatEndpoint(OpenAIClient):
    """A chat model at a base URL, which answers up to ``workers`` conversations at a time.

    Each request carries a seed, but whether the same seed gives the same reply is up to the
    server. ``unanswered`` counts the conversations without a reply; ``first_error`` says why the
    first one has none.
    """

    URL_ERROR = ModelError

    def __init__(self, model: str, base_url: str, *, workers: int = 8, **settings: Any) -> None:
        super().__init__(model, base_url, **settings)
        self.name, self.workers = self.revision, workers
        self.unanswered = 0
        self.first_error: str | None = None

    def reply(self, conversations: Sequence[Conversation], decoding: Decoding) -> list[str | None]:
        """Request one reply per conversation, in order; None if a request fails."""
        # Shorten the seeds from 63 to 31 bits: servers may reject longer ones.
        seeds = [seed >> 32 for seed in derive_seeds(conversations, decoding.seed)]
        with ThreadPoolExecutor(self.workers) as pool:
            answers = list(pool.map(partial(self._request, decoding), conversations, seeds))
        errors = [error for _, error in answers if error is not None]
        self.unanswered += len(errors)
        self.first_error = self.first_error or (errors[0] if errors else None)
        return [text for text, _ in answers]

    def _request(
        self, decoding: Decoding, messages: Conversation, seed: int
    ) -> tuple[str | None, str | None]:
        """Request one reply: the reply and None, or None and the reason why there is none."""
        try:
            response: Any = self.client.chat.completions.create(
                model=self.model,
                messages=messages,
                max_tokens=decoding.max_tokens,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                seed=seed,
            )
            text = response.choices[0].message.content
        except self.package.OpenAIError as error:
            return None, format_error(error, 300)
        except (AttributeError, IndexError, TypeError, ValueError):
            return None, (
                "the endpoint did not return a chat completion; check the base URL: it is the part "
                "before /chat/completions, such as http://localhost:8000/v1"
            )
        if not isinstance(text, str):
            return None, "the chat completion has no text"
        if (answer := split_answer(text)) is None:
            return None, "the reply ended within the model's thinking; allow more tokens"
        return answer, None
