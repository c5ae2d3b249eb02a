"""Healing by retrieval: a response is replaced by a draw from the neighborhood of its context.

Paper, healing: an off-consensus response is replaced. Here the given context is a query to a
finished curation, so healing needs no model.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np

from ..curation.candidates import log_response_odds
from ..curation.canonical_order import hash_exchange
from ..curation.clusters import Clusters
from ..curation.curate import Curation
from ..curation.neighborhoods import (
    SearchedNeighborhoods,
    build_context_index,
    cluster_neighborhoods,
)
from ..curation.resources import Tools
from ..curation.response_scores import drawable_rows
from ..curation.sampling import MAX_ATTEMPTS, ResponsePool, draw, sample_categorical, uniforms
from ..curation.sharpening import ClusterOdds, cluster_odds
from ..curation.typicality import TypicalityModel
from ..curation.vectors import GridVectors, embed
from ..curation.views import ComparedResponses, extract_opening
from ..errors import RecipeError
from ..models.encoders import Encoder
from ..models.judges import Verdict
from ..recipe import ResolvedRecipe
from ..runtime.arrays import Ints, Keys, Reals
from ..runtime.concurrency import single_threaded_blas

SINGLE_THREAD_EXCHANGES = 16
"""Up to this many exchanges at a time run on one thread; does not affect results."""

NO_HEAD_REASON = "no head to draw from"


class RewriteRefusedError(ValueError):
    """A rewrite may not be used; the message says why."""


class Healed(NamedTuple):
    """The result for one response.

    ``action`` is kept, replaced, or abstained if there is nothing to draw; `HealingPipeline` adds
    trimmed, rewritten and fallback. ``reason`` explains it in words. ``source_id`` is the exchange
    that a drawn response comes from, else None. ``typicality`` is that of the original response:
    the share of the corpus's responses that are at most as typical; None if there was no response.
    ``head_share`` is the share of the neighborhood in its head cluster, ``probability`` that of the
    cluster drawn from. ``confidence`` is how well the corpus supports the final response: the share
    of the neighborhood in its cluster times its typicality, 0 to 1, None if it was not compared
    with the corpus. ``verdict`` is the judge's on the final response, None without a judge.
    """

    action: str
    response: str
    source_id: int | None
    typicality: float | None
    head_share: float
    probability: float
    reason: str = ""
    confidence: float | None = None
    verdict: Verdict | None = None


class LocatedExchange(NamedTuple):
    """An exchange with its neighborhood of m rows, and the clusters of its responses.

    ``query`` (1, d) is the vector of the context. ``members`` (m,) are the rows, ascending, and
    ``texts`` the numbers of their responses, followed by that of the given response if it is none
    of them. ``given_index`` is its place in ``texts``, None if there is no response.
    """

    context: str
    response: str | None
    query: GridVectors
    members: Ints
    texts: Ints
    given_index: int | None
    clusters: Clusters
    odds: ClusterOdds
    typicality: float | None

    @property
    def head_share(self) -> float:
        """The share of the neighborhood in its head cluster."""
        return float(self.odds.sizes[0, 0] / self.odds.totals[0])

    def rank(self, member: int) -> int:
        """The rank of a member's cluster, 0 for the largest."""
        place = int(np.flatnonzero(self.clusters.members.values == member)[0])
        return int(np.searchsorted(np.cumsum(self.clusters.sizes[0]), place, side="right"))

    def share(self, member: int) -> float:
        """The share of the neighborhood in a member's cluster."""
        return float(self.clusters.counts[0][self.rank(member)] / self.odds.totals[0])


