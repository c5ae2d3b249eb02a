"""The errors that isaac raises; a message says what was expected, what came and what to do."""

from __future__ import annotations

import contextlib
import importlib
import json
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any
from urllib.parse import unquote, urlsplit

DISTRIBUTION = "isaac-align"
"""The name of the distribution that contains isaac."""


class IsaacError(Exception):
    """Base class: the job cannot continue, for a reason that you can act on."""


class CorpusError(IsaacError):
    """The input cannot be read as a corpus of exchanges."""


class RecipeError(IsaacError):
    """The recipe asks for something that does not exist or is not allowed."""


class EncoderError(IsaacError):
    """An encoder cannot be loaded, fails, or returns vectors that cannot be used."""


class JudgeError(IsaacError):
    """A judge cannot be loaded or fitted, or fails too often to rely on its verdicts."""


class RunError(IsaacError):
    """A run cannot start or continue: its folder, its files or its workers do not allow it."""


class MissingExtraError(IsaacError):
    """An optional dependency is missing; the message names the extra that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra: {install_command(extra)}")
        self.what, self.extra = what, extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        """Pickle both arguments, not the message, so that the error survives a worker process."""
        return type(self), (self.what, self.extra)


def install_command(extra: str) -> str:
    """The command that installs an extra from where this isaac was installed: a clone or an index.

    The origin is read from ``direct_url.json`` (PEP 610).
    """
    origin: dict[str, Any] = {}
    with contextlib.suppress(PackageNotFoundError, ValueError):
        origin = json.loads(distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
    url = urlsplit(origin.get("url", ""))
    source = DISTRIBUTION
    if url.scheme == "file" and "dir_info" in origin:
        source = unquote(url.path)
    return f"pip install '{source}[{extra}]'"


def require_extra(package: str, what: str, extra: str) -> Any:
    """Import an optional package, which ``what`` needs and ``extra`` installs.

    Raises `MissingExtraError` if the package is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise MissingExtraError(what, extra) from None
