"""Conversations as a list of turns: ``{"role", "content"}``, ShareGPT's ``{"from", "value"}``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .base import (
    CorpusTurn,
    Message,
    RowError,
    find_assistant_turns,
    is_blank,
    is_turn_list,
    require_turn_list,
)
from .contents import ROLE_KEYS, TEXT_KEYS, has_result, read_text, replace_text
from .context_response import RESPONSE_COLUMNS
from .prompt_columns import find_columns, read_history, read_system
from .reasoning import without_reasoning
from .roles import ROLES, find_role, fold_name
from .tool_texts import is_tool_result
from .training_marks import find_untrained
from .turn_lists import load_turns, store_turns

SPEAKERS = {"system": "assistant", "0": "user", "1": "assistant"}
"""What speakers are called in task-oriented dialogues; the hub's MultiWOZ numbers them."""

CALL_KEYS = ("tool_calls", "function_call")
CALL_PARTS = ("functionCall", "function_call", "toolUse")
"""Keys of a part that is a call, in Gemini's and Bedrock's formats."""

NO_CALLS = ("", "[]", "{}", "null", "none")
"""What stands in those, as text, if there is no call."""


RoleNames = tuple[tuple[str, str], ...]
"""Further names of roles, folded as `fold_name` does, each with its role."""


@dataclass(frozen=True)
class TurnKeys:
    """The keys of a turn, and further names of roles."""

    role: str = "role"
    text: str = "content"
    roles: RoleNames = ()

    @classmethod
    def of(cls, turn: Any, roles: RoleNames = ()) -> TurnKeys:
        """Choose the usual keys that a turn has."""
        keys = turn if isinstance(turn, Mapping) else {}
        role = next((key for key in ROLE_KEYS if key in keys), "role")
        text = next((key for key in TEXT_KEYS if key in keys), "content")
        return cls(role, text, roles)


def has_calls(turn: Mapping[str, Any]) -> bool:
    """Whether a turn calls a tool, in a field of its own or as a part of its content."""
    for key in CALL_KEYS:
        value = turn.get(key)
        if isinstance(value, str) and "".join(value.split()).lower() in NO_CALLS:
            continue
        if value:
            return True
    contents = [turn.get(key) for key in TEXT_KEYS]
    return any(
        part.get("type") == "tool_use" or any(part.get(key) for key in CALL_PARTS)
        for content in contents
        if isinstance(content, list)
        for part in content
        if isinstance(part, Mapping)
    )


def read_turns(
    turns: Iterable[Any], column: str, keys: TurnKeys | None = None, *, roles: RoleNames = ()
) -> tuple[list[tuple[int, Message]], set[int]]:
    """Read the (index, message) pairs in order, and the indices of those with editable text.

    ``keys`` are by default those that each turn has, with further names of ``roles``. Raises
    `RowError` for a turn that cannot be used; the error names the ``column``.
    """
    messages, editable = [], set()
    for index, turn in enumerate(turns):
        place = f"'{column}' turn {index}"
        message, is_editable = _read_turn(turn, keys or TurnKeys.of(turn, roles), place)
        messages.append((index, message))
        if is_editable:
            editable.add(index)
    return messages, editable


def _read_turn(turn: Any, keys: TurnKeys, place: str) -> tuple[Message, bool]:
    """Read a turn and whether its text may be replaced.

    A new text could contradict the calls of its turn, so a turn with calls serves only as context
    for later turns. So does a turn without text, of whatever role.
    """
    if not isinstance(turn, Mapping):
        raise RowError(f"{place} is not an object with a role and a text")
    name = turn.get(keys.role)
    if isinstance(name, Mapping):  # an author: {"role": ..., "name": ...}
        name = name.get("role")
    if keys.role == "speaker":  # task-oriented dialogues call the assistant the system
        name = SPEAKERS.get(str(name).casefold(), name)
    role = find_role(name, place, dict(keys.roles))
    text = read_text(turn.get(keys.text), place)
    if role == "user" and (is_tool_result(text) or has_result(turn.get(keys.text))):
        return Message("tool", text), False
    if role not in ("assistant", "call"):
        return Message(role, text), False
    answer = without_reasoning(text)
    is_editable = role == "assistant" and not has_calls(turn) and bool(answer.strip())
    return Message("assistant", answer), is_editable


def load_message_list(value: Any) -> Any:
    """A message, or messages in any of their shapes, as a list; another value as it is."""
    turns = load_turns(value)
    if isinstance(turns, Mapping) and any(key in turns for key in ROLE_KEYS):
        return [turns]
    if not isinstance(value, list) and not any(is_turn_list(turns, key) for key in ROLE_KEYS):
        return value  # a text in brackets
    return turns


def replace_answer(answer: Any, response: str) -> Any:
    """Write a new response in the shape of an answer: text, a message, or messages."""
    turns = load_message_list(answer)
    if not isinstance(turns, list):
        return response
    *before, last = turns
    new = replace_text(last, TurnKeys.of(last).text, response)
    return new if last is answer else store_turns(answer, [*before, new])


def find_answer_column(record: Mapping[str, Any], column: str) -> str | None:
    """Find the column that answers the turns of another one, which end with a user's turn."""
    turns = load_turns(record.get(column))
    last = turns[-1] if isinstance(turns, list) and turns else turns
    keys = TurnKeys.of(last)
    name = last.get(keys.role) if isinstance(last, Mapping) else None
    if not isinstance(name, str) or ROLES.get(fold_name(name)) not in ("user", "tool"):
        return None
    answers = find_columns(tuple(record), RESPONSE_COLUMNS)
    return next((key for key in answers if key != column and not is_blank(record[key])), None)


@dataclass(frozen=True)
class MessagesFormat:
    """A conversation in one column: a list of turns, each with a role and a text.

    ``role`` and ``text`` are the keys of a turn, ``roles`` further names of roles.
    """

    column: str = "messages"
    name: str = "messages"
    role: str = "role"
    text: str = "content"
    roles: RoleNames = ()

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the column is a list of turns with roles, the answers among them."""
        turns = load_turns(record.get(self.column))
        return is_turn_list(turns, self.role) and find_answer_column(record, self.column) is None

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Find every assistant turn without calls after a user or tool turn."""
        turns = require_turn_list(load_turns(record.get(self.column)), self.column, "turns")
        keys = TurnKeys(self.role, self.text, self.roles)
        messages, editable = read_turns(turns, self.column, keys)
        before = [(-1, message) for message in read_history(record, dict(self.roles))]
        if not any(message.role == "system" for _, message in messages[:1]):
            before = [*((-1, message) for message in read_system(record)), *before]
        return find_assistant_turns([*before, *messages], editable, find_untrained(turns))

    def replace(self, record: Mapping[str, Any], index: int, response: str) -> dict[str, Any]:
        """Copy the record with the text of one assistant turn replaced."""
        turns = list(load_turns(record[self.column]))
        turns[index] = replace_text(turns[index], self.text, response)
        return {**record, self.column: store_turns(record[self.column], turns)}

    def cut(self, record: Mapping[str, Any], index: int) -> dict[str, Any]:
        """Copy the record with its list of turns ending at ``index``."""
        turns = list(load_turns(record[self.column]))[: index + 1]
        return {**record, self.column: store_turns(record[self.column], turns)}


def sharegpt_format(column: str = "conversations") -> MessagesFormat:
    """ShareGPT's turns: ``from`` is mostly ``human`` or ``gpt``, and ``value`` the text."""
    return MessagesFormat(column, "sharegpt", "from", "value")
