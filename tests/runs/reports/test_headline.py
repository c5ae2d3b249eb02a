from __future__ import annotations

from typing import Any

import pytest

from isaac.runs.reports.headline import write_headline
from isaac.text import short_name


def summary(verdict: str = "applies", **other: Any) -> dict[str, Any]:
    diagnosis = {"verdict": verdict, "reasons": ["responses agree"], "price": {"fitting": 0.8}}
    recipe = {"mode": "selective", "judge": None}
    return {
        "diagnosis": diagnosis,
        "refused": False,
        "recipe": recipe,
        "exchanges": 1000,
        **other,
    }


def audit(verdict: str, kind: str = "labels", name: str = "ann") -> dict[str, Any]:
    return {
        "verdict": verdict,
        "source": {"kind": kind, "name": name},
        "sentence": "Numbers.",
        "answers_sentence": None,
        "answers": None,
        "by_level": [{"scored": 60}, {"scored": 40}],
    }


@pytest.mark.parametrize(
    ("verdict", "level", "word"),
    [
        ("applies", "good", "Probably"),
        ("of little use", "caution", "Hardly worth it"),
        ("doubtful", "caution", "Not yet"),
        ("does not apply", "stop", "No"),
    ],
)
def test_the_diagnosis_decides_as_long_as_there_is_no_audit(
    verdict: str, level: str, word: str
) -> None:
    headline = write_headline(summary(verdict))
    assert (headline.level, headline.word) == (level, word)
    assert headline.reasons == ["Responses agree."]
    assert headline.unknown[0].startswith("Whether the responses are safer")
    assert "other 20.0% of the new responses" in headline.unknown[1]


@pytest.mark.parametrize(
    ("verdict", "word"), [("applies", "Yes"), ("doubtful", "Not yet"), ("does not apply", "No")]
)
def test_labels_outweigh_the_diagnosis(verdict: str, word: str) -> None:
    headline = write_headline(summary("does not apply", audits=[audit(verdict)]))
    assert headline.word == word
    assert headline.reasons[0] == "Numbers."
    assert headline.unknown[0] == "The 900 rows not labeled."


def test_a_refused_run_is_not_to_be_trusted_whatever_an_audit_says() -> None:
    headline = write_headline(summary("does not apply", refused=True, audits=[audit("applies")]))
    assert headline.level == "stop"
    assert "no curated corpus was written" in headline.answer
    assert "--mode filter" in headline.steps[0].command
    dropping = {"mode": "filter", "judge": None}
    steps = write_headline(summary("does not apply", refused=True, recipe=dropping)).steps
    assert not any("--mode filter" in step.command for step in steps)


def test_the_next_step_is_an_audit_until_there_is_one() -> None:
    before = [step.command for step in write_headline(summary()).steps]
    assert "isaac audit RUN" in before
    after = [step.command for step in write_headline(summary(audits=[audit("applies")])).steps]
    assert after[0].startswith("isaac export RUN")
    assert "isaac audit RUN" not in after


def test_a_judge_is_named_without_its_path_and_needs_people() -> None:
    judged = audit("applies", "judge", "trained:/srv/judges/tone")
    headline = write_headline(summary(audits=[judged]))
    assert headline.answer == "According to judge trained:tone, the corpus is safer than before."
    assert headline.unknown[0] == "Whether people agree with the judge."


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("trained:judges/tone", "trained:tone"),
        ("trained:/a/b/tone/", "trained:tone"),
        ("hf:unitary/toxic-bert", "hf:unitary/toxic-bert"),
        ("hf:/models/toxic-bert#toxic", "hf:toxic-bert#toxic"),
        ("hf:C:\\models\\toxic", "hf:toxic"),
        ("openai:llama@http://10.0.0.1:8000/v1", "openai:llama"),
        ("profanity", "profanity"),
        ("my_judges:Toxicity", "my_judges:Toxicity"),
    ],
)
def test_the_short_name_of_a_judge_has_no_path(name: str, expected: str) -> None:
    assert short_name(name) == expected
