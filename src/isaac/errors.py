"""The errors that isaac raises; a message says what was expected, what came and what to do."""

from __future__ import annotations

import importlib
from typing import Any


class IsaacError(Exception):
    """Base class: the job cannot continue, for a reason that you can act on."""


class CorpusError(IsaacError):
    """The input cannot be read as a corpus of exchanges."""


class RecipeError(IsaacError):
    """The recipe asks for something that does not exist or is not allowed."""


class EncoderError(IsaacError):
    """An encoder cannot be loaded, fails, or returns vectors that cannot be used."""


class JudgeError(IsaacError):
    """A judge failed too often to rely on its verdicts."""


class RunError(IsaacError):
    """A run cannot start or continue: its folder, its files or its workers do not allow it."""


class MissingExtraError(IsaacError):
    """An optional dependency is missing; the message names the extra that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra: pip install 'isaac-align[{extra}]'")
        self.what, self.extra = what, extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        """Pickle both arguments, not the message, so that the error survives a worker process."""
        return type(self), (self.what, self.extra)


def require_extra(package: str, what: str, extra: str) -> Any:
    """Import an optional package, which ``what`` needs and ``extra`` installs.

    Raises `MissingExtraError` if the package is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise MissingExtraError(what, extra) from None
