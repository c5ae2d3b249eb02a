"""A trial on a sample of a corpus: which mode it would get, and how long the curation would take.

Everything but the bounded models is linear in the number of exchanges, so the time of a sample
tells that of the corpus.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..corpus.corpus import Corpus
from ..curation.canonical_order import CanonicalCorpus
from ..curation.curate import prepare
from ..curation.exchangeability import MAX_MODEL_EXCHANGES
from ..curation.fit import MAX_REFERENCES
from ..curation.hyperparameters import default_k
from ..curation.matching import BLOCK_ROWS
from ..curation.resources import Tools
from ..curation.trust import MAX_REFERENCES as MAX_SIMILAR
from ..curation.trust_signals import find_installed_signals
from ..recipe import COMBINED_SIGNALS, Mode, Recipe
from ..runtime.arrays import Ints
from ..runtime.progress import Progress, TimedProgress
from .reports.diagnosis import diagnose
from .reports.summary import summarize

SAMPLE_EXCHANGES = 2000
"""Maximum number of exchanges that a trial curates."""

SLOW_SAMPLE_EXCHANGES = 500
"""The same for encoders that are models of language."""

FAST_ENCODERS = {"wordllama", "hashing"}

MODEL_LIMITS = {"fit": MAX_REFERENCES, "exchangeability": MAX_MODEL_EXCHANGES}
"""Stages that compare exchanges with each other, and the most that they compare."""

SEARCH_LIMITS = {"similar responses": MAX_SIMILAR, "match": BLOCK_ROWS}
"""Stages that compare every exchange with some others, and with how many at most."""

BOUNDED_STAGES = {"languages", "report"}
"""Stages that take about as long for a large corpus, in one language, as for the sample."""

EMBEDDING_STAGES = ("embed contexts", "embed responses")
"""Stages that are timed apart, with more texts."""


class Trial(NamedTuple):
    """What a trial found.

    ``mode`` is the mode that the corpus would get, ``uses_clusters`` whether it searches
    neighborhoods. ``notes`` say why, and whether the method applies. ``stages`` have the name and
    the estimated seconds of each stage on the whole corpus, except those that embed.
    """

    mode: Mode
    uses_clusters: bool
    notes: list[str]
    stages: list[tuple[str, float]]


def try_sample(corpus: Corpus, layout: CanonicalCorpus, recipe: Recipe, tools: Tools) -> Trial:
    """Curate a sample of a corpus, the first exchanges in canonical order, without a judge."""
    is_fast = {recipe.context_encoder, recipe.response_encoder} <= FAST_ENCODERS
    ids = np.sort(layout.ids[: SAMPLE_EXCHANGES if is_fast else SLOW_SAMPLE_EXCHANGES])
    timed = TimedProgress(Progress(), {})
    # With a given mode that uses clusters, only what the mode depends on is of interest.
    mode = "filter" if recipe.mode == "resample" else recipe.mode
    tried = recipe.model_copy(update={"judge": None, "mode": mode})
    curation = prepare(_take(corpus, ids, recipe), tried, tools._replace(progress=timed))
    found = curation.recipe
    if found.uses_clusters or recipe.mode == "resample":
        notes = [] if curation.choice is None else curation.choice.reasons[:1]
        if recipe.mode == "resample":
            notes = [f"on a sample: {curation.policy.reason}"] * (
                not curation.policy.is_exchangeable
            )
        return Trial("resample", True, notes, _try_clusters(corpus, layout, recipe, tools))
    curation.decide()
    with timed.stage("report"):
        summarize(curation)
    diagnosis = diagnose(curation)
    notes = [] if curation.choice is None else list(curation.choice.reasons)
    notes.append(
        f"on a sample of {len(ids):,}, the verdict is: {diagnosis.verdict} "
        f"({'; '.join(diagnosis.reasons)})"
    )
    notes += _recommend_signals(recipe)
    ratio = len(corpus) / len(ids)
    stages = [
        (name, seconds * _scale(name, ratio, len(ids)))
        for name, seconds in timed.seconds.items()
        if name not in EMBEDDING_STAGES
    ]
    return Trial(found.mode, False, notes, stages)


def _try_clusters(
    corpus: Corpus, layout: CanonicalCorpus, recipe: Recipe, tools: Tools
) -> list[tuple[str, float]]:
    """The estimated seconds of each stage of a curation that draws from clusters.

    A sample is curated with the neighborhoods that the whole corpus would have. The search in them
    grows with the square of the rows, all else with the rows.
    """
    ids = np.sort(layout.ids[:CLUSTER_SAMPLE_EXCHANGES])
    timed = TimedProgress(Progress(), {})
    neighbors = default_k(len(corpus)) if recipe.neighbors == "auto" else recipe.neighbors
    changes = {"judge": None, "mode": "resample", "neighbors": min(neighbors, len(ids))}
    sample = _take(corpus, ids, recipe)
    prepare(sample, recipe.model_copy(update=changes), tools._replace(progress=timed)).decide()
    ratio = len(corpus) / len(ids)
    stages = {
        name: seconds * _scale(name, ratio, len(ids))
        for name, seconds in timed.seconds.items()
        if name not in (*EMBEDDING_STAGES, *SAMPLED_STAGES)
    }
    stages |= {name: timed.seconds[name] for name in SAMPLED_STAGES if name in timed.seconds}
    return list(stages.items())


CLUSTER_SAMPLE_EXCHANGES = 4000
"""Maximum number of exchanges whose neighborhoods a trial clusters."""

SAMPLED_STAGES = ("choose view and radius",)
"""Stages that look at a sample of the corpus, however large it is."""


def _recommend_signals(recipe: Recipe) -> list[str]:
    """A note if more signals of trust are installed than the default uses."""
    more = [name for name in find_installed_signals() if name not in COMBINED_SIGNALS]
    if recipe.trust != "combined" or not more:
        return []
    slow = ", which reads about 30 responses a second" * ("states" in more)
    return [f"--trust auto also uses what is installed: {' and '.join(more)}{slow}"]


def _take(corpus: Corpus, ids: Ints, recipe: Recipe) -> Corpus:
    columns = corpus.take(ids, ["context", "response", "group"])
    contexts, responses, groups = (column.to_pylist() for column in columns.columns)
    has_groups = recipe.reading.group_by is not None
    return Corpus.of(zip(contexts, responses, strict=True), groups if has_groups else None)


def _scale(stage: str, ratio: float, sample: int) -> float:
    """How much longer a stage takes on a corpus that is ``ratio`` times the sample."""
    rows = ratio * sample
    if stage in BOUNDED_STAGES:
        return 1.0
    if stage in MODEL_LIMITS:
        return (min(rows, MODEL_LIMITS[stage]) / sample) ** 2
    return ratio * max(1.0, min(rows, SEARCH_LIMITS.get(stage, sample)) / sample)
