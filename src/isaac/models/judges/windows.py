"""What judges on this machine share: models that load or say why, and texts read in windows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import needed
from ...text import encodable, said
from ..chat.library_logging import quiet
from .base import THRESHOLD, Failed, JudgeError, Judgement, by_threshold

Reals = npt.NDArray[np.float64]

LONGEST = 200_000
"""Characters of a context or a response above which it is not read, and so not judged."""

WINDOW = 512
"""Tokens that a classifier reads at a time, fewer if it was made for fewer."""

BATCH = 32
"""Windows, or prompts, that a model reads at a time."""


class Kit(NamedTuple):
    """The packages that run models, loaded."""

    torch: Any
    transformers: Any


def kit(what: str) -> Kit:
    """Return torch and transformers; raise `MissingExtraError` for ``what`` without them."""
    return Kit(*(needed(name, what, "evaluate") for name in Kit._fields))


def load(tools: Kit, kind: str, model: str, what: str, **settings: Any) -> Any:
    """Return a pretrained thing of one of transformers' Auto classes.

    Raises `JudgeError` if it cannot be had; ``what`` is what the error calls it.
    """
    try:
        with quiet():
            return getattr(tools.transformers, kind).from_pretrained(model, **settings)
    except Exception as error:
        raise JudgeError(
            f"cannot load {what}: {said(error)}. Give a folder, or a name that the hub knows"
        ) from error


def placed(tools: Kit, model: Any) -> Any:
    """Return a model ready to be asked, on a GPU if there is one."""
    return model.to("cuda" if tools.torch.cuda.is_available() else "cpu").eval()


def revision_of(model: str, config: Any) -> str:
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


def too_long(context: str, response: str) -> str | None:
    """Return why an exchange is not read, None if it is."""
    longest = max(len(context), len(response))
    if longest <= LONGEST:
        return None
    return f"a text of {longest:,} characters is not read; at most {LONGEST:,} are"


class Reader:
    """A classifier that reads texts, or pairs of texts, of any length in windows.

    A response longer than a window is read in several that overlap by an eighth; of a context, the
    last half window is read with each of them.
    """

    def __init__(self, tools: Kit, tokenizer: Any, model: Any, window: int = WINDOW) -> None:
        self.tools, self.tokenizer, self.model = tools, tokenizer, model
        positions = getattr(model.config, "max_position_embeddings", None) or WINDOW + 2
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
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH].tolist()
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
        texts = [encodable(text) for text in responses]
        if contexts is None:
            return dict(self.tokenizer(texts, truncation=True, **wanted))
        ends = self._ends([encodable(text) for text in contexts])
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


def judged_in_windows(
    reader: Reader,
    score: Callable[[Reals], float],
    contexts: Sequence[str] | None,
    responses: Sequence[str],
) -> list[Judgement]:
    """Return the judgements by a score of the logits of each response's windows.

    What is too long to be read is unscored. Without contexts the responses alone are read.
    """

    def scores(asked: Sequence[str], replies: Sequence[str]) -> list[float]:
        given = None if contexts is None else asked
        return [score(rows) for rows in reader.logits(given, replies)]

    return judged_if_short(scores, contexts or responses, responses)


def judged_if_short(
    scores: Callable[[Sequence[str], Sequence[str]], Sequence[float]],
    contexts: Sequence[str],
    responses: Sequence[str],
    threshold: float = THRESHOLD,
) -> list[Judgement]:
    """Return the judgements by what scores contexts and responses; the too long are unscored."""
    whys = [too_long(*pair) for pair in zip(contexts, responses, strict=True)]
    read = [place for place, why in enumerate(whys) if why is None]
    pairs = [contexts[place] for place in read], [responses[place] for place in read]
    found = dict(zip(read, by_threshold(scores(*pairs) if read else [], threshold), strict=True))
    return [found[place] if why is None else Failed(why) for place, why in enumerate(whys)]
