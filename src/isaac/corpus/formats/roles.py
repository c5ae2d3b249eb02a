"""The names that corpora give to the speakers of a conversation."""

from __future__ import annotations

from collections.abc import Mapping

from ...text import shorten
from .base import RowError

ROLE_NAMES: dict[str, tuple[str, ...]] = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter", "customer", "client", "instruction", "question"),
    "assistant": (
        "assistant",
        "gpt",
        "bot",
        "chatbot",
        "ai",
        "model",
        "agent",
        "chatgpt",
        "bard",
        "bing",
        "answer",
    ),
    "tool": (
        "tool",
        "function",
        "observation",
        "ipython",
        "environment",
        "tool_response",
        "tool_result",
        "tool_output",
        "function_response",
        "function_result",
        "function_output",
    ),
    "call": ("tool_call", "function_call", "tool_use"),
}
"""What each role is called in corpora; a call is a turn of the assistant that calls a tool."""

ROLES = {name: role for role, names in ROLE_NAMES.items() for name in names}


def fold_name(name: str) -> str:
    """Fold the case of a name, and write its words with underscores."""
    return name.strip().casefold().replace("-", "_").replace(" ", "_")


def find_role(name: object, place: str, roles: Mapping[str, str]) -> str:
    """Find the role that a name in a corpus stands for: a key of `ROLE_NAMES`.

    ``roles`` are further names. Raises `RowError` for a name that is not known.
    """
    folded = fold_name(name) if isinstance(name, str) else ""
    role = roles.get(folded) or ROLES.get(folded)
    if role is None:
        if not isinstance(name, str) or not folded:
            raise RowError(f"{place} has no role; expected system, user, assistant or tool")
        raise RowError(
            f"{place} has the unknown role '{shorten(name, 40)}'; say whose it is: "
            f"--role {shorten(folded, 40)}=system, user, assistant or tool"
        )
    return role
