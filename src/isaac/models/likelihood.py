"""How likely a causal language model finds texts: the forward perplexity of replies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..errors import needed
from . import ModelError

LENGTH = 1024
"""Tokens of a text that are read at most."""


class Likelihood(NamedTuple):
    """The negative log-likelihood of texts in nats, and the tokens that it is a sum over."""

    nats: float
    tokens: int

    @property
    def perplexity(self) -> float:
        """Return the perplexity a token, NaN without tokens."""
        return math.exp(self.nats / self.tokens) if self.tokens else math.nan


def likelihood(
    model: Any,
    tokenizer: Any,
    pairs: Sequence[tuple[str, str]],
    batch: int = 8,
    tick: Callable[[int], None] = lambda _: None,
) -> Likelihood:
    """Return how likely a causal model finds each second text after the first.

    ``model`` and ``tokenizer`` are those of transformers. A text is tokenised by itself, after its
    context and a line's end, and cut at `LENGTH` tokens with it, the context from its start.
    """
    torch = needed("torch", "a reference model", "evaluate")
    nats, tokens = 0.0, 0
    model.eval()
    for start in range(0, len(pairs), batch):
        chunk = [_encoded(tokenizer, *pair) for pair in pairs[start : start + batch]]
        width = max(len(ids) for ids, _ in chunk)
        rows = torch.zeros((len(chunk), width), dtype=torch.long)
        labels = torch.full((len(chunk), width), -100)
        seen = torch.zeros((len(chunk), width), dtype=torch.long)
        for row, (ids, skipped) in enumerate(chunk):
            rows[row, : len(ids)] = torch.tensor(ids)
            seen[row, : len(ids)] = 1
            labels[row, skipped : len(ids)] = rows[row, skipped : len(ids)]
        with torch.inference_mode():
            place = model.device
            logits = model(input_ids=rows.to(place), attention_mask=seen.to(place)).logits
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1), labels[:, 1:].to(place).flatten(), reduction="sum"
        )
        nats += float(loss)
        tokens += int((labels[:, 1:] != -100).sum())
        tick(len(chunk))
    return Likelihood(nats, tokens)


def _encoded(tokenizer: Any, context: str, text: str) -> tuple[list[int], int]:
    """Return tokens of a context and a text, and how many of them are not of the text."""
    before = tokenizer(context + "\n", add_special_tokens=False)["input_ids"]
    after = tokenizer(text, add_special_tokens=False)["input_ids"][: LENGTH // 2]
    before = before[max(len(before) + len(after) + 1 - LENGTH, 0) :]
    start = tokenizer.bos_token_id
    before = before if start is None else [start, *before]
    return [*before, *after], len(before)


def load_reference(name: str) -> tuple[Any, Any]:
    """Return the model and the tokenizer of a name that `load_chat_model` knows, if it is local."""
    from . import load_chat_model

    loaded = load_chat_model(name)
    model, tokenizer = getattr(loaded, "model", None), getattr(loaded, "tokenizer", None)
    two_parts = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    if model is None or tokenizer is None or two_parts:
        raise ModelError(
            f"'{name}' gives no likelihoods; a reference model is a causal model: a folder, "
            "a hub's name or smollm2"
        )
    return model, tokenizer


__all__ = ["Likelihood", "likelihood", "load_reference"]
