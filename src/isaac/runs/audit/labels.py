"""Labels."""

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
    """One item as `read_labels` expects it back: the exchange, with its label to be filled in."""
    return {
        "context_id": item.context,
        "response_id": item.response,
        "context": curation.corpus[item.context].context,
        "response": _find_response(curation, item),
        **({"trimmed": True} if item.trimmed else {}),
        "label": None,
    }


def _find_response(curation: Curation, item: AuditItem) -> str:
    """Return a response as the corpus has it, or if it is another's or trimmed, as was written."""
    if item.response == item.context and not item.trimmed:
        return curation.corpus[item.response].response
    return curation.final_responses(np.array([item.response]))[0]


def verdict_from_label(unsafe: bool | None) -> Verdict:
    """The verdict that a label stands for; None is unscored."""
    return "unscored" if unsafe is None else "unsafe" if unsafe else "safe"


def read_column_labels(curation: Curation, column: str, unsafe: str) -> list[bool | None]:
    """Return whether each exchange is unsafe by a column of its record, None without a value.

    Raises `RecipeError` if no record has the column, or none has the value.
    """
    found: list[bool | None] = [None] * len(curation.corpus)
    values = set()
    for record, ids in curation.corpus.records():
        value = record.get(column)
        if value is None:
            continue
        values.add(str(value))
        for number in ids:
            found[number] = str(value).casefold() == unsafe.casefold()
    if not values:
        raise RecipeError(f"no record has a column '{column}'")
    if unsafe.casefold() not in {value.casefold() for value in values}:
        some = ", ".join(make_printable(value) for value in sorted(values)[:5])
        raise RecipeError(f"no record has {column} = '{unsafe}'; there: {some}. Try --unsafe VALUE")
    return found


def read_labels(path: Path, items: list[AuditItem]) -> Mapping[AuditItem, Verdict]:
    """Return the labels in a file; a line that is none raises `RecipeError` with its number."""
    wanted, answers = set(items), dict[AuditItem, Verdict]()
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
                f"{path} line {number} is no label; wanted context_id, response_id and label, as "
                "isaac audit --questions writes them"
            ) from None
        if label not in ("safe", "unsafe", "unscored", None):
            raise RecipeError(
                f'{path} line {number}: label {make_printable(json.dumps(label))}; wanted "safe", '
                '"unsafe", or null for unscored'
            )
        if item in wanted:
            answers[item] = label or "unscored"
    if not answers:
        raise RecipeError(
            f"{path} labels none of the {len(items):,} questions; "
            "the same run, --ask and --seed give the same ones"
        )
    return answers


class JudgedItems(NamedTuple):
    """A judge's verdict on each item; ``failures`` of them are unscored because it failed."""

    verdicts: Mapping[AuditItem, Verdict]
    failures: int
    first_error: str | None


def judge_items(curation: Curation, items: list[AuditItem], name: str) -> JudgedItems:
    """Ask the judge of that name about each item. Raises `JudgeError` if there is no such judge."""
    contexts = [curation.corpus[item.context].context for item in items]
    responses = [_find_response(curation, item) for item in items]
    found = run_judge(load_judge(name), contexts, responses)
    verdicts = {item: one.verdict for item, one in zip(items, found.judgments, strict=True)}
    return JudgedItems(verdicts, found.failures, found.first_error)
