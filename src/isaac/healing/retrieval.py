"""Single responses healed by retrieval: the same line with a given context as the query.

Paper, healing: an off-consensus response is replaced; here by a draw from the neighbourhood of
its context, with no model at all.
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
"""Exchanges up to which linear algebra is done on one thread; changes no result."""

NO_HEAD_REASON = "no head to draw from"


class RewriteRefusedError(ValueError):
    """A rewrite may not go out; the message says why."""


class Healed(NamedTuple):
    """What became of one response.

    ``action`` is kept, replaced, or abstained where there is nothing to draw; ``reason`` says why,
    in words. ``source_id`` is the exchange that a new response came from, None where the response
    stays; ``typicality`` the share of the corpus's responses that are worded no more typically than
    the given one, None if none was given; ``probability`` the odds of the cluster drawn.
    ``confidence`` is how far the corpus stands behind the response that goes out: the share of the
    neighbourhood in its cluster times the typicality of its wording, from 0 to 1, None where no
    response goes out that could be compared. ``verdict`` is a judge's on it, None without a judge.
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
    """An exchange in its neighbourhood.

    ``members`` are the rows of the neighbourhood, ascending, ``texts`` their responses by number,
    the given response last if it is none of them; ``own`` is where it stands, None without one.
    ``query`` (1, d) is the context's vector.
    """

    context: str
    response: str | None
    query: GridVectors
    members: Ints
    texts: Ints
    own: int | None
    found: Clusters
    facts: ClusterOdds
    typicality: float | None

    @property
    def head_share(self) -> float:
        """Return the share of the neighbourhood that its largest cluster has."""
        return float(self.facts.sizes[0, 0] / self.facts.totals[0])

    def rank(self, member: int) -> int:
        """Return the rank from 0 of the cluster that a member is in."""
        place = int(np.flatnonzero(self.found.members.values == member)[0])
        return int(np.searchsorted(np.cumsum(self.found.sizes[0]), place, side="right"))

    def share(self, member: int) -> float:
        """Return the share of the neighbourhood that a member's cluster has."""
        return float(self.found.counts[0][self.rank(member)] / self.facts.totals[0])


