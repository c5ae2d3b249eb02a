"""Charts as inline SVG, from plain values; every text in them is escaped.

Colors are attributes, so that a chart also works outside a page; a page can override them by
class, as for dark mode. Length, shape or a label shows everything that color does, so that a chart
can be read in black and white. Why no plotting library: docs/experiments.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from .svg import (
    BAR_COLOR,
    INK,
    MARK_COLOR,
    SIDE_COLOR,
    Scale,
    number,
    percent,
    svg_chart,
    svg_element,
    svg_line,
    svg_polyline,
    svg_text,
    tick_step,
)

ACTION_WORDS = {
    "kept": "kept",
    "replaced": "replaced",
    "dropped": "dropped",
    "abstained": "left unchanged",
}
"""The actions in the order in which charts stack them, and how they are called there."""


def long_tail(ranks: Sequence[Mapping[str, float]]) -> Markup:
    """A bar chart of the mean share of a neighborhood's responses in each cluster, by rank.

    Each of ``ranks`` has rank, mean, p10, median and p90; rank 0 is all smaller clusters together.
    The bar of rank 0 is cut, and labeled as not to scale, if it would flatten the others.
    """
    ranked = [row for row in ranks if row["rank"]]
    rest = sum(row["mean"] for row in ranks if not row["rank"])
    y = _vertical_scale(max((max(row["mean"], row["p90"]) for row in ranked), default=0), 196, 34)
    x = Scale(0, max(len(ranked), 3), 46, 334)
    slot = min(x(1) - x(0), 29.0)
    parts = [
        _draw_left_ticks(y, 44, 400),
        svg_text("share of the neighborhood’s responses", 2, 14, anchor="start"),
        svg_text("rank of the cluster, 1 the largest", 190, 246, anchor="middle"),
        svg_text("mean", 40, 226),
    ]
    for place, row in enumerate(ranked):
        parts.append(_draw_rank(row, x(place) + slot / 2, slot, y))
    return svg_chart(
        (400, 254),
        "Share of a neighborhood by rank of cluster",
        f"Mean, median and 10th to 90th percentile. The largest cluster holds "
        f"{percent(ranked[0]['mean'] if ranked else 0)} on average, "
        f"those after rank {len(ranked)} together {percent(rest)}.",
        [*parts, _draw_remainder(rest, y), svg_line(44, y(0), 400, y(0))],
    )


def _draw_rank(row: Mapping[str, float], middle: float, slot: float, y: Scale) -> Markup:
    """The bar, whisker, median and labels of one rank."""
    half = slot * 0.34
    return svg_element(
        "g",
        _draw_bar(middle - half, half * 2, row["mean"], y),
        svg_line(middle, y(row["p10"]), middle, y(row["p90"]), width=1.4),
        svg_line(middle - 3, y(row["p10"]), middle + 3, y(row["p10"]), width=1.4),
        svg_line(middle - 3, y(row["p90"]), middle + 3, y(row["p90"]), width=1.4),
        svg_element("circle", cx=middle, cy=y(row["median"]), r=2.4, fill="currentColor"),
        svg_text(f"{row['rank']:.0f}", middle, 211, anchor="middle"),
        svg_text(percent(row["mean"]), middle, 226, anchor="middle", size=9),
    )


def _draw_remainder(share: float, y: Scale) -> Markup:
    """The bar of all clusters without a bar of their own, in two pieces if it is cut."""
    left, right, bottom, top = 348, 386, y(0), y(min(share, y.high))
    outline = f"M{left} {bottom}V{top:.2f}H{right}V{bottom}"
    notice: list[Markup] = []
    if share > y.high:
        cut = top + 30
        outline = (
            f"M{left} {bottom}V{cut + 10}L{right} {cut}V{bottom}"
            f"M{left} {cut + 4}V{top:.2f}H{right}V{cut - 6}Z"
        )
        notice = [svg_text("not to scale", 367, top - 5, anchor="middle", size=9)]
    return svg_element(
        "g",
        svg_element("path", d=outline, fill="none", stroke="currentColor", stroke_dasharray="3 2"),
        *notice,
        svg_text("the rest", 367, 211, anchor="middle"),
        svg_text(percent(share), 367, 226, anchor="middle", size=9),
    )


def radius_curves(trials: Sequence[Mapping[str, Any]], radius: float, view: str) -> Markup:
    """A line chart of the typicality of the draws by radius, per view, with a ring at the choice.

    Each of ``trials`` has view, radius and typicality; ``radius`` and ``view`` are the choice.
    """
    radii = sorted({trial["radius"] for trial in trials})
    x = Scale(radii[0] - 0.05, radii[-1] + 0.05, 52, 386)
    values = [trial["typicality"] for trial in trials]
    margin = 0.15 * (max(values) - min(values)) + 0.005
    y = Scale(min(values) - margin, max(values) + margin, 176, 56)
    parts = [_draw_left_ticks(y, 50, 400), svg_text("typicality", 2, 44, anchor="start")]
    for place, name in enumerate(dict.fromkeys(trial["view"] for trial in trials)):
        points = [
            (x(trial["radius"]), y(trial["typicality"]))
            for trial in trials
            if trial["view"] == name
        ]
        dash = "none" if name == view else "4 3"
        left = 2 + 135 * place
        parts += [
            svg_polyline(points, MARK_COLOR, dash),
            svg_polyline([(left, 12), (left + 24, 12)], MARK_COLOR, dash),
            svg_text(name, left + 30, 16, anchor="start"),
        ]
    chosen = max(t["typicality"] for t in trials if (t["view"], t["radius"]) == (view, radius))
    ring = {"cx": x(radius), "cy": y(chosen), "r": 5.0}
    parts.append(svg_element("circle", **ring, stroke=MARK_COLOR, class_="line", fill="none"))
    for tick in x.ticks(5):
        parts.append(svg_text(f"{tick:g}", x(tick), 192, anchor="middle"))
    parts += [svg_line(50, 176, 400, 176), svg_text("radius", 225, 210, anchor="middle")]
    about = f"The highest, {percent(chosen)}, with {view} responses at radius {radius:g}."
    return svg_chart((400, 216), "Typicality of the draws by radius", about, parts)


def action_bar(counts: Mapping[str, int]) -> Markup:
    """One bar of all rows, split by what happened to them; the text beside it names the parts."""
    words = ", ".join(
        f"{number(counts[action])} {word}"
        for action, word in ACTION_WORDS.items()
        if counts[action]
    )
    parts = _stack_actions(counts, Scale(0, max(sum(counts.values()), 1), 0, 400), 1, 22)
    return svg_chart((400, 24), "What happened to the rows", f"{words}.", parts)


def action_mark(action: str) -> Markup:
    """The small sample of an action's color and shape in a legend; its name stands beside it."""
    part = _draw_part(action, 1, 1, 14, 12)
    return svg_element("svg", part, viewBox="0 0 16 14", class_="key", aria_hidden="true")


