"""Models behind OpenAI-compatible endpoints: their names, and the client that asks them."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from ..errors import IsaacError, require_extra


def parse_openai_name(name: str) -> tuple[str, str] | None:
    """Return model and base URL of ``openai:<model>@<base-url>``, None for any other name."""
    found = re.fullmatch(r"openai:(.+?)@(https?://.+)", name)
    return (found[1], found[2]) if found else None


class OpenAIClient:
    """A model at a base URL, asked through the ``openai`` client.

    The client retries time-outs, 429 and 5xx answers with growing pauses; ``timeout`` is in seconds
    a request, None for the client's own. Its key comes from ``api_key`` or the client's own
    OPENAI_API_KEY; it is never stored. ``package`` has the client's errors. A subclass says what
    errors call its models, and which error refuses a base URL with a password.
    """

    KIND = "model"
    REFUSAL: type[IsaacError] = IsaacError

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
        except openai.OpenAIError:  # no key: endpoints of one's own need none
            self.client = openai.OpenAI(api_key="none", **settings)

    def _check_base_url(self, base_url: str) -> None:
        """Raise the class's own error for a base URL that cannot be, or that tells a secret."""
        try:
            parts = urlsplit(base_url)
        except ValueError as error:
            raise self.REFUSAL(f"the base URL is none: {error}; wanted https://HOST/v1") from None
        if parts.password or parts.username:
            raise self.REFUSAL(
                "a base URL with a user name or a password would be written into runs and reports; "
                "leave it out"
            )
