"""The columns that healing adds to the records that it returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..corpus.rejected import encode_raw_bytes
from ..text import free_name
from .sampler import Healed

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def action_columns(healed: Healed) -> dict[str, Any]:
    """The columns that say what was done, and why."""
    return {
        "isaac_action": healed.action,
        "isaac_reason": healed.reason,
        "isaac_source_id": healed.source_id,
    }


def rejected_columns(error: Exception) -> dict[str, Any]:
    """The columns that mark input as unusable, with the reason."""
    return {"isaac_action": "rejected", "isaac_reason": str(error)}


def reject_bytes(raw: bytes, error: Exception) -> dict[str, Any]:
    """A record that returns unusable input unchanged, in ``raw``, with the reason."""
    return {**rejected_columns(error), **encode_raw_bytes(raw)}


def with_free_names(columns: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """Rename new columns whose names the record already has, such as to ``isaac_action_2``."""
    return {free_name(name, record): value for name, value in columns.items()}
