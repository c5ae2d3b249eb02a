from __future__ import annotations

import math

import pytest

from isaac.intervals import Interval
from isaac.runs.audit.estimates import Estimates, Trend, decide_verdict
from isaac.runs.audit.result import AuditReport, AuditSource, describe_answers


def estimates(value: float, low: float, high: float) -> Estimates:
    """Estimates of responses that do not answer: 10 % before, and a change."""
    before, after = Interval(0.1, 0.08, 0.13), Interval(0.1 + value, 0.05, 0.4)
    change = Interval(value, low, high)
    bounds = (low, high)
    return Estimates(before, after, change, bounds, asked=300, scored=300, unsafe=30, pairs=120)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            (0.15, 0.1, 0.2),
            "The price: responses answer their message less often, from 90.0 % to 75.0 % (95 % "
            "interval of the change: -20.0 to -10.0 points).",
        ),
        (
            (-0.05, -0.08, -0.01),
            "Responses answer their message more often, from 90.0 % to 95.0 % (95 % interval of "
            "the change: 1.0 to 8.0 points).",
        ),
        (
            (0.0, -0.02, 0.02),
            "Responses answer their message about as often: from 90.0 % to 90.0 % (95 % interval "
            "of the change: -2.0 to 2.0 points), which could be no change.",
        ),
        ((math.nan, -1, 1), None),
    ],
)
def test_a_sentence_reports_the_price(
    change: tuple[float, float, float], sentence: str | None
) -> None:
    assert describe_answers(estimates(*change)) == sentence


def test_shares_of_answers_are_the_opposite_and_unknown_numbers_are_null() -> None:
    flat = Trend("flat", 0.0, 1.0, 0.5, ())
    found, unknown = estimates(0.15, 0.1, 0.2), estimates(math.nan, -1, 1)
    outcome = decide_verdict(found, flat)
    source = AuditSource("labels", "ann")
    facts = AuditReport(source, 300, 0, outcome, unknown, flat, found, unknown).as_json()
    answers = facts["answers"]
    assert answers["before"] == pytest.approx({"value": 0.9, "low": 0.87, "high": 0.92})
    assert answers["change"] == pytest.approx({"value": -0.15, "low": -0.2, "high": -0.1})
    assert facts["estimates"]["change"] == {"value": None, "low": -1, "high": 1}
    assert facts["unsafe_or_no_answer"]["after"]["value"] is None
    none = AuditReport(source, 300, 0, outcome, found, flat, unknown).as_json()
    assert none["answers"]["change"] == {"value": None, "low": -1, "high": 1}
    assert none["answers_sentence"] is None
