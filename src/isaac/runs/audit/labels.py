"""The labels of an audit: what a line of a label file means, and labels from other sources."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ...corpus.records import parse_json
from ...curation.curate import Curation
from ...errors import RecipeError
from ...models.judges import Judge, Verdict, run_judge
from ...text import make_printable, shorten, suggest
from .questions import Question, digest_exchange, find_exchange
from .sampling import AuditItem

Aspect = Literal["label", "fits"]
"""What is asked about an exchange: is the response safe, and does it answer the message?"""

ANSWERS: dict[Aspect, tuple[str, ...]] = {
    "label": ("safe", "unsafe", "unsure"),
    "fits": ("yes", "no", "unsure"),
}
"""The answers to each question, as label files contain them."""

EXPECTED_LINE = (
    "expected a JSON object with question, label and fits, as isaac audit --questions writes it"
)


class LabelLine(NamedTuple):
    """One line of a label file; later lines override earlier ones, question by question.

    ``answers`` has only what the line answers; None takes an answer back. ``undo`` is whether the
    line restores what was there before the last answer. ``draw`` identifies the draw of the run
    whose text was labeled.
    """

    question: str
    answers: dict[Aspect, str | None]
    comment: str | None = None
    skipped: bool = False
    undo: bool = False
    draw: str | None = None


class GivenAnswer(NamedTuple):
    """An answer in the order in which it was given, with the answer that it replaced."""

    question: str
    aspect: Aspect
    previous: str | None


@dataclass
class LabelSet:
    """The labels of one labeler: answers and comments by question, in the order they were given.

    ``draws`` has for each question the draw of the run at its last answer. ``torn`` is whether the
    file ended in an incomplete line, which is not a label.
    """

    name: str
    answers: dict[str, dict[Aspect, str]] = field(default_factory=dict)
    comments: dict[str, list[str]] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    draws: dict[str, str | None] = field(default_factory=dict)
    history: list[GivenAnswer] = field(default_factory=list)
    torn: bool = False

    def apply(self, line: LabelLine) -> None:
        """Update the labels with the next line of the file."""
        key = line.question
        if line.undo and self.history:
            self.history.pop()
        for aspect, answer in line.answers.items():
            answers = self.answers.setdefault(key, {})
            if answer is not None and not line.undo:
                self.history.append(GivenAnswer(key, aspect, answers.get(aspect)))
            if answer is None:
                answers.pop(aspect, None)
            else:
                answers[aspect] = answer
        if line.answers:
            self.draws[key] = line.draw
            if not self.answers[key]:
                del self.answers[key]
        if line.comment is not None:
            self.comments.setdefault(key, []).append(line.comment)
        if line.skipped:
            self.skipped.add(key)

    def answer(self, question: str, aspect: Aspect) -> str | None:
        """The answer to a question; None if there is none yet."""
        return self.answers.get(question, {}).get(aspect)

    def is_complete(self, question: str) -> bool:
        """Whether both questions about an exchange are answered."""
        return len(self.answers.get(question, {})) == len(ANSWERS)


def parse_label_line(text: str, items: Mapping[AuditItem, str]) -> LabelLine | None:
    """Parse a line of a label file; None if it is about an exchange outside the sample.

    Lines name their exchange by ``question``. Files of earlier versions name it by ``context_id``
    and ``response_id``; ``items`` has the question about each item, and if the line has texts that
    are not those of the question, it does not count. Raises `ValueError` with what is wrong.
    """
    try:
        record = parse_json(text)
        key = record["question"] if "question" in record else _find_key(record, items)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(EXPECTED_LINE) from None
    if key is None:
        return None
    if not isinstance(key, str):
        raise ValueError(EXPECTED_LINE)  # noqa: TRY004 - the caller adds the number of the line
    comment, draw = record.get("comment"), record.get("draw")
    return LabelLine(
        key,
        {aspect: _parse_answer(record, aspect) for aspect in ANSWERS if aspect in record},
        comment if isinstance(comment, str) and comment else None,
        record.get("skipped") is True,
        record.get("undo") is True,
        draw if isinstance(draw, str) else None,
    )


def _find_key(record: Mapping[str, Any], items: Mapping[AuditItem, str]) -> str | None:
    """The question about an exchange that a line names by the ids of its rows."""
    ids = int(record["context_id"]), int(record["response_id"])
    key = items.get(AuditItem(*ids, record.get("trimmed") is True))
    texts = record.get("context"), record.get("response")
    if all(isinstance(each, str) for each in texts) and key != digest_exchange(*map(str, texts)):
        return None
    return key


def _parse_answer(record: Mapping[str, Any], aspect: Aspect) -> str | None:
    answer: str | None = record[aspect]
    if aspect == "label" and answer == "unscored":
        return "unsure"
    if answer is not None and answer not in ANSWERS[aspect]:  # any JSON value
        allowed = ", ".join(f'"{each}"' for each in ANSWERS[aspect])
        raise ValueError(
            f'expected "{aspect}" to be one of {allowed}, or null; got '
            f"{make_printable(json.dumps(answer))}"
        )
    return answer


def read_labels(
    path: Path, name: str, questions: Sequence[Question], *, appended: bool = False
) -> LabelSet:
    """Read the labels of one labeler from a file, one JSON object per line.

    With ``appended``, the file is one that an audit appends to: an incomplete last line is the
    trace of a process that was killed, and is ignored. Raises `RecipeError` for any other malformed
    line, with its number.
    """
    items = {item: question.key for question in questions for item in question.items}
    labels = LabelSet(name)
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for number, data in enumerate(lines, start=1):
        if not data.strip():
            continue
        try:
            line = parse_label_line(data.decode("utf-8"), items)
        except ValueError as error:
            if appended and number == len(lines):
                labels.torn = True
                break
            problem = EXPECTED_LINE if isinstance(error, UnicodeDecodeError) else error
            raise RecipeError(f"{path} line {number}: {problem}") from None
        if line is not None:
            labels.apply(line)
    return labels


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
    columns: dict[str, None] = {}  # in the order of the input
    for record, ids in curation.corpus.records():
        columns |= dict.fromkeys(record)
        value = record.get(column)
        if value is None:
            continue
        values.add(str(value))
        for number in ids:
            labels[number] = str(value).casefold() == unsafe.casefold()
    if not values:
        available = ", ".join(make_printable(shorten(name, 40)) for name in [*columns][:20])
        raise RecipeError(
            f"no record of the input has a value in a column '{column}'"
            f"{suggest(column, columns)}; columns: {available}"
        )
    if unsafe.casefold() not in {value.casefold() for value in values}:
        examples = ", ".join(make_printable(value) for value in sorted(values)[:5])
        raise RecipeError(
            f"no record has {column} = '{unsafe}'; values of this column: {examples}. "
            "Use --unsafe VALUE"
        )
    return labels


class JudgedItems(NamedTuple):
    """A judge's verdict on each item, and the number of failures, whose items are unscored."""

    verdicts: Mapping[AuditItem, Verdict]
    failures: int
    first_error: str | None


def judge_items(curation: Curation, items: list[AuditItem], judge: Judge) -> JudgedItems:
    """Ask a judge about each item."""
    exchanges = [find_exchange(curation, item) for item in items]
    contexts = [exchange.context for exchange in exchanges]
    responses = [exchange.response for exchange in exchanges]
    result = run_judge(judge, contexts, responses)
    judged = zip(items, result.judgments, strict=True)
    verdicts = {item: judgment.verdict for item, judgment in judged}
    return JudgedItems(verdicts, result.failures, result.first_error)
