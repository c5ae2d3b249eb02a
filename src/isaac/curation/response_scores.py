"""Response scores."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..corpus.corpus import CHUNK_EXCHANGES
from ..models.judges import run_judge
from ..recipe import Recipe
from ..runtime.arrays import Flags, Ints, Reals
from ..runtime.storage import stored_arrays
from .canonical_order import CanonicalCorpus
from .dialogue.trimming import IRRELEVANT, Trims
from .near_duplicates import group_near_duplicates
from .resources import Tools
from .typicality import TypicalityModel


class ResponseScores(NamedTuple):
    """What the corpus says of its distinct responses, before any context is looked at.

    ``typicality`` (t,) is the share of responses that are no more typical, ``kind`` (t,) numbers
    near-duplicates alike. ``vetoed`` says of each distinct exchange whether a judge forbade its
    response to be drawn, 1 or 0, or NaN where the judge failed; None without a judge. ``fitted``
    is the number of responses that the model of their wording was fitted on, ``trims`` what is
    left out of responses, None if the recipe asks for nothing.
    """

    typicality: Reals
    kind: Ints
    vetoed: Reals | None = None
    fitted: int = 0
    trims: Trims | None = None


def drawable_rows(layout: CanonicalCorpus, consensus: ResponseScores, recipe: Recipe) -> Flags:
    """Return which rows (n,) may be drawn: those typical enough that no judge forbade."""
    least = min(1 - recipe.candidates, np.nextafter(consensus.typicality.max(initial=1), 0))
    chosen = (consensus.typicality > least)[layout.response]
    if consensus.vetoed is not None:
        chosen &= (consensus.vetoed != 1)[layout.exchange]
    if consensus.trims is not None:
        chosen &= (consensus.trims.action != IRRELEVANT)[layout.response]
    return np.asarray(chosen)


def score_responses(layout: CanonicalCorpus, judge: str | None, tools: Tools) -> ResponseScores:
    """Return how typical each distinct response is, near-duplicates, and what a judge forbids."""

    def make() -> dict[str, npt.NDArray[Any]]:
        with tools.progress.stage("near-duplicates", len(layout.responses)) as tick:
            kind = group_near_duplicates(layout.responses, tick)
        with tools.progress.stage("wording", len(layout.responses)) as tick:
            model = TypicalityModel(layout.responses, kind, tick)
            typicality = model.typicality(model.scores)
        return {"typicality": typicality, "kind": kind, "fitted": np.array(model.fitted)}

    found = stored_arrays(tools.store, "vectors/wording", ("typicality", "kind", "fitted"), make)
    vetoed = None
    if judge is not None:
        vetoed = tools.store.array("vectors/vetoes", partial(judge_vetoes, layout, judge, tools))
    return ResponseScores(found["typicality"], found["kind"], vetoed, int(found["fitted"]))


def judge_vetoes(layout: CanonicalCorpus, judge: str, tools: Tools) -> Reals:
    """Return which distinct exchanges a judge calls unsafe: 1, 0, or NaN where it failed."""
    numbers = {"safe": 0.0, "unsafe": 1.0, "unscored": np.nan}
    found, asked = [], layout.first
    loaded = tools.judge(judge)
    with tools.progress.stage("judge", len(asked)) as tick:
        for start in range(0, len(asked), CHUNK_EXCHANGES):
            rows = asked[start : start + CHUNK_EXCHANGES]
            contexts = [layout.contexts[number] for number in layout.context[rows].tolist()]
            responses = [layout.responses[number] for number in layout.response[rows].tolist()]
            found += run_judge(loaded, contexts, responses).judgments
            tick(len(rows))
    return np.array([numbers[one.verdict] for one in found])
