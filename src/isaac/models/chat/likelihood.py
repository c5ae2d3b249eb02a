"""How likely a causal language model finds texts: the forward perplexity of replies."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...errors import require_extra
from .base import Dtype, ModelError

MAX_TOKENS = 1024
"""Tokens of a text that are read at most."""


class Likelihood(NamedTuple):
    """The negative log-likelihood of texts in nats, and the tokens that it is a sum over."""

    nats: float
    tokens: int

    @property
    def perplexity(self) -> float:
        """Return the perplexity a token, NaN without tokens."""
        return math.exp(self.nats / self.tokens) if self.tokens else math.nan


def compute_likelihood(
    model: Any,
    tokenizer: Any,
    pairs: Sequence[tuple[str, str]],
    batch: int = 8,
    tick: Callable[[int], None] = lambda _: None,
) -> Likelihood:
    """Return how likely a causal model finds each second text after the first.

    ``model`` and ``tokenizer`` are those of transformers. A text is tokenised by itself, after its
    context and a line's end, and cut with it at `MAX_TOKENS` tokens, or as many as the model reads,
    the context from its start.
    """
    torch = require_extra("torch", "a reference model", "evaluate")
    most = min(MAX_TOKENS, getattr(model.config, "max_position_embeddings", None) or MAX_TOKENS)
    encoded = [_tokenize_pair(tokenizer, *pair, most) for pair in pairs]
    encoded.sort(key=lambda one: one.skipped)
    nats, tokens = 0.0, 0
    model.eval()
    for start in range(0, len(encoded), batch):
        chunk = encoded[start : start + batch]
        rows = torch.nn.utils.rnn.pad_sequence([torch.tensor(one.ids) for one in chunk], True)
        at = torch.arange(rows.shape[1])
        seen = at < torch.tensor([[len(one.ids)] for one in chunk])
        said = seen & (at >= torch.tensor([[one.skipped] for one in chunk]))
        labels = rows.where(said, -100)
        first = max(0, chunk[0].skipped - 1)
        with torch.inference_mode():
            place = model.device
            logits = _compute_logits(model, rows.to(place), seen.long().to(place), first)
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1),
            labels[:, first + 1 :].to(place).flatten(),
            reduction="sum",
        )
        nats += float(loss)
        tokens += int((labels[:, first + 1 :] != -100).sum())
        tick(len(chunk))
    return Likelihood(nats, tokens)


def _compute_logits(model: Any, rows: Any, seen: Any, first: int) -> Any:
    """Return the scores of every token after each place from the first on.

    A vocabulary is large: those of the contexts are not made, where a model can leave them out.
    """
    import torch

    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        return model(input_ids=rows, attention_mask=seen).logits[:, first:]
    keep = torch.arange(first, rows.shape[1], device=rows.device)
    return model(input_ids=rows, attention_mask=seen, logits_to_keep=keep).logits


class _TokenizedPair(NamedTuple):
    """Tokens of a context and a text, and how many of them are not of the text."""

    ids: list[int]
    skipped: int


def _tokenize_pair(tokenizer: Any, context: str, text: str, most: int) -> _TokenizedPair:
    before = tokenizer(context + "\n", add_special_tokens=False)["input_ids"]
    after = tokenizer(text, add_special_tokens=False)["input_ids"][: most // 2]
    before = before[max(len(before) + len(after) + 1 - most, 0) :]
    start = tokenizer.bos_token_id
    before = before if start is None else [start, *before]
    return _TokenizedPair([*before, *after], len(before))


def load_reference_model(name: str, dtype: Dtype | None = None) -> tuple[Any, Any]:
    """Return the model and the tokenizer of a name that `load_chat_model` knows, if it is local."""
    from . import load_chat_model

    loaded = load_chat_model(name, dtype=dtype)
    model, tokenizer = getattr(loaded, "model", None), getattr(loaded, "tokenizer", None)
    two_parts = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    if model is None or tokenizer is None or two_parts:
        raise ModelError(
            f"'{name}' gives no likelihoods; a reference model is a causal model: a folder, "
            "a hub's name or smollm2"
        )
    return model, tokenizer


__all__ = ["Likelihood", "compute_likelihood", "load_reference_model"]
