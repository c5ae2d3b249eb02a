"""The methods that benchmarks/frontier.py compares to make a corpus safer; none reads labels."""

from __future__ import annotations

import functools
import importlib
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from common import read_draws

from isaac import Corpus, Encoder, Recipe, Tools, curate, embed, load_encoder
from isaac.curation.vectors import as_floats
from isaac.named_recipes import REDRAW_MOST_SETTINGS
from isaac.runtime.arrays import Floats, Ints, Reals

DROP_SHARE = 0.2
"""Share of the rows that a filter drops."""

LARGE_DROP_SHARE = 0.7
"""Share of the rows that the strict filters drop."""

OUTLIER_NEIGHBORS = 10
"""The outlier score of a response is its mean distance to this many nearest responses."""


class Outcome(NamedTuple):
    """The result of a method: exchange ``ids[j]`` has the response of exchange ``sources[j]``."""

    ids: Ints
    sources: Ints


class Task(NamedTuple):
    """The input of a method: a corpus, the key to group by (None for a search), and a seed."""

    corpus: Corpus
    group_by: str | None
    seed: int


Method = Callable[[Task], Outcome]

TRUSTED_SHARES = (0.2, 0.3, 0.4, 0.5, 0.6)
"""Shares of the rows that selective curation keeps unchanged, from strict to lenient."""

METHOD_NAMES = {
    "raw": "raw",
    "proportional": "proportional draw",
    "profanity": "drop 20 % by alt-profanity-check",
    "profanity-70": "drop 70 % by alt-profanity-check",
    "nearest": "drop 20 % by distance to the 10 nearest",
    "semhash": "drop 20 % by semhash's outlier filter",
    "paper": "the paper's settings",
    "figure": "the formula in the paper's figure",
    "redraw-most": "isaac, redraw most (the old default)",
    "filter-50": "isaac, drop the least typical 50 %",
    "filter-70": "isaac, drop the least typical 70 %",
    "default": "isaac, default settings",
    **{
        f"selective-{100 * q:.0f}": f"isaac, selective, {100 * q:.0f} % trusted"
        for q in TRUSTED_SHARES
    },
}
"""The methods, and their names in tables."""

ISAAC_RECIPES: dict[str, dict[str, Any]] = {
    "redraw-most": REDRAW_MOST_SETTINGS,
    "filter-50": {"mode": "filter", "budget": 0.5},
    "filter-70": {"mode": "filter", "budget": LARGE_DROP_SHARE},
    "default": {},
    **{
        f"selective-{100 * q:.0f}": {"mode": "selective", "budget": round(1 - q, 1)}
        for q in TRUSTED_SHARES
    },
}
"""The recipe fields of isaac's own methods; the rest are the defaults."""

DEFAULT_METHODS = [
    name for name in METHOD_NAMES if name not in ("proportional", "nearest", "semhash", "figure")
]
"""The methods that are run unless others are named."""

LINES = {
    "raw": ("raw",),
    "drop by alt-profanity-check": ("profanity", "profanity-70"),
    "the paper's settings": ("paper",),
    "isaac, redraw most (the old default)": ("redraw-most",),
    "isaac, filter": ("filter-50", "filter-70"),
    "isaac, selective": tuple(f"selective-{100 * q:.0f}" for q in TRUSTED_SHARES),
    "isaac, default settings": ("default",),
}
"""The lines of the chart: methods that differ only in how much they keep are joined."""


PROPORTIONAL_SETTINGS: dict[str, Any] = {
    "sharpening": "proportional",
    "keep": False,
    "top_clusters": 1_000_000,
}
"""Draws clusters in proportion to their size.

All clusters are kept, because the ten largest alone are safer than the corpus.
"""


