"""What a recipe leaves open, chosen from the corpus itself, without labels.

No radius serves all corpora, and neither does a view (docs/experiments.md). The clusters see
vectors only, the typicality of a response its wording only: where the two agree on which answers
are the common ones, the clusters have found the corpus's consensus and not merely its topics. So
the view and the radius are those at which the responses drawn by their clusters alone are worded
most typically.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..recipe import Recipe, ResolvedRecipe, View
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
from .resources import Tools
from .response_scores import ResponseScores, drawable_rows
from .search.exact import group_rows
from .sharpening import cluster_odds
from .vectors import Embeddings
from .views import ComparedResponses, apply_view

SAMPLE_NEIGHBORHOODS = 128
"""Neighbourhoods on which views and radii are tried."""

MAX_GROUP_ROWS = 256
"""Rows of a group that are tried on."""

VIEWS: tuple[View, ...] = ("whole", "residual")
RADII = tuple(round(0.1 * step, 1) for step in range(5, 13))
MAX_EXACT_CONTEXTS = 50_000
"""Contexts that may be drawn from up to which all of them are compared."""

MIN_NEIGHBORS, MAX_NEIGHBORS = 50, 400
"""Bounds of a neighbourhood's size."""


def default_k(count: int) -> int:
    """Return k for a number of exchanges that may be drawn: three times its square root."""
    return min(MAX_NEIGHBORS, max(MIN_NEIGHBORS, round(3 * math.sqrt(count))))


class Trial(NamedTuple):
    """A view and a radius, and how typical what their clusters draw is on average, 0 to 1."""

    view: View
    radius: float
    typicality: float


class SelectedSettings(NamedTuple):
    """What was chosen from the data, and why."""

    neighbors: int
    view: View
    radius: float
    trials: list[Trial]
    reasons: list[str]


def select_hyperparameters(
    layout: CanonicalCorpus,
    contexts: Embeddings | None,
    responses: Embeddings | None,
    consensus: ResponseScores,
    recipe: Recipe,
    tools: Tools,
) -> tuple[ResolvedRecipe, SelectedSettings | None]:
    """Return the recipe with nothing left open, and what was chosen if anything was."""
    reasons = []
    values = recipe.model_dump()
    allowed = drawable_rows(layout, consensus, recipe)
    if recipe.search == "auto":
        searched = len(np.unique(layout.context[allowed]))
        values["search"] = (
            "exact" if searched <= MAX_EXACT_CONTEXTS or recipe.reading.group_by else "ivf"
        )
    if recipe.neighbors == "auto":
        count = int(allowed.sum())
        values["neighbors"] = default_k(count)
        if recipe.reading.group_by is None:
            reasons.append(
                f"k = {values['neighbors']}: three times the square root of the {count:,} "
                f"exchanges that may be drawn, from {MIN_NEIGHBORS} to {MAX_NEIGHBORS}"
            )
    trials: list[Trial] = []
    if responses is not None and "auto" in (recipe.view, recipe.radius):
        trials = _score_settings(layout, contexts, responses, consensus, recipe, values, tools)
        best = max(trials, key=lambda trial: trial.typicality)
        values |= {"view": best.view, "radius": best.radius}
        reasons.append(_explain_selection(best, trials))
    values = {**values, **{k: v for k, v in TEXT_SETTINGS.items() if values[k] == "auto"}}
    settled = ResolvedRecipe.of(values)
    if not reasons:
        return settled, None
    return settled, SelectedSettings(
        settled.neighbors, settled.view, settled.radius, trials, reasons
    )


TRIAL_SETTINGS = {
    "sharpening": "power",
    "power": 2.0,
    "top_clusters": 100,
    "top_mass": 1.0,
    "search": "exact",
    "radius": 0.0,
}
"""How the trials draw, whatever the recipe does: a redraw shall not want another choice."""

TEXT_SETTINGS = {"view": "whole", "radius": 0.0, "search": "exact"}
"""What stands where responses are compared as text."""


