"""Texts as unit vectors on a fixed grid, computed by any encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import EncoderError
from ..models.encoders import (
    Encoder,
    HashingEncoder,
    OpenAIEncoder,
    SentenceTransformersEncoder,
    WordLlamaEncoder,
    as_float32_array,
    encode_texts,
    encoder_revision,
    load_cached_encoder,
    load_encoder,
)
from ..runtime.arrays import Floats

GridVectors = npt.NDArray[np.int16]

GRID_STEPS = 2048
"""Grid steps from 0 to 1: every component of a vector is a multiple of 1/2048.

On that grid, every partial sum of a dot product of two unit vectors is a multiple of 2^-22 below
2^2, which float32 represents exactly. So similarities, and with them all decisions, do not depend
on tile sizes, the number of threads or the processor. The price is an error of about 1e-4 in a
cosine.
"""

CHUNK_TEXTS = 4096
"""Texts to embed, and to store, at a time."""

BLOCK_VECTORS = 256
"""Vectors to round to the grid at a time: few enough for the processor's cache."""


class Embeddings(NamedTuple):
    """Vectors of n texts, (n, d) on the grid.

    ``unknown`` is the number of texts that the encoder mapped to zero because it knew no word of
    them; ``encoder`` is its name and revision.
    """

    vectors: GridVectors
    unknown: int
    encoder: str


def embed(encoder: Encoder, texts: Sequence[str]) -> Embeddings:
    """Embed texts as unit vectors on the grid, int16 of shape (len(texts), d).

    A text that the encoder maps to zero gets a random direction instead, seeded by a hash of the
    text, so that it is similar only to itself. Raises `EncoderError` if the encoder fails or
    returns another shape, NaN or infinity.
    """
    return concatenate_embeddings([embed_chunk(encoder, chunk) for chunk in iter_chunks(texts)])


def iter_chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the texts in chunks of `CHUNK_TEXTS`."""
    for start in range(0, len(texts), CHUNK_TEXTS):
        yield texts[start : start + CHUNK_TEXTS]


def concatenate_embeddings(chunks: list[Embeddings]) -> Embeddings:
    """Join chunks into one; raise `EncoderError` if their encoders or widths differ."""
    if not chunks:
        return Embeddings(np.zeros((0, 1), np.int16), 0, "")
    vectors = np.concatenate([chunk.vectors for chunk in check_same_encoder(chunks)])
    return Embeddings(vectors, **collect_facts(chunks))


def check_same_encoder(chunks: Iterable[Embeddings]) -> Iterator[Embeddings]:
    """Yield the chunks; raise `EncoderError` if one differs from the first in encoder or width."""
    first: tuple[str, int] | None = None
    for chunk in chunks:
        source = (chunk.encoder, chunk.vectors.shape[1])
        first = first or source
        if source != first:
            raise EncoderError(
                "vectors of different encoders or widths cannot be mixed, but there are "
                f"{sorted({first, source})}; embed all texts again with one of them"
            )
        yield chunk


def collect_facts(chunks: Iterable[Embeddings]) -> dict[str, Any]:
    """Collect the other fields of `Embeddings` from its chunks: unknown texts and encoder."""
    unknown, encoder = 0, ""
    for chunk in chunks:
        unknown, encoder = unknown + chunk.unknown, chunk.encoder
    return {"unknown": unknown, "encoder": encoder}


def embed_by_name(encoder: str, texts: list[str]) -> Embeddings:
    """Embed a chunk of texts; the encoder is loaded once per process."""
    return embed_chunk(load_cached_encoder(encoder), texts)


def embed_chunk(encoder: Encoder, texts: Sequence[str]) -> Embeddings:
    """Embed a chunk of texts."""
    return to_unit_vectors(encoder, texts, encode_texts(encoder, texts))


def to_unit_vectors(encoder: Encoder, texts: Sequence[str], encoded: Any) -> Embeddings:
    """Check what an encoder returned for texts, normalize it, and round it to the grid."""
    name = encoder_revision(encoder)
    raw = as_float32_array(encoded, name)
    if raw.ndim != 2 or len(raw) != len(texts) or raw.shape[1] == 0:
        raise EncoderError(
            f"encoder {name} returned shape {raw.shape} for {len(texts)} texts; "
            f"expected ({len(texts)}, d)"
        )
    bad = ~np.isfinite(raw).all(axis=1)
    if bad.any():
        example = texts[int(bad.argmax())]
        raise EncoderError(
            f"encoder {name} returned NaN or infinity for {bad.sum()} of {len(texts)} texts, "
            f"first for {example[:60]!r}"
        )
    vectors, unknown = np.empty(raw.shape, np.int16), 0
    for start in range(0, len(raw), BLOCK_VECTORS):
        rows = raw[start : start + BLOCK_VECTORS]
        norms = np.linalg.norm(rows.astype(np.float64), axis=1)
        is_zero = norms < 1e-12
        unit = rows / np.where(is_zero, 1, norms)[:, None]
        for row in np.flatnonzero(is_zero).tolist():
            unit[row] = _random_direction(texts[start + row], raw.shape[1])
        # Scale and round in place: a block stays in the processor's cache.
        vectors[start : start + BLOCK_VECTORS] = np.rint(
            np.multiply(unit, GRID_STEPS, out=unit), out=unit
        )
        unknown += int(is_zero.sum())
    return Embeddings(vectors, unknown, name)


def _random_direction(text: str, width: int) -> Floats:
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
    vector = np.random.default_rng(seed).standard_normal(width)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def to_grid(vectors: npt.NDArray[Any]) -> GridVectors:
    """Normalize vectors (n, d) and round them to the grid.

    A vector shorter than 0.01 becomes zero: it is what rounding leaves of the difference between
    two equal vectors.
    """
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit = np.where(norms < 0.01, 0, vectors / np.maximum(norms, 0.01))
    return np.asarray(np.rint(unit * GRID_STEPS), np.int16)


def as_floats(vectors: GridVectors) -> Floats:
    """Convert grid vectors to float32 of about unit length, with exact dot products."""
    return vectors.astype(np.float32) / np.float32(GRID_STEPS)


__all__ = [
    "CHUNK_TEXTS",
    "GRID_STEPS",
    "Embeddings",
    "Encoder",
    "HashingEncoder",
    "OpenAIEncoder",
    "SentenceTransformersEncoder",
    "WordLlamaEncoder",
    "as_floats",
    "check_same_encoder",
    "collect_facts",
    "concatenate_embeddings",
    "embed",
    "embed_by_name",
    "embed_chunk",
    "encode_texts",
    "encoder_revision",
    "iter_chunks",
    "load_encoder",
    "to_grid",
    "to_unit_vectors",
]
