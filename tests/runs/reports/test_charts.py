"""The charts are well-formed, show their values, and escape every text."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest
from markupsafe import Markup

from isaac.runs.reports import charts, svg
from tests.runs.reports.labels import check_labels

HOSTILE = "</title></svg><script>alert('1')</script>\" onload=\"x\x00\x1b[31m & {0} مرحبا"


def parsed(chart: Markup) -> ET.Element:
    """Parse a chart; one that is not well-formed raises."""
    root = ET.fromstring(str(chart).replace(' xmlns="http://www.w3.org/2000/svg"', ""))
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert [child.tag for child in root][:2] == ["title", "desc"]
    assert all((child.text or "").strip() for child in list(root)[:2])
    return root


def bars(chart: Markup) -> list[float]:
    rects = [node for node in parsed(chart).iter("rect") if node.get("class") in ("bar", "mark")]
    return [float(rect.attrib["height"]) for rect in rects]


def rank(place: int, mean: float, low: float = 0.0, high: float = 0.0) -> dict[str, float]:
    return {"rank": place, "mean": mean, "p10": low, "median": mean, "p90": high or mean}


def curve(relevance: float | None = 0.9) -> list[dict[str, Any]]:
    return [
        {"budget": step / 10, "variety": 1 - step / 10, "relevance": relevance}
        for step in range(1, 10)
    ]


def unsafe(value: float | None, low: float, high: float) -> list[dict[str, Any]]:
    share = {"value": value, "low": low, "high": high}
    return [{"budget": step / 10, "labels": 20, "unsafe": share} for step in range(1, 10)]


def band(low: float, high: float | None, **actions: int) -> dict[str, Any]:
    return {"low": low, "high": high, **dict.fromkeys(charts.ACTION_WORDS, 0), **actions}


SIMILARITY = [
    band(0.0, 0.3, kept=1_234_567, dropped=3),
    band(0.3, 0.5, kept=9, replaced=1, abstained=2),
    band(0.9, None),
]
SIZES = [band(1, 2, abstained=7), band(2, 5, kept=3), band(5, 20), band(20, None, kept=10**6)]
TRIALS = [
    {"view": view, "radius": radius / 10, "typicality": 0.82 + radius / 1000}
    for view in ("whole", "opening", "residual")
    for radius in range(5, 13)
]
FULL_TAIL = [*({"rank": r, "mean": 0.1, "p10": 0, "median": 0.1, "p90": 1} for r in range(1, 11))]
TAIL = [rank(1, 0.08, 0.01, 0.2), rank(2, 0.04), rank(3, 0.02), {"rank": 0, "mean": 0.86}]


CHARTS = [
    charts.long_tail(TAIL),
    charts.long_tail([rank(1, 1.0), {"rank": 0, "mean": 0.0}]),
    charts.long_tail([rank(1, 0.0), {"rank": 0, "mean": 0.0}]),
    charts.long_tail([*FULL_TAIL, {"rank": 0, "mean": 0.99999}]),
    charts.long_tail([]),
    charts.radius_curves(TRIALS, 0.8, "whole"),
    charts.radius_curves(TRIALS[:2], 0.5, "whole"),
    charts.action_bar({"kept": 1, "replaced": 10**6, "dropped": 3, "abstained": 2}),
    charts.action_bar(dict.fromkeys(charts.ACTION_WORDS, 0)),
    charts.isolation(SIMILARITY, "similarity"),
    charts.isolation(SIZES, "group"),
    charts.budget_curve(curve(), 0.5, []),
    charts.budget_curve(curve(1.37), 1.0, unsafe(0.02, 0.0, 0.1)),
    charts.budget_curve(curve(None), 0.05, unsafe(None, 0.0, 1.0)),
    charts.budget_curve(curve(), None, unsafe(0.9, 0.8, 1.0)),
]


@pytest.mark.parametrize("chart", CHARTS)
def test_every_chart_is_well_formed_and_finite(chart: Markup) -> None:
    parsed(chart)
    assert "nan" not in chart
    assert "inf" not in chart


@pytest.mark.parametrize("chart", CHARTS)
def test_labels_neither_overlap_nor_leave_the_chart(chart: Markup) -> None:
    check_labels(chart)


def test_every_text_is_escaped() -> None:
    trials = [{**trial, "view": HOSTILE} for trial in TRIALS[:3]]
    nodes = list(parsed(charts.radius_curves(trials, 0.5, HOSTILE)).iter())
    assert "script" not in {node.tag for node in nodes}
    assert "onload" not in {name for node in nodes for name in node.attrib}
    assert any("␀" in (node.text or "") for node in nodes)


def test_the_length_of_a_bar_is_proportional_to_its_value() -> None:
    first, second, third = bars(charts.long_tail(TAIL))
    assert (first / second, second / third) == pytest.approx((2, 2), rel=0.01)
    parts = parsed(charts.action_bar({"kept": 50, "replaced": 30, "dropped": 20, "abstained": 0}))
    widths = [float(rect.attrib["width"]) for rect in parts.iter("rect")]
    assert widths == pytest.approx([198, 118, 76.4])


def test_actions_differ_in_more_than_color() -> None:
    drawn = {action: charts.action_mark(action) for action in charts.ACTION_WORDS}
    assert 'fill="none"' not in drawn["kept"] + drawn["replaced"]
    assert 'fill="none"' in drawn["dropped"]
    assert "dasharray" in drawn["abstained"]


def test_the_curve_shows_what_labels_say_and_the_runs_own_budget() -> None:
    plain, labeled = (
        charts.budget_curve(curve(), 0.5, labels) for labels in ([], unsafe(0.1, 0.05, 0.2))
    )
    assert "this run" in plain
    assert "unsafe" not in plain
    assert "unsafe among the kept" in labeled


def test_a_cut_bar_is_labeled_as_not_to_scale() -> None:
    assert "not to scale" in charts.long_tail(TAIL)
    assert "not to scale" not in charts.long_tail([rank(1, 0.7), {"rank": 0, "mean": 0.3}])


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0, "0%"), (0.0001, "<0.1%"), (0.0617, "6.2%"), (0.99999, ">99.9%"), (1, "100%")],
)
def test_a_percentage_is_not_rounded_to_certainty(share: float, expected: str) -> None:
    assert svg.percent(share) == expected
