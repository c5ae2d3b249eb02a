"""Texts as unit vectors on a fixed grid, by an encoder of your choice."""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import EncoderError, IsaacError, RecipeError, needed
from ..models.openai_client import OpenAIClient, address_in

Floats = npt.NDArray[np.float32]
Grid = npt.NDArray[np.int16]

GRID = 2048
"""Steps from 0 to 1 on which the components of a vector lie.

With components that are multiples of 1/2048, every partial sum of a dot product of two unit
vectors is a multiple of 2^-22 below 2^2, which float32 holds exactly. So similarities do not
depend on tile sizes, on the number of threads or on the processor; neither does any decision.
The price is an error of about 1e-4 in a cosine.
"""

CHUNK = 4096
"""Texts that are embedded, and stored by a run, at a time."""

BLOCK = 256
"""Vectors that are put on the grid at a time, few enough for the processor's cache."""


class Encoder(Protocol):
    """Anything that turns texts into vectors."""

    def encode(self, texts: list[str]) -> Floats:
        """Return one row a text, float32 of shape (len(texts), d); NaN is an error."""
        ...


class WordLlamaEncoder:
    """Static word vectors of the package ``wordllama``, averaged; 256-d, offline.

    The sum runs over the tokens of each text alone, without the padding of a batch, so one huge
    text costs what its own tokens cost.
    """

    TOKENS = 65_536

    def __init__(self) -> None:
        level = logging.getLogger().level
        handlers = list(logging.getLogger().handlers)
        import wordllama

        logging.getLogger().handlers[:] = handlers  # its import configures the root logger
        logging.getLogger().setLevel(level)
        folder = Path(wordllama.__file__).parent
        model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
        self.table: Floats = model.embedding
        self.tokenizer = model.tokenizer
        self.tokenizer.no_padding()
        self.revision = f"wordllama {version('wordllama')}, 256-d"

    def encode(self, texts: list[str]) -> Floats:
        """Return the mean of each text's word vectors; zeros where it has no words."""
        encoded = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        vectors = np.zeros((len(texts), self.table.shape[1]), np.float32)
        for row, tokens in enumerate(encoded):
            ids = np.minimum(np.array(tokens.ids, np.int64), len(self.table) - 1)
            for start in range(0, len(ids), self.TOKENS):
                vectors[row] += self.table[ids[start : start + self.TOKENS]].sum(axis=0)
            vectors[row] /= max(len(ids), 1)
        return vectors


class HashingEncoder:
    """Words and word pairs hashed to signed dimensions; no model, any language.

    Weinberger et al., Feature Hashing for Large Scale Multitask Learning, 2009.
    """

    WORD = re.compile(r"\w+|[^\w\s]")

    def __init__(self, dimensions: int = 512) -> None:
        self.dimensions = dimensions
        self.revision = f"hashing, {dimensions}-d"

    def encode(self, texts: list[str]) -> Floats:
        """Return square roots of signed feature counts."""
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in enumerate(texts):
            words = [word.encode() for word in self.WORD.findall(text.casefold())]
            pairs = [b" ".join(pair) for pair in itertools.pairwise(words)]
            hashes = np.array([zlib.crc32(feature) for feature in words + pairs], np.int64)
            signs = 1.0 - 2.0 * (hashes >> 31)
            np.add.at(vectors[row], hashes % self.dimensions, signs)
        return np.sign(vectors) * np.sqrt(np.abs(vectors))


class SentenceTransformersEncoder:
    """A model of the library sentence-transformers, by hub name or folder."""

    def __init__(self, model: str) -> None:
        package = needed("sentence_transformers", f"encoder 'st:{model}'", "st")
        try:
            self.model = package.SentenceTransformer(model)
        except Exception as error:
            raise EncoderError(
                f"cannot load 'st:{model}': {error}. Give a folder, or a name that the hub knows"
            ) from error
        self.revision = f"st:{model}, sentence-transformers {package.__version__}"

    def encode(self, texts: list[str]) -> Floats:
        """Return the model's sentence vectors."""
        vectors: Floats = self.model.encode(
            texts, batch_size=64, convert_to_numpy=True, show_progress_bar=False
        )
        return vectors


class OpenAIEncoder(OpenAIClient):
    """An OpenAI-compatible embeddings endpoint."""

    KIND, REFUSAL = "encoder", RecipeError
    BATCH = 128

    def encode(self, texts: list[str]) -> Floats:
        """Return the endpoint's vectors, in the order of the texts."""
        rows: list[list[float]] = []
        for start in range(0, len(texts), self.BATCH):
            batch = texts[start : start + self.BATCH]
            try:
                answer = self.client.embeddings.create(
                    model=self.model, input=batch, encoding_format="float"
                )
            except self.package.OpenAIError as error:
                raise EncoderError(f"encoder {self.revision} did not embed: {error}") from error
            rows.extend(self._vectors(answer, len(batch)))
        return _array(rows, self.revision)

    def _vectors(self, answer: Any, count: int) -> list[list[float]]:
        try:
            vectors = {item.index: item.embedding for item in answer.data}
        except (AttributeError, TypeError):
            raise EncoderError(
                f"encoder {self.revision} returned no embeddings; the base URL is the part before "
                "/embeddings, such as http://localhost:8000/v1"
            ) from None
        if len(answer.data) != count or sorted(vectors) != list(range(count)):
            raise EncoderError(
                f"encoder {self.revision} returned {len(answer.data)} vectors for {count} texts, "
                f"{len(vectors)} of them numbered apart; wanted one for each, with its index"
            )
        return [vectors[index] for index in range(count)]


