"""The main job on the corpora that come with the package, measured by their labels at the end."""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

from ..corpus.records import dumps
from ..curation.resources import Tools
from ..healing.retrieval import Healed, Healer
from ..recipe import PAPER_DIALOGUE_SETTINGS, ReadingOptions, Recipe
from ..runs.jobs import curate_to
from ..runs.run import Run

DEMO_RECIPE = Recipe(neighbors=30, reading=ReadingOptions(context="context", response="response"))
"""The defaults but for k: a situation has 33 exchanges, not hundreds."""

BOOKINGS_RECIPE = Recipe.of({**PAPER_DIALOGUE_SETTINGS, "format": "dialogue", "abstain": 0.02})
"""The paper's draws among turns of the same acts: a few hundred turns tell little of parts."""

LABELED_FILE = "labelled.jsonl"
"""The corpus with its labels, in the run's folder: to fit a judge on."""

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
"""Exchanges that are not in the corpus, to be healed."""


class Fraction(NamedTuple):
    """So many of so many responses."""

    some: int
    of: int

    def __str__(self) -> str:
        """Return the share in per cent with its counts."""
        return f"{self.rate:.1%} ({self.some:,} of {self.of:,})"

    @property
    def rate(self) -> float:
        """Return the share from 0 to 1."""
        return self.some / self.of


class BookingsResult(NamedTuple):
    """What the demo found on the logs of a booking assistant."""

    run: Run
    before: Fraction
    after: Fraction
    unchanged: Fraction


class DemoResult(NamedTuple):
    """What the demo found."""

    run: Run
    before: Fraction
    after: Fraction
    same_situation: Fraction
    healed: list[tuple[str, str, Healed]]


def curate_bookings(path: Path, tools: Tools | None = None) -> BookingsResult:
    """Return the finished run on the bundled bookings, and what the labels of their turns say.

    The labels are read here, after everything is drawn; ``labelled.jsonl`` in the run's folder is
    the corpus with them. ``unchanged`` are the clean turns that came out as they were.
    """
    corpus = files("isaac") / "data" / "bookings.jsonl"
    with as_file(corpus) as file:
        run = curate_to(path, file, BOOKINGS_RECIPE, tools)
    text = corpus.read_text(encoding="utf-8")
    run.write(run.path / LABELED_FILE, text)
    turns = [turn for line in text.splitlines() for turn in json.loads(line)["messages"]]
    polluted = [turn["label"] == "polluted" for turn in turns if turn["role"] == "assistant"]
    lineage = run.curation().lineage
    source = [polluted[row] for row in lineage.column("source_id").to_pylist()]
    kept = [action != "replaced" for action in lineage.column("action").to_pylist()]
    clean = [stays for stays, rude in zip(kept, polluted, strict=True) if not rude]
    return BookingsResult(
        run,
        Fraction(sum(polluted), len(polluted)),
        Fraction(sum(source), len(source)),
        Fraction(sum(clean), len(clean)),
    )


def curate_demo(path: Path, tools: Tools | None = None) -> DemoResult:
    """Return the finished run on the bundled corpus, what its labels say and healed replies.

    The labels, and the situation that each exchange was written for, are read here, after
    everything is drawn, and nowhere else; ``labelled.jsonl`` in the run's folder has both.
    """
    with as_file(files("isaac") / "data" / "demo.jsonl") as corpus:
        run = curate_to(path, corpus, DEMO_RECIPE, tools)
    curation = run.curation()
    records = [record for record, _ in curation.corpus.records()]
    lines = (files("isaac") / "data" / "demo_labels.jsonl").read_text(encoding="utf-8").splitlines()
    labels = {row["id"]: row["label"] for row in map(json.loads, lines)}
    labelled = [{**record, "label": labels[row]} for row, record in enumerate(records)]
    run.write(run.path / LABELED_FILE, "".join(dumps(record) + "\n" for record in labelled))
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
        [(*given, found) for given, found in zip(UNSAFE_REPLIES, healed, strict=True)],
    )
