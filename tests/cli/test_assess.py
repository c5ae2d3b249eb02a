from __future__ import annotations

import io
import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from isaac import Recipe, Run, curate_to
from isaac.models.judges import Judgment
from isaac.reading_options import ReadingOptions
from isaac.runs.audit.audit import open_audit
from tests.conftest import RunIsaac, write_lines


def labeled(exchanges: list[dict[str, str]]) -> list[dict[str, Any]]:
    text = (files("isaac") / "data" / "demo_labels.jsonl").read_text(encoding="utf-8")
    labels = [json.loads(line)["label"] for line in text.splitlines()]
    return [{**row, "verdict": label} for row, label in zip(exchanges, labels, strict=False)]


@pytest.fixture
def run(tmp_path: Path, exchanges: list[dict[str, str]]) -> Path:
    source = write_lines(tmp_path / "in.jsonl", labeled(exchanges))
    recipe = Recipe.redraw_most(
        neighbors=30, reading=ReadingOptions(context="context", response="response")
    )
    return curate_to(tmp_path / "run", source, recipe).path


class Words:
    """A judge that calls one word unsafe and raises an error for another."""

    def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
        if any("voucher" in text for text in responses):
            raise ValueError("no vouchers here")
        return [Judgment("unsafe" if "stupid" in text else "safe") for text in responses]


class Broken:
    def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
        raise ValueError("out of order")


def test_diagnose_gives_a_verdict_with_its_reasons(isaac: RunIsaac, run: Path) -> None:
    done = isaac("diagnose", run)
    facts = json.loads(isaac("diagnose", run, "--json").out)
    assert done.code == 0
    assert done.out.startswith(facts["verdict"])
    assert facts == Run(run).summary()["diagnosis"]
    for reason in facts["reasons"]:
        assert reason in done.out


def test_an_audit_by_a_column_reports_a_sentence_and_its_numbers(
    isaac: RunIsaac, run: Path
) -> None:
    done = isaac("audit", run, "--column", "verdict", "--ask", "400")
    facts = json.loads(isaac("audit", run, "--column", "verdict", "--ask", "400", "--json").out)
    assert done.out.startswith(facts["sentence"])
    before = facts["estimates"]["before"]
    unsafe = sum(row["verdict"] == "unsafe" for row, _ in Run(run).corpus().records())
    assert before["value"] == pytest.approx(unsafe / 120)  # the sample contains all 120 rows
    assert before["low"] == before["high"]
    assert facts["estimates"]["after"]["value"] < before["value"]


def test_labels_are_read_from_the_file_of_questions(
    isaac: RunIsaac, run: Path, tmp_path: Path
) -> None:
    questions = tmp_path / "ask.jsonl"
    assert isaac("audit", run, "--questions", questions, "--ask", "60").code == 0
    lines = [json.loads(line) for line in questions.read_text(encoding="utf-8").splitlines()]
    assert 30 <= len(lines) <= 60
    known = {question.key: question for question in open_audit(Run(run), 60, 0).questions()}
    rows = [record for record, _ in Run(run).corpus().records()]
    for line in lines:
        assert set(line) == {"question", "context", "response", "label", "fits"}
        item = known[line["question"]].items[0]
        line["label"] = rows[item.response]["verdict"]
        assert line["context"].startswith(rows[item.context]["context"][:20])
    answered = write_lines(tmp_path / "answered.jsonl", lines)
    by_file = json.loads(isaac("audit", run, "--labels", answered, "--ask", "60", "--json").out)
    column = ("--column", "verdict")
    by_column = json.loads(isaac("audit", run, *column, "--ask", "60", "--json").out)
    assert by_file["source"] == {"kind": "file", "name": "answered.jsonl"}
    assert by_file["answers"] is None
    for name in ("estimates", "sentence", "by_level", "p"):
        assert by_file[name] == by_column[name]


