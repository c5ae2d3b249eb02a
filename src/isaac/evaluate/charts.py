"""Charts of an evaluation: unsafe rates with their intervals, by model and by category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from ..runs.reports.svg import (
    BAR_COLOR,
    MARK_COLOR,
    Scale,
    percent,
    svg_chart,
    svg_element,
    svg_line,
    svg_text,
)
from ..text import shorten
from .headlines import format_interval

PLOT_LEFT, PLOT_RIGHT, ROW_HEIGHT = 172, 500, 30
"""The left and right ends of the plot and the height of a row, in SVG units."""

MAX_NAME_CHARACTERS = 24
"""Length to which the name next to a bar is truncated."""


class ShareBar(NamedTuple):
    """A bar with its name.

    ``share`` has value, low and high; it is None if there is no verdict. ``role`` is before, after
    or constant and sets the fill. ``flag`` is a warning next to the value.
    """

    name: str
    share: Mapping[str, Any] | None
    role: str
    flag: str = ""


def draw_bars(rows: Sequence[ShareBar], title: str) -> Markup:
    """Draw horizontal bars, each with its value and its interval."""
    x = _fit_scale([row.share for row in rows])
    foot = 12 + ROW_HEIGHT * len(rows)
    parts = [_draw_ticks(x, foot), svg_line(PLOT_LEFT, 8, PLOT_LEFT, foot)]
    for place, row in enumerate(rows):
        parts.append(_draw_bar(row, 12 + ROW_HEIGHT * place, x))
    return svg_chart((640, foot + 40), title, _describe_bars(rows), parts)


def draw_grouped_bars(groups: Sequence[tuple[str, Sequence[ShareBar]]], title: str) -> Markup:
    """Draw horizontal bars in groups, each group under its name."""
    x = _fit_scale([row.share for _, rows in groups for row in rows])
    parts: list[Markup] = []
    top = 12
    for name, rows in groups:
        heading = svg_text(shorten(name, 60), PLOT_LEFT, top + 14, anchor="start", size=12)
        parts.append(svg_element("g", heading, font_weight="600"))
        top += 22
        for row in rows:
            parts.append(_draw_bar(row, top, x, height=13))
            top += 20
        top += 8
    frame = [_draw_ticks(x, top), svg_line(PLOT_LEFT, 8, PLOT_LEFT, top)]
    description = " ".join(f"{name}: {_describe_bars(rows)}" for name, rows in groups)
    return svg_chart((640, top + 40), title, description, [*frame, *parts])


def _fit_scale(shares: Sequence[Mapping[str, Any] | None]) -> Scale:
    """Fit a scale from zero to the smallest round share that no interval exceeds."""
    highest = max((share["high"] for share in shares if share), default=1.0)
    top = next(end for end in (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0) if end >= min(highest, 1.0))
    return Scale(0, top, PLOT_LEFT, PLOT_RIGHT)


def _draw_ticks(x: Scale, foot: float) -> Markup:
    parts = [
        svg_text(
            "unsafe rate of scored answers",
            (PLOT_LEFT + PLOT_RIGHT) / 2,
            foot + 32,
            anchor="middle",
        )
    ]
    for tick in x.ticks(5):
        grid = svg_element(
            "line",
            x1=x(tick),
            y1=8,
            x2=x(tick),
            y2=foot,
            stroke="currentColor",
            stroke_opacity=0.15,
        )
        parts += [grid, svg_text(f"{100 * tick:g}%", x(tick), foot + 15, anchor="middle")]
    return svg_element("g", *parts)


def _draw_bar(row: ShareBar, top: float, x: Scale, height: float = 18) -> Markup:
    """Draw a bar: pale for the baseline, dark for a compared model, dashed for the constant arm."""
    name, share, role, flag = row
    middle = top + height / 2
    label = svg_text(shorten(name, MAX_NAME_CHARACTERS), PLOT_LEFT - 8, middle + 4)
    if share is None:
        return svg_element(
            "g", label, svg_text("no verdict", PLOT_LEFT + 6, middle + 4, anchor="start")
        )
    paint = (
        {"class_": "mark", "fill": MARK_COLOR}
        if role == "after"
        else {"class_": "bar", "fill": BAR_COLOR}
    )
    if role == "constant":
        paint = {"fill": "none", "stroke": "currentColor", "stroke_dasharray": "3 2"}
    width = x(share["value"]) - x(0)
    bar = svg_element("rect", x=x(0), y=top, width=width, height=height, **paint)
    value = format_interval(percent, share["value"], share["low"], share["high"])
    return svg_element(
        "g",
        svg_element("title", f"{name}: {value}"),
        label,
        bar,
        _draw_whisker(x(share["low"]), x(share["high"]), middle),
        svg_text(
            percent(share["value"]) + (f", {flag}" if flag else ""),
            x(share["high"]) + 8,
            middle + 4,
            anchor="start",
        ),
    )


def _draw_whisker(low: float, high: float, middle: float) -> Markup:
    """Draw the line of an interval, with a white edge that keeps it visible on a dark bar."""
    lines = [(low, middle, high, middle)]
    lines += [(end, middle - 4, end, middle + 4) for end in (low, high)]
    edges = [
        svg_element("line", x1=a, y1=b, x2=c, y2=d, class_="halo", stroke="#fff", stroke_width=4)
        for a, b, c, d in lines
    ]
    return svg_element("g", *edges, *(svg_line(*line, width=1.5) for line in lines))


def _describe_bars(rows: Sequence[ShareBar]) -> str:
    """Describe the bars in words, for readers who cannot see the chart."""
    values = [f"{row.name} {percent(row.share['value'])}" for row in rows if row.share]
    return "; ".join(values) + "."
