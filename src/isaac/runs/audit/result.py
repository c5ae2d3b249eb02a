"""The result of an audit: as plain values, in the run folder, and in the report of the run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from ...errors import RunError
from ...intervals import Interval
from ...runtime.atomic_files import json_sha256
from ...text import make_printable
from ..outputs import AUDIT_FILE, read_audit_results, update_report
from ..run import Run
from .agreement import (
    Agreement,
    CombinedLabels,
    Disagreement,
    find_disagreements,
    measure_agreement,
)
from .curve import KeptShare
from .estimates import AuditOutcome, Estimates, Trend
from .labels import ANSWERS, Aspect, LabelSet
from .questions import Question

SOURCES = ("labels", "file", "column", "judge")
"""Where labels come from, in the order in which a report shows the results."""


class AuditSource(NamedTuple):
    """Where the labels come from: people who label the run, files, an input column, or a judge."""

    kind: Literal["labels", "file", "column", "judge"]
    name: str


class LabelerCount(NamedTuple):
    """How many exchanges of the sample a labeler completed, was unsure of, or skipped."""

    name: str
    labeled: int
    unsure: int
    skipped: int


class Comment(NamedTuple):
    """A labeler's comment on an exchange; ``row`` has its context."""

    row: int
    question: str
    labeler: str
    text: str


class Labeling(NamedTuple):
    """Who labeled how much of a sample, and how far they agree.

    ``questions`` counts the exchanges of the sample, ``answered`` those with an answer. Agreement,
    by question, is None for a single labeler.
    """

    questions: int
    answered: int
    labelers: list[LabelerCount]
    unsure: dict[Aspect, int]
    ties: dict[Aspect, int]
    agreement: dict[Aspect, Agreement] | None
    disagreements: list[Disagreement]
    comments: list[Comment]

    def as_json(self) -> dict[str, Any]:
        """The labeling as plain values."""
        agreement = self.agreement
        return {
            **self._asdict(),
            "labelers": [each._asdict() for each in self.labelers],
            "agreement": agreement and {name: each._asdict() for name, each in agreement.items()},
            "disagreements": [each.as_json() for each in self.disagreements],
            "comments": [each._asdict() for each in self.comments],
        }


class AuditReport(NamedTuple):
    """The result of an audit: its outcome, the estimates behind it, and the trend by level.

    ``curve`` has the unsafe share of the original responses that each budget would keep.
    ``estimates`` are about unsafe responses, ``unfit`` about responses that do not answer, and
    ``either`` about responses that are one or the other. The last two are None without answers to
    the second question, and ``labeling`` is None for a column or a judge.
    """

    source: AuditSource
    ask: int
    seed: int
    outcome: AuditOutcome
    estimates: Estimates
    trend: Trend
    unfit: Estimates | None = None
    either: Estimates | None = None
    labeling: Labeling | None = None
    curve: tuple[KeptShare, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The report as plain values; an unknown number is None."""
        return {
            "source": self.source._asdict(),
            "ask": self.ask,
            "seed": self.seed,
            "verdict": self.outcome.verdict,
            "sentence": self.outcome.sentence,
            "answers_sentence": self.unfit and describe_answers(self.unfit),
            "estimates": _estimates_as_json(self.estimates),
            "answers": self.unfit and _invert(_estimates_as_json(self.unfit)),
            "unsafe_or_no_answer": self.either and _estimates_as_json(self.either),
            "curve": [
                {**point._asdict(), "unsafe": _interval_as_json(point.unsafe)}
                for point in self.curve
            ],
            "by_level": [share._asdict() for share in self.trend.shares],
            "p": self.trend.p,
            "labeling": self.labeling and self.labeling.as_json(),
        }


def describe_answers(unfit: Estimates) -> str | None:
    """One sentence on whether responses still answer their messages; None if that is unknown."""
    if math.isnan(unfit.change.value):
        return None
    before, after = (f"{100 * (1 - share.value):.1f} %" for share in (unfit.before, unfit.after))
    low, high = (f"{-100 * end + 0.0:.1f}" for end in (unfit.change.high, unfit.change.low))
    numbers = f"from {before} to {after} (95 % interval of the change: {low} to {high} points)"
    if unfit.change.low > 0:
        return f"The price: responses answer their message less often, {numbers}."
    if unfit.change.high < 0:
        return f"Responses answer their message more often, {numbers}."
    return f"Responses answer their message about as often: {numbers}, which could be no change."


def _estimates_as_json(estimates: Estimates) -> dict[str, Any]:
    shares = {"before": estimates.before, "after": estimates.after, "change": estimates.change}
    return {
        **{name: _interval_as_json(share) for name, share in shares.items()},
        "asked": estimates.asked,
        "scored": estimates.scored,
    }


def _interval_as_json(interval: Interval) -> dict[str, float | None]:
    return {
        name: None if math.isnan(value) else value for name, value in interval._asdict().items()
    }


def _invert(estimates: dict[str, Any]) -> dict[str, Any]:
    """Turn the shares of an event into those of its opposite."""
    inverted = dict(estimates)
    for name, total in (("before", 1), ("after", 1), ("change", 0)):
        share = estimates[name]
        value = share["value"]
        inverted[name] = {
            "value": None if value is None else total - value + 0.0,
            "low": total - share["high"] + 0.0,
            "high": total - share["low"] + 0.0,
        }
    return inverted


def describe_labeling(
    questions: Sequence[Question], label_sets: Sequence[LabelSet], combined: CombinedLabels
) -> Labeling:
    """Count the labels of each labeler, and measure the agreement if there are several."""
    several = len(label_sets) > 1
    return Labeling(
        len(questions),
        len(combined.answers),
        [_count_labels(labels, questions) for labels in label_sets],
        combined.unsure,
        combined.ties,
        {aspect: measure_agreement(label_sets, questions, aspect) for aspect in ANSWERS}
        if several
        else None,
        find_disagreements(label_sets, questions),
        [
            Comment(question.row, question.key, labels.name, make_printable(text))
            for question in questions
            for labels in label_sets
            for text in labels.comments.get(question.key, [])
        ],
    )


def _count_labels(labels: LabelSet, questions: Sequence[Question]) -> LabelerCount:
    keys = [question.key for question in questions]
    return LabelerCount(
        labels.name,
        sum(labels.is_complete(key) for key in keys),
        sum("unsure" in labels.answers.get(key, {}).values() for key in keys),
        sum(key in labels.skipped and not labels.is_complete(key) for key in keys),
    )


def store_result(run: Run, draw: str, report: AuditReport) -> None:
    """Keep a result in the run and show it in the report of the run.

    It replaces an earlier result from the same source. Raises `RunError` if the run was redrawn
    since the audit began, or if another process works on it.
    """
    with run.locked():
        if run.manifest()["sha256"]["lineage.parquet"] != draw:
            raise RunError(
                f"{run.path} was redrawn during the audit, so its result is not kept; the labels "
                "are. Run the same command again: labels of texts that did not change still count"
            )
        new = report.as_json()
        others = [result for result in read_audit_results(run) if result["source"] != new["source"]]
        if new["source"]["kind"] == "labels":
            others = [result for result in others if result["source"]["kind"] != "labels"]
        results = sorted([*others, new], key=_source_order)
        facts = {"lineage": draw, "results": results, "results_sha256": json_sha256(results)}
        text = json.dumps(facts, indent=1, ensure_ascii=True)
        run.write(run.path / AUDIT_FILE, text + "\n")
        update_report(run)


def _source_order(result: dict[str, Any]) -> tuple[int, str]:
    return SOURCES.index(result["source"]["kind"]), result["source"]["name"]
