"""The labels of an audit: from a file, from a judge, or from a column of the input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...corpus.records import parse_json
from ...curation.curate import Curation
from ...errors import RecipeError
from ...models.judges import Verdict, load_judge, run_judge
from ...text import make_printable
from .estimates import AuditItem


def build_question(curation: Curation, item: AuditItem) -> dict[str, Any]:
    """Build the question about one item: its texts and an empty label, for `read_labels`."""
    return {
        "context_id": item.context,
        "response_id": item.response,
        "context": curation.corpus[item.context].context,
        "response": _find_response(curation, item),
        **({"trimmed": True} if item.trimmed else {}),
        "label": None,
    }


def _find_response(curation: Curation, item: AuditItem) -> str:
    """The original response of a row, or the final one if it is another row's or trimmed."""
    if item.response == item.context and not item.trimmed:
        return curation.corpus[item.response].response
    return curation.final_responses(np.array([item.response]))[0]


def verdict_from_label(unsafe: bool | None) -> Verdict:
    """The verdict for a label that is true for unsafe; None is unscored."""
    return "unscored" if unsafe is None else "unsafe" if unsafe else "safe"


def read_column_labels(curation: Curation, column: str, unsafe: str) -> list[bool | None]:
    """Whether each exchange is unsafe according to a column of its record; None without a value.

    ``unsafe`` is the value of the column that means unsafe; case does not matter. Raises
    `RecipeError` if no record has the column or that value.
    """
    labels: list[bool | None] = [None] * len(curation.corpus)
    values = set()
    for record, ids in curation.corpus.records():
        value = record.get(column)
        if value is None:
            continue
        values.add(str(value))
        for number in ids:
            labels[number] = str(value).casefold() == unsafe.casefold()
    if not values:
        raise RecipeError(f"no record of the input has a value in a column '{column}'")
    if unsafe.casefold() not in {value.casefold() for value in values}:
        examples = ", ".join(make_printable(value) for value in sorted(values)[:5])
        raise RecipeError(
            f"no record has {column} = '{unsafe}'; values of this column: {examples}. "
            "Use --unsafe VALUE"
        )
    return labels


def read_labels(path: Path, items: list[AuditItem]) -> Mapping[AuditItem, Verdict]:
    """Read the verdicts on ``items`` from a file of `write_questions` with labels filled in.

    Lines about other items are ignored. Raises `RecipeError` for a malformed line, with its number,
    and if the file labels none of the items.
    """
    requested, verdicts = set(items), dict[AuditItem, Verdict]()
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not text.strip():
            continue
        try:
            record = parse_json(text)
            item = AuditItem(
                int(record["context_id"]), int(record["response_id"]), record.get("trimmed") is True
            )
            label = record.get("label")
        except (ValueError, TypeError, KeyError):
            raise RecipeError(
                f"{path} line {number}: expected a JSON object with context_id, response_id and "
                "label, as isaac audit --questions writes it"
            ) from None
        if label not in ("safe", "unsafe", "unscored", None):
            raise RecipeError(
                f'{path} line {number}: expected the label "safe", "unsafe", or null for unscored; '
                f"got {make_printable(json.dumps(label))}"
            )
        if item in requested:
            verdicts[item] = label or "unscored"
    if not verdicts:
        raise RecipeError(
            f"{path} has labels for none of the {len(items):,} questions; use the same run, --ask "
            "and --seed as for --questions"
        )
    return verdicts


class JudgedItems(NamedTuple):
    """A judge's verdict on each item, and the number of failures, whose items are unscored."""

    verdicts: Mapping[AuditItem, Verdict]
    failures: int
    first_error: str | None


def judge_items(curation: Curation, items: list[AuditItem], name: str) -> JudgedItems:
    """Ask a judge about each item. Raises `JudgeError` if there is no judge of that name."""
    contexts = [curation.corpus[item.context].context for item in items]
    responses = [_find_response(curation, item) for item in items]
    result = run_judge(load_judge(name), contexts, responses)
    judged = zip(items, result.judgments, strict=True)
    verdicts = {item: judgment.verdict for item, judgment in judged}
    return JudgedItems(verdicts, result.failures, result.first_error)
