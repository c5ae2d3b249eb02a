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
from ..curation.word_overlap import WordModel, WordSets
from ..runtime.arrays import Ints, Ragged, Reals
from .scripts import find_script

MAX_NAME_TEXTS = 5
"""Texts of the corpus that have a word up to which a repeated word is a name, such as a product.

A name is about one message only, as a value is. With up to 8 texts, the bundled corpus keeps 94 %
of its replacements; with 12, 86 %.
"""


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
        self.echoes = Echoes.find(model.words, messages, self.words)

    def find_nearest(self, queries: GridVectors) -> Ints:
        """Find the offers (n, k) that may fit each query (n, q) best."""
        threads = self.model.tools.threads
        return find_nearest_in_parallel(queries, self.keys, CANDIDATES, threads).indices

    def iter_fitting(
        self, exchange: tuple[str, str | None], query: GridVectors, near: Ints, min_fit: float
    ) -> Iterator[Offer]:
        """Yield those of the offers ``near`` (k,) a query (q,) that fit the message, best first.

        Left out are offers with a value or a name that the message lacks, in another script
        than the given response, or almost equal to it.
        """
        fits = score_pairs(np.broadcast_to(query, (len(near), len(query))), self.keys[near])
        close = fits >= min_fit - MAX_OVERLAP
        near, fits = near[close], fits[close]
        if not len(near):
            return
        message = self.model.words.transform([exchange[0]])
        fits = fits + message.overlaps(np.zeros(len(near), np.int64), self.words, near)
        fits = fits - self.echoes.count_missing(message, near)
        order = np.lexsort((self.rows[near], -fits))
        for place in order[fits[order] >= min_fit].tolist():
            offer = int(near[place])
            if _may_replace(self.texts[offer], exchange) and self.echoes.has_names(message, offer):
                yield Offer(int(self.rows[offer]), self.texts[offer], float(fits[place]))


class Echoes(NamedTuple):
    """The rare words that each offer (o,) repeats from its own message.

    ``words`` has these words, with the products of their weights in both, and ``totals`` (o,) the
    sums of these. ``names`` lists those of the words that hardly any other text has.
    """

    words: WordSets
    totals: Reals
    names: Ragged

    @classmethod
    def find(cls, model: WordModel, messages: list[str], offers: WordSets) -> Echoes:
        """Find the words that offers (o,) repeat from their messages (o,)."""
        echoes = model.transform(messages).intersect(offers)
        words = echoes.words
        is_name = model.count_texts(words.values) <= MAX_NAME_TEXTS
        owner = np.repeat(np.arange(len(words.lengths)), words.lengths)
        counts = np.bincount(owner[is_name], minlength=len(words.lengths)).astype(np.int64)
        return cls(echoes, echoes.totals(), Ragged.of(words.values[is_name], counts))

    def count_missing(self, message: WordSets, offers: Ints) -> Reals:
        """How much each of the offers (k,) repeats of its own message that this one lacks (k,)."""
        unweighted = WordSets(message.words, np.ones(len(message.weights)))
        shared = unweighted.overlaps(np.zeros(len(offers), np.int64), self.words, offers)
        return np.asarray(self.totals[offers] - shared)

    def has_names(self, message: WordSets, offer: int) -> bool:
        """Whether a message has all names that an offer has from its own message."""
        return bool(np.isin(self.names[offer], message.words.values).all())


def _may_replace(text: str, exchange: tuple[str, str | None]) -> bool:
    """Whether a text has no value that the message lacks, and is another one than the response."""
    message, response = exchange
    if not find_values(text) <= find_values(message):
        return False
    if response is None:
        return True
    scripts = {find_script(text), find_script(response)} - {""}
    return len(scripts) < 2 and not are_near_duplicates(text, response)
