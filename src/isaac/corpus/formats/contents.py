"""The content of a turn: text, or parts of which some are text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .base import is_blank, validate_text
from .reasoning import REASONING_KEYS, REASONING_PARTS
from .training_marks import without_training_details

ROLE_KEYS = ("role", "from", "speaker", "sender", "author")
"""Keys of a turn that say whose it is, the most usual first."""

TEXT_KEYS = ("content", "value", "text", "utterance", "message", "parts")
"""Keys of a turn that have its text, the most usual first."""

PART_KEYS = ("text", "value", "content")
"""Keys of a part that have its text; in a part of another type, the last two hold something else,
such as an image."""

TEXT_PARTS = (None, "text", "input_text", "output_text", "tool_result")
"""Types of the parts that are text."""

RESULT_KEYS = ("functionResponse", "function_response", "toolResult")
"""Keys of a part with a tool's result, in Gemini's and Bedrock's formats."""


def read_text(content: Any, name: str) -> str:
    """Read the text of a turn, plain or in parts; empty if it has none.

    The texts of several parts are joined by line breaks; images and other parts are left out.
    Raises `RowError` for a content that is neither text nor parts.
    """
    if content is None or (isinstance(content, str) and not content.strip()):
        return ""
    if isinstance(content, Mapping):
        content = content.get("parts", [content])
    if isinstance(content, list):
        texts = [text for part in content if (text := _read_part(part, name))]
        content = "\n".join(texts)
        if not content:
            return ""
    return validate_text(content, name)


def _read_part(part: Any, name: str) -> str:
    """The text of a part of a message, empty for another kind of part."""
    text = part
    if isinstance(part, Mapping):
        if part.get("type") in REASONING_PARTS:
            return ""
        if result := next((part[key] for key in RESULT_KEYS if part.get(key)), None):
            return validate_text(json.dumps(result, ensure_ascii=False), f"a part of {name}")
        text = part.get(_find_text_key(part))
        if isinstance(text, list | Mapping):  # a tool's result, which has parts itself
            return read_text(text, name)
    return "" if is_blank(text) else validate_text(text, f"a part of {name}")


def has_result(content: Any) -> bool:
    """Whether a content has a part with a tool's result."""
    parts = content if isinstance(content, list) else []
    return any(
        part.get("type") == "tool_result" or any(part.get(key) for key in RESULT_KEYS)
        for part in parts
        if isinstance(part, Mapping)
    )


def _find_text_key(part: Mapping[str, Any]) -> str:
    """The key with the text of a part."""
    keys = PART_KEYS if part.get("type") in TEXT_PARTS else PART_KEYS[:1]
    return next((key for key in keys if not is_blank(part.get(key))), "text")


def replace_text(turn: Mapping[str, Any], key: str, response: str) -> dict[str, Any]:
    """Copy a turn with new text, plain or in one part like the original.

    Reasoning and spans that are about the old text are left out; images and other parts stay.
    """
    turn = without_training_details(turn)
    turn = {name: value for name, value in turn.items() if name not in REASONING_KEYS}
    content = turn[key]
    if isinstance(content, Mapping) and "parts" in content:
        return {**turn, key: {**content, "parts": _replace_parts(content["parts"], response)}}
    if isinstance(content, Mapping):
        return {**turn, key: {**content, _find_text_key(content): response}}
    if isinstance(content, list):
        return {**turn, key: _replace_parts(content, response)}
    return {**turn, key: response}


def _replace_parts(parts: list[Any], response: str) -> list[Any]:
    """Copy the parts of a message with the new text in the first part that has text."""
    new: list[Any] = []
    is_written = False
    for part in parts:
        if isinstance(part, Mapping) and part.get("type") in REASONING_PARTS:
            continue
        if not _read_part(part, "the message"):
            new.append(part)
        elif not is_written:
            is_object = isinstance(part, Mapping)
            new.append({**part, _find_text_key(part): response} if is_object else response)
            is_written = True
    return new
