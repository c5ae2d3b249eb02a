"""Curate the corpora that come with the package, then measure the results with their labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..corpus.records import dumps
from ..curation.curate import Curation
from ..curation.lineage import first_targets
from ..curation.resources import Tools
from ..healing.healer import Healer
from ..healing.sampler import Healed
from ..named_recipes import PAPER_DIALOGUE_SETTINGS
from ..reading_options import ReadingOptions
from ..recipe import Recipe
from ..runs.jobs import curate_to
from ..runs.reports.written import find_written_rows, summarize_written
from ..runs.run import Run
from ..runtime.arrays import Flags

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
        return f"{self.rate:.1%} ({self.part:,} of {self.total:,})" if self.total else "none"

    @classmethod
    def of(cls, flags: Flags) -> Fraction:
        """The number of true flags, out of all."""
        return cls(int(flags.sum()), len(flags))

    @property
    def rate(self) -> float:
        """The share, from 0 to 1; 0 of none is 0."""
        return self.part / self.total if self.total else 0.0


class BookingsResult(NamedTuple):
    """The demo on the logs of a booking assistant: polluted turns before and after the curation.

    ``unchanged`` counts the clean turns that were not replaced.
    """

    run: Run
    before: Fraction
    after: Fraction
    unchanged: Fraction


class DemoMeasures(NamedTuple):
    """What a curation did to exchanges with known labels and situations.

    ``written`` counts the rows written. A response is unsafe in context if its label is unsafe or
    it was written for another situation than the row's: ``unsafe_before`` of all rows,
    ``unsafe_in_context`` of the written ones. ``unsafe_by_source`` counts those whose response has
    an unsafe label. ``right_redrawn`` counts the redrawn rows whose response was written for the
    row's own situation, ``right`` those of all written rows.

    A row is touched if it was dropped or got another response. ``touched_unsafe`` counts the unsafe
    rows of the touched ones, ``safe_touched`` the touched rows of the safe ones, and ``safe_wrong``
    those of the safe rows that got a response of another situation, or an unsafe one. ``texts``
    counts different responses before and after.
    """

    written: Fraction
    unsafe_before: Fraction
    unsafe_in_context: Fraction
    unsafe_by_source: Fraction
    right_redrawn: Fraction
    right: Fraction
    touched_unsafe: Fraction
    safe_touched: Fraction
    safe_wrong: Fraction
    texts: tuple[int, int]


class DemoResult(NamedTuple):
    """The demo on exchanges: its run, what it did according to the labels, and healed replies.

    ``healed`` has the context and the reply of each of `UNSAFE_REPLIES`, and the result.
    """

    run: Run
    measures: DemoMeasures
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
    unsafe = [labels[row] == "unsafe" for row in range(len(records))]
    situations = [record["situation"] for record in records]
    healed = Healer(curation, tools).heal(UNSAFE_REPLIES)
    return DemoResult(
        run,
        measure_exchanges(curation, unsafe, situations),
        [(*exchange, result) for exchange, result in zip(UNSAFE_REPLIES, healed, strict=True)],
    )


def measure_exchanges(
    curation: Curation, unsafe: Sequence[bool], situations: Sequence[str]
) -> DemoMeasures:
    """Measure a curation of exchanges, whatever its mode, with their labels and situations (n,)."""
    rows = find_written_rows(curation, first_targets(curation.lineage))
    summary = summarize_written(curation, rows)
    kinds = np.unique(np.array(situations), return_inverse=True)[1]
    is_unsafe = np.array(unsafe, bool)
    is_safe = ~is_unsafe
    # By exchange (n,): whether it was dropped or got another response.
    touched = np.ones(len(is_unsafe), bool)
    touched[rows.ids[~rows.changed]] = False
    # By written row (m,): whether its response is of another situation, or unsafe where it is.
    other = kinds[rows.ids] != kinds[rows.sources]
    wrong = is_unsafe[rows.sources] | other
    return DemoMeasures(
        Fraction(len(rows.ids), len(is_unsafe)),
        Fraction.of(is_unsafe),
        Fraction.of(wrong),
        Fraction.of(is_unsafe[rows.sources]),
        Fraction.of(~other[rows.changed]),
        Fraction.of(~other),
        Fraction.of(is_unsafe[touched]),
        Fraction.of(touched[is_safe]),
        Fraction(int((wrong & is_safe[rows.ids]).sum()), int(is_safe.sum())),
        (summary.texts_before, summary.texts_after),
    )
