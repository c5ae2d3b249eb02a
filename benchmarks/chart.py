"""A chart of points or curves with several panels, as a self-contained SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 300, 230
"""Size of the plot of a panel, in pixels."""

LEFT, TOP, RIGHT, BOTTOM = 48, 34, 12, 34
"""Margins around the plot of a panel, for its title and ticks, in pixels."""

COLUMNS = 3
"""Maximum number of panels side by side."""

HEAD, FOOT, LEGEND = 34, 34, 24
"""Height of the chart's title, of the x axis label, and of a row of the legend, in pixels."""

STYLE = """
  :root { --ink: #1f2328; --soft: #59636e; --grid: #e3e6ea; --back: #ffffff;
    --a: #1f2328; --b: #59636e; --c: #9a6700; --d: #1a7f37; --e: #0e7490; --f: #0550ae;
    --g: #8250df; --h: #cf222e; }
  @media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --grid: #2f363d;
    --back: #0d1117; --a: #e6edf3; --b: #9198a1; --c: #d9a62e; --d: #4cc26a; --e: #39b8cc;
    --f: #6cb0ff; --g: #b794f6; --h: #ff7b72; } }
  text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: var(--ink); }
  .title { font-size: 15px; font-weight: 600; } .panel { font-weight: 600; }
  .tick { fill: var(--soft); font-size: 11px; font-variant-numeric: tabular-nums; }
  .back { fill: var(--back); } .grid { stroke: var(--grid); } .base { stroke: var(--soft); }
  .bar { stroke-opacity: 0.7; stroke-width: 1.4; }
  .curve { fill: none; stroke-width: 2; }
  .word { font-weight: 600; paint-order: stroke; stroke: var(--back); stroke-width: 3px; }
"""

SHAPES = {
    "circle": "M-4.5,0a4.5,4.5 0 1,0 9,0a4.5,4.5 0 1,0 -9,0Z",
    "triangle": "M0,-5.5L5.2,4L-5.2,4Z",
    "wedge": "M0,5.5L5.2,-4L-5.2,-4Z",
    "diamond": "M0,-6L6,0L0,6L-6,0Z",
    "square": "M-4.5,-4.5H4.5V4.5H-4.5Z",
    "star": "M0,-8L2,-2.7L7.6,-2.5L3.2,1L4.7,6.5L0,3.4L-4.7,6.5L-3.2,1L-7.6,-2.5L-2,-2.7Z",
}

MARKS = (
    ("circle", "a", True),
    ("circle", "b", False),
    ("triangle", "c", True),
    ("triangle", "c", False),
    ("wedge", "d", True),
    ("diamond", "e", True),
    ("square", "f", True),
    ("square", "g", False),
    ("star", "h", True),
    ("star", "h", False),
)
"""The mark of each series in turn: its shape, its color, and whether it is filled."""

Mark = tuple[str, str, bool]


class Point(NamedTuple):
    """A point of a series, with its deviation on each axis, and a short label to print beside it.

    The label is empty for most points; about 44 pixels are reserved for it.
    """

    series: str
    x: float
    dx: float
    y: float
    dy: float
    label: str = ""


class Panel(NamedTuple):
    """A titled set of points."""

    title: str
    points: Sequence[Point]


class Scale(NamedTuple):
    """An axis: its ticks, the first and last at its ends, and where it starts, in pixels.

    The length is negative on a vertical axis, because pixels are counted from the top.
    """

    ticks: Sequence[float]
    start: float
    length: float

    def __call__(self, value: float) -> float:
        """The position of a value, in pixels."""
        low, high = self.ticks[0], self.ticks[-1]
        return round(self.start + self.length * (value - low) / (high - low), 1)


def curves(
    panels: Sequence[Panel], series: Sequence[str], *, title: str, x_label: str, y_label: str
) -> str:
    """Draw the chart like `scatter`, with the points of a series joined from left to right."""
    return scatter(panels, series, title=title, x_label=x_label, y_label=y_label, joined=True)


def scatter(
    panels: Sequence[Panel],
    series: Sequence[str],
    *,
    title: str,
    x_label: str,
    y_label: str,
    joined: bool = False,
) -> str:
    """Draw the chart as an SVG, with the same axes in every panel.

    The order of ``series`` determines their marks; series without points are left out of the
    legend.
    """
    points = [point for panel in panels for point in panel.points]
    present = {point.series for point in points}
    marks = {name: mark for name, mark in zip(series, MARKS, strict=False) if name in present}
    columns = min(COLUMNS, len(panels))
    panel_width, panel_height = LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM
    width = max(columns * panel_width + 24, 560)
    bottom = HEAD + math.ceil(len(panels) / columns) * panel_height
    legend, legend_rows = _draw_legend(marks, width, bottom + FOOT)
    x_axis = Scale(choose_ticks(_axis_range((p.x, p.dx) for p in points)), LEFT, WIDTH)
    y_axis = Scale(choose_ticks(_axis_range((p.y, p.dy) for p in points)), TOP + HEIGHT, -HEIGHT)
    parts = [f'<text class="title" x="24" y="24">{escape(title)}</text>']
    for place, panel in enumerate(panels):
        x, y = 24 + place % columns * panel_width, HEAD + place // columns * panel_height
        lines = _draw_curves(panel, marks, x_axis, y_axis) if joined else ()
        inside = "\n".join((*_draw_panel(panel, marks, x_axis, y_axis), *lines))
        parts.append(f'<g transform="translate({x},{y})">\n{inside}\n</g>')
    parts.append(_draw_text(x_label, width / 2, bottom + 12, "middle"))
    middle = (HEAD + bottom) / 2
    parts.append(_draw_text(y_label, 18, middle, "middle", f' transform="rotate(-90 18 {middle})"'))
    return _document(width, bottom + FOOT + legend_rows * LEGEND, title, [*parts, *legend])


