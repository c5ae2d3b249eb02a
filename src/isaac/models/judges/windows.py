"""What judges on this machine share: models that load or say why, and texts read in windows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import require_extra
from ...runtime.arrays import Reals
from ...text import format_error, replace_surrogates
from ..chat.library_logging import quiet_transformers
from .base import UNSAFE_THRESHOLD, FailedJudgment, JudgeError, Judgment, apply_threshold

MAX_JUDGED_CHARACTERS = 200_000
"""Characters of a context or a response above which it is not read, and so not judged."""

WINDOW_TOKENS = 512
"""Tokens that a classifier reads at a time, fewer if it was made for fewer."""

BATCH_SEQUENCES = 32
"""Windows, or prompts, that a model reads at a time."""


class TransformersModules(NamedTuple):
    """The packages that run models, loaded."""

    torch: Any
    transformers: Any


def import_transformers(what: str) -> TransformersModules:
    """Return torch and transformers; raise `MissingExtraError` for ``what`` without them."""
    return TransformersModules(
        *(require_extra(name, what, "evaluate") for name in TransformersModules._fields)
    )


def load_pretrained(
    tools: TransformersModules, kind: str, model: str, what: str, **settings: Any
) -> Any:
    """Return a pretrained thing of one of transformers' Auto classes.

    Raises `JudgeError` if it cannot be had; ``what`` is what the error calls it.
    """
    try:
        with quiet_transformers():
            return getattr(tools.transformers, kind).from_pretrained(model, **settings)
    except Exception as error:
        raise JudgeError(
            f"cannot load {what}: {format_error(error)}. Give a folder, or a name that the hub knows"
        ) from error


def move_to_device(tools: TransformersModules, model: Any) -> Any:
    """Return a model ready to be asked, on a GPU if there is one."""
    return model.to("cuda" if tools.torch.cuda.is_available() else "cpu").eval()


def compute_revision(model: str, config: Any) -> str:
    """Return what a model's answers depend on: the hub's commit, or a digest of the folder."""
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
    """Check the lengths of an exchange; get an error message if it is too long to judge."""
    longest = max(len(context), len(response))
    if longest <= MAX_JUDGED_CHARACTERS:
        return None
    return (
        f"text too long: expected at most {MAX_JUDGED_CHARACTERS:,} characters, got {longest:,}"
    )


class WindowedClassifier:
    """A classifier that reads texts, or pairs of texts, of any length in windows.

    A response longer than a window is read in several that overlap by an eighth; of a context, the
    last half window is read with each of them.
    """

    def __init__(
        self, tools: TransformersModules, tokenizer: Any, model: Any, window: int = WINDOW_TOKENS
    ) -> None:
        self.tools, self.tokenizer, self.model = tools, tokenizer, model
        positions = getattr(model.config, "max_position_embeddings", None) or WINDOW_TOKENS + 2
        self.window = min(window, int(tokenizer.model_max_length), positions - 2)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
            model.config.pad_token_id = tokenizer.pad_token_id

    def logits(self, contexts: Sequence[str] | None, responses: Sequence[str]) -> list[Reals]:
        """Return of each response the logits of its windows, of shape (windows, labels)."""
        if not responses:
            return []
        encoded = self.encode(contexts, responses)
        owners = encoded.pop("overflow_to_sample_mapping")
        lengths = np.array([len(ids) for ids in encoded["input_ids"]])
        order = np.argsort(lengths, kind="stable")
        found: dict[int, Reals] = {}
        for start in range(0, len(order), BATCH_SEQUENCES):
            places = order[start : start + BATCH_SEQUENCES].tolist()
            rows = {name: [values[i] for i in places] for name, values in encoded.items()}
            found.update(zip(places, self._forward(rows), strict=True))
        windows: list[list[Reals]] = [[] for _ in responses]
        for place, owner in enumerate(owners):
            windows[owner].append(found[place])
        return [np.stack(rows) for rows in windows]

    def encode(self, contexts: Sequence[str] | None, responses: Sequence[str]) -> dict[str, Any]:
        """Return the tokens of each window, and which response each is of."""
        wanted: dict[str, Any] = {
            "max_length": self.window,
            "stride": self.window // 8,
            "return_overflowing_tokens": True,
        }
        texts = [replace_surrogates(text) for text in responses]
        if contexts is None:
            return dict(self.tokenizer(texts, truncation=True, **wanted))
        ends = self._ends([replace_surrogates(text) for text in contexts])
        return dict(self.tokenizer(ends, texts, truncation="only_second", **wanted))

    def _ends(self, contexts: list[str]) -> list[str]:
        """Return the contexts cut to their last half window."""
        half = self.window // 2
        found = self.tokenizer(contexts, add_special_tokens=False, return_offsets_mapping=True)
        return [
            text[offsets[-half][0] :] if len(offsets) > half else text
            for text, offsets in zip(contexts, found["offset_mapping"], strict=True)
        ]

    def _forward(self, rows: dict[str, Any]) -> Reals:
        padded = self.tokenizer.pad(rows, return_tensors="pt").to(self.model.device)
        with self.tools.torch.inference_mode():
            logits = self.model(**padded).logits
        return np.asarray(logits.float().cpu().numpy(), np.float64)


def judge_in_windows(
    reader: WindowedClassifier,
    score: Callable[[Reals], float],
    contexts: Sequence[str] | None,
    responses: Sequence[str],
) -> list[Judgment]:
    """Return the judgements by a score of the logits of each response's windows.

    What is too long to be read is unscored. Without contexts the responses alone are read.
    """

    def scores(asked: Sequence[str], replies: Sequence[str]) -> list[float]:
        given = None if contexts is None else asked
        return [score(rows) for rows in reader.logits(given, replies)]

    return judge_by_scores(scores, contexts or responses, responses)


def judge_by_scores(
    scores: Callable[[Sequence[str], Sequence[str]], Sequence[float]],
    contexts: Sequence[str],
    responses: Sequence[str],
    threshold: float = UNSAFE_THRESHOLD,
) -> list[Judgment]:
    """Return the judgements by what scores contexts and responses; the too long are unscored."""
    whys = [find_length_problem(*pair) for pair in zip(contexts, responses, strict=True)]
    read = [place for place, why in enumerate(whys) if why is None]
    pairs = [contexts[place] for place in read], [responses[place] for place in read]
    found = dict(zip(read, apply_threshold(scores(*pairs) if read else [], threshold), strict=True))
    return [found[place] if why is None else FailedJudgment(why) for place, why in enumerate(whys)]
