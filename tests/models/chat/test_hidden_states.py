from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import isaac.models.chat.loading
from isaac.errors import MissingExtraError
from isaac.models.chat.base import ModelError
from isaac.models.chat.hidden_states import MAX_TOKENS, HiddenStates, parse_states_name
from isaac.models.encoders import encoder_revision, load_encoder

from ...tiny import save_llama, save_t5

TEXTS = ["hello there", "a longer text that says more", "hi", "", "hello where", "x" * 5000]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_llama(tmp_path_factory.mktemp("llama")))


def test_states_are_means_after_one_layer_without_the_first_token(llama: str) -> None:
    import torch

    encoder = HiddenStates(llama, 1)
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 16)
    assert vectors.dtype == np.float32
    assert not vectors[3].any()  # a text without tokens
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(llama)
    tokenizer = AutoTokenizer.from_pretrained(llama)
    ids = [tokenizer.bos_token_id, *tokenizer("hello there", add_special_tokens=False)["input_ids"]]
    with torch.inference_mode():
        states = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    assert np.allclose(vectors[0], states[1][0, 1:].mean(0).numpy(), atol=1e-5)


def test_a_vector_does_not_depend_on_the_other_texts(llama: str) -> None:
    encoder = HiddenStates(llama)
    together = encoder.encode(TEXTS)
    backwards = encoder.encode(TEXTS[::-1])[::-1]
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert np.allclose(together, alone, atol=1e-6)
    assert np.allclose(backwards, alone, atol=1e-6)
    assert encoder.encode([]).shape == (0, 16)


def test_only_the_beginning_of_a_long_text_is_read(llama: str) -> None:
    encoder = HiddenStates(llama)
    start = "y" * MAX_TOKENS
    one, other = encoder.encode([start + " one end", start + " another"])
    assert np.allclose(one, other, atol=1e-6)


def test_an_encoder_name_has_a_model_and_may_have_a_layer(llama: str) -> None:
    assert parse_states_name("smollm2@16") == ("smollm2", 16)
    assert parse_states_name("smollm2") == ("smollm2", None)
    assert parse_states_name("org/model@main") == ("org/model@main", None)
    encoder = load_encoder(f"states:{llama}@2")
    assert encoder_revision(encoder).startswith(f"states:{llama}@2, ")
    default = load_encoder(f"states:{llama}")
    assert encoder_revision(default).startswith(f"states:{llama}@1, ")


def test_models_without_such_states_are_refused(
    llama: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="has no layer 3; available: 1 to 2"):
        HiddenStates(llama, 3)
    with pytest.raises(ModelError, match="encoder-decoder"):
        HiddenStates(str(save_t5(tmp_path)))
    monkeypatch.setattr(isaac.models.chat.loading, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"\[train\]"):
        load_encoder("states:smollm2")
