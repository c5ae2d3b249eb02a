"""The client for models behind OpenAI-compatible endpoints, and the names of such models."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from ..errors import IsaacError, require_extra
from ..text import has_url_secret


def parse_openai_name(name: str) -> tuple[str, str] | None:
    """Split ``openai:<model>@<base-url>`` into model and base URL; None for any other name."""
    match = re.fullmatch(r"openai:(.+?)@(https?://.+)", name)
    return (match[1], match[2]) if match else None


class OpenAIClient:
    """A model at a base URL, called through the ``openai`` client.

    The client retries after a timeout and after status 429 or 5xx, with increasing delays.
    ``timeout`` is in seconds per request; None means the client's default. The API key comes from
    ``api_key`` or from the environment variable OPENAI_API_KEY, and is never stored. The attribute
    ``package`` is the imported ``openai`` package, for its error classes.
    """

    KIND = "model"
    """The word for the model in error messages; a subclass may set it."""

    URL_ERROR: type[IsaacError] = IsaacError
    """The error for a base URL that is invalid or contains credentials; a subclass may set it."""

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
        if parts.username is not None or has_url_secret(base_url):
            raise self.URL_ERROR(
                "the base URL contains a user name, a password or a key, which runs and reports "
                "would show; remove it and set OPENAI_API_KEY if the endpoint needs a key"
            )
