"""An audit from its questions to its verdict: the functions that commands call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...corpus.records import dumps
from ...curation.curate import Curation
from ...errors import RecipeError
from ...models.judges import Verdict
from .estimates import AuditOutcome, Estimates, Trend, compute_trend, decide_verdict, estimate
from .labels import (
    build_question,
    judge_items,
    read_column_labels,
    read_labels,
    verdict_from_label,
)
from .sampling import AuditItem, AuditSample


class Verdicts(NamedTuple):
    """The verdict on each item, and how many are unscored because the judge failed on them."""

    by_item: Mapping[AuditItem, Verdict]
    failures: int = 0
    first_error: str | None = None


class AuditReport(NamedTuple):
    """The result of an audit: its outcome, the estimates behind it, and the trend by rank."""

    outcome: AuditOutcome
    estimates: Estimates
    trend: Trend

    def as_json(self) -> dict[str, Any]:
        """The report as plain values."""
        shares = {name: getattr(self.estimates, name) for name in ("before", "after", "change")}
        return {
            "verdict": self.outcome.verdict,
            "sentence": self.outcome.sentence,
            "estimates": {
                **{name: share._asdict() for name, share in shares.items()},
                "asked": self.estimates.asked,
                "scored": self.estimates.scored,
            },
            "by_rank": [share._asdict() for share in self.trend.shares],
            "p": self.trend.p,
        }


def write_questions(curation: Curation, items: list[AuditItem], path: Path) -> None:
    """Write the items to be labeled to a file, one JSON object per line."""
    lines = (dumps(build_question(curation, item)) + "\n" for item in items)
    path.write_text("".join(lines), encoding="utf-8")


def find_verdicts(
    curation: Curation,
    items: list[AuditItem],
    *,
    labels: Path | None = None,
    judge: str | None = None,
    column: str | None = None,
    unsafe: str = "unsafe",
) -> Verdicts | None:
    """Get the verdict on each item from a file of labels, a judge, or a column of the input.

    With a column, a response has the label of the row that it came from, and ``unsafe`` is the
    value that means unsafe. None if you name no source. Raises `RecipeError` if you name more than
    one or a label cannot be read, and `JudgeError` if the judge does not exist.
    """
    if sum(source is not None for source in (labels, judge, column)) > 1:
        raise RecipeError("give only one of --labels, --judge and --column")
    if labels is not None:
        return Verdicts(read_labels(labels, items))
    if column is not None:
        known = read_column_labels(curation, column, unsafe)
        return Verdicts({item: verdict_from_label(known[item.response]) for item in items})
    if judge is not None:
        return Verdicts(*judge_items(curation, items, judge))
    return None


def summarize_audit(sample: AuditSample, verdicts: Mapping[AuditItem, Verdict]) -> AuditReport:
    """Estimate from the verdicts on a sample whether the curation made its corpus safer."""
    estimates, trend = estimate(sample, verdicts), compute_trend(sample, verdicts)
    return AuditReport(decide_verdict(estimates, trend), estimates, trend)
