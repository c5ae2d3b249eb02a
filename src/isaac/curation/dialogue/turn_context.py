"""What is said around each response of a corpus, and the group that it is in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ...corpus.corpus import Corpus

ANSWERED_ROLES = ("user", "tool")
"""Roles of what a response answers."""


class TurnContext(NamedTuple):
    """Of each exchange (n,): what was said last before the response, and what next, by users.

    ``replies`` are empty where nothing was said next, or nothing is known of it.
    """

    said: list[str]
    replies: list[str]


def turn_context(corpus: Corpus) -> TurnContext:
    """Return what is said around each response of a corpus.

    What was said next stands in what is before the next response of the same record.
    """
    said: list[str] = []
    replies: list[str] = []
    for more, first in _iter_added_messages(corpus):
        if said:
            replies.append("" if first else next(_iter_user_texts(more[1:]), ""))
        last = "" if first or not said else said[-1]
        said.append(last_user_message(more) or last)
    return TurnContext(said, [*replies, ""] if said else [])


def _iter_added_messages(corpus: Corpus) -> Iterator[tuple[list[Any], bool]]:
    """Yield what is before each response, and whether it is the first of its record.

    Of one that is not, only what was added to what is before the response before: that response
    and what follows it. One that does not go on from there counts as the first of a record.
    """
    before = "[]"
    for part in corpus.parts(["prompt", "record"]):
        firsts = part.column("record").is_valid().to_pylist()
        for prompt, first in zip(part.column("prompt").to_pylist(), firsts, strict=True):
            alone = first or not prompt.startswith(before[:-1])
            start = 1 if alone else len(before) - 1
            yield json.loads(f"[{prompt[start:].removeprefix(', ')}"), alone
            before = prompt


def last_user_message(prompt: Sequence[Mapping[str, Any]]) -> str:
    """Return what a user said last before a response, empty if none did."""
    return next(_iter_user_texts(reversed(prompt)), "")


def _iter_user_texts(
    messages: Sequence[Mapping[str, Any]] | Iterator[Mapping[str, Any]],
) -> Iterator[str]:
    for message in messages:
        if message["role"] in ANSWERED_ROLES and (text := (message["content"] or "").strip()):
            yield text


def group_column(corpus: Corpus) -> list[str]:
    """Return the group of each exchange of a corpus, empty where it has none."""
    groups: list[str] = []
    for part in corpus.parts(["group"]):
        groups += [group or "" for group in part.column("group").to_pylist()]
    return groups
