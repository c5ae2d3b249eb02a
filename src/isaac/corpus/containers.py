"""Records inside one JSON object: under a key, by id, or column by column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

WRAPPER_KEYS = ("data", "rows", "records", "items", "examples", "samples", "train", "instances")
"""Keys under which a wrapper has its list of records."""

ID_COLUMN = "id"
"""The column that gets the key of a record, if it has no such column."""


def unpack_container(value: Mapping[str, Any]) -> Iterable[Any] | None:
    """Unpack an object that contains records; None if it is a record itself.

    An object contains records if all of its values are objects that share a key (records by id), or
    columns: lists of one length, or objects with the same keys, as pandas writes them by
    default; or if a list of objects, or of rows beside ``columns``, is under a usual key.
    """
    if isinstance(value.get("columns"), list) and _is_list_of(value.get("data"), list):
        columns = [str(name) for name in value["columns"]]
        return (dict(zip(columns, row, strict=False)) for row in value["data"])
    for key in WRAPPER_KEYS:
        if _is_list_of(value.get(key), Mapping):
            found: list[Any] = value[key]
            return found
    values = list(value.values())
    if len(values) < 2:
        return None
    if all(isinstance(column, Mapping) for column in values):
        return _unpack_objects(value)
    if all(_is_column(column) for column in values) and len({*map(len, values)}) == 1:
        return (dict(zip(value, row, strict=True)) for row in zip(*values, strict=True))
    return None


def _unpack_objects(value: Mapping[str, Mapping[str, Any]]) -> Iterator[Any] | None:
    """Unpack columns that are objects with the same keys, or else records by id."""
    columns = list(value.values())
    keys = list(columns[0])
    if keys and all(key.isdigit() for key in keys) and all(list(c) == keys for c in columns):
        return ({name: column[key] for name, column in value.items()} for key in keys)
    if not set(keys).intersection(*columns):
        return None
    return (row if ID_COLUMN in row else {ID_COLUMN: key, **row} for key, row in value.items())


def _is_list_of(value: Any, kind: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, kind) for item in value)


def _is_column(value: Any) -> bool:
    """Whether a value is a list of texts or other scalars, or of conversations."""
    return isinstance(value, list) and bool(value) and not _is_list_of(value, Mapping)
