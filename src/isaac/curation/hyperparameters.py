"""Choose the settings that a recipe leaves open, from the corpus itself and without labels.

No radius suits all corpora, and no view does either (docs/experiments.md). The clusters depend on
vectors only, the typicality of a response on its wording only: if both agree on which answers are
the common ones, the clusters have found the consensus of the corpus, not just its topics. So isaac
chooses the view and the radius whose clusters, without any weights, draw the most typically worded
responses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..recipe import Mode, Recipe, ResolvedRecipe, View
from ..runtime.arrays import Ints, Reals
from ..runtime.concurrency import single_threaded_blas
from .canonical_order import CanonicalCorpus
from .clusters import Clusters, concatenate_neighborhoods
from .neighborhoods import (
    BLOCK_NEIGHBORHOODS,
    SearchedNeighborhoods,
    build_context_index,
    cluster_neighborhoods,
)
from .policy import Policy
from .resources import Tools
from .response_scores import ResponseScores, drawable_rows
from .search.exact import group_rows
from .sharpening import cluster_odds
from .storage import TRIALS_KEY
from .vectors import Embeddings
from .views import ComparedResponses, apply_view

SAMPLE_NEIGHBORHOODS = 128
"""Neighborhoods on which views and radii are tried."""

MAX_GROUP_ROWS = 256
"""Maximum number of rows of a group on which they are tried."""

VIEWS: tuple[View, ...] = ("whole", "residual")
"""Views to try."""
RADII = tuple(round(0.1 * step, 1) for step in range(5, 13))
"""Radii to try."""
MAX_EXACT_CONTEXTS = 50_000
"""Maximum number of contexts with drawable responses for which search is exact by default."""

MIN_NEIGHBORS, MAX_NEIGHBORS = 50, 400
"""Bounds for the size of a neighborhood."""


def default_k(count: int) -> int:
    """Choose k for ``count`` drawable exchanges: three times the square root, within bounds."""
    return min(MAX_NEIGHBORS, max(MIN_NEIGHBORS, round(3 * math.sqrt(count))))


class Trial(NamedTuple):
    """A view and a radius, and the mean typicality, 0 to 1, of what their clusters draw."""

    view: View
    radius: float
    typicality: float


class SelectedSettings(NamedTuple):
    """The settings of a resolved recipe, with the reasons for the chosen ones.

    ``neighbors``, ``view`` and ``radius``, and the ``trials`` behind them, are None and empty if
    the mode uses no clusters.
    """

    mode: Mode
    reasons: list[str]
    neighbors: int | None = None
    view: View | None = None
    radius: float | None = None
    trials: Sequence[Trial] = ()


def select_hyperparameters(
    layout: CanonicalCorpus,
    contexts: Embeddings | None,
    responses: Embeddings | None,
    scores: ResponseScores,
    recipe: Recipe,
    policy: Policy,
    tools: Tools,
) -> tuple[ResolvedRecipe, SelectedSettings | None]:
    """Resolve what a recipe leaves open; the settings are None if nothing had to be chosen."""
    reasons = []
    values = recipe.model_dump() | {"mode": policy.mode}
    if recipe.mode == "auto":
        reasons.append(f"mode {policy.mode}: {policy.reason}")
    unused = {name: value for name, value in UNUSED_SETTINGS.items() if values[name] == "auto"}
    without_clusters = ResolvedRecipe.of({**values, **unused})
    if not without_clusters.uses_clusters:
        settings = None if not reasons else SelectedSettings(policy.mode, reasons)
        return without_clusters, settings
    drawable = drawable_rows(layout, scores, recipe)
    if recipe.search == "auto":
        searched = len(np.unique(layout.context[drawable]))
        values["search"] = (
            "exact" if searched <= MAX_EXACT_CONTEXTS or recipe.reading.group_by else "ivf"
        )
    if recipe.neighbors == "auto":
        count = int(drawable.sum())
        values["neighbors"] = default_k(count)
        if recipe.reading.group_by is None:
            reasons.append(
                f"k = {values['neighbors']}: three times the square root of the {count:,} "
                f"exchanges that may be drawn, at least {MIN_NEIGHBORS}, at most {MAX_NEIGHBORS}"
            )
    trials: list[Trial] = []
    if responses is not None and "auto" in (recipe.view, recipe.radius):
        trials = _score_settings(layout, contexts, responses, scores, recipe, values, tools)
        best = max(trials, key=lambda trial: trial.typicality)
        values |= {"view": best.view, "radius": best.radius}
        reasons.append(_explain_selection(best, trials))
    values |= {name: value for name, value in TEXT_SETTINGS.items() if values[name] == "auto"}
    resolved = ResolvedRecipe.of(values)
    if not reasons:
        return resolved, None
    chosen = (resolved.neighbors, resolved.view, resolved.radius, trials)
    return resolved, SelectedSettings(resolved.mode, reasons, *chosen)


def with_reasons(
    resolved: ResolvedRecipe, choice: SelectedSettings | None, reasons: list[str]
) -> SelectedSettings | None:
    """Put reasons before those of a choice; None if there are no reasons at all."""
    if not reasons:
        return choice
    choice = choice or SelectedSettings(resolved.mode, [])
    return choice._replace(reasons=reasons + choice.reasons)


TRIAL_SETTINGS = {
    "sharpening": "power",
    "power": 2.0,
    "top_clusters": 100,
    "top_mass": 1.0,
    "search": "exact",
    "radius": 0.0,
}
"""Settings of the trials, whatever the recipe: a redraw must not change what is chosen."""

TEXT_SETTINGS = {"view": "whole", "radius": 0.0, "search": "exact"}
"""Settings for responses that are compared as text, where there is nothing to try."""

UNUSED_SETTINGS = {**TEXT_SETTINGS, "neighbors": MIN_NEIGHBORS}
"""Settings of a mode that uses no clusters, whatever they are."""


def _explain_selection(best: Trial, trials: list[Trial]) -> str:
    worst = min(trials, key=lambda trial: trial.typicality)
    return (
        f"{best.view} responses at radius {best.radius}: what is drawn from their clusters is "
        f"worded more typically than {best.typicality:.0%} of the corpus's responses, the best of "
        f"{len(trials)} settings (the worst: {worst.view} responses at {worst.radius}, "
        f"{worst.typicality:.0%})"
    )


def _score_settings(
    layout: CanonicalCorpus,
    contexts: Embeddings | None,
    responses: Embeddings,
    scores: ResponseScores,
    recipe: Recipe,
    values: dict[str, object],
    tools: Tools,
) -> list[Trial]:
    """Try each view and radius that the recipe leaves open on a sample of neighborhoods."""
    views = VIEWS if recipe.view == "auto" else (recipe.view,)
    if contexts is None:
        views = tuple(view for view in views if view != "residual")
    radii = RADII if recipe.radius == "auto" else (recipe.radius,)

    def compute() -> Reals:
        trial_recipe = ResolvedRecipe.of({**values, **TRIAL_SETTINGS, "view": "whole"})
        sample = _sample_members(layout, contexts, scores, recipe, trial_recipe)
        results = []
        with tools.progress.stage("choose view and radius", len(views) * len(radii)) as tick:
            for view in views:
                viewed = ResolvedRecipe.of({**values, **TRIAL_SETTINGS, "view": view})
                compared = apply_view(layout, contexts, responses, scores, viewed, tools)
                for radius in radii:
                    tried = viewed.model_copy(update={"radius": radius})
                    with single_threaded_blas():
                        clusters = concatenate_neighborhoods(
                            [cluster_neighborhoods(block, compared, tried) for block in sample]
                        )
                    results.append(_expected_typicality(clusters, layout, scores, tried))
                    tick(1)
        return np.array(results)

    results = tools.store.array(TRIALS_KEY, compute)
    pairs = [(view, radius) for view in views for radius in radii]
    return [Trial(*pair, float(result)) for pair, result in zip(pairs, results, strict=True)]


def _sample_members(
    layout: CanonicalCorpus,
    contexts: Embeddings | None,
    scores: ResponseScores,
    recipe: Recipe,
    trial_recipe: ResolvedRecipe,
) -> list[Ints]:
    """Sample the neighborhoods of the first rows, in blocks: their rows, (b, k) each."""
    neighborhood = layout.row_neighborhoods(recipe)
    _, first = np.unique(neighborhood, return_index=True)
    sample = np.asarray(neighborhood[np.sort(first)[:SAMPLE_NEIGHBORHOODS]])
    if contexts is None or recipe.reading.group_by is not None:
        rows = group_rows(neighborhood)
        return [rows[group][None, :MAX_GROUP_ROWS] for group in sample]
    drawable = drawable_rows(layout, scores, recipe)
    candidates = build_context_index(layout, contexts, drawable, trial_recipe, Tools())
    compared = ComparedResponses(None, layout.response)
    search = SearchedNeighborhoods.of(layout, contexts, compared, candidates, trial_recipe)
    members = search.members(sample)
    return [
        members[start : start + BLOCK_NEIGHBORHOODS]
        for start in range(0, len(members), BLOCK_NEIGHBORHOODS)
    ]


def _expected_typicality(
    clusters: Clusters, layout: CanonicalCorpus, scores: ResponseScores, recipe: ResolvedRecipe
) -> float:
    """The expected typicality of a draw by cluster alone, averaged over neighborhoods."""
    sharpened = cluster_odds(clusters, recipe)
    width = sharpened.odds.shape[1]
    sizes = clusters.sizes
    # For each cluster: its rank, its neighborhood and its odds; then the odds of each member.
    rank = np.arange(len(sizes.values)) - np.repeat(sizes.offsets[:-1], sizes.lengths)
    neighborhood = np.repeat(np.arange(len(sizes.lengths)), sizes.lengths)
    odds = sharpened.odds[neighborhood, np.minimum(rank, width - 1)]
    odds = np.where(rank < width, odds, 0)
    member_odds = np.repeat(odds / np.maximum(sizes.values, 1), sizes.values)
    typicality = scores.typicality[layout.response[clusters.members.values]]
    return float((member_odds * typicality).sum() / len(sharpened.odds))