class ReplacementSampler:
    """Draws replacements from the neighborhoods of a curation."""

    def __init__(self, curation: Curation) -> None:
        self.curation = curation
        layout, consensus = curation.layout, curation.response_scores
        self.relevance = curation.fit_relevance()
        self.allowed = drawable_rows(layout, consensus, curation.recipe)
        self.typicality = consensus.typicality[layout.response]

    @property
    def seed(self) -> int:
        """The seed of all draws."""
        return self.curation.recipe.seed

    def locate_among(
        self, context: str, response: str, query: GridVectors, members: Ints
    ) -> LocatedExchange:
        """Take given rows, ascending, as the neighborhood to draw a replacement from.

        The response itself is not placed in it.
        """
        recipe, texts = self.curation.recipe, self.curation.layout.response[members]
        compared = self._select_compared(members, texts, None)
        clusters = cluster_neighborhoods(np.arange(len(texts))[None], compared, recipe)
        odds = cluster_odds(clusters, recipe)
        return LocatedExchange(context, response, query, members, texts, None, clusters, odds, None)

    def draw_replacements(self, exchange: LocatedExchange) -> Iterator[Healed]:
        """Draw replacements one after another, no response twice.

        Yields nothing if the recipe abstains, or if no row of the neighborhood may be drawn.
        """
        recipe, odds = self.curation.recipe, exchange.odds
        head_too_small = odds.sizes[0, 0] < max(2, recipe.abstain * odds.totals[0])
        given = exchange.given_index
        if given is not None and recipe.abstain and head_too_small:
            return
        key = np.array([hash_exchange(exchange.context, exchange.response or "")], np.uint64)
        for source, probability in (
            self._draw_by_weight(exchange, key)
            if recipe.weighted
            else _draw_by_cluster(exchange, key, recipe)
        ):
            if given is not None and exchange.texts[source] == exchange.texts[given]:
                unchanged = self.leave_unchanged(exchange, "kept", "drawn again")
                yield unchanged._replace(probability=probability)
            else:
                yield self._make_replaced(exchange, source, probability)

    def leave_unchanged(self, exchange: LocatedExchange, action: str, reason: str) -> Healed:
        """The result if the response stays unchanged."""
        confidence = None
        if exchange.given_index is not None and exchange.typicality is not None:
            confidence = exchange.share(exchange.given_index) * exchange.typicality
        return Healed(
            action,
            exchange.response or "",
            None,
            exchange.typicality,
            exchange.head_share,
            1.0,
            reason,
            confidence,
        )

    def _make_replaced(self, exchange: LocatedExchange, source: int, probability: float) -> Healed:
        row = exchange.members[source]
        number = self.curation.layout.ids[row]
        return Healed(
            "replaced",
            self.curation.final_responses(np.array([number]))[0],
            int(number),
            exchange.typicality,
            exchange.head_share,
            probability,
            "off-consensus" if exchange.given_index is not None else "no response given",
            exchange.share(source) * float(self.typicality[row]),
        )

    def _draw_by_weight(self, exchange: LocatedExchange, key: Keys) -> Iterator[tuple[int, float]]:
        """Draw members by their weights; yield each with the probability of its cluster.

        After each draw the near-duplicates of the member drawn can no longer be drawn.
        """
        order, sizes = exchange.clusters.members.values, exchange.clusters.sizes.values
        ranks = np.repeat(np.arange(len(sizes)), sizes)
        texts = exchange.texts[: len(exchange.members)]
        duplicate_group = self.curation.response_scores.duplicate_group[texts]
        with single_threaded_blas():
            weights = self._compute_log_weights(exchange, ranks)
        for turn in itertools.count():
            if not np.isfinite(weights).any():
                return
            # The probabilities (1, m) of all members, sorted by cluster.
            probabilities = np.exp(weights - weights.max())[order][None]
            probabilities /= probabilities.sum()
            chance = uniforms(self.curation.recipe.seed, key, turn, 0)
            place = int(sample_categorical(probabilities, chance)[0])
            source = int(order[place])
            yield source, float(probabilities[0, ranks == ranks[place]].sum())
            same = duplicate_group == duplicate_group[source]
            weights[: len(duplicate_group)][same] = -np.inf

    def _compute_log_weights(self, exchange: LocatedExchange, ranks: Ints) -> Reals:
        """Compute the log of each member's weight, -inf if it may not be drawn.

        ``ranks`` are the ranks of the clusters of all members, sorted by cluster.
        """
        recipe, members = self.curation.recipe, exchange.members
        # Start with the odds of a member's cluster; a cluster outside the head has none.
        log_odds = np.append(log_response_odds(exchange.odds)[0], -np.inf)
        weights = np.full(len(exchange.texts), -np.inf)
        weights[exchange.clusters.members.values] = log_odds[np.minimum(ranks, len(log_odds) - 1)]
        # Then add typicality and relevance of the rows; the given response is never drawn as such.
        inside = weights[: len(members)]
        inside += recipe.typicality * self.typicality[members]
        if self.relevance is not None:
            targets = self.relevance.target_vectors(exchange.query)
            relevance = self.relevance.score(exchange.query, targets, members[None])[0]
            inside += recipe.relevance * relevance
        inside[~self.allowed[members]] = -np.inf
        weights[len(members) :] = -np.inf
        return weights

    def _select_compared(
        self, members: Ints, texts: Ints, given: GridVectors | None
    ) -> ComparedResponses:
        """Select what members are compared by, with the given response last if it is no member."""
        compared = self.curation.compared
        if compared.vectors is None:
            return ComparedResponses(None, texts)
        vectors = compared.vectors[compared.item[members]]
        if given is not None and len(texts) > len(members):
            vectors = np.concatenate([vectors, given[None]])
        groups = None
        if compared.duplicate_group is not None:
            groups = compared.duplicate_group[members]
            groups = np.append(groups, groups.max(initial=-1) + 1)[: len(texts)]
        return ComparedResponses(vectors, np.arange(len(texts)), None, groups)


