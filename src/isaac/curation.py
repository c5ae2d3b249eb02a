"""The whole line, from a corpus to what is drawn for each of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .choices import Relevance
from .clusters import Clusters
from .corpus import Corpus
from .decisions import decide
from .duplicates import near_duplicates
from .embeddings import CHUNK, Embedded, Encoder, chunks, embed_chunk, join
from .errors import CorpusError
from .judges import judged
from .layout import Layout, arrange
from .neighborhoods import Compared, Consensus, compare, drawable, find_clusters, to_embed
from .recipe import Recipe, Settled
from .settling import Choice, settle
from .stories import explain as tell_story
from .tools import Tools
from .wording import typicality


@dataclass(frozen=True)
class Curation:
    """What was drawn for each exchange of a corpus, and all that explains it.

    ``lineage`` has the schema `LINEAGE`. Rows in ``clusters`` are rows of ``layout``.
    """

    corpus: Corpus
    recipe: Settled
    layout: Layout
    consensus: Consensus
    contexts: Embedded | None
    responses: Embedded | None
    compared: Compared
    clusters: Clusters
    lineage: pa.Table
    choice: Choice | None = None

    def redraw(self, **changes: Any) -> Curation:
        """Return the curation with other draw settings; nothing is embedded or searched anew.

        Raises `RecipeError` for a field that the neighbourhoods depend on.
        """
        recipe = self.recipe.redrawn(changes)
        relevance = relevance_of(self.layout, self.contexts, self.responses, recipe)
        lineage = decide(self.layout, self.clusters, self.consensus, relevance, recipe)
        return replace(self, recipe=recipe, lineage=lineage)

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
    consensus = agree(layout, recipe.judge, tools)
    if not drawable(layout, consensus, recipe).any():
        raise CorpusError(f"judge '{recipe.judge}' forbade every response that could be drawn")
    settled, choice = settle(layout, contexts, responses, consensus, recipe, tools)
    compared = compare(layout, contexts, responses, consensus, settled)
    candidates = drawable(layout, consensus, settled)
    clusters = find_clusters(layout, contexts, compared, candidates, settled, tools)
    relevance = relevance_of(layout, contexts, responses, settled)
    lineage = decide(layout, clusters, consensus, relevance, settled)
    return Curation(
        corpus, settled, layout, consensus, contexts, responses, compared, clusters, lineage, choice
    )


def agree(layout: Layout, judge: str | None, tools: Tools) -> Consensus:
    """Return how typical each distinct response is, near-duplicates, and what a judge forbids."""

    def make() -> npt.NDArray[np.float64]:
        with tools.progress.stage("wording", len(layout.responses)) as tick:
            kind = near_duplicates(layout.responses)
            typical = typicality(layout.responses, kind)
            tick(len(layout.responses))
        return np.stack([typical, kind.astype(np.float64)])

    typical, kind = tools.store.array("wording", make)
    vetoed = (
        None if judge is None else tools.store.array("vetoes", partial(veto, layout, judge, tools))
    )
    return Consensus(typical, kind.astype(np.int64), vetoed)


def veto(layout: Layout, judge: str, tools: Tools) -> npt.NDArray[np.float64]:
    """Return which distinct exchanges a judge calls unsafe: 1, 0, or NaN where it failed."""
    _, first = np.unique(layout.exchange, return_index=True)
    contexts = [layout.contexts[number] for number in layout.context[first].tolist()]
    responses = [layout.responses[number] for number in layout.response[first].tolist()]
    with tools.progress.stage("judge", len(first)) as tick:
        found = judged(tools.judge(judge), contexts, responses)
        tick(len(first))
    numbers = {"safe": 0.0, "unsafe": 1.0, "unscored": np.nan}
    return np.array([numbers[one.verdict] for one in found.judgements])


def relevance_of(
    layout: Layout, contexts: Embedded | None, responses: Embedded | None, recipe: Settled
) -> Relevance | None:
    """Return what measures fit to a context, if the recipe weighs it and there are vectors."""
    if contexts is None or responses is None or not recipe.relevance:
        return None
    return Relevance(layout, contexts, responses, recipe)


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
