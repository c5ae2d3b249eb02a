"""Propose how to read records that no format fits: the columns that look like what is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...text import shorten
from .prompt_columns import is_dialogue
from .roles import ROLES, fold_name
from .turn_lists import load_turns

MIN_WORDS = 2
"""Words that the longest value of a column must have to look like text."""

MAX_ROLES = 8
"""Number of different values up to which a key of turns looks like that of their speakers."""

HEADER_WORDS = 4
"""Words of a column's name from which it looks like a row of data."""


def propose_columns(records: Sequence[Mapping[str, Any]]) -> str:
    """Say which columns look like texts or turns, and which flags or map would read them."""
    names = list(dict.fromkeys(str(name) for record in records for name in record))
    if any(len(name.split()) >= HEADER_WORDS for name in names):
        return "The first row looks like data, not like names of columns: add --no-header"
    if (turns := next(_find_turns(records), None)) is not None:
        place, role, text = turns
        what = f"'{place}' has the turns of a conversation"
        return _propose_map(what, {"turns": place, "role": role, "text": text})
    for name in names:
        if _are_plain_turns(records, name):
            what = f"'{name}' has what a user and an assistant say in turn"
            return _propose_map(what, {"turns": name})
    if (rows := _find_turn_rows(records, names)) is not None:
        return rows
    texts = [name for name in names if _looks_like_text(records, name)]
    if len(texts) > 1:
        first, second = (shorten(name, 40) for name in texts[:2])
        others = f" (texts are also in: {', '.join(texts[2:6])})" if len(texts) > 2 else ""
        return (
            f"If '{first}' has the messages and '{second}' the responses{others}, add: "
            f"--context {_quote(first)} --response {_quote(second)}"
        )
    return (
        "Name two columns with --context and --response, choose a format with --format, or say "
        "where the texts are with --map"
    )


def _propose_map(what: str, places: Mapping[str, str]) -> str:
    lines = "".join(f"\n  {name}: {_quote(place)}" for name, place in places.items())
    return f"If {what}, write a file map.yaml with these lines and add --map map.yaml:{lines}"


def _find_turn_rows(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str | None:
    """A map for rows that are turns: a text, a speaker, and what several rows share."""
    texts = [name for name in names if _looks_like_text(records, name)]
    role = max(names, key=lambda name: _count_roles(records, name), default=None)
    if role is None or not _count_roles(records, role) or len(texts) != 1:
        return None
    shared = [name for name in names if name not in (role, *texts) and _repeats(records, name)]
    if not shared:
        return None
    places = {"conversation": shared[0], "role": role, "text": texts[0]}
    return _propose_map("each row is a turn", places)


def _are_plain_turns(records: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether a column has lists of texts, as many as a conversation needs."""
    values = [load_turns(record.get(name)) for record in records]
    texts = [{name: text} for value in values if is_dialogue(value) for text in value]
    return all(map(is_dialogue, values)) and _looks_like_text(texts, name)


def _repeats(records: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether several rows, but not all, have the same value."""
    values = [str(record.get(name)) for record in records]
    return 1 < len(set(values)) <= 0.6 * len(values)


def _quote(name: str) -> str:
    return name if name.isidentifier() else f"'{name}'"


def _looks_like_text(records: Sequence[Mapping[str, Any]], name: str) -> bool:
    values = [record[name] for record in records if isinstance(record.get(name), str)]
    return any(len(value.split()) >= MIN_WORDS or len(value) > 20 for value in values)


def _find_turns(records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Yield the place of each list of turns, and the keys of their speakers and their texts."""
    for place, lists in _find_lists(records).items():
        turns = [_flatten(turn) for turns in lists for turn in turns if isinstance(turn, Mapping)]
        keys = list(dict.fromkeys(str(key) for turn in turns for key in turn))
        role = max(keys, key=lambda key: _count_roles(turns, key), default=None)
        texts = [key for key in keys if key != role and _looks_like_text(turns, key)]
        if role is not None and _count_roles(turns, role) and texts:
            longest = max(texts, key=lambda key: sum(len(str(turn.get(key))) for turn in turns))
            yield place, role, longest


def _find_lists(records: Sequence[Mapping[str, Any]]) -> dict[str, list[list[Any]]]:
    """The lists of objects in records, at the top or one level below, by their places."""
    found: dict[str, list[list[Any]]] = {}
    for record in records:
        nested = {
            f"{name}.{key}": inner
            for name, value in record.items()
            if isinstance(value, Mapping)
            for key, inner in value.items()
        }
        for place, value in {**record, **nested}.items():
            turns = load_turns(value)
            if isinstance(turns, list) and turns and isinstance(turns[0], Mapping):
                found.setdefault(place, []).append(turns)
    return found


def _flatten(turn: Mapping[str, Any]) -> dict[str, Any]:
    """A turn with what is in its objects, by place."""
    flat = {str(key): value for key, value in turn.items() if not isinstance(value, Mapping)}
    for key, value in turn.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": found for inner, found in value.items()}
    return flat


def _count_roles(turns: Sequence[Mapping[str, Any]], key: str) -> float:
    """How much a key of turns looks like that of their speakers, 0 for not at all."""
    values = [turn.get(key) for turn in turns]
    if not all(isinstance(value, str) and any(map(str.isalpha, value)) for value in values):
        return 0.0
    different = {str(value) for value in values}
    if not 1 < len(different) <= MAX_ROLES or any(len(value.split()) > 3 for value in different):
        return 0.0
    return 1 + sum(fold_name(value) in ROLES for value in different)