def compute_typicality_threshold(typicality: Reals, changed: int) -> float:
    """Compute the threshold above which a response stays, if the recipe changes n of a corpus.

    ``typicality`` (n,) is that of the rows, ``changed`` how many of them the budget changes. Of
    equally typical rows at the limit a curation keeps some, so all of them are above the threshold.
    """
    ranked = np.sort(typicality)
    if changed == len(ranked):
        return float(ranked[-1])
    below = ranked[ranked < ranked[changed]]
    return float(below[-1]) if len(below) else -1.0


class Healer(ReplacementSampler):
    """Heals exchanges with the neighborhoods of a curation; loads its encoders once.

    Several threads may share one healer.
    """

    def __init__(self, curation: Curation, tools: Tools | None = None) -> None:
        recipe, tools = curation.recipe, tools or Tools()
        if recipe.reading.group_by is not None:
            raise RecipeError(
                f"cannot heal exchanges with a run grouped by '{recipe.reading.group_by}', which "
                "has no contexts to search; use a run that was curated without --group-by"
            )
        assert curation.contexts is not None
        super().__init__(curation)
        layout = curation.layout
        self.typicality_threshold = compute_typicality_threshold(
            self.typicality, round(recipe.share * len(layout.ids))
        )
        self.typicality_model: TypicalityModel | None = None
        self.fit_lock = threading.Lock()
        candidates = build_context_index(
            layout, curation.contexts, self.allowed, recipe, curation.tools
        )
        self.neighborhood_search = SearchedNeighborhoods.of(
            layout, curation.contexts, curation.compared, candidates, recipe
        )
        self.context_encoder = tools.encoder(recipe.context_encoder)
        self.response_encoder: Encoder | None = None
        if curation.responses is not None:
            same = recipe.response_encoder == recipe.context_encoder
            self.response_encoder = (
                self.context_encoder if same else tools.encoder(recipe.response_encoder)
            )

    def heal(self, exchanges: Iterable[tuple[str, str | None]]) -> list[Healed]:
        """Heal each exchange, a context with its response or None: keep the response or draw one.

        The neighborhood is the k nearest contexts of the curation, including the given exchange if
        it has a response. A response stays as in the curation: if it is typical enough, or, if the
        recipe keeps those, if it is in the head cluster and not alone there. How often a response
        was drawn before does not matter here.
        """
        return [self._heal_located(exchange) for exchange in self.locate(exchanges)]

    def locate(self, exchanges: Iterable[tuple[str, str | None]]) -> list[LocatedExchange]:
        """Find the neighborhood of each exchange, a context with its response or None."""
        batch = list(exchanges)
        if not batch:
            return []
        # A few queries give many threads little to share, and they compete for the cores.
        with single_threaded_blas() if len(batch) <= SINGLE_THREAD_EXCHANGES else nullcontext():
            return self._locate_batch(batch)

    def reason_to_keep(self, exchange: LocatedExchange) -> str | None:
        """Why the response stays; None if it does not."""
        if exchange.given_index is None or exchange.typicality is None:
            return None
        if exchange.typicality > self.typicality_threshold:
            return "typical"
        in_head = self.curation.recipe.keep and exchange.rank(exchange.given_index) == 0
        return "in the largest cluster" if in_head and exchange.odds.sizes[0, 0] > 1 else None

    def reason_to_replace(self, _exchange: LocatedExchange) -> str:
        """Why a response is replaced if it has no reason to stay."""
        return "off-consensus"

    def trim(self, _exchange: LocatedExchange) -> Healed | None:
        """Always None: whole responses are not trimmed."""
        return None

    def rephraser_input(self, exchange: LocatedExchange) -> tuple[str, str]:
        """The context and the response that a rephraser gets."""
        return exchange.context, exchange.response or ""

    def accept_rewrite(self, exchange: LocatedExchange, text: str, *, judged: bool) -> Healed:
        """Accept a rewrite if a judge decides on it afterwards, or if it is more typical.

        Raises `RewriteRefusedError` otherwise.
        """
        rewritten = self.locate([(exchange.context, text)])[0]
        if not judged and (rewritten.typicality or 0) <= (exchange.typicality or 0):
            raise RewriteRefusedError("the rewrite is worded no more typically")
        healed = self.leave_unchanged(rewritten, "rewritten", "rewritten")
        return healed._replace(typicality=exchange.typicality, head_share=exchange.head_share)

    def _heal_located(self, exchange: LocatedExchange) -> Healed:
        if (reason := self.reason_to_keep(exchange)) is not None:
            return self.leave_unchanged(exchange, "kept", reason)
        for drawn in self.draw_replacements(exchange):
            return drawn
        return self.leave_unchanged(exchange, "abstained", NO_HEAD_REASON)

    def _locate_batch(self, batch: list[tuple[str, str | None]]) -> list[LocatedExchange]:
        contexts = self.curation.contexts
        assert contexts is not None
        queries = embed(self.context_encoder, [context for context, _ in batch]).vectors
        if queries.shape[1] != contexts.vectors.shape[1]:
            raise RecipeError(
                f"the contexts of the run have {contexts.vectors.shape[1]} dimensions, but encoder "
                f"'{self.curation.recipe.context_encoder}' now returns {queries.shape[1]}; "
                "load the encoder that the run was curated with"
            )
        # The number of each context in the corpus, -1 if it is not in it.
        find = self.curation.layout.contexts.find
        selves = np.array([find(context) for context, _ in batch], np.int64)
        members = self.neighborhood_search.find_nearest(queries, selves)
        vectors = self._embed_responses(batch, queries)
        return [
            self._locate(batch[i], members[i], vectors[i], queries[i : i + 1])
            for i in range(len(batch))
        ]

    def _embed_responses(
        self, batch: list[tuple[str, str | None]], queries: GridVectors
    ) -> list[GridVectors | None]:
        """Compute the vector by which each response is compared, None if there is no response."""
        if self.response_encoder is None:
            return [None] * len(batch)
        openings = self.curation.recipe.view == "opening"
        texts = [
            extract_opening(text) if openings and text is not None else text for _, text in batch
        ]
        distinct = sorted({text for text in texts if text is not None})
        embedded = embed(self.response_encoder, distinct).vectors
        vector_of = {text: embedded[number] for number, text in enumerate(distinct)}
        vectors = [None if text is None else vector_of[text] for text in texts]
        ridge = self.curation.compared.ridge
        if ridge is None:
            return vectors
        # The view "residual": what the context does not predict of the response.
        return [
            None if vector is None else ridge.residual(query[None], vector[None])[0]
            for query, vector in zip(queries, vectors, strict=True)
        ]

    def _locate(
        self,
        exchange: tuple[str, str | None],
        members: Ints,
        vector: GridVectors | None,
        query: GridVectors,
    ) -> LocatedExchange:
        """Put one exchange in its neighborhood; ``members`` (k,) are its rows, nearest first."""
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
        typicality = None if response is None else self._score_typicality(response)
        odds = cluster_odds(clusters, recipe)
        return LocatedExchange(
            context, response, query, members, texts, given, clusters, odds, typicality
        )

    def _score_typicality(self, response: str) -> float:
        """Look up or compute the typicality of a response, whether the corpus has it or not."""
        scores, layout = self.curation.response_scores, self.curation.layout
        if (number := layout.responses.find(response)) >= 0:
            return float(scores.typicality[number])
        with self.fit_lock:
            self.typicality_model = self.typicality_model or TypicalityModel(
                layout.responses, scores.duplicate_group
            )
        model = self.typicality_model
        return float(model.typicality(model.score([response]))[0])

    def _insert_given(
        self, context: str, response: str | None, members: Ints
    ) -> tuple[Ints, int | None]:
        """Sort the rows, and find the place of the given exchange among them.

        If one of the rows is the given exchange, that is its place. If not, it takes the place of
        the farthest row and comes after all others. Without a response it has no place.
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


def _draw_by_cluster(
    exchange: LocatedExchange, key: Keys, recipe: ResolvedRecipe
) -> Iterator[tuple[int, float]]:
    """Draw a cluster, then any of its members; yield the member and its cluster's probability."""
    odds, clusters = exchange.odds, exchange.clusters
    pool = ResponsePool(
        odds.odds,
        odds.rows,
        clusters.members.offsets[:1],
        clusters.members.values,
        exchange.texts,
    )
    for turn in range(1, MAX_ATTEMPTS + 1):
        drawn = draw(pool, key, turn, recipe.seed)[-1]
        if drawn.source[0] >= 0:  # -1 if all texts of the cluster were drawn before
            yield int(drawn.source[0]), float(odds.odds[0, drawn.rank[0]])
