"""What a curation would do and about how long it would take, found on a sample."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..corpus.corpus import Corpus, Exchange, count_formats
from ..corpus.reading import read_corpus
from ..curation.canonical_order import CanonicalCorpus
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

SAMPLE_TEXTS = 256
"""Texts that are embedded to learn how fast the encoder is."""

SAMPLE_RESPONSES = 1000
"""Responses of which it is told what belongs, to learn how long that takes."""


SAMPLE_EXCHANGES = 3
"""Exchanges that a dry run shows."""


class PlannedStage(NamedTuple):
    """One stage of the plan with its estimated seconds."""

    name: str
    seconds: float


class Plan(NamedTuple):
    """What would be done; times and memory are estimates from a sample on this machine."""

    formats: dict[str, int]
    exchanges: int
    rejected: int
    stages: list[PlannedStage]
    memory_mib: int

    @property
    def seconds(self) -> float:
        """Return the estimated time of the whole job."""
        return sum(stage.seconds for stage in self.stages)

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return {
            "formats": self.formats,
            "exchanges": self.exchanges,
            "rejected": self.rejected,
            "stages": {stage.name: round(stage.seconds, 2) for stage in self.stages},
            "seconds": round(self.seconds, 2),
            "memory_mib": self.memory_mib,
        }


class DryRun(NamedTuple):
    """The plan of a curation, and the first exchanges of its corpus as they were read."""

    plan: Plan
    samples: list[Exchange]

    def as_json(self) -> dict[str, Any]:
        """The plan and the samples as plain values."""
        return {**self.plan.as_json(), "samples": [sample._asdict() for sample in self.samples]}


def dry_run(source: str | Path, recipe: Recipe, progress: Progress | None = None) -> DryRun:
    """Read an input and plan its curation, without writing anything.

    Raises `CorpusError` if there is nothing to curate.
    """
    corpus = read_corpus(source, recipe, progress=progress)
    if not len(corpus):
        raise CorpusError(explain_empty_corpus(corpus))
    samples = [corpus[row] for row in range(min(SAMPLE_EXCHANGES, len(corpus)))]
    return DryRun(estimate_plan(corpus, recipe), samples)


def estimate_plan(corpus: Corpus, recipe: Recipe, tools: Tools | None = None) -> Plan:
    """Return the plan of a curation, its speed measured on a few texts and neighbourhoods."""
    tools, layout = tools or Tools(), canonicalize_for(corpus, recipe)
    stages = []
    tried = {"contexts": np.zeros((1, 1), np.int16), "responses": np.zeros((1, 1), np.int16)}
    for name, encoder, texts in texts_to_embed(layout, recipe):
        seconds, tried[name] = _time_encoder(tools.encoder(encoder), texts)
        stages.append(PlannedStage(f"embed {len(texts):,} {name} by {encoder}", seconds))
    if recipe.reading.group_by is None:
        searches = int(layout.exchange.max()) + 1
        stages.append(
            PlannedStage(
                f"search {searches:,} neighbourhoods", _time_search(layout, tried["contexts"])
            )
        )
        near = recipe.neighbors if recipe.neighbors != "auto" else default_k(len(corpus))
        members = min(near, len(corpus))
    else:
        searches = int(layout.group.max()) + 1
        members = max(1, len(corpus) // searches)
    if recipe.clusters != "text":
        seconds = _time_clustering(tried["responses"], members, recipe)
        stages.append(
            PlannedStage(f"cluster {searches:,} neighbourhoods of {members:,}", seconds * searches)
        )
        if "auto" in (recipe.view, recipe.radius):
            trials = len(RADII) * len(VIEWS) * min(SAMPLE_NEIGHBORHOODS, searches)
            stages.append(PlannedStage("choose view and radius", seconds * trials))
    if recipe.trim:
        seconds = _time_span_relevance(
            collect_responses(corpus, layout), tools.encoder(recipe.response_encoder)
        )
        stages.append(PlannedStage(f"tell what belongs in {len(corpus):,} responses", seconds))
    return Plan(
        count_formats(corpus),
        len(corpus),
        len(corpus.rejected),
        stages,
        _estimate_memory_mib(layout, members, tried),
    )


def _time_encoder(encoder: Encoder, texts: UniqueTexts) -> tuple[float, Any]:
    sample = texts[:: max(1, len(texts) // SAMPLE_TEXTS)]
    embed(encoder, sample[:8])  # the first call loads and warms up
    start = time.perf_counter()
    vectors = embed(encoder, sample).vectors
    return (time.perf_counter() - start) * len(texts) / len(sample), vectors


def _time_search(layout: CanonicalCorpus, vectors: Any) -> float:
    start = time.perf_counter()
    find_neighbors(vectors[:64], vectors, 10)
    seconds = time.perf_counter() - start
    return seconds * len(layout.contexts) ** 2 / (min(64, len(vectors)) * len(vectors))


def _time_clustering(vectors: Any, wanted: int, recipe: Recipe) -> float:
    count = min(16, BLOCK_NEIGHBORHOODS)
    members = np.arange(count * min(wanted, 2000)).reshape(count, -1)
    texts = members.reshape(-1) % len(vectors)
    start = time.perf_counter()
    settled = ResolvedRecipe.of(
        recipe.model_dump()
        | {"neighbors": wanted, "search": "exact", "view": "whole", "radius": 0.8}
    )
    cluster_neighborhoods(members, ComparedResponses(vectors, texts), settled)
    tried = (time.perf_counter() - start) / count
    return float(tried * (wanted / members.shape[1]) ** 2)


def _time_span_relevance(answers: ResponsesInContext, encoder: Encoder) -> float:
    some = ResponsesInContext(*(column[:SAMPLE_RESPONSES] for column in answers))
    embed(encoder, some.responses[:8])  # the first call loads and warms up
    start = time.perf_counter()
    fit_span_relevance(some, encoder)
    seconds = time.perf_counter() - start
    return seconds * len(answers.responses) / len(some.responses)


def _estimate_memory_mib(layout: CanonicalCorpus, size: int, tried: dict[str, Any]) -> int:
    """Return MiB: the interpreter, texts, vectors, neighbourhoods and one shard's search."""
    texts = sum(map(len, layout.contexts)) + sum(map(len, layout.responses))
    widths = {name: vectors.shape[1] for name, vectors in tried.items()}
    held = 3 * texts
    held += 2 * widths["contexts"] * len(layout.contexts)
    held += 2 * widths["responses"] * len(layout.responses)
    held += 24 * size * (int(layout.exchange.max()) + 1)
    work = 2 * SHARD_NEIGHBORHOODS[1] * 8 * (min(len(layout.contexts), 8192) + size) * 2
    return int(150 + (held + work) / 2**20)
