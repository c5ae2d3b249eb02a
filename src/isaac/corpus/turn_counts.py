"""How many assistant turns of a corpus are not curated, and why."""

from __future__ import annotations

import json
from collections import Counter
from typing import NamedTuple

import pyarrow.compute as pc

from .corpus import Corpus


class TurnCounts(NamedTuple):
    """Numbers of assistant turns that are not exchanges.

    ``unread`` turns are earlier than the last one and left out by ``turns: last``; ``marked`` ones
    are marked as not trained on. ``untrained_records`` have only marked turns. ``calls`` and
    ``results`` are exchanges, but they are neither replaced nor drawn: they call a tool, in text,
    or report what a tool returned.
    """

    unread: int = 0
    marked: int = 0
    untrained_records: int = 0
    calls: int = 0
    results: int = 0

    def describe(self) -> list[str]:
        """One sentence about each kind of turn that the corpus has."""
        sentences = []
        if self.unread:
            turns = _count(self.unread, "earlier assistant turn is", "earlier assistant turns are")
            sentences.append(f"{turns} not curated (--turns all curates them).")
        if self.marked:
            turns = _count(self.marked, "assistant turn is", "assistant turns are")
            sentences.append(
                f"{turns} marked as not trained on (such as weight 0 or train false); left alone."
            )
        if self.untrained_records:
            sentences.append(
                "Conversations with only such turns, which stay unchanged in curated.jsonl and are "
                f"in no export: {self.untrained_records:,}."
            )
        if self.calls:
            turns = _count(self.calls, "response is a tool call", "responses are tool calls")
            sentences.append(f"{turns} as text; kept or dropped, but neither redrawn nor drawn.")
        if self.results:
            turns = _count(self.results, "response reports", "responses report")
            sentences.append(
                f"{turns} a tool's result; kept or dropped, but neither redrawn nor drawn."
            )
        return sentences


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def count_turns(corpus: Corpus) -> TurnCounts:
    """Count the assistant turns of a corpus that are not curated."""
    unread = marked = records = 0
    fixed: Counter[str] = Counter()
    for part in corpus.parts(["unread_turns", "marked_turns", "untrained", "fixed"]):
        fixed.update(part.column("fixed").drop_null().to_pylist())
        unread += pc.sum(part.column("unread_turns")).as_py() or 0
        marked += pc.sum(part.column("marked_turns")).as_py() or 0
        for text in part.column("untrained").drop_null().to_pylist():
            records += sum(map(len, json.loads(text).values()))
    return TurnCounts(unread, marked, records, fixed["call"], fixed["result"])
