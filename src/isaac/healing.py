"""Single responses healed by retrieval: the same line with a given context as the query.

Paper, healing: an off-consensus response is replaced; here by a draw from the neighbourhood of
its context, with no model at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from .clusters import Clusters
from .curation import Compared, Curation, Tools, cluster
from .draws import Pool, draw, shape
from .embeddings import Encoder, Grid, embed
from .errors import RecipeError
from .layout import key
from .neighbors import Ints, find_neighbors, group_by, members_of
from .views import opening


class Healed(NamedTuple):
    """What became of one response.

    ``action`` is kept or replaced; ``source_id`` the exchange that a new response came from, None
    where the response was kept; ``typicality`` the share of the neighbourhood that answers as the
    given response does, None if none was given; ``probability`` the odds of the cluster drawn.
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
        self.curation = curation
        self.rows = group_by(curation.layout.context)
        self.known = {text: i for i, text in enumerate(curation.layout.contexts)}
        self.place = {text: i for i, text in enumerate(curation.layout.responses)}
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
        if it has a response; a response in the largest cluster, unless alone there, is kept.
        """
        asked = list(exchanges)
        if not asked:
            return []
        curation = self.curation
        contexts = curation.contexts
        assert contexts is not None
        k = min(curation.recipe.neighbors, len(curation.layout.ids))
        queries = embed(self.context_encoder, [context for context, _ in asked]).vectors
        if queries.shape[1] != contexts.vectors.shape[1]:
            raise RecipeError(
                f"the run's contexts were embedded in {contexts.vectors.shape[1]} dimensions, "
                f"the encoder now gives {queries.shape[1]}"
            )
        selves = np.array([self.known.get(context, -1) for context, _ in asked], np.int64)
        near = find_neighbors(queries, contexts.vectors, k, selves)
        members = members_of(near, self.rows, k)
        given = self._given(asked, queries)
        return [
            self._heal(context, response, members[i], given[i])
            for i, (context, response) in enumerate(asked)
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
        self, context: str, response: str | None, members: Ints, given: Grid | None
    ) -> Healed:
        """Heal one exchange; ``members`` are the rows of its neighbourhood, nearest first."""
        recipe, layout = self.curation.recipe, self.curation.layout
        members, own = self._with_given(context, response, members)
        texts = layout.response[members]
        if own == len(members):
            texts = np.append(texts, self.place.get(response or "", len(layout.responses)))
        compared = self._compared(members, texts, given)
        found = cluster(np.arange(len(texts))[None], compared, recipe)
        facts = shape(found, recipe)
        head_share = float(facts.sizes[0, 0] / facts.totals[0])
        typicality = None
        if own is not None:
            rank = _rank(found, own)
            typicality = float(found.sizes[0][rank] / facts.totals[0])
            if recipe.keep and rank == 0 and facts.sizes[0, 0] > 1:
                return Healed("kept", response or "", None, typicality, head_share, 1.0)
        members_in_order = found.members.values
        pool = Pool(facts.odds, facts.sizes, found.members.offsets[:1], members_in_order, texts)
        keys = np.array([key(context, response or "")], np.uint64)
        drawn = draw(pool, keys, 1, recipe.seed)[0]
        source, odds = int(drawn.source[0]), float(facts.odds[0, drawn.rank[0]])
        if own is not None and texts[source] == texts[own]:
            return Healed("kept", response or "", None, typicality, head_share, odds)
        text = layout.responses[texts[source]]
        row = int(layout.ids[members[source]])
        return Healed("replaced", text, row, typicality, head_share, odds)

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
        number, asked = self.place.get(response, -1), self.known.get(context, -1)
        rows = np.sort(members)
        twins = (layout.response[rows] == number) & (layout.context[rows] == asked)
        if twins.any():
            return rows, int(twins.argmax())
        rows = np.sort(members[: self.curation.recipe.neighbors - 1])
        return rows, len(rows)

    def _compared(self, members: Ints, texts: Ints, given: Grid | None) -> Compared:
        """Return what members are compared by, the given response last if it is none of them."""
        compared = self.curation.compared
        if compared.vectors is None:
            return Compared(None, texts)
        vectors = compared.vectors[compared.item[members]]
        if given is not None and len(texts) > len(members):
            vectors = np.concatenate([vectors, given[None]])
        return Compared(vectors, np.arange(len(texts)))


def _rank(found: Clusters, member: int) -> int:
    """Return the rank from 0 of the cluster that a member of the one neighbourhood is in."""
    place = int(np.flatnonzero(found.members.values == member)[0])
    return int(np.searchsorted(np.cumsum(found.sizes[0]), place, side="right"))