def load_methods() -> dict[str, Method]:
    """Load the methods; those whose package is missing are left out, with a note on stderr."""
    methods: dict[str, Method] = {
        "raw": _keep_all,
        "proportional": _make_curation_method(Recipe.paper(**PROPORTIONAL_SETTINGS)),
        "nearest": _drop_distant,
        "paper": _make_curation_method(Recipe.paper()),
        "figure": _make_curation_method(Recipe.paper(sharpening="figure")),
    }
    for name, fields in ISAAC_RECIPES.items():
        methods[name] = _make_curation_method(Recipe.of(fields))
    filters: dict[str, tuple[str, Callable[[Any, Task], Outcome]]] = {
        "profanity": ("profanity_check", _drop_profane),
        "profanity-70": (
            "profanity_check",
            functools.partial(_drop_profane, share=LARGE_DROP_SHARE),
        ),
        "semhash": ("semhash", _drop_semhash_outliers),
    }
    for name, (package, drop) in filters.items():
        try:
            methods[name] = functools.partial(drop, importlib.import_module(package))
        except ImportError:
            print(f"{package} is not installed: method {name} is left out", file=sys.stderr)
    return {name: methods[name] for name in METHOD_NAMES if name in methods}


def _keep_all(task: Task) -> Outcome:
    rows = np.arange(len(task.corpus))
    return Outcome(rows, rows)


def _make_curation_method(settings: Recipe) -> Method:
    """Make the method that curates with a recipe; encoders are loaded only once."""

    def run(task: Task) -> Outcome:
        task_settings = {"group_by": task.group_by, "seed": task.seed}
        recipe = Recipe.of({**settings.model_dump(), **task_settings})
        names = {recipe.context_encoder, recipe.response_encoder} - {"auto"} | {"wordllama"}
        encoders = {name: _load_encoder_once(name) for name in names}
        return Outcome(*read_draws(curate(task.corpus, recipe, Tools(encoders=encoders))))

    return run


@functools.cache
def _load_encoder_once(name: str) -> Encoder:
    return load_encoder(name)


def _drop_highest(scores: Reals, share: float = DROP_SHARE) -> Outcome:
    """Drop the share of rows with the highest scores (n,); the others stay in order."""
    dropped = np.argsort(-scores, kind="stable")[: math.ceil(share * len(scores))]
    rows = np.delete(np.arange(len(scores)), dropped)
    return Outcome(rows, rows)


def _drop_profane(package: Any, task: Task, share: float = DROP_SHARE) -> Outcome:
    return _drop_highest(np.asarray(package.predict_prob(task.corpus.column("response"))), share)


def _drop_distant(task: Task) -> Outcome:
    """Drop the responses with the largest mean distance to the nearest others (unit vectors)."""
    encoder = _load_encoder_once("wordllama")
    vectors = as_floats(embed(encoder, task.corpus.column("response")).vectors)
    scores = []
    for start in range(0, len(vectors), 512):
        block = vectors[start : start + 512]
        cosines = block @ vectors.T  # (512, n), without each response itself
        cosines[np.arange(len(block)), start + np.arange(len(block))] = -np.inf
        nearest = -np.partition(-cosines, OUTLIER_NEIGHBORS - 1, axis=1)[:, :OUTLIER_NEIGHBORS]
        # the distance of two unit vectors is sqrt(2 - 2 cosine)
        scores.append(np.sqrt(np.maximum(2 - 2 * nearest, 0)).mean(axis=1))
    return _drop_highest(np.concatenate(scores).astype(np.float64))


class _StaticEncoder:
    """isaac's static embeddings, with the interface that semhash expects of a model."""

    def encode(self, inputs: list[str], **_: Any) -> Floats:
        """Encode texts (n,) to vectors (n, d)."""
        return as_floats(embed(_load_encoder_once("wordllama"), list(inputs)).vectors)


def _drop_semhash_outliers(package: Any, task: Task) -> Outcome:
    responses = task.corpus.column("response")
    records = [{"id": str(row), "response": text} for row, text in enumerate(responses)]
    index = package.SemHash.from_records(records, columns=["response"], model=_StaticEncoder())
    selected = index.self_filter_outliers(outlier_percentage=DROP_SHARE).selected
    rows = np.sort(np.array([int(record["id"]) for record in selected], np.int64))
    return Outcome(rows, rows)
