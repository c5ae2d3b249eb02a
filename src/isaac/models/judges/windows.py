"""Shared parts of local judges: loading pretrained models, and reading long texts in windows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import JudgeError, require_extra
from ...runtime.arrays import Reals
from ...text import format_error, make_printable, replace_surrogates
from ..chat.library_logging import quiet_transformers
from ..chat.weights import LOADING_INFO, WeightsError, check_weights
from .base import UNSAFE_THRESHOLD, FailedJudgment, Judgment, apply_threshold

MAX_JUDGED_CHARACTERS = 200_000
"""Longest context or response that a judge reads; an exchange with a longer one is unscored."""

WINDOW_TOKENS = 512
"""Tokens in a classifier's window; fewer if the model's own limit is lower."""

BATCH_SEQUENCES = 32
"""Windows (of a classifier) or prompts (of a guard) per batch."""


class TransformersModules(NamedTuple):
    """The packages torch and transformers, imported."""

    torch: Any
    transformers: Any


def import_transformers(used_by: str) -> TransformersModules:
    """Import torch and transformers.

    Raises `MissingExtraError`, naming ``used_by``, if they are not installed.
    """
    return TransformersModules(
        *(require_extra(name, used_by, "evaluate") for name in TransformersModules._fields)
    )


def load_pretrained(
    modules: TransformersModules, auto_class: str, model: str, used_by: str, **settings: Any
) -> Any:
    """Load a model, tokenizer or configuration with one of transformers' Auto classes.

    Raises `JudgeError`, naming ``used_by``, if it cannot be loaded.
    """
    try:
        with quiet_transformers():
            return getattr(modules.transformers, auto_class).from_pretrained(model, **settings)
    except Exception as error:
        raise JudgeError(
            f"cannot load {used_by}: {format_error(error)}. Give a folder with a model, or the "
            "name of a model on the Hugging Face Hub"
        ) from error


def load_weights(modules: TransformersModules, auto_class: str, model: str, used_by: str) -> Any:
    """Load a model with one of transformers' Auto classes; `JudgeError` if weights are missing."""
    weights, info = load_pretrained(modules, auto_class, model, used_by, **LOADING_INFO)
    try:
        check_weights(weights, info, model)
    except WeightsError as error:
        raise JudgeError(make_printable(f"cannot load {used_by}: {error}")) from None
    return weights


def move_to_device(modules: TransformersModules, model: Any) -> Any:
    """Move a model to the GPU, or the CPU if there is none, and switch it to inference."""
    return model.to("cuda" if modules.torch.cuda.is_available() else "cpu").eval()


def compute_revision(model: str, config: Any) -> str:
    """Identify a model's weights by their commit on the Hub, or by a digest of its folder."""
    folder = Path(model)
    if not folder.is_dir():
        return f"{model} {getattr(config, '_commit_hash', None) or 'of unknown revision'}"
    sha = hashlib.sha256()
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        with file.open("rb") as data:
            sha.update(f"{file.name} {file.stat().st_size} ".encode())
            while block := data.read(2**20):
                sha.update(block)
    return f"{folder.name} sha256:{sha.hexdigest()[:16]}"


def find_length_problem(context: str, response: str) -> str | None:
    """The error message if the context or the response is too long to judge, else None."""
    longest = max(len(context), len(response))
    if longest <= MAX_JUDGED_CHARACTERS:
        return None
    return f"text too long: expected at most {MAX_JUDGED_CHARACTERS:,} characters, got {longest:,}"


