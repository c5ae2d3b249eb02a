"""Files with a turn on each row: rows of one conversation become one record with messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .formats.contents import ROLE_KEYS, TEXT_KEYS
from .formats.roles import ROLES, fold_name
from .records import ParsedRecord

CONVERSATION_KEYS = (
    "conversation_id",
    "dialogue_id",
    "dialog_id",
    "conv_id",
    "session_id",
    "thread_id",
    "chat_id",
)
ORDER_KEYS = ("turn_id", "turn", "turn_index", "order", "position", "index", "timestamp")
ID_KEYS = ("message_id", "id")
PARENT_KEYS = ("parent_id", "parent")


def has_turn_rows(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether each record is a turn of a conversation, which it or its parent names."""
    return bool(records) and all(map(_is_turn, records))


def _is_turn(record: Mapping[str, Any]) -> bool:
    role, text = _find(record, ROLE_KEYS), _find(record, TEXT_KEYS)
    if role is None or text is None or not isinstance(record[role], str):
        return False
    has_parent = _find(record, PARENT_KEYS) is not None and _find(record, ID_KEYS) is not None
    is_placed = _find(record, CONVERSATION_KEYS) is not None or has_parent
    return is_placed and fold_name(record[role]) in ROLES and isinstance(record[text], str | None)


def join_turn_rows(records: Iterable[ParsedRecord]) -> Iterator[ParsedRecord]:
    """Join the rows of each conversation to a record with ``messages``, in order of first rows.

    Rows with a parent form trees: the path of the best replies becomes the conversation, by rank
    and then by order. Other rows are in the order of their number, if they have one. A message has
    all columns of its row. Unusable rows are passed on.
    """
    conversations: dict[str, list[ParsedRecord]] = {}
    replies: dict[str, list[ParsedRecord]] = {}
    for record in records:
        row = record.value
        if row is None or not _is_turn(row):
            yield record if row is None else record._replace(value=None, problem="no turn")
            continue
        conversation, parent = _find(row, CONVERSATION_KEYS), _find(row, PARENT_KEYS)
        if parent is not None and row[parent] is not None:
            replies.setdefault(str(row[parent]), []).append(record)
        elif conversation is not None and parent is None:
            conversations.setdefault(str(row[conversation]), []).append(record)
        else:
            conversations[str(row[str(_find(row, ID_KEYS))])] = [record]
    for name, rows in conversations.items():
        path = _sort(rows) if len(rows) > 1 else _follow(rows[0], replies)
        messages = [_make_message(record.value or {}) for record in path]
        value = {"conversation_id": name, "messages": messages}
        yield ParsedRecord(rows[0].file, rows[0].line, b"", value)


def _follow(root: ParsedRecord, replies: Mapping[str, list[ParsedRecord]]) -> list[ParsedRecord]:
    """The path of the best replies from a message on."""
    path, seen = [root], set[str]()
    while True:
        row = path[-1].value or {}
        key = _find(row, ID_KEYS)
        name = str(row[key]) if key else ""
        if name in seen or name not in replies:
            return path
        seen.add(name)
        path.append(min(replies[name], key=_rank))


def _rank(record: ParsedRecord) -> float:
    rank = (record.value or {}).get("rank")
    return float(rank) if isinstance(rank, int | float) else 0.0


def _sort(rows: list[ParsedRecord]) -> list[ParsedRecord]:
    key = _find(rows[0].value or {}, ORDER_KEYS)
    numbers = [(record.value or {}).get(key) if key else None for record in rows]
    if not all(isinstance(number, int | float) for number in numbers):
        return rows
    return [rows[i] for i in sorted(range(len(rows)), key=lambda i: float(numbers[i] or 0))]


def _make_message(row: Mapping[str, Any]) -> dict[str, Any]:
    role, text = str(_find(row, ROLE_KEYS)), str(_find(row, TEXT_KEYS))
    rest = {name: value for name, value in row.items() if name not in (role, text)}
    return {"role": row[role], "content": row[text], **rest}


def _find(row: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    return next((key for key in keys if key in row), None)
