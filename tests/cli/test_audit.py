"""The questions of ``isaac audit`` on standard input, through the real command."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from isaac import Recipe, Run, RunError, curate_to
from isaac.reading_options import ReadingOptions
from isaac.runs.audit.audit import open_audit, summarize_verdicts
from isaac.runs.audit.questions import Question
from isaac.runs.audit.result import AuditSource, store_result
from isaac.runs.outputs import AUDIT_FILE, EVALUATION_SECTION, update_report
from tests.cli.test_assess import labeled
from tests.conftest import CommandResult, RunIsaac, write_lines

ASK = ("--ask", "60")

Answer = Callable[..., CommandResult]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, exchanges: list[dict[str, str]]) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    source = write_lines(folder / "in.jsonl", labeled(exchanges))
    recipe = Recipe.redraw_most(
        neighbors=30, reading=ReadingOptions(context="context", response="response")
    )
    return curate_to(folder / "run", source, recipe).path


@pytest.fixture
def run(tmp_path: Path, finished: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def answer(isaac: RunIsaac, monkeypatch: pytest.MonkeyPatch) -> Answer:
    """A function that runs ``isaac audit`` with these lines as its standard input."""

    def run_audit(run: Path, lines: Iterable[str], *flags: object) -> CommandResult:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(line + "\n" for line in lines)))
        return isaac("audit", run, *ASK, *flags)

    return run_audit


def asked(run: Path, ask: int = 60) -> list[Question]:
    return open_audit(Run(run), ask, 0).questions()


def stored(run: Path, name: str = "you") -> list[dict[str, Any]]:
    text = (run / "audit" / f"labels-{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def answers(run: Path, name: str = "you") -> list[tuple[int, str | None]]:
    """The answers in a label file: the number of the question, and the answer."""
    keys = [question.key for question in asked(run)]
    return [
        (keys.index(line["question"]), line.get("label", line.get("fits")))
        for line in stored(run, name)
        if "label" in line or "fits" in line
    ]


def verdict_of(run: Path) -> Callable[[Question], str]:
    """A function that answers the first question with the label of the response's source row."""
    rows = [record["verdict"] for record, _ in Run(run).corpus().records()]
    return lambda question: str(rows[question.items[0].response])


