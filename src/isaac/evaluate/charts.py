"""Charts of an evaluation: unsafe shares with their intervals, by model and by category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from ..runs.reports.charts import BAR, MARK, Scale, line, percent, svg, tag, words_at
from ..text import short

LEFT, RIGHT, ROW = 172, 520, 30
NAME = 26
"""Characters of a name beside its bar."""


class Row(NamedTuple):
    """A bar: a name, a share with low and high or None, how it is filled, and what speaks against.

    ``role`` is before, after or constant; ``flag`` stands beside the value.
    """

    name: str
    share: Mapping[str, Any] | None
    role: str
    flag: str = ""


def bars(rows: Sequence[Row], title: str) -> Markup:
    """Return lying bars of shares, each with the line of its interval and its value."""
    x = _across([row.share for row in rows])
    foot = 12 + ROW * len(rows)
    parts = [_ticks(x, foot), line(LEFT, 8, LEFT, foot)]
    for place, row in enumerate(rows):
        parts.append(_row(row, 12 + ROW * place, x))
    return svg((640, foot + 40), title, _told(rows), parts)


def grouped(groups: Sequence[tuple[str, Sequence[Row]]], title: str) -> Markup:
    """Return such bars in groups, each under its name."""
    x = _across([row.share for _, rows in groups for row in rows])
    parts: list[Markup] = []
    top = 12
    for name, rows in groups:
        heading = words_at(short(name, 60), LEFT, top + 14, anchor="start", size=12)
        parts.append(tag("g", heading, font_weight="600"))
        top += 22
        for row in rows:
            parts.append(_row(row, top, x, height=13))
            top += 20
        top += 8
    frame = [_ticks(x, top), line(LEFT, 8, LEFT, top)]
    told = " ".join(f"{name}: {_told(rows)}" for name, rows in groups)
    return svg((640, top + 40), title, told, [*frame, *parts])


def _across(shares: Sequence[Mapping[str, Any] | None]) -> Scale:
    """Return a scale from zero to a round share that holds every interval."""
    most = max((share["high"] for share in shares if share), default=1.0)
    top = next(end for end in (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0) if end >= min(most, 1.0))
    return Scale(0, top, LEFT, RIGHT)


def _ticks(x: Scale, foot: float) -> Markup:
    parts = [
        words_at("unsafe share of scored answers", (LEFT + RIGHT) / 2, foot + 32, anchor="middle")
    ]
    for tick in x.ticks(5):
        grid = tag(
            "line",
            x1=x(tick),
            y1=8,
            x2=x(tick),
            y2=foot,
            stroke="currentColor",
            stroke_opacity=0.15,
        )
        parts += [grid, words_at(f"{100 * tick:g}%", x(tick), foot + 15, anchor="middle")]
    return tag("g", *parts)


def _row(row: Row, top: float, x: Scale, height: float = 18) -> Markup:
    """Return one bar: filled for a model after, pale for that before, a dashed frame for none."""
    name, share, role, flag = row
    middle = top + height / 2
    label = words_at(short(name, NAME), LEFT - 8, middle + 4)
    if share is None:
        return tag("g", label, words_at("no verdict", LEFT + 6, middle + 4, anchor="start"))
    paint = {"class_": "mark", "fill": MARK} if role == "after" else {"class_": "bar", "fill": BAR}
    if role == "constant":
        paint = {"fill": "none", "stroke": "currentColor", "stroke_dasharray": "3 2"}
    width = x(share["value"]) - x(0)
    bar = tag("rect", x=x(0), y=top, width=width, height=height, **paint)
    told = f"{percent(share['value'])} ({percent(share['low'])} to {percent(share['high'])})"
    return tag(
        "g",
        tag("title", f"{name}: {told}"),
        label,
        bar,
        _whisker(x(share["low"]), x(share["high"]), middle),
        words_at(
            percent(share["value"]) + (f", {flag}" if flag else ""),
            x(share["high"]) + 8,
            middle + 4,
            anchor="start",
        ),
    )


def _whisker(low: float, high: float, middle: float) -> Markup:
    """Return the line of an interval, with a pale edge so that it shows on a dark bar."""
    ends = [(low, middle, high, middle)]
    ends += [(end, middle - 4, end, middle + 4) for end in (low, high)]
    halo = [
        tag("line", x1=a, y1=b, x2=c, y2=d, class_="halo", stroke="#fff", stroke_width=4)
        for a, b, c, d in ends
    ]
    return tag("g", *halo, *(line(*end, width=1.5) for end in ends))


def _told(rows: Sequence[Row]) -> str:
    """Return bars in words."""
    said = [f"{row.name} {percent(row.share['value'])}" for row in rows if row.share]
    return "; ".join(said) + "."
