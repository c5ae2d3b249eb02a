"""The likelihood of texts under a causal model, against the model's own loss."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from isaac.errors import MissingExtraError
from isaac.models import chat as models
from isaac.models.chat.base import ModelError
from isaac.models.chat.likelihood import MAX_TOKENS, compute_likelihood, load_reference_model

torch = pytest.importorskip("torch", reason="the extra evaluate is not installed")
pytest.importorskip("transformers", reason="the extra evaluate is not installed")


SHORT = {"max_position_embeddings": 64}


class Letters:
    """A tokenizer with one token per letter; token 1 starts a text."""

    bos_token_id = 1

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [2 + ord(letter) % 30 for letter in text]}


@pytest.fixture(scope="module")
def tiny() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=2048,
    )
    return LlamaForCausalLM(config)


def by_hand(model: Any, context: str, text: str) -> float:
    """The loss that the model itself computes, summed over the tokens of the text."""
    before = [1, *Letters()(context + "\n")["input_ids"]]
    after = Letters()(text)["input_ids"]
    labels = torch.tensor([[-100] * len(before) + after])
    with torch.inference_mode():
        loss = model(input_ids=torch.tensor([before + after]), labels=labels).loss
    return float(loss) * len(after)


def test_likelihood_is_the_models_own_loss_on_the_text_alone(tiny: Any) -> None:
    likelihood = compute_likelihood(tiny, Letters(), [("hello", "general")])
    assert likelihood.tokens == len("general")
    assert likelihood.nats == pytest.approx(by_hand(tiny, "hello", "general"), rel=1e-4)
    assert likelihood.perplexity == pytest.approx(math.exp(likelihood.nats / 7))


def test_the_texts_of_a_batch_do_not_affect_each_other(tiny: Any) -> None:
    pairs = [("a", "one"), ("a longer context", "a much longer reply than that"), ("", "x")]
    ticks: list[int] = []
    likelihood = compute_likelihood(tiny, Letters(), pairs, batch=2, tick=ticks.append)
    assert likelihood.nats == pytest.approx(sum(by_hand(tiny, *pair) for pair in pairs), rel=1e-4)
    assert sum(ticks) == 3


def test_no_texts_have_no_perplexity(tiny: Any) -> None:
    assert math.isnan(compute_likelihood(tiny, Letters(), []).perplexity)


def test_long_texts_are_cut(tiny: Any) -> None:
    likelihood = compute_likelihood(tiny, Letters(), [("c" * 3000, "t" * 3000)])
    assert likelihood.tokens == MAX_TOKENS // 2


def test_texts_are_cut_to_the_length_that_the_model_reads(tiny: Any) -> None:
    short = tiny.__class__(tiny.config.__class__(**{**tiny.config.to_dict(), **SHORT}))
    lengths: list[int] = []
    short.register_forward_pre_hook(
        lambda _m, _a, inputs: lengths.append(inputs["input_ids"].shape[1]), with_kwargs=True
    )
    likelihood = compute_likelihood(short, Letters(), [("c" * 3000, "t" * 3000), ("a", "b")])
    assert max(lengths) == 64
    assert likelihood.tokens == 32 + 1


def test_a_reference_model_has_to_be_local_and_causal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "load_chat_model", lambda name, dtype: SimpleNamespace(name=name))
    with pytest.raises(ModelError, match="'openai:x' gives no likelihoods"):
        load_reference_model("openai:x")
    t5 = SimpleNamespace(model=SimpleNamespace(config=SimpleNamespace(is_encoder_decoder=True)))
    t5.tokenizer = "t"
    monkeypatch.setattr(models, "load_chat_model", lambda name, dtype: t5)
    with pytest.raises(ModelError, match="must be a local causal model"):
        load_reference_model("t5")
    causal = SimpleNamespace(model="m", tokenizer="t")
    monkeypatch.setattr(models, "load_chat_model", lambda name, dtype: causal)
    assert load_reference_model("smollm2") == ("m", "t")


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"\[evaluate\]"):
        compute_likelihood(None, None, [])
