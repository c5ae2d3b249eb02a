"""Heal by retrieval: replace a response by a draw from the neighborhood of its context.

Paper, healing: an off-consensus response is replaced. Here the given context is a query to a
finished curation, so healing needs no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext

import numpy as np

from ..curation.curate import Curation
from ..curation.neighborhoods import (
    SearchedNeighborhoods,
    build_context_index,
    cluster_neighborhoods,
)
from ..curation.openings import extract_opening
from ..curation.resources import Tools
from ..curation.sharpening import cluster_odds
from ..curation.vectors import GridVectors, embed
from ..models.encoders import Encoder
from ..runtime.arrays import Ints
from ..runtime.concurrency import single_threaded_blas
from .sampler import (
    Healed,
    LocatedExchange,
    ReplacementSampler,
    RewriteRefusedError,
)
from .scoring import SINGLE_THREAD_EXCHANGES, TrustScorer, compute_threshold, embed_like


class NeighborhoodHealer(ReplacementSampler):
    """Heals exchanges with the neighborhoods of a curation; loads its encoders once.

    Several threads may share one healer.
    """

    def __init__(self, curation: Curation, tools: Tools | None = None) -> None:
        recipe, tools = curation.recipe, tools or Tools()
        assert curation.contexts is not None
        super().__init__(curation)
        layout = curation.layout
        self.threshold = compute_threshold(self.trust, round(recipe.share * len(layout.ids)))
        self.scorer = TrustScorer(curation)
        candidates = build_context_index(
            layout, curation.contexts, self.allowed, recipe, curation.tools
        )
        self.neighborhood_search = SearchedNeighborhoods.of(
            layout, curation.contexts, curation.require_compared(), candidates, recipe
        )
        self.context_encoder = tools.encoder(recipe.context_encoder)
        self.response_encoder: Encoder | None = None
        if curation.responses is not None:
            same = recipe.response_encoder == recipe.context_encoder
            self.response_encoder = (
                self.context_encoder if same else tools.encoder(recipe.response_encoder)
            )

    def locate(self, exchanges: Iterable[tuple[str, str | None]]) -> list[LocatedExchange]:
        """Find the neighborhood of each exchange, a context with its response or None.

        It is the k nearest rows of the curation, including the given exchange if it has a response.
        """
        batch = list(exchanges)
        if not batch:
            return []
        # With a few queries, many threads have little work to share and compete for the cores.
        with single_threaded_blas() if len(batch) <= SINGLE_THREAD_EXCHANGES else nullcontext():
            return self._locate_batch(batch)

    def reason_to_keep(self, exchange: LocatedExchange) -> str | None:
        """Why the response stays; None if it does not.

        It stays if it is trusted enough, or, with a recipe that keeps these, if it is in the head
        cluster and not alone there.
        """
        if exchange.given_index is None or exchange.trust is None:
            return None
        if exchange.trust > self.threshold:
            return "typical"
        in_head = self.curation.recipe.keep and exchange.rank(exchange.given_index) == 0
        return "in the largest cluster" if in_head and exchange.odds.sizes[0, 0] > 1 else None

    def reason_to_abstain(self, _exchange: LocatedExchange) -> str | None:
        """Always None: every exchange has a neighborhood."""
        return None

    def reason_to_replace(self, exchange: LocatedExchange) -> str:
        """Why a response is replaced if it has no reason to stay."""
        return "no response given" if exchange.response is None else "off-consensus"

    def explain_no_draw(self, _exchange: LocatedExchange) -> str:
        """Why there is nothing to draw."""
        return "no head to draw from"

    def trim(self, _exchange: LocatedExchange) -> Healed | None:
        """Always None: whole responses are not trimmed."""
        return None

    def rephraser_input(self, exchange: LocatedExchange) -> tuple[str, str]:
        """The context and the response that a rephraser gets."""
        return exchange.context, exchange.response or ""

    def accept_rewrite(self, exchange: LocatedExchange, text: str, *, judged: bool) -> Healed:
        """Accept a rewrite if a judge decides on it afterwards, or if it is more trusted.

        Raises `RewriteRefusedError` otherwise.
        """
        rewritten = self.locate([(exchange.context, text)])[0]
        if not judged and (rewritten.trust or 0) <= (exchange.trust or 0):
            raise RewriteRefusedError("the rewrite is no more trusted")
        healed = self.leave_unchanged(rewritten, "rewritten", "rewritten")
        return healed._replace(typicality=exchange.typicality, head_share=exchange.head_share)

    def _locate_batch(self, batch: list[tuple[str, str | None]]) -> list[LocatedExchange]:
        contexts = self.curation.contexts
        assert contexts is not None
        encoder_name = self.curation.recipe.context_encoder
        texts = [context for context, _ in batch]
        queries = embed_like(self.context_encoder, texts, contexts.vectors, encoder_name)
        # The number of each context in the corpus, -1 for a new one.
        find = self.curation.layout.contexts.find
        selves = np.array([find(context) for context, _ in batch], np.int64)
        members = self.neighborhood_search.find_nearest(queries, selves)
        given = [response for _, response in batch if response is not None]
        vectors = self._embed_responses(given)
        scores = iter(self.scorer.score(given, vectors))
        compared = self._select_view(batch, queries, iter(vectors))
        located = [
            self._locate(batch[i], members[i], compared[i], queries[i : i + 1])
            for i in range(len(batch))
        ]
        for place, one in enumerate(located):
            if one.response is not None:
                typicality, trust = next(scores)
                located[place] = one._replace(typicality=typicality, trust=trust)
        return located

    def _embed_responses(self, responses: list[str]) -> GridVectors:
        """Embed responses, (n, e); without an encoder, the vectors have no dimensions."""
        if self.response_encoder is None:
            return np.zeros((len(responses), 0), np.int16)
        if self.curation.recipe.view == "opening":
            responses = [extract_opening(text) for text in responses]
        return embed(self.response_encoder, responses).vectors

    def _select_view(
        self,
        batch: list[tuple[str, str | None]],
        queries: GridVectors,
        vectors: Iterator[GridVectors],
    ) -> list[GridVectors | None]:
        """The vector by which each response is compared, None if there is no response."""
        given = [None if response is None else next(vectors) for _, response in batch]
        ridge = self.curation.require_compared().ridge
        if self.response_encoder is None or ridge is None:
            return given
        # The view "residual": the part of the response that its context does not predict.
        return [
            None if vector is None else ridge.residual(query[None], vector[None])[0]
            for query, vector in zip(queries, given, strict=True)
        ]

    def _locate(
        self,
        exchange: tuple[str, str | None],
        members: Ints,
        vector: GridVectors | None,
        query: GridVectors,
    ) -> LocatedExchange:
        """Locate one exchange in its neighborhood, without the scores of its response.

        ``members`` (k,) are the rows of the neighborhood, nearest first.
        """
        recipe, layout = self.curation.recipe, self.curation.layout
        context, response = exchange
        members, given = self._insert_given(context, response, members)
        texts = layout.response[members]
        if given == len(members):
            number = layout.responses.find(response or "")
            texts = np.append(texts, len(layout.responses) if number < 0 else number)
        clusters = cluster_neighborhoods(
            np.arange(len(texts))[None], self._select_compared(members, texts, vector), recipe
        )
        odds = cluster_odds(clusters, recipe)
        return LocatedExchange(context, response, query, members, texts, given, clusters, odds)

    def _insert_given(
        self, context: str, response: str | None, members: Ints
    ) -> tuple[Ints, int | None]:
        """Sort the rows, and find the index of the given exchange among them.

        If none of the rows is the given exchange, it replaces the farthest row and comes after all
        others. The index is None if there is no response.
        """
        layout = self.curation.layout
        if response is None:
            return np.sort(members), None
        response_number = layout.responses.find(response)
        context_number = layout.contexts.find(context)
        rows = np.sort(members)
        same = layout.response[rows] == response_number
        same &= layout.context[rows] == context_number
        if same.any():
            return rows, int(same.argmax())
        rows = np.sort(members[: min(self.curation.recipe.neighbors, len(members)) - 1])
        return rows, len(rows)
