"""A healer opened from a run, as a server would use it."""

from __future__ import annotations

import json

import pytest

from isaac import CorpusError, Recipe, curate_to
from isaac.corpus.formats import RowError
from isaac.healing import HealingSettings, open_healer
from isaac.reading_options import ReadingOptions
from isaac.runs import Run
from tests.conftest import write_lines
from tests.healing.test_pipeline import BrokenJudge

ODD = "Nobody cares about that."


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, exchanges: list[dict[str, str]]) -> Run:
    folder = tmp_path_factory.mktemp("lines")
    source = write_lines(folder / "in.jsonl", exchanges)
    return curate_to(folder / "run", source, Recipe.redraw_most(neighbors=30))


def test_a_record_and_its_line_are_healed_in_the_same_way(
    run: Run, exchanges: list[dict[str, str]]
) -> None:
    healer = open_healer(run)
    record = {**exchanges[0], "response": ODD, "isaac_action": "mine"}
    healed = healer.heal_record(record)
    assert (healed["isaac_action"], healed["isaac_action_2"]) == ("mine", "replaced")
    assert record["response"] == ODD
    line = json.dumps(record).encode()
    lines = [b"\xef\xbb\xbf" + line + b"\r\n", b"\n", b"\xff\n", line]
    first, broken, last = map(json.loads, healer.heal_lines(lines))
    assert first == last == healed
    assert broken["isaac_action"] == "rejected"
    assert broken["raw_base64"]


def test_a_record_that_cannot_be_used_is_an_error(run: Run) -> None:
    healer = open_healer(run, reading=ReadingOptions(format="messages"))
    with pytest.raises((RowError, CorpusError)):
        healer.heal_record({"a": 1})
    with pytest.raises(CorpusError, match="no format 'nope'; available: preference"):
        open_healer(run, reading=ReadingOptions(format="nope"))


def test_the_pipeline_counts_the_failures_of_a_judge(
    run: Run, exchanges: list[dict[str, str]]
) -> None:
    healer = open_healer(run, judge=BrokenJudge(), settings=HealingSettings("No comment.", tries=1))
    assert healer.heal_record(exchanges[0])["isaac_action"] == "fallback"
    failures = healer.pipeline.judge_failures
    assert 1 <= failures.failed == failures.attempts <= 2
    assert failures.first_error == "OSError: out of order"