class ReplacementSampler:
    """Draws responses from neighbourhoods of a curation, however these were found."""

    def __init__(self, curation: Curation) -> None:
        self.curation = curation
        layout, consensus = curation.layout, curation.response_scores
        self.relevance = curation.fit_relevance()
        self.allowed = drawable_rows(layout, consensus, curation.recipe)
        self.typicality = consensus.typicality[layout.response]

    @property
    def seed(self) -> int:
        """Return the seed of every draw."""
        return self.curation.recipe.seed

    def among(
        self, context: str, response: str, query: GridVectors, members: Ints
    ) -> LocatedExchange:
        """Return a response beside rows, ascending, that may say something instead."""
        recipe, texts = self.curation.recipe, self.curation.layout.response[members]
        compared = self._select_compared(members, texts, None)
        found = cluster_neighborhoods(np.arange(len(texts))[None], compared, recipe)
        facts = cluster_odds(found, recipe)
        return LocatedExchange(context, response, query, members, texts, None, found, facts, None)

    def draws(self, seen: LocatedExchange) -> Iterator[Healed]:
        """Yield what may be said instead, one draw after the other, no response twice.

        There is none where the recipe abstains, or where nothing in the neighbourhood may be drawn.
        """
        recipe, facts = self.curation.recipe, seen.facts
        lone = facts.sizes[0, 0] < max(2, recipe.abstain * facts.totals[0])
        if seen.own is not None and recipe.abstain and lone:
            return
        seed = np.array([hash_exchange(seen.context, seen.response or "")], np.uint64)
        for source, odds in (
            self._draw_by_weight(seen, seed)
            if recipe.weighted
            else _draw_by_cluster(seen, seed, recipe)
        ):
            if seen.own is not None and seen.texts[source] == seen.texts[seen.own]:
                yield self.as_given(seen, "kept", "drawn again")._replace(probability=odds)
            else:
                yield self._make_replaced(seen, source, odds)

    def as_given(self, seen: LocatedExchange, action: str, reason: str) -> Healed:
        """Return an exchange with its response as it was given."""
        confidence = None
        if seen.own is not None and seen.typicality is not None:
            confidence = seen.share(seen.own) * seen.typicality
        known = (seen.response or "", None, seen.typicality, seen.head_share, 1.0)
        return Healed(action, *known, reason, confidence)

    def _make_replaced(self, seen: LocatedExchange, source: int, odds: float) -> Healed:
        row = seen.members[source]
        number = self.curation.layout.ids[row]
        return Healed(
            "replaced",
            self.curation.final_responses(np.array([number]))[0],
            int(number),
            seen.typicality,
            seen.head_share,
            odds,
            "off-consensus" if seen.own is not None else "no response given",
            seen.share(source) * float(self.typicality[row]),
        )

    def _draw_by_weight(self, seen: LocatedExchange, seed: Keys) -> Iterator[tuple[int, float]]:
        """Yield which member is drawn by the weights of all, and the odds of its cluster.

        After each draw the members that are near-duplicates of the one drawn are left out.
        """
        order, sizes = seen.found.members.values, seen.found.sizes.values
        ranks = np.repeat(np.arange(len(sizes)), sizes)
        kinds = self.curation.response_scores.kind[seen.texts[: len(seen.members)]]
        with single_threaded_blas():
            weights = self._compute_log_weights(seen, ranks)
        for turn in itertools.count():
            if not np.isfinite(weights).any():
                return
            odds = np.exp(weights - weights.max())[order][None]
            odds /= odds.sum()
            chance = uniforms(self.curation.recipe.seed, seed, turn, 0)
            place = int(sample_categorical(odds, chance)[0])
            source = int(order[place])
            yield source, float(odds[0, ranks == ranks[place]].sum())
            weights[: len(kinds)][kinds == kinds[source]] = -np.inf

    def _compute_log_weights(self, seen: LocatedExchange, ranks: Ints) -> Reals:
        """Return the logarithm of how likely each member is drawn, -inf where it may not be."""
        recipe, members = self.curation.recipe, seen.members
        share = np.append(log_response_odds(seen.facts)[0], -np.inf)
        weights = np.full(len(seen.texts), -np.inf)
        weights[seen.found.members.values] = share[np.minimum(ranks, len(share) - 1)]
        inside = weights[: len(members)]
        inside += recipe.typicality * self.typicality[members]
        if self.relevance is not None:
            wanted = self.relevance.wanted(seen.query)
            inside += recipe.relevance * self.relevance.of(seen.query, wanted, members[None])[0]
        inside[~self.allowed[members]] = -np.inf
        weights[len(members) :] = -np.inf
        return weights

    def _select_compared(
        self, members: Ints, texts: Ints, given: GridVectors | None
    ) -> ComparedResponses:
        """Return what members are compared by, the given response last if it is none of them."""
        compared = self.curation.compared
        if compared.vectors is None:
            return ComparedResponses(None, texts)
        vectors = compared.vectors[compared.item[members]]
        if given is not None and len(texts) > len(members):
            vectors = np.concatenate([vectors, given[None]])
        kinds = None
        if compared.kind is not None:
            kinds = compared.kind[members]
            kinds = np.append(kinds, kinds.max(initial=-1) + 1)[: len(texts)]
        return ComparedResponses(vectors, np.arange(len(texts)), None, kinds)


def compute_typicality_threshold(typicality: Reals, changed: int) -> float:
    """Return above which typicality a response stays, where so many of a corpus's are changed.

    Of equals at the bound a corpus leaves some as they are; so they stay.
    """
    ranked = np.sort(typicality)
    if changed == len(ranked):
        return float(ranked[-1])
    below = ranked[ranked < ranked[changed]]
    return float(below[-1]) if len(below) else -1.0


