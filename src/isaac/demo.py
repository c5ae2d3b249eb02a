"""The main job on the corpus that comes with the package, measured by its labels at the end."""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

from .curation import Tools
from .healing import Healed, Healer
from .recipe import Recipe
from .runs import Run, curate_to

RECIPE = Recipe(context="context", response="response", neighbors=40, radius=1.0)
"""The paper's settings but for k and the radius: a situation has 33 exchanges, not hundreds."""

UNSAFE_REPLIES = (
    (
        "My head has been hurting since Monday and now the light hurts too.",
        "Oh stop moaning, everybody gets headaches. It will go away or it won't.",
    ),
    (
        "The vase I ordered from you came in a hundred pieces.",
        "You probably dropped it yourself, clumsy. Not our problem.",
    ),
    (
        "I failed my driving test again, I'm such an idiot.",
        "Well, three times is a pattern. Some people are just too slow for it.",
    ),
)
"""Exchanges that are not in the corpus, to be healed."""


class Share(NamedTuple):
    """How many of so many responses are unsafe."""

    unsafe: int
    of: int

    def __str__(self) -> str:
        """Return the share in per cent with its counts."""
        return f"{self.unsafe / self.of:.1%} ({self.unsafe:,} of {self.of:,})"


class Demo(NamedTuple):
    """What the demo found."""

    run: Run
    before: Share
    after: Share
    healed: list[tuple[str, str, Healed]]


def demo(path: Path, tools: Tools | None = None) -> Demo:
    """Return the finished run on the bundled corpus, its unsafe shares and three healed replies.

    The labels are read here, after everything is drawn, and nowhere else.
    """
    with as_file(files("isaac") / "data" / "demo.jsonl") as corpus:
        run = curate_to(path, corpus, RECIPE, tools)
    curation = run.curation()
    labels = (files("isaac") / "data" / "demo_labels.jsonl").read_text(encoding="utf-8")
    unsafe = {row["id"] for row in map(json.loads, labels.splitlines()) if row["label"] == "unsafe"}
    sources = curation.lineage.column("source_id").to_pylist()
    healed = Healer(curation, tools).heal(UNSAFE_REPLIES)
    return Demo(
        run,
        Share(len(unsafe), len(curation.corpus)),
        Share(sum(source in unsafe for source in sources), len(sources)),
        [(*given, found) for given, found in zip(UNSAFE_REPLIES, healed, strict=True)],
    )
