from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from isaac import Recipe, curate_to
from isaac.reading_options import ReadingOptions
from tests.conftest import RunIsaac, write_lines
from tests.healing.test_pipeline import Breaks, Rewrites

JUDGES = """
from isaac.models.judges import Judgment

class Words:
    def judge(self, contexts, responses):
        return [Judgment("unsafe" if "cares" in text else "safe", 0.5) for text in responses]

class Broken:
    def judge(self, contexts, responses):
        raise OSError("line is \\x1b[31mdown")
"""
ODD = "Nobody cares about that."
RUDE = "Well, three times is a pattern. Some people are just too slow for it."


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, exchanges: list[dict[str, str]]) -> Path:
    """A run folder, in a folder with a module of judges."""
    folder = tmp_path_factory.mktemp("heal")
    (folder / "my_judges.py").write_text(JUDGES, encoding="utf-8")
    source = write_lines(folder / "in.jsonl", exchanges)
    return curate_to(folder / "run", source, Recipe.redraw_most(neighbors=30)).path


@pytest.fixture
def odd(exchanges: list[dict[str, str]]) -> list[str]:
    """Lines with a response that the corpus does not have."""
    return [json.dumps({**row, "response": ODD}) for row in exchanges[:3]]


def healing(run: Path, *flags: str) -> subprocess.Popen[str]:
    """Start the real command, its streams open."""
    return subprocess.Popen(
        [sys.executable, "-m", "isaac", "heal", str(run), *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(run.parent), *sys.path])},
    )