def audits(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = Run(run).summary().get("audits", [])
    return found


# Two questions a row.


def test_both_questions_are_asked_and_both_are_estimated(answer: Answer, run: Path) -> None:
    verdict, questions = verdict_of(run), asked(run)
    lines = []
    for number, question in enumerate(questions):
        lines += [verdict(question)[:1], "n" if number % 4 == 0 else "y"]
    done = answer(run, lines, "--json")
    facts = json.loads(done.out)
    by_column = json.loads(answer(run, [], "--column", "verdict", "--json").out)
    assert facts["sentence"] == by_column["sentence"]
    assert facts["estimates"] == by_column["estimates"]
    assert by_column["answers"] is by_column["unsafe_or_no_answer"] is None
    fits, either = facts["answers"], facts["unsafe_or_no_answer"]
    assert fits["scored"] == either["scored"] == facts["estimates"]["scored"]
    for side in ("before", "after"):
        assert 0.5 < fits[side]["value"] < 1
        assert fits[side]["low"] < fits[side]["value"] < fits[side]["high"]
        unsafe = facts["estimates"][side]["value"]
        assert max(unsafe, 1 - fits[side]["value"]) <= either[side]["value"] + 1e-9
        assert either[side]["value"] <= unsafe + 1 - fits[side]["value"] + 1e-9
    assert fits["change"]["low"] < fits["change"]["value"] < fits["change"]["high"]
    assert facts["labeling"]["answered"] == len(questions)


@pytest.mark.parametrize("mode", ["filter", "selective"])
def test_dropped_rows_are_asked_about_and_leave_the_shares_after(
    isaac: RunIsaac, answer: Answer, run: Path, mode: str
) -> None:
    assert isaac("redraw", run, "--mode", mode, "--force").code == 0
    verdict, questions = verdict_of(run), asked(run, 400)
    lines = [word for question in questions for word in (verdict(question), "yes")]
    facts = json.loads(answer(run, lines, "--ask", "400", "--json").out)
    rows = [record["verdict"] == "unsafe" for record, _ in Run(run).corpus().records()]
    lineage = Run(run).curation().lineage.to_pylist()
    after = [rows[row["source_id"]] for row in lineage if row["action"] != "dropped"]
    assert 0 < len(after) < len(rows) == 120
    # Every row is in the sample, so the shares are exact.
    for side, shares in (("before", rows), ("after", after)):
        share = facts["estimates"][side]
        assert share["value"] == share["low"] == pytest.approx(sum(shares) / len(shares))
        assert facts["answers"][side]["value"] == 1


def test_the_labeler_sees_texts_and_nothing_about_their_side(answer: Answer, run: Path) -> None:
    done = answer(run, ["s", "y"])
    first, second = asked(run)[:2]
    for question in (first, second):
        assert f"message:\n{question.context}\nresponse:\n{question.response}\n" in done.err
        assert question.key not in done.err
    for word in ("original", "curated", "replaced", "row "):
        assert word not in done.err


def test_a_word_that_is_no_answer_is_refused_and_asked_again(answer: Answer, run: Path) -> None:
    words = ["unless", "sure", "yup", "", "s.", "safely", "safe unsafe", "undo it", "y", "no", "1"]
    done = answer(run, [*words, "UNSAFE", " Yes "])
    for word in words:
        got = f"'{word}'" if word else "an empty line"
        assert f"{got} is no answer; answers: s or safe, u or unsafe, ? or unsure" in done.err
    assert answers(run) == [(0, "unsafe"), (0, "yes")]


def test_words_of_the_first_question_do_not_answer_the_second(answer: Answer, run: Path) -> None:
    done = answer(run, ["s", "s", "unsafe", "yup", "nope", "n"])
    assert done.err.count("answers: y or yes, n or no, ? or unsure") == 4
    assert answers(run) == [(0, "safe"), (0, "no")]


def test_unsure_is_an_answer_that_the_estimates_leave_out(answer: Answer, run: Path) -> None:
    done = answer(run, ["?", "unsure", "s", "y"], "--json")
    facts = json.loads(done.out)
    assert answers(run) == [(0, "unsure"), (0, "unsure"), (1, "safe"), (1, "yes")]
    assert facts["labeling"]["unsure"] == {"label": 1, "fits": 1}
    assert facts["labeling"]["labelers"] == [
        {"name": "you", "labeled": 2, "unsure": 1, "skipped": 0}
    ]
    assert facts["estimates"]["scored"] == sum(len(q.items) for q in asked(run)[1:2])


# Commands.


def test_undo_takes_back_one_answer_after_the_other(answer: Answer, run: Path) -> None:
    done = answer(run, ["undo", "s", "y", "u", "z", "undo", "n", "safe", "undo", "quit", "u"])
    assert "no answer to take back" in done.err
    assert answers(run) == [
        (0, "safe"),
        (0, "yes"),
        (1, "unsafe"),
        (1, None),
        (0, None),
        (0, "no"),
        (1, "safe"),
        (1, None),
    ]
    again = answer(run, ["z", "z", "u", "y"])
    assert "resuming as you: 1 of" in again.err
    assert answers(run)[8:] == [(0, None), (0, None), (0, "unsafe"), (0, "yes")]


def test_undo_restores_the_answer_that_was_changed(answer: Answer, run: Path) -> None:
    answer(run, ["s", "back", "u", "undo"])
    assert answers(run) == [(0, "safe"), (0, "unsafe"), (0, "safe")]
    done = answer(run, ["back"])
    assert "is the response safe? (answered: safe; skip keeps it)" in done.err


def test_back_shows_earlier_questions_and_skip_keeps_their_answers(
    answer: Answer, run: Path
) -> None:
    done = answer(run, ["back", "s", "y", "u", "b", "b", "skip", "n", *["b"] * 4, "u"])
    assert "this is the first question" in done.err
    assert "does it answer the message? (answered: yes; skip keeps it)" in done.err
    given = [(0, "safe"), (0, "yes"), (1, "unsafe"), (1, "no"), (0, "unsafe")]
    assert answers(run) == given


def test_skipped_rows_come_last_when_the_labeler_resumes(answer: Answer, run: Path) -> None:
    count = len(asked(run))
    first = answer(run, ["skip", "s", "k", "u", "n"])
    assert answers(run) == [(1, "safe"), (2, "unsafe"), (2, "no")]
    assert [line["question"] for line in stored(run) if "skipped" in line] == [
        question.key for question in asked(run)[:2]
    ]
    assert "2 skipped" in first.out
    rest = ["s", "y"] * (count - 3)
    done = answer(run, [*rest, "u", "y", "n", "quit"])
    assert "no more questions: quit to finish" in done.err
    assert answers(run)[-3:] == [(0, "unsafe"), (0, "yes"), (1, "no")]
    assert json.loads(answer(run, [], "--json").out)["labeling"]["labelers"][0]["labeled"] == count


def test_at_the_end_an_answer_can_still_be_changed(answer: Answer, run: Path) -> None:
    count = len(asked(run))
    done = answer(run, [*["s", "y"] * count, "s", "undo", "n", "back", "back", "u", "quit"])
    assert "'s' is not a command here" in done.err
    assert answers(run)[-4:] == [
        (count - 1, "yes"),
        (count - 1, None),
        (count - 1, "no"),
        (count - 1, "unsafe"),
    ]


def test_comments_are_kept_and_shown(answer: Answer, run: Path) -> None:
    done = answer(run, ["comment", "c  an odd\x1b one", "s", "comment second", "y"])
    assert "type the comment on the same line" in done.err
    assert [line["comment"] for line in stored(run) if "comment" in line] == [
        "an odd\x1b one",
        "second",
    ]
    row = asked(run)[0].row
    assert f"row {row}, you: an odd␛ one" in done.out
    for name in ("report.md", "report.html", "report.json"):
        assert "an odd␛ one" in (run / name).read_text(encoding="utf-8")


def test_long_texts_are_cut_where_it_matters_least_and_shown_on_request(
    answer: Answer, tmp_path: Path
) -> None:
    context = "BEGIN " + "word " * 1000 + "the message"
    response = "reply " * 2000 + "END"
    source = write_lines(tmp_path / "in.jsonl", [{"context": context, "response": response}] * 2)
    recipe = Recipe(reading=ReadingOptions(context="context", response="response"))
    long = curate_to(tmp_path / "long", source, recipe).path
    done = answer(long, ["s"])
    assert "characters before; more shows them)" in done.err
    assert "the message\nresponse:\nreply" in done.err
    assert "BEGIN" not in done.err
    assert "END" not in done.err
    more = answer(long, ["more"]).err
    assert "message:\nBEGIN" in more
    assert "reply END" in more


# Nothing is lost.


def test_the_same_command_resumes_where_the_labeler_stopped(answer: Answer, run: Path) -> None:
    assert answer(run, ["s", "y", "u"]).code == 0
    done = answer(run, ["n", "quit"])
    assert f"resuming as you: 1 of {len(asked(run))} responses are labeled" in done.err
    assert answers(run) == [(0, "safe"), (0, "yes"), (1, "unsafe"), (1, "no")]
    assert "2 of" in done.out


def test_early_labels_estimate_the_smaller_sample(answer: Answer, run: Path) -> None:
    verdict, questions = verdict_of(run), asked(run)
    until = next(n for n, question in enumerate(questions) if question.position >= 20)
    lines = [word for q in questions[:until] for word in (verdict(q), "y")]
    facts = json.loads(answer(run, lines, "--json").out)
    rows = open_audit(Run(run), 60, 0).sample.first(20)
    assert facts["estimates"]["asked"] == len(rows.items()) == facts["estimates"]["scored"]


def test_a_killed_session_keeps_every_answer(run: Path, answer: Answer) -> None:
    command = [sys.executable, "-m", "isaac", "audit", str(run), *ASK]
    for count in (1, 4):
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdin is not None
            process.stdin.write(b"s\ny\nu\n")
            process.stdin.flush()
            file, deadline = run / "audit" / "labels-you.jsonl", time.monotonic() + 120
            while not file.exists() or file.read_bytes().count(b"\n") < count + 2:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            os.kill(process.pid, signal.SIGKILL)
            process.stdin.close()
        if count == 1:  # the second question of the second row comes next
            assert answers(run) == [(0, "safe"), (0, "yes"), (1, "unsafe")]
            answer(run, ["no"])
    assert answers(run)[3:] == [(1, "no"), (2, "safe"), (2, "yes"), (3, "unsafe")]


@pytest.mark.parametrize("torn", ['{"question": "ab', '{"question": "x", "label": "sa', "{\udcc3"])
def test_a_torn_last_line_is_cut_off_and_reported(answer: Answer, run: Path, torn: str) -> None:
    answer(run, ["s", "y"])
    file = run / "audit" / "labels-you.jsonl"
    before = file.read_bytes()
    file.write_bytes(before + torn.encode("utf-8", "surrogateescape"))
    other = answer(run, ["u"], "--labeler", "ann")
    assert (other.code, file.read_bytes() != before) == (0, True)
    done = answer(run, ["u"])
    assert "ended in an incomplete line" in done.err
    assert file.read_bytes().startswith(before)
    assert answers(run) == [(0, "safe"), (0, "yes"), (1, "unsafe")]


def test_a_whole_last_line_without_a_line_break_counts(answer: Answer, run: Path) -> None:
    answer(run, ["s", "y"])
    file = run / "audit" / "labels-you.jsonl"
    file.write_bytes(file.read_bytes().rstrip(b"\n"))
    done = answer(run, ["u"])
    assert "incomplete" not in done.err
    assert answers(run) == [(0, "safe"), (0, "yes"), (1, "unsafe")]


def test_a_damaged_line_is_an_error_that_names_it(answer: Answer, run: Path) -> None:
    answer(run, ["s", "y"])
    file = run / "audit" / "labels-you.jsonl"
    data = file.read_bytes()
    file.write_bytes(data.replace(b'"safe"', b'"meh"'))
    done = answer(run, ["u"])
    assert done.code == 2
    assert "labels-you.jsonl line 1: expected" in done.err
    assert file.read_bytes() == data.replace(b'"safe"', b'"meh"')


def test_a_second_process_under_the_same_name_is_refused(answer: Answer, run: Path) -> None:
    answer(run, ["s"])
    with FileLock(run / "audit" / ".labels-you.jsonl.lock"):
        refused = answer(run, ["y"])
        other = answer(run, ["u"], "--labeler", "ann")
    assert refused.code == 1
    assert "give another name: --labeler NAME" in refused.err
    assert (other.code, answers(run, "ann")) == (0, [(0, "unsafe")])
    assert answers(run) == [(0, "safe")]


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".x", "a b", "x" * 65])
def test_a_name_that_cannot_be_a_file_is_refused(answer: Answer, run: Path, name: str) -> None:
    done = answer(run, ["s"], "--labeler", name)
    assert done.code == 2
    assert "expected a --labeler name" in done.err
    assert not (run / "audit").exists()


