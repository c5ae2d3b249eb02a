"""Models behind OpenAI-compatible endpoints: how they are named, and their client."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from ..errors import IsaacError, require_extra


def parse_openai_name(name: str) -> tuple[str, str] | None:
    """Split ``openai:<model>@<base-url>`` into model and base URL; None for any other name."""
    match = re.fullmatch(r"openai:(.+?)@(https?://.+)", name)
    return (match[1], match[2]) if match else None


class OpenAIClient:
    """A model at a base URL, called through the ``openai`` client.

    The client retries timeouts and responses 429 and 5xx with growing pauses. ``timeout`` is in
    seconds per request; None means the client's default. The key comes from ``api_key`` or from
    the environment variable OPENAI_API_KEY that the client reads; it is never stored. The
    attribute ``package`` gives access to the client's error classes.
    """

    KIND = "model"
    """What error messages call the model; a subclass sets it."""

    URL_ERROR: type[IsaacError] = IsaacError
    """The error for a base URL that is invalid or contains a password; a subclass sets it."""

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        api_key: str | None = None,
        retries: int = 6,
        timeout: float | None = None,
    ) -> None:
        self.model, self.base_url = model, base_url
        self.revision = f"openai:{model}@{base_url}"
        self._check_base_url(base_url)
        self.package = openai = require_extra("openai", f"{self.KIND} '{self.revision}'", "openai")
        settings: dict[str, Any] = {
            "base_url": base_url,
            "max_retries": retries,
            "timeout": timeout or openai.DEFAULT_TIMEOUT,
        }
        try:
            self.client: Any = openai.OpenAI(api_key=api_key, **settings)
        except openai.OpenAIError:  # no key given or set; self-hosted endpoints need none
            self.client = openai.OpenAI(api_key="none", **settings)

    def _check_base_url(self, base_url: str) -> None:
        """Raise `URL_ERROR` for a base URL that is invalid or contains credentials."""
        try:
            parts = urlsplit(base_url)
        except ValueError as error:
            raise self.URL_ERROR(
                f"the base URL is not valid: {error}; expected https://HOST/v1"
            ) from None
        if parts.password or parts.username:
            raise self.URL_ERROR(
                "the base URL contains a user name or a password, which runs and reports would "
                "show; remove it and set OPENAI_API_KEY if the endpoint needs a key"
            )
