"""The label files of a run, one per labeler: every answer is appended and synced to disk."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ...corpus.records import dumps
from ...errors import RecipeError, RunError
from ...text import make_printable
from .labels import Aspect, GivenAnswer, LabelSet, parse_label_line, read_labels
from .questions import Question

LABELS_FOLDER = "audit"
LABELS_PREFIX = "labels-"

DRAW_DIGITS = 12
"""Digits of the SHA-256 of the lineage that a label is stored with."""

LABELER_PATTERN = re.compile(r"\w[\w.-]{0,63}")
"""Names of labelers: they are part of a file name."""


class LabelLog:
    """The labels of one labeler, and the file that each change is appended to.

    A line is on disk before the method that adds it returns.
    """

    def __init__(self, path: Path, labels: LabelSet, draw: str) -> None:
        self.path, self.labels, self.draw = path, labels, draw[:DRAW_DIGITS]

    def answer(self, question: str, aspect: Aspect, answer: str) -> None:
        """Save an answer."""
        self._append({"question": question, aspect: answer})

    def undo(self) -> GivenAnswer | None:
        """Take back the last answer; return it, or None if there is none to take back."""
        if not self.labels.history:
            return None
        last = self.labels.history[-1]
        self._append({"question": last.question, last.aspect: last.previous, "undo": True})
        return last

    def skip(self, question: str) -> None:
        """Save that a question was skipped; it comes last when the labeler resumes."""
        self._append({"question": question, "skipped": True})

    def comment(self, question: str, text: str) -> None:
        """Save a comment on a question."""
        self._append({"question": question, "comment": text})

    def _append(self, record: dict[str, Any]) -> None:
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        text = dumps({**record, "draw": self.draw, "time": now})
        with self.path.open("ab") as file:
            file.write(text.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        line = parse_label_line(text, {})
        if line is not None:
            self.labels.apply(line)


@contextmanager
def open_label_log(
    run: Path, labeler: str, questions: Sequence[Question], draw: str
) -> Iterator[LabelLog]:
    """Open the label file of a labeler, and lock it while it is in use.

    A last line that is incomplete, because its process was killed, is cut off. Raises `RecipeError`
    for a bad name of a labeler and `RunError` if another process labels under that name.
    """
    check_labeler(labeler)
    folder = run / LABELS_FOLDER
    path = folder / f"{LABELS_PREFIX}{labeler}.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder / f".{path.name}.lock", f"{run} as {labeler}"):
        path.touch()
        labels = read_labels(path, labeler, questions, appended=True)
        _repair_end(path, torn=labels.torn)
        yield LabelLog(path, labels, draw)


@contextmanager
def _lock(file: Path, what: str) -> Iterator[None]:
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"another process labels {what}; wait until it ends, or give another name: "
            "--labeler NAME"
        ) from None
    try:
        yield
    finally:
        lock.release()


def check_labeler(name: str) -> None:
    """Raise `RecipeError` if a name cannot be that of a labeler."""
    if not LABELER_PATTERN.fullmatch(name):
        raise RecipeError(
            "expected a --labeler name of at most 64 letters, digits, '_', '-' and '.', "
            f"got '{make_printable(name)}'"
        )


def _repair_end(path: Path, *, torn: bool) -> None:
    """Make a file end with a line break: cut off a torn last line, complete a whole one."""
    data = path.read_bytes()
    if not data or data.endswith(b"\n"):
        return
    with path.open("r+b") as file:
        if torn:
            file.truncate(data.rfind(b"\n") + 1)
        else:
            file.seek(0, os.SEEK_END)
            file.write(b"\n")
        file.flush()
        os.fsync(file.fileno())


def list_label_files(run: Path) -> dict[str, Path]:
    """The label files of a run by the name of the labeler, in order of name."""
    paths = sorted((run / LABELS_FOLDER).glob(f"{LABELS_PREFIX}*.jsonl"))
    return {path.name.removeprefix(LABELS_PREFIX).removesuffix(".jsonl"): path for path in paths}


def read_run_labels(run: Path, questions: Sequence[Question]) -> list[LabelSet]:
    """Read the labels of every labeler of a run."""
    return [
        read_labels(path, name, questions, appended=True)
        for name, path in list_label_files(run).items()
    ]


def describe_stored_labels(log: LabelLog, questions: Sequence[Question]) -> list[str]:
    """Report which of a labeler's stored labels count for a sample; empty if there are none."""
    labels, path = log.labels, log.path
    messages = []
    if labels.torn:
        messages.append(
            f"{path} ended in an incomplete line, left by a process that was killed; it was cut "
            "off, and its question is asked again"
        )
    if not labels.answers:
        return messages
    complete = sum(labels.is_complete(question.key) for question in questions)
    messages.append(
        f"resuming as {labels.name}: {complete:,} of {len(questions):,} responses are labeled"
    )
    keys = {question.key for question in questions}
    older = [key for key in labels.answers if labels.draws.get(key) != log.draw]
    if older:
        valid = sum(key in keys for key in older)
        messages.append(
            f"the run was redrawn since {len(older):,} responses were labeled: {valid:,} labels "
            f"still count, because this sample has the same texts; the other "
            f"{len(older) - valid:,} do not (they stay in {path})"
        )
    other = sum(key not in keys for key in labels.answers) - sum(key not in keys for key in older)
    if other:
        messages.append(
            f"{other:,} labeled responses are not in the sample of this --ask and --seed, and are "
            f"not used (they stay in {path})"
        )
    return messages
