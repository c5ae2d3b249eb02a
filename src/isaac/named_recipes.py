"""Recipes by name: what each changes in the defaults."""

from __future__ import annotations

from typing import Any

PAPER_SETTINGS: dict[str, Any] = {
    "mode": "resample",
    "trust": "wording",
    "context_encoder": "wordllama",
    "response_encoder": "wordllama",
    "turns": "last",
    "candidates": 1.0,
    "neighbors": 150,
    "view": "whole",
    "clusters": "components",
    "radius": 0.8,
    "duplicates": "each",
    "top_clusters": 10,
    "sharpening": "adaptive",
    "relevance": 0.0,
    "typicality": 0.0,
    "repeats": 0,
    "budget": 1.0,
    "abstain": 0.0,
    "keep": True,
}
"""What the paper's settings change in the defaults."""

REDRAW_MOST_SETTINGS: dict[str, Any] = {"mode": "resample", "trust": "wording"}
"""Redraw the least typical 80 % of rows freely, as isaac did by default before mode selective."""

NAMED_RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": PAPER_SETTINGS,
    "redraw-most": REDRAW_MOST_SETTINGS,
}
"""Recipes by name: the settings that each changes in the defaults."""

DIALOGUE_SETTINGS: dict[str, Any] = {
    "group_by": "act",
    "turns": "all",
    "clusters": "text",
    "mode": "resample",
    "trust": "wording",
    "trim": True,
    "budget": 0.0,
}
"""What the settings for task-oriented dialogues change in the defaults.

Nearly every turn is worded unlike all other turns with its acts, so a rare wording does not make a
turn suspicious. Therefore no turn is redrawn for its wording. Instead, its irrelevant parts are
removed, and it is redrawn only if nothing would be left.
"""

PAPER_DIALOGUE_SETTINGS: dict[str, Any] = {
    **DIALOGUE_SETTINGS,
    **PAPER_SETTINGS,
    "turns": "all",
    "clusters": "text",
    "trim": False,
}
"""The paper's settings for task-oriented dialogues: equal texts, among turns with equal acts."""
