"""The whole line, from a corpus to what is drawn for each of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from ..corpus.corpus import PORTION, Corpus
from ..corpus.formats import DIALOGUES
from ..errors import CorpusError
from ..recipe import Recipe, Settled
from .arrays import Ints
from .canonical_order import Layout
from .dialogue.induced_acts import with_kinds
from .dialogue.trimming import trim
from .embedding import arranged, embed_all, to_embed
from .hyperparameters import Choice, settle
from .lineage import Decision, Nests, decide
from .relevance import Relevance
from .resources import Tools
from .response_scores import Consensus, agree, drawable
from .shards import Neighborhoods, find_clusters
from .vectors import Embedded
from .views import Compared, compare


@dataclass(frozen=True)
class Curation:
    """What was drawn for each exchange of a corpus, and all that explains it.

    ``lineage`` has the schema `LINEAGE`. Rows in ``neighborhoods`` are rows of ``layout``.
    """

    corpus: Corpus
    recipe: Settled
    layout: Layout
    consensus: Consensus
    contexts: Embedded | None
    responses: Embedded | None
    compared: Compared
    neighborhoods: Neighborhoods
    choice: Choice | None
    tools: Tools
    known: pa.Table | None = None

    @cached_property
    def decision(self) -> Decision:
        """Return the lineage and what is told of the neighbourhoods."""
        return decide(
            self.layout, self.neighborhoods, self.consensus, self.relevance, self.recipe, self.tools
        )

    @property
    def lineage(self) -> pa.Table:
        """Return what became of each row."""
        return self.decision.lineage if self.known is None else self.known

    @property
    def nests(self) -> Nests:
        """Return what is told of each neighbourhood."""
        return self.decision.nests

    @cached_property
    def relevance(self) -> Relevance | None:
        """Return what measures fit to a context, if the recipe weighs it and there are vectors."""
        if self.contexts is None or self.responses is None or not self.recipe.relevance:
            return None
        return Relevance(self.layout, self.contexts, self.responses, self.recipe, self.tools)

    def redraw(self, **changes: Any) -> Curation:
        """Return the curation with other draw settings; nothing is embedded or searched anew.

        Raises `RecipeError` for a field that the neighbourhoods depend on.
        """
        return replace(self, recipe=self.recipe.redrawn(changes), known=None)

    def drawn(self) -> Iterator[tuple[int, list[tuple[str, str, int]]]]:
        """Yield each exchange's id with its targets: (action, response, source id)."""
        names = ["id", "action", "source_id"]
        ids: list[int] = []
        targets: list[tuple[str, str, int]] = []
        for part in self.lineage.select(names).to_batches(max_chunksize=PORTION):
            columns = (part.column(name).to_pylist() for name in names)
            texts = self.written_of(part.column("source_id").to_numpy())
            for row, action, source, text in zip(*columns, texts, strict=True):
                if ids and ids[-1] != row:
                    yield ids.pop(), targets
                    targets = []
                ids = [row]
                targets.append((action, text, source))
        if ids:
            yield ids[-1], targets

    def responses_of(self, ids: Ints) -> list[str]:
        """Return the responses of some exchanges."""
        texts = self.layout.responses
        return [texts[number] for number in self.by_id[ids].tolist()]

    def written_of(self, ids: Ints) -> list[str]:
        """Return the responses of some exchanges without the parts that are left out."""
        trims = self.consensus.trims
        if trims is None:
            return self.responses_of(ids)
        texts = self.layout.responses
        return [trims.texts.get(n) or texts[n] for n in self.by_id[ids].tolist()]

    @cached_property
    def by_id(self) -> Ints:
        """Return for each id the number of its response text."""
        texts = np.empty(len(self.layout.ids), np.int64)
        texts[self.layout.ids] = self.layout.response
        return texts


def curate(corpus: Corpus, recipe: Recipe | None = None, tools: Tools | None = None) -> Curation:
    """Return what the corpus's own neighbourhoods would answer to each of its contexts.

    Labels play no part: of a record only the context, the response and, if the recipe names one,
    the group are read. Raises `CorpusError` if there is nothing to curate and `EncoderError` if
    an encoder fails.
    """
    recipe, tools = recipe or Recipe(), (tools or Tools()).ready()
    if not len(corpus):
        raise CorpusError(nothing_in(corpus))
    if recipe.group_by is not None and _ungrouped(corpus):
        raise CorpusError(
            f"the corpus was read without its groups; read it with group_by '{recipe.group_by}' too"
        )
    if recipe.format in DIALOGUES:
        encoder = tools.encoder(recipe.response_encoder)
        corpus = with_kinds(corpus, encoder, tools.store, tools.progress)
    layout = arranged(corpus, recipe, tools.store, tools.progress)
    embedded = {
        name: embed_all(name, encoder, texts, tools)
        for name, encoder, texts in to_embed(layout, recipe)
    }
    contexts, responses = embedded.get("contexts"), embedded.get("responses")
    consensus = agree(layout, recipe.judge, tools)
    if recipe.trim:
        encoder = tools.encoder(recipe.response_encoder)
        trims = trim(corpus, layout, encoder, tools.store, tools.progress)
        consensus = consensus._replace(trims=trims)
    if not drawable(layout, consensus, recipe).any():
        raise CorpusError(f"judge '{recipe.judge}' forbade every response that could be drawn")
    settled, choice = settle(layout, contexts, responses, consensus, recipe, tools)
    compared = compare(layout, contexts, responses, consensus, settled, tools)
    allowed = drawable(layout, consensus, settled)
    found = find_clusters(layout, contexts, compared, allowed, settled, tools)
    return Curation(
        corpus,
        settled,
        layout,
        consensus,
        contexts,
        responses,
        compared,
        found,
        choice,
        tools,
    )


def _ungrouped(corpus: Corpus) -> bool:
    return any(part.column("group").null_count for part in corpus.parts(["group"]))


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