def healed(
    isaac: RunIsaac, monkeypatch: pytest.MonkeyPatch, given: list[str], *flags: object
) -> Any:
    """Run the command in this process; return the records that it writes, and its messages."""
    stdin = io.TextIOWrapper(io.BytesIO("\n".join(given).encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    done = isaac("heal", *flags)
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()], done.err


def test_each_line_is_written_before_the_next_is_read(run: Path, odd: list[str]) -> None:
    process = healing(run, "--judge", "my_judges:Words")
    assert process.stdin is not None
    assert process.stdout is not None
    for line in [*odd, odd[0].replace(ODD, "My pleasure.")]:
        process.stdin.write(line + "\n")
        process.stdin.flush()
        record = json.loads(process.stdout.readline())
        assert "cares" not in record["response"]
        assert record["isaac_verdict"] == "safe"
        assert record["isaac_reason"] in ("judged unsafe, drawn", "judged safe")
        assert (record["isaac_source_id"] is None) == (record["isaac_action"] == "kept")
    assert process.communicate() == ("", "")
    assert process.returncode == 0


def test_a_judge_that_fails_lets_nothing_through_and_is_reported(run: Path, odd: list[str]) -> None:
    process = healing(run, "--judge", "my_judges:Broken", "--fallback", "I'd rather not say.")
    out, err = process.communicate("\n".join([*odd, "broken"]))
    *records, hostile = map(json.loads, out.splitlines())
    assert [record["isaac_action"] for record in records] == ["fallback"] * 3
    assert {record["response"] for record in records} == {"I'd rather not say."}
    assert {record["isaac_verdict"] for record in records} == {None}
    assert {record["isaac_confidence"] for record in records} == {None}
    assert (hostile["isaac_action"], hostile["raw"]) == ("rejected", "broken")
    assert "judge my_judges:Broken failed for 15 of 15 judgments, which count as not safe" in err
    assert "first error: OSError: line is ␛[31mdown" in err


def test_every_line_has_its_reason_and_confidence(
    isaac: RunIsaac,
    run: Path,
    odd: list[str],
    exchanges: list[dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = [*odd, *map(json.dumps, exchanges[:40])]
    records, err = healed(isaac, monkeypatch, given, run)
    again, _ = healed(isaac, monkeypatch, given, run)
    assert records == again
    assert err == ""
    assert {record["isaac_action"] for record in records} >= {"kept", "replaced"}
    for record in records:
        assert record["isaac_reason"]
        assert 0 <= record["isaac_confidence"] <= 1
        assert "isaac_verdict" not in record
        kept = record["isaac_action"] == "kept"
        assert (record["isaac_source_id"] is None) == kept
        assert (record["isaac_reason"] in ("typical", "off-consensus, drawn again")) == kept


def test_messages_keep_their_format(
    isaac: RunIsaac, run: Path, odd: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"role": "user", "content": json.loads(odd[0])["context"]}
    chat = {"messages": [asked, {"role": "assistant", "content": ODD}], "id": 7}
    records, _ = healed(isaac, monkeypatch, [json.dumps(chat)], run)
    assert records[0]["isaac_action"] == "replaced"
    assert records[0]["messages"][0] == asked
    assert records[0]["messages"][1]["content"] not in ("", ODD)
    assert records[0]["id"] == 7


def test_other_formats_than_the_runs_columns_are_read(
    isaac: RunIsaac,
    exchanges: list[dict[str, str]],
    odd: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [{"ctx": row["context"], "rsp": row["response"]} for row in exchanges]
    recipe = Recipe.redraw_most(neighbors=30, reading=ReadingOptions(context="ctx", response="rsp"))
    run = curate_to(tmp_path / "run", write_lines(tmp_path / "in.jsonl", rows), recipe).path
    context = json.loads(odd[0])["context"]
    chat = {
        "messages": [{"role": "user", "content": context}, {"role": "assistant", "content": ODD}]
    }
    own = {"ctx": context, "rsp": ODD}
    other = {"ask": context, "say": ODD}
    given = [json.dumps(one) for one in (own, chat, {"prompt": context, "completion": ODD})]
    records, _ = healed(isaac, monkeypatch, given, run)
    assert [record["isaac_action"] for record in records] == ["replaced"] * 3
    assert records[0]["rsp"] == records[1]["messages"][1]["content"] == records[2]["completion"]
    flags = ["--context", "ask", "--response", "say"]
    (record,), _ = healed(isaac, monkeypatch, [json.dumps(other)], run, *flags)
    assert record["isaac_action"] == "replaced"
    (record,), _ = healed(isaac, monkeypatch, [json.dumps(chat)], run, "--format", "messages")
    assert record["isaac_action"] == "replaced"
    (record,), _ = healed(isaac, monkeypatch, [json.dumps(other)], run)
    assert record["isaac_reason"].startswith("no column 'ctx'")


@pytest.mark.parametrize("rephraser", [Rewrites("I'm so sorry to hear that."), Breaks()])
def test_a_model_rewrites_instead_of_drawing(
    isaac: RunIsaac,
    run: Path,
    odd: list[str],
    monkeypatch: pytest.MonkeyPatch,
    rephraser: Rewrites | Breaks,
) -> None:
    asked = list[Path]()

    def load_rephraser(folder: Path) -> Rewrites | Breaks:
        asked.append(folder)
        return rephraser

    fake = SimpleNamespace(load_rephraser=load_rephraser)
    monkeypatch.setitem(sys.modules, "isaac.models.chat.rephraser", fake)
    records, err = healed(isaac, monkeypatch, odd[:1], run, "--model", run.parent)
    assert asked == [run.parent]
    if isinstance(rephraser, Breaks):
        assert records[0]["response"] == ODD
        assert records[0]["isaac_action"] == "abstained"
        assert "failed for 4 of 4 rewrites" in err
        assert "ValueError: no memory left" in err
        return
    assert records[0]["response"] == "I'm so sorry to hear that."
    assert records[0]["isaac_action"] == "rewritten"
    assert records[0]["isaac_source_id"] is None
    assert err == ""


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--judge", "nobody"], "no judge 'nobody'"),
        (["--fallback", "  "], "expected a fallback text, got an empty one"),
        (["--tries", "0"], "tries"),
        (["--format", "nope"], "no format 'nope'"),
    ],
)
def test_bad_options_are_refused_at_once(
    isaac: RunIsaac, run: Path, flags: list[str], says: str
) -> None:
    done = isaac("heal", run, *flags)
    assert done.code in (1, 2)
    assert says in done.err
    assert done.out == ""


@pytest.fixture(scope="module")
def fit_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the whole bundled corpus, which the default recipe redraws by fit."""
    folder = tmp_path_factory.mktemp("fit")
    rows = (files("isaac") / "data" / "demo.jsonl").read_text(encoding="utf-8")
    source = folder / "in.jsonl"
    source.write_text(rows, encoding="utf-8")
    reading = ReadingOptions(context="context", response="response")
    return curate_to(folder / "run", source, Recipe(reading=reading)).path


def test_a_run_that_matches_by_fit_says_how_far_a_line_is_trusted_and_inside(
    isaac: RunIsaac, fit_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, Any]] = [
        {"context": "I failed my driving test again.", "response": RUDE, "id": 7},
        {"context": "Who wrote Hamlet?", "response": "Shakespeare wrote Hamlet in 1601."},
    ]
    lines = [json.dumps(row) for row in given]
    (rude, hamlet), err = healed(isaac, monkeypatch, lines, fit_run)
    assert err == ""
    assert (rude["isaac_action"], rude["id"]) == ("replaced", 7)
    assert rude["isaac_reason"] == "untrusted, drawn"
    assert rude["isaac_confidence"] > rude["isaac_trust"]
    assert rude["isaac_fit"] >= 3.7
    assert rude["isaac_similarity"] > hamlet["isaac_similarity"]
    assert "isaac_probability" not in rude
    assert hamlet["response"] == given[1]["response"]
    assert hamlet["isaac_action"] == "abstained"
    assert hamlet["isaac_reason"].startswith("outside the corpus: ")
    assert (hamlet["isaac_confidence"], hamlet["isaac_fit"]) == (None, None)
    (unfit, _), _ = healed(isaac, monkeypatch, lines, fit_run, "--min-fit", "9")
    assert unfit["isaac_reason"] == "untrusted; no trusted response fits"
    (far, _), _ = healed(isaac, monkeypatch, lines, fit_run, "--min-similarity", "0.9")
    assert far["isaac_reason"] == "outside the corpus: no similar message"


def test_bounds_are_refused_for_a_run_that_draws_from_clusters(isaac: RunIsaac, run: Path) -> None:
    done = isaac("heal", run, "--min-fit", "2")
    assert done.code == 2
    assert "min_fit and min_similarity are for runs that match responses" in done.err