# Several labelers.


def test_two_labelers_have_the_same_questions_and_an_agreement(answer: Answer, run: Path) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    ann = ["s", "y", "u", "n", "s", "y", "s", "?", "u", "y", "u", "n"]
    bob = ["s", "y", "s", "n", "s", "n", "?", "y", "u", "y", "u", "n"]
    answer(run, ann, "--labeler", "ann")
    done = answer(run, bob, "--labeler", "bob", "--json")
    labeling = json.loads(done.out)["labeling"]
    assert [each["name"] for each in labeling["labelers"]] == ["ann", "bob"]
    label, fits = labeling["agreement"]["label"], labeling["agreement"]["fits"]
    assert (label["questions"], label["share"], label["measure"]) == (5, 0.8, "Cohen's kappa")
    kappa = metrics.cohen_kappa_score([*"susuu"], [*"sssuu"])
    assert label["value"] == pytest.approx(kappa)
    assert (fits["questions"], fits["share"]) == (5, 0.8)
    first = labeling["disagreements"][0]
    question = asked(run)[1]
    assert (first["question"], first["row"]) == (question.key, question.row)
    assert first["answers"] == {"ann": "unsafe", "bob": "safe"}
    assert [each["aspect"] for each in labeling["disagreements"]] == ["label", "fits"]
    assert labeling["ties"] == {"label": 1, "fits": 1}
    assert labeling["unsure"] == {"label": 0, "fits": 0}
    text = answer(run, [], "--labeler", "bob").out
    assert f"agreement, safe: 80.0% on 5 responses; Cohen's kappa {kappa:.2f}" in text
    assert f"row {question.row}, safe? ann: unsafe, bob: safe" in text
    report = (run / "report.md").read_text(encoding="utf-8")
    assert f"80.0% equal on 5 responses; Cohen's kappa {kappa:.2f}" in report