def _array(rows: Any, name: str) -> Floats:
    try:
        return np.asarray(rows, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise EncoderError(f"encoder {name} returned no array of numbers: {error}") from None


def load_encoder(name: str) -> Encoder:
    """Return the encoder of a recipe's name.

    ``wordllama``, ``hashing``, ``st:<model>`` or ``openai:<model>@<base-url>``; any other name
    raises `RecipeError`.
    """
    kind, _, rest = name.partition(":")
    if name == "wordllama":
        return WordLlamaEncoder()
    if name == "hashing":
        return HashingEncoder()
    if kind == "st" and rest:
        return SentenceTransformersEncoder(rest)
    if address := address_in(name):
        return OpenAIEncoder(*address)
    raise RecipeError(
        f"no encoder '{name}'; there: wordllama, hashing, st:<model>, openai:<model>@<base-url>"
    )


def revision(encoder: Encoder) -> str:
    """Return what the manifest says of an encoder."""
    own = getattr(encoder, "revision", None)
    return own if isinstance(own, str) else type(encoder).__qualname__


class Embedded(NamedTuple):
    """Vectors on the grid, by which encoder, and how many of the texts it knew nothing of."""

    vectors: Grid
    unknown: int
    encoder: str


def embed(encoder: Encoder, texts: Sequence[str]) -> Embedded:
    """Return unit vectors of the texts on the grid, int16 of shape (len(texts), d).

    A text of which the encoder knows nothing (a zero vector) gets a direction of its own, taken
    from its hash, so that it is near nothing but itself. Raises `EncoderError` if the encoder
    fails or returns another shape, NaN or infinity.
    """
    return join([embed_chunk(encoder, chunk) for chunk in chunks(texts)])


def chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the texts in the portions that are embedded at a time."""
    for start in range(0, len(texts), CHUNK):
        yield texts[start : start + CHUNK]


def join(parts: list[Embedded]) -> Embedded:
    """Return the portions as one; raise `EncoderError` if they do not fit together."""
    if not parts:
        return Embedded(np.zeros((0, 1), np.int16), 0, "")
    vectors = np.concatenate([part.vectors for part in alike(parts)])
    return Embedded(vectors, **facts_of(parts))


def alike(parts: Iterable[Embedded]) -> Iterator[Embedded]:
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


def facts_of(parts: Iterable[Embedded]) -> dict[str, Any]:
    """Return how many texts the encoder knew nothing of, and which encoder it was."""
    unknown, encoder = 0, ""
    for part in parts:
        unknown, encoder = unknown + part.unknown, part.encoder
    return {"unknown": unknown, "encoder": encoder}


@functools.lru_cache(maxsize=2)
def _loaded(name: str) -> Encoder:
    return load_encoder(name)


def embed_by_name(encoder: str, texts: list[str]) -> Embedded:
    """Return the vectors of one portion of texts by an encoder that a process loads once."""
    return embed_chunk(_loaded(encoder), texts)


def embed_chunk(encoder: Encoder, texts: Sequence[str]) -> Embedded:
    """Return the vectors of one portion of texts."""
    return unit_vectors(encoder, texts, encoded(encoder, texts))


def encoded(encoder: Encoder, texts: Sequence[str]) -> Any:
    """Return what an encoder says of texts, unchecked; raise `EncoderError` if it fails."""
    try:
        return encoder.encode(list(texts))
    except IsaacError:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise EncoderError(f"encoder {revision(encoder)} failed: {kind}: {error}") from error


def unit_vectors(encoder: Encoder, texts: Sequence[str], said: Any) -> Embedded:
    """Return what an encoder said of texts as unit vectors on the grid."""
    name = revision(encoder)
    raw = _array(said, name)
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
    for start in range(0, len(raw), BLOCK):
        rows = raw[start : start + BLOCK]
        norms = np.linalg.norm(rows.astype(np.float64), axis=1)
        nothing = norms < 1e-12
        unit = rows / np.where(nothing, 1, norms)[:, None]
        for row in np.flatnonzero(nothing).tolist():
            unit[row] = _direction(texts[start + row], raw.shape[1])
        vectors[start : start + BLOCK] = np.rint(np.multiply(unit, GRID, out=unit), out=unit)
        unknown += int(nothing.sum())
    return Embedded(vectors, unknown, name)


def _direction(text: str, dimensions: int) -> Floats:
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
    vector = np.random.default_rng(seed).standard_normal(dimensions)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def on_grid(vectors: npt.NDArray[Any]) -> Grid:
    """Return vectors (n, d) of any length as unit vectors on the grid.

    A vector shorter than a hundredth, which is what rounding leaves of a difference of two grid
    vectors, becomes zero.
    """
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit = np.where(norms < 0.01, 0, vectors / np.maximum(norms, 0.01))
    return np.asarray(np.rint(unit * GRID), np.int16)


def as_floats(vectors: Grid) -> Floats:
    """Return grid vectors as float32 near unit length, their dot products exact."""
    return vectors.astype(np.float32) / np.float32(GRID)


__all__ = [
    "CHUNK",
    "GRID",
    "Embedded",
    "Encoder",
    "HashingEncoder",
    "OpenAIEncoder",
    "SentenceTransformersEncoder",
    "WordLlamaEncoder",
    "alike",
    "as_floats",
    "chunks",
    "embed",
    "embed_by_name",
    "embed_chunk",
    "encoded",
    "facts_of",
    "join",
    "load_encoder",
    "on_grid",
    "revision",
    "unit_vectors",
]
