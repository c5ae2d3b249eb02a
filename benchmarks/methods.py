"""The ways to make a corpus safer that benchmarks/frontier.py compares; none reads a label."""

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
from isaac.runtime.arrays import Floats, Ints, Reals

DROP_SHARE = 0.2
"""The share of the rows that a filter drops."""

LARGE_DROP_SHARE = 0.7
"""The same where only rows are left whose responses the defaults would draw, or as many."""

OUTLIER_NEIGHBORS = 10
"""Responses whose mean distance is the outlier score of a response."""


class Outcome(NamedTuple):
    """What a method leaves: exchange ``ids[j]`` is answered by the response of ``sources[j]``."""

    ids: Ints
    sources: Ints


class Task(NamedTuple):
    """What a method is given: a corpus, the key to group it by if there is one, and a seed."""

    corpus: Corpus
    group_by: str | None
    seed: int


Method = Callable[[Task], Outcome]

METHOD_NAMES = {
    "raw": "raw",
    "proportional": "proportional draw",
    "profanity": "drop 20 % by alt-profanity-check",
    "profanity-70": "drop 70 % by alt-profanity-check",
    "nearest": "drop 20 % by distance to 10 nearest",
    "semhash": "drop 20 % by semhash's outliers",
    "paper": "the paper's settings",
    "figure": "the paper's figure",
    "ours": "isaac at its defaults",
    "ours-70": "isaac, dropping the least typical 70 %",
}
"""The methods, and how a table names them."""


PROPORTIONAL_SETTINGS: dict[str, Any] = {
    "sharpening": "proportional",
    "keep": False,
    "top_clusters": 1_000_000,
}
"""Draws as the neighbourhood has them. All clusters are kept: the ten largest alone are safer."""


def load_methods() -> dict[str, Method]:
    """Return the methods; one whose package is missing is left out, with a note on stderr."""
    known: dict[str, Method] = {
        "raw": _keep_all,
        "proportional": _make_curation_method(Recipe.paper(**PROPORTIONAL_SETTINGS)),
        "nearest": _drop_distant,
        "paper": _make_curation_method(Recipe.paper()),
        "figure": _make_curation_method(Recipe.paper(sharpening="figure")),
        "ours": _make_curation_method(Recipe()),
        "ours-70": _make_curation_method(Recipe(mode="filter", budget=LARGE_DROP_SHARE)),
    }
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
            known[name] = functools.partial(drop, importlib.import_module(package))
        except ImportError:
            print(f"no package {package}: the method {name} is left out", file=sys.stderr)
    return {name: known[name] for name in METHOD_NAMES if name in known}


def _keep_all(task: Task) -> Outcome:
    rows = np.arange(len(task.corpus))
    return Outcome(rows, rows)


def _make_curation_method(settings: Recipe) -> Method:
    """Return the method that curates by a recipe, its encoders loaded beforehand."""

    def run(task: Task) -> Outcome:
        given = {"group_by": task.group_by, "seed": task.seed}
        recipe = Recipe.of({**settings.model_dump(), **given})
        names = {recipe.context_encoder, recipe.response_encoder}
        encoders = {name: _load_encoder_once(name) for name in names}
        return Outcome(*read_draws(curate(task.corpus, recipe, Tools(encoders=encoders))))

    return run


@functools.cache
def _load_encoder_once(name: str) -> Encoder:
    return load_encoder(name)


def _drop_highest(scores: Reals, share: float = DROP_SHARE) -> Outcome:
    """Return the rows in their order but a share of them, those of the highest scores."""
    worst = np.argsort(-scores, kind="stable")[: math.ceil(share * len(scores))]
    rows = np.delete(np.arange(len(scores)), worst)
    return Outcome(rows, rows)


def _drop_profane(package: Any, task: Task, share: float = DROP_SHARE) -> Outcome:
    return _drop_highest(np.asarray(package.predict_prob(task.corpus.column("response"))), share)


def _drop_distant(task: Task) -> Outcome:
    """Drop by the mean distance of a response to the nearest others, on unit vectors."""
    encoder = _load_encoder_once("wordllama")
    vectors = as_floats(embed(encoder, task.corpus.column("response")).vectors)
    scores = []
    for start in range(0, len(vectors), 512):
        part = vectors[start : start + 512]
        alike = part @ vectors.T
        alike[np.arange(len(part)), start + np.arange(len(part))] = -np.inf
        nearest = -np.partition(-alike, OUTLIER_NEIGHBORS - 1, axis=1)[:, :OUTLIER_NEIGHBORS]
        scores.append(np.sqrt(np.maximum(2 - 2 * nearest, 0)).mean(axis=1))
    return _drop_highest(np.concatenate(scores).astype(np.float64))


class _StaticEncoder:
    """isaac's static vectors in the shape that semhash asks for."""

    def encode(self, inputs: list[str], **_: Any) -> Floats:
        """Return one row a text."""
        return as_floats(embed(_load_encoder_once("wordllama"), list(inputs)).vectors)


def _drop_semhash_outliers(package: Any, task: Task) -> Outcome:
    said = task.corpus.column("response")
    records = [{"id": str(row), "response": text} for row, text in enumerate(said)]
    index = package.SemHash.from_records(records, columns=["response"], model=_StaticEncoder())
    inside = index.self_filter_outliers(outlier_percentage=DROP_SHARE).selected
    rows = np.sort(np.array([int(record["id"]) for record in inside], np.int64))
    return Outcome(rows, rows)
