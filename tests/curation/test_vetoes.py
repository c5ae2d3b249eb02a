"""A judge's vetoes: portions survive an interruption, and a judge that fails stops the curation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from isaac import Recipe, Tools
from isaac.curation import vetoes
from isaac.errors import JudgeError
from isaac.models.judges import Judgment
from isaac.runs.jobs import curate_to

ROWS = 200


class FlakyJudge:
    """Says unsafe to every seventh response; fails on those that ``fails`` names."""

    def __init__(self, fails: set[str]) -> None:
        self.fails, self.asked = fails, list[str]()

    def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
        self.asked += responses
        if self.fails & set(responses):
            raise OSError("the endpoint is down")
        numbers = [int(text.split()[2]) for text in responses]
        return [Judgment("unsafe" if number % 7 == 0 else "safe") for number in numbers]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "in.jsonl"
    rows = ({"context": f"question {i}", "response": f"answer number {i}"} for i in range(ROWS))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def curate(path: Path, source: Path, judge: FlakyJudge) -> np.ndarray:
    recipe = Recipe.redraw_most(judge="flaky")
    run = curate_to(path, source, recipe, Tools(judges={"flaky": judge}), force=True)
    return np.asarray(run.curation().response_scores.vetoed)


def test_a_judge_that_fails_stops_the_curation_and_is_asked_again_for_the_rest(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vetoes, "PORTION_EXCHANGES", 32)
    expected = curate(tmp_path / "whole", source, FlakyJudge(set()))
    assert expected.sum() == len(range(0, ROWS, 7))
    broken = FlakyJudge({f"answer number {i}" for i in range(ROWS)} - {"answer number 0"})
    with pytest.raises(JudgeError, match=r"the endpoint is down.*run the same command again"):
        curate(tmp_path / "run", source, broken)
    # One that answers the first portions only, then all: the first portions are not asked again.
    first = FlakyJudge(set())
    limit = 64

    class Dying(FlakyJudge):
        def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
            if len(self.asked) >= limit:
                raise OSError("the endpoint is down")
            return super().judge(contexts, responses)

    with pytest.raises(JudgeError):
        curate(tmp_path / "run", source, Dying(set()))
    assert np.array_equal(curate(tmp_path / "run", source, first), expected)
    assert len(first.asked) == ROWS - limit
    assert not list((tmp_path / "run" / "vectors").glob("vetoes.0*"))


def test_a_few_failures_leave_rows_unscored(tmp_path: Path, source: Path) -> None:
    judge = FlakyJudge({"answer number 3"})
    verdicts = curate(tmp_path / "run", source, judge)
    assert np.isnan(verdicts).sum() == 1
