"""Lists of turns as corpora store them: as lists, as JSON in a text, or column by column."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def load_turns(value: Any) -> Any:
    """A list of turns, from JSON in a text or from an object of lists; another value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return parsed if isinstance(parsed, list) else value
    if isinstance(value, Mapping) and value and all(isinstance(v, list) for v in value.values()):
        columns = list(value.values())
        if len({*map(len, columns)}) == 1:
            return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    return value


def store_turns(original: Any, turns: list[Any]) -> Any:
    """Write a list of turns in the shape that the original value has."""
    if isinstance(original, str):
        return json.dumps(turns, ensure_ascii=False)
    if isinstance(original, Mapping):
        return {key: [turn.get(key) for turn in turns] for key in original}
    return turns
