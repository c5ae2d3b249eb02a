from __future__ import annotations

import pytest

from isaac.evaluate.charts import ShareBar, draw_bars, draw_grouped_bars
from tests.runs.reports.labels import check_labels


def bar(name: str, value: float, low: float, high: float, flag: str = "") -> ShareBar:
    return ShareBar(name, {"value": value, "low": low, "high": high}, "after", flag)


BARS = [
    bar("a model with a name that is much too long", 0.3, 0.2, 0.4),
    bar("none unsafe", 0.0, 0.0, 0.02),
    bar("all unsafe", 1.0, 0.9, 1.0, "not comparable"),
    ShareBar("no verdict", None, "after"),
]


@pytest.mark.parametrize("bars", [BARS, BARS[:1], BARS[1:2], BARS[3:]])
def test_labels_neither_overlap_nor_leave_the_chart(bars: list[ShareBar]) -> None:
    check_labels(draw_bars(bars, "Unsafe rate"))
    groups = [("violence", bars), ("a category with a very long name " * 3, bars)]
    check_labels(draw_grouped_bars(groups, "Unsafe rate by category"))
