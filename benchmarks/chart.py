"""A scatter chart in small panels, as an SVG that needs nothing beside itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 300, 230
"""Of the plot of one panel, in pixels."""

LEFT, TOP, RIGHT, BOTTOM = 48, 34, 12, 34
"""Room around the plot of one panel, for its title and its ticks."""

COLUMNS = 3
HEAD, FOOT, LEGEND = 34, 34, 24

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
"""Shape, colour and whether it is filled, of each series in turn."""


class Point(NamedTuple):
    """One series' place in a panel, its deviation each way, and perhaps a word beside it."""

    series: str
    x: float
    dx: float
    y: float
    dy: float
    word: str = ""


class Panel(NamedTuple):
    """A titled set of points."""

    title: str
    points: Sequence[Point]


class Scale(NamedTuple):
    """Values on an axis: its ticks, the first and the last at its ends, over some pixels."""

    ticks: Sequence[float]
    start: float
    length: float

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        low, high = self.ticks[0], self.ticks[-1]
        return round(self.start + self.length * (value - low) / (high - low), 1)


def scatter(
    panels: Sequence[Panel], series: Sequence[str], *, title: str, across: str, up: str
) -> str:
    """Return the chart, every panel on the same axes.

    ``series`` fixes the marks; those without a point are left out of the legend.
    """
    points = [point for panel in panels for point in panel.points]
    shown = {point.series for point in points}
    marks = {name: mark for name, mark in zip(series, MARKS, strict=False) if name in shown}
    columns = min(COLUMNS, len(panels))
    wide, high = LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM
    width = max(columns * wide + 24, 560)
    body = HEAD + math.ceil(len(panels) / columns) * high
    legend, rows = _legend(marks, width, body + FOOT)
    horizontal = Scale(choose_ticks(_axis_range((p.x, p.dx) for p in points)), LEFT, WIDTH)
    vertical = Scale(choose_ticks(_axis_range((p.y, p.dy) for p in points)), TOP + HEIGHT, -HEIGHT)
    parts = [f'<text class="title" x="24" y="24">{escape(title)}</text>']
    for place, panel in enumerate(panels):
        x, y = 24 + place % columns * wide, HEAD + place // columns * high
        inside = "\n".join(_panel(panel, marks, horizontal, vertical))
        parts.append(f'<g transform="translate({x},{y})">\n{inside}\n</g>')
    parts.append(_text(across, width / 2, body + 12, "middle"))
    middle = (HEAD + body) / 2
    parts.append(_text(up, 18, middle, "middle", f' transform="rotate(-90 18 {middle})"'))
    return _document(width, body + FOOT + rows * LEGEND, title, [*parts, *legend])


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
    """Return round numbers at even steps, the first and the last outside both ends."""
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
    spans = [(middle - around, middle + around) for middle, around in values]
    return min(low for low, _ in spans), max(high for _, high in spans)


def _panel(
    panel: Panel, marks: dict[str, tuple[str, str, bool]], across: Scale, up: Scale
) -> Iterator[str]:
    yield _text(panel.title, LEFT, TOP - 12, "start", ' class="panel"')
    for value in across.ticks:
        x = across(value)
        kind = "base" if value == 100 else "grid"
        yield f'<path class="{kind}" d="M{x},{TOP}V{TOP + HEIGHT}"/>'
        yield _text(f"{value:g}", x, TOP + HEIGHT + 16, "middle", ' class="tick"')
    for value in up.ticks:
        y = up(value)
        kind = "base" if value == 0 else "grid"
        yield f'<path class="{kind}" d="M{LEFT},{y}H{LEFT + WIDTH}"/>'
        yield _text(f"{value:g}", LEFT - 7, y + 4, "end", ' class="tick"')
    for point in panel.points:
        x, y = across(point.x), up(point.y)
        left, right = across(point.x - point.dx), across(point.x + point.dx)
        low, high = up(point.y - point.dy), up(point.y + point.dy)
        colour = marks[point.series][1]
        yield (
            f'<path class="bar" style="stroke:var(--{colour})" '
            f'd="M{left},{y}H{right}M{x},{low}V{high}"/>'
        )
    places = [(across(point.x), up(point.y)) for point in panel.points]
    for point, (x, y) in zip(panel.points, places, strict=True):
        yield _mark(marks[point.series], x, y, _describe_point(point))
        if point.word:
            style = f' class="word" style="fill:var(--{marks[point.series][1]})"'
            yield _text(point.word, *_place_word(x, y, places), style)


def _place_word(
    x: float, y: float, places: Sequence[tuple[float, float]]
) -> tuple[float, float, str]:
    """Return where a word of up to 44 pixels goes: the first side on which no mark lies."""
    for down, along in ((-6, 1), (-6, -1), (14, 1), (14, -1)):
        left = x + 9 if along > 0 else x - 53
        inside = LEFT < left < LEFT + WIDTH - 44
        hit = any(-6 < a - left < 50 and -16 < b - y - down < 8 for a, b in places)
        if inside and not hit:
            break
    return x + 9 * along, y + down, "start" if along > 0 else "end"


def _describe_point(point: Point) -> str:
    return (
        f"{point.series}: cut {point.y:.1f} ± {point.dy:.1f} %, "
        f"relevance {point.x:.1f} ± {point.dx:.1f} %"
    )


def _mark(mark: tuple[str, str, bool], x: float, y: float, said: str) -> str:
    shape, colour, filled = mark
    fill = f"var(--{colour})" if filled else "var(--back)"
    edge = "var(--back)" if filled else f"var(--{colour})"
    return (
        f'<path transform="translate({x},{y})" d="{SHAPES[shape]}" '
        f'style="fill:{fill};stroke:{edge};stroke-width:{1 if filled else 1.8}">'
        f"<title>{escape(said)}</title></path>"
    )


def _legend(
    marks: dict[str, tuple[str, str, bool]], width: float, top: float
) -> tuple[list[str], int]:
    """Return the entries in even columns, and how many rows they take."""
    columns = max(1, min(4, int(width // 240)))
    parts = []
    for place, (name, mark) in enumerate(marks.items()):
        x = 36 + place % columns * (width - 48) / columns
        y = top + place // columns * LEGEND
        parts += [_mark(mark, x, y, name), _text(name, x + 14, y + 4, "start")]
    return parts, math.ceil(len(marks) / columns)


def _text(said: str, x: float, y: float, anchor: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{more}>{escape(said)}</text>'
