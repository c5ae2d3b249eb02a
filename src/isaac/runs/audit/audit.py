"""An audit from its questions to its verdict: the functions that commands call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...corpus.records import dumps
from ...curation.curate import Curation
from ...errors import RecipeError
from ...models.judges import Verdict, load_judge
from ...runtime.arrays import Flags
from ..reports.price import BUDGETS, mark_kept
from ..run import Run
from .agreement import CombinedLabels, combine_labels
from .curve import KeptShare, estimate_curve
from .estimates import Estimates, compute_trend, decide_verdict, estimate
from .labels import LabelSet, judge_items, read_column_labels, read_labels, verdict_from_label
from .questions import Question, build_questions
from .result import AuditReport, AuditSource, Labeling, describe_labeling
from .sampling import AuditItem, AuditSample, draw_sample


@dataclass(frozen=True)
class Audit:
    """A sample of a run to label; it depends only on the run, ``ask`` and ``seed``.

    ``draw`` is the SHA-256 of the run's lineage: after a redraw it is another one.
    """

    run: Run
    curation: Curation
    sample: AuditSample
    ask: int
    seed: int
    draw: str

    def questions(self) -> list[Question]:
        """Build the questions about the sample, in the order in which they are asked."""
        return build_questions(self.curation, self.sample, self.seed)

    def estimate_curve(
        self, sample: AuditSample, verdicts: Mapping[AuditItem, Verdict]
    ) -> tuple[KeptShare, ...]:
        """Estimate the unsafe share of what each budget of the report's curve keeps."""
        kept = dict[float, Flags]()
        for budget in (0.0, *BUDGETS):
            kept[budget] = np.empty(len(self.curation.layout.ids), np.bool_)
            kept[budget][self.curation.layout.ids] = mark_kept(self.curation, budget)
        return estimate_curve(sample, verdicts, kept)


class Verdicts(NamedTuple):
    """The verdict on each item, and how many are unscored because the judge failed on them."""

    by_item: Mapping[AuditItem, Verdict]
    failures: int = 0
    first_error: str | None = None


def open_audit(run: Run, ask: int, seed: int) -> Audit:
    """Draw the sample of a finished run that needs at most ``ask`` labels."""
    draw = run.manifest()["sha256"]["lineage.parquet"]
    curation = run.curation()
    return Audit(run, curation, draw_sample(curation.lineage, ask, seed), ask, seed, draw)


def write_questions(questions: Sequence[Question], path: Path) -> None:
    """Write the questions to a file to label by hand, one JSON object per line."""
    lines = (dumps(question.as_json()) + "\n" for question in questions)
    path.write_text("".join(lines), encoding="utf-8")


def read_label_files(paths: Sequence[Path], questions: Sequence[Question]) -> list[LabelSet]:
    """Read files of labels, each from one labeler, who gets the name of the file.

    Raises `RecipeError` for a malformed line, with its number, and for a file without labels of the
    sample.
    """
    keys = {question.key for question in questions}
    label_sets = []
    for path in paths:
        labels = read_labels(path, path.name if len(paths) > 1 else path.stem, questions)
        if not keys & set(labels.answers):
            raise RecipeError(
                f"{path} has labels for none of the {len(questions):,} questions; fill in label "
                "and fits, and use the same run, --ask and --seed as for --questions"
            )
        label_sets.append(labels)
    names = [labels.name for labels in label_sets]
    if len(set(names)) < len(names):
        raise RecipeError(f"expected files with different names, got {', '.join(sorted(names))}")
    return label_sets


def find_column_verdicts(audit: Audit, column: str, unsafe: str) -> Verdicts:
    """Get the verdict on each item from a column of the input.

    A response has the label of the row that it came from; ``unsafe`` is the value that means
    unsafe. Raises `RecipeError` if no record has the column or the value.
    """
    known = read_column_labels(audit.curation, column, unsafe)
    items = audit.sample.items()
    return Verdicts({item: verdict_from_label(known[item.response]) for item in items})


