"""Response scores."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..corpus.corpus import PORTION
from ..models.judges import judged
from ..recipe import Recipe
from ..runtime.storage import kept
from .arrays import Ints, Reals
from .canonical_order import Layout
from .dialogue.trimming import FOREIGN, Trims
from .near_duplicates import near_duplicates
from .resources import Tools
from .typicality import Wording


class Consensus(NamedTuple):
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


def drawable(layout: Layout, consensus: Consensus, recipe: Recipe) -> npt.NDArray[np.bool_]:
    """Return which rows (n,) may be drawn: those typical enough that no judge forbade."""
    least = min(1 - recipe.candidates, np.nextafter(consensus.typicality.max(initial=1), 0))
    chosen = (consensus.typicality > least)[layout.response]
    if consensus.vetoed is not None:
        chosen &= (consensus.vetoed != 1)[layout.exchange]
    if consensus.trims is not None:
        chosen &= (consensus.trims.fate != FOREIGN)[layout.response]
    return np.asarray(chosen)


def agree(layout: Layout, judge: str | None, tools: Tools) -> Consensus:
    """Return how typical each distinct response is, near-duplicates, and what a judge forbids."""

    def make() -> dict[str, npt.NDArray[Any]]:
        with tools.progress.stage("near-duplicates", len(layout.responses)) as tick:
            kind = near_duplicates(layout.responses, tick)
        with tools.progress.stage("wording", len(layout.responses)) as tick:
            model = Wording(layout.responses, kind, tick)
            typicality = model.typicality(model.scores)
        return {"typicality": typicality, "kind": kind, "fitted": np.array(model.fitted)}

    found = kept(tools.store, "vectors/wording", ("typicality", "kind", "fitted"), make)
    vetoed = None
    if judge is not None:
        vetoed = tools.store.array("vectors/vetoes", partial(veto, layout, judge, tools))
    return Consensus(found["typicality"], found["kind"], vetoed, int(found["fitted"]))


def veto(layout: Layout, judge: str, tools: Tools) -> npt.NDArray[np.float64]:
    """Return which distinct exchanges a judge calls unsafe: 1, 0, or NaN where it failed."""
    numbers = {"safe": 0.0, "unsafe": 1.0, "unscored": np.nan}
    found, asked = [], layout.first
    loaded = tools.judge(judge)
    with tools.progress.stage("judge", len(asked)) as tick:
        for start in range(0, len(asked), PORTION):
            rows = asked[start : start + PORTION]
            contexts = [layout.contexts[number] for number in layout.context[rows].tolist()]
            responses = [layout.responses[number] for number in layout.response[rows].tolist()]
            found += judged(loaded, contexts, responses).judgements
            tick(len(rows))
    return np.array([numbers[one.verdict] for one in found])
