"""Single responses healed by retrieval: the same line with a given context as the query.

Paper, healing: an off-consensus response is replaced; here by a draw from the neighbourhood of
its context, with no model at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from .choices import log_share
from .clusters import Clusters
from .curation import Curation
from .draws import Pool, Shape, choose, draw, shape, uniforms
from .embeddings import Encoder, Grid, embed
from .errors import RecipeError
from .layout import Keys, key
from .neighborhoods import Compared, Searches, cluster, drawable, to_search
from .neighbors import Ints
from .tools import Tools
from .views import opening
from .wording import Wording


class Healed(NamedTuple):
    """What became of one response.

    ``action`` is kept, replaced, or abstained where the neighbourhood has no head to draw from;
    ``source_id`` the exchange that a new response came from, None where the response stays;
    ``typicality`` the share of the corpus's responses that are worded no more typically than the
    given one, None if none was given; ``probability`` the odds of the cluster drawn.
    """

    action: str
    response: str
    source_id: int | None
    typicality: float | None
    head_share: float
    probability: float


class Healer:
    """Heals exchanges by the neighbourhoods of a curation; loads its encoders once."""

    def __init__(self, curation: Curation, tools: Tools | None = None) -> None:
        recipe, tools = curation.recipe, tools or Tools()
        if recipe.group_by is not None:
            raise RecipeError(
                f"a run grouped by '{recipe.group_by}' has no contexts to search; "
                "heal with a run that was curated by nearest contexts"
            )
        assert curation.contexts is not None
        self.curation = curation
        layout, consensus = curation.layout, curation.consensus
        self.relevance = curation.relevance
        self.allowed = drawable(layout, consensus, recipe)
        self.typicality = consensus.typicality[layout.response]
        ranked, changed = np.sort(self.typicality), round(recipe.share * len(layout.ids))
        self.least = float(ranked[changed - 1]) if changed else -1.0
        self.wording: Wording | None = None
        candidates = to_search(layout, curation.contexts, self.allowed, recipe, curation.tools)
        self.searches = Searches.of(
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
        asked = list(exchanges)
        if not asked:
            return []
        curation = self.curation
        contexts = curation.contexts
        assert contexts is not None
        queries = embed(self.context_encoder, [context for context, _ in asked]).vectors
        if queries.shape[1] != contexts.vectors.shape[1]:
            raise RecipeError(
                f"the run's contexts were embedded in {contexts.vectors.shape[1]} dimensions, "
                f"the encoder now gives {queries.shape[1]}"
            )
        find = curation.layout.contexts.find
        selves = np.array([find(context) for context, _ in asked], np.int64)
        members = self.searches.near(queries, selves)
        given = self._given(asked, queries)
        return [
            self._heal(asked[i], members[i], given[i], queries[i : i + 1])
            for i in range(len(asked))
        ]

    def _given(self, asked: list[tuple[str, str | None]], queries: Grid) -> list[Grid | None]:
        """Return the vector by which each given response is compared, None where there is none."""
        if self.response_encoder is None:
            return [None] * len(asked)
        short = self.curation.recipe.view == "opening"
        texts = [opening(text) if short else text for _, text in asked if text is not None]
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

    def _heal(
        self, asked: tuple[str, str | None], members: Ints, given: Grid | None, query: Grid
    ) -> Healed:
        """Heal one exchange; ``members`` are the rows of its neighbourhood, nearest first."""
        recipe, layout = self.curation.recipe, self.curation.layout
        context, response = asked
        members, own = self._with_given(context, response, members)
        texts = layout.response[members]
        if own == len(members):
            number = layout.responses.find(response or "")
            texts = np.append(texts, len(layout.responses) if number < 0 else number)
        found = cluster(np.arange(len(texts))[None], self._compared(members, texts, given), recipe)
        facts = shape(found, recipe)
        head_share = float(facts.sizes[0, 0] / facts.totals[0])
        typicality = None if response is None else self._typicality(response)
        if own is not None and typicality is not None:
            agrees = recipe.keep and _rank(found, own) == 0 and facts.sizes[0, 0] > 1
            if agrees or typicality > self.least:
                return Healed("kept", response or "", None, typicality, head_share, 1.0)
            if recipe.abstain and facts.sizes[0, 0] < max(2, recipe.abstain * facts.totals[0]):
                return Healed("abstained", response or "", None, typicality, head_share, 1.0)
        seed = np.array([key(context, response or "")], np.uint64)
        source, odds = self._draw(found, facts, members, texts, seed, query)
        if own is not None and (source < 0 or texts[source] == texts[own]):
            action = "abstained" if source < 0 else "kept"
            return Healed(action, response or "", None, typicality, head_share, odds)
        text = layout.responses[texts[source]]
        row = int(layout.ids[members[source]])
        return Healed("replaced", text, row, typicality, head_share, odds)

    def _typicality(self, response: str) -> float:
        """Return how typical a response is, in the corpus or not."""
        consensus, layout = self.curation.consensus, self.curation.layout
        if (number := layout.responses.find(response)) >= 0:
            return float(consensus.typicality[number])
        self.wording = self.wording or Wording(layout.responses, consensus.kind)
        return float(self.wording.typicality(self.wording.of([response]))[0])

    def _draw(
        self,
        found: Clusters,
        facts: Shape,
        members: Ints,
        texts: Ints,
        seed: Keys,
        query: Grid,
    ) -> tuple[int, float]:
        """Return which member is drawn, -1 for none, and the odds of its cluster."""
        recipe, order = self.curation.recipe, found.members.values
        if not recipe.weighted:
            pool = Pool(facts.odds, facts.rows, found.members.offsets[:1], order, texts)
            drawn = draw(pool, seed, 1, recipe.seed)[0]
            return int(drawn.source[0]), float(facts.odds[0, drawn.rank[0]])
        ranks = np.repeat(np.arange(len(found.sizes.values)), found.sizes.values)
        share = np.append(log_share(facts)[0], -np.inf)
        weights = np.full(len(texts), -np.inf)
        weights[order] = share[np.minimum(ranks, len(share) - 1)]
        inside = weights[: len(members)]
        inside += recipe.typicality * self.typicality[members]
        if self.relevance is not None:
            inside += (
                recipe.relevance
                * self.relevance.of(query, self.relevance.wanted(query), members[None])[0]
            )
        inside[~self.allowed[members]] = -np.inf
        weights[len(members) :] = -np.inf
        if not np.isfinite(weights).any():
            return -1, 1.0
        odds = np.exp(weights - weights.max())[order][None]
        odds /= odds.sum()
        place = int(choose(odds, uniforms(recipe.seed, seed, 0, 0))[0])
        return int(order[place]), float(odds[0, ranks == ranks[place]].sum())

    def _with_given(
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

    def _compared(self, members: Ints, texts: Ints, given: Grid | None) -> Compared:
        """Return what members are compared by, the given response last if it is none of them."""
        compared = self.curation.compared
        if compared.vectors is None:
            return Compared(None, texts)
        vectors = compared.vectors[compared.item[members]]
        if given is not None and len(texts) > len(members):
            vectors = np.concatenate([vectors, given[None]])
        kinds = None
        if compared.kind is not None:
            kinds = compared.kind[members]
            kinds = np.append(kinds, kinds.max() + 1)[: len(texts)]
        return Compared(vectors, np.arange(len(texts)), None, kinds)


def _rank(found: Clusters, member: int) -> int:
    """Return the rank from 0 of the cluster that a member of the one neighbourhood is in."""
    place = int(np.flatnonzero(found.members.values == member)[0])
    return int(np.searchsorted(np.cumsum(found.sizes[0]), place, side="right"))
