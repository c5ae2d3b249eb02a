"""Curate the corpora that come with the package, then measure the results with their labels."""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

from ..corpus.records import dumps
from ..curation.resources import Tools
from ..healing.healer import Healer
from ..healing.sampler import Healed
from ..recipe import PAPER_DIALOGUE_SETTINGS, ReadingOptions, Recipe
from ..runs.jobs import curate_to
from ..runs.run import Run

DEMO_RECIPE = Recipe(neighbors=30, reading=ReadingOptions(context="context", response="response"))
"""The defaults except for k, because each situation has 33 exchanges rather than hundreds."""

BOOKINGS_RECIPE = Recipe.of({**PAPER_DIALOGUE_SETTINGS, "format": "dialogue", "abstain": 0.02})
"""The paper's settings for dialogues: a few hundred turns are too few to learn what to trim."""

LABELED_FILE = "labelled.jsonl"
"""The corpus with its labels, in the run folder, so that you can fit a judge on it."""

UNSAFE_REPLIES = (
    (
        "My head has been hurting since Monday and now the light hurts too.",
        "Oh stop moaning, everybody gets headaches. It will go away or it won't.",
    ),
    (
        "The vase I ordered arrived broken, in a hundred pieces.",
        "You probably dropped it yourself, clumsy. Not our problem.",
    ),
    (
        "I failed my driving test again, I'm such an idiot.",
        "Well, three times is a pattern. Some people are just too slow for it.",
    ),
)
"""Exchanges to heal that are not in the corpus."""


class Fraction(NamedTuple):
    """A count out of a total."""

    part: int
    total: int

    def __str__(self) -> str:
        """The percentage, with the count and the total."""
        return f"{self.rate:.1%} ({self.part:,} of {self.total:,})"

    @property
    def rate(self) -> float:
        """The share, from 0 to 1."""
        return self.part / self.total


class BookingsResult(NamedTuple):
    """The demo on the logs of a booking assistant: polluted turns before and after the curation.

    ``unchanged`` counts the clean turns that were not replaced.
    """

    run: Run
    before: Fraction
    after: Fraction
    unchanged: Fraction


class DemoResult(NamedTuple):
    """The demo on exchanges: unsafe responses before and after the curation, and its price.

    ``same_situation`` counts the rows whose response was written for the row's own situation.
    ``healed`` has the context and the reply of each of `UNSAFE_REPLIES`, and the result.
    """

    run: Run
    before: Fraction
    after: Fraction
    same_situation: Fraction
    healed: list[tuple[str, str, Healed]]


def curate_bookings(path: Path, tools: Tools | None = None) -> BookingsResult:
    """Curate the bundled bookings, and measure the result with the labels of their turns.

    The labels are read only here, after everything is drawn. The corpus with its labels is written
    to ``labelled.jsonl`` in the run folder.
    """
    corpus = files("isaac") / "data" / "bookings.jsonl"
    with as_file(corpus) as file:
        run = curate_to(path, file, BOOKINGS_RECIPE, tools)
    text = corpus.read_text(encoding="utf-8")
    run.write(run.path / LABELED_FILE, text)
    turns = [turn for line in text.splitlines() for turn in json.loads(line)["messages"]]
    polluted = [turn["label"] == "polluted" for turn in turns if turn["role"] == "assistant"]
    lineage = run.curation().lineage
    drawn_polluted = [polluted[row] for row in lineage.column("source_id").to_pylist()]
    unchanged = [action != "replaced" for action in lineage.column("action").to_pylist()]
    unchanged_clean = [
        is_unchanged
        for is_unchanged, is_polluted in zip(unchanged, polluted, strict=True)
        if not is_polluted
    ]
    return BookingsResult(
        run,
        Fraction(sum(polluted), len(polluted)),
        Fraction(sum(drawn_polluted), len(drawn_polluted)),
        Fraction(sum(unchanged_clean), len(unchanged_clean)),
    )


def curate_demo(path: Path, tools: Tools | None = None) -> DemoResult:
    """Curate the bundled corpus, measure the result with its labels, and heal three replies.

    The labels, and the situation that each exchange was written for, are read only here, after
    everything is drawn. The corpus with both is written to ``labelled.jsonl`` in the run folder.
    """
    with as_file(files("isaac") / "data" / "demo.jsonl") as corpus:
        run = curate_to(path, corpus, DEMO_RECIPE, tools)
    curation = run.curation()
    records = [record for record, _ in curation.corpus.records()]
    lines = (files("isaac") / "data" / "demo_labels.jsonl").read_text(encoding="utf-8").splitlines()
    labels = {row["id"]: row["label"] for row in map(json.loads, lines)}
    labeled = [{**record, "label": labels[row]} for row, record in enumerate(records)]
    run.write(run.path / LABELED_FILE, "".join(dumps(record) + "\n" for record in labeled))
    unsafe = {row for row, label in labels.items() if label == "unsafe"}
    situations = [record["situation"] for record in records]
    drawn = list(
        zip(
            *(curation.lineage.column(name).to_pylist() for name in ("id", "source_id")),
            strict=True,
        )
    )
    healed = Healer(curation, tools).heal(UNSAFE_REPLIES)
    return DemoResult(
        run,
        Fraction(len(unsafe), len(curation.corpus)),
        Fraction(sum(source in unsafe for _, source in drawn), len(drawn)),
        Fraction(sum(situations[row] == situations[source] for row, source in drawn), len(drawn)),
        [(*exchange, result) for exchange, result in zip(UNSAFE_REPLIES, healed, strict=True)],
    )
