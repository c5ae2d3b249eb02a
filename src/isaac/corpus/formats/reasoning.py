"""Reasoning that a model wrote before its answer, as text in front of it or as fields beside it."""

from __future__ import annotations

import re

REASONING_KEYS = frozenset(
    {
        "reasoning",
        "reasoning_content",
        "reasoning_details",
        "thinking",
        "thought",
        "thoughts",
        "chain_of_thought",
        "cot",
        "rationale",
    }
)
"""Fields with the reasoning that led to a response."""

REASONING_PARTS = frozenset({"thinking", "redacted_thinking", "reasoning"})
"""Types of the parts of a message that hold reasoning."""

BLOCK = re.compile(
    r"\s*(?:<(think|thinking|thought|thoughts|reasoning)>.*?</\1>"
    r"|<\|begin_of_thought\|>.*?<\|end_of_thought\|>"
    r"|(?:(?!<think>).)*?</think>)\s*",  # the prompt may have opened the block
    re.DOTALL | re.IGNORECASE,
)


def without_reasoning(text: str) -> str:
    """Cut off a block of reasoning at the beginning of a text, such as ``<think>...</think>``."""
    if ">" not in text:
        return text
    block = BLOCK.match(text)
    return text if block is None else text[block.end() :]
