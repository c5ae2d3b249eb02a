"""The price of a curation: how many rows remain, and whether what was drawn answers the message."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...curation.canonical_order import CanonicalCorpus
from ...curation.curate import Curation
from ...curation.fit import FitModel, choose_references, fit_references, score_pairs
from ...curation.lineage import first_targets, mark_least_trusted
from ...curation.policy import center_cosines
from ...runtime.arrays import Flags, Ints, Reals

MAX_SAMPLE = 500
"""Maximum number of replaced rows whose fit is measured."""


CONFIRMATION_MARGIN = 0.7
"""How far below the bound a fit still confirms: half a corpus shows less than all of it."""

MAX_CONFIRMING_EXCHANGES = 4096
"""Maximum number of exchanges that the two confirming models are fitted to together."""


class Price(NamedTuple):
    """What a curation costs, measured without labels.

    ``rows`` is the share of exchanges that are written; in mode pairs, those are the ones that have
    a pair. ``changed`` is the share whose response was replaced, and ``dropped`` the share that is
    left out. ``fitting`` is the share of the replaced rows whose new response is confirmed to fit,
    on a sample of at most `MAX_SAMPLE`: two models, each fitted to half of the corpus, both find
    that it does. More of them may fit (benchmarks/fit.py). None if no row was replaced, or if fit
    cannot be measured.
    """

    rows: float
    changed: float
    dropped: float
    fitting: float | None


def measure_price(curation: Curation) -> Price:
    """Measure what a curation costs."""
    first = first_targets(curation.lineage)
    actions = np.array(first.column("action").to_pylist())
    changed, dropped = (float((actions == name).mean()) for name in ("replaced", "dropped"))
    written = round(1 - dropped, 6)
    if curation.recipe.mode == "pairs":
        paired = first.column("rejected_id").is_valid().to_numpy(zero_copy_only=False)
        written = float((paired | (actions == "replaced")).mean())
    layout = curation.layout
    # Rows in canonical order, as positions in the layout: the first ones are a fair sample.
    replaced = np.flatnonzero((actions == "replaced")[layout.ids])[:MAX_SAMPLE]
    position = np.empty(len(layout.ids), np.int64)
    position[layout.ids] = np.arange(len(layout.ids))
    source = position[first.column("source_id").to_numpy()[layout.ids[replaced]]]
    return Price(written, changed, dropped, _confirm(curation, replaced, source))


def _confirm(curation: Curation, messages: Ints, sources: Ints) -> float | None:
    """The share of pairs of rows (p,) that two models, each of half the corpus, find to fit."""
    contexts, responses, layout = curation.contexts, curation.responses, curation.layout
    if contexts is None or responses is None or not len(messages):
        return None
    groups, tools = curation.response_scores.duplicate_group, curation.tools
    references = choose_references(layout, groups)[:MAX_CONFIRMING_EXCHANGES]
    if len(references) < 2:
        return None
    bound = curation.recipe.fit_bound - CONFIRMATION_MARGIN
    confirmed = np.ones(len(messages), bool)
    for half in (references[::2], references[1::2]):
        model = fit_references(layout, contexts, responses, groups, half, tools)
        confirmed &= score_rows(curation, model, messages, sources) >= bound
    return float(confirmed.mean())


BUDGETS = tuple(round(0.1 * step, 1) for step in range(1, 10))
"""Budgets of the curve of a report."""


class CurvePoint(NamedTuple):
    """What remains if all but the least trusted ``budget`` of the rows are kept.

    ``rows`` and ``texts`` are how many rows and different responses are kept; ``relevance`` is how
    relevant these responses are to their messages, as a share of the mean of all rows: None if the
    texts have different encoders. Rows that are redrawn come on top.
    """

    budget: float
    rows: int
    texts: int
    relevance: float | None


def mark_kept(curation: Curation, budget: float) -> Flags:
    """Which rows (n,) of the layout are kept if the least trusted ``budget`` of them are not."""
    trust = curation.response_scores.trust[curation.layout.response]
    return ~mark_least_trusted(trust, round(budget * len(trust)))


def trace_curve(curation: Curation) -> list[CurvePoint]:
    """Trace what remains at each of `BUDGETS`; nothing is drawn for it."""
    layout, relevance = curation.layout, None
    if curation.contexts is not None and curation.responses is not None:
        relevance = center_cosines(layout, curation.contexts, curation.responses)
    points = []
    for budget in BUDGETS:
        kept = mark_kept(curation, budget)
        mean = None if relevance is None else float(relevance.mean())
        share = None
        if relevance is not None and mean and mean > 0:
            share = round(float(relevance[kept].mean()) / mean, 4)
        texts = len(np.unique(layout.response[kept]))
        points.append(CurvePoint(budget, int(kept.sum()), texts, share))
    return points


def score_rows(curation: Curation, model: FitModel, messages: Ints, sources: Ints) -> Reals:
    """The fit (p,) of the messages of rows (p,) and the responses of other rows (p,)."""
    layout: CanonicalCorpus = curation.layout
    if curation.contexts is None or curation.responses is None:
        raise ValueError("fit needs the vectors of contexts and responses")
    x, y = curation.contexts.vectors, curation.responses.vectors
    groups = curation.response_scores.duplicate_group
    own, keys = (
        model.keys(x[layout.context[rows]], y[layout.view[rows]], groups[layout.response[rows]])
        for rows in (messages, sources)
    )
    queries = model.queries(x[layout.context[messages]], layout.exchange[messages], own)
    return score_pairs(queries, keys) + model.compare_words(layout, messages, sources)
