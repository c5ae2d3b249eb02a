"""Hidden states of a causal language model as vectors of texts: how something is said.

The middle layers of a language model hold the tone and the stance of a text. Its last layer and the
vectors of sentence encoders hold its topic instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...runtime.arrays import Floats
from ...text import replace_surrogates
from .base import Dtype, ModelError
from .library_logging import quiet_transformers
from .loading import fingerprint_model, load_model
from .smollm2 import MODEL_NAME
from .transformers import max_sequence_length

MAX_TOKENS = 512
"""Tokens of a text that are read, from its beginning."""

MAX_TOKEN_CHARACTERS = 64
"""Characters per token that are tokenized at most, which bounds the work for huge texts."""

MIDDLE = 8 / 15
"""Which layer is taken by default, as a share of all layers: layer 16 of SmolLM2's 30."""

CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 512, 16_384
"""Tokens that are read at a time."""


class _LayerReached(Exception):  # noqa: N818 - it signals success
    """Ends a forward pass at the layer whose states are wanted; has the states (n, length, d)."""

    def __init__(self, states: Any) -> None:
        super().__init__()
        self.states = states


class HiddenStates:
    """An encoder: the mean state of a text's tokens after one layer of a causal language model.

    ``name`` is a model that `load_model` takes; ``layer`` counts from 1 and defaults to `MIDDLE`
    of all layers. Each text is read by itself, up to `MAX_TOKENS` tokens, after a token that starts
    a sequence. This token is left out of the mean: models use the first token as an attention sink,
    and its state is so large that a mean with it would show the length of a text and little else.

    Texts of the same length are read together, so no text is padded, and other texts in a batch can
    change a vector only by rounding.

    Raises `MissingExtraError` without torch or transformers, and `ModelError` if the model cannot
    be loaded, is an encoder-decoder, or has no such layer.
    """

    def __init__(
        self, name: str = MODEL_NAME, layer: int | None = None, *, dtype: Dtype | None = None
    ) -> None:
        loaded = load_model(name, dtype=dtype, merged=True)
        if loaded.seq2seq:
            raise ModelError(
                f"'{name}' is an encoder-decoder; hidden states need a causal language model"
            )
        import torch
        import transformers

        layers = _find_layers(loaded.model, name)
        self.layer = layer or max(round(MIDDLE * len(layers)), 1)
        if not 1 <= self.layer <= len(layers):
            raise ModelError(f"'{name}' has no layer {self.layer}; available: 1 to {len(layers)}")
        layers[self.layer - 1].register_forward_hook(_stop_at_layer)
        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self.width = int(self.model.config.get_text_config().hidden_size)
        start = self.tokenizer.bos_token_id
        self.start = self.tokenizer.eos_token_id if start is None else start
        self.max_tokens = min(MAX_TOKENS, (max_sequence_length(loaded) or MAX_TOKENS + 1) - 1)
        on_gpu = self.model.device.type != "cpu"
        self.batch_tokens = GPU_BATCH_TOKENS if on_gpu else CPU_BATCH_TOKENS
        self.revision = (
            f"states:{name}@{self.layer}, {fingerprint_model(loaded.base) or loaded.base}, "
            f"{str(self.model.dtype).removeprefix('torch.')}, "
            f"torch {torch.__version__}, transformers {transformers.__version__}"
        )

    def encode(self, texts: list[str]) -> Floats:
        """Compute the mean states, float32 (n, d); zeros for a text without tokens."""
        vectors = np.zeros((len(texts), self.width), np.float32)
        tokens = self._tokenize(texts)
        for rows in self._iter_batches(tokens):
            vectors[rows] = self._mean_states([tokens[row] for row in rows])
        return vectors

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        limit = self.max_tokens * MAX_TOKEN_CHARACTERS
        beginnings = [replace_surrogates(text[:limit]) for text in texts]
        if not beginnings:
            return []
        with quiet_transformers():
            encoded = self.tokenizer(beginnings, add_special_tokens=False)["input_ids"]
        return [ids[: self.max_tokens] for ids in encoded]

    def _iter_batches(self, tokens: list[list[int]]) -> Iterator[list[int]]:
        """Yield the rows of batches of texts that have the same number of tokens, at least one."""
        by_length: dict[int, list[int]] = {}
        for row, ids in enumerate(tokens):
            if ids:
                by_length.setdefault(len(ids), []).append(row)
        # Longest first, so that memory runs out early if at all.
        for length, rows in sorted(by_length.items(), reverse=True):
            size = max(self.batch_tokens // (length + 1), 1)
            for start in range(0, len(rows), size):
                yield rows[start : start + size]

    def _mean_states(self, tokens: list[list[int]]) -> Floats:
        import torch

        ids = torch.tensor([[self.start, *text] for text in tokens], device=self.model.device)
        try:
            with torch.inference_mode():
                self.model(input_ids=ids, use_cache=False)
        except _LayerReached as reached:
            means: Floats = reached.states[:, 1:].float().mean(dim=1).cpu().numpy()
            return means
        except torch.OutOfMemoryError:
            raise ModelError(
                f"the GPU does not have enough memory for {len(tokens)} texts of "
                f"{len(tokens[0])} tokens at a time"
            ) from None
        raise ModelError(f"the model did not reach layer {self.layer}; is it a causal model?")


def _find_layers(model: Any, name: str) -> Any:
    """Find the list of a model's layers, whatever its architecture calls it."""
    import torch

    count = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return module
    raise ModelError(f"cannot find the {count} layers of '{name}'; use another causal model")


def _stop_at_layer(_module: Any, _inputs: Any, output: Any) -> None:
    raise _LayerReached(output[0] if isinstance(output, tuple) else output)


def parse_states_name(rest: str) -> tuple[str, int | None]:
    """Split what follows ``states:`` in an encoder name, such as ``smollm2@16``."""
    name, at, layer = rest.rpartition("@")
    return (name, int(layer)) if at and name and layer.isdecimal() else (rest, None)


__all__ = ["HiddenStates", "parse_states_name"]
