"""Records whose texts and speakers are where a map says, as ``--map`` gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .base import CorpusTurn, Message, RowError, find_assistant_turns, format_column_names
from .contents import read_text, replace_text
from .messages import RoleNames
from .prompt_columns import read_turns
from .reasoning import without_reasoning
from .roles import find_role
from .turn_lists import load_turns, store_turns


@dataclass(frozen=True)
class MappedFormat:
    """A conversation in the list ``turns``, or one exchange in ``context`` and ``response``.

    A place such as ``data.log`` is the value of ``log`` in that of ``data``; ``role`` and ``text``
    are places within a turn. Without them, the turns are texts of the user and the assistant, one
    after the other. ``history`` has turns before those of ``context``.
    """

    turns_at: str = ""
    role: str = ""
    text: str = ""
    context: str = ""
    response: str = ""
    system: str = ""
    history: str = ""
    roles: RoleNames = ()
    name: str = "mapped"

    @classmethod
    def of(cls, places: Mapping[str, str]) -> MappedFormat:
        """The format of a map."""
        return cls(
            places.get("turns", ""),
            places.get("role", ""),
            places.get("text", ""),
            places.get("context", ""),
            places.get("response", ""),
            places.get("system", ""),
            places.get("history", ""),
        )

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the record has the main place."""
        return _has(record, self.turns_at or self.response)

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Find the assistant's turns, or the response. Raises `RowError` if there is none."""
        messages: list[tuple[int, Message]] = []
        if self.system and _has(record, self.system):
            text = read_text(_require(record, self.system), f"'{self.system}'")
            messages.append((-1, Message("system", text)))
        if not self.turns_at:
            if self.history and _has(record, self.history):
                value, place = _get(record, self.history), f"'{self.history}'"
                messages += [(-1, turn) for turn in read_turns(value, place, dict(self.roles))]
            for index, role, place in ((-1, "user", self.context), (0, "assistant", self.response)):
                if not (text := read_text(_require(record, place), f"'{place}'")):
                    raise RowError(f"'{place}' is empty")
                messages.append((index, Message(role, without_reasoning(text))))
            return find_assistant_turns(messages, {0})
        turns = load_turns(_require(record, self.turns_at))
        if not isinstance(turns, list) or not turns:
            raise RowError(f"'{self.turns_at}' is not a list of turns, or is empty")
        editable = set()
        for index, turn in enumerate(turns):
            place = f"'{self.turns_at}' turn {index}"
            if not self.role:
                role, value = ("user", "assistant")[index % 2], turn
                if not isinstance(turn, str):
                    raise RowError(f"{place} is not a text; name its role and text in the map")
            elif not isinstance(turn, Mapping):
                raise RowError(f"{place} is not an object")
            else:
                role = find_role(_require(turn, self.role), place, dict(self.roles))
                value = _get(turn, self.text)
            if role == "call" or not (content := read_text(value, place)):
                continue
            messages.append((index, Message(role, without_reasoning(content))))
            editable.add(index)
        return find_assistant_turns(messages, editable)

    def replace(self, record: Mapping[str, Any], index: int, response: str, /) -> dict[str, Any]:
        """Copy the record with one response replaced."""
        if not self.turns_at:
            return _put(record, self.response, response)
        original = _require(record, self.turns_at)
        turns = list(load_turns(original))
        is_plain = not self.role
        turns[index] = response if is_plain else _replace_text_at(turns[index], self.text, response)
        return _put(record, self.turns_at, store_turns(original, turns))

    def cut(self, record: Mapping[str, Any], index: int, /) -> dict[str, Any]:
        """Copy the record with its list of turns ending at ``index``."""
        if not self.turns_at:
            return dict(record)
        original = _require(record, self.turns_at)
        return _put(record, self.turns_at, store_turns(original, load_turns(original)[: index + 1]))


def _split(record: Any, place: str) -> list[str]:
    """The names that lead to a place; a column's own name may have dots."""
    if isinstance(record, Mapping) and place in record:
        return [place]
    return place.split(".")


def _get(record: Any, place: str) -> Any:
    """The value at a place; None if there is none."""
    value = record
    for name in _split(record, place):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _has(record: Any, place: str) -> bool:
    return _get(record, place) is not None


def _require(record: Mapping[str, Any], place: str) -> Any:
    if not _has(record, place):
        raise RowError(f"no '{place}'; there: {format_column_names(record)}")
    return _get(record, place)


def _put(record: Mapping[str, Any], place: str, value: Any) -> dict[str, Any]:
    """Copy a record with another value at a place."""
    return _put_at(record, _split(record, place), value)


def _put_at(record: Mapping[str, Any], names: list[str], value: Any) -> dict[str, Any]:
    first, *rest = names
    return {**record, first: _put_at(record[first], rest, value) if rest else value}


def _replace_text_at(turn: Mapping[str, Any], place: str, text: str) -> dict[str, Any]:
    """Copy a turn with another text, in one part like the original."""
    *parents, key = _split(turn, place)
    if not parents:
        return replace_text(turn, key, text)
    return _put_at(turn, parents, replace_text(_get(turn, ".".join(parents)), key, text))
