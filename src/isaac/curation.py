"""The whole line, from a corpus to what is drawn for each of its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from .clusters import Clusters, by_size, components, cover
from .corpus import Corpus
from .draws import Pool, draw, shape
from .embeddings import (
    CHUNK,
    Embedded,
    Encoder,
    Grid,
    as_floats,
    chunks,
    embed_chunk,
    join,
    load_encoder,
)
from .engines import Engine, Local
from .errors import CorpusError
from .layout import Layout, arrange, distinct_texts
from .neighbors import Ints, Ragged, find_neighbors, group_by, members_of
from .progress import Progress
from .recipe import Recipe
from .stories import explain as tell_story
from .views import Ridge, fit, opening

SHARD = 2048
"""Neighbourhoods that are worked on, and stored by a run, at a time; changes no result."""

BLOCK = 64
"""Neighbourhoods that are clustered at a time, fewer if they are large; changes no result."""

PAIRS = 2**22
"""Pairs of responses that a block of more than one neighbourhood has; changes no result."""

LINEAGE = pa.schema(
    {
        "id": pa.int64(),
        "target": pa.int32(),
        "action": pa.dictionary(pa.int8(), pa.string()),
        "source_id": pa.int64(),
        "neighborhood": pa.int32(),
        "clusters": pa.int32(),
        "rank": pa.int32(),
        "cluster_size": pa.int32(),
        "own_rank": pa.int32(),
        "head_share": pa.float64(),
        "sharpness": pa.float64(),
        "probability": pa.float64(),
        "typicality": pa.float64(),
    }
)
"""A row for each exchange and target, in order of id.

``source_id`` is the exchange that the response came from; ``rank`` (from 1) and ``cluster_size``
are those of the cluster that it was drawn from, ``probability`` the odds of that cluster, 1 where
the keep rule applied. ``own_rank`` is the rank of the row's own response, ``typicality`` the share
of the neighbourhood that answers as the row does.
"""

ACTIONS = ("kept", "replaced")


class Store(Protocol):
    """Where finished work is kept, so that it need not be done again."""

    def embedded(self, name: str, make: Callable[[], Embedded], /) -> Embedded:
        """Return the vectors kept under a name, made and kept now if they are not there."""
        ...

    def forget(self, name: str, /) -> None:
        """Drop the vectors kept under a name."""
        ...

    def clusters(self, number: int, make: Callable[[], Clusters], /) -> Clusters:
        """Return the shard of that number, made and kept now if it is not there."""
        ...


class Memory:
    """A store that keeps nothing."""

    def embedded(self, _name: str, make: Callable[[], Embedded], /) -> Embedded:
        """Return what is made."""
        return make()

    def forget(self, _name: str, /) -> None:
        """Do nothing: nothing was kept."""

    def clusters(self, _number: int, make: Callable[[], Clusters], /) -> Clusters:
        """Return what is made."""
        return make()


class Tools(NamedTuple):
    """What a curation works with; none of it changes the result but the encoders."""

    store: Store = Memory()
    engine: Engine | None = None
    progress: Progress = Progress()
    encoders: dict[str, Encoder] | None = None

    def encoder(self, name: str) -> Encoder:
        """Return the encoder given under a name, or the one that the name describes."""
        return (self.encoders or {}).get(name) or load_encoder(name)


@dataclass(frozen=True)
class Curation:
    """What was drawn for each exchange of a corpus, and all that explains it.

    ``lineage`` has the schema `LINEAGE`. Rows in ``clusters`` are rows of ``layout``.
    """

    corpus: Corpus
    recipe: Recipe
    layout: Layout
    contexts: Embedded | None
    responses: Embedded | None
    compared: Compared
    clusters: Clusters
    lineage: pa.Table

    def redraw(self, **changes: Any) -> Curation:
        """Return the curation with other draw settings; nothing is embedded or searched anew.

        Raises `RecipeError` for a field that the neighbourhoods depend on.
        """
        recipe = self.recipe.redrawn(changes)
        return replace(self, recipe=recipe, lineage=decide(self.layout, self.clusters, recipe))

    def explain(self, row: int) -> dict[str, Any]:
        """Return one exchange's story: neighbours, clusters, odds and draws, as plain values.

        Raises `CorpusError` if there is no exchange of that id.
        """
        return tell_story(self, row)

    def drawn(self) -> Iterator[tuple[int, list[tuple[str, str, int]]]]:
        """Yield each exchange's id with its targets: (action, response, source id)."""
        texts = self.corpus.column("response")
        ids, actions, sources = (
            self.lineage.column(name).to_pylist() for name in ("id", "action", "source_id")
        )
        at = 0
        while at < len(ids):
            end = at
            while end < len(ids) and ids[end] == ids[at]:
                end += 1
            yield ids[at], [(actions[i], texts[sources[i]], sources[i]) for i in range(at, end)]
            at = end


