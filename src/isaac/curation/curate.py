"""The whole line, from a corpus to what is drawn for each of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..corpus.corpus import PORTION, Corpus
from ..corpus.formats import DIALOGUES
from ..errors import CorpusError, EncoderError
from ..models.judges import judged
from ..recipe import Recipe, Settled
from ..runs.reports.explanation import explain as tell_story
from ..runtime.concurrency import ahead
from ..runtime.progress import Progress
from ..runtime.storage import kept
from .candidates import Relevance
from .canonical_order import Layout
from .dialogue.induced_acts import with_kinds
from .dialogue.trimming import trim
from .hyperparameters import Choice, settle
from .lineage import Decision, Nests, decide
from .near_duplicates import near_duplicates
from .neighborhoods import Compared, Consensus, arranged, compare, drawable, to_embed
from .resources import Tools
from .search.exact import Ints
from .shards import Neighborhoods, find_clusters
from .typicality import Wording
from .unique_texts import Texts
from .vectors import CHUNK, Embedded, Encoder, alike, embed_by_name, encoded, facts_of, unit_vectors


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

    def explain(self, row: int) -> dict[str, Any]:
        """Return one exchange's story: neighbours, clusters, odds and draws, as plain values.

        Raises `CorpusError` if there is no exchange of that id.
        """
        return tell_story(self, row)

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


def agree(layout: Layout, judge: str | None, tools: Tools) -> Consensus:
    """Return how typical each distinct response is, near-duplicates, and what a judge forbids."""

    def make() -> dict[str, npt.NDArray[Any]]:
        with tools.progress.stage("near-duplicates", len(layout.responses)) as tick:
            kind = near_duplicates(layout.responses, tick)
        with tools.progress.stage("wording", len(layout.responses)) as tick:
            model = Wording(layout.responses, kind, tick)
            typicality = model.typicality(model.scores)
        return {"typicality": typicality, "kind": kind, "fitted": np.array(model.fitted)}

    found = kept(tools.store, "vectors/wording", ("typicality", "kind", "fitted"), make)
    vetoed = None
    if judge is not None:
        vetoed = tools.store.array("vectors/vetoes", partial(veto, layout, judge, tools))
    return Consensus(found["typicality"], found["kind"], vetoed, int(found["fitted"]))


def veto(layout: Layout, judge: str, tools: Tools) -> npt.NDArray[np.float64]:
    """Return which distinct exchanges a judge calls unsafe: 1, 0, or NaN where it failed."""
    numbers = {"safe": 0.0, "unsafe": 1.0, "unscored": np.nan}
    found, asked = [], layout.first
    loaded = tools.judge(judge)
    with tools.progress.stage("judge", len(asked)) as tick:
        for start in range(0, len(asked), PORTION):
            rows = asked[start : start + PORTION]
            contexts = [layout.contexts[number] for number in layout.context[rows].tolist()]
            responses = [layout.responses[number] for number in layout.response[rows].tolist()]
            found += judged(loaded, contexts, responses).judgements
            tick(len(rows))
    return np.array([numbers[one.verdict] for one in found])


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


def embed_all(name: str, encoder: str, texts: Texts, tools: Tools) -> Embedded:
    """Return the vectors of distinct texts, those of finished portions taken from the store."""
    store, count = tools.store, -(-len(texts) // CHUNK)
    parts = [f"vectors/{name}.{number:05}" for number in range(count)]

    def made() -> Iterator[Embedded]:
        """Yield every portion, one at a time, those that are missing as they are made."""
        missing = dict.fromkeys(n for n in range(count) if not store.has(parts[n]))
        portions = (list(texts[n * CHUNK : (n + 1) * CHUNK]) for n in missing)
        fresh = _embedded(encoder, portions, tools)
        asked = sum(min(CHUNK, len(texts) - n * CHUNK) for n in missing)
        progress = tools.progress if missing else Progress()
        with progress.stage(f"embed {name}", asked) as tick:
            for number, part in enumerate(parts):
                if number in missing:
                    new = next(fresh)
                    yield store.embedded(part, partial(_same, new))
                    tick(len(new.vectors))
                else:
                    yield store.embedded(part, _missing)

    vectors = store.stacked(
        f"vectors/{name}", len(texts), lambda: (p.vectors for p in alike(made()))
    )
    facts = store.facts(f"vectors/{name}", lambda: facts_of(made()))
    for part in parts:
        store.forget(part)
    return Embedded(vectors, **facts)


def _same(new: Embedded) -> Embedded:
    return new


def _missing() -> Embedded:
    raise EncoderError("vectors that were finished are gone")


def _embedded(encoder: str, portions: Iterator[list[str]], tools: Tools) -> Iterator[Embedded]:
    """Yield the vectors of portions of texts; by the engine, if it has other processes."""
    given = (tools.encoders or {}).get(encoder)
    if tools.engine.remote and given is None:
        return tools.engine.map(embed_by_name, portions, encoder)
    found = ahead(_encoded(encoder, portions, tools))  # beside it, the last ones are kept
    return (unit_vectors(*one) for one in found)


def _encoded(
    name: str, portions: Iterator[list[str]], tools: Tools
) -> Iterator[tuple[Encoder, list[str], Any]]:
    encoder: Encoder | None = None
    for portion in portions:
        encoder = encoder or tools.encoder(name)
        yield encoder, portion, encoded(encoder, portion)
