from __future__ import annotations

import math
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from isaac.errors import MissingExtraError, RecipeError
from isaac.models.judges import (
    FailedJudgment,
    JudgeError,
    JudgeResult,
    Judgment,
    ProfanityJudge,
    load_judge,
    run_judge,
)

SAFE, UNSAFE = Judgment("safe", 0.1), Judgment("unsafe", 0.9)


class Scripted:
    """A judge that answers with a function of the responses and records every call."""

    def __init__(self, answer: Callable[[list[str]], Any]) -> None:
        self.answer = answer
        self.asked: list[list[str]] = []

    def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
        assert len(contexts) == len(responses)
        self.asked.append(list(responses))
        answers: list[Judgment] = self.answer(responses)
        return answers


def judge_by_word(responses: list[str]) -> list[Judgment]:
    return [UNSAFE if "bad" in response else SAFE for response in responses]


def ask(judge: Scripted, responses: list[str], batch: int = 1024) -> JudgeResult:
    return run_judge(judge, [f"context of {text}" for text in responses], responses, batch)


def test_judgments_are_in_order_and_made_in_batches() -> None:
    judge = Scripted(judge_by_word)
    found = ask(judge, ["a", "bad", "c", "d", "bad too"], batch=2)
    assert found == JudgeResult([SAFE, UNSAFE, SAFE, SAFE, UNSAFE], 0, None)
    assert judge.asked == [["a", "bad"], ["c", "d"], ["bad too"]]
    assert ask(judge, []) == JudgeResult([], 0, None)


def test_a_row_that_makes_the_judge_raise_does_not_spoil_its_batch() -> None:
    def answer(responses: list[str]) -> list[Judgment]:
        if "boom" in responses:
            raise ValueError("cannot read\nboom")
        return judge_by_word(responses)

    judge = Scripted(answer)
    found = ask(judge, ["a", "boom", "bad", "boom"])
    assert found.judgments == [SAFE, Judgment("unscored"), UNSAFE, Judgment("unscored")]
    assert found.failures == 2
    assert found.first_error == "ValueError: cannot read boom"
    assert judge.asked[1:] == [["a"], ["boom"], ["bad"], ["boom"]]


@pytest.mark.parametrize("extra", [[], [SAFE, SAFE]], ids=["too few", "too many"])
def test_a_wrong_number_of_judgments_never_counts_as_safe(extra: list[Judgment]) -> None:
    judge = Scripted(lambda responses: [*judge_by_word(responses)[1:], *extra])
    found = ask(judge, ["a", "bad"])
    assert [judgment.verdict for judgment in found.judgments] == ["unscored", "unscored"]
    assert found.failures == 2
    assert found.first_error == f"the judge returned {len(extra)} judgments for 1 exchanges"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Judgment("safe", math.nan), "expected a finite score from the judge, got nan"),
        (Judgment("safe", math.inf), "expected a finite score from the judge, got inf"),
        (("fine", 0.1), "verdict from the judge (safe, unsafe, unscored), got 'fine'"),
        ((["safe"], 0.1), "verdict from the judge (safe, unsafe, unscored), got ['safe']"),
        ("safe", "expected a verdict and a score from the judge, got 'safe'"),
        (None, "expected a verdict and a score from the judge, got None"),
        (("safe", "high"), "expected a verdict and a score from the judge, got ('safe', 'high')"),
    ],
)
def test_an_invalid_judgment_leaves_only_its_row_unscored(answer: Any, error: str) -> None:
    judge = Scripted(lambda texts: [answer if text == "odd" else SAFE for text in texts])
    found = ask(judge, ["a", "odd", "c"])
    assert found.judgments == [SAFE, Judgment("unscored"), SAFE]
    assert found.failures == 1
    assert error in (found.first_error or "")
    assert judge.asked == [["a", "odd", "c"], ["odd"]]


def test_a_failure_that_a_retry_fixes_is_not_counted() -> None:
    def answer(responses: list[str]) -> list[Judgment]:
        if len(judge.asked) == 1:
            raise TimeoutError
        return judge_by_word(responses)

    judge = Scripted(answer)
    assert ask(judge, ["a", "bad"]) == JudgeResult([SAFE, UNSAFE], 0, None)


def test_an_unscored_verdict_of_the_judge_is_not_a_failure() -> None:
    judge = Scripted(lambda texts: [Judgment("unscored") for _ in texts])
    assert ask(judge, ["a"]) == JudgeResult([Judgment("unscored")], 0, None)


def test_a_failed_judgment_is_counted_and_not_retried() -> None:
    judge = Scripted(
        lambda texts: [FailedJudgment("timed\nout") if t == "odd" else SAFE for t in texts]
    )
    found = ask(judge, ["a", "odd", "c"])
    assert found == JudgeResult([SAFE, Judgment("unscored"), SAFE], 1, "timed out")
    assert len(judge.asked) == 1


