"""The user messages before and after each response of a corpus, and the response's group."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ...corpus.corpus import Corpus

ANSWERED_ROLES = ("user", "tool")
"""The roles whose messages a response answers."""


class TurnContext(NamedTuple):
    """The last user message before each response (n,), and the next one after it.

    ``replies`` are empty if there was no next message, or none is known.
    """

    user_messages: list[str]
    replies: list[str]


def turn_context(corpus: Corpus) -> TurnContext:
    """Find the user messages before and after each response of a corpus.

    The message after a response is in the prompt of the next response of the same record.
    """
    user_messages: list[str] = []
    replies: list[str] = []
    for added, first in _iter_added_messages(corpus):
        if user_messages:
            replies.append("" if first else next(_iter_user_texts(added[1:]), ""))
        previous = "" if first or not user_messages else user_messages[-1]
        user_messages.append(last_user_message(added) or previous)
    return TurnContext(user_messages, [*replies, ""] if user_messages else [])


def _iter_added_messages(corpus: Corpus) -> Iterator[tuple[list[Any], bool]]:
    """Yield the messages before each response, and whether it is the first of its record.

    For a later response, only the messages that its prompt adds to the previous one: the previous
    response and what follows it. A response whose prompt does not continue the previous one counts
    as the first of a record.
    """
    previous = "[]"
    for part in corpus.parts(["prompt", "record"]):
        firsts = part.column("record").is_valid().to_pylist()
        for prompt, first in zip(part.column("prompt").to_pylist(), firsts, strict=True):
            # Prompts are JSON lists, so a continued one begins with the previous without its "]".
            is_new_dialogue = first or not prompt.startswith(previous[:-1])
            start = 1 if is_new_dialogue else len(previous) - 1
            yield json.loads(f"[{prompt[start:].removeprefix(', ')}"), is_new_dialogue
            previous = prompt


def last_user_message(prompt: Sequence[Mapping[str, Any]]) -> str:
    """The last message of a user or tool before a response, empty if there is none."""
    return next(_iter_user_texts(reversed(prompt)), "")


def _iter_user_texts(
    messages: Sequence[Mapping[str, Any]] | Iterator[Mapping[str, Any]],
) -> Iterator[str]:
    for message in messages:
        if message["role"] in ANSWERED_ROLES and (text := (message["content"] or "").strip()):
            yield text


def group_column(corpus: Corpus) -> list[str]:
    """The group of each exchange of a corpus, empty if it has none."""
    groups: list[str] = []
    for part in corpus.parts(["group"]):
        groups += [group or "" for group in part.column("group").to_pylist()]
    return groups
