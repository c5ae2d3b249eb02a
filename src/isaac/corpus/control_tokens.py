"""Control tokens of chat templates in ordinary text, which trainers would take for their own."""

from __future__ import annotations

import re
from typing import Any

CONTROL_TOKENS = re.compile(
    r"<\|[\w ./-]{1,40}\|>"  # ChatML, Llama 3, Phi, Zephyr and most others
    r"|<｜[^｜<>]{1,40}｜>"  # DeepSeek
    r"|</?s>|\[/?INST\]|<</?SYS>>|</?(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>"
    r"|\[/?(?:TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS|SYSTEM_PROMPT)\]"
)
"""A token that ends or begins a turn in the template of some model."""


def has_control_tokens(text: str) -> bool:
    """Whether a text has a control token."""
    return CONTROL_TOKENS.search(text) is not None


def split_control_tokens(text: str) -> str:
    """Put a space after the first character of each control token, so that it is none."""
    while (
        split := CONTROL_TOKENS.sub(lambda token: f"{token[0][0]} {token[0][1:]}", text)
    ) != text:
        text = split
    return text


def split_all(value: Any) -> Any:
    """Split the control tokens of every text in a JSON value."""
    if isinstance(value, str):
        return split_control_tokens(value)
    if isinstance(value, list):
        return [split_all(item) for item in value]
    if isinstance(value, dict):
        return {key: split_all(item) for key, item in value.items()}
    return value
