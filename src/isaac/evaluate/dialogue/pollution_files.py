"""Pollute a corpus in files, as ``isaac pollute`` does, and read its truth file back."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from ...corpus.act_files import ALL_ACT_FILES, find_act_files
from ...corpus.dialogue.schema import system_turns
from ...corpus.records import dumps
from ...corpus.sources import find_sources
from ...errors import CorpusError, RecipeError
from ...runtime.atomic_files import atomic_write
from .files import parse_json_line, read_dialogues
from .pollution import (
    POLLUTION_KINDS,
    Injection,
    PollutedCorpus,
    PollutionSettings,
    parse_truth,
    pollute,
    truth_rows,
)

PACKED_SUFFIXES = (".zip", ".gz", ".zst")
"""File name endings of compressed files, which can be read but not written."""


class PollutionResult(NamedTuple):
    """A polluted corpus, and how many dialogues and system turns with text the original has.

    ``notes`` are remarks on the input for the user, one sentence each.
    """

    polluted: PollutedCorpus
    dialogues: int
    system_turns: int
    notes: tuple[str, ...]

    def summary(self) -> str:
        """Summarize in one line how many turns and dialogues are polluted, and by kind."""
        truth, turns = self.polluted.truth, self.system_turns
        touched = len({row.dialogue for row in truth})
        counts = Counter(row.kind for row in truth)
        share = f" ({len(truth) / turns:.1%})" if turns else ""
        kinds = ", ".join(f"{kind} {counts[kind]:,}" for kind in POLLUTION_KINDS if counts[kind])
        return (
            f"polluted {len(truth):,} of {turns:,} system turns{share}, in {touched:,} of "
            f"{self.dialogues:,} dialogues{': ' if kinds else ''}{kinds}"
        )


def pollute_corpus(
    source: str,
    out: Path,
    truth: Path,
    settings: PollutionSettings | None = None,
    *,
    format_name: str | None = None,
) -> PollutionResult:
    """Pollute a corpus; write it to ``out`` and what was injected to ``truth``.

    The polluted corpus has the same format as the input; the truth is JSON Lines, one polluted turn
    per line (see `read_truth_file`). The input's format is detected unless given. Raises
    `RecipeError` for invalid settings or output files, and `CorpusError` if the input cannot be
    read.
    """
    _check_output_files(source, out, truth)
    corpus = read_dialogues(source, format_name)
    dialogues = corpus.dialogues()
    polluted = pollute(dialogues, *(settings or PollutionSettings()))
    with atomic_write(truth) as truth_file, atomic_write(out) as corpus_file:
        corpus_file.writelines(corpus.serialize(polluted.texts))
        truth_file.writelines(dumps(row) + "\n" for row in truth_rows(polluted))
    turns = [turn for dialogue in dialogues for turn in system_turns(dialogue)]
    with_text = sum(bool(turn.text.strip()) for turn in turns)
    return PollutionResult(polluted, len(dialogues), with_text, tuple(corpus.notes()))


def _check_output_files(source: str, out: Path, truth: Path) -> None:
    """Raise `RecipeError` if an output would overwrite the input or the other output."""
    inputs = find_sources(source)
    inputs += find_act_files(inputs, ALL_ACT_FILES)
    paths = [os.path.realpath(file.path) for file in inputs if file.path]
    for flag, path in (("--out", out), ("--truth", truth)):
        if os.path.realpath(path) in paths:
            raise RecipeError(f"{flag} {path} is a file of the input; choose another file")
        if path.suffix.lower() in PACKED_SUFFIXES:
            raise RecipeError(f"{flag} {path}: output cannot be compressed; use a .json file")
    if os.path.realpath(out) == os.path.realpath(truth):
        raise RecipeError(f"--out and --truth are the same file, {out}; choose two files")


def read_truth_file(path: Path) -> tuple[Injection, ...]:
    """Read the truth that `pollute_corpus` wrote; raises `CorpusError` for any other file."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise CorpusError(
            f"{path} is not UTF-8 text; expected the file that `isaac pollute --truth` wrote"
        ) from None
    rows = [
        parse_json_line(f"{path} line {number}", line)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    try:
        return parse_truth(rows)
    except CorpusError as error:
        raise CorpusError(f"{path}: {error}") from None
