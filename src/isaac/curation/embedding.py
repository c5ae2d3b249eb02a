"""Embedding."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from ..corpus.corpus import Corpus
from ..errors import EncoderError
from ..models.encoders import Encoder, encode_texts
from ..recipe import Recipe
from ..runtime.concurrency import prefetch
from ..runtime.progress import Progress
from .canonical_order import CanonicalCorpus, canonicalize
from .resources import Tools
from .storage import Storage
from .unique_texts import UniqueTexts
from .vectors import (
    CHUNK_TEXTS,
    Embeddings,
    check_same_encoder,
    collect_facts,
    embed_by_name,
    to_unit_vectors,
)
from .views import extract_opening


def canonicalize_for(
    corpus: Corpus, recipe: Recipe, store: Storage | None = None, progress: Progress | None = None
) -> CanonicalCorpus:
    """Return the layout of a corpus, with what the recipe looks at of its responses."""
    return canonicalize(
        corpus, store, extract_opening if recipe.view == "opening" else None, progress
    )


def texts_to_embed(
    layout: CanonicalCorpus, recipe: Recipe
) -> Iterator[tuple[str, str, UniqueTexts]]:
    """Yield (name, encoder, distinct texts) of what a recipe needs as vectors."""
    if recipe.reading.group_by is None or recipe.clusters != "text":
        yield "contexts", recipe.context_encoder, layout.contexts
    if recipe.clusters != "text":
        yield "responses", recipe.response_encoder, layout.views


def embed_all(name: str, encoder: str, texts: UniqueTexts, tools: Tools) -> Embeddings:
    """Return the vectors of distinct texts, those of finished portions taken from the store."""
    store, count = tools.store, -(-len(texts) // CHUNK_TEXTS)
    parts = [f"vectors/{name}.{number:05}" for number in range(count)]

    def made() -> Iterator[Embeddings]:
        """Yield every portion, one at a time, those that are missing as they are made."""
        missing = dict.fromkeys(n for n in range(count) if not store.has(parts[n]))
        portions = (list(texts[n * CHUNK_TEXTS : (n + 1) * CHUNK_TEXTS]) for n in missing)
        fresh = _embed_chunks(encoder, portions, tools)
        asked = sum(min(CHUNK_TEXTS, len(texts) - n * CHUNK_TEXTS) for n in missing)
        progress = tools.progress if missing else Progress()
        with progress.stage(f"embed {name}", asked) as tick:
            for number, part in enumerate(parts):
                if number in missing:
                    new = next(fresh)
                    yield store.embedded(part, partial(_identity, new))
                    tick(len(new.vectors))
                else:
                    yield store.embedded(part, _raise_missing)

    vectors = store.stacked(
        f"vectors/{name}", len(texts), lambda: (p.vectors for p in check_same_encoder(made()))
    )
    facts = store.facts(f"vectors/{name}", lambda: collect_facts(made()))
    for part in parts:
        store.forget(part)
    return Embeddings(vectors, **facts)


def _identity(new: Embeddings) -> Embeddings:
    return new


def _raise_missing() -> Embeddings:
    raise EncoderError("vectors that were finished are gone")


def _embed_chunks(
    encoder: str, portions: Iterator[list[str]], tools: Tools
) -> Iterator[Embeddings]:
    """Yield the vectors of portions of texts; by the engine, if it has other processes."""
    given = (tools.encoders or {}).get(encoder)
    if tools.engine.remote and given is None:
        return tools.engine.map(embed_by_name, portions, encoder)
    found = prefetch(_encode_chunks(encoder, portions, tools))  # beside it, the last ones are kept
    return (to_unit_vectors(*one) for one in found)


def _encode_chunks(
    name: str, portions: Iterator[list[str]], tools: Tools
) -> Iterator[tuple[Encoder, list[str], Any]]:
    encoder: Encoder | None = None
    for portion in portions:
        encoder = encoder or tools.encoder(name)
        yield encoder, portion, encode_texts(encoder, portion)
