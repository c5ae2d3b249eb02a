"""Models, adapters, judges and encoders whose files are not those of the model are refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isaac.errors import EncoderError
from isaac.models.chat.base import ModelError
from isaac.models.chat.library_logging import quiet_transformers
from isaac.models.chat.loading import load_model
from isaac.models.encoders import load_encoder
from isaac.models.judges import JudgeError, load_judge
from tests import tiny

torch = pytest.importorskip("torch", reason="torch is not installed")
peft = pytest.importorskip("peft", reason="PEFT is not installed")
safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")

Weights = dict[str, Any]

ODD_ADAPTERS: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "another prefix": (
        lambda weights: {key.replace(".model.layers", ".layers"): weights[key] for key in weights},
        r"lacks 28 weights \(\S+layers\.0\.\S+ .* has 28 weights .* that the model lacks",
    ),
    "empty": (lambda _: {}, "lacks 28 weights"),
    "shallower": (
        lambda weights: {key: weights[key] for key in weights if ".layers.0." in key},
        r"lacks 14 weights \(\S+layers\.1\.",
    ),
    "deeper": (
        lambda weights: {
            **weights,
            **{
                key.replace(".layers.1.", ".layers.2."): weights[key].clone()
                for key in weights
                if ".layers.1." in key
            },
        },
        r"has 14 weights \(\S+layers\.2\..* that the model lacks",
    ),
}


def rewrite(file: Path, change: Callable[[Weights], Weights]) -> None:
    changed = change(safetensors.load_file(file))
    safetensors.save_file(changed, file, metadata={"format": "pt"})


def set_config(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "layer_types": None, **values}))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_llama(tmp_path_factory.mktemp("llama"))


def save_adapter(base: Path, folder: Path, config: Any) -> Path:
    from transformers import AutoModelForCausalLM

    with quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(base)
        peft.get_peft_model(model, config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("odd", ODD_ADAPTERS)
def test_an_adapter_that_does_not_fit_its_base_is_refused(
    llama: Path, tmp_path: Path, odd: str
) -> None:
    adapter = save_adapter(llama, tmp_path, peft.LoraConfig(target_modules="all-linear"))
    load_model(str(adapter))
    change, message = ODD_ADAPTERS[odd]
    rewrite(adapter / "adapter_model.safetensors", change)
    for merged in (False, True):
        with pytest.raises(ModelError, match=message):
            load_model(str(adapter), merged=merged)


@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": ["q_proj"], "use_dora": True, "bias": "lora_only"},
        {"target_modules": ["q_proj"], "trainable_token_indices": [4, 5]},
        {"target_modules": ["q_proj"], "layers_to_transform": [1], "modules_to_save": ["norm"]},
    ],
    ids=["DoRA", "trained tokens", "some layers and a whole module"],
)
def test_other_adapters_that_fit_are_loaded(
    llama: Path, tmp_path: Path, config: dict[str, Any]
) -> None:
    adapter = save_adapter(llama, tmp_path, peft.LoraConfig(task_type="CAUSAL_LM", **config))
    trained = load_model(str(adapter), trainable=True).model
    assert any(weights.requires_grad for weights in trained.parameters())


def test_learned_prompt_tokens_are_loaded(llama: Path, tmp_path: Path) -> None:
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    assert load_model(str(save_adapter(llama, tmp_path, config)), merged=True).tokenizer


def test_a_model_without_a_layer_is_refused(tmp_path: Path) -> None:
    folder = tiny.save_llama(tmp_path)
    rewrite(
        folder / "model.safetensors",
        lambda weights: {key: weights[key] for key in weights if ".layers.1." not in key},
    )
    with pytest.raises(ModelError, match=r"lacks 9 weights \(model\.layers\.1\.\S+, .*LlamaFor"):
        load_model(str(folder))
    with pytest.raises(ModelError, match="lacks 9 weights"):
        load_encoder(f"states:{folder}")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_hidden_layers": 3}, r"lacks 9 weights \(model\.layers\.2\."),
        ({"num_hidden_layers": 1}, r"9 weights \(model\.layers\.1\.\S+, .* beyond those of its"),
        ({"intermediate_size": 16}, r"another size in 6 weights \(model\.layers\.0\.mlp\."),
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_refused(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    folder = tiny.save_llama(tmp_path)
    set_config(folder, **config)
    with pytest.raises(ModelError, match=message):
        load_model(str(folder))


def test_an_encoder_decoder_with_its_weights_is_loaded(tmp_path: Path) -> None:
    assert load_model(str(tiny.save_t5(tmp_path))).seq2seq


@pytest.mark.parametrize("prefix", ["hf", "hf-pair"])
def test_a_judge_without_a_classification_head_is_refused(llama: Path, prefix: str) -> None:
    with pytest.raises(JudgeError, match=r"cannot load judge .* lacks 1 weight \(score\.weight\)"):
        load_judge(f"{prefix}:{llama}")


def test_a_guard_without_a_layer_is_refused(tmp_path: Path) -> None:
    folder = tiny.save_llama(tmp_path / "llama-guard-3-8b")
    set_config(folder, num_hidden_layers=3)
    with pytest.raises(JudgeError, match=r"cannot load judge 'guard:.* lacks 9 weights"):
        load_judge(f"guard:{folder}")


def save_bert(folder: Path, *, pooler: bool = True) -> Path:
    """A tiny BERT for sentence-transformers."""
    from tokenizers import Tokenizer, models
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "hello": 2}, unk_token="[UNK]"))
    config = BertConfig(
        vocab_size=3, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8
    )
    with quiet_transformers():
        BertModel(config, add_pooling_layer=pooler).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    return folder


def test_a_sentence_encoder_needs_all_its_weights_but_the_pooler(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    from transformers import PreTrainedModel

    untouched = PreTrainedModel.__dict__["from_pretrained"]
    folder = save_bert(tmp_path, pooler=False)
    assert load_encoder(f"st:{folder}").encode(["hello"]).shape == (1, 8)
    set_config(folder, num_hidden_layers=3)
    with pytest.raises(EncoderError, match=re.escape("16 weights (encoder.layer.2.")):
        load_encoder(f"st:{folder}")
    assert PreTrainedModel.__dict__["from_pretrained"] is untouched