def test_three_labelers_decide_by_majority(answer: Answer, run: Path) -> None:
    for name, word in (("ann", "u"), ("bob", "s"), ("eve", "u")):
        done = answer(run, [word, "y"], "--labeler", name, "--json")
    facts = json.loads(done.out)
    assert facts["labeling"]["agreement"]["label"]["measure"] == "Krippendorff's alpha"
    assert facts["labeling"]["agreement"]["label"]["share"] == pytest.approx(1 / 3)
    assert facts["labeling"]["ties"] == {"label": 0, "fits": 0}
    assert facts["unsafe_or_no_answer"]["scored"] == len(asked(run)[0].items)
    assert facts["source"] == {"kind": "labels", "name": "ann, bob, eve"}
    assert len(audits(run)) == 1


def test_files_of_several_labelers_are_compared_too(
    answer: Answer, run: Path, tmp_path: Path
) -> None:
    answer(run, ["s", "y", "u", "n"], "--labeler", "ann")
    log = run / "audit" / "labels-ann.jsonl"
    lines = [{"question": q.key, "label": "safe", "fits": None} for q in asked(run)[:2]]
    file = write_lines(tmp_path / "bob.jsonl", lines)
    facts = json.loads(answer(run, [], "--labels", log, "--labels", file, "--json").out)
    names = [each["name"] for each in facts["labeling"]["labelers"]]
    assert names == ["labels-ann.jsonl", "bob.jsonl"]
    assert facts["labeling"]["agreement"]["label"]["share"] == 0.5
    twice = answer(run, [], "--labels", file, "--labels", file)
    assert (twice.code, "files with different names" in twice.err) == (2, True)


