"""Embed the distinct texts of a corpus chunk by chunk, so that a stopped run can resume."""

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
from .openings import extract_opening
from .resources import Tools
from .storage import Storage, chunk_key, embeddings_key
from .unique_texts import UniqueTexts
from .vectors import (
    CHUNK_TEXTS,
    Embeddings,
    check_same_encoder,
    collect_facts,
    embed_by_name,
    to_unit_vectors,
)


def canonicalize_for(
    corpus: Corpus, recipe: Recipe, store: Storage | None = None, progress: Progress | None = None
) -> CanonicalCorpus:
    """Put a corpus into canonical order, with the responses viewed as the recipe says."""
    extract_view = extract_opening if recipe.view == "opening" else None
    return canonicalize(corpus, store, extract_view, progress)


def texts_to_embed(
    layout: CanonicalCorpus, recipe: Recipe
) -> Iterator[tuple[str, str, UniqueTexts]]:
    """Yield (name, encoder, distinct texts) for each set of vectors that a recipe needs."""
    if recipe.reading.group_by is None or recipe.clusters != "text":
        yield "contexts", recipe.context_encoder, layout.contexts
    if recipe.clusters != "text":
        yield "responses", recipe.response_encoder, layout.views


def embed_all(name: str, encoder: str, texts: UniqueTexts, tools: Tools) -> Embeddings:
    """Embed distinct texts; finished chunks are loaded from the store."""
    store, count = tools.store, -(-len(texts) // CHUNK_TEXTS)
    keys = [chunk_key(name, number) for number in range(count)]

    def iter_embedded() -> Iterator[Embeddings]:
        """Yield all chunks in order; those that are not in the store are embedded now."""
        missing = dict.fromkeys(n for n in range(count) if not store.has(keys[n]))
        chunks = (list(texts[n * CHUNK_TEXTS : (n + 1) * CHUNK_TEXTS]) for n in missing)
        embedded = _embed_chunks(encoder, chunks, tools)
        total = sum(min(CHUNK_TEXTS, len(texts) - n * CHUNK_TEXTS) for n in missing)
        progress = tools.progress if missing else Progress()
        with progress.stage(f"embed {name}", total) as tick:
            for number, key in enumerate(keys):
                if number in missing:
                    chunk = next(embedded)
                    yield store.embedded(key, partial(_identity, chunk))
                    tick(len(chunk.vectors))
                else:
                    yield store.embedded(key, _raise_missing)

    whole = embeddings_key(name)
    vectors = store.stacked(
        whole, len(texts), lambda: (chunk.vectors for chunk in check_same_encoder(iter_embedded()))
    )
    facts = store.facts(whole, lambda: collect_facts(iter_embedded()))
    for key in keys:
        store.forget(key)
    return Embeddings(vectors, **facts)


def _identity(chunk: Embeddings) -> Embeddings:
    return chunk


def _raise_missing() -> Embeddings:
    raise EncoderError(
        "stored vectors have disappeared; run the same command again to rebuild them"
    )


def _embed_chunks(encoder: str, chunks: Iterator[list[str]], tools: Tools) -> Iterator[Embeddings]:
    """Yield the vectors of each chunk; a remote engine embeds if it can load the encoder."""
    passed_in = (tools.encoders or {}).get(encoder)
    if tools.engine.remote and passed_in is None:
        return tools.engine.map(embed_by_name, chunks, encoder)
    # The next chunk is encoded while the last one is rounded to the grid and stored.
    encoded = prefetch(_encode_chunks(encoder, chunks, tools))
    return (to_unit_vectors(*chunk) for chunk in encoded)


def _encode_chunks(
    name: str, chunks: Iterator[list[str]], tools: Tools
) -> Iterator[tuple[Encoder, list[str], Any]]:
    encoder: Encoder | None = None
    for chunk in chunks:
        encoder = encoder or tools.encoder(name)
        yield encoder, chunk, encode_texts(encoder, chunk)