def _document(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" aria-label="{escape(title)}">',
            f"<style>{STYLE}</style>",
            f'<rect class="back" width="{width}" height="{height}"/>',
            *parts,
            "</svg>\n",
        )
    )


def choose_ticks(ends: tuple[float, float]) -> list[float]:
    """Choose evenly spaced round numbers that cover the range between two ends."""
    low, high = ends
    step = next(
        size
        for power in range(-3, 9)
        for size in (10.0**power, 2 * 10.0**power, 5 * 10.0**power)
        if (high - low) / size <= 6
    )
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * place for place in range(first, max(last, first + 1) + 1)]


def _axis_range(values: Iterable[tuple[float, float]]) -> tuple[float, float]:
    ranges = [(value - deviation, value + deviation) for value, deviation in values]
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _draw_panel(
    panel: Panel, marks: dict[str, Mark], x_axis: Scale, y_axis: Scale
) -> Iterator[str]:
    yield _draw_text(panel.title, LEFT, TOP - 12, "start", ' class="panel"')
    for value in x_axis.ticks:
        x = x_axis(value)
        style = "base" if value == 100 else "grid"
        yield f'<path class="{style}" d="M{x},{TOP}V{TOP + HEIGHT}"/>'
        yield _draw_text(f"{value:g}", x, TOP + HEIGHT + 16, "middle", ' class="tick"')
    for value in y_axis.ticks:
        y = y_axis(value)
        style = "base" if value == 0 else "grid"
        yield f'<path class="{style}" d="M{LEFT},{y}H{LEFT + WIDTH}"/>'
        yield _draw_text(f"{value:g}", LEFT - 7, y + 4, "end", ' class="tick"')
    # the bars first, so that no bar covers a mark
    for point in panel.points:
        x, y = x_axis(point.x), y_axis(point.y)
        left, right = x_axis(point.x - point.dx), x_axis(point.x + point.dx)
        low, high = y_axis(point.y - point.dy), y_axis(point.y + point.dy)
        color = marks[point.series][1]
        yield (
            f'<path class="bar" style="stroke:var(--{color})" '
            f'd="M{left},{y}H{right}M{x},{low}V{high}"/>'
        )
    positions = [(x_axis(point.x), y_axis(point.y)) for point in panel.points]
    for point, (x, y) in zip(panel.points, positions, strict=True):
        yield _draw_mark(marks[point.series], x, y, _describe_point(point))
        if point.label:
            style = f' class="word" style="fill:var(--{marks[point.series][1]})"'
            yield _draw_text(point.label, *_place_label(x, y, positions), style)


def _draw_curves(
    panel: Panel, marks: dict[str, Mark], x_axis: Scale, y_axis: Scale
) -> Iterator[str]:
    for name, (_, color, _) in marks.items():
        points = sorted((p.x, p.y) for p in panel.points if p.series == name)
        if len(points) > 1:
            path = "L".join(f"{x_axis(x)},{y_axis(y)}" for x, y in points)
            yield f'<path class="curve" style="stroke:var(--{color})" d="M{path}"/>'


def _place_label(
    x: float, y: float, positions: Sequence[tuple[float, float]]
) -> tuple[float, float, str]:
    """Choose x, y and text anchor of a label of up to 44 pixels: the first side without a mark."""
    for down, side in ((-6, 1), (-6, -1), (14, 1), (14, -1)):
        left = x + 9 if side > 0 else x - 53
        inside = LEFT < left < LEFT + WIDTH - 44
        overlaps = any(-6 < a - left < 50 and -16 < b - y - down < 8 for a, b in positions)
        if inside and not overlaps:
            break
    return x + 9 * side, y + down, "start" if side > 0 else "end"


def _describe_point(point: Point) -> str:
    return f"{point.series}: {point.y:.1f} ± {point.dy:.1f} % at {point.x:.1f} ± {point.dx:.1f} %"


def _draw_mark(mark: Mark, x: float, y: float, tooltip: str) -> str:
    shape, color, filled = mark
    fill = f"var(--{color})" if filled else "var(--back)"
    edge = "var(--back)" if filled else f"var(--{color})"
    return (
        f'<path transform="translate({x},{y})" d="{SHAPES[shape]}" '
        f'style="fill:{fill};stroke:{edge};stroke-width:{1 if filled else 1.8}">'
        f"<title>{escape(tooltip)}</title></path>"
    )


def _draw_legend(marks: dict[str, Mark], width: float, top: float) -> tuple[list[str], int]:
    """Draw the entries in even columns; return them, and the number of rows that they take."""
    columns = max(1, min(4, int(width // 240)))
    parts = []
    for place, (name, mark) in enumerate(marks.items()):
        x = 36 + place % columns * (width - 48) / columns
        y = top + place // columns * LEGEND
        parts += [_draw_mark(mark, x, y, name), _draw_text(name, x + 14, y + 4, "start")]
    return parts, math.ceil(len(marks) / columns)


def _draw_text(text: str, x: float, y: float, anchor: str, attributes: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{attributes}>{escape(text)}</text>'