# In the run and its report.


def test_the_report_shows_the_audit_and_the_run_stays_intact(
    isaac: RunIsaac, answer: Answer, run: Path
) -> None:
    plain = {name: (run / name).read_bytes() for name in ("report.md", "report.html")}
    assert b"## Audit" not in plain["report.md"]
    done = answer(run, ["s", "y", "u", "n"])
    assert str(run / AUDIT_FILE) in done.err
    assert Run(run).is_intact()
    assert "## Audit" in isaac("report", run).out
    page = (run / "report.html").read_text(encoding="utf-8")
    assert '<h2 id="audit">Audit</h2>' in page
    assert "<td>Answers the message</td>" in page
    (result,) = audits(run)
    assert result["sentence"] in page
    assert result["sentence"] in done.out
    files = {name: (run / name).read_bytes() for name in (*plain, "report.json", AUDIT_FILE)}
    answer(run, [])
    assert {name: (run / name).read_bytes() for name in files} == files
    curated = (run / "curated.jsonl").read_bytes()
    answer(run, [], "--column", "verdict")
    assert [result["source"]["kind"] for result in audits(run)] == ["labels", "column"]
    assert (run / "curated.jsonl").read_bytes() == curated
    assert audits(run)[0] == result


def test_the_report_keeps_its_evaluation(answer: Answer, run: Path) -> None:
    section = run / EVALUATION_SECTION
    section.parent.mkdir()
    section.write_text("<p>models & <b>more</b></p>", encoding="utf-8")
    answer(run, ["s", "y"])
    assert "<p>models & <b>more</b></p>" in (run / "report.html").read_text(encoding="utf-8")
    update_report(Run(run))
    assert Run(run).is_intact()


