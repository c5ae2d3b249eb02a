"""Embedding."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from ..corpus.corpus import Corpus
from ..errors import EncoderError
from ..models.encoders import Encoder, encoded
from ..recipe import Recipe
from ..runtime.concurrency import ahead
from ..runtime.progress import Progress
from .canonical_order import Layout, arrange
from .resources import Tools
from .storage import Store
from .unique_texts import Texts
from .vectors import CHUNK, Embedded, alike, embed_by_name, facts_of, unit_vectors
from .views import opening


def arranged(
    corpus: Corpus, recipe: Recipe, store: Store | None = None, progress: Progress | None = None
) -> Layout:
    """Return the layout of a corpus, with what the recipe looks at of its responses."""
    return arrange(corpus, store, opening if recipe.view == "opening" else None, progress)


def to_embed(layout: Layout, recipe: Recipe) -> Iterator[tuple[str, str, Texts]]:
    """Yield (name, encoder, distinct texts) of what a recipe needs as vectors."""
    if recipe.group_by is None or recipe.clusters != "text":
        yield "contexts", recipe.context_encoder, layout.contexts
    if recipe.clusters != "text":
        yield "responses", recipe.response_encoder, layout.shown


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
