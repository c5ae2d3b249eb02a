"""Heal by trust and fit: replace an untrusted response by a trusted one that fits its message.

A curation decides in the same way about its rows. Here the message may be about anything, so what
is unlike the corpus is left alone; see `Domain`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np

from ..curation.curate import Curation
from ..curation.openings import extract_opening
from ..curation.resources import Tools
from ..curation.search.exact import group_rows
from ..curation.vectors import GridVectors
from ..models.encoders import Encoder
from ..runtime.arrays import Ints
from ..runtime.concurrency import single_threaded_blas
from .domain import Domain
from .offers import Offers
from .sampler import Healed, RewriteRefusedError
from .scoring import SINGLE_THREAD_EXCHANGES, TrustScorer, compute_threshold, embed_like


class MessageMatch(NamedTuple):
    """What the corpus says about a message, and about the response to it.

    ``similarity`` is how similar message and response are to those of the corpus, the smaller of
    the two. ``message_problem`` is why the message is outside the corpus, ``problem`` why the
    exchange is; None if it is inside. ``query`` (q,) is what a response should be like, and
    ``near`` (k,) are the offers that may fit best.
    """

    similarity: float
    message_problem: str | None
    problem: str | None
    query: GridVectors
    near: Ints


class ScoredExchange(NamedTuple):
    """An exchange with the typicality of its response and the trust in it, None without one.

    ``match`` is None if the response is trusted; only a judge then asks for more.
    """

    context: str
    response: str | None
    typicality: float | None
    trust: float | None
    match: MessageMatch | None = None


class FitHealer:
    """Heals exchanges by trust and fit; loads the encoders of a curation once.

    ``min_fit`` and ``min_similarity`` are as for `isaac.Healer`. Several threads may share one
    healer.
    """

    def __init__(
        self,
        curation: Curation,
        tools: Tools | None = None,
        min_fit: float | None = None,
        min_similarity: float | None = None,
    ) -> None:
        recipe, layout, tools = curation.recipe, curation.layout, tools or Tools()
        model = curation.fit_model()
        assert model is not None
        self.curation, self.model = curation, model
        self.min_fit = recipe.fit_bound if min_fit is None else min_fit
        self.domain = Domain(layout, model, min_similarity)
        self.offers = Offers(curation, model)
        self.scorer = TrustScorer(curation)
        trust = curation.response_scores.trust[layout.response]
        self.threshold = compute_threshold(trust, round(recipe.share * len(trust)))
        # Responses that answer one message only are never given to another one.
        self.may_draw = recipe.by_fit or curation.policy.is_exchangeable
        self.exchanges_of_context = group_rows(layout.context[layout.first])
        self.context_encoder = tools.encoder(recipe.context_encoder)
        self.response_encoder: Encoder = self.context_encoder
        if recipe.response_encoder != recipe.context_encoder:
            self.response_encoder = tools.encoder(recipe.response_encoder)

    @property
    def seed(self) -> int:
        """The seed of all rewrites; nothing else is random."""
        return self.curation.recipe.seed

    def locate(self, exchanges: Iterable[tuple[str, str | None]]) -> list[ScoredExchange]:
        """Score exchanges, each a message with its response or None.

        If a response is untrusted or missing, also find offers for the message.
        """
        batch = list(exchanges)
        # With a few queries, many threads have little work to share and compete for the cores.
        with single_threaded_blas() if len(batch) <= SINGLE_THREAD_EXCHANGES else nullcontext():
            responses = self._embed_responses(batch)
            scores = self.scorer.score([response or "" for _, response in batch], responses)
            located = [
                ScoredExchange(context, None, None, None)
                if response is None
                else ScoredExchange(context, response, *score)
                for (context, response), score in zip(batch, scores, strict=True)
            ]
            open_cases = [i for i, one in enumerate(located) if self.reason_to_keep(one) is None]
            matches = self._match([batch[i] for i in open_cases], responses[open_cases])
        for place, match in zip(open_cases, matches, strict=True):
            located[place] = located[place]._replace(match=match)
        return located

    def _match(
        self, batch: list[tuple[str, str | None]], responses: GridVectors
    ) -> list[MessageMatch]:
        """Compare exchanges (n,) with the corpus; ``responses`` (n, e) are their vectors."""
        if not batch:
            return []
        selves = np.array([self._find_exchange(*exchange) for exchange in batch], np.int64)
        prototypes = self.model.find_prototypes(self._embed_contexts(batch), selves)
        domain = self.domain.check(batch, prototypes, responses, selves)
        # The given response says nothing about the right one: most of those to heal are unsafe.
        queries = self.model.queries_of(prototypes)
        columns = (*domain, queries, self.offers.find_nearest(queries))
        return [MessageMatch(*row) for row in zip(*columns, strict=True)]

    def _require_match(self, exchange: ScoredExchange) -> MessageMatch:
        if exchange.match is not None:
            return exchange.match
        batch = [(exchange.context, exchange.response)]
        return self._match(batch, self._embed_responses(batch))[0]

    def reason_to_keep(self, exchange: ScoredExchange) -> str | None:
        """Why the response stays; None if it does not."""
        is_trusted = exchange.trust is not None and exchange.trust > self.threshold
        return "trusted" if is_trusted else None

    def reason_to_abstain(self, exchange: ScoredExchange) -> str | None:
        """Why the corpus says nothing about a response; None if it does, or there is none."""
        if exchange.response is None or exchange.match is None:
            return None
        return exchange.match.problem

    def reason_to_replace(self, exchange: ScoredExchange) -> str:
        """Why a response is replaced if it has no reason to stay."""
        return "no response given" if exchange.response is None else "untrusted"

    def trim(self, _exchange: ScoredExchange) -> Healed | None:
        """Always None: whole responses are not trimmed."""
        return None

    def draw_replacements(self, exchange: ScoredExchange) -> Iterator[Healed]:
        """Yield the trusted responses that fit the message, best first."""
        match = self._require_match(exchange)
        if match.message_problem is not None or not self.may_draw:
            return
        given = exchange.context, exchange.response
        layout, trust = self.curation.layout, self.curation.response_scores.trust
        for offer in self.offers.iter_fitting(given, match.query, match.near, self.min_fit):
            yield self._make_healed(exchange, "replaced", offer.text, "drawn")._replace(
                source_id=int(layout.ids[offer.row]),
                fit=offer.fit,
                confidence=float(trust[layout.response[offer.row]]),
            )

    def explain_no_draw(self, exchange: ScoredExchange) -> str:
        """Why there is nothing to draw."""
        if (problem := self._require_match(exchange).message_problem) is not None:
            return problem
        if not self.may_draw:
            return "responses of this corpus answer one message only"
        return "no trusted response fits"

    def rephraser_input(self, exchange: ScoredExchange) -> tuple[str, str]:
        """The message and the response that a rephraser gets."""
        return exchange.context, exchange.response or ""

    def accept_rewrite(self, exchange: ScoredExchange, text: str, *, judged: bool) -> Healed:
        """Accept a rewrite if a judge decides on it afterwards, or if it is more trusted.

        Raises `RewriteRefusedError` otherwise.
        """
        rewritten = self.locate([(exchange.context, text)])[0]
        if not judged and (rewritten.trust or 0) <= (exchange.trust or 0):
            raise RewriteRefusedError("the rewrite is no more trusted")
        healed = self._make_healed(exchange, "rewritten", text, "rewritten")
        return healed._replace(confidence=_confidence(rewritten))

    def leave_unchanged(self, exchange: ScoredExchange, action: str, reason: str) -> Healed:
        """The result if the response stays unchanged."""
        return self._make_healed(exchange, action, exchange.response or "", reason)

    def _make_healed(
        self, exchange: ScoredExchange, action: str, response: str, reason: str
    ) -> Healed:
        return Healed(
            action,
            response,
            source_id=None,
            typicality=exchange.typicality,
            head_share=0.0,
            probability=1.0,
            reason=reason,
            confidence=_confidence(exchange),
            trust=exchange.trust,
            similarity=None if exchange.match is None else exchange.match.similarity,
        )

    def _embed_contexts(self, batch: list[tuple[str, str | None]]) -> GridVectors:
        """Embed messages, (n, d)."""
        contexts, name = self.curation.contexts, self.curation.recipe.context_encoder
        assert contexts is not None
        texts = [context for context, _ in batch]
        return embed_like(self.context_encoder, texts, contexts.vectors, name)

    def _embed_responses(self, batch: list[tuple[str, str | None]]) -> GridVectors:
        """Embed responses, (n, e); the vector of a missing response means nothing."""
        recipe, responses = self.curation.recipe, self.curation.responses
        assert responses is not None
        texts = [response or "" for _, response in batch]
        if recipe.view == "opening":
            texts = [extract_opening(text) for text in texts]
        name = recipe.response_encoder
        return embed_like(self.response_encoder, texts, responses.vectors, name)

    def _find_exchange(self, context: str, response: str | None) -> int:
        """The number of an exchange in the corpus, -1 if the corpus does not have it."""
        layout = self.curation.layout
        context_number = layout.contexts.find(context)
        if response is None or context_number < 0:
            return -1
        response_number = layout.responses.find(response)
        same = self.exchanges_of_context[context_number]
        found = same[layout.response[layout.first[same]] == response_number]
        return int(found[0]) if len(found) else -1


def _confidence(exchange: ScoredExchange) -> float | None:
    is_inside = exchange.match is None or exchange.match.problem is None
    return exchange.trust if is_inside else None