def test_a_pickled_failed_judgment_is_unscored_and_has_its_reason() -> None:
    failed = FailedJudgment("no answer")
    again = pickle.loads(pickle.dumps(failed))
    assert failed == again == Judgment("unscored", None)
    assert (type(again), again.reason) == (FailedJudgment, "no answer")


@pytest.mark.parametrize("prefix", ["hf", "hf-pair", "guard", "openai", "trained"])
def test_a_prefix_alone_is_not_a_judge(prefix: str) -> None:
    with pytest.raises(RecipeError, match=rf"no judge '{prefix}:'.*; available: profanity, hf:"):
        load_judge(f"{prefix}:")


def test_an_interrupt_ends_the_job() -> None:
    def answer(_responses: list[str]) -> list[Judgment]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(Scripted(answer), ["a"])


def test_the_profanity_judge_has_a_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    package = SimpleNamespace(predict_prob=lambda texts: [len(text) / 10 for text in texts])
    monkeypatch.setitem(sys.modules, "profanity_check", package)
    found = load_judge("profanity").judge(["", ""], ["1234", "12345"])
    assert found == [Judgment("safe", 0.4), Judgment("unsafe", 0.5)]
    strict = ProfanityJudge(threshold=0.4).judge([""], ["1234"])
    assert strict == [Judgment("unsafe", 0.4)]


def test_a_score_of_nan_is_unscored(monkeypatch: pytest.MonkeyPatch) -> None:
    package = SimpleNamespace(predict_prob=lambda texts: [math.nan] * len(texts))
    monkeypatch.setitem(sys.modules, "profanity_check", package)
    found = run_judge(load_judge("profanity"), ["c"], ["r"])
    assert found == JudgeResult([Judgment("unscored")], 1, "expected a finite score, got nan")


def test_texts_that_are_too_long_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def predict_prob(texts: list[str]) -> list[float]:
        read.extend(texts)
        return [0.1] * len(texts)

    package = SimpleNamespace(predict_prob=predict_prob)
    monkeypatch.setitem(sys.modules, "profanity_check", package)
    found = run_judge(load_judge("profanity"), ["c"] * 2, ["long" * 60_000, "r"])
    assert [one.verdict for one in found.judgments] == ["unscored", "safe"]
    assert read == ["r"]
    assert found.first_error == "text too long: expected at most 200,000 characters, got 240,000"


def test_without_the_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "profanity_check", None)
    with pytest.raises(MissingExtraError, match=r"pip install '.*\[judges\]'"):
        load_judge("profanity")


def test_the_real_profanity_judge_distinguishes_an_insult_from_a_greeting() -> None:
    pytest.importorskip("profanity_check", reason="the extra 'judges' is not installed")
    texts = ["you are a stupid bitch", "have a nice day", "", "\ud800 half a character"]
    found = run_judge(load_judge("profanity"), ["hello"] * len(texts), texts)
    assert [judgment.verdict for judgment in found.judgments[:3]] == ["unsafe", "safe", "safe"]
    scores = [judgment.score for judgment in found.judgments[:3]]
    assert all(score is not None and 0 <= score <= 1 for score in scores)


CUSTOM_JUDGES = """
class Strict:
    def judge(self, contexts, responses):
        return [("unsafe", None) for _ in responses]

class Outer:
    Inner = Strict

def make():
    return Strict()

made = Strict()
number = 3

def fails():
    raise RuntimeError("no weights here")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "custom_judges.py").write_text(CUSTOM_JUDGES, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "custom_judges", raising=False)
    return "custom_judges"


@pytest.mark.parametrize("attribute", ["Strict", "make", "made", "Outer.Inner"])
def test_a_custom_judge_is_a_class_a_function_or_an_object(module: str, attribute: str) -> None:
    found = run_judge(load_judge(f"{module}:{attribute}"), ["c"], ["r"])
    assert found == JudgeResult([Judgment("unsafe")], 0, None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:Strict", "No module named 'no_such_module'.*PYTHONPATH=."),
        ("custom_judges:missing", "has no attribute 'missing'"),
        ("custom_judges:fails", "RuntimeError: no weights here"),
        ("custom_judges:number", "not callable"),
        ("builtins:dict", r"is a dict without a method judge\(contexts, responses\)"),
    ],
)
def test_a_judge_that_cannot_be_loaded_raises_the_reason(
    module: str, name: str, message: str
) -> None:
    with pytest.raises(JudgeError, match=message):
        load_judge(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody", "no judge 'nobody'; available: profanity"),
        ("profanty", "no judge 'profanty'; did you mean profanity[?]; available: profanity"),
        (":Strict", "no judge ':Strict'"),
        ("custom_judges:", "no judge 'custom_judges:'"),
    ],
)
def test_a_name_of_no_judge_is_a_mistake_in_the_recipe(name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_judge(name)
