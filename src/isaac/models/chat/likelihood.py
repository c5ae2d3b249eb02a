"""The likelihood that a causal language model assigns to texts: forward perplexity of replies."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...errors import require_extra
from .base import Dtype, ModelError

MAX_TOKENS = 1024
"""Maximum length of a context together with its text, in tokens; the rest is cut off."""


class Likelihood(NamedTuple):
    """The negative log-likelihood of texts in nats, and how many tokens it sums over."""

    nats: float
    tokens: int

    @property
    def perplexity(self) -> float:
        """The perplexity per token; NaN without tokens."""
        return math.exp(self.nats / self.tokens) if self.tokens else math.nan


def compute_likelihood(
    model: Any,
    tokenizer: Any,
    pairs: Sequence[tuple[str, str]],
    batch: int = 8,
    tick: Callable[[int], None] = lambda _: None,
) -> Likelihood:
    """Compute the likelihood of the second text of each pair, given the first as its context.

    ``model`` and ``tokenizer`` are from transformers. The text is tokenized separately from its
    context, which ends with a newline. Together they have at most `MAX_TOKENS` tokens, or fewer if
    the model reads fewer: the text loses its end beyond half of that limit, then the context loses
    its start.
    """
    torch = require_extra("torch", "a reference model", "evaluate")
    limit = min(MAX_TOKENS, getattr(model.config, "max_position_embeddings", None) or MAX_TOKENS)
    encoded = [_tokenize_pair(tokenizer, *pair, limit) for pair in pairs]
    # Sort by context length: the pairs of a batch then need logits from about the same position.
    encoded.sort(key=lambda pair: pair.context_length)
    nats, tokens = 0.0, 0
    model.eval()
    for start in range(0, len(encoded), batch):
        chunk = encoded[start : start + batch]
        # Token ids (pairs, longest), padded at the end.
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(pair.ids) for pair in chunk], True)
        position = torch.arange(ids.shape[1])
        # Masks (pairs, longest) of all tokens but padding, and of the tokens of the text alone.
        attended = position < torch.tensor([[len(pair.ids)] for pair in chunk])
        scored = attended & (position >= torch.tensor([[pair.context_length] for pair in chunk]))
        labels = ids.where(scored, -100)
        # The logits at a position predict the next token: start one before the earliest text.
        first = max(0, chunk[0].context_length - 1)
        device = model.device
        with torch.inference_mode():
            logits = _compute_logits(model, ids.to(device), attended.long().to(device), first)
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1),
            labels[:, first + 1 :].to(device).flatten(),
            reduction="sum",
        )
        nats += float(loss)
        tokens += int((labels[:, first + 1 :] != -100).sum())
        tick(len(chunk))
    return Likelihood(nats, tokens)


def _compute_logits(model: Any, ids: Any, attended: Any, first: int) -> Any:
    """The logits at every position from ``first`` on: (pairs, longest - first, vocabulary).

    The vocabulary is large, so the logits of earlier positions are not computed if the model
    supports that.
    """
    import torch

    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        return model(input_ids=ids, attention_mask=attended).logits[:, first:]
    keep = torch.arange(first, ids.shape[1], device=ids.device)
    return model(input_ids=ids, attention_mask=attended, logits_to_keep=keep).logits


class _TokenizedPair(NamedTuple):
    """Tokens of a context and its text; the first ``context_length`` are not scored."""

    ids: list[int]
    context_length: int


def _tokenize_pair(tokenizer: Any, context: str, text: str, limit: int) -> _TokenizedPair:
    context_ids = tokenizer(context + "\n", add_special_tokens=False)["input_ids"]
    text_ids = tokenizer(text, add_special_tokens=False)["input_ids"][: limit // 2]
    # Leave room for the token that starts a sequence.
    context_ids = context_ids[max(len(context_ids) + len(text_ids) + 1 - limit, 0) :]
    start = tokenizer.bos_token_id
    context_ids = context_ids if start is None else [start, *context_ids]
    return _TokenizedPair([*context_ids, *text_ids], len(context_ids))


def load_reference_model(name: str, dtype: Dtype | None = None) -> tuple[Any, Any]:
    """Load a local causal model and its tokenizer, by a name that `load_chat_model` takes.

    Raises `ModelError` if the name is an endpoint or an encoder-decoder.
    """
    from . import load_chat_model

    loaded = load_chat_model(name, dtype=dtype)
    model, tokenizer = getattr(loaded, "model", None), getattr(loaded, "tokenizer", None)
    encoder_decoder = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    if model is None or tokenizer is None or encoder_decoder:
        raise ModelError(
            f"'{name}' gives no likelihoods; a reference model must be a local causal model: a "
            "folder, the name of a model on the hub, or smollm2"
        )
    return model, tokenizer


__all__ = ["Likelihood", "compute_likelihood", "load_reference_model"]