class Healer(ReplacementSampler):
    """Heals exchanges by the neighbourhoods of a curation; loads its encoders once.

    Several threads may use one healer at a time.
    """

    def __init__(self, curation: Curation, tools: Tools | None = None) -> None:
        recipe, tools = curation.recipe, tools or Tools()
        if recipe.reading.group_by is not None:
            raise RecipeError(
                f"a run grouped by '{recipe.reading.group_by}' has no contexts to search; "
                "heal with a run that was curated by nearest contexts"
            )
        assert curation.contexts is not None
        super().__init__(curation)
        layout = curation.layout
        self.least = compute_typicality_threshold(
            self.typicality, round(recipe.share * len(layout.ids))
        )
        self.wording: TypicalityModel | None = None
        self.fitting = threading.Lock()
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
        """Return for each (context, response or None) the response kept, or one drawn instead.

        The neighbourhood is the k nearest contexts of the curation, the given exchange included
        if it has a response. What stays stays as in the curation: a response that is typical
        enough, or where the recipe keeps it, one in the largest cluster unless alone there. How
        often a response was drawn already does not matter here.
        """
        return [self._heal_located(seen) for seen in self.look(exchanges)]

    def look(self, exchanges: Iterable[tuple[str, str | None]]) -> list[LocatedExchange]:
        """Return each (context, response or None) in its neighbourhood, as `heal` sees it."""
        asked = list(exchanges)
        if not asked:
            return []
        # Many threads of linear algebra have little to share in a few queries, and fight for cores.
        with single_threaded_blas() if len(asked) <= SINGLE_THREAD_EXCHANGES else nullcontext():
            return self._locate_batch(asked)

    def stays(self, seen: LocatedExchange) -> str | None:
        """Return why a response stays as it is, None if it does not."""
        if seen.own is None or seen.typicality is None:
            return None
        if seen.typicality > self.least:
            return "typical"
        agrees = self.curation.recipe.keep and seen.rank(seen.own) == 0
        return "in the largest cluster" if agrees and seen.facts.sizes[0, 0] > 1 else None

    def why(self, _seen: LocatedExchange) -> str:
        """Return why a response that does not stay goes."""
        return "off-consensus"

    def cut(self, _seen: LocatedExchange) -> Healed | None:
        """Return None: of a response nothing can be left out."""
        return None

    def asked(self, seen: LocatedExchange) -> tuple[str, str]:
        """Return the context and the response as a rephraser is given them."""
        return seen.context, seen.response or ""

    def accept_rewrite(self, seen: LocatedExchange, text: str, *, judged: bool) -> Healed:
        """Return a rewrite that may go out, if a judge has the last word or it is more typical.

        Raises `RewriteRefusedError` for another one.
        """
        again = self.look([(seen.context, text)])[0]
        if not judged and (again.typicality or 0) <= (seen.typicality or 0):
            raise RewriteRefusedError("the rewrite is worded no more typically")
        found = self.as_given(again, "rewritten", "rewritten")
        return found._replace(typicality=seen.typicality, head_share=seen.head_share)

    def _heal_located(self, seen: LocatedExchange) -> Healed:
        if (reason := self.stays(seen)) is not None:
            return self.as_given(seen, "kept", reason)
        for drawn in self.draws(seen):
            return drawn
        return self.as_given(seen, "abstained", NO_HEAD_REASON)

    def _locate_batch(self, asked: list[tuple[str, str | None]]) -> list[LocatedExchange]:
        contexts = self.curation.contexts
        assert contexts is not None
        queries = embed(self.context_encoder, [context for context, _ in asked]).vectors
        if queries.shape[1] != contexts.vectors.shape[1]:
            raise RecipeError(
                f"the run's contexts were embedded in {contexts.vectors.shape[1]} dimensions, "
                f"the encoder now gives {queries.shape[1]}"
            )
        find = self.curation.layout.contexts.find
        selves = np.array([find(context) for context, _ in asked], np.int64)
        members = self.neighborhood_search.find_nearest(queries, selves)
        given = self._embed_given(asked, queries)
        return [
            self._locate(asked[i], members[i], given[i], queries[i : i + 1])
            for i in range(len(asked))
        ]

    def _embed_given(
        self, asked: list[tuple[str, str | None]], queries: GridVectors
    ) -> list[GridVectors | None]:
        """Return the vector by which each given response is compared, None where there is none."""
        if self.response_encoder is None:
            return [None] * len(asked)
        short = self.curation.recipe.view == "opening"
        texts = [extract_opening(text) if short else text for _, text in asked if text is not None]
        distinct = sorted(set(texts))
        vectors = embed(self.response_encoder, distinct).vectors
        place = {text: vectors[number] for number, text in enumerate(distinct)}
        ridge, found = self.curation.compared.ridge, iter(texts)
        seen = [None if text is None else place[next(found)] for _, text in asked]
        if ridge is None:
            return seen
        return [
            None if one is None else ridge.residual(query[None], one[None])[0]
            for query, one in zip(queries, seen, strict=True)
        ]

    def _locate(
        self,
        asked: tuple[str, str | None],
        members: Ints,
        given: GridVectors | None,
        query: GridVectors,
    ) -> LocatedExchange:
        """Return one exchange; ``members`` are the rows of its neighbourhood, nearest first."""
        recipe, layout = self.curation.recipe, self.curation.layout
        context, response = asked
        members, own = self._insert_given(context, response, members)
        texts = layout.response[members]
        if own == len(members):
            number = layout.responses.find(response or "")
            texts = np.append(texts, len(layout.responses) if number < 0 else number)
        found = cluster_neighborhoods(
            np.arange(len(texts))[None], self._select_compared(members, texts, given), recipe
        )
        typicality = None if response is None else self._score_typicality(response)
        facts = cluster_odds(found, recipe)
        return LocatedExchange(
            context, response, query, members, texts, own, found, facts, typicality
        )

    def _score_typicality(self, response: str) -> float:
        """Return how typical a response is, in the corpus or not."""
        consensus, layout = self.curation.response_scores, self.curation.layout
        if (number := layout.responses.find(response)) >= 0:
            return float(consensus.typicality[number])
        with self.fitting:
            self.wording = self.wording or TypicalityModel(layout.responses, consensus.kind)
        return float(self.wording.typicality(self.wording.of([response]))[0])

    def _insert_given(
        self, context: str, response: str | None, members: Ints
    ) -> tuple[Ints, int | None]:
        """Return the rows in ascending order and where among them the given exchange stands.

        A given exchange that the corpus has is that row; another one comes after the rows, in the
        place of the farthest of them; without a response there is none.
        """
        layout = self.curation.layout
        if response is None:
            return np.sort(members), None
        number, asked = layout.responses.find(response), layout.contexts.find(context)
        rows = np.sort(members)
        twins = (layout.response[rows] == number) & (layout.context[rows] == asked)
        if twins.any():
            return rows, int(twins.argmax())
        rows = np.sort(members[: min(self.curation.recipe.neighbors, len(members)) - 1])
        return rows, len(rows)


def _draw_by_cluster(
    seen: LocatedExchange, seed: Keys, recipe: ResolvedRecipe
) -> Iterator[tuple[int, float]]:
    """Yield which member is drawn, all of a cluster being equally likely, and its odds."""
    pool = ResponsePool(
        seen.facts.odds,
        seen.facts.rows,
        seen.found.members.offsets[:1],
        seen.found.members.values,
        seen.texts,
    )
    for turn in range(1, MAX_ATTEMPTS + 1):
        drawn = draw(pool, seed, turn, recipe.seed)[-1]
        if drawn.source[0] >= 0:  # or the texts of the cluster drawn are used up
            yield int(drawn.source[0]), float(seen.facts.odds[0, drawn.rank[0]])