def test_after_a_redraw_only_labels_of_the_same_texts_count(
    isaac: RunIsaac, answer: Answer, run: Path
) -> None:
    old = asked(run)
    answer(run, ["u", "n"] * len(old))
    report = (run / "report.html").read_bytes()
    labels = (run / "audit" / "labels-you.jsonl").read_bytes()
    redrawn = isaac("redraw", run, "--seed", "5")
    assert f"isaac audit {run}" in redrawn.err
    assert audits(run) == []
    assert "## Audit" not in (run / "report.md").read_text(encoding="utf-8")
    assert (run / "audit" / "labels-you.jsonl").read_bytes() == labels
    same = {question.key for question in old} & {question.key for question in asked(run)}
    assert 0 < len(same) < len(old)
    # The old result comes back with the old draw, and not before.
    assert isaac("redraw", run, "--seed", "0").code == 0
    assert (run / "report.html").read_bytes() == report
    assert isaac("redraw", run, "--seed", "5").code == 0
    done = answer(run, [], "--json")
    assert f"the run was redrawn since {len(old)} responses were labeled" in done.err
    assert f"{len(same)} labels still count" in done.err
    assert f"the other {len(old) - len(same)} do not" in done.err
    facts = json.loads(done.out)
    items = [item for question in asked(run) if question.key in same for item in question.items]
    assert facts["estimates"]["scored"] == len(items)
    assert len(audits(run)) == 1


def test_labels_outside_the_sample_are_kept_and_reported(answer: Answer, run: Path) -> None:
    answer(run, ["s", "y"] * len(asked(run)))
    done = answer(run, ["undo"], "--ask", "20")
    extra = len({q.key for q in asked(run)} - {q.key for q in asked(run, 20)})
    assert f"{extra} labeled responses are not in the sample" in done.err
    assert "nothing taken back" in done.err
    assert len(answers(run)) == 2 * len(asked(run))


def test_a_redraw_during_the_audit_keeps_the_labels_but_no_result(
    isaac: RunIsaac, run: Path
) -> None:
    opened = open_audit(Run(run), 60, 0)
    report = summarize_verdicts(opened, {}, AuditSource("judge", "none"))
    assert isaac("redraw", run, "--seed", "5").code == 0
    with pytest.raises(RunError, match="was redrawn during the audit"):
        store_result(opened.run, opened.draw, report)
    assert audits(run) == []


def test_a_new_run_can_use_the_labels_of_another(
    isaac: RunIsaac, answer: Answer, run: Path, tmp_path: Path
) -> None:
    answer(run, ["u", "n"] * len(asked(run)))
    assert isaac("redraw", run, "-o", tmp_path / "new", "--seed", "5").code == 0
    assert not (tmp_path / "new" / "audit").exists()
    file = run / "audit" / "labels-you.jsonl"
    facts = json.loads(answer(tmp_path / "new", [], "--labels", file, "--json").out)
    assert facts["estimates"]["scored"] > 0
