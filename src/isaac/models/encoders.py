"""Encoders."""

from __future__ import annotations

import functools
import itertools
import logging
import re
import zlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import EncoderError, IsaacError, RecipeError, require_extra
from ..runtime.arrays import Floats
from .openai_client import OpenAIClient, parse_openai_name


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

    BLOCK_TOKENS = 65_536

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
            for start in range(0, len(ids), self.BLOCK_TOKENS):
                vectors[row] += self.table[ids[start : start + self.BLOCK_TOKENS]].sum(axis=0)
            vectors[row] /= max(len(ids), 1)
        return vectors


class HashingEncoder:
    """Words and word pairs hashed to signed dimensions; no model, any language.

    Weinberger et al., Feature Hashing for Large Scale Multitask Learning, 2009.
    """

    TOKEN_PATTERN = re.compile(r"\w+|[^\w\s]")

    def __init__(self, dimensions: int = 512) -> None:
        self.dimensions = dimensions
        self.revision = f"hashing, {dimensions}-d"

    def encode(self, texts: list[str]) -> Floats:
        """Return square roots of signed feature counts."""
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in enumerate(texts):
            words = [word.encode() for word in self.TOKEN_PATTERN.findall(text.casefold())]
            pairs = [b" ".join(pair) for pair in itertools.pairwise(words)]
            hashes = np.array([zlib.crc32(feature) for feature in words + pairs], np.int64)
            signs = 1.0 - 2.0 * (hashes >> 31)
            np.add.at(vectors[row], hashes % self.dimensions, signs)
        return np.sign(vectors) * np.sqrt(np.abs(vectors))


class SentenceTransformersEncoder:
    """A model of the library sentence-transformers, by hub name or folder."""

    def __init__(self, model: str) -> None:
        package = require_extra("sentence_transformers", f"encoder 'st:{model}'", "st")
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
    BATCH_SIZE = 128

    def encode(self, texts: list[str]) -> Floats:
        """Return the endpoint's vectors, in the order of the texts."""
        rows: list[list[float]] = []
        for start in range(0, len(texts), self.BATCH_SIZE):
            batch = texts[start : start + self.BATCH_SIZE]
            try:
                answer = self.client.embeddings.create(
                    model=self.model, input=batch, encoding_format="float"
                )
            except self.package.OpenAIError as error:
                raise EncoderError(f"encoder {self.revision} did not embed: {error}") from error
            rows.extend(self._parse_vectors(answer, len(batch)))
        return as_float32_array(rows, self.revision)

    def _parse_vectors(self, answer: Any, count: int) -> list[list[float]]:
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


def as_float32_array(rows: Any, name: str) -> Floats:
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
    if address := parse_openai_name(name):
        return OpenAIEncoder(*address)
    raise RecipeError(
        f"no encoder '{name}'; there: wordllama, hashing, st:<model>, openai:<model>@<base-url>"
    )


def encoder_revision(encoder: Encoder) -> str:
    """Return what the manifest says of an encoder."""
    own = getattr(encoder, "revision", None)
    return own if isinstance(own, str) else type(encoder).__qualname__


@functools.lru_cache(maxsize=2)
def load_cached_encoder(name: str) -> Encoder:
    return load_encoder(name)


def encode_texts(encoder: Encoder, texts: Sequence[str]) -> Any:
    """Return what an encoder says of texts, unchecked; raise `EncoderError` if it fails."""
    try:
        return encoder.encode(list(texts))
    except IsaacError:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise EncoderError(
            f"encoder {encoder_revision(encoder)} failed: {kind}: {error}"
        ) from error
