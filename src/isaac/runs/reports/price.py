"""The price of a curation: how many rows remain, and whether what was drawn answers the message."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...curation.canonical_order import CanonicalCorpus
from ...curation.curate import Curation
from ...curation.fit import FitModel, score_pairs
from ...curation.lineage import first_targets
from ...runtime.arrays import Ints, Reals

MAX_SAMPLE = 500
"""Maximum number of replaced rows whose fit is measured."""


class Price(NamedTuple):
    """What a curation costs, measured without labels.

    ``rows`` is the share of exchanges that are written, ``changed`` the share whose response was
    replaced, and ``dropped`` the share that is left out. ``fitting`` is the share of the replaced
    rows whose new response reaches the bound of `fit`, on a sample of at most `MAX_SAMPLE`; None if
    no row was replaced, or if fit cannot be measured. ``before`` is the share of the same rows
    whose own response reaches that bound.
    """

    rows: float
    changed: float
    dropped: float
    fitting: float | None
    before: float | None


def measure_price(curation: Curation) -> Price:
    """Measure what a curation costs."""
    first = first_targets(curation.lineage)
    actions = np.array(first.column("action").to_pylist())
    changed, dropped = (float((actions == name).mean()) for name in ("replaced", "dropped"))
    layout, model = curation.layout, curation.fit_model()
    fitting = before = None
    # Rows in canonical order, as positions in the layout: the first ones are a fair sample.
    replaced = np.flatnonzero((actions == "replaced")[layout.ids])[:MAX_SAMPLE]
    if model is not None and len(replaced):
        position = np.empty(len(layout.ids), np.int64)
        position[layout.ids] = np.arange(len(layout.ids))
        source = position[first.column("source_id").to_numpy()[layout.ids[replaced]]]
        bound = curation.recipe.fit_bound
        fitting = float((score_rows(curation, model, replaced, source) >= bound).mean())
        before = float((score_rows(curation, model, replaced, replaced) >= bound).mean())
    return Price(1 - dropped, changed, dropped, fitting, before)


def score_rows(curation: Curation, model: FitModel, messages: Ints, sources: Ints) -> Reals:
    """The fit (p,) of the messages of rows (p,) and the responses of other rows (p,)."""
    layout: CanonicalCorpus = curation.layout
    if curation.contexts is None or curation.responses is None:
        raise ValueError("fit needs the vectors of contexts and responses")
    x, y = curation.contexts.vectors, curation.responses.vectors
    groups = curation.response_scores.duplicate_group
    queries = model.queries(x[layout.context[messages]], layout.exchange[messages])
    keys = model.keys(
        x[layout.context[sources]], y[layout.view[sources]], groups[layout.response[sources]]
    )
    return score_pairs(queries, keys) + model.overlaps(layout, messages, sources)
