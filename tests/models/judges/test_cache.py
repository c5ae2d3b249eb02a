from __future__ import annotations

import json
from pathlib import Path

import pytest

from isaac.models.judges import CachedJudge, FailedJudgment, Judge, JudgeError, Judgment, run_judge


class Counting:
    """A judge that calls "bad" texts unsafe, fails at "odd" ones, and records what it reads."""

    def __init__(self, revision: str = "1") -> None:
        self.revision = revision
        self.read: list[tuple[str, str]] = []

    def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
        self.read += zip(contexts, responses, strict=True)
        return [self.one(response) for response in responses]

    def one(self, response: str) -> Judgment:
        if "odd" in response:
            return FailedJudgment("timed out")
        return Judgment("unsafe", 0.75) if "bad" in response else Judgment("safe", 0.1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new" / "judgments.jsonl"


def ask(judge: Judge, responses: list[str]) -> list[Judgment]:
    return list(judge.judge(["c"] * len(responses), responses))


def test_an_exchange_is_judged_once_even_within_a_batch(file: Path) -> None:
    first, again = Counting(), Counting()
    found = ask(CachedJudge(first, file, "j"), ["a", "bad", "a"])
    assert found == [Judgment("safe", 0.1), Judgment("unsafe", 0.75), Judgment("safe", 0.1)]
    assert len(first.read) == 2
    cached = CachedJudge(again, file, "j")
    assert ask(cached, ["bad", "a", "new"]) == [found[1], found[0], Judgment("safe", 0.1)]
    assert again.read == [("c", "new")]
    assert cached.hits == 2


def test_an_unscored_judgment_is_not_stored_and_keeps_its_reason(file: Path) -> None:
    judge = Counting()
    for _ in range(2):
        found = run_judge(CachedJudge(judge, file, "j"), ["c", "c"], ["odd", "a"])
        assert found.first_error == "timed out"
        assert [one.verdict for one in found.judgments] == ["unscored", "safe"]
    assert judge.read == [("c", "odd"), ("c", "a"), ("c", "odd")]


@pytest.mark.parametrize(
    ("name", "revision", "context", "response"),
    [("k", "1", "c", "a"), ("j", "2", "c", "a"), ("j", "1", "d", "a"), ("j", "1", "", "ca")],
)
def test_a_different_judge_or_text_has_a_different_key(
    file: Path, name: str, revision: str, context: str, response: str
) -> None:
    ask(CachedJudge(Counting(), file, "j"), ["a"])
    judge = Counting(revision)
    CachedJudge(judge, file, name).judge([context], [response])
    assert judge.read == [(context, response)]


def test_exchanges_of_unreadable_lines_are_judged_again(file: Path) -> None:
    ask(CachedJudge(Counting(), file, "j"), ["a"])
    key = json.loads(file.read_text())["key"]
    bad = [b"\xff\xfe", b"[]", b'{"key": 3}', b"null"]
    bad += [
        json.dumps({"key": key, "verdict": verdict, "score": score}).encode()
        for verdict, score in [("fine", 0.1), ("safe", "x"), ("unscored", None)]
    ]
    file.write_bytes(b"\n".join(bad) + b'\n{"key": "half')
    judge = Counting()
    assert ask(CachedJudge(judge, file, "j"), ["a"]) == [Judgment("safe", 0.1)]
    assert judge.read == [("c", "a")]
    silent = Counting()
    ask(CachedJudge(silent, file, "j"), ["a"])
    assert silent.read == []  # the new line was not appended to the half-written one


def test_texts_with_half_surrogates_have_a_key(file: Path) -> None:
    judge = Counting()
    for _ in range(2):
        ask(CachedJudge(judge, file, "j"), ["\ud800 half", "\x00"])
    assert len(judge.read) == 2


def test_a_wrong_number_of_judgments_is_not_stored(file: Path) -> None:
    class Short(Counting):
        def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
            return super().judge(contexts, responses)[1:]

    with pytest.raises(JudgeError, match="0 judgments for 1 exchanges"):
        ask(CachedJudge(Short(), file, "j"), ["a"])
    assert not file.exists()


def test_the_same_answers_make_the_same_file(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    for path in (file, other):
        ask(CachedJudge(Counting(), path, "j"), ["a", "bad"])
    assert file.read_bytes() == other.read_bytes()
