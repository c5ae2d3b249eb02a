"""The charts are well-formed, show their values, and escape every text."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest
from markupsafe import Markup

from isaac.runs.reports import charts, svg

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


def point(x: float, y: float, **other: Any) -> dict[str, Any]:
    usual = {"id": 1, "typicality": 0.3, "action": "replaced", "context": "Hello"}
    return {"x": x, "y": y, **usual, **other}


TAIL = [rank(1, 0.08, 0.01, 0.2), rank(2, 0.04), rank(3, 0.02), {"rank": 0, "mean": 0.86}]


@pytest.mark.parametrize(
    "chart",
    [
        charts.long_tail(TAIL),
        charts.long_tail([rank(1, 1.0), {"rank": 0, "mean": 0.0}]),
        charts.long_tail([rank(1, 0.0), {"rank": 0, "mean": 0.0}]),
        charts.long_tail([]),
        charts.histogram([0] * 20, "sharpness"),
        charts.histogram([1], "sharpness"),
        charts.histogram([], "sharpness"),
        charts.histogram([10**7, 3, 0, 1], "typicality", share=True),
        charts.cluster_sizes([1], 1, 1, 1),
        charts.cluster_sizes([28, 9, 9, 1], 150, 12, 77),
        charts.cluster_sizes([], 0, 1, 1),
        charts.scatter([point(0.1, -0.2)]),
        charts.scatter([point(0, 0), point(0, 3), point(0, 1, action="kept", typicality=1.0)]),
        charts.scatter([]),
    ],
)
def test_every_chart_is_well_formed_and_finite(chart: Markup) -> None:
    parsed(chart)
    assert "nan" not in chart
    assert "inf" not in chart


def test_every_text_is_escaped() -> None:
    drawn = (
        charts.histogram([1, 2], HOSTILE, unit=HOSTILE),
        charts.scatter([point(0, 0, context=HOSTILE, action=HOSTILE)]),
    )
    for chart in drawn:
        nodes = list(parsed(chart).iter())
        assert "script" not in {node.tag for node in nodes}
        assert "onload" not in {name for node in nodes for name in node.attrib}
        assert any("␀" in (node.text or "") for node in nodes)


def test_a_tooltip_shows_its_context() -> None:
    titles = [node.text for node in parsed(charts.scatter([point(0, 0)])).iter("title")]
    assert "Hello — row 1, replaced, typicality 30.0%" in titles


def test_the_length_of_a_bar_is_proportional_to_its_value() -> None:
    assert bars(charts.histogram([0, 100, 50, 25], "x")) == pytest.approx(
        [0.0, *(114 * share for share in (1, 0.5, 0.25))]
    )
    first, second, third = bars(charts.long_tail(TAIL))
    assert (first / second, second / third) == pytest.approx((2, 2), rel=0.01)
    large, small, one = bars(charts.cluster_sizes([28, 14, 1], 150, 1, 2))
    assert (large / small, large / one) == pytest.approx((2, 28), rel=0.02)


def test_a_cut_bar_is_labeled_as_not_to_scale() -> None:
    assert "not to scale" in charts.long_tail(TAIL)
    assert "not to scale" not in charts.long_tail([rank(1, 0.7), {"rank": 0, "mean": 0.3}])


def test_clusters_of_one_look_small() -> None:
    flat, clear = (charts.cluster_sizes(sizes, 150, 1, 1) for sizes in ([1, 1], [60, 1]))
    assert bars(flat)[0] < bars(clear)[0] / 10


def test_the_cluster_of_the_draw_is_marked_and_a_rank_without_a_bar_is_named() -> None:
    strip = parsed(charts.cluster_sizes([5, 3, 2], 20, 2, 9))
    assert [rect.get("class") for rect in strip.iter("rect")] == ["bar", "mark", "bar"]
    assert "○ rank 9" in [text.text for text in strip.iter("text")]


def test_kept_and_replaced_differ_in_shape_and_shade_follows_typicality() -> None:
    points = [point(0, 0, typicality=0.001), point(1, 1, typicality=0.9, action="kept")]
    marks = [
        (node.tag, node.get("class"))
        for node in parsed(charts.scatter(points)).iter()
        if node.find("title") is not None and node.tag in ("circle", "path")
    ]
    assert marks == [("circle", "t0"), ("path", "t5")]


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0, "0%"), (0.0001, "<0.1%"), (0.0617, "6.2%"), (0.99999, ">99.9%"), (1, "100%")],
)
def test_a_percentage_is_not_rounded_to_certainty(share: float, expected: str) -> None:
    assert svg.percent(share) == expected