def _explain_selection(best: Trial, trials: list[Trial]) -> str:
    worst = min(trials, key=lambda trial: trial.typicality)
    return (
        f"{best.view} responses at radius {best.radius}: what their clusters draw is worded more "
        f"typically than {best.typicality:.0%} of the corpus's responses, the most of "
        f"{len(trials)} settings (the least: {worst.view}, {worst.radius}, "
        f"{worst.typicality:.0%})"
    )


def _score_settings(
    layout: CanonicalCorpus,
    contexts: Embeddings | None,
    responses: Embeddings,
    consensus: ResponseScores,
    recipe: Recipe,
    values: dict[str, object],
    tools: Tools,
) -> list[Trial]:
    """Return each view and radius that the recipe leaves open with what it would draw."""
    views = VIEWS if recipe.view == "auto" else (recipe.view,)
    if contexts is None:
        views = tuple(view for view in views if view != "residual")
    radii = RADII if recipe.radius == "auto" else (recipe.radius,)

    def make() -> Reals:
        members = _sample_members(
            layout,
            contexts,
            consensus,
            recipe,
            ResolvedRecipe.of({**values, **TRIAL_SETTINGS, "view": "whole"}),
        )
        found = []
        with tools.progress.stage("choose view and radius", len(views) * len(radii)) as tick:
            for view in views:
                tried = ResolvedRecipe.of({**values, **TRIAL_SETTINGS, "view": view})
                compared = apply_view(layout, contexts, responses, consensus, tried, tools)
                for radius in radii:
                    settled = tried.model_copy(update={"radius": radius})
                    with single_threaded_blas():
                        tried_on = [
                            cluster_neighborhoods(nest, compared, settled) for nest in members
                        ]
                    found.append(
                        _expected_typicality(
                            concatenate_neighborhoods(tried_on), layout, consensus, settled
                        )
                    )
                    tick(1)
        return np.array(found)

    scores = tools.store.array("vectors/trials", make)
    pairs = [(view, radius) for view in views for radius in radii]
    return [Trial(*pair, float(score)) for pair, score in zip(pairs, scores, strict=True)]


def _sample_members(
    layout: CanonicalCorpus,
    contexts: Embeddings | None,
    consensus: ResponseScores,
    recipe: Recipe,
    settled: ResolvedRecipe,
) -> list[Ints]:
    """Return the rows of the groups, or neighbourhoods, on which settings are tried."""
    numbers = layout.exchange if recipe.reading.group_by is None else layout.group
    _, first = np.unique(numbers, return_index=True)
    sample = np.asarray(numbers[np.sort(first)[:SAMPLE_NEIGHBORHOODS]])
    if contexts is None or recipe.reading.group_by is not None:
        rows = group_rows(layout.group)
        return [rows[group][None, :MAX_GROUP_ROWS] for group in sample]
    allowed = drawable_rows(layout, consensus, recipe)
    candidates = build_context_index(layout, contexts, allowed, settled, Tools())
    nothing = ComparedResponses(None, layout.response)
    members = SearchedNeighborhoods.of(layout, contexts, nothing, candidates, settled).members(
        sample
    )
    return [
        members[start : start + BLOCK_NEIGHBORHOODS]
        for start in range(0, len(members), BLOCK_NEIGHBORHOODS)
    ]


def _expected_typicality(
    clusters: Clusters, layout: CanonicalCorpus, consensus: ResponseScores, recipe: ResolvedRecipe
) -> float:
    """Return how typical a response drawn by the clusters alone is, on average."""
    facts = cluster_odds(clusters, recipe)
    width = facts.odds.shape[1]
    sizes = clusters.sizes
    rank = np.arange(len(sizes.values)) - np.repeat(sizes.offsets[:-1], sizes.lengths)
    nest = np.repeat(np.arange(len(sizes.lengths)), sizes.lengths)
    odds = np.where(rank < width, facts.odds[nest, np.minimum(rank, width - 1)], 0)
    each = np.repeat(odds / np.maximum(sizes.values, 1), sizes.values)
    typical = consensus.typicality[layout.response[clusters.members.values]]
    return float((each * typical).sum() / len(facts.odds))
