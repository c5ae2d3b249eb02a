"""The whole method, step by step, from a corpus to a decision on each of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from typing_extensions import Self

from ..corpus.corpus import CHUNK_EXCHANGES, Corpus
from ..corpus.formats import TASK_ORIENTED_FORMATS
from ..errors import CorpusError, RunError
from ..recipe import Recipe, ResolvedRecipe
from ..runtime.arrays import Ints
from .canonical_order import CanonicalCorpus
from .coverage import choose_encoders, with_chosen_encoders
from .dialogue.induced_acts import with_induced_acts
from .dialogue.trimming import trim_responses
from .embedding import canonicalize_for, embed_all, texts_to_embed
from .fit import FitModel, fit_corpus
from .hyperparameters import SelectedSettings, select_hyperparameters, with_reasons
from .lineage import CorpusDecisions, DrawModels, decide_corpus
from .policy import Policy, choose_policy
from .relevance import Relevance
from .resources import Tools
from .response_scores import (
    ResponseScores,
    drawable_rows,
    find_fixed_rows,
    score_responses,
)
from .shards import Neighborhoods, find_clusters
from .vectors import Embeddings
from .views import ComparedResponses, apply_view


@dataclass(frozen=True)
class Curation:
    """The result of curating a corpus, with the intermediate results that explain it.

    Rows in ``neighborhoods`` are rows of ``layout``, the corpus in canonical order. ``compared`` is
    what responses are compared by; both are None if the recipe uses no clusters. ``given`` is the
    recipe before its "auto" settings were chosen, ``choice`` what was chosen from the corpus, None
    if nothing was left open, and ``policy`` what the mode depends on. ``stored_lineage`` is the
    lineage if it was read from disk. `curate` returns a curation whose draws are done; `prepare`
    returns one that draws when you call `decide`.
    """

    corpus: Corpus
    given: Recipe
    recipe: ResolvedRecipe
    layout: CanonicalCorpus
    response_scores: ResponseScores
    contexts: Embeddings | None
    responses: Embeddings | None
    compared: ComparedResponses | None
    neighborhoods: Neighborhoods | None
    choice: SelectedSettings | None
    policy: Policy
    tools: Tools
    stored_lineage: pa.Table | None = None

    @property
    def lineage(self) -> pa.Table:
        """What happened to each row, with the schema `LINEAGE_SCHEMA`.

        Raises `RunError` if nothing is drawn yet: call `decide` first.
        """
        if self.stored_lineage is not None:
            return self.stored_lineage
        if "_decisions" not in vars(self):
            raise RunError("nothing is drawn yet, so there is no lineage; call decide() first")
        return self._decisions.lineage

    def require_compared(self) -> ComparedResponses:
        """What responses are compared by. Raises `RunError` if the recipe uses no clusters."""
        if self.compared is None:
            raise RunError(
                f"a curation in mode {self.recipe.mode} has no neighborhoods; "
                "draw again in mode resample"
            )
        return self.compared

    def decide(self) -> CorpusDecisions:
        """Draw for each row, and summarize each neighborhood; a second call costs nothing."""
        return self._decisions

    def fit_relevance(self) -> Relevance | None:
        """Fit the model of how relevant a response is to a context; a second call costs nothing.

        None if the recipe gives relevance no weight, or there are no vectors.
        """
        return self._relevance

    def fit_model(self) -> FitModel | None:
        """Fit the model of which responses answer which messages; a second call costs nothing.

        None if there are no vectors.
        """
        return self._fit_model

    @cached_property
    def _decisions(self) -> CorpusDecisions:
        by_fit = self.recipe.by_fit
        models = DrawModels(
            self.fit_relevance() if self.recipe.by_cluster else None,
            self.fit_model() if by_fit else None,
            self.contexts,
            self.responses,
        )
        # After a redraw, there may be neighborhoods that the new mode does not use.
        neighborhoods = self.neighborhoods if self.recipe.uses_clusters else None
        scores = self.response_scores
        return decide_corpus(self.layout, neighborhoods, scores, models, self.recipe, self.tools)

    @cached_property
    def _fit_model(self) -> FitModel | None:
        if self.contexts is None or self.responses is None:
            return None
        groups = self.response_scores.duplicate_group
        return fit_corpus(self.layout, self.contexts, self.responses, groups, self.tools)

    @cached_property
    def _relevance(self) -> Relevance | None:
        if self.contexts is None or self.responses is None or not self.recipe.relevance:
            return None
        return Relevance(self.layout, self.contexts, self.responses, self.recipe, self.tools)

    def redraw(self, **changes: Any) -> Self:
        """Draw again with other settings; nothing is embedded again.

        Neighborhoods are searched only if the new mode needs them and the old one did not. Raises
        `RecipeError` for a field that the neighborhoods depend on.
        """
        recipe = self.recipe.with_draw_settings(changes)
        if recipe.uses_clusters and self.neighborhoods is None:
            scored = (self.corpus, self.layout, self.response_scores)
            vectors = (self.contexts, self.responses)
            given = self.given.with_draw_settings(changes)
            found = _choose_settings(ScoredCorpus(*scored, *vectors, []), given, self.tools)
            changed = {field.name: getattr(found, field.name) for field in fields(found)}
            curation = replace(self, **changed)
            curation.decide()
            return curation
        given = self.given.with_draw_settings(changes)
        curation = replace(self, given=given, recipe=recipe, stored_lineage=None)
        curation.decide()
        return curation

    def drawn(self) -> Iterator[tuple[int, list[tuple[str, str, int]]]]:
        """Yield the id of each exchange, in order, with its targets.

        A target is ``(action, response, source id)``.
        """
        names = ["id", "action", "source_id"]
        current: int | None = None
        targets: list[tuple[str, str, int]] = []
        for part in self.lineage.select(names).to_batches(max_chunksize=CHUNK_EXCHANGES):
            columns = (part.column(name).to_pylist() for name in names)
            texts = self.final_responses(part.column("source_id").to_numpy())
            for exchange_id, action, source, text in zip(*columns, texts, strict=True):
                if current is not None and exchange_id != current:
                    yield current, targets
                    targets = []
                current = exchange_id
                targets.append((action, text, source))
        if current is not None:
            yield current, targets

    def original_responses(self, ids: Ints) -> list[str]:
        """Look up the original responses of exchanges, by id."""
        texts = self.layout.responses
        return [texts[number] for number in self.response_by_id[ids].tolist()]

    def final_responses(self, ids: Ints) -> list[str]:
        """Look up the responses of exchanges, by id, without the parts that trimming removes."""
        trims = self.response_scores.trims
        if trims is None:
            return self.original_responses(ids)
        texts = self.layout.responses
        return [trims.texts.get(n) or texts[n] for n in self.response_by_id[ids].tolist()]

    @cached_property
    def response_by_id(self) -> Ints:
        """For each exchange id, the index of its response among ``layout.responses`` (n,)."""
        texts = np.empty(len(self.layout.ids), np.int64)
        texts[self.layout.ids] = self.layout.response
        return texts


def curate(corpus: Corpus, recipe: Recipe | None = None, tools: Tools | None = None) -> Curation:
    """Run the method on a corpus: find neighborhoods, cluster their responses, and draw.

    Labels play no part: the method uses the texts of the exchanges and, if the recipe names a
    group, the group of each. Raises `CorpusError` if there is nothing to curate and `EncoderError`
    if an encoder fails.
    """
    curation = prepare(corpus, recipe, tools)
    curation.decide()
    return curation


def prepare(corpus: Corpus, recipe: Recipe | None = None, tools: Tools | None = None) -> Curation:
    """Do everything that `curate` does up to the draws, which `Curation.decide` runs.

    Raises the same errors.
    """
    recipe, tools = recipe or Recipe(), (tools or Tools()).ready()
    _check_corpus(corpus, recipe)
    # Encoders that the recipe leaves open, by the languages of the corpus.
    encoders = choose_encoders(corpus, recipe, tools)
    recipe = with_chosen_encoders(recipe, encoders)
    # Input: task-oriented turns without acts get induced ones; rows in canonical order.
    if recipe.reading.format in TASK_ORIENTED_FORMATS:
        encoder = tools.encoder(recipe.response_encoder)
        corpus = with_induced_acts(corpus, encoder, tools.store, tools.progress)
    layout = canonicalize_for(corpus, recipe, tools.store, tools.progress)
    # Vectors of the distinct contexts and responses.
    embedded = {
        name: embed_all(name, encoder, texts, tools)
        for name, encoder, texts in texts_to_embed(layout, recipe)
    }
    contexts, responses = embedded.get("contexts"), embedded.get("responses")
    # Typicality, trust, near-duplicates, vetoes and trims of each distinct response.
    scores = score_responses(layout, responses, recipe, tools)
    scores = scores._replace(fixed=find_fixed_rows(corpus, layout))
    if recipe.trim:
        encoder = tools.encoder(recipe.response_encoder)
        trims = trim_responses(corpus, layout, encoder, tools.store, tools.progress)
        scores = scores._replace(trims=trims)
    if scores.vetoed is not None and not drawable_rows(layout, scores, recipe).any():
        raise CorpusError(f"judge '{recipe.judge}' vetoed every response that could be drawn")
    reasons = [*encoders.reasons, *encoders.warnings, *scores.trust_reasons]
    return _choose_settings(
        ScoredCorpus(corpus, layout, scores, contexts, responses, reasons), recipe, tools
    )


class ScoredCorpus(NamedTuple):
    """A corpus with everything that is known of it before its mode and settings are chosen.

    ``reasons`` say what was chosen so far, and why.
    """

    corpus: Corpus
    layout: CanonicalCorpus
    scores: ResponseScores
    contexts: Embeddings | None
    responses: Embeddings | None
    reasons: list[str]


def _choose_settings(scored: ScoredCorpus, recipe: Recipe, tools: Tools) -> Curation:
    """Choose "auto" settings, then find neighborhoods and clusters if the mode uses them."""
    corpus, layout, scores, contexts, responses, reasons = scored
    policy = choose_policy(layout, contexts, responses, scores, recipe, tools)
    needs_draws = policy.mode == "resample" or (policy.mode == "filter" and recipe.keep)
    given = recipe
    if needs_draws and not drawable_rows(layout, scores, recipe).any():
        reason = (
            "no response can be drawn, because those trusted enough are all tool calls or report a "
            "tool's result, so every row stays as it is; --mode filter drops rows"
        )
        policy = policy._replace(mode="filter", reason=reason)
        recipe = recipe.model_copy(update={"mode": "filter", "budget": 0.0, "keep": False})
    resolved, choice = select_hyperparameters(
        layout, contexts, responses, scores, recipe, policy, tools
    )
    choice = with_reasons(resolved, choice, reasons)
    compared = neighborhoods = None
    if resolved.uses_clusters:
        compared = apply_view(layout, contexts, responses, scores, resolved, tools)
        drawable = drawable_rows(layout, scores, resolved)
        neighborhoods = find_clusters(layout, contexts, compared, drawable, resolved, tools)
    return Curation(
        corpus,
        given,
        resolved,
        layout,
        scores,
        contexts,
        responses,
        compared,
        neighborhoods,
        choice,
        policy,
        tools,
    )


def _check_corpus(corpus: Corpus, recipe: Recipe) -> None:
    """Raise `CorpusError` if the corpus is empty, or if it lacks groups that the recipe needs."""
    if not len(corpus):
        raise CorpusError(explain_empty_corpus(corpus))
    group_by = recipe.reading.group_by
    if group_by is not None and _lacks_groups(corpus):
        raise CorpusError(
            f"the corpus was read without its groups; pass group_by='{group_by}' when you read it"
        )


def _lacks_groups(corpus: Corpus) -> bool:
    return any(part.column("group").null_count for part in corpus.parts(["group"]))


def explain_empty_corpus(corpus: Corpus) -> str:
    """Explain why a corpus has no exchanges to curate."""
    if not corpus.rejected:
        names = ", ".join(digest.name for digest in corpus.inputs) or "the corpus"
        return f"no exchanges in {names}; expected one record per line, or an array of records"
    first = corpus.rejected[0]
    return (
        f"none of the {len(corpus.rejected):,} rows can be used; "
        f"the first, {first.file} line {first.line}: {first.reason}"
    )
