"""Conversations as pairs, as a tree of replies, or as the nodes of an exported chat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .base import CorpusTurn, Message, RowError, find_assistant_turns
from .contents import read_text, replace_text
from .messages import RoleNames, TurnKeys, read_turns
from .prompt_columns import read_system
from .reasoning import without_reasoning

PAIR_COLUMNS = ("conversation", "conversations", "dialogue", "dialog", "turns", "history")


@dataclass(frozen=True)
class PairsFormat:
    """A conversation as a list of pairs: a message and its answer."""

    column: str = "conversation"
    message: str = "input"
    answer: str = "output"
    name: str = "pairs"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the column is a list of such pairs."""
        pairs = record.get(self.column)
        return (
            isinstance(pairs, list)
            and bool(pairs)
            and all(isinstance(p, Mapping) and {self.message, self.answer} <= set(p) for p in pairs)
        )

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Find every answer with text."""
        messages = [(-1, message) for message in read_system(record)]
        editable = set()
        if not self.fits(record):
            raise RowError(f"'{self.column}' is not a list of '{self.message}' and '{self.answer}'")
        for index, pair in enumerate(record[self.column]):
            place = f"'{self.column}' pair {index}"
            messages.append((-1, Message("user", read_text(pair[self.message], place))))
            answer = without_reasoning(read_text(pair[self.answer], place))
            messages.append((index, Message("assistant", answer)))
            if answer.strip():
                editable.add(index)
        return find_assistant_turns(messages, editable)

    def replace(self, record: Mapping[str, Any], index: int, response: str, /) -> dict[str, Any]:
        """Copy the record with one answer replaced."""
        pairs = list(record[self.column])
        pairs[index] = replace_text(pairs[index], self.answer, response)
        return {**record, self.column: pairs}

    def cut(self, record: Mapping[str, Any], index: int, /) -> dict[str, Any]:
        """Copy the record with its list of pairs ending at ``index``."""
        return {**record, self.column: list(record[self.column])[: index + 1]}


@dataclass(frozen=True)
class TreeFormat:
    """A tree of replies, as OpenAssistant's: the best one to each message is curated.

    That is the reply of the lowest rank, else the first. Other replies stay as they are. ``roles``
    are further names of roles.
    """

    column: str = "prompt"
    name: str = "tree"
    roles: RoleNames = ()

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the column is a message with replies."""
        root = record.get(self.column)
        return (
            isinstance(root, Mapping) and isinstance(root.get("replies"), list) and "role" in root
        )

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Find the assistant's turns on the path of the best replies."""
        messages, editable = read_turns(self._find_path(record), self.column, roles=self.roles)
        return find_assistant_turns(messages, editable)

    def replace(self, record: Mapping[str, Any], index: int, response: str, /) -> dict[str, Any]:
        """Copy the record with the text of one node of that path replaced."""
        path = self._find_path(record)
        node = replace_text(path[index], TurnKeys.of(path[index]).text, response)
        return self._with_node(record, path, index, node)

    def cut(self, record: Mapping[str, Any], index: int, /) -> dict[str, Any]:
        """Copy the record without the best replies below one node of that path."""
        path = self._find_path(record)
        below = path[index + 1 : index + 2]
        replies = [reply for reply in path[index]["replies"] if reply not in below]
        return self._with_node(record, path, index, {**path[index], "replies": replies})

    def _find_path(self, record: Mapping[str, Any]) -> list[Any]:
        path = [record[self.column]]
        while isinstance(replies := path[-1].get("replies"), list) and replies:
            path.append(min(replies, key=_rank_reply))
            if not isinstance(path[-1], Mapping):
                raise RowError(f"'{self.column}' has a reply that is not an object")
        return path

    def _with_node(
        self, record: Mapping[str, Any], path: list[Any], index: int, node: dict[str, Any]
    ) -> dict[str, Any]:
        """Copy the record with one node of a path replaced."""
        for parent, child in zip(path[:index][::-1], path[1 : index + 1][::-1], strict=True):
            replies = [node if reply is child else reply for reply in parent["replies"]]
            node = {**parent, "replies": replies}
        return {**record, self.column: node}


def _rank_reply(reply: Any) -> float:
    rank = reply.get("rank") if isinstance(reply, Mapping) else None
    return float(rank) if isinstance(rank, int | float) else 0.0


@dataclass(frozen=True)
class ChatExportFormat:
    """An exported chat: nodes by id in ``mapping``, each with its parent, and the current one.

    ``roles`` are further names of roles.
    """

    name: str = "chat_export"
    roles: RoleNames = ()

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the record has nodes and names the current one."""
        mapping = record.get("mapping")
        return isinstance(mapping, Mapping) and record.get("current_node") in mapping

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Find the assistant's turns on the path to the current node."""
        keys = TurnKeys("author", "content", self.roles)
        nodes = [record["mapping"][name]["message"] for name in self._find_path(record)]
        messages, editable = read_turns(nodes, "mapping", keys)
        return find_assistant_turns(messages, editable)

    def replace(self, record: Mapping[str, Any], index: int, response: str, /) -> dict[str, Any]:
        """Copy the record with the text of one node of that path replaced."""
        name = self._find_path(record)[index]
        node = record["mapping"][name]
        new = {**node, "message": replace_text(node["message"], "content", response)}
        return {**record, "mapping": {**record["mapping"], name: new}}

    def cut(self, record: Mapping[str, Any], index: int, /) -> dict[str, Any]:
        """Copy the record with a current node of that path, and without the nodes after it."""
        path = self._find_path(record)
        gone = set(path[index + 1 :])
        nodes = {
            name: {**node, "children": [c for c in node.get("children") or [] if c not in gone]}
            for name, node in record["mapping"].items()
            if name not in gone
        }
        return {**record, "mapping": nodes, "current_node": path[index]}

    def _find_path(self, record: Mapping[str, Any]) -> list[str]:
        """The ids of the nodes with a message, from the root to the current one."""
        path: list[str] = []
        name = record.get("current_node")
        mapping = record["mapping"]
        for _ in range(len(mapping)):
            node = mapping.get(name)
            if not isinstance(node, Mapping):
                break
            if isinstance(node.get("message"), Mapping):
                path.append(str(name))
            name = node.get("parent")
        return path[::-1]
