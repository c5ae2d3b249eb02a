"""The library functions behind ``isaac pollute`` and ``isaac score``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isaac.errors import RecipeError, RunError
from isaac.evaluate.dialogue import (
    PollutionSettings,
    pollute_corpus,
    read_truth_file,
    score_corpus,
)
from tests.talks import BookingCorpus, write_corpus


@pytest.fixture
def logs(tmp_path: Path) -> BookingCorpus:
    return write_corpus(tmp_path)


def test_a_polluted_corpus_is_written_and_summarized(logs: BookingCorpus) -> None:
    out, truth = logs.folder / "polluted.json", logs.folder / "truth.jsonl"
    result = pollute_corpus(str(logs.file), out, truth, PollutionSettings(rate=0.5, seed=3))
    assert (result.dialogues, result.system_turns, result.notes) == (20, 40, ())
    assert result.summary().startswith("polluted 20 of 40 system turns (50.0%), in ")
    assert read_truth_file(truth) == result.polluted.truth
    written = json.loads(out.read_text(encoding="utf-8"))
    texts = {key: written[key[0]]["log"][key[1]]["text"] for key in result.polluted.texts}
    assert texts == result.polluted.texts


def test_scores_come_with_notes_on_what_is_not_scored(logs: BookingCorpus) -> None:
    result = score_corpus(str(logs.file))
    assert (result.scores.dialogues, result.scores.responses) == (20, 40)
    assert [note.split(":")[0] for note in result.notes] == [
        "no --gold",
        "no --database",
        "no --truth and no --words",
    ]
    full = score_corpus(str(logs.file), gold=str(logs.file), database=logs.database, words=True)
    assert full.notes == ()
    assert full.scores.overall.inform == 100
    assert full.scores.bleu == pytest.approx(100)


def test_an_unfinished_run_and_an_unknown_format_are_refused(logs: BookingCorpus) -> None:
    (logs.folder / "recipe.yaml").write_text("", encoding="utf-8")
    with pytest.raises(RunError, match="not a finished run"):
        score_corpus(str(logs.folder))
    with pytest.raises(RecipeError, match="unknown format 'nope'; available: predictions, "):
        score_corpus(str(logs.file), "nope")
