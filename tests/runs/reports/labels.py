"""Where the labels of a chart are, with every character as wide as in a broad font."""

from __future__ import annotations

import re
from itertools import combinations
from typing import NamedTuple
from xml.etree import ElementTree as ET

CHARACTER_WIDTH = 0.6
"""Width of a character in shares of the font size: more than the mean of a sans-serif font."""


class Box(NamedTuple):
    """The box of a label, and its text."""

    left: float
    top: float
    right: float
    bottom: float
    text: str

    def overlaps(self, other: Box) -> bool:
        """Whether two boxes share more than an edge."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def find_labels(chart: str) -> tuple[list[Box], tuple[float, float]]:
    """The boxes of all labels of a chart, and its width and height."""
    root = ET.fromstring(re.sub(r' xmlns="[^"]*"', "", str(chart)))
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    usual = float(root.attrib["font-size"])
    boxes = []
    for node in root.iter("text"):
        size = float(node.get("font-size", usual))
        length = CHARACTER_WIDTH * size * len(node.text or "")
        x, y = float(node.attrib["x"]), float(node.attrib["y"])
        left = {"start": x, "middle": x - length / 2, "end": x - length}[node.attrib["text-anchor"]]
        boxes.append(Box(left, y - 0.75 * size, left + length, y + 0.22 * size, node.text or ""))
    return boxes, (width, height)


def check_labels(chart: str) -> None:
    """Fail if two labels of a chart overlap, or if one leaves the chart."""
    boxes, (width, height) = find_labels(chart)
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other), (one.text, other.text)
    for box in boxes:
        assert box.left >= -2, box
        assert box.right <= width + 2, box
        assert box.top >= 0, box
        assert box.bottom <= height, box