def curate(corpus: Corpus, recipe: Recipe | None = None, tools: Tools | None = None) -> Curation:
    """Return what the corpus's own neighbourhoods would answer to each of its contexts.

    Labels play no part: of a record only the context, the response and, if the recipe names one,
    the group are read. Raises `CorpusError` if there is nothing to curate and `EncoderError` if
    an encoder fails.
    """
    recipe, tools = recipe or Recipe(), tools or Tools()
    if not len(corpus):
        raise CorpusError(nothing_in(corpus))
    if recipe.group_by is not None and corpus.table.column("group").null_count:
        raise CorpusError(
            f"the corpus was read without its groups; read it with group_by '{recipe.group_by}' too"
        )
    layout = arrange(corpus)
    embedded = {
        name: embed_all(name, encoder, texts, tools)
        for name, encoder, texts in to_embed(layout, recipe)
    }
    contexts, responses = embedded.get("contexts"), embedded.get("responses")
    compared = compare(layout, contexts, responses, recipe)
    clusters = find_clusters(layout, contexts, compared, recipe, tools)
    lineage = decide(layout, clusters, recipe)
    return Curation(corpus, recipe, layout, contexts, responses, compared, clusters, lineage)


def to_embed(layout: Layout, recipe: Recipe) -> Iterator[tuple[str, str, list[str]]]:
    """Yield (name, encoder, distinct texts) of what a recipe needs as vectors."""
    by_vectors = recipe.clusters != "text"
    if recipe.group_by is None or (by_vectors and recipe.view == "residual"):
        yield "contexts", recipe.context_encoder, layout.contexts
    if by_vectors:
        yield "responses", recipe.response_encoder, seen(layout, recipe)[0]


def seen(layout: Layout, recipe: Recipe) -> tuple[list[str], Ints]:
    """Return the distinct texts that are embedded for responses, and which of them each row has."""
    if recipe.view != "opening":
        return layout.responses, layout.response
    openings, place = distinct_texts([opening(text) for text in layout.responses])
    return openings, place[layout.response]


class Compared(NamedTuple):
    """What the responses of rows are compared by: row r by ``vectors[item[r]]``.

    There are no vectors where responses are compared as text, and then ``item`` numbers the texts.
    ``ridge`` is there for the residual view, to see a new exchange in the same way.
    """

    vectors: Grid | None
    item: Ints
    ridge: Ridge | None = None


def compare(
    layout: Layout, contexts: Embedded | None, responses: Embedded | None, recipe: Recipe
) -> Compared:
    """Return the responses as the recipe's view of them."""
    if responses is None:
        return Compared(None, layout.response)
    if recipe.view != "residual" or contexts is None:
        return Compared(responses.vectors, seen(layout, recipe)[1])
    rows = np.stack([layout.context, layout.response], axis=1)
    ridge = fit(contexts.vectors, responses.vectors, rows)
    _, first = np.unique(layout.exchange, return_index=True)
    said, answered = rows[first].T
    vectors = ridge.residual(contexts.vectors[said], responses.vectors[answered])
    return Compared(vectors, layout.exchange, ridge)


