"""Silence the progress bars, log messages and warnings of transformers."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence everything that transformers prints except errors."""
    import transformers
    from transformers.utils import logging

    level, bars = transformers.logging.get_verbosity(), logging.is_progress_bar_enabled()
    try:
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.logging.set_verbosity(level)
        if bars:
            transformers.logging.enable_progress_bar()


@contextmanager
def without_gguf_bar() -> Iterator[None]:
    """Silence the bar for reading GGUF files, which transformers shows even when bars are off."""
    module = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
    bar = getattr(module, "tqdm", None)
    try:
        vars(module)["tqdm"] = lambda items, **_: items
        yield
    finally:
        vars(module)["tqdm"] = bar
