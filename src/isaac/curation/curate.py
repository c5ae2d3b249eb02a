"""The whole line, from a corpus to what is drawn for each of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from ..corpus.corpus import CHUNK_EXCHANGES, Corpus
from ..corpus.formats import TASK_ORIENTED_FORMATS
from ..errors import CorpusError
from ..recipe import Recipe, ResolvedRecipe
from .arrays import Ints
from .canonical_order import CanonicalCorpus
from .dialogue.induced_acts import with_induced_acts
from .dialogue.trimming import trim_responses
from .embedding import canonicalize_for, embed_all, texts_to_embed
from .hyperparameters import SelectedSettings, select_hyperparameters
from .lineage import CorpusDecisions, NeighborhoodStats, decide_corpus
from .relevance import Relevance
from .resources import Tools
from .response_scores import ResponseScores, drawable_rows, score_responses
from .shards import Neighborhoods, find_clusters
from .vectors import Embeddings
from .views import ComparedResponses, apply_view


@dataclass(frozen=True)
class Curation:
    """What was drawn for each exchange of a corpus, and all that explains it.

    ``lineage`` has the schema `LINEAGE`. Rows in ``neighborhoods`` are rows of ``layout``.
    """

    corpus: Corpus
    recipe: ResolvedRecipe
    layout: CanonicalCorpus
    response_scores: ResponseScores
    contexts: Embeddings | None
    responses: Embeddings | None
    compared: ComparedResponses
    neighborhoods: Neighborhoods
    choice: SelectedSettings | None
    tools: Tools
    known: pa.Table | None = None

    @cached_property
    def decisions(self) -> CorpusDecisions:
        """Return the lineage and what is told of the neighbourhoods."""
        return decide_corpus(
            self.layout,
            self.neighborhoods,
            self.response_scores,
            self.relevance,
            self.recipe,
            self.tools,
        )

    @property
    def lineage(self) -> pa.Table:
        """Return what became of each row."""
        return self.decisions.lineage if self.known is None else self.known

    @property
    def nests(self) -> NeighborhoodStats:
        """Return what is told of each neighbourhood."""
        return self.decisions.nests

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
        return replace(self, recipe=self.recipe.with_draw_settings(changes), known=None)

    def drawn(self) -> Iterator[tuple[int, list[tuple[str, str, int]]]]:
        """Yield each exchange's id with its targets: (action, response, source id)."""
        names = ["id", "action", "source_id"]
        ids: list[int] = []
        targets: list[tuple[str, str, int]] = []
        for part in self.lineage.select(names).to_batches(max_chunksize=CHUNK_EXCHANGES):
            columns = (part.column(name).to_pylist() for name in names)
            texts = self.final_responses(part.column("source_id").to_numpy())
            for row, action, source, text in zip(*columns, texts, strict=True):
                if ids and ids[-1] != row:
                    yield ids.pop(), targets
                    targets = []
                ids = [row]
                targets.append((action, text, source))
        if ids:
            yield ids[-1], targets

    def original_responses(self, ids: Ints) -> list[str]:
        """Return the responses of some exchanges."""
        texts = self.layout.responses
        return [texts[number] for number in self.response_by_id[ids].tolist()]

    def final_responses(self, ids: Ints) -> list[str]:
        """Return the responses of some exchanges without the parts that are left out."""
        trims = self.response_scores.trims
        if trims is None:
            return self.original_responses(ids)
        texts = self.layout.responses
        return [trims.texts.get(n) or texts[n] for n in self.response_by_id[ids].tolist()]

    @cached_property
    def response_by_id(self) -> Ints:
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
        raise CorpusError(explain_empty_corpus(corpus))
    if recipe.group_by is not None and _lacks_groups(corpus):
        raise CorpusError(
            f"the corpus was read without its groups; read it with group_by '{recipe.group_by}' too"
        )
    if recipe.format in TASK_ORIENTED_FORMATS:
        encoder = tools.encoder(recipe.response_encoder)
        corpus = with_induced_acts(corpus, encoder, tools.store, tools.progress)
    layout = canonicalize_for(corpus, recipe, tools.store, tools.progress)
    embedded = {
        name: embed_all(name, encoder, texts, tools)
        for name, encoder, texts in texts_to_embed(layout, recipe)
    }
    contexts, responses = embedded.get("contexts"), embedded.get("responses")
    consensus = score_responses(layout, recipe.judge, tools)
    if recipe.trim:
        encoder = tools.encoder(recipe.response_encoder)
        trims = trim_responses(corpus, layout, encoder, tools.store, tools.progress)
        consensus = consensus._replace(trims=trims)
    if not drawable_rows(layout, consensus, recipe).any():
        raise CorpusError(f"judge '{recipe.judge}' forbade every response that could be drawn")
    settled, choice = select_hyperparameters(layout, contexts, responses, consensus, recipe, tools)
    compared = apply_view(layout, contexts, responses, consensus, settled, tools)
    allowed = drawable_rows(layout, consensus, settled)
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


def _lacks_groups(corpus: Corpus) -> bool:
    return any(part.column("group").null_count for part in corpus.parts(["group"]))


def explain_empty_corpus(corpus: Corpus) -> str:
    """Return why there is nothing to curate."""
    if not corpus.rejected:
        names = ", ".join(digest.name for digest in corpus.inputs) or "the corpus"
        return f"{names}: no exchange in it; wanted one record a line, or an array of records"
    first = corpus.rejected[0]
    return (
        f"none of the {len(corpus.rejected):,} rows can be used; "
        f"the first, {first.file} line {first.line}: {first.reason}"
    )