def nothing_in(corpus: Corpus) -> str:
    """Return why there is nothing to curate."""
    if not corpus.rejected:
        names = ", ".join(digest.name for digest in corpus.inputs) or "the corpus"
        return f"{names}: no exchange in it; wanted one record a line, or an array of records"
    first = corpus.rejected[0]
    return (
        f"none of the {len(corpus.rejected):,} rows can be used; "
        f"the first, {first.file} line {first.line}: {first.reason}"
    )


def embed_all(name: str, encoder: str, texts: list[str], tools: Tools) -> Embedded:
    """Return the vectors of distinct texts, portion by portion through the store."""
    loaded: list[Encoder] = []

    def portion(part: list[str]) -> Embedded:
        if not loaded:
            loaded.append(tools.encoder(encoder))
        return embed_chunk(loaded[0], part)

    def whole() -> Embedded:
        parts = []
        with tools.progress.stage(f"embed {name}", len(texts)) as tick:
            for number, chunk in enumerate(chunks(texts)):
                part = f"{name}.{number:05}"
                parts.append(tools.store.embedded(part, partial(portion, list(chunk))))
                tick(len(chunk))
        return join(parts)

    embedded = tools.store.embedded(name, whole)
    for number in range(-(-len(texts) // CHUNK)):
        tools.store.forget(f"{name}.{number:05}")
    return embedded


def find_clusters(
    layout: Layout,
    contexts: Embedded | None,
    compared: Compared,
    recipe: Recipe,
    tools: Tools,
) -> Clusters:
    """Return every neighbourhood with its members in clusters, shard by shard.

    There is one neighbourhood for each distinct exchange, or for each group.
    """
    if contexts is None or recipe.group_by is not None:
        work: Callable[[range], Clusters] = Groups(layout, compared, recipe).shard
        count = int(layout.group.max()) + 1
    else:
        work = Searches(layout, contexts.vectors, compared, recipe).shard
        count = int(layout.exchange.max()) + 1
    shards = [range(start, min(start + SHARD, count)) for start in range(0, count, SHARD)]

    def stored(numbered: tuple[int, range]) -> Clusters:
        number, shard = numbered
        return tools.store.clusters(number, partial(work, shard))

    done = []
    engine = tools.engine or Local()
    with tools.progress.stage("neighbourhoods", count) as tick:
        for shard, found in zip(shards, engine.map(stored, enumerate(shards)), strict=True):
            done.append(found)
            tick(len(shard))
    return Clusters(_joined([d.members for d in done]), _joined([d.sizes for d in done]))


def _joined(parts: list[Ragged]) -> Ragged:
    return Ragged.of(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.lengths for part in parts]),
    )


