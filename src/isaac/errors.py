"""What can go wrong, each error saying what was wanted, what came and what to do next."""

from __future__ import annotations

import importlib
from typing import Any


class IsaacError(Exception):
    """The job cannot go on, for a reason that its user can act on."""


class CorpusError(IsaacError):
    """The input cannot be read as a corpus of exchanges."""


class RecipeError(IsaacError):
    """The recipe asks for something that is not there or not allowed."""


class EncoderError(IsaacError):
    """An encoder is missing, or what it returned cannot be used."""


class RunError(IsaacError):
    """The run folder does not allow what was asked."""


class MissingExtraError(IsaacError):
    """A part is asked for whose optional dependencies are not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra: pip install 'isaac-align[{extra}]'")
        self.what, self.extra = what, extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        """Return how it is made again where it was not raised: in another process."""
        return type(self), (self.what, self.extra)


def require_extra(package: str, what: str, extra: str) -> Any:
    """Return a package; raise `MissingExtraError` for ``what`` where it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise MissingExtraError(what, extra) from None
