"""Dry runs: what a curation would do, with its time and memory estimated on a sample."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..corpus.corpus import Corpus, Exchange, count_formats
from ..corpus.reading import read_corpus
from ..corpus.turn_counts import TurnCounts, count_turns
from ..curation.canonical_order import CanonicalCorpus
from ..curation.coverage import choose_encoders, list_language_warnings, with_chosen_encoders
from ..curation.curate import explain_empty_corpus
from ..curation.dialogue.span_relevance import ResponsesInContext, fit_span_relevance
from ..curation.dialogue.trimming import collect_responses
from ..curation.embedding import canonicalize_for, texts_to_embed
from ..curation.hyperparameters import RADII, SAMPLE_NEIGHBORHOODS, VIEWS, default_k
from ..curation.neighborhoods import BLOCK_NEIGHBORHOODS, cluster_neighborhoods
from ..curation.resources import Tools
from ..curation.search.exact import find_neighbors
from ..curation.shards import SHARD_NEIGHBORHOODS
from ..curation.unique_texts import UniqueTexts
from ..curation.vectors import embed
from ..curation.views import ComparedResponses
from ..errors import CorpusError
from ..models.encoders import Encoder
from ..recipe import Recipe, ResolvedRecipe
from ..runtime.progress import Progress
from .trial import try_sample

SAMPLE_TEXTS = 256
"""Texts that are embedded to measure the speed of the encoder."""

SAMPLE_RESPONSES = 1000
"""Responses whose parts are scored to measure the speed of trimming."""

SAMPLE_EXCHANGES = 3
"""Exchanges that a dry run shows."""


class PlannedStage(NamedTuple):
    """One stage of a curation with its estimated seconds."""

    name: str
    seconds: float


class Plan(NamedTuple):
    """What a curation would read and do; seconds and memory are estimates for this machine.

    ``formats`` counts the exchanges of each detected format, ``rejected`` the unusable rows,
    ``turns`` the assistant turns that are not curated. ``notes`` say which languages an encoder
    does not know, and which encoder was chosen.
    """

    formats: dict[str, int]
    exchanges: int
    rejected: int
    stages: list[PlannedStage]
    memory_mib: int
    notes: list[str]
    turns: TurnCounts = TurnCounts()

    @property
    def seconds(self) -> float:
        """Estimated time of all stages."""
        return sum(stage.seconds for stage in self.stages)

    def as_json(self) -> dict[str, Any]:
        """The plan as plain values."""
        return {
            "formats": self.formats,
            "exchanges": self.exchanges,
            "rejected": self.rejected,
            "turns": self.turns._asdict(),
            "stages": {stage.name: round(stage.seconds, 2) for stage in self.stages},
            "seconds": round(self.seconds, 2),
            "memory_mib": self.memory_mib,
            "notes": self.notes,
        }


class DryRun(NamedTuple):
    """The plan of a curation, and the first exchanges of its corpus."""

    plan: Plan
    samples: list[Exchange]

    def as_json(self) -> dict[str, Any]:
        """The plan and the samples as plain values."""
        return {**self.plan.as_json(), "samples": [sample._asdict() for sample in self.samples]}


def dry_run(source: str | Path, recipe: Recipe, progress: Progress | None = None) -> DryRun:
    """Read an input and plan its curation, without writing anything.

    Raises `CorpusError` if there is nothing to curate, and an error of encoders or judges if one
    that the recipe names cannot be loaded.
    """
    tools = Tools().load_models(recipe)
    start = time.perf_counter()
    corpus = read_corpus(source, recipe, progress=progress)
    read = PlannedStage("read and write", 2 * (time.perf_counter() - start))
    if not len(corpus):
        raise CorpusError(explain_empty_corpus(corpus))
    samples = [corpus[row] for row in range(min(SAMPLE_EXCHANGES, len(corpus)))]
    plan = estimate_plan(corpus, recipe, tools)
    return DryRun(plan._replace(stages=[read, *plan.stages]), samples)


def estimate_plan(corpus: Corpus, recipe: Recipe, tools: Tools | None = None) -> Plan:
    """Plan a curation: run each stage on a small sample and scale its time to the corpus."""
    tools = tools or Tools()
    encoders = choose_encoders(corpus, recipe, tools)
    recipe = with_chosen_encoders(recipe, encoders)
    layout = canonicalize_for(corpus, recipe)
    notes = encoders.reasons + list_language_warnings(corpus, recipe, tools)
    stages, members = [], 0
    samples = {"contexts": np.zeros((1, 1), np.int16), "responses": np.zeros((1, 1), np.int16)}
    for name, encoder, texts in texts_to_embed(layout, recipe):
        seconds, samples[name] = _time_encoder(tools.encoder(encoder), texts)
        stages.append(PlannedStage(f"embed {len(texts):,} {name} with {encoder}", seconds))
    trial = None
    if recipe.clusters != "text" and not recipe.trim:
        trial = try_sample(corpus, layout, recipe, tools)
        recipe = recipe.model_copy(update={"mode": trial.mode})
        notes += trial.notes
    if trial is None or trial.uses_clusters:
        members = _neighborhood_size(corpus, layout, recipe)
    if trial is None:
        stages += _plan_neighborhoods(layout, recipe, samples, members)
    else:
        stages += [PlannedStage(*stage) for stage in trial.stages]
    if recipe.trim:
        seconds = _time_span_relevance(
            collect_responses(corpus, layout), tools.encoder(recipe.response_encoder)
        )
        stages.append(PlannedStage(f"trim {len(corpus):,} responses", seconds))
    return Plan(
        count_formats(corpus),
        len(corpus),
        len(corpus.rejected),
        stages,
        _estimate_memory_mib(layout, members, samples),
        notes,
        count_turns(corpus),
    )


def _neighborhood_size(corpus: Corpus, layout: CanonicalCorpus, recipe: Recipe) -> int:
    """The number of rows in a neighborhood."""
    if recipe.reading.group_by is not None:
        return max(1, len(corpus) // (int(layout.group.max()) + 1))
    k = recipe.neighbors if recipe.neighbors != "auto" else default_k(len(corpus))
    return min(k, len(corpus))


def _plan_neighborhoods(
    layout: CanonicalCorpus, recipe: Recipe, samples: dict[str, Any], members: int
) -> list[PlannedStage]:
    """The stages that search and cluster neighborhoods of ``members`` rows."""
    stages = []
    if recipe.reading.group_by is None:
        count = int(layout.exchange.max()) + 1
        seconds = _time_search(layout, samples["contexts"])
        stages.append(PlannedStage(f"search {count:,} neighborhoods", seconds))
    else:
        count = int(layout.group.max()) + 1
    if recipe.clusters != "text":
        seconds = _time_clustering(samples["responses"], members, recipe)
        stages.append(
            PlannedStage(f"cluster {count:,} neighborhoods of {members:,}", seconds * count)
        )
        if "auto" in (recipe.view, recipe.radius):
            trials = len(RADII) * len(VIEWS) * min(SAMPLE_NEIGHBORHOODS, count)
            stages.append(PlannedStage("choose view and radius", seconds * trials))
    return stages


def _time_encoder(encoder: Encoder, texts: UniqueTexts) -> tuple[float, Any]:
    """Estimated seconds for all texts, and the vectors of the sample."""
    sample = texts[:: max(1, len(texts) // SAMPLE_TEXTS)]
    embed(encoder, sample[:8])  # the first call also loads the encoder
    start = time.perf_counter()
    vectors = embed(encoder, sample).vectors
    return (time.perf_counter() - start) * len(texts) / len(sample), vectors


def _time_search(layout: CanonicalCorpus, vectors: Any) -> float:
    """Estimated seconds to search all contexts, from a search of the sample's ``vectors``."""
    start = time.perf_counter()
    find_neighbors(vectors[:64], vectors, 10)
    seconds = time.perf_counter() - start
    # Exact search compares every context with every other one: quadratic in their number.
    return seconds * len(layout.contexts) ** 2 / (min(64, len(vectors)) * len(vectors))


