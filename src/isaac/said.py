"""What is said around each response of a corpus, and the group that it is in."""

from __future__ import annotations

from typing import NamedTuple

from .corpus import Corpus


class Around(NamedTuple):
    """Of each exchange (n,): its group, what was said last before the response, and what next.

    ``replies`` are empty where nothing was said next, or nothing is known of it.
    """

    groups: list[str]
    said: list[str]
    replies: list[str]


def around(corpus: Corpus) -> Around:
    """Return what is said around each response of a corpus."""
    groups, said, replies = [], [], []
    for part in corpus.parts(["group", "context", "record"]):
        for group, context, record in zip(
            *(part.column(name).to_pylist() for name in part.column_names), strict=True
        ):
            groups.append(group or "")
            said.append(last_line(context))
            replies.append("" if record is not None else said[-1])
    return Around(groups, said, [*replies[1:], ""])


def groups_in(corpus: Corpus) -> list[str]:
    """Return the group of each exchange of a corpus, empty where it has none."""
    groups: list[str] = []
    for part in corpus.parts(["group"]):
        groups += [group or "" for group in part.column("group").to_pylist()]
    return groups


def last_line(context: str) -> str:
    """Return what was said last of a context."""
    return context.rpartition("\n")[2]
