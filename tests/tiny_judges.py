"""Judge models with a few thousand random weights: they test the plumbing, not the verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isaac.models.chat.library_logging import quiet_transformers

torch = pytest.importorskip("torch", reason="the extra 'evaluate' is not installed")
transformers = pytest.importorskip("transformers", reason="the extra 'evaluate' is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="the extra 'evaluate' is not installed")

WORDS = (
    "[PAD] [UNK] [CLS] [SEP] <|end|> yes no safe unsafe hello there you are bad good why user "
    "assistant : a b c"
).split()


def make_tokenizer(**settings: Any) -> Any:
    """A tokenizer with one token per word, which encodes pairs as BERT does."""
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        **settings,
    )


def save_classifier(
    folder: Path, labels: list[str], logits: list[float] | None = None, **more: Any
) -> Path:
    """Save a tiny BERT; with ``logits``, it gives every text these logits."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        **more,
    )
    model = transformers.BertForSequenceClassification(config)
    if logits is not None:
        with torch.no_grad():
            model.classifier.weight.zero_()
            model.classifier.bias.copy_(torch.tensor(logits))
    with quiet_transformers():
        model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def save_causal(folder: Path) -> Path:
    """Save a tiny Llama with a chat template."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    with quiet_transformers():
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = make_tokenizer(eos_token="[SEP]", additional_special_tokens=["<|end|>"])
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }} : {{ m.content }} <|end|> {% endfor %}"
    )
    tokenizer.save_pretrained(folder)
    return folder
