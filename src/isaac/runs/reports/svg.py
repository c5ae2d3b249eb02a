"""SVG building blocks of the charts: elements, lines, texts, scales and number formats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from ...text import make_printable

BAR_COLOR, MARK_COLOR, SIDE_COLOR = "#5f87a6", "#12507b", "#9c5314"
"""Colors on white, each with a contrast of at least 3 to it: bars, marks, and a second kind."""

INK = "currentColor"
"""The color of the text around a chart."""


def number(value: float) -> str:
    """A count with thousands separators; a median may end in .5."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def percent(share: float) -> str:
    """A share as a percentage that is 0 or 100 % only if the share is exactly 0 or 1."""
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{100 * share:.0f}%" if share in (0, 1) else f"{100 * share:.1f}%"


class Scale(NamedTuple):
    """A linear scale that maps the values ``low`` to ``high`` to positions ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The position of a value."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int, whole: bool = False) -> list[float]:
        """About ``count`` round values on the scale, or fewer; with ``whole``, integers only."""
        step = tick_step((self.high - self.low) / count, whole)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(i * step, 12) for i in range(first, last + 1)]


def tick_step(least: float, whole: bool) -> float:
    """The smallest of 1, 2, 5, 10, 20 … (or .1, .2 …) that is at least ``least``."""
    least = max(least, 1.0) if whole else least
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= least * (1 - 1e-9))


def svg_line(x1: float, y1: float, x2: float, y2: float, *, width: float = 1) -> Markup:
    """A straight line."""
    return svg_element(
        "line", x1=x1, y1=y1, x2=x2, y2=y2, stroke="currentColor", stroke_width=width
    )


def svg_text(text: str, x: float, y: float, *, anchor: str = "end", size: float = 0) -> Markup:
    """A text whose end, middle or start (``anchor``) is at a point."""
    font: dict[str, str | float] = {"font_size": size} if size else {}
    return svg_element("text", text, x=x, y=y, text_anchor=anchor, **font)


def svg_polyline(points: Sequence[tuple[float, float]], color: str, dash: str = "none") -> Markup:
    """A line through points."""
    path = " ".join(f"{format_attribute(x)},{format_attribute(y)}" for x, y in points)
    return svg_element(
        "polyline",
        points=path,
        class_={SIDE_COLOR: "side", INK: "ink"}.get(color, "line"),
        fill="none",
        stroke=color,
        stroke_width=1.8,
        stroke_dasharray=dash,
    )


def svg_chart(size: tuple[float, float], title: str, about: str, parts: Sequence[Markup]) -> Markup:
    """A chart of a width and height; ``about`` describes it for screen readers."""
    return svg_element(
        "svg",
        svg_element("title", title),
        svg_element("desc", about),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {size[0]:g} {size[1]:g}",
        role="img",
        class_="chart",
        fill="currentColor",
        font_family="system-ui, sans-serif",
        font_size=11,
    )


def svg_file(chart: Markup) -> str:
    """A chart as a file of its own, dark on white, because no page around it has colors."""
    colors = "<style>svg { color: #1f2328; background: #fff }</style>"
    return str(chart).replace("<title>", f"{colors}<title>", 1) + "\n"


def svg_element(name: str, /, *inside: str, **attributes: str | float) -> Markup:
    """An SVG element; text inside is made printable and escaped, `Markup` is kept unchanged.

    Write ``_`` for ``-`` in the name of an attribute.
    """
    content = (part if isinstance(part, Markup) else make_printable(part) for part in inside)
    attribute_texts = (
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), format_attribute(value))
        for key, value in attributes.items()
    )
    parts = (Markup("").join(attribute_texts), Markup("").join(content))
    return Markup("<{0}{1}>{2}</{0}>").format(name, *parts)


def format_attribute(value: str | float) -> str:
    """Format a number with up to two decimals, in as few characters as it needs."""
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
