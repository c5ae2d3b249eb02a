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


FEW = {"max_position_embeddings": 64}


class Letters:
    """A tokenizer of letters; 1 begins a text."""

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
    """Return the loss that the model itself gives, by tokens of the text."""
    before = [1, *Letters()(context + "\n")["input_ids"]]
    after = Letters()(text)["input_ids"]
    labels = torch.tensor([[-100] * len(before) + after])
    with torch.inference_mode():
        loss = model(input_ids=torch.tensor([before + after]), labels=labels).loss
    return float(loss) * len(after)


def test_it_is_the_models_own_loss_on_the_text_alone(tiny: Any) -> None:
    found = compute_likelihood(tiny, Letters(), [("hello", "general")])
    assert found.tokens == len("general")
    assert found.nats == pytest.approx(by_hand(tiny, "hello", "general"), rel=1e-4)
    assert found.perplexity == pytest.approx(math.exp(found.nats / 7))


def test_texts_of_a_batch_do_not_matter_to_each_other(tiny: Any) -> None:
    pairs = [("a", "one"), ("a longer context", "a much longer reply than that"), ("", "x")]
    ticks: list[int] = []
    found = compute_likelihood(tiny, Letters(), pairs, batch=2, tick=ticks.append)
    assert found.nats == pytest.approx(sum(by_hand(tiny, *pair) for pair in pairs), rel=1e-4)
    assert sum(ticks) == 3


def test_nothing_has_no_perplexity(tiny: Any) -> None:
    assert math.isnan(compute_likelihood(tiny, Letters(), []).perplexity)


def test_long_texts_are_cut_to_what_is_read(tiny: Any) -> None:
    found = compute_likelihood(tiny, Letters(), [("c" * 3000, "t" * 3000)])
    assert found.tokens == MAX_TOKENS // 2


def test_a_model_that_reads_little_is_given_little(tiny: Any) -> None:
    few = tiny.__class__(tiny.config.__class__(**{**tiny.config.to_dict(), **FEW}))
    asked: list[int] = []
    few.register_forward_pre_hook(
        lambda _m, _a, given: asked.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    found = compute_likelihood(few, Letters(), [("c" * 3000, "t" * 3000), ("a", "b")])
    assert max(asked) == 64
    assert found.tokens == 32 + 1


def test_a_reference_has_to_be_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "load_chat_model", lambda name, dtype: SimpleNamespace(name=name))
    with pytest.raises(ModelError, match="'openai:x' gives no likelihoods"):
        load_reference_model("openai:x")
    both = SimpleNamespace(model=SimpleNamespace(config=SimpleNamespace(is_encoder_decoder=True)))
    both.tokenizer = "t"
    monkeypatch.setattr(models, "load_chat_model", lambda name, dtype: both)
    with pytest.raises(ModelError, match="must be a local causal model"):
        load_reference_model("t5")
    whole = SimpleNamespace(model="m", tokenizer="t")
    monkeypatch.setattr(models, "load_chat_model", lambda name, dtype: whole)
    assert load_reference_model("smollm2") == ("m", "t")


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"isaac-align\[evaluate\]"):
        compute_likelihood(None, None, [])
