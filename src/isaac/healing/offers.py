"""Offers: the responses of a run that may replace others, and which of them fit a message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..curation.curate import Curation
from ..curation.fit import FitModel, score_pairs
from ..curation.lineage import mark_least_trusted
from ..curation.matching import BLOCK_ROWS, CANDIDATES, MAX_OVERLAP
from ..curation.near_duplicates import are_near_duplicates
from ..curation.response_scores import drawable_rows
from ..curation.search.exact import find_nearest_in_parallel
from ..curation.values import find_values
from ..curation.vectors import GridVectors
from ..runtime.arrays import Ints
from .scripts import find_script


class Offer(NamedTuple):
    """A response that fits a message: the row that it is from, its text, and how well it fits."""

    row: int
    text: str
    fit: float


class Offers:
    """The responses that a run gives to other rows: trusted, drawable, and no two near-duplicates.

    ``rows`` (o,) are the rows that they are from, among the first `BLOCK_ROWS` of the corpus, so
    that a search takes the same time however large the corpus is.
    """

    def __init__(self, curation: Curation, model: FitModel) -> None:
        layout, scores, recipe = curation.layout, curation.response_scores, curation.recipe
        assert curation.contexts is not None
        assert curation.responses is not None
        trust = scores.trust[layout.response]
        is_offered = ~mark_least_trusted(trust, round(recipe.share * len(trust)))
        is_offered &= drawable_rows(layout, scores, recipe)
        rows = np.flatnonzero(is_offered[:BLOCK_ROWS])
        groups = scores.duplicate_group[layout.response]
        self.model = model
        self.rows = rows[np.sort(np.unique(groups[rows], return_index=True)[1])]
        self.keys = model.keys(
            curation.contexts.vectors[layout.context[self.rows]],
            curation.responses.vectors[layout.view[self.rows]],
            groups[self.rows],
        )
        self.texts = curation.final_responses(layout.ids[self.rows])
        self.words = model.words.transform(self.texts)
        messages = [layout.contexts[number] for number in layout.context[self.rows].tolist()]
        every = np.arange(len(self.rows))
        # How many of its rare words each response repeats from its own message.
        self.echoes = model.words.transform(messages).overlaps(every, self.words, every)

    def find_nearest(self, queries: GridVectors) -> Ints:
        """Find the offers (n, k) that may fit each query (n, q) best."""
        threads = self.model.tools.threads
        return find_nearest_in_parallel(queries, self.keys, CANDIDATES, threads).indices

    def iter_fitting(
        self, exchange: tuple[str, str | None], query: GridVectors, near: Ints, min_fit: float
    ) -> Iterator[Offer]:
        """Yield those of the offers ``near`` (k,) a query (q,) that fit the message, best first.

        An offer that repeats rare words of its own message which this message lacks comes after
        others. Left out are offers with a value that the message lacks, in another script than
        the given response, or almost equal to it.
        """
        fits = score_pairs(np.broadcast_to(query, (len(near), len(query))), self.keys[near])
        close = fits >= min_fit - MAX_OVERLAP
        near, fits = near[close], fits[close]
        if not len(near):
            return
        message = self.model.words.transform([exchange[0]])
        overlaps = message.overlaps(np.zeros(len(near), np.int64), self.words, near)
        fits = fits + overlaps
        missing = np.maximum(self.echoes[near] - overlaps, 0)
        order = np.lexsort((self.rows[near], missing - fits))
        for place in order[fits[order] >= min_fit].tolist():
            text = self.texts[near[place]]
            if _may_replace(text, exchange):
                yield Offer(int(self.rows[near[place]]), text, float(fits[place]))


def _may_replace(text: str, exchange: tuple[str, str | None]) -> bool:
    """Whether a text has no value that the message lacks, and is another one than the response."""
    message, response = exchange
    if not find_values(text) <= find_values(message):
        return False
    if response is None:
        return True
    scripts = {find_script(text), find_script(response)} - {""}
    return len(scripts) < 2 and not are_near_duplicates(text, response)
