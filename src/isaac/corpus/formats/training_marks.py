"""Marks on the messages of a conversation that say which of them a trainer trains on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

TRAINING_MARKS = ("weight", "train", "training", "trainable", "loss")
"""Keys of a message that mean, with the value false or 0, that it is not trained on.

``weight`` is from OpenAI's and Mistral's fine-tuning formats, ``train`` and ``training`` from
Axolotl's, ``trainable`` from Tinker's and ``loss`` from ms-swift's.
"""

TRAINING_DETAILS = ("train_detail", "training_detail")
"""Keys of a message with the spans of its text that Axolotl trains on.

Each span has ``begin_offset``, ``end_offset`` and ``train``.
"""


def is_trained_on(message: Mapping[str, Any]) -> bool:
    """Whether no mark excludes a message from training."""
    marks = [message.get(key) for key in TRAINING_MARKS]
    if any(isinstance(mark, int | float) and not mark for mark in marks):
        return False
    details = [message.get(key) for key in TRAINING_DETAILS]
    return all(_has_trained_span(spans) for spans in details if isinstance(spans, list) and spans)


def _has_trained_span(spans: list[Any]) -> bool:
    return any(not isinstance(span, Mapping) or span.get("train") for span in spans)


def find_untrained(messages: Iterable[Any]) -> frozenset[int]:
    """Find the indices of the messages that a mark excludes from training."""
    return frozenset(
        index
        for index, message in enumerate(messages)
        if isinstance(message, Mapping) and not is_trained_on(message)
    )


def without_training_details(message: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a message without the spans to train on, which a new text does not have."""
    return {key: value for key, value in message.items() if key not in TRAINING_DETAILS}
