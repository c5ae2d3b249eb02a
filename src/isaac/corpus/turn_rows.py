"""Files with a turn on each row: rows of one conversation become one record with messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .formats.base import is_blank
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


class TurnColumns(NamedTuple):
    """The possible names of each column of a row that is a turn, the first that a row has counts.

    ``any_role`` takes the values of ``role`` as they are, known or not.
    """

    role: tuple[str, ...] = ROLE_KEYS
    text: tuple[str, ...] = TEXT_KEYS
    conversation: tuple[str, ...] = CONVERSATION_KEYS
    order: tuple[str, ...] = ORDER_KEYS
    id: tuple[str, ...] = ID_KEYS
    parent: tuple[str, ...] = PARENT_KEYS
    any_role: bool = False

    @classmethod
    def of(cls, places: Mapping[str, str]) -> TurnColumns:
        """The columns that a map names."""

        def name(place: str) -> tuple[str, ...]:
            return (places[place],) if place in places else ()

        return cls(
            name("role"),
            name("text"),
            name("conversation"),
            name("order"),
            name("id"),
            name("parent"),
            any_role=True,
        )

    def is_turn(self, record: Mapping[str, Any]) -> bool:
        """Whether a row is a turn of a conversation, which it or its parent names."""
        role, text = _find(record, self.role), _find(record, self.text)
        if role is None or text is None or not isinstance(record[role], str):
            return False
        has_parent = _find(record, self.parent) is not None and _find(record, self.id) is not None
        is_placed = _find(record, self.conversation) is not None or has_parent
        is_known = self.any_role or fold_name(record[role]) in ROLES
        return is_placed and is_known and isinstance(record[text], str | None)


USUAL_COLUMNS = TurnColumns()


def has_turn_rows(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether each record is a turn of a conversation, which it or its parent names."""
    return bool(records) and all(map(USUAL_COLUMNS.is_turn, records))


def join_turn_rows(
    records: Iterable[ParsedRecord], columns: TurnColumns = USUAL_COLUMNS
) -> Iterator[ParsedRecord]:
    """Join the rows of each conversation to a record with ``messages``, in order of first rows.

    Rows with a parent form trees: the path of the best replies becomes the conversation, by rank
    and then by order. Other rows are in the order of their number, if they have one. A message has
    all columns of its row. Unusable rows are passed on.
    """
    conversations: dict[str, list[ParsedRecord]] = {}
    replies: dict[str, list[ParsedRecord]] = {}
    for record in records:
        row = record.value
        if row is None or not columns.is_turn(row):
            yield record if row is None else record._replace(value=None, problem="no turn")
            continue
        conversation, parent = _find(row, columns.conversation), _find(row, columns.parent)
        if parent is not None and not is_blank(row[parent]):
            replies.setdefault(str(row[parent]), []).append(record)
        elif conversation is not None and parent is None:
            conversations.setdefault(str(row[conversation]), []).append(record)
        else:
            conversations[str(row[str(_find(row, columns.id))])] = [record]
    for name, rows in conversations.items():
        path = _sort(rows, columns) if len(rows) > 1 else _follow(rows[0], replies, columns)
        messages = [_make_message(record.value or {}, columns) for record in path]
        value = {"conversation_id": name, "messages": messages}
        yield ParsedRecord(rows[0].file, rows[0].line, b"", value)


def _follow(
    root: ParsedRecord, replies: Mapping[str, list[ParsedRecord]], columns: TurnColumns
) -> list[ParsedRecord]:
    """The path of the best replies from a message on."""
    path, seen = [root], set[str]()
    while True:
        row = path[-1].value or {}
        key = _find(row, columns.id)
        name = str(row[key]) if key else ""
        if name in seen or name not in replies:
            return path
        seen.add(name)
        path.append(min(replies[name], key=_rank))


def _rank(record: ParsedRecord) -> float:
    rank = _number((record.value or {}).get("rank"))
    return 0.0 if rank is None else rank


def _sort(rows: list[ParsedRecord], columns: TurnColumns) -> list[ParsedRecord]:
    """Sort rows by their order: numbers as such, other values, such as times, as texts."""
    key = _find(rows[0].value or {}, columns.order)
    if key is None:
        return rows
    values = [(record.value or {}).get(key) for record in rows]
    numbers = [_number(value) for value in values]
    if all(number is not None for number in numbers):
        return [rows[i] for i in sorted(range(len(rows)), key=lambda i: numbers[i] or 0.0)]
    if all(isinstance(value, str) for value in values):
        return [rows[i] for i in sorted(range(len(rows)), key=lambda i: str(values[i]))]
    return rows


def _number(value: Any) -> float | None:
    """A number, also one in a text, as in a CSV file."""
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except ValueError:
        return None


def _make_message(row: Mapping[str, Any], columns: TurnColumns) -> dict[str, Any]:
    role, text = str(_find(row, columns.role)), str(_find(row, columns.text))
    rest = {name: value for name, value in row.items() if name not in (role, text)}
    return {"role": row[role], "content": row[text], **rest}


def _find(row: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    return next((key for key in keys if key in row), None)
