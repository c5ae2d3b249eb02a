"""The bars and remarks of the libraries underneath, held back while they work."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hold back transformers' progress bars, remarks and warnings, errors apart."""
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
    """Hold back the bar of GGUF files, which transformers shows whatever it is told of bars."""
    reading = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
    bar = getattr(reading, "tqdm", None)
    try:
        vars(reading)["tqdm"] = lambda items, **_: items
        yield
    finally:
        vars(reading)["tqdm"] = bar
