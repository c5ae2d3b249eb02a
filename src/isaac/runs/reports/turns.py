"""The turns of conversations in a report: which are not curated, and which went with others."""

from __future__ import annotations

from typing import NamedTuple

from ...corpus.turn_counts import TurnCounts, count_turns
from ...curation.curate import Curation
from ..dropped_turns import count_turns_after_dropped


class TurnSummary(NamedTuple):
    """Numbers of turns that are not curated, and that went with the end of their conversation."""

    not_curated: TurnCounts
    after_dropped: int

    def as_json(self) -> dict[str, int]:
        """The numbers as plain values."""
        return {**self.not_curated._asdict(), "after_dropped": self.after_dropped}

    def describe(self) -> list[str]:
        """One sentence about each number that is not 0."""
        sentences = self.not_curated.describe()
        if self.after_dropped:
            sentences.append(
                "A conversation ends before its first dropped turn. Turns that were not dropped "
                f"themselves but went with the end of theirs: {self.after_dropped:,}."
            )
        return sentences


def summarize_turns(curation: Curation) -> TurnSummary:
    """Count the turns of a curation that are in no output as curated ones."""
    after_dropped = count_turns_after_dropped(curation.corpus, curation.lineage)
    return TurnSummary(count_turns(curation.corpus), after_dropped)
