"""The colors of the pages: contrast of at least 4.5 for text and 3 for marks, in both palettes."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from isaac.runs.reports import svg

STYLE = files("isaac").joinpath("runs", "reports", "templates", "style.css").read_text("utf-8")
TEXT = [
    *[(name, paper) for name in ("ink", "soft", "accent") for paper in ("paper", "wash")],
    *[
        (name, f"{tone}-wash")
        for tone in ("good", "warn", "stop")
        for name in (tone, "ink", "soft")
    ],
]
MARKS = [(name, "paper") for name in ("bar", "accent", "side", "ink", "good", "warn", "stop")]


def read_palettes() -> dict[str, dict[str, str]]:
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    colors = re.compile(r"--([\w-]+): (#[0-9a-f]{3,6});")
    return {"light": dict(colors.findall(light)), "dark": dict(colors.findall(dark))}


PALETTES = read_palettes()


def luminance(color: str) -> float:
    """Relative luminance by WCAG 2.2."""
    digits = color.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#fff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("palette", PALETTES)
def test_text_and_marks_can_be_seen(palette: str) -> None:
    colors = PALETTES[palette]
    assert set(colors) == set(PALETTES["light"])
    for pairs, least in ((TEXT, 4.5), (MARKS, 3.0)):
        for color, paper in pairs:
            found = contrast(colors[color], colors[paper])
            assert found >= least, f"{color} on {paper}: {found:.2f}"


def test_charts_outside_a_page_can_be_seen_on_white() -> None:
    for color in (svg.BAR_COLOR, svg.MARK_COLOR, svg.SIDE_COLOR):
        assert contrast(color, "#fff") >= 3


def test_no_style_names_a_color_beside_the_palette() -> None:
    rules = re.sub(r":root \{.*?\}", "", STYLE, flags=re.DOTALL)
    assert re.findall(r"#[0-9a-f]{3,6}\b(?![^{]*\{)", rules) == []