class Searches:
    """Neighbourhoods that are found by a search: one for each distinct exchange."""

    def __init__(self, layout: Layout, contexts: Grid, compared: Compared, recipe: Recipe) -> None:
        self.layout, self.contexts = layout, contexts
        self.compared, self.recipe = compared, recipe
        self.rows = group_by(layout.context)
        _, first = np.unique(layout.exchange, return_index=True)
        self.first_row = first.astype(np.int64)

    def shard(self, exchanges: range) -> Clusters:
        """Return the neighbourhoods of some of the distinct exchanges."""
        own = self.first_row[exchanges.start : exchanges.stop]
        asked, place = np.unique(self.layout.context[own], return_inverse=True)
        k = min(self.recipe.neighbors, len(self.layout.ids))
        near = find_neighbors(self.contexts[asked], self.contexts, k, asked)
        members = members_of(near, self.rows, k).values.reshape(len(asked), k)[place.reshape(-1)]
        present = self.layout.response[members] == self.layout.response[own][:, None]
        present &= self.layout.context[members] == self.layout.context[own][:, None]
        members[:, -1] = np.where(present.any(axis=1), members[:, -1], own)
        block = max(1, min(BLOCK, PAIRS // k**2))
        blocks = [
            cluster(members[start : start + block], self.compared, self.recipe)
            for start in range(0, len(members), block)
        ]
        return Clusters(_joined([b.members for b in blocks]), _joined([b.sizes for b in blocks]))


class Groups:
    """Neighbourhoods that share a key: one for each group."""

    def __init__(self, layout: Layout, compared: Compared, recipe: Recipe) -> None:
        self.compared, self.recipe = compared, recipe
        self.rows = group_by(layout.group)

    def shard(self, groups: range) -> Clusters:
        """Return the neighbourhoods of some of the groups."""
        found = [cluster(self.rows[group][None], self.compared, self.recipe) for group in groups]
        return Clusters(_joined([f.members for f in found]), _joined([f.sizes for f in found]))


def cluster(members: Ints, compared: Compared, recipe: Recipe) -> Clusters:
    """Return neighbourhoods of equal length, members (b, m) being rows, in their clusters."""
    members = np.sort(members, axis=1)
    vectors, same = compared.vectors, compared.item[members]
    if vectors is None:
        return by_size(members, same)
    if recipe.clusters == "cover":
        return by_size(members, cover(as_floats(vectors[same]), recipe.radius))
    if len(members) > 1:
        return by_size(members, components(as_floats(vectors[same]), recipe.radius))
    distinct, place = np.unique(same[0], return_inverse=True)
    names = components(as_floats(vectors[distinct])[None], recipe.radius)
    return by_size(members, names[:, place.reshape(-1)])


def decide(layout: Layout, clusters: Clusters, recipe: Recipe) -> pa.Table:
    """Return the lineage: for each row whether it is kept, and else what is drawn for it."""
    facts = shape(clusters, recipe)
    grouped = recipe.group_by is not None
    nest = layout.group if grouped else layout.exchange
    own_rank, own_size = own_clusters(layout, clusters, grouped)
    kept = (own_rank == 0) & (facts.sizes[nest, 0] > 1) & recipe.keep
    pool = Pool(
        facts.odds[nest],
        facts.sizes[nest],
        clusters.members.offsets[nest],
        clusters.members.values,
        layout.response,
    )
    tables = []
    for target, drawn in enumerate(draw(pool, layout.keys, recipe.targets, recipe.seed)):
        if target == 0:
            rows = np.arange(len(layout.ids))
        else:
            rows = np.flatnonzero(~kept & (drawn.source >= 0))
        own = np.where(kept, np.arange(len(kept)), drawn.source)
        rank = np.where(kept, 0, drawn.rank)
        certain = np.where(kept, 1.0, facts.odds[nest, rank])
        same = layout.response[own] == layout.response
        columns = {
            "id": layout.ids,
            "target": np.full(len(kept), target),
            "action": np.where(same, *ACTIONS),
            "source_id": np.where(same, layout.ids, layout.ids[own]),
            "neighborhood": facts.totals[nest],
            "clusters": clusters.sizes.lengths[nest],
            "rank": rank + 1,
            "cluster_size": facts.sizes[nest, rank],
            "own_rank": own_rank + 1,
            "head_share": facts.sizes[nest, 0] / facts.totals[nest],
            "sharpness": facts.sharpness[nest],
            "probability": certain,
            "typicality": own_size / facts.totals[nest],
        }
        tables.append(pa.table({name: values[rows] for name, values in columns.items()}))
    lineage = pa.concat_tables(tables).sort_by([("id", "ascending"), ("target", "ascending")])
    return lineage.combine_chunks().cast(LINEAGE)


def own_clusters(layout: Layout, clusters: Clusters, grouped: bool) -> tuple[Ints, Ints]:
    """Return the rank (from 0) and the size of the cluster that holds each row's own response."""
    members, sizes = clusters
    ranks = np.arange(len(sizes.values)) - np.repeat(sizes.offsets[:-1], sizes.lengths)
    rank, size = np.repeat(ranks, sizes.values), np.repeat(sizes.values, sizes.values)
    if grouped:
        place = np.empty(len(layout.ids), np.int64)
        place[members.values] = np.arange(len(members.values))
        return rank[place], size[place]
    _, first = np.unique(layout.exchange, return_index=True)
    owner = np.repeat(first, members.lengths)
    own = np.flatnonzero(layout.response[members.values] == layout.response[owner])
    _, earliest = np.unique(np.searchsorted(members.offsets, own, side="right"), return_index=True)
    place = own[earliest][layout.exchange]
    return rank[place], size[place]