class WindowedClassifier:
    """A classifier that reads texts, or pairs of texts, of any length in windows.

    A response that is longer than a window is split into windows that overlap by an eighth. Each
    window also contains the end of the context, which takes at most half of it.
    """

    def __init__(
        self, modules: TransformersModules, tokenizer: Any, model: Any, window: int = WINDOW_TOKENS
    ) -> None:
        self.modules, self.tokenizer, self.model = modules, tokenizer, model
        positions = getattr(model.config, "max_position_embeddings", None) or WINDOW_TOKENS + 2
        self.window = min(window, int(tokenizer.model_max_length), positions - 2)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
            model.config.pad_token_id = tokenizer.pad_token_id

    def logits(self, contexts: Sequence[str] | None, responses: Sequence[str]) -> list[Reals]:
        """Compute the logits of each response: one array of shape (windows, labels) each."""
        if not responses:
            return []
        encoded = self.encode(contexts, responses)
        response_of_window = encoded.pop("overflow_to_sample_mapping")
        # Batch windows of similar length, so that little of a batch is padding.
        lengths = np.array([len(ids) for ids in encoded["input_ids"]])
        order = np.argsort(lengths, kind="stable")
        window_logits: dict[int, Reals] = {}
        for start in range(0, len(order), BATCH_SEQUENCES):
            batch = order[start : start + BATCH_SEQUENCES].tolist()
            inputs = {name: [values[i] for i in batch] for name, values in encoded.items()}
            window_logits.update(zip(batch, self._forward(inputs), strict=True))
        # Collect the windows of each response, in the order of the text.
        grouped: list[list[Reals]] = [[] for _ in responses]
        for window, response in enumerate(response_of_window):
            grouped[response].append(window_logits[window])
        return [np.stack(logits) for logits in grouped]

    def encode(self, contexts: Sequence[str] | None, responses: Sequence[str]) -> dict[str, Any]:
        """Tokenize into windows; ``overflow_to_sample_mapping`` maps windows to responses."""
        options: dict[str, Any] = {
            "max_length": self.window,
            "stride": self.window // 8,
            "return_overflowing_tokens": True,
        }
        texts = [replace_surrogates(text) for text in responses]
        if contexts is None:
            return dict(self.tokenizer(texts, truncation=True, **options))
        ends = self._truncate_contexts([replace_surrogates(text) for text in contexts])
        return dict(self.tokenizer(ends, texts, truncation="only_second", **options))

    def _truncate_contexts(self, contexts: list[str]) -> list[str]:
        """Truncate the contexts at the start, to at most half a window of tokens."""
        half = self.window // 2
        encoded = self.tokenizer(contexts, add_special_tokens=False, return_offsets_mapping=True)
        return [
            text[offsets[-half][0] :] if len(offsets) > half else text
            for text, offsets in zip(contexts, encoded["offset_mapping"], strict=True)
        ]

    def _forward(self, inputs: dict[str, Any]) -> Reals:
        padded = self.tokenizer.pad(inputs, return_tensors="pt").to(self.model.device)
        with self.modules.torch.inference_mode():
            logits = self.model(**padded).logits
        return np.asarray(logits.float().cpu().numpy(), np.float64)


def judge_in_windows(
    reader: WindowedClassifier,
    score: Callable[[Reals], float],
    contexts: Sequence[str] | None,
    responses: Sequence[str],
) -> list[Judgment]:
    """Judge with a classifier that reads long texts in windows.

    ``score`` turns the logits (windows, labels) of one response into its score. An exchange whose
    texts are too long is unscored. If ``contexts`` is None, only the responses are read.
    """

    def compute_scores(
        readable_contexts: Sequence[str], readable_responses: Sequence[str]
    ) -> list[float]:
        pair_contexts = None if contexts is None else readable_contexts
        return [score(logits) for logits in reader.logits(pair_contexts, readable_responses)]

    return judge_by_scores(compute_scores, contexts or responses, responses)


def judge_by_scores(
    compute_scores: Callable[[Sequence[str], Sequence[str]], Sequence[float]],
    contexts: Sequence[str],
    responses: Sequence[str],
    threshold: float = UNSAFE_THRESHOLD,
) -> list[Judgment]:
    """Judge by one score per exchange; an exchange whose texts are too long is unscored."""
    problems = [find_length_problem(*pair) for pair in zip(contexts, responses, strict=True)]
    readable = [index for index, problem in enumerate(problems) if problem is None]
    texts = [contexts[index] for index in readable], [responses[index] for index in readable]
    scores = compute_scores(*texts) if readable else []
    judgments = dict(zip(readable, apply_threshold(scores, threshold), strict=True))
    return [
        judgments[index] if problem is None else FailedJudgment(problem)
        for index, problem in enumerate(problems)
    ]