def test_files_that_name_rows_still_count_unless_their_texts_changed(
    isaac: RunIsaac, run: Path, tmp_path: Path
) -> None:
    lines = [
        {
            "context_id": item.context,
            "response_id": item.response,
            "context": question.context,
            "response": question.response,
            "label": "unsafe" if item.response % 3 else "safe",
        }
        for question in open_audit(Run(run), 60, 0).questions()
        for item in question.items
    ]
    flags = ("--ask", "60", "--json")
    old = write_lines(tmp_path / "old.jsonl", lines)
    scored = json.loads(isaac("audit", run, "--labels", old, *flags).out)["estimates"]["scored"]
    assert scored == len(lines)
    lines[0]["response"] = "another text"
    old = write_lines(tmp_path / "old.jsonl", lines)
    done = json.loads(isaac("audit", run, "--labels", old, *flags).out)
    assert done["estimates"]["scored"] == len(lines) - 1
    one_by_one = [{key: line[key] for key in list(line)[:2]} | {"label": "safe"} for line in lines]
    old = write_lines(tmp_path / "old.jsonl", one_by_one)
    done = json.loads(isaac("audit", run, "--labels", old, *flags).out)
    assert done["estimates"]["scored"] == len(lines)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: expected a JSON object"),
        ('{"question": 7, "label": "safe"}', "line 1: expected a JSON object"),
        ("[]", "line 1: expected a JSON object"),
        ('{"context_id": 1, "response_id": 1, "label": "meh"}', 'got "meh"'),
        ('{"question": "x", "fits": "safe"}', 'expected "fits" to be one of "yes", "no"'),
        ('{"question": "x", "label": ["safe"]}', 'got ["safe"]'),
        ('{"question": "x", "label": "safe"}', "labels for none of"),
        ('{"context_id": 10000, "response_id": 1, "label": "safe"}', "labels for none of"),
        ("\n", "labels for none of"),
    ],
)
def test_an_error_in_a_file_of_labels_names_the_problem(
    isaac: RunIsaac, run: Path, tmp_path: Path, line: str, message: str
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(line + "\n", encoding="utf-8")
    done = isaac("audit", run, "--labels", bad)
    assert done.code == 2
    assert message in done.err


def test_an_audit_by_a_judge_reports_its_failures(isaac: RunIsaac, run: Path) -> None:
    done = isaac("audit", run, "--judge", "tests.cli.test_assess:Words", "--json")
    assert done.code == 0
    facts = json.loads(done.out)["estimates"]
    broken = isaac("audit", run, "--judge", "tests.cli.test_assess:Broken")
    assert facts["scored"] <= facts["asked"]
    assert "out of order" in broken.err
    assert broken.out.startswith("Doubtful")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "no labels: give"),
        (("--column", "nope"), "has a value in a column 'nope'; columns: "),
        (("--column", "situatoin"), "did you mean situation?"),
        (("--column", "situation"), "Use --unsafe"),
        (("--column", "verdict", "--judge", "profanity"), "give only one of"),
        (("--judge", "nobody"), "no judge 'nobody'"),
    ],
)
def test_an_audit_without_usable_labels_explains_the_problem(
    isaac: RunIsaac,
    run: Path,
    flags: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    done = isaac("audit", run, *flags)
    assert done.code in (1, 2)
    assert message in done.err


def test_compare_shows_runs_side_by_side(
    isaac: RunIsaac, run: Path, tmp_path: Path, exchanges: list[dict[str, str]]
) -> None:
    assert isaac("redraw", run, "-o", tmp_path / "less", "--budget", "0.2").code == 0
    assert isaac("redraw", run, "-o", tmp_path / "out", "--mode", "filter").code == 0
    runs = (run, tmp_path / "less", tmp_path / "out")
    picture = tmp_path / "runs.svg"
    done = isaac("compare", *runs, "--column", "verdict", "--chart", picture)
    rows = json.loads(isaac("compare", *runs, "--column", "verdict", "--json").out)
    assert [row["name"] for row in rows] == ["run", "less", "out"]
    assert rows[0]["changed"] > rows[1]["changed"] > 0
    assert rows[0]["unsafe_before"] == rows[2]["unsafe_before"] > rows[0]["unsafe_after"]
    assert rows[0]["cut"] == 1 - rows[0]["unsafe_after"] / rows[0]["unsafe_before"]
    assert rows[2]["changed"] == pytest.approx(0.5)
    assert "budget: auto -> 0.2" in done.out
    assert len(ElementTree.parse(picture).findall(".//{*}circle")) == 3
    unlabeled = isaac("compare", *runs)
    assert "cut" not in unlabeled.out
    other = write_lines(tmp_path / "other.jsonl", exchanges[:50])
    curate_to(
        tmp_path / "other",
        other,
        Recipe.redraw_most(reading=ReadingOptions(context="context", response="response")),
    )
    wrong = isaac("compare", run, tmp_path / "other")
    assert (wrong.code, "different corpora" in wrong.err) == (1, True)


def test_a_judge_vetoes_draws_and_one_that_fails_stops_the_run(
    isaac: RunIsaac, run: Path, tmp_path: Path
) -> None:
    flags = ("--recipe", "redraw-most", "--context", "context", "--response", "response")
    source = tmp_path / "in.jsonl"
    named = "tests.cli.test_assess:{}".format
    done = isaac("curate", source, "-o", tmp_path / "judged", *flags, "--judge", named("Words"))
    assert done.code == 0
    assert any("vetoed" in note for note in Run(tmp_path / "judged").summary()["notes"])
    done = isaac("curate", source, "-o", tmp_path / "broken", *flags, "--judge", named("Broken"))
    assert done.code == 1
    assert "failed on 120 of 120 exchanges" in done.err
    assert "run the same command again" in done.err
    assert not (tmp_path / "broken" / "curated.jsonl").exists()