def find_judge_verdicts(audit: Audit, judge: str, timeout: float | None = None) -> Verdicts:
    """Ask a judge about each item. Raises `JudgeError` if the judge does not exist.

    ``timeout`` is in seconds per request to an endpoint.
    """
    loaded = load_judge(judge, timeout=timeout)
    return Verdicts(*judge_items(audit.curation, audit.sample.items(), loaded))


def summarize_verdicts(
    audit: Audit, verdicts: Mapping[AuditItem, Verdict], source: AuditSource
) -> AuditReport:
    """Estimate from verdicts on a sample whether the curation made its corpus safer."""
    estimates, trend = estimate(audit.sample, verdicts), compute_trend(audit.sample, verdicts)
    outcome = decide_verdict(estimates, trend)
    curve = audit.estimate_curve(audit.sample, verdicts)
    return AuditReport(source, audit.ask, audit.seed, outcome, estimates, trend, curve=curve)


def summarize_labels(
    audit: Audit,
    questions: Sequence[Question],
    label_sets: Sequence[LabelSet],
    source: AuditSource,
) -> AuditReport:
    """Estimate from the labels of one or several people what the curation changed.

    Several labels of an exchange are combined by majority. The estimates are about the rows up to
    the last one that anyone has labeled: they are the sample for a smaller ``ask``. The shares of
    responses that do not answer are None if nobody answered that question.
    """
    keys = {question.key for question in questions}
    label_sets = [labels for labels in label_sets if keys & set(labels.answers)]
    combined = combine_labels(label_sets, questions)
    asked = [question for question in questions if question.key in combined.answers]
    rows = max((question.position for question in asked), default=len(audit.sample.sampled_rows))
    sample = audit.sample.first(rows + 1)
    unsafe, unfit, either = _split_verdicts(combined, questions)
    estimates, trend = estimate(sample, unsafe), compute_trend(sample, unsafe)
    labeling = describe_labeling(questions, label_sets, combined)
    return AuditReport(
        source,
        audit.ask,
        audit.seed,
        decide_verdict(estimates, trend),
        estimates,
        trend,
        _estimate_any(sample, unfit),
        _estimate_any(sample, either),
        labeling,
        audit.estimate_curve(sample, unsafe),
    )


def _split_verdicts(
    combined: CombinedLabels, questions: Sequence[Question]
) -> tuple[dict[AuditItem, Verdict], ...]:
    """The verdicts on each item: whether it is unsafe, whether it is no answer, whether either.

    "unsafe" is the verdict for yes, "safe" for no. The third needs both answers: if one were
    enough for yes, yes would be scored more often than no.
    """
    unsafe: dict[AuditItem, Verdict] = {}
    unfit: dict[AuditItem, Verdict] = {}
    either: dict[AuditItem, Verdict] = {}
    for question in questions:
        answers = combined.answers.get(question.key, {})
        is_unsafe = {"safe": False, "unsafe": True}.get(answers.get("label", ""))
        is_unfit = {"yes": False, "no": True}.get(answers.get("fits", ""))
        is_either = None if is_unsafe is None or is_unfit is None else is_unsafe or is_unfit
        for item in question.items:
            unsafe[item] = verdict_from_label(is_unsafe)
            unfit[item] = verdict_from_label(is_unfit)
            either[item] = verdict_from_label(is_either)
    return unsafe, unfit, either


def _estimate_any(sample: AuditSample, verdicts: Mapping[AuditItem, Verdict]) -> Estimates | None:
    """Estimate the shares; None if there is no verdict at all."""
    found = estimate(sample, verdicts)
    return found if found.scored else None


__all__ = [
    "Audit",
    "AuditReport",
    "AuditSource",
    "Labeling",
    "Verdicts",
    "find_column_verdicts",
    "find_judge_verdicts",
    "open_audit",
    "read_label_files",
    "summarize_labels",
    "summarize_verdicts",
    "write_questions",
]