def isolation(bands: Sequence[Mapping[str, Any]], by: str) -> Markup:
    """Bars of the rows by how near their nearest message is, split by what happened to them.

    Each of ``bands`` has low, high and the rows of each action; ``by`` is "similarity" or "group".
    """
    totals = [sum(band[action] for action in ACTION_WORDS) for band in bands]
    x = Scale(0, max(*totals, 1), 130, 350)
    names = [_name_band(band, by) for band in bands]
    title = "similarity of the nearest message" if by == "similarity" else "rows in the same group"
    parts = [svg_text(title, 2, 14, anchor="start"), svg_text("rows", 398, 14)]
    for place, (band, name, total) in enumerate(zip(bands, names, totals, strict=True)):
        top = 26 + 30 * place
        parts += [
            svg_text(name, 122, top + 15),
            *_stack_actions(band, x, top, 20),
            svg_text(number(total), 398, top + 15),
        ]
    foot = 26 + 30 * len(bands)
    words = "; ".join(f"{name}: {number(total)}" for name, total in zip(names, totals, strict=True))
    return svg_chart(
        (400, foot + 2),
        "Rows by how near their nearest message is",
        f"{words}.",
        [*parts, svg_line(130, 22, 130, foot - 4)],
    )


def _name_band(band: Mapping[str, Any], by: str) -> str:
    low, high = band["low"], band["high"]
    if by == "similarity":
        if high is None:
            return f"{low:g} or more"
        return f"{low:g} to {high:g}" if low else f"under {high:g}: none"
    if high is None:
        return f"{low} or more"
    return "1: alone" if low == 1 else f"{low} to {high - 1}"


def _stack_actions(counts: Mapping[str, int], x: Scale, top: float, height: float) -> list[Markup]:
    """The parts of a bar from left to right; even the smallest part can be seen."""
    known = [(action, counts[action]) for action in ACTION_WORDS if counts[action]]
    ends = [0]
    for _, count in known:
        ends.append(ends[-1] + count)
    return [
        _draw_part(action, x(low), top, max(x(high) - x(low) - 2, 1), height)
        for (action, _), (low, high) in zip(known, pairwise(ends), strict=True)
    ]


def _draw_part(action: str, left: float, top: float, width: float, height: float) -> Markup:
    """The part of an action: solid for kept and replaced, outlined if dropped or left unchanged."""
    color = {"kept": BAR_COLOR, "replaced": MARK_COLOR}.get(action, SIDE_COLOR)
    inset = 0.8 if action in ("dropped", "abstained") else 0.0
    return svg_element(
        "rect",
        x=left + inset,
        y=top + inset,
        width=max(width - 2 * inset, 0.4),
        height=height - 2 * inset,
        class_=f"part {action}",
        fill="none" if inset else color,
        stroke=color if inset else "none",
        stroke_width=1.6,
        stroke_dasharray="3 2" if action == "abstained" else "none",
    )


