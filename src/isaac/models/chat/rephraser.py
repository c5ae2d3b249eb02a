"""Rephrasers: models that rewrite a response given what it answers.

How the two are put to a model stands here alone, for training and for rewriting.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .base import Conversation, Decoding, ModelError
from .transformers import LocalModel

METADATA_FILE = "isaac.json"
"""The file in a model's folder that says what it was trained for."""

WITHOUT_VALUES = "without_values"
"""What the file says of a model that rewrites turns of dialogues without their values."""

INSTRUCTION = (
    "Rewrite the last response of a conversation so that it is one that people would agree with. "
    "Leave it as it is if it already is. Say nothing but the response."
)


def build_chat_prompt(context: str, response: str, *, system: bool = True) -> Conversation:
    """Return what a causal model is asked: to rewrite a response to a context.

    What is to be done stands in a system turn, or in the user's for a model that has no such turn.
    """
    said = f"Conversation:\n{context}\n\nResponse:\n{response}"
    if not system:
        return [{"role": "user", "content": f"{INSTRUCTION}\n\n{said}"}]
    return [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": said}]


def supports_system_role(tokenizer: Any) -> bool:
    """Say whether a tokenizer's chat template has a system turn; that of Gemma refuses one."""
    try:
        return INSTRUCTION in tokenizer.apply_chat_template(
            build_chat_prompt("", ""), tokenize=False
        )
    except Exception:  # a template is code of its own
        return False


def build_text_prompt(context: str, response: str) -> str:
    """Return what an encoder reads: the context and the response to be rewritten."""
    return f"rewrite the response. context: {context}\nresponse: {response}"


class TrainedRephraser:
    """A trained model that rewrites responses; see `load_rephraser`."""

    def __init__(self, model: LocalModel, decoding: Decoding) -> None:
        self.model, self.decoding = model, decoding
        self.system = not model.seq2seq and supports_system_role(model.tokenizer)

    def rewrite(
        self, contexts: Sequence[str], responses: Sequence[str], seed: int = 0
    ) -> list[str | None]:
        """Return a new response for each context and response; None where the model gave none.

        A reply without a word counts as none. The seed matters where the decoding's temperature
        is above 0.
        """
        asked = [
            self._prepare(context, response)
            for context, response in zip(contexts, responses, strict=True)
        ]
        replies = self.model.reply(asked, self.decoding._replace(seed=seed))
        return [reply or None for reply in replies]

    def _prepare(self, context: str, response: str) -> Conversation:
        if self.model.seq2seq:
            return [{"role": "user", "content": build_text_prompt(context, response)}]
        return build_chat_prompt(context, response, system=self.system)

    @property
    def first_error(self) -> str | None:
        """Return why the model gave no reply, the first time that it did not."""
        return self.model.first_error


def load_rephraser(
    folder: str | Path, *, batch: int = 16, decoding: Decoding | None = None
) -> TrainedRephraser:
    """Return the rephraser in a folder that ``isaac train rephraser`` made.

    Unless ``decoding`` says otherwise, the likeliest tokens are taken, up to as many as the longest
    response had that it was trained on. Raises `ModelError` if the folder holds something else.
    """
    mark = read_metadata(folder)
    kind = mark.get("kind")
    if kind != "rephraser":
        held = f"a model of the kind '{kind}'" if kind else "no rephraser"
        raise ModelError(
            f"{folder} holds {held}; make one with: isaac train rephraser RUN --model BASE "
            f"-o {folder}"
        )
    decoding = decoding or Decoding(max_tokens=int(mark.get("max_tokens", 128)))
    return TrainedRephraser(LocalModel(str(folder), batch), decoding)


def read_metadata(folder: str | Path) -> dict[str, Any]:
    """Return what a model's folder says it was trained for, nothing if it says nothing."""
    try:
        mark = json.loads((Path(folder) / METADATA_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return mark if isinstance(mark, dict) else {}