def _time_clustering(vectors: Any, size: int, recipe: Recipe) -> float:
    """Estimated seconds to cluster one neighborhood of ``size`` responses: quadratic in size."""
    count = min(16, BLOCK_NEIGHBORHOODS)
    # Neighborhoods of the sample's responses, repeated as often as needed, (count, size).
    members = np.arange(count * min(size, 2000)).reshape(count, -1)
    texts = members.reshape(-1) % len(vectors)
    start = time.perf_counter()
    settings = {"neighbors": size, "search": "exact", "view": "whole", "radius": 0.8}
    mode = "resample" if recipe.mode == "auto" else recipe.mode
    resolved = ResolvedRecipe.of(recipe.model_dump() | settings | {"mode": mode})
    cluster_neighborhoods(members, ComparedResponses(vectors, texts), resolved)
    seconds = (time.perf_counter() - start) / count
    return float(seconds * (size / members.shape[1]) ** 2)


def _time_span_relevance(responses: ResponsesInContext, encoder: Encoder) -> float:
    sample = ResponsesInContext(*(column[:SAMPLE_RESPONSES] for column in responses))
    embed(encoder, sample.responses[:8])  # the first call also loads the encoder
    start = time.perf_counter()
    fit_span_relevance(sample, encoder)
    seconds = time.perf_counter() - start
    return seconds * len(responses.responses) / len(sample.responses)


def _estimate_memory_mib(layout: CanonicalCorpus, size: int, samples: dict[str, Any]) -> int:
    """Estimated MiB: the interpreter, texts, vectors, neighborhoods and the search of one shard."""
    characters = sum(map(len, layout.contexts)) + sum(map(len, layout.responses))
    dimensions = {name: vectors.shape[1] for name, vectors in samples.items()}
    stored = 3 * characters
    stored += 2 * dimensions["contexts"] * len(layout.contexts)
    stored += 2 * dimensions["responses"] * len(layout.responses)
    stored += 24 * size * (int(layout.exchange.max()) + 1)
    work = 2 * SHARD_NEIGHBORHOODS[1] * 8 * (min(len(layout.contexts), 8192) + size) * 2
    return int(150 + (stored + work) / 2**20)