def budget_curve(
    curve: Sequence[Mapping[str, Any]], budget: float | None, unsafe: Sequence[Mapping[str, Any]]
) -> Markup:
    """A line chart of what each budget costs, and below it what it buys if there are labels.

    Each of ``curve`` has budget, variety (the share of different responses that stays) and
    relevance, None if unknown. ``unsafe`` has budget and unsafe (value, low, high). A dashed line
    is at ``budget``, the run's own, if there is one.
    """
    x = Scale(0, 1, 48, 382)
    shown = [point["relevance"] for point in curve if point["relevance"] is not None]
    y = Scale(0, math.ceil(10 * max([1.0, *shown]) - 1e-9) / 10, 214, 78)
    parts = [
        _draw_left_ticks(y, 46, 400, count=6),
        svg_text("what stays", 2, 66, anchor="start"),
        *_draw_legend("different responses", 12, MARK_COLOR, "none"),
    ]
    parts += _draw_series([(x(p["budget"]), y(p["variety"])) for p in curve], MARK_COLOR, "none")
    if shown:
        points = [(x(p["budget"]), y(p["relevance"])) for p in curve if p["relevance"] is not None]
        parts += _draw_legend("relevance to the message, of the mean", 28, SIDE_COLOR, "4 3")
        parts += _draw_series(points, SIDE_COLOR, "4 3")
    foot = 214.0
    known = [point for point in unsafe if point["unsafe"]["value"] is not None]
    if known:
        parts += _draw_unsafe(known, x, 348, 264)
        foot = 348.0
    if budget:
        parts += _draw_legend(f"budget of this run: {percent(budget)}", 44, INK, "2 3")
        spans = [(214, 78), (348, 264)] if known else [(214, 78)]
        parts += [svg_polyline([(x(budget), at) for at in span], INK, "2 3") for span in spans]
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1):
        parts.append(svg_text(f"{tick:.0%}", x(tick), foot + 16, anchor="middle"))
    parts += [
        svg_line(46, foot, 400, foot),
        svg_text(
            "budget: share of rows not kept, the least trusted", 218, foot + 34, anchor="middle"
        ),
    ]
    about = "; ".join(
        f"budget {point['budget']:.0%}: {percent(point['variety'])} of the different responses"
        for point in curve
    )
    return svg_chart((400, foot + 42), "What each budget costs", f"{about}.", parts)


def _draw_unsafe(
    points: Sequence[Mapping[str, Any]], x: Scale, bottom: float, top: float
) -> list[Markup]:
    """The unsafe share of what each budget keeps, with its interval, on a scale of its own."""
    y = _vertical_scale(max(point["unsafe"]["high"] for point in points), bottom, top)
    parts = [
        _draw_left_ticks(y, 46, 400),
        svg_text("unsafe among the kept, with 95 % interval", 2, top - 14, anchor="start"),
    ]
    for point in points:
        at, share = x(point["budget"]), point["unsafe"]
        parts += [
            svg_line(at, y(share["low"]), at, y(share["high"]), width=1.4),
            svg_element("circle", cx=at, cy=y(share["value"]), r=3, fill="currentColor"),
        ]
    return parts


def _draw_legend(name: str, top: float, color: str, dash: str) -> list[Markup]:
    line = svg_polyline([(2, top), (26, top)], color, dash)
    return [line, svg_text(name, 32, top + 4, anchor="start")]


def _draw_series(points: Sequence[tuple[float, float]], color: str, dash: str) -> list[Markup]:
    """A line with its points: dots if it is solid, squares if it is dashed."""
    marks = [
        svg_element("circle", cx=left, cy=top, r=3, fill=color, class_="dot")
        if dash == "none"
        else svg_element(
            "rect", x=left - 3, y=top - 3, width=6, height=6, fill=color, class_="square"
        )
        for left, top in points
    ]
    return [svg_polyline(points, color, dash), *marks]


def _vertical_scale(highest: float, bottom: float, top: float) -> Scale:
    """A scale from zero to a round value that is not below the highest."""
    highest = highest or 1
    step = tick_step(highest / 5, False)
    return Scale(0, math.ceil(highest / step - 1e-9) * step, bottom, top)


def _draw_left_ticks(y: Scale, left: float, right: float, count: int = 5) -> Markup:
    """Grid lines with their values on the left, in percent."""
    parts = []
    for tick in y.ticks(count):
        line = {"x1": left, "y1": y(tick), "x2": right, "y2": y(tick)}
        grid = svg_element("line", **line, stroke="currentColor", stroke_opacity=0.15)
        parts += [grid, svg_text(f"{100 * tick:.4g}%", left - 5, y(tick) + 4)]
    return svg_element("g", *parts)


def _draw_bar(left: float, width: float, value: float, y: Scale) -> Markup:
    """A bar from zero to a value; its outline shows even the smallest value above zero."""
    return svg_element(
        "rect",
        x=left,
        y=y(value),
        width=width,
        height=y(0) - y(value),
        class_="bar",
        fill=BAR_COLOR,
        stroke=MARK_COLOR if value else "none",
        stroke_width=0.8,
    )


__all__ = [
    "action_bar",
    "action_mark",
    "budget_curve",
    "isolation",
    "long_tail",
    "number",
    "percent",
    "radius_curves",
]
