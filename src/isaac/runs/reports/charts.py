"""Charts as inline SVG, from plain values; every text in them is escaped.

Colors are attributes, so that a chart also works outside a page; a page can override them by
class, as for dark mode. Length, shape or a label shows everything that color does, so that a chart
can be read in black and white. Why no plotting library: docs/experiments.md.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from .svg import (
    BAR_COLOR,
    MARK_COLOR,
    Scale,
    format_attribute,
    number,
    percent,
    svg_chart,
    svg_element,
    svg_line,
    svg_text,
    tick_step,
)

TYPICALITY_COLORS = ("#c3e3b9", "#7fcdbb", "#41b6c4", "#1d86bb", "#225ea8", "#0c2c84")
"""Light to dark, from yellow-green to blue: distinguishable with any color vision and in gray."""
TYPICALITY_BREAKS = (0.2, 0.4, 0.6, 0.8, 0.9)
"""Bounds between the shades of typicality."""


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
        _draw_left_ticks(y, 44, 400, share=True),
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
    tooltip = (
        f"rank {row['rank']:.0f}: mean {percent(row['mean'])}, median {percent(row['median'])}, "
        f"10th to 90th percentile {percent(row['p10'])} to {percent(row['p90'])}"
    )
    return svg_element(
        "g",
        svg_element("title", tooltip),
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
        svg_element("title", f"all smaller clusters together: mean {percent(share)}"),
        svg_element("path", d=outline, fill="none", stroke="currentColor", stroke_dasharray="3 2"),
        *notice,
        svg_text("the rest", 367, 211, anchor="middle"),
        svg_text(percent(share), 367, 226, anchor="middle", size=9),
    )


def histogram(
    counts: Sequence[int], label: str, *, share: bool = False, unit: str = "rows"
) -> Markup:
    """A bar chart of the counts in equal bins of [0, 1]; ``share`` labels the bins in percent."""
    x = Scale(0, max(len(counts), 1), 44, 300)
    y = _vertical_scale(max(counts, default=0), 140, 26, whole=True)
    parts = [_draw_left_ticks(y, 44, 300), svg_text(unit, 2, 12, anchor="start")]
    for place, count in enumerate(counts):
        ends = (
            _format_edge(place / len(counts), share),
            _format_edge((place + 1) / len(counts), share),
        )
        tooltip = svg_element("title", f"{ends[0]} to {ends[1]}: {number(count)} {unit}")
        bar = _draw_bar(x(place) + 0.8, x(1) - x(0) - 1.6, count, y)
        parts.append(svg_element("g", tooltip, bar))
    for edge in (0, 0.25, 0.5, 0.75, 1):
        at = 44 + 256 * edge
        parts += [
            svg_line(at, 140, at, 144),
            svg_text(_format_edge(edge, share), at, 156, anchor="middle"),
        ]
    parts += [svg_line(44, 140, 300, 140), svg_text(label, 172, 174, anchor="middle")]
    return svg_chart(
        (320, 180), f"{unit} by {label}", _describe_histogram(counts, unit, share), parts
    )


def curves(trials: Sequence[Mapping[str, Any]], radius: float, view: str) -> Markup:
    """A line chart of the typicality of the draws by radius, per view, with a ring at the choice.

    Each of ``trials`` has view, radius and typicality; ``radius`` and ``view`` are the choice.
    """
    radii = sorted({trial["radius"] for trial in trials})
    x = Scale(radii[0] - 0.05, radii[-1] + 0.05, 52, 290)
    values = [trial["typicality"] for trial in trials]
    margin = 0.15 * (max(values) - min(values)) + 0.005
    y = Scale(min(values) - margin, max(values) + margin, 140, 26)
    parts = [
        _draw_left_ticks(y, 50, 300, share=True),
        svg_text("typicality", 2, 12, anchor="start"),
    ]
    for name in dict.fromkeys(trial["view"] for trial in trials):
        points = [
            (x(trial["radius"]), y(trial["typicality"]))
            for trial in trials
            if trial["view"] == name
        ]
        path = " ".join(f"{format_attribute(left)},{format_attribute(top)}" for left, top in points)
        dash = "none" if name == view else "4 3"
        parts.append(
            svg_element(
                "polyline",
                points=path,
                fill="none",
                stroke=MARK_COLOR,
                stroke_width=1.6,
                stroke_dasharray=dash,
            )
        )
        parts.append(svg_text(name, points[-1][0] + 4, points[-1][1] + 4, anchor="start"))
    chosen = max(t["typicality"] for t in trials if (t["view"], t["radius"]) == (view, radius))
    parts.append(
        svg_element("circle", cx=x(radius), cy=y(chosen), r=5, fill="none", stroke=MARK_COLOR)
    )
    for tick in x.ticks(5):
        parts.append(svg_text(f"{tick:g}", x(tick), 156, anchor="middle"))
    parts += [svg_line(50, 140, 300, 140), svg_text("radius", 172, 174, anchor="middle")]
    about = f"The highest, {percent(chosen)}, with {view} responses at radius {radius:g}."
    return svg_chart((350, 180), "Typicality of the draws by radius", about, parts)


def _format_edge(value: float, share: bool) -> str:
    return f"{100 * value:.4g}%" if share else f"{value:.4g}"


def _describe_histogram(counts: Sequence[int], unit: str, share: bool) -> str:
    """A histogram in words: every bin that is not empty."""
    width = 1 / max(len(counts), 1)
    edges = [_format_edge(place * width, share) for place in range(len(counts) + 1)]
    bins = [
        f"{low} to {high}: {number(count)}"
        for (low, high), count in zip(pairwise(edges), counts, strict=True)
        if count
    ]
    return f"Number of {unit}: " + ("; ".join(bins) or "none") + "."


def cluster_sizes(sizes: Sequence[int], neighborhood: int, drawn: int, own: int) -> Markup:
    """The sizes of a neighborhood's largest clusters, in one row.

    ``drawn`` is the rank (from 1) of the cluster of the draw, ``own`` that of the row's own
    response; either may be beyond those of ``sizes``. A full bar is at least a tenth of the
    neighborhood, so that clusters of one response look small.
    """
    y = Scale(0, max(*sizes, neighborhood / 10, 1, 1), 58, 14)
    last, rest = len(sizes), neighborhood - sum(sizes)
    parts = [svg_line(40, 58, 54 + 22 * last, 58)]
    for place, size in enumerate(sizes):
        middle = 59 + 22 * place
        bar = _draw_bar(middle - 8, 16, size, y, chosen=place + 1 == drawn)
        parts += [bar, svg_text(number(size), middle, y(size) - 3, anchor="middle", size=10)]
        parts.append(svg_text(str(place + 1), middle, 71, anchor="middle", size=10))
    for height, word in ((55, "size"), (71, "rank"), (86, "drawn"), (101, "own")):
        parts.append(svg_text(word, 34, height, size=10))
    if rest > 0:
        labels = ((55, f"{number(rest)} more"), (71, "in the rest"))
        parts += [
            svg_text(label, 62 + 22 * last, at, anchor="start", size=10) for at, label in labels
        ]
    parts += [_draw_rank_mark("▲", drawn, last, 86), _draw_rank_mark("○", own, last, 101)]
    words = "; ".join(f"rank {place}: {size}" for place, size in enumerate(sizes, start=1))
    return svg_chart(
        (350, 106),
        "Cluster sizes of this neighborhood",
        f"{words}; the rest: {max(rest, 0)}, of {neighborhood}. Drawn from the cluster of rank "
        f"{drawn}; the row’s own response is in that of rank {own}.",
        parts,
    )


def _draw_rank_mark(symbol: str, rank: int, last: int, height: float) -> Markup:
    """A symbol under its cluster, or next to the rest with its rank if the cluster has no bar."""
    if rank <= last:
        return svg_text(symbol, 59 + 22 * (rank - 1), height, anchor="middle")
    return svg_text(f"{symbol} rank {rank}", 62 + 22 * last, height, anchor="start", size=10)


def scatter(points: Sequence[Mapping[str, Any]]) -> Markup:
    """A map of the contexts in the plane, both axes on the same scale.

    Each of ``points`` has id, x, y, typicality, action and context. The shade shows typicality,
    the shape whether the row was kept; the context is a tooltip.
    """
    x, y = _fit_plane(points)
    bottom = max(y.start, y.end)
    drawn = sorted(points, key=lambda point: (point["action"] == "kept", point["typicality"]))
    actions = Counter(str(point["action"]) for point in points)
    frame = svg_element(
        "rect",
        x=60,
        y=10,
        width=570,
        height=bottom - 10,
        fill="none",
        stroke="currentColor",
        stroke_opacity=0.25,
    )
    return svg_chart(
        (640, bottom + 136),
        "Map of contexts",
        f"{number(len(points))} contexts in the plane of their first two principal components; "
        + ", ".join(f"{number(count)} {action}" for action, count in sorted(actions.items()))
        + ". Similar contexts are close together; a darker shade is a more typical response.",
        [
            frame,
            *_draw_map_axes(x, y, bottom),
            *_draw_map_marks(drawn, x, y),
            *_draw_legend(actions, bottom + 72),
        ],
        kind="map",
    )


def _fit_plane(points: Sequence[Mapping[str, Any]]) -> tuple[Scale, Scale]:
    """Scales that fit every point; a unit has the same length on both axes."""
    xs, ys = ([float(point[name]) for point in points] or [0.0] for name in ("x", "y"))
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    unit = min(540 / max(right - left, 1e-9), 420 / max(high - low, 1e-9))
    unit = unit if max(right - left, high - low) > 0 else 280.0
    height = max(unit * (high - low), 160) + 30
    half = (285 / unit, height / 2 / unit)
    x, y = (left + right) / 2, (low + high) / 2
    return (
        Scale(x - half[0], x + half[0], 60, 630),
        Scale(y - half[1], y + half[1], 10 + height, 10),
    )


def _draw_map_marks(points: Iterable[Mapping[str, Any]], x: Scale, y: Scale) -> list[Markup]:
    """A mark with a tooltip for each point: a dot, or a diamond if the row was kept."""
    marks = []
    for point in points:
        facts = f"{point['action']}, typicality {percent(point['typicality'])}"
        title = svg_element("title", f"{point['context']} — row {point['id']}, {facts}")
        shade = bisect_right(TYPICALITY_BREAKS, point["typicality"])
        place = (x(float(point["x"])), y(float(point["y"])))
        marks.append(_draw_mark(place, shade, point["action"] == "kept", title))
    return marks


def _draw_mark(place: tuple[float, float], shade: int, kept: bool, *inside: Markup) -> Markup:
    paint = {"class_": f"t{shade}", "fill": TYPICALITY_COLORS[shade]}
    if not kept:
        return svg_element("circle", *inside, cx=place[0], cy=place[1], r=3.3, **paint)
    corners = f"M{place[0]:.1f} {place[1] - 5.5:.1f}l5.5 5.5l-5.5 5.5l-5.5-5.5z"
    return svg_element("path", *inside, d=corners, stroke="currentColor", **paint)


def _draw_map_axes(x: Scale, y: Scale, bottom: float) -> list[Markup]:
    across = svg_text(
        "first principal component of the contexts", 345, bottom + 42, anchor="middle"
    )
    upright = svg_text("second principal component", 0, 0, anchor="middle")
    turned = f"translate(13 {(bottom + 10) / 2:.1f}) rotate(-90)"
    parts = [across, svg_element("g", upright, transform=turned)]
    for tick in x.ticks(6):
        parts += [svg_line(x(tick), bottom, x(tick), bottom + 4)]
        parts.append(svg_text(_format_signed(tick), x(tick), bottom + 19, anchor="middle"))
    for tick in y.ticks(4):
        parts += [
            svg_line(56, y(tick), 60, y(tick)),
            svg_text(_format_signed(tick), 53, y(tick) + 4),
        ]
    return parts


def _format_signed(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _draw_legend(actions: Mapping[str, int], top: float) -> list[Markup]:
    """The legend of the shades and shapes."""
    names = [f"under {_format_edge(TYPICALITY_BREAKS[0], share=True)}"]
    names += [f"{100 * a:g}–{100 * b:g}%" for a, b in pairwise(TYPICALITY_BREAKS)]
    names.append(f"{_format_edge(TYPICALITY_BREAKS[-1], share=True)} or more")
    parts = [svg_text("typicality", 40, top, anchor="start")]
    for shade, name in enumerate(names):
        left, height = 160 + 165 * (shade % 3), top + 24 * (shade // 3)
        parts.append(_draw_mark((left, height - 4), shade, kept=False))
        parts.append(svg_text(name, left + 10, height, anchor="start"))
    parts.append(svg_text("row", 40, top + 54, anchor="start"))
    shown = ["replaced", "kept", *(["dropped"] if actions.get("dropped") else [])]
    for action, left in zip(shown, (160, 325, 490), strict=False):
        parts.append(_draw_mark((left, top + 50), 2, action == "kept"))
        label = f"{action}: {number(actions.get(action, 0))}"
        parts.append(svg_text(label, left + 10, top + 54, anchor="start"))
    return parts


def _vertical_scale(highest: float, bottom: float, top: float, *, whole: bool = False) -> Scale:
    """A scale from zero to a round value that is not below the highest."""
    highest = highest or 1
    step = tick_step(highest / 5, whole)
    return Scale(0, math.ceil(highest / step - 1e-9) * step, bottom, top)


def _draw_left_ticks(y: Scale, left: float, right: float, *, share: bool = False) -> Markup:
    """Grid lines with their values on the left."""
    parts = []
    for tick in y.ticks(5, whole=not share):
        grid = svg_element(
            "line",
            x1=left,
            y1=y(tick),
            x2=right,
            y2=y(tick),
            stroke="currentColor",
            stroke_opacity=0.15,
        )
        parts += [
            grid,
            svg_text(_format_edge(tick, True) if share else number(tick), left - 5, y(tick) + 4),
        ]
    return svg_element("g", *parts)


def _draw_bar(left: float, width: float, value: float, y: Scale, *, chosen: bool = False) -> Markup:
    """A bar from zero to a value; its outline shows even the smallest value above zero."""
    return svg_element(
        "rect",
        x=left,
        y=y(value),
        width=width,
        height=y(0) - y(value),
        class_="mark" if chosen else "bar",
        fill=MARK_COLOR if chosen else BAR_COLOR,
        stroke=MARK_COLOR if value else "none",
        stroke_width=0.8,
    )
