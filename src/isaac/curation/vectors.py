"""Texts as unit vectors on a fixed grid, by an encoder of your choice."""

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
"""Steps from 0 to 1 on which the components of a vector lie.

With components that are multiples of 1/2048, every partial sum of a dot product of two unit
vectors is a multiple of 2^-22 below 2^2, which float32 holds exactly. So similarities do not
depend on tile sizes, on the number of threads or on the processor; neither does any decision.
The price is an error of about 1e-4 in a cosine.
"""

CHUNK_TEXTS = 4096
"""Texts that are embedded, and stored by a run, at a time."""

BLOCK_VECTORS = 256
"""Vectors that are put on the grid at a time, few enough for the processor's cache."""


class Embeddings(NamedTuple):
    """Vectors on the grid, by which encoder, and how many of the texts it knew nothing of."""

    vectors: GridVectors
    unknown: int
    encoder: str


def embed(encoder: Encoder, texts: Sequence[str]) -> Embeddings:
    """Return unit vectors of the texts on the grid, int16 of shape (len(texts), d).

    A text of which the encoder knows nothing (a zero vector) gets a direction of its own, taken
    from its hash, so that it is near nothing but itself. Raises `EncoderError` if the encoder
    fails or returns another shape, NaN or infinity.
    """
    return concatenate_embeddings([embed_chunk(encoder, chunk) for chunk in iter_chunks(texts)])


def iter_chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the texts in the portions that are embedded at a time."""
    for start in range(0, len(texts), CHUNK_TEXTS):
        yield texts[start : start + CHUNK_TEXTS]


def concatenate_embeddings(parts: list[Embeddings]) -> Embeddings:
    """Return the portions as one; raise `EncoderError` if they do not fit together."""
    if not parts:
        return Embeddings(np.zeros((0, 1), np.int16), 0, "")
    vectors = np.concatenate([part.vectors for part in check_same_encoder(parts)])
    return Embeddings(vectors, **collect_facts(parts))


def check_same_encoder(parts: Iterable[Embeddings]) -> Iterator[Embeddings]:
    """Yield the portions; raise `EncoderError` at one that does not fit to the first."""
    first: tuple[str, int] | None = None
    for part in parts:
        kind = (part.encoder, part.vectors.shape[1])
        first = first or kind
        if kind != first:
            raise EncoderError(
                f"vectors of several encoders or widths cannot be mixed: {sorted({first, kind})}"
            )
        yield part


def collect_facts(parts: Iterable[Embeddings]) -> dict[str, Any]:
    """Return how many texts the encoder knew nothing of, and which encoder it was."""
    unknown, encoder = 0, ""
    for part in parts:
        unknown, encoder = unknown + part.unknown, part.encoder
    return {"unknown": unknown, "encoder": encoder}


def embed_by_name(encoder: str, texts: list[str]) -> Embeddings:
    """Return the vectors of one portion of texts by an encoder that a process loads once."""
    return embed_chunk(load_cached_encoder(encoder), texts)


def embed_chunk(encoder: Encoder, texts: Sequence[str]) -> Embeddings:
    """Return the vectors of one portion of texts."""
    return to_unit_vectors(encoder, texts, encode_texts(encoder, texts))


def to_unit_vectors(encoder: Encoder, texts: Sequence[str], said: Any) -> Embeddings:
    """Return what an encoder said of texts as unit vectors on the grid."""
    name = encoder_revision(encoder)
    raw = as_float32_array(said, name)
    if raw.ndim != 2 or len(raw) != len(texts) or raw.shape[1] == 0:
        raise EncoderError(
            f"encoder {name} returned shape {raw.shape} for {len(texts)} texts; "
            f"wanted ({len(texts)}, d)"
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
        nothing = norms < 1e-12
        unit = rows / np.where(nothing, 1, norms)[:, None]
        for row in np.flatnonzero(nothing).tolist():
            unit[row] = _random_direction(texts[start + row], raw.shape[1])
        vectors[start : start + BLOCK_VECTORS] = np.rint(
            np.multiply(unit, GRID_STEPS, out=unit), out=unit
        )
        unknown += int(nothing.sum())
    return Embeddings(vectors, unknown, name)


def _random_direction(text: str, dimensions: int) -> Floats:
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
    vector = np.random.default_rng(seed).standard_normal(dimensions)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def to_grid(vectors: npt.NDArray[Any]) -> GridVectors:
    """Return vectors (n, d) of any length as unit vectors on the grid.

    A vector shorter than a hundredth, which is what rounding leaves of a difference of two grid
    vectors, becomes zero.
    """
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit = np.where(norms < 0.01, 0, vectors / np.maximum(norms, 0.01))
    return np.asarray(np.rint(unit * GRID_STEPS), np.int16)


def as_floats(vectors: GridVectors) -> Floats:
    """Return grid vectors as float32 near unit length, their dot products exact."""
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
