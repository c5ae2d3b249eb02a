"""Draw replacements for the response of one exchange, from the neighborhood of its context."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..curation.candidates import log_response_odds
from ..curation.canonical_order import hash_exchange
from ..curation.clusters import Clusters
from ..curation.curate import Curation
from ..curation.neighborhoods import cluster_neighborhoods
from ..curation.response_scores import drawable_rows
from ..curation.sampling import MAX_ATTEMPTS, ResponsePool, draw, sample_categorical, uniforms
from ..curation.sharpening import ClusterOdds, cluster_odds
from ..curation.vectors import GridVectors
from ..curation.views import ComparedResponses
from ..models.judges import Verdict
from ..recipe import ResolvedRecipe
from ..runtime.arrays import Ints, Keys, Reals
from ..runtime.concurrency import single_threaded_blas


class RewriteRefusedError(ValueError):
    """A rewrite may not be used; the message says why."""


class Healed(NamedTuple):
    """The result of healing one response.

    ``action`` is kept, replaced, or abstained if there is nothing to draw; `HealingPipeline` adds
    trimmed, rewritten and fallback. ``reason`` explains it in words. ``source_id`` is the exchange
    that a drawn response is from, else None. ``typicality`` is that of the original response: the
    share of the corpus's responses that are at most as typical; None if there was no response.
    ``confidence`` is how well the corpus supports the final response, 0 to 1: the trust in it, or
    with a run that draws from clusters, the share of the neighborhood in its cluster times its
    typicality; None if the corpus has nothing like it to compare it with. ``verdict`` is the
    judge's on the final response, None without a judge.

    If the run draws from clusters, ``head_share`` is the share of the neighborhood in its head
    cluster, and ``probability`` that of the cluster drawn from. Otherwise ``trust`` is that in the
    original response, ``fit`` is how well a drawn response fits, and ``similarity`` is how similar
    message and original response are to those of the corpus.
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
    trust: float | None = None
    fit: float | None = None
    similarity: float | None = None


class LocatedExchange(NamedTuple):
    """An exchange with its neighborhood of m rows, and the clusters of their responses.

    ``query`` (1, d) is the vector of the context. ``members`` (m,) are the rows, ascending, and
    ``texts`` the numbers of their responses. If the given response is not that of a member, its
    number follows. ``given_index`` is its index in ``texts``, None if there is no response.
    """

    context: str
    response: str | None
    query: GridVectors
    members: Ints
    texts: Ints
    given_index: int | None
    clusters: Clusters
    odds: ClusterOdds
    typicality: float | None = None
    trust: float | None = None

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
        layout, scores = curation.layout, curation.response_scores
        self.relevance = curation.fit_relevance()
        self.allowed = drawable_rows(layout, scores, curation.recipe)
        self.typicality = scores.typicality[layout.response]
        self.trust = scores.trust[layout.response]

    @property
    def seed(self) -> int:
        """The seed of all draws."""
        return self.curation.recipe.seed

    def locate_among(
        self, context: str, response: str, query: GridVectors, members: Ints
    ) -> LocatedExchange:
        """Use the rows ``members`` (m,), ascending, as the neighborhood to draw from.

        The response itself is not added to it.
        """
        recipe, texts = self.curation.recipe, self.curation.layout.response[members]
        compared = self._select_compared(members, texts, None)
        clusters = cluster_neighborhoods(np.arange(len(texts))[None], compared, recipe)
        odds = cluster_odds(clusters, recipe)
        return LocatedExchange(context, response, query, members, texts, None, clusters, odds)

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
        # Then add trust and relevance of the rows, as a curation does. A response from outside is
        # never drawn.
        inside = weights[: len(members)]
        inside += recipe.typicality * self.trust[members]
        if self.relevance is not None:
            targets = self.relevance.target_vectors(exchange.query)
            relevance = self.relevance.score(exchange.query, targets, members[None])[0]
            inside += recipe.relevance * relevance
        inside[~self.allowed[members]] = -np.inf
        weights[len(members) :] = -np.inf
        return weights

    def _select_compared(
        self, members: Ints, texts: Ints, given_vector: GridVectors | None
    ) -> ComparedResponses:
        """Select what members are compared by; a given response that is no member comes last."""
        compared = self.curation.require_compared()
        if compared.vectors is None:
            return ComparedResponses(None, texts)
        vectors = compared.vectors[compared.item[members]]
        if given_vector is not None and len(texts) > len(members):
            vectors = np.concatenate([vectors, given_vector[None]])
        groups = None
        if compared.duplicate_group is not None:
            groups = compared.duplicate_group[members]
            groups = np.append(groups, groups.max(initial=-1) + 1)[: len(texts)]
        return ComparedResponses(vectors, np.arange(len(texts)), None, groups)


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
